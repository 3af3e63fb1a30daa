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
#include "underlay.h"

#define ICMP_HEADER 8 /* type, code, checksum, four bytes that depend on the type */

/* Where the quote's headers are, from the start of the frame, and what it says. */
struct quote {
	uint16_t l3, l4;
	uint8_t proto;
	struct tuple key;
};

/* -1, or why it is no quote that could belong to anything. */
static int
parse_quote4(const struct burst *b, uint32_t i, struct quote *q)
{
	const struct rte_ipv4_hdr *ip = packet_at(b, i, q->l3);
	unsigned int ihl = (unsigned int)(ip->version_ihl & 15) * 4;
	if (ip->version_ihl >> 4 != 4 || ihl < sizeof(*ip))
		return DROP_L4_HEADER;
	/* A later fragment has no ports to look up; nobody sends errors about one (RFC 1122 3.2.2). */
	if (ip->fragment_offset & rte_cpu_to_be_16(RTE_IPV4_HDR_OFFSET_MASK))
		return DROP_ICMP_UNRELATED;
	q->l4 = (uint16_t)(q->l3 + ihl);
	q->proto = ip->next_proto_id;
	q->key.src = ip_from4(ip->src_addr);
	q->key.dst = ip_from4(ip->dst_addr);
	return -1;
}

static int
parse_quote6(const struct burst *b, uint32_t i, struct quote *q)
{
	const struct rte_ipv6_hdr *ip = packet_at(b, i, q->l3);
	struct ip6_chain chain;
	if ((ip->vtc_flow & rte_cpu_to_be_32(0xf0000000)) != rte_cpu_to_be_32(0x60000000))
		return DROP_L4_HEADER;
	if (ip6_chain(packet_at(b, i, 0), q->l3 + (unsigned int)sizeof(*ip), b->p[i].ip_end, ip->proto, &chain) >= 0)
		return DROP_L4_HEADER;
	if (chain.offset != 0)
		return DROP_ICMP_UNRELATED;
	q->l4 = chain.l4;
	q->proto = chain.proto;
	q->key.src = ip_from6(ip->src_addr);
	q->key.dst = ip_from6(ip->dst_addr);
	return -1;
}

static bool
has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static int
parse_quote(const struct burst *b, uint32_t i, struct quote *q)
{
	const struct packet *p = &b->p[i];
	bool v4 = packet_is4(p);
	unsigned int header = v4 ? sizeof(struct rte_ipv4_hdr) : sizeof(struct rte_ipv6_hdr);
	q->l3 = (uint16_t)(p->l4 + ICMP_HEADER);
	if (q->l3 + header > p->ip_end)
		return DROP_L4_HEADER;
	int wrong = v4 ? parse_quote4(b, i, q) : parse_quote6(b, i, q);
	if (wrong >= 0)
		return wrong;
	if (q->l4 + 8 > p->ip_end) /* eight bytes of the upper layer are always quoted (RFC 792) */
		return DROP_L4_HEADER;
	const uint8_t *l4 = packet_at(b, i, q->l4);
	q->key.net_proto = tuple_net_proto(packet_network(p), q->proto);
	q->key.sport = q->key.dport = 0;
	if (q->proto == (v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		icmp_key(&q->key, l4, !v4);
	} else if (has_ports(q->proto)) {
		memcpy(&q->key.sport, l4, 2);
		memcpy(&q->key.dport, l4 + 2, 2);
	}
	return -1;
}

/* Did the connection send what is quoted, as far as we can tell? `ref` is the half that the error travels by. */
static bool
was_sent(const struct worker *w, const struct burst *b, uint32_t i, const struct quote *q, uint32_t ref)
{
	const struct conn_cold *cold = &conn_view(w->conns)->cold[ref >> 1];
	unsigned int dir = !(ref & 1);
	uint32_t seq;
	if (dir == 1 && !(__atomic_load_n(&cold->flags, __ATOMIC_RELAXED) & CONN_ANSWERED))
		return false;
	if (q->proto != IPPROTO_TCP && q->proto != IPPROTO_SCTP)
		return true;
	memcpy(&seq, packet_at(b, i, (uint16_t)(q->l4 + 4)), 4);
	if (q->proto == IPPROTO_SCTP)
		return conn_sctp_sent(cold, dir, rte_be_to_cpu_32(seq));
	return tcp_window_sent(cold->tcp, dir, rte_be_to_cpu_32(seq));
}

/* The quoted L4 header, whose checksum follows if it is quoted at all: SCTP's cannot. */
static void
translate_quote_l4(uint8_t *l4, unsigned int room, uint8_t proto, const struct tuple *sent, uint32_t delta)
{
	const uint16_t now[2] = {sent->sport, sent->dport};
	uint16_t *udp = (uint16_t *)(l4 + 6);
	switch (proto) {
	case IPPROTO_TCP:
		if (room >= 18)
			checksum_add(l4 + 16, delta + checksum_delta(l4, now, 1));
		memcpy(l4, now, 4);
		break;
	case IPPROTO_UDP:
		if (*udp != 0) {
			checksum_add(udp, delta + checksum_delta(l4, now, 1));
			if (*udp == 0)
				*udp = 0xffff;
		}
		memcpy(l4, now, 4);
		break;
	case IPPROTO_SCTP:
		memcpy(l4, now, 4);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (icmp_is_echo(l4[0], proto == IPPROTO_ICMPV6)) { /* nothing else is translated */
			uint16_t was, is = echo_identifier(l4[0], proto == IPPROTO_ICMPV6, now);
			memcpy(&was, l4 + 4, 2);
			checksum_add(l4 + 2, (proto == IPPROTO_ICMPV6 ? delta : 0) + (uint16_t)~was + is);
			memcpy(l4 + 4, &is, 2);
		}
		break;
	}
}

/* Make the quote say what the receiver of the error sent: the key of its own direction, before translation. */
static void
translate_quote(struct burst *b, uint32_t i, const struct quote *q, const struct tuple *sent)
{
	const struct packet *p = &b->p[i];
	uint32_t delta;
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, q->l3);
		const uint32_t now[2] = {sent->src.w[3], sent->dst.w[3]};
		delta = checksum_delta(&ip->src_addr, now, 2);
		memcpy(&ip->src_addr, now, sizeof(now));
		checksum_add(&ip->hdr_checksum, delta);
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, q->l3);
		delta = checksum_delta(ip->src_addr, sent->src.b, 4) + checksum_delta(ip->dst_addr, sent->dst.b, 4);
		memcpy(ip->src_addr, sent->src.b, 16);
		memcpy(ip->dst_addr, sent->dst.b, 16);
	}
	translate_quote_l4(packet_at(b, i, q->l4), (unsigned int)(p->ip_end - q->l4), q->proto, sent, delta);
}

