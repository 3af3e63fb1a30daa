// SPDX-License-Identifier: Apache-2.0
// The tap port against the real kernel: each test has a namespace of its own.
#include <weft/netlink.h>
#include <weft/offload.h>
#include <weft/port.h>
#include <weft/port_event.h>
#include <weft/rcu.h>
#include <weft/text.h>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "netns.hpp"

namespace
{

using namespace std::chrono_literals;
using Bytes = std::vector<uint8_t>;

const struct mac POD_MAC = {{0x02, 0, 0, 0, 0, 0x11}};
const struct mac OUR_MAC = {{0x02, 0, 0, 0, 0, 0x22}};
constexpr unsigned int POOL_SIZE = 1023;
struct rte_mempool *pool;

struct rte_mempool *
pool_of_any_node(int)
{
	return pool;
}

bool
eal_ready()
{
	static int rc = [] {
		std::string prefix = "--file-prefix=weft-tap-" + std::to_string(getpid());
		const char *args[] = {"tap_test",    "--no-huge",
				      "--no-shconf", "--no-telemetry",
				      "--no-pci",    "-m",
				      "128",         "--lcores",
				      "0@0",         "--log-level=lib.eal:error",
				      prefix.c_str()};
		int r = rte_eal_init((int)(sizeof(args) / sizeof(args[0])), (char **)args);
		if (r >= 0)
			pool = rte_pktmbuf_pool_create("tap", POOL_SIZE, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, -1);
		return r >= 0 && pool != nullptr ? 0 : -1;
	}();
	return rc == 0;
}

template <typename F>
bool
eventually(F f, int ms = 4000)
{
	for (auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);;) {
		if (f())
			return true;
		if (std::chrono::steady_clock::now() > end)
			return false;
		std::this_thread::sleep_for(1ms);
	}
}

class Tap : public ::testing::Test
{
      protected:
	void
	SetUp() override
	{
		if (const char *why = no_netns())
			GTEST_SKIP() << why;
		ASSERT_TRUE(eal_ready());
		ASSERT_EQ(rcu_init(4), 0);
		ready = true;
		start();
		ASSERT_TRUE(pod.create());
		spec.name = "pod";
		spec.type = PORT_TAP;
		spec.netns = pod.path.c_str();
		spec.mac = POD_MAC;
	}

	void
	TearDown() override
	{
		if (!ready)
			return;
		ports_fini();
		rcu_fini();
		EXPECT_EQ(rte_mempool_avail_count(pool), POOL_SIZE) << "buffers were lost";
	}

	void
	start()
	{
		struct port_env env = {};
		env.socket_dir = "/run";
		env.pool = pool_of_any_node;
		env.changed = [](struct port *, void *arg) { (*(std::atomic<int> *)arg)++; };
		env.arg = &changes;
		ASSERT_EQ(ports_init(&env), 0);
	}

	bool
	open()
	{
		rc = port_open(&spec, &port, &error);
		return rc == 0;
	}

	// Addresses for the pod, and a neighbour that needs no ARP: us.
	void
	give_addresses()
	{
		pod.ip("addr add 10.9.0.1/24 dev eth0");
		pod.ip("addr add fd09::1/64 dev eth0 nodad");
		pod.ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:22 dev eth0");
		pod.ip("neigh add fd09::2 lladdr 02:00:00:00:00:22 dev eth0");
	}

	bool
	up() const
	{
		return __atomic_load_n(&port->up, __ATOMIC_RELAXED);
	}

	std::string
	description()
	{
		char buf[256];
		port_lock();
		port->ops->describe(port, buf, sizeof(buf));
		port_unlock();
		return buf;
	}

	uint16_t
	send(const Bytes &frame, int csum_start = -1, int csum_offset = 0, uint16_t queue = 0)
	{
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
		memcpy(rte_pktmbuf_append(m, (uint16_t)frame.size()), frame.data(), frame.size());
		if (csum_start >= 0)
			offload_rx_partial(m, (uint16_t)csum_start, (uint16_t)csum_offset);
		uint16_t n = port->ops->tx(port, queue, &m, 1);
		if (n == 0)
			rte_pktmbuf_free(m);
		return n;
	}

