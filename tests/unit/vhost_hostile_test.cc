/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that break the rules of split rings: cases V1 to V7 and V9. Nothing of it is seen beyond their own port. */
#include "vhost_split_fixture.hpp"

#include <random>

using vhost::BASIC;
using vhost::Desc;
using vhost::DESC_INDIRECT;
using vhost::DESC_NEXT;
using vhost::DESC_WRITE;
using vhost::Guest;

class VhostHostileTest : public VhostSplitTest
{
      protected:
	static constexpr uint64_t END = Guest::BYTES;
	static constexpr uint64_t FEATURES = BASIC | vhost::INDIRECT;
	using Pieces = std::vector<Desc>;
	/* Flags as they are here; one behind the other, from the ring's next on. */
	void
	put(unsigned int ring, const Pieces &raw)
	{
		Guest::Ring &r = guest.rings[ring];
		uint16_t head = r.next % Guest::SIZE;
		for (const Desc &d : raw)
			r.desc[r.next++ % Guest::SIZE] = d;
		guest.post(ring, head);
	}
	Desc
	raw_table(const Pieces &raw, uint32_t bytes)
	{
		memcpy(guest.base + TABLE, raw.data(), raw.size() * sizeof(raw[0]));
		return {TABLE, bytes, DESC_INDIRECT, 0};
	}
	uint16_t
	next(unsigned int ring, unsigned int i = 0) const
	{
		return static_cast<uint16_t>((guest.rings[ring].next + i) % Guest::SIZE);
	}
	/* A lost buffer between two frames: both arrive, and it is counted once. */
	void
	expect_lost(const char *what, const Pieces &raw)
	{
		uint64_t bad = p->stats[0].rx_bad;
		uint16_t before = guest.consumed(0);
		guest.give(0, frame(60, 1));
		put(1, raw);
		guest.give(0, frame(60, 2));
		EXPECT_EQ(receive(p), (Frames{frame(60, 1), frame(60, 2)})) << what;
		EXPECT_EQ(p->stats[0].rx_bad, bad + 1) << what;
		EXPECT_EQ(guest.consumed(0), static_cast<uint16_t>(before + 3)) << what;
	}
	/* Nothing is sent by such a buffer, until it is put right. */
	void
	expect_unusable(const char *what, const Pieces &raw)
	{
		uint16_t before = guest.rings[0].used->idx;
		uint16_t head = next(0);
		put(0, raw);
		EXPECT_EQ(transmit(p, {frame(1514, 1)}), 0) << what;
		EXPECT_EQ(transmit(p, {frame(1514, 1), frame(60, 2)}), 0) << what;
		EXPECT_EQ(guest.rings[0].used->idx, before) << what;
		guest.rings[0].desc[head] = {AT, 1526, DESC_WRITE, 0};
		EXPECT_EQ(transmit(p, {frame(1514, 3)}), 1) << what;
		EXPECT_EQ(laid(1514), frame(1514, 3)) << what;
	}
	/* The ring is left alone from here on, its neighbour is not; and served again when it was set up anew. */
	void
	expect_broken(unsigned int ring)
	{
		Guest::Ring &r = guest.rings[ring];
		uint16_t before = r.used->idx;
		EXPECT_NE(describe(p).find(", a ring that the guest broke"), std::string::npos) << describe(p);
		r.desc[next(ring)] = {AT, lay(frame(60)), static_cast<uint16_t>(ring == 0 ? DESC_WRITE : 0), 0};
		for (unsigned int i = 0; i < Guest::SIZE; i++)
			r.avail->ring[i] = next(ring);
		for (uint16_t ahead : {1, 2, 64, 65}) {
			__atomic_store_n(&r.avail->idx, before + ahead, __ATOMIC_RELEASE);
			EXPECT_EQ(transmit(p, {frame(60)}), 0);
			EXPECT_TRUE(receive(p).empty());
			if (ring == 1)
				guest.chain(0, {{TABLE, 2000, DESC_WRITE, 0}});
			pass(1 - ring);
			EXPECT_EQ(r.used->idx, before);
		}
		ASSERT_TRUE(guest.stop_ring(0) && guest.stop_ring(1));
		guest.stocked = true;
		ASSERT_TRUE(guest.start_rings(1));
		ASSERT_TRUE(wait([&] { return up(p); }));
		expect_traffic();
	}
};

TEST_F(VhostHostileTest, V1ChainsThatAreCirclesAreLost)
{
	join(FEATURES);
	expect_lost("of one", {{AT, 16, DESC_NEXT, next(1, 1)}});
	expect_lost("of two", {{AT, 16, DESC_NEXT, next(1, 2)}, {AT, 16, DESC_NEXT, next(1, 1)}});
	expect_lost("in a table", {raw_table({{AT, 16, DESC_NEXT, 0}}, 16)});
	expect_lost("of nothing", {{AT, 0, DESC_NEXT, next(1, 1)}});
	expect_traffic();
}

