/* SPDX-License-Identifier: Apache-2.0 */
/* The switch inside state_bench: its floors in weftd's order, and the objects of a scenario through the same `apply`.
 */
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include <weft/clock.h>
#include <weft/config.h>
#include <weft/mgmt.h>
#include <weft/neighbour.h>
#include <weft/rcu.h>

#include "state_bench.h"

#define MBUFS 16383
#define NEW_PER_SECOND 0 /* no limit */
#define POLICY_RULES 1000
#define SETS 1000

static struct {
	struct mgmt *mgmt;
	struct conn_table *conns;
	struct rte_mempool *pool;
	char table[128];
	double apply_seconds;
	unsigned int core[CPU_SETSIZE], cores; /* that the process may use: EAL pins its first thread */
} sw;

void
die(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fputs("state_bench: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	if (sw.table[0] != '\0')
		unlink(sw.table);
	rmdir(rte_eal_get_runtime_dir());
	exit(1);
}

struct mgmt *
switch_mgmt(void)
{
	return sw.mgmt;
}

struct conn_table *
switch_conns(void)
{
	return sw.conns;
}

double
switch_seconds_to_apply(void)
{
	return sw.apply_seconds;
}

static struct rte_mempool *
the_pool(int numa)
{
	return sw.pool;
}

/* The cores of this process, the first worker's last. */
static void
find_cores(const struct state_options *o)
{
	cpu_set_t cpus;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	if (o->core >= 0 && !CPU_ISSET((unsigned int)o->core, &cpus))
		die("--core: %d is not ours", o->core);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((unsigned int)cpu, &cpus) && cpu != o->core)
			sw.core[sw.cores++] = (unsigned int)cpu;
	if (o->core >= 0)
		sw.core[sw.cores++] = (unsigned int)o->core;
	if (sw.cores < o->workers)
		die("%u workers need as many cores", o->workers);
}

double
switch_call(const char *method, const char *params)
{
	struct rpc_error e = {0};
	double start = seconds_now();
	json_t *p = json_loads(params, 0, NULL);
	json_t *result = mgmt_call(sw.mgmt, MGMT_ADMIN, method, p, &e);
	double seconds = seconds_now() - start;
	if (result == NULL)
		die("%s: %s", method, e.message);
	json_decref(result);
	json_decref(p);
	return seconds;
}

static void
apply(json_t *objects)
{
	struct rpc_error e = {0};
	json_t *params = json_pack("{s:o}", "objects", objects);
	json_t *result = mgmt_call(sw.mgmt, MGMT_ADMIN, "apply", params, &e);
	if (result == NULL)
		die("apply: %s", e.message);
	json_decref(result);
	json_decref(params);
}

static json_t *
address(uint32_t ip, unsigned int len)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
	if (len < 32)
		snprintf(text + n, sizeof(text) - (size_t)n, "/%u", len);
	return json_string(text);
}

static json_t *
mac_text(const struct rte_ether_addr *mac)
{
	char text[RTE_ETHER_ADDR_FMT_SIZE];
	rte_ether_format_addr(text, sizeof(text), mac);
	return json_string(text);
}

#define SILENT 0x0a000100u /* 10.0.1.0 */

/* Both pods: the first address is the pod's own, /12 lies behind it. */
static void
add_pod(json_t *objects, const char *name, const struct rte_ether_addr *mac, uint32_t ip, unsigned int queues)
{
	json_array_append_new(objects, json_pack("{s:s, s:s, s:s, s:i}", "kind", "Port", "name", name, "type", "test",
						 "queues", (int)queues));
	json_array_append_new(objects, json_pack("{s:s, s:s, s:s, s:s, s:o, s:[o], s:[o]}", "kind", "Endpoint", "name",
						 name, "network", "default", "port", name, "mac", mac_text(mac), "ips",
						 address(ip, 32), "prefixes", address(ip & 0xfff00000, 12)));
}

/* Their ports are polled as any. */
static void
add_silent_pods(json_t *objects, const struct state_options *o)
{
	for (uint32_t i = 2; i < o->endpoints; i++) {
		char name[24];
		const struct rte_ether_addr mac = {{2, 0, 0, 2, (uint8_t)(i >> 8), (uint8_t)i}};
		snprintf(name, sizeof(name), "silent-%u", i);
		json_array_append_new(objects,
				      json_pack("{s:s, s:s, s:s}", "kind", "Port", "name", name, "type", "test"));
		json_array_append_new(objects, json_pack("{s:s, s:s, s:s, s:s, s:o, s:[o]}", "kind", "Endpoint", "name",
							 name, "network", "default", "port", name, "mac",
							 mac_text(&mac), "ips", address(SILENT + i, 32)));
	}
}

