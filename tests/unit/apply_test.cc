// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mgmt_fake.hpp"

namespace
{

const std::string network = R"({"kind":"Network","name":"default","vni":100})";
const std::string node = R"({"kind":"Node","name":"n1","self":true,"ips":["192.0.2.1"]})";

std::string
endpoint(const std::string &name, const std::string &ip = "10.244.1.5", const std::string &more = "")
{
	return R"({"kind":"Endpoint","name":")" + name +
	       R"(","network":"default","port":"p","mac":"02:00:00:00:00:05","ips":[")" + ip + "\"]" + more + "}";
}

std::string
set_of(const std::string &name, const std::string &members)
{
	return R"({"kind":"AddressSet","name":")" + name + R"(","network":"default","members":[)" + members + "]}";
}

std::string
answer(int epoch, int applied, int unchanged, int deleted)
{
	return "{\"epoch\":" + std::to_string(epoch) + ",\"applied\":" + std::to_string(applied) +
	       ",\"unchanged\":" + std::to_string(unchanged) + ",\"deleted\":" + std::to_string(deleted) + "}";
}

class Apply : public fake::Manager
{
};

TEST_F(Apply, PutsObjectsInTheOrderOfKinds)
{
	EXPECT_EQ(apply(set_of("a", "") + "," + endpoint("e") + "," + node + "," + network), answer(1, 4, 0, 0));
	EXPECT_EQ(state.log, (std::vector<std::string>{"put n1", "put default", "put e", "put a", "publish", "wait"}));
	EXPECT_TRUE(state.has(KIND_ENDPOINT, "e"));
}

TEST_F(Apply, TheSameAgainChangesNothing)
{
	std::string batch = network + "," + endpoint("e");
	EXPECT_EQ(apply(batch), answer(1, 2, 0, 0));
	state.log.clear();
	EXPECT_EQ(apply(batch), answer(1, 0, 2, 0));
	// The order of members is no difference.
	EXPECT_EQ(apply(R"({"vni":100,"name":"default","kind":"Network"})"), answer(1, 0, 1, 0));
	EXPECT_TRUE(state.log.empty());
	EXPECT_EQ(apply(network + "," + endpoint("e", "10.244.1.6")), answer(2, 1, 1, 0));
	EXPECT_EQ(state.log, (std::vector<std::string>{"put e", "publish", "wait"}));
}

TEST_F(Apply, WhatGetShowsCanBeAppliedAgain)
{
	apply(network + "," + endpoint("e"));
	json_t *shown = call("get", R"({"kind":"Endpoint","name":"e"})");
	json_t *params = json_pack("{s:[O]}", "objects", json_object_get(shown, "object"));
	json_t *out = mgmt_call(m, MGMT_OPERATOR, "apply", params, &rpc);
	EXPECT_EQ(json_integer_value(json_object_get(out, "unchanged")), 1) << rpc.message;
	json_decref(out);
	json_decref(params);
	json_decref(shown);
}

TEST_F(Apply, AnEmptyBatchIsFine)
{
	EXPECT_EQ(apply(""), answer(0, 0, 0, 0));
}

TEST_F(Apply, GenerationsCountAnObjectsChanges)
{
	apply(network + "," + endpoint("e"));
	apply(endpoint("e", "10.244.1.6"));
	EXPECT_EQ(value("get", R"({"kind":"Endpoint","name":"e"})", {"object", "status", "generation"}), "2");
	EXPECT_EQ(value("get", R"({"kind":"Endpoint","name":"e"})", {"object", "status", "epoch"}), "2");
	EXPECT_EQ(value("get", R"({"kind":"Network","name":"default"})", {"object", "status", "generation"}), "1");
	EXPECT_EQ(value("get", R"({"kind":"Network","name":"default"})", {"object", "status", "epoch"}), "1");
}

TEST_F(Apply, OneBadFieldAmongAThousandChangesNothingAndIsNamed)
{
	std::string batch = network;
	for (int i = 1; i < 1000; i++)
		batch += "," + endpoint("e" + std::to_string(i), i == 777 ? "10.244.1" : "10.244.1.5");
	EXPECT_EQ(apply(batch), "-32602 objects[777].ips[0]: \"10.244.1\" is not an IP address");
	EXPECT_TRUE(state.now.empty());
	EXPECT_TRUE(state.log.empty());
	EXPECT_EQ(value("status", "{}", {"epoch"}), "0");
	EXPECT_EQ(value("status", "{}", {"objects", "Endpoint"}), "0");
}

TEST_F(Apply, RefusalsOfObjects)
{
	EXPECT_EQ(apply("{}"), "-32602 objects[0].kind: is required");
	EXPECT_EQ(apply(node + ",5"), "-32602 objects[1]: must be an object, not a number");
	EXPECT_EQ(apply(R"({"kind":"Pod","name":"x"})").substr(0, 48),
		  "-32602 objects[0].kind: \"Pod\" is not one of Node");
	EXPECT_EQ(apply(R"({"kind":"Node","ips":[]})"), "-32602 objects[0].name: is required");
	EXPECT_EQ(apply(R"({"kind":"Node","name":"a b","ips":[]})").substr(0, 23), "-32602 objects[0].name:");
	EXPECT_EQ(apply(R"({"kind":"Node","name":"a","ips":[],"owner":""})"),
		  "-32602 objects[0].owner: must not be empty");
	EXPECT_EQ(apply(R"({"kind":"Network","name":"n","mode":"l4"})"),
		  "-32602 objects[0].mode: \"l4\" is not one of l3, l2");
	EXPECT_EQ(apply(R"({"kind":"Network","name":"n","mod":"l3"})"),
		  "-32602 objects[0].mod: unknown field; did you mean \"mode\"?");
	EXPECT_EQ(apply(node + "," + network + "," + node), "-32602 objects[2]: Node n1 is objects[0] already");
	EXPECT_TRUE(state.log.empty());
}

TEST_F(Apply, RefusalsOfParameters)
{
	EXPECT_EQ(ask("apply", "{}"), "-32602 objects: is required");
	EXPECT_EQ(ask("apply", R"({"objects":{}})"), "-32602 objects: must be a list, not an object");
	EXPECT_EQ(ask("apply", R"({"object":[]})"), "-32602 object: unknown field; did you mean \"objects\"?");
	EXPECT_EQ(ask("apply", "[]"), "-32602 must be an object, not a list");
	EXPECT_EQ(apply("", R"(,"prune":true)"), "-32602 owner: is required with prune");
	EXPECT_EQ(apply("", R"(,"prune":1)"), "-32602 prune: must be true or false, not a number");
	EXPECT_EQ(mgmt_call(m, MGMT_ADMIN, "apply", nullptr, &rpc), nullptr);
	EXPECT_STREQ(rpc.message, "objects: is required");
}

TEST_F(Apply, WhatConfigRefusesLeavesEverything)
{
	apply(network + "," + endpoint("e"));
	state.fail_put["f"] = {-ENOENT, "no network \"x\""};
	EXPECT_EQ(apply(endpoint("e", "10.244.1.9") + "," + endpoint("f")),
		  "-32000 objects[1].network: no network \"x\"");
	EXPECT_EQ(state.log.back(), "abort");
	EXPECT_FALSE(state.has(KIND_ENDPOINT, "f"));
	EXPECT_EQ(value("get", R"({"kind":"Endpoint","name":"e"})", {"object", "ips", "0"}), "\"10.244.1.5\"");
	state.fail_put["f"] = {-EINVAL, "must not be so"};
	EXPECT_EQ(apply(endpoint("f")), "-32602 objects[0].network: must not be so");
	state.fail_put.clear();
	EXPECT_EQ(apply(endpoint("f")), answer(2, 1, 0, 0));
}

TEST_F(Apply, WhatTheWholeBatchIsBlamedForIsFoundInIt)
{
	apply(network);
	state.fail_check = "is the address of Endpoint \"e\"";
	state.has_culprit = true;
	state.culprit = {KIND_ENDPOINT, "f"};
	EXPECT_EQ(apply(node + "," + endpoint("f")), "-32000 objects[1].ips[0]: is the address of Endpoint \"e\"");
	state.culprit = {KIND_ENDPOINT, "other"};
	EXPECT_EQ(apply(node), "-32000 Endpoint other.ips[0]: is the address of Endpoint \"e\"");
	state.has_culprit = false;
	EXPECT_EQ(apply(node), "-32000 ips[0]: is the address of Endpoint \"e\"");
	EXPECT_EQ(state.now.size(), 1u);
}

TEST_F(Apply, AStaleWriterIsRefused)
{
	apply(network);
	EXPECT_EQ(apply(node, R"(,"ifEpoch":0)"),
		  "-32002 ifEpoch: the epoch is 1, not 0: something has changed in between");
	EXPECT_EQ(apply(node, R"(,"ifEpoch":1)"), answer(2, 1, 0, 0));
	EXPECT_EQ(ask("delete", R"({"kind":"Node","name":"n1","ifEpoch":1})").substr(0, 6), "-32002");
	EXPECT_EQ(ask("patch", R"({"kind":"Node","name":"n1","ifEpoch":1})").substr(0, 6), "-32002");
}

TEST_F(Apply, ADryRunSaysAndLeaves)
{
	apply(network);
	state.log.clear();
	EXPECT_EQ(apply(endpoint("e"), R"(,"dryRun":true)"),
		  R"({"epoch":1,"applied":1,"unchanged":0,"deleted":0,"dryRun":true})");
	EXPECT_EQ(state.log, (std::vector<std::string>{"put e", "abort"}));
	state.fail_check = "clash";
	EXPECT_EQ(apply(endpoint("e"), R"(,"dryRun":true)"), "-32000 ips[0]: clash");
	EXPECT_FALSE(state.has(KIND_ENDPOINT, "e"));
	EXPECT_EQ(ask("get", R"({"kind":"Endpoint","name":"e"})"), "-32001 there is no Endpoint e");
}

TEST_F(Apply, PruneRemovesWhatItsOwnerNoLongerNames)
{
	apply(network + "," + node);
	EXPECT_EQ(apply(endpoint("a") + "," + endpoint("b") + "," + set_of("s", ""), R"(,"owner":"cni")"),
		  answer(2, 3, 0, 0));
	apply(endpoint("c"), R"(,"owner":"agent")");
	state.log.clear();
	EXPECT_EQ(apply(endpoint("b") + "," + endpoint("d"), R"(,"owner":"cni","prune":true)"), answer(4, 1, 1, 2));
	EXPECT_EQ(state.log, (std::vector<std::string>{"remove s", "remove a", "put d", "publish", "wait"}));
	EXPECT_TRUE(state.has(KIND_ENDPOINT, "c"));
	EXPECT_TRUE(state.has(KIND_NETWORK, "default"));
	EXPECT_EQ(apply("", R"(,"owner":"cni","prune":true)"), answer(5, 0, 0, 2));
	EXPECT_EQ(apply("", R"(,"owner":"cni","prune":true)"), answer(5, 0, 0, 0));
}

TEST_F(Apply, AnObjectMayNameItsOwner)
{
	std::string mine = endpoint("a", "10.244.1.5", R"(,"owner":"agent")");
	apply(network + "," + mine, R"(,"owner":"cni")");
	EXPECT_EQ(value("get", R"({"kind":"Endpoint","name":"a"})", {"object", "owner"}), "\"agent\"");
	EXPECT_EQ(value("get", R"({"kind":"Network","name":"default"})", {"object", "owner"}), "\"cni\"");
	// Another owner of the same spec is a change.
	EXPECT_EQ(apply(endpoint("a", "10.244.1.5", R"(,"owner":"cni")")), answer(2, 1, 0, 0));
	EXPECT_EQ(apply(endpoint("a")), answer(3, 1, 0, 0));
	EXPECT_EQ(value("get", R"({"kind":"Endpoint","name":"a"})", {"object", "owner"}), "nothing");
}

TEST_F(Apply, DeleteIsAllOrNothing)
{
	apply(network + "," + endpoint("a") + "," + endpoint("b"));
	EXPECT_EQ(ask("delete", R"({"kind":"Network","name":"default"})"),
		  "-32000 Network \"default\" is used by Endpoint \"a\"");
	EXPECT_EQ(ask("delete", R"({"objects":[{"kind":"Endpoint","name":"a"},{"kind":"Endpoint","name":"x"}]})"),
		  "-32001 objects[1]: there is no Endpoint x");
	EXPECT_TRUE(state.has(KIND_ENDPOINT, "a"));
	EXPECT_EQ(ask("delete", R"({"objects":[{"kind":"Endpoint","name":"a"},{"kind":"Endpoint","name":"a"}]})"),
		  "-32602 objects[1]: Endpoint a is objects[0] already");
	EXPECT_EQ(ask("delete", R"({"kind":"Endpoint","name":"b"})"), answer(2, 0, 0, 1));
	EXPECT_EQ(ask("delete", R"({"objects":[{"kind":"Network","name":"default"},{"kind":"Endpoint","name":"a"}]})"),
		  answer(3, 0, 0, 2));
	EXPECT_TRUE(state.now.empty());
	EXPECT_EQ(ask("delete", R"({"kind":"Endpoint","name":"b"})"), "-32001 there is no Endpoint b");
	for (const char *bad :
	     {"{}", R"({"kind":"Node"})", R"({"name":"a"})", R"({"kind":"Node","name":"a","objects":[]})"})
		EXPECT_EQ(ask("delete", bad), "-32602 must have either kind and name, or objects") << bad;
}

TEST_F(Apply, EventsTellEveryChange)
{
	std::vector<std::string> events;
	auto note = [](json_t *event, void *arg) {
		char *text = json_dumps(event, JSON_COMPACT);
		static_cast<std::vector<std::string> *>(arg)->push_back(text);
		free(text);
	};
	mgmt_on_event(m, note, &events);
	apply(network + "," + endpoint("e"));
	apply(network + "," + endpoint("e"));
	ask("delete", R"({"kind":"Endpoint","name":"e"})");
	mgmt_port_event(m, "web-0", true);
	mgmt_port_event(nullptr, "web-0", true);
	EXPECT_EQ(events, (std::vector<std::string>{
				  R"({"event":"applied","kind":"Network","name":"default","epoch":1,"generation":1})",
				  R"({"event":"applied","kind":"Endpoint","name":"e","epoch":1,"generation":1})",
				  R"({"event":"deleted","kind":"Endpoint","name":"e","epoch":2})",
				  R"({"event":"port","kind":"Port","name":"web-0","up":true,"epoch":2})",
			  }));
	mgmt_on_event(m, nullptr, nullptr);
	apply(node);
	EXPECT_EQ(events.size(), 4u);
}

TEST_F(Apply, OldSpecsLiveUntilNobodyLooks)
{
	apply(network + "," + endpoint("e"));
	const union spec *old = state.now[{KIND_ENDPOINT, "e"}].spec;
	apply(endpoint("e", "10.244.1.6"));
	EXPECT_STREQ(old->endpoint.network, "default"); // a worker still holds the root of before
	state.forget();
	EXPECT_NE(state.now[(fake::Key{KIND_ENDPOINT, "e"})].spec, old);
}

TEST_F(Apply, ASlowWorkerIsReported)
{
	state.fail_wait = -ETIMEDOUT;
	EXPECT_EQ(apply(network), "-32005 it is done, as epoch 1, but a worker has not passed it within 5 s");
	EXPECT_TRUE(state.has(KIND_NETWORK, "default"));
	state.fail_wait = 0;
	EXPECT_EQ(apply(network), answer(1, 0, 1, 0));
}

TEST_F(Apply, RolesAreKept)
{
	EXPECT_EQ(ask("apply", R"({"objects":[]})", MGMT_READ_ONLY), "-32003 apply: your role does not allow it");
	EXPECT_EQ(ask("delete", R"({"objects":[]})", MGMT_READ_ONLY), "-32003 delete: your role does not allow it");
	EXPECT_EQ(ask("status", "{}", MGMT_NOBODY), "-32003 status: your role does not allow it");
	EXPECT_EQ(ask("apply", R"({"objects":[]})", MGMT_OPERATOR), answer(0, 0, 0, 0));
	EXPECT_TRUE(mgmt_builds("apply") && mgmt_builds("patch") && mgmt_builds("delete"));
	EXPECT_FALSE(mgmt_builds("get") || mgmt_builds("status") || mgmt_builds("nothing"));
}

// --- patch ---

class Patch : public fake::Manager
{
      protected:
	void
	SetUp() override
	{
		Manager::SetUp();
		apply(network + "," + set_of("s", R"("10.0.0.1","10.0.0.0/8","fd00::1")") +
		      R"(,{"kind":"Service","name":"v","network":"default","ips":["10.96.0.1"],"ports":[{"name":"http","port":80}],
			"backends":[{"ip":"10.244.1.5"},{"ip":"10.244.1.6","weight":2}]})");
	}

