/* SPDX-License-Identifier: Apache-2.0 */
/* The datagrams that one worker remembers, and the bounds on them. */
#include <stdlib.h>

#include <weft/clock.h>
#include <weft/config.h>

#include "fragment.h"

#define BUCKETS 1024u
#define CLASSES 2        /* waiting, and all others */
#define EXPIRE_BUDGET 64 /* in one round of housekeeping */

/* Oldest at the head. */
struct list {
	uint16_t head, tail, n;
};

/* Of one source, or of one address of it: here for as long as it has entries, so that there are never more than
 * entries. 0 is none. */
struct account {
	struct list list[CLASSES];
	uint16_t held;
	uint16_t chain; /* next in its bucket, or free */
	uint32_t hash;
	struct tuple whose; /* net_proto: the source; src: the address, BY_ADDRESS */
};

struct fragment_table {
	struct account account[BY_AGE][FRAGMENT_ENTRIES + 1];
	uint16_t account_bucket[BY_AGE][BUCKETS];
	uint16_t free_account[BY_AGE];
	struct list age[CLASSES];
	uint16_t bucket[BUCKETS];
	uint16_t free, free_held;
	uint16_t used, used_held;
	uint16_t ready_head, ready_tail;
	struct fragment_entry entry[FRAGMENT_ENTRIES + 1];
	struct fragment_held held[FRAGMENT_HELD + 1];
};

static const uint16_t account_max[] = {[BY_SOURCE] = FRAGMENT_SOURCE_MAX, [BY_ADDRESS] = FRAGMENT_ADDRESS_MAX};
static const uint16_t account_held_max[] = {[BY_SOURCE] = FRAGMENT_SOURCE_HELD, [BY_ADDRESS] = FRAGMENT_ADDRESS_HELD};

struct fragment_table *
fragment_table_new(void)
{
	struct fragment_table *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return NULL;
	for (unsigned int i = FRAGMENT_ENTRIES; i > 0; i--) {
		t->entry[i].chain = t->free;
		t->free = (uint16_t)i;
		for (int by = 0; by < BY_AGE; by++) {
			t->account[by][i].chain = t->free_account[by];
			t->free_account[by] = (uint16_t)i;
		}
	}
	for (unsigned int i = FRAGMENT_HELD; i > 0; i--) {
		t->held[i].next = t->free_held;
		t->free_held = (uint16_t)i;
	}
	return t;
}

unsigned int
fragment_table_used(const struct fragment_table *t)
{
	return t->used;
}

static uint16_t
index_of(const struct fragment_table *t, const struct fragment_entry *e)
{
	return (uint16_t)(e - t->entry);
}

static int
class_of(const struct fragment_entry *e)
{
	return e->state != FRAGMENT_WAITING;
}

static struct list *
list_of(struct fragment_table *t, const struct fragment_entry *e, int by)
{
	return by == BY_AGE ? &t->age[class_of(e)] : &t->account[by][e->account[by]].list[class_of(e)];
}

static void
list_append(struct fragment_table *t, struct fragment_entry *e, int by)
{
	struct list *l = list_of(t, e, by);
	uint16_t i = index_of(t, e);
	e->link[by] = (struct fragment_link){.prev = l->tail};
	if (l->tail != 0)
		t->entry[l->tail].link[by].next = i;
	else
		l->head = i;
	l->tail = i;
	l->n++;
}

static void
list_remove(struct fragment_table *t, struct fragment_entry *e, int by)
{
	struct list *l = list_of(t, e, by);
	struct fragment_link link = e->link[by];
	if (link.prev != 0)
		t->entry[link.prev].link[by].next = link.next;
	else
		l->head = link.next;
	if (link.next != 0)
		t->entry[link.next].link[by].prev = link.prev;
	else
		l->tail = link.prev;
	l->n--;
}

static unsigned int
entries_of(const struct account *a)
{
	return (unsigned int)a->list[0].n + a->list[1].n;
}

