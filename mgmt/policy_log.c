/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What policies with "log" have decided, from the workers' rings to syslog and to `watch`. Workers never wait for it: what does not fit
 * is counted, and the count is told.
 */
#include "mgmt_impl.h"

#include <netinet/in.h>
#include <syslog.h>
#include <time.h>

#include <weft/clock.h>
#include <weft/text.h>

#define EVERY_MS 50
#define AT_ONCE 64

/* "TCP", or a number. */
static const char *
protocol_text(uint8_t protocol, char buf[8])
{
	switch (protocol) {
	case IPPROTO_TCP:
		return "TCP";
	case IPPROTO_UDP:
		return "UDP";
	case IPPROTO_SCTP:
		return "SCTP";
	case IPPROTO_ICMP:
		return "ICMP";
	case IPPROTO_ICMPV6:
		return "ICMPv6";
	default:
		snprintf(buf, 8, "%u", protocol);
		return buf;
	}
}

/* RFC 3339, of a moment on our clock. */
static void
time_text(uint32_t at_ms, char buf[32])
{
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - (uint32_t)(clock_ms() - at_ms);
	time_t seconds = ms / 1000;
	gmtime_r(&seconds, &tm);
	size_t n = strftime(buf, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, 32 - n, ".%03dZ", (int)(ms % 1000));
}

/* "from" and "fromPort". */
static void
add_side(json_t *e, const char *key, const struct ip *ip, uint16_t port, bool has_ports)
{
	char text[IP_TEXT_MAX], port_key[16];
	json_object_set_new(e, key, json_string(ip_format(ip, text)));
	snprintf(port_key, sizeof(port_key), "%sPort", key);
	if (has_ports)
		json_object_set_new(e, port_key, json_integer(ntohs(port)));
}

static json_t *
event_json(const struct policy_tables *p, const struct policy_event *e)
{
	struct policy_rule_info r;
	char time[32], number[8], where[32] = "default";
	uint8_t protocol = (uint8_t)e->key.net_proto;
	bool ports = protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
	bool found = e->rule != 0 && policy_rule_find(p, e->rule, &r);
	const char *endpoint = policy_endpoint_name(p, e->endpoint);
	const char *direction = e->direction == POLICY_INGRESS ? "ingress" : "egress";
	time_text(e->at_ms, time);
	if (e->rule != 0 && !found)
		snprintf(where, sizeof(where), "rule %u (gone)", e->rule);
	else if (found && r.index == POLICY_ISOLATION)
		snprintf(where, sizeof(where), "%s isolation", direction);
	else if (found)
		snprintf(where, sizeof(where), "%s[%u]", direction, r.index);
	json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:s}", "event", "policy", "kind", "Policy", "name",
				found ? r.policy : "", "rule", where, "time", time, "verdict", e->allow ? "accept" : "deny",
				"direction", direction, "dryRun", e->dry_run, "established", e->established, "protocol",
				protocol_text(protocol, number));
	add_side(out, "from", &e->key.src, e->key.sport, ports);
	add_side(out, "to", &e->key.dst, e->key.dport, ports);
	if (found && r.name != NULL)
		json_object_set_new(out, "ruleName", json_string(r.name));
	if (endpoint != NULL)
		json_object_set_new(out, "endpoint", json_string(endpoint));
	if (!ip_equal(&e->to, &e->key.dst) || e->to_port != e->key.dport)
		add_side(out, "backend", &e->to, e->to_port, ports);
	return out;
}

static const char *
text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s != NULL ? s : "";
}

static void
side_text(json_t *o, const char *key, char buf[IP_TEXT_MAX + 16])
{
	char port_key[16];
	snprintf(port_key, sizeof(port_key), "%sPort", key);
	const json_t *port = json_object_get(o, port_key);
	const char *ip = text(o, key);
	bool six = strchr(ip, ':') != NULL && port != NULL;
	int n = snprintf(buf, IP_TEXT_MAX + 8, "%s%s%s", six ? "[" : "", ip, six ? "]" : "");
	if (port != NULL)
		snprintf(buf + n, IP_TEXT_MAX + 16 - (size_t)n, ":%d", (int)json_integer_value(port));
}