	std::string
	patch(const std::string &kind, const std::string &name, const std::string &what)
	{
		return ask("patch", "{\"kind\":\"" + kind + "\",\"name\":\"" + name + "\"," + what + "}");
	}

	std::string
	field(const char *kind, const char *name, const char *field)
	{
		return value("get", std::string("{\"kind\":\"") + kind + "\",\"name\":\"" + name + "\"}",
			     {"object", field});
	}
};

TEST_F(Patch, AddsAndRemovesMembers)
{
	EXPECT_EQ(patch("AddressSet", "s", R"("add":{"members":["10.0.0.2"]},"remove":{"members":["10.0.0.0/8"]})"),
		  answer(2, 1, 0, 0));
	EXPECT_EQ(field("AddressSet", "s", "members"), R"(["10.0.0.1","fd00::1","10.0.0.2"])");
	// The same again does no harm.
	EXPECT_EQ(patch("AddressSet", "s", R"("add":{"members":["10.0.0.2"]},"remove":{"members":["10.0.0.0/8"]})"),
		  answer(2, 0, 1, 0));
	// One address has many spellings.
	EXPECT_EQ(patch("AddressSet", "s", R"("add":{"members":["10.0.0.2/32","FD00:0::1"]})"), answer(2, 0, 1, 0));
	EXPECT_EQ(patch("AddressSet", "s", R"("remove":{"members":["10.0.0.2/32","FD00:0::1"]})"), answer(3, 1, 0, 0));
	EXPECT_EQ(field("AddressSet", "s", "members"), R"(["10.0.0.1"])");
	EXPECT_EQ(state.now[(fake::Key{KIND_ADDRESS_SET, "s"})].spec->address_set.members.n, 1u);
}

