// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <bitset>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include "conn.hpp"

namespace
{

constexpr uint32_t T0 = 5'000'000; // ms

struct Table : ::testing::Test {
	conn_table *t = nullptr;
	void
	open(uint32_t capacity = 4096, unsigned int workers = 2, const conn_timeouts *timeouts = nullptr)
	{
		conn_table_destroy(t, true);
		t = make_table(capacity, workers, timeouts);
		ASSERT_NE(t, nullptr);
	}
	void
	SetUp() override
	{
		open();
	}
	void
	TearDown() override
	{
		conn_table_destroy(t, true);
	}
	uint32_t
	create(const tuple &orig, uint8_t tcp_flags = 0, unsigned int worker = 0, uint32_t now = T0)
	{
		conn_new n = new_conn(orig, tcp_flags);
		uint32_t ref = 0;
		EXPECT_EQ(conn_create(t, worker, &n, now, &ref), 0);
		return ref;
	}
	conn_half &
	half(uint32_t ref)
	{
		return conn_view(t)->half[ref];
	}
	conn_cold &
	cold(uint32_t ref)
	{
		return conn_view(t)->cold[ref >> 1];
	}
	uint32_t
	seconds(uint32_t ref)
	{
		return half(ref).seen & 0xffffff;
	}
	conn_stats
	stats()
	{
		conn_stats s;
		conn_table_stats(t, &s);
		return s;
	}
	bool
	settled(uint32_t ref)
	{
		return conn_half_flags(&half(ref)) & HALF_SETTLED;
	}
};

// --- creation of the table ---

int
try_table(conn_table_options o, error *e)
{
	conn_table *t = nullptr;
	int rc = conn_table_create(&t, &o, e);
	if (rc == 0)
		conn_table_destroy(t, true);
	return rc;
}

conn_table_options
options()
{
	conn_table_options o;
	memset(&o, 0, sizeof(o));
	o.capacity = 1024;
	o.workers = 1;
	o.numa_node = -1;
	return o;
}

TEST(ConnTable, RefusesWhatItCannotBe)
{
	error e;
	conn_table_options o = options();
	o.capacity = 1023;
	EXPECT_EQ(try_table(o, &e), -EINVAL);
	EXPECT_STREQ(e.text, "1023 connections are not in 1024..134217728");
	o.capacity = (1u << 27) + 1;
	EXPECT_EQ(try_table(o, &e), -EINVAL);
	o = options();
	o.workers = 0;
	EXPECT_EQ(try_table(o, &e), -EINVAL);
	EXPECT_STREQ(e.text, "0 workers are not in 1..32");
	o.workers = WEFT_MAX_WORKERS + 1;
	EXPECT_EQ(try_table(o, &e), -EINVAL);
	o = options();
	o.timeouts.udp = CONN_TIMEOUT_MAX + 1;
	EXPECT_EQ(try_table(o, &e), -EINVAL);
	EXPECT_STREQ(e.text, "connection timeout of 2000001 seconds is not in 1..2000000");
	o = options();
	o.hugepages = true;
	EXPECT_EQ(try_table(o, &e), -EINVAL);
	o.path = "/dev/shm/weft-conn-test-not-hugetlbfs";
	EXPECT_EQ(try_table(o, &e), -EINVAL);
	EXPECT_NE(access(o.path, F_OK), 0);
	o = options();
	o.path = "/nonexistent-folder/conn";
	EXPECT_EQ(try_table(o, &e), -ENOENT);
	EXPECT_NE(std::string(e.text).find(o.path), std::string::npos);
	o = options();
	o.path = "/";
	EXPECT_LT(try_table(o, &e), 0);
	o = options();
	o.numa_node = 5000;
	EXPECT_EQ(try_table(o, &e), -EINVAL);
	EXPECT_EQ(try_table(options(), nullptr), 0);
}

TEST(ConnTable, LivesInAFile)
{
	char dir[] = "/tmp/weft-conn-XXXXXX";
	ASSERT_NE(mkdtemp(dir), nullptr);
	std::string path = std::string(dir) + "/connections";
	FILE *f = fopen(path.c_str(), "w");
	ASSERT_NE(f, nullptr);
	fputs("an older file", f);
	fclose(f);

	conn_table *t = make_table(2048, 3, nullptr, path.c_str());
	ASSERT_NE(t, nullptr);
	conn_new n = new_conn(tuple_number(1));
	uint32_t ref;
	ASSERT_EQ(conn_create(t, 0, &n, T0, &ref), 0);
	conn_stats s;
	conn_table_stats(t, &s);
	struct stat st;
	ASSERT_EQ(stat(path.c_str(), &st), 0);
	EXPECT_EQ(size_t(st.st_size), s.bytes);
	EXPECT_EQ(st.st_mode & 0777, 0600u);
	conn_table_destroy(t, false);
	EXPECT_EQ(access(path.c_str(), F_OK), 0);
	t = make_table(2048, 3, nullptr, path.c_str()); // replaced: empty again
	EXPECT_EQ(conn_find(t, &n.orig), 0u);
	conn_table_destroy(t, true);
	EXPECT_NE(access(path.c_str(), F_OK), 0);
	rmdir(dir);
}

TEST(ConnTable, AConnectionTakesAtMost192Bytes)
{
	for (uint32_t capacity : {100'000u, 1'000'000u, 10'000'000u}) {
		conn_table *t = make_table(capacity, WEFT_MAX_WORKERS); // anonymous memory: nothing is touched
		ASSERT_NE(t, nullptr);
		conn_stats s;
		conn_table_stats(t, &s);
		EXPECT_LE(double(s.bytes) / capacity, 192.0) << capacity;
		EXPECT_EQ(s.capacity, capacity);
		conn_table_destroy(t, true);
	}
}

TEST(ConnTable, DefaultTimeoutsAreConntracks)
{
	conn_timeouts d = conn_timeouts_default();
	EXPECT_EQ(d.tcp[TCP_STATE_ESTABLISHED], 432000u);
	EXPECT_EQ(d.tcp[TCP_STATE_SYN_SENT], 30u) << "half-open: shorter than Linux";
	EXPECT_EQ(d.tcp[TCP_STATE_SYN_RECV], 30u);
	EXPECT_EQ(d.tcp[TCP_STATE_SYN_SENT2], 30u);
	EXPECT_EQ(d.tcp[TCP_STATE_FIN_WAIT], 120u);
	EXPECT_EQ(d.tcp[TCP_STATE_CLOSE_WAIT], 60u);
	EXPECT_EQ(d.tcp[TCP_STATE_LAST_ACK], 30u);
	EXPECT_EQ(d.tcp[TCP_STATE_TIME_WAIT], 120u);
	EXPECT_EQ(d.tcp[TCP_STATE_CLOSE], 10u);
	EXPECT_EQ(d.udp, 30u);
	EXPECT_EQ(d.udp_answered, 120u);
	EXPECT_EQ(d.udp_dns, 10u);
	EXPECT_EQ(d.icmp, 30u);
	EXPECT_EQ(d.other, 600u);
}

// --- the hash ---

TEST_F(Table, HashIsNeverZeroAndSpreads)
{
	constexpr uint32_t N = 1 << 18, CELLS = 1 << 12;
	std::vector<uint32_t> high(CELLS), low(256);
	for (uint32_t i = 0; i < N; i++) {
		tuple k = tuple_number(i);
		uint32_t h = conn_hash(t, &k);
		ASSERT_NE(h, 0u);
		high[h >> 20]++;
		low[h & 0xff]++;
	}
	for (const auto *cells : {&high, &low}) {
		double mean = double(N) / double(cells->size()), chi2 = 0;
		for (uint32_t c : *cells)
			chi2 += (c - mean) * (c - mean) / mean;
		double dof = double(cells->size() - 1);
		EXPECT_LT(std::abs(chi2 - dof), 8 * std::sqrt(2 * dof));
	}
}

TEST_F(Table, EveryBitOfATupleCounts)
{
	for (bool v6 : {false, true}) {
		tuple k = tuple_number(77, IPPROTO_TCP, v6);
		uint32_t h = conn_hash(t, &k);
		double flipped = 0;
		for (unsigned int bit = 0; bit < 8 * sizeof(k); bit++) {
			tuple other = k;
			reinterpret_cast<uint8_t *>(&other)[bit / 8] ^= uint8_t(1 << (bit % 8));
			uint32_t d = h ^ conn_hash(t, &other);
			EXPECT_NE(d, 0u) << bit;
			flipped += double(std::bitset<32>(d).count());
		}
		EXPECT_NEAR(flipped / (8 * sizeof(k)), 16.0, 2.0);
	}
	tuple k = tuple_number(5), r = tuple_reversed(&k);
	EXPECT_NE(conn_hash(t, &k), conn_hash(t, &r));
}

// Neighbouring ports or addresses must not crowd into a few buckets, under any seed: a table of a size that is full of
// them would refuse connections.
TEST(ConnTable, NeighboursSpreadUnderEverySeed)
{
	constexpr uint32_t CELLS = 348, N = 1500;
	for (int seed = 0; seed < 300; seed++) {
		conn_table *t = make_table(1024, 1);
		for (uint32_t ports : {N, 64u, 1u}) {
			std::array<double, CELLS> cell{};
			for (uint32_t i = 0; i < N; i++) {
				tuple k = tuple_number(0), r;
				k.src.w[3] = htonl(0x0a000000 + i / ports);
				k.sport = htons(uint16_t(1024 + i % ports));
				r = tuple_reversed(&k);
				cell[uint64_t(conn_hash(t, &k)) * CELLS >> 32]++;
				cell[uint64_t(conn_hash(t, &r)) * CELLS >> 32]++;
			}
			double mean = 2.0 * N / CELLS, chi2 = 0;
			for (double c : cell)
				chi2 += (c - mean) * (c - mean) / mean;
			EXPECT_LT(chi2, CELLS + 7 * std::sqrt(2.0 * CELLS)) << ports << " ports an address";
		}
		conn_table_destroy(t, true);
	}
}

// With a linear hash, the difference between two tuples' hashes would not depend on the seed.
TEST_F(Table, SeedIsSecretAndNotLinear)
{
	conn_table *u = make_table(1024, 1);
	unsigned int same = 0, linear = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		tuple a = tuple_number(i), b = tuple_number(i + 100'000);
		uint32_t at = conn_hash(t, &a), au = conn_hash(u, &a), bt = conn_hash(t, &b), bu = conn_hash(u, &b);
		same += at == au;
		linear += (at ^ bt) == (au ^ bu);
	}
	EXPECT_LE(same, 1u);
	EXPECT_LE(linear, 1u);
	conn_table_destroy(u, true);
}

// --- create and find ---

TEST_F(Table, BothTuplesLeadToNeighbouringHalves)
{
	for (bool v6 : {false, true}) {
		tuple orig = tuple_number(3, IPPROTO_TCP, v6), reply = tuple_reversed(&orig);
		EXPECT_EQ(conn_find(t, &orig), 0u);
		uint32_t ref = create(orig, TCP_BIT_SYN);
		EXPECT_GE(ref, 2u);
		EXPECT_EQ(ref & 1, 0u);
		EXPECT_EQ(conn_find(t, &orig), ref);
		EXPECT_EQ(conn_find(t, &reply), ref + 1);
		EXPECT_TRUE(tuple_equal(&half(ref).key, &orig));
		EXPECT_TRUE(tuple_equal(&half(ref + 1).key, &reply));
	}
}

TEST_F(Table, TuplesThatDifferInOneFieldAreOthers)
{
	tuple k = tuple_number(9);
	create(k);
	for (unsigned int i = 0; i < sizeof(k); i++) {
		tuple other = k;
		reinterpret_cast<uint8_t *>(&other)[i] ^= 1;
		EXPECT_EQ(conn_find(t, &other), 0u) << i;
	}
	tuple network2 = tuple_number(9, IPPROTO_UDP, false, 2), tcp = tuple_number(9, IPPROTO_TCP);
	EXPECT_EQ(conn_find(t, &network2), 0u);
	EXPECT_EQ(conn_find(t, &tcp), 0u);
	create(network2);
	create(tcp, TCP_BIT_SYN);
}

TEST_F(Table, WhatTheCreatorSaysIsKept)
{
	conn_new n = new_conn(tuple_number(1));
	n.reply.src = ip_from4(htonl(0x0a0a0a0a)); // a backend answers
	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int d = 0; d < GENERATION_DEPS; d++)
			n.dep[i][d] = 10 * (i + 1) + d;
		n.stamp[i] = 100 + i;
		n.hop[i] = 200 + i;
		n.rule[i] = 300 + i;
	}
	n.service = 400;
	n.backend = 401;
	n.owner = 402;
	uint32_t ref;
	ASSERT_EQ(conn_create(t, 1, &n, T0 + 999, &ref), 0);
	for (unsigned int i = 0; i < 2; i++) {
		const conn_half &h = half(ref + i);
		for (unsigned int d = 0; d < GENERATION_DEPS; d++)
			EXPECT_EQ(h.dep[d], 10 * (i + 1) + d);
		EXPECT_EQ(h.stamp, 100 + i);
		EXPECT_EQ(h.hop, 200 + i);
		EXPECT_EQ(conn_half_flags(&h), unsigned(HALF_NAT | HALF_LIVE | (i == 0 ? HALF_SETTLED : 0)));
		EXPECT_EQ(seconds(ref + i), T0 / 1000);
		EXPECT_EQ(cold(ref).rule[i], 300 + i);
		EXPECT_EQ(cold(ref).scale[i], 0xff);
		EXPECT_EQ(cold(ref).datagrams[i], 0u);
	}
	EXPECT_EQ(cold(ref).service, 400u);
	EXPECT_EQ(cold(ref).backend, 401u);
	EXPECT_EQ(cold(ref).owner, 402u);
	EXPECT_EQ(cold(ref).state, 0);
	EXPECT_EQ(cold(ref).flags, 0);
	EXPECT_EQ(conn_find(t, &n.reply), ref + 1);
	tuple plain = tuple_reversed(&n.orig);
	EXPECT_EQ(conn_find(t, &plain), 0u); // not what an answer looks like

