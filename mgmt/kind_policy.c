/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

#include <netinet/in.h>

#include <weft/text.h>

#define ACTION_ABSENT 0xff

static int
check_peer(void *value, uint64_t seen, struct error *e)
{
	const struct spec_peer *p = value;
	char text[PREFIX_TEXT_MAX], cidr[PREFIX_TEXT_MAX];
	if ((p->set != NULL) == p->has_cidr)
		return error_set(e, -EINVAL, "must have either \"set\" or \"cidr\"");
	if (p->except.n > 0 && !p->has_cidr)
		return error_at(e, -EINVAL, "except", "goes with \"cidr\" only");
	for (uint32_t i = 0; i < p->except.n; i++) {
		const struct prefix *x = &p->except.v[i];
		if (x->len > p->cidr.len && prefix_contains(&p->cidr, &x->ip) &&
		    kind_prefix_is4(x) == kind_prefix_is4(&p->cidr))
			continue;
		error_set(e, -EINVAL, "%s is not a part of %s", prefix_format(x, text), prefix_format(&p->cidr, cidr));
		return error_under(e, -EINVAL, "except[%u]", i);
	}
	return 0;
}

static const struct field peer_fields[] = {
	{.name = "set",
	 .type = FIELD_NAME,
	 FIELD_AT(struct spec_peer, set),
	 .help = "an AddressSet; empty while it does not exist"},
	{.name = "cidr",
	 .type = FIELD_PREFIX,
	 FIELD_AT(struct spec_peer, cidr),
	 .has = offsetof(struct spec_peer, has_cidr),
	 .help = "a prefix"},
	{.name = "except",
	 .type = FIELD_PREFIX,
	 FIELD_LIST(struct spec_peer, except.v, except.n),
	 .max_items = 1024,
	 .help = "parts of cidr that are not meant"},
};
static const struct field_table peer_table = FIELD_TABLE(peer_fields, struct spec_peer, check_peer);

static int
check_rule_port(void *value, uint64_t seen, struct error *e)
{
	const struct spec_rule_port *p = value;
	bool icmp = p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6;
	if (!kind_has_ports(p->protocol) && (p->port != 0 || p->port_name != NULL))
		return error_at(e, -EINVAL, "port", "goes with TCP, UDP and SCTP only");
	/* As an IANA service name, it has a letter (RFC 6335 5.1): this one would never be found. */
	if (p->port_name != NULL && p->port_name[strspn(p->port_name, "0123456789")] == '\0')
		return error_at(e, -EINVAL, "port", "\"%s\" is a name, and a name has a letter: write a number without quotes",
				p->port_name);
	if (!icmp && p->has_icmp_type)
		return error_at(e, -EINVAL, "icmp", "goes with ICMP and ICMPv6 only");
	if (p->end_port != 0 && p->port == 0)
		return error_at(e, -EINVAL, "endPort", "needs \"port\" as a number");
	if (p->end_port != 0 && p->end_port < p->port)
		return error_at(e, -EINVAL, "endPort", "%u is below port, %u", p->end_port, p->port);
	return 0;
}

static const struct field icmp_fields[] = {
	{.name = "type",
	 .type = FIELD_NUMBER,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_rule_port, icmp_type),
	 .has = offsetof(struct spec_rule_port, has_icmp_type),
	 .help = "ICMP type"},
	{.name = "code",
	 .type = FIELD_NUMBER,
	 FIELD_AT(struct spec_rule_port, icmp_code),
	 .has = offsetof(struct spec_rule_port, has_icmp_code),
	 .help = "ICMP code; every code unless given"},
};
static const struct field_table icmp_table = FIELD_TABLE(icmp_fields, struct spec_rule_port, NULL);

static const struct field rule_port_fields[] = {
	{.name = "protocol",
	 .type = FIELD_PROTOCOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_rule_port, protocol),
	 .fallback = IPPROTO_TCP,
	 .help = "TCP, UDP, SCTP, ICMP, ICMPv6 or an IP protocol's number"},
	{.name = "port",
	 .type = FIELD_PORT_OR_NAME,
	 FIELD_AT(struct spec_rule_port, port),
	 .aux = offsetof(struct spec_rule_port, port_name),
	 .help = "number, or name of a port of the destination; the whole protocol unless given"},
	{.name = "endPort",
	 .type = FIELD_NUMBER,
	 FIELD_AT(struct spec_rule_port, end_port),
	 .min = 1,
	 .help = "last port of a range that begins with port"},
	{.name = "icmp", .type = FIELD_OBJECT, .sub = &icmp_table, .help = "one type of ICMP message"},
};
static const struct field_table rule_port_table = FIELD_TABLE(rule_port_fields, struct spec_rule_port, check_rule_port);

static const char *const actions[] = {[RULE_ACCEPT] = "accept", [RULE_DENY] = "deny", [RULE_PASS] = "pass", NULL};

/* A rule reads "from" in one direction and "to" in the other; the rest is the same. */
#define RULE_FIELDS(peers_name)                                                                                        \
	{.name = "name", .type = FIELD_STRING, FIELD_AT(struct spec_rule, name), .min = 1, .help = "the rule's name"}, \
		{.name = "action",                                                                                     \
		 .type = FIELD_WORD,                                                                                   \
		 FIELD_AT(struct spec_rule, action),                                                                   \
		 .words = actions,                                                                                     \
		 .fallback = ACTION_ABSENT,                                                                            \
		 .help = "needed in the tiers admin and baseline; network only accepts"},                              \
		{.name = peers_name,                                                                                   \
		 .type = FIELD_OBJECT,                                                                                 \
		 FIELD_LIST(struct spec_rule, peers, n_peers),                                                         \
		 .sub = &peer_table,                                                                                   \
		 .help = "any of these; absent or empty: everybody"},                                                  \
	{                                                                                                              \
		.name = "ports", .type = FIELD_OBJECT, FIELD_LIST(struct spec_rule, ports, n_ports),                   \
		.max_items = 4096, .sub = &rule_port_table, .help = "any of these; absent or empty: everything"        \
	}

