// SPDX-License-Identifier: Apache-2.0
// Pods leave the overlay: masquerade, addresses that are left alone, and the way back.
#include "fragments.hpp"
#include "switch.hpp"

using namespace weft;

static const Mac node = "02:00:00:00:ff:01", router = "02:00:00:00:ff:fe", peer = "02:00:00:00:ff:09", gateway = "02:00:00:00:00:01";

// A neighbour advertisement (RFC 4861 4.4) of target, or a solicitation for it.
static Packet discovery(uint8_t type, const std::string &from, const std::string &to, const std::string &target, Mac mac, uint8_t option)
{
	Bytes t = address(target);
	Packet p;
	p.ip(from, to).icmp(type, 0, type == 136 ? 0x60000000 : 0);
	p.ttl = 255;
	p.payload = t;
	p.payload.push_back(option), p.payload.push_back(1);
	p.payload.insert(p.payload.end(), mac.b, mac.b + 6);
	return p;
}

struct Egress : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.port("uplink0", ",\"uplink\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"192.0.2.1/24\"]");
		sw.port("host", ",\"host\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"192.0.2.1/24\",\"2001:db8::1/64\"]");
		network("\"ips\":[\"192.0.2.1\",\"2001:db8::1\"],\"portRange\":[40000,49999]");
		ASSERT_TRUE(sw.apply(R"({"kind":"Route","name":"default","network":"underlay","prefix":"0.0.0.0/0","nextHops":[{"ip":"192.0.2.254","port":"uplink0"}]},
			{"kind":"Route","name":"default6","network":"underlay","prefix":"::/0","nextHops":[{"ip":"2001:db8::fe","port":"uplink0"}]})"))
			<< sw.error;
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
	}
	void network(const std::string &masquerade)
	{
		ASSERT_TRUE(sw.apply(R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"},
			{"prefix":"fd00:244:1::/64","gateway":"fd00:244:1::1"}])" +
				     (masquerade.empty() ? std::string() : ",\"masquerade\":{" + masquerade + "}") + "}"))
			<< sw.error;
	}
	// The wire answers for an address.
	void answer(const std::string &ip, Mac mac)
	{
		if (is6(ip))
			sw.give("uplink0", discovery(136, ip, "2001:db8::1", ip, mac, 2).macs(mac, node).bytes());
		else
			sw.give("uplink0", arp(2, mac, ip, node, "192.0.2.1", node));
		sw.settle();
	}
	void routers()
	{
		answer("192.0.2.254", router);
		answer("2001:db8::fe", router);
		sw.send("a", sw.to("a", "203.0.113.9").udp(40000, 9));
		sw.send("a", sw.to("a", "2001:db8:9::9").udp(40000, 9));
		sw.take_all("uplink0");
		answer("192.0.2.254", router);
		answer("2001:db8::fe", router);
		sw.take_all("uplink0");
		sw.take_all("host");
		sw.take_all("a"); // a family without an address has no route
	}
	void wire(Packet p, Mac from = router)
	{
		p.macs(from, node);
		sw.give("uplink0", p.bytes());
		sw.settle();
	}
	static Packet from_wire(const std::string &from, const std::string &to)
	{
		Packet p;
		p.macs(router, node).ip(from, to);
		return p;
	}
};

TEST_F(Egress, UdpLeavesByTheGatewayAndItsAnswerComesBack)
{
	routers();
	for (const char *far : {"203.0.113.7", "2001:db8:7::7"}) {
		bool v6 = is6(far);
		sw.send("a", sw.to("a", far).udp(43210, 53).data("question"));
		Frame f = sw.take("uplink0");
		EXPECT_EQ(f.dst(), router);
		EXPECT_EQ(f.src(), node);
		EXPECT_EQ(f.from(), v6 ? "2001:db8::1" : "192.0.2.1");
		EXPECT_EQ(f.to(), far);
		EXPECT_EQ(f.sport(), 43210) << "its own port is one that may be used";
		EXPECT_EQ(f.ttl(), 63);
		EXPECT_EQ(f.text(), "question");
		EXPECT_EQ(f.checksums(), "");
		wire(from_wire(far, f.from()).udp(53, 43210).data("answer"));
		f = sw.take("a");
		EXPECT_EQ(f.from(), far);
		EXPECT_EQ(f.to(), v6 ? sw.ip6("a") : sw.ip("a"));
		EXPECT_EQ(f.dport(), 43210);
		EXPECT_EQ(f.src(), gateway);
		EXPECT_EQ(f.dst(), sw.mac("a"));
		EXPECT_EQ(f.ttl(), 63);
		EXPECT_EQ(f.text(), "answer");
		EXPECT_EQ(f.checksums(), "");
		EXPECT_TRUE(sw.nothing("host"));
	}
}

