// SPDX-License-Identifier: Apache-2.0
// The configuration changes under running traffic: all or nothing, and only for whom it concerns.
#include "switch.hpp"

using namespace weft;

struct Change : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
	}
};

TEST_F(Change, AnEndpointMovesToAnotherPort)
{
	sw.send("a", sw.between("a", "b").udp(1, 2));
	sw.take("b");
	sw.port("p2");
	ASSERT_TRUE(sw.apply("{\"kind\":\"Endpoint\",\"name\":\"b\",\"network\":\"default\",\"port\":\"p2\",\"mac\":\"02:00:00:00:01:06\","
			     "\"ips\":[\"10.244.1.6\"]}")) << sw.error;
	sw.send("a", sw.between("a", "b").udp(1, 2));
	EXPECT_TRUE(sw.nothing("b"));
	sw.take("p2");
}

TEST_F(Change, AnEndpointBeforeItsPortIsPending)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"Endpoint\",\"name\":\"late\",\"network\":\"default\",\"port\":\"late\",\"mac\":\"02:00:00:00:01:09\","
			     "\"ips\":[\"10.244.1.9\"]}")) << sw.error;
	sw.send("a", sw.to("a", "10.244.1.9").udp(1, 2));
	EXPECT_EQ(sw.drops("port_pending"), 1u);
	sw.port("late");
	sw.send("a", sw.to("a", "10.244.1.9").udp(1, 2));
	sw.take("late");
}

TEST_F(Change, ADeletedEndpointIsGoneAtOnce)
{
	sw.send("a", sw.between("a", "b").udp(1, 2));
	sw.take("b");
	ASSERT_TRUE(sw.remove("Endpoint", "b")) << sw.error;
	sw.send("a", sw.between("a", "b").udp(1, 2));
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops("no_route"), 1u);
	sw.give("b", sw.between("b", "a").udp(2, 1).bytes());
	sw.settle();
	EXPECT_EQ(sw.drops("no_endpoint"), 1u);
	sw.take_all("a");
}

TEST_F(Change, AMoreSpecificPrefixTakesOver)
{
	sw.pod("r", "10.244.1.9", ",\"prefixes\":[\"203.0.113.0/24\"]");
	sw.send("a", sw.to("a", "203.0.113.5").udp(1, 2));
	sw.take("r");
	sw.pod("s", "10.244.1.10", ",\"prefixes\":[\"203.0.113.4/30\"]");
	sw.send("a", sw.to("a", "203.0.113.5").udp(1, 2));
	EXPECT_TRUE(sw.nothing("r"));
	sw.take("s");
	ASSERT_TRUE(sw.remove("Endpoint", "s"));
	sw.send("a", sw.to("a", "203.0.113.5").udp(1, 2));
	sw.take("r");
}

TEST_F(Change, ABadBatchChangesNothing)
{
	std::string batch;
	for (int i = 0; i < 1000; i++) {
		std::string n = std::to_string(i);
		int port = i == 777 ? 70000 : 80;
		batch += (i ? "," : "") + std::string("{\"kind\":\"Service\",\"name\":\"s") + n + "\",\"network\":\"default\",\"ips\":[\"10.96." +
			 std::to_string(i / 250) + "." + std::to_string(i % 250 + 1) + "\"],\"ports\":[{\"name\":\"p\",\"protocol\":\"TCP\",\"port\":" +
			 std::to_string(port) + "}],\"backends\":[]}";
	}
	EXPECT_FALSE(sw.apply(batch));
	EXPECT_NE(sw.error.find("objects[777].ports[0].port"), std::string::npos) << sw.error;
	json_t *r = sw.call("list", "{\"kind\":\"Service\"}");
	ASSERT_NE(r, nullptr);
	EXPECT_EQ(json_array_size(json_object_get(r, "objects")), 0u);
	json_decref(r);
	sw.send("a", sw.between("a", "b").udp(1, 2));
	sw.take("b");
}

TEST_F(Change, ReapplyingTheSameChangesNothing)
{
	json_t *r = sw.call("status", "{}");
	json_int_t before = json_integer_value(json_object_get(r, "epoch"));
	json_decref(r);
	sw.network();
	r = sw.call("status", "{}");
	EXPECT_EQ(json_integer_value(json_object_get(r, "epoch")), before);
	json_decref(r);
}

TEST_F(Change, WhatIsUsedCannotBeDeletedAlone)
{
	EXPECT_FALSE(sw.remove("Port", "a"));
	EXPECT_FALSE(sw.remove("Network", "default"));
	json_t *r = sw.call("delete", "{\"objects\":[{\"kind\":\"Endpoint\",\"name\":\"a\"},{\"kind\":\"Port\",\"name\":\"a\"}]}");
	EXPECT_NE(r, nullptr) << sw.error;
	json_decref(r);
}

