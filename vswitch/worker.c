/* SPDX-License-Identifier: Apache-2.0 */
/* One worker's round: poll, run bursts to completion, flush, and now and then keep house. */
#include <rte_cycles.h>
#include <rte_meter.h>
#include <rte_rcu_qsbr.h>

#include <weft/clock.h>
#include <weft/pipeline.h>
#include <weft/rcu.h>
#include <weft/worker.h>

#include "fragment.h"
#include "admit.h"
#include "worker_private.h"

/* What a queue may take in one turn: a full burst. What it did not use is lost, what it overdrew is not possible. */
#define QUANTUM WEFT_BURST

#define HOUSEKEEPING_TURNS 32
#define QUIESCENT_TURNS 4
/* Connections looked at in one round of housekeeping, whatever the size of the table; and more for each that was created since the last
 * one: a table that takes 1,000,000 a second must forget as many. */
#define AGE_BUDGET 32
#define AGE_PER_NEW 4

static void
burst_receive(struct worker *w, struct port *port, struct port_counters *count, unsigned int n)
{
	struct burst *b = &w->burst;
	b->config = config_current();
	b->from = b->config->port[port->id];
	b->n = n;
	uint64_t bytes = 0;
	for (unsigned int i = 0; i < n; i++) {
		bytes += b->m[i]->pkt_len;
		b->p[i].in_port = port->id;
	}
	count->rx += n;
	count->rx_bytes += bytes;
	w->count.bursts++;
	w->count.packets += n;
	pipeline_run(w, b);
}

static void
drop_unsent(struct worker *w, uint16_t port, struct rte_mbuf **m, unsigned int n, enum drop_reason reason)
{
	w->port[port].drop[reason] += n;
	rte_pktmbuf_free_bulk(m, n);
}

/* Fragments that another worker received by a queue of its own, see fragment_mine(). They were counted there. */
static void
burst_handed(struct worker *w, struct rte_mbuf **m, unsigned int n)
{
	struct burst *b = &w->burst;
	uint16_t id = m[0]->port;
	b->config = config_current();
	b->from = b->config->port[id];
	b->n = 0;
	for (unsigned int i = 0; i < n; i++) {
		/* The id may be another port's by now. */
		if (unlikely(b->from == NULL || b->from->slot != m[i]->hash.usr)) {
			drop_unsent(w, id, &m[i], 1, DROP_PORT_GONE);
			continue;
		}
		b->p[b->n].in_port = id;
		b->m[b->n++] = m[i];
	}
	if (b->n != 0)
		pipeline_run(w, b);
}

static void
fragments_drain(struct worker *w)
{
	struct rte_mbuf *m[WEFT_BURST];
	unsigned int n = rte_ring_dequeue_burst(w->fragment_inbox, (void **)m, WEFT_BURST, NULL);
	for (unsigned int i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && m[k]->port == m[i]->port; k++)
			;
		burst_handed(w, &m[i], k - i);
	}
}

/* Deficit round robin (Shreedhar and Varghese, 1995) in packets: each costs the worker about the same. */
static unsigned int
queue_poll(struct worker *w, struct rx_queue *q)
{
	struct port *port = q->port;
	unsigned int total = 0;
	q->deficit = (int16_t)(q->deficit + QUANTUM);
	while (q->deficit > 0) {
		uint16_t want = (uint16_t)RTE_MIN((int)WEFT_BURST, (int)q->deficit);
		uint16_t got = port->ops->rx(port, q->queue, w->burst.m, want);
		if (got != 0)
			burst_receive(w, port, &w->port[port->id], got);
		total += got;
		q->deficit = (int16_t)(q->deficit - got);
		if (got < want) {
			q->deficit = 0; /* an empty queue saves nothing up */
			break;
		}
	}
	return total;
}

/* The queue that this worker should use belongs to another one: pass the packets on. */
static void
hand_over(struct worker *w, struct port *port, struct tx_buffer *tx)
{
	struct worker *owner = worker_get(port_tx_owner(port, w->id));
	for (unsigned int i = 0; i < tx->n; i++)
		tx->m[i]->port = port->id;
	unsigned int taken = rte_ring_enqueue_burst(owner->inbox, (void *const *)tx->m, tx->n, NULL);
	w->count.handed += taken;
	if (taken < tx->n)
		drop_unsent(w, port->id, tx->m + taken, tx->n - taken, DROP_HANDOFF_FULL);
}

static inline uint64_t
bytes_of(struct rte_mbuf *const *m, unsigned int n)
{
	uint64_t bytes = 0;
	for (unsigned int i = 0; i < n; i++)
		bytes += m[i]->pkt_len;
	return bytes;
}

static void
port_flush(struct worker *w, uint16_t id)
{
	struct tx_buffer *tx = &w->tx[id];
	struct port_counters *count = &w->port[id];
	struct port *port = port_by_id(id);
	if (tx->n == 0)
		return;
	if (unlikely(port == NULL)) {
		drop_unsent(w, id, tx->m, tx->n, DROP_PORT_GONE);
	} else if (unlikely(port_tx_owner(port, w->id) != w->id)) {
		hand_over(w, port, tx);
	} else {
		uint64_t bytes = bytes_of(tx->m, tx->n);
		uint16_t sent = port->ops->tx(port, port_tx_queue(port, w->id), tx->m, tx->n);
		if (unlikely(id == config_current()->host_port))
			count->punted += sent;
		else
			count->tx += sent;
		if (unlikely(sent < tx->n)) {
			bytes -= bytes_of(tx->m + sent, tx->n - sent);
			drop_unsent(w, id, tx->m + sent, tx->n - sent, DROP_TX_FULL);
		}
		count->tx_bytes += bytes;
	}
	tx->n = 0;
}