static void
translate_outside(struct burst *b, uint32_t i, const struct tuple *receiver_sent, const struct tuple *came_as)
{
	struct packet *p = &b->p[i];
	/*
	 * The error's own source: the other end of the conversation shows the face that the receiver knows; a router between stays
	 * itself, but for one of an overlay network when the receiver is not in it: nobody out there knows such an address.
	 */
	bool leaves = packet_network(p) != NETWORK_UNDERLAY && receiver_sent->net_proto >> 8 == NETWORK_UNDERLAY;
	bool other_end = ip_equal(&p->key.src, &came_as->src);
	struct ip src = other_end || leaves ? receiver_sent->dst : p->key.src;
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

/* An error about nothing of ours: the host may know what it is about, when it came by the wire that we share. */
static void
unrelated(struct worker *w, struct burst *b, uint32_t i, enum drop_reason reason)
{
	if (packet_network(&b->p[i]) == NETWORK_UNDERLAY)
		underlay_pass(w, b, i);
	else
		packet_drop(w, b, i, reason);
}

static void
relate(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	const struct conn_half *half = conn_view(w->conns)->half;
	struct quote q;
	int wrong = packet_l4_sum(b, i) == 0xffff ? parse_quote(b, i, &q) : DROP_L4_HEADER;
	if (wrong >= 0) {
		unrelated(w, b, i, (enum drop_reason)wrong);
		return;
	}
	/* The error travels against what it quotes: its connection's half is that of the opposite direction. */
	struct tuple against = tuple_reversed(&q.key);
	p->hash = conn_hash(w->conns, &against);
	p->ref = conn_find(w->conns, &against);
	if (p->ref == 0 || !ip_equal(&p->key.dst, &against.dst) || !was_sent(w, b, i, &q, p->ref)) {
		unrelated(w, b, i, DROP_ICMP_UNRELATED);
		return;
	}
	if (!conn_half_stands(&half[p->ref], p->source, &p->hop)) {
		enum again again = decide_again(w, b, i);
		if (again == AGAIN_NEW)
			unrelated(w, b, i, DROP_ICMP_UNRELATED);
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
relate_run(struct worker *w, struct burst *b, packet_set set)
{
	BURST_FOREACH (i, set)
		relate(w, b, i);
}
