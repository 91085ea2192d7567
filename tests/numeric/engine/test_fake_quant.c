/* test_fake_quant.c - training on codes: what is multiplied, where gradients go, and that it is the
 * same everywhere. The oracle is plain training at the point that the codes decode to.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/golden_family.h"
#include "worker/engine/quant/blocks.h"
#include "worker/engine/train/fake_quant.h"

enum { ROWS = 2, TOKENS = 24, SEED = 11 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

static const char *const all_linear[] = {"all-linear"};

static const struct train_config full = {.method = TRAIN_METHOD_FULL};
static const struct train_config lora = {
    .method = TRAIN_METHOD_LORA, .rank = 3, .alpha = 6, .targets = all_linear, .target_count = 1};

static struct fake_quant_config blocks_of(enum dtype dtype)
{
    return (struct fake_quant_config){.form = FAKE_QUANT_BLOCKS, .dtype = dtype};
}

static struct fake_quant_config grid_of(unsigned bits, bool symmetric, size_t group)
{
    return (struct fake_quant_config){.form = FAKE_QUANT_GRID,
                                      .grid = {.bits = bits,
                                               .symmetric = symmetric,
                                               .strategy = group != 0 ? GRID_GROUP : GRID_CHANNEL,
                                               .group_size = group,
                                               .scale_dtype = DTYPE_BF16}};
}

static const struct fake_quant_config ternary = {.form = FAKE_QUANT_TERNARY};

/* ---- a model, what trains of it, and its gradients ---- */

struct world {
    struct model *model; /* owned, unless it is a golden family's */
    struct golden_family *golden;
    struct kernel *kernel;
    struct train_layout *layout;
    struct train_row *rows; /* owned */
    size_t count;
    float *values; /* owned: (count) */
};

static void add_noise(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] += 0.1f * (random_uniform_f32(99, i) - 0.5f);
}

static void world_fill(struct world *w, const struct train_config *config)
{
    w->kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    OK(train_layout_create(w->model, config, &w->layout, &et));
    w->count = train_layout_count(w->layout);
    w->values = mem_alloc(w->count, sizeof *w->values);
    w->rows = engine_data_rows(ROWS, TOKENS, model_shape(w->model)->vocabulary, 23);
    train_layout_values(w->layout, 17, w->values);
    add_noise(w->values, w->count);
}

/* A Llama whose rows are whole blocks of 32, or of 256. */
static struct world world_open(const struct train_config *config, size_t width, bool tied)
{
    struct hf_config shape = engine_data_config(tied);
    struct world w = {0};
    shape.hidden_size = (uint32_t)width;
    shape.intermediate_size = (uint32_t)(2 * width);
    shape.head_dim = (uint32_t)(width / shape.num_attention_heads);
    shape.initializer_range = 0.05;
    w.model = engine_data_model(&shape, 3);
    world_fill(&w, config);
    return w;
}

static struct world world_of_family(const char *name, const struct train_config *config)
{
    struct world w = {.golden = golden_family_open(name)};
    w.model = w.golden->model;
    world_fill(&w, config);
    return w;
}

static void world_close(struct world *w)
{
    engine_data_free_rows(w->rows);
    mem_free(w->values);
    train_layout_destroy(&w->layout);
    kernel_destroy(&w->kernel);
    if (w->golden != NULL)
        golden_family_close(w->golden);
    else
        model_destroy(&w->model);
}

static struct fake_quant *quantize(const struct world *w, const struct fake_quant_config *config,
                                   uint64_t round)
{
    struct fake_quant *fq = NULL;
    OK(fake_quant_create(w->model, w->kernel, w->layout, config, &fq, &et));
    OK(fake_quant_update(fq, w->values, round, &et));
    return fq;
}

struct keeper {
    size_t count;
    float *gradients; /* (ROWS, count) */
    struct train_result results[ROWS];
};

static enum err keep(void *context, size_t row, const struct train_result *result,
                     const float *gradient)
{
    struct keeper *keeper = context;
    (void)result;
    memcpy(keeper->gradients + row * keeper->count, gradient, keeper->count * sizeof *gradient);
    return ERR_OK;
}

