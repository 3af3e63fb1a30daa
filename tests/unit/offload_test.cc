// SPDX-License-Identifier: Apache-2.0
#include <weft/offload.h>

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace
{

// A packet buffer without a pool: offload.c looks at one segment's data only.
struct Frame {
	struct rte_mbuf m = {};
	std::vector<uint8_t> data;

	explicit Frame(size_t n) : data(n)
	{
		m.buf_addr = data.data();
		m.buf_len = (uint16_t)n;
		m.data_len = (uint16_t)n;
		m.pkt_len = (uint32_t)n;
		m.nb_segs = 1;
	}

	void
	put16(size_t at, uint16_t host)
	{
		data[at] = (uint8_t)(host >> 8);
		data[at + 1] = (uint8_t)host;
	}

	uint16_t
	get16(size_t at) const
	{
		return (uint16_t)(data[at] << 8 | data[at + 1]);
	}
};

// RFC 1071 as it is written there, 16 bits at a time.
uint16_t
sum(const uint8_t *p, size_t n, uint32_t start = 0)
{
	uint32_t s = start;
	for (size_t i = 0; i < n; i += 2) {
		s += (uint32_t)(p[i] << 8 | (i + 1 < n ? p[i + 1] : 0));
		s = (s & 0xffff) + (s >> 16);
	}
	return (uint16_t)s;
}

TEST(Offload, MarksArePlacedAndRead)
{
	Frame f(64);
	f.m.ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	EXPECT_FALSE(offload_is_partial(&f.m));
	offload_rx_partial(&f.m, 34, 16);
	EXPECT_TRUE(offload_is_partial(&f.m));
	EXPECT_EQ(offload_csum_start(&f.m), 34);
	EXPECT_EQ(offload_csum_offset(&f.m), 16);
	EXPECT_TRUE(f.m.ol_flags & RTE_MBUF_F_RX_VLAN);
	offload_rx_partial(&f.m, 0xfffe, 0xfffd);
	EXPECT_EQ(offload_csum_start(&f.m), 0xfffe);
	EXPECT_EQ(offload_csum_offset(&f.m), 0xfffd);
}

TEST(Offload, NeitherGoodNorBadIsPartial)
{
	Frame f(64);
	for (uint64_t flags : {(uint64_t)RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN, (uint64_t)RTE_MBUF_F_RX_L4_CKSUM_GOOD,
			       (uint64_t)RTE_MBUF_F_RX_L4_CKSUM_BAD}) {
		f.m.ol_flags = flags;
		EXPECT_FALSE(offload_is_partial(&f.m));
		EXPECT_EQ(offload_complete(&f.m, 64, true), -EINVAL);
	}
}

// UDP 192.0.2.1:4660 -> 192.0.2.2:53, "ab": worked out by hand from RFC 768.
TEST(Offload, CompletesAUdpChecksumKnownByHand)
{
	Frame f(34 + 10);
	f.put16(34, 0x1234);
	f.put16(36, 53);
	f.put16(38, 10);
	f.put16(42, 0x6162);
	// c000 + 0201 + c000 + 0202 + 0011 + 000a = 1841e, folded 841f
	f.put16(40, 0x841f);
	offload_rx_partial(&f.m, 34, 6);
	ASSERT_EQ(offload_complete(&f.m, 44, true), 0);
	// 1234 + 0035 + 000a + 841f + 6162 = f7f4, complement 080b
	EXPECT_EQ(f.get16(40), 0x080b);
	EXPECT_FALSE(offload_is_partial(&f.m));
	EXPECT_EQ(f.m.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, (uint64_t)RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
}

TEST(Offload, AComputedZeroIsAllOnesForUdpOnly)
{
	for (bool udp : {false, true}) {
		Frame f(34 + 8);
		f.put16(34, 0x0102);
		f.put16(36, (uint16_t)~0x0102);
		offload_rx_partial(&f.m, 34, 6);
		ASSERT_EQ(offload_complete(&f.m, 42, udp), 0);
		EXPECT_EQ(f.get16(40), udp ? 0xffff : 0);
	}
}

TEST(Offload, PaddingDoesNotCount)
{
	Frame padded(60), exact(44);
	for (Frame *f : {&padded, &exact}) {
		f->put16(34, 0x1234);
		f->put16(42, 0x6162);
		offload_rx_partial(&f->m, 34, 6);
	}
	for (size_t i = 44; i < 60; i++)
		padded.data[i] = 0xee;
	ASSERT_EQ(offload_complete(&padded.m, 44, true), 0);
	ASSERT_EQ(offload_complete(&exact.m, 44, true), 0);
	EXPECT_EQ(padded.get16(40), exact.get16(40));
	EXPECT_EQ(padded.data[44], 0xee);
}

// Every length and alignment: the result, with the pseudo-header sum in place, sums up to all ones.
TEST(Offload, AgreesWithTheRfcForRandomPackets)
{
	std::mt19937 rng(7);
	for (int round = 0; round < 3000; round++) {
		size_t start = rng() % 120, n = 18 + rng() % 1600;
		Frame f(start + n + rng() % 20);
		for (auto &b : f.data)
			b = (uint8_t)rng();
		uint16_t pseudo = f.get16(start + 16);
		offload_rx_partial(&f.m, (uint16_t)start, 16);
		ASSERT_EQ(offload_complete(&f.m, (uint16_t)(start + n), false), 0);
		EXPECT_EQ(sum(f.data.data() + start, n, pseudo), 0xffff) << "length " << n << " at " << start;
	}
}

TEST(Offload, RefusesWhatDoesNotFitAndChangesNothing)
{
	struct {
		uint16_t start, offset, end;
	} bad[] = {
		{34, 6, 61},                                                         // the end lies past the frame
		{34, 6, 41},                                                         // half of the field
		{34, 6, 34},     {34, 6, 33},          {34, 6, 0},      {59, 0, 60}, // one byte of the field
		{60, 0, 60},     {0xffff, 0xffff, 60}, {0, 0xffff, 60}, {0xffff, 0, 60},
		{1, 0xffff, 60}, // start + offset wraps 16 bits to 0
	};
	for (auto &b : bad) {
		Frame f(60);
		for (size_t i = 0; i < f.data.size(); i++)
			f.data[i] = (uint8_t)i;
		auto before = f.data;
		offload_rx_partial(&f.m, b.start, b.offset);
		EXPECT_EQ(offload_complete(&f.m, b.end, true), -EINVAL) << b.start << "+" << b.offset;
		EXPECT_EQ(f.data, before);
		EXPECT_TRUE(offload_is_partial(&f.m));
	}
}

TEST(Offload, RefusesAChain)
{
	Frame f(60);
	f.m.nb_segs = 2;
	offload_rx_partial(&f.m, 34, 6);
	EXPECT_EQ(offload_complete(&f.m, 60, true), -EINVAL);
}

TEST(Offload, TheFieldMayBeTheLastTwoBytes)
{
	Frame f(60);
	offload_rx_partial(&f.m, 34, 24);
	EXPECT_EQ(offload_complete(&f.m, 60, false), 0);
	EXPECT_EQ(f.get16(58), 0xffff);
}

} // namespace
