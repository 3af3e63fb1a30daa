// SPDX-License-Identifier: Apache-2.0
// Readers beside the builder, and what a change costs when there is much.
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include "config_fixture.hpp"

namespace
{

class Scale : public ConfigTest
{
};

// Two readers at what the workers read, while the builder moves an endpoint between two addresses and a remote between
// VTEPs.
TEST_F(Scale, ReadersSeeAllOfABatchOrNone)
{
	ASSERT_EQ(apply({network("n", 100), uplink("up", 1, {"192.0.2.1/24"}), port("p", 3)}), 0);
	auto step = [&](uint32_t i) {
		std::string a = i % 2 ? "10.0.0.1" : "10.0.0.2", v = i % 2 ? "192.0.2.2" : "192.0.2.3";
		return std::vector<Object>{endpoint("e", "n", "p", {a}),
					   remote("r", "n", v, {i % 2 ? "10.0.0.2/32" : "10.0.0.1/32"})};
	};
	ASSERT_EQ(apply(step(0)), 0);
	std::atomic<bool> stop{false};
	std::atomic<uint64_t> wrong{0}, turns{0};
	struct ip one = A("10.0.0.1"), two = A("10.0.0.2");
	uint32_t net = id("n");
	std::vector<std::thread> readers;
	for (unsigned int w = 0; w < 2; w++) {
		readers.emplace_back([&, w] {
			rte_rcu_qsbr_thread_register(rcu_var(), w);
			rte_rcu_qsbr_thread_online(rcu_var(), w);
			while (!stop) {
				const struct config *root = config_current();
				const struct route *a = config_route(root, net, &one),
						   *b = config_route(root, net, &two);
				wrong += a == nullptr || b == nullptr ||
					 (a->kind == ROUTE_ENDPOINT) == (b->kind == ROUTE_ENDPOINT);
				const struct port_view *view = root->port[3];
				if (a != nullptr && b != nullptr) {
					const struct route *ep = a->kind == ROUTE_ENDPOINT ? a : b,
							   *far = a->kind == ROUTE_ENDPOINT ? b : a;
					wrong += view == nullptr || view->endpoint != ep->endpoint ||
						 ep->endpoint->hop != ep->hop;
					wrong += hop_get(ep->hop)->kind != HOP_PORT ||
						 hop_get(far->hop)->kind != HOP_TUNNEL;
					wrong += hop_get(far->hop)->outer[33] != far->vtep->ip.b[15];
					wrong += config_vtep(root, net, &far->vtep->ip) != far->vtep;
				}
				turns++;
				rte_rcu_qsbr_quiescent(rcu_var(), w);
			}
			rte_rcu_qsbr_thread_offline(rcu_var(), w);
			rte_rcu_qsbr_thread_unregister(rcu_var(), w);
		});
	}
	auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
	uint32_t i = 1;
	for (; std::chrono::steady_clock::now() < end; i++)
		ASSERT_EQ(apply(step(i)), 0);
	stop = true;
	for (auto &r : readers)
		r.join();
	EXPECT_EQ(wrong, 0u);
	EXPECT_GT(turns, 0u);
	EXPECT_GT(i, 10u);
}

TEST_F(Scale, OneChangeAmongManyIsCheap)
{
	std::vector<Object> batch = {network("n", 100), uplink("up", 1, {"192.0.0.1/16"})};
	const int remotes = 100, each_has = 1000, services = 20000;
	for (int r = 0; r < remotes; r++) {
		Names prefixes;
		for (int i = 0; i < each_has; i++)
			prefixes.push_back("10." + std::to_string(r) + "." + std::to_string(i / 250) + "." +
					   std::to_string(i % 250));
		batch.push_back(remote("r" + std::to_string(r), "n", "192.0.1." + std::to_string(r), prefixes));
	}
	for (int s = 0; s < services; s++)
		batch.push_back(service("s" + std::to_string(s), "n",
					"172.16." + std::to_string(s / 250) + "." + std::to_string(s % 250),
					"10.0.0.1"));
	auto now = [] { return std::chrono::steady_clock::now(); };
	auto ms = [](auto d) { return std::chrono::duration<double, std::milli>(d).count(); };
	auto start = now();
	ASSERT_EQ(apply(batch), 0) << error.text;
	double load = ms(now() - start);
	EXPECT_EQ(c()->fib.map.count, remotes * each_has + 3u) << "and the uplink's address in two networks, and its network";
	std::map<std::string, double> cost;
	auto time = [&](const std::string &what, const std::function<Object(int)> &make) {
		double best = 1e9;
		for (int i = 0; i < 20; i++) {
			Object o = make(i);
			start = now();
			ASSERT_EQ(apply({o}), 0) << error.text;
			best = std::min(best, ms(now() - start));
		}
		cost[what] = best;
	};
	time("port", [&](int i) { return port("p", static_cast<uint16_t>(10 + i)); });
	time("endpoint", [&](int i) { return endpoint("e", "n", "p", {"10.200.0." + std::to_string(1 + i)}); });
	time("remote", [&](int i) { return remote("x", "n", "192.0.2.9", {"10.201." + std::to_string(i) + ".0/24"}); });
	time("route", [&](int i) { return route("d", "0.0.0.0/0", {{"192.0.3." + std::to_string(1 + i), "up"}}); });
	time("service", [&](int i) { return service("s5", "n", "172.30.0." + std::to_string(1 + i), "10.0.0.1"); });
	printf("load %.0f ms;", load);
	for (auto &k : cost) {
		printf(" %s %.3f ms", k.first.c_str(), k.second);
		EXPECT_LT(k.second, 5) << k.first << ": well under one is the aim, sanitizers take more";
	}
	printf("\n");
}

} // namespace
