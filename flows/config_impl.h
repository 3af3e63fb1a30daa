/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the builder.
 *
 * config_put and config_remove record which objects change, and judge what one object alone can be judged by. Services,
 * address sets and policies are handed on at once. All else is compiled by config_check, when the batch is complete:
 * what changed objects put into the tables is taken out first, then what they are now is put in. So the order of
 * a batch does not matter, and two objects may trade an address. An object that did not change but was compiled from
 * one that did is touched: recorded as a change to itself.
 *
 * What generations move is found at the end, by comparing what was before with what is now.
 */
#ifndef WEFT_FLOWS_CONFIG_IMPL_H
#define WEFT_FLOWS_CONFIG_IMPL_H

#include <weft/config.h>
#include <weft/text.h>

#define NAME_KEY 256 /* a name, padded with zeros */
#define NETWORK_NONE UINT32_MAX

struct config_object {
	char name[NAME_KEY]; /* key */
	const union spec *spec;
	struct port_facts facts;
	const void *compiled; /* Network: struct network. Endpoint: struct endpoint. Remote: struct remote_state */
};

struct remote_state {
	uint32_t network;
	struct mac mac; /* that frames for its prefixes are sent to */
};

/* An object that this txn adds (base NULL), changes or removes (now NULL). Both NULL: came and went. */
struct change {
	char name[NAME_KEY]; /* key */
	const struct config_object *base, *now;
	struct change *next;
};

/* The builder's part of the root: persistent, as the rest. */
struct config_builder {
	struct pmap by_port; /* port name -> struct port_user */
	struct pmap tunnels; /* struct tunnel */
	struct lpm shadow;   /* as the fib: routes that would serve if the one in the fib went */
	struct lpm underlay; /* network 0: struct underlay_route */
	const struct config_object *host, *uplink, *self;
	uint32_t n_closed;   /* endpoints that are not admitted yet */
	struct pmap claims;  /* config_claim.c */
	uint32_t link_hop[2]; /* out of the uplink to whom it is for, IPv6 and IPv4 */
};

struct port_user {
	char port[NAME_KEY]; /* key */
	const char *endpoint;
};
struct underlay_route {
	struct lpm_key key;
	const struct spec_route *spec;
	uint32_t n; /* next hops on the uplink */
	struct route_way *way;
	uint16_t *neighbour;
};

/* A way to a VTEP with an inner destination MAC; Remotes share it. */
struct tunnel_key {
	struct ip ip;
	uint32_t network;
	struct mac mac;
	uint16_t pad;
};
struct tunnel {
	struct tunnel_key key;
	uint32_t uses, hop;
	uint16_t neighbour;
};

struct vtep_entry {
	struct vtep v; /* first */
	bool ready;    /* holds a use of the tunnel to mac */
	struct mac mac;
	const struct spec_remote *remote[]; /* v.uses of them */
};

struct vector {
	void *v;
	size_t n, room;
};

struct config_txn {
	struct txn txn;
	struct config *c;         /* the root to be */
	struct config_builder *b; /* c->builder */
	const struct config *base;
	struct change *changes[KIND_COUNT], **tail[KIND_COUNT];
	struct pmap changed[KIND_COUNT];
	struct vector bumps;      /* uint32_t */
	struct vector routed;     /* struct lpm_key: fib entries that may differ */
	struct vector host_meant; /* struct prefix: host_fib entries that may differ */
	struct vector idle;       /* struct tunnel_key: lost their last use */
	struct vector covered;    /* config_admit.c: what policies of this transaction select */
	bool covered_sorted;
	bool host_changed, uplink_changed, wire_changed, node_ips_changed, checked;
	struct service_locality locality; /* what service_change_of points to */
	enum kind culprit_kind;
	const char *culprit;
};

static inline const struct config_builder *
builder_of(const struct config *c)
{
	return (const struct config_builder *)c->builder;
}

/* The name of what an error found by config_check is about; mgmt asks with config_culprit. */
static inline int
blame(struct config_txn *t, enum kind kind, const char *name, int rc)
{
	t->culprit_kind = kind;
	t->culprit = name;
	return rc;
}

/* config_object.c */
extern const char *const kind_names[KIND_COUNT];
void vector_push(struct vector *v, const void *item, size_t size);
void config_bump(void *config_txn, uint32_t slot);
const struct config_object *object_find(const struct config *c, enum kind kind, const char *name);
struct change *object_put(struct config_txn *t, enum kind kind, const union spec *spec, const struct port_facts *facts);
int object_remove(struct config_txn *t, enum kind kind, const char *name, struct error *e);
struct change *object_touch(struct config_txn *t, enum kind kind, const char *name);
void object_compiled(const struct change *ch, const void *compiled);
void changes_drop(struct config_txn *t);
/* The name as a key of NAME_KEY bytes. */
void name_key(char key[NAME_KEY], const char *name);
extern const struct pmap_type object_type;

