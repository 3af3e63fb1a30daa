/* SPDX-License-Identifier: Apache-2.0 */
/* Which MACs are endpoints' of this node: nobody behind a tunnel has one of them. */
#include "config_impl.h"

struct mac_key {
	uint32_t network;
	struct mac mac;
	uint16_t zero;
};
struct mac_entry {
	struct mac_key key;
	uint32_t uses;
};
static const struct pmap_type mac_type = {offsetof(struct mac_entry, key), sizeof(struct mac_key)};
static_assert(sizeof(struct mac_key) == 12, "no padding in a key");

bool
config_has_mac(const struct config *c, uint32_t network, const struct mac *mac)
{
	struct mac_key key = {.network = network, .mac = *mac};
	return pmap_find(&c->macs, &mac_type, &key) != NULL;
}

void
mac_add(struct config_txn *t, uint32_t network, const struct mac *mac, int by)
{
	struct mac_key key = {.network = network, .mac = *mac};
	const struct mac_entry *old = pmap_find(&t->c->macs, &mac_type, &key);
	uint32_t uses = (old != NULL ? old->uses : 0) + (uint32_t)by;
	void *gone;
	if (uses == 0) {
		gone = pmap_remove(&t->c->macs, &mac_type, &t->txn, &key);
	} else {
		struct mac_entry *entry = txn_alloc(&t->txn, sizeof(*entry));
		*entry = (struct mac_entry){key, uses};
		gone = pmap_put(&t->c->macs, &mac_type, &t->txn, entry);
	}
	if (gone != NULL)
		txn_retire(&t->txn, gone);
}
