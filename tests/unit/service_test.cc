// SPDX-License-Identifier: Apache-2.0
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
	port(uint16_t number, uint16_t target = 0, const char *name = nullptr, uint8_t protocol = TCP)
	{
		ports_.push_back({name, protocol, number, target, 0});
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
		for (const auto &name : names)
			EXPECT_EQ(service_remove(&next, &t, name.c_str(), note, this), 0);
		prefix_list none = {};
		service_set_cidrs(&next, &t, &none, note, this);
		commit();
		EXPECT_EQ(tables.port.count, 0u);
		EXPECT_EQ(tables.address.count, 0u);
		EXPECT_EQ(tables.by_name.count, 0u);
		EXPECT_EQ(tables.cidr.map.count, 0u);
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

	int
	try_put(Service &s, uint32_t network = NET)
	{
		begin();
		int rc = service_put(&next, &t, network, kept(s), note, this, &e);
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
		ASSERT_EQ(service_remove(&next, &t, name, note, this), 0);
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
		service_set_cidrs(&next, &t, &list, note, this);
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

	// Who is chosen over many hashes, and how often.
	static std::map<std::string, unsigned>
	chosen(const service_port *p, unsigned rounds = 20000)
	{
		std::map<std::string, unsigned> out;
		std::mt19937 random(11);
		for (unsigned i = 0; i < rounds; i++) {
			const struct backend *b = service_choose(p, random());
			char text[IP_TEXT_MAX];
			out[b != nullptr ? ip_format(&b->ip, text) : "nobody"]++;
		}
		return out;
	}

	static std::set<std::string>
	takers(const service_port *p)
	{
		std::set<std::string> out;
		for (const auto &[who, n] : chosen(p))
			out.insert(who);
		return out;
	}

	service_tables tables{}, next{};
	struct txn t {
	};
	std::set<uint32_t> bumped;
	struct error e {
	};
	std::deque<Service> specs;
};

using Names = std::set<std::string>;

// --- what a service claims ---

TEST_F(ServiceTest, NothingIsAService)
{
	EXPECT_EQ(find("10.96.0.10", 80), nullptr);
	EXPECT_EQ(address("10.96.0.10"), nullptr);
	ip a = addr("10.96.0.10");
	EXPECT_FALSE(service_in_cidr(&tables, &a));
}

TEST_F(ServiceTest, IsFoundByNetworkAddressProtocolAndPort)
{
	Service web("shop/web");
	put(web.vip("10.96.0.10").port(80, 8080).backend("10.244.1.5"));
	const service_port *p = find("10.96.0.10", 80);
	ASSERT_NE(p, nullptr);
	EXPECT_STREQ(p->spec->name, "shop/web");
	EXPECT_EQ(p->port, htons(80));
	EXPECT_EQ(p->network, NET);
	EXPECT_NE(p->id, 0u);
	EXPECT_NE(p->slot, 0u);
	EXPECT_EQ(find("10.96.0.10", 81), nullptr);
	EXPECT_EQ(find("10.96.0.11", 80), nullptr);
	EXPECT_EQ(find("10.96.0.10", 80, UDP), nullptr);
	EXPECT_EQ(find("10.96.0.10", 80, TCP, NET + 1), nullptr);
}

TEST_F(ServiceTest, EveryAddressOfEveryKindHasEveryPortAndTheyShareTheChoice)
{
	Service web("web");
	put(web.vip("10.96.0.10")
		    .vip("fd00::10")
		    .external("203.0.113.1")
		    .load_balancer("198.51.100.1")
		    .port(80, 0, "http")
		    .port(443, 0, "https")
		    .backends(3));
	EXPECT_EQ(tables.port.count, 8u);
	EXPECT_EQ(tables.address.count, 4u);
	for (uint16_t port : {80, 443}) {
		const service_port *p = find("10.96.0.10", port);
		ASSERT_NE(p, nullptr);
		for (const char *other : {"fd00::10", "203.0.113.1", "198.51.100.1"}) {
			ASSERT_NE(find(other, port), nullptr);
			EXPECT_EQ(find(other, port)->choice, p->choice);
			EXPECT_EQ(find(other, port)->id, p->id);
			EXPECT_EQ(find(other, port)->slot, p->slot);
		}
	}
	EXPECT_NE(find("10.96.0.10", 80)->id, find("10.96.0.10", 443)->id);
	EXPECT_NE(find("10.96.0.10", 80)->choice, find("10.96.0.10", 443)->choice);
}

TEST_F(ServiceTest, TheSamePortOfTwoProtocolsIsTwoPorts)
{
	Service dns("dns");
	put(dns.vip("10.96.0.10").port(53, 5353, "dns", UDP).port(53, 5354, "dns-tcp", TCP).backend("10.244.0.2"));
	EXPECT_NE(member(find("10.96.0.10", 53, UDP), "10.244.0.2", 5353), nullptr);
	EXPECT_NE(member(find("10.96.0.10", 53, TCP), "10.244.0.2", 5354), nullptr);
	EXPECT_NE(find("10.96.0.10", 53, UDP)->id, find("10.96.0.10", 53, TCP)->id);
}

TEST_F(ServiceTest, AnAddressListedTwiceCountsOnce)
{
	Service web("web");
	put(web.vip("10.96.0.10").external("10.96.0.10").load_balancer("10.96.0.10").port(80).backends(1));
	EXPECT_EQ(tables.port.count, 1u);
	ASSERT_NE(address("10.96.0.10"), nullptr);
	EXPECT_EQ(address("10.96.0.10")->uses, 1u);
}

TEST_F(ServiceTest, AServiceWithoutAddressesClaimsNothing)
{
	Service headless("headless");
	put(headless.port(80).backends(2));
	EXPECT_EQ(tables.port.count, 0u);
	EXPECT_EQ(tables.by_name.count, 1u);
}

TEST_F(ServiceTest, TheSameAddressInTwoNetworksIsTwoServices)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.10").port(80).backends(1), 1);
	put(b.vip("10.96.0.10").port(80).backends(1), 2);
	EXPECT_STREQ(find("10.96.0.10", 80, TCP, 1)->spec->name, "a");
	EXPECT_STREQ(find("10.96.0.10", 80, TCP, 2)->spec->name, "b");
}