TEST_F(Patch, KnowsBackendsByTheirAddress)
{
	EXPECT_EQ(
		patch("Service", "v",
		      R"("add":{"backends":[{"ip":"10.244.1.7","ports":{"http":8080}},{"ip":"10.244.1.5","weight":9}]})"),
		answer(2, 1, 0, 0));
	EXPECT_EQ(
		field("Service", "v", "backends"),
		R"([{"ip":"10.244.1.5","weight":9},{"ip":"10.244.1.6","weight":2},{"ip":"10.244.1.7","ports":{"http":8080}}])");
	EXPECT_EQ(patch("Service", "v", R"("remove":{"backends":["10.244.1.5",{"ip":"10.244.1.7"}]})"),
		  answer(3, 1, 0, 0));
	EXPECT_EQ(field("Service", "v", "backends"), R"([{"ip":"10.244.1.6","weight":2}])");
}

TEST_F(Patch, SetsAndTakesAwayFields)
{
	EXPECT_EQ(patch("Service", "v", R"("set":{"sessionAffinitySeconds":30,"owner":"agent"})"), answer(2, 1, 0, 0));
	EXPECT_EQ(field("Service", "v", "sessionAffinitySeconds"), "30");
	EXPECT_EQ(field("Service", "v", "owner"), "\"agent\"");
	EXPECT_EQ(patch("Service", "v", R"("set":{"sessionAffinitySeconds":null})"), answer(3, 1, 0, 0));
	EXPECT_EQ(field("Service", "v", "sessionAffinitySeconds"), "nothing");
	EXPECT_EQ(field("Service", "v", "owner"), "\"agent\"");
}

