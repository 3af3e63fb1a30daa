/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two pods inside the process: the test port's rx and tx are replaced by a source that makes frames out of a flow's
 * number and a sink that frees them. They run on the workers, so what they cost is measured and can be taken off.
 */
#include <stdlib.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_prefetch.h>
#include <rte_ring.h>

#include "state_bench.h"

#define WINDOW 1024 /* packets that may be under way when each is waited for */
#define ANSWERS 8192
#define SAMPLE_MASK 1023 /* of so many frames one is looked at closely */

struct pod {
	struct port *port;
	struct port_ops ops;
	struct flow_side side;
	uint16_t queue; /* the one that frames come from */
	struct rte_ring *answers;
	uint64_t random;
	uint32_t next;
	uint64_t paced_from, paced; /* TSC; packets that have arrived since */
	uint64_t polled, longest;   /* TSC: when it was last asked for packets; between two such moments */
	struct pod_count count[PORT_MAX_QUEUES]
			      [2] __rte_cache_aligned; /* by queue, of rx and of tx: each has one writer */
};

static struct {
	struct flow_plan plan;
	struct rte_mempool *pool;
	struct pod pod[2];
	uint8_t *served_by; /* of a flow: its backend's number */
	enum pods_mode mode;
	uint64_t interval; /* TSC cycles between two packets; 0: no pace */
	uint64_t opened __rte_cache_aligned;
	uint64_t last, resumed; /* TSC, of what the backend gets */
} pods;

static inline enum pods_mode
mode_now(void)
{
	return __atomic_load_n(&pods.mode, __ATOMIC_RELAXED);
}

static inline struct pod *
pod_of(const struct port *p)
{
	return &pods.pod[p == pods.pod[1].port];
}

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

static inline void
client_frame(struct pod *pod, struct rte_mbuf *m, uint32_t flow)
{
	const struct flow_plan *plan = &pods.plan;
	flow_frame(&pod->side, frame_of(m), flow_client(plan, flow), flow_vip(plan, flow), flow_port(flow),
		   plan->vip_port);
	set_length(m, pod->side.size);
}

static uint16_t
send_new(struct pod *pod, struct rte_mbuf **m, uint16_t n)
{
	if (n == 0 || rte_pktmbuf_alloc_bulk(pods.pool, m, n) != 0)
		return 0;
	for (uint16_t i = 0; i < n; i++) {
		client_frame(pod, m[i], pod->next);
		if (++pod->next == FLOW_MAX)
			pod->next = 0;
	}
	return n;
}

static uint16_t
send_answers(struct pod *pod, struct rte_mbuf **m, uint16_t n)
{
	return (uint16_t)rte_ring_dequeue_burst(pod->answers, (void **)m, n, NULL);
}

/* How many of n packets are there: those that found no room are lost. */
static uint16_t
arrived(struct pod *pod, uint64_t interval, uint16_t n)
{
	uint64_t now = rte_rdtsc(), due = (now - pod->paced_from) / interval;
	if (now - pod->polled > __atomic_load_n(&pod->longest, __ATOMIC_RELAXED))
		__atomic_store_n(&pod->longest, now - pod->polled, __ATOMIC_RELAXED);
	pod->polled = now;
	if (due - pod->paced > WINDOW) {
		pod->count[pod->queue][0].lost += due - pod->paced - WINDOW;
		pod->paced = due - WINDOW;
	}
	n = (uint16_t)RTE_MIN((uint64_t)n, due - pod->paced);
	pod->paced += n;
	return n;
}

static uint16_t
send_random(struct pod *pod, struct rte_mbuf **m, uint16_t n)
{
	const struct flow_plan *plan = &pods.plan;
	uint32_t flow[WEFT_BURST];
	uint64_t interval = __atomic_load_n(&pods.interval, __ATOMIC_ACQUIRE);
	n = RTE_MIN(n, WEFT_BURST);
	if (interval != 0 && (n = arrived(pod, interval, n)) == 0)
		return 0;
	if (rte_pktmbuf_alloc_bulk(pods.pool, m, n) != 0)
		return 0;
	bool client = pod == &pods.pod[0];
	for (uint16_t i = 0; i < n; i++) {
		flow[i] = flow_random(&pod->random, plan->flows);
		if (!client)
			rte_prefetch0(&pods.served_by[flow[i]]);
	}
	for (uint16_t i = 0; i < n; i++) {
		if (client) {
			client_frame(pod, m[i], flow[i]);
			continue;
		}
		flow_frame(&pod->side, frame_of(m[i]), plan->backend + pods.served_by[flow[i]],
			   flow_client(plan, flow[i]), plan->backend_port, flow_port(flow[i]));
		set_length(m[i], pod->side.size);
	}
	return n;
}

