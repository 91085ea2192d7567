/* grid_search.c - shrinking a range step by step.
 *
 * Errors count in steps of the full range's cell, so that small and large weights are the same to
 * the powers. A run of columns is summed in 16 lanes and a fixed tree, runs one after another in
 * f64. An error that is not a number is no improvement.
 */
#include "worker/engine/quant/grid_search.h"

#include <float.h>
#include <string.h>

enum { LANES = 16 };

/* The candidates of a search: 1 - i / steps for i below `count`. */
struct shrink {
    unsigned count, steps;
};

/* What an error is measured by. */
struct measure {
    float scale, zero, lowest, highest;
    float unit; /* 1 / step of the full range */
};

/* |value of x's code - x|, in units. */
static inline float distance_of(const struct measure *m, float x)
{
    float code = grid_round(x / m->scale + m->zero, m->lowest, m->highest);
    float d = (m->scale * (code - m->zero) - x) * m->unit;
    return d < 0 ? -d : d;
}

/* t^2.4 = (a y^2)^2 with a = t^2 and y = a^(-1/5), by Newton's iteration from a guess that divides
 * the exponent by -5; off by at most 4%, three steps leave f32 rounding. */
static inline float power_2_4(float t)
{
    float a = t * t + 0x1p-100f, y; /* 0 would not come back from the iteration */
    int32_t bits;
    memcpy(&bits, &a, sizeof bits);
    bits = (int32_t)(1277900000.0f - 0.2f * (float)bits);
    memcpy(&y, &bits, sizeof y);
    for (int step = 0; step < 3; step++) {
        float y2 = y * y;
        y = y * (1.2f - 0.2f * a * (y2 * y2 * y));
    }
    float root = a * (y * y);
    return root * root;
}

static float fold_lanes(float lanes[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

static float error_2_4(const struct measure *measure, size_t count, const float *x)
{
    const struct measure m = *measure;
    float lanes[LANES] = {0};
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++)
            lanes[lane] += power_2_4(distance_of(&m, x[i + lane]));
    }
    for (size_t i = whole; i < count; i++)
        lanes[i - whole] += power_2_4(distance_of(&m, x[i]));
    return fold_lanes(lanes);
}

static float error_3(const struct measure *measure, size_t count, const float *x)
{
    const struct measure m = *measure;
    float lanes[LANES] = {0};
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            float d = distance_of(&m, x[i + lane]);
            lanes[lane] += d * d * d;
        }
    }
    for (size_t i = whole; i < count; i++) {
        float d = distance_of(&m, x[i]);
        lanes[i - whole] += d * d * d;
    }
    return fold_lanes(lanes);
}

static float error_3_weighted(const struct measure *measure, size_t count, const float *x,
                              const float *importance)
{
    const struct measure m = *measure;
    float lanes[LANES] = {0};
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            float d = distance_of(&m, x[i + lane]);
            lanes[lane] += d * d * d * importance[i + lane];
        }
    }
    for (size_t i = whole; i < count; i++) {
        float d = distance_of(&m, x[i]);
        lanes[i - whole] += d * d * d * importance[i];
    }
    return fold_lanes(lanes);
}

static double error_of(const struct grid_search *s, struct grid_cell cell, float unit)
{
    struct measure m = {cell.scale, (float)cell.zero, (float)grid_code_min(s->scheme),
                        (float)grid_code_max(s->scheme), unit};
    double sum = 0;
    for (size_t row = 0; row < s->rows; row++) {
        const float *x = s->x + row * s->stride;
        if (s->scheme->range == GRID_MSE)
            sum += (double)error_2_4(&m, s->columns, x);
        else if (s->importance == NULL)
            sum += (double)error_3(&m, s->columns, x);
        else
            sum += (double)error_3_weighted(&m, s->columns, x, s->importance);
    }
    return sum;
}

struct grid_cell grid_search_range(const struct grid_search *search, float min, float max)
{
    static const struct shrink mse = {20, 100}, importance = {20, 20};
    struct shrink shrink = search->scheme->range == GRID_MSE ? mse : importance;
    struct grid_cell full = grid_cell_of_range(search->scheme, min, max), best = full;
    double least = error_of(search, full, 1.0f / full.scale);
    for (unsigned i = 1; i < shrink.count && least > 0; i++) {
        float p = (float)(1.0 - (double)i / shrink.steps);
        struct grid_cell cell = grid_cell_of_range(search->scheme, min * p, max * p);
        double error = error_of(search, cell, 1.0f / full.scale);
        if (error < least) {
            least = error;
            best = cell;
        }
    }
    return best;
}
