/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_impl.h"

/* One question while it is answered. */
struct judge {
	const struct policy_tables *p;
	const struct policy_query *q;
	const struct group *group;
	const void
		*at[PREFIXES_MAX]; /* struct atoms_at around the peer, shortest prefix first; asked for when needed */
	bool asked;
	unsigned int n_at;
	uint32_t n_atoms;
	struct candidate best[LANES]; /* rule NULL: none matched */
};

/* What the endpoint's groups say together. */
struct summary {
	uint32_t n_isolating, n_packet, n_log, n_network, n_log_all, n_dry;
	uint32_t isolates[2]; /* as in struct group */
};

static uint32_t
lower_bound(const uint32_t *v, uint32_t n, uint32_t at)
{
	uint32_t lo = 0, hi = n;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (v[mid] < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* An address that a longer prefix takes out again: one of the exceptions. */
static bool
is_out(const struct judge *j, unsigned int shorter, uint32_t atom)
{
	uint32_t out = AT(atom, 1, 1);
	for (unsigned int i = shorter + 1; i < j->n_at; i++) {
		const struct atoms_at *a = j->at[i];
		uint32_t k = lower_bound(a->v, a->n, out);
		if (k < a->n && a->v[k] == out)
			return true;
	}
	return false;
}

static void
consider(struct judge *j, const struct candidate *c)
{
	struct candidate *best = &j->best[c->lane];
	if (best->rule == NULL || candidate_before(c, best))
		*best = *c;
}

/* Each lane's first candidate is its best. */
static void
consider_entry(struct judge *j, const struct entry *e)
{
	for (uint32_t i = 0; i < e->n;) {
		uint8_t lane = e->c[i].lane;
		consider(j, &e->c[i++]);
		if (i == e->n || lane == e->c[e->n - 1].lane)
			return;
		uint32_t hi = e->n - 1;
		while (i < hi) {
			uint32_t mid = (i + hi) / 2;
			if (e->c[mid].lane <= lane)
				i = mid + 1;
			else
				hi = mid;
		}
	}
}

/* A port of the destination may have several names. The next one from *i on that a rule knows. */
static bool
next_name(const struct judge *j, uint32_t *i, uint32_t *id)
{
	const struct policy_query *q = j->q;
	const struct spec_endpoint *d = q->destination;
	while (d != NULL && *i < d->n_ports) {
		const struct spec_endpoint_port *port = &d->ports[(*i)++];
		if (port->name == NULL || port->port != q->port || port->protocol != q->protocol)
			continue;
		char name[NAME_SIZE];
		name_key(name, port->name);
		const struct port_name *known = pmap_find(&j->p->name, &port_name_type, name);
		if (known == NULL)
			continue;
		*id = known->id;
		return true;
	}
	return false;
}

/* What the packet has where entries of a kind (not ON_NAME) have their value. False when it has no such thing. */
static bool
value_for(const struct policy_query *q, uint8_t protocol, uint8_t kind, uint32_t *value)
{
	*value = 0;
	if (kind == ON_ALL)
		return true;
	if (protocol != q->protocol)
		return false;
	switch (kind) {
	case ON_PROTOCOL:
		return true;
	case ON_ICMP_TYPE:
		*value = (uint32_t)q->icmp_type << 8;
		return q->has_icmp;
	case ON_ICMP_CODE:
		*value = (uint32_t)q->icmp_type << 8 | q->icmp_code;
		return q->has_icmp;
	default:
		*value = q->port & 0xffffu << (ON_PORT + 16 - kind);
		return true;
	}
}

static void
look_up(struct judge *j, const struct spill *s, const struct on *on)
{
	const struct entry *e = pmap_find(&s->entries, &entry_by_on, on);
	if (e != NULL)
		consider_entry(j, e);
}

static void
try_spill(struct judge *j, const struct spill *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		struct on on = {.protocol = s->v[i].protocol, .kind = s->v[i].kind};
		if (on.kind == ON_NAME && on.protocol == j->q->protocol) {
			for (uint32_t k = 0; next_name(j, &k, &on.value);)
				look_up(j, s, &on);
		} else if (on.kind != ON_NAME && value_for(j->q, on.protocol, on.kind, &on.value)) {
			look_up(j, s, &on);
		}
	}
}

static bool
matches(const struct judge *j, const struct candidate *on)
{
	uint32_t value;
	if (on->kind != ON_NAME)
		return value_for(j->q, on->protocol, on->kind, &value) && value == on->value;
	if (on->protocol != j->q->protocol)
		return false;
	for (uint32_t k = 0; next_name(j, &k, &value);) {
		if (value == on->value)
			return true;
	}
	return false;
}

static void
try_bundle(struct judge *j, const struct bundle *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		if (matches(j, &b->v[i]))
			consider(j, &b->v[i]);
	}
	if (b->spill != NULL)
		try_spill(j, b->spill);
}

