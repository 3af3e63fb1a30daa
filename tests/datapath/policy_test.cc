// SPDX-License-Identifier: Apache-2.0
// NetworkPolicy on packets: isolation, replies, changes that bite with the next packet.
#include "switch.hpp"

using namespace weft;

struct Policy : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("web", "10.244.1.5");
		sw.pod("db", "10.244.1.6");
		sw.pod("other", "10.244.1.7");
	}
	void policy(const std::string &name, const std::string &body)
	{
		ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"" + name + "\",\"network\":\"default\",\"tier\":\"network\"," + body + "}")) << sw.error;
	}
	bool reaches(const std::string &from, const std::string &to, uint16_t port, uint8_t proto = 17, uint16_t sport = 0)
	{
		static uint16_t next = 1000;
		Packet p = sw.between(from, to);
		sport = sport != 0 ? sport : next++;
		if (proto == 17)
			p.udp(sport, port);
		else
			p.tcp(sport, port, 2);
		sw.send(from, p);
		return sw.take_all(to).size() == 1;
	}
};

TEST_F(Policy, WithoutPoliciesEverybodyTalks)
{
	EXPECT_TRUE(reaches("web", "db", 5432));
	EXPECT_TRUE(reaches("other", "db", 5432));
}

TEST_F(Policy, ASelectedEndpointIsIsolated)
{
	policy("deny", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"]");
	EXPECT_FALSE(reaches("web", "db", 5432));
	EXPECT_EQ(sw.drops("policy_ingress"), 1u);
	EXPECT_TRUE(reaches("db", "web", 80)) << "egress is not isolated, and the answer passes";
	EXPECT_TRUE(reaches("web", "other", 80));
	EXPECT_EQ(sw.connections(), 2u) << "what is denied creates nothing";
}

TEST_F(Policy, RepliesPassUnderIsolation)
{
	policy("deny", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"]");
	EXPECT_TRUE(reaches("db", "web", 80, 17, 7000));
	sw.send("web", sw.between("web", "db").udp(80, 7000));
	EXPECT_EQ(sw.take_all("db").size(), 1u);
}

TEST_F(Policy, RulesAddUp)
{
	policy("allow-5432", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"accept\",\"from\":[{\"cidr\":\"10.244.1.5/32\"}],"
			     "\"ports\":[{\"protocol\":\"TCP\",\"port\":5432}]}]");
	EXPECT_TRUE(reaches("web", "db", 5432, 6));
	EXPECT_FALSE(reaches("web", "db", 5432, 17)) << "the other protocol";
	EXPECT_FALSE(reaches("web", "db", 5433, 6));
	EXPECT_FALSE(reaches("other", "db", 5432, 6));
	policy("allow-other", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"accept\",\"from\":[{\"cidr\":\"10.244.1.7/32\"}]}]");
	EXPECT_TRUE(reaches("other", "db", 9999));
	EXPECT_TRUE(reaches("web", "db", 5432, 6));
}

TEST_F(Policy, AddressSets)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"AddressSet\",\"name\":\"front\",\"network\":\"default\",\"members\":[\"10.244.1.7\"]}")) << sw.error;
	policy("allow-front", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"accept\",\"from\":[{\"set\":\"front\"}]}]");
	EXPECT_FALSE(reaches("web", "db", 1));
	EXPECT_TRUE(reaches("other", "db", 1));
	ASSERT_TRUE(sw.apply("{\"kind\":\"AddressSet\",\"name\":\"front\",\"network\":\"default\",\"members\":[\"10.244.1.5\"]}")) << sw.error;
	EXPECT_TRUE(reaches("web", "db", 1));
	EXPECT_FALSE(reaches("other", "db", 1));
}

TEST_F(Policy, EgressIsJudgedOnTheTranslatedDestination)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"Service\",\"name\":\"db\",\"network\":\"default\",\"ips\":[\"10.96.0.10\"],\"ports\":["
			     "{\"name\":\"m\",\"protocol\":\"UDP\",\"port\":80,\"targetPort\":5432}],\"backends\":[{\"ip\":\"10.244.1.6\"}]}"))
		<< sw.error;
	policy("egress", "\"endpoints\":[\"web\"],\"types\":[\"Egress\"],\"egress\":[{\"action\":\"accept\",\"to\":[{\"cidr\":\"10.244.1.6/32\"}],"
			 "\"ports\":[{\"protocol\":\"UDP\",\"port\":5432}]}]");
	sw.send("web", sw.to("web", "10.96.0.10").udp(4000, 80));
	EXPECT_EQ(sw.take_all("db").size(), 1u);
	EXPECT_FALSE(reaches("web", "other", 5432));
	EXPECT_EQ(sw.drops("policy_egress"), 1u);
}

TEST_F(Policy, AChangeIsInForceForTheNextPacketOfAnEstablishedFlow)
{
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	sw.send("db", sw.between("db", "web").udp(5432, 4000));
	EXPECT_EQ(sw.take_all("web").size(), 1u);
	policy("deny", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"]");
	EXPECT_FALSE(reaches("web", "db", 5432, 17, 4000));
	sw.send("db", sw.between("db", "web").udp(5432, 4000));
	EXPECT_TRUE(sw.nothing("web")) << "its answers too";
	ASSERT_TRUE(sw.remove("Policy", "deny"));
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	sw.send("db", sw.between("db", "web").udp(5432, 4000));
	EXPECT_EQ(sw.take_all("web").size(), 1u);
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Policy, AChangeElsewhereCostsThisFlowNoDecision)
{
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	struct worker_counters before, after;
	workers_counters(&before);
	for (int i = 0; i < 20; i++)
		policy("deny-other-" + std::to_string(i), "\"endpoints\":[\"other\"],\"types\":[\"Ingress\"]");
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	workers_counters(&after);
	EXPECT_EQ(before.decided, after.decided);
}

