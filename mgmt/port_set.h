/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of TCP and UDP ports as the kernel writes them: "32768-40000,50000". */
#ifndef MGMT_PORT_SET_H
#define MGMT_PORT_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PORT_SET_WORDS (65536 / 64)
struct port_set {
	uint64_t w[PORT_SET_WORDS];
};

void port_set_add(struct port_set *s, uint16_t first, uint16_t last);
static inline bool
port_set_has(const struct port_set *s, uint16_t port)
{
	return s->w[port / 64] >> port % 64 & 1;
}
/* How many of first..last are in it. */
unsigned int port_set_count(const struct port_set *s, uint16_t first, uint16_t last);
bool port_set_covers(const struct port_set *s, const struct port_set *other);

/* False: not such a list. */
bool port_set_parse(struct port_set *s, const char *text);
/* Into `size` bytes; where the list is longer, small gaps are closed until it fits (it says a little more than the set then). */
void port_set_format(const struct port_set *s, char *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
