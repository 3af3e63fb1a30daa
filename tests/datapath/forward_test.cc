// SPDX-License-Identifier: Apache-2.0
// Routing between pods of one network: addresses, TTL, checksums of every kind, sizes.
#include "switch.hpp"

using namespace weft;

struct Forward : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
	}
};

TEST_F(Forward, UdpIsDeliveredWithNewMacsAndLowerTtl)
{
	sw.send("a", sw.between("a", "b").udp(1000, 2000).data("hello"));
	Frame f = sw.take("b");
	EXPECT_EQ(f.dst(), sw.mac("b"));
	EXPECT_EQ(f.src().text(), "02:00:00:00:00:01");
	EXPECT_EQ(f.from(), sw.ip("a"));
	EXPECT_EQ(f.to(), sw.ip("b"));
	EXPECT_EQ(f.ttl(), 63);
	EXPECT_EQ(f.text(), "hello");
	EXPECT_EQ(f.checksums(), "");
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Forward, Ipv6TheSame)
{
	sw.send("a", sw.to("a", sw.ip6("b")).udp(1000, 2000).data("hello"));
	Frame f = sw.take("b");
	EXPECT_EQ(f.from(), sw.ip6("a"));
	EXPECT_EQ(f.to(), sw.ip6("b"));
	EXPECT_EQ(f.ttl(), 63);
	EXPECT_EQ(f.checksums(), "");
}

TEST_F(Forward, TheAnswerFindsTheSameConnection)
{
	sw.send("a", sw.between("a", "b").udp(1000, 2000));
	sw.take("b");
	sw.send("b", sw.between("b", "a").udp(2000, 1000).data("back"));
	EXPECT_EQ(sw.take("a").text(), "back");
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Forward, TheSecondPacketNeedsNoDecision)
{
	struct worker_counters before, after;
	sw.send("a", sw.between("a", "b").udp(1000, 2000));
	workers_counters(&before);
	for (int i = 0; i < 10; i++)
		sw.send("a", sw.between("a", "b").udp(1000, 2000));
	workers_counters(&after);
	EXPECT_EQ(sw.take_all("b").size(), 11u);
	EXPECT_EQ(after.decided, before.decided);
}

TEST_F(Forward, OneBurstOfANewFlowIsOneConnection)
{
	for (int i = 0; i < 20; i++)
		sw.give("a", sw.between("a", "b").udp(1000, 2000).data(std::to_string(i)).bytes());
	sw.settle();
	auto got = sw.take_all("b");
	ASSERT_EQ(got.size(), 20u);
	for (int i = 0; i < 20; i++)
		EXPECT_EQ(got[(size_t)i].text(), std::to_string(i)) << "order is kept";
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Forward, P11_UdpWithoutChecksumStaysWithout)
{
	Packet p = sw.between("a", "b").udp(1, 2).data("x");
	p.no_l4_sum = true;
	sw.send("a", p);
	Frame f = sw.take("b");
	EXPECT_EQ(get16(f.b, f.l4() + 6), 0);
}

TEST_F(Forward, P3_AWrongL4ChecksumIsCarriedNotRepaired)
{
	Packet p = sw.between("a", "b").udp(1, 2).data("x");
	p.bad_l4_sum = true;
	sw.send("a", p);
	EXPECT_EQ(sw.take("b").checksums(), "L4 checksum");
}

TEST_F(Forward, PartialChecksumIsCompletedForAPortThatCannot)
{
	for (const std::string &dst : {sw.ip("b"), sw.ip6("b")}) {
		for (uint8_t proto : {6, 17}) {
			Packet p = sw.to("a", dst);
			if (proto == 6)
				p.tcp(1000, 80, 2);
			else
				p.udp(1000, 80);
			p.data(333).partial = true;
			sw.send("a", p);
			Frame f = sw.take("b");
			EXPECT_FALSE(f.partial);
			EXPECT_EQ(f.checksums(), "") << dst << " protocol " << (int)proto;
		}
	}
}

TEST_F(Forward, PartialChecksumIsPassedToAPortThatCan)
{
	test_port_set(sw.find("b"), PORT_TX_CSUM, true);
	Packet p = sw.between("a", "b").udp(1000, 80).data(100);
	p.partial = true;
	sw.send("a", p);
	Frame f = sw.take("b");
	EXPECT_TRUE(f.partial);
	EXPECT_EQ(f.checksums(), "");
}

