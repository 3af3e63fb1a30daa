/* SPDX-License-Identifier: Apache-2.0 */
#include "config_impl.h"

#define DEFAULT_MTU 1450
#define DEFAULT_VXLAN_PORT 4789 /* RFC 7348 */

static const struct mac default_gateway_mac = {{0x02, 0, 0, 0, 0, 0x01}};
static const struct pmap_type vni_type = {offsetof(struct vni_entry, vni), sizeof(uint32_t)};

bool
config_vni(const struct config *c, uint32_t vni, uint32_t *network)
{
	const struct vni_entry *entry = pmap_find(&c->vni, &vni_type, &vni);
	if (entry != NULL)
		*network = entry->network;
	return entry != NULL;
}

int
network_validate(const struct spec_network *spec, struct error *e)
{
	char where[40], ip[IP_TEXT_MAX], prefix[PREFIX_TEXT_MAX];
	if (strcmp(spec->name, "underlay") == 0)
		return error_at(e, -EINVAL, "name", "\"underlay\" is reserved: it is the network of the uplinks");
	if (spec->mode == NETWORK_L2)
		return error_at(e, -EOPNOTSUPP, "mode", "l2 is not supported yet");
	for (uint32_t i = 0; i < spec->n_subnets; i++) {
		const struct spec_subnet *s = &spec->subnets[i];
		if (ip_is_none(&s->gateway) || prefix_contains(&s->prefix, &s->gateway))
			continue;
		snprintf(where, sizeof(where), "subnets[%u].gateway", i);
		return error_at(e, -EINVAL, where, "%s is not in %s", ip_format(&s->gateway, ip),
				prefix_format(&s->prefix, prefix));
	}
	return 0;
}

static void
free_slot(void *slot)
{
	generation_free((uint32_t)(uintptr_t)slot);
}

/* A network that goes keeps its id until the root without it is the only one. */
static uint32_t
free_id(const struct config_txn *t)
{
	for (uint32_t id = 1; id < WEFT_MAX_NETWORKS; id++) {
		if (t->c->network[id] == NULL && t->base->network[id] == NULL)
			return id;
	}
	return 0;
}

/* Made as soon as the object is put, since others refer to the network by its id. */
int
network_prepare(struct config_txn *t, const struct network *before, struct change *ch, struct error *e)
{
	const struct spec_network *spec = &ch->now->spec->network;
	const struct network *same = before == NULL && ch->base != NULL ? ch->base->compiled : before;
	struct network *n = txn_alloc(&t->txn, sizeof(*n));
	n->id = same != NULL ? same->id : free_id(t);
	if (n->id == 0)
		return error_set(e, -ENOSPC, "there are %d networks already, the most there can be",
				 WEFT_MAX_NETWORKS - 1);
	n->slot = same != NULL ? same->slot : generation_alloc();
	if (n->slot == 0)
		return error_set(e, -ENOSPC, "all %u generation slots are in use", WEFT_MAX_SLOTS - 1);
	if (same == NULL)
		txn_on_abort(&t->txn, free_slot, (void *)(uintptr_t)n->slot);
	n->vni = spec->vni;
	n->mtu = spec->mtu != 0 ? spec->mtu : DEFAULT_MTU;
	n->vxlan_port = spec->vxlan_port != 0 ? spec->vxlan_port : DEFAULT_VXLAN_PORT;
	static const struct mac zero;
	n->gateway_mac = mac_equal(&spec->gateway_mac, &zero) ? default_gateway_mac : spec->gateway_mac;
	n->n_subnets = spec->n_subnets;
	n->subnets = spec->subnets;
	n->spec = spec;
	t->c->network[n->id] = n;
	object_compiled(ch, n);
	if (before != NULL && txn_owns(&t->txn, before))
		txn_retire(&t->txn, (void *)(uintptr_t)before);
	return 0;
}

void
network_forget(struct config_txn *t, const struct network *n)
{
	t->c->network[n->id] = NULL;
	if (!txn_owns(&t->txn, n))
		return;
	if (t->base->network[n->id] == NULL)
		txn_after_grace(&t->txn, free_slot, (void *)(uintptr_t)n->slot);
	txn_retire(&t->txn, (void *)(uintptr_t)n);
}

