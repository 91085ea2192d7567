/* rope.c - rotation of one token a task; plain multiplications and additions, each rounded. */
#include "worker/engine/kernel/rope.h"

#include "common/base/check.h"
#include "common/numeric/scalar.h"

struct rope_pass {
    size_t heads, head_width, half;
    const uint32_t *positions;
    const float *table;
    float sign;
    float *x;
};

void rope_table(size_t positions, size_t half_width, const double *frequency, double scale,
                float *table)
{
    for (size_t p = 0; p < positions; p++) {
        for (size_t i = 0; i < half_width; i++) {
            double angle = (double)p * frequency[i];
            float *pair = table + (p * half_width + i) * 2;
            pair[0] = (float)(scalar_cos(angle) * scale);
            pair[1] = (float)(scalar_sin(angle) * scale);
        }
    }
}

static void rope_token(void *context, size_t t, unsigned thread)
{
    (void)thread;
    const struct rope_pass *p = context;
    size_t half = p->half;
    const float *table = p->table + p->positions[t] * half * 2;
    float *x = p->x + t * p->heads * p->head_width;
    for (size_t head = 0; head < p->heads; head++, x += p->head_width) {
        for (size_t i = 0; i < half; i++) {
            float cosine = table[2 * i], sine = p->sign * table[2 * i + 1];
            float low = x[i], high = x[i + half];
            x[i] = low * cosine - high * sine;
            x[i + half] = high * cosine + low * sine;
        }
    }
}

void rope_apply(struct kernel *kernel, size_t T, size_t heads, size_t head_width,
                size_t rotary_width, const uint32_t *positions, const float *table, bool inverse,
                float *x)
{
    ASSERT(rotary_width % 2 == 0 && rotary_width <= head_width);
    struct rope_pass pass = {.heads = heads,
                             .head_width = head_width,
                             .half = rotary_width / 2,
                             .positions = positions,
                             .table = table,
                             .sign = inverse ? -1.0f : 1.0f,
                             .x = x};
    kernel_parallel(kernel, T, rope_token, &pass);
}
