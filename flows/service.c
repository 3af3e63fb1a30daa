/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/service.h>

#include <weft/conn.h>

#include "mix.h"
#include "service_private.h"

const struct service_port *
service_find(const struct service_tables *s, uint32_t network, const struct ip *ip, uint8_t protocol, uint16_t port)
{
	struct service_port_key key = {*ip, network, port, protocol, 0};
	return pmap_find(&s->port, &service_ports_type, &key);
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

const struct backend *
service_choose(const struct service_port *p, uint32_t hash)
{
	const struct service_choice *c = p->choice;
	if (c->n_eligible == 0)
		return NULL;
	return &c->backends[c->maglev[(uint64_t)hash * c->size >> 32]];
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
