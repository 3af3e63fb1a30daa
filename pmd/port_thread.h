/* SPDX-License-Identifier: Apache-2.0 */
/* The port thread's life, for port.c alone. What runs on it: include/weft/port_event.h. */
#ifndef PMD_PORT_THREAD_H
#define PMD_PORT_THREAD_H

int port_thread_start(void); /* 0 or -errno */
void port_thread_stop(void); /* joins it; events may be removed afterwards too */

#endif