static json_t *
pods(const struct state_options *o)
{
	const struct flow_plan *p = &o->plan;
	json_t *objects = json_array();
	json_array_append_new(objects, json_pack("{s:s, s:s, s:i, s:s, s:i, s:o, s:[{s:s, s:s}]}", "kind", "Network",
						 "name", "default", "vni", 1, "mode", "l3", "mtu", 1500, "gatewayMac",
						 mac_text(&p->gateway_mac), "subnets", "prefix", "10.0.0.0/16",
						 "gateway", "10.0.0.1"));
	add_pod(objects, "client", &p->client_mac, p->client, o->workers);
	add_pod(objects, "backend", &p->backend_mac, p->backend, o->workers);
	add_silent_pods(objects, o);
	return objects;
}

static const char *
protocol_name(const struct flow_plan *p)
{
	return p->protocol == IPPROTO_TCP ? "TCP" : "UDP";
}

static void
add_services(json_t *objects, const struct flow_plan *p, uint32_t first, uint32_t n, uint32_t n_backends)
{
	for (uint32_t s = first; s < first + n; s++) {
		char name[32];
		snprintf(name, sizeof(name), "bench/service-%u", s);
		json_t *backends = json_array();
		for (uint32_t k = 0; k < n_backends; k++)
			json_array_append_new(backends,
					      json_pack("{s:o}", "ip", address(p->backend + s * n_backends + k, 32)));
		json_array_append_new(objects,
				      json_pack("{s:s, s:s, s:s, s:[o], s:[{s:s, s:i, s:i}], s:o}", "kind", "Service",
						"name", name, "network", "default", "ips", address(p->vip + s, 32),
						"ports", "protocol", protocol_name(p), "port", (int)p->vip_port,
						"targetPort", (int)p->backend_port, "backends", backends));
	}
}

static void
add_set(json_t *objects, const char *name, json_t *members)
{
	json_array_append_new(objects, json_pack("{s:s, s:s, s:s, s:o}", "kind", "AddressSet", "name", name, "network",
						 "default", "members", members));
}

static void
add_policy(json_t *objects, const char *name, json_t *rules)
{
	json_array_append_new(objects, json_pack("{s:s, s:s, s:s, s:s, s:[s], s:[s], s:o}", "kind", "Policy", "name",
						 name, "network", "default", "tier", "network", "endpoints", "backend",
						 "types", "Ingress", "ingress", rules));
}

/* The one rule that accepts: the clients are 16 /24 of a set with further members. */
static void
add_accepting_policy(json_t *objects, const struct state_options *o)
{
	const struct flow_plan *p = &o->plan;
	json_t *members = json_array();
	for (uint32_t i = 0; i < 1u << (FLOW_CLIENT_SHIFT - 8); i++)
		json_array_append_new(members, address(p->client + (i << 8), 24));
	for (uint32_t i = 0; i < o->members; i++)
		json_array_append_new(members, address(0xac100000 + i, 32));
	add_set(objects, "clients", members);
	add_policy(objects, "accept-clients",
		   json_pack("[{s:s, s:[{s:s}], s:[{s:s, s:i}]}]", "name", "clients", "from", "set", "clients", "ports",
			     "protocol", protocol_name(p), "port", (int)p->backend_port));
}

/* All others are for the same pod, by sets that have some of the clients among their members and by addresses; other
 * ports. */
static void
add_other_rules(json_t *objects, const struct state_options *o)
{
	uint32_t sets = RTE_MIN(o->rules / 2, (uint32_t)SETS);
	for (uint32_t s = 0; s < sets; s++) {
		char name[32];
		json_t *members =
			json_pack("[o]", address(o->plan.client + ((s * 7) << 4) % (1u << FLOW_CLIENT_SHIFT), 28));
		for (uint32_t i = 0; i < 100; i++)
			json_array_append_new(members, address(0xac100000 + s * 64 + i, 32));
		snprintf(name, sizeof(name), "set-%u", s);
		add_set(objects, name, members);
	}
	for (uint32_t r = 1; r < o->rules;) {
		char name[32], set[32];
		json_t *rules = json_array();
		snprintf(name, sizeof(name), "policy-%u", r / POLICY_RULES);
		for (uint32_t end = RTE_MIN(o->rules, r + POLICY_RULES); r < end; r++) {
			json_t *peer;
			snprintf(set, sizeof(set), "set-%u", r / 2 % RTE_MAX(sets, 1u));
			if (r % 2 == 0)
				peer = json_pack("{s:s}", "set", set);
			else
				peer = json_pack("{s:o}", "cidr", address(0xac100000 + r * 8, 29));
			json_array_append_new(rules,
					      json_pack("{s:[o], s:[{s:s, s:i}]}", "from", peer, "ports", "protocol",
							protocol_name(&o->plan), "port", (int)(1000 + r % 60000)));
		}
		add_policy(objects, name, rules);
	}
}

