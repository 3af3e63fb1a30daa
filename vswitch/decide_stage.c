/* SPDX-License-Identifier: Apache-2.0 */
/* The slow path around the pure decide(): opening connections, and asking again for those whose decision no longer
 * stands. */
#include <weft/base.h>

#include <rte_ether.h>
#include <rte_ip.h>

#include <weft/decide.h>
#include <weft/pipeline.h>
#include <weft/tcp_state.h>

#include "admit.h"
#include "decide_stage.h"
#include "icmp.h"
#include "policy_note.h"
#include "segment.h"
#include "underlay.h"

/* How many source ports are tried for a translated connection whose tuple is taken (FAULTS C4, C5: bounded). */
#define NAT_PROBES 64

static void
key_of_packet(const struct packet *p, struct decide_key *key)
{
	memset(key, 0, sizeof(*key));
	key->tuple = p->key;
	key->source = p->source;
	key->in_port = p->in_port;
	key->has_icmp = p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6;
	key->icmp_type = p->icmp_type;
	key->icmp_code = p->icmp_code;
}

/* A verdict that is not "forward": the packet's last words. */
static void
conclude(struct worker *w, struct burst *b, uint32_t i, const struct verdict *v)
{
	struct packet *p = &b->p[i];
	if (v->action == VERDICT_DROP) {
		packet_drop(w, b, i, (enum drop_reason)v->drop);
		return;
	}
	if (v->action == VERDICT_WAIT) {
		admit_hold(w, b, i, v->waits_for);
		return;
	}
	if (v->action == VERDICT_PASS) {
		underlay_pass(w, b, i);
		return;
	}
	p->answer = v->answer;
	p->drop = v->drop;
	burst_move(b, i, STAGE_RESPOND);
}

static bool
denied_by_policy(const struct verdict *v)
{
	return v->action == VERDICT_DROP && (v->drop == DROP_POLICY_EGRESS || v->drop == DROP_POLICY_INGRESS);
}

/* A stamp is only worth keeping when the root that we decided by is still the current one, see generation.h. */
static uint32_t
stamp_for(const struct burst *b, uint32_t sum)
{
	return config_current() == b->config ? sum : STAMP_NONE;
}

/* The source port that a clash made us choose (the reply's destination) is the connection's own, not the decision's. */
static bool
same_translation(const struct tuple *decided, const struct tuple *carried)
{
	uint8_t proto = (uint8_t)decided->net_proto;
	bool echo = proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
	return ip_equal(&decided->src, &carried->src) && ip_equal(&decided->dst, &carried->dst) &&
	       (echo || decided->sport == carried->sport);
}

/*
 * The backend is gone for good. The client is told with each packet; as the reset that it gets is a segment of the
 * connection, the connection is over by it, and soon forgotten.
 */
static enum again
backend_gone(struct worker *w, struct burst *b, uint32_t i, const struct verdict *v)
{
	struct packet *p = &b->p[i];
	struct tcp_segment s;
	if (p->ref & 1 || !segment_read(b, i, &s)) {
		packet_drop(w, b, i, DROP_BACKEND_GONE);
		return AGAIN_DONE;
	}
	if (tcp_state_may_open(s.flags)) {
		conn_remove(w->conns, w->id, p->ref);
		p->ref = 0;
		return AGAIN_NEW;
	}
	struct tcp_segment reset = {.seq = s.ack, .flags = TCP_BIT_RST, .scale = TCP_SCALE_NONE};
	if (v->action == VERDICT_ANSWER && s.flags & TCP_BIT_ACK)
		conn_packet(w->conns, p->ref ^ 1, &reset, w->now_ms);
	conclude(w, b, i, v);
	return AGAIN_DONE;
}

