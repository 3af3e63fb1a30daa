// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <weft/service.h>

namespace
{

using Backends = std::vector<maglev_backend>;
using Table = std::vector<uint16_t>;

uint64_t
key_of(uint64_t i)
{
	return (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

Backends
backends(uint32_t n, uint32_t weight = 1)
{
	Backends b;
	for (uint32_t i = 0; i < n; i++)
		b.push_back({key_of(i), weight});
	return b;
}

Table
build(const Backends &b, uint32_t size)
{
	Table t(size, 0x5555);
	EXPECT_EQ(maglev_build(t.data(), size, b.data(), static_cast<uint32_t>(b.size())), 0);
	return t;
}

std::vector<uint32_t>
shares(const Table &t, size_t n)
{
	std::vector<uint32_t> s(n, 0);
	for (uint16_t i : t)
		s.at(i)++;
	return s;
}

// Of the slots that neither table gives to `changed`, how many changed hands, in percent.
double
moved(const Table &a, const Table &b, uint16_t changed)
{
	size_t others = 0, moves = 0;
	for (size_t i = 0; i < a.size(); i++) {
		if (a[i] == changed || b[i] == changed)
			continue;
		others++;
		moves += a[i] != b[i];
	}
	return 100.0 * static_cast<double>(moves) / static_cast<double>(others);
}

uint32_t
checksum(const Table &t)
{
	uint32_t h = 2166136261u; // FNV-1a over the slots
	for (uint16_t v : t)
		h = (h ^ v) * 16777619u;
	return h;
}

bool
is_prime(uint32_t n)
{
	for (uint32_t d = 2; d * d <= n; d++) {
		if (n % d == 0)
			return false;
	}
	return n > 1;
}

TEST(MaglevSize, IsAPrimeThatHoldsThem)
{
	for (uint32_t n = 1; n <= 65535; n += n < 3000 ? 1 : 97) {
		uint32_t size = maglev_size(n, 0);
		ASSERT_TRUE(is_prime(size)) << size;
		ASSERT_GE(size, n);
	}
}

TEST(MaglevSize, StepsAreAboutEightfold)
{
	std::vector<uint32_t> sizes;
	for (uint32_t n = 1; n <= 65535; n++) {
		if (sizes.empty() || maglev_size(n, 0) != sizes.back())
			sizes.push_back(maglev_size(n, 0));
	}
	ASSERT_GE(sizes.size(), 4u);
	for (size_t i = 1; i < sizes.size(); i++) {
		EXPECT_GT(sizes[i], sizes[i - 1] * 7);
		EXPECT_LT(sizes[i], sizes[i - 1] * 9);
	}
}

TEST(MaglevSize, LeavesEachBackendThirtySlots)
{
	for (uint32_t n = 1; n <= 8000; n++)
		ASSERT_GE(maglev_size(n, 0), n * 30) << n;
}

TEST(MaglevSize, FiftyThousandServicesOfTenBackendsTakeUnder100MB)
{
	EXPECT_LT(maglev_size(10, 0) * sizeof(uint16_t) * 50000, 100u << 20);
	EXPECT_LE(maglev_size(1, 0) * sizeof(uint16_t), 128u);
	EXPECT_LE(maglev_size(2, 0) * sizeof(uint16_t), 128u);
}

TEST(MaglevSize, NoneIsTheSmallest)
{
	EXPECT_EQ(maglev_size(0, 0), maglev_size(1, 0));
}

TEST(MaglevSize, AGrownTableIsKeptUntilHalfOfItsReasonIsGone)
{
	uint32_t limit = 1;
	while (maglev_size(limit + 1, 0) == maglev_size(3, 0) || limit < 3)
		limit++;
	uint32_t small = maglev_size(limit, 0), large = maglev_size(limit + 1, small);
	ASSERT_GT(large, small);
	EXPECT_EQ(maglev_size(limit, large), large);
	EXPECT_EQ(maglev_size(limit / 2 + 1, large), large);
	EXPECT_EQ(maglev_size(limit / 2, large), small);
	EXPECT_EQ(maglev_size(limit, small), small);
}

TEST(MaglevSize, AnUnknownOldSizeIsForgotten)
{
	EXPECT_EQ(maglev_size(10, 65537), maglev_size(10, 0));
	EXPECT_EQ(maglev_size(1000, 61), maglev_size(1000, 0));
}

TEST(Maglev, RefusesWhatCannotBe)
{
	Table t(61);
	Backends none = backends(3, 0), many = backends(62);
	EXPECT_EQ(maglev_build(t.data(), 61, none.data(), 3), -EINVAL);
	EXPECT_EQ(maglev_build(t.data(), 61, none.data(), 0), -EINVAL);
	EXPECT_EQ(maglev_build(t.data(), 61, many.data(), 62), -EINVAL);
	EXPECT_EQ(maglev_build(t.data(), 61, many.data(), 61), 0);
}

TEST(Maglev, OneBackendHasEverySlot)
{
	Table t = build(backends(1), 61);
	EXPECT_TRUE(std::all_of(t.begin(), t.end(), [](uint16_t i) { return i == 0; }));
}

TEST(Maglev, AsManyBackendsAsSlotsHaveOneEach)
{
	for (uint32_t share : shares(build(backends(61), 61), 61))
		EXPECT_EQ(share, 1u);
}

TEST(Maglev, EqualWeightsShareToWithinOneSlot)
{
	for (uint32_t n : {2u, 3u, 7u, 16u, 17u, 64u, 65u, 100u, 1000u, 1025u, 5000u}) {
		auto s = shares(build(backends(n), maglev_size(n, 0)), n);
		auto [low, high] = std::minmax_element(s.begin(), s.end());
		EXPECT_LE(*high - *low, 1u) << n;
	}
}

TEST(Maglev, TheLargestIndexFits)
{
	uint32_t n = 65535, size = maglev_size(n, 0);
	auto s = shares(build(backends(n), size), n);
	EXPECT_EQ(std::accumulate(s.begin(), s.end(), 0u), size);
	EXPECT_GE(*std::min_element(s.begin(), s.end()), 3u);
	Table t(size);
	Backends more = backends(65536);
	EXPECT_EQ(maglev_build(t.data(), size, more.data(), 65536), -EINVAL);
}

TEST(Maglev, SharesFollowWeights)
{
	Backends b = backends(4);
	b[0].weight = 1;
	b[1].weight = 2;
	b[2].weight = 5;
	b[3].weight = 0;
	auto s = shares(build(b, 4093), 4);
	EXPECT_NEAR(s[0], 4093.0 / 8, 2);
	EXPECT_NEAR(s[1], 4093.0 * 2 / 8, 2);
	EXPECT_NEAR(s[2], 4093.0 * 5 / 8, 2);
	EXPECT_EQ(s[3], 0u);
}

TEST(Maglev, ExtremeWeightsAreExactToTheSlot)
{
	Backends b = backends(101);
	b[7].weight = 65535;
	auto s = shares(build(b, 32749), 101);
	EXPECT_NEAR(s[7], 32749.0 * 65535 / 65635, 51);
	b[7].weight = UINT32_MAX;
	EXPECT_EQ(shares(build(b, 32749), 101)[7], 32749u);
}

TEST(Maglev, RandomWeightsGiveProportionalShares)
{
	std::mt19937 random(7);
	for (int round = 0; round < 50; round++) {
		uint32_t n = 1 + random() % 60, size = 4093;
		Backends b = backends(n);
		uint64_t sum = 0;
		for (auto &x : b)
			sum += x.weight = random() % 4 == 0 ? 0 : 1 + random() % 100;
		if (sum == 0)
			continue;
		auto s = shares(build(b, size), n);
		for (uint32_t i = 0; i < n; i++)
			ASSERT_NEAR(s[i], static_cast<double>(size) * b[i].weight / static_cast<double>(sum), 2.0)
				<< round;
	}
}

TEST(Maglev, OnlyTheRatioOfWeightsCounts)
{
	EXPECT_EQ(build(backends(10, 1), 509), build(backends(10, 65535), 509));
	EXPECT_EQ(build(backends(10, 1), 509), build(backends(10, UINT32_MAX), 509));
}

TEST(Maglev, TheOrderOfTheListDoesNotMatter)
{
	std::mt19937 random(1);
	Backends b = backends(50);
	for (uint32_t i = 0; i < 50; i++)
		b[i].weight = 1 + i % 3;
	Table t = build(b, 4093);
	std::vector<uint16_t> order(50);
	std::iota(order.begin(), order.end(), 0);
	for (int round = 0; round < 5; round++) {
		std::shuffle(order.begin(), order.end(), random);
		Backends shuffled;
		for (uint16_t i : order)
			shuffled.push_back(b[i]);
		Table u = build(shuffled, 4093);
		for (size_t slot = 0; slot < t.size(); slot++)
			ASSERT_EQ(t[slot], order[u[slot]]);
	}
}

TEST(Maglev, ABackendWithoutWeightIsAsOneThatIsNotListed)
{
	Backends with = backends(11), without = backends(10);
	with[10].weight = 0;
	EXPECT_EQ(build(with, 509), build(without, 509));
}

TEST(Maglev, RemovingOneOfAHundredMovesFewOfTheOthers)
{
	uint32_t size = maglev_size(100, 0);
	Backends b = backends(100);
	Table all = build(b, size);
	for (uint16_t gone = 0; gone < 100; gone += 9) {
		Backends rest = b;
		rest[gone].weight = 0;
		EXPECT_LE(moved(all, build(rest, size), gone), 3.0) << gone;
	}
}

TEST(Maglev, AddingOneToAHundredMovesFewOfTheOthers)
{
	uint32_t size = maglev_size(100, 0);
	ASSERT_EQ(size, maglev_size(101, size));
	EXPECT_LE(moved(build(backends(100), size), build(backends(101), size), 100), 3.0);
}

TEST(Maglev, AddingAnyoneToAHundredMovesFewOfTheOthers)
{
	uint32_t size = maglev_size(100, 0);
	Backends b = backends(140);
	for (uint16_t i = 100; i < 140; i++)
		b[i].weight = 0;
	Table before = build(b, size);
	for (uint16_t i = 100; i < 140; i++) {
		Backends more = b;
		more[i].weight = 1;
		EXPECT_LE(moved(before, build(more, size), i), 3.0) << i;
	}
}

TEST(Maglev, OneOfThousandsMovesFewOfTheOthers)
{
	for (uint32_t n : {2000u, 5000u}) {
		uint32_t size = maglev_size(n, 0);
		Backends b = backends(n);
		Table all = build(b, size);
		b[n / 3].weight = 0;
		EXPECT_LE(moved(all, build(b, size), static_cast<uint16_t>(n / 3)), 3.0) << n;
	}
}

TEST(Maglev, RemovingOneOfAThousandMovesFewOfTheOthers)
{
	uint32_t size = maglev_size(1000, 0);
	Backends b = backends(1000);
	Table all = build(b, size);
	b[123].weight = 0;
	EXPECT_LE(moved(all, build(b, size), 123), 3.0);
}

TEST(Maglev, AWeightThatChangesALittleMovesLittle)
{
	uint32_t size = maglev_size(100, 0);
	Backends b = backends(100, 10);
	Table before = build(b, size);
	b[5].weight = 9;
	EXPECT_LE(moved(before, build(b, size), 5), 3.0);
}

// Of two backends one that goes leaves the other exactly what it had, and all of the rest.
TEST(Maglev, OfTwoTheOneThatStaysKeepsItsSlots)
{
	Backends b = backends(2);
	Table both = build(b, 61);
	b[0].weight = 0;
	EXPECT_EQ(moved(both, build(b, 61), 0), 0.0);
}

// Every node and every version must choose alike: these values may never change.
TEST(Maglev, IsTheSameForever)
{
	EXPECT_EQ(checksum(build(backends(1), 61)), 1692041263u);
	EXPECT_EQ(checksum(build(backends(3), 509)), 2687000153u);
	EXPECT_EQ(checksum(build(backends(100), 32749)), 1081961698u);
	Backends weighted = backends(5);
	for (uint32_t i = 0; i < 5; i++)
		weighted[i].weight = i;
	EXPECT_EQ(checksum(build(weighted, 509)), 2585815246u);
	Table t = build(backends(4), 61);
	EXPECT_EQ(Table(t.begin(), t.begin() + 16), (Table{1, 2, 3, 3, 2, 0, 1, 3, 3, 3, 2, 0, 1, 3, 1, 2}));
}

} // namespace
