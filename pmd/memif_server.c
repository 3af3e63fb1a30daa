/* SPDX-License-Identifier: Apache-2.0 */
#include "memif.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "socket.h"

#define BACKLOG 64
#define HANDSHAKES_MAX 32   /* at one listener; the oldest makes room */
#define ACCEPTS_PER_TICK 16 /* 320 a second: who reconnects in a loop costs the port thread little */

struct memif_listener {
	char *path;
	int fd;
	struct port_event *event; /* NULL: pausing until the next tick */
	unsigned int tokens;
	dev_t dev; /* of the socket file, to unlink no one else's */
	ino_t ino;
	struct socket_access access;
	TAILQ_HEAD(, memif) ports;
	TAILQ_ENTRY(memif_listener) all;
};

static TAILQ_HEAD(, memif_listener) listeners = TAILQ_HEAD_INITIALIZER(listeners);

static struct memif *
find_port(const struct memif_listener *l, uint32_t id)
{
	struct memif *m;
	TAILQ_FOREACH(m, &l->ports, at)
	if (m->id == id)
		return m;
	return NULL;
}

/* In the same time whatever differs; bytes after the end of the peer's text do not count. */
static bool
secret_matches(const uint8_t *want, const uint8_t *got)
{
	uint8_t differs = 0, ended = 0;
	for (unsigned int i = 0; i < MEMIF_SECRET; i++) {
		ended |= (uint8_t) - (got[i] == 0);
		differs |= (uint8_t)(want[i] ^ (got[i] & (uint8_t)~ended));
	}
	return differs == 0;
}

static int
admit(const struct memif *m, const struct memif_msg *msg, struct error *e)
{
	if (m->conn != NULL)
		return error_set(e, -EBUSY, "id %u is connected already", m->id);
	if (msg->init.mode != MEMIF_MODE_ETHERNET)
		return error_set(e, -EPROTO, "only ethernet mode is supported");
	if (m->secret[0] != 0 && !secret_matches(m->secret, msg->init.secret))
		return error_set(e, -EACCES, "wrong secret");
	return 0;
}

static int
on_init(struct memif_conn *c, const struct memif_msg *msg, struct error *e)
{
	uint32_t id = msg->init.id;
	if (c->m != NULL)
		return error_set(e, -EPROTO, "INIT was sent already");
	if (msg->init.version != MEMIF_VERSION)
		return error_set(e, -EPROTO, "version %u.%u is not 2.0", msg->init.version >> 8,
				 msg->init.version & 255);
	struct memif *m = find_port(c->listener, id);
	if (m == NULL)
		return error_set(e, -ENOENT, "no interface with id %u here", id);
	int rc = admit(m, msg, e);
	if (rc < 0) {
		/* For whoever wonders why nobody is connected. */
		if (m->conn == NULL)
			memif_text(m->reason, sizeof(m->reason), e->text, sizeof(e->text));
		return rc;
	}
	c->link = memif_link_new(false, m->port->n_rxq);
	if (c->link == NULL)
		return error_set(e, -ENOMEM, "no memory");
	c->m = m;
	m->conn = c;
	return 0;
}

static int
on_region(struct memif_conn *c, const struct memif_msg *msg, int fd, struct error *e)
{
	if (msg->add_region.index != c->link->n_regions)
		return error_set(e, -EPROTO, "region %u where region %u is due", msg->add_region.index,
				 c->link->n_regions);
	return memif_link_add_region(c->link, fd, msg->add_region.size, e);
}

static int
on_ring(struct memif_conn *c, const struct memif_msg *msg, int *fd, struct error *e)
{
	if (msg->add_ring.index >= c->m->port->n_rxq)
		return error_set(e, -EPROTO, "ring %u: the port has %u queue%s", msg->add_ring.index, c->m->port->n_rxq,
				 c->m->port->n_rxq == 1 ? "" : "s");
	int rc = memif_link_add_ring(c->link, msg, *fd, e);
	if (rc == 0)
		*fd = -1;
	return rc;
}

