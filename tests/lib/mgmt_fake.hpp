// SPDX-License-Identifier: Apache-2.0
// The manager's ground: a configuration, ports, workers and kernel routes that only remember, and fail on demand.
// Include it in one source.
#ifndef WEFT_TESTS_MGMT_FAKE_HPP
#define WEFT_TESTS_MGMT_FAKE_HPP

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <jansson.h>
#include <weft/clock.h>
#include <weft/config.h>
#include <weft/conn.h>
#include <weft/drop.h>
#include <weft/mgmt.h>
#include <weft/netlink.h>
#include <weft/pipeline.h>
#include <weft/port.h>
#include <weft/port_event.h>
#include <weft/rcu.h>
#include <weft/rule_count.h>
#include <weft/service_count.h>
#include <weft/text.h>
#include <weft/worker.h>

namespace fake
{

using Key = std::pair<enum kind, std::string>;
struct Entry {
	const union spec *spec;
	struct port_facts facts;
};

inline std::string
text_of(const struct prefix &p)
{
	char text[PREFIX_TEXT_MAX];
	return prefix_format(&p, text);
}
inline std::string
text_of(const struct spec_rule &r)
{
	std::string text = std::string(r.name != nullptr ? r.name : "") + ":";
	for (uint32_t i = 0; i < r.n_ports; i++)
		text += std::to_string(r.ports[i].port) + ",";
	return text + (r.action == RULE_ACCEPT ? "accept" : "deny");
}

struct State {
	std::map<Key, Entry> now; // what is published
	std::map<Key, std::vector<std::string>> lists; // members and ingress rules of what was patched since it was put
	std::map<Key, std::string> status;
	struct config root = {};
	int open_txns = 0;
	std::vector<std::string> log; // what was asked, in order
	// Failures: of config_put by name, of config_check, of port_open by name.
	std::map<std::string, std::pair<int, std::string>> fail_put, fail_open;
	std::string fail_check;
	Key culprit = {KIND_COUNT, ""};
	bool has_culprit = false;
	int fail_wait = 0;

	std::map<uint16_t, struct port *> ports;
	std::map<std::string, std::string> claims; // socket, device or ifname -> port
	const struct port *planned_without = nullptr;
	std::map<std::string, std::string> routes; // prefix -> device
	std::set<std::string> other_routes;
	struct worker worker = {};
	unsigned int n_workers = 1;
	std::map<uint16_t, struct port_counters> counters;
	std::vector<std::pair<void *, void (*)(void *)>> deferred;
	struct port_ops ops = {};

	bool
	has(enum kind kind, const std::string &name) const
	{
		return now.count({kind, name}) != 0;
	}

	// An AddressSet's members, a Policy's ingress rules, as they are in force.
	std::vector<std::string>
	list(const Key &key) const
	{
		auto patched = lists.find(key);
		if (patched != lists.end())
			return patched->second;
		std::vector<std::string> out;
		const union spec *spec = now.at(key).spec;
		if (key.first == KIND_ADDRESS_SET)
			for (uint32_t i = 0; i < spec->address_set.members.n; i++)
				out.push_back(text_of(spec->address_set.members.v[i]));
		else
			for (uint32_t i = 0; i < spec->policy.n_ingress; i++)
				out.push_back(text_of(spec->policy.ingress[i]));
		return out;
	}

	void
	forget()
	{
		auto list = std::move(deferred);
		deferred.clear();
		for (auto &[p, fn] : list)
			fn(p);
	}

	// Reads all that is published, as the workers would: AddressSanitizer tells if anything is gone too early.
	void
	touch() const
	{
		for (auto &[key, entry] : now) {
			if (std::string(entry.spec->name) != key.second)
				abort();
			if (key.first == KIND_SERVICE)
				for (uint32_t i = 0; i < entry.spec->service.n_backends; i++)
					if (entry.spec->service.backends[i].weight > 1000)
						abort();
		}
	}
};

inline State *s; // of the running test

inline struct port *
port_named(const std::string &name)
{
	for (auto &[id, p] : s->ports)
		if (name == p->name)
			return p;
	return nullptr;
}

} // namespace fake

struct config_txn {
	std::map<fake::Key, fake::Entry> next;
	std::map<fake::Key, std::vector<std::string>> lists; // of what was patched
	std::vector<fake::Key> changed;
	bool checked = false, failed = false;
};

