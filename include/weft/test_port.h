/* SPDX-License-Identifier: Apache-2.0 */
/* A port for tests and in-process benchmarks: what the test gives is received, what the switch sends is kept (pmd/test_port.c). */
#ifndef WEFT_TEST_PORT_H
#define WEFT_TEST_PORT_H

#include <weft/port.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Hand a packet to rx of a queue; -ENOSPC when its ring (1024) is full. The mbuf is the port's then. */
int test_port_give(struct port *p, uint16_t queue, struct rte_mbuf *m);
/* The next packet that the switch transmitted, or NULL. The caller frees it. */
struct rte_mbuf *test_port_take(struct port *p);
/* What the port claims it can do (enum port_offload), and whether tx takes anything at all. */
void test_port_set(struct port *p, uint32_t offloads, bool accept_tx);

#ifdef __cplusplus
}
#endif

#endif
