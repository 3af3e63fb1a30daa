/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words everything else is written in: addresses, prefixes, errors.
 *
 * Byte order: addresses, ports and ethertypes that came from or go to the wire are in network
 * byte order unless a name or a comment says "host order". Lengths, ids and times are host order.
 * Return values: a verb returns 0 or -errno; a getter a value or NULL; a predicate bool.
 */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

/* <netinet/ip.h>, which DPDK's rte_ip.h brings in, has a `struct ip` (the IPv4 header) that nothing here uses. Include this
 * header before rte_ip.h. */
#include <netinet/in.h>
#define ip netinet_ip_header
#include <netinet/ip.h>
#undef ip

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Limits that size arrays. Ids below them are stable for the life of what they name. */
#define WEFT_MAX_PORTS 1024     /* port ids 0..1023 */
#define WEFT_MAX_NETWORKS 4096  /* network ids 0..4095; 0 is "underlay" */
#define WEFT_MAX_WORKERS 32
#define WEFT_MAX_HOPS (1u << 16)
#define WEFT_MAX_NEIGHBOURS 4096
#define WEFT_MAX_SLOTS (1u << 20) /* generation slots, see generation.h */
#define WEFT_NAME_MAX 253         /* an object's name, in bytes without the NUL (as Kubernetes) */
#define WEFT_BURST 64             /* packets in one burst: what waits for memory, waits together (docs/performance.md) */

#define NETWORK_UNDERLAY 0

/* An IPv4 address is held IPv4-mapped, ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so that a table needs one kind of key. */
struct ip {
	union {
		uint8_t b[16];
		uint16_t h[8];
		uint32_t w[4];
		uint64_t q[2];
	};
};

/* len counts bits of the 128: an IPv4 prefix /n has len 96 + n. Bits past len are zero. */
struct prefix {
	struct ip ip;
	uint8_t len;
};

struct mac {
	uint8_t b[6];
};

/*
 * Why something was refused, for a person. `path` says where in the request ("backends[0].port") and
 * may be empty; whoever is further out prepends. Holds no pointers: copy freely.
 */
struct error {
	char path[160];
	char text[352];
};

/* Fill `e` (may be NULL) and return rc, so that `return error_set(e, -EINVAL, "...")` reads as one step. */
__attribute__((format(printf, 3, 4))) static inline int
error_set(struct error *e, int rc, const char *fmt, ...)
{
	if (e != NULL) {
		va_list ap;
		va_start(ap, fmt);
		e->path[0] = '\0';
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
	}
	return rc;
}

/* As error_set, and says where: the path is printed from `where` alone. */
__attribute__((format(printf, 4, 5))) static inline int
error_at(struct error *e, int rc, const char *where, const char *fmt, ...)
{
	if (e != NULL) {
		va_list ap;
		va_start(ap, fmt);
		snprintf(e->path, sizeof(e->path), "%s", where);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
	}
	return rc;
}

static inline struct ip
ip_from4(uint32_t addr_be)
{
	/* In whole registers: an address pieced together in memory is slow to read as a whole (store forwarding fails). */
	struct ip ip;
	ip.q[0] = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	ip.q[1] = (uint64_t)addr_be << 32 | 0xffff0000;
#else
	ip.q[1] = UINT64_C(0xffff) << 32 | addr_be;
#endif
	return ip;
}

static inline struct ip
ip_from6(const void *addr)
{
	struct ip ip;
	memcpy(ip.b, addr, sizeof(ip.b));
	return ip;
}

static inline bool
ip_is4(const struct ip *ip)
{
	return ip->q[0] == 0 && ip->h[4] == 0 && ip->h[5] == 0xffff;
}

/* fe80::/10 (RFC 4291 2.5.6). */
static inline bool
ip_is_link_local6(const struct ip *ip)
{
	return ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80;
}

static inline bool
ip_equal(const struct ip *a, const struct ip *b)
{
	return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}

/* No address at all: 16 zero bytes (also IPv6's "::"). */
static inline bool
ip_is_none(const struct ip *ip)
{
	return ip->q[0] == 0 && ip->q[1] == 0;
}

static inline bool
mac_equal(const struct mac *a, const struct mac *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* `ip` with the bits past len cleared. */
static inline struct ip
ip_masked(const struct ip *ip, uint8_t len)
{
	struct ip out = *ip;
	unsigned int byte = len / 8;
	if (byte < 16) {
		out.b[byte] = (uint8_t)(out.b[byte] & (0xff00 >> (len % 8)));
		for (unsigned int i = byte + 1; i < 16; i++)
			out.b[i] = 0;
	}
	return out;
}

/* Of its own family: ::/0 holds no IPv4 address, though that is kept as an IPv4-mapped one. */
static inline bool
prefix_contains(const struct prefix *p, const struct ip *ip)
{
	if (p->len < 96 && ip_is4(ip))
		return false;
	struct ip m = ip_masked(ip, p->len);
	return ip_equal(&m, &p->ip);
}

#ifdef __cplusplus
}
#endif

#endif
