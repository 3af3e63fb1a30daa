/* SPDX-License-Identifier: Apache-2.0 */
#include "port_claim.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <weft/port.h>

static bool
has_dots(const char *path)
{
	for (const char *s = path; *s != '\0';) {
		size_t n = strcspn(s, "/");
		if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
			return true;
		s += n;
		s += strspn(s, "/");
	}
	return false;
}

static bool
lies_below(const char *folder, const char *top)
{
	size_t n = strlen(top);
	return strncmp(folder, top, n) == 0 && (folder[n] == '\0' || folder[n] == '/');
}

/* The folder is resolved, so that neither a symbolic link nor a second spelling leads out of the socket folder. */
static int
resolve_folder(char *path, const struct port_env *env, struct error *e)
{
	char top[PATH_MAX], folder[PATH_MAX], full[2 * PATH_MAX];
	char *slash = strrchr(path, '/');
	snprintf(full, sizeof(full), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (realpath(full, folder) == NULL) {
		int rc = -errno;
		/* A peer that listens outside our folder may create its own later. */
		return env->any_socket_path ? 0 : error_at(e, rc, "socket", "folder %s: %s", full, strerror(-rc));
	}
	if (!env->any_socket_path &&
	    (env->socket_dir == NULL || realpath(env->socket_dir, top) == NULL || !lies_below(folder, top)))
		return error_at(e, -EPERM, "socket", "%s does not lie below the socket folder %s", path,
				env->socket_dir != NULL ? env->socket_dir : "(none)");
	snprintf(full, sizeof(full), "%s%s", strcmp(folder, "/") == 0 ? "" : folder, slash);
	return snprintf(path, PATH_MAX, "%s", full) < PATH_MAX ? 0 : error_at(e, -ENAMETOOLONG, "socket", "too long");
}

int
port_socket_path(const char *socket, char *out, size_t size, struct error *e)
{
	const struct port_env *env = port_env();
	char path[PATH_MAX];
	struct stat st;
	if (socket == NULL || socket[0] == '\0' || socket[strlen(socket) - 1] == '/')
		return error_at(e, -EINVAL, "socket", "the path of a socket is needed");
	if (has_dots(socket))
		return error_at(e, -EINVAL, "socket", "\".\" and \"..\" are not allowed in a socket's path");
	if (socket[0] != '/' && env->socket_dir == NULL)
		return error_at(e, -EINVAL, "socket", "no socket folder is set: only absolute paths are allowed");
	bool absolute = socket[0] == '/';
	if ((size_t)snprintf(path, sizeof(path), "%s%s%s", absolute ? "" : env->socket_dir, absolute ? "" : "/",
			     socket) >= sizeof(path))
		return error_at(e, -ENAMETOOLONG, "socket", "too long");
	int rc = resolve_folder(path, env, e);
	if (rc < 0)
		return rc;
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path) || strlen(path) >= size)
		return error_at(e, -ENAMETOOLONG, "socket", "the path has %zu bytes, a socket's may have 107",
				strlen(path));
	if (!env->any_socket_path && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		return error_at(e, -EPERM, "socket", "%s is a symbolic link", path);
	snprintf(out, size, "%s", path);
	return 0;
}

/* The value of iface= in "net_af_packet0,iface=eth1,...", or NULL. */
static char *
iface_argument(const char *device)
{
	for (const char *s = strchr(device, ','); s != NULL; s = strchr(s, ',')) {
		s++;
		if (strncmp(s, "iface=", 6) == 0)
			return strndup(s + 6, strcspn(s + 6, ","));
	}
	return NULL;
}

int
claim_make(struct claim *c, const struct spec_port *spec, struct error *e)
{
	char path[PATH_MAX];
	int rc;
	*c = (struct claim){.type = spec->type, .id = spec->id};
	switch (spec->type) {
	case PORT_VHOST_USER:
	case PORT_MEMIF:
		rc = port_socket_path(spec->socket, path, sizeof(path), e);
		if (rc < 0)
			return rc;
		c->socket = strdup(path);
		break;
	case PORT_TAP:
		c->netns = strdup(spec->netns != NULL ? spec->netns : "/proc/self/ns/net");
		c->ifname = strdup(spec->ifname != NULL ? spec->ifname : "eth0");
		break;
	case PORT_NIC:
		if (spec->device == NULL || spec->device[0] == '\0')
			return error_at(e, -EINVAL, "device",
					"a PCI address or vdev arguments such as net_af_packet0,iface=eth1 are needed");
		c->device = strndup(spec->device, strcspn(spec->device, ","));
		c->ifname = iface_argument(spec->device);
		break;
	case PORT_TEST:
		if (!port_env()->test_ports)
			return error_at(e, -EINVAL, "type", "test is for the switch's own tests only");
		break;
	}
	return 0;
}

void
claim_free(struct claim *c)
{
	free(c->socket);
	free(c->netns);
	free(c->ifname);
	free(c->device);
}

static bool
same_text(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* A namespace has many paths (/proc/PID/ns/net, bind mounts), and a path may name another one tomorrow. */
static bool
same_netns(const char *a, const char *b)
{
	struct stat sa, sb;
	if (same_text(a, b))
		return true;
	return a != NULL && b != NULL && stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

bool
claims_clash(const struct claim *a, const struct claim *b, char *text, size_t size)
{
	if (same_text(a->socket, b->socket)) {
		if (a->type != PORT_MEMIF || b->type != PORT_MEMIF)
			return snprintf(text, size, "socket %s", a->socket) > 0;
		return a->id == b->id && snprintf(text, size, "socket %s, id %u", a->socket, a->id) > 0;
	}
	if (same_text(a->device, b->device))
		return snprintf(text, size, "device %s", a->device) > 0;
	if (a->type == b->type && same_text(a->ifname, b->ifname) &&
	    (a->type == PORT_NIC || same_netns(a->netns, b->netns)))
		return snprintf(text, size, "interface %s", a->ifname) > 0;
	return false;
}
