/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies and address sets: may this endpoint talk to that address on that port?
 *
 * The cost of a lookup does not depend on how many rules, policies or members there are:
 *   1. the peer's address -> the atoms (address sets, CIDR blocks of rules, "every peer") that contain it: tries, in which
 *      every length that matches counts;
 *   2. the endpoint -> its group for the direction (endpoints selected by the same policies share a group);
 *   3. (group, atom, protocol, port prefix or port name) -> for each tier the rule with the lowest order.
 * Then tier by tier: admin (first match accepts, denies or passes on), network (isolated when any policy of the tier selects the
 * endpoint in this direction: some rule must accept), baseline (first match). Nothing matched anywhere: allowed.
 * A CIDR with exceptions is an atom that an address is in when the longest of {cidr, its exceptions} is the cidr.
 */
#ifndef WEFT_POLICY_H
#define WEFT_POLICY_H

#include <weft/base.h>
#include <weft/pmap.h>
#include <weft/spec.h>

#ifdef __cplusplus
extern "C" {
#endif

enum policy_direction { POLICY_INGRESS, POLICY_EGRESS };

struct policy_tables {       /* a value, as pmap */
	struct pmap network;     /* network -> the tree of what contains an address there */
	struct pmap endpoint;    /* endpoint slot -> its groups */
	struct pmap group;       /* group id -> its entries, (atom, protocol, port...) -> rules, and which tiers have policies, semantics, ... */
	struct pmap rule;        /* id -> the rule */
	struct pmap by_name, set_by_name, endpoint_by_name, name; /* builder's; rule and port names */
	void *more;              /* what else policy.c keeps, persistent too */
};

struct policy_query {
	uint32_t endpoint;       /* generation slot of the endpoint that is judged */
	uint32_t network;
	enum policy_direction direction;
	struct ip peer;          /* the other side: source for ingress, translated destination for egress */
	uint8_t protocol;
	uint16_t port;           /* destination port, host order; 0 when the protocol has none */
	bool has_icmp;
	uint8_t icmp_type, icmp_code;
	const struct spec_endpoint *destination; /* for named ports: the endpoint that owns the port, NULL when it is not local */
};

struct policy_verdict {
	bool allow;
	bool connection_semantics; /* what decided it asks to keep established connections */
	bool log;
	uint8_t tier;              /* enum policy_tier; TIER_COUNT when nothing matched: allowed by default */
	uint32_t rule;             /* id of the deciding rule; 0: default, or isolation without a matching rule */
	uint32_t isolation;        /* then, when denied: the id that stands for the isolation by a policy, the first by name of those that isolate */
	uint32_t passed[2];        /* rules of admin and of baseline that passed it on; 0: none */
	/* What it would be if the policies with "enforce": false counted like the others; as above when there are none. */
	struct {
		bool differs;          /* from the verdict: in allow, tier or rule */
		bool allow, log;
		uint8_t tier;
		uint32_t rule, isolation, passed[2];
	} dry_run;
};

/* Any worker. Pure. */
void policy_judge(const struct policy_tables *p, const struct policy_query *q, struct policy_verdict *out);

/*
 * "shop/allow-frontend ingress[0]" for a rule id, "shop/default-deny ingress isolation" for an isolation's; false when it is gone. Control
 * threads and the pure explain path.
 */
bool policy_rule_name(const struct policy_tables *p, uint32_t rule, char *buf, size_t size);

/* A rule, or (index POLICY_ISOLATION) the isolation that a policy of tier network brings by itself. Valid as long as the tables are. */
#define POLICY_ISOLATION UINT32_MAX
struct policy_rule_info {
	const char *policy, *name; /* name: the rule's own, or NULL */
	uint32_t id, index;
	enum policy_direction direction;
	enum rule_action action;
	bool enforce;
};
/* Control threads, while nothing is built. False: the id is nobody's now. */
bool policy_rule_find(const struct policy_tables *p, uint32_t rule, struct policy_rule_info *out);
/* All of a policy, in order, and its isolations in the directions that it speaks of; -ENOENT when there is none. */
int policy_rules(const struct policy_tables *p, const char *policy, void (*fn)(const struct policy_rule_info *r, void *arg), void *arg);
/* The endpoint's name, or NULL. */
const char *policy_endpoint_name(const struct policy_tables *p, uint32_t slot);

/*
 * Builder. Each change is all or nothing together with its txn; `bump` is called with the slot of every endpoint for
 * which a verdict may differ afterwards. Names of endpoints that do not exist are remembered: they are selected as
 * soon as policy_endpoint_put brings one. A set that does not exist is empty.
 */
typedef void policy_bump(void *arg, uint32_t slot);
int policy_put(struct policy_tables *p, struct txn *t, uint32_t network, const struct spec_policy *spec, policy_bump *bump, void *arg, struct error *e);
int policy_remove(struct policy_tables *p, struct txn *t, const char *name, policy_bump *bump, void *arg);
int address_set_put(struct policy_tables *p, struct txn *t, uint32_t network, const struct spec_address_set *spec, policy_bump *bump, void *arg, struct error *e);
int address_set_remove(struct policy_tables *p, struct txn *t, const char *name, policy_bump *bump, void *arg);
/*
 * The same for one rule or a few members of a large object, at a cost that does not depend on its size. -ENOENT when there is none.
 * Edits are made one after the other: `rule` becomes the one at index `at`, or with NULL the one at `at` is taken out.
 */
struct policy_edit {
	enum policy_direction direction;
	uint32_t at;
	const struct spec_rule *rule;
};
int policy_patch(struct policy_tables *p, struct txn *t, const char *name, const struct policy_edit *edits, uint32_t n, policy_bump *bump, void *arg, struct error *e);
/* What is to be added may be there, what is to be removed may not; either list may be NULL. */
int address_set_patch(struct policy_tables *p, struct txn *t, const char *name, const struct prefix_list *add, const struct prefix_list *remove, policy_bump *bump, void *arg);
/* The name of a policy that refers to the set, NULL when none does. */
const char *address_set_user(const struct policy_tables *p, const char *name);
int policy_endpoint_put(struct policy_tables *p, struct txn *t, const char *name, uint32_t network, uint32_t slot, policy_bump *bump, void *arg);
void policy_endpoint_remove(struct policy_tables *p, struct txn *t, const char *name, policy_bump *bump, void *arg);
/* Retire everything; the tables are as new. */
void policy_clear(struct policy_tables *p, struct txn *t);

#ifdef __cplusplus
}
#endif

#endif
