/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The underlay as workers see it: the uplink's own networks and the Routes of "underlay" in the FIB, and what of the traffic that comes
 * in by the uplink is looked at at all.
 *
 * The host port and the uplink are one wire, so the networks of the host port's addresses count as well (IPv6 ones are often only there).
 */
#include <weft/neighbour.h>

#include "config_impl.h"

#define DEFAULT_MTU 1500

static const char wire_owner[] = "uplink";

static bool
is_prefix4(const struct prefix *p)
{
	return p->len >= 96 && ip_is4(&p->ip);
}

/* The networks of one port's addresses that are more than the address. */
static int
links_of(struct config_txn *t, const struct config_object *port, bool put, struct error *e)
{
	int rc = 0;
	for (uint32_t i = 0; port != NULL && i < port->spec->port.ips.n && rc == 0; i++) {
		const struct prefix *p = &port->spec->port.ips.v[i].prefix;
		if (p->len == 128 || ip_is_link_local6(&p->ip))
			continue;
		if (!put) {
			fib_remove(t, NETWORK_UNDERLAY, p, wire_owner);
			continue;
		}
		struct route r = {.key = {.ip = p->ip, .network = NETWORK_UNDERLAY, .len = p->len},
				  .kind = ROUTE_LINK,
				  .slot = t->c->network[NETWORK_UNDERLAY]->slot,
				  .hop = t->b->link_hop[is_prefix4(p)],
				  .owner = wire_owner};
		rc = fib_put(t, &r, "ips", e);
	}
	return rc;
}

void
wire_links_remove(struct config_txn *t)
{
	const struct config_builder *was = builder_of(t->base);
	if (was->uplink == NULL)
		return;
	links_of(t, was->uplink, false, NULL);
	links_of(t, was->host, false, NULL);
	for (int v4 = 0; v4 < 2; v4++) {
		hop_release(&t->txn, t->b->link_hop[v4]);
		t->b->link_hop[v4] = 0;
	}
}

/* A hop out of the uplink; 0 and *e when there is no room. */
static uint32_t
make_hop(struct config_txn *t, bool v4, uint16_t neighbour, struct error *e)
{
	const struct spec_port *uplink = &t->b->uplink->spec->port;
	struct hop h;
	memset(&h, 0, sizeof(h));
	h.kind = HOP_UNDERLAY;
	h.port = t->c->uplink_port;
	h.mtu = uplink->mtu != 0 ? uplink->mtu : DEFAULT_MTU;
	h.neighbour = neighbour;
	h.source = t->c->wire_ip[v4];
	uint32_t id = hop_alloc(&t->txn, &h);
	if (id == 0)
		error_set(e, -ENOSPC, "all %u hops are in use", WEFT_MAX_HOPS - 1);
	return id;
}

int
wire_links_put(struct config_txn *t, struct error *e)
{
	if (t->b->uplink == NULL)
		return 0;
	for (int v4 = 0; v4 < 2; v4++) {
		if (ip_is_none(&t->c->wire_ip[v4]))
			continue;
		t->b->link_hop[v4] = make_hop(t, v4, 0, e);
		if (t->b->link_hop[v4] == 0)
			return -ENOSPC;
	}
	int rc = links_of(t, t->b->uplink, true, e);
	return rc == 0 ? links_of(t, t->b->host, true, e) : rc;
}

void
wire_route_remove(struct config_txn *t, const struct underlay_route *r)
{
	struct prefix p = {r->key.ip, r->key.len};
	fib_remove(t, NETWORK_UNDERLAY, &p, r->spec);
	for (uint32_t i = 0; i < r->n; i++) {
		hop_release(&t->txn, r->way[i].hop);
		neighbour_release(&t->txn, r->neighbour[i]);
	}
	if (r->way != NULL) {
		txn_retire(&t->txn, r->way);
		txn_retire(&t->txn, r->neighbour);
	}
}

