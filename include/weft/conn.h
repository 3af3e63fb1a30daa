/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table: every conversation that crosses the switch, found by either of its two tuples.
 *
 * One connection is two halves, one cache line each: half 0 is what a packet in the original direction finds, half 1
 * one of the reply direction. They are neighbours in memory (id*2 and id*2+1, the "ref"), because a translated packet reads the
 * other half's key to know what to become. What only the slow path and TCP need lies apart, in conn_cold.
 *
 * Memory for one connection: 2 * 64 + 48 + two slots in the buckets (about 14 bytes) < 192 bytes.
 *
 * The whole table lies in one file mapped MAP_SHARED (hugetlbfs where there is one): a versioned header, then arrays at offsets. No
 * pointers are stored, only ids, so that another process can adopt it.
 *
 * Threads: any worker finds, creates, updates and removes, without a lock. A ref that a worker holds stays
 * meaningful until its next quiescent report (ids are reused only after a grace period).
 */
#ifndef WEFT_CONN_H
#define WEFT_CONN_H

#include <weft/base.h>
#include <weft/generation.h>
#include <weft/sctp_state.h>
#include <weft/tcp_window.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What identifies one direction. Ports in network byte order; ICMP and ICMPv6 echo: both ports are the
 * identifier; other protocols: 0. Compared and hashed as 40 bytes, so every byte is always set.
 */
struct tuple {
	struct ip src, dst;
	uint16_t sport, dport;
	uint32_t net_proto; /* network id << 8 | IP protocol, host order */
};

static inline uint32_t
tuple_net_proto(uint32_t network, uint8_t proto)
{
	return network << 8 | proto;
}

static inline struct tuple
tuple_reversed(const struct tuple *t)
{
	struct tuple r;
	r.src = t->dst;
	r.dst = t->src;
	r.sport = t->dport;
	r.dport = t->sport;
	r.net_proto = t->net_proto;
	return r;
}

