// SPDX-License-Identifier: Apache-2.0
// NetworkPolicy (networking.k8s.io/v1) and ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) as their API texts read, on labels and
// selectors: who may talk to whom. And the agent that a cluster would have: selectors become AddressSets, policies become Policies. Knows
// nothing of how the switch does it.
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kube {

using Labels = std::map<std::string, std::string>;

// A label selector with matchLabels; an empty one selects everything.
struct Selector {
	Labels want;
	Selector(std::initializer_list<std::pair<const std::string, std::string>> l = {}) : want(l) {}
	bool selects(const Labels &have) const
	{
		for (auto &w : want) {
			auto it = have.find(w.first);
			if (it == have.end() || it->second != w.second)
				return false;
		}
		return true;
	}
	std::string text() const
	{
		std::string s;
		for (auto &w : want)
			s += (s.empty() ? "" : "_") + w.first + "=" + w.second;
		return s.empty() ? "all" : s;
	}
};

struct PodPort {
	std::string name, protocol;
	int port;
};
struct Pod {
	std::string ns, name;
	Labels labels;
	std::vector<std::string> ips;
	std::vector<PodPort> ports;
	bool local;
	std::string id() const { return ns + "/" + name; }
};

// podSelector and namespaceSelector: both: pods so labelled in namespaces so labelled; podSelector alone: in the policy's namespace;
// namespaceSelector alone: all pods there. Or an ipBlock.
struct Peer {
	std::optional<Selector> pods, namespaces;
	std::string cidr;
	std::vector<std::string> except;
};
inline Peer pods(Selector s) { return {s, {}, "", {}}; }
inline Peer namespaces(Selector s) { return {{}, s, "", {}}; }
inline Peer pods_in(Selector ns, Selector pods) { return {pods, ns, "", {}}; }
inline Peer block(const std::string &cidr, std::vector<std::string> except = {}) { return {{}, {}, cidr, except}; }

struct Port {
	std::string protocol; // "": absent, which is TCP
	int port = 0;         // 0: absent, every port of the protocol
	int end = 0;
	std::string name;     // instead of a number
};
inline Port tcp(int port, int end = 0) { return {"TCP", port, end, ""}; }
inline Port udp(int port, int end = 0) { return {"UDP", port, end, ""}; }
inline Port sctp(int port, int end = 0) { return {"SCTP", port, end, ""}; }
inline Port number(int port) { return {"", port, 0, ""}; }
inline Port protocol(const std::string &p) { return {p, 0, 0, ""}; }
inline Port named(const std::string &name, const std::string &protocol = "") { return {protocol, 0, 0, name}; }

struct Rule {
	std::vector<Peer> peers;
	std::vector<Port> ports;
	std::string action = ""; // ClusterNetworkPolicy: Accept, Deny, Pass
	bool say_empty = false;  // the agent writes "from":[] and "ports":[] instead of leaving them out
};

struct NetworkPolicy {
	std::string ns, name;
	Selector selects;
	std::vector<std::string> types; // empty: absent
	std::optional<std::vector<Rule>> ingress, egress;
};
struct ClusterPolicy {
	std::string name, tier; // "admin", "baseline"
	int priority;
	Selector namespaces, pods; // the subject
	std::vector<Rule> ingress, egress;
};

struct Traffic {
	std::string from, to, protocol;
	int port;
};

inline std::vector<uint8_t> bits_of(const std::string &ip)
{
	bool six = ip.find(':') != std::string::npos;
	std::vector<uint8_t> out(six ? 16 : 4);
	inet_pton(six ? AF_INET6 : AF_INET, ip.c_str(), out.data());
	return out;
}
inline bool inside(const std::string &ip, const std::string &cidr)
{
	size_t slash = cidr.find('/');
	auto a = bits_of(ip), b = bits_of(cidr.substr(0, slash));
	if (a.size() != b.size())
		return false;
	size_t len = slash == std::string::npos ? a.size() * 8 : std::stoul(cidr.substr(slash + 1));
	for (size_t i = 0; i < len; i++)
		if ((a[i / 8] ^ b[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

struct Cluster {
	std::map<std::string, Labels> namespaces;
	std::vector<Pod> pods;
	std::vector<NetworkPolicy> policies;
	std::vector<ClusterPolicy> cluster_policies;

	const Pod *pod_at(const std::string &ip) const
	{
		for (auto &p : pods)
			for (auto &have : p.ips)
				if (have == ip)
					return &p;
		return nullptr;
	}

	// --- the API's text ---

	bool peer_matches(const Peer &peer, const std::string &ns, const std::string &ip) const
	{
		if (!peer.cidr.empty()) {
			for (auto &x : peer.except)
				if (inside(ip, x))
					return false;
			return inside(ip, peer.cidr);
		}
		const Pod *p = pod_at(ip);
		if (p == nullptr)
			return false;
		if (peer.namespaces ? !peer.namespaces->selects(namespaces.at(p->ns)) : p->ns != ns)
			return false;
		return !peer.pods || peer.pods->selects(p->labels);
	}
	bool port_matches(const Port &port, const Traffic &t) const
	{
		if (t.protocol != (port.protocol.empty() ? "TCP" : port.protocol))
			return false;
		if (!port.name.empty()) {
			const Pod *to = pod_at(t.to);
			if (to == nullptr || !to->local)
				return false; // the node's agent resolves names of the endpoints that it has
			for (auto &have : to->ports)
				if (have.name == port.name && have.protocol == t.protocol && have.port == t.port)
					return true;
			return false;
		}
		if (port.port == 0)
			return true;
		return port.end != 0 ? t.port >= port.port && t.port <= port.end : t.port == port.port;
	}
	bool rule_matches(const Rule &r, const std::string &ns, const std::string &peer, const Traffic &t) const
	{
		bool from = r.peers.empty(), on = r.ports.empty();
		for (auto &p : r.peers)
			from |= peer_matches(p, ns, peer);
		for (auto &p : r.ports)
			on |= port_matches(p, t);
		return from && on;
	}
	static bool speaks_of(const NetworkPolicy &p, bool ingress)
	{
		if (p.types.empty())
			return ingress || (p.egress && !p.egress->empty());
		return std::count(p.types.begin(), p.types.end(), ingress ? "Ingress" : "Egress") != 0;
	}
	// "" when no rule of the tier has a word on it.
	std::string tier_says(const std::string &tier, const Pod &pod, bool ingress, const std::string &peer, const Traffic &t) const
	{
		std::vector<const ClusterPolicy *> order;
		for (auto &p : cluster_policies)
			if (p.tier == tier)
				order.push_back(&p);
		std::sort(order.begin(), order.end(), [](auto *a, auto *b) { return a->priority != b->priority ? a->priority < b->priority : a->name < b->name; });
		for (auto *p : order) {
			if (!p->namespaces.selects(namespaces.at(pod.ns)) || !p->pods.selects(pod.labels))
				continue;
			for (auto &r : ingress ? p->ingress : p->egress)
				if (rule_matches(r, "", peer, t))
					return r.action == "Pass" ? "" : r.action;
		}
		return "";
	}
	bool direction_allows(const Pod &pod, bool ingress, const std::string &peer, const Traffic &t) const
	{
		std::string admin = tier_says("admin", pod, ingress, peer, t);
		if (!admin.empty())
			return admin == "Accept";
		bool isolated = false;
		for (auto &p : policies) {
			if (p.ns != pod.ns || !p.selects.selects(pod.labels) || !speaks_of(p, ingress))
				continue;
			isolated = true;
			auto &rules = ingress ? p.ingress : p.egress;
			for (size_t i = 0; rules && i < rules->size(); i++)
				if (rule_matches((*rules)[i], p.ns, peer, t))
					return true;
		}
		if (isolated)
			return false;
		return tier_says("baseline", pod, ingress, peer, t) != "Deny";
	}
	// Judged where the pods are: at a local source for egress, at a local destination for ingress.
	bool allows(const Traffic &t) const
	{
		const Pod *from = pod_at(t.from), *to = pod_at(t.to);
		if (from != nullptr && from == to)
			return true;
		if (from != nullptr && from->local && !direction_allows(*from, false, t.to, t))
			return false;
		return to == nullptr || !to->local || direction_allows(*to, true, t.from, t);
	}

	// --- the agent ---

	static std::string quoted(const std::string &s) { return "\"" + s + "\""; }
	template <class V, class F> static std::string list(const V &v, F f)
	{
		std::string s;
		for (auto &x : v) {
			std::string one = f(x);
			if (!one.empty())
				s += (s.empty() ? "" : ",") + one;
		}
		return "[" + s + "]";
	}
	static std::string set_name(const Peer &p, const std::string &ns)
	{
		return (p.namespaces ? "ns-" + p.namespaces->text() : "in-" + ns) + "/" + (p.pods ? p.pods->text() : "all");
	}
	std::string peer_json(const Peer &p, const std::string &ns, std::map<std::string, std::string> &sets) const
	{
		if (!p.cidr.empty())
			return "{\"cidr\":" + quoted(p.cidr) + (p.except.empty() ? "" : ",\"except\":" + list(p.except, quoted)) + "}";
		std::string name = set_name(p, ns);
		std::vector<std::string> members;
		for (auto &pod : pods)
			for (auto &ip : pod.ips)
				if (peer_matches(p, ns, ip))
					members.push_back(ip);
		sets[name] = "{\"kind\":\"AddressSet\",\"name\":" + quoted(name) + ",\"network\":\"default\",\"members\":" + list(members, quoted) + "}";
		return "{\"set\":" + quoted(name) + "}";
	}
	static std::string port_json(const Port &p)
	{
		std::string s;
		if (!p.protocol.empty())
			s += "\"protocol\":" + quoted(p.protocol);
		if (p.port != 0 || !p.name.empty())
			s += (s.empty() ? "" : ",") + std::string("\"port\":") + (p.name.empty() ? std::to_string(p.port) : quoted(p.name));
		if (p.end != 0)
			s += ",\"endPort\":" + std::to_string(p.end);
		return "{" + s + "}";
	}
	std::string rule_json(const Rule &r, bool ingress, const std::string &ns, std::map<std::string, std::string> &sets) const
	{
		std::string s;
		if (!r.peers.empty() || r.say_empty)
			s += std::string(ingress ? "\"from\":" : "\"to\":") + list(r.peers, [&](auto &p) { return peer_json(p, ns, sets); });
		if (!r.ports.empty() || r.say_empty)
			s += (s.empty() ? "" : ",") + std::string("\"ports\":") + list(r.ports, port_json);
		if (!r.action.empty()) {
			std::string a = r.action;
			a[0] = (char)tolower(a[0]);
			s += (s.empty() ? "" : ",") + std::string("\"action\":") + quoted(a);
		}
		return "{" + s + "}";
	}
	// What the agent of the node applies: all that is about policy.
	std::vector<std::string> objects() const
	{
		std::map<std::string, std::string> sets;
		std::vector<std::string> out;
		for (auto &p : policies) {
			std::string s = "{\"kind\":\"Policy\",\"network\":\"default\",\"name\":" + quoted(p.ns + "/" + p.name) + ",\"endpoints\":";
			s += list(pods, [&](auto &pod) { return pod.local && pod.ns == p.ns && p.selects.selects(pod.labels) ? quoted(pod.id()) : ""; });
			if (!p.types.empty())
				s += ",\"types\":" + list(p.types, quoted);
			if (p.ingress)
				s += ",\"ingress\":" + list(*p.ingress, [&](auto &r) { return rule_json(r, true, p.ns, sets); });
			if (p.egress)
				s += ",\"egress\":" + list(*p.egress, [&](auto &r) { return rule_json(r, false, p.ns, sets); });
			out.push_back(s + "}");
		}
		for (auto &p : cluster_policies) {
			std::string s = "{\"kind\":\"Policy\",\"network\":\"default\",\"name\":" + quoted(p.name) + ",\"tier\":" + quoted(p.tier) +
					",\"priority\":" + std::to_string(p.priority);
			if (!p.namespaces.want.empty() || !p.pods.want.empty())
				s += ",\"endpoints\":" + list(pods, [&](auto &pod) {
					     return pod.local && p.namespaces.selects(namespaces.at(pod.ns)) && p.pods.selects(pod.labels) ? quoted(pod.id()) : "";
				     });
			s += ",\"types\":[\"Ingress\",\"Egress\"]";
			s += ",\"ingress\":" + list(p.ingress, [&](auto &r) { return rule_json(r, true, "", sets); });
			s += ",\"egress\":" + list(p.egress, [&](auto &r) { return rule_json(r, false, "", sets); });
			out.push_back(s + "}");
		}
		for (auto &s : sets)
			out.push_back(s.second);
		return out;
	}
};

} // namespace kube
