/* SPDX-License-Identifier: Apache-2.0 */
/* What is this packet, and whose? Everything later stages rely on is checked here, once. */
#include <weft/base.h>

#include <rte_arp.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <weft/offload.h>
#include <weft/pipeline.h>

#include "fragment.h"
#include "admit.h"
#include "parse.h"
#include "parse_cursor.h"
#include "spoof.h"
#include "underlay.h"

void
parse_drop(struct cursor *c, enum drop_reason reason)
{
	if (c->wire)
		underlay_pass(c->w, c->b, c->i);
	else
		packet_drop(c->w, c->b, c->i, reason);
}

static void
respond(struct cursor *c, enum answer answer, enum drop_reason otherwise)
{
	c->p->answer = answer;
	c->p->drop = otherwise;
	burst_move(c->b, c->i, STAGE_RESPOND);
}

static bool
icmp_is_error(uint8_t type)
{
	return type == 3 || type == 4 || type == 11 || type == 12; /* unreachable, quench, time exceeded, parameter problem */
}

/* Ports, flags, identifier: whatever a connection's key needs. False: dropped. */
static bool
parse_l4(struct cursor *c)
{
	struct packet *p = c->p;
	const uint8_t *l4 = c->data + p->l4;
	unsigned int room = (unsigned int)(p->ip_end - p->l4);
	unsigned int need = 0;

	p->key.sport = p->key.dport = 0;
	p->tcp_flags = 0;
	switch (p->proto) {
	case IPPROTO_TCP:
		need = sizeof(struct rte_tcp_hdr);
		if (likely(room >= need)) {
			const struct rte_tcp_hdr *tcp = (const void *)l4;
			unsigned int offset = (unsigned int)(tcp->data_off >> 4) * 4;
			need = unlikely(offset < need) ? UINT32_MAX : offset;
			p->key.sport = tcp->src_port;
			p->key.dport = tcp->dst_port;
			p->tcp_flags = tcp->tcp_flags;
		}
		break;
	case IPPROTO_UDP:
		need = sizeof(struct rte_udp_hdr);
		if (likely(room >= need)) {
			const struct rte_udp_hdr *udp = (const void *)l4;
			uint16_t len = rte_be_to_cpu_16(udp->dgram_len);
			/* RFC 8200 8.1: not optional over IPv6. */
			bool missing = udp->dgram_cksum == 0 && !packet_is4(p) && !offload_is_partial(c->b->m[c->i]);
			/* Of a first fragment the length is that of the whole. */
			if (unlikely(len < need || (len > room && !(p->flags & PACKET_FRAGMENT)) || missing))
				need = UINT32_MAX;
			p->key.sport = udp->src_port;
			p->key.dport = udp->dst_port;
		}
		break;
	case IPPROTO_SCTP:
		need = 12;
		if (room >= need) {
			memcpy(&p->key.sport, l4, 2);
			memcpy(&p->key.dport, l4 + 2, 2);
		}
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		need = sizeof(struct rte_icmp_hdr) - (p->flags & PACKET_FRAGMENT ? 0 : 4);
		if (likely(room >= need)) {
			bool v6 = p->proto == IPPROTO_ICMPV6;
			p->icmp_type = l4[0];
			p->icmp_code = l4[1];
			if (unlikely(v6 == packet_is4(p))) {
				need = UINT32_MAX;
				break;
			}
			if (v6 ? p->icmp_type < 128 : icmp_is_error(p->icmp_type)) {
				p->flags |= PACKET_ICMP_ERROR;
				break;
			}
			if (icmp_is_echo(p->icmp_type, v6)) {
				p->flags |= PACKET_ECHO;
				need = sizeof(struct rte_icmp_hdr);
			}
			if (room >= need)
				icmp_key(&p->key, l4, v6);
		}
		break;
	}
	if (unlikely(room < need)) {
		parse_drop(c, p->flags & PACKET_FRAGMENT && need != UINT32_MAX ? DROP_FRAGMENT_TINY : DROP_L4_HEADER);
		return false;
	}
	return true;
}

/* The bytes of the L4 header that the verdict or the key rests on. */
static unsigned int
judged_header(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return sizeof(struct rte_tcp_hdr);
	case IPPROTO_UDP:
		return sizeof(struct rte_udp_hdr);
	case IPPROTO_SCTP:
		return 20; /* and what an INIT asks for */
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return sizeof(struct rte_icmp_hdr);
	default:
		return 0;
	}
}

