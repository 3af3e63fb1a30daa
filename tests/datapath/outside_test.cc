// SPDX-License-Identifier: Apache-2.0
// Services from outside of the overlay: external addresses and node ports by the uplink, everything from the node itself.
#include <weft/text.h>

#include "switch.hpp"

using namespace weft;

static const Mac node = "02:00:00:00:ff:01", client = "02:00:00:00:ff:09", gateway = "02:00:00:00:00:01", far_node = "02:00:00:00:ff:02";

struct Outside : testing::Test {
	Switch sw;
	explicit Outside(struct conn_table_options o = {}) : sw(1, 16384, 0, 0, o) {}
	void SetUp() override
	{
		sw.port("uplink0", ",\"uplink\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"192.0.2.1/24\"]");
		sw.port("host", ",\"host\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"192.0.2.1/24\",\"2001:db8::1/64\"]");
		sw.network();
		ASSERT_TRUE(sw.apply(R"({"kind":"Node","name":"node-1","self":true,"ips":["192.0.2.1","2001:db8::1"],"serviceCIDRs":["10.96.0.0/12","fd00:96::/112"]})"))
			<< sw.error;
		sw.pod("web", "10.244.1.5");
		service("Cluster");
		// Both clients are known to the wire: questions are another test's.
		sw.send("web", sw.to("web", "192.0.2.1").udp(1, 2));
		for (const char *ip : {"192.0.2.9", "2001:db8::9"})
			wire(packet(ip, is6(ip) ? "2001:db8::100" : "192.0.2.100").udp(9, 9));
		learn();
		sw.take_all("uplink0");
		sw.take_all("host");
	}
	void service(const std::string &policy, const std::string &backends = R"({"ip":"10.244.1.5"},{"ip":"fd00:244:1::5"})", const std::string &more = "")
	{
		ASSERT_TRUE(sw.apply(R"({"kind":"Service","name":"web","network":"default","ips":["10.96.0.10","fd00:96::10"],"externalIPs":["192.0.2.100","2001:db8::100","203.0.113.100"],
			"externalTrafficPolicy":")" + policy + R"(","ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":8080,"nodePort":30080},
			{"name":"dns","protocol":"UDP","port":53,"nodePort":30053}],"backends":[)" + backends + "]" + more + "}"))
			<< sw.error;
	}
	void learn()
	{
		sw.give("uplink0", arp(2, client, "192.0.2.9", node, "192.0.2.1", node));
		Packet p;
		p.macs(client, node).ip("2001:db8::9", "2001:db8::1").icmp(136, 0, 0x60000000);
		p.ttl = 255, p.payload = address("2001:db8::9");
		Bytes option = {2, 1, 2, 0, 0, 0, 0xff, 9};
		p.payload.insert(p.payload.end(), option.begin(), option.end());
		sw.give("uplink0", p.bytes());
		sw.settle();
	}
	static Packet packet(const std::string &from, const std::string &to)
	{
		Packet p;
		p.macs(client, node).ip(from, to);
		return p;
	}
	void wire(const Packet &p)
	{
		sw.give("uplink0", p.bytes());
		sw.settle();
	}
	// The client opens a connection that goes to a backend on the other node, whose MAC is known by then: what that node is sent.
	Frame by_far_node()
	{
		service("Cluster", R"({"ip":"192.0.2.8"})");
		wire(packet("192.0.2.9", "192.0.2.100").tcp(5554, 80, 2));
		sw.give("uplink0", arp(2, far_node, "192.0.2.8", node, "192.0.2.1", node));
		sw.settle();
		sw.take_all("uplink0");
		wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 2));
		return sw.take("uplink0");
	}
	std::string one(const std::string &like, const char *v4, const char *v6) { return is6(like) ? v6 : v4; }
};

TEST_F(Outside, ClusterPolicyTranslatesTheClientToTheNode)
{
	for (const char *vip : {"192.0.2.100", "2001:db8::100"}) {
		std::string from = one(vip, "192.0.2.9", "2001:db8::9"), us = one(vip, "192.0.2.1", "2001:db8::1");
		wire(packet(from, vip).tcp(5555, 80, 2));
		Frame f = sw.take("web");
		EXPECT_EQ(f.from(), us);
		EXPECT_EQ(f.to(), one(vip, "10.244.1.5", "fd00:244:1::5"));
		EXPECT_EQ(f.dport(), 8080);
		EXPECT_EQ(f.sport(), 5555);
		EXPECT_EQ(f.ttl(), 63);
		EXPECT_EQ(f.src(), gateway);
		EXPECT_EQ(f.checksums(), "");
		sw.send("web", sw.to("web", us).tcp(8080, f.sport(), 0x12));
		f = sw.take("uplink0");
		EXPECT_EQ(f.from(), vip);
		EXPECT_EQ(f.to(), from);
		EXPECT_EQ(f.sport(), 80);
		EXPECT_EQ(f.dport(), 5555);
		EXPECT_EQ(f.dst(), client);
		EXPECT_EQ(f.src(), node);
		EXPECT_EQ(f.checksums(), "");
		EXPECT_TRUE(sw.nothing("host"));
	}
}

