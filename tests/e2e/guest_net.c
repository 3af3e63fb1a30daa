/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's busybox cannot do: SCTP (one-to-one style, RFC 6458 section 4), and HTTP without a resolver.
 *   guest-net serve ADDRESS PORT NAME   listen for SCTP; tell each client NAME, then echo what it sends
 *   guest-net ask ADDRESS PORT N        connect by SCTP, check N echoes of numbered messages, print "N from NAME"
 *   guest-net get ADDRESS PORT          connect by TCP, ask for / and print the answer
 * Each end of an association is bound to one address: an end that tells of others is multi-homed, and the peer would send to those past
 * any translation.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void
die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

union address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

static socklen_t
parse(const char *text, int port, union address *a)
{
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, text, &a->four.sin_addr) == 1) {
		a->four.sin_family = AF_INET;
		a->four.sin_port = htons((uint16_t)port);
		return sizeof(a->four);
	}
	a->six.sin6_family = AF_INET6;
	a->six.sin6_port = htons((uint16_t)port);
	if (inet_pton(AF_INET6, text, &a->six.sin6_addr) != 1)
		die(text);
	return sizeof(a->six);
}

static void
serve(const char *address, int port, const char *name)
{
	union address own;
	socklen_t len = parse(address, port, &own);
	int s = socket(own.any.sa_family, SOCK_STREAM, IPPROTO_SCTP);
	if (s < 0)
		die("socket");
	if (bind(s, &own.any, len) < 0 || listen(s, 32) < 0)
		die("listen");
	for (;;) {
		int c = accept(s, NULL, NULL);
		if (c < 0)
			continue;
		if (fork() == 0) {
			char data[2048];
			ssize_t n = send(c, name, strlen(name), 0);
			while (n > 0 && (n = recv(c, data, sizeof(data), 0)) > 0)
				n = send(c, data, (size_t)n, 0);
			_exit(0);
		}
		close(c);
	}
}

/* The address that this host speaks from to another. */
static void
find_own(const union address *to, socklen_t len, union address *own)
{
	int s = socket(to->any.sa_family, SOCK_DGRAM, 0);
	if (s < 0 || connect(s, &to->any, len) < 0 || getsockname(s, &own->any, &len) < 0)
		die("route");
	close(s);
	own->four.sin_port = 0; /* at the same place in both */
}

static int
dial(int protocol, const char *address, int port)
{
	union address to, own;
	socklen_t len = parse(address, port, &to);
	int s = socket(to.any.sa_family, SOCK_STREAM, protocol);
	struct timeval patience = {.tv_sec = 20};
	if (s < 0)
		die("socket");
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	find_own(&to, len, &own);
	if (bind(s, &own.any, len) < 0 || connect(s, &to.any, len) < 0)
		die("connect");
	return s;
}

static void
ask(const char *address, int port, int count)
{
	char name[256], out[1024], in[1024];
	int s = dial(IPPROTO_SCTP, address, port);
	ssize_t n = recv(s, name, sizeof(name) - 1, 0);
	if (n <= 0)
		die("hello");
	name[n] = '\0';
	for (int i = 0; i < count; i++) {
		memset(out, 'a' + i % 26, sizeof(out));
		memcpy(out, &i, sizeof(i));
		if (send(s, out, sizeof(out), 0) != sizeof(out))
			die("send");
		for (size_t got = 0; got < sizeof(in); got += (size_t)n)
			if ((n = recv(s, in + got, sizeof(in) - got, 0)) <= 0)
				die("recv");
		if (memcmp(in, out, sizeof(in)) != 0) {
			printf("message %d came back wrong\n", i);
			exit(1);
		}
	}
	printf("%d from %s\n", count, name);
}

static void
get(const char *address, int port)
{
	static const char question[] = "GET / HTTP/1.0\r\n\r\n";
	char data[4096];
	size_t got = 0;
	ssize_t n;
	int s = dial(IPPROTO_TCP, address, port);
	if (send(s, question, sizeof(question) - 1, 0) < 0)
		die("send");
	while (got < sizeof(data) - 1 && (n = recv(s, data + got, sizeof(data) - 1 - got, 0)) != 0) {
		if (n < 0)
			die("recv");
		got += (size_t)n;
	}
	data[got] = '\0';
	const char *body = strstr(data, "\r\n\r\n");
	printf("%s", body != NULL ? body + 4 : "no answer\n");
}

int
main(int argc, char **argv)
{
	const char *verb = argc > 3 ? argv[1] : "";
	if (strcmp(verb, "serve") == 0 && argc > 4)
		serve(argv[2], atoi(argv[3]), argv[4]);
	else if (strcmp(verb, "get") == 0)
		get(argv[2], atoi(argv[3]));
	else if (strcmp(verb, "ask") == 0 && argc > 4)
		ask(argv[2], atoi(argv[3]), atoi(argv[4]));
	else
		return 2;
	return 0;
}
