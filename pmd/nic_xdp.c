/* SPDX-License-Identifier: Apache-2.0 */
#include "nic_xdp.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void
xdp_sockets_list(struct xdp_sockets *out)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	out->n = 0;
	while (dir != NULL && out->n < XDP_SOCKETS_MAX && (entry = readdir(dir)) != NULL) {
		int fd = atoi(entry->d_name), domain = 0;
		socklen_t size = sizeof(domain);
		struct stat st;
		if (entry->d_name[0] == '.' || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
		    domain != AF_XDP || fstat(fd, &st) < 0)
			continue;
		out->s[out->n].fd = fd;
		out->s[out->n++].inode = st.st_ino;
	}
	if (dir != NULL)
		closedir(dir);
}

/* By inode: the number of a closed fd may belong to another socket by now. */
static bool
holds(const struct xdp_sockets *list, ino_t inode)
{
	for (unsigned int i = 0; i < list->n; i++)
		if (list->s[i].inode == inode)
			return true;
	return false;
}

void
xdp_sockets_close(const struct xdp_sockets *mine)
{
	struct xdp_sockets now;
	xdp_sockets_list(&now);
	for (unsigned int i = 0; i < now.n; i++)
		if (holds(mine, now.s[i].inode))
			close(now.s[i].fd);
}

void
xdp_sockets_subtract(struct xdp_sockets *from, const struct xdp_sockets *before)
{
	unsigned int kept = 0;
	for (unsigned int i = 0; i < from->n; i++)
		if (!holds(before, from->s[i].inode))
			from->s[kept++] = from->s[i];
	from->n = kept;
}
