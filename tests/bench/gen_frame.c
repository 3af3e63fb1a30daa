/* SPDX-License-Identifier: Apache-2.0 */
#include "gen.h"

#include <stdlib.h>

#include <rte_ip.h>
#include <rte_udp.h>

#define MAGIC UINT64_C(0x7765667467656e31)
#define FIRST_PORT 1024

struct frame {
	struct rte_ether_hdr eth;
	struct rte_ipv4_hdr ip;
	struct rte_udp_hdr udp;
	unaligned_uint64_t magic;
} __rte_packed __rte_aligned(2);

static_assert(sizeof(struct frame) <= GEN_HEAD, "what is written anew for each frame");

static void
template_init(struct frame *t, const struct gen_options *o, int side)
{
	uint16_t ip_len = (uint16_t)(o->size - sizeof(t->eth));
	*t = (struct frame){
		.eth = {o->gateway[side], o->mac[side], RTE_BE16(RTE_ETHER_TYPE_IPV4)},
		.ip = {.version_ihl = RTE_IPV4_VHL_DEF,
		       .total_length = rte_cpu_to_be_16(ip_len),
		       .fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
		       .time_to_live = 64,
		       .next_proto_id = IPPROTO_UDP},
		.udp = {.dgram_len = rte_cpu_to_be_16((uint16_t)(ip_len - sizeof(t->ip)))},
		.magic = MAGIC,
	};
}

/* B's flows are the answers to A's: the same tuples, turned round. */
static void
flow_init(struct gen_flow *f, const struct gen_options *o, int side, uint32_t i, struct frame *t)
{
	uint32_t client = rte_cpu_to_be_32(rte_be_to_cpu_32(o->ip[0]) + i % o->src_ips);
	uint16_t port = rte_cpu_to_be_16((uint16_t)(FIRST_PORT + i / o->src_ips)), to = rte_cpu_to_be_16(o->dst_port);
	*f = side == 0 ? (struct gen_flow){.src = client, .dst = o->dst_ip, .sport = port, .dport = to}
		       : (struct gen_flow){.src = o->ip[1], .dst = client, .sport = to, .dport = port};
	t->ip.src_addr = f->src;
	t->ip.dst_addr = f->dst;
	t->udp.src_port = f->sport;
	t->udp.dst_port = f->dport;
	t->ip.hdr_checksum = 0;
	t->udp.dgram_cksum = 0;
	f->ip_sum = rte_ipv4_cksum(&t->ip);
	f->udp_sum = rte_ipv4_udptcp_cksum(&t->ip, &t->udp);
}

static void
buffer_init(struct rte_mempool *pool, void *whole, void *obj, unsigned int i)
{
	struct rte_mbuf *m = obj;
	memcpy((char *)m->buf_addr + RTE_PKTMBUF_HEADROOM, whole, GEN_SIZE_MAX);
}

int
gen_frames_init(struct gen_frames *f, const struct gen_options *o, int side, struct rte_mempool *pool)
{
	union {
		struct frame frame;
		uint8_t bytes[GEN_SIZE_MAX];
	} whole;
	memset(&whole, 0, sizeof(whole));
	for (unsigned int i = sizeof(struct frame); i < sizeof(whole); i++)
		whole.bytes[i] = (uint8_t)(i * 7);
	template_init(&whole.frame, o, side);
	*f = (struct gen_frames){.n = o->flows, .size = o->size, .flow = calloc(o->flows, sizeof(*f->flow))};
	if (f->flow == NULL)
		return -1;
	for (uint32_t i = 0; i < f->n; i++)
		flow_init(&f->flow[i], o, side, i, &whole.frame);
	memcpy(f->head, &whole, GEN_HEAD);
	rte_mempool_obj_iter(pool, buffer_init, &whole);
	return 0;
}

void
gen_frames_fini(struct gen_frames *f)
{
	free(f->flow);
	f->flow = NULL;
}

unsigned int
gen_frames_make(struct gen_frames *f, struct rte_mempool *pool, struct rte_mbuf **m, unsigned int n)
{
	if (rte_pktmbuf_alloc_bulk(pool, m, n) != 0)
		return 0;
	for (unsigned int i = 0; i < n; i++) {
		const struct gen_flow *flow = &f->flow[f->next];
		if (++f->next == f->n)
			f->next = 0;
		struct frame *p = rte_pktmbuf_mtod(m[i], struct frame *);
		memcpy(p, f->head, GEN_HEAD);
		p->ip.src_addr = flow->src;
		p->ip.dst_addr = flow->dst;
		p->ip.hdr_checksum = flow->ip_sum;
		p->udp.src_port = flow->sport;
		p->udp.dst_port = flow->dport;
		p->udp.dgram_cksum = flow->udp_sum;
		m[i]->data_len = f->size;
		m[i]->pkt_len = f->size;
	}
	return n;
}

bool
gen_frame_is_ours(const struct rte_mbuf *m)
{
	const struct frame *p = rte_pktmbuf_mtod(m, const struct frame *);
	return m->data_len >= sizeof(*p) && p->magic == MAGIC;
}

bool
gen_frame_is_right(const struct rte_mbuf *m)
{
	const struct frame *p = rte_pktmbuf_mtod(m, const struct frame *);
	if (rte_be_to_cpu_16(p->ip.total_length) + sizeof(p->eth) != m->data_len || m->nb_segs != 1)
		return false;
	return rte_ipv4_cksum(&p->ip) == 0 && rte_ipv4_udptcp_cksum_verify(&p->ip, &p->udp) == 0;
}
