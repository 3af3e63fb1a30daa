/* SPDX-License-Identifier: Apache-2.0 */
/* How often each policy rule had its say: counters by rule id. Only new connections, and packets that are denied one, are counted. */
#ifndef WEFT_RULE_COUNT_H
#define WEFT_RULE_COUNT_H

#include <weft/id_count.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RULE_COUNT_MAX (1u << 22) /* rules with a greater id go uncounted */

struct rule_count {
	uint64_t said;      /* the verdict was this rule's, or it passed the question on */
	uint64_t would_say; /* the same of a rule that only rehearses ("enforce": false) */
};

extern struct id_counts rule_counts; /* for init, fini and begin, see id_count.h */

/* Its worker alone. */
static inline void
rule_count_add(unsigned int worker, uint32_t rule, bool rehearsed)
{
	id_counts_add(&rule_counts, worker, rule, rehearsed);
}
/* Any thread: since the id was given out. */
void rule_count_read(uint32_t rule, struct rule_count *out);

#ifdef __cplusplus
}
#endif

#endif