	uint32_t other = create(tuple_number(2));
	EXPECT_EQ(conn_half_flags(&half(other + 1)), unsigned(HALF_LIVE));
}

TEST_F(Table, SecondCreatorGetsTheFirstOnesHalf)
{
	tuple orig = tuple_number(4), reply = tuple_reversed(&orig);
	uint32_t ref = create(orig), second = 0;
	conn_new again = new_conn(orig);
	EXPECT_EQ(conn_create(t, 1, &again, T0, &second), -EEXIST);
	EXPECT_EQ(second, ref);
	conn_new swapped = new_conn(reply);
	EXPECT_EQ(conn_create(t, 1, &swapped, T0, &second), -EEXIST);
	EXPECT_EQ(second, ref + 1);
	EXPECT_EQ(stats().used, 1u);
	EXPECT_EQ(stats().created, 1u);
}

TEST_F(Table, ReplyThatIsTakenIsAnAddressInUse)
{
	conn_new a = new_conn(tuple_number(1)), b = new_conn(tuple_number(2));
	a.reply = b.reply = tuple_number(50);
	uint32_t ref;
	ASSERT_EQ(conn_create(t, 0, &a, T0, &ref), 0);
	EXPECT_EQ(conn_create(t, 0, &b, T0, &ref), -EADDRINUSE);
	EXPECT_EQ(conn_find(t, &b.orig), 0u);
	// Its orig as well: to follow the connection that exists matters more.
	conn_new c = a;
	EXPECT_EQ(conn_create(t, 0, &c, T0, &ref), -EEXIST);
	// A reply that is another's orig is taken, too.
	b.reply = a.orig;
	EXPECT_EQ(conn_create(t, 0, &b, T0, &ref), -EADDRINUSE);
	b.reply = tuple_number(51);
	EXPECT_EQ(conn_create(t, 0, &b, T0, &ref), 0);
	EXPECT_EQ(stats().used, 2u);
}

