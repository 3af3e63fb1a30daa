/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/generation.h>

#include <pthread.h>
#include <stdlib.h>

uint32_t *generation_table;

/* Slots are given back by whichever control thread reclaims. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t *free_slots;
static uint32_t n_free, n_given; /* n_given: slots 1..n_given were given out at some time */

int
generation_init(void)
{
	generation_table = aligned_alloc(64, WEFT_MAX_SLOTS * sizeof(uint32_t));
	free_slots = malloc(WEFT_MAX_SLOTS * sizeof(uint32_t));
	if (generation_table == NULL || free_slots == NULL) {
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
	free(free_slots);
	generation_table = NULL;
	free_slots = NULL;
	n_free = n_given = 0;
}

uint32_t
generation_alloc(void)
{
	uint32_t slot = 0;
	pthread_mutex_lock(&lock);
	if (n_free > 0)
		slot = free_slots[--n_free];
	else if (n_given + 1 < WEFT_MAX_SLOTS)
		slot = ++n_given;
	pthread_mutex_unlock(&lock);
	return slot;
}

void
generation_free(uint32_t slot)
{
	if (slot == 0)
		return;
	generation_bump(slot);
	pthread_mutex_lock(&lock);
	assert(n_free < n_given);
	free_slots[n_free++] = slot;
	pthread_mutex_unlock(&lock);
}

void
generation_bump(uint32_t slot)
{
	if (slot != 0)
		__atomic_fetch_add(&generation_table[slot], 1, __ATOMIC_RELEASE);
}
