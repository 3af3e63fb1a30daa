// SPDX-License-Identifier: Apache-2.0
// Random batches against a model that knows nothing of incremental change; readers beside the builder; what a change
// costs.
#include <functional>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "config_fixture.hpp"

namespace
{

using Key = std::pair<int, std::string>;
using Model = std::map<Key, Object>;

// One claim on a prefix of a network, as the objects make it.
struct Claim {
	std::string net;
	struct prefix prefix;
	int rank; /* of those with one prefix the lowest serves */
	int kind;
	std::string owner;
};

class Random : public ConfigTest
{
      protected:
	std::mt19937 random{20240817};
	Model model;

	uint32_t
	below(uint32_t n)
	{
		return random() % n;
	}
	template <typename T>
	T
	any(const std::vector<T> &v)
	{
		return v[below(static_cast<uint32_t>(v.size()))];
	}
	std::string
	any_net()
	{
		return any<std::string>({"n0", "n1", "n2"});
	}
	std::string
	any_ip()
	{
		return "10.0." + std::to_string(below(3)) + "." + std::to_string(1 + below(5));
	}
	std::string
	any_prefix()
	{
		return any_ip() + "/" + any<std::string>({"8", "16", "24", "30", "32"});
	}

	Object
	any_object()
	{
		std::string n = std::to_string(below(4));
		switch (below(7)) {
		case 0:
			return network("n" + n, 100 + below(5), {{"10.0." + n + ".0/24", "10.0." + n + ".1"}},
				       {"", any<uint16_t>({0, 1400}), 0, false});
		case 1:
			return port("p" + n, static_cast<uint16_t>(10 + std::stoi(n) + 4 * below(2)));
		case 2:
			return endpoint("e" + n, any_net(), "p" + std::to_string(below(5)), {any_ip()},
					below(3) == 0 ? Names{any_prefix()} : Names{});
		case 3:
			return remote(
				"r" + n, any_net(), any<std::string>({"192.0.2.2", "192.0.2.3", "203.0.113.9"}),
				{any_prefix()},
				below(2) ? std::vector<std::pair<std::string, std::string>>{{any_ip(),
											     "02:00:00:00:bb:0" + n}}
					 : std::vector<std::pair<std::string, std::string>>{},
				any<std::string>({"", "02:00:00:00:bb:01"}));
		case 4:
			return uplink("up" + std::to_string(below(2)), static_cast<uint16_t>(1 + below(2)),
				      {any<std::string>({"192.0.2.1/24", "192.0.2.7/24"})});
		case 5:
			return below(2) ? node("node" + n, below(2), {any_ip()})
					: host_port("host", 5, {"10.0.2." + n + "/24"});
		default:
			return route("route" + n, any<std::string>({"0.0.0.0/0", "203.0.113.0/24"}),
				     {{"192.0.2.25" + n, any<std::string>({"up0", "up1"})}});
		}
	}

	const Object *
	get(const Model &m, int kind, const std::string &name)
	{
		auto it = m.find({kind, name});
		return it != m.end() ? &it->second : nullptr;
	}
	void
	each(const Model &m, int kind, const std::function<void(const std::string &, const Object &)> &fn)
	{
		for (auto &o : m)
			if (o.first.first == kind)
				fn(o.first.second, o.second);
	}
	Names
	node_ips(const Model &m)
	{
		Names out;
		each(m, KIND_PORT, [&](const std::string &, const Object &o) {
			for (uint32_t i = 0; i < o.spec->port.ips.n; i++)
				out.push_back(text(o.spec->port.ips.v[i].ip));
		});
		each(m, KIND_NODE, [&](const std::string &, const Object &o) {
			for (uint32_t i = 0; o.spec->node.self && i < o.spec->node.ips.n; i++)
				out.push_back(text(o.spec->node.ips.v[i]));
		});
		return out;
	}
	std::vector<Claim>
	claims(const Model &m)
	{
		std::vector<Claim> out;
		std::set<std::string> seen;
		Names nets = {"underlay"};
		each(m, KIND_NETWORK, [&](const std::string &name, const Object &o) {
			nets.push_back(name);
			for (uint32_t i = 0; i < o.spec->network.n_subnets; i++)
				out.push_back(
					{name, {o.spec->network.subnets[i].gateway, 128}, 1, ROUTE_GATEWAY, name});
		});
		for (auto &ip : node_ips(m))
			for (auto &net : nets)
				if (seen.insert(net + "/" + ip).second)
					out.push_back({net, {A(ip), 128}, 0, ROUTE_HOST, "node"});
		each(m, KIND_ENDPOINT, [&](const std::string &name, const Object &o) {
			const struct spec_endpoint &s = o.spec->endpoint;
			for (uint32_t i = 0; i < s.ips.n; i++)
				out.push_back({s.network, {s.ips.v[i], 128}, 2, ROUTE_ENDPOINT, name});
			for (uint32_t i = 0; i < s.prefixes.n; i++)
				out.push_back({s.network, s.prefixes.v[i], 2, ROUTE_ENDPOINT, name});
		});
		each(m, KIND_REMOTE, [&](const std::string &name, const Object &o) {
			const struct spec_remote &s = o.spec->remote;
			for (uint32_t i = 0; i < s.prefixes.n; i++)
				out.push_back({s.network, s.prefixes.v[i], 3, ROUTE_REMOTE, name});
			for (uint32_t i = 0; i < s.n_endpoints; i++)
				out.push_back({s.network, {s.endpoints[i].ip, 128}, 3, ROUTE_REMOTE, name});
		});
		return out;
	}

