/* SPDX-License-Identifier: Apache-2.0 */
#include "object.h"

#include <stdlib.h>

json_t *
object_spec(json_t *object)
{
	json_t *spec = json_copy(object);
	for (unsigned int i = 0; i < common_table.n; i++)
		json_object_del(spec, common_table.field[i].name);
	json_object_del(spec, "name");
	return spec;
}

char *
object_text(json_t *object)
{
	json_t *spec = object_spec(object);
	char *text = json_dumps(spec, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(spec);
	if (text == NULL)
		abort();
	return text;
}

int
object_decode(json_t *object, const struct common *c, char *text, struct object **out, struct error *e)
{
	struct object *o = calloc(1, sizeof(*o));
	if (o == NULL)
		abort();
	o->refs = 1;
	o->kind = (enum kind)c->kind;
	o->text = text;
	/* The whole union: who copies one must not read past its end. */
	o->spec = arena_alloc(&o->arena, sizeof(*o->spec));
	const char *owner = c->owner != NULL ? c->owner : "";
	o->owner = arena_strndup(&o->arena, owner, strlen(owner));
	int rc = field_decode(kinds[o->kind].table, &common_table, object, o->spec, &o->arena, NULL, e);
	if (rc < 0) {
		object_unref(o);
		return rc;
	}
	o->name = o->spec->name;
	*out = o;
	return 0;
}

struct object *
object_patched(struct object *old)
{
	struct object *o = calloc(1, sizeof(*o));
	if (o == NULL)
		abort();
	o->refs = 1;
	o->kind = old->kind;
	o->base = object_ref(old->base != NULL ? old->base : old);
	o->spec = arena_alloc(&o->arena, sizeof(*o->spec));
	*o->spec = *old->spec;
	if (o->kind == KIND_ADDRESS_SET) {
		o->spec->address_set.members = (struct prefix_list){0};
	} else {
		o->spec->policy.ingress = o->spec->policy.egress = NULL;
		o->spec->policy.n_ingress = o->spec->policy.n_egress = 0;
	}
	o->owner = arena_strndup(&o->arena, old->owner, strlen(old->owner));
	o->name = o->spec->name;
	o->n_patches = old->n_patches;
	return o;
}

void
object_take_roster(struct object *next, struct object *old, struct roster_edit *edits, uint32_t n)
{
	/* Whoever holds the old one still has its text from when he took it. */
	next->roster = old->roster;
	old->roster = NULL;
	roster_change(next->roster, edits, n);
}

void
object_complete(struct object *o)
{
	if (o != NULL && o->text == NULL)
		o->text = roster_text(o->roster);
}

struct object *
object_ref(struct object *o)
{
	if (o != NULL)
		__atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
	return o;
}

void
object_unref(struct object *o)
{
	if (o == NULL || __atomic_sub_fetch(&o->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	arena_free(&o->arena);
	free(o->text);
	roster_free(o->roster);
	object_unref(o->base);
	free(o->phase);
	for (int w = 0; w < WARNINGS; w++)
		free(o->warning[w]);
	free(o->seat);
	free(o);
}

static json_t *
with_head(const struct object *o, json_t *spec)
{
	json_t *out = json_pack("{s:s, s:s}", "kind", kinds[o->kind].name, "name", o->name);
	if (o->owner[0] != '\0')
		json_object_set_new(out, "owner", json_string(o->owner));
	json_object_update(out, spec);
	json_decref(spec);
	return out;
}

json_t *
object_json_plain(const struct object *o)
{
	return with_head(o, json_loads(o->text, 0, NULL));
}

json_t *
object_json(const struct object *o)
{
	json_t *spec = json_loads(o->text, 0, NULL);
	json_t *arranged = field_arrange(kinds[o->kind].table, spec);
	json_decref(spec);
	return with_head(o, arranged);
}

int
object_compare(const struct object *a, const struct object *b)
{
	return a->kind != b->kind ? (a->kind < b->kind ? -1 : 1) : strcmp(a->name, b->name);
}

uint32_t
index_after(const struct index *ix, enum kind kind, const char *name)
{
	uint32_t low = 0, high = ix->n[kind];
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (strcmp(ix->v[kind][middle]->name, name) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct object *
index_find(const struct index *ix, enum kind kind, const char *name)
{
	uint32_t i = index_after(ix, kind, name);
	return i > 0 && strcmp(ix->v[kind][i - 1]->name, name) == 0 ? ix->v[kind][i - 1] : NULL;
}

static void
merge_kind(struct object ***v, uint32_t *n, const struct index *ix, enum kind k, const struct change *c,
	   uint32_t n_changes)
{
	struct object **out = calloc((size_t)ix->n[k] + n_changes + 1, sizeof(struct object *));
	uint32_t used = 0, i = 0;
	if (out == NULL)
		abort();
	for (uint32_t j = 0; j < n_changes; j++) {
		const struct object *o = change_object(&c[j]);
		/* A lone change among many names: copy the stretch before it whole. */
		uint32_t stop = i;
		if (n_changes > 16)
			while (stop < ix->n[k] && strcmp(ix->v[k][stop]->name, o->name) < 0)
				stop++;
		else
			stop = index_after(ix, k, o->name) - (index_find(ix, k, o->name) != NULL);
		memcpy(out + used, ix->v[k] + i, (stop - i) * sizeof(*out));
		used += stop - i;
		i = stop;
		if (i < ix->n[k] && strcmp(ix->v[k][i]->name, o->name) == 0)
			i++;
		if (c[j].next != NULL)
			out[used++] = c[j].next;
	}
	if (ix->n[k] > i)
		memcpy(out + used, ix->v[k] + i, (ix->n[k] - i) * sizeof(*out));
	*n = used + ix->n[k] - i;
	*v = out;
}

struct index
index_merge(const struct index *ix, const struct change *c, uint32_t n)
{
	struct index out;
	memset(&out, 0, sizeof(out));
	for (unsigned int k = 0, at = 0; k < KIND_COUNT; k++) {
		uint32_t first = at;
		while (at < n && change_object(&c[at])->kind == (enum kind)k)
			at++;
		if (at > first) {
			merge_kind(&out.v[k], &out.n[k], ix, (enum kind)k, c + first, at - first);
			continue;
		}
		out.v[k] = ix->v[k];
		out.n[k] = ix->n[k];
	}
	return out;
}

void
index_init(struct index *ix)
{
	for (unsigned int k = 0; k < KIND_COUNT; k++) {
		ix->n[k] = 0;
		ix->v[k] = calloc(1, sizeof(struct object *));
		if (ix->v[k] == NULL)
			abort();
	}
}

void
index_free_old(struct index *old, const struct index *ix)
{
	for (unsigned int k = 0; k < KIND_COUNT; k++)
		if (old->v[k] != ix->v[k])
			free(old->v[k]);
	memset(old, 0, sizeof(*old));
}

void
index_free(struct index *ix)
{
	for (unsigned int k = 0; k < KIND_COUNT; k++)
		free(ix->v[k]);
	memset(ix, 0, sizeof(*ix));
}
