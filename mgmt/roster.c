/* SPDX-License-Identifier: Apache-2.0 */
#include "roster.h"

#include <stdlib.h>

#include <weft/text.h>

struct slot {
	char *key, *text; /* text NULL: it was removed */
};

/*
 * Slots in the list's order; what comes is put at the end, what goes leaves a hole. Live slots before one are counted
 * by a tree of sums (Fenwick 1994), keys found by hashing with open addressing. When the slots are used up, all is
 * built anew without holes.
 */
struct roster {
	const struct field *field;
	char *around; /* the object's text with an empty list; entries go in at `at` */
	size_t at, bytes;
	struct slot *slot;
	uint32_t *sum;
	uint32_t *bucket; /* slot + 1 */
	uint32_t n, room, live, mask;
};

static void *
zeroed(size_t n, size_t size)
{
	void *p = calloc(n, size);
	if (p == NULL)
		abort();
	return p;
}

const struct field *
entry_key_field(const struct field *f)
{
	return f->key != NULL ? field_find(f->sub, f->key) : f->sub == NULL ? f : NULL;
}

/* "10.0.0.1" and "10.0.0.1/32", "fd00::1" and "FD00:0::1". */
static void
canonical(const struct field *f, json_t *value, char *buf, size_t size)
{
	const char *text = json_string_value(value);
	struct prefix prefix;
	struct ip ip;
	char formatted[PREFIX_TEXT_MAX];
	if (json_is_integer(value)) {
		snprintf(buf, size, "%lld", (long long)json_integer_value(value));
		return;
	}
	if (text != NULL && f->type == FIELD_PREFIX && prefix_parse(text, &prefix, NULL) == 0)
		text = prefix_format(&prefix, formatted);
	else if (text != NULL && f->type == FIELD_IP && ip_parse(text, &ip) == 0)
		text = ip_format(&ip, formatted);
	snprintf(buf, size, "%s", text != NULL ? text : "");
}

void
entry_key(const struct field *f, json_t *entry, char *buf, size_t size)
{
	json_t *value = f->key != NULL && json_is_object(entry) ? json_object_get(entry, f->key) : entry;
	canonical(entry_key_field(f), value, buf, size);
}

