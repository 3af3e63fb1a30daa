// SPDX-License-Identifier: Apache-2.0
// Fragments through the tunnel, and such as come by several queues of a port.
#include <chrono>
#include <set>
#include <thread>

#include "fragment_fixture.hpp"

using namespace weft;

struct TunnelFragments : Fragments {
	void SetUp() override
	{
		Fragments::SetUp();
		sw.node();
		sw.remote("node-2", "192.0.2.2", "10.244.2.0/24", "fd00:244:2::/64");
		sw.answer_arp();
		// The first packet asks for the VTEP's MAC.
		sw.send("a", sw.to("a", "10.244.2.99").udp(9, 9));
		sw.answer_arp();
		sw.take_all("uplink0");
		sw.take_all("host");
	}
	static Bytes outer(const Bytes &frame, uint16_t port = 50000)
	{
		Packet p;
		p.macs(peer, ours).ip("192.0.2.2", "192.0.2.1").udp(port, 4789);
		p.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		p.payload.insert(p.payload.end(), frame.begin(), frame.end());
		return p.bytes();
	}
	static Packet from_there(const std::string &to)
	{
		Packet p;
		return p.macs("02:00:00:00:02:01", gateway).ip(is6(to) ? "fd00:244:2::10" : "10.244.2.10", to);
	}
};

TEST_F(TunnelFragments, OutAndIn)
{
	for (const std::string &to : {std::string("10.244.2.10"), std::string("fd00:244:2::10")}) {
		Packet p = sw.to("a", to).udp(1000, 53).data(4000);
		send("a", split(p, 1400));
		std::vector<Frame> inner;
		std::set<uint16_t> ports;
		for (const Frame &f : sw.take_all("uplink0")) {
			EXPECT_LE(f.b.size(), 1514u);
			ports.insert(f.sport());
			inner.push_back(f.inner());
		}
		EXPECT_EQ(ports.size(), 1u) << "one way through the underlay for one datagram";
		EXPECT_EQ(whole(inner).payload(), p.payload);
		Packet q = from_there(is6(to) ? sw.ip6("a") : sw.ip("a")).udp(53, 1000).data(4000);
		auto parts = split(q, 1400);
		std::reverse(parts.begin(), parts.end());
		for (const Bytes &f : parts)
			sw.give("uplink0", outer(f));
		sw.settle();
		expect_whole("a", q.payload);
	}
}

TEST_F(TunnelFragments, ThroughAServiceWhoseBackendIsThere)
{
	service("10.244.2.10", "fd00:244:2::10");
	for (const char *vip : {VIP, VIP6}) {
		Packet p = sw.to("a", vip).udp(1000, 53).data(4000);
		send("a", split(p, 1400));
		std::vector<Frame> inner;
		for (const Frame &f : sw.take_all("uplink0"))
			inner.push_back(f.inner());
		Frame f = whole(inner);
		EXPECT_EQ(f.payload(), p.payload);
		EXPECT_EQ(f.dport(), 5353);
		EXPECT_EQ(f.checksums(), "");
		Packet q = from_there(is6(vip) ? sw.ip6("a") : sw.ip("a")).udp(5353, 1000).data(4000);
		for (const Bytes &part : split(q, 1400))
			sw.give("uplink0", outer(part));
		sw.settle();
		EXPECT_EQ(expect_whole("a", q.payload).from(), vip);
	}
}

TEST_F(TunnelFragments, ThoseOfTheTunnelItselfAreNotTaken)
{
	Bytes frame = outer(from_there(sw.ip("a")).udp(1, 2).data(200).bytes());
	send("uplink0", {fragment_of(frame, 0, 200, true, 3), fragment_of(frame, 200, 999, false, 3)});
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("fragment"), 1u) << sw.drops_text();
	EXPECT_EQ(sw.take_all("host").size(), 1u) << "a later one tells nothing of ports: the node's own kernel will know";
	// The node's own datagrams, of which a later fragment begins as a VXLAN packet would.
	Packet p;
	p.macs(peer, ours).ip("192.0.2.2", "192.0.2.1").udp(5000, 6000).data(2000);
	for (size_t i = 0; i + 4 < p.payload.size(); i += 4)
		put16(p.payload, i + 2, 4789), put16(p.payload, i, 4789);
	send("uplink0", split(p, 1000));
	expect_whole("host", p.payload);
}

// A guest that spreads by ports can only do so with the first: fragments of one datagram come by several queues.
struct QueuedFragments : testing::Test {
	Switch sw{2};
	void SetUp() override { sw.network(); }
	void give(const std::string &port, uint16_t queue, const Bytes &f)
	{
		struct rte_mbuf *m = rte_pktmbuf_alloc(the_pool);
		memcpy(rte_pktmbuf_append(m, (uint16_t)f.size()), f.data(), f.size());
		ASSERT_EQ(test_port_give(sw.find(port), queue, m), 0);
	}
};

TEST_F(QueuedFragments, MeetAtOneWorker)
{
	sw.port("a", ",\"queues\":2");
	sw.pod("b", "10.244.1.6");
	ASSERT_TRUE(sw.apply("{\"kind\":\"Endpoint\",\"name\":\"a\",\"network\":\"default\",\"port\":\"a\",\"mac\":\"02:00:00:00:01:05\","
			     "\"ips\":[\"10.244.1.5\",\"fd00:244:1::5\"]}"))
		<< sw.error;
	for (const std::string &to : {sw.ip("b"), sw.ip6("b")})
		for (uint32_t id = 1; id <= 40; id++) {
			Packet p;
			p.macs("02:00:00:00:01:05", gateway).ip(is6(to) ? "fd00:244:1::5" : "10.244.1.5", to).udp(1000, 53).data(3000);
			auto parts = split(p, 1000, id);
			for (size_t k = 0; k < parts.size(); k++)
				give("a", (uint16_t)((k == 0) ^ (id & 1)), parts[k]);
			sw.settle();
			EXPECT_EQ(whole(sw.take_all("b")).payload(), p.payload) << "id " << id << " " << sw.drops_text();
		}
	struct worker_counters c;
	workers_counters(&c);
	EXPECT_GE(c.handed, 80u) << "some came by the wrong queue";
	EXPECT_EQ(sw.drops_text(), "");
}

