/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that show objects. They never wait for a build. */
#include <stdlib.h>

#include <weft/drop.h>

#include "mgmt_impl.h"

/* What config says of objects is asked for while nothing is being built; during a build, what it said last is shown. */
static void
refresh(struct mgmt *m, struct object **v, uint32_t n)
{
	if (pthread_mutex_trylock(&m->build) != 0)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (index_find(&m->index, v[i]->kind, v[i]->name) == v[i])
			object_refresh(m, v[i]);
	pthread_mutex_unlock(&m->build);
}

#define HIDDEN "(hidden)"

static json_t *
show(const struct call *c, struct object *o, bool alone)
{
	json_t *out = object_json(o);
	const struct field_table *t = kinds[o->kind].table;
	for (unsigned int i = 0; i < t->n && c->role < MGMT_OPERATOR; i++)
		if (t->field[i].secret && json_object_get(out, t->field[i].name) != NULL)
			json_object_set_new(out, t->field[i].name, json_string(HIDDEN));
	object_add_status(c->m, out, o);
	if (o->kind == KIND_POLICY)
		policy_add_counts(c->m, json_object_get(out, "status"), o->name, alone);
	if (o->kind == KIND_SERVICE)
		service_add_counts(c->m, json_object_get(out, "status"), o->name, alone);
	return out;
}

json_t *
verb_get(const struct call *c)
{
	const struct named *p = c->params;
	pthread_mutex_lock(&c->m->lock);
	struct object *o = object_ref(index_find(&c->m->index, (enum kind)p->kind, p->name));
	object_complete(o);
	uint64_t epoch = c->m->epoch;
	pthread_mutex_unlock(&c->m->lock);
	if (o == NULL) {
		fail(c->e, RPC_NOT_FOUND, "there is no %s %s", kinds[p->kind].name, p->name);
		return NULL;
	}
	refresh(c->m, &o, 1);
	json_t *out = json_pack("{s:o, s:I}", "object", show(c, o, true), "epoch", (json_int_t)epoch);
	object_unref(o);
	return out;
}

json_t *
verb_list(const struct call *c)
{
	const struct list_params *p = c->params;
	struct mgmt *m = c->m;
	struct object **v = calloc((size_t)p->limit + 1, sizeof(struct object *));
	uint32_t n = 0;
	if (v == NULL)
		abort();
	pthread_mutex_lock(&m->lock);
	uint32_t i = p->token != NULL ? index_after(&m->index, (enum kind)p->kind, p->token) : 0;
	for (; i < m->index.n[p->kind] && n <= p->limit; i++) {
		struct object *o = m->index.v[p->kind][i];
		if (p->owner == NULL || strcmp(o->owner, p->owner) == 0)
			object_complete(v[n++] = object_ref(o));
	}
	uint64_t epoch = m->epoch;
	pthread_mutex_unlock(&m->lock);
	uint32_t shown = n < p->limit ? n : p->limit;
	refresh(m, v, shown);
	json_t *objects = json_array();
	for (uint32_t k = 0; k < shown; k++)
		json_array_append_new(objects, show(c, v[k], false));
	json_t *out = json_pack("{s:o, s:I}", "objects", objects, "epoch", (json_int_t)epoch);
	if (n > shown)
		json_object_set_new(out, "continue", json_string(v[shown - 1]->name));
	for (uint32_t k = 0; k < n; k++)
		object_unref(v[k]);
	free(v);
	return out;
}

json_t *
verb_schema(const struct call *c)
{
	static const char *const role_names[] = {"nobody", "read-only", "operator", "admin"};
	json_t *kind_list = json_array(), *verb_rows = json_array(), *drops = json_array();
	for (int k = 0; k < KIND_COUNT; k++)
		json_array_append_new(kind_list, json_pack("{s:s, s:s, s:o}", "kind", kinds[k].name, "help",
							   kinds[k].help, "fields", field_describe(kinds[k].table)));
	for (unsigned int i = 0; i < n_verbs; i++)
		json_array_append_new(verb_rows, json_pack("{s:s, s:s, s:b, s:s, s:o}", "verb", verbs[i].name, "role",
							   role_names[verbs[i].role], "builds", verbs[i].builds, "help",
							   verbs[i].help, "params", field_describe(verbs[i].params)));
	for (int r = 0; r < DROP_REASON_COUNT; r++)
		json_array_append_new(
			drops, json_pack("{s:s, s:s}", "reason", drop_texts[r].name, "help", drop_texts[r].help));
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "version", c->m->version, "common", field_describe(&common_table),
			 "kinds", kind_list, "verbs", verb_rows, "drops", drops);
}
