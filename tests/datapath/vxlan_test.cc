// SPDX-License-Identifier: Apache-2.0
// The tunnel: what leaves on the wire, what is believed of what arrives.
#include <set>

#include "switch.hpp"

using namespace weft;

static const Mac ours = "02:00:00:00:ff:01", peer = "02:00:00:00:ff:02", gateway = "02:00:00:00:00:01";

struct Vxlan : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.node();
		sw.pod("a", "10.244.1.5");
		sw.remote("node-2", "192.0.2.2", "10.244.2.0/24", "fd00:244:2::/64");
	}
	Packet inner(const std::string &from = "10.244.2.10", const std::string &to = "10.244.1.5")
	{
		Packet p;
		return p.macs("02:00:00:00:02:01", gateway).ip(from, to).udp(2000, 1000).data("inner");
	}
	// An inner frame in VXLAN from the remote node, each part open to lies.
	Packet outer(const Bytes &frame, uint32_t vni = 100, uint8_t flags = 8)
	{
		Packet p;
		p.macs(peer, ours).ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
		p.payload = {flags, 0, 0, 0, (uint8_t)(vni >> 16), (uint8_t)(vni >> 8), (uint8_t)vni, 0};
		p.payload.insert(p.payload.end(), frame.begin(), frame.end());
		return p;
	}
	void arrive(const Packet &p)
	{
		sw.give("uplink0", p.bytes());
		sw.settle();
	}
	void expect_drop(const char *reason, const Packet &p)
	{
		uint64_t before = sw.drops(reason);
		arrive(p);
		EXPECT_EQ(sw.drops(reason), before + 1) << reason << "; drops: " << sw.drops_text();
		EXPECT_TRUE(sw.nothing("a"));
	}
};

TEST_F(Vxlan, TheFirstPacketWaitsForArpAndThenGoes)
{
	sw.send("a", sw.to("a", "10.244.2.10").udp(1000, 2000).data("first"));
	Frame q = sw.take("uplink0");
	ASSERT_TRUE(q.is_arp());
	EXPECT_EQ(get16(q.b, 20), 1);
	EXPECT_EQ(Bytes(q.b.begin() + 38, q.b.begin() + 42), address("192.0.2.2"));
	EXPECT_EQ(Bytes(q.b.begin() + 28, q.b.begin() + 32), address("192.0.2.1"));
	EXPECT_EQ(q.src(), ours);
	sw.answer_arp();
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.dst(), peer);
	EXPECT_EQ(f.src(), ours);
	EXPECT_EQ(f.from(), "192.0.2.1");
	EXPECT_EQ(f.to(), "192.0.2.2");
	EXPECT_EQ(f.dport(), 4789);
	EXPECT_GE(f.sport(), 49152);
	EXPECT_EQ(f.ttl(), 64);
	EXPECT_EQ(f.vni(), 100u);
	EXPECT_EQ(f.checksums(), "");
	Frame in = f.inner();
	EXPECT_EQ(in.dst().text(), "02:00:00:00:02:01");
	EXPECT_EQ(in.src(), gateway);
	EXPECT_EQ(in.ttl(), 63);
	EXPECT_EQ(in.text(), "first");
	EXPECT_EQ(in.checksums(), "");
	sw.take_all("host"); // the host hears ARP answers too
}

TEST_F(Vxlan, AnUnansweredQuestionDropsWhatWaits)
{
	for (int i = 0; i < 70; i++)
		sw.give("a", sw.to("a", "10.244.2.10").udp((uint16_t)(1000 + i), 2000).bytes());
	sw.settle(3);
	EXPECT_EQ(sw.drops("neighbour"), 6u) << "64 may wait";
	usleep(1100 * 1000);
	sw.settle();
	EXPECT_EQ(sw.drops("neighbour"), 70u);
}

