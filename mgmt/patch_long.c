/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patch of a long list: a few members of a large AddressSet, a few rules of a large Policy. Nothing here walks over the
 * list but the first patch, which makes its roster; from then on the roster goes from each version of the object to the
 * next, and text and store keep only what changed. Whatever is out of the ordinary is left to patch.c, which looks at
 * the object as a whole.
 */
#include <stdlib.h>

#include "mgmt_impl.h"

#define ENTRIES_MAX 64 /* of one patch */

/* From so many entries on; how many patches are stored until the object is stored whole again. Tests make them less. */
uint32_t patch_long_min = 1024, patch_long_stored = 4096;

static const struct field *
long_field(enum kind kind, const char *name)
{
	const struct field *f = field_find(kinds[kind].table, name);
	if (f == NULL || !f->list)
		return NULL;
	if (kind == KIND_ADDRESS_SET)
		return f->type == FIELD_PREFIX ? f : NULL;
	return kind == KIND_POLICY && f->key != NULL ? f : NULL;
}

/* The one list that the patch is about, and its entries; NULL when it is about anything else. */
static const struct field *
the_list(const struct patch_params *p, json_t **remove, json_t **add)
{
	const char *name = NULL;
	json_t *const lists[] = {p->remove, p->add};
	json_t **const out[] = {remove, add};
	if (json_object_size(p->set) > 0)
		return NULL;
	for (int i = 0; i < 2; i++) {
		*out[i] = NULL;
		if (lists[i] == NULL)
			continue;
		if (json_object_size(lists[i]) != 1)
			return NULL;
		const char *key = json_object_iter_key(json_object_iter(lists[i]));
		*out[i] = json_object_get(lists[i], key);
		if (!json_is_array(*out[i]) || json_array_size(*out[i]) > ENTRIES_MAX ||
		    (name != NULL && strcmp(name, key) != 0))
			return NULL;
		name = key;
	}
	return name != NULL ? long_field((enum kind)p->kind, name) : NULL;
}

static bool
is_long(const struct object *o, const struct field *f)
{
	uint32_t n;
	memcpy(&n, (const char *)o->spec + f->aux, sizeof(n));
	return n >= patch_long_min;
}

/* While its JSON is at hand: the first patch is as quick as the others. */
void
patch_long_prepare(struct object *o, json_t *object)
{
	static const struct {
		enum kind kind;
		const char *list;
	} lists[] = {{KIND_ADDRESS_SET, "members"}, {KIND_POLICY, "ingress"}, {KIND_POLICY, "egress"}};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]) && o->roster == NULL; i++) {
		const struct field *f = o->kind == lists[i].kind ? long_field(o->kind, lists[i].list) : NULL;
		if (f == NULL || !is_long(o, f))
			continue;
		json_t *spec = object_spec(object);
		o->roster = roster_new(f, spec);
		json_decref(spec);
	}
}

static bool
have_roster(struct mgmt *m, struct object *o, const struct field *f)
{
	if (o->roster != NULL)
		return roster_field(o->roster) == f;
	if (!is_long(o, f))
		return false;
	complete_text(m, o);
	json_t *spec = json_loads(o->text, 0, NULL);
	struct roster *r = roster_new(f, spec);
	json_decref(spec);
	pthread_mutex_lock(&m->lock);
	o->roster = r;
	pthread_mutex_unlock(&m->lock);
	return r != NULL;
}

static bool
has_room(const struct roster *r, const struct field *f, const struct roster_edit *edits, uint32_t n)
{
	uint64_t count = roster_count(r);
	for (uint32_t i = 0; i < n; i++)
		count += edits[i].place == ROSTER_NONE;
	return count <= (f->max_items != 0 ? f->max_items : FIELD_ITEMS_MAX);
}

static bool
plan_members(struct long_patch *p, const struct field *f)
{
	struct prefix_list *lists = arena_alloc(&p->arena, 2 * sizeof(*lists));
	for (int i = 0; i < 2; i++)
		lists[i].v = arena_alloc(&p->arena, p->n_edits * sizeof(struct prefix));
	for (uint32_t i = 0; i < p->n_edits; i++) {
		const struct roster_edit *edit = &p->edits[i];
		struct prefix_list *list = &lists[edit->text != NULL];
		json_t *key = edit->text == NULL ? json_string(edit->key) : json_incref(edit->entry);
		struct prefix *member = (struct prefix *)(uintptr_t)&list->v[list->n++];
		int rc = field_scalar(f, key, member, &p->arena, NULL);
		json_decref(key);
		if (rc < 0)
			return false;
	}
	p->config.remove = &lists[0];
	p->config.add = &lists[1];
	return true;
}

/* Edits are made one after the other: what was removed before does not count any more. */
static uint32_t
index_now(const struct roster *r, const struct roster_edit *edits, uint32_t n, uint32_t place)
{
	uint32_t at = roster_index(r, place);
	for (uint32_t i = 0; i < n; i++)
		at -= edits[i].text == NULL && edits[i].place < place;
	return at;
}

