// SPDX-License-Identifier: Apache-2.0
// The tables against a plain reading of what NetworkPolicy and ClusterNetworkPolicy define: walk all policies, all
// rules.
#include <algorithm>
#include <random>

#include "policy_spec.hpp"

extern "C" struct {
	uint64_t solo, merge;
} policy_entries;

using namespace policy_spec;

namespace
{

struct Endpoint {
	uint32_t slot, network;
	std::vector<Port> ports; // protocol, port, name
};
struct Set {
	uint32_t network;
	std::vector<std::string> members;
};
struct World {
	std::map<std::string, Policy> policies;
	std::map<std::string, Set> sets;
	std::map<std::string, Endpoint> endpoints;
};
struct Query {
	std::string endpoint;
	enum policy_direction dir;
	std::string peer;
	uint8_t protocol;
	uint16_t port;
	int type, code;
	std::string destination; // endpoint, or empty
};
struct Answer {
	bool allow, connection, log;
	int tier;
	std::string rule;
	std::string isolation, passed[2]; // what denied without a rule; what passed it on in admin and in baseline
	bool
	operator==(const Answer &o) const
	{
		return allow == o.allow && connection == o.connection && log == o.log && tier == o.tier &&
		       rule == o.rule && isolation == o.isolation && passed[0] == o.passed[0] && passed[1] == o.passed[1];
	}
};

std::ostream &
operator<<(std::ostream &out, const Answer &a)
{
	return out << (a.allow ? "allow" : "deny") << " tier " << a.tier << " rule '" << a.rule << "'"
		   << (a.connection ? " connection" : "") << (a.log ? " log" : "") << " isolation '" << a.isolation << "' passed '"
		   << a.passed[0] << "' '" << a.passed[1] << "'";
}

// Bit by bit, on the text's own family.
bool
contains(const std::string &block, const std::string &addr)
{
	bool v6 = addr.find(':') != std::string::npos;
	if ((block.find(':') != std::string::npos) != v6)
		return false;
	size_t slash = block.find('/');
	int len = slash == std::string::npos ? (v6 ? 128 : 32) : std::stoi(block.substr(slash + 1));
	uint8_t a[16] = {}, b[16] = {};
	inet_pton(v6 ? AF_INET6 : AF_INET, addr.c_str(), a);
	inet_pton(v6 ? AF_INET6 : AF_INET, block.substr(0, slash).c_str(), b);
	for (int i = 0; i < len; i++) {
		if (((a[i / 8] ^ b[i / 8]) >> (7 - i % 8)) & 1)
			return false;
	}
	return true;
}

class Oracle
{
	const World &w;
	const Query &q;

