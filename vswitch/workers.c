/* SPDX-License-Identifier: Apache-2.0 */
/* All workers, seen from the control thread: start, stop, placement, waiting, sums. */
#include <numa.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_rcu_qsbr.h>

#include <weft/affinity.h>
#include <weft/clock.h>
#include <weft/rcu.h>
#include <weft/rule_count.h>
#include <weft/service_count.h>
#include <weft/worker.h>

#include "admit.h"
#include "fragment.h"
#include "worker_private.h"

#define INBOX_SIZE 4096
#define EVENTS_SIZE 1024
#define FRAGMENT_INBOX_SIZE 512

struct workers workers;

unsigned int
workers_count(void)
{
	return workers.n;
}

struct worker *
worker_get(unsigned int i)
{
	return workers.w[i];
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(w->core, &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	rte_thread_register(); /* an lcore id: the mempool's cache and rte_hash need one */
	w->lcore = rte_lcore_id();
	rte_rcu_qsbr_thread_online(rcu_var(), w->id);
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED))
		worker_turn(w);
	rte_rcu_qsbr_thread_offline(rcu_var(), w->id);
	rte_thread_unregister();
	return NULL;
}

static void *
node_alloc(size_t size, int numa)
{
	/* numa_alloc_onnode gives zeroed pages; without NUMA in the kernel plain memory is as near as it gets. */
	void *p = numa_available() >= 0 && numa >= 0 ? numa_alloc_onnode(size, numa) : NULL;
	if (p == NULL) {
		p = aligned_alloc(64, RTE_ALIGN(size, 64));
		if (p != NULL)
			memset(p, 0, size);
	}
	return p;
}

static void
node_free(void *p, size_t size, int numa)
{
	if (p == NULL)
		return;
	if (numa_available() >= 0 && numa >= 0)
		numa_free(p, size);
	else
		free(p);
}

#define PORT_COUNTERS_SIZE (sizeof(struct port_counters) * WEFT_MAX_PORTS)
#define TX_SIZE (sizeof(struct tx_buffer) * WEFT_MAX_PORTS)
#define METER_SIZE (sizeof(struct port_meter) * WEFT_MAX_PORTS)

static void
worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	int numa = w->numa;
	rte_ring_free(w->inbox);
	rte_ring_free(w->fragment_inbox);
	fragment_table_free(w);
	node_free(w->port, PORT_COUNTERS_SIZE, numa);
	node_free(w->tx, TX_SIZE, numa);
	node_free(w->meter, METER_SIZE, numa);
	rte_ring_free(w->events);
	free(w->poll);
	node_free(w, sizeof(*w), numa);
}

static struct worker *
worker_new(unsigned int id, const struct workers_options *o)
{
	int numa = numa_available() >= 0 ? numa_node_of_cpu((int)o->core[id]) : -1;
	struct worker *w = node_alloc(sizeof(*w), numa);
	if (w == NULL)
		return NULL;
	char name[RTE_RING_NAMESIZE];
	static unsigned int serial; /* a second set of workers in one process (tests) needs other names */
	unsigned int number = __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED);
	snprintf(name, sizeof(name), "inbox%u.%u", id, number);
	w->id = id;
	w->core = o->core[id];
	w->numa = numa;
	w->now_ms = clock_ms();
	w->conns = o->conns;
	w->affinity = workers.affinity;
	w->pool = o->pool(numa);
	w->port = node_alloc(PORT_COUNTERS_SIZE, numa);
	w->tx = node_alloc(TX_SIZE, numa);
	w->meter = node_alloc(METER_SIZE, numa);
	w->poll = calloc(1, sizeof(*w->poll));
	w->inbox = rte_ring_create(name, INBOX_SIZE, numa < 0 ? SOCKET_ID_ANY : numa, RING_F_SC_DEQ);
	snprintf(name, sizeof(name), "events%u.%u", id, number);
	w->events = rte_ring_create_elem(name, sizeof(struct policy_event), EVENTS_SIZE, numa < 0 ? SOCKET_ID_ANY : numa,
					 RING_F_SP_ENQ | RING_F_SC_DEQ);
	snprintf(name, sizeof(name), "fragments%u.%u", id, number);
	w->fragment_inbox = rte_ring_create(name, FRAGMENT_INBOX_SIZE, numa < 0 ? SOCKET_ID_ANY : numa, RING_F_SC_DEQ);
	w->fragments = fragment_table_new();
	if (w->port == NULL || w->tx == NULL || w->meter == NULL || w->poll == NULL || w->inbox == NULL || w->events == NULL ||
	    w->pool == NULL || w->fragment_inbox == NULL || w->fragments == NULL) {
		worker_free(w);
		return NULL;
	}
	for (unsigned int p = 0; p < WEFT_MAX_PORTS && workers.meter_on; p++)
		rte_meter_srtcm_config(&w->meter[p].srtcm, &workers.meter_profile);
	rte_rcu_qsbr_thread_register(rcu_var(), id);
	return w;
}

