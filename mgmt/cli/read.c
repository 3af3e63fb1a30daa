/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static char *
read_all(FILE *f, size_t *n)
{
	size_t size = 64 << 10;
	char *text = malloc(size);
	for (*n = 0; text != NULL;) {
		size_t got = fread(text + *n, 1, size - *n, f);
		*n += got;
		if (got == 0)
			break;
		if (*n == size) {
			char *more = realloc(text, size *= 2);
			if (more == NULL)
				free(text);
			text = more;
		}
	}
	return text;
}

static int
lines_in(const char *text, size_t n)
{
	int lines = 0;
	for (size_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	return lines;
}

/* One document: an object, a list of them, or {"objects":[...]}. */
static int
add_document(json_t *objects, json_t *doc, const char *file, int line)
{
	json_t *list = json_is_array(doc) ? doc : NULL, *item;
	size_t i;
	if (json_is_object(doc) && json_object_get(doc, "kind") == NULL)
		list = json_object_get(doc, "objects");
	if (list == NULL && json_is_object(doc))
		return json_array_append(objects, doc);
	if (!json_is_array(list))
		return complain(USAGE, "%s:%d: must be an object, a list of objects, or {\"objects\":[...]}", file,
				line);
	json_array_foreach(list, i, item)
	{
		if (!json_is_object(item))
			return complain(USAGE, "%s:%d: entry %zu of the list is not an object", file, line, i);
		json_array_append(objects, item);
	}
	return 0;
}

/* A file without any document is a mistake; one that says [] means it. */
static int
parse_all(json_t *objects, const char *text, size_t n, const char *file)
{
	int line = 1, documents = 0;
	for (size_t at = 0;; documents++) {
		json_error_t e;
		for (; at < n && isspace((unsigned char)text[at]); at++)
			line += text[at] == '\n';
		if (at == n)
			return documents > 0 ? 0 : complain(USAGE, "%s: holds no objects", file);
		json_t *doc = json_loadb(text + at, n - at, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &e);
		if (doc == NULL)
			return complain(USAGE, "%s:%d:%d: %s", file, line + e.line - 1, e.column, e.text);
		int rc = add_document(objects, doc, file, line);
		json_decref(doc);
		if (rc != 0)
			return rc;
		line += lines_in(text + at, (size_t)e.position);
		at += (size_t)e.position;
	}
}

json_t *
read_objects(const char *file)
{
	bool is_stdin = strcmp(file, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(file, "re");
	const char *name = is_stdin ? "standard input" : file;
	if (f == NULL) {
		complain(USAGE, "%s: %s", file, strerror(errno));
		return NULL;
	}
	size_t n = 0;
	char *text = read_all(f, &n);
	int rc = text == NULL ? complain(USAGE, "%s: %s", name, strerror(ENOMEM))
		 : ferror(f)  ? complain(USAGE, "%s: %s", name, strerror(errno))
			      : 0;
	if (!is_stdin)
		fclose(f);
	json_t *objects = json_array();
	if (rc == 0)
		rc = parse_all(objects, text, n, name);
	free(text);
	if (rc == 0)
		return objects;
	json_decref(objects);
	return NULL;
}
