/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Established connections while objects of other pods change: what it costs the worker, whether a packet is lost, and
 * how soon a change to the pods themselves is seen by their packets. The changes are made by this thread, as by weftd's
 * builder.
 */
#include "state_bench.h"

#include <stdlib.h>
#include <unistd.h>

#include <rte_cycles.h>

#define OTHERS 100    /* pods that are nobody's yet: their port is missing */
#define OTHER_KINDS 4 /* of objects that each has */
#define BATCH 10      /* objects of one apply: each is on the disk when it is answered */
#define ROUNDS 5      /* with and without changes, in turns */
#define TOGGLES 20
#define SETTLE_S 0.05
#define BIG_SERVICES 10000 /* of the one big batch, with so many backends each: */
#define BIG_BACKENDS 10

struct phase {
	double mpps, mpps_of_a_core, changes_per_second, cpu_share;
	double longest; /* seconds that a paced pod was not asked for packets */
	uint64_t lost, dropped, decided;
	double big_seconds; /* of a big batch */
	double *ms;         /* of each apply */
	unsigned int n;
};

static uint64_t serial; /* changes made */

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double
quantile(double *v, unsigned int n, double q)
{
	if (n == 0)
		return 0;
	qsort(v, n, sizeof(*v), by_value);
	return v[(unsigned int)(q * (n - 1))];
}

/* One object of another pod; `turn` makes it differ from what it was. */
static int
other(char *text, size_t size, unsigned int kind, unsigned int i, unsigned int turn)
{
	switch (kind) {
	case 0:
		return snprintf(
			text, size,
			"{\"kind\":\"Endpoint\",\"name\":\"other-%u\",\"network\":\"default\",\"port\":\"other-%u\","
			"\"mac\":\"02:00:00:01:00:%02x\",\"ips\":[\"10.48.0.%u\",\"10.48.%u.%u\"]}",
			i, i, i, i + 1, 1 + turn % 2, i + 1);
	case 1:
		return snprintf(text, size,
				"{\"kind\":\"AddressSet\",\"name\":\"others-%u\",\"network\":\"default\",\"members\":["
				"\"10.49.0.%u\","
				"\"10.50.%u.0/24\"]}",
				i, i + 1, turn % 2);
	case 2:
		return snprintf(text, size,
				"{\"kind\":\"Policy\",\"name\":\"other-%u\",\"network\":\"default\",\"endpoints\":["
				"\"other-%u\"],"
				"\"ingress\":[{\"name\":\"r\",\"from\":[{\"set\":\"others-%u\"},{\"cidr\":\"10.51.%u.0/"
				"24\"}]}]}",
				i, i, i, turn % 2);
	default:
		return snprintf(
			text, size,
			"{\"kind\":\"Service\",\"name\":\"other-%u\",\"network\":\"default\",\"ips\":[\"10.111.0.%u\"],"
			"\"ports\":[{\"protocol\":\"UDP\",\"port\":80}],\"backends\":[{\"ip\":\"10.48.0.%u\"},{\"ip\":"
			"\"10.48.0.2%02u\"}]}",
			i, i + 1, i + 1, turn % 2);
	}
}

/* Objects number n to n + BATCH - 1 of an endless list, in one apply, as agents do. Returns the seconds that it took.
 */
static double
change(uint64_t n)
{
	char text[BATCH * 400];
	size_t at = (size_t)snprintf(text, sizeof(text), "{\"objects\":[");
	for (unsigned int k = 0; k < BATCH; k++, n++) {
		unsigned int i = (unsigned int)(n / OTHER_KINDS % OTHERS),
			     turn = (unsigned int)(n / OTHER_KINDS / OTHERS);
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", k > 0 ? "," : "");
		at += (size_t)other(text + at, sizeof(text) - at, (unsigned int)(n % OTHER_KINDS), i, turn);
	}
	snprintf(text + at, sizeof(text) - at, "]}");
	return switch_call("apply", text);
}