/* Released with mem_free(.gradients). */
static struct keeper gradients_of(const struct model *model, const struct world *w,
                                  const struct train_layout *layout, const float *values,
                                  const struct fake_quant *fq)
{
    struct keeper k = {.count = train_layout_count(layout)};
    struct train_options options = {.rows_at_once = 1, .quant = fq};
    struct train *train = NULL;
    k.gradients = mem_alloc(ROWS * k.count, sizeof *k.gradients);
    OK(train_create(model, w->kernel, layout, &options, &train));
    OK(train_rows(train, values, SEED, 0, w->rows, ROWS, k.results, keep, &k, &et));
    train_destroy(&train);
    return k;
}

/* ---- the oracle: full training of the same model at the point that the codes decode to ---- */

struct oracle {
    struct train_layout *layout; /* owned */
    size_t count;
    float *values; /* owned */
};

static const struct train_entry *entry_of(const struct train_layout *layout, size_t param,
                                          enum train_part part)
{
    for (size_t e = 0; e < train_layout_entry_count(layout); e++) {
        const struct train_entry *entry = train_layout_entry(layout, e);
        if (entry->param == param && entry->part == part)
            return entry;
    }
    return NULL;
}

/* Codes lie as (out, in); an entry of a turned parameter as (in, out). */
static void decode_into(const struct model_param *p, struct pass_weight weight, float *to)
{
    float *row = mem_alloc(p->columns, sizeof *row);
    for (size_t r = 0; r < p->rows; r++) {
        size_t from = dtype_span_bytes(weight.dtype, r * p->columns);
        block_decode(weight.dtype, p->columns, (const uint8_t *)weight.data + from, row);
        for (size_t c = 0; c < p->columns; c++)
            to[p->turned ? c * p->rows + r : r * p->columns + c] = row[c];
    }
    mem_free(row);
}

static struct oracle oracle_open(const struct world *w, const struct fake_quant *fq)
{
    struct oracle o = {0};
    OK(train_layout_create(w->model, &full, &o.layout, &et));
    o.count = train_layout_count(o.layout);
    o.values = mem_alloc(o.count, sizeof *o.values);
    train_layout_values(o.layout, 0, o.values);
    if (o.count == w->count)
        memcpy(o.values, w->values, o.count * sizeof *o.values);
    for (size_t i = 0; i < model_param_count(w->model); i++) {
        struct pass_weight weight = fake_quant_find(fq, i);
        if (weight.data != NULL)
            decode_into(model_param(w->model, i), weight,
                        o.values + entry_of(o.layout, i, TRAIN_PART_WHOLE)->offset);
    }
    return o;
}

static void oracle_close(struct oracle *o)
{
    train_layout_destroy(&o->layout);
    mem_free(o->values);
}

/* Elements whose value, at its place, is clipped to the grid's ends: by the definition. */
static bool is_clipped(const struct fake_quant_config *config, const struct grid *cells, size_t row,
                       size_t column, float x)
{
    double scale = (double)cells->scales[row * cells->across + column / cells->cell_columns];
    int zero = cells->zeros[row * cells->across + column / cells->cell_columns];
    double code = nearbyint((double)x / scale) + zero, half = ldexp(1, (int)config->grid.bits - 1);
    return code < -half || code > half - 1;
}

/* Zeroes what is clipped; returns how many there are. */
static size_t clip(const struct world *w, const struct fake_quant_config *config,
                   const struct fake_quant *fq, float *gradient)
{
    size_t clipped = 0;
    for (size_t i = 0; i < model_param_count(w->model); i++) {
        const struct grid *cells = fake_quant_cells(fq, i);
        const struct model_param *p = model_param(w->model, i);
        if (cells == NULL)
            continue;
        size_t offset = entry_of(w->layout, i, TRAIN_PART_WHOLE)->offset;
        for (size_t e = 0; e < p->rows * p->columns; e++) {
            size_t row = p->turned ? e % p->rows : e / p->columns;
            size_t column = p->turned ? e / p->rows : e % p->columns;
            if (!is_clipped(config, cells, row, column, w->values[offset + e]))
                continue;
            gradient[offset + e] = 0;
            clipped++;
        }
    }
    return clipped;
}

