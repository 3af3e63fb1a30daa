/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include <weft/rule_count.h>

#include "policy_impl.h"

const struct pmap_type rule_by_id = {offsetof(struct rule, id), sizeof(uint32_t)};
const struct pmap_type port_name_type = {offsetof(struct port_name, name), NAME_SIZE};
static const struct pmap_type port_name_by_id = {offsetof(struct port_name, id), sizeof(uint32_t)};

/* An id that was given back rests while this many others are used, as connections and logs still show it. */
#define RULE_IDS_REST 65536u

/* The text: one byte of action, name, peers, ports; see rule_text. */
static void
put_bytes(struct bytes *b, const void *v, size_t n)
{
	if (b->n + n > b->room) {
		b->room = (b->n + n) * 2;
		b->v = realloc(b->v, b->room);
		if (b->v == NULL)
			abort();
	}
	memcpy(b->v + b->n, v, n);
	b->n += n;
}

static void
put_u32(struct bytes *b, uint32_t v)
{
	put_bytes(b, &v, sizeof(v));
}

static void
put_prefix(struct bytes *b, const struct prefix *p)
{
	put_bytes(b, &p->ip, sizeof(p->ip));
	put_bytes(b, &p->len, sizeof(p->len));
}

static void
put_name(struct bytes *b, const char *name)
{
	put_bytes(b, name != NULL ? "\1" : "\0", 1);
	if (name != NULL)
		put_bytes(b, name, strlen(name) + 1);
}
#define TEXT_NAME 2 /* where the rule's name is, if it has one */

static void
put_port(struct bytes *b, const struct spec_rule_port *p)
{
	uint8_t fixed[] = {p->protocol, p->has_icmp_type, p->icmp_type, p->has_icmp_code, p->icmp_code};
	uint16_t ports[] = {p->port, p->end_port};
	put_bytes(b, fixed, sizeof(fixed));
	put_bytes(b, ports, sizeof(ports));
	put_name(b, p->port_name);
}

void
rule_text(struct bytes *b, const struct spec_rule *r)
{
	uint8_t action = (uint8_t)r->action;
	b->n = 0;
	put_bytes(b, &action, 1);
	put_name(b, r->name);
	put_u32(b, r->n_peers);
	for (uint32_t i = 0; i < r->n_peers; i++) {
		const struct spec_peer *peer = &r->peers[i];
		put_name(b, peer->set);
		if (peer->set != NULL)
			continue;
		put_prefix(b, &peer->cidr);
		put_u32(b, peer->except.n);
		for (uint32_t j = 0; j < peer->except.n; j++)
			put_prefix(b, &peer->except.v[j]);
	}
	put_u32(b, r->n_ports);
	for (uint32_t i = 0; i < r->n_ports; i++)
		put_port(b, &r->ports[i]);
}

static uint32_t
port_name_use(struct policy_tables *p, struct txn *t, const char *name)
{
	struct policy_more *m = policy_more(p, t);
	struct port_name *out = txn_alloc(t, sizeof(*out));
	name_key(out->name, name);
	const struct port_name *old = pmap_find(&p->name, &port_name_type, out->name);
	out->id = old != NULL ? old->id : id_take(&m->names, t, 0);
	out->uses = old != NULL ? old->uses + 1 : 1;
	pmap_put(&p->name, &port_name_type, t, out);
	pmap_put(&m->port_name, &port_name_by_id, t, out);
	discard(t, old);
	return out->id;
}

static void
port_name_release(struct policy_tables *p, struct txn *t, uint32_t id)
{
	struct policy_more *m = policy_more(p, t);
	const struct port_name *old = pmap_find(&m->port_name, &port_name_by_id, &id);
	if (old->uses == 1) {
		pmap_remove(&p->name, &port_name_type, t, old->name);
		pmap_remove(&m->port_name, &port_name_by_id, t, &id);
		id_give(&m->names, t, id);
	} else {
		struct port_name *out = txn_alloc(t, sizeof(*out));
		*out = *old;
		out->uses--;
		pmap_put(&p->name, &port_name_type, t, out);
		pmap_put(&m->port_name, &port_name_by_id, t, out);
	}
	discard(t, old);
}

