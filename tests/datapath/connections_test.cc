// SPDX-License-Identifier: Apache-2.0
// Connections come and go: quotas and floods, time, protocols without handshakes, picking up in the middle.
#include <sys/syscall.h>
#include <sys/time.h>

#include <mutex>

#include <weft/settings.h>
#include <weft/tcp_state.h>

#include "switch.hpp"

using namespace weft;

// This program's clocks, in place of libc's: the wall's may be set, the monotonic one only goes on.
static int64_t wall_step_s, passed_s;

extern "C" int
clock_gettime(clockid_t id, struct timespec *ts) noexcept
{
	long rc = syscall(SYS_clock_gettime, id, ts);
	bool wall = id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI;
	ts->tv_sec += passed_s + (wall ? wall_step_s : 0);
	return (int)rc;
}
extern "C" time_t
time(time_t *t) noexcept
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (t != nullptr)
		*t = ts.tv_sec;
	return ts.tv_sec;
}
extern "C" int
gettimeofday(struct timeval *tv, void *) noexcept
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	*tv = {ts.tv_sec, ts.tv_nsec / 1000};
	return 0;
}

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };

static struct conn_table_options
with(uint32_t per_owner, bool pickup = false)
{
	struct conn_table_options o = {};
	o.per_owner = per_owner, o.pickup = pickup;
	return o;
}

struct Connections : testing::Test {
	Switch sw;
	explicit Connections(struct conn_table_options o = {}, unsigned int capacity = 16384) : sw(1, capacity, 0, 0, o) {}
	void SetUp() override
	{
		wall_step_s = 0;
		sw.network();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
		sw.pod("c", "10.244.1.7");
	}
	bool passes(const char *from, const char *to, const Packet &p)
	{
		sw.send(from, p);
		return sw.take_all(to).size() == 1;
	}
	bool udp(const char *from, const char *to, uint16_t sport, uint16_t dport)
	{
		return passes(from, to, sw.between(from, to).udp(sport, dport));
	}
	bool tcp(const char *from, const char *to, uint16_t sport, uint16_t dport, uint8_t flags)
	{
		return passes(from, to, sw.between(from, to).tcp(sport, dport, flags));
	}
	void wait(int64_t seconds, int turns = 200)
	{
		passed_s += seconds;
		sw.settle(turns);
	}
	struct conn_stats stats()
	{
		struct conn_stats s;
		conn_table_stats(sw.conns, &s);
		return s;
	}
};

TEST(ConnectionDefaults, OfTheSettingsAreTheTables)
{
	struct settings s;
	settings_default(&s);
	struct conn_timeouts d = conn_timeouts_default();
	EXPECT_EQ(memcmp(&s.timeouts, &d, sizeof(d)), 0);
}

// --- quotas ---

struct Quota : Connections {
	Quota() : Connections(with(64)) {}
};

TEST_F(Quota, WhoHasAsManyAsAllowedIsRefusedByNameAndNobodyElse)
{
	for (uint16_t i = 0; i < 64; i++) {
		ASSERT_TRUE(udp("a", "b", (uint16_t)(1000 + i), 2));
		ASSERT_TRUE(udp("b", "a", 2, (uint16_t)(1000 + i)));
	}
	for (uint16_t i = 64; i < 84; i++)
		EXPECT_FALSE(udp("a", "b", (uint16_t)(1000 + i), 2));
	EXPECT_EQ(sw.drops("connections_quota"), 20u);
	EXPECT_TRUE(udp("a", "b", 1000, 2)) << "what it has goes on";
	EXPECT_TRUE(udp("c", "b", 1000, 2));
	EXPECT_TRUE(udp("c", "a", 1000, 2)) << "to be talked to is not counted";
	EXPECT_EQ(sw.connections(), 66u);
}

struct LargeQuota : Connections {
	LargeQuota() : Connections(with(1024), 4096) {}
};