/* Full training on codes has the loss and the gradient of plain training on their values, but 0
 * where a value is clipped. Bit for bit. Returns how many are. */
static size_t check_full(const struct world *w, const struct fake_quant_config *config)
{
    struct fake_quant *fq = quantize(w, config, 0);
    struct oracle o = oracle_open(w, fq);
    struct keeper got = gradients_of(w->model, w, w->layout, w->values, fq);
    struct keeper wanted = gradients_of(w->model, w, o.layout, o.values, NULL);
    size_t clipped = 0;
    assert_memory_not_equal(o.values, w->values, o.count * sizeof *o.values);
    for (size_t r = 0; r < ROWS; r++) {
        assert_true(got.results[r].loss_sum == wanted.results[r].loss_sum);
        clipped = clip(w, config, fq, wanted.gradients + r * o.count);
    }
    assert_memory_equal(got.gradients, wanted.gradients, ROWS * o.count * sizeof(float));
    mem_free(got.gradients);
    mem_free(wanted.gradients);
    oracle_close(&o);
    fake_quant_destroy(&fq);
    return clipped;
}

static void test_fake_quant__full_training_sees_the_values_of_its_codes(void **state)
{
    static const enum dtype types[] = {DTYPE_Q4_0, DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_IQ4_NL};
    (void)state;
    for (size_t tied = 0; tied < 2; tied++) {
        struct world w = world_open(&full, 32, tied != 0);
        for (size_t i = 0; i < COUNT_OF(types); i++) {
            struct fake_quant_config config = blocks_of(types[i]);
            assert_int_equal(check_full(&w, &config), 0);
            config.embedding = true;
            assert_int_equal(check_full(&w, &config), 0);
        }
        assert_int_equal(check_full(&w, &ternary), 0);
        world_close(&w);
    }
}

static void test_fake_quant__full_training_on_k_blocks_and_ternary_ones(void **state)
{
    static const enum dtype types[] = {DTYPE_Q2_K, DTYPE_Q4_K, DTYPE_TQ2_0};
    (void)state;
    struct world w = world_open(&full, 256, true);
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct fake_quant_config config = blocks_of(types[i]);
        assert_int_equal(check_full(&w, &config), 0);
    }
    assert_int_equal(check_full(&w, &ternary), 0);
    world_close(&w);
}

static void test_fake_quant__integer_grids_keep_the_gradient_from_what_they_clip(void **state)
{
    (void)state;
    struct world w = world_open(&full, 32, false);
    for (unsigned symmetric = 0; symmetric < 2; symmetric++) {
        struct fake_quant_config groups = grid_of(4, symmetric != 0, 32);
        struct fake_quant_config rows = grid_of(8, symmetric != 0, 0);
        struct fake_quant_config halves = grid_of(4, symmetric != 0, 8);
        size_t clipped = check_full(&w, &groups);
        assert_true(clipped > 0 && clipped < w.count / 10);
        (void)check_full(&w, &rows);
        assert_true(check_full(&w, &halves) > 0);
    }
    world_close(&w);
}

/* GPT-2's matrices lie turned, Falcon's fused one has its rows in groups. */
static void test_fake_quant__matrices_that_lie_otherwise(void **state)
{
    static const char *const families[] = {"gpt2", "falcon-new", "phi3", "gemma2"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        struct world w = world_of_family(families[i], &full);
        struct fake_quant_config config = grid_of(4, true, 0);
        assert_true(check_full(&w, &config) > 0);
        world_close(&w);
    }
}