TEST_F(Patch, ListsThatWereAbsentAreMade)
{
	EXPECT_EQ(patch("Network", "default", R"("add":{"subnets":[{"prefix":"10.244.1.0/24"}]})"), answer(2, 1, 0, 0));
	EXPECT_EQ(field("Network", "default", "subnets"), R"([{"prefix":"10.244.1.0/24"}])");
	EXPECT_EQ(patch("Network", "default", R"("remove":{"uplinks":["u"]})"), answer(2, 0, 1, 0));
	EXPECT_EQ(field("Network", "default", "uplinks"), "nothing");
}

TEST_F(Patch, KnowsRulesByTheirName)
{
	apply(R"({"kind":"Policy","name":"p","network":"default","ingress":[{"name":"a"},{"name":"b"}]})");
	EXPECT_EQ(patch("Policy", "p",
			R"("add":{"ingress":[{"name":"c","from":[{"set":"s"}]}]},"remove":{"ingress":["a"]})"),
		  answer(3, 1, 0, 0));
	EXPECT_EQ(field("Policy", "p", "ingress"), R"([{"name":"b"},{"name":"c","from":[{"set":"s"}]}])");
	EXPECT_EQ(patch("Policy", "p", R"("add":{"ingress":[{"from":[{"set":"s"}]}]})"),
		  "-32602 add.ingress[0].name: is required, or the entry could not be found again");
}

