/* inspect_memory.c - writes recipes and asks what their tasks need (task_memory.h), so that this
 * and what `qctl submit` says of a recipe are one figure. */
#include "cli/command/inspect_memory.h"

#include <string.h>

#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/recipe/recipe.h"
#include "worker/engine/train/train_layout.h"
#include "worker/task/task_memory.h"
#include "worker/task/task_settings.h"

enum { NAME_BYTES = 64, ARENA_BYTES_MAX = 1 << 16 };

/* Weights, first moment, second moment, sum of gradients: f32 each. */
#define COORDINATOR_BYTES_PER_ELEMENT 16

#define LORA "adapter: lora\nlora_alpha: 16\n"

static const struct {
    const char *name;
    const char *keys; /* of the recipe */
    enum stage_kind kind;
    bool has_targets;
} ways[] = {
    {"evaluation", "adapter: none\n", STAGE_KIND_REFERENCE, false},
    {"LoRA r=8", LORA "lora_r: 8\n", STAGE_KIND_TRAIN, true},
    {"LoRA r=16", LORA "lora_r: 16\n", STAGE_KIND_TRAIN, true},
    {"LoRA r=64", LORA "lora_r: 64\n", STAGE_KIND_TRAIN, true},
    {"r=64, gradient_checkpointing", LORA "lora_r: 64\ngradient_checkpointing: true\n",
     STAGE_KIND_TRAIN, true},
    {"full training", "adapter: none\n", STAGE_KIND_TRAIN, false},
};
_Static_assert(COUNT_OF(ways) == INSPECT_MEMORY_ROWS, "room for every way");

static bool names_every_module(const char *targets)
{
    return targets == NULL || *targets == '\0' || strcmp(targets, "all-linear") == 0;
}

/* A way at a length as a recipe; what it does not say is settled as for everyone's. */
static enum err recipe_of(size_t way, const char *targets, uint32_t length, struct arena *arena,
                          struct recipe *out, struct err_text *et)
{
    const char *modules = "";
    if (ways[way].has_targets)
        modules = names_every_module(targets)
                      ? "lora_target_linear: true\n"
                      : arena_print(arena, "lora_target_modules: [%s]\n", targets);
    const char *text =
        modules == NULL ? NULL
                        : arena_print(arena,
                                      "base_model: model\ndatasets:\n  - path: rows.jsonl\n"
                                      "max_steps: 1\nlearning_rate: 1e-4\nsequence_len: %u\n%s%s",
                                      (unsigned)length, ways[way].keys, modules);
    if (text == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "out of memory");
    return recipe_read(span_of_text(text_of(text)), &(struct recipe_options){0}, out, et);
}

/* ERR_RECIPE: too narrow for the rank, or of a kind that only adapters train. */
static enum err count_trained(const struct recipe *recipe, const struct model *model, uint64_t *out,
                              struct err_text *et)
{
    struct train_config config;
    struct train_layout *layout = NULL;
    task_settings_train(recipe, &config);
    TRY(train_layout_create(model, &config, &layout, et));
    *out = train_layout_count(layout);
    train_layout_destroy(&layout);
    return ERR_OK;
}

static enum err plan_at(const struct model *model, const char *targets, size_t way, size_t length,
                        struct inspect_memory *out, struct err_text *et)
{
    struct inspect_memory_row *row = &out->rows[out->row_count];
    struct recipe recipe;
    struct arena arena;
    enum err err;
    arena_init(&arena, ARENA_BYTES_MAX);
    recipe = (struct recipe){0};
    TRY_OUT(recipe_of(way, targets, out->lengths[length], &arena, &recipe, et));
    if (ways[way].kind == STAGE_KIND_TRAIN)
        TRY_OUT(count_trained(&recipe, model, &row->trained_count, et));
    err = task_memory_of(&recipe, model, ways[way].kind, &row->worker_bytes[length], et);
out:
    recipe_fini(&recipe);
    arena_fini(&arena);
    return err;
}