extern "C" {

const struct config *
config_current(void)
{
	return &fake::s->root;
}

struct config_txn *
config_begin(void)
{
	fake::s->open_txns++;
	auto *t = new config_txn;
	t->next = fake::s->now;
	return t;
}

int
config_put(struct config_txn *t, enum kind kind, const union spec *spec, const struct port_facts *facts,
	   struct error *e)
{
	EXPECT_EQ(facts != nullptr, kind == KIND_PORT);
	EXPECT_FALSE(t->checked);
	fake::s->log.push_back(std::string("put ") + spec->name);
	auto fail = fake::s->fail_put.find(spec->name);
	if (fail != fake::s->fail_put.end()) {
		t->failed = true;
		return error_at(e, fail->second.first, "network", "%s", fail->second.second.c_str());
	}
	t->next[{kind, spec->name}] = {spec, facts != nullptr ? *facts : port_facts{}};
	t->changed.push_back({kind, spec->name});
	return 0;
}

/* Kept as text: what a patch made of the list, beside what config_put brought. */
int
config_patch(struct config_txn *t, enum kind kind, const union spec *spec, const struct config_patch *patch,
	     struct error *e)
{
	fake::s->log.push_back(std::string("patch ") + spec->name);
	auto fail = fake::s->fail_put.find(spec->name);
	if (fail != fake::s->fail_put.end()) {
		t->failed = true;
		return error_at(e, fail->second.first, "ingress[0]", "%s", fail->second.second.c_str());
	}
	EXPECT_NE(t->next.count({kind, spec->name}), 0u);
	auto &list = t->lists[{kind, spec->name}] = fake::s->list({kind, spec->name});
	for (uint32_t i = 0; patch->remove != nullptr && i < patch->remove->n; i++) {
		auto found = std::find(list.begin(), list.end(), fake::text_of(patch->remove->v[i]));
		EXPECT_NE(found, list.end()) << "what is not there is not removed";
		if (found != list.end())
			list.erase(found);
	}
	for (uint32_t i = 0; patch->add != nullptr && i < patch->add->n; i++)
		list.push_back(fake::text_of(patch->add->v[i]));
	for (uint32_t i = 0; i < patch->n_edits; i++) {
		const struct policy_edit &edit = patch->edits[i];
		EXPECT_LE(edit.at, list.size() - (edit.rule == nullptr));
		if (edit.rule == nullptr)
			list.erase(list.begin() + edit.at);
		else
			list.insert(list.begin() + edit.at, fake::text_of(*edit.rule));
	}
	t->next[{kind, spec->name}].spec = spec;
	return 0;
}

int
config_remove(struct config_txn *t, enum kind kind, const char *name, struct error *e)
{
	fake::s->log.push_back(std::string("remove ") + name);
	if (t->next.erase({kind, name}) == 0)
		return error_at(e, -ENOENT, "name", "no such object");
	return 0;
}

int
config_check(struct config_txn *t, struct error *e)
{
	t->checked = true;
	if (!fake::s->fail_check.empty()) {
		t->failed = true;
		return error_at(e, -EBUSY, "ips[0]", "%s", fake::s->fail_check.c_str());
	}
	for (auto &[key, entry] : t->next)
		if (key.first == KIND_ENDPOINT && t->next.count({KIND_NETWORK, entry.spec->endpoint.network}) == 0) {
			t->failed = true;
			return error_set(e, -EBUSY, "Network \"%s\" is used by Endpoint \"%s\"",
					 entry.spec->endpoint.network, key.second.c_str());
		}
	return 0;
}

bool
config_culprit(const struct config_txn *, enum kind *kind, const char **name)
{
	*kind = fake::s->culprit.first;
	*name = fake::s->culprit.second.c_str();
	return fake::s->has_culprit;
}

uint64_t
config_publish(struct config_txn *t)
{
	EXPECT_TRUE(t->checked);
	EXPECT_FALSE(t->failed);
	for (auto &key : t->changed)
		fake::s->lists.erase(key);
	for (auto &[key, list] : t->lists)
		fake::s->lists[key] = list;
	fake::s->now = t->next;
	fake::s->root.epoch++;
	fake::s->open_txns--;
	fake::s->log.push_back("publish");
	delete t;
	return fake::s->root.epoch;
}

void
config_abort(struct config_txn *t)
{
	fake::s->open_txns--;
	fake::s->log.push_back("abort");
	delete t;
}

uint32_t
config_object_slot(enum kind, const char *)
{
	return 0;
}
uint32_t
conn_owner_used(const struct conn_table *, uint32_t)
{
	return 0;
}

void
config_object_status(enum kind kind, const char *name, char *buf, size_t size)
{
	auto it = fake::s->status.find({kind, name});
	snprintf(buf, size, "%s", it != fake::s->status.end() ? it->second.c_str() : "ready");
}

static std::string
claim_of(const struct spec_port *spec)
{
	if (spec->socket != nullptr)
		return std::string("socket ") + spec->socket;
	if (spec->ifname != nullptr)
		return std::string("device ") + spec->ifname;
	return spec->device != nullptr ? std::string("device ") + spec->device : std::string("port ") + spec->name;
}

int
port_open(const struct spec_port *spec, struct port **out, struct error *e)
{
	fake::s->log.push_back(std::string("open ") + spec->name);
	auto fail = fake::s->fail_open.find(spec->name);
	if (fail != fake::s->fail_open.end())
		return error_at(e, fail->second.first, "socket", "%s", fail->second.second.c_str());
	if (fake::port_named(spec->name) != nullptr)
		return error_set(e, -EEXIST, "port %s exists already", spec->name);
	std::string claim = claim_of(spec);
	if (fake::s->claims.count(claim) != 0)
		return error_set(e, -EEXIST, "%s is taken by port %s", claim.c_str(), fake::s->claims[claim].c_str());
	uint16_t id = 0;
	while (fake::s->ports.count(id) != 0)
		id++;
	auto *p = new (std::align_val_t(64)) struct port();
	p->id = id;
	p->n_rxq = p->n_txq = 1;
	p->up = true;
	p->ops = &fake::s->ops;
	p->mac.b[0] = 2;
	p->mac.b[5] = (uint8_t)(id + 1);
	snprintf(p->name, sizeof(p->name), "%s", spec->name);
	fake::s->ports[id] = p;
	fake::s->claims[claim] = spec->name;
	*out = p;
	return 0;
}

void
port_close(struct port *p)
{
	EXPECT_EQ(fake::s->planned_without, p) << "closed while workers poll it";
	fake::s->log.push_back(std::string("close ") + p->name);
	// A device takes its routes with it.
	for (auto it = fake::s->routes.begin(); it != fake::s->routes.end();) {
		auto claim = fake::s->claims.find("device " + it->second);
		it = claim != fake::s->claims.end() && claim->second == p->name ? fake::s->routes.erase(it) : std::next(it);
	}
	for (auto it = fake::s->claims.begin(); it != fake::s->claims.end();)
		it = it->second == p->name ? fake::s->claims.erase(it) : std::next(it);
	fake::s->ports.erase(p->id);
	fake::s->planned_without = nullptr;
	operator delete(p, std::align_val_t(64));
}

struct port *
port_by_id(uint16_t id)
{
	auto it = fake::s->ports.find(id);
	return it != fake::s->ports.end() ? it->second : nullptr;
}

void
port_lock(void)
{
}

void
ports_leave(void)
{
	fake::s->log.push_back("leave");
}

void
port_unlock(void)
{
}

bool
config_admits(const struct config_txn *, const char *)
{
	return true;
}
void
config_admitted(const struct config_txn *, void (*)(const char *, void *), void *)
{
}
int
config_claim(struct config_txn *, const char *, const struct ip *)
{
	return -ENOENT;
}
uint32_t
config_closed(void)
{
	return 0;
}
unsigned int
workers_policy_events(struct policy_event *, unsigned int)
{
	return 0;
}
bool
policy_rule_find(const struct policy_tables *, uint32_t, struct policy_rule_info *)
{
	return false;
}
int
policy_rules(const struct policy_tables *, const char *, void (*)(const struct policy_rule_info *, void *), void *)
{
	return -ENOENT;
}
const char *
policy_endpoint_name(const struct policy_tables *, uint32_t)
{
	return nullptr;
}
int
service_ports(const struct service_tables *, const char *, void (*)(const struct service_port_info *, void *), void *)
{
	return -ENOENT;
}

void
service_count_read(uint32_t, struct service_count *out)
{
	*out = {};
}

void
rule_count_read(uint32_t, struct rule_count *out)
{
	*out = {};
}

void
workers_replan(const struct port *without)
{
	fake::s->log.push_back(without != nullptr ? std::string("replan without ") + without->name : "replan");
	fake::s->planned_without = without;
	free(fake::s->worker.poll);
	auto *list = static_cast<struct poll_list *>(
		calloc(1, sizeof(struct poll_list) + (fake::s->ports.size() + 1) * sizeof(struct rx_queue)));
	for (auto &[id, p] : fake::s->ports)
		if (p != without)
			list->q[list->n++].port = p;
	fake::s->worker.poll = list;
}

int
workers_wait(uint64_t epoch, unsigned int)
{
	EXPECT_EQ(epoch, fake::s->root.epoch);
	fake::s->log.push_back("wait");
	return fake::s->fail_wait;
}

unsigned int
workers_count(void)
{
	return fake::s->n_workers;
}

struct worker *
worker_get(unsigned int)
{
	return &fake::s->worker;
}

void
workers_port_counters(uint16_t id, struct port_counters *out)
{
	auto it = fake::s->counters.find(id);
	*out = it != fake::s->counters.end() ? it->second : port_counters{};
}

void
workers_totals(struct totals *out)
{
	*out = {10, 1, 8, 2, 0, 1, 0, 0};
}

const struct conn_view *
conn_view(const struct conn_table *)
{
	static std::vector<struct conn_half> half(2 * 1025); // nothing lives
	static const struct conn_view view = {half.data(), nullptr};
	return &view;
}

void
conn_table_stats(const struct conn_table *, struct conn_stats *out)
{
	*out = {};
	out->capacity = 1024;
	out->used = 5;
	out->half_open = 2;
}

int
netlink_route(int add, const struct prefix *prefix, const char *ifname, const char *)
{
	char text[PREFIX_TEXT_MAX];
	std::string p = prefix_format(prefix, text);
	if (add != 0 && fake::s->other_routes.count(p) != 0)
		return -EEXIST;
	if (add != 0)
		fake::s->routes[p] = ifname;
	else
		fake::s->routes.erase(p);
	return 0;
}

void
rcu_defer(void *p, void (*fn)(void *))
{
	fake::s->deferred.push_back({p, fn});
}

size_t
rcu_reclaim(void)
{
	return fake::s->deferred.size();
}

const struct drop_text drop_texts[DROP_REASON_COUNT] = {
#define X(upper, name, help) {name, help},
	DROP_REASONS(X)
#undef X
};

const struct stage_row pipeline[STAGE_COUNT] = {
	{"parse", nullptr, ""},  {"decap", nullptr, ""},    {"track", nullptr, ""},   {"relate", nullptr, ""},
	{"decide", nullptr, ""}, {"respond", nullptr, ""},  {"rewrite", nullptr, ""}, {"forward", nullptr, ""},
	{"encap", nullptr, ""},  {"transmit", nullptr, ""},
};

} // extern "C"

