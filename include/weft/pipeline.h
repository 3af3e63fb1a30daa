/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of a packet's life, one row each. The table itself is vswitch/pipeline.c. */
#ifndef WEFT_PIPELINE_H
#define WEFT_PIPELINE_H

#include <weft/packet.h>
#include <weft/worker.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A stage works on the packets of `set` (a copy of b->at[its stage], which the pipeline has cleared): moves each to a later stage, drops it, or
 * has given its mbuf away.
 */
typedef void stage_fn(struct worker *w, struct burst *b, packet_set set);

struct stage_row {
	const char *name;
	stage_fn *run;
	const char *help;
};
extern const struct stage_row pipeline[STAGE_COUNT];

stage_fn parse_run, decap_run, track_run, relate_run, decide_run, respond_run, rewrite_run, forward_run, encap_run, transmit_run;

/* Run b->n packets that `from` brought through all stages. */
void pipeline_run(struct worker *w, struct burst *b);
/* The same for packets that are at some stage already (b->at). */
void pipeline_go_on(struct worker *w, struct burst *b);

/*
 * parse.c, also for decap.c: look at the IP packet or other frame that starts with an Ethernet header at data offset 0 and comes from
 * `source` (reached by hop `back`) in overlay `network`; fill p, and move it to TRACK, RELATE, RESPOND or drop it. `outer` bytes were taken off
 * in front of it.
 */
void parse_overlay(struct worker *w, struct burst *b, uint32_t i, uint32_t network, uint32_t source, uint32_t back, uint16_t outer);

/* underlay.c: ask for a neighbour by ARP or ND; release or drop what waits for one. */
void underlay_ask(struct worker *w, uint16_t neighbour);
void underlay_housekeep(struct worker *w);

#ifdef __cplusplus
}
#endif

#endif
