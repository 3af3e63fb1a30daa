/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

#include <weft/text.h>

static int
check_subnet(void *value, uint64_t seen, struct error *e)
{
	const struct spec_subnet *s = value;
	char ip[IP_TEXT_MAX], prefix[PREFIX_TEXT_MAX];
	if (!ip_is_none(&s->gateway) && !prefix_contains(&s->prefix, &s->gateway))
		return error_at(e, -EINVAL, "gateway", "%s does not lie in %s", ip_format(&s->gateway, ip),
				prefix_format(&s->prefix, prefix));
	return 0;
}

static const struct field subnet_fields[] = {
	{.name = "prefix",
	 .type = FIELD_PREFIX,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_subnet, prefix),
	 .help = "addresses of pods on this node"},
	{.name = "gateway",
	 .type = FIELD_IP,
	 FIELD_AT(struct spec_subnet, gateway),
	 .help = "the pods' gateway: answered by the switch itself"},
};
static const struct field_table subnet_table = FIELD_TABLE(subnet_fields, struct spec_subnet, check_subnet);

static const struct field masquerade_fields[] = {
	{.name = "ips",
	 .type = FIELD_IP,
	 .need = FIELD_REQUIRED,
	 FIELD_LIST(struct spec_network, masquerade.ips.v, masquerade.ips.n),
	 .min_items = 1,
	 .max_items = 256,
	 .help = "addresses that stand for the pods' outside"},
	{.name = "exclude",
	 .type = FIELD_PREFIX,
	 FIELD_LIST(struct spec_network, masquerade.exclude.v, masquerade.exclude.n),
	 .max_items = 1024,
	 .help = "destinations that see the pod's own address"},
	{.name = "portRange",
	 .type = FIELD_PORT_RANGE,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_network, masquerade.port_first),
	 .aux = offsetof(struct spec_network, masquerade.port_last),
	 .fallback = 32768u << 16 | 60999,
	 .help = "source ports to translate to, first and last"},
};
static const struct field_table masquerade_table = FIELD_TABLE(masquerade_fields, struct spec_network, NULL);

static int
check(void *value, uint64_t seen, struct error *e)
{
	const struct spec_network *n = value;
	if (strcmp(n->name, "underlay") == 0)
		return error_at(e, -EINVAL, "name", "underlay is the network of the uplinks and always there");
	return 0;
}

static const char *const modes[] = {"l3", "l2", NULL};

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_network, name),
	 .help = "the network's name"},
	{.name = "vni",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_network, vni),
	 .max = 0xffffff,
	 .help = "VXLAN network identifier; 0: the network stays on this node"},
	{.name = "mode",
	 .type = FIELD_WORD,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_network, mode),
	 .words = modes,
	 .help = "l3: every packet is routed; l2: MAC addresses are learned and frames bridged"},
	{.name = "mtu",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_network, mtu),
	 .min = 576,
	 .max = 9216,
	 .fallback = 1450,
	 .help = "largest IP packet of the pods"},
	{.name = "subnets",
	 .type = FIELD_OBJECT,
	 FIELD_LIST(struct spec_network, subnets, n_subnets),
	 .max_items = 1024,
	 .sub = &subnet_table,
	 .key = "prefix",
	 .help = "where the pods' addresses come from"},
	{.name = "gatewayMac",
	 .type = FIELD_MAC,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_network, gateway_mac),
	 .fallback = 0x020000000001,
	 .help = "answers every ARP and ND question in l3 mode"},
	{.name = "uplinks",
	 .type = FIELD_NAME,
	 FIELD_LIST(struct spec_network, uplinks.v, uplinks.n),
	 .max_items = 64,
	 .help = "Ports that carry the tunnels"},
	{.name = "vxlanPort",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_network, vxlan_port),
	 .min = 1,
	 .fallback = 4789,
	 .help = "UDP port of VXLAN (RFC 7348)"},
	{.name = "masquerade",
	 .type = FIELD_OBJECT,
	 .has = offsetof(struct spec_network, has_masquerade),
	 .sub = &masquerade_table,
	 .help = "translate pods that leave for the underlay"},
};
const struct field_table network_table = FIELD_TABLE(fields, struct spec_network, check);
