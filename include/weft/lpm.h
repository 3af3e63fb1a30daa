/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Longest prefix match over (network, prefix), persistent as pmap is: an exact map that is asked once for each
 * prefix length in use, longest first. Pod routes are mostly /32 and /128, so that is one or two lookups.
 *
 * The value a caller puts begins with struct lpm_key. An IPv4 address is only matched by prefixes of len >= 96
 * (so ::/0 is IPv6's default route and 0.0.0.0/0, of len 96, IPv4's).
 */
#ifndef WEFT_LPM_H
#define WEFT_LPM_H

#include <weft/pmap.h>

#ifdef __cplusplus
extern "C" {
#endif

struct lpm_key {
	struct ip ip; /* masked to len */
	uint32_t network;
	uint8_t len, pad[3]; /* pad is zero */
};

struct lpm { /* all zero: empty */
	struct pmap map;
	uint32_t in_use[129]; /* prefixes of each length, over all networks */
	uint64_t lens[3];     /* bit set: in_use is not 0 */
};

/* Worker or writer. The value of the longest prefix of `network` that contains addr, or NULL. */
const void *lpm_find(const struct lpm *l, uint32_t network, const struct ip *addr);

/* The value of the longest prefix that contains addr and is shorter than len: who would serve it if /len went. */
const void *lpm_find_shorter(const struct lpm *l, uint32_t network, const struct ip *addr, uint8_t len);

/* Every value whose prefix contains addr, longest first; at most max of them. Returns how many. */
unsigned int lpm_find_all(const struct lpm *l, uint32_t network, const struct ip *addr, const void **out, unsigned int max);

/* Exactly this prefix, or NULL. */
const void *lpm_get(const struct lpm *l, uint32_t network, const struct prefix *p);

/* Writer. As pmap_put and pmap_remove. */
void *lpm_put(struct lpm *l, struct txn *t, const void *value);
void *lpm_remove(struct lpm *l, struct txn *t, uint32_t network, const struct prefix *p);

#ifdef __cplusplus
}
#endif

#endif
