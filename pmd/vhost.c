/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user ports on librte_vhost's own calls (a PMD would cost one of 32 ethdevs).
 *
 * The library's event thread tells us of devices and rings (callbacks below); workers read what they left in atomics. The
 * callbacks never take the port lock: unregistering, under that lock, waits for them.
 *
 * When a worker must be out: destroy_device is called without the rings' locks held (GET_VRING_BASE, RESET_OWNER and the end of the connection are not
 * among the messages for which the library takes them), so it may wait for a grace period, and does: afterwards the library frees
 * what enqueue and dequeue use. vring_state_changed is called with the ring's lock held, on which a worker may be spinning in
 * enqueue: waiting there would never end, and need not be done, since the lock is what keeps the worker out.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/base.h>

#include <linux/virtio_net.h>
#include <linux/virtio_config.h>

#include <rte_ether.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <rte_vhost.h>

#include <weft/offload.h>
#include <weft/port.h>
#include <weft/rcu.h>

#include "port_core.h"
#include "socket.h"

#define NO_DEVICE (-1)
#define RINGS (2 * PORT_MAX_QUEUES)
#define LIBRARY_BURST 32 /* MAX_PKT_BURST of lib/vhost */

/* Segmentation is not offered yet: what it would bring must first be able to leave by every kind of port. */
#define NOT_OFFERED                                                                                                       \
	(1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6 | 1ULL << VIRTIO_NET_F_HOST_UFO |               \
	 1ULL << VIRTIO_NET_F_HOST_ECN | 1ULL << VIRTIO_NET_F_GUEST_TSO4 | 1ULL << VIRTIO_NET_F_GUEST_TSO6 |             \
	 1ULL << VIRTIO_NET_F_GUEST_UFO | 1ULL << VIRTIO_NET_F_GUEST_ECN)

struct vhost {
	struct port *port;
	char path[108];
	int vid;                   /* the device, or NO_DEVICE; atomic */
	uint8_t enabled[RINGS];    /* by the guest; atomic */
	uint8_t greet[RINGS];      /* signal this ring once, from the worker that owns it; atomic */
	TAILQ_ENTRY(vhost) all;
};

/* The library names a device by its socket's path. The lock orders callbacks with open and close, nothing else. */
static TAILQ_HEAD(, vhost) devices = TAILQ_HEAD_INITIALIZER(devices);
static pthread_mutex_t devices_lock = PTHREAD_MUTEX_INITIALIZER;

static struct vhost *
device_find(int vid)
{
	char path[PATH_MAX];
	struct vhost *v, *found = NULL;
	if (rte_vhost_get_ifname(vid, path, sizeof(path)) < 0)
		return NULL;
	pthread_mutex_lock(&devices_lock);
	TAILQ_FOREACH(v, &devices, all)
	if (strcmp(v->path, path) == 0)
		found = v;
	pthread_mutex_unlock(&devices_lock);
	return found; /* stays: close unregisters first, which waits until no callback runs */
}

static int
on_new_device(int vid)
{
	struct vhost *v = device_find(vid);
	uint64_t features = 0;
	if (v == NULL)
		return -1;
	rte_vhost_get_negotiated_features(vid, &features);
	bool csum = features & 1ULL << VIRTIO_NET_F_GUEST_CSUM;
	__atomic_store_n(&v->port->offloads, csum ? PORT_TX_CSUM : 0u, __ATOMIC_RELAXED);
	/* A guest that sleeps since before a restart of ours waits for a signal that was never sent. */
	for (unsigned int r = 0; r < RINGS; r++)
		__atomic_store_n(&v->greet[r], 1, __ATOMIC_RELAXED);
	__atomic_store_n(&v->vid, vid, __ATOMIC_RELEASE);
	port_set_up(v->port, true);
	return 0;
}

static void
on_destroy_device(int vid)
{
	struct vhost *v = device_find(vid);
	if (v == NULL || __atomic_load_n(&v->vid, __ATOMIC_RELAXED) != vid)
		return;
	__atomic_store_n(&v->vid, NO_DEVICE, __ATOMIC_RELEASE);
	rcu_synchronize();
	port_set_up(v->port, false);
}

