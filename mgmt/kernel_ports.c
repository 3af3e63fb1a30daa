/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel_ports.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define RESERVED "net.ipv4.ip_local_reserved_ports"
#define RANGE "net.ipv4.ip_local_port_range"
#define CANNOT RESERVED " cannot be made to cover it, as it must where the node's kernel uses the same address: %s"
/* The kernel takes a page at a time. */
#define LIST_MAX 4000
/* Fewer ports than this to choose from, and the node's own connections are in danger. */
#define ENOUGH 1024u
#define LOW_FIRST 10000u

static int
read_file(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t at = 0;
	ssize_t n;
	while (at + 1 < size && (n = read(fd, out + at, size - 1 - at)) > 0)
		at += (size_t)n;
	close(fd);
	out[at] = '\0';
	return 0;
}

static int
write_file(const char *path, int flags, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | flags, 0600);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	int rc = n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
	close(fd);
	return rc;
}

static int
reserved_now(const struct kernel_ports *k, struct port_set *now)
{
	const size_t size = 512 * 1024; /* every other port by itself */
	char *text = malloc(size);
	if (text == NULL)
		abort();
	int rc = read_file(k->reserved_path, text, size);
	if (rc == 0 && !port_set_parse(now, text))
		rc = -EINVAL;
	free(text);
	return rc;
}

static int
reserve(const struct kernel_ports *k, const struct port_set *all)
{
	char list[LIST_MAX];
	port_set_format(all, list, sizeof(list) - 1);
	strcat(list, "\n"); /* an empty write would change nothing */
	return write_file(k->reserved_path, 0, list);
}

static bool
is_empty(const struct port_set *s)
{
	static const struct port_set none;
	return memcmp(s, &none, sizeof(none)) == 0;
}

/*
 * The record: four lines, boot id, ports, range before, range set. Renamed into place: a process that is killed leaves
 * the old one or the new one. There is no fsync: what loses the page cache loses the sysctls as well.
 */
static int
record(const struct kernel_ports *k, const struct port_set *ours)
{
	char list[LIST_MAX], text[LIST_MAX + 256], new[PATH_MAX];
	if (k->record_path[0] == '\0')
		return 0;
	if (is_empty(ours) && k->range_set[0] == '\0')
		return unlink(k->record_path) == 0 || errno == ENOENT ? 0 : -errno;
	port_set_format(ours, list, sizeof(list));
	snprintf(text, sizeof(text), "%s\n%s\n%s\n%s\n", k->boot, list, k->range_before, k->range_set);
	if ((size_t)snprintf(new, sizeof(new), "%s.new", k->record_path) >= sizeof(new))
		return -ENAMETOOLONG;
	int rc = write_file(new, O_CREAT | O_NOFOLLOW, text);
	return rc == 0 && rename(new, k->record_path) < 0 ? -errno : rc;
}

static void
copy_line(char **text, char *out, size_t size)
{
	size_t n = strcspn(*text, "\n");
	snprintf(out, size, "%.*s", (int)n, *text);
	*text += n + ((*text)[n] == '\n');
}

static void
read_record(struct kernel_ports *k)
{
	char text[LIST_MAX + 256], boot[sizeof(k->boot)], list[LIST_MAX], *at = text;
	if (read_file(k->record_path, text, sizeof(text)) < 0)
		return;
	copy_line(&at, boot, sizeof(boot));
	copy_line(&at, list, sizeof(list));
	if (strcmp(boot, k->boot) != 0 || !port_set_parse(&k->ours, list)) {
		memset(&k->ours, 0, sizeof(k->ours));
		return;
	}
	copy_line(&at, k->range_before, sizeof(k->range_before));
	copy_line(&at, k->range_set, sizeof(k->range_set));
}

void
kernel_ports_init(struct kernel_ports *k, const char *sysctl_dir, const char *state_dir, const char *boot)
{
	const char *dir = sysctl_dir != NULL ? sysctl_dir : "/proc/sys/net/ipv4";
	memset(k, 0, sizeof(*k));
	snprintf(k->reserved_path, sizeof(k->reserved_path), "%s/ip_local_reserved_ports", dir);
	snprintf(k->range_path, sizeof(k->range_path), "%s/ip_local_port_range", dir);
	snprintf(k->boot, sizeof(k->boot), "%s", boot);
	if (state_dir == NULL)
		return;
	snprintf(k->record_path, sizeof(k->record_path), "%s/kernel-ports", state_dir);
	read_record(k);
}

struct range {
	unsigned int low, high;
};

static bool
parse_range(const char *text, struct range *r)
{
	return sscanf(text, "%u %u", &r->low, &r->high) == 2 && r->low <= r->high && r->high <= UINT16_MAX;
}

static unsigned int
left_of(struct range r, const struct port_set *reserved)
{
	return r.high - r.low + 1 - port_set_count(reserved, (uint16_t)r.low, (uint16_t)r.high);
}

static void
format_range(struct range r, char out[32])
{
	snprintf(out, 32, "%u %u", r.low, r.high);
}

/* The range as it was, if that will do, and nobody else has set it since; *now is what it is then. */
static void
restore_range(struct kernel_ports *k, struct range *now, const struct port_set *reserved)
{
	struct range before;
	char text[sizeof(k->range_set)];
	format_range(*now, text);
	bool still_ours = strcmp(text, k->range_set) == 0 && parse_range(k->range_before, &before);
	if (still_ours && reserved != NULL && left_of(before, reserved) < ENOUGH)
		return;
	if (still_ours && write_file(k->range_path, 0, k->range_before) == 0)
		*now = before;
	k->range_before[0] = k->range_set[0] = '\0';
}

