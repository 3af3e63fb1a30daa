/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of objects: for each its field table (kind_<name>.c), in the order of spec.h's KINDS. */
#ifndef WEFT_MGMT_KINDS_H
#define WEFT_MGMT_KINDS_H

#include <weft/spec.h>

#include "field.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kind_row {
	const char *name; /* as in JSON: "AddressSet" */
	const struct field_table *table;
	const char *help;
};
extern const struct kind_row kinds[KIND_COUNT];
extern const char *const kind_words[]; /* their names, then NULL */

/* What every object has beside its kind's fields. */
struct common {
	uint32_t kind; /* enum kind */
	const char *owner;
	json_t *status; /* ignored, so that what `get` shows can be applied again */
};
extern const struct field_table common_table;

extern const struct field_table node_table, network_table, port_table, endpoint_table, remote_table, route_table,
	service_table, address_set_table, policy_table;

/* For the checks: the i-th of n strings that stands there before, or n (NULLs are not compared). */
uint32_t kind_repeated(const char *(*at)(const void *list, uint32_t i), const void *list, uint32_t n);
/* "IPv4" or "IPv6". */
const char *kind_family(const struct ip *ip);
/* A prefix as shown belongs to IPv4. ::/0 does not. */
bool kind_prefix_is4(const struct prefix *p);
bool kind_has_ports(uint8_t protocol);
/* May the policy have this rule, its name apart? Completes the rule. */
int kind_rule_check(const struct spec_policy *p, struct spec_rule *rule, struct error *e);

#ifdef __cplusplus
}
#endif

#endif
