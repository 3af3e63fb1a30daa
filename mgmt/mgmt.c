/* SPDX-License-Identifier: Apache-2.0 */
#include "mgmt_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#include <weft/clock.h>
#include <weft/rcu.h>

/* Known to the interface, not to this version. */
static const char *const later[] = {"explain", "flows", "trace", "capture"};

/* Each asks for a block that no small bin has; glibc sorts at most 10,000 pieces a time. */
#define TIDY_BLOCK 100000
#define TIDY_TIMES 100

void
mgmt_tidy(void)
{
	for (int i = 0; i < TIDY_TIMES; i++) {
		void *volatile block = malloc(TIDY_BLOCK);
		free(block);
	}
}

bool
mgmt_builds(const char *method)
{
	const struct verb *v = verb_find(method);
	return v != NULL && v->builds;
}

static int
find_verb(const struct verb **v, enum mgmt_role role, const char *method, struct rpc_error *e)
{
	char quoted[FIELD_QUOTE_MAX];
	*v = verb_find(method);
	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++)
		if (strcmp(later[i], method) == 0)
			return fail(e, RPC_NO_METHOD, "%s: this version does not have it yet", method);
	if (*v == NULL)
		return fail(e, RPC_NO_METHOD, "there is no method %s; schema lists them", field_quote(method, quoted));
	if ((*v)->run == NULL)
		return fail(e, RPC_NO_METHOD, "%s: only the control socket can do that", method);
	if (role < (*v)->role)
		return fail(e, RPC_FORBIDDEN, "%s: your role does not allow it", method);
	return 0;
}

json_t *
mgmt_call(struct mgmt *m, enum mgmt_role role, const char *method, json_t *params, struct rpc_error *e)
{
	const struct verb *v;
	struct arena a = {0};
	struct error why = {0};
	json_t *out = NULL, *none = NULL;
	if (find_verb(&v, role, method, e) < 0)
		return NULL;
	if (params == NULL)
		params = none = json_object();
	void *decoded = arena_alloc(&a, v->params->size);
	int rc = field_decode(v->params, NULL, params, decoded, &a, NULL, &why);
	struct call call = {m, role, decoded, e};
	if (rc < 0) {
		fail_with(e, rc, -1, &why);
		e->code = RPC_INVALID_PARAMS;
	} else if (v->builds) {
		pthread_mutex_lock(&m->build);
		out = v->run(&call);
		pthread_mutex_unlock(&m->build);
	} else {
		out = v->run(&call);
	}
	json_decref(none);
	arena_free(&a);
	return out;
}

void
mgmt_on_event(struct mgmt *m, void (*fn)(json_t *event, void *arg), void *arg)
{
	pthread_mutex_lock(&m->event_lock);
	m->listener = fn;
	m->listener_arg = arg;
	pthread_mutex_unlock(&m->event_lock);
}

void
emit(struct mgmt *m, json_t *event)
{
	pthread_mutex_lock(&m->event_lock);
	if (m->listener != NULL)
		m->listener(event, m->listener_arg);
	pthread_mutex_unlock(&m->event_lock);
	json_decref(event);
}

void
mgmt_port_event(struct mgmt *m, const char *name, bool up)
{
	if (m == NULL)
		return;
	pthread_mutex_lock(&m->lock);
	uint64_t epoch = m->epoch;
	if (up && host_routes_lost(m, name))
		__atomic_store_n(&m->routes_lost, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&m->lock);
	emit(m, json_pack("{s:s, s:s, s:s, s:b, s:I}", "event", "port", "kind", "Port", "name", name, "up", up, "epoch",
			  (json_int_t)epoch));
}

struct replay {
	struct mgmt *m;
	struct batch batch;
};

