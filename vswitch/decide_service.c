/* SPDX-License-Identifier: Apache-2.0 */
/* The service step of decide(). */
#include "decide_private.h"

bool
resolve_service(struct decision *d)
{
	const struct tuple *t = &d->key->tuple;
	const struct service_tables *s = &d->c->service;
	const struct service_port *port = service_find(s, d->network, &t->dst, d->proto, t->dport);
	if (port == NULL) {
		bool known = service_address_find(s, d->network, &t->dst) != NULL;
		if (!known && !service_in_cidr(s, &t->dst))
			return true;
		if (known && d->key->has_icmp && (d->key->icmp_type == 8 || d->key->icmp_type == 128))
			return settle_answer(d, ANSWER_ECHO, DROP_REASON_COUNT);
		return settle_reject(d, DROP_SERVICE_UNKNOWN);
	}
	const struct backend *b = NULL;
	if (d->key->again && d->key->service == port->id)
		b = service_backend(port, d->key->backend);
	if (b == NULL)
		b = service_choose(port, service_hash(t));
	d->v->through = port;
	d->v->service = port->id;
	if (b == NULL)
		return settle_reject(d, DROP_SERVICE_NO_BACKEND);
	d->v->backend = b->id;
	d->dst = b->ip;
	d->dport = b->port;
	return true;
}