TEST_F(Patch, RefusalsSayWhere)
{
	EXPECT_EQ(patch("Service", "x", R"("set":{})"), "-32001 there is no Service x");
	EXPECT_EQ(patch("Service", "v", R"("add":{"backends":[{"ip":"10.244.1.7","weight":1001}]})"),
		  "-32602 add.backends[0].weight: 1001 is not in 0..1000");
	EXPECT_EQ(patch("Service", "v", R"("add":{"backend":[]})"), "-32602 add.backend: Service has no such field");
	EXPECT_EQ(patch("Service", "v", R"("add":{"sessionAffinitySeconds":[1]})"),
		  "-32602 add.sessionAffinitySeconds: is not a list that entries can be added to; use \"set\"");
	EXPECT_EQ(patch("Service", "v", R"("add":{"backends":{}})"),
		  "-32602 add.backends: must be a list, not an object");
	EXPECT_EQ(patch("Service", "v", R"("add":[])"), "-32602 add: must be an object, not a list");
	EXPECT_EQ(patch("Service", "v", R"("remove":{"backends":[5.5]})"),
		  "-32602 remove.backends[0]: must be an entry's ip, or an object that has one");
	EXPECT_EQ(patch("Service", "v", R"("set":{"name":"w"})"), "-32602 set.name: an object keeps its name");
	EXPECT_EQ(patch("Service", "v", R"("set":{"kind":"Node"})"), "-32602 set.kind: an object keeps its kind");
	EXPECT_EQ(patch("Service", "v", R"("set":{"colour":1})"), "-32602 set.colour: Service has no such field");
	EXPECT_EQ(patch("Service", "v", R"("set":{"onBackendGone":"explode"})"),
		  "-32602 onBackendGone: \"explode\" is not one of reset, timeout");
	EXPECT_EQ(patch("Service", "v", R"("remove":{"ports":["http"]})"), "-32602 ports: needs at least 1 entry");
	EXPECT_EQ(value("status", "{}", {"epoch"}), "1");
}

