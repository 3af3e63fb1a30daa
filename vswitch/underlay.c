/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire that the node hangs on, and the node itself.
 *
 * The host port and the uplink share one MAC and are one wire to both sides: what the host says to anybody but a
 * pod goes out as it is, and what arrives for the node and is no tunnel packet of ours goes to the host as it is, so that its own ARP, ND,
 * DHCP and routing go on working. We resolve only our own next hops: of VTEPs, of Routes, and on the uplink's network whom pods talk to.
 */
#include <weft/base.h>

#include <rte_arp.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include <weft/clock.h>
#include <weft/neighbour.h>
#include <weft/offload.h>
#include <weft/pipeline.h>

#include "nd.h"
#include "parse.h"
#include "underlay.h"

#define HOLD_MS 1000

bool
is_tunnel(const struct config *c, const uint8_t *frame, uint16_t len)
{
	const struct rte_ether_hdr *eth = (const void *)frame;
	const struct rte_ipv4_hdr *ip = (const void *)(eth + 1);
	if (eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4) || len < sizeof(*eth) + sizeof(*ip) + sizeof(struct rte_udp_hdr))
		return false;
	/* What looks like a UDP header in a later fragment is none. */
	if (ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_OFFSET_MASK))
		return false;
	if (ip->next_proto_id != IPPROTO_UDP || ip->dst_addr != c->vtep_ip.w[3] || !ip_is4(&c->vtep_ip))
		return false;
	unsigned int ihl = (unsigned int)(ip->version_ihl & 15) * 4;
	if (ihl < sizeof(*ip) || sizeof(*eth) + ihl + sizeof(struct rte_udp_hdr) > len)
		return false;
	const struct rte_udp_hdr *udp = (const void *)((const uint8_t *)ip + ihl);
	return config_is_vxlan_port(c, rte_be_to_cpu_16(udp->dst_port));
}

/* Where a frame of the host wants to get: the IP destination, or what ARP or ND asks about. False: neither. */
static bool
wanted_address(const uint8_t *frame, uint16_t len, struct ip *out)
{
	const struct rte_ether_hdr *eth = (const void *)frame;
	const uint8_t *body = frame + sizeof(*eth);
	unsigned int room = len - (unsigned int)sizeof(*eth);
	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4) && room >= sizeof(struct rte_ipv4_hdr)) {
		*out = ip_from4(((const struct rte_ipv4_hdr *)body)->dst_addr);
		return true;
	}
	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP) && room >= sizeof(struct rte_arp_hdr)) {
		*out = ip_from4(((const struct rte_arp_hdr *)body)->arp_data.arp_tip);
		return true;
	}
	if (eth->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6) && room >= sizeof(struct rte_ipv6_hdr)) {
		const struct rte_ipv6_hdr *ip = (const void *)body;
		*out = ip_from6(ip->dst_addr);
		/* A neighbour solicitation goes to a multicast address: its target is what counts (RFC 4861 4.3). */
		if (ip->proto == IPPROTO_ICMPV6 && room >= sizeof(*ip) + 24 && body[sizeof(*ip)] == 135)
			*out = ip_from6(body + sizeof(*ip) + 8);
		return true;
	}
	return false;
}

/* Which network the node means by a service address: the first that has the service, or, of an address that none has, the first. */
static bool
service_network(const struct config *c, const struct ip *ip, uint32_t *network)
{
	const struct service_tables *s = &c->service;
	bool cluster = service_in_cidr(s, ip);
	if (!cluster && service_address_find(s, NETWORK_UNDERLAY, ip) == NULL)
		return false;
	uint32_t first = 0;
	for (uint32_t id = 1; id < c->n_networks; id++) {
		if (c->network[id] == NULL)
			continue;
		*network = id;
		if (service_address_find(s, id, ip) != NULL)
			return true;
		first = first == 0 ? id : first;
	}
	*network = first;
	return cluster && first != 0;
}

bool
host_means(const struct config *c, const uint8_t *frame, uint16_t len, uint32_t *network)
{
	struct ip wanted;
	if (!wanted_address(frame, len, &wanted) || config_is_node_ip(c, &wanted))
		return false;
	return config_host_network(c, &wanted, network) || service_network(c, &wanted, network);
}

static bool
is_discovery(const uint8_t *frame, uint16_t len)
{
	const struct rte_ether_hdr *eth = (const void *)frame;
	const struct rte_ipv6_hdr *ip = (const void *)(eth + 1);
	if (eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV6) || len < sizeof(*eth) + sizeof(*ip) + ND_BARE)
		return false;
	uint8_t type = frame[sizeof(*eth) + sizeof(*ip)];
	return ip->proto == IPPROTO_ICMPV6 && (type == ND_SOLICITATION || type == ND_ADVERTISEMENT);
}

static bool
has_node_ports(const struct service_tables *s, const struct ip *ip)
{
	for (uint32_t i = 0; s->n_node_ports != 0 && i < s->n_node_ips; i++)
		if (ip_equal(&s->node_ips[i], ip))
			return true;
	return false;
}

