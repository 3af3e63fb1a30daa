// SPDX-License-Identifier: Apache-2.0
// FAULTS C6: errors about translated packets. Whoever receives one finds in it what he sent, byte by byte but for the TTL, with all
// checksums right; a quote that nobody sent goes nowhere.
#include "fragment_fixture.hpp"

using namespace weft;

enum { SYN = 2, ACK = 16 };

struct C6_Errors : Fragments {
	// What somebody said: as he sent it, and as the other side got it.
	struct Said {
		Bytes sent;
		Frame got;
	};
	bool tunnel = false;
	std::string server(bool v6) { return tunnel ? (v6 ? "fd00:244:2::10" : "10.244.2.10") : v6 ? sw.ip6("b") : sw.ip("b"); }
	std::string client(bool v6) { return v6 ? sw.ip6("a") : sw.ip("a"); }

	void SetUp() override { Fragments::SetUp(); }
	void behind_a_tunnel()
	{
		tunnel = true;
		sw.node();
		sw.remote("node-2", "192.0.2.2", "10.244.2.0/24", "fd00:244:2::/64");
		sw.answer_arp();
		sw.send("a", sw.to("a", "10.244.2.99").udp(9, 9));
		sw.answer_arp();
		sw.take_all("uplink0");
		sw.take_all("host");
	}
	Packet from_server(bool v6, const std::string &to)
	{
		Packet p;
		return p.macs(tunnel ? Mac("02:00:00:00:02:01") : sw.mac("b"), gateway).ip(server(v6), to);
	}
	void server_sends(const Packet &p)
	{
		if (!tunnel) {
			sw.send("b", p);
			return;
		}
		Packet o;
		o.macs(peer, ours).ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
		Bytes frame = p.bytes();
		o.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		o.payload.insert(o.payload.end(), frame.begin(), frame.end());
		sw.give("uplink0", o.bytes());
		sw.settle();
	}
	Frame server_gets() { return tunnel ? sw.take("uplink0").inner() : sw.take("b"); }
	bool server_gets_nothing() { return sw.nothing(tunnel ? "uplink0" : "b"); }

	Said ask(const Packet &p)
	{
		sw.send("a", p);
		return {p.bytes(), server_gets()};
	}
	Said answer(const Packet &p)
	{
		server_sends(p);
		return {p.bytes(), sw.take("a")};
	}
	// The error that somebody makes of what he got: `n` bytes of its L4.
	static Packet about(Packet p, const Frame &f, size_t n, uint8_t type = 0, uint8_t code = 0)
	{
		p.icmp(type ? type : f.v6() ? 1 : 3, type ? code : f.v6() ? 4 : 3, 0);
		p.payload.assign(f.b.begin() + 14, f.b.begin() + (long)std::min(f.end(), f.l4() + n));
		return p;
	}
	// The quote is what was sent, as far as it goes.
	static void expect_quote(const Frame &e, const Said &said, const std::string &what)
	{
		ASSERT_EQ(e.checksums(), "") << what;
		Bytes quote = e.payload(), sent(said.sent.begin() + 14, said.sent.end());
		ASSERT_LE(quote.size(), sent.size()) << what;
		if (e.v6()) {
			sent[7] = quote[7];
		} else {
			EXPECT_EQ(sum16(quote.data(), (quote[0] & 15) * 4u), 0xffffu) << what << ": the quote's own header checksum";
			sent[8] = quote[8], sent[10] = quote[10], sent[11] = quote[11];
		}
		sent.resize(quote.size());
		EXPECT_EQ(quote, sent) << what;
	}

