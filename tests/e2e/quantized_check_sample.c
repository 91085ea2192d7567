/* quantized_check_sample.c - a quantized folder of ours and our logits, for quantized_check.py.
 *
 *   quantized_check_sample BASE OUT KIND
 *
 * Quantizes the linear layers of the model in BASE as KIND says (quantized_maker.h), writes the
 * folder OUT/model and the logits that our engine has of it to OUT/logits.safetensors. Without
 * arguments it lists the kinds.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/quantized_maker.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/train/train.h"

enum { TOKENS = 48 };

struct sample {
    struct arena arena;
    struct kernel *kernel;
    struct model *model;
    struct train_layout *layout;
    struct train *train;
    float *logits;
    int64_t ids[TOKENS];
    struct err_text et;
};

static enum err compute(struct sample *s)
{
    static const char *const targets[] = {"all-linear"};
    const struct train_config config = {
        .method = TRAIN_METHOD_LORA, .rank = 1, .alpha = 1, .targets = targets, .target_count = 1};
    const struct train_options options = {.rows_at_once = 1};
    const uint32_t start = 0;
    uint32_t tokens[TOKENS];
    uint8_t loss[TOKENS] = {0};
    size_t vocabulary = model_shape(s->model)->vocabulary;
    TRY(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &s->kernel));
    TRY(train_layout_create(s->model, &config, &s->layout, &s->et));
    TRY(train_create(s->model, s->kernel, s->layout, &options, &s->train));
    float *values = arena_alloc(&s->arena, train_layout_count(s->layout), sizeof *values);
    s->logits = arena_alloc(&s->arena, TOKENS * vocabulary, sizeof *s->logits);
    if (values == NULL || s->logits == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < TOKENS; i++)
        s->ids[i] = tokens[i] = (uint32_t)(i * 7919 % vocabulary);
    const struct train_row row = {.tokens = tokens,
                                  .loss = loss,
                                  .token_count = TOKENS,
                                  .segment_starts = &start,
                                  .segment_count = 1};
    return train_logits(s->train, values, &row, s->logits, &s->et);
}

static enum err write_logits(struct sample *s, const char *path)
{
    size_t vocabulary = model_shape(s->model)->vocabulary;
    const struct safetensor tensors[] = {
        {.name = TEXT("input_ids"),
         .dtype = SAFETENSORS_I64,
         .rank = 1,
         .shape = {TOKENS},
         .data = {(const uint8_t *)s->ids, sizeof s->ids}},
        {.name = TEXT("logits"),
         .dtype = SAFETENSORS_F32,
         .rank = 2,
         .shape = {TOKENS, vocabulary},
         .data = {(const uint8_t *)s->logits, TOKENS * vocabulary * sizeof *s->logits}},
    };
    const struct safetensors_content content = {.tensors = tensors, .count = COUNT_OF(tensors)};
    return safetensors_write_file(&content, path, &s->et);
}

static enum err run(struct sample *s, const char *base, const char *out, const char *name)
{
    struct quantized_kind kind;
    const char *model = folder_join(&s->arena, out, "model");
    const char *logits = folder_join(&s->arena, out, "logits.safetensors");
    if (model == NULL || logits == NULL)
        return ERR_OUT_OF_MEMORY;
    if (!quantized_maker_kind(name, &kind))
        return error_set(&s->et, ERR_USAGE, "%s: no such kind", name);
    TRY(quantized_maker_write(&kind, base, model, &s->et));
    TRY(model_open(model, &s->model, &s->et));
    TRY(compute(s));
    return write_logits(s, logits);
}

int main(int argc, char **argv)
{
    static struct sample s;
    if (argc != 4) {
        for (size_t i = 0; quantized_maker_name(i) != NULL; i++)
            printf("%s\n", quantized_maker_name(i));
        return argc == 1 ? 0 : 2;
    }
    arena_init(&s.arena, SIZE_MAX);
    enum err err = run(&s, argv[1], argv[2], argv[3]);
    if (err != ERR_OK)
        (void)fprintf(stderr, "quantized_check_sample: %s: %s\n", error_name(err), s.et.text);
    train_destroy(&s.train);
    train_layout_destroy(&s.layout);
    model_destroy(&s.model);
    kernel_destroy(&s.kernel);
    arena_fini(&s.arena);
    return err == ERR_OK ? 0 : 1;
}
