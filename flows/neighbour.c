/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/neighbour.h>

#include <stdlib.h>
#include <sys/random.h>

#include <weft/clock.h>
#include <weft/rcu.h>

#include "id_pool.h"
#include "neighbour_private.h"

#define BUCKETS 4096
/* clock_passed compares by signed difference, so a time must not be left standing for 24 days. */
#define ASKED_LONG_AGO_MS 3600000u

struct neighbour *neighbour_table;
uint64_t neighbour_seed[2];

/*
 * Chains by (port, ip), followed by workers that learn. An entry taken out of its chain keeps its own link until it
 * is given out again, a grace period later. Two entries of one neighbour (asked from different sources) may exist.
 */
static uint16_t bucket[BUCKETS], link_of[WEFT_MAX_NEIGHBOURS];
static uint32_t uses[WEFT_MAX_NEIGHBOURS]; /* builder's */
static uint32_t n_given;                   /* ids up to here were given out at some time; atomic */
static struct id_pool ids = ID_POOL_INIT;

int
neighbour_init(void)
{
	size_t size = (WEFT_MAX_NEIGHBOURS + WEFT_LINK_NEIGHBOURS) * sizeof(neighbour_table[0]);
	neighbour_table = aligned_alloc(64, size);
	if (neighbour_table == NULL || id_pool_init(&ids, WEFT_MAX_NEIGHBOURS) < 0) {
		neighbour_fini();
		return -ENOMEM;
	}
	memset(neighbour_table, 0, size);
	if (getrandom(neighbour_seed, sizeof(neighbour_seed), 0) != (ssize_t)sizeof(neighbour_seed)) {
		neighbour_fini();
		return -EIO;
	}
	return 0;
}

void
neighbour_fini(void)
{
	free(neighbour_table);
	neighbour_table = NULL;
	id_pool_fini(&ids);
	memset(bucket, 0, sizeof(bucket));
	memset(link_of, 0, sizeof(link_of));
	memset(uses, 0, sizeof(uses));
	n_given = 0;
	links_forget();
}

static uint16_t *
bucket_of(uint16_t port, const struct ip *ip)
{
	return &bucket[neighbour_hash(port, ip) % BUCKETS];
}

static uint16_t
next_of(const uint16_t *link)
{
	return __atomic_load_n(link, __ATOMIC_ACQUIRE);
}

/* The next entry for (port, ip) at or after *link, or 0. */
static uint16_t
match(const uint16_t *link, uint16_t port, const struct ip *ip)
{
	uint16_t id = next_of(link);
	while (id != 0 && (neighbour_table[id].port != port || !ip_equal(&neighbour_table[id].ip, ip)))
		id = next_of(&link_of[id]);
	return id;
}

uint16_t
neighbour_find(uint16_t port, const struct ip *ip)
{
	return match(bucket_of(port, ip), port, ip);
}

static void
give_back(void *arg)
{
	uint16_t id = (uint16_t)(uintptr_t)arg;
	__atomic_store_n(&neighbour_table[id].word, word_of(NEIGHBOUR_FREE, NULL), __ATOMIC_RELAXED);
	id_pool_give(&ids, id);
}

/* Take an entry that nobody uses any more out of its chain. */
static void
drop_if_unused(void *arg)
{
	uint16_t id = (uint16_t)(uintptr_t)arg;
	if (uses[id] > 0)
		return;
	uint16_t *link = bucket_of(neighbour_table[id].port, &neighbour_table[id].ip);
	while (*link != 0 && *link != id)
		link = &link_of[*link];
	if (*link == 0)
		return; /* dropped already, by an earlier release in this txn */
	__atomic_store_n(link, link_of[id], __ATOMIC_RELEASE);
	rcu_defer(arg, give_back);
}

static void
undo_use(void *arg)
{
	uses[(uintptr_t)arg]--;
}

static void
undo_release(void *arg)
{
	uses[(uintptr_t)arg]++;
}

static uint16_t
make(uint16_t port, const struct ip *ip, const struct ip *source, uint16_t sibling)
{
	uint16_t id = (uint16_t)id_pool_take(&ids);
	if (id == 0)
		return 0;
	struct neighbour *n = &neighbour_table[id];
	n->ip = *ip;
	n->source = *source;
	n->port = port;
	n->asked = clock_ms() - NEIGHBOUR_RETRY_MS;
	n->confirmed = sibling != 0 ? __atomic_load_n(&neighbour_table[sibling].confirmed, __ATOMIC_RELAXED) : 0;
	uint64_t word = sibling != 0 ? __atomic_load_n(&neighbour_table[sibling].word, __ATOMIC_RELAXED)
				     : word_of(NEIGHBOUR_INCOMPLETE, NULL);
	__atomic_store_n(&n->word, word, __ATOMIC_RELEASE);
	uint16_t *head = bucket_of(port, ip);
	__atomic_store_n(&link_of[id], *head, __ATOMIC_RELAXED);
	__atomic_store_n(head, id, __ATOMIC_RELEASE);
	if (id > n_given)
		__atomic_store_n(&n_given, id, __ATOMIC_RELEASE);
	return id;
}

