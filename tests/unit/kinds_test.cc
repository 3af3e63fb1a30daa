// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>
#include <string>

#include <kinds.h>
#include <weft/text.h>

namespace
{

std::string
ip(const struct ip &a)
{
	char text[IP_TEXT_MAX];
	return ip_format(&a, text);
}

std::string
prefix(const struct prefix &p)
{
	char text[PREFIX_TEXT_MAX];
	return prefix_format(&p, text);
}

class Kinds : public testing::Test
{
      protected:
	struct arena a = {};
	struct error e = {};
	union spec s = {};

	void
	TearDown() override
	{
		arena_free(&a);
	}

	int
	decode(enum kind kind, const std::string &json)
	{
		json_error_t why;
		json_t *object = json_loads(json.c_str(), JSON_REJECT_DUPLICATES, &why);
		EXPECT_NE(object, nullptr) << json << ": " << why.text;
		memset(&s, 0, sizeof(s));
		e = {};
		int rc = field_decode(kinds[kind].table, &common_table, object, &s, &a, nullptr, &e);
		json_decref(object);
		return rc;
	}

	std::string
	error_of(enum kind kind, const std::string &json)
	{
		EXPECT_EQ(decode(kind, json), -EINVAL) << json;
		return std::string(e.path) + ": " + e.text;
	}
};

#define OK(kind, json) ASSERT_EQ(decode(kind, json), 0) << e.path << ": " << e.text

TEST_F(Kinds, TableIsComplete)
{
	for (int k = 0; k < KIND_COUNT; k++) {
		EXPECT_STREQ(kinds[k].name, kind_words[k]);
		ASSERT_NE(kinds[k].table, nullptr);
		EXPECT_STREQ(kinds[k].table->field[0].name, "name");
		EXPECT_EQ(kinds[k].table->field[0].offset, 0u);
		EXPECT_EQ(kinds[k].table->field[0].need, FIELD_REQUIRED);
		EXPECT_LE(kinds[k].table->size, sizeof(union spec));
		EXPECT_LE(kinds[k].table->n, 64u);
	}
	EXPECT_EQ(kind_words[KIND_COUNT], nullptr);
}

// Every field of every table has a help text, a name of its own, and lies inside its struct.
void
check_table(const struct field_table *t, size_t outer)
{
	std::set<std::string> names;
	size_t size = t->size > outer ? t->size : outer;
	for (unsigned int i = 0; i < t->n; i++) {
		const struct field &f = t->field[i];
		EXPECT_TRUE(names.insert(f.name).second) << f.name;
		EXPECT_GT(strlen(f.help), 3u) << f.name;
		bool placed = f.type != FIELD_OBJECT || f.list;
		EXPECT_LE(placed ? f.offset + (f.list ? sizeof(void *) : f.size) : 0, size) << f.name;
		EXPECT_EQ(f.words != nullptr, f.type == FIELD_WORD || f.type == FIELD_WORDS) << f.name;
		EXPECT_EQ(f.sub != nullptr, f.type == FIELD_OBJECT) << f.name;
		EXPECT_TRUE(f.key == nullptr || field_find(f.sub, f.key) != nullptr) << f.name;
		EXPECT_TRUE(!f.list || f.sub == nullptr || f.size == f.sub->size) << f.name;
		if (f.sub != nullptr)
			check_table(f.sub, f.list ? 0 : size);
	}
}

TEST_F(Kinds, EveryFieldIsSane)
{
	for (int k = 0; k < KIND_COUNT; k++) {
		SCOPED_TRACE(kinds[k].name);
		check_table(kinds[k].table, 0);
	}
}

// The examples of the design, one a kind.
TEST_F(Kinds, Node)
{
	OK(KIND_NODE,
	   R"({"kind":"Node","name":"node-1","self":true,"ips":["192.0.2.1"],"nodePortAddresses":["192.0.2.1"],
		"serviceCIDRs":["10.96.0.0/12"]})");
	EXPECT_TRUE(s.node.self);
	EXPECT_EQ(ip(s.node.ips.v[0]), "192.0.2.1");
	EXPECT_EQ(ip(s.node.node_port_addresses.v[0]), "192.0.2.1");
	EXPECT_EQ(prefix(s.node.service_cidrs.v[0]), "10.96.0.0/12");
	EXPECT_EQ(error_of(KIND_NODE, R"({"name":"n"})"), "ips: is required");
}

