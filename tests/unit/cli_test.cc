// SPDX-License-Identifier: Apache-2.0
// The command line as its users see it: the program itself, before a switch that answers what the test says.
#include <sys/wait.h>

#include <fstream>
#include <sstream>

#include "control.hpp"

namespace
{

const char *const SCHEMA =
	R"({"version":"0.1.0","common":[{"name":"owner","type":"name","need":"optional","help":"whose it is"}],
"kinds":[
 {"kind":"Port","help":"where packets come and go","fields":[
  {"name":"name","type":"name","need":"required","help":"its name"},
  {"name":"type","type":"word","need":"required","words":["tap","memif"],"help":"what it is"},
  {"name":"mtu","type":"number","need":"default","default":1450,"min":68,"max":9000,"help":"largest packet"},
  {"name":"host","type":"boolean","need":"optional","help":"the node's own"},
  {"name":"ips","type":"address/length","list":true,"need":"optional","help":"addresses"}]},
 {"kind":"AddressSet","help":"addresses by name","fields":[
  {"name":"name","type":"name","need":"required","help":"its name"},
  {"name":"members","type":"prefix","list":true,"need":"required","help":"who is in it"}]},
 {"kind":"Policy","help":"who may talk","fields":[
  {"name":"name","type":"name","need":"required","help":"its name"},
  {"name":"priority","type":"number","need":"optional","min":0,"max":1000,"help":"lower first"},
  {"name":"ingress","type":"object","list":true,"need":"optional","key":"name","help":"rules",
   "fields":[{"name":"name","type":"name","need":"required","help":"its name"}]}]}],
"verbs":[{"verb":"apply","role":"operator","help":"create","params":[]}],"drops":[]})";

struct Outcome {
	int code;
	std::string out, err;
};

class Cli : public Control
{
      protected:
	Cli()
	{
		answer("schema", SCHEMA);
		manager.builders["apply"] = [this](enum mgmt_role, json_t *p, struct rpc_error *e) {
			return change("apply", p, e);
		};
		manager.builders["patch"] = [this](enum mgmt_role, json_t *p, struct rpc_error *e) {
			return change("patch", p, e);
		};
		manager.builders["delete"] = [this](enum mgmt_role, json_t *p, struct rpc_error *e) {
			return change("delete", p, e);
		};
	}

	void
	answer(const std::string &verb, const std::string &text)
	{
		manager.verbs[verb] = [this, verb, text](enum mgmt_role, json_t *p, struct rpc_error *) {
			note(verb, p);
			return json_loads(text.c_str(), JSON_DECODE_ANY, nullptr);
		};
	}

	json_t *
	change(const std::string &verb, json_t *params, struct rpc_error *e)
	{
		note(verb, params);
		if (refuse.empty())
			return json_pack("{s:i, s:i, s:i, s:i}", "epoch", 12, "applied", 3, "unchanged", 1, "deleted",
					 0);
		e->code = RPC_INVALID_PARAMS;
		snprintf(e->message, sizeof(e->message), "%s", refuse.c_str());
		return nullptr;
	}

	void
	note(const std::string &verb, json_t *params)
	{
		char *text = json_dumps(params, JSON_COMPACT | JSON_ENCODE_ANY);
		std::lock_guard<std::mutex> hold(manager.lock);
		asked.push_back(verb + " " + (text != nullptr ? text : "none"));
		free(text);
	}

	std::string
	last()
	{
		std::lock_guard<std::mutex> hold(manager.lock);
		return asked.empty() ? "" : asked.back();
	}

	Outcome
	weft(const std::string &args, const std::string &input = "")
	{
		std::ofstream(dir / "in") << input;
		std::string cmd = "env -u WEFT_SOCKET '" WEFT_CLI "' -s '" + (path.empty() ? dir / "none.sock" : path) +
				  "' " + args + " <'" + dir / "in" + "' >'" + dir / "out" + "' 2>'" + dir / "err" + "'";
		int rc = system(cmd.c_str());
		return {WIFEXITED(rc) ? WEXITSTATUS(rc) : -1, slurp("out"), slurp("err")};
	}

	std::string
	slurp(const std::string &name)
	{
		std::stringstream text;
		text << std::ifstream(dir / name).rdbuf();
		return text.str();
	}

	std::string refuse;
	std::vector<std::string> asked;
};

