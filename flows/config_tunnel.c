/* SPDX-License-Identifier: Apache-2.0 */
/* Hops through VXLAN tunnels. One is shared by everything behind a VTEP that is sent to the same inner MAC. */
#include <netinet/in.h>

#include <weft/neighbour.h>

#include "config_impl.h"

static const struct pmap_type tunnel_type = {offsetof(struct tunnel, key), sizeof(struct tunnel_key)};

static_assert(sizeof(struct tunnel_key) == 32, "no padding in a key but its tail");

static void
key_fill(struct tunnel_key *key, const struct ip *ip, uint32_t network, const struct mac *mac)
{
	memset(key, 0, sizeof(*key));
	key->ip = *ip;
	key->network = network;
	key->mac = *mac;
}

static void
put16(uint8_t *p, uint16_t host_order)
{
	p[0] = (uint8_t)(host_order >> 8);
	p[1] = (uint8_t)host_order;
}

/* RFC 1071 */
static uint16_t
header_sum(const uint8_t *p, unsigned int len)
{
	uint32_t sum = 0;
	for (unsigned int i = 0; i < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void
fill_outer(uint8_t *out, const struct ip *source, const struct ip *destination, const struct network *n)
{
	uint8_t *ip = out + 14, *udp = ip + 20, *vxlan = udp + 8;
	put16(out + 12, 0x0800);
	ip[0] = 0x45;
	ip[6] = 0x40; /* don't fragment */
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, &source->w[3], 4);
	memcpy(ip + 16, &destination->w[3], 4);
	put16(ip + 10, header_sum(ip, 20));
	put16(udp + 2, n->vxlan_port);
	vxlan[0] = 0x08; /* RFC 7348: the I flag, then the VNI in bytes 4 to 6 */
	vxlan[4] = (uint8_t)(n->vni >> 16);
	put16(vxlan + 5, (uint16_t)n->vni);
}

/* What an inner packet may measure: the outer IP, UDP and VXLAN headers and the inner Ethernet header come on top. */
static uint16_t
inner_mtu(const struct network *n, const struct spec_port *uplink)
{
	uint16_t outer = uplink->mtu != 0 ? uplink->mtu : 1500;
	uint16_t fits = outer > VXLAN_OUTER_LEN ? (uint16_t)(outer - VXLAN_OUTER_LEN) : 0;
	return fits < n->mtu ? fits : n->mtu;
}

static void
describe(const struct config_txn *t, const struct tunnel_key *key, uint16_t neighbour, struct hop *h)
{
	const struct network *n = t->c->network[key->network];
	memset(h, 0, sizeof(*h));
	h->kind = HOP_TUNNEL;
	memcpy(h->l2, &key->mac, 6);
	memcpy(h->l2 + 6, &n->gateway_mac, 6);
	h->port = t->c->uplink_port;
	h->mtu = inner_mtu(n, &t->b->uplink->spec->port);
	h->neighbour = neighbour;
	h->network = n->id;
	fill_outer(h->outer, &t->c->vtep_ip, &key->ip, n);
}

static int
set_hop(struct config_txn *t, struct tunnel *tunnel, const struct hop *h, struct error *e)
{
	if (tunnel->hop != 0 && h != NULL && memcmp(hop_get(tunnel->hop), h, sizeof(*h)) == 0)
		return 0;
	hop_release(&t->txn, tunnel->hop);
	tunnel->hop = h != NULL ? hop_alloc(&t->txn, h) : 0;
	if (h != NULL && tunnel->hop == 0)
		return error_set(e, -ENOSPC, "all %u hops are in use", WEFT_MAX_HOPS - 1);
	return 0;
}

/* Nobody uses the tunnel yet, so it may become another hop. */
static int
refresh(struct config_txn *t, struct tunnel *tunnel, struct error *e)
{
	struct ip next;
	uint16_t old = tunnel->neighbour;
	tunnel->neighbour = 0;
	int rc;
	if (underlay_next_hop(t->c, &tunnel->key.ip, &next)) {
		struct hop h;
		tunnel->neighbour = neighbour_use(&t->txn, t->c->uplink_port, &next, &t->c->vtep_ip);
		if (tunnel->neighbour == 0)
			return error_set(e, -ENOSPC, "all %d underlay neighbours are in use", WEFT_MAX_NEIGHBOURS - 1);
		describe(t, &tunnel->key, tunnel->neighbour, &h);
		rc = set_hop(t, tunnel, &h, e);
	} else {
		rc = set_hop(t, tunnel, NULL, e);
	}
	neighbour_release(&t->txn, old);
	return rc;
}

static struct tunnel *
writable(struct config_txn *t, const struct tunnel_key *key, bool make)
{
	struct tunnel *tunnel = (struct tunnel *)(uintptr_t)pmap_find(&t->b->tunnels, &tunnel_type, key);
	if ((tunnel == NULL && !make) || (tunnel != NULL && txn_owns(&t->txn, tunnel)))
		return tunnel;
	struct tunnel *copy = txn_alloc(&t->txn, sizeof(*copy));
	if (tunnel != NULL)
		memcpy(copy, tunnel, sizeof(*copy));
	else
		memcpy(&copy->key, key, sizeof(*key));
	void *old = pmap_put(&t->b->tunnels, &tunnel_type, &t->txn, copy);
	if (old != NULL)
		txn_retire(&t->txn, old);
	return copy;
}

int
tunnel_take(struct config_txn *t, const struct ip *vtep, uint32_t network, const struct mac *mac, uint32_t *hop,
	    struct error *e)
{
	struct tunnel_key key;
	key_fill(&key, vtep, network, mac);
	struct tunnel *tunnel = writable(t, &key, true);
	int rc = tunnel->uses++ == 0 ? refresh(t, tunnel, e) : 0;
	*hop = tunnel->hop;
	return rc;
}

void
tunnel_drop(struct config_txn *t, const struct ip *vtep, uint32_t network, const struct mac *mac)
{
	struct tunnel_key key;
	key_fill(&key, vtep, network, mac);
	struct tunnel *tunnel = writable(t, &key, false);
	if (--tunnel->uses == 0)
		vector_push(&t->idle, &key, sizeof(key));
}

void
tunnels_sweep(struct config_txn *t)
{
	const struct tunnel_key *key = t->idle.v;
	for (size_t i = 0; i < t->idle.n; i++) {
		const struct tunnel *tunnel = pmap_find(&t->b->tunnels, &tunnel_type, &key[i]);
		if (tunnel == NULL || tunnel->uses > 0)
			continue;
		hop_release(&t->txn, tunnel->hop);
		neighbour_release(&t->txn, tunnel->neighbour);
		txn_retire(&t->txn, pmap_remove(&t->b->tunnels, &tunnel_type, &t->txn, &key[i]));
	}
}
