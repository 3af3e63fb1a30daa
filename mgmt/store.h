/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applied objects on disk: STATE_DIR/objects.db (SQLite in WAL mode, 0600), so that they survive the process. One
 * process at a time: the file is locked while it is open. What is committed is on the disk. Builder thread only.
 *
 * Fail closed: a file that is damaged, empty, somebody else's or of a version that this program does not know is
 * refused, by name.
 */
#ifndef WEFT_MGMT_STORE_H
#define WEFT_MGMT_STORE_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STORE_VERSION 2

struct store;

struct store_row {
	const char *kind, *name, *owner, *json;
	uint64_t generation, epoch;
	bool closed;   /* an Endpoint that was applied before the last reboot */
	bool admitted; /* an Endpoint with "admit":"closed" that a transaction has covered since */
	const char *const *patch; /* what came after json, in order: see store_patch; of store_load only */
	uint32_t n_patches;
};

/* Makes the folder and the file when they are missing. `boot` is the kernel's boot id: when it is another one than last
 * time, all Endpoints are marked closed. -EBUSY: another process has it; -EBADMSG: damaged or foreign. */
int store_open(struct store **out, const char *dir, const char *boot, struct error *e);
void store_close(struct store *s);

/* As of the last commit. */
uint64_t store_epoch(const struct store *s);
const char *store_path(const struct store *s);

/* Every row, by kind and name. fn's strings live for the call; a negative return of fn ends it and is returned. */
int store_load(struct store *s, int (*fn)(const struct store_row *row, void *arg, struct error *e), void *arg,
	       struct error *e);

/* begin, any number of put and remove, commit. After an error: store_rollback. */
int store_begin(struct store *s, struct error *e);
int store_put(struct store *s, const struct store_row *row, struct error *e);
/* What changed of an object that is stored: row->json says it, number `n` (from 1) since the object was put. */
int store_patch(struct store *s, const struct store_row *row, uint32_t n, struct error *e);
int store_remove(struct store *s, const char *kind, const char *name, struct error *e);
int store_commit(struct store *s, uint64_t epoch, struct error *e);
void store_rollback(struct store *s);

#ifdef __cplusplus
}
#endif

#endif
