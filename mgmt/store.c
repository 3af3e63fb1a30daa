/* SPDX-License-Identifier: Apache-2.0 */
#include "store_impl.h"

#include <stdlib.h>
#include <sys/stat.h>

/* The column "closed". */
enum { ROW_OPEN, ROW_CLOSED, ROW_ADMITTED };

static const char *const statement_text[STATEMENTS] = {
	[PUT] = ("INSERT OR REPLACE INTO objects (kind, name, owner, generation, epoch, closed, json, sum) "
		 "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
	[REMOVE] = "DELETE FROM objects WHERE kind = ?1 AND name = ?2",
	[PATCH] = "INSERT INTO patches (kind, name, number, generation, epoch, json, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[UNPATCH] = "DELETE FROM patches WHERE kind = ?1 AND name = ?2",
	[PATCHES] = "SELECT number, generation, epoch, json, sum FROM patches WHERE kind = ?1 AND name = ?2 ORDER BY number",
	[EPOCH] = "UPDATE meta SET epoch = ?1",
};

/* FNV-1a: SQLite's own check sees a broken tree, not a flipped bit in an address. */
static int64_t
row_sum(const struct store_row *r)
{
	const char *const text[] = {r->kind, r->name, r->owner, r->json};
	const uint64_t number[] = {r->generation, r->epoch};
	uint64_t sum = 0xcbf29ce484222325;
	for (size_t t = 0; t < 4; t++) {
		for (const char *c = text[t]; *c != '\0'; c++)
			sum = (sum ^ (unsigned char)*c) * 0x100000001b3;
		sum *= 0x100000001b3;
	}
	for (size_t i = 0; i < 2; i++)
		for (int b = 0; b < 64; b += 8)
			sum = (sum ^ (number[i] >> b & 0xff)) * 0x100000001b3;
	return (int64_t)sum;
}

static int
prepare(struct store *s, struct error *e)
{
	char text[32];
	for (int i = 0; i < STATEMENTS; i++) {
		int code = sqlite3_prepare_v3(s->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statement[i],
					      NULL);
		if (code != SQLITE_OK)
			return store_failed(s, code, e);
	}
	int rc = store_ask(s, "SELECT epoch FROM meta", text, sizeof(text), e);
	s->epoch = strtoull(text, NULL, 10);
	if (rc == 0)
		rc = store_ask(s, "SELECT count(*) FROM patches", text, sizeof(text), e);
	s->patches = strcmp(text, "0") != 0;
	return rc;
}

int
store_open(struct store **out, const char *dir, const char *boot, struct error *e)
{
	struct store *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return error_set(e, -ENOMEM, "no memory");
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		int rc = error_set(e, -errno, "%s: cannot be created: %s", dir, strerror(errno));
		free(s);
		return rc;
	}
	snprintf(s->path, sizeof(s->path), "%s/objects.db", dir);
	int rc = store_open_file(s, boot, e);
	if (rc == 0)
		rc = prepare(s, e);
	if (rc < 0) {
		store_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(s->statement[i]);
	sqlite3_close(s->db);
	free(s);
}

uint64_t
store_epoch(const struct store *s)
{
	return s->epoch;
}

const char *
store_path(const struct store *s)
{
	return s->path;
}

static const char *
column(sqlite3_stmt *q, int i)
{
	const char *text = (const char *)sqlite3_column_text(q, i);
	return text != NULL ? text : "";
}

struct patches {
	char **v;
	uint32_t n;
};

static void
patches_free(struct patches *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		free(p->v[i]);
	free(p->v);
}

static int
damaged(const struct store *s, const struct store_row *r, struct error *e)
{
	return error_set(e, -EBADMSG,
			 "%s is damaged (%.32s %.64s is not what was stored); put a copy in its place, or move it away "
			 "to start with nothing",
			 s->path, r->kind, r->name);
}

/* Those of one row, which gets the newest one's generation and epoch. */
static int
load_patches(struct store *s, struct store_row *r, struct patches *out, struct error *e)
{
	sqlite3_stmt *q = s->statement[PATCHES];
	int code, rc = 0;
	sqlite3_bind_text(q, 1, r->kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 2, r->name, -1, SQLITE_STATIC);
	while (rc == 0 && (code = sqlite3_step(q)) == SQLITE_ROW) {
		struct store_row patch = {.kind = r->kind,
					  .name = r->name,
					  .owner = "",
					  .json = column(q, 3),
					  .generation = (uint64_t)sqlite3_column_int64(q, 1),
					  .epoch = (uint64_t)sqlite3_column_int64(q, 2)};
		if (sqlite3_column_int64(q, 0) != out->n + 1 || row_sum(&patch) != sqlite3_column_int64(q, 4)) {
			rc = damaged(s, r, e);
			break;
		}
		out->v = realloc(out->v, (out->n + 1) * sizeof(*out->v));
		if (out->v == NULL || (out->v[out->n++] = strdup(patch.json)) == NULL)
			abort();
		r->generation = patch.generation;
		r->epoch = patch.epoch;
	}
	if (rc == 0 && code != SQLITE_DONE)
		rc = store_failed(s, code, e);
	sqlite3_reset(q);
	sqlite3_clear_bindings(q);
	r->patch = (const char *const *)out->v;
	r->n_patches = out->n;
	return rc;
}

int
store_load(struct store *s, int (*fn)(const struct store_row *row, void *arg, struct error *e), void *arg,
	   struct error *e)
{
	sqlite3_stmt *q = NULL;
	int rc = 0;
	int code = sqlite3_prepare_v2(
		s->db,
		"SELECT kind, name, owner, generation, epoch, closed, json, sum FROM objects ORDER BY kind, name", -1,
		&q, NULL);
	while (code == SQLITE_OK && rc == 0 && (code = sqlite3_step(q)) == SQLITE_ROW) {
		struct patches patches = {0};
		struct store_row r = {.kind = column(q, 0),
				      .name = column(q, 1),
				      .owner = column(q, 2),
				      .json = column(q, 6),
				      .generation = (uint64_t)sqlite3_column_int64(q, 3),
				      .epoch = (uint64_t)sqlite3_column_int64(q, 4),
				      .closed = sqlite3_column_int(q, 5) == ROW_CLOSED,
				      .admitted = sqlite3_column_int(q, 5) == ROW_ADMITTED};
		rc = row_sum(&r) == sqlite3_column_int64(q, 7) ? 0 : damaged(s, &r, e);
		if (rc == 0 && s->patches)
			rc = load_patches(s, &r, &patches, e);
		if (rc == 0)
			rc = fn(&r, arg, e);
		patches_free(&patches);
		code = SQLITE_OK;
	}
	if (rc == 0 && code != SQLITE_DONE)
		rc = store_failed(s, code, e);
	sqlite3_finalize(q);
	return rc;
}

static int
step(struct store *s, enum statement which, struct error *e)
{
	sqlite3_stmt *q = s->statement[which];
	int code = sqlite3_step(q);
	int rc = code == SQLITE_DONE ? 0 : store_failed(s, code, e);
	sqlite3_reset(q);
	sqlite3_clear_bindings(q);
	return rc;
}

/* What was patched is in the row now, or gone with it. */
static int
unpatch(struct store *s, const char *kind, const char *name, struct error *e)
{
	if (!s->patches)
		return 0;
	sqlite3_bind_text(s->statement[UNPATCH], 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(s->statement[UNPATCH], 2, name, -1, SQLITE_STATIC);
	return step(s, UNPATCH, e);
}

int
store_begin(struct store *s, struct error *e)
{
	return store_run(s, "BEGIN IMMEDIATE", e);
}

int
store_put(struct store *s, const struct store_row *r, struct error *e)
{
	sqlite3_stmt *q = s->statement[PUT];
	sqlite3_bind_text(q, 1, r->kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 2, r->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 3, r->owner, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 4, (int64_t)r->generation);
	sqlite3_bind_int64(q, 5, (int64_t)r->epoch);
	sqlite3_bind_int(q, 6, r->closed ? ROW_CLOSED : r->admitted ? ROW_ADMITTED : ROW_OPEN);
	sqlite3_bind_text(q, 7, r->json, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 8, row_sum(r));
	int rc = step(s, PUT, e);
	return rc == 0 ? unpatch(s, r->kind, r->name, e) : rc;
}

int
store_patch(struct store *s, const struct store_row *r, uint32_t n, struct error *e)
{
	sqlite3_stmt *q = s->statement[PATCH];
	struct store_row patch = *r;
	patch.owner = "";
	sqlite3_bind_text(q, 1, r->kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 2, r->name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 3, n);
	sqlite3_bind_int64(q, 4, (int64_t)r->generation);
	sqlite3_bind_int64(q, 5, (int64_t)r->epoch);
	sqlite3_bind_text(q, 6, r->json, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 7, row_sum(&patch));
	s->patches = true;
	return step(s, PATCH, e);
}

int
store_remove(struct store *s, const char *kind, const char *name, struct error *e)
{
	sqlite3_bind_text(s->statement[REMOVE], 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(s->statement[REMOVE], 2, name, -1, SQLITE_STATIC);
	int rc = step(s, REMOVE, e);
	return rc == 0 ? unpatch(s, kind, name, e) : rc;
}

int
store_commit(struct store *s, uint64_t epoch, struct error *e)
{
	sqlite3_bind_int64(s->statement[EPOCH], 1, (int64_t)epoch);
	int rc = step(s, EPOCH, e);
	if (rc == 0)
		rc = store_run(s, "COMMIT", e);
	if (rc == 0)
		s->epoch = epoch;
	return rc;
}

void
store_rollback(struct store *s)
{
	/* SQLite has rolled back by itself after some errors. */
	if (!sqlite3_get_autocommit(s->db))
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}
