/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <syslog.h>

#include <weft/tcp_state.h>

#include "settings_key.h"

static const struct key_word hugepage_words[] = {
	{"auto", HUGEPAGES_AUTO}, {"yes", HUGEPAGES_YES}, {"no", HUGEPAGES_NO}, {NULL, 0}};
static const struct key_word level_words[] = {
	{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}, {NULL, 0}};
static const struct key_word role_words[] = {{"nobody", MGMT_NOBODY},
					     {"read-only", MGMT_READ_ONLY},
					     {"operator", MGMT_OPERATOR},
					     {"admin", MGMT_ADMIN},
					     {NULL, 0}};

static const struct key_word window_words[] = {{"loose", WINDOWS_LOOSE}, {"strict", WINDOWS_STRICT}, {NULL, 0}};

#define AT(member) offsetof(struct settings, member), sizeof(((struct settings *)0)->member)

#define TIMEOUT(name, member, def, what)                                                                                \
	{"connections.timeouts." name, KEY_UINT, AT(timeouts.member), 1, CONN_TIMEOUT_MAX, NULL, def, NULL,             \
	 "Seconds without a packet until the switch forgets " what "."}

const struct key settings_keys[] = {
	{"workers.cores", KEY_CORES, AT(cores), 1, WEFT_MAX_WORKERS, NULL, NULL,
	 "every core of the process's cpuset but the control core; that one when there is no other",
	 "The cores that poll ports, one worker each. A worker takes its core whole. Let others serve the interrupts of devices "
	 "(/proc/interrupts, /proc/irq/N/smp_affinity): those of a busy disk keep a worker from its ports for up to a millisecond."},
	{"workers.control_core", KEY_CORE, AT(control_core), 0, 0, NULL, NULL,
	 "the lowest core of the process's cpuset that no worker has; the lowest of all if they have all",
	 "The core of everything that is not a worker. It may be a worker's, too: the two then share it."},
	{"workers.new_connections_per_second", KEY_UINT, AT(new_connections_per_second), 1, 100000000, NULL, "200000",
	 NULL, "How many connections a port may open in a second; what is beyond is dropped as `new_rate`."},
	{"workers.new_connections_burst", KEY_UINT, AT(new_connections_burst), 1, 100000000, NULL, "20000", NULL,
	 "How many connections a port may open at once after it was quiet."},
	{"memory.hugepages", KEY_WORD, AT(hugepages), 0, 0, hugepage_words, "\"auto\"", NULL,
	 "Whether packet memory and tables lie in hugepages: `auto` takes them if there are enough, `yes` refuses to "
	 "start "
	 "without, `no` leaves them alone."},
	{"memory.megabytes", KEY_UINT, AT(megabytes), 64, 1048576, NULL, "512", NULL, "DPDK's memory, in MiB."},
	{"memory.mbufs", KEY_UINT, AT(mbufs), 1024, 16777216, NULL, "65536", NULL,
	 "Packet buffers, shared by all ports; each takes about 2.3 KiB of `memory.megabytes`."},
	{"tables.connections", KEY_UINT, AT(connections), 1024, 134217728, NULL, "1048576", NULL,
	 "How many connections are tracked at once."},
	{"connections.per_endpoint", KEY_UINT, AT(per_endpoint), 0, 134217728, NULL, NULL,
	 "a quarter of `tables.connections`",
	 "How many of them one endpoint may have opened; the node, each remote node, and all clients from outside together, "
	 "count like an endpoint. Beyond it, a connection of its own that was never answered makes room, or the new one is "
	 "dropped as `connections_quota`. 0: no limit."},
	{"connections.pickup", KEY_BOOL, AT(pickup), 0, 0, NULL, "false", NULL,
	 "Whether a TCP segment or an SCTP packet from the middle of a conversation that the switch does not know, after a restart, may open a "
	 "connection when policy lets it. Never what goes to a service: its backend cannot be known."},
	{"connections.tcp_windows", KEY_WORD, AT(tcp_windows), 0, 0, window_words, "\"loose\"", NULL,
	 "What becomes of a TCP segment outside the window that its receiver offers: `loose` passes it, for its receiver to "
	 "judge, and learns nothing from it; `strict` drops it as `invalid_window`. A reset is dropped in either case."},
	TIMEOUT("tcp_syn_sent", tcp[TCP_STATE_SYN_SENT], "30", "a TCP connection that was not answered"),
	TIMEOUT("tcp_syn_sent2", tcp[TCP_STATE_SYN_SENT2], "30", "a TCP connection that both sides opened at once"),
	TIMEOUT("tcp_syn_received", tcp[TCP_STATE_SYN_RECV], "30", "a TCP connection whose opener has not acknowledged the answer"),
	TIMEOUT("tcp_established", tcp[TCP_STATE_ESTABLISHED], "432000", "an established TCP connection (five days)"),
	TIMEOUT("tcp_fin_wait", tcp[TCP_STATE_FIN_WAIT], "120", "a TCP connection that one side has closed"),
	TIMEOUT("tcp_close_wait", tcp[TCP_STATE_CLOSE_WAIT], "60", "a TCP connection that one side has closed and the other acknowledged"),
	TIMEOUT("tcp_last_ack", tcp[TCP_STATE_LAST_ACK], "30", "a TCP connection that both sides have closed"),
	TIMEOUT("tcp_time_wait", tcp[TCP_STATE_TIME_WAIT], "120", "a TCP connection whose end is acknowledged"),
	TIMEOUT("tcp_close", tcp[TCP_STATE_CLOSE], "10", "a TCP connection that was reset"),
	TIMEOUT("sctp_cookie_wait", sctp[SCTP_STATE_COOKIE_WAIT], "3", "an SCTP association that has only begun"),
	TIMEOUT("sctp_cookie_echoed", sctp[SCTP_STATE_COOKIE_ECHOED], "3", "an SCTP association whose cookie is not acknowledged"),
	TIMEOUT("sctp_established", sctp[SCTP_STATE_ESTABLISHED], "210", "an established SCTP association"),
	TIMEOUT("sctp_shutdown", sctp[SCTP_STATE_SHUTDOWN], "3", "an SCTP association that one side has shut down"),
	TIMEOUT("sctp_shutdown_ack", sctp[SCTP_STATE_SHUTDOWN_ACK], "3", "an SCTP association that both sides have shut down"),
	TIMEOUT("sctp_closed", sctp[SCTP_STATE_CLOSED], "10", "an SCTP association that is over"),
	TIMEOUT("sctp_heartbeat", sctp[SCTP_STATE_HEARTBEAT], "30", "a path of an SCTP association that was not answered"),
	TIMEOUT("udp", udp, "30", "a UDP conversation without an answer"),
	TIMEOUT("udp_answered", udp_answered, "120", "a UDP conversation with an answer"),
	TIMEOUT("udp_dns", udp_dns, "10", "a UDP conversation with port 53 that has as many answers as questions"),
	TIMEOUT("icmp", icmp, "30", "a ping"),
	TIMEOUT("other", other, "600", "what two addresses say to each other by any other protocol"),
	{"control.socket", KEY_PATH, AT(socket), 0, 0, NULL, "\"/run/weft/control.sock\"", NULL,
	 "The control socket. Its folder is created (0750, the same group) when it is missing."},
	{"control.mode", KEY_MODE, AT(socket_mode), 0, 0, NULL, "\"0660\"", NULL, "The socket's permission bits."},
	{"control.group", KEY_TEXT, AT(socket_group), 0, 0, NULL, "\"weft\"", NULL,
	 "The socket's group, when there is such a group; \"\" leaves it as it is."},
	{"control.roles", KEY_ROLES, AT(roles), 1, SETTINGS_ROLE_MAX, role_words,
	 "( { who = \"root\"; role = \"admin\"; }, { who = \"@weft\"; role = \"operator\"; }, { who = \"*\"; role = "
	 "\"read-only\"; } )",
	 NULL,
	 "What the user at the other end of the socket may do; the first entry that fits decides, and who fits none is "
	 "refused. A switch that runs as another user than root has that user for an admin. `who` "
	 "is a user, a uid, `@` and a group, or `*` for anybody."},
	{"state.directory", KEY_PATH, AT(state_dir), 0, 0, NULL, "\"/var/lib/weft\"", NULL,
	 "Where applied objects are kept. One switch at a time may use it."},
	{"ports.socket_directory", KEY_PATH, AT(port_socket_dir), 0, 0, NULL, "\"/run/weft/ports\"", NULL,
	 "Where the sockets of vhost-user and memif ports lie; relative names of a Port's `socket` start here."},
	{"ports.any_socket_path", KEY_BOOL, AT(any_socket_path), 0, 0, NULL, "false", NULL,
	 "Whether a Port may name a socket outside `ports.socket_directory`."},
	{"log.level", KEY_WORD, AT(log_level), 0, 0, level_words, "\"info\"", NULL,
	 "The least serious message that is logged."},
};
const unsigned int settings_key_count = sizeof(settings_keys) / sizeof(settings_keys[0]);

