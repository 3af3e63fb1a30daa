// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include <weft/clock.h>
#include <weft/neighbour.h>
#include <weft/rcu.h>
#include <weft/text.h>

namespace
{

struct ip
A(const char *text) {
	struct ip ip;
	EXPECT_EQ(ip_parse(text, &ip), 0);
	return ip;
}

struct mac
M(uint8_t last) {
	return {{2, 0, 0, 0, 0, last}};
}

class Neighbour : public testing::Test
{
      protected:
	struct txn t;
	struct ip source = A("192.0.2.1"), other_source = A("192.0.2.11");
	uint32_t now = clock_ms();

	void
	SetUp() override
	{
		ASSERT_EQ(rcu_init(4), 0);
		ASSERT_EQ(neighbour_init(), 0);
		txn_begin(&t);
	}
	void
	TearDown() override
	{
		txn_commit(&t);
		rcu_fini();
		neighbour_fini();
	}
	uint16_t
	use(const char *ip, uint16_t port = 1)
	{
		struct ip a = A(ip);
		return neighbour_use(&t, port, &a, &source);
	}
	bool
	learn(const char *ip, uint8_t mac, uint16_t port = 1)
	{
		struct ip a = A(ip);
		struct mac m = M(mac);
		return neighbour_learn(port, &a, &m, now);
	}
	/* The last byte of the MAC, or -1. */
	int
	mac(uint16_t id)
	{
		struct mac m;
		return neighbour_mac(id, &m) ? m.b[5] : -1;
	}
	void
	next()
	{
		txn_commit(&t);
		rcu_reclaim();
		txn_begin(&t);
	}
	void
	abort()
	{
		txn_abort(&t);
		rcu_reclaim();
		txn_begin(&t);
	}
};

TEST_F(Neighbour, NoneIsNeverReachable)
{
	EXPECT_EQ(mac(0), -1);
	EXPECT_FALSE(neighbour_should_ask(0, now));
	neighbour_release(&t, 0);
}

TEST_F(Neighbour, LearntWhenAnswered)
{
	uint16_t id = use("192.0.2.2");
	ASSERT_NE(id, 0);
	EXPECT_EQ(mac(id), -1);
	EXPECT_EQ(neighbour_table[id].port, 1);
	struct ip a = A("192.0.2.2");
	EXPECT_TRUE(ip_equal(&neighbour_table[id].ip, &a));
	EXPECT_TRUE(ip_equal(&neighbour_table[id].source, &source));
	EXPECT_TRUE(learn("192.0.2.2", 7));
	EXPECT_EQ(mac(id), 7);
	struct mac m;
	ASSERT_TRUE(neighbour_mac(id, &m));
	EXPECT_EQ(m.b[0], 2) << "bytes in their order";
	EXPECT_TRUE(learn("192.0.2.2", 8)) << "it moved";
	EXPECT_EQ(mac(id), 8);
}

TEST_F(Neighbour, OthersAreNotLearnt)
{
	uint16_t id = use("192.0.2.2");
	EXPECT_FALSE(learn("192.0.2.3", 7));
	EXPECT_FALSE(learn("192.0.2.2", 7, 2)) << "another port";
	EXPECT_EQ(mac(id), -1);
}

TEST_F(Neighbour, OneEntryForManyUses)
{
	uint16_t a = use("192.0.2.2"), b = use("192.0.2.2"), c = use("192.0.2.3"), d = use("192.0.2.2", 2);
	EXPECT_EQ(a, b);
	EXPECT_NE(a, c);
	EXPECT_NE(a, d);
	next();
	neighbour_release(&t, a);
	next();
	EXPECT_TRUE(learn("192.0.2.2", 7)) << "still used once";
	neighbour_release(&t, a);
	next();
	EXPECT_FALSE(learn("192.0.2.2", 7));
	EXPECT_EQ(mac(a), -1);
	EXPECT_FALSE(neighbour_should_ask(a, now + 100000)) << "free";
}

TEST_F(Neighbour, TheLastReleaseWaitsForTheGracePeriod)
{
	uint16_t a = use("192.0.2.2");
	next();
	rte_rcu_qsbr_thread_register(rcu_var(), 0);
	rte_rcu_qsbr_thread_online(rcu_var(), 0);
	learn("192.0.2.2", 9);
	neighbour_release(&t, a);
	next();
	EXPECT_EQ(mac(a), 9) << "a worker may be sending to it";
	EXPECT_NE(use("192.0.2.2"), a) << "a new entry";
	rte_rcu_qsbr_quiescent(rcu_var(), 0);
	rcu_reclaim();
	EXPECT_EQ(mac(a), -1);
	EXPECT_EQ(use("192.0.2.4"), a);
	rte_rcu_qsbr_thread_offline(rcu_var(), 0);
	rte_rcu_qsbr_thread_unregister(rcu_var(), 0);
}

TEST_F(Neighbour, AnAbortUndoesUseAndRelease)
{
	uint16_t a = use("192.0.2.2");
	next();
	learn("192.0.2.2", 5);
	neighbour_release(&t, a);
	use("192.0.2.9");
	abort();
	EXPECT_EQ(mac(a), 5);
	EXPECT_FALSE(learn("192.0.2.9", 1));
	neighbour_release(&t, a);
	next();
	EXPECT_FALSE(learn("192.0.2.2", 1));
	std::set<uint16_t> ids;
	for (int i = 0; i < 2; i++)
		ids.insert(use(i == 0 ? "192.0.2.3" : "192.0.2.4"));
	EXPECT_EQ(ids.size(), 2u);
	EXPECT_EQ(ids.count(0), 0u);
}

TEST_F(Neighbour, AnAbortedReleaseAndUseLeavesTheEntry)
{
	uint16_t a = use("192.0.2.2");
	next();
	learn("192.0.2.2", 5);
	neighbour_release(&t, a);
	EXPECT_EQ(use("192.0.2.2"), a);
	abort();
	EXPECT_EQ(mac(a), 5);
	EXPECT_TRUE(learn("192.0.2.2", 6));
	EXPECT_EQ(use("192.0.2.2"), a);
}

TEST_F(Neighbour, ReleaseAndUseInOneTransactionKeepsTheMac)
{
	uint16_t a = use("192.0.2.2");
	next();
	learn("192.0.2.2", 5);
	neighbour_release(&t, a);
	EXPECT_EQ(use("192.0.2.2"), a);
	next();
	EXPECT_EQ(mac(a), 5);
	neighbour_release(&t, a);
	use("192.0.2.2");
	neighbour_release(&t, a);
	next();
	EXPECT_EQ(mac(a), -1) << "given back once, though two hooks saw it unused";
	EXPECT_EQ(use("192.0.2.5"), a);
	EXPECT_NE(use("192.0.2.6"), a);
}

TEST_F(Neighbour, ANewSourceAddressIsANewEntryThatKnowsTheMac)
{
	uint16_t a = use("192.0.2.2");
	next();
	learn("192.0.2.2", 5);
	struct ip ip = A("192.0.2.2");
	uint16_t b = neighbour_use(&t, 1, &ip, &other_source);
	EXPECT_NE(a, b);
	EXPECT_EQ(mac(b), 5);
	EXPECT_TRUE(ip_equal(&neighbour_table[b].source, &other_source));
	EXPECT_TRUE(learn("192.0.2.2", 6));
	EXPECT_EQ(mac(a), 6);
	EXPECT_EQ(mac(b), 6);
}

TEST_F(Neighbour, AskedOnceASecondWhileIncomplete)
{
	uint16_t id = use("192.0.2.2");
	now = clock_ms();
	EXPECT_TRUE(neighbour_should_ask(id, now)) << "at once";
	EXPECT_FALSE(neighbour_should_ask(id, now)) << "somebody else just won";
	EXPECT_FALSE(neighbour_should_ask(id, now + NEIGHBOUR_RETRY_MS - 1));
	EXPECT_TRUE(neighbour_should_ask(id, now + NEIGHBOUR_RETRY_MS));
	EXPECT_FALSE(neighbour_should_ask(id, now + NEIGHBOUR_RETRY_MS));
}

TEST_F(Neighbour, AskedAgainBeforeItExpires)
{
	uint16_t id = use("192.0.2.2");
	EXPECT_TRUE(neighbour_should_ask(id, now = clock_ms()));
	learn("192.0.2.2", 5);
	EXPECT_FALSE(neighbour_should_ask(id, now + NEIGHBOUR_FRESH_MS - 1));
	EXPECT_TRUE(neighbour_should_ask(id, now + NEIGHBOUR_FRESH_MS));
	EXPECT_FALSE(neighbour_should_ask(id, now + NEIGHBOUR_FRESH_MS));
	neighbour_age(now + NEIGHBOUR_EXPIRE_MS - 1);
	EXPECT_EQ(mac(id), 5);
	neighbour_age(now + NEIGHBOUR_EXPIRE_MS);
	EXPECT_EQ(mac(id), -1);
	EXPECT_TRUE(neighbour_should_ask(id, now + NEIGHBOUR_EXPIRE_MS));
	now += NEIGHBOUR_EXPIRE_MS + 5;
	EXPECT_TRUE(learn("192.0.2.2", 6));
	EXPECT_EQ(mac(id), 6);
	neighbour_age(now + NEIGHBOUR_FRESH_MS);
	EXPECT_EQ(mac(id), 6);
}

TEST_F(Neighbour, TheClockMayWrap)
{
	uint16_t id = use("192.0.2.2");
	now = UINT32_MAX - 10;
	neighbour_table[id].asked = now - 5000;
	EXPECT_TRUE(neighbour_should_ask(id, now));
	learn("192.0.2.2", 5);
	EXPECT_FALSE(neighbour_should_ask(id, now + NEIGHBOUR_FRESH_MS - 1));
	EXPECT_TRUE(neighbour_should_ask(id, now + NEIGHBOUR_FRESH_MS));
	neighbour_age(now + NEIGHBOUR_FRESH_MS);
	EXPECT_EQ(mac(id), 5);
	neighbour_age(now + NEIGHBOUR_EXPIRE_MS);
	EXPECT_EQ(mac(id), -1);
}

TEST_F(Neighbour, AnEntryUnusedForWeeksIsStillAsked)
{
	uint16_t id = use("192.0.2.2");
	now = clock_ms();
	EXPECT_TRUE(neighbour_should_ask(id, now));
	const uint32_t days40 = 40u * 24 * 3600 * 1000;
	for (uint32_t later = 0; later < days40; later += 1800000)
		neighbour_age(now + later);
	EXPECT_TRUE(neighbour_should_ask(id, now + days40));
}

TEST_F(Neighbour, AFullTableSaysSo)
{
	struct ip ip = A("10.0.0.0");
	std::set<uint16_t> ids;
	for (uint32_t i = 1; i < WEFT_MAX_NEIGHBOURS; i++) {
		ip.w[3] = htonl(0x0a000000 + i);
		ids.insert(neighbour_use(&t, 1, &ip, &source));
	}
	EXPECT_EQ(ids.size(), WEFT_MAX_NEIGHBOURS - 1u);
	EXPECT_EQ(ids.count(0), 0u);
	EXPECT_EQ(use("192.0.2.2"), 0);
	EXPECT_NE(use("10.0.0.1"), 0) << "known already";
	abort();
	EXPECT_NE(use("192.0.2.2"), 0);
}

// Workers learn, ask and read while the builder makes and frees entries; a MAC seen is always one that was learnt for
// that address.
TEST_F(Neighbour, ConcurrentLearningAndFreeing)
{
	std::atomic<bool> stop{false};
	std::atomic<uint64_t> bad{0}, turns{0};
	std::atomic<uint16_t> published[8] = {};
	std::vector<std::thread> workers;
	for (unsigned int w = 0; w < 2; w++) {
		workers.emplace_back([&, w] {
			rte_rcu_qsbr_thread_register(rcu_var(), w);
			rte_rcu_qsbr_thread_online(rcu_var(), w);
			uint32_t n = w;
			while (!stop) {
				uint8_t k = static_cast<uint8_t>(n++ % 8);
				struct ip ip = A("192.0.2.0");
				ip.b[15] = k;
				struct mac m = {{2, k, k, k, k, k}}, got;
				neighbour_learn(1, &ip, &m, n);
				uint16_t id = published[k].load(std::memory_order_acquire);
				if (id != 0 && neighbour_mac(id, &got))
					bad += !mac_equal(&got, &m);
				neighbour_should_ask(id, n);
				if (n % 64 == 0)
					neighbour_age(n);
				turns++;
				rte_rcu_qsbr_quiescent(rcu_var(), w);
			}
			rte_rcu_qsbr_thread_offline(rcu_var(), w);
			rte_rcu_qsbr_thread_unregister(rcu_var(), w);
		});
	}
	uint16_t held[8] = {};
	for (uint32_t i = 0; i < 20000; i++) {
		uint8_t k = static_cast<uint8_t>(i * 7 % 8);
		struct ip ip = A("192.0.2.0");
		ip.b[15] = k;
		txn_begin(&t);
		if (held[k] == 0) {
			uint16_t id = neighbour_use(&t, 1, &ip, &source);
			if (id == 0) { /* all wait for a grace period */
				txn_abort(&t);
				rcu_synchronize();
				rcu_reclaim();
				continue;
			}
			if (i % 5 == 0) {
				txn_abort(&t);
				continue;
			}
			held[k] = id;
			published[k] = id;
		} else {
			published[k] = 0;
			neighbour_release(&t, held[k]);
			held[k] = 0;
		}
		txn_commit(&t);
		rcu_reclaim();
	}
	stop = true;
	for (auto &w : workers)
		w.join();
	EXPECT_EQ(bad, 0u);
	EXPECT_GT(turns, 0u);
	txn_begin(&t);
}

// --- entries that workers make ---

TEST_F(Neighbour, AWorkerMakesAnEntryAndFindsItAgain)
{
	struct ip a = A("192.0.2.50"), b = A("2001:db8::50");
	uint16_t id = neighbour_link(1, &a, &source, now);
	ASSERT_GE(id, WEFT_MAX_NEIGHBOURS);
	EXPECT_EQ(neighbour_link(1, &a, &source, now), id);
	EXPECT_NE(neighbour_link(2, &a, &source, now), id) << "another port";
	EXPECT_NE(neighbour_link(1, &b, &source, now), id);
	EXPECT_EQ(mac(id), -1);
	EXPECT_TRUE(neighbour_should_ask(id, now));
	EXPECT_FALSE(neighbour_should_ask(id, now + 1)) << "asked a moment ago";
	EXPECT_TRUE(learn("192.0.2.50", 9));
	EXPECT_EQ(mac(id), 9);
	EXPECT_EQ(neighbour_links(), 3u);
}

TEST_F(Neighbour, AWorkersEntryAsksFromTheAddressThatIsOursNow)
{
	struct ip a = A("192.0.2.50");
	uint16_t before = neighbour_link(1, &a, &source, now);
	learn("192.0.2.50", 9);
	uint16_t after = neighbour_link(1, &a, &other_source, now);
	ASSERT_GE(after, WEFT_MAX_NEIGHBOURS);
	EXPECT_TRUE(ip_equal(&neighbour_table[after].source, &other_source));
	EXPECT_EQ(mac(after), 9) << "what is known of it is not forgotten";
	EXPECT_FALSE(neighbour_should_ask(after, now));
	EXPECT_TRUE(ip_equal(&neighbour_table[before].source, &source)) << "somebody may be asking with it";
	learn("192.0.2.50", 10);
	EXPECT_EQ(mac(before), 10);
	EXPECT_EQ(mac(after), 10);
}

// FAULTS C3
TEST_F(Neighbour, NobodyKnowsWhichAddressesShareAPlace)
{
	std::vector<uint16_t> places[2];
	for (auto &p : places) {
		for (uint32_t k = 0; k < 16; k++) {
			struct ip a = ip_from4(htonl(0x0a000000 + k));
			p.push_back(neighbour_link(1, &a, &source, now));
		}
		neighbour_fini();
		ASSERT_EQ(neighbour_init(), 0);
	}
	EXPECT_NE(places[0], places[1]);
}

TEST_F(Neighbour, TheBuildersEntryIsFoundByItsAddress)
{
	struct ip a = A("192.0.2.2");
	uint16_t id = use("192.0.2.2");
	EXPECT_EQ(neighbour_find(1, &a), id);
	EXPECT_EQ(neighbour_find(2, &a), 0);
	neighbour_release(&t, id);
	txn_commit(&t);
	txn_begin(&t);
	EXPECT_EQ(neighbour_find(1, &a), 0);
}

TEST_F(Neighbour, BothKindsLearnTheSameAddress)
{
	struct ip a = A("192.0.2.2");
	uint16_t mine = use("192.0.2.2"), theirs = neighbour_link(1, &a, &source, now);
	ASSERT_NE(mine, theirs);
	EXPECT_TRUE(learn("192.0.2.2", 7));
	EXPECT_EQ(mac(mine), 7);
	EXPECT_EQ(mac(theirs), 7);
	neighbour_release(&t, mine);
}

TEST_F(Neighbour, SilentEntriesGoSoonAndAnsweringOnesStayWhileTheyAreUsed)
{
	struct ip a = A("192.0.2.50"), b = A("192.0.2.51");
	uint16_t silent = neighbour_link(1, &a, &source, now), answers = neighbour_link(1, &b, &source, now);
	learn("192.0.2.51", 7);
	neighbour_age(now + NEIGHBOUR_SILENT_MS - 1);
	EXPECT_EQ(neighbour_links(), 2u);
	neighbour_age(now + NEIGHBOUR_SILENT_MS);
	EXPECT_FALSE(learn("192.0.2.50", 7)) << "gone, and not to be called back";
	EXPECT_FALSE(neighbour_should_ask(silent, now + 100000));
	neighbour_age(now + NEIGHBOUR_SILENT_MS + 1);
	EXPECT_EQ(neighbour_links(), 1u);
	EXPECT_EQ(mac(answers), 7);
	// Used, but no longer confirmed: asked for again, not forgotten.
	neighbour_link(1, &b, &source, now + NEIGHBOUR_EXPIRE_MS - 1);
	neighbour_age(now + NEIGHBOUR_EXPIRE_MS);
	EXPECT_EQ(mac(answers), -1);
	EXPECT_EQ(neighbour_links(), 1u);
	EXPECT_TRUE(neighbour_should_ask(answers, now + NEIGHBOUR_EXPIRE_MS));
}

TEST_F(Neighbour, AnEntryIsNotGivenOutAgainBeforeAGracePeriod)
{
	struct ip a = A("192.0.2.50");
	rte_rcu_qsbr_thread_register(rcu_var(), 0);
	rte_rcu_qsbr_thread_online(rcu_var(), 0);
	neighbour_link(1, &a, &source, now);
	neighbour_age(now + NEIGHBOUR_SILENT_MS);
	for (int k = 0; k < 5; k++)
		neighbour_age(now + NEIGHBOUR_SILENT_MS + 1000);
	EXPECT_EQ(neighbour_links(), 1u) << "a worker may hold its id";
	rte_rcu_qsbr_quiescent(rcu_var(), 0);
	neighbour_age(now + NEIGHBOUR_SILENT_MS + 1000);
	EXPECT_EQ(neighbour_links(), 0u);
	rte_rcu_qsbr_thread_offline(rcu_var(), 0);
	rte_rcu_qsbr_thread_unregister(rcu_var(), 0);
}

TEST_F(Neighbour, TheTableOfTheWorkersIsBounded)
{
	unsigned int refused = 0;
	for (uint32_t k = 0; k < 65536; k++) {
		struct ip a = ip_from4(htonl(0x0a000000 + k));
		refused += neighbour_link(1, &a, &source, now) == 0;
	}
	EXPECT_GT(refused, 65536u - WEFT_LINK_NEIGHBOURS - 1);
	EXPECT_GT(neighbour_links(), WEFT_LINK_NEIGHBOURS * 9 / 10);
	neighbour_age(now + NEIGHBOUR_SILENT_MS);
	neighbour_age(now + NEIGHBOUR_SILENT_MS);
	EXPECT_EQ(neighbour_links(), 0u);
	struct ip a = A("192.0.2.50");
	EXPECT_NE(neighbour_link(1, &a, &source, now), 0);
}

TEST_F(Neighbour, WorkersClaimTheSamePlacesAtOnce)
{
	std::atomic<bool> wrong{false};
	std::vector<std::thread> threads;
	for (int w = 0; w < 4; w++)
		threads.emplace_back([&, w] {
			for (uint32_t round = 0; round < 20000; round++) {
				struct ip a = ip_from4(htonl(0x0a000000 + round % 512));
				uint16_t id = neighbour_link(1, &a, &source, now);
				if (id == 0 || !ip_equal(&neighbour_table[id].ip, &a))
					wrong = true;
				if (round % 7 == (uint32_t)w) {
					struct mac m = M((uint8_t)w);
					neighbour_learn(1, &a, &m, now);
				}
			}
		});
	for (auto &th : threads)
		th.join();
	EXPECT_FALSE(wrong);
	EXPECT_GE(neighbour_links(), 512u);
	EXPECT_LE(neighbour_links(), 4 * 512u);
}

} // namespace
