/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every prefix around an address, in one walk: a persistent trie that takes 5 bits a step and skips steps in which nothing
 * divides. An lpm asks once for each length in use, which is little for routes; the CIDRs of 100,000 rules have all lengths.
 *
 * `struct prefix_tree` is a value, as pmap is. A value begins with its struct prefix, bits past len zero. An IPv4 address is
 * matched by IPv4's prefixes alone and an IPv6 address by IPv6's.
 */
#ifndef FLOWS_PREFIX_TREE_H
#define FLOWS_PREFIX_TREE_H

#include <weft/txn.h>

#ifdef __cplusplus
extern "C" {
#endif

struct prefix_tree { /* all zero: empty */
	const void *root[2];
	uint32_t count;
};

#define PREFIXES_MAX 129 /* of all lengths, around one address */

/* Worker or writer. The values whose prefix contains addr, the shortest first. Returns how many. */
unsigned int prefix_tree_find_all(const struct prefix_tree *tree, const struct ip *addr,
				  const void *out[PREFIXES_MAX]);

/* Exactly this prefix, or NULL. */
const void *prefix_tree_get(const struct prefix_tree *tree, const struct prefix *p);

/* Writer. The value that is replaced or removed, or NULL; it is the caller's to retire. */
void *prefix_tree_put(struct prefix_tree *tree, struct txn *t, const void *value);
void *prefix_tree_remove(struct prefix_tree *tree, struct txn *t, const struct prefix *p);

/* Retire every node; fn gets each value. */
void prefix_tree_clear(struct prefix_tree *tree, struct txn *t, int (*fn)(const void *value, void *arg), void *arg);

#ifdef __cplusplus
}
#endif

#endif
