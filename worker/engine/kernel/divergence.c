/* divergence.c - one position a task. */
#include "worker/engine/kernel/divergence.h"

#include "common/numeric/scalar.h"

struct divergence_pass {
    size_t width;
    const float *base, *result;
    struct divergence *out;
};

static size_t largest(size_t count, const float *x)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (x[best] < x[i])
            best = i;
    return best;
}

/* With p and q the logits less their maxima, and Zp = sum e^p, Zq = sum e^q:
 * KL = sum e^p (p - q) / Zp - log(Zp / Zq). */
static void divergence_row(void *context, size_t t, unsigned thread)
{
    (void)thread;
    const struct divergence_pass *pass = context;
    const float *base = pass->base + t * pass->width, *result = pass->result + t * pass->width;
    size_t top = largest(pass->width, base), other = largest(pass->width, result);
    double base_max = (double)base[top], result_max = (double)result[other];
    double base_sum = 0, result_sum = 0, distance = 0;
    for (size_t i = 0; i < pass->width; i++) {
        double p = (double)base[i] - base_max, q = (double)result[i] - result_max;
        double weight = scalar_exp(p);
        base_sum += weight;
        result_sum += scalar_exp(q);
        distance += weight * (p - q);
    }
    double kl = distance / base_sum - (scalar_log(base_sum) - scalar_log(result_sum));
    pass->out[t] = (struct divergence){.kl = kl < 0 ? 0 : kl, .agree = top == other};
}

void divergence(struct kernel *kernel, size_t T, size_t V, const float *base, const float *result,
                struct divergence *out)
{
    struct divergence_pass pass = {V, base, result, out};
    kernel_parallel(kernel, T, divergence_row, &pass);
}
