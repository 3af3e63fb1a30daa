/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ordinary packet, at once: IPv4 without options or fragments, TCP or UDP with whole headers and sane addresses. It is most of
 * what there is, and a few branches decide that nothing about it needs parse.c, which takes on all others, those to be dropped
 * among them. So nothing here may let pass what parse.c would not.
 */
#include <weft/base.h>

#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <weft/drop.h>
#include <weft/offload.h>

#include "parse.h"
#include "plain.h"

#define L3 PLAIN_L3
#define L4 PLAIN_L4

static inline bool
checksum_is_plain(const struct rte_mbuf *m, uint16_t field)
{
	return likely(!offload_is_partial(m)) || (offload_csum_start(m) == L4 && offload_csum_offset(m) == field);
}

/* Whole, and with a checksum that is complete or partial in its own field. */
static inline bool
l4_is_plain(const struct rte_mbuf *m, const uint8_t *l4, uint8_t proto, unsigned int room, struct packet *p)
{
	memcpy(&p->key.sport, l4, 4); /* both ports */
	if (proto == IPPROTO_UDP) {
		unsigned int length = rte_be_to_cpu_16(((const struct rte_udp_hdr *)l4)->dgram_len);
		p->tcp_flags = 0;
		return length >= sizeof(struct rte_udp_hdr) && length <= room &&
		       checksum_is_plain(m, offsetof(struct rte_udp_hdr, dgram_cksum));
	}
	if (proto == IPPROTO_TCP && room >= sizeof(struct rte_tcp_hdr)) {
		const struct rte_tcp_hdr *tcp = (const void *)l4;
		unsigned int header = (unsigned int)(tcp->data_off >> 4) * 4;
		p->tcp_flags = tcp->tcp_flags;
		return header >= sizeof(*tcp) && header <= room && checksum_is_plain(m, offsetof(struct rte_tcp_hdr, cksum));
	}
	return false;
}

bool
parse_plain4(struct burst *b, uint32_t i, uint32_t network, uint32_t source, uint32_t back)
{
	struct rte_mbuf *m = b->m[i];
	struct packet *p = &b->p[i];
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	const struct rte_ipv4_hdr *ip = (const void *)(frame + L3);
	unsigned int length = rte_pktmbuf_data_len(m);
	if (unlikely(length < L4 + sizeof(struct rte_udp_hdr)))
		return false;
	unsigned int end = (unsigned int)L3 + rte_be_to_cpu_16(ip->total_length);
	bool odd = !plain_shape4(frame) | (end > length) | (ip->src_addr == ip->dst_addr);
	if (unlikely(odd || end < L4 + sizeof(struct rte_udp_hdr) || !plain_address4(ip->src_addr) || !plain_address4(ip->dst_addr) ||
		     !plain_sum4(ip) || !l4_is_plain(m, frame + L4, ip->next_proto_id, end - (unsigned int)L4, p)))
		return false;
	p->key.src = ip_from4(ip->src_addr);
	p->key.dst = ip_from4(ip->dst_addr);
	p->key.net_proto = tuple_net_proto(network, ip->next_proto_id);
	p->source = source;
	p->back = back;
	p->l3 = L3;
	p->l4 = L4;
	p->ip_end = (uint16_t)end;
	p->flags = likely(!offload_is_partial(m)) ? PACKET_PLAIN : 0;
	p->proto = ip->next_proto_id;
	p->icmp_type = p->icmp_code = 0;
	p->answer = ANSWER_NONE;
	p->drop = DROP_NO_ROUTE;
	/* Padding goes no further, see parse_ip. */
	if (unlikely(length > end))
		rte_pktmbuf_trim(m, (uint16_t)(length - end));
	return true;
}
