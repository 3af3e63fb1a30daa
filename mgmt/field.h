/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Field tables: what the members of a JSON object are called, what they may hold, and where in a C struct they go.
 * Decoding, validation, the answer of `schema`, the order of members in answers, and which entry `patch` means all come
 * from them.
 *
 * Pure but for the arena. Any thread.
 */
#ifndef WEFT_MGMT_FIELD_H
#define WEFT_MGMT_FIELD_H

#include <jansson.h>

#include <weft/base.h>

#include "arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum field_type {
	FIELD_STRING, /* const char *; printable; min..max bytes */
	FIELD_NAME, /* const char *; as Kubernetes names things: [A-Za-z0-9][A-Za-z0-9._=/-]*, up to max (253) bytes */
	FIELD_BOOL, /* bool */
	FIELD_NUMBER,       /* uint8_t .. uint64_t, by size; min..max */
	FIELD_IP,           /* struct ip; an address that one host can have: not unspecified, multicast, loopback */
	FIELD_PREFIX,       /* struct prefix; a bare address is its /32 or /128 */
	FIELD_HOST_PREFIX,  /* struct host_prefix */
	FIELD_MAC,          /* struct mac; unicast, not zero */
	FIELD_WORD,         /* one of words: an enum or bool, min + the word's index */
	FIELD_WORDS,        /* a list of words: bools in a row, one a word */
	FIELD_PROTOCOL,     /* uint8_t; TCP, UDP, SCTP, ICMP, ICMPv6, or 0..255 */
	FIELD_PORT_OR_NAME, /* uint16_t at offset, or const char * at aux */
	FIELD_PORT_RANGE,   /* [first, last]: two uint16_t, at offset and at aux */
	FIELD_PORT_MAP,     /* {"http": 8080}: struct spec_backend_port array at offset, uint32_t count at aux */
	FIELD_OBJECT,       /* members of sub, whose offsets count from this field's offset */
	FIELD_JSON,         /* json_t *, borrowed: whoever asked for it looks inside */
};

enum field_need { FIELD_OPTIONAL, FIELD_REQUIRED, FIELD_DEFAULT };

struct field {
	const char *name;
	enum field_type type;
	bool list; /* of that type: pointer at offset, uint32_t count at aux, elements of size */
	enum field_need need;
	size_t offset, size, aux;
	size_t has;        /* offset of a bool that says it was given; 0: none */
	uint64_t min, max; /* numbers: the range (max 0: what size holds); strings: bytes; words: min is the first one's
			      value */
	uint32_t min_items, max_items; /* lists; max_items 0: FIELD_ITEMS_MAX */
	uint64_t fallback; /* stored when absent (bool, number, word, protocol, port range as first << 16 | last, MAC as
			      48 bits) */
	const char *const *words; /* ends with NULL */
	const struct field_table *sub;
	const char *key; /* list of objects: the member that tells one entry from another */
	bool secret;     /* shown only to who may set it */
	bool column;     /* of a kind: belongs into a table of few columns; none has it: the first ones do */
	const char *help;
};

#define FIELD_ITEMS_MAX 65536

struct field_table {
	const struct field *field;
	unsigned int n; /* up to 64 */
	size_t size;    /* of the struct */
	/* What one field alone cannot tell; may complete the value. `seen`: bit i: field[i] was given. May be NULL. */
	int (*check)(void *value, uint64_t seen, struct error *e);
};

#define FIELD_TABLE(fields, type, check_fn)                                                                            \
	{                                                                                                              \
		(fields), sizeof(fields) / sizeof((fields)[0]), sizeof(type), (check_fn)                               \
	}
/* Where a field goes: a plain member; a list (pointer and count members). */
#define FIELD_AT(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define FIELD_LIST(type, pointer, count)                                                                               \
	.list = true, .offset = offsetof(type, pointer), .size = sizeof(*((type *)0)->pointer),                        \
	.aux = offsetof(type, count)

/*
 * Decode a JSON object into `out` (zeroed, t->size bytes); what it points to lies in the arena. Members of `also` (may
 * be NULL) are somebody else's. 0, or -EINVAL and *e, whose path is below the object. *seen (may be NULL) as for check.
 */
int field_decode(const struct field_table *t, const struct field_table *also, json_t *object, void *out,
		 struct arena *a, uint64_t *seen, struct error *e);
/* One field's value, lists included, into the struct that it is a member of. */
int field_value(const struct field *f, json_t *value, void *out, struct arena *a, struct error *e);
/* One value of the field's type, one list entry where it is a list; `out` has f->size bytes (field_scalar.c). */
int field_scalar(const struct field *f, json_t *value, void *out, struct arena *a, struct error *e);

const struct field *field_find(const struct field_table *t, const char *name);
bool field_seen(const struct field_table *t, uint64_t seen, const char *name);

/* New references. The fields of a table as `schema` shows them; a copy of `object` with its members in the tables'
 * order. */
json_t *field_describe(const struct field_table *t);
json_t *field_arrange(const struct field_table *t, json_t *object);

/* The known word nearest to `text`, or NULL when none is near. next(arg, i) gives the i-th candidate, NULL at the end.
 */
const char *field_nearest(const char *text, const char *(*next)(const void *arg, unsigned int i), const void *arg);
/* What somebody sent, fit for a message: clipped, without anything that is not printable ASCII. */
#define FIELD_QUOTE_MAX 72
const char *field_quote(const char *text, char buf[FIELD_QUOTE_MAX]);
/* What kind of JSON value it is, with its article: "a string". */
const char *field_json_type(const json_t *v);

/* Put "where" ("objects[3]") in front of e->path. Returns rc. */
__attribute__((format(printf, 3, 4))) int error_under(struct error *e, int rc, const char *where, ...);

#ifdef __cplusplus
}
#endif

#endif
