/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <weft/client.h>

#define CONNECT_MS 5000
#define EVENTS_KEPT 16384 /* that came while an answer was waited for */
#define READ_CHUNK (64u << 10)

struct weft {
	int fd;
	int timeout_ms;
	json_int_t last_id;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *in;
	size_t in_used, in_size, looked; /* in[0 .. looked) holds no newline */
	bool ended;
	json_t *events; /* array of params */
	json_int_t lost;
};

__attribute__((format(printf, 3, 4))) static int
fail(struct weft_error *e, int code, const char *fmt, ...)
{
	va_list ap;
	if (e == NULL)
		return -1;
	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

static int64_t
now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* When a wait of timeout_ms ends; INT64_MAX: never. */
static int64_t
deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
}

/* Wait for events on the socket. False when the time is over. */
static bool
wait_for(const struct weft *w, short events, int64_t deadline)
{
	struct pollfd p = {.fd = w->fd, .events = events};
	for (;;) {
		int64_t left = deadline == INT64_MAX ? -1 : deadline - now_ms();
		if (deadline != INT64_MAX && left < 0)
			left = 0;
		int n = poll(&p, 1, left > 3600000 ? 3600000 : (int)left);
		if (n > 0)
			return true;
		if (n == 0 && deadline != INT64_MAX && now_ms() >= deadline)
			return false;
	}
}

static const char *
reason(int error)
{
	switch (error) {
	case ENOENT:
		return "there is no such socket (is weftd running?)";
	case ECONNREFUSED:
		return "nobody listens there (is weftd running?)";
	case EACCES:
	case EPERM:
		return "permission denied (members of the socket's group may connect)";
	case ENOTSOCK:
		return "it is not a socket";
	case EAGAIN:
		return "the switch does not accept connections";
	default:
		return strerror(error);
	}
}

