/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets from and to an endpoint that is not admitted yet: a few of them wait, for a few seconds, and then go by the policy that came with
 * the admission, in the order in which they came.
 */
#ifndef VSWITCH_ADMIT_H
#define VSWITCH_ADMIT_H

#include <weft/packet.h>
#include <weft/worker.h>

/* Keep packet i until the endpoint (its slot) is admitted, or drop it. Nothing has been written to the packet yet. */
void admit_hold(struct worker *w, struct burst *b, uint32_t i, uint32_t endpoint);
/* Between bursts: let go what may go, and what has waited too long. */
void admit_release(struct worker *w);
/* The end: nothing waits any more. */
void admit_drop_all(struct worker *w);

#endif
