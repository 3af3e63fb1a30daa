// SPDX-License-Identifier: Apache-2.0
// What fragments are good for in the hands of an attacker (FAULTS P5; RFC 1858, 3128, 5722, 7112): none of it gets past a policy, none of it
// costs more than its share of memory, and none of it hurts anybody else's datagrams.
#include <random>

#include "../../vswitch/fragment.h"
#include "fragments.hpp"
#include "switch.hpp"

using namespace weft;

static const Mac gateway = "02:00:00:00:00:01";

struct P5_Fragments : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
		sw.pod("c", "10.244.1.7");
	}
	std::vector<std::string> both() { return {sw.ip("b"), sw.ip6("b")}; }
	void send(const std::string &from, const std::vector<Bytes> &fragments)
	{
		for (const Bytes &f : fragments)
			sw.give(from, f);
		sw.settle();
	}
	// Each is dropped for the reason, and b hears nothing.
	void expect_drops(const char *reason, size_t n, const std::vector<Bytes> &fragments, const std::string &what = "")
	{
		uint64_t before = sw.drops(reason);
		send("a", fragments);
		EXPECT_EQ(sw.drops(reason), before + n) << what << " " << reason << "; drops: " << sw.drops_text();
		EXPECT_TRUE(sw.nothing("b")) << what;
		sw.take_all("a");
	}
	uint64_t held()
	{
		struct totals t;
		workers_totals(&t);
		return t.held;
	}
	unsigned int remembered() { return fragment_table_used(worker_get(0)->fragments); }
	void later_by(uint32_t ms)
	{
		struct worker *w = worker_get(0);
		uint32_t now = w->now_ms;
		w->now_ms += ms;
		for (int i = 0; i < 64; i++)
			fragment_housekeep(w);
		w->now_ms = now;
	}
	// A datagram of its own still passes, in the worst order.
	void expect_passes(const std::string &from, uint32_t id = 0xbeef)
	{
		for (const std::string &to : both()) {
			Packet p = sw.to(from, to).udp(7, 8).data(3000);
			auto parts = split(p, 800, id);
			std::reverse(parts.begin(), parts.end());
			send(from, parts);
			EXPECT_EQ(whole(sw.take_all("b")).payload(), p.payload) << from << " to " << to << ": " << sw.drops_text();
		}
	}
};

TEST_F(P5_Fragments, ATinyFirstIsRefusedWithAllOfItsDatagram)
{
	uint32_t id = 1;
	for (const std::string &to : both()) {
		struct {
			Packet p;
			size_t size; // of the first: less than its header
		} cases[] = {
			{sw.to("a", to).tcp(1000, 80, 2).data(100), 8},
			{sw.to("a", to).tcp(1000, 80, 2).data(100), 16},
			{sw.to("a", to).raw(132, Bytes(100, 3)), 8},
		};
		for (auto &c : cases) {
			auto parts = split(c.p, c.size, ++id);
			expect_drops("fragment_tiny", 1, {parts[0]}, to);
			expect_drops("fragment", parts.size() - 1, {parts.begin() + 1, parts.end()}, to);
			// The rest first, and held: no better.
			parts = split(c.p, c.size, ++id);
			send("a", {parts.begin() + 1, parts.end()});
			EXPECT_EQ(held(), parts.size() - 1);
			expect_drops("fragment_tiny", 1, {parts[0]}, to);
			EXPECT_EQ(held(), 0u);
		}
	}
	EXPECT_EQ(sw.connections(), 0u);
	expect_passes("a");
}

TEST_F(P5_Fragments, TcpOptionsBelongToTheFirstToo)
{
	Packet p = sw.between("a", "b").tcp(1000, 80, 2).data(100);
	Bytes up = p.l4();
	up[12] = 0xf0; // 60 bytes of header
	p.raw(6, up);
	expect_drops("fragment_tiny", 1, {split(p, 40)[0]});
}

