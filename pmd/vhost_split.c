/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_split.h"

#include <rte_prefetch.h>

#include "buffer.h"
#include "kick.h"
#include "virtio_header.h"

/* A descriptor, read and checked: what follows uses nothing else of it. */
struct piece {
	uint8_t *data; /* NULL: not one that a whole frame fits, see chain */
	uint32_t length;
	uint16_t head;
};

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

static __rte_always_inline struct descriptor
descriptor_read(const struct vring_desc *d)
{
	uint64_t address = __atomic_load_n((const uint64_t *)(const void *)&d->addr, __ATOMIC_RELAXED);
	uint64_t rest = __atomic_load_n((const uint64_t *)(const void *)&d->len, __ATOMIC_RELAXED);
	return (struct descriptor){address, (uint32_t)rest, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48)};
}

/* Where guest memory is mapped, and how much of *length lies there in one piece; NULL: nowhere. */
static __rte_always_inline uint8_t *
locate(const struct split *s, uint64_t address, uint32_t *length)
{
	for (unsigned int i = 0; i < s->n_regions; i++) {
		const struct split_region *r = &s->region[i];
		uint64_t offset = address - r->guest;
		if (offset < r->size) {
			*length = (uint32_t)RTE_MIN((uint64_t)*length, r->size - offset);
			return r->base + offset;
		}
	}
	return NULL;
}

static __rte_noinline void
broken(struct split_ring *r)
{
	__atomic_store_n(&r->broken, true, __ATOMIC_RELAXED);
}

/* How many buffers the guest offers. */
static __rte_always_inline uint16_t
available(struct split_ring *r)
{
	uint16_t n = (uint16_t)(__atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE) - r->next);
	if (unlikely(n > r->mask + 1u)) {
		broken(r);
		return 0;
	}
	return n;
}

/* The buffers from the next on, up to the first whose number cannot be: returns how many. */
static __rte_always_inline uint16_t
pieces_read(const struct split *s, struct split_ring *r, struct piece *piece, uint16_t n, uint16_t flags)
{
	for (uint16_t i = 0; i < n; i++) {
		uint16_t head = __atomic_load_n(&r->avail->ring[(r->next + i) & r->mask], __ATOMIC_RELAXED);
		if (unlikely(head > r->mask)) {
			broken(r);
			n = i;
			break;
		}
		piece[i].head = head;
		rte_prefetch0(&r->desc[head]);
	}
	for (uint16_t i = 0; i < n; i++) {
		struct descriptor d = descriptor_read(&r->desc[piece[i].head]);
		uint32_t length = d.length;
		piece[i].data = likely(d.flags == flags) ? locate(s, d.address, &length) : NULL;
		if (unlikely(length != d.length))
			piece[i].data = NULL;
		piece[i].length = length;
		if (unlikely(piece[i].data == NULL))
			continue;
		/* A short frame and its header: two lines. */
		if (flags & VRING_DESC_F_WRITE) {
			buffer_prefetch_to_write(piece[i].data);
			buffer_prefetch_to_write(piece[i].data + RTE_CACHE_LINE_SIZE);
		} else {
			rte_prefetch0(piece[i].data);
			rte_prefetch0(piece[i].data + RTE_CACHE_LINE_SIZE);
		}
	}
	return n;
}

static __rte_always_inline void
give_back(struct split_ring *r, uint32_t i, uint32_t head, uint32_t length)
{
	struct vring_used_elem *e = &r->used->ring[(r->next + r->given + i) & r->mask];
	__atomic_store_n(&e->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, length, __ATOMIC_RELAXED);
}

