/* SPDX-License-Identifier: Apache-2.0 */
/* How the stages around the slow path hand packets to each other. */
#ifndef VSWITCH_DECIDE_STAGE_H
#define VSWITCH_DECIDE_STAGE_H

#include <weft/decide.h>
#include <weft/packet.h>
#include <weft/worker.h>

/*
 * track.c: packet i has a connection (p->ref) and a way (p->hop): note it there and move it on to REWRITE or RESPOND, or drop it. False:
 * the connection was over, p->ref is 0, and the packet is to be judged as a new one.
 */
bool packet_follow(struct worker *w, struct burst *b, uint32_t i);

/* track.c: false when the packet is too large for p->hop, may not be broken up, and has been moved to RESPOND. */
bool packet_fits(struct worker *w, struct burst *b, uint32_t i);

/*
 * decide_stage.c: the decision on the half p->ref does not stand: decide anew. True: p->hop holds for this packet (and, where the configuration did
 * not move meanwhile, the connection carries the new decision). False: the packet is dropped, being answered, or its connection is
 * gone and p->ref is 0 (then nothing has been done with the packet).
 */
enum again { AGAIN_FOLLOW, AGAIN_DONE, AGAIN_NEW };
enum again decide_again(struct worker *w, struct burst *b, uint32_t i);

/* service_note.c: decide() for a new connection, keeping to the backend that the client was given before. */
void decide_sticky(const struct worker *w, const struct config *c, struct decide_key *key, struct verdict *v);
/* service_note.c: what a service is to remember and count, now that a connection is there or was refused. */
void service_note(struct worker *w, const struct tuple *t, const struct verdict *v);

/* service_note.c: a hint, some time before that is called for a connection that will be there. */
void service_note_ahead(const struct worker *w, const struct verdict *v);

#endif
