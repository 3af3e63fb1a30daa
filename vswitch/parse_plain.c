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
#include "rewrite.h"

#define L3 sizeof(struct rte_ether_hdr)
#define L4 (L3 + sizeof(struct rte_ipv4_hdr))

/* By the first byte on the wire: 0/8, 127/8 and all from 224/4 on. No packet comes from there, and none that is ordinary goes there. */
static const bool odd_address[256] = {[0] = true, [127] = true, [224 ... 255] = true};

/* A header of five words whose sum, the checksum included, is all ones (RFC 1071). */
static inline bool
sum_is_right(const void *ip)
{
	uint64_t first, second, sum;
	uint32_t last;
	memcpy(&first, ip, 8);
	memcpy(&second, (const char *)ip + 8, 8);
	memcpy(&last, (const char *)ip + 16, 4);
	sum = (first & 0xffffffff) + (first >> 32) + (second & 0xffffffff) + (second >> 32) + last;
	return sum_fold(sum) == 0xffff;
}

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
	bool odd = (((const struct rte_ether_hdr *)frame)->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4)) |
		   (ip->version_ihl != RTE_IPV4_VHL_DEF) | (ip->time_to_live <= 1) | (end > length) |
		   ((ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)) != 0) |
		   (ip->src_addr == ip->dst_addr);
	if (unlikely(odd || end < L4 + sizeof(struct rte_udp_hdr) || odd_address[(uint8_t)ip->src_addr] || odd_address[(uint8_t)ip->dst_addr] ||
		     !sum_is_right(ip) || !l4_is_plain(m, frame + L4, ip->next_proto_id, end - (unsigned int)L4, p)))
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