/* Encoding what codes decode to gives the codes again: a file of them can be made anew. */
static void test_fake_quant__types_that_encode_their_values_to_the_same_bytes(void **state)
{
    static const enum dtype types[] = {DTYPE_Q4_0, DTYPE_Q4_1,  DTYPE_Q5_0, DTYPE_Q5_1,
                                       DTYPE_Q8_0, DTYPE_TQ1_0, DTYPE_TQ2_0};
    (void)state;
    struct world w = world_open(&full, 256, true);
    size_t down = (size_t)model_param_index(w.model, MODEL_DOWN, 0);
    const struct model_param *p = model_param(w.model, down);
    float *values = mem_alloc(p->rows * p->columns, sizeof *values);
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct fake_quant_config config = blocks_of(types[i]);
        struct fake_quant *fq = quantize(&w, &config, 0);
        size_t size = dtype_span_bytes(types[i], p->rows * p->columns);
        uint8_t *again = mem_alloc(size, 1);
        const void *codes = fake_quant_find(fq, down).data;
        block_decode(types[i], p->rows * p->columns, codes, values);
        block_encode(types[i], p->rows, p->columns, values, NULL, again);
        if (memcmp(codes, again, size) != 0)
            fail_msg("%s: other bytes", dtype_name(types[i]));
        mem_free(again);
        fake_quant_destroy(&fq);
    }
    mem_free(values);
    world_close(&w);
}

/* ---- adapters ---- */

static void near(const char *name, const float *got, const double *wanted, size_t count)
{
    double largest = 0, error = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(wanted[i]));
        error = fmax(error, fabs(wanted[i] - (double)got[i]));
    }
    if (!(largest > 0 && error < 2e-5 * largest))
        fail_msg("%s: off by %g of %g", name, error, largest);
}

/* dA = s B^T dW and dB = s dW A^T of one module, from the gradient dW at the point of the codes. */
static void check_module(const struct world *w, const struct train_entry *a,
                         const struct train_entry *b, const float *dw, bool turned,
                         const float *gradient)
{
    size_t out = b->shape[0], in = a->shape[1], rank = a->shape[0];
    double scale = lora.alpha / (double)lora.rank;
    double *da = mem_alloc(rank * in, sizeof *da), *db = mem_alloc(out * rank, sizeof *db);
    const float *va = w->values + a->offset, *vb = w->values + b->offset;
    for (size_t o = 0; o < out; o++) {
        for (size_t i = 0; i < in; i++) {
            double d = scale * (double)dw[turned ? i * out + o : o * in + i];
            for (size_t r = 0; r < rank; r++) {
                da[r * in + i] += d * (double)vb[o * rank + r];
                db[o * rank + r] += d * (double)va[r * in + i];
            }
        }
    }
    near(a->name, gradient + a->offset, da, rank * in);
    near(b->name, gradient + b->offset, db, out * rank);
    mem_free(da);
    mem_free(db);
}

static void check_lora(const struct world *w, const struct fake_quant_config *config)
{
    struct fake_quant *fq = quantize(w, config, 0);
    struct oracle o = oracle_open(w, fq);
    struct keeper got = gradients_of(w->model, w, w->layout, w->values, fq);
    struct keeper wanted = gradients_of(w->model, w, o.layout, o.values, NULL);
    for (size_t r = 0; r < ROWS; r++) {
        assert_true(got.results[r].loss_sum == wanted.results[r].loss_sum);
        for (size_t e = 0; e < train_layout_entry_count(w->layout); e++) {
            const struct train_entry *a = train_layout_entry(w->layout, e);
            if (a->part != TRAIN_PART_A)
                continue;
            const struct train_entry *whole = entry_of(o.layout, a->param, TRAIN_PART_WHOLE);
            check_module(w, a, entry_of(w->layout, a->param, TRAIN_PART_B),
                         wanted.gradients + r * o.count + whole->offset,
                         model_param(w->model, a->param)->turned, got.gradients + r * w->count);
        }
    }
    mem_free(got.gradients);
    mem_free(wanted.gradients);
    oracle_close(&o);
    fake_quant_destroy(&fq);
}