TEST_F(Outside, LocalPolicyKeepsTheClientsAddress)
{
	service("Local");
	for (const char *vip : {"192.0.2.100", "2001:db8::100"}) {
		std::string from = one(vip, "192.0.2.9", "2001:db8::9");
		wire(packet(from, vip).udp(5555, 53).data("q"));
		Frame f = sw.take("web");
		EXPECT_EQ(f.from(), from);
		EXPECT_EQ(f.text(), "q");
		sw.send("web", sw.to("web", from).udp(53, 5555).data("r"));
		f = sw.take("uplink0");
		EXPECT_EQ(f.from(), vip);
		EXPECT_EQ(f.to(), from);
		EXPECT_EQ(f.text(), "r");
		EXPECT_EQ(f.dst(), client);
		EXPECT_EQ(f.checksums(), "");
	}
	// No local backend: nothing goes to another node.
	sw.remote();
	service("Local", R"({"ip":"10.244.2.7"})");
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5556, 80, 2));
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.drops("service_no_local_backend"), 1u) << sw.drops_text();
}

TEST_F(Outside, NodePorts)
{
	for (const char *us : {"192.0.2.1", "2001:db8::1"}) {
		std::string from = one(us, "192.0.2.9", "2001:db8::9");
		wire(packet(from, us).tcp(5555, 30080, 2));
		Frame f = sw.take("web");
		EXPECT_EQ(f.from(), us);
		EXPECT_EQ(f.dport(), 8080);
		sw.send("web", sw.to("web", us).tcp(8080, f.sport(), 0x12));
		f = sw.take("uplink0");
		EXPECT_EQ(f.sport(), 30080);
		EXPECT_EQ(f.from(), us);
		// Any other port of the node is the node's.
		Packet p = packet(from, us).tcp(5555, 22, 2);
		wire(p);
		EXPECT_EQ(sw.take("host").b, p.bytes());
		p = packet(from, us).udp(5555, 30080);
		wire(p);
		EXPECT_EQ(sw.take("host").b, p.bytes()) << "the same number, another protocol";
	}
}

TEST_F(Outside, ABackendBehindATunnelSeesTheGateway)
{
	sw.remote("node-2", "192.0.2.2", "10.244.2.0/24", "fd00:244:2::/64");
	sw.answer_arp();
	service("Cluster", R"({"ip":"10.244.2.7"},{"ip":"fd00:244:2::7"})");
	for (const char *vip : {"192.0.2.100", "2001:db8::100", "192.0.2.1"}) {
		bool port = std::string(vip) == "192.0.2.1";
		std::string from = one(vip, "192.0.2.9", "2001:db8::9");
		wire(packet(from, vip).tcp(5555, port ? 30080 : 80, 2));
		Frame out = sw.take("uplink0");
		if (out.is_arp()) {
			sw.answer_arp();
			sw.settle(2100);
			out = sw.take("uplink0");
		}
		ASSERT_EQ(out.to(), "192.0.2.2");
		Frame f = out.inner();
		EXPECT_EQ(f.from(), one(vip, "10.244.1.1", "fd00:244:1::1")) << "so that the answer comes back through the tunnel";
		EXPECT_EQ(f.to(), one(vip, "10.244.2.7", "fd00:244:2::7"));
		EXPECT_EQ(f.checksums(), "");
		// The other node answers.
		Packet in;
		in.macs("02:00:00:00:02:01", gateway).ip(f.to(), f.from()).tcp(8080, f.sport(), 0x12);
		Packet vx;
		vx.macs(far_node, node).ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
		vx.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		Bytes ib = in.bytes();
		vx.payload.insert(vx.payload.end(), ib.begin(), ib.end());
		wire(vx);
		f = sw.take("uplink0");
		EXPECT_EQ(f.from(), vip);
		EXPECT_EQ(f.to(), from);
		EXPECT_EQ(f.sport(), port ? 30080 : 80);
		EXPECT_EQ(f.dst(), client);
		EXPECT_EQ(f.checksums(), "");
	}
}

