// SPDX-License-Identifier: Apache-2.0
// The tunnel's ordinary packet takes a way of its own (vswitch/decap_plain.c), where a header that is like the one before is hardly looked at. So each
// way of not being ordinary is tried alone and right behind an ordinary packet in the same burst: it must be judged alike, and harm nobody's.
#include "switch.hpp"

using namespace weft;

static const Mac ours = "02:00:00:00:ff:01", peer = "02:00:00:00:ff:02", gateway = "02:00:00:00:00:01";
static const size_t TOTAL = 16, FRAGMENT = 20, UDP_LENGTH = 38, VXLAN = 42; // offsets in the outer frame

struct VxlanPlain : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.network("other", 200, "10.245.1");
		sw.node();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.245.1.6", "", "other");
		sw.remote("node-2", "192.0.2.2", "10.244.2.0/24", "fd00:244:2::/64");
		sw.remote("node-3", "192.0.2.3", "10.244.3.0/24");
		remote_of_other("node-4", "192.0.2.4", "10.245.4.0/24");
	}
	void remote_of_other(const char *name, const char *vtep, const char *prefix)
	{
		ASSERT_TRUE(sw.apply(std::string("{\"kind\":\"Remote\",\"network\":\"other\",\"mac\":\"02:00:00:00:02:01\",\"name\":\"") + name + "\",\"vtep\":\"" +
				     vtep + "\",\"prefixes\":[\"" + prefix + "\"]}"))
			<< sw.error;
	}
	static Packet outer(const std::string &from = "192.0.2.2", uint32_t vni = 100, const std::string &inner_from = "10.244.2.10",
			    const std::string &inner_to = "10.244.1.5", const std::string &text = "inner")
	{
		Packet in, p;
		Bytes frame = in.macs("02:00:00:00:02:01", gateway).ip(inner_from, inner_to).udp(2000, 1000).data(text).bytes();
		p.macs(peer, ours).ip(from, "192.0.2.1").udp(50000, 4789);
		p.no_l4_sum = true;
		p.payload = {8, 0, 0, 0, (uint8_t)(vni >> 16), (uint8_t)(vni >> 8), (uint8_t)vni, 0};
		p.payload.insert(p.payload.end(), frame.begin(), frame.end());
		return p;
	}
	// An ordinary one, bytes of it changed. The checksum of its IPv4 header is made right again.
	static Bytes with(size_t at, std::vector<uint8_t> bytes)
	{
		Bytes f = outer().bytes();
		std::copy(bytes.begin(), bytes.end(), f.begin() + (long)at);
		put16(f, 24, 0);
		put16(f, 24, (uint16_t)~sum16(&f[14], 20));
		return f;
	}
	static std::vector<uint8_t> word(size_t v) { return {(uint8_t)(v >> 8), (uint8_t)v}; }

	size_t inner_frames()
	{
		size_t n = 0;
		for (const Frame &f : sw.take_all("a")) {
			EXPECT_EQ(f.text(), "inner");
			EXPECT_EQ(f.checksums(), "");
			EXPECT_EQ(f.b.size(), f.end()) << "padding";
			n++;
		}
		return n;
	}
	// Alone, then between two ordinary packets; of these frames `taken` reach the pod each time.
	void judge(const Bytes &odd, size_t taken)
	{
		sw.give("uplink0", odd);
		sw.settle();
		EXPECT_EQ(inner_frames(), taken) << sw.drops_text();
		sw.give("uplink0", outer().bytes());
		sw.give("uplink0", odd);
		sw.give("uplink0", outer().bytes());
		sw.settle();
		EXPECT_EQ(inner_frames(), 2 + taken) << sw.drops_text();
	}
	void taken(const Bytes &odd)
	{
		std::string before = sw.drops_text();
		judge(odd, 1);
		EXPECT_EQ(sw.drops_text(), before);
		EXPECT_TRUE(sw.nothing("host"));
	}
	void dropped(const char *reason, const Bytes &odd)
	{
		uint64_t before = sw.drops(reason);
		judge(odd, 0);
		EXPECT_EQ(sw.drops(reason), before + 2) << reason << "; drops: " << sw.drops_text();
		EXPECT_TRUE(sw.nothing("host"));
	}
	void for_the_host(const Bytes &odd)
	{
		std::string before = sw.drops_text();
		judge(odd, 0);
		EXPECT_EQ(sw.drops_text(), before);
		auto frames = sw.take_all("host");
		ASSERT_EQ(frames.size(), 2u);
		EXPECT_EQ(frames[0].b, odd) << "as it came";
	}
};

TEST_F(VxlanPlain, TheOrdinaryOne)
{
	taken(outer().bytes());
	Packet p = outer();
	p.no_l4_sum = false;
	taken(p.bytes());
	p.bad_l4_sum = true;
	dropped("vxlan_checksum", p.bytes());
}

