/* norm.c - both norms, forward beside backward. Gains and biases are f32 in the model, whatever the
 * file held. */
#include "worker/engine/nn/norm.h"

#include "common/base/check.h"

static const float *vector_of(const struct pass *pass, size_t param)
{
    struct pass_weight weight = pass_weight(pass, param);
    ASSERT(weight.dtype == DTYPE_F32);
    return weight.data;
}

static bool is_layer_norm(const struct model *model)
{
    return model_family(model)->norm == NORM_LAYER;
}

size_t norm_stats_count(const struct model *model, size_t T)
{
    return is_layer_norm(model) ? 2 * T : T;
}

void norm_forward(const struct pass *pass, size_t param, size_t T, size_t groups, const float *x,
                  float *y, float *stats)
{
    const struct model_shape *s = model_shape(pass->model);
    const struct model_param *gain = model_param(pass->model, param);
    const float *weight = vector_of(pass, param), *bias = NULL;
    if (!is_layer_norm(pass->model)) {
        kernel_rms_norm(pass->kernel, T * groups, gain->rows, s->norm_epsilon, s->norm_offset, x,
                        weight, y, stats);
        return;
    }
    if (gain->bias != MODEL_NO_PARAM)
        bias = vector_of(pass, (size_t)gain->bias);
    kernel_layer_norm(pass->kernel, T * groups, gain->rows, s->norm_epsilon, x, weight, bias, y,
                      stats);
}

static float *gradient_of(const struct pass *pass, ptrdiff_t param, size_t row)
{
    size_t offset = param != MODEL_NO_PARAM ? pass_offset(pass, (size_t)param) : BINDING_NONE;
    return offset != BINDING_NONE ? pass->gradients[row] + offset : NULL;
}

void norm_backward(const struct pass *pass, size_t param, const struct norm_span *spans,
                   size_t groups, const float *x, const float *stats, const float *dy, float *dx,
                   bool accumulate)
{
    const struct model_param *gain = model_param(pass->model, param);
    const float *weight = vector_of(pass, param);
    for (size_t r = 0; r < pass->batch->row_count; r++) {
        size_t first = spans[r].start * groups, count = spans[r].count * groups;
        size_t at = first * gain->rows;
        float *dgain = gradient_of(pass, (ptrdiff_t)param, r);
        if (!is_layer_norm(pass->model))
            kernel_rms_norm_backward(pass->kernel, count, gain->rows,
                                     model_shape(pass->model)->norm_offset, x + at, weight,
                                     stats + first, dy + at, dx + at, accumulate, dgain);
        else
            kernel_layer_norm_backward(pass->kernel, count, gain->rows, x + at, weight,
                                       stats + 2 * first, dy + at, dx + at, accumulate, dgain,
                                       gradient_of(pass, gain->bias, r));
    }
}
