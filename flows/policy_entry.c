/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_impl.h"

const struct pmap_type bundle_by_atom = {offsetof(struct bundle, key) + offsetof(struct lpm_key, network),
					 sizeof(uint32_t)};

static struct candidate
candidate_of(const struct rule *r)
{
	const struct policy_head *h = r->head;
	return (struct candidate){
		.rule = r,
		.id = r->id,
		.lane = LANE(h->tier, h->enforce),
		.action = r->action,
		.connection_semantics = h->connection_semantics,
		.log = h->log,
	};
}

/* One place of a group that a rule speaks of. The key of every peer and of an atom has a length that no block has. */
#define LEN_ATOM 0xff

static const struct bundle *
place_find(const struct group *g, const struct lpm_key *key)
{
	if (key->len == LEN_ATOM)
		return key->network == ATOM_ANY ? g->any : pmap_find(&g->atoms, &bundle_by_atom, &key->network);
	struct prefix block = {.ip = key->ip, .len = key->len};
	return lpm_get(&g->blocks, key->network, &block);
}

static void
place_put(struct txn *t, struct group *g, const struct lpm_key *key, const struct bundle *b)
{
	if (key->len != LEN_ATOM)
		lpm_put(&g->blocks, t, b);
	else if (key->network != ATOM_ANY)
		pmap_put(&g->atoms, &bundle_by_atom, t, b);
	else
		g->any = b;
}

static void
place_remove(struct txn *t, struct group *g, const struct lpm_key *key)
{
	struct prefix block = {.ip = key->ip, .len = key->len};
	if (key->len != LEN_ATOM)
		lpm_remove(&g->blocks, t, key->network, &block);
	else if (key->network != ATOM_ANY)
		pmap_remove(&g->atoms, &bundle_by_atom, t, &key->network);
	else
		g->any = NULL;
}

static void
put_at(struct txn *t, struct group *g, const struct rule *r, const struct lpm_key *key)
{
	struct candidate c = candidate_of(r);
	for (uint32_t i = 0; i < r->n_ons; i++) {
		const struct bundle *old = place_find(g, key), *b = bundle_put(old, t, key, &r->ons[i], &c);
		if (b == old)
			continue;
		place_put(t, g, key, b);
		discard(t, old);
	}
}

static void
remove_at(struct txn *t, struct group *g, const struct rule *r, const struct lpm_key *key)
{
	struct candidate c = candidate_of(r);
	for (uint32_t i = 0; i < r->n_ons; i++) {
		const struct bundle *old = place_find(g, key), *b = bundle_remove(old, t, &r->ons[i], &c);
		if (b == old)
			continue;
		if (b != NULL)
			place_put(t, g, key, b);
		else
			place_remove(t, g, key);
		discard(t, old);
	}
}

static void
each_place(struct txn *t, struct group *g, const struct rule *r,
	   void (*fn)(struct txn *t, struct group *g, const struct rule *r, const struct lpm_key *key))
{
	for (uint32_t i = 0; i < r->n_atoms; i++) {
		struct lpm_key key = {.network = r->atoms[i], .len = LEN_ATOM};
		fn(t, g, r, &key);
	}
	for (uint32_t i = 0; i < r->n_blocks; i++) {
		struct lpm_key key = {.ip = r->blocks[i].ip, .network = r->head->network, .len = r->blocks[i].len};
		fn(t, g, r, &key);
	}
}

void
group_entries_put(struct txn *t, struct group *g, const struct rule *r)
{
	each_place(t, g, r, put_at);
}

void
group_entries_remove(struct txn *t, struct group *g, const struct rule *r)
{
	each_place(t, g, r, remove_at);
}

static int
free_value(const void *value, void *arg)
{
	bundle_free(value, arg);
	return 0;
}

void
group_entries_clear(struct txn *t, struct group *g)
{
	bundle_free(g->any, t);
	pmap_walk(&g->atoms, free_value, t);
	pmap_clear(&g->atoms, t);
	pmap_walk(&g->blocks.map, free_value, t);
	pmap_clear(&g->blocks.map, t);
}
