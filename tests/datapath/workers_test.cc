// SPDX-License-Identifier: Apache-2.0
// More than one worker: handing over for transmission, one connection seen by both, and real threads under changes.
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "switch.hpp"

using namespace weft;

TEST(Workers, AWorkerWithoutATxQueueHandsItsPacketsToTheOwner)
{
	Switch sw(2);
	sw.network();
	sw.pod("a", "10.244.1.5");
	sw.pod("b", "10.244.1.6");
	for (uint16_t i = 0; i < 10; i++) {
		sw.give("a", sw.between("a", "b").udp((uint16_t)(1000 + i), 2).bytes());
		sw.give("b", sw.between("b", "a").udp((uint16_t)(1000 + i), 2).bytes());
	}
	sw.settle();
	EXPECT_EQ(sw.take_all("a").size(), 10u);
	EXPECT_EQ(sw.take_all("b").size(), 10u);
	struct worker_counters c;
	workers_counters(&c);
	EXPECT_EQ(c.handed, 10u) << "one of the two ports is polled by the worker that owns no tx queue";
}

TEST(Workers, TheTwoDirectionsOfAConnectionOnTwoWorkersAreOneConnection)
{
	Switch sw(2);
	sw.network();
	sw.pod("a", "10.244.1.5");
	sw.pod("b", "10.244.1.6");
	sw.send("a", sw.between("a", "b").tcp(1000, 80, 2));
	EXPECT_EQ(sw.take_all("b").size(), 1u);
	sw.send("b", sw.between("b", "a").tcp(80, 1000, 0x12));
	EXPECT_EQ(sw.take_all("a").size(), 1u);
	sw.send("a", sw.between("a", "b").tcp(1000, 80, 0x10));
	EXPECT_EQ(sw.take_all("b").size(), 1u);
	EXPECT_EQ(sw.connections(), 1u);
}

#if !defined(__SANITIZE_ADDRESS__)
static uint64_t
address_space()
{
	uint64_t pages = 0;
	std::ifstream("/proc/self/statm") >> pages;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

// Whatever it is that there is no memory for: what was got before it is given back.
TEST(Workers, AStartThatFailsLeavesNothing)
{
	{
		Switch sw; // EAL
	}
	struct workers_options o = {};
	o.n = 1;
	o.pool = [](int) -> struct rte_mempool * { return nullptr; };
	const uint64_t before = address_space();
	std::set<std::string> said;
	for (uint64_t room = 1 << 20; room <= 1ull << 34; room += room / 4) {
		struct rlimit limit, old;
		struct error e = {};
		getrlimit(RLIMIT_AS, &old);
		limit = old;
		limit.rlim_cur = before + room;
		setrlimit(RLIMIT_AS, &limit);
		int rc = workers_start(&o, &e);
		setrlimit(RLIMIT_AS, &old);
		ASSERT_EQ(rc, -ENOMEM);
		said.insert(e.text);
		ASSERT_LT(address_space(), before + (8u << 20)) << e.text;
	}
	EXPECT_EQ(said.count("no memory for the counters of rules"), 1u);
	EXPECT_EQ(said.count("no memory for the counters of services"), 1u);
	EXPECT_EQ(said.count("no memory for worker 0"), 1u);
}
#endif

// Two turning threads, packets on both ports, policies that come and go: nothing is lost but by policy, and the books balance.
TEST(Workers, ChangesUnderTrafficOnTwoThreads)
{
	Switch sw(2);
	sw.network();
	sw.pod("a", "10.244.1.5");
	sw.pod("b", "10.244.1.6");
	sw.pod("c", "10.244.1.7");
	cpu_set_t cpus;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	std::vector<int> cores;
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &cpus))
			cores.push_back(i);
	sw.run_threads(cores);
	uint64_t given = 0, got = 0;
	auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
	for (unsigned int i = 0; std::chrono::steady_clock::now() < end; i++) {
		for (int k = 0; k < 16; k++) {
			sw.give("a", sw.between("a", "b").udp((uint16_t)((i * 16 + (unsigned int)k) % 8000), 2).bytes());
			sw.give("b", sw.between("b", "a").udp(2, (uint16_t)((i * 16 + (unsigned int)k) % 8000)).bytes());
			given += 2;
		}
		// Changes to somebody else: no packet of these may notice.
		if (i % 4 == 0) {
			ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\",\"endpoints\":[\"c\"],\"types\":["
					     "\"Ingress\"],\"priority\":" + std::to_string(i % 1000) + "}")) << sw.error;
		}
		for (int wait = 0; wait < 2000 && got < given; wait++) {
			got += sw.take_all("a").size() + sw.take_all("b").size();
			if (got < given)
				std::this_thread::sleep_for(std::chrono::microseconds(50));
		}
		ASSERT_EQ(got, given) << "round " << i << ": " << sw.drops_text();
	}
	sw.stop_threads();
	EXPECT_GT(given, 1000u);
}

