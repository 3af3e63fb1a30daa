/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: JSON-RPC 2.0 over a Unix stream socket, one JSON document per line. One thread talks to all clients
 * (epoll, non-blocking), one runs the verbs that build, so that a long apply delays nobody's status.
 */
#ifndef WEFT_SERVER_H
#define WEFT_SERVER_H

#include <sys/types.h>

#include <weft/mgmt.h>

#ifdef __cplusplus
extern "C" {
#endif

struct server_limits {     /* zero: the default */
	size_t request_max;        /* bytes; 4 MiB */
	size_t admin_request_max;  /* bytes; 64 MiB */
	unsigned int depth_max;    /* nesting; 64 */
	unsigned int clients_max;  /* 64 */
	unsigned int idle_ms;      /* a begun request must be complete within it; 10 s. Silence between requests: 10 minutes */
	unsigned int silent_ms;    /* 600 s */
	size_t backlog_max;        /* unsent answer bytes; 64 MiB; then the client is cut off */
};

struct server_options {
	const char *path;          /* "/run/weft/control.sock" */
	mode_t mode;               /* 0660 */
	const char *group;         /* NULL: unchanged */
	struct server_limits limits;
	/* The role of a peer by its uid and gid (SO_PEERCRED). */
	enum mgmt_role (*role)(uid_t uid, gid_t gid, void *arg);
	void *arg;
	struct mgmt *mgmt;
};

struct server;
/* 0, or -errno with *e: -EADDRINUSE when a live server answers at path; -EEXIST when path is not a socket. A stale socket is replaced. */
int server_start(struct server **out, const struct server_options *o, struct error *e);
/* Answers what was being built, closes all clients, unlinks the socket. */
void server_stop(struct server *s);

#ifdef __cplusplus
}
#endif

#endif
