/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table from inside. How it stays right without a lock:
 *
 * An entry is unborn (neither flag), LIVE, then CLOSED. The flags of half 0 decide for the whole entry: one
 * compare-and-swap makes it live, one closes it, and half 1's follow; whoever sees half 1 lag behind completes it.
 *
 * A creator puts the unborn entry under both tuples first and looks for rivals under both afterwards, with a full fence
 * between: of two rivals at least one sees the other. A live rival wins. Of two unborn ones the lower id closes the
 * other; the higher gives up and tries again, and after a few tries closes the other itself, which may have been put to
 * sleep by the kernel. As an entry that somebody has closed cannot become live, two with a tuple in common never are.
 *
 * A tuple lives in the first of PROBE_BUCKETS neighbouring buckets that had room; each bucket that it passed by counts
 * it in `over`, so a search ends at the first bucket that nobody passed. Entries never move, and a live one's tag, ref
 * and counts do not change: no reader can miss it.
 *
 * Ids are used again only after a grace period, so whatever ref somebody has read out of a bucket still means
 * the same entry until his next quiescent report.
 */
#ifndef WEFT_CONN_INTERNAL_H
#define WEFT_CONN_INTERNAL_H

#include <arpa/inet.h>

#include <weft/conn_file.h>
#include <weft/tcp_state.h>

#define BUCKET_SLOTS 12
#define BUCKET_LOAD 864u /* hundredths of a slot in use, on average, when the table is full: 72 % */
#define PROBE_BUCKETS 32u
#define CHUNK_SHIFT 8
#define CHUNK_IDS (1u << CHUNK_SHIFT)
#define OPEN_SHARDS 64u
#define RETIRE_BATCH 64u

#define SEEN_SECONDS 0xffffffu
#define SEEN_LIVE ((uint32_t)HALF_LIVE << 24)
#define SEEN_CLOSED ((uint32_t)HALF_CLOSED << 24)
#define SEEN_SETTLED ((uint32_t)HALF_SETTLED << 24)
#define SEEN_NAT ((uint32_t)HALF_NAT << 24)

/* A tag of 0 is no entry; a ref of 0 is a slot that may be claimed. A slot's ref is set before its tag and cleared
 * after it. */
struct bucket {
	union {
		struct {
			uint8_t tag[BUCKET_SLOTS];
			uint32_t over;
		};
		uint64_t word[2];
	};
	uint32_t ref[BUCKET_SLOTS];
} __attribute__((aligned(64)));

/* Ids linked by link_get(). */
struct id_list {
	uint32_t head, tail, n;
};

struct conn_worker {
	/* Robbed by others when the pool is empty: */
	uint64_t free; /* a stack: top id; above it a count of changes, against ABA */
	uint64_t span; /* of the newest chunk: next id that was never used; above it the chunk's end */
	/* Its own: */
	struct id_list filling __attribute__((aligned(64))), waiting; /* closed ids; those whose grace period runs */
	uint64_t ticket;
	uint32_t retired_ms;
	uint32_t chunk, n_chunks; /* newest chunk + 1, 0: none */
	uint32_t sweep_chunk, sweep_at;
	int32_t untold[2]; /* of quota.count */
	uint64_t created, expired, removed, evicted, refused_full, refused_quota;
	uint64_t dice;
} __attribute__((aligned(64)));

struct open_count {
	int64_t n;
} __attribute__((aligned(64)));

enum quota_count {
	QUOTA_LIVE, /* connections */
	QUOTA_IDS,  /* ids that are not free: live, coming about, or waiting for a grace period */
};

/* Who has how many connections. */
struct holders {
	uint32_t *used;
	/* Of them, those with 2^i connections and less than twice that: */
	uint32_t bin[32] __attribute__((aligned(64)));
};

/* Not in the file: an adopter counts again, and its slots are others. */
struct conn_quota {
	uint32_t per_owner, reserve;
	uint32_t per_many; /* as per_owner, for an owner that is many clients: never without a limit */
	int32_t lot;
	int64_t count[2] __attribute__((aligned(64))); /* by enum quota_count, but for what workers have not told */
	struct holders owners, clients;                /* by slot; by share (conn_owner) */
};

/* What conn_cold.owner consists of: below this bit the slot, from it on the client's share, 0 when the owner is one. */
#define OWNER_CLIENT_SHIFT 20
static_assert(WEFT_MAX_SLOTS <= 1u << OWNER_CLIENT_SHIFT && CONN_CLIENTS < 1u << (32 - OWNER_CLIENT_SHIFT), "both fit");

struct conn_table {
	struct conn_view view;
	struct bucket *bucket;
	uint32_t n_buckets;
	uint64_t seed[7];
	struct conn_header *header;
	struct conn_worker *worker;
	struct open_count *open;
	uint32_t *chunk_next; /* of a chunk: the worker's next older one + 1 */
	uint32_t capacity, workers, n_chunks;
	uint32_t timeout_min;
	struct conn_timeouts timeouts;
	bool strict_windows, pickup;
	struct conn_quota quota;
	char *path;
};

