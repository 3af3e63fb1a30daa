/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers: one thread on one core each, polling its share of the rx queues and running each burst to completion.
 *
 * Nothing here waits for a worker but the control threads; a worker waits for nobody.
 */
#ifndef WEFT_WORKER_H
#define WEFT_WORKER_H

#include <rte_ring.h>

#include <weft/base.h>
#include <weft/conn.h>
#include <weft/drop.h>
#include <weft/packet.h>
#include <weft/port.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of one port, as one worker counts it: written by that worker only, summed by readers. */
struct port_counters {
	uint64_t rx, rx_bytes, tx, tx_bytes;
	uint64_t created;  /* counted at the port whose packet led to it */
	uint64_t merged;   /* always 0 for now */
	uint64_t punted;   /* counted at the host port, where others count tx */
	uint64_t drop[DROP_REASON_COUNT];
};

/* What a worker did with its time and its bursts. */
struct worker_counters {
	uint64_t turns, busy_turns; /* rounds over all queues; those that found packets */
	uint64_t busy_cycles;       /* TSC cycles of busy turns */
	uint64_t bursts, packets;
	uint64_t held;              /* packets that the worker keeps at this moment (a gauge) */
	uint64_t handed;            /* packets given to another worker: for transmission, or fragments */
	uint64_t conn_created, conn_expired, decided;
	uint64_t events_lost;       /* events of policy that were too many to tell */
	/* One turn in 256: cycles and packets by stage. */
	uint64_t stage_cycles[STAGE_COUNT], stage_packets[STAGE_COUNT];
};

/* A verdict that a policy with "log" asked to be told of. */
struct policy_event {
	struct tuple key;           /* as the client sent it */
	struct ip to;               /* where it was to go, after translation */
	uint32_t at_ms;             /* clock_ms */
	uint32_t rule;              /* or isolation, see policy.h; 0: none */
	uint32_t endpoint;          /* slot of whom it is about */
	uint16_t to_port;           /* network byte order */
	uint8_t direction;          /* enum policy_direction */
	bool allow, dry_run, established;
	bool claim;                 /* no verdict: the endpoint announces `to`, which it is allowed */
};
static_assert(sizeof(struct policy_event) % 4 == 0, "a ring's element");

#define TX_BUFFER 64
struct tx_buffer {
	uint16_t n;
	bool listed; /* in the worker's dirty list, once */
	struct rte_mbuf *m[TX_BUFFER];
};

/* A packet that waits for its underlay neighbour. */
struct held_packet {
	struct rte_mbuf *m;  /* complete but for its outer MACs */
	uint32_t since_ms;
	uint16_t out_port, in_port;
	bool stranger;          /* the configuration knows nobody to send it to: by its own destination */
	struct ip next, source; /* who it is for, and, of a stranger, who of us asks: by address, as ids do not last
				   that long */
};
#define HELD_MAX 64

/* A packet from or to an endpoint that is not admitted yet, see vswitch/admit.h. */
struct waiting_packet {
	struct rte_mbuf *m;
	uint32_t since_ms;
	uint32_t endpoint, generation;      /* slot of whom it waits for, and its generation: moves when it is admitted */
	uint32_t source, source_generation; /* of whom it comes from */
	uint32_t back, network;             /* of one that came through a tunnel, whose headers (outer bytes) are off */
	uint16_t in_port, outer;
};
#define WAITING_MAX 256

/* Token bucket for new connections of one port (rte_meter, srTCM with one token a connection). */
struct port_meter;

struct fragment_table; /* vswitch/fragment.h */

struct poll_list {
	unsigned int n;
	struct rx_queue q[];
};