/*
 * A partial checksum must be that of the header we found; any other is completed here, where the sender can still be blamed. It must lie
 * behind that header: the sender chooses where it is written and, by its payload, what, and these headers have been read.
 */
static bool
settle_offload(struct cursor *c)
{
	struct rte_mbuf *m = c->b->m[c->i];
	if (likely(!offload_is_partial(m)))
		return true;
	unsigned int field = c->p->proto == IPPROTO_TCP ? 16 : c->p->proto == IPPROTO_UDP ? 6 : UINT32_MAX;
	if (likely(offload_csum_start(m) == c->p->l4 && offload_csum_offset(m) == field))
		return true;
	if (offload_csum_start(m) >= c->p->l4 + judged_header(c->p->proto) && offload_complete(m, c->p->ip_end, false) == 0)
		return true;
	parse_drop(c, DROP_BAD_OFFLOAD);
	return false;
}

/* Neighbour and router discovery (RFC 4861) and MLD (RFC 2710, 3810). */
static bool
is_nd(const struct packet *p)
{
	return p->proto == IPPROTO_ICMPV6 && ((p->icmp_type >= 130 && p->icmp_type <= 137) || p->icmp_type == 143);
}

/* Comes from an endpoint that is not admitted yet: ARP and ND only, the rest waits. */
static bool
is_closed(const struct port_view *from)
{
	return from->kind == SOURCE_ENDPOINT && from->endpoint->closed;
}

/* The MAC is one of the endpoint's; where it has several, the source address must be of the same pair. */
static bool
pair_ok(const struct cursor *c)
{
	const struct port_view *from = c->b->from;
	if (likely(from->kind != SOURCE_ENDPOINT || !from->endpoint->paired))
		return true;
	const struct rte_ether_hdr *eth = packet_at(c->b, c->i, 0);
	return endpoint_may_speak(from->endpoint, (const struct mac *)&eth->src_addr, &c->p->key.src);
}

/* An IP packet of an overlay network, headers found: which stage takes it on? */
static void
classify(struct cursor *c)
{
	struct packet *p = c->p;
	if (unlikely(!packet_is4(p))) {
		if (is_nd(p)) {
			respond(c, ANSWER_ND, DROP_ND);
			return;
		}
		if (unlikely(p->key.dst.b[0] == 0xff)) {
			parse_drop(c, DROP_MULTICAST);
			return;
		}
		bool link_local = ip_is_link_local6(&p->key.src) || ip_is_link_local6(&p->key.dst) || ip_is_none(&p->key.src);
		if (link_local && c->wire) {
			underlay_pass(c->w, c->b, c->i);
			return;
		}
		if (link_local) {
			p->flags |= PACKET_LINK_LOCAL;
			if (is_closed(c->b->from))
				parse_drop(c, DROP_ADMISSION);
			else
				respond(c, ANSWER_ECHO, DROP_BAD_ADDRESS);
			return;
		}
	}
	if (unlikely(!pair_ok(c)))
		parse_drop(c, DROP_SPOOFED_IP);
	else if (unlikely(is_closed(c->b->from)))
		admit_hold(c->w, c->b, c->i, c->b->from->slot);
	else if (unlikely(p->flags & PACKET_ICMP_ERROR))
		burst_move(c->b, c->i, STAGE_RELATE);
	else
		burst_move(c->b, c->i, STAGE_TRACK);
}

void
parse_classify(struct worker *w, struct burst *b, uint32_t i)
{
	struct cursor c = {.w = w, .b = b, .i = i, .p = &b->p[i], .wire = packet_network(&b->p[i]) == NETWORK_UNDERLAY};
	classify(&c);
}

/* Padding goes no further: it is in no MTU check, and a tunnel would carry it. */
static void
trim(struct cursor *c)
{
	if (unlikely(c->len > c->p->ip_end))
		rte_pktmbuf_trim(c->b->m[c->i], (uint16_t)(c->len - c->p->ip_end));
}

