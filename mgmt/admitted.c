/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that a batch covers are admitted, and stay so over restarts: which of them, and what the store is to know. */
#include <stdlib.h>

#include "mgmt_impl.h"

/* One that is not in the batch itself. */
static void
add(const char *name, void *arg)
{
	struct admitted *a = arg;
	struct object *o = index_find(&a->m->index, KIND_ENDPOINT, name);
	for (uint32_t i = 0; i < a->b->n; i++)
		if (a->b->v[i].old == o)
			return;
	if (o == NULL)
		return;
	if (a->n == a->size) {
		a->size = a->size != 0 ? a->size * 2 : 16;
		a->v = realloc(a->v, a->size * sizeof(*a->v));
		if (a->v == NULL)
			abort();
	}
	a->v[a->n++] = o;
}

void
admitted_find(struct admitted *a, const struct config_txn *t)
{
	for (uint32_t i = 0; i < a->b->n; i++) {
		struct object *o = a->b->v[i].next;
		if (o != NULL && o->kind == KIND_ENDPOINT && o->in_config && o->spec->endpoint.admit_closed)
			o->admitted = config_admits(t, o->name);
	}
	config_admitted(t, add, a);
	for (uint32_t i = 0; i < a->n; i++)
		a->v[i]->admitted = true;
}

void
admitted_free(struct admitted *a, bool undo)
{
	for (uint32_t i = 0; i < a->n && undo; i++)
		a->v[i]->admitted = false;
	free(a->v);
}
