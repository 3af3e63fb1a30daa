// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <fstream>

#include "control.hpp"

namespace
{

using Server = Control;

std::string
message_of(const std::string &line)
{
	json_t *doc = json_loads(line.c_str(), 0, nullptr);
	const char *text = json_string_value(json_object_get(json_object_get(doc, "error"), "message"));
	std::string out = text != nullptr ? text : "no error in: " + line;
	json_decref(doc);
	return out;
}

int
code_of(const std::string &line)
{
	json_t *doc = json_loads(line.c_str(), 0, nullptr);
	int code = (int)json_integer_value(json_object_get(json_object_get(doc, "error"), "code"));
	json_decref(doc);
	return code;
}

const std::string OK = result("{\"ok\":true}");

// The median time of some statuses, while whatever else goes on.
uint64_t
status_ms(Peer &p, int times = 9)
{
	std::vector<uint64_t> took;
	for (int i = 0; i < times; i++) {
		uint64_t before = now_ms();
		EXPECT_EQ(p.ask(request("status")), OK);
		took.push_back(now_ms() - before);
		std::this_thread::sleep_for(std::chrono::milliseconds(5));
	}
	std::sort(took.begin(), took.end());
	return took[took.size() / 2];
}

TEST_F(Server, AnswersAndEchoesIds)
{
	start();
	Peer p(path);
	EXPECT_EQ(p.ask(request("status")), OK);
	EXPECT_EQ(p.ask(request("status", "\"a\"")), result("{\"ok\":true}", "\"a\""));
	EXPECT_EQ(p.ask(request("status", "null")), result("{\"ok\":true}", "null"));
	EXPECT_EQ(p.ask(request("status", "9007199254740993")), result("{\"ok\":true}", "9007199254740993"));
	EXPECT_EQ(p.ask(request("echo", "2", "{\"a\":[1,\"\xc3\xa9\"]}")), result("{\"a\":[1,\"\xc3\xa9\"]}", "2"));
	EXPECT_EQ(p.ask(request("refuse")),
		  refusal(RPC_REFUSED, "objects[3].backends[0].port: 70000 is not in 1..65535", "1"));
	EXPECT_EQ(p.ask(request("fly")), refusal(RPC_NO_METHOD, "fly: no such verb", "1"));
	EXPECT_EQ(p.ask("{\"jsonrpc\":\"2.0\",\"id\":3}"),
		  refusal(RPC_INVALID_REQUEST, "method: must be the name of a verb, such as \\\"status\\\"", "3"));
	EXPECT_EQ(p.ask("[" + request("status") + "]"),
		  refusal(RPC_INVALID_REQUEST, "batches are not supported: send one request per line"));
	EXPECT_EQ(p.ask(request("status")), OK);
}

TEST_F(Server, ManyRequestsInOneWriteAreAnsweredInOrder)
{
	start();
	Peer p(path);
	std::string all;
	for (int i = 0; i < 5000; i++)
		all += request(i % 100 == 7 ? "apply" : "status", std::to_string(i)) + (i % 3 == 0 ? "\r\n" : "\n\n");
	std::thread writer([&] { p.send(all); });
	for (int i = 0; i < 5000; i++) {
		std::string line = p.line(), id = "{\"jsonrpc\":\"2.0\",\"id\":" + std::to_string(i) + ",";
		ASSERT_EQ(line.substr(0, id.size()), id);
	}
	writer.join();
	EXPECT_EQ(manager.built.size(), 50u);
}

TEST_F(Server, ARequestMayComeInPieces)
{
	start();
	Peer p(path);
	std::string text = " " + request("echo", "1", "{\"a\":\"b\\\"[{\"}") + "\n" + request("status") + "\n";
	for (char c : text)
		p.send(std::string(1, c));
	EXPECT_EQ(p.line(), result("{\"a\":\"b\\\"[{\"}"));
	EXPECT_EQ(p.line(), OK);
}

TEST_F(Server, NotificationsAreRunAndNotAnswered)
{
	start();
	Peer p(path);
	p.send("{\"jsonrpc\":\"2.0\",\"method\":\"apply\",\"params\":{\"name\":\"n\"}}\n");
	p.send("{\"jsonrpc\":\"2.0\",\"method\":\"fly\"}\n{\"jsonrpc\":\"2.0\",\"method\":\"status\",\"params\":[]}\n");
	EXPECT_EQ(p.ask(request("status", "5")), result("{\"ok\":true}", "5"));
	EXPECT_EQ(manager.built, std::vector<std::string>{"n"});
}

TEST_F(Server, ANotificationIsRunAlsoWhenItsSenderHasGone)
{
	start();
	manager.close_gate();
	{
		Peer first(path), second(path);
		first.send(request("apply", "1", "{\"name\":\"a\"}") + "\n" +
			   request("apply", "2", "{\"name\":\"b\"}") + "\n");
		second.send("{\"jsonrpc\":\"2.0\",\"method\":\"apply\",\"params\":{\"name\":\"c\"}}\n");
		ASSERT_TRUE(manager.await_builder());
	}
	Peer p(path);
	EXPECT_LT(status_ms(p), 100u);
	manager.open_gate();
	EXPECT_EQ(p.ask(request("apply", "1", "{\"name\":\"d\"}")).substr(0, 30), result("").substr(0, 30));
	for (int i = 0; i < 200 &&
			[&] {
				std::lock_guard<std::mutex> h(manager.lock);
				return manager.built.size();
			}() < 4;
	     i++)
		std::this_thread::sleep_for(std::chrono::milliseconds(10));
	std::lock_guard<std::mutex> hold(manager.lock);
	std::sort(manager.built.begin(), manager.built.end());
	EXPECT_EQ(manager.built, (std::vector<std::string>{"a", "b", "c", "d"}));
}

TEST_F(Server, ALongApplyDelaysNobodyElseAndKeepsItsClientsOrder)
{
	start();
	manager.close_gate();
	Peer busy(path), next(path), other(path);
	busy.send(request("apply", "1") + "\n" + request("status", "2") + "\n");
	ASSERT_TRUE(manager.await_builder());
	next.send(request("apply", "3") + "\n");
	EXPECT_LT(status_ms(other), 100u);
	EXPECT_EQ(busy.line(50), "timeout");
	manager.open_gate();
	EXPECT_EQ(busy.line(), result("{\"epoch\":1}", "1"));
	EXPECT_EQ(busy.line(), result("{\"ok\":true}", "2"));
	EXPECT_EQ(next.line(), result("{\"epoch\":2}", "3"));
}

TEST_F(Server, LargeRequestsAndAnswersPassWhole)
{
	start();
	Peer p(path);
	std::string blob(3 << 20, 'y');
	EXPECT_TRUE(p.ask(request("echo", "1", "{\"b\":\"" + blob + "\"}")) == result("{\"b\":\"" + blob + "\"}"));
	// What follows a large request in the same write is not lost.
	std::thread writer([&] {
		p.send(request("echo", "2", "{\"b\":\"" + blob + "\"}") + "\n" + request("status", "3") + "\n");
	});
	EXPECT_TRUE(p.line() == result("{\"b\":\"" + blob + "\"}", "2"));
	EXPECT_EQ(p.line(), result("{\"ok\":true}", "3"));
	writer.join();
	std::string got = p.ask(request("big", "4", "{\"bytes\":8000000}"));
	EXPECT_EQ(got.size(), result("\"\"", "4").size() + 8000000);
}

TEST_F(Server, MalformedIsCutOffWithAReason)
{
	start();
	Peer other(path);
	for (const std::string &text :
	     {std::string("{"), std::string("GET / HTTP/1.1\r"), std::string("{\"a\":\"\xff\"}"),
	      std::string("{\"a\":1,\"a\":2}"), std::string("\0", 1), std::string("\x16\x03\x01"),
	      std::string("{\"a\":99999999999999999999}")}) {
		Peer p(path);
		std::string got = p.ask(text);
		EXPECT_EQ(code_of(got), RPC_PARSE_ERROR) << got;
		EXPECT_EQ(message_of(got).substr(0, 17), "closed: not JSON:");
		EXPECT_EQ(p.line(), "");
		EXPECT_EQ(other.ask(request("status")), OK);
	}
	// Also when it is long enough to be parsed by the builder.
	Peer p(path);
	std::string got = p.ask("[\"" + std::string(1 << 20, 'x') + "\xff\"]");
	EXPECT_EQ(code_of(got), RPC_PARSE_ERROR);
	EXPECT_EQ(message_of(got).substr(0, 17), "closed: not JSON:");
	EXPECT_EQ(p.line(), "");
}

TEST_F(Server, OversizedIsCutOffAtTheLimitOfItsRole)
{
	options.limits.request_max = 100000;
	options.limits.admin_request_max = 300000;
	enum mgmt_role now = MGMT_OPERATOR;
	role = [&](uid_t, gid_t) { return now; };
	start();
	Peer other(path);
	EXPECT_EQ(other.ask(request("status")), OK);
	auto sized = [](size_t n) {
		std::string empty = request("echo", "1", "{\"b\":\"\"}");
		return request("echo", "1", "{\"b\":\"" + std::string(n - empty.size(), 'z') + "\"}");
	};
	EXPECT_EQ(other.ask(sized(100000)).substr(0, 16), OK.substr(0, 16));
	Peer p(path);
	EXPECT_EQ(p.ask(sized(100001)), refusal(RPC_TOO_LARGE, "closed: a request may have 100000 bytes"));
	EXPECT_EQ(p.line(), "");
	// Never a newline: cut at the limit, and what is still to come is not waited for.
	Peer endless(path);
	EXPECT_LT(endless.send(std::string(20 << 20, ' ') + std::string(20 << 20, '1')), 40u << 20);
	EXPECT_EQ(code_of(endless.line()), RPC_TOO_LARGE);
	EXPECT_LT(status_ms(other), 100u);
	now = MGMT_ADMIN;
	Peer admin(path);
	EXPECT_EQ(admin.ask(sized(300000)).substr(0, 16), OK.substr(0, 16));
	EXPECT_EQ(admin.ask(sized(300001)), refusal(RPC_TOO_LARGE, "closed: a request may have 300000 bytes"));
}

TEST_F(Server, DeepNestingNeverReachesTheParser)
{
	start();
	Peer p(path), other(path);
	p.send(std::string(1000000, '['));
	EXPECT_EQ(p.line(), refusal(RPC_PARSE_ERROR, "closed: a request may nest 64 deep"));
	EXPECT_EQ(p.line(), "");
	EXPECT_LT(status_ms(other), 100u);
	std::string open, close;
	for (int i = 0; i < 62; i++) {
		open += "[";
		close += "]";
	}
	// The request and its params are two of the 64.
	EXPECT_EQ(other.ask(request("echo", "1", "{\"a\":" + open + close + "}")).substr(0, 16), OK.substr(0, 16));
	EXPECT_EQ(message_of(other.ask(request("echo", "1", "{\"a\":[" + open + close + "]}"))),
		  "closed: a request may nest 64 deep");
}

TEST_F(Server, SlowAndHalfRequestsRunOutOfTime)
{
	options.limits.idle_ms = 300;
	start();
	Peer slow(path), half(path), other(path);
	uint64_t begun = now_ms();
	half.send("{\"jsonrpc\"");
	std::atomic<bool> stop{false};
	std::thread drip([&] {
		for (int i = 0; i < 100 && !stop; i++) {
			if (slow.send(std::string(1, i == 0 ? '{' : ' ')) != 1)
				break;
			std::this_thread::sleep_for(std::chrono::milliseconds(20));
		}
	});
	EXPECT_LT(status_ms(other), 100u);
	EXPECT_EQ(slow.line(), refusal(RPC_TIMEOUT, "closed: a request must be complete within 300 ms"));
	EXPECT_EQ(half.line(), refusal(RPC_TIMEOUT, "closed: a request must be complete within 300 ms"));
	EXPECT_GE(now_ms() - begun, 290u);
	EXPECT_LT(now_ms() - begun, 2000u);
	stop = true;
	drip.join();
	EXPECT_EQ(half.line(), "");
	// Whoever is between requests is not late.
	EXPECT_EQ(other.ask(request("status")), OK);
}

TEST_F(Server, ABuildersClientIsNotLateWhileItWaits)
{
	options.limits.idle_ms = 200;
	options.limits.silent_ms = 300;
	start();
	manager.close_gate();
	Peer p(path);
	p.send(request("apply") + "\n{\"jsonrpc\":\"2.0\",");
	ASSERT_TRUE(manager.await_builder());
	EXPECT_EQ(p.line(600), "timeout");
	manager.open_gate();
	EXPECT_EQ(p.line(), result("{\"epoch\":1}"));
	EXPECT_EQ(p.ask("\"id\":2,\"method\":\"status\"}"), result("{\"ok\":true}", "2"));
}

TEST_F(Server, SilentClientsAreCutOff)
{
	options.limits.silent_ms = 300;
	start();
	Peer silent(path), blank(path), asks(path);
	blank.send("   \t ");
	for (int i = 0; i < 12; i++) {
		EXPECT_EQ(asks.ask(request("status")), OK);
		std::this_thread::sleep_for(std::chrono::milliseconds(50));
	}
	EXPECT_EQ(silent.line(), refusal(RPC_TIMEOUT, "closed: nothing was asked or read for 300 ms"));
	EXPECT_EQ(silent.line(), "");
	EXPECT_EQ(code_of(blank.line()), RPC_TIMEOUT);
}

TEST_F(Server, WhoeverNeverReadsIsCutOffAtTheBacklog)
{
	options.limits.backlog_max = 1 << 20;
	start();
	Peer deaf(path), other(path);
	std::string ask;
	for (int i = 0; i < 100; i++)
		ask += request("big", std::to_string(i), "{\"bytes\":100000}") + "\n";
	deaf.send(ask);
	EXPECT_LT(status_ms(other), 100u);
	// It may still read what had left; then the reason, at most one answer after it began to.
	std::string last, got;
	int answers = 0;
	while ((got = deaf.line()) != "" && got != "timeout") {
		last = got;
		answers++;
	}
	EXPECT_EQ(got, "");
	EXPECT_EQ(message_of(last), "closed: answers of more than 1048576 bytes were not read");
	EXPECT_LT(answers, 20);
	// An answer that is too large by itself.
	Peer p(path);
	EXPECT_EQ(message_of(p.ask(request("big", "1", "{\"bytes\":2000000}"))),
		  "closed: answers of more than 1048576 bytes were not read");
}

TEST_F(Server, WhoeverNeverReadsTheReasonIsClosedAllTheSame)
{
	options.limits.backlog_max = 1 << 20;
	options.limits.clients_max = 2;
	start();
	Peer deaf(path);
	std::string ask;
	for (int i = 0; i < 100; i++)
		ask += request("big", std::to_string(i), "{\"bytes\":100000}") + "\n";
	deaf.send(ask);
	// Its place is free again once its time to read the reason is over.
	Peer one(path);
	EXPECT_EQ(one.ask(request("status")), OK);
	bool admitted = false;
	for (uint64_t until = now_ms() + 5000; !admitted && now_ms() < until;) {
		Peer two(path);
		admitted = two.ask(request("status")) == OK;
		std::this_thread::sleep_for(std::chrono::milliseconds(20));
	}
	EXPECT_TRUE(admitted);
}

TEST_F(Server, HalfClosedClientsGetTheirAnswers)
{
	start();
	manager.close_gate();
	Peer p(path), q(path), r(path), s(path);
	p.send(request("apply", "1") + "\n" + request("status", "2") + "\n");
	shutdown(p.fd, SHUT_WR);
	ASSERT_TRUE(manager.await_builder());
	q.send(request("big", "1", "{\"bytes\":5000000}") + "\n");
	shutdown(q.fd, SHUT_WR);
	EXPECT_EQ(q.line().size(), result("\"\"").size() + 5000000);
	EXPECT_EQ(q.line(), "");
	r.send("{\"jsonrpc\":");
	shutdown(r.fd, SHUT_WR);
	EXPECT_EQ(r.line(), refusal(RPC_PARSE_ERROR, "closed: the connection ended within a request"));
	EXPECT_EQ(r.line(), "");
	shutdown(s.fd, SHUT_WR);
	EXPECT_EQ(s.line(), "");
	manager.open_gate();
	EXPECT_EQ(p.line(), result("{\"epoch\":1}"));
	EXPECT_EQ(p.line(), result("{\"ok\":true}", "2"));
	EXPECT_EQ(p.line(), "");
}

TEST_F(Server, AHundredClientsAreServedUpToTheLimitAndTheLastPlaceIsAnAdmins)
{
	std::atomic<int> now{MGMT_OPERATOR};
	role = [&](uid_t, gid_t) { return (enum mgmt_role)now.load(); };
	options.limits.clients_max = 16;
	start();
	std::vector<Peer> peers;
	int served = 0, refused = 0;
	for (int i = 0; i < 100; i++) {
		peers.emplace_back(path);
		std::string got = peers.back().ask(request("status"));
		served += got == OK;
		if (got == OK)
			continue;
		refused++;
		EXPECT_EQ(got,
			  refusal(RPC_REFUSED, "refused: 15 clients are connected, and no more are served at once"));
		EXPECT_EQ(peers.back().line(), "");
	}
	EXPECT_EQ(served, 15);
	EXPECT_EQ(refused, 85);
	now = MGMT_ADMIN;
	Peer admin(path), second(path);
	EXPECT_EQ(admin.ask(request("status")), OK);
	EXPECT_EQ(code_of(second.line()), RPC_REFUSED);
	EXPECT_LT(status_ms(admin), 100u);
	// A place that is left is taken again.
	now = MGMT_OPERATOR;
	peers.clear();
	bool admitted = false;
	for (int i = 0; i < 100 && !admitted; i++) {
		Peer again(path);
		admitted = again.ask(request("status")) == OK;
		std::this_thread::sleep_for(std::chrono::milliseconds(5));
	}
	EXPECT_TRUE(admitted);
}

TEST_F(Server, AFloodOfConnectsDelaysNobody)
{
	start();
	Peer other(path);
	std::atomic<bool> stop{false};
	std::thread flood([&] {
		while (!stop) {
			std::vector<Peer> many;
			for (int i = 0; i < 100; i++)
				many.emplace_back(path);
		}
	});
	EXPECT_LT(status_ms(other, 25), 100u);
	stop = true;
	flood.join();
	EXPECT_EQ(other.ask(request("status")), OK);
}

TEST_F(Server, WithoutDescriptorsClientsAreRefusedAndTheOthersServed)
{
	start();
	Peer old(path);
	EXPECT_EQ(old.ask(request("status")), OK);
	struct rlimit before, none;
	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	std::vector<int> sockets;
	for (int i = 0; i < 3; i++)
		sockets.push_back(socket(AF_UNIX, SOCK_STREAM, 0));
	// No new number may be given out, but one that is given back may be taken again.
	int lowest_free = dup(0);
	close(lowest_free);
	none = before;
	none.rlim_cur = (rlim_t)lowest_free;
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	struct sockaddr_un addr = {};
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path.c_str());
	std::vector<std::string> got;
	for (int fd : sockets) {
		EXPECT_EQ(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		char buf[512];
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		got.emplace_back(buf, n > 0 ? (size_t)n : 0);
	}
	EXPECT_EQ(old.ask(request("status")), OK);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
	for (size_t i = 0; i < sockets.size(); i++) {
		EXPECT_EQ(got[i], refusal(RPC_REFUSED, "refused: the switch has no file descriptors left") + "\n");
		close(sockets[i]);
	}
	Peer fresh(path);
	EXPECT_EQ(fresh.ask(request("status")), OK);
}

TEST_F(Server, RolesComeFromThePeersCredentials)
{
	uid_t seen_uid = 77;
	gid_t seen_gid = 77;
	enum mgmt_role now = MGMT_READ_ONLY;
	role = [&](uid_t uid, gid_t gid) {
		seen_uid = uid;
		seen_gid = gid;
		return now;
	};
	start();
	Peer p(path);
	EXPECT_EQ(p.ask(request("role")), result("1"));
	EXPECT_EQ(seen_uid, geteuid());
	EXPECT_EQ(seen_gid, getegid());
	now = MGMT_OPERATOR;
	Peer q(path);
	EXPECT_EQ(q.ask(request("role")), result("2"));
	now = MGMT_NOBODY;
	Peer r(path);
	EXPECT_EQ(r.line(), refusal(RPC_FORBIDDEN, "refused: uid " + std::to_string(geteuid()) +
							   " has no role here (control.roles in weft.conf)"));
	EXPECT_EQ(r.line(), "");
	// The role is that of the connection's beginning.
	EXPECT_EQ(p.ask(request("role")), result("1"));
}

TEST_F(Server, AnotherUserIsSeenAsWhoTheyAre)
{
	if (geteuid() != 0)
		GTEST_SKIP() << "needs root to become somebody else";
	options.mode = 0666;
	role = [](uid_t uid, gid_t) { return uid == 54321 ? MGMT_NOBODY : MGMT_ADMIN; };
	start();
	ASSERT_EQ(chmod(dir.path.c_str(), 0755), 0);
	std::string got;
	std::thread other([&] {
		// The thread's own credentials: the C library's call would change the whole process.
		if (syscall(SYS_setresuid, 54321, 54321, 54321) == 0) {
			Peer p(path);
			got = p.line();
		}
	});
	other.join();
	EXPECT_EQ(got, refusal(RPC_FORBIDDEN, "refused: uid 54321 has no role here (control.roles in weft.conf)"));
}

std::string
event(const std::string &params)
{
	return "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":" + params + "}";
}

