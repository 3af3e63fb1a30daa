/* SPDX-License-Identifier: Apache-2.0 */
/* weftd: options, then each floor of the house from the ground up; at the end, down again in reverse. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_log.h>

#include <weft/config.h>
#include <weft/mgmt.h>
#include <weft/neighbour.h>
#include <weft/port.h>
#include <weft/rcu.h>
#include <weft/server.h>
#include <weft/settings.h>
#include <weft/worker.h>

#include "memory.h"

#define VERSION WEFT_VERSION
#define CONFIG_FILE "/etc/weft/weft.conf"

static struct {
	struct settings settings;
	struct memory memory;
	struct conn_table *conns;
	struct mgmt *mgmt;
	struct server *server;
	int lock_fd;
} weftd = {.lock_fd = -1};

static int
make_dir(const char *path, mode_t mode, struct error *e)
{
	char buf[512];
	snprintf(buf, sizeof(buf), "%s", path);
	for (char *slash = strchr(buf + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(buf, 0755) < 0 && errno != EEXIST)
			return error_set(e, -errno, "cannot make folder %s: %s", buf, strerror(errno));
		*slash = '/';
	}
	if (mkdir(buf, mode) < 0 && errno != EEXIST)
		return error_set(e, -errno, "cannot make folder %s: %s", buf, strerror(errno));
	return 0;
}

/* One instance a state folder: the second leaves before it has touched anything of the first. */
static int
lock_state(struct error *e)
{
	char path[300];
	int rc = make_dir(weftd.settings.state_dir, 0750, e);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/lock", weftd.settings.state_dir);
	weftd.lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (weftd.lock_fd < 0)
		return error_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
	if (flock(weftd.lock_fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(e, -EBUSY, "another weftd runs with the state folder %s", weftd.settings.state_dir);
	return 0;
}

static enum mgmt_role
role_of(uid_t uid, gid_t gid, void *arg)
{
	return settings_role_of(arg, uid, gid);
}

static json_t *
status_extra(void *arg)
{
	(void)arg;
	return json_pack("{s:b, s:s, s:I, s:i}", "hugepages", weftd.memory.hugepages, "memory", weftd.memory.note, "mbufs",
			 (json_int_t)weftd.settings.mbufs, "controlCore", weftd.settings.control_core);
}

/*
 * When control and a worker share a core: called when the workers run, so that this thread and those it starts from now on yield to
 * them. At nice 8 they weigh 172 against 1024 (sched(7)): a seventh of the core at the most, and a sleeper is still woken soon.
 */
static void
nice_control(void)
{
	for (unsigned int i = 0; i < weftd.settings.n_cores; i++)
		if (weftd.settings.cores[i] == weftd.settings.control_core)
			setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 8);
}

static int
start_tables(struct error *e)
{
	const struct settings *s = &weftd.settings;
	struct conn_table_options conns = {
		.path = weftd.memory.connections_path,
		.capacity = s->connections,
		.workers = s->n_cores,
		.numa_node = -1,
		.hugepages = weftd.memory.connections_huge,
		.timeouts = s->timeouts,
		.per_owner = s->per_endpoint,
		.pickup = s->pickup,
		.strict_windows = s->tcp_windows == WINDOWS_STRICT,
	};
	if (rcu_init(WEFT_MAX_WORKERS) < 0 || generation_init() < 0 || hop_init() < 0 || neighbour_init() < 0 || config_init() < 0)
		return error_set(e, -ENOMEM, "no memory for the tables");
	return conn_table_create(&weftd.conns, &conns, e);
}

static int
start_workers(struct error *e)
{
	const struct settings *s = &weftd.settings;
	struct workers_options w = {
		.n = s->n_cores,
		.new_per_second = s->new_connections_per_second,
		.new_burst = s->new_connections_burst,
		.conns = weftd.conns,
		.pool = memory_pool,
		.threads = true,
	};
	for (unsigned int i = 0; i < s->n_cores; i++)
		w.core[i] = (unsigned int)s->cores[i];
	int rc = workers_start(&w, e);
	if (rc == 0)
		nice_control();
	return rc;
}

static void
port_changed(struct port *p, void *arg)
{
	(void)arg;
	mgmt_port_event(__atomic_load_n(&weftd.mgmt, __ATOMIC_ACQUIRE), p->name, __atomic_load_n(&p->up, __ATOMIC_RELAXED));
}

static int
start_ports(struct error *e)
{
	const struct settings *s = &weftd.settings;
	struct port_env env = {.socket_dir = s->port_socket_dir, .any_socket_path = s->any_socket_path, .pool = memory_pool,
			       .changed = port_changed};
	int rc = make_dir(s->port_socket_dir, 0755, e);
	if (rc < 0)
		return rc;
	rc = ports_init(&env);
	return rc < 0 ? error_set(e, rc, "cannot start the port thread: %s", strerror(-rc)) : 0;
}

static int
start_mgmt(struct error *e)
{
	struct mgmt_options o = {.state_dir = weftd.settings.state_dir, .version = VERSION, .status_extra = status_extra};
	struct mgmt *m;
	int rc = mgmt_start(&m, &o, e);
	if (rc == 0)
		__atomic_store_n(&weftd.mgmt, m, __ATOMIC_RELEASE);
	return rc;
}

static int
start_server(struct error *e)
{
	const struct settings *s = &weftd.settings;
	struct server_options o = {
		.path = s->socket,
		.mode = s->socket_mode,
		.group = s->socket_group[0] != '\0' ? s->socket_group : NULL,
		.role = role_of,
		.arg = (void *)(uintptr_t)s,
		.mgmt = weftd.mgmt,
	};
	return server_start(&weftd.server, &o, e);
}

static int
start_memory(struct error *e)
{
	int rc = memory_start(&weftd.settings, &weftd.memory, e);
	return rc < 0 ? rc : memory_pools(&weftd.settings, e);
}

static void
stop_server(void)
{
	server_stop(weftd.server);
}

static void
stop_mgmt(void)
{
	ports_leave();
	/* Ports go on reporting until mgmt_stop has closed them. */
	mgmt_stop(__atomic_exchange_n(&weftd.mgmt, NULL, __ATOMIC_ACQ_REL));
}

static void
stop_tables(void)
{
	conn_table_destroy(weftd.conns, true);
	config_fini();
	neighbour_fini();
	hop_fini();
	generation_fini();
	rcu_fini();
}

static void
stop_memory(void)
{
	rte_eal_cleanup();
	rmdir(rte_eal_get_runtime_dir());
}

static void
unlock_state(void)
{
	close(weftd.lock_fd);
}

/* What stands on what. Started from the top, stopped from the bottom. */
static const struct floor {
	const char *name;
	int (*start)(struct error *e);
	void (*stop)(void);
} floors[] = {
	{"state", lock_state, unlock_state},
	{"memory", start_memory, stop_memory},
	{"tables", start_tables, stop_tables},
	{"workers", start_workers, workers_stop},
	{"ports", start_ports, ports_fini},
	{"objects", start_mgmt, stop_mgmt},
	{"control socket", start_server, stop_server},
};
#define FLOORS (sizeof(floors) / sizeof(floors[0]))

/* Returns how many floors stand; *e says why the next does not. */
static size_t
start_all(struct error *e)
{
	for (size_t i = 0; i < FLOORS; i++) {
		if (floors[i].start(e) < 0) {
			fprintf(stderr, "weftd: %s: %s%s%s\n", floors[i].name, e->path, e->path[0] != '\0' ? ": " : "", e->text);
			return i;
		}
	}
	return FLOORS;
}

static void
usage(FILE *out)
{
	fputs("usage: weftd [-c FILE] [--check]\n"
	      "  -c, --config FILE       settings, default " CONFIG_FILE " (a missing default file means defaults)\n"
	      "      --check             read the settings, say what is wrong with them, and exit\n"
	      "      --config-reference  describe every setting, and exit\n"
	      "  -v, --version\n",
	      out);
}

/* 0: go on; otherwise exit with the status in *status. */
static int
read_options(int argc, char **argv, int *status)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
						{"config-reference", no_argument, NULL, 'r'}, {"version", no_argument, NULL, 'v'},
						{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	const char *file = NULL;
	bool check = false;
	struct error e = {0};
	*status = 0;
	for (int o; (o = getopt_long(argc, argv, "c:vh", options, NULL)) != -1;) {
		switch (o) {
		case 'c':
			file = optarg;
			break;
		case 'k':
			check = true;
			break;
		case 'r':
			settings_describe(stdout);
			return 1;
		case 'v':
			puts("weftd " VERSION);
			return 1;
		case 'h':
			usage(stdout);
			return 1;
		default:
			usage(stderr);
			*status = 2;
			return 1;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "weftd: unexpected argument \"%s\"\n", argv[optind]);
		usage(stderr);
		*status = 2;
		return 1;
	}
	settings_default(&weftd.settings);
	int rc = settings_read(&weftd.settings, file != NULL ? file : CONFIG_FILE, &e);
	if (rc < 0 && !(rc == -ENOENT && file == NULL)) {
		fprintf(stderr, "weftd: %s\n", e.text);
		*status = 1;
		return 1;
	}
	if (check)
		printf("weftd: %s is right\n", file != NULL ? file : CONFIG_FILE);
	return check;
}

int
main(int argc, char **argv)
{
	int status;
	struct error e = {0};
	sigset_t signals;

	if (read_options(argc, argv, &status) != 0)
		return status;
	setlinebuf(stdout);
	openlog("weftd", LOG_PID | LOG_PERROR, LOG_DAEMON);
	setlogmask(LOG_UPTO(weftd.settings.log_level));
	/* Before any thread exists, so that all of them leave these to us. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);

	size_t up = start_all(&e);
	status = up == FLOORS ? 0 : 1;
	if (up == FLOORS) {
		int sig = SIGHUP;
		printf("weftd: running %s\n", weftd.memory.note);
		printf("weftd: control socket %s\n", weftd.settings.socket);
		while (sig == SIGHUP)
			if (sigwait(&signals, &sig) != 0)
				break;
		printf("weftd: signal %d, stopping\n", sig);
	}
	while (up > 0)
		floors[--up].stop();
	return status;
}
