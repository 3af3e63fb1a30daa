/* SPDX-License-Identifier: Apache-2.0 */
/* Against DPDK's own memif: testpmd in its loop topology sends every frame back. */
#include <csignal>
#include <sys/wait.h>

#include "memif_fixture.hpp"

using Frames = std::vector<std::vector<uint8_t>>;

class MemifDpdkTest : public MemifTest
{
      protected:
	pid_t testpmd = -1;
	int input = -1; /* testpmd ends when it reads from it */

	void
	SetUp() override
	{
		MemifTest::SetUp();
		if (access("/usr/bin/dpdk-testpmd", X_OK) != 0)
			GTEST_SKIP() << "/usr/bin/dpdk-testpmd is not there (Debian package dpdk-dev)";
	}
	void
	TearDown() override
	{
		end();
		MemifTest::TearDown();
	}

	void
	start(const std::string &device, unsigned int queues)
	{
		int in[2];
		ASSERT_EQ(pipe2(in, O_CLOEXEC), 0);
		std::string vdev = "--vdev=net_memif0,socket-abstract=no," + device;
		std::string n = std::to_string(queues), rxq = "--rxq=" + n, txq = "--txq=" + n;
		const char *argv[] = {"dpdk-testpmd",
				      "--no-huge",
				      "--no-shconf",
				      "--no-telemetry",
				      "--no-pci",
				      "-m",
				      "64",
				      "--lcores",
				      "0@0,1@0",
				      "--log-level=error",
				      vdev.c_str(),
				      "--",
				      "--port-topology=loop",
				      "--nb-cores=1",
				      "--total-num-mbufs=4096",
				      "--no-lsc-interrupt",
				      "--disable-link-check",
				      "--no-flush-rx", /* it would throw away what came before it forwards */
				      rxq.c_str(),
				      txq.c_str(),
				      nullptr};
		std::string log = path("testpmd.log");
		testpmd = fork();
		if (testpmd == 0) {
			int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
			dup2(in[0], 0);
			dup2(out, 1);
			dup2(out, 2);
			execv("/usr/bin/dpdk-testpmd", const_cast<char **>(argv));
			_exit(127);
		}
		::close(in[0]);
		input = in[1];
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

	/* What goes out on a queue comes back on it, in order; few at a time, since testpmd drops what its ring has no room for. */
	void
	echo(port *p, uint16_t queue, size_t length, unsigned int n)
	{
		Frames out, back;
		for (unsigned int i = 0; i < n; i++)
			out.push_back(frame(length, static_cast<uint8_t>(i + queue)));
		size_t sent = 0;
		EXPECT_TRUE(wait(
			[&] {
				Frames part(out.begin() + static_cast<long>(sent),
					    out.begin() + static_cast<long>(std::min(sent + 32, out.size())));
				if (!part.empty() && sent < back.size() + 64)
					sent += transmit(p, part, queue);
				for (auto &f : receive(p, queue))
					back.push_back(std::move(f));
				return back.size() == n;
			},
			10000))
			<< back.size() << " of " << n << " came back\n"
			<< log();
		EXPECT_TRUE(back == out);
	}
};

TEST_F(MemifDpdkTest, ClientComesIsKilledAndComesBack)
{
	Spec spec("a", "s");
	spec.id = 5;
	spec.secret = "open sesame";
	port *p = open(spec);
	for (int life = 0; life < 2; life++) {
		start("role=client,id=5,secret=open sesame,rsize=9,socket=" + path("s"), 1);
		ASSERT_TRUE(wait([&] { return up(p); }, 20000)) << describe(p) << log();
		EXPECT_EQ(describe(p), "connected to net_memif0, 1 queue, ring 512");
		echo(p, 0, 60, 2000);
		echo(p, 0, 1514, 500);
		EXPECT_EQ(p->stats[0].rx_bad, 0u);
		end();
		EXPECT_TRUE(wait([&] { return !up(p); }, 1000));
		EXPECT_EQ(describe(p), "waiting for a client (last: the peer closed the connection)");
	}
}

TEST_F(MemifDpdkTest, ClientWithTwoQueuesOnASharedSocket)
{
	Spec a("a", "s"), b("b", "s");
	a.queues = 2;
	b.id = 1;
	port *p = open(a);
	open(b);
	start("role=client,id=0,socket=" + path("s"), 2);
	ASSERT_TRUE(wait([&] { return up(p); }, 20000)) << describe(p) << log();
	EXPECT_EQ(describe(p), "connected to net_memif0, 2 queues, ring 1024");
	echo(p, 0, 64, 500);
	echo(p, 1, 128, 500);
}

TEST_F(MemifDpdkTest, ClientWithAWrongSecretStaysOut)
{
	Spec spec("a", "s");
	spec.secret = "right";
	port *p = open(spec);
	start("role=client,secret=wrong,socket=" + path("s"), 1);
	EXPECT_TRUE(wait([&] { return describe(p) == "waiting for a client (last: wrong secret)"; }, 20000))
		<< describe(p) << log();
	EXPECT_FALSE(up(p));
}

/* Our client role against their server, which dies and comes back under the same name. */
TEST_F(MemifDpdkTest, Server)
{
	Spec spec("a", "server");
	spec.role = ROLE_CLIENT;
	spec.ring_size = 256;
	port *p = open(spec);
	for (int life = 0; life < 2; life++) {
		start("role=server,socket=" + path("server"), 1);
		ASSERT_TRUE(wait([&] { return up(p); }, 20000)) << describe(p) << log();
		EXPECT_EQ(describe(p), "connected to net_memif0, 1 queue, ring 256");
		echo(p, 0, 60, 2000);
		echo(p, 0, 1514, 500);
		EXPECT_EQ(p->stats[0].rx_bad, 0u);
		end();
		unlink(path("server").c_str());
		EXPECT_TRUE(wait([&] { return !up(p); }, 1000));
	}
}
