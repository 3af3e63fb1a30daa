/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/txn.h>

#include <stdlib.h>

#include <weft/rcu.h>

/* In front of every txn_alloc'd block, and by itself for a hook. A block is on one list at most: created or retired. */
struct txn_entry {
	struct txn_entry *next, *prev;
	uint64_t txn; /* who made the block */
	void (*fn)(void *);
	void *arg;
	bool retired;
} __attribute__((aligned(64)));

static_assert(sizeof(struct txn_entry) == 64, "blocks keep their alignment");

/* What a grace period ends: hooks and memory. */
struct leftover {
	struct txn_entry *after, *retired;
};

static uint64_t last_id;

static void
push(struct txn_entry **list, struct txn_entry *e)
{
	e->prev = NULL;
	e->next = *list;
	if (*list != NULL)
		(*list)->prev = e;
	*list = e;
}

static void
unlink_entry(struct txn_entry **list, struct txn_entry *e)
{
	if (e->prev != NULL)
		e->prev->next = e->next;
	else
		*list = e->next;
	if (e->next != NULL)
		e->next->prev = e->prev;
}

static struct txn_entry *
entry_of(const void *p)
{
	return (struct txn_entry *)(uintptr_t)p - 1;
}

void
txn_begin(struct txn *t)
{
	*t = (struct txn){.id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED)};
}

void *
txn_alloc(struct txn *t, size_t size)
{
	size_t total = (sizeof(struct txn_entry) + size + 63) / 64 * 64;
	struct txn_entry *e = aligned_alloc(64, total);
	if (e == NULL)
		abort();
	memset(e, 0, total);
	e->txn = t->id;
	push(&t->created, e);
	return e + 1;
}

bool
txn_owns(const struct txn *t, const void *p)
{
	return entry_of(p)->txn == t->id;
}

void
txn_retire(struct txn *t, void *p)
{
	struct txn_entry *e = entry_of(p);
	assert(!e->retired);
	if (e->txn == t->id)
		unlink_entry(&t->created, e);
	e->retired = true;
	push(&t->retired, e);
}

void
txn_discard(struct txn *t, void *p)
{
	struct txn_entry *e = entry_of(p);
	if (e->txn != t->id) {
		txn_retire(t, p);
		return;
	}
	assert(!e->retired);
	unlink_entry(&t->created, e);
	free(e);
}

static void
add_hook(struct txn_entry **list, void (*fn)(void *), void *arg)
{
	struct txn_entry *e = aligned_alloc(64, sizeof(*e));
	if (e == NULL)
		abort();
	*e = (struct txn_entry){.fn = fn, .arg = arg};
	push(list, e);
}

void
txn_on_abort(struct txn *t, void (*fn)(void *), void *arg)
{
	add_hook(&t->undo, fn, arg);
}

void
txn_on_commit(struct txn *t, void (*fn)(void *), void *arg)
{
	add_hook(&t->done, fn, arg);
}

void
txn_after_grace(struct txn *t, void (*fn)(void *), void *arg)
{
	add_hook(&t->after, fn, arg);
}

/* Lists are pushed at their head: newest first. */
static struct txn_entry *
oldest_first(struct txn_entry *list)
{
	struct txn_entry *out = NULL;
	while (list != NULL) {
		struct txn_entry *e = list;
		list = e->next;
		e->next = out;
		out = e;
	}
	return out;
}

static void
free_list(struct txn_entry *list, bool run)
{
	while (list != NULL) {
		struct txn_entry *e = list;
		list = e->next;
		if (run)
			e->fn(e->arg);
		free(e);
	}
}

static void
grace_ended(void *p)
{
	struct leftover *l = p;
	free_list(l->after, true);
	free_list(l->retired, false);
	free(l);
}

void
txn_commit(struct txn *t)
{
	free_list(t->undo, false);
	free_list(oldest_first(t->done), true);
	if (t->after != NULL || t->retired != NULL) {
		struct leftover *l = malloc(sizeof(*l));
		if (l == NULL)
			abort();
		*l = (struct leftover){.after = oldest_first(t->after), .retired = t->retired};
		rcu_defer(l, grace_ended);
	}
	*t = (struct txn){0};
}

void
txn_abort(struct txn *t)
{
	free_list(t->undo, true);
	free_list(t->done, false);
	free_list(t->after, false);
	free_list(t->created, false);
	while (t->retired != NULL) {
		struct txn_entry *e = t->retired;
		t->retired = e->next;
		if (e->txn == t->id)
			free(e);
		else
			e->retired = false;
	}
	*t = (struct txn){0};
}
