/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP's sequence numbers as the middle of the path sees them: could the receiver take this segment, or is it old, forged, or of
 * another conversation? After Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000): of a segment from S to R
 *
 *   I    its data does not begin behind the window that R offers,      seq <= R.ack + R.window
 *   II   nor end more than a window before what S has sent already,    seq + length >= S.end - R.window - 1
 *   III  it does not acknowledge what R has not sent,                  ack <= R.end
 *   IV   nor what is older than could still be on its way.             ack >= R.end - max(S.window, 66000)
 *
 * A window is the largest that its side has ever offered, scaled (RFC 7323) when both sides' SYNs said so: TCP must not shrink one
 * (RFC 9293 3.8.6), and who does it is given the benefit of the doubt.
 *
 * An RST must hit the window from where R stands, not from an earlier one, or, before R has said anything, acknowledge the SYN.
 *
 * Two workers may see the two directions at the same time, and each side's words lie in the other's cache. So a side's
 * progress is written down only when it has moved by an eighth of the window, and the checks allow for that much. Each
 * side is written by packets of its own direction; but for the handshake. Words are atomic, and a lost update is like a small delay.
 */
#ifndef WEFT_TCP_WINDOW_H
#define WEFT_TCP_WINDOW_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TCP_SCALE_NONE 0xffu
#define TCP_SCALE_MAX 14u /* RFC 7323 2.3 */

/* What a segment says, in host order. */
struct tcp_segment {
	uint32_t seq, ack;
	uint32_t payload; /* bytes behind the header */
	uint16_t window;
	uint8_t flags;    /* enum tcp_bit */
	uint8_t scale;    /* a SYN's window scale option, at most TCP_SCALE_MAX; TCP_SCALE_NONE without one */
};

/* One side of a connection, by what it has sent. */
struct tcp_side {
	uint32_t end;     /* behind the highest sequence number it sent */
	uint32_t ack;     /* the highest it has acknowledged */
	uint32_t max_win; /* the largest window it offered; 0: nothing was heard of it yet */
};

/* The first segment of a connection, from side 0: a SYN, or one of the middle of a conversation that is picked up. */
void tcp_window_open(struct tcp_side side[2], uint8_t scale[2], const struct tcp_segment *s);

/* Side 1's SYN and ACK, answering a SYN of side 0 that was let pass and forgotten: of that, what the answer tells. */
void tcp_window_reopen(struct tcp_side side[2], uint8_t scale[2], const struct tcp_segment *answer);

/* May the other side take the segment of side `dir`? A SYN without ACK is for the caller to judge. */
bool tcp_window_takes(const struct tcp_side side[2], unsigned int dir, const struct tcp_segment *s);

/* Could side `dir` have sent a segment with this number lately? What an ICMP error quotes (RFC 5927 4.1). */
bool tcp_window_sent(const struct tcp_side side[2], unsigned int dir, uint32_t seq);

/* Note a segment that the other side may take. */
void tcp_window_learn(struct tcp_side side[2], uint8_t scale[2], unsigned int dir, const struct tcp_segment *s);

#ifdef __cplusplus
}
#endif

#endif
