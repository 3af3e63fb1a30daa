/* SPDX-License-Identifier: Apache-2.0 */
/* The connection table's file: laid out, mapped, and given back. */
#include "conn_internal.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <numaif.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>

#define CAPACITY_MIN 1024u
#define CAPACITY_MAX (1u << 27)
#define PAGE 4096u

struct conn_timeouts
conn_timeouts_default(void)
{
	return (struct conn_timeouts){
		.tcp =
			{
				[TCP_STATE_SYN_SENT] = 30,
				[TCP_STATE_SYN_RECV] = 30,
				[TCP_STATE_ESTABLISHED] = 432000,
				[TCP_STATE_FIN_WAIT] = 120,
				[TCP_STATE_CLOSE_WAIT] = 60,
				[TCP_STATE_LAST_ACK] = 30,
				[TCP_STATE_TIME_WAIT] = 120,
				[TCP_STATE_CLOSE] = 10,
				[TCP_STATE_SYN_SENT2] = 30,
			},
		.sctp =
			{
				[SCTP_STATE_COOKIE_WAIT] = 3,
				[SCTP_STATE_COOKIE_ECHOED] = 3,
				[SCTP_STATE_ESTABLISHED] = 210,
				[SCTP_STATE_SHUTDOWN] = 3,
				[SCTP_STATE_SHUTDOWN_ACK] = 3,
				[SCTP_STATE_CLOSED] = 10,
				[SCTP_STATE_HEARTBEAT] = 30,
			},
		.udp = 30,
		.udp_answered = 120,
		.udp_dns = 10,
		.icmp = 30,
		.other = 600,
	};
}

/* A timeout that is 0 becomes the default; the least of all but SCTP's goes to *least. */
static int
timeouts_complete(struct conn_timeouts *o, uint32_t *least, struct error *e)
{
	struct conn_timeouts defaults = conn_timeouts_default();
	const uint32_t *from = (const uint32_t *)&defaults;
	uint32_t *to = (uint32_t *)o;
	*least = CONN_TIMEOUT_MAX;
	for (size_t i = 0; i < sizeof(*o) / sizeof(*to); i++) {
		if (to[i] > CONN_TIMEOUT_MAX)
			return error_set(e, -EINVAL, "connection timeout of %u seconds is not in 1..%u", to[i],
					 CONN_TIMEOUT_MAX);
		if (to[i] == 0)
			to[i] = from[i];
		bool sctp = &to[i] >= o->sctp && &to[i] < o->sctp + sizeof(o->sctp) / sizeof(*o->sctp);
		if (to[i] != 0 && to[i] < *least && !sctp)
			*least = to[i];
	}
	return 0;
}

static uint64_t
place(uint64_t *end, uint64_t size, uint64_t n)
{
	uint64_t at = *end;
	*end += (size * n + PAGE - 1) / PAGE * PAGE;
	return at;
}

static void
lay_out(struct conn_header *h, const struct conn_table_options *o)
{
	memset(h, 0, sizeof(*h));
	h->version = CONN_VERSION;
	h->header_size = sizeof(*h);
	h->tuple_size = sizeof(struct tuple);
	h->half_size = sizeof(struct conn_half);
	h->cold_size = sizeof(struct conn_cold);
	h->bucket_size = sizeof(struct bucket);
	h->worker_size = sizeof(struct conn_worker);
	h->chunk_ids = CHUNK_IDS;
	h->capacity = o->capacity;
	h->n_buckets = (uint32_t)(200ull * o->capacity / BUCKET_LOAD) + 1;
	h->workers = o->workers;
	h->n_chunks = (o->capacity + CHUNK_IDS - 1) / CHUNK_IDS;
	uint64_t end = (sizeof(*h) + PAGE - 1) / PAGE * PAGE;
	h->worker_at = place(&end, sizeof(struct conn_worker), h->workers);
	h->open_at = place(&end, sizeof(struct open_count), OPEN_SHARDS);
	h->chunk_at = place(&end, sizeof(uint32_t), h->n_chunks);
	h->bucket_at = place(&end, sizeof(struct bucket), h->n_buckets);
	h->half_at = place(&end, sizeof(struct conn_half), 2 * ((uint64_t)h->capacity + 1));
	h->cold_at = place(&end, sizeof(struct conn_cold), (uint64_t)h->capacity + 1);
	h->size = end;
}

