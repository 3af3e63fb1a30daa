/* SPDX-License-Identifier: Apache-2.0 */
/* What the port kinds and the port thread need of port.c and of each other, beyond include/weft. */
#ifndef PMD_PORT_CORE_H
#define PMD_PORT_CORE_H

#include <weft/port.h>

/* port_event.c: the thread's life. start: 0 or -errno. stop joins it; events may be removed afterwards too. */
int port_thread_start(void);
void port_thread_stop(void);

/* port.c: true while ports_fini closes the ports: the switch goes away, the objects stay. */
bool ports_are_stopping(void);

/* port.c: the open port at the other end of the node's wire: an uplink for the host port, the host port for an uplink; or NULL. */
struct port *port_wire_partner(const struct port *p);

/* A peer or link came or went: sets port->up, and tells port_env's `changed` when that is news of a port that is open. */
void port_set_up(struct port *p, bool up);

#endif