static int
on_connect(struct memif_conn *c, const struct memif_msg *msg, struct error *e)
{
	struct memif_msg reply = {.type = MEMIF_CONNECTED};
	char peer[MEMIF_NAME + 1];
	if (c->link->n_rx == 0 || c->link->n_tx == 0)
		return error_set(e, -EPROTO, "a ring of each direction is needed");
	memif_text(peer, sizeof(peer), msg->connect.name, MEMIF_NAME);
	memif_text(reply.connect.name, MEMIF_NAME, c->m->port->name, MEMIF_NAME);
	/* Published first: the peer may use its rings as soon as it reads the answer. */
	memif_conn_live(c, peer[0] != '\0' ? peer : "a client");
	int rc = memif_send(c->fd, &reply, -1);
	return rc < 0 ? error_set(e, rc, "CONNECTED: %s", strerror(-rc)) : 0;
}

/* *fd is -1 afterwards when it was kept. */
static int
handle(struct memif_conn *c, const struct memif_msg *msg, int *fd, struct error *e)
{
	static const struct memif_msg ack = {.type = MEMIF_ACK};
	int rc;
	if (c->live || (msg->type != MEMIF_INIT && c->m == NULL))
		return error_set(e, -EPROTO, "message %u is not due now", msg->type);
	switch (msg->type) {
	case MEMIF_INIT:
		rc = on_init(c, msg, e);
		break;
	case MEMIF_ADD_REGION:
		rc = on_region(c, msg, *fd, e);
		break;
	case MEMIF_ADD_RING:
		rc = on_ring(c, msg, fd, e);
		break;
	case MEMIF_CONNECT:
		return on_connect(c, msg, e);
	default:
		return error_set(e, -EPROTO, "message %u is not for a server", msg->type);
	}
	if (rc < 0)
		return rc;
	/* A client that does not read its acknowledgements runs into the deadline, or into a full socket here. */
	rc = memif_send(c->fd, &ack, -1);
	return rc < 0 ? error_set(e, rc, "ACK: %s", strerror(-rc)) : 0;
}

static void
on_message(int sock, uint32_t events, void *arg)
{
	struct memif_conn *c = arg;
	struct memif_msg msg;
	struct error e;
	int fd, rc = memif_receive(sock, &msg, &fd, &e);
	char text[MEMIF_REASON];
	if (rc == -EAGAIN)
		return;
	if (rc == 0 && msg.type == MEMIF_DISCONNECT) {
		memif_text(text, sizeof(text), msg.disconnect.reason, sizeof(msg.disconnect.reason));
		memif_conn_close(c, text[0] != '\0' ? text : "the client disconnected", false);
		return;
	}
	bool gone = rc == -EPIPE;
	if (rc == 0)
		rc = handle(c, &msg, &fd, &e);
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		memif_conn_close(c, e.text, !gone);
}

static int
send_hello(int fd)
{
	struct memif_msg msg = {
		.type = MEMIF_HELLO,
		.hello =
			{
				.name = "weft",
				.min_version = MEMIF_VERSION,
				.max_version = MEMIF_VERSION,
				.max_region = MEMIF_REGIONS - 1,
				.max_m2s_ring = PORT_MAX_QUEUES - 1,
				.max_s2m_ring = PORT_MAX_QUEUES - 1,
				.max_log2_ring = MEMIF_LOG2_RING_MAX,
			},
	};
	return memif_send(fd, &msg, -1);
}

static void
pause_listener(struct memif_listener *l)
{
	port_event_remove(l->event);
	l->event = NULL;
}

static void
on_accept(int sock, uint32_t events, void *arg)
{
	struct memif_listener *l = arg;
	struct memif_conn *c, *oldest = NULL;
	/* Out of descriptors, too: accept fails for ever, and the event would never end. */
	if (l->tokens == 0 || memif_retired_full()) {
		pause_listener(l);
		return;
	}
	int fd = accept4(sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			pause_listener(l);
		return;
	}
	l->tokens--;
	if (memif_conn_handshakes(l, &oldest) >= HANDSHAKES_MAX)
		memif_conn_close(oldest, "too many connections are being made", true);
	if (send_hello(fd) < 0 || (c = memif_conn_new(fd, on_message)) == NULL) {
		close(fd);
		return;
	}
	c->listener = l;
}

