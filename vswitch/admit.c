/* SPDX-License-Identifier: Apache-2.0 */
#include <rte_prefetch.h>

#include <weft/clock.h>
#include <weft/pipeline.h>

#include "admit.h"

#define WAIT_MS 5000
#define WAITING_PER_ENDPOINT 16

static uint32_t
generation_of(uint32_t slot)
{
	return __atomic_load_n(&generation_table[slot], __ATOMIC_ACQUIRE);
}

void
admit_hold(struct worker *w, struct burst *b, uint32_t i, uint32_t endpoint)
{
	const struct packet *p = &b->p[i];
	/* Read before the root is looked at, see generation.h: what is admitted at this moment is tried again at once. */
	uint32_t generation = generation_of(endpoint), n = 0;
	for (unsigned int k = 0; k < w->n_waiting; k++)
		n += w->waiting[k].endpoint == endpoint;
	if (w->n_waiting == WAITING_MAX || n >= WAITING_PER_ENDPOINT) {
		packet_drop(w, b, i, DROP_ADMISSION);
		return;
	}
	w->waiting[w->n_waiting++] = (struct waiting_packet){
		.m = b->m[i],
		.since_ms = w->waiting_again ? w->waiting_since_ms : w->now_ms,
		.endpoint = endpoint,
		.generation = generation - (config_current() != b->config),
		.source = p->source,
		.source_generation = generation_of(p->source),
		.back = p->back,
		.network = packet_network(p),
		.in_port = p->in_port,
		.outer = p->outer,
	};
	w->count.held++;
}

/* One packet through the pipeline once more, as if it had just come. */
static void
try_again(struct worker *w, const struct waiting_packet *h)
{
	struct burst *b = &w->burst;
	b->config = config_current();
	b->from = b->config->port[h->in_port];
	b->n = 1;
	b->m[0] = h->m;
	b->p[0].in_port = h->in_port;
	bool wire = b->from != NULL && b->from->kind == SOURCE_UPLINK, tunnel = wire && h->network != NETWORK_UNDERLAY;
	w->waiting_again = true;
	w->waiting_since_ms = h->since_ms;
	if (b->from == NULL || (tunnel && generation_of(h->source) != h->source_generation) ||
	    (!wire && b->from->slot != h->source)) {
		packet_drop(w, b, 0, DROP_ADMISSION); /* whoever sent it is gone */
	} else if (tunnel) {
		/* The tunnel's headers are off already. */
		memset(b->at, 0, sizeof(b->at));
		parse_overlay(w, b, 0, h->network, h->source, h->back, h->outer);
		pipeline_go_on(w, b);
	} else {
		pipeline_run(w, b);
	}
	w->waiting_again = false;
}

static void
give_up(struct worker *w, const struct waiting_packet *h)
{
	w->count.held--;
	w->port[h->in_port].drop[DROP_ADMISSION]++;
	rte_pktmbuf_free(h->m);
}

void
admit_release(struct worker *w)
{
	struct waiting_packet all[WAITING_MAX];
	unsigned int n = w->n_waiting;
	memcpy(all, w->waiting, n * sizeof(all[0]));
	w->n_waiting = 0;
	for (unsigned int k = 0; k < n; k++) {
		const struct waiting_packet *h = &all[k];
		if (clock_passed(w->now_ms, h->since_ms, WAIT_MS)) {
			give_up(w, h);
		} else if (generation_of(h->endpoint) != h->generation) {
			w->count.held--;
			try_again(w, h);
		} else if (w->n_waiting == WAITING_MAX) {
			/* Who was tried again had company: later fragments that were held elsewhere. */
			give_up(w, h);
		} else {
			w->waiting[w->n_waiting++] = *h;
		}
	}
}

void
admit_drop_all(struct worker *w)
{
	for (unsigned int k = 0; k < w->n_waiting; k++) {
		w->port[w->waiting[k].in_port].drop[DROP_ADMISSION]++;
		rte_pktmbuf_free(w->waiting[k].m);
	}
	w->count.held -= w->n_waiting;
	w->n_waiting = 0;
}