TEST_F(Kinds, Network)
{
	OK(KIND_NETWORK, R"({"kind":"Network","name":"default","vni":100,"mode":"l2","mtu":1400,
		"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"}],"gatewayMac":"02:00:00:00:00:99","uplinks":["uplink0"],
		"vxlanPort":8472,"masquerade":{"ips":["192.0.2.1"],"exclude":["10.244.0.0/16"],"portRange":[40000,50000]}})");
	const struct spec_network &n = s.network;
	EXPECT_EQ(n.vni, 100u);
	EXPECT_EQ(n.mode, spec_network::NETWORK_L2);
	EXPECT_EQ(n.mtu, 1400);
	EXPECT_EQ(prefix(n.subnets[0].prefix), "10.244.1.0/24");
	EXPECT_EQ(ip(n.subnets[0].gateway), "10.244.1.1");
	EXPECT_EQ(n.gateway_mac.b[5], 0x99);
	EXPECT_STREQ(n.uplinks.v[0], "uplink0");
	EXPECT_EQ(n.vxlan_port, 8472);
	EXPECT_TRUE(n.has_masquerade);
	EXPECT_EQ(ip(n.masquerade.ips.v[0]), "192.0.2.1");
	EXPECT_EQ(prefix(n.masquerade.exclude.v[0]), "10.244.0.0/16");
	EXPECT_EQ(n.masquerade.port_first, 40000);
	EXPECT_EQ(n.masquerade.port_last, 50000);
}

TEST_F(Kinds, NetworkDefaults)
{
	OK(KIND_NETWORK, R"({"name":"n"})");
	char mac[MAC_TEXT_MAX];
	EXPECT_EQ(s.network.vni, 0u);
	EXPECT_EQ(s.network.mode, spec_network::NETWORK_L3);
	EXPECT_EQ(s.network.mtu, 1450);
	EXPECT_EQ(s.network.vxlan_port, 4789);
	EXPECT_STREQ(mac_format(&s.network.gateway_mac, mac), "02:00:00:00:00:01");
	EXPECT_FALSE(s.network.has_masquerade);
	OK(KIND_NETWORK, R"({"name":"n","masquerade":{"ips":["192.0.2.1"]}})");
	EXPECT_EQ(s.network.masquerade.port_first, 32768);
	EXPECT_EQ(s.network.masquerade.port_last, 60999);
}

TEST_F(Kinds, NetworkRefusals)
{
	EXPECT_EQ(error_of(KIND_NETWORK, R"({"name":"underlay"})").substr(0, 5), "name:");
	EXPECT_EQ(error_of(KIND_NETWORK, R"({"name":"n","vni":16777216})"), "vni: 16777216 is not in 0..16777215");
	EXPECT_EQ(error_of(KIND_NETWORK, R"({"name":"n","mode":"l4"})"), "mode: \"l4\" is not one of l3, l2");
	EXPECT_EQ(error_of(KIND_NETWORK, R"({"name":"n","subnets":[{"prefix":"10.0.0.0/24","gateway":"10.0.1.1"}]})"),
		  "subnets[0].gateway: 10.0.1.1 does not lie in 10.0.0.0/24");
	EXPECT_EQ(error_of(KIND_NETWORK, R"({"name":"n","subnets":[{"prefix":"fd00::/64","gateway":"10.0.1.1"}]})")
			  .substr(0, 19),
		  "subnets[0].gateway:");
	EXPECT_EQ(error_of(KIND_NETWORK, R"({"name":"n","masquerade":{}})"), "masquerade.ips: is required");
	EXPECT_EQ(error_of(KIND_NETWORK, R"({"name":"n","masquerade":{"ips":[]}})"),
		  "masquerade.ips: needs at least 1 entry");
}

