/* SPDX-License-Identifier: Apache-2.0 */
#include "memif.h"

#include <rte_prefetch.h>

#include "buffer.h"
#include "kick.h"

#define BURST 64

/* A descriptor, read and checked: what follows uses nothing else of it. */
struct piece {
	uint8_t *data;
	uint32_t length;
	uint16_t region;
	bool more;
};

/* For as long as a burst of one ring takes. */
struct cursor {
	struct memif_link *link;
	struct memif_queue *q;
	uint32_t avail; /* descriptors that the peer offers */
	uint32_t read;  /* of which are in piece[] */
	struct piece piece[BURST];
};

static __rte_noinline void
fail(struct port *p, uint16_t queue, struct memif_link *l, enum memif_fault why)
{
	if (__atomic_load_n(&l->fault, __ATOMIC_RELAXED) != MEMIF_OK)
		return;
	/* Rx and tx of a queue may belong to two workers. */
	__atomic_fetch_add(&p->stats[queue].rx_bad, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&l->fault, why, __ATOMIC_RELAXED);
}

/* In own memory a slot's buffer is always the same, whatever the peer may have written about it. */
static __rte_always_inline bool
piece_get(const struct cursor *c, uint32_t i, bool own, struct piece *piece)
{
	const struct memif_link *l = c->link;
	const struct memif_queue *q = c->q;
	uint32_t slot = (q->cursor + i) & q->mask;
	const struct memif_desc *d = &q->ring->desc[slot];
	uint64_t head = __atomic_load_n((const uint64_t *)(const void *)&d->flags, __ATOMIC_RELAXED);
	uint32_t offset, length = (uint32_t)(head >> 32);
	uint16_t region;
	if (own) {
		region = 0;
		offset = q->first + slot * q->buffer;
		if (unlikely(length > q->buffer))
			return false;
	} else {
		region = (uint16_t)(head >> 16);
		offset = __atomic_load_n(&d->offset, __ATOMIC_RELAXED);
		if (unlikely(region >= l->n_regions || (uint64_t)offset + length > l->region[region].size))
			return false;
	}
	*piece = (struct piece){
		.data = l->region[region].base + offset,
		.length = length,
		.region = region,
		.more = (head & MEMIF_DESC_NEXT) != 0,
	};
	return true;
}

/* How many descriptors there are for us, or -1 when that cannot be. */
static __rte_always_inline int32_t
available(const struct memif_queue *q)
{
	uint16_t theirs = __atomic_load_n(q->theirs, __ATOMIC_ACQUIRE);
	uint16_t n = (uint16_t)(theirs + q->lead - q->cursor);
	return n <= q->size ? n : -1;
}

static __rte_always_inline void
publish(struct memif_queue *q, uint32_t used)
{
	q->cursor = (uint16_t)(q->cursor + used);
	__atomic_store_n(q->ours, (uint16_t)(q->cursor + q->lag), __ATOMIC_RELEASE);
}

static __rte_always_inline void
desc_write(const struct memif_queue *q, uint32_t i, uint16_t flags, uint16_t region, uint32_t length, bool own)
{
	uint32_t slot = (q->cursor + i) & q->mask;
	struct memif_desc *d = &q->ring->desc[slot];
	uint64_t head = (uint64_t)length << 32 | (uint32_t)region << 16 | flags;
	__atomic_store_n((uint64_t *)(void *)&d->flags, head, __ATOMIC_RELAXED);
	if (own)
		__atomic_store_n(&d->offset, q->first + slot * q->buffer, __ATOMIC_RELAXED);
}

/* The piece at i, which may lie beyond those that were read ahead. */
static bool
piece_at(const struct cursor *c, uint32_t i, bool own, struct piece *piece)
{
	if (i < c->read) {
		*piece = c->piece[i];
		return true;
	}
	return i < c->avail && piece_get(c, i, own, piece);
}