// RFC 7112: the whole chain of headers is in the first fragment.
TEST_F(P5_Fragments, AChainThatIsCutIsTiny)
{
	Packet p = sw.to("a", sw.ip6("b")).udp(1000, 53).data(100);
	Bytes up = p.l4(), chain = {60, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0};
	chain.insert(chain.end(), up.begin(), up.end());
	p.raw(60, chain);
	for (size_t size : {8, 16, 24}) {
		auto parts = split(p, size, (uint32_t)size);
		expect_drops("fragment_tiny", 1, {parts[0]}, std::to_string(size));
		expect_drops("fragment", 1, {parts[1]}, std::to_string(size));
	}
	auto parts = split(p, 32, 99);
	send("a", parts);
	EXPECT_EQ(sw.take_all("b").size(), parts.size()) << sw.drops_text();
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(P5_Fragments, OneFragmentHeaderIsEnough)
{
	Packet p = sw.to("a", sw.ip6("b")).udp(1000, 53).data(100);
	Bytes inner = fragment_of(p.bytes(), 0, 64, true, 5);
	Bytes body(inner.begin() + 54, inner.end());
	expect_drops("ext_headers", 1, {fragment_of(Packet(p).raw(44, body).bytes(), 0, 72, true, 6)});
	expect_drops("ext_headers", 1, {fragment_of(Packet(p).raw(44, body).bytes(), 0, 999, false, 6)}, "atomic outside");
	Bytes up = p.l4(), routing = {17, 0, 0, 0, 0, 0, 0, 0};
	routing.insert(routing.end(), up.begin(), up.end());
	expect_drops("ext_headers", 1, {fragment_of(Packet(p).raw(43, routing).bytes(), 0, 64, true, 7)}, "a routing header of type 0 inside");
}

TEST_F(P5_Fragments, WhatOverlapsIsDroppedWithAllThatFollows)
{
	uint32_t id = 1;
	for (const std::string &to : both()) {
		Packet p = sw.to("a", to).udp(1000, 53).data(792); // 800 bytes
		Bytes w = p.bytes();
		w.resize(w.size() + 64); // for those that go past the end
		auto part = [&](size_t at, size_t len, bool more) { return fragment_of(w, at, len, more, id); };
		struct {
			std::vector<Bytes> pass, overlap, rest;
		} cases[] = {
			{{part(0, 400, true)}, {part(392, 16, true)}, {part(408, 392, false)}},       // into the first's end
			{{part(0, 400, true)}, {part(8, 16, true)}, {part(400, 400, false)}},         // inside it
			{{part(0, 400, true)}, {part(0, 392, true)}, {part(400, 400, false)}},        // another first
			{{part(0, 400, true)}, {part(0, 408, true)}, {part(400, 400, false)}},
			{{part(0, 400, true), part(600, 200, false)}, {part(592, 200, true)}, {part(400, 200, true)}},
			{{part(0, 400, true), part(600, 200, false)}, {part(400, 400, true)}, {part(400, 200, true)}}, // over the last
			{{part(0, 400, true), part(600, 200, false)}, {part(800, 8, true)}, {part(400, 200, true)}},   // past the end
			{{part(0, 400, true), part(600, 200, false)}, {part(400, 200, false)}, {part(400, 200, true)}}, // two ends
			{{part(0, 400, true), part(600, 200, true)}, {part(400, 200, false)}, {part(400, 200, true)}},  // an end before what was there
		};
		int k = 0;
		for (auto &c : cases) {
			std::string what = to + " case " + std::to_string(k++);
			for (auto *list : {&c.pass, &c.overlap, &c.rest})
				for (Bytes &f : *list) { // each case is a datagram of its own
					if (is6(to))
						f[54 + 7] = (uint8_t)id;
					else
						put16(f, 18, (uint16_t)id), put16(f, 24, 0), put16(f, 24, (uint16_t)~sum16(&f[14], 20));
				}
			send("a", c.pass);
			EXPECT_EQ(sw.take_all("b").size(), c.pass.size()) << what << sw.drops_text();
			expect_drops("fragment_overlap", 1, c.overlap, what);
			expect_drops("fragment_overlap", 1, c.rest, what);
			id++;
		}
	}
	expect_passes("a");
}

TEST_F(P5_Fragments, OverlapAmongThoseThatWaitDropsThemAll)
{
	for (const std::string &to : both()) {
		Bytes w = sw.to("a", to).udp(1000, 53).data(792).bytes();
		send("a", {fragment_of(w, 400, 200, true, 3), fragment_of(w, 600, 200, false, 3)});
		EXPECT_EQ(held(), 2u);
		expect_drops("fragment_overlap", 3, {fragment_of(w, 592, 16, true, 3)});
		EXPECT_EQ(held(), 0u);
		expect_drops("fragment_overlap", 1, {fragment_of(w, 0, 400, true, 3)}, "the first comes too late");
	}
	EXPECT_EQ(sw.connections(), 0u);
}

// The classic: an innocent first, and a later one that writes other flags or ports over it.
TEST_F(P5_Fragments, NothingIsWrittenOverAHeaderThatWasJudged)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\",\"endpoints\":[\"b\"],\"types\":[\"Ingress\"],"
			     "\"ingress\":[{\"action\":\"accept\",\"ports\":[{\"protocol\":\"TCP\",\"port\":80},{\"protocol\":\"UDP\",\"port\":53}]}]}"))
		<< sw.error;
	std::mt19937 rng(5);
	for (const std::string &to : both())
		for (uint32_t id = 1; id < 300; id++) {
			Bytes good = sw.to("a", to).tcp(1000, 80, 2).data(200).bytes(), evil = sw.to("a", to).tcp(1000, 22, 0x10).data(200).bytes();
			std::vector<Bytes> parts = {fragment_of(good, 0, 24 + 8 * (rng() % 8), true, id)};
			for (int k = 0; k < 6; k++) {
				size_t at = 8 * (rng() % 12);
				parts.push_back(fragment_of(evil, at, 8 * (1 + rng() % 8), rng() % 4 != 0, id));
			}
			std::shuffle(parts.begin(), parts.end(), rng);
			send("a", parts);
			// Whatever of it came through: no two bytes of one place, and the header is the good one.
			std::map<size_t, size_t> got;
			for (auto &f : sw.take_all("b")) {
				Piece p = piece_of(f.b);
				for (auto &o : got)
					EXPECT_TRUE(p.at >= o.first + o.second || o.first >= p.at + p.len) << to << " id " << id;
				got[p.at] = p.len;
				EXPECT_EQ(p.at == 0 ? get16(f.b, p.data + 2) : 80, 80);
				EXPECT_TRUE(p.at == 0 || p.at >= 24);
			}
			EXPECT_TRUE(got.empty() || got.begin()->first == 0) << "nothing without its first";
		}
}