static void
write_down(json_t *e)
{
	char from[IP_TEXT_MAX + 16], to[IP_TEXT_MAX + 16], backend[IP_TEXT_MAX + 16] = "";
	side_text(e, "from", from);
	side_text(e, "to", to);
	if (json_object_get(e, "backend") != NULL)
		side_text(e, "backend", backend);
	syslog(LOG_INFO, "policy %s %s: %s%s%s %s %s -> %s%s%s at %s", text(e, "name"), text(e, "rule"), text(e, "verdict"),
	       json_is_true(json_object_get(e, "dryRun")) ? " (dry run)" : "",
	       json_is_true(json_object_get(e, "established")) ? " (established)" : "", text(e, "protocol"), from, to,
	       backend[0] != '\0' ? " as " : "", backend, text(e, "endpoint"));
}

/* An address goes to whoever announced it. What is told of it, or NULL. */
static json_t *
claim(const struct policy_event *e)
{
	char ip[IP_TEXT_MAX];
	const char *name = policy_endpoint_name(&config_current()->policy, e->endpoint);
	if (name == NULL)
		return NULL;
	json_t *out = json_pack("{s:s, s:s, s:s, s:s}", "event", "announced", "kind", "Endpoint", "name", name, "ip",
				ip_format(&e->to, ip));
	struct config_txn *t = config_begin();
	if (config_claim(t, name, &e->to) == 0 && config_check(t, NULL) == 0) {
		config_publish(t);
		syslog(LOG_INFO, "Endpoint %s announced %s and has it now", json_string_value(json_object_get(out, "name")), ip);
		return out;
	}
	config_abort(t);
	json_decref(out);
	return NULL;
}

/* Up to AT_ONCE of them, unless a change is being built: names are asked of the configuration. Returns how many. */
static unsigned int
tell_some(struct mgmt *m)
{
	struct policy_event v[AT_ONCE];
	json_t *events[AT_ONCE];
	if (pthread_mutex_trylock(&m->build) != 0)
		return 0;
	unsigned int n = workers_policy_events(v, AT_ONCE);
	for (unsigned int i = 0; i < n; i++)
		events[i] = v[i].claim ? claim(&v[i]) : event_json(&config_current()->policy, &v[i]);
	pthread_mutex_unlock(&m->build);
	for (unsigned int i = 0; i < n; i++) {
		if (events[i] == NULL)
			continue;
		if (!v[i].claim)
			write_down(events[i]);
		emit(m, events[i]);
	}
	return n;
}

static void
tell_of_losses(struct mgmt *m)
{
	uint64_t lost = 0;
	for (unsigned int i = 0; i < workers_count(); i++)
		lost += __atomic_load_n(&worker_get(i)->count.events_lost, __ATOMIC_RELAXED);
	if (lost == m->policy_log.lost)
		return;
	json_int_t n = (json_int_t)(lost - m->policy_log.lost);
	m->policy_log.lost = lost;
	syslog(LOG_WARNING, "policy: %lld more verdicts were to be logged than the rate allows", (long long)n);
	emit(m, json_pack("{s:s, s:s, s:s, s:I}", "event", "policyLost", "kind", "Policy", "name", "", "count", n));
}

/* The host port's device was deleted and made again by the port itself. */
static void
renew_routes(struct mgmt *m)
{
	if (!__atomic_load_n(&m->routes_lost, __ATOMIC_RELAXED) || pthread_mutex_trylock(&m->build) != 0)
		return;
	host_routes_renew(m);
	pthread_mutex_unlock(&m->build);
}

static void *
run(void *arg)
{
	struct mgmt *m = arg;
	struct policy_log *l = &m->policy_log;
	unsigned int turns = 0;
	pthread_mutex_lock(&l->lock);
	while (!l->stop) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += EVERY_MS * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&l->wake, &l->lock, &until);
		pthread_mutex_unlock(&l->lock);
		while (tell_some(m) == AT_ONCE)
			;
		if (++turns % 20 == 0) {
			tell_of_losses(m);
			connections_watch(m);
			renew_routes(m);
		}
		pthread_mutex_lock(&l->lock);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

int
policy_log_start(struct mgmt *m, struct error *e)
{
	struct policy_log *l = &m->policy_log;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->wake, &attr);
	pthread_condattr_destroy(&attr);
	int rc = pthread_create(&l->thread, NULL, run, m);
	if (rc != 0)
		return error_set(e, -rc, "cannot start the thread that logs: %s", strerror(rc));
	pthread_setname_np(l->thread, "weft-policy");
	l->running = true;
	return 0;
}

void
policy_log_stop(struct mgmt *m)
{
	struct policy_log *l = &m->policy_log;
	if (!l->running)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	l->running = false;
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
}
