/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may open one more connection, and who makes room for it (conn.h says why). Owners are counted one by one, and by
 * the power of two that they have reached, so that the fair share is found without looking at all of them.
 */
#include "conn_internal.h"

#include <stdlib.h>

/* Entries that are looked at to find one that may go, whatever the size of the table. */
#define SAMPLE 16u
/* What an opener takes from a table that is nearly full is given back twofold, until it is not. */
#define ROOM 2u

/* Who may be closed to make room: those of any owner, or only of the clients of one, who holds `share` or more. */
struct eviction {
	uint32_t slot; /* 0: any owner */
	uint32_t share;
	unsigned int wanted;
	bool answered; /* not only those that were never answered */
	uint32_t now_s;
};

int
quota_init(struct conn_table *t, uint32_t per_owner)
{
	t->quota.per_owner = per_owner;
	t->quota.reserve = t->capacity / 16;
	t->quota.per_many = per_owner != 0 ? per_owner : t->capacity - t->quota.reserve;
	/* Workers tell in lots what they took: one by one where the table is so small that it would matter. */
	uint32_t lot = t->capacity >> 16;
	t->quota.lot = lot < 1 ? 1 : lot > 32 ? 32 : (int32_t)lot;
	t->quota.owners.used = calloc(WEFT_MAX_SLOTS, sizeof(uint32_t));
	t->quota.clients.used = calloc(CONN_CLIENTS + 1, sizeof(uint32_t));
	if (t->quota.owners.used != NULL && t->quota.clients.used != NULL)
		return 0;
	quota_fini(t);
	return -ENOMEM;
}

void
quota_fini(struct conn_table *t)
{
	free(t->quota.owners.used);
	free(t->quota.clients.used);
}

void
quota_note(struct conn_table *t, unsigned int worker, enum quota_count of, int32_t n)
{
	int32_t *untold = &t->worker[worker].untold[of];
	*untold += n;
	if (*untold < t->quota.lot && *untold > -t->quota.lot)
		return;
	__atomic_fetch_add(&t->quota.count[of], *untold, __ATOMIC_RELAXED);
	*untold = 0;
}

static inline int64_t
left(const struct conn_table *t, enum quota_count of)
{
	return (int64_t)t->capacity - __atomic_load_n(&t->quota.count[of], __ATOMIC_RELAXED);
}

static inline unsigned int
bin_of(uint32_t n)
{
	return 31u - (unsigned int)__builtin_clz(n);
}

static inline bool
is_power(uint32_t n)
{
	return (n & (n - 1)) == 0;
}

static uint32_t
slot_of(uint32_t owner)
{
	return owner & ((1u << OWNER_CLIENT_SHIFT) - 1);
}

static uint32_t
client_of(uint32_t owner)
{
	return owner >> OWNER_CLIENT_SHIFT;
}

/* Returns how many he has with this one. 0 is nobody. */
static uint32_t
enter(struct holders *h, uint32_t who)
{
	if (who == 0)
		return 0;
	uint32_t n = __atomic_add_fetch(&h->used[who], 1, __ATOMIC_RELAXED);
	if (is_power(n)) {
		__atomic_fetch_add(&h->bin[bin_of(n)], 1, __ATOMIC_RELAXED);
		if (n > 1)
			__atomic_fetch_sub(&h->bin[bin_of(n) - 1], 1, __ATOMIC_RELAXED);
	}
	return n;
}

static void
leave(struct holders *h, uint32_t who)
{
	if (who == 0)
		return;
	uint32_t n = __atomic_fetch_sub(&h->used[who], 1, __ATOMIC_RELAXED);
	if (is_power(n)) {
		__atomic_fetch_sub(&h->bin[bin_of(n)], 1, __ATOMIC_RELAXED);
		if (n > 1)
			__atomic_fetch_add(&h->bin[bin_of(n) - 1], 1, __ATOMIC_RELAXED);
	}
}

void
quota_leave(struct conn_table *t, uint32_t owner)
{
	leave(&t->quota.owners, slot_of(owner));
	leave(&t->quota.clients, client_of(owner));
}

static uint32_t
used_by(const struct holders *h, uint32_t who)
{
	return __atomic_load_n(&h->used[who], __ATOMIC_RELAXED);
}

/*
 * The most that everybody may hold of `all` without it being too little: whoever holds more has what others lack. A
 * power of two, and never more than the greatest holder has.
 */
static uint32_t
fair_share(const struct holders *h, uint32_t all)
{
	uint64_t below[32], holders = 0, sum = 0;
	unsigned int top = 0;
	uint32_t n[32];
	for (unsigned int b = 0; b < 32; b++) {
		uint32_t v = __atomic_load_n(&h->bin[b], __ATOMIC_RELAXED);
		n[b] = v < WEFT_MAX_SLOTS ? v : 0; /* a moment's negative */
		below[b] = sum;
		sum += n[b] * (3ull << b) / 2;
		if (n[b] != 0)
			top = b;
	}
	for (unsigned int b = top;; b--) {
		holders += n[b];
		if (b == 0 || below[b] + (holders << b) <= all)
			return 1u << b;
	}
}

