/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many ports the masquerade addresses have in use. A port is taken towards one destination only, so what runs out is the ports towards
 * the destination that most connections go to: that one is shown. Counted in the connection table itself, in a sample of it when it is
 * large, so that nobody pays for it but who asks.
 */
#include <stdlib.h>

#include <netinet/in.h>

#include <weft/conn.h>
#include <weft/text.h>

#include "mgmt_impl.h"

#define SAMPLE 65536u
#define GROUPS 8192u
#define WARN_AT 80 /* percent of the ports towards one destination */

/* Connections of one masquerade address to one destination: the reply tuple without the port that is its own. */
struct group {
	struct tuple key;
	uint32_t n;
};

struct survey {
	struct group *group;
	uint32_t scale; /* one in so many was looked at */
};

struct address {
	char network[WEFT_NAME_MAX + 1];
	struct ip ip;
	uint32_t ports;
};

static const struct conn_table *
table(void)
{
	return workers_count() > 0 ? worker_get(0)->conns : NULL;
}

static bool
is_live(const struct conn_half *h)
{
	return (conn_half_flags(h) & (HALF_LIVE | HALF_CLOSED)) == HALF_LIVE;
}

static uint32_t
group_hash(const struct tuple *t)
{
	uint64_t h = (t->src.q[1] ^ t->dst.q[1] * 31 ^ (uint64_t)t->sport << 32 ^ t->net_proto) * UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)(h >> 40) ^ (uint32_t)(t->src.q[0] >> 7);
}

static void
count(struct survey *s, const struct tuple *reply)
{
	struct tuple key = *reply;
	key.dport = 0;
	uint8_t proto = (uint8_t)key.net_proto;
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		key.sport = 0;
	uint32_t at = group_hash(&key);
	for (unsigned int probe = 0; probe < 16; probe++) {
		struct group *g = &s->group[(at + probe) % GROUPS];
		if (g->n == 0)
			g->key = key;
		if (g->n == 0 || tuple_equal(&g->key, &key)) {
			g->n++;
			return;
		}
	}
}

static void
survey(struct survey *s, const struct conn_table *t)
{
	struct conn_stats stats;
	const struct conn_view *view = conn_view(t);
	conn_table_stats(t, &stats);
	s->scale = (stats.capacity + SAMPLE - 1) / SAMPLE;
	for (uint32_t id = 1; id <= stats.capacity; id += s->scale) {
		const struct conn_half *reply = &view->half[2 * id + 1];
		if (!is_live(reply) || !is_live(reply - 1))
			continue;
		struct tuple key = reply->key;
		/* Out of an overlay network; and still the same one, now that it has been read. */
		if (key.net_proto >> 8 == NETWORK_UNDERLAY && (reply - 1)->key.net_proto >> 8 != NETWORK_UNDERLAY && is_live(reply))
			count(s, &key);
	}
}

static struct address *
addresses(struct mgmt *m, uint32_t *n)
{
	uint32_t size = 0;
	*n = 0;
	pthread_mutex_lock(&m->lock);
	for (uint32_t i = 0; i < m->index.n[KIND_NETWORK]; i++)
		size += m->index.v[KIND_NETWORK][i]->spec->network.masquerade.ips.n;
	struct address *v = calloc(size + 1, sizeof(*v));
	if (v == NULL)
		abort();
	for (uint32_t i = 0; i < m->index.n[KIND_NETWORK]; i++) {
		const struct spec_network *net = &m->index.v[KIND_NETWORK][i]->spec->network;
		for (uint32_t k = 0; k < net->masquerade.ips.n; k++) {
			struct address *a = &v[(*n)++];
			snprintf(a->network, sizeof(a->network), "%s", net->name);
			a->ip = net->masquerade.ips.v[k];
			a->ports = net->masquerade.port_last - net->masquerade.port_first + 1u;
		}
	}
	pthread_mutex_unlock(&m->lock);
	return v;
}

static json_t *
describe_destination(const struct tuple *t)
{
	char ip[IP_TEXT_MAX], port[16] = "";
	uint8_t proto = (uint8_t)t->net_proto;
	bool v6 = !ip_is4(&t->src);
	const char *name = proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : proto == IPPROTO_SCTP ? "SCTP" : "other";
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6)
		name = "ICMP";
	if (t->sport != 0)
		snprintf(port, sizeof(port), ":%u", ntohs(t->sport));
	ip_format(&t->src, ip);
	return json_sprintf(v6 && t->sport != 0 ? "[%s]%s/%s" : "%s%s/%s", ip, port, name);
}

static json_t *
row(const struct address *a, const struct survey *s)
{
	const struct group *most = NULL;
	uint64_t all = 0;
	for (unsigned int i = 0; i < GROUPS; i++) {
		const struct group *g = &s->group[i];
		if (g->n == 0 || !ip_equal(&g->key.dst, &a->ip))
			continue;
		all += g->n;
		if (most == NULL || g->n > most->n)
			most = g;
	}
	char ip[IP_TEXT_MAX];
	json_t *out = json_pack("{s:s, s:s, s:I, s:I}", "network", a->network, "ip", ip_format(&a->ip, ip), "ports", (json_int_t)a->ports,
				"connections", (json_int_t)(all * s->scale));
	if (most == NULL)
		return out;
	uint64_t used = (uint64_t)most->n * s->scale;
	json_object_set_new(out, "busiest", json_pack("{s:o, s:I}", "destination", describe_destination(&most->key), "used", (json_int_t)used));
	if (used * 100 >= (uint64_t)a->ports * WARN_AT)
		json_object_set_new(out, "warning", json_sprintf("%llu %% of the ports towards it are in use",
								 (unsigned long long)(used * 100 / a->ports)));
	return out;
}

json_t *
nat_status(struct mgmt *m)
{
	const struct conn_table *t = table();
	uint32_t n;
	struct address *v = addresses(m, &n);
	if (t == NULL || n == 0) {
		free(v);
		return NULL;
	}
	struct survey s = {.group = calloc(GROUPS, sizeof(*s.group))};
	if (s.group == NULL)
		abort();
	survey(&s, t);
	json_t *out = json_array();
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(out, row(&v[i], &s));
	free(s.group);
	free(v);
	return out;
}
