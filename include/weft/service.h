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
	uint8_t pad;
	uint32_t id;        /* stable while (service port, ip, port) stays the same; names it in a connection */
};

/* One (address, protocol, port) of a service. */
struct service_port {
	struct ip ip;          /* key: ip, network, port, protocol */
	uint32_t network;
	uint16_t port;         /* network byte order */
	uint8_t protocol, pad;
	uint32_t id;           /* stable while the service and its port stay */
	uint32_t slot;         /* the service's generation slot: moves when the service changes */
	const struct spec_service *spec;
	const struct service_choice *choice; /* shared by all addresses of this port of the service */
};

/* The backends of one port of a service, and the table that chooses among those that take new connections. */
struct service_choice {
	uint32_t n_backends, n_eligible; /* n_eligible == 0: nobody takes a new connection */
	const struct backend *backends;  /* all, whatever their state, ordered by id */
	uint32_t size;                   /* of maglev, a prime; 0 when n_eligible == 0 */
	const uint16_t *maglev;          /* index into backends */
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
	struct pmap by_name;   /* service name -> struct service_entry; builder's */
};

/* Worker. NULL: not a service port. `port` in network byte order. */
const struct service_port *service_find(const struct service_tables *s, uint32_t network, const struct ip *ip, uint8_t protocol, uint16_t port);
/* Worker. NULL: no service has this address. */
const struct service_address *service_address_find(const struct service_tables *s, uint32_t network, const struct ip *ip);
/* Worker. An address inside the serviceCIDRs. */
bool service_in_cidr(const struct service_tables *s, const struct ip *ip);

/* The public, fixed hash that chooses: over source and destination address, ports and protocol. The same on every node. */
struct tuple;
uint32_t service_hash(const struct tuple *t);

/* Worker. The backend for a new connection, or NULL when nobody takes one. */
const struct backend *service_choose(const struct service_port *p, uint32_t hash);
/* Worker. The backend with this id in whatever state, or NULL when it is gone. */
const struct backend *service_backend(const struct service_port *p, uint32_t id);

/*
 * Builder. Put or remove a service (its spec) in tables that belong to t; `network` is its network's id. Old structures are retired in
 * t, slots that must move after publish are appended through `bump` (called with each slot). 0 or -errno with *e.
 * Two services that claim the same (network, address, protocol, port): -EEXIST, path "ports[i]" .
 */
int service_put(struct service_tables *s, struct txn *t, uint32_t network, const struct spec_service *spec, void (*bump)(void *arg, uint32_t slot),
		void *arg, struct error *e);
int service_remove(struct service_tables *s, struct txn *t, const char *name, void (*bump)(void *arg, uint32_t slot), void *arg);
/* Builder. Replace the list of serviceCIDRs. */
void service_set_cidrs(struct service_tables *s, struct txn *t, const struct prefix_list *cidrs, void (*bump)(void *arg, uint32_t slot), void *arg);

/*
 * Maglev, pure (maglev.c). Fill table[size] with indexes 0..n-1 so that each gets a share in proportion to its
 * weight (0: none) and a change of one moves few others. `key` names a backend for the permutation (the same on every node).
 * size must be a prime of maglev_size(). Returns 0, -EINVAL when all weights are 0 or n > size or n > 65535, or -ENOMEM.
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