// --- what is kept ---

class Kept : public fake::Manager
{
      protected:
	std::string dir;

	void
	SetUp() override
	{
		char text[] = "/tmp/weft-apply-XXXXXX";
		ASSERT_NE(mkdtemp(text), nullptr);
		dir = text;
		state_dir = dir.c_str();
		ASSERT_EQ(start(), 0) << error.text;
	}

	void
	TearDown() override
	{
		stop();
		for (const char *name : {"/objects.db", "/objects.db-wal"})
			unlink((dir + name).c_str());
		ASSERT_EQ(rmdir(dir.c_str()), 0);
	}

	// As a new process would find it.
	int
	restart()
	{
		stop();
		EXPECT_TRUE(state.now.empty());
		return start();
	}

	void
	sql(const char *text)
	{
		sqlite3 *db;
		ASSERT_EQ(sqlite3_open((dir + "/objects.db").c_str(), &db), SQLITE_OK);
		ASSERT_EQ(sqlite3_exec(db, text, nullptr, nullptr, nullptr), SQLITE_OK);
		sqlite3_close(db);
	}
};

const std::string test_port = R"({"kind":"Port","name":"p","type":"vhost-user","socket":"p.sock"})";

TEST_F(Kept, ARestartFindsEverything)
{
	apply(network + "," + node + "," + test_port, R"(,"owner":"agent")");
	apply(endpoint("e"));
	apply(endpoint("e", "10.244.1.6"));
	ask("delete", R"({"kind":"Node","name":"n1"})");
	ASSERT_EQ(restart(), 0) << error.text;
	EXPECT_EQ(value("status", "{}", {"epoch"}), "4");
	EXPECT_TRUE(state.has(KIND_NETWORK, "default"));
	EXPECT_FALSE(state.has(KIND_NODE, "n1"));
	EXPECT_EQ(std::string(state.ports[0]->name), "p");
	EXPECT_EQ(value("get", R"({"kind":"Network","name":"default"})", {"object", "owner"}), "\"agent\"");
	EXPECT_EQ(value("get", R"({"kind":"Endpoint","name":"e"})", {"object", "status", "generation"}), "2");
	EXPECT_EQ(value("get", R"({"kind":"Endpoint","name":"e"})", {"object", "status", "epoch"}), "3");
	// What was applied is still there: the next change counts on.
	EXPECT_EQ(apply(network, R"(,"owner":"agent")"), answer(4, 0, 1, 0));
	EXPECT_EQ(apply(node), answer(5, 1, 0, 0));
}

