// SPDX-License-Identifier: Apache-2.0
// Every verdict names its rule: counters, the log, and what a dry run would do.
#include <condition_variable>
#include <mutex>

#include "switch.hpp"

using namespace weft;

namespace
{

struct Count : testing::Test {
	Switch sw;
	uint16_t next = 1000;
	std::mutex lock;
	std::vector<std::string> told;

	void SetUp() override
	{
		sw.network();
		sw.pod("web", "10.244.1.5");
		sw.pod("db", "10.244.1.6");
		sw.pod("other", "10.244.1.7");
		mgmt_on_event(sw.mgmt, [](json_t *e, void *arg) { static_cast<Count *>(arg)->hear(e); }, this);
	}
	void TearDown() override { mgmt_on_event(sw.mgmt, nullptr, nullptr); }

	void hear(json_t *e)
	{
		std::string what = json_string_value(json_object_get(e, "event"));
		if (what != "policy" && what != "policyLost")
			return;
		char *text = json_dumps(e, JSON_SORT_KEYS | JSON_COMPACT);
		std::lock_guard<std::mutex> guard(lock);
		told.push_back(text);
		free(text);
	}
	// The events so far; waits for `n`.
	std::vector<std::string> events(size_t n)
	{
		for (int i = 0; i < 200; i++) {
			{
				std::lock_guard<std::mutex> guard(lock);
				if (told.size() >= n)
					break;
			}
			usleep(20000);
		}
		std::lock_guard<std::mutex> guard(lock);
		return told;
	}
	void policy(const std::string &name, const std::string &body)
	{
		ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"" + name + "\",\"network\":\"default\"," + body + "}")) << sw.error;
	}
	bool reaches(const std::string &from, const std::string &to, uint16_t port, uint16_t sport = 0)
	{
		sw.send(from, sw.between(from, to).udp(sport != 0 ? sport : next++, port));
		return sw.take_all(to).size() == 1;
	}
	std::string status(const std::string &name, const std::string &member)
	{
		json_t *r = sw.call("get", "{\"kind\":\"Policy\",\"name\":\"" + name + "\"}");
		char *text = json_dumps(json_object_get(json_object_get(json_object_get(r, "object"), "status"), member.c_str()), JSON_COMPACT | JSON_ENCODE_ANY);
		std::string out = text != nullptr ? text : "";
		free(text);
		json_decref(r);
		return out;
	}
	std::string rules(const std::string &name) { return status(name, "rules"); }
};

} // namespace

TEST_F(Count, RulesAndIsolationByTheirNames)
{
	policy("p", R"("endpoints":["db"],"types":["Ingress"],"ingress":[{"name":"dns","ports":[{"protocol":"UDP","port":53}]},
		{"from":[{"cidr":"10.244.1.5/32"}]}])");
	EXPECT_TRUE(reaches("other", "db", 53));
	EXPECT_TRUE(reaches("other", "db", 53));
	EXPECT_TRUE(reaches("web", "db", 80));
	for (int i = 0; i < 3; i++)
		EXPECT_FALSE(reaches("other", "db", 80));
	EXPECT_EQ(rules("p"), R"([{"rule":"ingress[0]","name":"dns","accepted":2},{"rule":"ingress[1]","accepted":1},{"rule":"ingress isolation","denied":3}])");
	EXPECT_EQ(status("p", "verdicts"), R"({"accepted":3,"denied":3,"passed":0,"wouldAccept":0,"wouldDeny":0,"wouldPass":0})");
	json_t *r = sw.call("stats", "{}");
	char *text = json_dumps(json_object_get(r, "policies"), JSON_COMPACT);
	EXPECT_STREQ(text, R"([{"name":"p","accepted":3,"denied":3,"passed":0,"wouldAccept":0,"wouldDeny":0,"wouldPass":0}])");
	free(text);
	json_decref(r);
}

TEST_F(Count, EstablishedPacketsAreNotCounted)
{
	policy("p", R"("endpoints":["db"],"ingress":[{}])");
	for (int i = 0; i < 5; i++)
		EXPECT_TRUE(reaches("web", "db", 53, 4000));
	sw.send("db", sw.between("db", "web").udp(53, 4000));
	EXPECT_EQ(rules("p"), R"([{"rule":"ingress[0]","accepted":1},{"rule":"ingress isolation","denied":0}])");
	policy("q", R"("endpoints":["db"],"tier":"admin","types":["Ingress"],"ingress":[{"action":"deny"}])");
	EXPECT_FALSE(reaches("web", "db", 53, 4000));
	EXPECT_EQ(rules("q"), R"([{"rule":"ingress[0]","denied":0}])");
	EXPECT_FALSE(reaches("web", "db", 53, 4001));
	EXPECT_EQ(rules("q"), R"([{"rule":"ingress[0]","denied":1}])");
}

