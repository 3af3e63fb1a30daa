/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_node, name),
	 .help = "the node's name"},
	{.name = "self",
	 .type = FIELD_BOOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_node, self),
	 .help = "this is the node that the switch runs on"},
	{.name = "ips",
	 .type = FIELD_IP,
	 .need = FIELD_REQUIRED,
	 FIELD_LIST(struct spec_node, ips.v, ips.n),
	 .max_items = 256,
	 .help = "the node's own addresses"},
	{.name = "nodePortAddresses",
	 .type = FIELD_IP,
	 FIELD_LIST(struct spec_node, node_port_addresses.v, node_port_addresses.n),
	 .max_items = 256,
	 .help = "addresses at which the node ports of services are answered"},
	{.name = "serviceCIDRs",
	 .type = FIELD_PREFIX,
	 FIELD_LIST(struct spec_node, service_cidrs.v, service_cidrs.n),
	 .max_items = 64,
	 .help = "where service addresses come from: an unused one is rejected, never routed away"},
};
const struct field_table node_table = FIELD_TABLE(fields, struct spec_node, NULL);
