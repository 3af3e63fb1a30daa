/* SPDX-License-Identifier: Apache-2.0 */
/* The fast path: one lookup a packet, and the decision that the connection carries is executed while it stands. */
#include <weft/base.h>

#include <rte_ip.h>

#include <weft/pipeline.h>

#include "decide_stage.h"
#include "fragment.h"
#include "segment.h"

/* A packet that its way out cannot take is broken up if it may be; if not, whoever may shorten it is told (RFC 1191, 8201). */
bool
packet_fits(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	const struct hop *hop = hop_get(p->hop);
	/* Whoever cannot be reached now has no MTU: forward drops it. */
	if (likely(p->ip_end - p->l3 <= hop->mtu) || hop->kind == HOP_NONE || fragment_split(w, b, i, hop->mtu))
		return true;
	p->answer = ANSWER_TOO_BIG;
	p->answer_mtu = hop->mtu;
	p->drop = DROP_MTU;
	burst_move(b, i, STAGE_RESPOND);
	return false;
}

static int
follow_sctp(struct worker *w, struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	struct sctp_packet s;
	if (p->flags & PACKET_LATER || sctp_is_empty(p))
		return conn_sctp(w->conns, p->ref, NULL, w->now_ms);
	return sctp_read(b, i, &s) ? conn_sctp(w->conns, p->ref, &s, w->now_ms) : -EPROTO;
}

bool
packet_follow(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	struct tcp_segment s;
	bool tcp = segment_read(b, i, &s);
	int rc = unlikely(p->proto == IPPROTO_SCTP) ? follow_sctp(w, b, i)
						    : conn_packet(w->conns, p->ref, tcp ? &s : NULL, w->now_ms);
	if (unlikely(rc == -ESTALE)) {
		/* A new conversation on the tuple of one that is over. */
		conn_remove(w->conns, w->id, p->ref);
		p->ref = 0;
		return false;
	}
	if (unlikely(rc < 0))
		packet_drop(w, b, i, rc == -ERANGE ? DROP_INVALID_WINDOW : DROP_INVALID_STATE);
	else if (likely(packet_fits(w, b, i))) /* whole until here: of what is dropped no part must go */
		burst_move(b, i, STAGE_REWRITE);
	return true;
}

/* Its decision stands, its connection has nothing to note, and the way out takes it: all but a few packets. */
static inline bool
may_pass(const struct conn_half *half, struct packet *p, uint32_t now_s)
{
	return conn_half_stands(half, p->source, &p->hop) && conn_packet_is_quiet(half, now_s) &&
	       p->ip_end - p->l3 <= hop_get(p->hop)->mtu;
}

void
track_run(struct worker *w, struct burst *b, packet_set set)
{
	const struct conn_half *half = conn_view(w->conns)->half;
	const uint32_t now_s = w->now_ms / 1000;
	const struct tuple *key[WEFT_BURST];
	uint32_t hash[WEFT_BURST], ref[WEFT_BURST];
	packet_set passing = 0;
	unsigned int n = 0;
	key[0] = NULL; /* the set is never empty, which the compiler cannot know */
	BURST_FOREACH (i, set)
		key[n++] = &b->p[i].key;
	conn_find_burst(w->conns, key, n, hash, ref);

	n = 0;
	BURST_FOREACH (i, set) {
		struct packet *p = &b->p[i];
		p->hash = hash[n];
		p->ref = ref[n++];
		if (unlikely(p->ref == 0 || p->flags & PACKET_TTL_OUT))
			burst_move(b, i, STAGE_DECIDE);
		else if (likely(may_pass(&half[p->ref], p, now_s)))
			passing |= packet_bit(i);
		else if (!conn_half_stands(&half[p->ref], p->source, &p->hop) || !packet_follow(w, b, i))
			burst_move(b, i, STAGE_DECIDE);
	}
	b->at[STAGE_REWRITE] |= passing;
}