TEST_F(Kinds, Ports)
{
	OK(KIND_PORT,
	   R"({"name":"web-0","type":"vhost-user","socket":"web.sock","role":"client","queues":2,"socketOwner":"qemu","socketMode":"0660"})");
	EXPECT_EQ(s.port.type, PORT_VHOST_USER);
	EXPECT_EQ(s.port.role, ROLE_CLIENT);
	EXPECT_EQ(s.port.queues, 2);
	EXPECT_STREQ(s.port.socket_owner, "qemu");
	EXPECT_STREQ(s.port.socket_mode, "0660");
	OK(KIND_PORT, R"({"name":"fw-0","type":"memif","socket":"fw.sock","id":3,"secret":"s","ringSize":2048})");
	EXPECT_EQ(s.port.role, ROLE_DEFAULT);
	EXPECT_EQ(s.port.id, 3u);
	EXPECT_EQ(s.port.ring_size, 2048u);
	EXPECT_EQ(s.port.queues, 1);
	OK(KIND_PORT,
	   R"({"name":"db-0","type":"tap","netns":"/run/netns/db-0","ifname":"eth0","mac":"02:00:00:00:00:05","mtu":1450})");
	EXPECT_STREQ(s.port.netns, "/run/netns/db-0");
	EXPECT_EQ(s.port.mac.b[5], 5);
	OK(KIND_PORT, R"({"name":"host","type":"tap","ifname":"weft0","host":true,"ips":["192.0.2.1/24"]})");
	EXPECT_TRUE(s.port.host);
	EXPECT_EQ(ip(s.port.ips.v[0].ip), "192.0.2.1");
	EXPECT_EQ(prefix(s.port.ips.v[0].prefix), "192.0.2.0/24");
	OK(KIND_PORT,
	   R"({"name":"uplink0","type":"nic","device":"net_af_packet0,iface=eth1","uplink":true,"ips":["192.0.2.1/24"],"vlan":5})");
	EXPECT_TRUE(s.port.uplink);
	EXPECT_EQ(s.port.vlan, 5);
	OK(KIND_PORT, R"({"name":"t","type":"test","uplink":true,"ips":["192.0.2.1/24"],"mac":"02:00:00:00:00:01"})");
}

TEST_F(Kinds, PortFieldsGoWithTheirType)
{
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"vhost-user"})"),
		  "socket: is required for type vhost-user");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"memif"})"), "socket: is required for type memif");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"tap"})"), "ifname: is required for type tap");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"nic"})"), "device: is required for type nic");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"tap","ifname":"e","socket":"s"})"),
		  "socket: does not go with type tap, only with vhost-user and memif");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"memif","socket":"s","host":true})"),
		  "host: does not go with type memif, only with tap");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"vhost-user","socket":"s","host":false})"),
		  "host: does not go with type vhost-user, only with tap");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"vhost-user","socket":"s","ringSize":1024})"),
		  "ringSize: does not go with type vhost-user, only with memif");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"tap","ifname":"e","uplink":true})"),
		  "uplink: does not go with type tap, only with nic");
}

TEST_F(Kinds, PortRefusals)
{
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"memif","socket":"s","ringSize":1000})"),
		  "ringSize: 1000 is not a power of two");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"tap","ifname":"a/b"})").substr(0, 7), "ifname:");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"tap","ifname":"sixteencharslong"})"),
		  "ifname: has 16 bytes, 1..15 are allowed");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"tap","ifname":"e","ips":["10.0.0.1/24"]})").substr(0, 9),
		  "ips: only");
	EXPECT_EQ(
		error_of(KIND_PORT, R"({"name":"p","type":"tap","ifname":"e","host":true,"netns":"/n"})").substr(0, 6),
		"netns:");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"test","host":true,"uplink":true})"),
		  "uplink: a port is either host or uplink");
	for (const char *bad : {"660x", "1777", "9", "08", ""})
		EXPECT_EQ(error_of(KIND_PORT, std::string(R"({"name":"p","type":"memif","socket":"s","socketMode":")") +
						      bad + "\"}")
				  .substr(0, 11),
			  "socketMode:");
	OK(KIND_PORT, R"({"name":"p","type":"memif","socket":"s","socketMode":"600"})");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"vhost-user","socket":"s","queues":17})"),
		  "queues: 17 is not in 1..16");
	EXPECT_EQ(error_of(KIND_PORT, R"({"name":"p","type":"veth"})"),
		  "type: \"veth\" is not one of vhost-user, memif, tap, nic, test");
}

