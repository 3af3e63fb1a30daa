// SPDX-License-Identifier: Apache-2.0
// Datagrams in fragments: judged by their first, translated part by part, and whole again at the receiver.
#include <weft/tcp_state.h>

#include "fragment_fixture.hpp"

using namespace weft;

TEST_F(Fragments, OfEveryProtocolPass)
{
	for (const std::string &to : both()) {
		Packet u = sw.to("a", to).udp(1000, 53).data(4000), t = sw.to("a", to).tcp(1000, 80, 2).data(3000), e = sw.to("a", to).echo(7, 1).data(4000);
		for (const Packet &p : {u, t, e}) {
			send("a", split(p, 1400));
			Frame f = expect_whole("b", p.payload, to);
			EXPECT_EQ(f.from(), p.from);
			EXPECT_EQ(f.ttl(), 63);
		}
	}
	EXPECT_EQ(sw.connections(), 6u);
	EXPECT_EQ(sw.drops_text(), "");
}

TEST_F(Fragments, OneAtATime)
{
	for (const std::string &to : both()) {
		Packet p = sw.to("a", to).udp(1000, 53).data(4000);
		for (const Bytes &f : split(p, 1400))
			send("a", {f});
		expect_whole("b", p.payload, to);
	}
}

TEST_F(Fragments, ThoseThatOvertakeTheFirstWaitForIt)
{
	for (const std::string &to : both()) {
		Packet p = sw.to("a", to).udp(1000, 53).data(5000);
		auto parts = split(p, 1000);
		ASSERT_EQ(parts.size(), 6u);
		std::reverse(parts.begin(), parts.end());
		Bytes first = parts.back();
		parts.pop_back();
		send("a", parts);
		EXPECT_TRUE(sw.nothing("b"));
		EXPECT_EQ(held(), 5u);
		send("a", {first});
		EXPECT_EQ(held(), 0u);
		auto got = sw.take_all("b");
		ASSERT_EQ(got.size(), 6u);
		EXPECT_EQ(piece_of(got[0].b).at, 0u) << "the first goes ahead";
		EXPECT_EQ(piece_of(got[1].b).at, 5000u) << "and then in the order in which they came";
		Frame f = whole(got);
		EXPECT_EQ(f.payload(), p.payload);
		EXPECT_EQ(f.checksums(), "");
	}
}

TEST_F(Fragments, AllInOneBurstInAnyOrder)
{
	for (const std::string &to : both()) {
		Packet p = sw.to("a", to).udp(1000, 53).data(600);
		std::vector<size_t> order = {3, 0, 2, 1, 4, 5, 6, 7};
		auto parts = split(p, 80);
		std::vector<Bytes> mixed;
		for (size_t i : order)
			mixed.push_back(parts[i]);
		send("a", mixed);
		expect_whole("b", p.payload, to);
	}
}

TEST_F(Fragments, AreTranslatedThroughAServiceAndBack)
{
	service();
	for (bool v6 : {false, true})
		for (bool backwards : {false, true}) {
			Packet p = sw.to("a", v6 ? VIP6 : VIP).udp(4000, 53).data(4000);
			auto parts = split(p, 1400);
			if (backwards)
				std::reverse(parts.begin(), parts.end());
			send("a", parts);
			Frame f = expect_whole("b", p.payload, "there");
			EXPECT_EQ(f.to(), v6 ? sw.ip6("b") : sw.ip("b"));
			EXPECT_EQ(f.dport(), 5353);
			Packet back = sw.to("b", v6 ? sw.ip6("a") : sw.ip("a")).udp(5353, 4000).data(3333);
			parts = split(back, 1400);
			if (backwards)
				std::reverse(parts.begin(), parts.end());
			send("b", parts);
			f = expect_whole("a", back.payload, "back");
			EXPECT_EQ(f.from(), v6 ? VIP6 : VIP);
			EXPECT_EQ(f.sport(), 53);
		}
	EXPECT_EQ(sw.connections(), 2u);
	EXPECT_EQ(sw.drops_text(), "");
}