TEST_F(VhostHostileTest, V2ChainsThatLeaveTheirTableAreLost)
{
	join(FEATURES);
	expect_lost("by one", {{AT, 16, DESC_NEXT, Guest::SIZE}});
	expect_lost("far", {{AT, 16, DESC_NEXT, 0xffff}});
	expect_lost("of their own", {raw_table({{AT, 16, DESC_NEXT, 1}, {AT, 100, 0, 0}}, 16)});
	Pieces longest(Guest::SIZE + 1, Desc{AT, 16, DESC_NEXT, 0});
	for (size_t i = 0; i < longest.size(); i++)
		longest[i].next = static_cast<uint16_t>(i + 1);
	longest.back().flags = 0;
	expect_lost("longer than the ring", {raw_table(longest, static_cast<uint32_t>(16 * longest.size()))});
	expect_traffic();
}

TEST_F(VhostHostileTest, V3FramesOutsideOfMemoryAreLost)
{
	join(FEATURES);
	expect_lost("behind it", {{END, 100, 0, 0}});
	expect_lost("at its end", {{END - 99, 100, 0, 0}});
	expect_lost("far", {{1ull << 63, 100, 0, 0}});
	expect_lost("around 2^64", {{~0ull - 49, 100, 0, 0}});
	expect_lost("all", {{~0ull, 0xffffffff, 0, 0}});
	expect_lost("much too long", {{AT, 0xffffffff, 0, 0}});
	expect_lost("2^32 less a header", {{AT, 11, DESC_NEXT, next(1, 2)}, {AT, 0xfffffff5, 0, 0}});
	expect_lost("the second piece", {{AT, 12, DESC_NEXT, next(1, 2)}, {END - 1, 2, 0, 0}});
	expect_lost("the header", {{END, 12, DESC_NEXT, next(1, 2)}, {AT, 60, 0, 0}});
	lay(frame(60, 7), END - 72);
	guest.chain(1, {{END - 72, 72, 0, 0}});
	EXPECT_EQ(receive(p), Frames{frame(60, 7)}) << "the last byte is inside";
}

TEST_F(VhostHostileTest, V4FramesOfNothingAreLost)
{
	join(FEATURES);
	expect_lost("nothing", {{AT, 0, 0, 0}});
	expect_lost("less than a header", {{AT, 11, 0, 0}});
	expect_lost("a header", {{AT, 12, 0, 0}});
	expect_lost("a header in pieces", {{AT, 6, DESC_NEXT, next(1, 2)}, {AT, 6, 0, 0}});
	expect_lost("a header and nothing", {{AT, 12, DESC_NEXT, next(1, 2)}, {AT, 0, 0, 0}});
	expect_lost("nothing, then a frame", {{AT, 0, DESC_NEXT, next(1, 2)}, {AT, 100, 0, 0}});
	expect_traffic();
}

TEST_F(VhostHostileTest, V5TablesThatAreNoneAreLost)
{
	join(FEATURES);
	const Desc good = {AT, 100, 0, 0}, inner = {TABLE + 64, 16, DESC_INDIRECT, 0};
	expect_lost("in a table", {raw_table({inner, good, good, good, good}, 16)});
	expect_lost("second in a table", {raw_table({{AT, 12, DESC_NEXT, 1}, inner, good, good, good}, 32)});
	expect_lost("in a chain", {{AT, 12, DESC_NEXT, next(1, 2)}, raw_table({good}, 16)});
	Desc t = raw_table({good, good}, 32);
	t.flags |= DESC_NEXT;
	t.next = next(1, 2);
	expect_lost("with more behind", {t, good});
	for (uint32_t bytes : {0, 1, 15, 17, 24})
		expect_lost("no multiple of 16 bytes", {raw_table({good, good}, bytes)});
	expect_lost("unaligned", {{TABLE + 4, 16, DESC_INDIRECT, 0}});
	expect_lost("outside", {{END, 16, DESC_INDIRECT, 0}});
	expect_lost("at the end", {{END - 16, 32, DESC_INDIRECT, 0}});
	expect_lost("around 2^64", {{~0ull - 15, 32, DESC_INDIRECT, 0}});
	expect_lost("of 2^32 bytes", {{TABLE, 0xfffffff0, DESC_INDIRECT, 0}});
	expect_traffic();
}