static_assert(sizeof(struct bucket) == 64, "one cache line");
/* In hundredths of a byte: two halves, a cold part, two slots, a share of a chunk's link. */
static_assert(100 * (sizeof(struct conn_half) * 2 + sizeof(struct conn_cold)) +
			      2 * 10000 * sizeof(struct bucket) / BUCKET_LOAD + 400 / CHUNK_IDS <
		      19150,
	      "192 bytes a connection, all in");

/* conn_bucket.c: put a half under its tuple (0 or -ENOSPC), and away again. */
int bucket_insert(struct conn_table *t, uint32_t hash, uint32_t ref);
void bucket_erase(struct conn_table *t, uint32_t hash, uint32_t ref);

/* Call fn for every half but self's that carries key, whatever its flags, until it returns true. */
typedef bool rival_fn(struct conn_table *t, uint32_t ref, void *arg);
void bucket_rivals(struct conn_table *t, const struct tuple *key, uint32_t hash, uint32_t self, rival_fn *fn,
		   void *arg);

/* conn_id.c: an id, or 0 when none is left; one that no bucket ever held goes back by conn_id_put, any other by
 * conn_id_retire.
 */
uint32_t conn_id_take(struct conn_table *t, unsigned int worker);
void conn_id_put(struct conn_table *t, unsigned int worker, uint32_t id);
void conn_id_retire(struct conn_table *t, unsigned int worker, uint32_t id);
/* Give the worker's ids whose grace period is over back to it, and start the next one when `now` or when enough wait.
 */
void id_reclaim(struct conn_table *t, unsigned int worker, bool now);
/* Ids below it have been handed out at some time. */
uint32_t id_end(const struct conn_table *t);

/* conn_quota.c: count a connection of the owner, making room for it where that must be: 0, -EDQUOT, or -ENOSPC; undone by quota_leave. */
int quota_admit(struct conn_table *t, unsigned int worker, uint32_t owner, uint32_t now_ms);
void quota_leave(struct conn_table *t, uint32_t owner);
/* The worker has made n more of them, or -n less. */
void quota_note(struct conn_table *t, unsigned int worker, enum quota_count of, int32_t n);
int quota_init(struct conn_table *t, uint32_t per_owner); /* 0 or -ENOMEM */
void quota_fini(struct conn_table *t);

/* connection.c: the caller has just closed half 0. */
void conn_bury(struct conn_table *t, unsigned int worker, uint32_t id);
/* conn_sctp.c: of a connection that is being made. */
void sctp_open(struct conn_cold *cold, const struct sctp_packet *s);
/* conn_packet.c: a packet in reply direction was seen, or none ever will be. */
void conn_mark_answered(struct conn_table *t, uint32_t id);

static inline struct open_count *
open_shard(const struct conn_table *t, uint32_t id)
{
	return &t->open[(id >> CHUNK_SHIFT) % OPEN_SHARDS];
}

/* A counter that one worker writes and others read. */
static inline void
count(uint64_t *c)
{
	__atomic_store_n(c, *c + 1, __ATOMIC_RELAXED);
}

static inline bool
seen_is_live(uint32_t seen)
{
	return (seen & (SEEN_LIVE | SEEN_CLOSED)) == SEEN_LIVE;
}

static inline bool
half_is_tcp(const struct conn_half *h)
{
	return (h->key.net_proto & 0xff) == IPPROTO_TCP;
}

/* Questions and answers of DNS are counted. By the client's view: a service may listen elsewhere. */
static inline bool
tuple_is_dns(const struct tuple *orig)
{
	return (orig->net_proto & 0xff) == IPPROTO_UDP && orig->dport == htons(53);
}

/* Words that others may be looking at. */
static inline void
words_store(void *to, const void *from, size_t size)
{
	uint64_t *d = (uint64_t *)to;
	for (size_t i = 0; i < size / 8; i++) {
		uint64_t v;
		memcpy(&v, (const char *)from + 8 * i, 8);
		__atomic_store_n(&d[i], v, __ATOMIC_RELAXED);
	}
}

static inline void
words_load(void *to, const void *from, size_t size)
{
	const uint64_t *s = (const uint64_t *)from;
	for (size_t i = 0; i < size / 8; i++) {
		uint64_t v = __atomic_load_n(&s[i], __ATOMIC_RELAXED);
		memcpy((char *)to + 8 * i, &v, 8);
	}
}

/* conn.h: seconds of clock_ms, which starts again after 2^32 ms. Negative: `then` is another worker's and ahead of us.
 */
#define SECONDS_WRAP 4294968

static inline int32_t
seconds_since(uint32_t now, uint32_t then)
{
	int32_t d = (int32_t)now - (int32_t)then;
	if (d < -(SECONDS_WRAP / 2))
		d += SECONDS_WRAP;
	else if (d > SECONDS_WRAP / 2)
		d -= SECONDS_WRAP;
	return d;
}

/* At most once a second, and never backwards: workers' clocks differ a little. */
static inline void
half_refresh(struct conn_half *h, uint32_t seen, uint32_t now_s)
{
	while (seconds_since(now_s, seen & SEEN_SECONDS) > 0 && !(seen & SEEN_CLOSED)) {
		if (__atomic_compare_exchange_n(&h->seen, &seen, (seen & ~SEEN_SECONDS) | now_s, true, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return;
	}
}

#endif
