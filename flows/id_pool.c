/* SPDX-License-Identifier: Apache-2.0 */
#include "id_pool.h"

#include <stdlib.h>

int
id_pool_init(struct id_pool *p, uint32_t limit)
{
	p->free = malloc(limit * sizeof(p->free[0]));
	if (p->free == NULL)
		return -ENOMEM;
	p->limit = limit;
	p->n_free = p->given = 0;
	return 0;
}

void
id_pool_fini(struct id_pool *p)
{
	free(p->free);
	p->free = NULL;
	p->n_free = p->given = p->limit = 0;
}

uint32_t
id_pool_take(struct id_pool *p)
{
	uint32_t id = 0;
	pthread_mutex_lock(&p->lock);
	if (p->n_free > 0)
		id = p->free[--p->n_free];
	else if (p->given + 1 < p->limit)
		id = ++p->given;
	pthread_mutex_unlock(&p->lock);
	return id;
}

void
id_pool_give(struct id_pool *p, uint32_t id)
{
	pthread_mutex_lock(&p->lock);
	assert(id > 0 && id <= p->given && p->n_free < p->given);
	p->free[p->n_free++] = id;
	pthread_mutex_unlock(&p->lock);
}
