/* SPDX-License-Identifier: Apache-2.0 */
#include "gen_tunnel.h"

#include <string.h>

#include <rte_arp.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <rte_vxlan.h>

#define VXLAN_PORT 4789
#define TTL 64
#define VNI_FLAG (1u << 27) /* RFC 7348: I, and all else 0 */
#define ASK_S 0.02          /* between questions who has the switch's address */

struct outer {
	struct rte_ether_hdr eth;
	struct rte_ipv4_hdr ip;
	struct rte_udp_hdr udp;
	struct rte_vxlan_hdr vxlan;
} __rte_packed __rte_aligned(2);
static_assert(sizeof(struct outer) == GEN_TUNNEL_LENGTH, "what a frame grows by");

struct arp {
	struct rte_ether_hdr eth;
	struct rte_arp_hdr arp;
} __rte_packed __rte_aligned(2);

static struct {
	const struct gen_options *o;
	struct rte_mempool *pool;
	struct outer outer; /* lengths, their sum and the source port are 0 */
	uint32_t ip_sum;
	bool known; /* the switch's MAC */
	uint64_t asked;
	uint8_t ports_seen[65536 / 8];
	uint32_t n_ports;
} tunnel;

void
gen_tunnel_init(const struct gen_options *o, struct rte_mempool *pool)
{
	memset(&tunnel, 0, sizeof(tunnel));
	tunnel.o = o;
	tunnel.pool = pool;
	struct outer *t = &tunnel.outer;
	t->eth = (struct rte_ether_hdr){.src_addr = o->mac[1], .ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4)};
	t->ip = (struct rte_ipv4_hdr){.version_ihl = RTE_IPV4_VHL_DEF,
				      .fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
				      .time_to_live = TTL,
				      .next_proto_id = IPPROTO_UDP,
				      .src_addr = o->vtep[1],
				      .dst_addr = o->vtep[0]};
	t->udp.dst_port = RTE_BE16(VXLAN_PORT);
	t->vxlan.vx_flags = RTE_BE32(VNI_FLAG);
	t->vxlan.vx_vni = rte_cpu_to_be_32(o->vni << 8);
	tunnel.ip_sum = (uint16_t)~rte_ipv4_cksum(&t->ip);
}

static void
speak(uint16_t port, uint16_t op, const struct rte_ether_addr *to)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(tunnel.pool);
	if (m == NULL)
		return;
	struct arp *p = (struct arp *)rte_pktmbuf_append(m, RTE_ETHER_MIN_LEN);
	memset(p, 0, RTE_ETHER_MIN_LEN);
	p->eth = (struct rte_ether_hdr){.src_addr = tunnel.o->mac[1], .ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP)};
	p->arp = (struct rte_arp_hdr){
		.arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER),
		.arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4),
		.arp_hlen = RTE_ETHER_ADDR_LEN,
		.arp_plen = 4,
		.arp_opcode = rte_cpu_to_be_16(op),
		.arp_data = {.arp_sha = tunnel.o->mac[1], .arp_sip = tunnel.o->vtep[1], .arp_tip = tunnel.o->vtep[0]}};
	if (to != NULL)
		p->eth.dst_addr = p->arp.arp_data.arp_tha = *to;
	else
		memset(&p->eth.dst_addr, 0xff, RTE_ETHER_ADDR_LEN);
	if (rte_eth_tx_burst(port, 0, &m, 1) == 0)
		rte_pktmbuf_free(m);
}

bool
gen_tunnel_knows_peer(uint16_t port)
{
	uint64_t now = rte_rdtsc();
	if (!tunnel.known && (double)(now - tunnel.asked) > ASK_S * (double)rte_get_tsc_hz()) {
		speak(port, RTE_ARP_OP_REQUEST, NULL);
		tunnel.asked = now;
	}
	return tunnel.known;
}

/* From one inner flow always the same; the rest of the outer header is the same for all. */
static inline rte_be16_t
source_port(const uint8_t *inner)
{
	uint32_t word[3];
	memcpy(word, inner + 26, sizeof(word)); /* addresses and ports */
	uint32_t hash = ((word[0] + word[1] * 31) ^ word[2]) * 0x9e3779b1u;
	return rte_cpu_to_be_16((uint16_t)(0xc000 | hash >> 18));
}

