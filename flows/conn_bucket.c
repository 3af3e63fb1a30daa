/* SPDX-License-Identifier: Apache-2.0 */
/* The index of the connection table: from a tuple to the half that carries it. */
#include "conn_internal.h"

#include <emmintrin.h>

static inline uint64_t
fold(uint64_t a, uint64_t b)
{
	unsigned __int128 p = (unsigned __int128)a * b;
	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/*
 * Products, not a CRC: a CRC is linear, so whoever finds two tuples that collide under one seed has found them for all.
 * Every word goes through two in turn. After one alone, the ports of one client's connections still lie evenly spaced,
 * and under one seed in ten that fills some buckets and leaves others empty.
 */
uint32_t
conn_hash(const struct conn_table *t, const struct tuple *key)
{
	const uint64_t *s = t->seed;
	uint64_t rest;
	memcpy(&rest, &key->sport, sizeof(rest));
	uint64_t low = fold(key->src.q[1] ^ s[0], key->dst.q[1] ^ s[1]);
	uint64_t high = fold(key->src.q[0] ^ s[2], key->dst.q[0] ^ s[3]);
	uint64_t h = fold(low ^ high, fold(rest ^ s[4], s[5]) ^ s[6]);
	uint32_t out = (uint32_t)(h ^ h >> 32);
	return out != 0 ? out : 1;
}

/* The bucket comes from the upper bits, the tag from the lower. */
static inline uint32_t
home_of(const struct conn_table *t, uint32_t hash)
{
	return (uint32_t)((uint64_t)hash * t->n_buckets >> 32);
}

static inline uint8_t
tag_of(uint32_t hash)
{
	uint8_t tag = (uint8_t)hash;
	return tag != 0 ? tag : 0xa5;
}

static inline uint32_t
next_of(const struct conn_table *t, uint32_t b)
{
	return b + 1 < t->n_buckets ? b + 1 : 0;
}

/* A bit for each slot with the tag; *over is the bucket's count of passers-by at the same moment. */
static inline uint32_t
slots_with(const struct bucket *b, uint8_t tag, uint32_t *over)
{
	uint64_t low = __atomic_load_n(&b->word[0], __ATOMIC_ACQUIRE);
	uint64_t high = __atomic_load_n(&b->word[1], __ATOMIC_ACQUIRE);
	__m128i tags = _mm_set_epi64x((int64_t)high, (int64_t)low);
	*over = (uint32_t)(high >> 32);
	return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag))) & ((1u << BUCKET_SLOTS) - 1);
}

static inline bool
key_equal(const struct tuple *a, const struct tuple *b)
{
	__m128i src =
		_mm_xor_si128(_mm_loadu_si128((const __m128i *)&a->src), _mm_loadu_si128((const __m128i *)&b->src));
	__m128i dst =
		_mm_xor_si128(_mm_loadu_si128((const __m128i *)&a->dst), _mm_loadu_si128((const __m128i *)&b->dst));
	__m128i rest =
		_mm_xor_si128(_mm_loadl_epi64((const __m128i *)&a->sport), _mm_loadl_epi64((const __m128i *)&b->sport));
	__m128i all = _mm_or_si128(_mm_or_si128(src, dst), rest);
	return _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_setzero_si128())) == 0xffff;
}

static inline uint32_t
live_half(const struct conn_table *t, const struct bucket *b, uint32_t slots, const struct tuple *key)
{
	for (; slots != 0; slots &= slots - 1) {
		uint32_t ref = __atomic_load_n(&b->ref[__builtin_ctz(slots)], __ATOMIC_ACQUIRE);
		const struct conn_half *h = &t->view.half[ref];
		if (ref != 0 && key_equal(&h->key, key) && seen_is_live(__atomic_load_n(&h->seen, __ATOMIC_ACQUIRE)))
			return ref;
	}
	return 0;
}

/* The search past the home bucket. */
static uint32_t
find_further(const struct conn_table *t, const struct tuple *key, uint32_t hash)
{
	uint32_t b = home_of(t, hash), over = 1;
	for (uint32_t d = 1; d < PROBE_BUCKETS && over != 0; d++) {
		b = next_of(t, b);
		uint32_t slots = slots_with(&t->bucket[b], tag_of(hash), &over);
		uint32_t ref = live_half(t, &t->bucket[b], slots, key);
		if (ref != 0)
			return ref;
	}
	return 0;
}

uint32_t
conn_find(const struct conn_table *t, const struct tuple *key)
{
	uint32_t hash = conn_hash(t, key), over;
	const struct bucket *b = &t->bucket[home_of(t, hash)];
	uint32_t slots = slots_with(b, tag_of(hash), &over);
	uint32_t ref = live_half(t, b, slots, key);
	return ref == 0 && over != 0 ? find_further(t, key, hash) : ref;
}

