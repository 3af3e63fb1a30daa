/* SPDX-License-Identifier: Apache-2.0 */
/* schema, watch. */
#include <string.h>
#include <time.h>

#include "cli.h"

static void
append_words(const json_t *words, char *buf, size_t size)
{
	json_t *word;
	size_t i, n = 0;
	buf[0] = '\0';
	json_array_foreach(words, i, word)
	{
		if (n < size)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", i > 0 ? "|" : "", json_string_value(word));
	}
}

/* "1..65535", "server|client", "up to 16 of ..." */
static void
add_field(struct table *t, const json_t *field, const char *under)
{
	char words[TEXT_MAX], type[2 * TEXT_MAX], name[TEXT_MAX], value[TEXT_MAX];
	const json_t *min = json_object_get(field, "min"), *max = json_object_get(field, "max"),
		     *sub = json_object_get(field, "fields");
	const json_t *fallback = json_object_get(field, "default");
	bool list = json_is_true(json_object_get(field, "list"));
	json_t *inner;
	size_t i;
	append_words(json_object_get(field, "words"), words, sizeof(words));
	if (words[0] != '\0')
		snprintf(type, sizeof(type), "%s%s", list ? "list of " : "", words);
	else if (min != NULL && max != NULL && json_integer_value(max) < INT64_MAX)
		snprintf(type, sizeof(type), "%s%lld..%lld", list ? "list of " : "", (long long)json_integer_value(min),
			 (long long)json_integer_value(max));
	else
		snprintf(type, sizeof(type), "%s%s", list ? "list of " : "", string(field, "type"));
	snprintf(name, sizeof(name), "%.180s%.60s", under, string(field, "name"));
	table_cell(t, "%s", name);
	table_cell(t, "%s", type);
	table_cell(t, "%s", fallback != NULL ? text_value(fallback, NULL, 4, value) : string(field, "need"));
	table_cell(t, "%s", string(field, "help"));
	snprintf(value, sizeof(value), "%.200s%s.", name, list ? "[]" : "");
	json_array_foreach(sub, i, inner) add_field(t, inner, value);
}

static int
print_kind(struct cli *c, const json_t *kind)
{
	struct table *t = table_new();
	json_t *field;
	size_t i;
	printf("%s: %s\n\n", kind_name(kind), string(kind, "help"));
	table_column(t, "FIELD", false);
	table_column(t, "TYPE", false);
	table_column(t, "DEFAULT", false);
	table_column(t, "HELP", false);
	json_array_foreach(json_object_get(kind, "fields"), i, field) add_field(t, field, "");
	json_array_foreach(json_object_get(c->schema, "common"), i, field) add_field(t, field, "");
	table_print(t, stdout, 0, 0);
	return DONE;
}

static int
print_kinds(struct cli *c, const json_t *kinds)
{
	struct table *t = table_new();
	json_t *row;
	size_t i;
	table_column(t, "KIND", false);
	table_column(t, "HELP", false);
	json_array_foreach(kinds, i, row)
	{
		table_cell(t, "%s", kind_name(row));
		table_cell(t, "%s", string(row, "help"));
	}
	table_print(t, stdout, 0, 0);
	if (c->output != OUT_WIDE)
		return DONE;
	t = table_new();
	table_column(t, "VERB", false);
	table_column(t, "ROLE", false);
	table_column(t, "HELP", false);
	json_array_foreach(json_object_get(c->schema, "verbs"), i, row)
	{
		table_cell(t, "%s", string(row, "verb"));
		table_cell(t, "%s", string(row, "role"));
		table_cell(t, "%s", string(row, "help"));
	}
	putchar('\n');
	table_print(t, stdout, 0, 0);
	return DONE;
}

int
run_schema(struct cli *c)
{
	const char *word = args_word(c, 0);
	int rc = 0;
	json_t *kinds = kinds_list(c, &rc);
	if (kinds == NULL)
		return rc != 0 ? rc : complain(REFUSED, "the switch's schema names no kinds");
	if (word == NULL)
		return c->output == OUT_JSON ? print_json(c->schema) : print_kinds(c, kinds);
	json_t *kind = kind_find(c, word, &rc);
	if (kind == NULL)
		return rc;
	return c->output == OUT_JSON ? print_json(kind) : print_kind(c, kind);
}

static void
print_event(const json_t *event)
{
	static const char *const known[] = {"event", "kind", "name"};
	struct timespec now;
	struct tm tm;
	char text[TEXT_MAX], at[16];
	const char *key;
	json_t *v;
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	strftime(at, sizeof(at), "%H:%M:%S", &tm);
	printf("%s.%03ld %-8s %s %s", at, now.tv_nsec / 1000000, string(event, "event"), string(event, "kind"),
	       string(event, "name"));
	json_object_foreach((json_t *)event, key, v)
	{
		bool is_known = false;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			is_known |= strcmp(known[i], key) == 0;
		if (!is_known)
			printf(" %s=%s", key, text_value(v, NULL, 8, text));
	}
	putchar('\n');
}

int
run_watch(struct cli *c)
{
	const char *kinds[32];
	struct weft_error e;
	int rc = 0, n = args_words(c);
	for (int i = 0; i < n; i++) {
		json_t *kind = kind_find(c, args_word(c, i), &rc);
		if (kind == NULL)
			return rc;
		kinds[i] = kind_name(kind);
	}
	if ((rc = reach(c)) != 0)
		return rc;
	weft_set_timeout(c->weft, 30000);
	if (weft_watch(c->weft, kinds, (size_t)n, &e) < 0)
		return complain(e.code > 0 ? USAGE : REFUSED, "%s", e.text);
	for (json_t *event; (event = weft_event(c->weft, -1, &e)) != NULL; json_decref(event)) {
		if (c->output != OUT_JSON)
			print_event(event);
		else if (json_dumpf(event, stdout, JSON_COMPACT) == 0)
			putchar('\n');
		/* Whoever reads from a pipe reads now, and when nobody does, there is nothing left to do. */
		if (fflush(stdout) != 0) {
			json_decref(event);
			return DONE;
		}
	}
	return complain(e.code > 0 ? USAGE : REFUSED, "%s", e.text);
}
