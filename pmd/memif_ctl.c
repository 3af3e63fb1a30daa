/* SPDX-License-Identifier: Apache-2.0 */
#include "memif.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <rte_common.h>

#include <weft/rcu.h>

#include "kick.h"

#define RING_DEFAULT 1024
#define RETIRED_MAX 64

static struct {
	unsigned int ports;
	struct port_event *timer;
	TAILQ_HEAD(, memif) all;
	TAILQ_HEAD(, memif_conn) conns; /* oldest first */
	STAILQ_HEAD(, memif_link) retired;
	unsigned int n_retired;
} ctl = {
	.all = TAILQ_HEAD_INITIALIZER(ctl.all),
	.conns = TAILQ_HEAD_INITIALIZER(ctl.conns),
	.retired = STAILQ_HEAD_INITIALIZER(ctl.retired),
};

static const char *const fault_text[] = {
	[MEMIF_OK] = "",
	[MEMIF_BAD_INDEX] = "a ring's index is further away than the ring is long",
	[MEMIF_BAD_BUFFER] = "a descriptor lies outside its region",
	[MEMIF_BAD_CHAIN] = "a chain of descriptors has no end, or more than 64",
};

uint64_t
memif_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Links wait here for their grace period, so that a slow worker holds up nobody who has the port lock. */
static void
retire(struct memif_link *l)
{
	l->ticket = rcu_start();
	STAILQ_INSERT_TAIL(&ctl.retired, l, retired);
	ctl.n_retired++;
}

static void
free_retired(void)
{
	struct memif_link *l;
	while ((l = STAILQ_FIRST(&ctl.retired)) != NULL && rcu_done(l->ticket)) {
		STAILQ_REMOVE_HEAD(&ctl.retired, retired);
		ctl.n_retired--;
		memif_link_free(l);
	}
}

bool
memif_retired_full(void)
{
	return ctl.n_retired >= RETIRED_MAX;
}

struct memif_conn *
memif_conn_new(int fd, void (*fn)(int fd, uint32_t events, void *arg))
{
	struct memif_conn *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	c->fd = fd;
	c->region_fd = -1;
	memset(c->ring_fd, -1, sizeof(c->ring_fd));
	c->deadline_ms = memif_now_ms() + MEMIF_HANDSHAKE_MS;
	c->event = port_event_add(fd, EPOLLIN, fn, c);
	if (c->event == NULL) {
		free(c);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&ctl.conns, c, all);
	return c;
}

