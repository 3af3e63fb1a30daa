/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports that come and go with a batch.
 *
 * A port that comes may need what one that goes still has (the socket, the device, its own name). The one that goes is
 * then closed first, while the configuration still names its id. That is safe as long as nobody else is given the id:
 * those that go are closed from the highest id down, and each makes room for its successor at once. port_open gives the
 * lowest free id, and every id that this batch freed before is higher than the one just freed.
 */
#include <stdlib.h>
#include <syslog.h>

#include <weft/rcu.h>

#include "mgmt_impl.h"

static bool
comes(const struct change *c)
{
	return c->next != NULL && c->next->kind == KIND_PORT;
}

static bool
goes(const struct change *c)
{
	return c->old != NULL && c->old->kind == KIND_PORT && c->old->seat != NULL;
}

bool
batch_opens(const struct batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (comes(&b->v[i]))
			return true;
	return false;
}

bool
batch_closes(const struct batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (goes(&b->v[i]))
			return true;
	return false;
}

static json_t *
placement_of(const struct worker *w)
{
	json_t *out = json_array();
	/* Only this thread replaces the list, so it stays while we look. */
	const struct poll_list *poll = __atomic_load_n(&w->poll, __ATOMIC_ACQUIRE);
	for (unsigned int q = 0; poll != NULL && q < poll->n; q++)
		json_array_append_new(
			out, json_pack("{s:s, s:i}", "port", poll->q[q].port->name, "queue", (int)poll->q[q].queue));
	return out;
}

void
replan(struct mgmt *m, const struct port *without)
{
	workers_replan(without);
	json_t *now = json_array();
	for (unsigned int i = 0; i < workers_count(); i++)
		json_array_append_new(now, placement_of(worker_get(i)));
	pthread_mutex_lock(&m->lock);
	json_t *old = m->placement;
	m->placement = now;
	pthread_mutex_unlock(&m->lock);
	json_decref(old);
}

static int
seat_open(struct mgmt *m, struct object *o, struct error *e)
{
	struct seat *seat = calloc(1, sizeof(*seat));
	if (seat == NULL)
		abort();
	int rc = port_open(&o->spec->port, &seat->port, e);
	if (rc < 0) {
		free(seat);
		return rc;
	}
	seat->id = seat->port->id;
	workers_port_counters(seat->id, &seat->base);
	pthread_mutex_lock(&m->lock);
	o->seat = seat;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

void
seat_close(struct mgmt *m, struct object *o)
{
	pthread_mutex_lock(&m->lock);
	struct seat *seat = o->seat;
	o->seat = NULL;
	pthread_mutex_unlock(&m->lock);
	if (seat == NULL)
		return;
	replan(m, seat->port);
	port_close(seat->port);
	free(seat);
}

/* Open what comes and is not open yet. -EAGAIN: something in the way may still go. */
static int
open_waiting(struct mgmt *m, struct batch *b, bool more_will_go, enum transact_mode mode, struct rpc_error *e)
{
	bool waiting = false;
	/* The host port comes last: it takes its MAC from the uplink. */
	for (uint32_t k = 0; k < 2 * b->n; k++) {
		struct change *c = &b->v[k % b->n];
		struct error why = {0};
		if (!comes(c) || c->opened || c->next->phase != NULL || c->next->spec->port.host != (k >= b->n))
			continue;
		int rc = goes(c) ? -EEXIST : seat_open(m, c->next, &why);
		c->opened = rc == 0;
		if (rc == 0)
			continue;
		if (rc == -EEXIST && more_will_go) {
			waiting = true;
			continue;
		}
		if (mode == TRANSACT_REPLAY) {
			char text[sizeof(why.path) + sizeof(why.text) + 16];
			snprintf(text, sizeof(text), "failed: %s%s%s", why.path, why.path[0] != '\0' ? ": " : "",
				 why.text);
			object_set_phase(m, c->next, text);
			continue;
		}
		return fail_with(e, rc, c->at, &why);
	}
	return waiting ? -EAGAIN : 0;
}

/* The open port with the highest id among those that go. */
static struct change *
last_to_go(struct batch *b)
{
	struct change *last = NULL;
	for (uint32_t i = 0; i < b->n; i++)
		if (goes(&b->v[i]) && (last == NULL || b->v[i].old->seat->id > last->old->seat->id))
			last = &b->v[i];
	return last;
}

int
ports_open(struct mgmt *m, struct batch *b, enum transact_mode mode, struct rpc_error *e)
{
	struct change *go;
	int rc = open_waiting(m, b, batch_closes(b), mode, e);
	while (rc == -EAGAIN && (go = last_to_go(b)) != NULL) {
		go->bounced = true;
		go->bounced_id = go->old->seat->id;
		go->bounced_mac = go->old->seat->port->mac;
		seat_close(m, go->old);
		rc = open_waiting(m, b, batch_closes(b), mode, e);
	}
	if (rc < 0)
		ports_undo(m, b);
	return rc;
}

/* An id that is given out last of all, so that what is sent to it finds nobody. */
static uint16_t
parked_id(void)
{
	uint16_t id = WEFT_MAX_PORTS - 1;
	while (id > 0 && port_by_id(id) != NULL)
		id--;
	return id;
}

/* A port came back under another id or MAC, or not at all: tell the configuration, which must not go on sending to an id that may
 * be somebody else's next. The Port stays in it, as its endpoints name it. */
static void
put_back(struct object *o)
{
	struct error why = {0};
	struct port_facts facts = {.mac = o->spec->port.mac};
	if (o->seat != NULL)
		facts = (struct port_facts){.id = o->seat->id, .mac = o->seat->port->mac};
	else
		facts.id = parked_id();
	struct config_txn *t = config_begin();
	int rc = config_put(t, KIND_PORT, o->spec, &facts, &why);
	if (rc == 0)
		rc = config_check(t, &why);
	if (rc < 0) {
		syslog(LOG_ERR, "Port %s: %s%s%s", o->name, why.path, why.path[0] != '\0' ? ": " : "", why.text);
		config_abort(t);
	} else {
		config_publish(t);
	}
}

static void
reopen(struct mgmt *m, struct change *c)
{
	struct error why = {0};
	struct object *o = c->old;
	c->bounced = false;
	int rc = seat_open(m, o, &why);
	if (rc < 0) {
		char text[sizeof(why.path) + sizeof(why.text) + 64];
		snprintf(text, sizeof(text), "failed: closed for a change that failed, and then: %s", why.text);
		object_set_phase(m, o, text);
		syslog(LOG_ERR, "Port %s: %s", o->name, text);
	}
	if (rc < 0 || o->seat->id != c->bounced_id || !mac_equal(&o->seat->port->mac, &c->bounced_mac))
		put_back(o);
}

void
ports_undo(struct mgmt *m, struct batch *b)
{
	bool any = false, host = false;
	for (uint32_t i = 0; i < b->n; i++)
		if (b->v[i].opened) {
			seat_close(m, b->v[i].next);
			b->v[i].opened = false;
		}
	for (uint32_t i = 0; i < b->n; i++)
		if (b->v[i].bounced) {
			reopen(m, &b->v[i]);
			any = true;
			host = host || b->v[i].old->spec->port.host;
		}
	if (any)
		replan(m, NULL);
	/* Its device is a new one. */
	if (host)
		host_routes_renew(m);
}

void
ports_close(struct mgmt *m, struct batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		if (goes(&b->v[i]))
			seat_close(m, b->v[i].old);
}
