// SPDX-License-Identifier: Apache-2.0
// Policies as a test writes them, and the tables under test with their transactions.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <weft/policy.h>
#include <weft/rcu.h>

namespace policy_spec
{

inline struct ip
address(const std::string &text)
{
	struct in6_addr a6;
	struct in_addr a4;
	if (inet_pton(AF_INET, text.c_str(), &a4) == 1)
		return ip_from4(a4.s_addr);
	if (inet_pton(AF_INET6, text.c_str(), &a6) != 1)
		throw std::invalid_argument(text);
	return ip_from6(&a6);
}

inline struct prefix
prefix_of(const std::string &text)
{
	size_t slash = text.find('/');
	struct ip a = address(text.substr(0, slash));
	int base = text.find(':') == std::string::npos ? 96 : 0;
	int len = slash == std::string::npos ? 128 : base + std::stoi(text.substr(slash + 1));
	struct prefix p = {};
	p.ip = ip_masked(&a, (uint8_t)len);
	p.len = (uint8_t)len;
	return p;
}

struct Port {
	uint8_t protocol = IPPROTO_TCP;
	uint16_t port = 0, end = 0;
	std::string name = {};
	int type = -1, code = -1;
};
struct Peer {
	std::string set, cidr;
	std::vector<std::string> except;
};
inline Peer
in_set(const std::string &name)
{
	return {name, "", {}};
}
inline Peer
in_cidr(const std::string &cidr, std::vector<std::string> except = {})
{
	return {"", cidr, std::move(except)};
}
struct Rule {
	enum rule_action action = RULE_ACCEPT;
	std::vector<Peer> peers;
	std::vector<Port> ports;
	std::string name = {};
};
struct Policy {
	std::string name;
	enum policy_tier tier = TIER_NETWORK;
	uint32_t priority = 0;
	std::optional<std::vector<std::string>> endpoints = {};
	std::vector<Rule> ingress = {}, egress = {};
	bool ingress_type = true, egress_type = false;
	bool enforce = true, connection = false, log = false;
	uint32_t network = 1;
};

// The C specs of what a test wrote; they live as long as this does.
class Arena
{
	std::deque<std::string> strings;
	std::deque<std::vector<const char *>> names;
	std::deque<std::vector<struct prefix>> prefixes;
	std::deque<std::vector<struct spec_peer>> peers;
	std::deque<std::vector<struct spec_rule_port>> ports;
	std::deque<std::vector<struct spec_rule>> rule_lists;

      public:
	const char *
	text(const std::string &s)
	{
		return strings.emplace_back(s).c_str();
	}
	struct prefix_list
	list(const std::vector<std::string> &texts)
	{
		auto &v = prefixes.emplace_back();
		for (auto &s : texts)
			v.push_back(prefix_of(s));
		return {v.data(), (uint32_t)v.size()};
	}
	struct spec_peer
	peer(const Peer &p)
	{
		struct spec_peer out = {};
		if (!p.set.empty())
			out.set = text(p.set);
		if (!p.cidr.empty()) {
			out.has_cidr = true;
			out.cidr = prefix_of(p.cidr);
		}
		out.except = list(p.except);
		return out;
	}
	struct spec_rule_port
	port(const Port &p)
	{
		struct spec_rule_port out = {};
		out.protocol = p.protocol;
		out.port = p.port;
		out.end_port = p.end;
		out.port_name = p.name.empty() ? nullptr : text(p.name);
		out.has_icmp_type = p.type >= 0;
		out.icmp_type = (uint8_t)(p.type >= 0 ? p.type : 0);
		out.has_icmp_code = p.code >= 0;
		out.icmp_code = (uint8_t)(p.code >= 0 ? p.code : 0);
		return out;
	}
	struct spec_rule
	rule(const Rule &r)
	{
		struct spec_rule out = {};
		auto &pe = peers.emplace_back();
		auto &po = ports.emplace_back();
		for (auto &p : r.peers)
			pe.push_back(peer(p));
		for (auto &p : r.ports)
			po.push_back(port(p));
		out.name = r.name.empty() ? nullptr : text(r.name);
		out.action = r.action;
		out.peers = pe.data();
		out.n_peers = (uint32_t)pe.size();
		out.ports = po.data();
		out.n_ports = (uint32_t)po.size();
		return out;
	}
	const struct spec_rule *
	rules(const std::vector<Rule> &v)
	{
		auto &out = rule_lists.emplace_back();
		for (auto &r : v)
			out.push_back(rule(r));
		return out.data();
	}
	struct spec_policy
	policy(const Policy &p)
	{
		struct spec_policy out = {};
		out.name = text(p.name);
		out.tier = p.tier;
		out.priority = p.priority;
		out.has_endpoints = p.endpoints.has_value();
		if (p.endpoints) {
			auto &v = names.emplace_back();
			for (auto &s : *p.endpoints)
				v.push_back(text(s));
			out.endpoints = {v.data(), (uint32_t)v.size()};
		}
		out.ingress_type = p.ingress_type;
		out.egress_type = p.egress_type;
		out.enforce = p.enforce;
		out.connection_semantics = p.connection;
		out.log = p.log;
		out.ingress = rules(p.ingress);
		out.n_ingress = (uint32_t)p.ingress.size();
		out.egress = rules(p.egress);
		out.n_egress = (uint32_t)p.egress.size();
		return out;
	}
};

// The tables and their one writer. A change without an open transaction gets one of its own.
class Tables
{
	struct txn t = {};
	bool open = false;
	struct policy_tables before = {};

