/* SPDX-License-Identifier: Apache-2.0 */
#include <weft/id_count.h>

#include <sys/mman.h>

static size_t
size_of(const struct id_counts *c)
{
	return sizeof(struct id_count) * (size_t)c->max;
}

static struct id_count *
reserve(const struct id_counts *c)
{
	void *p = mmap(NULL, size_of(c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p != MAP_FAILED ? p : NULL;
}

int
id_counts_init(struct id_counts *c, unsigned int workers)
{
	bool ok = (c->base = reserve(c)) != NULL;
	for (c->workers = 0; c->workers < workers && ok; c->workers++)
		ok = (c->of[c->workers] = reserve(c)) != NULL;
	if (!ok)
		id_counts_fini(c);
	return ok ? 0 : -ENOMEM;
}

void
id_counts_fini(struct id_counts *c)
{
	for (unsigned int i = 0; i < c->workers; i++)
		if (c->of[i] != NULL)
			munmap(c->of[i], size_of(c));
	if (c->base != NULL)
		munmap(c->base, size_of(c));
	memset(c->of, 0, sizeof(c->of));
	c->base = NULL;
	c->workers = 0;
}

static struct id_count
sum(const struct id_counts *c, uint32_t id)
{
	struct id_count out = {{0}};
	for (unsigned int i = 0; i < c->workers; i++)
		for (unsigned int k = 0; k < 2; k++)
			out.n[k] += __atomic_load_n(&c->of[i][id].n[k], __ATOMIC_RELAXED);
	return out;
}

void
id_counts_begin(struct id_counts *c, uint32_t id)
{
	if (c->base == NULL || id == 0 || id >= c->max)
		return;
	/* A write that changes nothing: no worker counts this id now, and none has to wait for the page later. */
	for (unsigned int i = 0; i < c->workers; i++)
		__atomic_fetch_add(&c->of[i][id].n[0], 0, __ATOMIC_RELAXED);
	struct id_count now = sum(c, id);
	for (unsigned int k = 0; k < 2; k++)
		__atomic_store_n(&c->base[id].n[k], now.n[k], __ATOMIC_RELAXED);
}

struct id_count
id_counts_read(const struct id_counts *c, uint32_t id)
{
	if (c->base == NULL || id == 0 || id >= c->max)
		return (struct id_count){{0}};
	struct id_count out = sum(c, id);
	for (unsigned int k = 0; k < 2; k++)
		out.n[k] -= __atomic_load_n(&c->base[id].n[k], __ATOMIC_RELAXED);
	return out;
}