static bool
wants_call(const struct split *s, const struct split_ring *r, uint16_t old, uint16_t new)
{
	if (!s->event_idx)
		return (__atomic_load_n(&r->avail->flags, __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
	return vring_need_event(__atomic_load_n(&r->avail->ring[r->mask + 1], __ATOMIC_RELAXED), new, old);
}

/* n buffers are the guest's again. */
static __rte_always_inline void
publish(const struct split *s, struct split_ring *r, uint16_t n)
{
	uint16_t old = (uint16_t)(r->next + r->given);
	if (n == 0)
		return;
	r->next = (uint16_t)(r->next + n);
	__atomic_store_n(&r->used->idx, (uint16_t)(old + n), __ATOMIC_RELEASE);
	/* The guest asks for a signal, then looks at the index; we set it, then look whether he has asked. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (unlikely(r->call >= 0 && wants_call(s, r, old, (uint16_t)(old + n))))
		kick_peer(r->call);
}

/* The pieces of any buffer: chained, or in a table of its own, or across regions. */
struct chain {
	const struct split *s;
	const struct vring_desc *table;
	uint32_t size, left; /* of the table; descriptors until it can only be a circle */
	struct descriptor at;
	uint16_t write; /* VRING_DESC_F_WRITE, or 0: what each must be */
	uint8_t *data;
	uint32_t length;
};

static bool
chain_load(struct chain *c)
{
	c->length = c->at.length;
	/* A piece of nothing brings a frame no further: of those a guest could make one last as long as it likes. */
	if ((c->at.flags & (VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT)) != c->write || c->length == 0)
		return false;
	c->data = locate(c->s, c->at.address, &c->length);
	return c->data != NULL;
}

static bool
chain_start(struct chain *c, const struct split_ring *r, uint16_t head)
{
	c->table = r->desc;
	c->size = c->left = r->mask + 1u;
	c->at = descriptor_read(&c->table[head]);
	if (c->at.flags & VRING_DESC_F_INDIRECT) {
		uint32_t length = c->at.length;
		const void *table = locate(c->s, c->at.address, &length);
		if (table == NULL || length != c->at.length || length == 0 || length % sizeof(*c->table) != 0 ||
		    c->at.flags & VRING_DESC_F_NEXT ||
		    ((uintptr_t)table & (sizeof(uint64_t) - 1)) != 0)
			return false;
		c->table = table;
		c->size = length / (uint32_t)sizeof(*c->table);
		c->left = RTE_MIN(c->size, r->mask + 1u);
		c->at = descriptor_read(&c->table[0]);
	}
	return chain_load(c);
}

/* 1: there is another piece; 0: that was the last; -1: there must be one, but is not. */
static int
chain_next(struct chain *c)
{
	if (c->length < c->at.length) {
		c->at.address += c->length;
		c->at.length -= c->length;
	} else if ((c->at.flags & VRING_DESC_F_NEXT) == 0) {
		return 0;
	} else if (--c->left == 0 || c->at.next >= c->size) {
		return -1;
	} else {
		c->at = descriptor_read(&c->table[c->at.next]);
	}
	return chain_load(c) ? 1 : -1;
}

/* A frame out of any buffer; false: it is none, or does not fit. */
static __rte_noinline bool
gather(const struct split *s, const struct split_ring *r, uint16_t head, struct rte_mbuf *m, uint16_t port, uint32_t room)
{
	struct virtio_net_hdr_mrg_rxbuf h = {0};
	struct chain c = {.s = s};
	uint32_t got = 0; /* the header included */
	int more = chain_start(&c, r, head) ? 1 : -1;
	buffer_fill(m, port, 0); /* where its data begins */
	for (; more == 1; more = chain_next(&c)) {
		uint32_t of_header = got < s->header ? RTE_MIN(s->header - got, c.length) : 0;
		uint32_t rest = c.length - of_header, at = got + of_header - s->header;
		if (rest > 0 && (at > room || rest > room - at))
			return false;
		if (of_header > 0)
			memcpy((char *)&h + got, c.data, of_header);
		if (rest > 0)
			buffer_copy(rte_pktmbuf_mtod_offset(m, uint8_t *, at), c.data + of_header, rest);
		got += c.length;
	}
	if (more < 0 || got <= s->header)
		return false;
	m->pkt_len = m->data_len = (uint16_t)(got - s->header);
	return !s->checksums || virtio_header_read(&h.hdr, m);
}

static __rte_always_inline bool
receive_one(const struct split *s, const struct split_ring *r, const struct piece *piece, struct rte_mbuf *m, uint16_t port,
	    uint32_t room)
{
	uint32_t length = piece->length - s->header;
	if (unlikely(piece->data == NULL || length - 1 >= room))
		return gather(s, r, piece->head, m, port, room);
	struct virtio_net_hdr h;
	memcpy(&h, piece->data, sizeof(h));
	buffer_fill(m, port, (uint16_t)length);
	buffer_copy(rte_pktmbuf_mtod(m, void *), piece->data + s->header, length);
	return likely((h.flags | h.gso_type) == 0) || !s->checksums || virtio_header_read(&h, m);
}

uint16_t
split_receive(const struct port *p, struct split *s, unsigned int ring, struct rte_mbuf **m, uint16_t n, unsigned int *bad)
{
	const uint32_t room = rte_pktmbuf_data_room_size(p->pool) - RTE_PKTMBUF_HEADROOM;
	struct split_ring *r = &s->ring[ring];
	struct piece piece[WEFT_BURST];
	uint16_t got = 0;
	if (unlikely(ring >= s->n_rings || __atomic_load_n(&r->broken, __ATOMIC_RELAXED)))
		return 0;
	n = RTE_MIN(RTE_MIN(n, available(r)), (uint16_t)WEFT_BURST);
	if (n == 0 || unlikely(buffers_take(p->pool, m, n) != 0))
		return 0;
	uint16_t read = pieces_read(s, r, piece, n, 0);
	for (uint16_t i = 0; i < read; i++) {
		got = (uint16_t)(got + receive_one(s, r, &piece[i], m[got], p->id, room));
		give_back(r, i, piece[i].head, 0);
	}
	publish(s, r, read);
	*bad += read - got;
	if (unlikely(got < n))
		buffers_free(m + got, n - got);
	return got;
}

static __rte_always_inline void
header_write(const struct split *s, uint8_t *to, const struct rte_mbuf *m, uint16_t buffers)
{
	struct virtio_net_hdr_mrg_rxbuf h = {.num_buffers = buffers};
	virtio_header_write(&h.hdr, m);
	if (likely(s->header == sizeof(h)))
		memcpy(to, &h, sizeof(h));
	else
		memcpy(to, &h, sizeof(h.hdr));
}

/*
 * A frame into as many buffers as it needs. Returns how many, or 0: there are not enough of them, or one is none. Nothing
 * is visible to the guest before the index moves.
 */
static __rte_noinline uint16_t
scatter(const struct split *s, struct split_ring *r, uint16_t first, uint16_t end, const struct rte_mbuf *frame)
{
	const struct rte_mbuf *m = frame;
	uint32_t left = m->pkt_len, from = 0;
	uint8_t *header = NULL;
	uint16_t used = 0;
	while (left > 0) {
		struct chain c = {.s = s, .write = VRING_DESC_F_WRITE};
		uint16_t head;
		uint32_t filled = 0;
		if (first + used >= end || (used > 0 && !s->mergeable))
			return 0;
		head = __atomic_load_n(&r->avail->ring[(r->next + first + used) & r->mask], __ATOMIC_RELAXED);
		if (head > r->mask || !chain_start(&c, r, head))
			return 0;
		int more = 1;
		for (; more == 1 && left > 0; more = chain_next(&c)) {
			uint32_t done = 0;
			if (header == NULL) {
				if (c.length < s->header) /* no driver splits it */
					return 0;
				header = c.data;
				done = s->header;
			}
			while (done < c.length && left > 0) {
				uint32_t part = RTE_MIN(c.length - done, m->data_len - from);
				buffer_copy(c.data + done, rte_pktmbuf_mtod_offset(m, const uint8_t *, from), part);
				done += part;
				left -= part;
				from += part;
				if (from == m->data_len && m->next != NULL) {
					m = m->next;
					from = 0;
				}
			}
			filled += done;
		}
		if (more < 0 && left > 0)
			return 0;
		give_back(r, (uint32_t)first + used, head, filled);
		used++;
	}
	if (likely(used > 0))
		header_write(s, header, frame, used);
	return used;
}

uint16_t
split_send(struct split *s, unsigned int ring, struct rte_mbuf *const *m, uint16_t n)
{
	struct split_ring *r = &s->ring[ring];
	struct piece piece[WEFT_BURST];
	uint16_t sent = 0, i = 0;
	if (unlikely(ring >= s->n_rings || __atomic_load_n(&r->broken, __ATOMIC_RELAXED)))
		return 0;
	rte_spinlock_lock(&r->lock);
	uint16_t end = available(r), read = RTE_MIN(RTE_MIN(n, end), (uint16_t)WEFT_BURST);
	read = pieces_read(s, r, piece, read, VRING_DESC_F_WRITE);
	for (; sent < n; sent++) {
		uint32_t total = m[sent]->pkt_len + s->header;
		uint16_t used = 1;
		if (likely(i < read && piece[i].data != NULL && total <= piece[i].length && m[sent]->nb_segs == 1)) {
			header_write(s, piece[i].data, m[sent], 1);
			buffer_copy(piece[i].data + s->header, rte_pktmbuf_mtod(m[sent], const void *), m[sent]->pkt_len);
			give_back(r, i, piece[i].head, total);
		} else if (i >= end || (used = scatter(s, r, i, end, m[sent])) == 0) {
			break;
		}
		i = (uint16_t)(i + used);
	}
	publish(s, r, i);
	rte_spinlock_unlock(&r->lock);
	return sent;
}

void
split_call(const struct split *s, unsigned int ring)
{
	if (ring < s->n_rings && s->ring[ring].call >= 0)
		kick_peer(s->ring[ring].call);
}