/* A fragment: to the worker that keeps its datagram, and there to be taken into it. */
static void
parse_fragment(struct cursor *c, uint32_t network)
{
	struct packet *p = c->p;
	struct datagram d;
	/* Half a checksum of half a datagram means nothing. */
	if (offload_is_partial(c->b->m[c->i])) {
		parse_drop(c, DROP_BAD_OFFLOAD);
		return;
	}
	fragment_name(c->w, p, network, &d);
	if (!fragment_mine(c->w, c->b, c->i, &d))
		return;
	trim(c);
	p->key.net_proto = tuple_net_proto(network, p->proto);
	if (!(p->flags & PACKET_LATER)) {
		/* Where the chain of headers was cut off, nothing is left for l4. */
		bool tiny = p->l4 == p->ip_end;
		if (tiny)
			parse_drop(c, DROP_FRAGMENT_TINY);
		if (tiny || !parse_l4(c)) {
			fragment_refuse(c->w, &d, DROP_FRAGMENT);
			return;
		}
		/* Neither an error nor discovery (RFC 6980) has any business being so long. */
		if (p->flags & PACKET_ICMP_ERROR || is_nd(p)) {
			parse_drop(c, DROP_FRAGMENT);
			fragment_refuse(c->w, &d, DROP_FRAGMENT);
			return;
		}
	}
	int fate = fragment_take(c->w, c->b, c->i, &d);
	if (fate == FRAGMENT_GO)
		classify(c);
	else if (fate != FRAGMENT_KEPT)
		parse_drop(c, (enum drop_reason)fate);
}

static void
parse_ip(struct cursor *c, uint32_t network, bool v6)
{
	if (!(v6 ? parse_ip6(c) : parse_ip4(c)))
		return;
	if (unlikely(c->p->flags & PACKET_FRAGMENT)) {
		parse_fragment(c, network);
		return;
	}
	if (!parse_l4(c) || !settle_offload(c))
		return;
	trim(c);
	c->p->key.net_proto = tuple_net_proto(network, c->p->proto);
	classify(c);
}

static void
packet_clear(struct packet *p, uint32_t source, uint32_t back)
{
	p->source = source;
	p->back = back;
	p->hash = 0;
	p->ref = 0;
	p->hop = 0;
	p->flags = 0;
	p->l3 = sizeof(struct rte_ether_hdr);
	p->l4 = 0;
	p->ip_end = 0;
	p->outer = 0;
	p->icmp_type = p->icmp_code = 0;
	p->answer = ANSWER_NONE;
	p->drop = DROP_NO_ROUTE;
}

static bool
cursor_init(struct cursor *c, struct worker *w, struct burst *b, uint32_t i, uint32_t source, uint32_t back)
{
	*c = (struct cursor){.w = w, .b = b, .i = i, .p = &b->p[i], .data = rte_pktmbuf_mtod(b->m[i], const uint8_t *)};
	c->len = rte_pktmbuf_data_len(b->m[i]);
	packet_clear(c->p, source, back);
	if (likely(c->len >= sizeof(struct rte_ether_hdr)))
		return true;
	parse_drop(c, DROP_RUNT);
	return false;
}

static void
parse_ethernet(struct cursor *c, uint32_t network)
{
	const struct rte_ether_hdr *eth = (const void *)c->data;
	if (likely(eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4)))
		parse_ip(c, network, false);
	else if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6))
		parse_ip(c, network, true);
	else if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP)) {
		c->p->key.net_proto = tuple_net_proto(network, 0);
		respond(c, ANSWER_ARP, DROP_ARP);
	} else
		parse_drop(c, DROP_ETHERTYPE);
}

void
parse_overlay(struct worker *w, struct burst *b, uint32_t i, uint32_t network, uint32_t source, uint32_t back, uint16_t outer)
{
	struct cursor c;
	if (likely(parse_plain4(b, i, network, source, back))) {
		burst_move(b, i, STAGE_TRACK);
	} else if (cursor_init(&c, w, b, i, source, back)) {
		c.p->outer = outer;
		parse_ethernet(&c, network);
	}
}

static void
parse_endpoint(struct worker *w, struct burst *b, uint32_t i)
{
	const struct port_view *from = b->from;
	const struct endpoint *ep = from->endpoint;
	struct cursor c;
	if (unlikely(!cursor_init(&c, w, b, i, from->slot, ep->hop)))
		return;
	const struct rte_ether_hdr *eth = (const void *)c.data;
	if (unlikely(!endpoint_has_mac(ep, (const struct mac *)&eth->src_addr))) {
		parse_drop(&c, DROP_SPOOFED_MAC);
		return;
	}
	if (unlikely(!rte_is_multicast_ether_addr(&eth->dst_addr) &&
		     !mac_equal((const struct mac *)&eth->dst_addr, &ep->gateway_mac))) {
		parse_drop(&c, DROP_NOT_FOR_US);
		return;
	}
	/* As it came: a fragment must not be taken into its datagram twice. */
	if (unlikely(ep->closed) && eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4)) {
		admit_hold(w, b, i, ep->slot);
		return;
	}
	parse_ethernet(&c, from->network);
}

