/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "server_impl.h"

#define LOCK_TRIES 200 /* of 10 ms */

static gid_t
group_id(const char *name)
{
	struct group *g = name != NULL && name[0] != '\0' ? getgrnam(name) : NULL;
	return g != NULL ? g->gr_gid : (gid_t)-1;
}

static int
make_folder(const char *dir, gid_t gid, struct error *e)
{
	if (mkdir(dir, 0750) < 0)
		return errno == EEXIST ? 0
				       : error_set(e, -errno, "%s: cannot create the folder: %s", dir, strerror(errno));
	/* The umask may have taken bits, and a new folder's group is ours. */
	if (chmod(dir, 0750) < 0 || (gid != (gid_t)-1 && lchown(dir, (uid_t)-1, gid) < 0))
		return error_set(e, -errno, "%s: %s", dir, strerror(errno));
	return 0;
}

static int
open_folder(const char *path, gid_t gid, int *out, struct error *e)
{
	char copy[sizeof(((struct listener *)0)->path)];
	snprintf(copy, sizeof(copy), "%s", path);
	const char *dir = dirname(copy);
	int rc = make_folder(dir, gid, e);
	if (rc < 0)
		return rc;
	*out = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*out < 0)
		return error_set(e, -errno, "%s: %s", dir, strerror(errno));
	/* Two that start at the same moment would both find the socket stale and replace it. */
	for (int i = 0; flock(*out, LOCK_EX | LOCK_NB) < 0; i++) {
		if (i == LOCK_TRIES) {
			close(*out);
			return error_set(e, -EBUSY, "%s: another process holds the folder's lock", dir);
		}
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return 0;
}

/* Whether somebody answers at path. A full backlog is somebody, too. */
static bool
is_live(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return true;
	bool dead = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 &&
		    (errno == ECONNREFUSED || errno == ENOENT);
	close(fd);
	return !dead;
}

static int
remove_stale(const struct sockaddr_un *addr, struct error *e)
{
	struct stat st;
	const char *path = addr->sun_path;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : error_set(e, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return error_set(e, -EEXIST, "%s: exists and is not a socket; it is left alone", path);
	if (is_live(addr))
		return error_set(e, -EADDRINUSE, "%s: another switch answers there", path);
	if (unlink(path) < 0)
		return error_set(e, -errno, "%s: cannot remove the stale socket: %s", path, strerror(errno));
	return 0;
}

/* The inode is born with the socket's own mode (unix(7)), so nobody but the owner can connect before group and mode are
 * set. */
static int
bind_socket(struct listener *l, const struct sockaddr_un *addr, mode_t mode, gid_t gid)
{
	struct stat st;
	if (fchmod(l->fd, 0600) < 0 || bind(l->fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return -errno;
	if (lstat(l->path, &st) < 0)
		return -errno;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (gid != (gid_t)-1 && lchown(l->path, (uid_t)-1, gid) < 0)
		return -errno;
	return listen(l->fd, 128) < 0 || chmod(l->path, mode) < 0 ? -errno : 0;
}

static int
create_socket(struct listener *l, const struct sockaddr_un *addr, mode_t mode, gid_t gid, struct error *e)
{
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc = l->fd < 0 ? -errno : bind_socket(l, addr, mode, gid);
	if (rc == 0)
		return 0;
	listener_close(l);
	return error_set(e, rc, "%s: cannot make the socket: %s", addr->sun_path, strerror(-rc));
}

int
listener_open(struct listener *l, const struct server_options *o, struct error *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	gid_t gid = group_id(o->group);
	int folder;
	memset(l, 0, sizeof(*l));
	l->fd = -1;
	if (o->path == NULL || o->path[0] == '\0' || strlen(o->path) >= sizeof(addr.sun_path))
		return error_set(e, -ENAMETOOLONG, "%s: a socket's path has 1..%zu bytes",
				 o->path != NULL ? o->path : "", sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, o->path);
	strcpy(l->path, o->path);
	int rc = open_folder(o->path, gid, &folder, e);
	if (rc < 0)
		return rc;
	rc = remove_stale(&addr, e);
	if (rc == 0)
		rc = create_socket(l, &addr, o->mode != 0 ? o->mode : 0660, gid, e);
	close(folder);
	return rc;
}

void
listener_close(struct listener *l)
{
	struct stat st;
	if (l->fd < 0)
		return;
	if (lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	close(l->fd);
	l->fd = -1;
}
