/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <string.h>

#include "cli.h"

#define COLUMNS_IN_TABLE 6
#define LIST_IN_TABLE 2
#define LIST_IN_WIDE 16

/* All pages of a list, as {"objects":[...],"epoch":n}. */
static json_t *
list_all(struct cli *c, const char *kind, int *rc)
{
	const char *owner = args_value(c, "--owner");
	json_t *all = json_array(), *page, *token = NULL;
	json_int_t epoch = 0;
	do {
		json_t *params = json_pack("{s:s, s:o*, s:o*}", "kind", kind, "owner",
					   owner != NULL ? json_string(owner) : NULL, "continue", token);
		page = ask(c, "list", params, rc);
		json_array_extend(all, json_object_get(page, "objects"));
		epoch = json_integer_value(json_object_get(page, "epoch"));
		token = json_incref(json_object_get(page, "continue"));
		json_decref(page);
	} while (token != NULL);
	if (page == NULL) {
		json_decref(all);
		return NULL;
	}
	return json_pack("{s:o, s:I}", "objects", all, "epoch", epoch);
}

/* "gatewayMac" -> "GATEWAY MAC", "serviceCIDRs" -> "SERVICE CIDRS" */
static const char *
title_of(const char *name, char *buf, size_t size)
{
	size_t n = 0;
	for (const char *p = name; *p != '\0' && n + 2 < size; p++) {
		if (p > name && isupper((unsigned char)*p) && islower((unsigned char)p[-1]))
			buf[n++] = ' ';
		buf[n++] = (char)toupper((unsigned char)*p);
	}
	buf[n] = '\0';
	return buf;
}

/* Whether any object says something else than the default here. */
static bool
is_used(const json_t *objects, const char *name, const json_t *fallback)
{
	json_t *object;
	size_t i;
	json_array_foreach(objects, i, object)
	{
		json_t *v = json_object_get(object, name);
		bool empty = v == NULL || (json_is_array(v) && json_array_size(v) == 0) || json_is_false(v);
		if (!empty && (fallback == NULL || !json_equal(v, fallback)))
			return true;
	}
	return false;
}

static bool
has_hints(const json_t *fields)
{
	json_t *field;
	size_t i;
	json_array_foreach(fields, i, field)
	{
		if (json_is_true(json_object_get(field, "column")))
			return true;
	}
	return false;
}

/* The fields to show: what is in use; of a plain table the first few, or those that the schema hints at. */
static json_t *
choose_fields(struct cli *c, const json_t *kind, const json_t *objects)
{
	json_t *fields = json_object_get(kind, "fields"), *field, *chosen = json_array();
	bool hints = c->output == OUT_TABLE && has_hints(fields);
	size_t i;
	json_array_foreach(fields, i, field)
	{
		const char *name = string(field, "name");
		bool nested = json_object_get(field, "fields") != NULL && !json_is_true(json_object_get(field, "list"));
		bool full = c->output == OUT_TABLE && json_array_size(chosen) >= COLUMNS_IN_TABLE;
		if (strcmp(name, "name") == 0 || strcmp(name, "secret") == 0 || nested || full)
			continue;
		bool hidden = hints && !json_is_true(json_object_get(field, "column"));
		if (!hidden && is_used(objects, name, json_object_get(field, "default")))
			json_array_append(chosen, field);
	}
	return chosen;
}

static bool
any_status(const json_t *objects, const char *member)
{
	json_t *object;
	size_t i;
	json_array_foreach(objects, i, object)
	{
		if (json_object_get(json_object_get(object, "status"), member) != NULL)
			return true;
	}
	return false;
}

static void
add_traffic(struct table *t, const json_t *port)
{
	static const char *const members[] = {"rx", "tx", "dropped"};
	char buf[TEXT_MAX];
	bool open = port != NULL;
	table_cell(t, "%s", !open ? "-" : json_is_true(json_object_get(port, "up")) ? "up" : "down");
	for (int i = 0; i < 3; i++)
		table_cell(t, "%s", open ? text_count((uint64_t)number(port, members[i]), buf) : "-");
}

