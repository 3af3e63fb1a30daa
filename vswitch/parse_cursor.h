/* SPDX-License-Identifier: Apache-2.0 */
/* The parse of a packet from inside: what parse.c and its parts hand to each other. */
#ifndef VSWITCH_PARSE_CURSOR_H
#define VSWITCH_PARSE_CURSOR_H

#include <weft/packet.h>
#include <weft/worker.h>

/* The parse of one packet under way: what was read, and how much there is to read. */
struct cursor {
	struct worker *w;
	struct burst *b;
	uint32_t i;
	struct packet *p;
	const uint8_t *data;
	uint16_t len; /* bytes of data that belong to the packet; after the IP header: to the IP packet */
	bool wire;    /* of the underlay itself: what is wrong with it is the host's to judge */
};

/* parse.c: the packet goes no further; one of the wire goes to the host. */
void parse_drop(struct cursor *c, enum drop_reason reason);

/*
 * parse_ip.c: the IP header and IPv6's extension headers. True: addresses, protocol, offsets and flags are known, those of a fragment too. False:
 * dropped.
 */
bool parse_ip4(struct cursor *c);
bool parse_ip6(struct cursor *c);

#endif
