// SPDX-License-Identifier: Apache-2.0
// Ports are polled by deficit, new connections pass a token bucket, tx buffers hold whatever mix of ports comes.
#include "switch.hpp"

using namespace weft;

TEST(Fairness, ABusyPortTakesNoMoreThanItsQuantumOfATurn)
{
	Switch sw;
	sw.network();
	sw.pod("busy", "10.244.1.5");
	sw.pod("calm", "10.244.1.6");
	sw.pod("sink", "10.244.1.7");
	for (uint16_t i = 0; i < 1000; i++)
		sw.give("busy", sw.between("busy", "sink").udp(i, 2).bytes());
	sw.give("calm", sw.between("calm", "sink").udp(1, 2).data("calm").bytes());
	worker_turn(worker_get(0));
	auto got = sw.take_all("sink");
	EXPECT_EQ(got.size(), 65u) << "two bursts of the busy port, and the one packet of the calm one";
	sw.settle();
	EXPECT_EQ(sw.take_all("sink").size(), 936u);
}

TEST(Fairness, ManyPortsInOneTurnEachGetTheirOwn)
{
	Switch sw;
	sw.network();
	sw.pod("src", "10.244.1.5");
	for (int i = 0; i < 40; i++)
		sw.pod("d" + std::to_string(i), "10.244.1." + std::to_string(100 + i));
	// Interleaved, and more than one buffer full for one of them.
	for (uint16_t i = 0; i < 1000; i++)
		sw.give("src", sw.between("src", i % 2 ? "d0" : "d" + std::to_string(i % 40)).udp(i, 2).bytes());
	sw.settle();
	size_t total = 0;
	for (int i = 0; i < 40; i++)
		total += sw.take_all("d" + std::to_string(i)).size();
	EXPECT_EQ(total, 1000u) << sw.drops_text();
}

TEST(Fairness, NewConnectionsPassATokenBucketAndOldOnesDoNot)
{
	Switch sw(1, 16384, 100, 50);
	sw.network();
	sw.pod("a", "10.244.1.5");
	sw.pod("b", "10.244.1.6");
	sw.pod("c", "10.244.1.7");
	sw.send("a", sw.between("a", "b").udp(9999, 2));
	sw.take("b");
	for (uint16_t i = 0; i < 500; i++)
		sw.give("a", sw.between("a", "b").udp(i, 2).bytes());
	sw.settle(3 * 500 / 64 + 4);
	size_t passed = sw.take_all("b").size();
	EXPECT_GE(passed, 40u);
	EXPECT_LE(passed, 150u);
	EXPECT_EQ(passed + sw.drops("new_rate"), 500u);
	sw.send("a", sw.between("a", "b").udp(9999, 2));
	EXPECT_EQ(sw.take_all("b").size(), 1u) << "what is established goes on";
	sw.send("c", sw.between("c", "b").udp(1, 2));
	EXPECT_EQ(sw.take_all("b").size(), 1u) << "the bucket is the port's own";
}

TEST(Fairness, OneBurstOfOneConversationTakesOneToken)
{
	Switch sw(1, 16384, 1, 2);
	sw.network();
	sw.pod("a", "10.244.1.5");
	sw.pod("b", "10.244.1.6");
	auto burst = [&](uint16_t port) {
		for (int i = 0; i < 8; i++)
			sw.give("a", sw.between("a", "b").udp(port, 2).bytes());
		sw.settle(1);
		return sw.take_all("b").size();
	};
	EXPECT_EQ(burst(1), 8u);
	EXPECT_EQ(burst(2), 8u) << "the last token opened it; what else came with it needs none";
	EXPECT_EQ(burst(3), 0u);
	EXPECT_EQ(sw.drops_text(), "new_rate=8 ");
}
