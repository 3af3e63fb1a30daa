/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split rings (virtio 1.1 2.6) without librte_vhost's bursts, which cost twice of these: librte_vhost still speaks the
 * protocol and maps the memory; where the rings and the memory lie is copied from it. vhost_rings.c: when that holds.
 * vhost_split.c: what workers do. Packed rings, and guests that are being migrated (VHOST_F_LOG_ALL), are the library's
 * alone.
 *
 * What lies in the guest's memory may change at any moment: each value is read once, checked, and used as it was read.
 */
#ifndef PMD_VHOST_SPLIT_H
#define PMD_VHOST_SPLIT_H

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include <rte_spinlock.h>

#include <weft/port.h>

#define SPLIT_REGIONS 8 /* the library's VHOST_MEMORY_MAX_NREGIONS */

/* Guest-physical memory as we have it mapped. */
struct split_region {
	uint64_t guest, size;
	uint8_t *base;
};

struct split_ring {
	const struct vring_desc *desc;
	const struct vring_avail *avail;
	struct vring_used *used;
	uint16_t mask; /* entries - 1 */
	uint16_t next; /* of avail->idx and of used->idx: what is taken is given back in the same burst */
	uint16_t given; /* used->idx less this */
	bool broken;   /* the guest wrote what cannot be: nothing is taken any more. Atomic */
	int call;      /* eventfd of the guest, or -1 */
	rte_spinlock_t lock; /* rings to the guest: with fewer pairs than queues, several workers send by one */
} __rte_cache_aligned;

/* Constant while workers see it, but for the rings' positions. */
struct split {
	struct split_region region[SPLIT_REGIONS];
	unsigned int n_regions;
	unsigned int header; /* bytes of the virtio_net header before each frame */
	bool event_idx, mergeable;
	bool checksums;      /* the guest may leave us partial checksums */
	uint16_t n_rings;
	struct split_ring ring[];
};

/* Event thread. Where the guest's rings lie now; NULL when there is no memory for it. */
struct split *split_create(int vid, uint64_t features);
/* Event thread, no worker sees it any more: tell the library how far the rings have come, and free it. */
void split_destroy(struct split *s, int vid);

/* Worker. Frames from a ring of the guest into mbufs of the pool, at most WEFT_BURST; *bad: how many were no frames. */
uint16_t split_receive(const struct port *p, struct split *s, unsigned int ring, struct rte_mbuf **m, uint16_t n,
		       unsigned int *bad);
/* Worker. Copies frames to the guest: how many from the first on; the caller frees all. */
uint16_t split_send(struct split *s, unsigned int ring, struct rte_mbuf *const *m, uint16_t n);
/* Any thread: has the guest written what cannot be, into a ring? */
bool split_is_broken(const struct split *s);
/* Worker. Signal the ring's guest whether it asks for that or not. */
void split_call(const struct split *s, unsigned int ring);

#endif
