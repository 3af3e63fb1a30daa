/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the manager share.
 *
 * Locks: `build` is held for the length of a verb that changes things. `lock` guards what readers see and is held for
 * moments only: never across a call that may wait. `event_lock` guards the listener alone. A reader takes `build` only
 * if nobody has it.
 */
#ifndef WEFT_MGMT_IMPL_H
#define WEFT_MGMT_IMPL_H

#include <pthread.h>

#include <weft/config.h>
#include <weft/mgmt.h>
#include <weft/worker.h>

#include "kernel_ports.h"
#include "object.h"
#include "store.h"

/* A kernel route that we put there, so that the host finds the pods. */
struct host_route_entry {
	struct prefix prefix;
	char ifname[16];
	uint16_t port; /* id of the host port: a device that was made again has lost its routes */
	enum kind kind; /* of the object that wants it */
	char name[WEFT_NAME_MAX + 1];
};

struct mgmt {
	pthread_mutex_t build, lock, event_lock;
	/* Under `lock`; changed under `build` as well, so that the builder may read without it. */
	struct index index;
	uint64_t epoch;    /* what people see: goes on across restarts, unlike config's */
	json_t *placement; /* [[{"port","queue"}]] by worker, never changed once it is here */
	/* Under `event_lock`. */
	void (*listener)(json_t *event, void *arg);
	void *listener_arg;
	/* Constant. */
	char *version;
	json_t *(*status_extra)(void *arg);
	void *arg;
	uint32_t started_ms;
	/* policy_log.c */
	struct policy_log {
		pthread_t thread;
		pthread_mutex_t lock;
		pthread_cond_t wake;
		bool running, stop;
		uint64_t lost; /* events, when they were told of last */
	} policy_log;
	/* conn_status.c; of the thread that logs. */
	struct conn_watch {
		bool warned, ever;
		uint32_t warned_ms;
	} conn_watch;
	/* The builder's. */
	struct store *store; /* NULL: nothing is kept */
	struct kernel_ports kernel_ports;
	uint16_t node_port_uses[65536]; /* by port: Services with that nodePort; [0]: nothing */
	struct host_route_entry *route;
	uint32_t n_routes;
	bool routes_lost; /* atomic: somebody is to call host_routes_renew */
};

#define WAIT_MS 5000 /* for the workers to pass an epoch */

/* A batch of changes, sorted by kind and name once batch_sort was called. */
struct batch {
	struct change *v;
	uint32_t n, size;
	uint32_t unchanged;
};
struct change *batch_add(struct batch *b);
void batch_sort(struct batch *b);
void batch_free(struct batch *b); /* with its references */

/*
 * patch_long.c: a patch of a long list (members, rules) whose cost does not depend on the list. The next object has its
 * text made only when somebody asks, and the store gets the patch alone.
 */
struct long_patch {
	struct config_patch config; /* in the arena */
	struct roster_edit *edits;  /* in the arena, but for their strings */
	uint32_t n_edits;
	char *text;     /* as it is stored */
	bool store_old; /* so many were stored that the object is stored whole once, as it was before this one */
	struct arena arena;
};
struct patch_params;
struct call;
/* True and *out (NULL: it failed) when it was such a patch. */
bool patch_long(const struct call *c, struct object *old, const struct patch_params *p, json_t **out);
void long_patch_free(struct long_patch *p);
/* Of an object that was just decoded from this JSON and that nobody else knows yet. */
void patch_long_prepare(struct object *o, json_t *object);
/* An object's stored text after its stored patches. malloc'ed; NULL when one of them makes no sense. */
char *patches_replay(enum kind kind, const char *text, const char *const *patch, uint32_t n);

/* transact.c: make a sorted batch so, all or nothing; keeps what it needs of it. 0 or -errno with *e. */
enum transact_mode {
	TRANSACT_APPLY,
	TRANSACT_REHEARSE, /* change nothing, say whether it would do */
	TRANSACT_REPLAY,   /* from the store: nothing is stored; a port that cannot be opened is marked failed */
};
int transact(struct mgmt *m, struct batch *b, enum transact_mode mode, struct rpc_error *e);
/* The end: close all ports, take all objects out of the configuration. */
void transact_clear(struct mgmt *m);

/* admitted.c: endpoints that were closed and that a batch covers. */
struct admitted {
	struct mgmt *m;
	const struct batch *b;
	struct object **v; /* those that are not in the batch */
	uint32_t n, size;
};
/* After the batch was filled into t. */
void admitted_find(struct admitted *a, const struct config_txn *t);
void admitted_free(struct admitted *a, bool undo);

/* config_fill.c: a batch as a transaction of config. */
enum fill_mode { FILL_REAL, FILL_REHEARSE };
int config_fill(struct config_txn *t, struct batch *b, enum fill_mode mode, struct rpc_error *e);
int config_rehearse(struct batch *b, struct rpc_error *e);

/* port_seat.c */
bool batch_opens(const struct batch *b);
bool batch_closes(const struct batch *b);
/* Open what comes, closing ahead of it what goes and is in its way. On failure all is as before, as far as that is
 * possible. */
int ports_open(struct mgmt *m, struct batch *b, enum transact_mode mode, struct rpc_error *e);
void ports_undo(struct mgmt *m, struct batch *b);
/* After publish: close what goes. */
void ports_close(struct mgmt *m, struct batch *b);
void seat_close(struct mgmt *m, struct object *o);
/* Place the queues again and note where they are. */
void replan(struct mgmt *m, const struct port *without);