	// Both directions of one conversation through the service, errors about each from the other side.
	void through_the_service(bool v6, bool tcp, size_t n, size_t options = 0)
	{
		std::string vip = v6 ? VIP6 : VIP, what = vip + (tcp ? " tcp " : " udp ") + std::to_string(n) + (tunnel ? " tunnel" : "");
		uint16_t port = (uint16_t)(4000 + n + (tcp ? 100 : 0) + options);
		Packet q = sw.to("a", vip), r = from_server(v6, client(v6));
		tcp ? q.tcp(port, 80, SYN) : q.udp(port, 53).data(64);
		tcp ? r.tcp(8080, port, SYN | ACK) : r.udp(5353, port).data(64);
		q.options = Bytes(options, 1), r.options = Bytes(options, 1);
		r.seq = 50000, r.ack = q.seq + 1;
		Said asked = ask(q);
		server_sends(about(from_server(v6, client(v6)), asked.got, n));
		Frame e = sw.take("a");
		EXPECT_EQ(e.from(), vip) << what;
		EXPECT_EQ(e.to(), client(v6));
		expect_quote(e, asked, what + " to the client");

		Said answered = answer(r);
		EXPECT_EQ(answered.got.from(), vip);
		sw.send("a", about(sw.to("a", vip), answered.got, n));
		e = server_gets();
		EXPECT_EQ(e.from(), client(v6)) << what;
		EXPECT_EQ(e.to(), server(v6)) << what;
		expect_quote(e, answered, what + " to the server");
	}
	void all()
	{
		service(server(false), server(true));
		for (bool v6 : {false, true})
			for (bool tcp : {false, true})
				for (size_t n : {8, 16, 18, 20, 72})
					through_the_service(v6, tcp, n);
	}
	// And nobody else moved.
	void expect_unrelated(const Packet &p, const char *reason = "icmp_unrelated")
	{
		uint64_t before = sw.drops(reason);
		server_sends(p);
		EXPECT_TRUE(sw.nothing("a"));
		EXPECT_EQ(sw.drops(reason), before + 1) << sw.drops_text();
	}
};

TEST_F(C6_Errors, ThroughAService)
{
	all();
	EXPECT_EQ(sw.drops_text(), "");
}

TEST_F(C6_Errors, ThroughAServiceBehindATunnel)
{
	behind_a_tunnel();
	all();
	EXPECT_EQ(sw.drops_text(), "");
}

TEST_F(C6_Errors, OptionsInTheQuote)
{
	service();
	for (size_t options : {4, 20, 40})
		for (bool tcp : {false, true})
			through_the_service(false, tcp, 8, options);
}

TEST_F(C6_Errors, TooBigTellsItsMtu)
{
	service();
	for (const char *vip : {VIP, VIP6}) {
		bool v6 = is6(vip);
		Said asked = ask(sw.to("a", vip).udp(4000, 53).data(900));
		Packet e = about(from_server(v6, client(v6)), asked.got, 400, v6 ? 2 : 3, v6 ? 0 : 4);
		e.icmp_rest = 1280;
		server_sends(e);
		Frame f = sw.take("a");
		EXPECT_EQ(get32(f.b, f.l4() + 4), 1280u);
		expect_quote(f, asked, vip);
	}
}

TEST_F(C6_Errors, AboutEcho)
{
	for (bool v6 : {false, true}) {
		Said asked = ask(sw.to("a", server(v6)).echo(77, 1).data(64));
		server_sends(about(from_server(v6, client(v6)), asked.got, 72));
		expect_quote(sw.take("a"), asked, "echo");
	}
}

// Chains of extension headers, a fragment header among them (the first fragment has the ports).
TEST_F(C6_Errors, ExtensionHeadersInTheQuote)
{
	service();
	Packet q = sw.to("a", VIP6).udp(4000, 53).data(64);
	Bytes up = q.l4(), chain = {60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0};
	chain.insert(chain.end(), up.begin(), up.end());
	Packet p = q;
	p.raw(0, chain);
	sw.send("a", p);
	Said asked = {p.bytes(), sw.take("b")};
	Packet e = from_server(true, client(true)).icmp(1, 4, 0);
	e.payload.assign(asked.got.b.begin() + 14, asked.got.b.end());
	server_sends(e);
	expect_quote(sw.take("a"), asked, "extension headers");

	Packet big = sw.to("a", VIP6).udp(4000, 53).data(2000);
	auto parts = split(big, 1000);
	send("a", parts);
	auto got = sw.take_all("b");
	ASSERT_EQ(got.size(), 3u);
	e.payload.assign(got[0].b.begin() + 14, got[0].b.begin() + 14 + 500);
	server_sends(e);
	expect_quote(sw.take("a"), {parts[0], got[0]}, "a first fragment");
	e.payload.assign(got[1].b.begin() + 14, got[1].b.begin() + 14 + 500);
	expect_unrelated(e);
	Bytes nine;
	for (int i = 0; i < 9; i++)
		nine.insert(nine.end(), {(uint8_t)(i < 8 ? 60 : 17), 0, 1, 4, 0, 0, 0, 0});
	nine.insert(nine.end(), up.begin(), up.end());
	Bytes quoted = Packet(q).raw(60, nine).bytes();
	e.payload.assign(quoted.begin() + 14, quoted.end());
	expect_unrelated(e, "l4_header");
}