	// The next packet that `wanted` likes; others (neighbour discovery and the like) are freed. The caller frees
	// it.
	template <typename F>
	struct rte_mbuf *
	receive(F wanted, int ms = 2000)
	{
		struct rte_mbuf *found = nullptr;
		eventually(
			[&] {
				for (uint16_t q = 0; q < port->n_rxq && found == nullptr; q++) {
					struct rte_mbuf *m[32];
					uint16_t n = port->ops->rx(port, q, m, 32);
					for (uint16_t i = 0; i < n; i++) {
						EXPECT_EQ(m[i]->nb_segs, 1);
						EXPECT_EQ(m[i]->pkt_len, m[i]->data_len);
						if (found == nullptr && wanted(m[i])) {
							found = m[i];
							from_queue = q;
						} else {
							rte_pktmbuf_free(m[i]);
						}
					}
				}
				return found != nullptr;
			},
			ms);
		return found;
	}

	static uint8_t *
	at(struct rte_mbuf *m, size_t offset)
	{
		return rte_pktmbuf_mtod_offset(m, uint8_t *, offset);
	}

	static bool
	is_udp4(struct rte_mbuf *m)
	{
		return m->data_len >= 42 && at(m, 12)[0] == 8 && at(m, 12)[1] == 0 && *at(m, 23) == IPPROTO_UDP;
	}

	static bool
	is_udp6(struct rte_mbuf *m)
	{
		return m->data_len >= 62 && at(m, 12)[0] == 0x86 && at(m, 12)[1] == 0xdd && *at(m, 20) == IPPROTO_UDP;
	}

	// A UDP socket in the namespace, bound to the port; its number goes to *number.
	int
	udp_socket(int family, uint16_t *number = nullptr)
	{
		return pod.run([&] {
			int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
			struct sockaddr_in6 any = {};
			any.sin6_family = (sa_family_t)family;
			socklen_t n = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(any);
			if (bind(fd, (struct sockaddr *)&any, n) < 0 ||
			    getsockname(fd, (struct sockaddr *)&any, &n) < 0)
				return -errno;
			if (number != nullptr)
				*number = ntohs(any.sin6_port);
			return fd;
		});
	}

	static bool
	send_to(int fd, const char *address, uint16_t number, const std::string &text)
	{
		struct sockaddr_in a4 = {};
		struct sockaddr_in6 a6 = {};
		a4.sin_family = AF_INET;
		a6.sin6_family = AF_INET6;
		a4.sin_port = a6.sin6_port = htons(number);
		bool v4 = inet_pton(AF_INET, address, &a4.sin_addr) == 1;
		if (!v4)
			inet_pton(AF_INET6, address, &a6.sin6_addr);
		return sendto(fd, text.data(), text.size(), 0, v4 ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6,
			      v4 ? sizeof(a4) : sizeof(a6)) == (ssize_t)text.size();
	}

	static std::string
	hear(int fd, int ms)
	{
		char buf[2048];
		struct timeval patience = {ms / 1000, (ms % 1000) * 1000};
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		return n < 0 ? "" : std::string(buf, (size_t)n);
	}

	// Ethernet and IPv4 from us, 10.9.0.2, to the pod.
	static Bytes
	ip4(uint8_t proto, size_t payload)
	{
		Bytes f(34 + payload);
		memcpy(&f[0], POD_MAC.b, 6);
		memcpy(&f[6], OUR_MAC.b, 6);
		f[12] = 8;
		auto *ip = (struct rte_ipv4_hdr *)&f[14];
		ip->version_ihl = 0x45;
		ip->total_length = htons((uint16_t)(20 + payload));
		ip->time_to_live = 64;
		ip->next_proto_id = proto;
		ip->src_addr = inet_addr("10.9.0.2");
		ip->dst_addr = inet_addr("10.9.0.1");
		ip->hdr_checksum = rte_ipv4_cksum(ip);
		return f;
	}

