/* SPDX-License-Identifier: Apache-2.0 */
/* What store_file.c (the file: made, checked, opened) and store.c (rows in and out) share. */
#ifndef WEFT_MGMT_STORE_IMPL_H
#define WEFT_MGMT_STORE_IMPL_H

#include <limits.h>
#include <sqlite3.h>

#include "store.h"

enum statement { PUT, REMOVE, EPOCH, PATCH, UNPATCH, PATCHES, STATEMENTS };

struct store {
	char path[PATH_MAX];
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENTS];
	uint64_t epoch;
	bool patches; /* there may be some */
};

/* Each 0, or -errno and *e. */
int store_failed(const struct store *s, int code, struct error *e);
int store_run(struct store *s, const char *sql, struct error *e);
/* The first column of the first row, as text. */
int store_ask(struct store *s, const char *sql, char *buf, size_t size, struct error *e);
/* Locked, of our version, of this boot. */
int store_open_file(struct store *s, const char *boot, struct error *e);

#endif