struct worker {
	unsigned int id;
	unsigned int lcore, core;
	int numa;
	uint64_t epoch_seen;          /* root's epoch at the start of the last turn, atomic */
	uint32_t now_ms;
	struct poll_list *poll;       /* published by the control thread, atomic */
	struct conn_table *conns;
	struct affinity *affinity;    /* of all workers together */
	struct rte_mempool *pool;     /* for packets that we create */
	struct rte_ring *inbox;       /* packets of other workers for queues that we own; mbuf->port is the port's id */
	struct rte_ring *fragment_inbox; /* received by other workers, of datagrams that we keep; see vswitch/fragment.c */
	struct fragment_table *fragments;
	struct worker_counters count;
	struct port_counters *port;   /* [WEFT_MAX_PORTS] */
	struct tx_buffer *tx;         /* [WEFT_MAX_PORTS] */
	uint16_t dirty[WEFT_MAX_PORTS]; /* ports with packets in their tx buffer */
	unsigned int n_dirty;
	struct held_packet held[HELD_MAX];
	unsigned int n_held;
	struct waiting_packet waiting[WAITING_MAX];
	unsigned int n_waiting;
	bool waiting_again;           /* one of them is being tried again: it has waited */
	uint32_t waiting_since_ms;    /* since then */
	struct port_meter *meter;     /* [WEFT_MAX_PORTS] */
	struct rte_ring *events;      /* struct policy_event, to the control thread */
	uint32_t claimed_until_ms;    /* the time that told announcements of addresses take */
	uint32_t event_tokens, event_refill_ms; /* thousandths of events that may still be told, see policy_note.c */
	uint32_t aged_ms; /* when neighbours were aged last */
	uint64_t aged_created; /* count.conn_created when connections were */
	uint16_t ip_id;
	bool stop;
	struct burst burst;
} __attribute__((aligned(64)));

struct workers_options {
	unsigned int n;
	unsigned int core[WEFT_MAX_WORKERS];  /* CPU of each */
	unsigned int new_per_second;          /* token bucket per port; 0: no limit */
	unsigned int new_burst;
	struct conn_table *conns;
	struct rte_mempool *(*pool)(int numa_node);
	bool threads; /* false: no threads are started and tests call worker_turn themselves */
};

/* Control thread. EAL is up, rcu_init and config_init were called. 0 or -errno with *e. */
int workers_start(const struct workers_options *o, struct error *e);
void workers_stop(void); /* lets each finish its turn and flush */
unsigned int workers_count(void);
struct worker *worker_get(unsigned int i);

/* Control thread, after port_open and before port_close: give every open port's queues to workers. `without` (may be NULL) is
 * left out. Waits until no worker uses an earlier plan. */
void workers_replan(const struct port *without);
/* Control thread: wait until every worker has started a turn with root epoch >= epoch. -ETIMEDOUT after timeout_ms. */
int workers_wait(uint64_t epoch, unsigned int timeout_ms);

/* One round over this worker's queues, and housekeeping when due. Returns how many packets it received. */
unsigned int worker_turn(struct worker *w);

/* Any thread: sums over workers, a moment's view. With the workers at rest the books balance:
 * rx + created == tx + dropped + merged + punted + held. */
struct totals {
	uint64_t rx, created, tx, dropped, merged, punted, held;
	int64_t difference; /* left side minus right side */
};
void workers_totals(struct totals *out);
void workers_port_counters(uint16_t port, struct port_counters *out);
void workers_counters(struct worker_counters *out);
/* One control thread: up to `max` events that policies asked for. Returns how many. */
unsigned int workers_policy_events(struct policy_event *out, unsigned int max);

/* --- for the stages: what they may do with a packet --- */

/* Free the packet and count why, at the port that it came in by. */
void packet_drop(struct worker *w, struct burst *b, uint32_t i, enum drop_reason reason);
/* Hand packets of ours to a port's tx buffer; flushed when full and at the end of the turn. */
void worker_transmit(struct worker *w, uint16_t port, struct rte_mbuf *const m[], unsigned int n);
/* A new, empty mbuf in answer to a packet of in_port (counted as created), or NULL (not counted). */
struct rte_mbuf *worker_create(struct worker *w, uint16_t in_port);
/* True when in_port may open one more connection now. */
bool worker_may_open(struct worker *w, uint16_t in_port);
/* It might have, but there was no need: give it back. */
void worker_opened_none(struct worker *w, uint16_t in_port);
/* True when one more packet of in_port may be answered now: by an error or a reset (RFC 1812 4.3.2.8, RFC 4443 2.4 f), by ARP or ND. */
bool worker_may_err(struct worker *w, uint16_t in_port);
bool worker_may_answer(struct worker *w, uint16_t in_port);

#ifdef __cplusplus
}
#endif

#endif
