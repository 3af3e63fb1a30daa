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

/*
 * The choice for one port of a service, in memory of t. `old` (may be NULL) is what served this port before: backends
 * that stay keep their ids, and the table its size while that fits. 0 or -errno with *e.
 */
int service_choice_build(struct txn *t, const struct spec_service *spec, const struct spec_service_port *port,
			 const struct service_choice *old, const struct service_choice **out, struct error *e);

#endif