json_t *
port_event(int epoch)
{
	return json_pack("{s:s, s:s, s:s, s:i}", "event", "port", "kind", "Port", "name", "a", "epoch", epoch);
}

TEST_F(Server, WatchersGetTheEventsOfTheirKinds)
{
	start();
	Peer ports(path), all(path), none(path), others(path);
	EXPECT_EQ(ports.ask(request("watch", "1", "{\"kinds\":[\"Port\"]}")), result("{\"kinds\":[\"Port\"]}"));
	EXPECT_EQ(all.ask(request("watch")).substr(0, 54), result("{\"kinds\":[\"Node\",\"Network\"").substr(0, 54));
	EXPECT_EQ(others.ask(request("watch", "1", "{\"kinds\":[\"Service\",\"Policy\"]}")),
		  result("{\"kinds\":[\"Service\",\"Policy\"]}"));
	EXPECT_EQ(none.ask(request("status")), OK);
	manager.emit(port_event(3));
	std::string port = event("{\"event\":\"port\",\"kind\":\"Port\",\"name\":\"a\",\"epoch\":3}");
	EXPECT_EQ(ports.line(), port);
	EXPECT_EQ(all.line(), port);
	manager.emit(json_pack("{s:s}", "event", "stopping"));
	for (Peer *p : {&ports, &all, &others})
		EXPECT_EQ(p->line(), event("{\"event\":\"stopping\"}"));
	EXPECT_EQ(none.line(50), "timeout");
	// Requests go on, and a new watch replaces the old one.
	EXPECT_EQ(ports.ask(request("status")), OK);
	EXPECT_EQ(ports.ask(request("watch", "1", "{\"kinds\":[]}")), result("{\"kinds\":[]}"));
	manager.emit(port_event(4));
	EXPECT_NE(all.line(), "timeout");
	EXPECT_EQ(ports.line(50), "timeout");
}

