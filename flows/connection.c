/* SPDX-License-Identifier: Apache-2.0 */
/* Connections come and go. conn_internal.h says why this is right. */
#include "conn_internal.h"

#include <rte_pause.h>

/* After so many tries a creator no longer gives way to a rival that is not ready yet. */
#define PATIENCE 3u
#define TRIES 64u
/* How often to look again at a rival that is not ready yet: a creation takes less than a microsecond. */
#define LOOKS 50u

struct creation {
	const struct conn_new *new;
	uint32_t hash[2];
	unsigned int keys; /* 1 when both tuples are the same */
	uint32_t id;
	bool insist;
};

struct rivals {
	const struct creation *c;
	uint32_t live; /* the half of a live connection that carries the tuple */
	bool unborn;   /* there is one that may become live */
	bool stronger; /* and we must give way to it */
};

static uint32_t
half_set(struct conn_half *h, uint32_t flag)
{
	return __atomic_fetch_or(&h->seen, flag, __ATOMIC_ACQ_REL);
}

/* What half 0 has decided is true of half 1 as well, even where its creator or its remover has not come to say so. */
static uint32_t
seen_decided(struct conn_table *t, uint32_t ref)
{
	uint32_t seen = __atomic_load_n(&t->view.half[ref & ~1u].seen, __ATOMIC_ACQUIRE);
	uint32_t decided = seen & (SEEN_LIVE | SEEN_CLOSED);
	struct conn_half *h = &t->view.half[ref];
	if ((__atomic_load_n(&h->seen, __ATOMIC_RELAXED) & decided) != decided)
		half_set(h, decided);
	return seen;
}

static bool
rival_look(struct conn_table *t, uint32_t ref, void *arg)
{
	struct rivals *r = (struct rivals *)arg;
	uint32_t seen = seen_decided(t, ref);
	if (seen & SEEN_CLOSED)
		return false;
	if (seen & SEEN_LIVE) {
		r->live = ref;
		return true;
	}
	r->unborn = true;
	return false;
}

