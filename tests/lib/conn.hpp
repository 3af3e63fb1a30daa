// SPDX-License-Identifier: Apache-2.0
// What tests of the connection table share: tuples by number, a table, a worker's place among the RCU readers.
#ifndef WEFT_TESTS_CONN_HPP
#define WEFT_TESTS_CONN_HPP

#include <gtest/gtest.h>

#include <rte_rcu_qsbr.h>

#include <weft/conn.h>
#include <weft/rcu.h>
#include <weft/tcp_state.h>

struct ConnEnvironment : ::testing::Environment {
	void
	SetUp() override
	{
		ASSERT_EQ(rcu_init(WEFT_MAX_WORKERS), 0);
		ASSERT_EQ(generation_init(), 0);
	}
	void
	TearDown() override
	{
		generation_fini();
		rcu_fini();
	}
};

inline ::testing::Environment *const conn_environment = ::testing::AddGlobalTestEnvironment(new ConnEnvironment);

// Tuple number n, different from all others in both directions.
inline tuple
tuple_number(uint32_t n, uint8_t proto = IPPROTO_UDP, bool v6 = false, uint32_t network = 1)
{
	tuple t;
	memset(&t, 0, sizeof(t));
	if (v6) {
		uint8_t a[16] = {0xfd, 0, 0x02, 0x44};
		memcpy(a + 8, &n, sizeof(n));
		t.src = ip_from6(a);
		a[7] = 1;
		t.dst = ip_from6(a);
	} else {
		t.src = ip_from4(htonl(0x0a000000 | (n >> 12)));
		t.dst = ip_from4(htonl(0x0a800000 | (n >> 12)));
	}
	t.sport = htons(static_cast<uint16_t>(1024 + (n & 0xfff)));
	t.dport = htons(80);
	t.net_proto = tuple_net_proto(network, proto);
	return t;
}

inline conn_new
new_conn(const tuple &orig, uint8_t tcp_flags = 0)
{
	conn_new n;
	memset(&n, 0, sizeof(n));
	n.orig = orig;
	n.reply = tuple_reversed(&orig);
	n.tcp.seq = 1000;
	n.tcp.window = 65535;
	n.tcp.flags = tcp_flags;
	n.tcp.scale = TCP_SCALE_NONE;
	return n;
}

// A segment that the receiver can take, or with flags 0 none.
inline tcp_segment
next_segment(const conn_table *t, uint32_t ref, int flags)
{
	const conn_cold &c = conn_view(t)->cold[ref >> 1];
	const tcp_side &from = c.tcp[ref & 1], &to = c.tcp[!(ref & 1)];
	tcp_segment s;
	memset(&s, 0, sizeof(s));
	bool heard = __atomic_load_n(&from.max_win, __ATOMIC_RELAXED) != 0, again = heard && (flags & TCP_BIT_SYN);
	s.seq = (heard ? __atomic_load_n(&from.end, __ATOMIC_RELAXED) : 5000) - again;
	s.ack = flags & TCP_BIT_ACK ? __atomic_load_n(&to.end, __ATOMIC_RELAXED) : 0;
	s.window = 65535;
	s.flags = uint8_t(flags);
	s.scale = TCP_SCALE_NONE;
	return s;
}

inline int
conn_packet(conn_table *t, uint32_t ref, int flags, uint32_t now_ms)
{
	tcp_segment s = next_segment(t, ref, flags);
	bool tcp = (conn_view(t)->half[ref].key.net_proto & 0xff) == IPPROTO_TCP;
	return conn_packet(t, ref, tcp ? &s : static_cast<const tcp_segment *>(nullptr), now_ms);
}

inline conn_table *
make_table(uint32_t capacity, unsigned int workers, const conn_timeouts *timeouts = nullptr, const char *path = nullptr)
{
	conn_table_options o;
	memset(&o, 0, sizeof(o));
	o.path = path;
	o.capacity = capacity;
	o.workers = workers;
	o.numa_node = -1;
	if (timeouts != nullptr)
		o.timeouts = *timeouts;
	conn_table *t = nullptr;
	error e;
	int rc = conn_table_create(&t, &o, &e);
	EXPECT_EQ(rc, 0) << e.text;
	return t;
}

// The calling thread as worker `id`: a reader, online while it lives.
class Reader
{
      public:
	explicit Reader(unsigned int id) : id_(id)
	{
		rte_rcu_qsbr_thread_register(rcu_var(), id_);
		rte_rcu_qsbr_thread_online(rcu_var(), id_);
	}
	~Reader()
	{
		rte_rcu_qsbr_thread_offline(rcu_var(), id_);
		rte_rcu_qsbr_thread_unregister(rcu_var(), id_);
	}
	Reader(const Reader &) = delete;
	Reader &operator=(const Reader &) = delete;
	void
	quiescent()
	{
		rte_rcu_qsbr_quiescent(rcu_var(), id_);
	}

      private:
	unsigned int id_;
};

#endif