enum again
decide_again(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	const struct conn_view *view = conn_view(w->conns);
	struct conn_half *half = &view->half[p->ref & ~1u];
	const struct conn_cold *cold = &view->cold[p->ref >> 1];
	unsigned int dir = p->ref & 1;
	struct decide_key key;
	struct verdict v;

	key_of_packet(p, &key);
	key.tuple = half[0].key;
	key.again = true;
	key.service = cold->service;
	key.backend = cold->backend;
	key.went = half[1].key;
	/* It is the conversation that is judged, not this packet of it (which may be an error about it): echo began
	 * with a request. */
	uint8_t proto = (uint8_t)half[0].key.net_proto;
	key.established = (proto == IPPROTO_TCP || proto == IPPROTO_SCTP) &&
			  __atomic_load_n(&cold->flags, __ATOMIC_RELAXED) & CONN_ANSWERED;
	key.has_icmp = proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
	if (key.has_icmp) { /* see icmp_key */
		bool echo = echo_key(&half[0].key);
		uint16_t kind = rte_be_to_cpu_16(half[0].key.sport);
		key.icmp_type = echo ? (proto == IPPROTO_ICMP ? 8 : 128) : (uint8_t)(kind >> 8);
		key.icmp_code = echo ? 0 : (uint8_t)kind;
	}
	/* An answer does not tell who started: whoever has the address now is asked for. */
	if (dir == 1)
		key.source = 0;
	w->count.decided++;

	decide(b->config, &key, &v);
	/* Nobody has it, but somebody was allowed to speak for it: is that still so? */
	const struct hop *back = hop_get(half[1].hop);
	if (dir == 1 && v.action == VERDICT_DROP && v.from == NULL && back->kind == HOP_PORT &&
	    back->port < WEFT_MAX_PORTS) {
		key.source = half[0].dep[0];
		key.in_port = back->port;
		decide(b->config, &key, &v);
	}
	if (unlikely(v.action != VERDICT_FORWARD && v.drop == DROP_BACKEND_GONE))
		return backend_gone(w, b, i, &v);
	/* What was asked for is nobody's of ours any more: the host's, but an answer to it is what its sender says on
	 * his own account. */
	bool over = v.action == VERDICT_PASS && dir == 1;
	if (over || (v.action == VERDICT_FORWARD && !same_translation(&v.reply, &half[1].key))) {
		/* SCTP cannot be reset without its tag: whoever is chosen next will answer by an ABORT (RFC 9260 8.4). */
		if (proto == IPPROTO_SCTP && key.service != 0)
			p->flags |= PACKET_MOVED;
		conn_remove(w->conns, w->id, p->ref);
		p->ref = 0;
		return AGAIN_NEW;
	}
	if (v.action != VERDICT_FORWARD) {
		if (denied_by_policy(&v))
			policy_note_again(w, &key.tuple, &v);
		conclude(w, b, i, &v);
		return AGAIN_DONE;
	}
	if (unlikely(p->source != v.dep[dir][0])) {
		packet_drop(w, b, i, DROP_SPOOFED_IP);
		return AGAIN_DONE;
	}
	for (int d = 0; d < 2; d++)
		conn_half_decide(&half[d], v.dep[d], stamp_for(b, generation_sum(v.dep[d])), v.hop[d]);
	p->hop = v.hop[dir];
	return AGAIN_FOLLOW;
}

static bool
is_translated(const struct packet *p, const struct verdict *v)
{
	struct tuple back = tuple_reversed(&p->key);
	return v->service != 0 || !tuple_equal(&back, &v->reply);
}

static bool
sctp_may_begin(const struct worker *w, const struct burst *b, uint32_t i, const struct verdict *v)
{
	const struct packet *p = &b->p[i];
	struct sctp_packet s;
	if (!sctp_read(b, i, &s))
		return sctp_is_empty(p);
	if (sctp_may_open(&s))
		return true;
	if (p->flags & PACKET_MOVED)
		return sctp_may_pick_up(&s) || sctp_may_open_path(&s);
	/* How the other paths of the association are translated is not known. */
	return !is_translated(p, v) && (sctp_may_open_path(&s) || (conn_picks_up(w->conns) && sctp_may_pick_up(&s)));
}

/* What may begin a conversation, once it is known that it may go there at all. */
static bool
may_open(const struct worker *w, const struct burst *b, uint32_t i, const struct verdict *v)
{
	const struct packet *p = &b->p[i];
	if (p->proto == IPPROTO_TCP && tcp_state_may_open(p->tcp_flags))
		return true;
	/* What would be translated cannot be picked up: how it was translated is lost. */
	if (p->proto == IPPROTO_TCP)
		return conn_picks_up(w->conns) && tcp_state_may_pick_up(p->tcp_flags) && !is_translated(p, v);
	if (p->proto == IPPROTO_SCTP)
		return sctp_may_begin(w, b, i, v);
	if (p->flags & PACKET_ECHO)
		return p->icmp_type == 8 || p->icmp_type == 128;
	if (p->proto == IPPROTO_ICMP)
		return p->key.sport != 0; /* not an answer, see icmp_key */
	return true;
}

