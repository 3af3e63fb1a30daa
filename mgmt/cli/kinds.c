/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <strings.h>

#include "cli.h"

json_t *
kinds_list(struct cli *c, int *rc)
{
	if (c->schema == NULL)
		c->schema = ask(c, "schema", NULL, rc);
	return json_object_get(c->schema, "kinds");
}

const char *
kind_name(const json_t *kind)
{
	const char *name = json_string_value(json_object_get(kind, "kind"));
	return name != NULL ? name : "";
}

/* "Policy" is also policy, Policies, policys; "Address-Sets" is AddressSet. */
static bool
is_kind(const char *name, const char *word)
{
	size_t n = strlen(name);
	char plain[64];
	size_t m = 0;
	for (; *word != '\0' && m + 1 < sizeof(plain); word++) {
		if (*word != '-' && *word != '_')
			plain[m++] = *word;
	}
	plain[m] = '\0';
	if (strncasecmp(name, plain, n) == 0 &&
	    (m == n || strcasecmp(plain + n, "s") == 0 || strcasecmp(plain + n, "es") == 0))
		return true;
	return n > 0 && name[n - 1] == 'y' && strncasecmp(name, plain, n - 1) == 0 &&
	       strcasecmp(plain + n - 1, "ies") == 0;
}

json_t *
kind_find(struct cli *c, const char *word, int *rc)
{
	json_t *kinds = kinds_list(c, rc), *kind;
	char known[512] = "";
	size_t i, n = 0;
	if (kinds == NULL) {
		if (*rc == 0)
			*rc = complain(REFUSED, "the switch's schema names no kinds");
		return NULL;
	}
	json_array_foreach(kinds, i, kind)
	{
		if (is_kind(kind_name(kind), word))
			return kind;
		if (n < sizeof(known))
			n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n > 0 ? ", " : "", kind_name(kind));
	}
	*rc = complain(USAGE, "%s: no such kind (there are %s)", word, known);
	return NULL;
}

json_t *
kind_field(const json_t *kind, const char *name)
{
	json_t *field, *fields = json_object_get(kind, "fields");
	size_t i;
	json_array_foreach(fields, i, field)
	{
		const char *got = json_string_value(json_object_get(field, "name"));
		if (got != NULL && strcmp(got, name) == 0)
			return field;
	}
	return NULL;
}
