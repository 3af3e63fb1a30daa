/* SPDX-License-Identifier: Apache-2.0 */
/* The node itself: its ports, its own addresses, the way to the host. */
#include "config_impl.h"

#define DEFAULT_MTU 1500

/* What the host sees frames come from: the same whichever network they come out of. */
static const struct mac host_gateway_mac = {{0x02, 0, 0, 0, 0, 0x01}};
/* Owner of the ROUTE_HOST routes, which no one object puts there. */
static const char node_owner[] = "node";

int
port_validate(const struct spec_port *spec, struct error *e)
{
	if (spec->host && spec->uplink)
		return error_at(e, -EINVAL, "uplink", "a port is the host port or an uplink, not both");
	if (spec->ips.n > 0 && !spec->host && !spec->uplink)
		return error_at(e, -EINVAL, "ips", "only a host port or an uplink has addresses of its own");
	return 0;
}

static int
claim(struct config_txn *t, const struct config_object **role, const struct change *ch, const char *where,
      const char *what, struct error *e)
{
	if (*role != NULL)
		return blame(t, KIND_PORT, ch->name,
			     error_at(e, -EEXIST, where, "Port \"%s\" is %s, and there can be one only%s",
				      (*role)->name, what, role == &t->b->uplink ? " for now" : ""));
	*role = ch->now;
	return 0;
}

