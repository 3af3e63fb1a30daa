/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A persistent set of ids: one sorted array, NULL when it is empty. Copied whole when it changes for the first time in a
 * txn, which beats a tree up to many thousands. And where ids come from.
 */
#ifndef FLOWS_ID_SET_H
#define FLOWS_ID_SET_H

#include "sequence.h"

struct id_set {
	uint32_t n, room;
	uint32_t v[];
};

static inline uint32_t
id_set_count(const struct id_set *s)
{
	return s != NULL ? s->n : 0;
}

bool id_set_has(const struct id_set *s, uint32_t id);
bool id_set_equal(const struct id_set *a, const struct id_set *b);

/* Writer. Each returns the set to use from now on; the old one is gone. Adding what is there changes nothing. */
const struct id_set *id_set_add(const struct id_set *s, struct txn *t, uint32_t id);
const struct id_set *id_set_remove(const struct id_set *s, struct txn *t, uint32_t id);
const struct id_set *id_set_copy(const struct id_set *s, struct txn *t);
void id_set_clear(const struct id_set *s, struct txn *t);

/* Ids from 1; one that was given back is used again after `rest` others, so that what still shows it rarely lies. */
struct id_source { /* a value; all zero: nothing was taken */
	uint32_t last;
	struct sequence free;
};
uint32_t id_take(struct id_source *p, struct txn *t, uint32_t rest);
void id_give(struct id_source *p, struct txn *t, uint32_t id);

#endif
