// SPDX-License-Identifier: Apache-2.0
// Several workers at once, each on a CPU of its own, every answer checked.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include <sched.h>

#include "conn.hpp"

namespace
{

constexpr uint32_t T0 = 1'000'000;

unsigned int
cpus()
{
	cpu_set_t set;
	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	return unsigned(CPU_COUNT(&set));
}

// EAL and test runners pin threads: without its own CPU each, two threads take turns and races hide.
void
pin(unsigned int id)
{
	cpu_set_t allowed, one;
	CPU_ZERO(&allowed);
	sched_getaffinity(0, sizeof(allowed), &allowed);
	unsigned int skip = id % unsigned(CPU_COUNT(&allowed));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &allowed) && skip-- == 0) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			EXPECT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
			return;
		}
	}
}

// All workers meet here; who waits is quiescent.
class Meeting
{
      public:
	explicit Meeting(unsigned int n) : n_(n)
	{
	}
	void
	wait(Reader &r)
	{
		unsigned int turn = turn_.load();
		if (come_.fetch_add(1) + 1 == n_) {
			come_.store(0);
			turn_.fetch_add(1);
			return;
		}
		for (unsigned int spins = 0; turn_.load() == turn; spins++) {
			r.quiescent();
			if (spins > 200)
				sched_yield();
		}
	}

      private:
	unsigned int n_;
	std::atomic<unsigned int> come_{0}, turn_{0};
};

class Clock
{
      public:
	explicit Clock(double seconds) : end_(now() + std::chrono::duration<double>(seconds))
	{
	}
	bool
	over() const
	{
		return now() >= end_;
	}
	// On a busy machine a test goes on until it has seen enough to be worth its name.
	bool
	over(bool enough) const
	{
		return enough ? over() : now() >= end_ + std::chrono::duration<double>(20);
	}

      private:
	static std::chrono::time_point<std::chrono::steady_clock, std::chrono::duration<double>>
	now()
	{
		return std::chrono::steady_clock::now();
	}
	std::chrono::time_point<std::chrono::steady_clock, std::chrono::duration<double>> end_;
};

struct ConnStress : ::testing::Test {
	conn_table *t = nullptr;
	unsigned int n = std::max(2u, std::min(cpus(), 4u));

	void
	open(uint32_t capacity, uint32_t per_owner = 0)
	{
		conn_table_options o;
		memset(&o, 0, sizeof(o));
		o.capacity = capacity;
		o.workers = n + 1;
		o.numa_node = -1;
		o.per_owner = per_owner;
		ASSERT_EQ(conn_table_create(&t, &o, nullptr), 0);
	}
	void
	TearDown() override
	{
		conn_table_destroy(t, true);
	}
	void
	run(const std::function<void(unsigned int, Reader &)> &body)
	{
		std::vector<std::thread> threads;
		for (unsigned int i = 0; i < n; i++) {
			threads.emplace_back([&, i] {
				pin(i);
				Reader r(i);
				body(i, r);
			});
		}
		for (std::thread &th : threads)
			th.join();
	}
	conn_stats
	stats()
	{
		conn_stats s;
		conn_table_stats(t, &s);
		return s;
	}
	uint32_t
	walked()
	{
		uint32_t count = 0;
		conn_walk(
			t,
			[](uint32_t, const conn_half *, const conn_cold *, void *p) {
				++*static_cast<uint32_t *>(p);
				return 0;
			},
			&count);
		return count;
	}
	// With nothing lost on the way, an emptied table takes its capacity again.
	void
	expect_nothing_leaked(uint32_t capacity)
	{
		std::vector<uint32_t> refs;
		conn_walk(
			t,
			[](uint32_t ref, const conn_half *, const conn_cold *, void *p) {
				static_cast<std::vector<uint32_t> *>(p)->push_back(ref);
				return 0;
			},
			&refs);
		EXPECT_EQ(stats().used, refs.size());
		for (uint32_t ref : refs)
			conn_remove(t, 0, ref);
		EXPECT_EQ(stats().used, 0u);
		EXPECT_EQ(stats().half_open, 0u);
		for (unsigned int turn = 1; turn < 4; turn++) {
			for (unsigned int w = 0; w <= n; w++)
				conn_age(t, w, T0 + 3'600'000 + 100 * turn, 0);
		}
		for (uint32_t i = 0; i < capacity; i++) {
			conn_new c = new_conn(tuple_number(0x100000 + i));
			uint32_t ref;
			ASSERT_EQ(conn_create(t, 0, &c, T0, &ref), 0) << i << " of " << capacity;
		}
	}
};

