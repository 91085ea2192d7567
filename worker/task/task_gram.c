/* task_gram.c - sums of a shard, written, read and added. */
#include "worker/task/task_gram.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_write.h"

#define NOTE_TOKENS "tokens"

enum { TOKENS_MAX_DIGITS = 18 };

enum err task_gram_init(struct task_gram *gram, struct kernel *kernel, size_t columns,
                        struct arena *arena)
{
    *gram = (struct task_gram){.columns = columns};
    gram->sum_abs = arena_alloc(arena, columns, sizeof *gram->sum_abs);
    gram->max_abs = arena_alloc(arena, columns, sizeof *gram->max_abs);
    if (gram->sum_abs == NULL || gram->max_abs == NULL)
        return ERR_OUT_OF_MEMORY;
    return calibrate_gram_init(&gram->gram, kernel, columns);
}

void task_gram_fini(struct task_gram *gram)
{
    calibrate_gram_fini(&gram->gram);
}

void task_gram_add(struct task_gram *gram, const struct calibrate_leaf *leaf)
{
    calibrate_gram_add(&gram->gram, leaf->tokens, leaf->x);
    for (size_t i = 0; i < gram->columns; i++) {
        gram->sum_abs[i] += leaf->sum_abs[i];
        gram->max_abs[i] = MAX(gram->max_abs[i], MAX(leaf->max[i], -leaf->min[i]));
    }
    gram->tokens += leaf->tokens;
}

static struct span span_of(const void *data, size_t count, size_t size)
{
    return (struct span){data, count * size};
}

enum err task_gram_put(struct task_run *run, const struct task_gram *gram, const char *name,
                       struct err_text *et)
{
    char tokens[32];
    (void)snprintf(tokens, sizeof tokens, "%" PRIu64, gram->tokens);
    const struct safetensor tensors[] = {
        {TEXT("gram"),
         SAFETENSORS_F64,
         1,
         {gram->gram.count},
         span_of(gram->gram.sums, gram->gram.count, sizeof(double))},
        {TEXT("max_abs"),
         SAFETENSORS_F32,
         1,
         {gram->columns},
         span_of(gram->max_abs, gram->columns, sizeof(float))},
        {TEXT("sum_abs"),
         SAFETENSORS_F64,
         1,
         {gram->columns},
         span_of(gram->sum_abs, gram->columns, sizeof(double))},
    };
    const struct safetensors_note note = {TEXT(NOTE_TOKENS), text_of(tokens)};
    const struct safetensors_content content = {
        .tensors = tensors, .count = COUNT_OF(tensors), .notes = &note, .note_count = 1};
    struct bytes text;
    bytes_init(&text, SIZE_MAX);
    enum err err = safetensors_write(&content, file_sink_bytes, &text);
    if (err == ERR_OK)
        err = task_run_output(run, name, bytes_span(&text), false, et);
    bytes_fini(&text);
    return err;
}

static enum err find(const struct safetensors *file, const char *input, struct text name,
                     enum safetensors_dtype dtype, size_t count, const void **out,
                     struct err_text *et)
{
    const struct safetensor *t = safetensors_find(file, name);
    if (t == NULL || t->dtype != dtype || t->rank != 1 || t->shape[0] != count)
        return error_set(et, ERR_SHAPE, "%s: tensor %.*s: expected %zu numbers of its type", input,
                         TEXT_ARGS(name), count);
    *out = t->data.data;
    return ERR_OK;
}

static bool read_tokens(const struct safetensors *file, uint64_t *out)
{
    struct text text = safetensors_note_of(file, NOTE_TOKENS);
    *out = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(text.data[i] - '0');
    }
    return text.size > 0 && text.size <= TOKENS_MAX_DIGITS;
}

static enum err add_file(struct task_gram *gram, struct span content, const char *input,
                         struct err_text *et)
{
    struct safetensors file;
    const void *sums = NULL, *sum_abs = NULL, *max_abs = NULL;
    uint64_t tokens;
    TRY(safetensors_parse(&file, content, input, et));
    enum err err;
    TRY_OUT(find(&file, input, TEXT("gram"), SAFETENSORS_F64, gram->gram.count, &sums, et));
    TRY_OUT(find(&file, input, TEXT("sum_abs"), SAFETENSORS_F64, gram->columns, &sum_abs, et));
    TRY_OUT(find(&file, input, TEXT("max_abs"), SAFETENSORS_F32, gram->columns, &max_abs, et));
    if (!read_tokens(&file, &tokens)) {
        err = error_set(et, ERR_FORMAT, "%s: expected a number of tokens", input);
        goto out;
    }
    for (size_t i = 0; i < gram->gram.count; i++) {
        double value;
        memcpy(&value, (const char *)sums + i * sizeof value, sizeof value);
        gram->gram.sums[i] += value;
    }
    for (size_t i = 0; i < gram->columns; i++) {
        double sum;
        float max;
        memcpy(&sum, (const char *)sum_abs + i * sizeof sum, sizeof sum);
        memcpy(&max, (const char *)max_abs + i * sizeof max, sizeof max);
        gram->sum_abs[i] += sum;
        gram->max_abs[i] = MAX(gram->max_abs[i], max);
    }
    gram->tokens += tokens;
    gram->gram.tokens += tokens;
out:
    safetensors_close(&file);
    return err;
}

enum err task_gram_sum(struct task_run *run, const char *prefix, struct task_gram *gram,
                       struct err_text *et)
{
    char input[64];
    for (unsigned i = 0;; i++) {
        const struct cache_item *item = NULL;
        (void)snprintf(input, sizeof input, "%s/%u", prefix, i);
        if (task_run_input(run, input) == NULL)
            return i > 0 ? ERR_OK
                         : error_set(et, ERR_NOT_FOUND, "the task was given no \"%s\"", input);
        TRY(task_run_open(run, input, &item, et));
        enum err err = add_file(gram, item->bytes, input, et);
        cache_release(run->env->options.cache, &item);
        TRY(err);
    }
}
