// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <gtest/gtest.h>

#include <weft/base.h>
#include <weft/clock.h>
#include <weft/text.h>

namespace
{

std::string
round_trip(const char *text)
{
	struct ip ip;
	char buf[IP_TEXT_MAX];
	return ip_parse(text, &ip) == 0 ? ip_format(&ip, buf) : "refused";
}

std::string
prefix_round_trip(const char *text)
{
	struct prefix p;
	char buf[PREFIX_TEXT_MAX];
	return prefix_parse(text, &p, nullptr) == 0 ? prefix_format(&p, buf) : "refused";
}

std::string
mac_round_trip(const char *text)
{
	struct mac m;
	char buf[MAC_TEXT_MAX];
	return mac_parse(text, &m) == 0 ? mac_format(&m, buf) : "refused";
}

TEST(Ip, TextRoundTrip)
{
	EXPECT_EQ(round_trip("10.0.0.1"), "10.0.0.1");
	EXPECT_EQ(round_trip("255.255.255.255"), "255.255.255.255");
	EXPECT_EQ(round_trip("2001:DB8:0:0:0:0:0:1"), "2001:db8::1");
	EXPECT_EQ(round_trip("::"), "::");
	EXPECT_EQ(round_trip("::ffff:1.2.3.4"), "1.2.3.4");
	EXPECT_EQ(round_trip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

TEST(Ip, RefusesWhatIsNotAnAddress)
{
	for (const char *bad :
	     {"", " 10.0.0.1", "10.0.0.1 ", "10.0.0", "10.0.0.256", "10.0.0.1.2", "010.0.0.1", "0x7f.1", "1",
	      ":::", "2001:db8::1::2", "fe80::1%eth0", "12345::", "10.0.0.1/32", "localhost"})
		EXPECT_EQ(round_trip(bad), "refused") << '"' << bad << '"';
}

TEST(Ip, Families)
{
	struct ip v4, v6, none = {};
	ASSERT_EQ(ip_parse("1.2.3.4", &v4), 0);
	ASSERT_EQ(ip_parse("::1.2.3.4", &v6), 0);
	EXPECT_TRUE(ip_is4(&v4));
	EXPECT_FALSE(ip_is4(&v6));
	EXPECT_FALSE(ip_is4(&none));
	EXPECT_TRUE(ip_is_none(&none));
	EXPECT_FALSE(ip_is_none(&v4));
	EXPECT_EQ(v4.w[3], htonl(0x01020304));
	struct ip same = ip_from4(htonl(0x01020304));
	EXPECT_TRUE(ip_equal(&v4, &same));
	EXPECT_FALSE(ip_equal(&v4, &v6));
	struct ip zero = ip_from4(0);
	EXPECT_FALSE(ip_is_none(&zero)) << "0.0.0.0 is an IPv4 address";
	struct ip raw = ip_from6(v6.b);
	EXPECT_TRUE(ip_equal(&raw, &v6));
}

TEST(Ip, MaskedAtEveryLength)
{
	struct ip ones;
	memset(ones.b, 0xff, sizeof(ones.b));
	for (unsigned int len = 0; len <= 128; len++) {
		struct ip m = ip_masked(&ones, static_cast<uint8_t>(len));
		for (unsigned int bit = 0; bit < 128; bit++)
			ASSERT_EQ(m.b[bit / 8] >> (7 - bit % 8) & 1, bit < len) << len << " " << bit;
	}
}

TEST(Prefix, TextRoundTrip)
{
	EXPECT_EQ(prefix_round_trip("10.0.0.0/8"), "10.0.0.0/8");
	EXPECT_EQ(prefix_round_trip("10.1.2.3/8"), "10.0.0.0/8");
	EXPECT_EQ(prefix_round_trip("10.1.2.3"), "10.1.2.3/32");
	EXPECT_EQ(prefix_round_trip("0.0.0.0/0"), "0.0.0.0/0");
	EXPECT_EQ(prefix_round_trip("::/0"), "::/0");
	EXPECT_EQ(prefix_round_trip("::/96"), "::/96");
	EXPECT_EQ(prefix_round_trip("fd00::1/64"), "fd00::/64");
	EXPECT_EQ(prefix_round_trip("fd00::1"), "fd00::1/128");
}

TEST(Prefix, LengthsCountThe128Bits)
{
	struct prefix p;
	struct ip host;
	ASSERT_EQ(prefix_parse("192.0.2.129/25", &p, &host), 0);
	EXPECT_EQ(p.len, 121);
	char buf[IP_TEXT_MAX];
	EXPECT_STREQ(ip_format(&host, buf), "192.0.2.129");
	EXPECT_STREQ(ip_format(&p.ip, buf), "192.0.2.128");
	ASSERT_EQ(prefix_parse("0.0.0.0/0", &p, nullptr), 0);
	EXPECT_EQ(p.len, 96);
}

TEST(Prefix, RefusesWhatIsNotOne)
{
	for (const char *bad :
	     {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0.0/8 ",
	      "10.0.0.0/8x", "::/129", "10.0.0.0/8/8", "10.0.0.0/99999999999999999999"})
		EXPECT_EQ(prefix_round_trip(bad), "refused") << '"' << bad << '"';
	EXPECT_EQ(prefix_round_trip(std::string(300, '1').c_str()), "refused");
}

TEST(Prefix, Contains)
{
	struct prefix p;
	struct ip in, out;
	ASSERT_EQ(prefix_parse("10.244.1.0/24", &p, nullptr), 0);
	ASSERT_EQ(ip_parse("10.244.1.255", &in), 0);
	ASSERT_EQ(ip_parse("10.244.2.0", &out), 0);
	EXPECT_TRUE(prefix_contains(&p, &in));
	EXPECT_FALSE(prefix_contains(&p, &out));
	ASSERT_EQ(prefix_parse("10.244.2.0", &p, nullptr), 0);
	EXPECT_TRUE(prefix_contains(&p, &out));
	EXPECT_FALSE(prefix_contains(&p, &in));
}

TEST(Mac, TextRoundTrip)
{
	EXPECT_EQ(mac_round_trip("02:00:00:00:00:01"), "02:00:00:00:00:01");
	EXPECT_EQ(mac_round_trip("aB:Cd:eF:01:23:45"), "ab:cd:ef:01:23:45");
	for (const char *bad :
	     {"", "02", "02:00:00:00:00", "02:00:00:00:00:0", "02:00:00:00:00:01:", "02:00:00:00:00:01 ",
	      "02-00-00-00-00-01", "0g:00:00:00:00:01", "2:0:0:0:0:1", "02:00:00:00:00:011"})
		EXPECT_EQ(mac_round_trip(bad), "refused") << '"' << bad << '"';
}

TEST(Error, SaysWhatAndWhere)
{
	struct error e;
	EXPECT_EQ(error_set(&e, -EINVAL, "%d is not in 1..%d", 70000, 65535), -EINVAL);
	EXPECT_STREQ(e.text, "70000 is not in 1..65535");
	EXPECT_STREQ(e.path, "");
	EXPECT_EQ(error_at(&e, -EEXIST, "ips[3]", "taken by \"%s\"", "x"), -EEXIST);
	EXPECT_STREQ(e.path, "ips[3]");
	EXPECT_STREQ(e.text, "taken by \"x\"");
	EXPECT_EQ(error_set(nullptr, -ENOENT, "nobody reads this"), -ENOENT);
	EXPECT_EQ(error_at(nullptr, -ENOENT, "x", "nor this"), -ENOENT);
}

TEST(Prefix, HoldsItsOwnFamilyOnly)
{
	auto holds = [](const char *prefix, const char *ip) {
		struct prefix p;
		struct ip a;
		return prefix_parse(prefix, &p, nullptr) == 0 && ip_parse(ip, &a) == 0 && prefix_contains(&p, &a);
	};
	EXPECT_TRUE(holds("0.0.0.0/0", "203.0.113.1"));
	EXPECT_TRUE(holds("10.0.0.0/8", "10.255.0.1"));
	EXPECT_FALSE(holds("10.0.0.0/8", "11.0.0.1"));
	EXPECT_TRUE(holds("::/0", "2001:db8::1"));
	EXPECT_TRUE(holds("fd00::/64", "fd00::1"));
	EXPECT_FALSE(holds("fd00::/64", "fd00:0:0:1::1"));
	/* IPv4 addresses are kept as ::ffff:a.b.c.d. */
	for (const char *six : {"::/0", "::/1", "::/64", "::/80"})
		EXPECT_FALSE(holds(six, "203.0.113.1")) << six;
	EXPECT_FALSE(holds("0.0.0.0/0", "2001:db8::1"));
}

TEST(Error, LongTextIsCut)
{
	struct error e;
	std::string longer(2000, 'x');
	error_at(&e, -EINVAL, longer.c_str(), "%s", longer.c_str());
	EXPECT_EQ(strlen(e.path), sizeof(e.path) - 1);
	EXPECT_EQ(strlen(e.text), sizeof(e.text) - 1);
}

TEST(Clock, PassedAcrossTheWrap)
{
	EXPECT_TRUE(clock_passed(1000, 0, 1000));
	EXPECT_FALSE(clock_passed(999, 0, 1000));
	EXPECT_TRUE(clock_passed(500, UINT32_MAX - 499, 1000));
	EXPECT_FALSE(clock_passed(499, UINT32_MAX - 499, 1000));
	EXPECT_FALSE(clock_passed(5, 10, 0)) << "then lies ahead of now";
	uint32_t a = clock_ms(), b = clock_ms();
	EXPECT_LT(b - a, 1000u);
}

} // namespace
