/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries of a long list of an object (members, rules), kept so that one of them is found, replaced, removed or
 * added without a walk over the others; and the object's text made of them when somebody asks. Entries are told apart
 * by their key, as `patch` does: the value itself, or the member that the field table calls its key; a key that is
 * empty names nothing.
 *
 * No locking: the builder reads, and changes under the index's lock, where readers ask for the text.
 */
#ifndef WEFT_MGMT_ROSTER_H
#define WEFT_MGMT_ROSTER_H

#include <jansson.h>

#include "field.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ROSTER_KEY_MAX 320
#define ROSTER_NONE UINT32_MAX

/* The field that entries are told apart by; NULL when they cannot be. */
const struct field *entry_key_field(const struct field *f);
/* An entry's key, or a key that stands for an entry; "" when it has none. One spelling for what means the same. */
void entry_key(const struct field *f, json_t *entry, char *buf, size_t size);
/* As in an object's text. malloc'ed. */
char *entry_text(json_t *entry);

struct roster;
/* Of an object's JSON without kind, name and owner. NULL when a key is there twice: which one is meant cannot be told.
 */
struct roster *roster_new(const struct field *f, json_t *spec);
void roster_free(struct roster *r);
const struct field *roster_field(const struct roster *r);
uint32_t roster_count(const struct roster *r);
/* The place of an entry: stays what it is until it is removed or the next roster_change. */
uint32_t roster_find(const struct roster *r, const char *key);
const char *roster_entry(const struct roster *r, uint32_t place);
/* How many entries come before it. */
uint32_t roster_index(const struct roster *r, uint32_t place);

/* place ROSTER_NONE: a new entry at the end. text NULL: the entry is removed. */
struct roster_edit {
	uint32_t place;
	char *key, *text;
	json_t *entry; /* borrowed: what text says */
};
/*
 * What it takes to remove the entries that the keys in `remove` name, and then to add those of `add` (either may be
 * NULL): what is there already is replaced where it is, or left when it is all key. Edits are in an order in which
 * removals come first. Returns how many of the room for all of both lists were filled, or -1 when an entry has no key
 * or a key is added twice.
 */
int roster_plan(const struct roster *r, json_t *remove, json_t *add, struct roster_edit *edits);
void roster_edits_free(struct roster_edit *edits, uint32_t n);
/* Takes the edits' strings. */
void roster_change(struct roster *r, struct roster_edit *edits, uint32_t n);
/* The object's text. malloc'ed. */
char *roster_text(const struct roster *r);

#ifdef __cplusplus
}
#endif

#endif
