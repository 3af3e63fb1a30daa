/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC 2.0 (jsonrpc.org/specification), one document per line. Private to mgmt. */
#ifndef WEFT_MGMT_JSONRPC_H
#define WEFT_MGMT_JSONRPC_H

#include <weft/mgmt.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Looks at a line as its bytes arrive: where it ends, and how deep it nests, so that a million brackets never reach a
 * parser. All zero before the first byte of a line.
 */
struct rpc_frame {
	size_t scanned; /* bytes of the line looked at */
	unsigned int depth;
	bool in_string, escaped;
	bool begun; /* something but white space was seen */
};

enum rpc_frame_state {
	RPC_FRAME_MORE, /* the line goes on */
	RPC_FRAME_LINE, /* line[scanned - 1] is the newline that ends it */
	RPC_FRAME_DEEP, /* nested deeper than depth_max */
};

/* Look at line[f->scanned .. n). */
enum rpc_frame_state rpc_frame_scan(struct rpc_frame *f, const char *line, size_t n, unsigned int depth_max);

struct rpc_request {
	json_t *doc;       /* owns what follows */
	json_t *id;        /* borrowed from doc; NULL: none known, answered as null */
	bool notification; /* wants no answer */
	const char *method;
	json_t *params; /* an object, or NULL */
};

/*
 * 0; -EBADMSG: not JSON (nothing more can be expected of the peer); -EINVAL: JSON, but not a request. On failure *e
 * says why and r->id and r->notification still tell whom to answer. Always to be followed by rpc_request_free().
 */
int rpc_request_parse(struct rpc_request *r, const char *line, size_t n, struct rpc_error *e);
void rpc_request_free(struct rpc_request *r);

/* Fill e; the message is printed. Returns rc. */
__attribute__((format(printf, 4, 5))) int rpc_fail(struct rpc_error *e, int rc, int code, const char *fmt, ...);

/*
 * A line to send, newline included, from malloc; *n its length. id NULL is null. NULL only without memory. Nothing is
 * consumed.
 */
char *rpc_result_line(json_t *id, json_t *result, size_t *n);
char *rpc_error_line(json_t *id, const struct rpc_error *e, size_t *n);
char *rpc_event_line(json_t *event, size_t *n);

#ifdef __cplusplus
}
#endif

#endif
