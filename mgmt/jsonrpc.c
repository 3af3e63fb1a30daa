/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "jsonrpc.h"

enum rpc_frame_state
rpc_frame_scan(struct rpc_frame *f, const char *line, size_t n, unsigned int depth_max)
{
	while (f->scanned < n) {
		char c = line[f->scanned++];
		/* A string cannot hold a raw newline (RFC 8259 section 7), so it ends the document wherever it stands.
		 */
		if (c == '\n')
			return RPC_FRAME_LINE;
		if (f->in_string) {
			if (f->escaped)
				f->escaped = false;
			else if (c == '\\')
				f->escaped = true;
			else if (c == '"')
				f->in_string = false;
			continue;
		}
		if (c == '"') {
			f->in_string = true;
		} else if (c == '[' || c == '{') {
			if (++f->depth > depth_max)
				return RPC_FRAME_DEEP;
		} else if ((c == ']' || c == '}') && f->depth > 0) {
			f->depth--;
		}
		if (c != ' ' && c != '\t' && c != '\r')
			f->begun = true;
	}
	return RPC_FRAME_MORE;
}

int
rpc_fail(struct rpc_error *e, int rc, int code, const char *fmt, ...)
{
	va_list ap;
	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->message, sizeof(e->message), fmt, ap);
	va_end(ap);
	return rc;
}

static int
parse_members(struct rpc_request *r, struct rpc_error *e)
{
	const char *key;
	json_t *value, *version = json_object_get(r->doc, "jsonrpc"), *method = json_object_get(r->doc, "method");
	r->id = json_object_get(r->doc, "id");
	if (r->id != NULL && !json_is_string(r->id) && !json_is_number(r->id) && !json_is_null(r->id)) {
		r->id = NULL;
		return rpc_fail(e, -EINVAL, RPC_INVALID_REQUEST, "id: must be a string, a number or null");
	}
	if (!json_is_string(version) || strcmp(json_string_value(version), "2.0") != 0)
		return rpc_fail(e, -EINVAL, RPC_INVALID_REQUEST, "jsonrpc: must be \"2.0\"");
	if (!json_is_string(method) || json_string_length(method) == 0)
		return rpc_fail(e, -EINVAL, RPC_INVALID_REQUEST,
				"method: must be the name of a verb, such as \"status\"");
	json_object_foreach(r->doc, key, value)
	{
		if (strcmp(key, "jsonrpc") != 0 && strcmp(key, "method") != 0 && strcmp(key, "id") != 0 &&
		    strcmp(key, "params") != 0)
			return rpc_fail(e, -EINVAL, RPC_INVALID_REQUEST,
					"%.64s: is not a member of a request (jsonrpc, id, method, params)", key);
	}
	r->method = json_string_value(method);
	r->params = json_object_get(r->doc, "params");
	/* From here on it is a request, and one without an id is not answered, whatever is wrong with it. */
	r->notification = r->id == NULL;
	if (r->params != NULL && !json_is_object(r->params))
		return rpc_fail(e, -EINVAL, RPC_INVALID_PARAMS, "params: must be an object");
	return 0;
}

int
rpc_request_parse(struct rpc_request *r, const char *line, size_t n, struct rpc_error *e)
{
	json_error_t je;
	memset(r, 0, sizeof(*r));
	/* jansson 2.14 takes a zero byte between tokens for the end and ignores the rest. */
	if (memchr(line, '\0', n) != NULL)
		return rpc_fail(e, -EBADMSG, RPC_PARSE_ERROR, "not JSON: a zero byte");
	r->doc = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	if (r->doc == NULL)
		return rpc_fail(e, -EBADMSG, RPC_PARSE_ERROR, "not JSON: %s, byte %d", je.text, je.position);
	if (json_is_array(r->doc))
		return rpc_fail(e, -EINVAL, RPC_INVALID_REQUEST,
				"batches are not supported: send one request per line");
	if (!json_is_object(r->doc))
		return rpc_fail(e, -EINVAL, RPC_INVALID_REQUEST, "a request must be an object");
	return parse_members(r, e);
}

void
rpc_request_free(struct rpc_request *r)
{
	json_decref(r->doc);
	memset(r, 0, sizeof(*r));
}

static char *
dump_line(json_t *doc, size_t *n)
{
	char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	if (text == NULL)
		return NULL;
	size_t len = strlen(text);
	char *line = realloc(text, len + 2);
	if (line == NULL) {
		free(text);
		return NULL;
	}
	line[len] = '\n';
	line[len + 1] = '\0';
	*n = len + 1;
	return line;
}

char *
rpc_result_line(json_t *id, json_t *result, size_t *n)
{
	char *line = dump_line(
		json_pack("{s:s, s:O, s:O}", "jsonrpc", "2.0", "id", id != NULL ? id : json_null(), "result", result),
		n);
	struct rpc_error e = {RPC_INTERNAL, "the answer cannot be written as JSON"};
	return line != NULL ? line : rpc_error_line(id, &e, n);
}

/* A message quotes what the peer sent and was cut to a length: both can leave bytes that are not UTF-8. */
static json_t *
message_text(const char *message)
{
	char clean[sizeof(((struct rpc_error *)0)->message)];
	json_t *text = json_string(message);
	if (text != NULL)
		return text;
	snprintf(clean, sizeof(clean), "%s", message);
	for (char *p = clean; *p != '\0'; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	return json_string(clean);
}

char *
rpc_error_line(json_t *id, const struct rpc_error *e, size_t *n)
{
	return dump_line(json_pack("{s:s, s:O, s:{s:i, s:o}}", "jsonrpc", "2.0", "id", id != NULL ? id : json_null(),
				   "error", "code", e->code, "message", message_text(e->message)),
			 n);
}

char *
rpc_event_line(json_t *event, size_t *n)
{
	return dump_line(json_pack("{s:s, s:s, s:O}", "jsonrpc", "2.0", "method", "event", "params", event), n);
}
