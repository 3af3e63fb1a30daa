/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows from pods through Services, by arithmetic alone: flow number <-> client address and port, and a frame of it in
 * a few instructions, so that whoever generates them reads no table that would push the switch's tables out of the
 * caches.
 *
 * A client is a router pod (Endpoint.prefixes) with many addresses, a backend a pod with several. Which backend serves
 * a flow is the switch's choice: it is learned from the flow's first packet, one byte a flow.
 */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_ether.h>

#define FLOW_HEAD 64 /* bytes that are written for each frame */
#define FLOW_FIRST_PORT 1024
#define FLOW_CLIENT_SHIFT 12 /* 4096 client addresses: 10 million flows take 2442 ports of each */
#define FLOW_MAX (64000u << FLOW_CLIENT_SHIFT)

/* Addresses and ports in host order. A frame is from a client to a VIP, or from a backend to a client. */
struct flow_plan {
	uint32_t flows;
	uint32_t client, vip, backend; /* the first address of each */
	uint32_t vips, backends;       /* backends: at most 256 when they are learned */
	uint16_t vip_port, backend_port;
	uint16_t size; /* of a frame, without FCS */
	uint8_t protocol;
	struct rte_ether_addr client_mac, backend_mac, gateway_mac;
};

static inline uint32_t
flow_client(const struct flow_plan *p, uint32_t flow)
{
	return p->client + (flow & ((1u << FLOW_CLIENT_SHIFT) - 1));
}

static inline uint16_t
flow_port(uint32_t flow)
{
	return (uint16_t)(FLOW_FIRST_PORT + (flow >> FLOW_CLIENT_SHIFT));
}

/* Neighbouring flows go to different services. */
static inline uint32_t
flow_vip(const struct flow_plan *p, uint32_t flow)
{
	return p->vip + (uint32_t)(((uint64_t)(flow * 0x9e3779b1u) * p->vips) >> 32);
}

/* The number of the flow whose client this is; at least p->flows when it is none of ours. */
static inline uint32_t
flow_number(const struct flow_plan *p, uint32_t client, uint16_t port)
{
	return ((uint32_t)(port - FLOW_FIRST_PORT) << FLOW_CLIENT_SHIFT) | (client - p->client);
}

/* xorshift64* (Vigna 2016): what no prefetcher foresees. */
static inline uint32_t
flow_random(uint64_t *state, uint32_t flows)
{
	uint64_t x = *state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return (uint32_t)(((x * 0x2545f4914f6cdd1dull >> 32) * flows) >> 32);
}

/* All of a side's frames but for addresses and ports, with the sums of what is there. */
struct flow_side {
	uint8_t head[FLOW_HEAD];
	uint32_t ip_sum, l4_sum;
	uint16_t size, sum_at; /* sum_at: of the L4 checksum */
};

/* A UDP datagram, or a SYN when p->protocol is TCP. side 0: the client's. */
void flow_side_init(struct flow_side *s, const struct flow_plan *p, int side);
/* Is a frame that reached a side what a Service makes of it? At the backends (side 1) its destination is one of them,
 * at the clients its source the Service's address; MAC and port are theirs, too. */
bool flow_is_translated(const struct flow_plan *p, const uint8_t *frame, int side);
/* Routers that it passed. */
unsigned int flow_hops(const uint8_t *frame);
/* The bytes of a frame past FLOW_HEAD are the same for all: fill them once. */
void flow_fill(uint8_t *frame, unsigned int size);
/* Are its length and its checksums right? */
bool flow_frame_is_right(const uint8_t *frame, unsigned int size);

static inline uint16_t
flow_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

#define FLOW_SRC_AT 26
#define FLOW_DST_AT 30
#define FLOW_PORTS_AT 34

/* Write a frame; addresses and ports in host order. */
static inline void
flow_frame(const struct flow_side *s, uint8_t *frame, uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport)
{
	uint32_t address[2] = {rte_cpu_to_be_32(src), rte_cpu_to_be_32(dst)};
	uint16_t port[2] = {rte_cpu_to_be_16(sport), rte_cpu_to_be_16(dport)};
	uint32_t sum = (address[0] & 0xffff) + (address[0] >> 16) + (address[1] & 0xffff) + (address[1] >> 16);
	uint16_t ip_sum = flow_fold(s->ip_sum + sum);
	uint16_t l4_sum = flow_fold(s->l4_sum + sum + port[0] + port[1]);
	if (unlikely(l4_sum == 0))
		l4_sum = 0xffff;
	memcpy(frame, s->head, FLOW_HEAD);
	memcpy(frame + 24, &ip_sum, 2);
	memcpy(frame + FLOW_SRC_AT, address, 8);
	memcpy(frame + FLOW_PORTS_AT, port, 4);
	memcpy(frame + s->sum_at, &l4_sum, 2);
}

/* The flow that a frame belongs to, by its client: the source in a frame of the client's side, else the destination. */
static inline uint32_t
flow_of(const struct flow_plan *p, const uint8_t *frame, bool from_client)
{
	uint32_t address;
	uint16_t port;
	memcpy(&address, frame + (from_client ? FLOW_SRC_AT : FLOW_DST_AT), 4);
	memcpy(&port, frame + FLOW_PORTS_AT + (from_client ? 0 : 2), 2);
	return flow_number(p, rte_be_to_cpu_32(address), rte_be_to_cpu_16(port));
}

static inline uint32_t
flow_destination(const uint8_t *frame)
{
	uint32_t address;
	memcpy(&address, frame + FLOW_DST_AT, 4);
	return rte_be_to_cpu_32(address);
}

/* Is it a frame of ours, in length and kind, and not ARP, ND or an ICMP error? */
static inline bool
flow_is_ours(const struct flow_plan *p, const uint8_t *frame, unsigned int length)
{
	return length >= 42 && frame[12] == 8 && frame[13] == 0 && frame[23] == p->protocol;
}

/* Send a frame back to where it came from: MACs, addresses and ports change places, and every checksum stays right. */
static inline void
flow_turn(uint8_t *frame)
{
	uint8_t mac[6];
	uint32_t address[2];
	uint16_t port[2];
	memcpy(mac, frame, 6);
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, mac, 6);
	memcpy(address, frame + FLOW_SRC_AT, 8);
	memcpy(frame + FLOW_SRC_AT, &address[1], 4);
	memcpy(frame + FLOW_DST_AT, &address[0], 4);
	memcpy(port, frame + FLOW_PORTS_AT, 4);
	memcpy(frame + FLOW_PORTS_AT, &port[1], 2);
	memcpy(frame + FLOW_PORTS_AT + 2, &port[0], 2);
}

/*
 * The next words of a TCP conversation: SYN, SYN+ACK, ACK and a request, an answer, FIN both ways, ACK. Turns the frame
 * that arrived into the answer to it; false when nothing answers it. *data: it was the client's ACK, and a request
 * follows it (flow_tcp_request in a frame of its own). *over: the conversation is complete.
 */
#define FLOW_TCP_LENGTH 54 /* of a frame without data */
#define FLOW_TCP_DATA 10   /* bytes of a request and of an answer */
bool flow_tcp_answer(uint8_t *frame, uint16_t *length, bool *data, bool *over);
/* `frame` is the client's ACK; write the request that goes with it. */
void flow_tcp_request(uint8_t *request, const uint8_t *frame, uint16_t *length);

#endif
