// SPDX-License-Identifier: Apache-2.0
// Echo through the switch, and ICMP errors that quote what was translated.
#include "switch.hpp"

using namespace weft;

static const char *VIP = "10.96.0.10";

struct Icmp : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("c", "10.244.1.5");
		sw.pod("s", "10.244.1.11");
		sw.pod("x", "10.244.1.12");
		ASSERT_TRUE(sw.apply("{\"kind\":\"Service\",\"name\":\"w\",\"network\":\"default\",\"ips\":[\"10.96.0.10\"],\"ports\":["
				     "{\"name\":\"u\",\"protocol\":\"UDP\",\"port\":53,\"targetPort\":5353}],\"backends\":[{\"ip\":\"10.244.1.11\"}]}"))
			<< sw.error;
	}
	// An error from `pod` about a frame that it received: type 3 code 3, quoting IP header and n bytes.
	Packet error_about(const std::string &pod, const Frame &f, size_t n = 8, uint8_t type = 3, uint8_t code = 3)
	{
		Packet p = sw.to(pod, f.from()).icmp(type, code, 0);
		size_t end = std::min(f.end(), f.l4() + n);
		p.payload.assign(f.b.begin() + 14, f.b.begin() + (long)end);
		return p;
	}
};

TEST_F(Icmp, EchoPassesAndItsAnswerComesBack)
{
	for (const std::string &to : {sw.ip("s"), sw.ip6("s")}) {
		sw.send("c", sw.to("c", to).echo(77, 1).data("abc"));
		Frame f = sw.take("s");
		EXPECT_EQ(f.checksums(), "");
		Packet r = sw.to("s", is6(to) ? sw.ip6("c") : sw.ip("c"));
		r.icmp(is6(to) ? 129 : 0, 0, 77u << 16 | 1).data("abc");
		sw.send("s", r);
		EXPECT_EQ(sw.take("c").checksums(), "");
	}
	EXPECT_EQ(sw.connections(), 2u);
}

TEST_F(Icmp, AnAnswerToNothingIsDropped)
{
	sw.send("c", sw.to("c", sw.ip("s")).icmp(0, 0, 5u << 16));
	EXPECT_TRUE(sw.nothing("s"));
	EXPECT_EQ(sw.drops("invalid_state"), 1u);
}

TEST_F(Icmp, AnErrorAboutATranslatedPacketIsTranslatedInsideAndOutside)
{
	sw.send("c", sw.to("c", VIP).udp(4000, 53).data("query"));
	Frame f = sw.take("s");
	sw.send("s", error_about("s", f, 100));
	Frame e = sw.take("c");
	EXPECT_EQ(e.icmp_type(), 3);
	EXPECT_EQ(e.from(), VIP) << "the address that the client knows";
	EXPECT_EQ(e.to(), sw.ip("c"));
	EXPECT_EQ(e.checksums(), "");
	Bytes quote = e.payload();
	quote.insert(quote.begin(), 14, 0);
	put16(quote, 12, 0x0800);
	Frame q{quote, false};
	EXPECT_EQ(q.from(), sw.ip("c"));
	EXPECT_EQ(q.to(), VIP);
	EXPECT_EQ(q.sport(), 4000);
	EXPECT_EQ(q.dport(), 53);
	EXPECT_EQ(sum16(&quote[14], 20), 0xffffu) << "the quote's own header checksum";
}

TEST_F(Icmp, ATruncatedQuoteIsEnough)
{
	sw.send("c", sw.to("c", VIP).udp(4000, 53).data("query"));
	Frame f = sw.take("s");
	sw.send("s", error_about("s", f, 8));
	Frame e = sw.take("c");
	EXPECT_EQ(e.from(), VIP);
	EXPECT_EQ(e.checksums(), "");
	sw.send("s", error_about("s", f, 7)); // fewer than RFC 792 asks for
	EXPECT_TRUE(sw.nothing("c"));
}

TEST_F(Icmp, AForgedQuoteIsDropped)
{
	sw.send("c", sw.to("c", VIP).udp(4000, 53));
	Frame f = sw.take("s");
	Frame forged = f;
	put16(forged.b, forged.l4(), 4001);
	sw.send("s", error_about("s", forged));
	EXPECT_EQ(sw.drops("icmp_unrelated"), 1u);
	// The right quote, but from somebody who has no part in it.
	sw.send("x", error_about("x", f));
	EXPECT_TRUE(sw.nothing("c"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 1u) << sw.drops_text();
}

TEST_F(Icmp, AWrongChecksumIsDropped)
{
	sw.send("c", sw.to("c", VIP).udp(4000, 53));
	Frame f = sw.take("s");
	Packet p = error_about("s", f);
	p.bad_l4_sum = true;
	sw.send("s", p);
	EXPECT_TRUE(sw.nothing("c"));
	EXPECT_EQ(sw.drops("l4_header"), 1u);
}

TEST_F(Icmp, NoErrorsAboutErrors)
{
	sw.send("c", sw.to("c", VIP).udp(4000, 53));
	Frame f = sw.take("s");
	Packet p = error_about("s", f);
	p.ttl = 1;
	sw.send("s", p);
	EXPECT_TRUE(sw.nothing("s"));
	EXPECT_TRUE(sw.nothing("c"));
	EXPECT_EQ(sw.drops("ttl"), 1u);
}

TEST_F(Icmp, P4_ErrorsAreLimited)
{
	for (int i = 0; i < 1500; i++) {
		sw.give("c", sw.to("c", "198.51.100.1").udp((uint16_t)i, 2).bytes());
		if (i % 32 == 31) {
			sw.settle(1);
			sw.take_all("c");
		}
	}
	sw.settle(2);
	EXPECT_GT(sw.drops("icmp_limit"), 0u);
}

TEST_F(Icmp, Ipv6ErrorsToo)
{
	sw.send("c", sw.to("c", sw.ip6("s")).udp(4000, 53).data("q"));
	Frame f = sw.take("s");
	Packet p = sw.to("s", sw.ip6("c")).icmp(1, 4, 0);
	p.payload.assign(f.b.begin() + 14, f.b.begin() + (long)f.end());
	sw.send("s", p);
	Frame e = sw.take("c");
	EXPECT_EQ(e.icmp_type(), 1);
	EXPECT_EQ(e.checksums(), "");
}
