/* SPDX-License-Identifier: Apache-2.0 */
#include "port_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
port_set_add(struct port_set *s, uint16_t first, uint16_t last)
{
	for (uint32_t p = first; p <= last; p++)
		s->w[p / 64] |= UINT64_C(1) << p % 64;
}

unsigned int
port_set_count(const struct port_set *s, uint16_t first, uint16_t last)
{
	unsigned int n = 0;
	for (uint32_t p = first; p <= last; p++)
		n += port_set_has(s, (uint16_t)p);
	return n;
}

bool
port_set_covers(const struct port_set *s, const struct port_set *other)
{
	for (unsigned int i = 0; i < PORT_SET_WORDS; i++)
		if (other->w[i] & ~s->w[i])
			return false;
	return true;
}

static bool
parse_port(const char **text, uint16_t *out)
{
	char *end;
	unsigned long v = strtoul(*text, &end, 10);
	if (end == *text || v > UINT16_MAX)
		return false;
	*text = end;
	*out = (uint16_t)v;
	return true;
}

bool
port_set_parse(struct port_set *s, const char *text)
{
	memset(s, 0, sizeof(*s));
	while (*text != '\0' && *text != '\n') {
		uint16_t first, last;
		if (!parse_port(&text, &first))
			return false;
		last = first;
		if (*text == '-') {
			text++;
			if (!parse_port(&text, &last) || last < first)
				return false;
		}
		port_set_add(s, first, last);
		if (*text == ',')
			text++;
		else if (*text != '\0' && *text != '\n')
			return false;
	}
	return true;
}

/* The first port at or after `from` that is (or is not) in the set; 65536 when there is none. */
static uint32_t
next(const struct port_set *s, uint32_t from, bool in)
{
	while (from < 65536 && port_set_has(s, (uint16_t)from) != in)
		from++;
	return from;
}

/* False: does not fit. */
static bool
format(const struct port_set *s, uint32_t gap, char *out, size_t size)
{
	size_t at = 0;
	out[0] = '\0';
	for (uint32_t first = next(s, 0, true); first < 65536;) {
		uint32_t end = next(s, first, false), after = next(s, end, true);
		while (after < 65536 && after - end <= gap) {
			end = next(s, after, false);
			after = next(s, end, true);
		}
		char text[16];
		int n = end - first == 1 ? snprintf(text, sizeof(text), "%u", first)
					 : snprintf(text, sizeof(text), "%u-%u", first, end - 1);
		if (at + (size_t)n + 2 > size)
			return false;
		if (at > 0)
			out[at++] = ',';
		memcpy(out + at, text, (size_t)n + 1);
		at += (size_t)n;
		first = after;
	}
	return true;
}

void
port_set_format(const struct port_set *s, char *out, size_t size)
{
	for (uint32_t gap = 0; !format(s, gap, out, size) && gap < 65536; gap = gap * 2 + 1)
		;
}
