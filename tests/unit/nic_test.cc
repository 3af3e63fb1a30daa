// SPDX-License-Identifier: Apache-2.0
// The nic port over ethdevs that need no hardware. The whole program lives in a network namespace of its own, so that
// the interfaces, addresses and settings that it plays with are nobody else's.
#include <weft/netlink.h>
#include <weft/offload.h>
#include <weft/port.h>
#include <weft/port_event.h>
#include <weft/rcu.h>
#include <weft/text.h>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>
#include <sched.h>
#include <sys/socket.h>

#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include "netns.hpp"

// DPDK 22.11's af_xdp driver does not give its umem back when it is closed.
extern "C" const char *
__lsan_default_suppressions()
{
	return "leak:xsk_umem__create";
}

namespace
{

using namespace std::chrono_literals;
using Bytes = std::vector<uint8_t>;

constexpr unsigned int POOL_SIZE = 16383;
const char *why_not;
struct rte_mempool *pool;

struct rte_mempool *
pool_of_any_node(int)
{
	return pool;
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

std::string
setting(const std::string &name)
{
	std::string value;
	std::ifstream("/proc/sys/net/" + name) >> value;
	return value;
}

void
set(const std::string &name, const std::string &value)
{
	std::ofstream("/proc/sys/net/" + name) << value;
}

class Nic : public ::testing::Test
{
      protected:
	static void
	SetUpTestSuite()
	{
		why_not = no_netns();
		if (why_not == nullptr && unshare(CLONE_NEWNET) < 0)
			why_not = "a namespace of its own is not allowed";
		if (why_not != nullptr)
			return;
		shell("ip link set lo up");
		std::string prefix = "--file-prefix=weft-nic-" + std::to_string(getpid());
		const char *args[] = {
			"nic_test", "--no-huge", "--no-shconf", "--no-telemetry",         "--no-pci",    "-m",
			"192",      "--lcores",  "0@0",         "--log-level=*:critical", prefix.c_str()};
		if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])), (char **)args) >= 0)
			pool = rte_pktmbuf_pool_create("nic", POOL_SIZE, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, -1);
	}

	void
	SetUp() override
	{
		if (why_not != nullptr)
			GTEST_SKIP() << why_not;
		ASSERT_NE(pool, nullptr);
		available = rte_mempool_avail_count(pool);
		ASSERT_EQ(rcu_init(4), 0);
		struct port_env env = {};
		env.socket_dir = "/run";
		env.pool = pool_of_any_node;
		ASSERT_EQ(ports_init(&env), 0);
		ready = true;
		spec.name = "uplink";
		spec.type = PORT_NIC;
		spec.uplink = true;
	}

	void
	TearDown() override
	{
		if (!ready)
			return;
		ports_fini();
		rcu_fini();
		EXPECT_EQ(rte_eth_dev_count_total(), 0);
		EXPECT_GE(rte_mempool_avail_count(pool) + may_lose, available) << "buffers were lost";
		shell("ip link del eth1");
	}

	bool
	open(const char *device)
	{
		spec.device = device;
		rc = port_open(&spec, &port, &error);
		return rc == 0;
	}

	// eth1 here, k0 with 192.0.2.2 in a namespace: a neighbour on the wire. It hands over full checksums, as real
	// wires do.
	void
	make_wire()
	{
		ASSERT_TRUE(node.create());
		ASSERT_EQ(shell("ip link add eth1 type veth peer name k0 netns " + node.name), 0);
		shell("ip netns exec " + node.name + " ethtool -K k0 tx off");
		shell("ip netns exec " + node.name + " ethtool -L k0 tx 1 rx 1");
		shell("ethtool -L eth1 tx 1 rx 1");
		node.ip("link set k0 up address 02:00:00:00:00:22");
		node.ip("addr add 192.0.2.2/24 dev k0");
		shell("ip link set eth1 up address 02:00:00:00:00:11");
		node.ip("neigh add 192.0.2.1 lladdr 02:00:00:00:00:11 dev k0");
	}

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
						EXPECT_FALSE(offload_is_partial(m[i]));
						if (found == nullptr && wanted(m[i]))
							found = m[i];
						else
							rte_pktmbuf_free(m[i]);
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

	static struct rte_mbuf *
	mbuf(const Bytes &data)
	{
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
		memcpy(rte_pktmbuf_append(m, (uint16_t)data.size()), data.data(), data.size());
		return m;
	}

	uint16_t
	send(struct rte_mbuf *m)
	{
		uint16_t n = port->ops->tx(port, 0, &m, 1);
		if (n == 0)
			rte_pktmbuf_free(m);
		return n;
	}

	static Bytes
	udp4(const struct mac &to, const char *from_ip, const char *to_ip, uint16_t number, const std::string &text,
	     bool partial)
	{
		Bytes f(42 + text.size());
		memcpy(&f[0], to.b, 6);
		f[6] = 2;
		f[12] = 8;
		auto *ip = (struct rte_ipv4_hdr *)&f[14];
		auto *udp = (struct rte_udp_hdr *)&f[34];
		ip->version_ihl = 0x45;
		ip->total_length = htons((uint16_t)(28 + text.size()));
		ip->time_to_live = 64;
		ip->next_proto_id = IPPROTO_UDP;
		ip->src_addr = inet_addr(from_ip);
		ip->dst_addr = inet_addr(to_ip);
		ip->hdr_checksum = rte_ipv4_cksum(ip);
		udp->src_port = htons(4000);
		udp->dst_port = htons(number);
		udp->dgram_len = htons((uint16_t)(8 + text.size()));
		memcpy(&f[42], text.data(), text.size());
		udp->dgram_cksum = partial ? rte_ipv4_phdr_cksum(ip, 0) : rte_ipv4_udptcp_cksum(ip, udp);
		return f;
	}

	// On the calling thread, in its namespace.
	static int
	udp_socket(uint16_t *number)
	{
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		struct sockaddr_in any = {};
		socklen_t n = sizeof(any);
		any.sin_family = AF_INET;
		if (bind(fd, (struct sockaddr *)&any, n) < 0 || getsockname(fd, (struct sockaddr *)&any, &n) < 0)
			return -errno;
		*number = ntohs(any.sin_port);
		return fd;
	}

	static std::string
	hear(int fd, int ms)
	{
		char buf[2048];
		struct timeval patience = {ms / 1000, (ms % 1000) * 1000};
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		return n < 0 ? std::string("error ") + strerror(errno) : std::string(buf, (size_t)n);
	}

	static int
	connect_to(int fd, const char *address, uint16_t number)
	{
		struct sockaddr_in to = {};
		to.sin_family = AF_INET;
		to.sin_port = htons(number);
		to.sin_addr.s_addr = inet_addr(address);
		return connect(fd, (struct sockaddr *)&to, sizeof(to));
	}

	void
	expect_wire_traffic()
	{
		uint16_t number = 0;
		int fd = node.run([&] { return udp_socket(&number); });
		ASSERT_GE(fd, 0);
		struct mac to = {{2, 0, 0, 0, 0, 0x22}};
		// A driver may need a moment before its first frame leaves.
		std::string heard;
		for (int i = 0; i < 5 && heard != "to the node"; i++) {
			EXPECT_EQ(send(mbuf(udp4(to, "192.0.2.1", "192.0.2.2", number, "to the node", false))), 1);
			heard = hear(fd, 500);
		}
		EXPECT_EQ(heard, "to the node");
		ASSERT_EQ(connect_to(fd, "192.0.2.1", 4789), 0);
		ASSERT_EQ(::send(fd, "from the node", 13, 0), 13);
		struct rte_mbuf *m = receive(is_udp4);
		ASSERT_NE(m, nullptr);
		EXPECT_EQ(std::string((char *)at(m, 42), 13), "from the node");
		EXPECT_EQ(rte_ipv4_udptcp_cksum_verify((struct rte_ipv4_hdr *)at(m, 14), at(m, 34)), 0);
		rte_pktmbuf_free(m);
		close(fd);
	}

	Netns node;
	struct spec_port spec = {};
	struct port *port = nullptr;
	struct error error = {};
	unsigned int available = 0, may_lose = 0;
	int rc = 0;
	bool ready = false;
};

