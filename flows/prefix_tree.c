/* SPDX-License-Identifier: Apache-2.0 */
#include "prefix_tree.h"

#include <endian.h>

#define STEP 5u

typedef unsigned __int128 bits; /* the address from the top; IPv4's are the upper 32 */

/*
 * Speaks of bits pos..pos+4, all before them are those of base. Prefixes that end within (lengths pos..pos+4) are its
 * values, in the order of a binary tree read level by level; longer ones lie below its children. A child without
 * company is no node but the value itself, marked by an odd pointer.
 */
struct node {
	bits base;
	uint32_t values, children;
	uint16_t pos, room;
	const void *slot[]; /* values, then children */
};

#define HEADER offsetof(struct node, slot)

struct key {
	bits at;
	unsigned int len, family;
};

static struct key
key_of_address(const struct ip *ip)
{
	if (ip_is4(ip))
		return (struct key){(bits)ntohl(ip->w[3]) << 96, 32, 0};
	return (struct key){(bits)be64toh(ip->q[0]) << 64 | be64toh(ip->q[1]), 128, 1};
}

static struct key
key_of(const struct prefix *p)
{
	struct key k = key_of_address(&p->ip);
	if (k.family == 0 && p->len >= 96)
		k.len = p->len - 96u;
	else
		k = (struct key){(bits)be64toh(p->ip.q[0]) << 64 | be64toh(p->ip.q[1]), p->len, 1};
	return k;
}

static unsigned int
step_at(bits at, unsigned int pos)
{
	return (unsigned int)(at << pos >> (128 - STEP));
}

static bool
same_start(bits a, bits b, unsigned int len)
{
	return len == 0 || (a ^ b) >> (128 - len) == 0;
}

/* How many bits two prefixes share. */
static unsigned int
common(bits a, unsigned int len_a, bits b, unsigned int len_b)
{
	bits x = a ^ b;
	uint64_t high = (uint64_t)(x >> 64), low = (uint64_t)x;
	unsigned int n = high != 0 ? (unsigned int)__builtin_clzll(high)
				   : (low != 0 ? 64 + (unsigned int)__builtin_clzll(low) : 128);
	n = n < len_a ? n : len_a;
	return n < len_b ? n : len_b;
}

static bits
start_of(bits at, unsigned int len)
{
	return len == 0 ? 0 : at >> (128 - len) << (128 - len);
}

static bool
is_value(const void *slot)
{
	return ((uintptr_t)slot & 1) != 0;
}

static const void *
value_in(const void *slot)
{
	return (const void *)((uintptr_t)slot & ~(uintptr_t)1);
}

static const void *
value_slot(const void *value)
{
	return (const void *)((uintptr_t)value | 1);
}

/* The bit of a prefix that ends in the node: 2^r - 1 shorter ones come before those with r bits. */
static uint32_t
value_bit(const struct node *n, const struct key *k)
{
	unsigned int r = k->len - n->pos;
	return 1u << ((1u << r) - 1 + (step_at(k->at, n->pos) >> (STEP - r)));
}

static uint32_t
child_bit(const struct node *n, bits at)
{
	return 1u << step_at(at, n->pos);
}

static unsigned int
rank(uint32_t map, uint32_t bit)
{
	return (unsigned int)__builtin_popcount(map & (bit - 1));
}

static unsigned int
count(uint32_t map)
{
	return (unsigned int)__builtin_popcount(map);
}

/* The values of a node that lie on the way to a child. */
static uint32_t
on_the_way(unsigned int step)
{
	uint32_t map = 0;
	for (unsigned int r = 0; r < STEP; r++)
		map |= 1u << ((1u << r) - 1 + (step >> (STEP - r)));
	return map;
}