TEST_F(Table, AnEndpointMayTalkToItself)
{
	tuple k = tuple_number(6, IPPROTO_ICMP);
	k.dst = k.src;
	k.dport = k.sport;
	uint32_t ref = create(k), again = 0;
	EXPECT_EQ(conn_find(t, &k), ref);
	conn_new n = new_conn(k);
	EXPECT_EQ(conn_create(t, 0, &n, T0, &again), -EEXIST);
	EXPECT_EQ(again, ref);
	conn_remove(t, 0, ref);
	EXPECT_EQ(conn_find(t, &k), 0u);
	EXPECT_NE(create(k), 0u);
}

TEST_F(Table, BurstsAnswerAsSingleFindsDo)
{
	for (uint32_t i = 0; i < 4096; i++)
		create(tuple_number(i));
	std::mt19937 random(1);
	for (unsigned int n = 0; n <= WEFT_BURST; n++) {
		std::array<tuple, WEFT_BURST> k;
		const tuple *key[WEFT_BURST];
		uint32_t hash[WEFT_BURST], ref[WEFT_BURST];
		for (unsigned int i = 0; i < n; i++) {
			k[i] = tuple_number(uint32_t(random() % 8192));
			if (random() % 2)
				k[i] = tuple_reversed(&k[i]);
			key[i] = &k[i];
		}
		std::fill(ref, ref + WEFT_BURST, 0xdeadbeef);
		conn_find_burst(t, key, n, hash, ref);
		for (unsigned int i = 0; i < n; i++) {
			EXPECT_EQ(hash[i], conn_hash(t, key[i]));
			EXPECT_EQ(ref[i], conn_find(t, key[i]));
			if (ref[i] != 0) {
				EXPECT_TRUE(tuple_equal(&half(ref[i]).key, key[i]));
			}
		}
		if (n < WEFT_BURST) {
			EXPECT_EQ(ref[n], 0xdeadbeef);
		}
	}
}

// --- full ---

TEST_F(Table, HoldsExactlyItsCapacity)
{
	for (unsigned int workers : {1u, 3u, 32u}) {
		open(1500, workers);
		for (uint32_t i = 0; i < 1500; i++)
			create(tuple_number(i), 0, i % workers);
		for (unsigned int w = 0; w < workers; w++) {
			conn_new n = new_conn(tuple_number(2000 + w));
			uint32_t ref = 1;
			EXPECT_EQ(conn_create(t, w, &n, T0, &ref), -ENOSPC);
			EXPECT_EQ(ref, 0u);
			EXPECT_EQ(conn_find(t, &n.orig), 0u);
		}
		EXPECT_EQ(stats().used, 1500u);
		EXPECT_EQ(stats().refused_full, workers);
		for (uint32_t i = 0; i < 1500; i++) {
			tuple k = tuple_number(i);
			ASSERT_NE(conn_find(t, &k), 0u);
		}
	}
}

TEST_F(Table, OneWorkerMayUseWhatAnotherFreed)
{
	open(1024, 4);
	for (uint32_t i = 0; i < 1024; i++)
		create(tuple_number(i), 0, 0);
	for (uint32_t i = 0; i < 1024; i++) {
		tuple k = tuple_number(i);
		conn_remove(t, 1, conn_find(t, &k));
	}
	EXPECT_EQ(stats().used, 0u);
	conn_age(t, 1, T0 + 1000, 0); // housekeeping of the worker that removed
	for (uint32_t i = 0; i < 1024; i++)
		create(tuple_number(5000 + i), 0, i % 4);
}

TEST_F(Table, AMillionFitIntoAMillion)
{
	constexpr uint32_t N = 1'000'000;
	open(N, 2);
	for (uint32_t i = 0; i < N; i++) {
		conn_new n = new_conn(tuple_number(i, IPPROTO_UDP, i % 4 == 0));
		uint32_t ref;
		ASSERT_EQ(conn_create(t, i % 2, &n, T0, &ref), 0) << i;
	}
	for (uint32_t i = 0; i < N; i += 7) {
		tuple k = tuple_number(i, IPPROTO_UDP, i % 4 == 0), r = tuple_reversed(&k);
		uint32_t ref = conn_find(t, &k);
		ASSERT_NE(ref, 0u);
		ASSERT_EQ(conn_find(t, &r), ref + 1);
	}
	EXPECT_EQ(stats().used, N);
}