/* *r as it would begin lower; -EBUSY when that is not enough either. */
static int
lower(struct range *r, const struct port_set *reserved, struct error *e)
{
	char text[32];
	format_range(*r, text);
	r->low = r->low < LOW_FIRST ? r->low : LOW_FIRST;
	unsigned int left = left_of(*r, reserved);
	return left >= ENOUGH
		       ? 0
		       : error_set(e, -EBUSY, "only %u ports of %s (%s) would be left to the node itself: make portRange smaller", left, RANGE, text);
}

static int
begin_lower(struct kernel_ports *k, struct range r, const struct port_set *reserved, struct error *e)
{
	char before[sizeof(k->range_before)], now[sizeof(k->range_set)];
	format_range(r, before);
	int rc = lower(&r, reserved, e);
	if (rc < 0)
		return rc;
	format_range(r, now);
	if (k->range_before[0] == '\0')
		memcpy(k->range_before, before, sizeof(before));
	memcpy(k->range_set, now, sizeof(now));
	rc = record(k, &k->ours);
	if (rc == 0)
		rc = write_file(k->range_path, 0, now);
	return rc == 0 ? 0
		       : error_set(e, rc,
				   "only a few ports of %s (%s) would be left to the node itself, and it cannot be set "
				   "to %s: %s",
				   RANGE, before, now, strerror(-rc));
}

static int
read_range(const struct kernel_ports *k, struct range *now, struct error *e)
{
	char text[64];
	int rc = read_file(k->range_path, text, sizeof(text));
	if (rc == 0 && !parse_range(text, now))
		rc = -EINVAL;
	return rc == 0 ? 0 : error_set(e, rc, "%s cannot be read: %s", RANGE, strerror(-rc));
}

/* The kernel must have ports left. `reserved`: what is kept from it; NULL: nothing of ours. */
static int
leave_enough(struct kernel_ports *k, const struct port_set *reserved, struct error *e)
{
	struct range now;
	if (reserved == NULL && k->range_set[0] == '\0')
		return 0;
	int rc = read_range(k, &now, e);
	if (rc < 0)
		return rc;
	if (k->range_set[0] != '\0')
		restore_range(k, &now, reserved);
	return reserved == NULL || left_of(now, reserved) >= ENOUGH ? 0 : begin_lower(k, now, reserved, e);
}

static void
without(const struct port_set *a, const struct port_set *b, struct port_set *out)
{
	for (unsigned int i = 0; i < PORT_SET_WORDS; i++)
		out->w[i] = a->w[i] & ~b->w[i];
}

static void
unite(const struct port_set *a, const struct port_set *b, struct port_set *out)
{
	for (unsigned int i = 0; i < PORT_SET_WORDS; i++)
		out->w[i] = a->w[i] | b->w[i];
}

/* `want` beside what others have put there; *now: what is reserved, before and after. The record covers what was ours
 * and what will be until it is done. */
static int
change(struct kernel_ports *k, const struct port_set *want, struct port_set *now, struct error *e)
{
	struct port_set others, either, all;
	int rc = reserved_now(k, now);
	if (rc == 0) {
		without(now, &k->ours, &others);
		unite(&others, want, &all);
		without(&all, &others, &either);
		unite(&either, &k->ours, &either);
		rc = memcmp(&either, &k->ours, sizeof(either)) != 0 ? record(k, &either) : 0;
		if (rc < 0)
			return error_set(e, rc, "%s cannot be written: %s", k->record_path, strerror(-rc));
		if (memcmp(&all, now, sizeof(all)) != 0)
			rc = reserve(k, &all);
	}
	if (rc == 0)
		rc = reserved_now(k, now);
	if (rc < 0)
		return error_set(e, rc, CANNOT, strerror(-rc));
	/* A list that was too long has grown by small gaps: they are ours as well. */
	without(now, &others, &k->ours);
	return 0;
}

int
kernel_ports_set(struct kernel_ports *k, const struct port_set *must, const struct port_set *may, const struct port_set *keep,
		 struct error *e)
{
	if (is_empty(must) && is_empty(may) && is_empty(&k->ours) && k->range_set[0] == '\0')
		return 0;
	struct port_set want, leaving = {{0}}, now;
	unite(must, may, &want);
	if (keep != NULL)
		without(keep, &want, &leaving);
	unite(&want, &leaving, &want);
	int rc = change(k, &want, &now, e);
	if (rc == 0 && !port_set_covers(&now, must))
		rc = error_set(e, -EIO, CANNOT, "it is not there when read back");
	if (rc < 0)
		return is_empty(must) ? 0 : rc; /* on the others nothing depends */
	without(&now, &leaving, &now);
	rc = leave_enough(k, is_empty(must) ? NULL : &now, e);
	record(k, &k->ours);
	return rc;
}

int
kernel_ports_check(const struct kernel_ports *k, const struct port_set *must, const struct port_set *may, struct error *e)
{
	struct port_set now, all;
	struct range range;
	if (is_empty(must))
		return 0;
	int rc = reserved_now(k, &now);
	if (rc < 0)
		return error_set(e, rc, "%s cannot be read: %s", RESERVED, strerror(-rc));
	without(&now, &k->ours, &all);
	unite(&all, must, &all);
	unite(&all, may, &all);
	rc = read_range(k, &range, e);
	return rc < 0 || left_of(range, &all) >= ENOUGH ? rc : lower(&range, &all, e);
}