	// What of two claims on one prefix may be: an address of the node that is a gateway, an endpoint that a remote
	// has too.
	static bool
	together(const Claim &a, const Claim &b)
	{
		return a.owner == b.owner || (a.rank == 0 && b.rank == 1) || (a.rank == 1 && b.rank == 0) ||
		       (a.rank == 2 && b.rank == 3) || (a.rank == 3 && b.rank == 2);
	}
	bool
	valid(const Model &m)
	{
		bool ok = true;
		std::set<uint32_t> vnis;
		std::set<std::string> ports, prefixes;
		int uplinks = 0, hosts = 0, selves = 0;
		each(m, KIND_NETWORK,
		     [&](const std::string &, const Object &o) { ok = ok && vnis.insert(o.spec->network.vni).second; });
		each(m, KIND_PORT, [&](const std::string &, const Object &o) {
			uplinks += o.spec->port.uplink, hosts += o.spec->port.host;
		});
		each(m, KIND_NODE, [&](const std::string &, const Object &o) { selves += o.spec->node.self; });
		each(m, KIND_ENDPOINT, [&](const std::string &, const Object &o) {
			ok = ok && get(m, KIND_NETWORK, o.spec->endpoint.network) != nullptr &&
			     ports.insert(o.spec->endpoint.port).second;
		});
		each(m, KIND_REMOTE, [&](const std::string &, const Object &o) {
			ok = ok && get(m, KIND_NETWORK, o.spec->remote.network) != nullptr;
		});
		each(m, KIND_ROUTE, [&](const std::string &, const Object &o) {
			char buf[PREFIX_TEXT_MAX];
			ok = ok && prefixes.insert(prefix_format(&o.spec->route.prefix, buf)).second;
		});
		std::vector<Claim> all = claims(m);
		for (size_t i = 0; i < all.size(); i++)
			for (size_t j = i + 1; j < all.size(); j++)
				if (all[i].net == all[j].net && all[i].prefix.len == all[j].prefix.len &&
				    ip_equal(&all[i].prefix.ip, &all[j].prefix.ip))
					ok = ok && together(all[i], all[j]);
		return ok && uplinks <= 1 && hosts <= 1 && selves <= 1;
	}

	std::string
	expected_via(const Model &m, const struct ip &vtep)
	{
		const Object *up = nullptr, *best = nullptr;
		each(m, KIND_PORT, [&](const std::string &, const Object &o) { up = o.spec->port.uplink ? &o : up; });
		if (up == nullptr)
			return "";
		if (prefix_contains(&up->spec->port.ips.v[0].prefix, &vtep))
			return text(vtep);
		each(m, KIND_ROUTE, [&](const std::string &, const Object &o) {
			const struct spec_route &r = o.spec->route;
			if (prefix_contains(&r.prefix, &vtep) && std::string(r.next_hops[0].port) == up->spec->name &&
			    (best == nullptr || best->spec->route.prefix.len < r.prefix.len))
				best = &o;
		});
		return best != nullptr ? text(best->spec->route.next_hops[0].ip) : "";
	}

