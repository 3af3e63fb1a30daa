/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/test_port.h>

#include <rte_ring.h>
#include <stdlib.h>

#define RX_RING 1024
#define TX_RING 16384

struct test_port {
	struct rte_ring *rx[PORT_MAX_QUEUES];
	struct rte_ring *tx; /* of all queues, in the order in which they sent */
	bool accept_tx;
};

/* In plain memory, as a test may run without EAL. */
static struct rte_ring *
ring_new(unsigned int n)
{
	ssize_t size = rte_ring_get_memsize(rte_align32pow2(n + 1));
	struct rte_ring *r = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL((size_t)size, RTE_CACHE_LINE_SIZE));
	if (r != NULL)
		rte_ring_init(r, "test", n, RING_F_EXACT_SZ);
	return r;
}

static void
ring_delete(struct rte_ring *r)
{
	void *m;
	if (r == NULL)
		return;
	while (rte_ring_dequeue(r, &m) == 0)
		rte_pktmbuf_free(m);
	free(r);
}

static void
test_close(struct port *p)
{
	struct test_port *t = p->priv;
	for (unsigned int q = 0; q < p->n_rxq; q++)
		ring_delete(t->rx[q]);
	ring_delete(t->tx);
}

static int
test_open(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct test_port *t = p->priv;
	bool full = (t->tx = ring_new(TX_RING)) == NULL;
	for (unsigned int q = 0; q < p->n_rxq; q++)
		full |= (t->rx[q] = ring_new(RX_RING)) == NULL;
	if (full) {
		test_close(p);
		return error_set(e, -ENOMEM, "no memory for a test port");
	}
	t->accept_tx = true;
	p->up = true;
	return 0;
}

static uint16_t
test_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct test_port *t = p->priv;
	return (uint16_t)rte_ring_dequeue_burst(t->rx[queue], (void **)m, n, NULL);
}

static uint16_t
test_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct test_port *t = p->priv;
	unsigned int sent = 0;
	if (__atomic_load_n(&t->accept_tx, __ATOMIC_RELAXED))
		sent = rte_ring_enqueue_burst(t->tx, (void **)m, n, NULL);
	if (sent < n)
		p->stats[queue].tx_full++;
	return (uint16_t)sent;
}

static void
test_describe(const struct port *p, char *buf, size_t size)
{
	struct test_port *t = p->priv;
	snprintf(buf, size, "test, %u queue%s, %u packets to take", p->n_rxq, p->n_rxq == 1 ? "" : "s",
		 rte_ring_count(t->tx));
}

int
test_port_give(struct port *p, uint16_t queue, struct rte_mbuf *m)
{
	struct test_port *t = p->priv;
	return rte_ring_enqueue(t->rx[queue], m) == 0 ? 0 : -ENOSPC;
}

struct rte_mbuf *
test_port_take(struct port *p)
{
	struct test_port *t = p->priv;
	void *m;
	return rte_ring_dequeue(t->tx, &m) == 0 ? m : NULL;
}

void
test_port_set(struct port *p, uint32_t offloads, bool accept_tx)
{
	struct test_port *t = p->priv;
	__atomic_store_n(&p->offloads, offloads, __ATOMIC_RELAXED);
	__atomic_store_n(&t->accept_tx, accept_tx, __ATOMIC_RELAXED);
}

const struct port_ops test_ops = {
	.type = "test",
	.priv_size = sizeof(struct test_port),
	.open = test_open,
	.close = test_close,
	.rx = test_rx,
	.tx = test_tx,
	.describe = test_describe,
};
