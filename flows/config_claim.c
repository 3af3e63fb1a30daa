/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses that several endpoints may speak for (`allowed`, as VRRP's virtual address): the one that announced it last has it, and is
 * routed to like an own address until another announces it, it becomes somebody's own, or the endpoint goes or may no longer.
 */
#include <stdlib.h>

#include "config_impl.h"

struct claim_key {
	struct ip ip;
	uint32_t network, zero;
};
struct claim {
	struct claim_key key;
	char endpoint[NAME_KEY];
};
static const struct pmap_type claim_type = {offsetof(struct claim, key), sizeof(struct claim_key)};

/* An endpoint that announces more than it may need is not listened to. */
#define CLAIMS_MAX 16

struct found {
	const char *endpoint;
	uint32_t n;
	struct claim_key key[CLAIMS_MAX];
};

static int
collect(const void *value, void *arg)
{
	const struct claim *c = value;
	struct found *f = arg;
	if (strcmp(c->endpoint, f->endpoint) == 0)
		f->key[f->n++] = c->key;
	return f->n == CLAIMS_MAX;
}

static struct found
claims_of(const struct config_builder *b, const char *endpoint)
{
	struct found f = {.endpoint = endpoint};
	if (b->claims.count != 0)
		pmap_walk(&b->claims, collect, &f);
	return f;
}

static void
forget(struct config_txn *t, const struct claim_key *key)
{
	void *old = pmap_remove(&t->b->claims, &claim_type, &t->txn, key);
	if (old != NULL)
		txn_retire(&t->txn, old);
}

static bool
is_allowed(const struct spec_endpoint *spec, const struct ip *ip)
{
	for (uint32_t i = 0; i < spec->n_allowed; i++)
		if (prefix_contains(&spec->allowed[i].ip, ip))
			return true;
	return false;
}

void
claims_take_out(struct config_txn *t, const struct endpoint *ep, const char *name, bool gone)
{
	struct found was = claims_of(builder_of(t->base), name);
	for (uint32_t i = 0; i < was.n; i++) {
		struct prefix p = prefix_of(&was.key[i].ip);
		fib_remove(t, ep->network, &p, ep->spec);
	}
	struct found now = gone ? claims_of(t->b, name) : (struct found){0};
	for (uint32_t i = 0; i < now.n; i++)
		forget(t, &now.key[i]);
}

void
claims_put_in(struct config_txn *t, const struct endpoint *ep, const char *name)
{
	struct found f = claims_of(t->b, name);
	for (uint32_t i = 0; i < f.n; i++) {
		struct route r = {.kind = ROUTE_ENDPOINT, .slot = ep->slot, .hop = ep->hop, .endpoint = ep, .owner = ep->spec};
		r.key = (struct lpm_key){.ip = f.key[i].ip, .network = ep->network, .len = 128};
		bool holds = f.key[i].network == ep->network && is_allowed(ep->spec, &f.key[i].ip);
		if (!holds || fib_put(t, &r, "allowed", NULL) != 0)
			forget(t, &f.key[i]);
	}
}

static bool
is_own(const struct spec_endpoint *spec, const struct ip *ip)
{
	for (uint32_t i = 0; i < spec->ips.n; i++)
		if (ip_equal(&spec->ips.v[i], ip))
			return true;
	return false;
}

bool
claims_yield(struct config_txn *t, const struct route *now)
{
	const struct claim_key key = {.ip = now->key.ip, .network = now->key.network};
	const struct claim *c = t->b->claims.count != 0 ? pmap_find(&t->b->claims, &claim_type, &key) : NULL;
	if (c == NULL || now->key.len != 128 || now->kind != ROUTE_ENDPOINT ||
	    strcmp(now->endpoint->spec->name, c->endpoint) != 0 || is_own(now->endpoint->spec, &key.ip))
		return false;
	const struct prefix p = prefix_of(&key.ip);
	fib_remove(t, key.network, &p, now->owner);
	forget(t, &key);
	return true;
}

int
config_claim(struct config_txn *t, const char *endpoint, const struct ip *ip)
{
	const struct config_object *o = object_find(t->c, KIND_ENDPOINT, endpoint);
	const struct endpoint *ep = o != NULL ? o->compiled : NULL;
	if (ep == NULL || !is_allowed(ep->spec, ip))
		return -ENOENT;
	struct claim_key key = {.ip = *ip, .network = ep->network};
	const struct claim *old = pmap_find(&t->b->claims, &claim_type, &key);
	const struct prefix p = prefix_of(ip);
	const struct route *r = lpm_get(&t->c->fib, ep->network, &p);
	if (r != NULL && old == NULL)
		return -EEXIST; /* somebody's own */
	if (old != NULL && strcmp(old->endpoint, endpoint) == 0)
		return -EALREADY;
	if (claims_of(t->b, endpoint).n == CLAIMS_MAX)
		return -ENOSPC;
	if (old != NULL)
		object_touch(t, KIND_ENDPOINT, old->endpoint);
	object_touch(t, KIND_ENDPOINT, endpoint);
	struct claim *c = txn_alloc(&t->txn, sizeof(*c));
	c->key = key;
	name_key(c->endpoint, endpoint);
	void *replaced = pmap_put(&t->b->claims, &claim_type, &t->txn, c);
	if (replaced != NULL)
		txn_retire(&t->txn, replaced);
	return 0;
}