TEST_F(Server, WatchRefusesWhatIsNoKind)
{
	start();
	Peer p(path);
	EXPECT_EQ(p.ask(request("watch", "1", "{\"kinds\":[\"Port\",\"Prot\"]}")),
		  refusal(RPC_INVALID_PARAMS, "kinds[1]: Prot is not a kind", "1"));
	EXPECT_EQ(p.ask(request("watch", "1", "{\"kinds\":\"Port\"}")),
		  refusal(RPC_INVALID_PARAMS, "kinds: must be a list of kinds", "1"));
	EXPECT_EQ(p.ask(request("watch", "1", "{\"kinds\":[1]}")),
		  refusal(RPC_INVALID_PARAMS, "kinds[0]: what is no string is not a kind", "1"));
	EXPECT_EQ(p.ask(request("watch", "1", "{\"kind\":\"Port\"}")),
		  refusal(RPC_INVALID_PARAMS, "kind: unknown field (known: kinds)", "1"));
}

TEST_F(Server, AWatcherThatFallsBehindLearnsHowMuchItLost)
{
	start();
	Peer slow(path), quick(path);
	EXPECT_NE(slow.ask(request("watch")), "");
	EXPECT_NE(quick.ask(request("watch")), "");
	const int total = 20000;
	std::atomic<int> read_by_quick{0};
	std::thread reader([&] {
		std::string got;
		while ((got = quick.line(2000)) != "timeout" && got != "") {
			size_t at = got.find("\"count\":");
			read_by_quick += at == std::string::npos ? 1 : atoi(got.c_str() + at + 8);
			if (read_by_quick >= total)
				break;
		}
	});
	for (int i = 0; i < total; i++) {
		manager.emit(port_event(i));
		if (i % 200 == 0)
			std::this_thread::sleep_for(std::chrono::milliseconds(1));
	}
	reader.join();
	EXPECT_EQ(read_by_quick, total);
	int seen = 0, lost = 0, gaps = 0;
	for (std::string got; seen + lost < total && (got = slow.line(2000)) != "timeout" && got != "";) {
		size_t at = got.find("\"event\":\"lost\",\"count\":");
		if (at == std::string::npos) {
			// Events come in order, and the gap is where "lost" stands.
			EXPECT_NE(got.find("\"epoch\":" + std::to_string(seen + lost) + "}"), std::string::npos)
				<< got << seen + lost;
			seen++;
		} else {
			lost += atoi(got.c_str() + at + 23);
			gaps++;
		}
	}
	EXPECT_EQ(seen + lost, total);
	EXPECT_GE(gaps, 1);
	EXPECT_GT(lost, 1000);
	manager.emit(port_event(-1));
	EXPECT_NE(slow.line().find("\"epoch\":-1}"), std::string::npos);
}

