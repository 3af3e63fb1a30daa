/* SPDX-License-Identifier: Apache-2.0 */
#include "config_impl.h"

static const struct pmap_type user_type = {offsetof(struct port_user, port), NAME_KEY};

const struct port_user *
port_user_find(const struct config *c, const char *port)
{
	char key[NAME_KEY];
	name_key(key, port);
	return pmap_find(&builder_of(c)->by_port, &user_type, key);
}

static bool
looks_changed(const struct network *a, const struct network *b)
{
	return a->mtu != b->mtu || !mac_equal(&a->gateway_mac, &b->gateway_mac);
}

static int
touch_if_affected(const void *object, void *arg)
{
	const struct config_object *o = object;
	struct config_txn *t = arg;
	uint32_t id = ((const struct endpoint *)o->compiled)->network;
	const struct network *now = t->c->network[id];
	if (now != NULL && now != t->base->network[id] && looks_changed(now, t->base->network[id]))
		object_touch(t, KIND_ENDPOINT, o->name);
	return 0;
}

void
endpoints_touch(struct config_txn *t)
{
	for (const struct change *ch = t->changes[KIND_PORT]; ch != NULL; ch = ch->next) {
		const struct port_user *user = port_user_find(t->base, ch->name);
		if (user != NULL)
			object_touch(t, KIND_ENDPOINT, user->endpoint);
	}
	if (t->changes[KIND_NETWORK] != NULL)
		pmap_walk(&t->base->objects[KIND_ENDPOINT], touch_if_affected, t);
}

static void
free_slot(void *slot)
{
	generation_free((uint32_t)(uintptr_t)slot);
}

static void
take_out(struct config_txn *t, const struct change *ch)
{
	const struct endpoint *ep = ch->base->compiled;
	const struct spec_endpoint *spec = ep->spec;
	if (spec->port != NULL) {
		char key[NAME_KEY];
		name_key(key, spec->port);
		txn_retire(&t->txn, pmap_remove(&t->b->by_port, &user_type, &t->txn, key));
	}
	for (uint32_t i = 0; i < spec->ips.n; i++) {
		struct prefix p = prefix_of(&spec->ips.v[i]);
		fib_remove(t, ep->network, &p, spec);
	}
	for (uint32_t i = 0; i < spec->prefixes.n; i++)
		fib_remove(t, ep->network, &spec->prefixes.v[i], spec);
	mac_add(t, ep->network, &ep->mac, -1);
	claims_take_out(t, ep, ch->name, ch->now == NULL);
	config_bump(t, ep->slot);
	t->b->n_closed -= ep->closed;
	txn_retire(&t->txn, (void *)(uintptr_t)ep);
	if (ch->now != NULL)
		return;
	policy_endpoint_remove(&t->c->policy, &t->txn, ch->name, config_bump, t);
	hop_release(&t->txn, ep->hop);
	txn_after_grace(&t->txn, free_slot, (void *)(uintptr_t)ep->slot);
}

void
endpoints_take_out(struct config_txn *t)
{
	for (const struct change *ch = t->changes[KIND_ENDPOINT]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL)
			take_out(t, ch);
	}
}

static int
claim_port(struct config_txn *t, const struct change *ch, struct error *e)
{
	const char *port = ch->now->spec->endpoint.port;
	if (port == NULL)
		return 0;
	const struct port_user *other = port_user_find(t->c, port);
	if (other != NULL)
		return error_at(e, -EEXIST, "port", "Port \"%s\" carries Endpoint \"%s\" already", port,
				other->endpoint);
	const struct config_object *o = object_find(t->c, KIND_PORT, port);
	if (o != NULL && (o->spec->port.host || o->spec->port.uplink))
		return error_at(e, -EINVAL, "port", "Port \"%s\" is %s and cannot carry an Endpoint", port,
				o->spec->port.host ? "the host port" : "an uplink");
	struct port_user *user = txn_alloc(&t->txn, sizeof(*user));
	name_key(user->port, port);
	user->endpoint = ch->now->spec->name;
	pmap_put(&t->b->by_port, &user_type, &t->txn, user);
	return 0;
}

