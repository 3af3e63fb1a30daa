/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only slow path, and a pure function: what is to become of a packet that no standing decision covers?
 *
 * decide() reads the configuration and the key, nothing else: no counters, no clock, no table of connections, no allocation. A miss, a stale
 * stamp, and whoever wants to explain a packet call it alike.
 */
#ifndef WEFT_DECIDE_H
#define WEFT_DECIDE_H

#include <weft/config.h>
#include <weft/conn.h>
#include <weft/drop.h>
#include <weft/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

struct decide_key {
	struct tuple tuple;     /* of the original direction, as the client sent it */
	uint32_t source;        /* generation slot of whom it came from; 0: whoever has the source address, no spoof check */
	uint16_t in_port;       /* the port that it came in by: whose `allowed` and antiSpoof count */
	bool has_icmp;
	uint8_t icmp_type, icmp_code;
	/* A connection that is decided again: where it was translated to. It stays there while that lives. */
	bool again;
	uint32_t service, backend;
	struct tuple went;      /* what its answers look like on arrival */
	bool established;       /* only its backend can continue it: TCP and SCTP that were answered */
	/* Session affinity: the backend that the client was given last; 0: none. It is kept to if it takes new connections. */
	uint32_t preferred;
};

/* What policy had to say of one direction. */
struct judged {
	bool asked;             /* the rest holds */
	uint32_t endpoint;      /* slot of whom it was asked about */
	struct policy_verdict verdict;
};

enum verdict_action {
	VERDICT_FORWARD,        /* reply, dep, hop, rule hold */
	VERDICT_DROP,           /* drop: why */
	VERDICT_WAIT,           /* until the endpoint waits_for (a slot) is admitted */
	VERDICT_PASS,           /* of the underlay, and none of ours: to the host as it is */
	VERDICT_ANSWER,         /* answer; counted as drop unless DROP_REASON_COUNT (an echo to us is not a loss) */
};

struct verdict {
	uint8_t action;         /* enum verdict_action */
	uint8_t drop;           /* enum drop_reason */
	uint8_t answer;         /* enum answer */
	struct tuple reply;     /* what an answer looks like on arrival; src and sport, where it was to go, also when policy denied it */
	/* The source is translated: its port is one of these, host order, reply.dport by preference. 0: the source keeps its port if it can. */
	uint16_t nat_first, nat_last;
	uint32_t dep[2][GENERATION_DEPS];
	uint32_t hop[2];        /* of the original and of the reply direction */
	uint32_t rule[2];       /* egress, ingress */
	uint32_t service, backend;
	uint32_t owner;          /* generation slot of whose connection it is */
	bool owner_is_many;      /* who is all that are outside: see conn_owner() */
	uint32_t waits_for;
	/* Who decided, for people: constant or in the configuration. */
	const struct route *to, *from;
	const struct service_port *through;
	const struct backend *chosen; /* of `through` */
	struct judged judged[2]; /* egress, ingress */
};

void decide(const struct config *c, const struct decide_key *key, struct verdict *v);

/* The port (network byte order) to try for a translated source in this attempt, or 0: not this time, the node needs it for a service. */
uint16_t decide_nat_port(const struct config *c, const struct verdict *v, uint32_t hash, unsigned int attempt);

#ifdef __cplusplus
}
#endif

#endif
