// SPDX-License-Identifier: Apache-2.0
// Fair under attack: quotas, who makes room in a full table, floods of colliding keys.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <unordered_map>
#include <vector>

#include "conn.hpp"

namespace
{

constexpr uint32_t T0 = 5'000'000; // ms
constexpr uint32_t ATTACKER = 7, VICTIM = 8, OTHER = 9;

struct Quota : ::testing::Test {
	conn_table *t = nullptr;
	uint32_t now = T0;

	void
	open(uint32_t capacity, uint32_t per_owner)
	{
		conn_table_options o;
		memset(&o, 0, sizeof(o));
		o.capacity = capacity;
		o.workers = 1;
		o.numa_node = -1;
		o.per_owner = per_owner;
		ASSERT_EQ(conn_table_create(&t, &o, nullptr), 0);
	}
	void
	TearDown() override
	{
		conn_table_destroy(t, true);
	}
	// Connection number n; every owner has numbers of its own.
	int
	create(uint32_t owner, uint32_t n, uint32_t *ref, uint8_t proto = IPPROTO_UDP)
	{
		conn_new c = new_conn(tuple_number(owner << 18 | n, proto), proto == IPPROTO_TCP ? TCP_BIT_SYN : 0);
		c.owner = owner;
		int rc = conn_create(t, 0, &c, now, ref);
		if (n % 64 == 0)
			conn_age(t, 0, now += 10, 0); // grace periods end: there are no readers
		return rc;
	}
	bool
	is_there(uint32_t owner, uint32_t n, uint8_t proto = IPPROTO_UDP)
	{
		tuple k = tuple_number(owner << 18 | n, proto);
		return conn_find(t, &k) != 0;
	}
	void
	answer(uint32_t ref)
	{
		EXPECT_EQ(conn_packet(t, ref + 1, 0, now), 0);
	}
	void
	answered(uint32_t owner, uint32_t n)
	{
		uint32_t ref;
		for (uint32_t i = 0; i < n; i++) {
			ASSERT_EQ(create(owner, i, &ref), 0) << i;
			answer(ref);
		}
	}
	conn_stats
	stats()
	{
		conn_stats s;
		conn_table_stats(t, &s);
		return s;
	}
};

TEST_F(Quota, CountsByOwnerHoweverConnectionsEnd)
{
	open(4096, 0);
	uint32_t ref[4];
	for (uint32_t i = 0; i < 4; i++)
		ASSERT_EQ(create(VICTIM, i, &ref[i]), 0);
	uint32_t again;
	EXPECT_EQ(create(VICTIM, 0, &again), -EEXIST);
	EXPECT_EQ(conn_owner_used(t, VICTIM), 4u);
	EXPECT_EQ(conn_owner_used(t, OTHER), 0u);
	EXPECT_EQ(conn_owner_used(t, WEFT_MAX_SLOTS), 0u);
	conn_remove(t, 0, ref[0]);
	conn_remove(t, 0, ref[0]);
	EXPECT_EQ(conn_owner_used(t, VICTIM), 3u);
	EXPECT_EQ(conn_age(t, 0, now + 60'000, 10'000), 3u);
	EXPECT_EQ(conn_owner_used(t, VICTIM), 0u);
}

TEST_F(Quota, BeyondItTheNewOneIsRefusedAndNobodyElses)
{
	open(4096, 100);
	answered(VICTIM, 100);
	uint32_t ref;
	for (uint32_t i = 100; i < 150; i++)
		EXPECT_EQ(create(VICTIM, i, &ref), -EDQUOT);
	EXPECT_EQ(conn_owner_used(t, VICTIM), 100u);
	EXPECT_EQ(stats().refused_quota, 50u);
	EXPECT_EQ(stats().refused_full, 0u);
	EXPECT_EQ(stats().used, 100u);
	EXPECT_EQ(create(OTHER, 0, &ref), 0);
	EXPECT_EQ(create(VICTIM, 5, &ref), -EEXIST) << "what it has it keeps";
	conn_remove(t, 0, ref);
	EXPECT_EQ(create(VICTIM, 200, &ref), 0);
	EXPECT_EQ(create(VICTIM, 201, &ref), -EDQUOT);
}

TEST_F(Quota, NobodyHasNoQuota)
{
	open(1024, 100);
	uint32_t ref;
	for (uint32_t i = 0; i < 1024; i++)
		ASSERT_EQ(create(0, i, &ref), 0) << i;
	EXPECT_EQ(create(0, 2000, &ref), -ENOSPC);
	EXPECT_EQ(stats().evicted, 0u);
}

// FAULTS C2: whoever floods, or is made to, replaces what was never answered; his own real connections still come about.
TEST_F(Quota, AtItWhatWasNeverAnsweredGoesFirst)
{
	open(16384, 1000);
	answered(VICTIM, 200);
	uint32_t ref, real = 0;
	for (uint32_t i = 1000; i < 50'000; i++)
		ASSERT_EQ(create(VICTIM, i, &ref, IPPROTO_TCP), 0) << i;
	EXPECT_EQ(conn_owner_used(t, VICTIM), 1000u);
	for (uint32_t i = 0; i < 200; i++)
		ASSERT_TRUE(is_there(VICTIM, i)) << "an answered one went";
	for (uint32_t i = 100'000; i < 100'100; i++) { // a handshake amid the flood
		real += create(VICTIM, i, &ref, IPPROTO_TCP) == 0 &&
			conn_packet(t, ref + 1, TCP_BIT_SYN | TCP_BIT_ACK, now) == 0;
	}
	EXPECT_EQ(real, 100u);
	EXPECT_EQ(stats().half_open, 1000u - 300);
}

// FAULTS C2 in full: a million SYNs a second from one owner, each from another port or address, for a minute; the clock is the test's.
TEST_F(Quota, C2AMillionSynsASecondForAMinute)
{
	constexpr uint32_t PER_MS = 1000, QUOTA = 100'000;
#ifdef __SANITIZE_ADDRESS__
	constexpr uint32_t SECONDS = 12; // it takes five times as long
#else
	constexpr uint32_t SECONDS = 60;
#endif
	open(1u << 20, QUOTA);
	answered(VICTIM, 2000);
	uint32_t ref, victims = 0, real = 0, tried = 0, n = 0;
	std::vector<double> seconds;
	auto begin = std::chrono::steady_clock::now();
	for (uint32_t ms = 1; ms <= SECONDS * 1000; ms++) {
		for (uint32_t i = 0; i < PER_MS; i++) {
			conn_new c = new_conn(tuple_number(ATTACKER << 26 | n++, IPPROTO_TCP), TCP_BIT_SYN);
			c.owner = ATTACKER;
			ASSERT_EQ(conn_create(t, 0, &c, now, &ref), 0) << "the newest replaces the oldest of its own";
		}
		conn_age(t, 0, ++now, 32 + 4 * PER_MS); // as a worker keeps house
		if (ms % 10 == 0) {
			tried++;
			victims += create(VICTIM, 10'000 + tried, &ref) == 0 && conn_packet(t, ref + 1, 0, now) == 0;
			real += create(ATTACKER, tried, &ref, IPPROTO_TCP) == 0 && conn_packet(t, ref + 1, TCP_BIT_SYN | TCP_BIT_ACK, now) == 0;
		}
		if (ms % 1000 == 0) {
			auto end = std::chrono::steady_clock::now();
			seconds.push_back(std::chrono::duration<double>(end - begin).count());
			begin = end;
		}
	}
	EXPECT_EQ(victims, tried);
	EXPECT_EQ(real, tried) << "the flooder's own that are answered come about";
	EXPECT_LE(conn_owner_used(t, ATTACKER), QUOTA);
	for (uint32_t i = 0; i < 2000; i++)
		ASSERT_TRUE(is_there(VICTIM, i));
	std::nth_element(seconds.begin() + 1, seconds.begin() + 6, seconds.begin() + 11);
	double early = seconds[6];
	std::nth_element(seconds.end() - 10, seconds.end() - 5, seconds.end());
	double late = *(seconds.end() - 5);
	printf("a second's SYNs took %.2f s early, %.2f s late\n", early, late);
	EXPECT_LT(late, 4 * early) << "a SYN does not cost more the longer it lasts";
	// It is over: within 5 s whoever was flooded through opens what it likes, and nothing of the flood outlives its 30 s.
	for (uint32_t i = 0; i < 5000; i++) {
		conn_age(t, 0, ++now, 32);
		ASSERT_EQ(create(ATTACKER, 200'000 + i, &ref), 0);
		answer(ref);
	}
	for (uint32_t i = 0; i < 40'000; i++)
		conn_age(t, 0, ++now, 64);
	EXPECT_EQ(stats().half_open, 0u);
}

// FAULTS C1, scaled down, without any quota to help.
TEST_F(Quota, AFloodFillsTheTableAndOnlyTheFlooderNotices)
{
	constexpr uint32_t CAPACITY = 65'536;
	open(CAPACITY, 0);
	answered(VICTIM, 2000);
	answered(OTHER, 300);
	uint32_t ref, refused = 0;
	for (uint32_t i = 0; i < 10 * CAPACITY; i++)
		refused += create(ATTACKER, i % (1 << 18), &ref, IPPROTO_TCP) == -ENOSPC;
	EXPECT_GT(conn_owner_used(t, ATTACKER), CAPACITY / 2);
	EXPECT_LE(stats().used, CAPACITY);
	for (uint32_t i = 0; i < 2000; i++)
		ASSERT_TRUE(is_there(VICTIM, i));
	for (uint32_t i = 0; i < 300; i++)
		ASSERT_TRUE(is_there(OTHER, i));
	uint32_t ok = 0;
	for (uint32_t i = 0; i < 10'000; i++) { // and the flood goes on
		create(ATTACKER, 100'000 + i, &ref, IPPROTO_TCP);
		if (create(VICTIM, 10'000 + i, &ref) == 0) {
			ok++;
			answer(ref);
		}
	}
	EXPECT_EQ(ok, 10'000u);
	for (uint32_t i = 0; i < 10'000; i++)
		ASSERT_TRUE(is_there(VICTIM, 10'000 + i));
	EXPECT_GT(stats().evicted, 5000u);
}

TEST_F(Quota, WhoHoldsItAllAnsweredGivesTheIdlest)
{
	open(4096, 0);
	answered(VICTIM, 50);
	uint32_t ref, full = 0, i;
	for (i = 0; full == 0; i++) {
		int rc = create(ATTACKER, i, &ref);
		full += rc != 0;
		if (rc == 0)
			answer(ref);
	}
	EXPECT_GT(conn_owner_used(t, ATTACKER), 3500u);
	for (i = 100; i < 1100; i++) {
		ASSERT_EQ(create(VICTIM, i, &ref), 0) << i;
		answer(ref);
	}
	EXPECT_EQ(conn_owner_used(t, VICTIM), 1050u);
	for (i = 100; i < 1100; i++)
		ASSERT_TRUE(is_there(VICTIM, i));
}

TEST_F(Quota, ABusyOneBelowTheFairShareIsNoOffender)
{
	open(65'536, 0);
	answered(OTHER, 10'000);
	for (uint32_t small = 20; small < 60; small++)
		answered(small, 10);
	uint32_t ref;
	for (uint32_t i = 0; i < 100'000; i++)
		create(ATTACKER, i, &ref, IPPROTO_TCP);
	for (uint32_t i = 20'000; i < 22'000; i++)
		ASSERT_EQ(create(OTHER, i, &ref), 0) << "a sixth of the table is less than what all could have";
	for (uint32_t i = 0; i < 10'000; i++)
		ASSERT_TRUE(is_there(OTHER, i));
}

TEST_F(Quota, EqualsShareAndANewcomerGetsIn)
{
	open(8192, 0);
	uint32_t ref;
	for (uint32_t i = 0; i < 8192; i++)
		for (uint32_t owner = 20; owner < 28; owner++)
			if (create(owner, i, &ref) == 0)
				answer(ref);
	for (uint32_t owner = 20; owner < 28; owner++)
		EXPECT_GT(conn_owner_used(t, owner), 700u);
	for (uint32_t i = 0; i < 200; i++) {
		ASSERT_EQ(create(VICTIM, i, &ref), 0);
		answer(ref);
	}
	EXPECT_EQ(conn_owner_used(t, VICTIM), 200u);
}

TEST_F(Quota, AfterTheFloodTheTableIsWholeAgain)
{
	open(4096, 0);
	uint32_t ref;
	for (uint32_t i = 0; i < 40'000; i++)
		create(ATTACKER, i, &ref, IPPROTO_TCP);
	conn_age(t, 0, now += 31'000, 100'000);
	conn_age(t, 0, now += 20, 0);
	conn_age(t, 0, now += 20, 0);
	EXPECT_EQ(stats().used, 0u);
	EXPECT_EQ(stats().half_open, 0u);
	EXPECT_EQ(conn_owner_used(t, ATTACKER), 0u);
	for (uint32_t i = 0; i < 4096; i++)
		ASSERT_EQ(create(0, i, &ref), 0) << i;
}

// --- many clients that count as one owner ---

struct Clients : Quota {
	static constexpr uint32_t OUTSIDE = 5;
	std::set<uint32_t> shares_;

	// An IPv4 client whose share is nobody else's of those asked for before, whatever the seed.
	ip
	alone(uint32_t from)
	{
		for (;; from++) {
			ip client = ip_from4(htonl(from));
			if (shares_.insert(conn_owner(t, OUTSIDE, &client)).second)
				return client;
		}
	}
	int
	create(const ip &client, uint32_t n, uint32_t *ref, uint8_t proto = IPPROTO_UDP)
	{
		conn_new c = new_conn(tuple_number(n, proto), proto == IPPROTO_TCP ? TCP_BIT_SYN : 0);
		c.owner = conn_owner(t, OUTSIDE, &client);
		int rc = conn_create(t, 0, &c, now, ref);
		if (n % 64 == 0)
			conn_age(t, 0, now += 10, 0);
		return rc;
	}
};

TEST_F(Clients, CountTogetherAndASubnetOfIpv6IsOne)
{
	open(4096, 0);
	uint32_t ref[2];
	ASSERT_EQ(create(alone(1), 1, &ref[0]), 0);
	ASSERT_EQ(create(alone(2), 2, &ref[1]), 0);
	EXPECT_EQ(conn_owner_used(t, OUTSIDE), 2u);
	conn_remove(t, 0, ref[0]);
	conn_remove(t, 0, ref[1]);
	EXPECT_EQ(conn_owner_used(t, OUTSIDE), 0u);
	uint8_t a[16] = {0xfd, 1, 2, 3, 4, 5, 6, 7, 8}, b[16] = {0xfd, 1, 2, 3, 4, 5, 6, 7, 9};
	ip same[2] = {ip_from6(a), ip_from6(b)};
	EXPECT_EQ(conn_owner(t, OUTSIDE, &same[0]), conn_owner(t, OUTSIDE, &same[1]));
	std::set<uint32_t> seen;
	for (uint32_t i = 0; i < 100; i++) {
		ip client = ip_from4(htonl(0xc0000200 + i));
		seen.insert(conn_owner(t, OUTSIDE, &client));
	}
	EXPECT_GT(seen.size(), 50u);
}

TEST_F(Clients, OneThatHoldsTheQuotaAnsweredIsRefusedAndNobodyElse)
{
	for (uint32_t per_owner : {1024u, 0u}) {
		open(4096, per_owner);
		uint32_t quota = per_owner != 0 ? per_owner : 4096 - 4096 / 16, ref, refused = 0;
		ip greedy = alone(1), other = alone(0x01000000);
		for (uint32_t i = 0; i < 2 * quota; i++) {
			int rc = create(greedy, i, &ref);
			refused += rc == -EDQUOT;
			if (rc == 0)
				answer(ref);
		}
		EXPECT_EQ(refused, quota + quota / 16) << "it leaves the last sixteenth to others";
		for (uint32_t i = 0; i < quota / 4; i++) {
			ASSERT_EQ(create(other, 100'000 + i, &ref), 0) << i;
			answer(ref);
		}
		for (uint32_t i = 0; i < quota / 4; i++) {
			tuple k = tuple_number(100'000 + i);
			ASSERT_NE(conn_find(t, &k), 0u) << "what is below the fair share stays";
		}
		EXPECT_EQ(stats().refused_quota, refused);
		EXPECT_LE(conn_owner_used(t, OUTSIDE), quota);
		EXPECT_EQ(Quota::create(VICTIM, 1, &ref), 0) << "a pod is not concerned";
		conn_table_destroy(t, true);
		t = nullptr;
		shares_.clear();
	}
}

TEST_F(Clients, OneThatFloodsReplacesItsOwn)
{
	open(16384, 1024);
	ip flooder = alone(1), other = alone(0x01000000);
	uint32_t ref, ok = 0;
	for (uint32_t i = 0; i < 50; i++)
		ASSERT_EQ(create(other, i, &ref, IPPROTO_TCP), 0);
	for (uint32_t i = 1000; i < 30'000; i++)
		ok += create(flooder, i, &ref, IPPROTO_TCP) == 0;
	EXPECT_GT(ok, 28'000u) << "whoever is flooded through still gets his own through";
	EXPECT_LE(conn_owner_used(t, OUTSIDE), 1024u);
	for (uint32_t i = 0; i < 50; i++) {
		tuple k = tuple_number(i, IPPROTO_TCP);
		ASSERT_NE(conn_find(t, &k), 0u) << "half open, too, but another's";
	}
}

TEST_F(Clients, AFloodFromEverywhereLetsNewOnesIn)
{
	open(65'536, 16'384);
	uint32_t ref, ok = 0;
	for (uint32_t i = 0; i < 60'000; i++)
		create(ip_from4(htonl(0x02000000 + i * 7)), i, &ref, IPPROTO_TCP);
	for (uint32_t i = 0; i < 200; i++) {
		ok += create(ip_from4(htonl(0x40000000 + i)), 100'000 + i, &ref, IPPROTO_TCP) == 0 &&
		      conn_packet(t, ref + 1, TCP_BIT_SYN | TCP_BIT_ACK, now) == 0;
		create(ip_from4(htonl(0x03000000 + i)), 200'000 + i, &ref, IPPROTO_TCP);
	}
	EXPECT_GT(ok, 150u) << "of 200";
	EXPECT_LE(conn_owner_used(t, OUTSIDE), 16'384u);
}

// --- FAULTS C3 ---

uint32_t
crc32c(const void *p, size_t n)
{
	uint32_t crc = 0;
	for (size_t i = 0; i < n; i++)
		crc = __builtin_ia32_crc32qi(crc, static_cast<const uint8_t *>(p)[i]);
	return crc;
}

// Keys that share a bucket of a table of this size under CRC32C of the tuple, as DPDK's rte_hash would have it.
std::vector<tuple>
colliding(size_t n, uint32_t buckets)
{
	std::vector<tuple> out;
	for (uint32_t i = 0; out.size() < n; i++) {
		tuple k = tuple_number(i);
		if (uint64_t(crc32c(&k, sizeof(k))) * buckets >> 32 == 77)
			out.push_back(k);
	}
	return out;
}

TEST_F(Quota, KeysThatCollideUnderAPublicHashDoNotUnderOurs)
{
	constexpr uint32_t BUCKETS = 4096, N = 2000;
	open(1 << 15, 0);
	std::vector<tuple> keys = colliding(N, BUCKETS);
	std::unordered_map<uint32_t, uint32_t> by_bucket;
	uint32_t most = 0;
	for (const tuple &k : keys)
		most = std::max(most, ++by_bucket[uint32_t(uint64_t(conn_hash(t, &k)) * BUCKETS >> 32)]);
	EXPECT_LE(most, 8u) << "2000 keys of one bucket lie in 4096 like any others";
	for (const tuple &k : keys) {
		conn_new c = new_conn(k);
		uint32_t ref;
		ASSERT_EQ(conn_create(t, 0, &c, T0, &ref), 0);
	}
	// Nor does it cost more to find them: least time of several rounds, each asked for the same number.
	auto cost = [&](const std::vector<tuple> &v) {
		double least = 1e9;
		for (int round = 0; round < 50; round++) {
			auto begin = std::chrono::steady_clock::now();
			for (const tuple &k : v)
				EXPECT_NE(conn_find(t, &k), 0u);
			least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
		}
		return least;
	};
	std::vector<tuple> plain;
	for (uint32_t i = 0; i < N; i++) {
		plain.push_back(tuple_number(1 << 27 | i));
		conn_new c = new_conn(plain.back());
		uint32_t ref;
		ASSERT_EQ(conn_create(t, 0, &c, T0, &ref), 0);
	}
	EXPECT_LE(cost(keys), 2 * cost(plain));
}

} // namespace
