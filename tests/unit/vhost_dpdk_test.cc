/* SPDX-License-Identifier: Apache-2.0 */
/* Against DPDK's own virtio_user: testpmd sends every frame back. */
#include "vhost_fixture.hpp"

#include <csignal>
#include <sys/wait.h>

#include <rte_ip.h>
#include <rte_tcp.h>

class VhostDpdkTest : public VhostTest
{
      protected:
	pid_t testpmd = -1;
	int input = -1; /* testpmd ends when it reads from it */

	void
	SetUp() override
	{
		VhostTest::SetUp();
		if (access("/usr/bin/dpdk-testpmd", X_OK) != 0)
			GTEST_SKIP() << "/usr/bin/dpdk-testpmd is not there (Debian package dpdk-dev)";
	}
	void
	TearDown() override
	{
		end();
		VhostTest::TearDown();
	}

	void
	start(const std::string &device, unsigned int queues, std::vector<std::string> more = {},
	      const std::string &commands = "")
	{
		int in[2];
		ASSERT_EQ(pipe2(in, O_CLOEXEC), 0);
		std::string n = std::to_string(queues);
		std::vector<std::string> args = {"dpdk-testpmd",
						 "--no-huge",
						 "--no-shconf",
						 "--no-telemetry",
						 "--no-pci",
						 "-m",
						 "64",
						 "--lcores",
						 "0@0,1@0",
						 "--log-level=error",
						 "--vdev=net_virtio_user0,queues=" + n + "," + device,
						 "--",
						 "--port-topology=loop",
						 "--nb-cores=1",
						 "--total-num-mbufs=2048",
						 "--no-flush-rx", /* it would throw away what came before it forwards */
						 "--rxq=" + n,
						 "--txq=" + n};
		args.insert(args.end(), more.begin(), more.end());
		std::string log = path("testpmd.log");
		testpmd = fork();
		if (testpmd == 0) {
			std::vector<char *> argv;
			for (std::string &a : args)
				argv.push_back(a.data());
			argv.push_back(nullptr);
			int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
			dup2(in[0], 0);
			dup2(out, 1);
			dup2(out, 2);
			execv("/usr/bin/dpdk-testpmd", argv.data());
			_exit(127);
		}
		::close(in[0]);
		input = in[1];
		ASSERT_EQ(write(input, commands.data(), commands.size()), static_cast<ssize_t>(commands.size()));
	}
	void
	end()
	{
		if (testpmd > 0) {
			kill(testpmd, SIGKILL);
			waitpid(testpmd, nullptr, 0);
			::close(input);
			unlink(path("testpmd.log").c_str());
		}
		testpmd = -1;
	}
	static std::string
	log()
	{
		std::ifstream in(path("testpmd.log"));
		return std::string(std::istreambuf_iterator<char>(in), {});
	}

	/* testpmd's driver throws away what lies in its ring while it starts (virtio_dev_start): wait until a frame has come
	 * back, and the others of these. */
	void
	expect_start(port *p, uint16_t queue)
	{
		size_t sent = 0, back = 0;
		EXPECT_TRUE(wait(
			[&] {
				back += receive(p, queue).size();
				if (back == 0)
					sent += transmit(p, {frame(60)}, queue);
				return back > 0;
			},
			20000))
			<< log();
		wait([&] { return (back += receive(p, queue).size()) == sent; }, 200);
	}
	/* What goes out on a queue comes back on it, in order; few at a time, since testpmd drops what its ring has no
	 * room for. */
	void
	echo(port *p, uint16_t queue, size_t length, unsigned int n)
	{
		Frames out, back;
		for (unsigned int i = 0; i < n; i++)
			out.push_back(frame(length, static_cast<uint8_t>(i + queue)));
		size_t sent = 0;
		expect_start(p, queue);
		EXPECT_TRUE(wait(
			[&] {
				Frames part(out.begin() + static_cast<long>(sent),
					    out.begin() + static_cast<long>(std::min(sent + 64, out.size())));
				if (!part.empty() && sent < back.size() + 64)
					sent += transmit(p, part, queue);
				for (Frames in = receive(p, queue); !in.empty(); in = receive(p, queue))
					back.insert(back.end(), in.begin(), in.end());
				return back.size() == n;
			},
			20000))
			<< back.size() << " of " << n << " of " << length << " bytes came back, " << sent
			<< " sent, first "
			<< (std::mismatch(back.begin(), back.end(), out.begin()).first - back.begin()) << " right\n"
			<< log();
		EXPECT_TRUE(back == out);
	}
};

/* virtio_user as a client does not come back by itself: it is killed and started again. */
TEST_F(VhostDpdkTest, ClientIsKilledAndStartedAgain)
{
	port *p = open(Spec("a", "s"));
	for (unsigned int life = 0; life < 2; life++) {
		start("path=" + path("s"), 1);
		ASSERT_TRUE(wait([&] { return up(p); }, 30000)) << describe(p) << log();
		echo(p, 0, 60, 2000);
		echo(p, 0, 1514, 500);
		EXPECT_EQ(p->stats[0].rx_bad, 0u);
		EXPECT_EQ(changes, 2 * life + 1) << "one change for a guest that comes";
		end();
		EXPECT_TRUE(wait([&] { return !up(p); }, 2000));
		EXPECT_EQ(describe(p), "waiting for a guest");
	}
}