TEST_F(Outside, TwoClientsWithOnePort)
{
	sw.give("uplink0", arp(2, far_node, "192.0.2.8", node, "192.0.2.1", node));
	sw.settle();
	sw.take_all("host");
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 2));
	uint16_t a = sw.take("web").sport();
	wire(packet("192.0.2.8", "192.0.2.100").tcp(5555, 80, 2));
	uint16_t b = sw.take("web").sport();
	EXPECT_NE(a, b);
	// And the node's own connection to the same pod with one of them.
	Packet own;
	own.macs(node, gateway).ip("192.0.2.1", "10.244.1.5").tcp(b, 8080, 2);
	sw.send("host", own);
	Frame f = sw.take("web");
	EXPECT_NE(f.sport(), a);
	EXPECT_NE(f.sport(), b);
	sw.send("web", sw.to("web", "192.0.2.1").tcp(8080, f.sport(), 0x12));
	EXPECT_EQ(sw.take("host").dport(), b);
	sw.send("web", sw.to("web", "192.0.2.1").tcp(8080, b, 0x12));
	sw.settle(2100);
	auto all = sw.take_all("uplink0");
	ASSERT_FALSE(all.empty());
}

TEST_F(Outside, PolicyJudgesTheClientItself)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Policy","name":"p","network":"default","tier":"network","endpoints":["web"],"types":["Ingress"],
		"ingress":[{"from":[{"cidr":"192.0.2.9/32"}],"ports":[{"protocol":"TCP","port":8080}]}]})"))
		<< sw.error;
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 2));
	EXPECT_EQ(sw.take("web").from(), "192.0.2.1");
	wire(packet("192.0.2.8", "192.0.2.100").tcp(5555, 80, 2));
	EXPECT_TRUE(sw.nothing("web")) << "translated to the node, but not the node";
	EXPECT_EQ(sw.drops("policy_ingress"), 1u) << sw.drops_text();
	ASSERT_TRUE(sw.apply(R"({"kind":"Policy","name":"p","network":"default","tier":"network","endpoints":["web"],"types":["Ingress"],"ingress":[]})"));
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 0x10));
	EXPECT_TRUE(sw.nothing("web")) << "the next packet obeys";
	EXPECT_EQ(sw.drops("policy_ingress"), 2u) << sw.drops_text();
}

TEST_F(Outside, NobodyPretendsToBeOneOfUs)
{
	service("Local");
	for (const char *from : {"10.244.1.5", "10.244.1.77", "10.244.1.1", "192.0.2.1", "10.96.0.10"}) {
		wire(packet(from, "192.0.2.100").udp(5555, 53));
		EXPECT_TRUE(sw.nothing("web")) << from;
	}
	ASSERT_TRUE(sw.apply(R"({"kind":"Route","name":"d","network":"underlay","prefix":"0.0.0.0/0","nextHops":[{"ip":"192.0.2.254"}]})")) << sw.error;
	for (const char *from : {"10.244.1.6", "10.244.1.77", "10.244.1.1", "192.0.2.1", "10.96.0.10"}) {
		wire(packet(from, "192.0.2.100").udp(5555, 53));
		EXPECT_TRUE(sw.nothing("web")) << from;
	}
	EXPECT_GE(sw.drops("spoofed_ip"), 6u) << sw.drops_text();
	wire(packet("203.0.113.7", "192.0.2.100").udp(5555, 53));
	EXPECT_EQ(sw.take("web").from(), "203.0.113.7");
}

TEST_F(Outside, WhatIsNoServiceIsRefusedByItsAddress)
{
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 81, 2));
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.from(), "192.0.2.100");
	EXPECT_EQ(f.tcp_flags() & 4, 4);
	EXPECT_EQ(f.dst(), client);
	EXPECT_EQ(f.checksums(), "");
	wire(packet("192.0.2.9", "192.0.2.100").udp(5555, 81));
	f = sw.take("uplink0");
	EXPECT_EQ(f.icmp_type(), 3);
	EXPECT_EQ(f.icmp_code(), 3);
	wire(packet("192.0.2.9", "192.0.2.100").echo(1, 1));
	f = sw.take("uplink0");
	EXPECT_EQ(f.icmp_type(), 0);
	EXPECT_EQ(f.checksums(), "");
	service("Cluster", "");
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 2));
	EXPECT_EQ(sw.take("uplink0").tcp_flags() & 4, 4);
	// A cluster address is not for outsiders, even if they send it here.
	Packet p = packet("192.0.2.9", "10.96.0.10").tcp(5555, 80, 2);
	wire(p);
	EXPECT_EQ(sw.take("host").b, p.bytes());
}