TEST_F(VxlanPlain, Addresses)
{
	dropped("vxlan_vtep", outer("192.0.2.66").bytes());
	dropped("vxlan_vtep", outer("192.0.2.4").bytes()); // the other network's
	dropped("vxlan_vni", outer("192.0.2.2", 101).bytes());
	dropped("vxlan_vni", outer("192.0.2.2", 100 + (1 << 8)).bytes());
	dropped("vxlan_vni", outer("192.0.2.2", 100 + (1 << 16)).bytes());
	dropped("vxlan_vtep", outer("192.0.2.2", 200).bytes()); // a VTEP of another network
	dropped("bad_address", outer("192.0.2.1").bytes());
	dropped("bad_address", outer("127.0.0.1").bytes());
	dropped("bad_address", outer("224.0.0.1").bytes());
	Packet p = outer();
	p.to = "192.0.2.9";
	for_the_host(p.bytes());
	p = outer();
	p.dst = "02:00:00:00:ff:77";
	dropped("not_for_us", p.bytes());
	p.dst = "ff:ff:ff:ff:ff:ff";
	taken(p.bytes());
	p = outer();
	p.src = "02:00:00:00:ff:99"; // a router's
	taken(p.bytes());
}

TEST_F(VxlanPlain, PortsAndProtocols)
{
	Packet p = outer();
	p.dport = 4790;
	for_the_host(p.bytes());
	for_the_host(with(23, {6}));
	Bytes f = outer().bytes();
	put16(f, 12, 0x86dd);
	for_the_host(f);
	p = outer();
	p.sport = 1;
	taken(p.bytes());
}

TEST_F(VxlanPlain, TheIpHeader)
{
	Packet p = outer();
	p.bad_ip_sum = true;
	dropped("ip_checksum", p.bytes());
	p = outer();
	p.ttl = 0;
	dropped("ttl", p.bytes());
	p.ttl = 1;
	taken(p.bytes());
	p = outer();
	p.options = {1, 1, 1, 1};
	taken(p.bytes());
	dropped("ip_header", with(14, {0x55}));
	for_the_host(with(14, {0x44}));
	p = outer("192.0.2.2", 100, "10.244.2.10", "10.244.1.5", "inner!"); // 64 bytes in all
	p.fragment = 0x2000;
	dropped("fragment", p.bytes());
	for_the_host(with(FRAGMENT, {0, 1}));
	for_the_host(with(FRAGMENT, {0x1f, 0}));
	taken(with(FRAGMENT, {0, 0}));
	taken(with(FRAGMENT, {0x80, 0})); // reserved
	p = outer();
	p.tos = 0xb8;
	taken(p.bytes());
	p.tos = 3;
	dropped("ip_header", p.bytes()); // congestion, and no ECN inside
}

TEST_F(VxlanPlain, Lengths)
{
	const size_t ip = outer().bytes().size() - 14;
	dropped("ip_header", with(TOTAL, word(ip + 1)));
	dropped("vxlan_header", with(TOTAL, word(ip - 1)));
	dropped("vxlan_header", with(UDP_LENGTH, word(ip - 20 + 1)));
	dropped("vxlan_header", with(UDP_LENGTH, word(ip - 20 - 1)));
	dropped("vxlan_header", with(UDP_LENGTH, word(0)));
	Bytes padded = outer().bytes();
	padded.resize(padded.size() + 7);
	taken(padded);
	Packet p = outer();
	for (size_t n : {0, 7, 8, 21}) {
		p.payload.resize(n);
		dropped("vxlan_header", p.bytes());
	}
	Bytes cut = outer().bytes();
	cut.resize(63);
	dropped("ip_header", cut);
	cut.resize(34);
	for_the_host(cut);
	p = outer();
	p.payload.resize(8 + 14); // an Ethernet header and no more
	dropped("runt", p.bytes());
}

TEST_F(VxlanPlain, TheVxlanHeader)
{
	dropped("vxlan_header", with(VXLAN, {0}));
	dropped("vxlan_header", with(VXLAN, {0xf7}));
	taken(with(VXLAN, {0xff, 1, 2, 3})); // what is reserved is ignored
	taken(with(VXLAN + 7, {9}));
}

// Before the first of a burst there was none: a header of nothing but zeros is not like it.
TEST_F(VxlanPlain, NobodyIsNoPeer)
{
	Bytes f = outer().bytes();
	for (size_t at : {0, 1, 2, 3, 4, 5, 12, 13, 14, 20, 21, 23, 26, 27, 28, 29, 30, 31, 32, 33, 36, 37, 42, 46, 47, 48})
		f[at] = 0;
	put16(f, 24, 0);
	put16(f, 24, (uint16_t)~sum16(&f[14], 20));
	dropped("not_for_us", f);
}

