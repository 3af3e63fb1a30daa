/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/service.h>

#include <stdlib.h>

#include <weft/generation.h>
#include <weft/text.h>

#include "mix.h"
#include "service_private.h"

static const struct pmap_type names_type = {0, WEFT_NAME_MAX + 1};

/* An address and the services that have it, each by its slot; the first one answers for the ports that nobody has. */
struct address {
	struct service_address pub; /* uses: how many slots */
	uint32_t slot[];
};

struct entry_port {
	uint16_t port; /* network byte order */
	uint8_t protocol;
	uint32_t index; /* in the spec's ports */
	uint32_t id;
	const struct service_choice *choice;
};

/* What the builder keeps of a service, in one block: what it claims, so that the claims can be taken back. */
struct service_entry {
	char name[WEFT_NAME_MAX + 1]; /* key; zeroes after the NUL */
	uint32_t network, slot;
	const struct spec_service *spec;
	uint32_t n_ips, n_ports;
	struct ip *ip;           /* ordered, each once */
	struct entry_port *port; /* ordered by port and protocol, each once */
};

/* What put and remove hand down. */
struct change {
	struct service_tables *s;
	struct txn *t;
	void (*bump)(void *arg, uint32_t slot);
	void *arg;
};

static int
compare_ips(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip));
}

static int
compare_ports(const void *a, const void *b)
{
	const struct entry_port *x = a, *y = b;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	return (int)x->protocol - (int)y->protocol;
}

static const struct entry_port *
entry_port(const struct service_entry *entry, const struct entry_port *like)
{
	return bsearch(like, entry->port, entry->n_ports, sizeof(*like), compare_ports);
}

static bool
entry_has_address(const struct service_entry *entry, uint32_t network, const struct ip *ip)
{
	return entry->network == network && bsearch(ip, entry->ip, entry->n_ips, sizeof(*ip), compare_ips) != NULL;
}

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

/* The same for the same port of the same service whenever it is asked, also by the next process. */
static uint32_t
port_id(const struct service_entry *entry, const struct entry_port *p)
{
	uint64_t h = mix64_bytes(entry->network, entry->name, strlen(entry->name));
	uint32_t id = (uint32_t)mix64_add(h, (uint64_t)ntohs(p->port) << 8 | p->protocol);
	return id | (uint32_t)(id == 0);
}

static void
entry_addresses(struct service_entry *entry)
{
	const struct ip_list *lists[] = {&entry->spec->ips, &entry->spec->external_ips,
					 &entry->spec->load_balancer_ips};
	uint32_t n = 0;
	for (unsigned int i = 0; i < 3; i++) {
		if (lists[i]->n > 0)
			memcpy(&entry->ip[n], lists[i]->v, lists[i]->n * sizeof(struct ip));
		n += lists[i]->n;
	}
	qsort(entry->ip, n, sizeof(struct ip), compare_ips);
	for (uint32_t i = 0; i < n; i++) {
		if (entry->n_ips == 0 || !ip_equal(&entry->ip[entry->n_ips - 1], &entry->ip[i]))
			entry->ip[entry->n_ips++] = entry->ip[i];
	}
}

static int
entry_ports(struct service_entry *entry, struct error *e)
{
	const struct spec_service *spec = entry->spec;
	for (uint32_t i = 0; i < spec->n_ports; i++) {
		struct entry_port *p = &entry->port[i];
		*p = (struct entry_port){
			.port = htons(spec->ports[i].port), .protocol = spec->ports[i].protocol, .index = i};
		p->id = port_id(entry, p);
	}
	entry->n_ports = spec->n_ports;
	qsort(entry->port, entry->n_ports, sizeof(*entry->port), compare_ports);
	for (uint32_t i = 1; i < entry->n_ports; i++) {
		const struct entry_port *a = &entry->port[i - 1], *b = &entry->port[i];
		if (compare_ports(a, b) != 0)
			continue;
		uint32_t first = a->index < b->index ? a->index : b->index, second = a->index ^ b->index ^ first;
		char where[32];
		snprintf(where, sizeof(where), "ports[%u]", second);
		return error_at(e, -EINVAL, where, "port %u of this protocol is ports[%u] already", ntohs(a->port),
				first);
	}
	return 0;
}

