/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "policy_impl.h"

/* Ranks are spaced so that 40 rules fit one after the other into the same gap; then the policy is numbered anew. */
#define RANK_FIRST (UINT64_C(1) << 62)
#define RANK_STEP (UINT64_C(1) << 40)

/* Above the first a policy gets groups of its own, down to the second it is merged with others again. Tests narrow
 * them. */
struct {
	uint64_t solo, merge;
} policy_entries = {8192, 4096};

const struct pmap_type policy_by_name = {offsetof(struct policy, name), NAME_SIZE};
const struct pmap_type policy_by_id = {offsetof(struct policy, id), sizeof(uint32_t)};
const struct pmap_type isolation_by_id = {offsetof(struct isolation, id), sizeof(uint32_t)};

const struct policy *
policy_find(const struct policy_tables *p, uint32_t id)
{
	const struct policy_more *m = p->more;
	return m != NULL ? pmap_find(&m->policy, &policy_by_id, &id) : NULL;
}

const struct policy *
policy_find_name(const struct policy_tables *p, const char *name)
{
	char key[NAME_SIZE];
	name_key(key, name);
	return pmap_find(&p->by_name, &policy_by_name, key);
}

static void
put(struct policy_tables *p, struct txn *t, const struct policy *pol)
{
	pmap_put(&p->by_name, &policy_by_name, t, pol);
	pmap_put(&policy_more(p, t)->policy, &policy_by_id, t, pol);
}

struct policy *
policy_own(struct policy_tables *p, struct txn *t, uint32_t id)
{
	const struct policy *pol = policy_find(p, id);
	if (txn_owns(t, pol))
		return (struct policy *)(uintptr_t)pol;
	struct policy *out = txn_alloc(t, sizeof(*out));
	*out = *pol;
	put(p, t, out);
	discard(t, pol);
	return out;
}

static const struct rule *
rule_at(const struct sequence *rules, uint32_t i)
{
	return *(const struct rule *const *)sequence_at(rules, sizeof(void *), i);
}

static const struct rule **
flatten(const struct sequence *rules)
{
	const struct rule **out = malloc((rules->count + 1) * sizeof(*out));
	if (out == NULL)
		abort();
	sequence_flatten(rules, sizeof(*out), out);
	return out;
}

/* All rules of a direction get another head, or ranks with new gaps. First all leave, as entries are in the old order.
 */
