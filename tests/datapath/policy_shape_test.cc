// SPDX-License-Identifier: Apache-2.0
// Policies as they are written, and what the truth tables have no pods for: what is absent and what is empty, services, the node, a pod and
// itself, ICMP, what is refused.
#include "switch.hpp"

using namespace weft;

namespace
{

struct Shape : testing::Test {
	Switch sw;
	uint16_t next = 1000;
	void SetUp() override
	{
		sw.network();
		sw.pod("web", "10.244.1.5", R"(,"ports":[{"name":"http","port":8080},{"name":"alt","port":8080}])");
		sw.pod("db", "10.244.1.6");
		sw.pod("other", "10.244.1.7");
	}
	std::string text(const std::string &body) { return R"({"kind":"Policy","name":"p","network":"default",)" + body + "}"; }
	void policy(const std::string &body) { ASSERT_TRUE(sw.apply(text(body))) << sw.error; }
	std::string refusal(const std::string &body) { return sw.apply(text(body)) ? "taken" : sw.error; }
	Packet next_tcp(Packet p, uint16_t port) { return p.tcp(next++, port, 2); }
	bool tcp(const std::string &from, const std::string &to, uint16_t port = 80)
	{
		sw.send(from, next_tcp(sw.between(from, to), port));
		return sw.take_all(to).size() == 1;
	}
	bool udp(const std::string &from, const std::string &to, uint16_t port = 80)
	{
		sw.send(from, sw.between(from, to).udp(next++, port));
		return sw.take_all(to).size() == 1;
	}
	bool ping(const std::string &from, const std::string &to, bool six = false)
	{
		Packet p = sw.between(from, to);
		if (six)
			p.ip(sw.ip6(from), sw.ip6(to));
		sw.send(from, p.echo(next++, 1));
		return sw.take_all(to).size() == 1;
	}
	void expect(bool web_from_db, bool db_from_web, bool db_from_other)
	{
		EXPECT_EQ(tcp("db", "web"), web_from_db);
		EXPECT_EQ(tcp("web", "db"), db_from_web);
		EXPECT_EQ(tcp("other", "db"), db_from_other);
	}
};

} // namespace

TEST_F(Shape, EndpointsAbsentIsEverybodyAlsoWhoComesLater)
{
	policy(R"("types":["Ingress"])");
	expect(false, false, false);
	sw.pod("late", "10.244.1.8");
	EXPECT_FALSE(tcp("web", "late"));
}

TEST_F(Shape, EndpointsEmptyIsNobody)
{
	policy(R"("types":["Ingress","Egress"],"endpoints":[])");
	expect(true, true, true);
}

TEST_F(Shape, AnEndpointThatComesLaterWasMeant)
{
	policy(R"("endpoints":["late"])");
	sw.pod("late", "10.244.1.8");
	EXPECT_FALSE(tcp("web", "late"));
	EXPECT_TRUE(tcp("late", "web"));
}

TEST_F(Shape, IngressAbsentEmptyAndWithAnEmptyRule)
{
	policy(R"("endpoints":["db"])");
	expect(true, false, false);
	policy(R"("endpoints":["db"],"ingress":[])");
	expect(true, false, false);
	policy(R"("endpoints":["db"],"ingress":[{}])");
	expect(true, true, true);
	policy(R"("endpoints":["db"],"ingress":[{"from":[],"ports":[]}])");
	expect(true, true, true);
}

TEST_F(Shape, TypesEmptyIsAbsent)
{
	policy(R"("endpoints":["db"],"types":[])");
	expect(true, false, false);
	policy(R"("endpoints":["db"],"types":[],"egress":[{"ports":[{"port":81}]}])");
	expect(false, false, false);
}

TEST_F(Shape, AnEgressSectionIsThereAlsoWhenItIsEmpty)
{
	policy(R"("endpoints":["db"],"egress":[])");
	expect(false, false, false);
}

TEST_F(Shape, RulesOfADirectionThatIsNotNamedSayNothing)
{
	policy(R"("endpoints":["db"],"types":["Egress"],"ingress":[],"egress":[{"ports":[{"port":80}]}])");
	expect(true, true, true);
	policy(R"("endpoints":["db"],"types":["Ingress"],"ingress":[{"from":[{"cidr":"10.244.1.5/32"}]}],"egress":[{"ports":[{"port":1}]}])");
	expect(true, true, false);
	policy(R"("endpoints":["db"],"types":["Egress"],"ingress":[{"from":[{"cidr":"10.244.1.5/32"}]}])");
	expect(false, true, true);
}