TEST_F(QueuedFragments, MeetAtOneWorkerThroughATunnel)
{
	sw.port("uplink0", ",\"queues\":2,\"uplink\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"192.0.2.1/24\"]");
	sw.pod("b", "10.244.1.6");
	sw.remote("node-2", "192.0.2.2", "10.244.2.0/24", "fd00:244:2::/64");
	for (const std::string &to : {sw.ip("b"), sw.ip6("b")})
		for (uint32_t id = 1; id <= 40; id++) {
			Packet p = TunnelFragments::from_there(to).udp(1000, 53).data(3000);
			p.tos = 2;
			auto parts = split(p, 1000, id);
			for (size_t k = 0; k < parts.size(); k++) {
				Bytes f = TunnelFragments::outer(parts[k], (uint16_t)(50000 + k));
				if (k == 2)
					f[15] |= 3, put16(f, 24, 0), put16(f, 24, (uint16_t)~sum16(&f[14], 20)); // congestion on the way
				give("uplink0", (uint16_t)((k == 0) ^ (id & 1)), f);
			}
			sw.settle();
			auto got = sw.take_all("b");
			Frame f = whole(got);
			EXPECT_EQ(f.payload(), p.payload) << "id " << id << " " << sw.drops_text();
			for (auto &g : got) {
				EXPECT_TRUE(g.v6() || sum16(&g.b[14], 20) == 0xffff);
			}
		}
	struct worker_counters c;
	workers_counters(&c);
	EXPECT_GE(c.handed, 80u);
}

// A plan that moves a queue while fragments wait: nothing is lost but those, and nothing is let through without its first.
TEST_F(QueuedFragments, AQueueThatMovesTakesNothingAlong)
{
	sw.port("x");
	sw.pod("a", "10.244.1.5");
	sw.pod("b", "10.244.1.6");
	Packet p = sw.between("a", "b").udp(1000, 53).data(3000);
	auto parts = split(p, 1000);
	give("a", 0, parts[1]);
	sw.settle();
	ASSERT_TRUE(sw.remove("Port", "x")) << sw.error;
	for (size_t k : {0, 2, 3})
		give("a", 0, parts[k]);
	sw.settle();
	size_t got = sw.take_all("b").size();
	EXPECT_TRUE(got == 3 || got == 4) << got;
	auto again = split(p, 1000, 8);
	for (auto &f : again)
		give("a", 0, f);
	sw.settle();
	EXPECT_EQ(whole(sw.take_all("b")).payload(), p.payload);
}

// Two threads, each with a queue of the port that the fragments come by, and another one that changes what they hang on.
TEST_F(QueuedFragments, OnTwoThreads)
{
	sw.port("a", ",\"queues\":2");
	sw.pod("b", "10.244.1.6");
	sw.pod("c", "10.244.1.7");
	ASSERT_TRUE(sw.apply("{\"kind\":\"Endpoint\",\"name\":\"a\",\"network\":\"default\",\"port\":\"a\",\"mac\":\"02:00:00:00:01:05\","
			     "\"ips\":[\"10.244.1.5\",\"fd00:244:1::5\"]}"))
		<< sw.error;
	cpu_set_t cpus;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	std::vector<int> cores;
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &cpus))
			cores.push_back(i);
	sw.run_threads(cores);
	auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
	uint32_t id = 0;
	while (std::chrono::steady_clock::now() < end) {
		std::map<uint32_t, std::vector<Frame>> got;
		std::map<uint32_t, Bytes> want;
		size_t n = 0, given = 0;
		for (int k = 0; k < 16; k++) {
			Packet p;
			bool v6 = ++id & 1;
			p.macs("02:00:00:00:01:05", gateway).ip(v6 ? "fd00:244:1::5" : "10.244.1.5", v6 ? sw.ip6("b") : sw.ip("b"));
			p.udp((uint16_t)(1000 + id % 500), 53).data(3000);
			auto parts = split(p, 1000, id);
			if (id & 2)
				std::reverse(parts.begin(), parts.end());
			want[id & 0xffff] = p.payload;
			for (size_t q = 0; q < parts.size(); q++, given++)
				give("a", (uint16_t)((q + id / 4) & 1), parts[q]);
		}
		if (id % 64 == 0) {
			ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\",\"endpoints\":[\"b\"],\"types\":["
					     "\"Ingress\"],\"ingress\":[{\"action\":\"accept\"}],\"priority\":" + std::to_string(id % 1000) + "}"))
				<< sw.error;
		}
		for (int wait = 0; wait < 20000 && n < given; wait++) {
			for (const Frame &f : sw.take_all("b"))
				got[piece_of(f.b).id & 0xffff].push_back(f), n++;
			if (n < given)
				std::this_thread::sleep_for(std::chrono::microseconds(50));
		}
		ASSERT_EQ(n, given) << "before " << id << ": " << sw.drops_text();
		for (auto &w : want)
			ASSERT_EQ(whole(got[w.first]).payload(), w.second) << "id " << w.first;
	}
	sw.stop_threads();
	EXPECT_GT(id, 500u);
	EXPECT_EQ(sw.drops_text(), "");
}
