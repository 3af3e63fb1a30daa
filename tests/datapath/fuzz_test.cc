// SPDX-License-Identifier: Apache-2.0
// Frames of every kind that the switch looks into, mutated at random but from a fixed seed, by every kind of port: no access out of bounds (under
// the sanitizers), no buffer lost, books that balance, and nobody gets a frame from an address that is not its sender's.
#include <chrono>
#include <random>

#include "fragments.hpp"
#include "switch.hpp"

using namespace weft;

static const Mac ours = "02:00:00:00:ff:01", peer = "02:00:00:00:ff:02", gateway = "02:00:00:00:00:01";

struct Fuzz : testing::Test {
	Switch sw{1, 65536};
	std::mt19937 rng{20260131};
	std::vector<Bytes> endpoint, host, uplink;
	uint64_t pieces = 0; // fragments that b got

	uint32_t below(size_t n) { return n == 0 ? 0 : rng() % (uint32_t)n; }

	void SetUp() override
	{
		sw.network();
		sw.node();
		sw.pod("a", "10.244.1.5");
		sw.pod("b", "10.244.1.6");
		sw.remote("node-2", "192.0.2.2", "10.244.2.0/24", "fd00:244:2::/64");
		ASSERT_TRUE(sw.apply("{\"kind\":\"Service\",\"name\":\"w\",\"network\":\"default\",\"ips\":[\"10.96.0.10\",\"fd00:96::10\"],\"ports\":["
				     "{\"name\":\"u\",\"protocol\":\"UDP\",\"port\":53,\"targetPort\":5353},"
				     "{\"name\":\"t\",\"protocol\":\"TCP\",\"port\":80,\"targetPort\":8080}],"
				     "\"backends\":[{\"ip\":\"10.244.1.6\"},{\"ip\":\"10.244.2.10\"},{\"ip\":\"fd00:244:1::6\"}]}"))
			<< sw.error;
		sw.answer_arp();
		seeds();
	}