TEST_F(Egress, TcpAWholeLifeFromAPortOutsideOfTheRange)
{
	routers();
	for (const char *far : {"203.0.113.7", "2001:db8:7::7"}) {
		sw.send("a", sw.to("a", far).tcp(1234, 443, 2));
		Frame f = sw.take("uplink0");
		uint16_t port = f.sport();
		std::string us = f.from();
		EXPECT_GE(port, 40000);
		EXPECT_LE(port, 49999);
		EXPECT_EQ(f.checksums(), "");
		wire(from_wire(far, us).tcp(443, port, 0x12));
		f = sw.take("a");
		EXPECT_EQ(f.dport(), 1234);
		EXPECT_EQ(f.tcp_flags(), 0x12);
		EXPECT_EQ(f.checksums(), "");
		Packet data = sw.to("a", far).tcp(1234, 443, 0x18).data(100);
		data.seq = 1001, data.ack = 1001;
		data.partial = true; // as TAP pods and guests hand it over
		sw.send("a", data);
		f = sw.take("uplink0");
		EXPECT_EQ(f.sport(), port);
		EXPECT_EQ(f.checksums(), "");
	}
}

TEST_F(Egress, EchoByIdentifier)
{
	routers();
	for (const char *far : {"203.0.113.7", "2001:db8:7::7"}) {
		// The same identifier from two pods.
		for (const char *pod : {"a", "b"}) {
			sw.send(pod, sw.to(pod, far).echo(7, 1).data("ping"));
			Frame f = sw.take("uplink0");
			uint16_t id = get16(f.b, f.l4() + 4);
			EXPECT_GE(id, 40000);
			EXPECT_EQ(f.checksums(), "");
			wire(from_wire(far, f.from()).icmp(is6(far) ? 129 : 0, 0, (uint32_t)id << 16 | 1).data("ping"));
			f = sw.take(pod);
			EXPECT_EQ(f.icmp_type(), is6(far) ? 129 : 0);
			EXPECT_EQ(get16(f.b, f.l4() + 4), 7);
			EXPECT_EQ(f.from(), far);
			EXPECT_EQ(f.checksums(), "");
		}
	}
}

TEST_F(Egress, WhoIsOnTheLinkIsAskedForAndThePacketWaits)
{
	// 192.0.2.9 is in the uplink's own network, 2001:db8::9 in the host port's: one wire.
	sw.send("a", sw.to("a", "192.0.2.9").udp(40001, 9).data("waits"));
	Frame f = sw.take("uplink0");
	ASSERT_TRUE(f.is_arp());
	EXPECT_EQ(get32(f.b, 28), 0xc0000201u);
	EXPECT_EQ(get32(f.b, 38), 0xc0000209u);
	EXPECT_EQ(f.dst(), Mac("ff:ff:ff:ff:ff:ff"));
	answer("192.0.2.9", peer);
	sw.settle(2100);
	f = sw.take("uplink0");
	EXPECT_EQ(f.text(), "waits");
	EXPECT_EQ(f.dst(), peer);

	sw.send("a", sw.to("a", "2001:db8::9").udp(40001, 9).data("waits6"));
	f = sw.take("uplink0");
	ASSERT_TRUE(f.v6());
	EXPECT_EQ(f.icmp_type(), 135);
	EXPECT_EQ(f.to(), "ff02::1:ff00:9");
	EXPECT_EQ(f.from(), "2001:db8::1");
	EXPECT_EQ(f.dst(), Mac("33:33:ff:00:00:09"));
	EXPECT_EQ(f.src(), node);
	EXPECT_EQ(f.ttl(), 255);
	EXPECT_EQ(f.ip_at(f.l4() + 8), "2001:db8::9");
	EXPECT_EQ(f.checksums(), "");
	answer("2001:db8::9", peer);
	sw.settle(2100);
	f = sw.take("uplink0");
	EXPECT_EQ(f.text(), "waits6");
	EXPECT_EQ(f.dst(), peer);
	EXPECT_EQ(sw.take_all("host").size(), 2u) << "the host learns as well";
}

TEST_F(Egress, NobodyAnswers)
{
	sw.send("a", sw.to("a", "192.0.2.66").udp(40001, 9));
	ASSERT_TRUE(sw.take("uplink0").is_arp());
	for (int k = 0; k < 40 && sw.drops("neighbour") == 0; k++) {
		usleep(50000);
		sw.settle(2100);
	}
	EXPECT_EQ(sw.drops("neighbour"), 1u) << sw.drops_text();
}