/* The hop it had is kept when nothing about it changed: connections that only pass through it stay decided. */
static int
choose_hop(struct config_txn *t, struct endpoint *ep, const struct network *n, const struct endpoint *base,
	   struct error *e)
{
	const struct config_object *port = object_find(t->c, KIND_PORT, ep->spec->port);
	struct hop h;
	memset(&h, 0, sizeof(h));
	ep->port = PORT_NONE;
	if (port != NULL) {
		uint16_t mtu = port->spec->port.mtu;
		ep->port = h.port = port->facts.id;
		h.kind = HOP_PORT;
		h.mtu = mtu != 0 && mtu < n->mtu ? mtu : n->mtu;
		h.network = n->id;
		memcpy(h.l2, &ep->mac, 6);
		memcpy(h.l2 + 6, &ep->gateway_mac, 6);
	}
	uint32_t old = base != NULL ? base->hop : 0;
	ep->hop = old;
	if (memcmp(hop_get(old), &h, sizeof(h)) == 0)
		return 0;
	hop_release(&t->txn, old);
	ep->hop = port != NULL ? hop_alloc(&t->txn, &h) : 0;
	if (port != NULL && ep->hop == 0)
		return error_set(e, -ENOSPC, "all %u hops are in use", WEFT_MAX_HOPS - 1);
	return 0;
}

static int
put_routes(struct config_txn *t, const struct endpoint *ep, struct error *e)
{
	const struct spec_endpoint *spec = ep->spec;
	struct route r = {.kind = ROUTE_ENDPOINT, .slot = ep->slot, .hop = ep->hop, .endpoint = ep, .owner = spec};
	char where[40];
	int rc = 0;
	for (uint32_t i = 0; i < spec->ips.n && rc == 0; i++) {
		snprintf(where, sizeof(where), "ips[%u]", i);
		r.key = (struct lpm_key){.ip = spec->ips.v[i], .network = ep->network, .len = 128};
		rc = fib_put(t, &r, where, e);
	}
	for (uint32_t i = 0; i < spec->prefixes.n && rc == 0; i++) {
		const struct prefix *p = &spec->prefixes.v[i];
		snprintf(where, sizeof(where), "prefixes[%u]", i);
		r.key = (struct lpm_key){.ip = p->ip, .network = ep->network, .len = p->len};
		rc = fib_put(t, &r, where, e);
	}
	return rc;
}

static bool
is_paired(const struct spec_endpoint *spec)
{
	static const struct mac unset;
	bool other = false;
	for (uint32_t i = 0; i < spec->n_allowed; i++)
		other |= !mac_equal(&spec->allowed[i].mac, &unset) && !mac_equal(&spec->allowed[i].mac, &spec->mac);
	return other && spec->anti_spoof == ANTI_SPOOF_STRICT;
}

static int
put_in(struct config_txn *t, const struct change *ch, struct error *e)
{
	const struct spec_endpoint *spec = &ch->now->spec->endpoint;
	const struct endpoint *base = ch->base != NULL ? ch->base->compiled : NULL;
	uint32_t network = refer_overlay(t, spec->network, e);
	if (network == NETWORK_NONE)
		return -ENOENT;
	struct endpoint *ep = txn_alloc(&t->txn, sizeof(*ep));
	ep->slot = base != NULL ? base->slot : generation_alloc();
	if (ep->slot == 0)
		return error_set(e, -ENOSPC, "all %u generation slots are in use", WEFT_MAX_SLOTS - 1);
	if (base == NULL)
		txn_on_abort(&t->txn, free_slot, (void *)(uintptr_t)ep->slot);
	ep->network = network;
	ep->mac = spec->mac;
	ep->gateway_mac = t->c->network[network]->gateway_mac;
	ep->anti_spoof = spec->anti_spoof;
	ep->spec = spec;
	ep->paired = is_paired(spec);
	ep->closed = admission_closed(t, spec, base);
	t->b->n_closed += ep->closed;
	object_compiled(ch, ep);
	mac_add(t, network, &ep->mac, 1);
	int rc = claim_port(t, ch, e);
	if (rc == 0)
		rc = choose_hop(t, ep, t->c->network[network], base, e);
	if (rc == 0)
		rc = put_routes(t, ep, e);
	if (rc == 0)
		claims_put_in(t, ep, ch->name);
	if (rc == 0 && (base == NULL || base->network != network))
		rc = policy_endpoint_put(&t->c->policy, &t->txn, ch->name, network, ep->slot, config_bump, t);
	return rc;
}

int
endpoints_put_in(struct config_txn *t, struct error *e)
{
	for (const struct change *ch = t->changes[KIND_ENDPOINT]; ch != NULL; ch = ch->next) {
		int rc = ch->now != NULL ? put_in(t, ch, e) : 0;
		if (rc < 0)
			return blame(t, KIND_ENDPOINT, ch->name, rc);
	}
	return 0;
}