	static Bytes solicit(const Packet &from, const std::string &target, uint8_t type = 135)
	{
		Packet p = from;
		p.to = "ff02::1:ff00:1", p.ttl = 255;
		p.icmp(type, 0, 0);
		p.payload = address(target);
		p.payload.insert(p.payload.end(), {1, 1});
		p.payload.insert(p.payload.end(), p.src.b, p.src.b + 6);
		return p.bytes();
	}
	static Bytes chained(Packet p, const std::vector<uint8_t> &kinds)
	{
		Bytes l4 = p.l4(), out;
		uint8_t last = p.proto;
		for (size_t i = 0; i < kinds.size(); i++) {
			uint8_t next = i + 1 < kinds.size() ? kinds[i + 1] : last;
			out.insert(out.end(), {next, 0, 4, 0, 0, 0, 0, 0});
		}
		out.insert(out.end(), l4.begin(), l4.end());
		return p.raw(kinds[0], out).bytes();
	}
	static Bytes error(Packet p, const Bytes &quoted, uint8_t type, uint8_t code)
	{
		p.icmp(type, code, 0);
		p.payload.assign(quoted.begin() + 14, quoted.end());
		return p.bytes();
	}
	static Bytes vxlan(const Bytes &frame, uint8_t tos = 0)
	{
		Packet p;
		p.macs(peer, ours).ip("192.0.2.2", "192.0.2.1").udp(50000, 4789);
		p.tos = tos, p.no_l4_sum = true;
		p.payload = {8, 0, 0, 0, 0, 0, 100, 0};
		p.payload.insert(p.payload.end(), frame.begin(), frame.end());
		return p.bytes();
	}
	// What somebody at `from` may say to the pods: the same kinds of frame from a pod, the host and the far side of a tunnel.
	std::vector<Bytes> talk(Mac src, const std::string &ip4, const std::string &ip6, const std::vector<std::string> &to)
	{
		std::vector<Bytes> out;
		for (const std::string &dst : to) {
			Packet p;
			p.macs(src, gateway).ip(is6(dst) ? ip6 : ip4, dst);
			Packet u = p, t = p, e = p, s = p, back = p;
			out.push_back(u.udp(1000, 53).data(below(200)).bytes());
			out.push_back(t.tcp(1000, 80, 2).data(below(200)).bytes());
			out.push_back(e.echo((uint16_t)below(3), 1).data(below(900)).bytes());
			out.push_back(s.raw(132, Bytes(12 + below(20), 7)).bytes());
			// Datagrams in pieces, of few names and two ways of cutting, so that they meet, overlap and complete each other.
			for (uint32_t id = 1; id <= 2; id++) {
				Packet d = p, c = p, g = p;
				for (const Bytes &f : split(d.udp(1000, 53).data(400), 160 + 8 * below(2), id))
					out.push_back(f);
				for (const Bytes &f : split(c.tcp(1001, 80, 2).data(200), 80, id + 2))
					out.push_back(f);
				for (const Bytes &f : split(g.echo(5, 1).data(300), 152, id + 4))
					out.push_back(f);
			}
			if (is6(dst)) {
				out.push_back(split(Packet(p).udp(1000, 53).data(40), 999, 9).front()); // RFC 6946
				out.push_back(chained(u, {0, 43, 60}));
				out.push_back(chained(t, {60, 51, 60, 0, 60}));
				out.push_back(solicit(p, dst));
				out.push_back(solicit(p, ip6, 136));
			}
			// An error about what dst had sent here.
			back.ip(p.to, p.from);
			for (Packet q : {back, back, back}) {
				q.udp(53, 1000).data(below(100));
				out.push_back(error(p, q.bytes(), is6(dst) ? 1 : 3, 4));
				q.tcp(80, 1000, 0x12);
				out.push_back(error(p, q.bytes(), is6(dst) ? 3 : 11, 0));
				q.echo(1, 1);
				out.push_back(error(p, q.bytes(), is6(dst) ? 2 : 12, 0));
			}
		}
		out.push_back(arp(1, src, ip4, "00:00:00:00:00:00", "10.244.1.1"));
		out.push_back(arp(1, src, ip4, "00:00:00:00:00:00", to.front()));
		out.push_back(arp(2, src, ip4, gateway, "10.244.1.1"));
		return out;
	}
	void seeds()
	{
		endpoint = talk(sw.mac("a"), sw.ip("a"), sw.ip6("a"),
				{"10.244.1.6", "10.96.0.10", "10.244.2.10", "10.244.1.1", "192.0.2.1", sw.ip6("b"), "fd00:244:2::10", "fd00:244:1::1", "fd00:96::10"});
		host = talk(ours, "192.0.2.1", "fd00:244:1::99", {"10.244.1.5", "10.244.1.6", sw.ip6("b"), "192.0.2.9", "10.244.2.10"});
		for (const Bytes &f : talk("02:00:00:00:02:01", "10.244.2.10", "fd00:244:2::10", {"10.244.1.5", "10.244.1.6", sw.ip6("a"), "10.96.0.10", "10.244.1.1"}))
			uplink.push_back(vxlan(f, (uint8_t)below(4)));
		uplink.push_back(arp(1, peer, "192.0.2.2", "00:00:00:00:00:00", "192.0.2.1"));
		uplink.push_back(arp(2, peer, "192.0.2.2", ours, "192.0.2.1", ours));
		Packet plain;
		uplink.push_back(plain.macs(peer, ours).ip("192.0.2.2", "192.0.2.1").tcp(1, 22, 2).bytes());
	}

