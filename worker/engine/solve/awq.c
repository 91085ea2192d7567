/* awq.c - the factors of every alpha, tried one after the other. */
#include "worker/engine/solve/awq.h"

#include <float.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/scalar.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/solve/awq_trial.h"

struct awq_options awq_defaults(void)
{
    return (struct awq_options){.duo = AWQ_DUO_ON, .steps = 20, .clip_steps = 20, .clip_tried = 10};
}

/* ---- the search for scales ---- */

/* What a channel's factor is made of, (columns), tied channels alike. */
struct channel_means {
    double *x, *w; /* owned */
};

struct search {
    const struct awq_options *options;
    const struct awq_linear *linears; /* (count) */
    size_t count;
    struct channel_means means;
    struct awq_trial trial;
    float *scales; /* owned, (columns): of the attempt */
    struct awq_choice best;
};

/* ---- the factors of an attempt ---- */

/* sums[c] += |w| over column c, each weight divided by the largest of its row's cell. */
static void add_normalized(const struct grid_scheme *scheme, size_t columns,
                           const struct awq_linear *linear, double *sums)
{
    bool grouped = scheme->strategy == GRID_GROUP || scheme->strategy == GRID_BLOCK;
    size_t run = grouped ? scheme->group_size : columns;
    for (size_t at = 0; at < linear->rows * columns; at += run) {
        const float *w = linear->weights + at;
        float most = 0;
        for (size_t i = 0; i < run; i++)
            most = MAX(most, __builtin_fabsf(w[i]));
        for (size_t i = 0; most > 0 && i < run; i++)
            sums[at % columns + i] += (double)(__builtin_fabsf(w[i]) / most);
    }
}

static void channel_means_fini(struct channel_means *means)
{
    mem_free(means->x);
    mem_free(means->w);
}

static enum err channel_means_init(struct channel_means *means, const struct grid_scheme *scheme,
                                   const struct awq_input *input, const struct awq_linear *linears,
                                   size_t count)
{
    size_t columns = input->columns, rows = 0;
    double *sums = mem_alloc(columns, sizeof *sums);
    means->x = mem_alloc(columns, sizeof *means->x);
    means->w = mem_alloc(columns, sizeof *means->w);
    if (sums == NULL || means->x == NULL || means->w == NULL) {
        mem_free(sums);
        return ERR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        add_normalized(scheme, columns, &linears[i], sums);
        rows += linears[i].rows;
    }
    for (size_t c = 0; c < columns; c++) {
        means->x[c] =
            channel_scale_mean_of(&input->ties, input->sum_abs, c) / (double)input->tokens;
        means->w[c] = channel_scale_mean_of(&input->ties, sums, c) / (double)rows;
    }
    mem_free(sums);
    return ERR_OK;
}

/* As llm-compressor: a little is added to the divisor, and no scale is below 1e-4. */
static double raw_scale(double alpha, bool duo, double mean_x, double mean_w)
{
    double s = scalar_pow(mean_x, alpha);
    if (duo)
        s /= scalar_pow(mean_w, 1 - alpha) + 1e-4;
    return MAX(s, 1e-4);
}

static void fill_scales(struct search *s, double alpha, bool duo)
{
    const struct channel_means *means = &s->means;
    double min = DBL_MAX, max = 0;
    for (size_t c = 0; c < s->trial.columns; c++) {
        if (means->x[c] <= 0 || means->w[c] <= 0)
            continue;
        double raw = raw_scale(alpha, duo, means->x[c], means->w[c]);
        min = MIN(min, raw);
        max = MAX(max, raw);
    }
    for (size_t c = 0; c < s->trial.columns; c++) {
        bool used = means->x[c] > 0 && means->w[c] > 0;
        double raw = used ? raw_scale(alpha, duo, means->x[c], means->w[c]) : min;
        float scale = max > 0 ? (float)(raw / __builtin_sqrt(min * max)) : 1;
        s->scales[c] = MIN(MAX(scale, CHANNEL_SCALE_MIN), CHANNEL_SCALE_MAX);
    }
}

/* ---- the search ---- */

/* The error of all modules of the site. */
static enum err site_error(struct search *s, double *error)
{
    *error = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct awq_attempt attempt = {.rows = s->linears[i].rows,
                                      .weights = s->linears[i].weights,
                                      .times = s->scales,
                                      .over = s->scales};
        double one = 0;
        TRY(awq_trial_error(&s->trial, &attempt, &one));
        *error += one;
    }
    return ERR_OK;
}

/* One form of s over all alphas. Without weights alpha 0 is s = 1, which has been tried. */
static enum err search_form(struct search *s, bool duo)
{
    for (unsigned i = duo ? 0 : 1; i < s->options->steps; i++) {
        double alpha = (double)i / (double)s->options->steps, error = 0;
        fill_scales(s, alpha, duo);
        TRY(site_error(s, &error));
        if (!(error < s->best.error))
            continue;
        s->best.error = error;
        s->best.scaled = true;
        s->best.duo = duo;
        s->best.alpha = alpha;
    }
    return ERR_OK;
}

static void fill_ones(struct search *s)
{
    for (size_t c = 0; c < s->trial.columns; c++)
        s->scales[c] = 1;
}

static enum err search_run(struct search *s)
{
    fill_ones(s);
    TRY(site_error(s, &s->best.error_plain));
    s->best.error = s->best.error_plain;
    if (s->options->duo != AWQ_DUO_ON)
        TRY(search_form(s, false));
    if (s->options->duo != AWQ_DUO_OFF)
        TRY(search_form(s, true));
    fill_ones(s);
    if (s->best.scaled)
        fill_scales(s, s->best.alpha, s->best.duo);
    return ERR_OK;
}

static size_t rows_max_of(const struct awq_linear *linears, size_t count)
{
    size_t rows = 0;
    for (size_t i = 0; i < count; i++)
        rows = MAX(rows, linears[i].rows);
    return rows;
}

enum err awq_search(struct kernel *kernel, const struct grid_scheme *scheme,
                    const struct awq_options *options, const struct awq_input *input,
                    const struct awq_linear *linears, size_t count, float *scales,
                    struct awq_choice *choice)
{
    struct search s = {.options = options, .linears = linears, .count = count};
    enum err err;
    ASSERT(count > 0 && input->tokens > 0 && options->steps > 0);
    for (size_t i = 0; i < count; i++)
        TRY(grid_check(scheme, linears[i].rows, input->columns, "awq", NULL));
    s.scales = mem_alloc(input->columns, sizeof *s.scales);
    if (s.scales == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    TRY_OUT(channel_means_init(&s.means, scheme, input, linears, count));
    TRY_OUT(awq_trial_init(&s.trial, kernel, scheme, input, rows_max_of(linears, count)));
    TRY_OUT(search_run(&s));
    memcpy(scales, s.scales, input->columns * sizeof *scales);
    *choice = s.best;
out:
    channel_means_fini(&s.means);
    awq_trial_fini(&s.trial);
    mem_free(s.scales);
    return err;
}
