// SPDX-License-Identifier: Apache-2.0
// One rule, one member, with 100,000 in place: what a patch costs the control thread on its whole way, and that the next packet obeys.
#include <algorithm>

#include <time.h>

#include "switch.hpp"

using namespace weft;

namespace
{

constexpr uint32_t MANY = 100000;

struct Patch : testing::Test {
	Switch sw;
	uint16_t next = 1000;
	void SetUp() override
	{
		sw.network();
		sw.pod("web", "10.244.1.5");
		sw.pod("db", "10.244.1.6");
	}
	static std::string member(uint32_t i) { return "172." + std::to_string(16 + (i >> 16)) + "." + std::to_string(i >> 8 & 255) + "." + std::to_string(i & 255); }
	bool passes(uint16_t port)
	{
		sw.send("web", sw.between("web", "db").udp(next++, port));
		return sw.take_all("db").size() == 1;
	}
	// Microseconds of CPU.
	double patch(const std::string &params)
	{
		auto now = [] {
			struct timespec ts;
			clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
			return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
		};
		json_t *p = json_loads(params.c_str(), 0, nullptr);
		struct rpc_error e = {};
		double start = now();
		json_t *r = mgmt_call(sw.mgmt, MGMT_ADMIN, "patch", p, &e);
		double took = now() - start;
		EXPECT_NE(r, nullptr) << e.message;
		json_decref(r);
		json_decref(p);
		return took;
	}
	// The goal is 1 ms; ten times that is a defect whatever else the machine does.
	static void judge(const char *what, std::vector<double> us)
	{
		std::nth_element(us.begin(), us.begin() + (long)us.size() / 2, us.end());
		printf("patch of one %s with 100,000 in place: %.0f us of CPU at the median of %zu\n", what, us[us.size() / 2], us.size());
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
		EXPECT_LT(us[us.size() / 2], 10000);
#endif
	}
};

} // namespace

TEST_F(Patch, OneMember)
{
	std::string members;
	for (uint32_t i = 0; i < MANY; i++)
		members += (i != 0 ? ",\"" : "\"") + member(i) + "\"";
	ASSERT_TRUE(sw.apply(R"({"kind":"AddressSet","name":"s","network":"default","members":[)" + members + "]}," +
			     R"({"kind":"Policy","name":"p","network":"default","endpoints":["db"],"ingress":[{"from":[{"set":"s"}]}]})"))
		<< sw.error;
	EXPECT_FALSE(passes(1));
	std::vector<double> us;
	for (int i = 0; i < 40; i++) {
		bool add = i % 2 == 0;
		us.push_back(patch(std::string(R"({"kind":"AddressSet","name":"s",")") + (add ? "add" : "remove") + R"(":{"members":["10.244.1.5"]}})"));
		EXPECT_EQ(passes(1), add);
	}
	judge("member", us);
}

TEST_F(Patch, OneRule)
{
	std::string rules;
	for (uint32_t i = 0; i < MANY; i++)
		rules += (i != 0 ? ",{\"name\":\"r" : "{\"name\":\"r") + std::to_string(i) + "\",\"from\":[{\"cidr\":\"" + member(i) + "/32\"}],\"ports\":[{\"protocol\":\"UDP\",\"port\":" +
			 std::to_string(i % 60000 + 1) + "}]}";
	ASSERT_TRUE(sw.apply(R"({"kind":"Policy","name":"p","network":"default","endpoints":["db"],"ingress":[)" + rules + "]}")) << sw.error;
	EXPECT_FALSE(passes(1));
	std::vector<double> us;
	for (int i = 0; i < 40; i++) {
		bool add = i % 2 == 0;
		us.push_back(patch(add ? R"({"kind":"Policy","name":"p","add":{"ingress":[{"name":"new","from":[{"cidr":"10.244.1.5/32"}]}]}})"
				       : R"({"kind":"Policy","name":"p","remove":{"ingress":["new"]}})"));
		EXPECT_EQ(passes(1), add);
	}
	judge("rule", us);
}