	// Make the checksum of the IPv4 header at `l3` and the ICMP message behind it right again, so that more than the first check is reached.
	static void repair(Bytes &f, size_t l3)
	{
		if (f.size() < l3 + 40)
			return;
		if (get16(f, l3 - 2) == 0x0800) {
			size_t ihl = (f[l3] & 15) * 4u, total = get16(f, l3 + 2);
			if (ihl < 20 || l3 + ihl > f.size())
				return;
			put16(f, l3 + 10, 0);
			put16(f, l3 + 10, (uint16_t)~sum16(&f[l3], ihl));
			if (f[l3 + 9] == 1 && total >= ihl + 4 && l3 + total <= f.size()) {
				put16(f, l3 + ihl + 2, 0);
				put16(f, l3 + ihl + 2, (uint16_t)~sum16(&f[l3 + ihl], total - ihl));
			}
			if (f[l3 + 9] == 17 && l3 + ihl + 16 + 14 < f.size() && get16(f, l3 + ihl + 2) == 4789)
				repair(f, l3 + ihl + 16 + 14);
		} else if (get16(f, l3 - 2) == 0x86dd && f[l3 + 6] == 58) {
			size_t len = get16(f, l3 + 4);
			if (len < 4 || l3 + 40 + len > f.size())
				return;
			put16(f, l3 + 42, 0);
			put16(f, l3 + 42, (uint16_t)~sum16(&f[l3 + 40], len, sum16(&f[l3 + 8], 32, (uint32_t)len + 58)));
		}
	}
	Bytes mutate(const Bytes &seed)
	{
		static const uint8_t edges[] = {0, 1, 4, 5, 0x0f, 0x3f, 0x40, 0x7f, 0x80, 0xf0, 0xfe, 0xff};
		Bytes f = seed;
		// Half of all changes hit the headers.
		for (uint32_t k = below(4); k > 0; k--) {
			size_t at = 12 + below(below(2) ? std::min<size_t>(f.size() - 12, 110) : f.size() - 12);
			f[at] = below(2) ? edges[below(sizeof(edges))] : (uint8_t)rng();
		}
		uint32_t how = below(16);
		if (how == 0)
			f.resize(below(f.size() + 1));
		else if (how == 1)
			f.resize(std::min<size_t>(f.size() + below(1500), 2000), (uint8_t)rng());
		if (below(4) != 0)
			repair(f, 14);
		return f;
	}
	void give(const char *port, const std::vector<Bytes> &from)
	{
		Bytes f = mutate(from[below(from.size())]);
		if (below(8) == 0)
			sw.give(port, f, (int)(below(2) ? 34 : below(f.size() + 20)), (int)(below(2) ? 16 : below(60)));
		else
			sw.give(port, f);
	}
	// Nobody but a, b and the node lives here: what a pod gets must have come from an address that may send.
	void collect()
	{
		sw.take_all("uplink0");
		sw.take_all("host");
		sw.take_all("a");
		for (const Frame &f : sw.take_all("b")) {
			EXPECT_TRUE(f.dst() == sw.mac("b")) << f.dst().text();
			pieces += f.v4() ? (get16(f.b, 20) & 0x3fff) != 0 : f.v6() && f.b.size() > 60 && f.b[20] == 44;
			if (f.v4() && f.from() == sw.ip("b"))
				ADD_FAILURE() << "b hears itself";
		}
	}
};

TEST_F(Fuzz, MutatedFramesNeverHurt)
{
	auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(3500);
	uint64_t frames = 0;
	const char *rounds = getenv("WEFT_FUZZ_FRAMES");
	uint64_t most = rounds != nullptr ? strtoull(rounds, nullptr, 10) : 200000;
	while (frames < most && (rounds != nullptr || std::chrono::steady_clock::now() < end)) {
		for (int k = 0; k < 24; k++)
			give("a", endpoint);
		for (int k = 0; k < 24; k++)
			give("uplink0", uplink);
		for (int k = 0; k < 16; k++)
			give("host", host);
		frames += 64;
		sw.settle(1);
		collect();
		if (HasFatalFailure())
			return;
	}
	sw.settle();
	collect();
	struct totals t;
	workers_totals(&t);
	EXPECT_EQ(t.difference, 0);
	EXPECT_GE(t.rx, frames);
	EXPECT_GT(t.tx, frames / 100) << "some of it must have been good: " << sw.drops_text();
	EXPECT_GT(pieces, frames / 1000) << sw.drops_text();
	for (const char *reason : {"fragment", "fragment_tiny", "fragment_overlap", "fragment_duplicate"})
		EXPECT_GT(sw.drops(reason), 0u) << reason << ": " << sw.drops_text();
	usleep(2100 * 1000);
	sw.settle(1000);
	collect();
	workers_totals(&t);
	EXPECT_EQ(t.held, 0u) << "nothing waits for ever";
	EXPECT_EQ(t.difference, 0);
}
