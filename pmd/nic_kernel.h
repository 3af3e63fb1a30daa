/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel interface whose frames the switch takes over af_packet or af_xdp: the kernel goes on seeing them, and must neither answer
 * nor forward them. For nic.c alone. Control threads.
 */
#ifndef PMD_NIC_KERNEL_H
#define PMD_NIC_KERNEL_H

#include <net/if.h>

#include <weft/spec.h>

#define NIC_SETTINGS 5

struct nic_kernel {
	char ifname[IFNAMSIZ]; /* empty: none is taken */
	uint32_t old_mtu;
	bool old_allmulti;
	char old[NIC_SETTINGS][16]; /* what the settings were; empty: untouched */
};

/*
 * Silence the kernel on the interface, bring it up, let all multicast frames in (IPv6 asks for neighbours by multicast), and
 * set the MTU unless 0. Refused: an interface with a default route, or with one of `ips`.
 */
int nic_kernel_take(struct nic_kernel *k, const char *ifname, uint16_t mtu, const struct host_prefix_list *ips,
		    struct error *e);
/* Everything as it was found. */
void nic_kernel_give_back(struct nic_kernel *k);

uint16_t nic_kernel_mtu(const char *ifname);    /* 0: no such interface */
bool nic_kernel_is_running(const char *ifname); /* it is up and has a carrier */

#endif