namespace fake
{

// A manager on the fakes, and words to talk to it.
class Manager : public testing::Test
{
      protected:
	State state;
	struct mgmt *m = nullptr;
	struct error error = {};
	struct rpc_error rpc = {};
	const char *state_dir = nullptr, *sysctl_dir = "/nonexistent";

	Manager()
	{
		s = &state;
		state.ops.describe = [](const struct port *, char *buf, size_t size) {
			snprintf(buf, size, "connected, 1 queue");
		};
	}

	~Manager() override
	{
		stop();
		EXPECT_EQ(state.open_txns, 0);
		free(state.worker.poll);
		s = nullptr;
	}

	int
	start()
	{
		struct mgmt_options o = {};
		o.state_dir = state_dir;
		o.sysctl_dir = sysctl_dir;
		o.version = "9.9";
		error = {};
		return mgmt_start(&m, &o, &error);
	}

	void
	stop()
	{
		state.fail_check = "";
		mgmt_stop(m);
		m = nullptr;
		state.touch();
		state.forget();
		EXPECT_TRUE(state.ports.empty());
	}

	void
	SetUp() override
	{
		ASSERT_EQ(start(), 0) << error.text;
	}

	// The answer, or null: rpc says why.
	json_t *
	call(const char *method, const std::string &params, enum mgmt_role role = MGMT_ADMIN)
	{
		json_error_t why;
		json_t *p = json_loads(params.c_str(), 0, &why);
		EXPECT_NE(p, nullptr) << params << ": " << why.text;
		rpc = {};
		json_t *out = mgmt_call(m, role, method, p, &rpc);
		json_decref(p);
		state.touch();
		EXPECT_EQ(state.open_txns, 0);
		return out;
	}