TEST_F(Kinds, Endpoint)
{
	OK(KIND_ENDPOINT, R"({"name":"shop/web-0","network":"default","port":"web-0","mac":"02:00:00:00:00:05",
		"ips":["10.244.1.5","fd00:244:1::5"],"ports":[{"name":"http","protocol":"TCP","port":8080},{"name":"dns","protocol":"UDP","port":53}],
		"antiSpoof":"mac","allowed":[{"ip":"10.244.1.200"},{"ip":"10.9.0.0/16","mac":"02:00:00:00:00:06"}],"prefixes":["10.7.0.0/16"],
		"admit":"closed","rateLimit":{"ingressBps":1000,"egressBps":2000}})");
	const struct spec_endpoint &p = s.endpoint;
	EXPECT_STREQ(p.port, "web-0");
	EXPECT_EQ(ip(p.ips.v[1]), "fd00:244:1::5");
	EXPECT_EQ(p.ports[0].protocol, 6);
	EXPECT_EQ(p.ports[1].protocol, 17);
	EXPECT_EQ(p.anti_spoof, ANTI_SPOOF_MAC);
	EXPECT_EQ(prefix(p.allowed[0].ip), "10.244.1.200/32");
	EXPECT_EQ(p.allowed[1].mac.b[5], 6);
	EXPECT_EQ(prefix(p.prefixes.v[0]), "10.7.0.0/16");
	EXPECT_TRUE(p.admit_closed);
	EXPECT_EQ(p.ingress_bps, 1000u);
	EXPECT_EQ(p.egress_bps, 2000u);
	const std::string head = R"({"name":"e","network":"n","port":"p","mac":"02:00:00:00:00:05",)";
	OK(KIND_ENDPOINT, head + R"("ips":[]})");
	EXPECT_EQ(s.endpoint.anti_spoof, ANTI_SPOOF_STRICT);
	EXPECT_FALSE(s.endpoint.admit_closed);
	EXPECT_EQ(error_of(KIND_ENDPOINT, head + R"("ips":["10.0.0.1","10.0.0.1"]})"), "ips[1]: is there already");
	EXPECT_EQ(error_of(KIND_ENDPOINT, head + R"("ips":[],"ports":[{"name":"a","port":1},{"name":"a","port":2}]})"),
		  "ports[1].name: \"a\" is there already");
	EXPECT_EQ(error_of(KIND_ENDPOINT, head + R"("ips":[],"ports":[{"name":"a","port":1,"protocol":"ICMP"}]})")
			  .substr(0, 18),
		  "ports[0].protocol:");
}

TEST_F(Kinds, RemoteAndRoute)
{
	OK(KIND_REMOTE, R"({"name":"node-2","network":"default","vtep":"192.0.2.2","mac":"02:00:00:00:00:02",
		"prefixes":["10.244.2.0/24","fd00:244:2::/64"],"endpoints":[{"ip":"10.244.9.9","mac":"02:00:00:00:00:09"}]})");
	EXPECT_EQ(ip(s.remote.vtep), "192.0.2.2");
	EXPECT_EQ(prefix(s.remote.prefixes.v[1]), "fd00:244:2::/64");
	EXPECT_EQ(ip(s.remote.endpoints[0].ip), "10.244.9.9");
	OK(KIND_ROUTE,
	   R"({"name":"default","network":"underlay","prefix":"0.0.0.0/0","nextHops":[{"ip":"192.0.2.254","port":"uplink0"}]})");
	EXPECT_EQ(s.route.next_hops[0].weight, 1);
	OK(KIND_ROUTE, R"({"name":"v6","network":"underlay","prefix":"::/0","nextHops":[{"ip":"fe80::1"}]})");
	EXPECT_EQ(
		error_of(
			KIND_ROUTE,
			R"({"name":"r","network":"underlay","prefix":"::/0","nextHops":[{"ip":"fe80::1"},{"ip":"192.0.2.1"}]})"),
		"nextHops[1].ip: is IPv4, but the prefix is IPv6");
	EXPECT_EQ(error_of(KIND_ROUTE, R"({"name":"r","network":"underlay","prefix":"::/0","nextHops":[]})"),
		  "nextHops: needs at least 1 entry");
}

const char *const service =
	R"({"name":"shop/web","network":"default","ips":["10.96.0.10"],"externalIPs":["198.51.100.1"],
	"loadBalancerIPs":["198.51.100.2"],"sourceRanges":["203.0.113.0/24"],"sessionAffinitySeconds":30,
	"ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":8080,"nodePort":30080},{"name":"dns","protocol":"UDP","port":53}],
	"internalTrafficPolicy":"Local","externalTrafficPolicy":"Local","onBackendGone":"timeout",
	"backends":[{"ip":"10.244.1.5","weight":3,"state":"draining","node":"node-1","ports":{"http":8081}},{"ip":"10.244.1.6"}]})";

