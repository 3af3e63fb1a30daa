/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids 1..limit-1 of a table that is given out by the builder and given back by whichever control thread reclaims.
 * The one given back last is given out first.
 */
#ifndef WEFT_FLOWS_ID_POOL_H
#define WEFT_FLOWS_ID_POOL_H

#include <pthread.h>

#include <weft/base.h>

struct id_pool {
	pthread_mutex_t lock;
	uint32_t *free;
	uint32_t n_free, given, limit; /* ids 1..given were given out at some time */
};

#define ID_POOL_INIT                                                                                                   \
	{                                                                                                              \
		.lock = PTHREAD_MUTEX_INITIALIZER                                                                      \
	}

/* 0 or -ENOMEM. */
int id_pool_init(struct id_pool *p, uint32_t limit);
void id_pool_fini(struct id_pool *p);

/* 0: none left. */
uint32_t id_pool_take(struct id_pool *p);
void id_pool_give(struct id_pool *p, uint32_t id);

#endif
