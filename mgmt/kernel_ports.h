/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports that the switch uses at addresses of the node, kept from the node's own programs.
 *
 * A masquerade address that is the node's is used by its kernel, too: what the kernel chose as the source port of a
 * connection of its own would be a pod's at the same time. So net.ipv4.ip_local_reserved_ports (it holds for IPv6 as
 * well) is made to cover the ranges, and the nodePorts, beside what others have put there; it is read back; and what we
 * added is taken away when nobody wants it any more. When that leaves the kernel too few ports of
 * net.ipv4.ip_local_port_range to choose from, that range is made to begin lower, for as long as that is so.
 *
 * What is ours is written down before it is done, in STATE_DIR/kernel-ports, so that the process after one that was
 * killed knows what to take back. A reboot takes it all back by itself: a record of another boot means nothing.
 */
#ifndef MGMT_KERNEL_PORTS_H
#define MGMT_KERNEL_PORTS_H

#include <limits.h>

#include <weft/base.h>

#include "port_set.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kernel_ports {
	struct port_set ours;                 /* what we added */
	char range_before[32], range_set[32]; /* ip_local_port_range as it was and as we made it; empty: untouched */
	char reserved_path[PATH_MAX], range_path[PATH_MAX];
	char record_path[PATH_MAX]; /* empty: nothing is written down */
	char boot[64];
};

/* Reads the record. `sysctl_dir`: NULL: /proc/sys/net/ipv4. `state_dir` NULL: there is no record. `boot`: the kernel's
 * boot id. */
void kernel_ports_init(struct kernel_ports *k, const char *sysctl_dir, const char *state_dir, const char *boot);

/*
 * Make the reservation cover `must` and, as far as that goes, `may`; take back what is in neither, but for what is in `keep` (may be NULL): of
 * ours, and to go soon, so that the kernel's share is measured without it. -errno and *e (may be NULL) when `must` is not covered.
 */
int kernel_ports_set(struct kernel_ports *k, const struct port_set *must, const struct port_set *may, const struct port_set *keep,
		     struct error *e);

/* Whether kernel_ports_set would do. Changes nothing. */
int kernel_ports_check(const struct kernel_ports *k, const struct port_set *must, const struct port_set *may, struct error *e);

#ifdef __cplusplus
}
#endif

#endif
