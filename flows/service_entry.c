/* SPDX-License-Identifier: Apache-2.0 */
/* What a service claims, by its spec alone. */
#include <stdlib.h>

#include "mix.h"
#include "service_private.h"

static int
compare_addresses(const void *a, const void *b)
{
	const struct service_claim *x = a, *y = b;
	if (x->network != y->network)
		return x->network < y->network ? -1 : 1;
	return memcmp(&x->ip, &y->ip, sizeof(x->ip));
}

/* An address listed twice is of the kind that comes first. */
static int
compare_claims(const void *a, const void *b)
{
	const struct service_claim *x = a, *y = b;
	int c = compare_addresses(a, b);
	return c != 0 ? c : (int)x->scope - (int)y->scope;
}

static int
compare_ports(const void *a, const void *b)
{
	const struct entry_port *x = a, *y = b;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	return (int)x->protocol - (int)y->protocol;
}

const struct entry_port *
service_entry_port(const struct service_entry *entry, const struct entry_port *like)
{
	return bsearch(like, entry->port, entry->n_ports, sizeof(*like), compare_ports);
}

bool
service_entry_has_address(const struct service_entry *entry, uint32_t network, const struct ip *ip)
{
	struct service_claim like = {.ip = *ip, .network = network};
	return bsearch(&like, entry->claim, entry->n_claims, sizeof(like), compare_addresses) != NULL;
}

/* Addresses from outside are claimed twice: where they are asked for from outside, and where pods ask for them. */
static void
list_claims(struct service_entry *entry)
{
	const struct {
		const struct ip_list *ips;
		uint32_t network;
		enum service_scope scope;
	} lists[] = {
		{&entry->spec->ips, entry->network, SERVICE_CLUSTER},
		{&entry->spec->external_ips, entry->network, SERVICE_EXTERNAL},
		{&entry->spec->external_ips, NETWORK_UNDERLAY, SERVICE_EXTERNAL},
		{&entry->spec->load_balancer_ips, entry->network, SERVICE_LOAD_BALANCER},
		{&entry->spec->load_balancer_ips, NETWORK_UNDERLAY, SERVICE_LOAD_BALANCER},
	};
	uint32_t n = 0;
	for (unsigned int k = 0; k < sizeof(lists) / sizeof(lists[0]); k++) {
		for (uint32_t i = 0; i < lists[k].ips->n; i++) {
			entry->claim[n++] = (struct service_claim){
				.ip = lists[k].ips->v[i], .network = lists[k].network, .scope = (uint8_t)lists[k].scope};
		}
	}
	qsort(entry->claim, n, sizeof(*entry->claim), compare_claims);
	for (uint32_t i = 0; i < n; i++) {
		if (i == 0 || compare_addresses(&entry->claim[entry->n_claims - 1], &entry->claim[i]) != 0)
			entry->claim[entry->n_claims++] = entry->claim[i];
	}
}

/* The same for the same port of the same service whenever it is asked, also by the next process. */
static uint32_t
port_id(const struct service_entry *entry, const struct entry_port *p)
{
	uint64_t h = mix64_bytes(entry->network, entry->name, strlen(entry->name));
	uint32_t id = (uint32_t)mix64_add(h, (uint64_t)ntohs(p->port) << 8 | p->protocol);
	return id | (uint32_t)(id == 0);
}

static int
refuse_twice(uint32_t i, uint32_t j, const char *member, uint16_t number, struct error *e)
{
	char where[40];
	snprintf(where, sizeof(where), "ports[%u]%s", i > j ? i : j, member);
	return error_at(e, -EINVAL, where, "port %u of this protocol is ports[%u] already", number, i < j ? i : j);
}

static int
check_node_ports(const struct service_entry *entry, struct error *e)
{
	for (uint32_t i = 0; i < entry->n_ports; i++) {
		const struct entry_port *a = &entry->port[i];
		for (uint32_t j = 0; j < i && a->node_port != 0; j++) {
			const struct entry_port *b = &entry->port[j];
			if (a->node_port == b->node_port && a->protocol == b->protocol)
				return refuse_twice(a->index, b->index, ".nodePort", ntohs(a->node_port), e);
		}
	}
	return 0;
}

static int
list_ports(struct service_entry *entry, struct error *e)
{
	const struct spec_service *spec = entry->spec;
	for (uint32_t i = 0; i < spec->n_ports; i++) {
		struct entry_port *p = &entry->port[i];
		*p = (struct entry_port){
			.port = htons(spec->ports[i].port),
			.node_port = htons(spec->ports[i].node_port),
			.protocol = spec->ports[i].protocol,
			.index = i,
		};
		p->id = port_id(entry, p);
	}
	entry->n_ports = spec->n_ports;
	qsort(entry->port, entry->n_ports, sizeof(*entry->port), compare_ports);
	for (uint32_t i = 1; i < entry->n_ports; i++) {
		const struct entry_port *a = &entry->port[i - 1], *b = &entry->port[i];
		if (compare_ports(a, b) == 0)
			return refuse_twice(a->index, b->index, "", ntohs(a->port), e);
	}
	return check_node_ports(entry, e);
}

int
service_entry_new(struct txn *t, uint32_t network, const struct spec_service *spec, struct service_entry **out,
		  struct error *e)
{
	size_t n_claims = (size_t)spec->ips.n + 2 * ((size_t)spec->external_ips.n + spec->load_balancer_ips.n);
	size_t claims_at = (sizeof(struct service_entry) + 15) / 16 * 16;
	size_t ports_at = claims_at + n_claims * sizeof(struct service_claim);
	if (strlen(spec->name) > WEFT_NAME_MAX)
		return error_at(e, -ENAMETOOLONG, "name", "longer than %d characters", WEFT_NAME_MAX);
	struct service_entry *entry = txn_alloc(t, ports_at + spec->n_ports * sizeof(struct entry_port));
	memcpy(entry->name, spec->name, strlen(spec->name));
	entry->network = network;
	entry->spec = spec;
	entry->claim = (struct service_claim *)((char *)entry + claims_at);
	entry->port = (struct entry_port *)((char *)entry + ports_at);
	list_claims(entry);
	*out = entry;
	return list_ports(entry, e);
}
