/* SPDX-License-Identifier: Apache-2.0 */
/* What of the node a port takes for itself, so that no two ports take the same. For port.c alone. */
#ifndef PMD_PORT_CLAIM_H
#define PMD_PORT_CLAIM_H

#include <weft/spec.h>

struct claim {
	enum port_type type;
	char *socket; /* vhost-user, memif: resolved */
	uint32_t id;  /* memif */
	char *netns;  /* tap */
	char *ifname; /* tap, and nic: of iface= in its vdev arguments */
	char *device; /* nic: up to the first comma */
};

int claim_make(struct claim *c, const struct spec_port *spec, struct error *e);
void claim_free(struct claim *c);
/* True when both cannot be open at once; text says what it is about. */
bool claims_clash(const struct claim *a, const struct claim *b, char *text, size_t size);

#endif
