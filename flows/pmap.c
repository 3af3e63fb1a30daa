/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/pmap.h>

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define BITS 5
#define LAST_SHIFT 60 /* below it all 64 bits of the hash are spent: a collision node, a plain list of n_values */

/*
 * Two bitmaps over the 32 positions (as in Steindorfer's CHAMP): values first, then children, each in the order of
 * their positions. Blocks come in whole cache lines, so a node usually has room to grow.
 */
struct pmap_node {
	union {
		struct {
			uint32_t values, children;
		};
		uint32_t n_values;
	};
	uint32_t room;
	const void *slot[];
};

#define HEADER offsetof(struct pmap_node, slot)

/* Seeded, as tenants choose the names of objects. The tests narrow the mask to see collisions of all 64 bits. */
struct {
	uint64_t seed[2], mask;
} pmap_hashing = {.mask = UINT64_MAX};

__attribute__((constructor)) static void
seed(void)
{
	if (getrandom(pmap_hashing.seed, sizeof(pmap_hashing.seed), 0) == (ssize_t)sizeof(pmap_hashing.seed))
		return;
	pmap_hashing.seed[0] = (uint64_t)time(NULL) * UINT64_C(0x9e3779b97f4a7c15);
	pmap_hashing.seed[1] = ~pmap_hashing.seed[0] * UINT64_C(0xa0761d6478bd642f);
}

