/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/generation.h>

#include <stdlib.h>

#include "id_pool.h"

uint32_t *generation_table;

static struct id_pool slots = ID_POOL_INIT;

int
generation_init(void)
{
	generation_table = aligned_alloc(64, WEFT_MAX_SLOTS * sizeof(uint32_t));
	if (generation_table == NULL || id_pool_init(&slots, WEFT_MAX_SLOTS) < 0) {
		generation_fini();
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < WEFT_MAX_SLOTS; i++)
		generation_table[i] = 1;
	return 0;
}

void
generation_fini(void)
{
	free(generation_table);
	generation_table = NULL;
	id_pool_fini(&slots);
}

uint32_t
generation_alloc(void)
{
	return id_pool_take(&slots);
}

void
generation_free(uint32_t slot)
{
	if (slot == 0)
		return;
	generation_bump(slot);
	id_pool_give(&slots, slot);
}

void
generation_bump(uint32_t slot)
{
	if (slot != 0)
		__atomic_fetch_add(&generation_table[slot], 1, __ATOMIC_RELEASE);
}
