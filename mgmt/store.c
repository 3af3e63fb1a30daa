/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)
#define APPLICATION_ID 1464157780 /* "WEFT" */

enum statement { PUT, REMOVE, EPOCH, STATEMENTS };
static const char *const statement_text[STATEMENTS] = {
	[PUT] = ("INSERT OR REPLACE INTO objects (kind, name, owner, generation, epoch, closed, json, sum) "
		 "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"),
	[REMOVE] = "DELETE FROM objects WHERE kind = ?1 AND name = ?2",
	[EPOCH] = "UPDATE meta SET epoch = ?1",
};

struct store {
	char path[PATH_MAX];
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENTS];
	uint64_t epoch;
};

static int
failed(const struct store *s, int code, struct error *e)
{
	switch (code & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return error_set(e, -EBADMSG,
				 "%s is damaged (%s); put a copy in its place, or move it away to start with nothing",
				 s->path, sqlite3_errmsg(s->db));
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return error_set(e, -EBUSY, "%s is in use by another weftd", s->path);
	case SQLITE_FULL:
		return error_set(e, -ENOSPC, "%s: the disk is full", s->path);
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_CANTOPEN:
		return error_set(e, -EACCES, "%s: cannot be written: %s", s->path, sqlite3_errmsg(s->db));
	case SQLITE_NOMEM:
		return error_set(e, -ENOMEM, "%s: no memory", s->path);
	default:
		return error_set(e, -EIO, "%s: %s", s->path, sqlite3_errmsg(s->db));
	}
}

static int
run(struct store *s, const char *sql, struct error *e)
{
	int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : failed(s, code, e);
}

/* The first column of the first row, as text. */
static int
ask(struct store *s, const char *sql, char *buf, size_t size, struct error *e)
{
	sqlite3_stmt *q = NULL;
	buf[0] = '\0';
	int code = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(q);
	if (code == SQLITE_ROW && sqlite3_column_text(q, 0) != NULL)
		snprintf(buf, size, "%s", (const char *)sqlite3_column_text(q, 0));
	int rc = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : failed(s, code, e);
	sqlite3_finalize(q);
	return rc;
}

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

