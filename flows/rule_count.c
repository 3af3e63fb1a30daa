/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/rule_count.h>

struct id_counts rule_counts = {.max = RULE_COUNT_MAX};

void
rule_count_read(uint32_t rule, struct rule_count *out)
{
	struct id_count c = id_counts_read(&rule_counts, rule);
	*out = (struct rule_count){.said = c.n[false], .would_say = c.n[true]};
}
