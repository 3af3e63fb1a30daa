/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARP and neighbour discovery. In an l3 network every question but for the asker's own address is answered with the gateway's MAC; duplicate
 * address detection is never answered for an address that is the asker's own, so a Linux pod configures itself without help.
 */
#include <weft/base.h>

#include <rte_arp.h>
#include <rte_icmp.h>
#include <rte_ip.h>

#include <weft/neighbour.h>
#include <weft/offload.h>
#include <weft/pipeline.h>

#include "respond.h"
#include "rewrite.h"

static const struct rte_arp_hdr *
arp_of(const struct burst *b, uint32_t i)
{
	const struct rte_arp_hdr *arp = packet_at(b, i, RTE_ETHER_HDR_LEN);
	if (rte_pktmbuf_data_len(b->m[i]) < RTE_ETHER_HDR_LEN + sizeof(*arp))
		return NULL;
	bool ok = arp->arp_hardware == RTE_BE16(RTE_ARP_HRD_ETHER) && arp->arp_protocol == RTE_BE16(RTE_ETHER_TYPE_IPV4) &&
		  arp->arp_hlen == RTE_ETHER_ADDR_LEN && arp->arp_plen == sizeof(uint32_t);
	return ok ? arp : NULL;
}

/* The question in the buffer becomes the answer "target is at mac". */
static void
arp_turn(const struct burst *b, uint32_t i, const struct mac *mac)
{
	struct rte_ether_hdr *eth = packet_at(b, i, 0);
	struct rte_arp_hdr *arp = packet_at(b, i, RTE_ETHER_HDR_LEN);
	uint32_t target = arp->arp_data.arp_tip;
	arp->arp_opcode = RTE_BE16(RTE_ARP_OP_REPLY);
	arp->arp_data.arp_tha = arp->arp_data.arp_sha;
	arp->arp_data.arp_tip = arp->arp_data.arp_sip;
	memcpy(&arp->arp_data.arp_sha, mac, sizeof(*mac));
	arp->arp_data.arp_sip = target;
	eth->dst_addr = arp->arp_data.arp_tha;
	memcpy(&eth->src_addr, mac, sizeof(*mac));
}

/* Who the sender says that it is must be true of an endpoint; of a node behind a tunnel, its route decides. */
static bool
arp_sender_ok(const struct burst *b, uint32_t i, const struct asker *a, const struct rte_arp_hdr *arp)
{
	struct ip sender = ip_from4(arp->arp_data.arp_sip);
	if (arp->arp_data.arp_sip == 0) /* a probe claims nothing (RFC 5227 2.1.1) */
		return true;
	if (a->endpoint == NULL)
		return true;
	if (a->endpoint->anti_spoof != ANTI_SPOOF_OFF &&
	    !rte_is_same_ether_addr(&arp->arp_data.arp_sha,
				    &((const struct rte_ether_hdr *)packet_at(b, i, 0))->src_addr))
		return false;
	return endpoint_may_claim(a->endpoint, &sender);
}

void
respond_arp(struct worker *w, struct burst *b, uint32_t i, const struct asker *a)
{
	const struct rte_arp_hdr *arp = arp_of(b, i);
	if (arp == NULL) {
		packet_drop(w, b, i, DROP_ARP);
		return;
	}
	if (!arp_sender_ok(b, i, a, arp)) {
		packet_drop(w, b, i, DROP_SPOOFED_ARP);
		return;
	}
	struct ip target = ip_from4(arp->arp_data.arp_tip);
	bool own = a->endpoint != NULL && endpoint_owns(a->endpoint, &target);
	bool gratuitous = arp->arp_data.arp_sip == arp->arp_data.arp_tip;
	/* Through a tunnel only what lives here is answered: several nodes may hear the same question. */
	const struct route *r = config_route(b->config, a->network->id, &target);
	bool ours = r != NULL && (r->kind == ROUTE_ENDPOINT || r->kind == ROUTE_GATEWAY);
	if (arp->arp_opcode != RTE_BE16(RTE_ARP_OP_REQUEST) || own || gratuitous || (a->tunnel && !ours)) {
		packet_drop(w, b, i, DROP_ARP);
		return;
	}
	if (!worker_may_answer(w, b->p[i].in_port)) {
		packet_drop(w, b, i, DROP_LINK_LIMIT);
		return;
	}
	/* To the asker itself, whatever MAC its hop carries: it may ask before it is an endpoint's own. */
	arp_turn(b, i, &a->gateway_mac);
	answer_send(b, i);
}

