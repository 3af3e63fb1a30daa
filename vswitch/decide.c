/* SPDX-License-Identifier: Apache-2.0 */
/* decide(configuration, key) -> verdict, step by step; each step either settles the verdict or leaves it to the next. */
#include "decide_private.h"
#include "icmp.h"

static bool
is_allowed_pair(const struct endpoint *ep, const struct ip *src)
{
	for (uint32_t i = 0; i < ep->spec->n_allowed; i++)
		if (prefix_contains(&ep->spec->allowed[i].ip, src))
			return true;
	return false;
}

/* Does the source address belong to where the packet came from? Fills source, source_slot, source_hop. */
static bool
check_source(struct decision *d)
{
	const struct port_view *from = d->c->port[d->key->in_port];
	const struct route *r = config_route(d->c, d->network, &d->key->tuple.src);
	uint32_t claimed = d->key->source;

	d->v->from = r;
	if (r != NULL && (claimed == 0 || r->slot == claimed) && r->kind != ROUTE_GATEWAY) {
		d->source = r->kind == ROUTE_ENDPOINT ? r->endpoint : NULL;
		d->source_slot = r->slot;
		d->source_hop = r->hop;
		return true;
	}
	/* Not the owner of the address, but perhaps somebody who may speak for it; for the node and the gateway nobody may. */
	bool of_ours = r != NULL && (r->kind == ROUTE_HOST || r->kind == ROUTE_GATEWAY);
	if (!of_ours && from != NULL && from->kind == SOURCE_ENDPOINT && from->slot == claimed &&
	    (from->endpoint->anti_spoof != ANTI_SPOOF_STRICT || is_allowed_pair(from->endpoint, &d->key->tuple.src))) {
		d->source = from->endpoint;
		d->source_slot = from->slot;
		d->source_hop = from->endpoint->hop;
		return true;
	}
	return settle_drop(d, claimed == 0 ? DROP_NO_ROUTE : DROP_SPOOFED_IP);
}

/* The destination, after translation: who has it, and may it be reached from here? */
static bool
find_destination(struct decision *d)
{
	if (unlikely(d->home == NETWORK_UNDERLAY))
		return stay_outside(d);
	const struct route *to = config_route(d->c, d->home, &d->dst);
	d->v->to = to;
	d->far = d->home;
	if (to == NULL)
		return leave_overlay(d);
	if (to->kind == ROUTE_GATEWAY) {
		if (asks_echo(d))
			return settle_answer(d, ANSWER_ECHO, DROP_REASON_COUNT);
		return settle_reject(d, DROP_NO_ROUTE);
	}
	/* What came through a tunnel ends here: nothing is passed on to another node or to the host. */
	bool from_tunnel = d->v->from != NULL && d->v->from->kind == ROUTE_REMOTE;
	if (from_tunnel && to->kind != ROUTE_ENDPOINT)
		return settle_drop(d, DROP_NO_ROUTE);
	if (to->hop == 0) {
		enum drop_reason why = to->kind == ROUTE_ENDPOINT ? DROP_PORT_PENDING
				       : to->kind == ROUTE_HOST   ? DROP_NO_HOST
								  : DROP_NO_UPLINK;
		return settle_drop(d, why);
	}
	d->hop = to->hop;
	if (d->outside)
		return stand_for_client(d);
	bool from_host = d->v->from != NULL && d->v->from->kind == ROUTE_HOST;
	return !from_host || to->kind == ROUTE_ENDPOINT || speak_as_gateway(d);
}

static bool
judge(struct decision *d, const struct endpoint *ep, enum policy_direction direction, const struct ip *peer)
{
	const struct route *to = d->v->to;
	struct policy_query q = {
		.endpoint = ep->slot,
		.network = d->home,
		.direction = direction,
		.peer = *peer,
		.protocol = d->proto,
		.port = d->key->has_icmp ? 0 : ntohs(d->dport),
		.has_icmp = d->key->has_icmp,
		.icmp_type = d->key->icmp_type,
		.icmp_code = d->key->icmp_code,
		.destination = to->kind == ROUTE_ENDPOINT ? to->endpoint->spec : NULL,
	};
	struct judged *j = &d->v->judged[direction == POLICY_EGRESS ? 0 : 1];
	j->asked = true;
	j->endpoint = ep->slot;
	policy_judge(&d->c->policy, &q, &j->verdict);
	d->v->rule[direction == POLICY_EGRESS ? 0 : 1] = j->verdict.rule;
	/* A policy that only concerns new connections leaves established ones alone. Which policy let them in does not matter. */
	return j->verdict.allow || (d->key->again && j->verdict.connection_semantics);
}

