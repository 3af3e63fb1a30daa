/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <grp.h>
#include <pwd.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>

#include "settings_key.h"

#define FILE_MAX (1u << 20)

void
settings_cpuset(cpu_set_t *set)
{
	CPU_ZERO(set);
	if (sched_getaffinity(0, sizeof(*set), set) < 0 || CPU_COUNT(set) == 0)
		CPU_SET(0, set);
}

const char *
settings_cpuset_text(const cpu_set_t *set, char *buf, size_t size)
{
	size_t n = 0;
	buf[0] = '\0';
	for (size_t i = 0, end; i < CPU_SETSIZE && n < size; i = end + 1) {
		end = i;
		if (!CPU_ISSET(i, set))
			continue;
		while (end + 1 < CPU_SETSIZE && CPU_ISSET(end + 1, set))
			end++;
		n += (size_t)snprintf(buf + n, size - n, "%s%zu", n > 0 ? "," : "", i);
		if (end > i && n < size)
			n += (size_t)snprintf(buf + n, size - n, "-%zu", end);
	}
	return buf;
}

static bool
is_worker(const struct settings *s, size_t core)
{
	for (unsigned int i = 0; i < s->n_cores; i++) {
		if (s->cores[i] == (int)core)
			return true;
	}
	return false;
}

/* Fill in whichever of the two was not given, from the other. */
static void
default_cores(struct settings *s, bool have_workers, bool have_control)
{
	cpu_set_t set;
	settings_cpuset(&set);
	if (!have_workers)
		s->n_cores = 0;
	if (!have_control) {
		s->control_core = -1;
		for (size_t i = 0; i < CPU_SETSIZE; i++) {
			if (!CPU_ISSET(i, &set))
				continue;
			if (s->control_core < 0)
				s->control_core = (int)i;
			if (!is_worker(s, i)) {
				s->control_core = (int)i;
				break;
			}
		}
	}
	if (have_workers)
		return;
	for (size_t i = 0; i < CPU_SETSIZE && s->n_cores < WEFT_MAX_WORKERS; i++) {
		if (CPU_ISSET(i, &set) && (int)i != s->control_core)
			s->cores[s->n_cores++] = (int)i;
	}
	if (s->n_cores == 0)
		s->cores[s->n_cores++] = s->control_core;
}

void
settings_default(struct settings *s)
{
	struct error e = {"", ""};
	struct origin builtin = {NULL, &e};
	memset(s, 0, sizeof(*s));
	for (unsigned int i = 0; i < settings_key_count; i++) {
		const struct key *k = &settings_keys[i];
		char text[512];
		config_t c;
		if (k->def == NULL)
			continue;
		snprintf(text, sizeof(text), "v = %s;", k->def);
		config_init(&c);
		/* A default that its own key refuses is a mistake in the table: nothing can be started with it. */
		if (!config_read_string(&c, text) || settings_decode(s, k, config_lookup(&c, "v"), &builtin) < 0) {
			fprintf(stderr, "weft: the default of %s is wrong: %s\n", k->path, e.text);
			abort();
		}
		config_destroy(&c);
	}
	default_cores(s, false, false);
	s->per_endpoint = s->connections / 4;
}

static const char *
skip_string(const char *p, unsigned int *line)
{
	for (p++; *p != '\0' && *p != '"'; p++) {
		if (*p == '\\' && p[1] != '\0')
			p++;
		*line += *p == '\n';
	}
	return *p == '"' ? p + 1 : p;
}

static const char *
skip_comment(const char *p, unsigned int *line)
{
	if (*p == '#' || p[1] == '/')
		return p + strcspn(p, "\n");
	for (p += 2; *p != '\0' && (p[0] != '*' || p[1] != '/'); p++)
		*line += *p == '\n';
	return *p == '\0' ? p : p + 2;
}

