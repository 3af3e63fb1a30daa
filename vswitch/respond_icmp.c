/* SPDX-License-Identifier: Apache-2.0 */
/* Echo replies, ICMP and ICMPv6 errors, TCP resets. */
#include <weft/base.h>

#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include <weft/offload.h>
#include <weft/pipeline.h>

#include "respond.h"
#include "rewrite.h"

/* Source and destination change places, TTL is new; len is what follows the IP header, which loses its options. */
static void
turn_ip(struct burst *b, uint32_t i, const struct ip *from, uint16_t len)
{
	struct packet *p = &b->p[i];
	struct ip to = p->key.src;
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
		ip->version_ihl = RTE_IPV4_VHL_DEF;
		ip->type_of_service = 0;
		ip->total_length = rte_cpu_to_be_16((uint16_t)(sizeof(*ip) + len));
		ip->packet_id = 0;
		ip->fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG);
		ip->time_to_live = 64;
		ip->next_proto_id = p->proto;
		ip->src_addr = from->w[3];
		ip->dst_addr = to.w[3];
		ip->hdr_checksum = 0;
		ip->hdr_checksum = (uint16_t)~rte_raw_cksum(ip, sizeof(*ip));
		p->l4 = (uint16_t)(p->l3 + sizeof(*ip));
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
		ip->vtc_flow = RTE_BE32(0x60000000);
		ip->payload_len = rte_cpu_to_be_16(len);
		ip->proto = p->proto;
		ip->hop_limits = 64;
		memcpy(ip->src_addr, from->b, 16);
		memcpy(ip->dst_addr, to.b, 16);
		p->l4 = (uint16_t)(p->l3 + sizeof(*ip));
	}
	p->ip_end = (uint16_t)(p->l4 + len);
	p->key.dst = to;
	p->key.src = *from;
	offload_clear(b->m[i]);
}

/* Set the frame's length to the IP packet's end. False: no room in the buffer. */
static bool
resize(struct rte_mbuf *m, uint16_t end)
{
	uint16_t now = rte_pktmbuf_data_len(m);
	if (end > now)
		return rte_pktmbuf_append(m, (uint16_t)(end - now)) != NULL;
	rte_pktmbuf_trim(m, (uint16_t)(now - end));
	return true;
}

/* Does it stay on the link, or ask the gateway? What a link-local address sends further is not ours to answer (RFC 4291 2.5.6). */
static bool
link_local_asks_us(const struct network *network, const struct ip *dst)
{
	if (dst->b[0] == 0xfe && (dst->b[1] & 0xc0) == 0x80)
		return true;
	for (uint32_t k = 0; k < network->n_subnets; k++)
		if (ip_equal(&network->subnets[k].gateway, dst))
			return true;
	return false;
}

/* The addresses will change places, which no sum notices. */
static void
echo_turn(uint8_t *l4, bool v4)
{
	uint16_t old, now;
	memcpy(&old, l4, 2);
	l4[0] = v4 ? 0 : 129;
	memcpy(&now, l4, 2);
	checksum_add(l4 + 2, (uint32_t)(uint16_t)~old + now);
}

/* Echo request to an address that is ours (a gateway's, a service's): RFC 792, RFC 4443 4.2. */
void
respond_echo(struct worker *w, struct burst *b, uint32_t i, const struct asker *a)
{
	struct packet *p = &b->p[i];
	bool request = p->flags & PACKET_ECHO && (p->icmp_type == 8 || p->icmp_type == 128);
	/* On the link itself only echo to fe80 addresses of ours makes sense, and we have none but what ND answered for. */
	if (!request || ip_is_none(&p->key.src) ||
	    (p->flags & PACKET_LINK_LOCAL && !link_local_asks_us(a->network, &p->key.dst))) {
		packet_drop(w, b, i, p->flags & PACKET_LINK_LOCAL ? DROP_BAD_ADDRESS : DROP_INVALID_STATE);
		return;
	}
	if (likely(!(p->flags & PACKET_LATER)))
		echo_turn(packet_at(b, i, p->l4), packet_is4(p));
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
		uint32_t src = ip->src_addr;
		ip->src_addr = ip->dst_addr;
		ip->dst_addr = src;
		ip->time_to_live = 64;
		ip->hdr_checksum = 0;
		ip->hdr_checksum = (uint16_t)~rte_raw_cksum(ip, (size_t)(p->l4 - p->l3));
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
		memcpy(ip->src_addr, p->key.dst.b, 16);
		memcpy(ip->dst_addr, p->key.src.b, 16);
		ip->hop_limits = 64;
	}
	answer_send(b, i);
}

struct error_kind {
	uint8_t type4, code4, type6, code6;
};
static const struct error_kind error_kinds[] = {
	[ANSWER_TTL] = {11, 0, 3, 0},
	[ANSWER_NO_ROUTE] = {3, 0, 1, 0},
	[ANSWER_PORT_UNREACHABLE] = {3, 3, 1, 4},
	[ANSWER_PROHIBITED] = {3, 13, 1, 1},
	[ANSWER_TOO_BIG] = {3, 4, 2, 0},
};

/* Who speaks: the gateway address of the asker's family, or the address that was asked for. */
static struct ip
error_source(const struct burst *b, uint32_t i, const struct asker *a)
{
	const struct packet *p = &b->p[i];
	for (uint32_t k = 0; k < a->network->n_subnets; k++) {
		const struct ip *gateway = &a->network->subnets[k].gateway;
		if (!ip_is_none(gateway) && ip_is4(gateway) == packet_is4(p))
			return *gateway;
	}
	return p->key.dst;
}

