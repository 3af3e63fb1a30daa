/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One applied object, and the index of all of them. An object never changes once it is in the index, but for what is
 * marked; a change puts another one in its place.
 */
#ifndef WEFT_MGMT_OBJECT_H
#define WEFT_MGMT_OBJECT_H

#include <jansson.h>

#include <weft/port.h>
#include <weft/spec.h>
#include <weft/worker.h>

#include "arena.h"
#include "kinds.h"
#include "roster.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The open port of a Port object. */
struct seat {
	struct port *port; /* builder's */
	uint16_t id;
	struct port_counters base; /* what the id had counted before: ids are used again */
};

/* What is wrong with the node around an object that is in force. */
enum warning {
	WARNING_ROUTE, /* host_route.c */
	WARNING_PORTS, /* nat_ports.c */
	WARNINGS,
};

struct object {
	enum kind kind;
	const char *name, *owner; /* owner: "" when none */
	union spec *spec;         /* lives as long as the object; of one with a roster the list is empty here */
	char *text; /* the spec's JSON without kind, name and owner: compact, keys sorted, so that equal specs are equal
		       texts. NULL: patched since somebody asked, see object_complete */
	/* Of a large object that was patched: its long list, and whose memory else the spec lies in. The newest version has
	 * the roster, under the index's lock. */
	struct roster *roster;
	struct object *base;
	uint32_t n_patches; /* stored since it was stored whole */
	uint64_t generation, epoch;
	bool closed;    /* an Endpoint of an earlier boot: kept out of config until applied again */
	bool in_config; /* builder's: config knows it */
	bool admitted;  /* builder's: an Endpoint that was to be closed until a transaction covers it, and one has */
	struct arena arena;
	unsigned int refs; /* atomic */
	/* Under the index's lock, once the object is in the index. */
	char *phase;       /* NULL: ready */
	char *warning[WARNINGS]; /* or NULL */
	uint32_t slot;     /* config_object_slot's; atomic */
	struct seat *seat; /* NULL: not a Port, or not open */
};

/* The spec of an object as applied: without kind, name and owner. New reference. */
json_t *object_spec(json_t *object);
/* The canonical text of an object as applied. malloc'ed. */
char *object_text(json_t *object);
/* Check and decode: 0 and *out with one reference, or -EINVAL and *e with a path below the object. Takes `text`, also
 * on failure. */
int object_decode(json_t *object, const struct common *c, char *text, struct object **out, struct error *e);
/* The object that a patch makes of `old`: it has old's spec but for the list. One reference; takes old's roster only when
 * the change is shown (object_take_roster, under the index's lock). */
struct object *object_patched(struct object *old);
void object_take_roster(struct object *next, struct object *old, struct roster_edit *edits, uint32_t n);
/* Make the text, if it is not there. Under the index's lock, of an object that is in the index. */
void object_complete(struct object *o);
struct object *object_ref(struct object *o);
void object_unref(struct object *o);
/* {"kind","name","owner",...spec}: new reference. `object_json_plain` keeps the text's order and is quicker. */
json_t *object_json(const struct object *o);
json_t *object_json_plain(const struct object *o);

/* By kind, sorted by name. */
struct index {
	struct object **v[KIND_COUNT];
	uint32_t n[KIND_COUNT];
};

/* What becomes of one name: old to next, either may be NULL. */
struct change {
	struct object *old, *next; /* a reference each */
	long at;                   /* where the request has it, -1: nowhere */
	struct long_patch *patch;  /* next is old with a few entries changed: see patch_long.c; NULL: it is new as a whole */
	bool opened;               /* next's port was opened for this change */
	bool bounced;              /* old's port was closed ahead of the rest; it was: */
	uint16_t bounced_id;
	struct mac bounced_mac;
};

static inline struct object *
change_object(const struct change *c)
{
	return c->next != NULL ? c->next : c->old;
}

/* By kind, then name. */
int object_compare(const struct object *a, const struct object *b);
struct object *index_find(const struct index *ix, enum kind kind, const char *name);
/* Position of the first object whose name is greater than `name`. */
uint32_t index_after(const struct index *ix, enum kind kind, const char *name);
/* The index after n changes, sorted; shares the objects and their references with the old one and the changes, and the
 * arrays of kinds that do not change with the old one: free that with index_free_old, the last of all with index_free. */
struct index index_merge(const struct index *ix, const struct change *c, uint32_t n);
void index_init(struct index *ix);
void index_free_old(struct index *old, const struct index *ix);
void index_free(struct index *ix); /* the arrays alone */

#ifdef __cplusplus
}
#endif

#endif
