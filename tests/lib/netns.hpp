// SPDX-License-Identifier: Apache-2.0
// A network namespace for one test, and what the kernel in it says and hears.
#ifndef WEFT_TESTS_NETNS_HPP
#define WEFT_TESTS_NETNS_HPP

#include <weft/netlink.h>

#include <fcntl.h>
#include <functional>
#include <string>
#include <unistd.h>

inline int
shell(const std::string &command)
{
	return system((command + " >/dev/null 2>&1").c_str());
}

inline std::string
shell_output(const std::string &command)
{
	std::string out;
	char buf[512];
	FILE *f = popen((command + " 2>&1").c_str(), "r");
	while (f != nullptr && fgets(buf, sizeof(buf), f) != nullptr)
		out += buf;
	if (f != nullptr)
		pclose(f);
	return out;
}

// Why namespaces and taps cannot be tested here, or NULL.
inline const char *
no_netns()
{
	if (geteuid() != 0)
		return "needs root";
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		return "needs /dev/net/tun";
	if (shell("ip -V") != 0)
		return "needs ip(8)";
	return nullptr;
}

class Netns
{
      public:
	Netns()
	{
		static int count;
		name = "weft-t" + std::to_string(getpid()) + "-" + std::to_string(count++);
		path = "/run/netns/" + name;
	}
	~Netns()
	{
		remove();
	}
	Netns(const Netns &) = delete;

	bool
	create()
	{
		return shell("ip netns add " + name) == 0 && shell("ip -n " + name + " link set lo up") == 0;
	}
	void
	remove()
	{
		shell("ip netns del " + name);
	}
	std::string
	ip(const std::string &args) const
	{
		return shell_output("ip -n " + name + " " + args);
	}
	// Run in the namespace, on a thread of its own; what `f` returns, or -errno.
	int
	run(std::function<int()> f) const
	{
		return netns_run(
			path.c_str(), [](void *arg) { return (*(std::function<int()> *)arg)(); }, &f);
	}

	std::string name, path;
};

#endif