static bool
uplink_has(const struct port_view *uplink, const struct ip *ip)
{
	for (uint32_t k = 0; k < uplink->spec->ips.n; k++)
		if (ip_equal(&uplink->spec->ips.v[k].ip, ip))
			return true;
	return false;
}

/* On the underlay: learn our next hops, answer for our tunnel end, leave the rest to the host. */
void
respond_underlay_arp(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	const struct rte_arp_hdr *arp = arp_of(b, i);
	if (arp == NULL) {
		packet_drop(w, b, i, DROP_ARP);
		return;
	}
	struct ip sender = ip_from4(arp->arp_data.arp_sip), target = ip_from4(arp->arp_data.arp_tip);
	struct mac mac;
	memcpy(&mac, &arp->arp_data.arp_sha, sizeof(mac));
	if (!rte_is_multicast_ether_addr(&arp->arp_data.arp_sha))
		neighbour_learn(b->from->port, &sender, &mac, w->now_ms);

	if (arp->arp_opcode == RTE_BE16(RTE_ARP_OP_REQUEST) && uplink_has(b->from, &target)) {
		arp_turn(b, i, &b->from->mac);
		p->out_port = b->from->port;
		burst_move(b, i, STAGE_TRANSMIT);
	} else if (b->config->host_port != PORT_NONE) {
		p->out_port = b->config->host_port;
		burst_move(b, i, STAGE_TRANSMIT);
	} else {
		packet_drop(w, b, i, DROP_ARP);
	}
}

/* --- IPv6 --- */

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_ROUTER_SOLICITATION 133
#define ND_OPTION_SOURCE_LINK 1
#define ND_OPTION_TARGET_LINK 2

struct nd_message { /* RFC 4861 4.3, 4.4 */
	uint8_t type, code;
	uint16_t checksum;
	uint32_t flags;
	uint8_t target[16];
	uint8_t option_type, option_len;
	uint8_t option_mac[6];
} __rte_packed; /* a frame's IP header is not on a boundary of four */
static_assert(sizeof(struct nd_message) == 32, "on the wire");
#define ND_BARE offsetof(struct nd_message, option_type)

/* RFC 4861 7.1.1: what makes a solicitation or advertisement valid. */
static bool
nd_valid(const struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	const struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
	uint16_t len = (uint16_t)(p->ip_end - p->l4);
	const uint8_t *l4 = packet_at(b, i, p->l4);
	if (ip->hop_limits != 255 || len < ND_BARE || packet_l4_sum(b, i) != 0xffff)
		return false;
	/* Every option must fit and have a length. */
	for (unsigned int o = ND_BARE; o < len;) {
		if (o + 2u > len || l4[o + 1] == 0 || o + l4[o + 1] * 8u > len)
			return false;
		o += l4[o + 1] * 8u;
	}
	return true;
}

/* What an endpoint says of itself must be true: its source address, and its MAC in the option. */
static bool
nd_sender_ok(const struct burst *b, uint32_t i, const struct asker *a, const struct nd_message *nd)
{
	const struct packet *p = &b->p[i];
	if (a->endpoint == NULL || a->endpoint->anti_spoof == ANTI_SPOOF_OFF)
		return true;
	if (!ip_is_none(&p->key.src) && !ip_is_link_local6(&p->key.src) && !endpoint_may_claim(a->endpoint, &p->key.src))
		return false;
	bool has_option = p->ip_end - p->l4 >= (int)sizeof(*nd);
	if (has_option && (nd->option_type == ND_OPTION_SOURCE_LINK || nd->option_type == ND_OPTION_TARGET_LINK) &&
	    memcmp(nd->option_mac, &((const struct rte_ether_hdr *)packet_at(b, i, 0))->src_addr, 6) != 0)
		return false;
	if (p->icmp_type == ND_ADVERTISEMENT) {
		struct ip target = ip_from6(nd->target);
		return ip_is_link_local6(&target) || endpoint_may_claim(a->endpoint, &target);
	}
	return true;
}

