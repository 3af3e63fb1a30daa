// SPDX-License-Identifier: Apache-2.0
// The verbs that show.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

#include "mgmt_fake.hpp"

namespace
{

const std::string network =
	R"({"kind":"Network","name":"default","vni":100,"subnets":[{"gateway":"10.0.0.1","prefix":"10.0.0.0/24"}]})";

std::string
node(const std::string &name, const std::string &more = "")
{
	return R"({"kind":"Node","name":")" + name + R"(","ips":["192.0.2.1"])" + more + "}";
}

class Verbs : public fake::Manager
{
      protected:
	std::string
	names(const std::string &params, std::string *next = nullptr)
	{
		json_t *out = call("list", params), *o;
		size_t i;
		std::string text;
		json_array_foreach(json_object_get(out, "objects"), i, o) text +=
			(i > 0 ? " " : "") + std::string(json_string_value(json_object_get(o, "name")));
		if (next != nullptr)
			*next = json_object_get(out, "continue") != nullptr
					? json_string_value(json_object_get(out, "continue"))
					: "";
		json_decref(out);
		return text;
	}
};

TEST_F(Verbs, GetShowsSpecAndStatusApart)
{
	apply(network, R"(,"owner":"cni")");
	EXPECT_EQ(
		ask("get", R"({"kind":"Network","name":"default"})"),
		R"({"object":{"kind":"Network","name":"default","owner":"cni","vni":100,"subnets":[{"prefix":"10.0.0.0/24","gateway":"10.0.0.1"}],)"
		R"("status":{"generation":1,"epoch":1,"phase":"ready"}},"epoch":1})");
	EXPECT_EQ(ask("get", R"({"kind":"Network","name":"x"})"), "-32001 there is no Network x");
	EXPECT_EQ(ask("get", R"({"kind":"Network"})"), "-32602 name: is required");
	EXPECT_EQ(ask("get", R"({"name":"x"})"), "-32602 kind: is required");
	EXPECT_EQ(ask("get", R"({"kind":"network","name":"x"})").substr(0, 42),
		  "-32602 kind: \"network\" is not one of Node,");
}

TEST_F(Verbs, PhaseIsWhatConfigSaysNow)
{
	state.status[{KIND_NETWORK, "default"}] = "pending: uplink uplink0 does not exist";
	apply(network);
	EXPECT_EQ(phase("Network", "default"), "\"pending\"");
	EXPECT_EQ(value("get", R"({"kind":"Network","name":"default"})", {"object", "status", "message"}),
		  "\"uplink uplink0 does not exist\"");
	state.status.clear();
	EXPECT_EQ(phase("Network", "default"), "\"ready\"");
	EXPECT_EQ(value("list", R"({"kind":"Network"})", {"objects", "0", "status", "phase"}), "\"ready\"");
}

TEST_F(Verbs, ListIsPagedByName)
{
	std::string batch;
	for (int i = 0; i < 25; i++)
		batch += (i > 0 ? "," : "") + node("n" + std::to_string(i + 10));
	apply(batch);
	std::string next, all;
	EXPECT_EQ(names(R"({"kind":"Node","limit":3})", &next), "n10 n11 n12");
	EXPECT_EQ(next, "n12");
	// What comes and goes in between does not disturb.
	ask("delete", R"({"kind":"Node","name":"n12"})");
	apply(node("n125"));
	EXPECT_EQ(names(R"({"kind":"Node","limit":3,"continue":"n12"})", &next), "n125 n13 n14");
	EXPECT_EQ(names(R"({"kind":"Node","continue":"n32"})", &next), "n33 n34");
	EXPECT_EQ(next, "");
	EXPECT_EQ(names(R"({"kind":"Node","limit":2,"continue":"n32"})", &next), "n33 n34");
	EXPECT_EQ(next, "");
	EXPECT_EQ(names(R"({"kind":"Port"})", &next), "");
	EXPECT_EQ(ask("list", R"({"kind":"Node","limit":0})"), "-32602 limit: 0 is not in 1..10000");
	EXPECT_EQ(ask("list", R"({"kind":"Node","limit":10001})"), "-32602 limit: 10001 is not in 1..10000");
}

TEST_F(Verbs, ListByOwner)
{
	apply(node("a") + "," + node("b", R"(,"owner":"cni")") + "," + node("c", R"(,"owner":"cni")"));
	std::string next;
	EXPECT_EQ(names(R"({"kind":"Node","owner":"cni"})"), "b c");
	EXPECT_EQ(names(R"({"kind":"Node","owner":"cni","limit":1})", &next), "b");
	EXPECT_EQ(next, "b");
	EXPECT_EQ(names(R"({"kind":"Node","owner":"x"})"), "");
}

TEST_F(Verbs, SecretsAreForThoseWhoMaySetThem)
{
	apply(R"({"kind":"Port","name":"p","type":"memif","socket":"s","secret":"hush"})");
	EXPECT_NE(ask("get", R"({"kind":"Port","name":"p"})", MGMT_OPERATOR).find(R"("secret":"hush")"),
		  std::string::npos);
	EXPECT_NE(ask("get", R"({"kind":"Port","name":"p"})", MGMT_READ_ONLY).find("\"secret\":\"(hidden)\""),
		  std::string::npos);
	EXPECT_EQ(ask("list", R"({"kind":"Port"})", MGMT_READ_ONLY).find("hush"), std::string::npos);
}

TEST_F(Verbs, Status)
{
	apply(network);
	state.worker.core = 3;
	state.worker.conns = reinterpret_cast<struct conn_table *>(&state);
	EXPECT_EQ(
		ask("status", "{}"),
		R"({"version":"9.9","uptimeSeconds":0,"epoch":1,"objects":{"Node":0,"Network":1,"Port":0,"Endpoint":0,"Remote":0,"Route":0,)"
		R"("Service":0,"AddressSet":0,"Policy":0},"workers":[{"id":0,"core":3,"numa":0,"rxQueues":[]}],)"
		R"("books":{"rx":10,"created":1,"tx":8,"dropped":2,"merged":0,"punted":1,"held":0,"difference":0},)"
		R"("connections":{"used":5,"capacity":1024,"halfOpen":2,"perEndpoint":0,"evicted":0,"refusedFull":0,"refusedQuota":0}})");
}

TEST_F(Verbs, Stats)
{
	state.worker.count.turns = 100;
	state.worker.count.stage_cycles[STAGE_TRACK] = 77;
	EXPECT_EQ(value("stats", "{}", {"workers", "0", "turns"}), "100");
	EXPECT_EQ(value("stats", "{}", {"workers", "0", "stages", "2"}), R"({"name":"track","cycles":77,"packets":0})");
	EXPECT_EQ(value("stats", "{}", {"ports"}), "[]");
}

TEST_F(Verbs, SchemaTellsEverything)
{
	json_t *schema = call("schema", "{}"), *verb, *field;
	ASSERT_NE(schema, nullptr);
	size_t i, k;
	EXPECT_EQ(json_array_size(json_object_get(schema, "kinds")), (size_t)KIND_COUNT);
	EXPECT_EQ(json_array_size(json_object_get(schema, "drops")), (size_t)DROP_REASON_COUNT);
	EXPECT_EQ(json_array_size(json_object_get(schema, "common")), 3u);
	std::string verbs;
	json_array_foreach(json_object_get(schema, "verbs"), i, verb)
	{
		verbs += std::string(json_string_value(json_object_get(verb, "verb"))) + " ";
		json_array_foreach(json_object_get(verb, "params"), k, field)
		{
			EXPECT_NE(json_string_value(json_object_get(field, "help")), nullptr);
		}
	}
	EXPECT_EQ(verbs, "apply patch delete get list watch schema status stats drops ");
	json_decref(schema);
	EXPECT_EQ(value("schema", "{}", {"kinds", "1", "kind"}), "\"Network\"");
	EXPECT_EQ(value("schema", "{}", {"kinds", "1", "fields", "1"}),
		  R"({"name":"vni","type":"number","need":"default","default":0,"min":0,"max":16777215,)"
		  R"("help":"VXLAN network identifier; 0: the network stays on this node"})");
}

TEST_F(Verbs, UnknownAndLater)
{
	EXPECT_EQ(ask("explode", "{}"), "-32601 there is no method explode; schema lists them");
	for (const char *later : {"explain", "flows", "trace", "capture"})
		EXPECT_EQ(ask(later, "{}"), std::string("-32601 ") + later + ": this version does not have it yet");
	EXPECT_EQ(ask("watch", "{}"), "-32601 watch: only the control socket can do that");
	EXPECT_EQ(ask("status", R"({"x":1})"), "-32602 x: unknown field; known are none");
}

TEST(Main, AddsToStatus)
{
	fake::State state;
	fake::s = &state;
	struct mgmt_options o = {};
	struct mgmt *m = nullptr;
	struct error e;
	struct rpc_error rpc;
	o.status_extra = [](void *arg) { return json_pack("{s:s}", "memory", static_cast<const char *>(arg)); };
	o.arg = const_cast<char *>("hugepages");
	ASSERT_EQ(mgmt_start(&m, &o, &e), 0);
	json_t *out = mgmt_call(m, MGMT_READ_ONLY, "status", nullptr, &rpc);
	EXPECT_STREQ(json_string_value(json_object_get(out, "memory")), "hugepages");
	json_decref(out);
	mgmt_stop(m);
	state.forget();
}

// Readers see whole batches, and never wait for a build.
TEST_F(Verbs, ReadersRunBesideABuilder)
{
	std::atomic<bool> stop{false};
	std::atomic<unsigned> reads{0};
	apply(node("a") + "," + node("b"));
	auto read = [&] {
		while (!stop) {
			struct rpc_error why;
			json_t *params = json_pack("{s:s}", "kind", "Node");
			json_t *out = mgmt_call(m, MGMT_READ_ONLY, "list", params, &why);
			EXPECT_EQ(json_array_size(json_object_get(out, "objects")) % 2, 0u);
			json_decref(out);
			json_decref(params);
			out = mgmt_call(m, MGMT_READ_ONLY, "status", nullptr, &why);
			EXPECT_NE(out, nullptr);
			json_decref(out);
			reads++;
		}
	};
	std::thread one(read), two(read);
	for (int i = 0; i < 300 || reads < 50; i++) {
		json_t *params =
			json_loads(("{\"objects\":[" + node("c") + "," + node("d") + "]}").c_str(), 0, nullptr);
		json_decref(mgmt_call(m, MGMT_ADMIN, "apply", params, &rpc));
		json_decref(params);
		params = json_loads(R"({"objects":[{"kind":"Node","name":"c"},{"kind":"Node","name":"d"}]})", 0,
				    nullptr);
		json_decref(mgmt_call(m, MGMT_ADMIN, "delete", params, &rpc));
		json_decref(params);
		state.forget();
	}
	stop = true;
	one.join();
	two.join();
	EXPECT_EQ(names(R"({"kind":"Node"})"), "a b");
}

} // namespace
