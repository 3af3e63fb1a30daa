/* SPDX-License-Identifier: Apache-2.0 */
/* The memory that the switch runs on: hugepages or plain, packet buffers, the connection table's file. For main.c. */
#ifndef VSWITCH_MEMORY_H
#define VSWITCH_MEMORY_H

#include <rte_mempool.h>

#include <weft/conn.h>
#include <weft/settings.h>

struct memory {
	bool hugepages;
	char note[256];             /* one line for people: which memory, and what that costs */
	char connections_path[512]; /* the connection table's file */
	bool connections_huge;
};

/* Decide between hugepages and plain memory and start EAL on it. 0 or -errno with *e. */
int memory_start(const struct settings *s, struct memory *m, struct error *e);

/* Create the packet buffer pools, one a NUMA node that has a worker. */
int memory_pools(const struct settings *s, struct error *e);

/* The pool of a node, or of any node when there is none. Any thread. */
struct rte_mempool *memory_pool(int numa_node);

#endif