TEST_F(Outside, ErrorsGoBothWays)
{
	wire(packet("192.0.2.9", "192.0.2.100").udp(5555, 53).data("q"));
	Frame in = sw.take("web");
	Packet e = sw.to("web", in.from()).icmp(3, 3, 0);
	e.payload = Bytes(in.b.begin() + 14, in.b.begin() + (long)(in.l4() + 8));
	sw.send("web", e);
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.from(), "192.0.2.100");
	EXPECT_EQ(f.to(), "192.0.2.9");
	EXPECT_EQ(f.checksums(), "");
	Bytes q = f.payload();
	EXPECT_EQ(Bytes(q.begin() + 12, q.begin() + 16), address("192.0.2.9"));
	EXPECT_EQ(Bytes(q.begin() + 16, q.begin() + 20), address("192.0.2.100"));
	EXPECT_EQ(get16(q, 22), 53);
	EXPECT_EQ(sum16(q.data(), 20), 0xffffu);

	sw.send("web", sw.to("web", in.from()).udp(53, in.sport()).data("r"));
	Frame out = sw.take("uplink0");
	Packet big = packet("192.0.2.9", "192.0.2.100").icmp(3, 4, 1300);
	big.payload = Bytes(out.b.begin() + 14, out.b.begin() + (long)(out.l4() + 8));
	wire(big);
	f = sw.take("web");
	EXPECT_EQ(f.to(), "10.244.1.5");
	EXPECT_EQ(f.checksums(), "");
	q = f.payload();
	EXPECT_EQ(Bytes(q.begin() + 12, q.begin() + 16), address("10.244.1.5"));
	EXPECT_EQ(Bytes(q.begin() + 16, q.begin() + 20), address("192.0.2.1"));
}

TEST_F(Outside, TtlAndMtu)
{
	Packet p = packet("192.0.2.9", "192.0.2.100").udp(5555, 53);
	p.ttl = 1;
	wire(p);
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.icmp_type(), 11);
	EXPECT_EQ(f.from(), "192.0.2.100");
	ASSERT_TRUE(sw.apply(R"({"kind":"Port","name":"web","type":"test","mtu":1450})")) << sw.error;
	wire(packet("192.0.2.9", "192.0.2.100").udp(5555, 53).data(1460));
	f = sw.take("uplink0");
	EXPECT_EQ(f.icmp_code(), 4);
	EXPECT_EQ(get16(f.b, f.l4() + 6), 1450);
}

TEST_F(Outside, ItsAddressesAreAnsweredForOnTheLinkOnly)
{
	for (const char *ip : {"192.0.2.100", "203.0.113.100", "192.0.2.101"}) {
		sw.give("uplink0", arp(1, client, "192.0.2.9", "00:00:00:00:00:00", ip));
		sw.settle();
		bool ours = std::string(ip) == "192.0.2.100";
		EXPECT_EQ(sw.take_all("uplink0").size(), ours ? 1u : 0u) << ip;
		EXPECT_EQ(sw.take_all("host").size(), ours ? 0u : 1u) << ip;
	}
	Packet q = packet("2001:db8::9", "ff02::1:ff00:100").icmp(135, 0, 0);
	q.ttl = 255, q.dst = "33:33:ff:00:01:00", q.payload = address("2001:db8::100");
	Bytes option = {1, 1, 2, 0, 0, 0, 0xff, 9};
	q.payload.insert(q.payload.end(), option.begin(), option.end());
	wire(q);
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.icmp_type(), 136);
	EXPECT_EQ(f.from(), "2001:db8::100");
	EXPECT_EQ(f.checksums(), "");
}

TEST_F(Outside, TheBackendGoesAndComes)
{
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 2));
	Frame f = sw.take("web");
	sw.send("web", sw.to("web", f.from()).tcp(8080, f.sport(), 0x12));
	sw.take("uplink0");
	ASSERT_TRUE(sw.remove("Service", "web"));
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5556, 80, 2));
	EXPECT_TRUE(sw.nothing("web"));
	EXPECT_EQ(sw.take_all("host").size(), 1u);
	service("Cluster");
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5556, 80, 2));
	sw.take("web");
}

TEST_F(Outside, AnEstablishedClientStaysWithABackendThatLeavesTheService)
{
	sw.pod("other", "10.244.1.7");
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 2));
	Frame f = sw.take("web");
	Packet r = sw.to("web", f.from()).tcp(8080, f.sport(), 0x12);
	r.ack = 1001;
	sw.send("web", r);
	sw.take("uplink0");
	auto data = [&] {
		Packet p = packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 0x10);
		p.seq = 1001, p.ack = 1001;
		wire(p);
	};
	data();
	sw.take("web");
	for (const char *policy : {"Cluster", "Local"}) {
		service(policy, R"({"ip":"10.244.1.7"})");
		data();
		if (std::string(policy) == "Cluster") {
			EXPECT_EQ(sw.take("web").from(), "192.0.2.1") << sw.drops_text();
		}
		sw.take_all("web");
		sw.take_all("uplink0");
		EXPECT_TRUE(sw.nothing("other"));
	}
}

