// SPDX-License-Identifier: Apache-2.0
// What a hostile pod may put on the wire: each is dropped for its own reason, nothing is created, nothing crashes.
#include <random>

#include "switch.hpp"

using namespace weft;

struct Malformed : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
	}
	void expect_drop(const char *reason, const Bytes &f, const std::string &what = "")
	{
		uint64_t before = sw.drops(reason);
		sw.give("a", f);
		sw.settle();
		EXPECT_EQ(sw.drops(reason), before + 1) << what << " " << reason << "; drops: " << sw.drops_text();
		EXPECT_TRUE(sw.nothing("b")) << what;
		sw.take_all("a");
	}
	Bytes udp() { return sw.between("a", "b").udp(1, 2).data("x").bytes(); }
	Bytes with(size_t at, std::vector<uint8_t> v, bool fix = true)
	{
		Bytes f = udp();
		for (size_t i = 0; i < v.size(); i++)
			f[at + i] = v[i];
		if (fix) {
			put16(f, 24, 0);
			put16(f, 24, (uint16_t)~sum16(&f[14], 20));
		}
		return f;
	}
};

TEST_F(Malformed, P1_Runts)
{
	for (size_t n : {0, 1, 13})
		expect_drop("runt", Bytes(n, 0));
	Bytes f = udp();
	f.resize(20);
	expect_drop("runt", f);
	Bytes f6 = sw.to("a", sw.ip6("b")).udp(1, 2).bytes();
	f6.resize(50);
	expect_drop("runt", f6);
}

TEST_F(Malformed, P1_Ethertypes)
{
	for (uint16_t t : {0x8100, 0x88cc, 0x0100, 0x86ee}) {
		Bytes f = udp();
		put16(f, 12, t);
		expect_drop("ethertype", f);
	}
}

TEST_F(Malformed, P2_P3_P4_Ipv4Headers)
{
	expect_drop("ip_header", with(14, {0x44}));          // IHL 4
	expect_drop("ip_header", with(14, {0x55}));          // version 5
	expect_drop("ip_header", with(16, {0x00, 0x13}));    // total length below the header
	expect_drop("ip_header", with(16, {0x05, 0x00}));    // total length beyond the frame
	expect_drop("ip_checksum", with(24, {0x12, 0x34}, false));
	expect_drop("ip_header", with(20, {0x20, 0x00}));    // more fragments, and not a multiple of 8 in this one
	expect_drop("ttl", with(22, {0}));
}

TEST_F(Malformed, P2_Ipv4Options)
{
	Packet p = sw.between("a", "b").udp(7, 8).data("opt");
	for (size_t n : {4, 20, 40}) {
		p.options = Bytes(n, 1);
		sw.send("a", p);
		Frame f = sw.take("b");
		EXPECT_EQ(f.dport(), 8);
		EXPECT_EQ(f.text(), "opt");
		EXPECT_EQ(f.checksums(), "");
	}
}

TEST_F(Malformed, P6_Addresses)
{
	for (const char *from : {"127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"}) {
		Packet p = sw.between("a", "b").udp(1, 2);
		p.from = from;
		expect_drop("bad_address", p.bytes(), from);
	}
	Packet land = sw.between("a", "b").udp(1, 2);
	land.to = land.from;
	expect_drop("bad_address", land.bytes(), "land");
	Packet loop = sw.to("a", "127.0.0.1").udp(1, 2);
	expect_drop("bad_address", loop.bytes());
	expect_drop("multicast", sw.to("a", "224.0.0.5").udp(1, 2).bytes());
	expect_drop("multicast", sw.to("a", "255.255.255.255").udp(68, 67).bytes());
	expect_drop("multicast", sw.to("a", "ff05::2").udp(1, 2).bytes());
	Packet mapped = sw.to("a", sw.ip6("b")).udp(1, 2);
	mapped.to = "::ffff:10.244.1.6";
	expect_drop("bad_address", mapped.bytes(), "IPv4-mapped on the wire");
}

TEST_F(Malformed, P2_L4Headers)
{
	expect_drop("l4_header", sw.between("a", "b").raw(6, Bytes(19, 0)).bytes());
	Bytes tcp = sw.between("a", "b").tcp(1, 2, 2).bytes();
	tcp[14 + 20 + 12] = 0x40; // data offset 4
	expect_drop("l4_header", tcp);
	tcp[14 + 20 + 12] = 0xf0; // beyond the packet
	expect_drop("l4_header", tcp);
	expect_drop("l4_header", sw.between("a", "b").raw(17, Bytes(7, 0)).bytes());
	Bytes u = udp();
	put16(u, 38, 7);
	expect_drop("l4_header", u);
	put16(u, 38, 100);
	expect_drop("l4_header", u);
	expect_drop("l4_header", sw.between("a", "b").raw(1, Bytes(3, 8)).bytes());
}

// A chain of extension headers before UDP.
static Bytes chain(Switch &sw, std::vector<uint8_t> kinds, size_t each = 8, uint8_t routing_type = 4)
{
	Packet p = sw.to("a", sw.ip6("b")).udp(5, 6).data("deep");
	Bytes l4 = p.l4(), out;
	for (size_t i = 0; i < kinds.size(); i++) {
		Bytes h(each, 0);
		h[0] = i + 1 < kinds.size() ? kinds[i + 1] : 17;
		h[1] = kinds[i] == 51 ? (uint8_t)(each / 4 - 2) : (uint8_t)(each / 8 - 1);
		if (kinds[i] == 43)
			h[2] = routing_type;
		out.insert(out.end(), h.begin(), h.end());
	}
	out.insert(out.end(), l4.begin(), l4.end());
	return p.raw(kinds[0], out).bytes();
}

TEST_F(Malformed, P10_Ipv6ExtensionHeaders)
{
	for (auto kinds : std::vector<std::vector<uint8_t>>{{0}, {60}, {43}, {51}, {0, 60, 43, 51, 60}}) {
		sw.give("a", chain(sw, kinds));
		sw.settle();
		auto got = sw.take_all("b");
		ASSERT_EQ(got.size(), 1u) << "chain of " << kinds.size() << " beginning with " << (int)kinds[0] << ": " << sw.drops_text();
	}
	EXPECT_EQ(sw.connections(), 1u) << "the ports behind the headers were found";
	expect_drop("ext_headers", chain(sw, {43}, 8, 0), "routing header of type 0");
	expect_drop("ext_headers", chain(sw, std::vector<uint8_t>(9, 60)), "nine headers");
	expect_drop("ext_headers", chain(sw, {60, 60}, 136), "272 bytes of headers");
	Bytes cut = chain(sw, {60});
	cut[14 + 40 + 1] = 200; // longer than the packet
	expect_drop("ip_header", cut);
}

TEST_F(Malformed, RandomBytesNeverHurt)
{
	std::mt19937 rng(7);
	for (int round = 0; round < 3000; round++) {
		Bytes f = round % 2 ? udp() : sw.to("a", sw.ip6("b")).tcp(1, 2, 2).bytes();
		int flips = 1 + (int)(rng() % 6);
		for (int k = 0; k < flips; k++)
			f[12 + rng() % (f.size() - 12)] = (uint8_t)rng();
		if (rng() % 4 == 0)
			f.resize(rng() % (f.size() + 1));
		sw.give("a", f);
		if (round % 16 == 15) {
			sw.settle(1);
			sw.take_all("a");
			sw.take_all("b");
		}
	}
	sw.settle();
	sw.take_all("a");
	sw.take_all("b");
}
