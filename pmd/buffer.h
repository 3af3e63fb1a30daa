/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet buffers for ports that copy. In a pool every mbuf has refcnt 1, nb_segs 1 and next NULL (rte_mbuf.h), and
 * nearly all that come back are still like that: rte_pktmbuf_alloc_bulk() and rte_pktmbuf_free_bulk() look at `next`
 * all the same, which lies in another cache line than everything else that such a packet needs.
 */
#ifndef WEFT_PMD_BUFFER_H
#define WEFT_PMD_BUFFER_H

#include <assert.h>
#include <string.h>

#include <rte_mbuf.h>
#include <rte_memcpy.h>
#include <rte_prefetch.h>

#define COPY_INLINE 256 /* bytes */

/* libc's memcpy() takes the widest vectors that the CPU has, rte_memcpy() those it was compiled for; but for a short
 * frame the call costs more than they save. */
static __rte_always_inline void
buffer_copy(void *to, const void *from, size_t n)
{
	if (n <= COPY_INLINE)
		rte_memcpy(to, from, n);
	else
		memcpy(to, from, n);
}

/* The peer's core owns the line: asking for it to write saves a second trip. Where there is no such instruction it is a
 * NOP. */
static __rte_always_inline void
buffer_prefetch_to_write(const void *p)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	rte_prefetch0_write(p);
#endif
}

/* n buffers, or -ENOENT and none. Each is to be given buffer_fill() before anything looks at it; unused ones go back by
 * buffers_free(). */
static inline int
buffers_take(struct rte_mempool *pool, struct rte_mbuf **m, unsigned int n)
{
	return rte_mempool_get_bulk(pool, (void **)m, n);
}

/* A packet of one segment and `length` bytes, of which nothing is known yet. */
static inline void
buffer_fill(struct rte_mbuf *m, uint16_t port, uint16_t length)
{
	typedef uint64_t __attribute__((may_alias)) word;
	const union {
		uint16_t part[4];
		uint64_t all;
	} rearm = {.part = {RTE_PKTMBUF_HEADROOM, 1 /* refcnt */, 1 /* nb_segs */, port}};
	*(word *)(uintptr_t)&m->rearm_data = rearm.all;
	m->ol_flags = 0;
	m->packet_type = 0;
	m->pkt_len = length;
	m->data_len = length;
	m->vlan_tci = 0;
}

static inline bool
buffer_is_plain(const struct rte_mbuf *m)
{
	return rte_mbuf_refcnt_read(m) == 1 && m->nb_segs == 1 && RTE_MBUF_DIRECT(m);
}

static inline void
buffers_free(struct rte_mbuf **m, unsigned int n)
{
	for (unsigned int i = 0, run; i < n; i += run) {
		run = 0;
		while (i + run < n && likely(buffer_is_plain(m[i + run])) && m[i + run]->pool == m[i]->pool)
			run++;
		if (likely(run > 0)) {
			rte_mempool_put_bulk(m[i]->pool, (void *const *)&m[i], run);
		} else {
			rte_pktmbuf_free(m[i]);
			run = 1;
		}
	}
}

static_assert(offsetof(struct rte_mbuf, data_off) + 2 == offsetof(struct rte_mbuf, refcnt) &&
		      offsetof(struct rte_mbuf, data_off) + 4 == offsetof(struct rte_mbuf, nb_segs) &&
		      offsetof(struct rte_mbuf, data_off) + 6 == offsetof(struct rte_mbuf, port) &&
		      offsetof(struct rte_mbuf, data_off) == offsetof(struct rte_mbuf, rearm_data),
	      "buffer_fill writes four fields at once");

#endif
