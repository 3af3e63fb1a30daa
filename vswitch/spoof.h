/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who an endpoint may say that it is. antiSpoof strict: a MAC and an address that belong together, its own MAC with its own addresses, its
 * prefixes and what `allowed` names without a MAC, another MAC with what `allowed` names with it. mac: one of these MACs. off: anybody.
 */
#ifndef VSWITCH_SPOOF_H
#define VSWITCH_SPOOF_H

#include <weft/config.h>

/* Is it a MAC that the endpoint may send from? */
bool endpoint_has_mac(const struct endpoint *ep, const struct mac *mac);
/* Both together. */
bool endpoint_may_speak(const struct endpoint *ep, const struct mac *mac, const struct ip *ip);

#endif
