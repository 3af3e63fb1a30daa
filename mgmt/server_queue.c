/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/socket.h>

#include "server_impl.h"

struct line *
line_new(char *text, size_t n)
{
	struct line *l = text != NULL ? malloc(sizeof(*l)) : NULL;
	if (l == NULL) {
		free(text);
		return NULL;
	}
	*l = (struct line){.refs = 1, .n = n, .text = text};
	return l;
}

void
line_put(struct line *l)
{
	if (--l->refs > 0)
		return;
	free(l->text);
	free(l);
}

void
queue_push(struct client *c, struct line *line, bool event)
{
	struct chunk *k = malloc(sizeof(*k));
	if (k == NULL) {
		c->dead = true;
		return;
	}
	*k = (struct chunk){.line = line, .event = event};
	line->refs++;
	/* Whoever had nothing to read has its full time for this. */
	if (c->out == NULL)
		c->active_at = server_now();
	*c->out_end = k;
	c->out_end = &k->next;
	c->out_bytes += line->n;
	c->out_events += event;
}

static void
pop(struct client *c)
{
	struct chunk *k = c->out;
	c->out = k->next;
	if (c->out == NULL)
		c->out_end = &c->out;
	c->out_bytes -= k->line->n - c->out_sent;
	c->out_events -= k->event;
	c->out_sent = 0;
	line_put(k->line);
	free(k);
}

void
queue_clear(struct client *c)
{
	while (c->out != NULL)
		pop(c);
}

/* All but the line of which the peer has a part: it must end as a line before anything else can be said. */
void
queue_drop_unsent(struct client *c)
{
	struct chunk *begun = c->out;
	size_t sent = c->out_sent;
	if (sent == 0) {
		queue_clear(c);
		return;
	}
	c->out = begun->next;
	c->out_end = begun->next != NULL ? c->out_end : &c->out;
	c->out_sent = 0;
	queue_clear(c);
	begun->next = NULL;
	c->out = begun;
	c->out_end = &begun->next;
	c->out_sent = sent;
	c->out_bytes = begun->line->n - sent;
	c->out_events = begun->event;
}

int
queue_send(struct client *c, uint64_t now)
{
	/* Somebody who reads as fast as we write must not keep the others waiting. */
	for (size_t budget = SEND_PER_TURN; c->out != NULL && budget > 0;) {
		struct line *l = c->out->line;
		size_t left = l->n - c->out_sent;
		ssize_t n =
			send(c->fd, l->text + c->out_sent, left < budget ? left : budget, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		c->active_at = now;
		budget -= (size_t)n;
		c->out_sent += (size_t)n;
		c->out_bytes -= (size_t)n;
		if (c->out_sent == l->n)
			pop(c);
	}
	return 0;
}
