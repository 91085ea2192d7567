/* inspect_memory.c - asks the engine for its own plans. */
#include "cli/command/inspect_memory.h"

#include <string.h>

#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "worker/engine/train/train.h"

enum { TARGETS_MAX = 16, NAME_BYTES = 64 };

/* Weights, first moment, second moment, sum of gradients: f32 each. */
#define COORDINATOR_BYTES_PER_ELEMENT 16

static const struct {
    const char *name;
    size_t rank; /* 0: not a LoRA */
    bool full;
    bool checkpointing;
} ways[] = {
    {"evaluation", 0, false, false},
    {"LoRA r=8", 8, false, false},
    {"LoRA r=16", 16, false, false},
    {"LoRA r=64", 64, false, false},
    {"r=64, gradient_checkpointing", 64, false, true},
    {"full training", 0, true, false},
};
_Static_assert(COUNT_OF(ways) == INSPECT_MEMORY_ROWS, "room for every way");

/* Names between commas. */
struct targets {
    char storage[TARGETS_MAX][NAME_BYTES];
    const char *names[TARGETS_MAX];
    size_t count;
};

static void split(const char *list, struct targets *out)
{
    out->count = 0;
    while (list != NULL && *list != '\0' && out->count < TARGETS_MAX) {
        size_t size = strcspn(list, ",");
        (void)snprintf(out->storage[out->count], NAME_BYTES, "%.*s", (int)size, list);
        out->names[out->count] = out->storage[out->count];
        out->count++;
        list += size + (list[size] == ',');
    }
    if (out->count == 0)
        out->names[out->count++] = "all-linear";
}

static enum err plan_way(const struct model *model, const struct targets *targets, size_t way,
                         struct inspect_memory *out, struct err_text *et)
{
    struct inspect_memory_row *row = &out->rows[out->row_count];
    struct train_layout *layout = NULL;
    const struct train_options options = {.rows_at_once = 1,
                                          .checkpointing = ways[way].checkpointing};
    const struct train_config config = {.method =
                                            ways[way].full ? TRAIN_METHOD_FULL : TRAIN_METHOD_LORA,
                                        .rank = ways[way].rank,
                                        .alpha = 16,
                                        .targets = targets->names,
                                        .target_count = targets->count};
    *row = (struct inspect_memory_row){.name = ways[way].name};
    if (ways[way].full || ways[way].rank > 0) {
        /* Too narrow for the rank, or of a kind that only adapters train: no way to run it. */
        enum err err = train_layout_create(model, &config, &layout, et);
        if (err == ERR_RECIPE)
            return ERR_OK;
        TRY(err);
        row->trained_count = train_layout_count(layout);
        row->coordinator_bytes = row->trained_count * COORDINATOR_BYTES_PER_ELEMENT;
    }
    for (size_t i = 0; i < out->length_count; i++)
        row->worker_bytes[i] = train_memory_estimate(model, layout, &options, out->lengths[i]) +
                               row->trained_count * sizeof(float);
    train_layout_destroy(&layout);
    out->row_count++;
    return ERR_OK;
}

enum err inspect_memory_plan(const struct model *model, const char *targets, uint64_t weight_bytes,
                             struct inspect_memory *out, struct err_text *et)
{
    static const uint32_t lengths[INSPECT_MEMORY_LENGTHS] = {512, 2048};
    size_t positions = model_shape(model)->positions;
    struct targets list;
    *out = (struct inspect_memory){.weight_bytes = weight_bytes};
    for (size_t i = 0; i < COUNT_OF(lengths); i++)
        if (lengths[i] <= positions)
            out->lengths[out->length_count++] = lengths[i];
    if (out->length_count == 0)
        out->lengths[out->length_count++] = (uint32_t)positions;
    split(targets, &list);
    out->every_module = strcmp(list.names[0], "all-linear") == 0;
    for (size_t i = 0; i < COUNT_OF(ways); i++)
        TRY(plan_way(model, &list, i, out, et));
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
            "file and\nshared by the workers of a machine) and what it computes with.%s\n",
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