static void
try_at(struct judge *j, unsigned int i, uint32_t at)
{
	uint32_t atom = at >> 2;
	if (at & 1)
		return;
	const struct bundle *b = pmap_find(&j->group->atoms, &bundle_by_atom, &atom);
	if (b != NULL && ((at & 2) == 0 || !is_out(j, i, atom)))
		try_bundle(j, b);
}

/* The other way round: is the peer in this atom of the group? */
static int
try_atom(const void *value, void *arg)
{
	const struct bundle *b = value;
	struct judge *j = arg;
	uint32_t atom = b->key.ip.w[0];
	for (unsigned int i = j->n_at; i-- > 0;) {
		const struct atoms_at *at = j->at[i];
		uint32_t k = lower_bound(at->v, at->n, AT(atom, 0, 0));
		if (k == at->n || at->v[k] >> 2 != atom)
			continue;
		if ((at->v[k] & 1) == 0)
			try_bundle(j, b);
		return 0;
	}
	return 0;
}

static void
judge_atoms(struct judge *j)
{
	if (!j->asked) {
		j->asked = true;
		const struct policy_network *net = policy_network_find(j->p, j->q->network);
		if (net != NULL)
			j->n_at = prefix_tree_find_all(&net->atoms, &j->q->peer, j->at);
		for (unsigned int i = 0; i < j->n_at; i++)
			j->n_atoms += ((const struct atoms_at *)j->at[i])->n;
	}
	/* The peer is in many sets, or the group speaks of many: whichever is less is gone through. */
	if (j->n_atoms > 4 * j->group->atoms.count) {
		pmap_walk(&j->group->atoms, try_atom, j);
		return;
	}
	for (unsigned int i = 0; i < j->n_at; i++) {
		const struct atoms_at *at = j->at[i];
		for (uint32_t k = 0; k < at->n; k++)
			try_at(j, i, at->v[k]);
	}
}

/* Two groups have policies that isolate: the first by name is named. */
static uint32_t
first_of(const struct policy_tables *p, uint32_t a, uint32_t b)
{
	if (a == 0 || b == 0)
		return a + b;
	return strcmp(policy_find(p, a)->name, policy_find(p, b)->name) < 0 ? a : b;
}

static void
judge_group(struct judge *j, struct summary *s, uint32_t id)
{
	const struct group *g = group_find(j->p, id);
	const void *blocks[PREFIXES_MAX];
	j->group = g;
	s->n_isolating += g->n_isolating;
	s->n_packet += g->n_packet;
	s->n_log += g->n_log;
	s->n_network += g->n_network;
	s->n_log_all += g->n_log_all;
	s->n_dry += g->n_dry;
	for (int all = 0; all < 2; all++)
		s->isolates[all] = first_of(j->p, s->isolates[all], g->isolates[all]);
	if (g->any != NULL)
		try_bundle(j, g->any);
	if (g->blocks.count != 0) {
		unsigned int n = prefix_tree_find_all(&g->blocks, &j->q->peer, blocks);
		for (unsigned int i = 0; i < n; i++)
			try_bundle(j, blocks[i]);
	}
	if (g->atoms.count != 0)
		judge_atoms(j);
}

/* The better of what counts and what counts only in a dry run. */
static const struct candidate *
best_of(const struct judge *j, enum policy_tier tier, bool dry)
{
	const struct candidate *on = &j->best[LANE(tier, true)], *off = &j->best[LANE(tier, false)];
	if (!dry || off->rule == NULL)
		return on;
	return on->rule == NULL || candidate_before(off, on) ? off : on;
}

static void
decided(struct policy_verdict *v, enum policy_tier tier, const struct candidate *c)
{
	v->allow = c->action == RULE_ACCEPT;
	v->tier = (uint8_t)tier;
	v->rule = c->id;
	v->connection_semantics = c->connection_semantics;
	v->log = c->log;
}

static void
verdict(const struct judge *j, const struct summary *s, bool dry, struct policy_verdict *v)
{
	*v = (struct policy_verdict){.allow = true, .tier = TIER_COUNT};
	const struct candidate *c = best_of(j, TIER_ADMIN, dry);
	if (c->rule != NULL && c->action != RULE_PASS) {
		decided(v, TIER_ADMIN, c);
		return;
	}
	v->passed[0] = c->rule != NULL ? c->id : 0;
	if ((dry ? s->n_network : s->n_isolating) != 0) {
		c = best_of(j, TIER_NETWORK, dry);
		if (c->rule != NULL) {
			decided(v, TIER_NETWORK, c);
			return;
		}
		/* Established connections end unless all who isolate the endpoint would keep them. */
		v->allow = false;
		v->tier = TIER_NETWORK;
		v->connection_semantics = s->n_packet == 0;
		v->log = (dry ? s->n_log_all : s->n_log) != 0;
		/* Where policies that count isolate already, those that rehearse add nothing. */
		v->isolation = policy_find(j->p, s->isolates[s->n_isolating == 0])->isolation[j->q->direction];
		return;
	}
	c = best_of(j, TIER_BASELINE, dry);
	if (c->rule != NULL && c->action != RULE_PASS)
		decided(v, TIER_BASELINE, c);
	else if (c->rule != NULL)
		v->passed[1] = c->id;
}