static int
try_connect(int fd, const struct sockaddr_un *addr)
{
	int64_t deadline = now_ms() + CONNECT_MS;
	for (;;) {
		if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
			return 0;
		/* A full backlog: unlike with TCP there is nothing to poll for. */
		if ((errno != EAGAIN && errno != EINTR) || now_ms() >= deadline)
			return -errno;
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
}

int
weft_connect(struct weft **out, const char *path, struct weft_error *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	if (path == NULL)
		path = getenv("WEFT_SOCKET");
	if (path == NULL || path[0] == '\0')
		path = WEFT_SOCKET;
	if (strlen(path) >= sizeof(addr.sun_path)) {
		fail(e, ENAMETOOLONG, "cannot reach the switch at %s: a socket's path has at most %zu bytes", path,
		     sizeof(addr.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	strcpy(addr.sun_path, path);
	struct weft *w = calloc(1, sizeof(*w));
	json_t *events = json_array();
	int rc = w == NULL || events == NULL ? -ENOMEM : 0;
	if (rc == 0) {
		*w = (struct weft){.fd = -1, .timeout_ms = -1, .events = events};
		strcpy(w->path, path);
		w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		rc = w->fd < 0 ? -errno : try_connect(w->fd, &addr);
	}
	if (rc < 0) {
		fail(e, rc == -EAGAIN ? ETIMEDOUT : -rc, "cannot reach the switch at %s: %s", path, reason(-rc));
		if (w != NULL && w->fd >= 0)
			close(w->fd);
		json_decref(events);
		free(w);
		return rc == -EAGAIN ? -ETIMEDOUT : rc;
	}
	*out = w;
	return 0;
}

void
weft_close(struct weft *w)
{
	if (w == NULL)
		return;
	close(w->fd);
	json_decref(w->events);
	free(w->in);
	free(w);
}

int
weft_fd(const struct weft *w)
{
	return w->fd;
}

void
weft_set_timeout(struct weft *w, int ms)
{
	w->timeout_ms = ms;
}

/* Take what has come. False when nothing more will, or without memory. */
static bool
receive(struct weft *w)
{
	if (w->in_size - w->in_used < READ_CHUNK) {
		size_t size = w->in_size == 0 ? 2 * READ_CHUNK : 2 * w->in_size;
		char *more = realloc(w->in, size);
		if (more == NULL)
			return false;
		w->in = more;
		w->in_size = size;
	}
	ssize_t n = recv(w->fd, w->in + w->in_used, w->in_size - w->in_used, MSG_DONTWAIT);
	if (n > 0)
		w->in_used += (size_t)n;
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* The next whole line as JSON, or NULL when there is none yet; *bad when there is one that cannot be read. */
static json_t *
next_line(struct weft *w, bool *bad)
{
	char *end = w->in_used > w->looked ? memchr(w->in + w->looked, '\n', w->in_used - w->looked) : NULL;
	*bad = false;
	if (end == NULL) {
		w->looked = w->in_used;
		return NULL;
	}
	size_t n = (size_t)(end - w->in) + 1;
	json_t *doc = json_loadb(w->in, n, 0, NULL);
	*bad = !json_is_object(doc);
	w->in_used -= n;
	memmove(w->in, w->in + n, w->in_used);
	w->looked = 0;
	return doc;
}

static void
keep_event(struct weft *w, json_t *doc)
{
	json_t *params = json_object_get(doc, "params");
	const char *method = json_string_value(json_object_get(doc, "method"));
	if (method == NULL || strcmp(method, "event") != 0 || params == NULL)
		return;
	if (w->lost > 0 || json_array_size(w->events) >= EVENTS_KEPT || json_array_append(w->events, params) < 0)
		w->lost++;
}

/* The switch's error, when doc is one: the answer to id, or the connection's end (id null). */
static bool
is_refused(const json_t *doc, struct weft_error *e)
{
	const json_t *error = json_object_get(doc, "error");
	const char *text = json_string_value(json_object_get(error, "message"));
	if (error == NULL)
		return false;
	int code = (int)json_integer_value(json_object_get(error, "code"));
	fail(e, code < 0 ? code : WEFT_INTERNAL, "%s", text != NULL ? text : "the switch refused without a reason");
	return true;
}

/* Read until a document that is no event: the answer to `id`, or an error that ends the connection. NULL with *e. */
static json_t *
await_answer(struct weft *w, json_int_t id, int64_t deadline, struct weft_error *e)
{
	for (;;) {
		bool bad;
		json_t *doc = next_line(w, &bad);
		if (bad) {
			json_decref(doc);
			w->ended = true;
			fail(e, EBADMSG, "the switch at %s sent what is not an answer", w->path);
			return NULL;
		}
		if (doc == NULL) {
			if (w->ended || !wait_for(w, POLLIN, deadline)) {
				fail(e, w->ended ? ECONNRESET : ETIMEDOUT,
				     w->ended ? "the switch at %s closed the connection"
					      : "the switch at %s did not answer in time",
				     w->path);
				return NULL;
			}
			w->ended = !receive(w);
			continue;
		}
		const json_t *got = json_object_get(doc, "id");
		if (got == NULL)
			keep_event(w, doc);
		else if (json_is_null(got) || json_integer_value(got) == id)
			return doc;
		json_decref(doc);
	}
}

/* Send all of it, and take what comes meanwhile, since the switch may be waiting for us to read. False when the time is
 * over. */
static bool
send_all(struct weft *w, const char *text, size_t n, int64_t deadline)
{
	while (n > 0) {
		ssize_t sent = send(w->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			text += sent;
			n -= (size_t)sent;
		} else if (errno != EAGAIN && errno != EINTR) {
			/* It hung up: what it said before that is the reason, and is still to be read. */
			return true;
		} else if (!wait_for(w, POLLIN | POLLOUT, deadline)) {
			return false;
		} else if (!receive(w)) {
			w->ended = true;
			return true;
		}
	}
	return true;
}

static json_t *
result_of(struct weft *w, json_t *doc, struct weft_error *e)
{
	json_t *result = NULL;
	if (!is_refused(doc, e)) {
		result = json_incref(json_object_get(doc, "result"));
		if (result == NULL)
			fail(e, EBADMSG, "the switch at %s sent an answer without a result", w->path);
	}
	json_decref(doc);
	return result;
}

json_t *
weft_call(struct weft *w, const char *method, json_t *params, struct weft_error *e)
{
	int64_t deadline = deadline_of(w->timeout_ms);
	json_int_t id = ++w->last_id;
	json_t *doc = json_pack("{s:s, s:I, s:s}", "jsonrpc", "2.0", "id", id, "method", method);
	if (doc != NULL && params != NULL)
		json_object_set(doc, "params", params);
	char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	size_t n = text != NULL ? strlen(text) : 0;
	if (text == NULL) {
		fail(e, EINVAL, "the request cannot be written as JSON");
		return NULL;
	}
	text[n] = '\n'; /* over the NUL: the length counts from here on */
	bool in_time = send_all(w, text, n + 1, deadline);
	free(text);
	if (!in_time) {
		w->ended = true;
		fail(e, ETIMEDOUT, "the switch at %s does not read", w->path);
		return NULL;
	}
	doc = await_answer(w, id, deadline, e);
	return doc != NULL ? result_of(w, doc, e) : NULL;
}

int
weft_watch(struct weft *w, const char *const *kinds, size_t n, struct weft_error *e)
{
	json_t *params = json_object(), *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(kinds[i]));
	if (n > 0)
		json_object_set(params, "kinds", list);
	json_t *result = weft_call(w, "watch", params, e);
	json_decref(list);
	json_decref(params);
	json_decref(result);
	return result != NULL ? 0 : -1;
}

json_t *
weft_event(struct weft *w, int timeout_ms, struct weft_error *e)
{
	int64_t deadline = deadline_of(timeout_ms);
	for (;;) {
		json_t *event = json_array_get(w->events, 0);
		if (event != NULL) {
			json_incref(event);
			json_array_remove(w->events, 0);
			return event;
		}
		if (w->lost > 0) {
			json_int_t lost = w->lost;
			w->lost = 0;
			return json_pack("{s:s, s:I}", "event", "lost", "count", lost);
		}
		bool bad;
		json_t *doc = next_line(w, &bad);
		if (doc == NULL && !bad) {
			if (w->ended || !wait_for(w, POLLIN, deadline)) {
				fail(e, w->ended ? ECONNRESET : ETIMEDOUT,
				     w->ended ? "the switch at %s closed the connection"
					      : "no event came from the switch at %s",
				     w->path);
				return NULL;
			}
			w->ended = !receive(w);
			continue;
		}
		keep_event(w, doc);
		bool over = doc == NULL || (json_is_null(json_object_get(doc, "id")) && is_refused(doc, e));
		if (doc == NULL)
			fail(e, EBADMSG, "the switch at %s sent what is not an event", w->path);
		json_decref(doc);
		if (over)
			return NULL;
	}
}
