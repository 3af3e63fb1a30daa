/* SPDX-License-Identifier: Apache-2.0 */
#include "nic_kernel.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <net/route.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/text.h>

/*
 * The node's addresses are on the host port, so the kernel takes packets for them from any interface (RFC 1122's weak
 * model), and would answer VXLAN with "port unreachable" and TCP with resets. Strict reverse path filtering stops that:
 * the way back to the sender is never by this interface, which has no address.
 */
static const struct {
	const char *family, *name, *value;
} settings[NIC_SETTINGS] = {
	{"ipv4", "rp_filter", "1"},  {"ipv4", "arp_ignore", "1"},   {"ipv4", "arp_announce", "2"},
	{"ipv4", "forwarding", "0"}, {"ipv6", "disable_ipv6", "1"},
};

static int
read_setting(const char *path, char *value, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, value, size - 1);
	int rc = n < 0 ? -errno : 0;
	value[n < 0 ? 0 : n] = '\0';
	value[strcspn(value, "\n")] = '\0';
	close(fd);
	return rc;
}

static int
write_setting(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

static void
setting_path(unsigned int i, const char *ifname, char *path, size_t size)
{
	snprintf(path, size, "/proc/sys/net/%s/conf/%s/%s", settings[i].family, ifname, settings[i].name);
}

/* Flags and MTU. */
static int
interface_ioctl(const char *ifname, unsigned long request, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", ifname);
	int rc = ioctl(fd, request, ifr) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

uint16_t
nic_kernel_mtu(const char *ifname)
{
	struct ifreq ifr;
	if (interface_ioctl(ifname, SIOCGIFMTU, &ifr) < 0)
		return 0;
	return ifr.ifr_mtu > UINT16_MAX ? UINT16_MAX : (uint16_t)ifr.ifr_mtu;
}

bool
nic_kernel_is_running(const char *ifname)
{
	struct ifreq ifr;
	return interface_ioctl(ifname, SIOCGIFFLAGS, &ifr) == 0 && (ifr.ifr_flags & IFF_UP) &&
	       (ifr.ifr_flags & IFF_RUNNING);
}

static int
change_flags(const char *ifname, short set, short clear, short *before)
{
	struct ifreq ifr;
	int rc = interface_ioctl(ifname, SIOCGIFFLAGS, &ifr);
	if (rc < 0)
		return rc;
	if (before != NULL)
		*before = ifr.ifr_flags;
	ifr.ifr_flags = (short)((ifr.ifr_flags | set) & ~clear);
	return interface_ioctl(ifname, SIOCSIFFLAGS, &ifr);
}

static bool
has_default_route4(const char *ifname)
{
	char line[256], name[IFNAMSIZ];
	unsigned int to, mask, flags;
	bool found = false;
	FILE *f = fopen("/proc/thread-self/net/route", "re");
	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
		found = sscanf(line, "%15s %x %*x %x %*d %*d %*d %x", name, &to, &flags, &mask) == 4 && to == 0 &&
			mask == 0 && !(flags & RTF_REJECT) && strcmp(name, ifname) == 0;
	if (f != NULL)
		fclose(f);
	return found;
}

static bool
has_default_route6(const char *ifname)
{
	char line[256], name[IFNAMSIZ];
	unsigned int len, flags;
	bool found = false;
	FILE *f = fopen("/proc/thread-self/net/ipv6_route", "re");
	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
		found = sscanf(line, "%*s %x %*s %*x %*s %*x %*x %*x %x %15s", &len, &flags, name) == 3 && len == 0 &&
			!(flags & RTF_REJECT) && strcmp(name, ifname) == 0;
	if (f != NULL)
		fclose(f);
	return found;
}

static int
refuse_address(const char *ifname, const struct sockaddr *sa, const struct host_prefix_list *ips, struct error *e)
{
	char text[IP_TEXT_MAX], where[32];
	struct ip ip;
	if (sa != NULL && sa->sa_family == AF_INET)
		ip = ip_from4(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr);
	else if (sa != NULL && sa->sa_family == AF_INET6)
		ip = ip_from6(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
	else
		return 0;
	for (uint32_t i = 0; i < ips->n; i++) {
		if (!ip_equal(&ips->v[i].ip, &ip))
			continue;
		snprintf(where, sizeof(where), "ips[%u]", i);
		return error_at(
			e, -EADDRINUSE, where,
			"%s is the kernel's on %s: both would answer; remove it there, and give it to the host port",
			ip_format(&ip, text), ifname);
	}
	return 0;
}

static int
refuse_addresses(const char *ifname, const struct host_prefix_list *ips, struct error *e)
{
	struct ifaddrs *all;
	int rc = 0;
	if (getifaddrs(&all) < 0)
		return error_at(e, -errno, "device", "addresses of %s: %s", ifname, strerror(errno));
	for (const struct ifaddrs *a = all; a != NULL && rc == 0; a = a->ifa_next)
		if (strcmp(a->ifa_name, ifname) == 0)
			rc = refuse_address(ifname, a->ifa_addr, ips, e);
	freeifaddrs(all);
	return rc;
}

static int
check(const char *ifname, const struct host_prefix_list *ips, struct error *e)
{
	char value[16];
	if (strlen(ifname) >= IFNAMSIZ || strchr(ifname, '/') != NULL || nic_kernel_mtu(ifname) == 0)
		return error_at(e, -ENODEV, "device", "there is no interface %s", ifname);
	if (has_default_route4(ifname) || has_default_route6(ifname))
		return error_at(e, -EPERM, "device", "%s carries a default route: the node itself needs it", ifname);
	/* The kernel applies the larger of the two, and 2 is the loose one. */
	if (read_setting("/proc/sys/net/ipv4/conf/all/rp_filter", value, sizeof(value)) == 0 && value[0] == '2')
		return error_at(e, -EPERM, "device",
				"net.ipv4.conf.all.rp_filter is 2: the kernel would answer on %s; 0 and 1 are allowed",
				ifname);
	return refuse_addresses(ifname, ips, e);
}

static int
apply_settings(struct nic_kernel *k, struct error *e)
{
	char path[128];
	for (unsigned int i = 0; i < NIC_SETTINGS; i++) {
		setting_path(i, k->ifname, path, sizeof(path));
		int rc = read_setting(path, k->old[i], sizeof(k->old[i]));
		if (rc == -ENOENT)
			continue; /* a kernel without IPv6 */
		if (rc == 0 && strcmp(k->old[i], settings[i].value) == 0) {
			k->old[i][0] = '\0';
			continue;
		}
		if (rc == 0)
			rc = write_setting(path, settings[i].value);
		if (rc < 0) {
			k->old[i][0] = '\0';
			return error_at(e, rc, "device", "%s: %s", path, strerror(-rc));
		}
	}
	return 0;
}

int
nic_kernel_take(struct nic_kernel *k, const char *ifname, uint16_t mtu, const struct host_prefix_list *ips,
		struct error *e)
{
	struct ifreq ifr = {.ifr_mtu = mtu};
	short flags = 0;
	memset(k, 0, sizeof(*k));
	int rc = check(ifname, ips, e);
	if (rc < 0)
		return rc;
	snprintf(k->ifname, sizeof(k->ifname), "%s", ifname);
	k->old_mtu = nic_kernel_mtu(ifname);
	rc = apply_settings(k, e);
	if (rc < 0)
		goto fail;
	rc = change_flags(ifname, IFF_UP | IFF_ALLMULTI, 0, &flags);
	k->old_allmulti = rc < 0 || (flags & IFF_ALLMULTI);
	if (rc < 0) {
		error_at(e, rc, "device", "%s cannot be brought up: %s", ifname, strerror(-rc));
		goto fail;
	}
	if (mtu != 0 && mtu != k->old_mtu)
		rc = interface_ioctl(ifname, SIOCSIFMTU, &ifr);
	if (rc < 0) {
		error_at(e, rc, "mtu", "%s does not take an MTU of %u: %s", ifname, mtu, strerror(-rc));
		goto fail;
	}
	return 0;
fail:
	nic_kernel_give_back(k);
	return rc;
}

/* The interface may be gone: nothing is left to restore then. */
void
nic_kernel_give_back(struct nic_kernel *k)
{
	struct ifreq ifr = {.ifr_mtu = (int)k->old_mtu};
	char path[128];
	if (k->ifname[0] == '\0')
		return;
	if (nic_kernel_mtu(k->ifname) != k->old_mtu)
		interface_ioctl(k->ifname, SIOCSIFMTU, &ifr);
	if (!k->old_allmulti)
		change_flags(k->ifname, 0, IFF_ALLMULTI, NULL);
	for (unsigned int i = 0; i < NIC_SETTINGS; i++) {
		setting_path(i, k->ifname, path, sizeof(path));
		if (k->old[i][0] != '\0')
			write_setting(path, k->old[i]);
	}
	k->ifname[0] = '\0';
}