TEST_F(VhostDpdkTest, ClientWithTwoQueues)
{
	port *p = open(Spec("a", "s", 2));
	start("path=" + path("s"), 2);
	ASSERT_TRUE(wait([&] { return up(p); }, 30000)) << describe(p) << log();
	EXPECT_TRUE(wait([&] { return describe(p).find("2 queues") != std::string::npos; }, 10000)) << describe(p);
	echo(p, 0, 64, 500);
	echo(p, 1, 128, 500);
}

TEST_F(VhostDpdkTest, ClientWithPackedRings)
{
	port *p = open(Spec("a", "s"));
	start("packed_vq=1,mrg_rxbuf=1,in_order=1,path=" + path("s"), 1);
	ASSERT_TRUE(wait([&] { return up(p); }, 30000)) << describe(p) << log();
	echo(p, 0, 60, 2000);
	echo(p, 0, 1514, 500);
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

/* Our client role: their server dies, leaves its socket behind, and is found again when it is back. */
TEST_F(VhostDpdkTest, ServerIsFoundAgain)
{
	Spec spec("a", "server");
	spec.role = ROLE_CLIENT;
	port *p = open(spec);
	for (unsigned int life = 0; life < 2; life++) {
		start("server=1,path=" + path("server"), 1);
		ASSERT_TRUE(wait([&] { return up(p); }, 30000)) << describe(p) << log();
		echo(p, 0, 60, 2000);
		echo(p, 0, 1514, 500);
		end();
		EXPECT_TRUE(wait([&] { return !up(p); }, 2000));
		EXPECT_EQ(describe(p), "waiting for a guest that listens");
		unlink(path("server").c_str());
	}
}

/* Their server stays, we go and come back: as a switch that restarts. */
TEST_F(VhostDpdkTest, ServerOutlivesThePort)
{
	Spec spec("a", "server");
	spec.role = ROLE_CLIENT;
	start("server=1,path=" + path("server"), 1);
	for (unsigned int life = 0; life < 3; life++) {
		port *p = open(spec);
		ASSERT_TRUE(wait([&] { return up(p); }, 30000)) << describe(p) << log();
		echo(p, 0, 60, 500);
		close(p);
	}
	end();
	unlink(path("server").c_str());
}

/* testpmd's checksum engine leaves TCP checksums to its device, which is us, and is told by us that ours are partial.
 */
TEST_F(VhostDpdkTest, ChecksumsAreLeftToTheOtherSide)
{
	port *p = open(Spec("a", "s"));
	start("path=" + path("s"), 1, {"-i", "--tx-offloads=0xc", "--rx-offloads=0xc", "--forward-mode=csum"},
	      "port stop 0\ncsum set ip sw 0\ncsum set tcp hw 0\nport start 0\nset verbose 1\nstart\n");
	ASSERT_TRUE(wait([&] { return describe(p) == "connected, 1 queue, checksum offload"; }, 30000))
		<< describe(p) << log();
	vhost::Frame f = frame(14 + 20 + 20 + 64);
	f[12] = 8, f[13] = 0;
	auto *ip = reinterpret_cast<rte_ipv4_hdr *>(&f[14]);
	ip->version_ihl = 0x45;
	ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(f.size() - 14));
	ip->fragment_offset = 0;
	ip->next_proto_id = IPPROTO_TCP;
	ip->hdr_checksum = 0;
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	auto *tcp = reinterpret_cast<rte_tcp_hdr *>(&f[34]);
	tcp->data_off = 0x50;
	tcp->cksum = rte_ipv4_phdr_cksum(ip, 0);
	rte_mbuf *back = nullptr;
	EXPECT_TRUE(wait(
		[&] {
			rte_mbuf *m = mbuf(f), *got[64];
			offload_rx_partial(m, 34, 16);
			if (p->ops->tx(p, 0, &m, 1) == 0)
				rte_pktmbuf_free(m);
			uint16_t n = p->ops->rx(p, 0, got, 64);
			for (uint16_t i = 0; i < n; i++) {
				if (back == nullptr && offload_is_partial(got[i]))
					back = got[i];
				else
					rte_pktmbuf_free(got[i]);
			}
			return back != nullptr;
		},
		20000))
		<< log();
	ASSERT_NE(back, nullptr);
	EXPECT_EQ(offload_csum_start(back), 34);
	EXPECT_EQ(offload_csum_offset(back), 16);
	ASSERT_EQ(offload_complete(back, static_cast<uint16_t>(f.size()), false), 0);
	ip = rte_pktmbuf_mtod_offset(back, rte_ipv4_hdr *, 14);
	tcp = rte_pktmbuf_mtod_offset(back, rte_tcp_hdr *, 34);
	EXPECT_EQ(rte_ipv4_udptcp_cksum_verify(ip, tcp), 0);
	rte_pktmbuf_free(back);
}
