/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/neighbour.h>
#include <weft/rcu.h>

#include "config_impl.h"

static const struct spec_network underlay_spec = {.name = "underlay", .mtu = 1500};

static const struct config *root;

const struct config *
config_current(void)
{
	return __atomic_load_n(&root, __ATOMIC_ACQUIRE);
}

bool
config_host_network(const struct config *c, const struct ip *addr, uint32_t *network)
{
	const struct host_route *r = lpm_find(&c->host_fib, 0, addr);
	if (r != NULL)
		*network = r->network;
	return r != NULL;
}

bool
config_is_node_ip(const struct config *c, const struct ip *addr)
{
	for (uint32_t i = 0; i < c->n_node_ips; i++) {
		if (ip_equal(&c->node_ips[i], addr))
			return true;
	}
	return false;
}

static void
make_first_root(struct txn *t)
{
	struct config *c = txn_alloc(t, sizeof(*c));
	struct network *n = txn_alloc(t, sizeof(*n));
	n->id = NETWORK_UNDERLAY;
	n->slot = generation_alloc();
	n->mtu = underlay_spec.mtu;
	n->spec = &underlay_spec;
	c->network[NETWORK_UNDERLAY] = n;
	c->host_slot = c->service.host_slot = generation_alloc();
	c->host_port = c->uplink_port = PORT_NONE;
	c->builder = txn_alloc(t, sizeof(struct config_builder));
	__atomic_store_n(&root, c, __ATOMIC_RELEASE);
}

int
config_init(void)
{
	if (root != NULL)
		return -EALREADY;
	assert(generation_table != NULL && hop_table != NULL && neighbour_table != NULL);
	struct txn t;
	txn_begin(&t);
	make_first_root(&t);
	txn_commit(&t);
	return 0;
}

static int
collect(const void *object, void *arg)
{
	const void *name = ((const struct config_object *)object)->name;
	vector_push(arg, &name, sizeof(name));
	return 0;
}

static void
remove_everything(void)
{
	struct config_txn *t = config_begin();
	for (int kind = KIND_COUNT - 1; kind >= 0; kind--) {
		struct vector names = {0};
		pmap_walk(&t->base->objects[kind], collect, &names);
		for (size_t i = 0; i < names.n; i++)
			config_remove(t, (enum kind)kind, ((const char **)names.v)[i], NULL);
		free(names.v);
	}
	int rc = config_check(t, NULL);
	assert(rc == 0);
	if (rc == 0)
		config_publish(t);
}

void
config_fini(void)
{
	if (root == NULL)
		return;
	remove_everything();
	struct config *c = (struct config *)(uintptr_t)root;
	struct txn t;
	txn_begin(&t);
	policy_clear(&c->policy, &t);
	if (c->node_ips != NULL)
		txn_retire(&t, (void *)(uintptr_t)c->node_ips);
	txn_retire(&t, (void *)(uintptr_t)c->network[NETWORK_UNDERLAY]);
	txn_retire(&t, c->builder);
	txn_retire(&t, c);
	root = NULL;
	txn_commit(&t);
	/* What waits for its grace period gives ids back to the tables, which go next. */
	do
		rcu_synchronize();
	while (rcu_reclaim() > 0);
}

struct config_txn *
config_begin(void)
{
	struct config_txn *t = calloc(1, sizeof(*t));
	if (t == NULL)
		abort();
	txn_begin(&t->txn);
	t->base = root;
	t->c = txn_alloc(&t->txn, sizeof(*t->c));
	*t->c = *t->base;
	t->c->epoch++;
	t->b = txn_alloc(&t->txn, sizeof(*t->b));
	*t->b = *builder_of(t->base);
	t->c->builder = t->b;
	txn_retire(&t->txn, t->base->builder);
	txn_retire(&t->txn, (void *)(uintptr_t)t->base);
	return t;
}

static int
put_network(struct config_txn *t, const union spec *spec, struct error *e)
{
	const struct config_object *before = object_find(t->c, KIND_NETWORK, spec->name);
	const struct network *n = before != NULL ? before->compiled : NULL;
	int rc = network_validate(&spec->network, e);
	return rc < 0 ? rc : network_prepare(t, n, object_put(t, KIND_NETWORK, spec, NULL), e);
}

/* What others compile: the object is kept for `get` and for who refers to whom. */
static int
put_delegated(struct config_txn *t, enum kind kind, const union spec *spec, struct error *e)
{
	const char *name = kind == KIND_SERVICE       ? spec->service.network
			   : kind == KIND_ADDRESS_SET ? spec->address_set.network
						      : spec->policy.network;
	uint32_t network = refer_overlay(t, name, e);
	if (network == NETWORK_NONE)
		return -ENOENT;
	object_put(t, kind, spec, NULL);
	struct service_change change;
	switch (kind) {
	case KIND_SERVICE:
		change = service_change_of(t);
		return service_put(&change, network, &spec->service, e);
	case KIND_ADDRESS_SET:
		return address_set_put(&t->c->policy, &t->txn, network, &spec->address_set, config_bump, t, e);
	default:
		admission_cover(t, &spec->policy);
		return policy_put(&t->c->policy, &t->txn, network, &spec->policy, config_bump, t, e);
	}
}