TEST_F(Egress, TwoPodsWithOnePort)
{
	routers();
	sw.send("a", sw.to("a", "203.0.113.7").udp(43210, 53).data("a"));
	uint16_t pa = sw.take("uplink0").sport();
	sw.send("b", sw.to("b", "203.0.113.7").udp(43210, 53).data("b"));
	uint16_t pb = sw.take("uplink0").sport();
	EXPECT_NE(pa, pb);
	wire(from_wire("203.0.113.7", "192.0.2.1").udp(53, pb).data("to b"));
	EXPECT_EQ(sw.take("b").text(), "to b");
	wire(from_wire("203.0.113.7", "192.0.2.1").udp(53, pa).data("to a"));
	EXPECT_EQ(sw.take("a").text(), "to a");
}

TEST_F(Egress, PortsRunOutTowardsOneDestinationOnly)
{
	network("\"ips\":[\"192.0.2.1\"],\"portRange\":[40000,40007]");
	routers();
	std::set<uint16_t> seen;
	for (uint16_t k = 0; k < 8; k++) {
		sw.send("a", sw.to("a", "203.0.113.7").udp((uint16_t)(1000 + k), 53));
		seen.insert(sw.take("uplink0").sport());
	}
	EXPECT_EQ(seen.size(), 8u) << "every port is found";
	json_t *status = sw.call("status", "{}"), *nat = json_array_get(json_object_get(status, "masquerade"), 0);
	EXPECT_STREQ(json_string_value(json_object_get(nat, "ip")), "192.0.2.1");
	EXPECT_EQ(json_integer_value(json_object_get(nat, "ports")), 8);
	EXPECT_EQ(json_integer_value(json_object_get(nat, "connections")), 9) << "and the one of routers()";
	EXPECT_STREQ(json_string_value(json_object_get(json_object_get(nat, "busiest"), "destination")), "203.0.113.7:53/UDP");
	EXPECT_EQ(json_integer_value(json_object_get(json_object_get(nat, "busiest"), "used")), 8);
	EXPECT_NE(json_object_get(nat, "warning"), nullptr) << "said before it happens";
	json_decref(status);
	sw.send("a", sw.to("a", "203.0.113.7").udp(2000, 53));
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.drops("nat_ports"), 1u) << sw.drops_text();
	sw.send("a", sw.to("a", "203.0.113.8").udp(2000, 53));
	sw.take("uplink0");
	sw.send("a", sw.to("a", "203.0.113.7").udp(1003, 53).data("still"));
	EXPECT_EQ(sw.take("uplink0").text(), "still");
}

TEST_F(Egress, WithoutMasqueradeThereIsNoRoute)
{
	routers();
	network("");
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 53));
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.drops("no_route"), 1u);
	EXPECT_EQ(sw.take("a").icmp_type(), 3);
	// What was established ends with it.
	sw.send("a", sw.to("a", "203.0.113.9").udp(40000, 9));
	EXPECT_TRUE(sw.nothing("uplink0"));
	sw.take_all("a");
}

TEST_F(Egress, OfTheFamilyThatHasAnAddressOnly)
{
	network("\"ips\":[\"192.0.2.1\"]");
	routers();
	sw.send("a", sw.to("a", "2001:db8:7::7").udp(40000, 53));
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.take("a").icmp_type(), 1);
}

TEST_F(Egress, AddressesOfTheNetworkNeverLeave)
{
	routers();
	sw.send("a", sw.to("a", "10.244.1.77").udp(40000, 53)); // in a subnet, nobody's
	EXPECT_TRUE(sw.nothing("uplink0"));
	ASSERT_TRUE(sw.apply(R"({"kind":"Node","name":"n","self":true,"ips":["192.0.2.1"],"serviceCIDRs":["10.96.0.0/12"]})"));
	sw.send("a", sw.to("a", "10.96.0.77").udp(40000, 53)); // no service
	EXPECT_TRUE(sw.nothing("uplink0"));
	sw.take_all("a");
	sw.remote("node-2", "192.0.2.2", "10.244.2.0/24");
	sw.send("a", sw.to("a", "10.244.2.7").udp(40000, 53));
	Frame f = sw.take("uplink0");
	EXPECT_TRUE(f.is_arp()) << "through the tunnel";
	EXPECT_EQ(get32(f.b, 38), 0xc0000202u);
}