enum err inspect_memory_plan(const struct model *model, const char *targets, uint64_t weight_bytes,
                             struct inspect_memory *out, struct err_text *et)
{
    static const uint32_t lengths[INSPECT_MEMORY_LENGTHS] = {512, 2048};
    size_t positions = model_shape(model)->positions;
    *out = (struct inspect_memory){.weight_bytes = weight_bytes,
                                   .every_module = names_every_module(targets)};
    for (size_t i = 0; i < COUNT_OF(lengths); i++)
        if (lengths[i] <= positions)
            out->lengths[out->length_count++] = lengths[i];
    if (out->length_count == 0)
        out->lengths[out->length_count++] = (uint32_t)positions;
    for (size_t way = 0; way < COUNT_OF(ways); way++) {
        struct inspect_memory_row *row = &out->rows[out->row_count];
        enum err err = ERR_OK;
        *row = (struct inspect_memory_row){.name = ways[way].name};
        for (size_t i = 0; i < out->length_count && err == ERR_OK; i++)
            err = plan_at(model, targets, way, i, out, et);
        if (err == ERR_RECIPE)
            continue; /* no way to run it */
        TRY(err);
        row->coordinator_bytes = row->trained_count * COORDINATOR_BYTES_PER_ELEMENT;
        out->row_count++;
    }
    return ERR_OK;
}

enum err inspect_memory_print(const struct inspect_memory *memory, struct invocation *invocation)
{
    char titles[INSPECT_MEMORY_LENGTHS][NAME_BYTES], text[HUMAN_BYTES];
    struct table_column columns[3 + INSPECT_MEMORY_LENGTHS] = {{"MEMORY", TABLE_LEFT},
                                                               {"TRAINED", TABLE_RIGHT}};
    struct table table;
    size_t count = 2;
    for (size_t i = 0; i < memory->length_count; i++) {
        (void)snprintf(titles[i], NAME_BYTES, "WORKER, SEQ %u", (unsigned)memory->lengths[i]);
        columns[count++] = (struct table_column){titles[i], TABLE_RIGHT};
    }
    columns[count++] = (struct table_column){"COORDINATOR", TABLE_RIGHT};
    table_init(&table, columns, count);
    for (size_t r = 0; r < memory->row_count; r++) {
        const struct inspect_memory_row *row = &memory->rows[r];
        table_row(&table);
        table_cell(&table, 0, STYLE_PLAIN, "%s", row->name);
        if (row->trained_count > 0)
            table_cell(&table, 1, STYLE_PLAIN, "%s", human_count(row->trained_count, text));
        for (size_t i = 0; i < memory->length_count; i++)
            table_cell(&table, 2 + i, STYLE_PLAIN, "%s",
                       human_size(memory->weight_bytes + row->worker_bytes[i], text));
        if (row->coordinator_bytes > 0)
            table_cell(&table, count - 1, STYLE_PLAIN, "%s",
                       human_size(row->coordinator_bytes, text));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    if (err == ERR_OK)
        (void)fprintf(
            invocation->out,
            "A worker's figure is for one row at a time: the weights (%s, mapped from their "
            "file and\nshared by the workers of a machine), the process, and what it computes "
            "with.%s\n",
            human_size(memory->weight_bytes, text),
            memory->every_module ? " LoRA sits on every linear module." : "");
    return err;
}

void inspect_memory_write(const struct inspect_memory *memory, struct json_write *w)
{
    json_write_object_begin(w, "memory");
    json_write_u64(w, "weight_bytes", memory->weight_bytes);
    json_write_array_begin(w, "plans");
    for (size_t r = 0; r < memory->row_count; r++) {
        const struct inspect_memory_row *row = &memory->rows[r];
        for (size_t i = 0; i < memory->length_count; i++) {
            json_write_object_begin(w, NULL);
            json_write_text(w, "name", text_of(row->name));
            json_write_u64(w, "sequence_len", memory->lengths[i]);
            json_write_u64(w, "trained_elements", row->trained_count);
            json_write_u64(w, "worker_bytes", row->worker_bytes[i]);
            json_write_u64(w, "coordinator_bytes", row->coordinator_bytes);
            json_write_object_end(w);
        }
    }
    json_write_array_end(w);
    json_write_object_end(w);
}