TEST_F(Fragments, TcpOnATranslatedConnection)
{
	service();
	sw.send("a", sw.to("a", VIP).tcp(4000, 80, 2));
	sw.take("b");
	sw.send("b", sw.between("b", "a").tcp(8080, 4000, 0x12));
	sw.take("a");
	sw.send("a", sw.to("a", VIP).tcp(4000, 80, 0x10));
	sw.take("b");
	Packet p = sw.to("a", VIP).tcp(4000, 80, 0x18).data(2000);
	p.seq = 1001;
	send("a", split(p, 800));
	EXPECT_EQ(expect_whole("b", p.payload).dport(), 8080);
	Packet nothing = sw.to("a", VIP).tcp(4001, 80, 0x18).data(2000);
	send("a", split(nothing, 800));
	EXPECT_TRUE(sw.nothing("b")) << "no SYN, no connection, no fragments of it";
	EXPECT_EQ(sw.drops("invalid_state"), 1u) << sw.drops_text();
	EXPECT_EQ(sw.drops("fragment"), 2u) << sw.drops_text();
}

TEST_F(Fragments, SctpPassesUnlessItsPortsMustChange)
{
	service();
	Packet p = sw.between("a", "b").raw(132, sctp_init(5, 6, 2000));
	send("a", split(p, 800));
	EXPECT_EQ(sw.take_all("b").size(), 3u);
	Packet q = sw.to("a", VIP).raw(132, sctp_init(5, 99, 2000));
	send("a", split(q, 800));
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("fragment"), 3u) << sw.drops_text();
}

TEST_F(Fragments, PolicyJudgesThemAllByTheFirst)
{
	policy("\"endpoints\":[\"b\"],\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"accept\",\"ports\":[{\"protocol\":\"UDP\",\"port\":53}]}]");
	for (const std::string &to : both()) {
		Packet good = sw.to("a", to).udp(1000, 53).data(3000), bad = sw.to("a", to).udp(1000, 54).data(3000);
		send("a", split(good, 1000, 1));
		expect_whole("b", good.payload);
		uint64_t before = sw.drops("policy_ingress");
		send("a", split(bad, 1000, 2));
		auto parts = split(bad, 1000, 3);
		std::reverse(parts.begin(), parts.end());
		send("a", parts);
		EXPECT_TRUE(sw.nothing("b")) << to;
		EXPECT_EQ(sw.drops("policy_ingress"), before + 8) << sw.drops_text();
	}
	EXPECT_EQ(sw.connections(), 2u);
}

TEST_F(Fragments, AChangeBetweenTwoOfThemIsObeyed)
{
	Packet p = sw.between("a", "b").udp(1000, 53).data(3000);
	auto parts = split(p, 1000);
	send("a", {parts[0], parts[1]});
	EXPECT_EQ(sw.take_all("b").size(), 2u);
	policy("\"endpoints\":[\"b\"],\"types\":[\"Ingress\"]");
	send("a", {parts[2], parts[3]});
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("policy_ingress"), 2u) << sw.drops_text();
}

TEST_F(Fragments, ABackendThatGoesTakesTheRestOfItsDatagramsAlong)
{
	sw.pod("c", "10.244.1.7");
	service("10.244.1.6");
	Packet p = sw.to("a", VIP).udp(1000, 53).data(3000);
	auto parts = split(p, 1000);
	send("a", {parts[0], parts[1]});
	EXPECT_EQ(sw.take_all("b").size(), 2u);
	service("10.244.1.7");
	send("a", {parts[2], parts[3]});
	EXPECT_TRUE(sw.nothing("c")) << "half a datagram is of no use to anybody";
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("fragment"), 2u) << sw.drops_text();
}

