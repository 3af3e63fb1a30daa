/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "server_impl.h"

static const char *const kind_names[] = {
#define X(upper, json, lower) #json,
	KINDS(X)
#undef X
};
#define ALL_KINDS UINT32_MAX
static_assert(KIND_COUNT < 32, "a bit a kind");

/* The kind's bit; 0 when it is none. */
static uint32_t
kind_bit(const char *name)
{
	for (unsigned int i = 0; name != NULL && i < KIND_COUNT; i++) {
		if (strcmp(kind_names[i], name) == 0)
			return 1u << i;
	}
	return 0;
}

/* {"kinds":["Port",...]}; absent: all. */
static int
parse_kinds(json_t *params, uint32_t *kinds, struct rpc_error *e)
{
	const char *key;
	json_t *value, *item, *list = json_object_get(params, "kinds");
	size_t i;
	json_object_foreach(params, key, value)
	{
		if (strcmp(key, "kinds") != 0)
			return rpc_fail(e, -EINVAL, RPC_INVALID_PARAMS, "%.64s: unknown field (known: kinds)", key);
	}
	*kinds = list == NULL ? ALL_KINDS : 0;
	if (list != NULL && !json_is_array(list))
		return rpc_fail(e, -EINVAL, RPC_INVALID_PARAMS, "kinds: must be a list of kinds");
	json_array_foreach(list, i, item)
	{
		uint32_t bit = kind_bit(json_string_value(item));
		if (bit == 0)
			return rpc_fail(e, -EINVAL, RPC_INVALID_PARAMS, "kinds[%zu]: %.64s is not a kind", i,
					json_is_string(item) ? json_string_value(item) : "what is no string");
		*kinds |= bit;
	}
	return 0;
}

static void
set_watching(struct server *s, struct client *c, bool watching)
{
	if (c->watching == watching)
		return;
	c->watching = watching;
	pthread_mutex_lock(&s->lock);
	s->n_watchers = watching ? s->n_watchers + 1 : s->n_watchers - 1;
	pthread_mutex_unlock(&s->lock);
}

void
watch_request(struct server *s, struct client *c, struct rpc_request *r)
{
	struct rpc_error e = {0};
	uint32_t kinds = 0;
	size_t n = 0;
	char *text;
	if (parse_kinds(r->params, &kinds, &e) < 0) {
		text = rpc_error_line(r->id, &e, &n);
	} else {
		json_t *names = json_array();
		for (unsigned int i = 0; i < KIND_COUNT; i++) {
			if (kinds & (1u << i))
				json_array_append_new(names, json_string(kind_names[i]));
		}
		json_t *result = json_pack("{s:o}", "kinds", names);
		text = rpc_result_line(r->id, result, &n);
		json_decref(result);
		c->kinds = kinds;
		set_watching(s, c, true);
	}
	if (r->notification)
		free(text);
	else
		client_answer(s, c, text, n);
}

void
watch_end(struct server *s, struct client *c)
{
	set_watching(s, c, false);
}

/* Any thread, also under locks of others: write it down and go. */
void
watch_listener(json_t *event, void *server)
{
	struct server *s = server;
	size_t n = 0;
	pthread_mutex_lock(&s->lock);
	bool wanted = s->n_watchers > 0, full = s->n_events >= EVENTS_MAX;
	s->events_lost += wanted && full;
	pthread_mutex_unlock(&s->lock);
	if (!wanted || full)
		return;
	struct event *ev = calloc(1, sizeof(*ev));
	char *text = ev != NULL ? rpc_event_line(event, &n) : NULL;
	struct line *line = line_new(text, n);
	if (line == NULL) {
		free(ev);
		return;
	}
	line->n = n;
	ev->line = line;
	ev->kind = kind_bit(json_string_value(json_object_get(event, "kind")));
	pthread_mutex_lock(&s->lock);
	*s->events_end = ev;
	s->events_end = &ev->next;
	s->n_events++;
	pthread_mutex_unlock(&s->lock);
	server_wake(s);
}

static void
deliver(struct server *s, struct client *c, const struct event *ev)
{
	if (!c->watching || c->cut || c->dead || (ev->kind != 0 && (c->kinds & ev->kind) == 0))
		return;
	/* Once one is lost, all are until the client has caught up: "lost" then stands where the gap is. */
	if (c->lost > 0 || c->out_events >= EVENTS_MAX || c->out_bytes + ev->line->n > s->limits.backlog_max / 2)
		c->lost++;
	else
		queue_push(c, ev->line, true);
}

void
watch_deliver(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	struct event *ev = s->events;
	uint64_t lost = s->events_lost;
	s->events = NULL;
	s->events_end = &s->events;
	s->n_events = 0;
	s->events_lost = 0;
	pthread_mutex_unlock(&s->lock);
	while (ev != NULL) {
		struct event *next = ev->next;
		for (struct client *c = s->clients; c != NULL; c = c->next)
			deliver(s, c, ev);
		line_put(ev->line);
		free(ev);
		ev = next;
	}
	for (struct client *c = s->clients; lost > 0 && c != NULL; c = c->next)
		c->lost += c->watching ? lost : 0;
}

void
watch_catch_up(struct client *c)
{
	size_t n = 0;
	if (!c->watching || c->lost == 0 || c->out_events > 0 || c->cut || c->dead)
		return;
	json_t *event = json_pack("{s:s, s:I}", "event", "lost", "count", (json_int_t)c->lost);
	struct line *line = line_new(rpc_event_line(event, &n), 0);
	json_decref(event);
	if (line == NULL)
		return;
	line->n = n;
	c->lost = 0;
	queue_push(c, line, true);
	line_put(line);
}