static int
on_vring_state(int vid, uint16_t ring, int enable)
{
	struct vhost *v = device_find(vid);
	if (v != NULL && ring < RINGS)
		__atomic_store_n(&v->enabled[ring], enable != 0, __ATOMIC_RELEASE);
	return 0;
}

static void
on_destroy_connection(int vid)
{
	struct vhost *v = device_find(vid);
	for (unsigned int r = 0; v != NULL && r < RINGS; r++)
		__atomic_store_n(&v->enabled[r], 0, __ATOMIC_RELAXED);
}

static const struct rte_vhost_device_ops callbacks = {
	.new_device = on_new_device,
	.destroy_device = on_destroy_device,
	.vring_state_changed = on_vring_state,
	.destroy_connection = on_destroy_connection,
};

/* The device behind a ring that may be used now, or NO_DEVICE. */
static inline int
device_of(struct vhost *v, unsigned int ring)
{
	int vid = __atomic_load_n(&v->vid, __ATOMIC_ACQUIRE);
	if (vid == NO_DEVICE || !__atomic_load_n(&v->enabled[ring], __ATOMIC_RELAXED))
		return NO_DEVICE;
	if (unlikely(__atomic_load_n(&v->greet[ring], __ATOMIC_RELAXED))) {
		__atomic_store_n(&v->greet[ring], 0, __ATOMIC_RELAXED);
		rte_vhost_vring_call(vid, (uint16_t)ring);
	}
	return vid;
}

/*
 * Without RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS the library says of a partial checksum what a sender would: which L4 protocol, and
 * how long the headers before it are, after it has checked both against the frame.
 */
static bool
mark_received(struct rte_mbuf *m)
{
	uint64_t l4 = m->ol_flags & RTE_MBUF_F_TX_L4_MASK;
	uint16_t start = (uint16_t)(m->l2_len + m->l3_len);
	m->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
	if (likely(l4 == 0))
		return true;
	if (l4 == RTE_MBUF_F_TX_TCP_CKSUM)
		offload_rx_partial(m, start, offsetof(struct rte_tcp_hdr, cksum));
	else if (l4 == RTE_MBUF_F_TX_UDP_CKSUM)
		offload_rx_partial(m, start, offsetof(struct rte_udp_hdr, dgram_cksum));
	else
		return false; /* SCTP's CRC is not offered */
	return true;
}

static uint16_t
vhost_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct vhost *v = p->priv;
	uint16_t ring = (uint16_t)(2 * queue + 1), kept = 0;
	int vid = device_of(v, ring);
	if (vid == NO_DEVICE)
		return 0;
	uint16_t got = rte_vhost_dequeue_burst(vid, ring, p->pool, m, n);
	for (uint16_t i = 0; i < got; i++) {
		if (likely(m[i]->nb_segs == 1 && mark_received(m[i]))) {
			m[kept++] = m[i];
		} else {
			p->stats[queue].rx_bad++;
			rte_pktmbuf_free(m[i]);
		}
	}
	return kept;
}

static void
mark_sent(struct rte_mbuf *m, bool able)
{
	m->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
	if (likely(!offload_is_partial(m)))
		return;
	bool udp = offload_csum_offset(m) == offsetof(struct rte_udp_hdr, dgram_cksum);
	if (!able) { /* it could when the packet was judged: another guest has come since */
		offload_complete(m, rte_pktmbuf_data_len(m), udp);
		return;
	}
	m->ol_flags |= udp ? RTE_MBUF_F_TX_UDP_CKSUM : RTE_MBUF_F_TX_TCP_CKSUM;
	m->l2_len = sizeof(struct rte_ether_hdr);
	m->l3_len = (uint64_t)(offload_csum_start(m) - sizeof(struct rte_ether_hdr)) & 511;
}

