/* SPDX-License-Identifier: Apache-2.0 */
/* status, stats, drops. */
#include <string.h>

#include "cli.h"

/* Ask, and leave the printing to `print` unless JSON is wanted. */
static int
show(struct cli *c, const char *verb, json_t *params, int (*print)(struct cli *c, json_t *answer))
{
	int rc;
	json_t *answer = ask(c, verb, params, &rc);
	if (answer != NULL)
		rc = c->output == OUT_JSON ? print_json(answer) : print(c, answer);
	json_decref(answer);
	return rc;
}

static void
label(const char *name)
{
	printf("%-12s ", name);
}

/* "Port 4, Service 2"; what is zero is left out. */
static void
print_members(const json_t *object)
{
	const char *key, *comma = "";
	char buf[TEXT_MAX];
	json_t *v;
	json_object_foreach((json_t *)object, key, v)
	{
		if (json_is_integer(v) && json_integer_value(v) == 0)
			continue;
		printf("%s%s %s", comma, key, text_value(v, NULL, 8, buf));
		comma = ", ";
	}
	puts(comma[0] != '\0' ? "" : "none");
}

static void
print_connections(const json_t *c)
{
	char used[TEXT_MAX], capacity[TEXT_MAX], half[TEXT_MAX];
	int64_t n = number(c, "used"), of = number(c, "capacity");
	label("connections");
	printf("%s of %s (%.0f%%), %s half-open\n", text_count((uint64_t)n, used), text_count((uint64_t)of, capacity),
	       of > 0 ? 100.0 * (double)n / (double)of : 0.0, text_count((uint64_t)number(c, "halfOpen"), half));
	if (json_object_get(c, "warning") == NULL)
		return;
	json_t *holder;
	size_t i;
	label("warning");
	printf("%u %% of the connection table are in use", of > 0 ? (unsigned int)(100 * n / of) : 0);
	json_array_foreach(json_object_get(c, "holders"), i, holder)
		printf("%s %s %s", i == 0 ? ":" : ",", string(holder, "name"),
		       text_count((uint64_t)number(holder, "used"), used));
	putchar('\n');
}

static void
print_masquerade(const json_t *list)
{
	char n[TEXT_MAX], used[TEXT_MAX], ports[TEXT_MAX];
	json_t *a;
	size_t i;
	json_array_foreach(list, i, a)
	{
		const json_t *most = json_object_get(a, "busiest");
		label(i == 0 ? "masquerade" : "");
		printf("%s (%s) %s connections", string(a, "ip"), string(a, "network"), text_count((uint64_t)number(a, "connections"), n));
		if (most != NULL)
			printf(", most to %s: %s of %s ports%s", string(most, "destination"), text_count((uint64_t)number(most, "used"), used),
			       text_count((uint64_t)number(a, "ports"), ports), json_object_get(a, "warning") != NULL ? "; soon none" : "");
		putchar('\n');
	}
}

/* rx + created = tx + dropped + merged + punted + held: packets are never lost without a word. */
static void
print_books(const json_t *books)
{
	static const char *const members[] = {"rx", "created", "tx", "dropped", "merged", "punted", "held"};
	static const char *const before[] = {"", " + ", " = ", " + ", " + ", " + ", " + "};
	char buf[TEXT_MAX];
	label("packets");
	for (int i = 0; i < 7; i++)
		printf("%s%s %s", before[i], members[i], text_count((uint64_t)number(books, members[i]), buf));
	long long difference = (long long)number(books, "difference");
	if (difference != 0)
		printf("; in flight or unaccounted: %lld", difference);
	putchar('\n');
}

static void
print_workers(const json_t *workers)
{
	struct table *t = table_new();
	json_t *worker, *queue;
	size_t i, j;
	table_column(t, "WORKER", true);
	table_column(t, "CORE", true);
	table_column(t, "NUMA", true);
	table_column(t, "QUEUES", true);
	table_column(t, "PORT/QUEUE", false);
	json_array_foreach(workers, i, worker)
	{
		json_t *queues = json_object_get(worker, "rxQueues");
		char list[TEXT_MAX] = "-";
		size_t n = 0, total = json_array_size(queues);
		table_cell(t, "%lld", (long long)number(worker, "id"));
		table_cell(t, "%lld", (long long)number(worker, "core"));
		table_cell(t, "%lld", (long long)number(worker, "numa"));
		table_cell(t, "%zu", total);
		json_array_foreach(queues, j, queue)
		{
			if (n > 60) {
				snprintf(list + n, sizeof(list) - n, " +%zu", total - j);
				break;
			}
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%.60s/%lld", j > 0 ? " " : "",
					      string(queue, "port"), (long long)number(queue, "queue"));
		}
		table_cell(t, "%s", list);
	}
	table_print(t, stdout, terminal_width(), 0);
}

