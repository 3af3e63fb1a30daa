/* SPDX-License-Identifier: Apache-2.0 */
/* Traffic of weft-gen through Services: A is the clients, B the backends. */
#include "gen.h"

#include <netinet/in.h>
#include <stdlib.h>

#include <rte_cycles.h>
#include <rte_prefetch.h>

#include "flow.h"

#define WINDOW 512   /* flows that may be in the opening: less than a ring holds, so that none is lost */
#define ANSWERS 4096 /* a power of two */

/* Frames that answer others, until the port takes them. */
struct answers {
	struct rte_mbuf *m[ANSWERS];
	unsigned int first, n;
};

static struct {
	struct flow_plan plan;
	enum gen_scenario scenario;
	bool opening;
	struct flow_side side[2][GEN_MIX_KINDS];
	bool mix;
	struct rte_mempool *pool[2];
	struct answers answers[2];
	uint64_t random[2];
	uint32_t next;
	uint8_t *served_by; /* of a flow: its backend's number */
	uint8_t *open;      /* of a flow, a bit: its first packet was answered */
	uint32_t waiting;   /* flows in the opening */
	struct gen_lives lives;
} svc;

static inline uint8_t *
frame_of(struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod(m, uint8_t *);
}

static inline void
set_length(struct rte_mbuf *m, uint16_t length)
{
	m->data_len = length;
	m->pkt_len = length;
}

static void
fill(struct rte_mempool *pool, void *arg, void *obj, unsigned int i)
{
	struct rte_mbuf *m = obj;
	flow_fill((uint8_t *)m->buf_addr + RTE_PKTMBUF_HEADROOM, GEN_SIZE_MAX);
}

static int
init(const struct gen_options *o, struct rte_mempool *const pool[2])
{
	svc.scenario = o->scenario;
	svc.mix = o->mix;
	svc.opening = o->scenario == GEN_ESTABLISHED;
	svc.plan = (struct flow_plan){.flows = o->flows,
				      .client = rte_be_to_cpu_32(o->ip[0]),
				      .vip = rte_be_to_cpu_32(o->dst_ip),
				      .backend = rte_be_to_cpu_32(o->ip[1]),
				      .vips = o->vips,
				      .backends = o->backends,
				      .vip_port = o->dst_port,
				      .backend_port = o->backend_port,
				      .protocol = o->scenario == GEN_LIVES ? IPPROTO_TCP : IPPROTO_UDP,
				      .client_mac = o->mac[0],
				      .backend_mac = o->mac[1],
				      .gateway_mac = o->gateway[0]};
	for (int i = 0; i < 2; i++) {
		svc.pool[i] = pool[i];
		svc.random[i] = 88172645463325252ull + (uint64_t)i;
		for (unsigned int kind = 0; kind < GEN_MIX_KINDS; kind++) {
			svc.plan.size = gen_mix_size(o, kind);
			flow_side_init(&svc.side[i][kind], &svc.plan, i);
		}
		rte_mempool_obj_iter(pool[i], fill, NULL);
	}
	svc.served_by = calloc(o->flows, 1);
	svc.open = calloc(o->flows / 8 + 1, 1);
	return svc.served_by != NULL && svc.open != NULL ? 0 : -1;
}

static void
fini(void)
{
	for (int i = 0; i < 2; i++)
		while (svc.answers[i].n > 0)
			rte_pktmbuf_free(svc.answers[i].m[(svc.answers[i].first + --svc.answers[i].n) % ANSWERS]);
	free(svc.served_by);
	free(svc.open);
	svc.served_by = svc.open = NULL;
}

static inline const struct flow_side *
side_of(int side, uint32_t flow)
{
	return &svc.side[side][svc.mix ? gen_mix_kind(flow) : 0];
}

static inline void
client_frame(struct rte_mbuf *m, uint32_t flow)
{
	const struct flow_plan *p = &svc.plan;
	const struct flow_side *s = side_of(0, flow);
	flow_frame(s, frame_of(m), flow_client(p, flow), flow_vip(p, flow), flow_port(flow), p->vip_port);
	set_length(m, s->size);
}

static inline bool
is_open(uint32_t flow)
{
	return (svc.open[flow / 8] & 1 << flow % 8) != 0;
}

/* What got lost (a port that was not served yet) is sent once more. */
static void
open_again(void)
{
	static uint64_t before, moved;
	uint64_t now = rte_rdtsc();
	if (svc.lives.opened != before || moved == 0) {
		before = svc.lives.opened;
		moved = now;
	} else if (now - moved > rte_get_tsc_hz() / 4) {
		svc.next = 0;
		svc.waiting = 0;
		moved = now;
	}
}

/* As many at a time as no ring loses. */
static unsigned int
make_opening(struct rte_mbuf **m, unsigned int n)
{
	unsigned int made = 0;
	open_again();
	for (; made < n && svc.waiting < WINDOW && svc.next < svc.plan.flows; svc.next++) {
		if (is_open(svc.next))
			continue;
		if ((m[made] = rte_pktmbuf_alloc(svc.pool[0])) == NULL)
			break;
		client_frame(m[made++], svc.next);
		svc.waiting++;
	}
	svc.lives.begun += made;
	return made;
}

