/* SPDX-License-Identifier: Apache-2.0 */
#include "memif.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "kick.h"

#define OWN_BUFFER 2048
#define RING_ALIGN 16

struct memif_link *
memif_link_new(bool own, unsigned int queues)
{
	struct memif_link *l = aligned_alloc(64, sizeof(*l));
	if (l == NULL)
		return NULL;
	memset(l, 0, sizeof(*l));
	l->own = own;
	l->room = queues * MEMIF_QUEUE_BYTES;
	return l;
}

void
memif_link_free(struct memif_link *l)
{
	if (l == NULL)
		return;
	for (unsigned int q = 0; q < l->n_tx; q++)
		if (l->tx[q].kick >= 0)
			close(l->tx[q].kick);
	for (unsigned int r = 0; r < l->n_regions; r++)
		munmap(l->region[r].base, l->region[r].size);
	free(l);
}

/*
 * A page that is not there when we touch it is SIGBUS. Only plain shared memory sealed against shrinking rules that
 * out: in hugetlbfs a hole may be impossible to fill again, and in any other file system the peer decides what a page
 * fault does.
 */
static int
check_memory(int fd, uint64_t size, struct error *e)
{
	struct statfs fs;
	struct stat st;
	if (fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
		return error_set(e, -EINVAL, "a region must be a memfd of normal pages");
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || ((seals & F_SEAL_SHRINK) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0))
		return error_set(e, -EINVAL, "a region must be sealed against shrinking");
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < size)
		return error_set(e, -EINVAL, "a region is smaller than it claims to be");
	return 0;
}

int
memif_link_add_region(struct memif_link *l, int fd, uint64_t size, struct error *e)
{
	if (l->n_regions == MEMIF_REGIONS)
		return error_set(e, -ENOSPC, "at most %u regions", MEMIF_REGIONS);
	if (size == 0 || size > l->room)
		return error_set(e, -EINVAL, "a region of %" PRIu64 " bytes is not in 1..%" PRIu64, size, l->room);
	int rc = check_memory(fd, size, e);
	if (rc < 0)
		return rc;
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED)
		return error_set(e, -errno, "mmap of a region: %s", strerror(errno));
	madvise(base, size, MADV_DONTDUMP);
	l->region[l->n_regions++] = (struct memif_region){.base = base, .size = size};
	l->room -= size;
	return 0;
}

/* What each side owns: the client offers on both rings (head), the server uses up (tail). */
static void
queue_init(struct memif_queue *q, struct memif_ring *ring, uint32_t log2, bool own, bool tx, int kick)
{
	uint16_t size = (uint16_t)(1u << log2);
	*q = (struct memif_queue){
		.ring = ring,
		.theirs = own ? &ring->tail : &ring->head,
		.ours = own ? &ring->head : &ring->tail,
		.size = size,
		.mask = size - 1u,
		.lead = own && tx ? size : 0,
		.lag = own && !tx ? size : 0,
		.kick = kick,
	};
}

static int
check_ring(const struct memif_link *l, const struct memif_msg *msg, struct error *e)
{
	uint32_t log2 = msg->add_ring.log2_ring, offset = msg->add_ring.offset;
	uint16_t region = msg->add_ring.region;
	if (log2 < 1 || log2 > MEMIF_LOG2_RING_MAX)
		return error_set(e, -EINVAL, "ring size 2^%u is not in 2^1..2^%u", log2, MEMIF_LOG2_RING_MAX);
	if (region >= l->n_regions)
		return error_set(e, -EINVAL, "a ring in region %u, which was not added", region);
	uint64_t bytes = sizeof(struct memif_ring) + (sizeof(struct memif_desc) << log2);
	if (offset % RING_ALIGN != 0 || offset + bytes > l->region[region].size)
		return error_set(e, -EINVAL, "a ring at offset %u does not fit region %u", offset, region);
	if (msg->add_ring.private_header != 0)
		return error_set(e, -EINVAL, "private headers are not supported");
	return 0;
}

