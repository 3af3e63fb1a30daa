/* SPDX-License-Identifier: Apache-2.0 */
#include "config_impl.h"

static const struct pmap_type vtep_type = {offsetof(struct vtep, ip), sizeof(struct ip) + sizeof(uint32_t)};

static_assert(offsetof(struct vtep, network) == sizeof(struct ip), "the key is one piece");

const struct vtep *
config_vtep(const struct config *c, uint32_t network, const struct ip *ip)
{
	struct vtep key = {.ip = *ip, .network = network};
	return pmap_find(&c->vtep, &vtep_type, &key);
}

static const struct vtep_entry *
entry_find(const struct config *c, const struct ip *ip, uint32_t network)
{
	return (const struct vtep_entry *)config_vtep(c, network, ip);
}

int
remote_validate(const struct config_txn *t, const struct spec_remote *spec, struct error *e)
{
	uint32_t network = refer_overlay(t, spec->network, e);
	char text[IP_TEXT_MAX];
	if (network == NETWORK_NONE)
		return -ENOENT;
	if (t->c->network[network]->vni == 0)
		return error_at(e, -EINVAL, "network", "Network \"%s\" has no vni, so nothing of it can be remote",
				spec->network);
	if (!ip_is4(&spec->vtep))
		return error_at(e, -EOPNOTSUPP, "vtep", "%s: only IPv4 is supported yet", ip_format(&spec->vtep, text));
	return 0;
}

static bool
looks_changed(const struct network *a, const struct network *b)
{
	return a->mtu != b->mtu || a->vni != b->vni || a->vxlan_port != b->vxlan_port ||
	       !mac_equal(&a->gateway_mac, &b->gateway_mac);
}

static bool
way_changed(const struct config_txn *t, const struct ip *vtep)
{
	struct ip before, after;
	bool had = underlay_next_hop(t->base, vtep, &before), has = underlay_next_hop(t->c, vtep, &after);
	return had != has || (had && !ip_equal(&before, &after));
}

static int
touch_if_affected(const void *object, void *arg)
{
	const struct config_object *o = object;
	struct config_txn *t = arg;
	uint32_t id = ((const struct remote_state *)o->compiled)->network;
	const struct network *before = t->base->network[id], *now = t->c->network[id];
	if (t->uplink_changed || (now != NULL && now != before && looks_changed(now, before)) ||
	    (t->changes[KIND_ROUTE] != NULL && way_changed(t, &o->spec->remote.vtep)))
		object_touch(t, KIND_REMOTE, o->name);
	return 0;
}

static void
touch_sharers(struct config_txn *t, const struct vtep_entry *entry)
{
	for (uint32_t i = 0; entry != NULL && i < entry->v.uses; i++)
		object_touch(t, KIND_REMOTE, entry->remote[i]->name);
}

void
remotes_touch(struct config_txn *t)
{
	if (t->uplink_changed || t->changes[KIND_NETWORK] != NULL || t->changes[KIND_ROUTE] != NULL)
		pmap_walk(&t->base->objects[KIND_REMOTE], touch_if_affected, t);
	/* Routes hold pointers to the VTEP's entry, which is made anew. What this appends is gone through as well. */
	for (const struct change *ch = t->changes[KIND_REMOTE]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL)
			touch_sharers(t, entry_find(t->base, &ch->base->spec->remote.vtep,
						    ((const struct remote_state *)ch->base->compiled)->network));
		const struct spec_remote *now = ch->now != NULL ? &ch->now->spec->remote : NULL;
		uint32_t network = now != NULL ? refer_network(t, now->network, NULL) : NETWORK_NONE;
		if (network != NETWORK_NONE)
			touch_sharers(t, entry_find(t->base, &now->vtep, network));
	}
}

static bool
is_zero(const struct mac *mac)
{
	static const struct mac zero;
	return mac_equal(mac, &zero);
}

