// SPDX-License-Identifier: Apache-2.0
// TCP conversations: what may begin one, what may not.
#include <weft/tcp_state.h>

#include "switch.hpp"

using namespace weft;

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };

struct Tcp : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
	}
	bool passes(const char *from, const char *to, uint8_t flags)
	{
		bool forward = from[0] == 'a';
		sw.send(from, sw.between(from, to).tcp(forward ? 4000 : 80, forward ? 80 : 4000, flags));
		return sw.take_all(to).size() == 1;
	}
	void establish()
	{
		ASSERT_TRUE(passes("a", "b", SYN));
		ASSERT_TRUE(passes("b", "a", SYN | ACK));
		ASSERT_TRUE(passes("a", "b", ACK));
	}
};

TEST_F(Tcp, AWholeLife)
{
	establish();
	EXPECT_TRUE(passes("a", "b", PSH | ACK));
	EXPECT_TRUE(passes("b", "a", PSH | ACK));
	EXPECT_TRUE(passes("a", "b", FIN | ACK));
	EXPECT_TRUE(passes("b", "a", ACK));
	EXPECT_TRUE(passes("b", "a", FIN | ACK));
	EXPECT_TRUE(passes("a", "b", ACK));
	EXPECT_EQ(sw.connections(), 1u);
	EXPECT_EQ(sw.drops("invalid_state"), 0u);
}

TEST_F(Tcp, P7_WhatCannotBeginAConversationCreatesNothing)
{
	for (int flags : std::vector<int>{0, ACK, FIN, RST, SYN | ACK, SYN | FIN, SYN | RST, FIN | PSH | URG, PSH | ACK, RST | ACK})
		EXPECT_FALSE(passes("a", "b", (uint8_t)flags)) << flags;
	EXPECT_EQ(sw.connections(), 0u);
	EXPECT_EQ(sw.drops("invalid_state"), 10u);
}

TEST_F(Tcp, P11_ASynOnAClosedConversationOpensANewOne)
{
	establish();
	passes("a", "b", FIN | ACK);
	passes("b", "a", FIN | ACK);
	passes("a", "b", ACK);
	EXPECT_TRUE(passes("a", "b", SYN));
	EXPECT_TRUE(passes("b", "a", SYN | ACK));
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Tcp, ARetransmittedSynPasses)
{
	EXPECT_TRUE(passes("a", "b", SYN));
	EXPECT_TRUE(passes("a", "b", SYN));
	EXPECT_TRUE(passes("b", "a", SYN | ACK));
	EXPECT_TRUE(passes("b", "a", SYN | ACK));
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Tcp, AnEstablishedConversationNeedsNoDecisions)
{
	establish();
	struct worker_counters before, after;
	workers_counters(&before);
	for (int i = 0; i < 5; i++) {
		EXPECT_TRUE(passes("a", "b", PSH | ACK));
		EXPECT_TRUE(passes("b", "a", ACK));
	}
	workers_counters(&after);
	EXPECT_EQ(before.decided, after.decided);
}

TEST_F(Tcp, ADeniedAnswerIsNotARoundTrip)
{
	EXPECT_FALSE(passes("b", "a", SYN | ACK)) << "an answer to nothing";
}

// --- sequence numbers ---

struct TcpNumbers : Tcp {
	// a is at 1001, b is at 1001, both take 65280 bytes.
	bool passes_at(const char *from, const char *to, uint8_t flags, uint32_t seq, uint32_t ack, size_t payload = 0)
	{
		bool forward = from[0] == 'a';
		sw.send(from, sw.between(from, to).tcp(forward ? 4000 : 80, forward ? 80 : 4000, flags).numbers(seq, ack).data(payload));
		return sw.take_all(to).size() == 1;
	}
	int state()
	{
		int state = -1;
		conn_walk(
			sw.conns,
			[](uint32_t, const conn_half *, const conn_cold *c, void *p) {
				*static_cast<int *>(p) = c->state;
				return 0;
			},
			&state);
		return state;
	}
};

TEST_F(TcpNumbers, ABlindResetClosesNothing)
{
	establish();
	for (uint32_t seq = 0x01000000; seq != 0; seq += 0x01000000) {
		EXPECT_FALSE(passes_at("b", "a", RST, seq, 0));
		EXPECT_FALSE(passes_at("a", "b", RST | ACK, seq, 1001));
	}
	EXPECT_EQ(sw.drops("invalid_window"), 2u * 255);
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_TRUE(passes_at("a", "b", RST, 1001, 0));
	EXPECT_EQ(state(), TCP_STATE_CLOSE);
}

TEST_F(TcpNumbers, AFinOutsideTheWindowPassesAndClosesNothing)
{
	establish();
	EXPECT_TRUE(passes_at("b", "a", FIN | ACK, 5'000'000, 1001));
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_TRUE(passes_at("b", "a", FIN | ACK, 1001, 1001));
	EXPECT_EQ(state(), TCP_STATE_FIN_WAIT);
}

