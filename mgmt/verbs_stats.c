/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that show how the switch is: numbers of the workers, read as they stand. */
#include <stdlib.h>

#include <rte_cycles.h>

#include <weft/clock.h>
#include <weft/conn.h>
#include <weft/drop.h>
#include <weft/pipeline.h>

#include "mgmt_impl.h"

static json_int_t
load(const uint64_t *counter)
{
	return (json_int_t)__atomic_load_n(counter, __ATOMIC_RELAXED);
}

static json_t *
status_workers(struct mgmt *m)
{
	json_t *out = json_array();
	pthread_mutex_lock(&m->lock);
	/* A copy: jansson's counting of references is not made for two threads. */
	json_t *placement = json_deep_copy(m->placement);
	pthread_mutex_unlock(&m->lock);
	for (unsigned int i = 0; i < workers_count(); i++) {
		const struct worker *w = worker_get(i);
		json_t *queues = json_array_get(placement, i);
		json_array_append_new(out, json_pack("{s:i, s:i, s:i, s:o}", "id", (int)w->id, "core", (int)w->core,
						     "numa", w->numa, "rxQueues",
						     queues != NULL ? json_incref(queues) : json_array()));
	}
	json_decref(placement);
	return out;
}

static json_t *
status_books(void)
{
	struct totals t;
	workers_totals(&t);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rx", (json_int_t)t.rx, "created",
			 (json_int_t)t.created, "tx", (json_int_t)t.tx, "dropped", (json_int_t)t.dropped, "merged",
			 (json_int_t)t.merged, "punted", (json_int_t)t.punted, "held", (json_int_t)t.held, "difference",
			 (json_int_t)t.difference);
}

json_t *
verb_status(const struct call *c)
{
	struct mgmt *m = c->m;
	json_t *objects = json_object();
	pthread_mutex_lock(&m->lock);
	uint64_t epoch = m->epoch;
	for (int k = 0; k < KIND_COUNT; k++)
		json_object_set_new(objects, kinds[k].name, json_integer(m->index.n[k]));
	pthread_mutex_unlock(&m->lock);
	json_t *out = json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "version", m->version, "uptimeSeconds",
				(json_int_t)((clock_ms() - m->started_ms) / 1000), "epoch", (json_int_t)epoch,
				"objects", objects, "workers", status_workers(m), "books", status_books());
	json_t *connections = connections_status(m);
	if (connections != NULL)
		json_object_set_new(out, "connections", connections);
	json_t *nat = nat_status(m);
	if (nat != NULL)
		json_object_set_new(out, "masquerade", nat);
	json_t *extra = m->status_extra != NULL ? m->status_extra(m->arg) : NULL;
	json_object_update(out, extra);
	json_decref(extra);
	return out;
}

static json_t *
worker_stats(const struct worker *w)
{
	const struct worker_counters *n = &w->count;
	json_t *stages = json_array();
	for (int s = 0; s < STAGE_COUNT; s++)
		json_array_append_new(stages,
				      json_pack("{s:s, s:I, s:I}", "name", pipeline[s].name, "cycles",
						load(&n->stage_cycles[s]), "packets", load(&n->stage_packets[s])));
	return json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "id", (int)w->id, "core",
			 (int)w->core, "turns", load(&n->turns), "busyTurns", load(&n->busy_turns), "busyCycles",
			 load(&n->busy_cycles), "packets", load(&n->packets), "bursts", load(&n->bursts), "handed",
			 load(&n->handed), "decided", load(&n->decided), "connCreated", load(&n->conn_created),
			 "connExpired", load(&n->conn_expired), "held", load(&n->held), "eventsLost", load(&n->events_lost),
			 "stages", stages);
}

static json_t *
port_stats(const struct open_port *p)
{
	const struct port_counters *n = &p->count;
	json_t *drops = json_object();
	uint64_t dropped = 0;
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		dropped += n->drop[r];
		if (n->drop[r] != 0)
			json_object_set_new(drops, drop_texts[r].name, json_integer((json_int_t)n->drop[r]));
	}
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "name", p->name, "rx",
			 (json_int_t)n->rx, "rxBytes", (json_int_t)n->rx_bytes, "rxBad", (json_int_t)p->rx_bad, "tx",
			 (json_int_t)n->tx, "txBytes", (json_int_t)n->tx_bytes, "created", (json_int_t)n->created, "punted",
			 (json_int_t)n->punted, "dropped", (json_int_t)dropped, "drops", drops);
}

json_t *
verb_stats(const struct call *c)
{
	uint32_t n;
	struct open_port *ports = open_ports(c->m, &n);
	json_t *workers = json_array(), *list = json_array();
	for (unsigned int i = 0; i < workers_count(); i++)
		json_array_append_new(workers, worker_stats(worker_get(i)));
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(list, port_stats(&ports[i]));
	free(ports);
	return json_pack("{s:o, s:o, s:o, s:o, s:I}", "workers", workers, "ports", list, "policies", policy_stats(c->m), "services",
			 service_stats(c->m), "tscHz",
			 (json_int_t)rte_get_tsc_hz());
}

static json_t *
drop_row(const char *port, int reason, uint64_t packets)
{
	json_t *row = json_object();
	if (port != NULL)
		json_object_set_new(row, "port", json_string(port));
	json_object_set_new(row, "reason", json_string(drop_texts[reason].name));
	json_object_set_new(row, "packets", json_integer((json_int_t)packets));
	json_object_set_new(row, "help", json_string(drop_texts[reason].help));
	return row;
}

static json_t *
drop_total(void)
{
	uint64_t sum[DROP_REASON_COUNT] = {0};
	json_t *out = json_array();
	for (unsigned int id = 0; id < WEFT_MAX_PORTS; id++) {
		struct port_counters n;
		workers_port_counters((uint16_t)id, &n);
		for (int r = 0; r < DROP_REASON_COUNT; r++)
			sum[r] += n.drop[r];
	}
	for (int r = 0; r < DROP_REASON_COUNT; r++)
		if (sum[r] != 0)
			json_array_append_new(out, drop_row(NULL, r, sum[r]));
	return out;
}

json_t *
verb_drops(const struct call *c)
{
	const struct drops_params *p = c->params;
	uint32_t n;
	bool found = p->port == NULL;
	struct open_port *ports = open_ports(c->m, &n);
	json_t *rows = json_array();
	for (uint32_t i = 0; i < n; i++) {
		if (p->port != NULL && strcmp(p->port, ports[i].name) != 0)
			continue;
		found = true;
		for (int r = 0; r < DROP_REASON_COUNT; r++)
			if (ports[i].count.drop[r] != 0)
				json_array_append_new(rows, drop_row(ports[i].name, r, ports[i].count.drop[r]));
	}
	free(ports);
	if (!found) {
		json_decref(rows);
		fail(c->e, RPC_NOT_FOUND, "there is no open Port %s", p->port);
		return NULL;
	}
	return json_pack("{s:o, s:o}", "drops", rows, "total", drop_total());
}
