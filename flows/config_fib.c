/* SPDX-License-Identifier: Apache-2.0 */
#include "config_impl.h"

/* Who puts routes in; the owner of ROUTE_HOST routes is no spec, see config_port.c. */
static int
conflict(const struct route *r, const struct route *other, const char *where, struct error *e)
{
	struct prefix p = {r->key.ip, r->key.len};
	char text[PREFIX_TEXT_MAX];
	prefix_format(&p, text);
	const union spec *owner = other->owner;
	switch ((enum route_kind)other->kind) {
	case ROUTE_ENDPOINT:
		return error_at(e, -EEXIST, where, "%s belongs to Endpoint \"%s\"", text, owner->name);
	case ROUTE_REMOTE:
		return error_at(e, -EEXIST, where, "%s belongs to Remote \"%s\"", text, owner->name);
	case ROUTE_GATEWAY:
		return error_at(e, -EEXIST, where, "%s is a gateway of Network \"%s\"", text, owner->name);
	case ROUTE_LINK:
		return error_at(e, -EEXIST, where, "%s is a network of the uplink", text);
	case ROUTE_VIA:
		return error_at(e, -EEXIST, where, "%s belongs to Route \"%s\"", text, owner->name);
	case ROUTE_HOST:
		break;
	}
	return error_at(e, -EEXIST, where, "%s is an address of this node", text);
}

/*
 * A local endpoint is preferred to a remote one; an address of the node that is also a gateway is the node's; a network that the uplink
 * is in needs no Route.
 */
static bool
outranks(uint8_t kind, uint8_t other)
{
	return (kind == ROUTE_ENDPOINT && other == ROUTE_REMOTE) ||
	       (kind == ROUTE_HOST && (other == ROUTE_GATEWAY || other == ROUTE_LINK || other == ROUTE_VIA)) ||
	       (kind == ROUTE_LINK && other == ROUTE_VIA);
}

static void
replace(struct lpm *table, struct config_txn *t, struct route *r)
{
	void *old = lpm_put(table, &t->txn, r);
	if (old != NULL)
		txn_retire(&t->txn, old);
}

int
fib_put(struct config_txn *t, const struct route *r, const char *where, struct error *e)
{
	struct prefix p = {r->key.ip, r->key.len};
	uint32_t network = r->key.network;
	const struct route *now = lpm_get(&t->c->fib, network, &p);
	const struct route *shadow = lpm_get(&t->b->shadow, network, &p);
	bool wins = now == NULL || now->owner == r->owner || outranks(r->kind, now->kind);
	if (!wins && !outranks(now->kind, r->kind))
		return claims_yield(t, now) ? fib_put(t, r, where, e) : conflict(r, now, where, e);
	bool moves = wins && now != NULL && now->owner != r->owner;
	if ((moves || !wins) && shadow != NULL && shadow->owner != r->owner)
		return conflict(r, shadow, where, e);
	struct route *copy = txn_alloc(&t->txn, sizeof(*copy));
	*copy = *r;
	if (!wins) {
		replace(&t->b->shadow, t, copy);
		return 0;
	}
	if (moves)
		replace(&t->b->shadow, t, lpm_remove(&t->c->fib, &t->txn, network, &p));
	replace(&t->c->fib, t, copy);
	vector_push(&t->routed, &copy->key, sizeof(copy->key));
	return 0;
}

void
fib_remove(struct config_txn *t, uint32_t network, const struct prefix *p, const void *owner)
{
	const struct route *now = lpm_get(&t->c->fib, network, p);
	if (now != NULL && now->owner == owner) {
		vector_push(&t->routed, &now->key, sizeof(now->key));
		txn_retire(&t->txn, lpm_remove(&t->c->fib, &t->txn, network, p));
		void *shadow = lpm_remove(&t->b->shadow, &t->txn, network, p);
		if (shadow != NULL)
			lpm_put(&t->c->fib, &t->txn, shadow);
		return;
	}
	const struct route *shadow = lpm_get(&t->b->shadow, network, p);
	if (shadow != NULL && shadow->owner == owner)
		txn_retire(&t->txn, lpm_remove(&t->b->shadow, &t->txn, network, p));
}

/* Networks may overlap: which one the host means by a prefix is the one with the lowest id that has it. */
struct host_entry {
	struct host_route route; /* first */
	uint32_t n;
	struct {
		uint32_t network, uses;
	} claim[];
};