static void
program(const struct state_options *o)
{
	apply(pods(o));
	if (o->routed)
		return;
	json_t *objects = json_array();
	add_services(objects, &o->plan, 0, o->services, o->backends);
	add_accepting_policy(objects, o);
	add_other_rules(objects, o);
	uint32_t start = clock_ms();
	apply(objects);
	sw.apply_seconds = (clock_ms() - start) / 1e3;
}

double
switch_add_services(const struct state_options *o, uint32_t n, uint32_t n_backends)
{
	json_t *objects = json_array();
	add_services(objects, &o->plan, o->services, n, n_backends);
	double start = seconds_now();
	apply(objects);
	double seconds = seconds_now() - start;
	mgmt_tidy(); /* as the server does */
	return seconds;
}

/* Timeouts as one number: what is idle for so long is over. */
static struct conn_timeouts
timeouts(uint32_t seconds)
{
	struct conn_timeouts t = {
		.udp = seconds, .udp_answered = seconds, .udp_dns = seconds, .icmp = seconds, .other = seconds};
	for (size_t i = 0; i < sizeof(t.tcp) / sizeof(t.tcp[0]); i++)
		t.tcp[i] = seconds;
	return t;
}

static void
start_eal(const struct state_options *o)
{
	char lcores[32], prefix[32];
	find_cores(o);
	/* Control is where the last worker is not, if there is such a core: a measurement leaves it asleep. */
	snprintf(lcores, sizeof(lcores), "0@%u", sw.core[0]);
	snprintf(prefix, sizeof(prefix), "--file-prefix=bench%d", getpid());
	char *argv[] = {(char *)"state_bench",
			(char *)"--lcores",
			lcores,
			prefix,
			(char *)"--no-shconf",
			(char *)"--no-telemetry",
			(char *)"--no-pci",
			(char *)"-m",
			(char *)"128",
			(char *)"--log-level=4",
			o->hugepages != NULL ? (char *)"--in-memory" : (char *)"--no-huge",
			NULL};
	if (rte_eal_init(sizeof(argv) / sizeof(argv[0]) - 1, argv) < 0)
		die("EAL: %s", rte_strerror(rte_errno));
	sw.pool = rte_pktmbuf_pool_create("packets", MBUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, (int)SOCKET_ID_ANY);
	if (sw.pool == NULL)
		die("packet buffers: %s", rte_strerror(rte_errno));
}

static void
start_workers(const struct state_options *o)
{
	struct error e;
	struct workers_options w = {.n = o->workers,
				    .new_per_second = NEW_PER_SECOND,
				    .conns = sw.conns,
				    .pool = the_pool,
				    .threads = o->turns == 0};
	/* From the last core down, so that one worker leaves control alone. */
	for (unsigned int i = 0; i < o->workers; i++)
		w.core[i] = sw.core[sw.cores - 1 - i];
	if (workers_start(&w, &e) != 0)
		die("workers: %s", e.text);
}

void
switch_start(const struct state_options *o)
{
	struct error e;
	start_eal(o);
	if (rcu_init(WEFT_MAX_WORKERS) != 0 || generation_init() != 0 || hop_init() != 0 || neighbour_init() != 0 ||
	    config_init() != 0)
		die("no memory for the tables");
	struct conn_table_options conns = {
		.capacity = o->capacity, .workers = o->workers, .numa_node = -1, .hugepages = o->hugepages != NULL};
	if (o->timeout != 0)
		conns.timeouts = timeouts(o->timeout);
	if (o->hugepages != NULL) {
		snprintf(sw.table, sizeof(sw.table), "%s/state_bench-%d.connections", o->hugepages, getpid());
		conns.path = sw.table;
	}
	if (conn_table_create(&sw.conns, &conns, &e) != 0)
		die("connection table: %s", e.text);
	start_workers(o);
	static struct port_env env = {.socket_dir = "/tmp", .test_ports = true, .pool = the_pool};
	const struct mgmt_options mo = {.version = "bench", .state_dir = o->state};
	if (ports_init(&env) != 0)
		die("cannot start the port thread");
	if (mgmt_start(&sw.mgmt, &mo, &e) != 0)
		die("%s", e.text);
	program(o);
	/* One worker: both pods are its own. Two: each receives from one of them. */
	const unsigned int from[2] = {0, o->workers - 1};
	pods_start(&o->plan, sw.pool, from);
}

void
switch_stop(void)
{
	mgmt_stop(sw.mgmt);
	workers_stop();
	pods_stop();
	ports_fini();
	conn_table_destroy(sw.conns, true);
	sw.table[0] = '\0';
	config_fini();
	neighbour_fini();
	hop_fini();
	generation_fini();
	rcu_fini();
	rte_eal_cleanup();
	rmdir(rte_eal_get_runtime_dir());
}
