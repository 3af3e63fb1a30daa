/* SPDX-License-Identifier: Apache-2.0 */
/* decide() from inside: what its steps know and settle. A step returns false when it has settled the verdict. */
#ifndef VSWITCH_DECIDE_PRIVATE_H
#define VSWITCH_DECIDE_PRIVATE_H

#include <netinet/in.h>
#include <rte_branch_prediction.h>

#include <weft/decide.h>

struct decision {
	const struct config *c;
	const struct decide_key *key;
	struct verdict *v;
	uint32_t network;
	uint8_t proto;
	struct ip dst;       /* where it really goes: the backend's address when through a service */
	uint16_t dport;
	uint32_t home;       /* the network that the destination is in */
	struct ip src;       /* whom it comes from there: another address when the source is translated */
	uint16_t sport;
	bool outside;        /* the client is in the underlay: neither a pod nor the node */
	uint32_t far;        /* the network that answers come from */
	uint32_t hop;        /* to the destination */
	const struct endpoint *source; /* NULL: not a local endpoint */
	uint32_t source_slot, source_hop;
};

static inline bool
settle_drop(struct decision *d, enum drop_reason reason)
{
	d->v->action = VERDICT_DROP;
	d->v->drop = reason;
	return false;
}

static inline bool
settle_answer(struct decision *d, enum answer answer, enum drop_reason counted_as)
{
	d->v->action = VERDICT_ANSWER;
	d->v->answer = answer;
	d->v->drop = counted_as;
	return false;
}

/* TCP is told by a reset, everything else by ICMP port unreachable. */
static inline bool
settle_reject(struct decision *d, enum drop_reason reason)
{
	return settle_answer(d, d->proto == IPPROTO_TCP ? ANSWER_RESET : ANSWER_PORT_UNREACHABLE, reason);
}

static inline bool
asks_echo(const struct decision *d)
{
	return d->key->has_icmp && (d->key->icmp_type == 8 || d->key->icmp_type == 128);
}

static inline bool
settle_no_route(struct decision *d)
{
	return settle_answer(d, ANSWER_NO_ROUTE, DROP_NO_ROUTE);
}

/* decide_egress.c: the ways between an overlay network and what is not in it. */
bool leave_overlay(struct decision *d);  /* nobody in the network has the destination */
bool enter_overlay(struct decision *d);  /* it came in by the uplink, not through a tunnel */
/* A client out there is with a backend out there, by a service that is gone, and so is the network that knew how: as it
 * is. */
bool stay_outside(struct decision *d);
bool stand_for_client(struct decision *d); /* of the underlay: whose address does the backend see? */
bool speak_as_gateway(struct decision *d); /* the node, to somebody who would not find back to its address */

/* decide_service.c: a virtual address, asked for in d->network, becomes a backend's (d->dst, d->dport) in d->home. */
bool resolve_service(struct decision *d);

#endif