TEST_F(Fragments, ALongPingToUsIsAnswered)
{
	service();
	for (const char *to : {"10.244.1.1", "fd00:244:1::1", VIP, VIP6}) {
		Packet p = sw.to("a", to).echo(7, 1).data(4000);
		send("a", split(p, 1400));
		Frame f = expect_whole("a", p.payload, to);
		EXPECT_EQ(f.icmp_type(), is6(to) ? 129 : 0);
		EXPECT_EQ(f.from(), to);
		auto parts = split(p, 1400, 8);
		std::reverse(parts.begin(), parts.end());
		send("a", parts);
		expect_whole("a", p.payload, to);
	}
	EXPECT_EQ(sw.connections(), 0u);
}

TEST_F(Fragments, WhoeverIsToBeToldIsToldOnce)
{
	service("", "");
	for (const char *to : {VIP, VIP6}) {
		Packet p = sw.to("a", to).udp(1000, 53).data(3000);
		send("a", split(p, 1000));
		Frame f = sw.take("a");
		EXPECT_EQ(f.icmp_type(), is6(to) ? 1 : 3);
		EXPECT_EQ(f.checksums(), "");
	}
	EXPECT_EQ(sw.drops("service_no_backend"), 8u) << sw.drops_text();
	for (const std::string &to : both()) {
		Packet p = sw.to("a", to).udp(1000, 53).data(3000);
		p.ttl = 1;
		send("a", split(p, 1000));
		Frame f = sw.take("a");
		EXPECT_EQ(f.icmp_type(), is6(to) ? 3 : 11);
		EXPECT_TRUE(sw.nothing("b"));
	}
	EXPECT_EQ(sw.drops("ttl"), 2u) << sw.drops_text();
	EXPECT_EQ(sw.drops("fragment"), 6u) << "what never opened a connection has no way for the rest: " << sw.drops_text();
}

TEST_F(Fragments, TheTtlRunsOutOnLaterOnesInSilence)
{
	sw.send("a", sw.between("a", "b").udp(1000, 53));
	sw.take("b");
	Packet p = sw.between("a", "b").udp(1000, 53).data(3000);
	auto parts = split(p, 1000);
	p.ttl = 1;
	auto tired = split(p, 1000);
	send("a", {parts[0], tired[1], tired[2], tired[3]});
	EXPECT_EQ(sw.take_all("b").size(), 1u);
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("ttl"), 3u);
}

TEST_F(Fragments, ANameMayComeRoundAgain)
{
	for (const std::string &to : both())
		for (uint16_t port = 1; port <= 5; port++) {
			Packet p = sw.to("a", to).udp(port, 53).data(3000 + port);
			send("a", split(p, 1000, 42));
			EXPECT_EQ(expect_whole("b", p.payload, to).sport(), port);
		}
	EXPECT_EQ(sw.drops_text(), "");
}

TEST_F(Fragments, DatagramsOfTwoNamesMayBeMixed)
{
	for (const std::string &to : both()) {
		Packet p = sw.to("a", to).udp(1, 53).data(3000), q = sw.to("a", to).udp(2, 53).data(3000);
		auto x = split(p, 1000, 1), y = split(q, 1000, 2);
		std::vector<Bytes> mixed;
		for (size_t i = 0; i < x.size(); i++)
			mixed.insert(mixed.end(), {x[i], y[y.size() - 1 - i]});
		send("a", mixed);
		std::vector<Frame> one, two;
		for (const Frame &f : sw.take_all("b"))
			(piece_of(f.b).id == 1 ? one : two).push_back(f);
		EXPECT_EQ(whole(one).payload(), p.payload);
		EXPECT_EQ(whole(two).payload(), q.payload);
	}
}

TEST_F(Fragments, Ipv4OptionsStayInFront)
{
	service();
	Packet p = sw.to("a", VIP).udp(1000, 53).data(3000);
	p.options = Bytes(12, 1);
	send("a", split(p, 1000));
	EXPECT_EQ(expect_whole("b", p.payload).dport(), 5353);
}

