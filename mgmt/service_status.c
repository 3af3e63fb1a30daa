/* SPDX-License-Identifier: Apache-2.0 */
/* How many connections services were given, and gave to whom. */
#include <netinet/in.h>

#include <weft/service_count.h>
#include <weft/text.h>

#include "mgmt_impl.h"

static const char *const state_names[] = {[BACKEND_READY] = "ready",
					  [BACKEND_NOT_READY] = "notReady",
					  [BACKEND_TERMINATING] = "terminating",
					  [BACKEND_DRAINING] = "draining"};

struct sums {
	struct service_count all;
	json_t *ports; /* NULL: sums alone */
	bool backends; /* one by one */
};

static json_t *
backends_json(const struct service_choice *choice)
{
	json_t *out = json_array();
	for (uint32_t i = 0; i < choice->n_backends; i++) {
		const struct backend *b = &choice->backends[i];
		char ip[IP_TEXT_MAX];
		struct service_count n;
		service_count_read(b->count, &n);
		json_array_append_new(out, json_pack("{s:s, s:i, s:s, s:I}", "ip", ip_format(&b->ip, ip), "port",
						     (int)ntohs(b->port), "state", state_names[b->state], "connections",
						     (json_int_t)n.opened));
	}
	return out;
}

static void
add_port(const struct service_port_info *p, void *arg)
{
	struct sums *s = arg;
	struct service_count n;
	service_count_read(p->count, &n);
	s->all.opened += n.opened;
	s->all.refused += n.refused;
	if (s->ports == NULL)
		return;
	uint8_t protocol = p->spec->protocol;
	json_t *row = json_pack("{s:i, s:s, s:I, s:I}", "port", (int)p->spec->port, "protocol",
				protocol == IPPROTO_TCP ? "TCP" : protocol == IPPROTO_UDP ? "UDP" : "SCTP", "connections",
				(json_int_t)n.opened, "rejected", (json_int_t)n.refused);
	if (p->spec->name != NULL)
		json_object_set_new(row, "name", json_string(p->spec->name));
	if (s->backends)
		json_object_set_new(row, "backends", backends_json(p->choice));
	json_array_append_new(s->ports, row);
}

void
service_add_counts(struct mgmt *m, json_t *status, const char *service, bool backends)
{
	struct sums s = {.ports = json_array(), .backends = backends};
	if (pthread_mutex_trylock(&m->build) == 0) {
		int rc = service_ports(&config_current()->service, service, add_port, &s);
		pthread_mutex_unlock(&m->build);
		if (rc == 0)
			json_object_set(status, "ports", s.ports);
	}
	json_decref(s.ports);
}

json_t *
service_stats(struct mgmt *m)
{
	json_t *out = json_array();
	if (pthread_mutex_trylock(&m->build) != 0)
		return out;
	for (uint32_t i = 0; i < m->index.n[KIND_SERVICE]; i++) {
		struct sums s = {0};
		const char *name = m->index.v[KIND_SERVICE][i]->name;
		if (service_ports(&config_current()->service, name, add_port, &s) != 0 || (s.all.opened | s.all.refused) == 0)
			continue;
		json_array_append_new(out, json_pack("{s:s, s:I, s:I}", "name", name, "connections", (json_int_t)s.all.opened,
						     "rejected", (json_int_t)s.all.refused));
	}
	pthread_mutex_unlock(&m->build);
	return out;
}