static uint16_t
vhost_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct vhost *v = p->priv;
	uint16_t ring = (uint16_t)(2 * queue);
	int vid = device_of(v, ring);
	if (vid == NO_DEVICE)
		return 0;
	bool able = __atomic_load_n(&p->offloads, __ATOMIC_RELAXED) & PORT_TX_CSUM;
	for (uint16_t i = 0; i < n; i++)
		mark_sent(m[i], able);
	/* The library takes no more than its own burst at a time. */
	uint16_t sent = 0, took;
	do {
		uint16_t want = (uint16_t)RTE_MIN(n - sent, LIBRARY_BURST);
		took = rte_vhost_enqueue_burst(vid, ring, m + sent, want);
		sent = (uint16_t)(sent + took);
		if (took < want)
			break;
	} while (sent < n);
	rte_pktmbuf_free_bulk(m, sent); /* copied, not taken */
	p->stats[queue].tx_full += sent < n;
	return sent;
}

static int
vhost_register(struct vhost *v, bool client, struct error *e)
{
	uint64_t flags = RTE_VHOST_USER_LINEARBUF_SUPPORT | (client ? RTE_VHOST_USER_CLIENT : 0);
	if (rte_vhost_driver_register(v->path, flags) < 0)
		return error_at(e, -EINVAL, "socket", "librte_vhost refuses %s", v->path);
	if (rte_vhost_driver_disable_features(v->path, NOT_OFFERED) < 0 ||
	    rte_vhost_driver_callback_register(v->path, &callbacks) < 0 || rte_vhost_driver_start(v->path) < 0) {
		rte_vhost_driver_unregister(v->path);
		return error_at(e, -EADDRNOTAVAIL, "socket", "cannot %s %s", client ? "connect to" : "listen on", v->path);
	}
	return 0;
}

static void
device_unlist(struct vhost *v)
{
	pthread_mutex_lock(&devices_lock);
	TAILQ_REMOVE(&devices, v, all);
	pthread_mutex_unlock(&devices_lock);
}

static int
vhost_open(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct vhost *v = p->priv;
	struct socket_access access;
	bool client = spec->role == ROLE_CLIENT;
	v->port = p;
	v->vid = NO_DEVICE;
	p->n_rxq = p->n_txq = spec->queues != 0 ? spec->queues : 1;
	p->mtu = spec->mtu != 0 ? spec->mtu : 1500;
	int rc = port_socket_path(spec->socket, v->path, sizeof(v->path), e);
	if (rc == 0)
		rc = socket_access_of(spec, &access, e);
	if (rc == 0 && !client)
		rc = socket_clear(v->path, SOCK_STREAM, e);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&devices_lock);
	TAILQ_INSERT_TAIL(&devices, v, all);
	pthread_mutex_unlock(&devices_lock);
	rc = vhost_register(v, client, e);
	if (rc < 0) {
		device_unlist(v);
		return rc;
	}
	if (!client)
		rc = socket_access_set(v->path, &access, e);
	if (rc < 0) {
		rte_vhost_driver_unregister(v->path);
		device_unlist(v);
	}
	return rc;
}

static void
vhost_close(struct port *p)
{
	struct vhost *v = p->priv;
	rte_vhost_driver_unregister(v->path);
	device_unlist(v);
}

static void
vhost_describe(const struct port *p, char *buf, size_t size)
{
	const struct vhost *v = p->priv;
	unsigned int pairs = 0;
	if (__atomic_load_n(&v->vid, __ATOMIC_RELAXED) == NO_DEVICE) {
		snprintf(buf, size, "waiting for a guest");
		return;
	}
	for (unsigned int q = 0; q < p->n_rxq; q++)
		pairs += __atomic_load_n(&v->enabled[2 * q + 1], __ATOMIC_RELAXED) != 0;
	snprintf(buf, size, "connected, %u queue%s%s", pairs, pairs == 1 ? "" : "s",
		 __atomic_load_n(&p->offloads, __ATOMIC_RELAXED) & PORT_TX_CSUM ? ", checksum offload" : "");
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