TEST_F(Outside, AServiceThatGoesLeavesItsEstablishedClient)
{
	for (std::string vip : {"192.0.2.100", "2001:db8::100", "192.0.2.1"}) {
		service("Cluster");
		uint16_t port = vip == "192.0.2.1" ? 30080 : 80;
		std::string from = one(vip, "192.0.2.9", "2001:db8::9");
		wire(packet(from, vip).tcp(5555, port, 2));
		Frame f = sw.take("web");
		Packet r = sw.to("web", f.from()).tcp(8080, f.sport(), 0x12);
		r.ack = 1001;
		sw.send("web", r);
		sw.take("uplink0");
		ASSERT_TRUE(sw.remove("Service", "web"));
		Packet p = packet(from, vip).tcp(5555, port, 0x10);
		p.seq = 1001, p.ack = 1001;
		wire(p);
		EXPECT_EQ(sw.take("web").from(), one(vip, "192.0.2.1", "2001:db8::1")) << sw.drops_text();
		r.tcp_flags = 0x10, r.seq = 1001;
		sw.send("web", r);
		EXPECT_EQ(sw.take("uplink0").from(), vip);
		// Whoever comes now is the host's, byte for byte.
		for (uint8_t flags : {2, 0x10}) {
			p = packet(from, vip).tcp(5556, port, flags);
			wire(p);
			EXPECT_EQ(sw.take("host").b, p.bytes());
		}
	}
}

TEST_F(Outside, AServiceThatGoesLeavesItsEstablishedClientWithAnotherNode)
{
	auto network = [&](const std::string &ip) {
		ASSERT_TRUE(sw.apply(
			R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"},
			{"prefix":"fd00:244:1::/64","gateway":"fd00:244:1::1"}],"masquerade":{"ips":[")" +
			ip + R"("],"portRange":[40000,49999]}})"))
			<< sw.error;
	};
	network("192.0.2.50");
	Frame f = by_far_node();
	uint16_t port = f.sport();
	EXPECT_EQ(f.to(), "192.0.2.8");
	Packet r = packet("192.0.2.8", "192.0.2.50").macs(far_node, node).tcp(8080, port, 0x12);
	r.ack = 1001;
	wire(r);
	EXPECT_EQ(sw.take("uplink0").to(), "192.0.2.9");
	ASSERT_TRUE(sw.remove("Service", "web"));
	sw.take_all("host");
	Packet p = packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 0x10);
	p.seq = 1001, p.ack = 1001;
	wire(p);
	f = sw.take("uplink0");
	EXPECT_EQ(f.to(), "192.0.2.8") << sw.drops_text();
	EXPECT_EQ(f.from(), "192.0.2.50");
	EXPECT_EQ(f.sport(), port);
	EXPECT_EQ(f.dst(), far_node);
	r.tcp_flags = 0x10, r.seq = 1001;
	wire(r);
	f = sw.take("uplink0");
	EXPECT_EQ(f.to(), "192.0.2.9");
	EXPECT_EQ(f.from(), "192.0.2.100");
	network("192.0.2.51");
	wire(p);
	EXPECT_TRUE(sw.nothing("uplink0")) << "an address that is no longer ours speaks for nobody";
	EXPECT_EQ(sw.drops("backend_gone"), 1u) << sw.drops_text();
	EXPECT_TRUE(sw.nothing("host"));
}

// --- the node itself ---

// Nothing that a pod sends is ever the node's own traffic: with its service gone, an answer is judged as a packet of the pod's own.
TEST_F(Outside, AnAnswerIsNotPassedToTheHostWhenItsServiceGoes)
{
	for (const char *vip : {"192.0.2.1", "192.0.2.100"}) {
		service("Cluster");
		wire(packet("192.0.2.9", vip).udp(5555, std::string(vip) == "192.0.2.1" ? 30053 : 53).data("q"));
		Frame f = sw.take("web");
		EXPECT_EQ(f.text(), "q");
		Packet answer = sw.to("web", f.from()).udp(53, f.sport()).data("r");
		sw.send("web", answer);
		EXPECT_EQ(sw.take("uplink0").text(), "r");
		ASSERT_TRUE(sw.remove("Service", "web")) << sw.error;
		sw.send("web", answer);
		for (auto &to_host : sw.take_all("host"))
			EXPECT_EQ(to_host.ttl(), 63) << vip << ": it came as the pod sent it";
		EXPECT_TRUE(sw.nothing("uplink0"));
		EXPECT_EQ(sw.drops("no_route"), 0u) << sw.drops_text();
	}
}