TEST_F(Shape, ASetThatDoesNotExistIsEmptyUntilItDoes)
{
	policy(R"("endpoints":["db"],"ingress":[{"from":[{"set":"front"}]}])");
	expect(true, false, false);
	ASSERT_TRUE(sw.apply(R"({"kind":"AddressSet","name":"front","network":"default","members":["10.244.1.5","10.244.1.5/32","10.244.1.0/30"]})")) << sw.error;
	expect(true, true, false);
	ASSERT_TRUE(sw.apply(R"({"kind":"AddressSet","name":"front","network":"default","members":[]})")) << sw.error;
	expect(true, false, false);
}

TEST_F(Shape, HostBitsOfACidrAreIgnored)
{
	policy(R"("endpoints":["db"],"ingress":[{"from":[{"cidr":"10.244.1.255/24","except":["10.244.1.7/31"]}]}])");
	expect(true, true, false);
}

TEST_F(Shape, DoublesDoNoHarm)
{
	policy(R"("endpoints":["db","db"],"types":["Ingress","Ingress"],"ingress":[{"from":[{"cidr":"10.244.1.5/32"},{"cidr":"10.244.1.5/32"}],
		"ports":[{"port":80},{"port":80},{"protocol":"TCP","port":80}]},{"from":[{"cidr":"10.244.1.5/32"}],"ports":[{"port":80}]}])");
	expect(true, true, false);
	EXPECT_FALSE(tcp("web", "db", 81));
}

TEST_F(Shape, APortMayHaveTwoNames)
{
	policy(R"("endpoints":["web"],"ingress":[{"ports":[{"port":"alt"}]}])");
	EXPECT_TRUE(tcp("db", "web", 8080));
	EXPECT_FALSE(tcp("db", "web", 80));
}

TEST_F(Shape, ANameMovesWithTheEndpointsPorts)
{
	policy(R"("endpoints":["web"],"ingress":[{"ports":[{"port":"http"}]}])");
	sw.send("db", sw.between("db", "web").tcp(7000, 8080, 2));
	EXPECT_EQ(sw.take_all("web").size(), 1u);
	ASSERT_TRUE(sw.apply(R"({"kind":"Endpoint","name":"web","network":"default","port":"web","mac":"02:00:00:00:01:05","ips":["10.244.1.5","fd00:244:1::5"],
		"ports":[{"name":"http","port":9090}]})"))
		<< sw.error;
	EXPECT_TRUE(tcp("db", "web", 9090));
	EXPECT_FALSE(tcp("db", "web", 8080));
	sw.send("db", sw.between("db", "web").tcp(7000, 8080, 0x10));
	EXPECT_TRUE(sw.nothing("web")) << "what is established obeys as well";
}