TEST_F(ServiceTest, TwoServicesMayShareAnAddressWithDifferentPorts)
{
	Service a("a"), b("b");
	put(a.vip("203.0.113.1").port(80).backends(1));
	put(b.vip("203.0.113.1").port(443).backends(1));
	EXPECT_EQ(address("203.0.113.1")->uses, 2u);
	remove("a");
	EXPECT_EQ(find("203.0.113.1", 80), nullptr);
	ASSERT_NE(find("203.0.113.1", 443), nullptr);
	ASSERT_NE(address("203.0.113.1"), nullptr);
	EXPECT_EQ(address("203.0.113.1")->uses, 1u);
	EXPECT_EQ(address("203.0.113.1")->slot, find("203.0.113.1", 443)->slot);
	remove("b");
	EXPECT_EQ(address("203.0.113.1"), nullptr);
}

TEST_F(ServiceTest, ASecondClaimIsRefusedAndNamesTheFirst)
{
	Service a("shop/web"), b("evil/web");
	put(a.vip("10.96.0.10").port(80).backends(1));
	b.vip("10.96.0.99").vip("10.96.0.10").port(443).port(80).backends(1);
	EXPECT_EQ(try_put(b), -EEXIST);
	EXPECT_STREQ(e.path, "ports[1]");
	EXPECT_NE(std::string(e.text).find("shop/web"), std::string::npos) << e.text;
	EXPECT_NE(std::string(e.text).find("10.96.0.10"), std::string::npos) << e.text;
	EXPECT_EQ(tables.port.count, 1u);
	EXPECT_EQ(tables.address.count, 1u);
	EXPECT_STREQ(find("10.96.0.10", 80)->spec->name, "shop/web");
}

TEST_F(ServiceTest, AReplacementThatClaimsAnothersPortIsRefused)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.10").port(80).backends(1));
	put(b.vip("10.96.0.11").port(80).backends(1));
	EXPECT_EQ(try_put(b.vip("10.96.0.10")), -EEXIST);
	EXPECT_NE(find("10.96.0.11", 80), nullptr);
	EXPECT_STREQ(find("10.96.0.10", 80)->spec->name, "a");
}

TEST_F(ServiceTest, APortListedTwiceIsRefused)
{
	Service a("a");
	EXPECT_EQ(try_put(a.vip("10.96.0.10").port(80, 0, "x").port(81, 0, "y").port(80, 0, "z")), -EINVAL);
	EXPECT_STREQ(e.path, "ports[2]");
	EXPECT_NE(std::string(e.text).find("ports[0]"), std::string::npos) << e.text;
}

TEST_F(ServiceTest, TooManyBackendsAreRefused)
{
	Service a("a");
	EXPECT_EQ(try_put(a.vip("10.96.0.10").port(80).backends(65536)), -E2BIG);
	EXPECT_STREQ(e.path, "backends");
}

TEST_F(ServiceTest, AddressesMayBeSwappedInOneTransactionByRemovingFirst)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.1").port(80).backends(1));
	put(b.vip("10.96.0.2").port(80).backends(1));
	uint32_t id_a = find("10.96.0.1", 80)->id;
	a.without_vips().vip("10.96.0.2");
	b.without_vips().vip("10.96.0.1");
	begin();
	ASSERT_EQ(service_remove(&next, &t, "a", note, this), 0);
	ASSERT_EQ(service_remove(&next, &t, "b", note, this), 0);
	ASSERT_EQ(service_put(&next, &t, NET, kept(a), note, this, &e), 0);
	ASSERT_EQ(service_put(&next, &t, NET, kept(b), note, this, &e), 0);
	commit();
	EXPECT_STREQ(find("10.96.0.2", 80)->spec->name, "a");
	EXPECT_STREQ(find("10.96.0.1", 80)->spec->name, "b");
	EXPECT_EQ(find("10.96.0.2", 80)->id, id_a);
}

