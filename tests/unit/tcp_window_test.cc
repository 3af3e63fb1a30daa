// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <weft/tcp_state.h>
#include <weft/tcp_window.h>

namespace
{

constexpr uint8_t S = TCP_BIT_SYN, A = TCP_BIT_ACK, F = TCP_BIT_FIN, R = TCP_BIT_RST;

tcp_segment
segment(uint8_t flags, uint32_t seq, uint32_t ack = 0, uint32_t payload = 0, uint16_t window = 8000,
	uint8_t scale = TCP_SCALE_NONE)
{
	return {seq, ack, payload, window, flags, scale};
}

// Client is side 0 and begins at 1000, server is side 1 and begins at 5000 (or wherever a test puts them).
struct TcpWindow : ::testing::Test {
	tcp_side side[2];
	uint8_t scale[2];

	bool
	takes(unsigned int dir, const tcp_segment &s)
	{
		return tcp_window_takes(side, dir, &s);
	}
	bool
	sends(unsigned int dir, const tcp_segment &s)
	{
		if (!takes(dir, s))
			return false;
		tcp_window_learn(side, scale, dir, &s);
		return true;
	}
	void
	open(const tcp_segment &s)
	{
		tcp_window_open(side, scale, &s);
	}
	void
	establish(uint32_t client = 1000, uint32_t server = 5000, uint16_t window = 8000,
		  uint8_t client_scale = TCP_SCALE_NONE, uint8_t server_scale = TCP_SCALE_NONE)
	{
		open(segment(S, client, 0, 0, window, client_scale));
		ASSERT_TRUE(sends(1, segment(S | A, server, client + 1, 0, window, server_scale)));
		ASSERT_TRUE(sends(0, segment(A, client + 1, server + 1, 0, window)));
	}
};

TEST_F(TcpWindow, TheHandshake)
{
	establish();
	EXPECT_EQ(side[0].end, 1001u);
	EXPECT_EQ(side[1].end, 5001u);
	EXPECT_EQ(side[0].max_win, 8000u);
	open(segment(S, 1000));
	EXPECT_FALSE(takes(1, segment(S | A, 5000, 1002))) << "answers what was not sent";
	EXPECT_FALSE(takes(1, segment(S | A, 5000, 1001 - 2000)));
	EXPECT_TRUE(takes(1, segment(S | A, 5000, 1001)));
	EXPECT_TRUE(takes(1, segment(S, 5000))) << "both open at once";
}

TEST_F(TcpWindow, ASynWithData)
{
	open(segment(S, 1000, 0, 500)); // RFC 7413
	EXPECT_EQ(side[0].end, 1501u);
	EXPECT_TRUE(takes(1, segment(S | A, 5000, 1001))) << "the server did not take the data";
	EXPECT_TRUE(takes(1, segment(S | A, 5000, 1501)));
	EXPECT_FALSE(takes(1, segment(S | A, 5000, 1502)));
}

TEST_F(TcpWindow, DataWithinTheWindowIsTakenAndBehindItIsNot)
{
	establish();
	EXPECT_TRUE(takes(0, segment(A, 1001, 5001, 8000)));
	EXPECT_TRUE(takes(0, segment(A, 1001 + 8000, 5001))) << "an ACK at the window's end";
	EXPECT_TRUE(takes(0, segment(A, 1001 + 9000, 5001, 10))) << "an eighth more, for what was not written down";
	EXPECT_FALSE(takes(0, segment(A, 1001 + 9001, 5001, 10)));
	EXPECT_FALSE(takes(0, segment(A, 1001 + 100'000'000, 5001, 10)));
	EXPECT_TRUE(takes(0, segment(A, 1000, 5001))) << "a keepalive probe (RFC 9293 3.8.4)";
	EXPECT_TRUE(takes(0, segment(A, 1001 - 8001, 5001))) << "a window ago";
	EXPECT_FALSE(takes(0, segment(A, 1001 - 8002, 5001)));
}

TEST_F(TcpWindow, AnAcknowledgementOfWhatWasNotSentIsNotTaken)
{
	establish();
	EXPECT_TRUE(takes(0, segment(A, 1001, 5001)));
	EXPECT_TRUE(takes(0, segment(A, 1001, 5001 + 1000))) << "an eighth";
	EXPECT_FALSE(takes(0, segment(A, 1001, 5001 + 1001)));
	EXPECT_TRUE(takes(0, segment(A, 1001, 5001 - 66'000)));
	EXPECT_FALSE(takes(0, segment(A, 1001, 5001 - 66'001)));
}

TEST_F(TcpWindow, FollowsALongTransferInBothDirectionsAcrossTheEndOfNumbers)
{
	for (uint32_t start : {1000u, UINT32_MAX - 30'000}) {
		establish(start, start + 77);
		uint32_t client = start + 1, server = start + 78;
		for (int i = 0; i < 1000; i++) {
			ASSERT_TRUE(sends(0, segment(A, client, server, 1448)));
			ASSERT_TRUE(sends(0, segment(A, client + 1448, server, 1448)));
			client += 2896;
			ASSERT_TRUE(sends(1, segment(A, server, client, 500)));
			server += 500;
			ASSERT_FALSE(takes(0, segment(A, client + 20'000, server, 1)));
			ASSERT_FALSE(takes(1, segment(A, server, client + 20'000, 1)));
			ASSERT_FALSE(takes(1, segment(A, server - 20'000, client, 1)));
		}
	}
}

TEST_F(TcpWindow, WritesOnlyWhatMovedByAnEighthOfTheWindow)
{
	establish();
	tcp_side before[2];
	memcpy(before, side, sizeof(side));
	EXPECT_TRUE(sends(0, segment(A, 1001, 5001, 1000)));
	EXPECT_TRUE(sends(1, segment(A, 5001, 2001, 100)));
	EXPECT_EQ(memcmp(before, side, sizeof(side)), 0);
	EXPECT_TRUE(sends(0, segment(A, 2001, 5101, 1)));
	EXPECT_EQ(side[0].end, 2002u);
	EXPECT_TRUE(sends(1, segment(A, 5101, 2002, 0)));
	EXPECT_EQ(side[1].ack, 2002u);
	EXPECT_EQ(side[1].end, 5001u);
}

TEST_F(TcpWindow, ScalesOnlyWhenBothSidesSaySo)
{
	establish(1000, 5000, 8000, 7, 2);
	EXPECT_EQ(side[0].max_win, 8000u << 7);
	EXPECT_EQ(side[1].max_win, 8000u) << "the window of a SYN is never scaled";
	EXPECT_TRUE(sends(1, segment(A, 5001, 1001, 0, 8000)));
	EXPECT_EQ(side[1].max_win, 8000u << 2);
	EXPECT_TRUE(takes(1, segment(A, 5001 + (8000 << 7), 1001)));
	EXPECT_TRUE(takes(0, segment(A, 1001 + (8000 << 2), 5001)));
	EXPECT_FALSE(takes(0, segment(A, 1001 + (8000 << 3), 5001)));

	establish(1000, 5000, 8000, 7, TCP_SCALE_NONE);
	EXPECT_EQ(side[0].max_win, 8000u);
	establish(1000, 5000, 8000, TCP_SCALE_NONE, 7);
	EXPECT_TRUE(sends(1, segment(A, 5001, 1001, 0, 8000)));
	EXPECT_EQ(side[1].max_win, 8000u);
	establish(1000, 5000, 8000, 0, 3);
	EXPECT_TRUE(sends(1, segment(A, 5001, 1001, 0, 8000)));
	EXPECT_EQ(side[1].max_win, 64000u);
}

TEST_F(TcpWindow, AWindowThatWasOfferedStands)
{
	establish();
	EXPECT_TRUE(sends(1, segment(A, 5001, 1001, 0, 0)));
	EXPECT_EQ(side[1].max_win, 8000u);
	EXPECT_TRUE(takes(0, segment(A, 1001, 5001, 1))) << "a probe of a closed window";
}

TEST_F(TcpWindow, AClosedWindowFromTheStart)
{
	establish(1000, 5000, 0);
	EXPECT_TRUE(takes(0, segment(A, 1001, 5001, 1)));
	EXPECT_TRUE(takes(1, segment(A, 5000, 1001)));
	EXPECT_FALSE(takes(0, segment(A, 1010, 5001, 1)));
}

TEST_F(TcpWindow, AnRstMustHitTheWindow)
{
	establish();
	EXPECT_TRUE(takes(0, segment(R, 1001)));
	EXPECT_TRUE(takes(0, segment(R | A, 1001, 5001)));
	EXPECT_TRUE(takes(0, segment(R | A, 1001, 77))) << "its ACK does not matter";
	EXPECT_TRUE(takes(0, segment(R, 1001 + 8000)));
	EXPECT_TRUE(takes(0, segment(R, 1000)));
	EXPECT_FALSE(takes(0, segment(R, 999))) << "behind where the receiver stands";
	EXPECT_FALSE(takes(0, segment(R, 1001 + 9001)));
	EXPECT_FALSE(takes(0, segment(R, 0)));
	EXPECT_FALSE(takes(1, segment(R, 1001)));
	uint32_t hits = 0;
	for (uint64_t seq = 0; seq < 1ull << 32; seq += 4096)
		hits += takes(0, segment(R, uint32_t(seq)));
	EXPECT_LE(hits, 3u) << "whoever guesses needs half a million segments";
}

TEST_F(TcpWindow, AnRstThatAnswersASynAcknowledgesIt)
{
	open(segment(S, 1000));
	EXPECT_TRUE(takes(1, segment(R | A, 0, 1001)));
	EXPECT_FALSE(takes(1, segment(R | A, 0, 1002)));
	EXPECT_FALSE(takes(1, segment(R | A, 0, 1001 - 1461)));
	EXPECT_FALSE(takes(1, segment(R, 0))) << "without an ACK there is no knowing";
	EXPECT_TRUE(takes(0, segment(R, 1001))) << "the client gives up";
	EXPECT_FALSE(takes(0, segment(R, 1002)));
	EXPECT_FALSE(takes(0, segment(R, 100'000'000)));
	tcp_side before[2];
	memcpy(before, side, sizeof(side));
	EXPECT_TRUE(sends(1, segment(R | A, 0, 1001)));
	EXPECT_EQ(memcmp(before, side, sizeof(side)), 0) << "an RST teaches nothing";
}

TEST_F(TcpWindow, AnotherSynBeginsAgain)
{
	open(segment(S, 1000, 0, 0, 8000, 7));
	tcp_segment again = segment(S, 900'000'000, 0, 0, 4000, 2);
	tcp_window_learn(side, scale, 0, &again);
	EXPECT_EQ(side[0].end, 900'000'001u);
	EXPECT_EQ(side[0].max_win, 4000u);
	EXPECT_EQ(scale[0], 2);
	EXPECT_FALSE(takes(1, segment(S | A, 5000, 1001)));
	EXPECT_TRUE(takes(1, segment(S | A, 5000, 900'000'001)));
}

TEST_F(TcpWindow, AnAnswerToAForgottenSynBeginsAgain)
{
	for (uint8_t server_scale : {uint8_t(TCP_SCALE_NONE), uint8_t(2)}) {
		establish(1000, 5000, 8000, 7, 7);
		tcp_segment answer = segment(S | A, 2'000'000'000, 900'000'001, 0, 4000, server_scale);
		EXPECT_FALSE(takes(1, answer));
		tcp_window_reopen(side, scale, &answer);
		EXPECT_TRUE(takes(1, answer)) << "once more";
		EXPECT_TRUE(sends(0, segment(A, 900'000'001, 2'000'000'001, 1000, 500)));
		EXPECT_TRUE(sends(1, segment(A, 2'000'000'001, 900'001'001, 1000, 500)));
		EXPECT_FALSE(takes(0, segment(A, 1001, 5001)));
		EXPECT_FALSE(takes(0, segment(A, 900'000'001 + 6000, 2'000'000'001)));
		bool scaled = server_scale != TCP_SCALE_NONE;
		EXPECT_EQ(takes(1, segment(A, 2'000'000'001 + (500 << 14), 900'001'001)), scaled)
			<< "what the client's SYN said is not known";
	}
}

TEST_F(TcpWindow, BothOpenAtOnce)
{
	open(segment(S, 1000));
	ASSERT_TRUE(sends(1, segment(S, 5000)));
	ASSERT_TRUE(sends(0, segment(S | A, 1000, 5001)));
	ASSERT_TRUE(sends(1, segment(S | A, 5000, 1001)));
	EXPECT_TRUE(takes(0, segment(A, 1001, 5001, 100)));
	EXPECT_TRUE(takes(1, segment(A, 5001, 1001, 100)));
	EXPECT_FALSE(takes(0, segment(A, 100'000, 5001, 100)));
	EXPECT_FALSE(takes(1, segment(A, 100'000, 1001, 100)));
}

TEST_F(TcpWindow, PickedUpInTheMiddleOfAScaledConversation)
{
	open(segment(A, 70'000, 400'000, 100, 500)); // a window of 500 << 14 at the most
	EXPECT_TRUE(sends(0, segment(A, 70'100, 400'000, 1000, 500)));
	EXPECT_TRUE(sends(1, segment(A, 400'000, 30'000, 1000, 500))) << "acknowledges what we have not seen";
	EXPECT_TRUE(sends(1, segment(A, 401'000, 71'100, 1000, 500)));
	EXPECT_TRUE(sends(0, segment(A, 71'100, 402'000, 1000, 500)));
	EXPECT_FALSE(takes(0, segment(A, 71'100 + 20'000'000, 402'000, 1000, 500)));
	EXPECT_FALSE(takes(1, segment(R, 402'000 + 20'000'000)));
}

// What an error may quote: what is in flight, or was a window ago.
TEST_F(TcpWindow, WhatASideMayHaveSent)
{
	open(segment(S, 1000));
	EXPECT_TRUE(tcp_window_sent(side, 0, 1000));
	EXPECT_FALSE(tcp_window_sent(side, 0, 1000 + 100'000));
	EXPECT_TRUE(tcp_window_sent(side, 1, 77)) << "nothing was heard of it: nothing is known";
	ASSERT_TRUE(sends(1, segment(S | A, 5000, 1001)));
	for (uint32_t seq = 1001; seq < 1001 + 500'000; seq += 4000) {
		ASSERT_TRUE(sends(0, segment(A, seq, 5001, 4000)));
		ASSERT_TRUE(sends(1, segment(A, 5001, seq + 4000)));
		EXPECT_TRUE(tcp_window_sent(side, 0, seq));
		EXPECT_TRUE(tcp_window_sent(side, 0, seq + 4000)) << "the next one";
		EXPECT_FALSE(tcp_window_sent(side, 0, seq + 20'000));
		EXPECT_FALSE(tcp_window_sent(side, 0, seq - 80'000));
	}
	EXPECT_FALSE(tcp_window_sent(side, 0, 1001));
	EXPECT_FALSE(tcp_window_sent(side, 0, 0x80000000));
}

} // namespace
