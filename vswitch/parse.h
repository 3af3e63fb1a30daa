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

/* True and *network set when a frame from the host port is meant for an overlay network (by its destination, or ARP or ND target). */
bool host_means(const struct config *c, const uint8_t *frame, uint16_t len, uint32_t *network);

/* True when a frame from the uplink is VXLAN to our tunnel end. */
bool is_tunnel(const struct config *c, const uint8_t *frame, uint16_t len);

/*
 * parse_plain.c: true when packet i, whose Ethernet addresses are known to be right, is an ordinary one: then all of b->p[i] is filled and
 * it is to go on to TRACK. False: nothing has been done, parse.c is to look at it.
 */
bool parse_plain4(struct burst *b, uint32_t i, uint32_t network, uint32_t source, uint32_t back);

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

static inline bool
icmp_is_echo(uint8_t type, bool v6)
{
	return v6 ? type == 128 || type == 129 : type == 8 || type == 0;
}

/*
 * What stands for ports in the key of an ICMP message, neither error nor discovery, at l4. Echo: the identifier in both. Others: type and
 * code in one of them, so that a connection lets pass nothing but what opened it and its answers (RFC 792: 13 and 14, 15 and 16, 17 and 18).
 */
static inline void
icmp_key(struct tuple *key, const uint8_t *l4, bool v6)
{
	bool answer = !v6 && (l4[0] == 14 || l4[0] == 16 || l4[0] == 18);
	uint8_t kind[2] = {(uint8_t)(l4[0] - answer), l4[1]};
	key->sport = key->dport = 0;
	if (icmp_is_echo(l4[0], v6)) {
		memcpy(&key->sport, l4 + 4, 2);
		key->dport = key->sport;
	} else {
		memcpy(answer ? &key->dport : &key->sport, kind, 2);
	}
}

#endif
