// SPDX-License-Identifier: Apache-2.0
// Session affinity's memory: who was given which backend, for how long, and what a crowd does to it.
#include <atomic>
#include <random>
#include <sched.h>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <weft/affinity.h>

namespace
{

struct Affinity : testing::Test {
	struct affinity *a = nullptr;
	uint32_t now = 5000;

	void
	make(uint32_t entries)
	{
		affinity_destroy(a);
		ASSERT_EQ(affinity_create(&a, entries), 0);
	}
	void
	SetUp() override
	{
		make(1024);
	}
	void
	TearDown() override
	{
		affinity_destroy(a);
	}
	static affinity_key
	client(uint32_t n, uint32_t service = 1, uint32_t network = 3)
	{
		return {ip_from4(htonl(0x0af40000 + n)), network, service};
	}
	uint32_t
	find(const affinity_key &k)
	{
		return affinity_find(a, &k, now);
	}
	void
	note(const affinity_key &k, uint32_t backend, uint32_t seconds = 100)
	{
		affinity_note(a, &k, backend, now, seconds);
	}
};

TEST_F(Affinity, NobodyIsKnownAtFirst)
{
	for (uint32_t n = 0; n < 5000; n++)
		ASSERT_EQ(find(client(n)), 0u);
}

TEST_F(Affinity, ClientServiceAndNetworkTellApart)
{
	note(client(1), 11);
	note(client(2), 22);
	note(client(1, 2), 33);
	note(client(1, 1, 4), 44);
	EXPECT_EQ(find(client(1)), 11u);
	EXPECT_EQ(find(client(2)), 22u);
	EXPECT_EQ(find(client(1, 2)), 33u);
	EXPECT_EQ(find(client(1, 1, 4)), 44u);
	EXPECT_EQ(find(client(2, 2)), 0u);
	affinity_key six = client(1);
	six.client.b[0] = 0xfd;
	EXPECT_EQ(find(six), 0u) << "all of an IPv6 address counts";
}

TEST_F(Affinity, IsOverAfterItsTimeAndNotBefore)
{
	note(client(1), 11, 10);
	now += 9999;
	EXPECT_EQ(find(client(1)), 11u);
	now += 2100;
	EXPECT_EQ(find(client(1)), 0u);
}

TEST_F(Affinity, EachConnectionMakesItLastAnew)
{
	for (int k = 0; k < 100; k++) {
		note(client(1), 11, 2);
		now += 1500;
		ASSERT_EQ(find(client(1)), 11u) << k;
	}
}

TEST_F(Affinity, AnotherBackendTakesThePlaceOfTheFirst)
{
	note(client(1), 11);
	note(client(1), 12);
	EXPECT_EQ(find(client(1)), 12u);
}

TEST_F(Affinity, TheLongestTimeIsADayAndTheClockMayWrap)
{
	for (uint32_t start : {5000u, 0xffffffffu - 3600000u, 0xfffffff0u, 1048576u * 1024u - 7u}) {
		make(1024);
		now = start;
		note(client(1), 11, 1000000);
		note(client(2), 12, 60);
		now = start + 30000;
		EXPECT_EQ(find(client(2)), 12u) << start;
		now = start + 62000;
		EXPECT_EQ(find(client(2)), 0u) << start;
		now = start + 86400000u - 2000u;
		EXPECT_EQ(find(client(1)), 11u) << start;
		now = start + 86400000u + 3000u;
		EXPECT_EQ(find(client(1)), 0u) << start;
	}
}

TEST_F(Affinity, AFullTableForgetsWhoseTimeIsOverFirst)
{
	make(4); // one bucket
	for (uint32_t n = 1; n <= 4; n++)
		note(client(n), n, 100 * n);
	note(client(5), 5, 1000);
	EXPECT_EQ(find(client(1)), 0u);
	for (uint32_t n = 2; n <= 5; n++)
		EXPECT_EQ(find(client(n)), n);
	now += 250000; // 2 is over
	note(client(6), 6, 10);
	EXPECT_EQ(find(client(2)), 0u);
	EXPECT_EQ(find(client(3)), 3u);
	EXPECT_EQ(find(client(6)), 6u);
}

TEST_F(Affinity, AFloodOfClientsIsBoundedAndEveryAnswerIsTrue)
{
	std::mt19937 random(1);
	unsigned known = 0;
	for (uint32_t n = 0; n < 100000; n++)
		note(client(n), n + 1, 3600);
	for (uint32_t n = 0; n < 100000; n++) {
		uint32_t b = find(client(n));
		ASSERT_TRUE(b == 0 || b == n + 1) << n;
		known += b != 0;
	}
	EXPECT_LE(known, 1024u);
	EXPECT_GT(known, 1000u) << "all of it is used";
}

TEST_F(Affinity, HalfFullItForgetsFew)
{
	make(16384);
	unsigned known = 0;
	for (uint32_t n = 0; n < 8192; n++)
		note(client(n), n + 1, 3600);
	for (uint32_t n = 0; n < 8192; n++)
		known += find(client(n)) != 0;
	EXPECT_GT(known, 8192u * 9 / 10) << known;
}

// Threads that hold different cores note and find the same clients in a table that is too small: what is found is
// always one of the backends that this very client may have.
TEST_F(Affinity, ThreadsNeverSeeAnothersBackend)
{
	make(64);
	constexpr uint32_t CLIENTS = 200, ROUNDS = 300000;
	std::atomic<unsigned> wrong{0}, found{0};
	std::vector<std::thread> threads;
	for (unsigned id = 0; id < 2; id++)
		threads.emplace_back([&, id] {
			cpu_set_t allowed, one;
			sched_getaffinity(0, sizeof(allowed), &allowed);
			unsigned cpu = 0;
			for (unsigned seen = 0; cpu < CPU_SETSIZE; cpu++)
				if (CPU_ISSET(cpu, &allowed) && seen++ == id % static_cast<unsigned>(CPU_COUNT(&allowed)))
					break;
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof(one), &one);
			std::mt19937 random(id);
			for (uint32_t k = 0; k < ROUNDS; k++) {
				uint32_t n = random() % CLIENTS;
				affinity_key who = client(n);
				uint32_t at = 5000 + k, b = affinity_find(a, &who, at);
				if (b != 0 && b / 4 != n + 1)
					wrong++;
				found += b != 0;
				if (random() % 4 == 0)
					affinity_note(a, &who, (n + 1) * 4 + random() % 4, at, 1 + random() % 300);
			}
		});
	for (auto &t : threads)
		t.join();
	EXPECT_EQ(wrong, 0u);
	EXPECT_GT(found, ROUNDS / 20);
}

// Two workers that meet the same new clients agree from then on.
TEST_F(Affinity, TwoThreadsThatNoteTheSameClientAgreeAfterwards)
{
	make(65536);
	constexpr uint32_t CLIENTS = 1000; // few enough that no bucket is ever full
	std::atomic<uint32_t> turn{0};
	std::vector<std::thread> threads;
	for (uint32_t id = 1; id <= 2; id++)
		threads.emplace_back([&, id] {
			for (uint32_t n = 0; n < CLIENTS; n++) {
				turn++;
				while (turn < 2 * (n + 1))
					sched_yield();
				affinity_key who = client(n);
				affinity_note(a, &who, id, 5000, 3600);
			}
		});
	for (auto &t : threads)
		t.join();
	for (uint32_t n = 0; n < CLIENTS; n++) {
		uint32_t b = find(client(n));
		ASSERT_TRUE(b == 1 || b == 2) << n;
		now += 100;
		ASSERT_EQ(find(client(n)), b);
		now -= 100;
	}
}

} // namespace
