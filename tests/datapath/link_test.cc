// SPDX-License-Identifier: Apache-2.0
// ARP and neighbour discovery of an l3 network.
#include "switch.hpp"

using namespace weft;

static const Mac gateway = "02:00:00:00:00:01";

struct Link : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
	}
	void ask(const std::string &target, const std::string &sender = "10.244.1.5")
	{
		sw.give("a", arp(1, sw.mac("a"), sender, "00:00:00:00:00:00", target));
		sw.settle();
	}
	// A neighbour solicitation (RFC 4861 4.3) from `src` for `target`.
	Bytes solicit(const std::string &src, const std::string &target, bool option = true, uint8_t hops = 255)
	{
		Packet p;
		Bytes t = address(target);
		char group[64];
		snprintf(group, sizeof(group), "ff02::1:ff%02x:%02x%02x", t[13], t[14], t[15]);
		Mac dst;
		dst.b[0] = dst.b[1] = 0x33, dst.b[2] = 0xff, dst.b[3] = t[13], dst.b[4] = t[14], dst.b[5] = t[15];
		p.macs(sw.mac("a"), dst).ip(src, group).icmp(135, 0, 0);
		p.ttl = hops;
		p.payload = t;
		if (option) {
			p.payload.insert(p.payload.end(), {1, 1});
			Mac own = sw.mac("a");
			p.payload.insert(p.payload.end(), own.b, own.b + 6);
		}
		return p.bytes();
	}
};

TEST_F(Link, EveryAddressButOnesOwnIsAtTheGateway)
{
	for (const char *target : {"10.244.1.1", "10.244.1.6", "10.244.1.77", "192.0.2.9"}) {
		ask(target);
		Frame f = sw.take("a");
		ASSERT_TRUE(f.is_arp());
		EXPECT_EQ(get16(f.b, 20), 2) << "an answer";
		Mac sha;
		memcpy(sha.b, &f.b[22], 6);
		EXPECT_EQ(sha, gateway);
		EXPECT_EQ(Bytes(f.b.begin() + 28, f.b.begin() + 32), address(target));
		EXPECT_EQ(f.dst(), sw.mac("a"));
	}
}

TEST_F(Link, OnesOwnAddressIsNeverAnswered)
{
	ask("10.244.1.5", "0.0.0.0"); // the probe of duplicate address detection (RFC 5227)
	ask("10.244.1.5");            // gratuitous
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("arp"), 2u);
}

TEST_F(Link, P8_AnArpSenderMustBeTheEndpoint)
{
	ask("10.244.1.1", "10.244.1.6");
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("spoofed_arp"), 1u);
	sw.give("a", arp(1, "02:00:00:00:01:99", "10.244.1.5", "00:00:00:00:00:00", "10.244.1.1"));
	sw.settle();
	EXPECT_EQ(sw.drops("spoofed_mac"), 1u);
	Bytes lie = arp(1, "02:00:00:00:01:99", "10.244.1.5", "00:00:00:00:00:00", "10.244.1.1");
	memcpy(&lie[6], sw.mac("a").b, 6); // the Ethernet header is right, what ARP says is not
	sw.give("a", lie);
	sw.settle();
	EXPECT_EQ(sw.drops("spoofed_arp"), 2u);
	EXPECT_TRUE(sw.nothing("a"));
}

TEST_F(Link, AMalformedArpIsDropped)
{
	Bytes f = arp(1, sw.mac("a"), "10.244.1.5", "00:00:00:00:00:00", "10.244.1.1");
	f[18] = 8;
	sw.give("a", f);
	f = arp(1, sw.mac("a"), "10.244.1.5", "00:00:00:00:00:00", "10.244.1.1");
	f.resize(30);
	sw.give("a", f);
	sw.settle();
	EXPECT_EQ(sw.drops("arp"), 2u);
	EXPECT_TRUE(sw.nothing("a"));
}

