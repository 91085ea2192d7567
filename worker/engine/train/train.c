/* train.c - rows in groups through the transformer; one leaf a row comes out.
 *
 * A group is what runs at once. Everything a group needs is planned before it starts; the plan
 * grows when a later call brings longer rows and is reused otherwise.
 */
#include "worker/engine/train/train.h"

#include <inttypes.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/adapter_norm.h"
#include "worker/engine/nn/transformer.h"
#include "worker/engine/train/fake_quant.h"

/* A planned transformer with its batch; one for training, one for forward passes. */
struct lane {
    struct transformer *transformer; /* owned */
    struct batch batch;              /* owned */
    float *weights;                  /* owned: (batch.token_capacity) of targets, in order */
    struct transformer_plan plan;
    size_t size_bytes;
};

struct train {
    const struct model *model;
    struct kernel *kernel;
    const struct train_layout *layout; /* NULL: evaluation alone */
    struct train_options options;
    struct lane training, inference;
    float *gradient_memory; /* owned, of the kernel: (rows_at_once, count) */
    float **gradients;      /* owned: (rows_at_once) */
    float *norms;        /* owned, of the kernel: of nn/adapter_norm.h, under the call's values */
    const float *anchor; /* borrowed; or NULL */
    size_t gradient_bytes, peak_bytes;
};

enum err train_create(const struct model *model, struct kernel *kernel,
                      const struct train_layout *layout, const struct train_options *options,
                      struct train **out)
{
    struct train *train = mem_alloc(1, sizeof *train);
    if (train == NULL)
        return ERR_OUT_OF_MEMORY;
    train->model = model;
    train->kernel = kernel;
    train->layout = layout;
    train->options = *options;
    train->options.rows_at_once = MAX(options->rows_at_once, (size_t)1);
    *out = train;
    return ERR_OK;
}

static void lane_clear(struct lane *lane)
{
    transformer_destroy(&lane->transformer);
    batch_fini(&lane->batch);
    mem_free(lane->weights);
    *lane = (struct lane){0};
}

void train_destroy(struct train **train)
{
    struct train *t = *train;
    if (t == NULL)
        return;
    lane_clear(&t->training);
    lane_clear(&t->inference);
    kernel_free(t->kernel, t->gradient_memory);
    kernel_free(t->kernel, t->norms);
    mem_free(t->gradients);
    mem_free(t);
    *train = NULL;
}

static const struct binding *binding_of(const struct train_layout *layout)
{
    return layout != NULL ? train_layout_binding(layout) : NULL;
}

/* Vectors before each segment under these trainables; none for the untouched model. */
static size_t prompt_of(const struct train_layout *layout, const float *values)
{
    return layout != NULL && values != NULL ? train_layout_binding(layout)->prompt_count : 0;
}

void train_anchor(struct train *train, const float *anchor)
{
    train->anchor = anchor;
}

/* ---- planning ---- */

static void note_peak(struct train *train)
{
    size_t now = train->training.size_bytes + train->inference.size_bytes + train->gradient_bytes;
    train->peak_bytes = MAX(train->peak_bytes, now);
}

static size_t longest_segment(const struct train_row *row)
{
    size_t longest = 0;
    for (size_t s = 0; s < row->segment_count; s++) {
        size_t start = row->segment_starts[s];
        size_t end = s + 1 < row->segment_count ? row->segment_starts[s + 1] : row->token_count;
        longest = MAX(longest, end > start ? end - start : 0);
    }
    return longest;
}

/* Makes the lane large enough for every group of these rows. Positions above the model's are
 * refused when the batch is filled, so the plan need not hold them. */
