/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that change things: each makes a batch of changes of what was asked and what is there, and transacts it. */
#include <stdlib.h>

#include "mgmt_impl.h"

int
fail(struct rpc_error *e, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	e->code = code;
	vsnprintf(e->message, sizeof(e->message), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int
code_of(int rc)
{
	switch (rc) {
	case -EINVAL:
	case -ERANGE:
		return RPC_INVALID_PARAMS;
	case -ENOMEM:
	case -EIO:
		return RPC_INTERNAL;
	default:
		return RPC_REFUSED;
	}
}

int
fail_with(struct rpc_error *e, int rc, long at, const struct error *why)
{
	struct error full = *why;
	if (at >= 0)
		error_under(&full, rc, "objects[%ld]", at);
	fail(e, code_of(rc), "%s%s%s", full.path, full.path[0] != '\0' ? ": " : "", full.text);
	return rc;
}

/* The members that say which object it is, before the kind's own table looks at it. */
static int
decode_common(json_t *object, struct common *c, const char **name, struct arena *a, struct error *e)
{
	static const struct field name_field = {.type = FIELD_NAME, .size = sizeof(char *)};
	json_t *value;
	if (!json_is_object(object))
		return error_set(e, -EINVAL, "must be an object, not %s", field_json_type(object));
	for (unsigned int i = 0; i < common_table.n; i++) {
		const struct field *f = &common_table.field[i];
		value = json_object_get(object, f->name);
		if (value == NULL && f->need == FIELD_REQUIRED)
			return error_at(e, -EINVAL, f->name, "is required");
		int rc = value != NULL ? field_value(f, value, c, a, e) : 0;
		if (rc < 0)
			return error_under(e, rc, "%s", f->name);
	}
	value = json_object_get(object, "name");
	if (value == NULL)
		return error_at(e, -EINVAL, "name", "is required");
	int rc = field_scalar(&name_field, value, name, a, e);
	return rc < 0 ? error_under(e, rc, "name") : 0;
}

/* Readers may be at it as well. */
void
complete_text(struct mgmt *m, struct object *o)
{
	pthread_mutex_lock(&m->lock);
	object_complete(o);
	pthread_mutex_unlock(&m->lock);
}

/* The same spec by the same owner, and in force. */
static bool
is_there(const struct object *old, const char *owner, const char *text)
{
	bool in_force = old != NULL && !old->closed && old->in_config && (old->kind != KIND_PORT || old->seat != NULL);
	/* A policy that is applied again covers the endpoints that wait for it. */
	if (in_force && old->kind == KIND_POLICY && config_closed() != 0)
		return false;
	return in_force && strcmp(old->owner, owner) == 0 && strcmp(old->text, text) == 0;
}

static int
add_object(struct mgmt *m, struct batch *b, json_t *object, const char *owner, long at, struct arena *a,
	   struct error *e)
{
	struct common common = {0};
	const char *name = NULL;
	int rc = decode_common(object, &common, &name, a, e);
	if (rc < 0)
		return rc;
	if (common.owner == NULL)
		common.owner = owner;
	struct change *c = batch_add(b);
	c->at = at;
	c->old = object_ref(index_find(&m->index, (enum kind)common.kind, name));
	complete_text(m, c->old);
	char *text = object_text(object);
	if (is_there(c->old, common.owner != NULL ? common.owner : "", text)) {
		/* Stays in the batch for now: prune and the search for doubles must see it. */
		c->next = object_ref(c->old);
		free(text);
		return 0;
	}
	rc = object_decode(object, &common, text, &c->next, e);
	if (rc == 0)
		patch_long_prepare(c->next, object);
	if (rc < 0) {
		object_unref(c->old);
		b->n--;
	}
	return rc;
}

static int
find_doubles(const struct batch *b, struct rpc_error *e)
{
	for (uint32_t i = 1; i < b->n; i++) {
		const struct object *o = change_object(&b->v[i]);
		if (object_compare(change_object(&b->v[i - 1]), o) == 0)
			return fail(e, RPC_INVALID_PARAMS, "objects[%ld]: %s %s is objects[%ld] already", b->v[i].at,
				    kinds[o->kind].name, o->name, b->v[i - 1].at);
	}
	return 0;
}

int
batch_from_objects(struct mgmt *m, struct batch *b, json_t *objects, const char *owner, bool numbered,
		   struct rpc_error *e)
{
	for (size_t i = 0; i < json_array_size(objects); i++) {
		struct arena a = {0};
		struct error why = {0};
		int rc = add_object(m, b, json_array_get(objects, i), owner, numbered ? (long)i : -1, &a, &why);
		arena_free(&a);
		if (rc < 0)
			return fail_with(e, rc, numbered ? (long)i : -1, &why);
	}
	batch_sort(b);
	return find_doubles(b, e);
}

/* What the owner has and the batch does not name. */
static void
prune(struct mgmt *m, struct batch *b, const char *owner)
{
	uint32_t named = b->n;
	for (unsigned int k = 0, at = 0; k < KIND_COUNT; k++)
		for (uint32_t i = 0; i < m->index.n[k]; i++) {
			struct object *o = m->index.v[k][i];
			while (at < named && object_compare(change_object(&b->v[at]), o) < 0)
				at++;
			bool kept = at < named && object_compare(change_object(&b->v[at]), o) == 0;
			if (!kept && strcmp(o->owner, owner) == 0)
				batch_add(b)->old = object_ref(o);
		}
	batch_sort(b);
}

static void
forget_unchanged(struct batch *b)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < b->n; i++) {
		if (b->v[i].old != b->v[i].next) {
			b->v[n++] = b->v[i];
			continue;
		}
		object_unref(b->v[i].old);
		object_unref(b->v[i].next);
		b->unchanged++;
	}
	b->n = n;
}

