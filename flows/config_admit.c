/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission: an Endpoint with "admit":"closed" is closed until a transaction covers it, one that brings a Policy that selects it or
 * the Endpoint itself with "admit":"open". From then on it is open, also when it is applied again as it was.
 */
#include <stdlib.h>

#include "config_impl.h"

/* What a policy of this transaction selects: an endpoint by name, or (name NULL) all of a network. */
struct cover {
	const char *name, *network;
};

static int
compare(const void *a, const void *b)
{
	const struct cover *x = a, *y = b;
	if (x->name == NULL || y->name == NULL)
		return (x->name != NULL) - (y->name != NULL);
	int c = strcmp(x->name, y->name);
	return c != 0 ? c : strcmp(x->network, y->network);
}

void
admission_cover(struct config_txn *t, const struct spec_policy *p)
{
	struct cover c = {.network = p->network};
	t->covered_sorted = false;
	if (!p->has_endpoints)
		vector_push(&t->covered, &c, sizeof(c));
	for (uint32_t i = 0; p->has_endpoints && i < p->endpoints.n; i++) {
		c.name = p->endpoints.v[i];
		vector_push(&t->covered, &c, sizeof(c));
	}
}

static bool
is_covered(struct config_txn *t, const char *name, const char *network)
{
	if (!t->covered_sorted && t->covered.n > 1)
		qsort(t->covered.v, t->covered.n, sizeof(struct cover), compare);
	t->covered_sorted = true;
	const struct cover *v = t->covered.v, key = {name, network};
	for (size_t i = 0; i < t->covered.n && v[i].name == NULL; i++)
		if (strcmp(v[i].network, network) == 0)
			return true;
	return t->covered.n != 0 && bsearch(&key, v, t->covered.n, sizeof(*v), compare) != NULL;
}

static int
touch_covered(const void *object, void *arg)
{
	const struct config_object *o = object;
	struct config_txn *t = arg;
	const struct endpoint *ep = o->compiled;
	if (ep != NULL && ep->closed && is_covered(t, o->name, o->spec->endpoint.network))
		object_touch(t, KIND_ENDPOINT, o->name);
	return 0;
}

void
admission_touch(struct config_txn *t)
{
	if (builder_of(t->base)->n_closed != 0 && t->covered.n != 0)
		pmap_walk(&t->base->objects[KIND_ENDPOINT], touch_covered, t);
}

/* The same pod, as far as one can see. */
static bool
is_same(const struct spec_endpoint *a, const struct spec_endpoint *b)
{
	bool same = strcmp(a->network, b->network) == 0 && mac_equal(&a->mac, &b->mac) && a->ips.n == b->ips.n &&
		    (a->port == NULL) == (b->port == NULL) && (a->port == NULL || strcmp(a->port, b->port) == 0);
	for (uint32_t i = 0; same && i < a->ips.n; i++)
		same = ip_equal(&a->ips.v[i], &b->ips.v[i]);
	return same;
}

bool
admission_closed(struct config_txn *t, const struct spec_endpoint *spec, const struct endpoint *base)
{
	if (!spec->admit_closed || spec->admitted)
		return false;
	if (base != NULL && !base->closed && base->spec->admit_closed && is_same(base->spec, spec))
		return false;
	return !is_covered(t, spec->name, spec->network);
}

bool
config_admits(const struct config_txn *t, const char *name)
{
	const struct config_object *o = object_find(t->c, KIND_ENDPOINT, name);
	const struct endpoint *ep = o != NULL ? o->compiled : NULL;
	return ep != NULL && !ep->closed;
}

void
config_admitted(const struct config_txn *t, void (*fn)(const char *name, void *arg), void *arg)
{
	for (const struct change *ch = t->changes[KIND_ENDPOINT]; ch != NULL; ch = ch->next) {
		const struct endpoint *was = ch->base != NULL ? ch->base->compiled : NULL;
		if (was != NULL && was->closed && ch->now != NULL && config_admits(t, ch->name))
			fn(ch->name, arg);
	}
}

uint32_t
config_closed(void)
{
	return builder_of(config_current())->n_closed;
}
