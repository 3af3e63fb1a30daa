/* SPDX-License-Identifier: Apache-2.0 */
/* Fragments on their way through the pipeline; what is remembered of them is fragment_table.c's. */
#include <weft/pipeline.h>

#include "fragment.h"
#include "parse.h"
#include "worker_private.h"

void
fragment_name(const struct worker *w, const struct packet *p, uint32_t network, struct datagram *out)
{
	memset(out, 0, sizeof(*out));
	out->name.src = p->key.src;
	out->name.dst = p->key.dst;
	out->name.sport = (uint16_t)p->fragment_id;
	out->name.dport = (uint16_t)(p->fragment_id >> 16);
	/* IPv6's later fragments may say another next header than the first: nobody looks at it (RFC 8200 4.5). */
	out->name.net_proto = tuple_net_proto(network, packet_is4(p) ? p->proto : 0);
	out->source = p->source;
	out->hash = conn_hash(w->conns, &out->name) ^ p->source * 0x9e3779b1u;
}

/*
 * All fragments of a datagram come by one port, but not by one queue: a guest that spreads by ports can only do so with
 * the first. So one of the workers that poll the port's queues keeps it, chosen by its name: with one queue it is
 * always this one, and nobody else's worker is burdened.
 */
bool
fragment_mine(struct worker *w, struct burst *b, uint32_t i, const struct datagram *d)
{
	struct packet *p = &b->p[i];
	struct rte_mbuf *m = b->m[i];
	const struct port *port = port_by_id(p->in_port);
	if (unlikely(port == NULL))
		return true;
	/* The high bits: the low ones choose the bucket. */
	uint16_t queue = (uint16_t)((d->hash >> 16) % port->n_rxq);
	unsigned int owner = __atomic_load_n(&workers.rx_worker[p->in_port][queue], __ATOMIC_RELAXED);
	if (likely(owner == w->id))
		return true;
	/*
	 * As it came: the tunnel's header is still in front of it, its checksum was right, and the sign of congestion
	 * that went inside with it changes nothing when it is taken over again.
	 */
	if (p->outer != 0) {
		rte_pktmbuf_prepend(m, p->outer);
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	}
	m->port = p->in_port;
	m->hash.usr = b->from->slot;
	if (unlikely(rte_ring_enqueue(worker_get(owner)->fragment_inbox, m) != 0))
		packet_drop(w, b, i, DROP_HANDOFF_FULL);
	else
		w->count.handed++;
	return false;
}

/* What the fragment covers of its datagram. -1, or the drop reason, and the whole datagram is to be refused unless it
 * is a mere duplicate. */
static int
add_part(struct fragment_entry *e, const struct packet *p)
{
	uint32_t start = p->fragment_offset, end = start + p->fragment_len;
	bool last = !(p->flags & PACKET_MORE);
	for (unsigned int k = 0; k < e->n_parts; k++) {
		const struct fragment_part *o = &e->part[k];
		if (o->start == start && o->end == end)
			return DROP_FRAGMENT_DUPLICATE;
		if (o->start < end && start < o->end)
			return DROP_FRAGMENT_OVERLAP;
	}
	if (e->total != 0 ? last || end > e->total : last && end < e->far)
		return DROP_FRAGMENT_OVERLAP;
	if (e->n_parts == FRAGMENT_PARTS)
		return DROP_FRAGMENT_LIMIT;
	e->part[e->n_parts++] = (struct fragment_part){(uint16_t)start, (uint16_t)end};
	e->got += end - start;
	e->far = RTE_MAX(e->far, end);
	if (last)
		e->total = end;
	return -1;
}

static void
refuse(struct worker *w, struct fragment_entry *e, enum drop_reason reason)
{
	fragment_drop_held(w, e, reason);
	fragment_become(w, e, FRAGMENT_REFUSED);
	e->reason = (uint8_t)reason;
}

void
fragment_refuse(struct worker *w, const struct datagram *d, enum drop_reason reason)
{
	struct fragment_entry *e = fragment_find(w->fragments, d);
	if (e == NULL)
		e = fragment_add(w, d);
	if (e->state != FRAGMENT_REFUSED)
		refuse(w, e, reason);
}

static void
learn_first(struct worker *w, struct fragment_entry *e, const struct packet *p)
{
	e->key = p->key;
	e->proto = p->proto;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->tcp_flags = p->tcp_flags;
	e->flags = p->flags & PACKET_ECHO;
	fragment_make_ready(w, e, p);
	fragment_become(w, e, FRAGMENT_KNOWN);
}

int
fragment_take(struct worker *w, struct burst *b, uint32_t i, const struct datagram *d)
{
	struct fragment_table *t = w->fragments;
	struct packet *p = &b->p[i];
	struct fragment_entry *e = fragment_find(t, d);
	if (e == NULL)
		e = fragment_add(w, d);
	else
		fragment_touch(t, e);
	if (e->state == FRAGMENT_REFUSED)
		return e->reason;
	int wrong = add_part(e, p);
	/* It was taken in before it had to wait for an endpoint (admit.c): it is no second one. */
	if (wrong == DROP_FRAGMENT_DUPLICATE && w->waiting_again)
		wrong = -1;
	if (unlikely(wrong >= 0)) {
		if (wrong != DROP_FRAGMENT_DUPLICATE)
			refuse(w, e, (enum drop_reason)wrong);
		return wrong;
	}
	if (!(p->flags & PACKET_LATER)) {
		learn_first(w, e, p);
	} else if (e->state == FRAGMENT_WAITING) {
		if (fragment_hold(w, e, b->m[i], p))
			return FRAGMENT_KEPT;
		refuse(w, e, DROP_FRAGMENT_LIMIT);
		return DROP_FRAGMENT_LIMIT;
	} else {
		fragment_adopt(e, p);
	}
	/* Nothing is missing: the same name means another datagram from now on (16 bits of identification come round
	 * soon, RFC 4963). */
	if (e->got == e->total)
		fragment_forget(t, e);
	return FRAGMENT_GO;
}

unsigned int
fragment_release(struct worker *w, struct burst *b)
{
	unsigned int n = 0;
	while (n < WEFT_BURST && fragment_next_ready(w, &b->m[n], &b->p[n]))
		n++;
	if (likely(n == 0))
		return 0;
	memset(b->at, 0, sizeof(b->at));
	b->n = n;
	for (unsigned int i = 0; i < n; i++)
		parse_classify(w, b, i);
	return n;
}