// RFC 6946: a fragment header on a datagram that is whole. It must not be mixed with real fragments of the same name.
TEST_F(Fragments, AnAtomicFragmentIsAWholePacket)
{
	service();
	Packet p = sw.to("a", VIP6).udp(1000, 53).data(300);
	for (int i = 0; i < 2; i++) {
		send("a", {fragment_of(p.bytes(), 0, 9999, false, 5)});
		EXPECT_EQ(expect_whole("b", p.payload).dport(), 5353);
	}
	Packet q = sw.to("a", VIP6).udp(1000, 53).data(2000);
	auto parts = split(q, 1000, 5);
	send("a", {parts[0], fragment_of(p.bytes(), 0, 9999, false, 5), parts[1], parts[2]});
	EXPECT_EQ(sw.take_all("b").size(), 4u);
	EXPECT_EQ(sw.drops_text(), "");
}

// Headers in front of the fragment header, and in the part that is fragmented.
TEST_F(Fragments, ExtensionHeadersOnBothSides)
{
	service();
	Packet inner = sw.to("a", VIP6).udp(1000, 53).data(2000);
	Bytes up = inner.l4(), chain = {60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0};
	chain.insert(chain.end(), up.begin(), up.end());
	Packet p = inner;
	p.raw(0, chain); // hop-by-hop in front, destination options behind
	auto parts = split(p, 1000, 9, 8);
	ASSERT_EQ(parts.size(), 3u);
	std::reverse(parts.begin(), parts.end());
	send("a", parts);
	auto got = sw.take_all("b");
	ASSERT_EQ(got.size(), 3u) << sw.drops_text();
	for (auto &f : got)
		EXPECT_EQ(f.to(), sw.ip6("b"));
	// Fixed header, hop-by-hop, fragment header, destination options: there the ports are.
	EXPECT_EQ(get16(got[0].b, 54 + 8 + 8 + 8 + 2), 5353);
}

TEST_F(Fragments, APartialChecksumOfAPartIsNone)
{
	Packet p = sw.between("a", "b").udp(1000, 53).data(2000);
	auto parts = split(p, 1000);
	sw.give("a", parts[0], 34, 6);
	sw.settle();
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("bad_offload"), 1u);
}

TEST_F(Fragments, PaddingBehindThemIsNotData)
{
	Packet p = sw.between("a", "b").udp(1000, 53).data(1000);
	auto parts = split(p, 1000);
	ASSERT_EQ(parts.size(), 2u);
	parts[1].resize(60, 0xee);
	std::reverse(parts.begin(), parts.end());
	send("a", parts);
	expect_whole("b", p.payload);
}

TEST_F(Fragments, ToTheHostAndFromIt)
{
	sw.node();
	Packet p = sw.to("a", "192.0.2.1").udp(1000, 53).data(3000);
	send("a", split(p, 1000));
	expect_whole("host", p.payload);
	Packet q;
	q.macs(ours, gateway).ip("192.0.2.1", sw.ip("a")).udp(53, 1000).data(3000);
	auto parts = split(q, 1000);
	std::reverse(parts.begin(), parts.end());
	send("host", parts);
	expect_whole("a", q.payload);
}

// RFC 791 3.2: what is too long for its way and may be broken up is, after it was judged and before it is translated.
TEST_F(Fragments, TooLongPacketsAreBrokenUpWhereTheyMay)
{
	service();
	for (const char *to : {"10.244.1.6", VIP})
		for (bool tcp : {false, true})
			for (bool partial : {false, true})
				for (size_t n : {1451, 1452, 1500, 1900}) {
					Packet p = sw.to("a", to);
					tcp ? p.tcp((uint16_t)(n + partial * 1000), 80, 2) : p.udp((uint16_t)(n + partial * 1000), 53);
					p.data(n - (tcp ? 40 : 28)).fragment = 0;
					p.partial = partial;
					p.id = 0x1234;
					sw.send("a", p);
					auto got = sw.take_all("b");
					ASSERT_EQ(got.size(), 2u) << n << " to " << to << ": " << sw.drops_text();
					for (auto &f : got) {
						EXPECT_LE(f.end(), 14u + 1450u);
						EXPECT_EQ(piece_of(f.b).id, 0x1234u);
						EXPECT_EQ(f.ttl(), 63);
					}
					Frame f = whole(got);
					EXPECT_EQ(f.payload(), p.payload);
					EXPECT_EQ(f.checksums(), "") << n << " to " << to << (tcp ? " tcp" : " udp") << (partial ? " partial" : "");
					EXPECT_EQ(f.dport(), to == VIP ? (tcp ? 8080 : 5353) : tcp ? 80 : 53);
				}
	EXPECT_EQ(sw.drops_text(), "");
}

