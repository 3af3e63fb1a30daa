/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_impl.h"

const struct pmap_type group_by_id = {offsetof(struct group, id), sizeof(uint32_t)};
static const struct pmap_type by_members = {offsetof(struct group_by_members, members), 2 * sizeof(uint64_t)};

const struct group *
group_find(const struct policy_tables *p, uint32_t id)
{
	return pmap_find(&p->group, &group_by_id, &id);
}

struct group *
group_own(struct policy_tables *p, struct txn *t, uint32_t id)
{
	const struct group *g = group_find(p, id);
	if (txn_owns(t, g))
		return (struct group *)(uintptr_t)g;
	struct group *out = txn_alloc(t, sizeof(*out));
	*out = *g;
	pmap_put(&p->group, &group_by_id, t, out);
	discard(t, g);
	return out;
}

/* A sum, so that it follows a policy that joins or leaves in one step. */
static void
hash_policy(uint64_t members[2], uint32_t policy, bool add)
{
	for (uint64_t half = 0; half < 2; half++) {
		uint64_t h = mix64_add(half + 1, policy);
		members[half] += add ? h : -h;
	}
}

static void
hash_policies(uint64_t members[2], uint8_t direction, const struct id_set *policies)
{
	members[0] = members[1] = direction;
	for (uint32_t i = 0; i < id_set_count(policies); i++)
		hash_policy(members, policies->v[i], true);
}

const struct group *
group_of(const struct policy_tables *p, uint8_t direction, const struct id_set *policies)
{
	const struct policy_more *m = p->more;
	uint64_t members[2];
	hash_policies(members, direction, policies);
	const struct group_by_members *found = m != NULL ? pmap_find(&m->group_by_members, &by_members, members) : NULL;
	const struct group *g = found != NULL ? group_find(p, found->id) : NULL;
	return g != NULL && g->direction == direction && id_set_equal(g->policies, policies) ? g : NULL;
}

static void
intern(struct policy_tables *p, struct txn *t, struct group *g)
{
	struct policy_more *m = policy_more(p, t);
	g->interned = pmap_find(&m->group_by_members, &by_members, g->members) == NULL;
	if (!g->interned)
		return;
	struct group_by_members *b = txn_alloc(t, sizeof(*b));
	memcpy(b->members, g->members, sizeof(b->members));
	b->id = g->id;
	pmap_put(&m->group_by_members, &by_members, t, b);
}

static void
unintern(struct policy_tables *p, struct txn *t, const struct group *g)
{
	if (g->interned)
		discard(t, pmap_remove(&policy_more(p, t)->group_by_members, &by_members, t, g->members));
}

static void
count_policy(struct group *g, const struct policy_head *h, uint32_t n)
{
	bool network = h->tier == TIER_NETWORK;
	g->n_network += network ? n : 0;
	g->n_dry += h->enforce ? 0 : n;
	if (network && h->enforce) {
		g->n_isolating += n;
		g->n_packet += h->connection_semantics ? 0 : n;
		g->n_log += h->log ? n : 0;
	}
	if (network)
		g->n_log_all += h->log ? n : 0;
}

static void
isolates(const struct policy_tables *p, struct group *g, uint32_t policy)
{
	const struct policy *pol = policy_find(p, policy);
	for (int all = 0; all < 2 && pol->head->tier == TIER_NETWORK; all++) {
		const struct policy *first = g->isolates[all] != 0 ? policy_find(p, g->isolates[all]) : NULL;
		if ((all || pol->head->enforce) && (first == NULL || strcmp(pol->name, first->name) < 0))
			g->isolates[all] = policy;
	}
}

/* One of its policies has changed or is gone. */
static void
isolates_again(const struct policy_tables *p, struct group *g)
{
	g->isolates[0] = g->isolates[1] = 0;
	for (uint32_t i = 0; i < id_set_count(g->policies); i++)
		isolates(p, g, g->policies->v[i]);
}

