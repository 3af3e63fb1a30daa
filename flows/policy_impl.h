/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How policies are kept; shared by the policy_*.c files and address_set.c, nobody else.
 *
 *   endpoint --> groups (a direction)  a group is a set of policies; endpoints selected by the same policies share it
 *   peer address --trie--> atoms       an atom is a set of addresses: an address set, or a CIDR with its exceptions
 *   group: atom --> bundle             a bundle: what the group's rules say about a peer, by protocol and port
 *   group: peer address --trie--> bundle  the same for plain CIDRs, where most rules are and an atom would be a detour
 *
 * What a lookup costs in a large configuration is the cache lines that it touches. So a bundle begins with its key, is one
 * line when one rule speaks of one port, and a candidate has what a verdict needs without asking its rule.
 *
 * A rule is one immutable block that its policy, the table of rule ids and the candidates point to. A policy's rules are
 * in the order of their ranks, numbers with gaps, so that a rule between two others renumbers nobody.
 *
 * A policy with very many rules is never merged with others: it has a group of its own ("solo"), so that a large one that
 * selects everybody is there once and an endpoint's other policies can change without copying it.
 */
#ifndef FLOWS_POLICY_IMPL_H
#define FLOWS_POLICY_IMPL_H

#include <weft/policy.h>

#include "id_set.h"
#include "mix.h"
#include "prefix_tree.h"

#define NAME_SIZE 256 /* keys by name are padded with zeros */
static_assert(WEFT_NAME_MAX + 1 <= NAME_SIZE, "names fit");

#define ATOM_ANY 0u
#define POLICY_RULES_MAX (1u << 20) /* in a direction */

/* What a spec_rule_port becomes: each `kind` is a way to look a packet up. */
enum on_kind {
	ON_ALL,
	ON_PROTOCOL,
	ON_NAME,
	ON_ICMP_TYPE,
	ON_ICMP_CODE,
	ON_PORT = 16, /* + length of the prefix, 1..16 bits of the port */
};
struct on {
	uint32_t value; /* ON_NAME: id. ON_PORT: the prefix. ON_ICMP_*: type << 8 | code */
	uint8_t protocol, kind;
	uint16_t zero; /* this is a key */
};
#define ON_OF(c) ((struct on){.value = (c)->value, .protocol = (c)->protocol, .kind = (c)->kind})

/* What all rules of a policy share. Replaced when one of these changes, the rules with it. */
struct policy_head {
	uint32_t id, network, priority;
	uint8_t tier;
	bool enforce, connection_semantics, log;
	char name[NAME_SIZE];
};

struct rule {
	uint32_t id;
	uint8_t action, direction;
	uint32_t n_atoms, n_blocks, n_ons, text_len;
	uint64_t rank;
	const struct policy_head *head;
	const uint32_t *atoms; /* sorted, each once; so are the others */
	const struct prefix *blocks;
	const struct on *ons;
	const char *name;      /* or NULL */
	const uint8_t *text;   /* the spec in one canonical string of bytes: equal rules have equal text */
};

struct name_list {
	uint32_t n;
	const char *v[]; /* sorted, each once */
};

struct policy {
	char name[NAME_SIZE];
	uint32_t id;
	bool solo, has_endpoints, speaks[2]; /* by enum policy_direction */
	uint32_t isolation[2];          /* ids, of the same kind as rules have, for what it denies without a rule */
	const struct policy_head *head;
	const struct name_list *endpoints;
	struct sequence rules[2];       /* struct rule * */
	uint64_t n_entries[2];          /* what its rules put into a group */
	const struct id_set *groups[2]; /* that it is in */
};

/* A rule where it is found, with what a verdict needs of it. */
struct candidate {
	const struct rule *rule;
	uint64_t rank;
	uint32_t id, policy;
	uint32_t value; /* this and the next two: struct on */
	uint8_t protocol, kind;
	uint8_t lane; /* LANE(tier, enforced) */
	uint8_t action : 2, connection_semantics : 1, log : 1;
};
#define LANES (2 * TIER_COUNT)
#define LANE(tier, enforce) ((uint8_t)((tier) * 2 + !(enforce)))

