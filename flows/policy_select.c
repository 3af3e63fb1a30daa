/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "policy_impl.h"

const struct pmap_type endpoint_by_slot = {offsetof(struct policy_endpoint, slot), sizeof(uint32_t)};
const struct pmap_type endpoint_name_type = {offsetof(struct endpoint_name, name), NAME_SIZE};

static const struct endpoint_name *
name_find(const struct policy_tables *p, const char *name)
{
	char key[NAME_SIZE];
	name_key(key, name);
	return pmap_find(&p->endpoint_by_name, &endpoint_name_type, key);
}

static struct endpoint_name *
name_own(struct policy_tables *p, struct txn *t, const char *name)
{
	const struct endpoint_name *n = name_find(p, name);
	if (n != NULL && txn_owns(t, n))
		return (struct endpoint_name *)(uintptr_t)n;
	struct endpoint_name *out = txn_alloc(t, sizeof(*out));
	if (n != NULL)
		*out = *n;
	else
		name_key(out->name, name);
	pmap_put(&p->endpoint_by_name, &endpoint_name_type, t, out);
	discard(t, n);
	return out;
}

static void
name_forget(struct policy_tables *p, struct txn *t, struct endpoint_name *n)
{
	if (n->slot != 0 || n->policies != NULL)
		return;
	pmap_remove(&p->endpoint_by_name, &endpoint_name_type, t, n->name);
	txn_discard(t, n);
}

static const struct policy_endpoint *
endpoint_find(const struct policy_tables *p, uint32_t slot)
{
	return pmap_find(&p->endpoint, &endpoint_by_slot, &slot);
}

static struct policy_endpoint *
endpoint_own(struct policy_tables *p, struct txn *t, uint32_t slot)
{
	const struct policy_endpoint *e = endpoint_find(p, slot);
	if (txn_owns(t, e))
		return (struct policy_endpoint *)(uintptr_t)e;
	struct policy_endpoint *out = txn_alloc(t, sizeof(*out));
	*out = *e;
	pmap_put(&p->endpoint, &endpoint_by_slot, t, out);
	discard(t, e);
	return out;
}

struct collector {
	struct slots out;
	uint32_t network;
};

static int
collect(const void *value, void *arg)
{
	const struct policy_endpoint *e = value;
	struct collector *c = arg;
	if (e->network == c->network)
		c->out.v[c->out.n++] = e->slot;
	return 0;
}

static int
compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

struct slots
policy_slots(const struct policy_tables *p, const struct policy *pol, uint8_t direction)
{
	struct collector c = {.network = pol->head->network};
	if (!pol->speaks[direction])
		return c.out;
	uint32_t room = pol->has_endpoints ? pol->endpoints->n : p->endpoint.count;
	c.out.v = malloc((room + 1) * sizeof(*c.out.v));
	if (c.out.v == NULL)
		abort();
	if (!pol->has_endpoints)
		pmap_walk(&p->endpoint, collect, &c);
	for (uint32_t i = 0; pol->has_endpoints && i < room; i++) {
		const struct endpoint_name *n = name_find(p, pol->endpoints->v[i]);
		if (n != NULL && n->slot != 0)
			collect(endpoint_find(p, n->slot), &c);
	}
	qsort(c.out.v, c.out.n, sizeof(*c.out.v), compare_u32);
	return c.out;
}

struct move {
	uint32_t group, slot;
};

static int
compare_moves(const void *a, const void *b)
{
	const struct move *x = a, *y = b;
	return x->group != y->group ? (x->group < y->group ? -1 : 1) : compare_u32(&x->slot, &y->slot);
}

static void
set_merged(struct policy_tables *p, struct txn *t, uint8_t direction, const struct move *m, uint32_t n, uint32_t group)
{
	for (uint32_t i = 0; i < n; i++)
		endpoint_own(p, t, m[i].slot)->in[direction].merged = group;
}

