/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a packet was dropped: the one list. A drop is counted at the port that the packet came in by, except those marked (tx), counted
 * at the port that it was to leave by. Names are part of the interface (`weft drops`, metrics): add, don't rename.
 */
#ifndef WEFT_DROP_H
#define WEFT_DROP_H

#define DROP_REASONS(X)                                                                                                              \
	X(NO_ENDPOINT, "no_endpoint", "the port carries no endpoint yet")                                                            \
	X(RUNT, "runt", "shorter than the headers it claims to have")                                                                \
	X(ETHERTYPE, "ethertype", "neither IPv4, IPv6 nor ARP")                                                                      \
	X(NOT_FOR_US, "not_for_us", "destination MAC is not the gateway's or the port's")                                            \
	X(MULTICAST, "multicast", "multicast or broadcast that nobody here takes")                                                   \
	X(IP_HEADER, "ip_header", "malformed IPv4 or IPv6 header")                                                                   \
	X(IP_CHECKSUM, "ip_checksum", "wrong IPv4 header checksum")                                                                  \
	X(L4_HEADER, "l4_header", "malformed or truncated TCP, UDP or ICMP header")                                                  \
	X(BAD_OFFLOAD, "bad_offload", "partial checksum that does not fit the packet")                                               \
	X(EXT_HEADERS, "ext_headers", "IPv6 extension header chain too long, or a routing header of type 0")                         \
	X(FRAGMENT, "fragment", "fragment whose first was not let through, or of what may not come in fragments")                    \
	X(FRAGMENT_TINY, "fragment_tiny", "first fragment without the whole L4 header")                                              \
	X(FRAGMENT_OVERLAP, "fragment_overlap", "fragment of a datagram whose fragments overlap or contradict each other")           \
	X(FRAGMENT_DUPLICATE, "fragment_duplicate", "fragment that was there before")                                                \
	X(FRAGMENT_TIMEOUT, "fragment_timeout", "fragment whose first did not come in time")                                         \
	X(FRAGMENT_LIMIT, "fragment_limit", "its source has too many fragments under way, or the datagram too many")                 \
	X(BAD_ADDRESS, "bad_address", "source or destination address that must not be on the wire here")                             \
	X(TTL, "ttl", "TTL or hop limit was zero, or ran out and no error may be sent")                                              \
	X(SPOOFED_MAC, "spoofed_mac", "source MAC is not the endpoint's")                                                            \
	X(SPOOFED_IP, "spoofed_ip", "source address does not belong to where the packet came from")                                  \
	X(SPOOFED_ARP, "spoofed_arp", "ARP or ND speaks for an address that is not the sender's")                                    \
	X(ARP, "arp", "malformed ARP, or ARP that needs no answer")                                                                  \
	X(ND, "nd", "malformed neighbour discovery, or one that needs no answer")                                                    \
	X(LINK_LIMIT, "link_limit", "ARP or ND that was due an answer, but the port asks too fast")                                  \
	X(NO_ROUTE, "no_route", "no endpoint, remote or route for the destination")                                                  \
	X(PORT_PENDING, "port_pending", "the destination endpoint's port does not exist yet")                                        \
	X(POLICY_INGRESS, "policy_ingress", "denied by policy at the destination")                                                   \
	X(POLICY_EGRESS, "policy_egress", "denied by policy at the source")                                                          \
	X(ADMISSION, "admission", "waited too long, or behind too many, for an endpoint to be admitted")                             \
	X(SERVICE_NO_BACKEND, "service_no_backend", "the service has no backend that takes connections")                             \
	X(SERVICE_NO_LOCAL_BACKEND, "service_no_local_backend", "the traffic policy is Local and no backend is on this node")        \
	X(BACKEND_GONE, "backend_gone", "the connection's backend left its service, and there is no way to it any more")             \
	X(SERVICE_SOURCE_RANGE, "service_source_range", "the client is in none of the service's sourceRanges")                       \
	X(SERVICE_UNKNOWN, "service_unknown", "unknown port of a service, or an unused service address")                             \
	X(INVALID_STATE, "invalid_state", "segment that can neither start nor continue a connection")                                \
	X(INVALID_WINDOW, "invalid_window", "TCP segment outside the window that its receiver offers")                                \
	X(CONNECTIONS_FULL, "connections_full", "the connection table is full")                                                      \
	X(CONNECTIONS_QUOTA, "connections_quota", "who opens it has as many connections as one endpoint may have")                    \
	X(NEW_RATE, "new_rate", "the port opens connections faster than its token bucket allows")                                    \
	X(NAT_CLASH, "nat_clash", "no free source port for a translated connection")                                                 \
	X(NAT_PORTS, "nat_ports", "no free port of the masquerade address towards this destination")                                \
	X(FORGED_TUNNEL, "forged_tunnel", "VXLAN that a pod would send in the name of the node")                                    \
	X(ICMP_UNRELATED, "icmp_unrelated", "ICMP error that quotes no known connection")                                            \
	X(ICMP_LIMIT, "icmp_limit", "an error was due but the rate of errors is limited")                                            \
	X(MTU, "mtu", "larger than the way out allows; the sender was told where it could be")                                       \
	X(VXLAN_HEADER, "vxlan_header", "malformed VXLAN, or its I flag is clear")                                                   \
	X(VXLAN_CHECKSUM, "vxlan_checksum", "outer UDP checksum is wrong")                                                           \
	X(VXLAN_VTEP, "vxlan_vtep", "VXLAN from an address that is no configured VTEP of the network")                               \
	X(VXLAN_VNI, "vxlan_vni", "VXLAN with a VNI that no network here has")                                                       \
	X(NO_UPLINK, "no_uplink", "there is no uplink to send it by")                                                                \
	X(NO_HOST, "no_host", "there is no host port to give it to")                                                                 \
	X(NEIGHBOUR, "neighbour", "the next hop on the underlay did not answer in time, or too many packets wait for one")              \
	X(NO_MBUF, "no_mbuf", "no packet buffer was free to make a packet from")                                                     \
	X(HANDOFF_FULL, "handoff_full", "another worker's inbox was full")                                                           \
	X(TX_FULL, "tx_full", "(tx) the peer did not take it in time: ring full, or nobody there")                                   \
	X(PORT_GONE, "port_gone", "(tx) the port was removed while the packet was on its way")

enum drop_reason {
#define X(upper, name, help) DROP_##upper,
	DROP_REASONS(X)
#undef X
	DROP_REASON_COUNT
};

#ifdef __cplusplus
extern "C" {
#endif

struct drop_text {
	const char *name, *help;
};
extern const struct drop_text drop_texts[DROP_REASON_COUNT]; /* vswitch/drop.c */

#ifdef __cplusplus
}
#endif

#endif
