/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/port.h>

#include <limits.h>
#include <net/if.h>
#include <rte_cycles.h>
#include <rte_ether.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include <weft/offload.h>
#include <weft/port_event.h>
#include <weft/rcu.h>

#include "buffer.h"
#include "port_core.h"
#include "tap_device.h"
#include "virtio_header.h"

#define WATCH_MS 1000
#define VLAN_LEN 4

/*
 * Asking an empty tap costs a system call, so one that stays empty is asked less and less often: at once EAGER times,
 * then after 1, 2, 4 ... microseconds, at most LAZY_US, or LAZY_US_PER_QUEUE for each tap queue that there is, so that
 * a thousand idle pods cost a fraction of a core. The first packet resets it.
 */
#define EAGER 16
#define LAZY_US 50
#define LAZY_US_PER_QUEUE 2
static unsigned int open_queues; /* atomic */

struct tap_queue {
	struct rte_mbuf *spare; /* for the next frame: an empty read costs no allocation */
	uint64_t ask_at;        /* TSC */
	uint32_t empty;         /* reads in a row that found nothing */
} __attribute__((aligned(64)));

struct tap {
	struct tap_device *device; /* atomic; NULL while there is none */
	uint64_t tsc_per_us;
	struct tap_queue queue[PORT_MAX_QUEUES];
	struct tap_plan plan; /* our own copies */
	struct port_event *watch;
	struct error error; /* why there is no device */
};

static int
attach(struct port *p, struct error *e)
{
	struct tap *t = p->priv;
	struct tap_device *d = malloc(sizeof(*d));
	if (d == NULL)
		return error_set(e, -ENOMEM, "no memory for a tap");
	int rc = tap_device_open(&t->plan, d, e);
	if (rc < 0) {
		free(d);
		return rc;
	}
	p->mac = t->plan.mac = d->mac; /* the next one in its place is the same to its neighbours */
	__atomic_store_n(&t->device, d, __ATOMIC_RELEASE);
	port_set_up(p, true);
	return 0;
}

static void
detach(struct port *p, bool remove)
{
	struct tap *t = p->priv;
	struct tap_device *d = __atomic_exchange_n(&t->device, NULL, __ATOMIC_ACQ_REL);
	if (d == NULL)
		return;
	port_set_up(p, false);
	rcu_synchronize();
	tap_device_close(d, remove);
	free(d);
}

/* Namespaces are deleted and made anew without a word to us. */
static void
watch(void *arg)
{
	struct port *p = arg;
	struct tap *t = p->priv;
	if (t->device != NULL && tap_device_is_there(&t->plan, t->device))
		return;
	detach(p, true);
	attach(p, &t->error);
}

