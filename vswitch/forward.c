/* SPDX-License-Identifier: Apache-2.0 */
/* The last steps of a packet that is allowed to go: Ethernet header and port. A tunnel's header comes between them, see encap.c. */
#include <weft/base.h>

#include <rte_udp.h>

#include <weft/offload.h>
#include <weft/pipeline.h>

#include "underlay.h"

void
forward_run(struct worker *w, struct burst *b, packet_set set)
{
	packet_set out = 0, tunnel = 0;
	BURST_FOREACH (i, set) {
		struct packet *p = &b->p[i];
		const struct hop *hop = hop_get(p->hop);
		if (unlikely(hop->kind == HOP_NONE)) {
			packet_drop(w, b, i, DROP_NO_ROUTE);
			continue;
		}
		if (hop->kind == HOP_UNDERLAY) {
			underlay_forward(w, b, i, hop);
			continue;
		}
		memcpy(packet_at(b, i, 0), hop->l2, sizeof(hop->l2));
		p->out_port = hop->port;
		tunnel |= (packet_set)(hop->kind == HOP_TUNNEL) << i;
		out |= packet_bit(i);
	}
	b->at[STAGE_ENCAP] |= tunnel;
	b->at[STAGE_TRANSMIT] |= out & ~tunnel;
}

/* A partial checksum leaves as it is by a port that can finish it, whole by any other. False: it cannot be made whole. */
static bool
settle_checksum(const struct packet *p, struct rte_mbuf *m)
{
	const struct port *port = port_by_id(p->out_port);
	if (port != NULL && __atomic_load_n(&port->offloads, __ATOMIC_RELAXED) & PORT_TX_CSUM)
		return true;
	uint16_t end = p->ip_end != 0 ? p->ip_end : rte_pktmbuf_data_len(m);
	return offload_complete(m, end, offload_csum_offset(m) == offsetof(struct rte_udp_hdr, dgram_cksum)) == 0;
}

void
transmit_run(struct worker *w, struct burst *b, packet_set set)
{
	struct rte_mbuf *run[WEFT_BURST]; /* neighbours in the burst that leave by the same port */
	unsigned int n = 0;
	uint16_t port = 0;
	BURST_FOREACH (i, set) {
		const struct packet *p = &b->p[i];
		struct rte_mbuf *m = b->m[i];
		if (unlikely(offload_is_partial(m)) && !settle_checksum(p, m)) {
			packet_drop(w, b, i, DROP_BAD_OFFLOAD);
			continue;
		}
		if (unlikely(p->out_port != port) && n > 0) {
			worker_transmit(w, port, run, n);
			n = 0;
		}
		port = p->out_port;
		run[n++] = m;
	}
	if (n > 0)
		worker_transmit(w, port, run, n);
}