int
config_put(struct config_txn *t, enum kind kind, const union spec *spec, const struct port_facts *facts,
	   struct error *e)
{
	int rc = 0;
	switch (kind) {
	case KIND_NODE:
		break;
	case KIND_NETWORK:
		return put_network(t, spec, e);
	case KIND_PORT:
		assert(facts != NULL && facts->id < WEFT_MAX_PORTS);
		rc = port_validate(&spec->port, e);
		break;
	case KIND_ENDPOINT:
		rc = refer_overlay(t, spec->endpoint.network, e) == NETWORK_NONE ? -ENOENT : 0;
		break;
	case KIND_REMOTE:
		rc = remote_validate(t, &spec->remote, e);
		break;
	case KIND_ROUTE:
		rc = underlay_validate(&spec->route, e);
		break;
	default:
		return put_delegated(t, kind, spec, e);
	}
	if (rc == 0)
		object_put(t, kind, spec, facts);
	return rc;
}

int
config_patch(struct config_txn *t, enum kind kind, const union spec *spec, const struct config_patch *patch,
	     struct error *e)
{
	struct policy_tables *p = &t->c->policy;
	assert(kind == KIND_ADDRESS_SET || kind == KIND_POLICY);
	object_put(t, kind, spec, NULL);
	if (kind == KIND_POLICY) {
		admission_cover(t, &spec->policy);
		return policy_patch(p, &t->txn, spec->name, patch->edits, patch->n_edits, config_bump, t, e);
	}
	return address_set_patch(p, &t->txn, spec->name, patch->add, patch->remove, config_bump, t);
}

int
config_remove(struct config_txn *t, enum kind kind, const char *name, struct error *e)
{
	const struct config_object *o = object_find(t->c, kind, name);
	const struct network *n = kind == KIND_NETWORK && o != NULL ? o->compiled : NULL;
	int rc = object_remove(t, kind, name, e);
	if (rc < 0)
		return rc;
	if (n != NULL)
		network_forget(t, n);
	if (kind == KIND_SERVICE) {
		struct service_change change = service_change_of(t);
		return service_remove(&change, name);
	}
	if (kind == KIND_ADDRESS_SET)
		return address_set_remove(&t->c->policy, &t->txn, name, config_bump, t);
	if (kind == KIND_POLICY)
		return policy_remove(&t->c->policy, &t->txn, name, config_bump, t);
	return 0;
}

int
config_check(struct config_txn *t, struct error *e)
{
	int rc = check_references(t, e);
	if (rc == 0)
		rc = node_settle(t, e);
	if (rc == 0)
		rc = underlay_settle(t, e);
	if (rc < 0)
		return rc;
	endpoints_touch(t);
	admission_touch(t);
	remotes_touch(t);
	endpoints_take_out(t);
	remotes_take_out(t);
	networks_take_out(t);
	rc = networks_put_in(t, e);
	if (rc == 0)
		rc = host_routes_settle(t, e);
	if (rc == 0)
		rc = endpoints_put_in(t, e);
	if (rc == 0)
		rc = remotes_put_in(t, e);
	if (rc == 0)
		rc = services_settle(t, e);
	if (rc < 0)
		return rc;
	port_views_settle(t);
	fib_bump(t);
	t->checked = true;
	return 0;
}

bool
config_culprit(const struct config_txn *t, enum kind *kind, const char **name)
{
	if (t->culprit == NULL)
		return false;
	*kind = t->culprit_kind;
	*name = t->culprit;
	return true;
}

static void
release(struct config_txn *t)
{
	free(t->bumps.v);
	free(t->routed.v);
	free(t->host_meant.v);
	free(t->idle.v);
	free(t->covered.v);
	free(t);
}

static int
by_slot(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void
run_bumps(const struct vector *bumps)
{
	uint32_t *slot = bumps->v;
	if (bumps->n == 0)
		return;
	qsort(slot, bumps->n, sizeof(*slot), by_slot);
	for (size_t i = 0; i < bumps->n; i++) {
		if (i == 0 || slot[i] != slot[i - 1])
			generation_bump(slot[i]);
	}
}

uint64_t
config_publish(struct config_txn *t)
{
	assert(t->checked);
	uint64_t epoch = t->c->epoch;
	changes_drop(t);
	__atomic_store_n(&root, t->c, __ATOMIC_RELEASE);
	run_bumps(&t->bumps);
	txn_commit(&t->txn);
	release(t);
	return epoch;
}

void
config_abort(struct config_txn *t)
{
	txn_abort(&t->txn);
	release(t);
}