int
settings_fail(const struct origin *o, unsigned int line, const char *fmt, ...)
{
	char text[sizeof(o->e->text)];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(o->e, -EINVAL, "%s:%u: %s", o->file != NULL ? o->file : "built-in", line, text);
}

#define FAIL(o, v, ...) settings_fail(o, config_setting_source_line(v), __VA_ARGS__)

static int
decode_number(config_setting_t *v, const char *where, long min, long max, long *out, const struct origin *o)
{
	int type = config_setting_type(v);
	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
		return FAIL(o, v, "%s: must be a whole number in %ld..%ld", where, min, max);
	long long n = config_setting_get_int64(v);
	if (n < min || n > max)
		return FAIL(o, v, "%s: %lld is not in %ld..%ld", where, n, min, max);
	*out = (long)n;
	return 0;
}

static void
words_text(const struct key_word *w, char *buf, size_t size)
{
	size_t n = 0;
	for (buf[0] = '\0'; w->name != NULL && n < size; w++)
		n += (size_t)snprintf(buf + n, size - n, "\"%s\"%s", w->name, w[1].name == NULL ? "" : ", ");
}

static int
decode_word(config_setting_t *v, const char *where, const struct key_word *words, int *out, const struct origin *o)
{
	const char *text = config_setting_get_string(v);
	char allowed[128];
	for (const struct key_word *w = words; text != NULL && w->name != NULL; w++) {
		if (strcmp(w->name, text) == 0) {
			*out = w->value;
			return 0;
		}
	}
	words_text(words, allowed, sizeof(allowed));
	if (text == NULL)
		return FAIL(o, v, "%s: must be one of %s", where, allowed);
	return FAIL(o, v, "%s: \"%.40s\" is not one of %s", where, text, allowed);
}

