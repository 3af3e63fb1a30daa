/* SPDX-License-Identifier: Apache-2.0 */
/* Two questions of parse.c about frames of the underlay, answered in underlay.c. */
#ifndef VSWITCH_PARSE_H
#define VSWITCH_PARSE_H

#include <weft/config.h>

/* True and *network set when a frame from the host port is meant for an overlay network (by its destination, or ARP or ND target). */
bool host_means(const struct config *c, const uint8_t *frame, uint16_t len, uint32_t *network);

/* True when a frame from the uplink is VXLAN to our tunnel end. */
bool is_tunnel(const struct config *c, const uint8_t *frame, uint16_t len);

#endif
