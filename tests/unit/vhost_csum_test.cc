/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_fixture.hpp"

#include <rte_ether.h>
#include <rte_ip.h>

struct Headers {
	bool v6 = false, udp = false;
	unsigned int vlans = 0, options = 0;
	size_t payload = 100, padding = 0;
};

class VhostChecksumTest : public VhostGuestTest
{
      protected:
	static constexpr uint8_t NEEDS = vhost::NEEDS_CSUM;
	size_t l4 = 0, field = 0;

	/* The one packet that the guest has sent, as the port hands it to a worker; NULL when it does not. */
	rte_mbuf *
	received()
	{
		rte_mbuf *m[64];
		uint16_t n = p->ops->rx(p, 0, m, 64);
		EXPECT_LE(n, 1);
		return n > 0 ? m[0] : nullptr;
	}
	/* A frame whose checksum is the pseudo-header's sum, as a sender leaves it. */
	vhost::Frame
	partial(const Headers &h)
	{
		size_t l3 = RTE_ETHER_HDR_LEN + 4 * h.vlans, ip_len = h.v6 ? 40 : 20 + h.options;
		size_t l4_len = (h.udp ? 8 : 20) + h.payload;
		l4 = l3 + ip_len;
		field = h.udp ? 6 : 16;
		vhost::Frame f = frame(l4 + l4_len, 3);
		f.resize(f.size() + h.padding, 0xee);
		uint16_t type = rte_cpu_to_be_16(h.v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);
		for (unsigned int i = 0; i < h.vlans; i++)
			memcpy(&f[12 + 4 * i], "\x81\x00\x00\x07", 4);
		memcpy(&f[l3 - 2], &type, 2);
		uint8_t proto = h.udp ? IPPROTO_UDP : IPPROTO_TCP;
		uint16_t sum;
		if (h.v6) {
			auto *ip = reinterpret_cast<rte_ipv6_hdr *>(&f[l3]);
			ip->vtc_flow = rte_cpu_to_be_32(6u << 28);
			ip->payload_len = rte_cpu_to_be_16(static_cast<uint16_t>(l4_len));
			ip->proto = proto;
			sum = rte_ipv6_phdr_cksum(ip, 0);
		} else {
			auto *ip = reinterpret_cast<rte_ipv4_hdr *>(&f[l3]);
			ip->version_ihl = static_cast<uint8_t>(0x40 | ip_len / 4);
			ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(ip_len + l4_len));
			ip->fragment_offset = 0;
			ip->next_proto_id = proto;
			memset(&f[l3 + 20], 1, h.options);
			ip->hdr_checksum = 0;
			ip->hdr_checksum = rte_ipv4_cksum(ip);
			sum = rte_ipv4_phdr_cksum(ip, 0);
		}
		if (!h.udp)
			f[l4 + 12] = 0x50;
		else
			memcpy(&f[l4 + 4], "\0", 1), f[l4 + 5] = static_cast<uint8_t>(l4_len);
		memcpy(&f[l4 + field], &sum, 2);
		return f;
	}
	/* RFC 1071, by the book. */
	static vhost::Frame
	completed(vhost::Frame f, size_t start, size_t at, size_t end)
	{
		uint32_t sum = 0;
		for (size_t i = start; i < end; i++)
			sum += (i - start) % 2 == 0 ? static_cast<uint32_t>(f[i]) << 8 : f[i];
		while (sum >> 16 != 0)
			sum = (sum & 0xffff) + (sum >> 16);
		f[start + at] = static_cast<uint8_t>(~sum >> 8);
		f[start + at + 1] = static_cast<uint8_t>(~sum);
		return f;
	}
	static vhost::NetHeader
	header(size_t start, size_t offset, uint8_t gso = 0, uint16_t size = 0)
	{
		vhost::NetHeader h = {};
		h.flags = NEEDS;
		h.csum_start = static_cast<uint16_t>(start);
		h.csum_offset = static_cast<uint16_t>(offset);
		h.gso_type = gso;
		h.gso_size = size;
		return h;
	}
	static vhost::Frame
	bytes(const rte_mbuf *m)
	{
		const uint8_t *at = rte_pktmbuf_mtod(m, const uint8_t *);
		return vhost::Frame(at, at + m->data_len);
	}
	/* Our way out with a partial checksum; what reached the guest. */
	vhost::Packet
	sent(const vhost::Frame &f)
	{
		rte_mbuf *m = mbuf(f);
		offload_rx_partial(m, static_cast<uint16_t>(l4), static_cast<uint16_t>(field));
		EXPECT_EQ(p->ops->tx(p, 0, &m, 1), 1);
		auto got = guest.take(0);
		EXPECT_EQ(got.size(), 1u);
		return got.empty() ? vhost::Packet() : got[0];
	}

	void
	expect_marked()
	{
		for (bool v6 : {false, true})
			for (bool udp : {false, true})
				for (unsigned int vlans : {0, 1})
					for (unsigned int options : {0, 8}) {
						Headers h;
						h.v6 = v6, h.udp = udp, h.vlans = vlans, h.options = options;
						vhost::Frame f = partial(h);
						guest.give(0, f, header(l4, field));
						rte_mbuf *m = received();
						ASSERT_NE(m, nullptr);
						EXPECT_TRUE(offload_is_partial(m));
						EXPECT_EQ(m->ol_flags, MBUF_PARTIAL);
						EXPECT_EQ(offload_csum_start(m), l4) << v6 << udp << vlans << options;
						EXPECT_EQ(offload_csum_offset(m), field);
						EXPECT_EQ(bytes(m), f);
						rte_pktmbuf_free(m);
					}
		guest.give(0, frame(60));
		EXPECT_EQ(receive(p), (Frames{frame(60)})) << "nothing sticks to the next";
		EXPECT_EQ(p->stats[0].rx_bad, 0u);
	}
};

