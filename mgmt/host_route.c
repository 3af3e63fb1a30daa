/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node finds its pods, the pods of other nodes and the services through the host port's device: a kernel route for
 * each subnet of each Network, each prefix of each Remote, and each of the node's serviceCIDRs.
 */
#include <stdlib.h>

#include <weft/netlink.h>
#include <weft/text.h>

#include "mgmt_impl.h"

struct wanted {
	const struct object *host;
	struct host_route_entry *v;
	uint32_t n, size;
};

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

static int
compare(const void *a, const void *b)
{
	const struct host_route_entry *x = a, *y = b;
	int c = memcmp(&x->prefix.ip, &y->prefix.ip, sizeof(x->prefix.ip));
	if (c == 0)
		c = (x->prefix.len > y->prefix.len) - (x->prefix.len < y->prefix.len);
	if (c == 0)
		c = (x->port > y->port) - (x->port < y->port);
	return c != 0 ? c : strncmp(x->ifname, y->ifname, sizeof(x->ifname));
}

static void
want(struct wanted *w, const struct prefix *p, enum kind kind, const char *name)
{
	/* Not the way to everywhere, whatever a Remote may say: the node's own default route is not ours to take. */
	if (p->len == 0 || (p->len == 96 && ip_is4(&p->ip)))
		return;
	if (w->n == w->size) {
		w->size = w->size != 0 ? w->size * 2 : 16;
		w->v = realloc(w->v, w->size * sizeof(*w->v));
		if (w->v == NULL)
			abort();
	}
	struct host_route_entry *r = &w->v[w->n++];
	memset(r, 0, sizeof(*r));
	r->prefix = *p;
	r->port = w->host->seat->id;
	r->kind = kind;
	snprintf(r->ifname, sizeof(r->ifname), "%s", w->host->spec->port.ifname);
	snprintf(r->name, sizeof(r->name), "%s", name);
}

static void
want_all(const struct mgmt *m, struct wanted *w)
{
	for (uint32_t i = 0; i < m->index.n[KIND_NETWORK]; i++) {
		const struct spec_network *net = &m->index.v[KIND_NETWORK][i]->spec->network;
		for (uint32_t s = 0; s < net->n_subnets; s++)
			want(w, &net->subnets[s].prefix, KIND_NETWORK, net->name);
	}
	for (uint32_t i = 0; i < m->index.n[KIND_NODE]; i++) {
		const struct spec_node *node = &m->index.v[KIND_NODE][i]->spec->node;
		for (uint32_t s = 0; node->self && s < node->service_cidrs.n; s++)
			want(w, &node->service_cidrs.v[s], KIND_NODE, node->name);
	}
	for (uint32_t i = 0; i < m->index.n[KIND_REMOTE]; i++) {
		const struct spec_remote *remote = &m->index.v[KIND_REMOTE][i]->spec->remote;
		for (uint32_t s = 0; s < remote->prefixes.n; s++)
			want(w, &remote->prefixes.v[s], KIND_REMOTE, remote->name);
		for (uint32_t s = 0; s < remote->n_endpoints; s++) {
			struct prefix one = {remote->endpoints[s].ip, 128};
			want(w, &one, KIND_REMOTE, remote->name);
		}
	}
}

/* Sorted, each once. */
static void
wanted_routes(const struct mgmt *m, struct wanted *w)
{
	uint32_t n = 0;
	*w = (struct wanted){.host = host_port(m)};
	if (w->host == NULL)
		return;
	want_all(m, w);
	if (w->n > 1)
		qsort(w->v, w->n, sizeof(*w->v), compare);
	for (uint32_t i = 0; i < w->n; i++)
		if (n == 0 || compare(&w->v[n - 1], &w->v[i]) != 0)
			w->v[n++] = w->v[i];
	w->n = n;
}

static bool
has_route(const struct host_route_entry *v, uint32_t n, const struct host_route_entry *r)
{
	return n > 0 && bsearch(r, v, n, sizeof(*v), compare) != NULL;
}

static void
warn(struct mgmt *m, const struct host_route_entry *r, int rc)
{
	char prefix[PREFIX_TEXT_MAX], text[256];
	struct object *o = index_find(&m->index, r->kind, r->name);
	snprintf(text, sizeof(text), "the host has no route to %s by %s: %s", prefix_format(&r->prefix, prefix),
		 r->ifname, rc == -EEXIST ? "another device has the prefix" : strerror(-rc));
	if (o != NULL)
		object_set_warning(m, o, WARNING_ROUTE, text);
}

/* What a change of the object asks for: 2: every route anew, 1: what has come and gone, 0: nothing. */
static int
concern(const struct object *o)
{
	if (o == NULL)
		return 0;
	if (o->kind == KIND_REMOTE)
		return 1;
	return o->kind == KIND_NETWORK || o->kind == KIND_NODE || (o->kind == KIND_PORT && o->spec->port.host) ? 2 : 0;
}

static void
forget_warnings(struct mgmt *m)
{
	static const enum kind kinds_with[] = {KIND_NETWORK, KIND_NODE, KIND_REMOTE};
	for (unsigned int k = 0; k < 3; k++) {
		struct object **v = m->index.v[kinds_with[k]];
		for (uint32_t i = 0; i < m->index.n[kinds_with[k]]; i++)
			if (v[i]->warning[WARNING_ROUTE] != NULL)
				object_set_warning(m, v[i], WARNING_ROUTE, NULL);
	}
}

/* Routes of a change of Remotes alone are not asked for again (`anew`): there may be thousands. */
static void
sync_routes(struct mgmt *m, bool anew)
{
	struct wanted w;
	uint32_t kept = 0;
	if (anew)
		__atomic_store_n(&m->routes_lost, false, __ATOMIC_RELAXED);
	/* What failed is tried again in any case. */
	forget_warnings(m);
	wanted_routes(m, &w);
	for (uint32_t i = 0; i < m->n_routes; i++)
		/* A device that is gone has taken its routes with it. */
		if (!has_route(w.v, w.n, &m->route[i]))
			netlink_route(0, &m->route[i].prefix, m->route[i].ifname, NULL);
	for (uint32_t i = 0; i < w.n; i++) {
		/* Asked for again even when it was there: somebody may have taken it away, or the device may be a new
		 * one. */
		bool there = !anew && has_route(m->route, m->n_routes, &w.v[i]);
		int rc = there ? 0 : netlink_route(1, &w.v[i].prefix, w.v[i].ifname, NULL);
		if (rc < 0)
			warn(m, &w.v[i], rc);
		else
			w.v[kept++] = w.v[i];
	}
	free(m->route);
	m->route = w.v;
	m->n_routes = kept;
}

void
host_routes_sync(struct mgmt *m, const struct batch *b)
{
	int concerned = 0;
	for (uint32_t i = 0; i < b->n && concerned < 2; i++) {
		int old = concern(b->v[i].old), next = concern(b->v[i].next);
		concerned = old > concerned ? old : concerned;
		concerned = next > concerned ? next : concerned;
	}
	if (concerned != 0)
		sync_routes(m, concerned == 2);
}

void
host_routes_renew(struct mgmt *m)
{
	sync_routes(m, true);
}

bool
host_routes_lost(const struct mgmt *m, const char *port)
{
	const struct object *o = index_find(&m->index, KIND_PORT, port);
	return o != NULL && o->spec->port.host;
}
