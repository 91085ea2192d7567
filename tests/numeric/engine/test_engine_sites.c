/* test_engine_sites.c - the sites of every family: which modules each has, that an observer sees
 * the inputs that the layer's formulas say, in f64, and that layers run one by one are the whole.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"
#include "tests/numeric/engine/golden_family.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/engine/nn/model_site.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/nn/transformer.h"

enum { SITES_MAX = 64 };

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

/* A transformer over one packed row, and what its observer has seen. */
struct run {
    const struct model *model;
    struct kernel *kernel;
    struct transformer *transformer;
    struct batch batch;
    struct pass_observer observer;
    size_t count; /* of calls */
    float *seen[SITES_MAX];
};

static size_t site_size(const struct run *r, size_t site)
{
    return r->batch.token_count * model_site(r->model, site).columns;
}

/* Calls come site by site, each with its first module. */
static void observe(void *context, const struct pass *pass, size_t param, const float *x)
{
    struct run *r = context;
    assert_ptr_equal(pass, transformer_pass(r->transformer));
    size_t site = model_site_of_param(r->model, param);
    if (r->count % model_site_count(r->model) != site)
        fail_msg("site %zu (%s) seen at call %zu", site, model_param(r->model, param)->name,
                 r->count);
    assert_int_equal(model_site(r->model, site).params[0], param);
    r->count++;
    memcpy(r->seen[site], x, site_size(r, site) * sizeof *x);
}

static struct run *run_open(const struct model *model, const struct train_row *row)
{
    struct run *r = mem_alloc(1, sizeof *r);
    assert_non_null(r);
    const struct model_shape *s = model_shape(model);
    struct transformer_plan plan = {.mode = TRANSFORMER_INFER,
                                    .tokens = row->token_count,
                                    .rows = 1,
                                    .positions = row->token_count};
    struct batch_limits limits = {.vocabulary = s->vocabulary,
                                  .positions = s->positions,
                                  .positions_short = s->positions_short};
    struct batch_input input = {.index = 5,
                                .tokens = row->tokens,
                                .loss = row->loss,
                                .token_count = row->token_count,
                                .segment_starts = row->segment_starts,
                                .segment_count = row->segment_count};
    r->model = model;
    r->kernel = engine_data_kernel(KERNEL_ISA_BEST, 2);
    OK(batch_init(&r->batch, row->token_count, 1));
    OK(batch_add(&r->batch, &input, &limits, &et));
    OK(transformer_create(model, r->kernel, NULL, &plan, &r->transformer));
    r->observer = (struct pass_observer){r, observe};
    transformer_pass(r->transformer)->batch = &r->batch;
    transformer_pass(r->transformer)->observer = &r->observer;
    assert_true(model_site_count(model) <= SITES_MAX);
    for (size_t i = 0; i < model_site_count(model); i++) {
        r->seen[i] = mem_alloc(site_size(r, i), sizeof(float));
        assert_non_null(r->seen[i]);
    }
    return r;
}

static void run_close(struct run *r)
{
    for (size_t i = 0; i < SITES_MAX; i++)
        mem_free(r->seen[i]);
    transformer_destroy(&r->transformer);
    batch_fini(&r->batch);
    kernel_destroy(&r->kernel);
    mem_free(r);
}

/* ---- the list ---- */

static bool has_data(const struct model *model, size_t param)
{
    const struct model_param *p = model_param(model, param);
    bool is_head = p->role == MODEL_EMBEDDING && model_shape(model)->tied;
    return (p->kind == MODEL_KIND_LINEAR || is_head) && p->part.whole == MODEL_NO_PARAM;
}

static void test_family__every_linear_module_is_in_one_site(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    const struct model *model = g->model;
    for (size_t param = 0; param < model_param_count(model); param++) {
        size_t found = 0;
        for (size_t i = 0; i < model_site_count(model); i++) {
            struct model_site site = model_site(model, i);
            for (size_t j = 0; j < site.param_count; j++) {
                bool here = site.params[j] == param;
                found += here;
                if (here)
                    assert_int_equal(model_site_of_param(model, param), i);
            }
        }
        assert_int_equal(found, has_data(model, param));
    }
    golden_family_close(g);
}

static void test_family__sites_have_names_and_norms_of_their_own(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    const struct model *model = g->model;
    for (size_t i = 0; i < model_site_count(model); i++) {
        struct model_site site = model_site(model, i);
        size_t found;
        char name[256];
        (void)snprintf(name, sizeof name, "%.*s.weight", TEXT_ARGS(site.name));
        assert_string_equal(name, model_param(model, site.params[0])->name);
        assert_int_equal(model_site_find(model, site.name, &found), ERR_OK);
        assert_int_equal(found, i);
        assert_int_equal(site.in_layer, i + 1 < model_site_count(model));
        assert_true(site.norm == MODEL_NO_PARAM || site.source == MODEL_NO_PARAM);
        for (size_t j = 0; j < i; j++)
            assert_true(site.norm == MODEL_NO_PARAM || model_site(model, j).norm != site.norm);
    }
    size_t found;
    assert_int_equal(model_site_find(model, TEXT("nothing"), &found), ERR_NOT_FOUND);
    golden_family_close(g);
}

