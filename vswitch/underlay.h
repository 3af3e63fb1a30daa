/* SPDX-License-Identifier: Apache-2.0 */
/* What forward.c and encap.c need of the underlay (underlay.c): the outer MACs, and somewhere to wait for them. */
#ifndef VSWITCH_UNDERLAY_H
#define VSWITCH_UNDERLAY_H

#include <weft/hop.h>
#include <weft/worker.h>

/*
 * The outer MACs for a hop, destination and source; asks for the neighbour when that is due. False: it is not known yet, and *macs is
 * not to be used.
 */
bool underlay_macs(struct worker *w, const struct hop *hop, struct mac macs[2]);

/* A packet that goes out of the uplink as it is, by a HOP_UNDERLAY: to STAGE_TRANSMIT, or held until its neighbour is known. */
void underlay_forward(struct worker *w, struct burst *b, uint32_t i, const struct hop *hop);

/* What the uplink brought and nobody here takes: to the host, or dropped where there is none. */
void underlay_pass(struct worker *w, struct burst *b, uint32_t i);

/* Keep an encapsulated packet until its neighbour is known, a second at the most, or drop it when too many wait. */
void underlay_hold(struct worker *w, struct rte_mbuf *m, const struct hop *hop, uint16_t in_port);

#endif
