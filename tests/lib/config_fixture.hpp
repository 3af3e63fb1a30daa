// SPDX-License-Identifier: Apache-2.0
// Objects made in a line each, and batches of them.
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <weft/config.h>
#include <weft/neighbour.h>
#include <weft/rcu.h>
#include <weft/text.h>

struct Object {
	enum kind kind;
	const union spec *spec;
	struct port_facts facts;
};

inline struct ip
A(const std::string &text) {
	struct ip ip = {};
	EXPECT_EQ(ip_parse(text.c_str(), &ip), 0) << text;
	return ip;
}

inline struct prefix
P(const std::string &text) {
	struct prefix p = {};
	EXPECT_EQ(prefix_parse(text.c_str(), &p, nullptr), 0) << text;
	return p;
}

inline struct mac
M(const std::string &text) {
	struct mac m = {};
	EXPECT_EQ(mac_parse(text.c_str(), &m), 0) << text;
	return m;
}

using Names = std::vector<std::string>;

class ConfigTest : public testing::Test
{
      protected:
	void
	SetUp() override
	{
		ASSERT_EQ(rcu_init(4), 0);
		ASSERT_EQ(generation_init(), 0);
		ASSERT_EQ(hop_init(), 0);
		ASSERT_EQ(neighbour_init(), 0);
		ASSERT_EQ(config_init(), 0);
	}
	void
	TearDown() override
	{
		config_fini();
		EXPECT_EQ(config_current(), nullptr);
		neighbour_fini();
		hop_fini();
		generation_fini();
		rcu_fini();
	}

	// Specs live until the test ends.
	template <typename T>
	const T *
	keep(std::vector<T> v)
	{
		auto holder = std::make_shared<std::vector<T>>(std::move(v));
		kept.push_back(holder);
		return holder->data();
	}
	const char *
	keep(const std::string &s)
	{
		return keep(std::vector<char>(s.c_str(), s.c_str() + s.size() + 1));
	}
	union spec *
	fresh(const std::string &name)
	{
		auto *s = const_cast<union spec *>(keep(std::vector<union spec>(1)));
		memset(static_cast<void *>(s), 0, sizeof(*s));
		s->name = keep(name);
		return s;
	}
	struct ip_list
	ips(const Names &texts)
	{
		std::vector<struct ip> v;
		for (auto &t : texts)
			v.push_back(A(t));
		return {keep(v), static_cast<uint32_t>(v.size())};
	}
	struct prefix_list
	prefixes(const Names &texts)
	{
		std::vector<struct prefix> v;
		for (auto &t : texts)
			v.push_back(P(t));
		return {keep(v), static_cast<uint32_t>(v.size())};
	}
	struct host_prefix_list
	host_prefixes(const Names &texts)
	{
		std::vector<struct host_prefix> v;
		for (auto &t : texts) {
			struct host_prefix h = {};
			EXPECT_EQ(prefix_parse(t.c_str(), &h.prefix, &h.ip), 0) << t;
			v.push_back(h);
		}
		return {keep(v), static_cast<uint32_t>(v.size())};
	}