	static Bytes
	udp4(uint16_t number, const std::string &text, bool partial)
	{
		Bytes f = ip4(IPPROTO_UDP, 8 + text.size());
		auto *ip = (struct rte_ipv4_hdr *)&f[14];
		auto *udp = (struct rte_udp_hdr *)&f[34];
		udp->src_port = htons(4000);
		udp->dst_port = htons(number);
		udp->dgram_len = htons((uint16_t)(8 + text.size()));
		memcpy(&f[42], text.data(), text.size());
		udp->dgram_cksum = partial ? rte_ipv4_phdr_cksum(ip, 0) : rte_ipv4_udptcp_cksum(ip, udp);
		return f;
	}

	static Bytes
	udp6(uint16_t number, const std::string &text)
	{
		Bytes f(62 + text.size());
		memcpy(&f[0], POD_MAC.b, 6);
		memcpy(&f[6], OUR_MAC.b, 6);
		f[12] = 0x86;
		f[13] = 0xdd;
		auto *ip = (struct rte_ipv6_hdr *)&f[14];
		ip->vtc_flow = htonl(6u << 28);
		ip->payload_len = htons((uint16_t)(8 + text.size()));
		ip->proto = IPPROTO_UDP;
		ip->hop_limits = 64;
		inet_pton(AF_INET6, "fd09::2", ip->src_addr);
		inet_pton(AF_INET6, "fd09::1", ip->dst_addr);
		auto *udp = (struct rte_udp_hdr *)&f[54];
		udp->src_port = htons(4000);
		udp->dst_port = htons(number);
		udp->dgram_len = ip->payload_len;
		memcpy(&f[62], text.data(), text.size());
		udp->dgram_cksum = rte_ipv6_phdr_cksum(ip, 0);
		return f;
	}

	// Both ways, with partial checksums: the port works.
	void
	expect_traffic()
	{
		give_addresses();
		uint16_t number = 0;
		int fd = udp_socket(AF_INET, &number);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(send(udp4(number, "to the pod", true), 34, 6), 1);
		EXPECT_EQ(hear(fd, 2000), "to the pod");
		ASSERT_TRUE(send_to(fd, "10.9.0.2", 4000, "from the pod"));
		struct rte_mbuf *m = receive(is_udp4);
		ASSERT_NE(m, nullptr);
		EXPECT_EQ(std::string((char *)at(m, 42), 12), "from the pod");
		rte_pktmbuf_free(m);
		close(fd);
	}

	Netns pod;
	struct spec_port spec = {};
	struct port *port = nullptr;
	struct error error = {};
	std::atomic<int> changes{0};
	uint16_t from_queue = 0;
	int rc = 0;
	bool ready = false;
};

TEST_F(Tap, IsADeviceOfThePod)
{
	spec.mtu = 1450;
	ASSERT_TRUE(open()) << error.text;
	EXPECT_TRUE(up());
	EXPECT_TRUE(mac_equal(&port->mac, &POD_MAC));
	EXPECT_EQ(port->mtu, 1450);
	EXPECT_TRUE(port->offloads & PORT_TX_CSUM);
	std::string link = pod.ip("-d link show dev eth0");
	EXPECT_NE(link.find("mtu 1450"), std::string::npos) << link;
	EXPECT_NE(link.find("02:00:00:00:00:11"), std::string::npos) << link;
	EXPECT_NE(link.find("LOWER_UP"), std::string::npos) << link;
	EXPECT_NE(link.find("persist on"), std::string::npos) << link;
	EXPECT_EQ(description(), "eth0 in " + pod.path + ", 1 queue");
	port_close(port);
	link = pod.ip("link show dev eth0");
	EXPECT_NE(link.find("does not exist"), std::string::npos) << link;
}

TEST_F(Tap, HasAMacOfItsOwnWhenNoneIsGiven)
{
	spec.mac = {};
	ASSERT_TRUE(open()) << error.text;
	char mac[MAC_TEXT_MAX];
	mac_format(&port->mac, mac);
	EXPECT_STRNE(mac, "00:00:00:00:00:00");
	EXPECT_NE(pod.ip("link show dev eth0").find(mac), std::string::npos);
}

