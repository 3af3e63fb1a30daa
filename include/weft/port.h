/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports: where packets come from and go to. One small table of operations per kind; workers see nothing else of it.
 *
 * Threads. open, close and describe run on control threads, one at a time (the port lock, see port_event.h). rx and tx run on
 * workers: rx of one queue by one worker, tx of one queue by one worker (port_tx_owner says which), both concurrent with everything else.
 * A peer that comes or goes is the port's own affair: rx and tx return 0 while nobody is there. To take away
 * memory that rx or tx may be using: unpublish the pointer, rcu_synchronize(), then unmap or free.
 * open never waits for a peer.
 */
#ifndef WEFT_PORT_H
#define WEFT_PORT_H

#include <rte_mbuf.h>

#include <weft/base.h>
#include <weft/spec.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PORT_MAX_QUEUES 16

/* What a port can do for a packet that it transmits. */
enum port_offload {
	PORT_TX_CSUM = 1 << 0, /* takes partial TCP and UDP checksums (see offload.h) */
};

struct port;

struct port_ops {
	const char *type;
	size_t priv_size; /* zeroed memory at port->priv */
	int (*open)(struct port *p, const struct spec_port *spec, struct error *e);
	void (*close)(struct port *p); /* no worker uses the port any more */
	/* Up to n packets (n <= 64). Each mbuf is the caller's: from the port's pool, one segment, port_rx_csum-marked where its checksum is not full. */
	uint16_t (*rx)(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n);
	/* Returns how many it took; those are the port's, the rest stays the caller's. */
	uint16_t (*tx)(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n);
	/* Before the workers let go of the port: stop the peer from being served; may be NULL. */
	void (*quiesce)(struct port *p);
	/* One line about the peer and the link for `get` ("connected, 2 queues"). */
	void (*describe)(const struct port *p, char *buf, size_t size);
};

struct port_queue_stats {  /* single writer: the worker that owns the queue */
	uint64_t rx_bad;   /* descriptors or frames from the peer that broke the rules: never became a packet */
	uint64_t tx_full;  /* times that not all of a burst was taken */
} __attribute__((aligned(64)));

struct port {
	uint16_t id;
	uint16_t n_rxq, n_txq;  /* constant while open */
	int numa;               /* node of the device, -1: any */
	uint32_t offloads;      /* enum port_offload; may change when a peer (re)connects, atomic */
	struct mac mac;         /* nic and tap: the device's own */
	uint16_t mtu;           /* largest IP packet that it carries */
	bool up;                /* a peer or a link is there; atomic */
	bool host, uplink;      /* as in the spec: the two ends of the node's one wire, which share one MAC */
	struct rte_mempool *pool; /* rx buffers */
	const struct port_ops *ops;
	void *priv;
	char name[WEFT_NAME_MAX + 1];
	struct port_queue_stats stats[PORT_MAX_QUEUES];
};

#define PORT_KIND_OPS(X) X(PORT_VHOST_USER, vhost_ops) X(PORT_MEMIF, memif_ops) X(PORT_TAP, tap_ops) X(PORT_NIC, nic_ops) X(PORT_TEST, test_ops)
extern const struct port_ops vhost_ops, memif_ops, tap_ops, nic_ops, test_ops;

/* Set once before the first port_open. */
struct port_env {
	const char *socket_dir;                     /* relative socket paths lie below it; others must lie below it too unless any_socket_path */
	bool any_socket_path;
	bool test_ports;                            /* ports of type `test` may be opened: no switch that serves anybody has them */
	struct rte_mempool *(*pool)(int numa_node); /* rx buffers for a node */
	/* A port's state changed (peer came, left); on the port thread or librte_vhost's. May be NULL. */
	void (*changed)(struct port *p, void *arg);
	void *arg;
};
int ports_init(const struct port_env *env); /* also starts the port thread */
/* The process is about to end: what closes from now on leaves the pods' devices where they are, for the next start. */
void ports_leave(void);
void ports_fini(void);                      /* closes what is open; after the workers */
const struct port_env *port_env(void);

/*
 * The path of a port's socket as spec->socket means it: relative ones lie below socket_dir, others must too unless any_socket_path; no
 * ".", "..", or way out by a symbolic link; at most 107 bytes. 0, or -errno and *e. port_open has called it already for vhost-user and memif.
 */
int port_socket_path(const char *socket, char *out, size_t size, struct error *e);

/*
 * Open a port of any kind and give it an id (the lowest free one). Workers do not poll it until the plan says so. 0 and *out, or
 * -errno and *e (-EEXIST: a socket, device or (socket, id) is taken by another port, named).
 */
int port_open(const struct spec_port *spec, struct port **out, struct error *e);
/* After the plan dropped the port and a grace period has passed (port_close waits for one itself). Frees p and its id. */
void port_close(struct port *p);

struct port *port_by_id(uint16_t id);          /* any thread; NULL when none. Workers: valid until the next quiescent report */
struct port *port_by_name(const char *name);   /* control threads */

/*
 * Which worker transmits on queue q of a port, and which queue a worker uses. With fewer queues than workers, workers past the
 * last queue hand their packets to the owner (worker.c's inbox). Pure (queue.c).
 */
static inline uint16_t
port_tx_queue(const struct port *p, unsigned int worker)
{
	return (uint16_t)(worker % p->n_txq);
}
static inline unsigned int
port_tx_owner(const struct port *p, unsigned int worker)
{
	return worker % p->n_txq;
}

/* One rx queue that a worker polls. */
struct rx_queue {
	struct port *port;
	uint16_t queue;
	int16_t deficit; /* worker's: packets that it may still take, see worker.c */
};

/*
 * The placement of all rx queues over workers (queue.c), pure: nearest NUMA node first, then fewest queues, then lowest worker. The
 * result is the same for the same input, whatever the order of earlier changes. worker_of[i] is for (port[i], queue[i]).
 */
void queue_plan(const struct rx_queue *q, unsigned int n, const int *worker_numa, unsigned int n_workers, unsigned int *worker_of);

#ifdef __cplusplus
}
#endif

#endif
