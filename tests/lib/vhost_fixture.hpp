/* SPDX-License-Identifier: Apache-2.0 */
/* What the vhost-user tests stand on: EAL, a pool, the port thread, a folder for sockets, and the checks that nothing
 * leaked. */
#ifndef TESTS_LIB_VHOST_FIXTURE_HPP
#define TESTS_LIB_VHOST_FIXTURE_HPP

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>

#include <weft/offload.h>
#include <weft/port.h>
#include <weft/port_event.h>
#include <weft/rcu.h>

#include "vhost_guest.hpp"

class VhostTest : public ::testing::Test
{
      protected:
	using Frames = std::vector<vhost::Frame>;
	static inline rte_mempool *pool;
	static inline std::string folder;
	static inline std::atomic<unsigned int> changes;

	static void
	SetUpTestSuite()
	{
		if (pool != nullptr)
			return;
		std::string prefix = "vhost" + std::to_string(getpid());
		std::vector<std::string> args = {
			"test",     "--no-huge", "--no-shconf", "--no-telemetry", "--no-pci",      "-m",  "128",
			"--lcores", "0@(0-1)",   "--log-level", "lib.*:1",        "--file-prefix", prefix};
		if (access("/sys/devices/system/cpu/cpu1", F_OK) != 0)
			args[8] = "0@0";
		std::vector<char *> argv;
		for (std::string &a : args)
			argv.push_back(a.data());
		ASSERT_GE(rte_eal_init(static_cast<int>(argv.size()), argv.data()), 0);
		pool = rte_pktmbuf_pool_create("vhost", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
		ASSERT_NE(pool, nullptr);
		ASSERT_EQ(rcu_init(8), 0);
		char path[] = "/tmp/vhost-test-XXXXXX";
		folder = mkdtemp(path);
		static struct port_env env = {};
		env.socket_dir = folder.c_str();
		env.pool = [](int) { return pool; };
		env.changed = [](port *, void *) { changes++; };
		ASSERT_EQ(ports_init(&env), 0);
		atexit([] {
			ports_fini();
			rcu_fini();
			rmdir(folder.c_str());
		});
	}

	std::vector<port *> ports;
	unsigned int mbufs = 0, fds = 0;

	void
	SetUp() override
	{
		warm_up();
		mbufs = rte_mempool_in_use_count(pool);
		fds = count_fds();
		changes = 0;
	}
	/* After every test: all buffers and descriptors are back. */
	void
	TearDown() override
	{
		while (!ports.empty())
			close(ports.back());
		EXPECT_EQ(rte_mempool_in_use_count(pool), mbufs);
		EXPECT_TRUE(wait([this] { return count_fds() == fds; })) << count_fds() << " was " << fds;
	}

	/* The library keeps a pipe from its first port on. */
	void
	warm_up()
	{
		static bool warm;
		if (!warm)
			close(open(Spec("warm", "warm")));
		warm = true;
	}
	static unsigned int
	count_fds()
	{
		unsigned int n = 0;
		DIR *d = opendir("/proc/self/fd");
		while (readdir(d) != nullptr)
			n++;
		closedir(d);
		return n;
	}
	static bool
	wait(const std::function<bool()> &condition, int ms = 5000)
	{
		auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
		while (!condition()) {
			if (std::chrono::steady_clock::now() > end)
				return false;
			std::this_thread::sleep_for(std::chrono::milliseconds(1));
		}
		return true;
	}

	struct Spec : spec_port {
		Spec(const char *port_name, const char *path, unsigned int n = 1) : spec_port()
		{
			name = port_name;
			type = PORT_VHOST_USER;
			socket = path;
			queues = static_cast<decltype(queues)>(n);
		}
	};
	port *
	open(const spec_port &spec)
	{
		port *p = nullptr;
		struct error e = {};
		EXPECT_EQ(port_open(&spec, &p, &e), 0) << e.path << ": " << e.text;
		if (p != nullptr)
			ports.push_back(p);
		return p;
	}
	/* The error of an open that must fail. */
	std::string
	open_error(const spec_port &spec, int want)
	{
		port *p = nullptr;
		struct error e = {};
		EXPECT_EQ(port_open(&spec, &p, &e), want);
		if (p != nullptr)
			ports.push_back(p);
		return std::string(e.path) + ": " + e.text;
	}
	void
	close(port *p)
	{
		ports.erase(std::find(ports.begin(), ports.end(), p));
		port_close(p);
	}
	static std::string
	path(const char *name)
	{
		return folder + "/" + name;
	}
	static bool
	up(const port *p)
	{
		return __atomic_load_n(&p->up, __ATOMIC_RELAXED);
	}
	static std::string
	describe(const port *p)
	{
		char text[256];
		port_lock();
		p->ops->describe(p, text, sizeof(text));
		port_unlock();
		return text;
	}

	static vhost::Frame
	frame(size_t n, uint8_t seed = 0)
	{
		vhost::Frame f(n);
		std::iota(f.begin(), f.end(), seed);
		return f;
	}
	static Frames
	receive(port *p, uint16_t queue = 0, uint16_t most = 64)
	{
		rte_mbuf *m[64];
		Frames out;
		uint16_t n = p->ops->rx(p, queue, m, most);
		for (uint16_t i = 0; i < n; i++) {
			const uint8_t *at = rte_pktmbuf_mtod(m[i], const uint8_t *);
			EXPECT_EQ(m[i]->nb_segs, 1);
			EXPECT_EQ(m[i]->ol_flags, 0u);
			out.emplace_back(at, at + m[i]->data_len);
			rte_pktmbuf_free(m[i]);
		}
		return out;
	}
	static rte_mbuf *
	mbuf(const vhost::Frame &f)
	{
		rte_mbuf *m = rte_pktmbuf_alloc(pool);
		memcpy(rte_pktmbuf_append(m, static_cast<uint16_t>(f.size())), f.data(), f.size());
		return m;
	}
	/* How many of these frames were taken; what was not is freed. */
	static uint16_t
	transmit(port *p, const Frames &frames, uint16_t queue = 0)
	{
		std::vector<rte_mbuf *> m;
		for (const auto &f : frames)
			m.push_back(mbuf(f));
		uint16_t n = p->ops->tx(p, queue, m.data(), static_cast<uint16_t>(m.size()));
		for (size_t i = n; i < m.size(); i++)
			rte_pktmbuf_free(m[i]);
		return n;
	}
};

/* One port that listens, and a guest that may join it. */
class VhostGuestTest : public VhostTest
{
      protected:
	port *p = nullptr;
	vhost::Guest guest;

