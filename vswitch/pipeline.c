/* SPDX-License-Identifier: Apache-2.0 */
#include <rte_cycles.h>

#include <weft/pipeline.h>

#include "fragment.h"

/*
 * A packet's life, in order. A stage hands a packet to one further down, drops it for a reason, or sends it:
 *
 *   parse --> decap --+--> track --+------------------> rewrite --> forward --> encap --> transmit
 *     |     (tunnel)  |            +--> decide -----------^          ^ ^      (tunnel)
 *     |               |             (no standing decision)           | |
 *     |               +--> relate (ICMP errors) ---------------------+ |
 *     +--------------------------> respond ----------------------------+
 *                          (ARP, ND, echo, ICMP errors, TCP resets)
 *
 * The ordinary packet of a tunnel is taken out of it by parse already, see decap_plain.c: decap has those about which something is special.
 */
const struct stage_row pipeline[STAGE_COUNT] = {
	[STAGE_PARSE] = {"parse", parse_run, "find and check the headers; whose packet, in which network"},
	[STAGE_DECAP] = {"decap", decap_run, "take VXLAN off: known VTEP, known VNI, then parse what was inside"},
	[STAGE_TRACK] = {"track", track_run, "find the connection and, if its decision stands, execute it"},
	[STAGE_RELATE] = {"relate", relate_run, "ICMP errors: find the connection they quote, translate them as it does"},
	[STAGE_DECIDE] = {"decide", decide_run, "spoof check, service, policy, route; open the connection"},
	[STAGE_RESPOND] = {"respond", respond_run, "ARP, ND, echo, ICMP errors, TCP resets"},
	[STAGE_REWRITE] = {"rewrite", rewrite_run, "translate addresses and ports, lower the TTL, keep checksums true"},
	[STAGE_FORWARD] = {"forward", forward_run, "the next hop's Ethernet header, and which way out"},
	[STAGE_ENCAP] = {"encap", encap_run, "put VXLAN on: the hop's template, the neighbour's MAC"},
	[STAGE_TRANSMIT] = {"transmit", transmit_run, "finish checksums that the port cannot, queue for sending"},
};

/* The same walk with a clock: one turn in 256 pays for it. */
static void
run_sampled(struct worker *w, struct burst *b)
{
	uint64_t then = rte_rdtsc();
	for (int s = 0; s < STAGE_COUNT; s++) {
		packet_set set = b->at[s];
		if (set == 0)
			continue;
		b->at[s] = 0;
		pipeline[s].run(w, b, set);
		uint64_t now = rte_rdtsc();
		w->count.stage_cycles[s] += now - then;
		w->count.stage_packets[s] += (unsigned int)__builtin_popcountll(set);
		then = now;
	}
}

static void
walk(struct worker *w, struct burst *b)
{
	if (unlikely((w->count.turns & 255) == 0)) {
		run_sampled(w, b);
		return;
	}
	for (int s = 0; s < STAGE_COUNT; s++) {
		packet_set set = b->at[s];
		if (set == 0)
			continue;
		b->at[s] = 0;
		pipeline[s].run(w, b, set);
	}
}

void
pipeline_go_on(struct worker *w, struct burst *b)
{
	walk(w, b);
	/* Later fragments that waited for a first that was in this burst. */
	while (unlikely(fragment_release(w, b) != 0))
		walk(w, b);
}

void
pipeline_run(struct worker *w, struct burst *b)
{
	memset(b->at, 0, sizeof(b->at));
	b->at[STAGE_PARSE] = b->n == WEFT_BURST ? ~(packet_set)0 : packet_bit(b->n) - 1;
	pipeline_go_on(w, b);
}