/* How many frames the client may send so that no more than WINDOW are under way. */
static uint16_t
room(const struct pod *pod, uint16_t n, uint64_t most, uint64_t done)
{
	uint64_t under_way = pod->next - done, left = most - pod->next;
	uint64_t may = under_way < WINDOW ? WINDOW - under_way : 0;
	return (uint16_t)RTE_MIN((uint64_t)n, RTE_MIN(may, left));
}

static uint16_t
pod_send(struct pod *pod, struct rte_mbuf **m, uint16_t n)
{
	bool client = pod == &pods.pod[0];
	switch (mode_now()) {
	case PODS_SILENT:
		return send_answers(pod, m, n);
	case PODS_OPEN:
		if (!client)
			return send_answers(pod, m, n);
		return send_new(pod, m, room(pod, n, pods.plan.flows, __atomic_load_n(&pods.opened, __ATOMIC_RELAXED)));
	case PODS_ESTABLISHED:
		return send_random(pod, m, n);
	case PODS_NEW:
		return client ? send_new(pod, m, n) : 0;
	case PODS_LIVES: {
		/* What goes on comes before what begins. */
		uint16_t k = send_answers(pod, m, n);
		return client && k < n ? (uint16_t)(k + send_new(pod, m + k, (uint16_t)(n - k))) : k;
	}
	}
	return 0;
}

static void
answer_later(struct pod *pod, struct rte_mbuf *m)
{
	if (rte_ring_enqueue(pod->answers, m) != 0)
		rte_pktmbuf_free(m);
}

/* A frame of a flow that is being opened reached the backend, or its answer the client. */
static void
opened(struct pod *pod, struct rte_mbuf *m)
{
	uint8_t *frame = frame_of(m);
	bool client = pod == &pods.pod[0];
	uint32_t flow = flow_of(&pods.plan, frame, !client);
	if (flow >= pods.plan.flows) {
		rte_pktmbuf_free(m);
		return;
	}
	if (client) {
		__atomic_fetch_add(&pods.opened, 1, __ATOMIC_RELAXED);
		rte_pktmbuf_free(m);
		return;
	}
	pods.served_by[flow] = (uint8_t)(flow_destination(frame) - pods.plan.backend);
	flow_turn(frame);
	answer_later(pod, m);
}

static void
live(struct pod *pod, struct pod_count *count, struct rte_mbuf *m)
{
	uint16_t length = m->data_len;
	bool data, over;
	bool answered = flow_tcp_answer(frame_of(m), &length, &data, &over);
	count->lives += over;
	if (!answered) {
		rte_pktmbuf_free(m);
		return;
	}
	set_length(m, length);
	struct rte_mbuf *request = data ? rte_pktmbuf_alloc(pods.pool) : NULL;
	if (request != NULL) {
		flow_tcp_request(frame_of(request), frame_of(m), &length);
		set_length(request, length);
	}
	answer_later(pod, m);
	if (request != NULL)
		answer_later(pod, request);
}

static void
pod_take(struct pod *pod, struct pod_count *count, struct rte_mbuf **m, uint16_t n)
{
	enum pods_mode mode = mode_now();
	uint64_t before = count->taken;
	count->taken += n;
	if (((before ^ count->taken) & ~(uint64_t)SAMPLE_MASK) != 0 &&
	    flow_is_ours(&pods.plan, frame_of(m[0]), m[0]->data_len))
		count->bad += !flow_frame_is_right(frame_of(m[0]), m[0]->data_len);
	if (mode != PODS_OPEN && mode != PODS_LIVES) {
		rte_pktmbuf_free_bulk(m, n);
		return;
	}
	for (uint16_t i = 0; i < n; i++) {
		if (!flow_is_ours(&pods.plan, frame_of(m[i]), m[i]->data_len)) {
			count->other++;
			rte_pktmbuf_free(m[i]);
		} else if (mode == PODS_OPEN) {
			opened(pod, m[i]);
		} else {
			live(pod, count, m[i]);
		}
	}
}

static uint16_t
pod_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct pod *pod = pod_of(p);
	if (queue != pod->queue)
		return 0;
	uint64_t start = rte_rdtsc();
	n = pod_send(pod, m, n);
	if (n == 0)
		return 0;
	struct pod_count *count = &pod->count[queue][0];
	count->sent += n;
	count->cycles += rte_rdtsc() - start;
	return n;
}

static uint16_t
pod_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	uint64_t start = rte_rdtsc();
	struct pod *pod = pod_of(p);
	struct pod_count *count = &pod->count[queue][1];
	if (pod == &pods.pod[1]) {
		if (start - pods.last > rte_get_tsc_hz() / 50)
			__atomic_store_n(&pods.resumed, start, __ATOMIC_RELAXED);
		__atomic_store_n(&pods.last, start, __ATOMIC_RELAXED);
	}
	pod_take(pod, count, m, n);
	count->cycles += rte_rdtsc() - start;
	return n;
}

