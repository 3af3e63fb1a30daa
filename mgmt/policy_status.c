/* SPDX-License-Identifier: Apache-2.0 */
/* How often policies and their rules had their say. */
#include <weft/rule_count.h>

#include "mgmt_impl.h"

/* By enum rule_action. */
static const char *const said_key[] = {[RULE_ACCEPT] = "accepted", [RULE_DENY] = "denied", [RULE_PASS] = "passed"};
static const char *const would_key[] = {[RULE_ACCEPT] = "wouldAccept", [RULE_DENY] = "wouldDeny", [RULE_PASS] = "wouldPass"};

struct sums {
	uint64_t said[3], would[3];
	json_t *rules; /* NULL: sums alone */
};

static void
add_rule(const struct policy_rule_info *r, void *arg)
{
	struct sums *s = arg;
	struct rule_count n;
	char where[32];
	rule_count_read(r->id, &n);
	s->said[r->action] += n.said;
	s->would[r->action] += n.would_say;
	if (s->rules == NULL)
		return;
	const char *direction = r->direction == POLICY_INGRESS ? "ingress" : "egress";
	if (r->index == POLICY_ISOLATION)
		snprintf(where, sizeof(where), "%s isolation", direction);
	else
		snprintf(where, sizeof(where), "%s[%u]", direction, r->index);
	json_t *row = json_pack("{s:s}", "rule", where);
	if (r->name != NULL)
		json_object_set_new(row, "name", json_string(r->name));
	if (r->enforce || n.said != 0)
		json_object_set_new(row, said_key[r->action], json_integer((json_int_t)n.said));
	if (!r->enforce || n.would_say != 0)
		json_object_set_new(row, would_key[r->action], json_integer((json_int_t)n.would_say));
	json_array_append_new(s->rules, row);
}

static json_t *
sums_json(const struct sums *s)
{
	json_t *out = json_object();
	for (int a = 0; a < 3; a++)
		json_object_set_new(out, said_key[a], json_integer((json_int_t)s->said[a]));
	for (int a = 0; a < 3; a++)
		json_object_set_new(out, would_key[a], json_integer((json_int_t)s->would[a]));
	return out;
}

void
policy_add_counts(struct mgmt *m, json_t *status, const char *policy, bool rules)
{
	struct sums s = {.rules = rules ? json_array() : NULL};
	if (pthread_mutex_trylock(&m->build) == 0) {
		int rc = policy_rules(&config_current()->policy, policy, add_rule, &s);
		pthread_mutex_unlock(&m->build);
		if (rc == 0) {
			json_object_set_new(status, "verdicts", sums_json(&s));
			if (rules)
				json_object_set(status, "rules", s.rules);
		}
	}
	json_decref(s.rules);
}

json_t *
policy_stats(struct mgmt *m)
{
	json_t *out = json_array();
	if (pthread_mutex_trylock(&m->build) != 0)
		return out;
	for (uint32_t i = 0; i < m->index.n[KIND_POLICY]; i++) {
		struct sums s = {0};
		const char *name = m->index.v[KIND_POLICY][i]->name;
		uint64_t any = 0;
		if (policy_rules(&config_current()->policy, name, add_rule, &s) != 0)
			continue;
		for (int a = 0; a < 3; a++)
			any |= s.said[a] | s.would[a];
		if (any == 0)
			continue;
		json_t *row = json_pack("{s:s}", "name", name), *sums = sums_json(&s);
		json_object_update(row, sums);
		json_decref(sums);
		json_array_append_new(out, row);
	}
	pthread_mutex_unlock(&m->build);
	return out;
}