TEST_F(Kinds, Service)
{
	OK(KIND_SERVICE, service);
	const struct spec_service &v = s.service;
	EXPECT_EQ(v.n_ports, 2u);
	EXPECT_EQ(v.ports[0].target_port, 8080);
	EXPECT_EQ(v.ports[0].node_port, 30080);
	EXPECT_EQ(v.ports[1].protocol, 17);
	EXPECT_EQ(v.ports[1].target_port, 0);
	EXPECT_TRUE(v.internal_local);
	EXPECT_TRUE(v.external_local);
	EXPECT_TRUE(v.gone_timeout);
	EXPECT_EQ(v.session_affinity_seconds, 30u);
	ASSERT_EQ(v.n_backends, 2u);
	EXPECT_EQ(v.backends[0].state, BACKEND_DRAINING);
	EXPECT_STREQ(v.backends[0].ports[0].name, "http");
	EXPECT_EQ(v.backends[0].ports[0].port, 8081);
	EXPECT_EQ(v.backends[1].weight, 1);
	EXPECT_EQ(v.backends[1].state, BACKEND_READY);
}

TEST_F(Kinds, ServiceRefusals)
{
	const std::string head = R"({"name":"s","network":"n",)";
	EXPECT_EQ(error_of(KIND_SERVICE, head + R"("ips":["10.0.0.1"],"ports":[{"port":80},{"port":81,"name":"b"}]})"),
		  "ports[0].name: is required, as there are several ports");
	EXPECT_EQ(error_of(KIND_SERVICE,
			   head + R"("ips":["10.0.0.1"],"ports":[{"name":"a","port":80},{"name":"b","port":80}]})"),
		  "ports[1].port: 80 is ports[0]'s already, with the same protocol");
	OK(KIND_SERVICE,
	   head + R"("ips":["10.0.0.1"],"ports":[{"name":"a","port":80},{"name":"b","port":80,"protocol":"UDP"}]})");
	EXPECT_EQ(error_of(KIND_SERVICE,
			   head + R"("ips":["10.0.0.1"],"ports":[{"name":"a","port":80},{"name":"a","port":81}]})"),
		  "ports[1].name: \"a\" is there already");
	EXPECT_EQ(error_of(KIND_SERVICE, head + R"("ips":["10.0.0.1"],"ports":[{"port":80,"protocol":"ICMP"}]})")
			  .substr(0, 18),
		  "ports[0].protocol:");
	EXPECT_EQ(error_of(KIND_SERVICE, head + R"("ports":[{"port":80}]})"),
		  "ips: a service needs an address or a nodePort");
	OK(KIND_SERVICE, head + R"("ports":[{"port":80,"nodePort":30000}]})");
	EXPECT_EQ(
		error_of(
			KIND_SERVICE,
			head + R"("ips":["10.0.0.1"],"ports":[{"port":80}],"backends":[{"ip":"10.0.0.2"},{"ip":"fd00::1"}]})"),
		"backends[1].ip: is IPv6, but the service has no IPv6 address");
	EXPECT_EQ(
		error_of(
			KIND_SERVICE,
			head + R"("ips":["10.0.0.1"],"ports":[{"name":"a","port":80}],"backends":[{"ip":"10.0.0.2","ports":{"b":1}}]})"),
		"backends[0].ports.b: no port of the service has this name");
	EXPECT_EQ(
		error_of(
			KIND_SERVICE,
			head + R"("ips":["10.0.0.1"],"ports":[{"port":80}],"backends":[{"ip":"10.0.0.2","state":"up"}]})"),
		"backends[0].state: \"up\" is not one of ready, notReady, terminating, draining");
}

TEST_F(Kinds, AddressSet)
{
	OK(KIND_ADDRESS_SET,
	   R"({"name":"shop/app=frontend","network":"default","members":["10.244.1.7","10.0.0.0/8","fd00::/8"]})");
	EXPECT_EQ(prefix(s.address_set.members.v[0]), "10.244.1.7/32");
	EXPECT_EQ(s.address_set.members.n, 3u);
	EXPECT_EQ(error_of(KIND_ADDRESS_SET, R"({"name":"a","network":"n"})"), "members: is required");
}

const std::string policy = R"({"name":"p","network":"n")";