TEST_F(Shape, Refusals)
{
	EXPECT_EQ(refusal(R"("ingress":[{"from":[{}]}])"), "objects[0].ingress[0].from[0]: must have either \"set\" or \"cidr\"");
	EXPECT_EQ(refusal(R"("ingress":[{"from":[{"cidr":"10.0.0.0/8","except":["11.0.0.0/16"]}]}])"),
		  "objects[0].ingress[0].from[0].except[0]: 11.0.0.0/16 is not a part of 10.0.0.0/8");
	EXPECT_NE(refusal(R"("ingress":[{"from":[{"cidr":"10.0.0.0/8","except":["10.0.0.0/8"]}]}])"), "taken") << "a strict part";
	EXPECT_NE(refusal(R"("ingress":[{"from":[{"cidr":"10.0.0.0/8","except":["fd00::/16"]}]}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":[{"from":[{"cidr":"10.0.0.0/33"}]}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":[{"ports":[{"port":0}]}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":[{"ports":[{"port":65536}]}])"), "taken");
	EXPECT_EQ(refusal(R"("ingress":[{"ports":[{"port":"80"}]}])"),
		  "objects[0].ingress[0].ports[0].port: \"80\" is a name, and a name has a letter: write a number without quotes");
	EXPECT_NE(refusal(R"("ingress":[{"ports":[{"port":80,"endPort":79}]}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":[{"ports":[{"endPort":80}]}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":[{"ports":[{"port":"http","endPort":80}]}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":[{"ports":[{"protocol":"ICMP","port":80}]}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":[{"action":"deny"}])"), "taken");
	EXPECT_NE(refusal(R"("tier":"admin","ingress":[{}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":[{"to":[]}])"), "taken");
	EXPECT_NE(refusal(R"("ingress":{})"), "taken");
	EXPECT_NE(refusal(R"("types":["ingress"])"), "taken");
	expect(true, true, true); // and changes nothing
}

TEST_F(Shape, AServiceIsJudgedOnBackendAndTargetPort)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Service","name":"db","network":"default","ips":["10.96.0.10","fd00:96::a"],"ports":[{"name":"a","port":80,"targetPort":5432},
		{"name":"b","port":5432,"targetPort":80}],"backends":[{"ip":"10.244.1.6"}]})"))
		<< sw.error;
	auto through = [&](const std::string &from, uint16_t port) {
		sw.send(from, next_tcp(sw.to(from, "10.96.0.10"), port));
		return sw.take_all("db").size() == 1;
	};
	policy(R"("endpoints":["db"],"ingress":[{"from":[{"cidr":"10.244.1.5/32"}],"ports":[{"port":5432}]}])");
	EXPECT_TRUE(through("web", 80));
	EXPECT_FALSE(through("web", 5432));
	EXPECT_FALSE(through("other", 80));
	policy(R"("endpoints":["web"],"types":["Egress"],"egress":[{"to":[{"cidr":"10.96.0.10/32"}]}])");
	EXPECT_FALSE(through("web", 80)) << "the virtual address is nobody's";
	policy(R"("endpoints":["web"],"types":["Egress"],"egress":[{"to":[{"cidr":"10.244.1.6/32"}],"ports":[{"port":5432}]}])");
	EXPECT_TRUE(through("web", 80));
	EXPECT_FALSE(through("web", 5432));
}

TEST_F(Shape, APodReachesItselfThroughItsOwnService)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Service","name":"db","network":"default","ips":["10.96.0.10"],"ports":[{"name":"a","port":80,"targetPort":5432}],
		"backends":[{"ip":"10.244.1.6"}]})"))
		<< sw.error;
	policy(R"("endpoints":["db"],"types":["Ingress","Egress"])");
	sw.send("db", sw.to("db", "10.96.0.10").tcp(4000, 80, 2));
	Frame f = sw.take("db");
	EXPECT_EQ(f.dport(), 5432);
	EXPECT_EQ(f.from(), "10.96.0.10");
	sw.send("db", sw.to("db", "10.96.0.10").tcp(5432, 4000, 0x12));
	EXPECT_EQ(sw.take("db").sport(), 80);
	sw.send("web", sw.to("web", "10.96.0.10").tcp(4000, 80, 2));
	EXPECT_TRUE(sw.nothing("db"));
}

TEST_F(Shape, TheNodeReachesItsPodsPastEveryTier)
{
	sw.node();
	policy(R"("tier":"admin","ingress":[{"action":"deny"}],"egress":[{"action":"deny"}])");
	Packet p;
	p.macs("02:00:00:00:ff:01", "02:00:00:00:00:01").ip("192.0.2.1", "10.244.1.6").tcp(40000, 80, 2);
	sw.send("host", p);
	EXPECT_EQ(sw.take_all("db").size(), 1u);
	sw.send("db", sw.to("db", "192.0.2.1").tcp(80, 40000, 0x12));
	EXPECT_EQ(sw.take_all("host").size(), 1u);
	sw.send("db", sw.to("db", "192.0.2.1").tcp(4000, 22, 2));
	EXPECT_TRUE(sw.nothing("host")) << "what the pod begins is its own egress";
	policy(R"("types":["Egress"],"egress":[{"to":[{"cidr":"192.0.2.1/32"}]}])");
	sw.send("db", sw.to("db", "192.0.2.1").tcp(4001, 22, 2));
	EXPECT_EQ(sw.take_all("host").size(), 1u);
}

