/* SPDX-License-Identifier: Apache-2.0 */
/* Split rings as drivers lay them out, and what becomes of them in a guest's life. Broken ones: vhost_hostile_test.cc.
 */
#include "vhost_split_fixture.hpp"

using vhost::BASIC;
using vhost::Desc;
using vhost::DESC_INDIRECT;
using vhost::DESC_WRITE;
using vhost::EVENT_IDX;
using vhost::Guest;
using vhost::MRG_RXBUF;
using vhost::PROTOCOL_FEATURES;

TEST_F(VhostSplitTest, AHeaderMayHaveADescriptorOfItsOwn)
{
	join();
	lay(frame(1000, 1));
	guest.chain(1, {{AT, 12, 0, 0}, {AT + 12, 1000, 0, 0}});
	EXPECT_EQ(receive(p), Frames{frame(1000, 1)});
	EXPECT_EQ(guest.consumed(0), 1);
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

TEST_F(VhostSplitTest, AFrameMayLieInManyDescriptors)
{
	join();
	for (auto [size, step] : {std::pair(50, 1), std::pair(400, 7), std::pair(1514, 40)}) {
		guest.chain(1, cut(lay(frame(static_cast<size_t>(size), 1)), static_cast<uint32_t>(step)));
		EXPECT_EQ(receive(p), Frames{frame(static_cast<size_t>(size), 1)});
	}
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

TEST_F(VhostSplitTest, AFrameMayLieInATableOfItsOwn)
{
	join(BASIC | vhost::INDIRECT);
	guest.chain(1, {table(cut(lay(frame(1514, 1)), 100))});
	EXPECT_EQ(receive(p), Frames{frame(1514, 1)});
	guest.chain(1, {table(cut(lay(frame(60, 2)), 4096))});
	EXPECT_EQ(receive(p), Frames{frame(60, 2)});
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

/* Wherever the one before it in the same buffer began. */
TEST_F(VhostSplitTest, AGatheredFrameFillsABufferFromItsStart)
{
	join();
	soil_pool();
	for (uint8_t i = 0; i < 8; i++) {
		guest.chain(1, cut(lay(frame(2048, i)), 500));
		EXPECT_EQ(receive(p), Frames{frame(2048, i)});
	}
}

TEST_F(VhostSplitTest, AFrameIsGatheredIntoABufferInATable)
{
	guest.stocked = false;
	join(BASIC | vhost::INDIRECT);
	uint16_t head = guest.chain(0, {table(cut(1600, 200, DESC_WRITE))});
	EXPECT_EQ(transmit(p, {frame(1514, 1)}), 1);
	EXPECT_EQ(used(0, 0), Used(head, 1526));
	EXPECT_EQ(laid(1514), frame(1514, 1));
}

/* Features of before virtio 1.0. */
TEST_F(VhostSplitTest, ALegacyHeaderIsShorter)
{
	join(PROTOCOL_FEATURES);
	ASSERT_EQ(guest.header, 10u);
	expect_traffic();
	guest.chain(1, cut(lay(frame(500, 3)), 10));
	EXPECT_EQ(receive(p), Frames{frame(500, 3)});
}

TEST_F(VhostSplitTest, AFrameSpansMergeableBuffers)
{
	guest.room = 128;
	join(BASIC | MRG_RXBUF);
	EXPECT_EQ(transmit(p, {frame(60, 1), frame(1514, 2), frame(116, 3), frame(117, 4)}), 4);
	auto got = guest.take(0);
	ASSERT_EQ(got.size(), 4u);
	for (auto [i, size, buffers] : {std::tuple(0, 60, 1), {1, 1514, 12}, {2, 116, 1}, {3, 117, 2}}) {
		EXPECT_EQ(got[static_cast<size_t>(i)].header.num_buffers, buffers);
		EXPECT_EQ(got[static_cast<size_t>(i)].frame,
			  frame(static_cast<size_t>(size), static_cast<uint8_t>(i + 1)));
	}
}

/* 64 of 128 bytes: five times 12, and the sixth has not enough. */
TEST_F(VhostSplitTest, WhatMergeableBuffersCannotTakeWaitsForMore)
{
	guest.room = 128;
	join(BASIC | MRG_RXBUF);
	EXPECT_EQ(transmit(p, Frames(6, frame(1514, 1))), 5);
	EXPECT_EQ(transmit(p, {frame(60, 2)}), 1);
	EXPECT_EQ(guest.take(0).size(), 6u);
	EXPECT_EQ(transmit(p, {frame(1514, 3)}), 1);
	EXPECT_EQ(guest.take(0).at(0).frame, frame(1514, 3));
}

TEST_F(VhostSplitTest, WithoutMergeableBuffersAChainTakesAFrame)
{
	guest.stocked = false;
	join();
	uint16_t head = guest.chain(
		0, {{AT, 12, DESC_WRITE, 0}, {AT + 12, 1000, DESC_WRITE, 0}, {AT + 1012, 600, DESC_WRITE, 0}});
	EXPECT_EQ(transmit(p, {frame(1514, 1)}), 1);
	EXPECT_EQ(used(0, 0), Used(head, 1526));
	EXPECT_EQ(laid(1514), frame(1514, 1));
}

TEST_F(VhostSplitTest, AFrameThatDoesNotFitIsNotSentAndTheNextIs)
{
	guest.room = 128;
	join();
	EXPECT_EQ(transmit(p, {frame(117, 1)}), 0);
	EXPECT_EQ(transmit(p, {frame(116, 2)}), 1);
	auto got = guest.take(0);
	ASSERT_EQ(got.size(), 1u);
	EXPECT_EQ(got[0].frame, frame(116, 2));
}

TEST_F(VhostSplitTest, AFrameOfSeveralSegmentsIsSentWhole)
{
	join();
	rte_mbuf *m = mbuf(frame(1000, 1));
	rte_pktmbuf_chain(m, mbuf(frame(500, 2)));
	vhost::Frame all = frame(1000, 1), rest = frame(500, 2);
	all.insert(all.end(), rest.begin(), rest.end());
	ASSERT_EQ(p->ops->tx(p, 0, &m, 1), 1);
	EXPECT_EQ(guest.take(0).at(0).frame, all);
}

/* Neighbours for the guest, mapped apart here. */
TEST_F(VhostSplitTest, ABufferMayLieAcrossTwoRegions)
{
	guest.stocked = false;
	ASSERT_TRUE(guest.connect(path("s")));
	ASSERT_TRUE(guest.negotiate(BASIC));
	ASSERT_TRUE(guest.share({AT + 4096}));
	ASSERT_TRUE(guest.start_rings(1));
	ASSERT_TRUE(wait([&] { return up(p); }));
	for (uint32_t before : {6, 100, 511, 512}) {
		uint64_t at = AT + 4096 - before;
		guest.chain(1, {{at, lay(frame(500, 1), at), 0, 0}});
		EXPECT_EQ(receive(p), Frames{frame(500, 1)}) << before;
	}
	guest.chain(0, {{AT + 4000, 2000, DESC_WRITE, 0}});
	EXPECT_EQ(transmit(p, {frame(1514, 2)}), 1);
	EXPECT_EQ(laid(1514, AT + 4000), frame(1514, 2));
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

TEST_F(VhostSplitTest, AGuestIsSignalledWhenItsEventIndexAsks)
{
	join(BASIC | EVENT_IDX);
	greeted();
	for (unsigned int ring : {0, 1}) {
		guest.rings[ring].avail->ring[Guest::SIZE] = 2;
		for (bool asked : {false, false, true, false}) {
			pass(ring);
			EXPECT_EQ(guest.called(ring), asked) << ring;
		}
	}
}

TEST_F(VhostSplitTest, WithoutEventIndicesFlagsSayWhoIsSignalled)
{
	join();
	greeted();
	for (unsigned int ring : {0, 1}) {
		EXPECT_EQ(guest.rings[ring].used->flags, 1) << "NO_NOTIFY: we poll";
		for (uint16_t no_interrupt : {1, 0}) {
			guest.rings[ring].avail->flags = no_interrupt;
			pass(ring);
			EXPECT_EQ(guest.called(ring), !no_interrupt) << ring;
		}
	}
}

TEST_F(VhostSplitTest, IndicesWrap)
{
	guest.first = 65500;
	join();
	for (unsigned int i = 0; i < 60; i++)
		expect_traffic();
	EXPECT_EQ(guest.rings[0].used->idx, 84);
	EXPECT_EQ(guest.consumed(0), 84);
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

TEST_F(VhostSplitTest, PositionsSurviveARingThatIsDisabled)
{
	join();
	for (unsigned int i = 0; i < 3; i++) {
		expect_traffic();
		guest.give(0, frame(60, 5));
		for (unsigned int ring : {0, 1})
			ASSERT_TRUE(guest.enable(ring, false));
		EXPECT_TRUE(receive(p).empty());
		EXPECT_EQ(transmit(p, {frame(60)}), 0);
		for (unsigned int ring : {0, 1})
			ASSERT_TRUE(guest.enable(ring, true));
		EXPECT_TRUE(wait([&] { return receive(p) == Frames{frame(60, 5)}; }));
	}
	EXPECT_EQ(guest.consumed(0), 9);
}

TEST_F(VhostSplitTest, AGuestThatStopsIsToldHowFarItsRingsCame)
{
	guest.first = 65530;
	join();
	for (unsigned int i = 0; i < 9; i++)
		guest.give(0, frame(60));
	EXPECT_EQ(receive(p, 0, 7).size(), 7u);
	EXPECT_EQ(transmit(p, Frames(3, frame(60))), 3);
	uint32_t taken[2];
	ASSERT_TRUE(guest.stop_ring(0, &taken[0]) && guest.stop_ring(1, &taken[1]));
	EXPECT_EQ(taken[0], 65533u);
	EXPECT_EQ(taken[1], 1u);
}

/* Memory comes and goes under a busy worker: each frame once, in order. */
TEST_F(VhostSplitTest, OtherMemoryWhileAWorkerPolls)
{
	join();
	expect_stream([&](unsigned int turn) { return guest.share({Guest::BYTES - 4096 * (1 + turn % 2)}); });
}

TEST_F(VhostSplitTest, MigrationBeginsWithoutLossOrRepetition)
{
	join();
	expect_stream(
		[&](unsigned int turn) { return turn != 5 || guest.set(vhost::SET_FEATURES, BASIC | vhost::LOG_ALL); });
}

/* Whoever serves its rings. */
TEST_F(VhostSplitTest, MemoryThatCannotBeMappedHarmsItsGuestOnly)
{
	port *q = open(Spec("b", "b"));
	Guest good;
	ASSERT_TRUE(good.connect(path("b")) && good.start(BASIC));
	ASSERT_TRUE(wait([&] { return up(q); }));
	port *const served = p;
	Worker worker([&] {
		receive(served);
		transmit(served, {frame(60)});
	});
	join();
	unsigned int before = count_fds();
	for (unsigned int life = 0; life < 20; life++) {
		EXPECT_FALSE(guest.share_what_cannot_be_mapped());
		guest.give(0, frame(60));
		guest.enable(1, false);
		guest.enable(1, true);
		good.give(0, frame(60, 1));
		EXPECT_EQ(receive(q), Frames{frame(60, 1)});
		EXPECT_EQ(guest.consumed(0), 0);
		guest.hang_up();
		ASSERT_TRUE(wait([&] { return !up(p); }));
		join(life % 4 == 3 ? BASIC : BASIC | vhost::LOG_ALL);
	}
	worker.finish();
	guest.take(0);
	expect_traffic();
	fds += count_fds() - before; /* the library, 22.11.11, forgets to close what it could not map */
}

/* Or it is asked to come again, where a worker is in the library's hands at that very moment. */
TEST_F(VhostSplitTest, OtherMemoryWhileTheLibraryServes)
{
	port *const served = p;
	unsigned int replaced = 0;
	std::atomic<uint64_t> in{0};
	Worker worker([&] {
		in += receive(served).size();
		transmit(served, {frame(60)});
	});
	for (unsigned int turn = 0; turn < 100; turn++) {
		if (guest.fd < 0)
			join(BASIC | vhost::LOG_ALL);
		uint64_t before = in;
		if (guest.share({Guest::BYTES - 4096 * (1 + turn % 2)})) {
			guest.give(0, frame(60));
			EXPECT_TRUE(wait([&] { return in > before; }));
			guest.take(0);
			replaced++;
		} else {
			EXPECT_TRUE(guest.refused());
			guest.hang_up();
			ASSERT_TRUE(wait([&] { return !up(p); }));
		}
	}
	EXPECT_GT(replaced, 50u);
}

/* Whoever closes the port waits for workers, but so must who handles a message meanwhile: memory goes with it. */
TEST_F(VhostSplitTest, AMessageWaitsForTheWorkersOfAPortThatIsClosed)
{
	join();
	std::atomic<bool> held{false}, hold{true};
	std::thread closing;
	vhost::Message m = Guest::message(vhost::SET_OWNER, 0);
	{
		Worker worker([&] {
			held = true;
			while (hold)
				std::this_thread::yield();
		});
		ASSERT_TRUE(wait([&] { return held.load(); }));
		closing = std::thread([this] { close(p); });
		std::this_thread::sleep_for(std::chrono::milliseconds(100));
		ASSERT_TRUE(guest.send(m));
		EXPECT_FALSE(guest.reply(m, 200));
		hold = false;
		EXPECT_TRUE(guest.reply(m) || guest.refused());
	}
	closing.join();
}