/* An account's index, where that is written; 0 there: it has none yet. */
static uint16_t *
account_find(struct fragment_table *t, int by, const struct tuple *whose, uint32_t hash)
{
	uint16_t *at = &t->account_bucket[by][hash & (BUCKETS - 1)];
	while (*at != 0 && !tuple_equal(&t->account[by][*at].whose, whose))
		at = &t->account[by][*at].chain;
	return at;
}

static uint16_t
account_open(struct fragment_table *t, int by, const struct tuple *whose, uint32_t hash)
{
	uint16_t *at = account_find(t, by, whose, hash);
	if (*at == 0) {
		uint16_t i = t->free_account[by];
		t->free_account[by] = t->account[by][i].chain;
		t->account[by][i] = (struct account){.whose = *whose, .hash = hash};
		*at = i;
	}
	return *at;
}

/* Closed when nothing is left in it. */
static void
account_leave(struct fragment_table *t, int by, uint16_t i)
{
	struct account *a = &t->account[by][i];
	if (entries_of(a) != 0)
		return;
	*account_find(t, by, &a->whose, a->hash) = a->chain;
	a->chain = t->free_account[by];
	t->free_account[by] = i;
}

static uint16_t *
bucket_of(struct fragment_table *t, uint32_t hash)
{
	return &t->bucket[hash & (BUCKETS - 1)];
}

struct fragment_entry *
fragment_find(struct fragment_table *t, const struct datagram *d)
{
	for (uint16_t i = *bucket_of(t, d->hash); i != 0; i = t->entry[i].chain) {
		struct fragment_entry *e = &t->entry[i];
		if (e->hash == d->hash && e->source == d->source && tuple_equal(&e->name, &d->name))
			return e;
	}
	return NULL;
}

void
fragment_forget(struct fragment_table *t, struct fragment_entry *e)
{
	uint16_t i = index_of(t, e), *at = bucket_of(t, e->hash);
	while (*at != i)
		at = &t->entry[*at].chain;
	*at = e->chain;
	for (int by = 0; by < FRAGMENT_LISTS; by++)
		list_remove(t, e, by);
	for (int by = 0; by < BY_AGE; by++)
		account_leave(t, by, e->account[by]);
	e->chain = t->free;
	t->free = i;
	t->used--;
}

static void
held_gone(struct worker *w, uint16_t i)
{
	struct fragment_table *t = w->fragments;
	t->held[i].next = t->free_held;
	t->free_held = i;
	t->used_held--;
	w->count.held--;
}

/* They are nobody's account any more. */
static void
held_detach(struct fragment_table *t, struct fragment_entry *e)
{
	for (int by = 0; by < BY_AGE; by++)
		t->account[by][e->account[by]].held = (uint16_t)(t->account[by][e->account[by]].held - e->n_held);
	e->held_head = e->held_tail = e->n_held = 0;
}

/* Everything that an entry holds: what came by the node's wire to `host`, unless that is PORT_NONE; the rest is
 * dropped. */
static void
let_go(struct worker *w, struct fragment_entry *e, enum drop_reason reason, uint16_t host)
{
	struct fragment_table *t = w->fragments;
	uint16_t i = e->held_head;
	held_detach(t, e);
	while (i != 0) {
		struct fragment_held *h = &t->held[i];
		uint16_t next = h->next;
		if (host != PORT_NONE && packet_network(&h->p) == NETWORK_UNDERLAY) {
			worker_transmit(w, host, &h->m, 1);
		} else {
			w->port[h->p.in_port].drop[reason]++;
			rte_pktmbuf_free(h->m);
		}
		held_gone(w, i);
		i = next;
	}
}

void
fragment_drop_held(struct worker *w, struct fragment_entry *e, enum drop_reason reason)
{
	let_go(w, e, reason, config_current()->host_port);
}

static void
evict(struct worker *w, uint16_t i)
{
	struct fragment_entry *e = &w->fragments->entry[i];
	fragment_drop_held(w, e, DROP_FRAGMENT_LIMIT);
	fragment_forget(w->fragments, e);
}

