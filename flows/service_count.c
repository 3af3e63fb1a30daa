/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/service_count.h>

#include <sys/mman.h>

#include "id_pool.h"

#define SIZE (sizeof(struct service_count) * (size_t)SERVICE_COUNT_MAX)

struct service_count *service_counts[WEFT_MAX_WORKERS];
static struct service_count *base; /* of each id when it was given out */
static unsigned int n_workers;
static struct id_pool ids = ID_POOL_INIT;

/* Address space; memory only where something is written. */
static struct service_count *
reserve(void)
{
	void *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p != MAP_FAILED ? p : NULL;
}

int
service_count_init(unsigned int workers)
{
	bool ok = id_pool_init(&ids, SERVICE_COUNT_MAX) == 0 && (base = reserve()) != NULL;
	for (n_workers = 0; n_workers < workers && ok; n_workers++)
		ok = (service_counts[n_workers] = reserve()) != NULL;
	if (!ok)
		service_count_fini();
	return ok ? 0 : -ENOMEM;
}

void
service_count_fini(void)
{
	for (unsigned int i = 0; i < n_workers; i++)
		if (service_counts[i] != NULL)
			munmap(service_counts[i], SIZE);
	if (base != NULL)
		munmap(base, SIZE);
	memset(service_counts, 0, sizeof(service_counts));
	base = NULL;
	n_workers = 0;
	id_pool_fini(&ids);
}

static void
sum(uint32_t id, struct service_count *out)
{
	*out = (struct service_count){0};
	for (unsigned int i = 0; i < n_workers; i++) {
		out->opened += __atomic_load_n(&service_counts[i][id].opened, __ATOMIC_RELAXED);
		out->refused += __atomic_load_n(&service_counts[i][id].refused, __ATOMIC_RELAXED);
	}
}

uint32_t
service_count_take(void)
{
	uint32_t id = base != NULL ? id_pool_take(&ids) : 0;
	if (id == 0)
		return 0;
	/* A write that changes nothing: no worker counts this id now, and none has to wait for the page later. */
	for (unsigned int i = 0; i < n_workers; i++)
		__atomic_fetch_add(&service_counts[i][id].opened, 0, __ATOMIC_RELAXED);
	struct service_count now;
	sum(id, &now);
	__atomic_store_n(&base[id].opened, now.opened, __ATOMIC_RELAXED);
	__atomic_store_n(&base[id].refused, now.refused, __ATOMIC_RELAXED);
	return id;
}

void
service_count_give(uint32_t id)
{
	if (id != 0 && base != NULL)
		id_pool_give(&ids, id);
}

void
service_count_read(uint32_t id, struct service_count *out)
{
	*out = (struct service_count){0};
	if (base == NULL || id == 0 || id >= SERVICE_COUNT_MAX)
		return;
	sum(id, out);
	out->opened -= __atomic_load_n(&base[id].opened, __ATOMIC_RELAXED);
	out->refused -= __atomic_load_n(&base[id].refused, __ATOMIC_RELAXED);
}