	// Its text, or "CODE message".
	std::string
	ask(const char *method, const std::string &params, enum mgmt_role role = MGMT_ADMIN)
	{
		json_t *out = call(method, params, role);
		if (out == nullptr)
			return std::to_string(rpc.code) + " " + rpc.message;
		char *text = json_dumps(out, JSON_COMPACT);
		std::string result = text;
		free(text);
		json_decref(out);
		return result;
	}

	std::string
	apply(const std::string &objects, const std::string &more = "")
	{
		return ask("apply", "{\"objects\":[" + objects + "]" + more + "}");
	}

	// One value out of an answer: get("get", params, {"object", "status", "phase"}).
	std::string
	value(const char *method, const std::string &params, const std::vector<std::string> &path)
	{
		json_t *out = call(method, params), *v = out;
		for (const std::string &name : path)
			v = json_is_array(v) ? json_array_get(v, std::stoul(name)) : json_object_get(v, name.c_str());
		char *text = v != nullptr ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : nullptr;
		std::string result = text != nullptr ? text : "nothing";
		free(text);
		json_decref(out);
		return result;
	}

	std::string
	phase(const char *kind, const std::string &name)
	{
		return value("get", std::string("{\"kind\":\"") + kind + "\",\"name\":\"" + name + "\"}",
			     {"object", "status", "phase"});
	}
};

} // namespace fake

#endif
