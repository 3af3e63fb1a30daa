/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generations: how a worker knows, without asking anybody, that what it decided still stands.
 *
 * Every object that decisions depend on (an endpoint, a VTEP of a network, a service, "no route in this network") owns a slot;
 * a change that could alter a decision made from the object bumps its slot. A connection remembers up to three slots and
 * the sum of their generations at the time. Generations only grow, so an equal sum means that none has moved.
 *
 * Slot 0 is "depends on nothing" and never moves. A slot that is freed and given out again keeps counting.
 *
 * Order (this is what makes "the next packet obeys" true): the builder publishes the new root FIRST and bumps the slots
 * AFTER. A worker that decides reads the sum first, decides by its root, then checks that its root is still the
 * current one; if it is not, the decision serves this one packet and is stamped 0, which no sum equals.
 */
#ifndef WEFT_GENERATION_H
#define WEFT_GENERATION_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GENERATION_DEPS 3
#define STAMP_NONE 0u /* never valid */

extern uint32_t *generation_table; /* WEFT_MAX_SLOTS entries, each starts at 1; slot 0 too */

int generation_init(void); /* 0 or -ENOMEM; once, before the workers */
void generation_fini(void);

/* Builder thread. A slot, or 0 when none is left. generation_free bumps it. */
uint32_t generation_alloc(void);
void generation_free(uint32_t slot);

/* Builder thread, after the root is published. */
void generation_bump(uint32_t slot);

/* Any worker. Never STAMP_NONE. */
static inline uint32_t
generation_sum(const uint32_t dep[GENERATION_DEPS])
{
	uint32_t sum = __atomic_load_n(&generation_table[dep[0]], __ATOMIC_ACQUIRE) +
		       __atomic_load_n(&generation_table[dep[1]], __ATOMIC_ACQUIRE) +
		       __atomic_load_n(&generation_table[dep[2]], __ATOMIC_ACQUIRE);
	return sum | (sum == STAMP_NONE);
}

#ifdef __cplusplus
}
#endif

#endif
