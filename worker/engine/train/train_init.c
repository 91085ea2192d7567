/* train_init.c - module by module: its matrix, its singular values, its two factors. */
#include "worker/engine/train/train_init.h"

#include <math.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/init.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/model_values.h"
#include "worker/engine/solve/svd.h"

/* Of the subspace (solve/svd.h): values closer than a few percent are told apart, and what is mixed
 * up of others differs as little in what it leaves of W. */
enum { ITERATIONS = 8 };

struct factors {
    const struct train_layout *layout;
    struct kernel *kernel;
    const struct train_init_options *options;
    float *values;
    struct err_text *et;
};

static void start_gaussian(const struct factors *f, const struct binding_adapter *adapter,
                           const struct model_param *p)
{
    uint64_t name = random_name(text_of(p->name));
    uint64_t key = random_key(f->options->seed, RANDOM_INIT, name, p->layer, 0);
    init_normal(key, 1 / (float)adapter->rank, 0, adapter->rank * p->columns,
                f->values + adapter->a_offset);
}

/* The matrix of a module, which may be a part of another: (rows, columns). */
static void read_matrix(const struct model *model, size_t param, float *out)
{
    const struct model_param *p = model_param(model, param);
    struct model_part part = p->part;
    if (part.whole == MODEL_NO_PARAM) {
        model_values_read(model, param, 0, p->rows, out);
        return;
    }
    for (size_t row = 0; row < p->rows; row += part.run)
        model_values_read(model, (size_t)part.whole, part.first + row / part.run * part.stride,
                          MIN(part.run, p->rows - row), out + row * p->columns);
}

/* What is to be factored: W, or what is missing of it. */
static enum err read_target(const struct factors *f, size_t param, float **out)
{
    const struct model *model = train_layout_model(f->layout);
    const struct model_param *p = model_param(model, param);
    bool subtracts = f->options->init == TRAIN_INIT_LOFTQ;
    size_t count = 0;
    if (!check_mul(p->rows, p->columns, &count))
        return ERR_OVERFLOW;
    float *w = mem_alloc(count, sizeof *w), *q = subtracts ? mem_alloc(count, sizeof *q) : NULL;
    if (w == NULL || (subtracts && q == NULL)) {
        mem_free(w);
        mem_free(q);
        return ERR_OUT_OF_MEMORY;
    }
    read_matrix(f->options->stored, param, w);
    if (subtracts) {
        read_matrix(model, param, q);
        for (size_t i = 0; i < count; i++)
            w[i] -= q[i];
    }
    mem_free(q);
    *out = w;
    return ERR_OK;
}

/* u: (rows, found), v: (columns, found); directions beyond what was found stay as they are. */
static void write_factors(const struct factors *f, const struct binding_adapter *adapter,
                          const struct model_param *p, size_t found, const double *u,
                          const double *s, const double *v)
{
    float *a = f->values + adapter->a_offset, *b = f->values + adapter->b_offset;
    for (size_t k = 0; k < found; k++) {
        double root = sqrt(s[k] / (double)adapter->scale);
        if (!(root > 0))
            continue;
        for (size_t i = 0; i < p->columns; i++)
            a[k * p->columns + i] = (float)(root * v[i * found + k]);
        for (size_t i = 0; i < p->rows; i++)
            b[i * adapter->rank + k] = (float)(root * u[i * found + k]);
    }
}

static enum err start_singular(const struct factors *f, size_t param,
                               const struct binding_adapter *adapter)
{
    const struct model_param *p = model_param(train_layout_model(f->layout), param);
    uint64_t name = random_name(text_of(p->name));
    size_t rank = MIN(adapter->rank, MIN(p->rows, p->columns));
    const struct svd_options options = {
        .rank = rank,
        .iterations = ITERATIONS,
        .key = random_key(f->options->seed, RANDOM_INIT, name, p->layer, 1)};
    if (!(adapter->scale > 0))
        return error_set(f->et, ERR_RECIPE,
                         "lora_alpha: %s: expected more than 0 where an adapter starts from "
                         "singular values",
                         p->name);
    float *w = NULL;
    double *u = NULL;
    enum err err;
    TRY(read_target(f, param, &w));
    if (kernel_first_not_finite(f->kernel, p->rows * p->columns, w) < p->rows * p->columns)
        TRY_OUT(error_set(f->et, ERR_NOT_FINITE, "tensor %s: holds what is no number", p->name));
    u = mem_alloc((p->rows + p->columns + 1) * rank, sizeof *u);
    if (u == NULL)
        TRY_OUT(ERR_OUT_OF_MEMORY);
    double *s = u + p->rows * rank, *v = s + rank;
    TRY_OUT(svd_truncate(f->kernel, p->rows, p->columns, w, &options, u, s, v));
    write_factors(f, adapter, p, rank, u, s, v);
out:
    mem_free(w);
    mem_free(u);
    return err;
}

enum err train_init_values(const struct train_layout *layout, struct kernel *kernel,
                           const struct train_init_options *options, float *values,
                           struct err_text *et)
{
    const struct binding *binding = train_layout_binding(layout);
    const struct factors f = {layout, kernel, options, values, et};
    size_t total = 0, done = 0;
    if (options->init == TRAIN_INIT_DEFAULT)
        return ERR_OK;
    for (size_t i = 0; i < binding->slot_count; i++)
        total += binding->slots[i].adapter.rank > 0;
    for (size_t i = 0; i < binding->slot_count; i++) {
        const struct binding_adapter *adapter = &binding->slots[i].adapter;
        if (adapter->rank == 0)
            continue;
        if (options->init == TRAIN_INIT_GAUSSIAN)
            start_gaussian(&f, adapter, model_param(train_layout_model(layout), i));
        else
            TRY(start_singular(&f, i, adapter));
        done++;
        if (options->progress != NULL)
            TRY(options->progress(options->context, done, total));
    }
    return ERR_OK;
}