struct bundle {
	union {
		struct prefix key; /* of an atom: ip.w[0] is its id, len LEN_ATOM */
		struct {
			uint8_t key_bytes[17];
			uint8_t n, room; /* where the key has padding */
		};
	};
	const struct spill *spill; /* instead of items, once there were more than ITEMS_MAX */
	struct candidate v[];
};
#define ITEMS_MAX 8
#define LEN_ATOM 0xff
static_assert(sizeof(struct bundle) + sizeof(struct candidate) == 64, "one cache line for one rule");
static_assert(offsetof(struct prefix, len) == 16 && sizeof(struct prefix) == 24, "a key has padding behind its length");

/* Which kinds of entries there are, so that a lookup tries no others. */
struct shape {
	uint32_t count;
	uint8_t protocol, kind;
};
struct spill {
	struct pmap entries; /* struct entry */
	uint32_t n, room;
	struct shape v[];
};
struct entry {
	struct on on;
	uint32_t n, room;
	struct candidate c[]; /* by lane, then by order */
};

struct group {
	uint32_t id;
	uint8_t direction;
	bool interned;
	uint32_t uses; /* endpoints */
	/* Its policies: of tier network and enforced, of those with packet semantics, with log; of tier network, of those
	 * with log; not enforced. */
	uint32_t n_isolating, n_packet, n_log, n_network, n_log_all, n_dry;
	uint32_t isolates[2]; /* the first by name of those of tier network, 0 when none: enforced, all */
	uint64_t members[2]; /* hash of direction and policies */
	const struct id_set *policies;
	const struct bundle *any; /* for every peer */
	struct pmap atoms;        /* struct bundle */
	struct prefix_tree blocks; /* struct bundle */
};
struct group_by_members {
	uint64_t members[2];
	uint32_t id;
};

struct selection {
	uint32_t merged;           /* group id, or 0 */
	const struct id_set *solo; /* group ids */
};
struct policy_endpoint {
	uint32_t slot, network;
	struct selection in[2]; /* by enum policy_direction */
	char name[NAME_SIZE];
};
/* A name that an endpoint has or that policies select. */
struct endpoint_name {
	char name[NAME_SIZE];
	uint32_t slot;                 /* 0: there is none now */
	const struct id_set *policies; /* that list the name */
};
struct policy_network {
	uint32_t network;
	const struct id_set *policies; /* that select all of it */
	struct prefix_tree atoms;      /* struct atoms_at */
};

/* The atoms that a prefix takes addresses into, or out of. */
#define AT(atom, holed, out) ((atom) << 2 | (uint32_t)(holed) << 1 | (uint32_t)(out))
struct atoms_at {
	struct prefix key;
	uint32_t n, room;
	uint32_t v[]; /* AT(), sorted */
};
struct atom {
	uint32_t id, uses; /* rules */
	const char *set;   /* its name; NULL: a block */
	const struct block *block;
};
/* A CIDR that has exceptions. */
struct block {
	uint64_t hash[2];
	uint32_t atom, network;
	bool interned;
	struct prefix cidr;
	uint32_t n_except;
	struct prefix except[]; /* sorted, each once */
};
struct address_set {
	char name[NAME_SIZE];
	uint32_t atom, network;
	bool defined; /* false: only referred to */
	struct sequence members; /* struct prefix, sorted */
};
struct port_name {
	char name[NAME_SIZE];
	uint32_t id, uses;
};

struct isolation {
	uint32_t id, policy;
	uint8_t direction;
};

/* policy_tables.more; policy_tables.rule is id -> struct rule. */
struct policy_more {
	struct id_source rules, atoms, policies, groups, names;
	struct pmap atom;             /* id -> struct atom */
	struct pmap block;            /* content -> struct block */
	struct pmap policy;           /* id -> struct policy */
	struct pmap group_by_members; /* struct group_by_members */
	struct pmap port_name;        /* id -> struct port_name */
	struct pmap isolation;        /* id -> struct isolation */
};