/* Another source port (or echo identifier) for the side that was translated to. */
static void
next_source_port(const struct config *c, const struct verdict *v, struct tuple *reply, uint32_t hash,
		 unsigned int attempt)
{
	uint16_t port = rte_cpu_to_be_16((uint16_t)(32768 + ((hash + attempt * 7919u) & 0x7fff)));
	if (v->nat_first != 0)
		port = decide_nat_port(c, v, hash, attempt);
	if (port == 0)
		return; /* the one that was taken is taken again */
	uint8_t proto = (uint8_t)reply->net_proto;
	reply->dport = port;
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		reply->sport = echo_other(port);
}

static int
open_connection(struct worker *w, struct burst *b, uint32_t i, const struct verdict *v, uint32_t reply_hash)
{
	struct packet *p = &b->p[i];
	struct conn_new n = {
		.orig = p->key,
		.reply = v->reply,
		.hop = {v->hop[0], v->hop[1]},
		.rule = {v->rule[0], v->rule[1]},
		.service = v->service,
		.backend = v->backend,
		.owner = likely(!v->owner_is_many) ? v->owner : conn_owner(w->conns, v->owner, &p->key.src),
		.hash = {p->hash, reply_hash},
	};
	if (!segment_read(b, i, &n.tcp))
		sctp_read(b, i, &n.sctp);
	for (int d = 0; d < 2; d++) {
		memcpy(n.dep[d], v->dep[d], sizeof(n.dep[d]));
		n.stamp[d] = stamp_for(b, generation_sum(v->dep[d]));
	}
	int rc = conn_create(w->conns, w->id, &n, w->now_ms, &p->ref);
	bool has_ports = p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP || p->proto == IPPROTO_SCTP ||
			 p->flags & PACKET_ECHO;
	n.hash[1] = 0;
	for (unsigned int attempt = 1; rc == -EADDRINUSE && has_ports && attempt < NAT_PROBES; attempt++) {
		next_source_port(b->config, v, &n.reply, p->hash, attempt);
		rc = conn_create(w->conns, w->id, &n, w->now_ms, &p->ref);
	}
	return rc;
}

/* An Ethernet source of one of our own pods does not come through a tunnel; a gateway's does, as nodes share it. */
static bool
is_ours_from_tunnel(const struct burst *b, uint32_t i)
{
	uint32_t network = packet_network(&b->p[i]);
	if (b->from->kind != SOURCE_UPLINK || network == NETWORK_UNDERLAY)
		return false;
	const struct rte_ether_hdr *eth = packet_at(b, i, 0);
	return config_has_mac(b->config, network, (const struct mac *)&eth->src_addr);
}

/* A packet without a connection: judge it. True: it may go, and *v is what its connection will be. */
static bool
judge_new(struct worker *w, struct burst *b, uint32_t i, struct verdict *v)
{
	struct packet *p = &b->p[i];
	struct decide_key key;

	if (unlikely(is_ours_from_tunnel(b, i))) {
		packet_drop(w, b, i, DROP_SPOOFED_MAC);
		return false;
	}
	key_of_packet(p, &key);
	w->count.decided++;
	decide_sticky(w, b->config, &key, v);
	if (v->action != VERDICT_FORWARD) {
		if (denied_by_policy(v))
			policy_note(w, &p->key, v);
		service_note(w, &p->key, v);
		conclude(w, b, i, v);
		return false;
	}
	if (unlikely(p->flags & PACKET_TTL_OUT)) {
		*v = (struct verdict){.action = VERDICT_ANSWER, .answer = ANSWER_TTL, .drop = DROP_TTL};
		conclude(w, b, i, v);
		return false;
	}
	if (may_open(w, b, i, v))
		return true;
	packet_drop(w, b, i, DROP_INVALID_STATE);
	return false;
}

/* Somebody was first, with an earlier packet of this burst or on another worker: it is their connection. */
static void
join(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	const struct conn_half *half = &conn_view(w->conns)->half[p->ref];
	enum again again = AGAIN_FOLLOW;
	/* Our own verdict may name another backend than the connection is translated to. */
	if (!conn_half_stands(half, p->source, &p->hop))
		again = decide_again(w, b, i);
	if (again == AGAIN_DONE)
		return;
	if (again == AGAIN_NEW || !packet_follow(w, b, i))
		packet_drop(w, b, i, DROP_INVALID_STATE);
}

