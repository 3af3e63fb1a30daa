/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as the workers see it: one immutable root, replaced whole by each transaction.
 *
 * A worker loads the root once per burst (config_current) and so sees all of a transaction or none of it. The tables under
 * the root are persistent (pmap, lpm): a transaction copies a few nodes, never a table.
 *
 * Builder side: config_begin, config_remove / config_put for each object, config_check, then config_publish or
 * config_abort. Everything that can fail happens before publish.
 */
#ifndef WEFT_CONFIG_H
#define WEFT_CONFIG_H

#include <weft/base.h>
#include <weft/generation.h>
#include <weft/hop.h>
#include <weft/lpm.h>
#include <weft/policy.h>
#include <weft/service.h>
#include <weft/spec.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PORT_NONE 0xffffu

struct network {
	uint32_t id, vni;
	uint32_t slot;     /* moves when a destination without a route may have got one */
	bool l2;
	uint16_t mtu, vxlan_port;
	struct mac gateway_mac;
	uint32_t n_subnets;
	const struct spec_subnet *subnets;
	const struct spec_network *spec;
};

struct endpoint {
	uint32_t slot, network;
	uint32_t hop;         /* how to deliver to it; 0 while its port is missing */
	uint16_t port;        /* PORT_NONE while its port is missing */
	struct mac mac, gateway_mac;
	enum anti_spoof anti_spoof;
	bool paired;          /* `allowed` names other MACs with their own addresses: its frames are checked for pairs */
	bool closed;          /* not admitted yet: ARP and ND only, all else waits */
	const struct spec_endpoint *spec; /* name, ips, allowed, prefixes, ports */
};

/* The far end of a tunnel, in one network. */
struct vtep {
	struct ip ip;         /* key: ip and network */
	uint32_t network;
	uint32_t slot;        /* what packets from it are sourced from */
	uint32_t hop;
	uint32_t uses;        /* Remotes that name it; builder's */
};

/* The value of a FIB entry: who answers for a prefix. */
enum route_kind {
	ROUTE_ENDPOINT, /* a local endpoint: endpoint */
	ROUTE_REMOTE,   /* behind a VTEP: vtep */
	ROUTE_HOST,     /* one of the node's own addresses: to the host port */
	ROUTE_GATEWAY,  /* the subnet's gateway address: answered by us */
	ROUTE_LINK,     /* underlay: a network that the uplink is in */
	ROUTE_VIA,      /* underlay: behind the gateways of a Route */
};

/* One of several next hops of a Route: the flows whose hash, scaled to the sum of the weights, is below `upto` and not below that of the one before. */
struct route_way {
	uint32_t hop, upto;
};

struct route {
	struct lpm_key key;  /* first: this is an lpm value */
	uint8_t kind;        /* enum route_kind */
	uint32_t slot;       /* generation slot of whom it leads to */
	uint32_t hop;        /* 0: nobody can be reached there now */
	const struct endpoint *endpoint;
	const struct vtep *vtep;
	uint32_t n_ways;     /* ROUTE_VIA with several next hops; hop is the first's */
	const struct route_way *ways;
	const void *owner;   /* the spec that put it here: two objects that claim the same prefix are refused */
};

/* What a worker knows of the packets that a port brings in, before it looks at them. */
enum source_kind {
	SOURCE_NONE,     /* nobody lives on this port: drop */
	SOURCE_ENDPOINT,
	SOURCE_HOST,
	SOURCE_UPLINK,
};
struct port_view {
	uint8_t kind;    /* enum source_kind */
	uint16_t port;
	uint32_t slot;   /* the source slot: the endpoint's, or the host's */
	uint32_t network;
	struct mac mac;  /* SOURCE_ENDPOINT: the endpoint's. SOURCE_HOST, SOURCE_UPLINK: the port's own */
	const struct endpoint *endpoint;
	const struct spec_port *spec;
};

struct config {
	uint64_t epoch;
	const struct port_view *port[WEFT_MAX_PORTS];
	const struct network *network[WEFT_MAX_NETWORKS]; /* by id */
	uint32_t n_networks;     /* ids below it may be in use */
	struct lpm fib;          /* (network, prefix) -> struct route */
	struct lpm host_fib;     /* (0, prefix of a subnet or Remote) -> struct host_route: which network the host means by an address */
	struct lpm watch;        /* (0, prefix) -> struct watch: what else the uplink brings that is for pods */
	struct lpm exclude;      /* (network, prefix) -> struct exclusion: destinations that see pods' own addresses */
	struct pmap vtep;        /* (ip, network) -> struct vtep */
	struct pmap macs;        /* (network, MAC) of endpoints, see config_has_mac */
	struct pmap vni;         /* vni -> struct vni_entry */
	struct service_tables service;
	struct policy_tables policy;

	uint32_t host_slot;      /* source slot of the host port; constant */
	uint16_t host_port, uplink_port; /* PORT_NONE when there is none */
	struct mac host_mac;
	uint32_t host_hop;       /* 0 without a host port */
	uint32_t n_node_ips;     /* the node's own: of host and uplink ports and of the Node that is self */
	const struct ip *node_ips;
	struct ip wire_ip[2];    /* the node's address on the underlay, IPv6 and IPv4, or none: who asks for neighbours */
	struct ip vtep_ip;       /* our own tunnel end (the uplink's first IPv4 address), or none */

