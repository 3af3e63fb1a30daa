/* SPDX-License-Identifier: Apache-2.0 */
/* How many connections service ports and backends were given: counters by ids of their own, given out densely. */
#ifndef WEFT_SERVICE_COUNT_H
#define WEFT_SERVICE_COUNT_H

#include <weft/id_count.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SERVICE_COUNT_MAX (1u << 20) /* service ports and backends beyond go uncounted */

struct service_count {
	uint64_t opened;  /* new connections */
	uint64_t refused; /* of a service port: packets that found no backend, or were not let in */
};

extern struct id_counts service_counts; /* see id_count.h */

/* Control thread, before the workers start and after they have stopped. 0 or -ENOMEM. */
int service_count_init(unsigned int workers);
void service_count_fini(void);

/* Builder. 0: none left, or not initialized; that is counted nowhere. Given back a grace period after its last use. */
uint32_t service_count_take(void);
void service_count_give(uint32_t id);

/* Its worker alone. */
static inline void
service_count_add(unsigned int worker, uint32_t id, bool refused)
{
	id_counts_add(&service_counts, worker, id, refused);
}
/* Any thread: since the id was given out. */
void service_count_read(uint32_t id, struct service_count *out);

#ifdef __cplusplus
}
#endif

#endif
