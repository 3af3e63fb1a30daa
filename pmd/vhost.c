/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's event thread tells us of connections, devices and rings. Who waits for whom, in librte_vhost 22.11:
 *
 * - destroy_device is called without the rings' locks (GET_VRING_BASE, RESET_OWNER and the end of a connection are not
 * among the messages for which they are taken), so on the event thread it may wait for a grace period, and does.
 * - vring_state_changed is called with all ring locks of the device held. A worker may be spinning on one in enqueue,
 * so it must not wait for workers, nor for the lock of somebody who does; and need not, since those locks keep the
 * workers out.
 * - Message handlers of ours (vhost_message.c) are called with those locks held as well. They wait for a grace period, so that
 * the library may move the rings or the memory: as long as we serve a device's rings ourselves, no worker asks for its
 * locks; and the event thread holds those of one device only.
 * - Unregistering calls destroy_device with the library's own mutex held. The event thread may want that one while it
 * holds ring locks of another device (SET_FEATURES), on which a worker spins: waiting for a grace period there would be
 * a deadlock of three. So we take the guests from the workers first, and unregister then.
 *
 * The callbacks never take the port lock: unregistering, under that lock, waits for them. When it returns, none runs
 * any more.
 */
#include "vhost.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include <rte_log.h>
#include <rte_vhost.h>

#include <weft/port_event.h>
#include <weft/rcu.h>

#include "kick.h"
#include "port_core.h"
#include "socket.h"

#define TICK_MS 500
#define GUESTS_MAX 8          /* connections at one socket; the library has 1024 devices for all */
#define REST_MS 50            /* for the rest of a message; QEMU and virtio_user send each in one piece */
#define UNREAD_MAX (64 << 10) /* a peer asks a few questions at a time */
#define PAUSE_TICKS 6

/* Segmentation is not offered yet: what it would bring must first be able to leave by every kind of port. An MTU we do
 * not know. */
#define NOT_OFFERED                                                                                                    \
	(1ULL << VIRTIO_NET_F_GSO | 1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6 |                  \
	 1ULL << VIRTIO_NET_F_HOST_UFO | 1ULL << VIRTIO_NET_F_HOST_ECN | 1ULL << VIRTIO_NET_F_GUEST_TSO4 |             \
	 1ULL << VIRTIO_NET_F_GUEST_TSO6 | 1ULL << VIRTIO_NET_F_GUEST_UFO | 1ULL << VIRTIO_NET_F_GUEST_ECN |           \
	 1ULL << VIRTIO_NET_F_MTU)
/* RARP: nobody here learns from the frames that it would make. */
#define PROTOCOL_NOT_OFFERED                                                                                           \
	(1ULL << VHOST_USER_PROTOCOL_F_NET_MTU | 1ULL << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |                        \
	 1ULL << VHOST_USER_PROTOCOL_F_RARP)

/* Ports, their guests, and who is running. Never held while waiting for anything. */
static TAILQ_HEAD(, vhost) ports = TAILQ_HEAD_INITIALIZER(ports);
static struct guest *guests[RTE_MAX_VHOST_DEVICE];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct vhost *
vhost_of(int vid, char *path, size_t size)
{
	struct vhost *v;
	if (rte_vhost_get_ifname(vid, path, size) < 0)
		return NULL;
	pthread_mutex_lock(&lock);
	TAILQ_FOREACH(v, &ports, all)
	if (strcmp(v->path, path) == 0)
		break;
	pthread_mutex_unlock(&lock);
	return v; /* stays: see vhost_guest_of */
}

struct guest *
vhost_guest_of(int vid)
{
	pthread_mutex_lock(&lock);
	struct guest *g = vid >= 0 && vid < RTE_MAX_VHOST_DEVICE ? guests[vid] : NULL;
	pthread_mutex_unlock(&lock);
	return g; /* stays: what removes it is a callback of the same connection, or a close that waits for those */
}

static void
guest_free(struct guest *g)
{
	if (g->fd >= 0)
		close(g->fd);
	free(g);
}