static int
check_name(const char *name, struct error *e)
{
	size_t n = name != NULL ? strlen(name) : 0;
	if (n == 0)
		return error_at(e, -EINVAL, "ifname", "needed for a tap without netns");
	/* '%' makes a template of it: "tap%d". */
	if (n >= IFNAMSIZ || strpbrk(name, "/% \t\n:") != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_at(e, -EINVAL, "ifname",
				"\"%s\" is not a device name: 1 to 15 bytes without / : %% or space", name);
	return 0;
}

static int
copy_plan(struct tap *t, const struct port *p, const struct spec_port *spec)
{
	const char *ifname = spec->ifname != NULL ? spec->ifname : "eth0";
	struct host_prefix *ips = NULL;
	static const struct mac unset;
	const struct port *partner = port_wire_partner(p);
	struct mac mac = mac_equal(&spec->mac, &unset) && partner != NULL ? partner->mac : spec->mac;
	if (spec->host && spec->ips.n > 0) {
		ips = calloc(spec->ips.n, sizeof(*ips));
		if (ips == NULL)
			return -ENOMEM;
		memcpy(ips, spec->ips.v, spec->ips.n * sizeof(*ips));
	}
	t->plan = (struct tap_plan){.netns = spec->netns != NULL ? strdup(spec->netns) : NULL,
				    .ifname = strdup(ifname),
				    .mac = mac,
				    .mtu = p->mtu,
				    .queues = p->n_rxq,
				    .ips = {.v = ips, .n = ips != NULL ? spec->ips.n : 0}};
	return t->plan.ifname == NULL || (spec->netns != NULL && t->plan.netns == NULL) ? -ENOMEM : 0;
}

static void
tap_close(struct port *p)
{
	struct tap *t = p->priv;
	if (t->watch != NULL)
		__atomic_fetch_sub(&open_queues, p->n_rxq, __ATOMIC_RELAXED);
	port_event_remove(t->watch);
	/* A pod keeps its device, addresses and routes over a restart of the switch; the node's own would lead nowhere.
	 */
	detach(p, !ports_are_stopping() || t->plan.netns == NULL);
	for (unsigned int q = 0; q < PORT_MAX_QUEUES; q++)
		rte_pktmbuf_free(t->queue[q].spare);
	free((void *)t->plan.netns);
	free((void *)t->plan.ifname);
	free((void *)t->plan.ips.v);
}

static int
tap_open(struct port *p, const struct spec_port *spec, struct error *e)
{
	struct tap *t = p->priv;
	int room = rte_pktmbuf_data_room_size(p->pool) - RTE_PKTMBUF_HEADROOM - RTE_ETHER_HDR_LEN - VLAN_LEN - 1;
	int rc = check_name(spec->ifname != NULL || spec->netns == NULL ? spec->ifname : "eth0", e);
	if (rc < 0)
		return rc;
	if (p->mtu > room)
		return error_at(e, -EINVAL, "mtu", "%u is not in 68..%d: that is what the packet buffers hold", p->mtu,
				room);
	if (copy_plan(t, p, spec) < 0) {
		rc = error_set(e, -ENOMEM, "no memory for a tap");
		goto fail;
	}
	t->tsc_per_us = rte_get_tsc_hz() / 1000000 + 1;
	p->offloads = PORT_TX_CSUM;
	/* A namespace that is not there yet is waited for. */
	if (t->plan.netns != NULL && access(t->plan.netns, F_OK) < 0 && errno == ENOENT) {
		error_at(&t->error, -ENOENT, "netns", "%s: %s", t->plan.netns, strerror(ENOENT));
	} else {
		rc = attach(p, e);
		if (rc < 0)
			goto fail;
	}
	t->watch = port_timer_add(WATCH_MS, watch, p);
	if (t->watch == NULL) {
		rc = error_set(e, -errno, "timer: %s", strerror(errno));
		goto fail;
	}
	__atomic_fetch_add(&open_queues, p->n_rxq, __ATOMIC_RELAXED);
	return 0;
fail:
	tap_close(p);
	return rc;
}

/* What the header says of the checksum, or false when frame and header do not fit. */
static bool
accept_frame(struct rte_mbuf *m, const struct virtio_net_hdr *h)
{
	if (m->data_len < RTE_ETHER_HDR_LEN || !virtio_header_read(h, m))
		return false;
	if (!offload_is_partial(m) && h->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	return true;
}

/* 1: a packet; 0: a frame that is none; -1: nothing to read. */
static int
read_frame(int fd, struct rte_mbuf *m)
{
	struct virtio_net_hdr h;
	size_t room = rte_pktmbuf_tailroom(m);
	struct iovec iov[2] = {{&h, sizeof(h)}, {rte_pktmbuf_mtod(m, void *), room}};
	ssize_t n = readv(fd, iov, 2);
	if (n < (ssize_t)sizeof(h))
		return -1;
	m->data_len = (uint16_t)((size_t)n - sizeof(h));
	m->pkt_len = m->data_len;
	/* A frame that fills the buffer was cut off: the pod has raised its MTU past what the buffers hold. */
	if (m->data_len < room && accept_frame(m, &h))
		return 1;
	rte_pktmbuf_reset(m);
	return 0;
}

static void
back_off(const struct tap *t, struct tap_queue *q)
{
	if (++q->empty <= EAGER)
		return;
	uint64_t us = 1u << RTE_MIN(q->empty - EAGER - 1, 16u);
	uint64_t most = RTE_MAX(LAZY_US, LAZY_US_PER_QUEUE * __atomic_load_n(&open_queues, __ATOMIC_RELAXED));
	q->ask_at = rte_rdtsc() + RTE_MIN(us, most) * t->tsc_per_us;
}

static uint16_t
tap_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct tap *t = p->priv;
	struct tap_queue *q = &t->queue[queue];
	const struct tap_device *d = __atomic_load_n(&t->device, __ATOMIC_ACQUIRE);
	uint16_t got = 0;
	int rc = 0;
	if (d == NULL || (q->empty > EAGER && rte_rdtsc() < q->ask_at))
		return 0;
	for (uint16_t i = 0; i < n && rc >= 0; i++) {
		if (q->spare == NULL && (q->spare = rte_pktmbuf_alloc(p->pool)) == NULL)
			return got;
		rc = read_frame(d->fd[queue], q->spare);
		if (rc > 0) {
			m[got++] = q->spare;
			q->spare = NULL;
		} else if (rc == 0) {
			p->stats[queue].rx_bad++;
		}
	}
	if (got > 0)
		q->empty = 0;
	else
		back_off(t, q);
	return got;
}

/* False when the device takes nothing now; a frame that it will never take is gone as if on the wire. */
static bool
write_frame(int fd, struct rte_mbuf *m)
{
	struct virtio_net_hdr h = {0};
	struct iovec iov[2] = {{&h, sizeof(h)}, {rte_pktmbuf_mtod(m, void *), m->data_len}};
	virtio_header_write(&h, m);
	return writev(fd, iov, 2) >= 0 || errno == EINVAL || errno == EFAULT;
}

static uint16_t
tap_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct tap *t = p->priv;
	const struct tap_device *d = __atomic_load_n(&t->device, __ATOMIC_ACQUIRE);
	uint16_t sent = 0;
	while (d != NULL && sent < n && write_frame(d->fd[queue], m[sent]))
		sent++;
	buffers_free(m, sent);
	if (sent < n)
		p->stats[queue].tx_full++;
	return sent;
}

static void
tap_describe(const struct port *p, char *buf, size_t size)
{
	const struct tap *t = p->priv;
	if (t->device != NULL)
		snprintf(buf, size, "%s%s%s, %u queue%s", t->plan.ifname, t->plan.netns != NULL ? " in " : "",
			 t->plan.netns != NULL ? t->plan.netns : "", p->n_rxq, p->n_rxq == 1 ? "" : "s");
	else
		snprintf(buf, size, "waiting: %s", t->error.text);
}

const struct port_ops tap_ops = {
	.type = "tap",
	.priv_size = sizeof(struct tap),
	.open = tap_open,
	.close = tap_close,
	.rx = tap_rx,
	.tx = tap_tx,
	.describe = tap_describe,
};
