/* SPDX-License-Identifier: Apache-2.0 */
/*
 * librte_vhost is about to handle a message of a guest's, or has done so. In between rings and memory may move, so no
 * worker is there then. vhost.c says why we may wait here, and for whom.
 */
#include "vhost.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <weft/rcu.h>

#define LEAVE_US 20000 /* workers are quiescent every few turns of some us */
#define LEAVE_STEP_US 20

/* Requests (vhost-user, "Front-end message types") that leave rings, memory and signals as they are. */
static bool
request_is_harmless(uint32_t request)
{
	static const uint64_t harmless = 1ULL << 1 /* GET_FEATURES */ | 1ULL << 14 /* SET_VRING_ERR */ |
					 1ULL << 15 /* GET_PROTOCOL_FEATURES */ | 1ULL << 17 /* GET_QUEUE_NUM */ |
					 1ULL << 19 /* SEND_RARP */ | 1ULL << 20 /* NET_SET_MTU */ |
					 1ULL << 24 /* GET_CONFIG */ | 1ULL << 39 /* SET_STATUS */ | 1ULL << 40 /* GET_STATUS */;
	return request < 64 && (harmless >> request & 1);
}

#define REQUEST_SET_MEM_TABLE 5
#define REQUEST_SET_VRING_ENABLE 18

/* After the answer the guest may do with a disabled ring what it likes, and the library tells us later than that. */
static void
ring_disable(struct guest *g, const void *message)
{
	uint32_t state[2]; /* index, enable; behind request, flags and size */
	memcpy(state, (const char *)message + 12, sizeof(state));
	if (state[0] < VHOST_RINGS && state[1] == 0)
		__atomic_store_n(&g->ring[state[0]].enabled, 0, __ATOMIC_RELEASE);
}

/*
 * Memory that the library could not replace is gone all the same, and its rings go on to point there: it may try when
 * no worker is in it any more. One that waits for a ring's lock, which this thread holds, cannot leave.
 */
static bool
library_leave(struct guest *g)
{
	const struct timespec pause = {.tv_nsec = LEAVE_STEP_US * 1000};
	if (!g->library)
		return true;
	__atomic_store_n(&g->library, false, __ATOMIC_RELEASE);
	if (__atomic_load_n(&g->v->quiet, __ATOMIC_ACQUIRE))
		return true;
	uint64_t ticket = rcu_start();
	bool left = rcu_done(ticket);
	for (unsigned int us = 0; !left && us < LEAVE_US; us += LEAVE_STEP_US) {
		nanosleep(&pause, NULL);
		left = rcu_done(ticket);
	}
	return left;
}

/* The library refuses more regions than descriptors before it touches anything; the guest may come again. */
static void
memory_refuse(const struct guest *g, void *message)
{
	const uint32_t regions = UINT32_MAX; /* behind request, flags and size */
	memcpy((char *)message + 12, &regions, sizeof(regions));
	if (g->fd >= 0)
		shutdown(g->fd, SHUT_RDWR);
}

/* The library is about to handle a message of the guest's. */
static enum rte_vhost_msg_result
on_message(int vid, void *message)
{
	struct guest *g = vhost_guest_of(vid);
	uint32_t request;
	memcpy(&request, message, sizeof(request));
	if (g == NULL)
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	/* Nobody said that the one before succeeded: what the library knows of the memory is not to be asked for. */
	g->spoiled |= g->under_way == REQUEST_SET_MEM_TABLE;
	g->under_way = request;
	if (request == REQUEST_SET_VRING_ENABLE)
		ring_disable(g, message);
	if (!request_is_harmless(request))
		vhost_rings_detach(g);
	if (request == REQUEST_SET_MEM_TABLE && !library_leave(g))
		memory_refuse(g, message);
	return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

/* And has done so. */
static enum rte_vhost_msg_result
on_message_done(int vid, void *message)
{
	struct guest *g = vhost_guest_of(vid);
	(void)message;
	if (g == NULL)
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	g->under_way = 0;
	if (g->running && g->split == NULL && !g->spoiled)
		vhost_rings_attach(g);
	return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

const struct rte_vhost_user_extern_ops vhost_messages = {on_message, on_message_done};
