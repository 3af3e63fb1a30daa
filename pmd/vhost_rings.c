/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_split.h"

#include <stdlib.h>

#include <linux/vhost.h>
#include <linux/virtio_config.h>

#include <rte_vhost.h>

#include "kick.h"

/* The library has checked where the rings lie, but says neither that nor whether it succeeded. */
static bool
is_inside(const struct split *s, const void *p, size_t size, size_t alignment)
{
	if (p == NULL || (uintptr_t)p % alignment != 0)
		return false;
	for (unsigned int i = 0; i < s->n_regions; i++) {
		uint64_t offset = (uint64_t)((uintptr_t)p - (uintptr_t)s->region[i].base);
		if (offset < s->region[i].size && size <= s->region[i].size - offset)
			return true;
	}
	return false;
}

static void
ring_init(struct split *s, int vid, uint16_t number)
{
	struct split_ring *r = &s->ring[number];
	struct rte_vhost_vring v = {0};
	uint16_t used;
	size_t event = s->event_idx ? sizeof(uint16_t) : 0;
	*r = (struct split_ring){.broken = true, .call = -1};
	rte_spinlock_init(&r->lock);
	if (rte_vhost_get_vhost_vring(vid, number, &v) < 0 || v.size == 0 || (v.size & (v.size - 1)) != 0 ||
	    !is_inside(s, v.desc, v.size * sizeof(v.desc[0]), VRING_DESC_ALIGN_SIZE) ||
	    !is_inside(s, v.avail, sizeof(*v.avail) + v.size * sizeof(v.avail->ring[0]) + event, VRING_AVAIL_ALIGN_SIZE) ||
	    !is_inside(s, v.used, sizeof(*v.used) + v.size * sizeof(v.used->ring[0]) + event, VRING_USED_ALIGN_SIZE) ||
	    rte_vhost_get_vring_base(vid, number, &r->next, &used) < 0)
		return;
	r->desc = v.desc;
	r->avail = v.avail;
	r->used = v.used;
	r->mask = (uint16_t)(v.size - 1);
	r->given = (uint16_t)(used - r->next);
	r->call = v.callfd >= 0 && kick_is_eventfd(v.callfd) ? v.callfd : -1;
	r->broken = false;
	/* We poll. With event indices it is enough to leave them behind: once in 65,536 buffers the guest signals. */
	if (!s->event_idx)
		__atomic_store_n(&r->used->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
}

static bool
memory_init(struct split *s, int vid)
{
	struct rte_vhost_memory *m = NULL;
	if (rte_vhost_get_mem_table(vid, &m) < 0)
		return false;
	s->n_regions = RTE_MIN(m->nregions, (uint32_t)SPLIT_REGIONS);
	for (unsigned int i = 0; i < s->n_regions; i++)
		s->region[i] = (struct split_region){
			.guest = m->regions[i].guest_phys_addr,
			.size = m->regions[i].size,
			.base = (uint8_t *)(uintptr_t)m->regions[i].host_user_addr,
		};
	free(m);
	return true;
}

struct split *
split_create(int vid, uint64_t features)
{
	uint16_t n = rte_vhost_get_vring_num(vid);
	struct split *s = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof(*s) + n * sizeof(s->ring[0]));
	if (s == NULL)
		return NULL;
	*s = (struct split){
		.event_idx = features & 1ULL << VIRTIO_RING_F_EVENT_IDX,
		.mergeable = features & 1ULL << VIRTIO_NET_F_MRG_RXBUF,
		.checksums = features & 1ULL << VIRTIO_NET_F_CSUM,
		.n_rings = n,
	};
	s->header = s->mergeable || features & 1ULL << VIRTIO_F_VERSION_1 ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
									  : sizeof(struct virtio_net_hdr);
	if (!memory_init(s, vid)) {
		free(s);
		return NULL;
	}
	for (uint16_t i = 0; i < n; i++)
		ring_init(s, vid, i);
	return s;
}

void
split_destroy(struct split *s, int vid)
{
	if (s == NULL)
		return;
	for (uint16_t i = 0; i < s->n_rings; i++) {
		const struct split_ring *r = &s->ring[i];
		if (r->desc != NULL)
			rte_vhost_set_vring_base(vid, i, r->next, (uint16_t)(r->next + r->given));
	}
	free(s);
}

bool
split_is_broken(const struct split *s)
{
	for (uint16_t i = 0; i < s->n_rings; i++)
		if (s->ring[i].desc != NULL && __atomic_load_n(&s->ring[i].broken, __ATOMIC_RELAXED))
			return true;
	return false;
}
