/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

#include <netinet/in.h>

static int
check_port(void *value, uint64_t seen, struct error *e)
{
	const struct spec_service_port *p = value;
	if (!kind_has_ports(p->protocol))
		return error_at(e, -EINVAL, "protocol", "must be TCP, UDP or SCTP: the others have no ports");
	return 0;
}

static const struct field port_fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 FIELD_AT(struct spec_service_port, name),
	 .max = 63,
	 .help = "needed when there are several; backends say under this name where they listen"},
	{.name = "protocol",
	 .type = FIELD_PROTOCOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_service_port, protocol),
	 .fallback = IPPROTO_TCP,
	 .help = "TCP, UDP or SCTP"},
	{.name = "port",
	 .type = FIELD_NUMBER,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_service_port, port),
	 .min = 1,
	 .help = "at the service's addresses"},
	{.name = "targetPort",
	 .type = FIELD_NUMBER,
	 FIELD_AT(struct spec_service_port, target_port),
	 .min = 1,
	 .help = "at a backend that names no other; as port unless given"},
	{.name = "nodePort",
	 .type = FIELD_NUMBER,
	 FIELD_AT(struct spec_service_port, node_port),
	 .min = 1,
	 .help = "at the nodePortAddresses of the node itself"},
};
static const struct field_table port_fields_table = FIELD_TABLE(port_fields, struct spec_service_port, check_port);

static const char *const states[] = {[BACKEND_READY] = "ready",
				     [BACKEND_NOT_READY] = "notReady",
				     [BACKEND_TERMINATING] = "terminating",
				     [BACKEND_DRAINING] = "draining",
				     NULL};

static const struct field backend_fields[] = {
	{.name = "ip",
	 .type = FIELD_IP,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_backend, ip),
	 .help = "the pod's address"},
	{.name = "weight",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_backend, weight),
	 .max = 1000,
	 .fallback = 1,
	 .help = "its share of new connections; 0: none"},
	{.name = "state",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_backend, state),
	 .words = states,
	 .help = "notReady takes nothing new and keeps what is established"},
	{.name = "node", .type = FIELD_NAME, FIELD_AT(struct spec_backend, node), .help = "the Node that it runs on"},
	{.name = "ports",
	 .type = FIELD_PORT_MAP,
	 FIELD_AT(struct spec_backend, ports),
	 .aux = offsetof(struct spec_backend, n_ports),
	 .max_items = 256,
	 .help = "where it listens, by the names of the service's ports"},
};
static const struct field_table backend_table = FIELD_TABLE(backend_fields, struct spec_backend, NULL);

static const char *
port_name(const void *list, uint32_t i)
{
	return ((const struct spec_service_port *)list)[i].name;
}

static int
check_ports(const struct spec_service *s, struct error *e)
{
	uint32_t again = kind_repeated(port_name, s->ports, s->n_ports);
	if (again < s->n_ports) {
		error_set(e, -EINVAL, "\"%s\" is there already", s->ports[again].name);
		return error_under(e, -EINVAL, "ports[%u].name", again);
	}
	for (uint32_t i = 0; i < s->n_ports; i++) {
		const struct spec_service_port *p = &s->ports[i];
		if (s->n_ports > 1 && p->name == NULL) {
			error_set(e, -EINVAL, "is required, as there are several ports");
			return error_under(e, -EINVAL, "ports[%u].name", i);
		}
		for (uint32_t j = 0; j < i; j++)
			if (s->ports[j].protocol == p->protocol && s->ports[j].port == p->port) {
				error_set(e, -EINVAL, "%u is ports[%u]'s already, with the same protocol", p->port, j);
				return error_under(e, -EINVAL, "ports[%u].port", i);
			} else if (p->node_port != 0 && s->ports[j].protocol == p->protocol &&
				   s->ports[j].node_port == p->node_port) {
				error_set(e, -EINVAL, "%u is ports[%u]'s already, with the same protocol", p->node_port, j);
				return error_under(e, -EINVAL, "ports[%u].nodePort", i);
			}
	}
	return 0;
}

enum { HAS_V4 = 1, HAS_V6 = 2 };

static unsigned int
families(const struct ip_list *l)
{
	unsigned int f = 0;
	for (uint32_t i = 0; i < l->n; i++)
		f |= ip_is4(&l->v[i]) ? HAS_V4 : HAS_V6;
	return f;
}

