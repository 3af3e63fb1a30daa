// SPDX-License-Identifier: Apache-2.0
// Which addresses a service has, from where, and which of its backends each of them leads to.
#include "service_fixture.hpp"

#include <weft/service_count.h>

namespace
{

constexpr uint32_t OTHER = 4;

// --- addresses ---

TEST_F(ServiceTest, AnAddressFromOutsideIsFoundInTheServicesNetworkAndInTheUnderlay)
{
	Service web("web");
	put(web.vip("10.96.0.10").external("203.0.113.1").load_balancer("198.51.100.1").port(80).backends(1));
	const struct {
		const char *ip;
		service_scope scope;
		bool outside;
	} rows[] = {{"10.96.0.10", SERVICE_CLUSTER, false},
		    {"203.0.113.1", SERVICE_EXTERNAL, true},
		    {"198.51.100.1", SERVICE_LOAD_BALANCER, true}};
	for (const auto &row : rows) {
		ASSERT_NE(find(row.ip, 80), nullptr) << row.ip;
		EXPECT_EQ(find(row.ip, 80)->scope, row.scope) << row.ip;
		EXPECT_EQ(find(row.ip, 80)->home, NET);
		const service_port *outside = find(row.ip, 80, TCP, NETWORK_UNDERLAY);
		EXPECT_EQ(outside != nullptr, row.outside) << row.ip;
		EXPECT_EQ(address(row.ip, NETWORK_UNDERLAY) != nullptr, row.outside) << row.ip;
		EXPECT_EQ(find(row.ip, 80, TCP, OTHER), nullptr) << row.ip;
		if (outside == nullptr)
			continue;
		EXPECT_EQ(outside->scope, row.scope);
		EXPECT_EQ(outside->home, NET);
		EXPECT_EQ(outside->network, static_cast<uint32_t>(NETWORK_UNDERLAY));
		EXPECT_EQ(outside->choice, find(row.ip, 80)->choice);
	}
}

TEST_F(ServiceTest, AServiceOfTheUnderlayHasItsAddressesOnce)
{
	Service api("api");
	put(api.external("203.0.113.1").port(443).backends(1), NETWORK_UNDERLAY);
	EXPECT_EQ(tables.port.count, 1u);
	EXPECT_EQ(address("203.0.113.1", NETWORK_UNDERLAY)->uses, 1u);
}

TEST_F(ServiceTest, OneExternalAddressOfTwoNetworksIsRefused)
{
	Service a("a"), b("b");
	put(a.external("203.0.113.1").port(80).backends(1));
	EXPECT_EQ(try_put(b.external("203.0.113.1").port(80).backends(1), OTHER), -EEXIST);
	EXPECT_STREQ(e.path, "ports[0]");
	EXPECT_EQ(find("203.0.113.1", 80, TCP, OTHER), nullptr);
}

// --- node ports ---

TEST_F(ServiceTest, ANodePortIsFoundAtEachAddressOfTheNode)
{
	Service web("web");
	ASSERT_EQ(try_node_ips({"192.0.2.1", "2001:db8::1"}), 0);
	put(web.vip("10.96.0.10").vip("fd00::10").port(80, 8080, "http", TCP, 30080).backends(1));
	for (const char *ip : {"192.0.2.1", "2001:db8::1"}) {
		for (uint32_t network : {static_cast<uint32_t>(NETWORK_UNDERLAY), NET}) {
			const service_port *p = find(ip, 30080, TCP, network);
			ASSERT_NE(p, nullptr) << ip << " in " << network;
			EXPECT_EQ(p->scope, SERVICE_NODE_PORT);
			EXPECT_EQ(p->home, NET);
			EXPECT_EQ(p->choice, find("10.96.0.10", 80)->choice);
			EXPECT_EQ(p->id, find("10.96.0.10", 80)->id) << "one service port, whatever way it is reached";
		}
		EXPECT_EQ(find(ip, 30080, UDP, NETWORK_UNDERLAY), nullptr);
		EXPECT_EQ(find(ip, 30081, TCP, NETWORK_UNDERLAY), nullptr);
		EXPECT_EQ(find(ip, 80, TCP, NETWORK_UNDERLAY), nullptr);
		EXPECT_EQ(find(ip, 30080, TCP, OTHER), nullptr) << "another network's pods do not see it";
		EXPECT_EQ(address(ip, NETWORK_UNDERLAY), nullptr) << "the node's address is not the service's";
	}
	EXPECT_EQ(find("192.0.2.2", 30080, TCP, NETWORK_UNDERLAY), nullptr);
	remove("web");
	EXPECT_EQ(find("192.0.2.1", 30080, TCP, NETWORK_UNDERLAY), nullptr);
	EXPECT_EQ(try_node_ips({}), 0);
}

TEST_F(ServiceTest, NodePortsFollowTheNodesAddresses)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80, 0, nullptr, TCP, 30080).backends(1));
	uint32_t slot = find("10.96.0.10", 80)->slot;
	EXPECT_EQ(find("192.0.2.1", 30080, TCP, NETWORK_UNDERLAY), nullptr) << "there is no Node yet";
	ASSERT_EQ(try_node_ips({"192.0.2.1"}), 0);
	EXPECT_EQ(bumped.count(slot), 1u);
	EXPECT_NE(find("192.0.2.1", 30080, TCP, NETWORK_UNDERLAY), nullptr);
	ASSERT_EQ(try_node_ips({"192.0.2.7"}), 0);
	EXPECT_EQ(bumped.count(slot), 1u) << "who came by the old address must ask again";
	EXPECT_EQ(find("192.0.2.1", 30080, TCP, NETWORK_UNDERLAY), nullptr);
	EXPECT_NE(find("192.0.2.7", 30080, TCP, NETWORK_UNDERLAY), nullptr);
}

