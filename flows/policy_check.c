/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>

#include "policy_impl.h"

/* A rule with more combinations of peers and ports would take more memory than it can be meant to; sets are for that.
 */
#define COMBINATIONS_MAX (1u << 20)

/* Where in the spec: the rule, and what below it. */
struct place {
	const char *direction, *peers;
	uint32_t rule;
	struct error *e;
};

__attribute__((format(printf, 3, 4))) static int
refuse(const struct place *at, const char *below, const char *fmt, ...)
{
	if (at->e == NULL)
		return -EINVAL;
	char text[sizeof(at->e->text)], path[sizeof(at->e->path)];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s[%u]%s%s", at->direction, at->rule, below[0] != '\0' ? "." : "", below);
	return error_at(at->e, -EINVAL, path, "%s", text);
}

int
name_check(const char *name, struct error *e)
{
	if (name == NULL || name[0] == '\0')
		return error_at(e, -EINVAL, "name", "is missing");
	if (strlen(name) > WEFT_NAME_MAX)
		return error_at(e, -ENAMETOOLONG, "name", "has %zu bytes, at most %d are allowed", strlen(name),
				WEFT_NAME_MAX);
	return 0;
}

static bool
prefix_is4(const struct prefix *p)
{
	return p->len >= 96 && ip_is4(&p->ip);
}

static int
check_peer(const struct place *at, const struct spec_peer *peer, uint32_t i)
{
	char below[64];
	snprintf(below, sizeof(below), "%s[%u]", at->peers, i);
	if ((peer->set != NULL) == peer->has_cidr)
		return refuse(at, below, "give either a set or a cidr");
	if (peer->set != NULL && peer->except.n != 0)
		return refuse(at, below, "except goes with a cidr, not with a set");
	if (peer->set != NULL && (peer->set[0] == '\0' || strlen(peer->set) > WEFT_NAME_MAX))
		return refuse(at, below, "the name of a set has 1 to %d bytes", WEFT_NAME_MAX);
	for (uint32_t j = 0; j < peer->except.n; j++) {
		const struct prefix *except = &peer->except.v[j];
		snprintf(below, sizeof(below), "%s[%u].except[%u]", at->peers, i, j);
		/* As in Kubernetes, where an exception is a strict part of the block. */
		if (prefix_is4(except) != prefix_is4(&peer->cidr) || except->len <= peer->cidr.len ||
		    !prefix_contains(&peer->cidr, &except->ip))
			return refuse(at, below, "an exception lies within the cidr and is smaller");
	}
	return 0;
}

static bool
has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static int
check_port(const struct place *at, const struct spec_rule_port *port, uint32_t i)
{
	char below[64];
	bool numbered = port->port != 0 || port->end_port != 0, named = port->port_name != NULL;
	bool icmp = port->has_icmp_type || port->has_icmp_code;
	snprintf(below, sizeof(below), "ports[%u]", i);
	if ((numbered || named) && !has_ports(port->protocol))
		return refuse(at, below, "only TCP, UDP and SCTP have ports, protocol %u has none", port->protocol);
	if (named && (port->port_name[0] == '\0' || strlen(port->port_name) > WEFT_NAME_MAX))
		return refuse(at, below, "the name of a port has 1 to %d bytes", WEFT_NAME_MAX);
	if (named && port->end_port != 0)
		return refuse(at, below, "endPort needs a port that is a number, not \"%s\"", port->port_name);
	if (named && port->port != 0)
		return refuse(at, below, "port is either a number or a name");
	if (port->end_port != 0 && port->port == 0)
		return refuse(at, below, "endPort needs a port");
	if (port->end_port != 0 && port->end_port < port->port)
		return refuse(at, below, "endPort %u is below port %u", port->end_port, port->port);
	if (icmp && port->protocol != IPPROTO_ICMP && port->protocol != IPPROTO_ICMPV6)
		return refuse(at, below, "icmp goes with protocol ICMP or ICMPv6");
	if (port->has_icmp_code && !port->has_icmp_type)
		return refuse(at, below, "an ICMP code needs a type");
	return 0;
}

int
rule_check(const struct spec_rule *r, enum policy_tier tier, enum policy_direction direction, uint32_t index,
	   struct error *e)
{
	bool in = direction == POLICY_INGRESS;
	struct place at = {in ? "ingress" : "egress", in ? "from" : "to", index, e};
	int rc = 0;
	if (tier == TIER_NETWORK && r->action != RULE_ACCEPT)
		return refuse(&at, "action",
			      "is accept in tier network, whose rules only add to what is allowed; deny and "
			      "pass are for tiers admin and baseline");
	if (r->name != NULL && strlen(r->name) > WEFT_NAME_MAX)
		return refuse(&at, "name", "at most %d bytes are allowed", WEFT_NAME_MAX);
	for (uint32_t i = 0; i < r->n_peers && rc == 0; i++)
		rc = check_peer(&at, &r->peers[i], i);
	for (uint32_t i = 0; i < r->n_ports && rc == 0; i++)
		rc = check_port(&at, &r->ports[i], i);
	if (rc == 0 && (uint64_t)r->n_peers * r->n_ports > COMBINATIONS_MAX)
		rc = refuse(&at, "",
			    "%u peers times %u ports are more than %u combinations: put the peers into an AddressSet",
			    r->n_peers, r->n_ports, COMBINATIONS_MAX);
	return rc;
}

int
policy_check(const struct spec_policy *spec, struct error *e)
{
	int rc = name_check(spec->name, e);
	for (uint32_t i = 0; i < spec->endpoints.n && rc == 0; i++) {
		char path[32];
		const char *name = spec->endpoints.v[i];
		snprintf(path, sizeof(path), "endpoints[%u]", i);
		if (name[0] == '\0' || strlen(name) > WEFT_NAME_MAX)
			rc = error_at(e, -EINVAL, path, "the name of an endpoint has 1 to %d bytes", WEFT_NAME_MAX);
	}
	if (rc == 0 && (spec->n_ingress > POLICY_RULES_MAX || spec->n_egress > POLICY_RULES_MAX))
		rc = error_at(e, -E2BIG, spec->n_ingress > POLICY_RULES_MAX ? "ingress" : "egress",
			      "has more than %u rules", POLICY_RULES_MAX);
	for (uint32_t i = 0; i < spec->n_ingress && rc == 0; i++)
		rc = rule_check(&spec->ingress[i], spec->tier, POLICY_INGRESS, i, e);
	for (uint32_t i = 0; i < spec->n_egress && rc == 0; i++)
		rc = rule_check(&spec->egress[i], spec->tier, POLICY_EGRESS, i, e);
	return rc;
}