TEST_F(Kept, WhatFailedIsNotKept)
{
	apply(network);
	state.fail_check = "no";
	apply(endpoint("e"));
	state.fail_check = "";
	apply(endpoint("f"), R"(,"dryRun":true)");
	ASSERT_EQ(restart(), 0);
	EXPECT_EQ(state.now.size(), 1u);
	EXPECT_EQ(value("status", "{}", {"epoch"}), "1");
}

TEST_F(Kept, WhatCannotBeStoredIsNotPublished)
{
	apply(network);
	// As a full disk does: the next write fails.
	stop();
	sql("CREATE TRIGGER full BEFORE INSERT ON objects WHEN NEW.name = 'e' BEGIN SELECT RAISE(ABORT, 'no room'); "
	    "END");
	ASSERT_EQ(start(), 0);
	state.log.clear();
	EXPECT_EQ(apply(node + "," + test_port + "," + endpoint("e")), "-32603 " + dir + "/objects.db: no room");
	EXPECT_EQ(std::count(state.log.begin(), state.log.end(), "publish"), 0);
	EXPECT_TRUE(state.ports.empty());
	EXPECT_FALSE(state.has(KIND_NODE, "n1"));
	EXPECT_EQ(apply(node), answer(2, 1, 0, 0));
}

TEST_F(Kept, APortThatCannotBeOpenedAtRestartIsNoReasonNotToStart)
{
	apply(network + "," + test_port + R"(,{"kind":"Port","name":"q","type":"memif","socket":"q.sock"},)" +
	      endpoint("e"));
	state.fail_open["p"] = {-EACCES, "permission denied"};
	ASSERT_EQ(restart(), 0) << error.text;
	EXPECT_EQ(state.ports.size(), 1u);
	EXPECT_FALSE(state.has(KIND_PORT, "p"));
	EXPECT_TRUE(state.has(KIND_PORT, "q"));
	EXPECT_TRUE(state.has(KIND_ENDPOINT, "e"));
	EXPECT_EQ(phase("Port", "p"), "\"failed\"");
	EXPECT_EQ(value("get", R"({"kind":"Port","name":"p"})", {"object", "status", "message"}),
		  "\"socket: permission denied\"");
	EXPECT_EQ(phase("Port", "q"), "\"ready\"");
	// Applied again, it is tried again.
	EXPECT_EQ(apply(test_port), "-32000 objects[0].socket: permission denied");
	state.fail_open.clear();
	EXPECT_EQ(apply(test_port), answer(2, 1, 0, 0));
	EXPECT_EQ(phase("Port", "p"), "\"ready\"");
	EXPECT_EQ(apply(test_port), answer(2, 0, 1, 0));
}

TEST_F(Kept, AFailedPortCanBeDeleted)
{
	apply(test_port);
	state.fail_open["p"] = {-EACCES, "permission denied"};
	ASSERT_EQ(restart(), 0);
	EXPECT_EQ(ask("delete", R"({"kind":"Port","name":"p"})"), answer(2, 0, 0, 1));
	ASSERT_EQ(restart(), 0);
	EXPECT_EQ(value("status", "{}", {"objects", "Port"}), "0");
}