static const struct field ingress_fields[] = {RULE_FIELDS("from")};
static const struct field egress_fields[] = {RULE_FIELDS("to")};
static const struct field_table ingress_table = FIELD_TABLE(ingress_fields, struct spec_rule, NULL);
static const struct field_table egress_table = FIELD_TABLE(egress_fields, struct spec_rule, NULL);

static const char *
rule_name(const void *list, uint32_t i)
{
	return ((const struct spec_rule *)list)[i].name;
}

int
kind_rule_check(const struct spec_policy *p, struct spec_rule *rule, struct error *e)
{
	bool absent = (unsigned int)rule->action == ACTION_ABSENT;
	if (absent && p->tier != TIER_NETWORK)
		return error_at(e, -EINVAL, "action", "is required outside the tier network");
	if (!absent && p->tier == TIER_NETWORK && rule->action != RULE_ACCEPT)
		return error_at(e, -EINVAL, "action", "the tier network only accepts; what no rule accepts is denied");
	if (absent)
		rule->action = RULE_ACCEPT;
	return 0;
}

static int
check_rules(const struct spec_policy *p, const struct spec_rule *list, uint32_t n, const char *direction,
	    struct error *e)
{
	struct spec_rule *rule = (struct spec_rule *)list; /* the object's own memory: still being decoded */
	uint32_t again = kind_repeated(rule_name, list, n);
	if (again < n) {
		error_set(e, -EINVAL, "another rule has this name already");
		return error_under(e, -EINVAL, "%s[%u].name", direction, again);
	}
	for (uint32_t i = 0; i < n; i++) {
		int rc = kind_rule_check(p, &rule[i], e);
		if (rc < 0)
			return error_under(e, rc, "%s[%u]", direction, i);
	}
	return 0;
}

static int
check(void *value, uint64_t seen, struct error *e)
{
	struct spec_policy *p = value;
	/* NetworkPolicySpec.policyTypes. Rules of a direction that is not named are no mistake there: they say nothing. */
	if (!p->ingress_type && !p->egress_type) {
		p->ingress_type = true;
		p->egress_type = field_seen(&policy_table, seen, "egress");
	}
	int rc = check_rules(p, p->ingress, p->n_ingress, "ingress", e);
	return rc == 0 ? check_rules(p, p->egress, p->n_egress, "egress", e) : rc;
}

static const char *const tiers[] = {
	[TIER_ADMIN] = "admin", [TIER_NETWORK] = "network", [TIER_BASELINE] = "baseline", NULL};
static const char *const directions[] = {"Ingress", "Egress", NULL};
static const char *const semantics[] = {"packet", "connection", NULL};

static_assert(offsetof(struct spec_policy, egress_type) == offsetof(struct spec_policy, ingress_type) + 1,
	      "FIELD_WORDS fills bools in a row");

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_policy, name),
	 .help = "the policy's name, such as namespace/policy"},
	{.name = "network",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_policy, network),
	 .help = "the Network of its endpoints"},
	{.name = "tier",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_policy, tier),
	 .words = tiers,
	 .fallback = TIER_NETWORK,
	 .help = "admin comes first, then network (NetworkPolicy), then baseline"},
	{.name = "priority",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_policy, priority),
	 .max = 65535,
	 .help = "tiers admin and baseline: the lower number comes first"},
	{.name = "endpoints",
	 .type = FIELD_NAME,
	 FIELD_LIST(struct spec_policy, endpoints.v, endpoints.n),
	 .has = offsetof(struct spec_policy, has_endpoints),
	 .help = "whom it is for; absent: all of the network; []: nobody"},
	{.name = "types",
	 .type = FIELD_WORDS,
	 FIELD_AT(struct spec_policy, ingress_type),
	 .words = directions,
	 .max_items = 2,
	 .help = "directions it speaks of, rules of others say nothing; absent or empty: Ingress, and Egress if egress is there"},
	{.name = "enforce",
	 .type = FIELD_BOOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_policy, enforce),
	 .fallback = true,
	 .help = "false: only told what it would do"},
	{.name = "semantics",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_policy, connection_semantics),
	 .words = semantics,
	 .help = "packet: a change holds for the next packet; connection: what is established stays"},
	{.name = "log",
	 .type = FIELD_BOOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_policy, log),
	 .help = "log its verdicts"},
	{.name = "ingress",
	 .type = FIELD_OBJECT,
	 FIELD_LIST(struct spec_policy, ingress, n_ingress),
	 .max_items = 1u << 20,
	 .sub = &ingress_table,
	 .key = "name",
	 .help = "rules for what comes to the endpoints"},
	{.name = "egress",
	 .type = FIELD_OBJECT,
	 FIELD_LIST(struct spec_policy, egress, n_egress),
	 .max_items = 1u << 20,
	 .sub = &egress_table,
	 .key = "name",
	 .help = "rules for what leaves the endpoints"},
};
const struct field_table policy_table = FIELD_TABLE(fields, struct spec_policy, check);
