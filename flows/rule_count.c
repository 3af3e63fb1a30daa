/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/mman.h>

#include <weft/rule_count.h>

#define SIZE (sizeof(struct rule_count) * (size_t)RULE_COUNT_MAX)

struct rule_count *rule_counts[WEFT_MAX_WORKERS];
static struct rule_count *base; /* of each id when it was given out */
static unsigned int n_workers;

/* Address space; memory only where something is written. */
static struct rule_count *
reserve(void)
{
	void *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p != MAP_FAILED ? p : NULL;
}

int
rule_count_init(unsigned int workers)
{
	bool ok = (base = reserve()) != NULL;
	for (n_workers = 0; n_workers < workers && ok; n_workers++)
		ok = (rule_counts[n_workers] = reserve()) != NULL;
	if (!ok)
		rule_count_fini();
	return ok ? 0 : -ENOMEM;
}

void
rule_count_fini(void)
{
	for (unsigned int i = 0; i < n_workers; i++)
		if (rule_counts[i] != NULL)
			munmap(rule_counts[i], SIZE);
	if (base != NULL)
		munmap(base, SIZE);
	memset(rule_counts, 0, sizeof(rule_counts));
	base = NULL;
	n_workers = 0;
}

static void
sum(uint32_t rule, struct rule_count *out)
{
	*out = (struct rule_count){0};
	for (unsigned int i = 0; i < n_workers; i++) {
		out->said += __atomic_load_n(&rule_counts[i][rule].said, __ATOMIC_RELAXED);
		out->would_say += __atomic_load_n(&rule_counts[i][rule].would_say, __ATOMIC_RELAXED);
	}
}

void
rule_count_begin(uint32_t rule)
{
	struct rule_count now;
	if (base == NULL || rule >= RULE_COUNT_MAX)
		return;
	/* A write that changes nothing: no worker counts this id now, and none has to wait for the page later. */
	for (unsigned int i = 0; i < n_workers; i++)
		__atomic_fetch_add(&rule_counts[i][rule].said, 0, __ATOMIC_RELAXED);
	sum(rule, &now);
	__atomic_store_n(&base[rule].said, now.said, __ATOMIC_RELAXED);
	__atomic_store_n(&base[rule].would_say, now.would_say, __ATOMIC_RELAXED);
}

void
rule_count_read(uint32_t rule, struct rule_count *out)
{
	*out = (struct rule_count){0};
	if (base == NULL || rule == 0 || rule >= RULE_COUNT_MAX)
		return;
	sum(rule, out);
	out->said -= __atomic_load_n(&base[rule].said, __ATOMIC_RELAXED);
	out->would_say -= __atomic_load_n(&base[rule].would_say, __ATOMIC_RELAXED);
}
