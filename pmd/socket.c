/* SPDX-License-Identifier: Apache-2.0 */
#include "socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_MODE 0660

int
socket_access_of(const struct spec_port *spec, struct socket_access *a, struct error *e)
{
	a->mode = DEFAULT_MODE;
	a->uid = (uid_t)-1;
	if (spec->socket_mode != NULL) {
		char *end;
		a->mode = (mode_t)strtoul(spec->socket_mode, &end, 8);
		if (*end != '\0' || end == spec->socket_mode || a->mode > 0777)
			return error_at(e, -EINVAL, "socketMode", "\"%s\" is not an octal mode in 0..0777",
					spec->socket_mode);
	}
	if (spec->socket_owner != NULL) {
		const struct passwd *pw = getpwnam(spec->socket_owner);
		if (pw == NULL)
			return error_at(e, -EINVAL, "socketOwner", "there is no user %s", spec->socket_owner);
		a->uid = pw->pw_uid;
	}
	return 0;
}

int
socket_access_set(const char *path, const struct socket_access *a, struct error *e)
{
	if ((a->uid != (uid_t)-1 && lchown(path, a->uid, (gid_t)-1) < 0) || chmod(path, a->mode) < 0)
		return error_at(e, -errno, "socket", "%s: %s", path, strerror(errno));
	return 0;
}

int
socket_clear(const char *path, int type, struct error *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return error_at(e, -EEXIST, "socket", "%s exists and is not a socket", path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_at(e, -errno, "socket", "socket: %s", strerror(errno));
	bool dead = connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 && errno == ECONNREFUSED;
	close(fd);
	if (!dead)
		return error_at(e, -EADDRINUSE, "socket", "another process listens on %s", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return error_at(e, -errno, "socket", "unlink %s: %s", path, strerror(errno));
	return 0;
}

int
socket_try_bind(const char *path, int type, struct error *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int rc = 0, fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_at(e, -errno, "socket", "socket: %s", strerror(errno));
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		rc = error_at(e, -errno, "socket", "bind %s: %s", path, strerror(errno));
	else
		unlink(path);
	close(fd);
	return rc;
}

/* A descriptor that a library keeps to itself is found by the socket's address. */
static bool
is_at(int fd, const char *path, bool connected)
{
	struct sockaddr_un sa = {0};
	socklen_t n = sizeof(sa) - 1;
	int rc = connected ? getpeername(fd, (struct sockaddr *)&sa, &n) : getsockname(fd, (struct sockaddr *)&sa, &n);
	return rc == 0 && sa.sun_family == AF_UNIX && strcmp(sa.sun_path, path) == 0;
}

static bool
is_new(int fd, const char *path, bool connected)
{
	struct timeval limit = {0};
	int listens = 0;
	socklen_t n = sizeof(listens), m = sizeof(limit);
	return is_at(fd, path, connected) && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) == 0 &&
	       listens == 0 && getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &m) == 0 && limit.tv_sec == 0 &&
	       limit.tv_usec == 0;
}

int
socket_adopt(const char *path, bool connected, unsigned int ms)
{
	struct timeval receive = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000},
		       send = {.tv_usec = 1};
	DIR *d = opendir("/proc/self/fd");
	int found = -1;
	if (d == NULL)
		return -1;
	for (const struct dirent *entry = readdir(d); entry != NULL && found < 0; entry = readdir(d)) {
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] == '.' || !is_new(fd, path, connected))
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send));
		found = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	}
	closedir(d);
	return found;
}

unsigned int
socket_unread(int fd)
{
	int n;
	return ioctl(fd, SIOCOUTQ, &n) == 0 && n > 0 ? (unsigned int)n : 0;
}