	uint16_t vxlan_ports[8]; /* UDP ports that networks receive VXLAN on, host order; 0 ends the list */

	struct pmap objects[KIND_COUNT]; /* name -> struct config_object; builder's */
	void *builder;                   /* what else the builder keeps; workers do not look */
};

struct host_route {
	struct lpm_key key;
	uint32_t network;
};
/* Addresses that answers to pods' packets come to: of masquerade, and subnets whose pods keep their own. */
struct watch {
	struct lpm_key key;
	uint32_t uses;       /* builder's */
};
struct exclusion {
	struct lpm_key key;
};
struct vni_entry {
	uint32_t vni, network;
};

/* The current root; never NULL after config_init. A worker keeps the pointer no longer than its burst. */
const struct config *config_current(void);

/* Workers' lookups. */
static inline const struct route *
config_route(const struct config *c, uint32_t network, const struct ip *addr)
{
	return (const struct route *)lpm_find(&c->fib, network, addr);
}
/* The hop of a route for a flow with this hash. */
static inline uint32_t
config_route_hop(const struct route *r, uint32_t hash)
{
	if (r->n_ways < 2)
		return r->hop;
	uint32_t at = (uint32_t)((uint64_t)hash * r->ways[r->n_ways - 1].upto >> 32), i = 0;
	while (at >= r->ways[i].upto)
		i++;
	return r->ways[i].hop;
}
const struct vtep *config_vtep(const struct config *c, uint32_t network, const struct ip *ip);
/* True and *network set when the VNI is one of ours. */
bool config_vni(const struct config *c, uint32_t vni, uint32_t *network);
/* Worker. Is it the own MAC of an endpoint of this node, in that network? */
bool config_has_mac(const struct config *c, uint32_t network, const struct mac *mac);
/* True and *network set when the host means an address of an overlay network by it. */
bool config_host_network(const struct config *c, const struct ip *addr, uint32_t *network);
bool config_is_node_ip(const struct config *c, const struct ip *addr);
static inline bool
config_is_vxlan_port(const struct config *c, uint16_t port)
{
	for (unsigned int i = 0; i < sizeof(c->vxlan_ports) / sizeof(c->vxlan_ports[0]) && c->vxlan_ports[i] != 0; i++)
		if (c->vxlan_ports[i] == port)
			return true;
	return false;
}

/*
 * Before the workers, after rcu_init, generation_init, hop_init and neighbour_init; after the workers, before their counterparts.
 * libconfig exports a config_init as well, hence another name for the linker.
 */
int config_init(void) __asm__("weft_config_init");
void config_fini(void);

/* What only the port itself knows, for config_put of a Port. */
struct port_facts {
	uint16_t id;
	struct mac mac;
};

struct config_txn;

struct config_txn *config_begin(void);
/*
 * Put an object, new or in place of its namesake. `facts` for KIND_PORT only. 0, or -errno and *e with a path below the object
 * ("network", "backends[3].ip"). After an error the txn can only be aborted. The spec must outlive its use, see spec.h.
 */
int config_put(struct config_txn *t, enum kind kind, const union spec *spec, const struct port_facts *facts, struct error *e);
/*
 * Change a few entries of an AddressSet or a Policy that is there, at a cost that does not depend on its size. `spec` is put as
 * config_put does, but its members or rules are not looked at.
 */
struct config_patch {
	const struct prefix_list *add, *remove; /* members; or NULL */
	const struct policy_edit *edits;        /* rules, see policy.h */
	uint32_t n_edits;
};
int config_patch(struct config_txn *t, enum kind kind, const union spec *spec, const struct config_patch *patch, struct error *e);
/* Remove an object. -ENOENT when there is none. */
int config_remove(struct config_txn *t, enum kind kind, const char *name, struct error *e);
/* What can only be judged when the batch is complete: nobody refers to a Network that is gone, a deleted Port or
 * AddressSet is not in use, no two objects claim one address. */
int config_check(struct config_txn *t, struct error *e);
/* Which object of the batch the error of config_check is about; the path in the error is below it. False: none in particular. */
bool config_culprit(const struct config_txn *t, enum kind *kind, const char **name);
/* After config_check: an Endpoint that is not closed; and those that were closed before this transaction and are not any more. */
bool config_admits(const struct config_txn *t, const char *name);
void config_admitted(const struct config_txn *t, void (*fn)(const char *name, void *arg), void *arg);
/*
 * Before config_check: the endpoint has announced an address that it is `allowed`, and has it from now on. -EALREADY: it has it; -EEXIST: it is
 * somebody's own; -ENOENT: no such endpoint, or it may not; -ENOSPC: it has announced too many.
 */
int config_claim(struct config_txn *t, const char *endpoint, const struct ip *ip);
/* How many Endpoints are closed now. Control threads, under the builder. */
uint32_t config_closed(void);
/* After config_check. Make it so: swap the root, bump the generations, retire the old. Returns the new epoch. Frees t. */
uint64_t config_publish(struct config_txn *t);
void config_abort(struct config_txn *t);

/* The status of an object for `get`: "ready", or "pending: port web-0 does not exist". Control threads, under the builder. */
void config_object_status(enum kind kind, const char *name, char *buf, size_t size);
/* Whose connections an Endpoint or a Remote opens (conn_cold.owner); 0 when there is no such object. As above. */
uint32_t config_object_slot(enum kind kind, const char *name);

#ifdef __cplusplus
}
#endif

#endif