TEST_F(ServiceTest, ANewNodePortBumpsTheHostThatAnsweredThere)
{
	Service web("web");
	begin();
	next.host_slot = 77;
	commit();
	put(web.vip("10.96.0.10").port(80).backends(1));
	EXPECT_EQ(bumped.count(77), 0u);
	Service with = web;
	put(with.without_ports().port(80, 0, nullptr, TCP, 30080));
	EXPECT_EQ(bumped.count(77), 1u);
	put(with.backend("10.244.9.9"));
	EXPECT_EQ(bumped.count(77), 0u) << "nothing new at the node";
}

TEST_F(ServiceTest, ANodePortOfAServiceWithoutSuchAddressesIsNotOfThatFamily)
{
	Service web("web"), bare("bare");
	ASSERT_EQ(try_node_ips({"192.0.2.1", "2001:db8::1"}), 0);
	put(web.vip("10.96.0.10").port(80, 0, nullptr, TCP, 30080).backends(1));
	EXPECT_NE(find("192.0.2.1", 30080), nullptr);
	EXPECT_EQ(find("2001:db8::1", 30080), nullptr);
	put(bare.port(80, 0, nullptr, TCP, 30081).backends(1));
	EXPECT_NE(find("2001:db8::1", 30081), nullptr) << "it has no address that would say";
}

TEST_F(ServiceTest, OneNodePortForTwoServicesIsRefused)
{
	Service a("shop/a"), b("shop/b");
	put(a.vip("10.96.0.10").port(80, 0, nullptr, TCP, 30080).backends(1));
	b.vip("10.96.0.11").port(80, 0, "x").port(81, 0, "y", TCP, 30080).backends(1);
	EXPECT_EQ(try_put(b, OTHER), -EEXIST);
	EXPECT_STREQ(e.path, "ports[1].nodePort");
	EXPECT_NE(std::string(e.text).find("shop/a"), std::string::npos) << e.text;
	EXPECT_NE(std::string(e.text).find("30080"), std::string::npos) << e.text;
	Service udp("udp");
	EXPECT_EQ(try_put(udp.vip("10.96.0.12").port(80, 0, nullptr, UDP, 30080).backends(1)), 0) << "another protocol";
}

TEST_F(ServiceTest, OneNodePortTwiceInAServiceIsRefused)
{
	Service a("a");
	a.vip("10.96.0.10").port(80, 0, "x", TCP, 30080).port(81, 0, "y", TCP, 30080);
	EXPECT_EQ(try_put(a), -EINVAL);
	EXPECT_STREQ(e.path, "ports[1].nodePort");
}