TEST_F(Cli, UsageErrorsAreTwoAndSayWhatIsMissing)
{
	EXPECT_EQ(weft("").code, 2);
	EXPECT_EQ(weft("fly").err, "weft: fly: unknown command (see weft help)\n");
	EXPECT_EQ(weft("get").err, "weft: usage: weft get KIND [NAME]\n");
	EXPECT_EQ(weft("status now").err, "weft: usage: weft status\n");
	EXPECT_EQ(weft("status --prune").err, "weft: status: unknown option --prune (see weft help status)\n");
	EXPECT_EQ(weft("status -o yaml").err, "weft: --output: yaml is not one of table, wide, json\n");
	EXPECT_EQ(weft("status -o").err, "weft: --output needs a value: --output FORMAT\n");
	EXPECT_EQ(weft("apply").err, "weft: apply: needs -f FILE, or -f - for standard input\n");
	EXPECT_EQ(weft("apply --prune=yes -f -").err, "weft: --prune takes no value\n");
	EXPECT_EQ(weft("apply --prune -f -").err,
		  "weft: apply: --prune needs --owner: it deletes what else that owner has\n");
	EXPECT_EQ(weft("get port \"$(printf '\\377')\"").err, "weft: a word of the command line is not UTF-8\n");
	for (const char *args : {"fly", "get", "status --prune", "apply", "delete", "delete port"})
		EXPECT_EQ(weft(args).code, 2) << args;
}

TEST_F(Cli, HelpNamesEveryCommandAndItsOptions)
{
	Outcome all = weft("help");
	EXPECT_EQ(all.code, 0);
	for (const char *name :
	     {"apply", "patch", "delete", "get", "status", "stats", "drops", "schema", "watch", "version", "help"}) {
		EXPECT_NE(all.out.find("\n  " + std::string(name) + " "), std::string::npos) << name;
		Outcome one = weft("help " + std::string(name)), same = weft(std::string(name) + " --help");
		EXPECT_EQ(one.code, 0);
		EXPECT_EQ(one.out.substr(0, 12 + strlen(name)), "usage: weft " + std::string(name));
		EXPECT_EQ(one.out, same.out);
	}
	EXPECT_NE(weft("help apply").out.find("--prune"), std::string::npos);
	EXPECT_EQ(weft("help fly").code, 2);
	EXPECT_EQ(weft("--help").out, all.out);
}

TEST_F(Cli, WhyThereIsNoSwitchIsSaid)
{
	Outcome o = weft("status");
	EXPECT_EQ(o.code, 2);
	EXPECT_EQ(o.err, "weft: cannot reach the switch at " + dir / "none.sock" +
				 ": there is no such socket (is weftd running?)\n");
	EXPECT_EQ(o.out, "");
	o = weft("version");
	EXPECT_EQ(o.code, 0);
	EXPECT_EQ(o.out.substr(0, 5), "weft ");
	EXPECT_NE(o.out.find("switch unknown: cannot reach"), std::string::npos);
	role = [](uid_t, gid_t) { return MGMT_NOBODY; };
	start();
	o = weft("status");
	EXPECT_EQ(o.code, 1);
	EXPECT_EQ(o.err.substr(0, 18), "weft: refused: uid");
}

TEST_F(Cli, ApplyTakesOneManyAndListsOfObjects)
{
	start();
	Outcome o = weft("apply -f -", R"({"kind":"Port","name":"a"})");
	EXPECT_EQ(o.code, 0) << o.err;
	EXPECT_EQ(o.out, "3 applied, 1 unchanged, 0 deleted; epoch 12\n");
	EXPECT_EQ(last(), R"(apply {"objects":[{"kind":"Port","name":"a"}]})");
	weft("apply -f -", "[{\"kind\":\"Port\",\"name\":\"a\"},{\"kind\":\"Port\",\"name\":\"b\"}]\n{\"objects\":[{"
			   "\"kind\":\"Port\",\"name\":\"c\"}]}\n"
			   "{\"kind\":\"Port\",\"name\":\"d\"}{\"kind\":\"Port\",\"name\":\"e\"}\n");
	EXPECT_EQ(
		last(),
		R"(apply {"objects":[{"kind":"Port","name":"a"},{"kind":"Port","name":"b"},{"kind":"Port","name":"c"},)"
		R"({"kind":"Port","name":"d"},{"kind":"Port","name":"e"}]})");
	std::ofstream(dir / "f.json") << R"({"kind":"Port","name":"a"})";
	o = weft("apply --file='" + dir / "f.json" + "' --owner cni --prune --dry-run --if-epoch 7");
	EXPECT_EQ(o.out, "would be: 3 applied, 1 unchanged, 0 deleted; epoch 12\n");
	EXPECT_EQ(
		last(),
		R"(apply {"objects":[{"kind":"Port","name":"a"}],"owner":"cni","prune":true,"dryRun":true,"ifEpoch":7})");
	EXPECT_EQ(weft("apply -o json -f -", R"({"kind":"Port","name":"a"})").out,
		  "{\n  \"epoch\": 12,\n  \"applied\": 3,\n  \"unchanged\": 1,\n  \"deleted\": 0\n}\n");
}

