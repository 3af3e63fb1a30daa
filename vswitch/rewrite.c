/* SPDX-License-Identifier: Apache-2.0 */
/* Translation and TTL, with every checksum kept true incrementally (RFC 1624): what was wrong before stays wrong. */
#include <nmmintrin.h>

#include <weft/base.h>

#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <weft/offload.h>
#include <weft/pipeline.h>

#include "rewrite.h"

/* One's-complement sum of ~old + new over n 16-bit words: what a checksum must take in when old becomes new. */
static uint32_t
delta_words(const void *old, const void *new, unsigned int n)
{
	const uint16_t *o = old, *w = new;
	uint32_t sum = 0;
	for (unsigned int k = 0; k < n; k++)
		sum += (uint32_t)(uint16_t)~o[k] + w[k];
	return sum;
}

void
checksum_add(void *at, uint32_t delta)
{
	uint16_t *field = at;
	uint32_t sum = (uint16_t)~*field + delta;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*field = (uint16_t)~sum;
}

/* A partial checksum field holds the pseudo-header sum itself, not its complement, and no ports. */
static void
partial_add(uint16_t *field, uint32_t delta)
{
	uint32_t sum = *field + delta;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*field = (uint16_t)sum;
}

/* SCTP's CRC32c covers its ports (RFC 9260 6.8): nothing incremental about it. A packet that came wrong must leave wrong. */
static uint32_t
sctp_crc(const uint8_t *l4, unsigned int len)
{
	uint32_t crc = UINT32_MAX;
	for (unsigned int k = 0; k < len; k++)
		crc = _mm_crc32_u8(crc, k >= 8 && k < 12 ? 0 : l4[k]);
	return ~crc;
}

static void
sctp_ports(uint8_t *l4, unsigned int len, uint16_t sport, uint16_t dport)
{
	uint32_t had, is = sctp_crc(l4, len);
	memcpy(&had, l4 + 8, 4);
	memcpy(l4, &sport, 2);
	memcpy(l4 + 2, &dport, 2);
	uint32_t crc = sctp_crc(l4, len) ^ had ^ is;
	memcpy(l4 + 8, &crc, 4);
}

static void
rewrite_l4(struct burst *b, uint32_t i, const struct tuple *to, uint32_t addresses)
{
	struct packet *p = &b->p[i];
	uint8_t *l4 = packet_at(b, i, p->l4);
	const uint16_t now[2] = {to->sport, to->dport};
	bool partial = offload_is_partial(b->m[i]);

	switch (p->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP: {
		uint16_t *field = (uint16_t *)(l4 + (p->proto == IPPROTO_TCP ? 16 : 6));
		uint32_t ports = delta_words(l4, now, 2);
		memcpy(l4, now, sizeof(now));
		if (partial) {
			partial_add(field, addresses);
		} else if (p->proto == IPPROTO_TCP) {
			checksum_add(field, addresses + ports);
		} else if (*field != 0) { /* 0: the sender computed none (RFC 768) */
			checksum_add(field, addresses + ports);
			if (*field == 0)
				*field = 0xffff;
		}
		break;
	}
	case IPPROTO_SCTP:
		if (l4[0] != ((const uint8_t *)now)[0] || memcmp(l4, now, sizeof(now)) != 0)
			sctp_ports(l4, (unsigned int)(p->ip_end - p->l4), now[0], now[1]);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (p->flags & PACKET_ECHO) {
			uint16_t *field = (uint16_t *)(l4 + 2);
			uint32_t delta = delta_words(l4 + 4, &to->sport, 1);
			memcpy(l4 + 4, &to->sport, 2);
			/* ICMPv6 has a pseudo header (RFC 4443 2.3), ICMP has none. */
			checksum_add(field, p->proto == IPPROTO_ICMPV6 ? delta + addresses : delta);
		}
		break;
	}
}

uint16_t
packet_l4_sum(const struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	uint16_t len = (uint16_t)(p->ip_end - p->l4);
	const struct rte_ipv4_hdr *ip4 = packet_at(b, i, p->l3);
	const struct rte_ipv6_hdr *ip6 = packet_at(b, i, p->l3);
	uint32_t sum = 0;
	if (!packet_is4(p))
		sum = __rte_raw_cksum(ip6->src_addr, 32, 0);
	else if (p->proto == IPPROTO_TCP)
		sum = __rte_raw_cksum(&ip4->src_addr, 8, 0);
	if (!packet_is4(p) || p->proto == IPPROTO_TCP)
		sum += (uint32_t)rte_cpu_to_be_16(len) + rte_cpu_to_be_16(p->proto);
	return __rte_raw_cksum_reduce(__rte_raw_cksum(packet_at(b, i, p->l4), len, sum));
}

void
packet_translate(struct burst *b, uint32_t i, const struct tuple *to)
{
	struct packet *p = &b->p[i];
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
		const uint32_t now[2] = {to->src.w[3], to->dst.w[3]};
		uint32_t delta = delta_words(&ip->src_addr, now, 4);
		memcpy(&ip->src_addr, now, sizeof(now));
		checksum_add(&ip->hdr_checksum, delta);
		rewrite_l4(b, i, to, delta);
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
		uint32_t delta = delta_words(ip->src_addr, to->src.b, 8) + delta_words(ip->dst_addr, to->dst.b, 8);
		memcpy(ip->src_addr, to->src.b, 16);
		memcpy(ip->dst_addr, to->dst.b, 16);
		rewrite_l4(b, i, to, delta);
	}
}

void
packet_lower_ttl(struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
		ip->time_to_live--;
		checksum_add(&ip->hdr_checksum, (uint16_t)~RTE_BE16(0x0100));
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
		ip->hop_limits--;
	}
}

void
rewrite_run(struct worker *w, struct burst *b, uint32_t set)
{
	const struct conn_half *half = conn_view(w->conns)->half;
	BURST_FOREACH (i, set) {
		const struct packet *p = &b->p[i];
		if (conn_half_flags(&half[p->ref]) & HALF_NAT) {
			struct tuple to = tuple_reversed(&half[p->ref ^ 1].key);
			packet_translate(b, i, &to);
		}
		packet_lower_ttl(b, i);
		burst_move(b, i, STAGE_FORWARD);
	}
}