/* Made under another name and then linked, so that a file with the right name is never half made. */
static int
create(struct store *s, struct error *e)
{
	char final[PATH_MAX], wal[PATH_MAX + 8];
	struct stat st;
	snprintf(final, sizeof(final), "%s", s->path);
	snprintf(wal, sizeof(wal), "%s-wal", s->path);
	if (stat(wal, &st) == 0 && st.st_size > 0)
		return error_set(e, -EBADMSG,
				 "%s is missing, but its log %s is there; put the file back, or move the log away to "
				 "start with nothing",
				 final, wal);
	if ((size_t)snprintf(s->path, sizeof(s->path), "%.*s.new.%d", (int)sizeof(s->path) - 32, final,
			     (int)getpid()) >= sizeof(s->path))
		return error_set(e, -ENAMETOOLONG, "%s: too long", final);
	unlink(s->path);
	int fd = open(s->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(e, -errno, "%s: cannot be created: %s", final, strerror(errno));
	close(fd);
	int rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK
			 ? 0
			 : failed(s, SQLITE_CANTOPEN, e);
	if (rc == 0)
		rc = run(s,
			 "PRAGMA application_id = " TEXT_OF(
				 APPLICATION_ID) ";"
						 "CREATE TABLE meta (version INTEGER NOT NULL, boot TEXT NOT NULL, "
						 "epoch INTEGER NOT NULL) STRICT;"
						 "INSERT INTO meta VALUES (" TEXT_OF(
							 STORE_VERSION) ", '', 0);"
									"CREATE TABLE objects (kind TEXT NOT NULL, "
									"name TEXT NOT NULL, owner TEXT NOT NULL, "
									"generation INTEGER NOT NULL, "
									"epoch INTEGER NOT NULL, closed INTEGER NOT "
									"NULL, json TEXT NOT NULL, sum INTEGER NOT "
									"NULL, PRIMARY KEY (kind, name)) "
									"STRICT, WITHOUT ROWID",
			 e);
	sqlite3_close(s->db);
	s->db = NULL;
	if (rc == 0 && link(s->path, final) < 0 && errno != EEXIST)
		rc = error_set(e, -errno, "%s: cannot be created: %s", final, strerror(errno));
	unlink(s->path);
	snprintf(s->path, sizeof(s->path), "%s", final);
	return rc;
}

static int
check_file(struct store *s, struct error *e)
{
	struct stat st;
	if (lstat(s->path, &st) < 0)
		return errno == ENOENT ? create(s, e) : error_set(e, -errno, "%s: %s", s->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(e, -EBADMSG, "%s is not a regular file", s->path);
	/* SQLite takes an empty file for an empty database. We never leave one behind: something cut it off. */
	if (st.st_size == 0)
		return error_set(
			e, -EBADMSG,
			"%s is damaged (it is empty); put a copy in its place, or move it away to start with nothing",
			s->path);
	return (st.st_mode & 077) == 0 || chmod(s->path, 0600) == 0
		       ? 0
		       : error_set(e, -errno, "%s: %s", s->path, strerror(errno));
}

static int
check_version(struct store *s, struct error *e)
{
	char text[128];
	int rc = ask(s, "PRAGMA application_id", text, sizeof(text), e);
	if (rc < 0)
		return rc;
	if (strtol(text, NULL, 10) != APPLICATION_ID)
		return error_set(e, -EBADMSG, "%s is a database, but not one of weftd's", s->path);
	rc = ask(s, "SELECT version FROM meta", text, sizeof(text), e);
	if (rc < 0)
		return rc;
	if (strcmp(text, TEXT_OF(STORE_VERSION)) != 0)
		return error_set(e, -EBADMSG,
				 "%s has version \"%s\", this weftd knows version " TEXT_OF(STORE_VERSION) " only",
				 s->path, text);
	rc = ask(s, "PRAGMA quick_check(1)", text, sizeof(text), e);
	if (rc == 0 && strcmp(text, "ok") != 0)
		return error_set(e, -EBADMSG,
				 "%s is damaged (%s); put a copy in its place, or move it away to start with nothing",
				 s->path, text);
	return rc;
}

/* A reboot is not a restart: what the pods of the earlier boot had is not given to whoever comes now. */
static int
note_boot(struct store *s, const char *boot, struct error *e)
{
	char text[128];
	int rc = ask(s, "SELECT boot FROM meta", text, sizeof(text), e);
	if (rc < 0)
		return rc;
	sqlite3_stmt *q = NULL;
	if (text[0] != '\0' && strcmp(text, boot) != 0)
		rc = run(s, "UPDATE objects SET closed = 1 WHERE kind = 'Endpoint'", e);
	int code = sqlite3_prepare_v2(s->db, "UPDATE meta SET boot = ?1", -1, &q, NULL);
	if (code == SQLITE_OK) {
		sqlite3_bind_text(q, 1, boot, -1, SQLITE_STATIC);
		code = sqlite3_step(q);
	}
	if (rc == 0 && code != SQLITE_DONE)
		rc = failed(s, code, e);
	sqlite3_finalize(q);
	return rc;
}

static int
prepare(struct store *s, struct error *e)
{
	char text[32];
	for (int i = 0; i < STATEMENTS; i++) {
		int code = sqlite3_prepare_v3(s->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statement[i],
					      NULL);
		if (code != SQLITE_OK)
			return failed(s, code, e);
	}
	int rc = ask(s, "SELECT epoch FROM meta", text, sizeof(text), e);
	s->epoch = strtoull(text, NULL, 10);
	return rc;
}

static int
open_locked(struct store *s, const char *boot, struct error *e)
{
	int code = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);
	if (code != SQLITE_OK)
		return failed(s, code, e);
	sqlite3_extended_result_codes(s->db, 1);
	/* The lock comes with the first transaction and stays: a second instance stops here. */
	int rc = run(s,
		     "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN "
		     "EXCLUSIVE",
		     e);
	if (rc == 0)
		rc = check_version(s, e);
	if (rc == 0)
		rc = note_boot(s, boot, e);
	if (rc == 0)
		rc = run(s, "COMMIT", e);
	return rc == 0 ? prepare(s, e) : rc;
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
	int rc = check_file(s, e);
	if (rc == 0)
		rc = open_locked(s, boot, e);
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
		struct store_row r = {column(q, 0),
				      column(q, 1),
				      column(q, 2),
				      column(q, 6),
				      (uint64_t)sqlite3_column_int64(q, 3),
				      (uint64_t)sqlite3_column_int64(q, 4),
				      sqlite3_column_int(q, 5) != 0};
		rc = row_sum(&r) == sqlite3_column_int64(q, 7)
			     ? fn(&r, arg, e)
			     : error_set(e, -EBADMSG,
					 "%s is damaged (%.32s %.64s is not what was stored); put a copy in its place, "
					 "or move it away "
					 "to start with nothing",
					 s->path, r.kind, r.name);
		code = SQLITE_OK;
	}
	if (rc == 0 && code != SQLITE_DONE)
		rc = failed(s, code, e);
	sqlite3_finalize(q);
	return rc;
}

static int
step(struct store *s, enum statement which, struct error *e)
{
	sqlite3_stmt *q = s->statement[which];
	int code = sqlite3_step(q);
	int rc = code == SQLITE_DONE ? 0 : failed(s, code, e);
	sqlite3_reset(q);
	sqlite3_clear_bindings(q);
	return rc;
}

int
store_begin(struct store *s, struct error *e)
{
	return run(s, "BEGIN IMMEDIATE", e);
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
	sqlite3_bind_int(q, 6, r->closed);
	sqlite3_bind_text(q, 7, r->json, -1, SQLITE_STATIC);
	sqlite3_bind_int64(q, 8, row_sum(r));
	return step(s, PUT, e);
}

int
store_remove(struct store *s, const char *kind, const char *name, struct error *e)
{
	sqlite3_bind_text(s->statement[REMOVE], 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_text(s->statement[REMOVE], 2, name, -1, SQLITE_STATIC);
	return step(s, REMOVE, e);
}

int
store_commit(struct store *s, uint64_t epoch, struct error *e)
{
	sqlite3_bind_int64(s->statement[EPOCH], 1, (int64_t)epoch);
	int rc = step(s, EPOCH, e);
	if (rc == 0)
		rc = run(s, "COMMIT", e);
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