static inline bool
tuple_equal(const struct tuple *a, const struct tuple *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

enum conn_half_flag {
	HALF_NAT = 1 << 0,     /* the packet becomes the reverse of the other half's key */
	HALF_SETTLED = 1 << 1, /* a packet of this direction tells nothing new but that time goes on; never of TCP, SCTP, DNS */
	HALF_CLOSED = 1 << 2,  /* removed or being removed: do not use */
	HALF_LIVE = 1 << 3,    /* created completely: what find returns was live and not closed a moment ago */
};

/* The four bits of `seen` above the flags count changes of dep, stamp and hop; odd: a change is under way. */
#define HALF_CHANGING (1u << 28)

struct conn_half {
	struct tuple key;
	uint32_t dep[GENERATION_DEPS]; /* dep[0] is also the only source that packets of this direction may come from */
	uint32_t stamp;                /* generation_sum(dep) when hop was decided, or STAMP_NONE */
	uint32_t hop;                  /* hop.h */
	uint32_t seen;                 /* enum conn_half_flag in bits 24..27, changes in the four above, below them seconds (clock_ms / 1000,
	                                  low 24 bits) of the last packet, written at most once a second. Atomic; only this table's code writes it */
};

static inline unsigned int
conn_half_flags(const struct conn_half *h)
{
	return __atomic_load_n(&h->seen, __ATOMIC_RELAXED) >> 24 & 0xf;
}

#define CONN_RULE_NONE 0u

struct conn_cold {
	union {                      /* an established TCP segment needs this far: 28 bytes */
		struct tcp_side tcp[2];
		uint32_t datagrams[2]; /* UDP port 53: questions, answers */
		struct {               /* by direction: the tag that a packet must carry; the one that its receiver asked for last */
			uint32_t tag[2], offered[2];
		} sctp;
	};
	uint8_t scale[2];    /* TCP window scale of each side, or TCP_SCALE_NONE */
	uint8_t state;       /* tcp_state.h, sctp_state.h; 0 when neither. Atomic */
	uint8_t flags;       /* enum conn_flag */
	uint32_t rule[2];    /* rule ids that let it pass: at the source (egress), at the destination (ingress) */
	uint32_t service;    /* id of the service port, 0 when not through a service */
	uint32_t backend;    /* id of the chosen backend */
	uint32_t owner;      /* whose quota it counts against, see conn_owner() */
};

enum conn_flag {
	CONN_ANSWERED = 1 << 0, /* a packet of the reply direction was seen */
};

/*
 * The other bits of the flags, TCP: a hash of the number that an answer must have to a segment that passed and taught
 * nothing, of the latest such: of a SYN within a connection, or of an ACK that answers a SYN. 0: there was none. A SYN
 * and ACK that answers such a SYN shows that both ends have begun again, and a reset that answers either may lie
 * outside the window.
 */
#define CONN_AWAITED 0xfe

/* What a worker says of a connection that it creates. */
struct conn_new {
	struct tuple orig, reply; /* reply is what an answer looks like on arrival: reversed(orig) unless translated */
	uint32_t dep[2][GENERATION_DEPS];
	uint32_t stamp[2];
	uint32_t hop[2];
	uint32_t rule[2];
	uint32_t service, backend;
	uint32_t owner;         /* conn_owner(), or a generation slot; 0: nobody */
	uint32_t hash[2];       /* conn_hash() of orig and reply; 0: not known */
	union {                 /* the first packet; unused when neither */
		struct tcp_segment tcp;
		struct sctp_packet sctp;
	};
};

/*
 * Seconds without a packet until a connection is forgotten, at most CONN_TIMEOUT_MAX; to the second. Defaults stand for each 0;
 * they are Linux conntrack's, but for half-open TCP connections: those are what floods are made of, and get 30 s, twice what
 * a client of Linux waits between the first five SYNs. A TCP connection that was never answered keeps
 * TCP_STATE_SYN_SENT's at most, an SCTP one SCTP_STATE_HEARTBEAT's. A UDP connection to port 53 with as many answers as questions keeps udp_dns.
 */
#define CONN_TIMEOUT_MAX 2000000u
struct conn_timeouts {
	uint32_t tcp[16]; /* by enum tcp_state */
	uint32_t sctp[8]; /* by enum sctp_state */
	uint32_t udp, udp_answered, udp_dns, icmp, other;
};

struct conn_table_options {
	const char *path;    /* the file; created or replaced. NULL: anonymous memory (tests) */
	uint32_t capacity;   /* connections, 1024..2^27 */
	unsigned int workers;
	int numa_node;       /* -1: any */
	bool hugepages;      /* path lies on a hugetlbfs mount */
	struct conn_timeouts timeouts; /* all zero: defaults */
	bool strict_windows; /* refuse every segment that is outside the window, not RST alone */
	bool pickup;         /* what conn_picks_up() says */
	uint32_t per_owner;  /* the most that one owner may have opened; 0: no limit */
};

struct conn_table; /* opaque but for the inline readers below */

struct conn_view { /* the mapped arrays; constant once created */
	struct conn_half *half; /* [2 * (capacity + 1)], ref is the index; refs 0 and 1 are "none" */
	struct conn_cold *cold; /* [capacity + 1] */
};

struct conn_stats {
	uint32_t capacity, used;
	uint32_t half_open; /* TCP, never answered */
	uint64_t created, expired, removed, evicted, refused_full, refused_quota;
	uint32_t per_owner; /* as in the options */
	size_t bytes; /* mapped */
};

/* Control thread. 0 or -errno with *e filled. */
int conn_table_create(struct conn_table **out, const struct conn_table_options *o, struct error *e);
/* After all workers have stopped. Unlinks the file when `unlink` is set. */
void conn_table_destroy(struct conn_table *t, bool unlink);
const struct conn_view *conn_view(const struct conn_table *t);
void conn_table_stats(const struct conn_table *t, struct conn_stats *out); /* any thread; a moment's estimate */
/* How many connections the owner with this generation slot has; any thread. */
uint32_t conn_owner_used(const struct conn_table *t, uint32_t slot);
/* May a TCP segment or an SCTP packet from the middle of a conversation open a connection, where nothing is translated? */
bool conn_picks_up(const struct conn_table *t);
/* What stands for 0 in conn_table_options. */
struct conn_timeouts conn_timeouts_default(void);

/*
 * The owner of what a client opens who is one of many that count as one, those of the underlay, whose generation slot is given:
 * his share of the table's CONN_CLIENTS is in the upper bits. Which share a client has depends on the table's seed and his
 * address, of IPv6 its first 64 bits; those who meet in one count as one client.
 */
#define CONN_CLIENTS 4095u
uint32_t conn_owner(const struct conn_table *t, uint32_t slot, const struct ip *client);

/* The table's hash of a tuple, seeded in secret; never 0. */
uint32_t conn_hash(const struct conn_table *t, const struct tuple *key);

/*
 * Find a burst: for each i, ref[i] is the half whose key equals *key[i], or 0. Buckets are prefetched over the whole burst
 * first, then halves. n <= WEFT_BURST. hash[i] becomes conn_hash(key[i]).
 */
void conn_find_burst(const struct conn_table *t, const struct tuple *const key[], unsigned int n, uint32_t hash[], uint32_t ref[]);
uint32_t conn_find(const struct conn_table *t, const struct tuple *key);
/* A hint, some time before something is done with the key: fetch its bucket. Returns its hash. */
uint32_t conn_prefetch(const struct conn_table *t, const struct tuple *key);

/*
 * Create. 0 and *ref the original half;
 * -EEXIST: somebody was first, *ref is the half that carries orig now (of either direction): follow it instead;
 * -EADDRINUSE: another connection carries `reply` (choose another port);
 * -EDQUOT: the owner has options.per_owner already; -ENOSPC: the table is full.
 * Two workers that create the same orig (or the same reply) at the same moment: exactly one wins.
 * TCP's and SCTP's caller judges by tcp_state_may_open() and sctp_may_open() whether the segment may open a connection.
 *
 * Fairness. An owner at its quota replaces one of its own connections that was never answered, so that whoever is flooded through
 * still gets his own through; when there is none (in a sample of bounded size), -EDQUOT. The last sixteenth of a table is
 * for owners that hold no more than the fair share: the most that all could hold at once. They make room for themselves: of
 * those that hold more, two never-answered connections go, or when half of that sixteenth is used the one that was idle for longest.
 * Those that hold more replace their own or get -ENOSPC. Owner 0 is nobody: not counted, not evicted.
 * Clients that count as one owner (conn_owner) share his quota, or without one all but the last sixteenth of the table, as owners do
 * the table: the last sixteenth of it is for clients below the fair share, who make room among those above it; these replace what was
 * never answered of clients that hold at least half as much as they, or get -EDQUOT.
 */
int conn_create(struct conn_table *t, unsigned int worker, const struct conn_new *n, uint32_t now_ms, uint32_t *ref);

/* Remove, by any worker that found it: both tuples are gone when it returns; the id is reused after a grace period. Idempotent. */
void conn_remove(struct conn_table *t, unsigned int worker, uint32_t ref);

/*
 * Note a packet: refresh `seen` (once a second), mark the connection answered, follow TCP's state and windows. `s` is
 * NULL when it is not TCP, or TCP without a header (a later fragment): then nothing is learned of it. Returns 0, or
 * -EPROTO: the segment is impossible in the connection's state: drop it;
 * -ERANGE: its receiver could not take it (tcp_window.h): drop it;
 * -ESTALE: a SYN opens a new conversation on a closed one's tuple, or another worker has removed it since it was found:
 *          remove it, decide anew.
 * An RST outside the window is refused, unless it answers a segment that taught nothing (CONN_AWAITED; then it teaches
 * nothing either): it would close the connection here, or in a receiver that is careless. Of anything else outside the
 * window nothing is learned, neither state nor numbers nor age; it passes for its receiver to judge, who answers it by
 * an ACK that its sender may need (RFC 9293 3.10.7.4). With options.strict_windows it is refused, too. Cheap when
 * nothing changes: the caller's half is the only line touched, and for TCP the beginning of conn_cold.
 */
int conn_packet(struct conn_table *t, uint32_t ref, const struct tcp_segment *s, uint32_t now_ms);

/*
 * The same for SCTP, in place of conn_packet. `s` is NULL for a later fragment, or when there is no chunk: nothing is learned. -EPROTO also
 * when the tag is not that of the association, or in its opening the one that was offered.
 */
int conn_sctp(struct conn_table *t, uint32_t ref, const struct sctp_packet *s, uint32_t now_ms);
/* Could side `dir` have sent a packet with this tag? What an ICMP error quotes (RFC 9260 10). */
bool conn_sctp_sent(const struct conn_cold *cold, unsigned int dir, uint32_t tag);

/* The fast path's shortcut: true when conn_packet() would find nothing to note, as for all but one packet of a second that are not TCP. */
static inline bool
conn_packet_is_quiet(const struct conn_half *h, uint32_t now_s)
{
	uint32_t seen = __atomic_load_n(&h->seen, __ATOMIC_RELAXED), settled = (uint32_t)HALF_SETTLED << 24;
	return (seen & ((uint32_t)HALF_CLOSED << 24 | settled | 0xffffff)) == (settled | (now_s & 0xffffff));
}

/*
 * Replace what was decided on one half (hop, dep, stamp). Loses silently when another worker is doing the same
 * at this moment: the caller executes its own decision for its packet and leaves the half to the other.
 */
void conn_half_decide(struct conn_half *h, const uint32_t dep[GENERATION_DEPS], uint32_t stamp, uint32_t hop);

/*
 * The fast path's one question: does the decision on this half stand for a packet from `source`?
 * True and *hop set, or false: decide again.
 */
static inline bool
conn_half_stands(const struct conn_half *h, uint32_t source, uint32_t *hop)
{
	/*
	 * An old decision and a new one may have the same stamp: the count of changes tells them apart. It has three bits only, so what
	 * the answer rests on is read once more, for the case that the kernel held us up in between.
	 */
	uint32_t before = __atomic_load_n(&h->seen, __ATOMIC_ACQUIRE);
	uint32_t stamp = __atomic_load_n(&h->stamp, __ATOMIC_RELAXED);
	uint32_t dep[GENERATION_DEPS], differs = 0;
	for (unsigned int i = 0; i < GENERATION_DEPS; i++)
		dep[i] = __atomic_load_n(&h->dep[i], __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	*hop = __atomic_load_n(&h->hop, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	for (unsigned int i = 0; i < GENERATION_DEPS; i++)
		differs |= dep[i] ^ __atomic_load_n(&h->dep[i], __ATOMIC_RELAXED);
	differs |= stamp ^ __atomic_load_n(&h->stamp, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	differs |= (before & HALF_CHANGING) | (before ^ __atomic_load_n(&h->seen, __ATOMIC_RELAXED)) / HALF_CHANGING;
	return differs == 0 && dep[0] == source && generation_sum(dep) == stamp;
}

/* Sweep up to `budget` entries of this worker's share and forget those whose time is over. Returns how many it forgot. */
unsigned int conn_age(struct conn_table *t, unsigned int worker, uint32_t now_ms, unsigned int budget);

/* Control thread: call fn for every live connection until it returns non-zero; entries may come and go meanwhile. */
int conn_walk(struct conn_table *t, int (*fn)(uint32_t ref, const struct conn_half half[2], const struct conn_cold *cold, void *arg), void *arg);

static_assert(sizeof(struct tuple) == 40, "hashed and compared whole");
static_assert(sizeof(struct conn_half) == 64, "one cache line a direction");
static_assert(sizeof(struct conn_cold) == 48, "the memory goal counts on it");
static_assert(offsetof(struct conn_cold, rule) == 28, "what TCP touches lies together");

#ifdef __cplusplus
}
#endif

#endif
