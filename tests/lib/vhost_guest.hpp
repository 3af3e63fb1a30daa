/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of a vhost-user socket, as QEMU and virtio_user are: memory, split rings and messages, each of which a
 * test may spoil. https://www.qemu.org/docs/master/interop/vhost-user.html, virtio 1.1 2.6 and 5.1.
 */
#ifndef TESTS_LIB_VHOST_GUEST_HPP
#define TESTS_LIB_VHOST_GUEST_HPP

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace vhost
{

enum Request : uint32_t {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

/* virtio 1.1 5.1.3 and 5.1.6, 2.6.5 to 2.6.8; the kernel's headers are not C++. */
enum Feature : unsigned int {
	F_CSUM = 0,
	F_GUEST_CSUM = 1,
	F_MTU = 3,
	F_GSO = 6,
	F_GUEST_TSO4 = 7,
	F_GUEST_TSO6 = 8,
	F_GUEST_ECN = 9,
	F_GUEST_UFO = 10,
	F_HOST_TSO4 = 11,
	F_HOST_TSO6 = 12,
	F_HOST_ECN = 13,
	F_HOST_UFO = 14,
	F_MRG_RXBUF = 15,
	F_MQ = 22,
	F_LOG_ALL = 26,
	F_INDIRECT = 28,
	F_EVENT_IDX = 29,
};
struct NetHeader {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
constexpr uint8_t NEEDS_CSUM = 1, GSO_TCPV4 = 1;
struct Desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
constexpr uint16_t DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4;
struct Avail {
	uint16_t flags, idx, ring[];
};
struct Used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[];
};

constexpr uint32_t VERSION = 1, NEED_REPLY = 8;
constexpr uint64_t PROTOCOL_FEATURES = 1ull << 30, VERSION_1 = 1ull << 32;
constexpr uint64_t BASIC = PROTOCOL_FEATURES | VERSION_1;
constexpr uint64_t MRG_RXBUF = 1ull << F_MRG_RXBUF, INDIRECT = 1ull << F_INDIRECT, EVENT_IDX = 1ull << F_EVENT_IDX;
constexpr uint64_t CSUM = 1ull << F_CSUM, GUEST_CSUM = 1ull << F_GUEST_CSUM, MQ = 1ull << F_MQ;
/* Being migrated: librte_vhost serves the rings, as it does packed ones. */
constexpr uint64_t LOG_ALL = 1ull << F_LOG_ALL;

struct Message {
	uint32_t request = 0, flags = VERSION, size = 0;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t n, padding;
			struct {
				uint64_t guest, size, user, offset;
			} region[8];
		} memory;
	} __attribute__((packed)) body;
};
constexpr size_t HEADER = 12;

using Frame = std::vector<uint8_t>;
struct Packet {
	NetHeader header;
	Frame frame;
};

class Guest
{
      public:
	static constexpr unsigned int SIZE = 64, BUFFER = 4096, PAIRS = 4;
	static constexpr size_t BUFFERS = 64 << 10, BYTES = BUFFERS + 2 * PAIRS * SIZE * BUFFER;
	struct Ring {
		Desc *desc = nullptr;
		Avail *avail = nullptr;
		Used *used = nullptr;
		int kick = -1, call = -1;
		uint16_t next = 0, offered = 0, taken = 0;
		void
		close_fds()
		{
			if (kick >= 0) {
				::close(kick);
				::close(call);
			}
			kick = call = -1;
		}
	};
	int fd = -1, memory = -1;
	uint64_t offered = 0, protocol = 0, features = 0;
	size_t header = sizeof(NetHeader);
	uint8_t *base = nullptr;
	Ring rings[2 * PAIRS];
	/* How rings start: the position, the length of receive buffers, and whether there are any. */
	uint16_t first = 0;
	uint32_t room = BUFFER;
	bool stocked = true;

	Guest() = default;
	Guest(const Guest &) = delete;
	~Guest()
	{
		hang_up();
	}

