// SPDX-License-Identifier: Apache-2.0
// Endpoints with "admit":"closed": neither open before their policy, nor without their first packets.
#include "fragments.hpp"
#include "switch.hpp"

using namespace weft;

namespace
{

struct Admission : testing::Test {
	Switch sw;
	const std::string closed = R"(,"admit":"closed")", deny = R"("endpoints":["new"],"types":["Ingress","Egress"])";
	void SetUp() override
	{
		sw.network();
		sw.pod("old", "10.244.1.5");
		sw.pod("new", "10.244.1.6", closed);
	}
	void policy(const std::string &name, const std::string &body)
	{
		ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"" + name + "\",\"network\":\"default\"," + body + "}")) << sw.error;
	}
	std::string endpoint(const std::string &more)
	{
		return R"({"kind":"Endpoint","name":"new","network":"default","port":"new","mac":"02:00:00:00:01:06","ips":["10.244.1.6","fd00:244:1::6"])" + more + "}";
	}
	void open() { ASSERT_TRUE(sw.apply(endpoint(""))) << sw.error; }
	uint64_t held()
	{
		struct totals t;
		workers_totals(&t);
		EXPECT_EQ(t.difference, 0);
		return t.held;
	}
	std::string phase()
	{
		json_t *r = sw.call("get", R"({"kind":"Endpoint","name":"new"})");
		std::string s = json_string_value(json_object_get(json_object_get(json_object_get(r, "object"), "status"), "phase"));
		json_decref(r);
		return s;
	}
	Packet out(uint16_t sport) { return sw.between("new", "old").udp(sport, 53).data(std::to_string(sport)); }
	Packet in(uint16_t sport) { return sw.between("old", "new").udp(sport, 53).data(std::to_string(sport)); }
};

} // namespace

TEST_F(Admission, NothingButArpAndNdBeforeIt)
{
	EXPECT_EQ(phase(), "closed");
	sw.give("new", arp(1, sw.mac("new"), "10.244.1.6", "00:00:00:00:00:00", "10.244.1.1"));
	sw.settle();
	EXPECT_TRUE(sw.take("new").is_arp());
	sw.send("new", out(1));
	sw.send("old", in(2));
	Packet ping = sw.to("new", "10.244.1.1").echo(1, 1);
	sw.send("new", ping);
	EXPECT_TRUE(sw.nothing("old"));
	EXPECT_TRUE(sw.nothing("new"));
	EXPECT_EQ(held(), 3u);
	EXPECT_EQ(sw.connections(), 0u);
}

TEST_F(Admission, WhatWaitedGoesWhenItIsOpened)
{
	for (uint16_t i = 1; i <= 5; i++) {
		sw.send("new", out(i));
		sw.send("old", in((uint16_t)(100 + i)));
	}
	open();
	EXPECT_EQ(phase(), "ready");
	sw.settle();
	auto got = sw.take_all("old");
	ASSERT_EQ(got.size(), 5u);
	for (uint16_t i = 0; i < 5; i++)
		EXPECT_EQ(got[i].text(), std::to_string(i + 1)) << "in the order in which they came";
	EXPECT_EQ(sw.take_all("new").size(), 5u);
	EXPECT_EQ(held(), 0u);
	EXPECT_EQ(sw.connections(), 10u);
}

TEST_F(Admission, WhatWaitedGoesByThePolicyThatCovers)
{
	sw.send("new", out(1));
	sw.send("new", sw.between("new", "old").udp(2, 80));
	sw.send("old", in(3));
	policy("p", R"("endpoints":["new"],"types":["Ingress","Egress"],"egress":[{"ports":[{"protocol":"UDP","port":53}]}])");
	EXPECT_EQ(phase(), "ready");
	sw.settle();
	auto got = sw.take_all("old");
	ASSERT_EQ(got.size(), 1u);
	EXPECT_EQ(got[0].sport(), 1);
	EXPECT_TRUE(sw.nothing("new"));
	EXPECT_EQ(sw.drops("policy_egress"), 1u);
	EXPECT_EQ(sw.drops("policy_ingress"), 1u);
}

