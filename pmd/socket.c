/* SPDX-License-Identifier: Apache-2.0 */
#include "socket.h"

#include <pwd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
