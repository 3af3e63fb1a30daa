/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a packet's L4 checksum between ports, and completing it where the next port cannot.
 *
 * On the way in, a port marks an mbuf whose TCP or UDP checksum is partial (the field holds the pseudo-header sum, as
 * virtio 1.1 5.1.6.2 NEEDS_CSUM) with offload_rx_partial(); one that the device verified with RTE_MBUF_F_RX_L4_CKSUM_GOOD.
 * On the way out, a packet that is still partial carries MBUF_PARTIAL with csum_start/csum_offset; a port without PORT_TX_CSUM never gets one.
 */
#ifndef WEFT_OFFLOAD_H
#define WEFT_OFFLOAD_H

#include <rte_mbuf.h>

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The DPDK flag whose meaning this is: "checksum not correct in the packet data, but the integrity of the data is verified". */
#define MBUF_PARTIAL RTE_MBUF_F_RX_L4_CKSUM_NONE

/* csum_start: offset of the L4 header from the start of the frame; csum_offset: of the field from there. Kept in mbuf->hash.usr. */
static inline void
offload_rx_partial(struct rte_mbuf *m, uint16_t csum_start, uint16_t csum_offset)
{
	m->ol_flags = (m->ol_flags & ~RTE_MBUF_F_RX_L4_CKSUM_MASK) | MBUF_PARTIAL;
	m->hash.usr = (uint32_t)csum_start << 16 | csum_offset;
}

/* Nothing is known of the checksum, or it has just been made whole. */
static inline void
offload_clear(struct rte_mbuf *m)
{
	m->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK;
}

static inline bool
offload_is_partial(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == MBUF_PARTIAL;
}

static inline uint16_t
offload_csum_start(const struct rte_mbuf *m)
{
	return (uint16_t)(m->hash.usr >> 16);
}

static inline uint16_t
offload_csum_offset(const struct rte_mbuf *m)
{
	return (uint16_t)m->hash.usr;
}

/*
 * Compute a partial checksum in software over frame bytes [csum_start, end) of a one-segment mbuf and clear the mark. `end` is the
 * end of the IP packet (not of padding). A computed 0 is written as 0xffff when udp. 0, or -EINVAL when
 * start, offset and end do not fit the frame (nothing is changed).
 */
int offload_complete(struct rte_mbuf *m, uint16_t end, bool udp);

#ifdef __cplusplus
}
#endif

#endif
