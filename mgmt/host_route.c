/* SPDX-License-Identifier: Apache-2.0 */
/* The node finds its pods through the host port's device: one kernel route for each subnet of each Network. */
#include <stdlib.h>

#include <weft/netlink.h>
#include <weft/text.h>

#include "mgmt_impl.h"

static const struct object *
host_port(const struct mgmt *m)
{
	for (uint32_t i = 0; i < m->index.n[KIND_PORT]; i++) {
		const struct object *o = m->index.v[KIND_PORT][i];
		if (o->seat != NULL && o->spec->port.host && o->spec->port.ifname != NULL)
			return o;
	}
	return NULL;
}

static bool
same_route(const struct host_route_entry *a, const struct host_route_entry *b)
{
	return a->port == b->port && a->prefix.len == b->prefix.len && ip_equal(&a->prefix.ip, &b->prefix.ip) &&
	       strcmp(a->ifname, b->ifname) == 0;
}

static bool
has_route(const struct host_route_entry *v, uint32_t n, const struct host_route_entry *r)
{
	for (uint32_t i = 0; i < n; i++)
		if (same_route(&v[i], r))
			return true;
	return false;
}

static struct host_route_entry *
wanted_routes(const struct mgmt *m, uint32_t *n)
{
	const struct object *host = host_port(m);
	size_t size = 0;
	*n = 0;
	for (uint32_t i = 0; i < m->index.n[KIND_NETWORK]; i++)
		size += m->index.v[KIND_NETWORK][i]->spec->network.n_subnets;
	struct host_route_entry *v = calloc(size + 1, sizeof(*v));
	if (v == NULL)
		abort();
	for (uint32_t i = 0; i < m->index.n[KIND_NETWORK] && host != NULL; i++) {
		const struct spec_network *net = &m->index.v[KIND_NETWORK][i]->spec->network;
		for (uint32_t s = 0; s < net->n_subnets; s++) {
			struct host_route_entry *r = &v[*n];
			r->prefix = net->subnets[s].prefix;
			r->port = host->seat->id;
			snprintf(r->ifname, sizeof(r->ifname), "%s", host->spec->port.ifname);
			snprintf(r->network, sizeof(r->network), "%s", net->name);
			if (!has_route(v, *n, r))
				(*n)++;
		}
	}
	return v;
}

static void
warn(struct mgmt *m, const struct host_route_entry *r, int rc)
{
	char prefix[PREFIX_TEXT_MAX], text[256];
	struct object *o = index_find(&m->index, KIND_NETWORK, r->network);
	snprintf(text, sizeof(text), "the host has no route to %s by %s: %s", prefix_format(&r->prefix, prefix),
		 r->ifname, rc == -EEXIST ? "another device has the prefix" : strerror(-rc));
	if (o != NULL)
		object_set_warning(m, o, text);
}

static bool
concerns(const struct object *o)
{
	return o != NULL && (o->kind == KIND_NETWORK || (o->kind == KIND_PORT && o->spec->port.host));
}

void
host_routes_sync(struct mgmt *m, const struct batch *b)
{
	bool concerned = false;
	for (uint32_t i = 0; i < b->n && !concerned; i++)
		concerned = concerns(b->v[i].old) || concerns(b->v[i].next);
	if (!concerned)
		return;
	for (uint32_t i = 0; i < m->index.n[KIND_NETWORK]; i++)
		if (m->index.v[KIND_NETWORK][i]->warning != NULL)
			object_set_warning(m, m->index.v[KIND_NETWORK][i], NULL);
	uint32_t n, kept = 0;
	struct host_route_entry *v = wanted_routes(m, &n);
	for (uint32_t i = 0; i < m->n_routes; i++)
		/* A device that is gone has taken its routes with it. */
		if (!has_route(v, n, &m->route[i]))
			netlink_route(0, &m->route[i].prefix, m->route[i].ifname, NULL);
	for (uint32_t i = 0; i < n; i++) {
		/* Asked for again even when it was there: somebody may have taken it away, or the device may be a new
		 * one. */
		int rc = netlink_route(1, &v[i].prefix, v[i].ifname, NULL);
		if (rc < 0)
			warn(m, &v[i], rc);
		else
			v[kept++] = v[i];
	}
	free(m->route);
	m->route = v;
	m->n_routes = kept;
}