TEST_F(LargeQuota, AFloodOfSynsReplacesItselfAndARealConnectionGetsThrough)
{
	for (uint16_t i = 0; i < 30; i++) {
		ASSERT_TRUE(udp("a", "b", (uint16_t)(1000 + i), 2));
		ASSERT_TRUE(udp("b", "a", 2, (uint16_t)(1000 + i)));
	}
	for (uint16_t i = 0; i < 20000; i++) {
		sw.give("a", sw.between("a", "b").tcp((uint16_t)(3000 + i), 80, SYN).bytes());
		if (i % 500 == 499) {
			sw.settle();
			sw.take_all("b");
			usleep(2000); // ids come back
		}
	}
	EXPECT_EQ(sw.connections(), 1024u);
	bool through = false;
	for (int attempt = 0; attempt < 5 && !through; attempt++) // as TCP would
		through = tcp("a", "b", 50000, 80, SYN);
	EXPECT_TRUE(through);
	EXPECT_TRUE(tcp("b", "a", 80, 50000, SYN | ACK));
	EXPECT_TRUE(tcp("a", "b", 50000, 80, ACK));
	for (uint16_t i = 0; i < 30; i++)
		EXPECT_TRUE(udp("b", "a", 2, (uint16_t)(1000 + i))) << "an answered one went";
}

// FAULTS C1, scaled down: no quota, a table of 2048, ten times as many SYNs.
struct Full : Connections {
	Full() : Connections({}, 2048) {}
};