static void test_fake_quant__adapters_train_inside_the_codes(void **state)
{
    (void)state;
    struct world w = world_open(&lora, 32, true);
    struct fake_quant_config q4 = blocks_of(DTYPE_Q4_0), grid = grid_of(4, true, 32);
    check_lora(&w, &q4);
    check_lora(&w, &grid);
    check_lora(&w, &ternary);
    world_close(&w);
}

/* ---- rounds, inputs, refusals ---- */

static void test_fake_quant__rounds_before_the_first_are_plain(void **state)
{
    (void)state;
    struct world w = world_open(&full, 32, true);
    struct fake_quant_config config = blocks_of(DTYPE_Q4_0);
    config.first_round = 3;
    struct fake_quant *fq = quantize(&w, &config, 2);
    assert_null(fake_quant_weights(fq));
    OK(fake_quant_update(fq, w.values, 3, &et));
    assert_non_null(fake_quant_weights(fq));
    OK(fake_quant_update(fq, w.values, 0, &et));
    assert_null(fake_quant_weights(fq));
    OK(fake_quant_update(fq, w.values, FAKE_QUANT_FINAL, &et));
    assert_non_null(fake_quant_weights(fq));
    fake_quant_destroy(&fq);
    world_close(&w);
}

static void test_fake_quant__warm_up_goes_from_the_values_to_the_codes(void **state)
{
    (void)state;
    struct world w = world_open(&full, 32, true);
    struct fake_quant_config config = ternary;
    config.warmup_rounds = 4;
    config.rounding = PASS_ROUNDING_INT8;
    size_t query = (size_t)model_param_index(w.model, MODEL_QUERY, 1);
    size_t count = model_param(w.model, query)->rows * model_param(w.model, query)->columns;
    const float *plain = w.values + entry_of(w.layout, query, TRAIN_PART_WHOLE)->offset;
    struct fake_quant *fq = quantize(&w, &config, 0);
    assert_null(fake_quant_weights(fq)); /* nothing is rounded yet */
    OK(fake_quant_update(fq, w.values, 1, &et));
    struct pass_weight weight = fake_quant_find(fq, query);
    float scale = fake_quant_scale(fq, query);
    assert_int_equal(weight.dtype, DTYPE_F32);
    assert_true(weight.rounded_part == 0.25f);
    for (size_t i = 0; i < count; i++) {
        double x = (double)plain[i], r = fmax(-1, fmin(1, nearbyint(x / (double)scale)));
        double wanted = x + 0.25 * (r * (double)scale - x);
        assert_true(fabs((double)((const float *)weight.data)[i] - wanted) < 1e-7);
    }
    OK(fake_quant_update(fq, w.values, 4, &et));
    weight = fake_quant_find(fq, query);
    assert_int_equal(weight.dtype, DTYPE_F16); /* no rows of 256 */
    assert_true(weight.rounded_part == 1);
    fake_quant_destroy(&fq);
    world_close(&w);
}

/* The gradient of W is that of the product it is in: dy^T of what the product saw of its input. */
static void test_fake_quant__inputs_are_rounded_for_the_product_and_its_gradient(void **state)
{
    static const enum pass_rounding roundings[] = {PASS_ROUNDING_INT8, PASS_ROUNDING_GRID8};
    (void)state;
    struct world w = world_open(&full, 32, true);
    for (size_t i = 0; i < COUNT_OF(roundings); i++) {
        struct fake_quant_config config = blocks_of(DTYPE_Q8_0);
        struct fake_quant *plain = quantize(&w, &config, 0);
        config.rounding = roundings[i];
        struct fake_quant *rounded = quantize(&w, &config, 0);
        struct keeper a = gradients_of(w.model, &w, w.layout, w.values, plain);
        struct keeper b = gradients_of(w.model, &w, w.layout, w.values, rounded);
        double off = fabs(a.results[0].loss_sum / b.results[0].loss_sum - 1), dot = 0, aa = 0,
               bb = 0;
        assert_true(off > 0 && off < 0.01);
        for (size_t e = 0; e < w.count; e++) {
            dot += (double)a.gradients[e] * (double)b.gradients[e];
            aa += (double)a.gradients[e] * (double)a.gradients[e];
            bb += (double)b.gradients[e] * (double)b.gradients[e];
        }
        assert_true(dot / sqrt(aa * bb) > 0.99);
        mem_free(a.gradients);
        mem_free(b.gradients);
        fake_quant_destroy(&plain);
        fake_quant_destroy(&rounded);
    }
    world_close(&w);
}

