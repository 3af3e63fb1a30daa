/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's devices, addresses and routes, as far as ports need them: rtnetlink(7) in any network namespace.
 *
 * Control threads; each call opens its own netlink socket and waits for the kernel's answer, which never depends on a peer. `netns` is
 * the path of a namespace, NULL our own. 0 or -errno, the kernel's.
 */
#ifndef WEFT_NETLINK_H
#define WEFT_NETLINK_H

#include <weft/base.h>
#include <weft/spec.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Run fn(arg) in a namespace and return what it returns, or -errno when the namespace cannot be entered (it has not run then). In
 * another namespace it runs on a thread of its own, so that no other thread's namespace ever changes; the caller waits for it.
 */
int netns_run(const char *netns, int (*fn)(void *arg), void *arg);

/* mac: NULL leaves it; mtu: 0 leaves it. */
int netlink_link_set(const char *ifname, const struct mac *mac, uint16_t mtu, bool up, const char *netns);

/* Adding one that is there and removing one that is not are both fine. IPv6 addresses are added without duplicate address detection. */
int netlink_address(int add, const struct host_prefix *address, const char *ifname, const char *netns);

/*
 * Route `prefix` to the device, in the main table. Adding one that is there already by this device is fine, as is removing one that is
 * not; -EEXIST when another device has the prefix: that route is left alone. The kernel removes a device's routes with it.
 */
int netlink_route(int add, const struct prefix *prefix, const char *ifname, const char *netns);

#ifdef __cplusplus
}
#endif

#endif
