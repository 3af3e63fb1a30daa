/* SPDX-License-Identifier: Apache-2.0 */
/* Which neighbour on the uplink leads to an address of the underlay. */
#include "config_impl.h"

int
underlay_validate(const struct spec_route *spec, struct error *e)
{
	char where[40];
	if (spec->network != NULL && strcmp(spec->network, "underlay") != 0)
		return error_at(e, -EOPNOTSUPP, "network",
				"\"%s\": only routes of network \"underlay\" are supported yet", spec->network);
	if (spec->n_next_hops == 0)
		return error_at(e, -EINVAL, "nextHops", "at least one is needed");
	bool v4 = spec->prefix.len >= 96 && ip_is4(&spec->prefix.ip);
	for (uint32_t i = 0; i < spec->n_next_hops; i++) {
		const struct ip *ip = &spec->next_hops[i].ip;
		if (ip_is_none(ip) || ip_is4(ip) == v4)
			continue;
		snprintf(where, sizeof(where), "nextHops[%u].ip", i);
		return error_at(e, -EINVAL, where, "must be an %s address, as the prefix", v4 ? "IPv4" : "IPv6");
	}
	return 0;
}

static void
take_out(struct config_txn *t, const struct spec_route *spec)
{
	struct underlay_route *r = lpm_remove(&t->b->underlay, &t->txn, 0, &spec->prefix);
	if (r == NULL)
		return;
	wire_route_remove(t, r);
	txn_retire(&t->txn, r);
}

static int
put_in(struct config_txn *t, const struct spec_route *spec, struct error *e)
{
	const struct underlay_route *other = lpm_get(&t->b->underlay, 0, &spec->prefix);
	if (other != NULL) {
		char text[PREFIX_TEXT_MAX];
		return error_at(e, -EEXIST, "prefix", "%s has a route already, \"%s\"",
				prefix_format(&spec->prefix, text), other->spec->name);
	}
	struct underlay_route *r = txn_alloc(&t->txn, sizeof(*r));
	r->key = (struct lpm_key){.ip = spec->prefix.ip, .len = spec->prefix.len};
	r->spec = spec;
	lpm_put(&t->b->underlay, &t->txn, r);
	return wire_route_put(t, r, e);
}

static int
touch(const void *object, void *arg)
{
	object_touch(arg, KIND_ROUTE, ((const struct config_object *)object)->name);
	return 0;
}

int
underlay_settle(struct config_txn *t, struct error *e)
{
	if (t->wire_changed) {
		pmap_walk(&t->base->objects[KIND_ROUTE], touch, t);
		wire_links_remove(t);
	}
	for (const struct change *ch = t->changes[KIND_ROUTE]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL)
			take_out(t, &ch->base->spec->route);
	}
	if (t->wire_changed) {
		int rc = wire_links_put(t, e);
		if (rc < 0)
			return rc;
	}
	for (const struct change *ch = t->changes[KIND_ROUTE]; ch != NULL; ch = ch->next) {
		int rc = ch->now != NULL ? put_in(t, &ch->now->spec->route, e) : 0;
		if (rc < 0)
			return blame(t, KIND_ROUTE, ch->name, rc);
	}
	return 0;
}

/* The first next hop on the uplink: there is one uplink, so there is nothing to share among. */
static bool
next_hop_of(const struct spec_route *route, const char *uplink, const struct ip *ip, struct ip *next)
{
	for (uint32_t i = 0; i < route->n_next_hops; i++) {
		const struct spec_next_hop *h = &route->next_hops[i];
		if (h->port != NULL && strcmp(h->port, uplink) != 0)
			continue;
		*next = ip_is_none(&h->ip) ? *ip : h->ip;
		return true;
	}
	return false;
}

bool
underlay_next_hop(const struct config *c, const struct ip *ip, struct ip *next)
{
	const struct config_builder *b = builder_of(c);
	if (b->uplink == NULL || ip_is_none(&c->vtep_ip) || ip_equal(ip, &c->vtep_ip))
		return false;
	const struct spec_port *uplink = &b->uplink->spec->port;
	for (uint32_t i = 0; i < uplink->ips.n; i++) {
		if (prefix_contains(&uplink->ips.v[i].prefix, ip)) {
			*next = *ip;
			return true;
		}
	}
	const void *route[129];
	unsigned int n = lpm_find_all(&b->underlay, 0, ip, route, 129);
	for (unsigned int i = 0; i < n; i++) {
		if (next_hop_of(((const struct underlay_route *)route[i])->spec, uplink->name, ip, next))
			return true;
	}
	return false;
}
