/* SPDX-License-Identifier: Apache-2.0 */
#include "gen.h"
#include "gen_tunnel.h"

#include <inttypes.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>

#define TX_BUFFERS 4096
#define RX_BUFFERS 8192
#define CACHE 256
#define RX_BURST 64
#define DRAIN_S 0.1
#define STALL_S 5.0

struct side {
	uint16_t port, peer;
	bool sends, tunnel;
	struct rte_mempool *pool;
	struct rte_mbuf *pending[GEN_BURST]; /* made, but not taken by the port yet */
	unsigned int first, n_pending;
	uint64_t due, interval; /* TSC: when the next burst may go; 0: at once */
	struct gen_count count;
};

static struct side sides[2];
static uint16_t rx_queues;
static const struct gen_traffic *traffic;
static struct rte_mempool *rx_pool;
static struct gen_cost tx_cost, rx_cost;
static bool latency;

static int
fail(uint16_t port, const char *what, int rc)
{
	fprintf(stderr, "weft-gen: port %u: %s: %s\n", port, what, rte_strerror(-rc));
	return -1;
}

static double
seconds_since(uint64_t start)
{
	return (double)(rte_rdtsc() - start) / (double)rte_get_tsc_hz();
}

/* A memif client's start fails while nobody listens. */
static int
start(uint16_t port, double wait)
{
	uint64_t begin = rte_rdtsc();
	int rc;
	while ((rc = rte_eth_dev_start(port)) < 0 && !gen_stopped() && seconds_since(begin) < wait)
		rte_delay_us_sleep(200000);
	return rc < 0 ? fail(port, "start", rc) : 0;
}

static int
open_port(uint16_t port, const struct gen_options *o)
{
	struct rte_eth_conf conf = {0};
	int rc = rte_eth_dev_configure(port, o->rx_queues, 1, &conf);
	if (rc < 0)
		return fail(port, "configure", rc);
	for (uint16_t q = 0; rc == 0 && q < o->rx_queues; q++)
		rc = rte_eth_rx_queue_setup(port, q, o->descriptors, SOCKET_ID_ANY, NULL, rx_pool);
	if (rc == 0)
		rc = rte_eth_tx_queue_setup(port, 0, o->descriptors, SOCKET_ID_ANY, NULL);
	if (rc < 0)
		return fail(port, "queues", rc);
	if (start(port, o->wait) < 0)
		return -1;
	rte_eth_promiscuous_enable(port); /* a memif has no such switch, and needs none */
	return 0;
}

/* A memif that was turned away (its server had no device yet) does not try again by itself. */
static int
wait_for_link(uint16_t port, double wait)
{
	uint64_t begin = rte_rdtsc(), tried = begin;
	struct rte_eth_link link;
	do {
		if (rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP)
			return 0;
		if (seconds_since(tried) > 0.5) {
			rte_eth_dev_stop(port);
			if (start(port, wait) < 0)
				return -1;
			tried = rte_rdtsc();
		}
		rte_delay_us_sleep(10000);
	} while (!gen_stopped() && seconds_since(begin) < wait);
	return fail(port, "link", -ETIMEDOUT);
}

