/* adapter_norm.c - some rows of one module at a time, over the pool. */
#include "worker/engine/nn/adapter_norm.h"

#include <math.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/lanes.h"
#include "worker/engine/nn/model_values.h"

enum { ROWS = 16 }; /* that a task decodes at once */

struct measure {
    const struct model *model;
    const struct lanes *lanes;
    const struct binding_adapter *adapter;
    const float *values, *anchor;
    size_t param;
    float *rows;             /* (threads, ROWS, columns of the widest module) */
    float *factors, *shares; /* of the module: m / norm and 1 / norm */
};

size_t adapter_norm_count(const struct binding *binding)
{
    return 2 * binding->norm_count;
}

/* row += factor * B_i A of a vector of trainables */
static void add_adapter(const struct measure *m, const float *values, float factor, size_t i,
                        size_t columns, float *row)
{
    size_t R = m->adapter->rank;
    const float *a = values + m->adapter->a_offset, *b = values + m->adapter->b_offset + i * R;
    for (size_t r = 0; r < R; r++)
        m->lanes->add_scaled(columns, factor * b[r], a + r * columns, row);
}

static void measure_rows(void *context, size_t index, unsigned thread)
{
    const struct measure *m = context;
    const struct model_param *p = model_param(m->model, m->param);
    size_t first = index * ROWS, count = MIN(p->rows - first, (size_t)ROWS);
    float *rows = m->rows + (size_t)thread * ROWS * p->columns;
    model_values_read(m->model, m->param, first, count, rows);
    for (size_t i = 0; i < count; i++) {
        float *row = rows + i * p->columns;
        add_adapter(m, m->values, m->adapter->scale, first + i, p->columns, row);
        if (m->anchor != NULL)
            add_adapter(m, m->anchor, -m->adapter->scale, first + i, p->columns, row);
        float norm = sqrtf(m->lanes->dot(p->columns, row, row));
        m->shares[first + i] = norm > 0 ? 1 / norm : 1;
        m->factors[first + i] =
            m->values[m->adapter->magnitude_offset + first + i] * m->shares[first + i];
    }
}

enum err adapter_norm_measure(struct kernel *kernel, const struct model *model,
                              const struct binding *binding, const float *values,
                              const float *anchor, float *norms)
{
    size_t widest = 0, count;
    for (size_t i = 0; i < binding->slot_count; i++) {
        if (binding_has_magnitude(binding, i))
            widest = MAX(widest, model_param(model, i)->columns);
    }
    if (!check_mul(widest, (size_t)ROWS * kernel_threads(kernel), &count))
        return ERR_OVERFLOW;
    float *rows = mem_alloc(count, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < binding->slot_count; i++) {
        const struct binding_adapter *adapter = &binding->slots[i].adapter;
        if (!adapter->has_magnitude)
            continue;
        float *factors = norms + adapter->norm_offset;
        struct measure m = {.model = model,
                            .lanes = kernel_lanes(kernel),
                            .adapter = adapter,
                            .values = values,
                            .anchor = anchor,
                            .param = i,
                            .rows = rows,
                            .factors = factors,
                            .shares = factors + binding->norm_count};
        size_t tasks = (model_param(model, i)->rows + ROWS - 1) / ROWS;
        kernel_parallel(kernel, tasks, measure_rows, &m);
    }
    mem_free(rows);
    return ERR_OK;
}