TEST_F(Server, AWatcherMayBeSilent)
{
	options.limits.silent_ms = 100;
	start();
	Peer p(path), half(path);
	EXPECT_NE(p.ask(request("watch")), "");
	half.send(request("watch") + "\n");
	shutdown(half.fd, SHUT_WR);
	EXPECT_NE(half.line(), "");
	std::this_thread::sleep_for(std::chrono::milliseconds(300));
	manager.emit(port_event(1));
	EXPECT_EQ(code_of(p.line()), 0);
	EXPECT_NE(half.line().find("\"epoch\":1"), std::string::npos);
}

// --- the socket itself

TEST_F(Server, TheSocketHasItsModeAndGoesAway)
{
	mode_t old = umask(077);
	options.mode = 0660;
	start();
	umask(old);
	struct stat st;
	ASSERT_EQ(lstat(path.c_str(), &st), 0);
	EXPECT_TRUE(S_ISSOCK(st.st_mode));
	EXPECT_EQ(st.st_mode & 0777, 0660u);
	stop();
	EXPECT_EQ(lstat(path.c_str(), &st), -1);
	EXPECT_EQ(errno, ENOENT);
}

TEST_F(Server, AMissingFolderIsMadeAndTheGroupGiven)
{
	mode_t old = umask(0);
	std::string at = dir / "run/control.sock";
	options.path = at.c_str();
	struct group *g = geteuid() == 0 ? getgrnam("daemon") : nullptr;
	gid_t gid = g != nullptr ? g->gr_gid : getegid();
	options.group = g != nullptr ? "daemon" : "no-such-group-here";
	ASSERT_EQ(server_start(&server, &options, &error), 0) << error.text;
	umask(old);
	struct stat st;
	ASSERT_EQ(stat((dir / "run").c_str(), &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0750u);
	EXPECT_EQ(st.st_gid, gid);
	ASSERT_EQ(stat(at.c_str(), &st), 0);
	EXPECT_EQ(st.st_gid, gid);
	stop();
	options.path = "/nowhere/at/all.sock";
	EXPECT_EQ(server_start(&server, &options, &error), -ENOENT);
	EXPECT_NE(std::string(error.text).find("/nowhere/at"), std::string::npos);
}

TEST_F(Server, AStaleSocketIsReplaced)
{
	path = dir / "control.sock";
	struct sockaddr_un addr = {};
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path.c_str());
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ASSERT_EQ(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	start();
	Peer p(path);
	EXPECT_EQ(p.ask(request("status")), OK);
}

TEST_F(Server, ALiveServerIsLeftAlone)
{
	start();
	Peer p(path);
	EXPECT_EQ(p.ask(request("status")), OK);
	struct stat before, after;
	ASSERT_EQ(lstat(path.c_str(), &before), 0);
	struct server *second = nullptr;
	EXPECT_EQ(server_start(&second, &options, &error), -EADDRINUSE);
	EXPECT_EQ(std::string(error.text), path + ": another switch answers there");
	ASSERT_EQ(lstat(path.c_str(), &after), 0);
	EXPECT_EQ(before.st_ino, after.st_ino);
	EXPECT_EQ(p.ask(request("status")), OK);
	Peer q(path);
	EXPECT_EQ(q.ask(request("status")), OK);
}

TEST_F(Server, OfManyThatStartAtOnceOneWins)
{
	path = dir / "control.sock";
	options.path = path.c_str();
	for (int round = 0; round < 5; round++) {
		std::vector<std::thread> threads;
		std::vector<struct server *> started(8, nullptr);
		std::vector<int> rc(8);
		for (size_t i = 0; i < 8; i++) {
			threads.emplace_back([&, i] {
				struct error e;
				rc[i] = server_start(&started[i], &options, &e);
			});
		}
		for (auto &t : threads)
			t.join();
		EXPECT_EQ(std::count(rc.begin(), rc.end(), 0), 1);
		EXPECT_EQ(std::count(rc.begin(), rc.end(), -EADDRINUSE), 7);
		Peer p(path);
		EXPECT_EQ(p.ask(request("status")), OK);
		for (struct server *s : started)
			server_stop(s);
	}
}

TEST_F(Server, WhatIsNotASocketIsRefusedAndKept)
{
	path = dir / "control.sock";
	options.path = path.c_str();
	std::ofstream(path) << "precious";
	EXPECT_EQ(server_start(&server, &options, &error), -EEXIST);
	EXPECT_EQ(std::string(error.text), path + ": exists and is not a socket; it is left alone");
	std::string kept;
	std::ifstream(path) >> kept;
	EXPECT_EQ(kept, "precious");
	ASSERT_EQ(unlink(path.c_str()), 0);
	std::ofstream(dir / "target") << "x";
	ASSERT_EQ(symlink((dir / "target").c_str(), path.c_str()), 0);
	EXPECT_EQ(server_start(&server, &options, &error), -EEXIST);
	ASSERT_EQ(unlink(path.c_str()), 0);
	ASSERT_EQ(symlink((dir / "not-there").c_str(), path.c_str()), 0);
	EXPECT_EQ(server_start(&server, &options, &error), -EEXIST);
	ASSERT_EQ(unlink(path.c_str()), 0);
	ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
	EXPECT_EQ(server_start(&server, &options, &error), -EEXIST);
	EXPECT_EQ(access((dir / "not-there").c_str(), F_OK), -1);
}

TEST_F(Server, PathsThatDoNotFitAreRefused)
{
	std::string longest = dir / std::string(108 - dir.path.size() - 2, 'x');
	ASSERT_EQ(longest.size(), 107u);
	options.path = longest.c_str();
	ASSERT_EQ(server_start(&server, &options, &error), 0) << error.text;
	Peer p(longest);
	EXPECT_EQ(p.ask(request("status")), OK);
	stop();
	std::string longer = longest + "x";
	options.path = longer.c_str();
	EXPECT_EQ(server_start(&server, &options, &error), -ENAMETOOLONG);
	options.path = "";
	EXPECT_EQ(server_start(&server, &options, &error), -ENAMETOOLONG);
}

TEST_F(Server, StopRemovesOnlyItsOwnSocket)
{
	start();
	ASSERT_EQ(unlink(path.c_str()), 0);
	struct server *second = nullptr;
	ASSERT_EQ(server_start(&second, &options, &error), 0) << error.text;
	stop();
	Peer p(path);
	EXPECT_EQ(p.ask(request("status")), OK);
	server_stop(second);
	EXPECT_EQ(access(path.c_str(), F_OK), -1);
}

TEST_F(Server, StopAnswersWhatIsBeingBuiltAndRefusesTheRest)
{
	start();
	manager.close_gate();
	Peer p(path), q(path), idle(path);
	EXPECT_EQ(idle.ask(request("status")), OK);
	p.send(request("apply", "1") + "\n" + request("apply", "2") + "\n");
	ASSERT_TRUE(manager.await_builder());
	q.send(request("apply", "3") + "\n");
	EXPECT_EQ(idle.ask(request("status")), OK);
	std::thread stopper([&] { stop(); });
	std::this_thread::sleep_for(std::chrono::milliseconds(100));
	manager.open_gate();
	EXPECT_EQ(p.line(), result("{\"epoch\":1}"));
	EXPECT_EQ(p.line(), "");
	EXPECT_EQ(q.line(), refusal(RPC_REFUSED, "the switch is stopping", "3"));
	EXPECT_EQ(idle.line(), "");
	stopper.join();
	EXPECT_EQ(manager.built.size(), 1u);
}

TEST_F(Server, StopIsQuickAlsoWithClientsThatDoNotRead)
{
	start();
	std::vector<Peer> peers;
	for (int i = 0; i < 8; i++) {
		peers.emplace_back(path);
		peers.back().send(request("big", "1", "{\"bytes\":1000000}") + "\n{");
	}
	Peer p(path);
	EXPECT_EQ(p.ask(request("status")), OK);
	uint64_t before = now_ms();
	stop();
	EXPECT_LT(now_ms() - before, 1500u);
}

TEST_F(Server, StartsAndStopsUnderLoadWithoutALeak)
{
	auto count = [] {
		int n = 0;
		for (int fd = 0; fd < 1024; fd++)
			n += fcntl(fd, F_GETFD) >= 0;
		return n;
	};
	int before = count();
	for (int i = 0; i < 20; i++) {
		start();
		Peer p(path), q(path);
		p.send(request("apply") + "\n" + request("watch") + "\n" + request("status") + "\n");
		q.send(request("watch") + "\n");
		manager.emit(port_event(i));
		stop();
	}
	EXPECT_EQ(count(), before);
}

} // namespace
