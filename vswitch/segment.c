/* SPDX-License-Identifier: Apache-2.0 */
#include "segment.h"

enum { OPTION_END, OPTION_NOP, OPTION_SCALE = 3 };

uint8_t
segment_scale(const uint8_t *option, unsigned int size)
{
	for (unsigned int at = 0; at < size && option[at] != OPTION_END;) {
		if (option[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (at + 1 >= size || option[at + 1] < 2 || at + option[at + 1] > size)
			break;
		if (option[at] == OPTION_SCALE && option[at + 1] == 3)
			return option[at + 2] < TCP_SCALE_MAX ? option[at + 2] : (uint8_t)TCP_SCALE_MAX;
		at += option[at + 1];
	}
	return TCP_SCALE_NONE;
}

#define SCTP_HEADER 12
#define T_BIT 1

static uint32_t
word_at(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return rte_be_to_cpu_32(v);
}

bool
sctp_read(const struct burst *b, uint32_t i, struct sctp_packet *s)
{
	const struct packet *p = &b->p[i];
	unsigned int room = (unsigned int)(p->ip_end - p->l4);
	if (p->proto != IPPROTO_SCTP || p->flags & PACKET_LATER || room < SCTP_HEADER + 4)
		return false;
	const uint8_t *header = packet_at(b, i, p->l4), *chunk = header + SCTP_HEADER;
	unsigned int length = (unsigned int)chunk[2] << 8 | chunk[3];
	bool init = chunk[0] == SCTP_CHUNK_INIT || chunk[0] == SCTP_CHUNK_INIT_ACK;
	bool alone = init || chunk[0] == SCTP_CHUNK_SHUTDOWN_COMPLETE; /* RFC 9260 6.10 */
	bool whole = !(p->flags & PACKET_FRAGMENT);
	if (length < (init ? 20 : 4) || (whole && SCTP_HEADER + length > room) || (init && room < SCTP_HEADER + 8) ||
	    (alone && whole && SCTP_HEADER + (length + 3) / 4 * 4 < room))
		return false;
	s->tag = word_at(header + 4);
	s->init_tag = init ? word_at(chunk + 4) : 0;
	s->chunk = chunk[0];
	s->reflected = (chunk[0] == SCTP_CHUNK_ABORT || chunk[0] == SCTP_CHUNK_SHUTDOWN_COMPLETE) && chunk[1] & T_BIT;
	return !init || s->init_tag != 0;
}
