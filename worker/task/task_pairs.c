/* task_pairs.c - numbers in and out of safetensors files. */
#include "worker/task/task_pairs.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/mem.h"

#define TENSOR_NAME "log_probabilities"
#define KIND        "reference/1"

void task_pairs_fini(struct task_pairs *pairs)
{
    mem_free(pairs->log_p);
    *pairs = (struct task_pairs){0};
}

enum err task_pairs_write(const double (*log_p)[PREFERENCE_SIDES], uint64_t count,
                          struct bytes *out)
{
    const struct safetensor tensor = {
        .name = TEXT(TENSOR_NAME),
        .dtype = SAFETENSORS_F64,
        .rank = 2,
        .shape = {count, PREFERENCE_SIDES},
        .data = {(const uint8_t *)log_p, (size_t)count * sizeof *log_p},
    };
    static const struct safetensors_note note = {{"kind", 4}, {KIND, sizeof KIND - 1}};
    const struct safetensors_content content = {&tensor, 1, &note, 1};
    return safetensors_write(&content, file_sink_bytes, out);
}

/* Appends the pairs of one artifact to *out. */
static enum err read_part(const struct safetensors *st, const char *name, struct bytes *out,
                          struct err_text *et)
{
    const struct safetensor *tensor = safetensors_find(st, TEXT(TENSOR_NAME));
    if (!text_is(safetensors_note_of(st, "kind"), KIND) || tensor == NULL ||
        tensor->dtype != SAFETENSORS_F64 || tensor->rank != 2 ||
        tensor->shape[1] != PREFERENCE_SIDES)
        return error_set(et, ERR_FORMAT, "%s: expected " KIND " with " TENSOR_NAME " F64 [n, 2]",
                         name);
    size_t start = out->size;
    bytes_append(out, tensor->data.data, tensor->data.size);
    TRY(bytes_status(out));
    for (size_t at = start; at < out->size; at += sizeof(double)) {
        double value;
        memcpy(&value, out->data + at, sizeof value);
        if (!isfinite(value))
            return error_set(et, ERR_FORMAT, "%s: a log-probability is not finite", name);
    }
    return ERR_OK;
}

static enum err open_part(struct task_run *run, const char *name, struct bytes *out,
                          struct err_text *et)
{
    const struct cache_item *item = NULL;
    struct safetensors st = {0};
    TRY(task_run_open(run, name, &item, et));
    enum err err = safetensors_parse(&st, item->bytes, name, et);
    if (err == ERR_OK) {
        err = read_part(&st, name, out, et);
        safetensors_close(&st);
    }
    cache_release(run->env->options.cache, &item);
    return err;
}

/* Name of part `index`; NULL when the task has no such input, or memory is out. */
static const char *part_name(struct task_run *run, size_t index)
{
    const char *name = arena_print(run->arena, "reference/%zu", index);
    return name != NULL && task_run_input(run, name) != NULL ? name : NULL;
}

static enum err load(struct task_run *run, struct bytes *all, struct err_text *et)
{
    const char *name;
    for (size_t i = 0; (name = part_name(run, i)) != NULL; i++)
        TRY(open_part(run, name, all, et));
    if (all->size == 0)
        return error_set(et, ERR_NOT_FOUND,
                         "the task was given no log-probabilities of its pairs (reference/0)");
    return ERR_OK;
}

static struct digest key_of(struct task_run *run)
{
    struct digest key = {{0}};
    const char *name;
    for (size_t i = 0; (name = part_name(run, i)) != NULL; i++)
        key = digest_link(key, (struct span){task_run_input(run, name)->digest.v, DIGEST_BYTES});
    return key;
}

enum err task_pairs_load(struct task_run *run, struct task_pairs *pairs, struct err_text *et)
{
    struct digest key = key_of(run);
    if (pairs->log_p != NULL && digest_equal(pairs->key, key))
        return ERR_OK;
    struct bytes all;
    bytes_init(&all, SIZE_MAX);
    enum err err = load(run, &all, et);
    double(*log_p)[PREFERENCE_SIDES] = NULL;
    size_t count = all.size / sizeof *log_p;
    if (err == ERR_OK) {
        log_p = mem_alloc(count, sizeof *log_p);
        err = log_p != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    }
    if (err == ERR_OK) {
        memcpy(log_p, all.data, count * sizeof *log_p);
        task_pairs_fini(pairs);
        *pairs = (struct task_pairs){log_p, count, key};
    }
    bytes_fini(&all);
    return err;
}
