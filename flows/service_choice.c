/* SPDX-License-Identifier: Apache-2.0 */
#include "service_private.h"

#include <stdlib.h>

#include <weft/service_count.h>

#include "mix.h"

#define BACKENDS_MAX UINT16_MAX /* maglev's entries are 16 bits wide */

/* A backend on its way from the spec into a choice. */
struct candidate {
	struct backend b;
	uint32_t weight;
	bool kept; /* it has its id from before */
	uint64_t key;
};

static uint16_t
backend_port(const struct spec_backend *b, const struct spec_service_port *port)
{
	const char *name = port->name != NULL ? port->name : "";
	for (uint32_t i = 0; i < b->n_ports; i++) {
		if (strcmp(b->ports[i].name != NULL ? b->ports[i].name : "", name) == 0)
			return b->ports[i].port;
	}
	return port->target_port != 0 ? port->target_port : port->port;
}

static uint64_t
backend_key(const struct backend *b)
{
	return mix64_add(mix64_bytes(0, &b->ip, sizeof(b->ip)), ntohs(b->port));
}

static int
by_address(const struct backend *a, const struct backend *b)
{
	int c = memcmp(&a->ip, &b->ip, sizeof(a->ip));
	return c != 0 ? c : (int)ntohs(a->port) - (int)ntohs(b->port);
}

/* How much a state has to offer, most first. */
static int
state_rank(uint8_t state)
{
	switch (state) {
	case BACKEND_READY:
		return 0;
	case BACKEND_TERMINATING:
		return 1;
	case BACKEND_DRAINING:
		return 2;
	default:
		return 3;
	}
}

/* The same address twice (two EndpointSlices may both list it for a while): the one that offers more comes first. */
static int
compare_candidates(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;
	int c = by_address(&a->b, &b->b);
	if (c == 0)
		c = state_rank(a->b.state) - state_rank(b->b.state);
	if (c == 0)
		c = (a->weight < b->weight) - (a->weight > b->weight);
	return c;
}

static int
compare_addresses(const void *x, const void *y)
{
	return by_address(*(const struct backend *const *)x, *(const struct backend *const *)y);
}

static int
compare_ids(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;
	if (a->b.id != b->b.id)
		return a->b.id < b->b.id ? -1 : 1;
	if (a->kept != b->kept)
		return a->kept ? -1 : 1;
	return by_address(&a->b, &b->b);
}

/* Ordered by address, each once. Returns how many. */
static uint32_t
collect(struct candidate *c, const struct spec_service *spec, const struct spec_service_port *port, const bool *here)
{
	for (uint32_t i = 0; i < spec->n_backends; i++) {
		const struct spec_backend *b = &spec->backends[i];
		c[i] = (struct candidate){
			.b = {.ip = b->ip, .port = htons(backend_port(b, port)), .state = (uint8_t)b->state},
			.weight = b->weight,
		};
		c[i].b.flags = here != NULL && here[i] ? BACKEND_HERE : 0;
		c[i].key = backend_key(&c[i].b);
	}
	qsort(c, spec->n_backends, sizeof(*c), compare_candidates);
	uint32_t n = 0;
	for (uint32_t i = 0; i < spec->n_backends; i++) {
		if (n == 0 || by_address(&c[n - 1].b, &c[i].b) != 0)
			c[n++] = c[i];
		else
			c[n - 1].b.flags |= c[i].b.flags; /* local by either */
	}
	return n;
}

static void
give_back(void *id)
{
	service_count_give((uint32_t)(uintptr_t)id);
}

uint32_t
service_count_new(struct txn *t)
{
	uint32_t id = service_count_take();
	if (id != 0)
		txn_on_abort(t, give_back, (void *)(uintptr_t)id);
	return id;
}

void
service_count_drop(struct txn *t, uint32_t id)
{
	if (id != 0)
		txn_after_grace(t, give_back, (void *)(uintptr_t)id);
}

static void
keep_ids(struct txn *t, struct candidate *c, uint32_t n, const struct service_choice *old, const struct backend **by_addr)
{
	for (uint32_t i = 0; i < old->n_backends; i++)
		by_addr[i] = &old->backends[i];
	qsort(by_addr, old->n_backends, sizeof(*by_addr), compare_addresses);
	for (uint32_t i = 0, j = 0; j < old->n_backends;) {
		int order = i < n ? by_address(&c[i].b, by_addr[j]) : 1;
		if (order == 0) {
			c[i].b.id = by_addr[j]->id;
			c[i].b.count = by_addr[j]->count;
			c[i].kept = true;
		}
		if (order > 0)
			service_count_drop(t, by_addr[j]->count);
		i += order <= 0;
		j += order >= 0;
	}
}

/*
 * An id comes from the address, so that it is the same after a restart and connections that outlived the process still
 * name their backend. Where two meet, the newcomer tries on. Leaves the candidates ordered by id.
 */
