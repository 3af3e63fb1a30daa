/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator may ask for: one plain struct a kind, as decoded from JSON (mgmt/kinds.c has the field tables) and checked field
 * by field: ranges, addresses and words are right; what needs other objects to judge is not checked yet.
 *
 * Strings and arrays live in the object's own memory; a spec is read-only once decoded and outlives the transactions that use it
 * (it goes away a grace period after its object was replaced). Absent strings are NULL, absent arrays have n == 0 unless a
 * `has_` member says that the difference matters. Ports are in host order here.
 */
#ifndef WEFT_SPEC_H
#define WEFT_SPEC_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One row a kind: enum, JSON name, struct. mgmt/kinds.c has a field table for each. Ordered so that
 * a kind comes after those that it refers to. */
#define KINDS(X)                                                                                                       \
	X(NODE, Node, node)                                                                                            \
	X(NETWORK, Network, network)                                                                                   \
	X(PORT, Port, port)                                                                                            \
	X(ENDPOINT, Endpoint, endpoint)                                                                                \
	X(REMOTE, Remote, remote)                                                                                      \
	X(ROUTE, Route, route)                                                                                         \
	X(SERVICE, Service, service)                                                                                   \
	X(ADDRESS_SET, AddressSet, address_set)                                                                        \
	X(POLICY, Policy, policy)

enum kind {
#define X(upper, json, lower) KIND_##upper,
	KINDS(X)
#undef X
	KIND_COUNT
};

struct ip_list {
	const struct ip *v;
	uint32_t n;
};
struct prefix_list {
	const struct prefix *v;
	uint32_t n;
};
struct string_list {
	const char *const *v;
	uint32_t n;
};
struct host_prefix { /* "192.0.2.1/24": an address and the network it lies in */
	struct ip ip;
	struct prefix prefix;
};
struct host_prefix_list {
	const struct host_prefix *v;
	uint32_t n;
};

struct spec_node {
	const char *name;
	bool self;
	struct ip_list ips, node_port_addresses;
	struct prefix_list service_cidrs;
};

struct spec_subnet {
	struct prefix prefix;
	struct ip gateway;
};
struct spec_network {
	const char *name;
	uint32_t vni; /* 0: no overlay */
	enum { NETWORK_L3, NETWORK_L2 } mode;
	uint16_t mtu; /* 0: 1450 */
	const struct spec_subnet *subnets;
	uint32_t n_subnets;
	struct mac gateway_mac; /* zero: 02:00:00:00:00:01 */
	struct string_list uplinks;
	uint16_t vxlan_port; /* 0: 4789 */
	bool has_masquerade;
	struct {
		struct ip_list ips;
		struct prefix_list exclude;
		uint16_t port_first, port_last;
	} masquerade;
};

enum port_type { PORT_VHOST_USER, PORT_MEMIF, PORT_TAP, PORT_NIC, PORT_TEST };
enum port_role { ROLE_DEFAULT, ROLE_SERVER, ROLE_CLIENT };
struct spec_port {
	const char *name;
	enum port_type type;
	const char *socket; /* vhost-user, memif: path, absolute or below the socket folder */
	enum port_role role; /* ours: a server listens. Default: server */
	uint16_t queues;     /* pairs; 0: 1 */
	const char *socket_owner, *socket_mode; /* user name; octal text such as "0660" */
	uint32_t id;         /* memif */
	const char *secret;  /* memif */
	uint32_t ring_size;  /* memif; 0: 1024 */
	const char *netns, *ifname; /* tap: path of the namespace (NULL: our own), device name */
	struct mac mac;      /* tap: of the device, zero: random; */
	uint16_t mtu;        /* 0: the kind's default, 1500 */
	bool host;
	struct host_prefix_list ips; /* host and uplink ports */
	const char *device;  /* nic: PCI address or vdev arguments */
	bool uplink;
	uint16_t vlan;
};