	bool
	connect(const std::string &path)
	{
		hang_up();
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		sockaddr_un sa = address(path);
		return ::connect(fd, reinterpret_cast<sockaddr *>(&sa), sizeof(sa)) == 0;
	}
	/* The other role: the switch connects. */
	bool
	accept(const std::string &path, int ms)
	{
		int at = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		sockaddr_un sa = address(path);
		unlink(path.c_str());
		pollfd p = {at, POLLIN, 0};
		if (bind(at, reinterpret_cast<sockaddr *>(&sa), sizeof(sa)) == 0 && listen(at, 1) == 0 &&
		    poll(&p, 1, ms) == 1)
			fd = ::accept(at, nullptr, nullptr);
		::close(at);
		return fd >= 0;
	}
	void
	hang_up()
	{
		if (fd >= 0)
			::close(fd);
		fd = -1;
		for (Ring &r : rings)
			r.close_fds();
		if (base != nullptr)
			munmap(base, BYTES);
		if (memory >= 0)
			::close(memory);
		base = nullptr;
		memory = -1;
	}

	/* From the first message to rings that run. */
	bool
	start(uint64_t features, unsigned int pairs = 1)
	{
		return negotiate(features) && share() && start_rings(pairs);
	}
	bool
	negotiate(uint64_t wanted)
	{
		features = wanted;
		header = wanted & (VERSION_1 | MRG_RXBUF) ? sizeof(NetHeader) : offsetof(NetHeader, num_buffers);
		if (!get(GET_FEATURES, offered) || !get(GET_PROTOCOL_FEATURES, protocol))
			return false;
		return set(SET_PROTOCOL_FEATURES, 1 | 1 << 3, false) && set(SET_OWNER, 0) && set(SET_FEATURES, wanted);
	}
	/* One region, or several that meet at these addresses. */
	bool
	share(std::vector<uint64_t> borders = {})
	{
		if (base == nullptr) {
			memory = memfd_create("guest", MFD_CLOEXEC);
			if (ftruncate(memory, BYTES) < 0)
				return false;
			base = static_cast<uint8_t *>(
				mmap(nullptr, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0));
		}
		borders.push_back(BYTES);
		Message m = message(SET_MEM_TABLE, static_cast<uint32_t>(8 + 32 * borders.size()));
		uint64_t from = 0;
		for (uint64_t to : borders) {
			m.body.memory.region[m.body.memory.n++] = {from, to - from,
								   reinterpret_cast<uint64_t>(base) + from, from};
			from = to;
		}
		return send(m, std::vector<int>(borders.size(), memory)) && acknowledged();
	}
	/* What it answers. */
	bool
	share_what_cannot_be_mapped()
	{
		Message m = message(SET_MEM_TABLE, 8 + 32);
		m.body.memory.n = 1;
		m.body.memory.region[0] = {0, 4096, reinterpret_cast<uint64_t>(base), 0};
		int fds[2] = {-1, -1};
		bool ok = pipe2(fds, O_CLOEXEC) == 0 && send(m, {fds[0]}) && acknowledged();
		::close(fds[0]);
		::close(fds[1]);
		return ok;
	}
	bool
	start_rings(unsigned int pairs)
	{
		bool ok = true;
		for (unsigned int r = 0; r < 2 * pairs; r++)
			ok = ok && start_ring(r);
		for (unsigned int r = 0; r < 2 * pairs; r++)
			ok = ok && enable(r, true);
		return ok;
	}
	bool
	start_ring(unsigned int index)
	{
		uint64_t at = index * 4096;
		memset(base + at, 0, 4096);
		return start_ring(index, SIZE, at, at + 1024, at + 2048);
	}
	bool
	start_ring(unsigned int index, uint32_t size, uint64_t desc, uint64_t avail, uint64_t used)
	{
		Ring &r = rings[index];
		r = Ring();
		r.desc = reinterpret_cast<Desc *>(base + desc);
		r.avail = reinterpret_cast<Avail *>(base + avail);
		r.used = reinterpret_cast<Used *>(base + used);
		r.kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		r.call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		r.next = r.offered = r.taken = r.avail->idx = r.used->idx = first;
		for (unsigned int i = 0; stocked && index % 2 == 0 && i < SIZE; i++)
			offer(index, i);
		return state(SET_VRING_NUM, index, size) && state(SET_VRING_BASE, index, first) &&
		       place_ring(index, desc, avail, used) && file(SET_VRING_KICK, index, r.kick) &&
		       file(SET_VRING_CALL, index, r.call);
	}
	bool
	place_ring(unsigned int index, uint64_t desc, uint64_t avail, uint64_t used)
	{
		Message a = message(SET_VRING_ADDR, 40);
		uint64_t user = reinterpret_cast<uint64_t>(base);
		a.body.addr = {index, 0, user + desc, user + used, user + avail, 0};
		return send(a) && acknowledged();
	}
	bool
	enable(unsigned int ring, bool on)
	{
		return state(SET_VRING_ENABLE, ring, on);
	}
	/* As a guest that reboots. *taken: how many buffers the switch has had. */
	bool
	stop_ring(unsigned int ring, uint32_t *taken = nullptr)
	{
		Message m = message(GET_VRING_BASE, 8);
		m.flags = VERSION;
		m.body.state = {ring, 0};
		rings[ring].close_fds();
		bool ok = send(m) && reply(m);
		if (taken != nullptr)
			*taken = m.body.state.num;
		return ok;
	}