TEST_F(Nic, AfPacketCarriesTraffic)
{
	make_wire();
	ASSERT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
	const struct mac own = {{2, 0, 0, 0, 0, 0x11}};
	EXPECT_TRUE(mac_equal(&port->mac, &own));
	EXPECT_EQ(port->n_rxq, 1);
	EXPECT_EQ(port->mtu, 1500);
	EXPECT_EQ(port->offloads, 0u);
	EXPECT_TRUE(eventually([&] { return __atomic_load_n(&port->up, __ATOMIC_RELAXED); }));
	char text[128];
	port->ops->describe(port, text, sizeof(text));
	EXPECT_STREQ(text, "net_af_packet on eth1, link up, 1 queue");
	expect_wire_traffic();
	port_close(port);
	ASSERT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
	expect_wire_traffic();
}

TEST_F(Nic, AfXdpCarriesTraffic)
{
	int probe = socket(AF_XDP, SOCK_RAW, 0);
	if (probe < 0)
		GTEST_SKIP() << "no AF_XDP in this kernel";
	close(probe);
	make_wire();
	may_lose = 8192; // DPDK 22.11's driver keeps what lies in its fill ring when it is closed
	ASSERT_TRUE(open("net_af_xdp0,iface=eth1")) << error.text;
	expect_wire_traffic();
	port_close(port);
	EXPECT_EQ(shell_output("ip link show eth1").find("xdp"), std::string::npos);
	ASSERT_TRUE(open("net_af_xdp0,iface=eth1")) << error.text;
	expect_wire_traffic();
}

