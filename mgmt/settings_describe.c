/* SPDX-License-Identifier: Apache-2.0 */
#include "settings_key.h"

static void
describe_values(FILE *out, const struct key *k)
{
	switch (k->type) {
	case KEY_UINT:
		fprintf(out, "whole number in %ld..%ld", k->min, k->max);
		break;
	case KEY_BOOL:
		fputs("`true` or `false`", out);
		break;
	case KEY_WORD:
		for (const struct key_word *w = k->words; w->name != NULL; w++)
			fprintf(out, "%s`\"%s\"`", w == k->words ? "" : w[1].name == NULL ? " or " : ", ", w->name);
		break;
	case KEY_TEXT:
		fprintf(out, "name of at most %zu bytes", k->size - 1);
		break;
	case KEY_PATH:
		fprintf(out, "absolute path of at most %zu bytes", k->size - 1);
		break;
	case KEY_MODE:
		fputs("octal digits in a string, `\"0600\"`..`\"0777\"`", out);
		break;
	case KEY_CORE:
		fputs("a core of the process's cpuset", out);
		break;
	case KEY_CORES:
		fprintf(out, "list of %ld..%ld cores of the process's cpuset, each once", k->min, k->max);
		break;
	case KEY_ROLES:
		fprintf(out, "list of %ld..%ld groups `{ who, role }`; `role` is ", k->min, k->max);
		for (const struct key_word *w = k->words; w->name != NULL; w++)
			fprintf(out, "%s`\"%s\"`", w == k->words ? "" : w[1].name == NULL ? " or " : ", ", w->name);
		break;
	}
}

static bool
is_first_of_group(unsigned int i)
{
	const char *path = settings_keys[i].path, *before = i > 0 ? settings_keys[i - 1].path : ".";
	return key_group(path) != key_group(before) || strncmp(path, before, key_group(path) + 1) != 0;
}

static void
describe_keys(FILE *out)
{
	for (unsigned int i = 0; i < settings_key_count; i++) {
		const struct key *k = &settings_keys[i];
		if (is_first_of_group(i))
			fprintf(out, "\n## %.*s\n", (int)key_group(k->path), k->path);
		fprintf(out, "\n### `%s`\n\n%s\n\n- Value: ", k->path, k->help);
		describe_values(out, k);
		if (k->def != NULL)
			fprintf(out, "\n- Default: `%s`\n", k->def);
		else
			fprintf(out, "\n- Default: %s\n", k->computed);
	}
}

/* True when the group of `path` lies within `outer`'s. */
static bool
is_within(const char *path, const char *outer)
{
	return key_group(path) > key_group(outer) && strncmp(path, outer, key_group(outer) + 1) == 0;
}

static int
depth_of(const char *path)
{
	int dots = 0;
	for (; *path != '\0'; path++)
		dots += *path == '.';
	return dots;
}

static void
close_groups(FILE *out, const char *path)
{
	for (int depth = depth_of(path) - 1; depth >= 0; depth--)
		fprintf(out, "%.*s};\n", depth, "\t\t\t\t");
}

/* A file that says what no file says. */
static void
describe_example(FILE *out)
{
	fputs("\n## The defaults as a file\n\n```\n", out);
	for (unsigned int i = 0; i < settings_key_count; i++) {
		const struct key *k = &settings_keys[i];
		const char *before = i > 0 ? settings_keys[i - 1].path : NULL, *name = k->path + key_group(k->path) + 1;
		int depth = depth_of(k->path);
		if (is_first_of_group(i)) {
			bool inner = before != NULL && is_within(k->path, before);
			size_t from = inner ? key_group(before) + 1 : 0;
			if (before != NULL && !inner)
				close_groups(out, before);
			fprintf(out, "%.*s%.*s = {\n", depth - 1, "\t\t\t\t", (int)(key_group(k->path) - from),
				k->path + from);
		}
		if (k->def != NULL)
			fprintf(out, "%.*s%s = %s;\n", depth, "\t\t\t\t", name, k->def);
		else
			fprintf(out, "%.*s# %s: %s\n", depth, "\t\t\t\t", name, k->computed);
	}
	close_groups(out, settings_keys[settings_key_count - 1].path);
	fputs("```\n", out);
}

void
settings_describe(FILE *out)
{
	fputs("# weft.conf\n\n"
	      "`/etc/weft/weft.conf` holds what must be known before the switch starts; everything else is an object "
	      "that `weft apply` "
	      "brings. Every\nkey has a default, so an empty or missing file works. A key that is not listed here, a "
	      "wrong type or a "
	      "value out of range is an error that\nnames file, line and key; `weftd --check -c FILE` looks for them "
	      "without starting "
	      "anything.\n\n"
	      "The syntax is libconfig's: groups `name = { ... };`, strings in double quotes, lists in `[ ]` or `( )`, "
	      "comments after `#`, "
	      "`//` or in `/* */`.\n`@include` is not supported. Numbers are decimal, or hexadecimal after `0x`; "
	      "permission bits are "
	      "strings.\n",
	      out);
	describe_keys(out);
	describe_example(out);
}