/* An object as it was stored is as good as one that is applied, or the file is not ours to use. */
static int
replay_row(const struct store_row *row, void *arg, struct error *e)
{
	struct replay *r = arg;
	struct common common = {.owner = row->owner};
	struct error why = {0};
	json_error_t parse;
	const struct kind_row *kind = NULL;
	for (uint32_t k = 0; k < KIND_COUNT; k++)
		if (strcmp(kinds[k].name, row->kind) == 0) {
			kind = &kinds[k];
			common.kind = k;
		}
	char *text = kind != NULL && row->n_patches > 0 ? patches_replay((enum kind)common.kind, row->json, row->patch, row->n_patches)
							: strdup(row->json);
	json_t *object = text != NULL ? json_loads(text, JSON_REJECT_DUPLICATES, &parse) : NULL;
	int rc = 0;
	if (text == NULL)
		rc = error_set(&why, -EBADMSG, "its patches do not fit");
	else if (!json_is_object(object))
		rc = error_set(&why, -EBADMSG, "it is not JSON: %s", parse.text);
	else if (kind == NULL)
		rc = error_set(&why, -EBADMSG, "its kind is unknown");
	struct change *c = batch_add(&r->batch);
	if (rc == 0) {
		json_object_set_new(object, "name", json_string(row->name));
		rc = object_decode(object, &common, text, &c->next, &why);
		if (rc == 0)
			patch_long_prepare(c->next, object);
	} else {
		free(text);
	}
	json_decref(object);
	if (rc < 0) {
		r->batch.n--;
		return error_set(e, -EBADMSG, "%s: %.64s %.100s: %s%s%s", store_path(r->m->store), row->kind, row->name,
				 why.path, why.path[0] != '\0' ? ": " : "", why.text);
	}
	c->next->generation = row->generation;
	c->next->epoch = row->epoch;
	c->next->closed = row->closed;
	c->next->n_patches = row->n_patches;
	c->next->admitted = row->admitted;
	if (kind->table == &endpoint_table)
		c->next->spec->endpoint.admitted = row->admitted;
	return 0;
}

static void
log_failed(const struct mgmt *m)
{
	for (uint32_t i = 0; i < m->index.n[KIND_PORT]; i++) {
		const struct object *o = m->index.v[KIND_PORT][i];
		if (o->seat == NULL)
			syslog(LOG_WARNING, "Port %s: %s", o->name, o->phase != NULL ? o->phase : "not open");
	}
}

static int
replay(struct mgmt *m, struct error *e)
{
	struct replay r = {.m = m};
	struct rpc_error rpc = {0};
	int rc = store_load(m->store, replay_row, &r, e);
	m->epoch = store_epoch(m->store);
	batch_sort(&r.batch);
	if (rc == 0 && r.batch.n > 0) {
		rc = transact(m, &r.batch, TRANSACT_REPLAY, &rpc);
		/* A worker that is slow to start is no reason not to. */
		if (rc == -ETIMEDOUT)
			rc = 0;
		if (rc < 0)
			error_set(e, rc, "%s: what is stored cannot be put in force: %.200s", store_path(m->store),
				  rpc.message);
	}
	log_failed(m);
	batch_free(&r.batch);
	return rc;
}

static void
read_boot_id(char *buf, size_t size)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : 0;
	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

static void
mgmt_free(struct mgmt *m)
{
	for (int k = 0; k < KIND_COUNT; k++)
		for (uint32_t i = 0; i < m->index.n[k]; i++)
			object_unref(m->index.v[k][i]);
	index_free(&m->index);
	store_close(m->store);
	json_decref(m->placement);
	free(m->route);
	free(m->version);
	pthread_mutex_destroy(&m->build);
	pthread_mutex_destroy(&m->lock);
	pthread_mutex_destroy(&m->event_lock);
	free(m);
}

int
mgmt_start(struct mgmt **out, const struct mgmt_options *o, struct error *e)
{
	char boot[64];
	struct mgmt *m = calloc(1, sizeof(*m));
	if (m == NULL)
		return error_set(e, -ENOMEM, "no memory");
	pthread_mutex_init(&m->build, NULL);
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->event_lock, NULL);
	m->version = strdup(o->version != NULL ? o->version : "");
	m->status_extra = o->status_extra;
	m->arg = o->arg;
	m->started_ms = clock_ms();
	m->placement = json_array();
	index_init(&m->index);
	read_boot_id(boot, sizeof(boot));
	int rc = o->state_dir != NULL ? store_open(&m->store, o->state_dir, boot, e) : 0;
	if (rc == 0)
		kernel_ports_init(&m->kernel_ports, o->sysctl_dir, o->state_dir, boot);
	if (rc == 0 && m->store != NULL)
		rc = replay(m, e);
	if (rc == 0) {
		nat_ports_sync(m);
		rc = policy_log_start(m, e);
	}
	if (rc < 0) {
		ports_leave();
		transact_clear(m);
		mgmt_free(m);
		return rc;
	}
	*out = m;
	return 0;
}

void
mgmt_stop(struct mgmt *m)
{
	if (m == NULL)
		return;
	policy_log_stop(m);
	pthread_mutex_lock(&m->build);
	transact_clear(m);
	pthread_mutex_unlock(&m->build);
	mgmt_free(m);
}