TEST_F(Nic, AllQueuesOfTheArgumentsArePolled)
{
	make_wire();
	ASSERT_TRUE(open("net_af_packet0,iface=eth1,qpairs=2")) << error.text;
	EXPECT_EQ(port->n_rxq, 2);
	EXPECT_EQ(port->n_txq, 2);
	expect_wire_traffic();
}

TEST_F(Nic, ALinkThatGoesIsSeen)
{
	make_wire();
	ASSERT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
	node.ip("link set k0 down");
	EXPECT_TRUE(eventually([&] { return !__atomic_load_n(&port->up, __ATOMIC_RELAXED); }));
	node.ip("link set k0 up");
	EXPECT_TRUE(eventually([&] { return __atomic_load_n(&port->up, __ATOMIC_RELAXED); }));
}

TEST_F(Nic, TheKernelDoesNotAnswerInOurPlace)
{
	make_wire();
	// The node's address lies on another device, as on the host port.
	ASSERT_EQ(shell("ip link add host0 type veth peer name host1"), 0);
	shell("ip link set host1 up");
	shell("ip link set host0 up");
	shell("ip addr add 192.0.2.1/24 dev host0");
	uint16_t number = 0;
	int fd = node.run([&] { return udp_socket(&number); });
	ASSERT_EQ(connect_to(fd, "192.0.2.1", 4789), 0);
	auto ask = [&](int ms) {
		(void)!::send(fd, "vxlan", 5, 0);
		return hear(fd, ms);
	};
	// The kernel by itself: strict filtering off, and a way back by the wire.
	set("ipv4/conf/eth1/rp_filter", "0");
	shell("ip route add 192.0.2.2/32 dev host0");
	shell("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:22 dev host0");
	set("ipv4/conf/eth1/forwarding", "1");
	shell("ip addr add 198.51.100.1/32 dev eth1");
	shell("ip route replace 192.0.2.2/32 dev eth1 src 198.51.100.1");
	shell("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:22 dev eth1");
	EXPECT_EQ(ask(2000), "error Connection refused") << "this test would prove nothing";
	shell("ip addr del 198.51.100.1/32 dev eth1");
	shell("ip route del 192.0.2.2/32 dev eth1");
	ASSERT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
	while (hear(fd, 50) == "error Connection refused")
		;
	EXPECT_EQ(ask(300), "error Resource temporarily unavailable");
	struct rte_mbuf *m = receive(is_udp4);
	ASSERT_NE(m, nullptr) << "but the switch must see it";
	rte_pktmbuf_free(m);
	close(fd);
	shell("ip link del host0");
}

