/* SPDX-License-Identifier: Apache-2.0 */
#include "mgmt_impl.h"

/* An id that no port has: what a port that is not open would be called. */
static int
unused_id(uint16_t *next)
{
	while (*next < WEFT_MAX_PORTS && port_by_id(*next) != NULL)
		(*next)++;
	return *next < WEFT_MAX_PORTS ? (*next)++ : -ENOSPC;
}

static int
facts_of(const struct change *c, enum fill_mode mode, uint16_t *next, struct port_facts *facts)
{
	const struct object *o = c->next;
	if (o->seat != NULL) {
		*facts = (struct port_facts){.id = o->seat->id, .mac = o->seat->port->mac};
		return 0;
	}
	if (mode == FILL_REAL)
		return -ENODEV;
	if (c->old != NULL && c->old->seat != NULL) {
		*facts = (struct port_facts){.id = c->old->seat->id, .mac = c->old->seat->port->mac};
		return 0;
	}
	int id = unused_id(next);
	if (id < 0)
		return id;
	*facts = (struct port_facts){.id = (uint16_t)id, .mac = o->spec->port.mac};
	return 0;
}

static int
put(struct config_txn *t, struct change *c, enum fill_mode mode, uint16_t *next, struct rpc_error *e)
{
	struct port_facts facts;
	struct error why = {0};
	bool is_port = c->next->kind == KIND_PORT;
	/* Until it is applied again, nothing comes to it or from it. */
	if (c->next->closed)
		return 0;
	if (is_port) {
		int rc = facts_of(c, mode, next, &facts);
		if (rc == -ENOSPC)
			error_set(&why, rc, "all %u ports that there can be are in use", WEFT_MAX_PORTS);
		/* A port that could not be opened is as good as missing: what names it is pending. */
		if (rc == -ENODEV)
			return 0;
		if (rc < 0)
			return fail_with(e, rc, c->at, &why);
	}
	int rc = c->patch != NULL ? config_patch(t, c->next->kind, c->next->spec, &c->patch->config, &why)
				  : config_put(t, c->next->kind, c->next->spec, is_port ? &facts : NULL, &why);
	if (rc == 0 && mode == FILL_REAL)
		c->next->in_config = true;
	if (rc < 0 && c->at < 0)
		error_under(&why, rc, "%s %s", kinds[c->next->kind].name, c->next->name);
	return rc == 0 ? 0 : fail_with(e, rc, c->at, &why);
}

/*
 * Whose fault it is may be an object that the batch does not name: one that was compiled again since another changed.
 * What keeps an object from being deleted is said with its name already.
 */
static int
check(struct config_txn *t, const struct batch *b, struct rpc_error *e)
{
	struct error why = {0};
	enum kind kind;
	const char *name;
	int rc = config_check(t, &why);
	if (rc == 0)
		return 0;
	if (!config_culprit(t, &kind, &name))
		return fail_with(e, rc, -1, &why);
	for (uint32_t i = 0; i < b->n; i++)
		if (change_object(&b->v[i])->kind == kind && strcmp(change_object(&b->v[i])->name, name) == 0 &&
		    (b->v[i].at >= 0 || b->v[i].next == NULL))
			return fail_with(e, rc, b->v[i].at, &why);
	error_under(&why, rc, "%s %s", kinds[kind].name, name);
	return fail_with(e, rc, -1, &why);
}

/* What goes leaves room before what comes asks for it: an address that moves from one object to another is no clash. */
int
config_fill(struct config_txn *t, struct batch *b, enum fill_mode mode, struct rpc_error *e)
{
	uint16_t next = 0;
	struct error why = {0};
	int rc = 0;
	for (uint32_t i = b->n; i-- > 0;) {
		const struct object *old = b->v[i].old;
		if (old == NULL || !old->in_config || b->v[i].next != NULL)
			continue;
		rc = config_remove(t, old->kind, old->name, &why);
		if (rc < 0) {
			error_under(&why, rc, "%s %s", kinds[old->kind].name, old->name);
			return fail_with(e, rc, b->v[i].at, &why);
		}
	}
	for (uint32_t i = 0; i < b->n && rc == 0; i++)
		if (b->v[i].next != NULL)
			rc = put(t, &b->v[i], mode, &next, e);
	return rc == 0 ? check(t, b, e) : rc;
}

int
config_rehearse(struct batch *b, struct rpc_error *e)
{
	struct config_txn *t = config_begin();
	int rc = config_fill(t, b, FILL_REHEARSE, e);
	config_abort(t);
	return rc;
}