static inline uint64_t
fold(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t
word_at(const uint8_t *key)
{
	uint64_t w;
	memcpy(&w, key, 8);
	return w;
}

/* A key of less than a word, whole. */
static inline uint64_t
short_word(const uint8_t *key, size_t len)
{
	uint32_t first, last;
	if (len < 4)
		return key[0] | (uint64_t)key[len / 2] << 8 | (uint64_t)key[len - 1] << 16;
	memcpy(&first, key, 4);
	memcpy(&last, key + len - 4, 4);
	return first | (uint64_t)last << 32;
}

/*
 * A key of four bytes is an id, and is its own hash: ids are given out densely, not chosen by tenants. Others: two
 * words a product, the last ones overlapping. Both factors are secret: a public one could be made 0 by whoever chooses
 * the key.
 */
static inline uint64_t
hash_key(const uint8_t *key, size_t len)
{
	if (len == 4)
		return short_word(key, len) & UINT32_MAX & pmap_hashing.mask;
	uint64_t h = pmap_hashing.seed[0] ^ len, s = pmap_hashing.seed[1];
	if (len < 8) {
		h = fold(h ^ short_word(key, len), s);
	} else {
		uint64_t last = word_at(key + len - 8);
		for (; len > 16; len -= 16, key += 16)
			h = fold(h ^ word_at(key), s ^ word_at(key + 8)) + (h << 23 | h >> 41);
		h = fold(h ^ (len > 8 ? word_at(key) : 0), s ^ last);
	}
	h = fold(h ^ h >> 29, UINT64_C(0xd6e8feb86659fd93));
	return (h ^ h >> 32) & pmap_hashing.mask;
}

static inline const uint8_t *
key_of(const struct pmap_type *type, const void *value)
{
	return (const uint8_t *)value + type->key_offset;
}

/* memcmp() in place: keys are short, and the call costs more than they do. */
static inline bool
has_key(const struct pmap_type *type, const void *value, const void *key)
{
	const uint8_t *a = key_of(type, value), *b = key;
	size_t len = type->key_len;
	if (len < 8)
		return short_word(a, len) == short_word(b, len);
	if (word_at(a + len - 8) != word_at(b + len - 8))
		return false;
	for (; len > 8; len -= 8, a += 8, b += 8) {
		if (word_at(a) != word_at(b))
			return false;
	}
	return true;
}

static inline uint32_t
bit_at(uint64_t hash, unsigned int shift)
{
	return 1u << (hash >> shift & 31);
}

static inline unsigned int
value_index(const struct pmap_node *n, uint32_t bit)
{
	return (unsigned int)__builtin_popcount(n->values & (bit - 1));
}

static inline unsigned int
child_index(const struct pmap_node *n, uint32_t bit)
{
	return (unsigned int)__builtin_popcount(n->values) + (unsigned int)__builtin_popcount(n->children & (bit - 1));
}

static inline unsigned int
slots(const struct pmap_node *n, unsigned int shift)
{
	return shift > LAST_SHIFT ? n->n_values
				  : (unsigned int)(__builtin_popcount(n->values) + __builtin_popcount(n->children));
}

const void *
pmap_find(const struct pmap *m, const struct pmap_type *type, const void *key)
{
	const struct pmap_node *n = m->root;
	if (n == NULL)
		return NULL;
	uint64_t hash = hash_key(key, type->key_len);
	for (unsigned int shift = 0; shift <= LAST_SHIFT; shift += BITS) {
		uint32_t bit = bit_at(hash, shift);
		if (n->values & bit) {
			const void *v = n->slot[value_index(n, bit)];
			return has_key(type, v, key) ? v : NULL;
		}
		if (!(n->children & bit))
			return NULL;
		n = n->slot[child_index(n, bit)];
	}
	for (uint32_t i = 0; i < n->n_values; i++) {
		if (has_key(type, n->slot[i], key))
			return n->slot[i];
	}
	return NULL;
}

void
pmap_prefetch_burst(const struct pmap *m, const struct pmap_type *type, const void *const key[], unsigned int n,
		    const void *value[])
{
	const struct pmap_node *node[WEFT_BURST];
	const void *const *slot[WEFT_BURST];
	uint64_t hash[WEFT_BURST];
	unsigned int under_way = m->root != NULL ? n : 0;
	for (unsigned int i = 0; i < n; i++) {
		hash[i] = hash_key(key[i], type->key_len);
		node[i] = m->root;
		value[i] = NULL;
	}
	/* One level of all walks after the other; a slot may lie some lines behind its node's bitmaps. */
	for (unsigned int shift = 0; shift <= LAST_SHIFT && under_way > 0; shift += BITS) {
		under_way = 0;
		for (unsigned int i = 0; i < n; i++) {
			if (node[i] == NULL)
				continue;
			uint32_t bit = bit_at(hash[i], shift);
			slot[i] = NULL;
			if (node[i]->values & bit)
				value[i] = slot[i] =
					&node[i]->slot[value_index(node[i], bit)]; /* not itself yet: where it stands */
			else if (node[i]->children & bit)
				slot[i] = &node[i]->slot[child_index(node[i], bit)];
			__builtin_prefetch(slot[i]);
		}
		for (unsigned int i = 0; i < n; i++) {
			if (node[i] == NULL)
				continue;
			const void *next = slot[i] != NULL ? *slot[i] : NULL;
			__builtin_prefetch(next);
			node[i] = value[i] == NULL ? next : NULL;
			if (value[i] != NULL)
				value[i] = next;
			under_way += node[i] != NULL;
		}
	}
}

static struct pmap_node *
node_new(struct txn *t, unsigned int n)
{
	size_t size = (HEADER + n * sizeof(void *) + 63) / 64 * 64;
	struct pmap_node *out = txn_alloc(t, size);
	out->room = (uint32_t)((size - HEADER) / sizeof(void *));
	return out;
}

/* `n` itself when it is ours and has room, else a copy that has, with `n` gone. */
static struct pmap_node *
writable(struct txn *t, const struct pmap_node *n, unsigned int used, unsigned int need)
{
	if (need <= n->room && txn_owns(t, n))
		return (struct pmap_node *)(uintptr_t)n;
	struct pmap_node *out = node_new(t, need);
	out->values = n->values;
	out->children = n->children;
	memcpy(out->slot, n->slot, used * sizeof(n->slot[0]));
	txn_discard(t, (void *)(uintptr_t)n);
	return out;
}

static void
open_slot(struct pmap_node *n, unsigned int at, unsigned int used)
{
	memmove(&n->slot[at + 1], &n->slot[at], (used - at) * sizeof(n->slot[0]));
}

static void
close_slot(struct pmap_node *n, unsigned int at, unsigned int used)
{
	memmove(&n->slot[at], &n->slot[at + 1], (used - at - 1) * sizeof(n->slot[0]));
}

/* The smallest tree below `shift` that holds two values with different keys. */
static struct pmap_node *
pair(struct txn *t, unsigned int shift, const void *a, uint64_t hash_a, const void *b, uint64_t hash_b)
{
	struct pmap_node *n = node_new(t, 2);
	if (shift > LAST_SHIFT) {
		n->n_values = 2;
		n->slot[0] = a;
		n->slot[1] = b;
		return n;
	}
	uint32_t bit_a = bit_at(hash_a, shift), bit_b = bit_at(hash_b, shift);
	if (bit_a == bit_b) {
		n->children = bit_a;
		n->slot[0] = pair(t, shift + BITS, a, hash_a, b, hash_b);
	} else {
		n->values = bit_a | bit_b;
		n->slot[bit_a > bit_b] = a;
		n->slot[bit_a < bit_b] = b;
	}
	return n;
}

struct change {
	const struct pmap_type *type;
	struct txn *t;
	const void *key, *value;
	uint64_t hash;
	const void *old;
};

static struct pmap_node *
put_colliding(struct change *c, const struct pmap_node *n)
{
	uint32_t used = n->n_values, i = 0;
	while (i < used && !has_key(c->type, n->slot[i], c->key))
		i++;
	struct pmap_node *out = writable(c->t, n, used, i < used ? used : used + 1);
	if (i < used)
		c->old = out->slot[i];
	else
		out->n_values = used + 1;
	out->slot[i] = c->value;
	return out;
}

/* The value at `bit` makes way for a child that holds it and the new one. */
static struct pmap_node *
put_beside(struct change *c, const struct pmap_node *n, unsigned int shift, uint32_t bit)
{
	unsigned int used = slots(n, shift), at = value_index(n, bit);
	const void *other = n->slot[at];
	uint64_t other_hash = hash_key(key_of(c->type, other), c->type->key_len);
	struct pmap_node *child = pair(c->t, shift + BITS, other, other_hash, c->value, c->hash);
	struct pmap_node *out = writable(c->t, n, used, used);
	close_slot(out, at, used);
	out->values &= ~bit;
	unsigned int to = child_index(out, bit);
	open_slot(out, to, used - 1);
	out->children |= bit;
	out->slot[to] = child;
	return out;
}

static struct pmap_node *
put(struct change *c, const struct pmap_node *n, unsigned int shift)
{
	if (shift > LAST_SHIFT)
		return put_colliding(c, n);
	uint32_t bit = bit_at(c->hash, shift);
	unsigned int used = slots(n, shift);
	struct pmap_node *out;
	if (n->children & bit) {
		unsigned int at = child_index(n, bit);
		struct pmap_node *child = put(c, n->slot[at], shift + BITS);
		if (child == n->slot[at])
			return (struct pmap_node *)(uintptr_t)n;
		out = writable(c->t, n, used, used);
		out->slot[at] = child;
		return out;
	}
	unsigned int at = value_index(n, bit);
	if (!(n->values & bit)) {
		out = writable(c->t, n, used, used + 1);
		open_slot(out, at, used);
		out->values |= bit;
	} else if (has_key(c->type, n->slot[at], c->key)) {
		c->old = n->slot[at];
		out = writable(c->t, n, used, used);
	} else {
		return put_beside(c, n, shift, bit);
	}
	out->slot[at] = c->value;
	return out;
}

void *
pmap_put(struct pmap *m, const struct pmap_type *type, struct txn *t, const void *value)
{
	const uint8_t *key = key_of(type, value);
	struct change c = {type, t, key, value, hash_key(key, type->key_len), NULL};
	if (m->root == NULL)
		m->root = node_new(t, 1);
	m->root = put(&c, m->root, 0);
	m->count += c.old == NULL;
	return (void *)(uintptr_t)c.old;
}

/* The only value of a tree that has no other, which then belongs in its parent. */
static const void *
only_value(const struct pmap_node *n, unsigned int shift)
{
	if (shift > LAST_SHIFT)
		return n->n_values == 1 ? n->slot[0] : NULL;
	return n->children == 0 && __builtin_popcount(n->values) == 1 ? n->slot[0] : NULL;
}

static struct pmap_node *take(struct change *c, const struct pmap_node *n, unsigned int shift);

static struct pmap_node *
take_below(struct change *c, const struct pmap_node *n, unsigned int shift, uint32_t bit)
{
	unsigned int used = slots(n, shift), at = child_index(n, bit);
	struct pmap_node *child = take(c, n->slot[at], shift + BITS);
	const void *single = only_value(child, shift + BITS);
	if (child == n->slot[at] && single == NULL)
		return (struct pmap_node *)(uintptr_t)n;
	struct pmap_node *out = writable(c->t, n, used, used);
	if (single == NULL) {
		out->slot[at] = child;
		return out;
	}
	txn_discard(c->t, child);
	close_slot(out, at, used);
	out->children &= ~bit;
	unsigned int to = value_index(out, bit);
	open_slot(out, to, used - 1);
	out->values |= bit;
	out->slot[to] = single;
	return out;
}

/* The key is there: pmap_remove has looked. */
static struct pmap_node *
take(struct change *c, const struct pmap_node *n, unsigned int shift)
{
	unsigned int used = slots(n, shift), at = 0;
	uint32_t bit = 0;
	if (shift > LAST_SHIFT) {
		while (n->slot[at] != c->old)
			at++;
	} else {
		bit = bit_at(c->hash, shift);
		if (n->children & bit)
			return take_below(c, n, shift, bit);
		at = value_index(n, bit);
	}
	struct pmap_node *out = writable(c->t, n, used, used);
	close_slot(out, at, used);
	if (shift > LAST_SHIFT)
		out->n_values--;
	else
		out->values &= ~bit;
	return out;
}

void *
pmap_remove(struct pmap *m, const struct pmap_type *type, struct txn *t, const void *key)
{
	struct change c = {type, t, key, NULL, 0, pmap_find(m, type, key)};
	if (c.old == NULL)
		return NULL;
	c.hash = hash_key(key, type->key_len);
	m->root = take(&c, m->root, 0);
	if (--m->count == 0) {
		txn_discard(t, (void *)(uintptr_t)m->root);
		m->root = NULL;
	}
	return (void *)(uintptr_t)c.old;
}

static int
walk(const struct pmap_node *n, unsigned int shift, int (*fn)(const void *value, void *arg), void *arg)
{
	unsigned int n_values = shift > LAST_SHIFT ? n->n_values : (unsigned int)__builtin_popcount(n->values);
	unsigned int used = slots(n, shift);
	int rc = 0;
	for (unsigned int i = 0; i < used && rc == 0; i++)
		rc = i < n_values ? fn(n->slot[i], arg) : walk(n->slot[i], shift + BITS, fn, arg);
	return rc;
}

int
pmap_walk(const struct pmap *m, int (*fn)(const void *value, void *arg), void *arg)
{
	return m->root != NULL ? walk(m->root, 0, fn, arg) : 0;
}

static void
clear(const struct pmap_node *n, unsigned int shift, struct txn *t)
{
	if (shift <= LAST_SHIFT) {
		unsigned int used = slots(n, shift);
		for (unsigned int i = (unsigned int)__builtin_popcount(n->values); i < used; i++)
			clear(n->slot[i], shift + BITS, t);
	}
	txn_discard(t, (void *)(uintptr_t)n);
}

void
pmap_clear(struct pmap *m, struct txn *t)
{
	if (m->root != NULL)
		clear(m->root, 0, t);
	*m = (struct pmap){0};
}