static int
print_status(struct cli *c, json_t *s)
{
	static const char *const known[] = {"version", "uptimeSeconds", "epoch", "objects",
					    "workers", "connections",   "books",  "masquerade"};
	char buf[TEXT_MAX];
	const char *key;
	json_t *v;
	(void)c;
	printf("weft %s, up %s, epoch %lld\n", string(s, "version"),
	       text_duration((uint64_t)number(s, "uptimeSeconds"), buf), (long long)number(s, "epoch"));
	label("objects");
	print_members(json_object_get(s, "objects"));
	print_connections(json_object_get(s, "connections"));
	print_masquerade(json_object_get(s, "masquerade"));
	print_books(json_object_get(s, "books"));
	json_object_foreach(s, key, v)
	{
		bool is_known = false;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			is_known |= strcmp(known[i], key) == 0;
		if (is_known)
			continue;
		label(key);
		if (json_is_object(v))
			print_members(v);
		else
			puts(text_value(v, NULL, 16, buf));
	}
	if (json_array_size(json_object_get(s, "workers")) > 0) {
		putchar('\n');
		print_workers(json_object_get(s, "workers"));
	}
	return DONE;
}

int
run_status(struct cli *c)
{
	return show(c, "status", NULL, print_status);
}

static double
ratio(const json_t *o, const char *a, const char *b)
{
	double of = (double)number(o, b);
	return of > 0 ? (double)number(o, a) / of : 0;
}

static void
count_cells(struct table *t, const json_t *o, const char *const *members)
{
	char buf[TEXT_MAX];
	for (; *members != NULL; members++)
		table_cell(t, "%s", text_count((uint64_t)number(o, *members), buf));
}

static void
print_worker_stats(const json_t *workers)
{
	static const char *const titles[] = {"CORE",          "BUSY",   "PACKETS", "PER BURST",
					     "CYCLES/PACKET", "HANDED", "DECIDED", "NEW CONN",
					     "EXPIRED",       "HELD",   NULL};
	static const char *const members[] = {"handed", "decided", "connCreated", "connExpired", "held", NULL};
	struct table *t = table_new();
	char buf[TEXT_MAX];
	json_t *w;
	size_t i;
	table_column(t, "WORKER", true);
	for (int k = 0; titles[k] != NULL; k++)
		table_column(t, titles[k], true);
	json_array_foreach(workers, i, w)
	{
		table_cell(t, "%lld", (long long)number(w, "id"));
		table_cell(t, "%lld", (long long)number(w, "core"));
		table_cell(t, "%.0f%%", 100 * ratio(w, "busyTurns", "turns"));
		table_cell(t, "%s", text_count((uint64_t)number(w, "packets"), buf));
		table_cell(t, "%.1f", ratio(w, "packets", "bursts"));
		table_cell(t, "%.0f", ratio(w, "busyCycles", "packets"));
		count_cells(t, w, members);
	}
	table_print(t, stdout, terminal_width(), 0);
}

static void
print_stages(const json_t *workers)
{
	struct table *t = table_new();
	char buf[TEXT_MAX];
	json_t *w, *stage;
	size_t i, j;
	table_column(t, "WORKER", true);
	table_column(t, "STAGE", false);
	table_column(t, "SAMPLED", true);
	table_column(t, "CYCLES/PACKET", true);
	json_array_foreach(workers, i, w)
	{
		json_array_foreach(json_object_get(w, "stages"), j, stage)
		{
			table_cell(t, "%lld", (long long)number(w, "id"));
			table_cell(t, "%s", string(stage, "name"));
			table_cell(t, "%s", text_count((uint64_t)number(stage, "packets"), buf));
			table_cell(t, "%.0f", ratio(stage, "cycles", "packets"));
		}
	}
	putchar('\n');
	table_print(t, stdout, 0, 0);
}