void
gen_tunnel_wrap(struct rte_mbuf **m, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		const uint8_t *inner = rte_pktmbuf_mtod(m[i], const uint8_t *);
		rte_be16_t sport = source_port(inner);
		uint16_t length = m[i]->data_len;
		struct outer *p = (struct outer *)rte_pktmbuf_prepend(m[i], GEN_TUNNEL_LENGTH);
		memcpy(p, &tunnel.outer, sizeof(*p));
		p->udp.src_port = sport;
		p->udp.dgram_len = rte_cpu_to_be_16((uint16_t)(length + sizeof(p->udp) + sizeof(p->vxlan)));
		p->ip.total_length =
			rte_cpu_to_be_16((uint16_t)(length + sizeof(p->ip) + sizeof(p->udp) + sizeof(p->vxlan)));
		uint32_t sum = tunnel.ip_sum + p->ip.total_length;
		p->ip.hdr_checksum = (uint16_t) ~((sum & 0xffff) + (sum >> 16));
	}
}

static void
hear(uint16_t port, const struct rte_mbuf *m)
{
	const struct arp *p = rte_pktmbuf_mtod(m, const struct arp *);
	if (m->data_len < sizeof(*p) || p->arp.arp_data.arp_sip != tunnel.o->vtep[0] ||
	    p->arp.arp_data.arp_tip != tunnel.o->vtep[1])
		return;
	tunnel.outer.eth.dst_addr = p->arp.arp_data.arp_sha;
	tunnel.known = true;
	if (p->arp.arp_opcode == RTE_BE16(RTE_ARP_OP_REQUEST))
		speak(port, RTE_ARP_OP_REPLY, &p->arp.arp_data.arp_sha);
}

/* To us, of our network, as long as it says. */
static inline bool
is_ours(const struct rte_mbuf *m)
{
	const struct outer *p = rte_pktmbuf_mtod(m, const struct outer *);
	return m->data_len > sizeof(*p) && p->eth.ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4) &&
	       rte_is_same_ether_addr(&p->eth.dst_addr, &tunnel.o->mac[1]) && p->ip.version_ihl == RTE_IPV4_VHL_DEF &&
	       p->ip.next_proto_id == IPPROTO_UDP && p->ip.src_addr == tunnel.o->vtep[0] &&
	       p->ip.dst_addr == tunnel.o->vtep[1] && p->udp.dst_port == RTE_BE16(VXLAN_PORT) &&
	       p->vxlan.vx_flags == RTE_BE32(VNI_FLAG) && p->vxlan.vx_vni == tunnel.outer.vxlan.vx_vni;
}

/* The sum of the outer IPv4 header, and lengths; a UDP checksum that is not 0 must be right, too (RFC 7348). */
static bool
is_right(const struct rte_mbuf *m)
{
	const struct outer *p = rte_pktmbuf_mtod(m, const struct outer *);
	return rte_ipv4_cksum(&p->ip) == 0 && rte_be_to_cpu_16(p->ip.total_length) + sizeof(p->eth) == m->data_len &&
	       rte_be_to_cpu_16(p->udp.dgram_len) + sizeof(p->ip) == rte_be_to_cpu_16(p->ip.total_length) &&
	       (p->udp.dgram_cksum == 0 || rte_ipv4_udptcp_cksum_verify(&p->ip, &p->udp) == 0);
}

static void
note_port(rte_be16_t port)
{
	uint8_t *byte = &tunnel.ports_seen[port / 8], bit = (uint8_t)(1 << port % 8);
	tunnel.n_ports += (*byte & bit) == 0;
	*byte |= bit;
}

unsigned int
gen_tunnel_unwrap(uint16_t port, struct rte_mbuf **m, unsigned int n, struct gen_count *count)
{
	unsigned int kept = 0;
	for (unsigned int i = 0; i < n; i++) {
		if (unlikely(!is_ours(m[i]))) {
			if (rte_pktmbuf_mtod(m[i], struct rte_ether_hdr *)->ether_type == RTE_BE16(RTE_ETHER_TYPE_ARP))
				hear(port, m[i]);
			count->other++;
			rte_pktmbuf_free(m[i]);
			continue;
		}
		/* One of each burst is looked at closely. */
		if (kept == 0) {
			count->bad += !is_right(m[i]);
			note_port(rte_pktmbuf_mtod(m[i], struct outer *)->udp.src_port);
		}
		rte_pktmbuf_adj(m[i], GEN_TUNNEL_LENGTH);
		m[kept++] = m[i];
	}
	return kept;
}

uint32_t
gen_tunnel_source_ports(void)
{
	return tunnel.n_ports;
}
