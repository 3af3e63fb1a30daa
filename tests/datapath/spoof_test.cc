// SPDX-License-Identifier: Apache-2.0
// Who may send what: sources that are not the endpoint's own are dropped before anything else.
#include "switch.hpp"

using namespace weft;

struct Spoof : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
		sw.pod("c", "10.244.1.7");
	}
};

TEST_F(Spoof, P6_AForeignMacIsDropped)
{
	Packet p = sw.between("a", "b").udp(1, 2);
	p.src = "02:00:00:00:01:99";
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("spoofed_mac"), 1u);
}

TEST_F(Spoof, P6_AForeignAddressIsDropped)
{
	for (const char *from : {"10.244.1.7", "10.244.9.9", "198.51.100.1"}) {
		Packet p = sw.between("a", "b").udp(1, 2);
		p.from = from;
		sw.send("a", p);
	}
	Packet p = sw.to("a", sw.ip6("b")).udp(1, 2);
	p.from = sw.ip6("c");
	sw.send("a", p);
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 4u);
	EXPECT_EQ(sw.connections(), 0u);
}

TEST_F(Spoof, AnEstablishedConnectionIsNoDisguise)
{
	sw.send("a", sw.between("a", "b").udp(1, 2));
	sw.take("b");
	Packet p = sw.between("a", "b").udp(1, 2).data("evil");
	p.src = sw.mac("c");
	sw.send("c", p); // c pretends to be a, on a's own connection
	Packet q = sw.between("b", "a").udp(2, 1).data("evil");
	q.src = sw.mac("c");
	sw.send("c", q); // and to be b's answer
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_TRUE(sw.nothing("a"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 2u);
	sw.send("a", sw.between("a", "b").udp(1, 2).data("true"));
	EXPECT_EQ(sw.take("b").text(), "true");
}

TEST_F(Spoof, AntiSpoofMacAllowsOtherAddresses)
{
	sw.pod("r", "10.244.1.9", ",\"antiSpoof\":\"mac\"");
	Packet p = sw.to("r", sw.ip("b")).udp(1, 2);
	p.from = "198.51.100.9";
	sw.send("r", p);
	EXPECT_EQ(sw.take("b").from(), "198.51.100.9");
	p.src = "02:00:00:00:01:99";
	sw.send("r", p);
	EXPECT_TRUE(sw.nothing("b"));
}

TEST_F(Spoof, AntiSpoofOffAllowsOtherMacs)
{
	sw.pod("r", "10.244.1.9", ",\"antiSpoof\":\"off\"");
	Packet p = sw.to("r", sw.ip("b")).udp(1, 2);
	p.src = "02:00:00:00:01:99";
	sw.send("r", p);
	sw.take("b");
}

TEST_F(Spoof, AllowedAddressesPassAndTheirAnswersComeBack)
{
	sw.pod("v", "10.244.1.9", ",\"allowed\":[{\"ip\":\"10.244.1.200\"}]");
	Packet zero = sw.to("v", sw.ip("b")).udp(1, 2);
	zero.src = "00:00:00:00:00:00";
	sw.send("v", zero);
	EXPECT_EQ(sw.drops("spoofed_mac"), 1u) << "an entry without a MAC names none";
	Packet p = sw.to("v", sw.ip("b")).udp(1, 2);
	p.from = "10.244.1.200";
	sw.send("v", p);
	EXPECT_EQ(sw.take("b").from(), "10.244.1.200");
	sw.send("b", sw.to("b", "10.244.1.200").udp(2, 1).data("back"));
	EXPECT_EQ(sw.take("v").text(), "back");
}

TEST_F(Spoof, PrefixesBehindAPodAreItsOwn)
{
	sw.pod("r", "10.244.1.9", ",\"prefixes\":[\"203.0.113.0/24\"]");
	Packet p = sw.to("r", sw.ip("b")).udp(1, 2);
	p.from = "203.0.113.77";
	sw.send("r", p);
	EXPECT_EQ(sw.take("b").from(), "203.0.113.77");
	sw.send("b", sw.to("b", "203.0.113.78").udp(5, 6));
	EXPECT_EQ(sw.take("r").to(), "203.0.113.78");
}

TEST_F(Spoof, NetworksAreIsolated)
{
	sw.network("other", 200, "10.99.1");
	sw.pod("x", "10.99.1.5", "", "other");
	sw.send("a", sw.to("a", "10.99.1.5").udp(1, 2));
	EXPECT_TRUE(sw.nothing("x"));
	EXPECT_EQ(sw.drops("no_route"), 1u);
	sw.take("a"); // it is told
}

TEST_F(Spoof, APortWithoutAnEndpointSaysNothing)
{
	sw.port("empty");
	sw.give("empty", sw.between("a", "b").udp(1, 2).bytes());
	sw.settle();
	EXPECT_EQ(sw.drops("no_endpoint"), 1u);
}

// --- pairs of MAC and address ---

static const char *VMAC = "00:00:5e:00:01:33", *VIP = "10.244.1.200", *VIP6 = "fd00:244:1::200";

struct Pairs : Spoof {
	void SetUp() override
	{
		Spoof::SetUp();
		sw.pod("v", "10.244.1.9", ",\"allowed\":[{\"ip\":\"10.244.1.200\",\"mac\":\"00:00:5e:00:01:33\"},{\"ip\":\"fd00:244:1::200\",\"mac\":\"00:00:5e:00:01:33\"},"
					  "{\"ip\":\"10.244.1.201\"}]");
	}
	bool passes(const std::string &mac, const std::string &from, uint16_t sport = 1)
	{
		Packet p = sw.to("v", is6(from) ? sw.ip6("b") : sw.ip("b")).udp(sport, 2);
		p.src = mac.c_str();
		p.from = from;
		sw.send("v", p);
		return sw.take_all("b").size() == 1;
	}
	bool answered(const Bytes &frame)
	{
		sw.give("v", frame);
		sw.settle();
		return sw.take_all("v").size() == 1;
	}
};

TEST_F(Pairs, MacAndAddressMustBelongTogether)
{
	const std::string own = sw.mac("v").text();
	EXPECT_TRUE(passes(own, sw.ip("v")));
	EXPECT_TRUE(passes(own, sw.ip6("v")));
	EXPECT_TRUE(passes(own, "10.244.1.201"));
	EXPECT_TRUE(passes(VMAC, VIP));
	EXPECT_TRUE(passes(VMAC, VIP6));
	EXPECT_FALSE(passes(own, VIP)) << "on an established connection, too";
	EXPECT_FALSE(passes(own, VIP6));
	EXPECT_FALSE(passes(VMAC, sw.ip("v")));
	EXPECT_FALSE(passes(VMAC, "10.244.1.201"));
	EXPECT_FALSE(passes(VMAC, sw.ip("c")));
	EXPECT_EQ(sw.drops("spoofed_ip"), 5u);
	EXPECT_FALSE(passes("00:00:5e:00:01:34", VIP));
	EXPECT_EQ(sw.drops("spoofed_mac"), 1u);
	EXPECT_TRUE(passes(VMAC, VIP, 7)) << "and what is right still passes";
}

TEST_F(Pairs, ArpSpeaksOfPairs)
{
	const Mac own = sw.mac("v"), none = "00:00:00:00:00:00";
	EXPECT_TRUE(answered(arp(1, own, sw.ip("v"), none, sw.ip("b"))));
	EXPECT_TRUE(answered(arp(1, VMAC, VIP, none, sw.ip("b"))));
	EXPECT_TRUE(answered(arp(1, VMAC, "0.0.0.0", none, sw.ip("b")))) << "a probe";
	EXPECT_EQ(sw.drops("spoofed_arp"), 0u);
	EXPECT_FALSE(answered(arp(1, own, VIP, none, sw.ip("b"))));
	EXPECT_FALSE(answered(arp(1, VMAC, sw.ip("v"), none, sw.ip("b"))));
	EXPECT_FALSE(answered(arp(1, own, sw.ip("c"), none, sw.ip("b")))) << "somebody else's";
	EXPECT_FALSE(answered(arp(2, own, "10.244.1.1", own, "10.244.1.1"))) << "the gateway's";
	EXPECT_EQ(sw.drops("spoofed_arp"), 4u);
	EXPECT_FALSE(answered(arp(2, VMAC, VIP, VMAC, VIP))) << "an announcement is no question";
	EXPECT_EQ(sw.drops("spoofed_arp"), 4u) << "but no lie either";
	Bytes inside = arp(1, "00:00:5e:00:01:34", VIP, none, sw.ip("b"));
	memcpy(&inside[6], own.b, 6);
	EXPECT_FALSE(answered(inside)) << "a MAC inside that is nobody's";
	EXPECT_EQ(sw.drops("spoofed_arp"), 5u);
}

TEST_F(Pairs, NdSpeaksOfPairs)
{
	auto advertise = [&](const char *mac, const std::string &target, const char *inside) {
		Packet p;
		p.macs(mac, "33:33:00:00:00:01").ip(target, "ff02::1").icmp(136, 0, 0x20000000);
		p.ttl = 255;
		Bytes t = address(target);
		p.payload = t;
		Mac m = inside;
		p.payload.push_back(2), p.payload.push_back(1);
		p.payload.insert(p.payload.end(), m.b, m.b + 6);
		uint64_t before = sw.drops("spoofed_arp");
		sw.send("v", p);
		return sw.drops("spoofed_arp") == before;
	};
	const std::string own = sw.mac("v").text();
	EXPECT_TRUE(advertise(own.c_str(), sw.ip6("v"), own.c_str()));
	EXPECT_TRUE(advertise(VMAC, VIP6, VMAC));
	EXPECT_FALSE(advertise(own.c_str(), VIP6, own.c_str()));
	EXPECT_FALSE(advertise(VMAC, sw.ip6("v"), VMAC));
	EXPECT_FALSE(advertise(own.c_str(), sw.ip6("c"), own.c_str()));
	EXPECT_FALSE(advertise(own.c_str(), sw.ip6("v"), VMAC));
	EXPECT_FALSE(advertise(own.c_str(), "fd00:244:1::1", own.c_str())) << "the gateway's";
}

TEST_F(Spoof, NobodySpeaksForTheNodeOrTheGateway)
{
	sw.node();
	for (const char *mode : {"mac", "off"}) {
		sw.pod("r", "10.244.1.9", std::string(",\"antiSpoof\":\"") + mode + "\"");
		for (const char *from : {"192.0.2.1", "10.244.1.1"}) {
			Packet p = sw.to("r", sw.ip("b")).udp(1, 2);
			p.from = from;
			sw.send("r", p);
			EXPECT_TRUE(sw.nothing("b")) << mode << " " << from;
		}
	}
	EXPECT_EQ(sw.drops("spoofed_ip"), 4u);
}

TEST_F(Spoof, ARouterPodsPrefixesAreJudgedAsItself)
{
	sw.pod("r", "10.244.1.9", ",\"prefixes\":[\"203.0.113.0/24\",\"2001:db8::/64\"]");
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"endpoints\":[\"r\"],\"types\":[\"Ingress\",\"Egress\"],"
			     "\"ingress\":[{\"ports\":[{\"protocol\":\"UDP\",\"port\":1}]}],\"egress\":[{\"to\":[{\"cidr\":\"10.244.1.6/32\"}]}]}"))
		<< sw.error;
	auto from = [&](const std::string &ip, const std::string &to) {
		Packet p = sw.to("r", sw.ip(to)).udp(5, 6);
		p.from = ip;
		sw.send("r", p);
		return sw.take_all(to).size() == 1;
	};
	EXPECT_TRUE(from("203.0.113.7", "b"));
	EXPECT_FALSE(from("203.0.113.7", "c")) << "its egress";
	EXPECT_FALSE(from("203.0.114.7", "b")) << "not behind it";
	auto to = [&](const std::string &ip, uint16_t port) {
		sw.send("a", sw.to("a", ip).udp(7, port));
		return sw.take_all("r").size() == 1;
	};
	EXPECT_TRUE(to("203.0.113.9", 1));
	EXPECT_FALSE(to("203.0.113.9", 2)) << "its ingress";
	EXPECT_TRUE(to("2001:db8::9", 1));
}

