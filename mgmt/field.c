/* SPDX-License-Identifier: Apache-2.0 */
#include "field.h"

#include <weft/spec.h>

int
error_under(struct error *e, int rc, const char *where, ...)
{
	if (e == NULL)
		return rc;
	char old[sizeof(e->path)];
	va_list ap;
	memcpy(old, e->path, sizeof(old));
	va_start(ap, where);
	int n = vsnprintf(e->path, sizeof(e->path), where, ap);
	va_end(ap);
	size_t at = n < 0 ? 0 : (size_t)n < sizeof(e->path) ? (size_t)n : sizeof(e->path) - 1, more = strlen(old);
	if (more > 0 && old[0] != '[' && at < sizeof(e->path) - 1)
		e->path[at++] = '.';
	if (more > sizeof(e->path) - 1 - at)
		more = sizeof(e->path) - 1 - at;
	memcpy(e->path + at, old, more);
	e->path[at + more] = '\0';
	return rc;
}

const struct field *
field_find(const struct field_table *t, const char *name)
{
	for (unsigned int i = 0; t != NULL && i < t->n; i++)
		if (strcmp(t->field[i].name, name) == 0)
			return &t->field[i];
	return NULL;
}

bool
field_seen(const struct field_table *t, uint64_t seen, const char *name)
{
	const struct field *f = field_find(t, name);
	return f != NULL && (seen >> (f - t->field) & 1) != 0;
}

struct two_tables {
	const struct field_table *t, *also;
};

static const char *
table_name(const void *arg, unsigned int i)
{
	const struct two_tables *two = arg;
	if (i < two->t->n)
		return two->t->field[i].name;
	i -= two->t->n;
	return two->also != NULL && i < two->also->n ? two->also->field[i].name : NULL;
}

static int
unknown_field(const struct field_table *t, const struct field_table *also, const char *name, struct error *e)
{
	char quoted[FIELD_QUOTE_MAX], known[256];
	struct two_tables two = {t, also};
	const char *near = field_nearest(name, table_name, &two), *next;
	field_quote(name, quoted);
	if (near != NULL)
		return error_at(e, -EINVAL, quoted, "unknown field; did you mean \"%s\"?", near);
	size_t n = 0;
	snprintf(known, sizeof(known), "none");
	for (unsigned int i = 0; (next = table_name(&two, i)) != NULL && n < sizeof(known); i++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i > 0 ? ", " : "", next);
	return error_at(e, -EINVAL, quoted, "unknown field; known are %s", known);
}

static void
store_fallback(const struct field *f, char *out)
{
	uint64_t v = f->fallback;
	if (f->list || v == 0)
		return;
	if (f->type == FIELD_PORT_RANGE) {
		*(uint16_t *)(out + f->offset) = (uint16_t)(v >> 16);
		*(uint16_t *)(out + f->aux) = (uint16_t)v;
	} else if (f->type == FIELD_MAC) {
		for (int i = 0; i < 6; i++)
			((struct mac *)(out + f->offset))->b[i] = (uint8_t)(v >> (40 - 8 * i));
	} else {
		/* Little endian, as every machine that DPDK's x86 and arm builds know. */
		memcpy(out + f->offset, &v, f->size < sizeof(v) ? f->size : sizeof(v));
	}
}

int
field_decode(const struct field_table *t, const struct field_table *also, json_t *object, void *out, struct arena *a,
	     uint64_t *seen_out, struct error *e)
{
	uint64_t seen = 0;
	const char *name;
	json_t *value;
	if (!json_is_object(object))
		return error_set(e, -EINVAL, "must be an object, not %s", field_json_type(object));
	json_object_foreach(object, name, value)
	{
		const struct field *f = field_find(t, name);
		if (f == NULL && field_find(also, name) != NULL)
			continue;
		if (f == NULL)
			return unknown_field(t, also, name, e);
		int rc = field_value(f, value, out, a, e);
		if (rc < 0)
			return error_under(e, rc, "%s", f->name);
		seen |= 1ull << (f - t->field);
	}
	for (unsigned int i = 0; i < t->n; i++) {
		if ((seen >> i & 1) != 0)
			continue;
		if (t->field[i].need == FIELD_REQUIRED)
			return error_at(e, -EINVAL, t->field[i].name, "is required");
		store_fallback(&t->field[i], out);
	}
	if (seen_out != NULL)
		*seen_out = seen;
	return t->check != NULL ? t->check(out, seen, e) : 0;
}

static int
check_count(const struct field *f, size_t n, struct error *e)
{
	uint32_t max = f->max_items != 0 ? f->max_items : FIELD_ITEMS_MAX;
	if (n > max)
		return error_set(e, -EINVAL, "has %zu entries, at most %u are allowed", n, max);
	if (n < f->min_items)
		return error_set(e, -EINVAL, "needs at least %u entr%s", f->min_items, f->min_items == 1 ? "y" : "ies");
	return 0;
}

