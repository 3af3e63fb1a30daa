/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server_impl.h"

struct client *
client_new(struct server *s, int fd, enum mgmt_role role)
{
	struct client *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	*c = (struct client){.next = s->clients, .fd = fd, .role = role, .active_at = server_now()};
	c->out_end = &c->out;
	s->clients = c;
	s->n_clients++;
	return c;
}

void
client_free(struct server *s, struct client *c)
{
	watch_end(s, c);
	queue_clear(c);
	close(c->fd);
	free(c->in);
	free(c);
	s->n_clients--;
}

void
client_answer(struct server *s, struct client *c, char *text, size_t n)
{
	struct line *line = line_new(text, n);
	if (line == NULL) {
		c->dead = true;
		return;
	}
	if (c->out_bytes + n > s->limits.backlog_max)
		client_cut(s, c, RPC_REFUSED, "closed: answers of more than %zu bytes were not read",
			   s->limits.backlog_max);
	else
		queue_push(c, line, false);
	line_put(line);
}

void
client_cut(struct server *s, struct client *c, int code, const char *fmt, ...)
{
	struct rpc_error e = {.code = code};
	size_t n = 0;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e.message, sizeof(e.message), fmt, ap);
	va_end(ap);
	if (c->cut)
		return;
	c->cut = true;
	c->cut_at = server_now();
	if (c->out_bytes >= s->limits.backlog_max / 2)
		queue_drop_unsent(c);
	struct line *line = line_new(rpc_error_line(NULL, &e, &n), n);
	if (line != NULL) {
		line->n = n;
		queue_push(c, line, false);
		line_put(line);
	}
}

static bool
wants_read(const struct client *c)
{
	return !c->busy && !c->line_ready && !c->eof && !c->cut && !c->dead;
}

/* Room for one more read at the end of in[]. False without memory. */
static bool
make_room(struct client *c)
{
	if (c->in_start > 0) {
		memmove(c->in, c->in + c->in_start, c->in_used - c->in_start);
		c->in_used -= c->in_start;
		c->in_start = 0;
	}
	if (c->in_size - c->in_used >= READ_CHUNK)
		return true;
	size_t size = c->in_size == 0 ? READ_CHUNK : 2 * c->in_size;
	char *more = realloc(c->in, size);
	if (more == NULL)
		return false;
	c->in = more;
	c->in_size = size;
	return true;
}

void
client_ready(struct server *s, struct client *c, uint32_t events)
{
	if ((events & (EPOLLHUP | EPOLLERR)) != 0)
		c->hangup = true;
	if (!wants_read(c))
		return;
	if (!make_room(c)) {
		client_cut(s, c, RPC_INTERNAL, "closed: out of memory");
		return;
	}
	ssize_t n = recv(c->fd, c->in + c->in_used, READ_CHUNK, MSG_DONTWAIT);
	if (n > 0) {
		c->in_used += (size_t)n;
		request_received(s, c, server_now());
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		c->eof = true;
		c->hangup |= n < 0;
	}
}

/* A client that has sent its last still gets its answers, and a watcher its events for as long as it reads. */
static void
end_of_input(struct server *s, struct client *c)
{
	if (c->frame.begun)
		client_cut(s, c, RPC_PARSE_ERROR, "closed: the connection ended within a request");
	else if (c->hangup || (c->out == NULL && !c->watching))
		c->dead = true;
}

/* Cut off who is late; returns when the next of its clocks runs out. */
static uint64_t
check_clocks(struct server *s, struct client *c, uint64_t now)
{
	const struct server_limits *l = &s->limits;
	uint64_t next = UINT64_MAX, due;
	if (c->busy || c->dead)
		return next;
	if (c->cut) {
		due = c->cut_at + LINGER_MS;
		c->dead |= now >= due;
		return due;
	}
	if (c->frame.begun && !c->line_ready) {
		due = c->begun_at + l->idle_ms;
		if (now >= due)
			client_cut(s, c, RPC_TIMEOUT, "closed: a request must be complete within %u ms", l->idle_ms);
		else
			next = due;
	}
	/* To be silent is what a watcher is there for, but not to leave its events unread. */
	if (!c->cut && (!c->watching || c->out != NULL)) {
		due = c->active_at + l->silent_ms;
		if (now >= due)
			client_cut(s, c, RPC_TIMEOUT, "closed: nothing was asked or read for %u ms", l->silent_ms);
		else if (due < next)
			next = due;
	}
	return c->cut ? c->cut_at + LINGER_MS : next;
}

static void
send_waiting(struct client *c, uint64_t now)
{
	if (c->dead || c->out == NULL)
		return;
	if (queue_send(c, now) < 0) {
		queue_clear(c);
		c->hangup = true;
		c->dead |= c->eof || c->cut;
	}
	watch_catch_up(c);
}

static void
update_interest(struct server *s, struct client *c)
{
	uint32_t want = (wants_read(c) ? EPOLLIN : 0u) | (c->out != NULL ? EPOLLOUT : 0u);
	/* EPOLLHUP cannot be masked: a client that has gone must leave the set until it is read to its end. */
	bool listen = !c->dead && (!c->hangup || wants_read(c));
	struct epoll_event ev = {.events = want, .data.ptr = c};
	if (listen && (!c->registered || want != c->interest))
		epoll_ctl(s->epoll, c->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &ev);
	else if (!listen && c->registered)
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	c->registered = listen;
	c->interest = want;
}

uint64_t
client_turn(struct server *s, struct client *c, uint64_t now)
{
	for (int i = 0; i < LINES_PER_TURN && c->line_ready && !c->busy && !c->cut && !c->dead; i++)
		request_run(s, c, now);
	if (c->eof && !c->busy && !c->line_ready && !c->cut)
		end_of_input(s, c);
	uint64_t next = check_clocks(s, c, now);
	send_waiting(c, now);
	if (c->cut && c->out == NULL)
		c->dead = true;
	/* What was held back only by what was unsent may be over now. */
	if (c->eof && !c->busy && !c->line_ready && !c->cut)
		end_of_input(s, c);
	update_interest(s, c);
	return c->line_ready && !c->busy && !c->cut && !c->dead ? now : next;
}
