/* SPDX-License-Identifier: Apache-2.0 */
#include "kinds.h"

#include <weft/port.h>

static const char *const types[] = {[PORT_VHOST_USER] = "vhost-user",
				    [PORT_MEMIF] = "memif",
				    [PORT_TAP] = "tap",
				    [PORT_NIC] = "nic",
				    [PORT_TEST] = "test",
				    NULL};
static const char *const roles[] = {"server", "client", NULL};

#define VHOST (1u << PORT_VHOST_USER)
#define MEMIF (1u << PORT_MEMIF)
#define TAP (1u << PORT_TAP)
#define NIC (1u << PORT_NIC)
#define TEST (1u << PORT_TEST)

/* Which fields go with which types; the others go with all. */
static const struct {
	const char *field;
	unsigned int allowed, required;
} fits[] = {
	{"socket", VHOST | MEMIF, VHOST | MEMIF},
	{"role", VHOST | MEMIF, 0},
	{"socketOwner", VHOST | MEMIF, 0},
	{"socketMode", VHOST | MEMIF, 0},
	{"id", MEMIF, 0},
	{"secret", MEMIF, 0},
	{"ringSize", MEMIF, 0},
	{"netns", TAP, 0},
	{"ifname", TAP, TAP},
	{"mac", TAP | TEST, 0},
	{"host", TAP | TEST, 0},
	{"ips", TAP | NIC | TEST, 0},
	{"device", NIC, NIC},
	{"uplink", NIC | TEST, 0},
	{"vlan", NIC, 0},
};

static int
wrong_type(const char *field, unsigned int allowed, enum port_type type, struct error *e)
{
	char list[64] = "";
	size_t n = 0;
	for (unsigned int t = 0; t < PORT_TEST; t++)
		if ((allowed >> t & 1) != 0)
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n > 0 ? " and " : "", types[t]);
	return error_at(e, -EINVAL, field, "does not go with type %s, only with %s", types[type], list);
}

static int
check_ifname(const char *name, struct error *e)
{
	/* What dev_valid_name() of Linux takes. */
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strpbrk(name, "/: \t%") != NULL)
		return error_at(e, -EINVAL, "ifname", "is not the name of a device: no / : %% or blanks");
	return 0;
}

static int
check_mode(const char *mode, struct error *e)
{
	size_t n = strlen(mode);
	if (n < 3 || n > 4 || strspn(mode, "01234567") != n || (n == 4 && mode[0] != '0'))
		return error_at(e, -EINVAL, "socketMode", "must be octal permission bits such as \"0660\"");
	return 0;
}

static int
check_place(const struct spec_port *p, struct error *e)
{
	if (p->host && p->uplink)
		return error_at(e, -EINVAL, "uplink", "a port is either host or uplink");
	if (p->host && p->netns != NULL)
		return error_at(e, -EINVAL, "netns", "the host port lies in the switch's own namespace");
	if (p->ips.n > 0 && !p->host && !p->uplink)
		return error_at(e, -EINVAL, "ips",
				"only host and uplink ports have addresses; a pod's are its Endpoint's");
	return 0;
}

static int
check(void *value, uint64_t seen, struct error *e)
{
	const struct spec_port *p = value;
	int rc = 0;
	for (size_t i = 0; i < sizeof(fits) / sizeof(fits[0]); i++) {
		bool given = field_seen(&port_table, seen, fits[i].field);
		if (given && (fits[i].allowed >> p->type & 1) == 0)
			return wrong_type(fits[i].field, fits[i].allowed, p->type, e);
		if (!given && (fits[i].required >> p->type & 1) != 0)
			return error_at(e, -EINVAL, fits[i].field, "is required for type %s", types[p->type]);
	}
	if (p->type == PORT_MEMIF && (p->ring_size & (p->ring_size - 1)) != 0)
		return error_at(e, -EINVAL, "ringSize", "%u is not a power of two", p->ring_size);
	if (p->ifname != NULL)
		rc = check_ifname(p->ifname, e);
	if (rc == 0 && p->socket_mode != NULL)
		rc = check_mode(p->socket_mode, e);
	return rc == 0 ? check_place(p, e) : rc;
}

