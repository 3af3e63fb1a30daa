/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that break the rules in shared memory: cases M1 to M5. */
#include <atomic>
#include <csignal>
#include <random>
#include <sys/wait.h>

#include "memif_fixture.hpp"

using memif::Desc;
using memif::Peer;
using Frames = std::vector<std::vector<uint8_t>>;

struct BadDesc {
	const char *name;
	Desc desc;
};

class MemifBadDescTest : public MemifHostileTest, public ::testing::WithParamInterface<BadDesc>
{
};

/* M1, in the middle of a burst: what came before it is delivered. */
TEST_P(MemifBadDescTest, OnReceive)
{
	ASSERT_TRUE(peer.open(path("s")));
	peer.give(0, frame(60, 1));
	peer.give(0, frame(60, 2));
	peer.give(0, frame(60, 3));
	peer.s2m[0].desc(1) = GetParam().desc;
	EXPECT_EQ(receive(p), Frames{frame(60, 1)});
	expect_closed("a descriptor lies outside its region");
}

TEST_P(MemifBadDescTest, OnTransmit)
{
	ASSERT_TRUE(peer.open(path("s")));
	peer.offer(0, 3);
	peer.m2s[0].desc(1) = GetParam().desc;
	EXPECT_EQ(transmit(p, {frame(60, 1), frame(60, 2), frame(60, 3)}), 1);
	EXPECT_EQ(peer.take(0), frame(60, 1));
	expect_closed("a descriptor lies outside its region");
}

/* The bad one is the second of a chain. */
TEST_P(MemifBadDescTest, InAChain)
{
	ASSERT_TRUE(peer.open(path("s")));
	peer.give(0, frame(300), {100, 100, 100});
	peer.s2m[0].desc(1) = GetParam().desc;
	EXPECT_TRUE(receive(p, 0, 1).empty());
	EXPECT_EQ(p->stats[0].rx_bad, 1u);
	EXPECT_TRUE(wait([&] { return !up(p); }, 1000));
}

INSTANTIATE_TEST_SUITE_P(M1, MemifBadDescTest,
			 ::testing::Values(BadDesc{"RegionOutOfRange", {0, 1, 60, 0, 0}},
					   BadDesc{"RegionLast", {0, 0xffff, 60, 0, 0}},
					   BadDesc{"LengthAllOnes", {0, 0, 0xffffffff, 0, 0}},
					   BadDesc{"OffsetAllOnes", {0, 0, 60, 0xffffffff, 0}},
					   BadDesc{"SumWraps", {0, 0, 0x80000000, 0x80000000, 0}},
					   BadDesc{"SumWrapsToSmall", {0, 0, 64, 0xffffffe0, 0}},
					   BadDesc{"NextToo", {1, 0, 0xfffffff0, 0x20, 0}}),
			 [](const auto &i) { return i.param.name; });

/* The last byte of a region is in it, the one after is not. */
TEST_F(MemifHostileTest, M1RegionEndIsExact)
{
	ASSERT_TRUE(peer.open(path("s")));
	uint32_t size = static_cast<uint32_t>(peer.bytes);
	peer.give(0, frame(60));
	peer.s2m[0].desc(0) = Desc{0, 0, 60, size - 60, 0};
	EXPECT_EQ(receive(p).size(), 1u);
	peer.give(0, frame(60));
	peer.s2m[0].desc(1) = Desc{0, 0, 60, size - 59, 0};
	EXPECT_TRUE(receive(p).empty());
	expect_closed("a descriptor lies outside its region");
}

TEST_F(MemifHostileTest, M2HeadTooFarOnReceive)
{
	ASSERT_TRUE(peer.open(path("s")));
	peer.s2m[0].set_head(65);
	EXPECT_TRUE(receive(p).empty());
	expect_closed("a ring's index is further away than the ring is long");
}

TEST_F(MemifHostileTest, M2HeadGoesBack)
{
	ASSERT_TRUE(peer.open(path("s")));
	peer.give(0, frame(60));
	EXPECT_EQ(receive(p).size(), 1u);
	peer.s2m[0].set_head(0);
	EXPECT_TRUE(receive(p).empty());
	expect_closed("a ring's index is further away than the ring is long");
}

TEST_F(MemifHostileTest, M2HeadTooFarOnTransmit)
{
	ASSERT_TRUE(peer.open(path("s")));
	peer.m2s[0].set_head(0x8000);
	EXPECT_EQ(transmit(p, {frame(60)}), 0);
	expect_closed("a ring's index is further away than the ring is long");
}

