/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/service.h>

#include <weft/conn.h>

#include "mix.h"
#include "service_private.h"

static bool
is_node_ip(const struct service_tables *s, const struct ip *ip)
{
	for (uint32_t i = 0; i < s->n_node_ips; i++) {
		if (ip_equal(&s->node_ips[i], ip))
			return true;
	}
	return false;
}

/* A service that has addresses, but none of this family, has no node port of this family either. */
static bool
speaks_family(const struct spec_service *spec, bool v4)
{
	for (uint32_t i = 0; i < spec->ips.n; i++) {
		if (ip_is4(&spec->ips.v[i]) == v4)
			return true;
	}
	return spec->ips.n == 0;
}

const struct service_port *
service_find(const struct service_tables *s, uint32_t network, const struct ip *ip, uint8_t protocol, uint16_t port)
{
	struct service_port_key key = {*ip, network, port, protocol, 0};
	const struct service_port *p = pmap_find(&s->port, &service_ports_type, &key);
	if (p != NULL || s->n_node_ports == 0 || !is_node_ip(s, ip))
		return p;
	key = service_node_port_key(protocol, port);
	p = pmap_find(&s->port, &service_ports_type, &key);
	bool seen = p != NULL && (network == NETWORK_UNDERLAY || network == p->home);
	return seen && speaks_family(p->spec, ip_is4(ip)) ? p : NULL;
}

const struct service_address *
service_address_find(const struct service_tables *s, uint32_t network, const struct ip *ip)
{
	struct service_address_key key = {*ip, network};
	return pmap_find(&s->address, &service_addresses_type, &key);
}

bool
service_in_cidr(const struct service_tables *s, const struct ip *ip)
{
	return lpm_find(&s->cidr, NETWORK_UNDERLAY, ip) != NULL;
}

uint32_t
service_hash(const struct tuple *t)
{
	uint64_t h = mix64_add(0, t->src.q[0]);
	h = mix64_add(h, t->src.q[1]);
	h = mix64_add(h, t->dst.q[0]);
	h = mix64_add(h, t->dst.q[1]);
	uint64_t rest = (uint64_t)ntohs(t->sport) << 32 | (uint64_t)ntohs(t->dport) << 16 | (t->net_proto & 0xff);
	return (uint32_t)(mix64_add(h, rest) >> 32);
}

bool
service_admits(const struct service_port *p, const struct ip *client, bool outside)
{
	const struct prefix_list *ranges = &p->spec->source_ranges;
	if (ranges->n == 0 || !(p->scope == SERVICE_LOAD_BALANCER || (p->scope == SERVICE_NODE_PORT && outside)))
		return true;
	for (uint32_t i = 0; i < ranges->n; i++) {
		if (prefix_contains(&ranges->v[i], client))
			return true;
	}
	return false;
}

uint32_t
service_hash_client(const struct service_port *p, const struct ip *client)
{
	uint64_t h = mix64_add(p->id, client->q[0]);
	return (uint32_t)(mix64_add(h, client->q[1]) >> 32);
}

const struct backend *
service_prefer(const struct service_port *p, const struct ip *dst, enum service_range range, uint32_t id)
{
	const struct backend *b = id != 0 ? service_backend(p, id) : NULL;
	uint8_t takes = range == SERVICE_LOCAL ? BACKEND_TAKES_LOCAL : BACKEND_TAKES;
	return b != NULL && b->flags & takes && ip_is4(&b->ip) == ip_is4(dst) ? b : NULL;
}

const struct backend *
service_choose(const struct service_port *p, const struct ip *dst, enum service_range range, uint32_t hash)
{
	const struct service_set *set = &p->choice->set[ip_is4(dst) ? 0 : 1][range];
	if (set->n_eligible == 0)
		return NULL;
	return &p->choice->backends[set->maglev[(uint64_t)hash * set->size >> 32]];
}

const struct backend *
service_backend(const struct service_port *p, uint32_t id)
{
	uint32_t low = 0, high = p->choice->n_backends;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct backend *b = &p->choice->backends[middle];
		if (b->id == id)
			return b;
		if (b->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}
