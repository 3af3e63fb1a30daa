/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "policy_impl.h"

struct known {
	uint64_t hash;
	uint32_t old, next; /* next: of the first with this hash, where the search begins */
	bool taken;
};

static void *
array(size_t n, size_t size)
{
	void *p = calloc(n + 1, size);
	if (p == NULL)
		abort();
	return p;
}

static bool
same_text(const struct rule *r, const struct bytes *text)
{
	return r->text_len == text->n && memcmp(r->text, text->v, text->n) == 0;
}

static int
compare_known(const void *a, const void *b)
{
	const struct known *x = a, *y = b;
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->old < y->old ? -1 : 1;
}

static uint32_t
take(struct known *k, uint32_t n, const struct rule *const *old, const struct bytes *text)
{
	uint64_t hash = mix64_bytes(0, text->v, text->n);
	uint32_t lo = 0, hi = n;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (k[mid].hash < hash)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == n || k[lo].hash != hash)
		return RULE_NOT_THERE;
	uint32_t i = lo + k[lo].next;
	while (i < n && k[i].hash == hash && (k[i].taken || !same_text(old[k[i].old], text)))
		i++;
	if (i == n || k[i].hash != hash)
		return RULE_NOT_THERE;
	k[i].taken = true;
	while (lo + k[lo].next < n && k[lo + k[lo].next].hash == hash && k[lo + k[lo].next].taken)
		k[lo].next++;
	return k[i].old;
}

/* Of the rules that are still there, the longest run that is still in order may stay where it is. */
static void
keep_longest(struct rule_match *m, uint32_t n)
{
	uint32_t *tail = array(n, sizeof(*tail)), *before = array(n, sizeof(*before)), len = 0;
	for (uint32_t j = 0; j < n; j++) {
		if (m[j].old == RULE_NOT_THERE)
			continue;
		uint32_t lo = 0, hi = len;
		while (lo < hi) {
			uint32_t mid = (lo + hi) / 2;
			if (m[tail[mid]].old < m[j].old)
				lo = mid + 1;
			else
				hi = mid;
		}
		before[j] = lo != 0 ? tail[lo - 1] : UINT32_MAX;
		tail[lo] = j;
		if (lo == len)
			len++;
	}
	for (uint32_t j = len != 0 ? tail[len - 1] : UINT32_MAX; j != UINT32_MAX; j = before[j])
		m[j].stays = true;
	free(tail);
	free(before);
}

static void
match_middle(const struct rule *const *old, uint32_t first, uint32_t end, const struct spec_rule *specs, uint32_t n,
	     struct rule_match *out)
{
	struct bytes text = {0};
	uint32_t n_known = end - first;
	struct known *k = array(n_known, sizeof(*k));
	for (uint32_t i = 0; i < n_known; i++) {
		const struct rule *r = old[first + i];
		k[i] = (struct known){.hash = mix64_bytes(0, r->text, r->text_len), .old = first + i};
	}
	qsort(k, n_known, sizeof(*k), compare_known);
	for (uint32_t j = 0; j < n; j++) {
		rule_text(&text, &specs[j]);
		out[j].old = take(k, n_known, old, &text);
	}
	keep_longest(out, n);
	free(k);
	free(text.v);
}

void
rules_match(const struct rule *const *old, uint32_t n_old, const struct spec_rule *specs, uint32_t n,
	    struct rule_match *out)
{
	struct bytes text = {0};
	uint32_t head = 0, tail = 0;
	for (; head < n_old && head < n; head++) {
		rule_text(&text, &specs[head]);
		if (!same_text(old[head], &text))
			break;
		out[head] = (struct rule_match){head, true};
	}
	for (; tail < n_old - head && tail < n - head; tail++) {
		rule_text(&text, &specs[n - 1 - tail]);
		if (!same_text(old[n_old - 1 - tail], &text))
			break;
		out[n - 1 - tail] = (struct rule_match){n_old - 1 - tail, true};
	}
	free(text.v);
	match_middle(old, head, n_old - tail, specs + head, n - head - tail, out + head);
}