TEST_F(Outside, TheNodeReachesServices)
{
	for (const char *vip : {"10.96.0.10", "fd00:96::10", "192.0.2.100"}) {
		std::string us = one(vip, "192.0.2.1", "2001:db8::1");
		if (!is6(vip)) {
			sw.give("host", arp(1, node, us, "00:00:00:00:00:00", vip));
			sw.settle();
			EXPECT_TRUE(sw.take("host").is_arp()) << "by the host port";
		}
		Packet p;
		p.macs(node, gateway).ip(us, vip).tcp(4444, 80, 2);
		p.partial = true;
		sw.send("host", p);
		Frame f = sw.take("web");
		EXPECT_EQ(f.from(), us);
		EXPECT_EQ(f.dport(), 8080);
		EXPECT_EQ(f.checksums(), "");
		sw.send("web", sw.to("web", us).tcp(8080, f.sport(), 0x12));
		f = sw.take("host");
		EXPECT_EQ(f.from(), vip);
		EXPECT_EQ(f.to(), us);
		EXPECT_EQ(f.dport(), 4444);
		EXPECT_EQ(f.checksums(), "");
		EXPECT_TRUE(sw.nothing("uplink0"));
	}
	// One that no service has.
	Packet p;
	p.macs(node, gateway).ip("192.0.2.1", "10.96.0.11").tcp(4444, 80, 2);
	sw.send("host", p);
	EXPECT_EQ(sw.take("host").tcp_flags() & 4, 4);
}

TEST_F(Outside, TheNodeSpeaksAsTheGatewayThroughTunnels)
{
	sw.remote();
	sw.answer_arp();
	service("Cluster", R"({"ip":"10.244.2.7"})");
	for (const char *to : {"10.96.0.10", "10.244.2.7"}) {
		Packet p;
		p.macs(node, gateway).ip("192.0.2.1", to).udp(4444, 53).data("q");
		sw.send("host", p);
		sw.answer_arp();
		sw.settle(2100);
		Frame f;
		for (auto &x : sw.take_all("uplink0"))
			if (!x.is_arp())
				f = x.inner();
		ASSERT_FALSE(f.b.empty());
		sw.take_all("host"); // it hears the wire's ARP
		EXPECT_EQ(f.from(), "10.244.1.1");
		EXPECT_EQ(f.to(), "10.244.2.7");
		Packet in;
		in.macs("02:00:00:00:02:01", gateway).ip("10.244.2.7", "10.244.1.1").udp(53, f.sport()).data("r");
		Packet vx;
		vx.macs(far_node, node).ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
		vx.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		Bytes ib = in.bytes();
		vx.payload.insert(vx.payload.end(), ib.begin(), ib.end());
		wire(vx);
		f = sw.take("host");
		EXPECT_EQ(f.from(), to);
		EXPECT_EQ(f.to(), "192.0.2.1");
		EXPECT_EQ(f.text(), "r");
		EXPECT_EQ(f.checksums(), "");
	}
}

TEST_F(Outside, BackendsThatAreTheNodeItself)
{
	service("Cluster", R"({"ip":"192.0.2.1"})");
	sw.pod("a", "10.244.1.6");
	// A pod, the node, and a client of the underlay.
	sw.send("a", sw.to("a", "10.96.0.10").tcp(4444, 80, 2));
	Frame f = sw.take("host");
	EXPECT_EQ(f.from(), "10.244.1.6");
	EXPECT_EQ(f.to(), "192.0.2.1");
	EXPECT_EQ(f.dport(), 8080);
	Packet r;
	r.macs(node, gateway).ip("192.0.2.1", "10.244.1.6").tcp(8080, 4444, 0x12);
	sw.send("host", r);
	f = sw.take("a");
	EXPECT_EQ(f.from(), "10.96.0.10");
	EXPECT_EQ(f.sport(), 80);

	for (bool own : {true, false}) {
		Packet p;
		p.macs(node, gateway).ip("192.0.2.1", "10.96.0.10").tcp(4445, 80, 2);
		if (own)
			sw.send("host", p);
		else
			wire(packet("192.0.2.9", "192.0.2.100").tcp(4445, 80, 2));
		f = sw.take("host");
		EXPECT_EQ(f.from(), "10.244.1.1") << "an address that the kernel sends its answer to by the host port";
		EXPECT_EQ(f.to(), "192.0.2.1");
		r.macs(node, gateway).ip("192.0.2.1", "10.244.1.1").tcp(8080, f.sport(), 0x12);
		sw.send("host", r);
		f = sw.take(own ? "host" : "uplink0");
		EXPECT_EQ(f.from(), own ? "10.96.0.10" : "192.0.2.100");
		EXPECT_EQ(f.to(), own ? "192.0.2.1" : "192.0.2.9");
		EXPECT_EQ(f.dport(), 4445);
		EXPECT_EQ(f.checksums(), "");
	}
}

