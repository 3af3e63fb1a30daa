/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Underlay neighbours: the next hops of VTEPs and Routes, and whoever else on the uplink's own network is sent to, resolved by ARP
 * (RFC 826) and neighbour discovery (RFC 4861).
 *
 * A flat array indexed by id; the MAC and its state are one atomic word, so a reader never sees half of one. Entries below
 * WEFT_MAX_NEIGHBOURS exist because the configuration needs them: the builder makes and frees them. Those above are made by
 * workers, for destinations that no configuration names, and go when nobody has sent to them for a while. Workers resolve both.
 */
#ifndef WEFT_NEIGHBOUR_H
#define WEFT_NEIGHBOUR_H

#include <weft/base.h>
#include <weft/txn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How many the workers may make. */
#define WEFT_LINK_NEIGHBOURS 4096

enum neighbour_state {
	NEIGHBOUR_FREE,
	NEIGHBOUR_INCOMPLETE, /* no MAC yet */
	NEIGHBOUR_REACHABLE,
	NEIGHBOUR_CLAIMED, /* a worker is writing it */
	NEIGHBOUR_GONE,    /* no longer found; free after a grace period */
};

/* How long a MAC is used after it was last confirmed, and asked about before that (RFC 1122 2.3.2.1). Milliseconds. */
#define NEIGHBOUR_FRESH_MS 30000u
#define NEIGHBOUR_EXPIRE_MS 60000u
#define NEIGHBOUR_RETRY_MS 1000u
/* How long a worker's entry stays after it was last sent to: one that answered, one that did not. */
#define NEIGHBOUR_IDLE_MS 120000u
#define NEIGHBOUR_SILENT_MS 5000u

struct neighbour {
	uint64_t word;      /* state in the top 16 bits, MAC in the low 48 (first byte highest); atomic */
	struct ip ip;       /* who; constant while the entry is in use */
	struct ip source;   /* our address that asks */
	uint16_t port;      /* the uplink */
	uint32_t confirmed; /* clock_ms of the last answer, atomic */
	uint32_t asked;     /* clock_ms of the last question, atomic (one worker wins the right to ask) */
	uint32_t used;      /* a worker's entry: clock_ms of the last packet, to the second; atomic */
} __attribute__((aligned(64)));

extern struct neighbour *neighbour_table; /* WEFT_MAX_NEIGHBOURS + WEFT_LINK_NEIGHBOURS entries; id 0 is "none" */

int neighbour_init(void); /* 0 or -errno */
void neighbour_fini(void);

/* Builder thread. Find or make the entry for (port, ip) and count a use of it; 0 when the table is full. Undone on abort. */
uint16_t neighbour_use(struct txn *t, uint16_t port, const struct ip *ip, const struct ip *source);
/* Builder thread. Drop a use; the last one frees the entry a grace period after commit. */
void neighbour_release(struct txn *t, uint16_t id);

/* Any worker. An entry of the builder's for (port, ip), or 0. Good until the caller's next quiescent report. */
uint16_t neighbour_find(uint16_t port, const struct ip *ip);

/*
 * Any worker. The workers' entry for (port, ip) that asks from `source`, made when there is none; 0 when there is no
 * room for it. Good until the caller's next quiescent report. Two workers that ask for the same address at the same
 * moment may make two entries; both learn.
 */
uint16_t neighbour_link(uint16_t port, const struct ip *ip, const struct ip *source, uint32_t now_ms);

/* Any worker. True and *mac filled when the neighbour may be sent to. */
static inline bool
neighbour_mac(uint16_t id, struct mac *mac)
{
	uint64_t w = __atomic_load_n(&neighbour_table[id].word, __ATOMIC_RELAXED);
	for (int i = 0; i < 6; i++)
		mac->b[i] = (uint8_t)(w >> (8 * (5 - i)));
	return (w >> 48) == NEIGHBOUR_REACHABLE;
}

/* Any worker, on an ARP or ND message of ip heard on port. True when an entry cared. */
bool neighbour_learn(uint16_t port, const struct ip *ip, const struct mac *mac, uint32_t now_ms);

/*
 * Any worker, before it sends to the entry. True when a question is due and this caller won the right to ask it (once
 * a second while incomplete, and when a fresh answer is older than NEIGHBOUR_FRESH_MS).
 */
bool neighbour_should_ask(uint16_t id, uint32_t now_ms);

/*
 * Housekeeping worker, about once a second: entries unconfirmed for NEIGHBOUR_EXPIRE_MS become incomplete, workers' entries that are
 * no longer used go.
 */
void neighbour_age(uint32_t now_ms);
/* How many entries the workers have made that are not free. */
uint32_t neighbour_links(void);

#ifdef __cplusplus
}
#endif

#endif