static void test_sites__are_those_of_the_family(void **state)
{
    static const struct {
        const char *family;
        size_t of_layer;
        const char *modules; /* of layer 1's sites, what feeds them behind a colon */
    } cases[] = {
        {"llama2", 4,
         "q k v: input_layernorm | o: v | gate up: post_attention_layernorm | down: up"},
        {"gemma2", 4,
         "q k v: input_layernorm | o: v | gate up: pre_feedforward_layernorm | down: up"},
        {"phi2", 3, "q k v fc1: input_layernorm | dense: v | fc2:"},
        {"phi3", 4,
         "qkv: input_layernorm | o: qkv | gate_up: post_attention_layernorm | "
         "down: gate_up"},
        {"falcon7b", 3,
         "query_key_value dense_h_to_4h: input_layernorm | dense: query_key_value | "
         "dense_4h_to_h:"},
        {"falcon-new", 4,
         "query_key_value: ln_attn | dense: query_key_value | dense_h_to_4h: ln_mlp | "
         "dense_4h_to_h:"},
        {"gpt2", 4, "c_attn: ln_1 | c_proj: c_attn | c_fc: ln_2 | c_proj:"},
        {"bitnet", 4,
         "q k v: input_layernorm | o: attn_sub_norm | gate up: post_attention_layernorm | "
         "down: ffn_sub_norm"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct golden_family *g = golden_family_open(cases[i].family);
        char says[512] = "";
        assert_int_equal(model_site_layer_count(g->model), cases[i].of_layer);
        for (size_t s = 0; s < cases[i].of_layer; s++) {
            struct model_site site = model_site(g->model, cases[i].of_layer + s);
            ptrdiff_t feeder = site.norm != MODEL_NO_PARAM ? site.norm : site.source;
            assert_int_equal(site.layer, 1);
            for (size_t j = 0; j <= site.param_count; j++) {
                size_t at = strlen(says), param = j < site.param_count ? site.params[j] : 0;
                const char *before = j > 0 ? " " : s > 0 ? " | " : "", *name = "", *dot = "";
                if (j == site.param_count) {
                    before = feeder != MODEL_NO_PARAM ? ": " : ":";
                    param = feeder != MODEL_NO_PARAM ? (size_t)feeder : 0;
                }
                if (j < site.param_count || feeder != MODEL_NO_PARAM) {
                    name = model_param(g->model, param)->name;
                    dot = strrchr(name, '.');
                    for (name = dot; name[-1] != '.'; name--)
                        ;
                }
                int size = (int)(dot - name);
                bool is_proj = size > 5 && strncmp(dot - 5, "_proj", 5) == 0 && name[0] != 'c';
                (void)snprintf(says + at, sizeof says - at, "%s%.*s", before,
                               is_proj ? size - 5 : size, name);
            }
        }
        assert_string_equal(says, cases[i].modules);
        golden_family_close(g);
    }
}

/* ---- what an observer sees ---- */

/* out (T, width) = the family's norm of x, in f64. */
static void norm64(const struct model *model, size_t param, size_t T, const double *x, double *out)
{
    const struct model_shape *s = model_shape(model);
    const struct model_param *p = model_param(model, param);
    bool centred = model_family(model)->norm == NORM_LAYER;
    float *gain = mem_alloc(2 * p->rows, sizeof *gain), *bias = gain + p->rows;
    assert_non_null(gain);
    model_values_read(model, param, 0, p->rows, gain);
    if (p->bias != MODEL_NO_PARAM)
        model_values_read(model, (size_t)p->bias, 0, p->rows, bias);
    for (size_t t = 0; t < T; t++, x += p->rows, out += p->rows) {
        double mean = 0, squares = 0;
        for (size_t c = 0; c < p->rows && centred; c++)
            mean += x[c] / (double)p->rows;
        for (size_t c = 0; c < p->rows; c++)
            squares += (x[c] - mean) * (x[c] - mean) / (double)p->rows;
        for (size_t c = 0; c < p->rows; c++)
            out[c] = (x[c] - mean) / sqrt(squares + (double)s->norm_epsilon) *
                         ((double)gain[c] + (double)s->norm_offset) +
                     (double)bias[c];
    }
    mem_free(gain);
}

/* out (T, rows) = the module's product with x (T, columns), in f64. */
static void linear64(struct run *r, enum model_role role, size_t layer, const float *x, double *out)
{
    size_t param = (size_t)model_param_index(r->model, role, layer), T = r->batch.token_count;
    const struct model_param *p = model_param(r->model, param);
    float *w = mem_alloc(p->rows * (p->columns + 1) + T * p->columns, sizeof *w);
    assert_non_null(w);
    float *bias = w + p->rows * p->columns, *input = bias + p->rows;
    model_values_read(r->model, param, 0, p->rows, w);
    if (p->bias != MODEL_NO_PARAM)
        model_values_read(r->model, (size_t)p->bias, 0, p->rows, bias);
    memcpy(input, x, T * p->columns * sizeof *x);
    if (p->rounds_input)
        kernel_round_int8(r->kernel, T, p->columns, x, input);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < p->rows; i++) {
            double sum = (double)bias[i];
            for (size_t c = 0; c < p->columns; c++)
                sum += (double)input[t * p->columns + c] * (double)w[i * p->columns + c];
            out[t * p->rows + i] = sum;
        }
    mem_free(w);
}