TEST_F(Egress, ARemoteThatTakesTheDestinationTakesItsConnections)
{
	routers();
	sw.send("a", sw.to("a", "203.0.113.9").udp(40000, 9));
	EXPECT_EQ(sw.take("uplink0").to(), "203.0.113.9");
	sw.remote("node-2", "192.0.2.2", "203.0.113.0/24");
	answer("192.0.2.2", peer);
	sw.send("a", sw.to("a", "203.0.113.9").udp(40000, 9));
	answer("192.0.2.2", peer);
	sw.settle(2100);
	bool tunnelled = false;
	for (auto &f : sw.take_all("uplink0"))
		tunnelled |= f.v4() && f.to() == "192.0.2.2";
	EXPECT_TRUE(tunnelled);
}

TEST_F(Egress, ExcludedDestinationsSeeThePodItself)
{
	network(R"("ips":["192.0.2.1","2001:db8::1"],"exclude":["203.0.113.0/24","2001:db8:7::/64"])");
	routers();
	for (const char *far : {"203.0.113.7", "2001:db8:7::7"}) {
		std::string own = is6(far) ? sw.ip6("a") : sw.ip("a");
		sw.send("a", sw.to("a", far).udp(1234, 53).data("q"));
		Frame f = sw.take("uplink0");
		EXPECT_EQ(f.from(), own);
		EXPECT_EQ(f.sport(), 1234);
		EXPECT_EQ(f.checksums(), "");
		wire(from_wire(far, own).udp(53, 1234).data("r"));
		f = sw.take("a");
		EXPECT_EQ(f.text(), "r");
		EXPECT_EQ(f.ttl(), 63);
		// Nothing that was not asked for.
		wire(from_wire(far, own).udp(53, 1235).data("unasked"));
		EXPECT_TRUE(sw.nothing("a"));
		EXPECT_EQ(sw.take("host").text(), "unasked") << "as before: the host's to judge";
	}
	sw.send("a", sw.to("a", "198.51.100.7").udp(40123, 53));
	EXPECT_EQ(sw.take("uplink0").from(), "192.0.2.1");
}

TEST_F(Egress, WhatIsNotOursIsTheHostsUntouched)
{
	routers();
	sw.send("a", sw.to("a", "203.0.113.7").udp(43210, 53));
	sw.take("uplink0");
	std::vector<Packet> all = {
		from_wire("203.0.113.8", "192.0.2.1").udp(53, 43210),         // somebody else
		from_wire("203.0.113.7", "192.0.2.1").udp(54, 43210),
		from_wire("203.0.113.7", "192.0.2.1").tcp(53, 43210, 0x12),
		from_wire("203.0.113.7", "192.0.2.1").tcp(5, 22, 2),
		from_wire("203.0.113.7", "192.0.2.1").echo(1, 1),
		from_wire("203.0.113.7", "192.0.2.1").icmp(3, 3, 0).data(40), // about nothing of ours
		from_wire("203.0.113.7", "192.0.2.1").raw(47, Bytes(20, 1)),
		from_wire("192.0.2.9", "192.0.2.1").udp(67, 68),
		from_wire("2001:db8::9", "2001:db8::1").tcp(5, 22, 2),
		from_wire("fe80::9", "2001:db8::1").icmp(134, 0, 0).data(8),
		from_wire("2001:db8::9", "ff02::1").icmp(134, 0, 0).data(8),
		from_wire("192.0.2.9", "224.0.0.251").udp(5353, 5353),
	};
	Packet fragment = from_wire("203.0.113.7", "192.0.2.1").udp(53, 43210).data(30);
	fragment.fragment = 0x2000;
	all.push_back(fragment);
	Packet last = from_wire("203.0.113.7", "192.0.2.1").tcp(5, 22, 2);
	last.ttl = 1;
	all.push_back(last);
	Packet broken = from_wire("203.0.113.7", "192.0.2.1").udp(53, 43210);
	broken.bad_ip_sum = true;
	all.push_back(broken);
	for (auto &p : all) {
		sw.give("uplink0", p.bytes());
		sw.settle();
		EXPECT_EQ(sw.take("host").b, p.bytes()) << "proto " << (int)p.proto << " to " << p.to << ":" << p.dport;
	}
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_TRUE(sw.nothing("uplink0"));
}