/* A new, empty file; *page is what its size must be a multiple of. */
static int
file_create(const struct conn_table_options *o, uint64_t *page, struct error *e)
{
	if (unlink(o->path) != 0 && errno != ENOENT)
		return error_set(e, -errno, "cannot replace %s: %s", o->path, strerror(errno));
	int fd = open(o->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(e, -errno, "cannot create %s: %s", o->path, strerror(errno));
	struct statfs fs;
	bool huge = fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
	if (o->hugepages && !huge) {
		close(fd);
		unlink(o->path);
		return error_set(e, -EINVAL, "%s is not on a hugetlbfs mount", o->path);
	}
	if (huge)
		*page = (uint64_t)fs.f_bsize;
	return fd;
}

/* Memory near the workers. That a kernel or a container does not let us choose is no reason not to run. */
static int
bind_memory(void *base, uint64_t size, int node, struct error *e)
{
	unsigned long mask[16] = {0};
	if (node < 0)
		return 0;
	if ((size_t)node >= 8 * sizeof(mask))
		return error_set(e, -EINVAL, "NUMA node %d does not exist", node);
	mask[(size_t)node / (8 * sizeof(*mask))] |= 1ul << ((size_t)node % (8 * sizeof(*mask)));
	if (mbind(base, size, MPOL_PREFERRED, mask, 8 * sizeof(mask), 0) != 0 && errno == EINVAL)
		return error_set(e, -EINVAL, "NUMA node %d does not exist", node);
	return 0;
}

/* Map, place, and reserve: a page that is missing later would be a SIGBUS in a worker. */
static int
map(struct conn_header *h, const struct conn_table_options *o, int fd, void **base, struct error *e)
{
	const char *where = o->path != NULL ? o->path : "memory";
	if (fd >= 0 && ftruncate(fd, (off_t)h->size) != 0)
		return error_set(e, -errno, "%s: cannot make it %llu bytes long: %s", where,
				 (unsigned long long)h->size, strerror(errno));
	void *p = mmap(NULL, h->size, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	if (p == MAP_FAILED)
		return error_set(e, -errno, "%s: cannot map %llu bytes for %u connections: %s", where,
				 (unsigned long long)h->size, o->capacity, strerror(errno));
	int rc = bind_memory(p, h->size, o->numa_node, e);
	if (rc == 0 && fd >= 0) {
		rc = -posix_fallocate(fd, 0, (off_t)h->size);
		if (rc != 0)
			error_set(e, rc, "%s: cannot reserve %llu bytes for %u connections: %s", where,
				  (unsigned long long)h->size, o->capacity, strerror(-rc));
	}
	if (rc != 0) {
		munmap(p, h->size);
		return rc;
	}
	madvise(p, h->size, MADV_HUGEPAGE); /* a wish: plain files and old kernels cannot */
	*base = p;
	return 0;
}

static void
point(struct conn_table *t, struct conn_header *h)
{
	char *base = (char *)h;
	t->header = h;
	t->view.half = (struct conn_half *)(base + h->half_at);
	t->view.cold = (struct conn_cold *)(base + h->cold_at);
	t->bucket = (struct bucket *)(base + h->bucket_at);
	t->worker = (struct conn_worker *)(base + h->worker_at);
	t->open = (struct open_count *)(base + h->open_at);
	t->chunk_next = (uint32_t *)(base + h->chunk_at);
	t->capacity = h->capacity;
	t->n_buckets = h->n_buckets;
	t->workers = h->workers;
	t->n_chunks = h->n_chunks;
	memcpy(t->seed, h->seed, sizeof(t->seed));
}

static int
options_check(const struct conn_table_options *o, struct error *e)
{
	if (o->capacity < CAPACITY_MIN || o->capacity > CAPACITY_MAX)
		return error_set(e, -EINVAL, "%u connections are not in %u..%u", o->capacity, CAPACITY_MIN,
				 CAPACITY_MAX);
	if (o->workers < 1 || o->workers > WEFT_MAX_WORKERS)
		return error_set(e, -EINVAL, "%u workers are not in 1..%u", o->workers, WEFT_MAX_WORKERS);
	if (o->hugepages && o->path == NULL)
		return error_set(e, -EINVAL, "hugepages need a path on a hugetlbfs mount");
	return 0;
}

static int
open_and_map(struct conn_table *t, const struct conn_table_options *o, struct error *e)
{
	struct conn_header h;
	lay_out(&h, o);
	/* All or nothing: a seed that is partly zero is no secret. */
	if (getrandom(h.seed, sizeof(h.seed), 0) != (ssize_t)sizeof(h.seed))
		return error_set(e, -EIO, "no random numbers for the connection table's hash: %s", strerror(errno));
	uint64_t page = PAGE;
	int fd = -1;
	if (o->path != NULL) {
		fd = file_create(o, &page, e);
		if (fd < 0)
			return fd;
	}
	h.size = (h.size + page - 1) / page * page;
	void *base = NULL;
	int rc = map(&h, o, fd, &base, e);
	if (fd >= 0) {
		close(fd);
		if (rc != 0)
			unlink(o->path);
	}
	if (rc != 0)
		return rc;
	memcpy(base, &h, sizeof(h));
	point(t, (struct conn_header *)base);
	__atomic_store_n(&t->header->magic, CONN_MAGIC, __ATOMIC_RELEASE);
	return 0;
}

int
conn_table_create(struct conn_table **out, const struct conn_table_options *o, struct error *e)
{
	int rc = options_check(o, e);
	if (rc != 0)
		return rc;
	struct conn_table *t = aligned_alloc(64, (sizeof(*t) + 63) / 64 * 64);
	if (t == NULL)
		return error_set(e, -ENOMEM, "out of memory");
	memset(t, 0, sizeof(*t));
	t->timeouts = o->timeouts;
	t->strict_windows = o->strict_windows;
	t->pickup = o->pickup;
	rc = timeouts_complete(&t->timeouts, &t->timeout_min, e);
	if (rc == 0 && o->path != NULL && (t->path = strdup(o->path)) == NULL)
		rc = error_set(e, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = open_and_map(t, o, e);
	if (rc == 0 && quota_init(t, o->per_owner) != 0) {
		rc = error_set(e, -ENOMEM, "out of memory");
		munmap(t->header, t->header->size);
	}
	if (rc != 0) {
		free(t->path);
		free(t);
		return rc;
	}
	*out = t;
	return 0;
}

void
conn_table_destroy(struct conn_table *t, bool remove_file)
{
	if (t == NULL)
		return;
	munmap(t->header, t->header->size);
	if (remove_file && t->path != NULL)
		unlink(t->path);
	free(t->path);
	quota_fini(t);
	free(t);
}

const struct conn_view *
conn_view(const struct conn_table *t)
{
	return &t->view;
}

bool
conn_picks_up(const struct conn_table *t)
{
	return t->pickup;
}

void
conn_table_stats(const struct conn_table *t, struct conn_stats *out)
{
	memset(out, 0, sizeof(*out));
	out->capacity = t->capacity;
	out->bytes = t->header->size;
	out->per_owner = t->quota.per_owner;
	for (uint32_t i = 0; i < t->workers; i++) {
		const struct conn_worker *w = &t->worker[i];
		/* What goes before what comes: an entry that is both meanwhile counts as used. */
		out->expired += __atomic_load_n(&w->expired, __ATOMIC_RELAXED);
		out->removed += __atomic_load_n(&w->removed, __ATOMIC_RELAXED);
		out->evicted += __atomic_load_n(&w->evicted, __ATOMIC_RELAXED);
		out->refused_quota += __atomic_load_n(&w->refused_quota, __ATOMIC_RELAXED);
		out->refused_full += __atomic_load_n(&w->refused_full, __ATOMIC_RELAXED);
	}
	for (uint32_t i = 0; i < t->workers; i++)
		out->created += __atomic_load_n(&t->worker[i].created, __ATOMIC_RELAXED);
	int64_t used = (int64_t)(out->created - out->expired - out->removed - out->evicted), half_open = 0;
	for (uint32_t i = 0; i < OPEN_SHARDS; i++)
		half_open += __atomic_load_n(&t->open[i].n, __ATOMIC_RELAXED);
	out->used = used > 0 ? (uint32_t)used : 0;
	out->half_open = half_open > 0 ? (uint32_t)half_open : 0;
}
