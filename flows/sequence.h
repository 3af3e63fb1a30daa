/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A persistent array of elements of one size, in an order that its user keeps: chunks of up to 256 elements below one
 * directory, so that a change of 100,000 elements copies one chunk and the directory.
 *
 * `struct sequence` is a value, as pmap is. `size`, the same in every call, is a multiple of 4.
 */
#ifndef FLOWS_SEQUENCE_H
#define FLOWS_SEQUENCE_H

#include <weft/txn.h>

struct sequence_dir;

struct sequence { /* all zero: empty */
	struct sequence_dir *dir;
	uint32_t count;
};

/* The element at i < count. */
const void *sequence_at(const struct sequence *s, size_t size, uint32_t i);

/* The first index whose element is not below key: cmp(element, key) >= 0. count when there is none. */
uint32_t sequence_search(const struct sequence *s, size_t size, int (*cmp)(const void *element, const void *key),
			 const void *key);

/* Copy all elements, in order, to `out`. */
void sequence_flatten(const struct sequence *s, size_t size, void *out);

/* Writer. */
void sequence_insert(struct sequence *s, size_t size, struct txn *t, uint32_t i, const void *element);
void sequence_remove(struct sequence *s, size_t size, struct txn *t, uint32_t i);
void sequence_replace(struct sequence *s, size_t size, struct txn *t, uint32_t i, const void *element);
void sequence_clear(struct sequence *s, struct txn *t);

#endif
