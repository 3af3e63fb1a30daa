/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost.h"

#include <linux/virtio_net.h>
#include <netinet/in.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_net.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <rte_vhost.h>

#include <weft/offload.h>

#include "buffer.h"

#define LIBRARY_BURST 32 /* what one call takes at most */
#define COUNT_EVERY 64   /* calls; 64 bursts are far from a turn of the index */

/* Neither waits for the ring's lock, which the library's thread holds while it handles a message. */
static inline bool
ring_usable(struct guest *g, unsigned int ring)
{
	struct vhost_ring *r = &g->ring[ring];
	if (!__atomic_load_n(&r->enabled, __ATOMIC_ACQUIRE))
		return false;
	if (likely(!r->greet))
		return true;
	const struct split *s = __atomic_load_n(&g->split, __ATOMIC_ACQUIRE);
	if (s != NULL) {
		split_call(s, ring);
		r->greet = 0;
	} else if (__atomic_load_n(&g->library, __ATOMIC_RELAXED)) {
		r->greet = rte_vhost_vring_call_nonblock(g->vid, (uint16_t)ring) == -EAGAIN;
	}
	return true;
}

/*
 * RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS: the library leaves a partial checksum where it sees TCP, UDP or SCTP right
 * behind the IP header that csum_start ends, completes any other itself (a tunnel's inner one, say), and leaves its
 * findings in packet_type.
 */
static bool
mark_received(struct rte_mbuf *m)
{
	if (likely(m->ol_flags == 0))
		return true;
	uint64_t flags = m->ol_flags;
	uint32_t type = m->packet_type, l4 = type & RTE_PTYPE_L4_MASK;
	m->ol_flags = 0;
	m->packet_type = 0;
	m->tso_segsz = 0;
	/* Segments and SCTP's CRC were not offered. */
	if ((flags & RTE_MBUF_F_RX_LRO) != 0 || (l4 != RTE_PTYPE_L4_TCP && l4 != RTE_PTYPE_L4_UDP))
		return false;
	uint16_t start = RTE_ETHER_HDR_LEN + sizeof(struct rte_ipv4_hdr);
	if (unlikely((type & (RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK)) != (RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV4))) {
		struct rte_net_hdr_lens lens;
		rte_net_get_ptype(m, &lens, RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK);
		start = (uint16_t)(lens.l2_len + lens.l3_len);
	}
	offload_rx_partial(m, start,
			   l4 == RTE_PTYPE_L4_TCP ? offsetof(struct rte_tcp_hdr, cksum)
						  : offsetof(struct rte_udp_hdr, dgram_cksum));
	return true;
}

/* The library throws away what does not fit an mbuf and tells nobody; a split ring's index tells how many it has
 * consumed. */
static __rte_noinline void
count_lost(struct port *p, uint16_t queue, struct guest *g, unsigned int ring)
{
	struct vhost_ring *r = &g->ring[ring];
	uint16_t avail, used;
	bool restart = __atomic_exchange_n(&r->restart, 0, __ATOMIC_ACQUIRE);
	r->calls = 0;
	if (g->packed || rte_vhost_get_vring_base(g->vid, (uint16_t)ring, &avail, &used) < 0)
		return;
	uint16_t lost = (uint16_t)(avail - r->avail - r->taken);
	if (!restart && lost <= INT16_MAX) /* below 0: the library made a RARP frame of its own */
		p->stats[queue].rx_bad += lost;
	r->avail = avail;
	r->taken = 0;
}

static uint16_t
dequeue(struct port *p, struct guest *g, unsigned int ring, struct rte_mbuf **m, uint16_t n)
{
	uint16_t got = 0, took, chunk;
	do {
		chunk = RTE_MIN((uint16_t)(n - got), (uint16_t)LIBRARY_BURST);
		took = rte_vhost_dequeue_burst(g->vid, (uint16_t)ring, p->pool, m + got, chunk);
		got = (uint16_t)(got + took);
	} while (took == LIBRARY_BURST && got < n);
	return got;
}

static uint16_t
receive_own(struct port *p, uint16_t queue, struct guest *g, unsigned int ring, struct rte_mbuf **m, uint16_t n)
{
	struct split *s = __atomic_load_n(&g->split, __ATOMIC_ACQUIRE);
	unsigned int bad = 0;
	uint16_t got = likely(s != NULL) ? split_receive(p, s, ring, m, n, &bad) : 0;
	if (unlikely(bad > 0))
		p->stats[queue].rx_bad += bad;
	return got;
}

static uint16_t
receive(struct port *p, uint16_t queue, struct guest *g, unsigned int ring, struct rte_mbuf **m, uint16_t n)
{
	struct vhost_ring *r = &g->ring[ring];
	uint16_t kept = 0;
	if (!ring_usable(g, ring))
		return 0;
	if (likely(!__atomic_load_n(&g->library, __ATOMIC_RELAXED)))
		return receive_own(p, queue, g, ring, m, n);
	if (unlikely(__atomic_load_n(&r->restart, __ATOMIC_RELAXED)))
		count_lost(p, queue, g, ring);
	uint16_t got = dequeue(p, g, ring, m, n);
	for (uint16_t i = 0; i < got; i++) {
		if (likely(m[i]->nb_segs == 1 && mark_received(m[i]))) {
			m[kept++] = m[i];
		} else {
			p->stats[queue].rx_bad++;
			rte_pktmbuf_free(m[i]);
		}
	}
	r->taken = (uint16_t)(r->taken + got);
	if (unlikely(++r->calls == COUNT_EVERY))
		count_lost(p, queue, g, ring);
	return kept;
}

