/* SPDX-License-Identifier: Apache-2.0 */
#include "config_impl.h"

static void
endpoint_status(const struct config *c, const struct config_object *o, char *buf, size_t size)
{
	const struct spec_endpoint *spec = &o->spec->endpoint;
	if (o->compiled != NULL && ((const struct endpoint *)o->compiled)->closed)
		snprintf(buf, size, "closed: no transaction has covered it yet: apply a Policy that selects it, or it with admit open");
	else if (spec->port == NULL)
		snprintf(buf, size, "pending: no port is named");
	else if (object_find(c, KIND_PORT, spec->port) == NULL)
		snprintf(buf, size, "pending: port %s does not exist", spec->port);
}

static void
network_status(const struct config *c, const struct spec_network *spec, char *buf, size_t size)
{
	for (uint32_t i = 0; i < spec->uplinks.n; i++) {
		if (object_find(c, KIND_PORT, spec->uplinks.v[i]) != NULL)
			continue;
		snprintf(buf, size, "pending: uplink %s does not exist", spec->uplinks.v[i]);
		return;
	}
}

static void
remote_status(const struct config *c, const struct spec_remote *spec, char *buf, size_t size)
{
	char text[IP_TEXT_MAX];
	struct ip next;
	if (underlay_next_hop(c, &spec->vtep, &next))
		return;
	ip_format(&spec->vtep, text);
	if (builder_of(c)->uplink == NULL)
		snprintf(buf, size, "pending: there is no uplink");
	else if (ip_is_none(&c->vtep_ip))
		snprintf(buf, size, "pending: uplink %s has no IPv4 address", builder_of(c)->uplink->name);
	else if (ip_equal(&spec->vtep, &c->vtep_ip))
		snprintf(buf, size, "pending: vtep %s is this node's own", text);
	else
		snprintf(buf, size, "pending: no route to vtep %s", text);
}

static void
route_status(const struct config *c, const struct spec_route *spec, char *buf, size_t size)
{
	for (uint32_t i = 0; i < spec->n_next_hops; i++) {
		const char *port = spec->next_hops[i].port;
		const struct config_object *uplink = builder_of(c)->uplink;
		if (uplink != NULL && (port == NULL || strcmp(port, uplink->name) == 0))
			return;
	}
	snprintf(buf, size, "pending: no next hop is on an uplink");
}

static void
policy_status(const struct config *c, const struct spec_policy *spec, char *buf, size_t size)
{
	for (uint32_t i = 0; spec->has_endpoints && i < spec->endpoints.n; i++) {
		if (object_find(c, KIND_ENDPOINT, spec->endpoints.v[i]) != NULL)
			continue;
		snprintf(buf, size, "pending: endpoint %s does not exist", spec->endpoints.v[i]);
		return;
	}
}

void
config_object_status(enum kind kind, const char *name, char *buf, size_t size)
{
	const struct config *c = config_current();
	const struct config_object *o = object_find(c, kind, name);
	snprintf(buf, size, "%s", o != NULL ? "ready" : "unknown");
	if (o == NULL)
		return;
	switch (kind) {
	case KIND_NETWORK:
		network_status(c, &o->spec->network, buf, size);
		break;
	case KIND_ENDPOINT:
		endpoint_status(c, o, buf, size);
		break;
	case KIND_REMOTE:
		remote_status(c, &o->spec->remote, buf, size);
		break;
	case KIND_ROUTE:
		route_status(c, &o->spec->route, buf, size);
		break;
	case KIND_POLICY:
		policy_status(c, &o->spec->policy, buf, size);
		break;
	default:
		break;
	}
}

uint32_t
config_object_slot(enum kind kind, const char *name)
{
	const struct config *c = config_current();
	const struct config_object *o = object_find(c, kind, name);
	if (o == NULL || o->compiled == NULL)
		return 0;
	if (kind == KIND_ENDPOINT)
		return ((const struct endpoint *)o->compiled)->slot;
	if (kind != KIND_REMOTE)
		return 0;
	const struct remote_state *r = o->compiled;
	const struct vtep *vtep = config_vtep(c, r->network, &o->spec->remote.vtep);
	return vtep != NULL ? vtep->slot : 0;
}
