/* task_report.c - figures of tensors and scores of rows, put together. */
#include "worker/task/task_report.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"

enum {
    CHOICES_BYTES_MAX = 64 << 20,
    FIGURES_BYTES_MAX = 16 << 20,
    TENSORS_FIRST = 256,
    NAME_BYTES = 32
};

/* What is held while a report is made. */
struct reporting {
    struct task_run *run;
    struct task_report report;
    struct json_doc *choices; /* owned */
    struct task_report_target target;
    struct json_doc **docs; /* owned, with the figures in them */
    size_t doc_count;
    struct task_report_tensor *tensors; /* owned */
    size_t tensor_count, tensor_capacity;
};

static enum err parse(struct task_run *run, const char *name, size_t size_max,
                      struct json_doc **out, struct digest *digest, struct err_text *et)
{
    const struct json_read_options options = {.name = name, .size_bytes_max = size_max};
    const struct cache_item *item = NULL;
    TRY(task_run_open(run, name, &item, et));
    enum err err = json_read_parse(item->bytes, &options, out, et);
    if (digest != NULL)
        *digest = item->digest;
    cache_release(run->env->options.cache, &item);
    return err;
}

/* Inputs "prefix/0", "prefix/1", ... */
static size_t count_inputs(const struct task_run *run, const char *prefix)
{
    char name[NAME_BYTES];
    size_t count = 0;
    for (;; count++) {
        (void)snprintf(name, sizeof name, "%s/%zu", prefix, count);
        if (task_run_input(run, name) == NULL)
            return count;
    }
}

static enum err read_choices(struct reporting *r, struct err_text *et)
{
    TRY(parse(r->run, "choices", CHOICES_BYTES_MAX, &r->choices, &r->report.choices_digest, et));
    struct json_value root = json_read_root(r->choices);
    TRY(json_read_text(root, "form", &r->report.form, et));
    return json_read_text(root, "scheme", &r->report.scheme, et);
}

static enum err read_count(struct json_value object, const char *key, uint64_t *out,
                           struct err_text *et)
{
    int64_t number;
    TRY(json_read_i64(object, key, 0, INT64_MAX >> 8, &number, et));
    *out = (uint64_t)number;
    return ERR_OK;
}

static enum err read_tensor(struct json_value figures, struct task_report_tensor *out,
                            struct err_text *et)
{
    out->figures = figures;
    TRY(json_read_text(figures, "tensor", &out->name, et));
    TRY(json_read_text(figures, "format", &out->format, et));
    TRY(read_count(figures, "rows", &out->rows, et));
    TRY(read_count(figures, "columns", &out->columns, et));
    TRY(read_count(figures, "size_bytes", &out->size_bytes, et));
    return json_read_f64(figures, "relative_error", &out->error, et);
}

static int by_error(const void *a, const void *b)
{
    const struct task_report_tensor *x = a, *y = b;
    if (x->error < y->error || x->error > y->error)
        return x->error > y->error ? -1 : 1;
    return text_compare(x->name, y->name);
}

static enum err add_tensor(struct reporting *r, struct json_value figures, const char *name,
                           struct err_text *et)
{
    struct task_report_tensor tensor;
    size_t weights;
    if (r->tensor_count == r->tensor_capacity) {
        size_t capacity = MAX(2 * r->tensor_capacity, (size_t)TENSORS_FIRST);
        struct task_report_tensor *more = mem_resize(r->tensors, capacity, sizeof *more);
        if (more == NULL)
            return ERR_OUT_OF_MEMORY;
        r->tensors = more;
        r->tensor_capacity = capacity;
    }
    TRY(read_tensor(figures, &tensor, et));
    if (!check_mul(tensor.rows, tensor.columns, &weights) ||
        !check_add(weights, r->report.weight_count, &r->report.weight_count) ||
        !check_add(tensor.size_bytes, r->report.size_bytes, &r->report.size_bytes))
        return error_set(et, ERR_OVERFLOW, "%s: more weights than can be counted", name);
    r->tensors[r->tensor_count++] = tensor;
    return ERR_OK;
}

static enum err add_figures(struct reporting *r, const char *name, struct err_text *et)
{
    struct json_value list;
    struct json_doc **doc = &r->docs[r->doc_count];
    TRY(parse(r->run, name, FIGURES_BYTES_MAX, doc, NULL, et));
    r->doc_count++;
    TRY(json_read_array(json_read_root(*doc), "tensors", &list, et));
    struct json_cursor c = {.count = 0};
    while (json_read_next(list, &c))
        TRY(add_tensor(r, c.value, name, et));
    return ERR_OK;
}

static enum err read_figures(struct reporting *r, struct err_text *et)
{
    size_t count = count_inputs(r->run, "figures");
    char name[NAME_BYTES];
    r->docs = (struct json_doc **)mem_alloc(count + 1, sizeof *r->docs);
    if (r->docs == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "figures/%zu", i);
        TRY(task_run_progress(r->run, i, count));
        TRY(add_figures(r, name, et));
    }
    if (r->tensor_count > 0)
        qsort(r->tensors, r->tensor_count, sizeof *r->tensors, by_error);
    r->report.tensors = r->tensors;
    r->report.tensor_count = r->tensor_count;
    return ERR_OK;
}

