/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

#define COLUMNS_MAX 64
#define GAP 2

struct table {
	int n;
	struct {
		char title[40];
		bool right;
		int width;
		bool hidden;
	} column[COLUMNS_MAX];
	char **cell;
	size_t cells, size;
};

static void *
must(void *p)
{
	if (p == NULL) {
		complain(REFUSED, "out of memory");
		exit(REFUSED);
	}
	return p;
}

struct table *
table_new(void)
{
	return must(calloc(1, sizeof(struct table)));
}

void
table_column(struct table *t, const char *title, bool right)
{
	if (t->n == COLUMNS_MAX)
		return;
	snprintf(t->column[t->n].title, sizeof(t->column[0].title), "%s", title);
	t->column[t->n].right = right;
	t->column[t->n].width = (int)strlen(t->column[t->n].title);
	t->n++;
}

void
table_cell(struct table *t, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	must(text);
	/* What comes from a pod must not steer the terminal. */
	for (char *p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	if (t->cells == t->size) {
		t->size = t->size == 0 ? 256 : 2 * t->size;
		t->cell = must(realloc(t->cell, t->size * sizeof(*t->cell)));
	}
	int at = (int)(t->cells % (size_t)t->n), width = (int)strlen(text);
	t->cell[t->cells++] = text;
	if (width > t->column[at].width)
		t->column[at].width = width;
}

static int
total_width(const struct table *t)
{
	int width = -GAP;
	for (int i = 0; i < t->n; i++)
		width += t->column[i].hidden ? 0 : t->column[i].width + GAP;
	return width;
}

static void
print_row(const struct table *t, FILE *out, char *const *row)
{
	int owed = 0; /* blanks that nothing follows are not printed */
	for (int i = 0; i < t->n; i++) {
		if (t->column[i].hidden)
			continue;
		const char *text = row != NULL ? row[i] : t->column[i].title;
		int pad = t->column[i].width - (int)strlen(text);
		fprintf(out, "%*s%s", owed + (t->column[i].right ? pad : 0), "", text);
		owed = GAP + (t->column[i].right ? 0 : pad);
	}
	fputc('\n', out);
}

void
table_print(struct table *t, FILE *out, int width, int keep)
{
	for (int i = t->n - keep - 1; width > 0 && i > 0 && total_width(t) > width; i--)
		t->column[i].hidden = true;
	if (out != NULL)
		print_row(t, out, NULL);
	for (size_t i = 0; out != NULL && i + (size_t)t->n <= t->cells; i += (size_t)t->n)
		print_row(t, out, t->cell + i);
	for (size_t i = 0; i < t->cells; i++)
		free(t->cell[i]);
	free(t->cell);
	free(t);
}

int
terminal_width(void)
{
	struct winsize w;
	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 0;
}
