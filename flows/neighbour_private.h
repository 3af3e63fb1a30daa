/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the neighbour table share: neighbour.c (the builder's entries), neighbour_link.c (the workers'). */
#ifndef WEFT_FLOWS_NEIGHBOUR_PRIVATE_H
#define WEFT_FLOWS_NEIGHBOUR_PRIVATE_H

#include <weft/neighbour.h>

#include "mix.h"

static inline uint64_t
word_of(enum neighbour_state state, const struct mac *mac)
{
	uint64_t w = state;
	for (int i = 0; i < 6; i++)
		w = w << 8 | (mac != NULL ? mac->b[i] : 0);
	return w;
}

static inline enum neighbour_state
state_of(uint64_t word)
{
	return (enum neighbour_state)(word >> 48);
}

/* neighbour.c: secret, of this process. Pods choose the addresses that are looked up: they must not choose who shares a
 * place. */
extern uint64_t neighbour_seed[2];

static inline uint32_t
neighbour_hash(uint16_t port, const struct ip *ip)
{
	uint64_t h = mix64_add(neighbour_seed[0] ^ port, ip->q[0]);
	return (uint32_t)mix64_add(h, ip->q[1] ^ neighbour_seed[1]);
}

/* neighbour.c */
void neighbour_age_one(struct neighbour *n, uint32_t now_ms);

/* neighbour_link.c */
bool links_learn(uint16_t port, const struct ip *ip, uint64_t word, uint32_t now_ms);
void links_age(uint32_t now_ms);
void links_forget(void);

#endif