static int
make_way(struct config_txn *t, struct underlay_route *r, const struct spec_next_hop *h, bool v4, struct error *e)
{
	uint16_t neighbour = 0;
	if (!ip_is_none(&h->ip)) {
		neighbour = neighbour_use(&t->txn, t->c->uplink_port, &h->ip, &t->c->wire_ip[v4]);
		if (neighbour == 0)
			return error_set(e, -ENOSPC, "all %d underlay neighbours are in use", WEFT_MAX_NEIGHBOURS - 1);
	}
	uint32_t hop = make_hop(t, v4, neighbour, e);
	if (hop == 0)
		return -ENOSPC;
	uint32_t before = r->n > 0 ? r->way[r->n - 1].upto : 0;
	r->way[r->n] = (struct route_way){hop, before + (h->weight != 0 ? h->weight : 1)};
	r->neighbour[r->n++] = neighbour;
	return 0;
}

int
wire_route_put(struct config_txn *t, struct underlay_route *r, struct error *e)
{
	struct prefix p = {r->key.ip, r->key.len};
	bool v4 = is_prefix4(&p);
	if (t->b->uplink == NULL || ip_is_none(&t->c->wire_ip[v4]))
		return 0;
	r->way = txn_alloc(&t->txn, r->spec->n_next_hops * sizeof(*r->way));
	r->neighbour = txn_alloc(&t->txn, r->spec->n_next_hops * sizeof(*r->neighbour));
	for (uint32_t i = 0; i < r->spec->n_next_hops; i++) {
		const struct spec_next_hop *h = &r->spec->next_hops[i];
		if (h->port != NULL && strcmp(h->port, t->b->uplink->name) != 0)
			continue;
		int rc = make_way(t, r, h, v4, e);
		if (rc < 0)
			return rc;
	}
	if (r->n == 0)
		return 0;
	struct route route = {.key = r->key,
			      .kind = ROUTE_VIA,
			      .slot = t->c->network[NETWORK_UNDERLAY]->slot,
			      .hop = r->way[0].hop,
			      .n_ways = r->n,
			      .ways = r->way,
			      .owner = r->spec};
	return fib_put(t, &route, "prefix", e);
}

static void
watch(struct config_txn *t, const struct prefix *p, int by)
{
	const struct watch *old = lpm_get(&t->c->watch, NETWORK_UNDERLAY, p);
	uint32_t uses = (old != NULL ? old->uses : 0) + (uint32_t)by;
	void *gone;
	if (uses == 0) {
		gone = lpm_remove(&t->c->watch, &t->txn, NETWORK_UNDERLAY, p);
	} else {
		struct watch *w = txn_alloc(&t->txn, sizeof(*w));
		w->key = (struct lpm_key){.ip = p->ip, .network = NETWORK_UNDERLAY, .len = p->len};
		w->uses = uses;
		gone = lpm_put(&t->c->watch, &t->txn, w);
	}
	if (gone != NULL)
		txn_retire(&t->txn, gone);
}

static void
watch_network(struct config_txn *t, const struct network *n, int by)
{
	const struct spec_network *spec = n->spec;
	for (uint32_t i = 0; i < spec->masquerade.ips.n; i++) {
		struct prefix p = prefix_of(&spec->masquerade.ips.v[i]);
		watch(t, &p, by);
	}
	for (uint32_t i = 0; spec->masquerade.exclude.n > 0 && i < spec->n_subnets; i++)
		watch(t, &spec->subnets[i].prefix, by);
	/* Who left by it before must be asked again. */
	config_bump(t, t->c->network[NETWORK_UNDERLAY]->slot);
}

void
wire_network_remove(struct config_txn *t, const struct network *n)
{
	if (!n->spec->has_masquerade)
		return;
	watch_network(t, n, -1);
	for (uint32_t i = 0; i < n->spec->masquerade.exclude.n; i++) {
		void *gone = lpm_remove(&t->c->exclude, &t->txn, n->id, &n->spec->masquerade.exclude.v[i]);
		if (gone != NULL)
			txn_retire(&t->txn, gone);
	}
}

void
wire_network_put(struct config_txn *t, const struct network *n)
{
	if (!n->spec->has_masquerade)
		return;
	watch_network(t, n, 1);
	for (uint32_t i = 0; i < n->spec->masquerade.exclude.n; i++) {
		const struct prefix *p = &n->spec->masquerade.exclude.v[i];
		struct exclusion *x = txn_alloc(&t->txn, sizeof(*x));
		x->key = (struct lpm_key){.ip = p->ip, .network = n->id, .len = p->len};
		void *gone = lpm_put(&t->c->exclude, &t->txn, x);
		if (gone != NULL)
			txn_retire(&t->txn, gone);
	}
}
