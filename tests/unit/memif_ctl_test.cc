/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: who may come, what is said, what is left behind. */
#include <pwd.h>
#include <sys/stat.h>

#include "memif_fixture.hpp"

using memif::Message;
using memif::Peer;
using Frames = std::vector<std::vector<uint8_t>>;

TEST_F(MemifTest, HelloSaysWhatWeTake)
{
	open(Spec("a", "s"));
	Peer peer;
	Message m;
	ASSERT_TRUE(peer.dial(path("s")));
	ASSERT_EQ(peer.receive(&m), memif::HELLO);
	EXPECT_EQ(m.text(2, 32), "weft");
	EXPECT_EQ(m.get<uint16_t>(34), 0x0200);
	EXPECT_EQ(m.get<uint16_t>(36), 0x0200);
	EXPECT_EQ(m.get<uint16_t>(38), 15);
	EXPECT_EQ(m.get<uint16_t>(40), PORT_MAX_QUEUES - 1);
	EXPECT_EQ(m.get<uint16_t>(42), PORT_MAX_QUEUES - 1);
	EXPECT_EQ(m.get<uint8_t>(44), 14);
}

TEST_F(MemifTest, PeerComesAndGoes)
{
	port *p = open(Spec("a", "s"));
	EXPECT_EQ(describe(p), "waiting for a client");
	EXPECT_FALSE(up(p));
	EXPECT_TRUE(receive(p).empty());
	EXPECT_EQ(transmit(p, {frame(64)}), 0);
	unsigned int before = changes;
	Peer peer;
	ASSERT_TRUE(peer.open(path("s")));
	EXPECT_TRUE(up(p));
	EXPECT_EQ(describe(p), "connected to peer, 1 queue, ring 64");
	EXPECT_EQ(peer.s2m[0].flags() & 1, 1);
	EXPECT_EQ(peer.m2s[0].flags() & 1, 0);
	EXPECT_EQ(changes, before + 1);
	EXPECT_EQ(count_maps(), maps + 2); /* the peer's and ours */
	peer.hang_up();
	EXPECT_TRUE(wait([&] { return !up(p); }));
	EXPECT_EQ(changes, before + 2);
	EXPECT_EQ(describe(p), "waiting for a client (last: the peer closed the connection)");
	Peer again;
	ASSERT_TRUE(again.open(path("s"), 0, "", "again"));
	EXPECT_EQ(describe(p), "connected to again, 1 queue, ring 64");
	ASSERT_TRUE(again.send([] {
		Message m(memif::DISCONNECT);
		memcpy(m.b + 6, "going \x01home", 11);
		return m;
	}()));
	EXPECT_TRUE(wait([&] { return !up(p); }));
	EXPECT_EQ(describe(p), "waiting for a client (last: going ?home)");
}

TEST_F(MemifTest, ClosingThePortTellsThePeer)
{
	port *p = open(Spec("a", "s"));
	Peer peer, shy;
	ASSERT_TRUE(peer.open(path("s")));
	ASSERT_TRUE(shy.greet(path("s")));
	close(p);
	EXPECT_TRUE(peer.refused());
	EXPECT_EQ(peer.reason, "the port is removed");
	EXPECT_TRUE(shy.refused());
	EXPECT_NE(access(path("s").c_str(), F_OK), 0);
}

TEST_F(MemifTest, SeveralIdsShareASocket)
{
	Spec a("a", "s"), b("b", "s"), c("c", "s");
	a.id = 1;
	b.id = 0xffffffff;
	c.id = 1;
	port *pa = open(a), *pb = open(b);
	EXPECT_NE(open_error(c, -EEXIST).find("port a"), std::string::npos);
	Peer x, y, z;
	ASSERT_TRUE(x.open(path("s"), 1));
	ASSERT_TRUE(y.open(path("s"), 0xffffffff));
	x.give(0, frame(60, 1));
	y.give(0, frame(60, 2));
	EXPECT_EQ(receive(pa), Frames{frame(60, 1)});
	EXPECT_EQ(receive(pb), Frames{frame(60, 2)});
	close(pa);
	EXPECT_TRUE(up(pb));
	y.give(0, frame(60, 3));
	EXPECT_EQ(receive(pb), Frames{frame(60, 3)});
	ASSERT_TRUE(z.greet(path("s")));
	EXPECT_TRUE(z.send(memif::init(1)));
	EXPECT_TRUE(z.refused());
	EXPECT_EQ(z.reason, "no interface with id 1 here");
}

TEST_F(MemifTest, SecretIsChecked)
{
	Spec spec("a", "s");
	spec.secret = "0123456789abcdefghijklmn"; /* 24: all there is */
	port *p = open(spec);
	for (const char *wrong :
	     {"", "0123456789abcdefghijklm", "x123456789abcdefghijklmn", "0123456789abcdefghijklmo"}) {
		Peer peer;
		ASSERT_TRUE(peer.greet(path("s")));
		ASSERT_TRUE(peer.send(memif::init(0, wrong)));
		EXPECT_TRUE(peer.refused()) << wrong;
		EXPECT_EQ(peer.reason, "wrong secret");
	}
	EXPECT_FALSE(up(p));
	Peer peer;
	EXPECT_TRUE(peer.open(path("s"), 0, spec.secret));
	spec.name = "b";
	spec.id = 1;
	spec.secret = "0123456789abcdefghijklmno";
	EXPECT_EQ(open_error(spec, -EINVAL), "secret: a memif secret has at most 24 bytes, not 25");
}

