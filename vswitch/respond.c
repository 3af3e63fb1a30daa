/* SPDX-License-Identifier: Apache-2.0 */
/* What we answer ourselves. Each answer is made in the asker's own buffer and goes back the way that it came. */
#include <weft/pipeline.h>

#include "respond.h"

bool
endpoint_owns(const struct endpoint *ep, const struct ip *ip)
{
	for (uint32_t k = 0; k < ep->spec->ips.n; k++)
		if (ip_equal(&ep->spec->ips.v[k], ip))
			return true;
	return false;
}

bool
endpoint_may_claim(const struct endpoint *ep, const struct ip *ip)
{
	if (ep->anti_spoof != ANTI_SPOOF_STRICT || endpoint_owns(ep, ip))
		return true;
	for (uint32_t k = 0; k < ep->spec->n_allowed; k++)
		if (prefix_contains(&ep->spec->allowed[k].ip, ip))
			return true;
	for (uint32_t k = 0; k < ep->spec->prefixes.n; k++)
		if (prefix_contains(&ep->spec->prefixes.v[k], ip))
			return true;
	return false;
}

/* False: no answer would find back. */
static bool
find_asker(struct burst *b, uint32_t i, struct asker *a)
{
	struct packet *p = &b->p[i];
	const struct port_view *from = b->from;
	uint32_t network = packet_network(p);
	*a = (struct asker){.network = b->config->network[network]};
	if (a->network == NULL)
		return false;
	if (network == NETWORK_UNDERLAY) {
		const struct route *back = config_route(b->config, network, &p->key.src);
		bool wire = back != NULL && (back->kind == ROUTE_LINK || back->kind == ROUTE_VIA);
		p->back = wire ? config_route_hop(back, p->hash) : 0;
		return p->back != 0;
	}
	a->gateway_mac = a->network->gateway_mac;
	a->endpoint = from->kind == SOURCE_ENDPOINT ? from->endpoint : NULL;
	a->tunnel = from->kind == SOURCE_UPLINK;
	return p->back != 0;
}

void
answer_send(struct burst *b, uint32_t i)
{
	b->p[i].hop = b->p[i].back;
	burst_move(b, i, STAGE_FORWARD);
}

void
respond_run(struct worker *w, struct burst *b, packet_set set)
{
	BURST_FOREACH (i, set) {
		struct packet *p = &b->p[i];
		struct asker a;
		if (packet_network(p) == NETWORK_UNDERLAY && (p->answer == ANSWER_ARP || p->answer == ANSWER_ND)) {
			if (p->answer == ANSWER_ARP)
				respond_underlay_arp(w, b, i);
			else
				respond_underlay_nd(w, b, i);
			continue;
		}
		if (!find_asker(b, i, &a)) {
			packet_drop(w, b, i, p->drop < DROP_REASON_COUNT ? (enum drop_reason)p->drop : DROP_NO_ROUTE);
			continue;
		}
		/* Whoever was to be told has been told of the first fragment (RFC 1122 3.2.2); an echo is answered part by part. */
		if (unlikely(p->flags & PACKET_LATER && p->answer != ANSWER_ECHO)) {
			packet_drop(w, b, i, (enum drop_reason)p->drop);
			continue;
		}
		switch ((enum answer)p->answer) {
		case ANSWER_ARP:
			respond_arp(w, b, i, &a);
			break;
		case ANSWER_ND:
			respond_nd(w, b, i, &a);
			break;
		case ANSWER_ECHO:
			respond_echo(w, b, i, &a);
			break;
		case ANSWER_RESET:
			respond_reset(w, b, i, &a);
			break;
		default:
			respond_error(w, b, i, &a);
			break;
		}
	}
}
