/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A persistent map: a hash array mapped trie (Bagwell, 2001) from a key of fixed size to a pointer.
 *
 * `struct pmap` is a value: copying it takes a snapshot. Readers (any worker, any number) search a snapshot
 * without locks; the one writer derives the next one in a txn, which copies a path of a few nodes.
 * A snapshot is taken of a published map: a copy made inside a txn still shares nodes that the txn changes in place.
 * The key lies inside the value that the map points to, at `key_offset`; it is compared by memcmp, so values are
 * zeroed before their key is filled in (no stray padding).
 */
#ifndef WEFT_PMAP_H
#define WEFT_PMAP_H

#include <weft/base.h>
#include <weft/txn.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pmap_node;

struct pmap_type {
	uint16_t key_offset;
	uint16_t key_len; /* 1..256 */
};

struct pmap { /* all zero: empty */
	const struct pmap_node *root;
	uint32_t count;
};

/* Worker or writer. `key` points at key_len bytes. NULL when it is not there. */
const void *pmap_find(const struct pmap *m, const struct pmap_type *type, const void *key);

/*
 * Worker. A hint before pmap_find is called for each of n <= WEFT_BURST keys, none of which waits for the memory that another needs: value[i]
 * is the value that key[i] has, if it has one (its key is not compared), or NULL; it and the way to it are being fetched.
 */
void pmap_prefetch_burst(const struct pmap *m, const struct pmap_type *type, const void *const key[], unsigned int n, const void *value[]);

/*
 * Writer. Put `value` under the key that it carries; returns the value that it replaces, or NULL. The map neither copies nor
 * frees values: the caller retires what it replaced.
 */
void *pmap_put(struct pmap *m, const struct pmap_type *type, struct txn *t, const void *value);

/* Writer. Returns what was removed, or NULL. */
void *pmap_remove(struct pmap *m, const struct pmap_type *type, struct txn *t, const void *key);

/* Call fn for every value, in no order that means anything, until it returns non-zero; returns that. */
int pmap_walk(const struct pmap *m, int (*fn)(const void *value, void *arg), void *arg);

/* Retire every node (not the values): for a map that is dropped whole. */
void pmap_clear(struct pmap *m, struct txn *t);

#ifdef __cplusplus
}
#endif

#endif