TEST_F(Count, BothSidesAndEveryTierSayTheirPart)
{
	policy("a", R"("tier":"admin","priority":1,"types":["Ingress","Egress"],"ingress":[{"action":"pass"}],"egress":[{"action":"accept"}])");
	policy("b", R"("tier":"baseline","types":["Ingress"],"ingress":[{"action":"pass","ports":[{"protocol":"UDP","port":1}]},{"action":"deny"}])");
	EXPECT_TRUE(reaches("web", "db", 1));
	EXPECT_FALSE(reaches("web", "db", 2));
	EXPECT_EQ(rules("a"), R"([{"rule":"ingress[0]","passed":2},{"rule":"egress[0]","accepted":2}])");
	EXPECT_EQ(rules("b"), R"([{"rule":"ingress[0]","passed":1},{"rule":"ingress[1]","denied":1}])");
}

TEST_F(Count, WhatDoesNotOpenAConnectionIsNotAccepted)
{
	policy("p", R"("endpoints":["db"],"ingress":[{}])");
	sw.send("web", sw.between("web", "db").tcp(4000, 80, 0x10)); // continues nothing
	EXPECT_TRUE(sw.nothing("db"));
	EXPECT_EQ(rules("p"), R"([{"rule":"ingress[0]","accepted":0},{"rule":"ingress isolation","denied":0}])");
}

TEST_F(Count, ARuleKeepsItsCountWhenOthersComeAndGo)
{
	policy("p", R"("endpoints":["db"],"ingress":[{"ports":[{"protocol":"UDP","port":53}]}])");
	EXPECT_TRUE(reaches("web", "db", 53));
	policy("p", R"("endpoints":["db"],"ingress":[{"ports":[{"protocol":"UDP","port":80}]},{"ports":[{"protocol":"UDP","port":53}]}])");
	EXPECT_TRUE(reaches("web", "db", 53));
	EXPECT_EQ(rules("p"), R"([{"rule":"ingress[0]","accepted":0},{"rule":"ingress[1]","accepted":2},{"rule":"ingress isolation","denied":0}])");
	ASSERT_TRUE(sw.remove("Policy", "p"));
	policy("p", R"("endpoints":["db"],"ingress":[{"ports":[{"protocol":"UDP","port":53}]}])");
	EXPECT_EQ(rules("p"), R"([{"rule":"ingress[0]","accepted":0},{"rule":"ingress isolation","denied":0}])");
}

TEST_F(Count, IsolationIsTheFirstPolicysByName)
{
	policy("n2", R"("endpoints":["db"])");
	policy("n1", R"("endpoints":["db","web"])");
	EXPECT_FALSE(reaches("web", "db", 53));
	EXPECT_EQ(rules("n1"), R"([{"rule":"ingress isolation","denied":1}])");
	EXPECT_EQ(rules("n2"), R"([{"rule":"ingress isolation","denied":0}])");
	policy("n1", R"("endpoints":["web"])");
	EXPECT_FALSE(reaches("web", "db", 53));
	EXPECT_EQ(rules("n2"), R"([{"rule":"ingress isolation","denied":1}])");
}

TEST_F(Count, ADryRunIsCountedAndDropsNothing)
{
	policy("dry", R"("endpoints":["db"],"enforce":false,"ingress":[{"name":"web","from":[{"cidr":"10.244.1.5/32"}]}])");
	EXPECT_TRUE(reaches("web", "db", 53));
	EXPECT_TRUE(reaches("other", "db", 53));
	EXPECT_TRUE(reaches("other", "db", 54));
	EXPECT_EQ(rules("dry"), R"([{"rule":"ingress[0]","name":"web","wouldAccept":1},{"rule":"ingress isolation","wouldDeny":2}])");
	policy("dry", R"("endpoints":["db"],"ingress":[{"name":"web","from":[{"cidr":"10.244.1.5/32"}]}])");
	EXPECT_FALSE(reaches("other", "db", 53));
	EXPECT_EQ(rules("dry"), R"([{"rule":"ingress[0]","name":"web","accepted":0,"wouldAccept":1},{"rule":"ingress isolation","denied":1,"wouldDeny":2}])");
}

TEST_F(Count, ADryRunBesideWhatCounts)
{
	policy("real", R"("endpoints":["db"],"ingress":[{"from":[{"cidr":"10.244.1.5/32"}]}])");
	policy("dry", R"("endpoints":["db"],"enforce":false,"ingress":[{"from":[{"cidr":"10.244.1.7/32"}]}])");
	policy("guard", R"("tier":"admin","enforce":false,"types":["Ingress"],"ingress":[{"action":"deny","ports":[{"protocol":"UDP","port":1}]}])");
	EXPECT_TRUE(reaches("web", "db", 53));
	EXPECT_FALSE(reaches("other", "db", 53)); // would be let in
	EXPECT_TRUE(reaches("web", "db", 1));     // would be denied
	EXPECT_EQ(rules("real"), R"([{"rule":"ingress[0]","accepted":2},{"rule":"ingress isolation","denied":1}])");
	EXPECT_EQ(rules("dry"), R"([{"rule":"ingress[0]","wouldAccept":1},{"rule":"ingress isolation","wouldDeny":0}])");
	EXPECT_EQ(rules("guard"), R"([{"rule":"ingress[0]","wouldDeny":1}])");
}