int
memif_link_add_ring(struct memif_link *l, const struct memif_msg *msg, int fd, struct error *e)
{
	bool tx = (msg->add_ring.flags & MEMIF_ADD_RING_S2M) == 0;
	uint16_t *n = tx ? &l->n_tx : &l->n_rx;
	int rc = check_ring(l, msg, e);
	if (rc < 0)
		return rc;
	if (msg->add_ring.index != *n || *n == PORT_MAX_QUEUES)
		return error_set(e, -EINVAL, "ring %u where ring %u is due", msg->add_ring.index, *n);
	if (!kick_is_eventfd(fd))
		return error_set(e, -EINVAL, "a ring's descriptor must be an eventfd");
	uint8_t *at = l->region[msg->add_ring.region].base + msg->add_ring.offset;
	struct memif_ring *ring = (struct memif_ring *)(void *)at;
	if (__atomic_load_n(&ring->cookie, __ATOMIC_RELAXED) != MEMIF_COOKIE)
		return error_set(e, -EINVAL, "a ring has the wrong cookie");
	queue_init(tx ? &l->tx[*n] : &l->rx[*n], ring, msg->add_ring.log2_ring, false, tx, tx ? fd : -1);
	++*n;
	/* We poll, so nobody needs to wake us. */
	if (!tx)
		close(fd);
	return 0;
}

static int
make_queue(struct memif_link *l, uint32_t ring_at, uint32_t buffers_at, uint32_t log2, bool tx)
{
	struct memif_ring *ring = (struct memif_ring *)(void *)(l->region[0].base + ring_at);
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), kick = -1;
	if (fd < 0)
		return -1;
	if (tx && (kick = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
		close(fd);
		return -1;
	}
	struct memif_queue *q = tx ? &l->tx[l->n_tx++] : &l->rx[l->n_rx++];
	ring->cookie = MEMIF_COOKIE;
	queue_init(q, ring, log2, true, tx, kick);
	q->first = buffers_at;
	q->buffer = OWN_BUFFER;
	return fd;
}

int
memif_link_make(struct memif_link *l, unsigned int rings, unsigned int log2, int *region_fd,
		int ring_fd[2][PORT_MAX_QUEUES])
{
	uint32_t ring_bytes = (uint32_t)RTE_ALIGN_CEIL(sizeof(struct memif_ring) + (sizeof(struct memif_desc) << log2),
						       (size_t)RTE_CACHE_LINE_SIZE);
	uint32_t buffers = RTE_ALIGN_CEIL(2 * rings * ring_bytes, 4096u), buffer_bytes = OWN_BUFFER << log2;
	uint64_t size = buffers + 2ull * rings * buffer_bytes;
	*region_fd = memfd_create("memif", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*region_fd < 0 || ftruncate(*region_fd, (off_t)size) < 0 ||
	    fcntl(*region_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *region_fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	l->region[l->n_regions++] = (struct memif_region){.base = base, .size = size};
	for (unsigned int i = 0; i < 2 * rings; i++) {
		int fd = make_queue(l, i * ring_bytes, buffers + i * buffer_bytes, log2, i < rings);
		if (fd < 0)
			return -errno;
		ring_fd[i / rings][i % rings] = fd;
	}
	return 0;
}

uint32_t
memif_link_ring_offset(const struct memif_link *l, const struct memif_queue *q)
{
	return (uint32_t)((const uint8_t *)q->ring - l->region[0].base);
}

static void
offer_buffers(const struct memif_queue *q)
{
	for (uint32_t slot = 0; slot < q->size; slot++)
		q->ring->desc[slot] = (struct memif_desc){
			.length = q->buffer,
			.offset = q->first + slot * q->buffer,
		};
}

void
memif_link_start(struct memif_link *l)
{
	for (unsigned int i = 0; i < l->n_tx; i++)
		__atomic_store_n(l->tx[i].ours, l->tx[i].lag, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < l->n_rx; i++) {
		struct memif_queue *q = &l->rx[i];
		if (l->own)
			offer_buffers(q);
		__atomic_fetch_or(&q->ring->flags, MEMIF_RING_MASK_INT, __ATOMIC_RELAXED);
		__atomic_store_n(q->ours, q->lag, __ATOMIC_RELEASE);
	}
}
