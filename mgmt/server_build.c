/* SPDX-License-Identifier: Apache-2.0 */
#include <rte_lcore.h>
#include <stdlib.h>

#include "server_impl.h"

static void
job_free(struct job *j)
{
	rpc_request_free(&j->request);
	free(j->raw);
	free(j->answer);
	free(j);
}

static int
parse_raw(struct job *j, struct rpc_error *e)
{
	int rc = rpc_request_parse(&j->request, j->raw + j->raw_start, j->raw_n, e);
	free(j->raw);
	j->raw = NULL;
	j->cut = rc == -EBADMSG;
	if (rc == 0 && strcmp(j->request.method, "watch") == 0)
		return rpc_fail(e, -EINVAL, RPC_TOO_LARGE, "watch: a request of more than %u bytes", INLINE_MAX);
	return rc;
}

static void
run_job(struct server *s, struct job *j)
{
	struct rpc_error e = {RPC_INTERNAL, "no answer"};
	struct rpc_request *r = &j->request;
	json_t *result = NULL;
	if (atomic_load(&s->stopping))
		rpc_fail(&e, 0, RPC_REFUSED, "the switch is stopping");
	else if (j->raw == NULL || parse_raw(j, &e) == 0)
		result = mgmt_call(s->mgmt, j->client->role, r->method, r->params, &e);
	if (j->cut) {
		struct rpc_error why = {.code = e.code};
		snprintf(why.message, sizeof(why.message), "closed: %.500s", e.message);
		j->answer = rpc_error_line(NULL, &why, &j->answer_n);
	} else if (!r->notification) {
		j->answer = result != NULL ? rpc_result_line(r->id, result, &j->answer_n)
					   : rpc_error_line(r->id, &e, &j->answer_n);
	}
	json_decref(result);
}

/* Under the lock. */
static void
finish(struct server *s, struct job *j)
{
	j->next = NULL;
	*s->done_end = j;
	s->done_end = &j->next;
	server_wake(s);
}

static void *
builder_main(void *arg)
{
	struct server *s = arg;
	/* DPDK's tables ask that a thread that writes to them is known to EAL; without EAL (tests) this fails, and
	 * nobody needs it. */
	bool known = rte_thread_register() == 0;
	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (s->jobs == NULL && !atomic_load(&s->stopping))
			pthread_cond_wait(&s->work, &s->lock);
		struct job *j = s->jobs;
		if (j == NULL)
			break;
		s->jobs = j->next;
		if (s->jobs == NULL)
			s->jobs_end = &s->jobs;
		pthread_mutex_unlock(&s->lock);
		run_job(s, j);
		/* A large request is freed here: it would keep the thread that talks to clients from them. */
		struct rpc_request done = j->request;
		bool large = j->raw_n > INLINE_MAX;
		memset(&j->request, 0, sizeof(j->request));
		pthread_mutex_lock(&s->lock);
		finish(s, j);
		pthread_mutex_unlock(&s->lock);
		rpc_request_free(&done);
		if (large)
			mgmt_tidy();
		pthread_mutex_lock(&s->lock);
	}
	s->builder_gone = true;
	pthread_mutex_unlock(&s->lock);
	if (known)
		rte_thread_unregister();
	return NULL;
}

int
builder_start(struct server *s)
{
	int rc = pthread_create(&s->builder, NULL, builder_main, s);
	if (rc == 0)
		pthread_setname_np(s->builder, "weft-builder");
	return -rc;
}

void
builder_stop(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->builder, NULL);
}

void
builder_submit(struct server *s, struct job *j)
{
	j->client->busy = true;
	pthread_mutex_lock(&s->lock);
	if (s->builder_gone) {
		run_job(s, j); /* which says that the switch is stopping */
		finish(s, j);
	} else {
		*s->jobs_end = j;
		s->jobs_end = &j->next;
		pthread_cond_signal(&s->work);
	}
	pthread_mutex_unlock(&s->lock);
}

void
builder_collect(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	struct job *j = s->done;
	s->done = NULL;
	s->done_end = &s->done;
	pthread_mutex_unlock(&s->lock);
	while (j != NULL) {
		struct job *next = j->next;
		struct client *c = j->client;
		c->busy = false;
		c->active_at = c->begun_at = server_now();
		if (j->answer != NULL && !c->dead) {
			client_answer(s, c, j->answer, j->answer_n);
			j->answer = NULL;
		}
		if (j->cut && !c->cut) {
			c->cut = true;
			c->cut_at = server_now();
		}
		job_free(j);
		j = next;
	}
}