TEST_F(Tap, HandsOverPartialChecksums)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	int fd = udp_socket(AF_INET);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(send_to(fd, "10.9.0.2", 53, "question"));
	struct rte_mbuf *m = receive(is_udp4);
	ASSERT_NE(m, nullptr);
	auto *ip = (struct rte_ipv4_hdr *)at(m, 14);
	auto *udp = (struct rte_udp_hdr *)at(m, 34);
	ASSERT_TRUE(offload_is_partial(m));
	EXPECT_EQ(offload_csum_start(m), 34);
	EXPECT_EQ(offload_csum_offset(m), 6);
	EXPECT_EQ(udp->dgram_cksum, rte_ipv4_phdr_cksum(ip, 0));
	EXPECT_EQ(memcmp(at(m, 0), OUR_MAC.b, 6), 0);
	ASSERT_EQ(offload_complete(m, (uint16_t)(14 + ntohs(ip->total_length)), true), 0);
	EXPECT_EQ(rte_ipv4_udptcp_cksum_verify(ip, udp), 0);
	rte_pktmbuf_free(m);
	close(fd);
}

TEST_F(Tap, HandsOverPartialChecksumsOfIpv6)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	int fd = udp_socket(AF_INET6);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(send_to(fd, "fd09::2", 53, "question"));
	struct rte_mbuf *m = receive(is_udp6);
	ASSERT_NE(m, nullptr);
	ASSERT_TRUE(offload_is_partial(m));
	EXPECT_EQ(offload_csum_start(m), 54);
	ASSERT_EQ(offload_complete(m, (uint16_t)m->data_len, true), 0);
	EXPECT_EQ(rte_ipv6_udptcp_cksum_verify((struct rte_ipv6_hdr *)at(m, 14), at(m, 54)), 0);
	rte_pktmbuf_free(m);
	close(fd);
}

TEST_F(Tap, TcpComesInSegmentsOfTheMtu)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	int fd = pod.run([] {
		struct sockaddr_in to = {};
		int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		to.sin_family = AF_INET;
		to.sin_port = htons(80);
		to.sin_addr.s_addr = inet_addr("10.9.0.2");
		return connect(s, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS ? -errno : s;
	});
	ASSERT_GE(fd, 0);
	auto is_tcp = [](struct rte_mbuf *m) {
		return m->data_len >= 54 && at(m, 12)[0] == 8 && *at(m, 23) == IPPROTO_TCP;
	};
	struct rte_mbuf *m = receive(is_tcp);
	ASSERT_NE(m, nullptr);
	auto *tcp = (struct rte_tcp_hdr *)at(m, 34);
	ASSERT_EQ(tcp->tcp_flags, RTE_TCP_SYN_FLAG);
	EXPECT_TRUE(offload_is_partial(m));
	EXPECT_EQ(offload_csum_offset(m), 16);
	// Answer the SYN, with a partial checksum, and let it send 20 kB.
	Bytes f = ip4(IPPROTO_TCP, 24);
	auto *reply = (struct rte_tcp_hdr *)&f[34];
	reply->src_port = tcp->dst_port;
	reply->dst_port = tcp->src_port;
	reply->recv_ack = htonl(ntohl(tcp->sent_seq) + 1);
	reply->sent_seq = htonl(1000);
	reply->data_off = 6 << 4;
	reply->tcp_flags = RTE_TCP_SYN_FLAG | RTE_TCP_ACK_FLAG;
	reply->rx_win = htons(65535);
	f[54] = 2; // MSS 1460
	f[55] = 4;
	f[56] = 1460 >> 8;
	f[57] = 1460 & 0xff;
	reply->cksum = rte_ipv4_phdr_cksum((struct rte_ipv4_hdr *)&f[14], 0);
	rte_pktmbuf_free(m);
	ASSERT_EQ(send(f, 34, 16), 1);
	std::string data(20000, 'x');
	ASSERT_TRUE(eventually([&] { return ::send(fd, data.data(), data.size(), MSG_NOSIGNAL) > 0; }));
	size_t full = 0;
	m = receive([&](struct rte_mbuf *x) {
		EXPECT_LE(x->data_len, 1514);
		full += is_tcp(x) && x->data_len == 1514;
		return full == 3;
	});
	EXPECT_NE(m, nullptr);
	EXPECT_EQ(port->stats[0].rx_bad, 0u);
	rte_pktmbuf_free(m);
	close(fd);
}