/* Names of users and groups as useradd(8) takes them, a little wider. */
static bool
is_name(const char *s)
{
	for (; *s != '\0'; s++) {
		if (!isalnum((unsigned char)*s) && strchr("._-$@+\\", *s) == NULL)
			return false;
	}
	return true;
}

static int
decode_text(config_setting_t *v, const char *where, size_t size, char *out, const struct origin *o)
{
	const char *text = config_setting_get_string(v);
	if (text == NULL)
		return FAIL(o, v, "%s: must be a string", where);
	if (strlen(text) >= size || !is_name(text))
		return FAIL(o, v, "%s: must be a name of at most %zu letters, digits or . _ - $", where, size - 1);
	strcpy(out, text);
	return 0;
}

static int
decode_path(config_setting_t *v, const char *where, size_t size, char *out, const struct origin *o)
{
	const char *text = config_setting_get_string(v);
	if (text == NULL || text[0] != '/')
		return FAIL(o, v, "%s: must be an absolute path, a string that starts with /", where);
	if (strlen(text) >= size)
		return FAIL(o, v, "%s: is longer than %zu bytes", where, size - 1);
	for (const char *p = text; *p != '\0'; p++) {
		if (iscntrl((unsigned char)*p))
			return FAIL(o, v, "%s: must not hold control characters", where);
	}
	strcpy(out, text);
	return 0;
}

static int
decode_mode(config_setting_t *v, const char *where, mode_t *out, const struct origin *o)
{
	/* Numbers are refused since libconfig reads 0660 as six hundred and sixty. */
	const char *text = config_setting_get_string(v);
	if (text == NULL || strlen(text) < 3 || strlen(text) > 4 || strspn(text, "01234567") != strlen(text))
		return FAIL(o, v, "%s: must be a string of octal digits such as \"0660\"", where);
	unsigned long mode = strtoul(text, NULL, 8);
	if (mode > 0777 || (mode & 0600) != 0600)
		return FAIL(o, v, "%s: \"%s\" is not in \"0600\"..\"0777\", readable and writable by its owner", where,
			    text);
	*out = (mode_t)mode;
	return 0;
}

static int
decode_core(config_setting_t *v, const char *where, int *out, const struct origin *o)
{
	cpu_set_t set;
	char text[128];
	settings_cpuset(&set);
	settings_cpuset_text(&set, text, sizeof(text));
	int type = config_setting_type(v);
	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
		return FAIL(o, v, "%s: must be a core of this process (%s)", where, text);
	long long n = config_setting_get_int64(v);
	if (n < 0 || n >= CPU_SETSIZE || !CPU_ISSET((size_t)n, &set))
		return FAIL(o, v, "%s: %lld is not a core of this process (%s)", where, n, text);
	*out = (int)n;
	return 0;
}

static int
list_length(config_setting_t *v, const struct key *k, const char *of, const struct origin *o)
{
	int n = config_setting_length(v), type = config_setting_type(v);
	if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST)
		return FAIL(o, v, "%s: must be a list of %s", k->path, of);
	if (n < k->min || n > k->max)
		return FAIL(o, v, "%s: must have %ld..%ld members, not %d", k->path, k->min, k->max, n);
	return n;
}

