// SPDX-License-Identifier: Apache-2.0
// The cases P1..P10 and X1..X6 of FAULTS that no other suite has: see also malformed, spoof, vxlan, tcp, fragment_hostile, icmp_error.
#include "fragment_fixture.hpp"

using namespace weft;

struct Faults : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
		sw.pod("c", "10.244.1.7");
	}
	void expect_drop(const std::string &port, const char *reason, const Bytes &f, const std::string &what = "")
	{
		uint64_t before = sw.drops(reason);
		sw.give(port, f);
		sw.settle();
		EXPECT_EQ(sw.drops(reason), before + 1) << what << " " << reason << "; drops: " << sw.drops_text();
		for (const char *pod : {"a", "b", "c"})
			EXPECT_TRUE(sw.nothing(pod)) << what << " reached " << pod;
	}
	void deny_all(const std::string &ingress = "")
	{
		ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\",\"endpoints\":[\"b\"],\"types\":[\"Ingress\"]" +
				     ingress + "}"))
			<< sw.error;
	}
	std::vector<std::string> both() { return {sw.ip("b"), sw.ip6("b")}; }
};

TEST_F(Faults, P1_AFrameLongerThanItsNetworkGoesNowhere)
{
	for (size_t n : {1451, 1800, 1900})
		for (const std::string &to : both()) {
			Packet p = sw.to("a", to).udp(1, 2).data(n - (is6(to) ? 48 : 28));
			uint64_t before = sw.drops("mtu");
			sw.send("a", p);
			EXPECT_EQ(sw.drops("mtu"), before + 1);
			EXPECT_TRUE(sw.nothing("b"));
			sw.take("a"); // which is told
		}
}

TEST_F(Faults, P1_TaggedAndLengthFramesAreDropped)
{
	for (uint16_t type : {0x8100, 0x88a8, 0x9100, 0x0000, 0x0040, 0x05dc}) {
		Bytes f = sw.between("a", "b").udp(1, 2).bytes();
		put16(f, 12, type);
		expect_drop("a", "ethertype", f);
	}
}

// What lies behind the IP packet in the frame is no part of it, whatever its headers claim.
TEST_F(Faults, P2_PaddingIsNeverReadAsPayload)
{
	Packet p = sw.between("a", "b").tcp(1000, 80, 2);
	Bytes f = p.bytes();
	f.resize(60, 0xee);
	put16(f, 16, 20 + 12); // the IP packet ends within the TCP header, which goes on in the padding
	put16(f, 24, 0), put16(f, 24, (uint16_t)~sum16(&f[14], 20));
	expect_drop("a", "l4_header", f, "TCP");
	Packet u = sw.between("a", "b").udp(1000, 53).data("x");
	f = u.bytes();
	f.resize(100, 0xee);
	put16(f, 38, 60); // UDP says that it goes on
	expect_drop("a", "l4_header", f, "UDP");
	Packet s = sw.to("a", sw.ip6("b")).udp(1000, 53).data("x");
	f = s.bytes();
	f.resize(120, 0xee);
	put16(f, 18, 7);
	expect_drop("a", "l4_header", f, "UDP over IPv6");
}

TEST_F(Faults, P2_OptionsDoNotMoveTheVerdict)
{
	deny_all(",\"ingress\":[{\"action\":\"accept\",\"ports\":[{\"protocol\":\"UDP\",\"port\":53}]}]");
	for (size_t n = 0; n <= 40; n += 4) {
		Packet good = sw.between("a", "b").udp(1000, 53), bad = sw.between("a", "b").udp(53, 54);
		// Options that look like the allowed ports where a parser that knows no IHL would look for them.
		good.options = bad.options = Bytes(n, 0);
		for (size_t k = 3; k < n; k += 4)
			good.options[k] = bad.options[k] = 53;
		sw.send("a", good);
		EXPECT_EQ(sw.take("b").dport(), 53);
		sw.send("a", bad);
		EXPECT_TRUE(sw.nothing("b")) << n;
	}
}

// One pod's errors are limited, and its neighbours' are not.
TEST_F(Faults, P4_TimeExceededIsLimitedByPort)
{
	size_t told = 0;
	for (int i = 0; i < 3000; i++) {
		Packet p = sw.between("a", "b").udp((uint16_t)i, 2);
		p.ttl = 1;
		sw.give("a", p.bytes());
		if (i % 64 == 63) {
			sw.settle(2);
			told += sw.take_all("a").size();
		}
	}
	sw.settle();
	told += sw.take_all("a").size();
	EXPECT_GE(told, 1000u);
	EXPECT_LT(told, 3000u);
	EXPECT_EQ(told + sw.drops("icmp_limit"), 3000u);
	Packet p = sw.between("c", "b").udp(1, 2);
	p.ttl = 1;
	sw.send("c", p);
	EXPECT_EQ(sw.take("c").icmp_type(), 11);
	p.ttl = 0;
	expect_drop("c", "ttl", p.bytes());
	EXPECT_TRUE(sw.nothing("b"));
}

