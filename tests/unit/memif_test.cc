/* SPDX-License-Identifier: Apache-2.0 */
/* Frames through the rings. */
#include "memif_fixture.hpp"

using memif::Peer;
using Frames = std::vector<std::vector<uint8_t>>;

TEST_F(MemifTest, ReceivesFrames)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	ASSERT_TRUE(peer.open(path("s")));
	Frames sent;
	for (size_t n : {14, 60, 64, 65, 127, 128, 1, 1514, 2047, 2048}) {
		sent.push_back(frame(n, static_cast<uint8_t>(n)));
		peer.give(0, sent.back());
	}
	EXPECT_EQ(receive(p), sent);
	EXPECT_EQ(peer.s2m[0].tail(), sent.size());
	EXPECT_TRUE(receive(p).empty());
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

TEST_F(MemifTest, ReceivesNoMoreThanAsked)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	ASSERT_TRUE(peer.open(path("s")));
	for (uint8_t i = 0; i < 64; i++)
		peer.give(0, frame(60, i));
	EXPECT_EQ(receive(p, 0, 1), Frames{frame(60, 0)});
	EXPECT_EQ(receive(p, 0, 10).size(), 10u);
	EXPECT_EQ(peer.s2m[0].tail(), 11);
	EXPECT_EQ(receive(p).size(), 53u);
}

TEST_F(MemifTest, IndexesWrap)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	peer.log2 = 5;
	ASSERT_TRUE(peer.open(path("s")));
	for (unsigned int round = 0; round < 70000 / 24; round++) {
		Frames sent;
		for (unsigned int i = 0; i < 24; i++) {
			sent.push_back(frame(60, static_cast<uint8_t>(round + i)));
			peer.give(0, sent.back());
		}
		ASSERT_EQ(receive(p), sent) << round;
		peer.offer(0, 32);
		ASSERT_EQ(transmit(p, sent), 24) << round;
		for (const auto &f : sent)
			ASSERT_EQ(peer.take(0), f) << round;
	}
	EXPECT_EQ(p->stats[0].rx_bad + p->stats[0].tx_full, 0u);
}

TEST_F(MemifTest, LargestAndSmallestRings)
{
	for (unsigned int log2 : {1u, 14u}) {
		port *p = open(Spec("a", "s"));
		Peer peer;
		peer.log2 = log2;
		ASSERT_TRUE(peer.open(path("s")));
		EXPECT_EQ(describe(p), "connected to peer, 1 queue, ring " + std::to_string(1u << log2));
		for (unsigned int i = 0; i < 1u << log2; i++)
			peer.give(0, frame(60));
		size_t n = 0, got;
		while ((got = receive(p).size()) > 0)
			n += got;
		EXPECT_EQ(n, 1u << log2);
		peer.offer(0, static_cast<uint16_t>(1u << log2));
		EXPECT_EQ(transmit(p, {frame(60), frame(61), frame(62)}), log2 == 1 ? 2 : 3);
		close(p);
	}
}

TEST_F(MemifTest, TransmitsFrames)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	ASSERT_TRUE(peer.open(path("s")));
	EXPECT_EQ(transmit(p, {frame(64)}), 0); /* nothing offered yet */
	EXPECT_EQ(p->stats[0].tx_full, 1u);
	peer.offer(0, 64);
	Frames sent = {frame(14), frame(60, 1), frame(64, 2), frame(1514, 3), frame(2048, 4)};
	EXPECT_EQ(transmit(p, sent), 5);
	for (const auto &f : sent)
		EXPECT_EQ(peer.take(0), f);
	EXPECT_TRUE(peer.take(0).empty());
	EXPECT_EQ(p->stats[0].tx_full, 1u);
}

TEST_F(MemifTest, TransmitTakesWhatFits)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	ASSERT_TRUE(peer.open(path("s")));
	peer.offer(0, 3);
	EXPECT_EQ(transmit(p, Frames(5, frame(60))), 3);
	EXPECT_EQ(transmit(p, Frames(2, frame(60))), 0);
	EXPECT_EQ(p->stats[0].tx_full, 2u);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(peer.take(0), frame(60));
	peer.offer(0, 64);
	EXPECT_EQ(transmit(p, Frames(100, frame(60))), 64); /* more than one round of 64 */
}

TEST_F(MemifTest, ChainsBecomeOneBuffer)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	ASSERT_TRUE(peer.open(path("s")));
	Frames sent = {frame(60), frame(1500, 1), frame(61, 2), frame(2048, 3)};
	peer.give(0, sent[0]);
	peer.give(0, sent[1], {700, 0, 799, 1});
	peer.give(0, sent[2]);
	peer.give(0, sent[3], {1024, 1024});
	EXPECT_EQ(receive(p), sent);
	EXPECT_EQ(peer.s2m[0].tail(), 8);
	/* A chain is longer than what was asked for. */
	peer.give(0, sent[1], {500, 500, 500});
	peer.give(0, sent[0]);
	EXPECT_EQ(receive(p, 0, 1), Frames{sent[1]});
	EXPECT_EQ(receive(p, 0, 1), Frames{sent[0]});
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

