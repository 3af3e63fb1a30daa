/* SPDX-License-Identifier: Apache-2.0 */
/* Which ports of the node's addresses the objects want for themselves, see kernel_ports.h. */
#include <syslog.h>

#include "mgmt_impl.h"

struct nat_claims {
	struct port_set must, may;
	long at; /* of the Network that the batch brings, -1 */
};

static const struct spec_port *
host_with_device(const struct object *o)
{
	return o != NULL && o->kind == KIND_PORT && o->spec->port.host && o->spec->port.ifname != NULL ? &o->spec->port
												       : NULL;
}

/* Is it one of the addresses that the kernel has, or is about to have? */
static bool
is_kernels(const struct mgmt *m, const struct batch *b, const struct ip *ip)
{
	bool host = false, found = false;
	for (uint32_t i = 0; i < m->index.n[KIND_PORT] + (b != NULL ? b->n : 0); i++) {
		const struct object *o =
			i < m->index.n[KIND_PORT] ? m->index.v[KIND_PORT][i] : b->v[i - m->index.n[KIND_PORT]].next;
		const struct spec_port *port = host_with_device(o);
		host = host || port != NULL;
		for (uint32_t k = 0; port != NULL && k < port->ips.n; k++)
			found = found || ip_equal(&port->ips.v[k].ip, ip);
	}
	for (uint32_t i = 0; i < m->index.n[KIND_NODE] + (b != NULL ? b->n : 0); i++) {
		const struct object *o =
			i < m->index.n[KIND_NODE] ? m->index.v[KIND_NODE][i] : b->v[i - m->index.n[KIND_NODE]].next;
		const struct spec_node *node = o != NULL && o->kind == KIND_NODE ? &o->spec->node : NULL;
		for (uint32_t k = 0; node != NULL && node->self && k < node->ips.n; k++)
			found = found || ip_equal(&node->ips.v[k], ip);
	}
	return host && found;
}

static void
claim_network(struct nat_claims *c, const struct mgmt *m, const struct batch *b, const struct object *o, long at)
{
	const struct spec_network *n = &o->spec->network;
	for (uint32_t i = 0; n->has_masquerade && i < n->masquerade.ips.n; i++) {
		if (!is_kernels(m, b, &n->masquerade.ips.v[i]))
			continue;
		port_set_add(&c->must, n->masquerade.port_first, n->masquerade.port_last);
		if (at >= 0)
			c->at = at;
		return;
	}
}

/* Has the kernel a device of ours, or is it about to have one? */
static bool
has_host(const struct mgmt *m, const struct batch *b)
{
	for (uint32_t i = 0; i < m->index.n[KIND_PORT]; i++)
		if (host_with_device(m->index.v[KIND_PORT][i]) != NULL)
			return true;
	for (uint32_t i = 0; b != NULL && i < b->n; i++)
		if (host_with_device(b->v[i].next) != NULL)
			return true;
	return false;
}

static void
claim_node_ports(struct nat_claims *c, const struct object *o)
{
	for (uint32_t i = 0; o != NULL && o->kind == KIND_SERVICE && i < o->spec->service.n_ports; i++) {
		uint16_t port = o->spec->service.ports[i].node_port;
		if (port != 0)
			port_set_add(&c->may, port, port);
	}
}

static bool
is_replaced(const struct batch *b, const struct object *o)
{
	for (uint32_t i = 0; b != NULL && i < b->n; i++)
		if (b->v[i].old == o)
			return true;
	return false;
}

/* What the objects want, those of now or (b not NULL) those after the batch. */
static void
collect(struct nat_claims *c, const struct mgmt *m, const struct batch *b)
{
	memset(c, 0, sizeof(*c));
	c->at = -1;
	for (uint32_t i = 0; i < m->index.n[KIND_NETWORK]; i++)
		if (!is_replaced(b, m->index.v[KIND_NETWORK][i]))
			claim_network(c, m, b, m->index.v[KIND_NETWORK][i], -1);
	for (uint32_t i = 0; b != NULL && i < b->n; i++)
		if (b->v[i].next != NULL && b->v[i].next->kind == KIND_NETWORK)
			claim_network(c, m, b, b->v[i].next, b->v[i].at);
	if (!has_host(m, b))
		return;
	for (uint32_t p = 1; p < 65536; p++)
		if (m->node_port_uses[p] != 0)
			port_set_add(&c->may, (uint16_t)p, (uint16_t)p);
	for (uint32_t i = 0; b != NULL && i < b->n; i++)
		claim_node_ports(c, b->v[i].next);
}

