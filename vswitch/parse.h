/* SPDX-License-Identifier: Apache-2.0 */
/* Two questions of parse.c about frames of the underlay, answered in underlay.c. */
#ifndef VSWITCH_PARSE_H
#define VSWITCH_PARSE_H

#include <weft/config.h>

/* True and *network set when a frame from the host port is meant for an overlay network (by its destination, or ARP or ND target). */
bool host_means(const struct config *c, const uint8_t *frame, uint16_t len, uint32_t *network);

/* True when a frame from the uplink is VXLAN to our tunnel end. */
bool is_tunnel(const struct config *c, const uint8_t *frame, uint16_t len);

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
