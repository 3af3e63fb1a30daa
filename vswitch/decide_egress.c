/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of decide() between an overlay network and the underlay. docs/north-south.md gives the rules with their reasons. */
#include "decide_private.h"

static bool
has_ports(const struct decision *d)
{
	return d->proto == IPPROTO_TCP || d->proto == IPPROTO_UDP || d->proto == IPPROTO_SCTP || asks_echo(d);
}

static bool
in_subnets(const struct network *n, const struct ip *ip)
{
	for (uint32_t i = 0; i < n->n_subnets; i++)
		if (prefix_contains(&n->subnets[i].prefix, ip))
			return true;
	return false;
}

/* A pod shows the same address to everybody, and a conversation keeps the one that it has. False: none of its family. */
static bool
stand_in(const struct decision *d, const struct ip_list *ips, struct ip *out)
{
	bool v4 = ip_is4(&d->key->tuple.src);
	uint32_t n = 0;
	for (uint32_t i = 0; i < ips->n; i++) {
		if (d->key->again && ip_equal(&ips->v[i], &d->key->went.dst)) {
			*out = ips->v[i];
			return true;
		}
		n += ip_is4(&ips->v[i]) == v4;
	}
	if (n == 0)
		return false;
	struct tuple pod;
	memset(&pod, 0, sizeof(pod));
	pod.src = d->key->tuple.src;
	uint32_t at = (uint32_t)((uint64_t)service_hash(&pod) * n >> 32);
	for (uint32_t i = 0; i < ips->n; i++) {
		if (ip_is4(&ips->v[i]) == v4 && at-- == 0) {
			*out = ips->v[i];
			break;
		}
	}
	return true;
}

/* A port that the node's address lends to a service is nobody's source port. */
static bool
may_lend(const struct config *c, const struct ip *ip, uint8_t proto, uint16_t port)
{
	return service_find(&c->service, NETWORK_UNDERLAY, ip, proto, port) == NULL;
}

uint16_t
decide_nat_port(const struct config *c, const struct verdict *v, uint32_t hash, unsigned int attempt)
{
	/*
	 * A prime that does not divide n visits every port before it visits one again; and of two of them one does not.
	 * With one step for all, ports in use would gather along it: with four of five in use, 64 tries often found
	 * none.
	 */
	static const uint16_t steps[] = {7919, 7907, 7901, 7883, 7879, 7877, 7873, 7867};
	uint32_t n = (uint32_t)(v->nat_last - v->nat_first) + 1, k = hash >> 16 & 7, step = steps[k];
	if (n % step == 0)
		step = steps[(k + 1) & 7];
	uint16_t port = htons((uint16_t)(v->nat_first + (hash % n + (uint64_t)attempt * step) % n));
	return may_lend(c, &v->reply.dst, (uint8_t)v->reply.net_proto, port) ? port : 0;
}

/* The pod's own port when it is one of those that may be used: fewer surprises in other people's logs. */
static void
choose_port(struct decision *d, uint16_t first, uint16_t last)
{
	uint16_t own = ntohs(d->sport);
	struct verdict *v = d->v;
	v->nat_first = first;
	v->nat_last = last;
	v->reply.dst = d->src;
	v->reply.net_proto = tuple_net_proto(d->far, d->proto);
	if (own >= first && own <= last && may_lend(d->c, &d->src, d->proto, d->sport))
		return;
	uint32_t hash = service_hash(&d->key->tuple);
	uint16_t port = 0;
	for (unsigned int attempt = 0; port == 0 && attempt < 64; attempt++)
		port = decide_nat_port(d->c, v, hash, attempt);
	if (port != 0)
		d->sport = port;
}

/* What leaves for the underlay in the name of our tunnel end must not look like a tunnel: the other end would believe it. */
static bool
forges_tunnel(const struct decision *d)
{
	return d->proto == IPPROTO_UDP && ip_equal(&d->src, &d->c->vtep_ip) && config_is_vxlan_port(d->c, ntohs(d->dport));
}

static bool
masquerade(struct decision *d, const struct network *n)
{
	const struct spec_network *spec = n->spec;
	if (!stand_in(d, &spec->masquerade.ips, &d->src))
		return settle_no_route(d);
	if (has_ports(d))
		choose_port(d, spec->masquerade.port_first, spec->masquerade.port_last);
	return forges_tunnel(d) ? settle_drop(d, DROP_FORGED_TUNNEL) : true;
}

static bool
is_wire(const struct route *r)
{
	return r != NULL && (r->kind == ROUTE_LINK || r->kind == ROUTE_VIA);
}