static int
decode_cores(struct settings *s, const struct key *k, config_setting_t *v, const struct origin *o)
{
	int rc, n = list_length(v, k, "cores such as [2, 3]", o);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		char where[64];
		config_setting_t *item = config_setting_get_elem(v, (unsigned int)i);
		snprintf(where, sizeof(where), "%s[%d]", k->path, i);
		if ((rc = decode_core(item, where, &s->cores[i], o)) < 0)
			return rc;
		for (int j = 0; j < i; j++) {
			if (s->cores[j] == s->cores[i])
				return FAIL(o, item, "%s: core %d is already %s[%d]", where, s->cores[i], k->path, j);
		}
	}
	s->n_cores = (unsigned int)n;
	return 0;
}

/* A typo in a role must not pass as "nobody is that"; the defaults may name a group that this machine lacks. */
static bool
is_known(const char *who)
{
	bool group = who[0] == '@';
	const char *name = who + group;
	if (strcmp(who, "*") == 0)
		return true;
	if (isdigit((unsigned char)name[0]))
		return strspn(name, "0123456789") == strlen(name) && strtoull(name, NULL, 10) < UINT32_MAX;
	return group ? getgrnam(name) != NULL : getpwnam(name) != NULL;
}

static int
decode_role(struct settings_role *r, const struct key *k, const char *at, config_setting_t *v, const struct origin *o)
{
	char where[80];
	int rc, role, type = config_setting_type(v);
	if (type != CONFIG_TYPE_GROUP)
		return FAIL(o, v, "%s: must be a group such as { who = \"root\"; role = \"admin\"; }", at);
	for (int i = 0; i < config_setting_length(v); i++) {
		config_setting_t *m = config_setting_get_elem(v, (unsigned int)i);
		const char *name = config_setting_name(m);
		if (strcmp(name, "who") != 0 && strcmp(name, "role") != 0)
			return FAIL(o, m, "%s.%.40s: unknown key (known: who, role)", at, name);
	}
	config_setting_t *who = config_setting_get_member(v, "who"), *what = config_setting_get_member(v, "role");
	if (who == NULL || what == NULL)
		return FAIL(o, v, "%s: needs `who` and `role`", at);
	snprintf(where, sizeof(where), "%s.who", at);
	const char *text = config_setting_get_string(who);
	if (text != NULL && strcmp(text, "*") == 0)
		strcpy(r->who, text);
	else if ((rc = decode_text(who, where, sizeof(r->who), r->who, o)) < 0)
		return rc;
	if (r->who[r->who[0] == '@'] == '\0')
		return FAIL(o, who, "%s: must be a user, a uid, @group or *", where);
	if (o->file != NULL && !is_known(r->who))
		return FAIL(o, who, "%s: this machine has no %s", where, r->who[0] == '@' ? "such group" : "such user");
	snprintf(where, sizeof(where), "%s.role", at);
	if ((rc = decode_word(what, where, k->words, &role, o)) < 0)
		return rc;
	r->role = (enum mgmt_role)role;
	return 0;
}

static int
decode_roles(struct settings *s, const struct key *k, config_setting_t *v, const struct origin *o)
{
	int n = list_length(v, k, "groups such as ( { who = \"root\"; role = \"admin\"; } )", o);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		char where[64];
		snprintf(where, sizeof(where), "%s[%d]", k->path, i);
		int rc = decode_role(&s->roles[i], k, where, config_setting_get_elem(v, (unsigned int)i), o);
		if (rc < 0)
			return rc;
	}
	s->n_roles = (unsigned int)n;
	return 0;
}

int
settings_decode(struct settings *s, const struct key *k, config_setting_t *v, const struct origin *o)
{
	void *at = (char *)s + k->offset;
	long n = 0;
	int rc;
	switch (k->type) {
	case KEY_UINT:
		if ((rc = decode_number(v, k->path, k->min, k->max, &n, o)) == 0)
			*(unsigned int *)at = (unsigned int)n;
		return rc;
	case KEY_BOOL:
		if (config_setting_type(v) != CONFIG_TYPE_BOOL)
			return FAIL(o, v, "%s: must be true or false", k->path);
		*(bool *)at = config_setting_get_bool(v) != 0;
		return 0;
	case KEY_WORD:
		return decode_word(v, k->path, k->words, at, o);
	case KEY_TEXT:
		return decode_text(v, k->path, k->size, at, o);
	case KEY_PATH:
		return decode_path(v, k->path, k->size, at, o);
	case KEY_MODE:
		return decode_mode(v, k->path, at, o);
	case KEY_CORE:
		return decode_core(v, k->path, at, o);
	case KEY_CORES:
		return decode_cores(s, k, v, o);
	case KEY_ROLES:
		return decode_roles(s, k, v, o);
	}
	return -EINVAL;
}