static bool
rival_fight(struct conn_table *t, uint32_t ref, void *arg)
{
	struct rivals *r = (struct rivals *)arg;
	for (;;) {
		uint32_t seen = seen_decided(t, ref);
		if (seen & SEEN_CLOSED)
			return false;
		if (seen & SEEN_LIVE) {
			r->live = ref;
			return true;
		}
		if (!r->c->insist && ref >> 1 < r->c->id) {
			r->stronger = true;
			return true;
		}
		if (__atomic_compare_exchange_n(&t->view.half[ref & ~1u].seen, &seen, seen | SEEN_CLOSED, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return false;
	}
}

static const struct tuple *
key_of(const struct creation *c, unsigned int i)
{
	return i == 0 ? &c->new->orig : &c->new->reply;
}

/* 0 when nobody has either tuple. */
static int
look(struct conn_table *t, const struct creation *c, uint32_t *ref)
{
	for (unsigned int looks = 0; looks < LOOKS; looks++) {
		struct rivals orig = {.c = c}, reply = {.c = c};
		bucket_rivals(t, &c->new->orig, c->hash[0], 0, rival_look, &orig);
		if (orig.live == 0 && c->keys == 2) {
			bucket_rivals(t, &c->new->reply, c->hash[1], 0, rival_look, &reply);
			/* Who has become live since we looked may have both. */
			if (reply.live != 0)
				bucket_rivals(t, &c->new->orig, c->hash[0], 0, rival_look, &orig);
		}
		if (orig.live != 0) {
			*ref = orig.live;
			return -EEXIST;
		}
		if (reply.live != 0)
			return -EADDRINUSE;
		if (!orig.unborn && !reply.unborn)
			break;
		rte_pause();
	}
	return 0;
}

static void
fill_half(struct conn_table *t, const struct creation *c, unsigned int i, uint32_t flags, uint32_t seconds)
{
	const struct conn_new *n = c->new;
	struct conn_half *to = &t->view.half[2 * c->id + i];
	/* The count of changes goes on, so that who copied the id's former entry notices. */
	uint32_t changes = ((__atomic_load_n(&to->seen, __ATOMIC_RELAXED) & -(2 * HALF_CHANGING)) + 2 * HALF_CHANGING);
	struct conn_half h = {
		.key = i == 0 ? n->orig : n->reply,
		.dep = {n->dep[i][0], n->dep[i][1], n->dep[i][2]},
		.stamp = n->stamp[i],
		.hop = n->hop[i],
		.seen = changes | flags | seconds,
	};
	words_store(to, &h, sizeof(h));
}

static void
fill(struct conn_table *t, const struct creation *c, uint32_t now_ms)
{
	const struct conn_new *n = c->new;
	struct tuple back = tuple_reversed(&n->orig);
	bool nat = !tuple_equal(&back, &n->reply);
	uint8_t proto = (uint8_t)n->orig.net_proto;
	bool dns = tuple_is_dns(&n->orig);
	uint32_t flags = nat ? SEEN_NAT : 0;
	/* That somebody asks is known by now; that he is answered is not. */
	bool tells = proto == IPPROTO_TCP || proto == IPPROTO_SCTP || dns;
	fill_half(t, c, 0, flags | (tells ? 0 : SEEN_SETTLED), now_ms / 1000);
	fill_half(t, c, 1, flags, now_ms / 1000);

	struct conn_cold cold = {
		.rule = {n->rule[0], n->rule[1]},
		.service = n->service,
		.backend = n->backend,
		.owner = n->owner,
		.scale = {TCP_SCALE_NONE, TCP_SCALE_NONE},
	};
	cold.datagrams[0] = dns;
	if (proto == IPPROTO_TCP) {
		int state = tcp_state_next(TCP_STATE_NONE, n->tcp.flags, false);
		cold.state = (uint8_t)(state > 0 ? state : TCP_STATE_SYN_SENT);
		tcp_window_open(cold.tcp, cold.scale, &n->tcp);
	} else if (proto == IPPROTO_SCTP) {
		sctp_open(&cold, &n->sctp);
	}
	words_store(&t->view.cold[c->id], &cold, sizeof(cold));
}

static void
withdraw(struct conn_table *t, unsigned int worker, const struct creation *c, unsigned int inserted)
{
	/* The link between waiting ids needs both halves closed, see conn_id.c. */
	half_set(&t->view.half[2 * c->id], SEEN_CLOSED);
	half_set(&t->view.half[2 * c->id + 1], SEEN_CLOSED);
	for (unsigned int i = 0; i < inserted; i++)
		bucket_erase(t, c->hash[i], 2 * c->id + i);
	if (inserted == 0)
		conn_id_put(t, worker, c->id);
	else
		conn_id_retire(t, worker, c->id);
}

static bool
prevail(struct conn_table *t, const struct creation *c)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	struct rivals r = {.c = c};
	for (unsigned int i = 0; i < c->keys && r.live == 0 && !r.stronger; i++)
		bucket_rivals(t, key_of(c, i), c->hash[i], c->id, rival_fight, &r);
	if (r.live != 0 || r.stronger)
		return false;
	struct conn_half *h = &t->view.half[2 * c->id];
	uint32_t unborn = __atomic_load_n(&h->seen, __ATOMIC_RELAXED);
	if ((unborn & SEEN_CLOSED) || !__atomic_compare_exchange_n(&h->seen, &unborn, unborn | SEEN_LIVE, false,
								   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	half_set(h + 1, SEEN_LIVE);
	return true;
}

/* 0, -EAGAIN when a rival was stronger, -ENOSPC. */
static int
try(struct conn_table *t, unsigned int worker, struct creation *c, uint32_t now_ms)
{
	c->id = conn_id_take(t, worker);
	if (c->id == 0)
		return -ENOSPC;
	fill(t, c, now_ms);
	for (unsigned int i = 0; i < c->keys; i++) {
		if (bucket_insert(t, c->hash[i], 2 * c->id + i) != 0) {
			withdraw(t, worker, c, i);
			return -ENOSPC;
		}
	}
	if (!prevail(t, c)) {
		withdraw(t, worker, c, c->keys);
		return -EAGAIN;
	}
	return 0;
}

static int
refused(struct conn_table *t, unsigned int worker, const struct creation *c, bool admitted, int rc)
{
	if (admitted)
		quota_leave(t, c->new->owner);
	if (rc == -EEXIST || rc == -EADDRINUSE)
		return rc;
	count(rc == -EDQUOT ? &t->worker[worker].refused_quota : &t->worker[worker].refused_full);
	return rc == -EDQUOT ? rc : -ENOSPC;
}

int
conn_create(struct conn_table *t, unsigned int worker, const struct conn_new *n, uint32_t now_ms, uint32_t *ref)
{
	struct creation c = {
		.new = n,
		.hash = {n->hash[0] != 0 ? n->hash[0] : conn_prefetch(t, &n->orig),
			 n->hash[1] != 0 ? n->hash[1] : conn_prefetch(t, &n->reply)},
		.keys = tuple_equal(&n->orig, &n->reply) ? 1 : 2,
	};
	*ref = 0;
	int rc = -EAGAIN;
	bool admitted = false;
	for (unsigned int i = 0; i < TRIES && rc == -EAGAIN; i++) {
		rc = look(t, &c, ref);
		if (rc == 0 && !admitted) {
			rc = quota_admit(t, worker, n->owner, now_ms);
			admitted = rc == 0;
		}
		c.insist = i >= PATIENCE;
		if (rc == 0)
			rc = try(t, worker, &c, now_ms);
	}
	if (rc != 0)
		return refused(t, worker, &c, admitted, rc);
	*ref = 2 * c.id;
	count(&t->worker[worker].created);
	quota_note(t, worker, QUOTA_LIVE, 1);
	if ((n->orig.net_proto & 0xff) == IPPROTO_TCP)
		__atomic_fetch_add(&open_shard(t, c.id)->n, 1, __ATOMIC_RELAXED);
	return 0;
}

void
conn_bury(struct conn_table *t, unsigned int worker, uint32_t id)
{
	const struct conn_half *h = &t->view.half[2 * id];
	half_set(&t->view.half[2 * id + 1], SEEN_CLOSED);
	bucket_erase(t, conn_hash(t, &h[0].key), 2 * id);
	if (!tuple_equal(&h[0].key, &h[1].key))
		bucket_erase(t, conn_hash(t, &h[1].key), 2 * id + 1);
	conn_mark_answered(t, id);
	quota_leave(t, t->view.cold[id].owner);
	quota_note(t, worker, QUOTA_LIVE, -1);
	conn_id_retire(t, worker, id);
}

void
conn_remove(struct conn_table *t, unsigned int worker, uint32_t ref)
{
	uint32_t id = ref >> 1;
	if (id == 0 || id > t->capacity)
		return;
	uint32_t before = half_set(&t->view.half[2 * id], SEEN_CLOSED);
	half_set(&t->view.half[2 * id + 1], SEEN_CLOSED);
	if (!seen_is_live(before))
		return;
	conn_bury(t, worker, id);
	count(&t->worker[worker].removed);
}

void
conn_half_decide(struct conn_half *h, const uint32_t dep[GENERATION_DEPS], uint32_t stamp, uint32_t hop)
{
	uint32_t seen = __atomic_load_n(&h->seen, __ATOMIC_RELAXED);
	do {
		if (seen & (HALF_CHANGING | SEEN_CLOSED))
			return;
	} while (!__atomic_compare_exchange_n(&h->seen, &seen, seen + HALF_CHANGING, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	__atomic_thread_fence(__ATOMIC_RELEASE);
	for (unsigned int i = 0; i < GENERATION_DEPS; i++)
		__atomic_store_n(&h->dep[i], dep[i], __ATOMIC_RELAXED);
	__atomic_store_n(&h->hop, hop, __ATOMIC_RELAXED);
	__atomic_store_n(&h->stamp, stamp, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->seen, HALF_CHANGING, __ATOMIC_RELEASE);
}
