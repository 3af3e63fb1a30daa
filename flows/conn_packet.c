/* SPDX-License-Identifier: Apache-2.0 */
/* What one packet tells about its connection. */
#include "conn_internal.h"

#define OPENING_OR_CLOSING (TCP_BIT_SYN | TCP_BIT_FIN | TCP_BIT_RST)

/* A segment of this kind can change nothing of a connection that is established. */
static inline bool
is_ordinary(uint8_t tcp_flags)
{
	return (tcp_flags & (OPENING_OR_CLOSING | TCP_BIT_ACK)) == TCP_BIT_ACK;
}

static inline bool
is_established(const struct conn_cold *cold)
{
	return __atomic_load_n(&cold->state, __ATOMIC_RELAXED) == TCP_STATE_ESTABLISHED &&
	       (__atomic_load_n(&cold->flags, __ATOMIC_RELAXED) & CONN_ANSWERED);
}

void
conn_mark_answered(struct conn_table *t, uint32_t id)
{
	struct conn_cold *cold = &t->view.cold[id];
	if (__atomic_load_n(&cold->flags, __ATOMIC_RELAXED) & CONN_ANSWERED)
		return;
	uint8_t before = __atomic_fetch_or(&cold->flags, CONN_ANSWERED, __ATOMIC_RELAXED);
	if (!(before & CONN_ANSWERED) && half_is_tcp(&t->view.half[2 * id]))
		__atomic_fetch_sub(&open_shard(t, id)->n, 1, __ATOMIC_RELAXED);
}

static uint8_t
awaited_by(uint32_t number)
{
	uint32_t hash = number * 0x9e3779b1u >> 25;
	return (uint8_t)((hash + (hash == 0)) << 1);
}

static bool
is_awaited(const struct conn_cold *cold, uint32_t number)
{
	return (__atomic_load_n(&cold->flags, __ATOMIC_RELAXED) & CONN_AWAITED) == awaited_by(number);
}

/* 0: nothing any more. */
static void
await(struct conn_cold *cold, uint8_t awaited)
{
	uint8_t flags = __atomic_load_n(&cold->flags, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&cold->flags, &flags, (uint8_t)((flags & ~CONN_AWAITED) | awaited), true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* For its receiver to judge, or not. A reset has the number of what it answers in its ACK, or without one as its own
 * (RFC 9293 3.5.2). */
static int
outside(const struct conn_table *t, const struct conn_cold *cold, const struct tcp_segment *s)
{
	if (s->flags & TCP_BIT_RST)
		return is_awaited(cold, s->flags & TCP_BIT_ACK ? s->ack : s->seq) ? TCP_STATE_SAME : -ERANGE;
	return t->strict_windows ? -ERANGE : TCP_STATE_SAME;
}

/* A segment that by the state alone teaches nothing: returns the state, or TCP_STATE_SAME. */
static int
follow_silent(struct conn_table *t, uint32_t ref, const struct tcp_segment *s)
{
	struct conn_cold *cold = &t->view.cold[ref >> 1];
	if (!(s->flags & TCP_BIT_SYN)) {
		await(cold, awaited_by(s->ack));
	} else if (!(s->flags & TCP_BIT_ACK)) {
		await(cold, awaited_by(s->seq + 1));
	} else if (is_awaited(cold, s->ack) && !tcp_window_takes(cold->tcp, ref & 1, s)) {
		/* Not the old handshake's once more: both ends have begun again. */
		await(cold, 0);
		tcp_window_reopen(cold->tcp, cold->scale, s);
		__atomic_store_n(&cold->state, TCP_STATE_SYN_RECV, __ATOMIC_RELAXED);
		conn_mark_answered(t, ref >> 1);
		return TCP_STATE_SYN_RECV;
	}
	return TCP_STATE_SAME;
}

/* A segment that may change the state: the state, TCP_STATE_SAME when it teaches nothing, or -errno. */
static int
follow(struct conn_table *t, uint32_t ref, const struct tcp_segment *s)
{
	uint32_t id = ref >> 1;
	unsigned int dir = ref & 1;
	struct conn_cold *cold = &t->view.cold[id];
	uint8_t state = __atomic_load_n(&cold->state, __ATOMIC_RELAXED);
	bool learned = false;
	int next;
	do {
		next = tcp_state_next((enum tcp_state)state, s->flags, dir);
		if (next < 0)
			return next;
		if (next == TCP_STATE_SAME)
			return follow_silent(t, ref, s);
		if (!learned && (s->flags & (TCP_BIT_SYN | TCP_BIT_ACK)) != TCP_BIT_SYN &&
		    !tcp_window_takes(cold->tcp, dir, s))
			return outside(t, cold, s);
		if (!learned)
			tcp_window_learn(cold->tcp, cold->scale, dir, s);
		learned = true;
	} while (next != state && !__atomic_compare_exchange_n(&cold->state, &state, (uint8_t)next, false,
							       __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	if (dir == 1)
		conn_mark_answered(t, id);
	return next;
}

/* The same for any segment; most are ordinary ones of an established connection. */
static inline int
segment(struct conn_table *t, uint32_t ref, const struct tcp_segment *s)
{
	struct conn_cold *cold = &t->view.cold[ref >> 1];
	if (!is_ordinary(s->flags) || !is_established(cold))
		return follow(t, ref, s);
	if (!tcp_window_takes(cold->tcp, ref & 1, s))
		return outside(t, cold, s);
	tcp_window_learn(cold->tcp, cold->scale, ref & 1, s);
	return TCP_STATE_ESTABLISHED;
}

/* The first answer, or any packet of DNS, whose halves never settle. */
static void
datagram(struct conn_table *t, uint32_t ref)
{
	if (ref & 1)
		conn_mark_answered(t, ref >> 1);
	if (tuple_is_dns(&t->view.half[ref & ~1u].key))
		__atomic_fetch_add(&t->view.cold[ref >> 1].datagrams[ref & 1], 1, __ATOMIC_RELAXED);
	else
		__atomic_fetch_or(&t->view.half[ref].seen, SEEN_SETTLED, __ATOMIC_RELAXED);
}

int
conn_packet(struct conn_table *t, uint32_t ref, const struct tcp_segment *s, uint32_t now_ms)
{
	struct conn_half *h = &t->view.half[ref];
	uint32_t seen = __atomic_load_n(&h->seen, __ATOMIC_ACQUIRE);
	if (seen & SEEN_CLOSED)
		return -ESTALE;
	if (half_is_tcp(h)) {
		int next = s != NULL ? segment(t, ref, s) : TCP_STATE_SAME;
		if (next < 0)
			return next;
		if (next == TCP_STATE_SAME)
			return 0;
	} else if (!(seen & SEEN_SETTLED)) {
		datagram(t, ref);
	}
	half_refresh(h, seen, now_ms / 1000);
	return 0;
}
