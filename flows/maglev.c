/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include <weft/service.h>

#include "mix.h"

#define FREE 0xffffu
#define NOBODY UINT32_MAX

/*
 * At least 30 slots a backend, so that shares differ by 3 % at the most. Where backends are many (65 to 1,024) one that
 * goes moves less than 2 % of the others' slots; where they are few the table stays small: 50,000 services of 10
 * backends take 50 MB.
 */
static const struct level {
	uint32_t max, size;
} levels[] = {
	{2, 61}, {16, 509}, {64, 4093}, {1024, 32749}, {UINT32_MAX, 262139},
};
#define LEVELS (sizeof(levels) / sizeof(levels[0]))

uint32_t
maglev_size(uint32_t n, uint32_t old_size)
{
	unsigned int i = 0;
	while (n > levels[i].max)
		i++;
	/* A table of another size moves nearly every slot, so one that grew shrinks only when half of its reason is
	 * gone. */
	if (i + 1 < LEVELS && old_size == levels[i + 1].size && n > levels[i].max / 2)
		return old_size;
	return levels[i].size;
}

/* A backend's walk over the slots in the order in which it would like to have them. */
struct walk {
	uint64_t key;
	uint32_t weight, taken;
	uint32_t slot, skip;
	uint32_t next; /* in the list of those that take a slot in the same round */
	uint16_t index;
};

static int
walk_compare(const void *a, const void *b)
{
	const struct walk *x = a, *y = b;
	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	if (x->weight != y->weight)
		return x->weight < y->weight ? -1 : 1;
	return (int)x->index - (int)y->index;
}

/* Those with a weight, by key, so that the order in which they are listed does not matter. Returns how many. */
static uint32_t
walks_init(struct walk *walks, const struct maglev_backend *b, uint32_t n, uint32_t size)
{
	uint32_t live = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (b[i].weight == 0)
			continue;
		walks[live++] = (struct walk){
			.key = b[i].key,
			.weight = b[i].weight,
			.slot = (uint32_t)(mix64_add(1, b[i].key) % size),
			.skip = (uint32_t)(mix64_add(2, b[i].key) % (size - 1) + 1),
			.index = (uint16_t)i,
		};
	}
	qsort(walks, live, sizeof(walks[0]), walk_compare);
	return live;
}

static void
walk_take(struct walk *w, uint16_t *table, uint32_t size)
{
	while (table[w->slot] != FREE) {
		w->slot += w->skip;
		if (w->slot >= size)
			w->slot -= size;
	}
	table[w->slot] = w->index;
	w->taken++;
}

/* The heaviest take a slot in every round, one of weight w its k-th in round ceil((k - 1/2) * max / w): at each moment
 * nearest to its share. */
static uint64_t
turn_of(const struct walk *w, uint32_t max)
{
	return ((2 * (uint64_t)w->taken + 1) * max + 2 * (uint64_t)w->weight - 1) / (2 * (uint64_t)w->weight);
}

static void
queue(struct walk *w, uint32_t i, uint32_t max, uint32_t *first, uint32_t rounds)
{
	uint64_t turn = turn_of(w, max);
	if (turn <= rounds) {
		w->next = first[turn];
		first[turn] = i;
	}
}

/*
 * first[r] heads the list of those whose turn is round r. Who goes first of two depends on these two alone, so a third
 * that comes or goes disturbs them little.
 */
static void
fill(uint16_t *table, uint32_t size, struct walk *walks, uint32_t live, uint32_t max, uint32_t *first, uint32_t rounds)
{
	for (uint32_t r = 0; r <= rounds; r++)
		first[r] = NOBODY;
	for (uint32_t i = 0; i < live; i++)
		queue(&walks[i], i, max, first, rounds);
	uint32_t left = size;
	for (uint32_t r = 1; r <= rounds; r++) {
		for (uint32_t i = first[r], next; i != NOBODY; i = next) {
			struct walk *w = &walks[i];
			next = w->next;
			walk_take(w, table, size);
			if (--left == 0)
				return;
			queue(w, i, max, first, rounds);
		}
	}
}

int
maglev_build(uint16_t *table, uint32_t size, const struct maglev_backend *b, uint32_t n)
{
	uint64_t sum = 0;
	uint32_t max = 0, weighty = 0;
	for (uint32_t i = 0; i < n; i++) {
		sum += b[i].weight;
		weighty += b[i].weight != 0;
		max = b[i].weight > max ? b[i].weight : max;
	}
	if (max == 0 || weighty > size || n > FREE || size < 2)
		return -EINVAL;
	/* In r rounds the backends take at least r * sum / max - n slots, and the heaviest alone r. */
	uint64_t rounds = ((uint64_t)size + n) * max / sum + 1;
	if (rounds > size)
		rounds = size;
	struct walk *walks = malloc(n * sizeof(*walks));
	uint32_t *first = malloc((rounds + 1) * sizeof(*first));
	if (walks == NULL || first == NULL) {
		free(walks);
		free(first);
		return -ENOMEM;
	}
	memset(table, 0xff, size * sizeof(*table));
	uint32_t live = walks_init(walks, b, n, size);
	fill(table, size, walks, live, max, first, (uint32_t)rounds);
	free(walks);
	free(first);
	return 0;
}
