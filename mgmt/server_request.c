/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "server_impl.h"

static size_t
request_max(const struct server *s, const struct client *c)
{
	return c->role >= MGMT_ADMIN ? s->limits.admin_request_max : s->limits.request_max;
}

void
request_received(struct server *s, struct client *c, uint64_t now)
{
	bool begun = c->frame.begun;
	enum rpc_frame_state st =
		rpc_frame_scan(&c->frame, c->in + c->in_start, c->in_used - c->in_start, s->limits.depth_max);
	if (c->frame.scanned > request_max(s, c) + (st == RPC_FRAME_LINE))
		client_cut(s, c, RPC_TOO_LARGE, "closed: a request may have %zu bytes", request_max(s, c));
	else if (st == RPC_FRAME_DEEP)
		client_cut(s, c, RPC_PARSE_ERROR, "closed: a request may nest %u deep", s->limits.depth_max);
	else if (st == RPC_FRAME_LINE)
		c->line_ready = true;
	else if (!c->frame.begun)
		/* White space between requests is nothing, for ever. */
		c->in_start = c->in_used = c->frame.scanned = 0;
	if (c->frame.begun && !begun)
		c->begun_at = now;
}

/* The current line is done with: what follows it begins the next. */
static void
next_line(struct server *s, struct client *c, uint64_t now)
{
	c->in_start += c->frame.scanned;
	if (c->in_start == c->in_used) {
		c->in_start = c->in_used = 0;
		if (c->in_size > READ_CHUNK) {
			free(c->in);
			c->in = NULL;
			c->in_size = 0;
		}
	}
	c->line_ready = false;
	c->active_at = now;
	memset(&c->frame, 0, sizeof(c->frame));
	request_received(s, c, now);
}

static struct job *
job_new(struct server *s, struct client *c)
{
	struct job *j = calloc(1, sizeof(*j));
	if (j == NULL)
		client_cut(s, c, RPC_INTERNAL, "closed: out of memory");
	else
		j->client = c;
	return j;
}

/* The job takes the buffer as it is; only what lies behind the line, less than one read, is copied. */
static void
submit_raw(struct server *s, struct client *c)
{
	size_t end = c->in_start + c->frame.scanned, rest = c->in_used - end;
	struct job *j = job_new(s, c);
	char *next = j != NULL ? malloc(rest + READ_CHUNK) : NULL;
	if (next == NULL) {
		free(j);
		client_cut(s, c, RPC_INTERNAL, "closed: out of memory");
		return;
	}
	memcpy(next, c->in + end, rest);
	j->raw = c->in;
	j->raw_start = c->in_start;
	j->raw_n = c->frame.scanned;
	c->in = next;
	c->in_size = rest + READ_CHUNK;
	c->in_used = rest;
	c->in_start = 0;
	c->frame.scanned = 0;
	builder_submit(s, j);
}

static void
run_request(struct server *s, struct client *c, struct rpc_request *r)
{
	struct rpc_error e = {RPC_INTERNAL, "no answer"};
	size_t n = 0;
	if (strcmp(r->method, "watch") == 0) {
		watch_request(s, c, r);
		return;
	}
	if (mgmt_builds(r->method)) {
		struct job *j = job_new(s, c);
		if (j != NULL) {
			j->request = *r;
			memset(r, 0, sizeof(*r));
			builder_submit(s, j);
		}
		return;
	}
	json_t *result = mgmt_call(s->mgmt, c->role, r->method, r->params, &e);
	if (!r->notification) {
		char *text = result != NULL ? rpc_result_line(r->id, result, &n) : rpc_error_line(r->id, &e, &n);
		client_answer(s, c, text, n);
	}
	json_decref(result);
}

static void
run_line(struct server *s, struct client *c)
{
	struct rpc_request r;
	struct rpc_error e = {0};
	int rc = rpc_request_parse(&r, c->in + c->in_start, c->frame.scanned, &e);
	if (rc == 0) {
		run_request(s, c, &r);
	} else if (rc == -EBADMSG) {
		client_cut(s, c, e.code, "closed: %s", e.message);
	} else if (!r.notification) {
		size_t n = 0;
		char *text = rpc_error_line(r.id, &e, &n);
		client_answer(s, c, text, n);
	}
	rpc_request_free(&r);
}

void
request_run(struct server *s, struct client *c, uint64_t now)
{
	if (!c->frame.begun)
		; /* an empty line */
	else if (c->frame.scanned > INLINE_MAX)
		submit_raw(s, c);
	else
		run_line(s, c);
	if (!c->cut)
		next_line(s, c, now);
}
