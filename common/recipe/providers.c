/* providers.c - rows read by the schema, then checked for what they mean together. */
#include "common/recipe/providers.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/nearest.h"
#include "common/recipe/recipe_field.h"
#include "common/recipe/recipe_load.h"
#include "common/recipe/recipe_value.h"
#include "common/recipe/recipe_yaml.h"

enum { ARENA_BYTES_MAX = 8 << 20, NAME_BYTES_MAX = 32 };

#define PROVIDERS_WORD(enumerator, spelling) {.word = (spelling), .value = PROVIDER_##enumerator},
static const struct recipe_word kind_rows[] = {PROVIDER_KIND_WORDS(PROVIDERS_WORD)};
static const struct recipe_words words_provider_kind = {kind_rows, COUNT_OF(kind_rows)};

static const struct recipe_field provider_fields[] = {PROVIDER_ROWS(RECIPE_FIELD, provider_config)};
static const char *const no_names[] = {NULL};
static const struct recipe_shape provider_shape = {
    .name = "provider",
    .size_bytes = sizeof(struct provider_config),
    .fields = provider_fields,
    .field_count = COUNT_OF(provider_fields),
    .ignored = no_names,
    .unsupported = no_names,
};

/* Keys that only some kinds know. */
#define FOR(kind) (1u << PROVIDER_##kind)
static const struct {
    const char *key;
    unsigned kinds;
} bound_keys[] = {
    {"arguments", FOR(SSH) | FOR(SLURM) | FOR(KUBERNETES)},
    {"backlog", FOR(SLURM) | FOR(KUBERNETES)},
    {"context", FOR(KUBERNETES)},
    {"deployment", FOR(KUBERNETES)},
    {"hosts", FOR(SSH)},
    {"log", FOR(SLURM)},
    {"namespace", FOR(KUBERNETES)},
    {"partition", FOR(SLURM)},
    {"prologue", FOR(SLURM)},
    {"time_limit", FOR(SLURM)},
    {"workers_per_allocation", FOR(SLURM)},
};
#undef FOR

/* One provider at hand. */
struct row {
    const char *file_name;
    const struct recipe_node *node;
    struct provider_config *config;
    struct err_text *et;
};

static enum err fail(const struct row *row, const char *key, const char *text)
{
    const struct recipe_node *place = row->node;
    for (const struct recipe_node *n = row->node->first; n != NULL; n = n->next) {
        if (text_is(n->key, key))
            place = n;
    }
    return error_set(row->et, ERR_RECIPE, "%s:%u: %s: %s: %s", row->file_name,
                     place == row->node ? place->line : place->key_line,
                     row->config->name == NULL ? "provider" : row->config->name, key, text);
}

const char *providers_kind_word(enum provider_kind kind)
{
    return (size_t)kind < COUNT_OF(kind_rows) ? kind_rows[kind].word : "?";
}

static bool is_name(const char *name)
{
    size_t size = strlen(name);
    if (size == 0 || size > NAME_BYTES_MAX || name[0] == '-')
        return false;
    for (; *name != '\0'; name++) {
        bool is_letter = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
        if (!is_letter && !(*name >= '0' && *name <= '9') && *name != '-' && *name != '_')
            return false;
    }
    return true;
}

static enum err check_kind(const struct row *row)
{
    for (const struct recipe_node *n = row->node->first; n != NULL; n = n->next) {
        for (size_t i = 0; i < COUNT_OF(bound_keys); i++) {
            if (!text_is(n->key, bound_keys[i].key) ||
                (bound_keys[i].kinds >> row->config->kind & 1) != 0)
                continue;
            char text[96];
            (void)snprintf(text, sizeof text, "has no effect with kind %s; remove it",
                           providers_kind_word(row->config->kind));
            return fail(row, bound_keys[i].key, text);
        }
    }
    return ERR_OK;
}

static bool is_clean(const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    }
    return true;
}

/* Arguments, paths and names stand in argument lists and logs: one line each. The prologue is lines
 * of shell by its nature. */
static enum err check_texts(const struct row *row)
{
    const struct provider_config *config = row->config;
    const struct {
        const char *key, *text;
    } texts[] = {{"cache", config->cache},
                 {"context", config->context},
                 {"coordinator", config->coordinator},
                 {"deployment", config->deployment},
                 {"log", config->log},
                 {"namespace", config->namespace},
                 {"partition", config->partition},
                 {"program", config->program},
                 {"secret", config->secret},
                 {"server_key", config->server_key}};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (!is_clean(texts[i].text))
            return fail(row, texts[i].key, "expected one line without control characters");
        if (texts[i].text != NULL && texts[i].text[0] == '-')
            return fail(row, texts[i].key, "expected a name or a path, found an option");
    }
    for (size_t i = 0; i < config->arguments_count; i++) {
        if (!is_clean(config->arguments[i]))
            return fail(row, "arguments", "expected one line each, without control characters");
    }
    for (size_t i = 0; i < config->hosts_count; i++) {
        if (!is_clean(config->hosts[i]) || config->hosts[i][0] == '-')
            return fail(row, "hosts", "expected names of hosts, found an option");
    }
    return ERR_OK;
}