static void
guest_remove(struct guest *g)
{
	pthread_mutex_lock(&lock);
	TAILQ_REMOVE(&g->v->guests, g, all);
	guests[g->vid] = NULL;
	pthread_mutex_unlock(&lock);
	guest_free(g);
}

/* With the lock: the port has no guest, here is one. Each of its rings is signalled, since a guest may sleep from
 * before a restart of ours. */
static void
publish(struct vhost *v, struct guest *g)
{
	for (unsigned int r = 0; r < VHOST_RINGS; r++)
		g->ring[r].greet = 1;
	__atomic_store_n(&v->port->offloads, g->csum ? PORT_TX_CSUM : 0u, __ATOMIC_RELAXED);
	__atomic_store_n(&v->guest, g, __ATOMIC_RELEASE);
}

void
vhost_rings_attach(struct guest *g)
{
	uint64_t features = 0;
	rte_vhost_get_negotiated_features(g->vid, &features);
	if (features & (1ULL << VIRTIO_F_RING_PACKED | 1ULL << VHOST_F_LOG_ALL))
		__atomic_store_n(&g->library, true, __ATOMIC_RELEASE);
	else if (!g->library)
		__atomic_store_n(&g->split, split_create(g->vid, features), __ATOMIC_RELEASE);
}

/* With the lock, which describe has: workers find the guest's rings no more. */
static struct split *
rings_take(struct guest *g)
{
	struct split *s = g->split;
	__atomic_store_n(&g->split, NULL, __ATOMIC_RELEASE);
	return s;
}

static void
workers_leave(const struct vhost *v)
{
	if (!__atomic_load_n(&v->quiet, __ATOMIC_ACQUIRE))
		rcu_synchronize();
}

void
vhost_rings_detach(struct guest *g)
{
	pthread_mutex_lock(&lock);
	struct split *s = rings_take(g);
	pthread_mutex_unlock(&lock);
	if (s == NULL)
		return;
	workers_leave(g->v);
	split_destroy(s, g->vid);
}

/* The workers are out of the guest when this returns, and with the next one that is ready. */
static void
guest_stop(struct guest *g)
{
	struct vhost *v = g->v;
	struct guest *next;
	pthread_mutex_lock(&lock);
	g->running = false;
	bool served = v->guest == g;
	if (served)
		__atomic_store_n(&v->guest, NULL, __ATOMIC_RELEASE);
	struct split *s = rings_take(g);
	pthread_mutex_unlock(&lock);
	if (served || s != NULL)
		workers_leave(v);
	split_destroy(s, g->vid);
	__atomic_store_n(&g->library, false, __ATOMIC_RELAXED);
	if (!served)
		return;
	pthread_mutex_lock(&lock);
	TAILQ_FOREACH(next, &v->guests, all)
	if (next->running && v->guest == NULL && !v->closing)
		publish(v, next);
	bool up = v->guest != NULL;
	pthread_mutex_unlock(&lock);
	port_set_up(v->port, up);
}

/* With the lock. */
static bool
welcome(struct vhost *v)
{
	struct guest *g;
	unsigned int n = 0;
	TAILQ_FOREACH(g, &v->guests, all)
	n++;
	return !v->closing && v->pause == 0 && n < GUESTS_MAX;
}

static int
on_new_connection(int vid)
{
	char path[PATH_MAX];
	struct guest *g = calloc(1, sizeof(*g));
	struct vhost *v = vhost_of(vid, path, sizeof(path));
	if (g == NULL || v == NULL) {
		free(g);
		return -1;
	}
	/* The library reads and answers in blocking calls, on the one thread that all ports share, with ring locks
	 * held. */
	g->fd = socket_adopt(path, v->client, REST_MS);
	g->vid = vid;
	g->v = v;
	pthread_mutex_lock(&lock);
	bool ok = welcome(v);
	if (ok) {
		guests[vid] = g;
		TAILQ_INSERT_TAIL(&v->guests, g, all);
	}
	pthread_mutex_unlock(&lock);
	if (ok && rte_vhost_extern_callback_register(vid, &vhost_messages, NULL) < 0) {
		guest_remove(g);
		return -1;
	}
	if (!ok)
		guest_free(g);
	return ok ? 0 : -1;
}

