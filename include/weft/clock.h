/* SPDX-License-Identifier: Apache-2.0 */
/* Time, never the wall's. CLOCK_MONOTONIC, so that two processes on one machine agree on it. */
#ifndef WEFT_CLOCK_H
#define WEFT_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds; wraps after 49 days: compare by signed difference. Workers read it once every few turns and carry it along. */
static inline uint32_t
clock_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)((uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u);
}

/* True when `now` is at least `ms` after `then`. */
static inline int
clock_passed(uint32_t now, uint32_t then, uint32_t ms)
{
	return (int32_t)(now - then) >= 0 && now - then >= ms;
}

#endif