static const struct mac *
endpoint_mac(const struct spec_remote *spec, uint32_t i, const struct remote_state *state)
{
	return is_zero(&spec->endpoints[i].mac) ? &state->mac : &spec->endpoints[i].mac;
}

/* The entry as this txn may change it, with room for one Remote more. */
static struct vtep_entry *
entry_writable(struct config_txn *t, const struct ip *ip, uint32_t network)
{
	const struct vtep_entry *old = entry_find(t->c, ip, network);
	uint32_t n = old != NULL ? old->v.uses : 0;
	size_t list = n * sizeof(old->remote[0]);
	struct vtep_entry *entry = txn_alloc(&t->txn, sizeof(*entry) + list + sizeof(entry->remote[0]));
	if (old != NULL) {
		memcpy(entry, old, sizeof(*entry) + list);
	} else {
		entry->v.ip = *ip;
		entry->v.network = network;
	}
	void *replaced = pmap_put(&t->c->vtep, &vtep_type, &t->txn, entry);
	if (replaced != NULL)
		txn_discard(&t->txn, replaced);
	return entry;
}

static void
vtep_leave(struct config_txn *t, const struct spec_remote *spec, uint32_t network)
{
	struct vtep_entry *entry = entry_writable(t, &spec->vtep, network);
	uint32_t at = 0;
	while (entry->remote[at] != spec)
		at++;
	for (entry->v.uses--; at < entry->v.uses; at++)
		entry->remote[at] = entry->remote[at + 1];
	if (entry->ready)
		tunnel_drop(t, &entry->v.ip, network, &entry->mac);
	entry->ready = false;
}

static void
take_out(struct config_txn *t, const struct change *ch)
{
	const struct spec_remote *spec = &ch->base->spec->remote;
	const struct remote_state *state = ch->base->compiled;
	for (uint32_t i = 0; i < spec->prefixes.n; i++) {
		fib_remove(t, state->network, &spec->prefixes.v[i], spec);
		host_fib_drop(t, &spec->prefixes.v[i], state->network);
	}
	for (uint32_t i = 0; i < spec->n_endpoints; i++) {
		struct prefix p = prefix_of(&spec->endpoints[i].ip);
		fib_remove(t, state->network, &p, spec);
		host_fib_drop(t, &p, state->network);
		tunnel_drop(t, &spec->vtep, state->network, endpoint_mac(spec, i, state));
	}
	tunnel_drop(t, &spec->vtep, state->network, &state->mac);
	vtep_leave(t, spec, state->network);
	txn_retire(&t->txn, (void *)(uintptr_t)state);
}

void
remotes_take_out(struct config_txn *t)
{
	for (const struct change *ch = t->changes[KIND_REMOTE]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL)
			take_out(t, ch);
	}
}

static void
free_slot(void *slot)
{
	generation_free((uint32_t)(uintptr_t)slot);
}

static int
vtep_join(struct config_txn *t, const struct change *ch, struct error *e)
{
	const struct spec_remote *spec = &ch->now->spec->remote;
	int rc = remote_validate(t, spec, e);
	if (rc < 0)
		return rc;
	struct remote_state *state = txn_alloc(&t->txn, sizeof(*state));
	state->network = refer_network(t, spec->network, NULL);
	state->mac = is_zero(&spec->mac) ? t->c->network[state->network]->gateway_mac : spec->mac;
	object_compiled(ch, state);
	struct vtep_entry *entry = entry_writable(t, &spec->vtep, state->network);
	if (entry->v.slot == 0) {
		entry->v.slot = generation_alloc();
		if (entry->v.slot == 0)
			return error_set(e, -ENOSPC, "all %u generation slots are in use", WEFT_MAX_SLOTS - 1);
		txn_on_abort(&t->txn, free_slot, (void *)(uintptr_t)entry->v.slot);
	}
	if (entry->v.uses == 0)
		entry->mac = state->mac;
	entry->remote[entry->v.uses++] = spec;
	return 0;
}

