// SPDX-License-Identifier: Apache-2.0
// The whole switch inside a test: real tables, real pipeline, real `apply`; test ports instead of pods, and turns taken by hand, so that
// every test is deterministic. The destructor checks the books and that every mbuf is home.
#pragma once

#include <gtest/gtest.h>
#include <jansson.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <rte_rcu_qsbr.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <weft/config.h>
#include <weft/conn.h>
#include <weft/mgmt.h>
#include <weft/neighbour.h>
#include <weft/offload.h>
#include <weft/rcu.h>
#include <weft/test_port.h>
#include <weft/worker.h>

#include "packet.hpp"

namespace weft {

inline struct rte_mempool *the_pool;

// EAL starts once a process.
inline void eal_start()
{
	static bool up;
	if (up)
		return;
	up = true;
	cpu_set_t cpus;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	int cpu = 0;
	while (!CPU_ISSET(cpu, &cpus))
		cpu++;
	std::string lcores = "--lcores=0@" + std::to_string(cpu), prefix = "--file-prefix=test" + std::to_string(getpid());
	static std::vector<std::string> args; // EAL keeps pointers into them
	args = {"test", lcores, prefix, "--no-huge", "--no-shconf", "--no-telemetry", "--no-pci", "-m", "256", "--log-level=4"};
	std::vector<char *> argv;
	for (auto &a : args)
		argv.push_back(&a[0]);
	if (rte_eal_init((int)argv.size(), argv.data()) < 0)
		abort();
	sched_setaffinity(0, sizeof(cpus), &cpus); // EAL pinned us; threads that tests start choose for themselves
	the_pool = rte_pktmbuf_pool_create("packets", 16383, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (the_pool == nullptr)
		abort();
}

class Switch {
public:
	struct mgmt *mgmt = nullptr;
	struct conn_table *conns = nullptr;
	bool check_books = true;

	// Workers' turns on threads of their own until stop_threads; settle() is then only for afterwards.
	void run_threads(const std::vector<int> &cores)
	{
		running_ = true;
		for (unsigned int i = 0; i < workers_count(); i++)
			threads_.emplace_back([this, i, cores] {
				cpu_set_t one;
				CPU_ZERO(&one);
				CPU_SET(cores[i % cores.size()], &one);
				sched_setaffinity(0, sizeof(one), &one);
				rte_thread_register();
				rte_rcu_qsbr_thread_online(rcu_var(), i);
				while (running_) {
					worker_turn(worker_get(i));
					rte_rcu_qsbr_quiescent(rcu_var(), i);
					sched_yield(); // fewer cores than threads must not mean a time slice a turn
				}
				rte_rcu_qsbr_thread_offline(rcu_var(), i);
				rte_thread_unregister();
			});
	}
	void stop_threads()
	{
		running_ = false;
		for (auto &t : threads_)
			t.join();
		threads_.clear();
	}

	explicit Switch(unsigned int n_workers = 1, unsigned int capacity = 16384, unsigned int new_per_second = 0, unsigned int new_burst = 0,
			struct conn_table_options co = {})
	{
		eal_start();
		baseline_ = rte_mempool_avail_count(the_pool);
		struct error e = {};
		EXPECT_EQ(rcu_init(WEFT_MAX_WORKERS), 0);
		EXPECT_EQ(generation_init(), 0);
		EXPECT_EQ(hop_init(), 0);
		EXPECT_EQ(neighbour_init(), 0);
		EXPECT_EQ(config_init(), 0);
		co.capacity = capacity, co.workers = n_workers, co.numa_node = -1;
		EXPECT_EQ(conn_table_create(&conns, &co, &e), 0) << e.text;
		struct workers_options wo = {};
		wo.n = n_workers, wo.conns = conns, wo.pool = [](int) { return the_pool; };
		wo.new_per_second = new_per_second, wo.new_burst = new_burst;
		EXPECT_EQ(workers_start(&wo, &e), 0) << e.text;
		static struct port_env env = {};
		env.socket_dir = "/tmp", env.any_socket_path = env.test_ports = true, env.pool = [](int) { return the_pool; };
		EXPECT_EQ(ports_init(&env), 0);
		struct mgmt_options mo = {};
		mo.version = "test";
		EXPECT_EQ(mgmt_start(&mgmt, &mo, &e), 0) << e.text;
	}

	~Switch()
	{
		stop_threads();
		settle();
		for (auto &name : ports_)
			take_all(name.first);
		if (check_books) {
			struct totals t;
			workers_totals(&t);
			EXPECT_EQ(t.difference, 0) << "rx " << t.rx << " + created " << t.created << " != tx " << t.tx << " + dropped " << t.dropped
						   << " + merged " << t.merged << " + punted " << t.punted << " + held " << t.held;
		}
		mgmt_stop(mgmt);
		workers_stop();
		ports_fini();
		conn_table_destroy(conns, true);
		config_fini();
		neighbour_fini();
		hop_fini();
		generation_fini();
		rcu_fini();
		EXPECT_EQ(rte_mempool_avail_count(the_pool), baseline_) << "mbufs are missing";
	}

	// One request; the result, or nullptr with `error` set.
	std::string error;
	json_t *call(const char *method, const std::string &params)
	{
		json_error_t je;
		json_t *p = json_loads(params.c_str(), 0, &je);
		EXPECT_NE(p, nullptr) << je.text << " in " << params;
		struct rpc_error e = {};
		json_t *r = mgmt_call(mgmt, MGMT_ADMIN, method, p, &e);
		json_decref(p);
		error = r == nullptr ? e.message : "";
		return r;
	}

	// Apply objects, given as the inside of a JSON list. True when taken.
	bool apply(const std::string &objects)
	{
		json_t *r = call("apply", "{\"objects\":[" + objects + "]}");
		json_decref(r);
		return r != nullptr;
	}
	bool remove(const std::string &kind, const std::string &name)
	{
		json_t *r = call("delete", "{\"kind\":\"" + kind + "\",\"name\":\"" + name + "\"}");
		json_decref(r);
		return r != nullptr;
	}

	// The usual network, gateway 10.244.1.1 and fd00:244:1::1.
	void network(const std::string &name = "default", unsigned int vni = 100, const std::string &third = "10.244.1")
	{
		ASSERT_TRUE(apply("{\"kind\":\"Network\",\"name\":\"" + name + "\",\"vni\":" + std::to_string(vni) +
				  ",\"subnets\":[{\"prefix\":\"" + third + ".0/24\",\"gateway\":\"" + third +
				  ".1\"},{\"prefix\":\"fd00:244:1::/64\",\"gateway\":\"fd00:244:1::1\"}]}"))
			<< error;
	}

	// A pod on a test port of its own. `more` is put into the Endpoint.
	void pod(const std::string &name, const std::string &ip, const std::string &more = "", const std::string &net = "default")
	{
		unsigned int last = (unsigned int)std::stoul(ip.substr(ip.find_last_of(".:") + 1), nullptr, is6(ip) ? 16 : 10);
		char mac[18];
		snprintf(mac, sizeof(mac), "02:00:00:00:01:%02x", last & 255);
		mac_[name] = mac;
		ip_[name] = ip;
		std::string ips = "\"" + ip + "\"";
		if (!is6(ip)) {
			ip6_[name] = "fd00:244:1::" + std::to_string(last);
			ips += ",\"" + ip6_[name] + "\"";
		}
		port(name);
		ASSERT_TRUE(apply("{\"kind\":\"Endpoint\",\"name\":\"" + name + "\",\"network\":\"" + net + "\",\"port\":\"" + name +
				  "\",\"mac\":\"" + mac + "\",\"ips\":[" + ips + "]" + more + "}"))
			<< error;
	}
	void port(const std::string &name, const std::string &more = "")
	{
		ASSERT_TRUE(apply("{\"kind\":\"Port\",\"name\":\"" + name + "\",\"type\":\"test\"" + more + "}")) << error;
		ports_[name] = true;
	}
	// The node: an uplink and a host port, both 192.0.2.1, and a remote node 192.0.2.2 with 10.244.2.0/24.
	void node(bool host = true)
	{
		port("uplink0", ",\"uplink\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"192.0.2.1/24\"]");
		if (host)
			port("host", ",\"host\":true,\"mac\":\"02:00:00:00:ff:01\",\"ips\":[\"192.0.2.1/24\"]");
	}
	void remote(const std::string &name = "node-2", const std::string &vtep = "192.0.2.2", const std::string &prefix = "10.244.2.0/24", const std::string &prefix6 = "")
	{
		ASSERT_TRUE(apply("{\"kind\":\"Remote\",\"name\":\"" + name + "\",\"network\":\"default\",\"vtep\":\"" + vtep +
				  "\",\"mac\":\"02:00:00:00:02:01\",\"prefixes\":[\"" + prefix + "\"" + (prefix6.empty() ? "" : ",\"" + prefix6 + "\"") + "]}"))
			<< error;
	}
	// The remote node's wire: answer our ARP question for it.
	void answer_arp(const std::string &vtep = "192.0.2.2", Mac mac = "02:00:00:00:ff:02")
	{
		give("uplink0", arp(2, mac, vtep, "02:00:00:00:ff:01", "192.0.2.1", "02:00:00:00:ff:01"));
		settle();
	}

	Mac mac(const std::string &pod) { return Mac(mac_.at(pod).c_str()); }
	std::string ip(const std::string &pod) { return ip_.at(pod); }
	std::string ip6(const std::string &pod) { return ip6_.at(pod); }

	// A packet from one pod to another, MACs filled in.
	Packet between(const std::string &a, const std::string &b) { return to(a, ip(b)); }
	Packet to(const std::string &a, const std::string &dst)
	{
		Packet p;
		p.macs(mac(a), "02:00:00:00:00:01").ip(is6(dst) && !is6(ip(a)) ? ip6(a) : ip(a), dst);
		return p;
	}

	void give(const std::string &name, const Bytes &frame, int csum_start = -1, int csum_offset = 0)
	{
		struct rte_mbuf *m = rte_pktmbuf_alloc(the_pool);
		ASSERT_NE(m, nullptr);
		if (!frame.empty())
			memcpy(rte_pktmbuf_append(m, (uint16_t)frame.size()), frame.data(), frame.size());
		if (csum_start >= 0)
			offload_rx_partial(m, (uint16_t)csum_start, (uint16_t)csum_offset);
		ASSERT_EQ(test_port_give(find(name), 0, m), 0);
	}
	// Send from a pod and let the switch work.
	void send(const std::string &name, const Packet &p)
	{
		if (p.partial)
			give(name, p.bytes(), (int)p.l4_offset(), p.csum_offset());
		else
			give(name, p.bytes());
		settle();
	}
	void settle(int turns = 70)
	{
		for (int t = 0; t < turns; t++)
			for (unsigned int i = 0; i < workers_count(); i++)
				worker_turn(worker_get(i));
	}
	std::vector<Frame> take_all(const std::string &name)
	{
		std::vector<Frame> out;
		struct port *p = find(name);
		struct rte_mbuf *m;
		while (p != nullptr && (m = test_port_take(p)) != nullptr) {
			const uint8_t *d = rte_pktmbuf_mtod(m, const uint8_t *);
			out.push_back(Frame{Bytes(d, d + m->data_len), offload_is_partial(m)});
			rte_pktmbuf_free(m);
		}
		return out;
	}
	// The one frame that a port got; a failure and an empty frame otherwise.
	Frame take(const std::string &name)
	{
		auto all = take_all(name);
		EXPECT_EQ(all.size(), 1u) << name << " got " << all.size() << " frames; drops: " << drops_text();
		return all.empty() ? Frame{Bytes(64, 0), false} : all.front();
	}
	bool nothing(const std::string &name) { return take_all(name).empty(); }

	struct port *find(const std::string &name) { return port_by_name(name.c_str()); }

	// Packets dropped for a reason, over all ports.
	uint64_t drops(const std::string &reason)
	{
		uint64_t n = 0;
		for (unsigned int id = 0; id < WEFT_MAX_PORTS; id++) {
			struct port_counters c;
			workers_port_counters((uint16_t)id, &c);
			for (int r = 0; r < DROP_REASON_COUNT; r++)
				if (reason == drop_texts[r].name)
					n += c.drop[r];
		}
		return n;
	}
	std::string drops_text()
	{
		std::string s;
		for (int r = 0; r < DROP_REASON_COUNT; r++)
			if (uint64_t n = drops(drop_texts[r].name))
				s += std::string(drop_texts[r].name) + "=" + std::to_string(n) + " ";
		return s;
	}
	uint32_t connections()
	{
		struct conn_stats s;
		conn_table_stats(conns, &s);
		return s.used;
	}

private:
	std::atomic<bool> running_{false};
	std::vector<std::thread> threads_;
	unsigned int baseline_ = 0;
	std::map<std::string, std::string> mac_, ip_, ip6_;
	std::map<std::string, bool> ports_;
};

} // namespace weft