static struct service_entry *
entry_new(struct txn *t, const struct spec_service *spec)
{
	size_t n_ips = (size_t)spec->ips.n + spec->external_ips.n + spec->load_balancer_ips.n;
	size_t ips_at = (sizeof(struct service_entry) + 15) / 16 * 16, ports_at = ips_at + n_ips * sizeof(struct ip);
	struct service_entry *entry = txn_alloc(t, ports_at + spec->n_ports * sizeof(struct entry_port));
	memcpy(entry->name, spec->name, strlen(spec->name));
	entry->spec = spec;
	entry->ip = (struct ip *)((char *)entry + ips_at);
	entry->port = (struct entry_port *)((char *)entry + ports_at);
	return entry;
}

/* --- builder: the tables --- */

static void
bump_answerer(struct change *c, uint32_t network, const struct ip *ip)
{
	const struct service_address *a = service_address_find(c->s, network, ip);
	if (a != NULL)
		c->bump(c->arg, a->slot);
	else if (service_in_cidr(c->s, ip))
		c->bump(c->arg, c->s->cidr_slot);
}

/* The address with `slot` added and `without` left out (0: none); gone when nobody is left. */
static void
address_change(struct change *c, uint32_t network, const struct ip *ip, uint32_t slot, uint32_t without)
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
	}
	if (old != NULL)
		txn_discard(c->t, (void *)(uintptr_t)old);
}

static int
refuse_claim(const struct service_port *theirs, const struct entry_port *p, struct error *e)
{
	const char *protocol = p->protocol == IPPROTO_TCP ? "TCP" : p->protocol == IPPROTO_UDP ? "UDP" : "SCTP";
	char where[32], ip[IP_TEXT_MAX];
	snprintf(where, sizeof(where), "ports[%u]", p->index);
	return error_at(e, -EEXIST, where, "%s port %u/%s belongs to service %s", ip_format(&theirs->ip, ip),
			ntohs(p->port), protocol, theirs->spec->name);
}

/* Put (ip, p). 1 when nobody had it before, 0 when the service itself had: that is replaced and retired. Or -errno. */
static int
claim_port(struct change *c, const struct service_entry *old, const struct service_entry *entry, const struct ip *ip,
	   const struct entry_port *p, struct error *e)
{
	const struct service_port *had = service_find(c->s, entry->network, ip, p->protocol, p->port);
	const struct entry_port *mine = old != NULL && had != NULL ? entry_port(old, p) : NULL;
	if (had != NULL && (mine == NULL || mine->choice != had->choice))
		return refuse_claim(had, p, e);
	struct service_port *sp = txn_alloc(c->t, sizeof(*sp));
	*sp = (struct service_port){
		.ip = *ip,
		.network = entry->network,
		.port = p->port,
		.protocol = p->protocol,
		.id = p->id,
		.slot = entry->slot,
		.spec = entry->spec,
		.choice = p->choice,
	};
	pmap_put(&c->s->port, &service_ports_type, c->t, sp);
	if (had == NULL)
		return 1;
	txn_discard(c->t, (void *)(uintptr_t)had);
	return 0;
}

static int
claim(struct change *c, const struct service_entry *old, const struct service_entry *entry, struct error *e)
{
	for (uint32_t i = 0; i < entry->n_ips; i++) {
		bool news = false;
		for (uint32_t j = 0; j < entry->n_ports; j++) {
			int rc = claim_port(c, old, entry, &entry->ip[i], &entry->port[j], e);
			if (rc < 0)
				return rc;
			news |= rc > 0;
		}
		if (news)
			bump_answerer(c, entry->network, &entry->ip[i]);
		if (old == NULL || !entry_has_address(old, entry->network, &entry->ip[i]))
			address_change(c, entry->network, &entry->ip[i], entry->slot, 0);
	}
	return 0;
}

/* Take back what `old` has and `now` (NULL: nothing) does not claim any more. Its memory, and that of its choices,
 * goes. */