TEST_F(Admission, APolicyForTheWholeNetworkCovers)
{
	policy("all", R"("types":["Ingress"])");
	EXPECT_EQ(phase(), "ready");
}

TEST_F(Admission, ThePolicyOfTheSameBatchCovers)
{
	ASSERT_TRUE(sw.remove("Endpoint", "new"));
	ASSERT_TRUE(sw.apply(endpoint(closed) + R"(,{"kind":"Policy","name":"p","network":"default","endpoints":["new"]})")) << sw.error;
	EXPECT_EQ(phase(), "ready");
	sw.send("old", in(1));
	EXPECT_TRUE(sw.nothing("new"));
}

TEST_F(Admission, WhatDoesNotConcernItDoesNotOpenIt)
{
	policy("other", R"("endpoints":["old"])");
	policy("none", R"("endpoints":[])");
	sw.network("blue", 200, "10.99.1");
	ASSERT_TRUE(sw.apply(R"({"kind":"Policy","name":"blue","network":"blue"},{"kind":"AddressSet","name":"s","network":"default","members":["10.244.1.6"]})"));
	ASSERT_TRUE(sw.remove("Policy", "other"));
	sw.pod("third", "10.244.1.7");
	EXPECT_EQ(phase(), "closed");
}

TEST_F(Admission, APolicyThatWasThereBeforeCoversWhenItIsAppliedAgain)
{
	ASSERT_TRUE(sw.remove("Endpoint", "new"));
	policy("p", deny);
	ASSERT_TRUE(sw.apply(endpoint(closed))) << sw.error;
	EXPECT_EQ(phase(), "closed");
	policy("p", deny);
	EXPECT_EQ(phase(), "ready");
	sw.send("new", out(1));
	EXPECT_EQ(sw.drops("policy_egress"), 1u);
}

TEST_F(Admission, ADryRunOfApplyOpensNothing)
{
	json_t *r = sw.call("apply", R"({"dryRun":true,"objects":[{"kind":"Policy","name":"p","network":"default"}]})");
	ASSERT_NE(r, nullptr) << sw.error;
	json_decref(r);
	EXPECT_EQ(phase(), "closed");
}

TEST_F(Admission, OnceAdmittedItStaysSoWhileItIsTheSamePod)
{
	policy("p", R"("endpoints":["new"],"ingress":[{}])");
	ASSERT_TRUE(sw.remove("Policy", "p"));
	EXPECT_EQ(phase(), "ready");
	ASSERT_TRUE(sw.apply(endpoint(closed + R"(,"ports":[{"name":"dns","port":53}])"))) << sw.error;
	EXPECT_EQ(phase(), "ready");
	sw.send("old", in(1));
	sw.take("new");
	std::string other = endpoint(closed);
	other.replace(other.find("10.244.1.6"), 10, "10.244.1.9");
	ASSERT_TRUE(sw.apply(other)) << sw.error;
	EXPECT_EQ(phase(), "closed") << "another address: another pod by the same name";
	open();
	ASSERT_TRUE(sw.apply(endpoint(closed)));
	EXPECT_EQ(phase(), "closed") << "who was open is closed when somebody says so";
}

TEST_F(Admission, EstablishedConnectionsWaitToo)
{
	open();
	sw.send("new", out(1));
	sw.take("old");
	ASSERT_TRUE(sw.apply(endpoint(closed))) << sw.error;
	sw.send("new", out(1));
	Packet answer = sw.between("old", "new").udp(53, 1);
	sw.send("old", answer);
	EXPECT_TRUE(sw.nothing("old"));
	EXPECT_TRUE(sw.nothing("new"));
	EXPECT_EQ(held(), 2u);
	open();
	sw.settle();
	EXPECT_EQ(sw.take_all("old").size(), 1u);
	EXPECT_EQ(sw.take_all("new").size(), 1u);
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Admission, AFewWaitForEachAndTheRestIsDropped)
{
	sw.pod("more", "10.244.1.8", closed);
	for (uint16_t i = 1; i <= 40; i++)
		sw.send("new", out(i));
	EXPECT_EQ(held(), 16u);
	EXPECT_EQ(sw.drops("admission"), 24u);
	sw.send("more", sw.between("more", "old").udp(1, 53));
	EXPECT_EQ(held(), 17u) << "one endpoint's flood does not take the room of another";
	open();
	sw.settle();
	EXPECT_EQ(sw.take_all("old").size(), 16u);
	EXPECT_EQ(held(), 1u);
}