/* config_refer.c */
/* NETWORK_NONE and *e when there is no such network. */
uint32_t refer_network(const struct config_txn *t, const char *name, struct error *e);
/* As refer_network, for what lives in an overlay: refuses "underlay". */
uint32_t refer_overlay(const struct config_txn *t, const char *name, struct error *e);
int check_references(struct config_txn *t, struct error *e);

/* config_fib.c */
int fib_put(struct config_txn *t, const struct route *r, const char *where, struct error *e);
void fib_remove(struct config_txn *t, uint32_t network, const struct prefix *p, const void *owner);
void host_fib_add(struct config_txn *t, const struct prefix *p, uint32_t network);
void host_fib_drop(struct config_txn *t, const struct prefix *p, uint32_t network);
void fib_bump(struct config_txn *t);
static inline struct prefix
prefix_of(const struct ip *ip)
{
	struct prefix p = {*ip, 128};
	return p;
}

/* config_network.c */
int network_validate(const struct spec_network *spec, struct error *e);
/* `before` is what the object was compiled to until now, in this txn or before; NULL when there was none. */
int network_prepare(struct config_txn *t, const struct network *before, struct change *ch, struct error *e);
void network_forget(struct config_txn *t, const struct network *n);
void networks_take_out(struct config_txn *t);
int networks_put_in(struct config_txn *t, struct error *e);

/* config_port.c */
int port_validate(const struct spec_port *spec, struct error *e);
int node_settle(struct config_txn *t, struct error *e);
int host_routes_settle(struct config_txn *t, struct error *e);
void port_views_settle(struct config_txn *t);

/* config_endpoint.c */
void endpoints_touch(struct config_txn *t);
void endpoints_take_out(struct config_txn *t);
int endpoints_put_in(struct config_txn *t, struct error *e);
const struct port_user *port_user_find(const struct config *c, const char *port);

/* config_claim.c */
void claims_take_out(struct config_txn *t, const struct endpoint *ep, const char *name, bool gone);
void claims_put_in(struct config_txn *t, const struct endpoint *ep, const char *name);
/* True when the route in the FIB is of an announcement: it is no more, and somebody may have the address by right. */
bool claims_yield(struct config_txn *t, const struct route *now);

/* config_admit.c */
/* A Policy that this transaction brings. */
void admission_cover(struct config_txn *t, const struct spec_policy *p);
/* Endpoints that are closed and that policies of this transaction select. */
void admission_touch(struct config_txn *t);
/* Is the endpoint that comes closed? `base`: what it was, or NULL. */
bool admission_closed(struct config_txn *t, const struct spec_endpoint *spec, const struct endpoint *base);

/* config_service.c */
struct service_change service_change_of(struct config_txn *t);
int services_settle(struct config_txn *t, struct error *e);

/* config_remote.c */
int remote_validate(const struct config_txn *t, const struct spec_remote *spec, struct error *e);
void remotes_touch(struct config_txn *t);
void remotes_take_out(struct config_txn *t);
int remotes_put_in(struct config_txn *t, struct error *e);

/* config_tunnel.c */
int tunnel_take(struct config_txn *t, const struct ip *vtep, uint32_t network, const struct mac *mac, uint32_t *hop,
		struct error *e);
void tunnel_drop(struct config_txn *t, const struct ip *vtep, uint32_t network, const struct mac *mac);
void tunnels_sweep(struct config_txn *t);

/* config_mac.c: one more endpoint (by 1) has the MAC in the network, or one less (-1). */
void mac_add(struct config_txn *t, uint32_t network, const struct mac *mac, int by);

/* config_wire.c: how pods' packets leave by the uplink, and which of its packets are for pods. */
void wire_links_remove(struct config_txn *t);
int wire_links_put(struct config_txn *t, struct error *e);
void wire_route_remove(struct config_txn *t, const struct underlay_route *r);
int wire_route_put(struct config_txn *t, struct underlay_route *r, struct error *e);
void wire_network_remove(struct config_txn *t, const struct network *n);
void wire_network_put(struct config_txn *t, const struct network *n);

/* config_underlay.c */
int underlay_validate(const struct spec_route *spec, struct error *e);
int underlay_settle(struct config_txn *t, struct error *e);
/* The neighbour that frames for `ip` are sent to; false when there is no way. */
bool underlay_next_hop(const struct config *c, const struct ip *ip, struct ip *next);

#endif
