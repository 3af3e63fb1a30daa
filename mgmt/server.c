/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server_impl.h"

#define ACCEPTS_PER_TURN 32
#define STOP_MS 500 /* how long the last answers may take to leave */

uint64_t
server_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void
server_wake(struct server *s)
{
	uint64_t one = 1;
	/* It fails only when the counter is full, and then the talker is awake anyway. */
	if (write(s->wake, &one, sizeof(one)) < 0)
		return;
}

/* A refused client gets one line and no struct. */
__attribute__((format(printf, 3, 4))) static void
refuse(int fd, int code, const char *fmt, ...)
{
	struct rpc_error e = {.code = code};
	size_t n = 0;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e.message, sizeof(e.message), fmt, ap);
	va_end(ap);
	char *text = rpc_error_line(NULL, &e, &n);
	/* The send buffer of a new socket is empty: one line fits, or nothing can be said. */
	if (text != NULL && send(fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		errno = 0;
	free(text);
	close(fd);
}

static void
admit(struct server *s, int fd)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0) {
		refuse(fd, RPC_FORBIDDEN, "refused: it is not known who you are");
		return;
	}
	enum mgmt_role role = s->role(peer.uid, peer.gid, s->role_arg);
	/* The last place is kept for somebody who can put things right. */
	unsigned int max = s->limits.clients_max - (role < MGMT_ADMIN);
	if (role == MGMT_NOBODY)
		refuse(fd, RPC_FORBIDDEN, "refused: uid %u has no role here (control.roles in weft.conf)", peer.uid);
	else if (s->n_clients >= max)
		refuse(fd, RPC_REFUSED, "refused: %u clients are connected, and no more are served at once",
		       s->n_clients);
	else if (client_new(s, fd, role) == NULL)
		refuse(fd, RPC_INTERNAL, "refused: out of memory");
}

/* Without a descriptor the pending client would stay pending, and epoll would say so for ever: give up the spare one to
 * refuse it. */
static void
refuse_without_descriptor(struct server *s)
{
	if (s->spare >= 0)
		close(s->spare);
	int fd = accept4(s->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		refuse(fd, RPC_REFUSED, "refused: the switch has no file descriptors left");
	s->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void
accept_clients(struct server *s)
{
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(s->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			admit(s, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			refuse_without_descriptor(s);
		else if (errno == EAGAIN)
			return;
	}
}

/* Every client's turn. Returns when the next has something to do. */
static uint64_t
turn_clients(struct server *s, uint64_t now)
{
	uint64_t next = UINT64_MAX;
	for (struct client **at = &s->clients; *at != NULL;) {
		struct client *c = *at;
		uint64_t due = client_turn(s, c, now);
		if (c->dead && !c->busy) {
			*at = c->next;
			client_free(s, c);
			continue;
		}
		next = due < next ? due : next;
		at = &c->next;
	}
	return next;
}

static void
turn(struct server *s, int timeout)
{
	struct epoll_event ev[64];
	uint64_t count;
	int n = epoll_wait(s->epoll, ev, 64, timeout);
	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr == &s->listener)
			accept_clients(s);
		else if (ev[i].data.ptr != &s->wake)
			client_ready(s, ev[i].data.ptr, ev[i].events);
		else if (read(s->wake, &count, sizeof(count)) < 0)
			continue;
	}
	builder_collect(s);
	watch_deliver(s);
}

static int
timeout_until(uint64_t due)
{
	uint64_t now = server_now();
	if (due == UINT64_MAX)
		return -1;
	return due <= now ? 0 : due - now > 3600000 ? 3600000 : (int)(due - now);
}

static bool
is_finished(const struct server *s, uint64_t deadline, uint64_t now)
{
	bool busy = false, unsent = false;
	for (const struct client *c = s->clients; c != NULL; c = c->next) {
		busy |= c->busy;
		unsent |= c->out != NULL && !c->dead;
	}
	return !busy && (!unsent || now >= deadline);
}

static void *
talker_main(void *arg)
{
	struct server *s = arg;
	uint64_t next = UINT64_MAX;
	while (!atomic_load(&s->stopping)) {
		turn(s, timeout_until(next));
		next = turn_clients(s, server_now());
	}
	/* Nothing new is heard; what is being built is answered. */
	listener_close(&s->listener);
	uint64_t deadline = 0, now = server_now();
	for (;;) {
		bool busy = false;
		for (struct client *c = s->clients; c != NULL; c = c->next) {
			busy |= c->busy;
			c->eof = true;
			c->line_ready = c->frame.begun = c->watching = false;
		}
		deadline = busy || deadline == 0 ? now + STOP_MS : deadline;
		turn_clients(s, now);
		if (is_finished(s, deadline, now))
			break;
		turn(s, 20);
		now = server_now();
	}
	return NULL;
}

static const struct server_limits default_limits = {
	.request_max = 4u << 20,
	.admin_request_max = 64u << 20,
	.depth_max = 64,
	.clients_max = 64,
	.idle_ms = 10000,
	.silent_ms = 600000,
	.backlog_max = 64u << 20,
};

#define LIMIT(l, member) ((l)->member = (l)->member != 0 ? (l)->member : default_limits.member)

static void
fill_limits(struct server_limits *l)
{
	LIMIT(l, request_max);
	LIMIT(l, admin_request_max);
	LIMIT(l, depth_max);
	LIMIT(l, clients_max);
	LIMIT(l, idle_ms);
	LIMIT(l, silent_ms);
	LIMIT(l, backlog_max);
}

static void
destroy(struct server *s)
{
	listener_close(&s->listener);
	for (struct client *c = s->clients, *next; c != NULL; c = next) {
		next = c->next;
		client_free(s, c);
	}
	/* Events that came after the talker's last look. */
	watch_deliver(s);
	if (s->epoll >= 0)
		close(s->epoll);
	if (s->wake >= 0)
		close(s->wake);
	if (s->spare >= 0)
		close(s->spare);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->work);
	free(s);
}