TEST_F(Faults, P6_Ipv6SourcesThatNobodyHas)
{
	for (const char *from : {"ff02::1", "::ffff:10.244.1.5", "::ffff:127.0.0.1"}) {
		Packet p = sw.to("a", sw.ip6("b")).udp(1, 2);
		p.from = from;
		expect_drop("a", "bad_address", p.bytes(), from);
	}
	for (const char *from : {"::1", "fd00:244:1::7", "2001:db8::1"}) {
		Packet p = sw.to("a", sw.ip6("b")).udp(1, 2);
		p.from = from;
		expect_drop("a", "spoofed_ip", p.bytes(), from);
	}
	Packet land = sw.to("a", sw.ip6("a")).udp(1, 1);
	expect_drop("a", "bad_address", land.bytes(), "land");
	Packet unspecified = sw.to("a", sw.ip6("b")).udp(1, 2);
	unspecified.from = "::";
	expect_drop("a", "bad_address", unspecified.bytes(), "unspecified");
}

TEST_F(Faults, P8_ArpInAnothersNameTeachesNobody)
{
	struct {
		const char *reason;
		Bytes frame;
	} lies[] = {
		{"spoofed_arp", arp(1, sw.mac("a"), "10.244.1.6", "00:00:00:00:00:00", "10.244.1.6")}, // gratuitous for b
		{"spoofed_arp", arp(2, sw.mac("a"), "10.244.1.6", "ff:ff:ff:ff:ff:ff", "10.244.1.6")},
		{"spoofed_arp", arp(1, sw.mac("a"), "10.244.1.1", "00:00:00:00:00:00", "10.244.1.1")}, // for the gateway
		{"spoofed_arp", arp(2, sw.mac("a"), "10.244.1.1", sw.mac("b"), "10.244.1.6", "02:00:00:00:00:01")},
		{"spoofed_arp", arp(1, sw.mac("a"), "10.244.1.6", "00:00:00:00:00:00", "10.244.1.7")}, // somebody else asks
	};
	for (auto &lie : lies)
		expect_drop("a", lie.reason, lie.frame);
	sw.send("c", sw.between("c", "b").udp(1, 2).data("still"));
	EXPECT_EQ(sw.take("b").text(), "still");
}

TEST_F(Faults, P8_AFloodOfQuestionsIsLimitedByPort)
{
	Packet nd = sw.to("a", "ff02::1:ff00:6").icmp(135, 0, 0);
	nd.ttl = 255;
	nd.payload = address(sw.ip6("b"));
	Bytes question = arp(1, sw.mac("a"), "10.244.1.5", "00:00:00:00:00:00", "10.244.1.6"), solicitation = nd.bytes();
	size_t told = 0;
	for (int i = 0; i < 4000; i++) {
		sw.give("a", i & 1 ? question : solicitation);
		if (i % 64 == 63) {
			sw.settle(2);
			told += sw.take_all("a").size();
		}
	}
	sw.settle();
	told += sw.take_all("a").size();
	EXPECT_GE(told, 1000u);
	EXPECT_LT(told, 4000u);
	EXPECT_EQ(told + sw.drops("link_limit"), 4000u) << sw.drops_text();
	sw.give("c", arp(1, sw.mac("c"), "10.244.1.7", "00:00:00:00:00:00", "10.244.1.6"));
	sw.settle();
	EXPECT_TRUE(sw.take("c").is_arp()) << "c is not made to wait for a";
}

static Bytes some(size_t n)
{
	Bytes b(n, 0x5a);
	return b;
}

// docs/packets.md: any protocol is carried between addresses that may talk, and none gets past isolation by being odd.
TEST_F(Faults, P9_OddProtocolsAreCarriedByTheirAddresses)
{
	for (const std::string &to : both())
		for (int proto : {0, 2, 4, 41, 47, 50, 59, 89, 94, 103, 253, 255}) {
			if (is6(to) && proto == 0)
				continue; // hop-by-hop options there
			sw.send("a", sw.to("a", to).raw((uint8_t)proto, some(40)));
			EXPECT_EQ(sw.take_all("b").size(), 1u) << to << " protocol " << proto << " " << sw.drops_text();
		}
	expect_drop("a", "multicast", sw.to("a", "224.0.0.22").raw(2, some(16)).bytes(), "IGMP to its group");
}

