/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wake the reader of an eventfd that belongs to a peer. write(2) might block for ever, because the peer can fill the
 * counter and clear O_NONBLOCK behind our back; the kernel's own signal, at the end of an AIO request, cannot.
 */
#ifndef PMD_KICK_H
#define PMD_KICK_H

#include <weft/base.h>

int kick_start(struct error *e); /* port lock; counted: as often as stopped. 0 or -errno and *e */
void kick_stop(void);
bool kick_is_eventfd(int fd); /* any thread */
void kick_peer(int fd);       /* any thread, between start and stop */

#endif
