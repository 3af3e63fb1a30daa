/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/netlink.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

struct visit {
	int netns;
	int (*fn)(void *arg);
	void *arg;
	int rc;
};

static void *
visit(void *arg)
{
	struct visit *v = arg;
	v->rc = setns(v->netns, CLONE_NEWNET) < 0 ? -errno : v->fn(v->arg);
	return NULL;
}

int
netns_run(const char *netns, int (*fn)(void *arg), void *arg)
{
	struct visit v = {.fn = fn, .arg = arg};
	pthread_t thread;
	if (netns == NULL)
		return fn(arg);
	v.netns = open(netns, O_RDONLY | O_CLOEXEC);
	if (v.netns < 0)
		return -errno;
	int rc = -pthread_create(&thread, NULL, visit, &v);
	if (rc == 0)
		pthread_join(thread, NULL);
	close(v.netns);
	return rc < 0 ? rc : v.rc;
}
