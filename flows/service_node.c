/* SPDX-License-Identifier: Apache-2.0 */
/* What services owe to the node that they run on: the serviceCIDRs, the addresses of node ports, which backends are local. */
#include <stdlib.h>

#include <weft/generation.h>
#include <weft/text.h>

#include "service_private.h"

static int
retire_cidr(const void *value, void *t)
{
	txn_discard(t, (void *)(uintptr_t)value);
	return 0;
}

static void
slot_free(void *slot)
{
	generation_free((uint32_t)(uintptr_t)slot);
}

void
service_set_cidrs(const struct service_change *c, const struct prefix_list *cidrs)
{
	struct service_tables *s = c->s;
	pmap_walk(&s->cidr.map, retire_cidr, c->t);
	pmap_clear(&s->cidr.map, c->t);
	memset(&s->cidr, 0, sizeof(s->cidr));
	for (uint32_t i = 0; i < cidrs->n; i++) {
		struct lpm_key *key = txn_alloc(c->t, sizeof(*key));
		*key = (struct lpm_key){.ip = cidrs->v[i].ip, .network = NETWORK_UNDERLAY, .len = cidrs->v[i].len};
		void *twice = lpm_put(&s->cidr, c->t, key);
		if (twice != NULL)
			txn_discard(c->t, twice);
	}
	if (s->cidr_slot == 0) {
		s->cidr_slot = generation_alloc();
		txn_on_abort(c->t, slot_free, (void *)(uintptr_t)s->cidr_slot);
	} else {
		c->bump(c->arg, s->cidr_slot);
	}
}

/* --- node ports --- */

struct walk {
	const struct service_change *c;
	const struct ip_list *ips;
	const struct service_port *node_port, *hidden;
};

/* Connections by a node port are decided again, and a node port that meets another service's claim is noted. */
static int
visit_node_port(const void *value, void *arg)
{
	const struct service_port *sp = value;
	struct walk *w = arg;
	if (sp->scope != SERVICE_NODE_PORT)
		return 0;
	w->c->bump(w->c->arg, sp->slot);
	for (uint32_t i = 0; i < w->ips->n; i++) {
		struct service_port_key key = {w->ips->v[i], NETWORK_UNDERLAY, sp->port, sp->protocol, 0};
		const struct service_port *other = pmap_find(&w->c->s->port, &service_ports_type, &key);
		if (other != NULL && other->slot != sp->slot) {
			w->node_port = sp;
			w->hidden = other;
		}
	}
	return 0;
}

int
service_set_node_ips(const struct service_change *c, const struct ip_list *ips, struct error *e)
{
	struct service_tables *s = c->s;
	struct walk w = {.c = c, .ips = ips};
	if (s->n_node_ports > 0)
		pmap_walk(&s->port, visit_node_port, &w);
	if (w.hidden != NULL) {
		char ip[IP_TEXT_MAX];
		return error_at(e, -EEXIST, "nodePortAddresses", "%s port %u is of service %s, and a node port of service %s",
				ip_format(&w.hidden->ip, ip), ntohs(w.hidden->port), w.hidden->spec->name,
				w.node_port->spec->name);
	}
	s->withdrawn |= s->n_node_ports > 0 && s->n_node_ips > 0;
	if (s->node_ips != NULL)
		txn_discard(c->t, (void *)(uintptr_t)s->node_ips);
	s->node_ips = NULL;
	s->n_node_ips = ips->n;
	if (ips->n > 0) {
		struct ip *copy = txn_alloc(c->t, ips->n * sizeof(*copy));
		memcpy(copy, ips->v, ips->n * sizeof(*copy));
		s->node_ips = copy;
	}
	c->bump(c->arg, s->host_slot);
	return 0;
}

/* --- local backends --- */

struct search {
	const struct service_change *c;
	const struct ip *ips; /* ordered */
	size_t n;
	const struct service_entry **found;
	size_t n_found;
};

static int
compare_ips(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip));
}

static int
collect(const void *value, void *arg)
{
	struct search *s = arg;
	const struct service_entry *entry = value;
	const struct spec_service *spec = entry->spec;
	bool touched = s->ips == NULL;
	for (uint32_t i = 0; i < spec->n_backends && !touched; i++)
		touched = bsearch(&spec->backends[i].ip, s->ips, s->n, sizeof(struct ip), compare_ips) != NULL;
	if (touched)
		s->found[s->n_found++] = entry;
	return 0;
}

int
service_localize(const struct service_change *c, const struct ip *ips, size_t n, struct error *e)
{
	if (c->s->local.count == 0 || (ips != NULL && n == 0))
		return 0;
	struct ip *ordered = calloc(n + 1, sizeof(*ordered));
	struct search s = {.c = c, .ips = ips != NULL ? ordered : NULL, .n = n};
	s.found = calloc(c->s->local.count, sizeof(*s.found));
	if (ordered == NULL || s.found == NULL)
		abort();
	if (ips != NULL)
		memcpy(ordered, ips, n * sizeof(*ordered));
	qsort(ordered, ips != NULL ? n : 0, sizeof(*ordered), compare_ips);
	pmap_walk(&c->s->local, collect, &s);
	int rc = 0;
	for (size_t i = 0; i < s.n_found && rc == 0; i++)
		rc = service_put(c, s.found[i]->network, s.found[i]->spec, e);
	free(s.found);
	free(ordered);
	return rc;
}