/* A BitNet whose masters train computes what it computes when it is opened: up to its scales, which
 * training rounds to f16. */
static void test_fake_quant__masters_are_rounded_as_their_model_rounds_them(void **state)
{
    (void)state;
    struct world w = world_of_family("bitnet", &full);
    struct fake_quant_config config = ternary;
    config.rounding = PASS_ROUNDING_INT8;
    train_layout_values(w.layout, 17, w.values);
    struct fake_quant *fq = quantize(&w, &config, 0);
    struct train_options options = {.rows_at_once = 1, .quant = fq};
    struct train *train = NULL;
    struct train_result trained[ROWS], opened[ROWS];
    OK(train_create(w.model, w.kernel, w.layout, &options, &train));
    OK(train_evaluate(train, w.values, w.rows, ROWS, trained, &et));
    OK(train_evaluate(train, NULL, w.rows, ROWS, opened, &et));
    for (size_t r = 0; r < ROWS; r++) {
        double off = fabs(trained[r].loss_sum / opened[r].loss_sum - 1);
        if (!(off < 2e-3))
            fail_msg("row %zu: off by %g", r, off);
    }
    train_destroy(&train);
    fake_quant_destroy(&fq);
    world_close(&w);
}

static void refuse(const struct train_config *train, const struct fake_quant_config *config,
                   const char *first, const char *second)
{
    struct world w = world_open(train, 32, true);
    struct fake_quant *fq = NULL;
    assert_int_equal(fake_quant_create(w.model, w.kernel, w.layout, config, &fq, &et), ERR_RECIPE);
    assert_null(fq);
    if (strstr(et.text, first) == NULL || strstr(et.text, second) == NULL)
        fail_msg("%s", et.text);
    world_close(&w);
}

static void test_fake_quant__refusals_name_the_keys(void **state)
{
    (void)state;
    struct train_config dropout = lora;
    struct fake_quant_config k = blocks_of(DTYPE_Q4_K), groups = grid_of(4, true, 24);
    struct fake_quant_config q4 = blocks_of(DTYPE_Q4_0);
    dropout.dropout = 0.1;
    refuse(&full, &k, "qat.weight_dtype", "Q4_K");
    refuse(&full, &groups, "qat.group_size", "24");
    refuse(&dropout, &q4, "qat", "lora_dropout");
    static const char *const ends[] = {"embed_tokens", "lm_head"};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct train_config end = lora;
        end.targets = &ends[i];
        refuse(&end, &q4, "qat, lora_target_modules", "embed");
    }
}

static void test_fake_quant__a_weight_that_is_not_finite_is_named(void **state)
{
    (void)state;
    struct world w = world_open(&full, 32, true);
    struct fake_quant_config config = blocks_of(DTYPE_Q4_0);
    struct fake_quant *fq = quantize(&w, &config, 0);
    size_t up = (size_t)model_param_index(w.model, MODEL_UP, 1);
    w.values[entry_of(w.layout, up, TRAIN_PART_WHOLE)->offset + 33] = INFINITY;
    assert_int_equal(fake_quant_update(fq, w.values, 1, &et), ERR_NOT_FINITE);
    assert_non_null(strstr(et.text, "model.layers.1.mlp.up_proj.weight, row 1"));
    fake_quant_destroy(&fq);
    world_close(&w);
}

/* ---- bits ---- */

struct setup {
    enum kernel_isa isa;
    unsigned threads;
    size_t rows_at_once;
    bool checkpointing;
};

struct chain {
    struct digest digest;
    size_t count;
};

static enum err link_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    struct chain *chain = context;
    (void)row;
    struct span sums = {(const uint8_t *)&result->loss_sum, sizeof result->loss_sum};
    struct span values = {(const uint8_t *)gradient, chain->count * sizeof *gradient};
    chain->digest = digest_link(digest_link(chain->digest, sums), values);
    return ERR_OK;
}