TEST_F(Nic, TheInterfaceIsGivenBackAsItWas)
{
	make_wire();
	set("ipv4/conf/eth1/arp_ignore", "0");
	set("ipv4/conf/eth1/rp_filter", "0");
	set("ipv4/conf/eth1/forwarding", "1");
	set("ipv6/conf/eth1/disable_ipv6", "0");
	spec.mtu = 1450;
	ASSERT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
	EXPECT_EQ(port->mtu, 1450);
	EXPECT_NE(shell_output("ip link show eth1").find("mtu 1450"), std::string::npos);
	EXPECT_NE(shell_output("ip link show eth1").find("ALLMULTI"), std::string::npos);
	EXPECT_EQ(setting("ipv4/conf/eth1/arp_ignore"), "1");
	EXPECT_EQ(setting("ipv4/conf/eth1/arp_announce"), "2");
	EXPECT_EQ(setting("ipv4/conf/eth1/rp_filter"), "1");
	EXPECT_EQ(setting("ipv4/conf/eth1/forwarding"), "0");
	EXPECT_EQ(setting("ipv6/conf/eth1/disable_ipv6"), "1");
	port_close(port);
	EXPECT_NE(shell_output("ip link show eth1").find("mtu 1500"), std::string::npos);
	EXPECT_EQ(shell_output("ip link show eth1").find("ALLMULTI"), std::string::npos);
	EXPECT_EQ(setting("ipv4/conf/eth1/arp_ignore"), "0");
	EXPECT_EQ(setting("ipv4/conf/eth1/arp_announce"), "0");
	EXPECT_EQ(setting("ipv4/conf/eth1/rp_filter"), "0");
	EXPECT_EQ(setting("ipv4/conf/eth1/forwarding"), "1");
	EXPECT_EQ(setting("ipv6/conf/eth1/disable_ipv6"), "0");
}

TEST_F(Nic, TakesTheMtuOfASmallerInterface)
{
	make_wire();
	shell("ip link set eth1 mtu 1400");
	ASSERT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
	EXPECT_EQ(port->mtu, 1400);
}

TEST_F(Nic, RefusesTheInterfaceOfTheDefaultRoute)
{
	make_wire();
	shell("ip addr add 198.51.100.1/24 dev eth1");
	ASSERT_EQ(shell("ip route add default via 198.51.100.254 dev eth1"), 0);
	EXPECT_FALSE(open("net_af_packet0,iface=eth1"));
	EXPECT_EQ(rc, -EPERM);
	EXPECT_STREQ(error.path, "device");
	EXPECT_STREQ(error.text, "eth1 carries a default route: the node itself needs it");
	EXPECT_EQ(setting("ipv4/conf/eth1/arp_ignore"), "0");
	shell("ip route del default");
	ASSERT_EQ(shell("ip -6 route add default dev eth1"), 0);
	EXPECT_FALSE(open("net_af_packet0,iface=eth1"));
	EXPECT_EQ(rc, -EPERM);
	shell("ip -6 route del default dev eth1");
	EXPECT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
}