extern const struct pmap_type rule_by_id, entry_by_on, bundle_by_atom, group_by_id, endpoint_by_slot,
	endpoint_name_type, port_name_type, policy_by_name, policy_by_id, set_by_name_type, atom_by_id, isolation_by_id;

/* A struct that is part of a published version may not be written: this is how to get at one that may be. */
static inline struct policy_more *
policy_more(struct policy_tables *p, struct txn *t)
{
	struct policy_more *m = (struct policy_more *)p->more;
	if (m != NULL && txn_owns(t, m))
		return m;
	struct policy_more *out = (struct policy_more *)txn_alloc(t, sizeof(*out));
	if (m != NULL) {
		*out = *m;
		txn_discard(t, m);
	}
	p->more = out;
	return out;
}
static inline void
discard(struct txn *t, const void *p)
{
	if (p != NULL)
		txn_discard(t, (void *)(uintptr_t)p);
}
/* `name` as a key; its length is checked where objects come in. */
static inline void
name_key(char key[NAME_SIZE], const char *name)
{
	size_t len = strnlen(name, NAME_SIZE - 1);
	memcpy(key, name, len);
	memset(key + len, 0, NAME_SIZE - len);
}

/* policy_network.c */
const struct policy_network *policy_network_find(const struct policy_tables *p, uint32_t network);
struct policy_network *policy_network_own(struct policy_tables *p, struct txn *t, uint32_t network);
/* Forget a network about which nothing is known any more. */
void policy_network_forget(struct policy_tables *p, struct txn *t, uint32_t network);

/* policy_check.c: what a spec must keep beyond what its fields say alone. 0, or -errno and *e. */
int name_check(const char *name, struct error *e);
int policy_check(const struct spec_policy *spec, struct error *e);
int rule_check(const struct spec_rule *r, enum policy_tier tier, enum policy_direction direction, uint32_t index,
	       struct error *e);

/* Which of two in the same tier is asked first. */
static inline bool
candidate_before(const struct candidate *a, const struct candidate *b)
{
	if (a->policy == b->policy)
		return a->rank < b->rank;
	const struct policy_head *x = a->rule->head, *y = b->rule->head;
	if (x->tier != TIER_NETWORK && x->priority != y->priority) /* NetworkPolicy has none */
		return x->priority < y->priority;
	return strcmp(x->name, y->name) < 0;
}

/* policy_atom.c: each `use` counts one rule. */
uint32_t atom_of_set(struct policy_tables *p, struct txn *t, struct address_set *s);
void atom_free(struct policy_tables *p, struct txn *t, uint32_t id);
uint32_t atom_use_set(struct policy_tables *p, struct txn *t, const char *name);
uint32_t atom_use_block(struct policy_tables *p, struct txn *t, uint32_t network, const struct spec_peer *peer);
void atom_release(struct policy_tables *p, struct txn *t, uint32_t id);
bool atom_in_use(const struct policy_tables *p, uint32_t id);
/* Take the addresses of a prefix into (or out of) an atom, and undo it. False when that is so already. */
bool atom_mark(struct policy_tables *p, struct txn *t, uint32_t network, const struct prefix *prefix, uint32_t at);
bool atom_unmark(struct policy_tables *p, struct txn *t, uint32_t network, const struct prefix *prefix, uint32_t at);
int prefix_compare(const void *a, const void *b);
/* Sort and make unique; returns how many remain. */
uint32_t prefix_sort(struct prefix *v, uint32_t n);

/* address_set.c */
struct address_set *address_set_own(struct policy_tables *p, struct txn *t, const char *name);
void address_set_forget(struct policy_tables *p, struct txn *t, const char *name);

/* policy_rule.c */
uint32_t rule_id_take(struct policy_tables *p, struct txn *t);
/* A new rule; id 0: give it one. */
const struct rule *rule_new(struct policy_tables *p, struct txn *t, const struct policy_head *head, uint8_t direction,
			    uint64_t rank, uint32_t id, const struct spec_rule *spec);
