/* SPDX-License-Identifier: Apache-2.0 */
#include "respond.h"
#include "spoof.h"

/* An entry without a MAC means the endpoint's own. */
static bool
entry_has_mac(const struct endpoint *ep, const struct spec_allowed *entry, const struct mac *mac)
{
	static const struct mac unset;
	return mac_equal(mac, mac_equal(&entry->mac, &unset) ? &ep->mac : &entry->mac);
}

bool
endpoint_has_mac(const struct endpoint *ep, const struct mac *mac)
{
	if (mac_equal(mac, &ep->mac) || ep->anti_spoof == ANTI_SPOOF_OFF)
		return true;
	for (uint32_t k = 0; k < ep->spec->n_allowed; k++)
		if (entry_has_mac(ep, &ep->spec->allowed[k], mac))
			return true;
	return false;
}

bool
endpoint_may_speak(const struct endpoint *ep, const struct mac *mac, const struct ip *ip)
{
	if (ep->anti_spoof != ANTI_SPOOF_STRICT)
		return endpoint_has_mac(ep, mac);
	if (mac_equal(mac, &ep->mac)) {
		if (endpoint_owns(ep, ip))
			return true;
		for (uint32_t k = 0; k < ep->spec->prefixes.n; k++)
			if (prefix_contains(&ep->spec->prefixes.v[k], ip))
				return true;
	}
	for (uint32_t k = 0; k < ep->spec->n_allowed; k++)
		if (entry_has_mac(ep, &ep->spec->allowed[k], mac) && prefix_contains(&ep->spec->allowed[k].ip, ip))
			return true;
	return false;
}
