/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session affinity: which backend a client was given last, and until when that counts.
 *
 * A hash of fixed size, shared by all workers without a lock, in buckets of one cache line. A full bucket forgets whoever's time is over
 * first; a client that is forgotten is chosen for by its address (decide_service.c), so it comes back to the same backend unless those
 * have changed. The hash is seeded in secret.
 */
#ifndef WEFT_AFFINITY_H
#define WEFT_AFFINITY_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AFFINITY_MAX_SECONDS 86400u /* as Kubernetes */

struct affinity_key {
	struct ip client;
	uint32_t network; /* that the client is in */
	uint32_t service; /* id of the service port */
};

struct affinity;

/* Control thread. `entries` is rounded up to a power of two; 16 bytes each. 0 or -ENOMEM. */
int affinity_create(struct affinity **out, uint32_t entries);
void affinity_destroy(struct affinity *a); /* NULL is fine */

/* Any worker. The id of the backend that the client was given, or 0. */
uint32_t affinity_find(const struct affinity *a, const struct affinity_key *key, uint32_t now_ms);

/* Any worker. The client was given `backend` now: remember it for `seconds`, in place of what was. Of two workers that note the
 * same client at the same moment, one wins; times are kept to the second or so. */
void affinity_note(struct affinity *a, const struct affinity_key *key, uint32_t backend, uint32_t now_ms, uint32_t seconds);

#ifdef __cplusplus
}
#endif

#endif