	bool
	matches(const Peer &p) const
	{
		uint32_t network = w.endpoints.at(q.endpoint).network;
		if (!p.set.empty()) {
			auto s = w.sets.find(p.set);
			return s != w.sets.end() && s->second.network == network &&
			       std::any_of(s->second.members.begin(), s->second.members.end(),
					   [&](auto &m) { return contains(m, q.peer); });
		}
		return contains(p.cidr, q.peer) &&
		       std::none_of(p.except.begin(), p.except.end(), [&](auto &x) { return contains(x, q.peer); });
	}
	bool
	matches(const Port &p) const
	{
		if (p.protocol != q.protocol)
			return false;
		if (!p.name.empty()) {
			auto d = w.endpoints.find(q.destination);
			return d != w.endpoints.end() &&
			       std::any_of(d->second.ports.begin(), d->second.ports.end(), [&](auto &x) {
				       return x.name == p.name && x.protocol == q.protocol && x.port == q.port;
			       });
		}
		if (p.type >= 0)
			return q.type == p.type && (p.code < 0 || q.code == p.code);
		if (p.port != 0)
			return q.port >= p.port && q.port <= (p.end != 0 ? p.end : p.port);
		return true;
	}
	bool
	matches(const Rule &r) const
	{
		return (r.peers.empty() ||
			std::any_of(r.peers.begin(), r.peers.end(), [&](auto &p) { return matches(p); })) &&
		       (r.ports.empty() ||
			std::any_of(r.ports.begin(), r.ports.end(), [&](auto &p) { return matches(p); }));
	}
	bool
	selects(const Policy &p) const
	{
		auto &e = w.endpoints.at(q.endpoint);
		return (q.dir == POLICY_INGRESS ? p.ingress_type : p.egress_type) && p.network == e.network &&
		       (!p.endpoints ||
			std::find(p.endpoints->begin(), p.endpoints->end(), q.endpoint) != p.endpoints->end());
	}
	std::vector<const Policy *>
	tier(enum policy_tier which, bool dry) const
	{
		std::vector<const Policy *> out; // by name, as the map is
		for (auto &[name, p] : w.policies) {
			if (p.tier == which && (dry || p.enforce) && selects(p))
				out.push_back(&p);
		}
		if (which != TIER_NETWORK)
			std::stable_sort(out.begin(), out.end(),
					 [](auto *a, auto *b) { return a->priority < b->priority; });
		return out;
	}
	// The first rule that matches, in the order of the policies.
	const Rule *
	first(const std::vector<const Policy *> &policies, const Policy **by, size_t *index) const
	{
		for (auto *p : policies) {
			auto &rules = q.dir == POLICY_INGRESS ? p->ingress : p->egress;
			for (size_t i = 0; i < rules.size(); i++) {
				if (matches(rules[i])) {
					*by = p;
					*index = i;
					return &rules[i];
				}
			}
		}
		return nullptr;
	}