static void check(const struct run *r, const char *what, size_t layer, size_t count,
                  const double *wanted, const float *got)
{
    double most = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs(wanted[i]));
        worst = fmax(worst, fabs(wanted[i] - (double)got[i]));
    }
    if (!(worst < 2e-5 * (1 + most)))
        fail_msg("%s, layer %zu: %s is off by %.1e of %.1e", model_family(r->model)->model_type,
                 layer, what, worst, most);
}

static const float *seen_by(const struct run *r, enum model_role role, size_t layer)
{
    size_t param = (size_t)model_param_index(r->model, role, layer);
    return r->seen[model_site_of_param(r->model, param)];
}

/* sum (T, C) += the module's output, behind its norm where the family has one. */
static void add_branch(struct run *r, enum model_role role, enum model_role norm, size_t layer,
                       double *sum)
{
    size_t T = r->batch.token_count, count = T * model_shape(r->model)->width;
    double *out = mem_alloc(count, sizeof *out);
    assert_non_null(out);
    ptrdiff_t param = model_param_index(r->model, norm, layer);
    linear64(r, role, layer, seen_by(r, role, layer), out);
    if (param != MODEL_NO_PARAM)
        norm64(r->model, (size_t)param, T, out, out);
    for (size_t i = 0; i < count; i++)
        sum[i] += out[i];
    mem_free(out);
}

/* The layer from x to next by what its sites were seen to be. */
static void check_layer(struct run *r, size_t layer, const float *x, const float *next)
{
    size_t T = r->batch.token_count, count = T * model_shape(r->model)->width;
    double *middle = mem_alloc(2 * count, sizeof *middle), *normed = middle + count;
    assert_non_null(middle);
    for (size_t i = 0; i < count; i++)
        middle[i] = (double)x[i];
    norm64(r->model, (size_t)model_param_index(r->model, MODEL_ATTENTION_NORM, layer), T, middle,
           normed);
    check(r, "attention's input", layer, count, normed, seen_by(r, MODEL_QUERY, layer));
    ptrdiff_t norm = model_param_index(r->model, MODEL_MLP_NORM, layer);
    bool parallel = model_family(r->model)->residual == RESIDUAL_PARALLEL;
    if (parallel && norm != MODEL_NO_PARAM)
        norm64(r->model, (size_t)norm, T, middle, normed);
    add_branch(r, MODEL_OUTPUT, MODEL_POST_ATTENTION_NORM, layer, middle);
    if (!parallel)
        norm64(r->model, (size_t)norm, T, middle, normed);
    check(r, "the mlp's input", layer, count, normed, seen_by(r, MODEL_UP, layer));
    add_branch(r, MODEL_DOWN, MODEL_POST_MLP_NORM, layer, middle);
    check(r, "the output", layer, count, middle, next);
    mem_free(middle);
}

static void test_family__an_observer_sees_what_the_formulas_say(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct run *r = run_open(g->model, &g->sequences[0].row);
    size_t layers = model_shape(g->model)->layers;
    size_t T = r->batch.token_count, count = T * model_shape(g->model)->width;
    float *x = mem_alloc(2 * count, sizeof *x), *next = x + count;
    double *last = mem_alloc(count, sizeof *last);
    assert_true(x != NULL && last != NULL);
    transformer_embed(r->transformer, x);
    for (size_t l = 0; l < layers; l++) {
        OK(transformer_layer(r->transformer, l, x, next, &et));
        check_layer(r, l, x, next);
        memcpy(x, next, count * sizeof *x);
    }
    transformer_observe_head(r->transformer, x);
    assert_int_equal(r->count, model_site_count(g->model));
    for (size_t i = 0; i < count; i++)
        last[i] = (double)x[i];
    norm64(g->model, (size_t)model_param_index(g->model, MODEL_FINAL_NORM, 0), T, last, last);
    check(r, "the head's input", layers, count, last, seen_by(r, MODEL_HEAD, 0));
    mem_free(x);
    mem_free(last);
    run_close(r);
    golden_family_close(g);
}

