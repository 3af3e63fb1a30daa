// SPDX-License-Identifier: Apache-2.0
// What each word of a Policy means, one table a word; then ids, names, errors.
#include <set>

#include <weft/rule_count.h>

#include "policy_spec.hpp"

using namespace policy_spec;

namespace
{

constexpr uint8_t TCP = IPPROTO_TCP, UDP = IPPROTO_UDP, SCTP = IPPROTO_SCTP, ICMP = IPPROTO_ICMP,
		  ICMP6 = IPPROTO_ICMPV6;

class PolicyTest : public testing::Test
{
      protected:
	Tables tables;
	std::vector<struct spec_endpoint_port> ports;
	bool local = true;

	void
	SetUp() override
	{
		ASSERT_EQ(tables.put_endpoint("shop/web-0", 7), 0);
		ASSERT_EQ(tables.put_endpoint("shop/db-0", 8), 0);
	}
	struct policy_verdict
	judge(uint32_t slot, enum policy_direction dir, const std::string &peer, uint8_t protocol = TCP,
	      uint16_t port = 80, int type = -1, int code = 0, uint32_t network = 1)
	{
		struct spec_endpoint dest = {};
		dest.ports = ports.data();
		dest.n_ports = (uint32_t)ports.size();
		struct policy_query q = {};
		q.endpoint = slot;
		q.network = network;
		q.direction = dir;
		q.peer = address(peer);
		q.protocol = protocol;
		q.port = port;
		q.has_icmp = type >= 0;
		q.icmp_type = (uint8_t)(type >= 0 ? type : 0);
		q.icmp_code = (uint8_t)code;
		q.destination = local ? &dest : nullptr;
		struct policy_verdict v;
		policy_judge(&tables.p, &q, &v);
		return v;
	}
	bool
	in(const std::string &peer, uint8_t protocol = TCP, uint16_t port = 80, int type = -1, int code = 0)
	{
		return judge(7, POLICY_INGRESS, peer, protocol, port, type, code).allow;
	}
	bool
	out(const std::string &peer, uint8_t protocol = TCP, uint16_t port = 80)
	{
		return judge(7, POLICY_EGRESS, peer, protocol, port).allow;
	}
	void
	put(const Policy &p)
	{
		ASSERT_EQ(tables.put(p), 0) << tables.error.path << ": " << tables.error.text;
	}
	// One policy of tier network with these rules for ingress.
	void
	ingress(std::vector<Rule> rules)
	{
		Policy p{"p"};
		p.ingress = std::move(rules);
		put(p);
	}
	void
	ports_mean(std::vector<Port> allowed)
	{
		ingress({{RULE_ACCEPT, {}, std::move(allowed)}});
	}
	uint32_t
	rule(const std::string &peer, uint16_t port = 80)
	{
		return judge(7, POLICY_INGRESS, peer, TCP, port).rule;
	}
};

// --- isolation, directions, selection

TEST_F(PolicyTest, NothingSelectedAllowsEverything)
{
	struct policy_verdict v = judge(7, POLICY_INGRESS, "10.0.0.1");
	EXPECT_TRUE(v.allow);
	EXPECT_EQ(v.tier, TIER_COUNT);
	EXPECT_EQ(v.rule, 0u);
	EXPECT_FALSE(v.dry_run.differs);
}

TEST_F(PolicyTest, UnknownEndpointIsAllowed)
{
	put({"p"});
	EXPECT_TRUE(judge(99, POLICY_INGRESS, "10.0.0.1").allow);
}

TEST_F(PolicyTest, SelectedWithoutRulesIsIsolated)
{
	put({"p"});
	struct policy_verdict v = judge(7, POLICY_INGRESS, "10.0.0.1");
	EXPECT_FALSE(v.allow);
	EXPECT_EQ(v.tier, TIER_NETWORK);
	EXPECT_EQ(v.rule, 0u);
	EXPECT_FALSE(in("fd00::1"));
	EXPECT_FALSE(in("10.0.0.1", UDP));
	EXPECT_FALSE(in("10.0.0.1", ICMP, 0, 8));
	EXPECT_FALSE(in("10.0.0.1", 47, 0));
	EXPECT_TRUE(out("10.0.0.1"));
}

TEST_F(PolicyTest, TypesSayWhichDirectionsAreIsolated)
{
	struct {
		bool ingress, egress;
	} table[] = {{true, false}, {false, true}, {true, true}, {false, false}};
	for (auto &row : table) {
		Policy p{"p"};
		p.ingress_type = row.ingress;
		p.egress_type = row.egress;
		put(p);
		EXPECT_EQ(in("10.0.0.1"), !row.ingress);
		EXPECT_EQ(out("10.0.0.1"), !row.egress);
	}
}

TEST_F(PolicyTest, RulesOfADirectionThatIsNotSpokenOfAreIgnored)
{
	Policy p{"p", TIER_ADMIN};
	p.ingress_type = true;
	p.egress = {{RULE_DENY, {}, {}}};
	put(p);
	EXPECT_TRUE(out("10.0.0.1"));
	p.egress_type = true;
	put(p);
	EXPECT_FALSE(out("10.0.0.1"));
}

TEST_F(PolicyTest, EndpointsAbsentIsAllEmptyIsNone)
{
	Policy p{"p"};
	put(p);
	EXPECT_FALSE(judge(7, POLICY_INGRESS, "10.0.0.1").allow);
	EXPECT_FALSE(judge(8, POLICY_INGRESS, "10.0.0.1").allow);
	p.endpoints.emplace();
	put(p);
	EXPECT_TRUE(judge(7, POLICY_INGRESS, "10.0.0.1").allow);
	p.endpoints = {"shop/web-0"};
	put(p);
	EXPECT_FALSE(judge(7, POLICY_INGRESS, "10.0.0.1").allow);
	EXPECT_TRUE(judge(8, POLICY_INGRESS, "10.0.0.1").allow);
}

TEST_F(PolicyTest, ANetworkIsItsOwn)
{
	ASSERT_EQ(tables.put_endpoint("other/x", 9, 2), 0);
	Policy p{"p"};
	p.endpoints = {"shop/web-0", "other/x"};
	put(p);
	EXPECT_FALSE(judge(7, POLICY_INGRESS, "10.0.0.1").allow);
	EXPECT_TRUE(judge(9, POLICY_INGRESS, "10.0.0.1", TCP, 80, -1, 0, 2).allow);
	p.network = 2;
	put(p);
	EXPECT_TRUE(judge(7, POLICY_INGRESS, "10.0.0.1").allow);
	EXPECT_FALSE(judge(9, POLICY_INGRESS, "10.0.0.1", TCP, 80, -1, 0, 2).allow);
}

TEST_F(PolicyTest, AnEndpointThatComesLaterIsSelected)
{
	Policy p{"p"};
	p.endpoints = {"shop/new", "shop/web-0", "shop/web-0"};
	put(p);
	put({"all", TIER_ADMIN, 1, {}, {{RULE_DENY, {}, {{UDP}}}}});
	ASSERT_EQ(tables.put_endpoint("shop/new", 20), 0);
	EXPECT_EQ(tables.bumped, std::set<uint32_t>{20});
	EXPECT_FALSE(judge(20, POLICY_INGRESS, "10.0.0.1").allow);
	EXPECT_EQ(judge(20, POLICY_INGRESS, "10.0.0.1", UDP).tier, TIER_ADMIN);
	tables.remove_endpoint("shop/new");
	EXPECT_TRUE(judge(20, POLICY_INGRESS, "10.0.0.1").allow);
	ASSERT_EQ(tables.put_endpoint("shop/new", 21), 0);
	EXPECT_FALSE(judge(21, POLICY_INGRESS, "10.0.0.1").allow);
}

TEST_F(PolicyTest, AnEndpointKeepsItsSlotToItself)
{
	EXPECT_EQ(tables.put_endpoint("shop/web-0", 7), 0);
	EXPECT_TRUE(tables.bumped.empty());
	EXPECT_EQ(tables.put_endpoint("shop/thief", 7), -EEXIST);
	EXPECT_EQ(tables.put_endpoint("shop/none", 0), -EINVAL);
	EXPECT_EQ(tables.put_endpoint(std::string(254, 'x'), 30), -ENAMETOOLONG);
	EXPECT_EQ(tables.put_endpoint(std::string(253, 'x'), 30), 0);
}

// --- peers

TEST_F(PolicyTest, NoPeersIsEveryPeerOfBothFamilies)
{
	ingress({{RULE_ACCEPT, {}, {}}});
	for (auto peer : {"10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "fd00::1"})
		EXPECT_TRUE(in(peer)) << peer;
}

TEST_F(PolicyTest, TheWholeOfOneFamilyIsNotTheOther)
{
	ingress({{RULE_ACCEPT, {in_cidr("::/0")}, {}}});
	EXPECT_TRUE(in("fd00::1"));
	EXPECT_TRUE(in("::1"));
	EXPECT_FALSE(in("10.0.0.1"));
	ingress({{RULE_ACCEPT, {in_cidr("0.0.0.0/0")}, {}}});
	EXPECT_FALSE(in("fd00::1"));
	EXPECT_FALSE(in("::1"));
	EXPECT_TRUE(in("10.0.0.1"));
}

TEST_F(PolicyTest, CidrBordersAreExact)
{
	ingress({{RULE_ACCEPT, {in_cidr("10.1.2.128/25"), in_cidr("fd00:0:0:1::/64")}, {}}});
	struct {
		const char *peer;
		bool allow;
	} table[] = {{"10.1.2.127", false}, {"10.1.2.128", true},   {"10.1.2.255", true},
		     {"10.1.3.0", false},   {"fd00:0:0:1::", true}, {"fd00:0:0:1:ffff:ffff:ffff:ffff", true},
		     {"fd00::", false},     {"fd00:0:0:2::", false}};
	for (auto &row : table)
		EXPECT_EQ(in(row.peer), row.allow) << row.peer;
}

TEST_F(PolicyTest, ExceptionsAreTakenOut)
{
	ingress({{RULE_ACCEPT, {in_cidr("10.0.0.0/8", {"10.1.0.0/16", "10.2.3.4/32", "10.1.2.0/24"})}, {}}});
	struct {
		const char *peer;
		bool allow;
	} table[] = {{"10.0.255.255", true}, {"10.1.0.0", false}, {"10.1.255.255", false}, {"10.2.0.0", true},
		     {"10.2.3.4", false},    {"10.2.3.5", true},  {"10.1.2.9", false},     {"11.0.0.0", false}};
	for (auto &row : table)
		EXPECT_EQ(in(row.peer), row.allow) << row.peer;
}

TEST_F(PolicyTest, AnExceptionCountsForItsOwnPeerOnly)
{
	/* In Kubernetes an exception forbids nothing: another peer or rule may still allow the address. */
	ingress({{RULE_ACCEPT, {in_cidr("10.0.0.0/8", {"10.1.0.0/16"}), in_cidr("10.1.2.0/24")}, {}}});
	EXPECT_TRUE(in("10.1.2.3"));
	EXPECT_FALSE(in("10.1.3.3"));
	ingress({{RULE_ACCEPT, {in_cidr("10.0.0.0/8", {"10.1.0.0/16"})}, {}},
		 {RULE_ACCEPT, {in_cidr("10.0.0.0/8", {"10.2.0.0/16"})}, {}}});
	EXPECT_TRUE(in("10.1.0.1"));
	EXPECT_TRUE(in("10.2.0.1"));
}

TEST_F(PolicyTest, PeersAreOredPeersAndPortsAnded)
{
	ingress({{RULE_ACCEPT, {in_cidr("10.1.0.0/16"), in_cidr("10.2.0.0/16")}, {{TCP, 80}, {TCP, 443}}},
		 {RULE_ACCEPT, {in_cidr("10.3.0.0/16")}, {{TCP, 22}}}});
	for (auto peer : {"10.1.0.1", "10.2.0.1"}) {
		EXPECT_TRUE(in(peer, TCP, 80));
		EXPECT_TRUE(in(peer, TCP, 443));
		EXPECT_FALSE(in(peer, TCP, 22));
	}
	EXPECT_TRUE(in("10.3.0.1", TCP, 22));
	EXPECT_FALSE(in("10.3.0.1", TCP, 80));
}

// --- sets

TEST_F(PolicyTest, ASetThatDoesNotExistIsEmpty)
{
	ingress({{RULE_ACCEPT, {in_set("s")}, {}}});
	EXPECT_FALSE(in("10.0.0.1"));
	EXPECT_NE(address_set_user(&tables.p, "s"), nullptr);
	ASSERT_EQ(tables.put_set("s", {"10.0.0.1", "fd00::/16"}), 0);
	EXPECT_EQ(tables.bumped, (std::set<uint32_t>{7, 8}));
	EXPECT_TRUE(in("10.0.0.1"));
	EXPECT_TRUE(in("fd00::9"));
	EXPECT_FALSE(in("10.0.0.2"));
	ASSERT_EQ(tables.remove_set("s"), 0);
	EXPECT_EQ(tables.bumped, (std::set<uint32_t>{7, 8}));
	EXPECT_FALSE(in("10.0.0.1"));
	EXPECT_EQ(tables.remove_set("s"), -ENOENT);
	EXPECT_NE(address_set_user(&tables.p, "s"), nullptr);
	ASSERT_EQ(tables.remove("p"), 0);
	EXPECT_EQ(address_set_user(&tables.p, "s"), nullptr);
	EXPECT_EQ(tables.p.set_by_name.count, 0u);
}

TEST_F(PolicyTest, ASetIsSharedAndOutlivesItsPolicies)
{
	ASSERT_EQ(tables.put_set("s", {"10.0.0.1"}), 0);
	EXPECT_EQ(address_set_user(&tables.p, "s"), nullptr);
	put({"p", TIER_NETWORK, 0, {{"shop/web-0"}}, {{RULE_ACCEPT, {in_set("s")}, {}}}});
	put({"q", TIER_NETWORK, 0, {{"shop/db-0"}}, {{RULE_ACCEPT, {in_set("s")}, {{TCP, 5432}}}}});
	EXPECT_TRUE(in("10.0.0.1"));
	EXPECT_TRUE(judge(8, POLICY_INGRESS, "10.0.0.1", TCP, 5432).allow);
	EXPECT_FALSE(judge(8, POLICY_INGRESS, "10.0.0.1", TCP, 80).allow);
	ASSERT_EQ(tables.remove("p"), 0);
	EXPECT_NE(address_set_user(&tables.p, "s"), nullptr);
	ASSERT_EQ(tables.remove("q"), 0);
	EXPECT_EQ(address_set_user(&tables.p, "s"), nullptr);
	EXPECT_EQ(tables.p.set_by_name.count, 1u);
}

TEST_F(PolicyTest, OnlyUsersOfASetAreBumped)
{
	put({"p", TIER_NETWORK, 0, {{"shop/web-0"}}, {{RULE_ACCEPT, {in_set("s")}, {}}}});
	put({"q", TIER_NETWORK, 0, {{"shop/db-0"}}, {{RULE_ACCEPT, {in_set("t")}, {}}}});
	ASSERT_EQ(tables.put_set("s", {"10.0.0.1"}), 0);
	EXPECT_EQ(tables.bumped, std::set<uint32_t>{7});
	ASSERT_EQ(tables.put_set("s", {"10.0.0.1", "10.0.0.1"}), 0);
	EXPECT_TRUE(tables.bumped.empty());
	ASSERT_EQ(tables.put_set("u", {"10.0.0.1"}), 0);
	EXPECT_TRUE(tables.bumped.empty());
}

TEST_F(PolicyTest, MembersMayOverlapAndRepeat)
{
	ingress({{RULE_ACCEPT, {in_set("s")}, {}}});
	ASSERT_EQ(tables.put_set("s", {"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.1.2.3/32"}), 0);
	EXPECT_TRUE(in("10.1.2.3"));
	ASSERT_EQ(tables.patch_set("s", {}, {"10.1.2.3", "192.0.2.1"}), 0);
	EXPECT_TRUE(in("10.1.2.3"));
	ASSERT_EQ(tables.patch_set("s", {"10.1.2.4"}, {"10.0.0.0/8", "10.1.0.0/16"}), 0);
	EXPECT_FALSE(in("10.1.2.3"));
	EXPECT_TRUE(in("10.1.2.4"));
	EXPECT_EQ(tables.patch_set("missing", {"10.0.0.1"}, {}), -ENOENT);
}

TEST_F(PolicyTest, AnAddressInManySetsIsInEach)
{
	std::vector<Rule> rules;
	for (int i = 0; i < 600; i++) {
		std::string name = "s" + std::to_string(i);
		ASSERT_EQ(tables.put_set(name, {"10.0.0.1", "10.0.0.0/24"}), 0);
		rules.push_back({RULE_ACCEPT, {in_set(name)}, {{TCP, (uint16_t)(1000 + i)}}});
	}
	ingress(rules);
	for (int i = 0; i < 600; i++) {
		EXPECT_TRUE(in("10.0.0.1", TCP, (uint16_t)(1000 + i)));
		EXPECT_TRUE(in("10.0.0.9", TCP, (uint16_t)(1000 + i)));
	}
	EXPECT_FALSE(in("10.0.0.1", TCP, 1600));
	/* The other way round: many sets, a group that speaks of few. */
	ingress({rules[77], {RULE_ACCEPT, {in_cidr("10.0.0.0/16", {"10.0.0.8/30"})}, {{TCP, 53}}}});
	EXPECT_TRUE(in("10.0.0.1", TCP, 1077));
	EXPECT_FALSE(in("10.0.0.1", TCP, 1078));
	EXPECT_TRUE(in("10.0.0.1", TCP, 53));
	EXPECT_FALSE(in("10.0.0.9", TCP, 53));
}

TEST_F(PolicyTest, ASetIsOfItsNetwork)
{
	ingress({{RULE_ACCEPT, {in_set("s")}, {}}});
	ASSERT_EQ(tables.put_set("s", {"10.0.0.1"}, 2), 0);
	EXPECT_FALSE(in("10.0.0.1"));
	ASSERT_EQ(tables.put_set("s", {"10.0.0.1"}, 1), 0);
	EXPECT_TRUE(in("10.0.0.1"));
}

// --- ports and protocols

TEST_F(PolicyTest, NoPortsIsEveryProtocolAndPort)
{
	ingress({{RULE_ACCEPT, {in_cidr("10.0.0.0/8")}, {}}});
	for (uint8_t protocol : {TCP, UDP, SCTP, ICMP, (uint8_t)0, (uint8_t)47, (uint8_t)50, (uint8_t)255})
		EXPECT_TRUE(in("10.0.0.1", protocol, 0)) << (int)protocol;
}

TEST_F(PolicyTest, AnEntryWithoutPortIsTheWholeProtocol)
{
	ports_mean({{UDP}});
	EXPECT_TRUE(in("10.0.0.1", UDP, 1));
	EXPECT_TRUE(in("10.0.0.1", UDP, 65535));
	EXPECT_FALSE(in("10.0.0.1", TCP, 1));
	EXPECT_FALSE(in("10.0.0.1", SCTP, 1));
	ports_mean({{50}, {0}});
	EXPECT_TRUE(in("10.0.0.1", 50, 0));
	EXPECT_TRUE(in("10.0.0.1", 0, 0));
	EXPECT_FALSE(in("10.0.0.1", 51, 0));
}

TEST_F(PolicyTest, APortIsOfItsProtocol)
{
	ports_mean({{TCP, 80}, {UDP, 53}, {SCTP, 3868}});
	EXPECT_TRUE(in("10.0.0.1", TCP, 80));
	EXPECT_TRUE(in("10.0.0.1", UDP, 53));
	EXPECT_TRUE(in("10.0.0.1", SCTP, 3868));
	EXPECT_FALSE(in("10.0.0.1", TCP, 53));
	EXPECT_FALSE(in("10.0.0.1", UDP, 80));
	EXPECT_FALSE(in("10.0.0.1", TCP, 79));
	EXPECT_FALSE(in("10.0.0.1", TCP, 81));
}

TEST_F(PolicyTest, EveryRangeIsExact)
{
	const uint16_t edges[] = {1, 2, 3, 7, 8, 1023, 1024, 1025, 32767, 32768, 65534, 65535};
	for (uint16_t first : edges) {
		for (uint16_t last : edges) {
			if (last < first)
				continue;
			ports_mean({{TCP, first, last}});
			for (uint16_t edge : edges) {
				for (int d = -1; d <= 1; d++) {
					uint16_t port = (uint16_t)(edge + d);
					ASSERT_EQ(in("10.0.0.1", TCP, port), port >= first && port <= last)
						<< first << "-" << last << ": " << port;
				}
			}
		}
	}
}

TEST_F(PolicyTest, ARangeHasAllItsPortsAndNoOther)
{
	ports_mean({{TCP, 1001, 54321}});
	for (uint32_t port = 0; port <= 65535; port++)
		ASSERT_EQ(in("10.0.0.1", TCP, (uint16_t)port), port >= 1001 && port <= 54321) << port;
}

TEST_F(PolicyTest, OverlappingPortsOfOneRule)
{
	ports_mean({{TCP, 80}, {TCP, 80}, {TCP, 80, 90}, {TCP, 85, 95}, {TCP}});
	EXPECT_TRUE(in("10.0.0.1", TCP, 85));
	EXPECT_TRUE(in("10.0.0.1", TCP, 1));
	ASSERT_EQ(tables.remove("p"), 0);
	EXPECT_TRUE(in("10.0.0.1", TCP, 1));
	EXPECT_EQ(tables.p.group.count, 0u);
}

TEST_F(PolicyTest, IcmpTypesAndCodes)
{
	ports_mean({{ICMP, 0, 0, "", 8}, {ICMP, 0, 0, "", 3, 4}, {ICMP6, 0, 0, "", 128, 0}});
	struct {
		uint8_t protocol;
		int type, code;
		bool allow;
	} table[] = {{ICMP, 8, 0, true},     {ICMP, 8, 9, true},   {ICMP, 0, 0, false},
		     {ICMP, 3, 4, true},     {ICMP, 3, 1, false},  {ICMP6, 128, 0, true},
		     {ICMP6, 128, 1, false}, {ICMP6, 8, 0, false}, {ICMP, -1, 0, false}};
	for (auto &row : table)
		EXPECT_EQ(in("10.0.0.1", row.protocol, 0, row.type, row.code), row.allow)
			<< (int)row.protocol << " " << row.type << "/" << row.code;
	ports_mean({{ICMP}});
	EXPECT_TRUE(in("10.0.0.1", ICMP, 0, 200, 7));
	EXPECT_TRUE(in("10.0.0.1", ICMP, 0));
	EXPECT_FALSE(in("10.0.0.1", ICMP6, 0, 128));
}

TEST_F(PolicyTest, ANamedPortIsTheDestinations)
{
	ports_mean({{TCP, 0, 0, "http"}, {UDP, 0, 0, "dns"}});
	ports = {{"http", TCP, 8080}, {"dns", UDP, 53}, {"dns", TCP, 53}, {"web", TCP, 8080}, {nullptr, TCP, 1}};
	EXPECT_TRUE(in("10.0.0.1", TCP, 8080));
	EXPECT_TRUE(in("10.0.0.1", UDP, 53));
	EXPECT_FALSE(in("10.0.0.1", TCP, 53));
	EXPECT_FALSE(in("10.0.0.1", UDP, 8080));
	EXPECT_FALSE(in("10.0.0.1", TCP, 80));
	/* Another pod calls it otherwise. */
	ports = {{"http", TCP, 80}};
	EXPECT_TRUE(in("10.0.0.1", TCP, 80));
	EXPECT_FALSE(in("10.0.0.1", TCP, 8080));
	/* The same number under two names, the same name for two numbers. */
	ports = {{"a", TCP, 81}, {"http", TCP, 81}, {"http", TCP, 82}};
	EXPECT_TRUE(in("10.0.0.1", TCP, 81));
	EXPECT_TRUE(in("10.0.0.1", TCP, 82));
	local = false;
	EXPECT_FALSE(in("10.0.0.1", TCP, 81));
}

TEST_F(PolicyTest, PortNamesAreForgotten)
{
	ports_mean({{TCP, 0, 0, "http"}, {TCP, 0, 0, "http"}, {UDP, 0, 0, "http"}});
	put({"q", TIER_NETWORK, 0, {}, {{RULE_ACCEPT, {}, {{TCP, 0, 0, "http"}}}}});
	EXPECT_EQ(tables.p.name.count, 1u);
	ASSERT_EQ(tables.remove("p"), 0);
	EXPECT_EQ(tables.p.name.count, 1u);
	ASSERT_EQ(tables.remove("q"), 0);
	EXPECT_EQ(tables.p.name.count, 0u);
}

// --- tiers

TEST_F(PolicyTest, NetworkPoliciesAddUp)
{
	put({"a", TIER_NETWORK, 9, {}, {{RULE_ACCEPT, {in_cidr("10.1.0.0/16")}, {}}}});
	put({"b", TIER_NETWORK, 1, {}, {{RULE_ACCEPT, {in_cidr("10.2.0.0/16")}, {}}}});
	put({"c"});
	EXPECT_TRUE(in("10.1.0.1"));
	EXPECT_TRUE(in("10.2.0.1"));
	EXPECT_FALSE(in("10.3.0.1"));
}

/* Rows: what admin, network (- none selects, A accepts, 0 isolates only), baseline say; who decides. */
TEST_F(PolicyTest, TiersInOrder)
{
	struct {
		char admin, network, baseline;
		bool allow;
		int tier;
	} table[] = {
		{'-', '-', '-', true, TIER_COUNT},     {'A', '-', '-', true, TIER_ADMIN},
		{'D', '-', '-', false, TIER_ADMIN},    {'P', '-', '-', true, TIER_COUNT},
		{'A', '0', 'D', true, TIER_ADMIN},     {'D', 'A', 'A', false, TIER_ADMIN},
		{'P', 'A', 'D', true, TIER_NETWORK},   {'P', '0', 'A', false, TIER_NETWORK},
		{'-', 'A', 'D', true, TIER_NETWORK},   {'-', '0', 'A', false, TIER_NETWORK},
		{'-', '-', 'A', true, TIER_BASELINE},  {'-', '-', 'D', false, TIER_BASELINE},
		{'P', '-', 'D', false, TIER_BASELINE}, {'P', '-', 'A', true, TIER_BASELINE},
		{'-', '-', 'P', true, TIER_COUNT},     {'P', '-', 'P', true, TIER_COUNT},
		{'D', '-', 'A', false, TIER_ADMIN},    {'A', '-', 'D', true, TIER_ADMIN},
	};
	auto action = [](char c) { return c == 'A' ? RULE_ACCEPT : c == 'D' ? RULE_DENY : RULE_PASS; };
	for (auto &row : table) {
		for (auto name : {"a", "n", "b"})
			tables.remove(name);
		if (row.admin != '-')
			put({"a", TIER_ADMIN, 5, {}, {{action(row.admin), {in_cidr("10.0.0.0/8")}, {}}}});
		if (row.network != '-')
			put({"n",
			     TIER_NETWORK,
			     0,
			     {},
			     row.network == 'A' ? std::vector<Rule>{{}} : std::vector<Rule>{}});
		if (row.baseline != '-')
			put({"b", TIER_BASELINE, 5, {}, {{action(row.baseline), {in_cidr("10.0.0.0/8")}, {}}}});
		struct policy_verdict v = judge(7, POLICY_INGRESS, "10.0.0.1");
		EXPECT_EQ(v.allow, row.allow) << row.admin << row.network << row.baseline;
		EXPECT_EQ(v.tier, row.tier) << row.admin << row.network << row.baseline;
	}
}

TEST_F(PolicyTest, LowerPriorityFirstThenName)
{
	put({"z", TIER_ADMIN, 1, {}, {{RULE_DENY, {}, {}}}});
	put({"a", TIER_ADMIN, 2, {}, {{RULE_ACCEPT, {}, {}}}});
	EXPECT_FALSE(in("10.0.0.1"));
	put({"a", TIER_ADMIN, 0, {}, {{RULE_ACCEPT, {}, {}}}});
	EXPECT_TRUE(in("10.0.0.1"));
	put({"a", TIER_ADMIN, 1, {}, {{RULE_ACCEPT, {}, {}}}});
	EXPECT_TRUE(in("10.0.0.1"));
	put({"B", TIER_ADMIN, 1, {}, {{RULE_DENY, {}, {}}}});
	EXPECT_FALSE(in("10.0.0.1")) << "names are compared by bytes";
}

TEST_F(PolicyTest, TheFirstRuleThatMatches)
{
	Rule accept{RULE_ACCEPT, {in_cidr("10.0.0.0/24")}, {{TCP, 80}}}, deny{RULE_DENY, {in_cidr("10.0.0.0/8")}, {}},
		pass{RULE_PASS, {in_cidr("10.0.0.1")}, {{TCP, 1, 100}}};
	Policy p{"p", TIER_ADMIN};
	put({"n"});
	struct {
		std::vector<Rule> rules;
		bool allow;
		int tier;
	} table[] = {{{accept, deny, pass}, true, TIER_ADMIN},
		     {{deny, accept, pass}, false, TIER_ADMIN},
		     {{pass, deny, accept}, false, TIER_NETWORK},
		     {{pass, accept, deny}, false, TIER_NETWORK}};
	for (auto &row : table) {
		p.ingress = row.rules;
		put(p);
		struct policy_verdict v = judge(7, POLICY_INGRESS, "10.0.0.1");
		EXPECT_EQ(v.allow, row.allow);
		EXPECT_EQ(v.tier, row.tier);
	}
}

TEST_F(PolicyTest, PassSkipsTheRestOfTheTierAlsoInOtherPolicies)
{
	put({"first", TIER_ADMIN, 1, {}, {{RULE_PASS, {in_cidr("10.0.0.1")}, {}}}});
	put({"second", TIER_ADMIN, 2, {}, {{RULE_DENY, {}, {}}}});
	EXPECT_TRUE(in("10.0.0.1"));
	EXPECT_FALSE(in("10.0.0.2"));
	put({"base", TIER_BASELINE, 1, {}, {{RULE_DENY, {}, {{TCP, 22}}}}});
	EXPECT_FALSE(in("10.0.0.1", TCP, 22));
}

// --- enforce, semantics, log

TEST_F(PolicyTest, NotEnforcedIsJudgedButDoesNotCount)
{
	Policy p{"p"};
	p.enforce = false;
	p.log = true;
	p.ingress = {{RULE_ACCEPT, {in_cidr("10.1.0.0/16")}, {}}};
	put(p);
	struct policy_verdict v = judge(7, POLICY_INGRESS, "10.2.0.1");
	EXPECT_TRUE(v.allow);
	EXPECT_EQ(v.tier, TIER_COUNT);
	EXPECT_FALSE(v.log);
	EXPECT_TRUE(v.dry_run.differs);
	EXPECT_FALSE(v.dry_run.allow);
	EXPECT_TRUE(v.dry_run.log);
	EXPECT_EQ(v.dry_run.tier, TIER_NETWORK);
	v = judge(7, POLICY_INGRESS, "10.1.0.1");
	EXPECT_TRUE(v.allow);
	EXPECT_EQ(v.rule, 0u);
	EXPECT_TRUE(v.dry_run.differs);
	EXPECT_TRUE(v.dry_run.allow);
	EXPECT_EQ(tables.rule_name(v.dry_run.rule), "p ingress[0]");
	p.enforce = true;
	put(p);
	v = judge(7, POLICY_INGRESS, "10.2.0.1");
	EXPECT_FALSE(v.allow);
	EXPECT_FALSE(v.dry_run.differs);
	EXPECT_FALSE(v.dry_run.allow);
}

TEST_F(PolicyTest, ADryRunRunsBesideWhatIsEnforced)
{
	Policy trial{"trial", TIER_ADMIN, 1};
	trial.enforce = false;
	trial.ingress = {{RULE_DENY, {in_cidr("10.1.0.0/16")}, {}}};
	put(trial);
	put({"real", TIER_ADMIN, 2, {}, {{RULE_ACCEPT, {in_cidr("10.0.0.0/8")}, {}}}});
	struct policy_verdict v = judge(7, POLICY_INGRESS, "10.1.0.1");
	EXPECT_TRUE(v.allow);
	EXPECT_EQ(tables.rule_name(v.rule), "real ingress[0]");
	EXPECT_FALSE(v.dry_run.allow);
	EXPECT_EQ(tables.rule_name(v.dry_run.rule), "trial ingress[0]");
	v = judge(7, POLICY_INGRESS, "10.2.0.1");
	EXPECT_FALSE(v.dry_run.differs);
	EXPECT_EQ(v.dry_run.rule, v.rule);
}

TEST_F(PolicyTest, SemanticsAndLogAreTheDecidingPolicys)
{
	Policy p{"p"};
	p.connection = true;
	p.log = true;
	p.ingress = {{RULE_ACCEPT, {in_cidr("10.1.0.0/16")}, {}}};
	put(p);
	Policy q{"q"};
	q.ingress = {{RULE_ACCEPT, {in_cidr("10.2.0.0/16")}, {}}};
	EXPECT_TRUE(judge(7, POLICY_INGRESS, "10.1.0.1").connection_semantics);
	EXPECT_TRUE(judge(7, POLICY_INGRESS, "10.3.0.1").connection_semantics);
	put(q);
	EXPECT_TRUE(judge(7, POLICY_INGRESS, "10.1.0.1").connection_semantics);
	EXPECT_TRUE(judge(7, POLICY_INGRESS, "10.1.0.1").log);
	EXPECT_FALSE(judge(7, POLICY_INGRESS, "10.2.0.1").connection_semantics);
	EXPECT_FALSE(judge(7, POLICY_INGRESS, "10.2.0.1").log);
	struct policy_verdict v = judge(7, POLICY_INGRESS, "10.3.0.1");
	EXPECT_FALSE(v.allow);
	EXPECT_FALSE(v.connection_semantics) << "q wants the change at once";
	EXPECT_TRUE(v.log);
	p.connection = false;
	put(p);
	EXPECT_FALSE(judge(7, POLICY_INGRESS, "10.1.0.1").connection_semantics);
}

// --- what changes, and who is told

TEST_F(PolicyTest, TheSameAgainChangesNothing)
{
	Policy p{"p", TIER_ADMIN, 3, {{"shop/web-0"}}, {{RULE_DENY, {in_set("s")}, {{TCP, 1, 9}}, "x"}}};
	put(p);
	EXPECT_EQ(tables.bumped, std::set<uint32_t>{7});
	uint32_t count = tables.p.rule.count;
	put(p);
	EXPECT_TRUE(tables.bumped.empty());
	EXPECT_EQ(tables.p.rule.count, count);
}

TEST_F(PolicyTest, BumpsAreTheEndpointsConcerned)
{
	Policy p{"p", TIER_NETWORK, 0, {{"shop/web-0"}}};
	put(p);
	p.endpoints = {"shop/web-0", "shop/db-0"};
	put(p);
	EXPECT_EQ(tables.bumped, std::set<uint32_t>{8}) << "nothing changed for the one that was there";
	p.ingress = {{}};
	put(p);
	EXPECT_EQ(tables.bumped, (std::set<uint32_t>{7, 8}));
	p.endpoints = {"shop/db-0"};
	put(p);
	EXPECT_EQ(tables.bumped, std::set<uint32_t>{7});
	p.log = true;
	put(p);
	EXPECT_EQ(tables.bumped, std::set<uint32_t>{8});
	ASSERT_EQ(tables.insert("p", POLICY_INGRESS, 0, {RULE_ACCEPT, {in_set("s")}, {}}), 0);
	EXPECT_EQ(tables.bumped, std::set<uint32_t>{8});
	ASSERT_EQ(tables.remove("p"), 0);
	EXPECT_EQ(tables.bumped, std::set<uint32_t>{8});
	EXPECT_EQ(tables.remove("p"), -ENOENT);
}

TEST_F(PolicyTest, RuleIdsStayWithTheirRules)
{
	auto one = [](int i) { return Rule{RULE_ACCEPT, {in_cidr("10.0.0." + std::to_string(i))}, {}}; };
	ingress({one(1), one(2), one(3)});
	uint32_t id[] = {0, rule("10.0.0.1"), rule("10.0.0.2"), rule("10.0.0.3")};
	EXPECT_EQ(tables.rule_name(id[2]), "p ingress[1]");
	ingress({one(0), one(3), one(1), one(4), one(2)});
	for (int i = 1; i <= 3; i++)
		EXPECT_EQ(rule("10.0.0." + std::to_string(i)), id[i]);
	EXPECT_EQ(tables.rule_name(id[2]), "p ingress[4]");
	EXPECT_EQ(tables.rule_name(id[3]), "p ingress[1]");
	ASSERT_EQ(tables.erase("p", POLICY_INGRESS, 0), 0);
	EXPECT_EQ(tables.rule_name(id[2]), "p ingress[3]");
	EXPECT_EQ(rule("10.0.0.2"), id[2]);
	Policy p{"p", TIER_ADMIN, 4};
	p.ingress = {one(2)};
	put(p);
	EXPECT_EQ(rule("10.0.0.2"), id[2]) << "another tier, the same rule";
	EXPECT_EQ(tables.rule_name(id[1]), "") << "gone";
	EXPECT_EQ(tables.rule_name(0), "");
	EXPECT_EQ(tables.rule_name(123456), "");
}

TEST_F(PolicyTest, ARuleNameIsCutToItsBuffer)
{
	ingress({{}});
	char buf[8];
	EXPECT_TRUE(policy_rule_name(&tables.p, rule("10.0.0.1"), buf, sizeof(buf)));
	EXPECT_STREQ(buf, "p ingre");
}

TEST_F(PolicyTest, EqualRulesAreToldApart)
{
	Rule same{RULE_DENY, {in_cidr("10.0.0.0/8")}, {{TCP, 80}}};
	Policy p{"p", TIER_ADMIN};
	p.ingress = {same, same, same};
	put(p);
	std::set<uint32_t> ids;
	for (int n = 3; n > 0; n--) {
		EXPECT_EQ(tables.rule_name(rule("10.0.0.1")), "p ingress[0]");
		ids.insert(rule("10.0.0.1"));
		ASSERT_EQ(tables.erase("p", POLICY_INGRESS, 0), 0);
	}
	EXPECT_EQ(ids.size(), 3u);
	EXPECT_TRUE(in("10.0.0.1"));
}

TEST_F(PolicyTest, ManyInsertsAtOnePlaceKeepTheOrder)
{
	Policy p{"p", TIER_ADMIN};
	p.ingress = {{RULE_DENY, {in_cidr("10.255.0.0/16")}, {{TCP, 1}}}, {RULE_DENY, {}, {{TCP, 2}}}};
	put(p);
	/* Each before the last one that was put there: the gap between two ranks is used up several times over. */
	for (int i = 0; i < 300; i++) {
		Rule r{i % 2 ? RULE_DENY : RULE_ACCEPT, {in_cidr("10.0.0.0/8")}, {}};
		ASSERT_EQ(tables.insert("p", POLICY_INGRESS, 1, r), 0);
		ASSERT_EQ(in("10.0.0.1"), i % 2 == 0) << i;
		ASSERT_EQ(tables.rule_name(rule("10.0.0.1")), "p ingress[1]");
	}
	for (int i = 300; i > 0; i--)
		ASSERT_EQ(tables.insert("p", POLICY_INGRESS, 0, {RULE_ACCEPT, {in_cidr("10.7.0.0/16")}, {}}), 0);
	EXPECT_TRUE(in("10.7.0.1"));
	EXPECT_EQ(tables.rule_name(rule("10.0.0.1")), "p ingress[301]");
}

TEST_F(PolicyTest, EndpointsOfTheSamePoliciesShareAGroup)
{
	for (uint32_t i = 0; i < 250; i++)
		ASSERT_EQ(tables.put_endpoint("e" + std::to_string(i), 1000 + i), 0);
	put({"a"});
	put({"b"});
	EXPECT_EQ(tables.p.group.count, 1u);
	put({"c", TIER_NETWORK, 0, {{"e1", "e2", "e3"}}});
	EXPECT_EQ(tables.p.group.count, 2u);
	put({"d", TIER_NETWORK, 0, {{"e3"}}});
	EXPECT_EQ(tables.p.group.count, 3u);
	tables.remove("c");
	EXPECT_EQ(tables.p.group.count, 2u);
	tables.remove("d");
	EXPECT_EQ(tables.p.group.count, 1u);
}

TEST_F(PolicyTest, AnAbortedTransactionLeavesNoTrace)
{
	ingress({{RULE_ACCEPT, {in_set("s")}, {{TCP, 80}}}});
	ASSERT_EQ(tables.put_set("s", {"10.0.0.1"}), 0);
	uint32_t id = rule("10.0.0.1");
	tables.begin();
	tables.put({"q", TIER_ADMIN, 1, {}, {{RULE_DENY, {}, {}}}});
	tables.remove("p");
	tables.remove_set("s");
	tables.remove_endpoint("shop/web-0");
	tables.put_endpoint("shop/other", 7);
	EXPECT_FALSE(in("10.0.0.1"));
	tables.abort();
	EXPECT_TRUE(in("10.0.0.1"));
	EXPECT_FALSE(in("10.0.0.2"));
	EXPECT_EQ(rule("10.0.0.1"), id);
	EXPECT_EQ(tables.rule_name(id), "p ingress[0]");
	ASSERT_EQ(tables.patch_set("s", {"10.0.0.2"}, {"10.0.0.1"}), 0);
	EXPECT_FALSE(in("10.0.0.1"));
	EXPECT_TRUE(in("10.0.0.2"));
}

// --- refusals

struct Refused {
	const char *label;
	Policy policy;
	const char *path, *text;
};

TEST_F(PolicyTest, RefusalsSayWhereAndWhy)
{
	auto with = [](std::vector<Rule> rules, enum policy_tier tier = TIER_NETWORK) {
		Policy p{"bad", tier};
		p.ingress = std::move(rules);
		return p;
	};
	auto port = [&](Port p) { return with({{}, {RULE_ACCEPT, {}, {{TCP, 80}, p}}}); };
	Policy egress{"bad"};
	egress.egress = {{RULE_ACCEPT, {in_cidr("10.0.0.0/8", {"10.0.0.0/8"})}, {}}};
	Policy names{"bad"};
	names.endpoints = {"ok", std::string(254, 'x')};
	std::vector<Refused> table = {
		{"deny", with({{RULE_DENY, {}, {}}}), "ingress[0].action", "tier network"},
		{"pass", with({{}, {RULE_PASS, {}, {}}}), "ingress[1].action", "tier network"},
		{"no peer", with({{RULE_ACCEPT, {Peer{}}, {}}}), "ingress[0].from[0]", "either a set or a cidr"},
		{"two", with({{RULE_ACCEPT, {Peer{"s", "10.0.0.0/8", {}}}, {}}}), "ingress[0].from[0]", "either"},
		{"set except", with({{RULE_ACCEPT, {Peer{"s", "", {"10.0.0.0/8"}}}, {}}}), "ingress[0].from[0]",
		 "except"},
		{"equal", egress, "egress[0].to[0].except[0]", "within the cidr"},
		{"outside", with({{RULE_ACCEPT, {in_cidr("10.0.0.0/8", {"10.1.0.0/16", "11.0.0.0/16"})}, {}}}),
		 "ingress[0].from[0].except[1]", "within the cidr"},
		{"family", with({{RULE_ACCEPT, {in_cidr("::/0", {"10.0.0.0/8"})}, {}}}), "ingress[0].from[0].except[0]",
		 "within the cidr"},
		{"gre port", port({47, 80}), "ingress[1].ports[1]", "protocol 47 has none"},
		{"icmp name", port({ICMP, 0, 0, "http"}), "ingress[1].ports[1]", "have ports"},
		{"backwards", port({TCP, 90, 80}), "ingress[1].ports[1]", "endPort 80 is below port 90"},
		{"no first", port({TCP, 0, 80}), "ingress[1].ports[1]", "endPort needs a port"},
		{"named end", port({TCP, 0, 80, "http"}), "ingress[1].ports[1]", "\"http\""},
		{"both", port({TCP, 80, 0, "http"}), "ingress[1].ports[1]", "number or a name"},
		{"tcp type", port({TCP, 0, 0, "", 8}), "ingress[1].ports[1]", "ICMP"},
		{"code", port({ICMP, 0, 0, "", -1, 8}), "ingress[1].ports[1]", "needs a type"},
		{"endpoint", names, "endpoints[1]", "253"},
		{"name", Policy{std::string(254, 'p')}, "name", "254 bytes"},
		{"no name", Policy{""}, "name", "missing"},
	};
	for (auto &row : table) {
		int rc = tables.put(row.policy);
		EXPECT_TRUE(rc == -EINVAL || rc == -ENAMETOOLONG) << row.label;
		EXPECT_STREQ(tables.error.path, row.path) << row.label;
		EXPECT_NE(std::string(tables.error.text).find(row.text), std::string::npos)
			<< row.label << ": " << tables.error.text;
	}
	EXPECT_EQ(tables.p.by_name.count, 0u);
	EXPECT_EQ(tables.p.rule.count, 0u);
}

TEST_F(PolicyTest, TooManyCombinations)
{
	Rule r;
	for (int i = 0; i < 40000; i++)
		r.peers.push_back(in_cidr("10.0.0.0/8"));
	for (int i = 0; i < 40; i++)
		r.ports.push_back({TCP, (uint16_t)(i + 1)});
	Policy p{"p"};
	p.ingress = {r};
	EXPECT_EQ(tables.put(p), -EINVAL);
	EXPECT_NE(strstr(tables.error.text, "AddressSet"), nullptr) << tables.error.text;
}

TEST_F(PolicyTest, PatchRefusals)
{
	EXPECT_EQ(tables.insert("none", POLICY_INGRESS, 0, {}), -ENOENT);
	ingress({{}});
	EXPECT_EQ(tables.erase("p", POLICY_INGRESS, 1), -ENOENT);
	EXPECT_EQ(tables.erase("p", POLICY_EGRESS, 0), -ENOENT);
	EXPECT_EQ(tables.insert("p", POLICY_INGRESS, 2, {}), -EINVAL);
	EXPECT_EQ(tables.insert("p", POLICY_INGRESS, 1, {RULE_DENY, {}, {}}), -EINVAL);
	EXPECT_STREQ(tables.error.path, "ingress[1].action");
	EXPECT_EQ(tables.put_set(std::string(254, 's'), {}), -ENAMETOOLONG);
	EXPECT_TRUE(in("10.0.0.1"));
}

// Counters of rules: an id that is given out again is new to readers.
TEST(RuleCount, AnIdStartsAtZeroEachTime)
{
	struct rule_count n;
	id_counts_begin(&rule_counts, 3); // no counters yet: nothing happens
	ASSERT_EQ(id_counts_init(&rule_counts, 2), 0);
	rule_count_add(0, 3, false);
	rule_count_add(1, 3, false);
	rule_count_add(1, 3, true);
	rule_count_add(1, 0, true);
	rule_count_add(1, RULE_COUNT_MAX, true);
	rule_count_read(3, &n);
	EXPECT_EQ(n.said, 2u);
	EXPECT_EQ(n.would_say, 1u);
	id_counts_begin(&rule_counts, 3);
	rule_count_read(3, &n);
	EXPECT_EQ(n.said + n.would_say, 0u);
	rule_count_add(0, 3, false);
	rule_count_read(3, &n);
	EXPECT_EQ(n.said, 1u);
	rule_count_read(RULE_COUNT_MAX, &n);
	EXPECT_EQ(n.said, 0u);
	id_counts_fini(&rule_counts);
	rule_count_read(3, &n);
	EXPECT_EQ(n.said, 0u);
}

TEST(RuleCount, RulesThatComeAndGoHaveOnlyTheirOwn)
{
	ASSERT_EQ(id_counts_init(&rule_counts, 1), 0);
	{
		Tables t;
		uint64_t seen = 0;
		std::set<uint32_t> ids;
		for (int round = 0; round < 40; round++) {
			Policy p{"p"};
			for (int i = 0; i < 2000; i++)
				p.ingress.push_back({RULE_ACCEPT, {in_cidr("10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256) + "/32")}, {}});
			ASSERT_EQ(t.put(p), 0);
			auto count = [](const struct policy_rule_info *r, void *arg) {
				struct rule_count n;
				rule_count_read(r->id, &n);
				EXPECT_EQ(n.said, 0u);
				rule_count_add(0, r->id, false);
				static_cast<std::set<uint32_t> *>(arg)->insert(r->id);
				return;
			};
			ASSERT_EQ(policy_rules(&t.p, "p", count, &ids), 0);
			seen += 2001;
			ASSERT_EQ(t.remove("p"), 0);
		}
		EXPECT_LT(ids.size(), seen) << "ids were used again";
		EXPECT_EQ(policy_rules(&t.p, "p", [](const struct policy_rule_info *, void *) {}, nullptr), -ENOENT);
	}
	id_counts_fini(&rule_counts);
}

} // namespace