void
group_recount(struct policy_tables *p, struct txn *t, uint32_t id, const struct policy_head *old,
	      const struct policy_head *head)
{
	struct group *g = group_own(p, t, id);
	count_policy(g, old, UINT32_MAX);
	count_policy(g, head, 1);
	isolates_again(p, g);
}

static void
put_rules(struct policy_tables *p, struct txn *t, struct group *g, const struct policy *pol)
{
	const struct sequence *rules = &pol->rules[g->direction];
	for (uint32_t i = 0; i < rules->count; i++)
		group_entries_put(t, g, *(const struct rule *const *)sequence_at(rules, sizeof(void *), i));
	struct policy *own = policy_own(p, t, pol->id);
	own->groups[g->direction] = id_set_add(own->groups[g->direction], t, g->id);
	count_policy(g, own->head, 1);
	isolates(p, g, own->id);
}

uint32_t
group_use(struct policy_tables *p, struct txn *t, uint8_t direction, const struct id_set *policies, uint32_t uses)
{
	const struct group *old = group_of(p, direction, policies);
	if (old != NULL) {
		group_own(p, t, old->id)->uses += uses;
		return old->id;
	}
	struct group *g = txn_alloc(t, sizeof(*g));
	g->id = id_take(&policy_more(p, t)->groups, t, 0);
	g->direction = direction;
	g->uses = uses;
	g->policies = id_set_copy(policies, t);
	hash_policies(g->members, direction, policies);
	pmap_put(&p->group, &group_by_id, t, g);
	intern(p, t, g);
	for (uint32_t i = 0; i < id_set_count(policies); i++)
		put_rules(p, t, g, policy_find(p, policies->v[i]));
	return g->id;
}

void
group_release(struct policy_tables *p, struct txn *t, uint32_t id, uint32_t uses)
{
	struct group *g = group_own(p, t, id);
	g->uses -= uses;
	if (g->uses != 0)
		return;
	for (uint32_t i = 0; i < id_set_count(g->policies); i++) {
		struct policy *pol = policy_own(p, t, g->policies->v[i]);
		pol->groups[g->direction] = id_set_remove(pol->groups[g->direction], t, id);
	}
	unintern(p, t, g);
	group_entries_clear(t, g);
	id_set_clear(g->policies, t);
	pmap_remove(&p->group, &group_by_id, t, &id);
	txn_discard(t, g);
	id_give(&policy_more(p, t)->groups, t, id);
}

void
group_join(struct policy_tables *p, struct txn *t, uint32_t id, uint32_t policy)
{
	struct group *g = group_own(p, t, id);
	unintern(p, t, g);
	g->policies = id_set_add(g->policies, t, policy);
	hash_policy(g->members, policy, true);
	intern(p, t, g);
	put_rules(p, t, g, policy_find(p, policy));
}

void
group_leave(struct policy_tables *p, struct txn *t, uint32_t id, uint32_t policy)
{
	struct group *g = group_own(p, t, id);
	struct policy *pol = policy_own(p, t, policy);
	const struct sequence *rules = &pol->rules[g->direction];
	for (uint32_t i = 0; i < rules->count; i++)
		group_entries_remove(t, g, *(const struct rule *const *)sequence_at(rules, sizeof(void *), i));
	pol->groups[g->direction] = id_set_remove(pol->groups[g->direction], t, id);
	count_policy(g, pol->head, UINT32_MAX);
	unintern(p, t, g);
	g->policies = id_set_remove(g->policies, t, policy);
	hash_policy(g->members, policy, false);
	intern(p, t, g);
	if (g->isolates[0] == policy || g->isolates[1] == policy)
		isolates_again(p, g);
}

void
group_put_rule(struct policy_tables *p, struct txn *t, uint32_t id, const struct rule *r)
{
	group_entries_put(t, group_own(p, t, id), r);
}

void
group_remove_rule(struct policy_tables *p, struct txn *t, uint32_t id, const struct rule *r)
{
	group_entries_remove(t, group_own(p, t, id), r);
}
