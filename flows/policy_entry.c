/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_impl.h"

const struct pmap_type entry_by_key = {offsetof(struct entry, key), sizeof(struct entry_key)};
const struct pmap_type group_atom_by_id = {offsetof(struct group_atom, atom), sizeof(uint32_t)};

static_assert(sizeof(struct entry_key) == 12, "no padding in a key");

int
rule_compare(const struct rule *a, const struct rule *b)
{
	if (a->head->id != b->head->id)
		return strcmp(a->head->name, b->head->name);
	return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static struct candidate
candidate_of(const struct rule *r)
{
	const struct policy_head *h = r->head;
	return (struct candidate){
		.rule = r,
		.priority = h->tier == TIER_NETWORK ? 0 : h->priority, /* NetworkPolicy has none */
		.lane = LANE(h->tier, h->enforce),
		.action = r->action,
	};
}

static bool
before(const struct candidate *a, const struct candidate *b)
{
	return a->lane != b->lane ? a->lane < b->lane : candidate_before(a, b);
}

/* Where `c` is, or would be. Rules mostly come in their order: the end is tried first. */
static uint32_t
position(const struct entry *e, const struct candidate *c)
{
	uint32_t lo = 0, hi = e->n;
	if (hi != 0 && before(&e->c[hi - 1], c))
		return hi;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (before(&e->c[mid], c))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct entry *
writable(struct txn *t, struct group *g, const struct entry_key *key, const struct entry *old, uint32_t need)
{
	if (old != NULL && need <= old->room && txn_owns(t, old))
		return (struct entry *)(uintptr_t)old;
	uint32_t room = need == 1 ? 1 : need + need / 2;
	struct entry *out = txn_alloc(t, sizeof(*out) + room * sizeof(out->c[0]));
	out->key = *key;
	out->room = room;
	if (old != NULL) {
		out->n = old->n;
		memcpy(out->c, old->c, old->n * sizeof(old->c[0]));
	}
	pmap_put(&g->entries, &entry_by_key, t, out);
	discard(t, old);
	return out;
}

static struct group_atom *
writable_atom(struct txn *t, struct group *g, uint32_t atom, const struct group_atom *old, uint32_t need)
{
	if (old != NULL && need <= old->room && txn_owns(t, old))
		return (struct group_atom *)(uintptr_t)old;
	uint32_t room = need <= 6 ? 6 : need + need / 2;
	struct group_atom *out = txn_alloc(t, sizeof(*out) + room * sizeof(out->v[0]));
	out->atom = atom;
	out->room = room;
	if (old != NULL) {
		out->n = old->n;
		memcpy(out->v, old->v, old->n * sizeof(old->v[0]));
	}
	pmap_put(&g->atoms, &group_atom_by_id, t, out);
	discard(t, old);
	return out;
}

static uint32_t
find_shape(const struct group_atom *a, const struct on *on)
{
	uint32_t i = 0;
	while (i < a->n && (a->v[i].kind != on->kind || a->v[i].protocol != on->protocol))
		i++;
	return i;
}

static void
shape_add(struct txn *t, struct group *g, const struct entry_key *key)
{
	const struct group_atom *old = pmap_find(&g->atoms, &group_atom_by_id, &key->atom);
	uint32_t n = old != NULL ? old->n : 0, i = old != NULL ? find_shape(old, &key->on) : 0;
	struct group_atom *a = writable_atom(t, g, key->atom, old, i == n ? n + 1 : n);
	if (i == n)
		a->v[a->n++] = (struct shape){0, key->on.protocol, key->on.kind};
	a->v[i].count++;
}

static void
shape_remove(struct txn *t, struct group *g, const struct entry_key *key)
{
	const struct group_atom *old = pmap_find(&g->atoms, &group_atom_by_id, &key->atom);
	struct group_atom *a = writable_atom(t, g, key->atom, old, old->n);
	uint32_t i = find_shape(a, &key->on);
	if (--a->v[i].count != 0)
		return;
	a->v[i] = a->v[--a->n];
	if (a->n == 0)
		discard(t, pmap_remove(&g->atoms, &group_atom_by_id, t, &key->atom));
}

static void
put_candidate(struct txn *t, struct group *g, const struct entry_key *key, const struct candidate *c)
{
	const struct entry *old = pmap_find(&g->entries, &entry_by_key, key);
	uint32_t n = old != NULL ? old->n : 0;
	struct entry *e = writable(t, g, key, old, n + 1);
	if (n == 0)
		shape_add(t, g, key);
	uint32_t i = position(e, c);
	memmove(&e->c[i + 1], &e->c[i], (n - i) * sizeof(e->c[0]));
	e->c[i] = *c;
	e->n = n + 1;
}

static void
remove_candidate(struct txn *t, struct group *g, const struct entry_key *key, const struct candidate *c)
{
	const struct entry *old = pmap_find(&g->entries, &entry_by_key, key);
	if (old->n == 1) {
		shape_remove(t, g, key);
		discard(t, pmap_remove(&g->entries, &entry_by_key, t, key));
		return;
	}
	struct entry *e = writable(t, g, key, old, old->n);
	uint32_t i = position(e, c);
	memmove(&e->c[i], &e->c[i + 1], (e->n - i - 1) * sizeof(e->c[0]));
	e->n--;
}

static void
each_entry(struct txn *t, struct group *g, const struct rule *r,
	   void (*fn)(struct txn *t, struct group *g, const struct entry_key *key, const struct candidate *c))
{
	struct candidate c = candidate_of(r);
	for (uint32_t i = 0; i < r->n_atoms; i++) {
		for (uint32_t j = 0; j < r->n_ons; j++) {
			struct entry_key key = {r->atoms[i], r->ons[j]};
			fn(t, g, &key, &c);
		}
	}
}

void
group_entries_put(struct txn *t, struct group *g, const struct rule *r)
{
	each_entry(t, g, r, put_candidate);
}

void
group_entries_remove(struct txn *t, struct group *g, const struct rule *r)
{
	each_entry(t, g, r, remove_candidate);
}

static int
discard_value(const void *value, void *arg)
{
	discard(arg, value);
	return 0;
}

void
group_entries_clear(struct txn *t, struct group *g)
{
	struct pmap entries = g->entries, atoms = g->atoms;
	pmap_walk(&entries, discard_value, t);
	pmap_walk(&atoms, discard_value, t);
	pmap_clear(&g->entries, t);
	pmap_clear(&g->atoms, t);
}
