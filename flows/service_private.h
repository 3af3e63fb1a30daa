/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the services share. */
#ifndef FLOWS_SERVICE_PRIVATE_H
#define FLOWS_SERVICE_PRIVATE_H

#include <weft/service.h>

/* The keys, as they lie in the values. */
struct service_port_key {
	struct ip ip;
	uint32_t network;
	uint16_t port;
	uint8_t protocol, pad;
};
struct service_address_key {
	struct ip ip;
	uint32_t network;
};
#define SERVICE_ADDRESS_KEY_LEN                                                                                        \
	(offsetof(struct service_address_key, network) + sizeof(uint32_t)) /* not what pads the struct */

static const struct pmap_type service_ports_type = {offsetof(struct service_port, ip), sizeof(struct service_port_key)};
static const struct pmap_type service_addresses_type = {offsetof(struct service_address, ip), SERVICE_ADDRESS_KEY_LEN};

static_assert(offsetof(struct service_port, network) == offsetof(struct service_port_key, network), "one key");
static_assert(offsetof(struct service_port, port) == offsetof(struct service_port_key, port), "one key");
static_assert(offsetof(struct service_port, protocol) == offsetof(struct service_port_key, protocol), "one key");
static_assert(offsetof(struct service_address, network) == offsetof(struct service_address_key, network), "one key");
static_assert(sizeof(struct service_port_key) == 24 && SERVICE_ADDRESS_KEY_LEN == 20, "no padding in a key");

/* Node ports lie in a network of their own, at no address: they are the same at each of the node's. */
#define NODE_PORTS UINT32_MAX

static inline struct service_port_key
service_node_port_key(uint8_t protocol, uint16_t port)
{
	struct service_port_key key;
	memset(&key, 0, sizeof(key));
	key.network = NODE_PORTS;
	key.port = port;
	key.protocol = protocol;
	return key;
}

struct service_claim {
	struct ip ip;
	uint32_t network;
	uint8_t scope; /* enum service_scope */
};

struct entry_port {
	uint16_t port, node_port; /* network byte order */
	uint8_t protocol;
	uint32_t index; /* in the spec's ports */
	uint32_t id, count;
	const struct service_choice *choice;
};

/* What the builder keeps of a service, in one block: what it claims, so that the claims can be taken back. */
struct service_entry {
	char name[WEFT_NAME_MAX + 1]; /* key; zeroes after the NUL */
	uint32_t network, slot;
	const struct spec_service *spec;
	uint32_t n_claims, n_ports;
	struct service_claim *claim; /* ordered by network and address, each once */
	struct entry_port *port;     /* ordered by port and protocol, each once */
};

/* service_entry.c: what a service claims, by its spec. Its slot and choices are left to the caller. 0, or -errno and *e when it
 * contradicts itself. */
int service_entry_new(struct txn *t, uint32_t network, const struct spec_service *spec, struct service_entry **out, struct error *e);
/* The entry's port with the number and protocol of `like`, or NULL. */
const struct entry_port *service_entry_port(const struct service_entry *entry, const struct entry_port *like);
bool service_entry_has_address(const struct service_entry *entry, uint32_t network, const struct ip *ip);

/* service_choice.c: a counter for the life of what it counts: given back if t aborts, and after service_count_drop. */
uint32_t service_count_new(struct txn *t);
void service_count_drop(struct txn *t, uint32_t id);

static inline bool
service_wants_local(const struct spec_service *spec)
{
	return spec->internal_local || spec->external_local;
}

/*
 * The choice for one port of a service, in memory of t. `old` (may be NULL) is what served this port before: backends
 * that stay keep their ids, and the tables their size while that fits. `here` says which of the spec's backends are local; NULL: nobody
 * asks. 0 or -errno with *e.
 */
int service_choice_build(struct txn *t, const struct spec_service *spec, const struct spec_service_port *port,
			 const struct service_choice *old, const bool *here, const struct service_choice **out,
			 struct error *e);

#endif