TEST_F(Egress, ErrorsAboutWhatLeftComeHome)
{
	routers();
	for (const char *far : {"203.0.113.7", "2001:db8:7::7"}) {
		bool v6 = is6(far);
		const char *hop = v6 ? "2001:db8:8::1" : "198.51.100.1";
		sw.send("a", sw.to("a", far).udp(1234, 53).data("long enough to be quoted"));
		Frame out = sw.take("uplink0");
		// Too big, by a router on the way: the quote cut off after 8 bytes of UDP (RFC 792), and with more.
		for (size_t quoted : {8u, 20u}) {
			Bytes quote(out.b.begin() + 14, out.b.begin() + (long)(out.l4() + quoted));
			Packet e = from_wire(hop, out.from()).icmp(v6 ? 2 : 3, v6 ? 0 : 4, 1400);
			e.payload = quote;
			wire(e);
			Frame f = sw.take("a");
			EXPECT_EQ(f.from(), hop);
			EXPECT_EQ(f.to(), v6 ? sw.ip6("a") : sw.ip("a"));
			EXPECT_EQ(f.checksums(), "");
			Frame inside{Bytes(14), false};
			put16(inside.b, 12, v6 ? 0x86dd : 0x0800);
			Bytes q = f.payload();
			inside.b.insert(inside.b.end(), q.begin(), q.end());
			EXPECT_EQ(inside.from(), v6 ? sw.ip6("a") : sw.ip("a"));
			EXPECT_EQ(inside.to(), far);
			EXPECT_EQ(inside.sport(), 1234);
			EXPECT_EQ(inside.dport(), 53);
			EXPECT_TRUE(v6 || sum16(&inside.b[14], 20) == 0xffff) << "the quoted header's checksum";
		}
		// Forged: quotes a port that nothing left from.
		Bytes quote(out.b.begin() + 14, out.b.begin() + (long)(out.l4() + 8));
		put16(quote, out.l4() - 14, (uint16_t)(out.sport() ^ 1));
		Packet e = from_wire(hop, out.from()).icmp(v6 ? 1 : 3, v6 ? 4 : 3, 0);
		e.payload = quote;
		wire(e);
		EXPECT_TRUE(sw.nothing("a"));
		sw.take("host");
	}
}

TEST_F(Egress, ErrorsOfThePodSayTheAddressThatStandsForIt)
{
	routers();
	sw.send("a", sw.to("a", "203.0.113.7").udp(1234, 53).data("q"));
	Frame out = sw.take("uplink0");
	wire(from_wire("203.0.113.7", "192.0.2.1").udp(53, out.sport()).data("late answer"));
	Frame in = sw.take("a");
	Packet e = sw.to("a", "203.0.113.7").icmp(3, 3, 0);
	e.payload = Bytes(in.b.begin() + 14, in.b.begin() + (long)(in.l4() + 8));
	sw.send("a", e);
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.from(), "192.0.2.1");
	EXPECT_EQ(f.to(), "203.0.113.7");
	EXPECT_EQ(f.checksums(), "");
	Frame inside{Bytes(14), false};
	put16(inside.b, 12, 0x0800);
	Bytes q = f.payload();
	inside.b.insert(inside.b.end(), q.begin(), q.end());
	EXPECT_EQ(inside.to(), "192.0.2.1");
	EXPECT_EQ(inside.dport(), out.sport());
}

TEST_F(Egress, TtlAndMtu)
{
	routers();
	Packet p = sw.to("a", "203.0.113.7").udp(40000, 53).data("x");
	p.ttl = 1;
	sw.send("a", p);
	Frame f = sw.take("a");
	EXPECT_EQ(f.icmp_type(), 11);
	EXPECT_EQ(f.from(), "10.244.1.1");
	// An answer that does not fit the pod: its sender is told, by the address that it sent to.
	ASSERT_TRUE(sw.apply(R"({"kind":"Port","name":"a","type":"test","mtu":1450})")) << sw.error;
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 53).data("x"));
	sw.take("uplink0");
	Packet big = from_wire("203.0.113.7", "192.0.2.1").udp(53, 40000).data(1460);
	wire(big);
	EXPECT_TRUE(sw.nothing("a"));
	f = sw.take("uplink0");
	EXPECT_EQ(f.icmp_type(), 3);
	EXPECT_EQ(f.icmp_code(), 4);
	EXPECT_EQ(get16(f.b, f.l4() + 6), 1450);
	EXPECT_EQ(f.from(), "192.0.2.1");
	EXPECT_EQ(f.to(), "203.0.113.7");
	EXPECT_EQ(f.dst(), router);
	EXPECT_EQ(f.checksums(), "");
	// One with TTL 1 goes no further either.
	Packet old = from_wire("203.0.113.7", "192.0.2.1").udp(53, 40000).data("old");
	old.ttl = 1;
	wire(old);
	EXPECT_EQ(sw.take("uplink0").icmp_type(), 11);
}