TEST_F(Spoof, SourcesThatNobodyMayHave)
{
	for (const char *from : {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.244.1.255", "10.244.1.6"}) {
		Packet p = sw.between("a", "b").udp(1, 2);
		p.from = from;
		sw.send("a", p);
		EXPECT_TRUE(sw.nothing("b")) << from;
	}
	EXPECT_EQ(sw.drops("bad_address") + sw.drops("spoofed_ip"), 6u);
	EXPECT_EQ(sw.connections(), 0u);
}

// --- VRRP: two pods may have one address, and the one that announced it last does ---

struct Vrrp : Spoof {
	void SetUp() override
	{
		Spoof::SetUp();
		for (int i = 1; i <= 2; i++)
			sw.pod("v" + std::to_string(i), "10.244.1.2" + std::to_string(i),
			       ",\"allowed\":[{\"ip\":\"10.244.1.200\",\"mac\":\"00:00:5e:00:01:33\"},{\"ip\":\"fd00:244:1::200\",\"mac\":\"00:00:5e:00:01:33\"}]");
	}
	// Who gets what b sends to the address, "" when nobody does.
	std::string owner(const std::string &ip = VIP, uint16_t sport = 0)
	{
		static uint16_t next = 1000;
		sw.send("b", sw.to("b", ip).udp(sport != 0 ? sport : next++, 80));
		sw.take_all("b");
		std::string who;
		for (const char *name : {"v1", "v2", "a"})
			if (!sw.take_all(name).empty())
				who += name;
		return who;
	}
	// The switch's control thread has a look now and then.
	bool becomes(const std::string &who, const std::string &ip = VIP)
	{
		for (int i = 0; i < 100; i++) {
			if (owner(ip) == who)
				return true;
			usleep(20000);
		}
		return false;
	}
	void announce(const std::string &name)
	{
		usleep(120000);
		sw.settle();
		sw.give(name, arp(1, VMAC, VIP, "00:00:00:00:00:00", VIP));
		sw.settle();
	}
	void
	announce6(const std::string &name, bool later = true)
	{
		if (later)
			usleep(120000);
		sw.settle();
		Packet p;
		p.macs(VMAC, "33:33:00:00:00:01").ip(VIP6, "ff02::1").icmp(136, 0, 0x20000000);
		p.ttl = 255, p.payload = address(VIP6);
		Mac m = VMAC;
		p.payload.push_back(2), p.payload.push_back(1);
		p.payload.insert(p.payload.end(), m.b, m.b + 6);
		sw.send(name, p);
	}
};

TEST_F(Vrrp, WhoeverAnnouncedItLastHasIt)
{
	EXPECT_EQ(owner(), "");
	announce("v1");
	EXPECT_TRUE(becomes("v1"));
	EXPECT_EQ(owner(VIP, 7), "v1");
	announce("v2");
	EXPECT_TRUE(becomes("v2"));
	EXPECT_EQ(owner(VIP, 7), "v2") << "an established connection goes where the address is";
	announce("v1");
	EXPECT_TRUE(becomes("v1"));
	EXPECT_EQ(owner(VIP6), "");
	announce6("v2");
	EXPECT_TRUE(becomes("v2", VIP6));
	EXPECT_EQ(owner(), "v1");
	EXPECT_EQ(sw.drops("spoofed_arp"), 0u);
}

TEST_F(Vrrp, AFloodOfAnnouncementsKeepsNobodyElsesFromBeingHeard)
{
	for (int i = 0; i < 50; i++)
		sw.give("v2", arp(1, VMAC, VIP, "00:00:00:00:00:00", VIP));
	sw.settle();
	sw.give("v1", arp(1, VMAC, VIP, "00:00:00:00:00:00", VIP));
	sw.settle();
	EXPECT_TRUE(becomes("v1"));
}

TEST_F(Vrrp, SeveralAddressesAreTakenAtOnce)
{
	announce("v1");
	announce6("v1", false);
	EXPECT_TRUE(becomes("v1"));
	EXPECT_TRUE(becomes("v1", VIP6));
}

TEST_F(Vrrp, ItsHolderSpeaksAndIsAnswered)
{
	announce("v1");
	ASSERT_TRUE(becomes("v1"));
	Packet p = sw.to("v1", sw.ip("b")).udp(9, 10);
	p.src = VMAC, p.from = VIP;
	sw.send("v1", p);
	EXPECT_EQ(sw.take("b").from(), VIP);
	sw.send("b", sw.to("b", VIP).udp(10, 9));
	EXPECT_EQ(sw.take_all("v1").size(), 1u);
}

TEST_F(Vrrp, NobodyTakesWhatHeIsNotAllowed)
{
	sw.give("a", arp(1, sw.mac("a"), VIP, "00:00:00:00:00:00", VIP));
	sw.settle();
	usleep(200000);
	EXPECT_EQ(owner(), "");
	EXPECT_EQ(sw.drops("spoofed_arp"), 1u);
}

TEST_F(Vrrp, AnAddressOfItsOwnIsNotTaken)
{
	sw.pod("d", "10.244.1.200");
	announce("v1");
	usleep(200000);
	sw.send("b", sw.to("b", VIP).udp(1, 80));
	EXPECT_EQ(sw.take_all("d").size(), 1u);
	EXPECT_TRUE(sw.nothing("v1"));
}

// What a pod says on its wire never stands in the way of what the configuration says.
TEST_F(Vrrp, WhoseOwnItBecomesTakesItFromWhoeverAnnouncedIt)
{
	const std::string v1 = R"({"kind":"Endpoint","name":"v1","network":"default","port":"v1","mac":"02:00:00:00:01:15","ips":["10.244.1.21"],)"
			       R"("allowed":[{"ip":"10.244.1.200","mac":"00:00:5e:00:01:33"}])",
			  d = R"({"kind":"Endpoint","name":"d","network":"default","port":"d","mac":"02:00:00:00:01:c8","ips":["10.244.1.200"]})";
	sw.port("d");
	for (bool both : {false, true}) { // changed in the same batch as well
		announce("v1");
		ASSERT_TRUE(becomes("v1"));
		ASSERT_TRUE(sw.apply(both ? v1 + R"(,"ports":[{"name":"x","port":1}]},)" + d : d)) << sw.error;
		sw.send("b", sw.to("b", VIP).udp(1, 80));
		EXPECT_EQ(sw.take_all("d").size(), 1u) << sw.drops_text();
		EXPECT_TRUE(sw.nothing("v1"));
		announce("v1");
		usleep(100000);
		sw.send("b", sw.to("b", VIP).udp(1, 80));
		EXPECT_EQ(sw.take_all("d").size(), 1u) << sw.drops_text();
		ASSERT_TRUE(sw.remove("Endpoint", "d")) << sw.error;
		EXPECT_EQ(owner(), "");
	}
	ASSERT_TRUE(sw.apply(v1 + "}")) << sw.error;
	announce("v1");
	ASSERT_TRUE(becomes("v1"));
	std::string own = v1 + "}";
	own.replace(own.find("\"10.244.1.21\""), 13, "\"10.244.1.21\",\"10.244.1.200\"");
	ASSERT_TRUE(sw.apply(own)) << sw.error;
	EXPECT_FALSE(sw.apply(d)) << "announced before, but its own now";
	EXPECT_EQ(owner(), "v1");
	ASSERT_TRUE(sw.apply(v1 + "}")) << sw.error;
	announce("v1");
	ASSERT_TRUE(becomes("v1"));
	ASSERT_TRUE(sw.apply(R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.200"},
		{"prefix":"fd00:244:1::/64","gateway":"fd00:244:1::1"}]})"))
		<< sw.error;
	EXPECT_EQ(owner(), "") << "it is the gateway's";
	sw.take_all("b");
}

TEST_F(Vrrp, ItGoesWithTheEndpointAndWithItsRight)
{
	announce("v1");
	ASSERT_TRUE(becomes("v1"));
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"endpoints\":[\"v1\"],\"ingress\":[{}]}")) << sw.error;
	EXPECT_EQ(owner(), "v1") << "other changes leave it";
	sw.pod("v1", "10.244.1.21");
	EXPECT_EQ(owner(), "") << "no longer allowed";
	announce("v2");
	ASSERT_TRUE(becomes("v2"));
	ASSERT_TRUE(sw.remove("Endpoint", "v2"));
	EXPECT_EQ(owner(), "");
	sw.pod("d", "10.244.1.200");
}