static void
host_fib_set(struct config_txn *t, const struct prefix *p, struct host_entry *entry)
{
	void *old;
	if (entry->n == 0) {
		txn_discard(&t->txn, entry);
		old = lpm_remove(&t->c->host_fib, &t->txn, 0, p);
	} else {
		entry->route.key = (struct lpm_key){.ip = p->ip, .len = p->len};
		entry->route.network = entry->claim[0].network;
		old = lpm_put(&t->c->host_fib, &t->txn, entry);
	}
	if (old != NULL)
		txn_discard(&t->txn, old);
	vector_push(&t->host_meant, p, sizeof(*p));
}

void
host_fib_add(struct config_txn *t, const struct prefix *p, uint32_t network)
{
	const struct host_entry *old = lpm_get(&t->c->host_fib, 0, p);
	uint32_t n = old != NULL ? old->n : 0, at = 0;
	struct host_entry *entry = txn_alloc(&t->txn, sizeof(*entry) + (n + 1) * sizeof(entry->claim[0]));
	while (at < n && old->claim[at].network < network) {
		entry->claim[at] = old->claim[at];
		at++;
	}
	bool known = at < n && old->claim[at].network == network;
	entry->claim[at].network = network;
	entry->claim[at].uses = 1 + (known ? old->claim[at].uses : 0);
	entry->n = known ? n : n + 1;
	for (uint32_t i = at + known; i < n; i++)
		entry->claim[i + 1 - known] = old->claim[i];
	host_fib_set(t, p, entry);
}

void
host_fib_drop(struct config_txn *t, const struct prefix *p, uint32_t network)
{
	const struct host_entry *old = lpm_get(&t->c->host_fib, 0, p);
	struct host_entry *entry = txn_alloc(&t->txn, sizeof(*entry) + old->n * sizeof(entry->claim[0]));
	for (uint32_t i = 0; i < old->n; i++) {
		uint32_t gone = old->claim[i].network == network;
		if (old->claim[i].uses == gone)
			continue;
		entry->claim[entry->n] = old->claim[i];
		entry->claim[entry->n++].uses -= gone;
	}
	host_fib_set(t, p, entry);
}

/* What serves the addresses of a prefix that has no route itself. */
static uint32_t
cover_slot(const struct config *c, const struct lpm_key *key)
{
	const struct route *r = lpm_find_shorter(&c->fib, key->network, &key->ip, key->len);
	if (r != NULL)
		return r->slot;
	return c->network[key->network] != NULL ? c->network[key->network]->slot : 0;
}

static bool
in_subnets(const struct network *n, const struct prefix *p)
{
	for (uint32_t i = 0; i < n->n_subnets; i++)
		if (n->subnets[i].prefix.len <= p->len && prefix_contains(&n->subnets[i].prefix, &p->ip))
			return true;
	return false;
}

static bool
same(const struct route *a, const struct route *b)
{
	return a == b || (a->kind == b->kind && a->slot == b->slot && a->hop == b->hop && a->endpoint == b->endpoint);
}

static void
bump_route(struct config_txn *t, const struct lpm_key *key)
{
	struct prefix p = {key->ip, key->len};
	const struct route *before = lpm_get(&t->base->fib, key->network, &p);
	const struct route *after = lpm_get(&t->c->fib, key->network, &p);
	if (before != NULL && after != NULL && same(before, after))
		return;
	if (before == NULL && after == NULL)
		return;
	/* What pods sent out by the uplink may be somebody's in here now. */
	const struct network *n = t->c->network[key->network];
	if ((before == NULL || after == NULL) && n != NULL && n->spec->has_masquerade && !in_subnets(n, &p))
		config_bump(t, t->c->network[NETWORK_UNDERLAY]->slot);
	config_bump(t, before != NULL ? before->slot : cover_slot(t->base, key));
	config_bump(t, after != NULL ? after->slot : cover_slot(t->c, key));
}

static uint32_t
meant(const struct config *c, const struct prefix *p)
{
	const struct host_route *r = lpm_get(&c->host_fib, 0, p);
	if (r == NULL)
		r = lpm_find_shorter(&c->host_fib, 0, &p->ip, p->len);
	return r != NULL ? r->network : NETWORK_NONE;
}

void
fib_bump(struct config_txn *t)
{
	const struct lpm_key *key = t->routed.v;
	for (size_t i = 0; i < t->routed.n; i++)
		bump_route(t, &key[i]);
	const struct prefix *p = t->host_meant.v;
	for (size_t i = 0; i < t->host_meant.n; i++) {
		if (meant(t->base, &p[i]) != meant(t->c, &p[i])) {
			config_bump(t, t->c->host_slot);
			break;
		}
	}
}