/* The same rule under another head or at another rank; the old block is gone. */
const struct rule *rule_move(struct policy_tables *p, struct txn *t, const struct rule *r,
			     const struct policy_head *head, uint64_t rank);
/* Let go of all that it uses. Its id is free again unless it is kept for another. */
void rule_free(struct policy_tables *p, struct txn *t, const struct rule *r, bool keep_id);
struct bytes {
	uint8_t *v;
	size_t n, room;
};
/* The canonical text, in a buffer that is used again and again. */
void rule_text(struct bytes *b, const struct spec_rule *r);

/* policy_bundle.c: each returns what to use from now on, NULL when nothing is left. The old one is the caller's to discard,
 * unless it was changed in place. */
const struct bundle *bundle_put(const struct bundle *b, struct txn *t, const struct prefix *key,
				const struct candidate *c);
const struct bundle *bundle_remove(const struct bundle *b, struct txn *t, const struct candidate *c);
void bundle_free(const struct bundle *b, struct txn *t);

/* policy_entry.c: what a rule puts into a group. The group is writable. */
void group_entries_put(struct txn *t, struct group *g, const struct rule *r);
void group_entries_remove(struct txn *t, struct group *g, const struct rule *r);
void group_entries_clear(struct txn *t, struct group *g);
static inline uint64_t
rule_entries(const struct rule *r)
{
	return ((uint64_t)r->n_atoms + r->n_blocks) * r->n_ons;
}

/* policy_diff.c: which of the old rules each of the new specs is; those that stay are in the same order in both. */
#define RULE_NOT_THERE UINT32_MAX
struct rule_match {
	uint32_t old; /* index, or RULE_NOT_THERE */
	bool stays;
};
void rules_match(const struct rule *const *old, uint32_t n_old, const struct spec_rule *specs, uint32_t n,
		 struct rule_match *out);

/* policy_group.c */
const struct group *group_find(const struct policy_tables *p, uint32_t id);
struct group *group_own(struct policy_tables *p, struct txn *t, uint32_t id);
const struct group *group_of(const struct policy_tables *p, uint8_t direction, const struct id_set *policies);
/* The group of these policies, made when there is none. It is gone when the last of its uses is. */
uint32_t group_use(struct policy_tables *p, struct txn *t, uint8_t direction, const struct id_set *policies,
		   uint32_t uses);
void group_release(struct policy_tables *p, struct txn *t, uint32_t id, uint32_t uses);
void group_join(struct policy_tables *p, struct txn *t, uint32_t id, uint32_t policy);
void group_leave(struct policy_tables *p, struct txn *t, uint32_t id, uint32_t policy);
void group_put_rule(struct policy_tables *p, struct txn *t, uint32_t id, const struct rule *r);
void group_remove_rule(struct policy_tables *p, struct txn *t, uint32_t id, const struct rule *r);
/* A policy of the group changes its head. */
void group_recount(struct policy_tables *p, struct txn *t, uint32_t id, const struct policy_head *old,
		   const struct policy_head *head);

/* policy_select.c */
struct slots { /* sorted, each once; free(v) */
	uint32_t *v;
	uint32_t n;
};
struct slots policy_slots(const struct policy_tables *p, const struct policy *pol, uint8_t direction);
void select_join(struct policy_tables *p, struct txn *t, uint32_t policy, uint8_t direction, const struct slots *s);
void select_leave(struct policy_tables *p, struct txn *t, uint32_t policy, uint8_t direction, const struct slots *s);
/* The names that a policy lists, or that it selects the whole network. */
void select_list(struct policy_tables *p, struct txn *t, const struct policy *pol);
void select_unlist(struct policy_tables *p, struct txn *t, const struct policy *pol);

/* policy_compile.c */
const struct policy *policy_find(const struct policy_tables *p, uint32_t id);
const struct policy *policy_find_name(const struct policy_tables *p, const char *name);
struct policy *policy_own(struct policy_tables *p, struct txn *t, uint32_t id);

#endif
