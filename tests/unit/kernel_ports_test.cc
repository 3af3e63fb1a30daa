// SPDX-License-Identifier: Apache-2.0
// Ports kept from the node's kernel: lists as it writes them, and files of a test's own in place of the sysctls.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "kernel_ports.h"
#include "one_line.hpp"

namespace
{

std::string
format(const struct port_set &s, size_t size = 4000)
{
	std::string out(size, '\0');
	port_set_format(&s, &out[0], size);
	return out.c_str();
}

struct port_set
set(const char *text)
{
	struct port_set s;
	EXPECT_TRUE(port_set_parse(&s, text)) << text;
	return s;
}

TEST(PortSet, ListsAsTheKernelWritesThem)
{
	for (const char *text : {"", "1", "0", "65535", "32768-60999", "1-2,4,30000-30002,65534-65535"})
		EXPECT_EQ(format(set(text)), text);
	EXPECT_EQ(format(set("8,7\n")), "7-8");
	EXPECT_EQ(format(set("10-20,15-25")), "10-25");
	struct port_set s;
	for (const char *text : {"x", "1-", "2-1", "65536", "1 2", "1,,2", "-1"})
		EXPECT_FALSE(port_set_parse(&s, text)) << text;
	s = set("10-20,30");
	EXPECT_EQ(port_set_count(&s, 0, 65535), 12u);
	EXPECT_EQ(port_set_count(&s, 20, 30), 2u);
	struct port_set part = set("12,30"), more = set("12,31");
	EXPECT_TRUE(port_set_covers(&s, &part));
	EXPECT_FALSE(port_set_covers(&s, &more));
}

TEST(PortSet, ALongListClosesGapsUntilItFits)
{
	struct port_set s = {};
	for (uint32_t p = 1000; p < 60000; p += 7)
		port_set_add(&s, (uint16_t)p, (uint16_t)p);
	std::string text = format(s, 4000);
	EXPECT_LT(text.size(), 4000u);
	struct port_set back = set(text.c_str());
	EXPECT_TRUE(port_set_covers(&back, &s));
	EXPECT_FALSE(port_set_has(&back, 999));
}

struct KernelPorts : testing::Test {
	std::string dir = "/tmp/weft-ports-" + std::to_string(getpid()), reserved = dir + "/ip_local_reserved_ports",
		    range = dir + "/ip_local_port_range", record = dir + "/kernel-ports";
	struct kernel_ports k = {};
	struct error e = {};
	void
	SetUp() override
	{
		mkdir(dir.c_str(), 0700);
		write_line(reserved, "");
		write_line(range, "32768\t60999");
		begin("boot-1");
	}
	void
	TearDown() override
	{
		unlink(reserved.c_str());
		unlink(range.c_str());
		unlink(record.c_str());
		EXPECT_EQ(rmdir(dir.c_str()), 0) << "something else was left in it";
	}
	// A process, in the place of the one before, which was killed.
	void
	begin(const char *boot)
	{
		kernel_ports_init(&k, dir.c_str(), dir.c_str(), boot);
	}	int
	want(const char *must, const char *may = "")
	{
		struct port_set a = set(must), b = set(may);
		return kernel_ports_set(&k, &a, &b, nullptr, &e);
	}
};

TEST_F(KernelPorts, BesideWhatIsThereAndBackAgain)
{
	write_line(reserved, "8080,40000-40010");
	ASSERT_EQ(want("40000-49999"), 0) << e.text;
	EXPECT_EQ(read_line(reserved), "8080,40000-49999");
	ASSERT_EQ(want("45000-49999", "30080"), 0);
	EXPECT_EQ(read_line(reserved), "8080,30080,40000-40010,45000-49999") << "what others put there stays";
	ASSERT_EQ(want(""), 0);
	EXPECT_EQ(read_line(reserved), "8080,40000-40010");
	EXPECT_EQ(read_line(range), "32768\t60999") << "there was enough left";
}

TEST_F(KernelPorts, NothingIsTouchedWhenNothingIsWanted)
{
	unlink(reserved.c_str());
	EXPECT_EQ(want(""), 0);
}

TEST_F(KernelPorts, SomebodyElseMayChangeItMeanwhile)
{
	ASSERT_EQ(want("40000-40009"), 0);
	write_line(reserved, "9000,40000-40009");
	ASSERT_EQ(want(""), 0);
	EXPECT_EQ(read_line(reserved), "9000");
}

TEST_F(KernelPorts, WhatAKilledProcessLeftIsKnownByItsRecord)
{
	write_line(reserved, "9000,40005");
	ASSERT_EQ(want("32768-60999", "30080"), 0) << e.text;
	EXPECT_EQ(read_line(reserved), "9000,30080,32768-60999");
	EXPECT_EQ(read_line(range), "10000 60999");
	begin("boot-1");
	// What nobody wants any more is taken back; what was there before us is not ours, though we wanted it, too.
	ASSERT_EQ(want("50000-50999"), 0) << e.text;
	EXPECT_EQ(read_line(reserved), "9000,40005,50000-50999");
	EXPECT_EQ(read_line(range), "32768 60999");
	begin("boot-1");
	ASSERT_EQ(want(""), 0);
	EXPECT_EQ(read_line(reserved), "9000,40005");
	EXPECT_NE(access(record.c_str(), F_OK), 0) << "nothing is ours, nothing is written down";
}

TEST_F(KernelPorts, TheRecordOfAnotherBootMeansNothing)
{
	ASSERT_EQ(want("40000-49999"), 0);
	begin("boot-2");
	ASSERT_EQ(want("45000-46000"), 0);
	ASSERT_EQ(want(""), 0);
	EXPECT_EQ(read_line(reserved), "40000-49999") << "somebody has set it at the start of this boot";
}

TEST_F(KernelPorts, WhatCannotBeWrittenDownIsNotDone)
{
	mkdir((record + ".new").c_str(), 0700);
	EXPECT_LT(want("40000-49999"), 0);
	EXPECT_EQ(std::string(e.text), record + " cannot be written: Is a directory");
	EXPECT_EQ(read_line(reserved), "");
	rmdir((record + ".new").c_str());
	EXPECT_EQ(want("40000-49999"), 0);
}

TEST_F(KernelPorts, ABrokenRecordMeansNothing)
{
	for (const char *text : {"", "boot-1", "boot-1\nx-y\n\n", "\n\n\n\n"}) {
		write_line(record, text);
		write_line(reserved, "9000");
		begin("boot-1");
		ASSERT_EQ(want("40000-49999"), 0) << text;
		ASSERT_EQ(want(""), 0) << text;
		EXPECT_EQ(read_line(reserved), "9000") << text;
		EXPECT_EQ(read_line(range), "32768\t60999") << text;
	}
}

TEST_F(KernelPorts, WhatClosedTheGapsOfALongListIsOurs)
{
	struct port_set many = {}, none = {};
	for (uint32_t p = 10001; p < 30000; p += 7)
		port_set_add(&many, (uint16_t)p, (uint16_t)p);
	write_line(reserved, "9000");
	ASSERT_EQ(kernel_ports_set(&k, &none, &many, nullptr, &e), 0);
	EXPECT_NE(read_line(reserved), "9000");
	ASSERT_EQ(want(""), 0);
	EXPECT_EQ(read_line(reserved), "9000");
}

TEST_F(KernelPorts, TheRangeIsPutBackAsSoonAsItWillDo)
{
	ASSERT_EQ(want("32768-60999"), 0);
	EXPECT_EQ(read_line(range), "10000 60999");
	ASSERT_EQ(want("40000-50000"), 0);
	EXPECT_EQ(read_line(range), "32768 60999");
	ASSERT_EQ(want("32768-60999"), 0);
	write_line(range, "15000 60999");
	ASSERT_EQ(want("40000-50000"), 0);
	EXPECT_EQ(read_line(range), "15000 60999") << "somebody else has set it since";
}

TEST_F(KernelPorts, TheKernelKeepsPortsOfItsOwn)
{
	ASSERT_EQ(want("32768-60999"), 0) << e.text;
	EXPECT_EQ(read_line(range), "10000 60999") << "the default range would have left it none";
	ASSERT_EQ(want(""), 0);
	EXPECT_EQ(read_line(range), "32768 60999");
	EXPECT_EQ(read_line(reserved), "");
	// Unless somebody has set it since.
	ASSERT_EQ(want("32768-60999"), 0);
	write_line(range, "20000 30000");
	ASSERT_EQ(want(""), 0);
	EXPECT_EQ(read_line(range), "20000 30000");
}

TEST_F(KernelPorts, RefusedWhenItWouldHaveNone)
{
	write_line(range, "10000 60999");
	EXPECT_EQ(want("1024-65535"), -EBUSY);
	EXPECT_NE(std::string(e.text).find("net.ipv4.ip_local_port_range"), std::string::npos) << e.text;
	ASSERT_EQ(want(""), 0) << "and taken back";
	EXPECT_EQ(read_line(reserved), "");
}

TEST_F(KernelPorts, RefusedWithTheNameOfTheSysctl)
{
	unlink(reserved.c_str());
	EXPECT_LT(want("40000-49999"), 0);
	EXPECT_NE(std::string(e.text).find("net.ipv4.ip_local_reserved_ports"), std::string::npos) << e.text;
	EXPECT_EQ(want("", "30080"), 0) << "nothing depends on it";
}

} // namespace