static enum err lane_prepare(struct train *train, struct lane *lane, enum transformer_mode mode,
                             const struct train_row *rows, size_t count)
{
    size_t at_once = train->options.rows_at_once;
    size_t prompt = train->layout != NULL ? train_layout_binding(train->layout)->prompt_count : 0;
    struct transformer_plan plan = lane->plan;
    plan.mode = mode;
    plan.rows = at_once;
    plan.quantizes = train->options.quant != NULL;
    for (size_t first = 0; first < count; first += at_once) {
        size_t tokens = 0, prompts;
        for (size_t r = first; r < MIN(first + at_once, count); r++) {
            if (!check_mul(prompt, rows[r].segment_count, &prompts) ||
                !check_add(tokens, prompts, &tokens) ||
                !check_add(tokens, rows[r].token_count, &tokens))
                return ERR_OVERFLOW;
            plan.positions = MAX(plan.positions, MIN(prompt + longest_segment(&rows[r]),
                                                     model_shape(train->model)->positions));
        }
        plan.tokens = MAX(plan.tokens, tokens);
    }
    if (lane->transformer != NULL && plan.tokens == lane->plan.tokens &&
        plan.positions == lane->plan.positions)
        return ERR_OK;
    lane_clear(lane);
    const struct binding *binding = binding_of(train->layout);
    TRY(batch_init(&lane->batch, plan.tokens, plan.rows));
    lane->weights = mem_alloc(plan.tokens, sizeof *lane->weights);
    enum err err = lane->weights == NULL ? ERR_OUT_OF_MEMORY
                                         : transformer_create(train->model, train->kernel, binding,
                                                              &plan, &lane->transformer);
    if (err != ERR_OK) {
        lane_clear(lane);
        return err;
    }
    lane->plan = plan;
    lane->size_bytes = transformer_size_bytes(train->model, binding, &plan);
    note_peak(train);
    return ERR_OK;
}

static enum err prepare_gradients(struct train *train)
{
    size_t rows = train->options.rows_at_once, count = train_layout_count(train->layout), total;
    if (train->gradient_memory != NULL)
        return ERR_OK;
    if (!check_mul(rows, count, &total) || total > SIZE_MAX / sizeof(float))
        return ERR_OVERFLOW;
    float *memory = kernel_alloc(train->kernel, total);
    float **gradients = mem_alloc(rows, sizeof *gradients);
    if (memory == NULL || gradients == NULL) {
        kernel_free(train->kernel, memory);
        mem_free(gradients);
        return ERR_OUT_OF_MEMORY;
    }
    for (size_t r = 0; r < rows; r++)
        gradients[r] = memory + r * count;
    train->gradient_memory = memory;
    train->gradients = gradients;
    train->gradient_bytes = total * sizeof(float);
    note_peak(train);
    return ERR_OK;
}

/* A pass in `mode` over rows of `token_count` tokens each. */
static size_t pass_estimate(const struct model *model, const struct train_layout *layout,
                            const struct train_options *options, enum transformer_mode mode,
                            size_t token_count)
{
    size_t rows = MAX(options->rows_at_once, (size_t)1);
    bool pairs = options->objective == TRAIN_OBJECTIVE_PREFERENCE;
    token_count += layout != NULL ? train_layout_binding(layout)->prompt_count : 0;
    struct transformer_plan plan = {.mode = mode,
                                    .rows = rows,
                                    .positions = token_count,
                                    .quantizes = options->quantizes || options->quant != NULL};
    if (!check_mul(token_count, pairs ? PREFERENCE_SIDES : 1, &plan.tokens) ||
        !check_mul(plan.tokens, rows, &plan.tokens))
        return SIZE_MAX;
    return transformer_size_bytes(model, binding_of(layout), &plan);
}

size_t train_evaluate_estimate(const struct model *model, const struct train_layout *layout,
                               const struct train_options *options, size_t token_count)
{
    return pass_estimate(model, layout, options, TRANSFORMER_INFER, token_count);
}