      public:
	Oracle(const World &world, const Query &query) : w(world), q(query)
	{
	}
	Answer
	judge(bool dry) const
	{
		std::string passed[2], direction = q.dir == POLICY_INGRESS ? " ingress" : " egress";
		for (int t = TIER_ADMIN; t < TIER_COUNT; t++) {
			auto policies = tier((enum policy_tier)t, dry);
			const Policy *by = nullptr;
			size_t i = 0;
			const Rule *r = first(policies, &by, &i);
			std::string named = r != nullptr ? by->name + direction + "[" + std::to_string(i) + "]" : "";
			if (r != nullptr && r->action != RULE_PASS)
				return {r->action == RULE_ACCEPT, by->connection, by->log, t, named, "", {passed[0], passed[1]}};
			if (t != TIER_NETWORK)
				passed[t == TIER_BASELINE] = named;
			if (t == TIER_NETWORK && !policies.empty()) {
				bool keep = true, log = false;
				for (auto *p : policies) {
					keep = keep && (p->connection || !p->enforce);
					log = log || p->log;
				}
				// Where policies that count isolate, those that rehearse are not named.
				auto counting = tier(TIER_NETWORK, false);
				auto *first = counting.empty() ? policies[0] : counting[0];
				return {false, keep, log, t, "", first->name + direction + " isolation", {passed[0], passed[1]}};
			}
		}
		return {true, false, false, TIER_COUNT, "", "", {passed[0], passed[1]}};
	}
};

// Draws worlds in which everything often meets: few names, few addresses, ports around the edges of ranges.
class Draw
{
      public:
	std::mt19937 rng;
	explicit Draw(uint32_t seed) : rng(seed)
	{
	}
	uint32_t
	below(uint32_t n)
	{
		return rng() % n;
	}
	bool
	chance(uint32_t percent)
	{
		return below(100) < percent;
	}
	template <class T>
	T
	one(const std::vector<T> &v)
	{
		return v[below((uint32_t)v.size())];
	}
	std::string
	block()
	{
		return one<std::string>({"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3",
					 "10.1.2.3/32", "10.1.2.4/31", "192.0.2.0/25", "192.0.2.128/25", "::/0",
					 "fd00::/8", "fd00:1::/32", "fd00:1::5", "fd00:1::4/127", "::/1",
					 "::ffff:0:0/95"});
	}
	std::string
	addr()
	{
		return one<std::string>({"10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.9.9", "10.9.9.9", "192.0.2.1",
					 "192.0.2.200", "8.8.8.8", "fd00:1::5", "fd00:1::4", "fd00:2::1", "2001:db8::1",
					 "::1"});
	}
	std::string
	endpoint()
	{
		return one<std::string>({"a/1", "a/2", "a/3", "b/1", "b/2", "c"});
	}
	std::string
	set()
	{
		return one<std::string>({"s1", "s2", "s3", "s4"});
	}
	std::string
	policy()
	{
		return one<std::string>({"p1", "p2", "p3", "p4", "p5", "p10", "q"});
	}
	uint32_t
	network()
	{
		return chance(92) ? 1 : 2;
	}
	std::vector<std::string>
	members()
	{
		std::vector<std::string> out(below(5));
		for (auto &m : out)
			m = chance(50) ? block() : addr();
		return out;
	}
	Peer
	peer()
	{
		if (chance(50))
			return in_set(set());
		switch (below(6)) {
		case 0:
			return in_cidr("0.0.0.0/0", {"10.0.0.0/8"});
		case 1:
			return in_cidr("10.0.0.0/8", {"10.1.2.0/24", "10.1.2.3/32", "10.9.0.0/16", "10.1.2.0/24"});
		case 2:
			return in_cidr("::/0", {"fd00:1::/32"});
		case 3:
			return in_cidr("10.1.2.0/24", {"10.1.2.4/31"});
		default:
			return in_cidr(block());
		}
	}
	uint16_t
	number()
	{
		return one<uint16_t>({1, 79, 80, 81, 443, 1023, 1024, 8080, 8090, 32767, 32768, 65534, 65535});
	}
	Port
	port()
	{
		Port p;
		p.protocol = one<uint8_t>({6, 6, 6, 17, 132, 1, 58, 47});
		if (p.protocol == 1 || p.protocol == 58) {
			p.type = chance(70) ? (int)one<int>({0, 3, 8, 128}) : -1;
			p.code = p.type >= 0 && chance(50) ? (int)below(2) : -1;
		} else if (p.protocol != 47 && chance(25)) {
			p.name = one<std::string>({"http", "dns", "none"});
		} else if (p.protocol != 47 && chance(75)) {
			p.port = number();
			uint16_t end = number();
			p.end = chance(50) && end >= p.port ? end : 0;
		}
		return p;
	}
	Rule
	rule(enum policy_tier tier)
	{
		Rule r;
		r.action =
			tier == TIER_NETWORK ? RULE_ACCEPT : one<enum rule_action>({RULE_ACCEPT, RULE_DENY, RULE_PASS});
		r.peers.resize(chance(25) ? 0 : 1 + below(3));
		for (auto &p : r.peers)
			p = peer();
		r.ports.resize(chance(30) ? 0 : 1 + below(3));
		for (auto &p : r.ports)
			p = port();
		if (chance(20))
			r.name = "n" + std::to_string(below(3));
		return r;
	}
	std::vector<Rule>
	rules(enum policy_tier tier)
	{
		std::vector<Rule> out(below(5));
		for (auto &r : out)
			r = rule(tier);
		return out;
	}
	Policy
	whole(const std::string &name)
	{
		Policy p{name};
		p.tier = one<enum policy_tier>({TIER_ADMIN, TIER_NETWORK, TIER_NETWORK, TIER_BASELINE});
		p.priority = below(3);
		p.network = network();
		if (chance(60)) {
			p.endpoints.emplace(below(5));
			for (auto &e : *p.endpoints)
				e = endpoint();
		}
		p.ingress_type = chance(75);
		p.egress_type = chance(60);
		p.enforce = chance(80);
		p.connection = chance(40);
		p.log = chance(40);
		p.ingress = rules(p.tier);
		p.egress = rules(p.tier);
		return p;
	}
	// A small change of what there is.
	Policy
	changed(Policy p)
	{
		auto &rules = chance(50) ? p.ingress : p.egress;
		switch (below(8)) {
		case 0:
			rules.insert(rules.begin() + below((uint32_t)rules.size() + 1), rule(p.tier));
			break;
		case 1:
			if (!rules.empty())
				rules.erase(rules.begin() + below((uint32_t)rules.size()));
			break;
		case 2:
			std::shuffle(rules.begin(), rules.end(), rng);
			break;
		case 3:
			if (!rules.empty())
				rules.push_back(rules.front());
			break;
		case 4:
			p.enforce = !p.enforce;
			break;
		case 5:
			p.priority = below(3);
			p.connection = !p.connection;
			break;
		case 6:
			p.ingress_type = !p.ingress_type;
			break;
		default:
			p.endpoints.emplace(below(4));
			for (auto &e : *p.endpoints)
				e = endpoint();
		}
		return p;
	}
	Query
	query(const World &w)
	{
		Query q = {};
		auto it = w.endpoints.begin();
		std::advance(it, below((uint32_t)w.endpoints.size()));
		q.endpoint = it->first;
		q.dir = chance(50) ? POLICY_INGRESS : POLICY_EGRESS;
		q.peer = addr();
		q.protocol = one<uint8_t>({6, 6, 6, 17, 17, 132, 1, 58, 47, 0, 255});
		q.type = q.code = -1;
		if (q.protocol == 6 || q.protocol == 17 || q.protocol == 132)
			q.port = number();
		if ((q.protocol == 1 || q.protocol == 58) && chance(90)) {
			q.type = one<int>({0, 3, 8, 128, 200});
			q.code = (int)below(3);
		}
		q.destination = q.dir == POLICY_INGRESS ? q.endpoint : endpoint();
		return q;
	}
};

class Trial
{
	World w;
	Draw d;
	Tables tables;

