/* SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 480
#define CHUNK_MAX 65536

struct arena_chunk {
	struct arena_chunk *next;
	size_t size, used;
	alignas(max_align_t) char data[];
};

static struct arena_chunk *
chunk_new(struct arena *a, size_t need)
{
	size_t size = a->chunk != NULL ? a->chunk->size * 2 : CHUNK_MIN;
	if (size > CHUNK_MAX)
		size = CHUNK_MAX;
	if (size < need)
		size = need;
	struct arena_chunk *c = calloc(1, sizeof(*c) + size);
	if (c == NULL)
		abort();
	c->size = size;
	c->next = a->chunk;
	a->chunk = c;
	return c;
}

void *
arena_alloc(struct arena *a, size_t size)
{
	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	struct arena_chunk *c = a->chunk;
	if (c == NULL || c->size - c->used < size)
		c = chunk_new(a, size);
	void *p = c->data + c->used;
	c->used += size;
	return p;
}

char *
arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *copy = arena_alloc(a, n + 1);
	memcpy(copy, s, n);
	return copy;
}

void
arena_free(struct arena *a)
{
	while (a->chunk != NULL) {
		struct arena_chunk *c = a->chunk;
		a->chunk = c->next;
		free(c);
	}
}