/* Endpoints that share a group get a policy more or less. Are they all that the group has, it changes instead of them.
 */
static void
regroup(struct policy_tables *p, struct txn *t, uint8_t direction, const struct move *m, uint32_t n, uint32_t policy,
	bool join)
{
	uint32_t from = m[0].group;
	const struct group *g = from != 0 ? group_find(p, from) : NULL;
	const struct id_set *to = id_set_copy(g != NULL ? g->policies : NULL, t);
	to = join ? id_set_add(to, t, policy) : id_set_remove(to, t, policy);
	if (to == NULL) {
		set_merged(p, t, direction, m, n, 0);
		group_release(p, t, from, n);
	} else if (g != NULL && g->uses == n && group_of(p, direction, to) == NULL) {
		if (join)
			group_join(p, t, from, policy);
		else
			group_leave(p, t, from, policy);
	} else {
		set_merged(p, t, direction, m, n, group_use(p, t, direction, to, n));
		if (from != 0)
			group_release(p, t, from, n);
	}
	id_set_clear(to, t);
}

static void
select_merged(struct policy_tables *p, struct txn *t, uint32_t policy, uint8_t direction, const struct slots *s,
	      bool join)
{
	struct move *m = malloc((s->n + 1) * sizeof(*m));
	if (m == NULL)
		abort();
	for (uint32_t i = 0; i < s->n; i++)
		m[i] = (struct move){endpoint_find(p, s->v[i])->in[direction].merged, s->v[i]};
	qsort(m, s->n, sizeof(*m), compare_moves);
	for (uint32_t i = 0, n; i < s->n; i += n) {
		for (n = 1; i + n < s->n && m[i + n].group == m[i].group; n++)
			;
		regroup(p, t, direction, &m[i], n, policy, join);
	}
	free(m);
}

static void
select_solo(struct policy_tables *p, struct txn *t, uint32_t policy, uint8_t direction, const struct slots *s,
	    bool join)
{
	const struct id_set *only = id_set_add(NULL, t, policy);
	uint32_t group = join ? group_use(p, t, direction, only, s->n) : group_of(p, direction, only)->id;
	id_set_clear(only, t);
	for (uint32_t i = 0; i < s->n; i++) {
		struct selection *in = &endpoint_own(p, t, s->v[i])->in[direction];
		in->solo = join ? id_set_add(in->solo, t, group) : id_set_remove(in->solo, t, group);
	}
	if (!join)
		group_release(p, t, group, s->n);
}

static void
select_any(struct policy_tables *p, struct txn *t, uint32_t policy, uint8_t direction, const struct slots *s, bool join)
{
	if (s->n == 0)
		return;
	if (policy_find(p, policy)->solo)
		select_solo(p, t, policy, direction, s, join);
	else
		select_merged(p, t, policy, direction, s, join);
}

void
select_join(struct policy_tables *p, struct txn *t, uint32_t policy, uint8_t direction, const struct slots *s)
{
	select_any(p, t, policy, direction, s, true);
}

void
select_leave(struct policy_tables *p, struct txn *t, uint32_t policy, uint8_t direction, const struct slots *s)
{
	select_any(p, t, policy, direction, s, false);
}

static void
network_list(struct policy_tables *p, struct txn *t, const struct policy *pol, bool add)
{
	struct policy_network *n = policy_network_own(p, t, pol->head->network);
	n->policies = add ? id_set_add(n->policies, t, pol->id) : id_set_remove(n->policies, t, pol->id);
	policy_network_forget(p, t, pol->head->network);
}

void
select_list(struct policy_tables *p, struct txn *t, const struct policy *pol)
{
	if (!pol->has_endpoints)
		network_list(p, t, pol, true);
	for (uint32_t i = 0; pol->has_endpoints && i < pol->endpoints->n; i++) {
		struct endpoint_name *n = name_own(p, t, pol->endpoints->v[i]);
		n->policies = id_set_add(n->policies, t, pol->id);
	}
}

