/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of weft-gen: gen.c reads options, gen_report.c reports, gen_run.c drives the ports. What goes over them is
 * made and taken by gen_frame.c (flows between two pods) or gen_service.c (connections through Services).
 */
#ifndef BENCH_GEN_H
#define BENCH_GEN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "gen_latency.h"

#define GEN_SIZE_MIN 64
#define GEN_SIZE_MAX 1514
#define GEN_BURST 32
/* A simple mix as on the Internet: 7 small, 4 middling, 1 as large as --size says. */
#define GEN_MIX 12
#define GEN_MIX_KINDS 3

enum gen_scenario {
	GEN_FLOWS,       /* A's flows to B, each in turn; with `both` the answers, too */
	GEN_ESTABLISHED, /* connections through services are opened, then packets of both directions of random ones are
			    sent */
	GEN_NEW,         /* first packets of ever new connections; nobody answers */
	GEN_LIVES,       /* whole TCP conversations on ever new tuples */
};

/* Side 0 is A, ethdev 0; side 1 is B, ethdev 1. Addresses and ports in network byte order where they are wide types of
 * the wire. */
struct gen_options {
	uint16_t size, descriptors, rx_queues;
	uint32_t flows, src_ips;
	double seconds, warmup, rate, wait;
	bool both, hold, mix;
	bool latency; /* stamp frames, see gen_latency.h */
	struct rte_ether_addr mac[2], gateway[2];
	uint32_t ip[2];    /* network byte order */
	uint32_t dst_ip;   /* network byte order */
	uint16_t dst_port; /* host order */
	enum gen_scenario scenario;
	uint32_t vips, backends; /* from dst_ip and B's address upwards */
	uint16_t backend_port;   /* host order */
	uint32_t vni;            /* of VXLAN at side B; 0: none */
	uint32_t vtep[2];        /* the switch's and B's tunnel ends, network byte order */
};

/* Which of the three sizes flow number i has. */
static inline unsigned int
gen_mix_kind(uint32_t i)
{
	return i % GEN_MIX < 7 ? 0 : i % GEN_MIX < 11 ? 1 : 2;
}

static inline uint16_t
gen_mix_size(const struct gen_options *o, unsigned int kind)
{
	const uint16_t sizes[GEN_MIX_KINDS] = {64, 594, o->size};
	return o->mix ? sizes[kind] : o->size;
}

struct gen_count {
	uint64_t tx, rx;
	uint64_t other;        /* received, but not ours: ARP, ND */
	uint64_t bad;          /* of the ones looked at closely, those with a wrong checksum or length */
	uint64_t wrong;        /* of those, the ones that are addressed to somebody else */
	uint32_t hops;         /* routers that the last of them passed, by its TTL */
	uint64_t bursts, full; /* tx bursts, and those that the port did not take whole */
	uint64_t due;          /* frames that the rate asked for, sent or not; 0 without a rate */
};

struct gen_cost { /* of whole bursts only */
	uint64_t frames, cycles;
};

/* What was reached besides frames; of services only. */
struct gen_lives {
	uint64_t opened;      /* connections that were answered while all were opened */
	uint64_t begun, over; /* first packets sent; whole conversations */
};

struct gen_result {
	struct gen_count side[2]; /* tx of what it sent, rx of what reached it; with what still came after the end */
	uint64_t rx_in_time;      /* of both sides, while the clock ran */
	struct gen_cost tx_cost, rx_cost;
	struct gen_lives lives; /* begun and over while the clock ran */
	struct gen_latency latency;
	double seconds, open_seconds;
};

/* What goes over the two ports. */
struct gen_traffic {
	/* 0 or -1. `pool`: where a side's frames come from. */
	int (*init)(const struct gen_options *o, struct rte_mempool *const pool[2]);
	void (*fini)(void);
	/* Up to n frames for a side to send; 0 when it has none now. n <= GEN_BURST. */
	unsigned int (*make)(int side, struct rte_mbuf **m, unsigned int n);
	/* n frames that reached a side: counted, looked at, and the traffic's from now on. */
	void (*take)(int side, struct rte_mbuf **m, unsigned int n, struct gen_count *count);
	/* What comes before the warm-up is over: true. NULL: nothing does. */
	bool (*ready)(void);
	void (*lives)(struct gen_lives *out); /* may be NULL */
};
extern const struct gen_traffic gen_flows, gen_services;

bool gen_stopped(void);
/* Start both ports and wait for their links. 0 or -1, with the reason on stderr. */
int gen_open(const struct gen_options *o);
void gen_close(void);
/* Wait until a frame arrives, warm up, measure, let the last ones come in. 0 or -1. May be called again, with another
 * rate and other times. */
int gen_run(const struct gen_options *o, struct gen_result *r);
/* One JSON object. */
void gen_report(FILE *f, const struct gen_options *o, const struct gen_result *r);

#endif