TEST_F(ServiceTest, ANodePortMayMoveFromPortToPortAndGoAndComeBack)
{
	Service a("a");
	ASSERT_EQ(try_node_ips({"192.0.2.1"}), 0);
	put(a.vip("10.96.0.10").port(80, 0, "x", TCP, 30080).port(81, 0, "y"));
	EXPECT_EQ(find("192.0.2.1", 30080)->id, find("10.96.0.10", 80)->id);
	Service moved = a;
	put(moved.without_ports().port(80, 0, "x").port(81, 0, "y", TCP, 30080));
	ASSERT_NE(find("192.0.2.1", 30080), nullptr);
	EXPECT_EQ(find("192.0.2.1", 30080)->id, find("10.96.0.10", 81)->id);
	EXPECT_EQ(tables.n_node_ports, 1u);
	put(moved.without_ports().port(80, 0, "x"));
	EXPECT_EQ(tables.n_node_ports, 0u);
	EXPECT_EQ(find("192.0.2.1", 30080), nullptr);
	put(a);
	EXPECT_NE(find("192.0.2.1", 30080), nullptr);
}

TEST_F(ServiceTest, ANodePortAndAnotherServicesExternalAddressThatIsTheNodesAreRefused)
{
	Service a("a"), b("b"), same("same");
	ASSERT_EQ(try_node_ips({"192.0.2.1"}), 0);
	put(a.vip("10.96.0.10").port(80, 0, nullptr, TCP, 30080).backends(1));
	EXPECT_EQ(try_put(b.external("192.0.2.1").port(30080).backends(1)), -EEXIST);
	EXPECT_STREQ(e.path, "ports[0]");
	remove("a");
	put(b);
	EXPECT_EQ(try_put(a), -EEXIST);
	EXPECT_STREQ(e.path, "ports[0].nodePort");
	remove("b");
	put(same.external("192.0.2.1").port(30080, 0, nullptr, TCP, 30080).backends(1));
	EXPECT_EQ(find("192.0.2.1", 30080)->scope, SERVICE_EXTERNAL);
}

TEST_F(ServiceTest, ANodeAddressThatBringsAClashIsRefused)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.10").port(80, 0, nullptr, TCP, 30080).backends(1));
	put(b.external("192.0.2.1").port(30080).backends(1));
	ASSERT_EQ(try_node_ips({"192.0.2.7"}), 0);
	EXPECT_EQ(try_node_ips({"192.0.2.7", "192.0.2.1"}), -EEXIST);
	EXPECT_STREQ(e.path, "nodePortAddresses");
	EXPECT_EQ(tables.n_node_ips, 1u);
}

// --- sets ---

TEST_F(ServiceTest, FamiliesAreApart)
{
	Service web("web");
	put(web.vip("10.96.0.10").vip("fd00::10").port(80).backend("10.244.1.1").backend("fd00:244::1"));
	EXPECT_EQ(takers(find("10.96.0.10", 80)), Names{"10.244.1.1"});
	EXPECT_EQ(takers(find("fd00::10", 80)), Names{"fd00:244::1"});
	EXPECT_EQ(set_of(find("fd00::10", 80)).n_backends, 1u);
}

TEST_F(ServiceTest, LocalBackendsAreThoseOfThisNodeByNameOrByAddress)
{
	Service web("web");
	web.vip("10.96.0.10").port(80).local(true, false);
	web.backend("10.244.1.1").on("node-1").backend("10.244.2.1").on("node-2").backend("10.244.1.2").backend("10.244.2.2");
	put(web);
	EXPECT_EQ(takers(find("10.96.0.10", 80), SERVICE_LOCAL), Names{"nobody"}) << "nobody said which node this is";
	live_here({"10.244.1.2"});
	EXPECT_EQ(takers(find("10.96.0.10", 80), SERVICE_LOCAL), (Names{"10.244.1.1", "10.244.1.2"}));
	EXPECT_EQ(takers(find("10.96.0.10", 80)).size(), 4u);
	live_here({"10.244.2.2"}, "node-2");
	EXPECT_EQ(takers(find("10.96.0.10", 80), SERVICE_LOCAL), (Names{"10.244.2.1", "10.244.2.2"}));
}