static enum err settle_max(const struct row *row, uint64_t processors)
{
    struct provider_config *config = row->config;
    if (config->kind == PROVIDER_SSH && config->hosts_count == 0)
        return fail(row, "hosts", "expected a list of hosts, found none");
    if (config->kind == PROVIDER_KUBERNETES && config->deployment == NULL)
        return fail(row, "deployment", "expected the name of a Deployment, found none");
    if (config->max == 0 && config->kind == PROVIDER_LOCAL)
        config->max = MIN(MAX(processors, (uint64_t)1), (uint64_t)LIMIT_WORKERS);
    if (config->max == 0 && config->kind == PROVIDER_SSH)
        config->max = MIN(config->hosts_count, (size_t)LIMIT_WORKERS);
    if (config->max == 0)
        return fail(row, "max", "expected how many workers it may have at most, found none");
    if (config->max < config->min)
        return fail(row, "min", "expected at most max");
    if (config->max < config->workers_per_allocation)
        return fail(row, "workers_per_allocation", "expected at most max");
    return ERR_OK;
}

bool providers_is_fixed(const struct provider_config *config, uint64_t *target)
{
    return strcmp(config->target, "auto") != 0 && recipe_value_u64(text_of(config->target), target);
}

static enum err settle(const struct row *row, uint64_t processors)
{
    struct provider_config *config = row->config;
    uint64_t target = 0;
    if (config->name == NULL)
        config->name = providers_kind_word(config->kind);
    if (!is_name(config->name))
        return fail(row, "name", "expected letters, digits, - and _, at most 32");
    TRY(check_kind(row));
    TRY(check_texts(row));
    TRY(settle_max(row, processors));
    if (strcmp(config->target, "auto") != 0 && !providers_is_fixed(config, &target))
        return fail(row, "target", "expected auto or a number of workers");
    if (target > config->max)
        return fail(row, "target", "expected at most max");
    return ERR_OK;
}

static enum err settle_all(struct providers *providers, const struct recipe_node *list,
                           const char *file_name, uint64_t processors, struct err_text *et)
{
    const struct recipe_node *node = list->first;
    for (size_t i = 0; i < providers->count; i++, node = node->next) {
        struct row row = {file_name, node, &providers->rows[i], et};
        TRY(settle(&row, processors));
        for (size_t k = 0; k < i; k++) {
            if (strcmp(providers->rows[k].name, providers->rows[i].name) == 0)
                return fail(&row, "name", "another provider has this name");
        }
    }
    return ERR_OK;
}

static enum err read_into(struct span text, const char *file_name, uint64_t processors,
                          struct providers *out, struct err_text *et)
{
    struct recipe_load load = {.arena = &out->arena, .place_name = file_name, .et = et};
    struct recipe_node *root = NULL;
    if (text.size > LIMIT_RECIPE_BYTES)
        return error_set(et, ERR_LIMIT, "%s: expected at most %d bytes, found %zu", file_name,
                         LIMIT_RECIPE_BYTES, text.size);
    TRY(recipe_yaml_parse(text, file_name, &out->arena, &root, et));
    const struct recipe_node *list = root == NULL ? NULL : root->first;
    if (list == NULL || root->kind != RECIPE_NODE_MAP || !text_is(list->key, "providers") ||
        list->kind != RECIPE_NODE_LIST)
        return error_set(et, ERR_RECIPE, "%s:%u: expected `providers:` and a list below it",
                         file_name, root == NULL ? 1 : root->line);
    if (list->next != NULL)
        return error_set(et, ERR_RECIPE, "%s:%u: %s: unknown key; only `providers` stands here",
                         file_name, list->next->key_line, list->next->key.data);
    if (list->child_count > LIMIT_PROVIDERS)
        return error_set(et, ERR_LIMIT, "%s:%u: expected at most %d providers, found %zu",
                         file_name, list->line, LIMIT_PROVIDERS, list->child_count);
    void *rows;
    TRY(recipe_load_objects(&load, list, &provider_shape, "providers", &rows, &out->count));
    out->rows = rows;
    return settle_all(out, list, file_name, processors, et);
}

enum err providers_read(struct span text, const char *file_name, uint64_t processors,
                        struct providers *out, struct err_text *et)
{
    struct providers made = {0};
    arena_init(&made.arena, ARENA_BYTES_MAX);
    enum err err = read_into(text, file_name, processors, &made, et);
    if (err == ERR_OUT_OF_MEMORY)
        (void)error_set(et, err, "%s: out of memory", file_name);
    if (err == ERR_OK)
        *out = made;
    else
        providers_fini(&made);
    return err;
}

enum err providers_preset(uint64_t processors, struct providers *out)
{
    struct text text = TEXT("providers: [{name: local, kind: local, threads: 1, target: 0}]");
    return providers_read(span_of_text(text), "providers", processors, out, NULL);
}

void providers_fini(struct providers *providers)
{
    arena_fini(&providers->arena);
    *providers = (struct providers){0};
}

const struct provider_config *providers_find(const struct providers *providers, struct text name)
{
    for (size_t i = 0; i < providers->count; i++) {
        if (text_is(name, providers->rows[i].name))
            return &providers->rows[i];
    }
    return NULL;
}

bool providers_key(size_t index, struct recipe_inner_key *out)
{
    if (index >= COUNT_OF(provider_fields))
        return false;
    const struct recipe_field *field = &provider_fields[index];
    *out = (struct recipe_inner_key){field->name, field->fallback, field->help};
    return true;
}
