/* SPDX-License-Identifier: Apache-2.0 */
#include "tap_device.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weft/netlink.h>

struct visit {
	const struct tap_plan *plan;
	struct tap_device *d;
	struct error *e;
	bool entered;
};

static short
tap_flags(uint16_t queues)
{
	return (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (queues > 1 ? IFF_MULTI_QUEUE : 0));
}

static int
attach(const char *ifname, short flags)
{
	struct ifreq ifr = {.ifr_flags = flags};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

/* A device that an earlier run made with one queue takes no second, and the other way round: EINVAL. It is remade then.
 */
static int
attach_first(const char *ifname, uint16_t queues)
{
	int fd = attach(ifname, tap_flags(queues));
	if (fd != -EINVAL)
		return fd;
	fd = attach(ifname, tap_flags(queues > 1 ? 1 : 2));
	if (fd < 0)
		return -EINVAL;
	ioctl(fd, TUNSETPERSIST, 0);
	close(fd);
	return attach(ifname, tap_flags(queues));
}

static int
attach_error(const struct visit *v, int rc)
{
	const char *where = v->plan->netns != NULL ? v->plan->netns : "this namespace", *ifname = v->plan->ifname;
	switch (rc) {
	case -EBUSY:
		return error_at(v->e, rc, "ifname", "%s in %s is in use by another program", ifname, where);
	case -EINVAL:
		return error_at(v->e, rc, "ifname", "%s in %s exists and is not a tap device", ifname, where);
	case -EPERM:
	case -EACCES:
		return error_at(v->e, rc, "type", "a tap needs CAP_NET_ADMIN and read-write access to /dev/net/tun");
	default:
		return error_at(v->e, rc, "type", "/dev/net/tun: %s", strerror(-rc));
	}
}

static int
attach_queues(struct visit *v)
{
	const struct tap_plan *plan = v->plan;
	struct tap_device *d = v->d;
	int header = sizeof(struct virtio_net_hdr);
	for (d->n = 0; d->n < plan->queues; d->n++) {
		int fd = d->n == 0 ? attach_first(plan->ifname, plan->queues)
				   : attach(plan->ifname, tap_flags(plan->queues));
		if (fd < 0)
			return attach_error(v, fd);
		d->fd[d->n] = fd;
		/* Partial checksums both ways; segments of more than the MTU are not taken. */
		if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 || ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM) < 0) {
			int rc = -errno;
			d->n++;
			return error_at(v->e, rc, "type", "tap %s: %s", plan->ifname, strerror(-rc));
		}
	}
	return 0;
}

static int
configure(struct visit *v)
{
	static const struct mac none;
	const struct tap_plan *plan = v->plan;
	struct ifreq ifr;
	int rc =
		netlink_link_set(plan->ifname, mac_equal(&plan->mac, &none) ? NULL : &plan->mac, plan->mtu, true, NULL);
	if (rc < 0)
		return error_at(v->e, rc, "mac", "%s: MAC, MTU %u, link up: %s", plan->ifname, plan->mtu,
				strerror(-rc));
	for (uint32_t i = 0; i < plan->ips.n; i++) {
		rc = netlink_address(1, &plan->ips.v[i], plan->ifname, NULL);
		if (rc < 0) {
			char where[32];
			snprintf(where, sizeof(where), "ips[%u]", i);
			return error_at(v->e, rc, where, "cannot be given to %s: %s", plan->ifname, strerror(-rc));
		}
	}
	if (ioctl(v->d->fd[0], SIOCGIFHWADDR, &ifr) < 0 || ioctl(v->d->fd[0], TUNSETPERSIST, 1) < 0) {
		rc = -errno;
		return error_at(v->e, rc, "type", "tap %s: %s", plan->ifname, strerror(-rc));
	}
	memcpy(&v->d->mac, ifr.ifr_hwaddr.sa_data, sizeof(v->d->mac));
	return 0;
}

static int
open_here(void *arg)
{
	struct visit *v = arg;
	struct stat st;
	v->entered = true;
	if (stat("/proc/thread-self/ns/net", &st) < 0)
		return error_at(v->e, -errno, "netns", "/proc/thread-self/ns/net: %s", strerror(errno));
	v->d->ns_dev = st.st_dev;
	v->d->ns_ino = st.st_ino;
	int rc = attach_queues(v);
	if (rc == 0)
		rc = configure(v);
	if (rc < 0)
		tap_device_close(v->d, false);
	return rc;
}

int
tap_device_open(const struct tap_plan *plan, struct tap_device *d, struct error *e)
{
	struct visit v = {.plan = plan, .d = d, .e = e};
	memset(d, 0, sizeof(*d));
	int rc = netns_run(plan->netns, open_here, &v);
	if (rc < 0 && !v.entered)
		return error_at(e, rc, "netns", "%s: %s", plan->netns,
				rc == -EINVAL ? "not a network namespace" : strerror(-rc));
	return rc;
}

void
tap_device_close(struct tap_device *d, bool remove)
{
	if (remove && d->n > 0)
		ioctl(d->fd[0], TUNSETPERSIST, 0);
	while (d->n > 0)
		close(d->fd[--d->n]);
}

bool
tap_device_is_there(const struct tap_plan *plan, const struct tap_device *d)
{
	struct stat st;
	struct ifreq ifr;
	if (plan->netns != NULL) {
		/* The fds keep a deleted namespace, and the device in it, alive: only its path tells that it is gone.
		 */
		if (stat(plan->netns, &st) < 0)
			return errno != ENOENT && errno != ENOTDIR;
		if (st.st_dev != d->ns_dev || st.st_ino != d->ns_ino)
			return false;
	}
	return ioctl(d->fd[0], TUNGETIFF, &ifr) == 0 || errno != EBADFD;
}
