/* SPDX-License-Identifier: Apache-2.0 */
#include "gen_latency.h"

#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_common.h>

#define MASK ((UINT64_C(1) << 48) - 1)
#define UDP_SUM_AT 40
#define FINE 6 /* 64 buckets for each power of two */
#define BUCKETS (((48 - FINE + 1) << FINE))

static struct {
	uint64_t bucket[BUCKETS];
	uint64_t frames, sum, max;
} noted;

struct stamp {
	uint32_t word[3];
};
static_assert(sizeof(struct stamp) == GEN_STAMP_LENGTH, "48 bits and their complement");

static inline uint32_t
fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint32_t)((sum & 0xffff) + (sum >> 16));
}

/* RFC 1624: the old words go out of the checksum; the stamp's are 0 to it, as each comes with its complement. */
static inline void
stamp_one(uint8_t *frame, const struct stamp *s)
{
	struct stamp old;
	uint16_t check;
	memcpy(&old, frame + GEN_STAMP_AT, sizeof(old));
	memcpy(&check, frame + UDP_SUM_AT, sizeof(check));
	uint64_t sum = (uint16_t)~check;
	for (int i = 0; i < 3; i++)
		sum += (uint32_t)~old.word[i];
	check = (uint16_t)~fold(sum);
	if (unlikely(check == 0))
		check = 0xffff; /* RFC 768: 0 would say that there is none */
	memcpy(frame + GEN_STAMP_AT, s, sizeof(*s));
	memcpy(frame + UDP_SUM_AT, &check, sizeof(check));
}

void
gen_latency_stamp(struct rte_mbuf *const *m, unsigned int n, uint64_t now)
{
	uint64_t value = now & MASK, complement = ~now & MASK;
	struct stamp s = {{(uint32_t)value, (uint32_t)(value >> 32 | complement << 16), (uint32_t)(complement >> 16)}};
	for (unsigned int i = 0; i < n; i++)
		stamp_one(rte_pktmbuf_mtod(m[i], uint8_t *), &s);
}

static inline unsigned int
bucket_of(uint64_t cycles)
{
	unsigned int power = 63 - (unsigned int)__builtin_clzll(cycles | 1), shift = power > FINE ? power - FINE : 0;
	return (shift << FINE) + (unsigned int)(cycles >> shift);
}

/* The longest time in a bucket. */
static uint64_t
upper_edge(unsigned int bucket)
{
	unsigned int shift = bucket < 2u << FINE ? 0 : (bucket >> FINE) - 1;
	return (((uint64_t)bucket - ((uint64_t)shift << FINE) + 1) << shift) - 1;
}

void
gen_latency_note(struct rte_mbuf *const *m, unsigned int n, uint64_t now)
{
	for (unsigned int i = 0; i < n; i++) {
		if (unlikely(m[i]->data_len < GEN_STAMP_AT + GEN_STAMP_LENGTH))
			continue;
		struct stamp s;
		memcpy(&s, rte_pktmbuf_mtod_offset(m[i], const uint8_t *, GEN_STAMP_AT), sizeof(s));
		uint64_t value = s.word[0] | ((uint64_t)s.word[1] & 0xffff) << 32;
		uint64_t complement = s.word[1] >> 16 | (uint64_t)s.word[2] << 16;
		if (unlikely((value ^ complement) != MASK))
			continue;
		uint64_t cycles = (now - value) & MASK;
		noted.bucket[bucket_of(cycles)]++;
		noted.frames++;
		noted.sum += cycles;
		noted.max = RTE_MAX(noted.max, cycles);
	}
}

void
gen_latency_reset(void)
{
	memset(&noted, 0, sizeof(noted));
}

/* per_mille of the frames, and no fewer, took no longer. */
static uint64_t
percentile(unsigned int per_mille)
{
	uint64_t rank = (noted.frames * per_mille + 999) / 1000, seen = 0;
	for (unsigned int i = 0; i < BUCKETS; i++) {
		seen += noted.bucket[i];
		if (seen >= rank)
			return RTE_MIN(upper_edge(i), noted.max);
	}
	return 0;
}

void
gen_latency_result(struct gen_latency *out)
{
	*out = (struct gen_latency){.frames = noted.frames,
				    .max = noted.max,
				    .mean = noted.frames > 0 ? (double)noted.sum / (double)noted.frames : 0,
				    .p50 = percentile(500),
				    .p99 = percentile(990),
				    .p999 = percentile(999)};
}
