/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port thread: an epoll loop for everything about ports that is not packets (memif's control sockets, timers to reconnect, a
 * namespace that went away). Handlers run on that thread under the port lock, as do port_open and port_close, so that a port kind
 * needs no locks of its own. librte_vhost's callbacks do NOT hold it (and must not take it: unregistering waits for them).
 */
#ifndef WEFT_PORT_EVENT_H
#define WEFT_PORT_EVENT_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct port_event; /* owned by the port thread from add to remove */

/* `events` as epoll(7). Called with the port lock held. NULL and errno on failure. */
struct port_event *port_event_add(int fd, uint32_t events, void (*fn)(int fd, uint32_t events, void *arg), void *arg);
void port_event_remove(struct port_event *ev); /* fn is not called after it returns; the fd stays open */

/* Call fn every `ms` milliseconds until removed. */
struct port_event *port_timer_add(unsigned int ms, void (*fn)(void *arg), void *arg);

void port_lock(void);
void port_unlock(void);

#ifdef __cplusplus
}
#endif

#endif
