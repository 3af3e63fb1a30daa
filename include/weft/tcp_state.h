/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP's states as seen from the middle of the path: RFC 793's of both ends folded into one, named and judged as Linux
 * conntrack does, so that operators read what they know. Pure: sequence numbers and windows are somebody else's.
 */
#ifndef WEFT_TCP_STATE_H
#define WEFT_TCP_STATE_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kept in conn_cold.state; the numbers are also the indexes of conn_timeouts.tcp and part of the table's file. */
enum tcp_state {
	TCP_STATE_NONE,        /* no connection yet */
	TCP_STATE_SYN_SENT,    /* the originator's SYN */
	TCP_STATE_SYN_RECV,    /* answered by SYN and ACK */
	TCP_STATE_ESTABLISHED, /* the originator's ACK */
	TCP_STATE_FIN_WAIT,    /* one side has closed */
	TCP_STATE_CLOSE_WAIT,  /* and the other has acknowledged it */
	TCP_STATE_LAST_ACK,    /* both sides have closed */
	TCP_STATE_TIME_WAIT,   /* and the last FIN is acknowledged */
	TCP_STATE_CLOSE,       /* reset */
	TCP_STATE_SYN_SENT2,   /* simultaneous open: a SYN from both sides */
	TCP_STATE_COUNT
};

enum tcp_bit { /* of the header's flags byte, RFC 793 3.1 */
	TCP_BIT_FIN = 1 << 0,
	TCP_BIT_SYN = 1 << 1,
	TCP_BIT_RST = 1 << 2,
	TCP_BIT_PSH = 1 << 3,
	TCP_BIT_ACK = 1 << 4,
	TCP_BIT_URG = 1 << 5,
};

/* The segment passes for its receiver to judge, but proves nothing: neither state nor age change. */
#define TCP_STATE_SAME (TCP_STATE_COUNT)

/*
 * What a segment does to a connection: the next state (perhaps the same), TCP_STATE_SAME, or -EPROTO when no TCP would send it
 * then, or -ESTALE when it opens a new connection on a closed one's ports.
 */
int tcp_state_next(enum tcp_state state, uint8_t flags, bool reply);

/* True when a segment may be the first of a connection: SYN alone (ECN bits, PSH and URG do not matter). */
bool tcp_state_may_open(uint8_t flags);

/* True when a segment may come from the middle of a conversation that is older than we are: ACK alone. */
bool tcp_state_may_pick_up(uint8_t flags);

/* "SYN_SENT"; "NONE" for 0, NULL past the last. */
const char *tcp_state_name(unsigned int state);

#ifdef __cplusplus
}
#endif

#endif
