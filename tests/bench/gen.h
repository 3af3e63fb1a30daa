/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of weft-gen: gen.c reads options and reports, gen_frame.c makes frames, gen_run.c drives the ports. */
#ifndef BENCH_GEN_H
#define BENCH_GEN_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#define GEN_SIZE_MIN 64
#define GEN_SIZE_MAX 1514
#define GEN_BURST 32

/* Side 0 is A, ethdev 0; side 1 is B, ethdev 1. Addresses and ports in network byte order where they are wide types of
 * the wire. */
struct gen_options {
	uint16_t size, descriptors;
	uint32_t flows, src_ips;
	double seconds, warmup, rate, wait;
	bool both, hold;
	struct rte_ether_addr mac[2], gateway[2];
	uint32_t ip[2];    /* network byte order */
	uint32_t dst_ip;   /* network byte order */
	uint16_t dst_port; /* host order */
};

struct gen_count {
	uint64_t tx, rx;
	uint64_t other;        /* received, but not ours: ARP, ND */
	uint64_t bad;          /* of the ones looked at closely, those with a wrong checksum */
	uint64_t bursts, full; /* tx bursts, and those that the port did not take whole */
};

struct gen_cost { /* of whole bursts only */
	uint64_t frames, cycles;
};

struct gen_result {
	struct gen_count side[2]; /* tx of what it sent, rx of what reached it; with what still came after the end */
	uint64_t rx_in_time;      /* of both sides, while the clock ran */
	struct gen_cost tx_cost, rx_cost;
	double seconds;
};

/* What differs between the frames of two flows of a side; the rest is in the side's template. */
struct gen_flow {
	uint32_t src, dst;
	uint16_t sport, dport;
	uint16_t ip_sum, udp_sum;
};

/* The first bytes of every frame: Ethernet, IPv4, UDP, magic. The rest of a buffer never changes. */
#define GEN_HEAD 64

struct gen_frames {
	uint8_t head[GEN_HEAD];
	struct gen_flow *flow;
	uint32_t n, next;
	uint16_t size;
};

/* Frames of one side; 0 or -1. Fills every buffer of `pool` once, so that a send writes the head only. */
int gen_frames_init(struct gen_frames *f, const struct gen_options *o, int side, struct rte_mempool *pool);
void gen_frames_fini(struct gen_frames *f);
/* Up to n frames of the next flows in fresh buffers of `pool`; 0 when it is empty. */
unsigned int gen_frames_make(struct gen_frames *f, struct rte_mempool *pool, struct rte_mbuf **m, unsigned int n);
/* Is this frame one of ours? And, far dearer: are its checksums right? */
bool gen_frame_is_ours(const struct rte_mbuf *m);
bool gen_frame_is_right(const struct rte_mbuf *m);

bool gen_stopped(void);
/* Start both ports and wait for their links. 0 or -1, with the reason on stderr. */
int gen_open(const struct gen_options *o);
void gen_close(void);
/* Wait until a frame arrives, warm up, measure, let the last ones come in. 0 or -1. */
int gen_run(const struct gen_options *o, struct gen_result *r);

#endif
