/* SPDX-License-Identifier: Apache-2.0 */
/* Changing packets and keeping their checksums true; for relate.c and respond_*.c too. */
#ifndef VSWITCH_REWRITE_H
#define VSWITCH_REWRITE_H

#include <weft/packet.h>

/*
 * The one's-complement sum of a sum of 32-bit or 16-bit words, in 16 bits (RFC 1071 2: 2^16 is 1 modulo 0xffff). Adding a number to
 * itself with its halves exchanged leaves their end-around sum in the upper half.
 */
static inline uint16_t
sum_fold(uint64_t sum)
{
	uint32_t half = (uint32_t)((sum + (sum << 32 | sum >> 32)) >> 32);
	return (uint16_t)((half + (half << 16 | half >> 16)) >> 16);
}

/* Take a one's-complement delta (sum of ~old + new, 16-bit words in memory order) into a checksum field (RFC 1624). */
void checksum_add(void *field, uint32_t delta);
/* That delta, for n words of 32 bits; such may be added up, three or four of them. */
uint32_t checksum_delta(const void *old, const void *now, unsigned int n);

/*
 * The sum of packet i from its L4 header to the end of the IP packet, with the pseudo header of IPv6 or (TCP over IPv4) in front:
 * 0xffff when the checksum field is right, the field's complement when it is 0.
 */
uint16_t packet_l4_sum(const struct burst *b, uint32_t i);

/* Give packet i the addresses and ports of `to` (as they will be on the wire), with all checksums that cover them. */
void packet_translate(struct burst *b, uint32_t i, const struct tuple *to);

void packet_lower_ttl(struct burst *b, uint32_t i);

#endif
