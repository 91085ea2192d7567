/* model_values.c - see the header. */
#include "worker/engine/nn/model_values.h"

#include "common/base/check.h"
#include "worker/engine/quant/blocks.h"

enum { RUN = 256 }; /* elements of a column that are decoded at a time */

/* The matrix lies as (columns, rows): only plain types do. */
static void read_turned(const struct model_param *p, size_t first, size_t count, float *out)
{
    float run[RUN];
    ASSERT(dtype_is_plain(p->dtype) && p->row_order == MODEL_ROWS_PLAIN);
    for (size_t c = 0; c < p->columns; c++) {
        for (size_t done = 0; done < count; done += RUN) {
            size_t n = MIN(count - done, (size_t)RUN);
            size_t from = dtype_span_bytes(p->dtype, c * p->rows + first + done);
            dtype_decode(p->dtype, n, (const uint8_t *)p->data + from, run);
            for (size_t i = 0; i < n; i++)
                out[(done + i) * p->columns + c] = run[i];
        }
    }
}

/* A vector's elements are rows of one, which a block type could not address. */
static void read_vector(const struct model *model, const struct model_param *p, size_t first,
                        size_t count, float *out)
{
    ASSERT(dtype_is_plain(p->dtype));
    for (size_t r = 0; r < count; r++) {
        size_t from = dtype_span_bytes(p->dtype, model_stored_row(model, p, first + r));
        dtype_decode(p->dtype, 1, (const uint8_t *)p->data + from, out + r);
    }
}

static void read_rows(const struct model *model, const struct model_param *p, size_t first,
                      size_t count, float *out)
{
    for (size_t r = 0; r < count; r++) {
        size_t at = model_stored_row(model, p, first + r) * p->columns;
        const uint8_t *from = (const uint8_t *)p->data + dtype_span_bytes(p->dtype, at);
        block_decode(p->dtype, p->columns, from, out + r * p->columns);
    }
}

void model_values_read(const struct model *model, size_t param, size_t first, size_t count,
                       float *out)
{
    const struct model_param *p = model_param(model, param);
    ASSERT(p->data != NULL && first <= p->rows && count <= p->rows - first);
    if (p->turned)
        read_turned(p, first, count, out);
    else if (p->columns == 1)
        read_vector(model, p, first, count, out);
    else
        read_rows(model, p, first, count, out);
    for (size_t i = 0; (p->scale < 1 || p->scale > 1) && i < count * p->columns; i++)
        out[i] *= p->scale;
}
