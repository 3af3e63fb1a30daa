// SPDX-License-Identifier: Apache-2.0
// TCP conversations: what may begin one, what may not.
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

TEST_F(Tcp, WhatCannotBeginAConversationCreatesNothing)
{
	for (int flags : std::vector<int>{0, ACK, FIN, RST, SYN | ACK, SYN | FIN, SYN | RST, FIN | PSH | URG, PSH | ACK, RST | ACK})
		EXPECT_FALSE(passes("a", "b", (uint8_t)flags)) << flags;
	EXPECT_EQ(sw.connections(), 0u);
	EXPECT_EQ(sw.drops("invalid_state"), 10u);
}

TEST_F(Tcp, ASynOnAClosedConversationOpensANewOne)
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
