/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_bench: the whole switch and two pods in one process, so that nothing but the switch is measured: packets come
 * from memory and go back there. What that costs is measured too, and taken off. One JSON object on stdout.
 *
 * Without threads (--turns) one thread does everything in the same order every time, with the same seeds of the tables
 * and a clock that turns drive; scripts/bench stages counts its instructions:
 *   valgrind --tool=callgrind --toggle-collect=measured_turns build/tests/state_bench --flows 1000 --turns 2000
 */
#include "state_bench.h"

#include <dirent.h>
#include <dlfcn.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_ip.h>

#include <weft/pipeline.h>

#define STALL_S 5.0
#define TURNS_PER_SECOND 100000  /* what passes for a second without threads */
#define ESTABLISHED_SERVICES 16u /* that connections go through, however many there are */

/* In place of libc's: the tables' seeds, some of which are taken before main, are no secret here, but the same always.
 */
ssize_t
getrandom(void *out, size_t length, unsigned int flags)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)out)[i] = (uint8_t)(i * 151 + 7);
	return (ssize_t)length;
}

/* In place of libc's, too: from turns_clock_start on time passes by turns of worker 0. */
static uint64_t turns_clock, turns_before; /* seconds; turns; 0: the real clock */

int
clock_gettime(clockid_t id, struct timespec *t)
{
	static int (*real)(clockid_t, struct timespec *);
	if (real == NULL)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (turns_clock == 0 || id != CLOCK_MONOTONIC)
		return real(id, t);
	uint64_t turns = worker_get(0)->count.turns - turns_before;
	t->tv_sec = (time_t)(turns_clock + turns / TURNS_PER_SECOND);
	t->tv_nsec = (long)(turns % TURNS_PER_SECOND * (1000000000 / TURNS_PER_SECOND));
	return 0;
}