	struct NetworkMore {
		std::string gateway_mac;
		uint16_t mtu, vxlan_port;
		bool l2;
	};
	Object
	network(const std::string &name, uint32_t vni, std::vector<std::pair<std::string, std::string>> subnets = {},
		const NetworkMore &more = {"", 0, 0, false})
	{
		union spec *s = fresh(name);
		std::vector<struct spec_subnet> v;
		for (auto &n : subnets)
			v.push_back({P(n.first), n.second.empty() ? ip{} : A(n.second)});
		s->network.vni = vni;
		s->network.subnets = keep(v);
		s->network.n_subnets = static_cast<uint32_t>(v.size());
		if (!more.gateway_mac.empty())
			s->network.gateway_mac = M(more.gateway_mac);
		s->network.mtu = more.mtu;
		s->network.vxlan_port = more.vxlan_port;
		s->network.mode = more.l2 ? spec_network::NETWORK_L2 : spec_network::NETWORK_L3;
		return {KIND_NETWORK, s, {}};
	}
	Object
	port(const std::string &name, uint16_t id, uint16_t mtu = 0)
	{
		union spec *s = fresh(name);
		s->port.type = PORT_TAP;
		s->port.mtu = mtu;
		return {KIND_PORT, s, {id, {{2, 0xff, 0, 0, static_cast<uint8_t>(id >> 8), static_cast<uint8_t>(id)}}}};
	}
	Object
	host_port(const std::string &name, uint16_t id, const Names &addresses)
	{
		Object o = port(name, id);
		const_cast<union spec *>(o.spec)->port.host = true;
		const_cast<union spec *>(o.spec)->port.ips = host_prefixes(addresses);
		return o;
	}
	Object
	uplink(const std::string &name, uint16_t id, const Names &addresses, uint16_t mtu = 0)
	{
		Object o = port(name, id, mtu);
		const_cast<union spec *>(o.spec)->port.type = PORT_NIC;
		const_cast<union spec *>(o.spec)->port.uplink = true;
		const_cast<union spec *>(o.spec)->port.ips = host_prefixes(addresses);
		return o;
	}
	Object
	endpoint(const std::string &name, const std::string &net, const std::string &port_name, const Names &addresses,
		 const Names &behind = {}, const std::string &mac = "02:00:00:00:aa:01")
	{
		union spec *s = fresh(name);
		s->endpoint.network = keep(net);
		s->endpoint.port = port_name.empty() ? nullptr : keep(port_name);
		s->endpoint.mac = M(mac);
		s->endpoint.ips = ips(addresses);
		s->endpoint.prefixes = prefixes(behind);
		return {KIND_ENDPOINT, s, {}};
	}
	Object
	remote(const std::string &name, const std::string &net, const std::string &vtep, const Names &behind,
	       const std::vector<std::pair<std::string, std::string>> &endpoints = {},
	       const std::string &mac = "02:00:00:00:bb:01")
	{
		union spec *s = fresh(name);
		std::vector<struct spec_remote_endpoint> v;
		for (auto &e : endpoints)
			v.push_back({A(e.first), e.second.empty() ? ::mac{} : M(e.second)});
		s->remote.network = keep(net);
		s->remote.vtep = A(vtep);
		s->remote.prefixes = prefixes(behind);
		s->remote.endpoints = keep(v);
		s->remote.n_endpoints = static_cast<uint32_t>(v.size());
		if (!mac.empty())
			s->remote.mac = M(mac);
		return {KIND_REMOTE, s, {}};
	}
	Object
	route(const std::string &name, const std::string &prefix,
	      const std::vector<std::pair<std::string, std::string>> &next_hops, const std::string &net = "underlay")
	{
		union spec *s = fresh(name);
		std::vector<struct spec_next_hop> v;
		for (auto &h : next_hops)
			v.push_back({A(h.first), keep(h.second), 1});
		s->route.network = keep(net);
		s->route.prefix = P(prefix);
		s->route.next_hops = keep(v);
		s->route.n_next_hops = static_cast<uint32_t>(v.size());
		return {KIND_ROUTE, s, {}};
	}
	Object
	node(const std::string &name, bool self, const Names &addresses, const Names &service_cidrs = {})
	{
		union spec *s = fresh(name);
		s->node.self = self;
		s->node.ips = ips(addresses);
		s->node.service_cidrs = prefixes(service_cidrs);
		return {KIND_NODE, s, {}};
	}
	Object
	service(const std::string &name, const std::string &net, const std::string &ip, const std::string &backend)
	{
		union spec *s = fresh(name);
		struct spec_backend b = {};
		b.ip = A(backend);
		b.weight = 1;
		struct spec_service_port p = {};
		p.name = "http";
		p.protocol = 6;
		p.port = 80;
		s->service.network = keep(net);
		s->service.ips = ips({ip});
		s->service.ports = keep(std::vector<struct spec_service_port>{p});
		s->service.n_ports = 1;
		s->service.backends = keep(std::vector<struct spec_backend>{b});
		s->service.n_backends = 1;
		return {KIND_SERVICE, s, {}};
	}
	Object
	address_set(const std::string &name, const std::string &net, const Names &members)
	{
		union spec *s = fresh(name);
		s->address_set.network = keep(net);
		s->address_set.members = prefixes(members);
		return {KIND_ADDRESS_SET, s, {}};
	}
	Object
	policy(const std::string &name, const std::string &net, const Names &endpoints, const std::string &from_set)
	{
		union spec *s = fresh(name);
		struct spec_peer peer = {};
		peer.set = keep(from_set);
		struct spec_rule rule = {};
		rule.peers = keep(std::vector<struct spec_peer>{peer});
		rule.n_peers = 1;
		std::vector<const char *> names;
		for (auto &e : endpoints)
			names.push_back(keep(e));
		s->policy.network = keep(net);
		s->policy.tier = TIER_NETWORK;
		s->policy.has_endpoints = true;
		s->policy.endpoints = {keep(names), static_cast<uint32_t>(names.size())};
		s->policy.ingress_type = true;
		s->policy.enforce = true;
		s->policy.ingress = keep(std::vector<struct spec_rule>{rule});
		s->policy.n_ingress = 1;
		return {KIND_POLICY, s, {}};
	}