static void
take_out(struct config_txn *t, const struct change *ch)
{
	const struct network *n = ch->base->compiled;
	const struct spec_network *spec = &ch->base->spec->network;
	if (n->vni != 0)
		txn_retire(&t->txn, pmap_remove(&t->c->vni, &vni_type, &t->txn, &n->vni));
	for (uint32_t i = 0; i < spec->n_subnets; i++) {
		struct prefix gateway = prefix_of(&spec->subnets[i].gateway);
		host_fib_drop(t, &spec->subnets[i].prefix, n->id);
		fib_remove(t, n->id, &gateway, spec);
	}
	wire_network_remove(t, n);
	config_bump(t, n->slot);
	txn_retire(&t->txn, (void *)(uintptr_t)n);
	if (ch->now == NULL)
		txn_after_grace(&t->txn, free_slot, (void *)(uintptr_t)n->slot);
}

void
networks_take_out(struct config_txn *t)
{
	for (const struct change *ch = t->changes[KIND_NETWORK]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL)
			take_out(t, ch);
	}
}

static int
put_vni(struct config_txn *t, const struct network *n, struct error *e)
{
	uint32_t other;
	if (config_vni(t->c, n->vni, &other))
		return error_at(e, -EEXIST, "vni", "%u is the vni of Network \"%s\"", n->vni,
				t->c->network[other]->spec->name);
	struct vni_entry *entry = txn_alloc(&t->txn, sizeof(*entry));
	entry->vni = n->vni;
	entry->network = n->id;
	pmap_put(&t->c->vni, &vni_type, &t->txn, entry);
	return 0;
}

static int
put_gateway(struct config_txn *t, const struct network *n, uint32_t i, struct error *e)
{
	const struct ip *gateway = &n->subnets[i].gateway;
	char where[40];
	if (ip_is_none(gateway))
		return 0;
	snprintf(where, sizeof(where), "subnets[%u].gateway", i);
	struct route r = {.key = {.ip = *gateway, .network = n->id, .len = 128},
			  .kind = ROUTE_GATEWAY,
			  .slot = n->slot,
			  .owner = n->spec};
	return fib_put(t, &r, where, e);
}

static int
put_in(struct config_txn *t, const struct network *n, struct error *e)
{
	wire_network_put(t, n);
	int rc = n->vni != 0 ? put_vni(t, n, e) : 0;
	for (uint32_t i = 0; i < n->n_subnets && rc == 0; i++) {
		host_fib_add(t, &n->subnets[i].prefix, n->id);
		rc = put_gateway(t, n, i, e);
	}
	return rc;
}

/* Which UDP ports a worker has to look at. */
static int
list_vxlan_ports(struct config *c, struct error *e)
{
	const unsigned int room = sizeof(c->vxlan_ports) / sizeof(c->vxlan_ports[0]);
	memset(c->vxlan_ports, 0, sizeof(c->vxlan_ports));
	for (uint32_t id = 1, n = 0; id < WEFT_MAX_NETWORKS; id++) {
		const struct network *net = c->network[id];
		if (net == NULL || net->vni == 0 || config_is_vxlan_port(c, net->vxlan_port))
			continue;
		if (n == room)
			return error_set(e, -ENOSPC,
					 "networks may have %u different values of vxlanPort, \"%s\" adds another",
					 room, net->spec->name);
		c->vxlan_ports[n++] = net->vxlan_port;
	}
	return 0;
}

int
networks_put_in(struct config_txn *t, struct error *e)
{
	if (t->changes[KIND_NETWORK] == NULL)
		return 0;
	for (const struct change *ch = t->changes[KIND_NETWORK]; ch != NULL; ch = ch->next) {
		int rc = ch->now != NULL ? put_in(t, ch->now->compiled, e) : 0;
		if (rc < 0)
			return blame(t, KIND_NETWORK, ch->name, rc);
	}
	t->c->n_networks = WEFT_MAX_NETWORKS;
	while (t->c->n_networks > 1 && t->c->network[t->c->n_networks - 1] == NULL)
		t->c->n_networks--;
	return list_vxlan_ports(t->c, e);
}
