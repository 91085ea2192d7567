/* scores.c - rows of numbers, read with as little trust as any other file. */
#include "worker/engine/compare/scores.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/mem.h"
#include "common/numeric/fold.h"

enum { COUNTS = 2, SUMS = 4, OWN_NOTES = 5, DIGITS_MAX = 24 };

static enum err write_blob(const struct scores *scores, const uint64_t *counts, const double *sums,
                           struct bytes *out)
{
    size_t n = (size_t)scores->count;
    const struct safetensor tensors[] = {
        {TEXT("counts"),
         SAFETENSORS_U64,
         2,
         {n, COUNTS},
         {(const uint8_t *)counts, n * COUNTS * sizeof *counts}},
        {TEXT("sums"),
         SAFETENSORS_F64,
         2,
         {n, SUMS},
         {(const uint8_t *)sums, n * SUMS * sizeof *sums}},
    };
    static const char *const keys[] = {"first", "total", "base_bytes", "result_bytes"};
    const uint64_t values[] = {scores->first, scores->total, scores->base_bytes,
                               scores->result_bytes};
    struct safetensors_note notes[OWN_NOTES + PERPLEXITY_NOTES];
    struct perplexity_notes rules;
    char digits[COUNT_OF(values)][DIGITS_MAX];
    size_t note_count = 0;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        (void)snprintf(digits[i], DIGITS_MAX, "%llu", (unsigned long long)values[i]);
        notes[note_count++] = (struct safetensors_note){text_of(keys[i]), text_of(digits[i])};
    }
    notes[note_count++] = (struct safetensors_note){TEXT("kind"), TEXT("scores/1")};
    size_t rule_count = perplexity_notes(&scores->perplexity, &rules);
    for (size_t i = 0; i < rule_count; i++)
        notes[note_count++] = rules.notes[i];
    const struct safetensors_content content = {tensors, COUNT_OF(tensors), notes, note_count};
    size_t start = out->size;
    enum err err = safetensors_write(&content, file_sink_bytes, out);
    if (err != ERR_OK)
        out->size = start;
    return err;
}

enum err scores_write(const struct scores *scores, const struct compare_sums *rows,
                      struct bytes *out)
{
    size_t n = (size_t)scores->count;
    uint64_t *counts = mem_alloc(n + 1, COUNTS * sizeof *counts);
    double *sums = mem_alloc(n + 1, SUMS * sizeof *sums);
    enum err err = counts == NULL || sums == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    for (size_t i = 0; i < n && err == ERR_OK; i++) {
        counts[i * COUNTS] = rows[i].positions;
        counts[i * COUNTS + 1] = rows[i].agreements;
        sums[i * SUMS] = rows[i].base_loss;
        sums[i * SUMS + 1] = rows[i].result_loss;
        sums[i * SUMS + 2] = rows[i].kl;
        sums[i * SUMS + 3] = rows[i].kl_max;
    }
    if (err == ERR_OK)
        err = write_blob(scores, counts, sums, out);
    mem_free(counts);
    mem_free(sums);
    return err;
}

static bool read_number(const struct safetensors *st, const char *key, uint64_t *out)
{
    struct text digits = safetensors_note_of(st, key);
    *out = 0;
    for (size_t i = 0; i < digits.size; i++) {
        uint8_t digit = (uint8_t)(digits.data[i] - '0');
        if (digit > 9 || i > 17)
            return false;
        *out = *out * 10 + digit;
    }
    return digits.size > 0;
}

static const void *column(const struct safetensors *st, const char *name,
                          enum safetensors_dtype dtype, uint64_t width, uint64_t *count)
{
    const struct safetensor *t = safetensors_find(st, text_of(name));
    if (t == NULL || t->dtype != dtype || t->rank != 2 || t->shape[1] != width ||
        (uintptr_t)t->data.data % sizeof(uint64_t) != 0)
        return NULL;
    *count = t->shape[0];
    return t->data.data;
}

static bool check_rows(const struct scores *scores)
{
    for (uint64_t i = 0; i < scores->count; i++) {
        const uint64_t *counts = scores->counts + i * COUNTS;
        if (counts[1] > counts[0] || counts[0] > UINT32_MAX)
            return false;
        for (size_t s = 0; s < SUMS; s++) {
            double sum = scores->sums[i * SUMS + s];
            if (!(sum >= 0) || !(sum - sum == 0))
                return false;
        }
    }
    return true;
}