TEST_F(Egress, PolicyIsJudgedAtTheSource)
{
	routers();
	ASSERT_TRUE(sw.apply(R"({"kind":"Policy","name":"p","network":"default","tier":"network","endpoints":["a"],"types":["Egress"],
		"egress":[{"to":[{"cidr":"203.0.113.0/24"}],"ports":[{"protocol":"UDP","port":53}]}]})"))
		<< sw.error;
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 53));
	sw.take("uplink0");
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 54));
	sw.send("a", sw.to("a", "198.51.100.7").udp(40000, 53));
	EXPECT_EQ(sw.drops("policy_egress"), 2u);
	sw.send("b", sw.to("b", "198.51.100.7").udp(40000, 53));
	sw.take("uplink0");
	// The next packet obeys, in both directions.
	ASSERT_TRUE(sw.apply(R"({"kind":"Policy","name":"p","network":"default","tier":"network","endpoints":["a"],"types":["Egress"],"egress":[]})"));
	wire(from_wire("203.0.113.7", "192.0.2.1").udp(53, 40000));
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 53));
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.drops("policy_egress"), 4u) << sw.drops_text();
}

TEST_F(Egress, AnAddressThatLeavesTheListTakesItsConnectionsWithIt)
{
	network(R"("ips":["192.0.2.10","192.0.2.11","192.0.2.12"])");
	routers();
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 53));
	std::string first = sw.take("uplink0").from();
	// Another comes and others go: a conversation keeps the address that it has.
	network(R"("ips":["192.0.2.13","192.0.2.14",")" + first + "\"]");
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 53));
	EXPECT_EQ(sw.take("uplink0").from(), first);
	network(R"("ips":["192.0.2.15"])");
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 53));
	EXPECT_EQ(sw.take("uplink0").from(), "192.0.2.15");
	wire(from_wire("203.0.113.7", first).udp(53, 40000));
	EXPECT_TRUE(sw.nothing("a"));
	sw.take_all("host");
}

// The Node says that an address is the services': what went there until now is refused, like what would begin now.
TEST_F(Egress, AnAddressThatBecomesTheServicesTakesItsConnectionsWithIt)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Node","name":"n","self":true,"ips":["192.0.2.1"]})")) << sw.error;
	routers();
	Packet p = sw.to("a", "203.0.113.7").udp(43210, 53).data("q");
	sw.send("a", p);
	EXPECT_EQ(sw.take("uplink0").text(), "q");
	ASSERT_TRUE(sw.apply(R"({"kind":"Node","name":"n","self":true,"ips":["192.0.2.1"],"serviceCIDRs":["203.0.113.0/24"]})")) << sw.error;
	sw.take_all("a");
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.drops("service_unknown"), 1u) << sw.drops_text();
	sw.send("a", sw.to("a", "203.0.113.7").udp(43211, 53));
	EXPECT_EQ(sw.drops("service_unknown"), 2u) << sw.drops_text();
	sw.take_all("a");
}

TEST_F(Egress, ItsAddressesAreAnsweredForOnTheLink)
{
	network(R"("ips":["192.0.2.10","2001:db8::10"])");
	sw.give("uplink0", arp(1, peer, "192.0.2.9", "00:00:00:00:00:00", "192.0.2.10"));
	sw.settle();
	Frame f = sw.take("uplink0");
	ASSERT_TRUE(f.is_arp());
	EXPECT_EQ(get16(f.b, 20), 2);
	EXPECT_EQ(f.src(), node);
	EXPECT_EQ(f.dst(), peer);
	sw.give("uplink0", discovery(135, "2001:db8::9", "ff02::1:ff00:10", "2001:db8::10", peer, 1).macs(peer, "33:33:ff:00:00:10").bytes());
	sw.settle();
	f = sw.take("uplink0");
	EXPECT_EQ(f.icmp_type(), 136);
	EXPECT_EQ(f.from(), "2001:db8::10");
	EXPECT_EQ(f.to(), "2001:db8::9");
	EXPECT_EQ(f.dst(), peer);
	EXPECT_EQ(f.src(), node);
	EXPECT_EQ(get32(f.b, f.l4() + 4), 0x60000000u) << "solicited, override, and no router";
	EXPECT_EQ(f.checksums(), "");
	// The node's other address is the host's to answer for.
	Packet q = discovery(135, "2001:db8::9", "ff02::1:ff00:1", "2001:db8::1", peer, 1).macs(peer, "33:33:ff:00:00:01");
	sw.give("uplink0", q.bytes());
	sw.settle();
	EXPECT_EQ(sw.take("host").b, q.bytes());
	EXPECT_TRUE(sw.nothing("uplink0"));
}

TEST_F(Egress, NobodySpeaksVxlanInTheNameOfTheNode)
{
	routers();
	sw.send("a", sw.to("a", "192.0.2.2").udp(40000, 4789).data(60));
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.drops("forged_tunnel"), 1u) << sw.drops_text();
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 4790).data(60));
	sw.take("uplink0");
}

