/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that goes away all at once: what one object's spec is decoded into. Start with {0}. One thread at a time. */
#ifndef WEFT_MGMT_ARENA_H
#define WEFT_MGMT_ARENA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct arena_chunk;
struct arena {
	struct arena_chunk *chunk;
};

/* Zeroed, aligned for any type; never NULL: the process ends when there is no memory left. */
void *arena_alloc(struct arena *a, size_t size);
char *arena_strndup(struct arena *a, const char *s, size_t n);
void arena_free(struct arena *a);

#ifdef __cplusplus
}
#endif

#endif
