/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel_ports.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define RESERVED "net.ipv4.ip_local_reserved_ports"
#define RANGE "net.ipv4.ip_local_port_range"
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
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

static int
write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	int rc = n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
	close(fd);
	return rc;
}

static const char *
reserved_path(const struct kernel_ports *k)
{
	return k->reserved_path != NULL ? k->reserved_path : "/proc/sys/net/ipv4/ip_local_reserved_ports";
}

static const char *
range_path(const struct kernel_ports *k)
{
	return k->range_path != NULL ? k->range_path : "/proc/sys/net/ipv4/ip_local_port_range";
}

/* What the kernel has, in `text` (at least 64 KiB) and as a set. */
static int
reserved_now(const struct kernel_ports *k, char *text, size_t size, struct port_set *now)
{
	int rc = read_file(reserved_path(k), text, size);
	if (rc == 0 && !port_set_parse(now, text))
		rc = -EINVAL;
	return rc;
}

static int
reserve(const struct kernel_ports *k, const struct port_set *all)
{
	char list[LIST_MAX];
	port_set_format(all, list, sizeof(list) - 1);
	strcat(list, "\n"); /* an empty write would change nothing */
	return write_file(reserved_path(k), list);
}

/* The kernel must have ports left. `reserved`: what is kept from it. */
static int
leave_enough(struct kernel_ports *k, const struct port_set *reserved, struct error *e)
{
	char text[64];
	unsigned int low, high;
	int rc = read_file(range_path(k), text, sizeof(text));
	if (rc == 0 && (sscanf(text, "%u %u", &low, &high) != 2 || low > high || high > UINT16_MAX))
		rc = -EINVAL;
	if (rc < 0)
		return error_set(e, rc, "%s cannot be read: %s", RANGE, strerror(-rc));
	unsigned int left = high - low + 1 - port_set_count(reserved, (uint16_t)low, (uint16_t)high);
	if (left >= ENOUGH)
		return 0;
	char before[sizeof(k->range_before)];
	snprintf(before, sizeof(before), "%u %u", low, high);
	unsigned int first = low < LOW_FIRST ? low : LOW_FIRST;
	left = high - first + 1 - port_set_count(reserved, (uint16_t)first, (uint16_t)high);
	if (left < ENOUGH)
		return error_set(e, -EBUSY, "only %u ports of %s (%s) would be left to the node itself: make portRange smaller", left, RANGE,
				 before);
	char now[sizeof(k->range_set)];
	snprintf(now, sizeof(now), "%u %u", first, high);
	rc = write_file(range_path(k), now);
	if (rc < 0)
		return error_set(e, rc, "only a few ports of %s (%s) would be left to the node itself, and it cannot be set to %s: %s", RANGE, before,
				 now, strerror(-rc));
	if (k->range_before[0] == '\0')
		memcpy(k->range_before, before, sizeof(before));
	memcpy(k->range_set, now, sizeof(now));
	return 0;
}

/* As it was, unless somebody else has set it since. */
static void
restore_range(struct kernel_ports *k)
{
	char text[64];
	unsigned int low, high;
	if (k->range_set[0] == '\0')
		return;
	if (read_file(range_path(k), text, sizeof(text)) == 0 && sscanf(text, "%u %u", &low, &high) == 2) {
		snprintf(text, sizeof(text), "%u %u", low, high);
		if (strcmp(text, k->range_set) == 0)
			write_file(range_path(k), k->range_before);
	}
	k->range_before[0] = k->range_set[0] = '\0';
}

static bool
is_empty(const struct port_set *s)
{
	static const struct port_set none;
	return memcmp(s, &none, sizeof(none)) == 0;
}

int
kernel_ports_set(struct kernel_ports *k, const struct port_set *must, const struct port_set *may, bool adopt, struct error *e)
{
	if (is_empty(must) && is_empty(may) && is_empty(&k->ours))
		return 0;
	const size_t size = 512 * 1024;
	char *text = malloc(size);
	struct port_set now, all, added;
	if (text == NULL)
		abort();
	int rc = reserved_now(k, text, size, &now);
	for (unsigned int i = 0; i < PORT_SET_WORDS && rc == 0; i++) {
		uint64_t want = must->w[i] | may->w[i];
		uint64_t others = now.w[i] & ~k->ours.w[i] & ~(adopt ? want : 0);
		added.w[i] = want & ~others;
		all.w[i] = others | want;
	}
	if (rc == 0 && memcmp(&all, &now, sizeof(all)) != 0)
		rc = reserve(k, &all);
	if (rc == 0)
		rc = reserved_now(k, text, size, &now);
	free(text);
	if (rc == 0 && !port_set_covers(&now, must))
		rc = -EIO;
	if (rc == 0)
		k->ours = added;
	if (rc < 0 && is_empty(must))
		return 0; /* nothing depends on it */
	if (rc < 0)
		return error_set(e, rc, "%s cannot be made to cover it, as it must where the node's kernel uses the same address: %s", RESERVED,
				 strerror(-rc));
	if (!is_empty(must))
		return leave_enough(k, &all, e);
	restore_range(k);
	return 0;
}