TEST_F(MemifTest, FramesThatDoNotFitAreCountedAndTheLinkStays)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	peer.buffer = 8192;
	ASSERT_TRUE(peer.open(path("s")));
	peer.give(0, frame(60, 1));
	peer.give(0, frame(2049));
	peer.give(0, frame(2049), {2048, 1});
	peer.give(0, {});
	peer.give(0, frame(6000), {2000, 2000, 2000});
	peer.give(0, frame(60, 2));
	EXPECT_EQ(receive(p), (Frames{frame(60, 1), frame(60, 2)}));
	EXPECT_EQ(p->stats[0].rx_bad, 4u);
	std::this_thread::sleep_for(std::chrono::milliseconds(120));
	EXPECT_TRUE(up(p));
}

TEST_F(MemifTest, LargeFramesFillSeveralBuffersOfThePeer)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	unsigned int parts;
	peer.buffer = 256;
	ASSERT_TRUE(peer.open(path("s")));
	peer.offer(0, 9);
	EXPECT_EQ(transmit(p, {frame(60), frame(1500, 1), frame(256, 2), frame(257, 3)}), 3);
	EXPECT_EQ(peer.take(0, &parts), frame(60));
	EXPECT_EQ(peer.take(0, &parts), frame(1500, 1));
	EXPECT_EQ(parts, 6u);
	EXPECT_EQ(peer.take(0, &parts), frame(256, 2));
	EXPECT_EQ(parts, 1u);
	EXPECT_TRUE(peer.take(0, &parts).empty());
	peer.offer(0, 64);
	EXPECT_EQ(transmit(p, {frame(257, 3)}), 1);
	EXPECT_EQ(peer.take(0, &parts), frame(257, 3));
	EXPECT_EQ(parts, 2u);
}

TEST_F(MemifTest, SegmentedBuffersAreJoined)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	ASSERT_TRUE(peer.open(path("s")));
	peer.offer(0, 64);
	rte_mbuf *a = rte_pktmbuf_alloc(pool), *b = rte_pktmbuf_alloc(pool);
	auto f = frame(3000);
	memcpy(rte_pktmbuf_append(a, 1800), f.data(), 1800);
	memcpy(rte_pktmbuf_append(b, 1200), f.data() + 1800, 1200);
	ASSERT_EQ(rte_pktmbuf_chain(a, b), 0);
	EXPECT_EQ(p->ops->tx(p, 0, &a, 1), 1);
	EXPECT_EQ(peer.take(0), f);
}

TEST_F(MemifTest, QueuesAreApart)
{
	Spec spec("a", "s");
	spec.queues = 4;
	port *p = open(spec);
	Peer peer;
	peer.queues = 3; /* fewer than the port has */
	ASSERT_TRUE(peer.open(path("s")));
	EXPECT_EQ(describe(p), "connected to peer, 3 queues, ring 64");
	for (uint8_t q = 0; q < 3; q++) {
		peer.give(q, frame(60, q));
		peer.offer(q, 8);
		EXPECT_EQ(transmit(p, {frame(100, q)}, q), 1);
	}
	for (uint8_t q = 0; q < 3; q++) {
		EXPECT_EQ(receive(p, q), Frames{frame(60, q)});
		EXPECT_EQ(peer.take(q), frame(100, q));
	}
	EXPECT_TRUE(receive(p, 3).empty());
	EXPECT_EQ(transmit(p, {frame(60)}, 3), 0);
}

TEST_F(MemifTest, WakesAPeerThatAskedForIt)
{
	port *p = open(Spec("a", "s"));
	Peer peer;
	uint64_t count = 0;
	ASSERT_TRUE(peer.open(path("s")));
	peer.offer(0, 64);
	int fd = peer.ring_event(false, 0);
	ASSERT_EQ(transmit(p, {frame(60), frame(60)}), 2);
	EXPECT_EQ(read(fd, &count, sizeof(count)), 8);
	EXPECT_EQ(count, 1u);
	peer.m2s[0].flags() = 1;
	ASSERT_EQ(transmit(p, {frame(60)}), 1);
	EXPECT_EQ(read(fd, &count, sizeof(count)), -1);
	/* More wakes than completions have room for. */
	peer.m2s[0].flags() = 0;
	for (int i = 0; i < 5000; i++) {
		ASSERT_EQ(transmit(p, {frame(60)}), 1);
		ASSERT_FALSE(peer.take(0).empty());
		peer.take(0);
		peer.offer(0, 60);
	}
	EXPECT_EQ(read(fd, &count, sizeof(count)), 8);
	EXPECT_EQ(count, 5000u);
}
