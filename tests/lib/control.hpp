// SPDX-License-Identifier: Apache-2.0
// A control socket with a manager of the test's own behind it, and a client that speaks bytes.
#ifndef WEFT_TESTS_CONTROL_HPP
#define WEFT_TESTS_CONTROL_HPP

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <weft/server.h>

// The manager: verbs by name, an event listener, and a gate that building verbs may wait at.
struct mgmt {
	using Verb = std::function<json_t *(enum mgmt_role, json_t *, struct rpc_error *)>;
	std::map<std::string, Verb> verbs, builders;
	std::mutex lock;
	std::condition_variable moved;
	bool open = true;
	int waiting = 0;
	std::vector<std::string> built;
	void (*listener)(json_t *, void *) = nullptr;
	void *listener_arg = nullptr;

	void
	wait_at_gate()
	{
		std::unique_lock<std::mutex> hold(lock);
		waiting++;
		moved.notify_all();
		moved.wait(hold, [this] { return open; });
		waiting--;
	}
	void
	close_gate()
	{
		std::lock_guard<std::mutex> hold(lock);
		open = false;
	}
	void
	open_gate()
	{
		std::lock_guard<std::mutex> hold(lock);
		open = true;
		moved.notify_all();
	}
	bool
	await_builder(int ms = 5000)
	{
		std::unique_lock<std::mutex> hold(lock);
		return moved.wait_for(hold, std::chrono::milliseconds(ms), [this] { return waiting > 0; });
	}
	void
	emit(json_t *event)
	{
		std::lock_guard<std::mutex> hold(lock);
		if (listener != nullptr)
			listener(event, listener_arg);
		json_decref(event);
	}
};

extern "C" {
[[gnu::used]] inline bool
mgmt_builds(const char *method)
{
	return strcmp(method, "apply") == 0 || strcmp(method, "delete") == 0 || strcmp(method, "patch") == 0;
}

[[gnu::used]] inline void
mgmt_on_event(struct mgmt *m, void (*fn)(json_t *event, void *arg), void *arg)
{
	std::lock_guard<std::mutex> hold(m->lock);
	m->listener = fn;
	m->listener_arg = arg;
}

[[gnu::used]] inline void
mgmt_tidy(void)
{
}

[[gnu::used]] inline json_t *
mgmt_call(struct mgmt *m, enum mgmt_role role, const char *method, json_t *params, struct rpc_error *e)
{
	auto &table = mgmt_builds(method) ? m->builders : m->verbs;
	auto it = table.find(method);
	if (it != table.end())
		return it->second(role, params, e);
	e->code = RPC_NO_METHOD;
	snprintf(e->message, sizeof(e->message), "%s: no such verb", method);
	return nullptr;
}
}

class Dir
{
      public:
	Dir()
	{
		char name[] = "/tmp/weft-control-XXXXXX";
		path = mkdtemp(name) != nullptr ? name : "";
	}
	~Dir()
	{
		std::string cmd = "rm -rf '" + path + "'";
		if (!path.empty() && system(cmd.c_str()) != 0)
			perror("rm");
	}
	std::string
	operator/(const std::string &name) const
	{
		return path + "/" + name;
	}
	std::string path;
};

