/* SPDX-License-Identifier: Apache-2.0 */
#include "store_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)
#define APPLICATION_ID 1464157780 /* "WEFT" */
#define PATCHES_TABLE                                                                                                  \
	"CREATE TABLE patches (kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, generation INTEGER "    \
	"NOT NULL, epoch INTEGER NOT NULL, json TEXT NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (kind, name, number)) " \
	"STRICT, WITHOUT ROWID"

int
store_failed(const struct store *s, int code, struct error *e)
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

int
store_run(struct store *s, const char *sql, struct error *e)
{
	int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : store_failed(s, code, e);
}

int
store_ask(struct store *s, const char *sql, char *buf, size_t size, struct error *e)
{
	sqlite3_stmt *q = NULL;
	buf[0] = '\0';
	int code = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(q);
	if (code == SQLITE_ROW && sqlite3_column_text(q, 0) != NULL)
		snprintf(buf, size, "%s", (const char *)sqlite3_column_text(q, 0));
	int rc = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : store_failed(s, code, e);
	sqlite3_finalize(q);
	return rc;
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
			 : store_failed(s, SQLITE_CANTOPEN, e);
	if (rc == 0)
		rc = store_run(s,
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
									"STRICT, WITHOUT ROWID;" PATCHES_TABLE,
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
	int rc = store_ask(s, "PRAGMA application_id", text, sizeof(text), e);
	if (rc < 0)
		return rc;
	if (strtol(text, NULL, 10) != APPLICATION_ID)
		return error_set(e, -EBADMSG, "%s is a database, but not one of weftd's", s->path);
	rc = store_ask(s, "SELECT version FROM meta", text, sizeof(text), e);
	if (rc < 0)
		return rc;
	/* The first version had no patches; else it is the same. */
	if (strcmp(text, "1") == 0)
		return store_run(s, PATCHES_TABLE "; UPDATE meta SET version = " TEXT_OF(STORE_VERSION), e);
	if (strcmp(text, TEXT_OF(STORE_VERSION)) != 0)
		return error_set(e, -EBADMSG,
				 "%s has version \"%s\", this weftd knows version " TEXT_OF(STORE_VERSION) " only",
				 s->path, text);
	rc = store_ask(s, "PRAGMA quick_check(1)", text, sizeof(text), e);
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
	int rc = store_ask(s, "SELECT boot FROM meta", text, sizeof(text), e);
	if (rc < 0)
		return rc;
	sqlite3_stmt *q = NULL;
	if (text[0] != '\0' && strcmp(text, boot) != 0)
		rc = store_run(s, "UPDATE objects SET closed = 1 WHERE kind = 'Endpoint'", e);
	int code = sqlite3_prepare_v2(s->db, "UPDATE meta SET boot = ?1", -1, &q, NULL);
	if (code == SQLITE_OK) {
		sqlite3_bind_text(q, 1, boot, -1, SQLITE_STATIC);
		code = sqlite3_step(q);
	}
	if (rc == 0 && code != SQLITE_DONE)
		rc = store_failed(s, code, e);
	sqlite3_finalize(q);
	return rc;
}

static int
open_locked(struct store *s, const char *boot, struct error *e)
{
	int code = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);
	if (code != SQLITE_OK)
		return store_failed(s, code, e);
	sqlite3_extended_result_codes(s->db, 1);
	/* The lock comes with the first transaction and stays: a second instance stops here. */
	int rc = store_run(s,
		     "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN "
		     "EXCLUSIVE",
		     e);
	if (rc == 0)
		rc = check_version(s, e);
	if (rc == 0)
		rc = note_boot(s, boot, e);
	if (rc == 0)
		rc = store_run(s, "COMMIT", e);
	return rc;
}

int
store_open_file(struct store *s, const char *boot, struct error *e)
{
	int rc = check_file(s, e);
	return rc == 0 ? open_locked(s, boot, e) : rc;
}
