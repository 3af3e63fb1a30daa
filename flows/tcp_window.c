/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/tcp_state.h>
#include <weft/tcp_window.h>

/* Acknowledgements may be that old however small the window is: about a packet of the largest size. */
#define ACK_AGE_MIN 66000u
/* Data that a SYN may carry (RFC 7413), in one segment. */
#define SYN_DATA_MAX 1460u
#define FAR (1u << 30)

static inline bool
is_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline uint32_t
load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void
store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

/* What may not have been written down yet, see tcp_window.h. */
static inline uint32_t
slack(uint32_t window)
{
	return window / 8;
}

static inline uint32_t
end_of(const struct tcp_segment *s)
{
	return s->seq + s->payload + !!(s->flags & TCP_BIT_SYN) + !!(s->flags & TCP_BIT_FIN);
}

/* The window of a SYN is never scaled. */
static inline uint32_t
window_of(const uint8_t scale[2], unsigned int dir, const struct tcp_segment *s)
{
	uint8_t mine = __atomic_load_n(&scale[dir], __ATOMIC_RELAXED), other = __atomic_load_n(&scale[!dir], __ATOMIC_RELAXED);
	bool scaled = mine != TCP_SCALE_NONE && other != TCP_SCALE_NONE && !(s->flags & TCP_BIT_SYN);
	uint32_t window = (uint32_t)s->window << (scaled ? mine : 0);
	return window > 0 ? window : 1;
}

void
tcp_window_open(struct tcp_side side[2], uint8_t scale[2], const struct tcp_segment *s)
{
	bool syn = s->flags & TCP_BIT_SYN;
	scale[0] = syn ? s->scale : TCP_SCALE_MAX;
	scale[1] = syn ? TCP_SCALE_NONE : TCP_SCALE_MAX;
	side[0] = (struct tcp_side){.end = end_of(s), .ack = syn ? 0 : s->ack, .max_win = window_of(scale, 0, s)};
	side[1] = (struct tcp_side){.end = syn ? 0 : s->ack, .ack = s->seq};
}

/* An answer has a scale only when the SYN had one (RFC 7323 2.2): the largest, as for a connection picked up. */
void
tcp_window_reopen(struct tcp_side side[2], uint8_t scale[2], const struct tcp_segment *answer)
{
	bool scaled = answer->scale != TCP_SCALE_NONE;
	__atomic_store_n(&scale[0], scaled ? TCP_SCALE_MAX : TCP_SCALE_NONE, __ATOMIC_RELAXED);
	__atomic_store_n(&scale[1], answer->scale, __ATOMIC_RELAXED);
	store(&side[0].end, answer->ack);
	store(&side[0].ack, answer->seq);
	store(&side[0].max_win, UINT16_MAX);
	store(&side[1].end, end_of(answer));
	store(&side[1].ack, answer->ack);
	store(&side[1].max_win, window_of(scale, 1, answer));
}

/* While one side is silent. */
static bool
takes_early(const struct tcp_side *from, const struct tcp_side *to, const struct tcp_segment *s)
{
	if (load(&to->max_win) == 0) /* the opener goes on */
		return !(s->flags & TCP_BIT_RST) || load(&from->end) - s->seq <= ACK_AGE_MIN;
	/* The answer to a SYN acknowledges it; to a connection picked up, anything that was sent. */
	uint32_t age = load(&from->end) == 0 ? SYN_DATA_MAX : FAR;
	if (s->flags & TCP_BIT_ACK)
		return load(&to->end) - s->ack <= age;
	return !(s->flags & TCP_BIT_RST);
}

bool
tcp_window_takes(const struct tcp_side side[2], unsigned int dir, const struct tcp_segment *s)
{
	const struct tcp_side *from = &side[dir], *to = &side[!dir];
	uint32_t from_win = load(&from->max_win), to_win = load(&to->max_win);
	if (from_win == 0 || to_win == 0)
		return takes_early(from, to, s);
	uint32_t to_ack = load(&to->ack);
	if (is_before(to_ack + to_win + slack(to_win), s->seq))
		return false;
	if (s->flags & TCP_BIT_RST)
		return !is_before(s->seq, to_ack - 1); /* some send it with the number of the FIN before */
	if (is_before(end_of(s), load(&from->end) - to_win - 1))
		return false;
	if (!(s->flags & TCP_BIT_ACK))
		return true;
	uint32_t to_end = load(&to->end), age = from_win > ACK_AGE_MIN ? from_win : ACK_AGE_MIN;
	return !is_before(to_end + slack(from_win), s->ack) && !is_before(s->ack, to_end - age);
}

/* A side's first segment, or its SYN once more. */
static void
begin(struct tcp_side side[2], uint8_t scale[2], unsigned int dir, const struct tcp_segment *s)
{
	struct tcp_side *from = &side[dir], *to = &side[!dir];
	if (s->flags & TCP_BIT_SYN)
		__atomic_store_n(&scale[dir], s->scale, __ATOMIC_RELAXED);
	if (load(&from->max_win) == 0 && (s->flags & TCP_BIT_SYN))
		store(&to->ack, s->seq);
	store(&from->end, end_of(s));
	store(&from->ack, s->flags & TCP_BIT_ACK ? s->ack : load(&to->end));
	store(&from->max_win, window_of(scale, dir, s));
}

void
tcp_window_learn(struct tcp_side side[2], uint8_t scale[2], unsigned int dir, const struct tcp_segment *s)
{
	struct tcp_side *from = &side[dir];
	uint32_t from_win = load(&from->max_win), to_win = load(&side[!dir].max_win);
	if (s->flags & TCP_BIT_RST)
		return;
	if (from_win == 0 || (s->flags & (TCP_BIT_SYN | TCP_BIT_ACK)) == TCP_BIT_SYN) {
		begin(side, scale, dir, s);
		return;
	}
	uint32_t end = end_of(s), had = load(&from->end), window = window_of(scale, dir, s);
	if (is_before(had, end) && end - had > slack(to_win))
		store(&from->end, end);
	had = load(&from->ack);
	if ((s->flags & TCP_BIT_ACK) && is_before(had, s->ack) && s->ack - had > slack(from_win))
		store(&from->ack, s->ack);
	if (window > from_win)
		store(&from->max_win, window);
}

bool
tcp_window_sent(const struct tcp_side side[2], unsigned int dir, uint32_t seq)
{
	const struct tcp_side *from = &side[dir];
	uint32_t window = load(&side[!dir].max_win), behind = window > ACK_AGE_MIN ? window : ACK_AGE_MIN;
	if (load(&from->max_win) == 0)
		return true;
	return seq - (load(&from->end) - behind) <= behind + slack(window);
}