static void
dry_run(const struct judge *j, const struct summary *s, struct policy_verdict *out)
{
	struct policy_verdict v = *out;
	if (s->n_dry != 0)
		verdict(j, s, true, &v);
	out->dry_run.allow = v.allow;
	out->dry_run.log = v.log;
	out->dry_run.tier = v.tier;
	out->dry_run.rule = v.rule;
	out->dry_run.isolation = v.isolation;
	memcpy(out->dry_run.passed, v.passed, sizeof(v.passed));
	out->dry_run.differs = v.allow != out->allow || v.tier != out->tier || v.rule != out->rule;
}

void
policy_judge(const struct policy_tables *p, const struct policy_query *q, struct policy_verdict *out)
{
	const struct policy_endpoint *e = pmap_find(&p->endpoint, &endpoint_by_slot, &q->endpoint);
	const struct selection *in = e != NULL ? &e->in[q->direction] : NULL;
	*out = (struct policy_verdict){.allow = true, .tier = TIER_COUNT};
	out->dry_run.allow = true;
	out->dry_run.tier = TIER_COUNT;
	if (in == NULL || (in->merged == 0 && in->solo == NULL))
		return;
	struct judge j;
	struct summary s = {0};
	j.p = p;
	j.q = q;
	j.asked = false;
	j.n_at = j.n_atoms = 0;
	memset(j.best, 0, sizeof(j.best));
	if (in->merged != 0)
		judge_group(&j, &s, in->merged);
	for (uint32_t i = 0; i < id_set_count(in->solo); i++)
		judge_group(&j, &s, in->solo->v[i]);
	verdict(&j, &s, false, out);
	dry_run(&j, &s, out);
}

static int
compare_rank(const void *element, const void *key)
{
	const struct rule *r = *(const struct rule *const *)element;
	uint64_t rank = *(const uint64_t *)key;
	return r->rank < rank ? -1 : r->rank > rank;
}

static struct policy_rule_info
isolation_info(const struct policy *pol, uint8_t direction)
{
	return (struct policy_rule_info){
		.policy = pol->name,
		.id = pol->isolation[direction],
		.index = POLICY_ISOLATION,
		.direction = direction,
		.action = RULE_DENY,
		.enforce = pol->head->enforce,
	};
}

static struct policy_rule_info
rule_info(const struct policy *pol, const struct rule *r, uint32_t index)
{
	return (struct policy_rule_info){
		.policy = pol->name,
		.name = r->name,
		.id = r->id,
		.index = index,
		.direction = r->direction,
		.action = r->action,
		.enforce = pol->head->enforce,
	};
}

bool
policy_rule_find(const struct policy_tables *p, uint32_t id, struct policy_rule_info *out)
{
	const struct policy_more *m = p->more;
	const struct rule *r = pmap_find(&p->rule, &rule_by_id, &id);
	const struct isolation *i = m != NULL ? pmap_find(&m->isolation, &isolation_by_id, &id) : NULL;
	const struct policy *pol = r != NULL ? policy_find(p, r->head->id) : i != NULL ? policy_find(p, i->policy) : NULL;
	if (pol == NULL)
		return false;
	if (r == NULL)
		*out = isolation_info(pol, i->direction);
	else
		*out = rule_info(pol, r, sequence_search(&pol->rules[r->direction], sizeof(void *), compare_rank, &r->rank));
	return true;
}

int
policy_rules(const struct policy_tables *p, const char *policy, void (*fn)(const struct policy_rule_info *r, void *arg),
	     void *arg)
{
	const struct policy *pol = policy_find_name(p, policy);
	if (pol == NULL)
		return -ENOENT;
	for (uint8_t dir = 0; dir < 2; dir++) {
		for (uint32_t i = 0; i < pol->rules[dir].count; i++) {
			const struct rule *const *r = sequence_at(&pol->rules[dir], sizeof(void *), i);
			struct policy_rule_info info = rule_info(pol, *r, i);
			fn(&info, arg);
		}
		if (pol->speaks[dir] && pol->head->tier == TIER_NETWORK) {
			struct policy_rule_info info = isolation_info(pol, dir);
			fn(&info, arg);
		}
	}
	return 0;
}

const char *
policy_endpoint_name(const struct policy_tables *p, uint32_t slot)
{
	const struct policy_endpoint *e = pmap_find(&p->endpoint, &endpoint_by_slot, &slot);
	return e != NULL ? e->name : NULL;
}

bool
policy_rule_name(const struct policy_tables *p, uint32_t rule, char *buf, size_t size)
{
	struct policy_rule_info r;
	if (!policy_rule_find(p, rule, &r))
		return false;
	const char *direction = r.direction == POLICY_INGRESS ? "ingress" : "egress";
	if (r.index == POLICY_ISOLATION)
		snprintf(buf, size, "%s %s isolation", r.policy, direction);
	else
		snprintf(buf, size, "%s %s[%u]", r.policy, direction, r.index);
	return true;
}
