/* SPDX-License-Identifier: Apache-2.0 */
/* Session affinity around the pure decide(): only services that ask for it cost a second look. */
#include <weft/affinity.h>

#include "decide_stage.h"

static uint32_t
seconds_of(const struct verdict *v)
{
	return v->through != NULL ? v->through->spec->session_affinity_seconds : 0;
}

static struct affinity_key
affinity_key_of(const struct decide_key *key, const struct verdict *v)
{
	return (struct affinity_key){key->tuple.src, key->tuple.net_proto >> 8, v->through->id};
}

void
decide_sticky(const struct worker *w, const struct config *c, struct decide_key *key, struct verdict *v)
{
	decide(c, key, v);
	if (likely(seconds_of(v) == 0) || w->affinity == NULL)
		return;
	struct affinity_key who = affinity_key_of(key, v);
	key->preferred = affinity_find(w->affinity, &who, w->now_ms);
	if (key->preferred != 0 && key->preferred != v->backend)
		decide(c, key, v);
}

void
affinity_remember(struct worker *w, const struct decide_key *key, const struct verdict *v)
{
	uint32_t seconds = seconds_of(v);
	if (likely(seconds == 0) || w->affinity == NULL)
		return;
	struct affinity_key who = affinity_key_of(key, v);
	affinity_note(w->affinity, &who, v->backend, w->now_ms, seconds);
}
