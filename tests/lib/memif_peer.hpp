/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memif 2.0 client by hand, for tests: friendly when asked in the right order, and as hostile as a test wants it. It
 * knows the protocol by byte offsets of its own, so that a mistake in pmd/memif.h is not made twice.
 */
#ifndef TESTS_LIB_MEMIF_PEER_HPP
#define TESTS_LIB_MEMIF_PEER_HPP

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace memif
{

enum Type : uint16_t { NONE, ACK, HELLO, INIT, ADD_REGION, ADD_RING, CONNECT, CONNECTED, DISCONNECT };
constexpr uint32_t COOKIE = 0x3e31f20;

struct Message {
	uint8_t b[128] = {};
	Message() = default;
	explicit Message(uint16_t type)
	{
		put(0, type);
	}
	template <typename T>
	void
	put(size_t at, T v)
	{
		memcpy(b + at, &v, sizeof(v));
	}
	template <typename T>
	T
	get(size_t at) const
	{
		T v;
		memcpy(&v, b + at, sizeof(v));
		return v;
	}
	uint16_t
	type() const
	{
		return get<uint16_t>(0);
	}
	std::string
	text(size_t at, size_t n) const
	{
		return std::string(reinterpret_cast<const char *>(b) + at,
				   strnlen(reinterpret_cast<const char *>(b) + at, n));
	}
};

inline Message
init(uint32_t id, const std::string &secret = "")
{
	Message m(INIT);
	m.put<uint16_t>(2, 0x0200);
	m.put<uint32_t>(4, id);
	memcpy(m.b + 9, secret.data(), secret.size());
	memcpy(m.b + 33, "test", 4);
	return m;
}

inline Message
add_region(uint16_t index, uint64_t size)
{
	Message m(ADD_REGION);
	m.put(2, index);
	m.put(4, size);
	return m;
}

inline Message
add_ring(bool s2m, uint16_t index, uint16_t region, uint32_t offset, uint8_t log2)
{
	Message m(ADD_RING);
	m.put<uint16_t>(2, s2m ? 1 : 0);
	m.put(4, index);
	m.put(6, region);
	m.put(8, offset);
	m.put(12, log2);
	return m;
}

inline Message
connect(const std::string &name)
{
	Message m(CONNECT);
	memcpy(m.b + 2, name.data(), name.size());
	return m;
}

struct Desc {
	uint16_t flags, region;
	uint32_t length, offset, metadata;
};

/* One ring in the shared memory. */
struct Ring {
	uint8_t *at = nullptr;
	uint32_t size = 0;
	template <typename T>
	volatile T &
	field(size_t offset)
	{
		return *reinterpret_cast<volatile T *>(at + offset);
	}
	volatile uint16_t &
	flags()
	{
		return field<uint16_t>(4);
	}
	uint16_t
	head()
	{
		return __atomic_load_n(reinterpret_cast<uint16_t *>(at + 6), __ATOMIC_ACQUIRE);
	}
	uint16_t
	tail()
	{
		return __atomic_load_n(reinterpret_cast<uint16_t *>(at + 64), __ATOMIC_ACQUIRE);
	}
	void
	set_head(uint16_t v)
	{
		__atomic_store_n(reinterpret_cast<uint16_t *>(at + 6), v, __ATOMIC_RELEASE);
	}
	void
	set_tail(uint16_t v)
	{
		__atomic_store_n(reinterpret_cast<uint16_t *>(at + 64), v, __ATOMIC_RELEASE);
	}
	Desc &
	desc(uint32_t slot)
	{
		return reinterpret_cast<Desc *>(at + 128)[slot & (size - 1)];
	}
};

class Peer
{
      public:
	int sock = -1;
	int region_fd = -1;
	uint8_t *base = nullptr;
	uint64_t bytes = 0;
	unsigned int queues = 1;
	unsigned int log2 = 6;
	uint32_t buffer = 2048;
	std::vector<Ring> s2m, m2s;
	std::vector<int> events; /* s2m rings, then m2s rings */
	std::string reason;      /* of DISCONNECT */

	Peer() = default;
	Peer(const Peer &) = delete;
	~Peer()
	{
		close_all();
	}

	void
	hang_up()
	{
		if (sock >= 0)
			::close(sock);
		sock = -1;
	}

	void
	close_all()
	{
		hang_up();
		for (int fd : events)
			::close(fd);
		events.clear();
		if (base != nullptr)
			munmap(base, bytes);
		base = nullptr;
		if (region_fd >= 0)
			::close(region_fd);
		region_fd = -1;
	}

	bool
	dial(const std::string &path)
	{
		sockaddr_un sa = {};
		sa.sun_family = AF_UNIX;
		memcpy(sa.sun_path, path.c_str(), path.size() + 1);
		sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		return ::connect(sock, reinterpret_cast<sockaddr *>(&sa), sizeof(sa)) == 0;
	}

	bool
	send(const void *data, size_t n, const std::vector<int> &fds = {})
	{
		alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))] = {};
		iovec iov = {const_cast<void *>(data), n};
		msghdr h = {};
		h.msg_iov = &iov;
		h.msg_iovlen = 1;
		if (!fds.empty()) {
			h.msg_control = control;
			h.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
			cmsghdr *c = CMSG_FIRSTHDR(&h);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
			memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
		}
		return sendmsg(sock, &h, MSG_NOSIGNAL) == static_cast<ssize_t>(n);
	}
	bool
	send(const Message &m, const std::vector<int> &fds = {})
	{
		return send(m.b, sizeof(m.b), fds);
	}

	/* The type of the next message, NONE when the connection ended or nothing came in time. */
	uint16_t
	receive(Message *m, int ms = 3000)
	{
		pollfd p = {sock, POLLIN, 0};
		*m = Message();
		if (poll(&p, 1, ms) != 1 || recv(sock, m->b, sizeof(m->b), 0) != sizeof(m->b))
			return NONE;
		if (m->type() == DISCONNECT)
			reason = m->text(6, 96);
		return m->type();
	}
	bool
	expect(uint16_t type)
	{
		Message m;
		return receive(&m) == type;
	}
	/* Send, and want an answer of this type. */
	bool
	ask(const Message &m, const std::vector<int> &fds = {}, uint16_t answer = ACK)
	{
		return send(m, fds) && expect(answer);
	}
	/* The connection was refused: DISCONNECT with a reason, then the end. */
	bool
	refused()
	{
		Message m;
		while (receive(&m) != NONE)
			if (m.type() == DISCONNECT)
				return !reason.empty() && receive(&m) == NONE;
		return false;
	}

	uint32_t
	ring_bytes() const
	{
		return 128 + (16u << log2);
	}
	uint32_t
	buffers_at() const
	{
		return (2 * queues * ring_bytes() + 4095) / 4096 * 4096;
	}
	uint32_t
	buffer_at(bool is_s2m, unsigned int q, uint32_t slot) const
	{
		uint32_t ring = is_s2m ? q : queues + q;
		return buffers_at() + ((ring << log2) + (slot & ((1u << log2) - 1))) * buffer;
	}
	uint8_t *
	data(bool is_s2m, unsigned int q, uint32_t slot)
	{
		return base + buffer_at(is_s2m, q, slot);
	}

	void
	make_memory(unsigned int memfd_flags = MFD_ALLOW_SEALING)
	{
		bytes = buffers_at() + static_cast<uint64_t>(2 * queues << log2) * buffer;
		region_fd = memfd_create("peer", MFD_CLOEXEC | memfd_flags);
		if (ftruncate(region_fd, static_cast<off_t>(bytes)) < 0)
			abort();
		base = static_cast<uint8_t *>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region_fd, 0));
		s2m.assign(queues, Ring());
		m2s.assign(queues, Ring());
		for (unsigned int i = 0; i < 2 * queues; i++) {
			Ring &r = i < queues ? s2m[i] : m2s[i - queues];
			r.at = base + i * ring_bytes();
			r.size = 1u << log2;
			r.field<uint32_t>(0) = COOKIE;
			for (uint32_t slot = 0; slot < r.size; slot++)
				r.desc(slot) = Desc{0, 0, buffer, buffer_at(i < queues, i % queues, slot), 0};
			events.push_back(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
		}
	}

	Message
	ring_message(bool is_s2m, unsigned int q) const
	{
		return add_ring(is_s2m, static_cast<uint16_t>(q), 0, (is_s2m ? q : queues + q) * ring_bytes(),
				static_cast<uint8_t>(log2));
	}
	int
	ring_event(bool is_s2m, unsigned int q) const
	{
		return events[is_s2m ? q : queues + q];
	}

	/* Steps of a friendly client; each includes those before it. */
	bool
	greet(const std::string &path)
	{
		return dial(path) && expect(HELLO);
	}
	bool
	introduce(const std::string &path, uint32_t id = 0, const std::string &secret = "")
	{
		return greet(path) && ask(init(id, secret));
	}
	bool
	share(const std::string &path, uint32_t id = 0, const std::string &secret = "")
	{
		if (!introduce(path, id, secret))
			return false;
		if (base == nullptr)
			make_memory();
		return ask(add_region(0, bytes), {region_fd});
	}
	bool
	add_rings()
	{
		for (unsigned int i = 0; i < 2 * queues; i++)
			if (!ask(ring_message(i < queues, i % queues), {events[i]}))
				return false;
		return true;
	}
	bool
	open(const std::string &path, uint32_t id = 0, const std::string &secret = "", const std::string &name = "peer")
	{
		return share(path, id, secret) && add_rings() && ask(connect(name), {}, CONNECTED);
	}

	/* Put one frame on a ring to the switch; parts are the lengths of a chain. */
	void
	give(unsigned int q, const std::vector<uint8_t> &frame, std::vector<uint32_t> parts = {})
	{
		Ring &r = s2m[q];
		uint16_t head = r.head();
		size_t from = 0;
		if (parts.empty())
			parts = {static_cast<uint32_t>(frame.size())};
		for (size_t i = 0; i < parts.size(); i++, head++) {
			std::copy_n(frame.data() + from, parts[i], data(true, q, head));
			from += parts[i];
			r.desc(head) = Desc{static_cast<uint16_t>(i + 1 < parts.size()), 0, parts[i],
					    buffer_at(true, q, head), 0};
		}
		r.set_head(head);
	}

	/* Offer empty buffers until n are there. */
	void
	offer(unsigned int q, uint16_t n)
	{
		Ring &r = m2s[q];
		uint16_t head = r.head();
		for (; static_cast<uint16_t>(head - taken(q)) < n; head++)
			r.desc(head) = Desc{0, 0, buffer, buffer_at(false, q, head), 0};
		r.set_head(head);
	}

	/* The next frame from the switch; empty when there is none. */
	std::vector<uint8_t>
	take(unsigned int q, unsigned int *parts = nullptr)
	{
		Ring &r = m2s[q];
		std::vector<uint8_t> frame;
		unsigned int n = 0;
		while (taken(q) != r.tail()) {
			const Desc d = r.desc(taken(q));
			frame.insert(frame.end(), base + d.offset, base + d.offset + d.length);
			taken_[q]++;
			n++;
			if ((d.flags & 1) == 0)
				break;
		}
		if (parts != nullptr)
			*parts = n;
		return frame;
	}

      private:
	std::vector<uint16_t> taken_;
	uint16_t &
	taken(unsigned int q)
	{
		if (taken_.size() < queues)
			taken_.resize(queues);
		return taken_[q];
	}
};

} /* namespace memif */

#endif