TEST_F(Egress, SourcesThatAreNotThePodsAreStillSpoofed)
{
	routers();
	Packet p = sw.to("a", "203.0.113.7").udp(40000, 53);
	p.from = "192.0.2.1";
	sw.send("a", p);
	p.from = "10.244.1.6";
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 2u);
}

TEST_F(Egress, WithoutAnUplink)
{
	EXPECT_FALSE(sw.remove("Port", "uplink0")) << "the Routes name it";
	ASSERT_TRUE(sw.apply(R"({"kind":"Route","name":"default","network":"underlay","prefix":"0.0.0.0/0","nextHops":[{"ip":"192.0.2.254"}]},
		{"kind":"Route","name":"default6","network":"underlay","prefix":"::/0","nextHops":[{"ip":"2001:db8:1::254"}]})"))
		<< sw.error;
	ASSERT_TRUE(sw.remove("Port", "uplink0")) << sw.error;
	sw.send("a", sw.to("a", "203.0.113.7").udp(40000, 53));
	EXPECT_EQ(sw.take("a").icmp_type(), 3);
	EXPECT_EQ(sw.drops("no_route"), 1u);
}

TEST_F(Egress, SeveralNextHopsShareTheFlowsByWeight)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Route","name":"default","network":"underlay","prefix":"0.0.0.0/0","nextHops":[
		{"ip":"192.0.2.254","port":"uplink0","weight":3},{"ip":"192.0.2.253","port":"uplink0","weight":1}]})"))
		<< sw.error;
	answer("192.0.2.254", router);
	answer("192.0.2.253", peer);
	int n[2] = {};
	std::map<uint16_t, Mac> way;
	for (int again = 0; again < 2; again++) {
		for (uint16_t k = 0; k < 400; k++) {
			uint16_t port = (uint16_t)(40000 + k);
			sw.send("a", sw.to("a", "203.0.113.7").udp(port, 53));
			Frame f = sw.take("uplink0");
			n[f.dst() == router ? 0 : 1]++;
			EXPECT_TRUE(!again || f.dst() == way[port]) << "a flow keeps its way";
			way[port] = f.dst();
		}
	}
	EXPECT_NEAR(n[0], 600, 80);
	EXPECT_EQ(n[0] + n[1], 800);
}

TEST_F(Egress, OtherProtocolsByTheirAddresses)
{
	routers();
	sw.send("a", sw.to("a", "203.0.113.7").raw(47, Bytes(24, 7)));
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.from(), "192.0.2.1");
	wire(from_wire("203.0.113.7", "192.0.2.1").raw(47, Bytes(24, 8)));
	f = sw.take("a");
	EXPECT_EQ(f.to(), sw.ip("a"));
	sw.send("b", sw.to("b", "203.0.113.7").raw(47, Bytes(24, 7)));
	EXPECT_TRUE(sw.nothing("uplink0")) << "nothing tells two of them apart";
	EXPECT_EQ(sw.drops("nat_clash"), 1u) << sw.drops_text();
}

TEST_F(Egress, FragmentsLeaveAndComeBack)
{
	routers();
	for (const char *far : {"203.0.113.7", "2001:db8:7::7"})
		for (bool backwards : {false, true}) {
			bool v6 = is6(far);
			auto turn = [&](std::vector<Bytes> parts) {
				if (backwards)
					std::reverse(parts.begin(), parts.end());
				return parts;
			};
			Packet p = sw.to("a", far).udp(43210, 53).data(4000);
			for (const Bytes &f : turn(split(p, 1400, 1 + backwards)))
				sw.give("a", f);
			sw.settle();
			Frame f = whole(sw.take_all("uplink0"));
			EXPECT_EQ(f.payload(), p.payload) << sw.drops_text();
			EXPECT_EQ(f.checksums(), "");
			EXPECT_EQ(f.from(), v6 ? "2001:db8::1" : "192.0.2.1");
			Packet r = from_wire(far, f.from()).udp(53, f.sport()).data(4000); // 1,480 a fragment there, 1,450 here
			for (const Bytes &g : turn(split(r, v6 ? 1400 : 1480, 1 + backwards)))
				sw.give("uplink0", g);
			sw.settle();
			f = whole(sw.take_all("a"));
			EXPECT_EQ(f.payload(), r.payload) << far << (backwards ? " backwards " : " ") << sw.drops_text();
			EXPECT_EQ(f.checksums(), "");
			EXPECT_EQ(f.to(), v6 ? sw.ip6("a") : sw.ip("a"));
			// The node's own, which it shares the address with, stay its own.
			Packet own = from_wire(far, v6 ? "2001:db8::1" : "192.0.2.1").udp(53, 777).data(4000);
			for (const Bytes &g : turn(split(own, 1400, 11 + backwards)))
				sw.give("uplink0", g);
			sw.settle();
			EXPECT_EQ(whole(sw.take_all("host")).payload(), own.payload) << sw.drops_text();
		}
	EXPECT_EQ(sw.drops("fragment"), 0u) << sw.drops_text();
}

