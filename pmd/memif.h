/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memif 2.0: the protocol's messages and rings, and what our files about it share.
 *
 * The client owns the shared memory: it passes regions and rings over a SOCK_SEQPACKET socket, one message of 128 bytes
 * at a time, each acknowledged. Either side may write anything into that memory at any moment, so nothing in it is
 * trusted: an index or a descriptor is read once into a local, checked, and only the local is used. Our own place in a
 * ring is never read back from it.
 *
 * Threads. Everything but memif_rx and memif_tx runs under the port lock. Workers load one pointer, to a
 * link; its cursors are theirs, the rest of it does not change while it is published.
 */
#ifndef WEFT_PMD_MEMIF_H
#define WEFT_PMD_MEMIF_H

#include <sys/queue.h>

#include <weft/port.h>
#include <weft/port_event.h>

#define MEMIF_COOKIE 0x3e31f20u
#define MEMIF_VERSION 0x0200
#define MEMIF_NAME 32
#define MEMIF_SECRET 24
#define MEMIF_REASON 96
#define MEMIF_ADD_RING_S2M 1 /* in the direction client to server */
#define MEMIF_RING_MASK_INT 1
#define MEMIF_DESC_NEXT 1
#define MEMIF_MODE_ETHERNET 0

/* Our limits. */
#define MEMIF_REGIONS 16
#define MEMIF_LOG2_RING_MAX 14
/* Of shared memory for each queue of the port. A page of the peer's that we touch first is ours to pay for. */
#define MEMIF_QUEUE_BYTES (UINT64_C(256) << 20)
#define MEMIF_CHAIN 64 /* descriptors of one frame: 64 KB in buffers of 1 KB */
#define MEMIF_HANDSHAKE_MS 2000
#define MEMIF_TICK_MS 50

enum memif_type {
	MEMIF_NONE,
	MEMIF_ACK,
	MEMIF_HELLO,
	MEMIF_INIT,
	MEMIF_ADD_REGION,
	MEMIF_ADD_RING,
	MEMIF_CONNECT,
	MEMIF_CONNECTED,
	MEMIF_DISCONNECT,
};

struct memif_msg {
	uint16_t type;
	union {
		struct {
			char name[MEMIF_NAME];
			uint16_t min_version, max_version;
			uint16_t max_region, max_m2s_ring, max_s2m_ring; /* the highest index, not a number of them */
			uint8_t max_log2_ring;
		} __attribute__((packed)) hello;
		struct {
			uint16_t version;
			uint32_t id;
			uint8_t mode;
			uint8_t secret[MEMIF_SECRET];
			char name[MEMIF_NAME];
		} __attribute__((packed)) init;
		struct {
			uint16_t index;
			uint64_t size;
		} __attribute__((packed)) add_region;
		struct {
			uint16_t flags, index, region;
			uint32_t offset;
			uint8_t log2_ring;
			uint16_t private_header;
		} __attribute__((packed)) add_ring;
		struct {
			char name[MEMIF_NAME];
		} __attribute__((packed)) connect; /* and CONNECTED */
		struct {
			uint32_t code;
			char reason[MEMIF_REASON];
		} __attribute__((packed)) disconnect;
		uint8_t bytes[126];
	};
} __attribute__((packed));
static_assert(sizeof(struct memif_msg) == 128, "a message has 128 bytes");

struct memif_desc {
	uint16_t flags, region;
	uint32_t length, offset, metadata;
};
static_assert(sizeof(struct memif_desc) == 16, "a descriptor has 16 bytes");

/* Not declared aligned: a peer may place rings at any multiple of 16. */
struct memif_ring {
	uint32_t cookie;
	uint16_t flags, head; /* head: the side that offers descriptors */
	uint8_t pad0[56];
	uint16_t tail; /* the side that uses them up */
	uint8_t pad1[62];
	struct memif_desc desc[];
};
static_assert(sizeof(struct memif_ring) == 128 && offsetof(struct memif_ring, tail) == 64,
	      "two lines before the descriptors");

struct memif_region {
	uint8_t *base;
	uint64_t size;
};

/*
 * One ring as one worker sees it. We always take what the other side offers: on a ring that we receive from, frames; on
 * one that we send on, empty buffers. `theirs + lead` minus `cursor` is how much is there, `cursor + lag` is what we
 * publish.
 */
struct memif_queue {
	struct memif_ring *ring;
	uint16_t *theirs, *ours; /* head and tail of it, or tail and head */
	uint32_t size, mask;
	uint32_t first, buffer; /* own memory: offset of slot 0's buffer, bytes of each */
	uint16_t lead, lag;
	uint16_t cursor; /* the worker's */
	int kick;        /* eventfd that wakes the peer, -1: none */
} __attribute__((aligned(64)));

