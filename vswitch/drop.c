/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/drop.h>

const struct drop_text drop_texts[DROP_REASON_COUNT] = {
#define X(upper, name, help) [DROP_##upper] = {name, help},
	DROP_REASONS(X)
#undef X
};
