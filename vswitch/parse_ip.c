/* SPDX-License-Identifier: Apache-2.0 */
/* IP headers: everything that a packet's way rests on is checked here, once. */
#include <weft/base.h>

#include <rte_ip.h>

#include "parse.h"
#include "parse_cursor.h"

/* RFC 791 and 1122 3.2.1.3: addresses that no packet may come from. */
static bool
bad_source4(uint32_t be)
{
	uint8_t first = (uint8_t)(rte_be_to_cpu_32(be) >> 24);
	return first == 0 || first == 127 || first >= 224;
}

/*
 * A part of a datagram whose data starts at `start`, behind `fixed` bytes of header that every part has. It carries
 * something, in whole eights but for the last, and the whole may be told in 16 bits (RFC 791, 8200 4.5). False:
 * dropped.
 */
static bool
note_fragment(struct cursor *c, uint32_t id, unsigned int offset, bool more, unsigned int start, unsigned int fixed)
{
	struct packet *p = c->p;
	unsigned int len = p->ip_end - start;
	if (len == 0 || (more && len % 8 != 0) || fixed + offset + len > UINT16_MAX) {
		parse_drop(c, DROP_IP_HEADER);
		return false;
	}
	p->flags |= PACKET_FRAGMENT;
	if (offset != 0)
		p->flags |= PACKET_LATER;
	if (more)
		p->flags |= PACKET_MORE;
	p->fragment_id = id;
	p->fragment_offset = (uint16_t)offset;
	p->fragment_len = (uint16_t)len;
	return true;
}

/* IPv4 (RFC 791). False: dropped. */
bool
parse_ip4(struct cursor *c)
{
	const struct rte_ipv4_hdr *ip = (const void *)(c->data + c->p->l3);
	uint16_t room = (uint16_t)(c->len - c->p->l3);
	if (unlikely(room < sizeof(*ip))) {
		parse_drop(c, DROP_RUNT);
		return false;
	}
	unsigned int ihl = (unsigned int)(ip->version_ihl & 15) * 4;
	uint16_t total = rte_be_to_cpu_16(ip->total_length);
	if (unlikely(ip->version_ihl >> 4 != 4 || ihl < sizeof(*ip) || total < ihl || total > room)) {
		parse_drop(c, DROP_IP_HEADER);
		return false;
	}
	/* A sum over the header, its checksum included, is all ones when it is right (RFC 1071). */
	if (unlikely(rte_raw_cksum(ip, ihl) != 0xffff)) {
		parse_drop(c, DROP_IP_CHECKSUM);
		return false;
	}
	if (unlikely(ip->time_to_live <= 1)) {
		if (ip->time_to_live == 0) {
			parse_drop(c, DROP_TTL);
			return false;
		}
		c->p->flags |= PACKET_TTL_OUT;
	}
	c->p->key.src = ip_from4(ip->src_addr);
	c->p->key.dst = ip_from4(ip->dst_addr);
	c->p->l4 = (uint16_t)(c->p->l3 + ihl);
	c->p->ip_end = (uint16_t)(c->p->l3 + total);
	c->p->proto = ip->next_proto_id;
	if (unlikely(bad_source4(ip->src_addr) || ip->src_addr == ip->dst_addr)) {
		parse_drop(c, DROP_BAD_ADDRESS);
		return false;
	}
	uint8_t first = (uint8_t)(rte_be_to_cpu_32(ip->dst_addr) >> 24);
	if (unlikely(first >= 224 || first == 127 || first == 0)) {
		parse_drop(c, first >= 224 ? DROP_MULTICAST : DROP_BAD_ADDRESS);
		return false;
	}
	uint16_t field = rte_be_to_cpu_16(ip->fragment_offset);
	if (likely(!(field & (RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK))))
		return true;
	return note_fragment(c, ip->packet_id, (field & RTE_IPV4_HDR_OFFSET_MASK) * 8u, field & RTE_IPV4_HDR_MF_FLAG,
			     c->p->l4, ihl);
}

/* Extension headers, and perhaps a fragment's. False: dropped. */
static bool
parse_chain6(struct cursor *c, uint8_t next)
{
	struct packet *p = c->p;
	struct ip6_chain chain;
	unsigned int start = p->l4;
	int reason = ip6_chain(c->data, start, p->ip_end, next, &chain);
	if (reason >= 0 && reason != DROP_FRAGMENT_TINY) {
		parse_drop(c, (enum drop_reason)reason);
		return false;
	}
	p->l4 = chain.l4;
	p->proto = chain.proto;
	/* A fragment that is the whole datagram is no fragment (RFC 6946). */
	if (chain.fragment_at == 0 || (chain.offset == 0 && !chain.more))
		return true;
	if (reason == DROP_FRAGMENT_TINY)
		p->l4 = p->ip_end;
	return note_fragment(c, chain.id, chain.offset, chain.more, chain.fragment_at, chain.fragment_at - start - 8);
}

/* IPv6 (RFC 8200). False: dropped. */
bool
parse_ip6(struct cursor *c)
{
	const struct rte_ipv6_hdr *ip = (const void *)(c->data + c->p->l3);
	uint16_t room = (uint16_t)(c->len - c->p->l3);
	if (unlikely(room < sizeof(*ip))) {
		parse_drop(c, DROP_RUNT);
		return false;
	}
	uint32_t total = rte_be_to_cpu_16(ip->payload_len) + (uint32_t)sizeof(*ip);
	if (unlikely((ip->vtc_flow & rte_cpu_to_be_32(0xf0000000)) != rte_cpu_to_be_32(0x60000000) || total > room)) {
		parse_drop(c, DROP_IP_HEADER);
		return false;
	}
	if (unlikely(ip->hop_limits <= 1)) {
		if (ip->hop_limits == 0) {
			parse_drop(c, DROP_TTL);
			return false;
		}
		c->p->flags |= PACKET_TTL_OUT;
	}
	c->p->key.src = ip_from6(ip->src_addr);
	c->p->key.dst = ip_from6(ip->dst_addr);
	c->p->l4 = (uint16_t)(c->p->l3 + sizeof(*ip));
	c->p->ip_end = (uint16_t)(c->p->l3 + total);
	c->p->proto = ip->proto;
	/* An IPv4-mapped address on the wire would pass for an IPv4 one in our keys (and see RFC 4942 2.2). */
	if (unlikely(ip_is4(&c->p->key.src) || ip_is4(&c->p->key.dst) || c->p->key.src.b[0] == 0xff ||
		     ip_equal(&c->p->key.src, &c->p->key.dst))) {
		parse_drop(c, DROP_BAD_ADDRESS);
		return false;
	}
	if (likely(ip->proto == IPPROTO_TCP || ip->proto == IPPROTO_UDP || ip->proto == IPPROTO_ICMPV6))
		return true;
	return parse_chain6(c, ip->proto);
}