// --- which port a backend is spoken to on ---

TEST_F(ServiceTest, ABackendsOwnNamedPortComesFirst)
{
	Service web("web");
	put(web.vip("10.96.0.10")
		    .port(80, 8080, "http")
		    .backend("10.244.1.5", BACKEND_READY, 1, {{"metrics", 9090}, {"http", 8888}})
		    .backend("10.244.1.6", BACKEND_READY, 1, {{"metrics", 9090}})
		    .backend("10.244.1.7"));
	const service_port *p = find("10.96.0.10", 80);
	EXPECT_NE(member(p, "10.244.1.5", 8888), nullptr);
	EXPECT_NE(member(p, "10.244.1.6", 8080), nullptr);
	EXPECT_NE(member(p, "10.244.1.7", 8080), nullptr);
}

TEST_F(ServiceTest, WithoutATargetPortItIsTheServicesOwn)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80).backend("10.244.1.5"));
	EXPECT_NE(member(find("10.96.0.10", 80), "10.244.1.5", 80), nullptr);
}

TEST_F(ServiceTest, AnUnnamedServicePortMeansTheUnnamedBackendPort)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80, 8080).backend("10.244.1.5", BACKEND_READY, 1, {{"", 8081}}));
	EXPECT_NE(member(find("10.96.0.10", 80), "10.244.1.5", 8081), nullptr);
}

// --- who takes new connections ---

TEST_F(ServiceTest, OnlyTheReadyTakeNewConnections)
{
	Service web("web");
	put(web.vip("10.96.0.10")
		    .port(80)
		    .backend("10.0.0.1")
		    .backend("10.0.0.2", BACKEND_NOT_READY)
		    .backend("10.0.0.3", BACKEND_TERMINATING)
		    .backend("10.0.0.4", BACKEND_DRAINING)
		    .backend("10.0.0.5", BACKEND_READY, 0)
		    .backend("10.0.0.6"));
	const service_port *p = find("10.96.0.10", 80);
	EXPECT_EQ(p->choice->n_backends, 6u);
	EXPECT_EQ(p->choice->n_eligible, 2u);
	EXPECT_EQ(takers(p), (Names{"10.0.0.1", "10.0.0.6"}));
}

TEST_F(ServiceTest, TheTerminatingTakeThemWhenNobodyIsReady)
{
	Service web("web");
	put(web.vip("10.96.0.10")
		    .port(80)
		    .backend("10.0.0.2", BACKEND_NOT_READY)
		    .backend("10.0.0.3", BACKEND_TERMINATING)
		    .backend("10.0.0.4", BACKEND_DRAINING)
		    .backend("10.0.0.5", BACKEND_READY, 0)
		    .backend("10.0.0.6", BACKEND_TERMINATING, 0));
	EXPECT_EQ(takers(find("10.96.0.10", 80)), (Names{"10.0.0.3"}));
}

TEST_F(ServiceTest, NobodyTakesThemWhenAllAreDrainingNotReadyOrWithoutWeight)
{
	Service web("web");
	put(web.vip("10.96.0.10")
		    .port(80)
		    .backend("10.0.0.2", BACKEND_NOT_READY)
		    .backend("10.0.0.4", BACKEND_DRAINING)
		    .backend("10.0.0.5", BACKEND_READY, 0));
	const service_port *p = find("10.96.0.10", 80);
	ASSERT_NE(p, nullptr);
	EXPECT_EQ(p->choice->n_eligible, 0u);
	EXPECT_EQ(p->choice->size, 0u);
	EXPECT_EQ(service_choose(p, 12345), nullptr);
	EXPECT_NE(member(p, "10.0.0.2", 80), nullptr);
}

TEST_F(ServiceTest, AServiceWithoutBackendsIsKnownAndChoosesNobody)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80));
	ASSERT_NE(find("10.96.0.10", 80), nullptr);
	EXPECT_EQ(service_choose(find("10.96.0.10", 80), 1), nullptr);
	EXPECT_EQ(service_backend(find("10.96.0.10", 80), 1), nullptr);
}

TEST_F(ServiceTest, SharesFollowWeights)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80).backend("10.0.0.1", BACKEND_READY, 1).backend("10.0.0.2", BACKEND_READY, 3));
	auto n = chosen(find("10.96.0.10", 80), 40000);
	EXPECT_NEAR(n["10.0.0.1"], 10000, 1000);
	EXPECT_NEAR(n["10.0.0.2"], 30000, 1000);
}

TEST_F(ServiceTest, EveryHashChoosesSomebody)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80).backends(7));
	const service_port *p = find("10.96.0.10", 80);
	for (uint32_t hash : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu})
		EXPECT_NE(service_choose(p, hash), nullptr);
}

