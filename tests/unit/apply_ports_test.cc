// SPDX-License-Identifier: Apache-2.0
// Ports that come and go with a batch, and the host's routes.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "mgmt_fake.hpp"
#include "one_line.hpp"

namespace
{

const std::string network =
	R"({"kind":"Network","name":"default","subnets":[{"prefix":"10.244.1.0/24"},{"prefix":"fd00:244:1::/64"}]})";

std::string
port(const std::string &name, const std::string &socket, const std::string &more = "")
{
	return R"({"kind":"Port","name":")" + name + R"(","type":"vhost-user","socket":")" + socket + "\"" + more + "}";
}

std::string
tap(const std::string &name, const std::string &ifname, const std::string &more = "")
{
	return R"({"kind":"Port","name":")" + name + R"(","type":"tap","ifname":")" + ifname + "\"" + more + "}";
}

class Ports : public fake::Manager
{
      protected:
	std::string
	log()
	{
		std::string text;
		for (const std::string &line : state.log)
			text += (text.empty() ? "" : ", ") + line;
		state.log.clear();
		return text;
	}

	// The id that the published configuration has for a port.
	int
	id(const std::string &name)
	{
		auto it = state.now.find({KIND_PORT, name});
		return it != state.now.end() ? it->second.facts.id : -1;
	}

	void
	TearDown() override
	{
		// What is published is what is open.
		for (auto &[key, entry] : state.now)
			if (key.first == KIND_PORT && fake::port_named(key.second) != nullptr) {
				EXPECT_EQ(fake::port_named(key.second)->id, entry.facts.id) << key.second;
				EXPECT_TRUE(mac_equal(&fake::port_named(key.second)->mac, &entry.facts.mac))
					<< key.second;
			}
	}
};

TEST_F(Ports, AreOpenedBeforeAndClosedAfter)
{
	apply(port("a", "a.sock"));
	EXPECT_EQ(log(), "open a, put a, replan, publish, wait");
	EXPECT_EQ(id("a"), 0);
	ask("delete", R"({"kind":"Port","name":"a"})");
	EXPECT_EQ(log(), "remove a, publish, wait, replan without a, close a");
	EXPECT_TRUE(state.ports.empty());
}

TEST_F(Ports, UnchangedOnesAreLeftAlone)
{
	apply(port("a", "a.sock") + "," + port("b", "b.sock"));
	log();
	EXPECT_EQ(apply(port("a", "a.sock") + "," + port("b", "b.sock") + "," + port("c", "c.sock")),
		  R"({"epoch":2,"applied":1,"unchanged":2,"deleted":0})");
	EXPECT_EQ(log(), "open c, put c, replan, publish, wait");
}

TEST_F(Ports, OneThatCannotBeOpenedTakesTheOthersBack)
{
	apply(port("a", "a.sock"));
	log();
	state.fail_open["c"] = {-EACCES, "permission denied"};
	EXPECT_EQ(apply(port("b", "b.sock") + "," + port("c", "c.sock")),
		  "-32000 objects[1].socket: permission denied");
	EXPECT_EQ(log(), "open b, open c, replan without b, close b");
	EXPECT_EQ(state.ports.size(), 1u);
	EXPECT_EQ(value("list", R"({"kind":"Port"})", {"objects", "1"}), "nothing");
	state.fail_open["c"] = {-EINVAL, "not so"};
	EXPECT_EQ(apply(port("c", "c.sock")), "-32602 objects[0].socket: not so");
}

TEST_F(Ports, WhatFailsLaterClosesThemAgain)
{
	state.fail_put["default"] = {-EINVAL, "no"};
	EXPECT_EQ(apply(port("a", "a.sock") + "," + network), "-32602 objects[1].network: no");
	EXPECT_EQ(log(), "open a, put default, abort, replan without a, close a");
	state.fail_put.clear();
	state.fail_check = "clash";
	EXPECT_EQ(apply(port("a", "a.sock")), "-32000 ips[0]: clash");
	EXPECT_EQ(log(), "open a, put a, abort, replan without a, close a");
	EXPECT_TRUE(state.ports.empty());
}

