/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_address_set, name),
	 .help = "the set's name, such as namespace/selector"},
	{.name = "network",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_address_set, network),
	 .help = "the Network of its addresses"},
	{.name = "members",
	 .type = FIELD_PREFIX,
	 .need = FIELD_REQUIRED,
	 FIELD_LIST(struct spec_address_set, members.v, members.n),
	 .max_items = 1u << 20,
	 .help = "addresses and prefixes"},
};
const struct field_table address_set_table = FIELD_TABLE(fields, struct spec_address_set, NULL);
