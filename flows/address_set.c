/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "policy_impl.h"

const struct pmap_type set_by_name_type = {offsetof(struct address_set, name), NAME_SIZE};

static const struct address_set *
find(const struct policy_tables *p, const char *name)
{
	char key[NAME_SIZE];
	name_key(key, name);
	return pmap_find(&p->set_by_name, &set_by_name_type, key);
}

/* The set, made when there is none: a policy may refer to one that is still to come. */
struct address_set *
address_set_own(struct policy_tables *p, struct txn *t, const char *name)
{
	const struct address_set *s = find(p, name);
	if (s != NULL && txn_owns(t, s))
		return (struct address_set *)(uintptr_t)s;
	struct address_set *out = txn_alloc(t, sizeof(*out));
	if (s != NULL)
		*out = *s;
	else
		name_key(out->name, name);
	pmap_put(&p->set_by_name, &set_by_name_type, t, out);
	discard(t, s);
	return out;
}

/* Forget a set that is neither defined nor referred to. */
void
address_set_forget(struct policy_tables *p, struct txn *t, const char *name)
{
	const struct address_set *s = find(p, name);
	if (s->defined || atom_in_use(p, s->atom))
		return;
	char key[NAME_SIZE];
	name_key(key, name);
	pmap_remove(&p->set_by_name, &set_by_name_type, t, key);
	atom_free(p, t, s->atom);
	discard(t, s);
}

struct user {
	const struct policy_tables *p;
	uint32_t atom;
	policy_bump *bump;
	void *arg;
	const char *name;
};

static int
group_uses(const void *value, void *arg)
{
	const struct group *g = value;
	const struct user *u = arg;
	return pmap_find(&g->atoms, &bundle_by_atom, &u->atom) != NULL;
}

static int
bump_user(const void *value, void *arg)
{
	const struct policy_endpoint *e = value;
	const struct user *u = arg;
	bool uses = false;
	for (int dir = 0; dir < 2 && !uses; dir++) {
		const struct selection *s = &e->in[dir];
		uses = s->merged != 0 && group_uses(group_find(u->p, s->merged), arg);
		for (uint32_t i = 0; i < id_set_count(s->solo) && !uses; i++)
			uses = group_uses(group_find(u->p, s->solo->v[i]), arg);
	}
	if (uses)
		u->bump(u->arg, e->slot);
	return 0;
}

static void
bump_users(const struct policy_tables *p, uint32_t atom, policy_bump *bump, void *arg)
{
	struct user u = {.p = p, .atom = atom, .bump = bump, .arg = arg};
	if (pmap_walk(&p->group, group_uses, &u) != 0)
		pmap_walk(&p->endpoint, bump_user, &u);
}

static bool
add_member(struct policy_tables *p, struct txn *t, struct address_set *s, const struct prefix *member)
{
	if (!atom_mark(p, t, s->network, member, AT(s->atom, 0, 0)))
		return false;
	uint32_t i = sequence_search(&s->members, sizeof(*member), prefix_compare, member);
	sequence_insert(&s->members, sizeof(*member), t, i, member);
	return true;
}

static bool
remove_member(struct policy_tables *p, struct txn *t, struct address_set *s, const struct prefix *member)
{
	if (!atom_unmark(p, t, s->network, member, AT(s->atom, 0, 0)))
		return false;
	uint32_t i = sequence_search(&s->members, sizeof(*member), prefix_compare, member);
	sequence_remove(&s->members, sizeof(*member), t, i);
	return true;
}