struct spec_endpoint_port {
	const char *name;
	uint8_t protocol;
	uint16_t port;
};
enum anti_spoof { ANTI_SPOOF_STRICT, ANTI_SPOOF_MAC, ANTI_SPOOF_OFF };
struct spec_allowed {
	struct prefix ip;
	struct mac mac; /* zero: the endpoint's */
};
struct spec_endpoint {
	const char *name, *network, *port;
	struct mac mac;
	struct ip_list ips;
	const struct spec_endpoint_port *ports;
	uint32_t n_ports;
	enum anti_spoof anti_spoof;
	const struct spec_allowed *allowed;
	uint32_t n_allowed;
	struct prefix_list prefixes;
	bool admit_closed;
	bool admitted; /* no field of the object: it was covered already, in an earlier run */
	uint64_t ingress_bps, egress_bps;
};

struct spec_remote_endpoint {
	struct ip ip;
	struct mac mac;
};
struct spec_remote {
	const char *name, *network;
	struct ip vtep;
	struct mac mac;
	struct prefix_list prefixes;
	const struct spec_remote_endpoint *endpoints;
	uint32_t n_endpoints;
};

struct spec_next_hop {
	struct ip ip;
	const char *port;
	uint16_t weight;
};
struct spec_route {
	const char *name, *network;
	struct prefix prefix;
	const struct spec_next_hop *next_hops;
	uint32_t n_next_hops;
};

enum backend_state { BACKEND_READY, BACKEND_NOT_READY, BACKEND_TERMINATING, BACKEND_DRAINING };
struct spec_backend_port { /* a member of the JSON object "ports": {"http": 8080} */
	const char *name;
	uint16_t port;
};
struct spec_backend {
	struct ip ip;
	uint16_t weight; /* default 1 */
	enum backend_state state;
	const char *node;
	const struct spec_backend_port *ports;
	uint32_t n_ports;
};
struct spec_service_port {
	const char *name;
	uint8_t protocol;
	uint16_t port, target_port /* 0: as port */, node_port;
};
struct spec_service {
	const char *name, *network;
	struct ip_list ips, external_ips, load_balancer_ips;
	struct prefix_list source_ranges;
	uint32_t session_affinity_seconds;
	const struct spec_service_port *ports;
	uint32_t n_ports;
	bool internal_local, external_local;
	bool gone_timeout; /* onBackendGone: timeout instead of reset */
	const struct spec_backend *backends;
	uint32_t n_backends;
};

struct spec_address_set {
	const char *name, *network;
	struct prefix_list members;
};

enum policy_tier { TIER_ADMIN, TIER_NETWORK, TIER_BASELINE, TIER_COUNT };
enum rule_action { RULE_ACCEPT, RULE_DENY, RULE_PASS };
struct spec_peer { /* exactly one of set, has_cidr */
	const char *set;
	bool has_cidr;
	struct prefix cidr;
	struct prefix_list except;
};
struct spec_rule_port {
	uint8_t protocol;  /* default TCP */
	uint16_t port;     /* 0: the whole protocol */
	uint16_t end_port; /* 0: port alone */
	const char *port_name; /* a name instead of a number */
	bool has_icmp_type, has_icmp_code;
	uint8_t icmp_type, icmp_code;
};
struct spec_rule {
	const char *name;
	enum rule_action action;
	const struct spec_peer *peers; /* "from" or "to"; n == 0: every peer */
	uint32_t n_peers;
	const struct spec_rule_port *ports; /* n == 0: every port */
	uint32_t n_ports;
};
struct spec_policy {
	const char *name, *network;
	enum policy_tier tier;
	uint32_t priority;
	bool has_endpoints; /* false: all of the network */
	struct string_list endpoints;
	bool ingress_type, egress_type; /* the directions it speaks of; defaults worked out */
	bool enforce;
	bool connection_semantics;
	bool log;
	const struct spec_rule *ingress, *egress;
	uint32_t n_ingress, n_egress;
};

/* One object's spec, whatever its kind. */
union spec {
	const char *name; /* every kind begins with it */
	struct spec_node node;
	struct spec_network network;
	struct spec_port port;
	struct spec_endpoint endpoint;
	struct spec_remote remote;
	struct spec_route route;
	struct spec_service service;
	struct spec_address_set address_set;
	struct spec_policy policy;
};

#ifdef __cplusplus
}
#endif

#endif
