/* SPDX-License-Identifier: Apache-2.0 */
/* What a table says of itself, and names that are nearly right. */
#include "field.h"

#include <ctype.h>

#include <weft/text.h>

static const char *const type_names[] = {
	[FIELD_STRING] = "string",
	[FIELD_NAME] = "name",
	[FIELD_BOOL] = "boolean",
	[FIELD_NUMBER] = "number",
	[FIELD_IP] = "ip",
	[FIELD_PREFIX] = "prefix",
	[FIELD_HOST_PREFIX] = "address/length",
	[FIELD_MAC] = "mac",
	[FIELD_WORD] = "word",
	[FIELD_WORDS] = "word",
	[FIELD_PROTOCOL] = "protocol",
	[FIELD_PORT_OR_NAME] = "port number or name",
	[FIELD_PORT_RANGE] = "port range",
	[FIELD_PORT_MAP] = "ports by name",
	[FIELD_OBJECT] = "object",
	[FIELD_JSON] = "json",
};

static json_t *
describe_default(const struct field *f)
{
	char text[MAC_TEXT_MAX];
	struct mac mac;
	switch (f->type) {
	case FIELD_BOOL:
		return json_boolean(f->fallback != 0);
	case FIELD_WORD:
		return json_string(f->words[f->fallback - f->min]);
	case FIELD_PROTOCOL:
		return json_string("TCP");
	case FIELD_PORT_RANGE:
		return json_pack("[i,i]", (int)(f->fallback >> 16), (int)(f->fallback & 0xffff));
	case FIELD_MAC:
		for (int i = 0; i < 6; i++)
			mac.b[i] = (uint8_t)(f->fallback >> (40 - 8 * i));
		return json_string(mac_format(&mac, text));
	default:
		return json_integer((json_int_t)f->fallback);
	}
}

static void
describe_range(const struct field *f, json_t *out)
{
	if (f->type == FIELD_NUMBER) {
		uint64_t max = f->max != 0 ? f->max : f->size >= 8 ? INT64_MAX : (1ull << (8 * f->size)) - 1;
		json_object_set_new(out, "min", json_integer((json_int_t)f->min));
		json_object_set_new(out, "max", json_integer((json_int_t)max));
	} else if (f->type == FIELD_STRING || f->type == FIELD_NAME) {
		json_object_set_new(out, "maxLength", json_integer((json_int_t)(f->max != 0 ? f->max : WEFT_NAME_MAX)));
	}
	if (f->list || f->type == FIELD_WORDS || f->type == FIELD_PORT_MAP) {
		if (f->type != FIELD_PORT_MAP)
			json_object_set_new(out, "list", json_true());
		if (f->min_items != 0)
			json_object_set_new(out, "minItems", json_integer(f->min_items));
		json_object_set_new(out, "maxItems", json_integer(f->max_items != 0 ? f->max_items : FIELD_ITEMS_MAX));
	}
}

static json_t *
describe(const struct field *f)
{
	static const char *const needs[] = {
		[FIELD_OPTIONAL] = "optional", [FIELD_REQUIRED] = "required", [FIELD_DEFAULT] = "default"};
	json_t *out =
		json_pack("{s:s, s:s, s:s}", "name", f->name, "type", type_names[f->type], "need", needs[f->need]);
	if (f->need == FIELD_DEFAULT)
		json_object_set_new(out, "default", describe_default(f));
	describe_range(f, out);
	if (f->words != NULL) {
		json_t *words = json_array();
		for (unsigned int i = 0; f->words[i] != NULL; i++)
			json_array_append_new(words, json_string(f->words[i]));
		json_object_set_new(out, "words", words);
	}
	if (f->key != NULL)
		json_object_set_new(out, "key", json_string(f->key));
	if (f->column)
		json_object_set_new(out, "column", json_true());
	if (f->sub != NULL)
		json_object_set_new(out, "fields", field_describe(f->sub));
	json_object_set_new(out, "help", json_string(f->help));
	return out;
}

json_t *
field_describe(const struct field_table *t)
{
	json_t *out = json_array();
	for (unsigned int i = 0; i < t->n; i++)
		json_array_append_new(out, describe(&t->field[i]));
	return out;
}

static json_t *
arrange_value(const struct field *f, json_t *value)
{
	if (f->sub == NULL)
		return json_incref(value);
	if (!f->list)
		return field_arrange(f->sub, value);
	json_t *out = json_array();
	for (size_t i = 0; i < json_array_size(value); i++)
		json_array_append_new(out, field_arrange(f->sub, json_array_get(value, i)));
	return out;
}

json_t *
field_arrange(const struct field_table *t, json_t *object)
{
	json_t *out = json_object();
	for (unsigned int i = 0; i < t->n; i++) {
		json_t *value = json_object_get(object, t->field[i].name);
		if (value != NULL)
			json_object_set_new(out, t->field[i].name, arrange_value(&t->field[i], value));
	}
	return out;
}

#define NEAREST_MAX 48

/* Levenshtein's distance; case does not count. */
static unsigned int
distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned int row[NEAREST_MAX + 1];
	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned int diagonal = row[0];
		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= nb; j++) {
			bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
			unsigned int best = diagonal + !same;
			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[nb];
}

const char *
field_nearest(const char *text, const char *(*next)(const void *arg, unsigned int i), const void *arg)
{
	const char *best = NULL, *candidate;
	size_t n = strlen(text);
	unsigned int best_distance = (unsigned int)(n / 3) + 1;
	for (unsigned int i = 0; n > 0 && n <= NEAREST_MAX && (candidate = next(arg, i)) != NULL; i++) {
		size_t m = strlen(candidate);
		unsigned int d = m <= NEAREST_MAX ? distance(text, n, candidate, m) : UINT32_MAX;
		/* "mode" for "x" is no help: something must remain. */
		if (d < m && (d < best_distance || (d == best_distance && best == NULL))) {
			best = candidate;
			best_distance = d;
		}
	}
	return best;
}
