// SPDX-License-Identifier: Apache-2.0
// Packets for tests: built word by word from their RFCs, with checksums of their own making, and read back the same way. Independent of the
// code under test on purpose.
#pragma once

#include <arpa/inet.h>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace weft {

using Bytes = std::vector<uint8_t>;

struct Mac {
	uint8_t b[6] = {};
	Mac() = default;
	Mac(const char *text)
	{
		unsigned int v[6] = {};
		sscanf(text, "%x:%x:%x:%x:%x:%x", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]);
		for (int i = 0; i < 6; i++)
			b[i] = (uint8_t)v[i];
	}
	bool operator==(const Mac &o) const { return memcmp(b, o.b, 6) == 0; }
	std::string text() const
	{
		char s[18];
		snprintf(s, sizeof(s), "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
		return s;
	}
};

inline bool is6(const std::string &ip) { return ip.find(':') != std::string::npos; }

inline Bytes address(const std::string &ip)
{
	Bytes out(is6(ip) ? 16 : 4);
	inet_pton(is6(ip) ? AF_INET6 : AF_INET, ip.c_str(), out.data());
	return out;
}

inline uint32_t sum16(const uint8_t *p, size_t n, uint32_t sum = 0)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (n & 1)
		sum += (uint32_t)p[n - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

inline void put16(Bytes &b, size_t at, uint16_t v);

// SCTP's header and an INIT (RFC 9260 3.3.2) that fills the rest; without a checksum.
inline Bytes sctp_init(uint16_t sport, uint16_t dport, size_t size = 32)
{
	Bytes b(size, 9);
	put16(b, 0, sport), put16(b, 2, dport), put16(b, 4, 0), put16(b, 6, 0);
	put16(b, 12, 1 << 8), put16(b, 14, (uint16_t)(size - 12));
	return b;
}

inline void put16(Bytes &b, size_t at, uint16_t v)
{
	b[at] = (uint8_t)(v >> 8);
	b[at + 1] = (uint8_t)v;
}
inline uint16_t get16(const Bytes &b, size_t at) { return (uint16_t)(b.at(at) << 8 | b.at(at + 1)); }
inline uint32_t get32(const Bytes &b, size_t at) { return (uint32_t)get16(b, at) << 16 | get16(b, at + 2); }

// One frame under construction. Every setter returns *this; bytes() computes lengths and checksums unless told otherwise.
class Packet {
public:
	Mac src = "02:00:00:00:01:05", dst = "02:00:00:00:00:01";
	std::string from, to;
	uint8_t ttl = 64, proto = 17, tos = 0, tcp_flags = 0;
	uint16_t sport = 0, dport = 0, ethertype = 0, fragment = 0x4000, id = 0;
	uint32_t seq = 1000, ack = 0;
	uint16_t window = 0xff00;
	Bytes tcp_options;
	bool bad_ip_sum = false, bad_l4_sum = false, no_l4_sum = false, partial = false;
	Bytes options, payload, l4_raw;
	uint8_t icmp_type = 0, icmp_code = 0;
	uint32_t icmp_rest = 0;

	Packet &macs(Mac s, Mac d) { src = s, dst = d; return *this; }
	Packet &ip(const std::string &f, const std::string &t) { from = f, to = t; return *this; }
	Packet &udp(uint16_t s, uint16_t d) { proto = 17, sport = s, dport = d; return *this; }
	// Numbers of a conversation in which both sides began at 1000 and nothing was said yet.
	Packet &tcp(uint16_t s, uint16_t d, uint8_t flags)
	{
		proto = 6, sport = s, dport = d, tcp_flags = flags;
		seq = flags & 0x02 ? 1000 : 1001, ack = flags & 0x10 ? 1001 : 0;
		return *this;
	}
	Packet &numbers(uint32_t s, uint32_t a, uint16_t w = 0xff00) { seq = s, ack = a, window = w; return *this; }
	// Behind the TCP header, a multiple of 4 bytes.
	Packet &tcp_option(Bytes o) { tcp_options = std::move(o); return *this; }
	Packet &syn() { tcp_flags = 0x02; return *this; }
	Packet &icmp(uint8_t type, uint8_t code, uint32_t rest)
	{
		proto = is6(from) ? 58 : 1, icmp_type = type, icmp_code = code, icmp_rest = rest;
		return *this;
	}
	Packet &echo(uint16_t ident, uint16_t n) { return icmp(is6(from) ? 128 : 8, 0, (uint32_t)ident << 16 | n); }
	Packet &raw(uint8_t p, Bytes b) { proto = p, l4_raw = std::move(b); return *this; }
	Packet &data(const std::string &s) { payload.assign(s.begin(), s.end()); return *this; }
	Packet &data(size_t n)
	{
		payload.resize(n);
		for (size_t i = 0; i < n; i++)
			payload[i] = (uint8_t)(i * 7 + 1);
		return *this;
	}

	size_t l4_offset() const { return 14 + (is6(from) ? 40 : 20 + options.size()); }
	uint16_t csum_offset() const { return proto == 6 ? 16 : 6; }

	Bytes l4() const
	{
		Bytes b;
		if (!l4_raw.empty())
			return l4_raw;
		if (proto == 17) {
			b.resize(8);
			put16(b, 0, sport), put16(b, 2, dport), put16(b, 4, (uint16_t)(8 + payload.size()));
		} else if (proto == 6) {
			b.resize(20);
			put16(b, 0, sport), put16(b, 2, dport);
			put16(b, 4, (uint16_t)(seq >> 16)), put16(b, 6, (uint16_t)seq);
			put16(b, 8, (uint16_t)(ack >> 16)), put16(b, 10, (uint16_t)ack);
			b[12] = (uint8_t)(0x50 + tcp_options.size() / 4 * 16), b[13] = tcp_flags;
			put16(b, 14, window);
			b.insert(b.end(), tcp_options.begin(), tcp_options.end());
		} else if (proto == 1 || proto == 58) {
			b.resize(8);
			b[0] = icmp_type, b[1] = icmp_code;
			put16(b, 4, (uint16_t)(icmp_rest >> 16)), put16(b, 6, (uint16_t)icmp_rest);
		}
		b.insert(b.end(), payload.begin(), payload.end());
		size_t field = proto == 6 ? 16 : proto == 17 ? 6 : 2;
		if (proto != 6 && proto != 17 && proto != 1 && proto != 58)
			return b;
		if (no_l4_sum)
			return b;
		uint32_t pseudo = proto == 1 ? 0 : pseudo_sum((uint16_t)b.size());
		if (partial) {
			put16(b, field, (uint16_t)pseudo);
			return b;
		}
		uint16_t sum = (uint16_t)~sum16(b.data(), b.size(), pseudo);
		if (sum == 0 && proto == 17)
			sum = 0xffff;
		put16(b, field, bad_l4_sum ? (uint16_t)(sum ^ 0x1234) : sum);
		return b;
	}

	uint32_t pseudo_sum(uint16_t len) const
	{
		Bytes a = address(from), c = address(to);
		uint32_t s = sum16(a.data(), a.size(), sum16(c.data(), c.size()));
		Bytes t = {0, proto, (uint8_t)(len >> 8), (uint8_t)len};
		return sum16(t.data(), 4, s);
	}

	Bytes bytes() const
	{
		Bytes f(14);
		memcpy(&f[0], dst.b, 6), memcpy(&f[6], src.b, 6);
		uint16_t type = ethertype ? ethertype : is6(from) ? 0x86dd : 0x0800;
		put16(f, 12, type);
		if (from.empty()) {
			f.insert(f.end(), payload.begin(), payload.end());
			return f;
		}
		Bytes up = l4(), s = address(from), d = address(to);
		if (is6(from)) {
			Bytes h = {0x60, 0, 0, 0, (uint8_t)(up.size() >> 8), (uint8_t)up.size(), proto, ttl};
			h[0] = (uint8_t)(0x60 | tos >> 4), h[1] = (uint8_t)(tos << 4);
			h.insert(h.end(), s.begin(), s.end());
			h.insert(h.end(), d.begin(), d.end());
			f.insert(f.end(), h.begin(), h.end());
		} else {
			Bytes h(20);
			h[0] = (uint8_t)(0x45 + options.size() / 4), h[1] = tos;
			put16(h, 2, (uint16_t)(20 + options.size() + up.size()));
			put16(h, 4, id), put16(h, 6, fragment);
			h[8] = ttl, h[9] = proto;
			memcpy(&h[12], s.data(), 4), memcpy(&h[16], d.data(), 4);
			h.insert(h.end(), options.begin(), options.end());
			uint16_t sum = (uint16_t)~sum16(h.data(), h.size());
			put16(h, 10, bad_ip_sum ? (uint16_t)(sum ^ 0x55) : sum);
			f.insert(f.end(), h.begin(), h.end());
		}
		f.insert(f.end(), up.begin(), up.end());
		return f;
	}
};

// An ARP frame (RFC 826): op 1 asks, 2 answers.
inline Bytes arp(uint16_t op, Mac sha, const std::string &sip, Mac tha, const std::string &tip, Mac dst = "ff:ff:ff:ff:ff:ff")
{
	Bytes f(14 + 28), s = address(sip), t = address(tip);
	memcpy(&f[0], dst.b, 6), memcpy(&f[6], sha.b, 6);
	put16(f, 12, 0x0806), put16(f, 14, 1), put16(f, 16, 0x0800);
	f[18] = 6, f[19] = 4;
	put16(f, 20, op);
	memcpy(&f[22], sha.b, 6), memcpy(&f[28], s.data(), 4), memcpy(&f[32], tha.b, 6), memcpy(&f[38], t.data(), 4);
	return f;
}

// A frame as it was received, read field by field. Throws std::out_of_range when it is too short for what is asked.
struct Frame {
	Bytes b;
	bool partial = false; // left with a partial checksum mark

	bool v6() const { return get16(b, 12) == 0x86dd; }
	bool v4() const { return get16(b, 12) == 0x0800; }
	bool is_arp() const { return get16(b, 12) == 0x0806; }
	Mac dst() const { Mac m; memcpy(m.b, &b.at(0), 6); return m; }
	Mac src() const { Mac m; memcpy(m.b, &b.at(6), 6); return m; }
	size_t l4() const { return v6() ? 54 : 14 + (b.at(14) & 15) * 4u; }
	size_t end() const { return v6() ? 54u + get16(b, 18) : 14u + get16(b, 16); }
	uint8_t proto() const { return v6() ? b.at(20) : b.at(23); }
	uint8_t ttl() const { return v6() ? b.at(21) : b.at(22); }
	std::string ip_at(size_t at) const
	{
		char s[INET6_ADDRSTRLEN];
		inet_ntop(v6() ? AF_INET6 : AF_INET, &b.at(at), s, sizeof(s));
		return s;
	}
	std::string from() const { return ip_at(v6() ? 22 : 26); }
	std::string to() const { return ip_at(v6() ? 38 : 30); }
	uint16_t sport() const { return get16(b, l4()); }
	uint16_t dport() const { return get16(b, l4() + 2); }
	uint8_t tcp_flags() const { return b.at(l4() + 13); }
	uint8_t icmp_type() const { return b.at(l4()); }
	uint8_t icmp_code() const { return b.at(l4() + 1); }
	Bytes payload() const
	{
		size_t head = proto() == 6 ? (b.at(l4() + 12) >> 4) * 4u : 8;
		return Bytes(b.begin() + (long)(l4() + head), b.begin() + (long)end());
	}
	std::string text() const { Bytes p = payload(); return std::string(p.begin(), p.end()); }

	// "" when every checksum in it is right, else which one is not.
	std::string checksums() const
	{
		if (v4() && sum16(&b.at(14), l4() - 14) != 0xffff)
			return "IPv4 header checksum";
		size_t len = end() - l4();
		uint32_t pseudo = 0;
		if (proto() != 1)
			pseudo = sum16(&b.at(v6() ? 22 : 26), v6() ? 32 : 8, proto() + (uint32_t)len);
		size_t field = l4() + (proto() == 6 ? 16 : proto() == 17 ? 6 : 2);
		if (proto() != 6 && proto() != 17 && proto() != 1 && proto() != 58)
			return "";
		if (partial)
			return get16(b, field) == sum16(nullptr, 0, pseudo) ? "" : "partial L4 checksum";
		if (proto() == 17 && v4() && get16(b, field) == 0)
			return "";
		return sum16(&b.at(l4()), len, pseudo) == 0xffff ? "" : "L4 checksum";
	}

	// The inner frame of a VXLAN packet.
	Frame inner() const { return Frame{Bytes(b.begin() + (long)(l4() + 16), b.begin() + (long)end()), false}; }
	uint32_t vni() const { return get32(b, l4() + 12) >> 8; }
};

} // namespace weft