char *
entry_text(json_t *entry)
{
	char *text = json_dumps(entry, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	if (text == NULL)
		abort();
	return text;
}

static uint32_t
hash_of(const char *key)
{
	uint32_t h = 0x811c9dc5;
	for (; *key != '\0'; key++)
		h = (h ^ (unsigned char)*key) * 0x01000193;
	return h ^ h >> 15;
}

static void
sum_add(struct roster *r, uint32_t place, uint32_t by)
{
	for (uint32_t i = place + 1; i <= r->room; i += i & -i)
		r->sum[i] += by;
}

static void
append(struct roster *r, char *key, char *text)
{
	uint32_t place = r->n++;
	r->slot[place] = (struct slot){key, text};
	r->live++;
	r->bytes += strlen(text) + 1;
	sum_add(r, place, 1);
	if (key[0] == '\0')
		return;
	uint32_t b = hash_of(key) & r->mask;
	while (r->bucket[b] != 0)
		b = (b + 1) & r->mask;
	r->bucket[b] = place + 1;
}

static void
resize(struct roster *r, uint32_t room)
{
	struct slot *old = r->slot;
	uint32_t n = r->n, buckets = 64;
	while (buckets < 2 * room)
		buckets *= 2;
	free(r->sum);
	free(r->bucket);
	r->slot = zeroed(room, sizeof(*r->slot));
	r->sum = zeroed((size_t)room + 1, sizeof(*r->sum));
	r->bucket = zeroed(buckets, sizeof(*r->bucket));
	r->mask = buckets - 1;
	r->room = room;
	r->n = r->live = 0;
	r->bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		if (old[i].text != NULL)
			append(r, old[i].key, old[i].text);
		else
			free(old[i].key);
	free(old);
}

/* The text of the object with an empty list, and where the entries go. */
static void
look_around(struct roster *r, json_t *spec)
{
	char name[128];
	json_t *empty = json_copy(spec);
	json_object_set_new(empty, r->field->name, json_array());
	r->around = entry_text(empty);
	json_decref(empty);
	/* Quotes in strings are escaped, and no member further in has this name. */
	snprintf(name, sizeof(name), "\"%s\":[]", r->field->name);
	const char *found = strstr(r->around, name);
	if (found == NULL)
		abort();
	r->at = (size_t)(found - r->around) + strlen(name) - 1;
}

struct roster *
roster_new(const struct field *f, json_t *spec)
{
	json_t *list = json_object_get(spec, f->name);
	uint32_t n = (uint32_t)json_array_size(list);
	struct roster *r = zeroed(1, sizeof(*r));
	char key[ROSTER_KEY_MAX];
	r->field = f;
	look_around(r, spec);
	resize(r, n + n / 4 + 64);
	for (uint32_t i = 0; i < n; i++) {
		json_t *entry = json_array_get(list, i);
		entry_key(f, entry, key, sizeof(key));
		if (key[0] != '\0' && roster_find(r, key) != ROSTER_NONE) {
			roster_free(r);
			return NULL;
		}
		append(r, strdup(key), entry_text(entry));
	}
	return r;
}

void
roster_free(struct roster *r)
{
	if (r == NULL)
		return;
	for (uint32_t i = 0; i < r->n; i++) {
		free(r->slot[i].key);
		free(r->slot[i].text);
	}
	free(r->slot);
	free(r->sum);
	free(r->bucket);
	free(r->around);
	free(r);
}

const struct field *
roster_field(const struct roster *r)
{
	return r->field;
}

uint32_t
roster_count(const struct roster *r)
{
	return r->live;
}

uint32_t
roster_find(const struct roster *r, const char *key)
{
	for (uint32_t b = hash_of(key) & r->mask; r->bucket[b] != 0; b = (b + 1) & r->mask) {
		const struct slot *s = &r->slot[r->bucket[b] - 1];
		if (s->text != NULL && strcmp(s->key, key) == 0)
			return r->bucket[b] - 1;
	}
	return ROSTER_NONE;
}

const char *
roster_entry(const struct roster *r, uint32_t place)
{
	return r->slot[place].text;
}

uint32_t
roster_index(const struct roster *r, uint32_t place)
{
	uint32_t n = 0;
	for (uint32_t i = place; i > 0; i &= i - 1)
		n += r->sum[i];
	return n;
}

static const struct roster_edit *
edit_of(const struct roster_edit *edits, int n, uint32_t place, const char *key)
{
	for (int i = 0; i < n; i++)
		if (place != ROSTER_NONE ? edits[i].place == place
					 : edits[i].place == ROSTER_NONE && strcmp(edits[i].key, key) == 0)
			return &edits[i];
	return NULL;
}

static int
plan_removal(const struct roster *r, json_t *entry, struct roster_edit *edits, int n)
{
	char key[ROSTER_KEY_MAX];
	entry_key(r->field, entry, key, sizeof(key));
	if (key[0] == '\0')
		return -1;
	uint32_t place = roster_find(r, key);
	if (place == ROSTER_NONE || edit_of(edits, n, place, key) != NULL)
		return n;
	edits[n] = (struct roster_edit){.place = place, .key = strdup(key)};
	return n + 1;
}

static int
plan_addition(const struct roster *r, json_t *entry, struct roster_edit *edits, int n)
{
	char key[ROSTER_KEY_MAX];
	entry_key(r->field, entry, key, sizeof(key));
	if (key[0] == '\0')
		return -1;
	uint32_t place = roster_find(r, key);
	const struct roster_edit *before = place != ROSTER_NONE ? edit_of(edits, n, place, key) : NULL;
	if (before != NULL && before->text == NULL)
		place = ROSTER_NONE; /* removed by the same patch: it comes again at the end */
	else if (before != NULL)
		return -1;
	bool all_key = r->field->sub == NULL;
	if (place == ROSTER_NONE && edit_of(edits, n, ROSTER_NONE, key) != NULL)
		return all_key ? n : -1;
	char *text = entry_text(entry);
	if (place != ROSTER_NONE && (all_key || strcmp(text, r->slot[place].text) == 0)) {
		free(text);
		return n;
	}
	edits[n] = (struct roster_edit){place, strdup(key), text, entry};
	return n + 1;
}

int
roster_plan(const struct roster *r, json_t *remove, json_t *add, struct roster_edit *edits)
{
	int n = 0, next = 0;
	for (size_t i = 0; i < json_array_size(remove) && next >= 0; i++, n = next >= 0 ? next : n)
		next = plan_removal(r, json_array_get(remove, i), edits, n);
	for (size_t i = 0; i < json_array_size(add) && next >= 0; i++, n = next >= 0 ? next : n)
		next = plan_addition(r, json_array_get(add, i), edits, n);
	if (next < 0) {
		roster_edits_free(edits, (uint32_t)n);
		return -1;
	}
	return n;
}

void
roster_edits_free(struct roster_edit *edits, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		free(edits[i].key);
		free(edits[i].text);
	}
}

static void
take_out(struct roster *r, uint32_t place)
{
	struct slot *s = &r->slot[place];
	r->bytes -= strlen(s->text) + 1;
	r->live--;
	sum_add(r, place, UINT32_MAX); /* minus one */
	free(s->text);
	s->text = NULL;
	/* The key stays until all is built anew: the search goes on past it. */
}

void
roster_change(struct roster *r, struct roster_edit *edits, uint32_t n)
{
	uint32_t more = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct roster_edit *e = &edits[i];
		if (e->place == ROSTER_NONE) {
			more++;
			continue;
		}
		struct slot *s = &r->slot[e->place];
		if (e->text == NULL) {
			take_out(r, e->place);
		} else {
			r->bytes += strlen(e->text) - strlen(s->text);
			free(s->text);
			s->text = e->text;
		}
		free(e->key);
	}
	if (r->n + more > r->room)
		resize(r, r->live + more + (r->live + more) / 4 + 64);
	for (uint32_t i = 0; i < n; i++)
		if (edits[i].place == ROSTER_NONE)
			append(r, edits[i].key, edits[i].text);
}

char *
roster_text(const struct roster *r)
{
	size_t rest = strlen(r->around + r->at);
	char *out = malloc(r->at + r->bytes + rest + 1), *p = out;
	if (out == NULL)
		abort();
	memcpy(p, r->around, r->at);
	p += r->at;
	for (uint32_t i = 0, left = r->live; i < r->n; i++) {
		if (r->slot[i].text == NULL)
			continue;
		size_t length = strlen(r->slot[i].text);
		memcpy(p, r->slot[i].text, length);
		p += length;
		if (--left > 0)
			*p++ = ',';
	}
	memcpy(p, r->around + r->at, rest + 1);
	return out;
}
