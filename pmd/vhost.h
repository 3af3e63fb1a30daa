/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user ports on librte_vhost's own calls (a PMD would cost one of 32 ethdevs). vhost.c is the life of ports and
 * guests, vhost_message.c what happens to a guest's rings while the library handles a message, vhost_burst.c what
 * workers do, and vhost_split.h what they do themselves at split rings.
 *
 * A guest is one connection. A port has one at a time; others that come to the same socket wait for it to leave (who
 * restarts may be back before its end is noticed). Workers find the guest through vhost->guest, once a burst, and are
 * out of it a grace period after it was taken from there; only then may the library free what enqueue and dequeue use,
 * or give its vid to somebody else.
 */
#ifndef PMD_VHOST_H
#define PMD_VHOST_H

#include <sys/queue.h>

#include <rte_vhost.h>

#include <weft/port.h>

#include "vhost_split.h"

#define VHOST_RINGS 256 /* the library's VHOST_MAX_VRING: 128 queue pairs, whatever we would like */

struct vhost_ring {
	uint8_t enabled; /* event thread; atomic */
	uint8_t greet;   /* signal it once: set before the guest is published, cleared by the ring's worker */
	uint8_t restart; /* its index was set anew: set by the event thread, cleared by the ring's worker; atomic */
	/* The rest is the worker's, to find frames that the library threw away (rings from the guest). */
	uint8_t calls;
	uint16_t avail, taken;
};

struct guest {
	int vid;
	int fd; /* of the connection, our own; or -1 */
	struct vhost *v;
	bool running;      /* between new_device and destroy_device; event thread, under the lock of vhost.c */
	bool csum, packed; /* negotiated */
	uint16_t rx_pairs; /* pairs to poll: up to the last that the guest may send on; atomic */
	uint16_t tx_pairs; /* pairs that the guest receives on, without gaps; atomic */
	uint16_t turn[PORT_MAX_QUEUES]; /* worker's: which of its rings is first */
	TAILQ_ENTRY(guest) all;
	struct split *split;     /* its rings where we serve them ourselves: see vhost_split.h; atomic, NULL now and then */
	bool library;            /* librte_vhost serves them; atomic */
	uint32_t under_way;      /* event thread: the request that the library is handling, 0: none */
	bool spoiled;            /* event thread: it failed to replace the guest's memory */
	struct vhost_ring ring[VHOST_RINGS];
};

struct vhost {
	struct guest *guest; /* whom workers serve; atomic */
	struct port *port;
	char path[108];
	bool client;
	bool registered; /* client: with the library. Port lock. */
	bool closing;    /* no guest is taken any more */
	bool quiet;      /* and no worker is at any: nobody need wait for them. Atomic */
	struct port_event *tick;
	unsigned int pause; /* ticks until guests are taken again */
	TAILQ_HEAD(, guest) guests;
	TAILQ_ENTRY(vhost) all;
};

/* vhost.c, event thread. The guest of a connection, or NULL; stays for as long as a callback of the library's runs. */
struct guest *vhost_guest_of(int vid);
/* Workers may take the rings, where they lie now. */
void vhost_rings_attach(struct guest *g);
/* No worker is at the rings any more, and the library has their positions again. */
void vhost_rings_detach(struct guest *g);

/* vhost_message.c: before and after each message. */
extern const struct rte_vhost_user_extern_ops vhost_messages;

/* vhost_burst.c */
uint16_t vhost_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n);
uint16_t vhost_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n);

#endif
