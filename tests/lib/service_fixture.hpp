// SPDX-License-Identifier: Apache-2.0
// Services made in a line each, and tables to put them in.
#pragma once

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <weft/conn.h>
#include <weft/generation.h>
#include <weft/rcu.h>
#include <weft/service.h>
#include <weft/text.h>

namespace
{

using Names = std::set<std::string>;

constexpr uint8_t TCP = 6, UDP = 17;

ip
addr(const std::string &text)
{
	ip out{};
	EXPECT_EQ(ip_parse(text.c_str(), &out), 0) << text;
	return out;
}

prefix
cidr(const std::string &text)
{
	prefix out{};
	EXPECT_EQ(prefix_parse(text.c_str(), &out, nullptr), 0) << text;
	return out;
}

// A spec_service and the memory behind it. Copy, change, put again: as a user replaces an object.
class Service
{
      public:
	explicit Service(std::string name) : name_(std::move(name))
	{
	}
	Service &
	vip(const std::string &text)
	{
		ips_.push_back(addr(text));
		return *this;
	}
	Service &
	external(const std::string &text)
	{
		external_.push_back(addr(text));
		return *this;
	}
	Service &
	load_balancer(const std::string &text)
	{
		load_balancer_.push_back(addr(text));
		return *this;
	}
	Service &
	port(uint16_t number, uint16_t target = 0, const char *name = nullptr, uint8_t protocol = TCP, uint16_t node_port = 0)
	{
		ports_.push_back({name, protocol, number, target, node_port});
		return *this;
	}
	Service &
	backend(const std::string &text, backend_state state = BACKEND_READY, uint16_t weight = 1,
		std::vector<spec_backend_port> ports = {})
	{
		backend_ports_.push_back(std::move(ports));
		const auto &p = backend_ports_.back();
		backends_.push_back({addr(text), weight, state, nullptr, p.data(), static_cast<uint32_t>(p.size())});
		return *this;
	}
	Service &
	backends(uint32_t n, uint32_t first = 0)
	{
		for (uint32_t i = first; i < first + n; i++) {
			backends_.push_back({ip_from4(htonl(0x0af40000 + i)), 1, BACKEND_READY, nullptr, nullptr, 0});
		}
		return *this;
	}
	// A backend that is said to run on a node.
	Service &
	on(const char *node)
	{
		backends_.back().node = node;
		return *this;
	}
	Service &
	local(bool internal, bool external)
	{
		internal_local_ = internal;
		external_local_ = external;
		return *this;
	}
	Service &
	source_range(const std::string &text)
	{
		ranges_.push_back(cidr(text));
		return *this;
	}
	Service &
	without_backends()
	{
		backends_.clear();
		return *this;
	}
	Service &
	without_vips()
	{
		ips_.clear();
		return *this;
	}
	Service &
	without_ports()
	{
		ports_.clear();
		return *this;
	}
	std::vector<spec_backend> &
	all_backends()
	{
		return backends_;
	}
	const spec_service *
	spec()
	{
		spec_ = {};
		spec_.name = name_.c_str();
		spec_.network = "default";
		spec_.ips = {ips_.data(), static_cast<uint32_t>(ips_.size())};
		spec_.external_ips = {external_.data(), static_cast<uint32_t>(external_.size())};
		spec_.load_balancer_ips = {load_balancer_.data(), static_cast<uint32_t>(load_balancer_.size())};
		spec_.ports = ports_.data();
		spec_.n_ports = static_cast<uint32_t>(ports_.size());
		spec_.source_ranges = {ranges_.data(), static_cast<uint32_t>(ranges_.size())};
		spec_.internal_local = internal_local_;
		spec_.external_local = external_local_;
		spec_.backends = backends_.data();
		spec_.n_backends = static_cast<uint32_t>(backends_.size());
		return &spec_;
	}

      private:
	std::string name_;
	std::vector<ip> ips_, external_, load_balancer_;
	std::vector<spec_service_port> ports_;
	std::vector<spec_backend> backends_;
	std::deque<std::vector<spec_backend_port>> backend_ports_;
	std::vector<prefix> ranges_;
	bool internal_local_ = false, external_local_ = false;
	spec_service spec_{};
};

class ServiceTest : public ::testing::Test
{
      protected:
	static constexpr uint32_t NET = 3;

	void
	SetUp() override
	{
		ASSERT_EQ(rcu_init(1), 0);
		ASSERT_EQ(generation_init(), 0);
	}

	void
	TearDown() override
	{
		std::vector<std::string> names;
		pmap_walk(
			&tables.by_name,
			[](const void *value, void *arg) {
				static_cast<std::vector<std::string> *>(arg)->push_back(
					static_cast<const char *>(value));
				return 0;
			},
			&names);
		begin();
		service_change c = change();
		for (const auto &name : names)
			EXPECT_EQ(service_remove(&c, name.c_str()), 0);
		prefix_list none = {};
		ip_list nowhere = {};
		service_set_cidrs(&c, &none);
		EXPECT_EQ(service_set_node_ips(&c, &nowhere, &e), 0);
		commit();
		EXPECT_EQ(tables.port.count, 0u);
		EXPECT_EQ(tables.address.count, 0u);
		EXPECT_EQ(tables.by_name.count, 0u);
		EXPECT_EQ(tables.cidr.map.count, 0u);
		EXPECT_EQ(tables.local.count, 0u);
		EXPECT_EQ(tables.n_node_ports, 0u);
		rcu_fini();
		generation_fini();
	}