TEST_F(ServiceTest, ABackendListedTwiceCountsOnceAndItsBetterStateHolds)
{
	Service web("web");
	put(web.vip("10.96.0.10")
		    .port(80)
		    .backend("10.0.0.1", BACKEND_NOT_READY)
		    .backend("10.0.0.1")
		    .backend("10.0.0.1", BACKEND_TERMINATING)
		    .backend("10.0.0.2", BACKEND_DRAINING)
		    .backend("10.0.0.2", BACKEND_TERMINATING));
	const service_port *p = find("10.96.0.10", 80);
	EXPECT_EQ(p->choice->n_backends, 2u);
	EXPECT_EQ(takers(p), (Names{"10.0.0.1"}));
	EXPECT_EQ(member(p, "10.0.0.2", 80)->state, BACKEND_TERMINATING);
}

TEST_F(ServiceTest, TwoPortsOfOneAddressAreTwoBackends)
{
	Service web("web");
	put(web.vip("10.96.0.10")
		    .port(80, 0, "http")
		    .backend("10.0.0.1", BACKEND_READY, 1, {{"http", 8080}})
		    .backend("10.0.0.1", BACKEND_READY, 1, {{"http", 8081}}));
	const service_port *p = find("10.96.0.10", 80);
	ASSERT_EQ(p->choice->n_backends, 2u);
	EXPECT_NE(member(p, "10.0.0.1", 8080)->id, member(p, "10.0.0.1", 8081)->id);
}

TEST_F(ServiceTest, TheOrderOfTheListDoesNotMatter)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.1").port(80).backends(20));
	b.vip("10.96.0.2").port(80).backends(20);
	std::shuffle(b.all_backends().begin(), b.all_backends().end(), std::mt19937(3));
	put(b);
	std::mt19937 random(5);
	for (int i = 0; i < 2000; i++) {
		uint32_t hash = random();
		ASSERT_TRUE(ip_equal(&service_choose(find("10.96.0.1", 80), hash)->ip,
				     &service_choose(find("10.96.0.2", 80), hash)->ip));
	}
}

// --- ids ---

TEST_F(ServiceTest, BackendsAreFoundByIdWhateverTheirState)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80).backends(500).backend("10.0.0.9", BACKEND_DRAINING));
	const service_port *p = find("10.96.0.10", 80);
	std::set<uint32_t> ids;
	for (uint32_t i = 0; i < p->choice->n_backends; i++) {
		const struct backend *b = &p->choice->backends[i];
		EXPECT_NE(b->id, 0u);
		ids.insert(b->id);
		EXPECT_EQ(service_backend(p, b->id), b);
		if (i > 0) {
			EXPECT_LT(b[-1].id, b->id);
		}
	}
	EXPECT_EQ(ids.size(), 501u);
	EXPECT_EQ(service_backend(p, 0), nullptr);
	EXPECT_EQ(service_backend(p, UINT32_MAX), nullptr);
}

TEST_F(ServiceTest, IdsAndSlotsStayWhenTheServiceIsReplaced)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80, 8080).backend("10.0.0.1").backend("10.0.0.2"));
	service_port was = *find("10.96.0.10", 80);
	uint32_t id1 = member(&was, "10.0.0.1", 8080)->id, id2 = member(&was, "10.0.0.2", 8080)->id;
	Service again("web");
	put(again.vip("10.96.0.11")
		    .vip("10.96.0.10")
		    .port(443)
		    .port(80, 8080, "renamed")
		    .backend("10.0.0.3")
		    .backend("10.0.0.2", BACKEND_TERMINATING, 7));
	const service_port *now = find("10.96.0.10", 80);
	EXPECT_EQ(now->id, was.id);
	EXPECT_EQ(now->slot, was.slot);
	EXPECT_NE(now->spec, was.spec);
	EXPECT_EQ(member(now, "10.0.0.2", 8080)->id, id2);
	EXPECT_EQ(service_backend(now, id1), nullptr);
	EXPECT_NE(member(now, "10.0.0.3", 8080)->id, id1);
}

TEST_F(ServiceTest, ABackendWithAnotherPortIsAnotherBackend)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80, 8080).backend("10.0.0.1"));
	uint32_t id = member(find("10.96.0.10", 80), "10.0.0.1", 8080)->id;
	Service again("web");
	put(again.vip("10.96.0.10").port(80, 8081).backend("10.0.0.1"));
	EXPECT_NE(member(find("10.96.0.10", 80), "10.0.0.1", 8081)->id, id);
	EXPECT_EQ(service_backend(find("10.96.0.10", 80), id), nullptr);
}

// A connection that outlived the process names service and backend by id: the next process must mean the same by them.
TEST_F(ServiceTest, IdsAreTheSameAfterARestart)
{
	Service web("web"), other("other");
	put(web.vip("10.96.0.10").port(80, 8080).backends(10));
	uint32_t port_id = find("10.96.0.10", 80)->id,
		 backend_id = member(find("10.96.0.10", 80), "10.244.0.3", 8080)->id;
	remove("web");
	put(other.vip("10.96.0.20").port(80).backends(3));
	Service again("web");
	put(again.vip("10.96.0.10").port(80, 8080).backends(8, 2));
	EXPECT_EQ(find("10.96.0.10", 80)->id, port_id);
	EXPECT_EQ(member(find("10.96.0.10", 80), "10.244.0.3", 8080)->id, backend_id);
}

