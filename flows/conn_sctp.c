/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one SCTP packet tells about its connection. Each end names the tag that it wants to see in its INIT or INIT ACK
 * ("offered"); once a cookie is echoed, the two that were offered are the association's, and every packet must carry
 * the one of its direction. A later INIT offers others, which nobody has to believe before the next cookie.
 */
#include <weft/sctp_state.h>

#include "conn_internal.h"

static uint32_t
load(const uint32_t *tag)
{
	return __atomic_load_n(tag, __ATOMIC_RELAXED);
}

static void
store(uint32_t *tag, uint32_t value)
{
	__atomic_store_n(tag, value, __ATOMIC_RELAXED);
}

/* A tag of 0 and no INIT: there was no chunk. Whatever comes next begins. */
void
sctp_open(struct conn_cold *cold, const struct sctp_packet *s)
{
	if (s->tag == 0 && s->chunk != SCTP_CHUNK_INIT) {
		cold->state = SCTP_STATE_CLOSED;
		return;
	}
	int state = sctp_state_next(SCTP_STATE_NONE, s->chunk, false);
	cold->state = (uint8_t)(state > 0 ? state : SCTP_STATE_ESTABLISHED);
	if (s->chunk == SCTP_CHUNK_INIT)
		cold->sctp.offered[1] = s->init_tag;
	else
		cold->sctp.tag[0] = s->tag;
}

enum tag_is { TAG_WRONG, TAG_OFFERED, TAG_RIGHT };

static enum tag_is
judge_tag(const struct conn_cold *cold, unsigned int dir, uint32_t tag)
{
	if (tag == 0)
		return TAG_WRONG;
	if (load(&cold->sctp.tag[dir]) == tag)
		return TAG_RIGHT;
	return load(&cold->sctp.offered[dir]) == tag ? TAG_OFFERED : TAG_WRONG;
}

static bool
is_known(const struct conn_cold *cold)
{
	return load(&cold->sctp.tag[0]) != 0 || load(&cold->sctp.tag[1]) != 0;
}

/* Of a path that a HEARTBEAT has opened, or an association that is older than we are, tags are learned as they come. */
static enum tag_is
learn_tag(struct conn_cold *cold, unsigned int dir, const struct sctp_packet *s, unsigned int state)
{
	bool first = load(&cold->sctp.tag[dir]) == 0 && is_known(cold);
	bool beats = state == SCTP_STATE_HEARTBEAT && dir == 0 && s->chunk == SCTP_CHUNK_HEARTBEAT;
	if (s->tag == 0 || s->reflected || !(first || beats))
		return TAG_WRONG;
	store(&cold->sctp.tag[dir], s->tag);
	return TAG_RIGHT;
}

static enum tag_is
check_tag(struct conn_cold *cold, unsigned int dir, const struct sctp_packet *s, unsigned int state)
{
	if (s->chunk == SCTP_CHUNK_INIT)
		return s->tag == 0 ? TAG_OFFERED : TAG_WRONG;
	enum tag_is is = judge_tag(cold, s->reflected ? !dir : dir, s->tag);
	return is != TAG_WRONG ? is : learn_tag(cold, dir, s, state);
}

/* Both ends have begun, or begun again. */
static void
commit(struct conn_cold *cold)
{
	for (unsigned int dir = 0; dir < 2; dir++)
		store(&cold->sctp.tag[dir], load(&cold->sctp.offered[dir]));
}

/* The next state, SCTP_STATE_SAME, or -errno. */
static int
follow(struct conn_cold *cold, unsigned int dir, const struct sctp_packet *s, uint8_t state)
{
	int next = sctp_state_next((enum sctp_state)state, s->chunk, dir);
	if (next < 0)
		return next;
	enum tag_is tag = check_tag(cold, dir, s, state);
	if (tag == TAG_WRONG)
		return -EPROTO;
	if (s->chunk == SCTP_CHUNK_INIT || s->chunk == SCTP_CHUNK_INIT_ACK)
		store(&cold->sctp.offered[!dir], s->init_tag);
	if (s->chunk == SCTP_CHUNK_COOKIE_ECHO && tag == TAG_OFFERED && load(&cold->sctp.offered[!dir]) != 0) {
		commit(cold);
		return SCTP_STATE_COOKIE_ECHOED;
	}
	/* What only offered tags vouch for closes nothing that is established. */
	return tag == TAG_OFFERED && is_known(cold) ? SCTP_STATE_SAME : next;
}

int
conn_sctp(struct conn_table *t, uint32_t ref, const struct sctp_packet *s, uint32_t now_ms)
{
	struct conn_half *h = &t->view.half[ref];
	struct conn_cold *cold = &t->view.cold[ref >> 1];
	uint32_t seen = __atomic_load_n(&h->seen, __ATOMIC_ACQUIRE);
	if (seen & SEEN_CLOSED)
		return -ESTALE;
	if (s == NULL)
		return 0;
	uint8_t state = __atomic_load_n(&cold->state, __ATOMIC_RELAXED);
	int next;
	do {
		next = follow(cold, ref & 1, s, state);
		if (next < 0)
			return next;
		if (next == SCTP_STATE_SAME)
			return 0;
	} while (next != state && !__atomic_compare_exchange_n(&cold->state, &state, (uint8_t)next, false, __ATOMIC_RELAXED,
							       __ATOMIC_RELAXED));
	if (ref & 1)
		conn_mark_answered(t, ref >> 1);
	half_refresh(h, seen, now_ms / 1000);
	return 0;
}

bool
conn_sctp_sent(const struct conn_cold *cold, unsigned int dir, uint32_t tag)
{
	/* An INIT has none, and one that nothing answers is all that has been sent. */
	if (tag == 0)
		return __atomic_load_n(&cold->state, __ATOMIC_RELAXED) == SCTP_STATE_COOKIE_WAIT;
	return judge_tag(cold, dir, tag) != TAG_WRONG;
}
