/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_impl.h"

static int
first(const void *value, void *arg)
{
	*(const void **)arg = value;
	return 1;
}

static const void *
any_of(const struct pmap *m)
{
	const void *value = NULL;
	pmap_walk(m, first, &value);
	return value;
}

static void
no_bump(void *arg, uint32_t slot)
{
}

void
policy_clear(struct policy_tables *p, struct txn *t)
{
	char name[NAME_SIZE];
	const struct policy_endpoint *e;
	const struct policy *pol;
	const struct address_set *s;
	while ((e = any_of(&p->endpoint)) != NULL) {
		memcpy(name, e->name, sizeof(name));
		policy_endpoint_remove(p, t, name, no_bump, NULL);
	}
	while ((pol = any_of(&p->by_name)) != NULL) {
		memcpy(name, pol->name, sizeof(name));
		policy_remove(p, t, name, no_bump, NULL);
	}
	while ((s = any_of(&p->set_by_name)) != NULL) {
		memcpy(name, s->name, sizeof(name));
		address_set_remove(p, t, name, no_bump, NULL);
	}
	struct policy_more *m = p->more;
	if (m != NULL) {
		struct id_source *ids[] = {&m->rules, &m->atoms, &m->policies, &m->groups, &m->names};
		for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
			sequence_clear(&ids[i]->free, t);
		discard(t, m);
	}
	*p = (struct policy_tables){0};
}