struct Answer {
	int rc;
	uint32_t ref;
};

// What each racer wants in round r; how the answers are judged.
struct Race {
	std::function<conn_new(unsigned int racer, uint32_t round)> want;
	std::function<void(uint32_t round, const std::vector<conn_new> &, const std::vector<Answer> &)> judge;
};

struct ConnRace : ConnStress {
	void
	race(const Race &race, double seconds = 0.6)
	{
		open(4096);
		Meeting meeting(n);
		Clock clock(seconds);
		std::vector<Answer> answers(n);
		std::vector<conn_new> wants(n);
		std::atomic<bool> stop{false};
		std::atomic<uint32_t> rounds{0}, clashes{0};
		run([&](unsigned int id, Reader &r) {
			for (uint32_t round = 0; !stop.load(); round++) {
				conn_new want = wants[id] = race.want(id, round);
				meeting.wait(r);
				for (unsigned int spin = 0; spin < (round * 7 + id * 13) % 64; spin++)
					__builtin_ia32_pause();
				answers[id].rc = conn_create(t, id, &want, T0, &answers[id].ref);
				meeting.wait(r);
				if (id == 0) {
					race.judge(round, wants, answers);
					for (const Answer &a : answers) {
						if (a.rc == 0)
							conn_remove(t, round % n, a.ref);
					}
					EXPECT_EQ(stats().used, 0u);
					rounds++;
					stop = clock.over(rounds > 100) || HasFailure();
				}
				r.quiescent();
				meeting.wait(r);
				conn_age(t, id, T0 + 11 * round, 0);
			}
		});
		RecordProperty("rounds", int(rounds.load()));
		EXPECT_GT(rounds.load(), 100u);
		expect_nothing_leaked(4096);
	}
	// Every one but the winner holds the winner's entry, by the half that carries its orig; both tuples lead there.
	void
	expect_one_connection(const std::vector<conn_new> &wants, const std::vector<Answer> &answers)
	{
		unsigned int winners = 0;
		uint32_t id = 0;
		for (const Answer &a : answers) {
			winners += a.rc == 0;
			id = a.rc == 0 ? a.ref >> 1 : id;
		}
		ASSERT_EQ(winners, 1u);
		for (size_t i = 0; i < answers.size(); i++) {
			ASSERT_TRUE(answers[i].rc == 0 || answers[i].rc == -EEXIST) << answers[i].rc;
			ASSERT_EQ(answers[i].ref >> 1, id);
			ASSERT_TRUE(tuple_equal(&conn_view(t)->half[answers[i].ref].key, &wants[i].orig));
			ASSERT_EQ(conn_find(t, &wants[i].orig), answers[i].ref);
			ASSERT_EQ(conn_find(t, &wants[i].reply), answers[i].ref ^ 1);
		}
		ASSERT_EQ(stats().used, 1u);
		ASSERT_EQ(walked(), 1u);
	}
};