/* A guest may use more pairs than the port has queues (the library lets it): each queue then serves every n_rxq-th of
 * them. */
uint16_t
vhost_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct guest *g = __atomic_load_n(&((struct vhost *)p->priv)->guest, __ATOMIC_ACQUIRE);
	uint16_t got = 0;
	if (g == NULL)
		return 0;
	uint16_t pairs = __atomic_load_n(&g->rx_pairs, __ATOMIC_RELAXED);
	if (likely(pairs <= p->n_rxq))
		return receive(p, queue, g, 2u * queue + 1, m, n);
	unsigned int mine = (pairs - queue + p->n_rxq - 1u) / p->n_rxq;
	unsigned int first = g->turn[queue]++;
	for (unsigned int i = 0; i < mine && got < n; i++) {
		unsigned int pair = queue + (first + i) % mine * p->n_rxq;
		got = (uint16_t)(got + receive(p, queue, g, 2 * pair + 1, m + got, (uint16_t)(n - got)));
	}
	return got;
}

/*
 * Which of RTE_MBUF_F_TX_IPV4 and IPV6 says all about where the checksum is, or 0. The library writes the
 * pseudo-header's sum once more, from the lengths and the flag, and knows neither fragments nor extension headers.
 * *end: where the IP packet ends.
 */
static uint64_t
plain_ip(const struct rte_mbuf *m, uint8_t proto, uint32_t *end)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const struct rte_ipv4_hdr *ip4 = (const void *)(eth + 1);
	const struct rte_ipv6_hdr *ip6 = (const void *)(eth + 1);
	uint16_t start = offload_csum_start(m), length = rte_pktmbuf_data_len(m);
	*end = length;
	if (length >= sizeof(*eth) + sizeof(*ip4) && eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4)) {
		*end = sizeof(*eth) + rte_be_to_cpu_16(ip4->total_length);
		if (start == sizeof(*eth) + rte_ipv4_hdr_len(ip4) && ip4->next_proto_id == proto &&
		    (ip4->fragment_offset & RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)) == 0)
			return RTE_MBUF_F_TX_IPV4;
	} else if (length >= sizeof(*eth) + sizeof(*ip6) && eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6)) {
		*end = sizeof(*eth) + sizeof(*ip6) + rte_be_to_cpu_16(ip6->payload_len);
		if (start == sizeof(*eth) + sizeof(*ip6) && ip6->proto == proto)
			return RTE_MBUF_F_TX_IPV6;
	}
	return 0;
}

static void
mark_sent(struct rte_mbuf *m, bool able)
{
	m->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
	if (likely(!offload_is_partial(m)))
		return;
	uint32_t end;
	uint16_t offset = offload_csum_offset(m);
	bool udp = offset == offsetof(struct rte_udp_hdr, dgram_cksum);
	uint64_t ip = plain_ip(m, udp ? IPPROTO_UDP : IPPROTO_TCP, &end);
	/* Not able: it was when the packet was judged, and another guest has come since. */
	if (!able || ip == 0 || (!udp && offset != offsetof(struct rte_tcp_hdr, cksum))) {
		offload_complete(m, (uint16_t)RTE_MIN(end, (uint32_t)rte_pktmbuf_data_len(m)), udp);
		return;
	}
	m->ol_flags |= ip | (udp ? RTE_MBUF_F_TX_UDP_CKSUM : RTE_MBUF_F_TX_TCP_CKSUM);
	m->tx_offload = 0;
	m->l2_len = sizeof(struct rte_ether_hdr);
	m->l3_len = (offload_csum_start(m) - sizeof(struct rte_ether_hdr)) & 511;
	m->l4_len = udp ? sizeof(struct rte_udp_hdr) : sizeof(struct rte_tcp_hdr);
}

static uint16_t
send_library(struct guest *g, uint16_t ring, struct rte_mbuf **m, uint16_t n)
{
	uint16_t sent = 0, took;
	for (uint16_t i = 0; i < n; i++)
		mark_sent(m[i], g->csum);
	do {
		uint16_t chunk = RTE_MIN((uint16_t)(n - sent), (uint16_t)LIBRARY_BURST);
		took = rte_vhost_enqueue_burst(g->vid, ring, m + sent, chunk);
		sent = (uint16_t)(sent + took);
	} while (took == LIBRARY_BURST && sent < n);
	return sent;
}

static uint16_t
send_own(struct guest *g, uint16_t ring, struct rte_mbuf **m, uint16_t n)
{
	struct split *s = __atomic_load_n(&g->split, __ATOMIC_ACQUIRE);
	if (unlikely(s == NULL))
		return 0;
	if (unlikely(!g->csum))
		for (uint16_t i = 0; i < n; i++)
			mark_sent(m[i], false);
	return split_send(s, ring, m, n);
}

/* With fewer pairs than queues, queues share one: the ring's lock keeps their workers apart, which is rare and
 * short. */
uint16_t
vhost_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct guest *g = __atomic_load_n(&((struct vhost *)p->priv)->guest, __ATOMIC_ACQUIRE);
	uint16_t pairs = g != NULL ? __atomic_load_n(&g->tx_pairs, __ATOMIC_RELAXED) : 0, sent = 0;
	if (likely(pairs != 0)) {
		uint16_t ring = (uint16_t)(2 * (likely(queue < pairs) ? queue : queue % pairs));
		if (!ring_usable(g, ring))
			goto out;
		sent = likely(!__atomic_load_n(&g->library, __ATOMIC_RELAXED)) ? send_own(g, ring, m, n)
									      : send_library(g, ring, m, n);
		buffers_free(m, sent); /* copied, not taken */
	}
out:
	p->stats[queue].tx_full += sent < n;
	return sent;
}
