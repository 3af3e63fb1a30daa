/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the control socket. Private to mgmt/server*.c.
 *
 * Two threads. The talker owns every client and never blocks; the builder owns one job at a time. A client with a job
 * is `busy`: nothing more of it is read or run until its job is back, which keeps its answers in order, keeps it from
 * queueing more than one job, and keeps its struct alive for the builder.
 */
#ifndef WEFT_MGMT_SERVER_IMPL_H
#define WEFT_MGMT_SERVER_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include <weft/server.h>

#include "jsonrpc.h"

#define READ_CHUNK (64u << 10)
#define INLINE_MAX                                                                                                     \
	(128u                                                                                                          \
	 << 10) /* a longer request is parsed on the builder's thread: parsing is slow enough for others to notice */
#define LINES_PER_TURN 16
#define SEND_PER_TURN (1u << 20)
#define EVENTS_MAX 1024 /* waiting for one client, and between mgmt and the talker */
#define LINGER_MS 2000  /* how long a client that was cut off may take to read why */

/* A line to send, shared by the clients that it goes to. */
struct line {
	unsigned int refs;
	size_t n;
	char *text;
};

struct chunk {
	struct chunk *next;
	struct line *line;
	bool event;
};

struct client {
	struct client *next;
	int fd;
	enum mgmt_role role;
	char *in;
	size_t in_start, in_used, in_size; /* the current line begins at in_start; in_used ends what has come */
	struct rpc_frame frame;
	bool line_ready; /* the current line is whole */
	struct chunk *out, **out_end;
	size_t out_sent, out_bytes; /* of the first chunk; of all, unsent */
	unsigned int out_events;
	uint64_t lost;  /* events that found the queue full */
	uint32_t kinds; /* watched, a bit a kind */
	bool watching;
	bool busy;       /* a job of it is with the builder */
	bool eof;        /* it sends no more */
	bool hangup;     /* it reads no more either */
	bool cut;        /* it is told why and then closed */
	bool dead;       /* to be freed, once not busy */
	bool registered; /* with epoll, for `interest` */
	uint32_t interest;
	uint64_t begun_at, active_at, cut_at; /* ms */
};

/* A request for the builder: parsed, or as it came. */
struct job {
	struct job *next;
	struct client *client;
	struct rpc_request request;
	char *raw; /* the request is raw[raw_start .. raw_start + raw_n) */
	size_t raw_start, raw_n;
	bool cut; /* out: the request was not JSON */
	char *answer;
	size_t answer_n;
};

struct event {
	struct event *next;
	uint32_t kind; /* a bit; 0: everybody's */
	struct line *line;
};

/* Where the socket was made, so that only that one is removed. */
struct listener {
	int fd;
	char path[108];
	dev_t dev;
	ino_t ino;
};

struct server {
	struct listener listener;
	struct server_limits limits;
	enum mgmt_role (*role)(uid_t uid, gid_t gid, void *arg);
	void *role_arg;
	struct mgmt *mgmt;
	int epoll, wake, spare; /* spare: given up to refuse a client when there are no descriptors left */
	pthread_t talker, builder;
	atomic_bool stopping;
	/* the talker's own */
	struct client *clients;
	unsigned int n_clients;
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job *jobs, **jobs_end, *done, **done_end;
	bool builder_gone;
	struct event *events, **events_end;
	unsigned int n_events, n_watchers;
	uint64_t events_lost;
};

uint64_t server_now(void);
void server_wake(struct server *s);

/* server_socket.c */
int listener_open(struct listener *l, const struct server_options *o, struct error *e);
void listener_close(struct listener *l);

/* server_client.c */
struct client *client_new(struct server *s, int fd, enum mgmt_role role);
void client_free(struct server *s, struct client *c);
/* epoll reported something. */
void client_ready(struct server *s, struct client *c, uint32_t events);
/* Run what is there to run, look at the clocks, send. Returns when to come again (ms, UINT64_MAX: only when epoll says
 * so). */
uint64_t client_turn(struct server *s, struct client *c, uint64_t now);
/* Queue an answer; `text` is taken over (NULL: no memory was left for it, the client is dropped). */
void client_answer(struct server *s, struct client *c, char *text, size_t n);
__attribute__((format(printf, 4, 5))) void client_cut(struct server *s, struct client *c, int code, const char *fmt,
						      ...);

/* server_request.c: from bytes to answers */
void request_received(struct server *s, struct client *c, uint64_t now);
void request_run(struct server *s, struct client *c, uint64_t now);

/* server_queue.c: what waits to be sent to a client */
void queue_push(struct client *c, struct line *line, bool event);
void queue_drop_unsent(struct client *c);
void queue_clear(struct client *c);
/* 0 when all is sent or the peer takes no more for now; -errno when it is gone. */
int queue_send(struct client *c, uint64_t now);
struct line *line_new(char *text, size_t n);
void line_put(struct line *l);

/* server_build.c */
int builder_start(struct server *s);
void builder_stop(struct server *s);
void builder_submit(struct server *s, struct job *j);
/* Hand finished jobs' answers to their clients. */
void builder_collect(struct server *s);

/* server_watch.c */
void watch_request(struct server *s, struct client *c, struct rpc_request *r);
void watch_end(struct server *s, struct client *c);
void watch_listener(json_t *event, void *server);
void watch_deliver(struct server *s);
/* Tell a watcher what it missed, once it has read what came before. */
void watch_catch_up(struct client *c);

#endif