/* The solicitation becomes an advertisement: router, solicited, override; "target is at the gateway's MAC". */
static void
nd_turn(struct burst *b, uint32_t i, const struct mac *mac)
{
	struct packet *p = &b->p[i];
	struct rte_mbuf *m = b->m[i];
	uint16_t want = (uint16_t)(p->l4 + sizeof(struct nd_message));
	if (rte_pktmbuf_data_len(m) < want)
		rte_pktmbuf_append(m, (uint16_t)(want - rte_pktmbuf_data_len(m)));
	else
		rte_pktmbuf_trim(m, (uint16_t)(rte_pktmbuf_data_len(m) - want));
	struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
	struct nd_message *nd = packet_at(b, i, p->l4);
	memcpy(ip->dst_addr, p->key.src.b, 16);
	memcpy(ip->src_addr, nd->target, 16);
	ip->hop_limits = 255;
	ip->payload_len = rte_cpu_to_be_16(sizeof(*nd));
	nd->type = ND_ADVERTISEMENT;
	nd->code = 0;
	nd->flags = RTE_BE32(0xe0000000u);
	nd->option_type = ND_OPTION_TARGET_LINK;
	nd->option_len = 1;
	memcpy(nd->option_mac, mac, 6);
	p->ip_end = want;
	nd->checksum = 0;
	nd->checksum = (uint16_t)~packet_l4_sum(b, i);
	offload_clear(m);
}

void
respond_nd(struct worker *w, struct burst *b, uint32_t i, const struct asker *a)
{
	struct packet *p = &b->p[i];
	const struct nd_message *nd = packet_at(b, i, p->l4);
	bool solicitation = p->icmp_type == ND_SOLICITATION;
	if (p->l4 != p->l3 + sizeof(struct rte_ipv6_hdr) || (!solicitation && p->icmp_type != ND_ADVERTISEMENT)) {
		packet_drop(w, b, i, DROP_ND); /* MLD, router discovery: nobody here needs an answer */
		return;
	}
	if (!nd_valid(b, i)) {
		packet_drop(w, b, i, DROP_ND);
		return;
	}
	if (!nd_sender_ok(b, i, a, nd)) {
		packet_drop(w, b, i, DROP_SPOOFED_ARP);
		return;
	}
	struct ip target = ip_from6(nd->target);
	bool probe = ip_is_none(&p->key.src); /* duplicate address detection (RFC 4862 5.4) */
	bool own = a->endpoint != NULL && (endpoint_owns(a->endpoint, &target) || ip_equal(&target, &p->key.src));
	const struct route *r = config_route(b->config, a->network->id, &target);
	bool local = r != NULL && (r->kind == ROUTE_ENDPOINT || r->kind == ROUTE_GATEWAY);
	/* A probe for a link-local address is for the pod's own: on its link there is nobody else but us. */
	if (!solicitation || own || (probe && (r == NULL || ip_is_link_local6(&target))) || (a->tunnel && !local) || target.b[0] == 0xff) {
		packet_drop(w, b, i, DROP_ND);
		return;
	}
	if (!worker_may_answer(w, p->in_port)) {
		packet_drop(w, b, i, DROP_LINK_LIMIT);
		return;
	}
	if (probe) {
		/* Somebody has this address: say so to all nodes, as the prober has no address to be told at (RFC 4861 7.2.4). */
		static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
		memcpy(p->key.src.b, all_nodes, 16);
	}
	nd_turn(b, i, &a->gateway_mac);
	answer_send(b, i);
}