/* What a rule says, while it is being put together. */
struct draft {
	uint32_t *atoms;
	struct prefix *blocks;
	struct on *ons;
	uint32_t n_atoms, n_blocks, n_ons;
};

static int
compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int
compare_on(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct on));
}

static void
draft_peers(struct policy_tables *p, struct txn *t, uint32_t network, struct draft *d, const struct spec_rule *spec)
{
	uint32_t n = 0, kept = 0;
	if (spec->n_peers == 0)
		d->atoms[n++] = ATOM_ANY;
	for (uint32_t i = 0; i < spec->n_peers; i++) {
		const struct spec_peer *peer = &spec->peers[i];
		if (peer->set != NULL) {
			d->atoms[n++] = atom_use_set(p, t, peer->set);
		} else if (peer->except.n != 0) {
			d->atoms[n++] = atom_use_block(p, t, network, peer);
		} else {
			struct prefix *block = &d->blocks[d->n_blocks++];
			block->ip = ip_masked(&peer->cidr.ip, peer->cidr.len);
			block->len = peer->cidr.len;
		}
	}
	if (n > 1)
		qsort(d->atoms, n, sizeof(d->atoms[0]), compare_u32);
	for (uint32_t i = 0; i < n; i++) {
		if (kept != 0 && d->atoms[kept - 1] == d->atoms[i])
			atom_release(p, t, d->atoms[i]);
		else
			d->atoms[kept++] = d->atoms[i];
	}
	d->n_atoms = kept;
	d->n_blocks = prefix_sort(d->blocks, d->n_blocks);
}

/* The fewest prefixes of 16 bits that make up first..last; at most 30. */
static uint32_t
port_prefixes(struct on *out, uint8_t protocol, uint32_t first, uint32_t last)
{
	uint32_t n = 0;
	while (first <= last) {
		unsigned int bits = 0;
		while ((first & (1u << bits)) == 0 && first + (2u << bits) - 1 <= last)
			bits++;
		out[n++] = (struct on){.value = first, .protocol = protocol, .kind = (uint8_t)(ON_PORT + 16 - bits)};
		first += 1u << bits;
	}
	return n;
}
#define PORT_PREFIXES_MAX 30

static uint32_t
port_ons(struct policy_tables *p, struct txn *t, struct on *out, const struct spec_rule_port *port)
{
	struct on on = {.protocol = port->protocol, .kind = ON_PROTOCOL};
	if (port->port_name != NULL) {
		on.kind = ON_NAME;
		on.value = port_name_use(p, t, port->port_name);
	} else if (port->has_icmp_type) {
		on.kind = port->has_icmp_code ? ON_ICMP_CODE : ON_ICMP_TYPE;
		on.value = (uint32_t)(port->icmp_type << 8 | (port->has_icmp_code ? port->icmp_code : 0));
	} else if (port->port != 0) {
		return port_prefixes(out, port->protocol, port->port,
				     port->end_port != 0 ? port->end_port : port->port);
	}
	*out = on;
	return 1;
}

static void
draft_ons(struct policy_tables *p, struct txn *t, struct draft *d, const struct spec_rule *spec)
{
	uint32_t n = 0, kept = 0;
	if (spec->n_ports == 0)
		d->ons[n++] = (struct on){.kind = ON_ALL};
	for (uint32_t i = 0; i < spec->n_ports; i++)
		n += port_ons(p, t, &d->ons[n], &spec->ports[i]);
	if (n > 1)
		qsort(d->ons, n, sizeof(d->ons[0]), compare_on);
	for (uint32_t i = 0; i < n; i++) {
		if (kept == 0 || compare_on(&d->ons[kept - 1], &d->ons[i]) != 0)
			d->ons[kept++] = d->ons[i];
		else if (d->ons[i].kind == ON_NAME)
			port_name_release(p, t, d->ons[i].value);
	}
	d->n_ons = kept;
}

