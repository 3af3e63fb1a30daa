/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

static const char *
scaled(uint64_t n, unsigned int base, const char *const *units, char *buf)
{
	double v = (double)n;
	int u = 0;
	/* 999.5 would print as 1000 of the smaller unit. */
	for (; v >= base - (u > 0 ? 0.5 : 0) && units[u + 1] != NULL; u++)
		v /= base;
	if (u == 0)
		snprintf(buf, TEXT_MAX, "%" PRIu64 "%s", n, units[0]);
	else
		snprintf(buf, TEXT_MAX, v < 99.95 ? "%.1f%s" : "%.0f%s", v, units[u]);
	return buf;
}

const char *
text_count(uint64_t n, char *buf)
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P", NULL};
	/* Up to 99,999 the number itself is as short. */
	if (n < 100000) {
		snprintf(buf, TEXT_MAX, "%" PRIu64, n);
		return buf;
	}
	return scaled(n, 1000, units, buf);
}

const char *
text_bytes(uint64_t n, char *buf)
{
	static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", NULL};
	return scaled(n, 1024, units, buf);
}

const char *
text_duration(uint64_t s, char *buf)
{
	if (s >= 86400)
		snprintf(buf, TEXT_MAX, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(buf, TEXT_MAX, "%" PRIu64 "h %" PRIu64 "m", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(buf, TEXT_MAX, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
	else
		snprintf(buf, TEXT_MAX, "%" PRIu64 "s", s);
	return buf;
}

int64_t
number(const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);
	return json_is_real(v) ? (int64_t)json_real_value(v) : (int64_t)json_integer_value(v);
}

const char *
string(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL && text[0] != '\0' ? text : "-";
}

/* What stands for an entry that is an object: the field's key, else its first member. */
static const json_t *
stand_in(const json_t *v, const json_t *field)
{
	const json_t *key = json_object_get(v, string(field, "key"));
	void *first = json_object_iter((json_t *)v);
	return key != NULL ? key : json_object_iter_value(first);
}

static void
append_scalar(const json_t *v, const json_t *field, char *buf, size_t *n)
{
	char *at = buf + *n;
	size_t left = TEXT_MAX - *n;
	int len = 0;
	if (json_is_object(v))
		v = stand_in(v, field);
	if (json_is_string(v))
		len = snprintf(at, left, "%s", json_string_value(v));
	else if (json_is_integer(v))
		len = snprintf(at, left, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		len = snprintf(at, left, "%g", json_real_value(v));
	else if (json_is_boolean(v))
		len = snprintf(at, left, "%s", json_is_true(v) ? "yes" : "no");
	else if (json_is_array(v))
		len = snprintf(at, left, "[%zu]", json_array_size(v));
	else
		len = snprintf(at, left, "-");
	*n += (size_t)len < left ? (size_t)len : left - 1;
}

const char *
text_value(const json_t *v, const json_t *field, int items, char *buf)
{
	size_t n = 0, total = json_array_size(v);
	buf[0] = '\0';
	if (!json_is_array(v)) {
		append_scalar(v, field, buf, &n);
		return buf;
	}
	for (size_t i = 0; i < total && (int)i < items && n + 1 < TEXT_MAX; i++) {
		if (i > 0)
			buf[n++] = ',';
		buf[n] = '\0';
		append_scalar(json_array_get(v, i), field, buf, &n);
	}
	if (total > (size_t)items && n < TEXT_MAX)
		snprintf(buf + n, TEXT_MAX - n, " +%zu", total - (size_t)items);
	if (total == 0)
		snprintf(buf, TEXT_MAX, "-");
	return buf;
}
