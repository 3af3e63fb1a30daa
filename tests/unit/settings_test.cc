// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include <weft/settings.h>
#include <weft/tcp_state.h>

namespace
{

std::string
describe()
{
	char *text = nullptr;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	settings_describe(f);
	fclose(f);
	std::string out(text, size);
	free(text);
	return out;
}

class Settings : public ::testing::Test
{
      protected:
	void
	SetUp() override
	{
		char name[] = "/tmp/weft-settings-XXXXXX";
		ASSERT_NE(mkdtemp(name), nullptr);
		dir = name;
		file = dir + "/weft.conf";
		CPU_ZERO(&cpus);
		ASSERT_EQ(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	}

	void
	TearDown() override
	{
		sched_setaffinity(0, sizeof(cpus), &cpus);
		unlink(file.c_str());
		rmdir(dir.c_str());
	}

	int
	read(const std::string &text)
	{
		std::ofstream(file, std::ios::binary) << text;
		memset(&error, 0, sizeof(error));
		return settings_read(&s, file.c_str(), &error);
	}

	// The error without the file's name: "LINE: KEY: what".
	std::string
	refusal(const std::string &text)
	{
		EXPECT_EQ(read(text), -EINVAL) << text;
		std::string got = error.text, prefix = file + ":";
		EXPECT_EQ(got.substr(0, prefix.size()), prefix);
		return got.substr(std::min(got.size(), prefix.size()));
	}

	int
	lowest() const
	{
		for (int i = 0; i < CPU_SETSIZE; i++) {
			if (CPU_ISSET(i, &cpus))
				return i;
		}
		return -1;
	}

	int
	highest() const
	{
		for (int i = CPU_SETSIZE - 1; i >= 0; i--) {
			if (CPU_ISSET(i, &cpus))
				return i;
		}
		return -1;
	}

	std::string dir, file;
	cpu_set_t cpus;
	struct settings s;
	struct error error;
};

TEST_F(Settings, AnEmptyFileIsTheDefaults)
{
	ASSERT_EQ(read(""), 0) << error.text;
	struct settings d;
	settings_default(&d);
	EXPECT_EQ(memcmp(&s, &d, sizeof(s)), 0);
	EXPECT_EQ(s.hugepages, settings::HUGEPAGES_AUTO);
	EXPECT_EQ(s.megabytes, 512u);
	EXPECT_EQ(s.mbufs, 65536u);
	EXPECT_EQ(s.connections, 1048576u);
	EXPECT_EQ(s.new_connections_per_second, 200000u);
	EXPECT_EQ(s.new_connections_burst, 20000u);
	EXPECT_STREQ(s.socket, "/run/weft/control.sock");
	EXPECT_EQ(s.socket_mode, 0660u);
	EXPECT_STREQ(s.socket_group, "weft");
	EXPECT_STREQ(s.state_dir, "/var/lib/weft");
	EXPECT_STREQ(s.port_socket_dir, "/run/weft/ports");
	EXPECT_FALSE(s.any_socket_path);
	EXPECT_EQ(s.log_level, LOG_INFO);
	ASSERT_EQ(s.n_roles, 3u);
	EXPECT_STREQ(s.roles[0].who, "root");
	EXPECT_EQ(s.roles[0].role, MGMT_ADMIN);
	EXPECT_STREQ(s.roles[1].who, "@weft");
	EXPECT_EQ(s.roles[1].role, MGMT_OPERATOR);
	EXPECT_STREQ(s.roles[2].who, "*");
	EXPECT_EQ(s.roles[2].role, MGMT_READ_ONLY);
}

TEST_F(Settings, AMissingFileIsToldApartAndLeavesTheDefaults)
{
	EXPECT_EQ(settings_read(&s, (dir + "/none.conf").c_str(), &error), -ENOENT);
	EXPECT_EQ(s.megabytes, 512u);
	EXPECT_NE(std::string(error.text).find("none.conf"), std::string::npos);
}

TEST_F(Settings, EveryKeyIsRead)
{
	std::string core = std::to_string(lowest());
	ASSERT_EQ(read("workers = { cores = [" + core + "]; control_core = " + core +
		       "; new_connections_per_second = 7; new_connections_burst = 8; };\n"
		       "memory: { hugepages = \"no\"; megabytes = 64; mbufs = 0x1000 }\n"
		       "tables = { connections = 2048L; };\n"
		       "control = { socket = \"/s/c\"; mode = \"600\"; group = \"\"; roles = ( { who = \"@0\"; role = "
		       "\"operator\" },\n"
		       " { who = \"12345\"; role = \"nobody\"; }, { who = \"root\"; role = \"read-only\" } ); };\n"
		       "state = { directory = \"/s\"; }; ports = { socket_directory = \"/p\"; any_socket_path = true; "
		       "};\n"
		       "log = { level = \"debug\"; }; // done\n"),
		  0)
		<< error.text;
	ASSERT_EQ(s.n_cores, 1u);
	EXPECT_EQ(s.cores[0], lowest());
	EXPECT_EQ(s.control_core, lowest());
	EXPECT_EQ(s.new_connections_per_second, 7u);
	EXPECT_EQ(s.new_connections_burst, 8u);
	EXPECT_EQ(s.hugepages, settings::HUGEPAGES_NO);
	EXPECT_EQ(s.megabytes, 64u);
	EXPECT_EQ(s.mbufs, 4096u);
	EXPECT_EQ(s.connections, 2048u);
	EXPECT_STREQ(s.socket, "/s/c");
	EXPECT_EQ(s.socket_mode, 0600u);
	EXPECT_STREQ(s.socket_group, "");
	ASSERT_EQ(s.n_roles, 3u);
	EXPECT_STREQ(s.roles[0].who, "@0");
	EXPECT_EQ(s.roles[1].role, MGMT_NOBODY);
	EXPECT_EQ(s.roles[2].role, MGMT_READ_ONLY);
	EXPECT_STREQ(s.state_dir, "/s");
	EXPECT_STREQ(s.port_socket_dir, "/p");
	EXPECT_TRUE(s.any_socket_path);
	EXPECT_EQ(s.log_level, LOG_DEBUG);
}

TEST_F(Settings, WordsHaveTheirValues)
{
	const std::pair<const char *, int> levels[] = {
		{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}};
	for (auto &[word, value] : levels) {
		ASSERT_EQ(read("log = { level = \"" + std::string(word) + "\"; };"), 0);
		EXPECT_EQ(s.log_level, value);
	}
	ASSERT_EQ(read("memory = { hugepages = \"yes\"; };"), 0);
	EXPECT_EQ(s.hugepages, settings::HUGEPAGES_YES);
}

TEST_F(Settings, UnknownKeysAndGroupsAreErrorsWithTheirLine)
{
	EXPECT_EQ(refusal("memory = { megabytes = 64; };\n\nwrokers = { };\n"),
		  "3: wrokers: unknown group (known: workers, memory, tables, connections, control, state, ports, log)");
	EXPECT_EQ(refusal("memory = {\n\tmegabyte = 64;\n};\n"),
		  "2: memory.megabyte: unknown key (known in memory: hugepages, megabytes, mbufs)");
	EXPECT_EQ(refusal("log = 3;"), "1: log: must be a group: log = { ... };");
	EXPECT_EQ(refusal("work = { };").substr(0, 22), "1: work: unknown group");
}

TEST_F(Settings, ConnectionsAndTheirTimeouts)
{
	settings_default(&s);
	EXPECT_EQ(s.per_endpoint, 262144u);
	EXPECT_FALSE(s.pickup);
	EXPECT_EQ(s.tcp_windows, settings::WINDOWS_LOOSE);
	ASSERT_EQ(read("tables = { connections = 4096; };"), 0);
	EXPECT_EQ(s.per_endpoint, 1024u) << "a quarter of what there is";
	ASSERT_EQ(read("connections = { per_endpoint = 0; };"), 0);
	EXPECT_EQ(s.per_endpoint, 0u);
	ASSERT_EQ(read("connections = {\n\tpickup = true;\n\ttcp_windows = \"strict\";\n"
		       "\ttimeouts = { udp = 5; tcp_syn_sent = 7; other = 9; };\n};\ntables = { connections = 8192; };"),
		  0);
	EXPECT_TRUE(s.pickup);
	EXPECT_EQ(s.tcp_windows, settings::WINDOWS_STRICT);
	EXPECT_EQ(s.timeouts.udp, 5u);
	EXPECT_EQ(s.timeouts.tcp[TCP_STATE_SYN_SENT], 7u);
	EXPECT_EQ(s.timeouts.tcp[TCP_STATE_ESTABLISHED], 432000u);
	EXPECT_EQ(s.timeouts.other, 9u);
	EXPECT_EQ(s.per_endpoint, 2048u);
}

TEST_F(Settings, AGroupWithinAGroupIsChecked)
{
	EXPECT_EQ(refusal("connections = {\n\ttimeouts = {\n\t\tudp = 0;\n\t};\n};"),
		  "3: connections.timeouts.udp: 0 is not in 1..2000000");
	EXPECT_EQ(refusal("connections = { timeouts = 3; };"),
		  "1: connections.timeouts: must be a group: timeouts = { ... };");
	EXPECT_EQ(refusal("connections = { timeout = { }; };"),
		  "1: connections.timeout: unknown key (known in connections: per_endpoint, pickup, tcp_windows, timeouts)");
	EXPECT_EQ(refusal("connections = { timeouts = { dns = 3; }; };").substr(0, 83),
		  "1: connections.timeouts.dns: unknown key (known in connections.timeouts: tcp_syn_se");
	EXPECT_EQ(refusal("timeouts = { udp = 3; };").substr(0, 26), "1: timeouts: unknown group");
}

TEST_F(Settings, WrongTypesAreNamed)
{
	EXPECT_EQ(refusal("memory = { megabytes = \"512\"; };"),
		  "1: memory.megabytes: must be a whole number in 64..1048576");
	EXPECT_EQ(refusal("memory = { megabytes = 512.0; };"),
		  "1: memory.megabytes: must be a whole number in 64..1048576");
	EXPECT_EQ(refusal("memory = { hugepages = true; };"),
		  "1: memory.hugepages: must be one of \"auto\", \"yes\", \"no\"");
	EXPECT_EQ(refusal("ports = { any_socket_path = \"yes\"; };"),
		  "1: ports.any_socket_path: must be true or false");
	EXPECT_EQ(refusal("ports = { any_socket_path = 1; };"), "1: ports.any_socket_path: must be true or false");
	EXPECT_EQ(refusal("control = { mode = 0660; };"),
		  "1: control.mode: must be a string of octal digits such as \"0660\"");
	EXPECT_EQ(refusal("control = { roles = \"root\"; };").substr(0, 35), "1: control.roles: must be a list of");
	EXPECT_EQ(refusal("control = { roles = ( \"root\" ); };").substr(0, 36),
		  "1: control.roles[0]: must be a group");
	EXPECT_EQ(refusal("workers = { cores = 1; };"), "1: workers.cores: must be a list of cores such as [2, 3]");
	EXPECT_EQ(refusal("workers = { cores = [\"1\"]; };").substr(0, 30), "1: workers.cores[0]: must be a");
}

TEST_F(Settings, ValuesOutOfRangeAreNamed)
{
	EXPECT_EQ(refusal("memory = { megabytes = 63; };"), "1: memory.megabytes: 63 is not in 64..1048576");
	EXPECT_EQ(refusal("memory = { mbufs = -1; };"), "1: memory.mbufs: -1 is not in 1024..16777216");
	EXPECT_EQ(refusal("tables = { connections = 134217729; };"),
		  "1: tables.connections: 134217729 is not in 1024..134217728");
	EXPECT_EQ(refusal("memory = { hugepages = \"on\"; };"),
		  "1: memory.hugepages: \"on\" is not one of \"auto\", \"yes\", \"no\"");
	EXPECT_EQ(refusal("control = { mode = \"0440\"; };"),
		  "1: control.mode: \"0440\" is not in \"0600\"..\"0777\", readable and writable by its owner");
	EXPECT_EQ(refusal("control = { mode = \"4660\"; };").substr(0, 22), "1: control.mode: \"4660");
	EXPECT_EQ(refusal("control = { mode = \"0668\"; };").substr(0, 24), "1: control.mode: must be");
	EXPECT_EQ(refusal("control = { socket = \"run/x\"; };").substr(0, 34), "1: control.socket: must be an abso");
	EXPECT_EQ(refusal("control = { socket = \"/" + std::string(107, 'x') + "\"; };"),
		  "1: control.socket: is longer than 107 bytes");
	EXPECT_EQ(read("control = { socket = \"/" + std::string(106, 'x') + "\"; };"), 0);
	EXPECT_EQ(refusal("control = { socket = \"/a\\nb\"; };"),
		  "1: control.socket: must not hold control characters");
}

// libconfig 1.5 itself would read these as 0, 1 and -1.
TEST_F(Settings, NumbersThatDoNotFitAreRefusedAndNotCut)
{
	EXPECT_EQ(refusal("memory = {\n mbufs = 4294967296; };"), "2: 4294967296 is too large a number");
	EXPECT_EQ(refusal("workers = { cores = [4294967297]; };"), "1: 4294967297 is too large a number");
	EXPECT_EQ(refusal("# 99999999999\n/* 99999999999\n */ memory = { mbufs = 99999999999999999999L; };"),
		  "3: 99999999999999999999L is too large a number");
	EXPECT_EQ(read("# 99999999999\n/* 99999999999 */ state = { directory = \"/99999999999\\\"99999999999\"; };"), 0)
		<< error.text;
}

TEST_F(Settings, SyntaxErrorsHaveTheirLine)
{
	EXPECT_EQ(refusal("memory = { megabytes = 64; };\nlog = ;\n"), "2: syntax error");
	EXPECT_EQ(refusal("memory = { megabytes = 64; megabytes = 65; };"), "1: duplicate setting name");
	EXPECT_EQ(refusal("\n@include \"/etc\"\n"), "2: @include is not supported: everything stands in one file");
	EXPECT_EQ(refusal("log = { level = \"info"), "1: syntax error");
}

TEST_F(Settings, WhatIsNotATextFileIsRefused)
{
	EXPECT_EQ(settings_read(&s, dir.c_str(), &error), -EISDIR);
	EXPECT_EQ(read(std::string("log = { };\0 x = 1;", 18)), -EINVAL);
	EXPECT_NE(std::string(error.text).find("zero byte"), std::string::npos);
	EXPECT_EQ(read(std::string((1 << 20) + 1, '\n')), -EINVAL);
	EXPECT_NE(std::string(error.text).find("larger than"), std::string::npos);
}

TEST_F(Settings, CoresDefaultToTheCpuset)
{
	ASSERT_EQ(read(""), 0);
	EXPECT_EQ(s.control_core, lowest());
	if (CPU_COUNT(&cpus) == 1) {
		ASSERT_EQ(s.n_cores, 1u);
		EXPECT_EQ(s.cores[0], lowest());
		return;
	}
	ASSERT_EQ(s.n_cores, (unsigned int)std::min(CPU_COUNT(&cpus) - 1, WEFT_MAX_WORKERS));
	for (unsigned int i = 0; i < s.n_cores; i++) {
		EXPECT_TRUE(CPU_ISSET(s.cores[i], &cpus));
		EXPECT_NE(s.cores[i], s.control_core);
	}
}

TEST_F(Settings, OneCoreDoesEverything)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(highest(), &one);
	ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	ASSERT_EQ(read(""), 0);
	EXPECT_EQ(s.control_core, highest());
	ASSERT_EQ(s.n_cores, 1u);
	EXPECT_EQ(s.cores[0], highest());
}

TEST_F(Settings, AGivenWorkerMovesTheControlCoreAndTheOtherWay)
{
	if (CPU_COUNT(&cpus) < 2)
		GTEST_SKIP() << "needs two cores";
	ASSERT_EQ(read("workers = { cores = (" + std::to_string(lowest()) + "); };"), 0) << error.text;
	EXPECT_NE(s.control_core, lowest());
	EXPECT_EQ(s.n_cores, 1u);
	ASSERT_EQ(read("workers = { control_core = " + std::to_string(highest()) + "; };"), 0) << error.text;
	EXPECT_EQ(s.control_core, highest());
	for (unsigned int i = 0; i < s.n_cores; i++)
		EXPECT_NE(s.cores[i], highest());
}

TEST_F(Settings, CoresOutsideTheCpusetAreRefused)
{
	std::string low = std::to_string(lowest());
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(lowest(), &one);
	ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	EXPECT_EQ(refusal("workers = {\n cores = [" + low + ", 1023];\n};"),
		  "2: workers.cores[1]: 1023 is not a core of this process (" + low + ")");
	EXPECT_EQ(refusal("workers = { cores = [-1]; };"),
		  "1: workers.cores[0]: -1 is not a core of this process (" + low + ")");
	EXPECT_EQ(refusal("workers = { control_core = 5000; };"),
		  "1: workers.control_core: 5000 is not a core of this process (" + low + ")");
	EXPECT_EQ(refusal("workers = { cores = [" + low + ", " + low + "]; };"),
		  "1: workers.cores[1]: core " + low + " is already workers.cores[0]");
	EXPECT_EQ(refusal("workers = { cores = []; };"), "1: workers.cores: must have 1..32 members, not 0");
}

TEST_F(Settings, RolesAreChecked)
{
	auto roles = [](const std::string &list) { return "control = { roles = ( " + list + " ); };"; };
	EXPECT_EQ(refusal(roles("{ who = \"root\"; }")), "1: control.roles[0]: needs `who` and `role`");
	EXPECT_EQ(refusal(roles("{ who = \"root\"; role = \"admin\"; },\n{ who = \"root\"; roel = \"admin\"; }")),
		  "2: control.roles[1].roel: unknown key (known: who, role)");
	EXPECT_EQ(
		refusal(roles("{ who = \"root\"; role = \"king\"; }")),
		"1: control.roles[0].role: \"king\" is not one of \"nobody\", \"read-only\", \"operator\", \"admin\"");
	EXPECT_EQ(refusal(roles("{ who = \"no-such-user-here\"; role = \"admin\"; }")),
		  "1: control.roles[0].who: this machine has no such user");
	EXPECT_EQ(refusal(roles("{ who = \"@no-such-group-here\"; role = \"admin\"; }")),
		  "1: control.roles[0].who: this machine has no such group");
	EXPECT_EQ(refusal(roles("{ who = \"4294967296\"; role = \"admin\"; }")),
		  "1: control.roles[0].who: this machine has no such user");
	EXPECT_EQ(refusal(roles("{ who = \"@\"; role = \"admin\"; }")),
		  "1: control.roles[0].who: must be a user, a uid, @group or *");
	EXPECT_EQ(refusal(roles("{ who = 0; role = \"admin\"; }")), "1: control.roles[0].who: must be a string");
	std::string many;
	for (int i = 0; i < SETTINGS_ROLE_MAX + 1; i++)
		many += std::string(i ? "," : "") + "{ who = \"root\"; role = \"admin\"; }";
	EXPECT_EQ(refusal(roles(many)), "1: control.roles: must have 1..64 members, not 65");
}

TEST_F(Settings, TheFirstRoleThatFitsDecides)
{
	ASSERT_EQ(read(""), 0);
	EXPECT_EQ(settings_role_of(&s, 0, 0), MGMT_ADMIN);
	EXPECT_EQ(settings_role_of(&s, 54321, 54321), MGMT_READ_ONLY);
	ASSERT_EQ(read("control = { roles = ( { who = \"54321\"; role = \"read-only\"; }, { who = \"@777\"; role = "
		       "\"operator\"; },"
		       "{ who = \"54322\"; role = \"admin\"; } ); };"),
		  0)
		<< error.text;
	EXPECT_EQ(settings_role_of(&s, 54321, 777), MGMT_READ_ONLY);
	EXPECT_EQ(settings_role_of(&s, 54322, 777), MGMT_OPERATOR);
	EXPECT_EQ(settings_role_of(&s, 54322, 778), MGMT_ADMIN);
	EXPECT_EQ(settings_role_of(&s, 0, 0), MGMT_NOBODY);
	EXPECT_EQ(settings_role_of(&s, 54323, 1), MGMT_NOBODY);
}

// A member by the group file alone: the peer's own gid is another.
TEST_F(Settings, SupplementaryGroupsCount)
{
	std::string name;
	uid_t uid = 0;
	setgrent();
	for (struct group *g; name.empty() && (g = getgrent()) != nullptr;) {
		struct passwd *p = g->gr_mem[0] != nullptr ? getpwnam(g->gr_mem[0]) : nullptr;
		if (p != nullptr) {
			uid = p->pw_uid;
			name = g->gr_name;
		}
	}
	endgrent();
	if (name.empty())
		GTEST_SKIP() << "no group of this machine has a supplementary member";
	ASSERT_EQ(read("control = { roles = ( { who = \"@" + name + "\"; role = \"operator\"; } ); };"), 0)
		<< error.text;
	EXPECT_EQ(settings_role_of(&s, uid, 54321), MGMT_OPERATOR);
	EXPECT_EQ(settings_role_of(&s, 54321, 54321), MGMT_NOBODY);
}

TEST_F(Settings, TheReferenceNamesEveryKeyAndItsExampleIsTheDefaults)
{
	std::string text = describe();
	for (const char *key :
	     {"workers.cores", "workers.control_core", "workers.new_connections_per_second",
	      "workers.new_connections_burst", "memory.hugepages", "memory.megabytes", "memory.mbufs",
	      "tables.connections", "control.socket", "control.mode", "control.group", "control.roles",
	      "state.directory", "ports.socket_directory", "ports.any_socket_path", "log.level"})
		EXPECT_NE(text.find("### `" + std::string(key) + "`\n"), std::string::npos) << key;
	size_t from = text.find("```\n", text.find("## The defaults")), to = text.find("```\n", from + 4);
	ASSERT_NE(to, std::string::npos);
	std::string example = text.substr(from + 4, to - from - 4);
	// The default names a group that this machine may lack; written in a file, that would be a typo.
	if (getgrnam("weft") == nullptr)
		example.replace(example.find("@weft"), 5, "@0");
	ASSERT_EQ(read(example), 0) << error.text;
	EXPECT_EQ(s.mbufs, 65536u);
	EXPECT_EQ(s.n_roles, 3u);
}

TEST_F(Settings, TheReferenceInDocsIsCurrent)
{
	std::ifstream in(WEFT_SOURCE_ROOT "/docs/weft.conf.md");
	std::stringstream text;
	text << in.rdbuf();
	EXPECT_EQ(text.str(), describe())
		<< "docs/weft.conf.md differs from the settings table: write the text above to it";
}

} // namespace
