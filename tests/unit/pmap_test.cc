// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include <weft/pmap.h>
#include <weft/rcu.h>

extern "C" struct {
	uint64_t seed[2], mask;
} pmap_hashing;

namespace
{

struct item {
	uint32_t payload;
	struct {
		uint64_t a;
		uint32_t b;
	} __attribute__((packed)) key;
};

const struct pmap_type type = {offsetof(struct item, key), sizeof(item::key)};

using Model = std::map<uint64_t, uint32_t>;

class Map : public testing::TestWithParam<uint64_t>
{
      protected:
	struct txn t;
	struct pmap map = {};

	void
	SetUp() override
	{
		ASSERT_EQ(rcu_init(4), 0);
		pmap_hashing.mask = GetParam();
	}
	void
	TearDown() override
	{
		txn_begin(&t);
		drop(&map);
		txn_commit(&t);
		rcu_fini();
		pmap_hashing.mask = UINT64_MAX;
	}
	void
	drop(struct pmap *m)
	{
		pmap_walk(
			m,
			[](const void *v, void *arg) {
				txn_retire(static_cast<struct txn *>(arg), const_cast<void *>(v));
				return 0;
			},
			&t);
		pmap_clear(m, &t);
		EXPECT_EQ(m->root, nullptr);
	}
	static decltype(item::key)
	key(uint64_t k)
	{
		return {k * UINT64_C(0x100000001), static_cast<uint32_t>(k)};
	}
	void
	put(uint64_t k, uint32_t payload)
	{
		auto *v = static_cast<struct item *>(txn_alloc(&t, sizeof(struct item)));
		v->key = key(k);
		v->payload = payload;
		void *old = pmap_put(&map, &type, &t, v);
		if (old != nullptr) {
			EXPECT_EQ(memcmp(&static_cast<struct item *>(old)->key, &v->key, sizeof(v->key)), 0);
			txn_retire(&t, old);
		}
	}
	bool
	remove(uint64_t k)
	{
		auto want = key(k);
		void *old = pmap_remove(&map, &type, &t, &want);
		if (old != nullptr)
			txn_retire(&t, old);
		return old != nullptr;
	}
	static const struct item *
	find(const struct pmap &m, uint64_t k)
	{
		auto want = key(k);
		return static_cast<const struct item *>(pmap_find(&m, &type, &want));
	}
	static void
	same(const struct pmap &m, const Model &model, uint64_t keys)
	{
		ASSERT_EQ(m.count, model.size());
		for (uint64_t k = 0; k < keys; k++) {
			auto it = model.find(k);
			const struct item *v = find(m, k);
			ASSERT_EQ(v != nullptr, it != model.end()) << k;
			if (v != nullptr) {
				ASSERT_EQ(v->payload, it->second) << k;
			}
		}
		size_t walked = 0;
		pmap_walk(
			&m,
			[](const void *, void *arg) {
				++*static_cast<size_t *>(arg);
				return 0;
			},
			&walked);
		ASSERT_EQ(walked, model.size());
	}
};

TEST_P(Map, Empty)
{
	EXPECT_EQ(find(map, 1), nullptr);
	txn_begin(&t);
	EXPECT_FALSE(remove(1));
	txn_commit(&t);
	EXPECT_EQ(map.root, nullptr);
	EXPECT_EQ(pmap_walk(
			  &map, [](const void *, void *) { return 1; }, nullptr),
		  0);
}

TEST_P(Map, PutFindReplaceRemove)
{
	txn_begin(&t);
	put(1, 10);
	put(2, 20);
	put(1, 11);
	EXPECT_EQ(map.count, 2u);
	EXPECT_EQ(find(map, 1)->payload, 11u);
	EXPECT_EQ(find(map, 2)->payload, 20u);
	EXPECT_EQ(find(map, 3), nullptr);
	EXPECT_TRUE(remove(1));
	EXPECT_FALSE(remove(1));
	EXPECT_TRUE(remove(2));
	EXPECT_EQ(map.count, 0u);
	EXPECT_EQ(map.root, nullptr);
	txn_commit(&t);
}

TEST_P(Map, WalkStopsWhenAsked)
{
	txn_begin(&t);
	for (uint64_t k = 0; k < 20; k++)
		put(k, 1);
	txn_commit(&t);
	int seen = 0;
	int rc = pmap_walk(
		&map,
		[](const void *, void *arg) {
			auto *n = static_cast<int *>(arg);
			return ++*n == 7 ? 99 : 0;
		},
		&seen);
	EXPECT_EQ(rc, 99);
	EXPECT_EQ(seen, 7);
}

// Against std::map: random batches, each committed or aborted; every snapshot of the last rounds still reads as it did.
TEST_P(Map, RandomBatchesMatchTheModel)
{
	std::mt19937_64 random(4711);
	const uint64_t keys = 120;
	Model model;
	// A reader that never rests until the end of a round keeps the old versions alive.
	ASSERT_EQ(rte_rcu_qsbr_thread_register(rcu_var(), 0), 0);
	rte_rcu_qsbr_thread_online(rcu_var(), 0);
	std::vector<std::pair<struct pmap, Model>> snapshots;
	for (int round = 0; round < 400; round++) {
		struct pmap before = map;
		Model model_before = model;
		txn_begin(&t);
		int ops = static_cast<int>(random() % 40);
		bool shrink = round % 50 >= 40;
		for (int i = 0; i < ops; i++) {
			uint64_t k = random() % keys;
			if (random() % 10 < (shrink ? 8u : 4u)) {
				EXPECT_EQ(remove(k), model.erase(k) == 1);
			} else {
				put(k, static_cast<uint32_t>(round * 100 + i));
				model[k] = static_cast<uint32_t>(round * 100 + i);
			}
		}
		same(map, model, keys);
		if (random() % 4 == 0) {
			txn_abort(&t);
			map = before;
			model = model_before;
			same(map, model, keys);
		} else {
			txn_commit(&t);
			snapshots.emplace_back(before, model_before);
		}
		if (snapshots.size() == 10) {
			for (auto &s : snapshots)
				same(s.first, s.second, keys);
			snapshots.clear();
			rte_rcu_qsbr_quiescent(rcu_var(), 0);
			EXPECT_EQ(rcu_reclaim(), 0u);
		}
		if (HasFatalFailure())
			break;
	}
	rte_rcu_qsbr_thread_offline(rcu_var(), 0);
	rte_rcu_qsbr_thread_unregister(rcu_var(), 0);
}

TEST_P(Map, AbortOfTheFirstBatchLeavesNothing)
{
	txn_begin(&t);
	for (uint64_t k = 0; k < 100; k++)
		put(k, 1);
	txn_abort(&t);
	map = {};
}

// 0: every key collides in all 64 bits. 0xf0000000000000ff: two levels, then a long way down to one bit of choice.
INSTANTIATE_TEST_SUITE_P(Hashes, Map,
			 testing::Values(UINT64_MAX, UINT64_C(0), UINT64_C(1), UINT64_C(0x3ff),
					 UINT64_C(0xf0000000000000ff)));

class MapSpeed : public Map
{
};

TEST_P(MapSpeed, BulkLoadAndOneChange)
{
	const uint64_t n = 100000;
	auto now = [] { return std::chrono::steady_clock::now(); };
	auto ms = [](auto d) { return std::chrono::duration<double, std::milli>(d).count(); };
	std::vector<struct item *> items;
	txn_begin(&t);
	for (uint64_t k = 0; k < n; k++) {
		items.push_back(static_cast<struct item *>(txn_alloc(&t, sizeof(struct item))));
		items.back()->key = key(k);
	}
	auto start = now();
	for (auto *i : items)
		pmap_put(&map, &type, &t, i);
	double load = ms(now() - start);
	txn_commit(&t);
	start = now();
	for (uint64_t k = 0; k < n; k++)
		ASSERT_NE(find(map, k), nullptr);
	double look = ms(now() - start);
	start = now();
	for (uint64_t k = 0; k < 1000; k++) {
		txn_begin(&t);
		put(k, 1);
		txn_commit(&t);
		rcu_reclaim();
	}
	double change = ms(now() - start) / 1000;
	RecordProperty("load_100k_ms", std::to_string(load));
	printf("load 100k %.1f ms, find %.0f ns, one change %.1f us\n", load, look * 1e6 / n, change * 1e3);
	EXPECT_LT(load, 2000) << "far from it: a hundred is the aim, sanitizers and a busy machine take more";
	EXPECT_LT(change, 1);
}
INSTANTIATE_TEST_SUITE_P(Full, MapSpeed, testing::Values(UINT64_MAX));

// A reader follows the root while a writer commits. Each version holds pairs k, k + 1000 with equal payloads: all or
// nothing.
TEST(MapConcurrent, ReadersSeeWholeVersions)
{
	ASSERT_EQ(rcu_init(2), 0);
	struct version {
		struct pmap map;
	};
	static std::atomic<const version *> root;
	struct txn t;
	auto put = [&t](struct pmap *m, uint32_t k, uint32_t payload) {
		auto *v = static_cast<struct item *>(txn_alloc(&t, sizeof(struct item)));
		v->key = {k, k};
		v->payload = payload;
		void *old = pmap_put(m, &type, &t, v);
		if (old != nullptr)
			txn_retire(&t, old);
	};
	txn_begin(&t);
	auto *first = static_cast<version *>(txn_alloc(&t, sizeof(version)));
	for (uint32_t k = 0; k < 2000; k++)
		put(&first->map, k, 0);
	root = first;
	txn_commit(&t);
	std::atomic<bool> stop{false};
	std::atomic<uint64_t> torn{0}, missing{0}, reads{0};
	std::vector<std::thread> readers;
	for (unsigned int id = 0; id < 2; id++) {
		readers.emplace_back([&, id] {
			rte_rcu_qsbr_thread_register(rcu_var(), id);
			rte_rcu_qsbr_thread_online(rcu_var(), id);
			std::mt19937 random(id);
			while (!stop) {
				const version *v = root.load(std::memory_order_acquire);
				for (int i = 0; i < 32; i++) {
					uint32_t k = random() % 1000;
					decltype(item::key) ka = {k, k}, kb = {k + 1000, k + 1000};
					auto *a = static_cast<const item *>(pmap_find(&v->map, &type, &ka));
					auto *b = static_cast<const item *>(pmap_find(&v->map, &type, &kb));
					missing += a == nullptr || b == nullptr;
					torn += a != nullptr && b != nullptr && a->payload != b->payload;
				}
				reads++;
				rte_rcu_qsbr_quiescent(rcu_var(), id);
			}
			rte_rcu_qsbr_thread_offline(rcu_var(), id);
			rte_rcu_qsbr_thread_unregister(rcu_var(), id);
		});
	}
	std::mt19937 random(1);
	auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
	uint32_t n = 0;
	while (std::chrono::steady_clock::now() < end) {
		txn_begin(&t);
		auto *old = const_cast<version *>(root.load());
		auto *next = static_cast<version *>(txn_alloc(&t, sizeof(version)));
		*next = *old;
		for (int i = 0; i < 5; i++) {
			uint32_t k = random() % 1000;
			put(&next->map, k, ++n);
			put(&next->map, k + 1000, n);
		}
		if (n % 35 == 0) {
			txn_abort(&t);
			continue;
		}
		txn_retire(&t, old);
		root.store(next, std::memory_order_release);
		txn_commit(&t);
		rcu_reclaim();
	}
	stop = true;
	for (auto &r : readers)
		r.join();
	EXPECT_EQ(torn, 0u);
	EXPECT_EQ(missing, 0u);
	EXPECT_GT(reads, 0u);
	txn_begin(&t);
	auto *last = const_cast<version *>(root.load());
	pmap_walk(
		&last->map,
		[](const void *v, void *arg) {
			txn_retire(static_cast<struct txn *>(arg), const_cast<void *>(v));
			return 0;
		},
		&t);
	pmap_clear(&last->map, &t);
	txn_retire(&t, last);
	txn_commit(&t);
	rcu_fini();
}

} // namespace