TEST_F(Link, ASolicitationIsAnsweredWithTheGatewaysMac)
{
	for (const char *target : {"fd00:244:1::1", "fd00:244:1::6", "fe80::1"}) {
		sw.give("a", solicit("fd00:244:1::5", target));
		sw.settle();
		Frame f = sw.take("a");
		ASSERT_TRUE(f.v6());
		EXPECT_EQ(f.icmp_type(), 136);
		EXPECT_EQ(f.b.at(f.l4() + 4), 0xe0) << "router, solicited, override";
		EXPECT_EQ(f.from(), target);
		EXPECT_EQ(f.to(), "fd00:244:1::5");
		EXPECT_EQ(f.ttl(), 255);
		Mac m;
		memcpy(m.b, &f.b.at(f.l4() + 26), 6);
		EXPECT_EQ(m, gateway);
		EXPECT_EQ(f.checksums(), "");
	}
}

TEST_F(Link, ASolicitationWithoutItsOptionIsAnsweredToo)
{
	sw.give("a", solicit("fd00:244:1::5", "fd00:244:1::6", false));
	sw.settle();
	Frame f = sw.take("a");
	EXPECT_EQ(f.icmp_type(), 136);
	EXPECT_EQ(f.checksums(), "");
}

TEST_F(Link, DuplicateAddressDetectionOfOnesOwnIsNotAnswered)
{
	sw.give("a", solicit("::", "fd00:244:1::5", false));
	sw.give("a", solicit("::", "fe80::200:ff:fe00:105", false));
	sw.settle();
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("nd"), 2u);
	EXPECT_EQ(sw.drops("spoofed_arp") + sw.drops("spoofed_ip"), 0u) << "it is no spoof";
}

TEST_F(Link, DuplicateAddressDetectionOfAnothersIsAnswered)
{
	sw.give("a", solicit("::", "fd00:244:1::6", false));
	sw.settle();
	Frame f = sw.take("a");
	EXPECT_EQ(f.icmp_type(), 136);
	EXPECT_EQ(f.to(), "ff02::1");
}

TEST_F(Link, AForeignSolicitationIsASpoof)
{
	sw.give("a", solicit("fd00:244:1::6", "fd00:244:1::1"));
	sw.settle();
	EXPECT_EQ(sw.drops("spoofed_arp"), 1u);
}

TEST_F(Link, NdFromFarAwayIsDropped)
{
	sw.give("a", solicit("fd00:244:1::5", "fd00:244:1::1", true, 254));
	sw.settle();
	EXPECT_EQ(sw.drops("nd"), 1u);
	EXPECT_TRUE(sw.nothing("a"));
}

TEST_F(Link, TheGatewayAnswersEcho)
{
	for (std::string to : {"10.244.1.1", "fd00:244:1::1", "fe80::1"}) {
		sw.send("a", sw.to("a", to).echo(77, 3).data("ping"));
		Frame f = sw.take("a");
		EXPECT_EQ(f.icmp_type(), is6(to) ? 129 : 0);
		EXPECT_EQ(f.from(), to);
		EXPECT_EQ(get16(f.b, f.l4() + 4), 77);
		EXPECT_EQ(f.text(), "ping");
		EXPECT_EQ(f.checksums(), "") << to;
	}
	EXPECT_EQ(sw.connections(), 0u);
}

TEST_F(Link, LinkLocalEchoFromALinkLocalAddress)
{
	Packet p;
	p.macs(sw.mac("a"), gateway).ip("fe80::200:ff:fe00:105", "fe80::1").echo(1, 1);
	sw.send("a", p);
	EXPECT_EQ(sw.take("a").icmp_type(), 129);
	p.ip("fe80::200:ff:fe00:105", "fd00:244:1::1");
	sw.send("a", p);
	EXPECT_EQ(sw.take("a").icmp_type(), 129);
	// Not in the name of others: it would say that they are there.
	for (const char *to : {"fd00:244:1::6", "fd00:244:1::99", "2001:db8::1"}) {
		p.ip("fe80::200:ff:fe00:105", to);
		sw.send("a", p);
		EXPECT_TRUE(sw.nothing("a")) << to;
	}
	EXPECT_EQ(sw.drops("bad_address"), 3u);
}

TEST_F(Link, MulticastListenerReportsAreDroppedQuietly)
{
	Packet p;
	p.macs(sw.mac("a"), "33:33:00:00:00:16").ip("fe80::200:ff:fe00:105", "ff02::16").icmp(143, 0, 0);
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("nd"), 1u);
}