static bool
knows_port(const struct spec_service *s, const char *name)
{
	for (uint32_t i = 0; i < s->n_ports; i++)
		if (s->ports[i].name != NULL && strcmp(s->ports[i].name, name) == 0)
			return true;
	return false;
}

static int
check_backend(const struct spec_service *s, const struct spec_backend *b, unsigned int known, struct error *e)
{
	if (known != 0 && ((ip_is4(&b->ip) ? HAS_V4 : HAS_V6) & known) == 0)
		return error_at(e, -EINVAL, "ip", "is %s, but the service has no %s address", kind_family(&b->ip),
				kind_family(&b->ip));
	for (uint32_t i = 0; i < b->n_ports; i++)
		if (!knows_port(s, b->ports[i].name)) {
			error_set(e, -EINVAL, "no port of the service has this name");
			return error_under(e, -EINVAL, "ports.%s", b->ports[i].name);
		}
	return 0;
}

static int
check(void *value, uint64_t seen, struct error *e)
{
	const struct spec_service *s = value;
	int rc = check_ports(s, e);
	unsigned int known = families(&s->ips) | families(&s->external_ips) | families(&s->load_balancer_ips);
	bool node_port = false;
	for (uint32_t i = 0; i < s->n_ports; i++)
		node_port |= s->ports[i].node_port != 0;
	if (rc == 0 && known == 0 && !node_port)
		return error_at(e, -EINVAL, "ips", "a service needs an address or a nodePort");
	for (uint32_t i = 0; rc == 0 && i < s->n_backends; i++) {
		rc = check_backend(s, &s->backends[i], known, e);
		if (rc < 0)
			return error_under(e, rc, "backends[%u]", i);
	}
	return rc;
}

static const char *const scope[] = {"Cluster", "Local", NULL};
static const char *const gone[] = {"reset", "timeout", NULL};

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_service, name),
	 .help = "the service's name, such as namespace/service"},
	{.name = "network",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_service, network),
	 .help = "the Network whose pods see it"},
	{.name = "ips",
	 .type = FIELD_IP,
	 FIELD_LIST(struct spec_service, ips.v, ips.n),
	 .max_items = 16,
	 .help = "cluster addresses"},
	{.name = "externalIPs",
	 .type = FIELD_IP,
	 FIELD_LIST(struct spec_service, external_ips.v, external_ips.n),
	 .max_items = 64,
	 .help = "addresses from outside the cluster; pods reach them too"},
	{.name = "loadBalancerIPs",
	 .type = FIELD_IP,
	 FIELD_LIST(struct spec_service, load_balancer_ips.v, load_balancer_ips.n),
	 .max_items = 64,
	 .help = "addresses that a load balancer gave it"},
	{.name = "sourceRanges",
	 .type = FIELD_PREFIX,
	 FIELD_LIST(struct spec_service, source_ranges.v, source_ranges.n),
	 .max_items = 1024,
	 .help = "who may use loadBalancerIPs, and from outside node ports; empty: everybody"},
	{.name = "sessionAffinitySeconds",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_service, session_affinity_seconds),
	 .max = 86400,
	 .help = "a client keeps its backend for so long; 0: no affinity"},
	{.name = "ports",
	 .type = FIELD_OBJECT,
	 .need = FIELD_REQUIRED,
	 FIELD_LIST(struct spec_service, ports, n_ports),
	 .min_items = 1,
	 .max_items = 256,
	 .sub = &port_fields_table,
	 .key = "name",
	 .help = "the service's ports"},
	{.name = "internalTrafficPolicy",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_service, internal_local),
	 .words = scope,
	 .help = "Local: pods reach backends of this node only"},
	{.name = "externalTrafficPolicy",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_service, external_local),
	 .words = scope,
	 .help = "Local: from outside only backends of this node, and the client's address stays"},
	{.name = "onBackendGone",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_service, gone_timeout),
	 .words = gone,
	 .help = "what becomes of a connection whose backend is gone"},
	{.name = "backends",
	 .type = FIELD_OBJECT,
	 FIELD_LIST(struct spec_service, backends, n_backends),
	 .sub = &backend_table,
	 .key = "ip",
	 .help = "the pods that answer"},
};
const struct field_table service_table = FIELD_TABLE(fields, struct spec_service, check);
