/* SPDX-License-Identifier: Apache-2.0 */
#include "sequence.h"

#define CHUNK 256u

struct chunk {
	uint32_t n, room;
	uint8_t e[] __attribute__((aligned(8)));
};

struct place {
	struct chunk *chunk;
	uint32_t n; /* as chunk->n, so that finding an index touches the directory alone */
};

struct sequence_dir {
	uint32_t n, room;
	struct place v[];
};

static uint32_t
locate(const struct sequence_dir *d, uint32_t i, uint32_t *at)
{
	uint32_t c = 0;
	while (c + 1 < d->n && i >= d->v[c].n)
		i -= d->v[c++].n;
	*at = i;
	return c;
}

const void *
sequence_at(const struct sequence *s, size_t size, uint32_t i)
{
	uint32_t at, c = locate(s->dir, i, &at);
	return s->dir->v[c].chunk->e + at * size;
}

uint32_t
sequence_search(const struct sequence *s, size_t size, int (*cmp)(const void *element, const void *key),
		const void *key)
{
	const struct sequence_dir *d = s->dir;
	if (d == NULL)
		return 0;
	uint32_t lo = 0, hi = d->n; /* the first chunk whose last element is not below key */
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (cmp(d->v[mid].chunk->e + (d->v[mid].n - 1) * size, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == d->n)
		return s->count;
	uint32_t before = 0;
	for (uint32_t c = 0; c < lo; c++)
		before += d->v[c].n;
	const struct chunk *chunk = d->v[lo].chunk;
	lo = 0;
	hi = chunk->n - 1;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (cmp(chunk->e + mid * size, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return before + lo;
}

void
sequence_flatten(const struct sequence *s, size_t size, void *out)
{
	uint8_t *to = out;
	for (uint32_t c = 0; s->dir != NULL && c < s->dir->n; c++) {
		memcpy(to, s->dir->v[c].chunk->e, s->dir->v[c].n * size);
		to += s->dir->v[c].n * size;
	}
}

static struct sequence_dir *
writable_dir(struct sequence *s, struct txn *t, uint32_t need)
{
	struct sequence_dir *d = s->dir;
	if (d != NULL && need <= d->room && txn_owns(t, d))
		return d;
	uint32_t room = need + need / 4 + 1;
	struct sequence_dir *out = txn_alloc(t, sizeof(*out) + room * sizeof(out->v[0]));
	out->room = room;
	if (d != NULL) {
		out->n = d->n;
		memcpy(out->v, d->v, d->n * sizeof(d->v[0]));
		txn_discard(t, d);
	}
	return s->dir = out;
}

static struct chunk *
new_chunk(struct txn *t, size_t size, uint32_t need)
{
	uint32_t room = 2;
	while (room < need)
		room *= 2;
	struct chunk *c = txn_alloc(t, sizeof(*c) + room * size);
	c->room = room;
	return c;
}

/* The directory is writable already. */
static struct chunk *
writable_chunk(struct place *p, size_t size, struct txn *t, uint32_t need)
{
	struct chunk *c = p->chunk;
	if (need <= c->room && txn_owns(t, c))
		return c;
	struct chunk *out = new_chunk(t, size, need);
	out->n = c->n;
	memcpy(out->e, c->e, c->n * size);
	txn_discard(t, c);
	return p->chunk = out;
}

static void
open_place(struct sequence_dir *d, uint32_t c, struct chunk *chunk)
{
	memmove(&d->v[c + 1], &d->v[c], (d->n - c) * sizeof(d->v[0]));
	d->v[c] = (struct place){chunk, chunk->n};
	d->n++;
}

static void
close_place(struct sequence_dir *d, uint32_t c)
{
	memmove(&d->v[c], &d->v[c + 1], (d->n - c - 1) * sizeof(d->v[0]));
	d->n--;
}

/* Half of a full chunk goes to a new one behind it; at the very end the new one is empty, as appending goes on. */
static void
split(struct sequence_dir *d, size_t size, struct txn *t, uint32_t c, bool appending)
{
	uint32_t keep = appending ? CHUNK : CHUNK / 2;
	struct chunk *tail = new_chunk(t, size, CHUNK);
	tail->n = CHUNK - keep;
	memcpy(tail->e, d->v[c].chunk->e + keep * size, tail->n * size);
	if (!appending) {
		writable_chunk(&d->v[c], size, t, CHUNK)->n = keep;
		d->v[c].n = keep;
	}
	open_place(d, c + 1, tail);
}

void
sequence_insert(struct sequence *s, size_t size, struct txn *t, uint32_t i, const void *element)
{
	struct sequence_dir *d = writable_dir(s, t, s->dir != NULL ? s->dir->n + 1 : 1);
	if (d->n == 0)
		open_place(d, 0, new_chunk(t, size, 1));
	uint32_t at, c = locate(d, i, &at);
	if (d->v[c].n == CHUNK) {
		split(d, size, t, c, i == s->count);
		c = locate(d, i, &at);
	}
	struct chunk *chunk = writable_chunk(&d->v[c], size, t, d->v[c].n + 1);
	memmove(chunk->e + (at + 1) * size, chunk->e + at * size, (chunk->n - at) * size);
	memcpy(chunk->e + at * size, element, size);
	d->v[c].n = ++chunk->n;
	s->count++;
}

/* Small neighbours become one, so that removing leaves no trail of tiny chunks. */
static void
join(struct sequence_dir *d, size_t size, struct txn *t, uint32_t c)
{
	if (c + 1 >= d->n || d->v[c].n + d->v[c + 1].n > CHUNK / 2)
		return;
	struct chunk *left = writable_chunk(&d->v[c], size, t, d->v[c].n + d->v[c + 1].n);
	struct chunk *right = d->v[c + 1].chunk;
	memcpy(left->e + left->n * size, right->e, right->n * size);
	d->v[c].n = left->n += right->n;
	txn_discard(t, right);
	close_place(d, c + 1);
}

void
sequence_remove(struct sequence *s, size_t size, struct txn *t, uint32_t i)
{
	if (s->count == 1) {
		sequence_clear(s, t);
		return;
	}
	struct sequence_dir *d = writable_dir(s, t, s->dir->n);
	uint32_t at, c = locate(d, i, &at);
	s->count--;
	if (d->v[c].n == 1) {
		txn_discard(t, d->v[c].chunk);
		close_place(d, c);
		return;
	}
	struct chunk *chunk = writable_chunk(&d->v[c], size, t, d->v[c].n);
	memmove(chunk->e + at * size, chunk->e + (at + 1) * size, (chunk->n - at - 1) * size);
	d->v[c].n = --chunk->n;
	join(d, size, t, c);
	if (c > 0)
		join(d, size, t, c - 1);
}

void
sequence_replace(struct sequence *s, size_t size, struct txn *t, uint32_t i, const void *element)
{
	struct sequence_dir *d = writable_dir(s, t, s->dir->n);
	uint32_t at, c = locate(d, i, &at);
	memcpy(writable_chunk(&d->v[c], size, t, d->v[c].n)->e + at * size, element, size);
}

void
sequence_clear(struct sequence *s, struct txn *t)
{
	for (uint32_t c = 0; s->dir != NULL && c < s->dir->n; c++)
		txn_discard(t, s->dir->v[c].chunk);
	if (s->dir != NULL)
		txn_discard(t, s->dir);
	*s = (struct sequence){0};
}
