/* inspect_adapter.c - see inspect_adapter.h. */
#include "cli/command/inspect_adapter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"

/* What follows the last dot. */
static struct text last_part(struct text name)
{
    size_t at = name.size;
    while (at > 0 && name.data[at - 1] != '.')
        at--;
    return (struct text){name.data + at, name.size - at};
}

static void add_module(struct inspect_adapter *out, struct text name, uint64_t rank, uint64_t in,
                       uint64_t shape_out, double scale)
{
    struct inspect_adapter_group group = {
        .rank = rank, .in = in, .out = shape_out, .scale = scale, .count = 1};
    struct text part = last_part(name);
    (void)snprintf(group.name, sizeof group.name, "%.*s", TEXT_ARGS(part));
    out->module_count++;
    for (size_t i = 0; i < out->count; i++) {
        struct inspect_adapter_group *g = &out->groups[i];
        if (strcmp(g->name, group.name) == 0 && g->rank == rank && g->in == in &&
            g->out == shape_out && g->scale == scale) {
            g->count++;
            return;
        }
    }
    if (out->count < INSPECT_ADAPTER_GROUPS_MAX)
        out->groups[out->count++] = group;
}

static void say_base(struct inspect_facts *facts, struct text base)
{
    bool named = base.data != NULL;
    inspect_facts_say(facts, "base model", "%.*s", named ? (int)base.size : 7,
                      named ? base.data : "unnamed");
    if (named)
        inspect_facts_text(facts, "base_model", base);
}

void inspect_adapter_of_insert(const struct peft_insert_config *config, struct inspect_facts *facts)
{
    char scaling[HUMAN_BYTES];
    say_base(facts, config->base_model);
    if (config->kind == PEFT_INSERT_PROMPT) {
        inspect_facts_say(facts, "vectors", "%" PRIu32 " before each sample, %" PRIu32 " wide",
                          config->vector_count, config->width);
        inspect_facts_number(facts, "num_virtual_tokens", config->vector_count);
        return;
    }
    inspect_facts_say(facts, "adapter", "%.*s, %.*s", TEXT_ARGS(config->method),
                      TEXT_ARGS(config->non_linearity));
    inspect_facts_text(facts, "adapter", config->method);
    inspect_facts_say(facts, "width", "that of the model / %" PRIu32, config->reduction_factor);
    inspect_facts_number(facts, "reduction_factor", config->reduction_factor);
    inspect_facts_say(facts, "scaling", "%s", human_number(config->scaling, scaling));
}

void inspect_adapter_of_peft(const struct peft_adapter *adapter, struct inspect_facts *facts,
                             struct inspect_adapter *out)
{
    const struct peft_config *config = &adapter->config;
    char alpha[HUMAN_BYTES];
    out->count = out->module_count = 0;
    for (size_t i = 0; i < adapter->count; i++) {
        const struct peft_module *m = &adapter->modules[i];
        add_module(out, m->name, m->rank, m->in, m->out, m->scale);
    }
    say_base(facts, config->base_model);
    inspect_facts_say(facts, "rank", "%" PRIu32 "%s", config->r,
                      config->rank_pattern_count > 0 ? ", others by rank_pattern" : "");
    inspect_facts_number(facts, "r", config->r);
    inspect_facts_say(facts, "alpha", "%s%s%s", human_number(config->lora_alpha, alpha),
                      config->alpha_pattern_count > 0 ? ", others by alpha_pattern" : "",
                      config->use_rslora ? ", rank-stabilized" : "");
    inspect_facts_say(facts, "modules", "%zu", out->module_count);
}

static bool cut(struct text *name, const char *suffix)
{
    size_t size = strlen(suffix);
    if (name->size < size || memcmp(name->data + name->size - size, suffix, size) != 0)
        return false;
    name->size -= size;
    return true;
}

