/* SPDX-License-Identifier: Apache-2.0 */
/* VXLAN on (RFC 7348): the hop's template in front of the frame, and what differs from packet to packet. */
#include <weft/base.h>

#include <rte_ip.h>
#include <rte_udp.h>

#include <weft/offload.h>
#include <weft/pipeline.h>

#include "rewrite.h"
#include "underlay.h"

/* The tunnel that the packet before took. Most of a burst goes through one, whose neighbour is looked up once. */
struct way {
	const struct hop *hop; /* NULL: none yet */
	bool known;            /* the neighbour may be sent to */
	struct mac macs[2];    /* destination and source */
	uint32_t sum;          /* of the IPv4 header as the template has it */
};

static void
way_find(struct worker *w, const struct hop *hop, struct way *way)
{
	const struct rte_ipv4_hdr *ip = (const void *)(hop->outer + RTE_ETHER_HDR_LEN);
	way->hop = hop;
	way->known = underlay_macs(w, hop, way->macs);
	way->sum = (uint16_t)~ip->hdr_checksum;
}

/* RFC 7348 section 5: entropy for the underlay's load balancing, from the dynamic port range (RFC 6335). */
static rte_be16_t
source_port(uint32_t hash)
{
	return rte_cpu_to_be_16((uint16_t)(49152 + ((hash ^ hash >> 16) & 16383)));
}

/* False: no headroom. */
static inline bool
push(struct rte_mbuf *m, const struct way *way, uint32_t hash, uint8_t ecn)
{
	uint16_t total = (uint16_t)(rte_pktmbuf_data_len(m) + VXLAN_OUTER_LEN - RTE_ETHER_HDR_LEN);
	uint8_t *frame = (uint8_t *)rte_pktmbuf_prepend(m, VXLAN_OUTER_LEN);
	if (unlikely(frame == NULL))
		return false;
	memcpy(frame, way->hop->outer, VXLAN_OUTER_LEN);
	memcpy(frame, way->macs, sizeof(way->macs));
	struct rte_ipv4_hdr *ip = (void *)(frame + RTE_ETHER_HDR_LEN);
	struct rte_udp_hdr *udp = (void *)(ip + 1);
	uint32_t sum = way->sum + rte_cpu_to_be_16(total) + rte_cpu_to_be_16(ecn);
	ip->type_of_service = ecn;
	ip->total_length = rte_cpu_to_be_16(total);
	ip->hdr_checksum = (uint16_t)~sum_fold(sum);
	udp->dgram_len = rte_cpu_to_be_16((uint16_t)(total - sizeof(*ip)));
	udp->src_port = source_port(hash);
	return true;
}

/* The inner ECN field shows on the outside too (RFC 6040 4.1). */
static inline uint8_t
inner_ecn(const struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	const uint8_t *ip = packet_at(b, i, p->l3);
	if (unlikely(p->l4 == 0))
		return 0; /* no IP */
	return (packet_is4(p) ? ip[1] : ip[1] >> 4) & 3;
}

void
encap_run(struct worker *w, struct burst *b, packet_set set)
{
	struct way way = {.hop = NULL};
	BURST_FOREACH (i, set) {
		struct packet *p = &b->p[i];
		struct rte_mbuf *m = b->m[i];
		const struct hop *hop = hop_get(p->hop);
		if (unlikely(hop != way.hop))
			way_find(w, hop, &way);
		/* A partial checksum would be the inner one, which no port here can finish inside a tunnel. */
		if (offload_is_partial(m) && offload_complete(m, p->ip_end, p->proto == IPPROTO_UDP) < 0) {
			packet_drop(w, b, i, DROP_BAD_OFFLOAD);
		} else if (unlikely(!push(m, &way, p->hash, inner_ecn(b, i)))) {
			packet_drop(w, b, i, DROP_NO_MBUF);
		} else if (likely(way.known)) {
			p->l3 = 0; /* what parse found has moved: the frame is an outer one now, and complete */
			p->ip_end = 0;
			burst_move(b, i, STAGE_TRANSMIT);
		} else {
			underlay_hold(w, m, hop, p->in_port);
		}
	}
}
