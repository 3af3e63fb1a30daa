// SPDX-License-Identifier: Apache-2.0
#include <weft/client.h>

#include <fcntl.h>

#include "control.hpp"

namespace
{

class Client : public Control
{
      protected:
	~Client() override
	{
		weft_close(w);
		manager.open_gate();
	}

	struct weft *
	connect()
	{
		EXPECT_EQ(weft_connect(&w, path.c_str(), &e), 0) << e.text;
		return w;
	}

	std::string
	call(const char *method, const char *params = nullptr)
	{
		json_t *p = params != nullptr ? json_loads(params, JSON_DECODE_ANY, nullptr) : nullptr;
		json_t *got = weft_call(w, method, p, &e);
		json_decref(p);
		return text_of(got);
	}

	std::string
	text_of(json_t *doc)
	{
		char *text = doc != nullptr ? json_dumps(doc, JSON_COMPACT | JSON_ENCODE_ANY) : nullptr;
		std::string out = text != nullptr ? text : "error " + std::to_string(e.code) + ": " + e.text;
		free(text);
		json_decref(doc);
		return out;
	}

	std::string
	event(int ms = 5000)
	{
		return text_of(weft_event(w, ms, &e));
	}

	// A switch that says one thing and hangs up.
	void
	say(const std::string &text)
	{
		path = dir / "fake.sock";
		struct sockaddr_un addr = {};
		addr.sun_family = AF_UNIX;
		snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path.c_str());
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		ASSERT_EQ(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		ASSERT_EQ(listen(fd, 1), 0);
		ASSERT_EQ(weft_connect(&w, path.c_str(), &e), 0);
		int peer = accept(fd, nullptr, nullptr);
		EXPECT_EQ(send(peer, text.data(), text.size(), 0), (ssize_t)text.size());
		close(peer);
		close(fd);
	}