TEST_F(ServiceTest, OnlyServicesWithABackendThatMovedAreBuiltAnew)
{
	Service a("a"), b("b"), c("c");
	put(a.vip("10.96.0.10").port(80).local(true, false).backend("10.244.1.1"));
	put(b.vip("10.96.0.11").port(80).local(true, false).backend("10.244.1.2"));
	put(c.vip("10.96.0.12").port(80).backend("10.244.1.1"));
	const service_choice *of_b = find("10.96.0.11", 80)->choice, *of_c = find("10.96.0.12", 80)->choice;
	live_here({"10.244.1.1"}, "node-1", true);
	EXPECT_EQ(takers(find("10.96.0.10", 80), SERVICE_LOCAL), Names{"10.244.1.1"});
	EXPECT_EQ(find("10.96.0.11", 80)->choice, of_b);
	EXPECT_EQ(find("10.96.0.12", 80)->choice, of_c) << "its policy does not ask";
	EXPECT_EQ(bumped, std::set<uint32_t>{find("10.96.0.10", 80)->slot});
	live_here({}, "node-1", true);
	EXPECT_EQ(takers(find("10.96.0.10", 80), SERVICE_LOCAL), Names{"nobody"});
}

TEST_F(ServiceTest, TheTerminatingFallbackIsJudgedInEachSet)
{
	Service web("web");
	live_here({"10.244.1.1", "10.244.1.2"});
	web.vip("10.96.0.10").port(80).local(true, true);
	web.backend("10.244.1.1", BACKEND_TERMINATING).backend("10.244.1.2", BACKEND_NOT_READY).backend("10.244.2.1");
	put(web);
	const service_port *p = find("10.96.0.10", 80);
	EXPECT_EQ(takers(p, SERVICE_LOCAL), Names{"10.244.1.1"}) << "nobody local is ready";
	EXPECT_EQ(takers(p), Names{"10.244.2.1"});
	EXPECT_EQ(member(p, "10.244.1.1", 80)->flags, BACKEND_HERE | BACKEND_TAKES_LOCAL);
	EXPECT_EQ(member(p, "10.244.1.2", 80)->flags, BACKEND_HERE);
	EXPECT_EQ(member(p, "10.244.2.1", 80)->flags, BACKEND_TAKES);
	web.backend("10.244.1.2");
	put(web);
	EXPECT_EQ(takers(find("10.96.0.10", 80), SERVICE_LOCAL), Names{"10.244.1.2"}) << "ready in one list of two";
}

TEST_F(ServiceTest, ManyBackendsElsewhereLeaveASmallLocalTable)
{
	Service web("web");
	live_here({"10.244.0.7"});
	put(web.vip("10.96.0.10").port(80).local(false, true).backends(100));
	const service_port *p = find("10.96.0.10", 80);
	EXPECT_EQ(takers(p, SERVICE_LOCAL), Names{"10.244.0.7"});
	EXPECT_EQ(set_of(p, SERVICE_LOCAL).size, maglev_size(1, 0));
	EXPECT_EQ(set_of(p).size, maglev_size(100, 0));
	put(web.local(false, false));
	EXPECT_EQ(set_of(find("10.96.0.10", 80), SERVICE_LOCAL).size, 0u) << "nobody asks any more";
	EXPECT_EQ(tables.local.count, 0u);
}

// --- which set, and for whom ---

TEST_F(ServiceTest, TheTrafficPolicyDependsOnTheAddressAndOnWhoAsks)
{
	Service web("web");
	ASSERT_EQ(try_node_ips({"192.0.2.1"}), 0);
	web.vip("10.96.0.10").external("203.0.113.1").load_balancer("198.51.100.1").port(80, 0, nullptr, TCP, 30080);
	for (bool internal : {false, true}) {
		for (bool external : {false, true}) {
			put(web.local(internal, external));
			auto local = [&](const char *ip, uint16_t port, bool outside) {
				return service_range_for(find(ip, port, TCP, outside ? NETWORK_UNDERLAY : NET), outside) == SERVICE_LOCAL;
			};
			EXPECT_EQ(local("10.96.0.10", 80, false), internal);
			for (const char *ip : {"203.0.113.1", "198.51.100.1", "192.0.2.1"}) {
				uint16_t port = std::string(ip) == "192.0.2.1" ? 30080 : 80;
				EXPECT_EQ(local(ip, port, true), external) << ip;
				EXPECT_FALSE(local(ip, port, false)) << ip << ": pods go to any backend";
			}
		}
	}
}

