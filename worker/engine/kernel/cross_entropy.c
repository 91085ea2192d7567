/* cross_entropy.c - one row of logits a task. */
#include "worker/engine/kernel/cross_entropy.h"

#include <math.h>

#include "common/numeric/scalar.h"
#include "worker/engine/kernel/lanes.h"

struct cross_entropy_pass {
    const struct lanes *lanes;
    size_t width;
    float *logits;
    const uint32_t *labels;
    double *losses;
    bool gradient;
};

/* Without a gradient the row of exponentials is still written over the logits: they are scratch. */
static void cross_entropy_row(void *context, size_t t, unsigned thread)
{
    (void)thread;
    const struct cross_entropy_pass *p = context;
    float *row = p->logits + t * p->width;
    uint32_t label = p->labels[t];
    float max = p->lanes->max(p->width, row);
    float wanted = row[label];
    float sum = p->lanes->exp_sum(p->width, row, max, row);
    p->losses[t] = scalar_log((double)sum) + ((double)max - (double)wanted);
    if (!p->gradient)
        return;
    p->lanes->scale(p->width, 1 / sum, row);
    row[label] -= 1;
}

void cross_entropy(struct kernel *kernel, size_t T, size_t V, float *logits, const uint32_t *labels,
                   double *losses, bool gradient)
{
    struct cross_entropy_pass pass = {.lanes = kernel_lanes(kernel),
                                      .width = V,
                                      .logits = logits,
                                      .labels = labels,
                                      .losses = losses,
                                      .gradient = gradient};
    kernel_parallel(kernel, T, cross_entropy_row, &pass);
}

struct weighing {
    const struct lanes *lanes;
    size_t width;
    const float *weights;
    float *logits;
};

static void weigh_row(void *context, size_t t, unsigned thread)
{
    (void)thread;
    const struct weighing *w = context;
    w->lanes->scale(w->width, w->weights[t], w->logits + t * w->width);
}

void cross_entropy_weigh(struct kernel *kernel, size_t T, size_t V, const float *weights,
                         float *logits)
{
    struct weighing weighing = {kernel_lanes(kernel), V, weights, logits};
    kernel_parallel(kernel, T, weigh_row, &weighing);
}