/* The packet was dropped for its reason and an answer created: the books say both. */
static void
count_answered(struct worker *w, const struct packet *p)
{
	w->port[p->in_port].drop[p->drop]++;
	w->port[p->in_port].created++;
}

/* What never gets an ICMP error (RFC 1122 3.2.2, RFC 4443 2.4 e). */
static bool
error_forbidden(const struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	if (p->flags & PACKET_ICMP_ERROR || rte_is_multicast_ether_addr(packet_at(b, i, 0)))
		return true;
	if (p->answer == ANSWER_TOO_BIG && packet_is4(p)) {
		const struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
		return !(ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_DF_FLAG));
	}
	return false;
}

void
respond_error(struct worker *w, struct burst *b, uint32_t i, const struct asker *a)
{
	struct packet *p = &b->p[i];
	struct rte_mbuf *m = b->m[i];
	bool v4 = packet_is4(p);
	if (error_forbidden(b, i)) {
		packet_drop(w, b, i, (enum drop_reason)p->drop);
		return;
	}
	if (!worker_may_err(w, p->in_port)) {
		packet_drop(w, b, i, DROP_ICMP_LIMIT);
		return;
	}
	/* A quote shows the packet as it was sent, with its checksum, not with half of one. */
	if (offload_is_partial(m))
		offload_complete(m, p->ip_end, p->proto == IPPROTO_UDP);

	/* As much of the packet as fits: in 576 bytes for IPv4 (RFC 1812 4.3.2.3), in 1280 for IPv6 (RFC 4443 2.4 c). */
	uint16_t header = v4 ? sizeof(struct rte_ipv4_hdr) : sizeof(struct rte_ipv6_hdr);
	uint16_t room = (uint16_t)((v4 ? 576 : 1280) - header - 8);
	uint16_t quoted = (uint16_t)RTE_MIN((unsigned int)room, (unsigned int)(p->ip_end - p->l3));
	struct ip from = error_source(b, i, a);
	const struct error_kind *kind = &error_kinds[p->answer];
	if (!resize(m, (uint16_t)(p->l3 + header + 8 + quoted))) {
		packet_drop(w, b, i, DROP_NO_MBUF);
		return;
	}
	count_answered(w, p);
	uint8_t *l3 = packet_at(b, i, p->l3);
	memmove(l3 + header + 8, l3, quoted);
	p->proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	turn_ip(b, i, &from, (uint16_t)(quoted + 8));
	uint8_t *icmp = packet_at(b, i, p->l4);
	memset(icmp, 0, 8);
	icmp[0] = v4 ? kind->type4 : kind->type6;
	icmp[1] = v4 ? kind->code4 : kind->code6;
	if (p->answer == ANSWER_TOO_BIG) { /* RFC 1191: low 16 bits; RFC 4443 3.2: 32 bits. Both end at byte 8 */
		uint16_t mtu = rte_cpu_to_be_16(p->answer_mtu);
		memcpy(icmp + 6, &mtu, 2);
	}
	uint16_t sum = (uint16_t)~packet_l4_sum(b, i);
	memcpy(icmp + 2, &sum, 2);
	answer_send(b, i);
}

/* RFC 793 3.4: a reset that the sender of the segment must believe. */
void
respond_reset(struct worker *w, struct burst *b, uint32_t i, const struct asker *a)
{
	struct packet *p = &b->p[i];
	if (p->proto != IPPROTO_TCP) { /* an error about a connection that is refused now */
		packet_drop(w, b, i, (enum drop_reason)p->drop);
		return;
	}
	const struct rte_tcp_hdr in = *(const struct rte_tcp_hdr *)packet_at(b, i, p->l4);
	if (in.tcp_flags & RTE_TCP_RST_FLAG) {
		packet_drop(w, b, i, (enum drop_reason)p->drop);
		return;
	}
	if (!worker_may_err(w, p->in_port)) {
		packet_drop(w, b, i, DROP_ICMP_LIMIT);
		return;
	}
	uint16_t header = packet_is4(p) ? sizeof(struct rte_ipv4_hdr) : sizeof(struct rte_ipv6_hdr);
	uint32_t segment = (uint32_t)(p->ip_end - p->l4) - (uint32_t)(in.data_off >> 4) * 4;
	segment += !!(in.tcp_flags & RTE_TCP_SYN_FLAG) + !!(in.tcp_flags & RTE_TCP_FIN_FLAG);
	count_answered(w, p);
	/* Never longer than what came in: the smallest segment has the same headers. */
	resize(b->m[i], (uint16_t)(p->l3 + header + sizeof(struct rte_tcp_hdr)));
	struct ip from = p->key.dst;
	turn_ip(b, i, &from, sizeof(struct rte_tcp_hdr));
	struct rte_tcp_hdr *tcp = packet_at(b, i, p->l4);
	memset(tcp, 0, sizeof(*tcp));
	tcp->src_port = in.dst_port;
	tcp->dst_port = in.src_port;
	tcp->data_off = sizeof(*tcp) / 4 << 4;
	if (in.tcp_flags & RTE_TCP_ACK_FLAG) {
		tcp->sent_seq = in.recv_ack;
		tcp->tcp_flags = RTE_TCP_RST_FLAG;
	} else {
		tcp->recv_ack = rte_cpu_to_be_32(rte_be_to_cpu_32(in.sent_seq) + segment);
		tcp->tcp_flags = RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG;
	}
	tcp->cksum = (uint16_t)~packet_l4_sum(b, i);
	answer_send(b, i);
}
