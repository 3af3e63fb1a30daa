/* SPDX-License-Identifier: Apache-2.0 */
/* A guest whose descriptors a test writes itself. */
#ifndef TESTS_LIB_VHOST_SPLIT_FIXTURE_HPP
#define TESTS_LIB_VHOST_SPLIT_FIXTURE_HPP

#include "vhost_fixture.hpp"

class VhostSplitTest : public VhostGuestTest
{
      protected:
	using Desc = vhost::Desc;
	using Used = std::pair<uint32_t, uint32_t>;
	/* The buffers of a ring that does not run, and a table behind them. */
	static constexpr uint64_t AT = vhost::Guest::buffer(6, 0), TABLE = vhost::Guest::buffer(7, 0);

	/* Header and frame; how long both are. */
	uint32_t
	lay(const vhost::Frame &f, uint64_t at = AT)
	{
		memset(guest.base + at, 0, guest.header);
		memcpy(guest.base + at + guest.header, f.data(), f.size());
		return static_cast<uint32_t>(guest.header + f.size());
	}
	vhost::Frame
	laid(size_t n, uint64_t at = AT) const
	{
		const uint8_t *from = guest.base + at + guest.header;
		return vhost::Frame(from, from + n);
	}
	static std::vector<Desc>
	cut(uint32_t total, uint32_t step, uint16_t flags = 0)
	{
		std::vector<Desc> out;
		for (uint32_t from = 0; from < total; from += step)
			out.push_back({AT + from, std::min(step, total - from), flags, 0});
		return out;
	}
	/* An indirect table of these, and the descriptor of that. */
	Desc
	table(const std::vector<Desc> &pieces)
	{
		auto linked = vhost::Guest::link(pieces, 0);
		size_t bytes = linked.size() * sizeof(linked[0]);
		memcpy(guest.base + TABLE, linked.data(), bytes);
		return {TABLE, static_cast<uint32_t>(bytes), vhost::DESC_INDIRECT, 0};
	}
	Used
	used(unsigned int ring, unsigned int i) const
	{
		const auto &e = guest.rings[ring].used->ring[i];
		return {e.id, e.len};
	}
	/* Every buffer of the pool as after a packet that began elsewhere, with bytes that no guest has written. */
	static void
	soil_pool()
	{
		std::vector<rte_mbuf *> all;
		while (rte_mbuf *m = rte_pktmbuf_alloc(pool)) {
			memset(m->buf_addr, 0xee, m->buf_len);
			m->data_off = 400;
			all.push_back(m);
		}
		for (rte_mbuf *m : all)
			rte_pktmbuf_free(m);
	}
	/* What is signalled from here on is not the greeting. */
	void
	greeted()
	{
		receive(p);
		transmit(p, {});
		while (guest.called(0) || guest.called(1))
			;
	}
	/* One frame by this ring. */
	void
	pass(unsigned int ring)
	{
		if (ring == 0) {
			EXPECT_EQ(transmit(p, {frame(60)}), 1);
		} else {
			guest.give(0, frame(60));
			EXPECT_EQ(receive(p).size(), 1u);
		}
	}
	/* Numbered frames cross a worker in both directions while `disturb` does what it does 60 times. */
	void
	expect_stream(const std::function<bool(unsigned int)> &disturb)
	{
		uint32_t out = 0, in = 0, given = 0, taken = 0;
		port *const served = p;
		auto numbered = [](uint32_t n) {
			vhost::Frame f = frame(60);
			memcpy(f.data(), &n, sizeof(n));
			return f;
		};
		auto check = [](const vhost::Frame &f, uint32_t &next) {
			uint32_t n;
			memcpy(&n, f.data(), sizeof(n));
			EXPECT_EQ(n, next);
			next = n + 1;
		};
		{
			Worker worker([&] {
				for (const auto &f : receive(served))
					check(f, in);
				out += transmit(served, {numbered(out)});
			});
			for (unsigned int turn = 0; turn < 60 && !HasFailure(); turn++) {
				for (; static_cast<uint16_t>(given - guest.consumed(0)) < vhost::Guest::SIZE; given++)
					guest.give(0, numbered(given));
				for (const auto &packet : guest.take(0))
					check(packet.frame, taken);
				ASSERT_TRUE(disturb(turn));
				ASSERT_TRUE(wait([&] { return guest.consumed(0) == static_cast<uint16_t>(given); }));
			}
			uint64_t turns = worker.turns;
			ASSERT_TRUE(wait([&] { return worker.turns > turns + 2; }));
		}
		for (const auto &packet : guest.take(0))
			check(packet.frame, taken);
		EXPECT_EQ(in, given);
		EXPECT_EQ(taken, out);
		EXPECT_GT(out, 60u);
		EXPECT_EQ(p->stats[0].rx_bad, 0u);
	}
};

#endif
