/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One change of the configuration, all or nothing.
 *
 * Tables under the configuration's root are persistent: a change copies the nodes on its path and leaves the
 * old ones as they are, for the workers that still read them. A txn remembers which memory it made (freed when it
 * is aborted; changed in place while it is still private) and which it replaced (freed a grace period after commit).
 *
 * Thread: one txn at a time, on the builder's thread.
 */
#ifndef WEFT_TXN_H
#define WEFT_TXN_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct txn_entry;

struct txn {
	uint64_t id; /* unique for the life of the process, never 0; txn_owns compares it */
	struct txn_entry *created, *retired, *undo, *done, *after;
};

void txn_begin(struct txn *t);

/* Make the old memory go away a grace period from now, and run the `done` hooks. The caller has published already. */
void txn_commit(struct txn *t);

/* Free what was created, run the undo hooks, last first. Nothing that was published before has changed. */
void txn_abort(struct txn *t);

/* Zeroed memory (64-byte aligned), freed if the txn aborts. Never NULL: the process ends when memory does. */
void *txn_alloc(struct txn *t, size_t size);

/* `p` (from a txn_alloc of this or an earlier txn) is no longer reachable from the new root. */
void txn_retire(struct txn *t, void *p);

/* As txn_retire; memory that this very txn made is freed at once. For who is sure that nobody looks at it any more. */
void txn_discard(struct txn *t, void *p);

/* True when `p` (from a txn_alloc) was made by this txn, so that it may still be changed in place. */
bool txn_owns(const struct txn *t, const void *p);

/* Run fn(arg): when the txn aborts; when it commits; a grace period after it committed. */
void txn_on_abort(struct txn *t, void (*fn)(void *), void *arg);
void txn_on_commit(struct txn *t, void (*fn)(void *), void *arg);
void txn_after_grace(struct txn *t, void (*fn)(void *), void *arg);

#ifdef __cplusplus
}
#endif

#endif
