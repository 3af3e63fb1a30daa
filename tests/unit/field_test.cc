// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>

#include <field.h>
#include <weft/spec.h>
#include <weft/text.h>

namespace
{

struct Sub {
	const char *name;
	uint16_t port;
};

struct Thing {
	const char *text, *name, *port_name;
	bool flag, given, first_word, second_word;
	uint8_t u8, protocol;
	uint16_t u16, port, low, high;
	uint32_t u32, word;
	uint64_t u64;
	struct ip ip;
	struct prefix prefix;
	struct host_prefix host;
	struct mac mac;
	struct ip_list ips;
	const Sub *subs;
	uint32_t n_subs;
	const struct spec_backend_port *map;
	uint32_t n_map;
};

const char *const words[] = {"l3", "l2", nullptr};

struct field
make(const char *name, enum field_type type, size_t offset, size_t size)
{
	struct field f = {};
	f.name = name;
	f.type = type;
	f.offset = offset;
	f.size = size;
	f.help = "help";
	return f;
}

#define MAKE(name, type, member) make(name, type, offsetof(Thing, member), sizeof(Thing::member))

struct Tables {
	struct field sub[2], thing[21];
	struct field_table sub_table, table;

	Tables()
	{
		sub[0] = make("name", FIELD_NAME, offsetof(Sub, name), sizeof(Sub::name));
		sub[0].need = FIELD_REQUIRED;
		sub[1] = make("port", FIELD_NUMBER, offsetof(Sub, port), sizeof(Sub::port));
		sub[1].min = 1;
		sub_table = {sub, 2, sizeof(Sub), nullptr};
		int n = 0;
		thing[n++] = MAKE("text", FIELD_STRING, text);
		thing[0].max = 8;
		thing[n++] = MAKE("name", FIELD_NAME, name);
		thing[1].need = FIELD_REQUIRED;
		thing[n++] = MAKE("flag", FIELD_BOOL, flag);
		thing[2].has = offsetof(Thing, given);
		thing[n++] = MAKE("u8", FIELD_NUMBER, u8);
		thing[n++] = MAKE("u16", FIELD_NUMBER, u16);
		thing[4].min = 10;
		thing[4].max = 20;
		thing[4].need = FIELD_DEFAULT;
		thing[4].fallback = 12;
		thing[n++] = MAKE("u32", FIELD_NUMBER, u32);
		thing[n++] = MAKE("u64", FIELD_NUMBER, u64);
		thing[n++] = MAKE("ip", FIELD_IP, ip);
		thing[n++] = MAKE("prefix", FIELD_PREFIX, prefix);
		thing[n++] = MAKE("host", FIELD_HOST_PREFIX, host);
		thing[n++] = MAKE("mac", FIELD_MAC, mac);
		thing[n++] = MAKE("mode", FIELD_WORD, word);
		thing[11].words = words;
		thing[n++] = MAKE("modes", FIELD_WORDS, first_word);
		thing[12].words = words;
		thing[n++] = MAKE("protocol", FIELD_PROTOCOL, protocol);
		thing[n++] = MAKE("port", FIELD_PORT_OR_NAME, port);
		thing[14].aux = offsetof(Thing, port_name);
		thing[n++] = MAKE("range", FIELD_PORT_RANGE, low);
		thing[15].aux = offsetof(Thing, high);
		thing[15].need = FIELD_DEFAULT;
		thing[15].fallback = 32768u << 16 | 60999;
		thing[n] = make("ips", FIELD_IP, offsetof(Thing, ips.v), sizeof(struct ip));
		thing[n].list = true;
		thing[n].max_items = 3;
		thing[n++].aux = offsetof(Thing, ips.n);
		thing[n] = make("backends", FIELD_OBJECT, offsetof(Thing, subs), sizeof(Sub));
		thing[n].list = true;
		thing[n].min_items = 1;
		thing[n].sub = &sub_table;
		thing[n].key = "name";
		thing[n++].aux = offsetof(Thing, n_subs);
		thing[n] = make("map", FIELD_PORT_MAP, offsetof(Thing, map), sizeof(Thing::map));
		thing[n++].aux = offsetof(Thing, n_map);
		table = {thing, (unsigned int)n, sizeof(Thing), nullptr};
	}
};
const Tables t;

class Field : public testing::Test
{
      protected:
	struct arena a = {};
	struct error e = {};
	Thing thing = {};
	uint64_t seen = 0;