void
select_unlist(struct policy_tables *p, struct txn *t, const struct policy *pol)
{
	if (!pol->has_endpoints)
		network_list(p, t, pol, false);
	for (uint32_t i = 0; pol->has_endpoints && i < pol->endpoints->n; i++) {
		struct endpoint_name *n = name_own(p, t, pol->endpoints->v[i]);
		n->policies = id_set_remove(n->policies, t, pol->id);
		name_forget(p, t, n);
	}
}

/* Which policies a new endpoint has in a direction: the merged ones, the others at once. */
static const struct id_set *
gather(struct policy_tables *p, struct txn *t, struct policy_endpoint *e, uint8_t direction, const struct id_set *from,
       const struct id_set *merged)
{
	for (uint32_t i = 0; i < id_set_count(from); i++) {
		const struct policy *pol = policy_find(p, from->v[i]);
		if (!pol->speaks[direction] || pol->head->network != e->network)
			continue;
		if (!pol->solo) {
			merged = id_set_add(merged, t, pol->id);
			continue;
		}
		const struct id_set *only = id_set_add(NULL, t, pol->id);
		e->in[direction].solo = id_set_add(e->in[direction].solo, t, group_use(p, t, direction, only, 1));
		id_set_clear(only, t);
	}
	return merged;
}

static void
endpoint_enter(struct policy_tables *p, struct txn *t, struct policy_endpoint *e)
{
	const struct endpoint_name *name = name_find(p, e->name);
	const struct policy_network *all = policy_network_find(p, e->network);
	for (uint8_t dir = 0; dir < 2; dir++) {
		const struct id_set *merged = gather(p, t, e, dir, all != NULL ? all->policies : NULL, NULL);
		merged = gather(p, t, e, dir, name->policies, merged);
		if (merged != NULL)
			e->in[dir].merged = group_use(p, t, dir, merged, 1);
		id_set_clear(merged, t);
	}
}

int
policy_endpoint_put(struct policy_tables *p, struct txn *t, const char *name, uint32_t network, uint32_t slot,
		    policy_bump *bump, void *arg)
{
	int rc = name_check(name, NULL);
	if (rc != 0)
		return rc;
	const struct endpoint_name *old = name_find(p, name);
	if (old != NULL && old->slot == slot && endpoint_find(p, slot)->network == network)
		return 0;
	if (old != NULL && old->slot != 0)
		policy_endpoint_remove(p, t, name, bump, arg);
	if (slot == 0 || endpoint_find(p, slot) != NULL)
		return slot == 0 ? -EINVAL : -EEXIST;
	struct policy_endpoint *e = txn_alloc(t, sizeof(*e));
	e->slot = slot;
	e->network = network;
	name_key(e->name, name);
	pmap_put(&p->endpoint, &endpoint_by_slot, t, e);
	name_own(p, t, name)->slot = slot;
	endpoint_enter(p, t, e);
	bump(arg, slot);
	return 0;
}

void
policy_endpoint_remove(struct policy_tables *p, struct txn *t, const char *name, policy_bump *bump, void *arg)
{
	const struct endpoint_name *old = name_find(p, name);
	if (old == NULL || old->slot == 0)
		return;
	struct endpoint_name *n = name_own(p, t, name);
	const struct policy_endpoint *e = pmap_remove(&p->endpoint, &endpoint_by_slot, t, &n->slot);
	for (int dir = 0; dir < 2; dir++) {
		const struct selection *in = &e->in[dir];
		if (in->merged != 0)
			group_release(p, t, in->merged, 1);
		for (uint32_t i = 0; i < id_set_count(in->solo); i++)
			group_release(p, t, in->solo->v[i], 1);
		id_set_clear(in->solo, t);
	}
	bump(arg, n->slot);
	discard(t, e);
	n->slot = 0;
	name_forget(p, t, n);
}
