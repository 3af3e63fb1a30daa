/* SPDX-License-Identifier: Apache-2.0 */
#include "kick.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REQUESTS 256
#define RING_MAGIC 0xa10a10a1u

/* The start of what an aio_context_t points to, as io_getevents of libaio and QEMU rely on it. */
struct completions {
	uint32_t id, size, head, tail, magic;
};

static struct {
	unsigned int users;
	aio_context_t context;
	int null;
} kick = {.null = -1};

int
kick_start(struct error *e)
{
	if (kick.users++ > 0)
		return 0;
	kick.null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (kick.null >= 0 && syscall(SYS_io_setup, REQUESTS, &kick.context) == 0)
		return 0;
	int rc = -errno;
	kick_stop();
	return error_set(e, rc, "Linux AIO is needed to wake peers (io_setup: %s; see fs.aio-max-nr)",
			 strerror(-rc));
}

void
kick_stop(void)
{
	if (--kick.users > 0)
		return;
	if (kick.context != 0)
		syscall(SYS_io_destroy, kick.context);
	if (kick.null >= 0)
		close(kick.null);
	kick.context = 0;
	kick.null = -1;
}

bool
kick_is_eventfd(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[32], link[sizeof(want)];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(path, link, sizeof(link));
	return n == (ssize_t)sizeof(want) - 1 && memcmp(link, want, (size_t)n) == 0;
}

/*
 * A read of nothing completes within io_submit, which then signals the eventfd. Completions are of no interest: they
 * are dropped as io_getevents would, without another system call. A head that two threads set at once may fall behind;
 * the next one puts that right.
 */
void
kick_peer(int fd)
{
	uint8_t byte;
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)kick.null,
		.aio_buf = (uintptr_t)&byte,
		.aio_nbytes = 1,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *list[] = {&request};
	struct completions *done = (struct completions *)(uintptr_t)kick.context;
	syscall(SYS_io_submit, kick.context, 1, list);
	if (done->magic == RING_MAGIC)
		__atomic_store_n(&done->head, __atomic_load_n(&done->tail, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}
