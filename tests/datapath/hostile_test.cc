// SPDX-License-Identifier: Apache-2.0
// What a hostile pod tries once it knows how the switch thinks: headers that change after they were judged, errors in another's name,
// messages that hide behind an allowed connection, frames that grow on the way.
#include "switch.hpp"

using namespace weft;

struct Hostile : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
		sw.pod("c", "10.244.1.7");
	}
	// An error from `pod` about a frame that it received, said to come from `from`.
	Packet error_about(const std::string &pod, const Frame &f, const std::string &from = "")
	{
		Packet p = sw.to(pod, f.from()).icmp(f.v6() ? 1 : 3, f.v6() ? 4 : 3, 0);
		if (!from.empty())
			p.from = from;
		p.payload.assign(f.b.begin() + 14, f.b.begin() + (long)f.end());
		return p;
	}
	void policy(const std::string &body)
	{
		ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\"," + body + "}")) << sw.error;
	}
};

// Where the sender says that a checksum belongs must not be a header that the verdict rests on.
TEST_F(Hostile, ACompletedChecksumNeverOverwritesAHeader)
{
	for (bool v6 : {false, true})
		for (bool tcp : {false, true})
			for (int field = 0; field < (v6 ? 40 : 20) + (tcp ? 20 : 8); field++) {
				Packet p = sw.to("a", v6 ? sw.ip6("b") : sw.ip("b"));
				tcp ? p.tcp(1000, 80, 2) : p.udp(1000, 80);
				Bytes f = p.data("payload").bytes();
				size_t l4 = p.l4_offset(), at = 14 + (size_t)field;
				if (at == l4 + p.csum_offset())
					continue;
				for (size_t start : {(size_t)14, l4}) {
					if (start > at)
						continue;
					sw.give("a", f, (int)start, (int)(at - start));
					sw.settle();
					for (auto &got : sw.take_all("b")) {
						EXPECT_EQ(got.dport(), 80);
						EXPECT_EQ(got.sport(), 1000);
						EXPECT_EQ(got.from(), p.from);
						EXPECT_EQ(got.to(), p.to);
						EXPECT_EQ(got.checksums(), "") << "field at " << at << " from " << start;
					}
				}
			}
}

TEST_F(Hostile, AChecksumInsideATunnelOfThePodsOwnIsCompleted)
{
	Packet p = sw.between("a", "b").udp(1000, 80).data(40);
	p.no_l4_sum = true;
	size_t inner = p.l4_offset() + 8;
	sw.give("a", p.bytes(), (int)inner, 16);
	sw.settle();
	Frame f = sw.take("b");
	Bytes was = p.payload;
	uint16_t sum = (uint16_t)~sum16(was.data(), was.size());
	EXPECT_EQ(get16(f.b, inner + 16), sum);
}

TEST_F(Hostile, AnErrorComesFromItsSendersOwnAddress)
{
	sw.send("a", sw.between("a", "b").udp(1000, 80));
	Frame f = sw.take("b");
	for (const char *from : {"10.244.1.7", "10.244.1.1", "198.51.100.1"}) {
		sw.send("b", error_about("b", f, from));
		EXPECT_TRUE(sw.nothing("a")) << from;
	}
	EXPECT_EQ(sw.drops("spoofed_ip"), 3u) << sw.drops_text();
	sw.send("b", error_about("b", f));
	EXPECT_EQ(sw.take("a").icmp_type(), 3);
}

TEST_F(Hostile, AnErrorThroughTheTunnelIsNotALocalPods)
{
	sw.node();
	sw.remote();
	sw.answer_arp();
	sw.send("a", sw.to("a", "10.244.2.10").udp(1000, 2000));
	sw.answer_arp();
	auto out = sw.take_all("uplink0");
	ASSERT_FALSE(out.empty());
	Frame in = out.back().inner();
	auto arrive = [&](const char *from) {
		Packet e;
		e.macs("02:00:00:00:02:01", "02:00:00:00:00:01").ip(from, sw.ip("a")).icmp(3, 3, 0);
		e.payload.assign(in.b.begin() + 14, in.b.begin() + (long)in.end());
		Bytes frame = e.bytes();
		Packet p;
		p.macs("02:00:00:00:ff:02", "02:00:00:00:ff:01").ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
		p.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		p.payload.insert(p.payload.end(), frame.begin(), frame.end());
		sw.give("uplink0", p.bytes());
		sw.settle();
	};
	arrive("10.244.1.6");
	EXPECT_TRUE(sw.nothing("a")) << "b is here, not behind the tunnel";
	EXPECT_EQ(sw.drops("spoofed_ip"), 1u) << sw.drops_text();
	for (const char *from : {"10.244.2.10", "10.244.1.1", "203.0.113.9"}) { // the pod, the node as gateway, a router beyond
		arrive(from);
		EXPECT_EQ(sw.take_all("a").size(), 1u) << from << " " << sw.drops_text();
	}
	sw.take_all("host");
}

