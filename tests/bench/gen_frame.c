/* SPDX-License-Identifier: Apache-2.0 */
#include "gen.h"

#include <stdlib.h>

#include <rte_ip.h>
#include <rte_udp.h>

#define MAGIC UINT64_C(0x7765667467656e31)
#define FIRST_PORT 1024
#define TTL 64

struct frame {
	struct rte_ether_hdr eth;
	struct rte_ipv4_hdr ip;
	struct rte_udp_hdr udp;
	unaligned_uint64_t magic;
} __rte_packed __rte_aligned(2);

/* The first bytes of every frame: Ethernet, IPv4, UDP, magic. The rest of a buffer never changes. */
#define HEAD 64
static_assert(sizeof(struct frame) <= HEAD, "what is written anew for each frame");

/* What differs between the frames of two flows of a side; the rest is in the side's template. */
struct flow {
	uint32_t src, dst;
	uint16_t sport, dport;
	uint16_t ip_sum, udp_sum;
};

static struct side {
	uint8_t head[GEN_MIX_KINDS][HEAD];
	uint16_t size[GEN_MIX_KINDS];
	struct flow *flow;
	struct rte_mempool *pool;
	uint32_t n, next;
	bool mix;
	struct rte_ether_addr mac;
} sides[2];

static void
template_init(struct frame *t, const struct gen_options *o, int side, uint16_t size)
{
	uint16_t ip_len = (uint16_t)(size - sizeof(t->eth));
	*t = (struct frame){
		.eth = {o->gateway[side], o->mac[side], RTE_BE16(RTE_ETHER_TYPE_IPV4)},
		.ip = {.version_ihl = RTE_IPV4_VHL_DEF,
		       .total_length = rte_cpu_to_be_16(ip_len),
		       .fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG),
		       .time_to_live = TTL,
		       .next_proto_id = IPPROTO_UDP},
		.udp = {.dgram_len = rte_cpu_to_be_16((uint16_t)(ip_len - sizeof(t->ip)))},
		.magic = MAGIC,
	};
}

/* B's flows are the answers to A's: the same tuples, turned round. */
static void
flow_init(struct flow *f, const struct gen_options *o, int side, uint32_t i, struct frame *t)
{
	uint32_t client = rte_cpu_to_be_32(rte_be_to_cpu_32(o->ip[0]) + i % o->src_ips);
	uint16_t port = rte_cpu_to_be_16((uint16_t)(FIRST_PORT + i / o->src_ips)), to = rte_cpu_to_be_16(o->dst_port);
	*f = side == 0 ? (struct flow){.src = client, .dst = o->dst_ip, .sport = port, .dport = to}
		       : (struct flow){.src = o->ip[1], .dst = client, .sport = to, .dport = port};
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

static inline unsigned int
kind_of(const struct side *s, uint32_t flow)
{
	return s->mix ? gen_mix_kind(flow) : 0;
}

static int
side_init(struct side *s, const struct gen_options *o, int side, struct rte_mempool *pool)
{
	union {
		struct frame frame;
		uint8_t bytes[GEN_SIZE_MAX];
	} whole;
	memset(&whole, 0, sizeof(whole));
	for (unsigned int i = sizeof(struct frame); i < sizeof(whole); i++)
		whole.bytes[i] = (uint8_t)(i * 7);
	*s = (struct side){.n = o->flows,
			   .pool = pool,
			   .mix = o->mix,
			   .mac = o->mac[side],
			   .flow = calloc(o->flows, sizeof(*s->flow))};
	if (s->flow == NULL)
		return -1;
	for (unsigned int kind = 0; kind < GEN_MIX_KINDS; kind++) {
		s->size[kind] = gen_mix_size(o, kind);
		template_init(&whole.frame, o, side, s->size[kind]);
		memcpy(s->head[kind], &whole, HEAD);
		for (uint32_t i = 0; i < s->n; i++)
			if (kind_of(s, i) == kind)
				flow_init(&s->flow[i], o, side, i, &whole.frame);
	}
	/* Every buffer once, so that a send writes the head only. */
	rte_mempool_obj_iter(pool, buffer_init, &whole);
	return 0;
}

static int
init(const struct gen_options *o, struct rte_mempool *const pool[2])
{
	return side_init(&sides[0], o, 0, pool[0]) < 0 ? -1 : side_init(&sides[1], o, 1, pool[1]);
}

static void
fini(void)
{
	for (int i = 0; i < 2; i++) {
		free(sides[i].flow);
		sides[i].flow = NULL;
	}
}

static unsigned int
make(int side, struct rte_mbuf **m, unsigned int n)
{
	struct side *s = &sides[side];
	if (rte_pktmbuf_alloc_bulk(s->pool, m, n) != 0)
		return 0;
	for (unsigned int i = 0; i < n; i++) {
		const struct flow *flow = &s->flow[s->next];
		unsigned int kind = kind_of(s, s->next);
		if (++s->next == s->n)
			s->next = 0;
		struct frame *p = rte_pktmbuf_mtod(m[i], struct frame *);
		memcpy(p, s->head[kind], HEAD);
		p->ip.src_addr = flow->src;
		p->ip.dst_addr = flow->dst;
		p->ip.hdr_checksum = flow->ip_sum;
		p->udp.src_port = flow->sport;
		p->udp.dst_port = flow->dport;
		p->udp.dgram_cksum = flow->udp_sum;
		m[i]->data_len = s->size[kind];
		m[i]->pkt_len = s->size[kind];
	}
	return n;
}

static bool
is_ours(const struct rte_mbuf *m)
{
	const struct frame *p = rte_pktmbuf_mtod(m, const struct frame *);
	return m->data_len >= sizeof(*p) && p->magic == MAGIC;
}

static bool
is_right(const struct rte_mbuf *m)
{
	const struct frame *p = rte_pktmbuf_mtod(m, const struct frame *);
	if (rte_be_to_cpu_16(p->ip.total_length) + sizeof(p->eth) != m->data_len || m->nb_segs != 1)
		return false;
	return rte_ipv4_cksum(&p->ip) == 0 && rte_ipv4_udptcp_cksum_verify(&p->ip, &p->udp) == 0;
}

static void
take(int side, struct rte_mbuf **m, unsigned int n, struct gen_count *count)
{
	unsigned int ours = 0;
	for (unsigned int i = 0; i < n; i++)
		ours += is_ours(m[i]);
	count->rx += ours;
	count->other += n - ours;
	/* One of each burst is looked at closely: enough to notice, too few to slow us down. */
	if (is_ours(m[0])) {
		const struct frame *p = rte_pktmbuf_mtod(m[0], const struct frame *);
		count->bad += !is_right(m[0]);
		count->wrong += !rte_is_same_ether_addr(&p->eth.dst_addr, &sides[side].mac);
		count->hops = TTL - p->ip.time_to_live;
	}
	rte_pktmbuf_free_bulk(m, n);
}

const struct gen_traffic gen_flows = {.init = init, .fini = fini, .make = make, .take = take};
