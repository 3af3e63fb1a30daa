/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/affinity.h>

#include <stdlib.h>
#include <sys/random.h>

#include "mix.h"

#define WAYS 4
#define FREE 0u
#define CLAIMED 1u /* somebody is filling it in */

/*
 * The tag is the hash of the key. The value is a backend, when its time is over, and some bits of the hash once more: an entry may
 * pass to another client between the reading of its tag and of its value, and the value says whose it is.
 */
struct entry {
	uint64_t tag, value;
};
struct bucket {
	struct entry way[WAYS];
} __attribute__((aligned(64)));

struct affinity {
	uint64_t seed[2];
	uint32_t mask;
	struct bucket *bucket;
};

static_assert(sizeof(struct bucket) == 64, "one cache line");

/* Time in 1.024 s: a power of two of milliseconds, so that the two wrap together. */
#define TICK_SHIFT 10
#define TIME_BITS 20
#define TIME_MASK ((1u << TIME_BITS) - 1)
#define LONGEST ((AFFINITY_MAX_SECONDS * 1000u >> TICK_SHIFT) + 2)

static uint32_t
ticks_of(uint32_t ms)
{
	return ms >> TICK_SHIFT & TIME_MASK;
}

static uint64_t
make_value(uint64_t tag, uint32_t backend, uint32_t until)
{
	return (uint64_t)backend << 32 | (tag >> 52) << TIME_BITS | until;
}

static bool
is_of(uint64_t value, uint64_t tag)
{
	return ((uint32_t)value >> TIME_BITS) == tag >> 52;
}

/* Ticks until its time is over; 0: it is. */
static uint32_t
remaining(uint64_t value, uint32_t now_ms)
{
	uint32_t left = ((uint32_t)value - ticks_of(now_ms)) & TIME_MASK;
	return left <= LONGEST ? left : 0;
}

static uint64_t
hash(const struct affinity *a, const struct affinity_key *key)
{
	uint64_t h = mix64_add(a->seed[0], key->client.q[0]);
	h = mix64_add(h, key->client.q[1]);
	h = mix64_add(h, (uint64_t)key->network << 32 | key->service);
	h = mix64_add(h, a->seed[1]);
	return h > CLAIMED ? h : h + 2;
}

int
affinity_create(struct affinity **out, uint32_t entries)
{
	uint32_t buckets = 1;
	while (buckets < (entries + WAYS - 1) / WAYS && buckets < 1u << 28)
		buckets *= 2;
	struct affinity *a = calloc(1, sizeof(*a));
	if (a == NULL)
		return -ENOMEM;
	a->mask = buckets - 1;
	a->bucket = aligned_alloc(sizeof(struct bucket), (size_t)buckets * sizeof(struct bucket));
	if (a->bucket == NULL || getrandom(a->seed, sizeof(a->seed), 0) != (ssize_t)sizeof(a->seed)) {
		affinity_destroy(a);
		return -ENOMEM;
	}
	memset(a->bucket, 0, (size_t)buckets * sizeof(struct bucket));
	*out = a;
	return 0;
}

void
affinity_destroy(struct affinity *a)
{
	if (a == NULL)
		return;
	free(a->bucket);
	free(a);
}

uint32_t
affinity_find(const struct affinity *a, const struct affinity_key *key, uint32_t now_ms)
{
	uint64_t tag = hash(a, key);
	const struct bucket *b = &a->bucket[tag & a->mask];
	for (unsigned int i = 0; i < WAYS; i++) {
		if (__atomic_load_n(&b->way[i].tag, __ATOMIC_ACQUIRE) != tag)
			continue;
		uint64_t value = __atomic_load_n(&b->way[i].value, __ATOMIC_RELAXED);
		if (is_of(value, tag))
			return remaining(value, now_ms) > 0 ? (uint32_t)(value >> 32) : 0;
	}
	return 0;
}

/* The client's own entry takes the new value. False: it has none. */
static bool
renew(struct bucket *b, uint64_t tag, uint64_t value)
{
	for (unsigned int i = 0; i < WAYS; i++) {
		struct entry *e = &b->way[i];
		if (__atomic_load_n(&e->tag, __ATOMIC_ACQUIRE) != tag)
			continue;
		uint64_t old = __atomic_load_n(&e->value, __ATOMIC_RELAXED);
		while (is_of(old, tag)) {
			if (__atomic_compare_exchange_n(&e->value, &old, value, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
				return true;
		}
	}
	return false;
}

/* The entry that is free, or whose time is over first. NULL: all are being claimed. */
static struct entry *
pick(struct bucket *b, uint32_t now_ms, uint64_t *tag)
{
	struct entry *best = NULL;
	uint32_t least = UINT32_MAX;
	for (unsigned int i = 0; i < WAYS; i++) {
		uint64_t t = __atomic_load_n(&b->way[i].tag, __ATOMIC_ACQUIRE);
		if (t == CLAIMED)
			continue;
		uint32_t left = t == FREE ? 0 : remaining(__atomic_load_n(&b->way[i].value, __ATOMIC_RELAXED), now_ms);
		if (left < least) {
			least = left;
			best = &b->way[i];
			*tag = t;
		}
	}
	return best;
}

/* Two workers may have claimed an entry for one client: both see it here, the later at least, and agree on the first. */
static void
drop_twins(struct bucket *b, uint64_t tag)
{
	bool seen = false;
	for (unsigned int i = 0; i < WAYS; i++) {
		uint64_t t = __atomic_load_n(&b->way[i].tag, __ATOMIC_SEQ_CST);
		if (t == tag && seen)
			__atomic_compare_exchange_n(&b->way[i].tag, &t, FREE, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
		seen |= t == tag;
	}
}

void
affinity_note(struct affinity *a, const struct affinity_key *key, uint32_t backend, uint32_t now_ms, uint32_t seconds)
{
	uint64_t tag = hash(a, key), old;
	struct bucket *b = &a->bucket[tag & a->mask];
	uint32_t for_ms = (seconds < AFFINITY_MAX_SECONDS ? seconds : AFFINITY_MAX_SECONDS) * 1000;
	/* Never too early: up to two ticks later. */
	uint32_t until = (ticks_of(now_ms) + (for_ms >> TICK_SHIFT) + 2) & TIME_MASK;
	uint64_t value = make_value(tag, backend, until);
	/* Each round that fails, somebody else has succeeded; who loses so often leaves it to the next connection. */
	for (unsigned int round = 0; round < WAYS; round++) {
		if (renew(b, tag, value))
			return;
		struct entry *e = pick(b, now_ms, &old);
		if (e == NULL)
			return;
		if (!__atomic_compare_exchange_n(&e->tag, &old, CLAIMED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		__atomic_store_n(&e->value, value, __ATOMIC_RELEASE);
		__atomic_store_n(&e->tag, tag, __ATOMIC_SEQ_CST);
		drop_twins(b, tag);
		return;
	}
}
