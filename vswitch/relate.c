/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP errors (RFC 792, RFC 4443): they belong to the connection that they quote, go where its packets go, and are translated
 * outside and inside. One that quotes nothing we know is forged or late: dropped.
 */
#include <weft/base.h>

#include <rte_icmp.h>
#include <rte_ip.h>

#include <weft/pipeline.h>

#include "decide_stage.h"
#include "parse.h"
#include "respond.h"
#include "rewrite.h"

#define ICMP_HEADER 8 /* type, code, checksum, four bytes that depend on the type */

/* Where the quote's headers are, from the start of the frame, and what it says. */
struct quote {
	uint16_t l3, l4;
	uint8_t proto;
	struct tuple key;
};

static bool
parse_quote4(const struct burst *b, uint32_t i, struct quote *q)
{
	const struct rte_ipv4_hdr *ip = packet_at(b, i, q->l3);
	unsigned int ihl = (unsigned int)(ip->version_ihl & 15) * 4;
	if (ip->version_ihl >> 4 != 4 || ihl < sizeof(*ip))
		return false;
	/* A quote of a later fragment has no ports to look up. */
	if (ip->fragment_offset & rte_cpu_to_be_16(RTE_IPV4_HDR_OFFSET_MASK))
		return false;
	q->l4 = (uint16_t)(q->l3 + ihl);
	q->proto = ip->next_proto_id;
	q->key.src = ip_from4(ip->src_addr);
	q->key.dst = ip_from4(ip->dst_addr);
	return true;
}

static bool
parse_quote6(const struct burst *b, uint32_t i, struct quote *q)
{
	const struct rte_ipv6_hdr *ip = packet_at(b, i, q->l3);
	if ((ip->vtc_flow & rte_cpu_to_be_32(0xf0000000)) != rte_cpu_to_be_32(0x60000000))
		return false;
	q->l4 = (uint16_t)(q->l3 + sizeof(*ip));
	q->proto = ip->proto;
	q->key.src = ip_from6(ip->src_addr);
	q->key.dst = ip_from6(ip->dst_addr);
	return true;
}

static bool
parse_quote(const struct burst *b, uint32_t i, struct quote *q)
{
	const struct packet *p = &b->p[i];
	bool v4 = packet_is4(p);
	unsigned int header = v4 ? sizeof(struct rte_ipv4_hdr) : sizeof(struct rte_ipv6_hdr);
	q->l3 = (uint16_t)(p->l4 + ICMP_HEADER);
	if (q->l3 + header > p->ip_end)
		return false;
	if (v4 ? !parse_quote4(b, i, q) : !parse_quote6(b, i, q))
		return false;
	if (q->l4 + 8 > p->ip_end) /* eight bytes of the upper layer are always quoted (RFC 792) */
		return false;
	const uint8_t *l4 = packet_at(b, i, q->l4);
	q->key.net_proto = tuple_net_proto(packet_network(p), q->proto);
	q->key.sport = q->key.dport = 0;
	if (q->proto == (v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		icmp_key(&q->key, l4, !v4);
	} else if (q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP || q->proto == IPPROTO_SCTP) {
		memcpy(&q->key.sport, l4, 2);
		memcpy(&q->key.dport, l4 + 2, 2);
	}
	return true;
}

/* Make the quote say what the receiver of the error sent: the key of its own direction, before translation. */
static void
translate_quote(struct burst *b, uint32_t i, const struct quote *q, const struct tuple *sent)
{
	const struct packet *p = &b->p[i];
	uint8_t *l4 = packet_at(b, i, q->l4);
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, q->l3);
		uint32_t now[2] = {sent->src.w[3], sent->dst.w[3]}, was[2] = {ip->src_addr, ip->dst_addr}, delta = 0;
		for (int k = 0; k < 2; k++)
			delta += (uint16_t)~was[k] + (uint32_t)(uint16_t) ~(was[k] >> 16) + (now[k] & 0xffff) + (now[k] >> 16);
		ip->src_addr = now[0];
		ip->dst_addr = now[1];
		checksum_add(&ip->hdr_checksum, delta);
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, q->l3);
		memcpy(ip->src_addr, sent->src.b, 16);
		memcpy(ip->dst_addr, sent->dst.b, 16);
	}
	/* The quote's L4 checksum is left as it was: it covers bytes that are not quoted, and nobody checks it. */
	if (q->proto == IPPROTO_ICMP || q->proto == IPPROTO_ICMPV6) {
		if (sent->sport == sent->dport) /* echo; nothing else is translated */
			memcpy(l4 + 4, &sent->sport, 2);
	} else if (q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP || q->proto == IPPROTO_SCTP) {
		memcpy(l4, &sent->sport, 2);
		memcpy(l4 + 2, &sent->dport, 2);
	}
}

