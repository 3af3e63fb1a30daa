/* SPDX-License-Identifier: Apache-2.0 */
/* What is ordinary of an IPv4 header: parse_plain.c and decap_plain.c take it on at once, parse_ip.c whatever is not. */
#ifndef VSWITCH_PLAIN_H
#define VSWITCH_PLAIN_H

#include <rte_ether.h>
#include <rte_ip.h>

#include "rewrite.h"

#define PLAIN_L3 sizeof(struct rte_ether_hdr)
#define PLAIN_L4 (PLAIN_L3 + sizeof(struct rte_ipv4_hdr))

/* By the first byte on the wire: 0/8, 127/8 and all from 224/4 on. No packet comes from there, and none that is ordinary goes there. */
static inline bool
plain_address4(rte_be32_t ip)
{
	static const bool odd[256] = {[0] = true, [127] = true, [224 ... 255] = true};
	return !odd[(uint8_t)ip];
}

/* A header of five words whose sum, the checksum included, is all ones (RFC 1071). */
static inline bool
plain_sum4(const struct rte_ipv4_hdr *ip)
{
	uint64_t first, second, sum;
	uint32_t last;
	memcpy(&first, ip, 8);
	memcpy(&second, (const char *)ip + 8, 8);
	memcpy(&last, (const char *)ip + 16, 4);
	sum = (first & 0xffffffff) + (first >> 32) + (second & 0xffffffff) + (second >> 32) + last;
	return sum_fold(sum) == 0xffff;
}

/* IPv4 in Ethernet, without options, no fragment, with hops left. Its length, checksum and addresses have not been looked at. */
static inline bool
plain_shape4(const uint8_t *frame)
{
	const struct rte_ether_hdr *eth = (const void *)frame;
	const struct rte_ipv4_hdr *ip = (const void *)(frame + PLAIN_L3);
	bool odd = (eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4)) | (ip->version_ihl != RTE_IPV4_VHL_DEF) | (ip->time_to_live <= 1) |
		   ((ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)) != 0);
	return !odd;
}

#endif
