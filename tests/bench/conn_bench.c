/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a connection lookup costs, in bursts, beside rte_hash that several threads may write
 * (RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_MULTI_WRITER_ADD). Both are asked for the same tuples
 * in the same random order, in turns; the least of all rounds counts. "entry" is to find and to read what was decided,
 * a line apart from rte_hash's key.
 *
 * conn_bench [EAL options] -- [connections ...]
 */
#include <stdio.h>
#include <stdlib.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>

#include <weft/clock.h>
#include <weft/conn.h>
#include <weft/rcu.h>

#define ROUNDS 9
#define HOP 7u
#define LOOKUPS (1u << 20)

static struct tuple
tuple_number(uint32_t n)
{
	struct tuple t;
	memset(&t, 0, sizeof(t));
	t.src = ip_from4(htonl(0x0a000000 + n / 50000));
	t.dst = ip_from4(htonl(0x0a800000 + n % 997));
	t.sport = htons((uint16_t)(1024 + n % 50000));
	t.dport = htons(80);
	t.net_proto = tuple_net_proto(1, IPPROTO_UDP);
	return t;
}

struct peers {
	struct conn_table *table;
	struct rte_hash *hash;
	struct conn_half *entry; /* rte_hash's */
	struct tuple *key;       /* LOOKUPS of them, in the order asked */
	uint64_t wrong;
};

static double
measure_table(struct peers *p, bool entry)
{
	const struct conn_half *half = conn_view(p->table)->half;
	uint64_t start = rte_rdtsc();
	for (uint32_t i = 0; i < LOOKUPS; i += WEFT_BURST) {
		const struct tuple *key[WEFT_BURST];
		uint32_t hash[WEFT_BURST], ref[WEFT_BURST];
		for (uint32_t k = 0; k < WEFT_BURST; k++)
			key[k] = &p->key[i + k];
		conn_find_burst(p->table, key, WEFT_BURST, hash, ref);
		for (uint32_t k = 0; k < WEFT_BURST; k++)
			p->wrong += entry ? half[ref[k]].hop != HOP : ref[k] == 0;
	}
	return (double)(rte_rdtsc() - start) / LOOKUPS;
}

static double
measure_hash(struct peers *p, bool entry)
{
	uint64_t start = rte_rdtsc();
	for (uint32_t i = 0; i < LOOKUPS; i += WEFT_BURST) {
		const void *key[WEFT_BURST];
		void *data[WEFT_BURST];
		uint64_t found = 0;
		for (uint32_t k = 0; k < WEFT_BURST; k++)
			key[k] = &p->key[i + k];
		rte_hash_lookup_bulk_data(p->hash, key, WEFT_BURST, &found, data);
		if (found != UINT64_MAX >> (64 - WEFT_BURST))
			p->wrong++;
		if (!entry)
			continue;
		for (uint32_t k = 0; k < WEFT_BURST; k++)
			__builtin_prefetch(data[k]);
		for (uint32_t k = 0; k < WEFT_BURST; k++)
			p->wrong += ((const struct conn_half *)data[k])->hop != HOP;
	}
	return (double)(rte_rdtsc() - start) / LOOKUPS;
}

static void
die(const char *what)
{
	fprintf(stderr, "conn_bench: %s\n", what);
	exit(1);
}

/* Cycles of one insertion: a connection is two keys of rte_hash. */
static void
fill(struct peers *p, uint32_t n, double *table, double *hash)
{
	uint64_t start = rte_rdtsc();
	for (uint32_t i = 0; i < n; i++) {
		struct conn_new c;
		uint32_t ref;
		memset(&c, 0, sizeof(c));
		c.orig = tuple_number(i);
		c.reply = tuple_reversed(&c.orig);
		c.hop[0] = c.hop[1] = HOP;
		if (conn_create(p->table, 0, &c, 0, &ref) != 0)
			die("a connection was refused");
	}
	*table = (double)(rte_rdtsc() - start) / n;
	*hash = 0;
	if (p->hash == NULL)
		return;
	start = rte_rdtsc();
	for (uint32_t i = 0; i < n; i++) {
		struct tuple orig = tuple_number(i), reply = tuple_reversed(&orig);
		p->entry[2 * i].hop = p->entry[2 * i + 1].hop = HOP;
		if (rte_hash_add_key_data(p->hash, &orig, &p->entry[2 * i]) != 0 ||
		    rte_hash_add_key_data(p->hash, &reply, &p->entry[2 * i + 1]) != 0)
			die("rte_hash refused a key");
	}
	*hash = (double)(rte_rdtsc() - start) / n;
}

static void
run(uint32_t n)
{
	struct peers p = {
		.key = malloc(LOOKUPS * sizeof(struct tuple)),
		.entry = aligned_alloc(64, 2 * (size_t)n * sizeof(struct conn_half)),
	};
	struct conn_table_options o = {.capacity = n < 1024 ? 1024 : n, .workers = 1, .numa_node = -1};
	struct error e;
	if (p.key == NULL || p.entry == NULL || conn_table_create(&p.table, &o, &e) != 0)
		die("no memory");
	struct rte_hash_parameters h = {
		.name = "peer",
		.entries = 2 * n + 64,
		.key_len = sizeof(struct tuple),
		.hash_func = rte_hash_crc,
		.socket_id = -1,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_MULTI_WRITER_ADD |
			      RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
	};
	p.hash = rte_hash_create(&h);
	if (p.hash == NULL)
		fprintf(stderr, "no rte_hash of %u keys (%s): the table alone\n", h.entries, rte_strerror(rte_errno));
	double insert[2], least[2][2] = {{1e9, 1e9}, {1e9, 1e9}};
	fill(&p, n, &insert[0], &insert[1]);

	srandom(n);
	for (uint32_t i = 0; i < LOOKUPS; i++) {
		struct tuple k = tuple_number((uint32_t)random() % n);
		p.key[i] = i % 2 ? k : tuple_reversed(&k);
	}
	for (unsigned int round = 0; round < 2 * ROUNDS; round++) {
		bool entry = round % 2 == 1;
		least[0][entry] = RTE_MIN(least[0][entry], measure_table(&p, entry));
		least[1][entry] = p.hash == NULL ? 0 : RTE_MIN(least[1][entry], measure_hash(&p, entry));
	}
	if (p.wrong != 0)
		die("a tuple was not found");
	struct conn_stats s;
	conn_table_stats(p.table, &s);
	printf("%12u %10.0f %10.0f %10.0f %10.0f %10.0f %10.0f %10.1f\n", n, least[0][0], least[1][0], least[0][1],
	       least[1][1], insert[0], insert[1], (double)s.bytes / s.capacity);
	rte_hash_free(p.hash);
	conn_table_destroy(p.table, true);
	free(p.entry);
	free(p.key);
}

int
main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	if (used < 0 || rcu_init(1) != 0 || generation_init() != 0)
		die("cannot start EAL");
	printf("%12s %10s %10s %10s %10s %10s %10s %10s\n", "connections", "find", "rte_hash", "+ entry", "+ entry",
	       "create", "2 adds", "bytes each");
	static const uint32_t usual[] = {1000, 100000, 1000000};
	if (used + 1 >= argc) {
		for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
			run(usual[i]);
	}
	for (int i = used + 1; i < argc; i++)
		run((uint32_t)strtoul(argv[i], NULL, 10));
	return 0;
}