/* With changes at the rate asked for, or as fast as they can be made; rate 0: none, but one big batch if `o` is given.
 */
static void
run_phase(struct phase *out, double seconds, double rate, const struct state_options *o)
{
	struct moment a, b;
	unsigned int room = (unsigned int)(seconds * rate / BATCH) + 16;
	*out = (struct phase){.ms = calloc(room, sizeof(double))};
	if (out->ms == NULL)
		die("no memory");
	pods_longest();
	look(&a);
	double start = seconds_now(), end = start + seconds;
	while (rate > 0 && out->n < room && seconds_now() < end) {
		double due = start + out->n * BATCH / rate, wait = due - seconds_now();
		if (wait > 0)
			usleep((useconds_t)(wait * 1e6));
		out->ms[out->n++] = change(serial) * 1e3;
		serial += BATCH;
	}
	if (o != NULL)
		out->big_seconds = switch_add_services(o, BIG_SERVICES, BIG_BACKENDS);
	if (seconds_now() < end)
		usleep((useconds_t)((end - seconds_now()) * 1e6));
	look(&b);
	out->longest = pods_longest();
	double taken = (double)(b.pod[0].taken + b.pod[1].taken - a.pod[0].taken - a.pod[1].taken);
	out->mpps = taken / (b.wall - a.wall) / 1e6;
	out->mpps_of_a_core = taken / (b.cpu - a.cpu) / 1e6;
	out->cpu_share = (b.cpu - a.cpu) / (b.wall - a.wall);
	out->changes_per_second = out->n * BATCH / (b.wall - a.wall);
	out->lost = b.pod[0].lost + b.pod[1].lost - a.pod[0].lost - a.pod[1].lost;
	out->dropped = b.totals.dropped - a.totals.dropped;
	out->decided = b.workers.decided - a.workers.decided;
}

/* Milliseconds from the call until packets are treated otherwise: let in no more (0), let in again (1). */
static void
toggle(double ms[2][TOGGLES])
{
	double last, resumed;
	for (int i = 0; i < TOGGLES; i++) {
		double start = seconds_now();
		switch_call("patch",
			    "{\"kind\":\"Policy\",\"name\":\"accept-clients\",\"remove\":{\"ingress\":[\"clients\"]}}");
		usleep((useconds_t)(SETTLE_S * 1e6));
		pods_times(&last, &resumed);
		if (seconds_now() - last < SETTLE_S / 2)
			die("packets go on where no rule accepts them");
		ms[0][i] = RTE_MAX(0, last - start) * 1e3;
		start = seconds_now();
		switch_call("patch", "{\"kind\":\"Policy\",\"name\":\"accept-clients\",\"add\":{\"ingress\":[{\"name\":"
				     "\"clients\",\"from\":[{\"set\":\"clients\"}],"
				     "\"ports\":[{\"protocol\":\"UDP\",\"port\":800}]}]}}");
		usleep((useconds_t)(SETTLE_S * 1e6));
		pods_times(&last, &resumed);
		ms[1][i] = (resumed - start) * 1e3;
	}
}

static void
set(json_t *row, const char *name, double value)
{
	json_object_set_new(row, name, json_real(value));
}

/* ROUNDS without changes and with them, in turns. */
static void
run_rounds(const struct state_options *o, struct phase out[2][ROUNDS])
{
	for (int i = 0; i < ROUNDS; i++) {
		run_phase(&out[0][i], o->seconds, 0, NULL);
		run_phase(&out[1][i], o->seconds, o->changes, NULL);
	}
}

static double
median_of(const struct phase *p, size_t field)
{
	double v[ROUNDS];
	for (int i = 0; i < ROUNDS; i++)
		v[i] = *(const double *)((const char *)&p[i] + field);
	return quantile(v, ROUNDS, 0.5);
}
#define MEDIAN(phases, field) median_of(phases, offsetof(struct phase, field))