TEST_F(MemifTest, ShortSecretIgnoresWhatFollowsIt)
{
	Spec spec("a", "s");
	spec.secret = "key";
	open(spec);
	Peer peer;
	ASSERT_TRUE(peer.greet(path("s")));
	EXPECT_TRUE(peer.ask(memif::init(0, std::string("key\0junk", 8))));
	Peer longer;
	ASSERT_TRUE(longer.greet(path("s")));
	EXPECT_TRUE(longer.send(memif::init(0, "keys")));
	EXPECT_TRUE(longer.refused());
}

TEST_F(MemifTest, SocketFileHasItsOwnerAndMode)
{
	struct stat st;
	Spec spec("a", "s");
	port *p = open(spec);
	ASSERT_EQ(stat(path("s").c_str(), &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0660u);
	close(p);
	spec.socket_mode = "0606";
	if (geteuid() == 0)
		spec.socket_owner = "nobody";
	open(spec);
	ASSERT_EQ(stat(path("s").c_str(), &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0606u);
	EXPECT_EQ(st.st_uid, geteuid() == 0 ? getpwnam("nobody")->pw_uid : geteuid());
	Spec other("b", "s");
	other.id = 1;
	other.socket_mode = "0666";
	EXPECT_EQ(open_error(other, -EINVAL), "socket: " + path("s") + " has another mode or owner for port a");
	other.socket_mode = "0888";
	EXPECT_EQ(open_error(other, -EINVAL), "socketMode: \"0888\" is not an octal mode in 0..0777");
	other.socket_mode = nullptr;
	other.socket_owner = "no-such-user";
	EXPECT_EQ(open_error(other, -EINVAL), "socketOwner: there is no user no-such-user");
	other.socket_owner = nullptr;
	other.ring_size = 1000;
	EXPECT_EQ(open_error(other, -EINVAL), "ringSize: 1000 is not a power of 2 in 2..16384");
	other.ring_size = 2048;
	open(other);
}

static int
listen_at(const std::string &path)
{
	sockaddr_un sa = {};
	sa.sun_family = AF_UNIX;
	memcpy(sa.sun_path, path.c_str(), path.size() + 1);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr *>(&sa), sizeof(sa)), 0);
	EXPECT_EQ(listen(fd, 1), 0);
	return fd;
}

TEST_F(MemifTest, StaleSocketIsReplacedAndALiveOneIsNot)
{
	int fd = listen_at(path("s"));
	EXPECT_EQ(open_error(Spec("a", "s"), -EADDRINUSE), "socket: another process listens on " + path("s"));
	::close(fd);
	port *p = open(Spec("a", "s"));
	Peer peer;
	EXPECT_TRUE(peer.open(path("s")));
	/* Someone else's file at our path is not ours to remove. */
	unlink(path("s").c_str());
	fd = listen_at(path("s"));
	close(p);
	EXPECT_EQ(access(path("s").c_str(), F_OK), 0);
	::close(fd);
	unlink(path("s").c_str());
	std::ofstream(path("s")) << "a file";
	EXPECT_EQ(open_error(Spec("a", "s"), -EEXIST), "socket: " + path("s") + " exists and is not a socket");
	unlink(path("s").c_str());
}

TEST_F(MemifTest, TwoHundredReconnectsLeaveNothingBehind)
{
	port *p = open(Spec("a", "s"));
	unsigned int open_fds = count_fds(), open_maps = count_maps();
	for (int i = 0; i < 200; i++) {
		Peer peer;
		ASSERT_TRUE(peer.open(path("s"))) << i << peer.reason;
		peer.give(0, frame(60, static_cast<uint8_t>(i)));
		peer.offer(0, 8);
		ASSERT_EQ(receive(p), Frames{frame(60, static_cast<uint8_t>(i))});
		ASSERT_EQ(transmit(p, {frame(60)}), 1);
		peer.give(0, frame(60));
		peer.hang_up();
		ASSERT_TRUE(wait([&] { return !up(p); })) << i;
	}
	EXPECT_TRUE(wait([&] { return count_fds() == open_fds; })) << count_fds() << " was " << open_fds;
	EXPECT_EQ(count_maps(), open_maps);
}

/* Our two roles against each other. */
TEST_F(MemifTest, ClientRole)
{
	/* A path and an id belong to one port, so the client dials by a second name of the same file. */
	Spec a("a", "s1"), b("b", "s2");
	a.queues = b.queues = 2;
	a.role = ROLE_CLIENT;
	a.ring_size = 128;
	a.secret = b.secret = "secret";
	port *pa = open(a);
	EXPECT_TRUE(wait([&] { return describe(pa).find("No such file") != std::string::npos; })) << describe(pa);
	for (int life = 0; life < 3; life++) {
		port *pb = open(b);
		ASSERT_EQ(link(path("s2").c_str(), path("s1").c_str()), 0);
		ASSERT_TRUE(wait([&] { return up(pa) && up(pb); })) << describe(pa) << describe(pb);
		EXPECT_EQ(describe(pa), "connected to b, 2 queues, ring 128");
		EXPECT_EQ(describe(pb), "connected to a, 2 queues, ring 128");
		for (unsigned int round = 0; round < 2000; round++) {
			uint16_t q = round % 2;
			Frames f = {frame(60, static_cast<uint8_t>(round)), frame(1514), frame(2048), frame(61)};
			ASSERT_EQ(transmit(pa, f, q), 4) << round;
			ASSERT_EQ(receive(pb, q), f) << round;
			ASSERT_EQ(transmit(pb, f, q), 4) << round;
			ASSERT_EQ(receive(pa, q), f) << round;
		}
		EXPECT_EQ(transmit(pa, Frames(200, frame(60))), 128);
		EXPECT_EQ(transmit(pb, Frames(200, frame(60))), 128);
		EXPECT_EQ(pa->stats[0].rx_bad + pb->stats[0].rx_bad, 0u);
		close(pb);
		unlink(path("s1").c_str());
		ASSERT_TRUE(wait([&] { return !up(pa); }));
	}
}