TEST_F(P5_Fragments, DuplicatesAreDroppedOneByOne)
{
	for (const std::string &to : both()) {
		Packet p = sw.to("a", to).udp(1000, 53).data(2992);
		auto parts = split(p, 1000, 4);
		uint64_t before = sw.drops("fragment_duplicate");
		send("a", {parts[1], parts[1], parts[0], parts[0], parts[2]});
		EXPECT_EQ(whole(sw.take_all("b")).payload(), p.payload) << sw.drops_text();
		EXPECT_EQ(sw.drops("fragment_duplicate"), before + 2);
	}
}

TEST_F(P5_Fragments, MalformedOnesAreNone)
{
	for (const std::string &to : both()) {
		Bytes w = sw.to("a", to).udp(1000, 53).data(792).bytes();
		expect_drops("ip_header", 1, {fragment_of(w, 400, 100, true, 9)}, "not a multiple of 8 and others follow");
		expect_drops("ip_header", 1, {fragment_of(w, 800, 100, false, 9)}, "nothing in it");
		Bytes death = fragment_of(w, 0, 800, false, 9);
		size_t field = is6(to) ? 54 + 2 : 20;
		put16(death, field, is6(to) ? 65528 & 0xfff8 : 65528 / 8);
		if (!is6(to))
			put16(death, 24, 0), put16(death, 24, (uint16_t)~sum16(&death[14], 20));
		expect_drops("ip_header", 1, {death}, "beyond 65,535");
	}
	EXPECT_EQ(remembered(), 0u);
}

