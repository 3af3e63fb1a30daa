/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two counters for each of many ids: a flat array for each worker, written by that worker alone and summed by readers. An id that is
 * given out again starts at 0 for readers: what it had counted before is remembered and taken off.
 */
#ifndef WEFT_ID_COUNT_H
#define WEFT_ID_COUNT_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct id_count {
	uint64_t n[2];
};

struct id_counts {
	uint32_t max;            /* greater ids, and 0, go uncounted */
	unsigned int workers;
	struct id_count *of[WEFT_MAX_WORKERS];
	struct id_count *base;   /* of each id when it was given out; NULL before id_counts_init */
};

/* Control thread, before the workers start and after they have stopped. It takes address space; memory only where something
 * is counted. 0 or -ENOMEM. */
int id_counts_init(struct id_counts *c, unsigned int workers);
void id_counts_fini(struct id_counts *c);

/* Builder: the id is given out. Before id_counts_init nothing happens. */
void id_counts_begin(struct id_counts *c, uint32_t id);

/* Worker `worker` alone. */
static inline void
id_counts_add(struct id_counts *c, unsigned int worker, uint32_t id, unsigned int which)
{
	if (id == 0 || id >= c->max)
		return;
	uint64_t *n = &c->of[worker][id].n[which];
	__atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

/* The same worker, some time before: a hint. Inlined at once, or GCC takes a function that only fetches for one without effect
 * and drops the call. */
__attribute__((always_inline)) static inline void
id_counts_prefetch(const struct id_counts *c, unsigned int worker, uint32_t id)
{
	if (id != 0 && id < c->max)
		__builtin_prefetch(&c->of[worker][id], 1);
}

/* Any thread: since the id was given out. */
struct id_count id_counts_read(const struct id_counts *c, uint32_t id);

#ifdef __cplusplus
}
#endif

#endif