/* The way to the VTEP itself: with the MAC of the Remote that named it first. All who name it have joined. */
static int
vtep_ready(struct config_txn *t, const struct change *ch, struct error *e)
{
	const struct remote_state *state = ch->now->compiled;
	const struct spec_remote *spec = &ch->now->spec->remote;
	struct vtep_entry *entry = (struct vtep_entry *)(uintptr_t)entry_find(t->c, &spec->vtep, state->network);
	if (entry->ready)
		return 0;
	entry->ready = true;
	return tunnel_take(t, &spec->vtep, state->network, &entry->mac, &entry->v.hop, e);
}

static int
put_in(struct config_txn *t, const struct change *ch, struct error *e)
{
	const struct spec_remote *spec = &ch->now->spec->remote;
	const struct remote_state *state = ch->now->compiled;
	const struct vtep *vtep = config_vtep(t->c, state->network, &spec->vtep);
	char where[40];
	uint32_t hop;
	int rc = tunnel_take(t, &spec->vtep, state->network, &state->mac, &hop, e);
	struct route r = {.kind = ROUTE_REMOTE, .slot = vtep->slot, .hop = hop, .vtep = vtep, .owner = spec};
	for (uint32_t i = 0; i < spec->prefixes.n && rc == 0; i++) {
		const struct prefix *p = &spec->prefixes.v[i];
		snprintf(where, sizeof(where), "prefixes[%u]", i);
		r.key = (struct lpm_key){.ip = p->ip, .network = state->network, .len = p->len};
		rc = fib_put(t, &r, where, e);
		host_fib_add(t, p, state->network);
	}
	for (uint32_t i = 0; i < spec->n_endpoints && rc == 0; i++) {
		struct prefix p = prefix_of(&spec->endpoints[i].ip);
		snprintf(where, sizeof(where), "endpoints[%u].ip", i);
		r.key = (struct lpm_key){.ip = p.ip, .network = state->network, .len = p.len};
		rc = tunnel_take(t, &spec->vtep, state->network, endpoint_mac(spec, i, state), &r.hop, e);
		if (rc == 0)
			rc = fib_put(t, &r, where, e);
		host_fib_add(t, &p, state->network);
	}
	return rc;
}

/* VTEPs that lost their last Remote go; those that are reached differently move. */
static void
vteps_settle(struct config_txn *t, const struct ip *ip, uint32_t network)
{
	const struct vtep *before = config_vtep(t->base, network, ip), *now = config_vtep(t->c, network, ip);
	if (now == NULL)
		return;
	if (before != NULL && (before->hop != now->hop || now->uses == 0))
		config_bump(t, before->slot);
	if (now->uses > 0)
		return;
	txn_after_grace(&t->txn, free_slot, (void *)(uintptr_t)now->slot);
	txn_retire(&t->txn, pmap_remove(&t->c->vtep, &vtep_type, &t->txn, &now->ip));
}

int
remotes_put_in(struct config_txn *t, struct error *e)
{
	static int (*const step[])(struct config_txn * t, const struct change *ch,
				   struct error *e) = {vtep_join, vtep_ready, put_in};
	for (size_t i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		for (const struct change *ch = t->changes[KIND_REMOTE]; ch != NULL; ch = ch->next) {
			int rc = ch->now != NULL ? step[i](t, ch, e) : 0;
			if (rc < 0)
				return blame(t, KIND_REMOTE, ch->name, rc);
		}
	}
	for (const struct change *ch = t->changes[KIND_REMOTE]; ch != NULL; ch = ch->next) {
		if (ch->base != NULL)
			vteps_settle(t, &ch->base->spec->remote.vtep,
				     ((const struct remote_state *)ch->base->compiled)->network);
		if (ch->now != NULL)
			vteps_settle(t, &ch->now->spec->remote.vtep,
				     ((const struct remote_state *)ch->now->compiled)->network);
	}
	tunnels_sweep(t);
	return 0;
}
