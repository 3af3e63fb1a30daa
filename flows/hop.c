/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/hop.h>

#include <sys/mman.h>

#include "id_pool.h"

#define TABLE_SIZE (WEFT_MAX_HOPS * sizeof(struct hop))

struct hop *hop_table;

static struct id_pool ids = ID_POOL_INIT;

int
hop_init(void)
{
	/* Mapped, not allocated: pages that no hop needs are never touched. */
	void *p = mmap(NULL, TABLE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	hop_table = p;
	if (id_pool_init(&ids, WEFT_MAX_HOPS) < 0) {
		hop_fini();
		return -ENOMEM;
	}
	return 0;
}

void
hop_fini(void)
{
	if (hop_table != NULL)
		munmap(hop_table, TABLE_SIZE);
	hop_table = NULL;
	id_pool_fini(&ids);
}

static void
give_back(void *id)
{
	id_pool_give(&ids, (uint32_t)(uintptr_t)id);
}

uint32_t
hop_alloc(struct txn *t, const struct hop *h)
{
	uint32_t id = id_pool_take(&ids);
	if (id == 0)
		return 0;
	hop_table[id] = *h;
	txn_on_abort(t, give_back, (void *)(uintptr_t)id);
	return id;
}

void
hop_release(struct txn *t, uint32_t id)
{
	if (id != 0)
		txn_after_grace(t, give_back, (void *)(uintptr_t)id);
}
