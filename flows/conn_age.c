/* SPDX-License-Identifier: Apache-2.0 */
/* Forgetting connections whose time is over, and looking at those that are left. */
#include "conn_internal.h"

#define RETIRE_MS 10u
#define SNAPSHOT_TRIES 1000u

static uint32_t
timeout_of(const struct conn_table *t, uint32_t id)
{
	const struct conn_timeouts *o = &t->timeouts;
	const struct conn_cold *cold = &t->view.cold[id];
	bool answered = __atomic_load_n(&cold->flags, __ATOMIC_RELAXED) & CONN_ANSWERED;
	switch (t->view.half[2 * id].key.net_proto & 0xff) {
	case IPPROTO_TCP: {
		uint32_t timeout = o->tcp[__atomic_load_n(&cold->state, __ATOMIC_RELAXED) % 16];
		uint32_t unanswered = o->tcp[TCP_STATE_SYN_SENT];
		return answered || timeout < unanswered ? timeout : unanswered;
	}
	case IPPROTO_SCTP: {
		uint32_t timeout = o->sctp[__atomic_load_n(&cold->state, __ATOMIC_RELAXED) % 8];
		uint32_t unanswered = o->sctp[SCTP_STATE_HEARTBEAT];
		return answered || timeout < unanswered ? timeout : unanswered;
	}
	case IPPROTO_UDP:
		if (answered && tuple_is_dns(&t->view.half[2 * id].key) &&
		    __atomic_load_n(&cold->datagrams[1], __ATOMIC_RELAXED) >=
			    __atomic_load_n(&cold->datagrams[0], __ATOMIC_RELAXED))
			return o->udp_dns;
		return answered ? o->udp_answered : o->udp;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return o->icmp;
	default:
		return o->other;
	}
}

static bool
is_over(const struct conn_table *t, uint32_t id, uint32_t seen0, uint32_t now_s)
{
	int32_t idle = seconds_since(now_s, seen0 & SEEN_SECONDS);
	if (idle < (int32_t)t->timeout_min && (t->view.half[2 * id].key.net_proto & 0xff) != IPPROTO_SCTP)
		return false; /* the usual case touches one line; of SCTP, which is rare, some end sooner */
	uint32_t seen1 = __atomic_load_n(&t->view.half[2 * id + 1].seen, __ATOMIC_RELAXED);
	int32_t idle1 = seconds_since(now_s, seen1 & SEEN_SECONDS);
	idle = idle1 < idle ? idle1 : idle;
	return idle >= (int32_t)timeout_of(t, id);
}