json_t *
batch_finish(struct mgmt *m, struct batch *b, const struct change_options *o, struct rpc_error *e)
{
	uint32_t deleted = 0;
	forget_unchanged(b);
	for (uint32_t i = 0; i < b->n; i++)
		deleted += b->v[i].next == NULL;
	int rc = b->n > 0 ? transact(m, b, o->dry_run ? TRANSACT_REHEARSE : TRANSACT_APPLY, e) : 0;
	if (rc < 0)
		return NULL;
	json_t *out = json_pack("{s:I, s:I, s:I, s:I}", "epoch", (json_int_t)m->epoch, "applied",
				(json_int_t)(b->n - deleted), "unchanged", (json_int_t)b->unchanged, "deleted",
				(json_int_t)deleted);
	if (o->dry_run)
		json_object_set_new(out, "dryRun", json_true());
	return out;
}

int
check_epoch(const struct mgmt *m, const struct change_options *o, struct rpc_error *e)
{
	if (o->has_if_epoch && o->if_epoch != m->epoch)
		return fail(e, RPC_CONFLICT, "ifEpoch: the epoch is %llu, not %llu: something has changed in between",
			    (unsigned long long)m->epoch, (unsigned long long)o->if_epoch);
	return 0;
}

json_t *
verb_apply(const struct call *c)
{
	const struct apply_params *p = c->params;
	struct batch b = {0};
	json_t *out = NULL;
	if (!json_is_array(p->objects)) {
		fail(c->e, RPC_INVALID_PARAMS, "objects: must be a list, not %s", field_json_type(p->objects));
		return NULL;
	}
	if (p->prune && p->owner == NULL) {
		fail(c->e, RPC_INVALID_PARAMS, "owner: is required with prune");
		return NULL;
	}
	int rc = check_epoch(c->m, &p->options, c->e);
	if (rc == 0)
		rc = batch_from_objects(c->m, &b, p->objects, p->owner, true, c->e);
	if (rc == 0 && p->prune)
		prune(c->m, &b, p->owner);
	if (rc == 0)
		out = batch_finish(c->m, &b, &p->options, c->e);
	batch_free(&b);
	return out;
}

static int
add_deletion(struct mgmt *m, struct batch *b, const struct named *n, long at, struct rpc_error *e)
{
	struct error why = {0};
	struct object *old = index_find(&m->index, (enum kind)n->kind, n->name);
	if (old == NULL) {
		error_set(&why, -ENOENT, "there is no %s %s", kinds[n->kind].name, n->name);
		fail_with(e, -ENOENT, at, &why);
		e->code = RPC_NOT_FOUND;
		return -ENOENT;
	}
	struct change *c = batch_add(b);
	c->old = object_ref(old);
	c->at = at;
	return 0;
}

json_t *
verb_delete(const struct call *c)
{
	const struct delete_params *p = c->params;
	struct batch b = {0};
	json_t *out = NULL;
	bool one = p->has_kind || p->one.name != NULL;
	if (one == p->has_objects || (one && (!p->has_kind || p->one.name == NULL))) {
		fail(c->e, RPC_INVALID_PARAMS, "must have either kind and name, or objects");
		return NULL;
	}
	int rc = check_epoch(c->m, &p->options, c->e);
	if (rc == 0 && one)
		rc = add_deletion(c->m, &b, &p->one, -1, c->e);
	for (uint32_t i = 0; rc == 0 && i < p->n_objects; i++)
		rc = add_deletion(c->m, &b, &p->objects[i], (long)i, c->e);
	batch_sort(&b);
	if (rc == 0)
		rc = find_doubles(&b, c->e);
	if (rc == 0)
		out = batch_finish(c->m, &b, &p->options, c->e);
	batch_free(&b);
	return out;
}

json_t *
apply_one(const struct call *c, json_t *object, const struct change_options *o)
{
	struct batch b = {0};
	json_t *list = json_pack("[O]", object), *out = NULL;
	if (batch_from_objects(c->m, &b, list, NULL, false, c->e) == 0)
		out = batch_finish(c->m, &b, o, c->e);
	json_decref(list);
	batch_free(&b);
	return out;
}