// --- remove ---

TEST_F(Table, RemoveTakesBothTuplesAndMayBeRepeated)
{
	tuple a = tuple_number(1), b = tuple_number(2), ra = tuple_reversed(&a), rb = tuple_reversed(&b);
	uint32_t refa = create(a), refb = create(b);
	conn_remove(t, 0, refa);
	EXPECT_EQ(conn_find(t, &a), 0u);
	EXPECT_EQ(conn_find(t, &ra), 0u);
	EXPECT_EQ(conn_find(t, &b), refb);
	EXPECT_TRUE(conn_half_flags(&half(refa)) & HALF_CLOSED);
	EXPECT_TRUE(conn_half_flags(&half(refa + 1)) & HALF_CLOSED);
	conn_remove(t, 0, refa);
	conn_remove(t, 1, refa + 1);
	EXPECT_EQ(stats().removed, 1u);
	conn_remove(t, 1, refb + 1); // by its reply half
	EXPECT_EQ(conn_find(t, &b), 0u);
	EXPECT_EQ(conn_find(t, &rb), 0u);
	conn_remove(t, 0, 0);
	conn_remove(t, 0, 1);
	conn_remove(t, 0, UINT32_MAX);
	EXPECT_EQ(stats().removed, 2u);
	EXPECT_EQ(stats().used, 0u);
	EXPECT_NE(create(a), refa); // the id waits, the tuples do not
}