/* What comes from or goes to an endpoint that is not admitted yet waits: neither is it open, nor is its first packet lost. */
static bool
check_admission(struct decision *d)
{
	const struct endpoint *to = d->v->to->kind == ROUTE_ENDPOINT ? d->v->to->endpoint : NULL;
	const struct endpoint *closed = d->source != NULL && d->source->closed ? d->source : to != NULL && to->closed ? to : NULL;
	if (likely(closed == NULL))
		return true;
	d->v->action = VERDICT_WAIT;
	d->v->waits_for = closed->slot;
	return false;
}

/* Egress is judged at a local source, ingress at a local destination, both on the translated destination. */
static bool
enforce_policy(struct decision *d)
{
	const struct endpoint *to = d->v->to->kind == ROUTE_ENDPOINT ? d->v->to->endpoint : NULL;
	bool from_host = d->source_slot == d->c->host_slot;
	d->v->reply.src = d->dst;
	d->v->reply.sport = d->dport;
	if (d->source != NULL && d->source == to)
		return true; /* a pod always reaches itself */
	if (d->source != NULL && !judge(d, d->source, POLICY_EGRESS, &d->dst))
		return settle_drop(d, DROP_POLICY_EGRESS);
	if (to != NULL && !from_host && !judge(d, to, POLICY_INGRESS, &d->key->tuple.src))
		return settle_drop(d, DROP_POLICY_INGRESS);
	return true;
}

static void
settle_forward(struct decision *d)
{
	struct verdict *v = d->v;
	const struct tuple *t = &d->key->tuple;
	uint32_t service_slot = v->through != NULL ? v->through->slot : 0;

	v->action = VERDICT_FORWARD;
	v->reply = tuple_reversed(t);
	v->reply.src = d->dst;
	v->reply.sport = d->dport;
	v->reply.dst = d->src;
	v->reply.dport = d->sport;
	v->reply.net_proto = tuple_net_proto(d->far, d->proto);
	if (v->nat_first != 0 && asks_echo(d))
		v->reply.sport = echo_other(v->reply.dport);
	/* A pod that reaches itself through a service would answer itself directly: the answer must come back through the
	 * service, so the virtual address asks in its place. */
	if (v->service != 0 && ip_equal(&d->dst, &d->src))
		v->reply.dst = t->dst;
	v->hop[0] = d->hop;
	v->hop[1] = d->source_hop;
	v->dep[0][0] = v->dep[1][1] = d->source_slot;
	v->dep[0][1] = v->dep[1][0] = v->to->slot;
	v->dep[0][2] = v->dep[1][2] = service_slot;
	v->owner = d->source_slot;
	v->owner_is_many = d->outside;
}

void
decide(const struct config *c, const struct decide_key *key, struct verdict *v)
{
	struct decision d = {
		.c = c,
		.key = key,
		.v = v,
		.network = key->tuple.net_proto >> 8,
		.proto = (uint8_t)key->tuple.net_proto,
		.dst = key->tuple.dst,
		.dport = key->tuple.dport,
		.home = key->tuple.net_proto >> 8,
		.src = key->tuple.src,
		.sport = key->tuple.sport,
	};
	memset(v, 0, sizeof(*v));
	bool known = d.network == NETWORK_UNDERLAY ? enter_overlay(&d) : check_source(&d) && resolve_service(&d);
	/* A backend out there is the business of the network that sends to it. */
	if (d.home == NETWORK_UNDERLAY)
		d.home = d.network;
	if (known && find_destination(&d) && check_admission(&d) && enforce_policy(&d))
		settle_forward(&d);
}
