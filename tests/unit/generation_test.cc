// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <gtest/gtest.h>

#include <weft/generation.h>

namespace
{

class Generation : public testing::Test
{
      protected:
	void
	SetUp() override
	{
		ASSERT_EQ(generation_init(), 0);
	}
	void
	TearDown() override
	{
		generation_fini();
	}
	static uint32_t
	sum(uint32_t a, uint32_t b = 0, uint32_t c = 0)
	{
		uint32_t dep[GENERATION_DEPS] = {a, b, c};
		return generation_sum(dep);
	}
};

TEST_F(Generation, ABumpMovesTheSumOfItsSlotOnly)
{
	uint32_t a = generation_alloc(), b = generation_alloc();
	EXPECT_NE(a, 0u);
	EXPECT_NE(a, b);
	uint32_t sa = sum(a), sb = sum(b), sab = sum(a, b);
	generation_bump(a);
	EXPECT_NE(sum(a), sa);
	EXPECT_EQ(sum(b), sb);
	EXPECT_NE(sum(a, b), sab);
}

TEST_F(Generation, SlotZeroNeverMoves)
{
	uint32_t before = sum(0);
	generation_bump(0);
	generation_free(0);
	EXPECT_EQ(sum(0), before);
	EXPECT_NE(generation_alloc(), 0u);
}

TEST_F(Generation, AFreedSlotKeepsCounting)
{
	uint32_t a = generation_alloc();
	std::set<uint32_t> seen = {sum(a)};
	for (int i = 0; i < 100; i++) {
		generation_free(a);
		EXPECT_EQ(generation_alloc(), a);
		EXPECT_TRUE(seen.insert(sum(a)).second);
	}
}

TEST_F(Generation, TheSumIsNeverNone)
{
	uint32_t a = generation_alloc();
	generation_table[a] = UINT32_MAX - 1; /* plus two unmoved slots 0: wraps to 0 */
	EXPECT_NE(sum(a), STAMP_NONE);
	generation_bump(a);
	EXPECT_NE(sum(a), STAMP_NONE);
}

TEST_F(Generation, AllSlotsThenNone)
{
	std::set<uint32_t> seen;
	for (uint32_t i = 1; i < WEFT_MAX_SLOTS; i++)
		seen.insert(generation_alloc());
	EXPECT_EQ(seen.size(), WEFT_MAX_SLOTS - 1);
	EXPECT_EQ(*seen.begin(), 1u);
	EXPECT_EQ(*seen.rbegin(), WEFT_MAX_SLOTS - 1);
	EXPECT_EQ(generation_alloc(), 0u);
	generation_free(77);
	EXPECT_EQ(generation_alloc(), 77u);
	EXPECT_EQ(generation_alloc(), 0u);
}

} // namespace