static void
give_ids(struct candidate *c, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!c[i].kept)
			c[i].b.id = (uint32_t)c[i].key | (uint32_t)((uint32_t)c[i].key == 0);
	}
	bool clash;
	do {
		clash = false;
		qsort(c, n, sizeof(*c), compare_ids);
		for (uint32_t i = 1; i < n; i++) {
			if (c[i].b.id == c[i - 1].b.id && !c[i].kept) {
				uint32_t id = (uint32_t)mix64_add(c[i].key, c[i].b.id);
				c[i].b.id = id | (uint32_t)(id == 0);
				clash = true;
			}
		}
	} while (clash);
}

/* One of the sets, on its way: who belongs to it and with what weight. */
struct set {
	unsigned int family;
	enum service_range range;
	struct maglev_backend *m; /* [n candidates] */
	uint32_t members, eligible, size;
};

/* Who takes new connections: the ready, or when there are none the terminating (EndpointSlice's "serving"; judged in each set by
 * itself, KEP-1669). */
static void
weigh(struct set *set, const struct candidate *c, uint32_t n, enum backend_state takes)
{
	set->members = 0;
	for (uint32_t i = 0; i < n; i++) {
		bool in = ip_is4(&c[i].b.ip) == (set->family == 0) &&
			  (set->range == SERVICE_ALL || c[i].b.flags & BACKEND_HERE);
		set->m[i] = (struct maglev_backend){c[i].key, in && c[i].b.state == takes ? c[i].weight : 0};
		set->members += in;
		set->eligible += set->m[i].weight != 0;
	}
}

static uint32_t
prepare(struct set sets[4], struct maglev_backend *m, const struct candidate *c, uint32_t n,
	const struct service_choice *old)
{
	uint32_t slots = 0;
	for (unsigned int k = 0; k < 4; k++) {
		struct set *set = &sets[k];
		*set = (struct set){.family = k / 2, .range = k % 2 == 0 ? SERVICE_ALL : SERVICE_LOCAL, .m = m + k * n};
		weigh(set, c, n, BACKEND_READY);
		if (set->eligible == 0)
			weigh(set, c, n, BACKEND_TERMINATING);
		if (set->eligible != 0)
			set->size = maglev_size(set->members,
						old != NULL ? old->set[set->family][set->range].size : 0);
		slots += set->size;
	}
	return slots;
}

/* One block: the choice, its backends, its tables. */
static int
assemble(struct txn *t, const struct candidate *c, uint32_t n, const struct service_choice *old,
	 struct maglev_backend *m, const struct service_choice **out)
{
	struct set sets[4];
	uint32_t slots = prepare(sets, m, c, n, old);
	struct service_choice *choice =
		txn_alloc(t, sizeof(*choice) + n * sizeof(struct backend) + slots * sizeof(uint16_t));
	struct backend *backends = (struct backend *)(choice + 1);
	uint16_t *table = (uint16_t *)(backends + n);
	int rc = 0;
	for (uint32_t i = 0; i < n; i++)
		backends[i] = c[i].b;
	choice->n_backends = n;
	choice->backends = backends;
	for (unsigned int k = 0; k < 4 && rc == 0; k++) {
		const struct set *set = &sets[k];
		struct service_set *to = &choice->set[set->family][set->range];
		*to = (struct service_set){set->members, set->eligible, set->size, set->size != 0 ? table : NULL};
		if (set->size == 0)
			continue;
		rc = maglev_build(table, set->size, set->m, n);
		table += set->size;
		for (uint32_t i = 0; i < n; i++) {
			if (set->m[i].weight != 0)
				backends[i].flags |= set->range == SERVICE_ALL ? BACKEND_TAKES : BACKEND_TAKES_LOCAL;
		}
	}
	*out = choice;
	return rc;
}

int
service_choice_build(struct txn *t, const struct spec_service *spec, const struct spec_service_port *port,
		     const struct service_choice *old, const bool *here, const struct service_choice **out,
		     struct error *e)
{
	if (spec->n_backends > BACKENDS_MAX)
		return error_at(e, -E2BIG, "backends", "%u backends: at most %u are allowed", spec->n_backends,
				BACKENDS_MAX);
	uint32_t n_old = old != NULL ? old->n_backends : 0;
	struct candidate *c = calloc(spec->n_backends + 1, sizeof(*c));
	struct maglev_backend *m = calloc(4 * (size_t)spec->n_backends + 1, sizeof(*m));
	const struct backend **by_addr = calloc(n_old + 1, sizeof(*by_addr));
	int rc = -ENOMEM;
	if (c != NULL && m != NULL && by_addr != NULL) {
		uint32_t n = collect(c, spec, port, here);
		if (old != NULL)
			keep_ids(t, c, n, old, by_addr);
		give_ids(c, n);
		for (uint32_t i = 0; i < n; i++)
			c[i].b.count = c[i].kept ? c[i].b.count : service_count_new(t);
		rc = assemble(t, c, n, old, m, out);
	}
	free(c);
	free(m);
	free(by_addr);
	return rc < 0 ? error_at(e, rc, "backends", "%s", strerror(-rc)) : 0;
}
