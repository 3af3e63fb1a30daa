/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may still be looking: one rte_rcu_qsbr variable for all tables and all ports of the process.
 *
 * Readers are the workers; each reports a quiescent state once every few turns, when it holds no pointer
 * into any table. Everybody else (the builder, the port thread, librte_vhost's thread) is a writer:
 * unpublish, wait for a grace period (rcu_synchronize) or hand the memory to rcu_defer, then free.
 */
#ifndef WEFT_RCU_H
#define WEFT_RCU_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rte_rcu_qsbr;

/* Create and destroy the variable. Before any worker starts; after all have stopped. 0 or -errno. */
int rcu_init(unsigned int max_readers);
void rcu_fini(void);

/* The variable itself, for the workers' register/online/quiescent/offline calls and for pmd's port_env. */
struct rte_rcu_qsbr *rcu_var(void);

/* Block the calling (never a worker's) thread until every online worker has been quiescent. */
void rcu_synchronize(void);

/* A ticket for a grace period that starts now, and whether it has ended. Never blocks. */
uint64_t rcu_start(void);
bool rcu_done(uint64_t ticket);

/* Free `p` with `fn` (free(3) when NULL) once a grace period has ended. Any non-worker thread. Never blocks. */
void rcu_defer(void *p, void (*fn)(void *));

/* Free what is due; rcu_fini frees the rest. Called by the control threads now and then. Returns what still waits. */
size_t rcu_reclaim(void);

#ifdef __cplusplus
}
#endif

#endif
