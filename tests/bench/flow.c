/* SPDX-License-Identifier: Apache-2.0 */
#include "flow.h"

#include <netinet/in.h>

#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#define TTL 64
#define FIRST_SEQUENCE 1000
#define WINDOW 0xffff

struct head {
	struct rte_ether_hdr eth;
	struct rte_ipv4_hdr ip;
	union {
		struct rte_udp_hdr udp;
		struct rte_tcp_hdr tcp;
	};
} __rte_packed __rte_aligned(2);

static_assert(sizeof(struct head) == FLOW_TCP_LENGTH && sizeof(struct head) <= FLOW_HEAD,
	      "written anew for each frame");

static void
udp_init(struct head *h, uint16_t ip_length)
{
	h->udp.dgram_len = rte_cpu_to_be_16((uint16_t)(ip_length - sizeof(h->ip)));
}

static void
syn_init(struct head *h)
{
	h->tcp.sent_seq = RTE_BE32(FIRST_SEQUENCE);
	h->tcp.data_off = sizeof(h->tcp) / 4 << 4;
	h->tcp.tcp_flags = RTE_TCP_SYN_FLAG;
	h->tcp.rx_win = RTE_BE16(WINDOW);
}

void
flow_fill(uint8_t *frame, unsigned int size)
{
	for (unsigned int i = sizeof(struct head); i < size; i++)
		frame[i] = (uint8_t)(i * 7);
}

void
flow_side_init(struct flow_side *s, const struct flow_plan *p, int side)
{
	uint8_t whole[RTE_ETHER_MAX_LEN] __rte_aligned(4) = {0};
	struct head *h = (struct head *)whole;
	bool tcp = p->protocol == IPPROTO_TCP;
	memset(s, 0, sizeof(*s));
	s->size = tcp ? FLOW_TCP_LENGTH : p->size;
	s->sum_at = (uint16_t)(tcp ? offsetof(struct head, tcp.cksum) : offsetof(struct head, udp.dgram_cksum));
	uint16_t ip_length = (uint16_t)(s->size - sizeof(h->eth));
	h->eth = (struct rte_ether_hdr){p->gateway_mac, side == 0 ? p->client_mac : p->backend_mac,
					RTE_BE16(RTE_ETHER_TYPE_IPV4)};
	h->ip = (struct rte_ipv4_hdr){.version_ihl = RTE_IPV4_VHL_DEF,
				      .total_length = rte_cpu_to_be_16(ip_length),
				      .fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
				      .time_to_live = TTL,
				      .next_proto_id = p->protocol};
	if (tcp) {
		syn_init(h);
	} else {
		udp_init(h, ip_length);
		flow_fill(whole, s->size);
	}
	/* Addresses and ports are 0 here, and added to the sums of the rest for each frame. */
	s->ip_sum = (uint16_t)~rte_ipv4_cksum(&h->ip);
	s->l4_sum = (uint16_t)~rte_ipv4_udptcp_cksum(&h->ip, &h->udp);
	memcpy(s->head, whole, FLOW_HEAD);
}

bool
flow_frame_is_right(const uint8_t *frame, unsigned int size)
{
	const struct head *h = (const struct head *)frame;
	if (size < sizeof(h->eth) + sizeof(h->ip) + sizeof(h->udp) ||
	    rte_be_to_cpu_16(h->ip.total_length) + sizeof(h->eth) != size)
		return false;
	return rte_ipv4_cksum(&h->ip) == 0 && rte_ipv4_udptcp_cksum_verify(&h->ip, &h->udp) == 0;
}

bool
flow_is_translated(const struct flow_plan *p, const uint8_t *frame, int side)
{
	const struct head *h = (const struct head *)frame;
	uint32_t src = rte_be_to_cpu_32(h->ip.src_addr), dst = rte_be_to_cpu_32(h->ip.dst_addr);
	uint16_t sport = rte_be_to_cpu_16(h->udp.src_port), dport = rte_be_to_cpu_16(h->udp.dst_port);
	if (side == 1)
		return rte_is_same_ether_addr(&h->eth.dst_addr, &p->backend_mac) && dst - p->backend < p->backends &&
		       dport == p->backend_port;
	return rte_is_same_ether_addr(&h->eth.dst_addr, &p->client_mac) &&
	       src == flow_vip(p, flow_number(p, dst, dport)) && sport == p->vip_port;
}

unsigned int
flow_hops(const uint8_t *frame)
{
	return TTL - ((const struct head *)frame)->ip.time_to_live;
}

static unsigned int
data_length(const struct head *h)
{
	return rte_be_to_cpu_16(h->ip.total_length) - sizeof(h->ip) - (h->tcp.data_off >> 4) * 4u;
}

/* TTL as if sent anew: a frame that goes to and fro would run out of it. */
static void
finish(struct head *h, uint16_t length)
{
	h->ip.time_to_live = TTL;
	h->ip.total_length = rte_cpu_to_be_16((uint16_t)(length - sizeof(h->eth)));
	h->ip.hdr_checksum = 0;
	h->ip.hdr_checksum = rte_ipv4_cksum(&h->ip);
	h->tcp.cksum = 0;
	h->tcp.cksum = rte_ipv4_udptcp_cksum(&h->ip, &h->tcp);
}

static uint16_t
add_data(struct head *h)
{
	h->tcp.tcp_flags |= RTE_TCP_PSH_FLAG;
	memset(h + 1, 'w', FLOW_TCP_DATA);
	return sizeof(*h) + FLOW_TCP_DATA;
}

/* What comes is told by its flags; SYN+ACK goes to the client, so does PSH from the side whose port is ours. */
bool
flow_tcp_answer(uint8_t *frame, uint16_t *length, bool *data, bool *over)
{
	struct head *h = (struct head *)frame;
	uint8_t flags = h->tcp.tcp_flags;
	bool at_client = rte_be_to_cpu_16(h->tcp.dst_port) >= FLOW_FIRST_PORT;
	uint32_t taken = data_length(h) + ((flags & (RTE_TCP_SYN_FLAG | RTE_TCP_FIN_FLAG)) != 0);
	uint32_t next = rte_be_to_cpu_32(h->tcp.sent_seq) + taken, ours = rte_be_to_cpu_32(h->tcp.recv_ack);
	*data = *over = false;
	if (taken == 0) {
		*over = !at_client && ours != FIRST_SEQUENCE + 1;
		return false;
	}
	flow_turn(frame);
	*length = sizeof(*h);
	h->tcp.recv_ack = rte_cpu_to_be_32(next);
	h->tcp.sent_seq = rte_cpu_to_be_32(flags & RTE_TCP_ACK_FLAG ? ours : FIRST_SEQUENCE);
	h->tcp.tcp_flags = RTE_TCP_ACK_FLAG;
	if (flags & RTE_TCP_SYN_FLAG) {
		*data = at_client;
		if (!at_client)
			h->tcp.tcp_flags |= RTE_TCP_SYN_FLAG;
	} else if (flags & RTE_TCP_FIN_FLAG) {
		if (!at_client)
			h->tcp.tcp_flags |= RTE_TCP_FIN_FLAG;
	} else if (at_client) {
		h->tcp.tcp_flags |= RTE_TCP_FIN_FLAG;
	} else {
		*length = add_data(h);
	}
	finish(h, *length);
	return true;
}

void
flow_tcp_request(uint8_t *request, const uint8_t *frame, uint16_t *length)
{
	struct head *h = (struct head *)request;
	memcpy(request, frame, sizeof(*h));
	*length = add_data(h);
	finish(h, *length);
}