static void
on_destroy_connection(int vid)
{
	struct guest *g = vhost_guest_of(vid);
	if (g == NULL)
		return;
	guest_stop(g);
	guest_remove(g);
}

static int
on_new_device(int vid)
{
	struct guest *g = vhost_guest_of(vid);
	uint64_t features = 0;
	if (g == NULL || g->spoiled)
		return -1;
	rte_vhost_get_negotiated_features(vid, &features);
	g->csum = features & 1ULL << VIRTIO_NET_F_GUEST_CSUM;
	g->packed = features & 1ULL << VIRTIO_F_RING_PACKED;
	vhost_rings_attach(g);
	pthread_mutex_lock(&lock);
	g->running = true;
	if (g->v->guest == NULL && !g->v->closing)
		publish(g->v, g);
	bool up = g->v->guest != NULL;
	pthread_mutex_unlock(&lock);
	port_set_up(g->v->port, up);
	return 0;
}

static void
on_destroy_device(int vid)
{
	struct guest *g = vhost_guest_of(vid);
	if (g != NULL)
		guest_stop(g);
}

static int
on_vring_state(int vid, uint16_t ring, int enable)
{
	struct guest *g = vhost_guest_of(vid);
	uint16_t rx = 0, tx = 0;
	if (g == NULL || ring >= VHOST_RINGS)
		return 0;
	__atomic_store_n(&g->ring[ring].restart, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&g->ring[ring].enabled, enable != 0, __ATOMIC_RELEASE);
	for (uint16_t pair = 0; pair < VHOST_RINGS / 2; pair++) {
		if (g->ring[2 * pair + 1].enabled)
			rx = (uint16_t)(pair + 1);
		if (g->ring[2 * pair].enabled && tx == pair)
			tx = (uint16_t)(pair + 1);
	}
	__atomic_store_n(&g->rx_pairs, rx, __ATOMIC_RELAXED);
	__atomic_store_n(&g->tx_pairs, tx, __ATOMIC_RELAXED);
	return 0;
}

static const struct rte_vhost_device_ops callbacks = {
	.new_connection = on_new_connection,
	.destroy_connection = on_destroy_connection,
	.new_device = on_new_device,
	.destroy_device = on_destroy_device,
	.vring_state_changed = on_vring_state,
};

/* What is offered depends on nothing but this program: a guest that comes back finds what it had. */
static int
driver_prepare(const char *path)
{
	uint64_t protocol;
	if (rte_vhost_driver_disable_features(path, NOT_OFFERED) < 0 ||
	    rte_vhost_driver_get_protocol_features(path, &protocol) < 0 ||
	    rte_vhost_driver_set_protocol_features(path, protocol & ~PROTOCOL_NOT_OFFERED) < 0)
		return -1;
	return rte_vhost_driver_callback_register(path, &callbacks);
}

static int
driver_start(struct vhost *v)
{
	uint64_t flags = RTE_VHOST_USER_LINEARBUF_SUPPORT | RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS |
			 (v->client ? RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT : 0);
	if (rte_vhost_driver_register(v->path, flags) < 0)
		return -1;
	if (driver_prepare(v->path) == 0 && rte_vhost_driver_start(v->path) == 0)
		return 0;
	rte_vhost_driver_unregister(v->path);
	return -1;
}

/*
 * The library's own reconnecting leaves a dangling entry behind when a port is closed while its server goes away. That
 * nobody listens yet is no news, every half second; the levels below are of the library's whole configuration log, for
 * the moment of one connect().
 */
static void
connect_try(struct vhost *v)
{
	int type = rte_log_register("lib.vhost.config"), level = type >= 0 ? rte_log_get_level((uint32_t)type) : -1;
	if (level >= 0)
		rte_log_set_level((uint32_t)type, RTE_MIN((uint32_t)level, RTE_LOG_ERR));
	v->registered = driver_start(v) == 0;
	if (level >= 0)
		rte_log_set_level((uint32_t)type, (uint32_t)level);
}