size_t train_memory_estimate(const struct model *model, const struct train_layout *layout,
                             const struct train_options *options, size_t token_count)
{
    enum transformer_mode mode = options->checkpointing ? TRANSFORMER_RECOMPUTE : TRANSFORMER_TRAIN;
    if (layout == NULL)
        return train_evaluate_estimate(model, NULL, options, token_count);
    size_t rows = MAX(options->rows_at_once, (size_t)1), gradients;
    size_t bytes = pass_estimate(model, layout, options, mode, token_count);
    bool fits = check_mul(rows, train_layout_count(layout), &gradients) &&
                check_mul(gradients, sizeof(float), &gradients) &&
                check_add(bytes, gradients, &bytes);
    return fits ? bytes : SIZE_MAX;
}

size_t train_peak_bytes(const struct train *train)
{
    return train->peak_bytes;
}

/* ---- running ---- */

static enum err fill_batch(const struct train *train, struct lane *lane, const float *values,
                           const struct train_row *rows, size_t count, struct err_text *et)
{
    const struct model_shape *shape = model_shape(train->model);
    struct batch_limits limits = {.vocabulary = shape->vocabulary,
                                  .positions = shape->positions,
                                  .positions_short = shape->positions_short,
                                  .prompt_count = prompt_of(train->layout, values)};
    batch_clear(&lane->batch);
    for (size_t r = 0; r < count; r++) {
        struct batch_input input = {.index = rows[r].index,
                                    .tokens = rows[r].tokens,
                                    .loss = rows[r].loss,
                                    .token_count = rows[r].token_count,
                                    .segment_starts = rows[r].segment_starts,
                                    .segment_count = rows[r].segment_count};
        TRY(batch_add(&lane->batch, &input, &limits, et));
    }
    return ERR_OK;
}

static void sum_losses(const struct lane *lane, struct train_result *results)
{
    const double *losses = transformer_losses(lane->transformer);
    for (size_t r = 0; r < lane->batch.row_count; r++) {
        const struct batch_row *row = &lane->batch.rows[r];
        results[r] = (struct train_result){.weight = (double)row->target_count};
        for (size_t i = 0; i < row->target_count; i++)
            results[r].loss_sum += losses[row->target_start + i];
    }
}

/* ---- rows that are pairs ---- */

static enum err check_pairs(const struct train_row *rows, size_t count, struct err_text *et)
{
    for (size_t r = 0; r < count; r++)
        if (rows[r].segment_count != PREFERENCE_SIDES)
            return error_set(et, ERR_DATA,
                             "row %" PRIu64 ": expected a pair of answers, two segments; found %zu",
                             rows[r].index, rows[r].segment_count);
    return ERR_OK;
}

/* Of target i of batch row r. */
static enum preference_side side_of(const struct batch *batch, const struct train_row *row,
                                    size_t r, size_t i)
{
    const struct batch_row *in = &batch->rows[r];
    size_t at = batch->targets[in->target_start + i] - in->start;
    size_t rejected = batch->prompt_count + row->segment_starts[PREFERENCE_REJECTED];
    return at < rejected ? PREFERENCE_CHOSEN : PREFERENCE_REJECTED;
}

/* Log-probabilities of the two answers of batch row r. */
static void sum_sides(const struct lane *lane, const struct train_row *row, size_t r,
                      double log_p[PREFERENCE_SIDES])
{
    const struct batch_row *in = &lane->batch.rows[r];
    const double *losses = transformer_losses(lane->transformer) + in->target_start;
    log_p[PREFERENCE_CHOSEN] = log_p[PREFERENCE_REJECTED] = 0;
    for (size_t i = 0; i < in->target_count; i++)
        log_p[side_of(&lane->batch, row, r, i)] -= losses[i];
}

/* The losses of the pairs, and what the loss of each target weighs in their gradients. */
static void sum_pairs(const struct train *train, struct lane *lane, const struct train_row *rows,
                      struct train_result *results)
{
    for (size_t r = 0; r < lane->batch.row_count; r++) {
        const struct batch_row *row = &lane->batch.rows[r];
        double log_p[PREFERENCE_SIDES];
        sum_sides(lane, &rows[r], r, log_p);
        struct preference_cost cost =
            preference_cost(&train->options.preference, log_p, rows[r].reference);
        for (size_t i = 0; i < row->target_count; i++)
            lane->weights[row->target_start + i] =
                (float)(side_of(&lane->batch, &rows[r], r, i) == PREFERENCE_CHOSEN ? cost.slope
                                                                                   : -cost.slope);
        results[r] = (struct train_result){
            .loss_sum = cost.loss,
            .weight = 1,
            .rewards = {cost.rewards[PREFERENCE_CHOSEN], cost.rewards[PREFERENCE_REJECTED]},
            .is_correct = cost.is_correct,
        };
    }
}