TEST_F(VhostHostileTest, V9FramesInWritableBuffersAreLost)
{
	join(FEATURES);
	expect_lost("whole", {{AT, 100, DESC_WRITE, 0}});
	expect_lost("second", {{AT, 12, DESC_NEXT, next(1, 2)}, {AT, 100, DESC_WRITE, 0}});
	expect_lost("in a table", {raw_table({{AT, 100, DESC_WRITE, 0}}, 16)});
	expect_traffic();
}

TEST_F(VhostHostileTest, NothingIsSentIntoBuffersThatAreNone)
{
	guest.stocked = false;
	for (uint64_t features : {FEATURES, FEATURES | vhost::MRG_RXBUF}) {
		join(features);
		const uint16_t both = DESC_WRITE | DESC_NEXT;
		expect_unusable("read-only", {{AT, 2000, 0, 0}});
		expect_unusable("read-only second", {{AT, 12, both, next(0, 1)}, {AT, 2000, 0, 0}});
		expect_unusable("empty", {{AT, 0, DESC_WRITE, 0}});
		expect_unusable("shorter than a header", {{AT, 11, DESC_WRITE, 0}});
		expect_unusable("only a header", {{AT, 12, DESC_WRITE, 0}});
		expect_unusable("a circle", {{AT, 16, both, next(0)}});
		expect_unusable("a circle of nothing", {{AT, 12, both, next(0, 1)}, {AT, 0, both, next(0, 1)}});
		expect_unusable("beyond the table", {{AT, 12, both, Guest::SIZE}});
		expect_unusable("outside", {{END, 2000, DESC_WRITE, 0}});
		expect_unusable("at the end", {{END - 100, 2000, DESC_WRITE, 0}});
		expect_unusable("around 2^64", {{~0ull - 99, 2000, DESC_WRITE, 0}});
		expect_unusable("endless", {{AT, 12, both, next(0, 1)}, {END - 1, 0xffffffff, DESC_WRITE, 0}});
		expect_unusable("a table in a table", {raw_table({{TABLE, 16, DESC_INDIRECT, 0}}, 16)});
		expect_unusable("a table of nothing", {raw_table({{AT, 2000, DESC_WRITE, 0}}, 0)});
		expect_unusable("a table outside", {{END, 16, DESC_INDIRECT, 0}});
		guest.hang_up();
		ASSERT_TRUE(wait([&] { return !up(p); }));
	}
}

TEST_F(VhostHostileTest, ABufferOfferedTwiceIsTwoBuffers)
{
	guest.stocked = false;
	guest.room = 128;
	join(FEATURES | vhost::MRG_RXBUF);
	uint16_t head = guest.chain(0, {{AT, 128, DESC_WRITE, 0}});
	for (unsigned int i = 1; i < 12; i++)
		guest.post(0, head);
	EXPECT_EQ(transmit(p, {frame(1514, 1)}), 1);
	EXPECT_EQ(guest.rings[0].used->idx, 12);
	EXPECT_EQ(transmit(p, {frame(60, 1)}), 0);
}

/* In the largest ring there is, as many buffers as it has, each a chain of as many pieces, which would take a frame by
 * 2^30 of them. */
TEST_F(VhostHostileTest, ChainsOfNothingCostNoTime)
{
	constexpr uint16_t SIZE = 32768;
	const uint64_t desc = Guest::buffer(4, 0), avail = desc + 16 * SIZE, used = avail + 4 * SIZE;
	guest.stocked = false;
	join(FEATURES | vhost::MRG_RXBUF);
	ASSERT_TRUE(guest.stop_ring(0));
	ASSERT_TRUE(guest.start_ring(0, SIZE, desc, avail, used) && guest.enable(0, true));
	ASSERT_TRUE(wait([&] { return up(p); }));
	Guest::Ring &r = guest.rings[0];
	for (uint16_t i = 0; i < SIZE; i++) {
		bool last = i == SIZE - 1;
		r.desc[i] = {0x1000, 0, static_cast<uint16_t>(DESC_WRITE | (last ? 0 : DESC_NEXT)),
			     static_cast<uint16_t>(i + 1)};
		r.avail->ring[i] = i != 0;
	}
	r.desc[0].len = 12;
	__atomic_store_n(&r.avail->idx, SIZE, __ATOMIC_RELEASE);
	auto start = std::chrono::steady_clock::now();
	EXPECT_EQ(transmit(p, {frame(60)}), 0);
	EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(500));
}

