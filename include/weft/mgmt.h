/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Management: the objects, the verbs that change and show them, and where they are kept. Knows nothing of sockets
 * (server.h carries requests here); tests and main call it directly.
 */
#ifndef WEFT_MGMT_H
#define WEFT_MGMT_H

#include <jansson.h>

#include <weft/base.h>
#include <weft/spec.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the peer of a request may do. Each includes the ones before it. */
enum mgmt_role {
	MGMT_NOBODY,    /* refused at the door */
	MGMT_READ_ONLY, /* get, list, watch, schema, status, stats */
	MGMT_OPERATOR,  /* apply, patch, delete */
	MGMT_ADMIN,     /* large requests */
};

struct rpc_error {
	int code;             /* JSON-RPC 2.0 section 5.1, or one of RPC_* */
	char message[544];    /* "objects[3].backends[0].port: 70000 is not in 1..65535" */
};
#define RPC_PARSE_ERROR (-32700)
#define RPC_INVALID_REQUEST (-32600)
#define RPC_NO_METHOD (-32601)
#define RPC_INVALID_PARAMS (-32602)
#define RPC_INTERNAL (-32603)
#define RPC_REFUSED (-32000)    /* valid, but not possible now: in use, port cannot be opened */
#define RPC_NOT_FOUND (-32001)
#define RPC_CONFLICT (-32002)   /* ifEpoch does not match */
#define RPC_FORBIDDEN (-32003)  /* the role does not allow it */
#define RPC_TOO_LARGE (-32004)
#define RPC_TIMEOUT (-32005)

struct mgmt;

struct mgmt_options {
	const char *state_dir;  /* objects.db lives there; NULL: nothing is kept (tests) */
	const char *version;
	const char *sysctl_dir; /* NULL: /proc/sys/net/ipv4 (tests have their own) */
	/* Extra members for the answer of `status`, from main (memory, hugepages, workers' cores). May be NULL. New reference. */
	json_t *(*status_extra)(void *arg);
	void *arg;
};

/* EAL, rcu, config, ports and workers are up. Replays the store through the same apply. 0 or -errno with *e. */
int mgmt_start(struct mgmt **out, const struct mgmt_options *o, struct error *e);
/* Closes all ports that apply opened. */
void mgmt_stop(struct mgmt *m);

/*
 * One request. Returns the result (new reference), or NULL with *e filled. `params` may be NULL. Thread-safe: verbs that build (mgmt_builds)
 * run one at a time and may take seconds; the others never wait for them.
 */
json_t *mgmt_call(struct mgmt *m, enum mgmt_role role, const char *method, json_t *params, struct rpc_error *e);

/*
 * What goes in and what comes out (the verbs' tables are in mgmt/verb_table.c; `schema` tells all of it to a program):
 *   apply   {"objects":[...], "prune":false, "owner":"cni", "ifEpoch":n, "dryRun":false}
 *   patch   {"kind","name", "add":{field:[...]}, "remove":{field:[...]}, "set":{field:value}, "ifEpoch", "dryRun"}
 *           an entry of "remove" is the entry itself or its key (name, ip, prefix); "set" to null takes a field away
 *   delete  {"kind","name"} or {"objects":[{"kind","name"},...]}, "ifEpoch", "dryRun"
 *           each of these answers {"epoch","applied","unchanged","deleted"}
 *   get     {"kind","name"} -> {"object":{"kind","name","owner"?,...spec...,"status":STATUS},"epoch"}
 *           STATUS: {"generation","epoch","phase":"ready|pending|failed|closed","message"?,"warnings"?:[...]}, and of a Port that is open:
 *           "port":{"id","up","peer","rx","rxBytes","tx","txBytes","created","punted","dropped"}
 *           and of a Policy: "verdicts":{"accepted","denied","passed","wouldAccept","wouldDeny","wouldPass"}, how often for new connections
 *           ("would": with "enforce":false), and "rules":[{"rule":"ingress[0]|ingress isolation|...","name"?,"accepted"|"denied"|"passed",
 *           "would..."?}] (`get` alone); absent while a change is being built
 *   list    {"kind", "limit":1000, "continue":token, "owner"} -> {"objects":[...],"continue"?:token,"epoch"}, by name
 *   schema  -> {"version","common":[FIELD],"kinds":[{"kind","help","fields":[FIELD]}],"verbs":[{"verb","role","help","params":[FIELD]}],
 *              "drops":[{"reason","help"}]}
 *           FIELD: {"name","type","list"?,"need":"required|optional|default","default"?,"min"?,"max"?,"maxItems"?,"words"?:[...],"key"?,"column"?,
 *              "fields"?:[FIELD],"help"}
 *   status  -> {"version","uptimeSeconds","epoch","objects":{kind:n},"workers":[{"id","core","numa","rxQueues":[{"port","queue"}]}],
 *              "connections":{"used","capacity","halfOpen","perEndpoint","evicted","refusedFull","refusedQuota",
 *              "warning"?,"holders"?:[{"kind","name","used"}]},"books":{"rx","created","tx","dropped","merged","punted","held","difference"}, extra}
 *   stats   -> {"workers":[{"id","core","turns","busyTurns","busyCycles","packets","bursts","handed","decided","connCreated","connExpired",
 *              "held","eventsLost","stages":[{"name","cycles","packets"}]}],"policies":[{"name","accepted",... as verdicts}],"ports":[{"name","rx","rxBytes","rxBad","tx","txBytes","created","punted",
 *              "dropped","drops":{reason:n}}],"tscHz"}
 *   drops   {"port"?} -> {"drops":[{"port","reason","packets","help"}],"total":[{"reason","packets","help"}]}, none that is zero;
 *           total also counts ports that are gone
 */

/*
 * After a large request has been freed, by the thread that freed it: malloc sorts what is left of it when it is next asked for a large
 * block, and the next change would wait for that (100 ms after 50,000 services).
 */
void mgmt_tidy(void);

/* True for apply, patch, delete: to be run on the builder's thread. */
bool mgmt_builds(const char *method);

/*
 * Events for `watch`: fn is called (any thread) with a JSON object {"event":"applied|deleted|port|connections","kind","name","epoch",...} it must not keep without
 * a reference of its own. One listener: the server. A policy with "log" tells {"event":"policy","kind":"Policy","name","rule","ruleName"?,"time",
 * "verdict":"accept|deny","direction","dryRun","established","endpoint","protocol","from","fromPort"?,"to","toPort"?,"backend"?,"backendPort"?}, at a limited
 * rate; what was too much is told as {"event":"policyLost","kind":"Policy","count"}.
 */
void mgmt_on_event(struct mgmt *m, void (*fn)(json_t *event, void *arg), void *arg);

/* For port_env.changed: the peer of a port came or left. Any thread, also under the port lock; m may be NULL. */
void mgmt_port_event(struct mgmt *m, const char *name, bool up);

#ifdef __cplusplus
}
#endif

#endif