	template <class F>
	auto
	change(F f)
	{
		bool own = !open;
		if (own)
			begin();
		auto rc = f();
		if (own)
			rc == 0 ? commit() : abort();
		return rc;
	}
	static void
	note(void *arg, uint32_t slot)
	{
		static_cast<Tables *>(arg)->bumped.insert(slot);
	}

      public:
	struct policy_tables p = {};
	struct error error = {};
	std::set<uint32_t> bumped;

	Tables()
	{
		EXPECT_EQ(rcu_init(4), 0);
	}
	~Tables()
	{
		begin();
		policy_clear(&p, &t);
		commit();
		rcu_fini();
	}
	void
	begin()
	{
		before = p;
		txn_begin(&t);
		open = true;
		bumped.clear();
	}
	void
	commit()
	{
		txn_commit(&t);
		rcu_reclaim();
		open = false;
	}
	void
	abort()
	{
		txn_abort(&t);
		p = before;
		open = false;
	}
	int
	put(const Policy &policy)
	{
		Arena a;
		struct spec_policy spec = a.policy(policy);
		return change([&] { return policy_put(&p, &t, policy.network, &spec, note, this, &error); });
	}
	int
	remove(const std::string &name)
	{
		return change([&] { return policy_remove(&p, &t, name.c_str(), note, this); });
	}
	int
	insert(const std::string &name, enum policy_direction dir, uint32_t at, const Rule &r)
	{
		Arena a;
		struct spec_rule rule = a.rule(r);
		struct policy_edit e = {dir, at, &rule};
		return change([&] { return policy_patch(&p, &t, name.c_str(), &e, 1, note, this, &error); });
	}
	int
	erase(const std::string &name, enum policy_direction dir, uint32_t at)
	{
		struct policy_edit e = {dir, at, nullptr};
		return change([&] { return policy_patch(&p, &t, name.c_str(), &e, 1, note, this, &error); });
	}
	int
	put_set(const std::string &name, const std::vector<std::string> &members, uint32_t network = 1)
	{
		Arena a;
		struct spec_address_set spec = {};
		spec.name = a.text(name);
		spec.members = a.list(members);
		return change([&] { return address_set_put(&p, &t, network, &spec, note, this, &error); });
	}
	int
	put_set(const struct spec_address_set &spec, uint32_t network)
	{
		return change([&] { return address_set_put(&p, &t, network, &spec, note, this, &error); });
	}
	int
	put_spec(const struct spec_policy &spec, uint32_t network)
	{
		return change([&] { return policy_put(&p, &t, network, &spec, note, this, &error); });
	}
	int
	patch_set(const std::string &name, const std::vector<std::string> &add, const std::vector<std::string> &remove)
	{
		Arena a;
		struct prefix_list more = a.list(add), less = a.list(remove);
		return change([&] { return address_set_patch(&p, &t, name.c_str(), &more, &less, note, this); });
	}
	int
	remove_set(const std::string &name)
	{
		return change([&] { return address_set_remove(&p, &t, name.c_str(), note, this); });
	}
	int
	put_endpoint(const std::string &name, uint32_t slot, uint32_t network = 1)
	{
		return change([&] { return policy_endpoint_put(&p, &t, name.c_str(), network, slot, note, this); });
	}
	int
	remove_endpoint(const std::string &name)
	{
		return change([&] {
			policy_endpoint_remove(&p, &t, name.c_str(), note, this);
			return 0;
		});
	}
	std::string
	rule_name(uint32_t rule) const
	{
		char buf[512];
		return policy_rule_name(&p, rule, buf, sizeof(buf)) ? buf : "";
	}
};

} // namespace policy_spec