/* A peer that asks and does not read has the library wait in each answer, rings locked. The library does not notice;
 * this does. */
static void
on_tick(void *arg)
{
	struct vhost *v = arg;
	struct guest *g;
	pthread_mutex_lock(&lock);
	v->pause -= v->pause > 0;
	TAILQ_FOREACH(g, &v->guests, all)
	if (g->fd >= 0 && socket_unread(g->fd) > UNREAD_MAX) {
		shutdown(g->fd, SHUT_RDWR);
		v->pause = PAUSE_TICKS;
	}
	bool try = v->client && TAILQ_EMPTY(&v->guests);
	pthread_mutex_unlock(&lock);
	if (!try)
		return;
	if (v->registered)
		rte_vhost_driver_unregister(v->path);
	connect_try(v);
}

static void
vhost_close(struct port *p)
{
	struct vhost *v = p->priv;
	struct guest *g;
	port_event_remove(v->tick);
	pthread_mutex_lock(&lock);
	v->closing = true;
	__atomic_store_n(&v->guest, NULL, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lock);
	rcu_synchronize();
	__atomic_store_n(&v->quiet, true, __ATOMIC_RELEASE);
	if (v->registered)
		rte_vhost_driver_unregister(v->path);
	/* It tells of devices that it destroys, not of connections. */
	while ((g = TAILQ_FIRST(&v->guests)) != NULL)
		guest_remove(g);
	pthread_mutex_lock(&lock);
	TAILQ_REMOVE(&ports, v, all);
	pthread_mutex_unlock(&lock);
	kick_stop();
}

static int
listen_at(struct vhost *v, const struct spec_port *spec, struct error *e)
{
	struct socket_access access;
	int rc = socket_access_of(spec, &access, e);
	if (rc == 0)
		rc = socket_clear(v->path, SOCK_STREAM, e);
	if (rc == 0)
		rc = socket_try_bind(v->path, SOCK_STREAM, e);
	if (rc == 0 && driver_start(v) < 0)
		rc = error_at(e, -EADDRNOTAVAIL, "socket", "librte_vhost cannot listen on %s", v->path);
	v->registered = rc == 0;
	return rc == 0 ? socket_access_set(v->path, &access, e) : rc;
}

static int
vhost_open(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct vhost *v = p->priv;
	v->port = p;
	v->client = spec->role == ROLE_CLIENT;
	TAILQ_INIT(&v->guests);
	int rc = port_socket_path(spec->socket, v->path, sizeof(v->path), e);
	if (rc == 0)
		rc = kick_start(e);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&lock);
	TAILQ_INSERT_TAIL(&ports, v, all);
	pthread_mutex_unlock(&lock);
	v->tick = port_timer_add(TICK_MS, on_tick, v);
	if (v->tick == NULL)
		rc = error_set(e, -errno, "timer: %s", strerror(errno));
	else if (v->client)
		connect_try(v);
	else
		rc = listen_at(v, spec, e);
	if (rc < 0)
		vhost_close(p);
	return rc;
}

static void
vhost_describe(const struct port *p, char *buf, size_t size)
{
	struct vhost *v = p->priv;
	pthread_mutex_lock(&lock);
	const struct guest *g = v->guest;
	if (g == NULL)
		snprintf(buf, size, "waiting for a guest%s", v->client ? " that listens" : "");
	else
		snprintf(buf, size, "connected, %u queue%s%s%s", g->rx_pairs, g->rx_pairs == 1 ? "" : "s",
			 g->csum ? ", checksum offload" : "",
			 g->split != NULL && split_is_broken(g->split) ? ", a ring that the guest broke" : "");
	pthread_mutex_unlock(&lock);
}

const struct port_ops vhost_ops = {
	.type = "vhost-user",
	.priv_size = sizeof(struct vhost),
	.open = vhost_open,
	.close = vhost_close,
	.rx = vhost_rx,
	.tx = vhost_tx,
	.describe = vhost_describe,
};
