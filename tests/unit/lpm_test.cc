// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <weft/lpm.h>
#include <weft/rcu.h>
#include <weft/text.h>

namespace
{

struct value {
	struct lpm_key key;
	uint32_t payload;
};

struct prefix
P(const std::string &text) {
	struct prefix p;
	EXPECT_EQ(prefix_parse(text.c_str(), &p, nullptr), 0) << text;
	return p;
}

struct ip
A(const std::string &text) {
	struct ip ip;
	EXPECT_EQ(ip_parse(text.c_str(), &ip), 0) << text;
	return ip;
}

class Lpm : public testing::Test
{
      protected:
	struct txn t;
	struct lpm lpm = {};

	void
	SetUp() override
	{
		ASSERT_EQ(rcu_init(1), 0);
		txn_begin(&t);
	}
	void
	TearDown() override
	{
		pmap_walk(
			&lpm.map,
			[](const void *v, void *arg) {
				txn_retire(static_cast<struct txn *>(arg), const_cast<void *>(v));
				return 0;
			},
			&t);
		pmap_clear(&lpm.map, &t);
		txn_commit(&t);
		rcu_fini();
	}
	void
	put(uint32_t network, const struct prefix &p, uint32_t payload)
	{
		auto *v = static_cast<struct value *>(txn_alloc(&t, sizeof(struct value)));
		v->key.ip = p.ip;
		v->key.len = p.len;
		v->key.network = network;
		v->payload = payload;
		void *old = lpm_put(&lpm, &t, v);
		if (old != nullptr)
			txn_retire(&t, old);
	}
	bool
	remove(uint32_t network, const struct prefix &p)
	{
		void *old = lpm_remove(&lpm, &t, network, &p);
		if (old != nullptr)
			txn_retire(&t, old);
		return old != nullptr;
	}
	static uint32_t
	payload(const void *v)
	{
		return v != nullptr ? static_cast<const struct value *>(v)->payload : 0;
	}
	uint32_t
	find(uint32_t network, const std::string &addr)
	{
		struct ip ip = A(addr);
		return payload(lpm_find(&lpm, network, &ip));
	}
	uint32_t
	shorter(uint32_t network, const std::string &addr, uint8_t len)
	{
		struct ip ip = A(addr);
		return payload(lpm_find_shorter(&lpm, network, &ip, len));
	}
	std::vector<uint32_t>
	all(uint32_t network, const std::string &addr, unsigned int max = 200)
	{
		struct ip ip = A(addr);
		const void *out[200];
		std::vector<uint32_t> r;
		unsigned int n = lpm_find_all(&lpm, network, &ip, out, max);
		for (unsigned int i = 0; i < n; i++)
			r.push_back(payload(out[i]));
		return r;
	}
};

TEST_F(Lpm, EmptyFindsNothing)
{
	EXPECT_EQ(find(1, "10.0.0.1"), 0u);
	EXPECT_EQ(find(1, "::"), 0u);
	EXPECT_TRUE(all(1, "10.0.0.1").empty());
	EXPECT_FALSE(remove(1, P("10.0.0.0/8")));
}

TEST_F(Lpm, TheLongestWins)
{
	put(1, P("0.0.0.0/0"), 1);
	put(1, P("10.0.0.0/8"), 2);
	put(1, P("10.1.0.0/16"), 3);
	put(1, P("10.1.2.3"), 4);
	EXPECT_EQ(find(1, "10.1.2.3"), 4u);
	EXPECT_EQ(find(1, "10.1.2.4"), 3u);
	EXPECT_EQ(find(1, "10.2.2.3"), 2u);
	EXPECT_EQ(find(1, "11.2.2.3"), 1u);
	EXPECT_EQ(find(1, "255.255.255.255"), 1u);
	EXPECT_EQ(all(1, "10.1.2.3"), (std::vector<uint32_t>{4, 3, 2, 1}));
	EXPECT_EQ(all(1, "10.1.2.3", 2), (std::vector<uint32_t>{4, 3}));
	EXPECT_EQ(all(1, "10.1.2.3", 0), (std::vector<uint32_t>{}));
	EXPECT_TRUE(remove(1, P("10.1.0.0/16")));
	EXPECT_EQ(find(1, "10.1.2.4"), 2u);
	EXPECT_FALSE(remove(1, P("10.1.0.0/16")));
}

TEST_F(Lpm, NetworksAreApart)
{
	put(1, P("10.0.0.0/8"), 1);
	put(2, P("10.0.0.0/8"), 2);
	put(4095, P("10.1.0.0/16"), 3);
	EXPECT_EQ(find(1, "10.1.0.0"), 1u);
	EXPECT_EQ(find(2, "10.1.0.0"), 2u);
	EXPECT_EQ(find(4095, "10.1.0.0"), 3u);
	EXPECT_EQ(find(0, "10.1.0.0"), 0u);
	EXPECT_TRUE(remove(1, P("10.0.0.0/8")));
	EXPECT_EQ(find(1, "10.1.0.0"), 0u);
	EXPECT_EQ(find(2, "10.1.0.0"), 2u) << "the length is still in use by another network";
}

TEST_F(Lpm, FamiliesAreApart)
{
	put(1, P("::/0"), 6);
	EXPECT_EQ(find(1, "10.0.0.1"), 0u) << "IPv6's default route is not IPv4's";
	EXPECT_EQ(find(1, "2001:db8::1"), 6u);
	put(1, P("0.0.0.0/0"), 4);
	EXPECT_EQ(find(1, "10.0.0.1"), 4u);
	EXPECT_EQ(find(1, "2001:db8::1"), 6u);
	EXPECT_EQ(find(1, "::"), 6u);
	EXPECT_EQ(find(1, "::1"), 6u);
	EXPECT_EQ(all(1, "10.0.0.1"), (std::vector<uint32_t>{4}));
	EXPECT_EQ(shorter(1, "10.0.0.1", 96), 0u);
}

TEST_F(Lpm, WhoWouldServeIfThisLengthWent)
{
	put(1, P("10.0.0.0/8"), 1);
	put(1, P("10.1.0.0/16"), 2);
	EXPECT_EQ(shorter(1, "10.1.0.0", 96 + 16), 1u);
	EXPECT_EQ(shorter(1, "10.1.0.0", 96 + 17), 2u);
	EXPECT_EQ(shorter(1, "10.1.0.0", 128), 2u);
	EXPECT_EQ(shorter(1, "10.1.0.0", 96 + 8), 0u);
	EXPECT_EQ(shorter(1, "10.1.0.0", 0), 0u);
}

TEST_F(Lpm, EveryLengthOfBothFamilies)
{
	struct ip v6 = A("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	for (uint8_t len = 0; len <= 128; len++) {
		struct prefix p = {ip_masked(&v6, len), len};
		put(1, p, 1000u + len);
	}
	for (unsigned int len = 0; len <= 32; len++)
		put(1, P("255.255.255.255/" + std::to_string(len)), 100 + len);
	for (int len = 128; len >= 0; len--) {
		EXPECT_EQ(payload(lpm_find(&lpm, 1, &v6)), 1000u + static_cast<unsigned int>(len));
		EXPECT_EQ(all(1, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").size(), static_cast<size_t>(len) + 1);
		struct prefix p = {ip_masked(&v6, static_cast<uint8_t>(len)), static_cast<uint8_t>(len)};
		EXPECT_EQ(payload(lpm_get(&lpm, 1, &p)), 1000u + static_cast<unsigned int>(len));
		EXPECT_TRUE(remove(1, p));
	}
	for (int len = 32; len >= 0; len--) {
		EXPECT_EQ(find(1, "255.255.255.255"), 100u + static_cast<unsigned int>(len));
		EXPECT_TRUE(remove(1, P("255.255.255.255/" + std::to_string(len))));
	}
	EXPECT_EQ(lpm.lens[0] | lpm.lens[1] | lpm.lens[2], 0u);
	EXPECT_EQ(lpm.map.count, 0u);
}

TEST_F(Lpm, GetIsExact)
{
	put(1, P("10.0.0.0/8"), 1);
	struct prefix p = P("10.0.0.0/8"), q = P("10.0.0.0/9");
	EXPECT_EQ(payload(lpm_get(&lpm, 1, &p)), 1u);
	EXPECT_EQ(lpm_get(&lpm, 1, &q), nullptr);
	EXPECT_EQ(lpm_get(&lpm, 2, &p), nullptr);
}

TEST_F(Lpm, PuttingAgainReplaces)
{
	put(1, P("10.0.0.0/8"), 1);
	put(1, P("10.0.0.0/8"), 2);
	EXPECT_EQ(find(1, "10.0.0.1"), 2u);
	EXPECT_TRUE(remove(1, P("10.0.0.0/8")));
	EXPECT_EQ(find(1, "10.0.0.1"), 0u) << "in_use was counted once";
	EXPECT_EQ(lpm.lens[1], 0u);
}

// Against a list searched from end to end.
TEST_F(Lpm, RandomPrefixesMatchTheModel)
{
	std::mt19937 random(99);
	std::map<std::pair<uint32_t, std::string>, std::pair<struct prefix, uint32_t>> model;
	auto address = [&](bool v4) {
		struct ip ip = v4 ? A("10.0.0.0") : A("fd00::");
		for (int i = v4 ? 13 : 2; i < 16; i++)
			ip.b[i] = static_cast<uint8_t>(random() % 3 == 0 ? random() : 0);
		return ip;
	};
	for (int step = 0; step < 6000; step++) {
		bool v4 = random() % 2;
		uint32_t network = random() % 3;
		uint8_t len = static_cast<uint8_t>(v4 ? 96 + random() % 33 : random() % 129);
		struct ip ip = address(v4);
		struct prefix p = {ip_masked(&ip, len), len};
		if (v4 && len < 96)
			continue;
		char text[PREFIX_TEXT_MAX];
		auto key = std::make_pair(network, std::string(prefix_format(&p, text)));
		if (random() % 5 < 3) {
			put(network, p, static_cast<uint32_t>(step) + 1);
			model[key] = {p, static_cast<uint32_t>(step) + 1};
		} else {
			EXPECT_EQ(remove(network, p), model.erase(key) == 1);
		}
		struct ip probe = address(random() % 2);
		uint32_t want = 0;
		std::map<int, uint32_t, std::greater<int>> covering;
		for (auto &m : model) {
			if (m.first.first != network || !prefix_contains(&m.second.first, &probe))
				continue;
			if (ip_is4(&probe) && m.second.first.len < 96)
				continue;
			covering[m.second.first.len] = m.second.second;
		}
		if (!covering.empty())
			want = covering.begin()->second;
		ASSERT_EQ(payload(lpm_find(&lpm, network, &probe)), want) << step;
		const void *out[130];
		unsigned int n = lpm_find_all(&lpm, network, &probe, out, 130), i = 0;
		ASSERT_EQ(n, covering.size());
		for (auto &c : covering)
			ASSERT_EQ(payload(out[i++]), c.second);
	}
}

TEST_F(Lpm, ASnapshotStays)
{
	put(1, P("10.0.0.0/8"), 1);
	txn_commit(&t);
	struct lpm before = lpm;
	txn_begin(&t);
	put(1, P("10.0.0.0/24"), 2);
	struct ip ip = A("10.0.0.1");
	EXPECT_EQ(payload(lpm_find(&before, 1, &ip)), 1u);
	EXPECT_EQ(payload(lpm_find(&lpm, 1, &ip)), 2u);
	txn_abort(&t);
	lpm = before;
	EXPECT_EQ(payload(lpm_find(&lpm, 1, &ip)), 1u);
	txn_begin(&t);
}

} // namespace
