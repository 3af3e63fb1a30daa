/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_impl.h"

static const struct pmap_type by_id = {offsetof(struct policy_network, network), sizeof(uint32_t)};

const struct policy_network *
policy_network_find(const struct policy_tables *p, uint32_t network)
{
	return pmap_find(&p->network, &by_id, &network);
}

struct policy_network *
policy_network_own(struct policy_tables *p, struct txn *t, uint32_t network)
{
	const struct policy_network *n = policy_network_find(p, network);
	if (n != NULL && txn_owns(t, n))
		return (struct policy_network *)(uintptr_t)n;
	struct policy_network *out = txn_alloc(t, sizeof(*out));
	out->network = network;
	if (n != NULL)
		*out = *n;
	pmap_put(&p->network, &by_id, t, out);
	discard(t, n);
	return out;
}

void
policy_network_forget(struct policy_tables *p, struct txn *t, uint32_t network)
{
	const struct policy_network *n = policy_network_find(p, network);
	if (n == NULL || n->policies != NULL || n->atoms.count != 0)
		return;
	pmap_remove(&p->network, &by_id, t, &network);
	discard(t, n);
}
