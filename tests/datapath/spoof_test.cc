// SPDX-License-Identifier: Apache-2.0
// Who may send what: sources that are not the endpoint's own are dropped before anything else.
#include "switch.hpp"

using namespace weft;

struct Spoof : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
		sw.pod("c", "10.244.1.7");
	}
};

TEST_F(Spoof, P6_AForeignMacIsDropped)
{
	Packet p = sw.between("a", "b").udp(1, 2);
	p.src = "02:00:00:00:01:99";
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("spoofed_mac"), 1u);
}

TEST_F(Spoof, P6_AForeignAddressIsDropped)
{
	for (const char *from : {"10.244.1.7", "10.244.9.9", "198.51.100.1"}) {
		Packet p = sw.between("a", "b").udp(1, 2);
		p.from = from;
		sw.send("a", p);
	}
	Packet p = sw.to("a", sw.ip6("b")).udp(1, 2);
	p.from = sw.ip6("c");
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 4u);
	EXPECT_EQ(sw.connections(), 0u);
}

TEST_F(Spoof, AnEstablishedConnectionIsNoDisguise)
{
	sw.send("a", sw.between("a", "b").udp(1, 2));
	sw.take("b");
	Packet p = sw.between("a", "b").udp(1, 2).data("evil");
	p.src = sw.mac("c");
	sw.send("c", p); // c pretends to be a, on a's own connection
	Packet q = sw.between("b", "a").udp(2, 1).data("evil");
	q.src = sw.mac("c");
	sw.send("c", q); // and to be b's answer
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 2u);
	sw.send("a", sw.between("a", "b").udp(1, 2).data("true"));
	EXPECT_EQ(sw.take("b").text(), "true");
}

TEST_F(Spoof, AntiSpoofMacAllowsOtherAddresses)
{
	sw.pod("r", "10.244.1.9", ",\"antiSpoof\":\"mac\"");
	Packet p = sw.to("r", sw.ip("b")).udp(1, 2);
	p.from = "198.51.100.9";
	sw.send("r", p);
	EXPECT_EQ(sw.take("b").from(), "198.51.100.9");
	p.src = "02:00:00:00:01:99";
	sw.send("r", p);
	EXPECT_TRUE(sw.nothing("b"));
}

TEST_F(Spoof, AntiSpoofOffAllowsOtherMacs)
{
	sw.pod("r", "10.244.1.9", ",\"antiSpoof\":\"off\"");
	Packet p = sw.to("r", sw.ip("b")).udp(1, 2);
	p.src = "02:00:00:00:01:99";
	sw.send("r", p);
	sw.take("b");
}

TEST_F(Spoof, AllowedAddressesPassAndTheirAnswersComeBack)
{
	sw.pod("v", "10.244.1.9", ",\"allowed\":[{\"ip\":\"10.244.1.200\"}]");
	Packet zero = sw.to("v", sw.ip("b")).udp(1, 2);
	zero.src = "00:00:00:00:00:00";
	sw.send("v", zero);
	EXPECT_EQ(sw.drops("spoofed_mac"), 1u) << "an entry without a MAC names none";
	Packet p = sw.to("v", sw.ip("b")).udp(1, 2);
	p.from = "10.244.1.200";
	sw.send("v", p);
	EXPECT_EQ(sw.take("b").from(), "10.244.1.200");
	sw.send("b", sw.to("b", "10.244.1.200").udp(2, 1).data("back"));
	EXPECT_EQ(sw.take("v").text(), "back");
}

TEST_F(Spoof, PrefixesBehindAPodAreItsOwn)
{
	sw.pod("r", "10.244.1.9", ",\"prefixes\":[\"203.0.113.0/24\"]");
	Packet p = sw.to("r", sw.ip("b")).udp(1, 2);
	p.from = "203.0.113.77";
	sw.send("r", p);
	EXPECT_EQ(sw.take("b").from(), "203.0.113.77");
	sw.send("b", sw.to("b", "203.0.113.78").udp(5, 6));
	EXPECT_EQ(sw.take("r").to(), "203.0.113.78");
}

TEST_F(Spoof, NetworksAreIsolated)
{
	sw.network("other", 200, "10.99.1");
	sw.pod("x", "10.99.1.5", "", "other");
	sw.send("a", sw.to("a", "10.99.1.5").udp(1, 2));
	EXPECT_TRUE(sw.nothing("x"));
	EXPECT_EQ(sw.drops("no_route"), 1u);
	sw.take("a"); // it is told
}

TEST_F(Spoof, APortWithoutAnEndpointSaysNothing)
{
	sw.port("empty");
	sw.give("empty", sw.between("a", "b").udp(1, 2).bytes());
	sw.settle();
	EXPECT_EQ(sw.drops("no_endpoint"), 1u);
}