	static void
	note(void *self, uint32_t slot)
	{
		static_cast<ServiceTest *>(self)->bumped.insert(slot);
	}

	void
	begin()
	{
		bumped.clear();
		txn_begin(&t);
		next = tables;
	}

	// The order that generation.h asks for: publish, then bump.
	void
	commit()
	{
		tables = next;
		txn_commit(&t);
		for (uint32_t slot : bumped)
			generation_bump(slot);
		rcu_reclaim();
	}

	// Inside a transaction.
	int
	stage_put(const spec_service *spec, uint32_t network = NET)
	{
		service_change c = change();
		return service_put(&c, network, spec, &e);
	}
	int
	stage_remove(const char *name)
	{
		service_change c = change();
		return service_remove(&c, name);
	}

	int
	try_put(Service &s, uint32_t network = NET)
	{
		begin();
		service_change c = change();
		int rc = service_put(&c, network, kept(s), &e);
		if (rc == 0)
			commit();
		else
			txn_abort(&t);
		return rc;
	}

	void
	put(Service &s, uint32_t network = NET)
	{
		ASSERT_EQ(try_put(s, network), 0) << e.path << ": " << e.text;
	}

	// A spec outlives the transactions that use it.
	const spec_service *
	kept(Service &s)
	{
		specs.push_back(s);
		return specs.back().spec();
	}

	void
	remove(const char *name)
	{
		begin();
		service_change c = change();
		ASSERT_EQ(service_remove(&c, name), 0);
		commit();
	}

	void
	set_cidrs(const std::vector<std::string> &texts)
	{
		std::vector<prefix> v;
		for (const auto &text : texts)
			v.push_back(cidr(text));
		prefix_list list = {v.data(), static_cast<uint32_t>(v.size())};
		begin();
		service_change c = change();
		service_set_cidrs(&c, &list);
		commit();
	}

	const service_port *
	find(const std::string &text, uint16_t port, uint8_t protocol = TCP, uint32_t network = NET)
	{
		ip a = addr(text);
		return service_find(&tables, network, &a, protocol, htons(port));
	}

	const service_address *
	address(const std::string &text, uint32_t network = NET)
	{
		ip a = addr(text);
		return service_address_find(&tables, network, &a);
	}

	static const struct backend *
	member(const service_port *p, const std::string &text, uint16_t port)
	{
		ip a = addr(text);
		for (uint32_t i = 0; i < p->choice->n_backends; i++) {
			const struct backend *b = &p->choice->backends[i];
			if (ip_equal(&b->ip, &a) && b->port == htons(port))
				return b;
		}
		return nullptr;
	}

	int
	try_node_ips(const std::vector<std::string> &texts)
	{
		std::vector<ip> v;
		for (const auto &text : texts)
			v.push_back(addr(text));
		ip_list list = {v.data(), static_cast<uint32_t>(v.size())};
		begin();
		service_change c = change();
		int rc = service_set_node_ips(&c, &list, &e);
		if (rc == 0)
			commit();
		else
			txn_abort(&t);
		return rc;
	}

	// These addresses are of this node, from now on.
	void
	live_here(const Names &ips, const char *node = "node-1", bool say_which = false)
	{
		std::vector<ip> changed;
		for (const auto &text : ips)
			changed.push_back(addr(text));
		for (const auto &text : here)
			changed.push_back(addr(text));
		here = ips;
		locality.node = node;
		begin();
		service_change c = change();
		ASSERT_EQ(service_localize(&c, say_which ? changed.data() : nullptr, changed.size(), &e), 0) << e.text;
		commit();
	}

	static bool
	is_here(void *self, uint32_t network, const ip *a)
	{
		char text[IP_TEXT_MAX];
		return network == NET && static_cast<ServiceTest *>(self)->here.count(ip_format(a, text)) != 0;
	}

	service_change
	change()
	{
		locality.here = is_here;
		locality.arg = this;
		return {&next, &t, note, this, &locality, nullptr};
	}

	static const service_set &
	set_of(const service_port *p, service_range range = SERVICE_ALL)
	{
		return p->choice->set[ip_is4(&p->ip) ? 0 : 1][range];
	}

	static const struct backend *
	choose(const service_port *p, uint32_t hash, service_range range = SERVICE_ALL)
	{
		return service_choose(p, &p->ip, range, hash);
	}

	// Who is chosen over many hashes, and how often.
	static std::map<std::string, unsigned>
	chosen(const service_port *p, unsigned rounds = 20000, service_range range = SERVICE_ALL)
	{
		std::map<std::string, unsigned> out;
		std::mt19937 random(11);
		for (unsigned i = 0; i < rounds; i++) {
			const struct backend *b = choose(p, random(), range);
			char text[IP_TEXT_MAX];
			out[b != nullptr ? ip_format(&b->ip, text) : "nobody"]++;
		}
		return out;
	}

	static std::set<std::string>
	takers(const service_port *p, service_range range = SERVICE_ALL)
	{
		std::set<std::string> out;
		for (const auto &[who, n] : chosen(p, 20000, range))
			out.insert(who);
		return out;
	}

	service_tables tables{}, next{};
	struct txn t {
	};
	std::set<uint32_t> bumped;
	Names here;
	service_locality locality{};
	struct error e {
	};
	std::deque<Service> specs;
};

} // namespace
