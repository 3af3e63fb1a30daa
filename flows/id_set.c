/* SPDX-License-Identifier: Apache-2.0 */
#include "id_set.h"

static uint32_t
lower_bound(const struct id_set *s, uint32_t id)
{
	uint32_t lo = 0, hi = id_set_count(s);
	if (hi != 0 && s->v[hi - 1] < id)
		return hi;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (s->v[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool
id_set_has(const struct id_set *s, uint32_t id)
{
	uint32_t i = lower_bound(s, id);
	return i < id_set_count(s) && s->v[i] == id;
}

bool
id_set_equal(const struct id_set *a, const struct id_set *b)
{
	uint32_t n = id_set_count(a);
	return n == id_set_count(b) && (n == 0 || memcmp(a->v, b->v, n * sizeof(a->v[0])) == 0);
}

static struct id_set *
writable(const struct id_set *s, struct txn *t, uint32_t need)
{
	if (s != NULL && need <= s->room && txn_owns(t, s))
		return (struct id_set *)(uintptr_t)s;
	uint32_t room = need + need / 2 + 2;
	struct id_set *out = txn_alloc(t, sizeof(*out) + room * sizeof(out->v[0]));
	out->room = room;
	if (s != NULL) {
		out->n = s->n;
		memcpy(out->v, s->v, s->n * sizeof(s->v[0]));
		id_set_clear(s, t);
	}
	return out;
}

const struct id_set *
id_set_add(const struct id_set *s, struct txn *t, uint32_t id)
{
	if (id_set_has(s, id))
		return s;
	uint32_t i = lower_bound(s, id);
	struct id_set *out = writable(s, t, id_set_count(s) + 1);
	memmove(&out->v[i + 1], &out->v[i], (out->n - i) * sizeof(out->v[0]));
	out->v[i] = id;
	out->n++;
	return out;
}

const struct id_set *
id_set_remove(const struct id_set *s, struct txn *t, uint32_t id)
{
	if (!id_set_has(s, id))
		return s;
	if (s->n == 1) {
		id_set_clear(s, t);
		return NULL;
	}
	uint32_t i = lower_bound(s, id);
	struct id_set *out = writable(s, t, s->n);
	memmove(&out->v[i], &out->v[i + 1], (out->n - i - 1) * sizeof(out->v[0]));
	out->n--;
	return out;
}

const struct id_set *
id_set_copy(const struct id_set *s, struct txn *t)
{
	if (s == NULL)
		return NULL;
	struct id_set *out = txn_alloc(t, sizeof(*out) + s->n * sizeof(out->v[0]));
	out->n = out->room = s->n;
	memcpy(out->v, s->v, s->n * sizeof(s->v[0]));
	return out;
}

void
id_set_clear(const struct id_set *s, struct txn *t)
{
	if (s != NULL)
		txn_discard(t, (void *)(uintptr_t)s);
}

uint32_t
id_take(struct id_source *p, struct txn *t, uint32_t rest)
{
	if (p->free.count <= rest)
		return ++p->last;
	uint32_t id = *(const uint32_t *)sequence_at(&p->free, sizeof(id), 0);
	sequence_remove(&p->free, sizeof(id), t, 0);
	return id;
}

void
id_give(struct id_source *p, struct txn *t, uint32_t id)
{
	sequence_insert(&p->free, sizeof(id), t, p->free.count, &id);
}
