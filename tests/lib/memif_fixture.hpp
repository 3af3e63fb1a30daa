/* SPDX-License-Identifier: Apache-2.0 */
/* What the memif tests stand on: EAL, a pool, the port thread, a folder for sockets, and the checks that nothing
 * leaked. */
#ifndef TESTS_LIB_MEMIF_FIXTURE_HPP
#define TESTS_LIB_MEMIF_FIXTURE_HPP

#include <dirent.h>
#include <gtest/gtest.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <weft/port.h>
#include <weft/port_event.h>
#include <weft/rcu.h>

#include "memif_peer.hpp"

class MemifTest : public ::testing::Test
{
      protected:
	static inline rte_mempool *pool;
	static inline std::string folder;

	static void
	SetUpTestSuite()
	{
		if (pool != nullptr)
			return;
		std::string prefix = "memif" + std::to_string(getpid());
		std::vector<std::string> args = {
			"test",     "--no-huge", "--no-shconf", "--no-telemetry", "--no-pci",      "-m",  "128",
			"--lcores", "0@(0-1)",   "--log-level", "error",          "--file-prefix", prefix};
		if (access("/sys/devices/system/cpu/cpu1", F_OK) != 0)
			args[8] = "0@0";
		std::vector<char *> argv;
		for (std::string &a : args)
			argv.push_back(a.data());
		ASSERT_GE(rte_eal_init(static_cast<int>(argv.size()), argv.data()), 0);
		pool = rte_pktmbuf_pool_create("memif", 8191, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
		ASSERT_NE(pool, nullptr);
		ASSERT_EQ(rcu_init(8), 0);
		char path[] = "/tmp/memif-test-XXXXXX";
		folder = mkdtemp(path);
		static struct port_env env = {};
		env.socket_dir = folder.c_str();
		env.pool = [](int) { return pool; };
		env.changed = [](port *, void *) { __atomic_fetch_add(&changes, 1, __ATOMIC_RELAXED); };
		ASSERT_EQ(ports_init(&env), 0);
		atexit([] {
			ports_fini();
			rcu_fini();
			rmdir(folder.c_str());
		});
	}

	static inline unsigned int changes;
	std::vector<port *> ports;
	unsigned int mbufs = 0, fds = 0, maps = 0;

	void
	SetUp() override
	{
		mbufs = rte_mempool_in_use_count(pool);
		fds = count_fds();
		maps = count_maps();
	}

	/* After every test: all buffers, descriptors and mappings are back. */
	void
	TearDown() override
	{
		for (port *p : ports)
			port_close(p);
		EXPECT_EQ(rte_mempool_in_use_count(pool), mbufs);
		EXPECT_TRUE(wait([this] { return count_fds() == fds; })) << count_fds() << " was " << fds;
		EXPECT_EQ(count_maps(), maps);
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
	/* Shared memory of peers, without that of EAL. */
	static unsigned int
	count_maps()
	{
		std::ifstream in("/proc/self/maps");
		std::string line;
		unsigned int n = 0;
		while (std::getline(in, line))
			n += line.find("/memfd:peer") != std::string::npos ||
			     line.find("/memfd:memif ") != std::string::npos;
		return n;
	}

	static bool
	wait(const std::function<bool()> &condition, int ms = 3000)
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
		Spec(const char *port_name, const char *path) : spec_port()
		{
			name = port_name;
			type = PORT_MEMIF;
			socket = path;
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

	static std::vector<uint8_t>
	frame(size_t n, uint8_t seed = 0)
	{
		std::vector<uint8_t> f(n);
		std::iota(f.begin(), f.end(), seed);
		return f;
	}
	static std::vector<uint8_t>
	bytes(const rte_mbuf *m)
	{
		const uint8_t *at = rte_pktmbuf_mtod(m, const uint8_t *);
		EXPECT_EQ(m->data_len, m->pkt_len);
		EXPECT_EQ(m->nb_segs, 1);
		return std::vector<uint8_t>(at, at + m->data_len);
	}
	static std::vector<std::vector<uint8_t>>
	receive(port *p, uint16_t queue = 0, uint16_t most = 64)
	{
		rte_mbuf *m[64];
		std::vector<std::vector<uint8_t>> out;
		uint16_t n = p->ops->rx(p, queue, m, most);
		for (uint16_t i = 0; i < n; i++) {
			EXPECT_EQ(m[i]->port, p->id);
			EXPECT_EQ(m[i]->ol_flags, 0u);
			out.push_back(bytes(m[i]));
			rte_pktmbuf_free(m[i]);
		}
		return out;
	}
	/* How many of these frames were taken; what was not is freed. */
	static uint16_t
	transmit(port *p, const std::vector<std::vector<uint8_t>> &frames, uint16_t queue = 0)
	{
		std::vector<rte_mbuf *> m;
		for (const auto &f : frames) {
			m.push_back(rte_pktmbuf_alloc(pool));
			memcpy(rte_pktmbuf_append(m.back(), static_cast<uint16_t>(f.size())), f.data(), f.size());
		}
		uint16_t n = p->ops->tx(p, queue, m.data(), static_cast<uint16_t>(m.size()));
		for (size_t i = n; i < m.size(); i++)
			rte_pktmbuf_free(m[i]);
		return n;
	}
};

/* One server port, and a peer that is up to no good. */
class MemifHostileTest : public MemifTest
{
      protected:
	port *p = nullptr;
	memif::Peer peer;

	void
	SetUp() override
	{
		MemifTest::SetUp();
		p = open(Spec("a", "s"));
	}
	void
	TearDown() override
	{
		peer.close_all();
		MemifTest::TearDown();
	}

	/* The link went down within a second, the peer was told why, one violation was counted, and another client gets
	 * in. */
	void
	expect_closed(const char *reason)
	{
		EXPECT_TRUE(wait([&] { return !up(p); }, 1000)) << reason;
		EXPECT_TRUE(peer.refused());
		EXPECT_EQ(peer.reason, reason);
		EXPECT_EQ(p->stats[0].rx_bad, 1u);
		EXPECT_TRUE(receive(p).empty());
		EXPECT_EQ(transmit(p, {frame(60)}), 0);
		memif::Peer next;
		ASSERT_TRUE(next.open(path("s")));
		next.give(0, frame(60, 7));
		EXPECT_EQ(receive(p), (std::vector<std::vector<uint8_t>>{frame(60, 7)}));
	}

	/* A message that must be refused, sent when a friendly client would send its like. */
	void
	expect_refused(const memif::Message &m, const std::vector<int> &pass, const char *reason)
	{
		ASSERT_TRUE(peer.send(m, pass));
		EXPECT_TRUE(peer.refused());
		EXPECT_EQ(peer.reason, reason);
		EXPECT_FALSE(up(p));
	}
};

#endif