TEST_F(Hostile, AnErrorIsNeverAnsweredWithAReset)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"Service\",\"name\":\"w\",\"network\":\"default\",\"ips\":[\"10.96.0.10\"],\"ports\":["
			     "{\"name\":\"t\",\"protocol\":\"TCP\",\"port\":80,\"targetPort\":8080}],\"backends\":[{\"ip\":\"10.244.1.6\"}]}"))
		<< sw.error;
	sw.send("a", sw.to("a", "10.96.0.10").tcp(1000, 80, 2));
	Frame f = sw.take("b");
	ASSERT_TRUE(sw.apply("{\"kind\":\"Service\",\"name\":\"w\",\"network\":\"default\",\"ips\":[\"10.96.0.10\"],\"ports\":["
			     "{\"name\":\"t\",\"protocol\":\"TCP\",\"port\":80,\"targetPort\":8080}],\"backends\":[]}"))
		<< sw.error;
	sw.send("b", error_about("b", f));
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_TRUE(sw.nothing("a"));
}

// A peer whose port is away has no MTU: nobody may be told that it is 0.
TEST_F(Hostile, ANeighbourThatIsAwayIsNotAShortLink)
{
	for (const std::string &to : {sw.ip("b"), sw.ip6("b")})
		sw.send("a", sw.to("a", to).udp(1000, 80));
	ASSERT_EQ(sw.take_all("b").size(), 2u);
	ASSERT_TRUE(sw.apply("{\"kind\":\"Endpoint\",\"name\":\"a\",\"network\":\"default\",\"port\":\"later\",\"mac\":\"02:00:00:00:01:05\","
			     "\"ips\":[\"10.244.1.5\",\"fd00:244:1::5\"]}")) << sw.error;
	for (const std::string &to : {sw.ip("a"), sw.ip6("a")})
		sw.send("b", sw.to("b", to).udp(80, 1000).data(1000));
	EXPECT_TRUE(sw.nothing("b")) << "no answer that spoils the path MTU";
	EXPECT_EQ(sw.drops("mtu"), 0u);
	EXPECT_EQ(sw.drops("no_route"), 2u) << sw.drops_text();
}

TEST_F(Hostile, OneIcmpTypeDoesNotOpenTheWayForAnother)
{
	policy("\"endpoints\":[\"b\"],\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"accept\",\"ports\":[{\"protocol\":\"ICMP\",\"icmp\":{\"type\":8}},"
	       "{\"protocol\":\"ICMP\",\"icmp\":{\"type\":13}}]}]");
	sw.send("a", sw.between("a", "b").echo(0, 1));
	sw.take("b");
	sw.send("a", sw.between("a", "b").icmp(13, 0, 1));
	sw.take("b");
	for (uint8_t type : {5, 15, 17}) {
		sw.send("a", sw.between("a", "b").icmp(type, 0, 0x0a0a0a0a));
		EXPECT_TRUE(sw.nothing("b")) << "type " << (int)type;
	}
	EXPECT_EQ(sw.drops("policy_ingress"), 3u) << sw.drops_text();
	sw.send("b", sw.between("b", "a").icmp(14, 0, 1));
	EXPECT_EQ(sw.take("a").icmp_type(), 14) << "the answer to 13";
}

TEST_F(Hostile, NoIcmpTypeIsTakenForAnEcho)
{
	policy("\"endpoints\":[\"b\"],\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"accept\",\"ports\":["
	       "{\"protocol\":\"ICMP\",\"icmp\":{\"type\":8}},{\"protocol\":\"ICMPv6\",\"icmp\":{\"type\":128}}]}]");
	for (const std::string &b : {sw.ip("b"), sw.ip6("b")}) {
		for (uint16_t id : {0xffff, 0, 1, 0xfffe}) {
			sw.send("a", sw.to("a", b).echo(id, 1));
			sw.take("b");
		}
		for (uint8_t code : {255, 254, 0, 1}) {
			sw.send("a", sw.to("a", b).icmp(255, code, 1));
			EXPECT_TRUE(sw.nothing("b")) << "code " << (int)code;
		}
	}
	EXPECT_EQ(sw.drops("policy_ingress"), 8u) << sw.drops_text();
}