/* The pair of an A, as llama.cpp names them: X.weight.lora_a, X.weight.lora_b. */
static enum err read_pair(const struct gguf *gguf, const struct gguf_tensor *a, double alpha,
                          struct inspect_adapter *out, struct err_text *et)
{
    char name[GGUF_NAME_BYTES_MAX + 8];
    struct text module = a->name;
    if (!cut(&module, ".lora_a"))
        return ERR_OK;
    (void)snprintf(name, sizeof name, "%.*s.lora_b", TEXT_ARGS(module));
    const struct gguf_tensor *b = gguf_find_tensor(gguf, text_of(name));
    if (b == NULL)
        return error_set(et, ERR_FORMAT, "%s: %.*s has no %s", gguf->name, TEXT_ARGS(a->name),
                         name);
    if (a->rank != 2 || b->rank != 2 || a->shape[0] != b->shape[1] || a->shape[0] == 0)
        return error_set(et, ERR_SHAPE, "%s: %.*s and %s: expected (r, in) and (out, r)",
                         gguf->name, TEXT_ARGS(a->name), name);
    (void)cut(&module, ".weight");
    uint64_t rank = a->shape[0];
    add_module(out, module, rank, a->shape[1], b->shape[0], alpha != 0 ? alpha / (double)rank : 1);
    return ERR_OK;
}

enum err inspect_adapter_of_gguf(const struct gguf *gguf, struct inspect_facts *facts,
                                 struct inspect_adapter *out, struct err_text *et)
{
    struct text kind, arch = TEXT(""), base = TEXT("");
    double alpha = 0;
    char text[HUMAN_BYTES];
    out->count = out->module_count = 0;
    TRY(gguf_text(gguf, "adapter.type", &kind, et));
    if (!text_is(kind, "lora"))
        return error_set(et, ERR_UNSUPPORTED, "%s: adapter.type: expected lora, found %.*s",
                         gguf->name, TEXT_ARGS(kind));
    TRY(gguf_f64(gguf, "adapter.lora.alpha", &alpha, et));
    TRY(gguf_opt_text(gguf, "general.architecture", &arch, NULL, et));
    TRY(gguf_opt_text(gguf, "general.base_model.0.name", &base, NULL, et));
    for (size_t i = 0; i < gguf->tensor_count; i++)
        TRY(read_pair(gguf, &gguf->tensors[i], alpha, out, et));
    if (arch.size > 0) {
        inspect_facts_say(facts, "family", "%.*s", TEXT_ARGS(arch));
        inspect_facts_text(facts, "family", arch);
    }
    if (base.size > 0) {
        inspect_facts_say(facts, "base model", "%.*s", TEXT_ARGS(base));
        inspect_facts_text(facts, "base_model", base);
    }
    inspect_facts_say(facts, "alpha", "%s", human_number(alpha, text));
    inspect_facts_say(facts, "modules", "%zu", out->module_count);
    return ERR_OK;
}

enum err inspect_adapter_print(const struct inspect_adapter *adapter, struct invocation *invocation)
{
    static const struct table_column columns[] = {{"TARGET", TABLE_LEFT}, {"MODULES", TABLE_RIGHT},
                                                  {"R", TABLE_RIGHT},     {"OUT", TABLE_RIGHT},
                                                  {"IN", TABLE_RIGHT},    {"SCALE", TABLE_RIGHT}};
    struct table table;
    char text[HUMAN_BYTES];
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t i = 0; i < adapter->count; i++) {
        const struct inspect_adapter_group *g = &adapter->groups[i];
        table_row(&table);
        table_cell(&table, 0, STYLE_PLAIN, "%s", g->name);
        table_cell(&table, 1, STYLE_PLAIN, "%zu", g->count);
        table_cell(&table, 2, STYLE_PLAIN, "%" PRIu64, g->rank);
        table_cell(&table, 3, STYLE_PLAIN, "%" PRIu64, g->out);
        table_cell(&table, 4, STYLE_PLAIN, "%" PRIu64, g->in);
        table_cell(&table, 5, STYLE_PLAIN, "%s", human_number(g->scale, text));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

void inspect_adapter_write(const struct inspect_adapter *adapter, struct json_write *w)
{
    json_write_array_begin(w, "modules");
    for (size_t i = 0; i < adapter->count; i++) {
        const struct inspect_adapter_group *g = &adapter->groups[i];
        json_write_object_begin(w, NULL);
        json_write_text(w, "target", text_of(g->name));
        json_write_u64(w, "modules", g->count);
        json_write_u64(w, "r", g->rank);
        json_write_u64(w, "out", g->out);
        json_write_u64(w, "in", g->in);
        json_write_f64(w, "scale", g->scale);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}