TEST_F(P5_Fragments, ErrorsAndDiscoveryDoNotComeInThem)
{
	sw.send("b", sw.between("b", "a").udp(53, 1000).data(1000));
	Frame f = sw.take("a");
	Packet e = sw.between("a", "b").icmp(3, 3, 0);
	e.payload.assign(f.b.begin() + 14, f.b.begin() + 14 + 500);
	expect_drops("fragment", 3, split(e, 200, 1));
	Packet n = sw.to("a", sw.ip6("b")).icmp(135, 0, 0);
	n.ttl = 255;
	n.payload = address(sw.ip6("b"));
	n.payload.insert(n.payload.end(), {1, 1, 2, 0, 0, 0, 1, 5});
	expect_drops("fragment", 2, split(n, 16, 2));
	// RFC 6980: not even in one that is whole.
	expect_drops("nd", 1, {fragment_of(n.bytes(), 0, 999, false, 3)});
}

TEST_F(P5_Fragments, ALaterOneOpensNothing)
{
	for (const std::string &to : both()) {
		Packet p = sw.to("a", to).udp(1000, 53).data(3000);
		auto parts = split(p, 1000);
		send("a", {parts[1], parts[2]});
		EXPECT_TRUE(sw.nothing("b"));
	}
	EXPECT_EQ(sw.connections(), 0u);
	EXPECT_EQ(held(), 4u);
	later_by(FRAGMENT_HOLD_MS / 2);
	EXPECT_EQ(held(), 4u);
	later_by(FRAGMENT_HOLD_MS);
	EXPECT_EQ(held(), 0u);
	EXPECT_EQ(sw.drops("fragment_timeout"), 4u) << sw.drops_text();
	EXPECT_EQ(remembered(), 0u);
}

TEST_F(P5_Fragments, WaitingEndsByTheClock)
{
	auto parts = split(sw.between("a", "b").udp(1000, 53).data(3000), 1000);
	send("a", {parts[1]});
	usleep((FRAGMENT_HOLD_MS + 100) * 1000);
	sw.settle();
	EXPECT_EQ(sw.drops("fragment_timeout"), 1u);
}

TEST_F(P5_Fragments, NobodyAddsToAnothersDatagram)
{
	Packet p = sw.between("a", "b").udp(1000, 53).data(2000);
	auto parts = split(p, 1000);
	send("a", {parts[0]});
	EXPECT_EQ(sw.take_all("b").size(), 1u);
	Bytes forged = parts[1];
	memcpy(&forged[6], sw.mac("c").b, 6);
	send("c", {forged});
	EXPECT_TRUE(sw.nothing("b")) << "c's own datagram, of which there is no first";
	send("a", {parts[1], parts[2]});
	EXPECT_EQ(sw.take_all("b").size(), 2u) << "and a's is unharmed";
	// A first of c's in a's name is judged as any other packet.
	forged = parts[0];
	memcpy(&forged[6], sw.mac("c").b, 6);
	send("c", {forged});
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 2u) << sw.drops_text();
}

TEST_F(P5_Fragments, TooManyPartsAreTooMany)
{
	Packet p = sw.between("a", "b").udp(1000, 53).data(8 * 100 - 8);
	auto parts = split(p, 8, 3);
	ASSERT_EQ(parts.size(), 100u);
	send("a", parts);
	EXPECT_EQ(sw.take_all("b").size(), (size_t)FRAGMENT_PARTS);
	EXPECT_EQ(sw.drops("fragment_limit"), 100u - FRAGMENT_PARTS);
}

