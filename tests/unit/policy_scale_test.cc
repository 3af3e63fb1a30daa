// SPDX-License-Identifier: Apache-2.0
// A lookup costs the same with ten rules and with a hundred thousand; a small change of something large is small.
#include <algorithm>
#include <random>

#include <malloc.h>
#include <time.h>

#include "policy_spec.hpp"

using namespace policy_spec;

namespace
{

constexpr uint32_t MANY = 100000;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool measured = false; // what is printed there says nothing
#else
constexpr bool measured = true;
#endif

double
cpu_us()
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

double
median(std::vector<double> v)
{
	std::nth_element(v.begin(), v.begin() + (long)v.size() / 2, v.end());
	return v[v.size() / 2];
}

std::string
dotted(uint32_t i)
{
	return "10." + std::to_string(i >> 16 & 255) + "." + std::to_string(i >> 8 & 255) + "." +
	       std::to_string(i & 255);
}

struct Cost {
	double warm, cold;
};

double
round_of(const Tables &t, const std::vector<struct policy_query> &queries, int times)
{
	struct policy_verdict v;
	unsigned int allowed = 0;
	double start = cpu_us();
	for (int i = 0; i < times; i++) {
		for (auto &q : queries) {
			policy_judge(&t.p, &q, &v);
			allowed += v.allow;
		}
	}
	EXPECT_GT(allowed, 0u);
	return (cpu_us() - start) * 1e3 / (double)queries.size() / times;
}

// Cost of one lookup in ns, medians. Warm: the same few peers again, what the way to the rule is made of. Cold: each
// time another of thousands, so that caches of the machine count, and whoever else uses them.
Cost
cost(const Tables &t, std::vector<struct policy_query> queries)
{
	std::mt19937 rng(1);
	std::vector<double> warm, cold;
	for (int i = 0; i < 15; i++) {
		std::shuffle(queries.begin(), queries.end(), rng);
		cold.push_back(round_of(t, queries, 1));
	}
	for (int i = 0; i < 50; i++) {
		std::shuffle(queries.begin(), queries.end(), rng);
		std::vector<struct policy_query> few(queries.begin(), queries.begin() + 16);
		round_of(t, few, 2);
		warm.push_back(round_of(t, few, 64));
	}
	return {median(warm), median(cold)};
}

struct policy_query
query(uint32_t slot, const std::string &peer, uint16_t port)
{
	struct policy_query q = {};
	q.endpoint = slot;
	q.network = 1;
	q.direction = POLICY_INGRESS;
	q.peer = address(peer);
	q.protocol = IPPROTO_TCP;
	q.port = port;
	return q;
}

void
compare(const char *what, const Cost &small, const Cost &large, double most = 3)
{
	printf("%-52s warm %5.0f -> %5.0f ns, x%.2f; cold %5.0f -> %5.0f ns, x%.2f\n", what, small.warm, large.warm,
	       large.warm / small.warm, small.cold, large.cold, large.cold / small.cold);
	if (measured) {
		EXPECT_LT(large.warm, small.warm * most) << what;
		EXPECT_LT(large.cold, 20000) << what;
	}
}

// One policy of n rules: each its own address and port.
Policy
by_address(uint32_t n)
{
	Policy p{"p"};
	for (uint32_t i = 0; i < n; i++)
		p.ingress.push_back(
			{RULE_ACCEPT, {in_cidr(dotted(i * 7) + "/32")}, {{IPPROTO_TCP, (uint16_t)(i % 60000 + 1)}}});
	return p;
}

std::vector<struct policy_query>
hits_by_address(uint32_t n)
{
	std::vector<struct policy_query> out;
	std::mt19937 rng(2);
	for (int k = 0; k < 4096; k++) {
		uint32_t i = rng() % n;
		out.push_back(query(7, dotted(i * 7), (uint16_t)(i % 60000 + 1)));
	}
	return out;
}

TEST(PolicyScale, RulesByAddress)
{
	Cost ns[2];
	uint32_t n[2] = {10, MANY};
	for (int i = 0; i < 2; i++) {
		Tables t;
		ASSERT_EQ(t.put_endpoint("e", 7), 0);
		ASSERT_EQ(t.put(by_address(n[i])), 0);
		ns[i] = cost(t, hits_by_address(n[i]));
	}
	compare("10 -> 100,000 rules, an address each", ns[0], ns[1]);
}

TEST(PolicyScale, RulesByBlock)
{
	/* Blocks of all lengths lie in one another. The small table is as deep as the large one: each block that an
	 * address is in has its say, and that is not what is compared here. */
	Cost ns[2];
	for (int i = 0; i < 2; i++) {
		Tables t;
		Policy p{"p"};
		std::vector<struct policy_query> queries;
		std::mt19937 rng(3);
		for (uint32_t k = 0; k < (i == 0 ? 10 : MANY); k++) {
			uint32_t addr = i == 0 ? 0x123456 : (uint32_t)rng();
			p.ingress.push_back(
				{RULE_ACCEPT, {in_cidr(dotted(addr) + "/" + std::to_string(9 + k % 24))}, {}});
		}
		ASSERT_EQ(t.put_endpoint("e", 7), 0);
		ASSERT_EQ(t.put(p), 0);
		for (int k = 0; k < 4096; k++) {
			const std::string &block = p.ingress[rng() % p.ingress.size()].peers[0].cidr;
			queries.push_back(query(7, block.substr(0, block.find('/')), 80));
		}
		ns[i] = cost(t, queries);
	}
	/* A dozen blocks around each address, in cache lines of their own. */
	compare("10 -> 100,000 rules, nested blocks of all lengths", ns[0], ns[1], 5);
}

TEST(PolicyScale, RulesByPort)
{
	Cost ns[2];
	uint32_t n[2] = {10, MANY};
	for (int i = 0; i < 2; i++) {
		Tables t;
		Policy p{"p"};
		std::vector<struct policy_query> queries;
		std::mt19937 rng(3);
		/* The same few sets again and again, all ports. */
		for (uint32_t k = 0; k < n[i]; k++)
			p.ingress.push_back({RULE_ACCEPT,
					     {in_set("s" + std::to_string(k & 1))},
					     {{IPPROTO_TCP, (uint16_t)(k / 2 + 1)}}});
		ASSERT_EQ(t.put_endpoint("e", 7), 0);
		ASSERT_EQ(t.put_set("s0", {"10.0.0.0/16"}), 0);
		ASSERT_EQ(t.put_set("s1", {"10.0.0.0/24"}), 0);
		ASSERT_EQ(t.put(p), 0);
		for (int k = 0; k < 4096; k++)
			queries.push_back(query(7, dotted(rng() % 65536), (uint16_t)(rng() % (n[i] / 2) + 1)));
		ns[i] = cost(t, queries);
	}
	compare("10 -> 100,000 rules, two sets, a port each", ns[0], ns[1]);
}

TEST(PolicyScale, RulesInManyPolicies)
{
	Cost ns[2];
	uint32_t n[2] = {1, 1000};
	for (int i = 0; i < 2; i++) {
		Tables t;
		std::vector<struct policy_query> queries;
		std::mt19937 rng(4);
		for (uint32_t e = 0; e < 250; e++)
			ASSERT_EQ(t.put_endpoint("e" + std::to_string(e), e + 1), 0);
		t.begin();
		for (uint32_t k = 0; k < n[i]; k++) {
			Policy p{"p" + std::to_string(k), k % 3 == 0 ? TIER_ADMIN : TIER_NETWORK, k};
			if (k % 100 != 0)
				p.endpoints = {"e" + std::to_string(k % 250), "e" + std::to_string(k * 7 % 250)};
			for (uint32_t r = 0; r < (n[i] == 1 ? 10 : 100); r++)
				p.ingress.push_back({RULE_ACCEPT,
						     {in_cidr(dotted((k * 100 + r) * 5))},
						     {{IPPROTO_TCP, (uint16_t)(r + 1)}}});
			ASSERT_EQ(t.put(p), 0);
		}
		t.commit();
		for (int k = 0; k < 4096; k++) {
			uint32_t policy = rng() % n[i], r = rng() % (n[i] == 1 ? 10 : 100);
			queries.push_back(query(policy % 250 + 1, dotted((policy * 100 + r) * 5), (uint16_t)(r + 1)));
		}
		ns[i] = cost(t, queries);
	}
	compare("10 rules -> 1,000 policies of 100, 250 endpoints", ns[0], ns[1]);
}

TEST(PolicyScale, Members)
{
	Cost ns[2];
	uint32_t n[2] = {1, MANY};
	for (int i = 0; i < 2; i++) {
		Tables t;
		std::vector<std::string> members;
		std::vector<struct policy_query> queries;
		std::mt19937 rng(5);
		for (uint32_t k = 0; k < n[i]; k++)
			members.push_back(dotted(k * 7));
		ASSERT_EQ(t.put_endpoint("e", 7), 0);
		Policy p{"p"};
		p.ingress = {{RULE_ACCEPT, {in_set("s")}, {{IPPROTO_TCP, 80}}}};
		ASSERT_EQ(t.put(p), 0);
		double start = cpu_us();
		ASSERT_EQ(t.put_set("s", members), 0);
		printf("%u members put in %.1f ms\n", n[i], (cpu_us() - start) / 1e3);
		for (int k = 0; k < 4096; k++)
			queries.push_back(query(7, members[rng() % n[i]], 80));
		ns[i] = cost(t, queries);
	}
	compare("1 -> 100,000 members", ns[0], ns[1]);
}

TEST(PolicyScale, SmallChangesOfLargeObjects)
{
	Tables t;
	std::vector<std::string> members;
	for (uint32_t e = 0; e < 250; e++)
		ASSERT_EQ(t.put_endpoint("e" + std::to_string(e), e + 1), 0);
	for (uint32_t k = 0; k < MANY; k++)
		members.push_back(dotted(k * 7));
	Policy p = by_address(MANY), user{"user"};
	user.ingress = {{RULE_ACCEPT, {in_set("s")}, {}}};
	double start = cpu_us();
	ASSERT_EQ(t.put(p), 0);
	printf("policy of 100,000 rules put in %.0f ms, ", (cpu_us() - start) / 1e3);
	ASSERT_EQ(t.put(user), 0);
	ASSERT_EQ(t.put_set("s", members), 0);
	p.ingress[500].ports = {{IPPROTO_UDP}};
	start = cpu_us();
	ASSERT_EQ(t.put(p), 0);
	printf("put again with one changed in %.1f ms\n", (cpu_us() - start) / 1e3);

	std::mt19937 rng(6);
	std::vector<double> rules, sets, policies;
	for (int i = 0; i < 300; i++) {
		uint32_t at = rng() % MANY;
		start = cpu_us();
		t.begin();
		ASSERT_EQ(t.erase("p", POLICY_INGRESS, at), 0);
		ASSERT_EQ(t.insert("p", POLICY_INGRESS, at,
				   {RULE_ACCEPT, {in_cidr("192.0.2.1")}, {{IPPROTO_TCP, (uint16_t)(i + 1)}}}),
			  0);
		t.commit();
		rules.push_back(cpu_us() - start);
		EXPECT_EQ(t.bumped.size(), 250u);
		start = cpu_us();
		ASSERT_EQ(t.patch_set("s", {"192.0.2." + std::to_string(i % 256)}, {members[at]}), 0);
		sets.push_back(cpu_us() - start);
		EXPECT_EQ(t.bumped.size(), 250u);
		/* Another policy for one endpoint: the large one is not copied for it. */
		start = cpu_us();
		ASSERT_EQ(t.put({"small", TIER_NETWORK, 0, {{"e" + std::to_string(i % 250)}}, {{}}}), 0);
		policies.push_back(cpu_us() - start);
	}
	printf("medians: replace a rule %.0f us, exchange a member %.0f us, move a small policy %.0f us\n",
	       median(rules), median(sets), median(policies));
	if (measured) {
		EXPECT_LT(median(rules), 1000);
		EXPECT_LT(median(sets), 1000);
		EXPECT_LT(median(policies), 1000);
	}
}

TEST(PolicyScale, MemoryIsSharedByEndpoints)
{
	size_t used[2];
	uint32_t n[2] = {1, 250};
	for (int i = 0; i < 2; i++) {
		Tables t;
		for (uint32_t e = 0; e < n[i]; e++)
			ASSERT_EQ(t.put_endpoint("e" + std::to_string(e), e + 1), 0);
		Policy p = by_address(5000);
		size_t before = mallinfo2().uordblks;
		ASSERT_EQ(t.put(p), 0);
		used[i] = mallinfo2().uordblks - before;
	}
	printf("5,000 rules: %zu KiB with 1 endpoint, %zu KiB with 250\n", used[0] / 1024, used[1] / 1024);
	if (measured) {
		EXPECT_LT(used[1], used[0] * 3 / 2);
	}
}

} // namespace
