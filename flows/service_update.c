/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/service.h>

#include <stdlib.h>

#include <weft/generation.h>
#include <weft/text.h>

#include "service_private.h"

static const struct pmap_type names_type = {0, WEFT_NAME_MAX + 1};

/* An address and the services that have it, each by its slot; the first one answers for the ports that nobody has. */
struct address {
	struct service_address pub; /* uses: how many slots */
	uint32_t slot[];
};

static const struct service_entry *
entry_find(const struct service_tables *s, const char *name)
{
	char key[WEFT_NAME_MAX + 1] = {0};
	size_t len = strlen(name);
	if (len > WEFT_NAME_MAX)
		return NULL;
	memcpy(key, name, len);
	return pmap_find(&s->by_name, &names_type, key);
}

static void
bump_answerer(const struct service_change *c, uint32_t network, const struct ip *ip)
{
	const struct service_address *a = service_address_find(c->s, network, ip);
	if (a != NULL)
		c->bump(c->arg, a->slot);
	else if (service_in_cidr(c->s, ip))
		c->bump(c->arg, c->s->cidr_slot);
	else if (c->claimed != NULL)
		c->claimed(c->arg, network, ip);
}

/* The address with `slot` added and `without` left out (0: none); gone when nobody is left. */
static void
address_change(const struct service_change *c, uint32_t network, const struct ip *ip, uint32_t slot, uint32_t without)
{
	const struct address *old = (const struct address *)service_address_find(c->s, network, ip);
	uint32_t n_old = old != NULL ? old->pub.uses : 0, n = 0;
	struct address *new = txn_alloc(c->t, sizeof(*new) + (n_old + 1) * sizeof(uint32_t));
	for (uint32_t i = 0; i < n_old; i++) {
		if (old->slot[i] != without)
			new->slot[n++] = old->slot[i];
	}
	if (slot != 0)
		new->slot[n++] = slot;
	new->pub = (struct service_address){*ip, network, new->slot[0], n};
	if (n > 0) {
		pmap_put(&c->s->address, &service_addresses_type, c->t, new);
	} else {
		pmap_remove(&c->s->address, &service_addresses_type, c->t, &new->pub.ip);
		txn_discard(c->t, new);
		c->s->withdrawn |= network == NETWORK_UNDERLAY;
	}
	if (old != NULL)
		txn_discard(c->t, (void *)(uintptr_t)old);
}

static const char *
protocol_name(uint8_t protocol)
{
	return protocol == IPPROTO_TCP ? "TCP" : protocol == IPPROTO_UDP ? "UDP" : "SCTP";
}

static int
refuse_claim(const struct service_port *theirs, const struct service_port *ours, const struct entry_port *p,
	     struct error *e)
{
	char where[40], ip[IP_TEXT_MAX];
	const char *protocol = protocol_name(p->protocol), *name = theirs->spec->name;
	bool node_port = ours->scope == SERVICE_NODE_PORT;
	snprintf(where, sizeof(where), "ports[%u]%s", p->index, node_port ? ".nodePort" : "");
	if (theirs->scope == SERVICE_NODE_PORT)
		return error_at(e, -EEXIST, where, "node port %u/%s belongs to service %s", ntohs(theirs->port),
				protocol, name);
	return error_at(e, -EEXIST, where, "%s port %u/%s belongs to service %s", ip_format(&theirs->ip, ip),
			ntohs(theirs->port), protocol, name);
}

static const struct service_port *
find_exactly(const struct service_tables *s, const struct service_port *like)
{
	return pmap_find(&s->port, &service_ports_type, &like->ip);
}

/* Somebody else whose claim would hide this one, or be hidden: a node port, and the same port of an address that is the node's. */
static const struct service_port *
find_rival(const struct service_change *c, const struct service_port *sp)
{
	const struct service_tables *s = c->s;
	struct service_port like = *sp;
	const struct service_port *rival = NULL;
	if (sp->scope != SERVICE_NODE_PORT) {
		rival = service_find(s, sp->network, &sp->ip, sp->protocol, sp->port);
		return rival != NULL && rival->slot != sp->slot ? rival : NULL;
	}
	like.network = NETWORK_UNDERLAY;
	for (uint32_t i = 0; i < s->n_node_ips && (rival == NULL || rival->slot == sp->slot); i++) {
		like.ip = s->node_ips[i];
		rival = find_exactly(s, &like);
	}
	return rival != NULL && rival->slot != sp->slot ? rival : NULL;
}

