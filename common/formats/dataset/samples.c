/* samples.c - see samples.h. */
#include "common/formats/dataset/samples.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/formats/safetensors/safetensors_write.h"

/* Each field of struct dataset_counts once: for notes and sums. */
#define COUNT_ROWS(ROW)                                                                            \
    ROW(rows)                                                                                      \
    ROW(samples)                                                                                   \
    ROW(truncated_rows)                                                                            \
    ROW(truncated_tokens)                                                                          \
    ROW(empty_rows)                                                                                \
    ROW(tokens)                                                                                    \
    ROW(supervised_tokens)

enum { DIGITS_MAX = 24 };

enum err samples_builder_init(struct samples_builder *builder)
{
    uint64_t zero = 0;
    bytes_init(&builder->tokens, SAMPLES_BLOB_BYTES_MAX);
    bytes_init(&builder->loss, SAMPLES_BLOB_BYTES_MAX);
    bytes_init(&builder->offsets, SAMPLES_BLOB_BYTES_MAX);
    bytes_init(&builder->splits, SAMPLES_BLOB_BYTES_MAX);
    bytes_append(&builder->offsets, &zero, sizeof(zero));
    return bytes_status(&builder->offsets);
}

void samples_builder_fini(struct samples_builder *builder)
{
    bytes_fini(&builder->tokens);
    bytes_fini(&builder->loss);
    bytes_fini(&builder->offsets);
    bytes_fini(&builder->splits);
}

enum err samples_builder_add(struct samples_builder *builder, const uint32_t *tokens,
                             const uint8_t *loss, size_t count, size_t split)
{
    uint32_t at = (uint32_t)split;
    ASSERT(count > 0 && split < count && split <= UINT32_MAX);
    if (split > 0)
        bytes_append(&builder->splits, &at, sizeof(at));
    bytes_append(&builder->tokens, tokens, count * sizeof(*tokens));
    bytes_append(&builder->loss, loss, count);
    uint64_t end = builder->loss.size;
    bytes_append(&builder->offsets, &end, sizeof(end));
    TRY(bytes_status(&builder->tokens));
    TRY(bytes_status(&builder->loss));
    TRY(bytes_status(&builder->splits));
    return bytes_status(&builder->offsets);
}

