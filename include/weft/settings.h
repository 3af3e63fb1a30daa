/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /etc/weft/weft.conf (libconfig): what must be known before the switch starts. Everything else is an object (spec.h).
 * Every key has a default, so an empty or missing file works; an unknown key is an error that names file, line and key.
 * One table (mgmt/settings.c) declares the keys; --check, the defaults and docs/weft.conf.md come from it.
 *
 * To be called before EAL pins the calling thread: cores are judged by the cpuset of the moment.
 */
#ifndef WEFT_SETTINGS_H
#define WEFT_SETTINGS_H

#include <sys/types.h>

#include <weft/base.h>
#include <weft/conn.h>
#include <weft/mgmt.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SETTINGS_ROLE_MAX 64

struct settings_role {
	char who[64];           /* "root", "1000", "@group", or "*" for anybody */
	enum mgmt_role role;
};

struct settings {
	/* workers = { cores = [2, 3]; control_core = 0; new_connections_per_second = 200000; new_connections_burst = 20000; } */
	unsigned int n_cores;
	int cores[WEFT_MAX_WORKERS]; /* default: the process's cpuset without the control core; the one core when there is only one */
	int control_core;            /* default: the lowest core of the cpuset that no worker has; the lowest of all if they have all */
	unsigned int new_connections_per_second, new_connections_burst;
	/* memory = { hugepages = "auto" | "yes" | "no"; megabytes = 512; mbufs = 65536; } */
	enum { HUGEPAGES_AUTO, HUGEPAGES_YES, HUGEPAGES_NO } hugepages;
	unsigned int megabytes;
	unsigned int mbufs;
	/* tables = { connections = 1048576; } */
	unsigned int connections;
	/* connections = { per_endpoint = 262144; pickup = false; tcp_windows = "loose"; timeouts = { udp = 30; ... }; } */
	unsigned int per_endpoint;   /* default: a quarter of tables.connections; 0: no limit */
	bool pickup;
	enum { WINDOWS_LOOSE, WINDOWS_STRICT } tcp_windows;
	struct conn_timeouts timeouts;
	/* control = { socket = "/run/weft/control.sock"; mode = "0660"; group = "weft"; roles = ( { who = "root"; role = "admin"; } ); } */
	char socket[108];
	mode_t socket_mode;
	char socket_group[64];       /* used when it exists; "" none */
	struct settings_role roles[SETTINGS_ROLE_MAX]; /* default: root is admin, @weft operator, anybody else who can open the socket read-only */
	unsigned int n_roles;
	/* state = { directory = "/var/lib/weft"; } */
	char state_dir[256];
	/* ports = { socket_directory = "/run/weft/ports"; any_socket_path = false; } */
	char port_socket_dir[96];
	bool any_socket_path;
	/* log = { level = "info"; }   error | warning | info | debug */
	int log_level;               /* syslog's LOG_ERR .. LOG_DEBUG */
};

/* Defaults for this machine and cpuset. */
void settings_default(struct settings *s);
/*
 * Read a file over the defaults (which it sets first). -ENOENT: no such file, and *s holds the defaults. -EINVAL: e->text is
 * "FILE:LINE: KEY: what is allowed"; another -errno when the file cannot be read.
 */
int settings_read(struct settings *s, const char *file, struct error *e);
/*
 * What a peer may do: the role of the first entry of `roles` that names the uid, or a group that the uid or gid belongs to (asks
 * the user database); MGMT_NOBODY when none does.
 */
enum mgmt_role settings_role_of(const struct settings *s, uid_t uid, gid_t gid);
/* The reference of every key, as Markdown: docs/weft.conf.md is this text. */
void settings_describe(FILE *out);

#ifdef __cplusplus
}
#endif

#endif