TEST_F(Tap, TheKernelCompletesPartialChecksums)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	uint16_t number = 0, number6 = 0;
	int fd = udp_socket(AF_INET, &number), fd6 = udp_socket(AF_INET6, &number6);
	ASSERT_GE(fd, 0);
	ASSERT_GE(fd6, 0);
	ASSERT_EQ(send(udp4(number, "partial", true), 34, 6), 1);
	EXPECT_EQ(hear(fd, 2000), "partial");
	ASSERT_EQ(send(udp4(number, "full", false)), 1);
	EXPECT_EQ(hear(fd, 2000), "full");
	ASSERT_EQ(send(udp6(number6, "six"), 54, 6), 1);
	EXPECT_EQ(hear(fd6, 2000), "six");
	close(fd);
	close(fd6);
}

TEST_F(Tap, APartialChecksumWithoutItsMarkIsWrongToTheKernel)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	uint16_t number = 0;
	int fd = udp_socket(AF_INET, &number);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(send(udp4(number, "lost", true)), 1);
	ASSERT_EQ(send(udp4(number, "next", false)), 1);
	EXPECT_EQ(hear(fd, 2000), "next");
	close(fd);
}

TEST_F(Tap, AnswersPing)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	Bytes f = ip4(IPPROTO_ICMP, 8 + 32);
	f[34] = ICMP_ECHO;
	f[38] = 0x77;
	uint16_t sum = (uint16_t)~rte_raw_cksum(&f[34], 40);
	memcpy(&f[36], &sum, 2);
	ASSERT_EQ(send(f), 1);
	struct rte_mbuf *m = receive([](struct rte_mbuf *x) {
		return x->data_len >= 42 && at(x, 12)[0] == 8 && *at(x, 23) == IPPROTO_ICMP &&
		       *at(x, 34) == ICMP_ECHOREPLY;
	});
	ASSERT_NE(m, nullptr);
	EXPECT_FALSE(offload_is_partial(m));
	EXPECT_EQ(*at(m, 38), 0x77);
	rte_pktmbuf_free(m);
}

TEST_F(Tap, AFrameThatTheKernelRefusesDoesNotBlockTheNext)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	uint16_t number = 0;
	int fd = udp_socket(AF_INET, &number);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(send(Bytes(10)), 1);                          // shorter than Ethernet's header
	EXPECT_EQ(send(udp4(number, "bad", true), 3000, 6), 1); // a checksum beyond the frame
	EXPECT_EQ(send(udp4(number, "good", true), 34, 6), 1);
	EXPECT_EQ(hear(fd, 2000), "good");
	close(fd);
}

TEST_F(Tap, FramesThatDoNotFitABufferAreCounted)
{
	ASSERT_TRUE(open()) << error.text;
	pod.ip("link set dev eth0 mtu 9000");
	give_addresses();
	int fd = udp_socket(AF_INET);
	ASSERT_GE(fd, 0);
	ASSERT_TRUE(send_to(fd, "10.9.0.2", 53, std::string(5000, 'x')));
	ASSERT_TRUE(send_to(fd, "10.9.0.2", 53, "small"));
	struct rte_mbuf *m = receive(is_udp4);
	ASSERT_NE(m, nullptr);
	EXPECT_EQ(m->data_len, 42 + 5);
	EXPECT_EQ(port->stats[0].rx_bad, 1u);
	rte_pktmbuf_free(m);
	close(fd);
}