/* virtio 1.1 2.6: 16, 2 and 4 bytes. */
TEST_F(VhostHostileTest, RingsThatAreNotAlignedAreNotServed)
{
	join(FEATURES);
	for (auto [d, a, u] : {std::tuple(8, 0, 0), {1, 0, 0}, {0, 1, 0}, {0, 0, 2}, {0, 0, 1}, {0, 0, 0}}) {
		ASSERT_TRUE(guest.place_ring(1, 4096 + static_cast<uint64_t>(d), 5120 + static_cast<uint64_t>(a),
					     6144 + static_cast<uint64_t>(u)));
		guest.give(0, frame(60, 1));
		EXPECT_EQ(receive(p).empty(), d + a + u != 0);
		EXPECT_EQ(transmit(p, {frame(60)}), 1);
	}
}

TEST_F(VhostHostileTest, AHeadBeyondTheRingBreaksIt)
{
	for (unsigned int ring : {0, 1})
		for (uint16_t head : {64, 0xffff}) {
			guest.stocked = false;
			join(FEATURES);
			if (ring == 1)
				guest.give(0, frame(60, 1));
			else
				guest.chain(0, {{AT, 1526, DESC_WRITE, 0}});
			guest.post(ring, head);
			EXPECT_EQ(receive(p), ring == 1 ? Frames{frame(60, 1)} : Frames());
			EXPECT_EQ(transmit(p, {frame(60, 1), frame(60, 2)}), 1 - ring);
			expect_broken(ring);
			guest.hang_up();
			ASSERT_TRUE(wait([&] { return !up(p); }));
		}
}

/* V6. */
TEST_F(VhostHostileTest, AnIndexThatJumpsBreaksItsRing)
{
	for (unsigned int ring : {0, 1})
		for (int jump : {65, 32768, -1}) {
			guest.stocked = false;
			join(FEATURES);
			guest.rings[ring].avail->idx = static_cast<uint16_t>(jump);
			EXPECT_TRUE(receive(p).empty());
			EXPECT_EQ(transmit(p, {frame(60)}), 0);
			expect_broken(ring);
			guest.hang_up();
			ASSERT_TRUE(wait([&] { return !up(p); }));
		}
}

/* What we write is ours: a guest that changes it harms itself. */
TEST_F(VhostHostileTest, OurIndexIsNotReadBack)
{
	join(FEATURES);
	guest.rings[1].used->idx = 0x7777;
	guest.give(0, frame(60, 1));
	EXPECT_EQ(receive(p), Frames{frame(60, 1)});
	EXPECT_EQ(guest.consumed(0), 1);
}

/* V7: descriptors and heads change while a worker polls; those of another port go on. */
TEST_F(VhostHostileTest, V7NothingIsReadTwice)
{
	port *const served = p, *const other = open(Spec("b", "b"));
	Guest good;
	ASSERT_TRUE(good.connect(path("b")) && good.start(BASIC));
	ASSERT_TRUE(wait([&] { return up(other); }));
	const std::vector<uint64_t> addresses = {AT, TABLE, END, END - 1, END - 100, ~0ull, ~0ull - 50, 0, 1ull << 63};
	const std::vector<uint32_t> lengths = {0, 1, 11, 12, 13, 100, 1526, 2060, 2061, 16, 64, 0x10000, 0xffffffff};
	std::mt19937 random(7);
	std::atomic<uint64_t> in{0}, out{0}, crossed{0};
	soil_pool();
	for (uint64_t features : {FEATURES, FEATURES | vhost::MRG_RXBUF}) {
		join(features);
		Worker worker([&] {
			in += receive(served).size();
			out += transmit(served, {frame(60), frame(1514), frame(200)});
			crossed += receive(other).size() + transmit(other, {frame(60)});
		});
		auto *tables = reinterpret_cast<Desc *>(guest.base + TABLE);
		auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
		while (std::chrono::steady_clock::now() < end) {
			for (unsigned int i = 0; i < 200; i++) {
				unsigned int ring = random() % 3;
				Desc &d = (ring < 2 ? guest.rings[ring].desc : tables)[random() % Guest::SIZE];
				d.addr = addresses[random() % addresses.size() * (random() % 4 == 0)];
				d.len = lengths[random() % lengths.size()];
				d.next = static_cast<uint16_t>(random() % 66);
				d.flags = static_cast<uint16_t>(random() % 4 == 0 ? random() % 16
										  : (ring == 0) * DESC_WRITE);
			}
			for (unsigned int ring : {0, 1})
				while (static_cast<uint16_t>(guest.rings[ring].offered - guest.rings[ring].used->idx) <
				       Guest::SIZE)
					guest.post(ring, random() % Guest::SIZE);
			good.take(0);
			if (good.consumed(0) == good.rings[1].offered)
				good.give(0, frame(60));
		}
		guest.hang_up();
	}
	EXPECT_GT(in, 10u);
	EXPECT_GT(out, 10u);
	EXPECT_GT(p->stats[0].rx_bad, 10u);
	EXPECT_GT(crossed, 10u);
}
