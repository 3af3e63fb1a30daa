/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long frames are under way. The moment of sending travels in the payload, and both ends are this process, so one
 * clock (the TSC) serves both. One thread, as all of weft-gen; nothing is allocated.
 *
 * Measured is from just before a burst is handed to the port to just after the burst that it arrived in was received:
 * the ports' rings, the switch, and the time until we look again are in it, for every subject alike. A frame that found
 * no room in the port's ring keeps its stamp, so its waiting counts.
 *
 * The p-th percentile of N frames is by nearest rank: the smallest time such that at least p % of the frames took no
 * longer, number ceil(p / 100 * N) when sorted. Times are kept in buckets, one for each cycle below 128, above that 64
 * for each power of two; given is the upper edge of the bucket, at most 1/64 too much, but never more than the longest
 * time, which is exact.
 */
#ifndef BENCH_GEN_LATENCY_H
#define BENCH_GEN_LATENCY_H

#include <stdint.h>

#include <rte_mbuf.h>

/* A stamp: 48 bits of the TSC, then their complement, so that it is known as one and its share of a checksum is the
 * same always. It lies behind Ethernet, IPv4, UDP and 8 bytes of payload: frames of 64 bytes have room for it. */
#define GEN_STAMP_AT 50
#define GEN_STAMP_LENGTH 12

struct gen_latency { /* TSC cycles */
	uint64_t frames, max;
	double mean;
	uint64_t p50, p99, p999; /* p999: the 99.9th percentile */
};

/* Write `now` into n IPv4/UDP frames without IP options, of 62 bytes or more; their UDP checksums stay as right as they
 * were. */
void gen_latency_stamp(struct rte_mbuf *const *m, unsigned int n, uint64_t now);
/* n frames arrived at `now`; those without a stamp are passed over. */
void gen_latency_note(struct rte_mbuf *const *m, unsigned int n, uint64_t now);
/* Forget what was noted. */
void gen_latency_reset(void);
/* Of all that was noted since; zeros when nothing was. */
void gen_latency_result(struct gen_latency *out);

#endif