// The hashes of 10.0.77.12:80 and 10.1.33.161:80 agree in the 32 bits that make an id.
TEST_F(ServiceTest, TwoBackendsWhoseHashesMeetHaveTwoIdsAndKeepThem)
{
	const std::string first = "10.0.77.12", second = "10.1.33.161";
	auto id_of = [this](const std::string &who) { return member(find("10.96.0.10", 80), who, 80)->id; };
	auto put_these = [this](const std::vector<std::string> &who) {
		Service web("web");
		web.vip("10.96.0.10").port(80);
		for (const auto &w : who)
			web.backend(w);
		put(web);
	};
	put_these({first});
	uint32_t hash = id_of(first);
	remove("web");
	put_these({second});
	ASSERT_EQ(id_of(second), hash) << "the pair was chosen to collide";
	put_these({first, second});
	EXPECT_EQ(id_of(second), hash);
	uint32_t other = id_of(first);
	EXPECT_NE(other, hash);
	put_these({first});
	EXPECT_EQ(id_of(first), other);
	put_these({second, first});
	EXPECT_EQ(id_of(first), other);
	EXPECT_EQ(id_of(second), hash);
	EXPECT_EQ(service_backend(find("10.96.0.10", 80), other), member(find("10.96.0.10", 80), first, 80));
}

// 65,535 addresses: by the birthday bound about half of such sets have two with the same 32 bits of hash.
TEST_F(ServiceTest, ManyBackendsHaveDifferentIdsAndKeepThem)
{
	Service web("web"), fewer("web");
	put(web.vip("10.96.0.10").port(80).backends(65535));
	std::map<std::string, uint32_t> ids;
	const service_choice *c = find("10.96.0.10", 80)->choice;
	ASSERT_EQ(c->n_backends, 65535u);
	char text[IP_TEXT_MAX];
	for (uint32_t i = 0; i < c->n_backends; i++) {
		ids[ip_format(&c->backends[i].ip, text)] = c->backends[i].id;
		ASSERT_TRUE(i == 0 || c->backends[i - 1].id < c->backends[i].id);
	}
	put(fewer.vip("10.96.0.10").port(80).backends(40000, 20000));
	c = find("10.96.0.10", 80)->choice;
	for (uint32_t i = 0; i < c->n_backends; i++) {
		auto was = ids.find(ip_format(&c->backends[i].ip, text));
		ASSERT_TRUE(was == ids.end() || was->second == c->backends[i].id);
	}
}

TEST_F(ServiceTest, ADrainedBackendLeavesTheOthersTheirShare)
{
	Service web("web");
	put(web.vip("10.96.0.10").port(80).backends(100));
	std::vector<uint32_t> before;
	std::mt19937 random(9);
	std::vector<uint32_t> hashes(20000);
	for (auto &h : hashes)
		before.push_back(service_choose(find("10.96.0.10", 80), h = random())->id);
	web.all_backends()[40].state = BACKEND_DRAINING;
	uint32_t drained = member(find("10.96.0.10", 80), "10.244.0.40", 80)->id;
	put(web);
	unsigned moved = 0;
	for (size_t i = 0; i < hashes.size(); i++) {
		uint32_t now = service_choose(find("10.96.0.10", 80), hashes[i])->id;
		ASSERT_NE(now, drained);
		moved += before[i] != drained && before[i] != now;
	}
	EXPECT_LE(moved, hashes.size() * 3 / 100);
}

// --- generations ---

TEST_F(ServiceTest, AReplacementBumpsTheServicesSlotAndNoOther)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.10").port(80).backends(2));
	put(b.vip("10.96.0.11").port(80).backends(2));
	put(a.backend("10.0.0.1"));
	EXPECT_EQ(bumped, (std::set<uint32_t>{find("10.96.0.10", 80)->slot}));
	EXPECT_NE(find("10.96.0.10", 80)->slot, find("10.96.0.11", 80)->slot);
}

TEST_F(ServiceTest, ANewServiceOutsideTheCidrsBumpsNothing)
{
	set_cidrs({"10.96.0.0/12"});
	Service a("a");
	put(a.external("203.0.113.1").port(80).backends(2));
	EXPECT_TRUE(bumped.empty());
}

TEST_F(ServiceTest, ANewServiceBumpsTheCidrsThatAnsweredForItsAddress)
{
	set_cidrs({"10.96.0.0/12"});
	ASSERT_NE(tables.cidr_slot, 0u);
	Service a("a");
	put(a.vip("10.96.0.10").port(80).backends(2));
	EXPECT_EQ(bumped, (std::set<uint32_t>{tables.cidr_slot}));
	put(a.port(443));
	EXPECT_EQ(bumped, (std::set<uint32_t>{find("10.96.0.10", 80)->slot}));
}

