// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <weft/rcu.h>

#include "../../flows/prefix_tree.h"

namespace
{

struct Value {
	struct prefix key;
	uint64_t payload;
};

struct Less {
	bool
	operator()(const struct prefix &a, const struct prefix &b) const
	{
		int c = memcmp(&a.ip, &b.ip, sizeof(a.ip));
		return c != 0 ? c < 0 : a.len < b.len;
	}
};
using Model = std::map<struct prefix, uint64_t, Less>;

bool
is4(const struct prefix &p)
{
	return p.len >= 96 && ip_is4(&p.ip);
}

class PrefixTree : public testing::Test
{
      protected:
	struct txn t;
	struct prefix_tree tree = {};
	std::mt19937 rng{1};

	void
	SetUp() override
	{
		ASSERT_EQ(rcu_init(4), 0);
	}
	void
	TearDown() override
	{
		txn_begin(&t);
		prefix_tree_clear(&tree, &t, forget, &t);
		txn_commit(&t);
		rcu_fini();
	}
	static int
	forget(const void *value, void *arg)
	{
		txn_retire(static_cast<struct txn *>(arg), const_cast<void *>(value));
		return 0;
	}
	// Both families; most of them close together, so that they nest and part in every step.
	struct ip
	address(bool v4)
	{
		struct ip ip = {};
		for (auto &b : ip.b)
			b = rng() % 3 == 0 ? (uint8_t)rng() : 0x0a;
		return v4 ? ip_from4(ip.w[3]) : ip;
	}
	struct prefix
	any_prefix()
	{
		bool v4 = rng() % 2;
		struct prefix p = {};
		p.len = (uint8_t)(v4 ? 96 + rng() % 33 : rng() % 129);
		struct ip a = address(v4);
		p.ip = ip_masked(&a, p.len);
		return p;
	}
	void
	put(Model &m, const struct prefix &p, uint64_t payload)
	{
		auto *v = static_cast<Value *>(txn_alloc(&t, sizeof(Value)));
		v->key = p;
		v->payload = payload;
		auto *old = static_cast<Value *>(prefix_tree_put(&tree, &t, v));
		auto known = m.find(p);
		ASSERT_EQ(old != nullptr, known != m.end());
		if (old != nullptr) {
			EXPECT_EQ(old->payload, known->second);
			txn_retire(&t, old);
		}
		m[p] = payload;
	}
	void
	remove(Model &m, const struct prefix &p)
	{
		auto *old = static_cast<Value *>(prefix_tree_remove(&tree, &t, &p));
		ASSERT_EQ(old != nullptr, m.erase(p) != 0);
		if (old != nullptr)
			txn_retire(&t, old);
	}
	void
	check(const Model &m, const struct ip &a)
	{
		std::vector<std::pair<uint8_t, uint64_t>> want, got;
		for (auto &[p, payload] : m) {
			if (is4(p) == ip_is4(&a) && prefix_contains(&p, &a))
				want.push_back({p.len, payload});
		}
		std::sort(want.begin(), want.end());
		const void *out[PREFIXES_MAX];
		unsigned int n = prefix_tree_find_all(&tree, &a, out);
		for (unsigned int i = 0; i < n; i++) {
			auto *v = static_cast<const Value *>(out[i]);
			got.push_back({v->key.len, v->payload});
		}
		ASSERT_EQ(got, want);
	}
	void
	check_all(const Model &m, int addresses)
	{
		ASSERT_EQ(tree.count, m.size());
		for (auto &[p, payload] : m) {
			auto *v = static_cast<const Value *>(prefix_tree_get(&tree, &p));
			ASSERT_NE(v, nullptr);
			ASSERT_EQ(v->payload, payload);
		}
		for (int i = 0; i < addresses; i++) {
			check(m, address(rng() % 2));
			struct prefix p = any_prefix();
			ASSERT_EQ(prefix_tree_get(&tree, &p) != nullptr, m.count(p) != 0);
		}
	}
};

TEST_F(PrefixTree, EveryLengthAroundOneAddress)
{
	Model m;
	struct ip v4 = ip_from4(htonl(0x0a010203)), v6 = address(false);
	txn_begin(&t);
	for (unsigned int len = 0; len <= 128; len++) {
		struct prefix p = {ip_masked(&v6, (uint8_t)len), (uint8_t)len};
		put(m, p, len);
		if (len >= 96) {
			p.ip = ip_masked(&v4, (uint8_t)len);
			put(m, p, 1000 + len);
		}
	}
	txn_commit(&t);
	EXPECT_EQ(tree.count, 129u + 33u);
	check(m, v4);
	check(m, v6);
	check_all(m, 200);
	const void *out[PREFIXES_MAX];
	EXPECT_EQ(prefix_tree_find_all(&tree, &v6, out), 129u);
	EXPECT_EQ(prefix_tree_find_all(&tree, &v4, out), 33u);
}

TEST_F(PrefixTree, RandomChangesAgreeWithAModel)
{
	Model m;
	for (int round = 0; round < 120 && !HasFatalFailure(); round++) {
		Model before = m;
		struct prefix_tree was = tree;
		txn_begin(&t);
		for (uint32_t n = rng() % 40; n > 0; n--) {
			if (!m.empty() && rng() % 5 < (round % 40 < 20 ? 1 : 4)) {
				auto it = m.begin();
				std::advance(it, rng() % m.size());
				struct prefix p = it->first;
				remove(m, p);
			} else {
				put(m, any_prefix(), rng());
			}
			remove(m, any_prefix());
		}
		if (rng() % 4 == 0) {
			check_all(m, 20);
			txn_abort(&t);
			tree = was;
			m = before;
		} else {
			txn_commit(&t);
		}
		check_all(m, 60);
	}
	while (!m.empty()) {
		txn_begin(&t);
		struct prefix p = m.begin()->first;
		remove(m, p);
		txn_commit(&t);
	}
	EXPECT_EQ(tree.root[0], nullptr);
	EXPECT_EQ(tree.root[1], nullptr);
	EXPECT_EQ(tree.count, 0u);
}

TEST_F(PrefixTree, OldVersionStandsUntilTheGracePeriodEnds)
{
	Model m;
	txn_begin(&t);
	for (int i = 0; i < 500; i++)
		put(m, any_prefix(), (uint64_t)i);
	txn_commit(&t);
	struct prefix_tree old = tree;
	Model was = m;
	txn_begin(&t);
	for (int i = 0; i < 500; i++)
		put(m, any_prefix(), 1000 + (uint64_t)i);
	for (auto &[p, payload] : was)
		remove(m, p);
	std::swap(tree, old);
	check_all(was, 100);
	std::swap(tree, old);
	txn_commit(&t);
	check_all(m, 100);
}

} // namespace