/* What a packet with the key touches: the half, the other one when it is translated, and TCP's windows, which lie in two lines now and then. */
static inline void
prefetch_entry(const struct conn_table *t, const struct tuple *key, uint32_t ref)
{
	__builtin_prefetch(&t->view.half[ref]);
	__builtin_prefetch(&t->view.half[ref ^ 1]);
	if ((key->net_proto & 0xff) == IPPROTO_TCP) {
		const struct conn_cold *cold = &t->view.cold[ref >> 1];
		__builtin_prefetch(cold->tcp);
		__builtin_prefetch(&cold->flags);
	}
}

void
conn_find_burst(const struct conn_table *t, const struct tuple *const key[], unsigned int n, uint32_t hash[],
		uint32_t ref[])
{
	const struct bucket *b[WEFT_BURST];
	uint32_t slots[WEFT_BURST], over[WEFT_BURST];

	for (unsigned int i = 0; i < n; i++) {
		hash[i] = conn_hash(t, key[i]);
		b[i] = &t->bucket[home_of(t, hash[i])];
		__builtin_prefetch(b[i]);
	}
	for (unsigned int i = 0; i < n; i++) {
		slots[i] = slots_with(b[i], tag_of(hash[i]), &over[i]);
		if (slots[i] != 0)
			prefetch_entry(t, key[i], __atomic_load_n(&b[i]->ref[__builtin_ctz(slots[i])], __ATOMIC_RELAXED));
		else if (over[i] != 0)
			__builtin_prefetch(&t->bucket[next_of(t, home_of(t, hash[i]))]);
	}
	for (unsigned int i = 0; i < n; i++) {
		ref[i] = live_half(t, b[i], slots[i], key[i]);
		if (ref[i] == 0 && over[i] != 0)
			ref[i] = find_further(t, key[i], hash[i]);
	}
}

uint32_t
conn_prefetch(const struct conn_table *t, const struct tuple *key)
{
	uint32_t hash = conn_hash(t, key);
	__builtin_prefetch(&t->bucket[home_of(t, hash)]);
	return hash;
}

void
bucket_rivals(struct conn_table *t, const struct tuple *key, uint32_t hash, uint32_t self, rival_fn *fn, void *arg)
{
	uint32_t b = home_of(t, hash), over = 1;
	for (uint32_t d = 0; d < PROBE_BUCKETS && over != 0; d++, b = next_of(t, b)) {
		uint32_t slots = slots_with(&t->bucket[b], tag_of(hash), &over);
		for (; slots != 0; slots &= slots - 1) {
			uint32_t ref = __atomic_load_n(&t->bucket[b].ref[__builtin_ctz(slots)], __ATOMIC_ACQUIRE);
			if (ref != 0 && ref >> 1 != self && key_equal(&t->view.half[ref].key, key) && fn(t, ref, arg))
				return;
		}
	}
}

static int
slot_claim(struct bucket *b, uint32_t ref)
{
	uint32_t over;
	for (uint32_t empty = slots_with(b, 0, &over); empty != 0; empty &= empty - 1) {
		int slot = __builtin_ctz(empty);
		uint32_t none = 0;
		if (__atomic_load_n(&b->ref[slot], __ATOMIC_RELAXED) == 0 &&
		    __atomic_compare_exchange_n(&b->ref[slot], &none, ref, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return slot;
	}
	return -1;
}

/* One more, or one less, has passed by the `passed` buckets from home on. */
static void
pass_by(struct conn_table *t, uint32_t home, uint32_t passed, uint32_t by)
{
	for (; passed > 0; passed--, home = next_of(t, home))
		__atomic_fetch_add(&t->bucket[home].over, by, __ATOMIC_ACQ_REL);
}

int
bucket_insert(struct conn_table *t, uint32_t hash, uint32_t ref)
{
	uint32_t home = home_of(t, hash), b = home;
	for (uint32_t d = 0; d < PROBE_BUCKETS; d++, b = next_of(t, b)) {
		int slot = slot_claim(&t->bucket[b], ref);
		if (slot < 0)
			continue;
		pass_by(t, home, d, 1); /* before the tag: whoever can see the entry must be able to find it */
		__atomic_store_n(&t->bucket[b].tag[slot], tag_of(hash), __ATOMIC_RELEASE);
		return 0;
	}
	return -ENOSPC;
}

void
bucket_erase(struct conn_table *t, uint32_t hash, uint32_t ref)
{
	uint32_t home = home_of(t, hash), b = home, over;
	for (uint32_t d = 0; d < PROBE_BUCKETS; d++, b = next_of(t, b)) {
		struct bucket *k = &t->bucket[b];
		for (uint32_t slots = slots_with(k, tag_of(hash), &over); slots != 0; slots &= slots - 1) {
			int slot = __builtin_ctz(slots);
			if (__atomic_load_n(&k->ref[slot], __ATOMIC_RELAXED) != ref)
				continue;
			__atomic_store_n(&k->tag[slot], 0, __ATOMIC_RELEASE);
			__atomic_store_n(&k->ref[slot], 0, __ATOMIC_RELEASE);
			pass_by(t, home, d, UINT32_MAX);
			return;
		}
	}
}
