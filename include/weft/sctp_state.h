/* SPDX-License-Identifier: Apache-2.0 */
/* What an SCTP packet does to its association, by its first chunk (RFC 9260), as a table: nothing else decides it. Pure. */
#ifndef WEFT_SCTP_STATE_H
#define WEFT_SCTP_STATE_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kept in conn_cold.state; the numbers are also the indexes of conn_timeouts.sctp and part of the table's file. */
enum sctp_state {
	SCTP_STATE_NONE,
	SCTP_STATE_COOKIE_WAIT,   /* INIT and its answer */
	SCTP_STATE_COOKIE_ECHOED,
	SCTP_STATE_ESTABLISHED,
	SCTP_STATE_SHUTDOWN,      /* one side has no more to send */
	SCTP_STATE_SHUTDOWN_ACK,  /* both, and one end awaits SHUTDOWN COMPLETE */
	SCTP_STATE_CLOSED,        /* over, or aborted */
	SCTP_STATE_HEARTBEAT,     /* opened by a HEARTBEAT: another path of an association */
	SCTP_STATE_COUNT
};

enum sctp_chunk { /* of the types, RFC 9260 3.2, those that matter */
	SCTP_CHUNK_INIT = 1,
	SCTP_CHUNK_INIT_ACK = 2,
	SCTP_CHUNK_HEARTBEAT = 4,
	SCTP_CHUNK_HEARTBEAT_ACK = 5,
	SCTP_CHUNK_ABORT = 6,
	SCTP_CHUNK_SHUTDOWN = 7,
	SCTP_CHUNK_SHUTDOWN_ACK = 8,
	SCTP_CHUNK_ERROR = 9,
	SCTP_CHUNK_COOKIE_ECHO = 10,
	SCTP_CHUNK_COOKIE_ACK = 11,
	SCTP_CHUNK_SHUTDOWN_COMPLETE = 14,
};

/* What tracking wants to know of a packet: host order. */
struct sctp_packet {
	uint32_t tag;      /* verification tag */
	uint32_t init_tag; /* INIT and INIT ACK: the initiate tag, never 0; of others unused */
	uint8_t chunk;     /* type of the first chunk */
	bool reflected;    /* ABORT, SHUTDOWN COMPLETE: the T bit, the tag is the one that its receiver sends */
};

/* The packet passes for its receiver to judge, but proves nothing: neither state nor age change. */
#define SCTP_STATE_SAME (SCTP_STATE_COUNT)

/*
 * The next state (perhaps the same), SCTP_STATE_SAME, -EPROTO when no SCTP would send it then, or -ESTALE when it opens a new
 * association on the ports of one that is over. Tags are the caller's to check.
 */
int sctp_state_next(enum sctp_state state, uint8_t chunk, bool reply);

/* True when a packet may be the first of an association (INIT), or of another path of one (HEARTBEAT). */
static inline bool
sctp_may_open(const struct sctp_packet *s)
{
	return s->chunk == SCTP_CHUNK_INIT && s->tag == 0;
}

static inline bool
sctp_may_open_path(const struct sctp_packet *s)
{
	return s->chunk == SCTP_CHUNK_HEARTBEAT && s->tag != 0;
}

/* True when it may come from the middle of an association that is older than we are. */
bool sctp_may_pick_up(const struct sctp_packet *s);

#ifdef __cplusplus
}
#endif

#endif
