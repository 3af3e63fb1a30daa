/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define QUICK_MS 30000 /* for verbs that do not build */

int
reach(struct cli *c)
{
	struct weft_error e;
	if (c->weft != NULL)
		return 0;
	if (weft_connect(&c->weft, c->socket, &e) < 0)
		return complain(USAGE, "%s", e.text);
	return 0;
}

json_t *
ask(struct cli *c, const char *verb, json_t *params, int *rc)
{
	struct weft_error e = {0};
	bool builds = strcmp(verb, "apply") == 0 || strcmp(verb, "patch") == 0 || strcmp(verb, "delete") == 0;
	json_t *result = NULL;
	*rc = reach(c);
	if (*rc == 0) {
		weft_set_timeout(c->weft, builds ? -1 : QUICK_MS);
		result = weft_call(c->weft, verb, params, &e);
		if (result == NULL)
			*rc = complain(e.code > 0 ? USAGE : REFUSED, "%s", e.text);
	}
	json_decref(params);
	return result;
}

int
print_json(const json_t *doc)
{
	if (json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY) < 0)
		return complain(REFUSED, "the answer cannot be printed");
	putchar('\n');
	return DONE;
}

int
main(int argc, char **argv)
{
	static struct cli c;
	int rc = args_parse(&c, argc, argv);
	if (rc == 0 && c.command == NULL) {
		bool asked = args_has(&c, "--help");
		args_overview(asked ? stdout : stderr);
		rc = asked ? DONE : USAGE;
	} else if (rc == 0 && args_has(&c, "--help")) {
		args_help(stdout, c.command);
	} else if (rc == 0) {
		rc = c.command->run(&c);
	}
	weft_close(c.weft);
	json_decref(c.schema);
	/* A full disk must not look like success. */
	if (fflush(stdout) != 0 || ferror(stdout))
		rc = complain(USAGE, "cannot write the answer: %s", strerror(errno));
	return rc;
}
