/* SPDX-License-Identifier: Apache-2.0 */
/* Around the pure decide(): session affinity, which only costs those services a second look that ask for it, and
 * counters. */
#include <weft/affinity.h>
#include <weft/service_count.h>

#include "decide_stage.h"

static uint32_t
seconds_of(const struct verdict *v)
{
	return v->through != NULL ? v->through->spec->session_affinity_seconds : 0;
}

static struct affinity_key
affinity_key_of(const struct tuple *t, const struct verdict *v)
{
	return (struct affinity_key){t->src, t->net_proto >> 8, v->through->id};
}

void
decide_sticky(const struct worker *w, const struct config *c, struct decide_key *key, struct verdict *v)
{
	decide(c, key, v);
	if (likely(seconds_of(v) == 0) || w->affinity == NULL)
		return;
	struct affinity_key who = affinity_key_of(&key->tuple, v);
	key->preferred = affinity_find(w->affinity, &who, w->now_ms);
	if (key->preferred != 0 && key->preferred != v->backend)
		decide(c, key, v);
}

static void
remember(struct worker *w, const struct tuple *t, const struct verdict *v)
{
	uint32_t seconds = seconds_of(v);
	if (likely(seconds == 0) || w->affinity == NULL)
		return;
	struct affinity_key who = affinity_key_of(t, v);
	affinity_note(w->affinity, &who, v->backend, w->now_ms, seconds);
}

static bool
refused_by_service(const struct verdict *v)
{
	return v->action != VERDICT_FORWARD &&
	       (v->drop == DROP_SERVICE_NO_BACKEND || v->drop == DROP_SERVICE_NO_LOCAL_BACKEND ||
		v->drop == DROP_SERVICE_SOURCE_RANGE);
}

void
service_note_ahead(const struct worker *w, const struct verdict *v)
{
	if (v->through == NULL)
		return;
	id_counts_prefetch(&service_counts, w->id, v->through->count);
	if (v->chosen != NULL)
		id_counts_prefetch(&service_counts, w->id, v->chosen->count);
}

void
service_note(struct worker *w, const struct tuple *t, const struct verdict *v)
{
	if (v->through == NULL)
		return;
	if (v->action == VERDICT_FORWARD) {
		service_count_add(w->id, v->through->count, false);
		if (v->chosen != NULL)
			service_count_add(w->id, v->chosen->count, false);
		remember(w, t, v);
	} else if (refused_by_service(v)) {
		service_count_add(w->id, v->through->count, true);
	}
}