TEST_F(VhostChecksumTest, APartialOneOfTheGuestIsMarked)
{
	join(vhost::BASIC | vhost::CSUM);
	EXPECT_EQ(p->offloads, 0u);
	expect_marked();
}

TEST_F(VhostChecksumTest, APartialOneOfTheGuestIsMarkedByTheLibrary)
{
	join(vhost::BASIC | vhost::CSUM | vhost::LOG_ALL);
	expect_marked();
}

/* Of a tunnel's inner packet, say: what parse finds behind the header that it judges, it completes. */
TEST_F(VhostChecksumTest, APartialOneIsMarkedWhereTheGuestSays)
{
	join(vhost::BASIC | vhost::CSUM);
	vhost::Frame f = frame(200);
	for (auto at : {std::pair<size_t, size_t>{84, 16}, {34, 8}, {14, 0}, {198, 0}, {14, 184}}) {
		guest.give(0, f, header(at.first, at.second));
		rte_mbuf *m = received();
		ASSERT_NE(m, nullptr);
		EXPECT_EQ(m->ol_flags, MBUF_PARTIAL);
		EXPECT_EQ(offload_csum_start(m), at.first);
		EXPECT_EQ(offload_csum_offset(m), at.second);
		EXPECT_EQ(bytes(m), f);
		rte_pktmbuf_free(m);
	}
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
	/* In the Ethernet header, or not wholly in the frame. */
	uint64_t bad = 0;
	for (auto at : {std::pair<size_t, size_t>{13, 16}, {0, 0}, {199, 0}, {14, 185}, {65535, 65535}, {65535, 1}}) {
		guest.give(0, f, header(at.first, at.second));
		EXPECT_EQ(received(), nullptr) << at.first;
		EXPECT_EQ(p->stats[0].rx_bad, ++bad);
	}
	/* Who has not negotiated it may leave anything there. */
	guest.hang_up();
	ASSERT_TRUE(wait([&] { return !up(p); }));
	join(vhost::BASIC);
	guest.give(0, f, header(34, 16, vhost::GSO_TCPV4, 40));
	EXPECT_EQ(receive(p), (Frames{f}));
}

/* A checksum further in, of a tunnel's inner packet: the outer UDP says "none", nobody after us will look for the inner
 * one. */
TEST_F(VhostChecksumTest, APartialOneInsideATunnelIsCompletedByTheLibrary)
{
	join(vhost::BASIC | vhost::CSUM | vhost::LOG_ALL);
	Headers h;
	vhost::Frame inner = partial(h);
	h.udp = true;
	h.payload = 8 + inner.size();
	size_t inner_l4 = l4;
	vhost::Frame f = partial(h);
	memset(&f[l4 + 6], 0, 2);
	size_t at = l4 + 8 + 8;
	memcpy(&f[at], inner.data(), inner.size());
	guest.give(0, f, header(at + inner_l4, 16));
	rte_mbuf *m = received();
	ASSERT_NE(m, nullptr);
	EXPECT_EQ(m->ol_flags, 0u);
	EXPECT_EQ(bytes(m), completed(f, at + inner_l4, 16, f.size()));
	rte_pktmbuf_free(m);
}