TEST_F(C6_Errors, FragmentsInTheQuote)
{
	service();
	Packet big = sw.to("a", VIP).udp(4000, 53).data(2000);
	auto parts = split(big, 1000);
	send("a", parts);
	auto got = sw.take_all("b");
	ASSERT_EQ(got.size(), 3u);
	server_sends(about(from_server(false, client(false)), got[0], 8, 11, 1)); // reassembly time exceeded quotes the first
	expect_quote(sw.take("a"), {parts[0], got[0]}, "a first fragment");
	expect_unrelated(about(from_server(false, client(false)), got[1], 8));
}

TEST_F(C6_Errors, WhatWasNotSentIsForged)
{
	service();
	for (bool v6 : {false, true}) {
		Said asked = ask(sw.to("a", v6 ? VIP6 : VIP).udp(4000, 53).data(64));
		Packet good = about(from_server(v6, client(v6)), asked.got, 8);
		size_t l4 = asked.got.l4() - 14, src = v6 ? 8 : 12, dst = v6 ? 24 : 16, size = v6 ? 16 : 4;
		for (size_t at : {l4, l4 + 2, src + size - 1, dst + size - 1}) { // ports, addresses
			Packet e = good;
			e.payload[at] ^= 3;
			expect_unrelated(e);
		}
		Packet e = good;
		e.payload[v6 ? 6 : 9] = 6; // the same ports of TCP
		expect_unrelated(e);
		// The other direction, in which nothing has been said yet: no answer that b's error could be about.
		Packet r = from_server(v6, client(v6)).udp(5353, 4000).data(64);
		sw.send("a", about(sw.to("a", server(v6)), Frame{r.bytes(), false}, 8));
		EXPECT_TRUE(sw.nothing("b"));
	}
	EXPECT_EQ(sw.drops("icmp_unrelated"), 12u) << sw.drops_text();
}

// RFC 5927: whoever cannot see a TCP connection cannot guess what it has in flight.
TEST_F(C6_Errors, ASequenceNumberFarFromTheWindowIsForged)
{
	service();
	for (bool v6 : {false, true}) {
		Packet syn = sw.to("a", v6 ? VIP6 : VIP).tcp(4000, 80, SYN);
		ask(syn);
		Packet back = from_server(v6, client(v6)).tcp(8080, 4000, SYN | ACK);
		back.seq = 90000, back.ack = 1001;
		answer(back);
		Packet data = sw.to("a", v6 ? VIP6 : VIP).tcp(4000, 80, ACK).data(500);
		data.seq = 1001, data.ack = 90001;
		Said asked = ask(data);
		Packet e = about(from_server(v6, client(v6)), asked.got, 8);
		server_sends(e);
		expect_quote(sw.take("a"), asked, "the true one");
		size_t seq = asked.got.l4() - 14 + 4;
		for (uint32_t s : {1001u + 100000, 1001u + 0x40000000, 1001u - 200000, 0x80000000u}) {
			Packet f = e;
			put16(f.payload, seq, (uint16_t)(s >> 16)), put16(f.payload, seq + 2, (uint16_t)s);
			expect_unrelated(f);
		}
	}
}

TEST_F(C6_Errors, ATruncatedOrMalformedQuoteIsNone)
{
	service();
	for (bool v6 : {false, true}) {
		Said asked = ask(sw.to("a", v6 ? VIP6 : VIP).udp(4000, 53).data(64));
		Packet good = about(from_server(v6, client(v6)), asked.got, 8);
		for (size_t n = 0; n < good.payload.size(); n += 3) {
			Packet e = good;
			e.payload.resize(n);
			expect_unrelated(e, "l4_header");
		}
		Packet e = good;
		e.payload[0] ^= 0x20; // another version
		expect_unrelated(e, "l4_header");
		e = good;
		e.bad_l4_sum = true;
		expect_unrelated(e, "l4_header");
	}
	Said asked = ask(sw.to("a", VIP).udp(4000, 53).data(64));
	Packet e = about(from_server(false, client(false)), asked.got, 8);
	e.payload[0] = 0x4f; // options beyond the quote
	expect_unrelated(e, "l4_header");
	e.payload[0] = 0x44;
	expect_unrelated(e, "l4_header");
}