TEST_F(Hostile, IcmpOfTheOtherFamilyIsNone)
{
	sw.send("a", sw.between("a", "b").raw(58, Bytes(8, 0x80)));
	sw.send("a", sw.to("a", sw.ip6("b")).raw(1, Bytes{8, 0, 0, 0, 0, 1, 0, 1}));
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("l4_header"), 2u) << sw.drops_text();
}

TEST_F(Hostile, P11_UdpOverIpv6NeedsAChecksum)
{
	Packet p = sw.to("a", sw.ip6("b")).udp(1, 2).data("x");
	p.no_l4_sum = true;
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("l4_header"), 1u) << sw.drops_text();
	Packet q = sw.between("a", "b").udp(1, 2).data("x");
	q.no_l4_sum = true;
	sw.send("a", q);
	EXPECT_EQ(sw.take("b").text(), "x");
}

TEST_F(Hostile, P10_EightExtensionHeadersAreFollowed)
{
	Packet p = sw.to("a", sw.ip6("b")).udp(5, 6).data("deep");
	Bytes l4 = p.l4(), chain;
	for (int i = 0; i < 8; i++) {
		Bytes h = {(uint8_t)(i < 7 ? 60 : 17), 0, 1, 4, 0, 0, 0, 0};
		chain.insert(chain.end(), h.begin(), h.end());
	}
	chain.insert(chain.end(), l4.begin(), l4.end());
	sw.send("a", p.raw(60, chain));
	EXPECT_EQ(sw.take_all("b").size(), 1u) << sw.drops_text();
}

// What lies behind the IP packet is nobody's: it must not make a tunnel packet longer than the underlay takes.
TEST_F(Hostile, PaddingDoesNotTravelThroughTheTunnel)
{
	sw.node();
	sw.remote();
	sw.answer_arp();
	Bytes f = sw.to("a", "10.244.2.10").udp(1000, 2000).data(100).bytes();
	f.resize(1900, 0xee);
	sw.give("a", f);
	sw.settle();
	sw.answer_arp();
	auto out = sw.take_all("uplink0");
	ASSERT_FALSE(out.empty());
	EXPECT_EQ(out.back().b.size(), 50u + 14 + 20 + 8 + 100);
	EXPECT_EQ(out.back().checksums(), "");
	sw.take_all("host");
}

TEST_F(Hostile, AnErrorThatIsTooLongIsDropped)
{
	sw.node();
	sw.remote();
	sw.answer_arp();
	sw.take_all("uplink0");
	Packet in;
	in.macs("02:00:00:00:02:01", "02:00:00:00:00:01").ip("10.244.2.10", sw.ip("a")).udp(1000, 80).data(1000);
	Bytes frame = in.bytes();
	Packet p;
	p.macs("02:00:00:00:ff:02", "02:00:00:00:ff:01").ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
	p.payload = {8, 0, 0, 0, 0, 0, 100, 0};
	p.payload.insert(p.payload.end(), frame.begin(), frame.end());
	sw.give("uplink0", p.bytes());
	sw.settle();
	Frame f = sw.take("a");
	Packet e = error_about("a", f);
	sw.send("a", e);
	sw.answer_arp();
	auto out = sw.take_all("uplink0");
	EXPECT_FALSE(out.empty());
	e.payload.resize(1600);
	sw.send("a", e);
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_TRUE(sw.nothing("a")) << "no error about an error";
	EXPECT_EQ(sw.drops("mtu"), 1u) << sw.drops_text();
	sw.take_all("host");
}

// A pod that may use other addresses than its own hears the answers, also the first one after a change.
TEST_F(Hostile, AChangeDoesNotCutOffAnAddressThatIsSpokenFor)
{
	sw.pod("r", "10.244.1.9", ",\"antiSpoof\":\"mac\"");
	Packet p = sw.between("r", "b").udp(1000, 80);
	p.from = "198.51.100.7";
	sw.send("r", p);
	sw.take("b");
	Packet answer = sw.to("b", "198.51.100.7").udp(80, 1000);
	sw.send("b", answer);
	EXPECT_EQ(sw.take_all("r").size(), 1u);
	policy("\"endpoints\":[\"b\"],\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"accept\"}]");
	sw.send("b", answer);
	EXPECT_EQ(sw.take_all("r").size(), 1u) << sw.drops_text();
}
