/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tunnel's ordinary packet, at once: an outer IPv4 header without options or fragments, UDP without a checksum or
 * with one that the device has verified, a VTEP and a VNI that we know. It is most of what the uplink brings; parse.c
 * and decap.c take on all others, those to be dropped among them. So nothing here may let pass what they would not.
 *
 * Most of a burst is from one peer, whose headers are the same but for a few fields. So a header is compared with the
 * one before, and only where it differs are its parts looked at, and VTEP and VNI looked up.
 */
#include <weft/base.h>

#include <rte_udp.h>
#include <rte_vxlan.h>

#include <weft/pipeline.h>

#include "parse.h"
#include "plain.h"

struct outer {
	struct rte_ether_hdr eth;
	struct rte_ipv4_hdr ip;
	struct rte_udp_hdr udp;
	struct rte_vxlan_hdr vxlan;
} __rte_packed __rte_aligned(2);
static_assert(sizeof(struct outer) == VXLAN_OUTER_LEN, "without options");

/* The header as words, and the byte that is left of the VNI. */
#define WORDS 6
#define VNI_LAST 48

/* What is the same in all of a peer's; the rest is is_whole()'s, or nobody's. */
static const union {
	uint8_t byte[WORDS * 8];
	uint64_t word[WORDS];
} same = {.byte = {[0 ... 5] = 0xff,   /* destination MAC */
		   [12 ... 14] = 0xff, /* Ethernet type; version and header length */
		   [20] = 0x3f,        /* fragment: MF and offset */
		   [21] = 0xff,
		   [23] = 0xff,        /* protocol */
		   [26 ... 33] = 0xff, /* source and destination address */
		   [36 ... 37] = 0xff, /* destination port */
		   [42] = 0x08,        /* VXLAN: I */
		   [46 ... 47] = 0xff}};

/* Who sent the packet before. */
struct peer {
	uint64_t word[WORDS]; /* its header, which was looked at */
	uint8_t vni_last;
	bool nobody; /* yet */
	uint32_t network, source, hop;
};

static inline uint64_t
word_of(const struct outer *o, unsigned int k)
{
	uint64_t w;
	memcpy(&w, (const uint8_t *)o + 8 * k, sizeof(w));
	return w;
}

static inline bool
is_from(const struct outer *o, const struct peer *peer)
{
	uint64_t differs = (uint64_t)peer->nobody | (peer->vni_last ^ ((const uint8_t *)o)[VNI_LAST]);
	for (unsigned int k = 0; k < WORDS; k++)
		differs |= (word_of(o, k) ^ peer->word[k]) & same.word[k];
	return differs == 0;
}

/* VXLAN to our tunnel end, from a peer that we know: all that is_from() will compare. False: *peer is as it was. */
static bool
find_peer(const struct burst *b, const struct outer *o, struct peer *peer)
{
	const struct config *c = b->config;
	const struct ip from = ip_from4(o->ip.src_addr);
	uint32_t network;
	if (!plain_shape4((const uint8_t *)o) || !mac_equal((const struct mac *)&o->eth.dst_addr, &b->from->mac) ||
	    o->ip.next_proto_id != IPPROTO_UDP || !ip_is4(&c->vtep_ip) || o->ip.dst_addr != c->vtep_ip.w[3] ||
	    !plain_address4(o->ip.src_addr) || !plain_address4(o->ip.dst_addr) || o->ip.src_addr == o->ip.dst_addr)
		return false;
	if (!config_is_vxlan_port(c, rte_be_to_cpu_16(o->udp.dst_port)) || !(o->vxlan.vx_flags & VXLAN_FLAG_I) ||
	    !config_vni(c, rte_be_to_cpu_32(o->vxlan.vx_vni) >> 8, &network))
		return false;
	const struct vtep *vtep = config_vtep(c, network, &from);
	if (vtep == NULL)
		return false;
	*peer = (struct peer){
		.vni_last = ((const uint8_t *)o)[VNI_LAST], .network = network, .source = vtep->slot, .hop = vtep->hop};
	for (unsigned int k = 0; k < WORDS; k++)
		peer->word[k] = word_of(o, k);
	return true;
}

/* What differs from packet to packet: it is as long as it says, has hops left, met no congestion, and its checksums are
 * right. */
static inline bool
is_whole(const struct rte_mbuf *m, const struct outer *o)
{
	unsigned int ip = rte_pktmbuf_data_len(m) - (unsigned int)sizeof(o->eth),
		     udp = ip - (unsigned int)sizeof(o->ip);
	bool odd = (rte_be_to_cpu_16(o->ip.total_length) != ip) | (rte_be_to_cpu_16(o->udp.dgram_len) != udp) |
		   (o->ip.time_to_live <= 1) | ((o->ip.type_of_service & RTE_IPV4_HDR_ECN_MASK) == RTE_IPV4_HDR_ECN_CE);
	bool verified =
		o->udp.dgram_cksum == 0 || (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	return !odd && verified && plain_sum4(&o->ip);
}

packet_set
decap_plain(struct worker *w, struct burst *b, packet_set set)
{
	struct peer peer = {.nobody = true};
	packet_set track = 0, others = 0;
	BURST_FOREACH (i, set) {
		struct rte_mbuf *m = b->m[i];
		const struct outer *o = rte_pktmbuf_mtod(m, const struct outer *);
		if (unlikely(rte_pktmbuf_data_len(m) < sizeof(*o) + sizeof(struct rte_ether_hdr) ||
			     (!is_from(o, &peer) && !find_peer(b, o, &peer)) || !is_whole(m, o))) {
			others |= packet_bit(i);
			continue;
		}
		rte_pktmbuf_adj(m, sizeof(*o));
		m->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK; /* of the outer packet */
		if (likely(parse_plain4(b, i, peer.network, peer.source, peer.hop)))
			track |= packet_bit(i);
		else
			parse_overlay(w, b, i, peer.network, peer.source, peer.hop, sizeof(*o));
	}
	b->at[STAGE_TRACK] |= track;
	return others;
}