TEST_F(Admission, WhoeverWaitsTooLongIsDropped)
{
	sw.send("new", out(1));
	for (int i = 0; i < 62; i++) {
		usleep(100000);
		sw.settle();
	}
	EXPECT_EQ(held(), 0u);
	EXPECT_EQ(sw.drops("admission"), 1u);
}

TEST_F(Admission, ThroughAServiceFromTheHostAndThroughTheTunnel)
{
	sw.node();
	sw.remote();
	ASSERT_TRUE(sw.apply(R"({"kind":"Service","name":"s","network":"default","ips":["10.96.0.10"],"ports":[{"name":"m","protocol":"UDP","port":80,"targetPort":53}],
		"backends":[{"ip":"10.244.1.6"}]})"))
		<< sw.error;
	sw.send("old", sw.to("old", "10.96.0.10").udp(1, 80).data("service"));
	Packet host;
	host.macs("02:00:00:00:ff:01", "02:00:00:00:00:01").ip("192.0.2.1", "10.244.1.6").udp(2, 53).data("host");
	sw.send("host", host);
	Packet far, outer;
	far.macs("02:00:00:00:02:01", "02:00:00:00:00:01").ip("10.244.2.10", "10.244.1.6").udp(3, 53).data("tunnel");
	Bytes inner = far.bytes();
	outer.macs("02:00:00:00:ff:02", "02:00:00:00:ff:01").ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
	outer.payload = {8, 0, 0, 0, 0, 0, 100, 0};
	outer.payload.insert(outer.payload.end(), inner.begin(), inner.end());
	sw.send("uplink0", outer);
	EXPECT_TRUE(sw.nothing("new"));
	EXPECT_EQ(held(), 3u);
	open();
	sw.settle();
	auto got = sw.take_all("new");
	ASSERT_EQ(got.size(), 3u) << sw.drops_text();
	EXPECT_EQ(got[0].text(), "service");
	EXPECT_EQ(got[1].text(), "host");
	EXPECT_EQ(got[2].text(), "tunnel");
	for (auto &f : got)
		EXPECT_EQ(f.checksums(), "");
	sw.take_all("uplink0");
}

TEST_F(Admission, FromAClientOutside)
{
	sw.node();
	ASSERT_TRUE(sw.apply(R"({"kind":"Node","name":"n","self":true,"ips":["192.0.2.1"]},{"kind":"Service","name":"s","network":"default","ips":["10.96.0.10"],
		"externalIPs":["192.0.2.100"],"ports":[{"name":"m","protocol":"UDP","port":80,"targetPort":53}],"backends":[{"ip":"10.244.1.6"}]})"))
		<< sw.error;
	Packet p;
	p.macs("02:00:00:00:ff:09", "02:00:00:00:ff:01").ip("192.0.2.9", "192.0.2.100").udp(4000, 80).data("outside");
	sw.send("uplink0", p);
	EXPECT_TRUE(sw.nothing("new"));
	EXPECT_EQ(held(), 1u);
	open();
	sw.settle();
	Frame f = sw.take("new");
	EXPECT_EQ(f.text(), "outside");
	EXPECT_EQ(f.dport(), 53);
	EXPECT_EQ(f.checksums(), "");
	sw.take_all("uplink0");
}

TEST_F(Admission, AnEndpointThatGoesTakesWhatWaitsWithIt)
{
	sw.send("new", out(1));
	sw.send("old", in(2));
	EXPECT_EQ(held(), 2u);
	ASSERT_TRUE(sw.remove("Endpoint", "new"));
	sw.settle();
	EXPECT_EQ(held(), 0u);
	sw.take_all("old"); // is told that nobody is there
}