TEST_F(Tap, TakesNothingWhileTheLinkIsDown)
{
	ASSERT_TRUE(open()) << error.text;
	pod.ip("link set dev eth0 down");
	EXPECT_EQ(send(udp4(9, "x", false)), 0);
	EXPECT_EQ(port->stats[0].tx_full, 1u);
	pod.ip("link set dev eth0 up");
	expect_traffic();
}

TEST_F(Tap, SpreadsOverItsQueues)
{
	spec.queues = 4;
	ASSERT_TRUE(open()) << error.text;
	EXPECT_EQ(port->n_rxq, 4);
	give_addresses();
	// The kernel sends a flow's packets to the queue that its answers came by (tun's flow table), new ones by hash.
	uint16_t number = 0;
	int fd = udp_socket(AF_INET, &number);
	ASSERT_GE(fd, 0);
	for (uint16_t q = 0; q < 4; q++) {
		ASSERT_EQ(send(udp4(number, "q" + std::to_string(q), true), 34, 6, q), 1);
		EXPECT_EQ(hear(fd, 2000), "q" + std::to_string(q));
	}
	unsigned int seen = 0;
	for (int i = 0; i < 64 && seen != 0xf; i++) {
		int s = udp_socket(AF_INET);
		ASSERT_TRUE(send_to(s, "10.9.0.2", 53, "x"));
		struct rte_mbuf *m = receive(is_udp4);
		ASSERT_NE(m, nullptr);
		seen |= 1u << from_queue;
		rte_pktmbuf_free(m);
		close(s);
	}
	EXPECT_EQ(seen, 0xfu);
	close(fd);
}

TEST_F(Tap, ThePodKeepsItsDeviceOverARestart)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	std::string before = pod.ip("-o link show dev eth0");
	std::string index = before.substr(0, before.find(':'));
	ports_fini();
	std::string between = pod.ip("-o addr show dev eth0");
	EXPECT_NE(between.find("10.9.0.1/24"), std::string::npos) << between;
	start();
	ASSERT_TRUE(open()) << error.text;
	std::string after = pod.ip("-o addr show dev eth0");
	EXPECT_EQ(after.substr(0, after.find(':')), index);
	EXPECT_NE(after.find("10.9.0.1/24"), std::string::npos) << after;
	expect_traffic();
}

TEST_F(Tap, AdoptsADeviceThatAnotherProcessLeft)
{
	ASSERT_EQ(shell("ip -n " + pod.name + " tuntap add mode tap name eth0 vnet_hdr"), 0);
	spec.mac = {};
	std::string before = pod.ip("-o link show dev eth0");
	ASSERT_TRUE(open()) << error.text;
	std::string after = pod.ip("-o link show dev eth0");
	EXPECT_EQ(after.substr(0, after.find(':')), before.substr(0, before.find(':')));
	pod.ip("link set dev eth0 address 02:00:00:00:00:11");
	expect_traffic();
}

TEST_F(Tap, RemakesADeviceThatHadAnotherNumberOfQueues)
{
	ASSERT_EQ(shell("ip -n " + pod.name + " tuntap add mode tap name eth0"), 0);
	spec.queues = 2;
	ASSERT_TRUE(open()) << error.text;
	expect_traffic();
	port_close(port);
	ASSERT_EQ(shell("ip -n " + pod.name + " tuntap add mode tap name eth0 multi_queue"), 0);
	spec.queues = 1;
	ASSERT_TRUE(open()) << error.text;
	expect_traffic();
}

TEST_F(Tap, ComesBackInANamespaceMadeAnew)
{
	ASSERT_TRUE(open()) << error.text;
	expect_traffic();
	pod.remove();
	EXPECT_TRUE(eventually([&] { return !up(); }));
	EXPECT_EQ(send(udp4(9, "x", false)), 0);
	struct rte_mbuf *m[4];
	EXPECT_EQ(port->ops->rx(port, 0, m, 4), 0);
	EXPECT_EQ(description().find("waiting: "), 0u);
	EXPECT_GE(changes, 1);
	ASSERT_TRUE(pod.create());
	ASSERT_TRUE(eventually([&] { return up(); }));
	EXPECT_TRUE(mac_equal(&port->mac, &POD_MAC));
	EXPECT_GE(changes, 2);
	expect_traffic();
}

