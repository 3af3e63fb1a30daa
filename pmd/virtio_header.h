/* SPDX-License-Identifier: Apache-2.0 */
/* The header that virtio (1.1 5.1.6) and TAP devices have before each frame, and what our mbufs say instead (weft/offload.h). Segments are
 * offered to nobody. */
#ifndef PMD_VIRTIO_HEADER_H
#define PMD_VIRTIO_HEADER_H

#include <linux/virtio_net.h>

#include <rte_ether.h>

#include <weft/offload.h>

/* Mark the frame's checksum as partial where the header says so. False: the header does not fit the frame. */
static inline bool
virtio_header_read(const struct virtio_net_hdr *h, struct rte_mbuf *m)
{
	if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return false;
	if ((h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0)
		return true;
	if (h->csum_start < RTE_ETHER_HDR_LEN || (uint32_t)h->csum_start + h->csum_offset + sizeof(uint16_t) > m->data_len)
		return false;
	offload_rx_partial(m, h->csum_start, h->csum_offset);
	return true;
}

/* The same the other way round; *h is all zero before. */
static inline void
virtio_header_write(struct virtio_net_hdr *h, const struct rte_mbuf *m)
{
	if (likely(!offload_is_partial(m)))
		return;
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = offload_csum_start(m);
	h->csum_offset = offload_csum_offset(m);
}

#endif