TEST_F(Admission, APortThatGoesTakesWhatWaitsWithIt)
{
	sw.send("new", out(1));
	json_t *r = sw.call("delete", R"({"objects":[{"kind":"Endpoint","name":"new"},{"kind":"Port","name":"new"}]})");
	ASSERT_NE(r, nullptr) << sw.error;
	json_decref(r);
	sw.settle();
	EXPECT_EQ(held(), 0u);
	EXPECT_TRUE(sw.nothing("old"));
}

// Two workers turn while the endpoint comes, waits and is covered: every packet that waited arrives.
TEST(AdmissionWorkers, NothingIsLostInTheMomentOfAdmission)
{
	Switch sw(2);
	sw.network();
	sw.pod("old", "10.244.1.5");
	sw.pod("new", "10.244.1.6", R"(,"admit":"closed")");
	cpu_set_t cpus;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	std::vector<int> cores;
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &cpus))
			cores.push_back(i);
	const std::string whole = R"({"kind":"Endpoint","name":"new","network":"default","port":"new","mac":"02:00:00:00:01:06","ips":["10.244.1.6","fd00:244:1::6"],"admit":)";
	sw.run_threads(cores);
	for (unsigned int round = 0; round < 60; round++) {
		// Some before the change, some while it is made.
		const uint16_t n = 14;
		std::thread change([&] {
			usleep(round * 37 % 900);
			EXPECT_TRUE(round % 2 == 0 ? sw.apply(R"({"kind":"Policy","name":"p","network":"default","endpoints":["new"],"ingress":[{}]})") : sw.apply(whole + "\"open\"}"))
				<< sw.error;
		});
		for (uint16_t i = 0; i < n; i++) {
			uint16_t sport = (uint16_t)(1000 + round * 64 + i);
			sw.give("new", sw.between("new", "old").udp(sport, 53).bytes());
			sw.give("old", sw.between("old", "new").udp(sport, 53).bytes());
			usleep(30);
		}
		change.join();
		for (const char *name : {"old", "new"}) {
			std::vector<uint16_t> got;
			for (int wait = 0; wait < 2000 && got.size() < n; wait++) {
				for (auto &f : sw.take_all(name))
					got.push_back(f.sport());
				usleep(1000);
			}
			ASSERT_EQ(got.size(), n) << name << " in round " << round << "; " << sw.drops_text();
		}
		// Closed again for the next round: as another pod by the same name.
		ASSERT_TRUE(sw.remove("Endpoint", "new")) << sw.error;
		json_decref(sw.call("delete", R"({"kind":"Policy","name":"p"})"));
		ASSERT_TRUE(sw.apply(whole + "\"closed\"}")) << sw.error;
	}
	sw.stop_threads();
}

// Over a restart: who was admitted still is, and who was not is not.
TEST(AdmissionStore, IsRemembered)
{
	char dir[] = "/tmp/weft-admission-XXXXXX";
	ASSERT_NE(mkdtemp(dir), nullptr);
	Switch sw;
	auto restart = [&] {
		mgmt_stop(sw.mgmt);
		struct mgmt_options o = {};
		struct error e = {};
		o.version = "test", o.state_dir = dir;
		ASSERT_EQ(mgmt_start(&sw.mgmt, &o, &e), 0) << e.text;
	};
	auto phase = [&](const std::string &name) {
		json_t *r = sw.call("get", R"({"kind":"Endpoint","name":")" + name + "\"}");
		std::string s = json_string_value(json_object_get(json_object_get(json_object_get(r, "object"), "status"), "phase"));
		json_decref(r);
		return s;
	};
	restart();
	sw.network();
	sw.pod("a", "10.244.1.5", R"(,"admit":"closed")");
	sw.pod("b", "10.244.1.6", R"(,"admit":"closed")");
	ASSERT_TRUE(sw.apply(R"({"kind":"Policy","name":"p","network":"default","endpoints":["a"]})")) << sw.error;
	ASSERT_TRUE(sw.remove("Policy", "p"));
	EXPECT_EQ(phase("a"), "ready");
	EXPECT_EQ(phase("b"), "closed");
	restart();
	EXPECT_EQ(phase("a"), "ready");
	EXPECT_EQ(phase("b"), "closed");
	ASSERT_TRUE(sw.apply(R"({"kind":"Endpoint","name":"a","network":"default","port":"a","mac":"02:00:00:00:01:05","ips":["10.244.1.5","fd00:244:1::5"],
		"admit":"closed","ports":[{"name":"x","port":1}]})"))
		<< sw.error;
	EXPECT_EQ(phase("a"), "ready");
	restart();
	EXPECT_EQ(phase("a"), "ready");
	mgmt_stop(sw.mgmt);
	struct mgmt_options o = {};
	struct error e = {};
	o.version = "test";
	ASSERT_EQ(mgmt_start(&sw.mgmt, &o, &e), 0);
	for (const char *f : {"/objects.db", "/objects.db-wal", "/objects.db-shm"})
		unlink((std::string(dir) + f).c_str());
	rmdir(dir);
}