	/* One frame over as many buffers as it needs; the header has the first one's start. */
	void
	give(unsigned int pair, const Frame &frame, const NetHeader &h = {})
	{
		Ring &r = rings[2 * pair + 1];
		Frame all(header + frame.size());
		memcpy(all.data(), &h, header);
		memcpy(all.data() + header, frame.data(), frame.size());
		std::vector<Desc> pieces;
		for (size_t from = 0; from < all.size(); from += BUFFER) {
			uint64_t at = buffer(2 * pair + 1, (r.next + from / BUFFER) % SIZE);
			size_t n = std::min<size_t>(BUFFER, all.size() - from);
			memcpy(base + at, all.data() + from, n);
			pieces.push_back({at, static_cast<uint32_t>(n), 0, 0});
		}
		chain(2 * pair + 1, pieces);
	}
	/* A buffer of these descriptors, the next of the table. */
	uint16_t
	chain(unsigned int ring, const std::vector<Desc> &pieces)
	{
		Ring &r = rings[ring];
		uint16_t head = r.next % SIZE;
		for (const Desc &d : link(pieces, head))
			r.desc[r.next++ % SIZE] = d;
		post(ring, head);
		return head;
	}
	void
	post(unsigned int ring, uint16_t head)
	{
		Ring &r = rings[ring];
		r.avail->ring[r.offered % SIZE] = head;
		__atomic_store_n(&r.avail->idx, ++r.offered, __ATOMIC_RELEASE);
	}
	static std::vector<Desc>
	link(std::vector<Desc> pieces, unsigned int from)
	{
		for (size_t i = 0; i + 1 < pieces.size(); i++) {
			pieces[i].flags |= DESC_NEXT;
			pieces[i].next = static_cast<uint16_t>((from + i + 1) % SIZE);
		}
		return pieces;
	}
	static constexpr uint64_t
	buffer(unsigned int ring, unsigned int i)
	{
		return BUFFERS + (static_cast<uint64_t>(ring) * SIZE + i) * BUFFER;
	}
	std::vector<Packet>
	take(unsigned int pair)
	{
		Ring &r = rings[2 * pair];
		std::vector<Packet> out;
		while (r.taken != __atomic_load_n(&r.used->idx, __ATOMIC_ACQUIRE)) {
			Packet p = {};
			unsigned int n = 1;
			for (unsigned int i = 0; i < n && r.taken != __atomic_load_n(&r.used->idx, __ATOMIC_ACQUIRE);
			     i++) {
				const auto &used = r.used->ring[r.taken++ % SIZE];
				const uint8_t *at = base + buffer(2 * pair, used.id);
				if (i == 0) {
					memcpy(&p.header, at, header);
					n = features & MRG_RXBUF ? p.header.num_buffers : 1;
				}
				p.frame.insert(p.frame.end(), at + (i == 0 ? header : 0), at + used.len);
				offer(2 * pair, used.id);
			}
			out.push_back(p);
		}
		return out;
	}
	uint16_t
	consumed(unsigned int pair) const
	{
		return __atomic_load_n(&rings[2 * pair + 1].used->idx, __ATOMIC_ACQUIRE);
	}
	bool
	called(unsigned int ring) const
	{
		eventfd_t n;
		return eventfd_read(rings[ring].call, &n) == 0;
	}