TEST_F(Outside, BackendsThatAreOtherNodes)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"},
		{"prefix":"fd00:244:1::/64","gateway":"fd00:244:1::1"}],"masquerade":{"ips":["192.0.2.50"],"portRange":[40000,49999]}})"))
		<< sw.error;
	service("Cluster", R"({"ip":"192.0.2.9"})");
	sw.pod("a", "10.244.1.6");
	sw.send("a", sw.to("a", "10.96.0.10").tcp(4444, 80, 2));
	Frame f = sw.take("uplink0");
	EXPECT_EQ(f.from(), "192.0.2.50");
	EXPECT_EQ(f.to(), "192.0.2.9");
	EXPECT_EQ(f.dport(), 8080);
	EXPECT_EQ(f.dst(), client);
	wire(packet("192.0.2.9", "192.0.2.50").tcp(8080, f.sport(), 0x12));
	f = sw.take("a");
	EXPECT_EQ(f.from(), "10.96.0.10");
	EXPECT_EQ(f.dport(), 4444);
	EXPECT_EQ(f.checksums(), "");
}

TEST_F(Outside, AClientIsPassedOnToAnotherNode)
{
	service("Cluster", R"({"ip":"192.0.2.8"})");
	wire(packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 2));
	EXPECT_EQ(sw.take("uplink0").icmp_type(), 3) << "without masquerade its answer would not come back";
	EXPECT_EQ(sw.drops("no_route"), 1u) << sw.drops_text();
	ASSERT_TRUE(sw.apply(R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"},
		{"prefix":"fd00:244:1::/64","gateway":"fd00:244:1::1"}],"masquerade":{"ips":["192.0.2.50"],"portRange":[40000,49999],"exclude":["192.0.2.0/24"]}})"))
		<< sw.error;
	sw.give("uplink0", arp(2, far_node, "192.0.2.8", node, "192.0.2.1", node));
	for (const char *vip : {"192.0.2.100", "192.0.2.1"}) {
		uint16_t port = std::string(vip) == "192.0.2.1" ? 30080 : 80;
		wire(packet("192.0.2.9", vip).tcp(5555, port, 2));
		sw.settle(2100);
		Frame f;
		for (auto &x : sw.take_all("uplink0")) {
			if (!x.is_arp())
				f = x;
			else
				sw.give("uplink0", arp(2, far_node, "192.0.2.8", node, "192.0.2.1", node));
		}
		if (f.b.empty()) {
			sw.settle(2100);
			f = sw.take("uplink0");
		}
		EXPECT_EQ(f.from(), "192.0.2.50");
		EXPECT_EQ(f.to(), "192.0.2.8");
		EXPECT_EQ(f.dport(), 8080);
		EXPECT_EQ(f.dst(), far_node);
		Packet r = packet("192.0.2.8", "192.0.2.50").tcp(8080, f.sport(), 0x12);
		wire(r.macs(far_node, node));
		f = sw.take("uplink0");
		EXPECT_EQ(f.from(), vip);
		EXPECT_EQ(f.to(), "192.0.2.9");
		EXPECT_EQ(f.sport(), port);
		EXPECT_EQ(f.dport(), 5555);
		EXPECT_EQ(f.dst(), client);
		EXPECT_EQ(f.checksums(), "");
	}
}

// The other node was taken out of the service: whoever is with it stays, as with a pod.
TEST_F(Outside, AClientStaysWithAnotherNodeThatLeavesTheService)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"},
		{"prefix":"fd00:244:1::/64","gateway":"fd00:244:1::1"}],"masquerade":{"ips":["192.0.2.50"],"portRange":[1024,65535]}})"))
		<< sw.error;
	Frame f = by_far_node();
	EXPECT_EQ(f.to(), "192.0.2.8");
	Packet r = packet("192.0.2.8", "192.0.2.50").macs(far_node, node).tcp(8080, f.sport(), 0x12);
	r.ack = 1001;
	wire(r);
	EXPECT_EQ(sw.take("uplink0").to(), "192.0.2.9");
	service("Cluster");
	Packet p = packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 0x10);
	p.seq = 1001, p.ack = 1001;
	wire(p);
	f = sw.take("uplink0");
	EXPECT_EQ(f.to(), "192.0.2.8");
	EXPECT_EQ(f.from(), "192.0.2.50");
	EXPECT_TRUE(sw.nothing("web"));
	r.tcp_flags = 0x10, r.seq = 1001;
	wire(r);
	EXPECT_EQ(sw.take("uplink0").to(), "192.0.2.9");
}

