// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <weft/service.h>

#include "config_fixture.hpp"

namespace
{

using Slots = std::set<uint32_t>;

class Config : public ConfigTest
{
      protected:
	std::string
	name_of(const struct route *r)
	{
		return r != nullptr && r->endpoint != nullptr ? r->endpoint->spec->name : "";
	}
};

TEST_F(Config, TheFirstRootHasTheUnderlayOnly)
{
	ASSERT_NE(c(), nullptr);
	EXPECT_EQ(c()->epoch, 0u);
	ASSERT_NE(c()->network[NETWORK_UNDERLAY], nullptr);
	EXPECT_STREQ(c()->network[NETWORK_UNDERLAY]->spec->name, "underlay");
	EXPECT_NE(c()->network[NETWORK_UNDERLAY]->slot, 0u);
	EXPECT_NE(c()->host_slot, 0u);
	EXPECT_EQ(c()->host_port, PORT_NONE);
	EXPECT_EQ(c()->uplink_port, PORT_NONE);
	EXPECT_EQ(c()->host_hop, 0u);
	EXPECT_EQ(c()->n_node_ips, 0u);
	EXPECT_TRUE(ip_is_none(&c()->vtep_ip));
	EXPECT_EQ(config_init(), -EALREADY);
}

TEST_F(Config, EachBatchIsAnEpoch)
{
	EXPECT_EQ(apply({}), 0);
	EXPECT_EQ(last_epoch, 1u);
	EXPECT_EQ(apply({network("a", 1)}), 0);
	EXPECT_EQ(c()->epoch, 2u);
	EXPECT_NE(apply({endpoint("e", "nowhere", "", {})}), 0);
	EXPECT_EQ(c()->epoch, 2u) << "a refused batch is none";
}

TEST_F(Config, ANetworkWithItsDefaults)
{
	ASSERT_EQ(apply({network("default", 100,
				 {{"10.244.1.0/24", "10.244.1.1"}, {"fd00:244:1::/64", "fd00:244:1::1"}})}),
		  0);
	const struct network *n = c()->network[id("default")];
	EXPECT_GE(n->id, 1u);
	EXPECT_EQ(n->mtu, 1450);
	EXPECT_EQ(n->vxlan_port, 4789);
	struct mac mac = M("02:00:00:00:00:01");
	EXPECT_TRUE(mac_equal(&n->gateway_mac, &mac));
	EXPECT_EQ(n->n_subnets, 2u);
	uint32_t got;
	ASSERT_TRUE(config_vni(c(), 100, &got));
	EXPECT_EQ(got, n->id);
	EXPECT_FALSE(config_vni(c(), 101, &got));
	for (const char *gw : {"10.244.1.1", "fd00:244:1::1"}) {
		const struct route *r = look("default", gw);
		ASSERT_NE(r, nullptr) << gw;
		EXPECT_EQ(r->kind, ROUTE_GATEWAY);
		EXPECT_EQ(r->slot, n->slot);
		EXPECT_EQ(r->hop, 0u);
	}
	EXPECT_EQ(look("default", "10.244.1.2"), nullptr);
	struct ip ip = A("10.244.1.77");
	ASSERT_TRUE(config_host_network(c(), &ip, &got));
	EXPECT_EQ(got, n->id);
	ip = A("10.244.2.77");
	EXPECT_FALSE(config_host_network(c(), &ip, &got));
	EXPECT_TRUE(config_is_vxlan_port(c(), 4789));
	EXPECT_FALSE(config_is_vxlan_port(c(), 4790));
	EXPECT_EQ(status(KIND_NETWORK, "default"), "ready");
	EXPECT_EQ(status(KIND_NETWORK, "other"), "unknown");
}

TEST_F(Config, ANetworkThatGoesLeavesNothing)
{
	ASSERT_EQ(apply({network("default", 100, {{"10.244.1.0/24", "10.244.1.1"}})}), 0);
	ASSERT_EQ(apply({}, {{KIND_NETWORK, "default"}}), 0);
	EXPECT_EQ(id("default"), UINT32_MAX);
	EXPECT_EQ(c()->fib.map.count, 0u);
	EXPECT_EQ(c()->host_fib.map.count, 0u);
	EXPECT_EQ(c()->vni.count, 0u);
	EXPECT_FALSE(config_is_vxlan_port(c(), 4789));
	EXPECT_EQ(apply({}, {{KIND_NETWORK, "default"}}), -ENOENT);
	EXPECT_STREQ(error.text, "no Network \"default\"");
}

TEST_F(Config, NetworksThatAreRefused)
{
	EXPECT_EQ(apply({network("underlay", 1)}), -EINVAL);
	EXPECT_STREQ(error.path, "name");
	EXPECT_EQ(apply({network("n", 1, {}, {"", 0, 0, true})}), -EOPNOTSUPP);
	EXPECT_STREQ(error.path, "mode");
	EXPECT_STREQ(error.text, "l2 is not supported yet");
	EXPECT_EQ(apply({network("n", 1, {{"10.0.0.0/24", "10.0.0.1"}, {"10.0.1.0/24", "10.0.2.1"}})}), -EINVAL);
	EXPECT_STREQ(error.path, "subnets[1].gateway");
	EXPECT_STREQ(error.text, "10.0.2.1 is not in 10.0.1.0/24");
	ASSERT_EQ(apply({network("a", 7)}), 0);
	EXPECT_EQ(apply({network("b", 7)}), -EEXIST);
	EXPECT_STREQ(error.path, "vni");
	EXPECT_STREQ(error.text, "7 is the vni of Network \"a\"");
	EXPECT_EQ(culprit, "b");
	EXPECT_EQ(apply({network("b", 8), network("c", 8)}), -EEXIST);
	EXPECT_EQ(id("b"), UINT32_MAX);
}

TEST_F(Config, NetworksTradeTheirVnis)
{
	ASSERT_EQ(apply({network("a", 7), network("b", 8)}), 0);
	uint32_t a = id("a"), b = id("b"), got;
	ASSERT_EQ(apply({network("a", 8), network("b", 7)}), 0);
	EXPECT_EQ(id("a"), a);
	ASSERT_TRUE(config_vni(c(), 7, &got));
	EXPECT_EQ(got, b);
	ASSERT_TRUE(config_vni(c(), 8, &got));
	EXPECT_EQ(got, a);
}

TEST_F(Config, ANetworkWithoutVniIsNotLookedUp)
{
	ASSERT_EQ(apply({network("a", 0), network("b", 0)}), 0);
	uint32_t got;
	EXPECT_FALSE(config_vni(c(), 0, &got));
	EXPECT_EQ(c()->vxlan_ports[0], 0) << "and nobody listens for it";
}

TEST_F(Config, EightVxlanPortsAndNoMore)
{
	std::vector<Object> batch;
	for (uint16_t i = 0; i < 8; i++) {
		batch.push_back(network("n" + std::to_string(i), 100u + i, {},
					{"", 0, static_cast<uint16_t>(4000 + i), false}));
		batch.push_back(network("m" + std::to_string(i), 200u + i, {},
					{"", 0, static_cast<uint16_t>(4000 + i), false}));
	}
	ASSERT_EQ(apply(batch), 0);
	for (uint16_t i = 0; i < 8; i++)
		EXPECT_TRUE(config_is_vxlan_port(c(), static_cast<uint16_t>(4000 + i)));
	EXPECT_EQ(apply({network("x", 300, {}, {"", 0, 5000, false})}), -ENOSPC);
	EXPECT_EQ(apply({network("x", 300, {}, {"", 0, 5000, false})}, {{KIND_NETWORK, "n3"}, {KIND_NETWORK, "m3"}}),
		  0);
	EXPECT_TRUE(config_is_vxlan_port(c(), 5000));
	EXPECT_FALSE(config_is_vxlan_port(c(), 4003));
}

TEST_F(Config, AllNetworkIds)
{
	std::vector<Object> batch;
	for (uint32_t i = 1; i < WEFT_MAX_NETWORKS; i++)
		batch.push_back(network("n" + std::to_string(i), i));
	ASSERT_EQ(apply(batch), 0);
	EXPECT_EQ(apply({network("one more", 5000)}), -ENOSPC);
	EXPECT_EQ(apply({network("one more", 5000)}, {{KIND_NETWORK, "n77"}}), -ENOSPC)
		<< "its id is free after the batch";
	ASSERT_EQ(apply({}, {{KIND_NETWORK, "n77"}}), 0);
	EXPECT_EQ(apply({network("one more", 5000)}), 0);
}

TEST_F(Config, TwiceInOneBatch)
{
	ASSERT_EQ(apply({network("a", 7), network("a", 8)}), 0);
	uint32_t got;
	EXPECT_FALSE(config_vni(c(), 7, &got));
	EXPECT_TRUE(config_vni(c(), 8, &got));
	EXPECT_EQ(c()->network[2], nullptr);
	uint32_t slot = net_slot("a");
	ASSERT_EQ(apply({network("a", 9)}, {{KIND_NETWORK, "a"}}), 0) << "removed and put is replaced";
	EXPECT_EQ(net_slot("a"), slot);
	struct config_txn *t = config_begin();
	Object b = network("b", 20), e = endpoint("e", "b", "p", {"10.0.0.1"});
	ASSERT_EQ(config_put(t, b.kind, b.spec, nullptr, &error), 0);
	ASSERT_EQ(config_put(t, e.kind, e.spec, nullptr, &error), 0);
	ASSERT_EQ(config_remove(t, KIND_ENDPOINT, "e", &error), 0);
	ASSERT_EQ(config_remove(t, KIND_NETWORK, "b", &error), 0);
	ASSERT_EQ(config_remove(t, KIND_NETWORK, "b", &error), -ENOENT);
	config_abort(t);
	t = config_begin();
	ASSERT_EQ(config_put(t, b.kind, b.spec, nullptr, &error), 0);
	ASSERT_EQ(config_put(t, e.kind, e.spec, nullptr, &error), 0);
	ASSERT_EQ(config_remove(t, KIND_ENDPOINT, "e", &error), 0);
	ASSERT_EQ(config_remove(t, KIND_NETWORK, "b", &error), 0);
	ASSERT_EQ(config_check(t, &error), 0);
	config_publish(t);
	EXPECT_EQ(id("b"), UINT32_MAX);
	EXPECT_EQ(c()->fib.map.count, 0u);
}

TEST_F(Config, TheEndpointComesBeforeItsPort)
{
	ASSERT_EQ(apply({network("default", 100),
			 endpoint("web", "default", "web-0", {"10.244.1.5", "fd00::5"}, {"172.16.0.0/24"})}),
		  0);
	const struct route *r = look("default", "10.244.1.5");
	ASSERT_NE(r, nullptr);
	EXPECT_EQ(r->kind, ROUTE_ENDPOINT);
	EXPECT_EQ(r->hop, 0u);
	EXPECT_EQ(r->endpoint->port, PORT_NONE);
	EXPECT_EQ(status(KIND_ENDPOINT, "web"), "pending: port web-0 does not exist");
	uint32_t slot = r->slot;
	moved();

	ASSERT_EQ(apply({port("web-0", 3)}), 0);
	EXPECT_EQ(moved(), Slots{slot});
	EXPECT_EQ(status(KIND_ENDPOINT, "web"), "ready");
	r = look("default", "10.244.1.5");
	EXPECT_EQ(r->slot, slot);
	EXPECT_EQ(r->endpoint->port, 3);
	const struct hop *h = hop_get(r->hop);
	EXPECT_EQ(h->kind, HOP_PORT);
	EXPECT_EQ(h->port, 3);
	EXPECT_EQ(h->mtu, 1450);
	EXPECT_EQ(h->network, id("default"));
	EXPECT_EQ(memcmp(h->l2, "\x02\0\0\0\xaa\x01\x02\0\0\0\0\x01", 12), 0);
	EXPECT_EQ(look("default", "fd00::5")->endpoint, r->endpoint);
	EXPECT_EQ(look("default", "172.16.0.200")->endpoint, r->endpoint);
	const struct port_view *v = c()->port[3];
	ASSERT_NE(v, nullptr);
	EXPECT_EQ(v->kind, SOURCE_ENDPOINT);
	EXPECT_EQ(v->slot, slot);
	EXPECT_EQ(v->network, id("default"));
	EXPECT_EQ(v->endpoint, r->endpoint);
	struct mac mac = M("02:00:00:00:aa:01");
	EXPECT_TRUE(mac_equal(&v->mac, &mac));

	ASSERT_EQ(apply({}, {{KIND_ENDPOINT, "web"}}), 0);
	EXPECT_EQ(moved(), (Slots{slot, net_slot("default")})) << "its addresses have no route now";
	EXPECT_EQ(look("default", "10.244.1.5"), nullptr);
	EXPECT_EQ(c()->port[3]->kind, SOURCE_NONE);
	EXPECT_EQ(c()->port[3]->endpoint, nullptr);
	ASSERT_EQ(apply({}, {{KIND_PORT, "web-0"}}), 0);
	EXPECT_EQ(c()->port[3], nullptr);
}

TEST_F(Config, APortComesBackWithAnotherId)
{
	ASSERT_EQ(apply({network("default", 100), port("p", 3, 1400), endpoint("e", "default", "p", {"10.0.0.5"})}), 0);
	EXPECT_EQ(hop_get(look("default", "10.0.0.5")->hop)->mtu, 1400) << "the port's own is smaller";
	moved();
	uint32_t slot = look("default", "10.0.0.5")->slot;
	ASSERT_EQ(apply({port("p", 900)}), 0);
	EXPECT_EQ(moved(), Slots{slot});
	EXPECT_EQ(c()->port[3], nullptr);
	EXPECT_EQ(c()->port[900]->slot, slot);
	EXPECT_EQ(hop_get(look("default", "10.0.0.5")->hop)->port, 900);
	EXPECT_EQ(hop_get(look("default", "10.0.0.5")->hop)->mtu, 1450);
}

TEST_F(Config, TwoPortsTradeTheirIds)
{
	ASSERT_EQ(apply({network("n", 100), port("p", 3), port("q", 4), endpoint("e", "n", "p", {"10.0.0.5"}),
			 endpoint("f", "n", "q", {"10.0.0.6"})}),
		  0);
	ASSERT_EQ(apply({port("p", 4), port("q", 3)}), 0);
	EXPECT_STREQ(c()->port[3]->endpoint->spec->name, "f");
	EXPECT_STREQ(c()->port[4]->endpoint->spec->name, "e");
	EXPECT_EQ(look("n", "10.0.0.5")->endpoint->port, 4);
}

TEST_F(Config, APortCarriesOneEndpoint)
{
	ASSERT_EQ(apply({network("n", 100), port("p", 3), port("q", 4), endpoint("e", "n", "p", {"10.0.0.5"})}), 0);
	EXPECT_EQ(apply({endpoint("f", "n", "p", {"10.0.0.6"})}), -EEXIST);
	EXPECT_STREQ(error.path, "port");
	EXPECT_STREQ(error.text, "Port \"p\" carries Endpoint \"e\" already");
	EXPECT_EQ(culprit, "f");
	ASSERT_EQ(apply({endpoint("f", "n", "p", {"10.0.0.6"}), endpoint("e", "n", "q", {"10.0.0.5"})}), 0)
		<< "in one batch, though the new one comes first";
	EXPECT_STREQ(c()->port[3]->endpoint->spec->name, "f");
	EXPECT_STREQ(c()->port[4]->endpoint->spec->name, "e");
	EXPECT_EQ(apply({endpoint("g", "n", "missing", {"10.0.0.7"}), endpoint("h", "n", "missing", {"10.0.0.8"})}),
		  -EEXIST)
		<< "even while the port is missing";
}

TEST_F(Config, EndpointsTradeTheirAddresses)
{
	ASSERT_EQ(apply({network("n", 100), endpoint("a", "n", "p", {"10.0.0.1"}),
			 endpoint("b", "n", "q", {"10.0.0.2"}), endpoint("c", "n", "r", {"10.0.0.3"})}),
		  0);
	uint32_t a = look("n", "10.0.0.1")->slot, b = look("n", "10.0.0.2")->slot;
	moved();
	EXPECT_EQ(apply({endpoint("a", "n", "p", {"10.0.0.9", "10.0.0.2"})}), -EEXIST);
	EXPECT_STREQ(error.path, "ips[1]");
	EXPECT_STREQ(error.text, "10.0.0.2/32 belongs to Endpoint \"b\"");
	EXPECT_EQ(culprit, "a");
	EXPECT_TRUE(moved().empty());
	ASSERT_EQ(apply({endpoint("a", "n", "p", {"10.0.0.2"}), endpoint("b", "n", "q", {"10.0.0.1"})}), 0);
	EXPECT_EQ(name_of(look("n", "10.0.0.1")), "b");
	EXPECT_EQ(name_of(look("n", "10.0.0.2")), "a");
	EXPECT_EQ(moved(), (Slots{a, b}));
	EXPECT_EQ(look("n", "10.0.0.1")->slot, b) << "a slot is the endpoint's, not the address's";
	EXPECT_EQ(apply({endpoint("d", "n", "s", {}, {"10.0.0.3"})}), -EEXIST);
	EXPECT_STREQ(error.path, "prefixes[0]");
}

TEST_F(Config, WhatAnEndpointMayNotName)
{
	EXPECT_EQ(apply({endpoint("e", "nowhere", "p", {"10.0.0.1"})}), -ENOENT);
	EXPECT_STREQ(error.path, "network");
	EXPECT_STREQ(error.text, "no network \"nowhere\"");
	EXPECT_EQ(apply({endpoint("e", "underlay", "p", {"10.0.0.1"})}), -ENOENT);
	EXPECT_STREQ(error.path, "network");
	ASSERT_EQ(apply({network("n", 100, {{"10.0.0.0/24", "10.0.0.1"}}), uplink("u", 1, {"192.0.2.1/24"}),
			 host_port("h", 2, {"192.0.2.9/24"})}),
		  0);
	EXPECT_EQ(apply({endpoint("e", "n", "p", {"10.0.0.1"})}), -EEXIST);
	EXPECT_STREQ(error.text, "10.0.0.1/32 is a gateway of Network \"n\"");
	EXPECT_EQ(apply({endpoint("e", "n", "p", {"192.0.2.9"})}), -EEXIST);
	EXPECT_STREQ(error.text, "192.0.2.9/32 is an address of this node");
	EXPECT_EQ(apply({endpoint("e", "n", "u", {"10.0.0.2"})}), -EINVAL);
	EXPECT_EQ(apply({endpoint("e", "n", "h", {"10.0.0.2"})}), -EINVAL);
	EXPECT_STREQ(error.path, "port");
	EXPECT_STREQ(error.text, "Port \"h\" is the host port and cannot carry an Endpoint");
}

TEST_F(Config, WhatIsInUseDoesNotGo)
{
	ASSERT_EQ(apply({network("n", 100), network("m", 101), port("p", 3), port("q", 4),
			 endpoint("e", "n", "p", {"10.0.0.5"})}),
		  0);
	EXPECT_EQ(apply({}, {{KIND_NETWORK, "n"}}), -EBUSY);
	EXPECT_STREQ(error.text, "Network \"n\" is used by Endpoint \"e\"");
	EXPECT_EQ(culprit, "n");
	EXPECT_EQ(apply({}, {{KIND_PORT, "p"}}), -EBUSY);
	EXPECT_STREQ(error.text, "Port \"p\" is used by Endpoint \"e\"");
	EXPECT_EQ(apply({}, {{KIND_PORT, "q"}}), 0);
	EXPECT_EQ(apply({endpoint("f", "n", "z", {"10.0.0.6"}), port("z", 9)}), 0);
	EXPECT_EQ(apply({endpoint("e", "m", "q", {"10.0.0.5"}), endpoint("f", "m", "", {"10.0.0.6"})},
			{{KIND_NETWORK, "n"}, {KIND_PORT, "p"}, {KIND_PORT, "z"}}),
		  0)
		<< "the same batch sends the users elsewhere";
	EXPECT_EQ(apply({}, {{KIND_NETWORK, "m"}, {KIND_ENDPOINT, "e"}, {KIND_ENDPOINT, "f"}}), 0) << "or removes them";
	EXPECT_EQ(c()->fib.map.count, 0u);
}

TEST_F(Config, ServicesSetsAndPoliciesAreOfAnOverlayNetwork)
{
	for (const Object &o : {service("web", "underlay", "10.96.0.1", "10.0.0.5"), address_set("set", "underlay", {"10.0.0.0/8"}),
				policy("allow", "underlay", {"e"}, "set")}) {
		EXPECT_LT(apply({o}), 0);
		EXPECT_STREQ(error.path, "network");
		EXPECT_STREQ(error.text, "\"underlay\" is the network of the uplinks, name an overlay network");
	}
}

TEST_F(Config, ServicesSetsAndPoliciesHoldTheirNetwork)
{
	ASSERT_EQ(apply({network("n", 100), network("m", 101), service("web", "n", "10.96.0.1", "10.0.0.5")}), 0);
	struct ip vip = A("10.96.0.1");
	EXPECT_NE(service_find(&c()->service, id("n"), &vip, 6, htons(80)), nullptr);
	EXPECT_EQ(service_find(&c()->service, id("m"), &vip, 6, htons(80)), nullptr);
	EXPECT_EQ(apply({}, {{KIND_NETWORK, "n"}}), -EBUSY);
	EXPECT_STREQ(error.text, "Network \"n\" is used by Service \"web\"");
	ASSERT_EQ(apply({service("web", "m", "10.96.0.1", "10.0.0.5")}), 0);
	ASSERT_EQ(apply({address_set("set", "n", {"10.0.0.0/8"})}), 0);
	EXPECT_EQ(apply({}, {{KIND_NETWORK, "n"}}), -EBUSY);
	EXPECT_STREQ(error.text, "Network \"n\" is used by AddressSet \"set\"");
	ASSERT_EQ(apply({policy("allow", "n", {"e"}, "set")}), 0);
	EXPECT_EQ(status(KIND_POLICY, "allow"), "pending: endpoint e does not exist");
	EXPECT_EQ(apply({}, {{KIND_ADDRESS_SET, "set"}}), -EBUSY);
	EXPECT_STREQ(error.text, "AddressSet \"set\" is used by Policy \"allow\"");
	EXPECT_EQ(culprit, "set");
	ASSERT_EQ(apply({endpoint("e", "n", "", {"10.0.0.5"})}), 0);
	EXPECT_EQ(status(KIND_POLICY, "allow"), "ready");
	EXPECT_EQ(apply({}, {{KIND_ENDPOINT, "e"}}), 0) << "policies may name who is not there";
	EXPECT_EQ(apply({}, {{KIND_ADDRESS_SET, "set"}, {KIND_POLICY, "allow"}, {KIND_NETWORK, "n"}}), 0);
	EXPECT_EQ(apply({service("x", "gone", "10.96.0.2", "10.0.0.5")}), -ENOENT);
	EXPECT_STREQ(error.path, "network");
	EXPECT_EQ(apply({}, {{KIND_SERVICE, "web"}, {KIND_NETWORK, "m"}}), 0);
	EXPECT_EQ(service_address_find(&c()->service, 2, &vip), nullptr);
}

TEST_F(Config, AChangedNetworkReachesItsEndpoints)
{
	ASSERT_EQ(apply({network("n", 100), network("m", 101), port("p", 3), endpoint("e", "n", "p", {"10.0.0.5"}),
			 endpoint("f", "m", "q", {"10.0.0.5"})}),
		  0);
	uint32_t e = look("n", "10.0.0.5")->slot;
	moved();
	ASSERT_EQ(apply({network("n", 100, {}, {"02:00:00:00:00:77", 1400, 0, false})}), 0);
	EXPECT_EQ(moved(), (Slots{e, net_slot("n")}));
	const struct hop *h = hop_get(look("n", "10.0.0.5")->hop);
	EXPECT_EQ(h->mtu, 1400);
	EXPECT_EQ(h->l2[11], 0x77);
	EXPECT_EQ(look("n", "10.0.0.5")->endpoint->gateway_mac.b[5], 0x77);
	EXPECT_EQ(c()->port[3]->endpoint, look("n", "10.0.0.5")->endpoint);
	ASSERT_EQ(apply({network("n", 200, {}, {"02:00:00:00:00:77", 1400, 0, false})}), 0);
	EXPECT_EQ(moved(), Slots{net_slot("n")}) << "another vni is nothing to local endpoints";
}

TEST_F(Config, NamesOfFullLength)
{
	std::string a(WEFT_NAME_MAX, 'x'), b = a;
	b.back() = 'y';
	ASSERT_EQ(apply({network(a, 1), network(b, 2), port(b, 5), endpoint(b, b, b, {"10.0.0.1"})}), 0);
	EXPECT_NE(id(a), id(b));
	EXPECT_EQ(c()->port[5]->kind, SOURCE_ENDPOINT);
	EXPECT_EQ(status(KIND_ENDPOINT, b), "ready");
	EXPECT_EQ(status(KIND_ENDPOINT, a), "unknown");
}

} // namespace
