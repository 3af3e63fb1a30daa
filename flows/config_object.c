/* SPDX-License-Identifier: Apache-2.0 */
#include "config_impl.h"

#define TYPE_OF(type, member)                                                                                          \
	{                                                                                                              \
		offsetof(type, member), sizeof(((type *)0)->member)                                                    \
	}

const struct pmap_type object_type = TYPE_OF(struct config_object, name);
static const struct pmap_type change_type = TYPE_OF(struct change, name);

const char *const kind_names[KIND_COUNT] = {
#define X(upper, json, lower) [KIND_##upper] = #json,
	KINDS(X)
#undef X
};

void
vector_push(struct vector *v, const void *item, size_t size)
{
	if (v->n == v->room) {
		v->room = v->room > 0 ? v->room * 2 : 64;
		v->v = realloc(v->v, v->room * size);
		if (v->v == NULL)
			abort();
	}
	memcpy((char *)v->v + v->n++ * size, item, size);
}

void
config_bump(void *config_txn, uint32_t slot)
{
	struct config_txn *t = config_txn;
	if (slot != 0)
		vector_push(&t->bumps, &slot, sizeof(slot));
}

void
name_key(char key[NAME_KEY], const char *name)
{
	strncpy(key, name, NAME_KEY - 1);
	key[NAME_KEY - 1] = '\0';
}

const struct config_object *
object_find(const struct config *c, enum kind kind, const char *name)
{
	char key[NAME_KEY];
	if (name == NULL)
		return NULL;
	name_key(key, name);
	return pmap_find(&c->objects[kind], &object_type, key);
}

/* The record of a change to the object, made on first sight. */
static struct change *
change_of(struct config_txn *t, enum kind kind, const char *name)
{
	char key[NAME_KEY];
	name_key(key, name);
	struct change *ch = (struct change *)(uintptr_t)pmap_find(&t->changed[kind], &change_type, key);
	if (ch != NULL)
		return ch;
	ch = txn_alloc(&t->txn, sizeof(*ch));
	memcpy(ch->name, key, sizeof(key));
	ch->base = pmap_find(&t->base->objects[kind], &object_type, key);
	ch->now = ch->base;
	pmap_put(&t->changed[kind], &change_type, &t->txn, ch);
	if (t->tail[kind] == NULL)
		t->tail[kind] = &t->changes[kind];
	*t->tail[kind] = ch;
	t->tail[kind] = &ch->next;
	return ch;
}

static void
set(struct config_txn *t, enum kind kind, struct config_object *o)
{
	void *old = pmap_put(&t->c->objects[kind], &object_type, &t->txn, o);
	if (old != NULL)
		txn_retire(&t->txn, old);
}

/* Kinds that others compile get no record: there may be 50,000 of them in a batch. */
static bool
is_recorded(enum kind kind)
{
	return kind < KIND_SERVICE || kind == KIND_ADDRESS_SET;
}

struct change *
object_put(struct config_txn *t, enum kind kind, const union spec *spec, const struct port_facts *facts)
{
	struct config_object *o = txn_alloc(&t->txn, sizeof(*o));
	name_key(o->name, spec->name);
	o->spec = spec;
	if (facts != NULL)
		o->facts = *facts;
	struct change *ch = is_recorded(kind) ? change_of(t, kind, spec->name) : NULL;
	set(t, kind, o);
	if (ch != NULL)
		ch->now = o;
	return ch;
}

int
object_remove(struct config_txn *t, enum kind kind, const char *name, struct error *e)
{
	char key[NAME_KEY];
	name_key(key, name);
	struct change *ch = is_recorded(kind) ? change_of(t, kind, name) : NULL;
	void *old = pmap_remove(&t->c->objects[kind], &object_type, &t->txn, key);
	if (old == NULL)
		return error_at(e, -ENOENT, "name", "no %s \"%s\"", kind_names[kind], name);
	txn_retire(&t->txn, old);
	if (ch != NULL)
		ch->now = NULL;
	return 0;
}

struct change *
object_touch(struct config_txn *t, enum kind kind, const char *name)
{
	const struct config_object *now = object_find(t->c, kind, name);
	struct change *ch = change_of(t, kind, name);
	if (now == NULL || now != ch->base)
		return ch; /* gone, or changed anyway */
	struct config_object *o = txn_alloc(&t->txn, sizeof(*o));
	*o = *now;
	o->compiled = NULL;
	set(t, kind, o);
	ch->now = o;
	return ch;
}

void
object_compiled(const struct change *ch, const void *compiled)
{
	/* Made by this txn, so still ours to change. */
	((struct config_object *)(uintptr_t)ch->now)->compiled = compiled;
}

void
changes_drop(struct config_txn *t)
{
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		pmap_clear(&t->changed[kind], &t->txn);
		while (t->changes[kind] != NULL) {
			struct change *ch = t->changes[kind];
			t->changes[kind] = ch->next;
			txn_discard(&t->txn, ch);
		}
	}
}