/* The oldest of those that there are more of. */
static uint16_t
oldest(const struct account *a)
{
	return a->list[0].n > a->list[1].n ? a->list[0].head : a->list[1].head;
}

/* The source that has most of what is full. */
static const struct account *
fullest(const struct fragment_table *t, bool held)
{
	const struct account *who = &t->account[BY_SOURCE][0];
	unsigned int most = 0;
	for (unsigned int i = 1; i <= FRAGMENT_ENTRIES; i++) {
		const struct account *a = &t->account[BY_SOURCE][i];
		unsigned int has = held ? a->held : entries_of(a);
		if (has > most) {
			most = has;
			who = a;
		}
	}
	return who;
}

struct fragment_entry *
fragment_add(struct worker *w, const struct datagram *d)
{
	struct fragment_table *t = w->fragments;
	struct tuple whose[BY_AGE] = {
		[BY_SOURCE] = {.net_proto = d->source},
		[BY_ADDRESS] = {.net_proto = d->source, .src = d->name.src},
	};
	uint32_t hash[BY_AGE];
	for (int by = 0; by < BY_AGE; by++) {
		hash[by] = conn_hash(w->conns, &whose[by]);
		struct account *a = &t->account[by][*account_find(t, by, &whose[by], hash[by])];
		while (entries_of(a) >= account_max[by])
			evict(w, oldest(a));
	}
	if (t->free == 0)
		evict(w, oldest(fullest(t, false)));

	uint16_t i = t->free, *at = bucket_of(t, d->hash);
	struct fragment_entry *e = &t->entry[i];
	t->free = e->chain;
	memset(e, 0, offsetof(struct fragment_entry, part));
	e->name = d->name;
	e->source = d->source;
	e->hash = d->hash;
	e->since_ms = w->now_ms;
	for (int by = 0; by < BY_AGE; by++)
		e->account[by] = account_open(t, by, &whose[by], hash[by]);
	e->chain = *at;
	*at = i;
	for (int by = 0; by < FRAGMENT_LISTS; by++)
		list_append(t, e, by);
	t->used++;
	return e;
}

void
fragment_touch(struct fragment_table *t, struct fragment_entry *e)
{
	for (int by = 0; by < BY_AGE; by++) {
		list_remove(t, e, by);
		list_append(t, e, by);
	}
}

void
fragment_become(struct worker *w, struct fragment_entry *e, enum fragment_state state)
{
	struct fragment_table *t = w->fragments;
	for (int by = 0; by < FRAGMENT_LISTS; by++)
		list_remove(t, e, by);
	e->state = (uint8_t)state;
	e->since_ms = w->now_ms;
	for (int by = 0; by < FRAGMENT_LISTS; by++)
		list_append(t, e, by);
}

/* Room for one more held packet of e, at the expense of whoever is to pay. False: that is e itself. */
static bool
make_room(struct worker *w, const struct fragment_entry *e)
{
	struct fragment_table *t = w->fragments;
	uint16_t self = index_of(t, e);
	for (int by = 0; by < BY_AGE; by++) {
		const struct account *a = &t->account[by][e->account[by]];
		while (a->held >= account_held_max[by]) {
			uint16_t victim = a->list[0].head;
			if (victim == self)
				return false;
			evict(w, victim);
		}
	}
	if (t->free_held == 0) {
		uint16_t victim = fullest(t, true)->list[0].head;
		/* All may be ready, for a moment. */
		if (victim == self || victim == 0)
			return false;
		evict(w, victim);
	}
	return t->free_held != 0;
}

static uint16_t
held_new(struct worker *w, struct rte_mbuf *m, const struct packet *p)
{
	struct fragment_table *t = w->fragments;
	uint16_t i = t->free_held;
	t->free_held = t->held[i].next;
	t->held[i] = (struct fragment_held){.m = m, .p = *p};
	t->used_held++;
	w->count.held++;
	return i;
}

