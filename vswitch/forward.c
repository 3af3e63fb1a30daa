/* SPDX-License-Identifier: Apache-2.0 */
/* The last steps of a packet that is allowed to go: Ethernet header, tunnel header, port. */
#include <weft/base.h>

#include <rte_ip.h>
#include <rte_udp.h>

#include <weft/neighbour.h>
#include <weft/offload.h>
#include <weft/pipeline.h>

#include "underlay.h"

void
forward_run(struct worker *w, struct burst *b, packet_set set)
{
	packet_set out = 0, tunnel = 0;
	BURST_FOREACH (i, set) {
		struct packet *p = &b->p[i];
		const struct hop *hop = hop_get(p->hop);
		if (unlikely(hop->kind == HOP_NONE)) {
			packet_drop(w, b, i, DROP_NO_ROUTE);
			continue;
		}
		if (hop->kind == HOP_UNDERLAY) {
			underlay_forward(w, b, i, hop);
			continue;
		}
		memcpy(packet_at(b, i, 0), hop->l2, sizeof(hop->l2));
		p->out_port = hop->port;
		tunnel |= (packet_set)(hop->kind == HOP_TUNNEL) << i;
		out |= packet_bit(i);
	}
	b->at[STAGE_ENCAP] |= tunnel;
	b->at[STAGE_TRANSMIT] |= out & ~tunnel;
}

/* RFC 7348 section 5: entropy for the underlay's load balancing, from the dynamic port range (RFC 6335). */
static rte_be16_t
vxlan_source_port(uint32_t hash)
{
	return rte_cpu_to_be_16((uint16_t)(49152 + ((hash ^ hash >> 16) & 16383)));
}

bool
vxlan_push(struct rte_mbuf *m, const struct hop *hop, uint32_t hash)
{
	uint16_t inner = rte_pktmbuf_data_len(m);
	uint8_t *frame = (uint8_t *)rte_pktmbuf_prepend(m, VXLAN_OUTER_LEN);
	if (unlikely(frame == NULL))
		return false;
	memcpy(frame, hop->outer, VXLAN_OUTER_LEN);
	struct rte_ipv4_hdr *ip = (void *)(frame + RTE_ETHER_HDR_LEN);
	struct rte_udp_hdr *udp = (void *)(ip + 1);
	uint16_t total = (uint16_t)(inner + VXLAN_OUTER_LEN - RTE_ETHER_HDR_LEN);
	ip->total_length = rte_cpu_to_be_16(total);
	ip->hdr_checksum = (uint16_t)~__rte_raw_cksum_reduce((uint32_t)(uint16_t)~ip->hdr_checksum + ip->total_length);
	udp->dgram_len = rte_cpu_to_be_16((uint16_t)(total - sizeof(*ip)));
	udp->src_port = vxlan_source_port(hash);
	return true;
}

/* The inner ECN field shows on the outside too (RFC 6040 4.1). */
static uint8_t
inner_ecn(const struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	const uint8_t *ip = packet_at(b, i, p->l3);
	return packet_is4(p) ? ip[1] & 3 : ip[1] >> 4 & 3;
}

void
encap_run(struct worker *w, struct burst *b, packet_set set)
{
	BURST_FOREACH (i, set) {
		struct packet *p = &b->p[i];
		struct rte_mbuf *m = b->m[i];
		const struct hop *hop = hop_get(p->hop);
		/* A partial checksum would be the inner one, which no port here can finish inside a tunnel. */
		if (offload_is_partial(m) && offload_complete(m, p->ip_end, p->proto == IPPROTO_UDP) < 0) {
			packet_drop(w, b, i, DROP_BAD_OFFLOAD);
			continue;
		}
		uint8_t ecn = p->l4 != 0 ? inner_ecn(b, i) : 0;
		if (unlikely(!vxlan_push(m, hop, p->hash))) {
			packet_drop(w, b, i, DROP_NO_MBUF);
			continue;
		}
		if (unlikely(ecn != 0)) {
			struct rte_ipv4_hdr *ip = packet_at(b, i, RTE_ETHER_HDR_LEN);
			uint32_t sum = (uint16_t)~ip->hdr_checksum + rte_cpu_to_be_16(ecn);
			ip->type_of_service |= ecn;
			ip->hdr_checksum = (uint16_t)~__rte_raw_cksum_reduce(sum);
		}
		if (likely(underlay_address(w, m, hop))) {
			p->l3 = 0; /* what parse found has moved: the frame is an outer one now, and complete */
			p->ip_end = 0;
			burst_move(b, i, STAGE_TRANSMIT);
		} else {
			underlay_hold(w, m, hop, p->in_port);
		}
	}
}

/* A partial checksum leaves as it is by a port that can finish it, whole by any other. False: it cannot be made whole. */
static bool
settle_checksum(const struct packet *p, struct rte_mbuf *m)
{
	const struct port *port = port_by_id(p->out_port);
	if (port != NULL && __atomic_load_n(&port->offloads, __ATOMIC_RELAXED) & PORT_TX_CSUM)
		return true;
	uint16_t end = p->ip_end != 0 ? p->ip_end : rte_pktmbuf_data_len(m);
	return offload_complete(m, end, offload_csum_offset(m) == offsetof(struct rte_udp_hdr, dgram_cksum)) == 0;
}

void
transmit_run(struct worker *w, struct burst *b, packet_set set)
{
	struct rte_mbuf *run[WEFT_BURST]; /* neighbours in the burst that leave by the same port */
	unsigned int n = 0;
	uint16_t port = 0;
	BURST_FOREACH (i, set) {
		const struct packet *p = &b->p[i];
		struct rte_mbuf *m = b->m[i];
		if (unlikely(offload_is_partial(m)) && !settle_checksum(p, m)) {
			packet_drop(w, b, i, DROP_BAD_OFFLOAD);
			continue;
		}
		if (unlikely(p->out_port != port) && n > 0) {
			worker_transmit(w, port, run, n);
			n = 0;
		}
		port = p->out_port;
		run[n++] = m;
	}
	if (n > 0)
		worker_transmit(w, port, run, n);
}
