/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/netlink.h>

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_SECONDS 5 /* the kernel answers before send(2) returns: only a fault takes that long */

struct request {
	struct nlmsghdr h;
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
	};
	char attributes[256];
};

static void
request_init(struct request *r, uint16_t type, uint16_t flags, size_t body)
{
	memset(r, 0, sizeof(*r));
	r->h.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
	r->h.nlmsg_type = type;
	r->h.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	r->h.nlmsg_seq = 1;
}

static void
put(struct request *r, uint16_t type, const void *data, size_t size)
{
	struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->h.nlmsg_len));
	assert(NLMSG_ALIGN(r->h.nlmsg_len) + RTA_SPACE(size) <= sizeof(*r));
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(size);
	memcpy(RTA_DATA(a), data, size);
	r->h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->h.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

/* Send, and hand each answer to `each` (may be NULL) until the acknowledgement, the end of a dump, or `each` returns
 * other than 0. */
static int
transact(const struct request *r, int (*each)(const struct nlmsghdr *h, const void *arg), const void *arg)
{
	struct timeval patience = {.tv_sec = ANSWER_SECONDS};
	char buf[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	int rc = 0, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (send(fd, r, r->h.nlmsg_len, 0) < 0)
		rc = -errno;
	for (bool done = rc < 0; !done;) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		if (n < 0) {
			rc = -errno;
			break;
		}
		for (struct nlmsghdr *h = (struct nlmsghdr *)buf; !done && NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_ERROR)
				rc = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			else if (h->nlmsg_type != NLMSG_DONE && each != NULL)
				rc = each(h, arg);
			done = rc != 0 || h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE;
		}
	}
	close(fd);
	return rc;
}

struct link_change {
	const char *ifname;
	const struct mac *mac;
	uint16_t mtu;
	bool up;
};

static int
link_set(void *arg)
{
	const struct link_change *c = arg;
	struct request r;
	uint32_t mtu = c->mtu;
	request_init(&r, RTM_NEWLINK, NLM_F_ACK, sizeof(r.link));
	r.link.ifi_index = (int)if_nametoindex(c->ifname);
	if (r.link.ifi_index == 0)
		return -errno;
	r.link.ifi_flags = c->up ? IFF_UP : 0;
	r.link.ifi_change = IFF_UP;
	if (c->mac != NULL)
		put(&r, IFLA_ADDRESS, c->mac, sizeof(*c->mac));
	if (mtu != 0)
		put(&r, IFLA_MTU, &mtu, sizeof(mtu));
	return transact(&r, NULL, NULL);
}

int
netlink_link_set(const char *ifname, const struct mac *mac, uint16_t mtu, bool up, const char *netns)
{
	struct link_change c = {.ifname = ifname, .mac = mac, .mtu = mtu, .up = up};
	return netns_run(netns, link_set, &c);
}

struct address_change {
	int add;
	const struct host_prefix *address;
	const char *ifname;
};

static int
address_change(void *arg)
{
	const struct address_change *c = arg;
	const struct ip *ip = &c->address->ip;
	bool v4 = ip_is4(ip);
	const void *bytes = v4 ? &ip->b[12] : &ip->b[0];
	struct request r;
	request_init(&r, c->add ? RTM_NEWADDR : RTM_DELADDR,
		     (uint16_t)(NLM_F_ACK | (c->add ? NLM_F_CREATE | NLM_F_REPLACE : 0)), sizeof(r.address));
	r.address.ifa_index = if_nametoindex(c->ifname);
	if (r.address.ifa_index == 0)
		return -errno;
	r.address.ifa_family = v4 ? AF_INET : AF_INET6;
	r.address.ifa_prefixlen = (uint8_t)(c->address->prefix.len - (v4 ? 96 : 0));
	r.address.ifa_flags = v4 ? 0 : IFA_F_NODAD;
	put(&r, IFA_LOCAL, bytes, v4 ? 4 : 16);
	put(&r, IFA_ADDRESS, bytes, v4 ? 4 : 16);
	int rc = transact(&r, NULL, NULL);
	return !c->add && rc == -EADDRNOTAVAIL ? 0 : rc;
}