/* A packed row; each layer's output takes the place of its input. */
static void test_family__layers_one_by_one_are_the_whole_in_every_bit(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct golden_packed *packed = mem_alloc(1, sizeof *packed);
    assert_non_null(packed);
    golden_family_pack(g, packed);
    struct run *whole = run_open(g->model, &packed->row),
               *single = run_open(g->model, &packed->row);
    size_t count = packed->row.token_count * model_shape(g->model)->width;
    float *x = mem_alloc(count, sizeof *x);
    assert_non_null(x);
    OK(transformer_loss(whole->transformer, false, &et));
    assert_int_equal(whole->count, model_site_count(g->model));
    transformer_embed(single->transformer, x);
    for (size_t l = 0; l < model_shape(g->model)->layers; l++)
        OK(transformer_layer(single->transformer, l, x, x, &et));
    transformer_observe_head(single->transformer, x);
    assert_memory_equal(x, transformer_output(whole->transformer), count * sizeof *x);
    for (size_t i = 0; i < model_site_count(g->model); i++)
        assert_memory_equal(single->seen[i], whole->seen[i], site_size(whole, i) * sizeof *x);
    mem_free(x);
    mem_free(packed);
    run_close(whole);
    run_close(single);
    golden_family_close(g);
}

/* ---- what feeds a site ---- */

/* The input of `site` where row `row` of what feeds it, and its bias, are doubled, which is exact:
 * the columns that have this row, and no others, are doubled too. */
static void check_row(const struct run *r, const struct train_row *train_row, size_t index,
                      size_t row)
{
    struct model_site site = model_site(r->model, index);
    const struct model_param *p = model_param(r->model, (size_t)site.source);
    float *w = mem_alloc(p->rows * (p->columns + 1), sizeof *w), *bias = w + p->rows * p->columns;
    assert_non_null(w);
    struct model_override overrides[2] = {{p->name, p->rows, p->columns, w}};
    struct model *model = NULL;
    model_values_read(r->model, (size_t)site.source, 0, p->rows, w);
    for (size_t c = 0; c < p->columns; c++)
        w[row * p->columns + c] *= 2;
    if (p->bias != MODEL_NO_PARAM) {
        const char *name = model_param(r->model, (size_t)p->bias)->name;
        overrides[1] = (struct model_override){name, p->rows, 1, bias};
        model_values_read(r->model, (size_t)p->bias, 0, p->rows, bias);
        bias[row] *= 2;
    }
    OK(model_overlay_create(r->model, overrides, p->bias != MODEL_NO_PARAM ? 2 : 1, &model, &et));
    struct run *changed = run_open(model, train_row);
    OK(transformer_forward(changed->transformer, &et));
    for (size_t i = 0; i < site_size(r, index); i++) {
        size_t column = i % site.columns;
        bool doubled = model_site_source_row(r->model, &site, column) == row;
        if (changed->seen[index][i] != r->seen[index][i] * (doubled ? 2 : 1))
            fail_msg("%.*s: row %zu of %s and column %zu", TEXT_ARGS(site.name), row, p->name,
                     column);
    }
    run_close(changed);
    model_destroy(&model);
    mem_free(w);
}

static void test_family__a_source_row_multiplies_its_columns_alone(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct run *r = run_open(g->model, &g->sequences[0].row);
    OK(transformer_forward(r->transformer, &et));
    for (size_t i = 0; i < model_site_layer_count(g->model); i++) {
        struct model_site site = model_site(g->model, i);
        for (size_t c = 0; c < site.columns && site.source != MODEL_NO_PARAM; c += 5)
            check_row(r, &g->sequences[0].row, i, model_site_source_row(g->model, &site, c));
    }
    run_close(r);
    golden_family_close(g);
}

#define SITES_TESTS(family)                                                                        \
    GOLDEN_TEST(every_linear_module_is_in_one_site, family),                                       \
        GOLDEN_TEST(sites_have_names_and_norms_of_their_own, family),                              \
        GOLDEN_TEST(an_observer_sees_what_the_formulas_say, family),                               \
        GOLDEN_TEST(layers_one_by_one_are_the_whole_in_every_bit, family),                         \
        GOLDEN_TEST(a_source_row_multiplies_its_columns_alone, family),

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sites__are_those_of_the_family),
                                       GOLDEN_FAMILIES(SITES_TESTS)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