TEST_F(ServiceTest, ANewPortOfAKnownAddressBumpsWhoAnsweredForIt)
{
	set_cidrs({"203.0.113.0/24"});
	Service a("a"), b("b");
	put(a.external("203.0.113.1").port(80).backends(2));
	uint32_t slot = address("203.0.113.1")->slot;
	EXPECT_EQ(slot, find("203.0.113.1", 80)->slot);
	put(b.external("203.0.113.1").port(443).backends(2));
	EXPECT_EQ(bumped, (std::set<uint32_t>{slot}));
	EXPECT_EQ(address("203.0.113.1")->slot, slot);
	put(b.port(8443));
	EXPECT_EQ(bumped, (std::set<uint32_t>{slot, find("203.0.113.1", 443)->slot}));
}

TEST_F(ServiceTest, ARemovalBumpsTheServicesSlotAndGivesItBack)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.10").port(80).backends(2));
	uint32_t slot = find("10.96.0.10", 80)->slot;
	uint32_t dep[GENERATION_DEPS] = {slot, 0, 0}, stamp = generation_sum(dep);
	remove("a");
	EXPECT_EQ(bumped, (std::set<uint32_t>{slot}));
	EXPECT_NE(generation_sum(dep), stamp);
	uint32_t after = generation_sum(dep);
	put(b.vip("10.96.0.11").port(80).backends(2));
	EXPECT_EQ(find("10.96.0.11", 80)->slot, slot);
	EXPECT_GE(generation_sum(dep), after);
}

TEST_F(ServiceTest, AnAbortedTransactionGivesItsSlotBack)
{
	Service a("a"), b("b");
	begin();
	ASSERT_EQ(service_put(&next, &t, NET, kept(a.vip("10.96.0.10").port(80).backends(2)), note, this, &e), 0);
	ip vip = addr("10.96.0.10");
	uint32_t slot = service_find(&next, NET, &vip, TCP, htons(80))->slot;
	txn_abort(&t);
	EXPECT_EQ(tables.port.count, 0u);
	put(b.vip("10.96.0.11").port(80).backends(2));
	EXPECT_EQ(find("10.96.0.11", 80)->slot, slot);
}

TEST_F(ServiceTest, WhenAnAddressLosesItsFirstServiceTheNextAnswersForIt)
{
	Service a("a"), b("b"), c("c");
	put(a.external("203.0.113.1").port(80).backends(2));
	put(b.external("203.0.113.1").port(443).backends(2));
	remove("a");
	put(c.external("203.0.113.1").port(80).backends(2));
	EXPECT_EQ(bumped, (std::set<uint32_t>{find("203.0.113.1", 443)->slot}));
}

// --- serviceCIDRs ---

TEST_F(ServiceTest, CidrsHoldAddressesOfBothFamilies)
{
	set_cidrs({"10.96.0.0/12", "fd00:96::/108"});
	for (const char *in : {"10.96.0.0", "10.111.255.255", "fd00:96::1"}) {
		ip a = addr(in);
		EXPECT_TRUE(service_in_cidr(&tables, &a)) << in;
	}
	for (const char *out : {"10.95.255.255", "10.112.0.0", "fd00:97::1", "::"}) {
		ip a = addr(out);
		EXPECT_FALSE(service_in_cidr(&tables, &a)) << out;
	}
}

TEST_F(ServiceTest, NewCidrsReplaceTheOldAndBumpTheirSlot)
{
	set_cidrs({"10.96.0.0/12"});
	EXPECT_TRUE(bumped.empty());
	uint32_t slot = tables.cidr_slot;
	set_cidrs({"10.0.0.0/24", "10.0.0.0/24"});
	EXPECT_EQ(bumped, (std::set<uint32_t>{slot}));
	EXPECT_EQ(tables.cidr_slot, slot);
	ip gone = addr("10.96.0.1"), now = addr("10.0.0.1");
	EXPECT_FALSE(service_in_cidr(&tables, &gone));
	EXPECT_TRUE(service_in_cidr(&tables, &now));
}

// --- transactions ---

TEST_F(ServiceTest, ASnapshotDoesNotChange)
{
	Service a("a"), b("b");
	put(a.vip("10.96.0.10").port(80).backends(2));
	service_tables snapshot = tables;
	const service_port *p = find("10.96.0.10", 80);
	begin();
	ASSERT_EQ(service_put(&next, &t, NET, kept(a.without_ports().port(81)), note, this, &e), 0);
	ASSERT_EQ(service_put(&next, &t, NET, kept(b.vip("10.96.0.11").port(80).backends(1)), note, this, &e), 0);
	ip vip = addr("10.96.0.10"), other = addr("10.96.0.11");
	EXPECT_EQ(service_find(&snapshot, NET, &vip, TCP, htons(80)), p);
	EXPECT_EQ(service_find(&snapshot, NET, &vip, TCP, htons(81)), nullptr);
	EXPECT_EQ(service_address_find(&snapshot, NET, &other), nullptr);
	EXPECT_EQ(p->choice->n_backends, 2u);
	EXPECT_EQ(service_find(&next, NET, &vip, TCP, htons(80)), nullptr);
	EXPECT_NE(service_find(&next, NET, &vip, TCP, htons(81)), nullptr);
	txn_abort(&t);
	EXPECT_EQ(find("10.96.0.10", 80), p);
}

