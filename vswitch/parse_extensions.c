/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/base.h>

#include <weft/drop.h>

#include "parse.h"

#define CHAIN_HEADERS 8
#define CHAIN_BYTES 256

/* The fragment header (RFC 8200 4.5): next header, reserved, offset with M in bit 0, identification. */
static void
read_fragment(const uint8_t *h, unsigned int behind, struct ip6_chain *out)
{
	uint16_t field = (uint16_t)(h[2] << 8 | h[3]);
	out->fragment_at = (uint16_t)behind;
	out->offset = field & 0xfff8;
	out->more = field & 1;
	memcpy(&out->id, h + 4, sizeof(out->id));
}

int
ip6_chain(const uint8_t *frame, unsigned int at, unsigned int end, uint8_t next, struct ip6_chain *out)
{
	const unsigned int start = at;
	*out = (struct ip6_chain){.l4 = (uint16_t)at};
	for (int count = 0; count <= CHAIN_HEADERS; count++) {
		const uint8_t *h = frame + at;
		/* Within a first fragment the chain must end there (RFC 7112). */
		const int cut = out->more ? DROP_FRAGMENT_TINY : DROP_IP_HEADER;
		unsigned int size;
		bool later = out->fragment_at != 0 && out->offset != 0;
		if (later || (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
			      next != IPPROTO_AH && next != IPPROTO_FRAGMENT)) {
			out->proto = next;
			out->l4 = (uint16_t)at;
			return -1;
		}
		if (at + 8 > end)
			return cut;
		if ((next == IPPROTO_ROUTING && h[2] == 0) || (next == IPPROTO_FRAGMENT && out->fragment_at != 0))
			return DROP_EXT_HEADERS;
		size = next == IPPROTO_AH ? (h[1] + 2u) * 4 : next == IPPROTO_FRAGMENT ? 8 : (h[1] + 1u) * 8;
		if (at + size > end)
			return cut;
		if (next == IPPROTO_FRAGMENT)
			read_fragment(h, at + size, out);
		next = h[0];
		at += size;
		if (at - start > CHAIN_BYTES)
			return DROP_EXT_HEADERS;
	}
	return DROP_EXT_HEADERS;
}