static const struct field fields[] = {
	{.name = "name",
	 .type = FIELD_NAME,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_port, name),
	 .help = "the port's name"},
	{.name = "type",
	 .type = FIELD_WORD,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct spec_port, type),
	 .words = types,
	 .column = true,
	 .help = "what is at the other end; test is for programs that carry the switch inside"},
	{.name = "socket",
	 .type = FIELD_STRING,
	 FIELD_AT(struct spec_port, socket),
	 .min = 1,
	 .max = 107,
	 .column = true,
	 .help = "vhost-user, memif: path of the socket, absolute or below the socket folder"},
	{.name = "role",
	 .type = FIELD_WORD,
	 FIELD_AT(struct spec_port, role),
	 .words = roles,
	 .min = ROLE_SERVER,
	 .column = true,
	 .help = "vhost-user, memif: the switch's own; a server (the default) listens"},
	{.name = "queues",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_port, queues),
	 .min = 1,
	 .max = PORT_MAX_QUEUES,
	 .fallback = 1,
	 .help = "queue pairs"},
	{.name = "socketOwner",
	 .type = FIELD_NAME,
	 FIELD_AT(struct spec_port, socket_owner),
	 .max = 32,
	 .help = "user that a socket of the switch's is given to; a client finds its server's as it is"},
	{.name = "socketMode",
	 .type = FIELD_STRING,
	 FIELD_AT(struct spec_port, socket_mode),
	 .max = 4,
	 .help = "permission bits of a socket of the switch's, octal: \"0660\""},
	{.name = "id",
	 .type = FIELD_NUMBER,
	 FIELD_AT(struct spec_port, id),
	 .help = "memif: interface id on the socket"},
	{.name = "secret",
	 .type = FIELD_STRING,
	 FIELD_AT(struct spec_port, secret),
	 .min = 1,
	 .max = 24,
	 .secret = true,
	 .help = "memif: what both ends must know"},
	{.name = "ringSize",
	 .type = FIELD_NUMBER,
	 FIELD_AT(struct spec_port, ring_size),
	 .min = 32,
	 .max = 16384,
	 .help = "memif: slots of a ring, a power of two; 1024 unless given"},
	{.name = "netns",
	 .type = FIELD_STRING,
	 FIELD_AT(struct spec_port, netns),
	 .min = 1,
	 .max = 255,
	 .help = "tap: path of the pod's network namespace; the switch's own unless given"},
	{.name = "ifname",
	 .type = FIELD_STRING,
	 FIELD_AT(struct spec_port, ifname),
	 .min = 1,
	 .max = 15,
	 .column = true,
	 .help = "tap: name of the device"},
	{.name = "mac",
	 .type = FIELD_MAC,
	 FIELD_AT(struct spec_port, mac),
	 .help = "tap: address of the device; random unless given"},
	{.name = "mtu",
	 .type = FIELD_NUMBER,
	 FIELD_AT(struct spec_port, mtu),
	 .min = 576,
	 .max = 9216,
	 .help = "largest IP packet; 1500 unless given"},
	{.name = "host",
	 .type = FIELD_BOOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_port, host),
	 .help = "tap: the node's own way in and out; what is punted goes here"},
	{.name = "ips",
	 .type = FIELD_HOST_PREFIX,
	 FIELD_LIST(struct spec_port, ips.v, ips.n),
	 .max_items = 256,
	 .column = true,
	 .help = "host and uplink ports: the node's addresses there, with their networks: 192.0.2.1/24"},
	{.name = "device",
	 .type = FIELD_STRING,
	 FIELD_AT(struct spec_port, device),
	 .min = 1,
	 .max = 255,
	 .column = true,
	 .help = "nic: PCI address, or a virtual device with arguments: net_af_packet0,iface=eth1"},
	{.name = "uplink",
	 .type = FIELD_BOOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_port, uplink),
	 .help = "nic: carries the underlay"},
	{.name = "vlan",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct spec_port, vlan),
	 .max = 4094,
	 .help = "nic: 802.1Q tag of the underlay; 0: untagged"},
};
const struct field_table port_table = FIELD_TABLE(fields, struct spec_port, check);