/*
 * A frame of several buffers into one mbuf. Returns the number of pieces, and the mbuf with pkt_len 0 when the frame
 * does not fit it; 0 when the chain is not a chain.
 */
static __rte_noinline uint32_t
gather(const struct cursor *c, uint32_t i, bool own, uint32_t room, struct rte_mbuf *m)
{
	uint32_t length = 0, used = 0;
	struct piece piece;
	do {
		if (used == MEMIF_CHAIN || !piece_at(c, i + used, own, &piece))
			return 0;
		used++;
		if (length <= room && piece.length <= room - length)
			buffer_copy(rte_pktmbuf_mtod_offset(m, uint8_t *, length), piece.data, piece.length);
		length = piece.length <= UINT16_MAX ? length + piece.length : UINT16_MAX;
	} while (piece.more);
	m->pkt_len = length <= room ? length : 0;
	m->data_len = (uint16_t)m->pkt_len;
	return used;
}

static __rte_always_inline uint16_t
receive(struct port *p, uint16_t queue, struct cursor *c, struct rte_mbuf **m, uint16_t n, bool own)
{
	const uint32_t room = rte_pktmbuf_data_room_size(p->pool) - RTE_PKTMBUF_HEADROOM;
	struct memif_queue *q = c->q;
	uint32_t i = 0, bad = 0;
	uint16_t got = 0;
	for (c->read = 0; c->read < n; c->read++) {
		if (unlikely(!piece_get(c, c->read, own, &c->piece[c->read]))) {
			fail(p, queue, c->link, MEMIF_BAD_BUFFER);
			c->avail = c->read;
			break;
		}
		rte_prefetch0(c->piece[c->read].data);
	}
	while (i < c->read) {
		const struct piece *piece = &c->piece[i];
		struct rte_mbuf *to = m[got];
		uint32_t used = 1;
		buffer_fill(to, p->id, (uint16_t)piece->length);
		if (likely(!piece->more && piece->length - 1 < room)) {
			buffer_copy(rte_pktmbuf_mtod(to, void *), piece->data, piece->length);
			got++;
		} else if ((used = gather(c, i, own, room, to)) == 0) {
			fail(p, queue, c->link, MEMIF_BAD_CHAIN);
			break;
		} else {
			got = (uint16_t)(got + (to->pkt_len != 0));
			bad += to->pkt_len == 0;
		}
		i += used;
	}
	if (own)
		for (uint32_t k = 0; k < i; k++)
			desc_write(q, k, 0, 0, q->buffer, true);
	publish(q, i);
	if (unlikely(bad > 0))
		__atomic_fetch_add(&p->stats[queue].rx_bad, bad, __ATOMIC_RELAXED);
	return got;
}

uint16_t
memif_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct memif_link *l = __atomic_load_n(&((struct memif *)p->priv)->link, __ATOMIC_ACQUIRE);
	struct cursor c;
	if (l == NULL || queue >= l->n_rx || unlikely(__atomic_load_n(&l->fault, __ATOMIC_RELAXED) != MEMIF_OK))
		return 0;
	int32_t avail = available(&l->rx[queue]);
	if (avail <= 0) {
		if (unlikely(avail < 0))
			fail(p, queue, l, MEMIF_BAD_INDEX);
		return 0;
	}
	c.link = l;
	c.q = &l->rx[queue];
	c.avail = (uint32_t)avail;
	n = RTE_MIN(n, (uint16_t)RTE_MIN(avail, BURST));
	if (unlikely(buffers_take(p->pool, m, n) != 0))
		return 0;
	uint16_t got = l->own ? receive(p, queue, &c, m, n, true) : receive(p, queue, &c, m, n, false);
	if (unlikely(got < n))
		buffers_free(m + got, n - got);
	return got;
}

/*
 * A frame over as many buffers as it needs. Returns how many, 0 when there are not enough of them now, -1 when one is
 * not a buffer. Nothing is visible to the peer before the index moves, so a frame that stops half-way costs nothing.
 */
