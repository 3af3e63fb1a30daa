/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual reassembly: datagrams that came in fragments are judged, translated and sent on fragment by fragment, never put together.
 *
 * The first fragment carries the L4 header: it goes through the pipeline as any packet does, and what it said of ports and kind is
 * remembered. Later fragments take that over ("adopt") and follow the same connection; those that overtook the first are held until it
 * comes, a moment at the most. What a receiver could put together in two ways goes no further (RFC 5722, 1858, 3128, 6946, 7112, 8200 4.5).
 *
 * Each worker keeps the datagrams of its own: whose they are is settled by port, queue count and the datagram's name, so that all fragments of
 * one meet at one worker, which is one that polls that port anyway (see fragment_mine). So nothing here is shared, and a
 * flood of fragments costs only the workers that the flooder's own queues cost.
 *
 * Memory is bounded: entries and held packets in all, by source (an endpoint or a VTEP) and by source and address, each counted exactly, not by a
 * hash that two could share. Whoever is at a bound pays with his own oldest datagram; when the table is full, the source that has most of it does.
 */
#ifndef VSWITCH_FRAGMENT_H
#define VSWITCH_FRAGMENT_H

#include <weft/packet.h>
#include <weft/worker.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FRAGMENT_ENTRIES 1024u     /* datagrams under way, of one worker */
#define FRAGMENT_SOURCE_MAX 256u   /* of one endpoint or VTEP */
#define FRAGMENT_ADDRESS_MAX 64u   /* of one address there */
#define FRAGMENT_HELD 512u         /* packets that wait for their datagram's first, of one worker */
#define FRAGMENT_SOURCE_HELD 128u
#define FRAGMENT_ADDRESS_HELD 64u
#define FRAGMENT_PARTS 64          /* fragments of one datagram: 65,535 bytes at 1,280 a link are 53 */
#define FRAGMENT_HOLD_MS 2000u     /* how long the first may be late */
#define FRAGMENT_LIFE_MS 30000u    /* how long an unfinished datagram is remembered (RFC 1122 3.3.2, RFC 8200 4.5: 60 s at the receiver) */

/* What names a datagram. */
struct datagram {
	struct tuple name; /* addresses, identification in the ports' place, network and (IPv4) protocol */
	uint32_t source;   /* whom it came from: nobody can add to another's datagram */
	uint32_t hash;     /* seeded */
};

/* Of a fragment whose IP header was parsed. */
void fragment_name(const struct worker *w, const struct packet *p, uint32_t network, struct datagram *out);

/* fragment.c: true when this worker keeps the datagram; false: the packet was given, as it came, to the worker that does. */
bool fragment_mine(struct worker *w, struct burst *b, uint32_t i, const struct datagram *d);

/*
 * Take fragment i into its datagram. FRAGMENT_GO: its packet's key is complete and it goes on. FRAGMENT_KEPT: it is held. Else the drop reason;
 * dropping is the caller's.
 */
enum { FRAGMENT_GO = -1, FRAGMENT_KEPT = -2 };
int fragment_take(struct worker *w, struct burst *b, uint32_t i, const struct datagram *d);

/* The first fragment may not pass: nor may any other of its datagram, those held included. */
void fragment_refuse(struct worker *w, const struct datagram *d, enum drop_reason reason);

/* After a burst has run: fill it with held packets whose first was in it, at STAGE_TRACK or RESPOND. How many. */
unsigned int fragment_release(struct worker *w, struct burst *b);

/*
 * fragment_split.c: break packet i up, which is too long for its way. True: what is left of it fits, and the rest is run after this burst. False:
 * it must not be broken up (IPv6, DF), or cannot be now.
 */
bool fragment_split(struct worker *w, struct burst *b, uint32_t i, uint16_t mtu);

/* Forget what is too old. */
void fragment_housekeep(struct worker *w);

/* --- the table (fragment_table.c) --- */

struct fragment_table;
struct fragment_table *fragment_table_new(void);
/* Drops what is held. */
void fragment_table_free(struct worker *w);
/* For tests: datagrams remembered. */
unsigned int fragment_table_used(const struct fragment_table *t);

enum fragment_state {
	FRAGMENT_WAITING, /* for the first; something is held */
	FRAGMENT_KNOWN,   /* the first has passed */
	FRAGMENT_REFUSED, /* nothing of it passes */
};

struct fragment_part {
	uint16_t start, end;
};

/* Entries and held packets are named by index; 0 is none. */
struct fragment_link {
	uint16_t prev, next;
};
enum { BY_SOURCE, BY_ADDRESS, BY_AGE, FRAGMENT_LISTS };

struct fragment_entry {
	struct tuple name;
	uint32_t source, hash;
	uint16_t chain; /* next in its bucket, or free */
	uint16_t account[BY_AGE];
	uint8_t state, n_parts;
	uint8_t reason; /* FRAGMENT_REFUSED: why */
	uint16_t held_head, held_tail, n_held;
	uint32_t since_ms;
	uint32_t total; /* bytes of the whole, 0: not known yet */
	uint32_t got, far;
	struct fragment_link link[FRAGMENT_LISTS];
	/* What the first said. */
	struct tuple key;
	uint16_t flags;
	uint8_t proto, icmp_type, icmp_code, tcp_flags;
	struct fragment_part part[FRAGMENT_PARTS];
};

struct fragment_held {
	struct rte_mbuf *m;
	struct packet p;
	uint16_t next;
};

struct fragment_entry *fragment_find(struct fragment_table *t, const struct datagram *d);
/* A new one, FRAGMENT_WAITING; makes room at the expense of whoever has too much. Never fails. */
struct fragment_entry *fragment_add(struct worker *w, const struct datagram *d);
/* It was used: others of its source are older now. A new state starts its time anew. */
void fragment_touch(struct fragment_table *t, struct fragment_entry *e);
void fragment_become(struct worker *w, struct fragment_entry *e, enum fragment_state state);
/* It holds nothing any more. */
void fragment_forget(struct fragment_table *t, struct fragment_entry *e);
/* Keep a packet with an entry; whoever has too much makes room. False: there is no room for it. */
bool fragment_hold(struct worker *w, struct fragment_entry *e, struct rte_mbuf *m, const struct packet *p);
/* Drop what it holds; what came by the node's wire goes to the host, which puts together what is its own. */
void fragment_drop_held(struct worker *w, struct fragment_entry *e, enum drop_reason reason);
/* What it holds is ready, in order; `by` is the packet whose keys and way they share. */
void fragment_make_ready(struct worker *w, struct fragment_entry *e, const struct packet *by);
/* One more, of nobody's; as with fragment_hold(), others may have to make room. False: there is none, and it is dropped. */
bool fragment_push_ready(struct worker *w, struct rte_mbuf *m, const struct packet *p);
/* The next ready packet. False: none. */
bool fragment_next_ready(struct worker *w, struct rte_mbuf **m, struct packet *p);
/* What later fragments take over. */
void fragment_adopt(const struct fragment_entry *e, struct packet *p);

#ifdef __cplusplus
}
#endif

#endif