	// What a route comes to, in words: two routes of equal words treat packets alike.
	static std::string
	words(const struct route *r)
	{
		if (r == nullptr)
			return "none";
		const struct hop *h = hop_get(r->hop);
		std::string w = std::to_string(r->kind) + " " + std::to_string(r->slot) + " ";
		return w + std::string(reinterpret_cast<const char *>(h), offsetof(struct hop, neighbour)) +
		       (h->kind == HOP_TUNNEL
				? text(neighbour_table[h->neighbour].ip) +
					  std::string(reinterpret_cast<const char *>(h->outer), VXLAN_OUTER_LEN)
				: "");
	}

	void
	check_address(const std::vector<Claim> &all, const std::string &net, const struct ip &ip)
	{
		const Claim *best = nullptr;
		for (auto &claim : all) {
			if (claim.net != net || !prefix_contains(&claim.prefix, &ip))
				continue;
			if (best == nullptr || claim.prefix.len > best->prefix.len ||
			    (claim.prefix.len == best->prefix.len && claim.rank < best->rank))
				best = &claim;
		}
		const struct route *r = config_route(c(), id(net), &ip);
		if (r != nullptr && r->kind >= ROUTE_LINK)
			r = nullptr; // the underlay's own
		ASSERT_EQ(r != nullptr, best != nullptr) << net << " " << text(ip);
		if (best == nullptr)
			return;
		ASSERT_EQ(r->kind, best->kind) << net << " " << text(ip);
		const struct hop *h = hop_get(r->hop);
		if (r->kind == ROUTE_ENDPOINT) {
			ASSERT_EQ(r->endpoint->spec->name, best->owner);
			const Object *p = get(model, KIND_PORT, r->endpoint->spec->port);
			ASSERT_EQ(h->kind, p != nullptr ? HOP_PORT : HOP_NONE);
			if (p != nullptr) {
				ASSERT_EQ(h->port, p->facts.id);
				ASSERT_EQ(c()->port[h->port]->endpoint, r->endpoint);
				ASSERT_EQ(c()->port[h->port]->slot, r->slot);
			}
		} else if (r->kind == ROUTE_REMOTE) {
			const struct spec_remote &s = get(model, KIND_REMOTE, best->owner)->spec->remote;
			ASSERT_EQ(r->owner, &s);
			ASSERT_EQ(r->vtep, config_vtep(c(), id(net), &s.vtep));
			ASSERT_EQ(r->slot, r->vtep->slot);
			ASSERT_EQ(h->kind == HOP_TUNNEL ? text(neighbour_table[h->neighbour].ip) : "",
				  expected_via(model, s.vtep));
			if (h->kind == HOP_TUNNEL) {
				ASSERT_EQ(h->outer[48], get(model, KIND_NETWORK, net)->spec->network.vni);
				ASSERT_EQ(h->port, c()->uplink_port);
			}
		} else if (r->kind == ROUTE_HOST) {
			ASSERT_EQ(r->hop, c()->host_hop);
		}
	}

