/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <mntent.h>
#include <numa.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_mbuf.h>

#include <weft/packet.h>

#define MAX_NODES 8

static struct rte_mempool *pools[MAX_NODES];

/* Free hugepages in MiB, of the default size. */
static unsigned long
hugepages_free_mib(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long free_pages = 0, size_kib = 0;
	char line[128];
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		sscanf(line, "HugePages_Free: %lu", &free_pages);
		sscanf(line, "Hugepagesize: %lu", &size_kib);
	}
	if (f != NULL)
		fclose(f);
	return free_pages * size_kib / 1024;
}

/* Where the default size's hugetlbfs is mounted; false when it is not. */
static bool
hugetlbfs_mount(char *buf, size_t size)
{
	FILE *f = setmntent("/proc/mounts", "re");
	struct mntent *m;
	bool found = false;
	while (f != NULL && !found && (m = getmntent(f)) != NULL) {
		if (strcmp(m->mnt_type, "hugetlbfs") == 0 && hasmntopt(m, "pagesize=1G") == NULL &&
		    access(m->mnt_dir, W_OK) == 0) {
			snprintf(buf, size, "%s", m->mnt_dir);
			found = true;
		}
	}
	if (f != NULL)
		endmntent(f);
	return found;
}

/* What is ours bears the state folder's name, so that a restart finds (and replaces) its own and nobody else's. */
static uint64_t
state_tag(const struct settings *s)
{
	uint64_t fnv = 0xcbf29ce484222325u;
	for (const char *c = s->state_dir; *c != '\0'; c++)
		fnv = (fnv ^ (uint8_t)*c) * 0x100000001b3u;
	return fnv;
}

static void
connections_path(const struct settings *s, const char *dir, char *buf, size_t size)
{
	snprintf(buf, size, "%s/weft-%016llx.connections", dir, (unsigned long long)state_tag(s));
}

static const char *
plain_folder(const struct settings *s)
{
	return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : s->state_dir;
}

/* A killed run's table goes before the free hugepages are counted, and wherever it lies: the next may lie elsewhere. */
static void
remove_stale(const struct settings *s)
{
	char dir[256], path[sizeof(((struct memory *)0)->connections_path)];
	connections_path(s, plain_folder(s), path, sizeof(path));
	unlink(path);
	if (!hugetlbfs_mount(dir, sizeof(dir)))
		return;
	connections_path(s, dir, path, sizeof(path));
	unlink(path);
}

static void
connections_file(const struct settings *s, struct memory *m)
{
	char dir[256];
	/* 64-byte halves, 48 cold, buckets: the table's own share must fit what is left beside the packet buffers. */
	unsigned long need = (unsigned long)s->connections * 192 / (1 << 20) + 2;
	m->connections_huge =
		m->hugepages && hugetlbfs_mount(dir, sizeof(dir)) && hugepages_free_mib() >= need + s->megabytes;
	if (!m->connections_huge)
		snprintf(dir, sizeof(dir), "%s", plain_folder(s));
	connections_path(s, dir, m->connections_path, sizeof(m->connections_path));
}

static int
start_eal(const struct settings *s, bool huge, struct error *e)
{
	char prefix[64], lcores[32], mb[16];
	char *argv[24];
	int argc = 0;
	snprintf(prefix, sizeof(prefix), "--file-prefix=weft-%016llx", (unsigned long long)state_tag(s));
	snprintf(lcores, sizeof(lcores), "--lcores=0@%d", s->control_core);
	snprintf(mb, sizeof(mb), "%u", s->megabytes);
	argv[argc++] = (char *)"weftd";
	argv[argc++] = lcores;
	argv[argc++] = (char *)"-m";
	argv[argc++] = mb;
	argv[argc++] = prefix;
	argv[argc++] = (char *)"--no-telemetry";
	argv[argc++] = (char *)"--log-level=lib.*:warning";
	/* No device is taken but by a Port object: an allow-list that names nothing real keeps the PCI bus usable without that. */
	argv[argc++] = (char *)"--allow=ffff:ff:1f.7";
	if (huge) {
		/* Anonymous hugepages: nothing stays behind whatever kills us. */
		argv[argc++] = (char *)"--in-memory";
		argv[argc++] = (char *)"--single-file-segments";
	} else {
		argv[argc++] = (char *)"--no-huge";
		argv[argc++] = (char *)"--no-shconf";
	}
	argv[argc] = NULL;
	rte_log_set_global_level(RTE_LOG_WARNING);
	if (rte_eal_init(argc, argv) < 0)
		return error_set(e, -rte_errno, "DPDK does not start on %u MiB of %s memory: %s", s->megabytes,
				 huge ? "hugepage" : "plain", rte_strerror(rte_errno));
	return 0;
}

int
memory_start(const struct settings *s, struct memory *m, struct error *e)
{
	remove_stale(s);
	unsigned long have = hugepages_free_mib();
	memset(m, 0, sizeof(*m));
	if (s->hugepages == HUGEPAGES_YES && have < s->megabytes)
		return error_set(e, -ENOMEM, "memory.hugepages is \"yes\", but of the %u MiB that memory.megabytes asks for only %lu are free "
				 "(echo %u > /proc/sys/vm/nr_hugepages)", s->megabytes, have, s->megabytes / 2);
	m->hugepages = s->hugepages != HUGEPAGES_NO && have >= s->megabytes;
	connections_file(s, m);
	if (m->hugepages)
		snprintf(m->note, sizeof(m->note), "on %u MiB of hugepages; connection table %s", s->megabytes,
			 m->connections_huge ? "on hugepages too" : "on plain memory (no room or no hugetlbfs mount for it)");
	else
		snprintf(m->note, sizeof(m->note), "on %u MiB of plain memory (%s): expect more TLB misses with large tables, and no NIC that does DMA",
			 s->megabytes, s->hugepages == HUGEPAGES_NO ? "memory.hugepages is \"no\"" : "not enough free hugepages");
	return start_eal(s, m->hugepages, e);
}

int
memory_pools(const struct settings *s, struct error *e)
{
	for (unsigned int i = 0; i < s->n_cores; i++) {
		int node = numa_available() >= 0 ? numa_node_of_cpu(s->cores[i]) : 0;
		char name[32];
		if (node < 0 || node >= MAX_NODES)
			node = 0;
		if (pools[node] != NULL)
			continue;
		snprintf(name, sizeof(name), "packets%d", node);
		int socket = rte_eal_has_hugepages() ? node : (int)SOCKET_ID_ANY;
		pools[node] = rte_pktmbuf_pool_create(name, s->mbufs, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, socket);
		if (pools[node] == NULL)
			return error_set(e, -rte_errno, "no room for %u packet buffers (memory.mbufs) in %u MiB (memory.megabytes): %s",
					 s->mbufs, s->megabytes, rte_strerror(rte_errno));
	}
	return 0;
}

struct rte_mempool *
memory_pool(int node)
{
	if (node >= 0 && node < MAX_NODES && pools[node] != NULL)
		return pools[node];
	for (int k = 0; k < MAX_NODES; k++)
		if (pools[k] != NULL)
			return pools[k];
	return NULL;
}