/* Why a worker gave a link up; index of memif_fault_text. */
enum memif_fault {
	MEMIF_OK,
	MEMIF_BAD_INDEX,
	MEMIF_BAD_BUFFER,
	MEMIF_BAD_CHAIN,
};

/* A connection's memory. Built by the control side, published, unpublished, freed a grace period later. */
struct memif_link {
	uint32_t fault; /* atomic, enum memif_fault: set by workers, the port thread then closes the connection */
	uint16_t n_rx, n_tx, n_regions;
	uint64_t room; /* bytes that regions may still take */
	bool own;      /* we are the client: the memory is ours, so are regions and offsets */
	struct memif_region region[MEMIF_REGIONS];
	struct memif_queue rx[PORT_MAX_QUEUES], tx[PORT_MAX_QUEUES];
	uint64_t ticket; /* grace period, once unpublished */
	STAILQ_ENTRY(memif_link) retired;
};

struct memif_conn;
struct memif_listener;

struct memif {                   /* port->priv */
	struct memif_link *link; /* atomic */

	struct port *port;
	TAILQ_ENTRY(memif) all;          /* every memif port */
	TAILQ_ENTRY(memif) at;           /* those at one listener */
	struct memif_listener *listener; /* server */
	struct memif_conn *conn;         /* being made or live */
	char *path;
	uint32_t id;
	uint8_t secret[MEMIF_SECRET];
	uint8_t log2_ring; /* client */
	bool client;
	uint64_t retry_ms; /* client: when to try again */
	char peer[MEMIF_NAME + 1];
	char reason[MEMIF_REASON]; /* why the last connection ended */
};

/* One control socket. `link` is what is being built, NULL once it is published. */
struct memif_conn {
	int fd;
	struct port_event *event;
	struct memif_listener *listener; /* server: where it came from */
	struct memif *m;                 /* server: NULL before INIT */
	struct memif_link *link;
	int region_fd, ring_fd[2][PORT_MAX_QUEUES]; /* client: what goes out with the messages */
	unsigned int step;                          /* client: messages acknowledged */
	bool live;
	uint64_t deadline_ms; /* of the handshake */
	TAILQ_ENTRY(memif_conn) all;
};

/* memif.c */
uint16_t memif_rx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n);
uint16_t memif_tx(struct port *p, uint16_t queue, struct rte_mbuf **m, uint16_t n);

/* memif_link.c */
struct memif_link *memif_link_new(bool own, unsigned int queues);
/* Take a region from the peer: checked, mapped; the fd stays the caller's. 0 or -errno and *e. */
int memif_link_add_region(struct memif_link *l, int fd, uint64_t size, struct error *e);
/* Take a ring; `fd` is the link's when 0 is returned. */
int memif_link_add_ring(struct memif_link *l, const struct memif_msg *add_ring, int fd, struct error *e);
/* The client's side: one region with everything in it; fills the fds that go to the peer. */
int memif_link_make(struct memif_link *l, unsigned int rings, unsigned int log2, int *region_fd,
		    int ring_fd[2][PORT_MAX_QUEUES]);
uint32_t memif_link_ring_offset(const struct memif_link *l, const struct memif_queue *q);
/* Both sides, right before the link is published: our indexes, interrupt masks, and the buffers that we offer. */
void memif_link_start(struct memif_link *l);
void memif_link_free(struct memif_link *l);

/* memif_msg.c */
int memif_send(int fd, const struct memif_msg *msg, int pass_fd /* or -1 */);
/* One message; with *pass_fd a descriptor where the type has one, else -1. 0, -EAGAIN, -EPIPE at the end, or -errno and
 * *e: the connection is to be closed. */
int memif_receive(int fd, struct memif_msg *msg, int *pass_fd, struct error *e);
void memif_send_disconnect(int fd, const char *reason);
/* Text from the peer, for people: printable bytes only. */
void memif_text(char *out, size_t size, const char *in, size_t n);

/* memif_ctl.c */
uint64_t memif_now_ms(void);
struct memif_conn *memif_conn_new(int fd, void (*fn)(int fd, uint32_t events, void *arg));
/* Close with a reason, unpublish the link if it is live. `tell`: send DISCONNECT first. */
void memif_conn_close(struct memif_conn *c, const char *reason, bool tell);
/* The handshake is over: publish c->link. */
void memif_conn_live(struct memif_conn *c, const char *peer);
/* An unanswered connection is the oldest in the list. */
unsigned int memif_conn_handshakes(const struct memif_listener *at, struct memif_conn **oldest);
bool memif_retired_full(void);

/* memif_server.c */
int memif_listen(struct memif *m, const struct spec_port *spec, struct error *e);
void memif_unlisten(struct memif *m);
void memif_listeners_tick(void);

/* memif_client.c */
void memif_client_tick(struct memif *m, uint64_t now_ms);

#endif