TEST_F(ServiceTest, SourceRangesHoldForLoadBalancersAndForNodePortsFromOutside)
{
	Service web("web");
	ASSERT_EQ(try_node_ips({"192.0.2.1"}), 0);
	web.vip("10.96.0.10").external("203.0.113.1").load_balancer("198.51.100.1").port(80, 0, nullptr, TCP, 30080);
	put(web);
	ip good = addr("192.0.2.77"), bad = addr("192.0.3.77"), six = addr("2001:db8::1");
	EXPECT_TRUE(service_admits(find("198.51.100.1", 80), &bad, true)) << "no ranges: everybody";
	put(web.source_range("192.0.2.0/24").source_range("2001:db8::/32"));
	const service_port *lb = find("198.51.100.1", 80), *node = find("192.0.2.1", 30080);
	EXPECT_TRUE(service_admits(lb, &good, true));
	EXPECT_TRUE(service_admits(lb, &six, true));
	EXPECT_FALSE(service_admits(lb, &bad, true));
	EXPECT_FALSE(service_admits(lb, &bad, false)) << "as kube-proxy: pods too";
	EXPECT_TRUE(service_admits(node, &good, true));
	EXPECT_FALSE(service_admits(node, &bad, true));
	EXPECT_TRUE(service_admits(node, &bad, false));
	EXPECT_TRUE(service_admits(find("10.96.0.10", 80), &bad, false));
	EXPECT_TRUE(service_admits(find("203.0.113.1", 80), &bad, true));
}

// --- counters ---

struct ServiceCountTest : ServiceTest {
	void
	SetUp() override
	{
		ServiceTest::SetUp();
		ASSERT_EQ(service_count_init(2), 0);
	}
	void
	TearDown() override
	{
		service_count_fini();
		ServiceTest::TearDown();
	}
	static uint64_t
	opened(uint32_t id)
	{
		struct service_count n;
		service_count_read(id, &n);
		return n.opened;
	}
	uint32_t
	of(const std::string &backend)
	{
		return member(find("10.96.0.10", 80), backend, 80)->count;
	}
};

TEST_F(ServiceCountTest, StayWithTheirServicePortAndBackend)
{
	Service web("web");
	put(web.vip("10.96.0.10").vip("fd00::10").port(80).backend("10.244.1.1").backend("10.244.1.2"));
	const service_port *p = find("10.96.0.10", 80);
	EXPECT_EQ(find("fd00::10", 80)->count, p->count);
	std::set<uint32_t> ids = {p->count, of("10.244.1.1"), of("10.244.1.2")};
	EXPECT_EQ(ids.size(), 3u);
	EXPECT_EQ(ids.count(0), 0u);
	service_count_add(0, p->count, false);
	service_count_add(1, p->count, false);
	service_count_add(1, p->count, true);
	service_count_add(1, of("10.244.1.2"), false);
	put(web.backend("10.244.1.3"));
	EXPECT_EQ(opened(find("10.96.0.10", 80)->count), 2u) << "of both workers";
	EXPECT_EQ(opened(of("10.244.1.1")), 0u);
	EXPECT_EQ(opened(of("10.244.1.2")), 1u);
	struct service_count n;
	service_count_read(find("10.96.0.10", 80)->count, &n);
	EXPECT_EQ(n.refused, 1u);
}

TEST_F(ServiceCountTest, AreGivenBackOnceAndBeginAtZero)
{
	Service web("web");
	uint32_t highest = 0;
	for (int round = 0; round < 50; round++) {
		Service s = web;
		put(s.vip("10.96.0.10").port(80).backend("10.244.1.1").backend("10.244.2." + std::to_string(round)));
		uint32_t id = of("10.244.2." + std::to_string(round));
		EXPECT_EQ(opened(id), 0u);
		service_count_add(0, id, false);
		highest = std::max(highest, id);
		Service other = s;
		put(other.without_ports().port(81));
		rcu_reclaim();
		if (round % 5 == 0) {
			remove("web");
			rcu_reclaim();
		}
	}
	EXPECT_LT(highest, 30u) << "ids come back";
}

TEST_F(ServiceCountTest, AnAbortedTransactionKeepsNone)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.10").port(80).backends(1));
	uint32_t next_free = service_count_take();
	service_count_give(next_free);
	b.vip("10.96.0.11").vip("10.96.0.10").port(80).backends(5);
	for (int k = 0; k < 3; k++)
		EXPECT_EQ(try_put(b), -EEXIST);
	std::set<uint32_t> free_ids;
	for (int k = 0; k < 7; k++)
		free_ids.insert(service_count_take());
	EXPECT_LT(*free_ids.rbegin(), next_free + 7) << "nothing was kept";
	for (uint32_t id : free_ids)
		service_count_give(id);
}

} // namespace