/* A client with affinity has several connections: one entry to eight of them, 16 MiB at most. */
static uint32_t
affinity_size(const struct conn_table *conns)
{
	struct conn_stats s = {0};
	if (conns != NULL)
		conn_table_stats(conns, &s);
	return RTE_MAX(4096u, RTE_MIN(s.capacity / 8, 1u << 20));
}

int
workers_start(const struct workers_options *o, struct error *e)
{
	if (o->n == 0 || o->n > WEFT_MAX_WORKERS)
		return error_set(e, -EINVAL, "%u workers: must be 1..%d", o->n, WEFT_MAX_WORKERS);
	memset(&workers, 0, sizeof(workers));
	workers.options = *o;
	const char *missing = NULL;
	if (id_counts_init(&rule_counts, o->n) < 0)
		missing = "the counters of rules";
	else if (service_count_init(o->n) < 0)
		missing = "the counters of services";
	else if (affinity_create(&workers.affinity, affinity_size(o->conns)) < 0)
		missing = "session affinity";
	if (missing != NULL) {
		workers_stop();
		return error_set(e, -ENOMEM, "no memory for %s", missing);
	}
	workers.meter_on = o->new_per_second != 0 && meter_profile_init(&workers.meter_profile,
									RTE_MAX(1u, o->new_per_second / o->n),
									RTE_MAX(1u, o->new_burst / o->n)) == 0;
	for (unsigned int i = 0; i < o->n; i++) {
		workers.w[i] = worker_new(i, o);
		if (workers.w[i] == NULL) {
			workers_stop();
			return error_set(e, -ENOMEM, "no memory for worker %u", i);
		}
		workers.n = i + 1;
	}
	for (unsigned int i = 0; i < o->n && o->threads; i++) {
		int rc = pthread_create(&workers.thread[i], NULL, worker_main, workers.w[i]);
		if (rc != 0) {
			workers.thread[i] = 0;
			workers_stop();
			return error_set(e, -rc, "worker %u: cannot start a thread: %s", i, strerror(rc));
		}
		char name[16];
		snprintf(name, sizeof(name), "weft-worker%u", i % 100);
		pthread_setname_np(workers.thread[i], name);
	}
	return 0;
}

/* What was still kept for later is lost, and said so: the books balance to the end. */
static void
worker_empty(struct worker *w)
{
	struct rte_mbuf *m;
	for (unsigned int i = 0; i < w->n_held; i++) {
		w->port[w->held[i].in_port].drop[DROP_NEIGHBOUR]++;
		rte_pktmbuf_free(w->held[i].m);
	}
	w->count.held -= w->n_held;
	w->n_held = 0;
	admit_drop_all(w);
	while (rte_ring_dequeue(w->inbox, (void **)&m) == 0 || rte_ring_dequeue(w->fragment_inbox, (void **)&m) == 0) {
		w->port[m->port].drop[DROP_PORT_GONE]++;
		rte_pktmbuf_free(m);
	}
}

void
workers_stop(void)
{
	for (unsigned int i = 0; i < workers.n; i++)
		__atomic_store_n(&workers.w[i]->stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < workers.n; i++)
		if (workers.thread[i] != 0)
			pthread_join(workers.thread[i], NULL);
	for (unsigned int i = 0; i < workers.n; i++) {
		worker_empty(workers.w[i]);
		rte_rcu_qsbr_thread_unregister(rcu_var(), i);
		worker_free(workers.w[i]);
	}
	affinity_destroy(workers.affinity);
	memset(&workers, 0, sizeof(workers));
	id_counts_fini(&rule_counts);
	service_count_fini();
}