static int
open_descriptors(struct server *s)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &s->wake};
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (s->epoll < 0 || s->wake < 0 || s->spare < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->wake, &ev) < 0)
		return -errno;
	ev.data.ptr = &s->listener;
	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener.fd, &ev) < 0 ? -errno : 0;
}

/* Both threads, or none. Signals are the main thread's. */
static int
start_threads(struct server *s)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = builder_start(s);
	if (rc == 0) {
		rc = -pthread_create(&s->talker, NULL, talker_main, s);
		if (rc < 0) {
			atomic_store(&s->stopping, true);
			builder_stop(s);
		} else {
			pthread_setname_np(s->talker, "weft-control");
		}
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

int
server_start(struct server **out, const struct server_options *o, struct error *e)
{
	struct server *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return error_set(e, -ENOMEM, "control socket: %s", strerror(ENOMEM));
	s->epoll = s->wake = s->spare = -1;
	s->limits = o->limits;
	fill_limits(&s->limits);
	s->role = o->role;
	s->role_arg = o->arg;
	s->mgmt = o->mgmt;
	s->jobs_end = &s->jobs;
	s->done_end = &s->done;
	s->events_end = &s->events;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	int rc = listener_open(&s->listener, o, e);
	if (rc == 0) {
		rc = open_descriptors(s);
		mgmt_on_event(s->mgmt, watch_listener, s);
		if (rc == 0)
			rc = start_threads(s);
		if (rc < 0) {
			mgmt_on_event(s->mgmt, NULL, NULL);
			error_set(e, rc, "%s: %s", o->path, strerror(-rc));
		}
	}
	if (rc < 0) {
		destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

void
server_stop(struct server *s)
{
	if (s == NULL)
		return;
	atomic_store(&s->stopping, true);
	server_wake(s);
	builder_stop(s);
	server_wake(s);
	pthread_join(s->talker, NULL);
	mgmt_on_event(s->mgmt, NULL, NULL);
	destroy(s);
}
