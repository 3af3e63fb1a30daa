// SPDX-License-Identifier: Apache-2.0
// What lies behind tunnels, and the way to them.
#include <gtest/gtest.h>

#include "config_fixture.hpp"

namespace
{

using Slots = std::set<uint32_t>;

class Underlay : public ConfigTest
{
      protected:
	const struct hop *
	hop(const std::string &net, const std::string &ip)
	{
		const struct route *r = look(net, ip);
		return hop_get(r != nullptr ? r->hop : 0);
	}
	// The address that frames for ip are sent to, or "" when there is no way.
	std::string
	via(const std::string &net, const std::string &ip)
	{
		const struct hop *h = hop(net, ip);
		return h->kind == HOP_TUNNEL ? text(neighbour_table[h->neighbour].ip) : "";
	}
	void
	base()
	{
		ASSERT_EQ(apply({network("n", 100, {{"10.244.1.0/24", "10.244.1.1"}}),
				 uplink("up", 1, {"192.0.2.1/24", "198.51.100.1/24"})}),
			  0);
		moved();
	}
};

TEST_F(Underlay, ATunnelAsItGoesOnTheWire)
{
	ASSERT_EQ(apply({network("n", 0x123456, {}, {"02:00:00:00:00:77", 0, 4790, false}),
			 uplink("up", 1, {"192.0.2.1/24"}),
			 remote("node-2", "n", "192.0.2.2", {"10.244.2.0/24", "fd00:2::/64"},
				{{"10.9.9.9", "02:00:00:00:bb:09"}, {"10.9.9.8", ""}})}),
		  0);
	const struct hop *h = hop("n", "10.244.2.7");
	ASSERT_EQ(h->kind, HOP_TUNNEL);
	EXPECT_EQ(h->port, 1);
	EXPECT_EQ(h->mtu, 1450);
	EXPECT_EQ(h->network, id("n"));
	EXPECT_EQ(memcmp(h->l2, "\x02\0\0\0\xbb\x01\x02\0\0\0\0\x77", 12), 0);
	const uint8_t outer[VXLAN_OUTER_LEN] = {
		0,    0, 0,    0,    0,    0,    0,    0, 0,  0,  0,    0,    8,   0,                     // Ethernet
		0x45, 0, 0,    0,    0,    0,    0x40, 0, 64, 17, 0xb6, 0xe9, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
		0,    0, 0x12, 0xb6, 0,    0,    0,    0,                                                 // UDP 4790
		8,    0, 0,    0,    0x12, 0x34, 0x56, 0,                                                 // VXLAN
	};
	for (int i = 0; i < VXLAN_OUTER_LEN; i++)
		EXPECT_EQ(h->outer[i], outer[i]) << "byte " << i;
	uint32_t sum = 0;
	for (int i = 14; i < 34; i += 2)
		sum += static_cast<uint32_t>(h->outer[i] << 8 | h->outer[i + 1]);
	EXPECT_EQ((sum & 0xffff) + (sum >> 16), 0xffffu) << "RFC 1071: a right checksum makes all ones";

	EXPECT_EQ(look("n", "fd00:2::9")->hop, look("n", "10.244.2.7")->hop);
	EXPECT_EQ(hop("n", "10.9.9.9")->l2[5], 9) << "a hop of its own, to its own MAC";
	EXPECT_EQ(hop("n", "10.9.9.8")->l2[5], 1) << "without one, to the remote's";
	const struct neighbour *nb = &neighbour_table[h->neighbour];
	EXPECT_EQ(text(nb->ip), "192.0.2.2");
	EXPECT_EQ(text(nb->source), "192.0.2.1");
	EXPECT_EQ(nb->port, 1);
	const struct vtep *v = vtep("n", "192.0.2.2");
	ASSERT_NE(v, nullptr);
	EXPECT_EQ(v->hop, look("n", "10.244.2.7")->hop);
	EXPECT_EQ(look("n", "10.244.2.7")->vtep, v);
	EXPECT_EQ(look("n", "10.244.2.7")->slot, v->slot);
	EXPECT_EQ(look("n", "10.244.2.7")->kind, ROUTE_REMOTE);
	EXPECT_EQ(vtep("n", "192.0.2.3"), nullptr);
	EXPECT_EQ(vtep("underlay", "192.0.2.2"), nullptr);
	EXPECT_EQ(status(KIND_REMOTE, "node-2"), "ready");
	uint32_t net;
	struct ip ip = A("10.244.2.200");
	ASSERT_TRUE(config_host_network(c(), &ip, &net));
	EXPECT_EQ(net, id("n"));
}

TEST_F(Underlay, WithoutItsMacTheGatewaysServes)
{
	base();
	ASSERT_EQ(apply({remote("r", "n", "192.0.2.2", {"10.244.2.0/24"}, {}, "")}), 0);
	EXPECT_EQ(memcmp(hop("n", "10.244.2.1")->l2, "\x02\0\0\0\0\x01\x02\0\0\0\0\x01", 12), 0);
}

TEST_F(Underlay, RemotesThatAreRefused)
{
	base();
	EXPECT_EQ(apply({remote("r", "x", "192.0.2.2", {})}), -ENOENT);
	EXPECT_STREQ(error.text, "no network \"x\"");
	EXPECT_EQ(apply({remote("r", "n", "2001:db8::2", {})}), -EOPNOTSUPP);
	EXPECT_STREQ(error.path, "vtep");
	EXPECT_EQ(apply({network("local", 0), remote("r", "local", "192.0.2.2", {})}), -EINVAL);
	EXPECT_STREQ(error.text, "Network \"local\" has no vni, so nothing of it can be remote");
	ASSERT_EQ(apply({remote("r", "n", "192.0.2.2", {"10.244.2.0/24"})}), 0);
	EXPECT_EQ(apply({remote("s", "n", "192.0.2.3", {"10.244.3.0/24", "10.244.2.0/24"})}), -EEXIST);
	EXPECT_STREQ(error.path, "prefixes[1]");
	EXPECT_STREQ(error.text, "10.244.2.0/24 belongs to Remote \"r\"");
	EXPECT_EQ(culprit, "s");
	EXPECT_EQ(apply({network("n", 0)}), -EINVAL) << "the vni goes, the remote stays";
	EXPECT_EQ(culprit, "r");
	EXPECT_EQ(apply({remote("r", "n", "192.0.2.2", {}), remote("s", "n", "192.0.2.3", {"10.244.2.0/24"})}), 0);
}

TEST_F(Underlay, TheUplinkComesAndGoes)
{
	ASSERT_EQ(apply({network("n", 100), remote("r", "n", "192.0.2.2", {"10.244.2.0/24"})}), 0);
	EXPECT_EQ(look("n", "10.244.2.1")->hop, 0u);
	EXPECT_EQ(status(KIND_REMOTE, "r"), "pending: there is no uplink");
	uint32_t slot = vtep("n", "192.0.2.2")->slot;
	moved();
	ASSERT_EQ(apply({uplink("up", 1, {"192.0.2.1/24"})}), 0);
	EXPECT_EQ(c()->uplink_port, 1);
	EXPECT_EQ(text(c()->vtep_ip), "192.0.2.1");
	EXPECT_EQ(c()->port[1]->kind, SOURCE_UPLINK);
	EXPECT_EQ(via("n", "10.244.2.1"), "192.0.2.2");
	EXPECT_EQ(moved(), (Slots{slot, c()->host_slot, c()->network[0]->slot, net_slot("n")}))
		<< "the way to the VTEP, and 192.0.2.1 as an address of the node in both networks";
	ASSERT_EQ(apply({uplink("up", 5, {"192.0.2.11/24"}, 1400)}), 0);
	EXPECT_EQ(moved().count(slot), 1u);
	EXPECT_EQ(hop("n", "10.244.2.1")->port, 5);
	EXPECT_EQ(hop("n", "10.244.2.1")->mtu, 1350);
	EXPECT_EQ(hop("n", "10.244.2.1")->outer[29], 11);
	EXPECT_EQ(text(neighbour_table[hop("n", "10.244.2.1")->neighbour].source), "192.0.2.11");
	EXPECT_EQ(vtep("n", "192.0.2.2")->slot, slot);
	EXPECT_EQ(apply({uplink("up2", 6, {})}), -EEXIST);
	EXPECT_STREQ(error.path, "uplink");
	EXPECT_STREQ(error.text, "Port \"up\" is the uplink, and there can be one only for now");
	ASSERT_EQ(apply({uplink("up2", 6, {"192.0.2.1/24"})}, {{KIND_PORT, "up"}}), 0);
	EXPECT_EQ(hop("n", "10.244.2.1")->port, 6);
	ASSERT_EQ(apply({uplink("up2", 6, {"2001:db8::1/64"})}), 0);
	EXPECT_EQ(status(KIND_REMOTE, "r"), "pending: uplink up2 has no IPv4 address");
	EXPECT_EQ(look("n", "10.244.2.1")->hop, 0u);
	ASSERT_EQ(apply({}, {{KIND_PORT, "up2"}}), 0);
	EXPECT_EQ(c()->uplink_port, PORT_NONE);
	EXPECT_EQ(look("n", "10.244.2.1")->hop, 0u);
}

TEST_F(Underlay, AnUplinkThatIsNamedDoesNotGo)
{
	auto over = [&](const Object &o, const std::string &name) {
		struct string_list &uplinks = const_cast<union spec *>(o.spec)->network.uplinks;
		uplinks.v = keep(std::vector<const char *>{keep(name)});
		uplinks.n = 1;
		return o;
	};
	ASSERT_EQ(apply({over(network("n", 100), "up")}), 0);
	EXPECT_EQ(status(KIND_NETWORK, "n"), "pending: uplink up does not exist");
	ASSERT_EQ(apply({uplink("up", 1, {"192.0.2.1/24"}), route("default", "0.0.0.0/0", {{"192.0.2.254", "other"}, {"192.0.2.253", "up"}})}), 0);
	EXPECT_EQ(status(KIND_NETWORK, "n"), "ready");
	EXPECT_EQ(apply({}, {{KIND_PORT, "up"}}), -EBUSY);
	EXPECT_STREQ(error.text, "Port \"up\" is used by Network \"n\"");
	EXPECT_EQ(culprit, "up");
	EXPECT_EQ(apply({network("n", 100)}, {{KIND_PORT, "up"}}), -EBUSY);
	EXPECT_STREQ(error.text, "Port \"up\" is used by Route \"default\"");
	EXPECT_EQ(apply({over(network("n", 100), "up2")}, {{KIND_PORT, "up"}, {KIND_ROUTE, "default"}}), 0) << "the same batch removes the users";
	EXPECT_EQ(apply({}, {{KIND_NETWORK, "n"}}), 0);
}

TEST_F(Underlay, AVtepBehindAGateway)
{
	base();
	ASSERT_EQ(apply({remote("near", "n", "192.0.2.2", {"10.244.2.0/24"}),
			 remote("far", "n", "203.0.113.9", {"10.244.9.0/24"})}),
		  0);
	EXPECT_EQ(status(KIND_REMOTE, "far"), "pending: no route to vtep 203.0.113.9");
	EXPECT_EQ(via("n", "10.244.9.1"), "");
	uint32_t far = vtep("n", "203.0.113.9")->slot;
	moved();
	ASSERT_EQ(apply({route("default", "0.0.0.0/0", {{"192.0.2.254", "up"}})}), 0);
	uint32_t wire = net_slot("underlay");
	EXPECT_EQ(moved(), (Slots{wire, far}));
	EXPECT_EQ(via("n", "10.244.9.1"), "192.0.2.254");
	EXPECT_EQ(via("n", "10.244.2.1"), "192.0.2.2") << "connected, no gateway";
	EXPECT_EQ(hop("n", "10.244.9.1")->outer[14 + 16], 203) << "the outer packet still goes to the VTEP";
	ASSERT_EQ(apply({route("dmz", "203.0.113.0/24", {{"192.0.2.7", "elsewhere"}, {"198.51.100.253", "up"}})}), 0);
	EXPECT_EQ(via("n", "10.244.9.1"), "198.51.100.253") << "the longer prefix, its first hop on the uplink";
	EXPECT_EQ(moved(), (Slots{wire, far}));
	ASSERT_EQ(apply({route("host", "203.0.113.9/32", {{"192.0.2.7", "elsewhere"}})}), 0);
	EXPECT_EQ(via("n", "10.244.9.1"), "198.51.100.253") << "a route over no uplink is no way";
	EXPECT_EQ(status(KIND_ROUTE, "host"), "pending: no next hop is on an uplink");
	EXPECT_TRUE(moved().empty());
	EXPECT_EQ(status(KIND_ROUTE, "dmz"), "ready");
	ASSERT_EQ(apply({}, {{KIND_ROUTE, "dmz"}}), 0);
	EXPECT_EQ(via("n", "10.244.9.1"), "192.0.2.254");
	ASSERT_EQ(apply({}, {{KIND_ROUTE, "default"}}), 0);
	EXPECT_EQ(via("n", "10.244.9.1"), "");
	EXPECT_EQ(vtep("n", "203.0.113.9")->slot, far);
}

TEST_F(Underlay, RoutesThatAreRefused)
{
	base();
	EXPECT_EQ(apply({route("r", "0.0.0.0/0", {{"10.244.1.9", "up"}}, "n")}), -EOPNOTSUPP);
	EXPECT_STREQ(error.text, "\"n\": only routes of network \"underlay\" are supported yet");
	EXPECT_EQ(apply({route("r", "0.0.0.0/0", {})}), -EINVAL);
	EXPECT_EQ(apply({route("r", "0.0.0.0/0", {{"192.0.2.3", "up"}, {"2001:db8::1", "up"}})}), -EINVAL);
	EXPECT_STREQ(error.path, "nextHops[1].ip");
	ASSERT_EQ(apply({route("r", "0.0.0.0/0", {{"192.0.2.3", "up"}})}), 0);
	EXPECT_EQ(apply({route("s", "0.0.0.0/0", {{"192.0.2.4", "up"}})}), -EEXIST);
	EXPECT_STREQ(error.text, "0.0.0.0/0 has a route already, \"r\"");
	EXPECT_EQ(apply({route("s", "0.0.0.0/0", {{"192.0.2.4", "up"}})}, {{KIND_ROUTE, "r"}}), 0);
	EXPECT_EQ(apply({route("six", "::/0", {{"2001:db8::1", "up"}})}), 0);
}

TEST_F(Underlay, RemotesShareAVtep)
{
	base();
	ASSERT_EQ(
		apply({remote("a", "n", "192.0.2.2", {"10.1.0.0/16"}), remote("b", "n", "192.0.2.2", {"10.2.0.0/16"})}),
		0);
	EXPECT_EQ(look("n", "10.1.0.1")->vtep, look("n", "10.2.0.1")->vtep);
	EXPECT_EQ(look("n", "10.1.0.1")->hop, look("n", "10.2.0.1")->hop);
	EXPECT_EQ(vtep("n", "192.0.2.2")->uses, 2u);
	ASSERT_EQ(apply({remote("c", "n", "192.0.2.2", {"10.3.0.0/16"}, {}, "02:00:00:00:bb:33")}), 0);
	EXPECT_EQ(vtep("n", "192.0.2.2")->uses, 3u);
	EXPECT_EQ(look("n", "10.1.0.1")->vtep, vtep("n", "192.0.2.2")) << "nobody keeps the entry of before";
	EXPECT_EQ(hop("n", "10.3.0.1")->l2[5], 0x33);
	EXPECT_EQ(hop("n", "10.1.0.1")->l2[5], 1);
	ASSERT_EQ(apply({}, {{KIND_REMOTE, "a"}, {KIND_REMOTE, "b"}}), 0);
	EXPECT_EQ(look("n", "10.1.0.1"), nullptr);
	EXPECT_EQ(hop_get(vtep("n", "192.0.2.2")->hop)->l2[5], 0x33) << "the MAC of who is left";
	EXPECT_EQ(look("n", "10.3.0.1")->vtep, vtep("n", "192.0.2.2"));
	uint32_t slot = vtep("n", "192.0.2.2")->slot;
	moved();
	ASSERT_EQ(apply({}, {{KIND_REMOTE, "c"}}), 0);
	EXPECT_EQ(vtep("n", "192.0.2.2"), nullptr);
	EXPECT_TRUE(moved().count(slot));
	EXPECT_EQ(c()->vtep.count, 0u);
}

TEST_F(Underlay, OneVtepInTwoNetworks)
{
	base();
	ASSERT_EQ(apply({network("m", 200), remote("a", "n", "192.0.2.2", {"10.1.0.0/16"}),
			 remote("b", "m", "192.0.2.2", {"10.1.0.0/16"})}),
		  0);
	EXPECT_NE(vtep("n", "192.0.2.2")->slot, vtep("m", "192.0.2.2")->slot);
	EXPECT_EQ(hop("n", "10.1.0.1")->outer[48], 100);
	EXPECT_EQ(hop("m", "10.1.0.1")->outer[48], 200);
	EXPECT_EQ(hop("n", "10.1.0.1")->neighbour, hop("m", "10.1.0.1")->neighbour) << "asked for once";
	moved();
	uint32_t m = vtep("m", "192.0.2.2")->slot;
	ASSERT_EQ(apply({network("m", 201)}), 0);
	EXPECT_EQ(moved(), (Slots{m, net_slot("m")}));
	EXPECT_EQ(hop("m", "10.1.0.1")->outer[48], 201);
}

TEST_F(Underlay, AnUnchangedTunnelKeepsItsHopAndMac)
{
	base();
	ASSERT_EQ(apply({remote("r", "n", "192.0.2.2", {"10.1.0.0/16"})}), 0);
	uint32_t h = look("n", "10.1.0.1")->hop;
	struct ip ip = A("192.0.2.2");
	struct mac mac = M("02:00:00:00:cc:01"), got;
	ASSERT_TRUE(neighbour_learn(1, &ip, &mac, 5));
	ASSERT_EQ(apply({remote("r", "n", "192.0.2.2", {"10.1.0.0/16", "10.2.0.0/16"})}), 0);
	EXPECT_EQ(look("n", "10.1.0.1")->hop, h);
	EXPECT_EQ(look("n", "10.2.0.1")->hop, h);
	EXPECT_TRUE(neighbour_mac(hop("n", "10.1.0.1")->neighbour, &got));
	ASSERT_EQ(apply({remote("r", "n", "192.0.2.3", {"10.1.0.0/16", "10.2.0.0/16"})}), 0)
		<< "it moved to another node";
	EXPECT_EQ(via("n", "10.1.0.1"), "192.0.2.3");
	EXPECT_EQ(vtep("n", "192.0.2.2"), nullptr);
	EXPECT_FALSE(neighbour_learn(1, &ip, &mac, 6)) << "nobody sends there any more";
}

TEST_F(Underlay, OverlappingPrefixesMoveWhatCoveredThem)
{
	base();
	ASSERT_EQ(
		apply({remote("r", "n", "192.0.2.2", {"10.0.0.0/8"}), remote("s", "n", "192.0.2.3", {"10.1.0.0/16"})}),
		0);
	uint32_t r = vtep("n", "192.0.2.2")->slot, s = vtep("n", "192.0.2.3")->slot;
	moved();
	ASSERT_EQ(apply({endpoint("e", "n", "p", {"10.1.0.5"})}), 0);
	uint32_t e = look("n", "10.1.0.5")->slot;
	EXPECT_EQ(moved(), (Slots{s, e})) << "of the two that contain it, the longer one served it";
	ASSERT_EQ(apply({endpoint("f", "n", "q", {"10.2.0.5", "172.16.0.1"})}), 0);
	uint32_t f = look("n", "10.2.0.5")->slot;
	EXPECT_EQ(moved(), (Slots{r, f, net_slot("n")})) << "nothing served 172.16.0.1";
	ASSERT_EQ(apply({}, {{KIND_REMOTE, "s"}}), 0);
	EXPECT_EQ(look("n", "10.1.0.9")->slot, r);
	EXPECT_EQ(moved(), (Slots{r, s}));
	ASSERT_EQ(apply({}, {{KIND_ENDPOINT, "e"}}), 0);
	EXPECT_EQ(moved(), (Slots{r, e}));
	EXPECT_EQ(look("n", "10.1.0.5")->slot, r);
}

TEST_F(Underlay, ALocalEndpointIsPreferredToARemoteOne)
{
	base();
	ASSERT_EQ(apply({remote("r", "n", "192.0.2.2", {}, {{"10.0.0.5", "02:00:00:00:bb:05"}})}), 0);
	uint32_t r = vtep("n", "192.0.2.2")->slot;
	moved();
	ASSERT_EQ(apply({endpoint("e", "n", "p", {"10.0.0.5"})}), 0) << "a pod on its way here is not a conflict";
	uint32_t e = look("n", "10.0.0.5")->slot;
	EXPECT_EQ(look("n", "10.0.0.5")->kind, ROUTE_ENDPOINT);
	EXPECT_EQ(moved(), (Slots{r, e}));
	ASSERT_EQ(apply({remote("r", "n", "192.0.2.2", {}, {{"10.0.0.5", "02:00:00:00:bb:06"}})}), 0);
	EXPECT_EQ(look("n", "10.0.0.5")->kind, ROUTE_ENDPOINT);
	ASSERT_EQ(apply({}, {{KIND_ENDPOINT, "e"}}), 0);
	EXPECT_EQ(look("n", "10.0.0.5")->kind, ROUTE_REMOTE);
	EXPECT_EQ(hop("n", "10.0.0.5")->l2[5], 6);
	ASSERT_EQ(apply({endpoint("e", "n", "p", {"10.0.0.5"})}), 0);
	EXPECT_EQ(apply({remote("s", "n", "192.0.2.3", {"10.0.0.5/32"})}), -EEXIST)
		<< "two remotes are, also in its shadow";
	EXPECT_STREQ(error.text, "10.0.0.5/32 belongs to Remote \"r\"");
	ASSERT_EQ(apply({}, {{KIND_REMOTE, "r"}}), 0);
	ASSERT_EQ(apply({}, {{KIND_ENDPOINT, "e"}}), 0);
	EXPECT_EQ(look("n", "10.0.0.5"), nullptr);
}

TEST_F(Underlay, AnAbortLeavesEverythingAsItWas)
{
	base();
	ASSERT_EQ(apply({host_port("h", 2, {"192.0.2.9/24"}), port("p", 3), endpoint("e", "n", "p", {"10.244.1.5"}),
			 remote("r", "n", "192.0.2.2", {"10.244.2.0/24"})}),
		  0);
	const struct config *before = c();
	const struct route *e = look("n", "10.244.1.5"), *r = look("n", "10.244.2.5");
	uint32_t hop_id = r->hop;
	struct ip ip = A("192.0.2.2");
	struct mac mac = M("02:00:00:00:cc:01");
	ASSERT_TRUE(neighbour_learn(1, &ip, &mac, 5));
	moved();
	for (int i = 0; i < 3; i++) {
		struct config_txn *t = config_begin();
		ASSERT_EQ(stage(t,
				{network("n", 300, {}, {"", 1300, 0, false}), network("new", 301),
				 uplink("up", 7, {"192.0.2.77/24"}), host_port("h", 8, {}),
				 endpoint("e", "new", "q", {"10.244.1.5"}),
				 remote("r", "new", "192.0.2.200", {"10.244.2.0/24"}),
				 service("s", "n", "10.96.0.1", "10.244.1.5"),
				 route("d", "0.0.0.0/0", {{"192.0.2.254", "up"}})},
				{{KIND_PORT, "p"}}),
			  0)
			<< error.text;
		config_abort(t);
		rcu_reclaim();
	}
	EXPECT_EQ(c(), before);
	EXPECT_EQ(look("n", "10.244.1.5"), e);
	EXPECT_EQ(look("n", "10.244.2.5"), r);
	EXPECT_EQ(r->hop, hop_id);
	EXPECT_EQ(hop_get(r->hop)->port, 1);
	EXPECT_EQ(c()->port[3]->endpoint, e->endpoint);
	EXPECT_EQ(c()->port[7], nullptr);
	EXPECT_EQ(id("new"), UINT32_MAX);
	struct mac got;
	EXPECT_TRUE(neighbour_mac(hop_get(r->hop)->neighbour, &got));
	Slots m = moved();
	for (uint32_t slot : {e->slot, r->slot, c()->host_slot, net_slot("n"), net_slot("underlay")})
		EXPECT_EQ(m.count(slot), 0u) << slot;
	ASSERT_EQ(apply({}, {{KIND_ENDPOINT, "e"}, {KIND_REMOTE, "r"}}), 0) << "and all of it can still change";
}

// --- the underlay itself, as workers see it ---

class Wire : public Underlay
{
      protected:
	const struct route *
	out(const std::string &ip)
	{
		return look("underlay", ip);
	}
	// "link", "via 192.0.2.254", "host" or "".
	std::string
	way(const std::string &ip)
	{
		const struct route *r = out(ip);
		if (r == nullptr)
			return "";
		if (r->kind == ROUTE_HOST)
			return "host";
		const struct hop *h = hop_get(r->hop);
		EXPECT_EQ(h->kind, HOP_UNDERLAY);
		EXPECT_EQ(h->port, 1);
		EXPECT_EQ(r->slot, config_current()->network[NETWORK_UNDERLAY]->slot);
		return r->kind == ROUTE_LINK ? "link" : "via " + text(neighbour_table[h->neighbour].ip);
	}
};

TEST_F(Wire, NetworksOfTheUplinkAndOfTheHostPort)
{
	ASSERT_EQ(apply({uplink("up", 1, {"192.0.2.1/24"}, 9000), host_port("host", 2, {"192.0.2.1/24", "2001:db8::1/64", "198.51.100.1/32"})}), 0);
	EXPECT_EQ(way("192.0.2.9"), "link");
	EXPECT_EQ(way("192.0.2.1"), "host");
	EXPECT_EQ(way("2001:db8::9"), "link");
	EXPECT_EQ(way("198.51.100.1"), "host");
	EXPECT_EQ(way("198.51.100.2"), "");
	const struct hop *h = hop_get(out("2001:db8::9")->hop);
	EXPECT_EQ(h->neighbour, 0);
	EXPECT_EQ(h->mtu, 9000);
	EXPECT_EQ(text(h->source), "2001:db8::1");
	EXPECT_EQ(text(hop_get(out("192.0.2.9")->hop)->source), "192.0.2.1");
	uint32_t before = out("192.0.2.9")->hop;
	moved();
	ASSERT_EQ(apply({uplink("up", 1, {"203.0.113.1/24"})}), 0);
	EXPECT_EQ(way("203.0.113.9"), "link");
	EXPECT_EQ(way("192.0.2.9"), "link") << "by the host port's address";
	EXPECT_NE(out("192.0.2.9")->hop, before) << "what uses a hop sees it unchanged";
	EXPECT_TRUE(moved().count(config_current()->network[NETWORK_UNDERLAY]->slot));
	ASSERT_EQ(apply({}, {{KIND_PORT, "up"}}), 0);
	EXPECT_EQ(way("192.0.2.9"), "");
}

TEST_F(Wire, RoutesAndTheirNextHops)
{
	ASSERT_EQ(apply({route("d", "0.0.0.0/0", {{"192.0.2.254", "up"}}), route("six", "::/0", {{"2001:db8::fe", "up"}}),
			 route("elsewhere", "198.51.100.0/24", {{"192.0.2.253", "other"}})}),
		  0);
	EXPECT_EQ(way("8.8.8.8"), "") << "no uplink yet";
	ASSERT_EQ(apply({uplink("up", 1, {"192.0.2.1/24"})}), 0);
	EXPECT_EQ(way("8.8.8.8"), "via 192.0.2.254");
	EXPECT_EQ(way("198.51.100.1"), "via 192.0.2.254") << "the longer prefix leads nowhere";
	EXPECT_EQ(way("2001:db8:9::1"), "") << "nobody here could ask for its gateway";
	ASSERT_EQ(apply({host_port("host", 2, {"2001:db8::1/64"})}), 0);
	EXPECT_EQ(way("2001:db8:9::1"), "via 2001:db8::fe");
	moved();
	ASSERT_EQ(apply({route("d", "0.0.0.0/0", {{"192.0.2.253", "up"}})}), 0);
	EXPECT_EQ(way("8.8.8.8"), "via 192.0.2.253");
	EXPECT_TRUE(moved().count(config_current()->network[NETWORK_UNDERLAY]->slot));
	ASSERT_EQ(apply({}, {{KIND_ROUTE, "d"}}), 0);
	EXPECT_EQ(way("8.8.8.8"), "");
	EXPECT_EQ(way("192.0.2.77"), "link");
}

TEST_F(Wire, ANetworkOfTheUplinkNeedsNoRoute)
{
	ASSERT_EQ(apply({route("r", "192.0.2.0/24", {{"198.51.100.9", "up"}}), route("one", "192.0.2.1/32", {{"198.51.100.9", "up"}}),
			 uplink("up", 1, {"192.0.2.1/24"})}),
		  0);
	EXPECT_EQ(way("192.0.2.9"), "link");
	EXPECT_EQ(way("192.0.2.1"), "host");
	ASSERT_EQ(apply({uplink("up", 1, {"198.51.100.1/24"})}), 0);
	EXPECT_EQ(way("192.0.2.9"), "via 198.51.100.9");
	EXPECT_EQ(way("192.0.2.1"), "via 198.51.100.9");
}

TEST_F(Wire, WeightsShareTheFlows)
{
	Object o = route("d", "0.0.0.0/0", {{"192.0.2.254", "up"}, {"192.0.2.253", "other"}, {"192.0.2.252", "up"}});
	const_cast<struct spec_next_hop *>(o.spec->route.next_hops)[2].weight = 3;
	ASSERT_EQ(apply({uplink("up", 1, {"192.0.2.1/24"}), o}), 0);
	const struct route *r = out("8.8.8.8");
	ASSERT_EQ(r->n_ways, 2u);
	unsigned int n = 0;
	for (uint32_t k = 0; k < 1000; k++)
		n += text(neighbour_table[hop_get(config_route_hop(r, k * 4294967u))->neighbour].ip) == "192.0.2.252";
	EXPECT_NEAR(n, 750, 5);
	EXPECT_EQ(config_route_hop(r, UINT32_MAX), r->ways[1].hop);
	EXPECT_EQ(config_route_hop(r, 0), r->hop);
}

TEST_F(Wire, HopsAndNeighboursComeBack)
{
	ASSERT_EQ(apply({uplink("up", 1, {"192.0.2.1/24"}), route("d", "0.0.0.0/0", {{"192.0.2.254", "up"}})}), 0);
	for (uint32_t k = 0; k < 2 * WEFT_MAX_NEIGHBOURS; k++) {
		char gw[20];
		snprintf(gw, sizeof(gw), "192.0.2.%u", 2 + k % 200);
		ASSERT_EQ(apply({route("d", "0.0.0.0/0", {{gw, "up"}}), uplink("up", 1, {"192.0.2.1/24"}, static_cast<uint16_t>(1400 + k % 2))}), 0) << k;
		if (k % 64 == 0)
			rcu_reclaim();
	}
	EXPECT_NE(way("8.8.8.8"), "");
}

TEST_F(Wire, WhatTheUplinkBringsForPods)
{
	auto watched = [&](const char *ip) {
		struct ip a = A(ip);
		return lpm_find(&config_current()->watch, NETWORK_UNDERLAY, &a) != nullptr;
	};
	Object n = network("n", 100, {{"10.244.1.0/24", "10.244.1.1"}}), plain = network("n", 100, {{"10.244.1.0/24", "10.244.1.1"}});
	Object other = network("m", 101, {{"10.245.1.0/24", "10.245.1.1"}});
	for (Object *o : {&n, &other}) {
		auto *s = const_cast<union spec *>(o->spec);
		s->network.has_masquerade = true;
		s->network.masquerade.ips = ips({"192.0.2.1"});
		s->network.masquerade.exclude = prefixes(o == &n ? Names{"203.0.113.0/24"} : Names{});
	}
	ASSERT_EQ(apply({plain}), 0);
	EXPECT_EQ(config_current()->watch.map.count, 0u) << "costs nothing when there is nothing";
	moved();
	ASSERT_EQ(apply({n, other}), 0);
	EXPECT_TRUE(moved().count(config_current()->network[NETWORK_UNDERLAY]->slot));
	EXPECT_TRUE(watched("192.0.2.1"));
	EXPECT_TRUE(watched("10.244.1.9"));
	EXPECT_FALSE(watched("10.245.1.9")) << "its pods are never seen outside";
	ASSERT_EQ(apply({plain}), 0);
	EXPECT_TRUE(watched("192.0.2.1")) << "the other's as well";
	EXPECT_FALSE(watched("10.244.1.9"));
	ASSERT_EQ(apply({}, {{KIND_NETWORK, "m"}}), 0);
	EXPECT_EQ(config_current()->watch.map.count, 0u);
	EXPECT_EQ(config_current()->exclude.map.count, 0u);
}

} // namespace
