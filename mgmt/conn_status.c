/* SPDX-License-Identifier: Apache-2.0 */
/* How full the connection table is, who fills it, and a word in time. */
#include <syslog.h>

#include <weft/clock.h>
#include <weft/conn.h>

#include "mgmt_impl.h"

/* Percent of the table in use: said from here on, and again once it was below the other. */
#define WARN_AT 80
#define CALM_AT 75
#define WARN_EVERY_MS 60000
#define HOLDERS 5

static const struct conn_table *
table(void)
{
	return workers_count() > 0 ? worker_get(0)->conns : NULL;
}

static unsigned int
percent(const struct conn_stats *s)
{
	return s->capacity > 0 ? (unsigned int)(100ull * s->used / s->capacity) : 0;
}

struct holder {
	const char *kind;
	char name[WEFT_NAME_MAX + 1];
	uint32_t used;
};

/* Those who hold most come first, in a list that is kept so. */
static void
holder_add(struct holder *v, unsigned int *n, const char *kind, const char *name, uint32_t used)
{
	unsigned int at = *n;
	while (at > 0 && v[at - 1].used < used)
		at--;
	if (used == 0 || at >= HOLDERS)
		return;
	if (*n < HOLDERS)
		++*n;
	memmove(&v[at + 1], &v[at], (*n - 1 - at) * sizeof(*v));
	v[at].kind = kind;
	v[at].used = used;
	snprintf(v[at].name, sizeof(v[at].name), "%s", name);
}

static unsigned int
holders(struct mgmt *m, const struct conn_table *t, struct holder v[HOLDERS])
{
	static const enum kind kind[] = {KIND_ENDPOINT, KIND_REMOTE};
	unsigned int n = 0;
	pthread_mutex_lock(&m->lock);
	for (unsigned int k = 0; k < 2; k++) {
		for (uint32_t i = 0; i < m->index.n[kind[k]]; i++) {
			const struct object *o = m->index.v[kind[k]][i];
			uint32_t slot = __atomic_load_n(&o->slot, __ATOMIC_RELAXED);
			holder_add(v, &n, kinds[kind[k]].name, o->name, slot != 0 ? conn_owner_used(t, slot) : 0);
		}
	}
	pthread_mutex_unlock(&m->lock);
	return n;
}

static void
add_warning(struct mgmt *m, const struct conn_table *t, const struct conn_stats *s, json_t *out)
{
	struct holder v[HOLDERS];
	unsigned int n = holders(m, t, v);
	json_t *list = json_array();
	for (unsigned int i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "kind", v[i].kind, "name", v[i].name, "used",
						      (json_int_t)v[i].used));
	json_object_set_new(out, "warning",
			    json_sprintf("%u %% of the connection table are in use%s%s", percent(s),
					 n > 0 ? ", most by " : "", n > 0 ? v[0].name : ""));
	json_object_set_new(out, "holders", list);
}

json_t *
connections_status(struct mgmt *m)
{
	const struct conn_table *t = table();
	struct conn_stats s;
	if (t == NULL)
		return NULL;
	conn_table_stats(t, &s);
	json_t *out = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "used", (json_int_t)s.used, "capacity",
				(json_int_t)s.capacity, "halfOpen", (json_int_t)s.half_open, "perEndpoint",
				(json_int_t)s.per_owner, "evicted", (json_int_t)s.evicted, "refusedFull",
				(json_int_t)s.refused_full, "refusedQuota", (json_int_t)s.refused_quota);
	if (percent(&s) >= WARN_AT)
		add_warning(m, t, &s, out);
	return out;
}

void
connections_add_count(json_t *status, const struct object *o)
{
	const struct conn_table *t = table();
	uint32_t slot = __atomic_load_n(&o->slot, __ATOMIC_RELAXED);
	if (t != NULL && slot != 0)
		json_object_set_new(status, "connections", json_integer(conn_owner_used(t, slot)));
}

void
connections_watch(struct mgmt *m)
{
	struct conn_watch *w = &m->conn_watch;
	const struct conn_table *t = table();
	struct conn_stats s;
	if (t == NULL)
		return;
	conn_table_stats(t, &s);
	if (percent(&s) < CALM_AT)
		w->warned = false;
	if (percent(&s) < WARN_AT || w->warned || (w->ever && !clock_passed(clock_ms(), w->warned_ms, WARN_EVERY_MS)))
		return;
	w->warned = w->ever = true;
	w->warned_ms = clock_ms();
	json_t *event = json_pack("{s:s, s:s, s:s, s:I, s:I}", "event", "connections", "kind", "Node", "name", "", "used",
				  (json_int_t)s.used, "capacity", (json_int_t)s.capacity);
	add_warning(m, t, &s, event);
	syslog(LOG_WARNING, "%s", json_string_value(json_object_get(event, "warning")));
	emit(m, event);
}