static void
open_new(struct worker *w, struct burst *b, uint32_t i, const struct verdict *v, uint32_t reply_hash)
{
	struct packet *p = &b->p[i];
	bool may = worker_may_open(w, p->in_port);
	int rc = -EEXIST;
	if (likely(may))
		rc = open_connection(w, b, i, v, reply_hash);
	else
		p->ref = conn_find(w->conns, &p->key);
	if (likely(rc == 0)) {
		w->count.conn_created++;
		policy_note(w, &p->key, v);
		service_note(w, &p->key, v);
		p->hop = v->hop[0];
		if (packet_fits(w, b, i))
			burst_move(b, i, STAGE_REWRITE);
	} else if (rc == -EEXIST && p->ref != 0) {
		if (may)
			worker_opened_none(w, p->in_port);
		join(w, b, i);
	} else if (!may) {
		packet_drop(w, b, i, DROP_NEW_RATE);
	} else {
		enum drop_reason in_use = v->nat_first != 0 ? DROP_NAT_PORTS : DROP_NAT_CLASH;
		packet_drop(w, b, i,
			    rc == -EADDRINUSE ? in_use
			    : rc == -EDQUOT   ? DROP_CONNECTIONS_QUOTA
					      : DROP_CONNECTIONS_FULL);
	}
}

/*
 * A later fragment that no standing decision covers. It opens nothing: it goes the way of its first, perhaps of this
 * very burst, or not at all.
 */
static void
decide_later(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	enum again again = AGAIN_FOLLOW;
	if (p->ref == 0)
		p->ref = conn_find(w->conns, &p->key);
	if (p->ref == 0) {
		struct decide_key key;
		struct verdict v;
		key_of_packet(p, &key);
		decide(b->config, &key, &v);
		if (v.action == VERDICT_FORWARD)
			packet_drop(w, b, i, DROP_FRAGMENT);
		else
			conclude(w, b, i, &v);
		return;
	}
	if (!conn_half_stands(&conn_view(w->conns)->half[p->ref], p->source, &p->hop))
		again = decide_again(w, b, i);
	if (again == AGAIN_DONE)
		return;
	if (again == AGAIN_FOLLOW && p->flags & PACKET_TTL_OUT)
		packet_drop(w, b, i, DROP_TTL);
	else if (again == AGAIN_NEW || !packet_follow(w, b, i))
		packet_drop(w, b, i, DROP_FRAGMENT);
}

/* What the decisions of a whole burst will read. */
static void
warm(const struct burst *b, packet_set set)
{
	const struct tuple *key[WEFT_BURST];
	unsigned int n = 0;
	BURST_FOREACH (i, set)
		if (b->p[i].ref == 0)
			key[n++] = &b->p[i].key;
	if (n > 1)
		service_warm(&b->config->service, key, n);
}

/* A packet whose connection no longer knows the way. False: the connection is gone, it is to be judged as a new one. */
static bool
continue_again(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	enum again again = decide_again(w, b, i);
	if (again != AGAIN_FOLLOW)
		return again == AGAIN_DONE;
	if (likely(!(p->flags & PACKET_TTL_OUT)))
		return packet_follow(w, b, i);
	p->answer = ANSWER_TTL;
	p->drop = DROP_TTL;
	burst_move(b, i, STAGE_RESPOND);
	return true;
}

/*
 * All are judged before the first connection is opened: the memory that an opening will touch is on its way while the
 * next packet is judged. Later fragments come last, as their first may be among the others.
 */
void
decide_run(struct worker *w, struct burst *b, packet_set set)
{
	struct verdict v[WEFT_BURST];
	uint32_t reply_hash[WEFT_BURST];
	packet_set opening = 0, later = 0;
	warm(b, set);
	BURST_FOREACH (i, set) {
		const struct packet *p = &b->p[i];
		if (unlikely(p->flags & PACKET_LATER)) {
			later |= packet_bit(i);
		} else if ((p->ref == 0 || !continue_again(w, b, i)) && judge_new(w, b, i, &v[i])) {
			opening |= packet_bit(i);
			reply_hash[i] = conn_prefetch(w->conns, &v[i].reply);
			service_note_ahead(w, &v[i]);
		}
	}
	BURST_FOREACH (i, opening)
		open_new(w, b, i, &v[i], reply_hash[i]);
	BURST_FOREACH (i, later)
		decide_later(w, b, i);
}