static enum err fold_items(struct task_run *run, const char *prefix, size_t count,
                           const struct cache_item **items, struct scores *parts,
                           struct compare_sums *sums, struct err_text *et)
{
    char name[NAME_BYTES];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "%s/%zu", prefix, i);
        TRY(task_run_open(run, name, &items[i], et));
        TRY(scores_open(items[i]->bytes, name, &parts[i], et));
    }
    TRY(scores_fold(parts, count, sums, et));
    return sums->positions > 0
               ? ERR_OK
               : error_set(et, ERR_DATA, "the test text has no token that is scored");
}

enum err task_report_fold(struct task_run *run, const char *prefix, bool *found,
                          struct scores *scores, struct compare_sums *sums, struct err_text *et)
{
    size_t count = count_inputs(run, prefix);
    *found = count > 0;
    if (count == 0)
        return ERR_OK;
    const struct cache_item **items = (const struct cache_item **)mem_alloc(count, sizeof *items);
    struct scores *parts = mem_alloc(count, sizeof *parts);
    enum err err = items != NULL && parts != NULL
                       ? fold_items(run, prefix, count, items, parts, sums, et)
                       : ERR_OUT_OF_MEMORY;
    if (err == ERR_OK) {
        *scores = parts[0];
        scores->counts = NULL;
        scores->sums = NULL;
    }
    for (size_t i = 0; items != NULL && i < count; i++)
        cache_release(run->env->options.cache, &items[i]);
    mem_free((void *)items);
    mem_free(parts);
    return err;
}

static enum err read_target_numbers(struct json_value root, struct task_report_target *out,
                                    struct err_text *et)
{
    TRY(json_read_opt_f64(root, "target_bpw", &out->target_bpw, NULL, et));
    TRY(json_read_opt_f64(root, "target_kl", &out->target_kl, NULL, et));
    TRY(json_read_f64(root, "bits_per_weight", &out->bits_per_weight, et));
    TRY(json_read_f64(root, "predicted_kl", &out->predicted_kl, et));
    TRY(read_count(root, "size_bytes", &out->size_bytes, et));
    return read_count(root, "tokens", &out->tokens, et);
}

/* The table that a target's choice was made from; it is a file of the result as it is. */
static enum err take_target(struct reporting *r, struct err_text *et)
{
    const struct cache_item *item = NULL;
    struct json_doc *doc = NULL;
    const struct json_read_options options = {.name = "target",
                                              .size_bytes_max = CHOICES_BYTES_MAX};
    if (task_run_input(r->run, "target") == NULL)
        return ERR_OK;
    TRY(task_run_open(r->run, "target", &item, et));
    enum err err = json_read_parse(item->bytes, &options, &doc, et);
    if (err == ERR_OK)
        err = read_target_numbers(json_read_root(doc), &r->target, et);
    if (err == ERR_OK)
        err = task_run_output(r->run, "choices.json", item->bytes, false, et);
    r->report.target = &r->target;
    json_read_close(&doc);
    cache_release(r->run->env->options.cache, &item);
    return err;
}

static enum err hand_in(struct reporting *r, struct err_text *et)
{
    struct bytes text;
    enum err err;
    bytes_init(&text, SIZE_MAX);
    TRY_OUT(task_report_print_json(&r->report, &text));
    TRY_OUT(task_run_output(r->run, "quantization.json", bytes_span(&text), false, et));
    bytes_clear(&text);
    TRY_OUT(task_report_print_card(&r->report, &text));
    TRY_OUT(task_run_output(r->run, "README.md", bytes_span(&text), false, et));
    r->run->result->loss_sum = r->report.sums.result_loss;
    r->run->result->weight = (double)r->report.sums.positions;
out:
    bytes_fini(&text);
    return err;
}

static void release(struct reporting *r)
{
    for (size_t i = 0; i < r->doc_count; i++)
        json_read_close(&r->docs[i]);
    mem_free((void *)r->docs);
    mem_free(r->tensors);
    json_read_close(&r->choices);
}

static enum err report_quantized(struct task_run *run, struct err_text *et)
{
    struct reporting r = {
        .run = run,
        .report = {.recipe = &run->recipe},
    };
    enum err err;
    TRY_OUT(read_choices(&r, et));
    TRY_OUT(read_figures(&r, et));
    TRY_OUT(task_report_fold(run, "scores", &r.report.is_compared, &r.report.scores, &r.report.sums,
                             et));
    TRY_OUT(take_target(&r, et));
    err = hand_in(&r, et);
out:
    release(&r);
    return err;
}

/* A job that merges and then quantizes has the card of what came last. */
enum err task_kind_report(struct task_run *run, struct err_text *et)
{
    bool quantizes = recipe_quantizes(&run->recipe), merges = recipe_merges(&run->recipe);
    if (merges)
        TRY(task_report_merge(run, !quantizes, et));
    return quantizes || !merges ? report_quantized(run, et) : ERR_OK;
}
