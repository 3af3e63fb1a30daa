/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many connections service ports and backends were given: a flat array by counter id for each worker, written by that worker alone
 * and summed by readers. Ids are given out densely, and start at 0 for readers whoever had them before.
 */
#ifndef WEFT_SERVICE_COUNT_H
#define WEFT_SERVICE_COUNT_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SERVICE_COUNT_MAX (1u << 20) /* service ports and backends beyond go uncounted */

struct service_count {
	uint64_t opened;  /* new connections */
	uint64_t refused; /* of a service port: packets that found no backend, or were not let in */
};

extern struct service_count *service_counts[WEFT_MAX_WORKERS]; /* NULL before service_count_init */

/* Control thread, before the workers start and after they have stopped. Pages come as ids are given out. 0 or -ENOMEM. */
int service_count_init(unsigned int workers);
void service_count_fini(void);

/* Builder. 0: none left, or not initialized; that is counted nowhere. Given back a grace period after its last use. */
uint32_t service_count_take(void);
void service_count_give(uint32_t id);

/* Its worker alone. */
static inline void
service_count_add(unsigned int worker, uint32_t id, bool refused)
{
	if (id == 0)
		return;
	struct service_count *c = &service_counts[worker][id];
	uint64_t *n = refused ? &c->refused : &c->opened;
	__atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

/* Any thread: since the id was given out. */
void service_count_read(uint32_t id, struct service_count *out);

#ifdef __cplusplus
}
#endif

#endif
