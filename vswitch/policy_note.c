/* SPDX-License-Identifier: Apache-2.0 */
#include <rte_branch_prediction.h>

#include <weft/rule_count.h>

#include "policy_note.h"
#include "worker_private.h"

/* Of one worker: whoever sends what is logged does not fill a disk. */
#define EVENTS_PER_SECOND 100
#define EVENTS_AT_ONCE 256

/* Each is a change of the configuration: as many as an election makes, for each endpoint, and ten times that for all of
 * a worker's. */
#define CLAIM_MS 100u
#define CLAIMS_AT_ONCE 16u

static void
count(unsigned int worker, const struct policy_verdict *v)
{
	uint32_t said = v->rule | v->isolation, would = v->dry_run.rule | v->dry_run.isolation;
	rule_count_add(worker, said, false);
	if (unlikely(would != said))
		rule_count_add(worker, would, true);
	for (int tier = 0; tier < 2; tier++) {
		rule_count_add(worker, v->passed[tier], false);
		if (unlikely(v->dry_run.passed[tier] != v->passed[tier]))
			rule_count_add(worker, v->dry_run.passed[tier], true);
	}
}

static bool
may_tell(struct worker *w)
{
	uint32_t passed = w->now_ms - w->event_refill_ms;
	if (passed > 0) {
		uint64_t tokens = w->event_tokens + (uint64_t)passed * EVENTS_PER_SECOND;
		w->event_tokens = tokens < EVENTS_AT_ONCE * 1000 ? (uint32_t)tokens : EVENTS_AT_ONCE * 1000;
		w->event_refill_ms = w->now_ms;
	}
	if (w->event_tokens < 1000)
		return false;
	w->event_tokens -= 1000;
	return true;
}

static void
tell(struct worker *w, struct policy_event *e)
{
	if (!may_tell(w) || rte_ring_enqueue_elem(w->events, e, sizeof(*e)) != 0)
		w->count.events_lost++;
}

static void
tell_of(struct worker *w, const struct tuple *key, const struct verdict *v, unsigned int side, bool again)
{
	const struct judged *j = &v->judged[side];
	struct policy_event e = {
		.key = *key,
		.to = v->reply.src,
		.to_port = v->reply.sport,
		.at_ms = w->now_ms,
		.endpoint = j->endpoint,
		.direction = side == 0 ? POLICY_EGRESS : POLICY_INGRESS,
		.established = again,
	};
	if (j->verdict.log && (!again || !j->verdict.allow)) {
		e.rule = j->verdict.rule | j->verdict.isolation;
		e.allow = j->verdict.allow;
		tell(w, &e);
	}
	if (j->verdict.dry_run.log && j->verdict.dry_run.differs && !again) {
		e.rule = j->verdict.dry_run.rule | j->verdict.dry_run.isolation;
		e.allow = j->verdict.dry_run.allow;
		e.dry_run = true;
		tell(w, &e);
	}
}

/* One more of something that takes `each` ms, as much at once as fills `most` ms. */
static bool
has_time(uint32_t *until_ms, uint32_t now_ms, uint32_t each, uint32_t most)
{
	uint32_t ahead = *until_ms - now_ms;
	if (ahead > most)
		ahead = 0; /* it is past */
	if (ahead + each > most)
		return false;
	*until_ms = now_ms + ahead + each;
	return true;
}

void
note_claim(struct worker *w, const struct config *c, uint16_t in_port, const struct endpoint *ep, const struct ip *ip)
{
	const struct route *r = config_route(c, ep->network, ip);
	struct policy_event e = {.claim = true, .to = *ip, .at_ms = w->now_ms, .endpoint = ep->slot};
	if (r != NULL && r->key.len == 128 && r->slot == ep->slot)
		return;
	if (has_time(&w->meter[in_port].claimed_until_ms, w->now_ms, CLAIM_MS, CLAIM_MS * CLAIMS_AT_ONCE) &&
	    has_time(&w->claimed_until_ms, w->now_ms, CLAIM_MS / 10, CLAIM_MS * CLAIMS_AT_ONCE))
		rte_ring_enqueue_elem(w->events, &e, sizeof(e));
}

void
policy_note(struct worker *w, const struct tuple *key, const struct verdict *v)
{
	for (unsigned int side = 0; side < 2; side++) {
		const struct judged *j = &v->judged[side];
		if (!j->asked)
			continue;
		count(w->id, &j->verdict);
		if (unlikely(j->verdict.log || j->verdict.dry_run.log))
			tell_of(w, key, v, side, false);
	}
}

void
policy_note_again(struct worker *w, const struct tuple *key, const struct verdict *v)
{
	for (unsigned int side = 0; side < 2; side++)
		if (v->judged[side].asked && v->judged[side].verdict.log)
			tell_of(w, key, v, side, true);
}
