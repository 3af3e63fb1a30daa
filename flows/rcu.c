/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/rcu.h>

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <rte_rcu_qsbr.h>

struct deferred {
	struct deferred *next;
	uint64_t ticket;
	void *p;
	void (*fn)(void *);
};

static struct rte_rcu_qsbr *var;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct deferred *first, **last = &first; /* by ticket, oldest first */
static size_t n_waiting;

int
rcu_init(unsigned int max_readers)
{
	size_t size = max_readers > 0 ? rte_rcu_qsbr_get_memsize(max_readers) : 1;
	if (var != NULL || size == 1)
		return var != NULL ? -EALREADY : -EINVAL;
	/* Not rte_malloc: tables are built and tested without EAL, too. */
	size = (size + 127) / 128 * 128;
	struct rte_rcu_qsbr *v = aligned_alloc(128, size);
	if (v == NULL)
		return -ENOMEM;
	memset(v, 0, size);
	if (rte_rcu_qsbr_init(v, max_readers) != 0) {
		free(v);
		return -EINVAL;
	}
	var = v;
	return 0;
}

static void
run(struct deferred *list)
{
	while (list != NULL) {
		struct deferred *d = list;
		list = d->next;
		d->fn(d->p);
		free(d);
	}
}

void
rcu_fini(void)
{
	/* What is freed may defer more. */
	for (;;) {
		pthread_mutex_lock(&lock);
		struct deferred *list = first;
		first = NULL;
		last = &first;
		n_waiting = 0;
		pthread_mutex_unlock(&lock);
		if (list == NULL)
			break;
		run(list);
	}
	free(var);
	var = NULL;
}

struct rte_rcu_qsbr *
rcu_var(void)
{
	return var;
}

uint64_t
rcu_start(void)
{
	return var != NULL ? rte_rcu_qsbr_start(var) : 0;
}

/*
 * rte_rcu_qsbr_check() takes the word of whoever saw the grace period end before us, by a plain read of acked_token: enough for
 * x86, but nothing that the thread sanitizer could see.
 */
static void
show_order(void)
{
#ifdef __SANITIZE_THREAD__
	for (uint32_t i = 0; i < var->max_threads; i++)
		(void)__atomic_load_n(&var->qsbr_cnt[i].cnt, __ATOMIC_ACQUIRE);
#endif
}

bool
rcu_done(uint64_t ticket)
{
	if (var == NULL)
		return true;
	if (rte_rcu_qsbr_check(var, ticket, false) != 1)
		return false;
	show_order();
	return true;
}

void
rcu_synchronize(void)
{
	/* rte_rcu_qsbr_synchronize spins, and the worker it waits for may want this very core. */
	const struct timespec pause = {.tv_nsec = 20000};
	for (uint64_t ticket = rcu_start(); !rcu_done(ticket);)
		nanosleep(&pause, NULL);
}

void
rcu_defer(void *p, void (*fn)(void *))
{
	struct deferred *d = malloc(sizeof(*d));
	if (d == NULL)
		abort();
	*d = (struct deferred){.p = p, .fn = fn != NULL ? fn : free};
	pthread_mutex_lock(&lock);
	d->ticket = rcu_start(); /* under the lock: the list is in the order of tickets */
	*last = d;
	last = &d->next;
	n_waiting++;
	pthread_mutex_unlock(&lock);
}

size_t
rcu_reclaim(void)
{
	pthread_mutex_lock(&lock);
	struct deferred *due = first, **end = &first;
	while (*end != NULL && rcu_done((*end)->ticket)) {
		end = &(*end)->next;
		n_waiting--;
	}
	size_t rest = n_waiting;
	if (end == &first) {
		due = NULL;
	} else {
		first = *end;
		*end = NULL;
		if (first == NULL)
			last = &first;
	}
	pthread_mutex_unlock(&lock);
	/* Without the lock, since a hook may defer in its turn. */
	run(due);
	return rest;
}