static __rte_noinline int
scatter(const struct cursor *c, uint32_t i, bool own, const struct rte_mbuf *m)
{
	uint32_t left = m->pkt_len, from = 0, used = 0;
	while (left > 0) {
		struct piece piece;
		if (used == MEMIF_CHAIN || i + used >= c->avail)
			return 0;
		if (!piece_at(c, i + used, own, &piece))
			return -1;
		if (own)
			piece.length = c->q->buffer;
		uint32_t length = RTE_MIN(left, piece.length), done = 0;
		while (done < length) {
			if (from == m->data_len) {
				m = m->next;
				from = 0;
				continue;
			}
			uint32_t part = RTE_MIN(length - done, m->data_len - from);
			buffer_copy(piece.data + done, rte_pktmbuf_mtod_offset(m, const uint8_t *, from), part);
			done += part;
			from += part;
		}
		left -= length;
		desc_write(c->q, i + used, left > 0 ? MEMIF_DESC_NEXT : 0, piece.region, length, own);
		used++;
	}
	return (int)used;
}

static __rte_always_inline uint16_t
transmit(struct port *p, uint16_t queue, struct cursor *c, struct rte_mbuf **m, uint16_t n, bool own)
{
	struct memif_queue *q = c->q;
	uint32_t i = 0;
	uint16_t sent;
	const uint32_t want = RTE_MIN((uint32_t)n, c->avail);
	for (c->read = 0; c->read < want; c->read++) {
		if (unlikely(!piece_get(c, c->read, own, &c->piece[c->read]))) {
			fail(p, queue, c->link, MEMIF_BAD_BUFFER);
			c->avail = c->read;
			break;
		}
		buffer_prefetch_to_write(c->piece[c->read].data);
	}
	for (sent = 0; sent < n; sent++) {
		const struct rte_mbuf *from = m[sent];
		const struct piece *piece = &c->piece[i];
		uint32_t length = from->data_len;
		int used = 1;
		if (likely(i < c->read && length == from->pkt_len && length <= (own ? q->buffer : piece->length))) {
			buffer_copy(piece->data, rte_pktmbuf_mtod(from, const void *), length);
			desc_write(q, i, 0, piece->region, length, own);
		} else if ((used = scatter(c, i, own, from)) <= 0) {
			if (used < 0)
				fail(p, queue, c->link, MEMIF_BAD_BUFFER);
			break;
		}
		i += (uint32_t)used;
	}
	publish(q, i);
	return sent;
}

uint16_t
memif_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct memif_link *l = __atomic_load_n(&((struct memif *)p->priv)->link, __ATOMIC_ACQUIRE);
	struct cursor c; /* large: not to be cleared */
	uint16_t sent = 0;
	if (l == NULL || queue >= l->n_tx || unlikely(__atomic_load_n(&l->fault, __ATOMIC_RELAXED) != MEMIF_OK))
		goto out;
	c.link = l;
	c.q = &l->tx[queue];
	while (sent < n) {
		uint16_t chunk = RTE_MIN((uint16_t)(n - sent), (uint16_t)BURST), took;
		int32_t avail = available(c.q);
		if (unlikely(avail < 0))
			fail(p, queue, l, MEMIF_BAD_INDEX);
		if (avail <= 0)
			break;
		c.avail = (uint32_t)avail;
		took = l->own ? transmit(p, queue, &c, m + sent, chunk, true)
			      : transmit(p, queue, &c, m + sent, chunk, false);
		sent = (uint16_t)(sent + took);
		if (took < chunk)
			break;
	}
	if (sent == 0)
		goto out;
	buffers_free(m, sent);
	/* The peer unmasks, then looks at the index; we publish it, then look at the mask. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if ((__atomic_load_n(&c.q->ring->flags, __ATOMIC_RELAXED) & MEMIF_RING_MASK_INT) == 0 && c.q->kick >= 0)
		kick_peer(c.q->kick);
out:
	if (unlikely(sent < n))
		p->stats[queue].tx_full++;
	return sent;
}
