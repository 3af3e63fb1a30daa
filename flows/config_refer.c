/* SPDX-License-Identifier: Apache-2.0 */
/* Who refers to whom: a missing Network is an error, and what is in use does not go. */
#include "config_impl.h"

#define UNDERLAY "underlay"

uint32_t
refer_network(const struct config_txn *t, const char *name, struct error *e)
{
	if (name == NULL) {
		error_at(e, -EINVAL, "network", "is needed");
		return NETWORK_NONE;
	}
	if (strcmp(name, UNDERLAY) == 0)
		return NETWORK_UNDERLAY;
	const struct config_object *o = object_find(t->c, KIND_NETWORK, name);
	if (o == NULL) {
		error_at(e, -ENOENT, "network", "no network \"%s\"", name);
		return NETWORK_NONE;
	}
	return ((const struct network *)o->compiled)->id;
}

uint32_t
refer_overlay(const struct config_txn *t, const char *name, struct error *e)
{
	uint32_t id = refer_network(t, name, e);
	if (id == NETWORK_UNDERLAY) {
		error_at(e, -EINVAL, "network",
			 "\"" UNDERLAY "\" is the network of the uplinks, name an overlay network");
		return NETWORK_NONE;
	}
	return id;
}

static const char *
network_of(enum kind kind, const union spec *spec)
{
	switch (kind) {
	case KIND_ENDPOINT:
		return spec->endpoint.network;
	case KIND_REMOTE:
		return spec->remote.network;
	case KIND_SERVICE:
		return spec->service.network;
	case KIND_ADDRESS_SET:
		return spec->address_set.network;
	case KIND_POLICY:
		return spec->policy.network;
	default:
		return NULL;
	}
}

struct search {
	enum kind kind;
	const char *name;
	const char *user; /* what was found */
};

static int
uses_network(const void *object, void *arg)
{
	const struct config_object *o = object;
	struct search *s = arg;
	const char *network = network_of(s->kind, o->spec);
	if (network == NULL || strcmp(network, s->name) != 0)
		return 0;
	s->user = o->name;
	return 1;
}

static int
in_use(struct config_txn *t, enum kind kind, const char *name, const struct search *by, struct error *e)
{
	return blame(t, kind, name,
		     error_set(e, -EBUSY, "%s \"%s\" is used by %s \"%s\"", kind_names[kind], name,
			       kind_names[by->kind], by->user));
}

static int
check_network_gone(struct config_txn *t, const char *name, struct error *e)
{
	for (struct search s = {.kind = KIND_ENDPOINT, .name = name}; s.kind < KIND_COUNT; s.kind++) {
		if (pmap_walk(&t->c->objects[s.kind], uses_network, &s) != 0)
			return in_use(t, KIND_NETWORK, name, &s, e);
	}
	return 0;
}

static int
uses_uplink(const void *object, void *arg)
{
	const struct config_object *o = object;
	struct search *s = arg;
	const struct string_list *uplinks = &o->spec->network.uplinks;
	for (uint32_t i = 0; s->kind == KIND_NETWORK && i < uplinks->n && s->user == NULL; i++)
		s->user = strcmp(uplinks->v[i], s->name) == 0 ? o->name : NULL;
	for (uint32_t i = 0; s->kind == KIND_ROUTE && i < o->spec->route.n_next_hops && s->user == NULL; i++) {
		const char *port = o->spec->route.next_hops[i].port;
		s->user = port != NULL && strcmp(port, s->name) == 0 ? o->name : NULL;
	}
	return s->user != NULL;
}

static int
check_port_gone(struct config_txn *t, const char *name, struct error *e)
{
	static const enum kind users[] = {KIND_NETWORK, KIND_ROUTE};
	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		struct search by = {.kind = users[i], .name = name};
		if (pmap_walk(&t->c->objects[users[i]], uses_uplink, &by) != 0)
			return in_use(t, KIND_PORT, name, &by, e);
	}
	struct search s = {.kind = KIND_ENDPOINT, .name = name};
	const struct port_user *user = port_user_find(t->base, name);
	const struct config_object *o = user != NULL ? object_find(t->c, KIND_ENDPOINT, user->endpoint) : NULL;
	if (o != NULL && o->spec->endpoint.port != NULL && strcmp(o->spec->endpoint.port, name) == 0)
		s.user = o->name;
	for (const struct change *ch = t->changes[KIND_ENDPOINT]; ch != NULL && s.user == NULL; ch = ch->next) {
		const char *port = ch->now != NULL ? ch->now->spec->endpoint.port : NULL;
		if (port != NULL && strcmp(port, name) == 0)
			s.user = ch->name;
	}
	return s.user != NULL ? in_use(t, KIND_PORT, name, &s, e) : 0;
}

static int
check_set_gone(struct config_txn *t, const char *name, struct error *e)
{
	struct search s = {.kind = KIND_POLICY, .name = name, .user = address_set_user(&t->c->policy, name)};
	return s.user != NULL ? in_use(t, KIND_ADDRESS_SET, name, &s, e) : 0;
}

int
check_references(struct config_txn *t, struct error *e)
{
	static const struct {
		enum kind kind;
		int (*check)(struct config_txn *t, const char *name, struct error *e);
	} gone[] = {
		{KIND_NETWORK, check_network_gone},
		{KIND_PORT, check_port_gone},
		{KIND_ADDRESS_SET, check_set_gone},
	};
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		for (const struct change *ch = t->changes[gone[i].kind]; ch != NULL; ch = ch->next) {
			int rc = ch->now == NULL ? gone[i].check(t, ch->name, e) : 0;
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}
