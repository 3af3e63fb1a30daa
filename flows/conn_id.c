/* SPDX-License-Identifier: Apache-2.0 */
/* The ids of the connection table: chunks of a common pool, a stack of free ones a worker, and the wait for a grace
 * period. */
#include "conn_internal.h"

#include <weft/rcu.h>

/*
 * A closed entry's `seen` has no time to tell any more: its 2 * 24 bits link ids. A stale conn_packet or
 * conn_half_decide may still change the flags above, so they are kept.
 */
static void
link_half(uint32_t *seen, uint32_t value)
{
	uint32_t old = __atomic_load_n(seen, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(seen, &old, (old & ~SEEN_SECONDS) | value, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
}

static void
link_set(struct conn_table *t, uint32_t id, uint32_t next)
{
	link_half(&t->view.half[2 * id].seen, next & SEEN_SECONDS);
	link_half(&t->view.half[2 * id + 1].seen, next >> 24);
}

static uint32_t
link_get(const struct conn_table *t, uint32_t id)
{
	uint32_t low = __atomic_load_n(&t->view.half[2 * id].seen, __ATOMIC_RELAXED) & SEEN_SECONDS;
	uint32_t high = __atomic_load_n(&t->view.half[2 * id + 1].seen, __ATOMIC_RELAXED) & SEEN_SECONDS;
	return high << 24 | low;
}

static inline uint64_t
stack_next(uint64_t top, uint32_t id)
{
	return ((top >> 32) + 1) << 32 | id;
}

static void
stack_push(struct conn_table *t, uint64_t *stack, const struct id_list *l)
{
	uint64_t top = __atomic_load_n(stack, __ATOMIC_RELAXED);
	do
		link_set(t, l->tail, (uint32_t)top);
	while (!__atomic_compare_exchange_n(stack, &top, stack_next(top, l->head), false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
}

static uint32_t
stack_pop(struct conn_table *t, uint64_t *stack)
{
	uint64_t top = __atomic_load_n(stack, __ATOMIC_ACQUIRE);
	while ((uint32_t)top != 0) {
		uint32_t next =
			link_get(t, (uint32_t)top); /* nonsense when somebody was faster, but then the swap fails */
		if (__atomic_compare_exchange_n(stack, &top, stack_next(top, next), false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return (uint32_t)top;
	}
	return 0;
}

static uint32_t
span_pop(uint64_t *span)
{
	uint64_t s = __atomic_load_n(span, __ATOMIC_RELAXED);
	while ((uint32_t)s < s >> 32) {
		if (__atomic_compare_exchange_n(span, &s, s + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return (uint32_t)s;
	}
	return 0;
}

/* A new chunk for the worker, whose span is used up. */
static bool
chunk_take(struct conn_table *t, struct conn_worker *w)
{
	uint32_t c = __atomic_load_n(&t->header->chunks_taken, __ATOMIC_RELAXED);
	do {
		if (c == t->n_chunks)
			return false;
	} while (!__atomic_compare_exchange_n(&t->header->chunks_taken, &c, c + 1, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	t->chunk_next[c] = w->chunk;
	w->chunk = c + 1;
	w->n_chunks++;
	uint64_t first = 1 + ((uint64_t)c << CHUNK_SHIFT);
	uint64_t end = first + CHUNK_IDS <= t->capacity ? first + CHUNK_IDS : (uint64_t)t->capacity + 1;
	__atomic_store_n(&w->span, end << 32 | first, __ATOMIC_RELAXED); /* nobody robs an empty span: no swap needed */
	return true;
}

uint32_t
conn_id_take(struct conn_table *t, unsigned int worker)
{
	struct conn_worker *w = &t->worker[worker];
	uint32_t id = stack_pop(t, &w->free);
	if (id == 0 && w->waiting.n + w->filling.n > 0) {
		id_reclaim(t, worker, false);
		id = stack_pop(t, &w->free);
	}
	if (id == 0)
		id = span_pop(&w->span);
	while (id == 0 && chunk_take(t, w))
		id = span_pop(&w->span);
	for (unsigned int i = 1; id == 0 && i < t->workers; i++) {
		struct conn_worker *other = &t->worker[(worker + i) % t->workers];
		id = stack_pop(t, &other->free);
		if (id == 0)
			id = span_pop(&other->span);
	}
	if (id == 0) {
		id_reclaim(t, worker, true);
		id = stack_pop(t, &w->free);
	}
	if (id != 0)
		quota_note(t, worker, QUOTA_IDS, 1);
	return id;
}

void
conn_id_put(struct conn_table *t, unsigned int worker, uint32_t id)
{
	struct id_list one = {id, id, 1};
	stack_push(t, &t->worker[worker].free, &one);
	quota_note(t, worker, QUOTA_IDS, -1);
}

void
conn_id_retire(struct conn_table *t, unsigned int worker, uint32_t id)
{
	struct id_list *l = &t->worker[worker].filling;
	link_set(t, id, l->head);
	l->head = id;
	if (l->n++ == 0)
		l->tail = id;
	if (l->n % RETIRE_BATCH == 0)
		id_reclaim(t, worker, false);
}

void
id_reclaim(struct conn_table *t, unsigned int worker, bool now)
{
	struct conn_worker *w = &t->worker[worker];
	for (;;) {
		if (w->waiting.n > 0 && rcu_done(w->ticket)) {
			stack_push(t, &w->free, &w->waiting);
			quota_note(t, worker, QUOTA_IDS, -(int32_t)w->waiting.n);
			w->waiting.n = 0;
		}
		if (w->waiting.n > 0 || w->filling.n == 0 || (!now && w->filling.n < RETIRE_BATCH))
			return;
		w->waiting = w->filling;
		memset(&w->filling, 0, sizeof(w->filling));
		w->ticket = rcu_start();
	}
}

uint32_t
id_end(const struct conn_table *t)
{
	uint64_t taken = __atomic_load_n(&t->header->chunks_taken, __ATOMIC_RELAXED);
	uint64_t end = 1 + (taken << CHUNK_SHIFT);
	return end <= t->capacity ? (uint32_t)end : t->capacity + 1;
}