static bool
forget(struct conn_table *t, unsigned int worker, uint32_t id, uint32_t now_s)
{
	uint32_t *seen0 = &t->view.half[2 * id].seen;
	uint32_t seen = __atomic_load_n(seen0, __ATOMIC_ACQUIRE);
	if (!seen_is_live(seen) || !is_over(t, id, seen, now_s))
		return false;
	/* Fails when a packet came meanwhile. */
	if (!__atomic_compare_exchange_n(seen0, &seen, seen | SEEN_CLOSED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	conn_bury(t, worker, id);
	count(&t->worker[worker].expired);
	return true;
}

/*
 * What the sweep will touch soon, so that it waits for little when it is there: an entry's lines, and of one whose time is
 * over the buckets that it is to be taken out of.
 */
#define AHEAD_ENTRY 16
#define AHEAD_BUCKETS 6

static inline void
look_ahead(const struct conn_table *t, uint32_t id, uint32_t end, uint32_t now_s)
{
	if (id + AHEAD_ENTRY < end) {
		__builtin_prefetch(&t->view.half[2 * (id + AHEAD_ENTRY)]);
		__builtin_prefetch(&t->view.half[2 * (id + AHEAD_ENTRY) + 1]);
		__builtin_prefetch(&t->view.cold[id + AHEAD_ENTRY]);
	}
	if (id + AHEAD_BUCKETS < end) {
		const struct conn_half *h = &t->view.half[2 * (id + AHEAD_BUCKETS)];
		uint32_t seen = __atomic_load_n(&h->seen, __ATOMIC_ACQUIRE);
		if (seen_is_live(seen) && is_over(t, id + AHEAD_BUCKETS, seen, now_s)) {
			conn_prefetch(t, &h[0].key);
			conn_prefetch(t, &h[1].key);
		}
	}
}

/* The ids of the sweep's chunk end where they were never used. */
static uint32_t
sweep_end(const struct conn_table *t, const struct conn_worker *w)
{
	uint32_t first = 1 + ((w->sweep_chunk - 1) << CHUNK_SHIFT);
	uint64_t span = __atomic_load_n(&w->span, __ATOMIC_RELAXED);
	uint32_t end = id_end(t);
	if (w->sweep_chunk == w->chunk)
		end = (uint32_t)span;
	return end - first < CHUNK_IDS ? end - first : CHUNK_IDS;
}

unsigned int
conn_age(struct conn_table *t, unsigned int worker, uint32_t now_ms, unsigned int budget)
{
	struct conn_worker *w = &t->worker[worker];
	if (w->waiting.n + w->filling.n > 0) {
		bool due = now_ms - w->retired_ms >= RETIRE_MS;
		if (due)
			w->retired_ms = now_ms;
		id_reclaim(t, worker, due);
	}

	unsigned int forgotten = 0;
	uint64_t all = (uint64_t)w->n_chunks << CHUNK_SHIFT;
	if (budget > all)
		budget = (unsigned int)all;
	while (budget > 0) {
		if (w->sweep_chunk == 0) {
			w->sweep_chunk = w->chunk;
			w->sweep_at = 0;
		}
		uint32_t end = sweep_end(t, w), first = 1 + ((w->sweep_chunk - 1) << CHUNK_SHIFT);
		for (; w->sweep_at < end && budget > 0; budget--, w->sweep_at++) {
			look_ahead(t, first + w->sweep_at, first + end, now_ms / 1000);
			forgotten += forget(t, worker, first + w->sweep_at, now_ms / 1000);
		}
		if (w->sweep_at >= end) {
			budget -= end == 0; /* an empty chunk costs something, too, and the loop must end */
			w->sweep_chunk = t->chunk_next[w->sweep_chunk - 1];
			w->sweep_at = 0;
		}
	}
	return forgotten;
}

/* What stays as it is as long as nobody decides anew and the id carries the same connection. */
static bool
same_connection(const struct conn_half a[2], const struct conn_cold *ac, const struct conn_half b[2],
		const struct conn_cold *bc)
{
	size_t decided = offsetof(struct conn_half, seen);
	return memcmp(&a[0], &b[0], decided) == 0 && memcmp(&a[1], &b[1], decided) == 0 &&
	       memcmp(ac->rule, bc->rule, sizeof(ac->rule)) == 0 && ac->service == bc->service &&
	       ac->backend == bc->backend && ac->owner == bc->owner;
}

/*
 * A copy of an entry, or false when it is not live. The caller holds back no grace period, so the id may be used again
 * while it is copied: the count of changes must be the same before and after. It has three bits only, and the kernel
 * may hold us up for long in between: hence a second copy, which a mixture of two connections cannot equal.
 */
static bool
snapshot(const struct conn_table *t, uint32_t id, struct conn_half half[2], struct conn_cold *cold)
{
	const struct conn_half *from = &t->view.half[2 * id];
	for (unsigned int tries = 0; tries < SNAPSHOT_TRIES; tries++) {
		struct conn_half half2[2];
		struct conn_cold cold2;
		uint32_t before[2], moved = 0;
		for (unsigned int i = 0; i < 2; i++)
			before[i] = __atomic_load_n(&from[i].seen, __ATOMIC_ACQUIRE);
		if (!seen_is_live(before[0]))
			return false;
		words_load(half, from, 2 * sizeof(*half));
		words_load(cold, &t->view.cold[id], sizeof(*cold));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		words_load(half2, from, sizeof(half2));
		words_load(&cold2, &t->view.cold[id], sizeof(cold2));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		for (unsigned int i = 0; i < 2; i++)
			moved |= (before[i] & HALF_CHANGING) |
				 (before[i] ^ __atomic_load_n(&from[i].seen, __ATOMIC_RELAXED));
		if (moved < HALF_CHANGING && same_connection(half, cold, half2, &cold2))
			return true;
	}
	return false;
}

int
conn_walk(struct conn_table *t,
	  int (*fn)(uint32_t ref, const struct conn_half half[2], const struct conn_cold *cold, void *arg), void *arg)
{
	for (uint32_t id = 1; id < id_end(t); id++) {
		struct conn_half half[2];
		struct conn_cold cold;
		int rc = snapshot(t, id, half, &cold) ? fn(2 * id, half, &cold, arg) : 0;
		if (rc != 0)
			return rc;
	}
	return 0;
}
