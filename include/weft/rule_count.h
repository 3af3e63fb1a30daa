/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often each policy rule had its say: a flat array by rule id for each worker, written by that worker alone and summed by readers.
 *
 * An id that is given out again starts at 0 for readers: what it had counted before is remembered and taken off. Only new
 * connections, and packets that are denied one, are counted.
 */
#ifndef WEFT_RULE_COUNT_H
#define WEFT_RULE_COUNT_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RULE_COUNT_MAX (1u << 22) /* rules with a greater id go uncounted */

struct rule_count {
	uint64_t said;      /* the verdict was this rule's, or it passed the question on */
	uint64_t would_say; /* the same of a rule that only rehearses ("enforce": false) */
};

extern struct rule_count *rule_counts[WEFT_MAX_WORKERS]; /* NULL before rule_count_init */

/* Control thread, before the workers start and after they have stopped. The pages come as ids are given out. 0 or -ENOMEM. */
int rule_count_init(unsigned int workers);
void rule_count_fini(void);

/* Builder: the id is given out. Before that, and without rule_count_init, nothing happens. */
void rule_count_begin(uint32_t rule);

/* Its worker alone. */
static inline void
rule_count_add(unsigned int worker, uint32_t rule, bool rehearsed)
{
	if (rule == 0 || rule >= RULE_COUNT_MAX)
		return;
	struct rule_count *c = &rule_counts[worker][rule];
	uint64_t *n = rehearsed ? &c->would_say : &c->said;
	__atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

/* Any thread: since the id was given out. */
void rule_count_read(uint32_t rule, struct rule_count *out);

#ifdef __cplusplus
}
#endif

#endif