// What is the host's own is not known before its first fragment has come: it gets all of it, be it late, too much, or
// nonsense.
TEST_F(Egress, WhatTheHostsFragmentsWaitedForInVainIsTheHostsToSee)
{
	routers();
	Packet own = from_wire("203.0.113.7", "192.0.2.1").udp(53, 777).data(4000);
	std::vector<Bytes> late;
	for (uint32_t id = 1; id <= 200; id++) {
		late.push_back(split(own, 1400, id).back());
		sw.give("uplink0", late.back());
	}
	sw.settle();
	auto early = sw.take_all("host");
	EXPECT_GE(early.size(), 136u) << "64 of one address are held at the most";
	usleep(2100000);
	sw.settle(200);
	auto rest = sw.take_all("host");
	ASSERT_EQ(early.size() + rest.size(), 200u) << sw.drops_text();
	for (size_t i = 0; i < 200; i++)
		EXPECT_EQ(i < early.size() ? early[i].b : rest[i - early.size()].b, late[i]);
	// Two that overlap while they wait.
	sw.give("uplink0", fragment_of(own.bytes(), 1400, 1400, true, 999));
	sw.give("uplink0", fragment_of(own.bytes(), 1408, 1400, true, 999));
	sw.settle(200);
	EXPECT_EQ(sw.take_all("host").size(), 2u);
	EXPECT_EQ(sw.drops("fragment_limit") + sw.drops("fragment_timeout") + sw.drops("fragment_overlap"), 0u)
		<< sw.drops_text();
}

TEST_F(Egress, SctpKeepsItsChecksum)
{
	routers();
	// A header, an INIT chunk and its CRC32c (RFC 9260 6.8), computed here bit by bit.
	Bytes b = {0x04, 0xd2, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 5, 6, 7, 8};
	auto crc = [](Bytes x) {
		memset(&x[8], 0, 4);
		uint32_t c = ~0u;
		for (uint8_t v : x) {
			c ^= v;
			for (int k = 0; k < 8; k++)
				c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
		}
		return ~c;
	};
	uint32_t sum = crc(b);
	memcpy(&b[8], &sum, 4);
	sw.send("a", sw.to("a", "203.0.113.7").raw(132, b));
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.from(), "192.0.2.1");
	EXPECT_NE(f.sport(), 1234);
	Bytes out(f.b.begin() + (long)f.l4(), f.b.begin() + (long)f.end());
	uint32_t is, want = crc(out);
	memcpy(&is, &out[8], 4);
	EXPECT_EQ(is, want);
}

TEST(EgressWorkers, TwoPodsOnTwoWorkersWithOnePortAtOnce)
{
	Switch sw(2);
	sw.port("uplink0", ",\"uplink\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"192.0.2.1/24\"]");
	ASSERT_TRUE(sw.apply(R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"}],
		"masquerade":{"ips":["192.0.2.1"],"portRange":[40000,41023]}})"))
		<< sw.error;
	sw.pod("a", "10.244.1.5");
	sw.pod("b", "10.244.1.6");
	sw.send("a", sw.to("a", "192.0.2.9").udp(9, 9));
	sw.give("uplink0", arp(2, peer, "192.0.2.9", node, "192.0.2.1", node));
	sw.settle(3000);
	sw.take_all("uplink0");
	std::vector<int> cores;
	cpu_set_t cpus;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	for (int c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &cpus))
			cores.push_back(c);
	sw.run_threads(cores);
	for (uint16_t k = 0; k < 400; k++)
		for (const char *pod : {"a", "b"})
			sw.give(pod, sw.to(pod, "192.0.2.9").udp((uint16_t)(40000 + k), 53).bytes());
	for (int k = 0; k < 100 && sw.connections() < 801; k++)
		usleep(20000);
	usleep(100000);
	sw.stop_threads();
	sw.settle();
	std::set<uint16_t> ports;
	size_t n = 0;
	for (auto &f : sw.take_all("uplink0"))
		if (f.v4() && f.dport() == 53)
			n++, ports.insert(f.sport());
	EXPECT_EQ(n, 800u) << sw.drops_text();
	EXPECT_EQ(ports.size(), 800u) << "no port twice";
}