TEST_F(Table, AnIdIsUsedAgainOnlyAfterAGracePeriod)
{
	open(1024, 1);
	Reader reader(0);
	std::set<uint32_t> removed;
	for (uint32_t i = 0; i < 512; i++) {
		uint32_t ref = create(tuple_number(i));
		conn_remove(t, 0, ref);
		EXPECT_TRUE(removed.insert(ref).second) << "id given out again within a turn";
	}
	for (uint32_t i = 0; i < 512; i++) {
		conn_age(t, 0, T0 + 100 * i, 0);
		uint32_t ref = create(tuple_number(i));
		EXPECT_EQ(removed.count(ref), 0u);
	}
	conn_new n = new_conn(tuple_number(9999));
	uint32_t ref;
	EXPECT_EQ(conn_create(t, 0, &n, T0, &ref), -ENOSPC);
	for (uint32_t r : removed) // what was read of them is still there
		EXPECT_TRUE(conn_half_flags(&half(r)) & HALF_CLOSED);
	for (uint32_t i = 0; i < 512; i++) {
		conn_new again = new_conn(tuple_number(10'000 + i));
		int rc = -ENOSPC;
		for (int turns = 0; turns < 3 && rc == -ENOSPC; turns++) { // a batch waits while the one before it does
			reader.quiescent();
			rc = conn_create(t, 0, &again, T0, &ref);
		}
		ASSERT_EQ(rc, 0) << i;
		EXPECT_EQ(removed.erase(ref), 1u);
	}
	EXPECT_TRUE(removed.empty());
}

// --- packets ---

TEST_F(Table, SeenIsWrittenOnceASecond)
{
	uint32_t ref = create(tuple_number(1));
	uint32_t before = half(ref).seen;
	EXPECT_EQ(conn_packet(t, ref, 0, T0 + 999), 0);
	EXPECT_EQ(half(ref).seen, before);
	EXPECT_EQ(conn_packet(t, ref, 0, T0 + 1000), 0);
	EXPECT_EQ(seconds(ref), T0 / 1000 + 1);
	EXPECT_EQ(seconds(ref + 1), T0 / 1000);
	EXPECT_EQ(conn_packet(t, ref, 0, T0), 0); // a worker whose clock is a little behind
	EXPECT_EQ(seconds(ref), T0 / 1000 + 1);
	EXPECT_EQ(conn_packet(t, ref, 0, T0 + 60'000), 0);
	EXPECT_EQ(seconds(ref), T0 / 1000 + 60);
	EXPECT_EQ(half(ref).seen >> 24, before >> 24);
}

TEST_F(Table, SeenFollowsTheClockOverItsEnd)
{
	uint32_t ref = create(tuple_number(1), 0, 0, UINT32_MAX - 500);
	EXPECT_EQ(seconds(ref), 4294966u);
	EXPECT_EQ(conn_packet(t, ref, 0, UINT32_MAX), 0);
	EXPECT_EQ(seconds(ref), 4294967u);
	EXPECT_EQ(conn_packet(t, ref, 0, 100), 0);
	EXPECT_EQ(seconds(ref), 0u);
	EXPECT_EQ(conn_packet(t, ref, 0, UINT32_MAX), 0); // late: not backwards
	EXPECT_EQ(seconds(ref), 0u);
	EXPECT_EQ(conn_age(t, 0, 20'000, 1000), 0u);
	EXPECT_EQ(conn_age(t, 0, 31'000, 1000), 1u);
}

TEST_F(Table, TheFirstReplyAnswers)
{
	for (uint8_t proto : {IPPROTO_UDP, IPPROTO_ICMP}) {
		uint32_t ref = create(tuple_number(proto, proto));
		EXPECT_EQ(conn_packet(t, ref, 0, T0), 0);
		EXPECT_FALSE(cold(ref).flags & CONN_ANSWERED);
		EXPECT_EQ(conn_packet(t, ref + 1, 0, T0), 0);
		EXPECT_TRUE(cold(ref).flags & CONN_ANSWERED);
		EXPECT_TRUE(settled(ref + 1));
		cold(ref).flags = 0;
		EXPECT_EQ(conn_packet(t, ref + 1, 0, T0 + 5000), 0);
		EXPECT_EQ(cold(ref).flags, 0) << "a later reply touches its own half alone";
		EXPECT_EQ(cold(ref).state, 0);
	}
	EXPECT_EQ(stats().half_open, 0u);
}

// FAULTS C12: a worker holds a connection while another forgets it and opens others, as many as there is room for.
TEST_F(Table, AnIdIsNotUsedAgainWhileAPacketIsInFlight)
{
	open(1024, 2);
	uint32_t held = create(tuple_number(0));
	{
		Reader worker(1); // in the middle of its turn
		EXPECT_EQ(conn_age(t, 0, T0 + 31'000, 10'000), 1u);
		for (uint32_t round = 1; round < 5; round++) {
			for (uint32_t i = 0; i < 1100; i++) {
				conn_new n = new_conn(tuple_number(round << 16 | i));
				uint32_t ref;
				if (conn_create(t, 0, &n, T0 + 31'000 * round, &ref) == 0) {
					ASSERT_NE(ref >> 1, held >> 1);
				}
			}
			conn_age(t, 0, T0 + 31'000 * (round + 1), 10'000);
		}
		uint32_t hop = 0;
		EXPECT_FALSE(conn_half_flags(&half(held)) & HALF_LIVE && !(conn_half_flags(&half(held)) & HALF_CLOSED));
		EXPECT_EQ(conn_packet(t, held, 0, T0 + 31'000), -ESTALE);
		tuple k = tuple_number(0);
		EXPECT_TRUE(tuple_equal(&half(held).key, &k)) << "still the same conversation's";
		conn_half_stands(&half(held), 0, &hop);
		worker.quiescent();
	}
	conn_age(t, 0, T0 + 400'000, 10'000);
	conn_age(t, 0, T0 + 400'020, 10'000);
	std::set<uint32_t> ids;
	for (uint32_t i = 0; i < 1024; i++)
		ids.insert(create(tuple_number(9 << 16 | i)) >> 1);
	EXPECT_EQ(ids.count(held >> 1), 1u) << "afterwards it is";
}

TEST_F(Table, PacketsOfARemovedConnectionAreStale)
{
	uint32_t ref = create(tuple_number(1)), tcp = create(tuple_number(2, IPPROTO_TCP), TCP_BIT_SYN);
	conn_remove(t, 0, ref);
	conn_remove(t, 0, tcp);
	uint32_t before = half(ref).seen;
	EXPECT_EQ(conn_packet(t, ref, 0, T0 + 9000), -ESTALE);
	EXPECT_EQ(conn_packet(t, ref + 1, 0, T0 + 9000), -ESTALE);
	EXPECT_EQ(conn_packet(t, tcp + 1, TCP_BIT_SYN | TCP_BIT_ACK, T0), -ESTALE);
	EXPECT_EQ(half(ref).seen, before);
}

struct Tcp : Table {
	uint32_t ref = 0;
	static constexpr uint8_t S = TCP_BIT_SYN, A = TCP_BIT_ACK, F = TCP_BIT_FIN, R = TCP_BIT_RST;
	int
	orig(uint8_t flags, uint32_t now = T0)
	{
		return conn_packet(t, ref, flags, now);
	}
	int
	reply(uint8_t flags, uint32_t now = T0)
	{
		return conn_packet(t, ref + 1, flags, now);
	}
	int
	state()
	{
		return cold(ref).state;
	}
	void
	establish(uint32_t n = 1)
	{
		ref = create(tuple_number(n, IPPROTO_TCP), S);
		EXPECT_EQ(reply(S | A), 0);
		EXPECT_EQ(orig(A), 0);
		EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	}
};

TEST_F(Tcp, IsFollowedFromSynToTheLastAck)
{
	ref = create(tuple_number(1, IPPROTO_TCP), S);
	EXPECT_EQ(state(), TCP_STATE_SYN_SENT);
	EXPECT_EQ(stats().half_open, 1u);
	EXPECT_EQ(orig(S), 0);
	EXPECT_EQ(stats().half_open, 1u);
	EXPECT_EQ(reply(S | A), 0);
	EXPECT_EQ(state(), TCP_STATE_SYN_RECV);
	EXPECT_TRUE(cold(ref).flags & CONN_ANSWERED);
	EXPECT_EQ(stats().half_open, 0u);
	EXPECT_EQ(orig(A), 0);
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(orig(F | A), 0);
	EXPECT_EQ(state(), TCP_STATE_FIN_WAIT);
	EXPECT_EQ(reply(A), 0);
	EXPECT_EQ(reply(F | A), 0);
	EXPECT_EQ(orig(A), 0);
	EXPECT_EQ(state(), TCP_STATE_TIME_WAIT);
	EXPECT_EQ(orig(S), -ESTALE);
	EXPECT_EQ(reply(S), -ESTALE);
	EXPECT_EQ(state(), TCP_STATE_TIME_WAIT);

	establish(2);
	EXPECT_EQ(reply(R | A), 0);
	EXPECT_EQ(state(), TCP_STATE_CLOSE);
	EXPECT_EQ(orig(S), -ESTALE);
}

TEST_F(Tcp, ImpossibleSegmentsChangeNothing)
{
	establish();
	uint32_t before[2] = {half(ref).seen, half(ref + 1).seen};
	for (int f :
	     {0, int(S | F), int(F), S | A | F | R | TCP_BIT_PSH | TCP_BIT_URG, F | TCP_BIT_PSH | TCP_BIT_URG, S | R})
		EXPECT_EQ(orig(uint8_t(f), T0 + 5000), -EPROTO) << f;
	EXPECT_EQ(orig(S | A, T0 + 5000), -EPROTO);
	EXPECT_EQ(reply(S, T0 + 5000), -EPROTO);
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(half(ref).seen, before[0]);
	EXPECT_EQ(half(ref + 1).seen, before[1]);
	ref = create(tuple_number(2, IPPROTO_TCP), S);
	EXPECT_EQ(reply(F | A), -EPROTO);
	EXPECT_EQ(orig(A), -EPROTO);
	EXPECT_FALSE(cold(ref).flags & CONN_ANSWERED);
	EXPECT_EQ(state(), TCP_STATE_SYN_SENT);
}

TEST_F(Tcp, ASynOnAnEstablishedConnectionPassesButKeepsNothingAlive)
{
	establish();
	uint32_t before = half(ref).seen;
	EXPECT_EQ(orig(S, T0 + 7000), 0);
	EXPECT_EQ(half(ref).seen, before);
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
}

TEST_F(Tcp, AnRstOutsideTheWindowClosesNothingAndIsNamed)
{
	establish();
	uint32_t before[2] = {half(ref).seen, half(ref + 1).seen};
	for (uint32_t dir : {0u, 1u}) {
		tcp_segment s = next_segment(t, ref + dir, R);
		for (uint32_t far : {100'000u, 1u << 30, 0u - 100'000, 0u - 10}) {
			tcp_segment wrong = s;
			wrong.seq += far;
			EXPECT_EQ(conn_packet(t, ref + dir, &wrong, T0 + 5000), -ERANGE) << far;
		}
	}
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(half(ref).seen, before[0]);
	EXPECT_EQ(half(ref + 1).seen, before[1]);
	tcp_segment right = next_segment(t, ref + 1, R);
	EXPECT_EQ(conn_packet(t, ref + 1, &right, T0), 0);
	EXPECT_EQ(state(), TCP_STATE_CLOSE);
}

TEST_F(Tcp, WhatIsOutsideTheWindowPassesAndTeachesNothing)
{
	establish();
	uint32_t before = half(ref).seen;
	for (uint8_t flags : {A, uint8_t(F | A)}) {
		tcp_segment s = next_segment(t, ref, flags);
		s.seq += 1'000'000;
		EXPECT_EQ(conn_packet(t, ref, &s, T0 + 5000), 0);
	}
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(half(ref).seen, before);
	EXPECT_EQ(orig(A, T0 + 5000), 0);
	EXPECT_NE(half(ref).seen, before);
	EXPECT_EQ(orig(F | A), 0);
	EXPECT_EQ(state(), TCP_STATE_FIN_WAIT);
}

TEST_F(Tcp, StrictWindowsRefuseIt)
{
	conn_table_options o = options();
	o.strict_windows = true;
	conn_table_destroy(t, true);
	ASSERT_EQ(conn_table_create(&t, &o, nullptr), 0);
	establish();
	for (uint8_t flags : {A, uint8_t(F | A)}) {
		tcp_segment s = next_segment(t, ref, flags);
		s.seq += 1'000'000;
		EXPECT_EQ(conn_packet(t, ref, &s, T0 + 5000), -ERANGE);
	}
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(orig(A), 0);
}

TEST_F(Tcp, AForgedAnswerToASynDoesNotCount)
{
	ref = create(tuple_number(1, IPPROTO_TCP), S);
	tcp_segment forged = next_segment(t, ref + 1, S | A), reset = next_segment(t, ref + 1, R | A);
	forged.ack += 5;
	reset.ack += 5;
	EXPECT_EQ(conn_packet(t, ref + 1, &forged, T0), 0);
	EXPECT_EQ(conn_packet(t, ref + 1, &reset, T0), -ERANGE);
	EXPECT_EQ(state(), TCP_STATE_SYN_SENT);
	EXPECT_FALSE(cold(ref).flags & CONN_ANSWERED);
	EXPECT_EQ(reply(S | A), 0);
	EXPECT_EQ(state(), TCP_STATE_SYN_RECV);
}

TEST_F(Tcp, APacketWithoutAHeaderPassesAndTeachesNothing)
{
	establish();
	uint32_t before = half(ref).seen;
	EXPECT_EQ(conn_packet(t, ref, static_cast<const tcp_segment *>(nullptr), T0 + 9000), 0);
	EXPECT_EQ(half(ref).seen, before);
}

TEST_F(Tcp, SimultaneousOpen)
{
	ref = create(tuple_number(1, IPPROTO_TCP), S);
	EXPECT_EQ(reply(S), 0);
	EXPECT_EQ(state(), TCP_STATE_SYN_SENT2);
	EXPECT_EQ(stats().half_open, 0u);
	EXPECT_EQ(orig(S | A), 0);
	EXPECT_EQ(reply(S | A), 0);
	EXPECT_EQ(orig(A), 0);
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
}

TEST_F(Tcp, PickedUpInTheMiddleIsHalfOpenUntilAnswered)
{
	ref = create(tuple_number(1, IPPROTO_TCP), A);
	EXPECT_EQ(state(), TCP_STATE_ESTABLISHED);
	EXPECT_EQ(orig(A), 0);
	EXPECT_EQ(stats().half_open, 1u);
	EXPECT_EQ(reply(A), 0);
	EXPECT_EQ(stats().half_open, 0u);
}

TEST_F(Tcp, HalfOpenCountsThoseNeverAnswered)
{
	uint32_t r[5];
	for (uint32_t i = 0; i < 5; i++)
		r[i] = create(tuple_number(i, IPPROTO_TCP), S);
	EXPECT_EQ(stats().half_open, 5u);
	conn_remove(t, 0, r[0]); // forgotten unanswered
	EXPECT_EQ(stats().half_open, 4u);
	ref = r[1];
	EXPECT_EQ(reply(R | A), 0);
	EXPECT_EQ(reply(R | A), 0);
	EXPECT_EQ(stats().half_open, 3u);
	conn_remove(t, 1, r[1]);
	EXPECT_EQ(stats().half_open, 3u);
	EXPECT_EQ(conn_age(t, 0, T0 + 200'000, 10'000), 3u);
	EXPECT_EQ(stats().half_open, 0u);
}

// --- decisions ---

TEST_F(Table, ADecisionStandsForItsSourceUntilADependencyMoves)
{
	uint32_t ref = create(tuple_number(1)), hop = 0, a = generation_alloc(), b = generation_alloc();
	uint32_t dep[GENERATION_DEPS] = {a, b, 0};
	EXPECT_FALSE(conn_half_stands(&half(ref), 0, &hop)); // STAMP_NONE
	uint32_t flags = half(ref).seen & 0x0fffffff;
	conn_half_decide(&half(ref), dep, generation_sum(dep), 77);
	EXPECT_TRUE(conn_half_stands(&half(ref), a, &hop));
	EXPECT_EQ(hop, 77u);
	EXPECT_FALSE(conn_half_stands(&half(ref), b, &hop));
	EXPECT_FALSE(conn_half_stands(&half(ref), 0, &hop));
	EXPECT_FALSE(conn_half_stands(&half(ref + 1), a, &hop));
	generation_bump(b);
	EXPECT_FALSE(conn_half_stands(&half(ref), a, &hop));
	conn_half_decide(&half(ref), dep, generation_sum(dep), 78);
	EXPECT_TRUE(conn_half_stands(&half(ref), a, &hop));
	EXPECT_EQ(hop, 78u);
	generation_bump(a);
	EXPECT_FALSE(conn_half_stands(&half(ref), a, &hop));
	conn_half_decide(&half(ref), dep, STAMP_NONE, 79); // for one packet only
	EXPECT_FALSE(conn_half_stands(&half(ref), a, &hop));
	for (uint32_t i = 0; i < 40; i++) { // over the end of the count of changes
		conn_half_decide(&half(ref), dep, generation_sum(dep), 100 + i);
		ASSERT_TRUE(conn_half_stands(&half(ref), a, &hop));
		ASSERT_EQ(hop, 100 + i);
		ASSERT_EQ(half(ref).seen & 0x0fffffff, flags);
	}
	generation_free(a);
	generation_free(b);
}

TEST_F(Table, OneOfTwoDecidersLoses)
{
	uint32_t ref = create(tuple_number(1)), hop = 0, dep[GENERATION_DEPS] = {0, 0, 0};
	conn_half_decide(&half(ref), dep, generation_sum(dep), 5);
	half(ref).seen += HALF_CHANGING; // somebody is at it
	conn_half_decide(&half(ref), dep, generation_sum(dep), 6);
	EXPECT_EQ(half(ref).hop, 5u);
	EXPECT_FALSE(conn_half_stands(&half(ref), 0, &hop));
	half(ref).seen += HALF_CHANGING;
	EXPECT_TRUE(conn_half_stands(&half(ref), 0, &hop));
	EXPECT_EQ(hop, 5u);
	conn_remove(t, 0, ref);
	conn_half_decide(&half(ref), dep, generation_sum(dep), 7);
	EXPECT_EQ(half(ref).hop, 5u);
}

// --- ageing ---

struct Age : Table {
	// Whether a fresh connection is forgotten after `s` seconds and not after s - 1.
	void
	expect_life(uint32_t ref, uint32_t s, uint32_t from = T0)
	{
		tuple k = half(ref).key;
		EXPECT_EQ(conn_age(t, 0, from + (s - 1) * 1000, 100'000), 0u);
		EXPECT_EQ(conn_find(t, &k), ref);
		EXPECT_EQ(conn_age(t, 0, from + s * 1000, 100'000), 1u);
		EXPECT_EQ(conn_find(t, &k), 0u);
	}
};

TEST_F(Age, ByProtocolAndAnswer)
{
	expect_life(create(tuple_number(1, IPPROTO_UDP)), 30);
	uint32_t ref = create(tuple_number(2, IPPROTO_UDP));
	conn_packet(t, ref + 1, 0, T0);
	expect_life(ref, 120);
	expect_life(create(tuple_number(3, IPPROTO_ICMP)), 30);
	expect_life(create(tuple_number(4, IPPROTO_ICMPV6, true)), 30);
	expect_life(create(tuple_number(5, IPPROTO_GRE)), 600);
	EXPECT_EQ(stats().expired, 5u);
	EXPECT_EQ(stats().removed, 0u);
	EXPECT_EQ(stats().used, 0u);
}

TEST_F(Age, ByTcpState)
{
	struct {
		int state;
		uint32_t seconds;
	} life[] = {{TCP_STATE_SYN_SENT, 30},   {TCP_STATE_SYN_RECV, 30},   {TCP_STATE_ESTABLISHED, 432000},
		    {TCP_STATE_FIN_WAIT, 120},  {TCP_STATE_CLOSE_WAIT, 60}, {TCP_STATE_LAST_ACK, 30},
		    {TCP_STATE_TIME_WAIT, 120}, {TCP_STATE_CLOSE, 10},      {TCP_STATE_SYN_SENT2, 30}};
	for (auto &l : life) {
		SCOPED_TRACE(tcp_state_name(unsigned(l.state)));
		uint32_t ref = create(tuple_number(1, IPPROTO_TCP), TCP_BIT_SYN);
		cold(ref).state = uint8_t(l.state);
		cold(ref).flags = CONN_ANSWERED;
		expect_life(ref, l.seconds);
	}
}

TEST_F(Age, AnUnansweredTcpConnectionDoesNotLiveForDays)
{
	expect_life(create(tuple_number(1, IPPROTO_TCP), TCP_BIT_ACK), 30);
}

TEST_F(Age, PacketsOfEitherDirectionKeepIt)
{
	uint32_t ref = create(tuple_number(1));
	conn_packet(t, ref, 0, T0 + 29'000);
	EXPECT_EQ(conn_age(t, 0, T0 + 58'000, 1000), 0u);
	conn_packet(t, ref + 1, 0, T0 + 58'000);
	expect_life(ref, 120, T0 + 58'000);
}

tuple
question(uint32_t n)
{
	tuple k = tuple_number(n);
	k.dport = htons(53);
	return k;
}

TEST_F(Age, DnsIsOverTenSecondsAfterTheLastAnswer)
{
	expect_life(create(question(1)), 30); // never answered
	uint32_t ref = create(question(2));
	conn_packet(t, ref + 1, 0, T0 + 4000);
	expect_life(ref, 10, T0 + 4000);

	ref = create(question(3)); // A and AAAA from one socket
	conn_packet(t, ref, 0, T0);
	conn_packet(t, ref + 1, 0, T0);
	EXPECT_EQ(conn_age(t, 0, T0 + 20'000, 1000), 0u) << "one answer is missing";
	conn_packet(t, ref + 1, 0, T0 + 20'000);
	EXPECT_EQ(cold(ref).datagrams[0], 2u);
	EXPECT_EQ(cold(ref).datagrams[1], 2u);
	expect_life(ref, 10, T0 + 20'000);

	ref = create(question(4));
	conn_packet(t, ref + 1, 0, T0);
	conn_packet(t, ref, 0, T0); // the next question
	expect_life(ref, 120);
}

TEST_F(Age, DnsBehindAServiceListensWhereItLikes)
{
	conn_new n = new_conn(question(1));
	n.reply.src = ip_from4(htonl(0x0a0a0a0a));
	n.reply.sport = htons(5353);
	uint32_t ref;
	ASSERT_EQ(conn_create(t, 0, &n, T0, &ref), 0);
	conn_packet(t, ref + 1, 0, T0);
	expect_life(ref, 10);
}

TEST_F(Age, OtherPortsAreNotDns)
{
	tuple tcp = question(1), from53 = question(2);
	tcp.net_proto = tuple_net_proto(1, IPPROTO_TCP);
	std::swap(from53.sport, from53.dport);
	uint32_t ref = create(from53);
	conn_packet(t, ref + 1, 0, T0);
	expect_life(ref, 120);
	ref = create(tcp, TCP_BIT_SYN);
	EXPECT_EQ(conn_packet(t, ref + 1, TCP_BIT_SYN | TCP_BIT_ACK, T0), 0);
	EXPECT_EQ(conn_packet(t, ref, TCP_BIT_ACK, T0), 0);
	EXPECT_EQ(conn_age(t, 0, T0 + 3'600'000, 100'000), 0u);
}

TEST_F(Age, OwnTimeouts)
{
	conn_timeouts o;
	memset(&o, 0, sizeof(o));
	o.udp = 2;
	open(4096, 2, &o);
	expect_life(create(tuple_number(1)), 2);
	expect_life(create(tuple_number(2, IPPROTO_ICMP)), 30); // 0 stands for the default
}

TEST_F(Age, ABudgetIsKeptAndTheSweepGoesRound)
{
	for (uint32_t i = 0; i < 1000; i++)
		create(tuple_number(i));
	unsigned int all = 0, calls = 0;
	while (all < 1000 && calls < 1000) {
		unsigned int n = conn_age(t, 0, T0 + 60'000, 10);
		EXPECT_LE(n, 10u);
		all += n;
		calls++;
	}
	EXPECT_EQ(all, 1000u);
	EXPECT_LE(calls, 105u);
	EXPECT_EQ(stats().used, 0u);
	EXPECT_EQ(conn_age(t, 0, T0 + 60'000, UINT32_MAX), 0u);
}

TEST_F(Age, EachWorkerForgetsItsOwnShare)
{
	for (uint32_t i = 0; i < 500; i++)
		create(tuple_number(i), 0, i % 2);
	EXPECT_EQ(conn_age(t, 0, T0 + 60'000, 100'000), 250u);
	EXPECT_EQ(conn_age(t, 0, T0 + 60'000, 100'000), 0u);
	EXPECT_EQ(conn_age(t, 1, T0 + 60'000, 100'000), 250u);
	EXPECT_EQ(stats().used, 0u);
}

TEST_F(Age, NothingToSweepIsFine)
{
	EXPECT_EQ(conn_age(t, 0, T0, 100'000), 0u);
	EXPECT_EQ(conn_age(t, 1, 0, 0), 0u);
}

TEST_F(Age, TheClockOfAnotherWorkerMayBeAhead)
{
	create(tuple_number(1), 0, 0, T0 + 2500);
	EXPECT_EQ(conn_age(t, 0, T0, 1000), 0u);
}

// --- walk ---

TEST_F(Table, WalkShowsEveryLiveConnectionOnce)
{
	std::set<uint32_t> expect, seen;
	for (uint32_t i = 0; i < 700; i++)
		expect.insert(create(tuple_number(i), 0, i % 2));
	for (uint32_t i = 0; i < 700; i += 3) {
		tuple k = tuple_number(i);
		uint32_t ref = conn_find(t, &k);
		expect.erase(ref);
		conn_remove(t, 0, ref);
	}
	struct Arg {
		conn_table *t;
		std::set<uint32_t> *seen;
	} arg = {t, &seen};
	int rc = conn_walk(
		t,
		[](uint32_t ref, const conn_half h[2], const conn_cold *c, void *p) {
			auto *a = static_cast<Arg *>(p);
			EXPECT_TRUE(a->seen->insert(ref).second);
			EXPECT_EQ(conn_find(a->t, &h[0].key), ref);
			EXPECT_EQ(conn_find(a->t, &h[1].key), ref + 1);
			EXPECT_EQ(c->scale[0], 0xff);
			return 0;
		},
		&arg);
	EXPECT_EQ(rc, 0);
	EXPECT_EQ(seen, expect);
	unsigned int calls = 0;
	auto stop = [](uint32_t, const conn_half *, const conn_cold *, void *p) {
		return ++*static_cast<unsigned int *>(p) == 3 ? 42 : 0;
	};
	EXPECT_EQ(conn_walk(t, stop, &calls), 42);
	EXPECT_EQ(calls, 3u);
}

// --- against a model ---

struct TupleHash {
	size_t
	operator()(const tuple &k) const
	{
		return std::hash<std::string>()(std::string(reinterpret_cast<const char *>(&k), sizeof(k)));
	}
};
struct TupleEqual {
	bool
	operator()(const tuple &a, const tuple &b) const
	{
		return tuple_equal(&a, &b);
	}
};

struct ModelConnection {
	uint32_t ref, last;
	tuple orig, reply;
	bool answered;
};

class Model : public Table
{
      public:
	std::unordered_map<tuple, uint32_t, TupleHash, TupleEqual> by_tuple; // to ref
	std::unordered_map<uint32_t, ModelConnection> conns;                 // by id
	std::mt19937 random{2026};
	uint32_t now = T0;

	uint32_t
	lookup(const tuple &k)
	{
		auto i = by_tuple.find(k);
		return i == by_tuple.end() ? 0 : i->second;
	}
	tuple
	some()
	{
		tuple k = tuple_number(uint32_t(random() % 1500), IPPROTO_UDP, random() % 2);
		return random() % 2 ? k : tuple_reversed(&k);
	}
	void
	erase(uint32_t id)
	{
		by_tuple.erase(conns[id].orig);
		by_tuple.erase(conns[id].reply);
		conns.erase(id);
	}
	void
	do_create()
	{
		conn_new n = new_conn(some());
		if (random() % 3 == 0)
			n.reply = some();
		uint32_t ref, has_orig = lookup(n.orig), has_reply = lookup(n.reply);
		unsigned int worker = unsigned(random() % 2);
		int rc = conn_create(t, worker, &n, now, &ref);
		if (rc == -ENOSPC && conns.size() < 1024) { // the other worker has not come to its housekeeping
			now += 10;
			conn_age(t, 1 - worker, now, 0);
			rc = conn_create(t, worker, &n, now, &ref);
		}
		if (has_orig != 0) {
			ASSERT_EQ(rc, -EEXIST);
			ASSERT_EQ(ref, has_orig);
		} else if (has_reply != 0) {
			ASSERT_EQ(rc, -EADDRINUSE);
		} else if (conns.size() == 1024) {
			ASSERT_EQ(rc, -ENOSPC);
		} else {
			ASSERT_EQ(rc, 0);
			ASSERT_EQ(conns.count(ref / 2), 0u);
			conns[ref / 2] = {ref, now / 1000, n.orig, n.reply, false};
			by_tuple[n.reply] = ref + 1;
			by_tuple[n.orig] = ref;
		}
	}
	void
	do_packet()
	{
		uint32_t ref = lookup(some());
		if (ref == 0)
			return;
		ASSERT_EQ(conn_packet(t, ref, 0, now), 0);
		ModelConnection &c = conns[ref / 2];
		c.last = now / 1000;
		c.answered = c.answered || ref % 2;
	}
	void
	do_remove()
	{
		uint32_t ref = lookup(some());
		if (ref == 0)
			return;
		conn_remove(t, unsigned(random() % 2), ref);
		erase(ref / 2);
	}
	void
	do_age()
	{
		now += uint32_t(random() % 20'000);
		std::vector<uint32_t> over;
		for (auto &[id, c] : conns) {
			if (now / 1000 - c.last >= (c.answered ? 120u : 30u))
				over.push_back(id);
		}
		unsigned int n = conn_age(t, 0, now, 100'000) + conn_age(t, 1, now, 100'000);
		ASSERT_EQ(n, over.size());
		for (uint32_t id : over)
			erase(id);
	}
	void
	compare()
	{
		for (int i = 0; i < 100; i++) {
			tuple k = some();
			ASSERT_EQ(conn_find(t, &k), lookup(k));
		}
		conn_stats s = stats();
		ASSERT_EQ(s.used, conns.size());
		ASSERT_EQ(s.created - s.removed - s.expired, conns.size());
	}
};

TEST_F(Model, RandomOperations)
{
	open(1024, 2);
	for (int step = 0; step < 200'000 && !HasFatalFailure(); step++) {
		unsigned int dice = unsigned(random() % 1000);
		if (dice < 500)
			do_create();
		else if (dice < 850)
			do_packet();
		else if (dice < 995)
			do_remove();
		else if (dice < 997)
			do_age();
		else
			compare();
	}
}

} // namespace