static int
check_number(const char *p, char **end, unsigned int line, const struct origin *o)
{
	errno = 0;
	long long n = strtoll(p, end, p[0] == '0' && (p[1] | 0x20) == 'x' ? 16 : 10);
	bool is_real = **end != '\0' && strchr(".eE", **end) != NULL;
	bool is_fit = **end == 'L' ? errno == 0 : errno == 0 && n >= INT_MIN && n <= INT_MAX;
	*end += strspn(*end, "0123456789abcdefABCDEF.xXL");
	if (!is_real && !is_fit)
		return settings_fail(o, line, "%.*s is too large a number", (int)(*end - p < 64 ? *end - p : 64), p);
	return 0;
}

/* libconfig 1.5 cuts numbers to 32 bits without a word (4294967297 reads as 1), and ends the process over an @include
 * of a folder. */
static int
check_text(const char *p, const struct origin *o)
{
	unsigned int line = 1;
	int rc;
	while (*p != '\0') {
		if (*p == '"') {
			p = skip_string(p, &line);
		} else if (*p == '#' || (*p == '/' && (p[1] == '/' || p[1] == '*'))) {
			p = skip_comment(p, &line);
		} else if (*p == '@') {
			return settings_fail(o, line, "@include is not supported: everything stands in one file");
		} else if (isdigit((unsigned char)*p)) {
			char *end;
			if ((rc = check_number(p, &end, line, o)) < 0)
				return rc;
			p = end;
		} else if (isalpha((unsigned char)*p) || *p == '*') {
			while (isalnum((unsigned char)*p) || (*p != '\0' && strchr("_-*", *p) != NULL))
				p++;
		} else {
			line += *p++ == '\n';
		}
	}
	return 0;
}

static int
read_text(const char *file, char **out, struct error *e)
{
	struct stat st;
	FILE *f = fopen(file, "re");
	if (f == NULL)
		return error_set(e, -errno, "%s: %s", file, strerror(errno));
	if (fstat(fileno(f), &st) == 0 && S_ISDIR(st.st_mode)) {
		fclose(f);
		return error_set(e, -EISDIR, "%s: is a folder, not a file", file);
	}
	char *text = malloc(FILE_MAX + 1);
	size_t n = text != NULL ? fread(text, 1, FILE_MAX + 1, f) : 0;
	int rc = text == NULL ? -ENOMEM : ferror(f) ? -EIO : 0;
	fclose(f);
	if (rc < 0)
		error_set(e, rc, "%s: %s", file, strerror(-rc));
	else if (n > FILE_MAX)
		rc = error_set(e, -EINVAL, "%s: is larger than %u bytes", file, FILE_MAX);
	else if (memchr(text, '\0', n) != NULL)
		rc = error_set(e, -EINVAL, "%s: is not text: it holds a zero byte", file);
	if (rc < 0) {
		free(text);
		return rc;
	}
	text[n] = '\0';
	*out = text;
	return 0;
}

/* The known keys and groups of a group ("workers"), or the known groups when it is "", for a message. */
static const char *
known(const char *group, char *buf, size_t size)
{
	size_t n = 0, len = strlen(group) + (group[0] != '\0');
	const char *last = "";
	buf[0] = '\0';
	for (unsigned int i = 0; i < settings_key_count && n < size; i++) {
		const char *path = settings_keys[i].path;
		if (strncmp(path, group, len > 0 ? len - 1 : 0) != 0 || (len > 0 && path[len - 1] != '.'))
			continue;
		size_t word = strcspn(path + len, ".");
		if (strncmp(path, last, len + word + 1) == 0)
			continue;
		n += (size_t)snprintf(buf + n, size - n, "%s%.*s", n > 0 ? ", " : "", (int)word, path + len);
		last = path;
	}
	return buf;
}

static bool
is_group(const char *path)
{
	char names[8];
	return known(path, names, sizeof(names))[0] != '\0';
}

