// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include <weft/rcu.h>
#include <weft/txn.h>

namespace
{

std::vector<std::string> said;

template <char C>
void
say(void *arg)
{
	said.push_back(std::string(1, C) + static_cast<const char *>(arg));
}

void *
text(const char *s)
{
	return const_cast<char *>(s);
}

class Txn : public testing::Test
{
      protected:
	void
	SetUp() override
	{
		said.clear();
		ASSERT_EQ(rcu_init(1), 0);
	}
	void
	TearDown() override
	{
		rcu_fini();
	}
};

TEST_F(Txn, IdsAreUniqueAndNotZero)
{
	struct txn a, b;
	txn_begin(&a);
	txn_abort(&a);
	txn_begin(&a);
	uint64_t first = a.id;
	EXPECT_NE(first, 0u);
	txn_abort(&a);
	txn_begin(&b);
	EXPECT_GT(b.id, first);
	txn_commit(&b);
}

TEST_F(Txn, MemoryIsZeroedAndAligned)
{
	struct txn t;
	txn_begin(&t);
	for (size_t size : {1u, 63u, 64u, 65u, 1000u, 100000u}) {
		auto *p = static_cast<uint8_t *>(txn_alloc(&t, size));
		EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u) << size;
		for (size_t i = 0; i < size; i++)
			ASSERT_EQ(p[i], 0) << size << " " << i;
		memset(p, 0xff, size);
		EXPECT_TRUE(txn_owns(&t, p));
	}
	txn_abort(&t);
}

TEST_F(Txn, HooksOfACommit)
{
	struct txn t;
	txn_begin(&t);
	txn_on_abort(&t, say<'u'>, text("1"));
	txn_on_commit(&t, say<'d'>, text("1"));
	txn_on_commit(&t, say<'d'>, text("2"));
	txn_after_grace(&t, say<'a'>, text("1"));
	txn_after_grace(&t, say<'a'>, text("2"));
	txn_commit(&t);
	EXPECT_EQ(said, (std::vector<std::string>{"d1", "d2"}));
	EXPECT_EQ(rcu_reclaim(), 0u);
	EXPECT_EQ(said, (std::vector<std::string>{"d1", "d2", "a1", "a2"}));
}

TEST_F(Txn, HooksOfAnAbortLastFirst)
{
	struct txn t;
	txn_begin(&t);
	txn_on_abort(&t, say<'u'>, text("1"));
	txn_on_commit(&t, say<'d'>, text("1"));
	txn_on_abort(&t, say<'u'>, text("2"));
	txn_after_grace(&t, say<'a'>, text("1"));
	txn_abort(&t);
	EXPECT_EQ(said, (std::vector<std::string>{"u2", "u1"}));
	EXPECT_EQ(rcu_reclaim(), 0u);
	EXPECT_EQ(said.size(), 2u);
}

TEST_F(Txn, TheOldStaysWhileSomebodyMayLook)
{
	ASSERT_EQ(rte_rcu_qsbr_thread_register(rcu_var(), 0), 0);
	rte_rcu_qsbr_thread_online(rcu_var(), 0);
	struct txn t;
	txn_begin(&t);
	auto *p = static_cast<uint8_t *>(txn_alloc(&t, 64));
	p[0] = 7;
	txn_commit(&t);

	txn_begin(&t);
	EXPECT_FALSE(txn_owns(&t, p));
	txn_retire(&t, p);
	txn_after_grace(&t, say<'a'>, text("1"));
	txn_commit(&t);
	EXPECT_EQ(rcu_reclaim(), 1u);
	EXPECT_EQ(p[0], 7);
	EXPECT_TRUE(said.empty());
	rte_rcu_qsbr_quiescent(rcu_var(), 0);
	EXPECT_EQ(rcu_reclaim(), 0u); /* frees p: the sanitizer sees it when not */
	EXPECT_EQ(said.size(), 1u);
	rte_rcu_qsbr_thread_offline(rcu_var(), 0);
	rte_rcu_qsbr_thread_unregister(rcu_var(), 0);
}

TEST_F(Txn, AnAbortGivesBackWhatWasRetired)
{
	struct txn t;
	txn_begin(&t);
	auto *old = static_cast<uint8_t *>(txn_alloc(&t, 64));
	old[5] = 9;
	txn_commit(&t);

	txn_begin(&t);
	txn_retire(&t, old);
	auto *own = txn_alloc(&t, 128);
	txn_retire(&t, own);
	txn_alloc(&t, 128);
	txn_abort(&t);
	EXPECT_EQ(old[5], 9);

	txn_begin(&t);
	txn_retire(&t, old); /* as if the first attempt had not been */
	txn_commit(&t);
	EXPECT_EQ(rcu_reclaim(), 0u);
}

TEST_F(Txn, OwnMemoryRetiredStaysReadableUntilTheEnd)
{
	struct txn t;
	txn_begin(&t);
	auto *a = static_cast<uint8_t *>(txn_alloc(&t, 64)), *b = static_cast<uint8_t *>(txn_alloc(&t, 64)),
	     *c = static_cast<uint8_t *>(txn_alloc(&t, 64));
	b[0] = 3;
	txn_retire(&t, b);
	EXPECT_EQ(b[0], 3);
	txn_discard(&t, a);
	txn_discard(&t, c);
	txn_commit(&t);
	EXPECT_EQ(rcu_reclaim(), 0u);
}

TEST_F(Txn, DiscardOfOldMemoryWaits)
{
	struct txn t;
	txn_begin(&t);
	auto *p = static_cast<uint8_t *>(txn_alloc(&t, 64));
	p[1] = 1;
	txn_commit(&t);
	txn_begin(&t);
	txn_discard(&t, p);
	EXPECT_EQ(p[1], 1);
	txn_commit(&t);
	EXPECT_EQ(p[1], 1);
	EXPECT_EQ(rcu_reclaim(), 0u);
}

TEST_F(Txn, RetiringTwiceIsCaught)
{
	GTEST_FLAG_SET(death_test_style, "threadsafe");
	EXPECT_DEATH(
		{
			struct txn t;
			txn_begin(&t);
			void *p = txn_alloc(&t, 8);
			txn_retire(&t, p);
			txn_retire(&t, p);
		},
		"retired");
}

} // namespace
