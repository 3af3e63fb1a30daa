/* SPDX-License-Identifier: Apache-2.0 */
/* apply, patch, delete. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static int64_t
how_many(const json_t *result, const char *name)
{
	const json_t *v = json_object_get(result, name);
	return json_is_array(v) ? (int64_t)json_array_size(v) : (int64_t)json_integer_value(v);
}

int
print_change(struct cli *c, json_t *result, bool dry_run)
{
	json_t *warning;
	size_t i;
	if (c->output == OUT_JSON)
		return print_json(result);
	json_array_foreach(json_object_get(result, "warnings"), i, warning)
	{
		if (json_is_string(warning))
			fprintf(stderr, "weft: warning: %s\n", json_string_value(warning));
	}
	printf("%s%lld applied, %lld unchanged, %lld deleted; epoch %lld\n", dry_run ? "would be: " : "",
	       (long long)how_many(result, "applied"), (long long)how_many(result, "unchanged"),
	       (long long)how_many(result, "deleted"), (long long)number(result, "epoch"));
	return DONE;
}

/* --dry-run and --if-epoch into params. */
static int
add_conditions(struct cli *c, json_t *params)
{
	const char *epoch = args_value(c, "--if-epoch");
	if (args_has(c, "--dry-run"))
		json_object_set_new(params, "dryRun", json_true());
	if (epoch == NULL)
		return 0;
	char *end;
	errno = 0;
	long long n = strtoll(epoch, &end, 10);
	if (end == epoch || *end != '\0' || errno != 0 || n < 0)
		return complain(USAGE, "--if-epoch: %s is not an epoch, a whole number", epoch);
	json_object_set_new(params, "ifEpoch", json_integer(n));
	return 0;
}

static int
change(struct cli *c, const char *verb, json_t *params)
{
	int rc = add_conditions(c, params);
	if (rc != 0) {
		json_decref(params);
		return rc;
	}
	json_t *result = ask(c, verb, params, &rc);
	if (result != NULL)
		rc = print_change(c, result, args_has(c, "--dry-run"));
	json_decref(result);
	return rc;
}

int
run_apply(struct cli *c)
{
	const char *file = args_value(c, "--file"), *owner = args_value(c, "--owner");
	if (file == NULL)
		return complain(USAGE, "apply: needs -f FILE, or -f - for standard input");
	if (args_has(c, "--prune") && owner == NULL)
		return complain(USAGE, "apply: --prune needs --owner: it deletes what else that owner has");
	json_t *objects = read_objects(file);
	if (objects == NULL)
		return USAGE;
	json_t *params = json_pack("{s:o}", "objects", objects);
	if (owner != NULL)
		json_object_set_new(params, "owner", json_string(owner));
	if (args_has(c, "--prune"))
		json_object_set_new(params, "prune", json_true());
	return change(c, "apply", params);
}

/* Kind and name of each object in a file. */
static json_t *
read_targets(const char *file)
{
	json_t *objects = read_objects(file), *targets = json_array(), *object;
	size_t i;
	json_array_foreach(objects, i, object)
	{
		json_t *kind = json_object_get(object, "kind"), *name = json_object_get(object, "name");
		if (!json_is_string(kind) || !json_is_string(name)) {
			complain(USAGE, "%s: objects[%zu]: needs a kind and a name", file, i);
			json_decref(objects);
			json_decref(targets);
			return NULL;
		}
		json_array_append_new(targets, json_pack("{s:O, s:O}", "kind", kind, "name", name));
	}
	if (objects == NULL) {
		json_decref(targets);
		return NULL;
	}
	json_decref(objects);
	return targets;
}