TEST_F(ServiceTest, OneTransactionMayPutAndRemoveTheSameServiceAgainAndAgain)
{
	Service a("a");
	a.vip("10.96.0.10").port(80).backends(3);
	begin();
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(service_put(&next, &t, NET, kept(a), note, this, &e), 0);
		ASSERT_EQ(service_put(&next, &t, NET, kept(a.backend("10.0.0.1")), note, this, &e), 0);
		ASSERT_EQ(service_remove(&next, &t, "a", note, this), 0);
	}
	EXPECT_EQ(service_remove(&next, &t, "a", note, this), -ENOENT);
	ASSERT_EQ(service_put(&next, &t, NET, kept(a), note, this, &e), 0);
	commit();
	EXPECT_EQ(tables.port.count, 1u);
	EXPECT_EQ(find("10.96.0.10", 80)->choice->n_backends, 4u);
}

TEST_F(ServiceTest, TheVeryObjectMayBePutAgain)
{
	Service a("a");
	const spec_service *spec = kept(a.vip("10.96.0.10").port(80).backends(3));
	for (int i = 0; i < 2; i++) {
		begin();
		ASSERT_EQ(service_put(&next, &t, NET, spec, note, this, &e), 0) << e.text;
		commit();
	}
	EXPECT_EQ(tables.port.count, 1u);
}

TEST_F(ServiceTest, AServiceMayMoveToAnotherNetwork)
{
	Service a("a");
	put(a.vip("10.96.0.10").port(80).backends(3), 1);
	put(a, 2);
	EXPECT_EQ(find("10.96.0.10", 80, TCP, 1), nullptr);
	EXPECT_EQ(address("10.96.0.10", 1), nullptr);
	EXPECT_NE(find("10.96.0.10", 80, TCP, 2), nullptr);
	EXPECT_EQ(address("10.96.0.10", 2)->uses, 1u);
}

TEST_F(ServiceTest, WhatAReplacementNoLongerClaimsIsGone)
{
	Service a("a"), less("a");
	put(a.vip("10.96.0.1").vip("10.96.0.2").port(80).port(81).port(82).backends(3));
	EXPECT_EQ(tables.port.count, 6u);
	put(less.vip("10.96.0.2").port(81).backends(1));
	EXPECT_EQ(tables.port.count, 1u);
	EXPECT_EQ(tables.address.count, 1u);
	EXPECT_NE(find("10.96.0.2", 81), nullptr);
	EXPECT_EQ(address("10.96.0.1"), nullptr);
}

TEST_F(ServiceTest, RemovingWhatIsNotThere)
{
	begin();
	EXPECT_EQ(service_remove(&next, &t, "nobody", note, this), -ENOENT);
	EXPECT_EQ(service_remove(&next, &t, std::string(300, 'x').c_str(), note, this), -ENOENT);
	txn_abort(&t);
	Service longest(std::string(253, 'x')), longer(std::string(254, 'x'));
	put(longest.vip("10.96.0.1").port(80));
	EXPECT_EQ(try_put(longer.vip("10.96.0.2").port(80)), -ENAMETOOLONG);
	EXPECT_STREQ(e.path, "name");
}

// Random changes, beside a plain std::map that says what must be there.
TEST_F(ServiceTest, AgreesWithAModelOverRandomChanges)
{
	std::mt19937 random(42);
	std::map<std::string, Service> model;
	for (int round = 0; round < 400; round++) {
		std::string name = "s" + std::to_string(random() % 8);
		if (random() % 4 == 0 && model.count(name)) {
			remove(name.c_str());
			model.erase(name);
		} else {
			Service s(name);
			for (unsigned i = 0, n = random() % 3; i <= n; i++)
				s.vip("10.96.0." + std::to_string(random() % 6));
			unsigned first = random() % 20;
			for (unsigned i = 0, n = random() % 3; i <= n; i++)
				s.port(static_cast<uint16_t>(80 + first + i));
			s.backends(random() % 5, random() % 5);
			if (try_put(s) == 0) {
				model.erase(name);
				model.emplace(name, s);
			}
		}
		std::map<std::pair<std::string, uint16_t>, std::string> claims;
		std::map<std::string, std::set<std::string>> addresses;
		for (auto &[who, s] : model) {
			const spec_service *spec = s.spec();
			for (uint32_t i = 0; i < spec->ips.n; i++) {
				char text[IP_TEXT_MAX];
				ip_format(&spec->ips.v[i], text);
				addresses[text].insert(who);
				for (uint32_t j = 0; j < spec->n_ports; j++)
					claims[{text, spec->ports[j].port}] = who;
			}
		}
		ASSERT_EQ(tables.port.count, claims.size());
		ASSERT_EQ(tables.address.count, addresses.size());
		ASSERT_EQ(tables.by_name.count, model.size());
		for (auto &[key, who] : claims)
			ASSERT_STREQ(find(key.first, key.second)->spec->name, who.c_str());
		for (auto &[text, users] : addresses)
			ASSERT_EQ(address(text)->uses, users.size());
	}
}