static int
settle_roles(struct config_txn *t, struct error *e)
{
	for (const struct change *ch = t->changes[KIND_PORT]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL && t->b->host == ch->base)
			t->b->host = NULL;
		if (ch->base != NULL && t->b->uplink == ch->base)
			t->b->uplink = NULL;
	}
	for (const struct change *ch = t->changes[KIND_PORT]; ch != NULL; ch = ch->next) {
		if (ch->now == NULL)
			continue;
		const struct spec_port *spec = &ch->now->spec->port;
		int rc = spec->host ? claim(t, &t->b->host, ch, "host", "the host port", e) : 0;
		if (rc == 0 && spec->uplink)
			rc = claim(t, &t->b->uplink, ch, "uplink", "the uplink", e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static const struct prefix_list *
cidrs_of(const struct config_object *node)
{
	static const struct prefix_list none;
	return node != NULL ? &node->spec->node.service_cidrs : &none;
}

static bool
same_prefixes(const struct prefix_list *a, const struct prefix_list *b)
{
	for (uint32_t i = 0; i < a->n && i < b->n; i++) {
		if (a->v[i].len != b->v[i].len || !ip_equal(&a->v[i].ip, &b->v[i].ip))
			return false;
	}
	return a->n == b->n;
}

static int
settle_self(struct config_txn *t, struct error *e)
{
	const struct config_object *before = t->b->self;
	for (const struct change *ch = t->changes[KIND_NODE]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL && t->b->self == ch->base)
			t->b->self = NULL;
	}
	for (const struct change *ch = t->changes[KIND_NODE]; ch != NULL; ch = ch->next) {
		if (ch->now == NULL || !ch->now->spec->node.self)
			continue;
		if (t->b->self != NULL)
			return blame(
				t, KIND_NODE, ch->name,
				error_at(e, -EEXIST, "self", "Node \"%s\" is this node already", t->b->self->name));
		t->b->self = ch->now;
	}
	const struct prefix_list *cidrs = cidrs_of(t->b->self);
	if (!same_prefixes(cidrs_of(before), cidrs)) {
		struct service_change c = service_change_of(t);
		service_set_cidrs(&c, cidrs);
	}
	return 0;
}

static uint32_t
add_ip(struct ip *list, uint32_t n, const struct ip *ip)
{
	for (uint32_t i = 0; i < n; i++) {
		if (ip_equal(&list[i], ip))
			return n;
	}
	list[n] = *ip;
	return n + 1;
}

static void
settle_ips(struct config_txn *t)
{
	struct config *c = t->c;
	static const struct host_prefix_list no_ports_ips;
	static const struct ip_list no_ips;
	const struct host_prefix_list *of_port[2] = {
		t->b->host != NULL ? &t->b->host->spec->port.ips : &no_ports_ips,
		t->b->uplink != NULL ? &t->b->uplink->spec->port.ips : &no_ports_ips,
	};
	const struct ip_list *of_node = t->b->self != NULL ? &t->b->self->spec->node.ips : &no_ips;
	uint32_t n = 0, most = of_port[0]->n + of_port[1]->n + of_node->n;
	struct ip *list = txn_alloc(&t->txn, most * sizeof(*list));
	for (int p = 0; p < 2; p++) {
		for (uint32_t i = 0; i < of_port[p]->n; i++)
			n = add_ip(list, n, &of_port[p]->v[i].ip);
	}
	for (uint32_t i = 0; i < of_node->n; i++)
		n = add_ip(list, n, &of_node->v[i]);
	if (c->node_ips != NULL && n == c->n_node_ips && memcmp(list, c->node_ips, n * sizeof(*list)) == 0) {
		txn_discard(&t->txn, list);
		return;
	}
	t->node_ips_changed = true;
	if (c->node_ips != NULL)
		txn_retire(&t->txn, (void *)(uintptr_t)c->node_ips);
	c->node_ips = list;
	c->n_node_ips = n;
}

/* The first of the uplink's addresses of a family, or of the host port's, which hang on the same wire, or of the Node's. */
static struct ip
wire_ip(const struct config_txn *t, bool v4)
{
	const struct config_object *port[2] = {t->b->uplink, t->b->host};
	for (int p = 0; p < 2; p++) {
		for (uint32_t i = 0; port[p] != NULL && i < port[p]->spec->port.ips.n; i++) {
			const struct ip *ip = &port[p]->spec->port.ips.v[i].ip;
			if (ip_is4(ip) == v4 && !ip_is_link_local6(ip))
				return *ip;
		}
	}
	for (uint32_t i = 0; t->b->self != NULL && i < t->b->self->spec->node.ips.n; i++)
		if (ip_is4(&t->b->self->spec->node.ips.v[i]) == v4)
			return t->b->self->spec->node.ips.v[i];
	static const struct ip none;
	return none;
}

static int
settle_host(struct config_txn *t, struct error *e)
{
	struct config *c = t->c;
	struct hop h;
	memset(&h, 0, sizeof(h));
	c->host_port = PORT_NONE;
	memset(&c->host_mac, 0, sizeof(c->host_mac));
	if (t->b->host != NULL) {
		const struct spec_port *spec = &t->b->host->spec->port;
		c->host_port = t->b->host->facts.id;
		c->host_mac = t->b->host->facts.mac;
		h.kind = HOP_HOST;
		h.port = c->host_port;
		h.mtu = spec->mtu != 0 ? spec->mtu : DEFAULT_MTU;
		memcpy(h.l2, &c->host_mac, 6);
		memcpy(h.l2 + 6, &host_gateway_mac, 6);
	}
	if (memcmp(hop_get(c->host_hop), &h, sizeof(h)) == 0)
		return 0;
	t->host_changed = true;
	hop_release(&t->txn, c->host_hop);
	c->host_hop = t->b->host != NULL ? hop_alloc(&t->txn, &h) : 0;
	if (t->b->host != NULL && c->host_hop == 0)
		return error_set(e, -ENOSPC, "all %u hops are in use", WEFT_MAX_HOPS - 1);
	return 0;
}

static void
settle_uplink(struct config_txn *t)
{
	struct config *c = t->c;
	c->uplink_port = PORT_NONE;
	memset(&c->vtep_ip, 0, sizeof(c->vtep_ip));
	if (t->b->uplink == NULL)
		return;
	const struct host_prefix_list *ips = &t->b->uplink->spec->port.ips;
	c->uplink_port = t->b->uplink->facts.id;
	for (uint32_t i = 0; i < ips->n; i++) {
		if (ip_is4(&ips->v[i].ip)) {
			c->vtep_ip = ips->v[i].ip;
			break;
		}
	}
}

int
node_settle(struct config_txn *t, struct error *e)
{
	if (t->changes[KIND_PORT] == NULL && t->changes[KIND_NODE] == NULL)
		return 0;
	const struct config_object *host = t->b->host, *uplink = t->b->uplink, *self = t->b->self;
	int rc = settle_roles(t, e);
	if (rc == 0)
		rc = settle_self(t, e);
	if (rc < 0)
		return rc;
	if (t->b->host != host || t->b->uplink != uplink || t->b->self != self)
		settle_ips(t);
	if (t->b->host != host || t->b->uplink != uplink || t->b->self != self) {
		t->wire_changed = true;
		for (int v4 = 0; v4 < 2; v4++)
			t->c->wire_ip[v4] = wire_ip(t, v4);
	}
	if (t->b->uplink != uplink) {
		t->uplink_changed = true;
		settle_uplink(t);
	}
	return t->b->host != host ? settle_host(t, e) : 0;
}

static int
put_routes(struct config_txn *t, uint32_t network, struct error *e)
{
	struct route r = {.kind = ROUTE_HOST, .slot = t->c->host_slot, .hop = t->c->host_hop, .owner = node_owner};
	int rc = 0;
	for (uint32_t i = 0; i < t->c->n_node_ips && rc == 0; i++) {
		r.key = (struct lpm_key){.ip = t->c->node_ips[i], .network = network, .len = 128};
		rc = fib_put(t, &r, "ips", e);
	}
	return rc;
}

static void
remove_routes(struct config_txn *t, uint32_t network)
{
	for (uint32_t i = 0; i < t->base->n_node_ips; i++) {
		struct prefix p = prefix_of(&t->base->node_ips[i]);
		fib_remove(t, network, &p, node_owner);
	}
}

int
host_routes_settle(struct config_txn *t, struct error *e)
{
	for (const struct change *ch = t->changes[KIND_NETWORK]; ch != NULL; ch = ch->next) {
		uint32_t base = ch->base != NULL ? ((const struct network *)ch->base->compiled)->id : 0;
		int rc = 0;
		if (ch->now == NULL && base != 0)
			remove_routes(t, base);
		else if (ch->now != NULL && base == 0)
			rc = put_routes(t, ((const struct network *)ch->now->compiled)->id, e);
		if (rc < 0)
			return blame(t, KIND_NETWORK, ch->name, rc);
	}
	if (!t->host_changed && !t->node_ips_changed)
		return 0;
	config_bump(t, t->c->host_slot);
	for (uint32_t id = 0; id < WEFT_MAX_NETWORKS; id++) {
		if (t->c->network[id] == NULL)
			continue;
		remove_routes(t, id);
		int rc = put_routes(t, id, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void
view_drop(struct config_txn *t, uint16_t id)
{
	if (t->c->port[id] == NULL)
		return;
	txn_retire(&t->txn, (void *)(uintptr_t)t->c->port[id]);
	t->c->port[id] = NULL;
}

static void
view_make(struct config_txn *t, const struct config_object *o)
{
	struct port_view *v = txn_alloc(&t->txn, sizeof(*v));
	const struct port_user *user = port_user_find(t->c, o->name);
	v->port = o->facts.id;
	v->mac = o->facts.mac;
	v->spec = &o->spec->port;
	if (v->spec->uplink) {
		v->kind = SOURCE_UPLINK;
	} else if (v->spec->host) {
		v->kind = SOURCE_HOST;
		v->slot = t->c->host_slot;
	} else if (user != NULL) {
		v->kind = SOURCE_ENDPOINT;
		v->endpoint = object_find(t->c, KIND_ENDPOINT, user->endpoint)->compiled;
		v->slot = v->endpoint->slot;
		v->network = v->endpoint->network;
		v->mac = v->endpoint->mac;
	}
	t->c->port[v->port] = v;
}

void
port_views_settle(struct config_txn *t)
{
	/* Ids may have passed from one port to another. */
	for (const struct change *ch = t->changes[KIND_PORT]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL)
			view_drop(t, ch->base->facts.id);
	}
	for (const struct change *ch = t->changes[KIND_PORT]; ch != NULL; ch = ch->next) {
		if (ch->now != NULL)
			view_make(t, ch->now);
	}
	for (const struct change *ch = t->changes[KIND_ENDPOINT]; ch != NULL; ch = ch->next) {
		const struct config_object *side[2] = {ch->base, ch->now};
		for (int i = 0; i < 2; i++) {
			const char *name = side[i] != NULL ? side[i]->spec->endpoint.port : NULL;
			const struct config_object *port = object_find(t->c, KIND_PORT, name);
			if (port == NULL)
				continue;
			view_drop(t, port->facts.id);
			view_make(t, port);
		}
	}
}
