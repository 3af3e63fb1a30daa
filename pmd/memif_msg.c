/* SPDX-License-Identifier: Apache-2.0 */
#include "memif.h"

#include <sys/socket.h>
#include <unistd.h>

#define FDS 4 /* room for more than the one that may come, to notice and close them */

int
memif_send(int fd, const struct memif_msg *msg, int pass_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = sizeof(*msg)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	if (pass_fd >= 0) {
		memset(&control, 0, sizeof(control));
		h.msg_control = control.bytes;
		h.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		*c = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	return sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*msg) ? 0 : -errno;
}

/* The descriptors that came with a message; the first stays open in *first, more are closed. */
static unsigned int
take_fds(struct msghdr *h, int *first)
{
	unsigned int n = 0;
	*first = -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n++ == 0)
				*first = fd;
			else
				close(fd);
		}
	}
	return n;
}

static int
check(const struct memif_msg *msg, ssize_t n, const struct msghdr *h, unsigned int fds, struct error *e)
{
	if (n != (ssize_t)sizeof(*msg) || (h->msg_flags & MSG_TRUNC) != 0)
		return error_set(e, -EBADMSG, "a message must have %zu bytes", sizeof(*msg));
	unsigned int due = msg->type == MEMIF_ADD_REGION || msg->type == MEMIF_ADD_RING;
	if (fds != due || (h->msg_flags & MSG_CTRUNC) != 0)
		return error_set(e, -EBADMSG, "message %u with %u%s descriptors where %u is due", msg->type, fds,
				 (h->msg_flags & MSG_CTRUNC) != 0 ? " or more" : "", due);
	return 0;
}

int
memif_receive(int fd, struct memif_msg *msg, int *pass_fd, struct error *e)
{
	union {
		char bytes[CMSG_SPACE(FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = msg, .iov_len = sizeof(*msg)};
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)};
	memset(msg, 0, sizeof(*msg));
	ssize_t n = recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	*pass_fd = -1;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : error_set(e, -EPIPE, "%s", strerror(errno));
	unsigned int fds = take_fds(&h, pass_fd);
	if (n == 0 && fds == 0)
		return error_set(e, -EPIPE, "the peer closed the connection");
	int rc = check(msg, n, &h, fds, e);
	if (rc < 0 && *pass_fd >= 0) {
		close(*pass_fd);
		*pass_fd = -1;
	}
	return rc;
}

/* What the peer sent meanwhile is read first: a socket closed with unread data resets, and the reason would be lost. */
void
memif_send_disconnect(int fd, const char *reason)
{
	struct memif_msg msg = {.type = MEMIF_DISCONNECT}, rest;
	struct error e;
	int pass_fd;
	snprintf(msg.disconnect.reason, sizeof(msg.disconnect.reason), "%s", reason);
	memif_send(fd, &msg, -1);
	shutdown(fd, SHUT_RD);
	for (unsigned int i = 0; i < 64; i++) {
		int rc = memif_receive(fd, &rest, &pass_fd, &e);
		if (pass_fd >= 0)
			close(pass_fd);
		if (rc == -EAGAIN || rc == -EPIPE)
			break;
	}
}

void
memif_text(char *out, size_t size, const char *in, size_t n)
{
	size_t i = 0;
	for (; i + 1 < size && i < n && in[i] != '\0'; i++)
		out[i] = in[i] >= ' ' && in[i] <= '~' ? in[i] : '?';
	out[i] = '\0';
}