TEST_F(Full, AFloodOfSynsIsTheFloodersOwnTrouble)
{
	for (uint16_t i = 0; i < 100; i++) {
		ASSERT_TRUE(udp("c", "b", (uint16_t)(1000 + i), 2));
		ASSERT_TRUE(udp("b", "c", 2, (uint16_t)(1000 + i)));
	}
	uint16_t more = 2000;
	for (uint16_t round = 0; round < 200; round++) {
		for (uint16_t i = 0; i < 100; i++)
			sw.give("a", sw.between("a", "b").tcp((uint16_t)(round * 100 + i), 80, SYN).bytes());
		sw.settle(40);
		sw.take_all("b");
		if (round >= 100) { // new ones of others all succeed
			ASSERT_TRUE(udp("c", "b", more, 2)) << sw.drops_text();
			ASSERT_TRUE(udp("b", "c", 2, more));
			more++;
		}
	}
	for (uint16_t i = 0; i < 100; i++)
		ASSERT_TRUE(udp("b", "c", 2, (uint16_t)(1000 + i)));
	for (uint16_t p = 2000; p < more; p++)
		ASSERT_TRUE(udp("b", "c", 2, p));
	EXPECT_GT(stats().evicted + sw.drops("connections_full"), 10'000u);
}

// Before any test that makes time pass: the thread that tells sleeps by the kernel's clock.
TEST_F(Full, IsSaidInTime)
{
	struct Heard {
		std::mutex lock;
		std::string text;
	} heard;
	mgmt_on_event(
		sw.mgmt,
		[](json_t *event, void *arg) {
			auto *h = static_cast<Heard *>(arg);
			if (std::string(json_string_value(json_object_get(event, "event"))) != "connections")
				return;
			std::lock_guard<std::mutex> guard(h->lock);
			h->text += json_string_value(json_object_get(event, "warning")) + std::string("; ");
		},
		&heard);
	auto fill = [&](const char *pod, uint16_t from, uint16_t n) {
		for (uint16_t i = 0; i < n; i++) {
			sw.give(pod, sw.between(pod, "b").udp((uint16_t)(from + i), 2).bytes());
			if (i % 500 == 499 || i + 1 == n) {
				sw.settle();
				sw.take_all("b");
			}
		}
	};
	auto status = [&] {
		json_t *r = sw.call("status", "{}"), *c = json_object_get(r, "connections");
		std::string text = json_object_get(c, "warning") != nullptr ? json_string_value(json_object_get(c, "warning")) : "";
		size_t i;
		json_t *h;
		json_array_foreach(json_object_get(c, "holders"), i, h) text += std::string(" ") + json_string_value(json_object_get(h, "name")) + "=" +
			std::to_string(json_integer_value(json_object_get(h, "used")));
		json_decref(r);
		return text;
	};
	fill("a", 1000, 1300);
	fill("c", 1000, 300);
	EXPECT_EQ(status(), "") << "78 %";
	fill("c", 2000, 100);
	EXPECT_EQ(status(), "83 % of the connection table are in use, most by a a=1300 c=400");
	json_t *r = sw.call("get", "{\"kind\":\"Endpoint\",\"name\":\"c\"}");
	EXPECT_EQ(json_integer_value(json_object_get(json_object_get(json_object_get(r, "object"), "status"), "connections")), 400);
	json_decref(r);
	for (int i = 0; i < 300; i++) {
		usleep(20000);
		std::lock_guard<std::mutex> guard(heard.lock);
		if (!heard.text.empty())
			break;
	}
	usleep(1200000);
	mgmt_on_event(sw.mgmt, nullptr, nullptr);
	EXPECT_EQ(heard.text, "83 % of the connection table are in use, most by a; ") << "once";
}

TEST_F(Full, RecoversWhenTheFloodIsOver)
{
	for (uint16_t i = 0; i < 10000; i++) {
		sw.give("a", sw.between("a", "b").tcp(i, 80, SYN).bytes());
		if (i % 500 == 499) {
			sw.settle();
			sw.take_all("b");
		}
	}
	EXPECT_GT(sw.connections(), 1500u);
	EXPECT_TRUE(tcp("c", "b", 1, 80, SYN));
	wait(31, 4000); // a worker looks at 32 connections every 32 turns
	EXPECT_EQ(sw.connections(), 0u) << "half-open ones last 30 s";
	EXPECT_TRUE(tcp("a", "b", 1, 80, SYN));
}

// --- time ---

// FAULTS C11.
TEST_F(Connections, TheWallClockMayBeSet)
{
	ASSERT_TRUE(udp("a", "b", 1000, 2));
	ASSERT_TRUE(udp("b", "a", 2, 1000));
	for (int64_t step : {-3600, 86400, -86400 * 365, 86400 * 365}) {
		wall_step_s = step;
		wait(0);
		EXPECT_EQ(sw.connections(), 1u) << step;
		ASSERT_TRUE(udp("a", "b", 1000, 2));
	}
	wait(110);
	EXPECT_EQ(sw.connections(), 1u);
	wait(20);
	EXPECT_EQ(sw.connections(), 0u) << "nor does anything live for ever";
}

TEST_F(Connections, DnsIsOverSoonerThanOtherUdp)
{
	ASSERT_TRUE(udp("a", "b", 1000, 53));
	ASSERT_TRUE(udp("a", "b", 1000, 53));
	ASSERT_TRUE(udp("b", "a", 53, 1000));
	ASSERT_TRUE(udp("a", "b", 1001, 54));
	ASSERT_TRUE(udp("b", "a", 54, 1001));
	wait(12);
	EXPECT_EQ(sw.connections(), 2u) << "an answer is missing";
	ASSERT_TRUE(udp("b", "a", 53, 1000));
	wait(8);
	EXPECT_EQ(sw.connections(), 2u);
	wait(4);
	EXPECT_EQ(sw.connections(), 1u);
	EXPECT_TRUE(udp("b", "a", 54, 1001));
}

// --- protocols without handshakes ---

TEST_F(Connections, EchoIsByIdentifier)
{
	for (bool v6 : {false, true}) {
		auto ping = [&](const char *from, const char *to, uint16_t id) {
			Packet p = v6 ? sw.to(from, sw.ip6(to)) : sw.between(from, to);
			return p.echo(id, 1);
		};
		auto pong = [&](uint16_t id) {
			Packet p = v6 ? sw.to("b", sw.ip6("a")) : sw.between("b", "a");
			return p.icmp(v6 ? 129 : 0, 0, (uint32_t)id << 16 | 1);
		};
		uint32_t before = sw.connections();
		EXPECT_TRUE(passes("a", "b", ping("a", "b", 7)));
		EXPECT_TRUE(passes("a", "b", ping("a", "b", 7)));
		EXPECT_EQ(sw.connections(), before + 1);
		EXPECT_TRUE(passes("a", "b", ping("a", "b", 8)));
		EXPECT_EQ(sw.connections(), before + 2);
		EXPECT_TRUE(passes("b", "a", pong(7)));
		EXPECT_FALSE(passes("b", "a", pong(9))) << "nobody asked so";
		EXPECT_EQ(sw.connections(), before + 2);
		EXPECT_TRUE(passes("b", "a", ping("b", "a", 7))) << "the other way round it is the same tuple";
	}
}

TEST_F(Connections, SctpIsByPortsAndOthersByAddresses)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\",\"endpoints\":[\"a\"],\"types\":["
			     "\"Ingress\"]}"))
		<< sw.error;
	auto sctp = [&](const char *from, const char *to, uint16_t sport, uint16_t dport) {
		return passes(from, to, sw.between(from, to).raw(132, sctp_init(sport, dport)));
	};
	EXPECT_TRUE(sctp("a", "b", 5000, 5001));
	EXPECT_TRUE(sctp("b", "a", 5001, 5000)) << "an answer passes the policy";
	EXPECT_FALSE(sctp("b", "a", 5001, 5002));
	EXPECT_EQ(sw.connections(), 1u);
	for (uint8_t proto : {47, 50, 51, 2, 255}) {
		auto raw = [&](const char *from, const char *to) { return passes(from, to, sw.between(from, to).raw(proto, Bytes(24, 7))); };
		EXPECT_FALSE(raw("b", "a")) << int(proto);
		EXPECT_TRUE(raw("a", "b")) << int(proto);
		EXPECT_TRUE(raw("b", "a")) << int(proto);
		EXPECT_FALSE(raw("c", "a")) << int(proto);
	}
	EXPECT_EQ(sw.connections(), 6u);
}