TEST_F(TcpNumbers, WindowsAreScaledAsTheSynsSay)
{
	for (bool scaled : {false, true}) {
		uint16_t port = scaled ? 4001 : 4000;
		Bytes mss = {2, 4, 5, 0xb4}, mss_and_scale = {2, 4, 5, 0xb4, 1, 3, 3, 4};
		auto a = [&](uint8_t flags) { return sw.between("a", "b").tcp(port, 80, flags); };
		auto b = [&](uint8_t flags) { return sw.between("b", "a").tcp(80, port, flags); };
		sw.send("a", a(SYN).tcp_option(scaled ? mss_and_scale : mss));
		sw.send("b", b(SYN | ACK).tcp_option(scaled ? mss_and_scale : mss));
		sw.send("a", a(ACK).numbers(1001, 1001, 10000));
		EXPECT_EQ(sw.take_all("b").size(), 2u);
		EXPECT_EQ(sw.take_all("a").size(), 1u);
		sw.send("b", b(RST).numbers(1001 + 100'000, 0));
		EXPECT_EQ(sw.take_all("a").size(), scaled ? 1u : 0u);
	}
	EXPECT_EQ(sw.drops("invalid_window"), 1u);
}

TEST_F(TcpNumbers, EveryCombinationOfFlagsWithoutAConversationCreatesNothingButSyn)
{
	for (unsigned int flags = 0; flags < 256; flags++) {
		bool opens = (flags & (SYN | ACK | FIN | RST)) == SYN;
		EXPECT_EQ(passes("a", "b", (uint8_t)flags), opens) << flags;
		EXPECT_EQ(sw.connections(), opens ? 1u : 0u) << flags;
		conn_walk(
			sw.conns,
			[](uint32_t ref, const conn_half *, const conn_cold *, void *t) {
				conn_remove(static_cast<conn_table *>(t), 0, ref);
				return 0;
			},
			sw.conns);
	}
	EXPECT_EQ(sw.drops("invalid_state"), 256u - 16);
}

TEST_F(TcpNumbers, FlagsThatContradictEachOtherChangeNothingWithinAConversation)
{
	establish();
	for (int flags : std::vector<int>{0, FIN, SYN | FIN, SYN | RST, FIN | RST, FIN | PSH | URG, SYN | FIN | ACK, SYN | ACK | RST, 255}) {
		EXPECT_FALSE(passes("a", "b", (uint8_t)flags)) << flags;
		EXPECT_FALSE(passes("b", "a", (uint8_t)flags)) << flags;
	}
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_TRUE(passes("a", "b", PSH | ACK));
}

TEST_F(TcpNumbers, ASynOnAnEstablishedConversationPassesUnchanged)
{
	establish();
	EXPECT_TRUE(passes_at("a", "b", SYN, 77'000'000, 0));
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(sw.connections(), 1u);
	EXPECT_TRUE(passes_at("b", "a", ACK, 1001, 1001)) << "the challenge (RFC 5961 4)";
	EXPECT_TRUE(passes("a", "b", PSH | ACK));
}

TEST_F(TcpNumbers, ASynOnTimeWaitOpensAConversationWithNumbersOfItsOwn)
{
	establish();
	passes_at("a", "b", FIN | ACK, 1001, 1001);
	passes_at("b", "a", FIN | ACK, 1001, 1002);
	passes_at("a", "b", ACK, 1002, 1002);
	EXPECT_EQ(state(), TCP_STATE_TIME_WAIT);
	EXPECT_TRUE(passes_at("a", "b", SYN, 3'000'000'000, 0));
	EXPECT_EQ(state(), TCP_STATE_SYN_SENT);
	EXPECT_TRUE(passes_at("b", "a", SYN | ACK, 2'000'000'000, 3'000'000'001));
	EXPECT_TRUE(passes_at("a", "b", ACK, 3'000'000'001, 2'000'000'001));
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(sw.connections(), 1u);
	EXPECT_FALSE(passes_at("b", "a", RST, 1002, 0));
}

TEST_F(TcpNumbers, BothEndsMayBeginAgainOnAnEstablishedConversation)
{
	establish();
	EXPECT_TRUE(passes_at("a", "b", SYN, 3'000'000'000, 0));
	EXPECT_TRUE(passes_at("b", "a", SYN | ACK, 2'000'000'000, 3'000'000'001));
	EXPECT_EQ(state(), TCP_STATE_SYN_RECV);
	EXPECT_TRUE(passes_at("a", "b", ACK, 3'000'000'001, 2'000'000'001));
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_FALSE(passes_at("b", "a", RST, 1001, 0));
	EXPECT_TRUE(passes_at("b", "a", PSH | ACK, 2'000'000'001, 3'000'000'001, 100));
	EXPECT_TRUE(passes_at("a", "b", FIN | ACK, 3'000'000'001, 2'000'000'101));
	EXPECT_EQ(state(), TCP_STATE_FIN_WAIT);
	EXPECT_TRUE(passes_at("b", "a", RST, 2'000'000'101, 0));
	EXPECT_EQ(state(), TCP_STATE_CLOSE);
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(TcpNumbers, BothEndsMayBeginAgainWhenOneHadClosed)
{
	for (bool answered : {false, true}) {
		establish();
		passes_at("a", "b", FIN | ACK, 1001, 1001);
		if (answered)
			passes_at("b", "a", ACK, 1001, 1002);
		EXPECT_EQ(state(), answered ? TCP_STATE_CLOSE_WAIT : TCP_STATE_FIN_WAIT);
		EXPECT_TRUE(passes_at("a", "b", SYN, 3'000'000'000, 0));
		EXPECT_TRUE(passes_at("b", "a", SYN | ACK, 2'000'000'000, 3'000'000'001));
		EXPECT_TRUE(passes_at("a", "b", ACK, 3'000'000'001, 2'000'000'001));
		EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
		EXPECT_TRUE(passes_at("a", "b", RST, 3'000'000'001, 0));
		EXPECT_TRUE(passes_at("a", "b", SYN, 1000, 0)) << "and a third time";
		EXPECT_TRUE(passes_at("a", "b", RST, 1001, 0));
		EXPECT_EQ(state(), TCP_STATE_CLOSE);
	}
}

TEST_F(TcpNumbers, ASynAndAckThatAnswersNoSynChangesNothing)
{
	establish();
	EXPECT_TRUE(passes_at("b", "a", SYN | ACK, 2'000'000'000, 3'000'000'001)) << "to nothing";
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_TRUE(passes_at("a", "b", SYN, 3'000'000'000, 0));
	EXPECT_TRUE(passes_at("b", "a", SYN | ACK, 2'000'000'000, 3'000'000'002)) << "to another";
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_TRUE(passes_at("a", "b", SYN, 1000, 0)) << "the first once more";
	EXPECT_TRUE(passes_at("b", "a", SYN | ACK, 1000, 1001));
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_TRUE(passes_at("b", "a", RST, 1001, 0));
	EXPECT_EQ(state(), TCP_STATE_CLOSE);
}

TEST_F(TcpNumbers, ASynOnLastAckOpensAConversationWithNumbersOfItsOwn)
{
	establish();
	passes_at("a", "b", FIN | ACK, 1001, 1001);
	passes_at("b", "a", FIN | ACK, 1001, 1002);
	EXPECT_EQ(state(), TCP_STATE_LAST_ACK) << "the last ACK was lost";
	EXPECT_TRUE(passes_at("a", "b", SYN, 3'000'000'000, 0));
	EXPECT_EQ(state(), TCP_STATE_SYN_SENT);
	EXPECT_TRUE(passes_at("b", "a", SYN | ACK, 2'000'000'000, 3'000'000'001));
	EXPECT_TRUE(passes_at("a", "b", ACK, 3'000'000'001, 2'000'000'001));
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(sw.connections(), 1u);
}

// RFC 9293 3.5.1, figure 9: a opens what b still holds from before, of which we know nothing.
TEST_F(TcpNumbers, AResetClearsWhatTheOtherEndStillHeld)
{
	EXPECT_TRUE(passes_at("a", "b", SYN, 3'000'000'000, 0));
	EXPECT_FALSE(passes_at("a", "b", RST, 500'000'000, 0)) << "nobody asked for it";
	EXPECT_TRUE(passes_at("b", "a", ACK, 77'000'000, 500'000'000));
	EXPECT_FALSE(passes_at("a", "b", RST, 500'000'001, 0));
	EXPECT_TRUE(passes_at("a", "b", RST, 500'000'000, 0));
	EXPECT_EQ(state(), TCP_STATE_SYN_SENT);
	EXPECT_TRUE(passes_at("a", "b", SYN, 3'000'000'000, 0));
	EXPECT_TRUE(passes_at("b", "a", SYN | ACK, 2'000'000'000, 3'000'000'001));
	EXPECT_TRUE(passes_at("a", "b", ACK, 3'000'000'001, 2'000'000'001));
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
}

TEST_F(TcpNumbers, AnEndThatHasForgottenTheConversationMayRefuseASyn)
{
	establish();
	EXPECT_TRUE(passes_at("a", "b", SYN, 3'000'000'000, 0));
	EXPECT_FALSE(passes_at("b", "a", RST | ACK, 0, 3'000'000'002));
	EXPECT_TRUE(passes_at("b", "a", RST | ACK, 0, 3'000'000'001));
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED) << "a forged SYN must not close it";
}