TEST_F(Count, TheLogNamesAll)
{
	policy("shop/p", R"("endpoints":["db"],"log":true,"ingress":[{"name":"dns","ports":[{"protocol":"UDP","port":53}]}])");
	EXPECT_TRUE(reaches("web", "db", 53, 4000));
	EXPECT_TRUE(reaches("web", "db", 53, 4000)); // established: not told again
	EXPECT_FALSE(reaches("web", "db", 54, 4001));
	auto e = events(2);
	ASSERT_EQ(e.size(), 2u);
	auto timeless = [](std::string s) {
		size_t at = s.find("\"time\":\"2");
		return at == std::string::npos ? s : s.substr(0, at) + s.substr(s.find("\",", at) + 2);
	};
	EXPECT_NE(timeless(e[0]), e[0]);
	EXPECT_EQ(timeless(e[0]), R"({"direction":"ingress","dryRun":false,"endpoint":"db","established":false,"event":"policy","from":"10.244.1.5","fromPort":4000,)"
				  R"("kind":"Policy","name":"shop/p","protocol":"UDP","rule":"ingress[0]","ruleName":"dns","to":"10.244.1.6","toPort":53,"verdict":"accept"})");
	EXPECT_EQ(timeless(e[1]), R"({"direction":"ingress","dryRun":false,"endpoint":"db","established":false,"event":"policy","from":"10.244.1.5","fromPort":4001,)"
				  R"("kind":"Policy","name":"shop/p","protocol":"UDP","rule":"ingress isolation","to":"10.244.1.6","toPort":54,"verdict":"deny"})");
}

TEST_F(Count, TheLogOfADryRunAndOfAnEstablishedConnection)
{
	policy("dry", R"("endpoints":["db"],"enforce":false,"log":true)");
	EXPECT_TRUE(reaches("web", "db", 53, 4000));
	policy("dry", R"("endpoints":["db"],"log":true)");
	EXPECT_FALSE(reaches("web", "db", 53, 4000));
	auto e = events(2);
	ASSERT_EQ(e.size(), 2u);
	EXPECT_NE(e[0].find("\"dryRun\":true"), std::string::npos) << e[0];
	EXPECT_NE(e[0].find("\"verdict\":\"deny\""), std::string::npos) << e[0];
	EXPECT_NE(e[1].find("\"dryRun\":false"), std::string::npos) << e[1];
	EXPECT_NE(e[1].find("\"established\":true"), std::string::npos) << e[1];
}

TEST_F(Count, TheLogShowsTheBackend)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Service","name":"db","network":"default","ips":["10.96.0.10"],"ports":[{"name":"m","protocol":"UDP","port":80,"targetPort":5432}],
		"backends":[{"ip":"10.244.1.6"}]})"))
		<< sw.error;
	policy("p", R"("endpoints":["web"],"log":true,"types":["Egress"])");
	sw.send("web", sw.to("web", "10.96.0.10").udp(4000, 80));
	auto e = events(1);
	ASSERT_EQ(e.size(), 1u);
	EXPECT_NE(e[0].find(R"("backend":"10.244.1.6","backendPort":5432)"), std::string::npos) << e[0];
	EXPECT_NE(e[0].find(R"("to":"10.96.0.10","toPort":80)"), std::string::npos) << e[0];
	EXPECT_NE(e[0].find(R"("direction":"egress")"), std::string::npos) << e[0];
}

TEST_F(Count, TooManyEventsAreLostAndCounted)
{
	policy("p", R"("endpoints":["db"],"log":true)");
	for (int i = 0; i < 2000; i++) {
		sw.give("web", sw.between("web", "db").udp(next++, 53).bytes());
		if (i % 16 == 0)
			sw.settle(2);
	}
	sw.settle();
	struct worker_counters n;
	workers_counters(&n);
	EXPECT_GT(n.events_lost, 1000u);
	EXPECT_LT(n.events_lost, 1900u);
	EXPECT_EQ(rules("p"), R"([{"rule":"ingress isolation","denied":2000}])");
	bool said = false;
	for (int i = 0; i < 100 && !said; i++) {
		for (auto &e : events(1))
			said |= e.find("policyLost") != std::string::npos;
		usleep(20000);
	}
	EXPECT_TRUE(said);
}