TEST_F(Tap, FollowsAPathThatNamesAnotherNamespaceAtOnce)
{
	ASSERT_TRUE(open()) << error.text;
	pod.remove();
	ASSERT_TRUE(pod.create());
	ASSERT_TRUE(eventually([&] { return pod.ip("link show dev eth0").find("LOWER_UP") != std::string::npos; }));
	expect_traffic();
}

TEST_F(Tap, ComesBackWhenThePodDeletesItsDevice)
{
	ASSERT_TRUE(open()) << error.text;
	pod.ip("link del dev eth0");
	ASSERT_TRUE(eventually([&] { return pod.ip("link show dev eth0").find("LOWER_UP") != std::string::npos; }));
	ASSERT_TRUE(eventually([&] { return up(); }));
	expect_traffic();
}

TEST_F(Tap, WaitsForANamespaceThatIsNotThereYet)
{
	pod.remove();
	ASSERT_TRUE(open()) << error.text;
	EXPECT_FALSE(up());
	EXPECT_EQ(description(), "waiting: " + pod.path + ": No such file or directory");
	ASSERT_TRUE(pod.create());
	ASSERT_TRUE(eventually([&] { return up(); }));
	expect_traffic();
}

TEST_F(Tap, AHostPortHasItsAddresses)
{
	struct host_prefix ips[2] = {};
	ASSERT_EQ(prefix_parse("192.0.2.1/24", &ips[0].prefix, &ips[0].ip), 0);
	ASSERT_EQ(prefix_parse("fd00:2::1/64", &ips[1].prefix, &ips[1].ip), 0);
	spec.host = true;
	spec.ifname = "weft0";
	spec.ips = {ips, 2};
	ASSERT_TRUE(open()) << error.text;
	std::string addr = pod.ip("addr show dev weft0 scope global");
	EXPECT_NE(addr.find("inet 192.0.2.1/24"), std::string::npos) << addr;
	EXPECT_NE(addr.find("inet6 fd00:2::1/64"), std::string::npos) << addr;
	EXPECT_EQ(addr.find("tentative"), std::string::npos) << addr;
}

TEST_F(Tap, RoutesComeAndGo)
{
	ASSERT_TRUE(open()) << error.text;
	const char *ns = spec.netns;
	for (const char *text :
	     {"10.244.1.0/24", "10.244.9.9/32", "0.0.0.0/0", "fd00:244:1::/64", "fd00:244::9/128", "::/0"}) {
		struct prefix p;
		ASSERT_EQ(prefix_parse(text, &p, nullptr), 0);
		std::string family = strchr(text, ':') != nullptr ? "-6 " : "-4 ";
		std::string show = family + "route show exact " + text;
		EXPECT_EQ(netlink_route(1, &p, "eth0", ns), 0) << text;
		EXPECT_NE(pod.ip(show).find("dev eth0"), std::string::npos) << text << ": " << pod.ip(show);
		EXPECT_EQ(netlink_route(1, &p, "eth0", ns), 0) << "again " << text;
		EXPECT_EQ(netlink_route(0, &p, "eth0", ns), 0) << text;
		EXPECT_EQ(pod.ip(show).find("dev eth0"), std::string::npos) << text;
		EXPECT_EQ(netlink_route(0, &p, "eth0", ns), 0) << "again " << text;
	}
}

