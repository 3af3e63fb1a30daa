/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: what the respond stage's parts share. */
#ifndef VSWITCH_RESPOND_H
#define VSWITCH_RESPOND_H

#include <weft/packet.h>
#include <weft/worker.h>

/* Who asks: how an answer gets back, and what the asker may say of itself. */
struct asker {
	const struct network *network;
	const struct endpoint *endpoint; /* NULL: not a local endpoint */
	bool tunnel;                     /* it came through one */
	struct mac gateway_mac;          /* who we are to the asker */
};

/* Send packet i, which has become our answer, back to the asker. */
void answer_send(struct burst *b, uint32_t i);

/* Is `ip` one of the endpoint's own addresses (and not one that it may only speak for)? */
bool endpoint_owns(const struct endpoint *ep, const struct ip *ip);
/* May the endpoint speak for `ip` in ARP and ND? */
bool endpoint_may_claim(const struct endpoint *ep, const struct ip *ip);

/* respond_link.c: ARP (RFC 826, 5227), ND (RFC 4861) and what else stays on a link. */
void respond_arp(struct worker *w, struct burst *b, uint32_t i, const struct asker *a);
void respond_underlay_arp(struct worker *w, struct burst *b, uint32_t i);
void respond_underlay_nd(struct worker *w, struct burst *b, uint32_t i);
void respond_nd(struct worker *w, struct burst *b, uint32_t i, const struct asker *a);

/* respond_icmp.c: echo replies, ICMP errors, TCP resets. */
void respond_echo(struct worker *w, struct burst *b, uint32_t i, const struct asker *a);
void respond_error(struct worker *w, struct burst *b, uint32_t i, const struct asker *a);
void respond_reset(struct worker *w, struct burst *b, uint32_t i, const struct asker *a);

#endif
