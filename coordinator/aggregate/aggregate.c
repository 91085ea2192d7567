/* aggregate.c - one step: parts folded along the tree, mean, norm, clip, AdamW. */
#include "coordinator/aggregate/aggregate.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/fold.h"
#include "coordinator/aggregate/aggregate_ledger.h"
#include "coordinator/aggregate/aggregate_state.h"

enum { THREADS_MAX = 64, THREAD_ELEMENTS_MIN = 1 << 18 };

/* Whether all values are finite: a product with 0 is 0 for finite numbers and NaN for others. */
static bool is_finite(const float *x, size_t count)
{
    float sum = 0.0f;
    for (size_t i = 0; i < count; i++)
        sum += x[i] * 0.0f;
    return sum == 0.0f;
}

static enum err check_part(const struct aggregate_part *part, uint64_t step, size_t width,
                           struct err_text *et)
{
    if (part->gradient.size != width * sizeof(float))
        return error_set(et, ERR_SHAPE,
                         "step %" PRIu64 ", rows %" PRIu64 " to %" PRIu64
                         ": a gradient of %zu bytes, expected %zu",
                         step + 1, part->first, part->end, part->gradient.size,
                         width * sizeof(float));
    if (!isfinite(part->loss_sum) || !isfinite(part->weight) ||
        !is_finite((const float *)(const void *)part->gradient.data, width))
        return error_set(et, ERR_NOT_FINITE,
                         "step %" PRIu64 ", rows %" PRIu64 " to %" PRIu64
                         ": loss or gradient is not finite; a lower learning_rate or a smaller "
                         "max_grad_norm may help",
                         step + 1, part->first, part->end);
    return ERR_OK;
}

/* Folds the parts into `fold`, whose root is the round. */
static enum err fold_parts(struct fold *fold, const struct aggregate_part *parts, size_t part_count,
                           struct err_text *et)
{
    for (size_t i = 0; i < part_count; i++) {
        struct fold_node node = {parts[i].first, parts[i].end};
        const double sums[FOLD_SUMS] = {parts[i].loss_sum, parts[i].weight};
        const float *vector =
            fold->width > 0 ? (const float *)(const void *)parts[i].gradient.data : NULL;
        enum err err = fold_push(fold, node, vector, sums);
        if (err != ERR_OK)
            return error_set(et, err, "rows %" PRIu64 " to %" PRIu64 ": %s", node.begin, node.end,
                             err == ERR_STATE ? "not the next node of the round's tree"
                                              : error_text(err));
    }
    if (fold_root(fold) == NULL)
        return error_set(et, ERR_STATE, "rows of the round are missing");
    return ERR_OK;
}

/* Elements [begin, end) of the flat vectors, for one thread. */
struct slice {
    struct aggregate *aggregate;
    struct optimizer_step matrix, vector; /* with weight decay, and without */
    const float *gradient;
    size_t begin, end;
};

static void *step_slice(void *context)
{
    const struct slice *slice = context;
    struct aggregate *a = slice->aggregate;
    for (size_t i = 0; i < a->parameter_count; i++) {
        const struct aggregate_parameter *p = &a->parameters[i];
        size_t begin = MAX(p->begin, slice->begin);
        size_t end = MIN(p->begin + p->count, slice->end);
        if (begin < end)
            optimizer_apply(p->rank >= 2 ? &slice->matrix : &slice->vector, end - begin,
                            a->weights + begin, a->exp_avg + begin, a->exp_avg_sq + begin,
                            slice->gradient + begin);
    }
    return NULL;
}

/* A thread that cannot be started has its slice done by the caller; the bits are the same. */
static void step_slices(const struct slice *whole)
{
    struct slice slices[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    bool is_started[THREADS_MAX] = {false};
    size_t width = whole->end;
    size_t count = MIN((size_t)whole->aggregate->settings.threads, (size_t)THREADS_MAX);
    count = MAX(MIN(count, width / THREAD_ELEMENTS_MIN), 1u);
    for (size_t i = 0; i < count; i++) {
        slices[i] = *whole;
        slices[i].begin = width / count * i;
        slices[i].end = i + 1 == count ? width : width / count * (i + 1);
        if (i > 0)
            is_started[i] = pthread_create(&threads[i], NULL, step_slice, &slices[i]) == 0;
    }
    for (size_t i = 0; i < count; i++)
        if (!is_started[i])
            (void)step_slice(&slices[i]);
    for (size_t i = 1; i < count; i++)
        if (is_started[i])
            ASSERT(pthread_join(threads[i], NULL) == 0);
}

static void apply(struct aggregate *a, const float *gradient, double weight,
                  struct aggregate_sums *sums)
{
    double norm = sqrt(optimizer_sum_squares(a->width, gradient)) / weight;
    double rate = schedule_rate(&a->settings.schedule, a->step);
    double scale = optimizer_clip(norm, a->settings.max_grad_norm) / weight;
    struct optimizer_adamw plain = a->settings.adamw;
    plain.weight_decay = 0.0;
    struct slice whole = {.aggregate = a,
                          .matrix = optimizer_plan(&a->settings.adamw, a->step + 1, rate, scale),
                          .vector = optimizer_plan(&plain, a->step + 1, rate, scale),
                          .gradient = gradient,
                          .end = a->width};
    step_slices(&whole);
    sums->grad_norm = norm;
    sums->learning_rate = rate;
}

enum err aggregate_step(struct aggregate *a, const struct aggregate_part *parts, size_t part_count,
                        uint64_t round_rows, struct aggregate_sums *sums, struct err_text *et)
{
    for (size_t i = 0; i < part_count; i++)
        TRY(check_part(&parts[i], a->step, a->width, et));
    struct fold fold;
    fold_init(&fold, round_rows, a->width);
    enum err err;
    TRY_OUT(fold_parts(&fold, parts, part_count, et));
    const struct fold_entry *root = fold_root(&fold);
    double weight = root->sums[1];
    if (!(weight > 0.0)) {
        err = error_set(et, ERR_DATA, "step %" PRIu64 ": no token of the round counts in the loss",
                        a->step + 1);
        goto out;
    }
    if (!is_finite(root->vector, a->width) || !isfinite(root->sums[0])) {
        err = error_set(et, ERR_NOT_FINITE, "step %" PRIu64 ": the sum over the round overflows",
                        a->step + 1);
        goto out;
    }
    TRY_OUT(aggregate_ledger_add(&a->ledger, a->step + 1, parts, part_count));
    *sums = (struct aggregate_sums){.loss_sum = root->sums[0], .weight = weight};
    apply(a, root->vector, weight, sums);
    a->step++;
out:
    fold_fini(&fold);
    return err;
}

enum err aggregate_evaluate(const struct aggregate_part *parts, size_t part_count,
                            uint64_t round_rows, struct aggregate_sums *sums, struct err_text *et)
{
    struct fold fold;
    fold_init(&fold, round_rows, 0);
    enum err err;
    TRY_OUT(fold_parts(&fold, parts, part_count, et));
    const struct fold_entry *root = fold_root(&fold);
    if (!isfinite(root->sums[0]) || !isfinite(root->sums[1])) {
        err = error_set(et, ERR_NOT_FINITE, "the evaluation's loss is not finite");
        goto out;
    }
    *sums = (struct aggregate_sums){.loss_sum = root->sums[0], .weight = root->sums[1]};
out:
    fold_fini(&fold);
    return err;
}
