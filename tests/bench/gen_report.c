/* SPDX-License-Identifier: Apache-2.0 */
#include "gen.h"
#include "gen_tunnel.h"

#include <inttypes.h>

#include <rte_cycles.h>

static void
print_side(FILE *f, const char *name, const struct gen_count *c)
{
	fprintf(f,
		"\"%s\":{\"tx\":%" PRIu64 ",\"rx\":%" PRIu64 ",\"other\":%" PRIu64 ",\"badChecksums\":%" PRIu64
		",\"wrong\":%" PRIu64 ",\"hops\":%u}",
		name, c->tx, c->rx, c->other, c->bad, c->wrong, c->hops);
}

static void
print_latency(FILE *f, const struct gen_latency *l)
{
	double us = 1e6 / (double)rte_get_tsc_hz();
	fprintf(f,
		"\"latency\":{\"frames\":%" PRIu64
		",\"meanUs\":%.3f,\"p50Us\":%.3f,\"p99Us\":%.3f,\"p999Us\":%.3f,\"maxUs\":%.3f},",
		l->frames, l->mean * us, (double)l->p50 * us, (double)l->p99 * us, (double)l->p999 * us,
		(double)l->max * us);
}

static double
cost(const struct gen_cost *c)
{
	return c->frames > 0 ? (double)c->cycles / (double)c->frames : 0;
}

void
gen_report(FILE *f, const struct gen_options *o, const struct gen_result *r)
{
	uint64_t tx = r->side[0].tx + r->side[1].tx, rx = r->side[0].rx + r->side[1].rx;
	uint64_t bursts = r->side[0].bursts + r->side[1].bursts, full = r->side[0].full + r->side[1].full;
	fprintf(f,
		"{\"size\":%u,\"flows\":%u,\"both\":%s,\"tx\":%" PRIu64 ",\"rx\":%" PRIu64
		",\"loss\":%.6f,\"seconds\":%.6f,\"mpps\":%.4f,",
		o->size, o->flows, o->both ? "true" : "false", tx, rx, tx > rx ? (double)(tx - rx) / (double)tx : 0.0,
		r->seconds, (double)r->rx_in_time / r->seconds / 1e6);
	double per_frame = cost(&r->tx_cost) + cost(&r->rx_cost);
	fprintf(f, "\"full\":%.4f,\"cyclesPerPacket\":%.1f,\"ceilingMpps\":%.4f,",
		bursts > 0 ? (double)full / (double)bursts : 0.0, per_frame,
		per_frame > 0 ? (double)rte_get_tsc_hz() / per_frame / 1e6 : 0.0);
	if (o->scenario != GEN_FLOWS)
		fprintf(f, "\"opened\":%" PRIu64 ",\"openSeconds\":%.3f,\"begun\":%" PRIu64 ",\"over\":%" PRIu64 ",",
			r->lives.opened, r->open_seconds, r->lives.begun, r->lives.over);
	if (o->rate > 0)
		fprintf(f, "\"rate\":%.4f,\"due\":%" PRIu64 ",", o->rate, r->side[0].due + r->side[1].due);
	if (o->latency)
		print_latency(f, &r->latency);
	if (o->vni != 0)
		fprintf(f, "\"outerPorts\":%u,", gen_tunnel_source_ports());
	print_side(f, "a", &r->side[0]);
	fputc(',', f);
	print_side(f, "b", &r->side[1]);
	fputs("}\n", f);
	fflush(f);
}