static int
decode_list(const struct field *f, json_t *value, char *out, struct arena *a, struct error *e)
{
	size_t n = json_array_size(value);
	if (!json_is_array(value))
		return error_set(e, -EINVAL, "must be a list, not %s", field_json_type(value));
	int rc = check_count(f, n, e);
	if (rc < 0 || n == 0)
		return rc;
	char *v = arena_alloc(a, n * f->size);
	for (size_t i = 0; i < n; i++) {
		rc = field_scalar(f, json_array_get(value, i), v + i * f->size, a, e);
		if (rc < 0)
			return error_under(e, rc, "[%zu]", i);
	}
	memcpy(out + f->offset, &v, sizeof(v));
	*(uint32_t *)(out + f->aux) = (uint32_t)n;
	return 0;
}

static int
decode_words(const struct field *f, json_t *value, char *out, struct arena *a, struct error *e)
{
	struct field one = *f;
	uint32_t index;
	if (!json_is_array(value))
		return error_set(e, -EINVAL, "must be a list, not %s", field_json_type(value));
	one.type = FIELD_WORD;
	one.size = sizeof(index);
	int rc = check_count(f, json_array_size(value), e);
	for (size_t i = 0; rc == 0 && i < json_array_size(value); i++) {
		index = 0;
		rc = field_scalar(&one, json_array_get(value, i), &index, a, e);
		if (rc < 0)
			return error_under(e, rc, "[%zu]", i);
		((bool *)(out + f->offset))[index] = true;
	}
	return rc;
}

static int
decode_port(json_t *value, uint16_t *out, struct error *e)
{
	static const struct field port = {.type = FIELD_NUMBER, .size = sizeof(*out), .min = 1, .max = 65535};
	return field_scalar(&port, value, out, NULL, e);
}

static int
decode_port_range(const struct field *f, json_t *value, char *out, struct error *e)
{
	uint16_t *first = (uint16_t *)(out + f->offset), *last = (uint16_t *)(out + f->aux);
	if (!json_is_array(value) || json_array_size(value) != 2)
		return error_set(e, -EINVAL, "must be a list of two numbers, the first and the last port");
	int rc = decode_port(json_array_get(value, 0), first, e);
	if (rc < 0)
		return error_under(e, rc, "[0]");
	rc = decode_port(json_array_get(value, 1), last, e);
	if (rc < 0)
		return error_under(e, rc, "[1]");
	return *first <= *last ? 0 : error_set(e, -EINVAL, "the first port, %u, is above the last, %u", *first, *last);
}

static int
decode_port_or_name(const struct field *f, json_t *value, char *out, struct arena *a, struct error *e)
{
	static const struct field name = {.type = FIELD_NAME, .size = sizeof(char *), .max = 63};
	if (json_is_string(value))
		return field_scalar(&name, value, out + f->aux, a, e);
	if (!json_is_integer(value))
		return error_set(e, -EINVAL, "must be a port number or a port's name, not %s", field_json_type(value));
	return decode_port(value, (uint16_t *)(out + f->offset), e);
}

static int
decode_port_map(const struct field *f, json_t *value, char *out, struct arena *a, struct error *e)
{
	static const struct field name_field = {.type = FIELD_NAME, .size = sizeof(char *), .max = 63};
	const char *name;
	json_t *port;
	uint32_t n = 0;
	if (!json_is_object(value))
		return error_set(e, -EINVAL, "must be an object such as {\"http\": 8080}, not %s",
				 field_json_type(value));
	int rc = check_count(f, json_object_size(value), e);
	if (rc < 0)
		return rc;
	struct spec_backend_port *v = arena_alloc(a, json_object_size(value) * sizeof(*v));
	json_object_foreach(value, name, port)
	{
		json_t *text = json_string(name);
		char quoted[FIELD_QUOTE_MAX];
		rc = field_scalar(&name_field, text, &v[n].name, a, e);
		json_decref(text);
		if (rc == 0)
			rc = decode_port(port, &v[n].port, e);
		if (rc < 0)
			return error_under(e, rc, "%s", field_quote(name, quoted));
		n++;
	}
	memcpy(out + f->offset, &v, sizeof(v));
	*(uint32_t *)(out + f->aux) = n;
	return 0;
}

int
field_value(const struct field *f, json_t *value, void *base, struct arena *a, struct error *e)
{
	char *out = base;
	if (f->has != 0)
		*(bool *)(out + f->has) = true;
	if (f->list)
		return decode_list(f, value, out, a, e);
	switch (f->type) {
	case FIELD_WORDS:
		return decode_words(f, value, out, a, e);
	case FIELD_PORT_RANGE:
		return decode_port_range(f, value, out, e);
	case FIELD_PORT_OR_NAME:
		return decode_port_or_name(f, value, out, a, e);
	case FIELD_PORT_MAP:
		return decode_port_map(f, value, out, a, e);
	default:
		return field_scalar(f, value, out + f->offset, a, e);
	}
}
