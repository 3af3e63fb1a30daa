// SPDX-License-Identifier: Apache-2.0
// The node itself: punt, probes, ARP for the tunnel end.
#include "switch.hpp"

using namespace weft;

static const Mac node = "02:00:00:00:ff:01", peer = "02:00:00:00:ff:02", gateway = "02:00:00:00:00:01";

struct Host : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.node();
		sw.pod("a", "10.244.1.5");
	}
};

TEST_F(Host, TheHostProbesAPod)
{
	Packet p;
	p.macs(node, gateway).ip("192.0.2.1", "10.244.1.5").tcp(40000, 80, 2);
	sw.send("host", p);
	Frame f = sw.take("a");
	EXPECT_EQ(f.from(), "192.0.2.1");
	EXPECT_EQ(f.dst(), sw.mac("a"));
	sw.send("a", sw.to("a", "192.0.2.1").tcp(80, 40000, 0x12));
	f = sw.take("host");
	EXPECT_EQ(f.dst(), node);
	EXPECT_EQ(f.tcp_flags(), 0x12);
}

TEST_F(Host, TheHostLearnsWherePodsAre)
{
	sw.give("host", arp(1, node, "192.0.2.1", "00:00:00:00:00:00", "10.244.1.5"));
	sw.settle();
	Frame f = sw.take("host");
	ASSERT_TRUE(f.is_arp());
	Mac sha;
	memcpy(sha.b, &f.b[22], 6);
	EXPECT_EQ(sha, gateway);
	EXPECT_TRUE(sw.nothing("uplink0"));
}

TEST_F(Host, APodReachesTheNode)
{
	sw.send("a", sw.to("a", "192.0.2.1").udp(1000, 53).data("q"));
	Frame f = sw.take("host");
	EXPECT_EQ(f.dst(), node);
	EXPECT_EQ(f.src(), gateway);
	EXPECT_EQ(f.text(), "q");
	struct totals t;
	workers_totals(&t);
	EXPECT_EQ(t.punted, 1u);
}

TEST_F(Host, TheNodesAddressFromAPodIsASpoof)
{
	Packet p = sw.to("a", "10.244.1.5").udp(1, 2);
	sw.pod("b", "10.244.1.6");
	p.macs(sw.mac("b"), gateway).from = "192.0.2.1";
	sw.send("b", p);
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 1u);
}

TEST_F(Host, ThePlainWireIsTheHosts)
{
	Packet p;
	p.macs(peer, node).ip("192.0.2.2", "192.0.2.1").tcp(5, 22, 2);
	sw.give("uplink0", p.bytes());
	sw.settle();
	Frame f = sw.take("host");
	EXPECT_EQ(f.b, p.bytes()) << "as it is";
	p.macs(node, peer).ip("192.0.2.1", "192.0.2.2").tcp(22, 5, 0x12);
	sw.give("host", p.bytes());
	sw.settle();
	EXPECT_EQ(sw.take("uplink0").b, p.bytes());
	EXPECT_EQ(sw.connections(), 0u);
}

TEST_F(Host, TheHostsArpGoesOut)
{
	Bytes q = arp(1, node, "192.0.2.1", "00:00:00:00:00:00", "192.0.2.254");
	sw.give("host", q);
	sw.settle();
	EXPECT_EQ(sw.take("uplink0").b, q);
}

TEST_F(Host, OurTunnelEndAnswersArpItself)
{
	sw.give("uplink0", arp(1, peer, "192.0.2.2", "00:00:00:00:00:00", "192.0.2.1"));
	sw.settle();
	Frame f = sw.take("uplink0");
	ASSERT_TRUE(f.is_arp());
	EXPECT_EQ(get16(f.b, 20), 2);
	EXPECT_EQ(f.dst(), peer);
	EXPECT_EQ(f.src(), node);
	EXPECT_TRUE(sw.nothing("host"));
}

TEST_F(Host, APartialChecksumOfTheHostIsCompletedForTheWire)
{
	Packet p;
	p.macs(node, peer).ip("192.0.2.1", "192.0.2.2").tcp(22, 5, 0x10).data(50);
	p.partial = true;
	sw.send("host", p);
	EXPECT_EQ(sw.take("uplink0").checksums(), "");
	// What an earlier packet was says nothing of this one.
	sw.send("a", sw.to("a", "192.0.2.1").udp(1, 2));
	sw.take("host");
	sw.send("host", p);
	EXPECT_EQ(sw.take("uplink0").checksums(), "");
}

TEST_F(Host, WithoutAHostPortItIsCounted)
{
	ASSERT_TRUE(sw.remove("Port", "host")) << sw.error;
	Packet p;
	p.macs(peer, node).ip("192.0.2.2", "192.0.2.1").tcp(5, 22, 2);
	sw.give("uplink0", p.bytes());
	sw.send("a", sw.to("a", "192.0.2.1").udp(1, 2));
	EXPECT_EQ(sw.drops("no_host"), 2u) << sw.drops_text();
	sw.take_all("a");
}