void
worker_transmit(struct worker *w, uint16_t port, struct rte_mbuf *const m[], unsigned int n)
{
	struct tx_buffer *tx = &w->tx[port];
	if (!tx->listed) {
		tx->listed = true;
		w->dirty[w->n_dirty++] = port;
	}
	while (n > 0) {
		unsigned int room = TX_BUFFER - tx->n, part = n < room ? n : room;
		memcpy(&tx->m[tx->n], m, part * sizeof(m[0]));
		tx->n = (uint16_t)(tx->n + part);
		if (unlikely(tx->n == TX_BUFFER))
			port_flush(w, port);
		m += part;
		n -= part;
	}
}

static void
worker_flush(struct worker *w)
{
	for (unsigned int i = 0; i < w->n_dirty; i++) {
		port_flush(w, w->dirty[i]);
		w->tx[w->dirty[i]].listed = false;
	}
	w->n_dirty = 0;
}

static void
inbox_drain(struct worker *w)
{
	struct rte_mbuf *m[TX_BUFFER];
	unsigned int n = rte_ring_dequeue_burst(w->inbox, (void **)m, TX_BUFFER, NULL);
	for (unsigned int i = 0; i < n; i++)
		worker_transmit(w, m[i]->port, &m[i], 1);
}

static void
housekeeping(struct worker *w)
{
	w->now_ms = clock_ms();
	uint64_t created = w->count.conn_created - w->aged_created;
	w->aged_created = w->count.conn_created;
	w->count.conn_expired += conn_age(w->conns, w->id, w->now_ms, AGE_BUDGET + AGE_PER_NEW * (unsigned int)created);
	underlay_housekeep(w);
	fragment_housekeep(w);
}

unsigned int
worker_turn(struct worker *w)
{
	uint64_t start = rte_rdtsc();
	__atomic_store_n(&w->epoch_seen, config_current()->epoch, __ATOMIC_RELEASE);
	struct poll_list *poll = __atomic_load_n(&w->poll, __ATOMIC_ACQUIRE);
	unsigned int packets = 0;

	w->count.turns++;
	if (unlikely(rte_ring_count(w->inbox) != 0))
		inbox_drain(w);
	if (unlikely(rte_ring_count(w->fragment_inbox) != 0))
		fragments_drain(w);
	if (unlikely(w->n_waiting != 0))
		admit_release(w);
	for (unsigned int i = 0; i < poll->n; i++)
		packets += queue_poll(w, &poll->q[i]);
	if (w->n_dirty != 0)
		worker_flush(w);
	if (packets != 0) {
		w->count.busy_turns++;
		w->count.busy_cycles += rte_rdtsc() - start;
	}
	if ((w->count.turns & (HOUSEKEEPING_TURNS - 1)) == 0) {
		housekeeping(w);
		worker_flush(w);
	}
	/* Without threads of their own (tests) workers are offline between turns, which a report would end. */
	if ((w->count.turns & (QUIESCENT_TURNS - 1)) == 0 && workers.options.threads)
		rte_rcu_qsbr_quiescent(rcu_var(), w->id);
	return packets;
}

void
packet_drop(struct worker *w, struct burst *b, uint32_t i, enum drop_reason reason)
{
	w->port[b->p[i].in_port].drop[reason]++;
	rte_pktmbuf_free(b->m[i]);
}

struct rte_mbuf *
worker_create(struct worker *w, uint16_t in_port)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
	if (m != NULL)
		w->port[in_port].created++;
	return m;
}

/* A token is 64 "bytes" to rte_meter, so that small rates keep their resolution. */
#define TOKEN 64

int
meter_profile_init(struct rte_meter_srtcm_profile *profile, unsigned int per_second, unsigned int burst)
{
	struct rte_meter_srtcm_params params = {
		.cir = (uint64_t)per_second * TOKEN, .cbs = (uint64_t)burst * TOKEN, .ebs = 0};
	return rte_meter_srtcm_profile_config(profile, &params);
}

bool
worker_may_open(struct worker *w, uint16_t in_port)
{
	struct port_meter *meter = &w->meter[in_port];
	if (!workers.meter_on)
		return true;
	return rte_meter_srtcm_color_blind_check(&meter->srtcm, &workers.meter_profile, rte_rdtsc(), TOKEN) ==
	       RTE_COLOR_GREEN;
}

void
worker_opened_none(struct worker *w, uint16_t in_port)
{
	struct rte_meter_srtcm *meter = &w->meter[in_port].srtcm;
	if (workers.meter_on)
		meter->tc = RTE_MIN(meter->tc + TOKEN, workers.meter_profile.cbs);
}

/* By one worker for one port. Another pod's flood of questions leaves the answers to everybody else's. */
#define ANSWERS_PER_SECOND 1000u

static bool
token_take(struct answer_tokens *t, uint32_t now_ms)
{
	if (now_ms - t->since_ms >= 1000) {
		t->since_ms = now_ms;
		t->left = ANSWERS_PER_SECOND;
	}
	if (t->left == 0)
		return false;
	t->left--;
	return true;
}

bool
worker_may_err(struct worker *w, uint16_t in_port)
{
	return token_take(&w->meter[in_port].error, w->now_ms);
}

bool
worker_may_answer(struct worker *w, uint16_t in_port)
{
	return token_take(&w->meter[in_port].link, w->now_ms);
}
