/* SPDX-License-Identifier: Apache-2.0 */
/* What parse.c is helped by: underlay.c knows the frames of the node's wire, parse_plain.c the ordinary packet. */
#ifndef VSWITCH_PARSE_H
#define VSWITCH_PARSE_H

#include <weft/config.h>
#include <weft/packet.h>

/* True and *network set when a frame from the host port is meant for an overlay network (by its destination, or ARP or ND target). */
bool host_means(const struct config *c, const uint8_t *frame, uint16_t len, uint32_t *network);

/* True when a frame from the uplink is VXLAN to our tunnel end. */
bool is_tunnel(const struct config *c, const uint8_t *frame, uint16_t len);

/*
 * parse_plain.c: true when packet i, whose Ethernet addresses are known to be right, is an ordinary one: then all of b->p[i] is filled and
 * it is to go on to TRACK. False: nothing has been done, parse.c is to look at it.
 */
bool parse_plain4(struct burst *b, uint32_t i, uint32_t network, uint32_t source, uint32_t back);

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