TEST_F(VxlanPlain, PeersInOneBurst)
{
	const Bytes two = outer().bytes(), three = outer("192.0.2.3", 100, "10.244.3.10").bytes();
	const Bytes four = outer("192.0.2.4", 200, "10.245.4.10", "10.245.1.6", "other").bytes();
	const Bytes unknown = outer("192.0.2.66", 200, "10.244.2.10").bytes(); // a network that is known, a VTEP that is not
	const Bytes liar = outer("192.0.2.3").bytes();                        // an inner source behind another VTEP
	for (const Bytes &f : {two, three, unknown, two, four, unknown, four, liar, three, two})
		sw.give("uplink0", f);
	sw.settle();
	EXPECT_EQ(inner_frames(), 5u);
	auto other = sw.take_all("b");
	ASSERT_EQ(other.size(), 2u);
	EXPECT_EQ(other[0].text(), "other");
	EXPECT_EQ(sw.drops("vxlan_vtep"), 2u);
	EXPECT_EQ(sw.drops("spoofed_ip"), 1u) << sw.drops_text();
}

TEST_F(VxlanPlain, WhatIsInsideNeedNotBeOrdinary)
{
	Packet in = outer(), p;
	Bytes six = p.macs("02:00:00:00:02:01", gateway).ip("fd00:244:2::10", sw.ip6("a")).udp(2000, 1000).data("inner").bytes();
	in.payload.resize(8);
	in.payload.insert(in.payload.end(), six.begin(), six.end());
	taken(in.bytes());
	Packet t = outer();
	t.payload[8 + 14 + 8] = 1; // TTL, and the checksum is wrong now
	dropped("ip_checksum", t.bytes());
}

TEST_F(VxlanPlain, APeerThatIsGoneIsForgotten)
{
	taken(outer().bytes());
	ASSERT_TRUE(sw.remove("Remote", "node-2"));
	for (int k = 0; k < 3; k++)
		sw.give("uplink0", outer().bytes());
	sw.settle();
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("vxlan_vtep"), 3u);
}

TEST_F(VxlanPlain, OutThroughSeveralTunnelsInOneBurst)
{
	sw.answer_arp();
	sw.answer_arp("192.0.2.3", "02:00:00:00:ff:03");
	sw.take_all("host");
	// node-5 has not answered yet: what is for it waits, and nothing else does.
	sw.remote("node-5", "192.0.2.5", "10.244.5.0/24");
	const char *to[] = {"10.244.2.10", "10.244.3.10", "10.244.5.10", "10.244.2.11", "10.244.5.11", "10.244.3.10"};
	for (int round = 0; round < 2; round++) {
		for (const char *ip : to) {
			Packet p = sw.to("a", ip).udp(1000, 2000).data("out");
			p.tos = ip[9] == '1' ? 2 : 0;
			sw.give("a", p.bytes());
		}
		sw.settle();
		size_t n = 0;
		for (const Frame &f : sw.take_all("uplink0")) {
			if (f.is_arp())
				continue;
			EXPECT_EQ(f.checksums(), "");
			EXPECT_EQ(f.dst().b[5], f.to().back() - '0') << "each to its own neighbour";
			EXPECT_EQ(f.src(), ours);
			EXPECT_EQ(f.inner().to().substr(0, 8), "10.244." + f.to().substr(f.to().size() - 1));
			EXPECT_EQ(f.b[15], f.inner().b[15] & 3);
			n++;
		}
		EXPECT_EQ(n, 4u) << round;
	}
	sw.answer_arp("192.0.2.5", "02:00:00:00:ff:05");
	sw.settle();
	auto late = sw.take_all("uplink0");
	ASSERT_EQ(late.size(), 4u);
	for (const Frame &f : late) {
		EXPECT_EQ(f.dst().b[5], 5);
		EXPECT_EQ(f.checksums(), "");
		EXPECT_EQ(f.inner().text(), "out");
	}
	sw.take_all("host");
}

// One's-complement sums carry twice at a few lengths, if the addresses are so: these are.
TEST(VxlanEncap, TheChecksumIsRightAtEveryLength)
{
	Switch sw;
	sw.network();
	sw.port("uplink0", ",\"uplink\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"198.18.0.1/15\"]");
	sw.pod("a", "10.244.1.5");
	// Version, DF, TTL, protocol, both addresses: all but the length and ECN. With 255 bytes and ECN 3 the sum is 2^17 - 1 in memory order.
	for (uint32_t df : {0u, 0x4000u}) {
		uint32_t sum = 0x4500 + df + 0x4011 + 0xc612 + 1 + 0xc612;
		uint32_t last = (0xfffd - sum % 0xffff + 0xffff) % 0xffff;
		std::string vtep = "198.18." + std::to_string(last >> 8) + "." + std::to_string(last & 255), node = "node" + std::to_string(df);
		sw.remote(node, vtep, df ? "10.244.2.0/24" : "10.244.3.0/24");
		sw.answer_arp(vtep, "02:00:00:00:ff:02");
		size_t n = 0;
		for (size_t length = 150; length < 200; length++) {
			for (uint8_t ecn : {0, 1, 2, 3}) {
				Packet p = sw.to("a", df ? "10.244.2.10" : "10.244.3.10").udp(1000, 2000).data(length);
				p.tos = ecn;
				sw.send("a", p);
				for (const Frame &f : sw.take_all("uplink0")) {
					if (f.is_arp())
						continue;
					n++;
					EXPECT_EQ(f.checksums(), "") << length << " " << int(ecn);
				}
			}
		}
		EXPECT_EQ(n, 200u);
	}
}