TEST_F(ConnRace, SameTuple)
{
	race({[](unsigned int, uint32_t round) { return new_conn(tuple_number(round % 100'000)); },
	      [&](uint32_t, const auto &w, const auto &a) { expect_one_connection(w, a); }});
}

// The DNS race: two datagrams of a new socket at once, and each worker has chosen a backend of its own.
TEST_F(ConnRace, SameSocketToDifferentBackends)
{
	race({[](unsigned int racer, uint32_t round) {
		      tuple k = tuple_number(round % 4000);
		      k.dport = htons(53);
		      conn_new c = new_conn(k);
		      c.reply.src = ip_from4(htonl(0x0b000000 + racer));
		      c.reply.sport = htons(5353);
		      return c;
	      },
	      [&](uint32_t, const auto &w, const auto &a) {
		      unsigned int winner = 0, winners = 0;
		      for (unsigned int i = 0; i < a.size(); i++) {
			      ASSERT_TRUE(a[i].rc == 0 || a[i].rc == -EEXIST) << a[i].rc;
			      winners += a[i].rc == 0;
			      winner = a[i].rc == 0 ? i : winner;
		      }
		      ASSERT_EQ(winners, 1u);
		      for (unsigned int i = 0; i < a.size(); i++) {
			      ASSERT_EQ(a[i].ref, a[winner].ref);
			      ASSERT_EQ(conn_find(t, &w[i].reply), i == winner ? a[winner].ref + 1 : 0);
		      }
		      ASSERT_EQ(walked(), 1u);
	      }});
}

TEST_F(ConnRace, EachOthersReverse)
{
	race({[](unsigned int racer, uint32_t round) {
		      tuple k = tuple_number(round % 100'000);
		      return new_conn(racer % 2 ? tuple_reversed(&k) : k);
	      },
	      [&](uint32_t, const auto &w, const auto &a) { expect_one_connection(w, a); }});
}

TEST_F(ConnRace, AnEndpointWithItself)
{
	race({[](unsigned int, uint32_t round) {
		      tuple k = tuple_number(round % 100'000);
		      k.dst = k.src;
		      k.dport = k.sport;
		      return new_conn(k);
	      },
	      [&](uint32_t, const auto &w, const auto &a) {
		      unsigned int winners = 0;
		      for (size_t i = 0; i < a.size(); i++) {
			      winners += a[i].rc == 0;
			      ASSERT_EQ(conn_find(t, &w[i].orig), a[i].ref);
		      }
		      ASSERT_EQ(winners, 1u);
	      }},
	     0.4);
}

// Two clients translated to the same reply tuple, as NAT port allocation races.
TEST_F(ConnRace, SameReply)
{
	race({[](unsigned int racer, uint32_t round) {
		      conn_new c = new_conn(tuple_number(1000 * (racer + 1) + round % 1000));
		      c.reply = tuple_number(0x80000 + round % 1000);
		      return c;
	      },
	      [&](uint32_t, const auto &w, const auto &a) {
		      unsigned int winners = 0;
		      for (size_t i = 0; i < a.size(); i++) {
			      ASSERT_TRUE(a[i].rc == 0 || a[i].rc == -EADDRINUSE) << a[i].rc;
			      winners += a[i].rc == 0;
			      ASSERT_EQ(conn_find(t, &w[i].orig), a[i].rc == 0 ? a[i].ref : 0);
			      if (a[i].rc == 0) {
				      ASSERT_EQ(conn_find(t, &w[i].reply), a[i].ref + 1);
			      }
		      }
		      ASSERT_EQ(winners, 1u);
	      }});
}

// A ring: each one's reply is the next one's orig. Winners share no tuple, and every loser had a winner beside it.
TEST_F(ConnRace, Ring)
{
	n = 4;
	race({[&](unsigned int racer, uint32_t round) {
		      uint32_t base = (round % 1000) * 16;
		      conn_new c = new_conn(tuple_number(base + racer));
		      c.reply = tuple_number(base + (racer + 1) % n);
		      return c;
	      },
	      [&](uint32_t, const auto &, const auto &a) {
		      for (size_t i = 0; i < a.size(); i++) {
			      bool won = a[i].rc == 0, next = a[(i + 1) % n].rc == 0,
				   previous = a[(i + n - 1) % n].rc == 0;
			      if (won) {
				      ASSERT_FALSE(next);
				      ASSERT_FALSE(previous);
			      } else {
				      ASSERT_TRUE(next || previous);
				      ASSERT_TRUE((a[i].rc == -EEXIST && previous) || (a[i].rc == -EADDRINUSE && next))
					      << a[i].rc;
			      }
		      }
	      }});
}

// Each owns what it created and takes it away itself, so that it knows what it must find; keys are few and everybody
// wants them, in either direction and with replies that cross.
TEST_F(ConnStress, ChurnOfOwnConnections)
{
	constexpr uint32_t KEYS = 200, CAPACITY = 1024;
	open(CAPACITY);
	std::vector<std::atomic<uint32_t>> owner(2 * KEYS); // by tuple: who has it, + 1
	Clock clock(1.2);
	std::atomic<uint64_t> created{0}, existed{0}, in_use{0}, full{0};
	auto number = [](uint32_t k) {
		tuple a = tuple_number(k / 2, IPPROTO_TCP);
		return k % 2 ? tuple_reversed(&a) : a;
	};
	run([&](unsigned int id, Reader &r) {
		std::mt19937 random(id + 1);
		struct Mine {
			uint32_t ref, orig, reply;
		};
		std::vector<Mine> mine;
		auto enough = [&] { return created > 1000 && existed > 100 && in_use > 100; };
		for (uint32_t turn = 0; !clock.over(enough()) && !HasFailure(); turn++) {
			for (int i = 0; i < 16; i++) {
				uint32_t o = uint32_t(random() % (2 * KEYS)),
					 p = random() % 2 ? o ^ 1 : uint32_t(random() % (2 * KEYS));
				conn_new c = new_conn(number(o), TCP_BIT_SYN);
				c.reply = number(p);
				c.owner = id;
				uint32_t ref;
				int rc = conn_create(t, id, &c, T0, &ref);
				if (rc == 0) {
					created++;
					EXPECT_EQ(owner[o].exchange(id + 1), 0u);
					EXPECT_TRUE(o == p || owner[p].exchange(id + 1) == 0u);
					mine.push_back({ref, o, p});
				} else if (rc == -EEXIST) {
					existed++;
					EXPECT_TRUE(tuple_equal(&conn_view(t)->half[ref].key, &c.orig));
				} else {
					(rc == -EADDRINUSE ? in_use : full)++;
					EXPECT_TRUE(rc == -EADDRINUSE || rc == -ENOSPC) << rc;
				}
			}
			for (const Mine &m : mine) {
				tuple a = number(m.orig), b = number(m.reply);
				EXPECT_EQ(conn_find(t, &a), m.ref);
				EXPECT_EQ(conn_find(t, &b), m.orig == m.reply ? m.ref : m.ref + 1);
				EXPECT_EQ(conn_view(t)->cold[m.ref >> 1].owner, id);
			}
			for (size_t i = 0; i < mine.size();) {
				if (random() % 4 != 0) {
					i++;
					continue;
				}
				owner[mine[i].orig] = 0;
				owner[mine[i].reply] = 0;
				conn_remove(t, id, mine[i].ref);
				mine[i] = mine.back();
				mine.pop_back();
			}
			r.quiescent();
			conn_age(t, id, T0 + turn, 0);
		}
	});
	EXPECT_GT(created.load(), 1000u);
	EXPECT_GT(existed.load(), 100u);
	EXPECT_GT(in_use.load(), 100u);
	expect_nothing_leaked(CAPACITY);
}

// Anybody removes what it finds, packets come, the clock runs and ageing forgets, all at once. What was found keeps its
// meaning until the finder's next quiescent report.
TEST_F(ConnStress, ChurnByEverybodyWithPacketsAndAgeing)
{
	constexpr uint32_t KEYS = 3000, CAPACITY = 2048;
	open(CAPACITY);
	Clock clock(1.2);
	std::atomic<uint32_t> now{T0};
	std::atomic<uint64_t> expired{0}, hits{0}, stale{0};
	run([&](unsigned int id, Reader &r) {
		std::mt19937 random(100 + id);
		std::vector<tuple> keys(WEFT_BURST);
		const tuple *key[WEFT_BURST];
		uint32_t hash[WEFT_BURST], ref[WEFT_BURST];
		while (!clock.over(hits > 10'000 && stale > 10 && expired > 10) && !HasFailure()) {
			uint32_t ms = now.fetch_add(50);
			for (unsigned int i = 0; i < WEFT_BURST; i++) {
				keys[i] = tuple_number(uint32_t(random() % KEYS),
						       random() % 2 ? IPPROTO_UDP : IPPROTO_TCP);
				if (random() % 2)
					keys[i] = tuple_reversed(&keys[i]);
				key[i] = &keys[i];
			}
			conn_find_burst(t, key, WEFT_BURST, hash, ref);
			for (unsigned int i = 0; i < WEFT_BURST; i++) {
				bool tcp = (keys[i].net_proto & 0xff) == IPPROTO_TCP;
				if (ref[i] == 0) {
					conn_new c = new_conn(keys[i], tcp ? TCP_BIT_SYN : 0);
					int rc = conn_create(t, id, &c, ms, &ref[i]);
					EXPECT_TRUE(rc == 0 || rc == -EEXIST || rc == -ENOSPC || rc == -EADDRINUSE)
						<< rc;
					if (rc == -ENOSPC || rc == -EADDRINUSE)
						continue;
				}
				hits++;
				static const uint8_t flags[] = {TCP_BIT_SYN, TCP_BIT_SYN | TCP_BIT_ACK, TCP_BIT_ACK,
								TCP_BIT_FIN | TCP_BIT_ACK, TCP_BIT_RST};
				int rc = conn_packet(t, ref[i], tcp ? flags[random() % 5] : 0, ms);
				EXPECT_TRUE(rc == 0 || rc == -ESTALE || (tcp && (rc == -EPROTO || rc == -ERANGE)))
					<< rc;
				if (rc == -ESTALE || random() % 8 == 0) {
					stale += rc == -ESTALE;
					conn_remove(t, id, ref[i]);
					uint32_t after = conn_find(t, key[i]);
					EXPECT_NE(after, ref[i]);
				}
			}
			for (unsigned int i = 0; i < WEFT_BURST; i++) {
				if (ref[i] != 0) {
					EXPECT_TRUE(tuple_equal(&conn_view(t)->half[ref[i]].key, key[i]));
				}
			}
			r.quiescent();
			expired += conn_age(t, id, ms, 200);
		}
	});
	EXPECT_GT(hits.load(), 10'000u);
	EXPECT_GT(stale.load(), 10u);
	EXPECT_GT(expired.load(), 10u);
	EXPECT_EQ(stats().expired, expired.load());
	EXPECT_EQ(stats().used, walked());
	// Of each tuple there is one connection: whoever walks finds what finders find.
	conn_walk(
		t,
		[](uint32_t ref, const conn_half h[2], const conn_cold *, void *p) {
			EXPECT_EQ(conn_find(static_cast<conn_table *>(p), &h[0].key), ref);
			EXPECT_EQ(conn_find(static_cast<conn_table *>(p), &h[1].key), ref + 1);
			return 0;
		},
		t);
	expect_nothing_leaked(CAPACITY);
}

// Floods from two owners at their quotas, and one who stays below and is answered: the books of all balance, and nobody
// takes anything from him.
TEST_F(ConnStress, QuotasAndEvictionUnderFloods)
{
	constexpr uint32_t CAPACITY = 4096, QUOTA = 1500, CALM = 3, PER_WORKER = 100;
	open(CAPACITY, QUOTA);
	Clock clock(1.2);
	Meeting meeting(n); // a worker that the kernel holds up holds up all ids: the others wait for it
	std::atomic<bool> stop{false};
	std::atomic<uint32_t> now{T0};
	std::atomic<uint64_t> flooded{0}, refused{0}, calm{0};
	run([&](unsigned int id, Reader &r) {
		std::mt19937 random(id + 7);
		std::vector<uint32_t> mine; // numbers
		auto enough = [&] { return flooded > 20'000 && refused > 10 && calm > 1000 && stats().evicted > 100; };
		for (uint32_t turn = 0; !stop; turn++) {
			uint32_t ms = now.fetch_add(1), ref;
			for (int i = 0; i < 32; i++) {
				conn_new c = new_conn(tuple_number(0x100000 + uint32_t(random() % 0x400000), IPPROTO_TCP), TCP_BIT_SYN);
				c.owner = 1 + uint32_t(random() % 2);
				int rc = conn_create(t, id, &c, ms, &ref);
				EXPECT_TRUE(rc == 0 || rc == -EDQUOT || rc == -ENOSPC || rc == -EEXIST) << rc;
				flooded += rc == 0;
				refused += rc == -EDQUOT || rc == -ENOSPC;
				EXPECT_LE(conn_owner_used(t, c.owner), QUOTA + n);
			}
			uint32_t number = 1000 * id + uint32_t(mine.size());
			conn_new c = new_conn(tuple_number(number));
			c.owner = CALM;
			int rc = conn_create(t, id, &c, ms, &ref);
			EXPECT_EQ(rc, 0) << "the calm one is refused";
			EXPECT_EQ(conn_packet(t, ref + 1, 0, ms), 0);
			mine.push_back(number);
			calm++;
			for (uint32_t k : mine) {
				tuple key = tuple_number(k);
				EXPECT_NE(conn_find(t, &key), 0u) << "one of the calm one's went";
			}
			if (mine.size() == PER_WORKER) {
				for (uint32_t k : mine) {
					tuple key = tuple_number(k);
					conn_remove(t, id, conn_find(t, &key));
				}
				mine.clear();
			}
			r.quiescent();
			conn_age(t, id, ms, 32);
			if (turn % 4 == 0) {
				meeting.wait(r);
				if (id == 0)
					stop = clock.over(enough()) || HasFailure();
				meeting.wait(r);
			}
		}
	});
	EXPECT_GT(flooded.load(), 20'000u);
	EXPECT_GT(refused.load(), 10u);
	EXPECT_GT(calm.load(), 1000u);
	EXPECT_GT(stats().evicted, 100u);
	uint32_t by_owner[4] = {};
	conn_walk(
		t,
		[](uint32_t, const conn_half *, const conn_cold *c, void *p) {
			static_cast<uint32_t *>(p)[c->owner]++;
			return 0;
		},
		by_owner);
	for (uint32_t owner = 1; owner <= 3; owner++)
		EXPECT_EQ(conn_owner_used(t, owner), by_owner[owner]);
	EXPECT_LE(by_owner[1], QUOTA);
	EXPECT_LE(by_owner[2], QUOTA);
	expect_nothing_leaked(CAPACITY);
}

// A connection that stands is found at every moment, whatever happens around it in the same buckets.
TEST_F(ConnStress, WhatStandsIsAlwaysFound)
{
	constexpr uint32_t STANDING = 900, CAPACITY = 1024;
	open(CAPACITY);
	std::vector<uint32_t> ref(STANDING);
	for (uint32_t i = 0; i < STANDING; i++) {
		conn_new c = new_conn(tuple_number(i));
		ASSERT_EQ(conn_create(t, n, &c, T0, &ref[i]), 0);
	}
	Clock clock(1.0);
	run([&](unsigned int id, Reader &r) {
		std::mt19937 random(id);
		while (!clock.over() && !HasFailure()) {
			for (int i = 0; i < 64; i++) {
				if (id % 2 == 0) {
					conn_new c = new_conn(tuple_number(10'000 + uint32_t(random() % 1000)));
					uint32_t mine;
					if (conn_create(t, id, &c, T0, &mine) == 0)
						conn_remove(t, id, mine);
				} else {
					uint32_t k = uint32_t(random() % STANDING);
					tuple a = tuple_number(k), b = tuple_reversed(&a);
					EXPECT_EQ(conn_find(t, &a), ref[k]);
					EXPECT_EQ(conn_find(t, &b), ref[k] + 1);
				}
			}
			r.quiescent();
			conn_age(t, id, T0, 0);
		}
	});
}

// hop and source belong together: each decider writes its own pair, all with the same sum of generations.
TEST_F(ConnStress, ADecisionIsReadWholeOrNotAtAll)
{
	open(1024);
	conn_new c = new_conn(tuple_number(1));
	uint32_t ref;
	ASSERT_EQ(conn_create(t, 0, &c, T0, &ref), 0);
	conn_half *h = &conn_view(t)->half[ref];
	uint32_t slot[8];
	for (uint32_t &s : slot)
		s = generation_alloc();
	while (true) { // equal generations, so that equal sums
		uint32_t most = 0, least = UINT32_MAX, which = 0;
		for (uint32_t s : slot) {
			most = std::max(most, generation_table[s]);
			if (generation_table[s] < least) {
				least = generation_table[s];
				which = s;
			}
		}
		if (least == most)
			break;
		generation_bump(which);
	}
	Clock clock(0.6);
	std::atomic<uint64_t> stood{0};
	run([&](unsigned int id, Reader &r) {
		std::mt19937 random(id);
		while (!clock.over(stood > 100) && !HasFailure()) {
			for (int i = 0; i < 100; i++) {
				uint32_t s = slot[random() % 8], hop = 0;
				uint32_t dep[GENERATION_DEPS] = {s, 0, 0};
				if (random() % 4 == 0)
					conn_half_decide(h, dep, generation_sum(dep), s * 7);
				if (conn_half_stands(h, s, &hop)) {
					stood++;
					EXPECT_EQ(hop, s * 7);
				}
				conn_packet(t, ref, 0, T0 + 1000 * i);
			}
			r.quiescent();
		}
	});
	EXPECT_GT(stood.load(), 100u);
	uint32_t hop, dep[GENERATION_DEPS] = {slot[0], 0, 0};
	conn_half_decide(h, dep, generation_sum(dep), 1);
	EXPECT_TRUE(conn_half_stands(h, slot[0], &hop));
	for (uint32_t s : slot)
		generation_free(s);
}

// One worker completes the handshake while another sees the FIN, which is not lost.
TEST_F(ConnStress, AFinIsSeenWhoeverComesFirst)
{
	open(1024);
	Meeting meeting(n);
	Clock clock(0.6);
	std::atomic<bool> stop{false};
	std::atomic<uint32_t> ref{0}, established{0}, closing{0};
	run([&](unsigned int id, Reader &r) {
		for (uint32_t round = 0; !stop.load(); round++) {
			if (id == 0) {
				conn_new c = new_conn(tuple_number(round % 1000, IPPROTO_TCP), TCP_BIT_SYN);
				uint32_t mine;
				EXPECT_EQ(conn_create(t, 0, &c, T0, &mine), 0);
				EXPECT_EQ(conn_packet(t, mine + 1, TCP_BIT_SYN | TCP_BIT_ACK, T0), 0);
				ref = mine;
			}
			meeting.wait(r);
			for (unsigned int spin = 0; spin < (round * 3 + id * 11) % 40; spin++)
				__builtin_ia32_pause();
			if (id == 0 || round % 3 == 0)
				EXPECT_EQ(conn_packet(t, ref, TCP_BIT_ACK, T0), 0);
			else
				EXPECT_EQ(conn_packet(t, ref + 1, TCP_BIT_FIN | TCP_BIT_ACK, T0), 0);
			meeting.wait(r);
			if (id == 0) {
				uint8_t state = conn_view(t)->cold[ref >> 1].state;
				if (round % 3 == 0)
					EXPECT_EQ(state, TCP_STATE_ESTABLISHED);
				else
					EXPECT_TRUE(state == TCP_STATE_FIN_WAIT || state == TCP_STATE_CLOSE_WAIT);
				(round % 3 == 0 ? established : closing)++;
				conn_remove(t, 0, ref);
				stop = clock.over(established > 10 && closing > 10) || HasFailure();
			}
			r.quiescent();
			meeting.wait(r);
			if (id == 0)
				conn_age(t, 0, T0 + 11 * round, 0);
		}
	});
	EXPECT_GT(established.load(), 10u);
	EXPECT_GT(closing.load(), 10u);
}

// The control thread lists connections while their ids are used again and again: no line mixes two of them.
TEST_F(ConnStress, WalkingShowsWholeConnections)
{
	open(1024);
	Clock clock(0.6);
	std::atomic<bool> stop{false};
	std::thread walker([&] {
		pin(n - 1);
		uint64_t lines = 0;
		while (!clock.over(lines > 100)) {
			conn_walk(
				t,
				[](uint32_t, const conn_half h[2], const conn_cold *c, void *p) {
					++*static_cast<uint64_t *>(p);
					tuple back = tuple_reversed(&h[0].key);
					EXPECT_TRUE(tuple_equal(&back, &h[1].key));
					EXPECT_EQ(c->service, ntohs(h[0].key.sport));
					EXPECT_EQ(c->backend, c->service);
					EXPECT_EQ(h[1].hop, c->service);
					return 0;
				},
				&lines);
		}
		EXPECT_GT(lines, 100u);
		stop = true;
	});
	run([&](unsigned int id, Reader &r) {
		for (uint32_t i = id; !stop.load(); i += n) {
			conn_new c = new_conn(tuple_number(i % 4000));
			c.service = c.backend = c.hop[0] = c.hop[1] = ntohs(c.orig.sport);
			uint32_t ref;
			int rc = conn_create(t, id, &c, T0, &ref);
			if (rc == 0 && i % 16 != 0)
				conn_remove(t, id, ref);
			else if (rc == -ENOSPC || rc == -EEXIST)
				conn_age(t, id, T0 + 60'000, 2000);
			r.quiescent();
		}
	});
	walker.join();
}

} // namespace
