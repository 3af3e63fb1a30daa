/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of `weft`. It knows verbs, and asks the switch's `schema` for kinds and fields. */
#ifndef WEFT_CLI_H
#define WEFT_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include <weft/client.h>

/* Exit codes. */
#define DONE 0
#define REFUSED 1 /* the switch refused, or could not */
#define USAGE 2   /* the command line is wrong, or the switch was not reached */

#define ITEMS_MAX 4096

struct opt {
	const char *name;  /* "--file" */
	char letter;       /* 'f', or 0 */
	const char *value; /* what its value is called; NULL: it takes none */
	const char *help;
};

/* The command line in its order: opt NULL is a plain word. */
struct item {
	const struct opt *opt;
	const char *value;
};

enum output { OUT_TABLE, OUT_WIDE, OUT_JSON };

struct cli;

struct command {
	const char *name;
	const char *words; /* "KIND [NAME]" */
	int min_words, max_words;
	const char *help;       /* one line */
	const char *details;    /* may be NULL */
	const struct opt *opts; /* ends with a NULL name; may be NULL */
	int (*run)(struct cli *c);
	bool hidden;
};

struct cli {
	const struct command *command;
	struct item items[ITEMS_MAX];
	int n_items;
	const char *socket;
	enum output output;
	struct weft *weft;
	json_t *schema;
};

extern const struct command commands[];
extern const struct opt global_opts[];
const struct command *command_find(const char *name);

/* args.c. Parse argv into c; 0, or USAGE after saying why. */
int args_parse(struct cli *c, int argc, char **argv);
const char *args_word(const struct cli *c, int n); /* the nth plain word after the command, or NULL */
int args_words(const struct cli *c);
const char *args_value(const struct cli *c, const char *opt); /* the last one's, or NULL */
bool args_has(const struct cli *c, const char *opt);
void args_help(FILE *out, const struct command *cmd);
void args_overview(FILE *out);

/* Say "weft: ..." on stderr and return code. */
__attribute__((format(printf, 2, 3))) int complain(int code, const char *fmt, ...);

/* main.c: one request. Takes params (may be NULL) over. The result (new reference), or NULL with *rc set after saying
 * why. */
json_t *ask(struct cli *c, const char *verb, json_t *params, int *rc);
/* 0, or USAGE after saying why. */
int reach(struct cli *c);
int print_json(const json_t *doc);

/* read.c: all documents of a file ("-": standard input) as one array of objects, or NULL after saying why. */
json_t *read_objects(const char *file);

/* kinds.c */
json_t *kinds_list(struct cli *c, int *rc); /* borrowed; NULL with *rc */
/* The kind that `word` means ("ports", "addressset"), borrowed; NULL with *rc after saying which there are. */
json_t *kind_find(struct cli *c, const char *word, int *rc);
const char *kind_name(const json_t *kind);
json_t *kind_field(const json_t *kind, const char *name);

/* table.c: cells row by row, printed with aligned columns. */
struct table;
struct table *table_new(void);
void table_column(struct table *t, const char *title, bool right);
__attribute__((format(printf, 2, 3))) void table_cell(struct table *t, const char *fmt, ...);
/* Prints (out NULL: does not), and frees. `width`: whole columns are left out at the right, but for `keep` last ones,
 * until it fits; 0: never. */
void table_print(struct table *t, FILE *out, int width, int keep);
int terminal_width(void);

/* text.c: values as a person reads them, into buf, which is returned. */
#define TEXT_MAX 256
const char *text_count(uint64_t n, char *buf);                                      /* 12, 1.2 k, 3.4 M */
const char *text_bytes(uint64_t n, char *buf);                                      /* 12 B, 1.2 KiB */
const char *text_duration(uint64_t seconds, char *buf);                             /* 3d 4h */
const char *text_value(const json_t *v, const json_t *field, int items, char *buf); /* at most `items` of a list */
int64_t number(const json_t *object, const char *name);                             /* 0 when absent */
const char *string(const json_t *object, const char *name);                         /* "-" when absent */

/* commands.c, change.c, get.c, show.c, describe.c */
int run_apply(struct cli *c);
int run_patch(struct cli *c);
int run_delete(struct cli *c);
int run_get(struct cli *c);
int run_status(struct cli *c);
int run_stats(struct cli *c);
int run_drops(struct cli *c);
int run_schema(struct cli *c);
int run_watch(struct cli *c);
int run_call(struct cli *c);
int run_version(struct cli *c);
int run_help(struct cli *c);
int run_complete(struct cli *c);
int print_change(struct cli *c, json_t *result, bool dry_run);

#endif
