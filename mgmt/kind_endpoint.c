/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

#include <netinet/in.h>

static int
check_port(void *value, uint64_t seen, struct error *e)
{
	const struct spec_endpoint_port *p = value;
	if (!kind_has_ports(p->protocol))
		return error_at(e, -EINVAL, "protocol", "must be TCP, UDP or SCTP: the others have no ports");
	return 0;
}

static const struct field port_fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_endpoint_port, name),
	 .max = 63,
	 .help = "as policies and services call it"},
	{.name = "protocol",
	 .type = FIELD_PROTOCOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_endpoint_port, protocol),
	 .fallback = IPPROTO_TCP,
	 .help = "TCP, UDP or SCTP"},
	{.name = "port",
	 .type = FIELD_NUMBER,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_endpoint_port, port),
	 .min = 1,
	 .help = "where the pod listens"},
};
static const struct field_table port_fields_table = FIELD_TABLE(port_fields, struct spec_endpoint_port, check_port);

static const struct field allowed_fields[] = {
	{.name = "ip",
	 .type = FIELD_PREFIX,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_allowed, ip),
	 .help = "source addresses beside its own"},
	{.name = "mac",
	 .type = FIELD_MAC,
	 FIELD_AT(struct spec_allowed, mac),
	 .help = "with this source MAC; the endpoint's unless given"},
};
static const struct field_table allowed_table = FIELD_TABLE(allowed_fields, struct spec_allowed, NULL);

static const struct field rate_fields[] = {
	{.name = "ingressBps",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_endpoint, ingress_bps),
	 .help = "bits per second to the pod; 0: no limit"},
	{.name = "egressBps",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_endpoint, egress_bps),
	 .help = "bits per second from the pod; 0: no limit"},
};
static const struct field_table rate_table = FIELD_TABLE(rate_fields, struct spec_endpoint, NULL);

static const char *
port_name(const void *list, uint32_t i)
{
	return ((const struct spec_endpoint_port *)list)[i].name;
}

static int
check(void *value, uint64_t seen, struct error *e)
{
	const struct spec_endpoint *p = value;
	for (uint32_t i = 0; i < p->ips.n; i++)
		for (uint32_t j = 0; j < i; j++)
			if (ip_equal(&p->ips.v[i], &p->ips.v[j])) {
				error_set(e, -EINVAL, "is there already");
				return error_under(e, -EINVAL, "ips[%u]", i);
			}
	uint32_t again = kind_repeated(port_name, p->ports, p->n_ports);
	if (again < p->n_ports) {
		error_set(e, -EINVAL, "\"%s\" is there already", p->ports[again].name);
		return error_under(e, -EINVAL, "ports[%u].name", again);
	}
	return 0;
}

static const char *const anti_spoof[] = {
	[ANTI_SPOOF_STRICT] = "strict", [ANTI_SPOOF_MAC] = "mac", [ANTI_SPOOF_OFF] = "off", NULL};
static const char *const admit[] = {"open", "closed", NULL};

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_endpoint, name),
	 .help = "the endpoint's name, such as namespace/pod"},
	{.name = "network",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_endpoint, network),
	 .help = "the Network that it is in"},
	{.name = "port",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_endpoint, port),
	 .help = "the Port that carries it"},
	{.name = "mac",
	 .type = FIELD_MAC,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_endpoint, mac),
	 .help = "the pod's MAC address"},
	{.name = "ips",
	 .type = FIELD_IP,
	 .need = FIELD_REQUIRED,
	 FIELD_LIST(struct spec_endpoint, ips.v, ips.n),
	 .max_items = 64,
	 .help = "the pod's addresses"},
	{.name = "ports",
	 .type = FIELD_OBJECT,
	 FIELD_LIST(struct spec_endpoint, ports, n_ports),
	 .max_items = 256,
	 .sub = &port_fields_table,
	 .key = "name",
	 .help = "named ports, for policies that name one"},
	{.name = "antiSpoof",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_endpoint, anti_spoof),
	 .words = anti_spoof,
	 .help = "which sources are checked: MAC and address, MAC alone, none"},
	{.name = "allowed",
	 .type = FIELD_OBJECT,
	 FIELD_LIST(struct spec_endpoint, allowed, n_allowed),
	 .max_items = 256,
	 .sub = &allowed_table,
	 .key = "ip",
	 .help = "further sources that the pod may speak from"},
	{.name = "prefixes",
	 .type = FIELD_PREFIX,
	 FIELD_LIST(struct spec_endpoint, prefixes.v, prefixes.n),
	 .max_items = 1024,
	 .help = "networks behind the pod: routed to it"},
	{.name = "admit",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_endpoint, admit_closed),
	 .words = admit,
	 .help = "closed: only ARP and ND pass, until a Policy that selects it is applied, or it with open"},
	{.name = "rateLimit", .type = FIELD_OBJECT, .sub = &rate_table, .help = "limits in each direction"},
};
const struct field_table endpoint_table = FIELD_TABLE(fields, struct spec_endpoint, check);