TEST_F(Nic, RefusesAnInterfaceThatHasItsAddress)
{
	make_wire();
	struct host_prefix ips[2] = {};
	ASSERT_EQ(prefix_parse("203.0.113.9/24", &ips[0].prefix, &ips[0].ip), 0);
	ASSERT_EQ(prefix_parse("192.0.2.1/24", &ips[1].prefix, &ips[1].ip), 0);
	spec.ips = {ips, 2};
	shell("ip addr add 192.0.2.1/24 dev eth1");
	EXPECT_FALSE(open("net_af_packet0,iface=eth1"));
	EXPECT_EQ(rc, -EADDRINUSE);
	EXPECT_STREQ(error.path, "ips[1]");
	shell("ip addr del 192.0.2.1/24 dev eth1");
	EXPECT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
}

TEST_F(Nic, RefusesANodeWhoseFilteringIsLoose)
{
	make_wire();
	set("ipv4/conf/all/rp_filter", "2");
	EXPECT_FALSE(open("net_af_packet0,iface=eth1"));
	EXPECT_EQ(rc, -EPERM);
	EXPECT_NE(strstr(error.text, "net.ipv4.conf.all.rp_filter is 2"), nullptr);
	set("ipv4/conf/all/rp_filter", "0");
}

TEST_F(Nic, RefusesWhatDoesNotExist)
{
	EXPECT_FALSE(open("net_af_packet0,iface=none0"));
	EXPECT_EQ(rc, -ENODEV);
	EXPECT_STREQ(error.text, "there is no interface none0");
	EXPECT_FALSE(open("net_no_such_driver0"));
	EXPECT_LT(rc, 0);
	EXPECT_EQ(strncmp(error.text, "net_no_such_driver0 cannot be attached: ", 40), 0) << error.text;
	EXPECT_FALSE(open(""));
	EXPECT_EQ(rc, -EINVAL);
	EXPECT_FALSE(open(nullptr));
	EXPECT_EQ(rc, -EINVAL);
}

TEST_F(Nic, RefusesVlanAndMtuThatItCannotDo)
{
	spec.vlan = 7;
	EXPECT_FALSE(open("net_null0"));
	EXPECT_STREQ(error.path, "vlan");
	spec.vlan = 0;
	spec.mtu = 9000;
	EXPECT_FALSE(open("net_null0"));
	EXPECT_STREQ(error.path, "mtu");
}

TEST_F(Nic, OnePortADevice)
{
	make_wire();
	ASSERT_TRUE(open("net_af_packet0,iface=eth1")) << error.text;
	spec.name = "second";
	EXPECT_FALSE(open("net_af_packet0,iface=eth2"));
	EXPECT_EQ(rc, -EEXIST);
	EXPECT_STREQ(error.text, "device net_af_packet0 is taken by port uplink");
	EXPECT_FALSE(open("net_af_packet1,iface=eth1"));
	EXPECT_EQ(rc, -EEXIST);
	EXPECT_STREQ(error.text, "interface eth1 is taken by port uplink");
}

TEST_F(Nic, TakesAsManyQueuesAsAskedAndNoMoreThanThereAre)
{
	spec.queues = 2;
	ASSERT_TRUE(open("net_null0")) << error.text;
	EXPECT_EQ(port->n_rxq, 2);
	spec.name = "second";
	spec.queues = 16;
	ASSERT_TRUE(open("net_ring0")) << error.text;
	EXPECT_LE(port->n_rxq, 16);
	EXPECT_GE(port->n_rxq, 1);
}

TEST_F(Nic, DevicesRunOutWithAClearWord)
{
	std::vector<struct port *> all;
	for (int i = 0; i < RTE_MAX_ETHPORTS; i++) {
		std::string name = "p" + std::to_string(i), device = "net_null" + std::to_string(i);
		spec.name = name.c_str();
		ASSERT_TRUE(open(device.c_str())) << i << " " << error.text;
		all.push_back(port);
	}
	spec.name = "one more";
	EXPECT_FALSE(open("net_null_more"));
	EXPECT_EQ(rc, -ENOSPC);
	EXPECT_STREQ(error.text, "all 32 network devices that this build of DPDK allows are in use");
	port_close(all[7]);
	EXPECT_TRUE(open("net_null_more")) << error.text;
}

