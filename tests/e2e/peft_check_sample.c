/* peft_check_sample.c - an adapter folder of ours and the logits it must give, for peft_check.py.
 *
 *   peft_check_sample BASE OUT [rslora]
 *
 * Puts LoRA of rank 4 with values that are not zero on every linear module of the model in BASE,
 * writes it to OUT/adapter, and our logits of some tokens to OUT/logits.safetensors. The folder
 * must pass our own strict check first.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/peft/peft_verify.h"
#include "common/formats/peft/peft_write.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/train/train.h"

enum { TOKENS = 48, RANK = 4, SKIP = 77 };

struct sample {
    struct arena arena;
    struct kernel *kernel;
    struct model *model;
    struct train_layout *layout;
    struct train *train;
    struct safetensors base;
    float *values;
    float *logits;
    int64_t ids[TOKENS];
    struct peft_config config;
    struct err_text et;
};

static enum err open_all(struct sample *s, const char *base)
{
    static const char *const targets[] = {"all-linear"};
    const struct train_config config = {.method = TRAIN_METHOD_LORA,
                                        .rank = RANK,
                                        .alpha = s->config.lora_alpha,
                                        .rank_stabilized = s->config.use_rslora,
                                        .targets = targets,
                                        .target_count = 1};
    const struct train_options options = {.rows_at_once = 1};
    TRY(model_open(base, &s->model, &s->et));
    s->config.fan_in_fan_out = model_family(s->model)->linear == LINEAR_TURNED;
    TRY(safetensors_index_open_folder(&s->base, base, "model", &s->et));
    TRY(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &s->kernel));
    TRY(train_layout_create(s->model, &config, &s->layout, &s->et));
    TRY(train_create(s->model, s->kernel, s->layout, &options, &s->train));
    s->values = mem_alloc(train_layout_count(s->layout), sizeof *s->values);
    s->logits = mem_alloc(TOKENS * model_shape(s->model)->vocabulary, sizeof *s->logits);
    return s->values == NULL || s->logits == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
}

/* A start as in training, and a B that is not zero, so that every part of the adapter matters. */
static enum err compute(struct sample *s)
{
    const uint32_t start = 0;
    uint32_t tokens[TOKENS];
    uint8_t loss[TOKENS] = {0};
    size_t vocabulary = model_shape(s->model)->vocabulary;
    train_layout_values(s->layout, 7, s->values);
    for (size_t i = 0; i < train_layout_count(s->layout); i++)
        s->values[i] += (float)(i * 2654435761u % 2001) * 1e-4f - 0.1f;
    for (size_t i = 0; i < TOKENS; i++) {
        tokens[i] = (uint32_t)(i * 7919 % vocabulary);
        s->ids[i] = tokens[i];
    }
    const struct train_row row = {.tokens = tokens,
                                  .loss = loss,
                                  .token_count = TOKENS,
                                  .segment_starts = &start,
                                  .segment_count = 1};
    return train_logits(s->train, s->values, &row, s->logits, &s->et);
}

static enum err write_adapter(struct sample *s, const char *folder)
{
    size_t count = train_layout_entry_count(s->layout);
    size_t target_count = train_layout_target_count(s->layout);
    struct safetensor *tensors = arena_alloc(&s->arena, count, sizeof *tensors);
    struct text *targets = arena_alloc(&s->arena, target_count, sizeof *targets);
    if (tensors == NULL || targets == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct train_entry *e = train_layout_entry(s->layout, i);
        tensors[i] = (struct safetensor){
            .name = text_of(e->name),
            .dtype = SAFETENSORS_F32,
            .rank = (uint32_t)e->dimensions,
            .shape = {e->shape[0], e->shape[1]},
            .data = {(const uint8_t *)(s->values + e->offset), e->count * sizeof(float)}};
    }
    for (size_t i = 0; i < target_count; i++)
        targets[i] = text_of(train_layout_target(s->layout, i));
    s->config.target_modules = targets;
    s->config.target_count = target_count;
    const struct peft_card card = {.title = TEXT("peft_check"), .config = &s->config};
    const struct peft_content content = {&s->config, tensors, count, &card};
    TRY(peft_write_folder(folder, &content, &s->et));
    return peft_verify_folder(folder, &s->base, &s->et);
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
         .data = {(const uint8_t *)s->logits, TOKENS * vocabulary * sizeof(float)}},
    };
    const struct safetensors_content content = {.tensors = tensors, .count = COUNT_OF(tensors)};
    return safetensors_write_file(&content, path, &s->et);
}

static enum err run(struct sample *s, const char *base, const char *out)
{
    const char *adapter = folder_join(&s->arena, out, "adapter");
    const char *logits = folder_join(&s->arena, out, "logits.safetensors");
    if (adapter == NULL || logits == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(open_all(s, base));
    TRY(compute(s));
    TRY(write_adapter(s, adapter));
    return write_logits(s, logits);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: peft_check_sample BASE OUT [rslora]\n");
        return 2;
    }
    if (!folder_exists(argv[1])) {
        (void)printf("skipped: %s is not there\n", argv[1]);
        return SKIP;
    }
    struct sample s = {.config = {.base_model = TEXT("owner/base"),
                                  .r = RANK,
                                  .lora_alpha = 8.0,
                                  .use_rslora = argc > 3 && strcmp(argv[3], "rslora") == 0}};
    arena_init(&s.arena, 64 << 20);
    enum err err = run(&s, argv[1], argv[2]);
    if (err != ERR_OK)
        (void)fprintf(stderr, "%s\n", s.et.text[0] != '\0' ? s.et.text : error_text(err));
    mem_free(s.logits);
    mem_free(s.values);
    train_destroy(&s.train);
    train_layout_destroy(&s.layout);
    kernel_destroy(&s.kernel);
    safetensors_close(&s.base);
    model_destroy(&s.model);
    arena_fini(&s.arena);
    return err == ERR_OK ? 0 : 1;
}
