/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets that ports listen on: who may use them, and what may be in their place. For vhost.c and memif_server.c. */
#ifndef PMD_SOCKET_H
#define PMD_SOCKET_H

#include <sys/types.h>

#include <weft/spec.h>

struct socket_access {
	uid_t uid;   /* (uid_t)-1: unchanged */
	mode_t mode; /* 0660 unless the spec says otherwise */
};

/* From socketOwner and socketMode. 0, or -EINVAL with *e. */
int socket_access_of(const struct spec_port *spec, struct socket_access *a, struct error *e);

/* Give a socket file that exists to whom it belongs. 0 or -errno with *e. */
int socket_access_set(const char *path, const struct socket_access *a, struct error *e);

/*
 * Make room for a socket of type (SOCK_STREAM, SOCK_SEQPACKET) at path: what a dead process left is removed; a socket that answers, or
 * anything else, stays and is an error (-EADDRINUSE, -EEXIST).
 */
int socket_clear(const char *path, int type, struct error *e);

/* Would bind succeed at path, where nothing is? For who leaves binding to a library. 0, or -errno with *e. */
int socket_try_bind(const char *path, int type, struct error *e);

/*
 * The connection that a library has just made and keeps to itself: to our socket at path or, connected, to a peer's. Receiving the
 * rest of a message then fails after ms milliseconds, sending at once when the peer does not read. A descriptor of it that the caller
 * must close, or -1.
 */
int socket_adopt(const char *path, bool connected, unsigned int ms);

/* Bytes, with what the kernel adds, that the peer has not read. */
unsigned int socket_unread(int fd);

#endif