// It stays by the address that it went by: when that has become a pod's, or nobody's, it is over.
TEST_F(Outside, AClientDoesNotStayByAnAddressThatIsPodsNow)
{
	auto masquerade = [&](const std::string &ip, const std::string &subnet) {
		return sw.apply(R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"},
			{"prefix":"fd00:244:1::/64","gateway":"fd00:244:1::1"})" + subnet + R"(],"masquerade":{"ips":[")" + ip + R"("],"exclude":["198.51.100.0/24"]}})");
	};
	ASSERT_TRUE(masquerade("203.0.113.50", "")) << sw.error;
	Frame f = by_far_node();
	ASSERT_EQ(f.from(), "203.0.113.50");
	Packet r = packet("192.0.2.8", "203.0.113.50").macs(far_node, node).tcp(8080, f.sport(), 0x12);
	r.ack = 1001;
	wire(r);
	sw.take_all("uplink0");
	ASSERT_TRUE(sw.remove("Service", "web"));
	Packet p = packet("192.0.2.9", "192.0.2.100").tcp(5555, 80, 0x10);
	p.seq = 1001, p.ack = 1001;
	wire(p);
	EXPECT_EQ(sw.take("uplink0").from(), "203.0.113.50") << "as it was";
	ASSERT_TRUE(masquerade("203.0.113.99", R"(,{"prefix":"203.0.113.0/26"})")) << sw.error;
	wire(p);
	EXPECT_TRUE(sw.nothing("uplink0"));
	EXPECT_EQ(sw.drops("backend_gone"), 1u) << sw.drops_text();
}

TEST_F(Outside, MasqueradeNeverTakesANodePort)
{
	ASSERT_TRUE(sw.apply(R"({"kind":"Network","name":"default","vni":100,"subnets":[{"prefix":"10.244.1.0/24","gateway":"10.244.1.1"}],
		"masquerade":{"ips":["192.0.2.1"],"portRange":[30078,30081]}})"))
		<< sw.error;
	std::set<uint16_t> seen;
	for (uint16_t k = 0; k < 5; k++) {
		sw.send("web", sw.to("web", "192.0.2.9").tcp((uint16_t)(30079 + k), 9, 2));
		for (auto &f : sw.take_all("uplink0"))
			seen.insert(f.sport());
	}
	EXPECT_EQ(seen, (std::set<uint16_t>{30078, 30079, 30081}));
	EXPECT_EQ(sw.drops("nat_ports"), 2u) << sw.drops_text();
	// UDP has a node port of another number only.
	sw.send("web", sw.to("web", "192.0.2.9").udp(30080, 9));
	EXPECT_EQ(sw.take("uplink0").sport(), 30080);
	sw.take_all("web");
}

struct OutsideQuota : Outside {
	static struct conn_table_options quota()
	{
		struct conn_table_options o = {};
		o.per_owner = 128;
		return o;
	}
	OutsideQuota() : Outside(quota()) {}
};

TEST_F(OutsideQuota, AClientThatUsesItUpIsRefusedAndNobodyElse)
{
	auto owner = [&](const std::string &client) {
		struct ip ip;
		EXPECT_EQ(ip_parse(client.c_str(), &ip), 0);
		return conn_owner(sw.conns, 1, &ip);
	};
	std::string greedy = "192.0.2.9";
	for (int i = 10; owner(greedy) == owner("2001:db8::9"); i++) // one seed in 4,095 puts two into one share
		greedy = "192.0.2." + std::to_string(i);
	uint32_t passed = 0;
	for (uint16_t i = 0; i < 200; i++) {
		wire(packet(greedy, "192.0.2.100").udp(uint16_t(1000 + i), 53));
		auto got = sw.take_all("web");
		if (got.empty())
			continue;
		passed++;
		sw.send("web", sw.to("web", "192.0.2.1").udp(53, got[0].sport())); // what is answered is not replaced
		sw.take_all("uplink0");
	}
	EXPECT_GT(passed, 100u);
	EXPECT_EQ(sw.drops("connections_quota"), 200 - passed);
	for (uint16_t i = 0; i < 30; i++) {
		wire(packet("2001:db8::9", "2001:db8::100").udp(uint16_t(1000 + i), 53));
		ASSERT_EQ(sw.take_all("web").size(), 1u) << i << ": " << sw.drops_text();
	}
}