TEST_F(Vxlan, WhatWaitsForANeighbourNeverGoesToAnother)
{
	sw.send("a", sw.to("a", "10.244.2.10").udp(1000, 2000).data("for node-2"));
	ASSERT_TRUE(sw.take("uplink0").is_arp());
	sw.remove("Remote", "node-2");
	sw.settle(); // a grace period
	sw.remote("node-3", "192.0.2.3", "10.244.3.0/24");
	sw.answer_arp("192.0.2.3", "02:00:00:00:ff:03");
	sw.settle(200);
	for (auto &f : sw.take_all("uplink0"))
		EXPECT_TRUE(f.is_arp()) << f.to() << " at " << f.dst().text();
	for (int k = 0; k < 40 && sw.drops("neighbour") == 0; k++) {
		usleep(50000);
		sw.settle(200);
	}
	EXPECT_EQ(sw.drops("neighbour"), 1u) << sw.drops_text();
	sw.take_all("host");
}

TEST_F(Vxlan, FlowsDifferInTheirSourcePort)
{
	sw.answer_arp();
	std::set<uint16_t> ports;
	for (uint16_t p = 1; p <= 50; p++) {
		sw.send("a", sw.to("a", "10.244.2.10").udp(p, 2000));
		Frame f = sw.take("uplink0");
		ports.insert(f.sport());
		sw.send("a", sw.to("a", "10.244.2.10").udp(p, 2000));
		EXPECT_EQ(sw.take("uplink0").sport(), f.sport()) << "one flow keeps its port";
	}
	EXPECT_GT(ports.size(), 40u);
}

TEST_F(Vxlan, APartialChecksumIsCompletedInside)
{
	sw.answer_arp();
	Packet p = sw.to("a", "10.244.2.10").tcp(1000, 80, 2).data(99);
	p.partial = true;
	sw.send("a", p);
	EXPECT_EQ(sw.take("uplink0").inner().checksums(), "");
}

TEST_F(Vxlan, X5_FromTheRemoteNode)
{
	arrive(outer(inner().bytes()));
	Frame f = sw.take("a");
	EXPECT_EQ(f.dst(), sw.mac("a"));
	EXPECT_EQ(f.src(), gateway);
	EXPECT_EQ(f.from(), "10.244.2.10");
	EXPECT_EQ(f.text(), "inner");
	EXPECT_EQ(f.checksums(), "");
	Packet zero = outer(inner().bytes());
	zero.no_l4_sum = true; // RFC 7348: should be zero, and is accepted
	arrive(zero);
	sw.take("a");
}

TEST_F(Vxlan, Ipv6Inside)
{
	Packet in = inner("fd00:244:2::10", sw.ip6("a"));
	arrive(outer(in.bytes()));
	EXPECT_EQ(sw.take("a").from(), "fd00:244:2::10");
}

TEST_F(Vxlan, X1_X2_X5_WhatIsNotToBeBelieved)
{
	Bytes in = inner().bytes();
	expect_drop("vxlan_vni", outer(in, 101));
	expect_drop("vxlan_header", outer(in, 100, 0));
	Packet p = outer(in);
	p.from = "192.0.2.66";
	expect_drop("vxlan_vtep", p);
	p = outer(in);
	p.bad_l4_sum = true;
	expect_drop("vxlan_checksum", p);
	expect_drop("vxlan_header", outer(Bytes(13, 0)));
	p = outer(in);
	p.dst = "02:00:00:00:ff:77";
	expect_drop("not_for_us", p);
	p = outer(in);
	p.payload.push_back(0); // 64 bytes in all
	p.fragment = 0x2000;
	expect_drop("fragment", p);
}

TEST_F(Vxlan, X3_InnerSourcesMustLiveBehindTheirVtep)
{
	sw.remote("node-3", "192.0.2.3", "10.244.3.0/24");
	expect_drop("spoofed_ip", outer(inner("10.244.3.10").bytes()));  // another VTEP's
	sw.pod("b", "10.244.1.6");
	expect_drop("spoofed_ip", outer(inner("10.244.1.6").bytes()));   // a local pod's
	expect_drop("spoofed_ip", outer(inner("198.51.100.1").bytes())); // nobody's
	expect_drop("spoofed_ip", outer(inner("192.0.2.1").bytes()));    // the node's
}

