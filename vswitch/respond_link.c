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

#include "nd.h"
#include "policy_note.h"
#include "respond.h"
#include "rewrite.h"
#include "spoof.h"
#include "underlay.h"

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
	const struct mac *sha = (const struct mac *)&arp->arp_data.arp_sha;
	struct ip sender = ip_from4(arp->arp_data.arp_sip);
	if (a->endpoint == NULL)
		return true;
	if (arp->arp_data.arp_sip == 0) /* a probe claims no address (RFC 5227 2.1.1) */
		return endpoint_has_mac(a->endpoint, sha);
	return endpoint_may_speak(a->endpoint, sha, &sender);
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
	if (gratuitous && !own && a->endpoint != NULL)
		note_claim(w, b->config, b->p[i].in_port, a->endpoint, &target);
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

/* Our tunnel end, and what stands for pods and services out there: the node's other addresses are the host's to answer for. */
static bool
answers_for(const struct burst *b, const struct ip *ip)
{
	const struct config *c = b->config;
	if (uplink_has(b->from, ip))
		return true;
	if (config_is_node_ip(c, ip))
		return false;
	const struct prefix alone = {*ip, 128};
	if (lpm_get(&c->watch, NETWORK_UNDERLAY, &alone) != NULL)
		return true;
	const struct route *r = config_route(c, NETWORK_UNDERLAY, ip);
	return r != NULL && r->kind == ROUTE_LINK && service_address_find(&c->service, NETWORK_UNDERLAY, ip) != NULL;
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

	if (arp->arp_opcode == RTE_BE16(RTE_ARP_OP_REQUEST) && answers_for(b, &target)) {
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
	const struct endpoint *ep = a->endpoint;
	if (ep == NULL || ep->anti_spoof == ANTI_SPOOF_OFF)
		return true;
	const struct rte_ether_hdr *eth = packet_at(b, i, 0);
	struct mac mac;
	memcpy(&mac, &eth->src_addr, sizeof(mac));
	if (!ip_is_none(&p->key.src) && !ip_is_link_local6(&p->key.src) && !endpoint_may_speak(ep, &mac, &p->key.src))
		return false;
	bool has_option = p->ip_end - p->l4 >= (int)sizeof(*nd);
	if (has_option && (nd->option_type == ND_OPTION_SOURCE_LINK || nd->option_type == ND_OPTION_TARGET_LINK))
		memcpy(&mac, nd->option_mac, sizeof(mac));
	if (p->icmp_type == ND_ADVERTISEMENT) {
		struct ip target = ip_from6(nd->target);
		return ip_is_link_local6(&target) ? endpoint_has_mac(ep, &mac) : endpoint_may_speak(ep, &mac, &target);
	}
	return ip_is_none(&p->key.src) || ip_is_link_local6(&p->key.src) ? endpoint_has_mac(ep, &mac)
									 : endpoint_may_speak(ep, &mac, &p->key.src);
}

#define ND_ROUTER 0x80000000u
#define ND_SOLICITED 0x40000000u
#define ND_OVERRIDE 0x20000000u

/* The solicitation becomes an advertisement: "target is at mac". */
static void
nd_turn(struct burst *b, uint32_t i, const struct mac *mac, uint32_t flags)
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
	nd->flags = rte_cpu_to_be_32(flags);
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
	if (!solicitation && a->endpoint != NULL && !endpoint_owns(a->endpoint, &target) && !ip_is_link_local6(&target))
		note_claim(w, b->config, b->p[i].in_port, a->endpoint, &target);
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
	nd_turn(b, i, &a->gateway_mac, ND_ROUTER | ND_SOLICITED | ND_OVERRIDE);
	answer_send(b, i);
}

/* The MAC that a solicitation gives of its sender, an advertisement of its target. */
static bool
nd_says(const struct packet *p, const struct nd_message *nd, struct mac *mac)
{
	uint8_t option = p->icmp_type == ND_SOLICITATION ? ND_OPTION_SOURCE_LINK : ND_OPTION_TARGET_LINK;
	if (p->ip_end - p->l4 < (int)sizeof(*nd) || nd->option_type != option || nd->option_mac[0] & 1)
		return false;
	memcpy(mac, nd->option_mac, sizeof(*mac));
	return true;
}

/* As respond_underlay_arp. The host hears everything but what is answered here. */
void
respond_underlay_nd(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	struct rte_ether_hdr *eth = packet_at(b, i, 0);
	const struct nd_message *nd = packet_at(b, i, p->l4);
	bool solicitation = p->icmp_type == ND_SOLICITATION;
	struct mac mac;
	if (p->l4 != p->l3 + sizeof(struct rte_ipv6_hdr) || (!solicitation && p->icmp_type != ND_ADVERTISEMENT) || !nd_valid(b, i)) {
		underlay_pass(w, b, i);
		return;
	}
	struct ip target = ip_from6(nd->target);
	if (nd_says(p, nd, &mac) && !ip_is_none(&p->key.src))
		neighbour_learn(b->from->port, solicitation ? &p->key.src : &target, &mac, w->now_ms);
	if (!solicitation || !answers_for(b, &target)) {
		underlay_pass(w, b, i);
		return;
	}
	eth->dst_addr = eth->src_addr;
	uint32_t flags = ND_SOLICITED | ND_OVERRIDE;
	if (ip_is_none(&p->key.src)) { /* a probe: all nodes are told, as in respond_nd */
		memcpy(p->key.src.b, (const uint8_t[16]){0xff, 0x02, [15] = 1}, 16);
		memcpy(&eth->dst_addr, (const uint8_t[6]){0x33, 0x33, [5] = 1}, 6);
		flags = ND_OVERRIDE;
	}
	nd_turn(b, i, &b->from->mac, flags);
	memcpy(&((struct rte_ether_hdr *)packet_at(b, i, 0))->src_addr, &b->from->mac, sizeof(b->from->mac));
	p->out_port = b->from->port;
	burst_move(b, i, STAGE_TRANSMIT);
}
