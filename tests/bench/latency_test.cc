/* SPDX-License-Identifier: Apache-2.0 */
/* weft-gen's stamps and percentiles, against the plain arithmetic. */
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

extern "C" {
#include "flow.h"
#include "gen_latency.h"
}

namespace
{

/* A buffer that is no pool's: head room, then the frame. */
struct Frame {
	rte_mbuf m{};
	uint8_t bytes[RTE_PKTMBUF_HEADROOM + 1514]{};

	explicit Frame(uint16_t size)
	{
		m.buf_addr = bytes;
		m.data_off = RTE_PKTMBUF_HEADROOM;
		m.data_len = size;
		m.pkt_len = size;
	}
	uint8_t *
	data()
	{
		return bytes + RTE_PKTMBUF_HEADROOM;
	}
};

/* As weft-gen makes it. */
void
make_frame(Frame &f, uint32_t flow)
{
	flow_plan plan{};
	plan.vips = plan.backends = 1;
	plan.vip_port = 80;
	plan.size = f.m.data_len;
	plan.protocol = 17;
	flow_side side;
	flow_side_init(&side, &plan, 0);
	flow_fill(f.data(), f.m.data_len);
	flow_frame(&side, f.data(), 0x0a100000 + flow, 0x0a600001, static_cast<uint16_t>(1024 + flow), 80);
}

void
note(Frame &f, uint64_t sent, uint64_t received)
{
	rte_mbuf *m = &f.m;
	gen_latency_stamp(&m, 1, sent);
	gen_latency_note(&m, 1, received);
}

gen_latency
result()
{
	gen_latency r;
	gen_latency_result(&r);
	return r;
}

class Latency : public ::testing::Test
{
      protected:
	void
	SetUp() override
	{
		gen_latency_reset();
	}
};

TEST_F(Latency, ChecksumsStayRight)
{
	std::mt19937_64 random(1);
	for (uint16_t size : {64, 65, 1514}) {
		Frame f(size);
		for (uint32_t i = 0; i < 20000; i++) {
			make_frame(f, i);
			ASSERT_TRUE(flow_frame_is_right(f.data(), size));
			rte_mbuf *m = &f.m;
			gen_latency_stamp(&m, 1, random());
			ASSERT_TRUE(flow_frame_is_right(f.data(), size)) << i;
			gen_latency_stamp(&m, 1, random()); /* over another stamp */
			ASSERT_TRUE(flow_frame_is_right(f.data(), size)) << i;
		}
	}
}

TEST_F(Latency, OnlyStampedFramesCount)
{
	Frame f(64), small(54);
	make_frame(f, 1);
	rte_mbuf *m[] = {&f.m, &small.m};
	gen_latency_note(m, 2, 1000);
	EXPECT_EQ(result().frames, 0u);
	EXPECT_EQ(result().p50, 0u);
	note(f, 1000, 1100);
	EXPECT_EQ(result().frames, 1u);
	EXPECT_EQ(result().p50, 100u);
	EXPECT_EQ(result().max, 100u);
}

TEST_F(Latency, TheClockMayWrapAround48Bits)
{
	Frame f(64);
	make_frame(f, 1);
	note(f, (5ull << 48) - 40, (5ull << 48) + 60);
	EXPECT_EQ(result().max, 100u);
}

TEST_F(Latency, RankIsTheNearestAndNeverBelow)
{
	Frame f(64);
	make_frame(f, 1);
	for (uint64_t i = 1; i <= 100; i++) /* below 128 cycles a bucket is one value */
		note(f, 0, i);
	EXPECT_EQ(result().p50, 50u);
	EXPECT_EQ(result().p99, 99u);
	EXPECT_EQ(result().p999, 100u); /* ceil(99.9) */
	EXPECT_EQ(result().max, 100u);
	EXPECT_DOUBLE_EQ(result().mean, 50.5);
}

TEST_F(Latency, NoneIsLongerThanTheLongest)
{
	Frame f(64);
	make_frame(f, 1);
	note(f, 0, 1000); /* its bucket ends at 1007 */
	EXPECT_EQ(result().p50, 1000u);
	EXPECT_EQ(result().p999, 1000u);
}

TEST_F(Latency, PercentilesAreAtMostASixtyFourthTooLong)
{
	std::mt19937_64 random(2);
	std::lognormal_distribution<double> times(10, 2);
	std::vector<uint64_t> all;
	Frame f(64);
	make_frame(f, 1);
	for (int i = 0; i < 200001; i++) {
		all.push_back(static_cast<uint64_t>(times(random)));
		note(f, 12345, 12345 + all.back());
	}
	std::sort(all.begin(), all.end());
	gen_latency r = result();
	const std::pair<double, uint64_t> given[] = {{0.5, r.p50}, {0.99, r.p99}, {0.999, r.p999}};
	for (auto [share, value] : given) {
		uint64_t exact = all[static_cast<size_t>(std::ceil(share * static_cast<double>(all.size()))) - 1];
		EXPECT_GE(value, exact) << share;
		EXPECT_LE(value, exact + exact / 64) << share;
	}
	EXPECT_EQ(r.max, all.back());
	EXPECT_EQ(r.frames, all.size());
}

} // namespace
