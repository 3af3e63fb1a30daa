/* SPDX-License-Identifier: Apache-2.0 */
/* VXLAN off (RFC 7348): nothing inside is believed before VTEP and VNI are known to be ours. */
#include <weft/base.h>

#include <rte_ip.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#include <weft/pipeline.h>

#include "parse.h"

/* What the outer header says of congestion goes on with the inner packet (RFC 6040 4.2). False: must be dropped. */
static bool
ecn_decap(const struct rte_ipv4_hdr *outer, struct rte_mbuf *m)
{
	uint8_t *eth = rte_pktmbuf_mtod(m, uint8_t *);
	if (likely((outer->type_of_service & RTE_IPV4_HDR_ECN_MASK) != RTE_IPV4_HDR_ECN_CE))
		return true;
	if (rte_pktmbuf_data_len(m) < RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv4_hdr))
		return true; /* parse will see to it */
	if (eth[12] == 0x08 && eth[13] == 0x00) {
		struct rte_ipv4_hdr *ip = (void *)(eth + RTE_ETHER_HDR_LEN);
		uint8_t ecn = ip->type_of_service & RTE_IPV4_HDR_ECN_MASK;
		if (ecn == 0)
			return false;
		/* HC' = ~(~HC + ~m + m') (RFC 1624), over the 16-bit word that holds the TOS byte. */
		uint32_t sum = (uint16_t)~ip->hdr_checksum + rte_cpu_to_be_16((uint16_t)(RTE_IPV4_HDR_ECN_CE - ecn));
		ip->hdr_checksum = (uint16_t)~__rte_raw_cksum_reduce(sum);
		ip->type_of_service |= RTE_IPV4_HDR_ECN_CE;
	} else if (eth[12] == 0x86 && eth[13] == 0xdd) {
		uint8_t *tc = eth + RTE_ETHER_HDR_LEN + 1; /* low nibble of the traffic class, then flow label */
		if ((*tc & 0x30) == 0)
			return false;
		*tc |= 0x30;
	}
	return true;
}

/* What is wrong with the outer headers, or -1. */
static int
check_outer(const struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	const struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
	const struct rte_udp_hdr *udp = packet_at(b, i, p->l4);
	unsigned int room = (unsigned int)(p->ip_end - p->l4);
	if (room < sizeof(*udp) + sizeof(struct rte_vxlan_hdr) + sizeof(struct rte_ether_hdr))
		return DROP_VXLAN_HEADER;
	uint16_t len = rte_be_to_cpu_16(udp->dgram_len);
	if (len != room)
		return DROP_VXLAN_HEADER;
	bool verified = (b->m[i]->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	if (udp->dgram_cksum != 0 && !verified && rte_ipv4_udptcp_cksum_verify(ip, udp) != 0)
		return DROP_VXLAN_CHECKSUM;
	const struct rte_vxlan_hdr *vxlan = (const void *)(udp + 1);
	return vxlan->vx_flags & VXLAN_FLAG_I ? -1 : DROP_VXLAN_HEADER;
}

void
decap_run(struct worker *w, struct burst *b, packet_set set)
{
	BURST_FOREACH (i, set) {
		struct packet *p = &b->p[i];
		int wrong = check_outer(b, i);
		if (unlikely(wrong >= 0)) {
			packet_drop(w, b, i, (enum drop_reason)wrong);
			continue;
		}
		const struct rte_ipv4_hdr outer = *(const struct rte_ipv4_hdr *)packet_at(b, i, p->l3);
		const struct rte_vxlan_hdr *vxlan = packet_at(b, i, (uint16_t)(p->l4 + sizeof(struct rte_udp_hdr)));
		uint32_t network;
		if (unlikely(!config_vni(b->config, rte_be_to_cpu_32(vxlan->vx_vni) >> 8, &network))) {
			packet_drop(w, b, i, DROP_VXLAN_VNI);
			continue;
		}
		const struct vtep *vtep = config_vtep(b->config, network, &p->key.src);
		if (unlikely(vtep == NULL)) {
			packet_drop(w, b, i, DROP_VXLAN_VTEP);
			continue;
		}
		/* Ethernet padding behind the outer packet is not the inner frame's. */
		struct rte_mbuf *m = b->m[i];
		rte_pktmbuf_trim(m, (uint16_t)(rte_pktmbuf_data_len(m) - p->ip_end));
		uint16_t taken = (uint16_t)(p->l4 + sizeof(struct rte_udp_hdr) + sizeof(*vxlan));
		rte_pktmbuf_adj(m, taken);
		m->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK;
		if (unlikely(!ecn_decap(&outer, m))) {
			packet_drop(w, b, i, DROP_IP_HEADER);
			continue;
		}
		parse_overlay(w, b, i, network, vtep->slot, vtep->hop, taken);
	}
}
