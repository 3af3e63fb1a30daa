// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include <weft/rcu.h>

namespace
{

std::atomic<int> freed;

void
count_free(void *p)
{
	freed++;
	free(p);
}

class Rcu : public testing::Test
{
      protected:
	void
	SetUp() override
	{
		freed = 0;
		ASSERT_EQ(rcu_init(4), 0);
	}
	void
	TearDown() override
	{
		rcu_fini();
	}

	void
	online(unsigned int id)
	{
		ASSERT_EQ(rte_rcu_qsbr_thread_register(rcu_var(), id), 0);
		rte_rcu_qsbr_thread_online(rcu_var(), id);
	}
	void
	quiescent(unsigned int id)
	{
		rte_rcu_qsbr_quiescent(rcu_var(), id);
	}
	void
	gone(unsigned int id)
	{
		rte_rcu_qsbr_thread_offline(rcu_var(), id);
		rte_rcu_qsbr_thread_unregister(rcu_var(), id);
	}
};

TEST_F(Rcu, InitTwiceIsRefused)
{
	EXPECT_EQ(rcu_init(4), -EALREADY);
}

TEST_F(Rcu, WithoutReadersAPeriodEndsAtOnce)
{
	uint64_t ticket = rcu_start();
	EXPECT_TRUE(rcu_done(ticket));
	rcu_synchronize();
	rcu_defer(malloc(1), count_free);
	EXPECT_EQ(freed, 0) << "rcu_defer itself frees nothing";
	EXPECT_EQ(rcu_reclaim(), 0u);
	EXPECT_EQ(freed, 1);
}

TEST_F(Rcu, WaitsForEveryOnlineReader)
{
	online(0);
	online(2);
	uint64_t ticket = rcu_start();
	rcu_defer(malloc(1), count_free);
	EXPECT_FALSE(rcu_done(ticket));
	quiescent(0);
	EXPECT_FALSE(rcu_done(ticket));
	EXPECT_EQ(rcu_reclaim(), 1u);
	EXPECT_EQ(freed, 0);
	quiescent(2);
	EXPECT_TRUE(rcu_done(ticket));
	quiescent(0); /* the defer's own ticket is newer than what reader 0 has seen */
	EXPECT_EQ(rcu_reclaim(), 0u);
	EXPECT_EQ(freed, 1);
	gone(0);
	gone(2);
}

TEST_F(Rcu, AnOfflineReaderIsNotWaitedFor)
{
	online(1);
	uint64_t ticket = rcu_start();
	EXPECT_FALSE(rcu_done(ticket));
	rte_rcu_qsbr_thread_offline(rcu_var(), 1);
	EXPECT_TRUE(rcu_done(ticket));
	rte_rcu_qsbr_thread_unregister(rcu_var(), 1);
}

TEST_F(Rcu, ReclaimFreesOnlyWhatIsDue)
{
	online(0);
	rcu_defer(malloc(1), count_free);
	quiescent(0);
	rcu_defer(malloc(1), count_free);
	EXPECT_EQ(rcu_reclaim(), 1u);
	EXPECT_EQ(freed, 1);
	quiescent(0);
	EXPECT_EQ(rcu_reclaim(), 0u);
	EXPECT_EQ(freed, 2);
	rcu_defer(malloc(1), count_free);
	quiescent(0);
	EXPECT_EQ(rcu_reclaim(), 0u) << "the list works again after it ran empty";
	EXPECT_EQ(freed, 3);
	gone(0);
}

TEST_F(Rcu, FiniFreesTheRestAndWhatThatDefers)
{
	online(0);
	rcu_defer(malloc(1), [](void *p) {
		rcu_defer(malloc(1), count_free);
		count_free(p);
	});
	rcu_defer(malloc(8), nullptr); /* free(3): seen by the leak checker only */
	gone(0);
	rcu_fini();
	EXPECT_EQ(freed, 2);
	ASSERT_EQ(rcu_init(4), 0);
}

TEST(RcuWithoutInit, NobodyReads)
{
	freed = 0;
	EXPECT_EQ(rcu_var(), nullptr);
	EXPECT_TRUE(rcu_done(rcu_start()));
	rcu_synchronize();
	rcu_defer(malloc(1), count_free);
	EXPECT_EQ(rcu_reclaim(), 0u);
	EXPECT_EQ(freed, 1);
	rcu_fini();
}

TEST(RcuWithoutInit, ZeroReadersIsRefused)
{
	EXPECT_EQ(rcu_init(0), -EINVAL);
}

// Readers follow a pointer that a writer swaps; three control threads defer and reclaim. A freed object is poisoned
// first.
TEST_F(Rcu, ConcurrentReadersNeverSeeFreedMemory)
{
	struct object {
		std::atomic<uint64_t> magic;
	};
	static std::atomic<object *> root;
	auto make = [] {
		auto *o = static_cast<object *>(malloc(sizeof(object)));
		new (o) object;
		o->magic = 42;
		return o;
	};
	root = make();
	std::atomic<bool> stop{false};
	std::atomic<uint64_t> bad{0}, reads{0};
	std::vector<std::thread> threads;
	for (unsigned int id = 0; id < 2; id++) {
		threads.emplace_back([&, id] {
			online(id);
			while (!stop) {
				for (int i = 0; i < 16; i++)
					bad += root.load(std::memory_order_acquire)->magic != 42;
				reads++;
				quiescent(id);
			}
			gone(id);
		});
	}
	for (int w = 0; w < 3; w++) {
		threads.emplace_back([&] {
			for (int i = 0; i < 3000; i++) {
				rcu_defer(root.exchange(make()), [](void *p) {
					static_cast<object *>(p)->magic = 666;
					count_free(p);
				});
				if (i % 7 == 0)
					rcu_reclaim();
				if (i % 500 == 0)
					rcu_synchronize();
			}
		});
	}
	for (size_t i = 2; i < threads.size(); i++)
		threads[i].join();
	stop = true;
	threads[0].join();
	threads[1].join();
	EXPECT_EQ(rcu_reclaim(), 0u);
	EXPECT_EQ(freed, 9000);
	EXPECT_EQ(bad, 0u);
	EXPECT_GT(reads, 0u);
	free(root.load());
}

} // namespace