unsigned int
prefix_tree_find_all(const struct prefix_tree *tree, const struct ip *addr, const void *out[PREFIXES_MAX])
{
	struct key k = key_of_address(addr);
	const void *slot = tree->root[k.family];
	unsigned int found = 0;
	while (slot != NULL && !is_value(slot)) {
		const struct node *n = slot;
		if (!same_start(k.at, n->base, n->pos))
			return found;
		unsigned int step = step_at(k.at, n->pos);
		uint32_t child = 1u << step;
		if (n->values != 0) {
			for (uint32_t map = n->values & on_the_way(step); map != 0; map &= map - 1)
				out[found++] = n->slot[rank(n->values, map & -map)];
		}
		slot = n->children & child ? n->slot[count(n->values) + rank(n->children, child)] : NULL;
	}
	if (slot != NULL) {
		const void *value = value_in(slot);
		struct key v = key_of(value);
		if (same_start(k.at, v.at, v.len))
			out[found++] = value;
	}
	return found;
}

const void *
prefix_tree_get(const struct prefix_tree *tree, const struct prefix *p)
{
	struct key k = key_of(p);
	const void *slot = tree->root[k.family];
	while (slot != NULL && !is_value(slot)) {
		const struct node *n = slot;
		if (k.len < n->pos || !same_start(k.at, n->base, n->pos))
			return NULL;
		if (k.len < n->pos + STEP) {
			uint32_t bit = value_bit(n, &k);
			return n->values & bit ? n->slot[rank(n->values, bit)] : NULL;
		}
		uint32_t child = child_bit(n, k.at);
		slot = n->children & child ? n->slot[count(n->values) + rank(n->children, child)] : NULL;
	}
	if (slot == NULL)
		return NULL;
	struct key v = key_of(value_in(slot));
	return v.at == k.at && v.len == k.len ? value_in(slot) : NULL;
}

static struct node *
node_alloc(struct txn *t, bits at, unsigned int pos, unsigned int need)
{
	size_t size = (HEADER + need * sizeof(void *) + 63) / 64 * 64;
	struct node *n = txn_alloc(t, size);
	n->base = start_of(at, pos);
	n->pos = (uint16_t)pos;
	n->room = (uint16_t)((size - HEADER) / sizeof(void *));
	return n;
}

/* `n` itself when it is ours and has room, else a copy that has, with `n` gone. */
static struct node *
writable(struct txn *t, const struct node *n, unsigned int need)
{
	if (need <= n->room && txn_owns(t, n))
		return (struct node *)(uintptr_t)n;
	struct node *out = node_alloc(t, n->base, n->pos, need);
	out->values = n->values;
	out->children = n->children;
	memcpy(out->slot, n->slot, (count(n->values) + count(n->children)) * sizeof(n->slot[0]));
	txn_discard(t, (void *)(uintptr_t)n);
	return out;
}

static struct node *
insert_slot(struct txn *t, const struct node *n, unsigned int at, const void *slot)
{
	unsigned int used = count(n->values) + count(n->children);
	struct node *out = writable(t, n, used + 1);
	memmove(&out->slot[at + 1], &out->slot[at], (used - at) * sizeof(out->slot[0]));
	out->slot[at] = slot;
	return out;
}

static struct node *
remove_slot(struct txn *t, const struct node *n, unsigned int at)
{
	unsigned int used = count(n->values) + count(n->children);
	struct node *out = writable(t, n, used);
	memmove(&out->slot[at], &out->slot[at + 1], (used - at - 1) * sizeof(out->slot[0]));
	return out;
}

static struct node *
set_slot(struct txn *t, const struct node *n, unsigned int at, const void *slot)
{
	struct node *out = writable(t, n, count(n->values) + count(n->children));
	out->slot[at] = slot;
	return out;
}

struct change {
	struct txn *t;
	struct key key;
	const void *value, *old;
};

/* A node for two that part somewhere in its step; the first one is in it. */
static struct node *
fork_above(struct txn *t, bits at, unsigned int shared, const void *slot)
{
	struct node *n = node_alloc(t, at, shared / STEP * STEP, 2);
	if (is_value(slot)) {
		struct key k = key_of(value_in(slot));
		if (k.len < n->pos + STEP) {
			n->values = value_bit(n, &k);
			n->slot[0] = value_in(slot);
			return n;
		}
	}
	n->children = child_bit(n, at);
	n->slot[0] = slot;
	return n;
}

static const void *put(struct change *c, const void *slot);

