/* bnb_code.c - tables and nearest levels. */
#include "common/formats/bitsandbytes/bnb_code.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

static const float nf4_levels[BNB_CODE_LEVELS] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

static const float fp4_levels[BNB_CODE_LEVELS] = {
    0.0f, 0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  0.5f,  2.0f / 12,  0.25f,
    0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -0.5f, -2.0f / 12, -0.25f,
};

/* Codes by ascending level. Of FP4's two zeros the plain one stands first. */
static const uint8_t nf4_order[BNB_CODE_LEVELS] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                   8, 9, 10, 11, 12, 13, 14, 15};
static const uint8_t fp4_order[BNB_CODE_LEVELS] = {11, 10, 13, 12, 15, 14, 9, 0,
                                                   8,  1,  6,  7,  4,  5,  2, 3};

const char *bnb_code_name(enum bnb_code_type type)
{
    return type == BNB_CODE_NF4 ? "nf4" : "fp4";
}

const float *bnb_code_levels(enum bnb_code_type type)
{
    return type == BNB_CODE_NF4 ? nf4_levels : fp4_levels;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Boundary `i` of `count` + 1 that are spread evenly over [0.1, 1], from the nearer end; steps of
 * f32 and one rounding, as torch.linspace has it where there are fused operations. */
static float boundary(size_t i, size_t count)
{
    double step = (double)((1.0f - 0.1f) / (float)count);
    return (float)(i < (count + 1) / 2 ? (double)0.1f + step * (double)i
                                       : 1.0 - step * (double)(count - i));
}

void bnb_code_nested_levels(float levels[BNB_CODE_NESTED_LEVELS])
{
    static const float powers[] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    size_t made = 0;
    for (size_t e = 0; e < COUNT_OF(powers); e++) {
        size_t count = (size_t)1 << e;
        for (size_t i = 0; i < count; i++) {
            float middle = (boundary(i, count) + boundary(i + 1, count)) / 2;
            levels[made++] = powers[e] * middle;
            levels[made++] = -(powers[e] * middle);
        }
    }
    levels[made++] = 0.0f;
    levels[made++] = 1.0f;
    ASSERT(made == BNB_CODE_NESTED_LEVELS);
    qsort(levels, made, sizeof *levels, compare_floats);
}

/* The largest magnitude of numbers; their order does not matter. */
static float largest(size_t count, const float *x)
{
    enum { LANES = 8 };
    float most[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            float size = fabsf(x[i + j]);
            most[j] = size > most[j] ? size : most[j];
        }
    }
    for (; i < count; i++)
        most[0] = fabsf(x[i]) > most[0] ? fabsf(x[i]) : most[0];
    for (size_t j = 1; j < LANES; j++)
        most[0] = most[j] > most[0] ? most[j] : most[0];
    return most[0];
}

/* Ascending levels and what lies half way between them. */
struct ladder {
    float middles[BNB_CODE_NESTED_LEVELS - 1];
    size_t count; /* of levels, a power of two */
};

/* The number of middles below v: the place of the nearest level. */
static size_t place_of(const struct ladder *ladder, float v)
{
    size_t place = 0;
    for (size_t half = ladder->count / 2; half > 0; half /= 2) {
        if (v > ladder->middles[place + half - 1])
            place += half;
    }
    return place;
}

/* Some elements of a block at a time, so that compilers compare them side by side. */
enum { RUN = 32 };

/* How many of the 15 middles are below each number. */
static void places_of_run(const float *restrict middles, const float v[restrict RUN],
                          int32_t places[restrict RUN])
{
    memset(places, 0, RUN * sizeof *places);
    for (size_t i = 0; i + 1 < BNB_CODE_LEVELS; i++) {
        float middle = middles[i];
        for (size_t j = 0; j < RUN; j++)
            places[j] += v[j] > middle ? 1 : 0;
    }
}

/* x / absmax as bitsandbytes takes it: by the inverse, and by division in a short last block. Zeros
 * after the last. */
