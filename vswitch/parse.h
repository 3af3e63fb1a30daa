/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What parse.c is helped by: underlay.c knows the frames of the node's wire, parse_plain.c the ordinary packet, parse_extensions.c IPv6's
 * extension headers.
 */
#ifndef VSWITCH_PARSE_H
#define VSWITCH_PARSE_H

#include <weft/config.h>
#include <weft/packet.h>
#include <weft/worker.h>

#include "icmp.h"

/* True and *network set when a frame from the host port is meant for an overlay network (by its destination, or ARP or ND target). */
bool host_means(const struct config *c, const uint8_t *frame, uint16_t len, uint32_t *network);

/* True when a frame from the uplink is VXLAN to our tunnel end. */
bool is_tunnel(const struct config *c, const uint8_t *frame, uint16_t len);

/*
 * parse_plain.c: true when packet i, whose Ethernet addresses are known to be right, is an ordinary one: then all of b->p[i] is filled and
 * it is to go on to TRACK. False: nothing has been done, parse.c is to look at it.
 */
bool parse_plain4(struct burst *b, uint32_t i, uint32_t network, uint32_t source, uint32_t back);

/* RFC 7348 section 5: the VNI is valid. In network byte order. */
#define VXLAN_FLAG_I RTE_BE32(0x08000000)

/*
 * decap_plain.c: the tunnel's packets that are what most are, of a burst from the uplink, without their outer headers and on their way.
 * Returns the set of the others, to which nothing has been done.
 */
packet_set decap_plain(struct worker *w, struct burst *b, packet_set set);

/* Packet i is of an overlay network and its key is complete: on to TRACK, RELATE or RESPOND, or drop it. */
void parse_classify(struct worker *w, struct burst *b, uint32_t i);

/* Where a chain of IPv6 extension headers leads. */
struct ip6_chain {
	uint16_t l4;          /* offset of the upper layer, or of a later fragment's data */
	uint8_t proto;        /* of a later fragment: what it says, not what it is */
	bool more;            /* a fragment header says that others follow */
	uint16_t fragment_at; /* offset behind the fragment header; 0: there is none */
	uint16_t offset;      /* of the fragment, in bytes */
	uint32_t id;          /* as on the wire */
};

/*
 * Follow IPv6 extension headers (RFC 8200 section 4) from `at`, whose kind is `next`, to the upper layer: at most 8 of them or 256 bytes, one of
 * them a fragment header at most, none a routing header of type 0 (RFC 5095). -1, or the drop reason. Reads nothing at or past `end`.
 */
int ip6_chain(const uint8_t *frame, unsigned int at, unsigned int end, uint8_t next, struct ip6_chain *out);

/* True when any other frame from the uplink may be for a pod, or tell us of a neighbour. */
bool concerns_pods(const struct config *c, const uint8_t *frame, uint16_t len);

#endif
