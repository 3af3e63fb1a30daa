/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's side of a tap port: making, adopting and removing the device. For tap.c alone. */
#ifndef PMD_TAP_DEVICE_H
#define PMD_TAP_DEVICE_H

#include <sys/types.h>

#include <weft/port.h>

struct tap_plan {
	const char *netns; /* NULL: our own */
	const char *ifname;
	struct mac mac; /* zero: as the kernel chose it, or as it was */
	uint16_t mtu, queues;
	struct host_prefix_list ips;
};

/* What rx and tx use. */
struct tap_device {
	struct mac mac;
	dev_t ns_dev; /* of its namespace: while we hold an fd, the kernel gives the inode to no other */
	ino_t ns_ino;
	uint16_t n;
	int fd[PORT_MAX_QUEUES]; /* one a queue, non-blocking */
};

/* Make the device, or adopt the one that an earlier run left, with link and addresses up. It outlives the process. */
int tap_device_open(const struct tap_plan *plan, struct tap_device *d, struct error *e);
/* `remove`: the device goes with it. */
void tap_device_close(struct tap_device *d, bool remove);
/* True while the device exists and the path still names its namespace. */
bool tap_device_is_there(const struct tap_plan *plan, const struct tap_device *d);

#endif