void
workers_replan(const struct port *without)
{
	struct rx_queue *all = calloc((size_t)WEFT_MAX_PORTS * PORT_MAX_QUEUES, sizeof(*all));
	unsigned int *worker_of = calloc((size_t)WEFT_MAX_PORTS * PORT_MAX_QUEUES, sizeof(*worker_of));
	int numa[WEFT_MAX_WORKERS];
	unsigned int n = 0;
	for (unsigned int id = 0; id < WEFT_MAX_PORTS; id++) {
		struct port *p = port_by_id((uint16_t)id);
		for (uint16_t q = 0; p != NULL && p != without && q < p->n_rxq; q++)
			all[n++] = (struct rx_queue){.port = p, .queue = q};
	}
	for (unsigned int i = 0; i < workers.n; i++)
		numa[i] = workers.w[i]->numa;
	queue_plan(all, n, numa, workers.n, worker_of);
	for (unsigned int k = 0; k < n; k++)
		__atomic_store_n(&workers.rx_worker[all[k].port->id][all[k].queue], (uint8_t)worker_of[k], __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < workers.n; i++) {
		struct poll_list *list = calloc(1, sizeof(*list) + n * sizeof(list->q[0]));
		for (unsigned int k = 0; k < n; k++)
			if (worker_of[k] == i)
				list->q[list->n++] = all[k];
		struct poll_list *old = __atomic_exchange_n(&workers.w[i]->poll, list, __ATOMIC_ACQ_REL);
		rcu_defer(old, NULL);
	}
	free(all);
	free(worker_of);
	rcu_synchronize();
}

int
workers_wait(uint64_t epoch, unsigned int timeout_ms)
{
	uint32_t start = clock_ms();
	for (unsigned int i = 0; i < workers.n && workers.options.threads; i++)
		while (__atomic_load_n(&workers.w[i]->epoch_seen, __ATOMIC_ACQUIRE) < epoch) {
			if (clock_passed(clock_ms(), start, timeout_ms))
				return -ETIMEDOUT;
			usleep(50);
		}
	return 0;
}

static uint64_t
load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void
workers_port_counters(uint16_t port, struct port_counters *out)
{
	uint64_t *sum = (uint64_t *)out;
	memset(out, 0, sizeof(*out));
	for (unsigned int i = 0; i < workers.n; i++) {
		const uint64_t *c = (const uint64_t *)&workers.w[i]->port[port];
		for (size_t k = 0; k < sizeof(*out) / sizeof(uint64_t); k++)
			sum[k] += load(&c[k]);
	}
}

void
workers_counters(struct worker_counters *out)
{
	uint64_t *sum = (uint64_t *)out;
	memset(out, 0, sizeof(*out));
	for (unsigned int i = 0; i < workers.n; i++) {
		const uint64_t *c = (const uint64_t *)&workers.w[i]->count;
		for (size_t k = 0; k < sizeof(*out) / sizeof(uint64_t); k++)
			sum[k] += load(&c[k]);
	}
}

unsigned int
workers_policy_events(struct policy_event *out, unsigned int max)
{
	unsigned int n = 0;
	for (unsigned int i = 0; i < workers.n && n < max; i++)
		n += rte_ring_dequeue_burst_elem(workers.w[i]->events, &out[n], sizeof(*out), max - n, NULL);
	return n;
}

void
workers_totals(struct totals *t)
{
	struct worker_counters workers_sum;
	memset(t, 0, sizeof(*t));
	for (unsigned int id = 0; id < WEFT_MAX_PORTS; id++) {
		struct port_counters c;
		workers_port_counters((uint16_t)id, &c);
		t->rx += c.rx;
		t->created += c.created;
		t->tx += c.tx;
		t->merged += c.merged;
		t->punted += c.punted;
		for (int r = 0; r < DROP_REASON_COUNT; r++)
			t->dropped += c.drop[r];
	}
	workers_counters(&workers_sum);
	t->held = workers_sum.held;
	t->difference = (int64_t)(t->rx + t->created - t->tx - t->dropped - t->merged - t->punted - t->held);
}
