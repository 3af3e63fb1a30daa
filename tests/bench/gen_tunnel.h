/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uplink's side of weft-gen: side B is not a pod but another node, whose pods' frames come and go in VXLAN
 * (RFC 7348, outer IPv4). Any traffic can be put through it. One thread, as all of weft-gen.
 */
#ifndef BENCH_GEN_TUNNEL_H
#define BENCH_GEN_TUNNEL_H

#include "gen.h"

#define GEN_TUNNEL_LENGTH 50 /* bytes that a frame grows by */

/* `o` and `pool` stay the caller's and must outlive the run; pool: for ARP. */
void gen_tunnel_init(const struct gen_options *o, struct rte_mempool *pool);
/* Is the MAC known that frames must be sent to? If not, it is asked for at ethdev `port`, now and then. */
bool gen_tunnel_knows_peer(uint16_t port);
/* Put outer headers before n frames, in place. The source port is made from the inner flow. */
void gen_tunnel_wrap(struct rte_mbuf **m, unsigned int n);
/*
 * Take them off. What is not VXLAN of the right network and tunnel ends is freed and counted as other; ARP is answered.
 * Returns how many are left in m, in their order.
 */
unsigned int gen_tunnel_unwrap(uint16_t port, struct rte_mbuf **m, unsigned int n, struct gen_count *count);
/* Different source ports among the frames that were looked at closely: many when they are made from the inner flow. */
uint32_t gen_tunnel_source_ports(void);

#endif