TEST_F(Nic, ComesAndGoesManyTimes)
{
	make_wire();
	for (int i = 0; i < 10; i++) {
		ASSERT_TRUE(open("net_af_packet0,iface=eth1")) << i << " " << error.text;
		port_close(port);
	}
}

// net_tap computes checksums when asked by the mbuf's flags: what we ask for is what the kernel accepts.
TEST_F(Nic, PartialChecksumsBecomeRequestsToTheDevice)
{
	ASSERT_TRUE(open("net_tap0,iface=eth1,mac=02:00:00:00:00:33")) << error.text;
	ASSERT_TRUE(port->offloads & PORT_TX_CSUM);
	shell("ip addr add 192.0.2.1/24 dev eth1");
	shell("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:44 dev eth1");
	uint16_t number = 0;
	int fd = udp_socket(&number);
	ASSERT_GE(fd, 0);
	struct rte_mbuf *m = mbuf(udp4(port->mac, "192.0.2.2", "192.0.2.1", number, "unmarked", true));
	ASSERT_EQ(send(m), 1);
	m = mbuf(udp4(port->mac, "192.0.2.2", "192.0.2.1", number, "partial", true));
	offload_rx_partial(m, 34, 6);
	ASSERT_EQ(send(m), 1);
	EXPECT_EQ(hear(fd, 2000), "partial");
	close(fd);
}

TEST_F(Nic, ChainsAreMadeOneSegmentOrCounted)
{
	ASSERT_TRUE(open("net_ring0")) << error.text; // what is sent is received
	auto chain = [](uint16_t first, uint16_t second) {
		struct rte_mbuf *a = mbuf(Bytes(first, 'a'));
		EXPECT_EQ(rte_pktmbuf_chain(a, mbuf(Bytes(second, 'b'))), 0);
		return a;
	};
	ASSERT_EQ(send(chain(100, 60)), 1);
	struct rte_mbuf *m = receive([](struct rte_mbuf *) { return true; });
	ASSERT_NE(m, nullptr);
	EXPECT_EQ(m->data_len, 160);
	EXPECT_EQ(*at(m, 99), 'a');
	EXPECT_EQ(*at(m, 100), 'b');
	rte_pktmbuf_free(m);
	ASSERT_EQ(send(chain(2000, 2000)), 1);
	EXPECT_EQ(receive([](struct rte_mbuf *) { return true; }, 50), nullptr);
	EXPECT_EQ(port->stats[0].rx_bad, 1u);
}

TEST_F(Nic, ADevicesOwnFlagsAreNotTakenForPartial)
{
	ASSERT_TRUE(open("net_ring0")) << error.text;
	uint16_t id;
	ASSERT_EQ(rte_eth_dev_get_port_by_name("net_ring0", &id), 0);
	for (uint64_t flags : {(uint64_t)RTE_MBUF_F_RX_L4_CKSUM_NONE, (uint64_t)RTE_MBUF_F_RX_L4_CKSUM_GOOD}) {
		struct rte_mbuf *m = mbuf(Bytes(60));
		m->ol_flags = flags;
		ASSERT_EQ(rte_eth_tx_burst(id, 0, &m, 1), 1);
		ASSERT_EQ(port->ops->rx(port, 0, &m, 1), 1);
		EXPECT_FALSE(offload_is_partial(m));
		if (flags == RTE_MBUF_F_RX_L4_CKSUM_GOOD) {
			EXPECT_EQ(m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, flags);
		}
		rte_pktmbuf_free(m);
	}
}

} // namespace
