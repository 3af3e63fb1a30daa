/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "policy_impl.h"

const struct pmap_type atom_by_id = {offsetof(struct atom, id), sizeof(uint32_t)};
static const struct pmap_type block_by_hash = {offsetof(struct block, hash), 2 * sizeof(uint64_t)};

int
prefix_compare(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
	int c = memcmp(&x->ip, &y->ip, sizeof(x->ip));
	return c != 0 ? c : (int)x->len - (int)y->len;
}

uint32_t
prefix_sort(struct prefix *v, uint32_t n)
{
	uint32_t kept = 0;
	bool sorted = true;
	for (uint32_t i = 1; i < n && sorted; i++)
		sorted = prefix_compare(&v[i - 1], &v[i]) < 0;
	if (sorted)
		return n;
	qsort(v, n, sizeof(*v), prefix_compare);
	for (uint32_t i = 0; i < n; i++) {
		if (kept == 0 || prefix_compare(&v[kept - 1], &v[i]) != 0)
			v[kept++] = v[i];
	}
	return kept;
}

static uint32_t
position(const uint32_t *v, uint32_t n, uint32_t at)
{
	uint32_t lo = 0, hi = n;
	if (n != 0 && v[n - 1] < at)
		return n;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (v[mid] < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* A private copy of what is at the prefix, with room for `need`, put in its place. */
static struct atoms_at *
writable(struct policy_network *net, struct txn *t, const struct prefix *key, const struct atoms_at *old, uint32_t need)
{
	if (old != NULL && need <= old->room && txn_owns(t, old))
		return (struct atoms_at *)(uintptr_t)old;
	uint32_t room = need <= 8 ? 8 : need + need / 2;
	struct atoms_at *out = txn_alloc(t, sizeof(*out) + room * sizeof(out->v[0]));
	out->key = *key;
	out->room = room;
	if (old != NULL) {
		out->n = old->n;
		memcpy(out->v, old->v, old->n * sizeof(old->v[0]));
	}
	prefix_tree_put(&net->atoms, t, out);
	discard(t, old);
	return out;
}

bool
atom_mark(struct policy_tables *p, struct txn *t, uint32_t network, const struct prefix *prefix, uint32_t at)
{
	struct policy_network *net = policy_network_own(p, t, network);
	const struct atoms_at *old = prefix_tree_get(&net->atoms, prefix);
	uint32_t n = old != NULL ? old->n : 0, i = n != 0 ? position(old->v, n, at) : 0;
	if (i < n && old->v[i] == at)
		return false;
	struct atoms_at *a = writable(net, t, prefix, old, n + 1);
	memmove(&a->v[i + 1], &a->v[i], (n - i) * sizeof(a->v[0]));
	a->v[i] = at;
	a->n = n + 1;
	return true;
}

bool
atom_unmark(struct policy_tables *p, struct txn *t, uint32_t network, const struct prefix *prefix, uint32_t at)
{
	const struct policy_network *found = policy_network_find(p, network);
	const struct atoms_at *old = found != NULL ? prefix_tree_get(&found->atoms, prefix) : NULL;
	uint32_t n = old != NULL ? old->n : 0, i = n != 0 ? position(old->v, n, at) : 0;
	if (i == n || old->v[i] != at)
		return false;
	struct policy_network *net = policy_network_own(p, t, network);
	if (n == 1) {
		discard(t, prefix_tree_remove(&net->atoms, t, prefix));
		policy_network_forget(p, t, network);
		return true;
	}
	struct atoms_at *a = writable(net, t, &old->key, old, n);
	memmove(&a->v[i], &a->v[i + 1], (n - i - 1) * sizeof(a->v[0]));
	a->n = n - 1;
	return true;
}

static struct atom *
atom_own(struct policy_tables *p, struct txn *t, uint32_t id)
{
	struct policy_more *m = policy_more(p, t);
	const struct atom *a = pmap_find(&m->atom, &atom_by_id, &id);
	if (txn_owns(t, a))
		return (struct atom *)(uintptr_t)a;
	struct atom *out = txn_alloc(t, sizeof(*out));
	*out = *a;
	pmap_put(&m->atom, &atom_by_id, t, out);
	discard(t, a);
	return out;
}

static struct atom *
atom_new(struct policy_tables *p, struct txn *t)
{
	struct policy_more *m = policy_more(p, t);
	struct atom *a = txn_alloc(t, sizeof(*a));
	a->id = id_take(&m->atoms, t, 0);
	pmap_put(&m->atom, &atom_by_id, t, a);
	return a;
}

/* The atom of a set, used or not. */
uint32_t
atom_of_set(struct policy_tables *p, struct txn *t, struct address_set *s)
{
	if (s->atom == 0) {
		struct atom *a = atom_new(p, t);
		char *name = txn_alloc(t, NAME_SIZE);
		memcpy(name, s->name, NAME_SIZE);
		a->set = name;
		s->atom = a->id;
	}
	return s->atom;
}

uint32_t
atom_use_set(struct policy_tables *p, struct txn *t, const char *name)
{
	uint32_t id = atom_of_set(p, t, address_set_own(p, t, name));
	atom_own(p, t, id)->uses++;
	return id;
}

static struct block *
block_new(struct txn *t, uint32_t network, const struct spec_peer *peer)
{
	struct block *b = txn_alloc(t, sizeof(*b) + peer->except.n * sizeof(b->except[0]));
	b->network = network;
	b->cidr.ip = ip_masked(&peer->cidr.ip, peer->cidr.len);
	b->cidr.len = peer->cidr.len;
	for (uint32_t i = 0; i < peer->except.n; i++) {
		const struct prefix *except = &peer->except.v[i];
		b->except[i].ip = ip_masked(&except->ip, except->len);
		b->except[i].len = except->len;
	}
	b->n_except = prefix_sort(b->except, peer->except.n);
	for (int half = 0; half < 2; half++) {
		uint64_t h = mix64_add((uint64_t)half + 1, network);
		h = mix64_add(mix64_bytes(h, &b->cidr.ip, sizeof(b->cidr.ip)), b->cidr.len);
		for (uint32_t i = 0; i < b->n_except; i++)
			h = mix64_add(mix64_bytes(h, &b->except[i].ip, sizeof(b->except[i].ip)), b->except[i].len);
		b->hash[half] = h;
	}
	return b;
}

static bool
block_equal(const struct block *a, const struct block *b)
{
	bool equal = a->network == b->network && prefix_compare(&a->cidr, &b->cidr) == 0 && a->n_except == b->n_except;
	for (uint32_t i = 0; i < a->n_except && equal; i++)
		equal = prefix_compare(&a->except[i], &b->except[i]) == 0;
	return equal;
}

uint32_t
atom_use_block(struct policy_tables *p, struct txn *t, uint32_t network, const struct spec_peer *peer)
{
	struct policy_more *m = policy_more(p, t);
	struct block *b = block_new(t, network, peer);
	const struct block *old = pmap_find(&m->block, &block_by_hash, b->hash);
	if (old != NULL && block_equal(old, b)) {
		txn_discard(t, b);
		atom_own(p, t, old->atom)->uses++;
		return old->atom;
	}
	struct atom *a = atom_new(p, t);
	a->uses = 1;
	a->block = b;
	b->atom = a->id;
	b->interned = old == NULL;
	if (b->interned)
		pmap_put(&m->block, &block_by_hash, t, b);
	atom_mark(p, t, network, &b->cidr, AT(a->id, 1, 0));
	for (uint32_t i = 0; i < b->n_except; i++)
		atom_mark(p, t, network, &b->except[i], AT(a->id, 1, 1));
	return a->id;
}

static void
block_free(struct policy_tables *p, struct txn *t, const struct block *b)
{
	if (b->interned)
		pmap_remove(&policy_more(p, t)->block, &block_by_hash, t, b->hash);
	atom_unmark(p, t, b->network, &b->cidr, AT(b->atom, 1, 0));
	for (uint32_t i = 0; i < b->n_except; i++)
		atom_unmark(p, t, b->network, &b->except[i], AT(b->atom, 1, 1));
	discard(t, b);
}

/* An atom that nothing refers to any more. */
void
atom_free(struct policy_tables *p, struct txn *t, uint32_t id)
{
	struct policy_more *m = policy_more(p, t);
	struct atom *a = pmap_remove(&m->atom, &atom_by_id, t, &id);
	discard(t, a->set);
	txn_discard(t, a);
	id_give(&m->atoms, t, id);
}

void
atom_release(struct policy_tables *p, struct txn *t, uint32_t id)
{
	if (id == ATOM_ANY)
		return;
	struct atom *a = atom_own(p, t, id);
	if (--a->uses != 0)
		return;
	if (a->set != NULL) {
		address_set_forget(p, t, a->set);
		return;
	}
	block_free(p, t, a->block);
	atom_free(p, t, id);
}

bool
atom_in_use(const struct policy_tables *p, uint32_t id)
{
	const struct policy_more *m = p->more;
	const struct atom *a = m != NULL ? pmap_find(&m->atom, &atom_by_id, &id) : NULL;
	return a != NULL && a->uses != 0;
}