TEST_F(VhostChecksumTest, LiesOfTheGuestAreHarmless)
{
	join(vhost::BASIC | vhost::CSUM);
	Headers h;
	vhost::Frame f = partial(h), full(2048, 0x55);
	const vhost::NetHeader lies[] = {
		header(0, 0),      header(65535, 65535), header(f.size(), 0), header(f.size() - 1, 0),
		header(34, 65530), header(20, 16),       header(34, 8),       header(34, 6)};
	for (const auto &lie : lies)
		for (const auto &frame : {f, full}) {
			guest.give(0, frame, lie);
			rte_mbuf *m = received();
			if (m == nullptr)
				continue;
			EXPECT_EQ(m->data_len, frame.size());
			EXPECT_EQ(m->ol_flags & ~MBUF_PARTIAL, 0u);
			if (offload_is_partial(m))
				offload_complete(m, m->data_len, false);
			rte_pktmbuf_free(m);
		}
	/* Segmentation was not offered. */
	uint64_t bad = p->stats[0].rx_bad;
	guest.give(0, f, header(l4, field, vhost::GSO_TCPV4, 40));
	EXPECT_EQ(received(), nullptr);
	EXPECT_EQ(p->stats[0].rx_bad, bad + 1);
	expect_traffic();
}

TEST_F(VhostChecksumTest, AnSctpChecksumIsAnotherKindToTheLibrary)
{
	join(vhost::BASIC | vhost::CSUM | vhost::LOG_ALL);
	Headers h;
	vhost::Frame f = partial(h);
	f[14 + 9] = IPPROTO_SCTP;
	guest.give(0, f, header(34, 8));
	EXPECT_EQ(received(), nullptr);
	EXPECT_EQ(p->stats[0].rx_bad, 1u);
}

TEST_F(VhostChecksumTest, APartialOneOfOursIsLeftToAGuestThatCan)
{
	join(vhost::BASIC | vhost::GUEST_CSUM);
	EXPECT_EQ(p->offloads, static_cast<uint32_t>(PORT_TX_CSUM));
	EXPECT_EQ(describe(p), "connected, 1 queue, checksum offload");
	for (bool v6 : {false, true})
		for (bool udp : {false, true})
			for (unsigned int options : {0, 8}) {
				Headers h;
				h.v6 = v6, h.udp = udp, h.options = options;
				vhost::Frame f = partial(h);
				vhost::Packet got = sent(f);
				EXPECT_EQ(got.header.flags, NEEDS);
				EXPECT_EQ(got.header.csum_start, l4);
				EXPECT_EQ(got.header.csum_offset, field);
				EXPECT_EQ(got.frame, f) << v6 << udp << options;
			}
	/* The next guest cannot, and its packets were judged for the one before. */
	guest.hang_up();
	ASSERT_TRUE(wait([&] { return !up(p); }));
	join(vhost::BASIC);
	EXPECT_EQ(p->offloads, 0u);
	for (bool v6 : {false, true}) {
		Headers h;
		h.v6 = v6;
		vhost::Frame f = partial(h);
		EXPECT_EQ(sent(f).frame, completed(f, l4, field, f.size()));
	}
}

/* Whatever the frame is: the guest is told where. */
TEST_F(VhostChecksumTest, APartialOneOfOursIsToldAsItIs)
{
	join(vhost::BASIC | vhost::GUEST_CSUM);
	Headers h;
	h.vlans = 1;
	h.padding = 6;
	vhost::Frame f = partial(h);
	vhost::Packet got = sent(f);
	EXPECT_EQ(got.header.flags, NEEDS);
	EXPECT_EQ(got.header.csum_start, l4);
	EXPECT_EQ(got.header.csum_offset, field);
	EXPECT_EQ(got.frame, f);
}

/* What the library would get wrong is completed here: VLAN tags, fragments, bytes after the packet. */
TEST_F(VhostChecksumTest, APartialOneThatTheLibraryCannotTellIsCompleted)
{
	join(vhost::BASIC | vhost::GUEST_CSUM | vhost::LOG_ALL);
	Headers h;
	h.vlans = 1;
	vhost::Frame f = partial(h);
	vhost::Packet got = sent(f);
	EXPECT_EQ(got.header.flags, 0);
	EXPECT_EQ(got.frame, completed(f, l4, field, f.size()));
	h.vlans = 0;
	h.padding = 6;
	f = partial(h);
	f[14 + 6] = 0x20; /* more fragments */
	got = sent(f);
	EXPECT_EQ(got.header.flags, 0);
	EXPECT_EQ(got.frame, completed(f, l4, field, f.size() - 6));
}
