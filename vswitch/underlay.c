/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire that the node hangs on, and the node itself.
 *
 * The host port and the uplink share one MAC and are one wire to both sides: what the host says to anybody but a
 * pod goes out as it is, and what arrives for the node and is no tunnel packet of ours goes to the host as it is, so that its own ARP, ND,
 * DHCP and routing go on working. We resolve only our own next hops, those of VTEPs.
 */
#include <weft/base.h>

#include <rte_arp.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include <weft/clock.h>
#include <weft/neighbour.h>
#include <weft/pipeline.h>

#include "parse.h"
#include "underlay.h"

#define HOLD_MS 1000

bool
is_tunnel(const struct config *c, const uint8_t *frame, uint16_t len)
{
	const struct rte_ether_hdr *eth = (const void *)frame;
	const struct rte_ipv4_hdr *ip = (const void *)(eth + 1);
	if (eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4) || len < sizeof(*eth) + sizeof(*ip) + sizeof(struct rte_udp_hdr))
		return false;
	/* What looks like a UDP header in a later fragment is none. */
	if (ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_OFFSET_MASK))
		return false;
	if (ip->next_proto_id != IPPROTO_UDP || ip->dst_addr != c->vtep_ip.w[3] || !ip_is4(&c->vtep_ip))
		return false;
	unsigned int ihl = (unsigned int)(ip->version_ihl & 15) * 4;
	if (ihl < sizeof(*ip) || sizeof(*eth) + ihl + sizeof(struct rte_udp_hdr) > len)
		return false;
	const struct rte_udp_hdr *udp = (const void *)((const uint8_t *)ip + ihl);
	return config_is_vxlan_port(c, rte_be_to_cpu_16(udp->dst_port));
}

/* Where a frame of the host wants to get: the IP destination, or what ARP or ND asks about. False: neither. */
static bool
wanted_address(const uint8_t *frame, uint16_t len, struct ip *out)
{
	const struct rte_ether_hdr *eth = (const void *)frame;
	const uint8_t *body = frame + sizeof(*eth);
	unsigned int room = len - (unsigned int)sizeof(*eth);
	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4) && room >= sizeof(struct rte_ipv4_hdr)) {
		*out = ip_from4(((const struct rte_ipv4_hdr *)body)->dst_addr);
		return true;
	}
	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP) && room >= sizeof(struct rte_arp_hdr)) {
		*out = ip_from4(((const struct rte_arp_hdr *)body)->arp_data.arp_tip);
		return true;
	}
	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6) && room >= sizeof(struct rte_ipv6_hdr)) {
		const struct rte_ipv6_hdr *ip = (const void *)body;
		*out = ip_from6(ip->dst_addr);
		/* A neighbour solicitation goes to a multicast address: its target is what counts (RFC 4861 4.3). */
		if (ip->proto == IPPROTO_ICMPV6 && room >= sizeof(*ip) + 24 && body[sizeof(*ip)] == 135)
			*out = ip_from6(body + sizeof(*ip) + 8);
		return true;
	}
	return false;
}

bool
host_means(const struct config *c, const uint8_t *frame, uint16_t len, uint32_t *network)
{
	struct ip wanted;
	return wanted_address(frame, len, &wanted) && !config_is_node_ip(c, &wanted) &&
	       config_host_network(c, &wanted, network);
}

void
underlay_ask(struct worker *w, uint16_t id)
{
	const struct neighbour *n = &neighbour_table[id];
	const struct port *uplink = port_by_id(n->port);
	struct mac known;
	if (uplink == NULL)
		return;
	struct rte_mbuf *m = worker_create(w, n->port);
	if (m == NULL)
		return;
	struct rte_ether_hdr *eth = (void *)rte_pktmbuf_append(m, sizeof(*eth) + sizeof(struct rte_arp_hdr));
	struct rte_arp_hdr *arp = (void *)(eth + 1);
	/* One that still answers is asked alone (RFC 1122 2.3.2.1); one that is lost, by broadcast. */
	if (neighbour_mac(id, &known))
		memcpy(&eth->dst_addr, &known, sizeof(known));
	else
		memset(&eth->dst_addr, 0xff, sizeof(eth->dst_addr));
	memcpy(&eth->src_addr, &uplink->mac, sizeof(eth->src_addr));
	eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP);
	memset(arp, 0, sizeof(*arp));
	arp->arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER);
	arp->arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	arp->arp_hlen = RTE_ETHER_ADDR_LEN;
	arp->arp_plen = sizeof(uint32_t);
	arp->arp_opcode = RTE_BE16(RTE_ARP_OP_REQUEST);
	memcpy(&arp->arp_data.arp_sha, &uplink->mac, sizeof(arp->arp_data.arp_sha));
	arp->arp_data.arp_sip = n->source.w[3];
	arp->arp_data.arp_tip = n->ip.w[3];
	worker_transmit(w, n->port, &m, 1);
}

/* Fill in the outer MACs for a neighbour behind a port. False: not known yet. */
static bool
address(struct worker *w, struct rte_mbuf *m, uint16_t neighbour, uint16_t port)
{
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	const struct port *uplink = port_by_id(port);
	struct mac mac;
	bool known = neighbour_mac(neighbour, &mac);
	if (unlikely(neighbour_should_ask(neighbour, w->now_ms)))
		underlay_ask(w, neighbour);
	/* A packet may have waited while the uplink went and its id was given to another port. */
	if (unlikely(!known || uplink == NULL || !uplink->uplink))
		return false;
	memcpy(&eth->dst_addr, &mac, sizeof(mac));
	memcpy(&eth->src_addr, &uplink->mac, sizeof(eth->src_addr));
	return true;
}

bool
underlay_address(struct worker *w, struct rte_mbuf *m, const struct hop *hop)
{
	return address(w, m, hop->neighbour, hop->port);
}

void
underlay_hold(struct worker *w, struct rte_mbuf *m, const struct hop *hop, uint16_t in_port)
{
	if (w->n_held == HELD_MAX) {
		w->port[in_port].drop[DROP_NEIGHBOUR]++;
		rte_pktmbuf_free(m);
		return;
	}
	w->held[w->n_held++] = (struct held_packet){
		.m = m, .neighbour = hop->neighbour, .out_port = hop->port, .in_port = in_port, .since_ms = w->now_ms};
	w->count.held++;
}

/* Send what can be sent now, give up on what has waited too long. Order among the survivors is kept. */
static void
release_held(struct worker *w)
{
	unsigned int kept = 0;
	for (unsigned int i = 0; i < w->n_held; i++) {
		struct held_packet *h = &w->held[i];
		if (address(w, h->m, h->neighbour, h->out_port)) {
			worker_transmit(w, h->out_port, &h->m, 1);
		} else if (clock_passed(w->now_ms, h->since_ms, HOLD_MS)) {
			w->port[h->in_port].drop[DROP_NEIGHBOUR]++;
			rte_pktmbuf_free(h->m);
		} else {
			w->held[kept++] = *h;
		}
	}
	w->count.held -= w->n_held - kept;
	w->n_held = kept;
}

void
underlay_housekeep(struct worker *w)
{
	if (w->n_held != 0)
		release_held(w);
	if (w->id == 0 && clock_passed(w->now_ms, w->aged_ms, 1000)) {
		w->aged_ms = w->now_ms;
		neighbour_age(w->now_ms);
	}
}