/* Losses of the rows of the lane's batch, and with `backward` their gradients. */
static enum err run_rows(struct train *train, struct lane *lane, const struct train_row *rows,
                         bool backward, struct train_result *results, struct err_text *et)
{
    if (train->options.objective == TRAIN_OBJECTIVE_TOKENS) {
        TRY(transformer_loss(lane->transformer, backward, et));
        sum_losses(lane, results);
        return ERR_OK;
    }
    TRY(transformer_loss(lane->transformer, false, et));
    sum_pairs(train, lane, rows, results);
    return backward ? transformer_gradient(lane->transformer, lane->weights, et) : ERR_OK;
}

static enum err check_gradient(const struct train *train, size_t r, struct err_text *et)
{
    size_t count = train_layout_count(train->layout), i = 0;
    size_t bad = kernel_first_not_finite(train->kernel, count, train->gradients[r]);
    if (bad == count)
        return ERR_OK;
    while (train_layout_entry(train->layout, i)->offset +
               train_layout_entry(train->layout, i)->count <=
           bad)
        i++;
    return error_set(et, ERR_NOT_FINITE,
                     "row %" PRIu64 ": the gradient of %s is not finite; a lower learning rate or "
                     "max_grad_norm may help",
                     train->training.batch.rows[r].index,
                     train_layout_entry(train->layout, i)->name);
}

/* Norms change with the trainables: once a call. */
static enum err measure(struct train *train, const float *values)
{
    const struct binding *binding = binding_of(train->layout);
    if (binding == NULL || values == NULL || binding->norm_count == 0)
        return ERR_OK;
    if (train->norms == NULL)
        train->norms = kernel_alloc(train->kernel, adapter_norm_count(binding));
    if (train->norms == NULL)
        return ERR_OUT_OF_MEMORY;
    return adapter_norm_measure(train->kernel, train->model, binding, values, train->anchor,
                                train->norms);
}

/* What a pass reads beside the trainables. */
static void bind_rest(const struct train *train, struct pass *pass)
{
    pass->norms = train->norms;
    pass->anchor = train->anchor;
}

/* The untouched model is not quantized. */
static const struct pass_weight *weights_of(const struct train *train, const float *values)
{
    if (train->options.quant == NULL || values == NULL)
        return NULL;
    return fake_quant_weights(train->options.quant);
}

/* What one call of train_rows needs throughout. */
struct train_call {
    const float *values;
    uint64_t seed, round;
    train_leaf_f leaf;
    void *context;
};

static enum err train_group(struct train *train, const struct train_call *call,
                            const struct train_row *rows, size_t first, size_t count,
                            struct train_result *results, struct err_text *et)
{
    struct lane *lane = &train->training;
    TRY(fill_batch(train, lane, call->values, rows + first, count, et));
    kernel_zero(train->kernel, count * train_layout_count(train->layout), train->gradient_memory);
    struct pass *pass = transformer_pass(lane->transformer);
    pass->batch = &lane->batch;
    pass->values = call->values;
    pass->seed = call->seed;
    pass->round = call->round;
    pass->dropout = true;
    pass->gradients = train->gradients;
    pass->weights = weights_of(train, call->values);
    bind_rest(train, pass);
    TRY(run_rows(train, lane, rows + first, true, results + first, et));
    for (size_t r = 0; r < count; r++) {
        TRY(check_gradient(train, r, et));
        if (train->options.quant != NULL)
            fake_quant_mask(train->options.quant, train->gradients[r]);
        TRY(call->leaf(call->context, first + r, &results[first + r], train->gradients[r]));
    }
    return ERR_OK;
}