TEST_F(Vxlan, X3_NobodyThereHasTheMacOfAPodHere)
{
	Packet p = inner();
	p.src = sw.mac("a");
	expect_drop("spoofed_mac", outer(p.bytes()));
	EXPECT_EQ(sw.connections(), 0u);
	p.src = gateway; // as another node of ours sends
	arrive(outer(p.bytes()));
	EXPECT_EQ(sw.take("a").text(), "inner");
	// Two have it, then one, then nobody.
	sw.pod("c", "10.244.1.7");
	const std::string c = R"({"kind":"Endpoint","name":"c","network":"default","port":"c","mac":")";
	p.src = sw.mac("c"), p.sport = 2001;
	ASSERT_TRUE(sw.apply(c + sw.mac("a").text() + R"(","ips":["10.244.1.7"]})")) << sw.error;
	arrive(outer(p.bytes()));
	EXPECT_EQ(sw.take("a").text(), "inner") << "it was a pod's";
	ASSERT_TRUE(sw.remove("Endpoint", "c"));
	p.src = sw.mac("a"), p.sport = 2002;
	expect_drop("spoofed_mac", outer(p.bytes()));
}

TEST_F(Vxlan, NothingIsPassedOnToAThirdNode)
{
	sw.remote("node-3", "192.0.2.3", "10.244.3.0/24");
	arrive(outer(inner("10.244.2.10", "10.244.3.10").bytes()));
	EXPECT_EQ(sw.drops("no_route"), 1u);
	EXPECT_TRUE(sw.nothing("uplink0"));
}

TEST_F(Vxlan, VxlanInVxlanIsTakenOffOnce)
{
	Packet in = outer(inner().bytes());
	in.macs("02:00:00:00:02:01", gateway).ip("10.244.2.10", "10.244.1.5");
	arrive(outer(in.bytes()));
	Frame f = sw.take("a");
	EXPECT_EQ(f.dport(), 4789) << "what a pod sends as VXLAN is payload";
}

TEST_F(Vxlan, ArpThroughTheTunnelIsAnsweredForWhatLivesHere)
{
	Packet p = outer(arp(1, "02:00:00:00:02:01", "10.244.2.10", "00:00:00:00:00:00", "10.244.1.5"));
	sw.answer_arp();
	sw.take_all("host");
	arrive(p);
	Frame f = sw.take("uplink0").inner();
	ASSERT_TRUE(f.is_arp());
	EXPECT_EQ(get16(f.b, 20), 2);
	Mac sha;
	memcpy(sha.b, &f.b[22], 6);
	EXPECT_EQ(sha, gateway);
	arrive(outer(arp(1, "02:00:00:00:02:01", "10.244.2.10", "00:00:00:00:00:00", "10.244.1.99")));
	EXPECT_TRUE(sw.nothing("uplink0"));
}

TEST_F(Vxlan, CongestionShowsInside)
{
	Packet in = inner();
	in.tos = 2; // ECT(0)
	Packet p = outer(in.bytes());
	p.tos = 3;  // CE
	arrive(p);
	Frame f = sw.take("a");
	EXPECT_EQ(f.b[15] & 3, 3);
	EXPECT_EQ(f.checksums(), "");
	p = outer(inner().bytes());
	p.tos = 3;
	arrive(p);
	EXPECT_TRUE(sw.nothing("a")) << "not-ECT inside CE is dropped (RFC 6040)";
}

TEST_F(Vxlan, BehindAGateway)
{
	sw.remote("far", "198.51.100.9", "10.244.9.0/24");
	sw.send("a", sw.to("a", "10.244.9.1").udp(1, 2));
	EXPECT_EQ(sw.drops("no_uplink"), 1u) << "no way there yet";
	ASSERT_TRUE(sw.apply("{\"kind\":\"Route\",\"name\":\"default\",\"network\":\"underlay\",\"prefix\":\"0.0.0.0/0\","
			     "\"nextHops\":[{\"ip\":\"192.0.2.254\",\"port\":\"uplink0\"}]}"))
		<< sw.error;
	sw.answer_arp("192.0.2.254", "02:00:00:00:ff:fe");
	sw.send("a", sw.to("a", "10.244.9.1").udp(1, 2));
	auto all = sw.take_all("uplink0");
	ASSERT_FALSE(all.empty());
	EXPECT_EQ(all.back().dst().text(), "02:00:00:00:ff:fe");
	EXPECT_EQ(all.back().to(), "198.51.100.9");
}