TEST_F(Faults, P9_OddProtocolsDoNotPassIsolation)
{
	for (const char *ingress : {"", ",\"ingress\":[{\"action\":\"accept\",\"ports\":[{\"protocol\":\"TCP\"},{\"protocol\":\"UDP\",\"port\":53}]}]"}) {
		deny_all(ingress);
		for (const std::string &to : both())
			for (int proto : {0, 1, 2, 4, 41, 47, 50, 51, 58, 59, 89, 94, 103, 132, 253, 255}) {
				bool v6 = is6(to);
				if ((v6 && (proto == 0 || proto == 51 || proto == 1)) || (!v6 && proto == 58))
					continue;
				Packet p = sw.to("a", to);
				if (proto == 1 || proto == 58)
					p.echo(1, 1);
				else
					p.raw((uint8_t)proto, some(40));
				expect_drop("a", "policy_ingress", p.bytes(), to + " protocol " + std::to_string(proto));
			}
	}
	EXPECT_EQ(sw.connections(), 0u);
}

// However long the chain, the ports behind it are judged; and what hides them is not let in.
TEST_F(Faults, P10_TheRealL4IsFoundBehindEveryHeader)
{
	deny_all(",\"ingress\":[{\"action\":\"accept\",\"ports\":[{\"protocol\":\"UDP\",\"port\":53}]}]");
	Packet good = sw.to("a", sw.ip6("b")).udp(1000, 53).data("x"), bad = sw.to("a", sw.ip6("b")).udp(1000, 54).data("x");
	auto chained = [](const Packet &p, const std::vector<int> &kinds) {
		Bytes up = p.l4(), out;
		for (size_t i = 0; i < kinds.size(); i++) {
			uint8_t next = i + 1 < kinds.size() ? (uint8_t)kinds[i + 1] : 17;
			if (kinds[i] == 51)
				out.insert(out.end(), {next, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9});
			else if (kinds[i] == 44)
				out.insert(out.end(), {next, 0, 0, 0, 0, 0, 0, 1}); // atomic
			else
				out.insert(out.end(), {next, 0, (uint8_t)(kinds[i] == 43 ? 4 : 1), 4, 0, 53, 0, 53});
		}
		out.insert(out.end(), up.begin(), up.end());
		return Packet(p).raw((uint8_t)kinds[0], out).bytes();
	};
	for (auto kinds : std::vector<std::vector<int>>{{0}, {43}, {60}, {51}, {44}, {0, 60, 43, 44, 51, 60}, {0, 60, 60, 60, 60, 60, 60, 60}}) {
		sw.give("a", chained(good, kinds));
		sw.settle();
		EXPECT_EQ(sw.take_all("b").size(), 1u) << kinds.size() << " from " << kinds[0] << " " << sw.drops_text();
		expect_drop("a", "policy_ingress", chained(bad, kinds), "the same to another port");
	}
	expect_drop("a", "policy_ingress", sw.to("a", sw.ip6("b")).raw(50, some(40)).bytes(), "ESP hides its ports: it has none");
	expect_drop("a", "ext_headers", chained(good, {0, 60, 60, 60, 60, 60, 60, 60, 60}), "nine");
}

struct TunnelFaults : Faults {
	void SetUp() override
	{
		Faults::SetUp();
		sw.node();
		sw.remote("node-2", "192.0.2.2", "10.244.2.0/24", "fd00:244:2::/64");
		sw.answer_arp();
		sw.send("a", sw.to("a", "10.244.2.99").udp(9, 9));
		sw.answer_arp();
		sw.take_all("uplink0");
		sw.take_all("host");
	}
	static Packet inner(const std::string &from = "10.244.2.10", const std::string &to = "10.244.1.5")
	{
		Packet p;
		return p.macs("02:00:00:00:02:01", gateway).ip(from, to).udp(2000, 1000).data("inner");
	}
	static Packet outer(const Bytes &frame)
	{
		Packet p;
		p.macs(peer, ours).ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
		p.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		p.payload.insert(p.payload.end(), frame.begin(), frame.end());
		return p;
	}
};

TEST_F(TunnelFaults, X1_WhatIsTooShortOrLiesAboutItsLength)
{
	Packet p = outer(inner().bytes());
	for (size_t n : {0, 4, 7, 8, 8 + 13}) {
		Packet q = p;
		q.payload.resize(n);
		expect_drop("uplink0", "vxlan_header", q.bytes(), std::to_string(n) + " bytes of VXLAN");
	}
	Bytes f = p.bytes();
	put16(f, 38, (uint16_t)(get16(f, 38) + 8)); // UDP length beyond the IP packet
	expect_drop("uplink0", "vxlan_header", f, "UDP length");
	f = p.bytes();
	put16(f, 38, (uint16_t)(get16(f, 38) - 8));
	expect_drop("uplink0", "vxlan_header", f, "UDP length below");
	f = p.bytes();
	put16(f, 16, (uint16_t)(get16(f, 16) + 8)); // total length beyond the frame
	put16(f, 24, 0), put16(f, 24, (uint16_t)~sum16(&f[14], 20));
	expect_drop("uplink0", "ip_header", f, "total length");
	f = p.bytes();
	f.resize(40);
	sw.give("uplink0", f);
	sw.settle();
	EXPECT_TRUE(sw.nothing("a"));
	sw.take_all("host");
}