// The DNS race: a resolver sends A and AAAA from one new socket, and two workers see them at the same moment, while backends change
// their weights, so that each may choose another. One connection comes of it, and both questions reach the same server.
TEST(Workers, TwoDatagramsOfANewSocketAtOnceAreOneConnection)
{
	Switch sw(2);
	sw.network();
	for (const char *pod : {"c", "s1", "s2"})
		sw.pod(pod, pod[0] == 'c' ? "10.244.1.5" : pod[1] == '1' ? "10.244.1.11" : "10.244.1.12");
	sw.port("c", ",\"queues\":2");
	auto weigh = [&](int first, int second) {
		ASSERT_TRUE(sw.apply("{\"kind\":\"Service\",\"name\":\"dns\",\"network\":\"default\",\"ips\":[\"10.96.0.10\"],\"ports\":[{\"name\":\"dns\","
				     "\"protocol\":\"UDP\",\"port\":53}],\"backends\":[{\"ip\":\"10.244.1.11\",\"weight\":" + std::to_string(first) +
				     "},{\"ip\":\"10.244.1.12\",\"weight\":" + std::to_string(second) + "}]}"))
			<< sw.error;
	};
	weigh(1, 1);
	cpu_set_t cpus;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	std::vector<int> cores;
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &cpus))
			cores.push_back(i);
	sw.run_threads(cores);
	auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
	uint16_t rounds = 0;
	size_t seen[2] = {0, 0};
	/* Fewer than the table holds before it makes room (16,384 but for a sixteenth): all must be there at the end. */
	for (; rounds < 15000 && std::chrono::steady_clock::now() < end && !testing::Test::HasFailure(); rounds++) {
		if (rounds % 8 == 0)
			weigh(1 + rounds % 3 * 100, 1 + (rounds + 1) % 3 * 100);
		struct rte_mbuf *m[2];
		for (int q = 0; q < 2; q++) {
			Bytes frame = sw.to("c", "10.96.0.10").udp((uint16_t)(1000 + rounds), 53).data(q == 0 ? "A" : "AAAA").bytes();
			m[q] = rte_pktmbuf_alloc(the_pool);
			memcpy(rte_pktmbuf_append(m[q], (uint16_t)frame.size()), frame.data(), frame.size());
		}
		struct port *c = sw.find("c");
		for (uint16_t q = 0; q < 2; q++)
			ASSERT_EQ(test_port_give(c, q, m[q]), 0);
		size_t got[2] = {0, 0};
		for (int wait = 0; wait < 20000 && got[0] + got[1] < 2; wait++) {
			got[0] += sw.take_all("s1").size();
			got[1] += sw.take_all("s2").size();
			if (got[0] + got[1] < 2)
				std::this_thread::sleep_for(std::chrono::microseconds(20));
		}
		EXPECT_EQ(got[0] + got[1], 2u) << "round " << rounds << ": " << sw.drops_text();
		EXPECT_TRUE(got[0] == 0 || got[1] == 0) << "round " << rounds << ": the questions of one socket went to two servers";
		seen[0] += got[0] != 0;
		seen[1] += got[1] != 0;
	}
	sw.stop_threads();
	EXPECT_EQ(sw.connections(), rounds);
	EXPECT_GT(rounds, 100u);
	EXPECT_GT(seen[0], 0u);
	EXPECT_GT(seen[1], 0u);
	struct worker_counters w[2];
	for (unsigned int i = 0; i < 2; i++)
		w[i] = worker_get(i)->count;
	EXPECT_GT(w[0].packets, rounds / 2u) << "both workers took part";
	EXPECT_GT(w[1].packets, rounds / 2u);
}