/* As it is, between the host port and the uplink: one wire to both, see underlay.c. */
static void
pass(struct cursor *c, uint16_t port, enum drop_reason missing)
{
	if (port == PORT_NONE) {
		parse_drop(c, missing);
		return;
	}
	c->p->flags |= PACKET_NO_TTL;
	c->p->out_port = port;
	burst_move(c->b, c->i, STAGE_TRANSMIT);
}

static void
parse_host(struct worker *w, struct burst *b, uint32_t i)
{
	struct cursor c;
	if (unlikely(!cursor_init(&c, w, b, i, b->from->slot, b->config->host_hop)))
		return;
	uint32_t network;
	if (host_means(b->config, c.data, c.len, &network))
		parse_ethernet(&c, network);
	else
		pass(&c, b->config->uplink_port, DROP_NO_UPLINK);
}

static void
parse_uplink(struct worker *w, struct burst *b, uint32_t i)
{
	struct cursor c;
	if (unlikely(!cursor_init(&c, w, b, i, b->config->network[NETWORK_UNDERLAY]->slot, 0)))
		return;
	const struct rte_ether_hdr *eth = (const void *)c.data;
	if (unlikely(!rte_is_multicast_ether_addr(&eth->dst_addr) &&
		     !mac_equal((const struct mac *)&eth->dst_addr, &b->from->mac))) {
		parse_drop(&c, DROP_NOT_FOR_US);
		return;
	}
	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP)) {
		c.p->key.net_proto = tuple_net_proto(NETWORK_UNDERLAY, 0);
		respond(&c, ANSWER_ARP, DROP_ARP);
	} else if (is_tunnel(b->config, c.data, c.len)) {
		if (!parse_ip4(&c))
			return;
		/* Our MTU leaves room for the tunnel's header: nobody has a reason to break its packets (RFC 7348 4.3). */
		if (c.p->flags & PACKET_FRAGMENT)
			parse_drop(&c, DROP_FRAGMENT);
		else
			burst_move(b, i, STAGE_DECAP);
	} else if (concerns_pods(b->config, c.data, c.len)) {
		c.wire = true;
		if (likely(parse_plain4(b, i, NETWORK_UNDERLAY, c.p->source, 0)))
			burst_move(b, i, STAGE_TRACK);
		else
			parse_ethernet(&c, NETWORK_UNDERLAY);
	} else {
		underlay_pass(w, b, i);
	}
}

/* A pod's packets that are what most are. Returns the set of the others. */
static packet_set
parse_plain(struct burst *b, packet_set set)
{
	const struct port_view *from = b->from;
	const struct endpoint *ep = from->endpoint;
	packet_set plain = 0;
	uint64_t to_gateway;
	uint32_t from_pod;
	uint8_t ours[12];
	memcpy(ours, &ep->gateway_mac, 6);
	memcpy(ours + 6, &ep->mac, 6);
	memcpy(&to_gateway, ours, 8);
	memcpy(&from_pod, ours + 8, 4);
	BURST_FOREACH (i, set) {
		const uint8_t *frame = rte_pktmbuf_mtod(b->m[i], const uint8_t *);
		uint64_t to;
		uint32_t sender;
		memcpy(&to, frame, 8);
		memcpy(&sender, frame + 8, 4);
		if (likely(to == to_gateway && sender == from_pod && parse_plain4(b, i, from->network, from->slot, ep->hop)))
			plain |= packet_bit(i);
	}
	b->at[STAGE_TRACK] |= plain;
	return set & ~plain;
}

void
parse_run(struct worker *w, struct burst *b, packet_set set)
{
	static void (*const parse[])(struct worker *, struct burst *, uint32_t) = {
		[SOURCE_ENDPOINT] = parse_endpoint,
		[SOURCE_HOST] = parse_host,
		[SOURCE_UPLINK] = parse_uplink,
	};
	if (unlikely(b->from == NULL || b->from->kind == SOURCE_NONE)) {
		BURST_FOREACH (i, set)
			packet_drop(w, b, i, DROP_NO_ENDPOINT);
		return;
	}
	for (unsigned int i = 0; i < b->n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(b->m[i], void *));
	if (likely(b->from->kind == SOURCE_ENDPOINT && !b->from->endpoint->closed && !b->from->endpoint->paired))
		set = parse_plain(b, set);
	else if (b->from->kind == SOURCE_UPLINK)
		set = decap_plain(w, b, set);
	BURST_FOREACH (i, set)
		parse[b->from->kind](w, b, i);
}