void
memif_listeners_tick(void)
{
	struct memif_listener *l;
	TAILQ_FOREACH(l, &listeners, all)
	{
		l->tokens = ACCEPTS_PER_TICK;
		if (l->event == NULL)
			l->event = port_event_add(l->fd, EPOLLIN, on_accept, l);
	}
}

/* The mode of an unbound socket is that of the file which bind creates, so there is no moment at which it is wider. */
static int
bind_socket(struct memif_listener *l, struct error *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st = {0};
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", l->path);
	int rc = socket_clear(l->path, SOCK_SEQPACKET, e);
	if (rc < 0)
		return rc;
	l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0 || fchmod(l->fd, l->access.mode & 0600) < 0 ||
	    bind(l->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return error_at(e, -errno, "socket", "bind %s: %s", l->path, strerror(errno));
	if (lstat(l->path, &st) < 0)
		rc = error_at(e, -errno, "socket", "%s: %s", l->path, strerror(errno));
	else
		rc = socket_access_set(l->path, &l->access, e);
	if (rc == 0 && listen(l->fd, BACKLOG) < 0)
		rc = error_at(e, -errno, "socket", "listen on %s: %s", l->path, strerror(errno));
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (rc < 0)
		unlink(l->path);
	return rc;
}

static void
listener_free(struct memif_listener *l)
{
	struct stat st;
	port_event_remove(l->event);
	if (l->ino != 0 && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	if (l->fd >= 0)
		close(l->fd);
	free(l->path);
	free(l);
}

static int
listener_new(struct memif_listener **out, const char *path, const struct socket_access *access, struct error *e)
{
	struct memif_listener *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return error_set(e, -ENOMEM, "no memory");
	l->access = *access;
	l->fd = -1;
	l->tokens = ACCEPTS_PER_TICK;
	l->path = strdup(path);
	TAILQ_INIT(&l->ports);
	int rc = l->path != NULL ? bind_socket(l, e) : error_set(e, -ENOMEM, "no memory");
	if (rc == 0 && (l->event = port_event_add(l->fd, EPOLLIN, on_accept, l)) == NULL)
		rc = error_at(e, -errno, "socket", "epoll: %s", strerror(errno));
	if (rc < 0) {
		listener_free(l);
		return rc;
	}
	TAILQ_INSERT_TAIL(&listeners, l, all);
	*out = l;
	return 0;
}

int
memif_listen(struct memif *m, const struct spec_port *spec, struct error *e)
{
	struct socket_access access;
	struct memif_listener *l;
	int rc = socket_access_of(spec, &access, e);
	if (rc < 0)
		return rc;
	TAILQ_FOREACH(l, &listeners, all)
	if (strcmp(l->path, m->path) == 0)
		break;
	if (l == NULL)
		rc = listener_new(&l, m->path, &access, e);
	else if ((spec->socket_mode != NULL && l->access.mode != access.mode) ||
		 (spec->socket_owner != NULL && l->access.uid != access.uid))
		rc = error_at(e, -EINVAL, "socket", "%s has another mode or owner for port %s", m->path,
			      TAILQ_FIRST(&l->ports)->port->name);
	if (rc < 0)
		return rc;
	TAILQ_INSERT_TAIL(&l->ports, m, at);
	m->listener = l;
	return 0;
}

/* Connections that have not said for which id they are go with the last port. */
void
memif_unlisten(struct memif *m)
{
	struct memif_listener *l = m->listener;
	struct memif_conn *c;
	TAILQ_REMOVE(&l->ports, m, at);
	m->listener = NULL;
	if (!TAILQ_EMPTY(&l->ports))
		return;
	while (memif_conn_handshakes(l, &c) > 0)
		memif_conn_close(c, "the port is removed", true);
	TAILQ_REMOVE(&listeners, l, all);
	listener_free(l);
}
