/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define IF_EPOCH                                                                                                       \
	{                                                                                                              \
		"--if-epoch", 0, "N", "only if nothing has changed since epoch N"                                      \
	}
#define DRY_RUN                                                                                                        \
	{                                                                                                              \
		"--dry-run", 'n', NULL, "check, and change nothing"                                                    \
	}
#define END                                                                                                            \
	{                                                                                                              \
		NULL, 0, NULL, NULL                                                                                    \
	}

static const struct opt apply_opts[] = {
	{"--file", 'f', "F", "the objects; - is standard input"},
	{"--owner", 0, "O", "whose objects these are"},
	{"--prune", 0, NULL, "delete the owner's other objects"},
	DRY_RUN,
	IF_EPOCH,
	END,
};
static const struct opt patch_opts[] = {
	{"--add", 'a', "FIELD=VALUE", "an entry for a list; more words FIELD=VALUE may follow"},
	{"--remove", 'r', "FIELD=VALUE", "an entry, or its key (name, ip, prefix), to take out of a list"},
	{"--set", 0, "FIELD=VALUE", "a field's new value; null takes the field away"},
	DRY_RUN,
	IF_EPOCH,
	END,
};
static const struct opt delete_opts[] = {
	{"--file", 'f', "F", "the objects, of which only kind and name count; - is standard input"},
	DRY_RUN,
	IF_EPOCH,
	END,
};
static const struct opt get_opts[] = {{"--owner", 0, "O", "only this owner's"}, END};
static const struct opt drops_opts[] = {{"--port", 'p', "PORT", "only this port's"}, END};

const struct command commands[] = {
	{"apply", "-f F|-", 0, 0, "create or replace objects, all or none",
	 "F holds JSON: an object, a list of them, {\"objects\":[...]}, or several of these one after another. Each "
	 "object has a kind and a\n"
	 "name and is replaced whole; what is already so is left alone. It returns when every worker works by it.",
	 apply_opts, run_apply, false},
	{"patch", "KIND NAME --add|--remove|--set FIELD=VALUE...", 2, ITEMS_MAX, "change parts of a large object",
	 "  weft patch addressset shop/frontend --add members=10.0.0.7 members=10.0.0.8 --remove members=10.0.0.1\n"
	 "  weft patch service shop/web --add 'backends={\"ip\":\"10.244.1.5\"}' --remove backends=10.244.1.4\n"
	 "A value that begins with {, [ or \" is JSON; others are taken as the field's type asks.",
	 patch_opts, run_patch, false},
	{"delete", "KIND NAME... | -f F|-", 0, ITEMS_MAX, "delete objects, all or none",
	 "What others use is only deleted together with them.", delete_opts, run_delete, false},
	{"get", "KIND [NAME]", 1, 2, "show objects and how they are doing",
	 "A kind may be written small and in the plural: ports, endpoints, addresssets. -o wide shows every field, -o "
	 "json all of it.",
	 get_opts, run_get, false},
	{"status", "", 0, 0, "how the switch is doing", NULL, NULL, run_status, false},
	{"stats", "", 0, 0, "what workers and ports have done", "-o wide adds what each stage of the pipeline costs.",
	 NULL, run_stats, false},
	{"drops", "", 0, 0, "what was dropped, where and why", NULL, drops_opts, run_drops, false},
	{"schema", "[KIND]", 0, 1, "the kinds of objects, or one kind's fields", NULL, NULL, run_schema, false},
	{"watch", "[KIND...]", 0, 32, "print changes as they happen, until interrupted",
	 "-o json prints one JSON document per line.", NULL, run_watch, false},
	{"call", "VERB [PARAMS]", 1, 2, "ask anything: PARAMS is a JSON object, or - for standard input", NULL, NULL,
	 run_call, false},
	{"version", "", 0, 0, "the versions of this program and of the switch", NULL, NULL, run_version, false},
	{"help", "[COMMAND]", 0, 1, "how a command is used", NULL, NULL, run_help, false},
	{"complete", "commands | options COMMAND | kinds | names KIND", 1, 2, "words for the shell to complete with",
	 NULL, NULL, run_complete, true},
	{NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, false},
};

int
run_help(struct cli *c)
{
	const char *name = args_word(c, 0);
	const struct command *cmd = name != NULL ? command_find(name) : NULL;
	if (name == NULL)
		args_overview(stdout);
	else if (cmd == NULL)
		return complain(USAGE, "%s: unknown command (see weft help)", name);
	else
		args_help(stdout, cmd);
	return DONE;
}

int
run_version(struct cli *c)
{
	struct weft_error e;
	json_t *status = NULL;
	printf("weft %s\n", WEFT_VERSION);
	/* Its own version is worth knowing also where there is no switch. */
	if (weft_connect(&c->weft, c->socket, &e) == 0)
		status = weft_call(c->weft, "status", NULL, &e);
	if (status != NULL)
		printf("switch %s\n", string(status, "version"));
	else
		printf("switch unknown: %s\n", e.text);
	json_decref(status);
	return DONE;
}

int
run_call(struct cli *c)
{
	const char *text = args_word(c, 1);
	json_t *params = NULL;
	json_error_t e;
	int rc;
	if (text != NULL) {
		params = strcmp(text, "-") == 0 ? json_loadf(stdin, JSON_REJECT_DUPLICATES, &e)
						: json_loads(text, JSON_REJECT_DUPLICATES, &e);
		if (params == NULL)
			return complain(USAGE, "PARAMS: %s", e.text);
	}
	json_t *result = ask(c, args_word(c, 0), params, &rc);
	if (result != NULL)
		rc = print_json(result);
	json_decref(result);
	return rc;
}

static int
complete_names(struct cli *c, const char *word)
{
	int rc = 0;
	json_t *kind = word != NULL ? kind_find(c, word, &rc) : NULL, *object;
	size_t i;
	if (kind == NULL)
		return rc;
	json_t *list = ask(c, "list", json_pack("{s:s}", "kind", kind_name(kind)), &rc);
	json_array_foreach(json_object_get(list, "objects"), i, object) puts(string(object, "name"));
	json_decref(list);
	return rc;
}

static int
complete_options(const char *word)
{
	const struct command *cmd = word != NULL ? command_find(word) : NULL;
	for (const struct opt *o = cmd != NULL ? cmd->opts : NULL; o != NULL && o->name != NULL; o++)
		puts(o->name);
	for (const struct opt *o = global_opts; o->name != NULL; o++)
		puts(o->name);
	return DONE;
}

int
run_complete(struct cli *c)
{
	const char *what = args_word(c, 0), *word = args_word(c, 1);
	int rc = 0;
	if (strcmp(what, "commands") == 0) {
		for (const struct command *cmd = commands; cmd->name != NULL; cmd++) {
			if (!cmd->hidden)
				puts(cmd->name);
		}
		return DONE;
	}
	if (strcmp(what, "options") == 0)
		return complete_options(word);
	if (strcmp(what, "names") == 0)
		return complete_names(c, word);
	json_t *kinds = kinds_list(c, &rc), *kind;
	size_t i;
	json_array_foreach(kinds, i, kind)
	{
		for (const char *p = kind_name(kind); *p != '\0'; p++)
			putchar(*p | 0x20);
		putchar('\n');
	}
	return rc;
}
