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
	bool sticky = port->spec->session_affinity_seconds != 0;
	uint32_t hash = sticky ? service_hash_client(port, &d->key->tuple.src) : service_hash(&d->key->tuple);
	enum service_range range = service_range_for(port, outside);
	const struct backend *b = sticky ? service_prefer(port, dst, range, d->key->preferred) : NULL;
	if (b == NULL)
		b = service_choose(port, dst, range, hash);
	if (b != NULL)
		return b;
	if (range == SERVICE_LOCAL && service_choose(port, dst, SERVICE_ALL, hash) != NULL)
		settle_drop(d, DROP_SERVICE_NO_LOCAL_BACKEND);
	else
		settle_reject(d, DROP_SERVICE_NO_BACKEND);
	return NULL;
}

static bool
go_to(struct decision *d, const struct ip *ip, uint16_t port, uint32_t network)
{
	d->dst = *ip;
	d->dport = port;
	d->home = network;
	return true;
}

/* The service, or what was the connection's, knows nothing of its backend any more. Only the backend can continue it, and may
 * as long as it can be reached. */
static bool
stay_or_end(struct decision *d, const struct service_port *port)
{
	const struct decide_key *k = d->key;
	bool timeout = port != NULL && port->spec->gone_timeout;
	uint32_t network = k->went.net_proto >> 8;
	d->v->backend = k->backend;
	bool reachable = config_route(d->c, network, &k->went.src) != NULL;
	/* A backend out there is sent to by the service's network, see decide(). */
	if (network == NETWORK_UNDERLAY && port != NULL)
		network = port->home;
	if (reachable)
		return go_to(d, &k->went.src, k->went.sport, network);
	return timeout ? settle_drop(d, DROP_BACKEND_GONE) : settle_reject(d, DROP_BACKEND_GONE);
}

/* A connection of before is judged again: does it have its destination already? True: *settled is what the step returns. */
static bool
resolve_again(struct decision *d, const struct service_port *port, bool *settled)
{
	const struct decide_key *k = d->key;
	bool mine = port != NULL && port->id == k->service;
	const struct backend *b = mine ? service_backend(port, k->backend) : NULL;
	if (k->service == 0 && port == NULL)
		return false;
	if (k->service == 0) { /* the address became a service's meanwhile: what is established never was through it */
		*settled = true;
		return k->established;
	}
	d->v->through = mine ? port : NULL;
	d->v->service = k->service;
	if (b != NULL) {
		d->v->backend = b->id;
		*settled = go_to(d, &b->ip, b->port, port->home);
		return true;
	}
	/* SCTP cannot be reset without its tag: whoever is chosen next will answer by an ABORT (RFC 9260 8.4). */
	if (!k->established ||
	    (d->proto != IPPROTO_TCP && config_route(d->c, k->went.net_proto >> 8, &k->went.src) == NULL))
		return false;
	*settled = stay_or_end(d, d->v->through);
	return true;
}

bool
resolve_service(struct decision *d)
{
	const struct tuple *t = &d->key->tuple;
	const struct service_port *port = service_find(&d->c->service, d->network, &t->dst, d->proto, t->dport);
	bool settled;
	if (d->key->again && resolve_again(d, port, &settled))
		return settled;
	d->v->through = port;
	d->v->service = 0;
	if (port == NULL)
		return resolve_unknown(d);
	bool outside = d->network == NETWORK_UNDERLAY && d->source_slot != d->c->host_slot;
	d->v->service = port->id;
	if (!service_admits(port, &t->src, outside))
		return settle_drop(d, DROP_SERVICE_SOURCE_RANGE);
	const struct backend *b = choose(d, port, outside);
	if (b == NULL)
		return false;
	d->v->backend = b->id;
	d->v->chosen = b;
	return go_to(d, &b->ip, b->port, port->home);
}