TEST_F(Cli, FilesThatCannotBeReadAreNamedWithTheirLine)
{
	start();
	Outcome o = weft("apply -f -", "{\"kind\":\"Port\"}\n\n{\"kind\":\"Port\",\n  oops}\n");
	EXPECT_EQ(o.code, 2);
	EXPECT_EQ(o.err.substr(0, 25), "weft: standard input:4:6:");
	EXPECT_EQ(weft("apply -f '" + dir / "missing" + "'").err,
		  "weft: " + dir / "missing" + ": No such file or directory\n");
	EXPECT_EQ(weft("apply -f -", " \n").err, "weft: standard input: holds no objects\n");
	EXPECT_EQ(weft("apply -f -", "{\"kind\":\n1}\n\n{\"kind\":\n2}\n 7").err.substr(0, 22), "weft: standard input:6");
	EXPECT_EQ(weft("apply -f -", "\n7").err.substr(0, 22), "weft: standard input:2");
	EXPECT_EQ(weft("apply -f -", "\n[7]").err, "weft: standard input:2: entry 0 of the list is not an object\n");
	EXPECT_NE(weft("apply -f -", "{\"a\":1,\"a\":2}").err.find("duplicate"), std::string::npos);
	EXPECT_EQ(weft("apply -f - --if-epoch x", "{\"kind\":\"Port\"}").err,
		  "weft: --if-epoch: x is not an epoch, a whole number\n");
	EXPECT_EQ(weft("apply -f '" + dir.path + "'").code, 2);
	EXPECT_EQ(last(), "");
}

TEST_F(Cli, TheSwitchsRefusalIsPrintedAsItIs)
{
	refuse = "objects[3].backends[0].port: 70000 is not in 1..65535";
	start();
	Outcome o = weft("apply -f -", R"({"kind":"Service","name":"a"})");
	EXPECT_EQ(o.code, 1);
	EXPECT_EQ(o.out, "");
	EXPECT_EQ(o.err, "weft: objects[3].backends[0].port: 70000 is not in 1..65535\n");
}

TEST_F(Cli, PatchTakesValuesAsTheirFieldsAsk)
{
	start();
	Outcome o = weft("patch address-sets shop/frontend --add members=10.0.0.1 members=10.0.0.2 --remove "
			 "members=10.0.0.3 --dry-run");
	EXPECT_EQ(o.code, 0) << o.err;
	EXPECT_EQ(last(),
		  R"(patch {"kind":"AddressSet","name":"shop/frontend","add":{"members":["10.0.0.1","10.0.0.2"]},)"
		  R"("remove":{"members":["10.0.0.3"]},"dryRun":true})");
	o = weft(R"(patch policy p --set priority=7 --add 'ingress={"name":"a"}' --remove ingress=b)");
	EXPECT_EQ(
		last(),
		R"(patch {"kind":"Policy","name":"p","set":{"priority":7},"add":{"ingress":[{"name":"a"}]},"remove":{"ingress":["b"]}})");
	weft("patch port a --set host=true mtu=null ips='[\"1.2.3.4/8\"]' -- type=tap");
	EXPECT_EQ(
		last(),
		R"(patch {"kind":"Port","name":"a","set":{"host":true,"mtu":null,"ips":["1.2.3.4/8"],"type":"tap"}})");
	EXPECT_EQ(weft("patch port a --add host").err, "weft: --add: host is not FIELD=VALUE\n");
	EXPECT_EQ(weft("patch port a x=1 --add host=1").err, "weft: x=1: comes before --add, --remove or --set\n");
	EXPECT_EQ(weft("patch port a").code, 2);
	EXPECT_EQ(weft("patch policy p --add 'ingress={'").code, 2);
}