bool
leave_overlay(struct decision *d)
{
	const struct network *n = d->c->network[d->home];
	bool ours = d->source != NULL || d->outside;
	if (!ours || n == NULL || !n->spec->has_masquerade || in_subnets(n, &d->dst))
		return settle_no_route(d);
	const struct route *to = config_route(d->c, NETWORK_UNDERLAY, &d->dst);
	if (!is_wire(to))
		return settle_no_route(d);
	d->v->to = to;
	d->far = NETWORK_UNDERLAY;
	d->hop = config_route_hop(to, service_hash(&d->key->tuple));
	if (d->hop == 0)
		return settle_drop(d, DROP_NO_UPLINK);
	/* Who is to see the pod's own address sees it, and finds back by a route of his own; a client's would not lead back here. */
	bool own = !d->outside && lpm_find(&d->c->exclude, d->home, &d->dst) != NULL;
	return own || masquerade(d, n);
}

/* The source of what came in by the uplink: somebody out there whom an answer finds, and who does not pretend to be one of ours. */
static bool
check_client(struct decision *d)
{
	const struct ip *src = &d->key->tuple.src;
	const struct route *from = config_route(d->c, NETWORK_UNDERLAY, src);
	d->v->from = from;
	if (from == NULL)
		return settle_drop(d, DROP_NO_ROUTE);
	if (!is_wire(from) || (d->key->source != 0 && d->key->source != from->slot))
		return settle_drop(d, DROP_SPOOFED_IP);
	d->source_slot = from->slot;
	d->source_hop = config_route_hop(from, service_hash(&d->key->tuple));
	return d->source_hop != 0 ? true : settle_drop(d, DROP_NO_UPLINK);
}

static bool
is_in_network(const struct decision *d, uint32_t network, const struct ip *ip)
{
	const struct network *n = d->c->network[network];
	return config_route(d->c, network, ip) != NULL || (n != NULL && in_subnets(n, ip)) || service_in_cidr(&d->c->service, ip);
}

/* Does anything out there know of this address and port as a service's? */
static bool
is_offered(const struct decision *d)
{
	const struct tuple *t = &d->key->tuple;
	const struct service_tables *s = &d->c->service;
	return (d->key->again && d->key->service != 0) ||
	       service_find(s, NETWORK_UNDERLAY, &t->dst, d->proto, t->dport) != NULL ||
	       (service_address_find(s, NETWORK_UNDERLAY, &t->dst) != NULL && !config_is_node_ip(d->c, &t->dst));
}

static bool
settle_pass(struct decision *d)
{
	d->v->action = VERDICT_PASS;
	return false;
}

bool
enter_overlay(struct decision *d)
{
	if (!is_offered(d))
		return settle_pass(d);
	if (!check_client(d) || !resolve_service(d))
		return false;
	if (d->v->service == 0)
		return settle_pass(d);
	d->outside = true;
	if (d->home == NETWORK_UNDERLAY)
		return true; /* see stay_outside */
	return is_in_network(d, d->home, &d->key->tuple.src) ? settle_drop(d, DROP_SPOOFED_IP) : true;
}

bool
stay_outside(struct decision *d)
{
	const struct ip *ours = &d->key->went.dst;
	const struct route *to = config_route(d->c, NETWORK_UNDERLAY, &d->dst);
	const struct watch *back = lpm_find(&d->c->watch, NETWORK_UNDERLAY, ours);
	/* Of a watched subnet the addresses are pods': only one that is watched for itself brings answers back to us. */
	if (!is_wire(to) || back == NULL || back->key.len != 128)
		return settle_drop(d, DROP_BACKEND_GONE);
	d->v->to = to;
	d->far = NETWORK_UNDERLAY;
	d->src = *ours;
	d->sport = d->key->went.dport;
	d->hop = config_route_hop(to, service_hash(&d->key->tuple));
	return d->hop != 0 ? true : settle_drop(d, DROP_NO_UPLINK);
}

bool
stand_for_client(struct decision *d)
{
	const struct service_port *through = d->v->through;
	const struct ip *node = &d->c->wire_ip[ip_is4(&d->src)];
	if (d->v->to->kind != ROUTE_ENDPOINT)
		return speak_as_gateway(d);
	/* A connection that outlives its service stays as it is. */
	bool as_it_is = through != NULL ? through->spec->external_local : ip_equal(&d->key->went.dst, &d->src);
	if (!as_it_is && !ip_is_none(node))
		d->src = *node;
	return true;
}

bool
speak_as_gateway(struct decision *d)
{
	const struct network *n = d->c->network[d->home];
	for (uint32_t i = 0; n != NULL && i < n->n_subnets; i++) {
		const struct ip *gateway = &n->subnets[i].gateway;
		if (!ip_is_none(gateway) && ip_is4(gateway) == ip_is4(&d->src)) {
			d->src = *gateway;
			return true;
		}
	}
	/* The node itself may have a route back of its own; a stranger has none. */
	return d->outside ? settle_drop(d, DROP_NO_ROUTE) : true;
}