static const void *
put_in(struct change *c, const struct node *n)
{
	if (c->key.len < n->pos + STEP) {
		uint32_t bit = value_bit(n, &c->key);
		unsigned int at = rank(n->values, bit);
		if (n->values & bit) {
			c->old = n->slot[at];
			return set_slot(c->t, n, at, c->value);
		}
		struct node *out = insert_slot(c->t, n, at, c->value);
		out->values |= bit;
		return out;
	}
	uint32_t bit = child_bit(n, c->key.at);
	unsigned int at = count(n->values) + rank(n->children, bit);
	if (n->children & bit) {
		const void *child = put(c, n->slot[at]);
		return child == n->slot[at] ? n : set_slot(c->t, n, at, child);
	}
	struct node *out = insert_slot(c->t, n, at, value_slot(c->value));
	out->children |= bit;
	return out;
}

/* What takes the place of `slot` when the value is put below it. */
static const void *
put(struct change *c, const void *slot)
{
	if (slot == NULL)
		return value_slot(c->value);
	if (is_value(slot)) {
		struct key k = key_of(value_in(slot));
		if (k.at == c->key.at && k.len == c->key.len) {
			c->old = value_in(slot);
			return value_slot(c->value);
		}
		return put_in(c, fork_above(c->t, k.at, common(k.at, k.len, c->key.at, c->key.len), slot));
	}
	const struct node *n = slot;
	unsigned int shared = common(n->base, n->pos, c->key.at, c->key.len);
	return put_in(c, shared < n->pos ? fork_above(c->t, n->base, shared, slot) : n);
}

void *
prefix_tree_put(struct prefix_tree *tree, struct txn *t, const void *value)
{
	struct change c = {t, key_of(value), value, NULL};
	tree->root[c.key.family] = put(&c, tree->root[c.key.family]);
	tree->count += c.old == NULL;
	return (void *)(uintptr_t)c.old;
}

/* A node with one slot left makes way for it. */
static const void *
shrunk(struct txn *t, struct node *n)
{
	unsigned int values = count(n->values), children = count(n->children);
	if (values + children != 1)
		return n;
	const void *only = values == 1 ? value_slot(n->slot[0]) : n->slot[0];
	txn_discard(t, n);
	return only;
}

/* What takes the place of `slot` without c->old, which is there. */
static const void *
take(struct change *c, const void *slot)
{
	if (is_value(slot))
		return NULL;
	const struct node *n = slot;
	struct node *out;
	if (c->key.len < n->pos + STEP) {
		uint32_t bit = value_bit(n, &c->key);
		out = remove_slot(c->t, n, rank(n->values, bit));
		out->values &= ~bit;
		return shrunk(c->t, out);
	}
	uint32_t bit = child_bit(n, c->key.at);
	unsigned int at = count(n->values) + rank(n->children, bit);
	const void *child = take(c, n->slot[at]);
	if (child != NULL)
		return child == n->slot[at] ? n : set_slot(c->t, n, at, child);
	out = remove_slot(c->t, n, at);
	out->children &= ~bit;
	return shrunk(c->t, out);
}

void *
prefix_tree_remove(struct prefix_tree *tree, struct txn *t, const struct prefix *p)
{
	struct change c = {t, key_of(p), NULL, prefix_tree_get(tree, p)};
	if (c.old == NULL)
		return NULL;
	tree->root[c.key.family] = take(&c, tree->root[c.key.family]);
	tree->count--;
	return (void *)(uintptr_t)c.old;
}

static void
clear(const void *slot, struct txn *t, int (*fn)(const void *value, void *arg), void *arg)
{
	if (slot == NULL)
		return;
	if (is_value(slot)) {
		fn(value_in(slot), arg);
		return;
	}
	const struct node *n = slot;
	unsigned int values = count(n->values), used = values + count(n->children);
	for (unsigned int i = 0; i < used; i++) {
		if (i < values)
			fn(n->slot[i], arg);
		else
			clear(n->slot[i], t, fn, arg);
	}
	txn_discard(t, (void *)(uintptr_t)n);
}

void
prefix_tree_clear(struct prefix_tree *tree, struct txn *t, int (*fn)(const void *value, void *arg), void *arg)
{
	clear(tree->root[0], t, fn, arg);
	clear(tree->root[1], t, fn, arg);
	*tree = (struct prefix_tree){0};
}
