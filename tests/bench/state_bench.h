/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of state_bench: state_bench.c reads options, measures and reports, state_switch.c brings up the switch and
 * programs it, state_port.c is the two pods.
 */
#ifndef BENCH_STATE_BENCH_H
#define BENCH_STATE_BENCH_H

#include <jansson.h>

#include <weft/conn.h>
#include <weft/worker.h>

#include "flow.h"

struct state_options {
	bool fresh;        /* scenario "new", not "established" */
	bool routed;       /* to the backends themselves: no Service, no policy */
	double changes;    /* a second, to others: scenario "changes"; 0: none */
	const char *state; /* folder of the store, NULL: nothing is kept */
	struct flow_plan plan;
	uint32_t services, backends, rules, members, capacity;
	uint32_t timeout;   /* seconds of all connections; 0: the switch's defaults */
	uint32_t endpoints; /* two that send, and silent ones */
	unsigned int workers;
	int core; /* of the first worker, control's is another; -1: the last of the cpuset */
	double seconds, warmup;
	uint64_t turns;        /* instead of seconds: so many turns of one worker on this thread; 0: threads */
	const char *hugepages; /* a hugetlbfs mount for the connection table, NULL: plain memory */
};

/* state_switch.c: the floors as weftd has them, and what the scenario needs applied. The pods are ports "client" and
 * "backend". */
void switch_start(const struct state_options *o);
void switch_stop(void);
struct mgmt *switch_mgmt(void);
/* One request, given as text; returns the seconds that it took. */
double switch_call(const char *method, const char *params);
/* More services, in one batch; returns the seconds that it took. */
double switch_add_services(const struct state_options *o, uint32_t n, uint32_t backends);
struct conn_table *switch_conns(void);
double switch_seconds_to_apply(void); /* of the services and the rules */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);

/* state_changes.c: established connections while others' objects change. Prints its object. */
void changes_run(const struct state_options *o);

/* state_bench.c: everything that counts at one moment. */
struct pod_count {
	uint64_t sent, taken, bad, other, lives, cycles, lost; /* lost: there was no room in the ring, see pods_pace */
} __attribute__((aligned(64)));                                /* each queue's has one writer */
struct moment {
	double wall, cpu; /* cpu: seconds of the workers */
	struct worker_counters workers;
	struct totals totals;
	struct pod_count pod[2];
	struct conn_stats conns;
};
void look(struct moment *m);
void pass_time(const struct state_options *o, double seconds);
double open_flows(const struct state_options *o);
double seconds_now(void);

/* state_port.c: what the two pods do. */
enum pods_mode {
	PODS_SILENT,      /* nothing is sent; what arrives is freed */
	PODS_OPEN,        /* the client opens flow after flow, the backend answers each once */
	PODS_ESTABLISHED, /* both send packets of random flows that are open */
	PODS_NEW,         /* the client opens flow after flow, without an end; nobody answers */
	PODS_LIVES,       /* whole TCP conversations, one after the other on ever new tuples */
};
/* Take the two ports over: they are open, and nobody has sent anything. `from` of a pod: the worker that receives from
 * it. */
void pods_start(const struct flow_plan *plan, struct rte_mempool *pool, const unsigned int from[2]);
void pods_stop(void); /* the ports are closed, the workers gone */
void pods_set(enum pods_mode mode);
void pods_count(struct pod_count out[2]); /* of the client, of the backend */
/* Packets a second that arrive at each pod's port, into a ring of 1024 that the worker may be too slow to empty; 0: as
 * many as it takes. In PODS_ESTABLISHED. */
void pods_pace(double per_second);
/* Seconds, the longest time since the last call that a paced pod waited to be asked for packets. */
double pods_longest(void);
/* When the backend got its last packet, and its first after it had none for 20 ms: seconds_now(). */
void pods_times(double *last, double *resumed);
uint64_t pods_opened(void); /* in PODS_OPEN: how many flows were answered */

#endif
