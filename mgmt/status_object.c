/* SPDX-License-Identifier: Apache-2.0 */
/* How an object is: what `get` and `list` show beside its spec. */
#include <stdlib.h>

#include <weft/port_event.h>

#include "mgmt_impl.h"

static void
replace(struct mgmt *m, char **slot, const char *text)
{
	char *copy = text != NULL ? strdup(text) : NULL;
	pthread_mutex_lock(&m->lock);
	char *old = *slot;
	*slot = copy;
	pthread_mutex_unlock(&m->lock);
	free(old);
}

void
object_set_phase(struct mgmt *m, struct object *o, const char *text)
{
	replace(m, &o->phase, text);
}

void
object_set_warning(struct mgmt *m, struct object *o, enum warning which, const char *text)
{
	replace(m, &o->warning[which], text);
}

void
object_refresh(struct mgmt *m, struct object *o)
{
	char text[512];
	if ((!o->in_config && !o->closed) || (o->kind == KIND_PORT && o->seat == NULL))
		return; /* a port that could not be opened: it says why */
	if (o->closed)
		snprintf(text, sizeof(text), "closed: it was applied before the last reboot; apply it again");
	else
		config_object_status(o->kind, o->name, text, sizeof(text));
	if (!o->closed && (o->kind == KIND_ENDPOINT || o->kind == KIND_REMOTE))
		__atomic_store_n(&o->slot, config_object_slot(o->kind, o->name), __ATOMIC_RELAXED);
	/* Nobody else changes it: no lock to compare. */
	const char *now = strcmp(text, "ready") != 0 ? text : NULL;
	if ((now == NULL) != (o->phase == NULL) || (now != NULL && strcmp(now, o->phase) != 0))
		object_set_phase(m, o, now);
}

static void
add_phase(json_t *status, const char *text)
{
	const char *colon = text != NULL ? strstr(text, ": ") : NULL;
	if (colon == NULL) {
		json_object_set_new(status, "phase", json_string(text != NULL ? text : "ready"));
		return;
	}
	json_object_set_new(status, "phase", json_stringn(text, (size_t)(colon - text)));
	json_object_set_new(status, "message", json_string(colon + 2));
}

static void
add_port(json_t *status, const char *name, const struct seat *seat)
{
	char peer[128] = "";
	bool up = false;
	struct port_counters c;
	workers_port_counters(seat->id, &c);
	port_lock();
	const struct port *p = port_by_id(seat->id);
	if (p != NULL && strcmp(p->name, name) == 0) {
		up = __atomic_load_n(&p->up, __ATOMIC_RELAXED);
		if (p->ops->describe != NULL)
			p->ops->describe(p, peer, sizeof(peer));
	}
	port_unlock();
	uint64_t dropped = 0;
	for (int r = 0; r < DROP_REASON_COUNT; r++)
		dropped += c.drop[r] - seat->base.drop[r];
	json_object_set_new(status, "port",
			    json_pack("{s:i, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "id", (int)seat->id, "up",
				      up, "peer", peer, "rx", (json_int_t)(c.rx - seat->base.rx), "rxBytes",
				      (json_int_t)(c.rx_bytes - seat->base.rx_bytes), "tx",
				      (json_int_t)(c.tx - seat->base.tx), "txBytes",
				      (json_int_t)(c.tx_bytes - seat->base.tx_bytes), "created",
				      (json_int_t)(c.created - seat->base.created), "punted",
				      (json_int_t)(c.punted - seat->base.punted), "dropped", (json_int_t)dropped));
}

void
object_add_status(struct mgmt *m, json_t *out, struct object *o)
{
	struct seat seat = {0};
	json_t *status =
		json_pack("{s:I, s:I}", "generation", (json_int_t)o->generation, "epoch", (json_int_t)o->epoch);
	pthread_mutex_lock(&m->lock);
	bool open = o->seat != NULL;
	if (open)
		seat = *o->seat;
	add_phase(status, o->phase);
	json_t *warnings = json_array();
	for (int w = 0; w < WARNINGS; w++)
		if (o->warning[w] != NULL)
			json_array_append_new(warnings, json_string(o->warning[w]));
	if (json_array_size(warnings) > 0)
		json_object_set(status, "warnings", warnings);
	json_decref(warnings);
	pthread_mutex_unlock(&m->lock);
	if (open)
		add_port(status, o->name, &seat);
	if (o->kind == KIND_ENDPOINT || o->kind == KIND_REMOTE)
		connections_add_count(status, o);
	json_object_set_new(out, "status", status);
}

struct open_port *
open_ports(struct mgmt *m, uint32_t *n)
{
	pthread_mutex_lock(&m->lock);
	struct open_port *v = calloc((size_t)m->index.n[KIND_PORT] + 1, sizeof(*v));
	if (v == NULL)
		abort();
	*n = 0;
	for (uint32_t i = 0; i < m->index.n[KIND_PORT]; i++) {
		const struct object *o = m->index.v[KIND_PORT][i];
		if (o->seat == NULL)
			continue;
		snprintf(v[*n].name, sizeof(v[*n].name), "%s", o->name);
		v[*n].id = o->seat->id;
		for (unsigned int q = 0; q < PORT_MAX_QUEUES; q++)
			v[*n].rx_bad += __atomic_load_n(&o->seat->port->stats[q].rx_bad, __ATOMIC_RELAXED);
		v[(*n)++].count = o->seat->base;
	}
	pthread_mutex_unlock(&m->lock);
	for (uint32_t i = 0; i < *n; i++) {
		struct port_counters now;
		uint64_t *base = (uint64_t *)&v[i].count;
		workers_port_counters(v[i].id, &now);
		for (size_t k = 0; k < sizeof(now) / sizeof(uint64_t); k++)
			base[k] = ((const uint64_t *)&now)[k] - base[k];
	}
	return v;
}