/*
 * nat_ports.c: keep the ports that a batch wants at the node's addresses from its kernel, 0 or -errno with *e; then, when it is published or has
 * failed, let go of those that nobody wants any more. What cannot be had for what is in force already is a warning of its Networks.
 */
int nat_ports_reserve(struct mgmt *m, const struct batch *b, struct rpc_error *e);
int nat_ports_check(const struct mgmt *m, const struct batch *b, struct rpc_error *e); /* whether it would do */
void nat_ports_settle(struct mgmt *m, const struct batch *b, bool published);
/* At the start: as the objects want it, whatever a process before this one has left; at the end: let go of all. */
void nat_ports_sync(struct mgmt *m);
void nat_ports_release(struct mgmt *m);

/* host_route.c: after publish; and all of them anew, when the host port's device may have lost them. */
void host_routes_sync(struct mgmt *m, const struct batch *b);
void host_routes_renew(struct mgmt *m);
/* The port has come up. True when it is the host port, whose device may be a new one. Under `lock`. */
bool host_routes_lost(const struct mgmt *m, const char *port);

/* status_object.c */
void object_set_phase(struct mgmt *m, struct object *o, const char *text);
void object_set_warning(struct mgmt *m, struct object *o, enum warning which, const char *text);
/* What config says of it now. Under `build`. */
void object_refresh(struct mgmt *m, struct object *o);
/* Add "status". */
void object_add_status(struct mgmt *m, json_t *out, struct object *o);

/* service_status.c: connections by its ports, and by their backends if asked, while nothing is being built; otherwise nothing. */
void service_add_counts(struct mgmt *m, json_t *status, const char *service, bool backends);
json_t *service_stats(struct mgmt *m); /* of all that have any */

/* policy_status.c: what its rules have said, while nothing is being built; otherwise nothing. `rules`: one by one. */
void policy_add_counts(struct mgmt *m, json_t *status, const char *policy, bool rules);
/* [{"name","accepted",...}], policies that have said something. */
json_t *policy_stats(struct mgmt *m);

/* conn_status.c: for `status` (NULL without workers), for an object that opens connections, and now and then: a log line and an
 * event when the table gets full. */
json_t *connections_status(struct mgmt *m);
/* nat_status.c: [{"network","ip","ports",...}], or NULL when nothing masquerades. */
json_t *nat_status(struct mgmt *m);
void connections_add_count(json_t *status, const struct object *o);
void connections_watch(struct mgmt *m);

/* policy_log.c: a thread of its own tells what policies ask for. 0 or -errno. */
int policy_log_start(struct mgmt *m, struct error *e);
void policy_log_stop(struct mgmt *m);

/* mgmt.c */
void emit(struct mgmt *m, json_t *event); /* takes the reference */

/* Fill *e. `at` is the index in the request's "objects", -1 when there is none. Returns rc. */
int fail_with(struct rpc_error *e, int rc, long at, const struct error *why);
__attribute__((format(printf, 3, 4))) int fail(struct rpc_error *e, int code, const char *fmt, ...);

/* apply.c: the objects of a JSON list as a batch of changes, unless they are what is there already. `numbered`: errors
 * say objects[i]. */
int batch_from_objects(struct mgmt *m, struct batch *b, json_t *objects, const char *owner, bool numbered,
		       struct rpc_error *e);

/* The verbs: parameters decoded by the verb's table. */
struct change_options {
	uint64_t if_epoch;
	bool has_if_epoch, dry_run;
};
struct apply_params {
	struct change_options options;
	json_t *objects;
	bool prune;
	const char *owner;
};
struct patch_params {
	struct change_options options;
	uint32_t kind;
	const char *name;
	json_t *add, *remove, *set;
};
struct named {
	uint32_t kind;
	const char *name;
};
struct delete_params {
	struct change_options options;
	bool has_kind, has_objects;
	struct named one;
	const struct named *objects;
	uint32_t n_objects;
};
struct list_params {
	uint32_t kind, limit;
	const char *token, *owner;
};
struct drops_params {
	const char *port;
};

struct call {
	struct mgmt *m;
	enum mgmt_role role;
	const void *params;
	struct rpc_error *e;
};
/* apply.c: ifEpoch; and what a patch makes of an object is applied like any other. */
int check_epoch(const struct mgmt *m, const struct change_options *o, struct rpc_error *e);
json_t *batch_finish(struct mgmt *m, struct batch *b, const struct change_options *o, struct rpc_error *e);
/* Make the object's text, if it is not there. */
void complete_text(struct mgmt *m, struct object *o);
json_t *apply_one(const struct call *c, json_t *object, const struct change_options *o);

typedef json_t *verb_fn(const struct call *c);
verb_fn verb_apply, verb_patch, verb_delete, verb_get, verb_list, verb_schema, verb_status, verb_stats, verb_drops;

struct verb {
	const char *name;
	enum mgmt_role role;
	bool builds;
	verb_fn *run; /* NULL: the control socket's own */
	const struct field_table *params;
	const char *help;
};
extern const struct verb verbs[];
extern const unsigned int n_verbs;
const struct verb *verb_find(const char *name);

/* The open ports now: a name and what its counters had at the start, to be freed with free(). */
struct open_port {
	char name[WEFT_NAME_MAX + 1];
	uint16_t id;
	struct port_counters count; /* since it was opened */
	uint64_t rx_bad;            /* what its peer broke: never became a packet */
};
struct open_port *open_ports(struct mgmt *m, uint32_t *n);

#endif