	struct Gone {
		enum kind kind;
		std::string name;
	};
	struct error error = {};
	std::string culprit;

	// All or nothing, removals first as the manager does. 0 or what went wrong, with `error` and `culprit` set.
	int
	apply(const std::vector<Object> &put, const std::vector<Gone> &gone = {})
	{
		struct config_txn *t = config_begin();
		int rc = stage(t, put, gone);
		if (rc < 0) {
			config_abort(t);
			return rc;
		}
		last_epoch = config_publish(t);
		rcu_reclaim();
		return 0;
	}
	int
	stage(struct config_txn *t, const std::vector<Object> &put, const std::vector<Gone> &gone = {})
	{
		int rc = 0;
		error = {};
		culprit.clear();
		for (auto g = gone.begin(); rc == 0 && g != gone.end(); ++g)
			rc = config_remove(t, g->kind, g->name.c_str(), &error);
		for (auto o = put.begin(); rc == 0 && o != put.end(); ++o)
			rc = config_put(t, o->kind, o->spec, o->kind == KIND_PORT ? &o->facts : nullptr, &error);
		if (rc < 0)
			return rc;
		rc = config_check(t, &error);
		enum kind kind;
		const char *name;
		if (rc < 0 && config_culprit(t, &kind, &name))
			culprit = name;
		return rc;
	}

	// Which slots moved since the last call; only slots below `slots` are in use by these tests.
	std::set<uint32_t>
	moved()
	{
		std::set<uint32_t> out;
		if (generations.empty())
			generations.assign(slots, 1);
		for (uint32_t i = 0; i < slots; i++) {
			if (generation_table[i] != generations[i])
				out.insert(i);
			generations[i] = generation_table[i];
		}
		return out;
	}

	static const struct config *
	c()
	{
		return config_current();
	}
	static uint32_t
	id(const std::string &name)
	{
		for (uint32_t i = 0; i < WEFT_MAX_NETWORKS; i++)
			if (c()->network[i] != nullptr && name == c()->network[i]->spec->name)
				return i;
		return UINT32_MAX;
	}
	static uint32_t
	net_slot(const std::string &name)
	{
		return c()->network[id(name)]->slot;
	}
	static const struct route *
	look(const std::string &net, const std::string &ip)
	{
		struct ip a = A(ip);
		return config_route(c(), id(net), &a);
	}
	static const struct vtep *
	vtep(const std::string &net, const std::string &ip)
	{
		struct ip a = A(ip);
		return config_vtep(c(), id(net), &a);
	}
	static std::string
	status(enum kind kind, const std::string &name)
	{
		char buf[200];
		config_object_status(kind, name.c_str(), buf, sizeof(buf));
		return buf;
	}
	static std::string
	text(const struct ip &ip)
	{
		char buf[IP_TEXT_MAX];
		return ip_format(&ip, buf);
	}

	static constexpr uint32_t slots = 4096;
	std::deque<std::shared_ptr<void>> kept;
	std::vector<uint32_t> generations;
	uint64_t last_epoch = 0;
};
