/* golden_family.c - see the header. */
#include "tests/numeric/engine/golden_family.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

const char *golden_family_path(unsigned slot, const char *name, const char *file)
{
    static char paths[4][256];
    (void)snprintf(paths[slot], sizeof paths[slot], "tests/golden/families/%s/%s", name, file);
    return paths[slot];
}

static const struct safetensor *find(const struct safetensors *st, const char *name)
{
    const struct safetensor *tensor = safetensors_find(st, text_of(name));
    if (tensor == NULL)
        fail_msg("no tensor %s", name);
    return tensor;
}

/* The tensor "<name>.<n>" of the expected values. */
static const struct safetensor *find_nth(const struct golden_family *g, const char *name, size_t n)
{
    char full[64];
    (void)snprintf(full, sizeof full, "%s.%zu", name, n);
    return find(&g->expected, full);
}

static void copy(const struct safetensor *tensor, enum safetensors_dtype dtype, size_t room_bytes,
                 void *out)
{
    assert_int_equal(tensor->dtype, dtype);
    assert_true(tensor->data.size <= room_bytes);
    memcpy(out, tensor->data.data, tensor->data.size);
}

static void read_sequence(struct golden_family *g, size_t n)
{
    struct golden_sequence *s = &g->sequences[n];
    const struct safetensor *ids = find_nth(g, "input_ids", n);
    const struct safetensor *positions = find_nth(g, "positions", n);
    const struct safetensor *logits = find_nth(g, "logits", n);
    copy(ids, SAFETENSORS_I32, sizeof s->tokens, s->tokens);
    copy(find_nth(g, "loss_mask", n), SAFETENSORS_U8, sizeof s->loss, s->loss);
    copy(positions, SAFETENSORS_I32, sizeof s->positions, s->positions);
    s->compared = (size_t)positions->shape[0];
    assert_int_equal(logits->dtype, SAFETENSORS_F32);
    assert_int_equal(logits->shape[0], s->compared);
    assert_int_equal(logits->shape[1], model_shape(g->model)->vocabulary);
    s->logits = (const float *)(const void *)logits->data.data;
    s->row = (struct train_row){.index = n,
                                .tokens = s->tokens,
                                .loss = s->loss,
                                .token_count = (size_t)ids->shape[0],
                                .segment_starts = &s->start,
                                .segment_count = 1};
    double losses[GOLDEN_SEQUENCES];
    copy(find(&g->expected, "base_loss"), SAFETENSORS_F64, sizeof losses, losses);
    s->base_loss = losses[n];
    copy(find(&g->expected, "adapter_loss"), SAFETENSORS_F64, sizeof losses, losses);
    s->adapter_loss = losses[n];
}

/* The modules of the adapter file by their full names, each of them a target. */
static void create_layout(struct golden_family *g, const struct safetensors *adapter)
{
    static const char prefix[] = "base_model.model.", suffix[] = ".lora_A.weight";
    static char names[128][128];
    const char *targets[COUNT_OF(names)];
    size_t count = 0;
    for (size_t i = 0; i < adapter->count; i++) {
        struct text key = adapter->tensors[i].name;
        size_t around = strlen(prefix) + strlen(suffix);
        if (key.size <= around || strcmp(key.data + key.size - strlen(suffix), suffix) != 0)
            continue;
        assert_true(count < COUNT_OF(names) && key.size - around < sizeof names[0]);
        (void)snprintf(names[count], sizeof names[0], "%.*s", (int)(key.size - around),
                       key.data + strlen(prefix));
        targets[count] = names[count];
        count++;
    }
    struct train_config config = {.method = TRAIN_METHOD_LORA,
                                  .rank = GOLDEN_RANK,
                                  .alpha = GOLDEN_ALPHA,
                                  .targets = targets,
                                  .target_count = count};
    OK(train_layout_create(g->model, &config, &g->layout, &et));
    assert_int_equal(train_layout_entry_count(g->layout), adapter->count);
}

/* Entries of the layout are tensors of the same names and shapes in both files. */
static void read_adapter(struct golden_family *g)
{
    struct safetensors adapter = {0};
    OK(safetensors_open(&adapter,
                        golden_family_path(0, g->name, "adapter/adapter_model.safetensors"), &et));
    create_layout(g, &adapter);
    g->count = train_layout_count(g->layout);
    g->values = mem_alloc(g->count, sizeof *g->values);
    g->gradients = mem_alloc(g->count, sizeof *g->gradients);
    assert_true(g->values != NULL && g->gradients != NULL);
    for (size_t e = 0; e < train_layout_entry_count(g->layout); e++) {
        const struct train_entry *entry = train_layout_entry(g->layout, e);
        const struct safetensor *value = find(&adapter, entry->name);
        const struct safetensor *gradient = find(&g->expected, entry->name);
        for (size_t d = 0; d < 2; d++) {
            assert_int_equal(value->shape[d], entry->shape[d]);
            assert_int_equal(gradient->shape[d], entry->shape[d]);
        }
        size_t bytes = entry->count * sizeof(float);
        copy(value, SAFETENSORS_F32, bytes, g->values + entry->offset);
        copy(gradient, SAFETENSORS_F32, bytes, g->gradients + entry->offset);
    }
    safetensors_close(&adapter);
}

struct golden_family *golden_family_open(const char *name)
{
    struct golden_family *g = mem_alloc(1, sizeof *g);
    assert_non_null(g);
    g->name = name;
    OK(model_open(golden_family_path(0, name, ""), &g->model, &et));
    OK(safetensors_open(&g->expected, golden_family_path(0, name, "expected.safetensors"), &et));
    for (size_t n = 0; n < GOLDEN_SEQUENCES; n++)
        read_sequence(g, n);
    read_adapter(g);
    return g;
}

struct golden_family *golden_family_of_test(void **state)
{
    return golden_family_open(*state);
}

void golden_family_close(struct golden_family *golden)
{
    safetensors_close(&golden->expected);
    train_layout_destroy(&golden->layout);
    model_destroy(&golden->model);
    mem_free(golden->values);
    mem_free(golden->gradients);
    mem_free(golden);
}

void golden_family_pack(const struct golden_family *golden, struct golden_packed *packed)
{
    size_t at = 0;
    for (size_t n = 0; n < GOLDEN_SEQUENCES; n++) {
        const struct train_row *row = &golden->sequences[n].row;
        packed->starts[n] = (uint32_t)at;
        memcpy(packed->tokens + at, row->tokens, row->token_count * sizeof *row->tokens);
        memcpy(packed->loss + at, row->loss, row->token_count);
        at += row->token_count;
    }
    packed->row = (struct train_row){.tokens = packed->tokens,
                                     .loss = packed->loss,
                                     .token_count = at,
                                     .segment_starts = packed->starts,
                                     .segment_count = GOLDEN_SEQUENCES};
}

void golden_family_rows(const struct golden_family *golden, struct train_row rows[GOLDEN_SEQUENCES])
{
    for (size_t n = 0; n < GOLDEN_SEQUENCES; n++)
        rows[n] = golden->sequences[n].row;
}

float *golden_family_logits(const struct model *model, const struct train_layout *layout,
                            const float *values, const struct train_row *row)
{
    struct kernel *kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    struct train_options options = {.rows_at_once = 1};
    struct train *train = NULL;
    float *logits = mem_alloc(row->token_count * model_shape(model)->vocabulary, sizeof *logits);
    assert_non_null(logits);
    OK(train_create(model, kernel, layout, &options, &train));
    OK(train_logits(train, values, row, logits, &et));
    train_destroy(&train);
    kernel_destroy(&kernel);
    return logits;
}
