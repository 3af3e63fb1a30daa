/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers' half of the neighbour table: open addressing, a window of WINDOW places from where the address hashes to.
 *
 * An entry is claimed by compare-and-swap of its word, written, and published by a second store of the word; until then nobody looks at its
 * other fields. It leaves the other way round: GONE first, so that no lookup finds it, FREE a grace period later, when
 * no worker holds its id any more. Only the housekeeping worker takes entries away.
 */
#include <rte_branch_prediction.h>

#include <weft/clock.h>
#include <weft/rcu.h>

#include "neighbour_private.h"

#define WINDOW 8u

static uint64_t leaving_ticket; /* housekeeping worker's */
static bool leaving;

static uint16_t
place(uint32_t hash, unsigned int probe)
{
	return (uint16_t)(WEFT_MAX_NEIGHBOURS + (hash + probe) % WEFT_LINK_NEIGHBOURS);
}

static bool
found(uint64_t word)
{
	return state_of(word) == NEIGHBOUR_INCOMPLETE || state_of(word) == NEIGHBOUR_REACHABLE;
}

static bool
is_for(const struct neighbour *n, uint16_t port, const struct ip *ip)
{
	return found(__atomic_load_n(&n->word, __ATOMIC_ACQUIRE)) && n->port == port && ip_equal(&n->ip, ip);
}

/* What is known of the same neighbour by another entry holds for this one. */
static bool
claim(struct neighbour *n, uint16_t port, const struct ip *ip, const struct ip *source, const struct neighbour *sibling,
      uint32_t now_ms)
{
	uint64_t word = word_of(NEIGHBOUR_FREE, NULL), known = word_of(NEIGHBOUR_INCOMPLETE, NULL);
	if (__atomic_load_n(&n->word, __ATOMIC_RELAXED) != word ||
	    !__atomic_compare_exchange_n(&n->word, &word, word_of(NEIGHBOUR_CLAIMED, NULL), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	n->ip = *ip;
	n->source = *source;
	n->port = port;
	__atomic_store_n(&n->confirmed, sibling != NULL ? __atomic_load_n(&sibling->confirmed, __ATOMIC_RELAXED) : 0,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&n->asked, now_ms - NEIGHBOUR_RETRY_MS, __ATOMIC_RELAXED);
	__atomic_store_n(&n->used, now_ms, __ATOMIC_RELAXED);
	if (sibling != NULL && state_of(__atomic_load_n(&sibling->word, __ATOMIC_RELAXED)) == NEIGHBOUR_REACHABLE)
		known = __atomic_load_n(&sibling->word, __ATOMIC_RELAXED);
	__atomic_store_n(&n->word, known, __ATOMIC_RELEASE);
	return true;
}

uint16_t
neighbour_link(uint16_t port, const struct ip *ip, const struct ip *source, uint32_t now_ms)
{
	uint32_t hash = neighbour_hash(port, ip);
	const struct neighbour *sibling = NULL;
	for (unsigned int k = 0; k < WINDOW; k++) {
		struct neighbour *n = &neighbour_table[place(hash, k)];
		if (!is_for(n, port, ip))
			continue;
		if (unlikely(!ip_equal(&n->source, source))) {
			sibling = n;
			continue;
		}
		if (clock_passed(now_ms, __atomic_load_n(&n->used, __ATOMIC_RELAXED), 1000))
			__atomic_store_n(&n->used, now_ms, __ATOMIC_RELAXED);
		return place(hash, k);
	}
	for (unsigned int k = 0; k < WINDOW; k++)
		if (claim(&neighbour_table[place(hash, k)], port, ip, source, sibling, now_ms))
			return place(hash, k);
	return 0;
}

bool
links_learn(uint16_t port, const struct ip *ip, uint64_t word, uint32_t now_ms)
{
	uint32_t hash = neighbour_hash(port, ip);
	bool cared = false;
	for (unsigned int k = 0; k < WINDOW; k++) {
		struct neighbour *n = &neighbour_table[place(hash, k)];
		if (!is_for(n, port, ip))
			continue;
		cared = true;
		__atomic_store_n(&n->confirmed, now_ms, __ATOMIC_RELEASE);
		/* By exchange: what has just left must not come back. */
		uint64_t now = __atomic_load_n(&n->word, __ATOMIC_RELAXED);
		while (found(now) && now != word &&
		       !__atomic_compare_exchange_n(&n->word, &now, word, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			;
	}
	return cared;
}

/* Has nobody sent to it for so long that it may go? */
static bool
idle(const struct neighbour *n, uint64_t word, uint32_t now_ms)
{
	uint32_t used = __atomic_load_n(&n->used, __ATOMIC_RELAXED);
	return clock_passed(now_ms, used, state_of(word) == NEIGHBOUR_REACHABLE ? NEIGHBOUR_IDLE_MS : NEIGHBOUR_SILENT_MS);
}

static void
links_leave(uint32_t now_ms)
{
	for (unsigned int k = 0; k < WEFT_LINK_NEIGHBOURS; k++) {
		struct neighbour *n = &neighbour_table[place(0, k)];
		uint64_t word = __atomic_load_n(&n->word, __ATOMIC_ACQUIRE);
		if (!found(word))
			continue;
		neighbour_age_one(n, now_ms);
		word = __atomic_load_n(&n->word, __ATOMIC_ACQUIRE);
		if (idle(n, word, now_ms) &&
		    __atomic_compare_exchange_n(&n->word, &word, word_of(NEIGHBOUR_GONE, NULL), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			leaving = true;
	}
	if (leaving)
		leaving_ticket = rcu_start();
}

static void
links_free(void)
{
	uint64_t gone = word_of(NEIGHBOUR_GONE, NULL);
	for (unsigned int k = 0; k < WEFT_LINK_NEIGHBOURS; k++) {
		struct neighbour *n = &neighbour_table[place(0, k)];
		if (__atomic_load_n(&n->word, __ATOMIC_RELAXED) == gone)
			__atomic_store_n(&n->word, word_of(NEIGHBOUR_FREE, NULL), __ATOMIC_RELEASE);
	}
	leaving = false;
}

void
links_age(uint32_t now_ms)
{
	if (leaving && rcu_done(leaving_ticket))
		links_free();
	if (!leaving)
		links_leave(now_ms);
}

void
links_forget(void)
{
	leaving = false;
}

uint32_t
neighbour_links(void)
{
	uint32_t n = 0;
	for (unsigned int k = 0; k < WEFT_LINK_NEIGHBOURS; k++)
		n += state_of(__atomic_load_n(&neighbour_table[place(0, k)].word, __ATOMIC_RELAXED)) != NEIGHBOUR_FREE;
	return n;
}
