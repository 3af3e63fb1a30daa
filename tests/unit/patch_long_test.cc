// SPDX-License-Identifier: Apache-2.0
// Patches of long lists: the object, the configuration and the store are as if it had been patched as a whole.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include <sqlite3.h>
#include <unistd.h>

#include "mgmt_fake.hpp"

extern "C" uint32_t patch_long_min, patch_long_stored;

namespace
{

using fake::Key;

class Long : public fake::Manager
{
      protected:
	std::string dir;
	std::mt19937 rng{7};

	void
	SetUp() override
	{
		char text[] = "/tmp/weft-patch-XXXXXX";
		ASSERT_NE(mkdtemp(text), nullptr);
		dir = text;
		state_dir = dir.c_str();
		patch_long_min = 4;
		patch_long_stored = 4096;
		ASSERT_EQ(start(), 0) << error.text;
		apply(R"({"kind":"Network","name":"default","vni":100})");
	}

	void
	TearDown() override
	{
		stop();
		patch_long_min = 1024;
		for (const char *name : {"/objects.db", "/objects.db-wal"})
			unlink((dir + name).c_str());
		ASSERT_EQ(rmdir(dir.c_str()), 0);
	}

	static std::string
	member(uint32_t i)
	{
		return "\"10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256) +
		       (i % 3 == 0 ? "/32\"" : "\"");
	}
	static std::string
	rule(uint32_t i, uint32_t port = 80)
	{
		return "{\"name\":\"r" + std::to_string(i) + "\",\"ports\":[{\"port\":" + std::to_string(port) + "}]}";
	}
	template <typename Entry>
	static std::string
	list(uint32_t n, Entry entry)
	{
		std::string out;
		for (uint32_t i = 0; i < n; i++)
			out += (i > 0 ? "," : "") + entry(i);
		return "[" + out + "]";
	}
	std::string
	set_of(const std::string &name, uint32_t n)
	{
		return "{\"kind\":\"AddressSet\",\"name\":\"" + name +
		       "\",\"network\":\"default\",\"members\":" + list(n, member) + "}";
	}
	std::string
	policy_of(const std::string &name, uint32_t n)
	{
		return "{\"kind\":\"Policy\",\"name\":\"" + name +
		       "\",\"network\":\"default\",\"priority\":3,\"endpoints\":[\"e\"],\"ingress\":" +
		       list(n, [](uint32_t i) { return rule(i); }) + "}";
	}
	std::string
	patch(const std::string &kind, const std::string &name, const std::string &what)
	{
		return ask("patch", "{\"kind\":\"" + kind + "\",\"name\":\"" + name + "\"," + what + "}");
	}
	std::string
	object(const std::string &kind, const std::string &name, const char *field)
	{
		return value("get", "{\"kind\":\"" + kind + "\",\"name\":\"" + name + "\"}", {"object", field});
	}
	// How often config was given one change, not the whole.
	int
	patched()
	{
		int n = 0;
		for (auto &line : state.log)
			n += line.compare(0, 6, "patch ") == 0;
		return n;
	}
	// Entries of a random patch: some are there, some are not, some twice.
	std::string
	some(const std::function<std::string(uint32_t)> &entry, bool some_more)
	{
		std::string out;
		for (uint32_t i = 0, n = rng() % 4; i < n + some_more; i++)
			out += (i > 0 ? "," : "") + entry(rng() % 40);
		return "[" + out + "]";
	}
	// The same patch to an object by the long way and to its twin by the short one.
	void
	both(const std::string &kind, const std::string &field, const std::string &what, int round)
	{
		patch_long_min = 1u << 30;
		std::string by_whole = patch(kind, "whole", what);
		patch_long_min = 4;
		std::string by_entry = patch(kind, "entry", what);
		// The epoch alone tells them apart.
		EXPECT_EQ(by_whole.substr(by_whole.find(',') + 1), by_entry.substr(by_entry.find(',') + 1)) << what;
		Key whole = {kind == "Policy" ? KIND_POLICY : KIND_ADDRESS_SET, "whole"},
		    entry = {whole.first, "entry"};
		ASSERT_EQ(state.list(whole), state.list(entry)) << round << ": " << what;
		if (round % 10 == 0) {
			ASSERT_EQ(object(kind, "whole", field.c_str()), object(kind, "entry", field.c_str()))
				<< round << ": " << what;
		}
	}
	void
	sql(const char *text)
	{
		sqlite3 *db;
		ASSERT_EQ(sqlite3_open((dir + "/objects.db").c_str(), &db), SQLITE_OK);
		ASSERT_EQ(sqlite3_exec(db, text, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
		sqlite3_close(db);
	}
};

TEST_F(Long, MembersAtRandomAsIfPatchedWhole)
{
	apply(set_of("whole", 20) + "," + set_of("entry", 20));
	for (int round = 0; round < 400; round++)
		both("AddressSet", "members",
		     "\"add\":{\"members\":" + some(member, false) +
			     "},\"remove\":{\"members\":" + some(member, false) + "}",
		     round);
	EXPECT_GT(patched(), 200);
	std::string members = object("AddressSet", "entry", "members"),
		    generation = object("AddressSet", "entry", "status");
	stop();
	ASSERT_EQ(start(), 0) << error.text;
	EXPECT_EQ(object("AddressSet", "entry", "members"), members);
	EXPECT_EQ(object("AddressSet", "whole", "members"), members);
	EXPECT_EQ(object("AddressSet", "entry", "status"), generation);
}

TEST_F(Long, RulesAtRandomAsIfPatchedWhole)
{
	patch_long_stored = 7; // stored whole now and then
	apply(policy_of("whole", 20) + "," + policy_of("entry", 20));
	auto changed = [this](uint32_t i) { return rule(i, 80 + rng() % 3); };
	auto name = [](uint32_t i) { return "\"r" + std::to_string(i) + "\""; };
	for (int round = 0; round < 400; round++) {
		both("Policy", "ingress",
		     "\"add\":{\"ingress\":" + some(changed, false) + "},\"remove\":{\"ingress\":" + some(name, false) +
			     "}",
		     round);
		if (round % 50 == 49) {
			std::string before = object("Policy", "entry", "ingress");
			stop();
			ASSERT_EQ(start(), 0) << error.text;
			ASSERT_EQ(object("Policy", "entry", "ingress"), before);
			ASSERT_EQ(object("Policy", "whole", "ingress"), before);
		}
	}
	EXPECT_EQ(object("Policy", "entry", "priority"), "3");
}

TEST_F(Long, OneOfManyIsOneChange)
{
	apply(policy_of("p", 50));
	state.log.clear();
	EXPECT_EQ(patch("Policy", "p", "\"remove\":{\"ingress\":[\"r7\"]}"),
		  R"({"epoch":3,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_EQ(state.log, (std::vector<std::string>{"patch p", "publish", "wait"}));
	EXPECT_EQ(patch("Policy", "p", "\"remove\":{\"ingress\":[\"r7\"]}"),
		  R"({"epoch":3,"applied":0,"unchanged":1,"deleted":0})");
	EXPECT_EQ(patch("Policy", "p", "\"add\":{\"ingress\":[" + rule(8) + "]}"),
		  R"({"epoch":3,"applied":0,"unchanged":1,"deleted":0})");
	EXPECT_EQ(patch("Policy", "p", "\"add\":{\"ingress\":[" + rule(8, 443) + "]}"),
		  R"({"epoch":4,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_EQ(state.list({KIND_POLICY, "p"})[7], "r8:443,accept");
	EXPECT_EQ(value("get", R"({"kind":"Policy","name":"p"})", {"object", "status", "generation"}), "3");
}

TEST_F(Long, TheWholeObjectAfterPatches)
{
	apply(set_of("s", 10));
	patch("AddressSet", "s", R"("remove":{"members":["10.0.0.3"]})");
	patch("AddressSet", "s", R"("add":{"members":["10.0.0.3/32"]})");
	// What is there now, and what was there first: one is a change.
	std::string now = object("AddressSet", "s", "members");
	EXPECT_EQ(apply(R"({"kind":"AddressSet","name":"s","network":"default","members":)" + now + "}"),
		  R"({"epoch":4,"applied":0,"unchanged":1,"deleted":0})");
	EXPECT_EQ(apply(set_of("s", 10)), R"({"epoch":5,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_EQ(patch("AddressSet", "s", R"("set":{"owner":"me"},"add":{"members":["10.1.0.0/16"]})"),
		  R"({"epoch":6,"applied":1,"unchanged":0,"deleted":0})");
	stop();
	ASSERT_EQ(start(), 0) << error.text;
	EXPECT_EQ(object("AddressSet", "s", "owner"), "\"me\"");
	EXPECT_EQ(state.list({KIND_ADDRESS_SET, "s"}).size(), 11u);
	ask("delete", R"({"kind":"AddressSet","name":"s"})");
	stop();
	ASSERT_EQ(start(), 0) << error.text;
	EXPECT_FALSE(state.has(KIND_ADDRESS_SET, "s"));
}

TEST_F(Long, WhatFailsChangesNothing)
{
	apply(policy_of("p", 10));
	std::string before = object("Policy", "p", "ingress");
	state.fail_put["p"] = {-EINVAL, "no"};
	EXPECT_EQ(patch("Policy", "p", "\"remove\":{\"ingress\":[\"r1\"]}"), "-32602 Policy p.ingress[0]: no");
	state.fail_put.clear();
	patch("Policy", "p", "\"remove\":{\"ingress\":[\"r1\"]},\"dryRun\":true");
	EXPECT_EQ(patch("Policy", "p", "\"add\":{\"ingress\":[{\"name\":\"x\",\"action\":\"deny\"}]}").substr(0, 6),
		  "-32602");
	EXPECT_EQ(patch("Policy", "p", "\"add\":{\"ingress\":[{\"ports\":[]}]}").substr(0, 6), "-32602");
	EXPECT_EQ(object("Policy", "p", "ingress"), before);
	EXPECT_EQ(patch("Policy", "p", "\"remove\":{\"ingress\":[\"r1\"]}"),
		  R"({"epoch":3,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_EQ(state.list({KIND_POLICY, "p"}).size(), 9u);
}

TEST_F(Long, AnAddressThatIsThereTwiceIsPatchedWhole)
{
	apply(R"({"kind":"AddressSet","name":"s","network":"default","members":["10.0.0.1","10.0.0.1/32","10.0.0.2","10.0.0.3","10.0.0.4"]})");
	EXPECT_EQ(patch("AddressSet", "s", R"("remove":{"members":["10.0.0.1"]})"),
		  R"({"epoch":3,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_EQ(object("AddressSet", "s", "members"), R"(["10.0.0.2","10.0.0.3","10.0.0.4"])");
}

TEST_F(Long, APatchThatIsMissingInTheStoreIsNoticed)
{
	apply(set_of("s", 10));
	patch("AddressSet", "s", R"("remove":{"members":["10.0.0.3"]})");
	patch("AddressSet", "s", R"("remove":{"members":["10.0.0.4"]})");
	stop();
	sql("DELETE FROM patches WHERE number = 1");
	EXPECT_EQ(start(), -EBADMSG);
	EXPECT_NE(std::string(error.text).find("is damaged (AddressSet s"), std::string::npos) << error.text;
	sql("UPDATE patches SET number = 1");
	ASSERT_EQ(start(), 0) << error.text; // its sum has no number: what counts is that there are none missing
	stop();
	sql("UPDATE patches SET json = replace(json, '10.0.0.4', '10.0.0.5')");
	EXPECT_EQ(start(), -EBADMSG);
	sql("DELETE FROM patches");
	ASSERT_EQ(start(), 0) << error.text;
}

TEST_F(Long, AStoreOfTheFirstVersionIsTaken)
{
	apply(set_of("s", 10));
	stop();
	sql("DROP TABLE patches; UPDATE meta SET version = 1");
	ASSERT_EQ(start(), 0) << error.text;
	EXPECT_EQ(patch("AddressSet", "s", R"("remove":{"members":["10.0.0.3"]})"),
		  R"({"epoch":3,"applied":1,"unchanged":0,"deleted":0})");
	stop();
	ASSERT_EQ(start(), 0) << error.text;
	EXPECT_EQ(state.list({KIND_ADDRESS_SET, "s"}).size(), 9u);
}

TEST_F(Long, ReadersSeeOneVersionOrTheOther)
{
	apply(set_of("s", 64));
	std::atomic<bool> over{false};
	std::atomic<int> read{0};
	std::thread reader([&] {
		while (!over) {
			struct rpc_error e = {};
			json_t *p = json_pack("{s:s, s:s}", "kind", "AddressSet", "name", "s");
			json_t *out = mgmt_call(m, MGMT_READ_ONLY, "get", p, &e);
			size_t n = json_array_size(json_object_get(json_object_get(out, "object"), "members"));
			EXPECT_TRUE(n == 64 || n == 63) << n;
			json_decref(out);
			json_decref(p);
			read++;
		}
	});
	for (int i = 0; i < 400 || read < 20; i++)
		patch("AddressSet", "s",
		      std::string(i % 2 ? "\"add\"" : "\"remove\"") + R"(:{"members":["10.0.0.9/32"]})");
	over = true;
	reader.join();
}

} // namespace
