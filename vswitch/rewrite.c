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

#include "icmp.h"
#include "rewrite.h"

/*
 * Deltas: what a checksum must take in when words become others, the one's-complement sum of ~old + new. As 2^16 is 1 modulo 0xffff,
 * 32-bit words may be summed and folded at the end (RFC 1071 2).
 */
static inline uint64_t
delta_words(const void *old, const void *new, unsigned int n)
{
	uint64_t sum = 0;
	for (unsigned int k = 0; k < n; k++) {
		uint32_t o, w;
		memcpy(&o, (const char *)old + 4 * k, 4);
		memcpy(&w, (const char *)new + 4 * k, 4);
		sum += (uint64_t)~o + w;
	}
	return sum;
}

static inline void
add_to(void *at, uint64_t delta)
{
	uint16_t *field = at;
	*field = (uint16_t)~sum_fold((uint16_t)~*field + delta);
}

uint32_t
checksum_delta(const void *old, const void *now, unsigned int n)
{
	return sum_fold(delta_words(old, now, n));
}

void
checksum_add(void *at, uint32_t delta)
{
	add_to(at, delta);
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

/* A partial checksum field holds the pseudo-header sum itself, not its complement, and no ports. */
static void
rewrite_partial(struct burst *b, uint32_t i, const uint16_t ports[2], uint64_t addresses)
{
	const struct packet *p = &b->p[i];
	uint8_t *l4 = packet_at(b, i, p->l4);
	uint16_t *field = (uint16_t *)(l4 + (p->proto == IPPROTO_TCP ? 16 : 6));
	memcpy(l4, ports, 4);
	*field = sum_fold(*field + addresses);
}

static void
rewrite_echo(struct burst *b, uint32_t i, uint16_t identifier, uint64_t addresses)
{
	const struct packet *p = &b->p[i];
	uint16_t *icmp = packet_at(b, i, p->l4);
	uint64_t delta = (uint16_t)~icmp[2] + (uint64_t)identifier;
	icmp[2] = identifier;
	/* ICMPv6 has a pseudo header (RFC 4443 2.3), ICMP has none. */
	add_to(&icmp[1], p->proto == IPPROTO_ICMPV6 ? delta + addresses : delta);
}

static inline void
rewrite_l4(struct burst *b, uint32_t i, const uint16_t ports[2], uint64_t addresses)
{
	struct packet *p = &b->p[i];
	uint8_t *l4 = packet_at(b, i, p->l4);
	uint16_t *udp = (uint16_t *)(l4 + 6), *tcp = (uint16_t *)(l4 + 16);

	if (unlikely(offload_is_partial(b->m[i]))) {
		rewrite_partial(b, i, ports, addresses);
		return;
	}
	switch (p->proto) {
	case IPPROTO_TCP:
		addresses += delta_words(l4, ports, 1);
		memcpy(l4, ports, 4);
		add_to(tcp, addresses);
		break;
	case IPPROTO_UDP:
		addresses += delta_words(l4, ports, 1);
		memcpy(l4, ports, 4);
		if (*udp != 0) { /* 0: the sender computed none (RFC 768) */
			add_to(udp, addresses);
			if (*udp == 0)
				*udp = 0xffff;
		}
		break;
	case IPPROTO_SCTP:
		if (memcmp(l4, ports, 4) != 0)
			sctp_ports(l4, (unsigned int)(p->ip_end - p->l4), ports[0], ports[1]);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (p->flags & PACKET_ECHO)
			rewrite_echo(b, i, echo_identifier(p->icmp_type, p->proto == IPPROTO_ICMPV6, ports), addresses);
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

static inline void
translate(struct burst *b, uint32_t i, const struct ip *src, const struct ip *dst, const uint16_t ports[2])
{
	struct packet *p = &b->p[i];
	uint64_t delta;
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
		const uint32_t now[2] = {src->w[3], dst->w[3]};
		delta = delta_words(&ip->src_addr, now, 2);
		memcpy(&ip->src_addr, now, sizeof(now));
		add_to(&ip->hdr_checksum, delta);
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
		delta = delta_words(ip->src_addr, src, 4) + delta_words(ip->dst_addr, dst, 4);
		memcpy(ip->src_addr, src, 16);
		memcpy(ip->dst_addr, dst, 16);
	}
	/* The first fragment has the L4 header of all, and the checksum that covers all: what changes is the same delta. */
	if (likely(!(p->flags & PACKET_LATER)))
		rewrite_l4(b, i, ports, delta);
}

void
packet_translate(struct burst *b, uint32_t i, const struct tuple *to)
{
	const uint16_t ports[2] = {to->sport, to->dport};
	translate(b, i, &to->src, &to->dst, ports);
}

static inline void
lower_ttl(struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	if (packet_is4(p)) {
		struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
		ip->time_to_live--;
		add_to(&ip->hdr_checksum, (uint16_t)~RTE_BE16(0x0100));
	} else {
		struct rte_ipv6_hdr *ip = packet_at(b, i, p->l3);
		ip->hop_limits--;
	}
}

void
packet_lower_ttl(struct burst *b, uint32_t i)
{
	lower_ttl(b, i);
}

/* SCTP's checksum cannot be changed without the whole packet (see sctp_crc); but SCTP breaks its messages up itself, and sets DF. */
static bool
beyond_us(const struct packet *p, const uint16_t ports[2])
{
	return p->flags & PACKET_FRAGMENT && p->proto == IPPROTO_SCTP && (ports[0] != p->key.sport || ports[1] != p->key.dport);
}

/*
 * Translation and TTL at once, for what parse_plain.c calls ordinary with a complete checksum: TCP or UDP over IPv4. `answer` is what an
 * answer looks like on arrival.
 */
static inline void
rewrite_plain4(struct burst *b, uint32_t i, const struct tuple *answer)
{
	const struct packet *p = &b->p[i];
	struct rte_ipv4_hdr *ip = packet_at(b, i, p->l3);
	uint8_t *l4 = packet_at(b, i, p->l4);
	uint16_t *field = (void *)(l4 + (p->proto == IPPROTO_TCP ? 16 : 6));
	uint32_t src = answer->dst.w[3], dst = answer->src.w[3];
	const uint16_t both[2] = {answer->dport, answer->sport};
	uint32_t had, ports;
	memcpy(&had, l4, 4);
	memcpy(&ports, both, 4);
	uint64_t addresses = (uint64_t)~ip->src_addr + ~ip->dst_addr + src + dst;
	uint64_t l4_delta = addresses + ~had + ports;
	ip->src_addr = src;
	ip->dst_addr = dst;
	ip->time_to_live--;
	add_to(&ip->hdr_checksum, addresses + (uint16_t)~RTE_BE16(0x0100));
	memcpy(l4, &ports, 4);
	if (likely(*field != 0) || p->proto == IPPROTO_TCP) { /* UDP: 0 says that the sender computed none (RFC 768) */
		uint16_t sum = (uint16_t)~sum_fold((uint16_t)~*field + l4_delta);
		*field = unlikely(sum == 0) && p->proto == IPPROTO_UDP ? 0xffff : sum;
	}
}

void
rewrite_run(struct worker *w, struct burst *b, packet_set set)
{
	const struct conn_half *half = conn_view(w->conns)->half;
	BURST_FOREACH (i, set) {
		const struct packet *p = &b->p[i];
		if (conn_half_flags(&half[p->ref]) & HALF_NAT) {
			/* What the answer to it looks like on arrival, turned round. */
			const struct tuple *answer = &half[p->ref ^ 1].key;
			const uint16_t ports[2] = {answer->dport, answer->sport};
			if (likely(p->flags & PACKET_PLAIN)) {
				rewrite_plain4(b, i, answer);
				continue;
			}
			if (unlikely(beyond_us(p, ports))) {
				packet_drop(w, b, i, DROP_FRAGMENT);
				set &= ~packet_bit(i);
				continue;
			}
			translate(b, i, &answer->dst, &answer->src, ports);
		}
		lower_ttl(b, i);
	}
	b->at[STAGE_FORWARD] |= set;
}