	void
	TearDown() override
	{
		arena_free(&a);
	}

	int
	decode(const std::string &json)
	{
		json_error_t why;
		json_t *object = json_loads(json.c_str(), JSON_DECODE_ANY, &why);
		EXPECT_NE(object, nullptr) << json << ": " << why.text;
		thing = Thing();
		e = {};
		int rc = field_decode(&t.table, nullptr, object, &thing, &a, &seen, &e);
		json_decref(object);
		return rc;
	}

	// The members beside the one that every thing needs.
	int
	with(const std::string &members)
	{
		return decode("{\"name\":\"x\"," + members + "}");
	}

	std::string
	error_of(const std::string &members)
	{
		EXPECT_EQ(with(members), -EINVAL) << members;
		return std::string(e.path) + ": " + e.text;
	}
};

TEST_F(Field, DecodesEveryType)
{
	ASSERT_EQ(with(R"("text":"a b","flag":true,"u8":255,"u16":20,"u32":4294967295,"u64":9223372036854775807,
		"ip":"10.0.0.1","prefix":"10.1.2.3/8","host":"192.0.2.1/24","mac":"02:00:00:00:00:0A","mode":"l2",
		"modes":["l2"],"protocol":"ICMPv6","port":"http","range":[100,200],"ips":["10.0.0.2","fd00::1"],
		"backends":[{"name":"a","port":80},{"name":"b"}],"map":{"http":8080,"dns":53})"),
		  0)
		<< e.path << " " << e.text;
	EXPECT_STREQ(thing.text, "a b");
	EXPECT_STREQ(thing.name, "x");
	EXPECT_TRUE(thing.flag);
	EXPECT_TRUE(thing.given);
	EXPECT_EQ(thing.u8, 255);
	EXPECT_EQ(thing.u16, 20);
	EXPECT_EQ(thing.u32, UINT32_MAX);
	EXPECT_EQ(thing.u64, (uint64_t)INT64_MAX);
	char text[PREFIX_TEXT_MAX];
	EXPECT_STREQ(ip_format(&thing.ip, text), "10.0.0.1");
	EXPECT_STREQ(prefix_format(&thing.prefix, text), "10.0.0.0/8");
	EXPECT_STREQ(ip_format(&thing.host.ip, text), "192.0.2.1");
	EXPECT_STREQ(prefix_format(&thing.host.prefix, text), "192.0.2.0/24");
	EXPECT_STREQ(mac_format(&thing.mac, text), "02:00:00:00:00:0a");
	EXPECT_EQ(thing.word, 1u);
	EXPECT_FALSE(thing.first_word);
	EXPECT_TRUE(thing.second_word);
	EXPECT_EQ(thing.protocol, 58);
	EXPECT_EQ(thing.port, 0);
	EXPECT_STREQ(thing.port_name, "http");
	EXPECT_EQ(thing.low, 100);
	EXPECT_EQ(thing.high, 200);
	ASSERT_EQ(thing.ips.n, 2u);
	EXPECT_STREQ(ip_format(&thing.ips.v[1], text), "fd00::1");
	ASSERT_EQ(thing.n_subs, 2u);
	EXPECT_STREQ(thing.subs[1].name, "b");
	EXPECT_EQ(thing.subs[0].port, 80);
	ASSERT_EQ(thing.n_map, 2u);
	EXPECT_STREQ(thing.map[0].name, "http");
	EXPECT_EQ(thing.map[1].port, 53);
}

TEST_F(Field, AbsentIsEmptyOrTheDefault)
{
	ASSERT_EQ(decode(R"({"name":"x"})"), 0);
	EXPECT_EQ(thing.text, nullptr);
	EXPECT_FALSE(thing.given);
	EXPECT_EQ(thing.u16, 12);
	EXPECT_EQ(thing.low, 32768);
	EXPECT_EQ(thing.high, 60999);
	EXPECT_EQ(thing.ips.n, 0u);
	EXPECT_EQ(thing.n_subs, 0u);
	EXPECT_TRUE(field_seen(&t.table, seen, "name"));
	EXPECT_FALSE(field_seen(&t.table, seen, "u16"));
	EXPECT_FALSE(field_seen(&t.table, seen, "no such"));
}

TEST_F(Field, EmptyListIsNoMemory)
{
	ASSERT_EQ(with(R"("ips":[])"), 0);
	EXPECT_EQ(thing.ips.n, 0u);
	EXPECT_TRUE(field_seen(&t.table, seen, "ips"));
}

TEST_F(Field, FalseIsGivenToo)
{
	ASSERT_EQ(with(R"("flag":false)"), 0);
	EXPECT_FALSE(thing.flag);
	EXPECT_TRUE(thing.given);
}

TEST_F(Field, NamesThePathToWhatIsWrong)
{
	EXPECT_EQ(error_of(R"("backends":[{"name":"a","port":70000}])"), "backends[0].port: 70000 is not in 1..65535");
	EXPECT_EQ(error_of(R"("backends":[{"name":"a"},{"port":1}])"), "backends[1].name: is required");
	EXPECT_EQ(error_of(R"("mode":"l4")"), "mode: \"l4\" is not one of l3, l2");
	EXPECT_EQ(error_of(R"("modes":["l3","x"])"), "modes[1]: \"x\" is not one of l3, l2");
	EXPECT_EQ(error_of(R"("ips":["10.0.0.1","10.0.0"])"), "ips[1]: \"10.0.0\" is not an IP address");
	EXPECT_EQ(error_of(R"("map":{"http":0})"), "map.http: 0 is not in 1..65535");
	EXPECT_EQ(error_of(R"("map":{"a b":1})").substr(0, 28), "map.a b: \"a b\" is not a name");
	EXPECT_EQ(error_of(R"("range":[1,65536])"), "range[1]: 65536 is not in 1..65535");
}

TEST_F(Field, MissingRequiredFieldIsNamed)
{
	EXPECT_EQ(decode("{}"), -EINVAL);
	EXPECT_STREQ(e.path, "name");
	EXPECT_STREQ(e.text, "is required");
}

TEST_F(Field, UnknownFieldsAreRefusedAndTheNearestTold)
{
	EXPECT_EQ(error_of(R"("prefx":"10.0.0.0/8")"), "prefx: unknown field; did you mean \"prefix\"?");
	EXPECT_EQ(error_of(R"("Backend":[])"), "Backend: unknown field; did you mean \"backends\"?");
	std::string far = error_of(R"("colour":1)");
	EXPECT_EQ(far.substr(0, 32), "colour: unknown field; known are");
	EXPECT_NE(far.find("text, name, flag"), std::string::npos) << far;
	EXPECT_EQ(error_of(R"("backends":[{"nme":"a"}])"), "backends[0].nme: unknown field; did you mean \"name\"?");
}

TEST_F(Field, WhatSomebodySentIsClippedAndCleaned)
{
	std::string what = error_of("\"mode\":\"\\u0007\\u00e9" + std::string(500, 'a') + "\"");
	EXPECT_EQ(what.substr(0, 12), "mode: \"???aa");
	EXPECT_NE(what.find("...\" is not one of"), std::string::npos) << what;
	EXPECT_LT(what.size(), 140u);
	std::string key = error_of("\"" + std::string(5000, 'k') + "\":1");
	EXPECT_EQ(key.find("kkk"), 0u);
	EXPECT_LT(key.size(), 400u);
}

TEST_F(Field, NumbersKeepTheirRange)
{
	EXPECT_EQ(error_of(R"("u8":256)"), "u8: 256 is not in 0..255");
	EXPECT_EQ(error_of(R"("u8":-1)"), "u8: -1 is not in 0..255");
	EXPECT_EQ(error_of(R"("u16":9)"), "u16: 9 is not in 10..20");
	EXPECT_EQ(error_of(R"("u16":21)"), "u16: 21 is not in 10..20");
	EXPECT_EQ(error_of(R"("u32":4294967296)"), "u32: 4294967296 is not in 0..4294967295");
	EXPECT_EQ(error_of(R"("u64":-9223372036854775808)"),
		  "u64: -9223372036854775808 is not in 0..9223372036854775807");
	EXPECT_EQ(error_of(R"("u16":12.0)"),
		  "u16: must be a number in 10..20, not a number with a fraction or exponent");
	EXPECT_EQ(error_of(R"("u16":"12")"), "u16: must be a number in 10..20, not a string");
	EXPECT_EQ(error_of(R"("u16":null)"), "u16: must be a number in 10..20, not null");
}

TEST_F(Field, TypesAreNotGuessed)
{
	EXPECT_EQ(error_of(R"("flag":1)"), "flag: must be true or false, not a number");
	EXPECT_EQ(error_of(R"("text":5)"), "text: must be a string, not a number");
	EXPECT_EQ(error_of(R"("ips":"10.0.0.1")"), "ips: must be a list, not a string");
	EXPECT_EQ(error_of(R"("ips":null)"), "ips: must be a list, not null");
	EXPECT_EQ(error_of(R"("backends":[[]])"), "backends[0]: must be an object, not a list");
	EXPECT_EQ(error_of(R"("mode":3)"), "mode: must be one of l3, l2, not a number");
	EXPECT_EQ(error_of(R"("ip":{})"), "ip: must be an IP address, not an object");
	EXPECT_EQ(decode("[]"), -EINVAL);
	EXPECT_STREQ(e.text, "must be an object, not a list");
}

TEST_F(Field, ListsAreBounded)
{
	EXPECT_EQ(error_of(R"("ips":["10.0.0.1","10.0.0.2","10.0.0.3","10.0.0.4"])"),
		  "ips: has 4 entries, at most 3 are allowed");
	EXPECT_EQ(error_of(R"("backends":[])"), "backends: needs at least 1 entry");
}

TEST_F(Field, NamesAreAsInKubernetes)
{
	for (const char *good : {"a", "A.b_c=d/e-f", "0", "shop/app=frontend", "kube-system/dns.tcp"})
		EXPECT_EQ(decode(std::string("{\"name\":\"") + good + "\"}"), 0) << good;
	EXPECT_EQ(decode("{\"name\":\"" + std::string(253, 'n') + "\"}"), 0);
	for (const char *bad : {"", "-a", "/a", ".a", "a b", "a\\u00e9", "a\\n", "a:b", "a,b", "a\\\\"})
		EXPECT_EQ(decode(std::string("{\"name\":\"") + bad + "\"}"), -EINVAL) << bad;
	EXPECT_EQ(decode("{\"name\":\"" + std::string(254, 'n') + "\"}"), -EINVAL);
	EXPECT_STREQ(e.text, "a name of 254 bytes is too long, 253 are allowed");
}

TEST_F(Field, NulInAStringIsRefused)
{
	json_t *object = json_object();
	json_object_set_new(object, "name", json_stringn("a\0b", 3));
	EXPECT_EQ(field_decode(&t.table, nullptr, object, &thing, &a, &seen, &e), -EINVAL);
	EXPECT_STREQ(e.text, "must not hold a NUL character");
	json_decref(object);
}

TEST_F(Field, StringsAreBoundedAndPrintable)
{
	EXPECT_EQ(error_of(R"("text":"123456789")"), "text: has 9 bytes, 0..8 are allowed");
	EXPECT_EQ(error_of("\"text\":\"a\\tb\""), "text: must not hold control characters");
	EXPECT_EQ(with("\"text\":\"\\u00e9\""), 0);
}

TEST_F(Field, AddressesMustBeAHosts)
{
	EXPECT_EQ(error_of(R"("ip":"0.0.0.0")"), "ip: 0.0.0.0 is an unspecified address");
	EXPECT_EQ(error_of(R"("ip":"127.0.0.1")"), "ip: 127.0.0.1 is a loopback address");
	EXPECT_EQ(error_of(R"("ip":"224.0.0.1")"), "ip: 224.0.0.1 is a multicast address");
	EXPECT_EQ(error_of(R"("ip":"255.255.255.255")"), "ip: 255.255.255.255 is a broadcast address");
	EXPECT_EQ(error_of(R"("ip":"::")"), "ip: :: is an unspecified address");
	EXPECT_EQ(error_of(R"("ip":"::1")"), "ip: ::1 is a loopback address");
	EXPECT_EQ(error_of(R"("ip":"ff02::1")"), "ip: ff02::1 is a multicast address");
	EXPECT_EQ(error_of(R"("ip":"10.0.0.1/32")"), "ip: \"10.0.0.1/32\" is not an IP address");
	EXPECT_EQ(with(R"("ip":"fe80::1")"), 0);
	EXPECT_EQ(with(R"("ip":"::ffff:10.0.0.1")"), 0);
	EXPECT_TRUE(ip_is4(&thing.ip));
}

TEST_F(Field, PrefixesAndHostPrefixes)
{
	EXPECT_EQ(with(R"("prefix":"0.0.0.0/0")"), 0);
	EXPECT_EQ(thing.prefix.len, 96);
	EXPECT_EQ(with(R"("prefix":"::/0")"), 0);
	EXPECT_EQ(thing.prefix.len, 0);
	EXPECT_EQ(with(R"("prefix":"10.0.0.1")"), 0);
	EXPECT_EQ(thing.prefix.len, 128);
	EXPECT_EQ(error_of(R"("prefix":"10.0.0.0/33")"),
		  "prefix: \"10.0.0.0/33\" is not a prefix such as 10.0.0.0/8 or fd00::/64");
	EXPECT_EQ(error_of(R"("host":"192.0.2.1")"),
		  "host: 192.0.2.1 needs the length of its network, such as 192.0.2.1/24");
	EXPECT_EQ(error_of(R"("host":"0.0.0.0/0")"), "host: 0.0.0.0 is an unspecified address");
}

TEST_F(Field, MacsMustBeUnicast)
{
	EXPECT_EQ(error_of(R"("mac":"01:00:5e:00:00:01")"), "mac: 01:00:5e:00:00:01 is not a unicast address");
	EXPECT_EQ(error_of(R"("mac":"00:00:00:00:00:00")"), "mac: 00:00:00:00:00:00 is not a unicast address");
	EXPECT_EQ(error_of(R"("mac":"020000000001")"),
		  "mac: \"020000000001\" is not a MAC address such as 02:00:00:00:00:01");
}

TEST_F(Field, ProtocolsByNameOrNumber)
{
	const std::pair<const char *, int> good[] = {{"\"TCP\"", 6},  {"\"UDP\"", 17}, {"\"SCTP\"", 132},
						     {"\"ICMP\"", 1}, {"50", 50},      {"0", 0}};
	for (auto &[json, number] : good) {
		EXPECT_EQ(with(std::string("\"protocol\":") + json), 0);
		EXPECT_EQ(thing.protocol, number);
	}
	EXPECT_EQ(error_of(R"("protocol":"tcp")"),
		  "protocol: \"tcp\" is not one of TCP, UDP, SCTP, ICMP, ICMPv6 or a number in 0..255");
	EXPECT_EQ(error_of(R"("protocol":256)"), "protocol: 256 is not in 0..255");
}

TEST_F(Field, PortsAndRanges)
{
	EXPECT_EQ(with(R"("port":8080)"), 0);
	EXPECT_EQ(thing.port, 8080);
	EXPECT_EQ(thing.port_name, nullptr);
	EXPECT_EQ(error_of(R"("port":0)"), "port: 0 is not in 1..65535");
	EXPECT_EQ(error_of(R"("port":[])"), "port: must be a port number or a port's name, not a list");
	EXPECT_EQ(error_of(R"("range":[200,100])"), "range: the first port, 200, is above the last, 100");
	EXPECT_EQ(error_of(R"("range":[200])"), "range: must be a list of two numbers, the first and the last port");
}

TEST_F(Field, MembersOfAnotherTableAreLeftAlone)
{
	struct field_table also = {t.sub, 2, sizeof(Sub), nullptr};
	struct field_table rest = {t.thing + 2, 1, sizeof(Thing), nullptr};
	json_t *object = json_pack("{s:s, s:i, s:b}", "name", "!", "port", 1, "flag", 1);
	EXPECT_EQ(field_decode(&rest, &also, object, &thing, &a, &seen, &e), 0);
	EXPECT_TRUE(thing.flag);
	EXPECT_EQ(thing.name, nullptr);
	json_decref(object);
}

TEST_F(Field, DescribesItself)
{
	json_t *list = field_describe(&t.table);
	ASSERT_EQ(json_array_size(list), t.table.n);
	json_t *u16 = json_array_get(list, 4), *mode = json_array_get(list, 11), *backends = json_array_get(list, 17);
	EXPECT_STREQ(json_string_value(json_object_get(u16, "name")), "u16");
	EXPECT_STREQ(json_string_value(json_object_get(u16, "need")), "default");
	EXPECT_EQ(json_integer_value(json_object_get(u16, "default")), 12);
	EXPECT_EQ(json_integer_value(json_object_get(u16, "min")), 10);
	EXPECT_EQ(json_integer_value(json_object_get(u16, "max")), 20);
	EXPECT_EQ(json_array_size(json_object_get(mode, "words")), 2u);
	EXPECT_TRUE(json_is_true(json_object_get(backends, "list")));
	EXPECT_STREQ(json_string_value(json_object_get(backends, "key")), "name");
	EXPECT_EQ(json_array_size(json_object_get(backends, "fields")), 2u);
	EXPECT_EQ(json_integer_value(json_array_get(json_object_get(json_array_get(list, 15), "default"), 1)), 60999);
	json_decref(list);
}

TEST_F(Field, ArrangesMembersInTheTablesOrder)
{
	json_t *object = json_loads(R"({"backends":[{"port":1,"name":"a"}],"u16":12,"name":"x"})", 0, nullptr);
	json_t *arranged = field_arrange(&t.table, object);
	char *text = json_dumps(arranged, JSON_COMPACT);
	EXPECT_STREQ(text, R"({"name":"x","u16":12,"backends":[{"name":"a","port":1}]})");
	EXPECT_TRUE(json_equal(object, arranged));
	free(text);
	json_decref(arranged);
	json_decref(object);
}

TEST(Error, GrowsFromTheInside)
{
	struct error e = {};
	error_at(&e, -EINVAL, "port", "x");
	EXPECT_EQ(error_under(&e, -EINVAL, "[%d]", 3), -EINVAL);
	EXPECT_STREQ(e.path, "[3].port");
	error_under(&e, -EINVAL, "%s", "backends");
	EXPECT_STREQ(e.path, "backends[3].port");
	error_under(&e, -EINVAL, "objects[%d]", 7);
	EXPECT_STREQ(e.path, "objects[7].backends[3].port");
	for (int i = 0; i < 40; i++)
		error_under(&e, -EINVAL, "longer");
	EXPECT_EQ(strlen(e.path), sizeof(e.path) - 1);
}

TEST(Arena, GivesAlignedZeroedMemory)
{
	struct arena a = {};
	for (size_t size : {size_t(1), size_t(3), size_t(400), size_t(5000), size_t(100000), size_t(0), size_t(17)}) {
		auto *p = static_cast<unsigned char *>(arena_alloc(&a, size));
		EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % alignof(max_align_t), 0u);
		for (size_t i = 0; i < size; i++)
			ASSERT_EQ(p[i], 0);
		memset(p, 0xff, size);
	}
	arena_free(&a);
	EXPECT_EQ(a.chunk, nullptr);
}

} // namespace