static void take_ratios(size_t count, const float *x, float absmax, bool short_block, float v[RUN])
{
    float size = absmax > 1e-38f ? absmax : 1e-38f, inverse = 1.0f / size;
    memset(v, 0, RUN * sizeof *v);
    memcpy(v, x, count * sizeof *v);
    if (short_block) {
        for (size_t j = 0; j < count; j++)
            v[j] /= size;
        return;
    }
    for (size_t j = 0; j < RUN; j++)
        v[j] *= inverse;
}

/* Codes of a block, or of what is left of one, from an even place of the matrix on; a last code
 * alone in its byte stands beside the code of 0. */
static void encode_block(const struct ladder *ladder, const uint8_t *order, size_t count,
                         const float *x, float absmax, bool short_block, uint8_t *codes)
{
    for (size_t first = 0; first < count; first += RUN) {
        size_t here = MIN((size_t)RUN, count - first);
        int32_t places[RUN];
        float v[RUN];
        take_ratios(here, x + first, absmax, short_block, v);
        places_of_run(ladder->middles, v, places);
        for (size_t j = 0; j < here; j += 2)
            codes[(first + j) / 2] = (uint8_t)(order[places[j]] << 4 | order[places[j + 1]]);
    }
}

void bnb_code_encode(enum bnb_code_type type, size_t block_size, size_t count, const float *x,
                     uint8_t *codes, float *absmax)
{
    const float *levels = bnb_code_levels(type);
    const uint8_t *order = type == BNB_CODE_NF4 ? nf4_order : fp4_order;
    struct ladder ladder = {.count = BNB_CODE_LEVELS};
    ASSERT(block_size % 2 == 0);
    for (size_t i = 0; i + 1 < ladder.count; i++)
        ladder.middles[i] = (levels[order[i]] + levels[order[i + 1]]) / 2;
    for (size_t first = 0, block = 0; first < count; first += block_size, block++) {
        size_t here = MIN(block_size, count - first);
        bool is_short = here < block_size;
        absmax[block] = largest(here, x + first);
        encode_block(&ladder, order, here, x + first, absmax[block], is_short, codes + first / 2);
        if (is_short && absmax[block] < 1e-38f)
            absmax[block] = 1e-38f;
    }
}

void bnb_code_nest(size_t count, const float *x, uint8_t *codes, float *absmax)
{
    float levels[BNB_CODE_NESTED_LEVELS];
    struct ladder ladder = {.count = BNB_CODE_NESTED_LEVELS};
    bnb_code_nested_levels(levels);
    for (size_t i = 0; i + 1 < ladder.count; i++)
        ladder.middles[i] = (levels[i] + levels[i + 1]) / 2;
    for (size_t first = 0, block = 0; first < count; first += BNB_CODE_NESTED_BLOCK, block++) {
        size_t here = MIN((size_t)BNB_CODE_NESTED_BLOCK, count - first);
        absmax[block] = largest(here, x + first);
        for (size_t i = first; i < first + here; i++)
            codes[i] =
                absmax[block] > 0 ? (uint8_t)place_of(&ladder, x[i] * (1.0f / absmax[block])) : 0;
    }
}

float bnb_code_nested_offset(size_t count, const float *scales)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)scales[i];
    return (float)(sum / (double)count);
}

void bnb_code_nested_round(size_t count, float *scales)
{
    float levels[BNB_CODE_NESTED_LEVELS], offset = bnb_code_nested_offset(count, scales);
    bnb_code_nested_levels(levels);
    for (size_t first = 0; first < count; first += BNB_CODE_NESTED_BLOCK) {
        uint8_t codes[BNB_CODE_NESTED_BLOCK];
        float absmax = 0, *block = scales + first;
        size_t here = MIN((size_t)BNB_CODE_NESTED_BLOCK, count - first);
        for (size_t i = 0; i < here; i++)
            block[i] -= offset;
        bnb_code_nest(here, block, codes, &absmax);
        for (size_t i = 0; i < here; i++)
            block[i] = levels[codes[i]] * absmax + offset;
    }
}
