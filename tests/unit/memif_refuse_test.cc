/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that break the rules on the control socket: cases M6 and M7. */
#include <memory>

#include "memif_fixture.hpp"

using memif::Message;
using memif::Peer;
using Frames = std::vector<std::vector<uint8_t>>;

/* M6 */
TEST_F(MemifHostileTest, M6Version)
{
	ASSERT_TRUE(peer.greet(path("s")));
	Message m = memif::init(0);
	m.put<uint16_t>(2, 0x0100);
	expect_refused(m, {}, "version 1.0 is not 2.0");
}

TEST_F(MemifHostileTest, M6Mode)
{
	ASSERT_TRUE(peer.greet(path("s")));
	Message m = memif::init(0);
	m.put<uint8_t>(8, 1);
	expect_refused(m, {}, "only ethernet mode is supported");
}

TEST_F(MemifHostileTest, M6Id)
{
	ASSERT_TRUE(peer.greet(path("s")));
	expect_refused(memif::init(7), {}, "no interface with id 7 here");
}

TEST_F(MemifHostileTest, M6SecondClient)
{
	Peer first;
	ASSERT_TRUE(first.open(path("s")));
	ASSERT_TRUE(peer.greet(path("s")));
	ASSERT_TRUE(peer.send(memif::init(0)));
	EXPECT_TRUE(peer.refused());
	EXPECT_EQ(peer.reason, "id 0 is connected already");
	first.give(0, frame(60, 1));
	EXPECT_EQ(receive(p), Frames{frame(60, 1)});
}

TEST_F(MemifHostileTest, M6InitTwice)
{
	ASSERT_TRUE(peer.introduce(path("s")));
	expect_refused(memif::init(0), {}, "INIT was sent already");
}

TEST_F(MemifHostileTest, M6Cookie)
{
	ASSERT_TRUE(peer.share(path("s")));
	peer.s2m[0].field<uint32_t>(0) = 0x3e31f21;
	expect_refused(peer.ring_message(true, 0), {peer.events[0]}, "a ring has the wrong cookie");
}

TEST_F(MemifHostileTest, M6RingSizes)
{
	for (uint8_t log2 : {0, 15, 31, 32, 255}) {
		Peer other;
		ASSERT_TRUE(other.share(path("s")));
		ASSERT_TRUE(other.send(memif::add_ring(true, 0, 0, 0, log2), {other.events[0]}));
		EXPECT_TRUE(other.refused());
		EXPECT_EQ(other.reason, "ring size 2^" + std::to_string(log2) + " is not in 2^1..2^14");
	}
}

TEST_F(MemifHostileTest, M6RingPlaces)
{
	for (int i = 0; i < 6; i++) {
		Peer other;
		ASSERT_TRUE(other.share(path("s")));
		uint32_t end = static_cast<uint32_t>(other.bytes);
		const Message bad[] = {
			memif::add_ring(true, 0, 1, 0, 6),                             /* no such region */
			memif::add_ring(true, 0, 0, 8, 6),                             /* not aligned */
			memif::add_ring(true, 0, 0, end - other.ring_bytes() + 16, 6), /* over the end */
			memif::add_ring(true, 0, 0, 0xfffffff0, 6),                    /* wraps */
			memif::add_ring(true, 0, 0, 0, 14),                            /* too long for the region */
			memif::add_ring(true, 0, 0xffff, 0, 6),
		};
		if (i == 4 && other.bytes > 128 + (16 << 14))
			continue;
		ASSERT_TRUE(other.send(bad[i], {other.events[0]}));
		EXPECT_TRUE(other.refused()) << i;
	}
}

TEST_F(MemifHostileTest, M6PrivateHeader)
{
	ASSERT_TRUE(peer.share(path("s")));
	Message m = peer.ring_message(true, 0);
	m.put<uint16_t>(13, 8);
	expect_refused(m, {peer.events[0]}, "private headers are not supported");
}

