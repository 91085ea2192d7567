/* norm.c - RMSNorm, forward beside backward. Gains are f32 in the model, whatever the file held. */
#include "worker/engine/nn/norm.h"

#include "common/base/check.h"

static const float *gain_of(const struct pass *pass, size_t param)
{
    struct pass_weight weight = pass_weight(pass, param);
    ASSERT(weight.dtype == DTYPE_F32);
    return weight.data;
}

void norm_forward(const struct pass *pass, size_t param, size_t T, const float *x, float *y,
                  float *inv_rms)
{
    kernel_rms_norm(pass->kernel, T, model_shape(pass->model)->width,
                    model_shape(pass->model)->norm_epsilon, 0, x, gain_of(pass, param), y, inv_rms);
}

void norm_backward(const struct pass *pass, size_t param, const struct norm_span *spans,
                   const float *x, const float *inv_rms, const float *dy, float *dx,
                   bool accumulate)
{
    const float *gain = gain_of(pass, param);
    size_t C = model_shape(pass->model)->width, offset = pass_offset(pass, param);
    for (size_t r = 0; r < pass->batch->row_count; r++) {
        size_t at = spans[r].start * C;
        float *dgain = offset != BINDING_NONE ? pass->gradients[r] + offset : NULL;
        kernel_rms_norm_backward(pass->kernel, spans[r].count, C, 0, x + at, gain,
                                 inv_rms + spans[r].start, dy + at, dx + at, accumulate, dgain);
    }
}
