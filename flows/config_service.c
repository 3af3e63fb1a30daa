/* SPDX-License-Identifier: Apache-2.0 */
/* What the rest of a transaction means for services: node ports follow the Node, local backends the endpoints. */
#include "config_impl.h"

static const struct ip_list no_ips;

static const struct ip_list *
node_port_ips(const struct config_object *self)
{
	if (self == NULL)
		return &no_ips;
	const struct spec_node *node = &self->spec->node;
	return node->node_port_addresses.n > 0 ? &node->node_port_addresses : &node->ips;
}

static bool
same_ips(const struct ip_list *a, const struct ip_list *b)
{
	return a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, a->n * sizeof(*a->v)) == 0);
}

/* An address of this node: one of its pods', or its own (pods on the host's network). */
static bool
is_here(void *arg, uint32_t network, const struct ip *ip)
{
	const struct config_txn *t = arg;
	const struct route *r = config_route(t->c, network, ip);
	return r != NULL && (r->kind == ROUTE_ENDPOINT || r->kind == ROUTE_HOST);
}

/* Whoever led there so far: somebody in the network, or the way out of it. */
static void
claimed(void *arg, uint32_t network, const struct ip *ip)
{
	struct config_txn *t = arg;
	const struct route *r = config_route(t->c, network, ip);
	if (r == NULL)
		r = config_route(t->c, NETWORK_UNDERLAY, ip);
	if (r != NULL)
		config_bump(t, r->slot);
}

struct service_change
service_change_of(struct config_txn *t)
{
	t->locality = (struct service_locality){t->b->self != NULL ? t->b->self->name : NULL, is_here, t};
	return (struct service_change){&t->c->service, &t->txn, config_bump, t, &t->locality, claimed};
}

static void
note_ips(struct vector *moved, const struct config_object *o)
{
	for (uint32_t i = 0; o != NULL && i < o->spec->endpoint.ips.n; i++)
		vector_push(moved, &o->spec->endpoint.ips.v[i], sizeof(struct ip));
}

static uint32_t
home_of(const struct config_object *o)
{
	return o != NULL ? ((const struct endpoint *)o->compiled)->network : NETWORK_NONE;
}

/* Addresses that an endpoint came to have, or has no longer. False: too many to list. */
static bool
list_moved(const struct config_txn *t, struct vector *moved)
{
	for (const struct change *ch = t->changes[KIND_ENDPOINT]; ch != NULL; ch = ch->next) {
		const struct spec_endpoint *was = ch->base != NULL ? &ch->base->spec->endpoint : NULL;
		const struct spec_endpoint *is = ch->now != NULL ? &ch->now->spec->endpoint : NULL;
		if ((was != NULL && was->prefixes.n > 0) || (is != NULL && is->prefixes.n > 0))
			return false;
		if (was != NULL && is != NULL && home_of(ch->base) == home_of(ch->now) && same_ips(&was->ips, &is->ips))
			continue;
		note_ips(moved, ch->base);
		note_ips(moved, ch->now);
	}
	return true;
}

int
services_settle(struct config_txn *t, struct error *e)
{
	const struct config_object *was = builder_of(t->base)->self, *is = t->b->self;
	struct service_change c = service_change_of(t);
	struct vector moved = {0};
	int rc = 0;
	if (was != is && !same_ips(node_port_ips(was), node_port_ips(is)))
		rc = service_set_node_ips(&c, node_port_ips(is), e);
	if (rc < 0)
		return blame(t, KIND_NODE, is->name, rc);
	bool all = was != is || t->host_changed || t->node_ips_changed || t->changes[KIND_NETWORK] != NULL ||
		   !list_moved(t, &moved);
	if (all || moved.n > 0)
		rc = service_localize(&c, all ? NULL : moved.v, moved.n, e);
	free(moved.v);
	return rc;
}