inline uint64_t
now_ms()
{
	using namespace std::chrono;
	return (uint64_t)duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

inline int
connect_to(const std::string &path)
{
	struct sockaddr_un addr = {};
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path.c_str());
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

// A client that speaks bytes.
class Peer
{
      public:
	explicit Peer(const std::string &path) : fd(connect_to(path))
	{
	}
	~Peer()
	{
		shut();
	}
	Peer(Peer &&other) noexcept : fd(other.fd), kept(std::move(other.kept))
	{
		other.fd = -1;
	}
	Peer(const Peer &) = delete;
	Peer &operator=(const Peer &) = delete;

	void
	shut()
	{
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	// All of it, or what the peer took before it hung up.
	size_t
	send(const std::string &text)
	{
		size_t done = 0;
		while (done < text.size()) {
			ssize_t n = ::send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL);
			if (n <= 0)
				break;
			done += (size_t)n;
		}
		return done;
	}
	// One line without its newline; "" when the connection ended, "timeout" when nothing came.
	std::string
	line(int ms = 5000)
	{
		uint64_t until = now_ms() + (uint64_t)ms;
		for (;;) {
			size_t end = kept.find('\n');
			if (end != std::string::npos) {
				std::string out = kept.substr(0, end);
				kept.erase(0, end + 1);
				return out;
			}
			uint64_t now = now_ms();
			struct pollfd p = {fd, POLLIN, 0};
			if (now >= until || poll(&p, 1, (int)(until - now)) == 0)
				return "timeout";
			char buf[65536];
			ssize_t n = recv(fd, buf, sizeof(buf), 0);
			if (n <= 0)
				return "";
			kept.append(buf, (size_t)n);
		}
	}
	std::string
	ask(const std::string &text, int ms = 5000)
	{
		send(text + "\n");
		return line(ms);
	}
	// True when the other side closes, whatever it says before.
	bool
	closed(int ms = 5000)
	{
		uint64_t until = now_ms() + (uint64_t)ms;
		for (std::string got; now_ms() < until;) {
			got = line((int)(until - now_ms()));
			if (got.empty())
				return true;
			if (got == "timeout")
				return false;
		}
		return false;
	}
	int fd;
	std::string kept;
};

inline std::string
request(const std::string &method, const std::string &id = "1", const std::string &params = "")
{
	return "{\"jsonrpc\":\"2.0\",\"id\":" + id + ",\"method\":\"" + method + "\"" +
	       (params.empty() ? "" : ",\"params\":" + params) + "}";
}

inline std::string
result(const std::string &value, const std::string &id = "1")
{
	return "{\"jsonrpc\":\"2.0\",\"id\":" + id + ",\"result\":" + value + "}";
}

inline std::string
refusal(int code, const std::string &message, const std::string &id = "null")
{
	return "{\"jsonrpc\":\"2.0\",\"id\":" + id + ",\"error\":{\"code\":" + std::to_string(code) +
	       ",\"message\":\"" + message + "\"}}";
}

// The switch's side: a server in a folder of its own.
class Control : public ::testing::Test
{
      protected:
	Control()
	{
		manager.verbs["status"] = [](enum mgmt_role, json_t *, struct rpc_error *) {
			return json_pack("{s:b}", "ok", 1);
		};
		manager.verbs["role"] = [](enum mgmt_role role, json_t *, struct rpc_error *) {
			return json_integer(role);
		};
		manager.verbs["echo"] = [](enum mgmt_role, json_t *p, struct rpc_error *) {
			return p != nullptr ? json_incref(p) : json_null();
		};
		manager.verbs["big"] = [](enum mgmt_role, json_t *p, struct rpc_error *) {
			return json_string(
				std::string((size_t)json_integer_value(json_object_get(p, "bytes")), 'x').c_str());
		};
		manager.verbs["refuse"] = [](enum mgmt_role, json_t *, struct rpc_error *e) -> json_t * {
			e->code = RPC_REFUSED;
			snprintf(e->message, sizeof(e->message),
				 "objects[3].backends[0].port: 70000 is not in 1..65535");
			return nullptr;
		};
		manager.builders["apply"] = [this](enum mgmt_role, json_t *p, struct rpc_error *) {
			manager.wait_at_gate();
			std::lock_guard<std::mutex> hold(manager.lock);
			const char *name = json_string_value(json_object_get(p, "name"));
			manager.built.push_back(name != nullptr ? name : "");
			return json_pack("{s:i}", "epoch", (int)manager.built.size());
		};
		options.mode = 0600;
		options.role = [](uid_t uid, gid_t gid, void *arg) { return ((Control *)arg)->role(uid, gid); };
		options.arg = this;
		options.mgmt = &manager;
	}
	~Control() override
	{
		manager.open_gate();
		server_stop(server);
	}

	void
	start()
	{
		path = dir / "control.sock";
		options.path = path.c_str();
		ASSERT_EQ(server_start(&server, &options, &error), 0) << error.text;
	}
	void
	stop()
	{
		server_stop(server);
		server = nullptr;
	}

	Dir dir;
	std::string path;
	struct mgmt manager;
	struct server_options options = {};
	struct server *server = nullptr;
	struct error error = {};
	std::function<enum mgmt_role(uid_t, gid_t)> role = [](uid_t, gid_t) { return MGMT_ADMIN; };
};

#endif