// A million first fragments that are never followed up (fewer under a debugger's patience): memory stays, others are not touched.
TEST_F(P5_Fragments, NeverCompletedOnesCostTheirSenderOnly)
{
	const uint32_t rounds = getenv("WEFT_FRAGMENT_FLOOD") ? (uint32_t)atoi(getenv("WEFT_FRAGMENT_FLOOD")) : 100000;
	Packet slow = sw.between("c", "b").udp(5, 6).data(2000);
	auto patient = split(slow, 1000, 77);
	send("c", {patient[0]});
	for (uint32_t n = 0; n < rounds; n++) {
		Bytes w = sw.to("a", n & 1 ? sw.ip("b") : sw.ip6("b")).udp(1000, 53).data(100).bytes();
		sw.give("a", fragment_of(w, 0, 64, true, n));
		if (n % 64 == 63) {
			sw.settle(1);
			sw.take_all("b");
		}
		ASSERT_LE(remembered(), FRAGMENT_SOURCE_MAX + 1);
	}
	sw.settle();
	sw.take_all("b");
	EXPECT_LE(remembered(), FRAGMENT_SOURCE_MAX + 1);
	send("c", {patient[1], patient[2]});
	EXPECT_EQ(sw.take_all("b").size(), 2u) << "begun before the flood, ended after it";
	expect_passes("c");
	later_by(FRAGMENT_LIFE_MS);
	EXPECT_EQ(remembered(), 0u) << "expiry within 30 s";
}

// And the same of those that never have a first: these hold packets.
TEST_F(P5_Fragments, HeldOnesCostTheirSenderOnly)
{
	Packet slow = sw.between("c", "b").udp(5, 6).data(2000);
	auto patient = split(slow, 1000, 77);
	send("c", {patient[1], patient[2]});
	uint64_t most = 0;
	for (uint32_t n = 0; n < 20000; n++) {
		Bytes w = sw.to("a", n & 1 ? sw.ip("b") : sw.ip6("b")).udp(1000, 53).data(100).bytes();
		sw.give("a", fragment_of(w, 64, 64, false, n));
		if (n % 64 == 63) {
			sw.settle(1);
			most = std::max(most, held());
		}
	}
	EXPECT_LE(most, FRAGMENT_SOURCE_HELD + 2);
	EXPECT_GE(most, FRAGMENT_ADDRESS_HELD) << "some are held, or this tests nothing";
	send("c", {patient[0]});
	EXPECT_EQ(whole(sw.take_all("b")).payload(), slow.payload);
	expect_passes("c");
	// One datagram in many parts is not better off.
	for (uint32_t n = 0; n < 70; n++)
		sw.give("a", fragment_of(sw.between("a", "b").udp(1000, 53).data(1000).bytes(), 8 + 8 * n, 8, true, 50000));
	sw.settle();
	EXPECT_LE(held(), FRAGMENT_SOURCE_HELD);
	later_by(FRAGMENT_HOLD_MS);
	EXPECT_EQ(held(), 0u);
}

// Many sources at once fill the table: whoever has most of it pays.
TEST_F(P5_Fragments, AFullTableIsSharedFairly)
{
	std::vector<std::string> names;
	for (int i = 0; i < 12; i++) {
		names.push_back("m" + std::to_string(i));
		sw.pod(names.back(), "10.244.1." + std::to_string(100 + i), ",\"antiSpoof\":\"mac\"");
	}
	auto flood = [&](size_t at, bool more, uint32_t base) {
		for (uint32_t n = 0; n < 400; n++) {
			for (auto &name : names) {
				Packet p = sw.to(name, sw.ip("b")).udp(1000, 53).data(200);
				p.from = "198.51." + std::to_string(n % 200) + "." + std::to_string(10 + n % 7); // an address is not enough to be another source
				sw.give(name, fragment_of(p.bytes(), at, 64, more, base + n));
			}
			if (n % 8 == 7) {
				sw.settle(2);
				sw.take_all("b");
			}
		}
	};
	flood(0, true, 0);
	EXPECT_LE(remembered(), FRAGMENT_ENTRIES);
	EXPECT_GT(remembered(), FRAGMENT_ENTRIES * 3 / 4);
	expect_passes("c");
	flood(64, false, 20000);
	EXPECT_LE(held(), FRAGMENT_HELD);
	EXPECT_GT(held(), FRAGMENT_HELD / 2);
	expect_passes("c", 0xcafe);
	// Nor does a packet suffer that is broken up here: its parts take the same places, for a moment.
	names.resize(4);
	flood(64, false, 30000);
	Packet large = sw.between("c", "b").udp(5, 6).data(1900);
	large.fragment = 0;
	EXPECT_EQ(held(), FRAGMENT_HELD);
	sw.send("c", large);
	EXPECT_EQ(whole(sw.take_all("b")).payload(), large.payload) << "held " << held() << "; " << sw.drops_text();
	EXPECT_GT(sw.drops("fragment_limit"), 1000u);
	later_by(FRAGMENT_LIFE_MS);
	EXPECT_EQ(held(), 0u);
	EXPECT_EQ(remembered(), 0u);
}