TEST_F(Change, PortsComeAndGoAThousandTimes)
{
	for (int i = 0; i < 1000; i++) {
		ASSERT_TRUE(sw.apply("{\"kind\":\"Port\",\"name\":\"t\",\"type\":\"test\"},{\"kind\":\"Endpoint\",\"name\":\"t\",\"network\":\"default\","
				     "\"port\":\"t\",\"mac\":\"02:00:00:00:01:63\",\"ips\":[\"10.244.1.99\"]}")) << sw.error;
		if (i % 50 == 0) {
			sw.send("a", sw.to("a", "10.244.1.99").udp((uint16_t)i, 2));
			sw.take("t");
		}
		json_t *r = sw.call("delete", "{\"objects\":[{\"kind\":\"Endpoint\",\"name\":\"t\"},{\"kind\":\"Port\",\"name\":\"t\"}]}");
		ASSERT_NE(r, nullptr) << sw.error;
		json_decref(r);
	}
}

// Long lists are patched entry by entry, past the object as a whole (mgmt/patch_long.c).
static std::string long_list(const std::string &before, const std::string &after)
{
	std::string out;
	for (int i = 0; i < 2000; i++)
		out += (i > 0 ? "," : "") + before + "172.16." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1) + after;
	return out;
}

TEST_F(Change, APatchOfALongSetIsInForceForTheNextPacket)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"AddressSet","name":"s","network":"default","members":[)" + long_list("\"", "\"") + "]}," +
			     R"({"kind":"Policy","name":"p","network":"default","endpoints":["b"],"ingress":[{"name":"r","from":[{"set":"s"}]}]})"));
	auto passes = [&] {
		sw.send("a", sw.between("a", "b").udp(1000, 53));
		return sw.take_all("b").size() == 1;
	};
	EXPECT_FALSE(passes());
	for (int round = 0; round < 3; round++) {
		json_decref(sw.call("patch", R"({"kind":"AddressSet","name":"s","add":{"members":["10.244.1.5"]},"remove":{"members":["172.16.0.7"]}})"));
		EXPECT_TRUE(passes()) << sw.error;
		json_decref(sw.call("patch", R"({"kind":"AddressSet","name":"s","remove":{"members":["10.244.1.5/32"]},"add":{"members":["172.16.0.7"]}})"));
		EXPECT_FALSE(passes()) << sw.error; // the connection that it opened ends, too
	}
	ASSERT_TRUE(sw.apply(R"({"kind":"AddressSet","name":"s","network":"default","members":["10.244.1.0/24"]})"));
	EXPECT_TRUE(passes());
}

TEST_F(Change, APatchOfALongPolicyIsInForceForTheNextPacket)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"AddressSet","name":"late","network":"default","members":["10.244.1.0/24"]},)"
			     R"({"kind":"Policy","name":"p","network":"default","endpoints":["b"],"ingress":[)" +
			     long_list(R"({"from":[{"cidr":")", "/32\"}]}") + R"(,{"name":"last","from":[{"cidr":"192.0.2.0/24"}]}]})"));
	auto passes = [&] {
		sw.send("a", sw.between("a", "b").udp(1000, 53));
		return sw.take_all("b").size() == 1;
	};
	auto patch = [&](const std::string &what) { json_decref(sw.call("patch", R"({"kind":"Policy","name":"p",)" + what + "}")); };
	EXPECT_FALSE(passes());
	patch(R"("add":{"ingress":[{"name":"x","from":[{"set":"late"}]}]})");
	EXPECT_TRUE(passes()) << sw.error;
	// Who uses a set is known, though the rule came by itself.
	EXPECT_FALSE(sw.remove("AddressSet", "late"));
	EXPECT_NE(sw.error.find("is used by Policy \"p\""), std::string::npos) << sw.error;
	patch(R"("remove":{"ingress":["last"]},"add":{"ingress":[{"name":"x","from":[{"set":"late"}],"ports":[{"protocol":"TCP","port":80}]}]})");
	EXPECT_FALSE(passes()) << sw.error;
	patch(R"("add":{"ingress":[{"name":"y","from":[{"cidr":"10.244.1.5/32"}]}]})");
	EXPECT_TRUE(passes()) << sw.error;
	patch(R"("remove":{"ingress":["x","y"]})");
	EXPECT_FALSE(passes()) << sw.error;
	EXPECT_TRUE(sw.remove("AddressSet", "late")) << sw.error;
}

TEST_F(Change, WhatIsInUseIsSaidOnce)
{
	EXPECT_FALSE(sw.remove("Network", "default"));
	EXPECT_EQ(sw.error.substr(0, sw.error.size() - 2), "Network \"default\" is used by Endpoint \"");
}

TEST_F(Change, AnEndpointGoesThoughAPolicyNamesItAndItsSuccessorIsUnderIt)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\",\"endpoints\":[\"b\"],\"types\":[\"Ingress\"]}"))
		<< sw.error;
	ASSERT_TRUE(sw.remove("Endpoint", "b")) << sw.error;
	ASSERT_TRUE(sw.apply("{\"kind\":\"Endpoint\",\"name\":\"b\",\"network\":\"default\",\"port\":\"b\",\"mac\":\"02:00:00:00:01:06\","
			     "\"ips\":[\"10.244.1.6\"]}")) << sw.error;
	sw.send("a", sw.between("a", "b").udp(1, 2));
	EXPECT_TRUE(sw.nothing("b"));
	EXPECT_EQ(sw.drops_text(), "policy_ingress=1 ");
}