static void
restate(struct policy_tables *p, struct txn *t, struct policy *pol, uint8_t dir, const struct policy_head *head,
	bool renumber)
{
	uint32_t n = pol->rules[dir].count;
	const struct rule **rules = flatten(&pol->rules[dir]);
	const struct id_set *groups = pol->groups[dir];
	for (uint32_t g = 0; g < id_set_count(groups); g++) {
		for (uint32_t i = 0; i < n; i++)
			group_remove_rule(p, t, groups->v[g], rules[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		uint64_t rank = renumber ? RANK_FIRST + i * RANK_STEP : rules[i]->rank;
		rules[i] = rule_move(p, t, rules[i], head, rank);
		sequence_replace(&pol->rules[dir], sizeof(void *), t, i, &rules[i]);
	}
	for (uint32_t g = 0; g < id_set_count(groups); g++) {
		for (uint32_t i = 0; i < n; i++)
			group_put_rule(p, t, groups->v[g], rules[i]);
	}
	free(rules);
}

/* A rank for the first of `run` rules that come before the one at index i; 0 when there is no room. */
static uint64_t
rank_between(const struct sequence *rules, uint32_t i, uint32_t run)
{
	bool has_left = i > 0, has_right = i < rules->count;
	uint64_t left = has_left ? rule_at(rules, i - 1)->rank : 0;
	uint64_t right = has_right ? rule_at(rules, i)->rank : 0;
	if (!has_left && !has_right)
		return RANK_FIRST;
	if (!has_right)
		return left <= UINT64_MAX - RANK_STEP ? left + RANK_STEP : 0;
	if (!has_left)
		return right / RANK_STEP > run ? right - run * RANK_STEP : 0;
	uint64_t gap = (right - left) / ((uint64_t)run + 1);
	return gap != 0 ? left + gap : 0;
}

static void
insert_rule(struct policy_tables *p, struct txn *t, struct policy *pol, uint8_t dir, uint32_t i, uint32_t run,
	    uint32_t id, const struct spec_rule *spec)
{
	uint64_t rank = rank_between(&pol->rules[dir], i, run);
	if (rank == 0) {
		restate(p, t, pol, dir, pol->head, true);
		rank = rank_between(&pol->rules[dir], i, run);
	}
	const struct rule *r = rule_new(p, t, pol->head, dir, rank, id, spec);
	sequence_insert(&pol->rules[dir], sizeof(r), t, i, &r);
	pol->n_entries[dir] += rule_entries(r);
	for (uint32_t g = 0; g < id_set_count(pol->groups[dir]); g++)
		group_put_rule(p, t, pol->groups[dir]->v[g], r);
}

static void
remove_rule(struct policy_tables *p, struct txn *t, struct policy *pol, uint8_t dir, uint32_t i, bool keep_id)
{
	const struct rule *r = rule_at(&pol->rules[dir], i);
	for (uint32_t g = 0; g < id_set_count(pol->groups[dir]); g++)
		group_remove_rule(p, t, pol->groups[dir]->v[g], r);
	pol->n_entries[dir] -= rule_entries(r);
	sequence_remove(&pol->rules[dir], sizeof(r), t, i);
	rule_free(p, t, r, keep_id);
}

/* Make the rules those of the spec; what is the same stays untouched. True when that changed something. */
static bool
put_rules(struct policy_tables *p, struct txn *t, struct policy *pol, uint8_t dir, const struct spec_rule *specs,
	  uint32_t n)
{
	uint32_t n_old = pol->rules[dir].count, stayed = 0;
	const struct rule **old = flatten(&pol->rules[dir]);
	struct rule_match *m = calloc((size_t)n + 1, sizeof(*m));
	enum { GOES, MOVES, STAYS } *fate = calloc((size_t)n_old + 1, sizeof(*fate));
	uint32_t *ids = calloc((size_t)n + 1, sizeof(*ids));
	if (m == NULL || fate == NULL || ids == NULL)
		abort();
	rules_match(old, n_old, specs, n, m);
	for (uint32_t j = 0; j < n; j++) {
		if (m[j].old == RULE_NOT_THERE)
			continue;
		fate[m[j].old] = m[j].stays ? STAYS : MOVES;
		ids[j] = old[m[j].old]->id;
		stayed += m[j].stays;
	}
	for (uint32_t i = n_old; i-- > 0;) {
		if (fate[i] != STAYS)
			remove_rule(p, t, pol, dir, i, fate[i] == MOVES);
	}
	for (uint32_t j = 0, run = 0; j < n; j++, run -= run != 0) {
		if (m[j].stays)
			continue;
		while (run == 0 || (j + run < n && !m[j + run].stays))
			run++;
		insert_rule(p, t, pol, dir, j, run, ids[j], &specs[j]);
	}
	free(old);
	free(m);
	free(fate);
	free(ids);
	return stayed != n || stayed != n_old;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const struct name_list *
name_list(struct txn *t, const struct string_list *from)
{
	size_t chars = 0;
	for (uint32_t i = 0; i < from->n; i++)
		chars += strlen(from->v[i]) + 1;
	struct name_list *out = txn_alloc(t, sizeof(*out) + from->n * sizeof(out->v[0]) + chars);
	char *at = (char *)&out->v[from->n];
	for (uint32_t i = 0; i < from->n; i++) {
		out->v[i] = strcpy(at, from->v[i]);
		at += strlen(at) + 1;
	}
	qsort(out->v, from->n, sizeof(out->v[0]), compare_names);
	for (uint32_t i = 0; i < from->n; i++) {
		if (out->n == 0 || strcmp(out->v[out->n - 1], out->v[i]) != 0)
			out->v[out->n++] = out->v[i];
	}
	return out;
}

static const struct policy_head *
head_new(struct txn *t, const struct spec_policy *spec, uint32_t id, uint32_t network)
{
	struct policy_head *h = txn_alloc(t, sizeof(*h));
	h->id = id;
	h->network = network;
	h->priority = spec->priority;
	h->tier = (uint8_t)spec->tier;
	h->enforce = spec->enforce;
	h->connection_semantics = spec->connection_semantics;
	h->log = spec->log;
	name_key(h->name, spec->name);
	return h;
}

/* Another tier, priority or flag; false when nothing differs. */
static bool
put_head(struct policy_tables *p, struct txn *t, struct policy *pol, const struct policy_head *head)
{
	const struct policy_head *old = pol->head;
	if (memcmp(old, head, sizeof(*head)) == 0) {
		discard(t, head);
		return false;
	}
	pol->head = head;
	for (uint8_t dir = 0; dir < 2; dir++) {
		restate(p, t, pol, dir, head, false);
		for (uint32_t g = 0; g < id_set_count(pol->groups[dir]); g++)
			group_recount(p, t, pol->groups[dir]->v[g], old, head);
	}
	discard(t, old);
	return true;
}

/* What is in `a` and not in `b`. */
static struct slots
slots_less(const struct slots *a, const struct slots *b)
{
	struct slots out = {malloc((a->n + 1) * sizeof(*out.v)), 0};
	if (out.v == NULL)
		abort();
	for (uint32_t i = 0, j = 0; i < a->n; i++) {
		while (j < b->n && b->v[j] < a->v[i])
			j++;
		if (j == b->n || b->v[j] != a->v[i])
			out.v[out.n++] = a->v[i];
	}
	return out;
}

static void
bump_all(const struct slots *s, policy_bump *bump, void *arg)
{
	for (uint32_t i = 0; i < s->n; i++)
		bump(arg, s->v[i]);
}

/* `in`: the slots that have joined already. */
static void
settle_solo(struct policy_tables *p, struct txn *t, struct policy *pol, const struct slots in[2])
{
	uint64_t n = pol->n_entries[0] > pol->n_entries[1] ? pol->n_entries[0] : pol->n_entries[1];
	bool solo = n > (pol->solo ? policy_entries.merge : policy_entries.solo);
	if (solo == pol->solo)
		return;
	for (uint8_t dir = 0; dir < 2; dir++)
		select_leave(p, t, pol->id, dir, &in[dir]);
	pol->solo = solo;
	for (uint8_t dir = 0; dir < 2; dir++)
		select_join(p, t, pol->id, dir, &in[dir]);
}

static struct policy *
policy_new(struct policy_tables *p, struct txn *t, const struct spec_policy *spec, uint32_t network)
{
	struct policy *pol = txn_alloc(t, sizeof(*pol));
	name_key(pol->name, spec->name);
	pol->id = id_take(&policy_more(p, t)->policies, t, 0);
	pol->head = head_new(t, spec, pol->id, network);
	pol->has_endpoints = true;
	pol->endpoints = name_list(t, &(struct string_list){0});
	for (uint8_t dir = 0; dir < 2; dir++) {
		struct isolation *i = txn_alloc(t, sizeof(*i));
		*i = (struct isolation){rule_id_take(p, t), pol->id, dir};
		pol->isolation[dir] = i->id;
		pmap_put(&policy_more(p, t)->isolation, &isolation_by_id, t, i);
	}
	put(p, t, pol);
	return pol;
}

static void
put_selection(struct policy_tables *p, struct txn *t, struct policy *pol, const struct spec_policy *spec)
{
	select_unlist(p, t, pol);
	discard(t, pol->endpoints);
	pol->has_endpoints = spec->has_endpoints;
	pol->endpoints = name_list(t, &spec->endpoints);
	pol->speaks[POLICY_INGRESS] = spec->ingress_type;
	pol->speaks[POLICY_EGRESS] = spec->egress_type;
	select_list(p, t, pol);
}

int
policy_put(struct policy_tables *p, struct txn *t, uint32_t network, const struct spec_policy *spec, policy_bump *bump,
	   void *arg, struct error *e)
{
	int rc = policy_check(spec, e);
	if (rc != 0)
		return rc;
	const struct policy *old = policy_find_name(p, spec->name);
	if (old != NULL && old->head->network != network)
		policy_remove(p, t, spec->name, bump, arg);
	old = policy_find_name(p, spec->name);
	struct policy *pol = old != NULL ? policy_own(p, t, old->id) : policy_new(p, t, spec, network);
	struct slots before[2], after[2], left[2], came[2], stayed[2];
	for (uint8_t dir = 0; dir < 2; dir++)
		before[dir] = policy_slots(p, pol, dir);
	put_selection(p, t, pol, spec);
	for (uint8_t dir = 0; dir < 2; dir++) {
		after[dir] = policy_slots(p, pol, dir);
		left[dir] = slots_less(&before[dir], &after[dir]);
		came[dir] = slots_less(&after[dir], &before[dir]);
		stayed[dir] = slots_less(&after[dir], &came[dir]);
		select_leave(p, t, pol->id, dir, &left[dir]);
	}
	bool restated = put_head(p, t, pol, head_new(t, spec, pol->id, network));
	bool changed[2] = {
		put_rules(p, t, pol, POLICY_INGRESS, spec->ingress, spec->n_ingress) || restated,
		put_rules(p, t, pol, POLICY_EGRESS, spec->egress, spec->n_egress) || restated,
	};
	settle_solo(p, t, pol, stayed);
	for (uint8_t dir = 0; dir < 2; dir++) {
		select_join(p, t, pol->id, dir, &came[dir]);
		bump_all(&left[dir], bump, arg);
		bump_all(changed[dir] ? &after[dir] : &came[dir], bump, arg);
		free(before[dir].v);
		free(after[dir].v);
		free(left[dir].v);
		free(came[dir].v);
		free(stayed[dir].v);
	}
	return 0;
}

int
policy_remove(struct policy_tables *p, struct txn *t, const char *name, policy_bump *bump, void *arg)
{
	const struct policy *old = policy_find_name(p, name);
	if (old == NULL)
		return -ENOENT;
	struct policy *pol = policy_own(p, t, old->id);
	for (uint8_t dir = 0; dir < 2; dir++) {
		struct slots s = policy_slots(p, pol, dir);
		select_leave(p, t, pol->id, dir, &s);
		bump_all(&s, bump, arg);
		free(s.v);
		while (pol->rules[dir].count != 0)
			remove_rule(p, t, pol, dir, pol->rules[dir].count - 1, false);
		discard(t, pmap_remove(&policy_more(p, t)->isolation, &isolation_by_id, t, &pol->isolation[dir]));
		id_give(&policy_more(p, t)->rules, t, pol->isolation[dir]);
	}
	select_unlist(p, t, pol);
	pmap_remove(&p->by_name, &policy_by_name, t, pol->name);
	pmap_remove(&policy_more(p, t)->policy, &policy_by_id, t, &pol->id);
	id_give(&policy_more(p, t)->policies, t, pol->id);
	discard(t, pol->endpoints);
	discard(t, pol->head);
	txn_discard(t, pol);
	return 0;
}

static int
check_edit(const struct policy *pol, const struct policy_edit *edit, struct error *e)
{
	uint32_t n = pol->rules[edit->direction].count;
	const char *direction = edit->direction == POLICY_INGRESS ? "ingress" : "egress";
	if (edit->rule == NULL && edit->at >= n)
		return error_at(e, -ENOENT, direction, "there is no rule %u, the policy has %u", edit->at, n);
	if (edit->rule != NULL && edit->at > n)
		return error_at(e, -EINVAL, direction, "a rule cannot become number %u of %u", edit->at, n);
	if (edit->rule != NULL && n >= POLICY_RULES_MAX)
		return error_at(e, -E2BIG, direction, "has %u rules, more are not allowed", n);
	return edit->rule != NULL ? rule_check(edit->rule, pol->head->tier, edit->direction, edit->at, e) : 0;
}

int
policy_patch(struct policy_tables *p, struct txn *t, const char *name, const struct policy_edit *edits, uint32_t n,
	     policy_bump *bump, void *arg, struct error *e)
{
	const struct policy *old = policy_find_name(p, name);
	if (old == NULL)
		return error_set(e, -ENOENT, "there is no policy \"%s\"", name);
	struct policy *pol = policy_own(p, t, old->id);
	bool changed[2] = {false, false};
	for (uint32_t i = 0; i < n; i++) {
		uint8_t dir = (uint8_t)edits[i].direction;
		int rc = check_edit(pol, &edits[i], e);
		if (rc != 0)
			return rc;
		if (edits[i].rule != NULL)
			insert_rule(p, t, pol, dir, edits[i].at, 1, 0, edits[i].rule);
		else
			remove_rule(p, t, pol, dir, edits[i].at, false);
		changed[dir] = true;
	}
	struct slots s[2] = {policy_slots(p, pol, POLICY_INGRESS), policy_slots(p, pol, POLICY_EGRESS)};
	settle_solo(p, t, pol, s);
	for (uint8_t dir = 0; dir < 2; dir++) {
		if (changed[dir])
			bump_all(&s[dir], bump, arg);
		free(s[dir].v);
	}
	return 0;
}