static enum err read_blob(const struct safetensors *st, const char *name, struct scores *s,
                          struct err_text *et)
{
    struct text kind = safetensors_note_of(st, "kind");
    uint64_t n = 0;
    if (!text_is(kind, "scores/1"))
        return error_set(et, ERR_VERSION, "%s: expected scores/1, found \"%.32s\"", name,
                         kind.data != NULL ? kind.data : "");
    s->counts = column(st, "counts", SAFETENSORS_U64, COUNTS, &s->count);
    s->sums = column(st, "sums", SAFETENSORS_F64, SUMS, &n);
    if (s->counts == NULL || s->sums == NULL || n != s->count)
        return error_set(et, ERR_FORMAT, "%s: expected counts U64 [n, 2] and sums F64 [n, 4]",
                         name);
    if (!read_number(st, "first", &s->first) || !read_number(st, "total", &s->total) ||
        !read_number(st, "base_bytes", &s->base_bytes) ||
        !read_number(st, "result_bytes", &s->result_bytes) || s->first > s->total ||
        s->count > s->total - s->first)
        return error_set(et, ERR_FORMAT, "%s: the notes do not say which rows these are", name);
    if (!check_rows(s))
        return error_set(et, ERR_FORMAT, "%s: a row's numbers cannot be", name);
    return perplexity_read(st, name, &s->perplexity, et);
}

enum err scores_open(struct span blob, const char *name, struct scores *out, struct err_text *et)
{
    struct safetensors st = {0};
    struct scores scores = {0};
    TRY(safetensors_parse(&st, blob, name, et));
    enum err err = read_blob(&st, name, &scores, et);
    safetensors_close(&st);
    if (err == ERR_OK)
        *out = scores;
    return err;
}

struct compare_sums scores_at(const struct scores *scores, uint64_t index)
{
    ASSERT(index < scores->count);
    const uint64_t *counts = scores->counts + index * COUNTS;
    const double *sums = scores->sums + index * SUMS;
    return (struct compare_sums){.positions = counts[0],
                                 .agreements = counts[1],
                                 .base_loss = sums[0],
                                 .result_loss = sums[1],
                                 .kl = sums[2],
                                 .kl_max = sums[3]};
}

static enum err check_parts(const struct scores *parts, size_t count, struct err_text *et)
{
    uint64_t next = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].first != next || parts[i].total != parts[0].total)
            return error_set(et, ERR_FORMAT, "scores %zu: expected rows from %llu on, found %llu",
                             i, (unsigned long long)next, (unsigned long long)parts[i].first);
        if (!perplexity_equal(&parts[i].perplexity, &parts[0].perplexity))
            return error_set(et, ERR_FORMAT, "scores %zu: rows under other rules than those of 0",
                             i);
        next += parts[i].count;
    }
    if (count == 0 || next != parts[0].total)
        return error_set(et, ERR_FORMAT, "scores: %llu rows of %llu", (unsigned long long)next,
                         (unsigned long long)(count > 0 ? parts[0].total : 0));
    return ERR_OK;
}

enum err scores_fold(const struct scores *parts, size_t count, struct compare_sums *out,
                     struct err_text *et)
{
    struct compare_sums sums = {0};
    struct fold_sum base, result, kl;
    TRY(check_parts(parts, count, et));
    fold_sum_init(&base);
    fold_sum_init(&result);
    fold_sum_init(&kl);
    for (size_t i = 0; i < count; i++)
        for (uint64_t r = 0; r < parts[i].count; r++) {
            struct compare_sums row = scores_at(&parts[i], r);
            compare_add(&sums, &row); /* counts and the maximum; any order is the same */
            fold_sum_push(&base, row.base_loss);
            fold_sum_push(&result, row.result_loss);
            fold_sum_push(&kl, row.kl);
        }
    sums.base_loss = fold_sum_finish(&base);
    sums.result_loss = fold_sum_finish(&result);
    sums.kl = fold_sum_finish(&kl);
    *out = sums;
    return ERR_OK;
}