TEST_F(Tap, RoutesOfOthersAreLeftAlone)
{
	ASSERT_TRUE(open()) << error.text;
	struct prefix p;
	prefix_parse("10.244.1.0/24", &p, nullptr);
	pod.ip("link add d0 type dummy");
	if (pod.ip("link show d0").find("does not exist") != std::string::npos)
		pod.ip("link add d0 type veth peer name d1");
	pod.ip("link set d0 up");
	pod.ip("route add 10.244.1.0/24 dev d0");
	ASSERT_NE(pod.ip("route").find("10.244.1.0/24 dev d0"), std::string::npos);
	EXPECT_EQ(netlink_route(1, &p, "eth0", spec.netns), -EEXIST);
	EXPECT_EQ(netlink_route(0, &p, "eth0", spec.netns), 0);
	EXPECT_NE(pod.ip("route").find("10.244.1.0/24 dev d0"), std::string::npos);
	// The connected route of an address of the device does what is wanted.
	pod.ip("addr add 10.244.7.1/24 dev eth0");
	prefix_parse("10.244.7.0/24", &p, nullptr);
	EXPECT_EQ(netlink_route(1, &p, "eth0", spec.netns), 0);
	EXPECT_EQ(netlink_route(1, &p, "none", spec.netns), -ENODEV);
}

TEST_F(Tap, RefusesWhatIsNotADeviceName)
{
	for (const char *name : {"", "tap%d", "a/b", "sixteen-bytes-16", "a b", ".", ".."}) {
		spec.ifname = name;
		EXPECT_FALSE(open()) << name;
		EXPECT_EQ(rc, -EINVAL);
		EXPECT_STREQ(error.path, "ifname");
	}
	spec.ifname = nullptr;
	spec.netns = nullptr;
	EXPECT_FALSE(open());
	EXPECT_STREQ(error.path, "ifname");
}

TEST_F(Tap, RefusesWhatIsNotANamespace)
{
	spec.netns = "/dev/null";
	EXPECT_FALSE(open());
	EXPECT_STREQ(error.path, "netns");
	EXPECT_STREQ(error.text, "/dev/null: not a network namespace");
}

TEST_F(Tap, RefusesADeviceThatIsNoTap)
{
	ASSERT_EQ(shell("ip -n " + pod.name + " link add eth0 type veth peer name peer0"), 0);
	EXPECT_FALSE(open());
	EXPECT_EQ(rc, -EINVAL);
	EXPECT_STREQ(error.text, ("eth0 in " + pod.path + " exists and is not a tap device").c_str());
	EXPECT_NE(pod.ip("link show dev eth0").find("eth0@peer0"), std::string::npos);
}

TEST_F(Tap, RefusesADeviceOfAnotherPortUnderAnyPath)
{
	ASSERT_TRUE(open()) << error.text;
	std::string alias = "/run/../run/netns/" + pod.name;
	struct spec_port second = spec;
	struct port *other;
	second.name = "second";
	second.netns = alias.c_str();
	EXPECT_EQ(port_open(&second, &other, &error), -EEXIST);
	EXPECT_STREQ(error.text, "interface eth0 is taken by port pod");
	second.ifname = "eth1";
	ASSERT_EQ(port_open(&second, &other, &error), 0) << error.text;
	port_close(other);
}

TEST_F(Tap, RefusesAnMtuThatItsBuffersCannotHold)
{
	spec.mtu = 9000;
	EXPECT_FALSE(open());
	EXPECT_STREQ(error.path, "mtu");
}

TEST_F(Tap, AnIdleOneStillAnswersSoon)
{
	ASSERT_TRUE(open()) << error.text;
	give_addresses();
	struct rte_mbuf *m[4];
	for (auto end = std::chrono::steady_clock::now() + 100ms; std::chrono::steady_clock::now() < end;)
		for (uint16_t i = 0, n = port->ops->rx(port, 0, m, 4); i < n; i++)
			rte_pktmbuf_free(m[i]);
	int fd = udp_socket(AF_INET);
	ASSERT_TRUE(send_to(fd, "10.9.0.2", 53, "wake"));
	auto start = std::chrono::steady_clock::now();
	struct rte_mbuf *got = nullptr;
	while (got == nullptr && std::chrono::steady_clock::now() < start + 1s) {
		if (port->ops->rx(port, 0, &got, 1) == 1 && !is_udp4(got)) {
			rte_pktmbuf_free(got);
			got = nullptr;
		}
	}
	ASSERT_NE(got, nullptr);
	EXPECT_LT(std::chrono::steady_clock::now() - start, 200ms);
	rte_pktmbuf_free(got);
	close(fd);
}

} // namespace