	struct weft *w = nullptr;
	struct weft_error e = {};
};

TEST_F(Client, AsksAndGetsResults)
{
	start();
	connect();
	EXPECT_EQ(call("status"), "{\"ok\":true}");
	EXPECT_EQ(call("echo", "{\"a\":[1,2,{\"b\":null}]}"), "{\"a\":[1,2,{\"b\":null}]}");
	EXPECT_EQ(call("echo"), "null");
	EXPECT_EQ(call("apply", "{}"), "{\"epoch\":1}");
}

TEST_F(Client, TheSwitchsErrorsKeepTheirCodeAndText)
{
	start();
	connect();
	EXPECT_EQ(call("refuse"), "error -32000: objects[3].backends[0].port: 70000 is not in 1..65535");
	EXPECT_EQ(call("fly"), "error -32601: fly: no such verb");
	EXPECT_EQ(call("status", "[]"), "error -32602: params: must be an object");
	EXPECT_EQ(call("status"), "{\"ok\":true}");
	EXPECT_EQ(call("bad \xff"), "error " + std::to_string(EINVAL) + ": the request cannot be written as JSON");
	EXPECT_EQ(call("status"), "{\"ok\":true}");
}

TEST_F(Client, LargeRequestsAndAnswersPass)
{
	start();
	connect();
	std::string params = "{\"b\":\"" + std::string(20 << 20, 'q') + "\"}";
	EXPECT_TRUE(call("echo", params.c_str()) == params);
}

TEST_F(Client, WhyTheSwitchCannotBeReachedIsSaid)
{
	std::string none = dir / "none.sock", text = "cannot reach the switch at " + none + ": ";
	EXPECT_EQ(weft_connect(&w, none.c_str(), &e), -ENOENT);
	EXPECT_EQ(e.code, ENOENT);
	EXPECT_EQ(e.text, text + "there is no such socket (is weftd running?)");
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un addr = {};
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", none.c_str());
	ASSERT_EQ(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	EXPECT_EQ(weft_connect(&w, none.c_str(), &e), -ECONNREFUSED);
	EXPECT_EQ(e.text, text + "nobody listens there (is weftd running?)");
	EXPECT_EQ(weft_connect(&w, std::string(108, 'x').c_str(), &e), -ENAMETOOLONG);
	EXPECT_EQ(e.code, ENAMETOOLONG);
	EXPECT_EQ(w, nullptr);
}

TEST_F(Client, ThePathComesFromTheEnvironmentWhenNoneIsGiven)
{
	start();
	setenv("WEFT_SOCKET", path.c_str(), 1);
	EXPECT_EQ(weft_connect(&w, nullptr, &e), 0) << e.text;
	unsetenv("WEFT_SOCKET");
	EXPECT_EQ(call("status"), "{\"ok\":true}");
}

TEST_F(Client, ARefusalAtTheDoorIsTheReason)
{
	role = [](uid_t, gid_t) { return MGMT_NOBODY; };
	start();
	connect();
	EXPECT_EQ(call("status"), "error -32003: refused: uid " + std::to_string(geteuid()) +
					  " has no role here (control.roles in weft.conf)");
}

TEST_F(Client, BeingCutOffWhileSendingIsTheReason)
{
	options.limits.admin_request_max = 100000;
	start();
	connect();
	EXPECT_EQ(call("echo", ("{\"b\":\"" + std::string(30 << 20, 'q') + "\"}").c_str()),
		  "error -32004: closed: a request may have 100000 bytes");
	EXPECT_EQ(call("status"),
		  "error " + std::to_string(ECONNRESET) + ": the switch at " + path + " closed the connection");
}

TEST_F(Client, ALostSwitchIsAnErrnoAndNoSignal)
{
	start();
	connect();
	EXPECT_EQ(call("status"), "{\"ok\":true}");
	stop();
	EXPECT_EQ(call("status"),
		  "error " + std::to_string(ECONNRESET) + ": the switch at " + path + " closed the connection");
	EXPECT_EQ(call("status").substr(0, 5), "error");
	EXPECT_EQ(event(0).substr(0, 5), "error");
}

TEST_F(Client, ACallMayBeTimed)
{
	start();
	connect();
	manager.close_gate();
	weft_set_timeout(w, 100);
	uint64_t before = now_ms();
	EXPECT_EQ(call("apply", "{}"),
		  "error " + std::to_string(ETIMEDOUT) + ": the switch at " + path + " did not answer in time");
	EXPECT_GE(now_ms() - before, 99u);
	manager.open_gate();
	// The late answer is not taken for the next one's.
	weft_set_timeout(w, -1);
	EXPECT_EQ(call("status"), "{\"ok\":true}");
}

TEST_F(Client, WhatIsNoAnswerIsAnError)
{
	say("hello\n");
	EXPECT_EQ(call("status"),
		  "error " + std::to_string(EBADMSG) + ": the switch at " + path + " sent what is not an answer");
	weft_close(w);
	unlink(path.c_str());
	say("{\"jsonrpc\":\"2.0\",\"id\":1}\n");
	EXPECT_EQ(call("status"),
		  "error " + std::to_string(EBADMSG) + ": the switch at " + path + " sent an answer without a result");
	weft_close(w);
	unlink(path.c_str());
	say("{\"jsonrpc\":\"2.0\",\"id\":1,\"resu");
	EXPECT_EQ(call("status"),
		  "error " + std::to_string(ECONNRESET) + ": the switch at " + path + " closed the connection");
}

TEST_F(Client, EventsComeBesideAnswersAndInOrder)
{
	start();
	connect();
	const char *kinds[] = {"Port"};
	ASSERT_EQ(weft_watch(w, kinds, 1, &e), 0) << e.text;
	for (int i = 0; i < 3; i++)
		manager.emit(json_pack("{s:s, s:s, s:i}", "event", "port", "kind", "Port", "epoch", i));
	manager.emit(json_pack("{s:s, s:s}", "event", "applied", "kind", "Policy"));
	EXPECT_EQ(call("status"), "{\"ok\":true}");
	manager.emit(json_pack("{s:s, s:s, s:i}", "event", "port", "kind", "Port", "epoch", 3));
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(event(), "{\"event\":\"port\",\"kind\":\"Port\",\"epoch\":" + std::to_string(i) + "}");
	EXPECT_EQ(event(50), "error " + std::to_string(ETIMEDOUT) + ": no event came from the switch at " + path);
	EXPECT_GE(weft_fd(w), 0);
	EXPECT_NE(fcntl(weft_fd(w), F_GETFL) & O_NONBLOCK, 0);
	const char *wrong[] = {"Prot"};
	EXPECT_EQ(weft_watch(w, wrong, 1, &e), -1);
	EXPECT_STREQ(e.text, "kinds[0]: Prot is not a kind");
	ASSERT_EQ(weft_watch(w, nullptr, 0, &e), 0);
	manager.emit(json_pack("{s:s, s:s}", "event", "applied", "kind", "Policy"));
	EXPECT_EQ(event(), "{\"event\":\"applied\",\"kind\":\"Policy\"}");
	stop();
	EXPECT_EQ(event(),
		  "error " + std::to_string(ECONNRESET) + ": the switch at " + path + " closed the connection");
}

TEST_F(Client, ClosingNothingIsFine)
{
	weft_close(nullptr);
}

} // namespace