static void
disclaim(struct change *c, const struct service_entry *old, const struct service_entry *now)
{
	for (uint32_t i = 0; i < old->n_ips; i++) {
		const struct ip *ip = &old->ip[i];
		for (uint32_t j = 0; j < old->n_ports; j++) {
			const struct entry_port *p = &old->port[j];
			const struct service_port *had = service_find(c->s, old->network, ip, p->protocol, p->port);
			if (had == NULL || had->choice != p->choice)
				continue;
			struct service_port_key key = {*ip, old->network, p->port, p->protocol, 0};
			pmap_remove(&c->s->port, &service_ports_type, c->t, &key);
			txn_discard(c->t, (void *)(uintptr_t)had);
		}
		if (now == NULL || !entry_has_address(now, old->network, ip))
			address_change(c, old->network, ip, 0, old->slot);
	}
	for (uint32_t j = 0; j < old->n_ports; j++)
		txn_discard(c->t, (void *)(uintptr_t)old->port[j].choice);
	txn_discard(c->t, (void *)(uintptr_t)old);
}

static void
slot_free(void *slot)
{
	generation_free((uint32_t)(uintptr_t)slot);
}

static int
build_choices(struct txn *t, struct service_entry *entry, const struct service_entry *old, struct error *e)
{
	for (uint32_t i = 0; i < entry->n_ports; i++) {
		struct entry_port *p = &entry->port[i];
		const struct entry_port *was = old != NULL ? entry_port(old, p) : NULL;
		int rc = service_choice_build(t, entry->spec, &entry->spec->ports[p->index],
					      was != NULL ? was->choice : NULL, &p->choice, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int
service_put(struct service_tables *s, struct txn *t, uint32_t network, const struct spec_service *spec,
	    void (*bump)(void *arg, uint32_t slot), void *arg, struct error *e)
{
	struct change c = {s, t, bump, arg};
	if (strlen(spec->name) > WEFT_NAME_MAX)
		return error_at(e, -ENAMETOOLONG, "name", "longer than %d characters", WEFT_NAME_MAX);
	const struct service_entry *old = entry_find(s, spec->name);
	struct service_entry *entry = entry_new(t, spec);
	entry->network = network;
	entry->slot = old != NULL ? old->slot : generation_alloc();
	if (entry->slot == 0)
		return error_set(e, -ENOSPC, "no generation slot is left: %u objects at most", WEFT_MAX_SLOTS - 1);
	if (old == NULL)
		txn_on_abort(t, slot_free, (void *)(uintptr_t)entry->slot);
	entry_addresses(entry);
	int rc = entry_ports(entry, e);
	if (rc == 0)
		rc = build_choices(t, entry, old, e);
	if (rc == 0)
		rc = claim(&c, old, entry, e);
	if (rc < 0)
		return rc;
	pmap_put(&s->by_name, &names_type, t, entry);
	if (old != NULL) {
		disclaim(&c, old, entry);
		bump(arg, entry->slot);
	}
	return 0;
}

int
service_remove(struct service_tables *s, struct txn *t, const char *name, void (*bump)(void *arg, uint32_t slot),
	       void *arg)
{
	struct change c = {s, t, bump, arg};
	const struct service_entry *old = entry_find(s, name);
	if (old == NULL)
		return -ENOENT;
	pmap_remove(&s->by_name, &names_type, t, old->name);
	bump(arg, old->slot);
	txn_on_commit(t, slot_free, (void *)(uintptr_t)old->slot);
	disclaim(&c, old, NULL);
	return 0;
}

static int
retire_cidr(const void *value, void *t)
{
	txn_discard(t, (void *)(uintptr_t)value);
	return 0;
}

void
service_set_cidrs(struct service_tables *s, struct txn *t, const struct prefix_list *cidrs,
		  void (*bump)(void *arg, uint32_t slot), void *arg)
{
	pmap_walk(&s->cidr.map, retire_cidr, t);
	pmap_clear(&s->cidr.map, t);
	memset(&s->cidr, 0, sizeof(s->cidr));
	for (uint32_t i = 0; i < cidrs->n; i++) {
		struct lpm_key *key = txn_alloc(t, sizeof(*key));
		*key = (struct lpm_key){.ip = cidrs->v[i].ip, .network = NETWORK_UNDERLAY, .len = cidrs->v[i].len};
		void *twice = lpm_put(&s->cidr, t, key);
		if (twice != NULL)
			txn_discard(t, twice);
	}
	if (s->cidr_slot == 0) {
		s->cidr_slot = generation_alloc();
		txn_on_abort(t, slot_free, (void *)(uintptr_t)s->cidr_slot);
	} else {
		bump(arg, s->cidr_slot);
	}
}