/* Put `sp`. 1 when nobody had it before, 0 when the service itself had: that is replaced and retired. Or -errno. */
static int
claim_one(const struct service_change *c, const struct service_port *sp, const struct entry_port *p, struct error *e)
{
	const struct service_port *had = find_exactly(c->s, sp);
	const struct service_port *rival = had != NULL && had->slot != sp->slot ? had : NULL;
	if (had == NULL)
		rival = find_rival(c, sp);
	if (rival != NULL)
		return refuse_claim(rival, sp, p, e);
	struct service_port *copy = txn_alloc(c->t, sizeof(*copy));
	*copy = *sp;
	pmap_put(&c->s->port, &service_ports_type, c->t, copy);
	if (had == NULL)
		return 1;
	txn_discard(c->t, (void *)(uintptr_t)had);
	return 0;
}

static struct service_port
port_of(const struct service_entry *entry, const struct entry_port *p)
{
	struct service_port sp;
	memset(&sp, 0, sizeof(sp));
	sp.protocol = p->protocol;
	sp.id = p->id;
	sp.slot = entry->slot;
	sp.count = p->count;
	sp.home = entry->network;
	sp.spec = entry->spec;
	sp.choice = p->choice;
	return sp;
}

static struct service_port
at_address(const struct service_entry *entry, const struct entry_port *p, const struct service_claim *at)
{
	struct service_port sp = port_of(entry, p);
	sp.ip = at->ip;
	sp.network = at->network;
	sp.port = p->port;
	sp.scope = at->scope;
	return sp;
}

static struct service_port
at_node(const struct service_entry *entry, const struct entry_port *p)
{
	struct service_port sp = port_of(entry, p);
	sp.network = NODE_PORTS;
	sp.port = p->node_port;
	sp.scope = SERVICE_NODE_PORT;
	return sp;
}

static int
claim_node_ports(const struct service_change *c, const struct service_entry *entry, struct error *e)
{
	for (uint32_t j = 0; j < entry->n_ports; j++) {
		if (entry->port[j].node_port == 0)
			continue;
		struct service_port sp = at_node(entry, &entry->port[j]);
		int rc = claim_one(c, &sp, &entry->port[j], e);
		if (rc < 0)
			return rc;
		c->s->n_node_ports += (uint32_t)rc;
		if (rc > 0)
			c->bump(c->arg, c->s->host_slot);
	}
	return 0;
}

static int
claim(const struct service_change *c, const struct service_entry *old, const struct service_entry *entry,
      struct error *e)
{
	for (uint32_t i = 0; i < entry->n_claims; i++) {
		const struct service_claim *at = &entry->claim[i];
		bool news = false;
		for (uint32_t j = 0; j < entry->n_ports; j++) {
			struct service_port sp = at_address(entry, &entry->port[j], at);
			int rc = claim_one(c, &sp, &entry->port[j], e);
			if (rc < 0)
				return rc;
			news |= rc > 0;
		}
		if (news)
			bump_answerer(c, at->network, &at->ip);
		if (old == NULL || !service_entry_has_address(old, at->network, &at->ip))
			address_change(c, at->network, &at->ip, entry->slot, 0);
	}
	return claim_node_ports(c, entry, e);
}

/* Take back `sp`, unless something newer has its place. */
static bool
disclaim_one(const struct service_change *c, const struct service_port *sp)
{
	const struct service_port *had = find_exactly(c->s, sp);
	if (had == NULL || had->choice != sp->choice)
		return false;
	pmap_remove(&c->s->port, &service_ports_type, c->t, &sp->ip);
	txn_discard(c->t, (void *)(uintptr_t)had);
	return true;
}

/* The port is gone for good. */
static void
drop_counts(struct txn *t, const struct entry_port *p)
{
	service_count_drop(t, p->count);
	for (uint32_t i = 0; i < p->choice->n_backends; i++)
		service_count_drop(t, p->choice->backends[i].count);
}

/* Take back what `old` has and `now` (NULL: nothing) does not claim any more. Its memory, and that of its choices,
 * goes. */
static void
disclaim(const struct service_change *c, const struct service_entry *old, const struct service_entry *now)
{
	for (uint32_t i = 0; i < old->n_claims; i++) {
		const struct service_claim *at = &old->claim[i];
		for (uint32_t j = 0; j < old->n_ports; j++) {
			struct service_port sp = at_address(old, &old->port[j], at);
			disclaim_one(c, &sp);
		}
		if (now == NULL || !service_entry_has_address(now, at->network, &at->ip))
			address_change(c, at->network, &at->ip, 0, old->slot);
	}
	for (uint32_t j = 0; j < old->n_ports; j++) {
		struct service_port sp = at_node(old, &old->port[j]);
		if (sp.port != 0 && disclaim_one(c, &sp)) {
			c->s->n_node_ports--;
			c->s->withdrawn = true;
		}
		if (now == NULL || service_entry_port(now, &old->port[j]) == NULL)
			drop_counts(c->t, &old->port[j]);
		txn_discard(c->t, (void *)(uintptr_t)old->port[j].choice);
	}
	txn_discard(c->t, (void *)(uintptr_t)old);
}