enum err samples_builder_write(const struct samples_builder *builder,
                               const struct dataset_counts *counts, struct bytes *out)
{
    uint64_t total = builder->loss.size;
    const struct safetensor tensors[] = {
        {TEXT("offsets"),
         SAFETENSORS_U64,
         1,
         {builder->offsets.size / sizeof(uint64_t)},
         bytes_span(&builder->offsets)},
        {TEXT("tokens"), SAFETENSORS_U32, 1, {total}, bytes_span(&builder->tokens)},
        {TEXT("loss"), SAFETENSORS_U8, 1, {total}, bytes_span(&builder->loss)},
        {TEXT("splits"),
         SAFETENSORS_U32,
         1,
         {builder->splits.size / sizeof(uint32_t)},
         bytes_span(&builder->splits)},
    };
    size_t tensor_count = COUNT_OF(tensors) - (builder->splits.size == 0);
    struct safetensors_note notes[16];
    char digits[COUNT_OF(notes)][DIGITS_MAX];
    size_t note_count = 0;
#define COUNT_NOTE(name)                                                                           \
    (void)snprintf(digits[note_count], DIGITS_MAX, "%llu", (unsigned long long)counts->name);      \
    notes[note_count] = (struct safetensors_note){TEXT(#name), text_of(digits[note_count])};       \
    note_count++;
    COUNT_ROWS(COUNT_NOTE)
#undef COUNT_NOTE
    const struct safetensors_content content = {tensors, tensor_count, notes, note_count};
    return safetensors_write(&content, file_sink_bytes, out);
}

void samples_counts_add(struct dataset_counts *a, const struct dataset_counts *b)
{
#define COUNT_ADD(name) a->name += b->name;
    COUNT_ROWS(COUNT_ADD)
#undef COUNT_ADD
}

static enum err read_count(const struct safetensors *st, const char *name, uint64_t *out,
                           struct err_text *et)
{
    struct text digits = safetensors_note_of(st, name);
    uint64_t value = 0;
    bool good = digits.size > 0 && digits.size < 20;
    for (size_t i = 0; i < digits.size && good; i++) {
        uint8_t digit = (uint8_t)(digits.data[i] - '0');
        good = digit <= 9;
        value = value * 10 + digit;
    }
    if (!good)
        return error_set(et, ERR_FORMAT, "samples: note '%s': expected a number", name);
    *out = value;
    return ERR_OK;
}

static enum err find_column(const struct safetensors *st, const char *name,
                            enum safetensors_dtype dtype, const struct safetensor **out,
                            struct err_text *et)
{
    const struct safetensor *tensor = safetensors_find(st, text_of(name));
    if (tensor == NULL || tensor->dtype != dtype || tensor->rank != 1)
        return error_set(et, ERR_FORMAT, "samples: expected tensor '%s' of type %s and rank 1",
                         name, safetensors_dtype_name(dtype));
    if ((uintptr_t)tensor->data.data % safetensors_dtype_size_bytes(dtype) != 0)
        return error_set(et, ERR_FORMAT, "samples: tensor '%s' is not aligned", name);
    *out = tensor;
    return ERR_OK;
}

static enum err check(const struct samples *samples, uint64_t total, struct err_text *et)
{
    bool good = samples->offsets[0] == 0 && samples->offsets[samples->count] == total;
    for (uint64_t i = 0; i < samples->count && good; i++)
        good = samples->offsets[i] < samples->offsets[i + 1];
    for (uint64_t i = 0; i < samples->count && good; i++)
        good = samples->offsets[i + 1] <= total && samples->loss[samples->offsets[i]] == 0;
    for (uint64_t i = 0; i < total && good; i++)
        good = samples->loss[i] <= 1;
    if (!good)
        return error_set(et, ERR_FORMAT, "samples: offsets or loss are out of order");
    return ERR_OK;
}

/* Where samples are pairs, each has two sequences. */
static enum err check_splits(const struct samples *samples, struct err_text *et)
{
    for (uint64_t i = 0; samples->splits != NULL && i < samples->count; i++) {
        uint64_t begin = samples->offsets[i], split = samples->splits[i];
        if (split == 0 || split >= samples->offsets[i + 1] - begin ||
            samples->loss[begin + split] != 0)
            return error_set(et, ERR_FORMAT, "samples: pair %llu is split at token %llu",
                             (unsigned long long)i, (unsigned long long)split);
    }
    return ERR_OK;
}

static enum err find_splits(const struct safetensors *st, struct samples *samples,
                            struct err_text *et)
{
    const struct safetensor *splits = NULL;
    if (safetensors_find(st, TEXT("splits")) == NULL)
        return ERR_OK;
    TRY(find_column(st, "splits", SAFETENSORS_U32, &splits, et));
    if (splits->shape[0] != samples->count)
        return error_set(et, ERR_FORMAT, "samples: %llu pairs of %llu samples are split",
                         (unsigned long long)splits->shape[0], (unsigned long long)samples->count);
    samples->splits = (const uint32_t *)(const void *)splits->data.data;
    return ERR_OK;
}

enum err samples_open(struct span blob, struct samples *out, struct err_text *et)
{
    struct safetensors st = {0};
    const struct safetensor *offsets, *tokens, *loss;
    struct samples samples = {0};
    enum err err;
    TRY(safetensors_parse(&st, blob, "samples", et));
    TRY_OUT(find_column(&st, "offsets", SAFETENSORS_U64, &offsets, et));
    TRY_OUT(find_column(&st, "tokens", SAFETENSORS_U32, &tokens, et));
    TRY_OUT(find_column(&st, "loss", SAFETENSORS_U8, &loss, et));
    if (offsets->shape[0] == 0 || tokens->shape[0] != loss->shape[0]) {
        err = error_set(et, ERR_FORMAT, "samples: lengths of the tensors do not agree");
        goto out;
    }
    samples.offsets = (const uint64_t *)(const void *)offsets->data.data;
    samples.tokens = (const uint32_t *)(const void *)tokens->data.data;
    samples.loss = loss->data.data;
    samples.count = offsets->shape[0] - 1;
    TRY_OUT(check(&samples, loss->shape[0], et));
    TRY_OUT(find_splits(&st, &samples, et));
    TRY_OUT(check_splits(&samples, et));
#define COUNT_READ(name) TRY_OUT(read_count(&st, #name, &samples.counts.name, et));
    COUNT_ROWS(COUNT_READ)
#undef COUNT_READ
    *out = samples;
out:
    safetensors_close(&st);
    return err;
}
