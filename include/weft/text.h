/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as text and back. Parsers accept exactly what RFC 5952 and inet_pton(3) accept, and nothing after it. */
#ifndef WEFT_TEXT_H
#define WEFT_TEXT_H

#include <stdlib.h>

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IP_TEXT_MAX 46     /* room for any formatted address, with its NUL */
#define PREFIX_TEXT_MAX 50
#define MAC_TEXT_MAX 18

/* 0 or -EINVAL. "::ffff:1.2.3.4" reads as the IPv4 address 1.2.3.4. */
static inline int
ip_parse(const char *text, struct ip *out)
{
	struct in_addr a4;
	if (inet_pton(AF_INET, text, &a4) == 1) {
		*out = ip_from4(a4.s_addr);
		return 0;
	}
	return inet_pton(AF_INET6, text, out->b) == 1 ? 0 : -EINVAL;
}

/* Writes into buf (IP_TEXT_MAX bytes) and returns it. */
static inline const char *
ip_format(const struct ip *ip, char *buf)
{
	if (ip_is4(ip))
		inet_ntop(AF_INET, &ip->w[3], buf, IP_TEXT_MAX);
	else
		inet_ntop(AF_INET6, ip->b, buf, IP_TEXT_MAX);
	return buf;
}

/*
 * "10.0.0.0/8", or a bare address, which is its /32 or /128. 0 or -EINVAL. Host bits are cleared in
 * out; *host, when not NULL, receives the address as written ("192.0.2.1/24" names both).
 */
static inline int
prefix_parse(const char *text, struct prefix *out, struct ip *host)
{
	char addr[IP_TEXT_MAX];
	const char *slash = strchr(text, '/');
	size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
	struct ip ip;
	if (n == 0 || n >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text, n);
	addr[n] = '\0';
	if (ip_parse(addr, &ip) < 0)
		return -EINVAL;
	unsigned long max = ip_is4(&ip) ? 32 : 128, len = max;
	if (slash != NULL) {
		char *end;
		if (slash[1] < '0' || slash[1] > '9')
			return -EINVAL;
		len = strtoul(slash + 1, &end, 10);
		if (*end != '\0' || len > max)
			return -EINVAL;
	}
	out->len = (uint8_t)(len + (128 - max));
	out->ip = ip_masked(&ip, out->len);
	if (host != NULL)
		*host = ip;
	return 0;
}

/* Writes into buf (PREFIX_TEXT_MAX bytes) and returns it. Always with a length. */
static inline const char *
prefix_format(const struct prefix *p, char *buf)
{
	char addr[IP_TEXT_MAX];
	ip_format(&p->ip, addr);
	/* ::/0 .. ::/95 are IPv6 although nothing in them is set. */
	bool v4 = p->len >= 96 && ip_is4(&p->ip);
	snprintf(buf, PREFIX_TEXT_MAX, "%s/%u", addr, v4 ? p->len - 96u : (unsigned int)p->len);
	return buf;
}

/* "02:00:00:00:00:01", either case. 0 or -EINVAL. */
static inline int
mac_parse(const char *text, struct mac *out)
{
	for (int i = 0; i < 6; i++) {
		unsigned int v = 0;
		for (int d = 0; d < 2; d++) {
			char c = *text++;
			if (c >= '0' && c <= '9')
				v = v * 16 + (unsigned int)(c - '0');
			else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
				v = v * 16 + (unsigned int)((c | 0x20) - 'a' + 10);
			else
				return -EINVAL;
		}
		out->b[i] = (uint8_t)v;
		if (*text++ != (i < 5 ? ':' : '\0'))
			return -EINVAL;
	}
	return 0;
}

/* Writes into buf (MAC_TEXT_MAX bytes) and returns it. */
static inline const char *
mac_format(const struct mac *m, char *buf)
{
	snprintf(buf, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", m->b[0], m->b[1], m->b[2], m->b[3], m->b[4],
		 m->b[5]);
	return buf;
}

#ifdef __cplusplus
}
#endif

#endif
