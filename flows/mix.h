/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fixed, public hash for what must come out alike on every node and after every restart: backend ids, Maglev's
 * permutations, the choice of a backend. Not for tables that a tenant could flood: those are seeded (conn_hash).
 * Its results are part of the interface between nodes; tests hold expected values.
 */
#ifndef FLOWS_MIX_H
#define FLOWS_MIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A bijection of 64 bits in which each input bit reaches each output bit (xor-shift and multiply, as in splitmix64). */
static inline uint64_t
mix64(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* Add one word to a running hash. Start from any constant; order matters. */
static inline uint64_t
mix64_add(uint64_t h, uint64_t word)
{
	return mix64((h ^ word) + 0x9e3779b97f4a7c15u);
}

/* Words are little-endian: the same bytes give the same hash on every machine that DPDK's Debian packages run on. */
static inline uint64_t
mix64_bytes(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = (const uint8_t *)data;
	h = mix64_add(h, len);
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, p, 8);
		h = mix64_add(h, word);
	}
	uint64_t rest = 0;
	memcpy(&rest, p, len);
	return len != 0 ? mix64_add(h, rest) : h;
}

#endif
