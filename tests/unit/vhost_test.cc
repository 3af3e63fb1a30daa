/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_fixture.hpp"

#include <random>

using vhost::Guest;

TEST_F(VhostGuestTest, ComesAndGoes)
{
	EXPECT_EQ(describe(p), "waiting for a guest");
	EXPECT_EQ(transmit(p, {frame(60)}), 0);
	EXPECT_TRUE(receive(p).empty());
	for (unsigned int life = 0; life < 3; life++) {
		join();
		EXPECT_EQ(describe(p), "connected, 1 queue");
		EXPECT_EQ(changes, 2 * life + 1);
		expect_traffic();
		EXPECT_EQ(changes, 2 * life + 1);
		guest.hang_up();
		EXPECT_TRUE(wait([&] { return !up(p); }));
		EXPECT_EQ(describe(p), "waiting for a guest");
		EXPECT_EQ(transmit(p, {frame(60)}), 0);
		EXPECT_EQ(changes, 2 * life + 2);
	}
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

TEST_F(VhostGuestTest, ARebootStaysConnected)
{
	join();
	expect_traffic();
	ASSERT_TRUE(guest.stop_ring(0));
	EXPECT_FALSE(up(p));
	EXPECT_EQ(transmit(p, {frame(60)}), 0);
	ASSERT_TRUE(guest.stop_ring(1));
	EXPECT_EQ(changes, 2u);
	ASSERT_TRUE(guest.start_rings(1));
	ASSERT_TRUE(wait([&] { return up(p); }));
	EXPECT_EQ(changes, 3u);
	expect_traffic();
	EXPECT_EQ(p->stats[0].rx_bad, 0u);
}

TEST_F(VhostGuestTest, ABurstLargerThanTheLibrarysIsTakenWhole)
{
	join();
	Frames burst;
	for (unsigned int i = 0; i < Guest::SIZE; i++)
		burst.push_back(frame(60 + i, static_cast<uint8_t>(i)));
	EXPECT_EQ(transmit(p, burst), Guest::SIZE);
	EXPECT_EQ(p->stats[0].tx_full, 0u);
	/* The ring is full now. */
	EXPECT_EQ(transmit(p, {frame(60)}), 0);
	EXPECT_EQ(p->stats[0].tx_full, 1u);
	auto got = guest.take(0);
	ASSERT_EQ(got.size(), burst.size());
	for (size_t i = 0; i < got.size(); i++)
		EXPECT_EQ(got[i].frame, burst[i]);
}

/* A guest may sleep since before a restart of the switch. */
TEST_F(VhostGuestTest, EachRingIsSignalledOnce)
{
	join();
	while (guest.called(0) || guest.called(1))
		;
	EXPECT_TRUE(receive(p).empty());
	EXPECT_TRUE(guest.called(1));
	EXPECT_TRUE(receive(p).empty());
	EXPECT_FALSE(guest.called(1));
	EXPECT_EQ(transmit(p, {}), 0);
	EXPECT_TRUE(guest.called(0));
}

TEST_F(VhostGuestTest, ADisabledRingIsLeftAlone)
{
	join();
	ASSERT_TRUE(guest.enable(0, false));
	EXPECT_EQ(transmit(p, {frame(60)}), 0);
	ASSERT_TRUE(guest.enable(1, false));
	guest.give(0, frame(60, 9));
	EXPECT_TRUE(receive(p).empty());
	expect_described("connected, 0 queues");
	EXPECT_TRUE(up(p));
	ASSERT_TRUE(guest.enable(0, true));
	ASSERT_TRUE(guest.enable(1, true));
	Frames got;
	EXPECT_TRUE(wait([&] { return !(got = receive(p)).empty(); }));
	EXPECT_EQ(got, (Frames{frame(60, 9)}));
	EXPECT_EQ(transmit(p, {frame(60)}), 1);
	EXPECT_EQ(changes, 1u);
}

TEST_F(VhostGuestTest, OffersTheSameToEveryGuestAndNothingThatWeCannot)
{
	ASSERT_TRUE(guest.connect(path("s")));
	ASSERT_TRUE(guest.negotiate(vhost::BASIC));
	uint64_t offered = guest.offered, protocol = guest.protocol;
	EXPECT_EQ(offered & (vhost::CSUM | vhost::GUEST_CSUM), vhost::CSUM | vhost::GUEST_CSUM);
	for (unsigned int bit : {vhost::F_MRG_RXBUF, vhost::F_MQ})
		EXPECT_TRUE(offered & 1ull << bit) << bit;
	EXPECT_TRUE(offered & 1ull << vhost::F_LOG_ALL) << "migration needs VHOST_F_LOG_ALL";
	for (unsigned int bit :
	     {vhost::F_MTU, vhost::F_GSO, vhost::F_GUEST_TSO4, vhost::F_GUEST_TSO6, vhost::F_GUEST_ECN,
	      vhost::F_GUEST_UFO, vhost::F_HOST_TSO4, vhost::F_HOST_TSO6, vhost::F_HOST_ECN, vhost::F_HOST_UFO})
		EXPECT_FALSE(offered & 1ull << bit) << bit;
	EXPECT_FALSE(protocol & (1u << 12)) << "INFLIGHT_SHMFD";
	EXPECT_FALSE(protocol & (1u << 2)) << "RARP";
	guest.hang_up();
	close(p);
	p = open(Spec("b", "s"));
	ASSERT_TRUE(guest.connect(path("s")));
	ASSERT_TRUE(guest.negotiate(vhost::BASIC));
	EXPECT_EQ(guest.offered, offered);
	EXPECT_EQ(guest.protocol, protocol);
}

/* Who restarts may be back before its end is noticed: nobody is turned away, and nobody is pushed out. */
TEST_F(VhostGuestTest, ASecondGuestWaitsForTheFirstToLeave)
{
	Guest second;
	join();
	ASSERT_TRUE(second.connect(path("s")));
	ASSERT_TRUE(second.start(vhost::BASIC));
	expect_traffic();
	second.give(0, frame(60, 8));
	EXPECT_TRUE(receive(p).empty());
	guest.hang_up();
	Frames got;
	EXPECT_TRUE(wait([&] { return !(got = receive(p)).empty(); }));
	EXPECT_EQ(got, (Frames{frame(60, 8)}));
	EXPECT_EQ(transmit(p, {frame(60, 7)}), 1);
	EXPECT_EQ(second.take(0).size(), 1u);
	EXPECT_TRUE(up(p));
}

TEST_F(VhostGuestTest, ConnectionsAtOneSocketAreFew)
{
	std::vector<std::unique_ptr<Guest>> crowd;
	unsigned int in = 0;
	for (unsigned int i = 0; i < 20; i++) {
		uint64_t features;
		crowd.push_back(std::make_unique<Guest>());
		ASSERT_TRUE(crowd.back()->connect(path("s")));
		in += crowd.back()->get(vhost::GET_FEATURES, features);
	}
	EXPECT_EQ(in, 8u);
	crowd.clear();
	EXPECT_TRUE(wait([&] { return guest.connect(path("s")) && guest.start(vhost::BASIC); }));
	EXPECT_TRUE(wait([&] { return up(p); }));
	expect_traffic();
}

/* All ports share the library's thread, which reads and writes blocking. */
TEST_F(VhostGuestTest, APeerThatStopsInAMessageHoldsNobodyUp)
{
	Guest slow;
	vhost::Message m = Guest::message(vhost::SET_FEATURES, 8);
	ASSERT_TRUE(slow.connect(path("s")));
	ASSERT_TRUE(slow.send_bytes(&m, vhost::HEADER));
	EXPECT_TRUE(slow.refused());
	/* One that never reads its answers: SET_OWNER is answered with the rings' locks held. */
	Guest deaf;
	ASSERT_TRUE(deaf.connect(path("s")));
	int flags = fcntl(deaf.fd, F_GETFL);
	fcntl(deaf.fd, F_SETFL, flags | O_NONBLOCK);
	m = Guest::message(vhost::SET_OWNER, 0);
	EXPECT_TRUE(wait([&] {
		while (deaf.send(m))
			;
		return errno == EPIPE || errno == ECONNRESET;
	}));
	EXPECT_TRUE(wait([&] { return guest.connect(path("s")) && guest.start(vhost::BASIC); }));
	EXPECT_TRUE(wait([&] { return up(p); }));
	expect_traffic();
}

TEST_F(VhostGuestTest, FramesThatDoNotFitAreDroppedAndCounted)
{
	join();
	guest.give(0, frame(2048, 1));
	EXPECT_EQ(receive(p), (Frames{frame(2048, 1)}));
	guest.give(0, frame(2049, 2));
	guest.give(0, frame(60, 3));
	guest.give(0, frame(65550, 4));
	guest.give(0, frame(60, 5));
	Frames got;
	EXPECT_TRUE(wait([&] {
		for (auto &f : receive(p))
			got.push_back(f);
		return guest.consumed(0) == 5;
	}));
	EXPECT_EQ(got, (Frames{frame(60, 3), frame(60, 5)}));
	for (int i = 0; i < 100; i++)
		EXPECT_TRUE(receive(p).empty());
	EXPECT_EQ(p->stats[0].rx_bad, 2u);
}

/* Rings beyond the port's queues, and queues beyond the guest's rings. */
TEST_F(VhostGuestTest, MorePairsThanQueues)
{
	join(vhost::BASIC | vhost::MQ, 4);
	expect_described("connected, 4 queues");
	for (unsigned int pair = 0; pair < 4; pair++)
		guest.give(pair, frame(60, static_cast<uint8_t>(pair)));
	Frames got = receive(p);
	std::sort(got.begin(), got.end());
	EXPECT_EQ(got, (Frames{frame(60, 0), frame(60, 1), frame(60, 2), frame(60, 3)}));
	ASSERT_TRUE(guest.enable(7, false));
	expect_described("connected, 3 queues");
}

TEST_F(VhostTest, FewerPairsThanQueues)
{
	port *p = open(Spec("a", "s", 4));
	Guest guest;
	ASSERT_TRUE(guest.connect(path("s")));
	ASSERT_TRUE(guest.start(vhost::BASIC | vhost::MQ, 2));
	ASSERT_TRUE(wait([&] { return describe(p) == "connected, 2 queues"; }));
	for (uint16_t queue = 0; queue < 4; queue++) {
		EXPECT_EQ(transmit(p, {frame(60, static_cast<uint8_t>(queue))}, queue), 1);
		auto got = guest.take(queue % 2);
		ASSERT_EQ(got.size(), 1u);
		EXPECT_EQ(got[0].frame, frame(60, static_cast<uint8_t>(queue)));
	}
	guest.give(1, frame(60, 9));
	EXPECT_TRUE(receive(p, 0).empty());
	EXPECT_EQ(receive(p, 1), (Frames{frame(60, 9)}));
	EXPECT_TRUE(receive(p, 3).empty());
}

/* Sockets. */
TEST_F(VhostTest, SocketHasTheModeAndGoesWithThePort)
{
	struct stat st;
	Spec a("a", "a"), b("b", "b"), c("c", "c");
	b.socket_mode = "0600";
	c.socket_mode = "888";
	port *p = open(a);
	ASSERT_EQ(stat(path("a").c_str(), &st), 0);
	EXPECT_TRUE(S_ISSOCK(st.st_mode));
	EXPECT_EQ(st.st_mode & 07777, 0660u);
	open(b);
	ASSERT_EQ(stat(path("b").c_str(), &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0600u);
	EXPECT_EQ(open_error(c, -EINVAL), "socketMode: \"888\" is not an octal mode in 0..0777");
	c.socket_mode = nullptr;
	c.socket_owner = "nobody-of-that-name";
	EXPECT_EQ(open_error(c, -EINVAL), "socketOwner: there is no user nobody-of-that-name");
	EXPECT_NE(stat(path("c").c_str(), &st), 0);
	close(p);
	EXPECT_NE(stat(path("a").c_str(), &st), 0);
}

TEST_F(VhostTest, SocketsOfOthersStay)
{
	struct stat st;
	int fd = ::open(path("file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	::close(fd);
	EXPECT_EQ(open_error(Spec("a", "file"), -EEXIST), "socket: " + path("file") + " exists and is not a socket");
	EXPECT_EQ(stat(path("file").c_str(), &st), 0);
	unlink(path("file").c_str());

	sockaddr_un sa = {};
	sa.sun_family = AF_UNIX;
	path("other").copy(sa.sun_path, sizeof(sa.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr *>(&sa), sizeof(sa)), 0);
	ASSERT_EQ(listen(fd, 1), 0);
	EXPECT_EQ(open_error(Spec("a", "other"), -EADDRINUSE), "socket: another process listens on " + path("other"));
	::close(fd);
	/* Now nobody does. */
	port *p = open(Spec("a", "other"));
	Guest guest;
	EXPECT_TRUE(guest.connect(path("other")));
	EXPECT_TRUE(guest.start(vhost::BASIC));
	EXPECT_TRUE(wait([&] { return up(p); }));
}

TEST_F(VhostTest, APathHasOnePort)
{
	open(Spec("a", "s"));
	Spec b("b", "s");
	EXPECT_EQ(open_error(b, -EEXIST), ": socket " + path("s") + " is taken by port a");
	b.role = ROLE_CLIENT;
	EXPECT_EQ(open_error(b, -EEXIST), ": socket " + path("s") + " is taken by port a");
	Guest guest;
	EXPECT_TRUE(guest.connect(path("s")));
	EXPECT_TRUE(guest.start(vhost::BASIC));
	std::string longest(107 - folder.size() - 1, 'x'), longer = longest + "x";
	open(Spec("c", longest.c_str()));
	EXPECT_EQ(open_error(Spec("d", longer.c_str()), -ENAMETOOLONG),
		  "socket: the path has 108 bytes, a socket's may have 107");
}

TEST_F(VhostTest, AHundredLives)
{
	Spec client("c", "nobody");
	client.role = ROLE_CLIENT;
	for (int i = 0; i < 100; i++) {
		Guest guest;
		port *p = open(Spec("a", "s"));
		close(open(client));
		ASSERT_TRUE(guest.connect(path("s")));
		if (i % 50 == 0) {
			ASSERT_TRUE(guest.start(vhost::BASIC));
			ASSERT_TRUE(wait([&] { return up(p); }));
		}
		close(p);
		EXPECT_TRUE(guest.refused());
		guest.hang_up();
		ASSERT_EQ(count_fds(), fds) << i;
	}
}

/* The switch is the client: it finds whoever listens, again and again. */
TEST_F(VhostTest, AGuestThatListensIsFound)
{
	Spec spec("a", "guest");
	spec.role = ROLE_CLIENT;
	port *p = open(spec);
	EXPECT_EQ(describe(p), "waiting for a guest that listens");
	Guest guest;
	for (int life = 0; life < 3; life++) {
		ASSERT_TRUE(guest.accept(path("guest"), 3000));
		ASSERT_TRUE(guest.start(vhost::BASIC));
		ASSERT_TRUE(wait([&] { return up(p); }));
		EXPECT_EQ(transmit(p, {frame(60)}), 1);
		EXPECT_EQ(guest.take(0).size(), 1u);
		guest.hang_up(); /* and leaves a stale socket */
		ASSERT_TRUE(wait([&] { return !up(p); }));
	}
	ASSERT_TRUE(guest.accept(path("guest"), 3000));
	ASSERT_TRUE(guest.start(vhost::BASIC));
	close(p);
	EXPECT_TRUE(guest.refused());
	guest.hang_up();
	unlink(path("guest").c_str());
}

/* Guests leave in every way under a busy worker, and their memory is gone at once. */
TEST_F(VhostGuestTest, AWorkerNeverMeetsAGuestThatLeft)
{
	std::atomic<uint64_t> in{0}, out{0};
	port *const served = p;
	Worker worker([&] {
		in += receive(served).size();
		out += transmit(served, Frames(4, frame(60)));
	});
	auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
	unsigned int lives = 0;
	while (std::chrono::steady_clock::now() < end) {
		Guest next;
		ASSERT_TRUE(guest.connect(path("s")) && guest.start(vhost::BASIC));
		ASSERT_TRUE(next.connect(path("s")) && next.start(vhost::BASIC));
		for (unsigned int i = 0; i < Guest::SIZE / 2; i++)
			guest.give(0, frame(60));
		uint64_t sent = out;
		ASSERT_TRUE(wait([&] {
			guest.take(0);
			return out > sent + Guest::SIZE;
		}));
		if (lives % 3 == 0)
			guest.stop_ring(lives % 2);
		if (lives % 3 == 1)
			guest.share();
		guest.hang_up();
		next.hang_up();
		lives++;
	}
	EXPECT_GT(lives, 5u);
	EXPECT_GT(in, 0u);
}

/*
 * A port is closed while another's guest has the library's thread take that guest's ring locks, and the library's
 * mutex, over and over, and a worker waits for those locks: nobody may wait for the worker with that mutex in hand.
 */
TEST_F(VhostGuestTest, ClosingAPortNeverWaitsInACircle)
{
	join();
	port *const served = p;
	Worker worker([&] {
		transmit(served, Frames(1, frame(60)));
		guest.take(0);
	});
	std::atomic<bool> stop{false};
	std::atomic<unsigned int> asked{0};
	std::thread asking([&] {
		while (!stop && guest.set(vhost::SET_FEATURES, vhost::BASIC))
			asked++;
	});
	auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
	unsigned int lives = 0;
	while (std::chrono::steady_clock::now() < end) {
		Guest other;
		port *q = open(Spec("b", "b"));
		ASSERT_TRUE(other.connect(path("b")) && other.start(vhost::BASIC));
		ASSERT_TRUE(wait([&] { return up(q); }));
		close(q);
		lives++;
	}
	stop = true;
	asking.join();
	EXPECT_GT(lives, 2u);
	EXPECT_GT(asked, 100u);
}

/*
 * Noise on the socket, before and after a proper start, costs its own connection only. (Without descriptors: the
 * library, 22.11.11, forgets to close those of some messages that it refuses.)
 */
TEST_F(VhostGuestTest, NoiseOnTheSocketHarmsNobodyElse)
{
	port *q = open(Spec("b", "b"));
	Guest good;
	ASSERT_TRUE(good.connect(path("b")) && good.start(vhost::BASIC));
	ASSERT_TRUE(wait([&] { return up(q); }));
	std::mt19937 random(7);
	for (unsigned int i = 0; i < 150; i++) {
		ASSERT_TRUE(guest.connect(path("s")));
		bool started = i % 2 == 0 && guest.start(vhost::BASIC);
		EXPECT_EQ(started, i % 2 == 0);
		for (unsigned int k = 0; k < 1 + random() % 4; k++) {
			vhost::Message m =
				Guest::message(static_cast<vhost::Request>(random() % 45), random() % sizeof(m.body));
			uint8_t *body = reinterpret_cast<uint8_t *>(&m.body);
			for (size_t b = 0; b < m.size; b++)
				body[b] = random() % 4 == 0 ? static_cast<uint8_t>(random()) : 0;
			guest.send(m);
		}
		receive(p);
		transmit(p, {frame(60)});
		guest.hang_up();
		EXPECT_EQ(transmit(q, {frame(60)}), 1);
		EXPECT_EQ(good.take(0).size(), 1u);
	}
	ASSERT_TRUE(wait([&] { return !up(p); }));
	ASSERT_TRUE(wait([&] { return guest.connect(path("s")) && guest.start(vhost::BASIC); }));
	ASSERT_TRUE(wait([&] { return up(p); }));
	expect_traffic();
}
