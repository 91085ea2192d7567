/* aggregate.c - one step: parts folded along the tree, mean, norm, clip, AdamW. */
#include "coordinator/aggregate/aggregate.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/fold.h"
#include "coordinator/aggregate/aggregate_ledger.h"
#include "coordinator/aggregate/aggregate_state.h"

/* What one call of a lent thread steps; results do not depend on it. */
enum { SLICE_ELEMENTS = 1 << 18 };

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
    const struct preference_sums *preference = &part->preference;
    if (!isfinite(part->loss_sum) || !isfinite(part->weight) ||
        !isfinite(preference->reward_chosen) || !isfinite(preference->reward_rejected) ||
        !is_finite((const float *)(const void *)part->gradient.data, width))
        return error_set(et, ERR_NOT_FINITE,
                         "step %" PRIu64 ", rows %" PRIu64 " to %" PRIu64
                         ": loss or gradient is not finite; a lower learning_rate or a smaller "
                         "max_grad_norm may help",
                         step + 1, part->first, part->end);
    return ERR_OK;
}

static struct aggregate_sums sums_of(const double sums[FOLD_SUMS])
{
    return (struct aggregate_sums){
        .loss_sum = sums[FOLD_LOSS],
        .weight = sums[FOLD_WEIGHT],
        .preference = {.pairs = sums[FOLD_PAIRS],
                       .reward_chosen = sums[FOLD_REWARD_CHOSEN],
                       .reward_rejected = sums[FOLD_REWARD_REJECTED],
                       .correct = sums[FOLD_CORRECT]},
    };
}

/* Folds the parts into `fold`, whose root is the round. */
static enum err fold_parts(struct fold *fold, const struct aggregate_part *parts, size_t part_count,
                           struct err_text *et)
{
    for (size_t i = 0; i < part_count; i++) {
        struct fold_node node = {parts[i].first, parts[i].end};
        const struct preference_sums *preference = &parts[i].preference;
        const double sums[FOLD_SUMS] = {
            [FOLD_LOSS] = parts[i].loss_sum,
            [FOLD_WEIGHT] = parts[i].weight,
            [FOLD_PAIRS] = preference->pairs,
            [FOLD_REWARD_CHOSEN] = preference->reward_chosen,
            [FOLD_REWARD_REJECTED] = preference->reward_rejected,
            [FOLD_CORRECT] = preference->correct,
        };
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

struct stepping {
    struct aggregate *aggregate;
    struct optimizer_step matrix, vector; /* with weight decay, and without */
    const float *gradient;
};

/* Elements of one slice of the flat vectors; norms and biases do not decay. */
static void step_slice(void *context, size_t index)
{
    const struct stepping *stepping = context;
    struct aggregate *a = stepping->aggregate;
    size_t slice_begin = index * SLICE_ELEMENTS;
    size_t slice_end = MIN(slice_begin + SLICE_ELEMENTS, a->width);
    for (size_t i = 0; i < a->parameter_count; i++) {
        const struct aggregate_parameter *p = &a->parameters[i];
        size_t begin = MAX(p->begin, slice_begin);
        size_t end = MIN(p->begin + p->count, slice_end);
        if (begin < end)
            optimizer_apply(p->rank >= 2 ? &stepping->matrix : &stepping->vector, end - begin,
                            a->weights + begin, a->exp_avg + begin, a->exp_avg_sq + begin,
                            stepping->gradient + begin);
    }
}

static void apply(struct aggregate *a, const float *gradient, double weight,
                  struct aggregate_sums *sums)
{
    double norm = sqrt(optimizer_sum_squares(a->width, gradient)) / weight;
    double rate = schedule_rate(&a->settings.schedule, a->step);
    double scale = optimizer_clip(norm, a->settings.max_grad_norm) / weight;
    struct optimizer_adamw plain = a->settings.adamw;
    plain.weight_decay = 0.0;
    struct stepping stepping = {.aggregate = a,
                                .matrix =
                                    optimizer_plan(&a->settings.adamw, a->step + 1, rate, scale),
                                .vector = optimizer_plan(&plain, a->step + 1, rate, scale),
                                .gradient = gradient};
    size_t slices = (a->width + SLICE_ELEMENTS - 1) / SLICE_ELEMENTS;
    if (a->settings.parallel != NULL && slices > 1)
        a->settings.parallel(slices, step_slice, &stepping);
    else
        for (size_t i = 0; i < slices; i++)
            step_slice(&stepping, i);
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
    double weight = root->sums[FOLD_WEIGHT];
    if (!(weight > 0.0)) {
        err = error_set(et, ERR_DATA, "step %" PRIu64 ": no token of the round counts in the loss",
                        a->step + 1);
        goto out;
    }
    if (!is_finite(root->vector, a->width) || !isfinite(root->sums[FOLD_LOSS])) {
        err = error_set(et, ERR_NOT_FINITE, "step %" PRIu64 ": the sum over the round overflows",
                        a->step + 1);
        goto out;
    }
    TRY_OUT(aggregate_ledger_add(&a->ledger, a->step + 1, parts, part_count));
    *sums = sums_of(root->sums);
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
    if (!isfinite(root->sums[FOLD_LOSS]) || !isfinite(root->sums[FOLD_WEIGHT])) {
        err = error_set(et, ERR_NOT_FINITE, "the evaluation's loss is not finite");
        goto out;
    }
    *sums = sums_of(root->sums);
out:
    fold_fini(&fold);
    return err;
}