// --- cost ---

double
seconds_since(std::chrono::steady_clock::time_point start)
{
	return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

#if defined(__SANITIZE_ADDRESS__)
constexpr uint32_t MANY = 5000;
constexpr double SLOWER = 30;
#else
constexpr uint32_t MANY = 50000;
constexpr double SLOWER = 1;
#endif

TEST_F(ServiceTest, FiftyThousandServicesAreCheapToBuildAndOneIsCheapToReplace)
{
	set_cidrs({"10.96.0.0/12"});
	std::deque<Service> all;
	for (uint32_t i = 0; i < MANY; i++) {
		all.emplace_back("ns/service-" + std::to_string(i));
		char text[IP_TEXT_MAX];
		ip vip = ip_from4(htonl(0x0a600000 + i));
		all.back().vip(ip_format(&vip, text)).port(80, 8080).backends(10, i * 10);
	}
	auto start = std::chrono::steady_clock::now();
	begin();
	for (auto &s : all)
		ASSERT_EQ(service_put(&next, &t, NET, s.spec(), note, this, &e), 0) << e.text;
	commit();
	double per_10000 = seconds_since(start) * 10000 / MANY;
	EXPECT_LT(per_10000, 2.0 * SLOWER);
	RecordProperty("seconds_for_10000", std::to_string(per_10000));

	std::vector<double> cost;
	for (uint32_t i = 0; i < 200; i++) {
		Service &s = all[i * 131 % MANY];
		s.all_backends()[3].state = BACKEND_DRAINING;
		Service &copy = specs.emplace_back(s);
		const spec_service *spec = copy.spec();
		start = std::chrono::steady_clock::now();
		begin();
		ASSERT_EQ(service_put(&next, &t, NET, spec, note, this, &e), 0);
		commit();
		cost.push_back(seconds_since(start));
	}
	std::nth_element(cost.begin(), cost.begin() + 100, cost.end());
	EXPECT_LT(cost[100], 0.001 * SLOWER);
	RecordProperty("microseconds_to_replace_one", std::to_string(cost[100] * 1e6));
	printf("10,000 services: %.0f ms; replacing one of %u: %.0f us\n", per_10000 * 1e3, MANY, cost[100] * 1e6);
}

// --- the hash ---

struct tuple
tuple_of(const char *src, uint16_t sport, const char *dst, uint16_t dport, uint8_t protocol, uint32_t network)
{
	struct tuple out = {};
	out.src = addr(src);
	out.dst = addr(dst);
	out.sport = htons(sport);
	out.dport = htons(dport);
	out.net_proto = tuple_net_proto(network, protocol);
	return out;
}

// Every node and every version must choose alike: these values may never change.
TEST(ServiceHash, IsTheSameForeverAndOnEveryNode)
{
	struct tuple a = tuple_of("10.244.1.5", 40000, "10.96.0.10", 80, TCP, 1);
	struct tuple b = tuple_of("fd00::1", 40000, "fd00::2", 53, UDP, 9);
	EXPECT_EQ(service_hash(&a), 2172286299u);
	EXPECT_EQ(service_hash(&b), 546821625u);
	a.net_proto = tuple_net_proto(77, TCP);
	EXPECT_EQ(service_hash(&a), 2172286299u) << "a network's id is local to a node";
}

TEST(ServiceHash, EveryPartCounts)
{
	struct tuple base = tuple_of("10.0.0.1", 1000, "10.0.0.2", 80, TCP, 0);
	std::set<uint32_t> seen = {service_hash(&base)};
	for (auto other :
	     {tuple_of("10.0.0.9", 1000, "10.0.0.2", 80, TCP, 0), tuple_of("10.0.0.1", 1001, "10.0.0.2", 80, TCP, 0),
	      tuple_of("10.0.0.1", 1000, "10.0.0.3", 80, TCP, 0), tuple_of("10.0.0.1", 1000, "10.0.0.2", 81, TCP, 0),
	      tuple_of("10.0.0.1", 1000, "10.0.0.2", 80, UDP, 0), tuple_of("10.0.0.2", 80, "10.0.0.1", 1000, TCP, 0),
	      tuple_of("fd00::1", 1000, "10.0.0.2", 80, TCP, 0)})
		EXPECT_TRUE(seen.insert(service_hash(&other)).second);
}

TEST(ServiceHash, ConsecutivePortsSpreadEvenly)
{
	std::vector<unsigned> n(16, 0);
	for (uint32_t port = 1024; port < 1024 + 32000; port++) {
		struct tuple t = tuple_of("10.0.0.1", static_cast<uint16_t>(port), "10.0.0.2", 80, TCP, 0);
		n[service_hash(&t) >> 28]++;
	}
	for (unsigned x : n)
		EXPECT_NEAR(x, 2000, 200);
}

} // namespace
