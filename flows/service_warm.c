/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With 50,000 services, what a new connection needs to know of its own lies in a dozen lines of memory that no cache
 * holds, each found by the one before. Here a burst's lines are fetched together, step by step: what one packet waits
 * for, all have waited for.
 */
#include <weft/conn.h>

#include "service_private.h"

void
service_warm(const struct service_tables *s, const struct tuple *const t[], unsigned int n)
{
	struct service_port_key key[WEFT_BURST];
	const void *keys[WEFT_BURST], *value[WEFT_BURST];
	const struct service_set *set[WEFT_BURST];
	const uint16_t *slot[WEFT_BURST];
	if (s->port.count < SERVICE_WARM_MIN || n == 0)
		return;
	keys[0] = NULL; /* n > 0, which the compiler does not see */
	for (unsigned int i = 0; i < n; i++) {
		key[i] = (struct service_port_key){t[i]->dst, t[i]->net_proto >> 8, t[i]->dport,
						   (uint8_t)t[i]->net_proto, 0};
		keys[i] = &key[i];
	}
	pmap_prefetch_burst(&s->port, &service_ports_type, keys, n, value);
	for (unsigned int i = 0; i < n; i++) {
		const struct service_port *p = value[i];
		if (p == NULL)
			continue;
		set[i] = &p->choice->set[!ip_is4(&t[i]->dst)][SERVICE_ALL];
		__builtin_prefetch(set[i]);
		__builtin_prefetch(&p->choice->backends);
		__builtin_prefetch(&p->spec->source_ranges);
		__builtin_prefetch(&p->spec->session_affinity_seconds);
		__builtin_prefetch(&p->spec->internal_local);
	}
	for (unsigned int i = 0; i < n; i++) {
		slot[i] = NULL;
		if (value[i] == NULL || set[i]->size == 0)
			continue;
		slot[i] = &set[i]->maglev[(uint64_t)service_hash(t[i]) * set[i]->size >> 32];
		__builtin_prefetch(slot[i]);
	}
	for (unsigned int i = 0; i < n; i++) {
		if (slot[i] == NULL)
			continue;
		const struct backend *b = &((const struct service_port *)value[i])->choice->backends[*slot[i]];
		__builtin_prefetch(b);
		__builtin_prefetch(&b->count); /* where it lies in two lines */
	}
}