// Accounts are exact: of 600 addresses that have little, none pays for four that have too much, whatever the hash's seed.
TEST_F(P5_Fragments, NobodyPaysForAnothersAddress)
{
	const uint32_t innocents = 150;
	auto first = [&](const std::string &name, const std::string &from, uint32_t id) {
		Packet p = sw.to(name, sw.ip("b")).udp(1000, 53).data(200);
		p.from = from;
		sw.give(name, fragment_of(p.bytes(), 0, 64, true, id));
		if (id % 32 == 31)
			sw.settle(2), sw.take_all("b");
	};
	for (uint32_t i = 0; i < 4; i++) {
		std::string m = "m" + std::to_string(i);
		sw.pod(m, "10.244.1." + std::to_string(100 + i), ",\"antiSpoof\":\"mac\"");
		for (uint32_t n = 0; n < innocents; n++)
			first(m, "198.51." + std::to_string(100 + i) + "." + std::to_string(n + 1), n);
	}
	for (uint32_t i = 0; i < 4; i++)
		for (uint32_t n = 0; n < 3 * FRAGMENT_ADDRESS_MAX; n++)
			first("m" + std::to_string(i), "203.0.113." + std::to_string(i + 1), 1000 + n);
	sw.settle();
	sw.take_all("b");
	EXPECT_EQ(remembered(), 4 * (innocents + FRAGMENT_ADDRESS_MAX));
}

// Pods behind one VTEP share its part of the table, but one of them does not get all of it.
TEST_F(P5_Fragments, BehindATunnelAnAddressHasItsShare)
{
	sw.node();
	sw.remote("node-2", "192.0.2.2", "10.244.2.0/24");
	auto arrive = [&](const Bytes &frame) {
		Packet p;
		p.macs("02:00:00:00:ff:02", "02:00:00:00:ff:01").ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
		p.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		p.payload.insert(p.payload.end(), frame.begin(), frame.end());
		sw.give("uplink0", p.bytes());
	};
	Packet good, bad;
	good.macs("02:00:00:00:02:01", gateway).ip("10.244.2.20", sw.ip("b")).udp(5, 6).data(2000);
	bad.macs("02:00:00:00:02:01", gateway).ip("10.244.2.66", sw.ip("b")).udp(5, 6).data(2000);
	auto parts = split(good, 1000, 1);
	arrive(parts[1]);
	arrive(parts[2]);
	for (uint32_t n = 0; n < 5000; n++) {
		arrive(fragment_of(bad.bytes(), n & 1 ? 0 : 64, 64, true, n));
		if (n % 64 == 63)
			sw.settle(1), sw.take_all("b");
	}
	sw.settle();
	sw.take_all("b");
	EXPECT_LE(remembered(), FRAGMENT_ADDRESS_MAX + 1);
	arrive(parts[0]);
	sw.settle();
	EXPECT_EQ(whole(sw.take_all("b")).payload(), good.payload) << sw.drops_text();
}
