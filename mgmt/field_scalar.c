/* SPDX-License-Identifier: Apache-2.0 */
/* One value of each type. */
#include "field.h"

#include <ctype.h>

#include <weft/spec.h>
#include <weft/text.h>

const char *
field_json_type(const json_t *v)
{
	if (v == NULL)
		return "nothing";
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a number";
	case JSON_REAL:
		return "a number with a fraction or exponent";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	default:
		return "null";
	}
}

const char *
field_quote(const char *text, char buf[FIELD_QUOTE_MAX])
{
	size_t n = 0;
	for (; text[n] != '\0' && n < FIELD_QUOTE_MAX - 4; n++)
		buf[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
	strcpy(buf + n, text[n] != '\0' ? "..." : "");
	return buf;
}

static int
need_string(json_t *value, const char *what, struct error *e)
{
	if (!json_is_string(value))
		return error_set(e, -EINVAL, "must be %s, not %s", what, field_json_type(value));
	if (strlen(json_string_value(value)) != json_string_length(value))
		return error_set(e, -EINVAL, "must not hold a NUL character");
	return 0;
}

static int
decode_string(const struct field *f, json_t *value, const char **out, struct arena *a, struct error *e)
{
	int rc = need_string(value, "a string", e);
	if (rc < 0)
		return rc;
	const char *s = json_string_value(value);
	size_t n = json_string_length(value), max = f->max != 0 ? f->max : WEFT_NAME_MAX;
	if (n > max || n < f->min)
		return error_set(e, -EINVAL, "has %zu bytes, %zu..%zu are allowed", n, (size_t)f->min, max);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return error_set(e, -EINVAL, "must not hold control characters");
	*out = arena_strndup(a, s, n);
	return 0;
}

static int
decode_name(const struct field *f, json_t *value, const char **out, struct arena *a, struct error *e)
{
	char quoted[FIELD_QUOTE_MAX];
	int rc = need_string(value, "a name", e);
	if (rc < 0)
		return rc;
	const char *s = json_string_value(value);
	size_t n = json_string_length(value), max = f->max != 0 ? f->max : WEFT_NAME_MAX;
	if (n == 0)
		return error_set(e, -EINVAL, "must not be empty");
	if (n > max)
		return error_set(e, -EINVAL, "a name of %zu bytes is too long, %zu are allowed", n, max);
	for (size_t i = 0; i < n; i++)
		if (!isascii(s[i]) || !(isalnum((unsigned char)s[i]) || (i > 0 && strchr("._=/-", s[i]) != NULL)))
			return error_set(e, -EINVAL,
					 "\"%s\" is not a name: letters, digits and . _ = / - are allowed, the first a "
					 "letter or digit",
					 field_quote(s, quoted));
	*out = arena_strndup(a, s, n);
	return 0;
}

static int
decode_number(const struct field *f, json_t *value, void *out, struct error *e)
{
	uint64_t max = f->max != 0 ? f->max : f->size >= 8 ? INT64_MAX : (1ull << (8 * f->size)) - 1;
	if (!json_is_integer(value))
		return error_set(e, -EINVAL, "must be a number in %llu..%llu, not %s", (unsigned long long)f->min,
				 (unsigned long long)max, field_json_type(value));
	json_int_t v = json_integer_value(value);
	if (v < 0 || (uint64_t)v < f->min || (uint64_t)v > max)
		return error_set(e, -EINVAL, "%lld is not in %llu..%llu", (long long)v, (unsigned long long)f->min,
				 (unsigned long long)max);
	memcpy(out, &v, f->size);
	return 0;
}

/* What the datapath would refuse as a source or destination anyway (RFC 1122 3.2.1.3, RFC 4291 2.5). */
static const char *
not_a_host(const struct ip *ip)
{
	static const uint8_t loopback6[16] = {[15] = 1};
	if (ip_is4(ip)) {
		if (ip->b[12] == 0)
			return "an unspecified";
		if (ip->b[12] == 127)
			return "a loopback";
		return (ip->b[12] & 0xf0) == 0xe0 ? "a multicast" : ip->w[3] == UINT32_MAX ? "a broadcast" : NULL;
	}
	if (ip_is_none(ip))
		return "an unspecified";
	if (memcmp(ip->b, loopback6, sizeof(loopback6)) == 0)
		return "a loopback";
	return ip->b[0] == 0xff ? "a multicast" : NULL;
}

static int
decode_ip(json_t *value, struct ip *out, struct error *e)
{
	char quoted[FIELD_QUOTE_MAX];
	int rc = need_string(value, "an IP address", e);
	if (rc < 0)
		return rc;
	field_quote(json_string_value(value), quoted);
	if (ip_parse(json_string_value(value), out) < 0)
		return error_set(e, -EINVAL, "\"%s\" is not an IP address", quoted);
	const char *what = not_a_host(out);
	return what == NULL ? 0 : error_set(e, -EINVAL, "%s is %s address", quoted, what);
}

static int
decode_prefix(json_t *value, struct prefix *out, struct ip *host, struct error *e)
{
	char quoted[FIELD_QUOTE_MAX];
	int rc = need_string(value, "a prefix", e);
	if (rc < 0)
		return rc;
	if (prefix_parse(json_string_value(value), out, host) < 0)
		return error_set(e, -EINVAL, "\"%s\" is not a prefix such as 10.0.0.0/8 or fd00::/64",
				 field_quote(json_string_value(value), quoted));
	return 0;
}

static int
decode_host_prefix(json_t *value, struct host_prefix *out, struct error *e)
{
	char text[IP_TEXT_MAX];
	int rc = decode_prefix(value, &out->prefix, &out->ip, e);
	if (rc < 0)
		return rc;
	if (strchr(json_string_value(value), '/') == NULL)
		return error_set(e, -EINVAL, "%s needs the length of its network, such as %s/%d",
				 ip_format(&out->ip, text), text, ip_is4(&out->ip) ? 24 : 64);
	const char *what = not_a_host(&out->ip);
	return what == NULL ? 0 : error_set(e, -EINVAL, "%s is %s address", ip_format(&out->ip, text), what);
}

static int
decode_mac(json_t *value, struct mac *out, struct error *e)
{
	static const struct mac none;
	char quoted[FIELD_QUOTE_MAX];
	int rc = need_string(value, "a MAC address", e);
	if (rc < 0)
		return rc;
	field_quote(json_string_value(value), quoted);
	if (mac_parse(json_string_value(value), out) < 0)
		return error_set(e, -EINVAL, "\"%s\" is not a MAC address such as 02:00:00:00:00:01", quoted);
	if ((out->b[0] & 1) != 0 || mac_equal(out, &none))
		return error_set(e, -EINVAL, "%s is not a unicast address", quoted);
	return 0;
}

static int
decode_word(const struct field *f, json_t *value, void *out, struct error *e)
{
	char known[256], quoted[FIELD_QUOTE_MAX];
	size_t n = 0;
	if (json_is_string(value))
		for (unsigned int i = 0; f->words[i] != NULL; i++)
			if (strcmp(f->words[i], json_string_value(value)) == 0) {
				uint64_t v = f->min + i;
				memcpy(out, &v, f->size);
				return 0;
			}
	known[0] = '\0';
	for (unsigned int i = 0; f->words[i] != NULL && n < sizeof(known); i++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i > 0 ? ", " : "", f->words[i]);
	if (!json_is_string(value))
		return error_set(e, -EINVAL, "must be one of %s, not %s", known, field_json_type(value));
	return error_set(e, -EINVAL, "\"%s\" is not one of %s", field_quote(json_string_value(value), quoted), known);
}

/* Assigned Internet Protocol Numbers (IANA). */
static const struct {
	const char *name;
	uint8_t number;
} protocols[] = {{"TCP", 6}, {"UDP", 17}, {"SCTP", 132}, {"ICMP", 1}, {"ICMPv6", 58}};

static int
decode_protocol(json_t *value, uint8_t *out, struct error *e)
{
	char quoted[FIELD_QUOTE_MAX];
	static const struct field number = {.type = FIELD_NUMBER, .size = 1, .max = 255};
	if (json_is_integer(value))
		return decode_number(&number, value, out, e);
	if (!json_is_string(value))
		return error_set(e, -EINVAL, "must be TCP, UDP, SCTP, ICMP, ICMPv6 or a number in 0..255, not %s",
				 field_json_type(value));
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (strcmp(protocols[i].name, json_string_value(value)) == 0) {
			*out = protocols[i].number;
			return 0;
		}
	return error_set(e, -EINVAL, "\"%s\" is not one of TCP, UDP, SCTP, ICMP, ICMPv6 or a number in 0..255",
			 field_quote(json_string_value(value), quoted));
}

int
field_scalar(const struct field *f, json_t *value, void *out, struct arena *a, struct error *e)
{
	switch (f->type) {
	case FIELD_STRING:
		return decode_string(f, value, out, a, e);
	case FIELD_NAME:
		return decode_name(f, value, out, a, e);
	case FIELD_BOOL:
		if (!json_is_boolean(value))
			return error_set(e, -EINVAL, "must be true or false, not %s", field_json_type(value));
		*(bool *)out = json_is_true(value);
		return 0;
	case FIELD_NUMBER:
		return decode_number(f, value, out, e);
	case FIELD_IP:
		return decode_ip(value, out, e);
	case FIELD_PREFIX:
		return decode_prefix(value, out, NULL, e);
	case FIELD_HOST_PREFIX:
		return decode_host_prefix(value, out, e);
	case FIELD_MAC:
		return decode_mac(value, out, e);
	case FIELD_WORD:
		return decode_word(f, value, out, e);
	case FIELD_PROTOCOL:
		return decode_protocol(value, out, e);
	case FIELD_OBJECT:
		return field_decode(f->sub, NULL, value, out, a, NULL, e);
	case FIELD_JSON:
		*(json_t **)out = value;
		return 0;
	default:
		return error_set(e, -EINVAL, "cannot be part of a list");
	}
}