TEST_F(MemifHostileTest, M6QueueNumbers)
{
	for (uint16_t index : {uint16_t{1}, uint16_t{255}, uint16_t{0xffff}}) {
		Peer other;
		ASSERT_TRUE(other.share(path("s")));
		Message m = other.ring_message(true, 0);
		m.put<uint16_t>(4, index);
		ASSERT_TRUE(other.send(m, {other.events[0]}));
		EXPECT_TRUE(other.refused());
		EXPECT_EQ(other.reason, "ring " + std::to_string(index) + ": the port has 1 queue");
	}
	ASSERT_TRUE(peer.share(path("s")));
	ASSERT_TRUE(peer.ask(peer.ring_message(true, 0), {peer.events[0]}));
	expect_refused(peer.ring_message(true, 0), {peer.events[0]}, "ring 0 where ring 1 is due");
}

TEST_F(MemifHostileTest, M6RingsOfOneDirectionOnly)
{
	ASSERT_TRUE(peer.share(path("s")));
	ASSERT_TRUE(peer.ask(peer.ring_message(true, 0), {peer.events[0]}));
	expect_refused(memif::connect("x"), {}, "a ring of each direction is needed");
}

TEST_F(MemifHostileTest, M6Regions)
{
	{
		Peer other;
		ASSERT_TRUE(other.introduce(path("s")));
		other.make_memory();
		ASSERT_TRUE(other.send(memif::add_region(1, other.bytes), {other.region_fd}));
		EXPECT_TRUE(other.refused());
		EXPECT_EQ(other.reason, "region 1 where region 0 is due");
	}
	for (uint64_t size : {UINT64_C(0), (UINT64_C(256) << 20) + 1, ~UINT64_C(0)}) {
		Peer other;
		ASSERT_TRUE(other.introduce(path("s")));
		other.make_memory();
		ASSERT_TRUE(other.send(memif::add_region(0, size), {other.region_fd}));
		EXPECT_TRUE(other.refused());
		EXPECT_EQ(other.reason, "a region of " + std::to_string(size) + " bytes is not in 1..268435456");
	}
	ASSERT_TRUE(peer.share(path("s")));
	for (uint16_t i = 1; i < 16; i++)
		ASSERT_TRUE(peer.ask(memif::add_region(i, 4096), {peer.region_fd})) << i;
	expect_refused(memif::add_region(16, 4096), {peer.region_fd}, "at most 16 regions");
}

/* M7 */
TEST_F(MemifHostileTest, M7WrongNumberOfDescriptors)
{
	unsigned int before = count_fds();
	struct {
		int step;
		std::vector<int> fds;
	} cases[] = {{0, {0}},       {0, {0, 0}}, {1, {}},        {1, {0, 0}},
		     {1, {0, 0, 0}}, {2, {}},     {2, {0, 0, 0}}, {2, std::vector<int>(12, 0)},
		     {3, {0}}};
	for (const auto &c : cases) {
		Peer other;
		bool ready = c.step == 0   ? other.greet(path("s"))
			     : c.step == 1 ? other.introduce(path("s"))
			     : c.step == 2 ? other.share(path("s"))
					   : other.share(path("s")) && other.add_rings();
		ASSERT_TRUE(ready);
		if (other.base == nullptr)
			other.make_memory();
		Message m = c.step == 0   ? memif::init(0)
			    : c.step == 1 ? memif::add_region(0, other.bytes)
			    : c.step == 2 ? other.ring_message(true, 0)
					  : memif::connect("x");
		std::vector<int> pass(c.fds.size(), c.step == 1 ? other.region_fd : other.events[0]);
		ASSERT_TRUE(other.send(m, pass));
		EXPECT_TRUE(other.refused()) << c.step << " " << pass.size();
		EXPECT_NE(other.reason.find("descriptors where"), std::string::npos) << other.reason;
	}
	EXPECT_TRUE(wait([&] { return count_fds() == before; })) << count_fds() << " was " << before;
}

