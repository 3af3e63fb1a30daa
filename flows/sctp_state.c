/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/sctp_state.h>

/* The kinds of chunk that differ. */
enum kind { OTHER, INIT, INIT_ACK, ECHO, COOKIE_ACK, BEAT, BEAT_ACK, SHUT, SHUT_ACK, COMPLETE, ABORT, ERROR, KINDS };

enum {
	NO = SCTP_STATE_NONE, /* as a result: impossible, since nothing leads back to NONE */
	CW = SCTP_STATE_COOKIE_WAIT,
	CE = SCTP_STATE_COOKIE_ECHOED,
	ES = SCTP_STATE_ESTABLISHED,
	SD = SCTP_STATE_SHUTDOWN,
	SA = SCTP_STATE_SHUTDOWN_ACK,
	CL = SCTP_STATE_CLOSED,
	HB = SCTP_STATE_HEARTBEAT,
	SAME = SCTP_STATE_SAME,
	AGAIN,
};

/*
 * [state][reply][kind]. What is not obvious:
 * - Both ends may send INIT at once; then both answer it, and both echo a cookie (RFC 9260 5.2.1).
 * - INIT within an association passes and changes nothing: its sender may have begun again, or is made up. That it has is
 *   shown by a cookie with the tags of both (conn_sctp.c).
 * - Whoever has our COOKIE ECHO may send before a lost COOKIE ACK; with an ERROR he refuses it.
 * - After SHUTDOWN what is under way still arrives.
 * - NONE takes OTHER: an association that is older than we are, if the caller lets it in.
 */
/* clang-format off */
static const uint8_t table[SCTP_STATE_COUNT][2][KINDS] = {
	/*                              OTHER INIT   I_ACK ECHO  C_ACK BEAT  B_ACK SHUT  S_ACK COMP  ABORT ERROR */
	[SCTP_STATE_NONE] =         { { ES,   CW,    NO,   NO,   NO,   HB,   NO,   NO,   NO,   NO,   NO,   NO   },
	                              { NO,   NO,    NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO,   NO   } },
	[SCTP_STATE_COOKIE_WAIT] =  { { NO,   CW,    CW,   CE,   NO,   NO,   NO,   NO,   SAME, NO,   CL,   SAME },
	                              { NO,   CW,    CW,   CE,   NO,   NO,   NO,   NO,   SAME, NO,   CL,   SAME } },
	[SCTP_STATE_COOKIE_ECHOED] ={ { CE,   SAME,  SAME, CE,   ES,   CE,   CE,   SD,   SA,   CL,   CL,   CE   },
	                              { ES,   SAME,  SAME, CE,   ES,   ES,   ES,   SD,   SA,   CL,   CL,   CL   } },
	[SCTP_STATE_ESTABLISHED] =  { { ES,   SAME,  SAME, ES,   ES,   ES,   ES,   SD,   SA,   SAME, CL,   ES   },
	                              { ES,   SAME,  SAME, ES,   ES,   ES,   ES,   SD,   SA,   SAME, CL,   ES   } },
	[SCTP_STATE_SHUTDOWN] =     { { SD,   SAME,  SAME, SAME, SD,   SD,   SD,   SD,   SA,   CL,   CL,   SD   },
	                              { SD,   SAME,  SAME, SAME, SD,   SD,   SD,   SD,   SA,   CL,   CL,   SD   } },
	[SCTP_STATE_SHUTDOWN_ACK] = { { SAME, SAME,  SAME, SAME, SAME, SAME, SAME, SA,   SA,   CL,   CL,   SA   },
	                              { SAME, SAME,  SAME, SAME, SAME, SAME, SAME, SA,   SA,   CL,   CL,   SA   } },
	[SCTP_STATE_CLOSED] =       { { SAME, AGAIN, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME },
	                              { SAME, AGAIN, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME, SAME } },
	[SCTP_STATE_HEARTBEAT] =    { { HB,   AGAIN, NO,   NO,   NO,   HB,   HB,   SD,   SA,   CL,   CL,   HB   },
	                              { ES,   AGAIN, NO,   NO,   NO,   ES,   ES,   SD,   SA,   CL,   CL,   ES   } },
};
/* clang-format on */

static enum kind
kind_of(uint8_t chunk)
{
	static const uint8_t kinds[] = {
		[SCTP_CHUNK_INIT] = INIT,
		[SCTP_CHUNK_INIT_ACK] = INIT_ACK,
		[SCTP_CHUNK_HEARTBEAT] = BEAT,
		[SCTP_CHUNK_HEARTBEAT_ACK] = BEAT_ACK,
		[SCTP_CHUNK_ABORT] = ABORT,
		[SCTP_CHUNK_SHUTDOWN] = SHUT,
		[SCTP_CHUNK_SHUTDOWN_ACK] = SHUT_ACK,
		[SCTP_CHUNK_ERROR] = ERROR,
		[SCTP_CHUNK_COOKIE_ECHO] = ECHO,
		[SCTP_CHUNK_COOKIE_ACK] = COOKIE_ACK,
		[SCTP_CHUNK_SHUTDOWN_COMPLETE] = COMPLETE,
	};
	return chunk < sizeof(kinds) ? (enum kind)kinds[chunk] : OTHER;
}

int
sctp_state_next(enum sctp_state state, uint8_t chunk, bool reply)
{
	if ((unsigned int)state >= SCTP_STATE_COUNT)
		return -EPROTO;
	unsigned int next = table[state][reply][kind_of(chunk)];
	if (next == NO)
		return -EPROTO;
	return next == AGAIN ? -ESTALE : (int)next;
}

bool
sctp_may_pick_up(const struct sctp_packet *s)
{
	return kind_of(s->chunk) == OTHER && s->tag != 0;
}