	Answer
	ask(const Query &q, Answer *dry, bool *differs)
	{
		std::vector<struct spec_endpoint_port> ports;
		struct spec_endpoint dest = {};
		auto found = w.endpoints.find(q.destination);
		if (found != w.endpoints.end()) {
			for (auto &p : found->second.ports)
				ports.push_back({p.name.c_str(), p.protocol, p.port});
			dest.ports = ports.data();
			dest.n_ports = (uint32_t)ports.size();
		}
		auto &e = w.endpoints.at(q.endpoint);
		struct policy_query pq = {};
		pq.endpoint = e.slot;
		pq.network = e.network;
		pq.direction = q.dir;
		pq.peer = address(q.peer);
		pq.protocol = q.protocol;
		pq.port = q.port;
		pq.has_icmp = q.type >= 0;
		pq.icmp_type = (uint8_t)(q.type >= 0 ? q.type : 0);
		pq.icmp_code = (uint8_t)(q.code >= 0 ? q.code : 0);
		pq.destination = found != w.endpoints.end() ? &dest : nullptr;
		struct policy_verdict v;
		policy_judge(&tables.p, &pq, &v);
		auto name = [&](uint32_t rule) { return tables.rule_name(rule); };
		*dry = {v.dry_run.allow, false, v.dry_run.log, v.dry_run.tier, name(v.dry_run.rule), name(v.dry_run.isolation),
			{name(v.dry_run.passed[0]), name(v.dry_run.passed[1])}};
		*differs = v.dry_run.differs;
		return {v.allow, v.connection_semantics, v.log, v.tier, name(v.rule), name(v.isolation), {name(v.passed[0]), name(v.passed[1])}};
	}
	void
	put_policy(const Policy &p)
	{
		ASSERT_EQ(tables.put(p), 0) << tables.error.path << ": " << tables.error.text;
		w.policies[p.name] = p;
	}
	void
	patch_policy(Policy &p)
	{
		auto dir = d.chance(50) ? POLICY_INGRESS : POLICY_EGRESS;
		auto &rules = dir == POLICY_INGRESS ? p.ingress : p.egress;
		uint32_t at = d.below((uint32_t)rules.size() + 1);
		if (at < rules.size() && d.chance(50)) {
			ASSERT_EQ(tables.erase(p.name, dir, at), 0);
			rules.erase(rules.begin() + at);
		} else {
			Rule r = d.rule(p.tier);
			ASSERT_EQ(tables.insert(p.name, dir, at, r), 0) << tables.error.text;
			rules.insert(rules.begin() + at, r);
		}
	}
	void
	patch_set(const std::string &name, Set &s)
	{
		auto add = d.members(), remove = s.members;
		std::shuffle(remove.begin(), remove.end(), d.rng);
		remove.resize(d.below((uint32_t)remove.size() + 1));
		remove.push_back("203.0.113.7");
		ASSERT_EQ(tables.patch_set(name, add, remove), 0);
		for (auto &m : remove) {
			struct prefix gone = prefix_of(m);
			s.members.erase(std::remove_if(s.members.begin(), s.members.end(),
						       [&](auto &x) {
							       struct prefix p = prefix_of(x);
							       return p.len == gone.len && ip_equal(&p.ip, &gone.ip);
						       }),
					s.members.end());
		}
		s.members.insert(s.members.end(), add.begin(), add.end());
	}
	void
	put_endpoint()
	{
		std::string name = d.endpoint();
		auto old = w.endpoints.find(name);
		uint32_t slot = 1;
		while (std::any_of(w.endpoints.begin(), w.endpoints.end(),
				   [&](auto &e) { return e.second.slot == slot; }))
			slot++;
		Endpoint e = {old != w.endpoints.end() && d.chance(50) ? old->second.slot : slot, d.network(), {}};
		for (uint32_t n = d.below(4); n > 0; n--)
			e.ports.push_back(
				{d.one<uint8_t>({6, 17}), d.number(), 0, d.one<std::string>({"http", "dns"})});
		ASSERT_EQ(tables.put_endpoint(name, e.slot, e.network), 0);
		w.endpoints[name] = e;
	}
	void
	change()
	{
		std::string policy = d.policy(), set = d.set(), endpoint = d.endpoint();
		auto p = w.policies.find(policy);
		auto s = w.sets.find(set);
		switch (d.below(10)) {
		case 0:
			EXPECT_EQ(tables.remove(policy), p != w.policies.end() ? 0 : -ENOENT);
			w.policies.erase(policy);
			return;
		case 1:
			EXPECT_EQ(tables.remove_set(set), s != w.sets.end() ? 0 : -ENOENT);
			w.sets.erase(set);
			return;
		case 2:
			if (w.endpoints.size() > 1) {
				tables.remove_endpoint(endpoint);
				w.endpoints.erase(endpoint);
			}
			return;
		case 3:
			put_endpoint();
			return;
		case 4:
			w.sets[set] = {d.network(), d.members()};
			EXPECT_EQ(tables.put_set(set, w.sets[set].members, w.sets[set].network), 0);
			return;
		case 5:
			if (s != w.sets.end())
				patch_set(set, s->second);
			return;
		case 6:
			if (p != w.policies.end())
				patch_policy(p->second);
			return;
		case 7:
			if (p != w.policies.end()) {
				put_policy(d.changed(p->second));
				return;
			}
			[[fallthrough]];
		default:
			put_policy(d.whole(policy));
		}
	}
	// Verdicts of one endpoint that must not move without a bump; rules by name move with their index.
	std::vector<std::string>
	panel(const std::vector<Query> &queries)
	{
		std::vector<std::string> out;
		for (auto &q : queries) {
			auto e = w.endpoints.find(q.endpoint);
			if (e == w.endpoints.end()) {
				out.push_back("");
				continue;
			}
			Answer dry;
			bool differs;
			Query same = q;
			same.destination.clear(); // ports of endpoints are the caller's to watch
			Answer a = ask(same, &dry, &differs);
			out.push_back(std::to_string(e->second.slot) + (a.allow ? "+" : "-") + std::to_string(a.tier) +
				      (a.connection ? "c" : "") + (a.log ? "l" : ""));
		}
		return out;
	}

