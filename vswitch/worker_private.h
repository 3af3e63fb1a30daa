/* SPDX-License-Identifier: Apache-2.0 */
/* What worker.c (one worker's round) and workers.c (all of them, seen from the control thread) share. */
#ifndef VSWITCH_WORKER_PRIVATE_H
#define VSWITCH_WORKER_PRIVATE_H

#include <pthread.h>
#include <rte_meter.h>

#include <weft/worker.h>

/* What we may still say in this second. */
struct answer_tokens {
	uint32_t left, since_ms;
};

struct port_meter {
	struct rte_meter_srtcm srtcm;
	struct answer_tokens error, link;
	uint32_t claimed_until_ms; /* see note_claim() */
};

struct workers {
	unsigned int n;
	struct worker *w[WEFT_MAX_WORKERS];
	pthread_t thread[WEFT_MAX_WORKERS];
	struct workers_options options;
	uint8_t rx_worker[WEFT_MAX_PORTS][PORT_MAX_QUEUES]; /* who polls a queue by the newest plan, atomic */
	struct affinity *affinity;
	bool meter_on;
	struct rte_meter_srtcm_profile meter_profile; /* of one worker: its share of the rate */
};

extern struct workers workers;

int meter_profile_init(struct rte_meter_srtcm_profile *profile, unsigned int per_second, unsigned int burst);

#endif
