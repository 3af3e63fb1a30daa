/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch becomes the configuration: ports that come are opened, config is filled and checked, the batch is on the
 * disk; only then is it published, and what is gone is let go. Whatever fails before that leaves everything as it was.
 */
#include <stdlib.h>

#include <weft/rcu.h>

#include "mgmt_impl.h"

struct change *
batch_add(struct batch *b)
{
	if (b->n == b->size) {
		b->size = b->size != 0 ? b->size * 2 : 16;
		b->v = realloc(b->v, b->size * sizeof(*b->v));
		if (b->v == NULL)
			abort();
	}
	struct change *c = &b->v[b->n++];
	memset(c, 0, sizeof(*c));
	c->at = -1;
	return c;
}

static int
compare_changes(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	int c = object_compare(change_object(x), change_object(y));
	return c != 0 ? c : x->at < y->at ? -1 : x->at > y->at;
}

void
batch_sort(struct batch *b)
{
	if (b->n > 1)
		qsort(b->v, b->n, sizeof(*b->v), compare_changes);
}

void
batch_free(struct batch *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		object_unref(b->v[i].old);
		object_unref(b->v[i].next);
		long_patch_free(b->v[i].patch);
	}
	free(b->v);
	memset(b, 0, sizeof(*b));
}

static void
number(struct batch *b, uint64_t epoch)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (b->v[i].next != NULL) {
			b->v[i].next->generation = b->v[i].old != NULL ? b->v[i].old->generation + 1 : 1;
			b->v[i].next->epoch = epoch;
		}
}

static struct store_row
row_of(const struct object *o)
{
	return (struct store_row){kinds[o->kind].name, o->name, o->owner, o->text, o->generation, o->epoch, o->closed,
				  o->admitted, NULL, 0};
}

static int
store_change(struct store *s, const struct change *c, struct error *e)
{
	const struct object *o = change_object(c);
	struct store_row row = row_of(o);
	if (c->patch != NULL) {
		struct store_row before = row_of(c->old);
		int rc = c->patch->store_old ? store_put(s, &before, e) : 0;
		row.json = c->patch->text;
		return rc < 0 ? rc : store_patch(s, &row, o->n_patches, e);
	}
	return c->next != NULL ? store_put(s, &row, e) : store_remove(s, row.kind, row.name, e);
}

static int
save(struct store *s, const struct batch *b, const struct admitted *a, uint64_t epoch, struct rpc_error *e)
{
	struct error why = {0};
	if (s == NULL)
		return 0;
	int rc = store_begin(s, &why);
	for (uint32_t i = 0; i < b->n && rc == 0; i++)
		rc = store_change(s, &b->v[i], &why);
	for (uint32_t i = 0; i < a->n && rc == 0; i++) {
		struct store_row row = row_of(a->v[i]);
		rc = store_put(s, &row, &why);
	}
	if (rc == 0)
		rc = store_commit(s, epoch, &why);
	if (rc < 0) {
		store_rollback(s);
		fail_with(e, rc, -1, &why);
	}
	return rc;
}

static void
free_batch(void *p)
{
	batch_free(p);
	free(p);
}

/* What was replaced may be in a worker's hands for a moment more. */
static void
retire(struct batch *b)
{
	struct batch *old = calloc(1, sizeof(*old));
	if (old == NULL)
		abort();
	for (uint32_t i = 0; i < b->n; i++)
		if (b->v[i].old != NULL)
			batch_add(old)->old = b->v[i].old; /* with the reference that the index has given up */
	rcu_defer(old, free_batch);
	rcu_reclaim();
}

static void
show(struct mgmt *m, struct batch *b, uint64_t epoch)
{
	struct index next = index_merge(&m->index, b->v, b->n), old;
	for (uint32_t i = 0; i < b->n; i++)
		object_ref(b->v[i].next);
	pthread_mutex_lock(&m->lock);
	for (uint32_t i = 0; i < b->n; i++) {
		struct long_patch *p = b->v[i].patch;
		if (p == NULL)
			continue;
		object_take_roster(b->v[i].next, b->v[i].old, p->edits, p->n_edits);
		p->n_edits = 0; /* their strings are the roster's */
	}
	old = m->index;
	m->index = next;
	m->epoch = epoch;
	pthread_mutex_unlock(&m->lock);
	index_free_old(&old, &m->index);
}