// --- picking up ---

TEST_F(Connections, SctpBeginsWithAnInitAndKeepsToItsTags)
{
	uint64_t dropped = 0;
	auto chunk = [&](bool reply, uint32_t tag, uint8_t type, uint32_t init_tag = 0x09090909) {
		Bytes b = reply ? sctp_init(80, 1000) : sctp_init(1000, 80);
		put16(b, 4, (uint16_t)(tag >> 16)), put16(b, 6, (uint16_t)tag), put16(b, 12, (uint16_t)(type << 8));
		put16(b, 16, (uint16_t)(init_tag >> 16)), put16(b, 18, (uint16_t)init_tag);
		const char *from = reply ? "b" : "a", *to = reply ? "a" : "b";
		bool ok = passes(from, to, sw.between(from, to).raw(132, b));
		dropped += !ok;
		EXPECT_EQ(sw.drops("invalid_state"), dropped);
		return ok;
	};
	for (uint8_t type : {0, 2, 3, 5, 6, 7, 8, 9, 10, 11, 14, 77})
		EXPECT_FALSE(chunk(false, 5, type)) << (int)type;
	EXPECT_FALSE(chunk(false, 5, 1)) << "an INIT has no tag";
	EXPECT_FALSE(chunk(false, 0, 1, 0)) << "and asks for one";
	Bytes two = sctp_init(1000, 80, 40);
	put16(two, 14, 20);
	EXPECT_FALSE(passes("a", "b", sw.between("a", "b").raw(132, two))) << "nothing goes with an INIT";
	dropped++;
	EXPECT_EQ(sw.connections(), 0u);
	EXPECT_TRUE(chunk(false, 0, 1, 0xa));
	EXPECT_TRUE(chunk(true, 0xa, 2, 0xb));
	EXPECT_TRUE(chunk(false, 0xb, 10));
	EXPECT_TRUE(chunk(true, 0xa, 11));
	EXPECT_TRUE(chunk(false, 0xb, 0));
	EXPECT_FALSE(chunk(false, 0xc, 6)) << "a made up ABORT";
	EXPECT_TRUE(chunk(true, 0xa, 0));
	EXPECT_EQ(sw.connections(), 1u);
}

