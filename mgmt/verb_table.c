/* SPDX-License-Identifier: Apache-2.0 */
/* THE table of verbs and their parameters. */
#include "mgmt_impl.h"

#define OPTION_FIELDS(T)                                                                                               \
	{.name = "ifEpoch",                                                                                            \
	 .type = FIELD_NUMBER,                                                                                         \
	 FIELD_AT(T, options.if_epoch),                                                                                \
	 .has = offsetof(T, options.has_if_epoch),                                                                     \
	 .help = "refuse unless this is the epoch now"},                                                               \
	{                                                                                                              \
		.name = "dryRun", .type = FIELD_BOOL, .need = FIELD_DEFAULT, FIELD_AT(T, options.dry_run),             \
		.help = "say whether it would do, and change nothing"                                                  \
	}
#define KIND_FIELD(T, member)                                                                                          \
	{                                                                                                              \
		.name = "kind", .type = FIELD_WORD, .need = FIELD_REQUIRED, FIELD_AT(T, member), .words = kind_words,  \
		.help = "the object's kind"                                                                            \
	}
#define NAME_FIELD(T, member)                                                                                          \
	{                                                                                                              \
		.name = "name", .type = FIELD_NAME, .need = FIELD_REQUIRED, FIELD_AT(T, member),                       \
		.help = "the object's name"                                                                            \
	}

static const struct field apply_fields[] = {
	{.name = "objects",
	 .type = FIELD_JSON,
	 .need = FIELD_REQUIRED,
	 FIELD_AT(struct apply_params, objects),
	 .help = "a list of whole objects"},
	{.name = "prune",
	 .type = FIELD_BOOL,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct apply_params, prune),
	 .help = "the list is all that owner wants: delete its other objects"},
	{.name = "owner",
	 .type = FIELD_NAME,
	 FIELD_AT(struct apply_params, owner),
	 .max = 63,
	 .help = "owner of the objects that name none; needed for prune"},
	OPTION_FIELDS(struct apply_params),
};
static const struct field_table apply_table = FIELD_TABLE(apply_fields, struct apply_params, NULL);

static const struct field patch_params_fields[] = {
	KIND_FIELD(struct patch_params, kind),
	NAME_FIELD(struct patch_params, name),
	{.name = "set",
	 .type = FIELD_JSON,
	 FIELD_AT(struct patch_params, set),
	 .help = "{field: value}; null takes a field away; done first"},
	{.name = "remove",
	 .type = FIELD_JSON,
	 FIELD_AT(struct patch_params, remove),
	 .help = "{field: [...]}: entries of lists, or their keys; done second"},
	{.name = "add",
	 .type = FIELD_JSON,
	 FIELD_AT(struct patch_params, add),
	 .help = "{field: [...]}: entries of lists; one with a known key replaces the old; done last"},
	OPTION_FIELDS(struct patch_params),
};
static const struct field_table patch_table = FIELD_TABLE(patch_params_fields, struct patch_params, NULL);

static const struct field named_fields[] = {KIND_FIELD(struct named, kind), NAME_FIELD(struct named, name)};
static const struct field_table named_table = FIELD_TABLE(named_fields, struct named, NULL);

static const struct field delete_fields[] = {
	{.name = "kind",
	 .type = FIELD_WORD,
	 FIELD_AT(struct delete_params, one.kind),
	 .has = offsetof(struct delete_params, has_kind),
	 .words = kind_words,
	 .help = "the object's kind"},
	{.name = "name", .type = FIELD_NAME, FIELD_AT(struct delete_params, one.name), .help = "the object's name"},
	{.name = "objects",
	 .type = FIELD_OBJECT,
	 FIELD_LIST(struct delete_params, objects, n_objects),
	 .has = offsetof(struct delete_params, has_objects),
	 .sub = &named_table,
	 .help = "or several: all of them or none"},
	OPTION_FIELDS(struct delete_params),
};
static const struct field_table delete_table = FIELD_TABLE(delete_fields, struct delete_params, NULL);

static const struct field list_fields[] = {
	KIND_FIELD(struct list_params, kind),
	{.name = "limit",
	 .type = FIELD_NUMBER,
	 .need = FIELD_DEFAULT,
	 FIELD_AT(struct list_params, limit),
	 .min = 1,
	 .max = 10000,
	 .fallback = 1000,
	 .help = "how many at most"},
	{.name = "continue",
	 .type = FIELD_NAME,
	 FIELD_AT(struct list_params, token),
	 .help = "as the answer before said"},
	{.name = "owner",
	 .type = FIELD_NAME,
	 FIELD_AT(struct list_params, owner),
	 .max = 63,
	 .help = "only what it owns"},
};
static const struct field_table list_table = FIELD_TABLE(list_fields, struct list_params, NULL);

static const struct field drops_fields[] = {
	{.name = "port", .type = FIELD_NAME, FIELD_AT(struct drops_params, port), .help = "only at this Port"},
};
static const struct field_table drops_table = FIELD_TABLE(drops_fields, struct drops_params, NULL);

/* Looked at by the control socket, which serves it; here for `schema`. */
struct watch_params {
	const uint32_t *kinds;
	uint32_t n_kinds;
};
static const struct field watch_fields[] = {
	{.name = "kinds",
	 .type = FIELD_WORD,
	 FIELD_LIST(struct watch_params, kinds, n_kinds),
	 .words = kind_words,
	 .help = "only events of these kinds"},
};
static const struct field_table watch_table = FIELD_TABLE(watch_fields, struct watch_params, NULL);

static const struct field_table no_params = {0};

const struct verb verbs[] = {
	{"apply", MGMT_OPERATOR, true, verb_apply, &apply_table, "make a batch of objects so: all of it or nothing"},
	{"patch", MGMT_OPERATOR, true, verb_patch, &patch_table, "change parts of one object"},
	{"delete", MGMT_OPERATOR, true, verb_delete, &delete_table, "remove objects that nothing else uses"},
	{"get", MGMT_READ_ONLY, false, verb_get, &named_table, "one object and its status"},
	{"list", MGMT_READ_ONLY, false, verb_list, &list_table, "objects of a kind, by name"},
	{"watch", MGMT_READ_ONLY, false, NULL, &watch_table, "tell of every change from now on"},
	{"schema", MGMT_READ_ONLY, false, verb_schema, &no_params, "kinds, fields, verbs and drop reasons"},
	{"status", MGMT_READ_ONLY, false, verb_status, &no_params, "how the switch is, in one page"},
	{"stats", MGMT_READ_ONLY, false, verb_stats, &no_params, "every counter"},
	{"drops", MGMT_READ_ONLY, false, verb_drops, &drops_table, "what was dropped, where and why"},
};
const unsigned int n_verbs = sizeof(verbs) / sizeof(verbs[0]);

const struct verb *
verb_find(const char *name)
{
	for (unsigned int i = 0; i < n_verbs; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}