TEST_F(Shape, TheNodesAddressFromElsewhereIsASpoof)
{
	sw.node();
	policy(R"("endpoints":["db"])");
	Packet p = sw.between("web", "db").tcp(1, 80, 2);
	p.from = "192.0.2.1";
	sw.send("web", p);
	EXPECT_TRUE(sw.nothing("db"));
	EXPECT_EQ(sw.drops("spoofed_ip"), 1u);
}

TEST_F(Shape, IcmpIsDeniedByIsolationAndNamedByItself)
{
	policy(R"("endpoints":["db"],"ingress":[{"ports":[{"port":80}]}])");
	EXPECT_FALSE(ping("web", "db"));
	policy(R"("endpoints":["db"],"ingress":[{"ports":[{"protocol":"ICMP","icmp":{"type":8}}]}])");
	EXPECT_TRUE(ping("web", "db"));
	EXPECT_FALSE(ping("web", "db", true)) << "ICMP is not ICMPv6";
	EXPECT_FALSE(tcp("web", "db"));
	policy(R"("endpoints":["db"],"ingress":[{"ports":[{"protocol":"ICMPv6"}]}])");
	EXPECT_FALSE(ping("web", "db"));
	EXPECT_TRUE(ping("web", "db", true));
	policy(R"("endpoints":["db"],"ingress":[{"ports":[{"protocol":"ICMP","icmp":{"type":13}},{"protocol":"ICMPv6","icmp":{"type":128,"code":1}}]}])");
	EXPECT_FALSE(ping("web", "db"));
	EXPECT_FALSE(ping("web", "db", true));
}

// A ping opens the way for its answers, and for nothing that the other side asks under the same identifier.
TEST_F(Shape, APingBackIsAQuestionOfItsOwn)
{
	policy(R"("endpoints":["web"])");
	for (bool v6 : {false, true}) {
		auto packet = [&](const char *from, const char *to) { return sw.to(from, v6 ? sw.ip6(to) : sw.ip(to)); };
		sw.send("web", packet("web", "db").echo(0x1234, 1));
		EXPECT_EQ(sw.take_all("db").size(), 1u);
		sw.send("db", packet("db", "web").echo(0x1234, 1));
		EXPECT_TRUE(sw.nothing("web"));
		sw.send("db", packet("db", "web").icmp(v6 ? 129 : 0, 0, 0x12340001));
		EXPECT_EQ(sw.take_all("web").size(), 1u);
	}
	EXPECT_EQ(sw.drops("policy_ingress"), 2u);
}

TEST_F(Shape, OtherProtocolsByNumber)
{
	policy(R"("endpoints":["db"],"ingress":[{"ports":[{"protocol":50}]}])");
	sw.send("web", sw.between("web", "db").raw(50, Bytes(32, 1)));
	EXPECT_EQ(sw.take_all("db").size(), 1u) << "ESP";
	sw.send("web", sw.between("web", "db").raw(51, Bytes(32, 1)));
	sw.send("web", sw.between("web", "db").raw(2, Bytes(8, 1)));
	sw.send("web", sw.between("web", "db").raw(255, Bytes(8, 1)));
	EXPECT_TRUE(sw.nothing("db"));
}

TEST_F(Shape, AnErrorThatPathMtuDiscoveryNeedsComesThrough)
{
	policy(R"("endpoints":["web"],"types":["Ingress","Egress"],"egress":[{"ports":[{"protocol":"UDP"}]}])");
	Packet sent = sw.between("web", "db").udp(4000, 53).data(100);
	sw.send("web", sent);
	ASSERT_EQ(sw.take_all("db").size(), 1u);
	Packet error = sw.between("db", "web").icmp(3, 4, 1200);
	Bytes whole = sent.bytes();
	error.payload.assign(whole.begin() + 14, whole.begin() + 14 + 28);
	sw.send("db", error);
	EXPECT_EQ(sw.take_all("web").size(), 1u);
	error.payload[20] ^= 1; // quotes what nobody said
	sw.send("db", error);
	EXPECT_TRUE(sw.nothing("web"));
}

TEST_F(Shape, PoliciesOfAnotherNetworkSayNothing)
{
	sw.network("blue", 200, "10.99.1");
	ASSERT_TRUE(sw.apply(R"({"kind":"Policy","name":"p","network":"blue","endpoints":["db"]})")) << sw.error;
	expect(true, true, true);
}
