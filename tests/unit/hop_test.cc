// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include <weft/hop.h>
#include <weft/rcu.h>

namespace
{

class Hop : public testing::Test
{
      protected:
	struct txn t;
	void
	SetUp() override
	{
		ASSERT_EQ(rcu_init(1), 0);
		ASSERT_EQ(hop_init(), 0);
		txn_begin(&t);
	}
	void
	TearDown() override
	{
		txn_commit(&t);
		rcu_fini();
		hop_fini();
	}
	uint32_t
	alloc(uint16_t port)
	{
		struct hop h = {};
		h.kind = HOP_PORT;
		h.port = port;
		return hop_alloc(&t, &h);
	}
	void
	next()
	{
		txn_commit(&t);
		txn_begin(&t);
	}
};

TEST_F(Hop, ZeroIsNone)
{
	EXPECT_EQ(hop_get(0)->kind, HOP_NONE);
	EXPECT_NE(alloc(1), 0u);
	hop_release(&t, 0);
	next();
	EXPECT_EQ(rcu_reclaim(), 0u);
}

TEST_F(Hop, HoldsACopy)
{
	uint32_t a = alloc(7), b = alloc(8);
	EXPECT_EQ(hop_get(a)->port, 7);
	EXPECT_EQ(hop_get(b)->port, 8);
	EXPECT_EQ(hop_get(a)->kind, HOP_PORT);
	EXPECT_EQ(reinterpret_cast<uintptr_t>(hop_get(a)) % 64, 0u);
}

TEST_F(Hop, AnAbortGivesTheIdBack)
{
	uint32_t a = alloc(1);
	txn_abort(&t);
	txn_begin(&t);
	EXPECT_EQ(alloc(2), a);
}

TEST_F(Hop, AReleasedIdWaitsForTheGracePeriod)
{
	rte_rcu_qsbr_thread_register(rcu_var(), 0);
	rte_rcu_qsbr_thread_online(rcu_var(), 0);
	uint32_t a = alloc(1);
	next();
	hop_release(&t, a);
	uint32_t b = alloc(2);
	EXPECT_NE(b, a);
	EXPECT_EQ(hop_get(a)->port, 1) << "may still be in use";
	next();
	rcu_reclaim();
	uint32_t c = alloc(3);
	EXPECT_NE(c, a);
	rte_rcu_qsbr_quiescent(rcu_var(), 0);
	EXPECT_EQ(rcu_reclaim(), 0u);
	EXPECT_EQ(alloc(4), a);
	rte_rcu_qsbr_thread_offline(rcu_var(), 0);
	rte_rcu_qsbr_thread_unregister(rcu_var(), 0);
}

TEST_F(Hop, AReleaseThatIsAbortedDidNotHappen)
{
	uint32_t a = alloc(1);
	next();
	hop_release(&t, a);
	txn_abort(&t);
	txn_begin(&t);
	rcu_reclaim();
	EXPECT_NE(alloc(2), a);
	EXPECT_EQ(hop_get(a)->port, 1);
}

TEST_F(Hop, MadeAndReleasedInOneTransaction)
{
	uint32_t a = alloc(1);
	hop_release(&t, a);
	txn_abort(&t);
	txn_begin(&t);
	EXPECT_EQ(alloc(1), a);
	hop_release(&t, a);
	next();
	rcu_reclaim();
	EXPECT_EQ(alloc(1), a);
	EXPECT_NE(alloc(1), a) << "given back once";
}

TEST_F(Hop, AFullTableSaysSo)
{
	std::set<uint32_t> ids;
	for (uint32_t i = 1; i < WEFT_MAX_HOPS; i++)
		ids.insert(alloc(1));
	EXPECT_EQ(ids.size(), WEFT_MAX_HOPS - 1);
	EXPECT_EQ(ids.count(0), 0u);
	EXPECT_EQ(alloc(1), 0u);
	txn_abort(&t);
	txn_begin(&t);
	EXPECT_NE(alloc(1), 0u);
}

} // namespace
