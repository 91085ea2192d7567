/* optimizer.c - AdamW over flat ranges. Loops are plain so that any compiler may widen them: with
 * one rounding an operator, wide and narrow code agree in every bit. */
#include "common/numeric/optimizer.h"

#include "common/base/check.h"
#include "common/numeric/fold.h"
#include "common/numeric/scalar.h"

enum { LANES = 16 };

struct optimizer_step optimizer_plan(const struct optimizer_adamw *adamw, uint64_t step,
                                     double rate, double gradient_scale)
{
    ASSERT(step > 0);
    double correction1 = 1.0 - scalar_pow(adamw->beta1, (double)step);
    double correction2 = 1.0 - scalar_pow(adamw->beta2, (double)step);
    return (struct optimizer_step){
        .gradient_scale = (float)gradient_scale,
        .keep = (float)(1.0 - rate * adamw->weight_decay),
        .beta1 = (float)adamw->beta1,
        .beta2 = (float)adamw->beta2,
        .one_minus_beta1 = (float)(1.0 - adamw->beta1),
        .one_minus_beta2 = (float)(1.0 - adamw->beta2),
        .step_size = (float)(rate / correction1),
        .inverse_root_v2 = (float)(1.0 / __builtin_sqrt(correction2)),
        .eps = (float)adamw->eps,
    };
}

void optimizer_apply(const struct optimizer_step *step, size_t count, float *restrict value,
                     float *restrict m, float *restrict v, const float *restrict gradient)
{
    const struct optimizer_step s = *step;
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] * s.gradient_scale;
        float mi = m[i] + (g - m[i]) * s.one_minus_beta1;
        float vi = v[i] * s.beta2 + s.one_minus_beta2 * g * g;
        float root = __builtin_sqrtf(vi) * s.inverse_root_v2 + s.eps;
        m[i] = mi;
        v[i] = vi;
        value[i] = value[i] * s.keep - s.step_size * (mi / root);
    }
}

double optimizer_clip(double norm, double max_norm)
{
    if (!(max_norm > 0.0))
        return 1.0;
    double factor = max_norm / (norm + 1e-6);
    return factor < 1.0 ? factor : 1.0;
}

double optimizer_chunk_squares(size_t count, const float *x)
{
    ASSERT(count <= OPTIMIZER_CHUNK);
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += (double)x[i + l] * (double)x[i + l];
    for (size_t l = 0; i < count; i++, l++)
        lane[l] += (double)x[i] * (double)x[i];
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

double optimizer_sum_squares(size_t count, const float *x)
{
    struct fold_sum sum;
    fold_sum_init(&sum);
    for (size_t i = 0; i < count; i += OPTIMIZER_CHUNK)
        fold_sum_push(&sum,
                      optimizer_chunk_squares(MIN((size_t)OPTIMIZER_CHUNK, count - i), x + i));
    return fold_sum_finish(&sum);
}
