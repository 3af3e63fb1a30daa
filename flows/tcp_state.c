/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/tcp_state.h>

/* The kinds of segment that differ. */
enum segment { SYN, SYN_ACK, FIN, ACK, RST, SEGMENTS };

enum {
	NO = TCP_STATE_NONE, /* as a result: impossible, since nothing leads back to NONE */
	SS = TCP_STATE_SYN_SENT,
	SR = TCP_STATE_SYN_RECV,
	ES = TCP_STATE_ESTABLISHED,
	FW = TCP_STATE_FIN_WAIT,
	CW = TCP_STATE_CLOSE_WAIT,
	LA = TCP_STATE_LAST_ACK,
	TW = TCP_STATE_TIME_WAIT,
	CL = TCP_STATE_CLOSE,
	S2 = TCP_STATE_SYN_SENT2,
	SAME = TCP_STATE_SAME,
	AGAIN,
};

/*
 * [state][reply][segment]. What is not obvious:
 * - A SYN within a connection passes: the peer may have restarted, and its partner's challenge ACK (RFC 5961 4), reset
 *   or SYN and ACK settles it. By itself it changes nothing, or a forged SYN would keep dead connections.
 * - When both sides have closed, only the last ACK can be missing: a SYN is of a new connection.
 * - An ACK that answers a SYN comes from a partner that still holds an older connection (RFC 793 figure 10).
 * - A repeated SYN and ACK means that the handshake's last ACK was lost.
 * - NONE takes an ACK: a connection that is older than we are, if the caller lets it in.
 */
/* clang-format off */
static const uint8_t table[TCP_STATE_COUNT][2][SEGMENTS] = {
	/*                           SYN    S+A   FIN   ACK   RST    reply:  SYN    S+A   FIN   ACK   RST */
	[TCP_STATE_NONE] =         { { SS,    NO,   NO,   ES,   NO },         { NO,    NO,   NO,   NO,   NO } },
	[TCP_STATE_SYN_SENT] =     { { SS,    NO,   NO,   NO,   CL },         { S2,    SR,   NO,   SAME, CL } },
	[TCP_STATE_SYN_SENT2] =    { { S2,    SR,   NO,   NO,   CL },         { S2,    SR,   NO,   SAME, CL } },
	[TCP_STATE_SYN_RECV] =     { { SAME,  SR,   FW,   ES,   CL },         { NO,    SAME, FW,   SR,   CL } },
	[TCP_STATE_ESTABLISHED] =  { { SAME,  NO,   FW,   ES,   CL },         { NO,    SAME, FW,   ES,   CL } },
	[TCP_STATE_FIN_WAIT] =     { { SAME,  NO,   LA,   CW,   CL },         { NO,    SAME, LA,   CW,   CL } },
	[TCP_STATE_CLOSE_WAIT] =   { { SAME,  NO,   LA,   CW,   CL },         { NO,    SAME, LA,   CW,   CL } },
	[TCP_STATE_LAST_ACK] =     { { AGAIN, NO,   LA,   TW,   CL },         { NO,    SAME, LA,   TW,   CL } },
	[TCP_STATE_TIME_WAIT] =    { { AGAIN, NO,   TW,   TW,   CL },         { AGAIN, SAME, TW,   TW,   CL } },
	[TCP_STATE_CLOSE] =        { { AGAIN, NO,   CL,   CL,   CL },         { NO,    SAME, CL,   CL,   CL } },
};
/* clang-format on */

/* SEGMENTS when the flags contradict each other: null, Xmas, FIN without ACK, SYN with FIN and the like. */
static enum segment
segment_of(uint8_t flags)
{
	switch (flags & (TCP_BIT_SYN | TCP_BIT_ACK | TCP_BIT_FIN | TCP_BIT_RST)) {
	case TCP_BIT_SYN:
		return SYN;
	case TCP_BIT_SYN | TCP_BIT_ACK:
		return SYN_ACK;
	case TCP_BIT_FIN | TCP_BIT_ACK:
		return FIN;
	case TCP_BIT_ACK:
		return ACK;
	case TCP_BIT_RST:
	case TCP_BIT_RST | TCP_BIT_ACK:
		return RST;
	default:
		return SEGMENTS;
	}
}

int
tcp_state_next(enum tcp_state state, uint8_t flags, bool reply)
{
	enum segment s = segment_of(flags);
	if (s == SEGMENTS || (unsigned int)state >= TCP_STATE_COUNT)
		return -EPROTO;
	unsigned int next = table[state][reply][s];
	if (next == NO)
		return -EPROTO;
	return next == AGAIN ? -ESTALE : (int)next;
}

bool
tcp_state_may_open(uint8_t flags)
{
	return segment_of(flags) == SYN;
}

bool
tcp_state_may_pick_up(uint8_t flags)
{
	return segment_of(flags) == ACK;
}

const char *
tcp_state_name(unsigned int state)
{
	static const char *const name[TCP_STATE_COUNT] = {
		"NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
		"CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",       "SYN_SENT2",
	};
	return state < TCP_STATE_COUNT ? name[state] : NULL;
}
