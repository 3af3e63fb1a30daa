/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

static int
check(void *value, uint64_t seen, struct error *e)
{
	const struct spec_route *r = value;
	bool is4 = kind_prefix_is4(&r->prefix);
	for (uint32_t i = 0; i < r->n_next_hops; i++)
		if (ip_is4(&r->next_hops[i].ip) != is4) {
			error_set(e, -EINVAL, "is %s, but the prefix is %s", kind_family(&r->next_hops[i].ip),
				  is4 ? "IPv4" : "IPv6");
			return error_under(e, -EINVAL, "nextHops[%u].ip", i);
		}
	return 0;
}

static const struct field hop_fields[] = {
	{.name = "ip",
	 .type = FIELD_IP,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_next_hop, ip),
	 .help = "the gateway's address"},
	{.name = "port",
	 .type = FIELD_NAME,
	 FIELD_AT(struct spec_next_hop, port),
	 .help = "the uplink Port that it is reached by"},
	{.name = "weight",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_next_hop, weight),
	 .min = 1,
	 .max = 1000,
	 .fallback = 1,
	 .help = "its share among the next hops"},
};
static const struct field_table hop_table = FIELD_TABLE(hop_fields, struct spec_next_hop, NULL);

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_route, name),
	 .help = "the route's name"},
	{.name = "network",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_route, network),
	 .help = "where it holds; underlay is the uplinks' own"},
	{.name = "prefix",
	 .type = FIELD_PREFIX,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_route, prefix),
	 .help = "destinations that go this way"},
	{.name = "nextHops",
	 .type = FIELD_OBJECT,
	 .need = FIELD_REQUIRED,
	 FIELD_LIST(struct spec_route, next_hops, n_next_hops),
	 .min_items = 1,
	 .max_items = 64,
	 .sub = &hop_table,
	 .key = "ip",
	 .help = "gateways, of the prefix's own IP family"},
};
const struct field_table route_table = FIELD_TABLE(fields, struct spec_route, check);