/* Our own index is ours: what the peer writes there changes nothing. */
TEST_F(MemifHostileTest, M2OurIndexIsNotReadBack)
{
	ASSERT_TRUE(peer.open(path("s")));
	peer.give(0, frame(60, 1));
	peer.offer(0, 8);
	peer.s2m[0].set_tail(0x7777);
	peer.m2s[0].set_tail(0x7777);
	EXPECT_EQ(receive(p), Frames{frame(60, 1)});
	EXPECT_EQ(transmit(p, {frame(60, 2)}), 1);
	EXPECT_EQ(peer.s2m[0].tail(), 1);
	EXPECT_EQ(peer.take(0), frame(60, 2));
	peer.give(0, frame(60, 3));
	EXPECT_EQ(receive(p), Frames{frame(60, 3)});
}

TEST_F(MemifHostileTest, M3ChainEndsPastHead)
{
	ASSERT_TRUE(peer.open(path("s")));
	peer.give(0, frame(60, 1));
	peer.give(0, frame(120), {60, 60});
	peer.s2m[0].desc(2).flags = 1;
	EXPECT_EQ(receive(p), Frames{frame(60, 1)});
	expect_closed("a chain of descriptors has no end, or more than 64");
}

TEST_F(MemifHostileTest, M3EndlessChain)
{
	peer.log2 = 10;
	ASSERT_TRUE(peer.open(path("s")));
	for (unsigned int i = 0; i < 1024; i++)
		peer.give(0, {});
	for (unsigned int i = 0; i < 1024; i++)
		peer.s2m[0].desc(i).flags = 1;
	EXPECT_TRUE(receive(p).empty());
	expect_closed("a chain of descriptors has no end, or more than 64");
}

/* How much work one frame may be is bounded, too. */
TEST_F(MemifHostileTest, M3LongestChain)
{
	peer.log2 = 8;
	ASSERT_TRUE(peer.open(path("s")));
	peer.give(0, frame(640), std::vector<uint32_t>(64, 10));
	EXPECT_EQ(receive(p), Frames{frame(640)});
	peer.give(0, frame(650), std::vector<uint32_t>(65, 10));
	EXPECT_TRUE(receive(p).empty());
	expect_closed("a chain of descriptors has no end, or more than 64");
}