static int
read_group(struct settings *s, config_setting_t *group, const char *name, bool *given, const struct origin *o)
{
	char names[512];
	unsigned int line = config_setting_source_line(group);
	if (!is_group(name))
		return settings_fail(o, line, "%.60s: unknown group (known: %s)", name, known("", names, sizeof(names)));
	if (config_setting_type(group) != CONFIG_TYPE_GROUP)
		return settings_fail(o, line, "%s: must be a group: %s = { ... };", name, config_setting_name(group));
	for (int i = 0; i < config_setting_length(group); i++) {
		config_setting_t *v = config_setting_get_elem(group, (unsigned int)i);
		const struct key *k = NULL;
		char path[128];
		snprintf(path, sizeof(path), "%s.%s", name, config_setting_name(v));
		for (unsigned int j = 0; k == NULL && j < settings_key_count; j++) {
			if (strcmp(settings_keys[j].path, path) == 0)
				k = &settings_keys[j];
		}
		if (k == NULL && !is_group(path))
			return settings_fail(o, config_setting_source_line(v), "%.80s: unknown key (known in %s: %s)",
					     path, name, known(name, names, sizeof(names)));
		int rc = k != NULL ? settings_decode(s, k, v, o) : read_group(s, v, path, given, o);
		if (rc < 0)
			return rc;
		if (k != NULL)
			given[k - settings_keys] = true;
	}
	return 0;
}

int
settings_read(struct settings *s, const char *file, struct error *e)
{
	struct origin o = {file, e};
	bool given[SETTINGS_KEY_MAX] = {false};
	char *text = NULL;
	config_t c;
	settings_default(s);
	int rc = read_text(file, &text, e);
	if (rc < 0)
		return rc;
	config_init(&c);
	rc = check_text(text, &o);
	if (rc == 0 && !config_read_string(&c, text))
		rc = settings_fail(&o, (unsigned int)config_error_line(&c), "%s", config_error_text(&c));
	config_setting_t *root = config_root_setting(&c);
	for (int i = 0; rc == 0 && i < config_setting_length(root); i++) {
		config_setting_t *group = config_setting_get_elem(root, (unsigned int)i);
		rc = read_group(s, group, config_setting_name(group), given, &o);
	}
	/* What depends on other keys when it is not given. The cores are the first two rows of the table. */
	if (rc == 0)
		default_cores(s, given[0], given[1]);
	for (unsigned int i = 0; rc == 0 && i < settings_key_count; i++) {
		if (settings_keys[i].offset == offsetof(struct settings, per_endpoint) && !given[i])
			s->per_endpoint = s->connections / 4;
	}
	config_destroy(&c);
	free(text);
	return rc;
}

static bool
in_group(const char *name, uid_t uid, gid_t gid)
{
	struct group *g = isdigit((unsigned char)name[0]) ? NULL : getgrnam(name);
	if (g == NULL && !isdigit((unsigned char)name[0]))
		return false;
	gid_t want = g != NULL ? g->gr_gid : (gid_t)strtoul(name, NULL, 10);
	if (want == gid)
		return true;
	struct passwd *p = getpwuid(uid);
	gid_t list[256];
	int n = 256;
	if (p == NULL || getgrouplist(p->pw_name, p->pw_gid, list, &n) < 0)
		return false;
	for (int i = 0; i < n; i++) {
		if (list[i] == want)
			return true;
	}
	return false;
}

static bool
is_user(const char *who, uid_t uid)
{
	if (isdigit((unsigned char)who[0]))
		return strtoul(who, NULL, 10) == uid;
	struct passwd *p = getpwnam(who);
	return p != NULL && p->pw_uid == uid;
}

enum mgmt_role
settings_role_of(const struct settings *s, uid_t uid, gid_t gid)
{
	/* Whose process it is need not ask it. */
	if (uid != 0 && uid == geteuid())
		return MGMT_ADMIN;
	for (unsigned int i = 0; i < s->n_roles; i++) {
		const char *who = s->roles[i].who;
		if (strcmp(who, "*") == 0 || (who[0] == '@' ? in_group(who + 1, uid, gid) : is_user(who, uid)))
			return s->roles[i].role;
	}
	return MGMT_NOBODY;
}
