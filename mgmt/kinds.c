/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

#include <netinet/in.h>
#include <stdlib.h>

const struct kind_row kinds[KIND_COUNT] = {
	[KIND_NODE] = {"Node", &node_table, "a node of the cluster; one of them is this one"},
	[KIND_NETWORK] = {"Network", &network_table, "an isolated L3 or L2 domain of pods, carried over VXLAN"},
	[KIND_PORT] = {"Port", &port_table, "where packets come from and go to: a pod's interface, the host, a NIC"},
	[KIND_ENDPOINT] = {"Endpoint", &endpoint_table, "a pod's attachment: port, MAC and addresses in a network"},
	[KIND_REMOTE] = {"Remote", &remote_table, "prefixes and endpoints behind another node's tunnel end"},
	[KIND_ROUTE] = {"Route", &route_table, "a way out of a network: a prefix and its gateways"},
	[KIND_SERVICE] = {"Service", &service_table,
			  "a Kubernetes Service: addresses, ports and the backends behind them"},
	[KIND_ADDRESS_SET] = {"AddressSet", &address_set_table, "a named set of prefixes that policies refer to"},
	[KIND_POLICY] = {"Policy", &policy_table,
			 "who may talk to whom: a NetworkPolicy, or an admin's or baseline one"},
};

const char *const kind_words[] = {
#define X(upper, json, lower) #json,
	KINDS(X)
#undef X
		NULL};

static const struct field common_fields[] = {
	{.name = "kind",
	 .type = FIELD_WORD,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct common, kind),
	 .words = kind_words,
	 .help = "what the object is"},
	{.name = "owner",
	 .type = FIELD_NAME,
	 FIELD_AT(struct common, owner),
	 .max = 63,
	 .help = "who applied it; apply with prune removes what its owner no longer names"},
	{.name = "status",
	 .type = FIELD_JSON,
	 FIELD_AT(struct common, status),
	 .help = "ignored: what get shows can be applied again"},
};
const struct field_table common_table = FIELD_TABLE(common_fields, struct common, NULL);

struct numbered {
	const char *s;
	uint32_t i;
};

static int
compare_numbered(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;
	int c = strcmp(x->s, y->s);
	return c != 0 ? c : x->i < y->i ? -1 : x->i > y->i;
}

uint32_t
kind_repeated(const char *(*at)(const void *list, uint32_t i), const void *list, uint32_t n)
{
	struct numbered *v = calloc(n == 0 ? 1 : n, sizeof(*v));
	uint32_t used = 0, found = n;
	if (v == NULL)
		abort();
	for (uint32_t i = 0; i < n; i++)
		if (at(list, i) != NULL)
			v[used++] = (struct numbered){at(list, i), i};
	qsort(v, used, sizeof(*v), compare_numbered);
	for (uint32_t i = 1; i < used; i++)
		if (strcmp(v[i - 1].s, v[i].s) == 0 && v[i].i < found)
			found = v[i].i;
	free(v);
	return found;
}

const char *
kind_family(const struct ip *ip)
{
	return ip_is4(ip) ? "IPv4" : "IPv6";
}

bool
kind_prefix_is4(const struct prefix *p)
{
	return p->len >= 96 && ip_is4(&p->ip);
}

bool
kind_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}