	static Message
	message(Request request, uint32_t size)
	{
		Message m;
		memset(&m.body, 0, sizeof(m.body));
		m.request = request;
		m.flags = VERSION | NEED_REPLY;
		m.size = size;
		return m;
	}
	bool
	send(const Message &m, const std::vector<int> &pass = {})
	{
		return send_bytes(&m, HEADER + m.size, pass);
	}
	bool
	send_bytes(const void *bytes, size_t n, const std::vector<int> &pass = {})
	{
		iovec iov = {const_cast<void *>(bytes), n};
		alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {};
		msghdr h = {};
		h.msg_iov = &iov;
		h.msg_iovlen = 1;
		if (!pass.empty()) {
			h.msg_control = control;
			h.msg_controllen = CMSG_SPACE(pass.size() * sizeof(int));
			cmsghdr *c = CMSG_FIRSTHDR(&h);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(pass.size() * sizeof(int));
			memcpy(CMSG_DATA(c), pass.data(), pass.size() * sizeof(int));
		}
		return sendmsg(fd, &h, MSG_NOSIGNAL) == static_cast<ssize_t>(n);
	}
	bool
	reply(Message &m, int ms = 5000)
	{
		pollfd p = {fd, POLLIN, 0};
		return poll(&p, 1, ms) == 1 && recv(fd, &m, HEADER, MSG_WAITALL) == static_cast<ssize_t>(HEADER) &&
		       m.size <= sizeof(m.body) &&
		       recv(fd, &m.body, m.size, MSG_WAITALL) == static_cast<ssize_t>(m.size);
	}
	bool
	acknowledged()
	{
		Message m;
		return reply(m) && m.body.u64 == 0;
	}
	/* The switch has hung up. */
	bool
	refused(int ms = 3000)
	{
		char c;
		pollfd p = {fd, POLLIN, 0};
		return poll(&p, 1, ms) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) <= 0;
	}
	bool
	set(Request request, uint64_t value, bool wait = true)
	{
		Message m = message(request, 8);
		m.body.u64 = value;
		m.flags = wait ? m.flags : VERSION;
		return send(m) && (!wait || acknowledged());
	}
	bool
	get(Request request, uint64_t &value)
	{
		Message m = message(request, 0);
		m.flags = VERSION;
		if (!send(m) || !reply(m))
			return false;
		value = m.body.u64;
		return true;
	}
	bool
	state(Request request, uint32_t index, uint32_t num)
	{
		Message m = message(request, 8);
		m.body.state = {index, num};
		return send(m) && acknowledged();
	}
	bool
	file(Request request, uint64_t index, int passed)
	{
		Message m = message(request, 8);
		m.body.u64 = index;
		return send(m, {passed}) && acknowledged();
	}

      private:
	static sockaddr_un
	address(const std::string &path)
	{
		sockaddr_un sa = {};
		sa.sun_family = AF_UNIX;
		path.copy(sa.sun_path, sizeof(sa.sun_path) - 1);
		return sa;
	}
	void
	offer(unsigned int ring, unsigned int i)
	{
		rings[ring].desc[i] = {buffer(ring, i), room, DESC_WRITE, 0};
		post(ring, static_cast<uint16_t>(i));
	}
};

} // namespace vhost

#endif
