/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libweft: talk to a switch over its control socket. Needs only jansson.
 *
 *	struct weft_error e;
 *	struct weft *w;
 *	if (weft_connect(&w, NULL, &e) < 0)
 *		errx(2, "%s", e.text);
 *	json_t *status = weft_call(w, "status", NULL, &e);
 *
 * A connection belongs to one thread at a time; different connections are independent. Nothing here raises SIGPIPE or
 * touches other state of the process. The verbs, their params and answers are what `schema` says.
 */
#ifndef WEFT_CLIENT_H
#define WEFT_CLIENT_H

#include <stddef.h>

#include <jansson.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_SOCKET "/run/weft/control.sock"

/* What the switch answers with (JSON-RPC 2.0 section 5.1, and its own). */
#define WEFT_PARSE_ERROR (-32700)
#define WEFT_INVALID_REQUEST (-32600)
#define WEFT_NO_METHOD (-32601)
#define WEFT_INVALID_PARAMS (-32602)
#define WEFT_INTERNAL (-32603)
#define WEFT_REFUSED (-32000)
#define WEFT_NOT_FOUND (-32001)
#define WEFT_CONFLICT (-32002)
#define WEFT_FORBIDDEN (-32003)
#define WEFT_TOO_LARGE (-32004)
#define WEFT_TIMEOUT (-32005)

struct weft_error {
	int code;       /* negative: the switch's answer, as above; positive: an errno, the switch was not reached or lost */
	char text[640]; /* one line for a person, without a newline */
};

struct weft;

/*
 * Connect to the switch at path; NULL: what $WEFT_SOCKET names, else WEFT_SOCKET. 0, or -errno with *e: -ENOENT nothing is there,
 * -ECONNREFUSED nobody listens, -EACCES no permission, -ETIMEDOUT the switch does not accept.
 */
int weft_connect(struct weft **out, const char *path, struct weft_error *e);
/* Forgets what was not answered. NULL is fine. */
void weft_close(struct weft *w);

/* The descriptor, to wait on for events; it is non-blocking. weft_event(w, 0, e) then takes what has come. */
int weft_fd(const struct weft *w);
/* How long weft_call() waits for an answer, in ms; negative: for ever, which it begins with. */
void weft_set_timeout(struct weft *w, int ms);

/*
 * Ask and wait. Returns the result (a new reference), or NULL with *e. `params` is an object or NULL and stays the caller's. After a positive
 * e->code the connection is of no further use.
 */
json_t *weft_call(struct weft *w, const char *method, json_t *params, struct weft_error *e);

/* Have events of these kinds sent, of all kinds when n is 0. 0, or -1 with *e. May be called again, and beside weft_call(). */
int weft_watch(struct weft *w, const char *const *kinds, size_t n, struct weft_error *e);
/*
 * The next event (a new reference): {"event","kind","name",...}; {"event":"lost","count":n} stands where n are missing. Waits at most
 * timeout_ms, negative: for ever. NULL with e->code ETIMEDOUT when none came, or with another code when the connection ended.
 */
json_t *weft_event(struct weft *w, int timeout_ms, struct weft_error *e);

#ifdef __cplusplus
}
#endif

#endif
