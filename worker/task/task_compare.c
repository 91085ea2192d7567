/* task_compare.c - the job's model and its result over a range of test rows: what a row's tokens
 * cost under each, and how far apart they are.
 *
 * Every row is a leaf of its own, so who folds them does not see the ranges.
 */
#include "worker/task/task_compare.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_range.h"

struct comparison {
    struct task_run *run;
    struct rows rows;
    struct scores scores;         /* range, sizes and rules */
    struct compare *compare;      /* owned */
    struct compare_sums *results; /* owned: (scores.count) */
};

static bool ends_with(struct text name, const char *ending)
{
    size_t size = strlen(ending);
    return name.size > size && memcmp(name.data + name.size - size, ending, size) == 0;
}

/* Bytes of the weights among the inputs under `prefix`; of all of them where no name tells. */
static uint64_t weight_bytes(const struct task_spec *spec, const char *prefix)
{
    uint64_t weights = 0, all = 0;
    size_t size = strlen(prefix);
    for (uint32_t i = 0; i < spec->inputs_count; i++) {
        const struct artifact_ref *input = &spec->inputs[i];
        if (input->name.size <= size || memcmp(input->name.data, prefix, size) != 0)
            continue;
        struct text name = {input->name.data + size, input->name.size - size};
        if (text_is(name, TASK_MODEL_IMATRIX))
            continue;
        all += input->size_bytes;
        if (ends_with(name, ".safetensors") || ends_with(name, ".gguf") || ends_with(name, ".bin"))
            weights += input->size_bytes;
    }
    return weights > 0 ? weights : all;
}

enum err task_compare_range(const struct task_run *run, const struct rows *rows, struct span blob,
                            struct scores *out, struct err_text *et)
{
    const struct task_spec *spec = run->spec;
    uint64_t total = rows->row_count;
    TRY(perplexity_of_rows(blob, &out->perplexity, et));
    if (spec->first >= spec->total || spec->total > total || total > UINT32_MAX)
        return error_set(et, ERR_PROTOCOL, "task %llu of %llu over %llu test rows",
                         (unsigned long long)spec->first, (unsigned long long)spec->total,
                         (unsigned long long)total);
    out->first = task_range_first(total, spec->first, spec->total);
    out->count = task_range_first(total, spec->first + 1, spec->total) - out->first;
    out->total = total;
    out->base_bytes = weight_bytes(spec, "model/");
    out->result_bytes = weight_bytes(spec, "result/");
    return ERR_OK;
}

static enum err open_range(struct comparison *c, struct span blob, struct err_text *et)
{
    TRY(rows_open(blob, &c->rows, et));
    TRY(task_compare_range(c->run, &c->rows, blob, &c->scores, et));
    c->results = mem_alloc(c->scores.count, sizeof *c->results);
    return c->results != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static enum err open_models(struct comparison *c, struct err_text *et)
{
    const struct model *base, *result;
    struct kernel *kernel;
    TRY(task_model_open(c->run, &base, et));
    TRY(task_model_open_result(c->run, &result, et));
    TRY(task_run_kernel(c->run, &kernel, et));
    if (c->rows.token_id_max >= model_shape(base)->vocabulary)
        return error_set(
            et, ERR_DATA,
            "token %u is outside the model's vocabulary of %zu: do tokenizer and model "
            "belong together?",
            c->rows.token_id_max, model_shape(base)->vocabulary);
    return compare_create(base, result, kernel, &c->compare, et);
}

static enum err compare_some(struct comparison *c, struct err_text *et)
{
    for (uint64_t i = 0; i < c->scores.count; i++) {
        struct row row = rows_at(&c->rows, c->scores.first + i);
        const struct train_row input = {
            .index = c->scores.first + i,
            .tokens = row.tokens,
            .loss = row.loss,
            .token_count = row.count,
            .segment_starts = row.segment_starts,
            .segment_count = row.segment_count,
        };
        TRY(task_run_progress(c->run, i, c->scores.count));
        TRY(compare_row(c->compare, &input, &c->results[i], et));
        c->run->result->tokens += row.count;
    }
    c->run->result->peak_bytes = compare_peak_bytes(c->compare);
    return task_run_progress(c->run, c->scores.count, c->scores.count);
}

enum err task_compare_hand_in(struct task_run *run, const char *name, const struct scores *scores,
                              const struct compare_sums *rows, struct err_text *et)
{
    struct bytes blob;
    bytes_init(&blob, SIZE_MAX);
    enum err err = scores_write(scores, rows, &blob);
    if (err == ERR_OK)
        err = task_run_output(run, name, bytes_span(&blob), false, et);
    bytes_fini(&blob);
    return err;
}

enum err task_kind_compare(struct task_run *run, struct err_text *et)
{
    struct comparison c = {.run = run};
    const struct cache_item *rows = NULL;
    enum err err;
    TRY(task_run_open(run, "test_rows", &rows, et));
    TRY_OUT(open_range(&c, rows->bytes, et));
    TRY_OUT(open_models(&c, et));
    TRY_OUT(compare_some(&c, et));
    err = task_compare_hand_in(run, "scores", &c.scores, c.results, et);
out:
    compare_destroy(&c.compare);
    mem_free(c.results);
    cache_release(run->env->options.cache, &rows);
    return err;
}