TEST_F(Kinds, Policy)
{
	OK(KIND_POLICY,
	   policy +
		   R"(,"tier":"admin","priority":100,"endpoints":["shop/web-0"],"types":["Egress","Ingress"],"enforce":false,
		"semantics":"connection","log":true,"ingress":[{"name":"r","action":"pass","from":[{"set":"shop/app=frontend"},
		{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}],"ports":[{"protocol":"TCP","port":8080,"endPort":8090},{"port":"http"},
		{"protocol":"ICMP","icmp":{"type":8,"code":0}},{"protocol":"UDP"}]}],"egress":[{"action":"deny","to":[]}]})");
	const struct spec_policy &p = s.policy;
	EXPECT_EQ(p.tier, TIER_ADMIN);
	EXPECT_TRUE(p.has_endpoints);
	EXPECT_TRUE(p.ingress_type);
	EXPECT_TRUE(p.egress_type);
	EXPECT_FALSE(p.enforce);
	EXPECT_TRUE(p.connection_semantics);
	EXPECT_TRUE(p.log);
	ASSERT_EQ(p.n_ingress, 1u);
	const struct spec_rule &r = p.ingress[0];
	EXPECT_EQ(r.action, RULE_PASS);
	EXPECT_STREQ(r.peers[0].set, "shop/app=frontend");
	EXPECT_FALSE(r.peers[0].has_cidr);
	EXPECT_TRUE(r.peers[1].has_cidr);
	EXPECT_EQ(prefix(r.peers[1].except.v[0]), "10.1.0.0/16");
	ASSERT_EQ(r.n_ports, 4u);
	EXPECT_EQ(r.ports[0].end_port, 8090);
	EXPECT_STREQ(r.ports[1].port_name, "http");
	EXPECT_EQ(r.ports[1].protocol, 6);
	EXPECT_TRUE(r.ports[2].has_icmp_type);
	EXPECT_TRUE(r.ports[2].has_icmp_code);
	EXPECT_EQ(r.ports[2].icmp_type, 8);
	EXPECT_EQ(r.ports[3].protocol, 17);
	EXPECT_EQ(r.ports[3].port, 0);
	EXPECT_EQ(p.egress[0].action, RULE_DENY);
	EXPECT_EQ(p.egress[0].n_peers, 0u);
}

TEST_F(Kinds, PolicyTypesDefault)
{
	OK(KIND_POLICY, policy + "}");
	EXPECT_TRUE(s.policy.ingress_type);
	EXPECT_FALSE(s.policy.egress_type);
	EXPECT_FALSE(s.policy.has_endpoints);
	EXPECT_EQ(s.policy.tier, TIER_NETWORK);
	EXPECT_TRUE(s.policy.enforce);
	OK(KIND_POLICY, policy + R"(,"egress":[]})");
	EXPECT_TRUE(s.policy.ingress_type);
	EXPECT_TRUE(s.policy.egress_type);
	OK(KIND_POLICY, policy + R"(,"types":["Egress"]})");
	EXPECT_FALSE(s.policy.ingress_type);
	EXPECT_TRUE(s.policy.egress_type);
	OK(KIND_POLICY, policy + R"(,"types":[]})");
	EXPECT_TRUE(s.policy.ingress_type);
	EXPECT_FALSE(s.policy.egress_type);
	OK(KIND_POLICY, policy + R"(,"types":["Egress"],"ingress":[{}]})");
	EXPECT_FALSE(s.policy.ingress_type) << "rules of a direction that is not named say nothing";
	OK(KIND_POLICY, policy + R"(,"endpoints":[]})");
	EXPECT_TRUE(s.policy.has_endpoints);
	EXPECT_EQ(s.policy.endpoints.n, 0u);
}

TEST_F(Kinds, PolicyRefusals)
{
	EXPECT_EQ(error_of(KIND_POLICY, policy + R"(,"types":["ingress"]})"),
		  "types[0]: \"ingress\" is not one of Ingress, Egress");
	EXPECT_EQ(error_of(KIND_POLICY, policy + R"(,"ingress":[{},{"action":"deny"}]})"),
		  "ingress[1].action: the tier network only accepts; what no rule accepts is denied");
	EXPECT_EQ(error_of(KIND_POLICY, policy + R"(,"tier":"baseline","ingress":[{}]})"),
		  "ingress[0].action: is required outside the tier network");
	EXPECT_EQ(error_of(KIND_POLICY, policy + R"(,"ingress":[{"name":"a"},{"name":"a"}]})"),
		  "ingress[1].name: another rule has this name already");
	EXPECT_EQ(error_of(KIND_POLICY, policy + R"(,"ingress":[{"to":[]}]})").substr(0, 14), "ingress[0].to:");
	EXPECT_EQ(error_of(KIND_POLICY, policy + R"(,"egress":[{"from":[]}]})").substr(0, 15), "egress[0].from:");
	OK(KIND_POLICY, policy + R"(,"ingress":[{},{"action":"accept"},{}]})");
	EXPECT_EQ(s.policy.ingress[0].action, RULE_ACCEPT);
}