TEST_F(Forward, APartialChecksumThatIsNotTheL4HeadersIsCompletedOrDropped)
{
	Packet p = sw.between("a", "b").udp(1000, 80).data(100);
	sw.give("a", p.bytes(), 4000, 6);
	sw.settle();
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("bad_offload"), 1u);
}

TEST_F(Forward, P2_EthernetPaddingIsNotPayload)
{
	Bytes f = sw.between("a", "b").udp(1, 2).data("x").bytes();
	f.resize(60, 0xee);
	sw.give("a", f);
	sw.settle();
	EXPECT_EQ(sw.take("b").text(), "x");
}

TEST_F(Forward, P4_TtlOneIsAnsweredNotForwarded)
{
	Packet p = sw.between("a", "b").udp(1000, 2000).data("probe");
	p.ttl = 1;
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("b"));
	Frame f = sw.take("a");
	EXPECT_EQ(f.proto(), 1);
	EXPECT_EQ(f.icmp_type(), 11);
	EXPECT_EQ(f.from(), "10.244.1.1");
	EXPECT_EQ(f.checksums(), "");
	EXPECT_EQ(sw.drops("ttl"), 1u);

	Packet q = sw.to("a", sw.ip6("b")).udp(1000, 2000);
	q.ttl = 1;
	sw.send("a", q);
	f = sw.take("a");
	EXPECT_EQ(f.proto(), 58);
	EXPECT_EQ(f.icmp_type(), 3);
	EXPECT_EQ(f.from(), "fd00:244:1::1");
	EXPECT_EQ(f.checksums(), "");
}

TEST_F(Forward, P4_TtlOneOfAKnownConnectionToo)
{
	sw.send("a", sw.between("a", "b").udp(1000, 2000));
	sw.take("b");
	Packet p = sw.between("a", "b").udp(1000, 2000);
	p.ttl = 1;
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.take("a").icmp_type(), 11);
}

TEST_F(Forward, ThereIsNoRouteIsSaid)
{
	sw.send("a", sw.to("a", "198.51.100.7").udp(1, 2));
	Frame f = sw.take("a");
	EXPECT_EQ(f.icmp_type(), 3);
	EXPECT_EQ(f.icmp_code(), 0);
	EXPECT_EQ(f.checksums(), "");
	EXPECT_EQ(sw.drops("no_route"), 1u);
	EXPECT_EQ(sw.connections(), 0u);
}

TEST_F(Forward, TooLargeIsAnsweredWithTheMtu)
{
	sw.send("a", sw.between("a", "b").udp(1, 2).data(1423)); // 1451 bytes of IP in a network of 1450
	EXPECT_TRUE(sw.nothing("b"));
	Frame f = sw.take("a");
	EXPECT_EQ(f.icmp_type(), 3);
	EXPECT_EQ(f.icmp_code(), 4);
	EXPECT_EQ(get16(f.b, f.l4() + 6), 1450);
	EXPECT_EQ(f.checksums(), "");
	sw.send("a", sw.to("a", sw.ip6("b")).udp(1, 2).data(1403));
	f = sw.take("a");
	EXPECT_EQ(f.icmp_type(), 2);
	EXPECT_EQ(get32(f.b, f.l4() + 4), 1450u);
	EXPECT_EQ(f.checksums(), "");
	EXPECT_EQ(sw.drops("mtu"), 2u);
	sw.send("a", sw.between("a", "b").udp(1, 2).data(1422));
	EXPECT_EQ(sw.take("b").end(), 14u + 1450u);
}

TEST_F(Forward, EveryProtocolIsCarried)
{
	for (uint8_t proto : {50, 47, 2, 255}) {
		sw.send("a", sw.between("a", "b").raw(proto, Bytes(24, 7)));
		Frame f = sw.take("b");
		EXPECT_EQ(f.proto(), proto);
	}
}

TEST_F(Forward, APeerThatTakesNothingIsCountedAtItsPort)
{
	test_port_set(sw.find("b"), 0, false);
	sw.send("a", sw.between("a", "b").udp(1, 2));
	EXPECT_EQ(sw.drops("tx_full"), 1u);
	struct port_counters c;
	workers_port_counters(sw.find("b")->id, &c);
	EXPECT_EQ(c.drop[DROP_TX_FULL], 1u);
}

TEST_F(Forward, SctpPortsAndChecksumSurvive)
{
	Bytes sctp = sctp_init(5000, 5001);
	sw.send("a", sw.between("a", "b").raw(132, sctp));
	Frame f = sw.take("b");
	EXPECT_EQ(f.sport(), 5000);
	EXPECT_EQ(Bytes(f.b.begin() + (long)f.l4(), f.b.end()), sctp);
}