bool
concerns_pods(const struct config *c, const uint8_t *frame, uint16_t len)
{
	const struct rte_ether_hdr *eth = (const void *)frame;
	struct ip wanted;
	const struct service_tables *s = &c->service;
	if (c->watch.map.count == 0 && s->address.count == 0 && s->n_node_ports == 0 && !s->withdrawn)
		return false;
	if (is_discovery(frame, len))
		return true;
	if (rte_is_multicast_ether_addr(&eth->dst_addr) || !wanted_address(frame, len, &wanted))
		return false;
	/* Which connections outlive their service only their table knows. */
	return s->withdrawn || lpm_find(&c->watch, NETWORK_UNDERLAY, &wanted) != NULL ||
	       service_address_find(s, NETWORK_UNDERLAY, &wanted) != NULL || has_node_ports(s, &wanted);
}

/* RFC 826 */
static bool
write_arp(struct rte_mbuf *m, const struct neighbour *n, const struct mac *uplink)
{
	struct rte_ether_hdr *eth = (void *)rte_pktmbuf_append(m, sizeof(*eth) + sizeof(struct rte_arp_hdr));
	if (eth == NULL)
		return false;
	struct rte_arp_hdr *arp = (void *)(eth + 1);
	memset(&eth->dst_addr, 0xff, sizeof(eth->dst_addr));
	eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP);
	memset(arp, 0, sizeof(*arp));
	arp->arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER);
	arp->arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	arp->arp_hlen = RTE_ETHER_ADDR_LEN;
	arp->arp_plen = sizeof(uint32_t);
	arp->arp_opcode = RTE_BE16(RTE_ARP_OP_REQUEST);
	memcpy(&arp->arp_data.arp_sha, uplink, sizeof(*uplink));
	arp->arp_data.arp_sip = n->source.w[3];
	arp->arp_data.arp_tip = n->ip.w[3];
	return true;
}

/* A neighbour solicitation (RFC 4861 4.3) to the target's solicited-node group (RFC 4291 2.7.1). */
static bool
write_solicitation(struct rte_mbuf *m, const struct neighbour *n, const struct mac *uplink)
{
	struct {
		struct rte_ether_hdr eth;
		struct rte_ipv6_hdr ip;
		struct nd_message nd;
	} __rte_packed __rte_aligned(2) *f = (void *)rte_pktmbuf_append(m, sizeof(*f));
	if (f == NULL)
		return false;
	const uint8_t *last = &n->ip.b[13];
	memset(f, 0, sizeof(*f));
	f->eth.ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV6);
	memcpy(&f->eth.dst_addr, (const uint8_t[6]){0x33, 0x33, 0xff, last[0], last[1], last[2]}, 6);
	f->ip.vtc_flow = RTE_BE32(0x60000000);
	f->ip.payload_len = rte_cpu_to_be_16(sizeof(f->nd));
	f->ip.proto = IPPROTO_ICMPV6;
	f->ip.hop_limits = 255;
	memcpy(f->ip.src_addr, n->source.b, 16);
	memcpy(f->ip.dst_addr, (const uint8_t[16]){0xff, 2, [11] = 1, 0xff, last[0], last[1], last[2]}, 16);
	f->nd.type = ND_SOLICITATION;
	memcpy(f->nd.target, n->ip.b, 16);
	f->nd.option_type = ND_OPTION_SOURCE_LINK;
	f->nd.option_len = 1;
	memcpy(f->nd.option_mac, uplink, 6);
	uint32_t pseudo = (uint32_t)RTE_BE16(sizeof(f->nd)) + RTE_BE16(IPPROTO_ICMPV6);
	f->nd.checksum = (uint16_t)~__rte_raw_cksum_reduce(__rte_raw_cksum(f->ip.src_addr, 32 + sizeof(f->nd), pseudo));
	return true;
}

void
underlay_ask(struct worker *w, uint16_t id)
{
	const struct neighbour *n = &neighbour_table[id];
	const struct port *uplink = port_by_id(n->port);
	struct mac known;
	if (uplink == NULL)
		return;
	struct rte_mbuf *m = worker_create(w, n->port);
	if (m == NULL)
		return;
	if (ip_is4(&n->ip))
		write_arp(m, n, &uplink->mac);
	else
		write_solicitation(m, n, &uplink->mac);
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	memcpy(&eth->src_addr, &uplink->mac, sizeof(eth->src_addr));
	/* One that still answers is asked alone (RFC 1122 2.3.2.1, RFC 4861 7.3.3); one that is lost, by broadcast. */
	if (neighbour_mac(id, &known))
		memcpy(&eth->dst_addr, &known, sizeof(known));
	worker_transmit(w, n->port, &m, 1);
}

/* The MACs, destination and source, for a neighbour behind a port; 0: one that there is no room for. False: not known yet. */
static bool
find_macs(struct worker *w, uint16_t neighbour, uint16_t port, struct mac macs[2])
{
	const struct port *uplink = port_by_id(port);
	bool known = neighbour_mac(neighbour, &macs[0]);
	if (unlikely(neighbour_should_ask(neighbour, w->now_ms)))
		underlay_ask(w, neighbour);
	/* A packet may have waited while the uplink went and its id was given to another port. */
	if (unlikely(!known || uplink == NULL || !uplink->uplink))
		return false;
	macs[1] = uplink->mac;
	return true;
}

