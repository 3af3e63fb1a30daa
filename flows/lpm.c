/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/lpm.h>

#define V4_LEN 96

static const struct pmap_type by_key = {offsetof(struct lpm_key, ip), sizeof(struct lpm_key)};

static_assert(sizeof(struct lpm_key) == 24, "no padding in a key");

/* The longest length in use that is shorter than `below`, or -1. */
static int
next_len(const struct lpm *l, int below)
{
	for (int word = (below - 1) >> 6; word >= 0; word--) {
		uint64_t w = l->lens[word];
		int bits = below - word * 64;
		if (bits < 64)
			w &= (UINT64_C(1) << bits) - 1;
		if (w != 0)
			return word * 64 + 63 - __builtin_clzll(w);
	}
	return -1;
}

static const void *
find_below(const struct lpm *l, uint32_t network, const struct ip *addr, int *below)
{
	int shortest = ip_is4(addr) ? V4_LEN : 0;
	struct lpm_key key = {.network = network};
	while ((*below = next_len(l, *below)) >= shortest) {
		key.len = (uint8_t)*below;
		key.ip = ip_masked(addr, key.len);
		const void *value = pmap_find(&l->map, &by_key, &key);
		if (value != NULL)
			return value;
	}
	return NULL;
}

const void *
lpm_find(const struct lpm *l, uint32_t network, const struct ip *addr)
{
	int below = 129;
	return find_below(l, network, addr, &below);
}

const void *
lpm_find_shorter(const struct lpm *l, uint32_t network, const struct ip *addr, uint8_t len)
{
	int below = len;
	return find_below(l, network, addr, &below);
}

unsigned int
lpm_find_all(const struct lpm *l, uint32_t network, const struct ip *addr, const void **out, unsigned int max)
{
	int below = 129;
	unsigned int n = 0;
	while (n < max && (out[n] = find_below(l, network, addr, &below)) != NULL)
		n++;
	return n;
}

static struct lpm_key
key_of(uint32_t network, const struct prefix *p)
{
	return (struct lpm_key){.ip = p->ip, .network = network, .len = p->len};
}

const void *
lpm_get(const struct lpm *l, uint32_t network, const struct prefix *p)
{
	struct lpm_key key = key_of(network, p);
	return pmap_find(&l->map, &by_key, &key);
}

void *
lpm_put(struct lpm *l, struct txn *t, const void *value)
{
	const struct lpm_key *key = value;
	void *old = pmap_put(&l->map, &by_key, t, value);
	if (old == NULL && l->in_use[key->len]++ == 0)
		l->lens[key->len / 64] |= UINT64_C(1) << (key->len % 64);
	return old;
}

void *
lpm_remove(struct lpm *l, struct txn *t, uint32_t network, const struct prefix *p)
{
	struct lpm_key key = key_of(network, p);
	void *old = pmap_remove(&l->map, &by_key, t, &key);
	if (old != NULL && --l->in_use[p->len] == 0)
		l->lens[p->len / 64] &= ~(UINT64_C(1) << (p->len % 64));
	return old;
}
