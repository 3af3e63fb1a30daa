/* SPDX-License-Identifier: Apache-2.0 */
#include "memif.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MS 500

/* The n-th message after HELLO: each goes out when the one before is acknowledged. */
static int
send_step(struct memif_conn *c, unsigned int step)
{
	const struct memif *m = c->m;
	const struct memif_link *l = c->link;
	struct memif_msg msg = {0};
	if (step == 0) {
		msg.type = MEMIF_INIT;
		msg.init.version = MEMIF_VERSION;
		msg.init.id = m->id;
		msg.init.mode = MEMIF_MODE_ETHERNET;
		memcpy(msg.init.secret, m->secret, MEMIF_SECRET);
		snprintf(msg.init.name, sizeof(msg.init.name), "weft");
		return memif_send(c->fd, &msg, -1);
	}
	if (step == 1) {
		msg.type = MEMIF_ADD_REGION;
		msg.add_region.size = l->region[0].size;
		return memif_send(c->fd, &msg, c->region_fd);
	}
	step -= 2;
	if (step == (unsigned int)l->n_tx + l->n_rx) {
		msg.type = MEMIF_CONNECT;
		memif_text(msg.connect.name, MEMIF_NAME, m->port->name, MEMIF_NAME);
		return memif_send(c->fd, &msg, -1);
	}
	bool s2m = step < l->n_tx;
	uint16_t index = (uint16_t)(s2m ? step : step - l->n_tx);
	const struct memif_queue *q = s2m ? &l->tx[index] : &l->rx[index];
	msg.type = MEMIF_ADD_RING;
	msg.add_ring.flags = s2m ? MEMIF_ADD_RING_S2M : 0;
	msg.add_ring.index = index;
	msg.add_ring.offset = memif_link_ring_offset(l, q);
	msg.add_ring.log2_ring = (uint8_t)__builtin_ctz(q->size);
	return memif_send(c->fd, &msg, c->ring_fd[s2m ? 0 : 1][index]);
}

static int
on_hello(struct memif_conn *c, const struct memif_msg *msg, struct error *e)
{
	const struct memif *m = c->m;
	if (c->link != NULL)
		return error_set(e, -EPROTO, "HELLO was sent already");
	if (msg->hello.min_version > MEMIF_VERSION || msg->hello.max_version < MEMIF_VERSION)
		return error_set(e, -EPROTO, "the server does not speak version 2.0");
	uint32_t most = RTE_MIN(msg->hello.max_s2m_ring, msg->hello.max_m2s_ring) + 1u;
	uint32_t log2 = RTE_MIN(msg->hello.max_log2_ring, m->log2_ring);
	if (log2 < 1)
		return error_set(e, -EPROTO, "the server's rings are too short");
	c->link = memif_link_new(true, m->port->n_rxq);
	int rc = c->link == NULL ? -ENOMEM
				 : memif_link_make(c->link, RTE_MIN(most, (uint32_t)m->port->n_rxq), log2,
						   &c->region_fd, c->ring_fd);
	return rc < 0 ? error_set(e, rc, "shared memory: %s", strerror(-rc)) : 0;
}

static int
handle(struct memif_conn *c, const struct memif_msg *msg, struct error *e)
{
	unsigned int last = c->link != NULL ? 2u + c->link->n_tx + c->link->n_rx : 0;
	char peer[MEMIF_NAME + 1];
	int rc = 0;
	if (!c->live && msg->type == MEMIF_HELLO)
		rc = on_hello(c, msg, e);
	else if (!c->live && msg->type == MEMIF_ACK && c->link != NULL && c->step < last)
		c->step++;
	else if (!c->live && msg->type == MEMIF_CONNECTED && c->link != NULL && c->step == last) {
		memif_text(peer, sizeof(peer), msg->connect.name, MEMIF_NAME);
		memif_conn_live(c, peer[0] != '\0' ? peer : "a server");
		return 0;
	} else
		return error_set(e, -EPROTO, "message %u is not due now", msg->type);
	if (rc == 0 && (rc = send_step(c, c->step)) < 0)
		error_set(e, rc, "send: %s", strerror(-rc));
	return rc;
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
	if (fd >= 0)
		close(fd);
	if (rc == 0 && msg.type == MEMIF_DISCONNECT) {
		memif_text(text, sizeof(text), msg.disconnect.reason, sizeof(msg.disconnect.reason));
		memif_conn_close(c, text[0] != '\0' ? text : "the server disconnected", false);
		return;
	}
	bool gone = rc == -EPIPE;
	if (rc == 0)
		rc = handle(c, &msg, &e);
	if (rc < 0)
		memif_conn_close(c, e.text, !gone);
}

void
memif_client_tick(struct memif *m, uint64_t now_ms)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	if (now_ms < m->retry_ms || memif_retired_full())
		return;
	m->retry_ms = now_ms + RETRY_MS;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", m->path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		snprintf(m->reason, sizeof(m->reason), "%s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	struct memif_conn *c = memif_conn_new(fd, on_message);
	if (c == NULL) {
		close(fd);
		return;
	}
	c->m = m;
	m->conn = c;
}