/* Why it is not ready, or else what is wrong around it. */
static void
add_message(struct table *t, const json_t *status)
{
	json_t *warnings = json_object_get(status, "warnings");
	const char *message = json_string_value(json_object_get(status, "message")),
		   *warning = json_string_value(json_array_get(warnings, 0));
	size_t more = json_array_size(warnings) > 1 ? json_array_size(warnings) - 1 : 0;
	if (message != NULL || warning == NULL)
		table_cell(t, "%s", message != NULL ? message : "-");
	else if (more == 0)
		table_cell(t, "warning: %s", warning);
	else
		table_cell(t, "warning: %s (and %zu more)", warning, more);
}

static void
add_row(struct table *t, struct cli *c, const json_t *object, const json_t *chosen, bool owners, bool ports,
	bool messages)
{
	char buf[TEXT_MAX];
	json_t *field, *status = json_object_get(object, "status");
	size_t i;
	table_cell(t, "%s", string(object, "name"));
	json_array_foreach(chosen, i, field)
		table_cell(t, "%s",
			   text_value(json_object_get(object, string(field, "name")), field,
				      c->output == OUT_WIDE ? LIST_IN_WIDE : LIST_IN_TABLE, buf));
	if (owners)
		table_cell(t, "%s", string(object, "owner"));
	if (ports)
		add_traffic(t, json_object_get(status, "port"));
	table_cell(t, "%s", string(status, "phase"));
	if (messages)
		add_message(t, status);
}

static int
print_objects(struct cli *c, const json_t *kind, const json_t *objects)
{
	json_t *chosen = choose_fields(c, kind, objects), *field, *object;
	bool owners = c->output == OUT_WIDE, ports = any_status(objects, "port"),
	     messages = any_status(objects, "message") || any_status(objects, "warnings");
	struct table *t = table_new();
	char buf[40];
	size_t i;
	table_column(t, "NAME", false);
	json_array_foreach(chosen, i, field)
	{
		bool is_number = strcmp(string(field, "type"), "number") == 0 && json_object_get(field, "list") == NULL;
		table_column(t, title_of(string(field, "name"), buf, sizeof(buf)), is_number);
	}
	if (owners)
		table_column(t, "OWNER", false);
	if (ports) {
		table_column(t, "LINK", false);
		table_column(t, "RX", true);
		table_column(t, "TX", true);
		table_column(t, "DROPPED", true);
	}
	table_column(t, "PHASE", false);
	if (messages)
		table_column(t, "MESSAGE", false);
	json_array_foreach(objects, i, object) add_row(t, c, object, chosen, owners, ports, messages);
	table_print(t, stdout, c->output == OUT_WIDE ? 0 : terminal_width(), 1 + messages + (ports ? 4 : 0));
	json_decref(chosen);
	return DONE;
}

static int
get_one(struct cli *c, const json_t *kind, const char *name)
{
	int rc;
	json_t *answer = ask(c, "get", json_pack("{s:s, s:s}", "kind", kind_name(kind), "name", name), &rc);
	json_t *object = json_object_get(answer, "object");
	if (answer != NULL && object == NULL)
		rc = complain(REFUSED, "the switch answered without an object");
	else if (answer != NULL && c->output == OUT_JSON)
		rc = print_json(object);
	else if (answer != NULL) {
		json_t *objects = json_pack("[O]", object);
		rc = print_objects(c, kind, objects);
		json_decref(objects);
	}
	json_decref(answer);
	return rc;
}

int
run_get(struct cli *c)
{
	int rc = 0;
	json_t *kind = kind_find(c, args_word(c, 0), &rc);
	if (kind == NULL)
		return rc;
	if (args_word(c, 1) != NULL)
		return get_one(c, kind, args_word(c, 1));
	json_t *list = list_all(c, kind_name(kind), &rc), *objects = json_object_get(list, "objects");
	if (list == NULL)
		return rc;
	if (c->output == OUT_JSON)
		rc = print_json(list);
	else if (json_array_size(objects) == 0)
		printf("no %s\n", kind_name(kind));
	else
		rc = print_objects(c, kind, objects);
	json_decref(list);
	return rc;
}
