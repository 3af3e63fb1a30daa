/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a decided packet goes, ready to execute: a flat array that workers index by hop id without a lookup.
 *
 * An entry is written before the root that refers to it is published, never changed while anything can refer to it, and its id
 * is given out again only a grace period after the generations of everything that used it were bumped. What does change (an
 * underlay neighbour's MAC) is reached through a neighbour id, see neighbour.h.
 */
#ifndef WEFT_HOP_H
#define WEFT_HOP_H

#include <weft/base.h>
#include <weft/txn.h>

#ifdef __cplusplus
extern "C" {
#endif

enum hop_kind {
	HOP_NONE,   /* id 0 only */
	HOP_PORT,   /* deliver to a pod's port with the L2 header in l2 */
	HOP_TUNNEL, /* VXLAN: inner L2 header in l2, outer header from `outer`, MACs from the neighbour */
	HOP_HOST,   /* the host port (punt); l2 as HOP_PORT */
	HOP_UNDERLAY, /* a plain frame out of the uplink: to the neighbour, or without one to the packet's own destination */
};

/* Ethernet 14 + IPv4 20 + UDP 8 + VXLAN 8 (RFC 7348). */
#define VXLAN_OUTER_LEN 50

struct hop {
	uint8_t kind;      /* enum hop_kind */
	uint8_t l2[12];    /* destination and source MAC as the receiver must see them; the ethertype stays the packet's */
	uint8_t pad;
	uint16_t port;     /* the port to transmit on */
	uint16_t mtu;      /* largest IP packet that may go this way (inner, for a tunnel) */
	uint16_t neighbour; /* HOP_TUNNEL, HOP_UNDERLAY: who to send the frame to */
	uint32_t network;
	/*
	 * HOP_TUNNEL: the outer header. MACs zero; total length, UDP length, source port zero; IPv4 checksum computed
	 * over the header as it stands here (the length is added incrementally); UDP checksum 0; DF set, TTL 64.
	 */
	uint8_t outer[VXLAN_OUTER_LEN];
	struct ip source; /* HOP_UNDERLAY: the address of ours that asks for neighbours */
} __attribute__((aligned(64)));

extern struct hop *hop_table; /* WEFT_MAX_HOPS entries */

int hop_init(void); /* 0 or -ENOMEM; once, before the workers */
void hop_fini(void);

/* Builder thread. An id whose entry is a copy of *h (freed if the txn aborts), or 0 when the table is full. */
uint32_t hop_alloc(struct txn *t, const struct hop *h);

/* Builder thread. The id goes back a grace period after commit. */
void hop_release(struct txn *t, uint32_t id);

static inline const struct hop *
hop_get(uint32_t id)
{
	return &hop_table[id];
}

#ifdef __cplusplus
}
#endif

#endif