      public:
	size_t asked = 0, decided = 0, denied = 0;

	explicit Trial(uint32_t seed) : d(seed)
	{
		w.endpoints["a/1"] = {100, 1, {}};
		EXPECT_EQ(tables.put_endpoint("a/1", 100, 1), 0);
		for (int i = 0; i < 4; i++)
			put_policy(d.whole(d.policy()));
	}
	void
	check(unsigned int n)
	{
		for (unsigned int i = 0; i < n; i++) {
			Query q = d.query(w);
			Answer dry, want = Oracle(w, q).judge(false), would = Oracle(w, q).judge(true);
			bool differs;
			Answer got = ask(q, &dry, &differs);
			would.connection = false;
			ASSERT_EQ(got, want)
				<< q.endpoint << (q.dir == POLICY_INGRESS ? " <- " : " -> ") << q.peer << " protocol "
				<< (int)q.protocol << " port " << q.port << " icmp " << q.type;
			ASSERT_EQ(dry, would);
			ASSERT_EQ(differs,
				  would.allow != want.allow || would.tier != want.tier || would.rule != want.rule);
			asked++;
			decided += want.tier != TIER_COUNT;
			denied += !want.allow;
		}
	}
	void
	transaction()
	{
		World before = w;
		std::vector<Query> queries(20);
		for (auto &q : queries)
			q = d.query(w);
		auto was = panel(queries);
		tables.begin();
		for (uint32_t n = 1 + d.below(4); n > 0; n--)
			ASSERT_NO_FATAL_FAILURE(change());
		if (d.chance(30)) {
			tables.abort();
			w = before;
			return;
		}
		tables.commit();
		auto is = panel(queries);
		for (size_t i = 0; i < queries.size(); i++) {
			if (was[i] == is[i] || is[i].empty())
				continue;
			uint32_t slot = w.endpoints.at(queries[i].endpoint).slot;
			ASSERT_TRUE(tables.bumped.count(slot))
				<< queries[i].endpoint << ": " << was[i] << " became " << is[i];
		}
	}
	// Everything taken away again leaves nothing behind.
	void
	empty()
	{
		std::vector<std::pair<int, std::string>> all;
		for (auto &[name, p] : w.policies)
			all.push_back({0, name});
		for (auto &[name, s] : w.sets)
			all.push_back({1, name});
		for (auto &[name, e] : w.endpoints)
			all.push_back({2, name});
		std::shuffle(all.begin(), all.end(), d.rng);
		for (auto &[kind, name] : all) {
			if (kind == 0)
				EXPECT_EQ(tables.remove(name), 0);
			else if (kind == 1)
				EXPECT_EQ(tables.remove_set(name), 0);
			else
				tables.remove_endpoint(name);
		}
		const struct policy_tables &p = tables.p;
		for (const struct pmap *m : {&p.network, &p.endpoint, &p.group, &p.rule, &p.by_name, &p.set_by_name,
					     &p.endpoint_by_name, &p.name})
			EXPECT_EQ(m->count, 0u);
	}
};

class PolicyOracle : public testing::TestWithParam<int>
{
};

TEST_P(PolicyOracle, AgreesOnRandomWorlds)
{
	bool solo = GetParam() % 2 != 0;
	policy_entries = solo ? decltype(policy_entries){6, 3} : decltype(policy_entries){8192, 4096};
	size_t asked = 0, decided = 0, denied = 0;
	for (uint32_t i = 0; i < 60 && !HasFailure(); i++) {
		uint32_t seed = (uint32_t)GetParam() * 1000 + i;
		SCOPED_TRACE("seed " + std::to_string(seed));
		Trial trial(seed);
		for (int n = 0; n < 24 && !HasFailure(); n++) {
			trial.transaction();
			if (!HasFailure())
				trial.check(20);
		}
		if (!HasFailure())
			trial.empty();
		asked += trial.asked;
		decided += trial.decided;
		denied += trial.denied;
	}
	policy_entries = {8192, 4096};
	/* The draw would prove little if most queries met no policy. */
	EXPECT_GT(decided * 5, asked * 2);
	EXPECT_GT(denied * 6, asked);
	printf("%zu queries, %zu decided by a policy, %zu denied\n", asked, decided, denied);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PolicyOracle, testing::Range(0, 4));

} // namespace