/* One piece of memory: the rule, then its ons, blocks, atoms and text. */
static struct rule *
rule_alloc(struct txn *t, const struct draft *d, const uint8_t *text, size_t text_len)
{
	size_t ons = d->n_ons * sizeof(d->ons[0]), blocks = d->n_blocks * sizeof(d->blocks[0]);
	size_t atoms = d->n_atoms * sizeof(d->atoms[0]);
	struct rule *r = txn_alloc(t, sizeof(*r) + ons + blocks + atoms + text_len);
	uint8_t *at = (uint8_t *)(r + 1);
	r->n_ons = d->n_ons;
	r->ons = memcpy(at, d->ons, ons);
	r->n_blocks = d->n_blocks;
	r->blocks = memcpy(at += ons, d->blocks, blocks);
	r->n_atoms = d->n_atoms;
	r->atoms = memcpy(at += blocks, d->atoms, atoms);
	r->text_len = (uint32_t)text_len;
	r->text = memcpy(at + atoms, text, text_len);
	r->name = r->text[TEXT_NAME - 1] ? (const char *)r->text + TEXT_NAME : NULL;
	return r;
}

uint32_t
rule_id_take(struct policy_tables *p, struct txn *t)
{
	uint32_t id = id_take(&policy_more(p, t)->rules, t, RULE_IDS_REST);
	id_counts_begin(&rule_counts, id);
	return id;
}

const struct rule *
rule_new(struct policy_tables *p, struct txn *t, const struct policy_head *head, uint8_t direction, uint64_t rank,
	 uint32_t id, const struct spec_rule *spec)
{
	struct bytes text = {0};
	struct draft d = {
		.atoms = calloc((size_t)spec->n_peers + 1, sizeof(*d.atoms)),
		.blocks = calloc((size_t)spec->n_peers + 1, sizeof(*d.blocks)),
		.ons = calloc((size_t)spec->n_ports * PORT_PREFIXES_MAX + 1, sizeof(*d.ons)),
	};
	if (d.atoms == NULL || d.blocks == NULL || d.ons == NULL)
		abort();
	draft_peers(p, t, head->network, &d, spec);
	draft_ons(p, t, &d, spec);
	rule_text(&text, spec);
	struct rule *r = rule_alloc(t, &d, text.v, text.n);
	r->id = id != 0 ? id : rule_id_take(p, t);
	r->action = (uint8_t)spec->action;
	r->direction = direction;
	r->rank = rank;
	r->head = head;
	pmap_put(&p->rule, &rule_by_id, t, r);
	free(text.v);
	free(d.atoms);
	free(d.blocks);
	free(d.ons);
	return r;
}

const struct rule *
rule_move(struct policy_tables *p, struct txn *t, const struct rule *r, const struct policy_head *head, uint64_t rank)
{
	struct draft d = {
		.atoms = (uint32_t *)(uintptr_t)r->atoms,
		.blocks = (struct prefix *)(uintptr_t)r->blocks,
		.ons = (struct on *)(uintptr_t)r->ons,
		.n_atoms = r->n_atoms,
		.n_blocks = r->n_blocks,
		.n_ons = r->n_ons,
	};
	struct rule *out = rule_alloc(t, &d, r->text, r->text_len);
	out->id = r->id;
	out->action = r->action;
	out->direction = r->direction;
	out->rank = rank;
	out->head = head;
	pmap_put(&p->rule, &rule_by_id, t, out);
	discard(t, r);
	return out;
}

void
rule_free(struct policy_tables *p, struct txn *t, const struct rule *r, bool keep_id)
{
	for (uint32_t i = 0; i < r->n_atoms; i++)
		atom_release(p, t, r->atoms[i]);
	for (uint32_t i = 0; i < r->n_ons; i++) {
		if (r->ons[i].kind == ON_NAME)
			port_name_release(p, t, r->ons[i].value);
	}
	pmap_remove(&p->rule, &rule_by_id, t, &r->id);
	if (!keep_id)
		id_give(&policy_more(p, t)->rules, t, r->id);
	discard(t, r);
}
