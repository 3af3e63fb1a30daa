// SPDX-License-Identifier: Apache-2.0
// Datagrams taken apart and put together again, by RFC 791 and RFC 8200 4.5 and not by the code under test.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "packet.hpp"

namespace weft {

// One fragment: the part [at, at + len) of the IP payload of `whole` (a complete frame whose fragmentable part starts at `start`).
inline Bytes fragment_of(const Bytes &whole, size_t at, size_t len, bool more, uint32_t id, size_t before = 0)
{
	bool v6 = get16(whole, 12) == 0x86dd;
	size_t start = v6 ? 54 + before : 14 + (whole.at(14) & 15) * 4u;
	size_t last = std::min(start + at + len, whole.size());
	Bytes f(whole.begin(), whole.begin() + (long)start);
	if (v6) {
		// The header in front of the fragmentable part names the fragment header; that names what it named.
		size_t next = 20;
		for (size_t h = 54; h < start; h += (f.at(h + 1) + 1u) * 8)
			next = h;
		Bytes h = {f[next], 0, (uint8_t)(at >> 8), (uint8_t)((at & 0xf8) | (more ? 1 : 0)), (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
		f[next] = 44;
		f.insert(f.end(), h.begin(), h.end());
	}
	if (start + at < last)
		f.insert(f.end(), whole.begin() + (long)(start + at), whole.begin() + (long)last);
	if (v6) {
		put16(f, 18, (uint16_t)(f.size() - 54));
	} else {
		put16(f, 16, (uint16_t)(f.size() - 14));
		put16(f, 18, (uint16_t)id);
		put16(f, 20, (uint16_t)(at / 8 | (more ? 0x2000 : 0)));
		put16(f, 24, 0);
		put16(f, 24, (uint16_t)~sum16(&f[14], start - 14));
	}
	return f;
}

// All of it, `size` bytes a fragment.
inline std::vector<Bytes> split(const Packet &p, size_t size, uint32_t id = 7, size_t before = 0)
{
	Bytes whole = p.bytes();
	bool v6 = get16(whole, 12) == 0x86dd;
	size_t start = v6 ? 54 + before : 14 + (whole.at(14) & 15) * 4u, total = whole.size() - start;
	std::vector<Bytes> out;
	for (size_t at = 0; at < total; at += size)
		out.push_back(fragment_of(whole, at, size, at + size < total, id, before));
	return out;
}

struct Piece {
	size_t at, len;
	bool more;
	uint32_t id;
	size_t data; // offset in the frame
	uint8_t next;
};
inline Piece piece_of(const Bytes &f)
{
	if (get16(f, 12) == 0x86dd) {
		size_t h = 54;
		uint8_t kind = f.at(20);
		while (kind != 44 && h + 8 < f.size()) {
			kind = f.at(h);
			h += (f.at(h + 1) + 1u) * 8;
		}
		size_t end = 54u + get16(f, 18);
		return {(size_t)(get16(f, h + 2) & 0xfff8), end - h - 8, (f.at(h + 3) & 1) != 0, get32(f, h + 4), h + 8, f.at(h)};
	}
	size_t data = 14 + (f.at(14) & 15) * 4u, end = 14u + get16(f, 16);
	return {(size_t)(get16(f, 20) & 0x1fff) * 8, end - data, (f.at(20) & 0x20) != 0, get16(f, 18), data, f.at(23)};
}

// An IPv4 header and nothing behind it.
inline Frame no_frame()
{
	Frame f{Bytes(64, 0), false};
	f.b[12] = 8, f.b[14] = 0x45, f.b[17] = 28;
	return f;
}

// What a receiver makes of them: a frame without fragments, or no_frame() when something is missing or there twice.
inline Frame whole(const std::vector<Frame> &frames)
{
	std::map<size_t, Bytes> parts;
	Bytes head;
	bool v6 = false, twice = false;
	size_t total = 0, got = 0;
	for (const Frame &f : frames) {
		Piece p = piece_of(f.b);
		twice |= !parts.emplace(p.at, Bytes(f.b.begin() + (long)p.data, f.b.begin() + (long)(p.data + p.len))).second;
		got += p.len;
		if (p.at == 0) {
			v6 = f.v6();
			head.assign(f.b.begin(), f.b.begin() + (long)(p.data - (v6 ? 8 : 0)));
			if (v6)
				head[20] = p.next;
		}
		if (!p.more)
			total = p.at + p.len;
	}
	if (head.empty() || twice || total == 0 || got != total)
		return no_frame();
	for (auto &p : parts) {
		if (p.first != head.size() - (v6 ? 54 : 14 + (head[14] & 15) * 4u))
			return no_frame();
		head.insert(head.end(), p.second.begin(), p.second.end());
	}
	if (v6) {
		put16(head, 18, (uint16_t)(head.size() - 54));
	} else {
		if (sum16(&head[14], (head[14] & 15) * 4u) != 0xffff)
			return no_frame();
		put16(head, 16, (uint16_t)(head.size() - 14));
		put16(head, 20, 0);
		put16(head, 24, 0);
		put16(head, 24, (uint16_t)~sum16(&head[14], (head[14] & 15) * 4u));
	}
	return Frame{head, false};
}

} // namespace weft
