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