static void
fill(struct rte_mempool *pool, void *arg, void *obj, unsigned int i)
{
	struct rte_mbuf *m = obj;
	flow_fill((uint8_t *)m->buf_addr + RTE_PKTMBUF_HEADROOM, RTE_ETHER_MAX_LEN - RTE_ETHER_CRC_LEN);
}

/* The queue of a port that a worker polls. */
static uint16_t
queue_of(const struct port *port, unsigned int worker)
{
	const struct poll_list *list = __atomic_load_n(&worker_get(worker)->poll, __ATOMIC_ACQUIRE);
	for (unsigned int i = 0; i < list->n; i++)
		if (list->q[i].port == port)
			return list->q[i].queue;
	die("worker %u polls no queue of port %s", worker, port->name);
}

void
pods_start(const struct flow_plan *plan, struct rte_mempool *pool, const unsigned int from[2])
{
	static const char *const name[2] = {"client", "backend"};
	pods.plan = *plan;
	pods.pool = pool;
	pods.mode = PODS_SILENT;
	pods.served_by = calloc(plan->flows, 1);
	if (pods.served_by == NULL)
		die("no memory for %u flows", plan->flows);
	memset(pods.served_by, 1, plan->flows); /* pages are there before they are measured */
	rte_mempool_obj_iter(pool, fill, NULL);
	for (int i = 0; i < 2; i++) {
		struct pod *pod = &pods.pod[i];
		pod->port = port_by_name(name[i]);
		pod->queue = queue_of(pod->port, from[i]);
		pod->random = 88172645463325252ull + (uint64_t)i;
		pod->answers = rte_ring_create(name[i], ANSWERS, (int)SOCKET_ID_ANY, 0);
		if (pod->answers == NULL)
			die("no memory for a ring");
		flow_side_init(&pod->side, plan, i);
		pod->ops = *pod->port->ops;
		pod->ops.rx = pod_rx;
		pod->ops.tx = pod_tx;
	}
	for (int i = 0; i < 2; i++)
		__atomic_store_n(&pods.pod[i].port->ops, &pods.pod[i].ops, __ATOMIC_RELEASE);
}

void
pods_stop(void)
{
	for (int i = 0; i < 2; i++) {
		struct pod *pod = &pods.pod[i];
		void *m;
		while (rte_ring_dequeue(pod->answers, &m) == 0)
			rte_pktmbuf_free(m);
		rte_ring_free(pod->answers);
	}
	free(pods.served_by);
}

void
pods_set(enum pods_mode mode)
{
	__atomic_store_n(&pods.mode, mode, __ATOMIC_RELAXED);
}

void
pods_pace(double per_second)
{
	__atomic_store_n(&pods.interval, 0, __ATOMIC_RELEASE);
	usleep(10000); /* nobody reads what follows */
	uint64_t interval = per_second > 0 ? (uint64_t)((double)rte_get_tsc_hz() / per_second) : 0, now = rte_rdtsc();
	for (int i = 0; i < 2; i++) {
		pods.pod[i].paced_from = pods.pod[i].polled = now;
		pods.pod[i].paced = pods.pod[i].longest = 0;
	}
	__atomic_store_n(&pods.interval, interval, __ATOMIC_RELEASE);
}

double
pods_longest(void)
{
	uint64_t longest = 0;
	for (int i = 0; i < 2; i++)
		longest = RTE_MAX(longest, __atomic_exchange_n(&pods.pod[i].longest, 0, __ATOMIC_RELAXED));
	return (double)longest / (double)rte_get_tsc_hz();
}

void
pods_times(double *last, double *resumed)
{
	double now = seconds_now(), hz = (double)rte_get_tsc_hz();
	uint64_t tsc = rte_rdtsc();
	*last = now - (double)(tsc - __atomic_load_n(&pods.last, __ATOMIC_RELAXED)) / hz;
	*resumed = now - (double)(tsc - __atomic_load_n(&pods.resumed, __ATOMIC_RELAXED)) / hz;
}

uint64_t
pods_opened(void)
{
	return __atomic_load_n(&pods.opened, __ATOMIC_RELAXED);
}

void
pods_count(struct pod_count out[2])
{
	memset(out, 0, 2 * sizeof(*out));
	for (int i = 0; i < 2; i++) {
		uint64_t *sum = (uint64_t *)&out[i];
		for (int q = 0; q < PORT_MAX_QUEUES; q++)
			for (int rx = 0; rx < 2; rx++) {
				const uint64_t *c = (const uint64_t *)&pods.pod[i].count[q][rx];
				for (size_t k = 0; k < sizeof(*out) / sizeof(*c); k++)
					sum[k] += __atomic_load_n(&c[k], __ATOMIC_RELAXED);
			}
	}
}