TEST_F(Kept, AfterARebootEndpointsStayClosedUntilAppliedAgain)
{
	apply(network + "," + endpoint("e") + "," + endpoint("f"));
	stop();
	sql("UPDATE meta SET boot = 'an earlier one'");
	ASSERT_EQ(start(), 0) << error.text;
	EXPECT_FALSE(state.has(KIND_ENDPOINT, "e"));
	EXPECT_EQ(phase("Endpoint", "e"), "\"closed\"");
	EXPECT_EQ(phase("Network", "default"), "\"ready\"");
	EXPECT_EQ(apply(network + "," + endpoint("e")), answer(2, 1, 1, 0));
	EXPECT_TRUE(state.has(KIND_ENDPOINT, "e"));
	EXPECT_FALSE(state.has(KIND_ENDPOINT, "f"));
	EXPECT_EQ(phase("Endpoint", "e"), "\"ready\"");
	ASSERT_EQ(restart(), 0);
	EXPECT_EQ(phase("Endpoint", "e"), "\"ready\"");
	EXPECT_EQ(phase("Endpoint", "f"), "\"closed\"");
	EXPECT_EQ(ask("delete", R"({"kind":"Endpoint","name":"f"})"), answer(3, 0, 0, 1));
}

TEST_F(Kept, WhatIsStoredButWrongIsRefusedByName)
{
	apply(network + "," + endpoint("e"));
	state.fail_put["e"] = {-ENOENT, "no network"};
	EXPECT_EQ(restart(), -ENOENT);
	EXPECT_EQ(std::string(error.text),
		  dir + "/objects.db: what is stored cannot be put in force: Endpoint e.network: no network");
	EXPECT_TRUE(state.now.empty());
	state.fail_put.clear();
	ASSERT_EQ(start(), 0);
	EXPECT_TRUE(state.has(KIND_ENDPOINT, "e"));
}

TEST_F(Kept, OneManagerAtATime)
{
	struct mgmt_options o = {};
	struct mgmt *other = nullptr;
	o.state_dir = state_dir;
	EXPECT_EQ(mgmt_start(&other, &o, &error), -EBUSY);
	EXPECT_EQ(apply(network), answer(1, 1, 0, 0));
}

TEST_F(Kept, TenThousandServices)
{
	std::string batch = network;
	for (int i = 0; i < 10000; i++) {
		std::string backends;
		for (int b = 0; b < 10; b++)
			backends += std::string(b > 0 ? "," : "") + R"({"ip":"10.)" + std::to_string(100 + b) + "." +
				    std::to_string(i / 256) + "." + std::to_string(i % 256) +
				    R"(","node":"node-1","state":"ready","ports":{"http":8080}})";
		batch += R"(,{"kind":"Service","name":"shop/s)" + std::to_string(i) +
			 R"(","network":"default","ips":["10.96.)" + std::to_string(i / 256) + "." +
			 std::to_string(i % 256) + R"("],"ports":[{"name":"http","port":80}],"backends":[)" + backends +
			 "]}";
	}
	json_t *params = json_loads(("{\"objects\":[" + batch + "]}").c_str(), 0, nullptr);
	ASSERT_NE(params, nullptr);
	auto before = std::chrono::steady_clock::now();
	json_t *out = mgmt_call(m, MGMT_ADMIN, "apply", params, &rpc);
	std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
	ASSERT_NE(out, nullptr) << rpc.message;
	EXPECT_EQ(json_integer_value(json_object_get(out, "applied")), 10001);
	RecordProperty("seconds", std::to_string(took.count()));
	printf("10,000 services x 10 backends: %.2f s\n", took.count());
	EXPECT_LT(took.count(), 20.0); // 2 s on a quiet machine, ten times that under sanitizers
	json_decref(out);
	before = std::chrono::steady_clock::now();
	out = mgmt_call(m, MGMT_ADMIN, "apply", params, &rpc);
	took = std::chrono::steady_clock::now() - before;
	EXPECT_EQ(json_integer_value(json_object_get(out, "unchanged")), 10001);
	printf("the same again: %.2f s\n", took.count());
	json_decref(out);
	json_decref(params);
	before = std::chrono::steady_clock::now();
	ASSERT_EQ(restart(), 0);
	took = std::chrono::steady_clock::now() - before;
	printf("restart: %.2f s\n", took.count());
	EXPECT_EQ(state.now.size(), 10001u);
	EXPECT_EQ(state.now[(fake::Key{KIND_SERVICE, "shop/s9999"})].spec->service.n_backends, 10u);
}

} // namespace
