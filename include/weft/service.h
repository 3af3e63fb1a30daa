/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services: from a virtual address to one of its backends. Semantics are Kubernetes' (Service, EndpointSlice).
 *
 * Choice is by Maglev (Eisenbud et al., NSDI 2016) over a fixed, public hash, so that every node chooses alike.
 */
#ifndef WEFT_SERVICE_H
#define WEFT_SERVICE_H

#include <weft/base.h>
#include <weft/lpm.h>
#include <weft/pmap.h>
#include <weft/spec.h>

#ifdef __cplusplus
extern "C" {
#endif

struct backend {
	struct ip ip;
	uint16_t port;      /* network byte order: the translated destination port */
	uint8_t state;      /* enum backend_state */
	uint8_t flags;      /* enum backend_flag */
	uint32_t id;        /* stable while (service port, ip, port) stays the same; names it in a connection */
	uint32_t count;     /* of its connections: service_count.h */
};

/* What kind of address a client used: the traffic policy that counts depends on it. */
enum service_scope {
	SERVICE_CLUSTER,       /* one of `ips`, in the service's network */
	SERVICE_EXTERNAL,      /* one of `externalIPs`, in the service's network and in the underlay */
	SERVICE_LOAD_BALANCER, /* one of `loadBalancerIPs`, likewise */
	SERVICE_NODE_PORT,     /* a nodePort at the node's addresses, in the service's network and in the underlay */
};

/* One (address, protocol, port) of a service; or one nodePort, at whatever address of the node. */
struct service_port {
	struct ip ip;          /* key: ip, network, port, protocol. SERVICE_NODE_PORT: of the key, port and protocol count */
	uint32_t network;      /* where clients find it */
	uint16_t port;         /* network byte order */
	uint8_t protocol, pad;
	uint32_t id;           /* stable while the service and its port stay */
	uint32_t slot;         /* the service's generation slot: moves when the service changes */
	uint32_t home;         /* the service's network: where its backends are */
	uint8_t scope;         /* enum service_scope */
	uint32_t count;        /* of its connections, whatever the address: service_count.h */
	const struct spec_service *spec;
	const struct service_choice *choice; /* shared by all addresses of this port of the service */
};

/* Backends that a connection may be given to, and the table that chooses among those that take new ones. */
struct service_set {
	uint32_t n_backends;    /* whatever their state */
	uint32_t n_eligible;    /* 0: nobody takes a new connection */
	uint32_t size;          /* of maglev, a prime; 0 when n_eligible == 0 */
	const uint16_t *maglev; /* index into the choice's backends */
};

enum service_range { SERVICE_ALL, SERVICE_LOCAL, SERVICE_RANGES }; /* of a traffic policy: all backends, those of this node */

/* The backends of one port of a service. Sets are by the family of the address that was asked, and by range. */
struct service_choice {
	uint32_t n_backends;
	const struct backend *backends; /* all, ordered by id */
	struct service_set set[2][SERVICE_RANGES]; /* IPv4, IPv6 */
};

enum backend_flag {
	BACKEND_HERE = 1 << 0,        /* on this node; only kept true where a traffic policy is Local */
	BACKEND_TAKES = 1 << 1,       /* new connections that may go to any */
	BACKEND_TAKES_LOCAL = 1 << 2, /* new connections that must stay on this node */
};

/* A virtual address of some service: known, whatever its port. */
struct service_address {
	struct ip ip;
	uint32_t network;
	uint32_t slot;         /* generation slot of a service that has it */
	uint32_t uses;
};

struct service_tables {    /* a value, as pmap */
	struct pmap port;      /* struct service_port */
	struct pmap address;   /* struct service_address */
	struct lpm cidr;       /* serviceCIDRs of the self Node, network 0: unused addresses in them are rejected */
	uint32_t cidr_slot;    /* generation slot: moves when an unused address may have become a service */
	uint32_t n_node_ports, n_node_ips;
	bool withdrawn; /* once, an address or port of the underlay was a service's and is no more: clients may still be
			   there */
	const struct ip *node_ips; /* where node ports are answered */
	uint32_t host_slot;    /* generation slot: moves when a port of the node may have become a node port */
	struct pmap by_name;   /* service name -> struct service_entry; builder's */
	struct pmap local;     /* those of them with a traffic policy of Local; builder's */
};

/* Worker. NULL: not a service port. `port` in network byte order. A node port is found at each of the node's addresses, from the
 * underlay and from the service's own network. */
const struct service_port *service_find(const struct service_tables *s, uint32_t network, const struct ip *ip, uint8_t protocol, uint16_t port);
/* Worker. A hint before new connections to n <= WEFT_BURST tuples are decided: fetch what service_find and service_choose will read. With
 * fewer than SERVICE_WARM_MIN service ports, which caches hold anyway, it does nothing. */
#define SERVICE_WARM_MIN 256
struct tuple;
void service_warm(const struct service_tables *s, const struct tuple *const t[], unsigned int n);
/* Worker. NULL: no service has this address; node ports do not make an address a service's. */
const struct service_address *service_address_find(const struct service_tables *s, uint32_t network, const struct ip *ip);
/* Worker. An address inside the serviceCIDRs. */
bool service_in_cidr(const struct service_tables *s, const struct ip *ip);

/* The public, fixed hash that chooses: over source and destination address, ports and protocol. The same on every node. */
uint32_t service_hash(const struct tuple *t);
/* With session affinity: over the client's address and the service port alone, so that a client has one backend from the start. */
uint32_t service_hash_client(const struct service_port *p, const struct ip *client);
/* A backend that a client should come back to, if it takes new connections of this range and family; else NULL. */
const struct backend *service_prefer(const struct service_port *p, const struct ip *dst, enum service_range range, uint32_t id);

/* Does the traffic policy want local backends only? `outside`: the client is neither a pod nor the node (Kubernetes: a pod or the
 * node that uses an address from outside is sent to any backend, whatever externalTrafficPolicy says). */
static inline enum service_range
service_range_for(const struct service_port *p, bool outside)
{
	bool local = p->scope == SERVICE_CLUSTER ? p->spec->internal_local : outside && p->spec->external_local;
	return local ? SERVICE_LOCAL : SERVICE_ALL;
}
/* Worker. May `client` use the address? sourceRanges hold for load balancer addresses, and for node ports from outside. */
bool service_admits(const struct service_port *p, const struct ip *client, bool outside);

/* Worker. The backend for a new connection to `dst`, or NULL when nobody takes one. */
const struct backend *service_choose(const struct service_port *p, const struct ip *dst, enum service_range range, uint32_t hash);
/* Worker. The backend with this id in whatever state, or NULL when it is gone. */
const struct backend *service_backend(const struct service_port *p, uint32_t id);

/* What makes a backend local: its node's name, or its address. */
struct service_locality {
	const char *node;  /* the name of the Node that is self, or NULL */
	bool (*here)(void *arg, uint32_t network, const struct ip *ip);
	void *arg;
};

/* What a builder's call hands down. */
struct service_change {
	struct service_tables *s;  /* belong to t */
	struct txn *t;             /* old structures are retired in it */
	void (*bump)(void *arg, uint32_t slot); /* slots that must move after publish */
	void *arg;
	const struct service_locality *locality; /* NULL: no backend is local */
	/* An address that was no service's has got a port: who went there by a route must ask again. NULL: nobody did. */
	void (*claimed)(void *arg, uint32_t network, const struct ip *ip);
};

/*
 * Builder. Put or remove a service (its spec); `network` is its network's id. 0 or -errno with *e.
 * Two services that claim the same (network, address, protocol, port): -EEXIST, path "ports[i]"; the same node port: "ports[i].nodePort".
 */
int service_put(const struct service_change *c, uint32_t network, const struct spec_service *spec, struct error *e);
int service_remove(const struct service_change *c, const char *name);
/* Builder. Replace the list of serviceCIDRs. */
void service_set_cidrs(const struct service_change *c, const struct prefix_list *cidrs);
/* Builder. Replace the addresses at which node ports are answered. -EEXIST with *e when one of them is a service's with a port that is
 * another's node port. */
int service_set_node_ips(const struct service_change *c, const struct ip_list *ips, struct error *e);
/* Builder. Build those services anew of which a backend became local or ceased to be; only these addresses may have (NULL: any). */
int service_localize(const struct service_change *c, const struct ip *ips, size_t n, struct error *e);

/* Control thread, while nothing is being built: every port of a service. -ENOENT: there is no such service. */
struct service_port_info {
	const struct spec_service_port *spec;
	uint32_t count;
	const struct service_choice *choice;
};
int service_ports(const struct service_tables *s, const char *name, void (*fn)(const struct service_port_info *p, void *arg), void *arg);

/*
 * Maglev, pure (maglev.c). Fill table[size] with indexes 0..n-1 so that each gets a share in proportion to its
 * weight (0: none) and a change of one moves few others. `key` names a backend for the permutation (the same on every node).
 * size must be a prime of maglev_size(). Returns 0, -EINVAL when all weights are 0, more than size are not, or n > 65535, or -ENOMEM.
 */
struct maglev_backend {
	uint64_t key;
	uint32_t weight;
};
uint32_t maglev_size(uint32_t n, uint32_t old_size); /* primes about 8 times apart, with hysteresis: old_size is kept while it fits */
int maglev_build(uint16_t *table, uint32_t size, const struct maglev_backend *b, uint32_t n);

#ifdef __cplusplus
}
#endif

#endif