uint16_t
neighbour_use(struct txn *t, uint16_t port, const struct ip *ip, const struct ip *source)
{
	uint16_t id = match(bucket_of(port, ip), port, ip), sibling = id;
	while (id != 0 && !ip_equal(&neighbour_table[id].source, source))
		id = match(&link_of[id], port, ip);
	if (id == 0) {
		id = make(port, ip, source, sibling);
		if (id == 0)
			return 0;
		/* Undone last first: by the time it runs, every use and release of this txn has been taken back. */
		txn_on_abort(t, drop_if_unused, (void *)(uintptr_t)id);
	}
	uses[id]++;
	txn_on_abort(t, undo_use, (void *)(uintptr_t)id);
	return id;
}

void
neighbour_release(struct txn *t, uint16_t id)
{
	if (id == 0)
		return;
	assert(uses[id] > 0);
	uses[id]--;
	txn_on_abort(t, undo_release, (void *)(uintptr_t)id);
	txn_on_commit(t, drop_if_unused, (void *)(uintptr_t)id);
}

bool
neighbour_learn(uint16_t port, const struct ip *ip, const struct mac *mac, uint32_t now_ms)
{
	uint64_t word = word_of(NEIGHBOUR_REACHABLE, mac);
	uint16_t id = match(bucket_of(port, ip), port, ip);
	bool cared = id != 0;
	for (; id != 0; id = match(&link_of[id], port, ip)) {
		struct neighbour *n = &neighbour_table[id];
		/* The time first: neighbour_age must not expire what it finds reachable by it. */
		__atomic_store_n(&n->confirmed, now_ms, __ATOMIC_RELEASE);
		if (__atomic_load_n(&n->word, __ATOMIC_RELAXED) != word)
			__atomic_store_n(&n->word, word, __ATOMIC_RELEASE);
	}
	if (links_learn(port, ip, word, now_ms))
		cared = true;
	return cared;
}

bool
neighbour_should_ask(uint16_t id, uint32_t now_ms)
{
	struct neighbour *n = &neighbour_table[id];
	uint64_t word = __atomic_load_n(&n->word, __ATOMIC_ACQUIRE);
	uint32_t asked = __atomic_load_n(&n->asked, __ATOMIC_RELAXED);
	if (state_of(word) != NEIGHBOUR_INCOMPLETE && state_of(word) != NEIGHBOUR_REACHABLE)
		return false;
	if (state_of(word) == NEIGHBOUR_REACHABLE &&
	    !clock_passed(now_ms, __atomic_load_n(&n->confirmed, __ATOMIC_RELAXED), NEIGHBOUR_FRESH_MS))
		return false;
	if (!clock_passed(now_ms, asked, NEIGHBOUR_RETRY_MS))
		return false;
	return __atomic_compare_exchange_n(&n->asked, &asked, now_ms, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void
neighbour_age_one(struct neighbour *n, uint32_t now_ms)
{
	uint64_t word = __atomic_load_n(&n->word, __ATOMIC_ACQUIRE), incomplete = word_of(NEIGHBOUR_INCOMPLETE, NULL);
	uint32_t asked = __atomic_load_n(&n->asked, __ATOMIC_RELAXED);
	if (now_ms - asked > ASKED_LONG_AGO_MS && (int32_t)(now_ms - asked) > 0)
		__atomic_compare_exchange_n(&n->asked, &asked, now_ms - NEIGHBOUR_RETRY_MS, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	if (state_of(word) != NEIGHBOUR_REACHABLE)
		return;
	uint32_t confirmed = __atomic_load_n(&n->confirmed, __ATOMIC_ACQUIRE);
	if (!clock_passed(now_ms, confirmed, NEIGHBOUR_EXPIRE_MS))
		return;
	if (!__atomic_compare_exchange_n(&n->word, &word, incomplete, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		return;
	/* Learnt between the two looks, with the same MAC, so that the exchange could not tell. */
	if (__atomic_load_n(&n->confirmed, __ATOMIC_SEQ_CST) != confirmed)
		__atomic_compare_exchange_n(&n->word, &incomplete, word, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

void
neighbour_age(uint32_t now_ms)
{
	uint32_t n = __atomic_load_n(&n_given, __ATOMIC_ACQUIRE);
	for (uint32_t id = 1; id <= n; id++)
		neighbour_age_one(&neighbour_table[id], now_ms);
	links_age(now_ms);
}