static bool run(const struct world *w, const struct fake_quant_config *config, struct setup setup,
                struct digest *out)
{
    struct kernel *kernel = engine_data_kernel(setup.isa, setup.threads);
    if (kernel == NULL)
        return false;
    struct world other = *w;
    other.kernel = kernel;
    struct fake_quant *fq = quantize(&other, config, 1);
    struct train_options options = {
        .rows_at_once = setup.rows_at_once, .checkpointing = setup.checkpointing, .quant = fq};
    struct train *train = NULL;
    struct train_result results[ROWS];
    struct chain chain = {.count = w->count};
    OK(train_create(w->model, kernel, w->layout, &options, &train));
    OK(train_rows(train, w->values, SEED, 1, w->rows, ROWS, results, link_leaf, &chain, &et));
    train_destroy(&train);
    fake_quant_destroy(&fq);
    kernel_destroy(&kernel);
    *out = chain.digest;
    return true;
}

static void check_bits(const struct world *w, struct fake_quant_config config)
{
    static const struct setup setups[] = {
        {KERNEL_ISA_PORTABLE, 1, 1, false}, {KERNEL_ISA_AVX2, 2, 2, true},
        {KERNEL_ISA_AVX512, 1, 2, false},   {KERNEL_ISA_BEST, 2, 1, false},
        {KERNEL_ISA_BEST, 2, 2, true},
    };
    struct digest wanted, got;
    assert_true(run(w, &config, (struct setup){KERNEL_ISA_BEST, 1, 1, false}, &wanted));
    for (size_t i = 0; i < COUNT_OF(setups); i++) {
        if (!run(w, &config, setups[i], &got))
            print_message("skipped: setup %zu: this processor lacks the instruction set\n", i);
        else if (!digest_equal(wanted, got))
            fail_msg("setup %zu: other bits", i);
    }
}

static void test_fake_quant__bits_depend_on_nothing_else(void **state)
{
    static const struct train_config *const methods[] = {&full, &lora};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        struct world w = world_open(methods[i], 32, true);
        struct fake_quant_config q5 = blocks_of(DTYPE_Q5_0), grid = grid_of(4, false, 32);
        struct fake_quant_config warm = ternary;
        q5.embedding = true;
        grid.rounding = PASS_ROUNDING_GRID8;
        warm.rounding = PASS_ROUNDING_INT8;
        warm.warmup_rounds = 3;
        check_bits(&w, q5);
        check_bits(&w, grid);
        check_bits(&w, ternary);
        check_bits(&w, warm);
        world_close(&w);
    }
    struct world w = world_open(&lora, 256, true);
    check_bits(&w, blocks_of(DTYPE_Q4_K));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fake_quant__full_training_sees_the_values_of_its_codes),
        cmocka_unit_test(test_fake_quant__full_training_on_k_blocks_and_ternary_ones),
        cmocka_unit_test(test_fake_quant__integer_grids_keep_the_gradient_from_what_they_clip),
        cmocka_unit_test(test_fake_quant__matrices_that_lie_otherwise),
        cmocka_unit_test(test_fake_quant__types_that_encode_their_values_to_the_same_bytes),
        cmocka_unit_test(test_fake_quant__adapters_train_inside_the_codes),
        cmocka_unit_test(test_fake_quant__rounds_before_the_first_are_plain),
        cmocka_unit_test(test_fake_quant__warm_up_goes_from_the_values_to_the_codes),
        cmocka_unit_test(test_fake_quant__inputs_are_rounded_for_the_product_and_its_gradient),
        cmocka_unit_test(test_fake_quant__masters_are_rounded_as_their_model_rounds_them),
        cmocka_unit_test(test_fake_quant__refusals_name_the_keys),
        cmocka_unit_test(test_fake_quant__a_weight_that_is_not_finite_is_named),
        cmocka_unit_test(test_fake_quant__bits_depend_on_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
