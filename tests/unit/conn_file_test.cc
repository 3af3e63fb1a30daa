// SPDX-License-Identifier: Apache-2.0
// The table's file as another process sees it: a second mapping, read by the header's offsets and by ids alone.
#include <gtest/gtest.h>

#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weft/conn_file.h>

#include "conn.hpp"

namespace
{

constexpr uint32_t T0 = 5'000'000; // ms

struct ConnFile : ::testing::Test {
	std::string dir, path;
	conn_table *t = nullptr;
	const char *base = nullptr;
	size_t size = 0;

	void
	SetUp() override
	{
		char name[] = "/tmp/weft-conn-XXXXXX";
		ASSERT_NE(mkdtemp(name), nullptr);
		dir = name;
		path = dir + "/connections";
		t = make_table(2048, 3, nullptr, path.c_str());
		ASSERT_NE(t, nullptr);
	}
	void
	TearDown() override
	{
		if (base != nullptr)
			munmap(const_cast<char *>(base), size);
		conn_table_destroy(t, true);
		rmdir(dir.c_str());
	}
	const conn_header &
	map()
	{
		int fd = open(path.c_str(), O_RDONLY);
		struct stat st;
		EXPECT_EQ(fstat(fd, &st), 0);
		size = size_t(st.st_size);
		void *p = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
		EXPECT_NE(p, MAP_FAILED);
		base = static_cast<const char *>(p);
		return *reinterpret_cast<const conn_header *>(base);
	}
	template <typename T>
	const T *
	at(uint64_t offset)
	{
		return reinterpret_cast<const T *>(base + offset);
	}
};

TEST_F(ConnFile, TheHeaderSaysEverything)
{
	const conn_header &h = map();
	EXPECT_EQ(memcmp(base, "WEFTCONN", 8), 0);
	EXPECT_EQ(h.magic, CONN_MAGIC);
	EXPECT_EQ(h.version, CONN_VERSION);
	EXPECT_EQ(h.header_size, sizeof(conn_header));
	EXPECT_EQ(h.tuple_size, sizeof(tuple));
	EXPECT_EQ(h.half_size, sizeof(conn_half));
	EXPECT_EQ(h.cold_size, sizeof(conn_cold));
	EXPECT_EQ(h.size, size);
	EXPECT_EQ(h.capacity, 2048u);
	EXPECT_EQ(h.workers, 3u);
	uint64_t before = h.header_size;
	for (uint64_t part : {h.worker_at, h.open_at, h.chunk_at, h.bucket_at, h.half_at, h.cold_at}) {
		EXPECT_GE(part, before);
		EXPECT_EQ(part % 64, 0u);
		before = part;
	}
	EXPECT_LE(h.cold_at + (h.capacity + 1) * sizeof(conn_cold), size);
}

TEST_F(ConnFile, AConnectionIsReadByItsId)
{
	const conn_header &h = map();
	conn_new n = new_conn(tuple_number(7, IPPROTO_TCP), TCP_BIT_SYN);
	n.reply.src = ip_from4(htonl(0x0a0a0a0a));
	n.service = 77;
	n.backend = 78;
	n.owner = 79;
	n.rule[1] = 80;
	uint32_t ref;
	ASSERT_EQ(conn_create(t, 0, &n, T0, &ref), 0);
	ASSERT_EQ(conn_packet(t, ref + 1, TCP_BIT_SYN | TCP_BIT_ACK, T0), 0);
	ASSERT_EQ(conn_packet(t, ref, TCP_BIT_ACK, T0), 0);

	uint32_t id = ref >> 1, found = 0;
	for (uint32_t i = 1; i <= h.capacity; i++) { // as an adopter looks for what lives
		unsigned int flags = conn_half_flags(at<conn_half>(h.half_at) + 2 * i);
		if ((flags & (HALF_LIVE | HALF_CLOSED)) == HALF_LIVE)
			found = found == 0 ? i : UINT32_MAX;
	}
	ASSERT_EQ(found, id);
	const conn_half *half = at<conn_half>(h.half_at) + 2 * id;
	const conn_cold *cold = at<conn_cold>(h.cold_at) + id;
	EXPECT_TRUE(tuple_equal(&half[0].key, &n.orig));
	EXPECT_TRUE(tuple_equal(&half[1].key, &n.reply));
	EXPECT_TRUE(conn_half_flags(&half[0]) & HALF_NAT);
	EXPECT_EQ(half[0].seen & 0xffffff, T0 / 1000);
	EXPECT_EQ(cold->service, 77u);
	EXPECT_EQ(cold->backend, 78u);
	EXPECT_EQ(cold->owner, 79u);
	EXPECT_EQ(cold->rule[1], 80u);
	EXPECT_EQ(cold->state, TCP_STATE_ESTABLISHED);
	EXPECT_EQ(cold->tcp[0].end, 1001u);
	EXPECT_EQ(cold->tcp[1].end, 5001u);
	EXPECT_EQ(cold->tcp[1].max_win, 65535u);

	conn_remove(t, 0, ref);
	EXPECT_TRUE(conn_half_flags(&half[0]) & HALF_CLOSED) << "both mappings are one memory";
}

} // namespace
