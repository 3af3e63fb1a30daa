/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbour discovery on the wire (RFC 4861). */
#ifndef VSWITCH_ND_H
#define VSWITCH_ND_H

#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_ROUTER_SOLICITATION 133
#define ND_OPTION_SOURCE_LINK 1
#define ND_OPTION_TARGET_LINK 2

struct nd_message { /* 4.3, 4.4 */
	uint8_t type, code;
	uint16_t checksum;
	uint32_t flags;
	uint8_t target[16];
	uint8_t option_type, option_len;
	uint8_t option_mac[6];
} __rte_packed; /* a frame's IP header is not on a boundary of four */
static_assert(sizeof(struct nd_message) == 32, "on the wire");
#define ND_BARE offsetof(struct nd_message, option_type)

#endif