TEST_F(Cli, DeleteByNameOrByFile)
{
	start();
	EXPECT_EQ(weft("delete ports a b").code, 0);
	EXPECT_EQ(last(), R"(delete {"objects":[{"kind":"Port","name":"a"},{"kind":"Port","name":"b"}]})");
	EXPECT_EQ(weft("delete -f -", R"([{"kind":"Port","name":"a","type":"tap"},{"kind":"Policy","name":"p"}])").code,
		  0);
	EXPECT_EQ(last(), R"(delete {"objects":[{"kind":"Port","name":"a"},{"kind":"Policy","name":"p"}]})");
	EXPECT_EQ(weft("delete -f -", R"([{"kind":"Port"}])").err, "weft: -: objects[0]: needs a kind and a name\n");
	EXPECT_EQ(weft("delete port a -f -").code, 2);
}

TEST_F(Cli, KindsAreFoundHoweverTheyAreWritten)
{
	answer("list", R"({"objects":[],"epoch":3})");
	start();
	const std::pair<const char *, const char *> words[] = {{"Port", "Port"},
							       {"ports", "Port"},
							       {"PORT", "Port"},
							       {"addressset", "AddressSet"},
							       {"AddressSets", "AddressSet"},
							       {"address-set", "AddressSet"},
							       {"policy", "Policy"},
							       {"policies", "Policy"}};
	for (auto &[word, kind] : words) {
		Outcome o = weft(std::string("get ") + word);
		EXPECT_EQ(o.code, 0) << word;
		EXPECT_EQ(o.out, std::string("no ") + kind + "\n");
		EXPECT_EQ(last(), std::string("list {\"kind\":\"") + kind + "\"}");
	}
	for (const char *word : {"por", "portss", "policie", "polices"}) {
		Outcome o = weft(std::string("get ") + word);
		EXPECT_EQ(o.code, 2) << word;
		EXPECT_EQ(o.err,
			  std::string("weft: ") + word + ": no such kind (there are Port, AddressSet, Policy)\n");
	}
}

TEST_F(Cli, GetPrintsColumnsThatAreInUse)
{
	answer("list", R"({"objects":[
	 {"kind":"Port","name":"web-0","type":"tap","mtu":1450,"ips":["10.0.0.1/24","10.0.0.2/24","10.0.0.3/24"],
	  "status":{"phase":"ready","port":{"up":true,"rx":1234567,"tx":99999,"dropped":0}}},
	 {"kind":"Port","name":"b","type":"memif","mtu":1450,"owner":"cni","status":{"phase":"failed","message":"no\u001bsuch socket"}}],"epoch":3})");
	start();
	EXPECT_EQ(weft("get ports").out,
		  "NAME   TYPE   IPS                         LINK    RX     TX  DROPPED  PHASE   MESSAGE\n"
		  "web-0  tap    10.0.0.1/24,10.0.0.2/24 +1  up    1.2M  99999        0  ready   -\n"
		  "b      memif  -                           -        -      -        -  failed  no?such socket\n");
	std::string wide = weft("get ports -o wide").out;
	EXPECT_NE(wide.find("10.0.0.1/24,10.0.0.2/24,10.0.0.3/24"), std::string::npos);
	EXPECT_NE(wide.find("OWNER"), std::string::npos);
	json_t *json = json_loads(weft("get ports -o json").out.c_str(), 0, nullptr);
	EXPECT_EQ(json_array_size(json_object_get(json, "objects")), 2u);
	EXPECT_EQ(json_integer_value(json_object_get(json, "epoch")), 3);
	json_decref(json);
}

TEST_F(Cli, GetShowsWarnings)
{
	answer("list", R"({"objects":[
	 {"kind":"Port","name":"a","type":"tap","status":{"phase":"ready","warnings":["one","two","three"]}},
	 {"kind":"Port","name":"b","type":"tap","status":{"phase":"ready","warnings":["one"]}},
	 {"kind":"Port","name":"c","type":"tap","status":{"phase":"pending","message":"why","warnings":["one"]}},
	 {"kind":"Port","name":"d","type":"tap","status":{"phase":"ready"}}],"epoch":3})");
	start();
	EXPECT_EQ(weft("get ports").out, "NAME  TYPE  PHASE    MESSAGE\n"
					 "a     tap   ready    warning: one (and 2 more)\n"
					 "b     tap   ready    warning: one\n"
					 "c     tap   pending  why\n"
					 "d     tap   ready    -\n");
}

TEST_F(Cli, AnEmptyListIsMeant)
{
	start();
	EXPECT_EQ(weft("apply --owner cni --prune -f -", "[]").code, 0);
	EXPECT_EQ(last(), R"(apply {"objects":[],"owner":"cni","prune":true})");
	EXPECT_EQ(weft("apply -f -", R"({"objects":[]})").code, 0);
	EXPECT_EQ(last(), R"(apply {"objects":[]})");
}