static void
count_node_ports(struct mgmt *m, const struct object *o, int by)
{
	for (uint32_t i = 0; o != NULL && o->kind == KIND_SERVICE && i < o->spec->service.n_ports; i++) {
		uint16_t *uses = &m->node_port_uses[o->spec->service.ports[i].node_port];
		*uses = (uint16_t)(*uses + by);
	}
}

static bool
has_node_ports(const struct object *o)
{
	for (uint32_t i = 0; o != NULL && o->kind == KIND_SERVICE && i < o->spec->service.n_ports; i++)
		if (o->spec->service.ports[i].node_port != 0)
			return true;
	return false;
}

static bool
concerns(const struct object *o)
{
	return o != NULL &&
	       (o->kind == KIND_NETWORK || o->kind == KIND_NODE || host_with_device(o) != NULL || has_node_ports(o));
}

static bool
batch_concerns(const struct batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (concerns(b->v[i].old) || concerns(b->v[i].next))
			return true;
	return false;
}

/* What could not be had before is no fault of a batch that asks for no more of it: nat_ports_settle says so. */
static int
refuse(const struct nat_claims *before, const struct nat_claims *c, int rc, struct error *why, struct rpc_error *e)
{
	char text[sizeof(why->text)];
	if (rc == 0 || port_set_covers(&before->must, &c->must))
		return 0;
	memcpy(text, why->text, sizeof(text));
	error_at(why, rc, "masquerade.portRange", "%s", text);
	return fail_with(e, rc, c->at, why);
}

int
nat_ports_check(const struct mgmt *m, const struct batch *b, struct rpc_error *e)
{
	struct nat_claims before, c;
	struct error why;
	if (!batch_concerns(b))
		return 0;
	collect(&before, m, NULL);
	collect(&c, m, b);
	return refuse(&before, &c, kernel_ports_check(&m->kernel_ports, &c.must, &c.may, &why), &why, e);
}

int
nat_ports_reserve(struct mgmt *m, const struct batch *b, struct rpc_error *e)
{
	struct nat_claims before, c;
	struct error why;
	if (!batch_concerns(b))
		return 0;
	collect(&before, m, NULL);
	collect(&c, m, b);
	/* Until the batch is published, what is in force needs its own. */
	return refuse(&before, &c, kernel_ports_set(&m->kernel_ports, &c.must, &c.may, &before.must, &why), &why, e);
}

/* A warning of every Network that needs them, and a line in the log when it is news. NULL: all is well. */
static void
warn(struct mgmt *m, const char *text)
{
	for (uint32_t i = 0; i < m->index.n[KIND_NETWORK]; i++) {
		struct object *o = m->index.v[KIND_NETWORK][i];
		struct nat_claims c = {.at = -1};
		claim_network(&c, m, NULL, o, 0);
		const char *now = text != NULL && c.at == 0 ? text : NULL, *old = o->warning[WARNING_PORTS];
		if (now == old || (now != NULL && old != NULL && strcmp(now, old) == 0))
			continue;
		object_set_warning(m, o, WARNING_PORTS, now);
		if (now != NULL)
			syslog(LOG_WARNING, "Network %s: %s", o->name, now);
	}
}

void
nat_ports_sync(struct mgmt *m)
{
	struct nat_claims c;
	struct error why;
	char text[sizeof(why.text) + 32];
	collect(&c, m, NULL);
	int rc = kernel_ports_set(&m->kernel_ports, &c.must, &c.may, NULL, &why);
	if (rc < 0)
		snprintf(text, sizeof(text), "masquerade.portRange: %s", why.text);
	warn(m, rc < 0 ? text : NULL);
}

void
nat_ports_settle(struct mgmt *m, const struct batch *b, bool published)
{
	if (!batch_concerns(b))
		return;
	for (uint32_t i = 0; published && i < b->n; i++) {
		count_node_ports(m, b->v[i].old, -1);
		count_node_ports(m, b->v[i].next, 1);
	}
	nat_ports_sync(m);
}

void
nat_ports_release(struct mgmt *m)
{
	static const struct port_set none;
	kernel_ports_set(&m->kernel_ports, &none, &none, NULL, NULL);
}