bool
fragment_hold(struct worker *w, struct fragment_entry *e, struct rte_mbuf *m, const struct packet *p)
{
	struct fragment_table *t = w->fragments;
	if (!make_room(w, e))
		return false;
	uint16_t i = held_new(w, m, p);
	if (e->held_tail != 0)
		t->held[e->held_tail].next = i;
	else
		e->held_head = i;
	e->held_tail = i;
	e->n_held++;
	for (int by = 0; by < BY_AGE; by++)
		t->account[by][e->account[by]].held++;
	return true;
}

void
fragment_adopt(const struct fragment_entry *e, struct packet *p)
{
	p->key = e->key;
	p->proto = e->proto;
	p->icmp_type = e->icmp_type;
	p->icmp_code = e->icmp_code;
	p->tcp_flags = e->tcp_flags;
	p->flags |= e->flags;
}

static void
ready_append(struct fragment_table *t, uint16_t first, uint16_t last)
{
	if (t->ready_tail != 0)
		t->held[t->ready_tail].next = first;
	else
		t->ready_head = first;
	t->ready_tail = last;
}

void
fragment_make_ready(struct worker *w, struct fragment_entry *e, const struct packet *by)
{
	struct fragment_table *t = w->fragments;
	uint16_t first = e->held_head;
	if (first == 0)
		return;
	for (uint16_t i = first; i != 0; i = t->held[i].next) {
		struct packet *p = &t->held[i].p;
		fragment_adopt(e, p);
		/* As things are now, not as they were when it came. */
		p->source = by->source;
		p->back = by->back;
		p->in_port = by->in_port;
	}
	ready_append(t, first, e->held_tail);
	held_detach(t, e);
}

bool
fragment_push_ready(struct worker *w, struct rte_mbuf *m, const struct packet *p)
{
	struct fragment_table *t = w->fragments;
	/* It is here for this burst only: whoever has most of what waits makes room, unless all of it is ready. */
	uint16_t victim = t->free_held == 0 ? fullest(t, true)->list[0].head : 0;
	if (victim != 0)
		evict(w, victim);
	if (t->free_held == 0) {
		w->port[p->in_port].drop[DROP_FRAGMENT_LIMIT]++;
		rte_pktmbuf_free(m);
		return false;
	}
	uint16_t i = held_new(w, m, p);
	ready_append(t, i, i);
	return true;
}

bool
fragment_next_ready(struct worker *w, struct rte_mbuf **m, struct packet *p)
{
	struct fragment_table *t = w->fragments;
	uint16_t i = t->ready_head;
	if (i == 0)
		return false;
	t->ready_head = t->held[i].next;
	if (t->ready_head == 0)
		t->ready_tail = 0;
	*m = t->held[i].m;
	*p = t->held[i].p;
	held_gone(w, i);
	return true;
}

void
fragment_housekeep(struct worker *w)
{
	struct fragment_table *t = w->fragments;
	static const uint32_t life[CLASSES] = {FRAGMENT_HOLD_MS, FRAGMENT_LIFE_MS};
	unsigned int budget = EXPIRE_BUDGET;
	for (int kind = 0; kind < CLASSES; kind++) {
		for (; t->age[kind].head != 0 && budget > 0; budget--) {
			struct fragment_entry *e = &t->entry[t->age[kind].head];
			if (!clock_passed(w->now_ms, e->since_ms, life[kind]))
				break;
			fragment_drop_held(w, e, DROP_FRAGMENT_TIMEOUT);
			fragment_forget(t, e);
		}
	}
}

void
fragment_table_free(struct worker *w)
{
	struct fragment_table *t = w->fragments;
	if (t == NULL)
		return;
	for (int kind = 0; kind < CLASSES; kind++)
		while (t->age[kind].head != 0) {
			let_go(w, &t->entry[t->age[kind].head], DROP_FRAGMENT_TIMEOUT, PORT_NONE);
			fragment_forget(t, &t->entry[t->age[kind].head]);
		}
	free(t);
	w->fragments = NULL;
}