static void
translate_outside(struct burst *b, uint32_t i, const struct tuple *receiver_sent, const struct tuple *came_as)
{
	struct packet *p = &b->p[i];
	/* The error's own source: the other end of the conversation shows the face that the receiver knows; a router between stays
	 * itself. */
	struct ip src = ip_equal(&p->key.src, &came_as->src) ? receiver_sent->dst : p->key.src;
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
		ip->src_addr = src.w[3];
		ip->dst_addr = receiver_sent->src.w[3];
		ip->hdr_checksum = 0;
		ip->hdr_checksum = (uint16_t)~rte_raw_cksum(ip, (size_t)(p->l4 - p->l3));
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
		memcpy(ip->src_addr, src.b, 16);
		memcpy(ip->dst_addr, receiver_sent->src.b, 16);
	}
	p->key.src = src;
	p->key.dst = receiver_sent->src;
}

/*
 * May the error come from the address that it says? Any router on the way may speak, the gateway among them, but not in the name of
 * somebody who is known to be elsewhere; and a pod speaks for itself.
 */
static bool
sender_ok(const struct burst *b, const struct packet *p)
{
	const struct route *r = config_route(b->config, packet_network(p), &p->key.src);
	if (r != NULL && r->slot == p->source && r->kind != ROUTE_GATEWAY)
		return true;
	if (b->from->kind == SOURCE_ENDPOINT)
		return endpoint_may_claim(b->from->endpoint, &p->key.src);
	return r == NULL || r->kind == ROUTE_GATEWAY;
}

static void
relate(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	const struct conn_half *half = conn_view(w->conns)->half;
	struct quote q;
	if (!parse_quote(b, i, &q) || packet_l4_sum(b, i) != 0xffff) {
		packet_drop(w, b, i, DROP_L4_HEADER);
		return;
	}
	/* The error travels against what it quotes: its connection's half is that of the opposite direction. */
	struct tuple against = tuple_reversed(&q.key);
	p->hash = conn_hash(w->conns, &against);
	p->ref = conn_find(w->conns, &against);
	if (p->ref == 0 || !ip_equal(&p->key.dst, &against.dst)) {
		packet_drop(w, b, i, DROP_ICMP_UNRELATED);
		return;
	}
	if (!conn_half_stands(&half[p->ref], p->source, &p->hop)) {
		enum again again = decide_again(w, b, i);
		if (again == AGAIN_NEW)
			packet_drop(w, b, i, DROP_ICMP_UNRELATED);
		if (again != AGAIN_FOLLOW)
			return;
	}
	if (!sender_ok(b, p)) {
		packet_drop(w, b, i, DROP_SPOOFED_IP);
		return;
	}
	const struct hop *hop = hop_get(p->hop);
	bool too_long = hop->kind != HOP_NONE && p->ip_end - p->l3 > hop->mtu;
	if (p->flags & PACKET_TTL_OUT || too_long) { /* no errors about errors (RFC 1122 3.2.2) */
		packet_drop(w, b, i, too_long ? DROP_MTU : DROP_TTL);
		return;
	}
	if (conn_half_flags(&half[p->ref]) & HALF_NAT) {
		uint16_t *field = packet_at(b, i, (uint16_t)(p->l4 + 2));
		translate_quote(b, i, &q, &half[p->ref ^ 1].key);
		translate_outside(b, i, &half[p->ref ^ 1].key, &half[p->ref].key);
		*field = 0;
		*field = (uint16_t)~packet_l4_sum(b, i);
	}
	packet_lower_ttl(b, i);
	burst_move(b, i, STAGE_FORWARD);
}

void
relate_run(struct worker *w, struct burst *b, uint32_t set)
{
	BURST_FOREACH (i, set)
		relate(w, b, i);
}