TEST_F(Cli, GetFollowsThePages)
{
	manager.verbs["list"] = [this](enum mgmt_role, json_t *p, struct rpc_error *) {
		note("list", p);
		const char *token = json_string_value(json_object_get(p, "continue"));
		if (token == nullptr)
			return json_loads(
				R"({"objects":[{"name":"a","members":["1.1.1.1/32"]}],"continue":"t1","epoch":1})", 0,
				nullptr);
		return json_loads(R"({"objects":[{"name":"b","members":[]}],"epoch":2})", 0, nullptr);
	};
	start();
	EXPECT_EQ(weft("get addresssets --owner cni").out,
		  "NAME  MEMBERS     PHASE\na     1.1.1.1/32  -\nb     -           -\n");
	EXPECT_EQ(last(), R"(list {"kind":"AddressSet","owner":"cni","continue":"t1"})");
}

TEST_F(Cli, GetOneObject)
{
	answer("get",
	       R"({"object":{"kind":"Policy","name":"p","priority":5,"ingress":[{"name":"a"},{"name":"b"}],"status":{"phase":"ready"}},"epoch":9})");
	start();
	EXPECT_EQ(weft("get policy p").out, "NAME  PRIORITY  INGRESS  PHASE\np            5  a,b      ready\n");
	EXPECT_EQ(last(), R"(get {"kind":"Policy","name":"p"})");
	EXPECT_EQ(weft("get policy p -o json").out.substr(0, 24), "{\n  \"kind\": \"Policy\",\n  ");
}

TEST_F(Cli, StatusIsForPeople)
{
	answer("status", R"({"version":"0.1.0","uptimeSeconds":93784,"epoch":17,"objects":{"Node":0,"Port":4,"Policy":1},
	 "workers":[{"id":0,"core":2,"numa":0,"rxQueues":[{"port":"web-0","queue":0},{"port":"web-0","queue":1}]},{"id":1,"core":3,"numa":0,"rxQueues":[]}],
	 "connections":{"used":123456,"capacity":1048576,"halfOpen":3},
	 "books":{"rx":2500000,"created":3,"tx":2499990,"dropped":12,"merged":0,"punted":1,"held":0,"difference":0},
	 "memory":{"hugepages":false,"megabytes":512},"note":"plain memory"})");
	start();
	EXPECT_EQ(weft("status").out,
		  "weft 0.1.0, up 1d 2h, epoch 17\n"
		  "objects      Port 4, Policy 1\n"
		  "connections  123k of 1.0M (12%), 3 half-open\n"
		  "packets      rx 2.5M + created 3 = tx 2.5M + dropped 12 + merged 0 + punted 1 + held 0\n"
		  "memory       hugepages no, megabytes 512\n"
		  "note         plain memory\n"
		  "\n"
		  "WORKER  CORE  NUMA  QUEUES  PORT/QUEUE\n"
		  "     0     2     0       2  web-0/0 web-0/1\n"
		  "     1     3     0       0  -\n");
	answer("status", R"({"connections":{"used":900,"capacity":1000,"halfOpen":3,"warning":"90 %","holders":[)"
			 R"({"kind":"Endpoint","name":"shop/a","used":700},{"kind":"Remote","name":"node-2","used":20}]}})");
	EXPECT_NE(weft("status").out.find("connections  900 of 1000 (90%), 3 half-open\n"
					  "warning      90 % of the connection table are in use: shop/a 700, node-2 20\n"),
		  std::string::npos)
		<< weft("status").out;
	answer("status", R"({"books":{"difference":-7}})");
	EXPECT_NE(weft("status").out.find("; in flight or unaccounted: -7\n"), std::string::npos);
}

