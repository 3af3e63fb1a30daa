/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_impl.h"

const struct pmap_type entry_by_on = {offsetof(struct entry, on), sizeof(struct on)};

static_assert(sizeof(struct on) == 8, "no padding in a key");

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
entry_writable(struct txn *t, struct spill *s, const struct on *on, const struct entry *old, uint32_t need)
{
	if (old != NULL && need <= old->room && txn_owns(t, old))
		return (struct entry *)(uintptr_t)old;
	uint32_t room = need <= 3 ? 3 : need + need / 2;
	struct entry *out = txn_alloc(t, sizeof(*out) + room * sizeof(out->c[0]));
	out->on = *on;
	out->room = room;
	if (old != NULL) {
		out->n = old->n;
		memcpy(out->c, old->c, old->n * sizeof(old->c[0]));
	}
	pmap_put(&s->entries, &entry_by_on, t, out);
	discard(t, old);
	return out;
}

static uint32_t
find_shape(const struct spill *s, const struct on *on)
{
	uint32_t i = 0;
	while (i < s->n && (s->v[i].kind != on->kind || s->v[i].protocol != on->protocol))
		i++;
	return i;
}

static struct spill *
spill_writable(struct txn *t, struct bundle *b, uint32_t need)
{
	const struct spill *old = b->spill;
	if (old != NULL && need <= old->room && txn_owns(t, old))
		return (struct spill *)(uintptr_t)old;
	uint32_t room = need + need / 2 + 2;
	struct spill *out = txn_alloc(t, sizeof(*out) + room * sizeof(out->v[0]));
	out->room = room;
	if (old != NULL) {
		out->entries = old->entries;
		out->n = old->n;
		memcpy(out->v, old->v, old->n * sizeof(old->v[0]));
	}
	discard(t, old);
	b->spill = out;
	return out;
}

static void
spill_put(struct txn *t, struct bundle *b, const struct candidate *c)
{
	struct on on = ON_OF(c);
	struct spill *s = spill_writable(t, b, (b->spill != NULL ? b->spill->n : 0) + 1);
	const struct entry *old = pmap_find(&s->entries, &entry_by_on, &on);
	uint32_t n = old != NULL ? old->n : 0;
	if (n == 0) {
		uint32_t i = find_shape(s, &on);
		if (i == s->n)
			s->v[s->n++] = (struct shape){0, on.protocol, on.kind};
		s->v[i].count++;
	}
	struct entry *e = entry_writable(t, s, &on, old, n + 1);
	uint32_t i = position(e, c);
	memmove(&e->c[i + 1], &e->c[i], (n - i) * sizeof(e->c[0]));
	e->c[i] = *c;
	e->n = n + 1;
}

static void
spill_remove(struct txn *t, struct bundle *b, const struct candidate *c)
{
	struct on on = ON_OF(c);
	struct spill *s = spill_writable(t, b, b->spill->n);
	const struct entry *old = pmap_find(&s->entries, &entry_by_on, &on);
	if (old->n > 1) {
		struct entry *e = entry_writable(t, s, &on, old, old->n);
		uint32_t i = position(e, c);
		memmove(&e->c[i], &e->c[i + 1], (e->n - i - 1) * sizeof(e->c[0]));
		e->n--;
		return;
	}
	discard(t, pmap_remove(&s->entries, &entry_by_on, t, &on));
	uint32_t i = find_shape(s, &on);
	if (--s->v[i].count == 0)
		s->v[i] = s->v[--s->n];
}

/* Rooms that fill whole cache lines. */
static uint8_t
items_room(uint32_t need)
{
	return need <= 1 ? 1 : need <= 3 ? 3 : need <= 5 ? 5 : ITEMS_MAX;
}

static struct bundle *
bundle_writable(struct txn *t, const struct bundle *b, const struct prefix *key, uint32_t need)
{
	if (b != NULL && need <= b->room && txn_owns(t, b))
		return (struct bundle *)(uintptr_t)b;
	uint8_t room = items_room(need);
	struct bundle *out = txn_alloc(t, sizeof(*out) + room * sizeof(out->v[0]));
	out->key.ip = key->ip;
	out->key.len = key->len;
	out->room = room;
	if (b != NULL) {
		out->n = b->n;
		out->spill = b->spill;
		memcpy(out->v, b->v, b->n * sizeof(b->v[0]));
	}
	return out;
}

const struct bundle *
bundle_put(const struct bundle *b, struct txn *t, const struct prefix *key, const struct candidate *c)
{
	uint32_t n = b != NULL ? b->n : 0;
	bool spilled = b != NULL && b->spill != NULL;
	struct bundle *out = bundle_writable(t, b, key, spilled || n == ITEMS_MAX ? n : n + 1);
	if (!spilled && n < ITEMS_MAX) {
		out->v[out->n++] = *c;
		return out;
	}
	for (uint32_t i = 0; i < n; i++)
		spill_put(t, out, &out->v[i]);
	out->n = 0;
	spill_put(t, out, c);
	return out;
}

const struct bundle *
bundle_remove(const struct bundle *b, struct txn *t, const struct candidate *c)
{
	struct bundle *out = bundle_writable(t, b, &b->key, b->n);
	if (out->spill != NULL) {
		spill_remove(t, out, c);
		if (out->spill->n != 0)
			return out;
		discard(t, out->spill);
	} else {
		uint32_t i = 0;
		struct candidate *v = out->v;
		while (v[i].rule != c->rule || v[i].value != c->value || v[i].protocol != c->protocol ||
		       v[i].kind != c->kind)
			i++;
		v[i] = v[--out->n];
		if (out->n != 0)
			return out;
	}
	if (out != b)
		txn_discard(t, out);
	return NULL;
}

static int
discard_value(const void *value, void *arg)
{
	discard(arg, value);
	return 0;
}

void
bundle_free(const struct bundle *b, struct txn *t)
{
	if (b != NULL && b->spill != NULL) {
		struct pmap entries = b->spill->entries;
		pmap_walk(&entries, discard_value, t);
		pmap_clear(&entries, t);
		discard(t, b->spill);
	}
	discard(t, b);
}