TEST_F(Policy, AdminDeniesBeforeNetworkAccepts)
{
	policy("allow", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"accept\"}]");
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"guard\",\"network\":\"default\",\"tier\":\"admin\",\"priority\":1,\"endpoints\":[\"db\"],"
			     "\"types\":[\"Ingress\"],\"ingress\":[{\"action\":\"deny\",\"from\":[{\"cidr\":\"10.244.1.7/32\"}]}]}"))
		<< sw.error;
	EXPECT_FALSE(reaches("other", "db", 1));
	EXPECT_TRUE(reaches("web", "db", 1));
}

TEST_F(Policy, TheNodeReachesItsOwnPodsWhateverThePolicy)
{
	sw.node();
	policy("deny", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\",\"Egress\"]");
	Packet p;
	p.macs("02:00:00:00:ff:01", "02:00:00:00:00:01").ip("192.0.2.1", "10.244.1.6").tcp(40000, 80, 2);
	sw.send("host", p);
	EXPECT_EQ(sw.take_all("db").size(), 1u);
	sw.send("db", sw.to("db", "192.0.2.1").tcp(80, 40000, 0x12));
	EXPECT_EQ(sw.take_all("host").size(), 1u) << "and its probe is answered";
}

TEST_F(Policy, DiscoveryPassesUnderDefaultDeny)
{
	policy("deny", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\",\"Egress\"]");
	sw.give("db", arp(1, sw.mac("db"), "10.244.1.6", "00:00:00:00:00:00", "10.244.1.1"));
	sw.settle();
	EXPECT_EQ(sw.take_all("db").size(), 1u);
}

TEST_F(Policy, ConnectionSemanticsKeepsWhatIsEstablished)
{
	policy("allow", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"semantics\":\"connection\",\"ingress\":[{\"action\":\"accept\"}]");
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	policy("allow", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"semantics\":\"connection\"");
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000)) << "what is established stays";
	EXPECT_FALSE(reaches("web", "db", 5432, 17, 4001)) << "what is new obeys";
}

TEST_F(Policy, ConnectionSemanticsKeepsWhatWasThereBeforeThePolicy)
{
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	policy("late", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"semantics\":\"connection\"");
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000)) << "what is established stays";
	EXPECT_FALSE(reaches("web", "db", 5432, 17, 4001)) << "what is new obeys";
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000)) << "and stays";
}

// C10: only the policy that asks for it keeps what is established, whoever let it in.
TEST_F(Policy, ADenyForEveryPacketEndsWhatAPolicyForConnectionsLetIn)
{
	policy("allow", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"semantics\":\"connection\",\"ingress\":[{}]");
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"guard\",\"network\":\"default\",\"tier\":\"admin\",\"priority\":1,"
			     "\"ingress\":[{\"action\":\"deny\",\"ports\":[{\"protocol\":\"UDP\"}]}]}"))
		<< sw.error;
	EXPECT_FALSE(reaches("web", "db", 5432, 17, 4000));
	sw.send("db", sw.between("db", "web").udp(5432, 4000));
	EXPECT_TRUE(sw.nothing("web")) << "its answers too";
	ASSERT_TRUE(sw.remove("Policy", "guard"));
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
}

TEST_F(Policy, ADenyForConnectionsSparesWhatWasThere)
{
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"guard\",\"network\":\"default\",\"tier\":\"admin\",\"priority\":1,"
			     "\"semantics\":\"connection\",\"ingress\":[{\"action\":\"deny\",\"ports\":[{\"protocol\":\"UDP\"}]}]}"))
		<< sw.error;
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	sw.send("db", sw.between("db", "web").udp(5432, 4000));
	EXPECT_EQ(sw.take_all("web").size(), 1u);
	EXPECT_FALSE(reaches("web", "db", 5432, 17, 4001));
}

TEST_F(Policy, IsolationByBothKindsEndsWhatIsEstablished)
{
	policy("soft", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"semantics\":\"connection\",\"ingress\":[{}]");
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	policy("hard", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"]");
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000)) << "soft still accepts it";
	policy("soft", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"semantics\":\"connection\"");
	EXPECT_FALSE(reaches("web", "db", 5432, 17, 4000)) << "hard denies it, and hard means every packet";
	ASSERT_TRUE(sw.remove("Policy", "hard"));
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000)) << "soft alone spares it";
}

TEST_F(Policy, EachDirectionHasItsOwnSemantics)
{
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	policy("out", "\"endpoints\":[\"web\"],\"types\":[\"Egress\"],\"semantics\":\"connection\"");
	EXPECT_TRUE(reaches("web", "db", 5432, 17, 4000));
	policy("in", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"]");
	EXPECT_FALSE(reaches("web", "db", 5432, 17, 4000));
	EXPECT_EQ(sw.drops("policy_ingress"), 1u);
}

TEST_F(Policy, ADryRunDropsNothing)
{
	policy("dry", "\"endpoints\":[\"db\"],\"types\":[\"Ingress\"],\"enforce\":false");
	EXPECT_TRUE(reaches("web", "db", 1));
}