int
gen_open(const struct gen_options *o)
{
	if (rte_eth_dev_count_avail() != 2) {
		fprintf(stderr, "weft-gen: give exactly two ports with --vdev, not %u\n", rte_eth_dev_count_avail());
		return -1;
	}
	rx_pool = rte_pktmbuf_pool_create("rx", RX_BUFFERS, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	for (uint16_t i = 0; i < 2; i++) {
		struct side *s = &sides[i];
		*s = (struct side){.port = i, .peer = !i, .sends = i == 0 || o->both || o->scenario != GEN_FLOWS};
		s->pool = rte_pktmbuf_pool_create(i == 0 ? "tx-a" : "tx-b", TX_BUFFERS + o->descriptors, CACHE, 0,
						  RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
		s->tunnel = i == 1 && o->vni != 0;
		if (rx_pool == NULL || s->pool == NULL)
			return fail(i, "buffers", -rte_errno);
	}
	latency = o->latency;
	rx_queues = o->rx_queues;
	gen_tunnel_init(o, sides[1].pool);
	traffic = o->scenario == GEN_FLOWS ? &gen_flows : &gen_services;
	if (traffic->init(o, (struct rte_mempool *const[2]){sides[0].pool, sides[1].pool}) < 0)
		return fail(0, "flows", -ENOMEM);
	for (uint16_t i = 0; i < 2; i++) {
		if (open_port(i, o) < 0)
			return -1;
	}
	return wait_for_link(0, o->wait) < 0 ? -1 : wait_for_link(1, o->wait);
}

void
gen_close(void)
{
	uint16_t port;
	RTE_ETH_FOREACH_DEV(port)
	{
		rte_eth_dev_stop(port);
		rte_eth_dev_close(port);
	}
	if (traffic != NULL)
		traffic->fini();
}

/* Returns how many went. */
static inline unsigned int
send_burst(struct side *s)
{
	if (s->interval != 0) {
		uint64_t now = rte_rdtsc();
		if (now < s->due)
			return 0;
		/* Who fell behind by more than a few bursts does not catch up with a flood. */
		s->due = (now - s->due > 8 * s->interval ? now : s->due) + s->interval;
	}
	if (s->tunnel && !gen_tunnel_knows_peer(s->port))
		return 0;
	if (!s->sends)
		return 0;
	if (s->interval != 0)
		s->count.due += GEN_BURST;
	if (s->n_pending == 0) {
		s->first = 0;
		s->n_pending = traffic->make((int)(s - sides), s->pending, GEN_BURST);
		if (s->n_pending == 0)
			return 0;
		if (latency)
			gen_latency_stamp(s->pending, s->n_pending, rte_rdtsc());
		if (s->tunnel)
			gen_tunnel_wrap(s->pending, s->n_pending);
	}
	unsigned int sent = rte_eth_tx_burst(s->port, 0, &s->pending[s->first], (uint16_t)s->n_pending);
	s->first += sent;
	s->n_pending -= sent;
	s->count.bursts++;
	s->count.full += s->n_pending != 0;
	s->count.tx += sent;
	return sent;
}

static inline unsigned int
receive(struct side *s)
{
	struct rte_mbuf *m[RX_BURST];
	unsigned int n = 0;
	/* A switch with a queue for each of its threads sends at one of them. */
	for (uint16_t q = 0; q < rx_queues && n == 0; q++)
		n = rte_eth_rx_burst(s->port, q, m, RX_BURST);
	if (n == 0)
		return 0;
	uint64_t now = latency ? rte_rdtsc() : 0;
	for (unsigned int i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(m[i], void *));
	if (s->tunnel && (n = gen_tunnel_unwrap(s->port, m, n, &s->count)) == 0)
		return 0;
	if (latency)
		gen_latency_note(m, n, now);
	traffic->take((int)(s - sides), m, n, &s->count);
	return n;
}

/* What a frame costs us when the ports move whole bursts: our own ceiling, whatever the switch does. */
static inline uint64_t
note_cost(struct gen_cost *c, unsigned int frames, uint64_t since)
{
	uint64_t now = rte_rdtsc();
	if (frames >= GEN_BURST) {
		c->frames += frames;
		c->cycles += now - since;
	}
	return now;
}

static void
run_for(double seconds, bool send)
{
	uint64_t now = rte_rdtsc(), end = now + (uint64_t)(seconds * (double)rte_get_tsc_hz());
	while (now < end && !gen_stopped()) {
		for (int i = 0; i < 2; i++) {
			struct side *s = &sides[i];
			if (send && (s->sends || s->tunnel))
				now = note_cost(&tx_cost, send_burst(s), now);
			now = note_cost(&rx_cost, receive(&sides[s->peer]), now);
		}
	}
}

static uint64_t
received(void)
{
	return sides[0].count.rx + sides[1].count.rx;
}

/* Links are up before a switch polls them. */
static int
wait_for_traffic(double wait)
{
	uint64_t begin = rte_rdtsc();
	while (received() == 0 && !gen_stopped()) {
		if (seconds_since(begin) > wait) {
			fprintf(stderr,
				"weft-gen: sent %" PRIu64 " frames, none came back within %g s (%" PRIu64
				" of others)\n",
				sides[0].count.tx, wait, sides[1].count.other);
			return -1;
		}
		run_for(0.001, true);
	}
	return 0;
}

/* Whatever must be there first: connections that are opened. */
static int
wait_until_ready(double *seconds)
{
	uint64_t begin = rte_rdtsc(), moved = begin, before = received();
	while (traffic->ready != NULL && !traffic->ready() && !gen_stopped()) {
		run_for(0.001, true);
		if (received() != before)
			moved = rte_rdtsc();
		else if (seconds_since(moved) > STALL_S) {
			fprintf(stderr, "weft-gen: not all flows could be opened: %" PRIu64 " frames came through\n",
				before);
			return -1;
		}
		before = received();
	}
	*seconds = seconds_since(begin);
	return 0;
}

/* Made, but never taken: not to be sent once what is sent counts. */
static void
forget_pending(void)
{
	for (int i = 0; i < 2; i++) {
		rte_pktmbuf_free_bulk(&sides[i].pending[sides[i].first], sides[i].n_pending);
		sides[i].n_pending = 0;
	}
}

static struct gen_lives
lives(void)
{
	struct gen_lives out = {0};
	if (traffic->lives != NULL)
		traffic->lives(&out);
	return out;
}

static void
set_rate(double mpps)
{
	for (int i = 0; i < 2; i++)
		sides[i].interval = mpps > 0 ? (uint64_t)(GEN_BURST / (mpps * 1e6) * (double)rte_get_tsc_hz()) : 0;
}

int
gen_run(const struct gen_options *o, struct gen_result *r)
{
	set_rate(o->rate);
	if (wait_for_traffic(o->wait) < 0)
		return -1;
	if (wait_until_ready(&r->open_seconds) < 0)
		return -1;
	run_for(o->warmup, true);
	run_for(DRAIN_S, false);
	forget_pending();
	for (int i = 0; i < 2; i++)
		sides[i].count = (struct gen_count){0};
	tx_cost = rx_cost = (struct gen_cost){0};
	gen_latency_reset();
	struct gen_lives before = lives();
	uint64_t begin = rte_rdtsc();
	run_for(o->seconds, true);
	r->seconds = seconds_since(begin);
	r->lives = lives();
	r->lives.begun -= before.begun;
	r->lives.over -= before.over;
	r->rx_in_time = received();
	r->tx_cost = tx_cost;
	r->rx_cost = rx_cost;
	run_for(DRAIN_S, false);
	for (int i = 0; i < 2; i++)
		r->side[i] = sides[i].count;
	gen_latency_result(&r->latency);
	if (gen_stopped())
		fprintf(stderr, "weft-gen: interrupted\n");
	return gen_stopped() ? -1 : 0;
}