/* What was lost in all rounds, and the longest that the worker stayed away; both are the machine's fault as much as the
 * switch's. */
static void
set_lost(json_t *row, const char *lost, const char *longest, const char *share, const struct phase *p, int n)
{
	uint64_t sum = 0;
	double most = 0, least = 1;
	for (int i = 0; i < n; i++) {
		sum += p[i].lost;
		most = RTE_MAX(most, p[i].longest);
		least = RTE_MIN(least, p[i].cpu_share);
	}
	json_object_set_new(row, lost, json_integer((json_int_t)sum));
	json_object_set_new(row, longest, json_real(most * 1e3));
	/* Less than 1: the machine gave the worker's core to others. */
	json_object_set_new(row, share, json_real(least));
}

void
changes_run(const struct state_options *o)
{
	struct phase full[2][ROUNDS], half[2][ROUNDS], big;
	double seen[2][TOGGLES];
	switch_start(o);
	for (; serial < OTHER_KINDS * OTHERS; serial += BATCH)
		change(serial);
	open_flows(o);
	pods_set(PODS_ESTABLISHED);
	pass_time(o, o->warmup);
	run_rounds(o, full);
	double mpps = MEDIAN(full[0], mpps), busy = MEDIAN(full[1], mpps);
	pods_pace(mpps * 1e6 / 4); /* of each of the two directions */
	pass_time(o, 0.2);
	run_rounds(o, half);
	run_phase(&big, o->seconds, 0, o);
	toggle(seen);

	json_t *row = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:b}", "scenario", "changes", "port", "in-process",
				"flows", (int)o->plan.flows, "services", (int)o->services, "rules", (int)o->rules,
				"members", (int)o->members, "store", o->state != NULL);
	set(row, "changes_per_second", full[1][0].changes_per_second);
	set(row, "mpps_without", mpps);
	set(row, "weft_mpps", busy);
	set(row, "cost", 1 - busy / mpps);
	set(row, "cost_of_cores", 1 - MEDIAN(full[1], mpps_of_a_core) / MEDIAN(full[0], mpps_of_a_core));
	set(row, "apply_median_ms", quantile(full[1][0].ms, full[1][0].n, 0.5));
	set(row, "apply_p99_ms", quantile(full[1][0].ms, full[1][0].n, 0.99));
	json_object_set_new(row, "decided_again", json_integer((json_int_t)full[1][0].decided));
	set(row, "half_load_mpps", MEDIAN(half[1], mpps));
	set_lost(row, "half_load_lost", "half_load_longest_ms", "half_load_cpu_share", half[1], ROUNDS);
	set_lost(row, "half_load_lost_without", "half_load_longest_ms_without", "half_load_cpu_share_without", half[0],
		 ROUNDS);
	json_object_set_new(row, "half_load_dropped", json_integer((json_int_t)half[1][0].dropped));
	set(row, "big_apply_seconds", big.big_seconds);
	set_lost(row, "big_apply_lost", "big_apply_longest_ms", "big_apply_cpu_share", &big, 1);
	json_object_set_new(row, "big_apply_decided_again", json_integer((json_int_t)big.decided));
	json_object_set_new(row, "big_apply_dropped", json_integer((json_int_t)big.dropped));
	set(row, "denied_median_ms", quantile(seen[0], TOGGLES, 0.5));
	set(row, "denied_max_ms", quantile(seen[0], TOGGLES, 1));
	set(row, "accepted_median_ms", quantile(seen[1], TOGGLES, 0.5));
	set(row, "accepted_max_ms", quantile(seen[1], TOGGLES, 1));
	json_dumpf(row, stdout, JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(row);
	for (int i = 0; i < ROUNDS; i++)
		for (int with = 0; with < 2; with++) {
			free(full[with][i].ms);
			free(half[with][i].ms);
		}
	free(big.ms);
	pods_set(PODS_SILENT);
	pass_time(o, 0.1);
	switch_stop();
}
