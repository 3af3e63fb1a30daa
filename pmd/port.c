/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/port.h>

#include <stdlib.h>

#include <weft/port_event.h>
#include <weft/rcu.h>

#include "port_claim.h"
#include "port_core.h"

#define DEFAULT_MTU 1500

static const struct port_ops *const kinds[] = {
#define X(type, ops) [type] = &ops,
	PORT_KIND_OPS(X)
#undef X
};

/* An id is taken from open to the end of close; `port` is there only while others may see the port. */
static struct {
	struct port *port; /* atomic */
	struct port *taken;
	struct claim claim;
} slots[WEFT_MAX_PORTS];
static struct port_env env;
static bool stopping;

const struct port_env *
port_env(void)
{
	return &env;
}

int
ports_init(const struct port_env *with)
{
	env = *with;
	stopping = false;
	return port_thread_start();
}

void
ports_leave(void)
{
	stopping = true;
}

void
ports_fini(void)
{
	ports_leave();
	for (unsigned int id = 0; id < WEFT_MAX_PORTS; id++)
		if (slots[id].port != NULL)
			port_close(slots[id].port);
	port_thread_stop();
}

bool
ports_are_stopping(void)
{
	return stopping;
}

void
port_set_up(struct port *p, bool up)
{
	bool was = __atomic_exchange_n(&p->up, up, __ATOMIC_RELAXED);
	if (was != up && port_by_id(p->id) == p && env.changed != NULL)
		env.changed(p, env.arg);
}

static int
find_slot(const struct spec_port *spec, const struct claim *claim, unsigned int *free_id, struct error *e)
{
	char what[256];
	*free_id = WEFT_MAX_PORTS;
	for (unsigned int id = WEFT_MAX_PORTS; id-- > 0;) {
		const struct port *other = slots[id].taken;
		if (other == NULL) {
			*free_id = id;
			continue;
		}
		if (strcmp(other->name, spec->name) == 0)
			return error_set(e, -EEXIST, "port %s exists already", spec->name);
		if (claims_clash(claim, &slots[id].claim, what, sizeof(what)))
			return error_set(e, -EEXIST, "%s is taken by port %s", what, other->name);
	}
	return *free_id < WEFT_MAX_PORTS
		       ? 0
		       : error_set(e, -ENOSPC, "all %u ports that there can be are in use", WEFT_MAX_PORTS);
}

static void *
zalloc(size_t size)
{
	size = RTE_ALIGN_CEIL(size == 0 ? 1 : size, (size_t)RTE_CACHE_LINE_SIZE);
	void *p = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	return p != NULL ? memset(p, 0, size) : NULL;
}

static void
port_free(struct port *p)
{
	if (p != NULL)
		free(p->priv);
	free(p);
}

struct port *
port_wire_partner(const struct port *p)
{
	for (unsigned int id = 0; id < WEFT_MAX_PORTS; id++) {
		struct port *other = port_by_id((uint16_t)id);
		if (other != NULL && other != p && ((p->host && other->uplink) || (p->uplink && other->host)))
			return other;
	}
	return NULL;
}

static struct port *
port_new(const struct spec_port *spec, unsigned int id)
{
	const struct port_ops *ops = kinds[spec->type];
	struct port *p = zalloc(sizeof(*p));
	if (p == NULL)
		return NULL;
	p->id = (uint16_t)id;
	p->n_rxq = p->n_txq = spec->queues != 0 ? spec->queues : 1;
	p->numa = -1;
	p->host = spec->host;
	p->uplink = spec->uplink;
	p->mac = spec->mac;
	p->mtu = spec->mtu != 0 ? spec->mtu : DEFAULT_MTU;
	p->pool = env.pool != NULL ? env.pool(-1) : NULL;
	p->ops = ops;
	p->priv = zalloc(ops->priv_size);
	snprintf(p->name, sizeof(p->name), "%s", spec->name);
	if (p->priv == NULL) {
		port_free(p);
		return NULL;
	}
	return p;
}

static int
open_locked(const struct spec_port *spec, struct claim *claim, struct port **out, struct error *e)
{
	unsigned int id;
	int rc = find_slot(spec, claim, &id, e);
	if (rc < 0)
		return rc;
	struct port *p = port_new(spec, id);
	if (p == NULL)
		return error_set(e, -ENOMEM, "no memory for a port");
	rc = p->ops->open(p, spec, e);
	if (rc < 0) {
		port_free(p);
		return rc;
	}
	slots[id].taken = p;
	slots[id].claim = *claim;
	__atomic_store_n(&slots[id].port, p, __ATOMIC_RELEASE);
	*out = p;
	return 0;
}

int
port_open(const struct spec_port *spec, struct port **out, struct error *e)
{
	struct claim claim = {0};
	if ((unsigned int)spec->type >= RTE_DIM(kinds))
		return error_at(e, -EINVAL, "type", "unknown kind of port");
	if (spec->queues > PORT_MAX_QUEUES)
		return error_at(e, -EINVAL, "queues", "%u is not in 1..%u", spec->queues, PORT_MAX_QUEUES);
	port_lock();
	int rc = claim_make(&claim, spec, e);
	if (rc == 0)
		rc = open_locked(spec, &claim, out, e);
	port_unlock();
	if (rc < 0)
		claim_free(&claim);
	return rc;
}

/* The lock is not held while workers are waited for: a worker that is slow to answer must not stop the other ports'
 * timers. */
void
port_close(struct port *p)
{
	unsigned int id = p->id;
	port_lock();
	if (p->ops->quiesce != NULL)
		p->ops->quiesce(p);
	__atomic_store_n(&slots[id].port, NULL, __ATOMIC_RELEASE);
	port_unlock();
	rcu_synchronize();
	port_lock();
	p->ops->close(p);
	claim_free(&slots[id].claim);
	slots[id].claim = (struct claim){0};
	slots[id].taken = NULL;
	port_unlock();
	port_free(p);
}

struct port *
port_by_id(uint16_t id)
{
	return id < WEFT_MAX_PORTS ? __atomic_load_n(&slots[id].port, __ATOMIC_ACQUIRE) : NULL;
}

struct port *
port_by_name(const char *name)
{
	struct port *found = NULL;
	port_lock();
	for (unsigned int id = 0; id < WEFT_MAX_PORTS && found == NULL; id++)
		if (slots[id].port != NULL && strcmp(slots[id].port->name, name) == 0)
			found = slots[id].port;
	port_unlock();
	return found;
}
