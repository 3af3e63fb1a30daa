/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_impl.h"

const struct pmap_type bundle_by_atom = {offsetof(struct bundle, key.ip.w[0]), sizeof(uint32_t)};

static struct candidate
candidate_of(const struct rule *r, const struct on *on)
{
	const struct policy_head *h = r->head;
	return (struct candidate){
		.rule = r,
		.rank = r->rank,
		.id = r->id,
		.policy = h->id,
		.value = on->value,
		.protocol = on->protocol,
		.kind = on->kind,
		.lane = LANE(h->tier, h->enforce),
		.action = r->action & 3,
		.connection_semantics = h->connection_semantics,
		.log = h->log,
	};
}

/* One place of a group that a rule speaks of: every peer, an atom or a block. */
static const struct bundle *
place_find(const struct group *g, const struct prefix *key)
{
	if (key->len != LEN_ATOM)
		return prefix_tree_get(&g->blocks, key);
	return key->ip.w[0] == ATOM_ANY ? g->any : pmap_find(&g->atoms, &bundle_by_atom, &key->ip.w[0]);
}

static void
place_put(struct txn *t, struct group *g, const struct bundle *b)
{
	if (b->key.len != LEN_ATOM)
		prefix_tree_put(&g->blocks, t, b);
	else if (b->key.ip.w[0] != ATOM_ANY)
		pmap_put(&g->atoms, &bundle_by_atom, t, b);
	else
		g->any = b;
}

static void
place_remove(struct txn *t, struct group *g, const struct prefix *key)
{
	if (key->len != LEN_ATOM)
		prefix_tree_remove(&g->blocks, t, key);
	else if (key->ip.w[0] != ATOM_ANY)
		pmap_remove(&g->atoms, &bundle_by_atom, t, &key->ip.w[0]);
	else
		g->any = NULL;
}

static void
put_at(struct txn *t, struct group *g, const struct rule *r, const struct prefix *key)
{
	for (uint32_t i = 0; i < r->n_ons; i++) {
		struct candidate c = candidate_of(r, &r->ons[i]);
		const struct bundle *old = place_find(g, key), *b = bundle_put(old, t, key, &c);
		if (b == old)
			continue;
		place_put(t, g, b);
		discard(t, old);
	}
}

static void
remove_at(struct txn *t, struct group *g, const struct rule *r, const struct prefix *key)
{
	for (uint32_t i = 0; i < r->n_ons; i++) {
		struct candidate c = candidate_of(r, &r->ons[i]);
		const struct bundle *old = place_find(g, key), *b = bundle_remove(old, t, &c);
		if (b == old)
			continue;
		if (b != NULL)
			place_put(t, g, b);
		else
			place_remove(t, g, key);
		discard(t, old);
	}
}

static void
each_place(struct txn *t, struct group *g, const struct rule *r,
	   void (*fn)(struct txn *t, struct group *g, const struct rule *r, const struct prefix *key))
{
	for (uint32_t i = 0; i < r->n_atoms; i++) {
		struct prefix key = {.ip.w[0] = r->atoms[i], .len = LEN_ATOM};
		fn(t, g, r, &key);
	}
	for (uint32_t i = 0; i < r->n_blocks; i++)
		fn(t, g, r, &r->blocks[i]);
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
	prefix_tree_clear(&g->blocks, t, free_value, t);
}
