/* SPDX-License-Identifier: Apache-2.0 */
/* How a key of weft.conf is declared. Private to mgmt/settings*.c. */
#ifndef WEFT_MGMT_SETTINGS_KEY_H
#define WEFT_MGMT_SETTINGS_KEY_H

#include <sched.h>
#include <string.h>

#include <libconfig.h>

#include <weft/settings.h>

enum key_type {
	KEY_UINT,
	KEY_BOOL,
	KEY_WORD,  /* one of `words` */
	KEY_TEXT,  /* min..max bytes of a name */
	KEY_PATH,  /* absolute */
	KEY_MODE,  /* "0660" */
	KEY_CORE,
	KEY_CORES,
	KEY_ROLES,
};

struct key_word {
	const char *name;
	int value;
};

struct key {
	const char *path; /* "group.key" or "group.group.key"; keys of a group stand together, those of an inner one last */
	enum key_type type;
	size_t offset, size;
	long min, max;
	const struct key_word *words; /* ends with a NULL name */
	const char *def;              /* as it would be written in the file; NULL: computed as `computed` says */
	const char *computed;
	const char *help;
};

extern const struct key settings_keys[];
extern const unsigned int settings_key_count;
#define SETTINGS_KEY_MAX 128

/* The length of the path's group: "a.b" of "a.b.c". */
static inline size_t
key_group(const char *path)
{
	return (size_t)(strrchr(path, '.') - path);
}

/* Where a value stands, for messages. file NULL: a built-in default. */
struct origin {
	const char *file;
	struct error *e;
};

/* Decode one setting into *s. 0, or -EINVAL with the error filled. */
int settings_decode(struct settings *s, const struct key *k, config_setting_t *v, const struct origin *o);
/* -EINVAL with "FILE:LINE: " and the given text. */
__attribute__((format(printf, 3, 4))) int settings_fail(const struct origin *o, unsigned int line, const char *fmt, ...);

/* The cores this process may use, and their numbers as "0-3,8". */
void settings_cpuset(cpu_set_t *set);
const char *settings_cpuset_text(const cpu_set_t *set, char *buf, size_t size);

#endif
