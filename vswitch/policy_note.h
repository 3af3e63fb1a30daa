/* SPDX-License-Identifier: Apache-2.0 */
/* Beside the packet: policy's verdicts are counted by rule, and told to whoever asked for a log. */
#ifndef VSWITCH_POLICY_NOTE_H
#define VSWITCH_POLICY_NOTE_H

#include <weft/decide.h>
#include <weft/worker.h>

/* A new connection was opened, or denied one by policy: count and tell. */
void policy_note(struct worker *w, const struct tuple *key, const struct verdict *v);
/* An established connection is denied: tell. */
void policy_note_again(struct worker *w, const struct tuple *key, const struct verdict *v);
/* ARP or ND announces an address that the endpoint may speak for but that is not its own: tell, if that is news. One
 * that floods keeps nobody else's from being told: 10 a second of each port are, 16 at once, and ten times as many of
 * all. */
void note_claim(struct worker *w, const struct config *c, uint16_t in_port, const struct endpoint *ep,
		const struct ip *ip);

#endif
