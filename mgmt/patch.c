/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patch: take an object's JSON, change it, apply it. Entries of a list are told apart by the value itself, or by the
 * member that the field table calls its key. Adding what is there replaces it, removing what is not there is fine: the
 * same patch twice does no harm.
 */
#include <stdlib.h>

#include "mgmt_impl.h"

static const struct field *
list_field(const struct kind_row *kind, const char *verb, const char *name, json_t *entries, struct rpc_error *e)
{
	char quoted[FIELD_QUOTE_MAX];
	const struct field *f = field_find(kind->table, name);
	if (f == NULL)
		fail(e, RPC_INVALID_PARAMS, "%s.%s: %s has no such field", verb, field_quote(name, quoted),
		     kind->name);
	else if (!f->list || entry_key_field(f) == NULL)
		fail(e, RPC_INVALID_PARAMS, "%s.%s: is not a list that entries can be added to; use \"set\"", verb,
		     f->name);
	else if (!json_is_array(entries))
		fail(e, RPC_INVALID_PARAMS, "%s.%s: must be a list, not %s", verb, f->name, field_json_type(entries));
	else
		return f;
	return NULL;
}

/* Each entry alone, so that an error says where in the patch it is. */
static int
check_entries(const struct field *f, const char *verb, json_t *entries, struct rpc_error *e)
{
	struct arena a = {0};
	struct error why = {0};
	char key[ROSTER_KEY_MAX];
	int rc = 0;
	for (size_t i = 0; i < json_array_size(entries) && rc == 0; i++) {
		json_t *entry = json_array_get(entries, i);
		rc = field_scalar(f, entry, arena_alloc(&a, f->size), &a, &why);
		if (rc == 0) {
			entry_key(f, entry, key, sizeof(key));
			if (key[0] == '\0')
				rc = error_at(&why, -EINVAL, f->key,
					      "is required, or the entry could not be found again");
		}
		if (rc < 0) {
			error_under(&why, rc, "%s.%s[%zu]", verb, f->name, i);
			fail_with(e, rc, -1, &why);
		}
	}
	arena_free(&a);
	return rc;
}

static int
check_keys(const struct field *f, json_t *entries, struct rpc_error *e)
{
	char key[ROSTER_KEY_MAX];
	for (size_t i = 0; i < json_array_size(entries); i++) {
		entry_key(f, json_array_get(entries, i), key, sizeof(key));
		if (key[0] == '\0')
			return f->key != NULL
				       ? fail(e, RPC_INVALID_PARAMS,
					      "remove.%s[%zu]: must be an entry's %s, or an object that has one",
					      f->name, i, f->key)
				       : fail(e, RPC_INVALID_PARAMS, "remove.%s[%zu]: must be an entry", f->name, i);
	}
	return 0;
}

/* Entries of the list whose key is not among the keys of `without`. */
static json_t *
list_without(const struct field *f, json_t *list, json_t *without)
{
	char key[ROSTER_KEY_MAX];
	json_t *keys = json_object(), *out = json_array();
	for (size_t i = 0; i < json_array_size(without); i++) {
		entry_key(f, json_array_get(without, i), key, sizeof(key));
		json_object_set_new(keys, key, json_true());
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		entry_key(f, json_array_get(list, i), key, sizeof(key));
		if (json_object_get(keys, key) == NULL)
			json_array_append(out, json_array_get(list, i));
	}
	json_decref(keys);
	return out;
}

/* Replaces in place what has the same key, so that an unchanged patch leaves an unchanged object. */
static json_t *
list_with(const struct field *f, json_t *list, json_t *added)
{
	char key[ROSTER_KEY_MAX];
	json_t *at = json_object(), *out = json_array();
	for (size_t i = 0; i < json_array_size(list) + json_array_size(added); i++) {
		bool old = i < json_array_size(list);
		json_t *entry = old ? json_array_get(list, i) : json_array_get(added, i - json_array_size(list));
		entry_key(f, entry, key, sizeof(key));
		json_t *place = json_object_get(at, key);
		/* Entries that were there with one key stay as they were; the first gives way. */
		if (old || place == NULL) {
			if (place == NULL)
				json_object_set_new(at, key, json_integer((json_int_t)json_array_size(out)));
			json_array_append(out, entry);
		} else if (f->sub != NULL) {
			json_array_set(out, (size_t)json_integer_value(place), entry);
		}
	}
	json_decref(at);
	return out;
}

static int
patch_lists(const struct kind_row *kind, json_t *object, json_t *lists, bool add, struct rpc_error *e)
{
	const char *name, *verb = add ? "add" : "remove";
	json_t *entries;
	if (lists != NULL && !json_is_object(lists))
		return fail(e, RPC_INVALID_PARAMS, "%s: must be an object, not %s", verb, field_json_type(lists));
	json_object_foreach(lists, name, entries)
	{
		const struct field *f = list_field(kind, verb, name, entries, e);
		if (f == NULL)
			return -EINVAL;
		int rc = add ? check_entries(f, verb, entries, e) : check_keys(f, entries, e);
		if (rc < 0)
			return rc;
		json_t *list = json_object_get(object, name);
		if (list != NULL || add)
			json_object_set_new(object, name,
					    add ? list_with(f, list, entries) : list_without(f, list, entries));
	}
	return 0;
}

static int
patch_fields(const struct kind_row *kind, json_t *object, json_t *set, struct rpc_error *e)
{
	char quoted[FIELD_QUOTE_MAX];
	const char *name;
	json_t *value;
	if (set != NULL && !json_is_object(set))
		return fail(e, RPC_INVALID_PARAMS, "set: must be an object, not %s", field_json_type(set));
	json_object_foreach(set, name, value)
	{
		bool owner = strcmp(name, "owner") == 0;
		if (strcmp(name, "kind") == 0 || strcmp(name, "name") == 0)
			return fail(e, RPC_INVALID_PARAMS, "set.%s: an object keeps its %s", name, name);
		if (!owner && field_find(kind->table, name) == NULL)
			return fail(e, RPC_INVALID_PARAMS, "set.%s: %s has no such field", field_quote(name, quoted),
				    kind->name);
		if (json_is_null(value))
			json_object_del(object, name);
		else
			json_object_set(object, name, value);
	}
	return 0;
}

json_t *
verb_patch(const struct call *c)
{
	const struct patch_params *p = c->params;
	const struct kind_row *kind = &kinds[p->kind];
	struct object *old = index_find(&c->m->index, (enum kind)p->kind, p->name);
	if (old == NULL) {
		fail(c->e, RPC_NOT_FOUND, "there is no %s %s", kind->name, p->name);
		return NULL;
	}
	if (check_epoch(c->m, &p->options, c->e) < 0)
		return NULL;
	json_t *out = NULL;
	if (patch_long(c, old, p, &out))
		return out;
	complete_text(c->m, old);
	json_t *object = object_json_plain(old);
	int rc = patch_fields(kind, object, p->set, c->e);
	if (rc == 0)
		rc = patch_lists(kind, object, p->remove, false, c->e);
	if (rc == 0)
		rc = patch_lists(kind, object, p->add, true, c->e);
	if (rc == 0)
		out = apply_one(c, object, &p->options);
	json_decref(object);
	return out;
}