static void
print_port_stats(const json_t *ports)
{
	static const char *const counts[] = {"created", "punted", "dropped", NULL};
	static const char *const titles[] = {"RX", "", "TX", "", "CREATED", "PUNTED", "DROPPED", NULL};
	struct table *t = table_new();
	char buf[TEXT_MAX];
	json_t *p;
	size_t i;
	table_column(t, "PORT", false);
	for (int k = 0; titles[k] != NULL; k++)
		table_column(t, titles[k], true);
	json_array_foreach(ports, i, p)
	{
		table_cell(t, "%s", string(p, "name"));
		table_cell(t, "%s", text_count((uint64_t)number(p, "rx"), buf));
		table_cell(t, "%s", text_bytes((uint64_t)number(p, "rxBytes"), buf));
		table_cell(t, "%s", text_count((uint64_t)number(p, "tx"), buf));
		table_cell(t, "%s", text_bytes((uint64_t)number(p, "txBytes"), buf));
		count_cells(t, p, counts);
	}
	putchar('\n');
	table_print(t, stdout, terminal_width(), 0);
}

static void
print_policy_stats(const json_t *policies)
{
	static const char *const counts[] = {"accepted", "denied", "passed", "wouldAccept", "wouldDeny", "wouldPass", NULL};
	static const char *const titles[] = {"ACCEPTED", "DENIED", "PASSED", "WOULD ACCEPT", "WOULD DENY", "WOULD PASS", NULL};
	struct table *t = table_new();
	json_t *p;
	size_t i;
	table_column(t, "POLICY", false);
	for (int k = 0; titles[k] != NULL; k++)
		table_column(t, titles[k], true);
	json_array_foreach(policies, i, p)
	{
		table_cell(t, "%s", string(p, "name"));
		count_cells(t, p, counts);
	}
	putchar('\n');
	table_print(t, stdout, terminal_width(), 0);
}

static int
print_stats(struct cli *c, json_t *s)
{
	const json_t *workers = json_object_get(s, "workers"), *ports = json_object_get(s, "ports");
	const json_t *policies = json_object_get(s, "policies");
	print_worker_stats(workers);
	if (c->output == OUT_WIDE)
		print_stages(workers);
	if (json_array_size(ports) > 0)
		print_port_stats(ports);
	if (json_array_size(policies) > 0)
		print_policy_stats(policies);
	return DONE;
}

int
run_stats(struct cli *c)
{
	return show(c, "stats", NULL, print_stats);
}

static void
drop_row(struct table *t, const char *port, const json_t *d, int64_t packets)
{
	table_cell(t, "%s", port);
	table_cell(t, "%s", string(d, "reason"));
	table_cell(t, "%lld", (long long)packets);
	table_cell(t, "%s", string(d, "help"));
}

/* What the ports that are still there have of a reason. */
static int64_t
sum_of(const json_t *drops, const char *reason)
{
	int64_t sum = 0;
	json_t *d;
	size_t i;
	json_array_foreach(drops, i, d) sum += strcmp(string(d, "reason"), reason) == 0 ? number(d, "packets") : 0;
	return sum;
}

static int
print_drops(struct cli *c, json_t *answer)
{
	const json_t *drops = json_object_get(answer, "drops"), *total = json_object_get(answer, "total");
	struct table *t = table_new();
	size_t i, rows = 0;
	json_t *d;
	table_column(t, "PORT", false);
	table_column(t, "REASON", false);
	table_column(t, "PACKETS", true);
	table_column(t, "WHAT IT MEANS", false);
	json_array_foreach(drops, i, d)
	{
		drop_row(t, string(d, "port"), d, number(d, "packets"));
		rows++;
	}
	json_array_foreach(total, i, d)
	{
		int64_t gone = number(d, "packets") - sum_of(drops, string(d, "reason"));
		if (args_has(c, "--port") || gone <= 0)
			continue;
		drop_row(t, "(gone)", d, gone);
		rows++;
	}
	if (rows == 0)
		puts("nothing was dropped");
	table_print(t, rows > 0 ? stdout : NULL, 0, 0);
	return DONE;
}

int
run_drops(struct cli *c)
{
	const char *port = args_value(c, "--port");
	return show(c, "drops", port != NULL ? json_pack("{s:s}", "port", port) : NULL, print_drops);
}