int
run_delete(struct cli *c)
{
	const char *file = args_value(c, "--file");
	int rc = 0, words = args_words(c);
	json_t *targets;
	if ((file != NULL) == (words > 0) || words == 1)
		return complain(USAGE, "usage: weft delete %s", c->command->words);
	if (file != NULL) {
		targets = read_targets(file);
		if (targets == NULL)
			return USAGE;
	} else {
		json_t *kind = kind_find(c, args_word(c, 0), &rc);
		if (kind == NULL)
			return rc;
		targets = json_array();
		for (int i = 1; i < words; i++)
			json_array_append_new(
				targets, json_pack("{s:s, s:s}", "kind", kind_name(kind), "name", args_word(c, i)));
	}
	return change(c, "delete", json_pack("{s:o}", "objects", targets));
}

static bool
is_integer(const char *text)
{
	text += *text == '-';
	return *text != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) < 19;
}

/* "10.0.0.1", 80, true, or whatever JSON says. A bare word stands for an entry's key where entries are objects. */
static json_t *
parse_value(const json_t *field, const char *name, const char *text)
{
	const char *type = string(field, "type");
	json_error_t e;
	if (text[0] == '{' || text[0] == '[' || text[0] == '"' || strcmp(text, "null") == 0) {
		json_t *v = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e);
		if (v == NULL)
			complain(USAGE, "%s: %s", name, e.text);
		return v;
	}
	if (strcmp(type, "boolean") == 0 && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
		return json_boolean(text[0] == 't');
	bool numeric = strcmp(type, "number") == 0 || strcmp(type, "protocol") == 0 || strncmp(type, "port", 4) == 0;
	if (numeric && is_integer(text))
		return json_integer(strtoll(text, NULL, 10));
	json_t *v = json_string(text);
	if (v == NULL)
		complain(USAGE, "%s: the value is not UTF-8", name);
	return v;
}

/* One FIELD=VALUE of --add, --remove or --set. */
static int
add_edit(json_t *params, const json_t *kind, const char *op, const char *text)
{
	char name[64];
	size_t n = strcspn(text, "=");
	if (text[n] == '\0' || n == 0 || n >= sizeof(name))
		return complain(USAGE, "%s: %s is not FIELD=VALUE", op, text);
	memcpy(name, text, n);
	name[n] = '\0';
	json_t *value = parse_value(kind_field(kind, name), name, text + n + 1);
	if (value == NULL)
		return USAGE;
	json_t *edits = json_object_get(params, op + 2);
	if (edits == NULL) {
		json_object_set_new(params, op + 2, json_object());
		edits = json_object_get(params, op + 2);
	}
	if (strcmp(op, "--set") == 0)
		return json_object_set_new(edits, name, value);
	if (json_object_get(edits, name) == NULL)
		json_object_set_new(edits, name, json_array());
	json_t *list = json_object_get(edits, name);
	int rc = json_is_array(value) ? json_array_extend(list, value) : json_array_append(list, value);
	json_decref(value);
	return rc;
}

int
run_patch(struct cli *c)
{
	const char *op = NULL;
	int rc = 0, words = 0;
	json_t *kind = kind_find(c, args_word(c, 0), &rc);
	if (kind == NULL)
		return rc;
	json_t *params = json_pack("{s:s, s:s}", "kind", kind_name(kind), "name", args_word(c, 1));
	for (int i = 0; rc == 0 && i < c->n_items; i++) {
		const struct item *item = &c->items[i];
		bool edits = item->opt != NULL &&
			     (strcmp(item->opt->name, "--add") == 0 || strcmp(item->opt->name, "--remove") == 0 ||
			      strcmp(item->opt->name, "--set") == 0);
		if (edits)
			op = item->opt->name;
		if (edits || (item->opt == NULL && words++ >= 2))
			rc = op != NULL ? add_edit(params, kind, op, item->value)
					: complain(USAGE, "%s: comes before --add, --remove or --set", item->value);
	}
	if (rc == 0 && op == NULL)
		rc = complain(USAGE, "usage: weft patch %s", c->command->words);
	if (rc != 0) {
		json_decref(params);
		return rc;
	}
	return change(c, "patch", params);
}