/* Closed by nobody but us, and by us only when no packet has come since we looked. */
static bool
evict(struct conn_table *t, unsigned int worker, uint32_t id, uint32_t seen)
{
	if (!__atomic_compare_exchange_n(&t->view.half[2 * id].seen, &seen, seen | SEEN_CLOSED, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return false;
	conn_bury(t, worker, id);
	count(&t->worker[worker].evicted);
	return true;
}

static bool
may_go(const struct conn_table *t, const struct eviction *e, uint32_t id)
{
	uint32_t owner = __atomic_load_n(&t->view.cold[id].owner, __ATOMIC_RELAXED);
	if (e->slot == 0)
		return slot_of(owner) != 0 && used_by(&t->quota.owners, slot_of(owner)) >= e->share;
	return slot_of(owner) == e->slot && used_by(&t->quota.clients, client_of(owner)) >= e->share;
}

static uint32_t
draw(struct conn_worker *w, uint32_t below)
{
	w->dice = w->dice * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((w->dice >> 32) * below >> 32);
}

/* Returns how many went: those that were never answered first, otherwise the one that was idle for longest. */
static unsigned int
make_room(struct conn_table *t, unsigned int worker, const struct eviction *e)
{
	uint32_t id[SAMPLE], last = id_end(t) - 1, idlest = 0, idlest_seen = 0;
	unsigned int gone = 0;
	int32_t longest = -1;
	if (last == 0)
		return 0;
	for (unsigned int i = 0; i < SAMPLE; i++) {
		id[i] = 1 + draw(&t->worker[worker], last);
		__builtin_prefetch(&t->view.half[2 * id[i]].seen);
		__builtin_prefetch(&t->view.cold[id[i]].owner);
	}
	for (unsigned int i = 0; i < SAMPLE && gone < e->wanted; i++) {
		uint32_t seen = __atomic_load_n(&t->view.half[2 * id[i]].seen, __ATOMIC_ACQUIRE);
		if (!seen_is_live(seen) || !may_go(t, e, id[i]))
			continue;
		int32_t idle = seconds_since(e->now_s, seen & SEEN_SECONDS);
		if (!(__atomic_load_n(&t->view.cold[id[i]].flags, __ATOMIC_RELAXED) & CONN_ANSWERED)) {
			gone += evict(t, worker, id[i], seen);
		} else if (idle > longest) {
			longest = idle;
			idlest = id[i];
			idlest_seen = seen;
		}
	}
	if (gone == 0 && e->answered && idlest != 0)
		gone += evict(t, worker, idlest, idlest_seen);
	return gone;
}

/* The last of the table. Ids come back after a grace period only: even who replaces his own takes one for that long. */
static int
admit_to_reserve(struct conn_table *t, unsigned int worker, uint32_t n, const struct eviction *own)
{
	int64_t reserve = t->quota.reserve, ids = left(t, QUOTA_IDS);
	bool crowded = left(t, QUOTA_LIVE) <= reserve;
	struct eviction others = {.share = fair_share(&t->quota.owners, t->capacity),
				  .wanted = ROOM,
				  .answered = ids <= reserve / 2,
				  .now_s = own->now_s};
	if (n <= others.share) {
		if (crowded)
			make_room(t, worker, &others);
		return 0;
	}
	return ids <= reserve / 2 || (crowded && make_room(t, worker, own) == 0) ? -ENOSPC : 0;
}

/* A client with `mine`, this one included: whom he may replace among all clients of his owner. Returns his fair share.
 */
static uint32_t
rank_client(const struct conn_quota *q, uint32_t mine, struct eviction *own)
{
	uint32_t share = fair_share(&q->clients, q->per_many);
	own->answered = mine <= share;
	own->share = mine <= share ? share : mine / 2;
	return share;
}

/* An owner that is many has `n`, this one included. */
static int
admit_client(struct conn_table *t, unsigned int worker, uint32_t n, uint32_t mine, struct eviction *own)
{
	const struct conn_quota *q = &t->quota;
	uint32_t reserve = q->per_many / 16;
	if (n + reserve <= q->per_many)
		return 0;
	bool modest = mine <= rank_client(q, mine, own);
	own->wanted = modest ? ROOM : 1;
	bool made = make_room(t, worker, own) > 0;
	return made || (modest && n <= q->per_many) ? 0 : -EDQUOT;
}

int
quota_admit(struct conn_table *t, unsigned int worker, uint32_t owner, uint32_t now_ms)
{
	struct conn_quota *q = &t->quota;
	struct eviction own = {.slot = slot_of(owner), .wanted = 1, .now_s = now_ms / 1000};
	uint32_t n = enter(&q->owners, slot_of(owner)), mine = enter(&q->clients, client_of(owner));
	int rc = 0;
	if (mine != 0)
		rc = admit_client(t, worker, n, mine, &own);
	else if (q->per_owner != 0 && n > q->per_owner && make_room(t, worker, &own) == 0)
		rc = -EDQUOT;
	if (rc == 0 && left(t, QUOTA_IDS) <= (int64_t)q->reserve) { /* which includes what lives */
		if (mine != 0)
			rank_client(q, mine, &own);
		rc = admit_to_reserve(t, worker, n, &own);
	}
	if (rc != 0)
		quota_leave(t, owner);
	return rc;
}

uint32_t
conn_owner_used(const struct conn_table *t, uint32_t slot)
{
	uint32_t n = slot < WEFT_MAX_SLOTS ? used_by(&t->quota.owners, slot) : 0;
	return n <= t->capacity ? n : 0;
}

uint32_t
conn_owner(const struct conn_table *t, uint32_t slot, const struct ip *client)
{
	struct tuple key;
	memset(&key, 0, sizeof(key));
	key.src = *client;
	if (!ip_is4(client))
		key.src.q[1] = 0;
	uint32_t share = 1 + (uint32_t)((uint64_t)conn_hash(t, &key) * CONN_CLIENTS >> 32);
	return share << OWNER_CLIENT_SHIFT | slot;
}