TEST_F(TunnelFaults, X1_AnOuterHeaderThatLiesIsNoTunnel)
{
	for (int ihl : {0, 4, 15}) {
		Bytes f = outer(inner().bytes()).bytes();
		f[14] = (uint8_t)(0x40 | ihl);
		sw.give("uplink0", f);
		sw.settle();
		EXPECT_TRUE(sw.nothing("a")) << ihl;
	}
	sw.take_all("host"); // what is no tunnel packet is the node's own to judge
	Packet p = outer(inner().bytes());
	p.options = Bytes(40, 1);
	sw.give("uplink0", p.bytes());
	sw.settle();
	EXPECT_EQ(sw.take("a").text(), "inner") << "true options are skipped";
}

TEST_F(TunnelFaults, X2_AnotherNodesTunnelIsNotOurs)
{
	Packet p = outer(inner().bytes());
	p.to = "192.0.2.77";
	sw.give("uplink0", p.bytes());
	sw.settle();
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.take_all("host").size(), 1u) << "the node's own stack drops what is not its address";
}

TEST_F(TunnelFaults, X3_InnerSourcesOfEveryFamily)
{
	sw.remote("node-3", "192.0.2.3", "10.244.3.0/24", "fd00:244:3::/64");
	for (const std::string &from : {std::string("10.244.1.6"), std::string("10.244.3.10"), std::string("10.244.1.1"), std::string("192.0.2.1")})
		expect_drop("uplink0", "spoofed_ip", outer(inner(from).bytes()).bytes(), from);
	for (const std::string &from : {sw.ip6("b"), std::string("fd00:244:3::10"), std::string("fd00:244:1::1"), std::string("2001:db8::1")})
		expect_drop("uplink0", "spoofed_ip", outer(inner(from, sw.ip6("a")).bytes()).bytes(), from);
	// On a connection that stands, too: what a says to b is no disguise for the tunnel.
	sw.send("b", sw.between("b", "a").udp(2000, 1000));
	sw.take("a");
	expect_drop("uplink0", "spoofed_ip", outer(inner(sw.ip("b")).bytes()).bytes(), "b's own connection");
}

TEST_F(TunnelFaults, X4_TenTunnelsAreTakenOffOnce)
{
	Bytes f = inner().bytes();
	for (int i = 0; i < 9; i++) {
		Packet p;
		p.macs("02:00:00:00:02:01", gateway).ip("10.244.2.10", "10.244.1.5").udp(50000, 4789);
		p.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		p.payload.insert(p.payload.end(), f.begin(), f.end());
		f = p.bytes();
	}
	sw.give("uplink0", outer(f).bytes());
	sw.settle();
	Frame got = sw.take("a");
	EXPECT_EQ(got.dport(), 4789) << "what a pod sends as VXLAN is payload";
	EXPECT_EQ(got.b.size(), f.size());
	EXPECT_EQ(sw.connections(), 2u);
}

TEST_F(TunnelFaults, X6_NothingLeavesThatTheUnderlayCannotTake)
{
	for (const std::string &to : {std::string("10.244.2.10"), std::string("fd00:244:2::10")}) {
		size_t head = is6(to) ? 48 : 28;
		sw.send("a", sw.to("a", to).udp(1000, 2000).data(1451 - head));
		EXPECT_TRUE(sw.nothing("uplink0")) << to;
		Frame f = sw.take("a");
		EXPECT_EQ(f.icmp_type(), is6(to) ? 2 : 3);
		EXPECT_EQ(get32(f.b, f.l4() + 4) & 0xffff, 1450u);
		EXPECT_EQ(f.checksums(), "");
		sw.send("a", sw.to("a", to).udp(1000, 2000).data(1450 - head));
		EXPECT_EQ(sw.take("uplink0").b.size(), 14u + 1500u) << "to the last byte";
	}
	EXPECT_EQ(sw.drops("mtu"), 2u);
	// What may be broken up is (RFC 791).
	Packet p = sw.to("a", "10.244.2.10").udp(1000, 2000).data(1800 - 28);
	p.fragment = 0;
	sw.send("a", p);
	std::vector<Frame> pieces;
	for (const Frame &f : sw.take_all("uplink0")) {
		EXPECT_LE(f.b.size(), 14u + 1500u);
		pieces.push_back(f.inner());
	}
	EXPECT_EQ(pieces.size(), 2u);
	EXPECT_EQ(whole(pieces).payload(), p.payload);
	EXPECT_EQ(whole(pieces).checksums(), "");
}