/* Make the members those of `v` (sorted, each once). True when that changed something. */
static bool
replace_members(struct policy_tables *p, struct txn *t, struct address_set *s, const struct prefix *v, uint32_t n)
{
	uint32_t n_old = s->members.count, i = 0, j = 0;
	struct prefix *old = NULL;
	bool changed = false;
	if (n_old != 0) {
		old = malloc(n_old * sizeof(*old));
		if (old == NULL)
			abort();
		sequence_flatten(&s->members, sizeof(*old), old);
	}
	while (i < n_old || j < n) {
		int c = i == n_old ? 1 : j == n ? -1 : prefix_compare(&old[i], &v[j]);
		if (c < 0)
			changed |= remove_member(p, t, s, &old[i++]);
		else if (c > 0)
			changed |= add_member(p, t, s, &v[j++]);
		else
			i++, j++;
	}
	free(old);
	return changed;
}

/* A member as it is kept: bits past the length are zero, and so is padding. */
static struct prefix
canonical(const struct prefix *member)
{
	return (struct prefix){.ip = ip_masked(&member->ip, member->len), .len = member->len};
}

int
address_set_put(struct policy_tables *p, struct txn *t, uint32_t network, const struct spec_address_set *spec,
		policy_bump *bump, void *arg, struct error *e)
{
	int rc = name_check(spec->name, e);
	if (rc != 0)
		return rc;
	struct address_set *s = address_set_own(p, t, spec->name);
	bool changed = false;
	s->defined = true;
	atom_of_set(p, t, s);
	if (s->network != network) {
		changed = replace_members(p, t, s, NULL, 0);
		s->network = network;
	}
	uint32_t n = spec->members.n;
	struct prefix *v = calloc(n != 0 ? n : 1, sizeof(*v));
	if (v == NULL)
		abort();
	for (uint32_t i = 0; i < n; i++)
		v[i] = canonical(&spec->members.v[i]);
	changed |= replace_members(p, t, s, v, prefix_sort(v, n));
	free(v);
	if (changed)
		bump_users(p, s->atom, bump, arg);
	return 0;
}

int
address_set_patch(struct policy_tables *p, struct txn *t, const char *name, const struct prefix_list *add,
		  const struct prefix_list *remove, policy_bump *bump, void *arg)
{
	const struct address_set *old = find(p, name);
	if (old == NULL || !old->defined)
		return -ENOENT;
	struct address_set *s = address_set_own(p, t, name);
	bool changed = false;
	for (uint32_t i = 0; remove != NULL && i < remove->n; i++) {
		struct prefix member = canonical(&remove->v[i]);
		changed |= remove_member(p, t, s, &member);
	}
	for (uint32_t i = 0; add != NULL && i < add->n; i++) {
		struct prefix member = canonical(&add->v[i]);
		changed |= add_member(p, t, s, &member);
	}
	if (changed)
		bump_users(p, s->atom, bump, arg);
	return 0;
}

int
address_set_remove(struct policy_tables *p, struct txn *t, const char *name, policy_bump *bump, void *arg)
{
	const struct address_set *old = find(p, name);
	if (old == NULL || !old->defined)
		return -ENOENT;
	struct address_set *s = address_set_own(p, t, name);
	if (replace_members(p, t, s, NULL, 0))
		bump_users(p, s->atom, bump, arg);
	s->defined = false;
	address_set_forget(p, t, name);
	return 0;
}

static int
policy_uses(const void *value, void *arg)
{
	const struct policy *pol = value;
	struct user *u = arg;
	for (int dir = 0; dir < 2; dir++) {
		for (uint32_t i = 0; i < pol->rules[dir].count; i++) {
			const struct rule *r = *(const struct rule *const *)sequence_at(&pol->rules[dir], sizeof(void *), i);
			for (uint32_t k = 0; k < r->n_atoms; k++) {
				if (r->atoms[k] != u->atom)
					continue;
				u->name = pol->name;
				return 1;
			}
		}
	}
	return 0;
}

const char *
address_set_user(const struct policy_tables *p, const char *name)
{
	const struct address_set *s = find(p, name);
	if (s == NULL || s->atom == 0 || !atom_in_use(p, s->atom))
		return NULL;
	struct user u = {.atom = s->atom};
	pmap_walk(&p->by_name, policy_uses, &u);
	return u.name;
}