static double
seconds_of(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double
seconds_now(void)
{
	return seconds_of(CLOCK_MONOTONIC);
}

/* What the kernel says of the threads that workers.c names so; without threads of their own, the process's. */
static double
workers_cpu(void)
{
	unsigned long long ns, sum = 0;
	DIR *tasks = opendir("/proc/self/task");
	for (struct dirent *d; tasks != NULL && (d = readdir(tasks)) != NULL;) {
		char path[300], name[32] = "";
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", d->d_name);
		FILE *f = fopen(path, "re");
		bool worker =
			f != NULL && fgets(name, sizeof(name), f) != NULL && strncmp(name, "weft-worker", 11) == 0;
		if (f != NULL)
			fclose(f);
		snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", d->d_name);
		f = worker ? fopen(path, "re") : NULL;
		if (f != NULL && fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		if (f != NULL)
			fclose(f);
	}
	if (tasks != NULL)
		closedir(tasks);
	return sum != 0 ? (double)sum / 1e9 : seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

void
look(struct moment *m)
{
	m->wall = seconds_now();
	m->cpu = workers_cpu();
	workers_counters(&m->workers);
	workers_totals(&m->totals);
	pods_count(m->pod);
	conn_table_stats(switch_conns(), &m->conns);
}

/* A name of its own, for callgrind to find. */
__attribute__((noinline)) void measured_turns(uint64_t turns);
void
measured_turns(uint64_t turns)
{
	for (uint64_t i = 0; i < turns; i++)
		worker_turn(worker_get(0));
}

void
pass_time(const struct state_options *o, double seconds)
{
	if (o->turns == 0) {
		usleep((useconds_t)(seconds * 1e6));
		return;
	}
	for (uint64_t i = (uint64_t)(seconds * TURNS_PER_SECOND); i > 0; i--)
		worker_turn(worker_get(0));
}

/* Never back, and to a whole number, so that runs are the same; before there is anything that could be too old. */
static void
turns_clock_start(const struct state_options *o)
{
	turns_before = worker_get(0)->count.turns;
	turns_clock = ((uint64_t)seconds_now() / 1000 + 1) * 1000;
	pass_time(o, 0.01); /* until the worker has looked at it */
}

/* Open all flows; returns the CPU seconds of it. */
double
open_flows(const struct state_options *o)
{
	double cpu = workers_cpu(), moved = seconds_now();
	uint64_t before = 0, now;
	pods_set(PODS_OPEN);
	while ((now = pods_opened()) < o->plan.flows) {
		pass_time(o, 0.001);
		if (now != before)
			moved = seconds_now();
		else if (seconds_now() - moved > STALL_S)
			die("of %u flows only %" PRIu64 " could be opened", o->plan.flows, now);
		before = now;
	}
	return workers_cpu() - cpu;
}

static void
check(const struct state_options *o, const struct moment *a, const struct moment *b)
{
	for (int i = 0; i < 2; i++)
		if (b->pod[i].bad != 0)
			die("%" PRIu64 " frames with wrong checksums", b->pod[i].bad);
	if (b->pod[0].sent + b->pod[1].sent == a->pod[0].sent + a->pod[1].sent)
		die("nothing was sent");
	bool tcp = o->plan.protocol == IPPROTO_TCP;
	if (o->fresh && (tcp ? b->pod[1].lives == a->pod[1].lives : b->conns.created == a->conns.created))
		die("no connection came about");
	if (!o->fresh && b->workers.decided - a->workers.decided > (b->pod[0].sent - a->pod[0].sent) / 100)
		fprintf(stderr, "state_bench: %" PRIu64 " packets of established connections had to be decided again\n",
			b->workers.decided - a->workers.decided);
}

static json_t *
stages(const struct moment *a, const struct moment *b)
{
	json_t *out = json_object();
	for (int s = 0; s < STAGE_COUNT; s++) {
		uint64_t packets = b->workers.stage_packets[s] - a->workers.stage_packets[s];
		if (packets != 0)
			json_object_set_new(
				out, pipeline[s].name,
				json_real((double)(b->workers.stage_cycles[s] - a->workers.stage_cycles[s]) /
					  (double)packets));
	}
	return out;
}

static void
set(json_t *row, const char *name, double value)
{
	json_object_set_new(row, name, json_real(value));
}

/* Cycles are those of CPU time that this process got, so that a machine that is busy with others does not inflate them.
 */
static json_t *
report(const struct state_options *o, const struct moment *a, const struct moment *b, double open_cpu)
{
	const struct flow_plan *p = &o->plan;
	double wall = b->wall - a->wall, cpu = b->cpu - a->cpu, hz = (double)rte_get_tsc_hz(),
	       share = cpu / wall / o->workers;
	double sent = (double)(b->pod[0].sent + b->pod[1].sent - a->pod[0].sent - a->pod[1].sent);
	double taken = (double)(b->pod[0].taken + b->pod[1].taken - a->pod[0].taken - a->pod[1].taken);
	double pods = (double)(b->pod[0].cycles + b->pod[1].cycles - a->pod[0].cycles - a->pod[1].cycles) *
		      RTE_MIN(share, 1.0);
	double created = (double)(b->conns.created - a->conns.created),
	       lives = (double)(b->pod[1].lives - a->pod[1].lives);
	json_t *row = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b}", "scenario",
				o->fresh    ? "new"
				: o->routed ? "routed"
					    : "established",
				"port", "in-process", "protocol", p->protocol == IPPROTO_TCP ? "tcp" : "udp", "size",
				(int)p->size, "workers", (int)o->workers, "services", (int)o->services, "backends",
				(int)(o->services * o->backends), "rules", (int)o->rules, "members", (int)o->members,
				"endpoints", (int)o->endpoints, "hugepages", o->hugepages != NULL);
	if (!o->fresh) {
		json_object_set_new(row, "flows", json_integer(p->flows));
		set(row, "open_cycles_per_connection", open_cpu * hz / p->flows);
	}
	set(row, "weft_mpps", taken / wall / 1e6);
	set(row, "mpps_of_a_core", taken / cpu / 1e6);
	set(row, "cpu_share", share);
	set(row, "cycles_per_packet", (cpu * hz - pods) / sent);
	set(row, "pods_cycles_per_packet", pods / sent);
	set(row, "busy_cycles_per_packet", (double)(b->workers.busy_cycles - a->workers.busy_cycles) / sent);
	set(row, "loss", (double)(b->totals.dropped - a->totals.dropped) / sent);
	if (o->fresh) {
		double connections = p->protocol == IPPROTO_TCP ? lives : created;
		set(row, "connections_per_second", connections / wall);
		set(row, "connections_per_cpu_second", connections / cpu);
		set(row, "cycles_per_connection", connections > 0 ? (cpu * hz - pods) / connections : 0);
		set(row, "expired_per_second", (double)(b->conns.expired - a->conns.expired) / wall);
		set(row, "refused_full", (double)(b->conns.refused_full - a->conns.refused_full));
	}
	json_object_set_new(row, "connections_used", json_integer(b->conns.used));
	json_object_set_new(row, "table_connections", json_integer(b->conns.capacity));
	json_object_set_new(row, "table_bytes", json_integer((json_int_t)b->conns.bytes));
	set(row, "table_bytes_per_connection", (double)b->conns.bytes / b->conns.capacity);
	set(row, "apply_seconds", switch_seconds_to_apply());
	set(row, "seconds", wall);
	json_object_set_new(row, "packets", json_integer((json_int_t)sent));
	json_object_set_new(row, "stages", stages(a, b));
	return row;
}

static void
run(const struct state_options *o)
{
	struct moment a, b;
	double open_cpu = 0;
	switch_start(o);
	if (o->turns != 0)
		turns_clock_start(o);
	if (!o->fresh)
		open_cpu = open_flows(o);
	pods_set(!o->fresh ? PODS_ESTABLISHED : o->plan.protocol == IPPROTO_TCP ? PODS_LIVES : PODS_NEW);
	pass_time(o, o->warmup);
	look(&a);
	if (o->turns != 0)
		measured_turns(o->turns);
	else
		pass_time(o, o->seconds);
	look(&b);
	check(o, &a, &b);
	json_t *row = report(o, &a, &b, open_cpu);
	json_dumpf(row, stdout, JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(row);
	pods_set(PODS_SILENT);
	pass_time(o, 0.1);
	struct totals t;
	workers_totals(&t);
	if (t.difference != 0)
		die("the books do not balance: %" PRId64 " packets", t.difference);
	turns_clock = 0;
	switch_stop();
}

static const char help[] =
	"usage: state_bench [OPTIONS]\n"
	"Measures connections through Services with a policy on the switch inside this process. Goals: issue \"Speed "
	"to show\".\n"
	"  --new               connections per second, not packets of established ones\n"
	"  --routed            to the backends themselves, without Services and policy (not with --new)\n"
	"  --tcp               whole TCP conversations (with --new); UDP otherwise\n"
	"  --flows N           established UDP connections, packets of both directions at random (1000)\n"
	"  --workers N         one thread and core each; with 2 the directions are on different ones (1)\n"
	"  --services N --backends N   backends of each service (16, 10); established flows use 16 of them\n"
	"  --rules N           that select the backend, one of which lets the clients in (10)\n"
	"  --members N         of that one's address set, beside the clients (100)\n"
	"  --endpoints N       in all; those beyond the two that send are silent, but their ports are polled (2)\n"
	"  --capacity N        of the connection table (a quarter more than --flows, 65536 or more; 8388608 with "
	"--new)\n"
	"  --timeout S         until a connection is forgotten; 0: the switch's defaults (0; 2 with --new)\n"
	"  --size BYTES        of a frame without FCS (64)\n"
	"  --seconds S --warmup S   (3, 1; with --new 10, and the timeout and 3 more)\n"
	"  --turns N           no threads: one worker's turns on this one, after the warm-up, 100,000 of which are a\n"
	"                      second; the same every time, so times are not to be read; for callgrind\n"
	"  --changes N         a second, to others' objects: what they cost and lose, and when a change is seen\n"
	"  --core N            the first worker's CPU (the last of the cpuset); control has the first of the others\n"
	"  --state DIR         keep objects there, as weftd does\n"
	"  --hugepages DIR     a hugetlbfs mount for the connection table; DPDK's memory too\n";

enum {
	NEW = 1,
	TCP,
	ROUTED,
	FLOWS,
	WORKERS,
	SERVICES,
	BACKENDS,
	RULES,
	MEMBERS,
	ENDPOINTS,
	CAPACITY,
	TIMEOUT,
	SIZE,
	SECONDS,
	WARMUP,
	TURNS,
	CHANGES,
	CORE,
	HUGEPAGES,
	STATE,
	HELP
};
static const struct option options[] = {
	{"new", no_argument, NULL, NEW},
	{"tcp", no_argument, NULL, TCP},
	{"routed", no_argument, NULL, ROUTED},
	{"flows", required_argument, NULL, FLOWS},
	{"workers", required_argument, NULL, WORKERS},
	{"services", required_argument, NULL, SERVICES},
	{"backends", required_argument, NULL, BACKENDS},
	{"rules", required_argument, NULL, RULES},
	{"members", required_argument, NULL, MEMBERS},
	{"endpoints", required_argument, NULL, ENDPOINTS},
	{"capacity", required_argument, NULL, CAPACITY},
	{"timeout", required_argument, NULL, TIMEOUT},
	{"size", required_argument, NULL, SIZE},
	{"seconds", required_argument, NULL, SECONDS},
	{"warmup", required_argument, NULL, WARMUP},
	{"turns", required_argument, NULL, TURNS},
	{"changes", required_argument, NULL, CHANGES},
	{"core", required_argument, NULL, CORE},
	{"hugepages", required_argument, NULL, HUGEPAGES},
	{"state", required_argument, NULL, STATE},
	{"help", no_argument, NULL, HELP},
	{NULL, 0, NULL, 0},
};
/* What a number may be. */
static const struct {
	double min, max;
} range[HELP] = {
	[FLOWS] = {1, FLOW_MAX},  [WORKERS] = {1, 2},   [SERVICES] = {1, 1 << 19},     [BACKENDS] = {1, 1000},
	[RULES] = {1, 1e6},       [MEMBERS] = {0, 1e6}, [ENDPOINTS] = {2, 1000},       [CAPACITY] = {1024, 1 << 27},
	[TIMEOUT] = {0, 2000000}, [SIZE] = {64, 1514},  [SECONDS] = {0.01, 1e5},       [WARMUP] = {0, 1e5},
	[TURNS] = {0, 1e15},      [CHANGES] = {0, 1e6}, [CORE] = {0, CPU_SETSIZE - 1},
};

static double
number(int option, const char *text)
{
	char *end;
	double v = strtod(text, &end);
	if (*text == '\0' || *end != '\0' || !(v >= range[option].min && v <= range[option].max))
		die("--%s: %s is not in %g..%g", options[option - 1].name, text, range[option].min, range[option].max);
	return v;
}

static void
parse(struct state_options *o, int argc, char **argv)
{
	double v[HELP] = {
		[FLOWS] = 1000,  [WORKERS] = 1,  [SERVICES] = 16, [BACKENDS] = 10, [RULES] = 10,   [MEMBERS] = 100,
		[ENDPOINTS] = 2, [TIMEOUT] = -1, [CORE] = -1,     [SIZE] = 64,     [SECONDS] = -1, [WARMUP] = -1};
	memset(o, 0, sizeof(*o));
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == HELP || c == '?') {
			fputs(help, c == HELP ? stdout : stderr);
			exit(c == HELP ? 0 : 2);
		}
		if (c == HUGEPAGES)
			o->hugepages = optarg;
		else if (c == STATE)
			o->state = optarg;
		else
			v[c] = optarg == NULL ? 1 : number(c, optarg);
	}
	bool fresh = v[NEW] != 0;
	o->fresh = fresh;
	o->routed = v[ROUTED] != 0;
	o->services = (uint32_t)v[SERVICES];
	o->backends = (uint32_t)v[BACKENDS];
	o->rules = (uint32_t)v[RULES];
	o->members = (uint32_t)v[MEMBERS];
	o->endpoints = (uint32_t)v[ENDPOINTS];
	o->workers = (unsigned int)v[WORKERS];
	o->turns = (uint64_t)v[TURNS];
	o->changes = v[CHANGES];
	o->core = (int)v[CORE];
	o->timeout = (uint32_t)(v[TIMEOUT] >= 0 ? v[TIMEOUT] : fresh ? 2 : 0);
	o->seconds = v[SECONDS] >= 0 ? v[SECONDS] : fresh ? 10 : 3;
	o->warmup = v[WARMUP] >= 0 ? v[WARMUP] : fresh ? o->timeout + 3 : 1;
	o->capacity = (uint32_t)(v[CAPACITY] != 0 ? v[CAPACITY] : fresh ? 1 << 23 : RTE_MAX(65536, v[FLOWS] * 1.25));
	o->plan = (struct flow_plan){.flows = (uint32_t)v[FLOWS],
				     .client = RTE_IPV4(10, 16, 0, 0),
				     .vip = RTE_IPV4(10, 96, 0, 1),
				     .backend = RTE_IPV4(10, 32, 0, 1),
				     .vips = fresh ? o->services : RTE_MIN(o->services, ESTABLISHED_SERVICES),
				     .backends = o->services * o->backends,
				     .vip_port = 80,
				     .backend_port = 800,
				     .size = (uint16_t)v[SIZE],
				     .protocol = v[TCP] != 0 ? IPPROTO_TCP : IPPROTO_UDP,
				     .client_mac = {{2, 0, 0, 0, 0, 10}},
				     .backend_mac = {{2, 0, 0, 0, 0, 11}},
				     .gateway_mac = {{2, 0, 0, 0, 0, 1}}};
	if (optind < argc)
		die("unexpected argument: %s", argv[optind]);
	if (!fresh && (RTE_MIN(o->services, ESTABLISHED_SERVICES) * o->backends > 256 || v[TCP] != 0))
		die("without --new: UDP, and at most 256 backends of the services in use");
	if (o->routed && fresh)
		die("--routed is not for --new");
	if (o->routed) {
		o->plan.vip = o->plan.backend;
		o->plan.vips = o->plan.backends;
		o->plan.vip_port = o->plan.backend_port;
		o->services = o->rules = o->members = 0;
	}
	if (o->turns != 0 && o->workers != 1)
		die("--turns is for one worker");
}

int
main(int argc, char **argv)
{
	struct state_options o;
	parse(&o, argc, argv);
	if (o.changes > 0)
		changes_run(&o);
	else
		run(&o);
	return 0;
}