/* M4: the peer is killed with frames in flight, both ways. */
TEST_F(MemifHostileTest, M4KilledInTheMiddle)
{
	for (int life = 0; life < 20; life++) {
		std::string where = path("s");
		int ready[2];
		ASSERT_EQ(pipe(ready), 0);
		pid_t child = fork();
		if (child == 0) {
			static Peer doomed;
			doomed.log2 = 8;
			if (!doomed.open(where))
				_exit(1);
			for (unsigned int i = 0; i < 256; i++)
				doomed.give(0, frame(60));
			doomed.offer(0, 256);
			if (write(ready[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		char c;
		::close(ready[1]);
		ASSERT_EQ(read(ready[0], &c, 1), 1);
		::close(ready[0]);
		ASSERT_TRUE(up(p));
		EXPECT_EQ(receive(p, 0, 32).size(), 32u);
		EXPECT_EQ(transmit(p, Frames(32, frame(60))), 32);
		kill(child, SIGKILL);
		receive(p, 0, 32); /* before or after the end is noticed */
		EXPECT_TRUE(wait([&] { return !up(p); }, 1000));
		EXPECT_TRUE(receive(p).empty());
		waitpid(child, nullptr, 0);
	}
}

/* M5: memory that could vanish is refused, and what is accepted cannot. */
TEST_F(MemifHostileTest, M5AcceptedMemoryCannotShrink)
{
	ASSERT_TRUE(peer.open(path("s")));
	EXPECT_EQ(ftruncate(peer.region_fd, 0), -1);
	EXPECT_EQ(errno, EPERM);
	/* A hole is allowed, and reads as zero. */
	peer.give(0, frame(60, 1));
	ASSERT_EQ(fallocate(peer.region_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			    static_cast<off_t>(peer.bytes)),
		  0);
	peer.s2m[0].set_head(1);
	EXPECT_TRUE(receive(p).empty()); /* a frame of no bytes */
	EXPECT_EQ(p->stats[0].rx_bad, 1u);
	EXPECT_TRUE(up(p));
}

TEST_F(MemifHostileTest, M5MemoryThatCannotBeSealed)
{
	ASSERT_TRUE(peer.introduce(path("s")));
	peer.make_memory(0);
	expect_refused(memif::add_region(0, peer.bytes), {peer.region_fd}, "a region must be sealed against shrinking");
}

TEST_F(MemifHostileTest, M5MemoryThatIsSmallerThanItSays)
{
	ASSERT_TRUE(peer.introduce(path("s")));
	peer.make_memory();
	expect_refused(memif::add_region(0, peer.bytes + 1), {peer.region_fd},
		       "a region is smaller than it claims to be");
}

TEST_F(MemifHostileTest, M5FilesAndHugePages)
{
	std::string name = path("region");
	int file = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), huge, event = eventfd(0, EFD_CLOEXEC);
	ASSERT_EQ(ftruncate(file, 1 << 20), 0);
	huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_ALLOW_SEALING);
	for (int fd : {file, huge, event}) {
		if (fd < 0)
			continue; /* a kernel without huge pages */
		Peer other;
		ASSERT_TRUE(other.introduce(path("s")));
		ASSERT_TRUE(other.send(memif::add_region(0, 1 << 20), {fd}));
		EXPECT_TRUE(other.refused());
		EXPECT_EQ(other.reason.find("a region must be "), 0u) << other.reason;
	}
	unlink(name.c_str());
	for (int fd : {file, huge, event})
		if (fd >= 0)
			::close(fd);
}

/* A worker polls while peers come and go and scribble over everything that they share. */
TEST_F(MemifHostileTest, ScribblersNeverHurtTheWorker)
{
	bool stop = false;
	std::atomic<uint64_t> got{0};
	std::thread worker([&] {
		rte_mbuf *m[64];
		rte_rcu_qsbr *rcu = rcu_var();
		rte_rcu_qsbr_thread_register(rcu, 0);
		rte_rcu_qsbr_thread_online(rcu, 0);
		while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
			uint16_t n = p->ops->rx(p, 0, m, 64), sent = p->ops->tx(p, 0, m, n);
			got += n;
			for (uint16_t i = sent; i < n; i++)
				rte_pktmbuf_free(m[i]);
			rte_rcu_qsbr_quiescent(rcu, 0);
			if (n == 0)
				std::this_thread::yield();
		}
		rte_rcu_qsbr_thread_offline(rcu, 0);
		rte_rcu_qsbr_thread_unregister(rcu, 0);
	});
	std::mt19937 random(1);
	/* Four seconds, and on a busy machine until the worker has had enough. */
	auto start = std::chrono::steady_clock::now(), end = start + std::chrono::seconds(4), latest = start + std::chrono::seconds(40);
	unsigned int lives = 0, ended = 0;
	for (auto now = start; now < end || (got <= 1000 && now < latest); now = std::chrono::steady_clock::now()) {
		Peer other;
		other.log2 = 4 + random() % 3;
		if (!other.open(path("s")))
			continue;
		lives++;
		unsigned int kind = random() % 4;
		auto enough = std::chrono::steady_clock::now() + std::chrono::milliseconds(120);
		while (up(p) && std::chrono::steady_clock::now() < enough) {
			memif::Ring &r = random() % 2 ? other.s2m[0] : other.m2s[0];
			uint32_t v = random();
			Desc &d = r.desc(v >> 8);
			if (v % 8 < 4)
				r.set_head(static_cast<uint16_t>(r.tail() + v % 17));
			else if (v % 8 == 4)
				d.length = kind == 0 && v % 1024 == 4 ? v : (v >> 4) % 2048;
			else if (v % 8 == 5)
				d.flags = static_cast<uint16_t>((v >> 4) % 8 == 0 && kind != 3);
			else if (v % 8 == 6)
				d.offset = kind == 1 && v % 1024 == 6 ? v : (v >> 4) % (other.bytes - 2048);
			else if (kind == 2)
				r.at[(v >> 3) % other.ring_bytes()] = static_cast<uint8_t>(v);
		}
		ended += !up(p);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	worker.join();
	EXPECT_GT(lives, 10u);
	EXPECT_GT(ended, 5u) << "of " << lives;
	EXPECT_GT(got, 1000u);
	EXPECT_GT(p->stats[0].rx_bad, 5u);
	EXPECT_TRUE(wait([&] { return !up(p); }));
	EXPECT_TRUE(peer.open(path("s")));
}
