/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

static const struct field endpoint_fields[] = {
	{.name = "ip",
	 .type = FIELD_IP,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_remote_endpoint, ip),
	 .help = "a pod's address"},
	{.name = "mac",
	 .type = FIELD_MAC,
	 FIELD_AT(struct spec_remote_endpoint, mac),
	 .help = "its MAC address; the Remote's unless given"},
};
static const struct field_table endpoint_fields_table = FIELD_TABLE(endpoint_fields, struct spec_remote_endpoint, NULL);

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_remote, name),
	 .help = "usually the other node's name"},
	{.name = "network",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_remote, network),
	 .help = "the Network that it continues"},
	{.name = "vtep",
	 .type = FIELD_IP,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_remote, vtep),
	 .help = "the other node's tunnel end in the underlay"},
	{.name = "mac",
	 .type = FIELD_MAC,
	 FIELD_AT(struct spec_remote, mac),
	 .help = "inner destination MAC of what is sent there"},
	{.name = "prefixes",
	 .type = FIELD_PREFIX,
	 FIELD_LIST(struct spec_remote, prefixes.v, prefixes.n),
	 .help = "what lies behind it"},
	{.name = "endpoints",
	 .type = FIELD_OBJECT,
	 FIELD_LIST(struct spec_remote, endpoints, n_endpoints),
	 .sub = &endpoint_fields_table,
	 .key = "ip",
	 .help = "single pods behind it"},
};
const struct field_table remote_table = FIELD_TABLE(fields, struct spec_remote, NULL);