static bool
plan_rules(struct long_patch *p, const struct field *f, const struct roster *r, const struct spec_policy *spec)
{
	enum policy_direction direction = strcmp(f->name, "egress") == 0 ? POLICY_EGRESS : POLICY_INGRESS;
	struct policy_edit *out = arena_alloc(&p->arena, 2 * p->n_edits * sizeof(*out));
	uint32_t n = 0, count = roster_count(r);
	for (uint32_t i = 0; i < p->n_edits; i++) {
		const struct roster_edit *edit = &p->edits[i];
		bool is_new = edit->place == ROSTER_NONE;
		uint32_t at = is_new ? count : index_now(r, p->edits, i, edit->place);
		if (!is_new)
			out[n++] = (struct policy_edit){.direction = direction, .at = at};
		count += is_new;
		count -= edit->text == NULL;
		if (edit->text == NULL)
			continue;
		struct spec_rule *rule = arena_alloc(&p->arena, f->size);
		if (field_scalar(f, edit->entry, rule, &p->arena, NULL) < 0 || kind_rule_check(spec, rule, NULL) < 0)
			return false;
		out[n++] = (struct policy_edit){.direction = direction, .at = at, .rule = rule};
	}
	p->config.edits = out;
	p->config.n_edits = n;
	return true;
}

static char *
stored_text(const struct field *f, json_t *remove, json_t *add)
{
	json_t *text = json_pack("{s:s, s:O?, s:O?}", "field", f->name, "remove", remove, "add", add);
	char *out = entry_text(text);
	json_decref(text);
	return out;
}

static struct long_patch *
plan(struct object *old, const struct field *f, json_t *remove, json_t *add)
{
	struct long_patch *p = calloc(1, sizeof(*p));
	if (p == NULL)
		abort();
	p->edits = arena_alloc(&p->arena, (json_array_size(remove) + json_array_size(add) + 1) * sizeof(*p->edits));
	int n = roster_plan(old->roster, remove, add, p->edits);
	p->n_edits = n > 0 ? (uint32_t)n : 0;
	bool fits = n >= 0 && has_room(old->roster, f, p->edits, p->n_edits);
	if (fits && n > 0)
		fits = old->kind == KIND_POLICY ? plan_rules(p, f, old->roster, &old->spec->policy)
						: plan_members(p, f);
	if (fits) {
		p->text = stored_text(f, remove, add);
		return p;
	}
	long_patch_free(p);
	return NULL;
}

void
long_patch_free(struct long_patch *p)
{
	if (p == NULL)
		return;
	roster_edits_free(p->edits, p->n_edits);
	arena_free(&p->arena);
	free(p->text);
	free(p);
}

bool
patch_long(const struct call *c, struct object *old, const struct patch_params *params, json_t **out)
{
	json_t *remove, *add;
	const struct field *f = old->in_config ? the_list(params, &remove, &add) : NULL;
	if (f == NULL || !have_roster(c->m, old, f))
		return false;
	struct long_patch *p = plan(old, f, remove, add);
	if (p == NULL)
		return false;
	struct batch b = {0};
	struct change *change = batch_add(&b);
	change->old = object_ref(old);
	if (p->n_edits == 0) {
		change->next = object_ref(old);
		long_patch_free(p);
	} else {
		change->next = object_patched(old);
		change->patch = p;
		p->store_old = old->n_patches >= patch_long_stored;
		if (p->store_old)
			complete_text(c->m, old);
		change->next->n_patches = p->store_old ? 1 : old->n_patches + 1;
	}
	*out = batch_finish(c->m, &b, &params->options, c->e);
	batch_free(&b);
	return true;
}

static bool
replay_one(struct roster **r, json_t **spec, enum kind kind, const char *text)
{
	json_t *patch = json_loads(text, 0, NULL), *remove = json_object_get(patch, "remove"),
	       *add = json_object_get(patch, "add");
	const char *name = json_string_value(json_object_get(patch, "field"));
	const struct field *f = name != NULL ? long_field(kind, name) : NULL;
	if (*r != NULL && f != roster_field(*r)) {
		char *now = roster_text(*r);
		json_decref(*spec);
		*spec = json_loads(now, 0, NULL);
		free(now);
		roster_free(*r);
		*r = NULL;
	}
	if (*r == NULL && f != NULL)
		*r = roster_new(f, *spec);
	int n = -1;
	if (*r != NULL && f != NULL) {
		struct roster_edit *edits = calloc(json_array_size(remove) + json_array_size(add) + 1, sizeof(*edits));
		if (edits == NULL)
			abort();
		n = roster_plan(*r, remove, add, edits);
		if (n > 0)
			roster_change(*r, edits, (uint32_t)n);
		free(edits);
	}
	json_decref(patch);
	return n >= 0;
}

char *
patches_replay(enum kind kind, const char *text, const char *const *patch, uint32_t n)
{
	struct roster *r = NULL;
	json_t *spec = json_loads(text, 0, NULL);
	bool good = json_is_object(spec);
	for (uint32_t i = 0; i < n && good; i++)
		good = replay_one(&r, &spec, kind, patch[i]);
	char *out = good && r != NULL ? roster_text(r) : NULL;
	roster_free(r);
	json_decref(spec);
	return out;
}
