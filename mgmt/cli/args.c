/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

const struct opt global_opts[] = {
	{"--socket", 's', "S", "the switch's control socket (else $WEFT_SOCKET, else " WEFT_SOCKET ")"},
	{"--output", 'o', "FORMAT", "table, wide or json"},
	{"--help", 'h', NULL, "say how a command is used"},
	{NULL, 0, NULL, NULL},
};

int
complain(int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fflush(stdout);
	fputs("weft: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return code;
}

const struct command *
command_find(const char *name)
{
	for (const struct command *cmd = commands; cmd->name != NULL; cmd++) {
		if (strcmp(cmd->name, name) == 0)
			return cmd;
	}
	return NULL;
}

/* "--file", "--file=x" or 'f'. */
static const struct opt *
opt_find(const struct opt *opts, const char *name, size_t n, char letter)
{
	for (const struct opt *o = opts; o != NULL && o->name != NULL; o++) {
		if (letter != 0 ? o->letter == letter : strncmp(o->name, name, n) == 0 && o->name[n] == '\0')
			return o;
	}
	return NULL;
}

static int
add_item(struct cli *c, const struct opt *o, const char *value)
{
	json_t *text = o == NULL ? json_string(value) : NULL;
	if (o == NULL && text == NULL)
		return complain(USAGE, "a word of the command line is not UTF-8");
	json_decref(text);
	if (c->n_items == ITEMS_MAX)
		return complain(USAGE, "more than %d words: use a file (weft apply -f F)", ITEMS_MAX);
	c->items[c->n_items++] = (struct item){o, value};
	return 0;
}

static int
parse_option(struct cli *c, int argc, char **argv, int *i)
{
	const char *arg = argv[*i], *value = NULL;
	bool is_long = arg[1] == '-';
	size_t n = is_long ? strcspn(arg, "=") : 2;
	char letter = is_long ? 0 : arg[1];
	const struct opt *o = opt_find(global_opts, arg, n, letter);
	if (o == NULL && c->command != NULL)
		o = opt_find(c->command->opts, arg, n, letter);
	if (o == NULL && c->command != NULL)
		return complain(USAGE, "%s: unknown option %.*s (see weft help %s)", c->command->name, (int)n, arg,
				c->command->name);
	if (o == NULL)
		return complain(USAGE, "unknown option %.*s (see weft help)", (int)n, arg);
	if (arg[n] != '\0')
		value = arg + n + is_long;
	if (o->value == NULL && value != NULL)
		return complain(USAGE, "%s takes no value", o->name);
	if (o->value != NULL && value == NULL && ++*i < argc)
		value = argv[*i];
	if (o->value != NULL && value == NULL)
		return complain(USAGE, "%s needs a value: %s %s", o->name, o->name, o->value);
	return add_item(c, o, value);
}

static int
apply_globals(struct cli *c)
{
	const char *format = args_value(c, "--output");
	c->socket = args_value(c, "--socket");
	if (format == NULL || strcmp(format, "table") == 0)
		c->output = OUT_TABLE;
	else if (strcmp(format, "wide") == 0)
		c->output = OUT_WIDE;
	else if (strcmp(format, "json") == 0)
		c->output = OUT_JSON;
	else
		return complain(USAGE, "--output: %s is not one of table, wide, json", format);
	return 0;
}

int
args_parse(struct cli *c, int argc, char **argv)
{
	bool plain = false;
	int rc;
	for (int i = 1; i < argc; i++) {
		if (!plain && strcmp(argv[i], "--") == 0) {
			plain = true;
		} else if (!plain && argv[i][0] == '-' && argv[i][1] != '\0') {
			if ((rc = parse_option(c, argc, argv, &i)) != 0)
				return rc;
		} else if (c->command == NULL) {
			c->command = command_find(argv[i]);
			if (c->command == NULL)
				return complain(USAGE, "%s: unknown command (see weft help)", argv[i]);
		} else if ((rc = add_item(c, NULL, argv[i])) != 0) {
			return rc;
		}
	}
	if (c->command == NULL || args_has(c, "--help"))
		return apply_globals(c);
	int words = args_words(c);
	if (words < c->command->min_words || words > c->command->max_words)
		return complain(USAGE, "usage: weft %s%s%s", c->command->name, c->command->words[0] != '\0' ? " " : "",
				c->command->words);
	return apply_globals(c);
}

int
args_words(const struct cli *c)
{
	int n = 0;
	for (int i = 0; i < c->n_items; i++)
		n += c->items[i].opt == NULL;
	return n;
}

const char *
args_word(const struct cli *c, int n)
{
	for (int i = 0; i < c->n_items; i++) {
		if (c->items[i].opt == NULL && n-- == 0)
			return c->items[i].value;
	}
	return NULL;
}

static const struct item *
last_item(const struct cli *c, const char *opt)
{
	for (int i = c->n_items; i-- > 0;) {
		if (c->items[i].opt != NULL && strcmp(c->items[i].opt->name, opt) == 0)
			return &c->items[i];
	}
	return NULL;
}

const char *
args_value(const struct cli *c, const char *opt)
{
	const struct item *item = last_item(c, opt);
	return item != NULL ? item->value : NULL;
}

bool
args_has(const struct cli *c, const char *opt)
{
	return last_item(c, opt) != NULL;
}

static void
print_opts(FILE *out, const struct opt *opts)
{
	for (const struct opt *o = opts; o != NULL && o->name != NULL; o++) {
		char text[64];
		snprintf(text, sizeof(text), "%c%c%s%s%s%s", o->letter != 0 ? '-' : ' ',
			 o->letter != 0 ? o->letter : ' ', o->letter != 0 ? ", " : "  ", o->name,
			 o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
		fprintf(out, "  %-26s %s\n", text, o->help);
	}
}

void
args_help(FILE *out, const struct command *cmd)
{
	fprintf(out, "usage: weft %s%s%s\n\n%s\n", cmd->name, cmd->words[0] != '\0' ? " " : "", cmd->words, cmd->help);
	if (cmd->details != NULL)
		fprintf(out, "\n%s\n", cmd->details);
	fputs("\noptions:\n", out);
	print_opts(out, cmd->opts);
	print_opts(out, global_opts);
}

void
args_overview(FILE *out)
{
	fputs("usage: weft [-s SOCKET] [-o table|wide|json] COMMAND ...\n\ncommands:\n", out);
	for (const struct command *cmd = commands; cmd->name != NULL; cmd++) {
		if (!cmd->hidden)
			fprintf(out, "  %-10s %s\n", cmd->name, cmd->help);
	}
	fputs("\noptions:\n", out);
	print_opts(out, global_opts);
	fputs("\nexit codes: 0 done, 1 the switch refused or failed, 2 wrong usage or the switch was not reached\n",
	      out);
}