static unsigned int
make_new(struct rte_mbuf **m, unsigned int n)
{
	if (n == 0 || rte_pktmbuf_alloc_bulk(svc.pool[0], m, n) != 0)
		return 0;
	for (unsigned int i = 0; i < n; i++) {
		client_frame(m[i], svc.next);
		if (++svc.next == FLOW_MAX)
			svc.next = 0;
	}
	svc.lives.begun += n;
	return n;
}

static unsigned int
make_random(int side, struct rte_mbuf **m, unsigned int n)
{
	const struct flow_plan *p = &svc.plan;
	uint32_t flow[GEN_BURST];
	if (rte_pktmbuf_alloc_bulk(svc.pool[side], m, n) != 0)
		return 0;
	for (unsigned int i = 0; i < n; i++) {
		flow[i] = flow_random(&svc.random[side], p->flows);
		if (side == 1)
			rte_prefetch0(&svc.served_by[flow[i]]);
	}
	for (unsigned int i = 0; i < n; i++) {
		if (side == 0) {
			client_frame(m[i], flow[i]);
			continue;
		}
		const struct flow_side *s = side_of(1, flow[i]);
		flow_frame(s, frame_of(m[i]), p->backend + svc.served_by[flow[i]], flow_client(p, flow[i]),
			   p->backend_port, flow_port(flow[i]));
		set_length(m[i], s->size);
	}
	return n;
}

static unsigned int
make_answers(int side, struct rte_mbuf **m, unsigned int n)
{
	struct answers *a = &svc.answers[side];
	n = RTE_MIN(n, a->n);
	for (unsigned int i = 0; i < n; i++)
		m[i] = a->m[(a->first + i) % ANSWERS];
	a->first += n;
	a->n -= n;
	return n;
}

static unsigned int
make(int side, struct rte_mbuf **m, unsigned int n)
{
	if (svc.scenario == GEN_ESTABLISHED && !svc.opening)
		return make_random(side, m, n);
	/* What goes on comes before what begins. */
	unsigned int k = make_answers(side, m, n);
	if (side == 1 || k == n)
		return k;
	return k + (svc.opening ? make_opening(m + k, n - k) : make_new(m + k, n - k));
}

static void
answer_later(int side, struct rte_mbuf *m)
{
	struct answers *a = &svc.answers[side];
	if (a->n == ANSWERS) {
		rte_pktmbuf_free(m);
		return;
	}
	a->m[(a->first + a->n++) % ANSWERS] = m;
}

/* A first packet reached the backend, or its answer the client. */
static void
opened(int side, struct rte_mbuf *m)
{
	uint8_t *frame = frame_of(m);
	uint32_t flow = flow_of(&svc.plan, frame, side == 1);
	if (flow >= svc.plan.flows || !flow_is_translated(&svc.plan, frame, side)) {
		rte_pktmbuf_free(m);
		return;
	}
	if (side == 1) {
		svc.served_by[flow] = (uint8_t)(flow_destination(frame) - svc.plan.backend);
		flow_turn(frame);
		answer_later(side, m);
		return;
	}
	svc.waiting -= svc.waiting > 0;
	svc.lives.opened += !is_open(flow);
	svc.open[flow / 8] |= (uint8_t)(1 << flow % 8);
	rte_pktmbuf_free(m);
}

static void
live(int side, struct rte_mbuf *m)
{
	uint16_t length = m->data_len;
	bool data, over;
	bool answered = flow_tcp_answer(frame_of(m), &length, &data, &over);
	svc.lives.over += over;
	if (!answered) {
		rte_pktmbuf_free(m);
		return;
	}
	set_length(m, length);
	struct rte_mbuf *request = data ? rte_pktmbuf_alloc(svc.pool[side]) : NULL;
	answer_later(side, m);
	if (request == NULL)
		return;
	flow_tcp_request(frame_of(request), frame_of(m), &length);
	set_length(request, length);
	answer_later(side, request);
}

static void
take(int side, struct rte_mbuf **m, unsigned int n, struct gen_count *count)
{
	bool keep = svc.opening || svc.scenario == GEN_LIVES;
	unsigned int ours = 0;
	/* One of each burst is looked at closely, before it is turned into an answer. */
	if (flow_is_ours(&svc.plan, frame_of(m[0]), m[0]->data_len)) {
		count->bad += !flow_frame_is_right(frame_of(m[0]), m[0]->data_len);
		count->wrong += !flow_is_translated(&svc.plan, frame_of(m[0]), side);
		count->hops = flow_hops(frame_of(m[0]));
	}
	for (unsigned int i = 0; i < n; i++) {
		bool is_ours = flow_is_ours(&svc.plan, frame_of(m[i]), m[i]->data_len);
		ours += is_ours;
		if (!keep)
			continue;
		if (!is_ours)
			rte_pktmbuf_free(m[i]);
		else if (svc.opening)
			opened(side, m[i]);
		else
			live(side, m[i]);
	}
	count->rx += ours;
	count->other += n - ours;
	if (!keep)
		rte_pktmbuf_free_bulk(m, n);
}

static bool
ready(void)
{
	svc.opening = svc.opening && svc.lives.opened < svc.plan.flows;
	return !svc.opening;
}

static void
lives(struct gen_lives *out)
{
	*out = svc.lives;
}

const struct gen_traffic gen_services = {
	.init = init, .fini = fini, .make = make, .take = take, .ready = ready, .lives = lives};