TEST_F(Kinds, PolicyPeersAndPorts)
{
	auto peer = [](const char *json) { return policy + R"(,"ingress":[{"from":[)" + json + "]}]}"; };
	EXPECT_EQ(error_of(KIND_POLICY, peer("{}")), "ingress[0].from[0]: must have either \"set\" or \"cidr\"");
	EXPECT_EQ(error_of(KIND_POLICY, peer(R"({"set":"a","cidr":"10.0.0.0/8"})")),
		  "ingress[0].from[0]: must have either \"set\" or \"cidr\"");
	EXPECT_EQ(error_of(KIND_POLICY, peer(R"({"set":"a","except":["10.0.0.0/8"]})")),
		  "ingress[0].from[0].except: goes with \"cidr\" only");
	EXPECT_EQ(error_of(KIND_POLICY, peer(R"({"cidr":"10.0.0.0/8","except":["10.1.0.0/16","11.0.0.0/16"]})")),
		  "ingress[0].from[0].except[1]: 11.0.0.0/16 is not a part of 10.0.0.0/8");
	EXPECT_EQ(error_of(KIND_POLICY, peer(R"({"cidr":"10.0.0.0/8","except":["10.0.0.0/8"]})")),
		  "ingress[0].from[0].except[0]: 10.0.0.0/8 is not a part of 10.0.0.0/8");
	EXPECT_EQ(error_of(KIND_POLICY, peer(R"({"cidr":"::/0","except":["10.0.0.0/8"]})")),
		  "ingress[0].from[0].except[0]: 10.0.0.0/8 is not a part of ::/0");
	auto port = [](const char *json) { return policy + R"(,"ingress":[{"ports":[)" + json + "]}]}"; };
	EXPECT_EQ(error_of(KIND_POLICY, port(R"({"port":80,"endPort":79})")),
		  "ingress[0].ports[0].endPort: 79 is below port, 80");
	OK(KIND_POLICY, port(R"({"port":80,"endPort":80})"));
	EXPECT_EQ(error_of(KIND_POLICY, port(R"({"endPort":79})")),
		  "ingress[0].ports[0].endPort: needs \"port\" as a number");
	EXPECT_EQ(error_of(KIND_POLICY, port(R"({"port":"http","endPort":79})")),
		  "ingress[0].ports[0].endPort: needs \"port\" as a number");
	EXPECT_EQ(error_of(KIND_POLICY, port(R"({"protocol":"ICMP","port":79})")),
		  "ingress[0].ports[0].port: goes with TCP, UDP and SCTP only");
	EXPECT_EQ(error_of(KIND_POLICY, port(R"({"protocol":"TCP","icmp":{"type":8}})")),
		  "ingress[0].ports[0].icmp: goes with ICMP and ICMPv6 only");
	EXPECT_EQ(error_of(KIND_POLICY, port(R"({"protocol":"ICMP","icmp":{"code":8}})")),
		  "ingress[0].ports[0].icmp.type: is required");
}

TEST_F(Kinds, CommonFieldsBelongToEveryKind)
{
	OK(KIND_NODE, R"({"kind":"Node","owner":"cni","status":{"phase":"ready"},"name":"n","ips":[]})");
	EXPECT_EQ(error_of(KIND_NODE, R"({"name":"n","ips":[],"owners":"x"})"),
		  "owners: unknown field; did you mean \"owner\"?");
}

TEST_F(Kinds, RepeatedFindsTheFirstThatWasThereBefore)
{
	const char *const names[] = {"c", nullptr, "a", "b", nullptr, "a", "c"};
	auto at = [](const void *list, uint32_t i) { return static_cast<const char *const *>(list)[i]; };
	EXPECT_EQ(kind_repeated(at, names, 7), 5u);
	EXPECT_EQ(kind_repeated(at, names, 5), 5u);
	EXPECT_EQ(kind_repeated(at, names, 0), 0u);
}

} // namespace
