// SPDX-License-Identifier: Apache-2.0
// Connections of SCTP: tags, who has begun again and who only says so, how long which state is kept.
#include <gtest/gtest.h>

#include "conn.hpp"

namespace
{

constexpr uint32_t T0 = 5'000'000; // ms
constexpr uint8_t DATA = 0;
constexpr uint32_t A = 0xaaaa, B = 0xbbbb; // what each end wants to see

struct Sctp : ::testing::Test {
	conn_table *t = make_table(1024, 1);
	uint32_t ref = 0, now = T0;

	~Sctp() override { conn_table_destroy(t, true); }
	int
	create(const sctp_packet &s)
	{
		conn_new n = new_conn(tuple_number(1, IPPROTO_SCTP));
		n.sctp = s;
		return conn_create(t, 0, &n, now, &ref);
	}
	int
	packet(bool reply, uint32_t tag, uint8_t chunk, uint32_t init_tag = 0, bool reflected = false)
	{
		sctp_packet s = {tag, init_tag, chunk, reflected};
		return conn_sctp(t, ref + reply, &s, now);
	}
	int ask(uint32_t tag, uint8_t chunk, uint32_t init_tag = 0) { return packet(false, tag, chunk, init_tag); }
	int answer(uint32_t tag, uint8_t chunk, uint32_t init_tag = 0) { return packet(true, tag, chunk, init_tag); }
	int
	init(uint32_t tag)
	{
		return create({0, tag, SCTP_CHUNK_INIT, false});
	}
	unsigned int state() { return conn_view(t)->cold[ref >> 1].state; }
	void
	open()
	{
		ASSERT_EQ(init(A), 0);
		ASSERT_EQ(answer(A, SCTP_CHUNK_INIT_ACK, B), 0);
		ASSERT_EQ(ask(B, SCTP_CHUNK_COOKIE_ECHO), 0);
		ASSERT_EQ(answer(A, SCTP_CHUNK_COOKIE_ACK), 0);
		ASSERT_EQ(state(), SCTP_STATE_ESTABLISHED);
	}
	// Seconds until it is forgotten.
	uint32_t
	lasts()
	{
		uint32_t s = 0;
		tuple k = conn_view(t)->half[ref].key;
		for (; conn_find(t, &k) != 0 && s < 1000; s++)
			conn_age(t, 0, now += 1000, 1000);
		return s;
	}
};

TEST_F(Sctp, EveryPacketCarriesTheTagOfItsDirection)
{
	open();
	EXPECT_EQ(ask(B, DATA), 0);
	EXPECT_EQ(answer(A, DATA), 0);
	for (uint32_t wrong : {0u, A, 7u})
		EXPECT_EQ(ask(wrong, DATA), -EPROTO) << wrong;
	for (uint8_t chunk : {SCTP_CHUNK_ABORT, SCTP_CHUNK_SHUTDOWN, SCTP_CHUNK_SHUTDOWN_COMPLETE, SCTP_CHUNK_HEARTBEAT})
		EXPECT_EQ(answer(7, chunk), -EPROTO) << (int)chunk;
	EXPECT_EQ(state(), SCTP_STATE_ESTABLISHED);
	EXPECT_EQ(ask(B, SCTP_CHUNK_INIT, 9), -EPROTO) << "an INIT has none";
}

TEST_F(Sctp, TheCookieNeedsTheTagThatWasOffered)
{
	ASSERT_EQ(init(A), 0);
	EXPECT_EQ(ask(B, DATA), -EPROTO);
	EXPECT_EQ(answer(7, SCTP_CHUNK_INIT_ACK, B), -EPROTO);
	EXPECT_EQ(answer(A, SCTP_CHUNK_INIT_ACK, B), 0);
	EXPECT_EQ(ask(7, SCTP_CHUNK_COOKIE_ECHO), -EPROTO);
	EXPECT_EQ(ask(B, SCTP_CHUNK_COOKIE_ECHO), 0);
	EXPECT_EQ(ask(B, SCTP_CHUNK_COOKIE_ECHO), 0) << "once more";
	EXPECT_EQ(answer(A, DATA), 0) << "the COOKIE ACK was lost";
	EXPECT_EQ(state(), SCTP_STATE_ESTABLISHED);
}

TEST_F(Sctp, BothBeginAtOnce)
{
	ASSERT_EQ(init(A), 0);
	EXPECT_EQ(answer(0, SCTP_CHUNK_INIT, B), 0);
	EXPECT_EQ(ask(B, SCTP_CHUNK_INIT_ACK, A), 0);
	EXPECT_EQ(answer(A, SCTP_CHUNK_INIT_ACK, B), 0);
	EXPECT_EQ(answer(A, SCTP_CHUNK_COOKIE_ECHO), 0);
	EXPECT_EQ(ask(B, SCTP_CHUNK_COOKIE_ECHO), 0);
	EXPECT_EQ(ask(B, SCTP_CHUNK_COOKIE_ACK), 0);
	EXPECT_EQ(answer(A, SCTP_CHUNK_COOKIE_ACK), 0);
	EXPECT_EQ(state(), SCTP_STATE_ESTABLISHED);
}

TEST_F(Sctp, AReflectedTagIsThePeers)
{
	open();
	EXPECT_EQ(packet(true, A, SCTP_CHUNK_ABORT, 0, true), -EPROTO);
	EXPECT_EQ(packet(true, B, SCTP_CHUNK_ABORT, 0, true), 0);
	EXPECT_EQ(state(), SCTP_STATE_CLOSED);
}

TEST_F(Sctp, AMadeUpInitHurtsNobody)
{
	open();
	for (bool reply : {false, true}) {
		EXPECT_EQ(packet(reply, 0, SCTP_CHUNK_INIT, 0x666), 0) << "for its receiver to judge";
		EXPECT_EQ(packet(!reply, 0x666, SCTP_CHUNK_ABORT), 0);
		EXPECT_EQ(packet(reply, 0x667, SCTP_CHUNK_COOKIE_ECHO), -EPROTO);
		EXPECT_EQ(packet(!reply, 0x666, DATA), 0) << "passes, and shows nothing";
	}
	EXPECT_EQ(state(), SCTP_STATE_ESTABLISHED);
	EXPECT_EQ(ask(B, DATA), 0);
	EXPECT_EQ(answer(A, DATA), 0);
}

TEST_F(Sctp, WhoHasBegunAgainGoesOn)
{
	open();
	EXPECT_EQ(ask(0, SCTP_CHUNK_INIT, 0xa2), 0);
	EXPECT_EQ(answer(0xa2, SCTP_CHUNK_INIT_ACK, 0xb2), 0);
	EXPECT_EQ(answer(A, DATA), 0) << "the old one is still there";
	EXPECT_EQ(ask(0xb2, SCTP_CHUNK_COOKIE_ECHO), 0);
	EXPECT_EQ(answer(0xa2, SCTP_CHUNK_COOKIE_ACK), 0);
	EXPECT_EQ(ask(0xb2, DATA), 0);
	EXPECT_EQ(ask(B, DATA), -EPROTO);
	EXPECT_EQ(answer(A, DATA), -EPROTO);
	EXPECT_EQ(state(), SCTP_STATE_ESTABLISHED);
}

TEST_F(Sctp, AClosedOnesPortsAreFree)
{
	open();
	EXPECT_EQ(answer(A, SCTP_CHUNK_ABORT), 0);
	EXPECT_EQ(ask(B, DATA), 0) << "was under way";
	EXPECT_EQ(ask(0, SCTP_CHUNK_INIT, 3), -ESTALE);
}

TEST_F(Sctp, AnotherPathLearnsItsTags)
{
	ASSERT_EQ(create({B, 0, SCTP_CHUNK_HEARTBEAT, false}), 0);
	EXPECT_EQ(ask(B + 1, DATA), -EPROTO);
	EXPECT_EQ(ask(B + 1, SCTP_CHUNK_HEARTBEAT), 0) << "the first may have been made up";
	EXPECT_EQ(answer(A, SCTP_CHUNK_HEARTBEAT_ACK), 0);
	EXPECT_EQ(state(), SCTP_STATE_ESTABLISHED);
	EXPECT_EQ(answer(A + 1, DATA), -EPROTO);
	EXPECT_EQ(ask(B, SCTP_CHUNK_HEARTBEAT), -EPROTO);
}

TEST_F(Sctp, EachStateHasItsTime)
{
	ASSERT_EQ(init(A), 0);
	EXPECT_EQ(lasts(), 3u);
	open();
	EXPECT_EQ(lasts(), 210u);
	open();
	ASSERT_EQ(ask(B, SCTP_CHUNK_SHUTDOWN), 0);
	EXPECT_EQ(lasts(), 3u);
	open();
	ASSERT_EQ(ask(B, SCTP_CHUNK_ABORT), 0);
	EXPECT_EQ(lasts(), 10u);
	ASSERT_EQ(create({B, 0, SCTP_CHUNK_HEARTBEAT, false}), 0);
	EXPECT_EQ(lasts(), 30u);
}

TEST_F(Sctp, WhatAnErrorQuotesMustCarryATagThatWasSent)
{
	ASSERT_EQ(init(A), 0);
	const conn_cold *cold = &conn_view(t)->cold[ref >> 1];
	EXPECT_TRUE(conn_sctp_sent(cold, 0, 0));
	EXPECT_FALSE(conn_sctp_sent(cold, 0, B));
	ASSERT_EQ(answer(A, SCTP_CHUNK_INIT_ACK, B), 0);
	ASSERT_EQ(ask(B, SCTP_CHUNK_COOKIE_ECHO), 0);
	EXPECT_TRUE(conn_sctp_sent(cold, 0, B));
	EXPECT_TRUE(conn_sctp_sent(cold, 1, A));
	EXPECT_FALSE(conn_sctp_sent(cold, 0, A));
	EXPECT_FALSE(conn_sctp_sent(cold, 0, 0));
}

} // namespace
