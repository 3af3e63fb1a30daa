/* SPDX-License-Identifier: Apache-2.0 */
/* What a router does with an IPv4 packet that its way out cannot take and that may be broken up (RFC 791 3.2). */
#include <weft/base.h>

#include <rte_ip.h>

#include <weft/offload.h>

#include "fragment.h"

/* The IP header of a part: its length, offset and checksum. */
static void
write_part(struct rte_ipv4_hdr *ip, unsigned int offset, unsigned int len, bool more)
{
	ip->total_length = rte_cpu_to_be_16((uint16_t)(sizeof(*ip) + len));
	ip->fragment_offset = rte_cpu_to_be_16((uint16_t)(offset / 8 | (more ? RTE_IPV4_HDR_MF_FLAG : 0)));
	ip->hdr_checksum = 0;
	ip->hdr_checksum = (uint16_t)~rte_raw_cksum(ip, sizeof(*ip));
}

/* Bytes [from, from + len) of what packet i carries, as a packet of its own that is run after this burst. False: no
 * room for it. */
static bool
split_off(struct worker *w, const struct burst *b, uint32_t i, unsigned int from, unsigned int len, bool more)
{
	const struct packet *whole = &b->p[i];
	struct packet p = *whole;
	struct rte_mbuf *m = worker_create(w, p.in_port);
	if (m == NULL)
		return false;
	uint8_t *frame = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(whole->l4 + len));
	if (frame == NULL) {
		w->port[p.in_port].drop[DROP_NO_MBUF]++;
		rte_pktmbuf_free(m);
		return false;
	}
	memcpy(frame, packet_at(b, i, 0), whole->l4);
	memcpy(frame + whole->l4, packet_at(b, i, (uint16_t)(whole->l4 + from)), len);
	p.flags = (uint16_t)((p.flags & ~PACKET_PLAIN) | PACKET_FRAGMENT | PACKET_LATER);
	p.fragment_offset = (uint16_t)(p.fragment_offset + from);
	p.fragment_len = (uint16_t)len;
	p.ip_end = (uint16_t)(p.l4 + len);
	write_part((struct rte_ipv4_hdr *)(frame + p.l3), p.fragment_offset, len, more);
	return fragment_push_ready(w, m, &p);
}

bool
fragment_split(struct worker *w, struct burst *b, uint32_t i, uint16_t mtu)
{
	struct packet *p = &b->p[i];
	struct rte_mbuf *m = b->m[i];
	struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
	if (!packet_is4(p) || ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_DF_FLAG))
		return false;
	/* Of options some go into every part and some do not: nobody uses them enough for that. SCTP needs the whole,
	 * see beyond_us(). */
	if (ip->version_ihl != RTE_IPV4_VHL_DEF || mtu < sizeof(*ip) + 8 || p->proto == IPPROTO_SCTP)
		return false;
	if (offload_is_partial(m) && offload_complete(m, p->ip_end, p->proto == IPPROTO_UDP) < 0)
		return false;
	unsigned int room = (mtu - (unsigned int)sizeof(*ip)) & ~7u, total = (unsigned int)(p->ip_end - p->l4);
	bool more = rte_be_to_cpu_16(ip->fragment_offset) & RTE_IPV4_HDR_MF_FLAG;
	if (!(p->flags & PACKET_FRAGMENT))
		p->fragment_offset = 0;
	for (unsigned int from = room; from < total; from += room) {
		unsigned int len = RTE_MIN(room, total - from);
		/* What has been split off already will not find its way without the rest: the receiver's loss, as of
		 * any other packet. */
		if (!split_off(w, b, i, from, len, more || from + len < total))
			return false;
	}
	p->flags = (uint16_t)((p->flags & ~PACKET_PLAIN) | PACKET_FRAGMENT | PACKET_MORE);
	p->fragment_len = (uint16_t)room;
	p->ip_end = (uint16_t)(p->l4 + room);
	rte_pktmbuf_trim(m, (uint16_t)(total - room));
	write_part(ip, p->fragment_offset, room, true);
	return true;
}
