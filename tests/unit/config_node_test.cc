// SPDX-License-Identifier: Apache-2.0
// The node's own addresses, and what its host means by others.
#include <gtest/gtest.h>

#include "config_fixture.hpp"

namespace
{

using Slots = std::set<uint32_t>;

class Node : public ConfigTest
{
};

TEST_F(Node, TheNodesAddressesAreInEveryNetwork)
{
	ASSERT_EQ(apply({network("n", 100), host_port("host", 2, {"192.0.2.1/24", "2001:db8::1/64"}),
			 node("node-1", true, {"198.51.100.1", "192.0.2.1"})}),
		  0);
	EXPECT_EQ(c()->n_node_ips, 3u) << "one is named twice";
	EXPECT_EQ(c()->host_port, 2);
	const struct hop *h = hop_get(c()->host_hop);
	EXPECT_EQ(h->kind, HOP_HOST);
	EXPECT_EQ(h->port, 2);
	EXPECT_EQ(h->mtu, 1500);
	EXPECT_EQ(memcmp(h->l2, c()->host_mac.b, 6), 0);
	EXPECT_EQ(memcmp(h->l2 + 6, "\x02\0\0\0\0\x01", 6), 0);
	ASSERT_EQ(apply({network("later", 200)}), 0);
	for (const char *net : {"underlay", "n", "later"}) {
		for (const char *ip : {"192.0.2.1", "2001:db8::1", "198.51.100.1"}) {
			struct ip a = A(ip);
			EXPECT_TRUE(config_is_node_ip(c(), &a));
			const struct route *r = look(net, ip);
			ASSERT_NE(r, nullptr) << net << " " << ip;
			EXPECT_EQ(r->kind, ROUTE_HOST);
			EXPECT_EQ(r->slot, c()->host_slot);
			EXPECT_EQ(r->hop, c()->host_hop);
		}
	}
	EXPECT_EQ(c()->port[2]->kind, SOURCE_HOST);
	EXPECT_EQ(c()->port[2]->slot, c()->host_slot);
	moved();
	ASSERT_EQ(apply({node("node-1", true, {"198.51.100.2"})}), 0);
	EXPECT_EQ(look("n", "198.51.100.1"), nullptr);
	EXPECT_NE(look("n", "198.51.100.2"), nullptr);
	EXPECT_EQ(moved(), (Slots{c()->host_slot, net_slot("underlay"), net_slot("n"), net_slot("later")}));
	ASSERT_EQ(apply({node("node-1", true, {"198.51.100.2"})}), 0);
	EXPECT_TRUE(moved().empty()) << "the same again moves nothing";
	ASSERT_EQ(apply({}, {{KIND_PORT, "host"}}), 0);
	EXPECT_EQ(c()->host_hop, 0u);
	EXPECT_EQ(look("n", "192.0.2.1"), nullptr);
	EXPECT_EQ(look("n", "198.51.100.2")->hop, 0u) << "the node's still, and nobody there";
	ASSERT_EQ(apply({}, {{KIND_NETWORK, "n"}, {KIND_NETWORK, "later"}, {KIND_NODE, "node-1"}}), 0);
	EXPECT_EQ(c()->fib.map.count, 0u);
	EXPECT_EQ(c()->n_node_ips, 0u);
}

TEST_F(Node, OneSelfAndOneHostPort)
{
	ASSERT_EQ(apply({node("a", true, {"192.0.2.1"}, {"10.96.0.0/12"}), node("b", false, {"192.0.2.2"}),
			 host_port("h", 2, {})}),
		  0);
	struct ip vip = A("10.96.7.7"), other = A("192.0.2.2");
	EXPECT_TRUE(service_in_cidr(&c()->service, &vip));
	EXPECT_FALSE(config_is_node_ip(c(), &other)) << "another node's";
	EXPECT_EQ(apply({node("b", true, {"192.0.2.2"})}), -EEXIST);
	EXPECT_STREQ(error.path, "self");
	EXPECT_STREQ(error.text, "Node \"a\" is this node already");
	EXPECT_EQ(apply({host_port("h2", 3, {})}), -EEXIST);
	EXPECT_STREQ(error.path, "host");
	ASSERT_EQ(apply({node("b", true, {"192.0.2.2"}), node("a", false, {"192.0.2.1"}), host_port("h2", 3, {}),
			 port("h", 2)}),
		  0);
	EXPECT_TRUE(config_is_node_ip(c(), &other));
	EXPECT_FALSE(service_in_cidr(&c()->service, &vip));
	EXPECT_EQ(c()->host_port, 3);
	EXPECT_EQ(c()->port[2]->kind, SOURCE_NONE);
	Object both = host_port("h3", 4, {});
	const_cast<union spec *>(both.spec)->port.uplink = true;
	EXPECT_EQ(apply({both}), -EINVAL);
	Object addressed = port("p", 5);
	const_cast<union spec *>(addressed.spec)->port.ips = host_prefixes({"192.0.2.3/24"});
	EXPECT_EQ(apply({addressed}), -EINVAL);
	EXPECT_STREQ(error.path, "ips");
}

TEST_F(Node, AnAddressOfTheNodeOutranksAGateway)
{
	ASSERT_EQ(apply({network("n", 100, {{"10.0.0.0/24", "10.0.0.1"}})}), 0);
	EXPECT_EQ(look("n", "10.0.0.1")->kind, ROUTE_GATEWAY);
	ASSERT_EQ(apply({host_port("h", 2, {"10.0.0.1/24"})}), 0);
	EXPECT_EQ(look("n", "10.0.0.1")->kind, ROUTE_HOST);
	ASSERT_EQ(apply({network("n", 100, {{"10.0.0.0/25", "10.0.0.1"}})}), 0);
	EXPECT_EQ(look("n", "10.0.0.1")->kind, ROUTE_HOST);
	ASSERT_EQ(apply({}, {{KIND_PORT, "h"}}), 0);
	EXPECT_EQ(look("n", "10.0.0.1")->kind, ROUTE_GATEWAY);
	ASSERT_EQ(apply({endpoint("e", "n", "p", {"10.0.0.5"})}), 0);
	EXPECT_EQ(apply({host_port("h", 2, {"10.0.0.5/24"})}), -EEXIST);
	EXPECT_STREQ(error.text, "10.0.0.5/32 belongs to Endpoint \"e\"");
	EXPECT_EQ(apply({host_port("h", 2, {"10.0.0.5/24"}), endpoint("e", "n", "p", {"10.0.0.6"})}), 0);
}

TEST_F(Node, WhichNetworkTheHostMeans)
{
	ASSERT_EQ(apply({network("a", 1, {{"10.0.0.0/24", ""}}),
			 network("b", 2, {{"10.0.0.0/16", ""}, {"10.9.0.0/16", ""}})}),
		  0);
	auto means = [&](const char *ip) {
		uint32_t n;
		struct ip a = A(ip);
		return config_host_network(c(), &a, &n) ? std::string(c()->network[n]->spec->name) : "";
	};
	EXPECT_EQ(means("10.0.0.5"), "a");
	EXPECT_EQ(means("10.0.1.5"), "b");
	EXPECT_EQ(means("10.1.1.5"), "");
	moved();
	ASSERT_EQ(apply({network("c", 3, {{"10.0.0.0/24", ""}})}), 0);
	EXPECT_EQ(means("10.0.0.5"), "a") << "who has it already keeps it";
	EXPECT_EQ(moved().count(c()->host_slot), 0u);
	ASSERT_EQ(apply({}, {{KIND_NETWORK, "a"}}), 0);
	EXPECT_EQ(means("10.0.0.5"), "c");
	EXPECT_EQ(moved().count(c()->host_slot), 1u);
	ASSERT_EQ(apply({remote("r", "b", "192.0.2.2", {"10.0.0.0/24", "10.9.1.0/24"})}), 0);
	EXPECT_EQ(means("10.0.0.5"), "b");
	EXPECT_EQ(moved().count(c()->host_slot), 1u);
	ASSERT_EQ(apply({remote("r", "b", "192.0.2.2", {"10.0.0.0/24"})}), 0);
	EXPECT_EQ(moved().count(c()->host_slot), 0u) << "10.9.1.0/24 was, and is, b's";
	ASSERT_EQ(apply({}, {{KIND_REMOTE, "r"}}), 0);
	EXPECT_EQ(means("10.0.0.5"), "c");
}

} // namespace
