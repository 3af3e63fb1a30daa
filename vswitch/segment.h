/* SPDX-License-Identifier: Apache-2.0 */
/* What connection tracking wants to know of a TCP header, or of SCTP's with the chunk behind it. */
#ifndef VSWITCH_SEGMENT_H
#define VSWITCH_SEGMENT_H

#include <rte_tcp.h>

#include <weft/packet.h>
#include <weft/sctp_state.h>
#include <weft/tcp_window.h>

/* segment.c: the window scale option (RFC 7323 2.2) of a SYN, TCP_SCALE_NONE without one; `size` bytes of options. */
uint8_t segment_scale(const uint8_t *option, unsigned int size);

/* parse.c has checked that the header lies within the packet. False when it is not TCP, or has no header of its own (a later fragment). */
static inline bool
segment_read(const struct burst *b, uint32_t i, struct tcp_segment *s)
{
	const struct packet *p = &b->p[i];
	if (p->proto != IPPROTO_TCP || unlikely(p->flags & PACKET_LATER))
		return false;
	const struct rte_tcp_hdr *h = packet_at(b, i, p->l4);
	unsigned int size = (unsigned int)(h->data_off >> 4) * 4;
	s->seq = rte_be_to_cpu_32(h->sent_seq);
	s->ack = rte_be_to_cpu_32(h->recv_ack);
	s->payload = p->ip_end - p->l4 - size;
	s->window = rte_be_to_cpu_16(h->rx_win);
	s->flags = p->tcp_flags;
	s->scale = TCP_SCALE_NONE;
	if (unlikely(p->tcp_flags & RTE_TCP_SYN_FLAG))
		s->scale = segment_scale((const uint8_t *)(h + 1), size - (unsigned int)sizeof(*h));
	return true;
}

/* Whole, and no chunk: it says nothing, and its receiver forgets it (RFC 9260 has no other use for it). */
static inline bool
sctp_is_empty(const struct packet *p)
{
	return p->proto == IPPROTO_SCTP && p->ip_end - p->l4 == 12 && !(p->flags & PACKET_FRAGMENT);
}

/* segment.c: false when it is not SCTP, has no header of its own, or nothing that RFC 9260 allows for a first chunk. */
bool sctp_read(const struct burst *b, uint32_t i, struct sctp_packet *s);

#endif
