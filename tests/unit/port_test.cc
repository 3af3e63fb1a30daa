// SPDX-License-Identifier: Apache-2.0
#include <weft/port.h>
#include <weft/port_event.h>
#include <weft/rcu.h>
#include <rte_rcu_qsbr.h>
#include <weft/test_port.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace
{

using namespace std::chrono_literals;

template <typename F>
bool
eventually(F f)
{
	for (int i = 0; i < 400; i++) {
		if (f())
			return true;
		std::this_thread::sleep_for(10ms);
	}
	return false;
}

class Ports : public ::testing::Test
{
      protected:
	void
	SetUp() override
	{
		char text[] = "/tmp/weft-port-XXXXXX";
		ASSERT_NE(mkdtemp(text), nullptr);
		char real[4096];
		dir = realpath(text, real);
		ASSERT_EQ(rcu_init(4), 0);
		start(false);
	}

	void
	TearDown() override
	{
		ports_fini();
		rcu_fini();
		(void)!system(("rm -rf " + dir).c_str());
	}

	void
	start(bool any_path, bool test_ports = true)
	{
		struct port_env env = {};
		env.socket_dir = dir.c_str();
		env.any_socket_path = any_path;
		env.test_ports = test_ports;
		ASSERT_EQ(ports_init(&env), 0);
	}

	struct port *
	open(const char *name, uint16_t queues = 1)
	{
		struct spec_port spec = {};
		struct port *p = nullptr;
		spec.name = name;
		spec.type = PORT_TEST;
		spec.queues = queues;
		rc = port_open(&spec, &p, &error);
		return rc == 0 ? p : nullptr;
	}

	int
	path(const char *socket)
	{
		rc = port_socket_path(socket, resolved, sizeof(resolved), &error);
		return rc;
	}

	std::string dir;
	struct error error = {};
	char resolved[128] = "";
	int rc = 0;
};

// A switch that serves somebody says no: what such a port is given nobody reads.
TEST_F(Ports, OfTypeTestAreForTests)
{
	ports_fini();
	start(false, false);
	EXPECT_EQ(open("a"), nullptr);
	EXPECT_EQ(rc, -EINVAL);
	EXPECT_STREQ(error.text, "test is for the switch's own tests only");
	EXPECT_EQ(port_by_id(0), nullptr);
}

TEST_F(Ports, GetTheLowestFreeId)
{
	struct port *a = open("a"), *b = open("b"), *c = open("c");
	ASSERT_TRUE(a && b && c);
	EXPECT_EQ(a->id, 0);
	EXPECT_EQ(b->id, 1);
	EXPECT_EQ(c->id, 2);
	port_close(b);
	EXPECT_EQ(port_by_id(1), nullptr);
	EXPECT_EQ(port_by_id(2), c);
	struct port *d = open("d");
	EXPECT_EQ(d->id, 1);
	EXPECT_EQ(port_by_name("d"), d);
	EXPECT_EQ(port_by_name("b"), nullptr);
	EXPECT_EQ(port_by_id(WEFT_MAX_PORTS), nullptr);
	EXPECT_EQ(port_by_id(0xffff), nullptr);
}

TEST_F(Ports, TakeTheirDefaultsAndWhatIsAsked)
{
	struct port *p = open("a", 3);
	EXPECT_EQ(p->n_rxq, 3);
	EXPECT_EQ(p->n_txq, 3);
	EXPECT_EQ(p->mtu, 1500);
	EXPECT_EQ(p->numa, -1);
	EXPECT_STREQ(p->name, "a");
	EXPECT_TRUE(p->up);
	struct port *q = open("b", 0);
	EXPECT_EQ(q->n_rxq, 1);
}

TEST_F(Ports, RefuseASecondOneOfTheName)
{
	ASSERT_NE(open("a"), nullptr);
	EXPECT_EQ(open("a"), nullptr);
	EXPECT_EQ(rc, -EEXIST);
	EXPECT_STREQ(error.text, "port a exists already");
}

TEST_F(Ports, RefuseTooManyQueues)
{
	EXPECT_EQ(open("a", PORT_MAX_QUEUES + 1), nullptr);
	EXPECT_EQ(rc, -EINVAL);
	EXPECT_STREQ(error.path, "queues");
	EXPECT_STREQ(error.text, "17 is not in 1..16");
}

TEST_F(Ports, RefuseAnUnknownKind)
{
	struct spec_port spec = {};
	struct port *p;
	spec.name = "a";
	spec.type = (enum port_type)77;
	EXPECT_EQ(port_open(&spec, &p, &error), -EINVAL);
}

TEST_F(Ports, AreAThousandAndTwentyFour)
{
	for (int i = 0; i < WEFT_MAX_PORTS; i++)
		ASSERT_NE(open(("p" + std::to_string(i)).c_str()), nullptr) << i;
	EXPECT_EQ(open("one more"), nullptr);
	EXPECT_EQ(rc, -ENOSPC);
	port_close(port_by_id(513));
	struct port *p = open("one more");
	ASSERT_NE(p, nullptr);
	EXPECT_EQ(p->id, 513);
}

TEST_F(Ports, CloseWaitsForWorkersThatMayLook)
{
	struct port *p = open("a");
	std::atomic<int> state{0};
	std::thread worker([&] {
		rte_rcu_qsbr_thread_register(rcu_var(), 0);
		rte_rcu_qsbr_thread_online(rcu_var(), 0);
		struct port *seen = port_by_id(p->id);
		struct rte_mbuf *m[4];
		state = 1;
		for (auto end = std::chrono::steady_clock::now() + 300ms; std::chrono::steady_clock::now() < end;)
			EXPECT_EQ(seen->ops->rx(seen, 0, m, 4), 0); // a use after free, were it closed by now
		state = 2;
		rte_rcu_qsbr_quiescent(rcu_var(), 0);
		rte_rcu_qsbr_thread_offline(rcu_var(), 0);
		rte_rcu_qsbr_thread_unregister(rcu_var(), 0);
	});
	ASSERT_TRUE(eventually([&] { return state == 1; }));
	port_close(p);
	EXPECT_EQ(state, 2);
	worker.join();
}

TEST_F(Ports, TestPortGivesAndTakes)
{
	struct port *p = open("a", 2);
	struct rte_mbuf m[3] = {}, *got[4] = {}, *out[3] = {&m[0], &m[1], &m[2]};
	ASSERT_EQ(test_port_give(p, 1, &m[0]), 0);
	EXPECT_EQ(p->ops->rx(p, 0, got, 4), 0);
	EXPECT_EQ(p->ops->rx(p, 1, got, 4), 1);
	EXPECT_EQ(got[0], &m[0]);
	EXPECT_EQ(p->ops->tx(p, 0, out, 3), 3);
	EXPECT_EQ(test_port_take(p), &m[0]);
	EXPECT_EQ(test_port_take(p), &m[1]);
	EXPECT_EQ(test_port_take(p), &m[2]);
	EXPECT_EQ(test_port_take(p), nullptr);
	test_port_set(p, PORT_TX_CSUM, false);
	EXPECT_EQ(p->ops->tx(p, 1, out, 3), 0);
	EXPECT_EQ(p->stats[1].tx_full, 1u);
	EXPECT_EQ(p->offloads, (uint32_t)PORT_TX_CSUM);
}

TEST_F(Ports, TestPortHoldsAThousandAndTwentyFourToReceive)
{
	struct port *p = open("a");
	struct rte_mbuf m = {}, *got[64];
	for (int i = 0; i < 1024; i++)
		ASSERT_EQ(test_port_give(p, 0, &m), 0);
	EXPECT_EQ(test_port_give(p, 0, &m), -ENOSPC);
	while (p->ops->rx(p, 0, got, 64) > 0)
		;
	EXPECT_EQ(test_port_give(p, 0, &m), 0);
	EXPECT_EQ(p->ops->rx(p, 0, got, 64), 1);
}

TEST_F(Ports, SocketPathsLieBelowTheirFolder)
{
	EXPECT_EQ(path("a.sock"), 0);
	EXPECT_EQ(resolved, dir + "/a.sock");
	EXPECT_EQ(path((dir + "/a.sock").c_str()), 0);
	EXPECT_EQ(resolved, dir + "/a.sock");
	ASSERT_EQ(mkdir((dir + "/sub").c_str(), 0700), 0);
	EXPECT_EQ(path("sub//a.sock"), 0);
	EXPECT_EQ(resolved, dir + "/sub/a.sock");
	EXPECT_EQ(path("/tmp/a.sock"), -EPERM);
	EXPECT_NE(strstr(error.text, "does not lie below the socket folder"), nullptr);
	EXPECT_EQ(path((dir + "-other/a.sock").c_str()), -ENOENT);
	ASSERT_EQ(mkdir((dir + "-other").c_str(), 0700), 0);
	EXPECT_EQ(path((dir + "-other/a.sock").c_str()), -EPERM);
	rmdir((dir + "-other").c_str());
}

TEST_F(Ports, SocketPathsHaveNoWayOut)
{
	EXPECT_EQ(path("../a.sock"), -EINVAL);
	EXPECT_EQ(path("./a.sock"), -EINVAL);
	EXPECT_EQ(path("x/.."), -EINVAL);
	EXPECT_EQ(path(""), -EINVAL);
	EXPECT_EQ(path(nullptr), -EINVAL);
	EXPECT_EQ(path("x/"), -EINVAL);
	EXPECT_EQ(path("none/a.sock"), -ENOENT);
	ASSERT_EQ(symlink("/tmp", (dir + "/out").c_str()), 0);
	EXPECT_EQ(path("out/a.sock"), -EPERM);
	ASSERT_EQ(symlink("/tmp/x.sock", (dir + "/link.sock").c_str()), 0);
	EXPECT_EQ(path("link.sock"), -EPERM);
	EXPECT_EQ(path("..a"), 0);
	EXPECT_STREQ(error.path, "socket");
}

TEST_F(Ports, SocketPathsFitASocketAddress)
{
	std::string longest(107 - dir.size() - 1, 'x');
	EXPECT_EQ(path(longest.c_str()), 0);
	EXPECT_EQ(path((longest + "x").c_str()), -ENAMETOOLONG);
}

TEST_F(Ports, AnySocketPathIsAllowedWhenSoConfigured)
{
	ports_fini();
	start(true);
	EXPECT_EQ(path("/tmp/a.sock"), 0);
	EXPECT_STREQ(resolved, "/tmp/a.sock");
	EXPECT_EQ(path("/none-such/vm/a.sock"), 0);
	EXPECT_STREQ(resolved, "/none-such/vm/a.sock");
	EXPECT_EQ(path("/tmp/../a.sock"), -EINVAL);
}

TEST_F(Ports, EventsAreServedUnderTheLock)
{
	struct Seen {
		std::atomic<int> n{0};
		std::atomic<uint32_t> events{0};
	} seen;
	int pair[2];
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	port_lock();
	struct port_event *ev = port_event_add(
		pair[0], EPOLLIN,
		[](int fd, uint32_t events, void *arg) {
			char c;
			auto *s = (Seen *)arg;
			s->events = events;
			if (read(fd, &c, 1) == 1)
				s->n++;
		},
		&seen);
	ASSERT_NE(ev, nullptr);
	ASSERT_EQ(write(pair[1], "ab", 2), 2);
	std::this_thread::sleep_for(50ms);
	EXPECT_EQ(seen.n, 0) << "the handler ran beside the lock's holder";
	port_unlock();
	EXPECT_TRUE(eventually([&] { return seen.n == 2; }));
	EXPECT_TRUE(seen.events & EPOLLIN);
	port_lock();
	port_event_remove(ev);
	port_unlock();
	ASSERT_EQ(write(pair[1], "c", 1), 1);
	std::this_thread::sleep_for(50ms);
	EXPECT_EQ(seen.n, 2);
	close(pair[0]);
	close(pair[1]);
}

TEST_F(Ports, AnEventMayRemoveItselfAndOthers)
{
	static struct port_event *ev[2];
	static std::atomic<int> calls;
	int fd[2];
	calls = 0;
	port_lock();
	for (int i = 0; i < 2; i++) {
		fd[i] = eventfd(1, EFD_NONBLOCK);
		ev[i] = port_event_add(
			fd[i], EPOLLIN,
			[](int, uint32_t, void *) {
				calls++;
				port_event_remove(ev[0]);
				port_event_remove(ev[1]);
			},
			nullptr);
		ASSERT_NE(ev[i], nullptr);
	}
	port_unlock();
	EXPECT_TRUE(eventually([&] { return calls > 0; }));
	std::this_thread::sleep_for(50ms);
	EXPECT_EQ(calls, 1);
	close(fd[0]);
	close(fd[1]);
}

TEST_F(Ports, EventsThatCannotBeWatchedAreRefused)
{
	port_lock();
	EXPECT_EQ(port_event_add(
			  -1, EPOLLIN, [](int, uint32_t, void *) {}, nullptr),
		  nullptr);
	EXPECT_EQ(errno, EBADF);
	port_event_remove(nullptr);
	port_unlock();
}

TEST_F(Ports, TimersRepeatUntilRemoved)
{
	std::atomic<int> ticks{0};
	port_lock();
	struct port_event *t = port_timer_add(
		10, [](void *arg) { (*(std::atomic<int> *)arg)++; }, &ticks);
	port_unlock();
	ASSERT_NE(t, nullptr);
	EXPECT_TRUE(eventually([&] { return ticks >= 3; }));
	port_lock();
	port_event_remove(t);
	int last = ticks;
	port_unlock();
	std::this_thread::sleep_for(50ms);
	EXPECT_EQ(ticks, last);
}

TEST_F(Ports, EventsComeAndGoWhileTheyFire)
{
	std::atomic<bool> stop{false};
	std::atomic<int> calls{0};
	std::thread other([&] {
		while (!stop) {
			port_lock();
			struct port_event *t[8];
			for (auto &x : t)
				x = port_timer_add(
					1, [](void *arg) { (*(std::atomic<int> *)arg)++; }, &calls);
			port_unlock();
			std::this_thread::sleep_for(2ms);
			for (auto *x : t)
				port_event_remove(x);
		}
	});
	std::this_thread::sleep_for(300ms);
	stop = true;
	other.join();
	EXPECT_GT(calls, 0);
}

} // namespace