TEST_F(Cli, StatsAndDrops)
{
	answer("stats",
	       R"({"workers":[{"id":0,"core":2,"turns":1000,"busyTurns":250,"busyCycles":40000,"packets":200,"bursts":50,"handed":1,
	 "decided":2,"connCreated":3,"connExpired":4,"held":0,"stages":[{"name":"parse","cycles":300,"packets":20}]}],
	 "ports":[{"name":"web-0","rx":10,"rxBytes":2048,"tx":1000000,"txBytes":5368709120,"created":0,"punted":1,"dropped":2,"drops":{}}],"tscHz":1})");
	answer("drops",
	       R"({"drops":[{"port":"web-0","reason":"no_route","packets":1234567,"help":"no route leads there"}],
	 "total":[{"reason":"no_route","packets":1234570,"help":"no route leads there"}]})");
	start();
	EXPECT_EQ(weft("stats").out,
		  "WORKER  CORE  BUSY  PACKETS  PER BURST  CYCLES/PACKET  HANDED  DECIDED  NEW CONN  EXPIRED  HELD\n"
		  "     0     2   25%      200        4.0            200       1        2         3        4     0\n"
		  "\n"
		  "PORT   RX             TX           CREATED  PUNTED  DROPPED\n"
		  "web-0  10  2.0 KiB  1.0M  5.0 GiB        0       1        2\n");
	EXPECT_NE(weft("stats -o wide").out.find("     0  parse       20             15\n"), std::string::npos);
	EXPECT_EQ(weft("drops").out, "PORT    REASON    PACKETS  WHAT IT MEANS\n"
				     "web-0   no_route  1234567  no route leads there\n"
				     "(gone)  no_route        3  no route leads there\n");
	EXPECT_EQ(weft("drops --port web-0").out, "PORT   REASON    PACKETS  WHAT IT MEANS\n"
						  "web-0  no_route  1234567  no route leads there\n");
	EXPECT_EQ(last(), R"(drops {"port":"web-0"})");
	answer("drops", R"({"drops":[],"total":[]})");
	EXPECT_EQ(weft("drops").out, "nothing was dropped\n");
}

TEST_F(Cli, SchemaDescribesKindsAndFields)
{
	start();
	EXPECT_EQ(weft("schema").out, "KIND        HELP\n"
				      "Port        where packets come and go\n"
				      "AddressSet  addresses by name\n"
				      "Policy      who may talk\n");
	EXPECT_EQ(weft("schema policy").out, "Policy: who may talk\n\n"
					     "FIELD           TYPE            DEFAULT   HELP\n"
					     "name            name            required  its name\n"
					     "priority        0..1000         optional  lower first\n"
					     "ingress         list of object  optional  rules\n"
					     "ingress[].name  name            required  its name\n"
					     "owner           name            optional  whose it is\n");
	EXPECT_NE(weft("schema ports").out.find("mtu    68..9000                1450"), std::string::npos);
}

TEST_F(Cli, WatchPrintsEventsAsTheyCome)
{
	start();
	Outcome o;
	std::thread watcher([&] { o = weft("watch ports -o json"); });
	for (int i = 0; i < 500; i++) {
		manager.emit(
			json_pack("{s:s, s:s, s:s, s:i}", "event", "port", "kind", "Port", "name", "a", "epoch", 7));
		std::this_thread::sleep_for(std::chrono::milliseconds(10));
		if (!slurp("out").empty())
			break;
	}
	stop();
	watcher.join();
	EXPECT_EQ(o.code, 2);
	EXPECT_EQ(o.out.substr(0, o.out.find('\n')), R"({"event":"port","kind":"Port","name":"a","epoch":7})");
	EXPECT_EQ(o.err, "weft: the switch at " + path + " closed the connection\n");
}

TEST_F(Cli, CallAsksAnythingAndCompleteGivesWords)
{
	answer("list", R"({"objects":[{"name":"a"},{"name":"b"}],"epoch":3})");
	start();
	EXPECT_EQ(weft("call echo '{\"a\":[1]}'").out, "{\n  \"a\": [\n    1\n  ]\n}\n");
	EXPECT_EQ(weft("call echo -", "{\"b\":1}").out, "{\n  \"b\": 1\n}\n");
	EXPECT_EQ(weft("call echo '{'").code, 2);
	EXPECT_EQ(weft("call fly").code, 1);
	EXPECT_EQ(weft("complete kinds").out, "port\naddressset\npolicy\n");
	EXPECT_EQ(weft("complete names port").out, "a\nb\n");
	EXPECT_NE(weft("complete commands").out.find("apply\n"), std::string::npos);
	EXPECT_NE(weft("complete options apply").out.find("--prune\n"), std::string::npos);
}

TEST_F(Cli, AFullDiskIsNotSuccess)
{
	answer("status", R"({"version":"0.1.0"})");
	start();
	std::string cmd = "'" WEFT_CLI "' -s '" + path + "' status >/dev/full 2>'" + dir / "err" + "'";
	int rc = system(cmd.c_str());
	EXPECT_EQ(WEXITSTATUS(rc), 2);
	EXPECT_EQ(slurp("err"), "weft: cannot write the answer: No space left on device\n");
}

} // namespace
