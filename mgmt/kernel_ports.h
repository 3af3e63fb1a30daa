/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports that the switch uses at addresses of the node, kept from the node's own programs.
 *
 * A masquerade address that is the node's is used by its kernel, too: what the kernel chose as the source port of a connection of its own would
 * be a pod's at the same time. So net.ipv4.ip_local_reserved_ports (it holds for IPv6 as well) is made to cover the ranges, and
 * the nodePorts, beside what others have put there; it is read back; and what we added is taken away when nobody wants it any
 * more. When that leaves the kernel too few ports of net.ipv4.ip_local_port_range to choose from, that range is made to begin lower.
 */
#ifndef MGMT_KERNEL_PORTS_H
#define MGMT_KERNEL_PORTS_H

#include <weft/base.h>

#include "port_set.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kernel_ports {
	struct port_set ours; /* what we added */
	char range_before[32], range_set[32]; /* ip_local_port_range as it was and as we made it; empty: untouched */
	/* Files, for tests; NULL: the kernel's. */
	const char *reserved_path, *range_path;
};

/* Make the reservation cover `must` and, as far as that goes, `may`; take back what is in neither. -errno and *e when `must` is not
 * covered. `adopt`: what is there already and wanted is taken for ours, of a process before this one. */
int kernel_ports_set(struct kernel_ports *k, const struct port_set *must, const struct port_set *may, bool adopt, struct error *e);

#ifdef __cplusplus
}
#endif

#endif