static void
tell(struct mgmt *m, const struct batch *b, uint64_t epoch)
{
	for (uint32_t i = 0; i < b->n; i++) {
		const struct object *o = change_object(&b->v[i]);
		json_t *event = json_pack("{s:s, s:s, s:s, s:I}", "event", b->v[i].next != NULL ? "applied" : "deleted",
					  "kind", kinds[o->kind].name, "name", o->name, "epoch", (json_int_t)epoch);
		if (b->v[i].next != NULL)
			json_object_set_new(event, "generation", json_integer((json_int_t)o->generation));
		emit(m, event);
	}
}

/* Nothing can fail any more, but a worker may be slow. */
static int
publish(struct mgmt *m, struct config_txn *t, struct batch *b, uint64_t epoch, enum transact_mode mode,
	struct rpc_error *e)
{
	uint64_t at = config_publish(t);
	show(m, b, epoch);
	for (uint32_t i = 0; i < b->n; i++)
		if (b->v[i].next != NULL)
			object_refresh(m, b->v[i].next);
	int rc = workers_wait(at, WAIT_MS);
	ports_close(m, b);
	host_routes_sync(m, b);
	nat_ports_settle(m, b, true);
	if (mode != TRANSACT_REPLAY)
		tell(m, b, epoch);
	retire(b);
	if (rc < 0)
		fail(e, RPC_TIMEOUT, "it is done, as epoch %llu, but a worker has not passed it within %d s",
		     (unsigned long long)epoch, WAIT_MS / 1000);
	return rc;
}

/* All that can be told without doing it. */
static int
rehearse(struct mgmt *m, struct batch *b, struct rpc_error *e)
{
	int rc = config_rehearse(b, e);
	return rc == 0 ? nat_ports_check(m, b, e) : rc;
}

int
transact(struct mgmt *m, struct batch *b, enum transact_mode mode, struct rpc_error *e)
{
	uint64_t epoch = mode == TRANSACT_REPLAY ? m->epoch : m->epoch + 1;
	if (mode != TRANSACT_REPLAY)
		number(b, epoch);
	if (mode == TRANSACT_REHEARSE)
		return rehearse(m, b, e);
	/* A port that goes cannot be had back for certain: be sure of everything else before one is closed. */
	int rc = batch_opens(b) && batch_closes(b) ? rehearse(m, b, e) : 0;
	if (rc == 0)
		rc = ports_open(m, b, mode, e);
	if (rc < 0)
		return rc;
	struct config_txn *t = config_begin();
	struct admitted admitted = {.m = m, .b = b};
	rc = config_fill(t, b, FILL_REAL, e);
	if (rc == 0)
		admitted_find(&admitted, t);
	/* What was taken before is better without these ports than not at all: nat_ports_settle warns of it. */
	if (rc == 0 && nat_ports_reserve(m, b, e) < 0 && mode != TRANSACT_REPLAY)
		rc = -EBUSY;
	if (rc == 0 && mode == TRANSACT_APPLY)
		rc = save(m->store, b, &admitted, epoch, e);
	admitted_free(&admitted, rc < 0);
	if (rc < 0) {
		config_abort(t);
		nat_ports_settle(m, b, false);
		/* The switch does not start; pods keep their devices until one does. */
		if (mode == TRANSACT_REPLAY)
			ports_leave();
		ports_undo(m, b);
		return rc;
	}
	if (batch_opens(b))
		replan(m, NULL);
	return publish(m, t, b, epoch, mode, e);
}

void
transact_clear(struct mgmt *m)
{
	struct batch all = {0};
	struct rpc_error e;
	nat_ports_release(m);
	for (int k = 0; k < KIND_COUNT; k++)
		for (uint32_t i = 0; i < m->index.n[k]; i++) {
			struct object *o = m->index.v[k][i];
			seat_close(m, o);
			batch_add(&all)->old = object_ref(o);
		}
	if (all.n == 0)
		return;
	struct config_txn *t = config_begin();
	if (config_fill(t, &all, FILL_REAL, &e) == 0) {
		config_publish(t);
		show(m, &all, m->epoch);
		retire(&all);
	} else {
		/* Still in use by the configuration: better kept for ever than freed under it. */
		config_abort(t);
		for (uint32_t i = 0; i < all.n; i++)
			object_ref(all.v[i].old);
	}
	batch_free(&all);
}