/* What went out with the messages is the peer's copy now; ours of the region is mapped. */
static void
close_passed_fds(struct memif_conn *c)
{
	if (c->region_fd >= 0)
		close(c->region_fd);
	c->region_fd = -1;
	for (unsigned int i = 0; i < RTE_DIM(c->ring_fd) * PORT_MAX_QUEUES; i++) {
		int *fd = &c->ring_fd[i / PORT_MAX_QUEUES][i % PORT_MAX_QUEUES];
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
}

static void
changed(struct memif *m, bool up)
{
	__atomic_store_n(&m->port->up, up, __ATOMIC_RELAXED);
	if (port_env()->changed != NULL)
		port_env()->changed(m->port, port_env()->arg);
}

void
memif_conn_live(struct memif_conn *c, const char *peer)
{
	struct memif *m = c->m;
	struct memif_link *l = c->link;
	memif_link_start(l);
	close_passed_fds(c);
	c->link = NULL;
	c->live = true;
	snprintf(m->peer, sizeof(m->peer), "%s", peer);
	m->reason[0] = '\0';
	__atomic_store_n(&m->link, l, __ATOMIC_RELEASE);
	changed(m, true);
}

void
memif_conn_close(struct memif_conn *c, const char *reason, bool tell)
{
	struct memif *m = c->m;
	bool live = c->live;
	if (m != NULL) {
		struct memif_link *l = __atomic_exchange_n(&m->link, NULL, __ATOMIC_ACQ_REL);
		if (l != NULL)
			retire(l);
		m->conn = NULL;
		snprintf(m->reason, sizeof(m->reason), "%s", reason);
	}
	if (tell)
		memif_send_disconnect(c->fd, reason);
	port_event_remove(c->event);
	close(c->fd);
	close_passed_fds(c);
	memif_link_free(c->link);
	TAILQ_REMOVE(&ctl.conns, c, all);
	free(c);
	free_retired();
	if (live)
		changed(m, false);
}

unsigned int
memif_conn_handshakes(const struct memif_listener *at, struct memif_conn **oldest)
{
	struct memif_conn *c;
	unsigned int n = 0;
	TAILQ_FOREACH(c, &ctl.conns, all)
	if (c->listener == at && !c->live && n++ == 0)
		*oldest = c;
	return n;
}

static void
check_conns(uint64_t now)
{
	struct memif_conn *c, *next;
	for (c = TAILQ_FIRST(&ctl.conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, all);
		uint32_t fault = c->live ? __atomic_load_n(&c->m->link->fault, __ATOMIC_RELAXED) : MEMIF_OK;
		if (fault != MEMIF_OK)
			memif_conn_close(c, fault_text[fault], true);
		else if (!c->live && now >= c->deadline_ms)
			memif_conn_close(c, "no connection within 2 s", true);
	}
}

static void
tick(void *arg)
{
	uint64_t now = memif_now_ms();
	struct memif *m;
	check_conns(now);
	free_retired();
	memif_listeners_tick();
	TAILQ_FOREACH(m, &ctl.all, all)
	if (m->client && m->conn == NULL)
		memif_client_tick(m, now);
}

static int
start(struct error *e)
{
	int rc;
	if (ctl.ports > 0) {
		ctl.ports++;
		return 0;
	}
	rc = kick_start(e);
	if (rc < 0)
		return rc;
	ctl.timer = port_timer_add(MEMIF_TICK_MS, tick, NULL);
	if (ctl.timer == NULL) {
		rc = -errno;
		kick_stop();
		return error_set(e, rc, "timer: %s", strerror(-rc));
	}
	ctl.ports++;
	return 0;
}

static void
stop(void)
{
	if (--ctl.ports > 0)
		return;
	port_event_remove(ctl.timer);
	/* Nobody comes back for these, and the workers have let go of every port. */
	while (!STAILQ_EMPTY(&ctl.retired)) {
		rcu_synchronize();
		free_retired();
	}
	kick_stop();
}

static int
take_spec(struct memif *m, const struct spec_port *spec, struct error *e)
{
	uint32_t ring = spec->ring_size != 0 ? spec->ring_size : RING_DEFAULT;
	if (ring < 2 || ring > 1u << MEMIF_LOG2_RING_MAX || (ring & (ring - 1)) != 0)
		return error_at(e, -EINVAL, "ringSize", "%u is not a power of 2 in 2..%u", ring,
				1u << MEMIF_LOG2_RING_MAX);
	if (spec->secret != NULL && strlen(spec->secret) > MEMIF_SECRET)
		return error_at(e, -EINVAL, "secret", "a memif secret has at most %u bytes, not %zu", MEMIF_SECRET,
				strlen(spec->secret));
	if (m->port->pool == NULL)
		return error_set(e, -EINVAL, "no pool of buffers to receive into");
	m->id = spec->id;
	m->log2_ring = (uint8_t)__builtin_ctz(ring);
	m->client = spec->role == ROLE_CLIENT;
	if (spec->secret != NULL)
		memcpy(m->secret, spec->secret, strlen(spec->secret));
	return 0;
}

static int
memif_open(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct memif *m = p->priv;
	char path[128];
	m->port = p;
	int rc = take_spec(m, spec, e);
	if (rc == 0)
		rc = port_socket_path(spec->socket, path, sizeof(path), e);
	if (rc == 0)
		rc = start(e);
	if (rc < 0)
		return rc;
	m->path = strdup(path);
	if (m->path == NULL)
		rc = error_set(e, -ENOMEM, "no memory for a memif port");
	else if (!m->client)
		rc = memif_listen(m, spec, e);
	if (rc < 0) {
		free(m->path);
		stop();
		return rc;
	}
	TAILQ_INSERT_TAIL(&ctl.all, m, all);
	return 0;
}

static void
memif_quiesce(struct port *p)
{
	struct memif *m = p->priv;
	if (m->path == NULL)
		return;
	TAILQ_REMOVE(&ctl.all, m, all);
	if (m->conn != NULL)
		memif_conn_close(m->conn, "the port is removed", true);
	if (!m->client)
		memif_unlisten(m);
	free(m->path);
	m->path = NULL;
}

static void
memif_close(struct port *p)
{
	memif_quiesce(p);
	free_retired();
	stop();
}

static void
memif_describe(const struct port *p, char *buf, size_t size)
{
	const struct memif *m = p->priv;
	const struct memif_link *l = m->link;
	if (l != NULL)
		snprintf(buf, size, "connected to %s, %u queue%s, ring %u", m->peer, l->n_rx, l->n_rx == 1 ? "" : "s",
			 l->rx[0].size);
	else
		snprintf(buf, size, "waiting for a %s%s%s%s", m->client ? "server" : "client",
			 m->reason[0] != '\0' ? " (last: " : "", m->reason, m->reason[0] != '\0' ? ")" : "");
}

const struct port_ops memif_ops = {
	.type = "memif",
	.priv_size = sizeof(struct memif),
	.open = memif_open,
	.close = memif_close,
	.rx = memif_rx,
	.tx = memif_tx,
	.quiesce = memif_quiesce,
	.describe = memif_describe,
};