static void
slot_free(void *slot)
{
	generation_free((uint32_t)(uintptr_t)slot);
}

static bool
is_here(const struct service_locality *l, uint32_t network, const struct spec_backend *b)
{
	bool named = l->node != NULL && b->node != NULL && strcmp(l->node, b->node) == 0;
	return named || l->here(l->arg, network, &b->ip);
}

/* Which of the backends are on this node, or NULL when nobody asks. To be freed. */
static bool *
locate(const struct service_change *c, const struct service_entry *entry)
{
	const struct spec_service *spec = entry->spec;
	if (c->locality == NULL || !service_wants_local(spec))
		return NULL;
	bool *here = calloc(spec->n_backends + 1, sizeof(*here));
	if (here == NULL)
		abort();
	for (uint32_t i = 0; i < spec->n_backends; i++)
		here[i] = is_here(c->locality, entry->network, &spec->backends[i]);
	return here;
}

static int
build_choices(const struct service_change *c, struct service_entry *entry, const struct service_entry *old,
	      struct error *e)
{
	bool *here = locate(c, entry);
	int rc = 0;
	for (uint32_t i = 0; i < entry->n_ports && rc == 0; i++) {
		struct entry_port *p = &entry->port[i];
		const struct entry_port *was = old != NULL ? service_entry_port(old, p) : NULL;
		p->count = was != NULL ? was->count : service_count_new(c->t);
		rc = service_choice_build(c->t, entry->spec, &entry->spec->ports[p->index],
					  was != NULL ? was->choice : NULL, here, &p->choice, e);
	}
	free(here);
	return rc;
}

/* Its place among those with a Local policy. */
static void
note_local(const struct service_change *c, const struct service_entry *entry)
{
	if (service_wants_local(entry->spec))
		pmap_put(&c->s->local, &names_type, c->t, entry);
	else
		pmap_remove(&c->s->local, &names_type, c->t, entry->name);
}

int
service_put(const struct service_change *c, uint32_t network, const struct spec_service *spec, struct error *e)
{
	const struct service_entry *old = entry_find(c->s, spec->name);
	struct service_entry *entry;
	int rc = service_entry_new(c->t, network, spec, &entry, e);
	if (rc < 0)
		return rc;
	entry->slot = old != NULL ? old->slot : generation_alloc();
	if (entry->slot == 0)
		return error_set(e, -ENOSPC, "no generation slot is left: %u objects at most", WEFT_MAX_SLOTS - 1);
	if (old == NULL)
		txn_on_abort(c->t, slot_free, (void *)(uintptr_t)entry->slot);
	rc = build_choices(c, entry, old, e);
	if (rc == 0)
		rc = claim(c, old, entry, e);
	if (rc < 0)
		return rc;
	pmap_put(&c->s->by_name, &names_type, c->t, entry);
	note_local(c, entry);
	if (old != NULL) {
		disclaim(c, old, entry);
		c->bump(c->arg, entry->slot);
	}
	return 0;
}

int
service_remove(const struct service_change *c, const char *name)
{
	const struct service_entry *old = entry_find(c->s, name);
	if (old == NULL)
		return -ENOENT;
	pmap_remove(&c->s->by_name, &names_type, c->t, old->name);
	pmap_remove(&c->s->local, &names_type, c->t, old->name);
	c->bump(c->arg, old->slot);
	txn_on_commit(c->t, slot_free, (void *)(uintptr_t)old->slot);
	disclaim(c, old, NULL);
	return 0;
}

int
service_ports(const struct service_tables *s, const char *name, void (*fn)(const struct service_port_info *p, void *arg),
	      void *arg)
{
	const struct service_entry *entry = entry_find(s, name);
	if (entry == NULL)
		return -ENOENT;
	/* In the order of the spec. */
	for (uint32_t i = 0; i < entry->n_ports; i++) {
		for (uint32_t j = 0; j < entry->n_ports; j++) {
			const struct entry_port *p = &entry->port[j];
			struct service_port_info info = {&entry->spec->ports[i], p->count, p->choice};
			if (p->index == i)
				fn(&info, arg);
		}
	}
	return 0;
}