TEST_F(MemifHostileTest, M7MessageSizes)
{
	uint8_t bytes[512] = {};
	Message m = memif::init(0);
	memcpy(bytes, m.b, sizeof(m.b));
	for (size_t n : {1, 2, 64, 127, 129, 512}) {
		Peer other;
		ASSERT_TRUE(other.greet(path("s")));
		ASSERT_TRUE(other.send(bytes, n));
		EXPECT_TRUE(other.refused()) << n;
		EXPECT_EQ(other.reason, "a message must have 128 bytes");
	}
	/* A short one with descriptors: they are closed. */
	Peer other;
	ASSERT_TRUE(other.greet(path("s")));
	ASSERT_TRUE(other.send(bytes, 5, {0, 1, 2}));
	EXPECT_TRUE(other.refused());
}

TEST_F(MemifHostileTest, M7MessagesOutOfOrder)
{
	for (uint16_t type : {0, 1, 2, 5, 6, 7, 9, 0xffff}) {
		Peer other;
		ASSERT_TRUE(other.greet(path("s")));
		ASSERT_TRUE(other.send(Message(type)));
		EXPECT_TRUE(other.refused()) << type;
	}
	for (uint16_t type : {0, 1, 2, 7, 9, 0xffff}) {
		Peer other;
		ASSERT_TRUE(other.introduce(path("s")));
		ASSERT_TRUE(other.send(Message(type)));
		EXPECT_TRUE(other.refused()) << type;
	}
	ASSERT_TRUE(peer.open(path("s")));
	ASSERT_TRUE(peer.send(memif::init(0)));
	EXPECT_TRUE(peer.refused());
	EXPECT_EQ(peer.reason, "message 3 is not due now");
	EXPECT_TRUE(wait([&] { return !up(p); }));
}

TEST_F(MemifHostileTest, M7NotAnEventfd)
{
	int pipe_fds[2];
	ASSERT_EQ(pipe(pipe_fds), 0);
	ASSERT_TRUE(peer.share(path("s")));
	ASSERT_TRUE(peer.ask(peer.ring_message(true, 0), {peer.events[0]}));
	expect_refused(peer.ring_message(false, 0), {pipe_fds[1]}, "a ring's descriptor must be an eventfd");
	::close(pipe_fds[0]);
	::close(pipe_fds[1]);
}

/* The counter is full and the descriptor blocks: whoever wrote to it would wait for ever. */
TEST_F(MemifHostileTest, M7EventfdThatBlocks)
{
	uint64_t full = UINT64_MAX - 1;
	ASSERT_TRUE(peer.open(path("s")));
	int fd = peer.ring_event(false, 0);
	ASSERT_EQ(write(fd, &full, sizeof(full)), 8);
	ASSERT_EQ(fcntl(fd, F_SETFL, 0), 0);
	peer.offer(0, 64);
	auto start = std::chrono::steady_clock::now();
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(transmit(p, {frame(60)}), 1);
	EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(MemifHostileTest, M7SlowDripTimesOut)
{
	Peer silent, started, late;
	ASSERT_TRUE(silent.greet(path("s")));
	ASSERT_TRUE(started.introduce(path("s")));
	auto start = std::chrono::steady_clock::now();
	EXPECT_TRUE(silent.refused());
	EXPECT_EQ(silent.reason, "no connection within 2 s");
	EXPECT_TRUE(started.refused());
	auto took = std::chrono::steady_clock::now() - start;
	EXPECT_GT(took, std::chrono::milliseconds(1500));
	EXPECT_LT(took, std::chrono::milliseconds(3000));
	EXPECT_TRUE(peer.open(path("s")));
}

TEST_F(MemifHostileTest, M7SilentCrowd)
{
	std::vector<std::unique_ptr<Peer>> crowd;
	for (int i = 0; i < 60; i++) {
		crowd.push_back(std::make_unique<Peer>());
		ASSERT_TRUE(crowd.back()->dial(path("s")));
	}
	EXPECT_TRUE(peer.open(path("s")));
	EXPECT_TRUE(crowd[0]->refused());
	EXPECT_EQ(crowd[0]->reason, "too many connections are being made");
	EXPECT_LT(count_fds(), fds + 60 + 40 + 10);
}