// Datagrams in fragments wait and go as others do: whole, half of it there when it is opened, the last first.
TEST_F(Admission, FragmentsWaitToo)
{
	for (bool from_new : {true, false})
		for (int before : {4, 2, 1})
			for (bool backwards : {false, true}) {
				ASSERT_TRUE(sw.remove("Endpoint", "new")) << sw.error;
				ASSERT_TRUE(sw.apply(endpoint(closed))) << sw.error;
				const char *from = from_new ? "new" : "old", *to = from_new ? "old" : "new";
				Packet p = (from_new ? out(7) : in(7)).data(3000);
				auto parts = split(p, 1000, (uint32_t)(before * 4 + backwards * 2 + from_new));
				ASSERT_EQ(parts.size(), 4u);
				if (backwards)
					std::reverse(parts.begin(), parts.end());
				for (int k = 0; k < 4; k++) {
					if (k == before) {
						EXPECT_TRUE(sw.nothing(to));
						open();
					}
					sw.give(from, parts[(size_t)k]);
					sw.settle();
				}
				if (before == 4) {
					EXPECT_TRUE(sw.nothing(to));
					open();
					sw.settle();
				}
				auto got = sw.take_all(to);
				EXPECT_EQ(whole(got).payload(), p.payload)
					<< from << " " << before << (backwards ? " backwards " : " ") << got.size() << ": " << sw.drops_text();
			}
	EXPECT_EQ(held(), 0u);
}

// What is tried again may bring others with it, later fragments whose first was forgotten: the list of those that wait has an end all the same.
TEST_F(Admission, ThereIsRoomForSoManyAndNoMore)
{
	auto more = [](int i) { return "p" + std::to_string(i); };
	for (int i = 0; i < 16; i++)
		sw.pod(more(i), "10.244.1." + std::to_string(100 + i), closed);
	auto parts = split(in(7).data(9000), 600, 1);
	ASSERT_GE(parts.size(), 16u);
	sw.give("old", parts[0]);
	sw.settle();
	// A flood of others: the datagram is forgotten, its first fragment still waits.
	sw.pod("open", "10.244.1.9");
	for (uint32_t id = 100; id < 200; id++) {
		sw.give("old", split(sw.between("old", "open").udp(1, 2).data(3000), 1000, id)[0]);
		sw.settle();
	}
	sw.take_all("open");
	for (size_t k = 1; k < 16; k++) {
		sw.give("old", parts[k]);
		sw.settle();
	}
	for (int i = 0; i < 16; i++)
		for (uint16_t n = 1; n <= (i == 0 ? 15 : 16); n++)
			sw.send(more(i), sw.to(more(i), "10.244.1.5").udp(n, 53));
	EXPECT_EQ(worker_get(0)->n_waiting, (unsigned)WAITING_MAX);
	// It moves, and is still closed.
	ASSERT_TRUE(sw.apply(endpoint(closed + R"(,"ports":[{"name":"dns","port":53}])"))) << sw.error;
	sw.settle();
	EXPECT_EQ(phase(), "closed");
	EXPECT_LE(worker_get(0)->n_waiting, (unsigned)WAITING_MAX);
	EXPECT_GT(sw.drops("admission"), 0u) << sw.drops_text();
	held();
}