enum err train_rows(struct train *train, const float *values, uint64_t seed, uint64_t round,
                    const struct train_row *rows, size_t count, struct train_result *results,
                    train_leaf_f leaf, void *context, struct err_text *et)
{
    ASSERT(train->layout != NULL && values != NULL);
    struct train_call call = {values, seed, round, leaf, context};
    if (train->options.objective == TRAIN_OBJECTIVE_PREFERENCE)
        TRY(check_pairs(rows, count, et));
    enum transformer_mode mode =
        train->options.checkpointing ? TRANSFORMER_RECOMPUTE : TRANSFORMER_TRAIN;
    TRY(lane_prepare(train, &train->training, mode, rows, count));
    TRY(prepare_gradients(train));
    TRY(measure(train, values));
    for (size_t first = 0; first < count; first += train->options.rows_at_once)
        TRY(train_group(train, &call, rows, first, MIN(train->options.rows_at_once, count - first),
                        results, et));
    return ERR_OK;
}

static void bind_forward(const struct train *train, struct lane *lane, const float *values)
{
    struct pass *pass = transformer_pass(lane->transformer);
    pass->weights = weights_of(train, values);
    bind_rest(train, pass);
    pass->batch = &lane->batch;
    pass->values = values;
    pass->dropout = false;
}

enum err train_evaluate(struct train *train, const float *values, const struct train_row *rows,
                        size_t count, struct train_result *results, struct err_text *et)
{
    struct lane *lane = &train->inference;
    if (train->options.objective == TRAIN_OBJECTIVE_PREFERENCE)
        TRY(check_pairs(rows, count, et));
    TRY(lane_prepare(train, lane, TRANSFORMER_INFER, rows, count));
    TRY(measure(train, values));
    for (size_t first = 0; first < count; first += train->options.rows_at_once) {
        size_t n = MIN(train->options.rows_at_once, count - first);
        TRY(fill_batch(train, lane, values, rows + first, n, et));
        bind_forward(train, lane, values);
        TRY(run_rows(train, lane, rows + first, false, results + first, et));
    }
    return ERR_OK;
}

enum err train_log_probabilities(struct train *train, const float *values,
                                 const struct train_row *rows, size_t count,
                                 double (*out)[PREFERENCE_SIDES], struct err_text *et)
{
    struct lane *lane = &train->inference;
    TRY(check_pairs(rows, count, et));
    TRY(lane_prepare(train, lane, TRANSFORMER_INFER, rows, count));
    TRY(measure(train, values));
    for (size_t first = 0; first < count; first += train->options.rows_at_once) {
        size_t n = MIN(train->options.rows_at_once, count - first);
        TRY(fill_batch(train, lane, values, rows + first, n, et));
        bind_forward(train, lane, values);
        TRY(transformer_loss(lane->transformer, false, et));
        for (size_t r = 0; r < n; r++)
            sum_sides(lane, &rows[first + r], r, out[first + r]);
    }
    return ERR_OK;
}

enum err train_logits(struct train *train, const float *values, const struct train_row *row,
                      float *logits, struct err_text *et)
{
    struct lane *lane = &train->inference;
    TRY(lane_prepare(train, lane, TRANSFORMER_INFER, row, 1));
    TRY(measure(train, values));
    TRY(fill_batch(train, lane, values, row, 1, et));
    bind_forward(train, lane, values);
    TRY(transformer_forward(lane->transformer, et));
    size_t prompt = lane->batch.prompt_count;
    for (size_t s = 0; s < lane->batch.segment_count; s++) {
        const struct attention_segment *segment = &lane->batch.segments[s];
        size_t count = segment->count - prompt;
        transformer_logits(lane->transformer, segment->query_row + prompt, count, logits);
        logits += count * model_shape(train->model)->vocabulary;
    }
    return ERR_OK;
}
