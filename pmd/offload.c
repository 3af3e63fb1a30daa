/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/offload.h>

/* RFC 1071: the sum is the same whatever the word size, and the loads may be at any address (a peer chooses
 * csum_start). */
static uint16_t
sum16(const uint8_t *p, uint32_t n)
{
	uint64_t sum = 0;
	uint32_t word;
	for (; n >= sizeof(word); n -= (uint32_t)sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		sum += word;
	}
	word = 0;
	memcpy(&word, p, n);
	sum += word;
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

int
offload_complete(struct rte_mbuf *m, uint16_t end, bool udp)
{
	uint32_t start = offload_csum_start(m);
	uint32_t field = start + offload_csum_offset(m);
	if (!offload_is_partial(m) || m->nb_segs != 1 || end > m->data_len || field + sizeof(uint16_t) > end)
		return -EINVAL;
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint16_t csum = (uint16_t)~sum16(frame + start, end - start);
	if (csum == 0 && udp)
		csum = 0xffff; /* RFC 768: 0 says that there is no checksum */
	memcpy(frame + field, &csum, sizeof(csum));
	m->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK;
	return 0;
}
