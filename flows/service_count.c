/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/service_count.h>

#include "id_pool.h"

struct id_counts service_counts = {.max = SERVICE_COUNT_MAX};
static struct id_pool ids = ID_POOL_INIT;

int
service_count_init(unsigned int workers)
{
	int rc = id_pool_init(&ids, SERVICE_COUNT_MAX);
	if (rc == 0)
		rc = id_counts_init(&service_counts, workers);
	if (rc != 0)
		id_pool_fini(&ids);
	return rc;
}

void
service_count_fini(void)
{
	id_counts_fini(&service_counts);
	id_pool_fini(&ids);
}

uint32_t
service_count_take(void)
{
	uint32_t id = service_counts.base != NULL ? id_pool_take(&ids) : 0;
	id_counts_begin(&service_counts, id);
	return id;
}

void
service_count_give(uint32_t id)
{
	if (id != 0 && service_counts.base != NULL)
		id_pool_give(&ids, id);
}

void
service_count_read(uint32_t id, struct service_count *out)
{
	struct id_count c = id_counts_read(&service_counts, id);
	*out = (struct service_count){.opened = c.n[false], .refused = c.n[true]};
}