// Tools that only ask whether there is a way send a header alone. It must not be in the way of an association.
TEST_F(Connections, SctpWithoutAChunkShowsTheWayAndNothingElse)
{
	auto send = [&](const char *from, const char *to, Bytes b) { return passes(from, to, sw.between(from, to).raw(132, b)); };
	Bytes there = sctp_init(1000, 80), back = sctp_init(80, 1000);
	EXPECT_TRUE(send("a", "b", Bytes(there.begin(), there.begin() + 12)));
	EXPECT_TRUE(send("b", "a", Bytes(back.begin(), back.begin() + 12)));
	Bytes data = there;
	put16(data, 6, 5), put16(data, 12, 0);
	EXPECT_FALSE(send("a", "b", data));
	EXPECT_TRUE(send("a", "b", there)) << "an INIT";
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Connections, AnotherPathOfAnSctpAssociationBeginsWithAHeartbeat)
{
	Bytes beat = sctp_init(1000, 80), answer = sctp_init(80, 1000);
	put16(beat, 6, 5), put16(beat, 12, 4 << 8), put16(answer, 6, 6), put16(answer, 12, 5 << 8);
	EXPECT_TRUE(passes("a", "b", sw.between("a", "b").raw(132, beat)));
	EXPECT_TRUE(passes("b", "a", sw.between("b", "a").raw(132, answer)));
	put16(beat, 6, 7);
	EXPECT_FALSE(passes("a", "b", sw.between("a", "b").raw(132, beat)));
}

TEST_F(Connections, TheMiddleOfAConversationOpensNothing)
{
	EXPECT_FALSE(tcp("a", "b", 1000, 80, ACK));
	EXPECT_EQ(sw.drops("invalid_state"), 1u);
	EXPECT_EQ(sw.connections(), 0u);
}

struct Pickup : Connections {
	Pickup() : Connections(with(0, true)) {}
};

TEST_F(Pickup, TheMiddleOfAConversationOpensAConnectionWhenTold)
{
	EXPECT_TRUE(tcp("a", "b", 1000, 80, PSH | ACK));
	EXPECT_EQ(sw.connections(), 1u);
	EXPECT_TRUE(tcp("b", "a", 80, 1000, ACK));
	EXPECT_TRUE(tcp("a", "b", 1000, 80, ACK));
	EXPECT_EQ(stats().half_open, 0u);
	wait(3600);
	EXPECT_TRUE(tcp("b", "a", 80, 1000, FIN | ACK));
	EXPECT_EQ(sw.connections(), 1u);
}

TEST_F(Pickup, NothingElseDoes)
{
	for (unsigned int flags = 0; flags < 64; flags++) {
		bool opens = (flags & (SYN | ACK | FIN | RST)) == SYN || (flags & (SYN | ACK | FIN | RST)) == ACK;
		EXPECT_EQ(tcp("a", "b", (uint16_t)(1000 + flags), 80, (uint8_t)flags), opens) << flags;
	}
	EXPECT_EQ(sw.connections(), 8u);
}

TEST_F(Pickup, PolicyIsAsked)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"Policy\",\"name\":\"p\",\"network\":\"default\",\"tier\":\"network\",\"endpoints\":[\"b\"],\"types\":["
			     "\"Ingress\"]}"))
		<< sw.error;
	EXPECT_FALSE(tcp("a", "b", 1000, 80, ACK));
	EXPECT_EQ(sw.drops("policy_ingress"), 1u);
	EXPECT_TRUE(tcp("b", "a", 80, 1000, ACK)) << "as if b had opened it";
}

TEST_F(Pickup, NotThroughAService)
{
	ASSERT_TRUE(sw.apply("{\"kind\":\"Service\",\"name\":\"s\",\"network\":\"default\",\"ips\":[\"10.96.0.10\"],\"ports\":[{\"name\":\"http\","
			     "\"protocol\":\"TCP\",\"port\":80}],\"backends\":[{\"ip\":\"10.244.1.6\"}]}"))
		<< sw.error;
	EXPECT_FALSE(passes("a", "b", sw.to("a", "10.96.0.10").tcp(1000, 80, ACK)));
	EXPECT_EQ(sw.connections(), 0u);
	EXPECT_TRUE(passes("a", "b", sw.to("a", "10.96.0.10").tcp(1000, 80, SYN)));
	sw.take_all("a");
}