	void
	SetUp() override
	{
		VhostTest::SetUp();
		p = open(Spec("a", "s"));
	}
	void
	TearDown() override
	{
		guest.hang_up();
		VhostTest::TearDown();
	}
	void
	join(uint64_t features = vhost::BASIC, unsigned int pairs = 1)
	{
		ASSERT_TRUE(guest.connect(path("s")));
		ASSERT_TRUE(guest.start(features, pairs));
		ASSERT_TRUE(wait([&] { return up(p); }));
	}
	/* The library acknowledges first, then tells of a ring. */
	void
	expect_described(const char *text)
	{
		EXPECT_TRUE(wait([&] { return describe(p) == text; })) << describe(p);
	}
	/* Frames cross in both directions on a queue. */
	void
	expect_traffic(unsigned int pair = 0, uint16_t queue = 0)
	{
		guest.give(pair, frame(60, 1));
		guest.give(pair, frame(1514, 2));
		/* Nothing is received while the library's thread holds the ring's lock, after its answer too. */
		Frames in;
		EXPECT_TRUE(wait([&] {
			for (auto &f : receive(p, queue))
				in.push_back(f);
			return in.size() == 2;
		}));
		EXPECT_EQ(in, (Frames{frame(60, 1), frame(1514, 2)}));
		EXPECT_EQ(transmit(p, {frame(60, 3), frame(1514, 4)}, queue), 2);
		auto got = guest.take(pair);
		ASSERT_EQ(got.size(), 2u);
		EXPECT_EQ(got[0].frame, frame(60, 3));
		EXPECT_EQ(got[1].frame, frame(1514, 4));
		EXPECT_EQ(got[0].header.flags, 0);
	}
};

/* A worker as vswitch's: registered, quiescent once a turn. */
class Worker
{
      public:
	explicit Worker(std::function<void()> turn)
	    : thread([this, turn] {
		      rte_thread_register();
		      unsigned int id = 0;
		      rte_rcu_qsbr_thread_register(rcu_var(), id);
		      rte_rcu_qsbr_thread_online(rcu_var(), id);
		      while (!stop) {
			      turn();
			      rte_rcu_qsbr_quiescent(rcu_var(), id);
			      turns++;
		      }
		      rte_rcu_qsbr_thread_offline(rcu_var(), id);
		      rte_rcu_qsbr_thread_unregister(rcu_var(), id);
		      rte_thread_unregister();
	      })
	{
	}
	~Worker()
	{
		finish();
	}
	void
	finish()
	{
		stop = true;
		if (thread.joinable())
			thread.join();
	}
	std::atomic<bool> stop{false};
	std::atomic<uint64_t> turns{0};

      private:
	std::thread thread;
};

#endif
