/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A burst on its way through the pipeline: up to WEFT_BURST mbufs and, beside each, what the stages have learned of it. The burst lives in its
 * worker's memory and never leaves its cache; survivors stay where they are.
 *
 * Which packets a stage works on is a bit set, `at[stage]`: a stage takes its set, and moves each packet to the set of a later
 * stage, or drops it. Nothing else decides a packet's way.
 */
#ifndef WEFT_PACKET_H
#define WEFT_PACKET_H

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <weft/base.h>
#include <weft/config.h>
#include <weft/conn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The order is the pipeline's: a packet only ever moves to a stage further down. vswitch/pipeline.c has the table. */
enum stage {
	STAGE_PARSE,
	STAGE_DECAP,
	STAGE_TRACK,
	STAGE_RELATE,
	STAGE_DECIDE,
	STAGE_RESPOND,
	STAGE_REWRITE,
	STAGE_FORWARD,
	STAGE_ENCAP,
	STAGE_TRANSMIT,
	STAGE_COUNT
};

enum packet_flag {
	PACKET_TTL_OUT = 1 << 0,    /* TTL or hop limit is 1: must not be routed any further */
	PACKET_NO_TTL = 1 << 1,     /* its TTL is not ours to lower (host <-> underlay, answers that we made) */
	PACKET_CREATED = 1 << 2,    /* made by us in answer to the packet that was in its place */
	PACKET_ONE_SHOT = 1 << 3,   /* hop was decided for this packet alone */
	PACKET_LINK_LOCAL = 1 << 4, /* stays on its link: source or destination is fe80::/10, ff02::/16, or "::" */
	PACKET_ICMP_ERROR = 1 << 5, /* ICMP or ICMPv6 error: belongs to what it quotes */
	PACKET_PUNT = 1 << 6,       /* goes to the host port: counted as punted, not as sent */
	PACKET_ECHO = 1 << 7,       /* ICMP or ICMPv6 echo request or reply */
	PACKET_FRAGMENT = 1 << 8,   /* a part of a datagram: l4 to ip_end is not all of it */
	PACKET_LATER = 1 << 9,      /* not the first part: no L4 header; key and kind are the first's, see vswitch/fragment.h */
	PACKET_MORE = 1 << 10,      /* not the last part */
	PACKET_MOVED = 1 << 12,     /* its connection's backend is gone: it may open another from the middle of the conversation */
	PACKET_PLAIN = 1 << 11,     /* parse_plain.c took it, and its checksum is complete: TCP or UDP over IPv4, whole */
};

/* What the respond stage is to make of a packet. */
enum answer {
	ANSWER_NONE,
	ANSWER_ARP,              /* judge an ARP packet */
	ANSWER_ND,               /* judge ICMPv6 neighbour discovery, MLD and router discovery */
	ANSWER_ECHO,             /* echo request to an address of ours: echo reply */
	ANSWER_TTL,              /* ICMP time exceeded, ICMPv6 time exceeded */
	ANSWER_NO_ROUTE,         /* destination unreachable: network (0), no route (0) */
	ANSWER_PORT_UNREACHABLE, /* ICMP 3/3, ICMPv6 1/4 */
	ANSWER_PROHIBITED,       /* ICMP 3/13, ICMPv6 1/1 */
	ANSWER_RESET,            /* TCP RST (RFC 793 3.4) */
	ANSWER_TOO_BIG,          /* ICMP 3/4 with MTU (RFC 1191), ICMPv6 2/0 (RFC 8201); packet->answer_mtu */
};

struct packet {
	struct tuple key;     /* of the innermost IP packet; key.net_proto carries network and protocol */
	uint32_t hash;        /* conn_hash(key) */
	uint32_t ref;         /* conn.h: the half that it belongs to, 0 when none */
	uint32_t hop;         /* hop.h: where it goes */
	uint32_t source;      /* generation slot of whom it comes from */
	uint32_t back;        /* hop.h: how an answer gets back to where it came from; 0: it does not */
	uint16_t in_port;     /* the port that it came in by */
	uint16_t out_port;    /* for STAGE_TRANSMIT */
	uint16_t l3, l4;      /* offsets of the IP and L4 headers from rte_pktmbuf_mtod; 0: none */
	uint16_t ip_end;      /* offset of the end of the IP packet: padding follows */
	uint16_t flags;       /* enum packet_flag */
	uint8_t proto;        /* IP protocol of the L4 header (after extension headers) */
	uint8_t tcp_flags;
	uint8_t icmp_type, icmp_code;
	uint8_t answer;       /* enum answer */
	uint8_t drop;         /* enum drop_reason: what the packet that is answered is counted as */
	uint16_t answer_mtu;
	uint16_t outer;       /* bytes of tunnel header that were taken off in front of the frame */
	uint16_t fragment_offset, fragment_len; /* PACKET_FRAGMENT: bytes of the datagram that it carries */
	uint32_t fragment_id; /* and its identification, as on the wire */
};

/* Bit i: packet i of the burst. */
typedef uint64_t packet_set;
static_assert(WEFT_BURST <= 64, "a bit for each");

struct burst {
	const struct config *config;     /* the root that this burst sees */
	const struct port_view *from;    /* who brought it */
	packet_set at[STAGE_COUNT];      /* what is to be worked on by the stage */
	unsigned int n;
	struct rte_mbuf *m[WEFT_BURST];
	struct packet p[WEFT_BURST];
};

/* The lowest in the set above i, of all after UINT32_MAX; WEFT_BURST when there is none. */
static inline uint32_t
packet_after(packet_set set, uint32_t i)
{
	packet_set left = i == UINT32_MAX ? set : set & (packet_set)-2 << i;
	return left != 0 ? (uint32_t)__builtin_ctzll(left) : WEFT_BURST;
}

/* for (i in set), lowest first; the set is looked at each time */
#define BURST_FOREACH(i, set) for (uint32_t i = packet_after((set), UINT32_MAX); i < WEFT_BURST; i = packet_after((set), i))

static inline packet_set
packet_bit(uint32_t i)
{
	return (packet_set)1 << i;
}

static inline uint32_t
packet_network(const struct packet *p)
{
	return p->key.net_proto >> 8;
}

static inline bool
packet_is4(const struct packet *p)
{
	return ip_is4(&p->key.dst);
}

static inline void *
packet_at(const struct burst *b, uint32_t i, uint16_t offset)
{
	return rte_pktmbuf_mtod_offset(b->m[i], void *, offset);
}

static inline void
burst_move(struct burst *b, uint32_t i, enum stage to)
{
	b->at[to] |= packet_bit(i);
}

#ifdef __cplusplus
}
#endif

#endif
