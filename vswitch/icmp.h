/* SPDX-License-Identifier: Apache-2.0 */
/* What the key of a connection says of ICMP. */
#ifndef VSWITCH_ICMP_H
#define VSWITCH_ICMP_H

#include <string.h>

#include <weft/conn.h>

static inline bool
icmp_is_echo(uint8_t type, bool v6)
{
	return v6 ? type == 128 || type == 129 : type == 8 || type == 0;
}

/* Of the two that an echo's key has for ports, the other one. */
static inline uint16_t
echo_other(uint16_t port)
{
	return (uint16_t)~port;
}

/* Is it the key of an echo, for a tuple of ICMP? */
static inline bool
echo_key(const struct tuple *key)
{
	return key->sport == echo_other(key->dport);
}

static inline bool
icmp_is_request(uint8_t type, bool v6)
{
	return type == (v6 ? 128 : 8);
}

/* The identifier to put into an echo of this type that gets these for ports. */
static inline uint16_t
echo_identifier(uint8_t type, bool v6, const uint16_t ports[2])
{
	return icmp_is_request(type, v6) ? ports[0] : ports[1];
}

/*
 * What stands for ports in the key of an ICMP message, neither error nor discovery, at l4: a connection lets pass
 * nothing but what opened it and its answers, so the two must differ. Echo: the identifier for who asks, its complement
 * for who answers. Others: type and code in one of them (RFC 792: 13 and 14, 15 and 16, 17 and 18); the other is 0, or where
 * that would be an echo's key (type and code 255) 1.
 */
static inline void
icmp_key(struct tuple *key, const uint8_t *l4, bool v6)
{
	bool answer = !v6 && (l4[0] == 14 || l4[0] == 16 || l4[0] == 18);
	uint8_t kind[2] = {(uint8_t)(l4[0] - answer), l4[1]};
	key->sport = key->dport = 0;
	if (icmp_is_echo(l4[0], v6)) {
		uint16_t id;
		memcpy(&id, l4 + 4, 2);
		bool request = icmp_is_request(l4[0], v6);
		key->sport = request ? id : echo_other(id);
		key->dport = echo_other(key->sport);
	} else {
		memcpy(answer ? &key->dport : &key->sport, kind, 2);
		key->dport |= echo_key(key);
	}
}

#endif
