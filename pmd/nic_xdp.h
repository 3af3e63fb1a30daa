/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_XDP sockets that DPDK 22.11's driver forgets to close: it leaves one a queue behind, which keeps the interface's queue busy
 * for as long as the process lives. For nic.c alone, under the port lock: whatever appears while a device is opened is that device's.
 */
#ifndef PMD_NIC_XDP_H
#define PMD_NIC_XDP_H

#include <sys/types.h>

#define XDP_SOCKETS_MAX 128

struct xdp_sockets {
	unsigned int n;
	struct {
		int fd;
		ino_t inode;
	} s[XDP_SOCKETS_MAX];
};

/* The AF_XDP sockets of this process. */
void xdp_sockets_list(struct xdp_sockets *out);
/* Take those out that are in `before` as well. */
void xdp_sockets_subtract(struct xdp_sockets *from, const struct xdp_sockets *before);
/* Close those that are still open. */
void xdp_sockets_close(const struct xdp_sockets *mine);

#endif