// Fragments that are too long are broken up once more: a host with a longer MTU pings a pod.
TEST_F(Fragments, FragmentsAreBrokenUpToo)
{
	Packet p = sw.between("a", "b").udp(1000, 53).data(5000);
	for (uint32_t id = 1; id <= 2; id++) {
		auto parts = split(p, 1480, id);
		if (id == 2)
			std::reverse(parts.begin(), parts.end());
		send("a", parts);
		auto got = sw.take_all("b");
		EXPECT_EQ(got.size(), 7u);
		for (auto &f : got)
			EXPECT_LE(f.end(), 14u + 1450u);
		EXPECT_EQ(whole(got).payload(), p.payload) << sw.drops_text();
	}
	EXPECT_EQ(sw.drops_text(), "");
}

// Judged as a whole, before it is broken up: a part of what is refused is nothing that a receiver should see.
TEST_F(Fragments, NoPartOfARefusedSegmentPasses)
{
	sw.send("a", sw.between("a", "b").tcp(4000, 80, 2));
	EXPECT_EQ(sw.take_all("b").size(), 1u);
	Packet early = sw.between("a", "b").tcp(4000, 80, 0x10).data(1500);
	early.fragment = 0;
	sw.send("a", early);
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops_text(), "invalid_state=1 ");
	// One that begins anew on the ports of one that was reset is learned from as a whole, too.
	sw.send("b", sw.between("b", "a").tcp(80, 4000, 0x14).numbers(0, 1001));
	EXPECT_EQ(sw.take_all("a").size(), 1u);
	Packet again = sw.between("a", "b").tcp(4000, 80, 2).numbers(5000, 0).data(1500);
	again.fragment = 0;
	sw.send("a", again);
	EXPECT_EQ(sw.take_all("b").size(), 2u) << sw.drops_text();
	sw.send("b", sw.between("b", "a").tcp(80, 4000, 0x12).numbers(9000, 6501));
	EXPECT_EQ(sw.take_all("a").size(), 1u) << "acknowledges all of it";
	sw.send("a", sw.between("a", "b").tcp(4000, 80, 0x10).numbers(6501, 9001));
	EXPECT_EQ(sw.take_all("b").size(), 1u);
	int state = 0;
	conn_walk(
		sw.conns,
		[](uint32_t, const conn_half *, const conn_cold *c, void *p) {
			*static_cast<int *>(p) = c->state;
			return 0;
		},
		&state);
	EXPECT_EQ(state, TCP_STATE_ESTABLISHED);
}

TEST_F(Fragments, WhatMayNotBeBrokenUpIsNot)
{
	Packet p = sw.between("a", "b").udp(1000, 53).data(1500), q = p, s = sw.between("a", "b").raw(132, sctp_init(1, 2, 1500));
	q.fragment = s.fragment = 0;
	q.options = Bytes(4, 1);
	for (const Packet &x : {p, q, s}) {
		sw.send("a", x);
		EXPECT_TRUE(sw.nothing("b"));
		sw.take_all("a");
	}
	EXPECT_EQ(sw.drops("mtu"), 3u);
	// A whole burst at once: there is room for all of it.
	for (uint16_t k = 0; k < 64; k++) {
		Packet y = sw.between("a", "b").udp(k, 53).data(1500);
		y.fragment = 0;
		sw.give("a", y.bytes());
	}
	sw.settle();
	EXPECT_EQ(sw.take_all("b").size(), 128u) << sw.drops_text();
}
