/* SPDX-License-Identifier: Apache-2.0 */
/* The service step of decide(). docs/services.md has the rules. */
#include "decide_private.h"

/* No service port: is the address a service's all the same, so that asking further would be wrong? */
static bool
resolve_unknown(struct decision *d)
{
	const struct service_tables *s = &d->c->service;
	const struct ip *dst = &d->key->tuple.dst;
	bool known = service_address_find(s, d->network, dst) != NULL;
	/* An external address that is the node's own is only a service's where it has that port. */
	if ((!known && !service_in_cidr(s, dst)) || config_is_node_ip(d->c, dst))
		return true;
	if (known && d->key->has_icmp && (d->key->icmp_type == 8 || d->key->icmp_type == 128))
		return settle_answer(d, ANSWER_ECHO, DROP_REASON_COUNT);
	return settle_reject(d, DROP_SERVICE_UNKNOWN);
}

static const struct backend *
choose(struct decision *d, const struct service_port *port, bool outside)
{
	const struct ip *dst = &d->key->tuple.dst;
	uint32_t hash = service_hash(&d->key->tuple);
	enum service_range range = service_range_for(port, outside);
	const struct backend *b = service_choose(port, dst, range, hash);
	if (b != NULL)
		return b;
	if (range == SERVICE_LOCAL && service_choose(port, dst, SERVICE_ALL, hash) != NULL)
		settle_drop(d, DROP_SERVICE_NO_LOCAL_BACKEND);
	else
		settle_reject(d, DROP_SERVICE_NO_BACKEND);
	return NULL;
}

bool
resolve_service(struct decision *d)
{
	const struct tuple *t = &d->key->tuple;
	const struct service_port *port = service_find(&d->c->service, d->network, &t->dst, d->proto, t->dport);
	if (port == NULL)
		return resolve_unknown(d);
	const struct backend *b = NULL;
	bool outside = d->network == NETWORK_UNDERLAY && d->source_slot != d->c->host_slot;
	d->v->through = port;
	d->v->service = port->id;
	if (d->key->again && d->key->service == port->id)
		b = service_backend(port, d->key->backend);
	if (b == NULL && !service_admits(port, &t->src, outside))
		return settle_drop(d, DROP_SERVICE_SOURCE_RANGE);
	if (b == NULL)
		b = choose(d, port, outside);
	if (b == NULL)
		return false;
	d->v->backend = b->id;
	d->dst = b->ip;
	d->dport = b->port;
	return true;
}