TEST_F(Ports, AChangedOneIsClosedAndOpened)
{
	apply(port("a", "a.sock") + "," + port("b", "b.sock"));
	log();
	EXPECT_EQ(apply(port("a", "a.sock", R"(,"queues":2)")), R"({"epoch":2,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_EQ(log(), "put a, abort, replan without a, close a, open a, put a, replan, publish, wait");
	EXPECT_EQ(id("a"), 0);
	EXPECT_EQ(value("get", R"({"kind":"Port","name":"a"})", {"object", "status", "port", "id"}), "0");
}

TEST_F(Ports, NothingIsClosedForABatchThatWouldNotDo)
{
	apply(port("a", "a.sock"));
	log();
	state.fail_check = "clash";
	EXPECT_EQ(apply(port("a", "a.sock", R"(,"queues":2)")), "-32000 ips[0]: clash");
	EXPECT_EQ(log(), "put a, abort");
}

TEST_F(Ports, AChangeThatFailsPutsTheOldOneBack)
{
	apply(port("a", "a.sock") + "," + port("b", "b.sock"));
	log();
	state.fail_open["c"] = {-EACCES, "permission denied"};
	// b changes; c comes, and cannot be opened: it is tried first, so that b is not touched.
	EXPECT_EQ(apply(port("b", "b.sock", R"(,"queues":2)") + "," + port("c", "c.sock")),
		  "-32000 objects[1].socket: permission denied");
	EXPECT_EQ(log(), "put b, put c, abort, open c");
	// b changes to something that cannot be opened.
	EXPECT_EQ(apply(port("b", "a.sock")), "-32000 objects[0]: socket a.sock is taken by port a");
	EXPECT_EQ(log(), "put b, abort, replan without b, close b, open b, open b, replan");
	EXPECT_EQ(id("b"), 1);
	EXPECT_EQ(phase("Port", "b"), "\"ready\"");
	EXPECT_EQ(value("get", R"({"kind":"Port","name":"b"})", {"object", "socket"}), "\"b.sock\"");
	EXPECT_EQ(value("status", "{}", {"epoch"}), "1");
}

TEST_F(Ports, OneThatComesBackUnderAnotherIdIsKnownByIt)
{
	apply(port("a", "a.sock") + "," + port("b", "b.sock") + "," + port("x", "x.sock"));
	ask("delete", R"({"kind":"Port","name":"a"})");
	log();
	// b has id 1 and is closed for nothing; on its way back it gets 0, the lowest free one.
	EXPECT_EQ(apply(port("b", "x.sock")), "-32000 objects[0]: socket x.sock is taken by port x");
	EXPECT_EQ(log(), "put b, abort, replan without b, close b, open b, open b, put b, publish, replan");
	EXPECT_EQ(id("b"), 0);
	EXPECT_EQ(value("status", "{}", {"epoch"}), "2"); // to people nothing has changed
}

TEST_F(Ports, OneThatCannotComeBackSaysSoAndItsIdIsNobodys)
{
	apply(port("a", "a.sock") + "," + port("b", "b.sock"));
	log();
	// The new spec is refused, and from then on every one: b stays closed.
	state.fail_open["b"] = {-ENODEV, "the device is gone"};
	EXPECT_EQ(apply(port("b", "b.sock", R"(,"queues":2)")), "-32000 objects[0].socket: the device is gone");
	EXPECT_EQ(phase("Port", "b"), "\"failed\"");
	EXPECT_EQ(value("get", R"({"kind":"Port","name":"b"})", {"object", "status", "message"}),
		  "\"closed for a change that failed, and then: the device is gone\"");
	EXPECT_EQ(id("b"), WEFT_MAX_PORTS - 1);
	// The next port takes the free id, and traffic for b does not go there.
	apply(port("c", "c.sock"));
	EXPECT_EQ(id("c"), 1);
	// It is tried again when it is applied again, though its spec is the one that is there.
	EXPECT_EQ(apply(port("b", "b.sock")).substr(0, 6), "-32000");
	state.fail_open.clear();
	EXPECT_EQ(apply(port("b", "b.sock")), R"({"epoch":3,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_EQ(id("b"), 2);
	EXPECT_EQ(phase("Port", "b"), "\"ready\"");
}

TEST_F(Ports, ASocketMovesFromOneToAnother)
{
	apply(port("a", "x.sock") + "," + port("b", "b.sock"));
	log();
	// By a whole desired state: a goes, c comes with a's socket.
	apply(port("b", "b.sock") + "," + port("a", "x.sock"), R"(,"owner":"cni")");
	log();
	EXPECT_EQ(apply(port("b", "b.sock") + "," + port("c", "x.sock"), R"(,"owner":"cni","prune":true)"),
		  R"({"epoch":3,"applied":1,"unchanged":1,"deleted":1})");
	EXPECT_EQ(log(), "remove a, put c, abort, open c, replan without a, close a, open c, remove a, put c, replan, "
			 "publish, wait");
	EXPECT_EQ(id("c"), 0);
	EXPECT_EQ(id("a"), -1);
}

TEST_F(Ports, TwoMayTradeTheirSockets)
{
	apply(port("a", "a.sock") + "," + port("b", "b.sock"));
	log();
	EXPECT_EQ(apply(port("a", "b.sock") + "," + port("b", "a.sock")),
		  R"({"epoch":2,"applied":2,"unchanged":0,"deleted":0})");
	EXPECT_EQ(state.claims["socket a.sock"], "b");
	EXPECT_EQ(state.claims["socket b.sock"], "a");
}

TEST_F(Ports, ChangedOnesNeverTakeEachOthersIds)
{
	apply(port("a", "a.sock") + "," + port("b", "b.sock") + "," + port("c", "c.sock") + "," + port("d", "d.sock"));
	ask("delete", R"({"kind":"Port","name":"b"})");
	apply(port("a", "a.sock", R"(,"queues":2)") + "," + port("c", "c.sock", R"(,"queues":2)") + "," +
	      port("d", "d.sock", R"(,"queues":2)"));
	EXPECT_EQ(id("d"), 1); // the free one
	EXPECT_EQ(id("c"), 2);
	EXPECT_EQ(id("a"), 0);
}

TEST_F(Ports, ADryRunOpensNothing)
{
	apply(port("a", "a.sock"));
	log();
	EXPECT_EQ(apply(port("a", "z.sock") + "," + port("b", "b.sock"), R"(,"dryRun":true)"),
		  R"({"epoch":1,"applied":2,"unchanged":0,"deleted":0,"dryRun":true})");
	EXPECT_EQ(log(), "put a, put b, abort");
}

TEST_F(Ports, TwoHundredOfThem)
{
	std::string batch;
	for (int i = 0; i < 200; i++)
		batch += (i > 0 ? "," : "") + port("p" + std::to_string(i), std::to_string(i) + ".sock");
	EXPECT_EQ(apply(batch, R"(,"owner":"cni")"), R"({"epoch":1,"applied":200,"unchanged":0,"deleted":0})");
	EXPECT_EQ(state.ports.size(), 200u);
	EXPECT_EQ(apply("", R"(,"owner":"cni","prune":true)"),
		  R"({"epoch":2,"applied":0,"unchanged":0,"deleted":200})");
	EXPECT_TRUE(state.ports.empty());
}

TEST_F(Ports, StatusCountsFromWhenTheyWereOpened)
{
	state.counters[0].rx = 100;
	state.counters[0].drop[DROP_RUNT] = 5;
	apply(port("a", "a.sock"));
	state.counters[0].rx = 107;
	state.counters[0].rx_bytes = 640;
	state.counters[0].drop[DROP_RUNT] = 6;
	state.counters[0].drop[DROP_TTL] = 2;
	EXPECT_EQ(
		value("get", R"({"kind":"Port","name":"a"})", {"object", "status", "port"}),
		R"({"id":0,"up":true,"peer":"connected, 1 queue","rx":7,"rxBytes":640,"tx":0,"txBytes":0,"created":0,"punted":0,"dropped":3})");
	EXPECT_EQ(value("stats", "{}", {"ports", "0", "drops"}), R"({"runt":1,"ttl":2})");
	EXPECT_EQ(value("stats", "{}", {"ports", "0", "rx"}), "7");
	EXPECT_EQ(value("drops", R"({"port":"a"})", {"drops", "0"}),
		  R"({"port":"a","reason":"runt","packets":1,"help":"shorter than the headers it claims to have"})");
	EXPECT_EQ(value("drops", "{}", {"total", "0", "packets"}), "6");
	EXPECT_EQ(value("drops", "{}", {"drops", "2"}), "nothing");
	EXPECT_EQ(ask("drops", R"({"port":"b"})"), "-32001 there is no open Port b");
}

TEST_F(Ports, PlacementIsShown)
{
	apply(port("a", "a.sock") + "," + port("b", "b.sock"));
	EXPECT_EQ(value("status", "{}", {"workers", "0", "rxQueues"}),
		  R"([{"port":"a","queue":0},{"port":"b","queue":0}])");
	ask("delete", R"({"kind":"Port","name":"a"})");
	EXPECT_EQ(value("status", "{}", {"workers", "0", "rxQueues"}), R"([{"port":"b","queue":0}])");
}

// --- the host's routes ---

const std::string host = tap("host", "weft0", R"(,"host":true,"ips":["192.0.2.1/24"])");

class HostRoutes : public Ports
{
};

TEST_F(HostRoutes, FollowNetworksAndTheHostPort)
{
	apply(network);
	EXPECT_TRUE(state.routes.empty());
	apply(host);
	EXPECT_EQ(state.routes,
		  (std::map<std::string, std::string>{{"10.244.1.0/24", "weft0"}, {"fd00:244:1::/64", "weft0"}}));
	apply(R"({"kind":"Network","name":"default","subnets":[{"prefix":"10.244.1.0/24"},{"prefix":"10.244.7.0/24"}]})");
	EXPECT_EQ(state.routes,
		  (std::map<std::string, std::string>{{"10.244.1.0/24", "weft0"}, {"10.244.7.0/24", "weft0"}}));
	ask("delete", R"({"kind":"Network","name":"default"})");
	EXPECT_TRUE(state.routes.empty());
	apply(network);
	ask("delete", R"({"kind":"Port","name":"host"})");
	EXPECT_TRUE(state.routes.empty());
}

TEST_F(HostRoutes, ComeBackWithTheDevice)
{
	apply(network + "," + host);
	state.routes.clear(); // the kernel takes a device's routes with it
	apply(tap("host", "weft0", R"(,"host":true,"ips":["192.0.2.2/24"])"));
	EXPECT_EQ(state.routes.size(), 2u);
}

TEST_F(HostRoutes, ComeBackWithADeviceThatAFailureTookAway)
{
	apply(network + "," + host);
	const auto before = state.routes;
	EXPECT_EQ(before.size(), 2u);
	apply(tap("other", "eth9"));
	EXPECT_EQ(apply(tap("host", "eth9", R"(,"host":true)")), "-32000 objects[0]: device eth9 is taken by port other");
	EXPECT_EQ(state.routes, before);
}

TEST_F(HostRoutes, MoveWithItsName)
{
	apply(network + "," + host);
	apply(tap("host", "weft1", R"(,"host":true)"));
	EXPECT_EQ(state.routes,
		  (std::map<std::string, std::string>{{"10.244.1.0/24", "weft1"}, {"fd00:244:1::/64", "weft1"}}));
}

TEST_F(HostRoutes, AFailureIsAWarning)
{
	state.other_routes.insert("10.244.1.0/24");
	EXPECT_EQ(apply(network + "," + host), R"({"epoch":1,"applied":2,"unchanged":0,"deleted":0})");
	EXPECT_EQ(value("get", R"({"kind":"Network","name":"default"})", {"object", "status", "warnings"}),
		  R"(["the host has no route to 10.244.1.0/24 by weft0: another device has the prefix"])");
	EXPECT_EQ(state.routes.size(), 1u);
	state.other_routes.clear();
	apply(tap("host", "weft0", R"(,"host":true,"ips":["192.0.2.2/24"])"));
	EXPECT_EQ(value("get", R"({"kind":"Network","name":"default"})", {"object", "status", "warnings"}), "nothing");
	EXPECT_EQ(state.routes.size(), 2u);
}

TEST_F(HostRoutes, ToServicesAndToThePodsOfOtherNodes)
{
	const std::string node = R"({"kind":"Node","name":"n","self":true,"ips":["192.0.2.1"],"serviceCIDRs":["10.96.0.0/12","fd00:96::/112"]})",
			  other = R"({"kind":"Node","name":"o","ips":["192.0.2.2"],"serviceCIDRs":["10.0.0.0/12"]})";
	auto remote = [](const std::string &prefixes) {
		return R"({"kind":"Remote","name":"r","network":"default","vtep":"192.0.2.2","prefixes":[)" + prefixes +
		       R"(],"endpoints":[{"ip":"10.9.9.9","mac":"02:00:00:00:00:09"}]})";
	};
	apply(network + "," + host + "," + node + "," + other + "," + remote(R"("10.244.2.0/24","0.0.0.0/0","::/0")"));
	std::map<std::string, std::string> want;
	for (const char *p : {"10.244.1.0/24", "fd00:244:1::/64", "10.96.0.0/12", "fd00:96::/112", "10.244.2.0/24", "10.9.9.9/32"})
		want[p] = "weft0";
	EXPECT_EQ(state.routes, want) << "and none to everywhere";
	apply(remote(R"("10.244.2.0/24","10.244.3.0/24")"));
	want["10.244.3.0/24"] = "weft0";
	EXPECT_EQ(state.routes, want);
	ask("delete", R"({"kind":"Remote","name":"r"})");
	apply(R"({"kind":"Node","name":"n","self":true,"ips":["192.0.2.1"],"serviceCIDRs":["10.96.0.0/12"]})");
	for (const char *p : {"10.244.2.0/24", "10.244.3.0/24", "10.9.9.9/32", "fd00:96::/112"})
		want.erase(p);
	EXPECT_EQ(state.routes, want);
}

TEST_F(HostRoutes, ARouteOfARemoteThatIsTakenIsItsWarning)
{
	state.other_routes.insert("10.244.2.0/24");
	apply(network + "," + host + R"(,{"kind":"Remote","name":"r","network":"default","vtep":"192.0.2.2","prefixes":["10.244.2.0/24"]})");
	EXPECT_EQ(value("get", R"({"kind":"Remote","name":"r"})", {"object", "status", "warnings"}),
		  R"(["the host has no route to 10.244.2.0/24 by weft0: another device has the prefix"])");
	state.other_routes.clear();
	apply(R"({"kind":"Remote","name":"s","network":"default","vtep":"192.0.2.3","prefixes":["10.244.3.0/24"]})");
	EXPECT_EQ(state.routes.count("10.244.2.0/24"), 1u) << "it is tried again with the next change";
	EXPECT_EQ(value("get", R"({"kind":"Remote","name":"r"})", {"object", "status", "warnings"}), "nothing");
}

TEST_F(HostRoutes, OtherPortsAreNotAsked)
{
	apply(network + "," + tap("pod", "eth0"));
	EXPECT_TRUE(state.routes.empty());
}

// Ports of an address that the node's kernel has as well, with sysctls of a folder of the test's own.
class KernelPorts : public fake::Manager
{
      protected:
	std::string dir = "/tmp/weft-natports-" + std::to_string(getpid()), reserved = dir + "/ip_local_reserved_ports",
		    range = dir + "/ip_local_port_range";
	const std::string node = R"({"kind":"Node","name":"n","self":true,"ips":["192.0.2.1"]})",
			  host = tap("host", "weft0", R"(,"host":true)"),
			  warnings = R"({"kind":"Network","name":"default"})";

	KernelPorts()
	{
		mkdir(dir.c_str(), 0700);
		write_line(reserved, "9000");
		write_line(range, "32768 60999");
		sysctl_dir = state_dir = dir.c_str();
	}

	~KernelPorts() override
	{
		stop();
		std::filesystem::remove_all(dir);
	}

	static std::string
	masquerade(unsigned int first, unsigned int last)
	{
		return R"({"kind":"Network","name":"default","masquerade":{"ips":["192.0.2.1"],"portRange":[)" + std::to_string(first) + "," +
		       std::to_string(last) + "]}}";
	}

	static std::string
	service(const std::string &name, int node_port)
	{
		return R"({"kind":"Service","name":")" + name + R"(","network":"default","ips":["10.96.0.1"],"ports":[{"port":80,"nodePort":)" +
		       std::to_string(node_port) + "}]}";
	}
};

TEST_F(KernelPorts, FollowWhatWantsThem)
{
	apply(masquerade(40000, 49999));
	EXPECT_EQ(read_line(reserved), "9000") << "the kernel does not have the address";
	apply(node + "," + host);
	EXPECT_EQ(read_line(reserved), "9000,40000-49999");
	apply(service("a", 30080));
	EXPECT_EQ(read_line(reserved), "9000,30080,40000-49999");
	apply(masquerade(50000, 50999) + "," + service("a", 30081));
	EXPECT_EQ(read_line(reserved), "9000,30081,50000-50999");
	ask("delete", R"({"kind":"Port","name":"host"})");
	EXPECT_EQ(read_line(reserved), "9000");
}

TEST_F(KernelPorts, AFailedChangeLeavesThemAsTheyWere)
{
	apply(node + "," + host + "," + masquerade(40000, 49999));
	state.fail_put["a"] = {-EINVAL, "no"};
	EXPECT_EQ(apply(masquerade(32768, 60999) + "," + service("a", 30080)), "-32602 objects[1].network: no");
	EXPECT_EQ(read_line(reserved), "9000,40000-49999");
	state.fail_put.clear();
	EXPECT_EQ(apply(masquerade(1024, 65535) + "," + service("a", 30080)),
		  "-32000 objects[0].masquerade.portRange: only 0 ports of net.ipv4.ip_local_port_range (32768 60999) would be left to the node "
		  "itself: make portRange smaller");
	EXPECT_EQ(read_line(reserved), "9000,40000-49999");
	EXPECT_EQ(read_line(range), "32768 60999");
}

TEST_F(KernelPorts, MayMoveToWhereTheyWouldNotFitBesideTheOldOnes)
{
	apply(node + "," + host + "," + masquerade(32768, 60999));
	EXPECT_EQ(read_line(range), "10000 60999");
	EXPECT_EQ(apply(masquerade(10000, 32767)), R"({"epoch":2,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_EQ(read_line(reserved), "9000,10000-32767");
	EXPECT_EQ(read_line(range), "32768 60999");
	state.fail_put["a"] = {-EINVAL, "no"};
	EXPECT_EQ(apply(masquerade(32768, 60999) + "," + service("a", 30080)), "-32602 objects[1].network: no");
	EXPECT_EQ(read_line(reserved), "9000,10000-32767");
}

TEST_F(KernelPorts, AreCheckedBeforeAnythingIsTouched)
{
	const std::string refusal = "-32000 objects[0].masquerade.portRange: only 0 ports of net.ipv4.ip_local_port_range (32768 60999) would be "
				    "left to the node itself: make portRange smaller";
	apply(node + "," + host + "," + masquerade(40000, 49999));
	EXPECT_EQ(ask("apply", R"({"dryRun":true,"objects":[)" + masquerade(1024, 65535) + "]}"), refusal);
	EXPECT_EQ(ask("apply", R"({"dryRun":true,"objects":[)" + masquerade(32768, 60999) + "]}"),
		  R"({"epoch":1,"applied":1,"unchanged":0,"deleted":0,"dryRun":true})");
	state.log.clear();
	EXPECT_EQ(apply(masquerade(1024, 65535) + "," + tap("host", "weft0", R"(,"host":true,"mtu":1400)")), refusal);
	for (const std::string &line : state.log)
		EXPECT_NE(line, "close host");
	EXPECT_EQ(read_line(reserved), "9000,40000-49999");
	EXPECT_EQ(read_line(range), "32768 60999");
}

TEST_F(KernelPorts, AreGivenBackAtTheEnd)
{
	apply(node + "," + host + "," + masquerade(32768, 60999) + "," + service("a", 30080));
	EXPECT_EQ(read_line(reserved), "9000,30080,32768-60999");
	EXPECT_EQ(read_line(range), "10000 60999");
	stop();
	EXPECT_EQ(read_line(reserved), "9000");
	EXPECT_EQ(read_line(range), "32768 60999");
	ASSERT_EQ(start(), 0) << error.text;
	EXPECT_EQ(read_line(reserved), "9000,30080,32768-60999");
	EXPECT_EQ(read_line(range), "10000 60999");
}

TEST_F(KernelPorts, ThatAStartCannotHaveAreAWarning)
{
	apply(node + "," + host + "," + masquerade(40000, 49999) + R"(,{"kind":"Network","name":"other"})");
	EXPECT_EQ(value("get", warnings, {"object", "status", "warnings"}), "nothing");
	stop();
	write_line(range, "40000 49999");
	write_line(reserved, "1-39999");
	ASSERT_EQ(start(), 0) << "it is better without than not at all: " << error.text;
	EXPECT_EQ(value("get", warnings, {"object", "status", "warnings"}),
		  R"(["masquerade.portRange: only 0 ports of net.ipv4.ip_local_port_range (40000 49999) would be left to the node itself: make )"
		  R"(portRange smaller"])");
	EXPECT_EQ(value("get", R"({"kind":"Network","name":"other"})", {"object", "status", "warnings"}), "nothing");
	// Who asks for something else is not told of it.
	EXPECT_EQ(apply(service("a", 30080)), R"({"epoch":2,"applied":1,"unchanged":0,"deleted":0})");
	EXPECT_NE(value("get", warnings, {"object", "status", "warnings"}), "nothing");
	write_line(range, "32768 60999");
	write_line(reserved, "9000");
	apply(service("a", 30081));
	EXPECT_EQ(value("get", warnings, {"object", "status", "warnings"}), "nothing");
	EXPECT_EQ(read_line(reserved), "9000,30081,40000-49999");
}

} // namespace