int
netlink_address(int add, const struct host_prefix *address, const char *ifname, const char *netns)
{
	struct address_change c = {.add = add, .address = address, .ifname = ifname};
	return netns_run(netns, address_change, &c);
}

struct route_change {
	int add;
	const struct prefix *prefix;
	const char *ifname;
	uint32_t ifindex;
};

static bool
is4(const struct prefix *p)
{
	return p->len >= 96 && ip_is4(&p->ip);
}

static const void *
route_bytes(const struct prefix *p)
{
	return is4(p) ? &p->ip.b[12] : &p->ip.b[0];
}

static void
route_init(struct request *r, uint16_t type, uint16_t flags, const struct prefix *p)
{
	bool v4 = is4(p);
	request_init(r, type, flags, sizeof(r->route));
	r->route.rtm_family = v4 ? AF_INET : AF_INET6;
	r->route.rtm_dst_len = (uint8_t)(p->len - (v4 ? 96 : 0));
	r->route.rtm_table = RT_TABLE_MAIN;
}

/* 1 when the answer is the wanted route by the wanted device. */
static int
route_matches(const struct nlmsghdr *h, const void *arg)
{
	const struct route_change *c = arg;
	const struct rtmsg *m = NLMSG_DATA(h);
	bool v4 = is4(c->prefix), by_us = false, same = c->prefix->len == (v4 ? 96 : 0);
	if (h->nlmsg_type != RTM_NEWROUTE || m->rtm_table != RT_TABLE_MAIN ||
	    m->rtm_family != (v4 ? AF_INET : AF_INET6) || m->rtm_dst_len != c->prefix->len - (v4 ? 96 : 0))
		return 0;
	int left = (int)RTM_PAYLOAD(h);
	for (const struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == RTA_DST)
			same = memcmp(RTA_DATA(a), route_bytes(c->prefix), v4 ? 4 : 16) == 0;
		else if (a->rta_type == RTA_OIF)
			by_us = memcmp(RTA_DATA(a), &c->ifindex, sizeof(c->ifindex)) == 0;
	}
	return same && by_us;
}

static int
route_change(void *arg)
{
	struct route_change *c = arg;
	struct request r;
	c->ifindex = if_nametoindex(c->ifname);
	if (c->ifindex == 0)
		return -errno;
	route_init(&r, c->add ? RTM_NEWROUTE : RTM_DELROUTE,
		   (uint16_t)(NLM_F_ACK | (c->add ? NLM_F_CREATE | NLM_F_EXCL : 0)), c->prefix);
	if (c->add) {
		r.route.rtm_protocol = RTPROT_STATIC;
		r.route.rtm_type = RTN_UNICAST;
	}
	r.route.rtm_scope = is4(c->prefix) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	if (r.route.rtm_dst_len > 0)
		put(&r, RTA_DST, route_bytes(c->prefix), is4(c->prefix) ? 4 : 16);
	put(&r, RTA_OIF, &c->ifindex, sizeof(c->ifindex));
	int rc = transact(&r, NULL, NULL);
	if (!c->add && rc == -ESRCH)
		return 0;
	if (!c->add || rc != -EEXIST)
		return rc;
	/* Left by an earlier run, or the connected route of an address: ours all the same. */
	route_init(&r, RTM_GETROUTE, NLM_F_DUMP, c->prefix);
	rc = transact(&r, route_matches, c);
	return rc == 1 ? 0 : rc == 0 ? -EEXIST : rc;
}

int
netlink_route(int add, const struct prefix *prefix, const char *ifname, const char *netns)
{
	struct route_change c = {.add = add, .prefix = prefix, .ifname = ifname};
	return netns_run(netns, route_change, &c);
}
