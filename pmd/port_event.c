/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/port_event.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "port_core.h"

#define EVENTS_PER_WAIT 64

struct port_event {
	int fd;
	bool dead;
	void (*on_event)(int fd, uint32_t events, void *arg);
	void (*on_timer)(void *arg);
	void *arg;
	struct port_event *next_dead;
};

static struct {
	pthread_mutex_t lock;
	pthread_once_t once;
	pthread_t thread;
	int epoll, wake;
	bool running, stop;
	struct port_event *dead;
} loop = {.once = PTHREAD_ONCE_INIT, .epoll = -1, .wake = -1};

/* Recursive: handlers run under it and may call what takes it for others (port_by_name, port_close). */
static void
lock_create(void)
{
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&loop.lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

void
port_lock(void)
{
	pthread_once(&loop.once, lock_create);
	pthread_mutex_lock(&loop.lock);
}

void
port_unlock(void)
{
	pthread_mutex_unlock(&loop.lock);
}

static void
wake(void)
{
	uint64_t one = 1;
	if (write(loop.wake, &one, sizeof(one)) < 0)
		return; /* EAGAIN: it is awake already */
}

static void
dispatch(struct port_event *ev, uint32_t events)
{
	uint64_t ticks;
	if (ev->dead)
		return;
	if (ev->on_event != NULL)
		ev->on_event(ev->fd, events, ev->arg);
	else if (read(ev->fd, &ticks, sizeof(ticks)) == sizeof(ticks))
		ev->on_timer(ev->arg);
}

/* Only the thread itself frees, after a batch: an event may be removed while the batch that names it waits for the
 * lock. */
static void
bury(void)
{
	while (loop.dead != NULL) {
		struct port_event *ev = loop.dead;
		loop.dead = ev->next_dead;
		free(ev);
	}
}

static void *
run(void *arg)
{
	struct epoll_event events[EVENTS_PER_WAIT];
	for (;;) {
		int n = epoll_wait(loop.epoll, events, EVENTS_PER_WAIT, -1);
		port_lock();
		for (int i = 0; i < n; i++) {
			uint64_t count;
			if (events[i].data.ptr != NULL)
				dispatch(events[i].data.ptr, events[i].events);
			else if (read(loop.wake, &count, sizeof(count)) < 0)
				continue;
		}
		bury();
		bool stop = loop.stop;
		port_unlock();
		if (stop)
			return NULL;
	}
}

int
port_thread_start(void)
{
	struct epoll_event none = {.events = EPOLLIN};
	int rc;
	loop.epoll = epoll_create1(EPOLL_CLOEXEC);
	loop.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop.epoll < 0 || loop.wake < 0 || epoll_ctl(loop.epoll, EPOLL_CTL_ADD, loop.wake, &none) < 0) {
		rc = -errno;
		goto fail;
	}
	loop.stop = false;
	rc = -pthread_create(&loop.thread, NULL, run, NULL);
	if (rc < 0)
		goto fail;
	pthread_setname_np(loop.thread, "weft-ports");
	loop.running = true;
	return 0;
fail:
	if (loop.epoll >= 0)
		close(loop.epoll);
	if (loop.wake >= 0)
		close(loop.wake);
	loop.epoll = loop.wake = -1;
	return rc;
}

void
port_thread_stop(void)
{
	if (!loop.running)
		return;
	port_lock();
	loop.stop = true;
	port_unlock();
	wake();
	pthread_join(loop.thread, NULL);
	loop.running = false;
	bury();
	close(loop.epoll);
	close(loop.wake);
	loop.epoll = loop.wake = -1;
}

static struct port_event *
event_add(struct port_event proto, uint32_t events)
{
	struct port_event *ev = malloc(sizeof(*ev));
	if (ev == NULL)
		return NULL;
	*ev = proto;
	struct epoll_event e = {.events = events, .data.ptr = ev};
	if (epoll_ctl(loop.epoll, EPOLL_CTL_ADD, ev->fd, &e) < 0) {
		int saved = errno;
		free(ev);
		errno = saved;
		return NULL;
	}
	return ev;
}

struct port_event *
port_event_add(int fd, uint32_t events, void (*fn)(int fd, uint32_t events, void *arg), void *arg)
{
	return event_add((struct port_event){.fd = fd, .on_event = fn, .arg = arg}, events);
}

struct port_event *
port_timer_add(unsigned int ms, void (*fn)(void *arg), void *arg)
{
	struct timespec period = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	struct itimerspec spec = {.it_interval = period, .it_value = period};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0)
		return NULL;
	struct port_event *ev = NULL;
	if (timerfd_settime(fd, 0, &spec, NULL) == 0)
		ev = event_add((struct port_event){.fd = fd, .on_timer = fn, .arg = arg}, EPOLLIN);
	if (ev == NULL) {
		int saved = errno;
		close(fd);
		errno = saved;
	}
	return ev;
}

void
port_event_remove(struct port_event *ev)
{
	if (ev == NULL)
		return;
	port_lock();
	epoll_ctl(loop.epoll, EPOLL_CTL_DEL, ev->fd, NULL);
	if (ev->on_timer != NULL)
		close(ev->fd);
	ev->dead = true;
	if (loop.running) {
		ev->next_dead = loop.dead;
		loop.dead = ev;
		wake();
	} else {
		free(ev);
	}
	port_unlock();
}