bool
underlay_macs(struct worker *w, const struct hop *hop, struct mac macs[2])
{
	return find_macs(w, hop->neighbour, hop->port, macs);
}

/* The same, into the frame. */
static bool
address(struct worker *w, struct rte_mbuf *m, uint16_t neighbour, uint16_t port)
{
	struct mac macs[2];
	if (unlikely(!find_macs(w, neighbour, port, macs)))
		return false;
	memcpy(rte_pktmbuf_mtod(m, void *), macs, sizeof(macs));
	return true;
}

/* What strangers are sent waits in half of the places at most: a pod that tries every address must not keep the tunnels from theirs. */
static bool
may_wait(const struct worker *w, bool stranger)
{
	unsigned int strangers = 0;
	for (unsigned int i = 0; stranger && i < w->n_held; i++)
		strangers += w->held[i].stranger;
	return w->n_held < HELD_MAX && strangers < HELD_MAX / 2;
}

static void
hold(struct worker *w, const struct held_packet *h)
{
	if (!may_wait(w, h->stranger)) {
		w->port[h->in_port].drop[DROP_NEIGHBOUR]++;
		rte_pktmbuf_free(h->m);
		return;
	}
	w->held[w->n_held++] = *h;
	w->count.held++;
}

void
underlay_hold(struct worker *w, struct rte_mbuf *m, const struct hop *hop, uint16_t in_port)
{
	const struct held_packet h = {.m = m,
				      .next = neighbour_table[hop->neighbour].ip,
				      .out_port = hop->port,
				      .in_port = in_port,
				      .since_ms = w->now_ms};
	hold(w, &h);
}

static struct ip
destination(const struct burst *b, uint32_t i)
{
	const struct packet *p = &b->p[i];
	const struct rte_ipv4_hdr *ip4 = packet_at(b, i, p->l3);
	const struct rte_ipv6_hdr *ip6 = packet_at(b, i, p->l3);
	return packet_is4(p) ? ip_from4(ip4->dst_addr) : ip_from6(ip6->dst_addr);
}

void
underlay_forward(struct worker *w, struct burst *b, uint32_t i, const struct hop *hop)
{
	struct packet *p = &b->p[i];
	struct held_packet h = {.m = b->m[i],
				.out_port = hop->port,
				.in_port = p->in_port,
				.since_ms = w->now_ms,
				.stranger = hop->neighbour == 0,
				.source = hop->source};
	uint16_t neighbour = hop->neighbour;
	if (h.stranger) {
		h.next = destination(b, i);
		neighbour = neighbour_link(hop->port, &h.next, &hop->source, w->now_ms);
	} else {
		h.next = neighbour_table[neighbour].ip;
	}
	if (likely(address(w, h.m, neighbour, hop->port))) {
		p->out_port = hop->port;
		burst_move(b, i, STAGE_TRANSMIT);
	} else if (offload_is_partial(h.m) && offload_complete(h.m, p->ip_end, p->proto == IPPROTO_UDP) < 0) {
		packet_drop(w, b, i, DROP_BAD_OFFLOAD);
	} else {
		hold(w, &h);
	}
}

void
underlay_pass(struct worker *w, struct burst *b, uint32_t i)
{
	struct packet *p = &b->p[i];
	if (b->config->host_port == PORT_NONE) {
		packet_drop(w, b, i, DROP_NO_HOST);
		return;
	}
	p->flags |= PACKET_NO_TTL;
	p->out_port = b->config->host_port;
	burst_move(b, i, STAGE_TRANSMIT);
}

/* Send what can be sent now, give up on what has waited too long. Order among the survivors is kept. */
static void
release_held(struct worker *w)
{
	unsigned int kept = 0;
	for (unsigned int i = 0; i < w->n_held; i++) {
		struct held_packet *h = &w->held[i];
		uint16_t neighbour = h->stranger ? neighbour_link(h->out_port, &h->next, &h->source, w->now_ms)
						 : neighbour_find(h->out_port, &h->next);
		if (address(w, h->m, neighbour, h->out_port)) {
			worker_transmit(w, h->out_port, &h->m, 1);
		} else if (clock_passed(w->now_ms, h->since_ms, HOLD_MS)) {
			w->port[h->in_port].drop[DROP_NEIGHBOUR]++;
			rte_pktmbuf_free(h->m);
		} else {
			w->held[kept++] = *h;
		}
	}
	w->count.held -= w->n_held - kept;
	w->n_held = kept;
}

void
underlay_housekeep(struct worker *w)
{
	if (w->n_held != 0)
		release_held(w);
	if (w->id == 0 && clock_passed(w->now_ms, w->aged_ms, 1000)) {
		w->aged_ms = w->now_ms;
		neighbour_age(w->now_ms);
	}
}