	std::vector<std::pair<std::string, struct ip>>
	probes()
	{
		std::vector<std::pair<std::string, struct ip>> out;
		for (const char *net : {"underlay", "n0", "n1", "n2", "n3"}) {
			for (int i = 0; i < 3; i++)
				for (int j = 1; j < 7; j++)
					out.emplace_back(net, A("10.0." + std::to_string(i) + "." + std::to_string(j)));
			out.emplace_back(net, A("10.99.1.1"));
			out.emplace_back(net, A("192.0.2.1"));
			out.emplace_back(net, A("172.16.0.1"));
		}
		return out;
	}
	size_t
	expected_entries(const std::vector<Claim> &all)
	{
		std::set<std::string> keys;
		char buf[PREFIX_TEXT_MAX];
		for (auto &claim : all)
			keys.insert(claim.net + " " + prefix_format(&claim.prefix, buf));
		return keys.size();
	}
};

TEST_F(Random, BatchesMatchTheModel)
{
	auto places = probes();
	int accepted = 0, refused = 0;
	for (int round = 0; round < 1500; round++) {
		Model next = model;
		std::vector<Object> put;
		std::vector<Gone> gone;
		for (uint32_t n = below(4); n > 0; n--) {
			if (below(3) == 0 && !next.empty()) {
				auto it = next.begin();
				std::advance(it, below(static_cast<uint32_t>(next.size())));
				if (model.count(it->first) == 0)
					continue;
				gone.push_back({static_cast<enum kind>(it->first.first), it->first.second});
				next.erase(it);
			}
		}
		for (uint32_t n = 1 + below(3); n > 0; n--) {
			Object o = any_object();
			put.push_back(o);
			next[{o.kind, o.spec->name}] = o;
		}
		std::stable_sort(put.begin(), put.end(),
				 [](const Object &a, const Object &b) { return a.kind < b.kind; });
		bool expect = valid(next);
		for (auto &g : gone) { /* what goes must not be named any more, unless it comes back */
			if (next.count({g.kind, g.name}) != 0 || g.kind != KIND_PORT)
				continue;
			each(next, KIND_ENDPOINT, [&](const std::string &, const Object &o) {
				expect = expect && g.name != o.spec->endpoint.port;
			});
			each(next, KIND_ROUTE, [&](const std::string &, const Object &o) {
				expect = expect && g.name != o.spec->route.next_hops[0].port;
			});
		}
		// Ids of ports are the port thread's to keep apart.
		std::set<uint16_t> ids;
		bool clash = false;
		each(next, KIND_PORT,
		     [&](const std::string &, const Object &o) { clash = clash || !ids.insert(o.facts.id).second; });
		if (clash)
			continue;

		std::vector<std::pair<std::string, uint32_t>> before;
		for (auto &p : places) {
			uint32_t net = id(p.first);
			const struct route *r = net != UINT32_MAX ? config_route(c(), net, &p.second) : nullptr;
			before.emplace_back(words(r), r != nullptr        ? r->slot
						      : net != UINT32_MAX ? c()->network[net]->slot
									  : 0);
		}
		std::vector<uint32_t> stamps(generation_table, generation_table + slots);
		int rc = apply(put, gone);
		ASSERT_EQ(rc == 0, expect) << round << ": " << error.path << ": " << error.text;
		if (rc != 0) {
			refused++;
		} else {
			model = next;
			accepted++;
		}
		std::vector<Claim> all = claims(model);
		for (size_t i = 0; i < places.size(); i++) {
			uint32_t net = id(places[i].first);
			const struct route *r = net != UINT32_MAX ? config_route(c(), net, &places[i].second) : nullptr;
			if (words(r) != before[i].first && before[i].second != 0) {
				ASSERT_NE(generation_table[before[i].second], stamps[before[i].second])
					<< round << ": " << places[i].first << " " << text(places[i].second)
					<< " is served otherwise, and nobody was told";
			}
			if (net == UINT32_MAX)
				continue;
			check_address(all, places[i].first, places[i].second);
			ASSERT_FALSE(HasFatalFailure()) << round;
		}
		size_t claimed = 0; // the underlay's own routes are nobody's claim
		pmap_walk(&c()->fib.map, [](const void *r, void *n) {
			*static_cast<size_t *>(n) += static_cast<const struct route *>(r)->kind < ROUTE_LINK;
			return 0;
		}, &claimed);
		ASSERT_EQ(claimed, expected_entries(all)) << round;
	}
	EXPECT_GT(accepted, 200);
	EXPECT_GT(refused, 200);
	printf("%d accepted, %d refused\n", accepted, refused);

	// Everything goes, and nothing is lost: each id of each table can be given out.
	std::vector<Gone> rest;
	for (auto it = model.rbegin(); it != model.rend(); ++it)
		rest.push_back({static_cast<enum kind>(it->first.first), it->first.second});
	ASSERT_EQ(apply({}, rest), 0) << error.text;
	EXPECT_EQ(c()->fib.map.count, 0u);
	EXPECT_EQ(c()->host_fib.map.count, 0u);
	EXPECT_EQ(c()->vtep.count + c()->vni.count, 0u);
	struct txn t;
	txn_begin(&t);
	struct hop h = {};
	struct ip ip = A("10.0.0.0"), source = A("192.0.2.1");
	uint32_t hops = 0, neighbours = 0, free_slots = 0;
	while (hop_alloc(&t, &h) != 0)
		hops++;
	for (ip.b[14] = 0; neighbour_use(&t, 1, &ip, &source) != 0; neighbours++)
		ip.w[3] = htonl(ntohl(ip.w[3]) + 1);
	while (generation_alloc() != 0)
		free_slots++;
	EXPECT_EQ(hops, WEFT_MAX_HOPS - 1);
	EXPECT_EQ(neighbours, WEFT_MAX_NEIGHBOURS - 1u);
	EXPECT_EQ(free_slots, WEFT_MAX_SLOTS - 1 - 2 - (c()->service.cidr_slot != 0))
		<< "all but the underlay's, the host's and the serviceCIDRs'";
	txn_abort(&t);
}

} // namespace
