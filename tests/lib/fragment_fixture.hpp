// SPDX-License-Identifier: Apache-2.0
// Two pods that send each other datagrams in fragments, and a service of each family.
#pragma once

#include "fragments.hpp"
#include "switch.hpp"

namespace weft {

inline const char *VIP = "10.96.0.10", *VIP6 = "fd00:96::10";
inline const Mac ours = "02:00:00:00:ff:01", peer = "02:00:00:00:ff:02", gateway = "02:00:00:00:00:01";

struct Fragments : testing::Test {
	Switch sw;
	void SetUp() override
	{
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
	}
	// One service of each family, as Kubernetes has EndpointSlices of each; none without a backend's address.
	void service(const std::string &backend = "10.244.1.6", const std::string &backend6 = "fd00:244:1::6")
	{
		auto one = [&](const char *name, const char *vip, const std::string &to) {
			ASSERT_TRUE(sw.apply(std::string("{\"kind\":\"Service\",\"name\":\"") + name + "\",\"network\":\"default\",\"ips\":[\"" + vip +
					     "\"],\"ports\":[{\"name\":\"u\",\"protocol\":\"UDP\",\"port\":53,\"targetPort\":5353},"
					     "{\"name\":\"s\",\"protocol\":\"SCTP\",\"port\":99,\"targetPort\":100},"
					     "{\"name\":\"t\",\"protocol\":\"TCP\",\"port\":80,\"targetPort\":8080}],\"backends\":[" +
					     (to.empty() ? "" : "{\"ip\":\"" + to + "\"}") + "]}"))
				<< sw.error;
		};
		one("w4", VIP, backend);
		one("w6", VIP6, backend6);
	}
	void policy(const std::string &body)
	{
		ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\"," + body + "}")) << sw.error;
	}
	void send(const std::string &from, const std::vector<Bytes> &fragments)
	{
		for (const Bytes &f : fragments)
			sw.give(from, f);
		sw.settle();
	}
	// What `to` got is whole and right.
	Frame expect_whole(const std::string &to, const Bytes &payload, const std::string &what = "")
	{
		Frame f = whole(sw.take_all(to));
		EXPECT_EQ(f.checksums(), "") << what;
		EXPECT_EQ(f.payload(), payload) << what << "; drops: " << sw.drops_text();
		return f;
	}
	uint64_t held()
	{
		struct totals t;
		workers_totals(&t);
		return t.held;
	}
	std::vector<std::string> both() { return {sw.ip("b"), sw.ip6("b")}; }
};

} // namespace weft
