/* gemm_avx2.c - a tile of 6 rows by 16 columns: 12 chains in ymm registers, two of B, one of A
 * (SIMD body). */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "common/base/check.h"
#include "worker/engine/kernel/gemm.h"

enum { ROWS = 6, COLUMNS = 16, LANE = 8 };

#define INLINE static inline __attribute__((always_inline))

/* The 8 x 8 block whose rows are in[], turned over its diagonal. */
INLINE void transpose(__m256 in[LANE])
{
    __m256 t[LANE], u[LANE];
    for (int i = 0; i < LANE; i += 2) {
        t[i] = _mm256_unpacklo_ps(in[i], in[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(in[i], in[i + 1]);
    }
    for (int i = 0; i < LANE; i += 4) {
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        in[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        in[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

/* `count` <= 8 elements; the others are +0. */
INLINE __m256 load(const float *from, size_t count)
{
    if (count == LANE)
        return _mm256_loadu_ps(from);
    float part[LANE] = {0};
    memcpy(part, from, count * sizeof(part[0]));
    return _mm256_loadu_ps(part);
}

/* Packs `count` <= 8 vectors that lie `stride` apart and are contiguous along depth: element (v, p)
 * to panel[p * step + v] for v < keep. */
INLINE void pack_transposed(const float *from, size_t stride, size_t count, size_t depth,
                            size_t keep, size_t step, float *panel)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)keep), lanes);
    for (size_t p = 0; p < depth; p += LANE) {
        size_t width = MIN((size_t)LANE, depth - p);
        __m256 block[LANE];
        for (size_t v = 0; v < LANE; v++)
            block[v] = v < count ? load(from + v * stride + p, width) : _mm256_setzero_ps();
        transpose(block);
        for (size_t i = 0; i < LANE; i++)
            if (i < width)
                _mm256_maskstore_ps(panel + (p + i) * step, mask, block[i]);
    }
}

static void pack_a(const float *a, size_t row_stride, size_t column_stride, size_t count,
                   size_t depth, float *panel)
{
    if (column_stride == 1) {
        pack_transposed(a, row_stride, count, depth, ROWS, ROWS, panel);
        return;
    }
    for (size_t p = 0; p < depth; p++)
        for (size_t i = 0; i < ROWS; i++)
            panel[p * ROWS + i] = i < count ? a[i * row_stride + p * column_stride] : 0.0f;
}

static void pack_b(const float *b, size_t row_stride, size_t column_stride, size_t count,
                   size_t depth, float *panel)
{
    size_t low = MIN(count, (size_t)LANE), high = count - low;
    if (row_stride == 1) {
        size_t upper = high > 0 ? LANE * column_stride : 0;
        pack_transposed(b, column_stride, low, depth, LANE, COLUMNS, panel);
        pack_transposed(b + upper, column_stride, high, depth, LANE, COLUMNS, panel + LANE);
        return;
    }
    if (column_stride != 1) {
        for (size_t p = 0; p < depth; p++)
            for (size_t j = 0; j < COLUMNS; j++)
                panel[p * COLUMNS + j] = j < count ? b[p * row_stride + j * column_stride] : 0.0f;
        return;
    }
    for (size_t p = 0; p < depth; p++) {
        const float *row = b + p * row_stride;
        _mm256_storeu_ps(panel + p * COLUMNS, load(row, low));
        _mm256_storeu_ps(panel + p * COLUMNS + LANE,
                         high > 0 ? load(row + LANE, high) : _mm256_setzero_ps());
    }
}

#define UNROLL _Pragma("GCC unroll 8")

/* `count` is a constant at each call, so the chains live in registers. */
INLINE void tile(const size_t count, size_t depth, const float *a, const float *b, float *c,
                 size_t c_row_stride, bool accumulate)
{
    __m256 left[ROWS], right[ROWS];
    UNROLL for (size_t i = 0; i < count; i++)
    {
        left[i] = accumulate ? _mm256_loadu_ps(c + i * c_row_stride) : _mm256_setzero_ps();
        right[i] = accumulate ? _mm256_loadu_ps(c + i * c_row_stride + LANE) : _mm256_setzero_ps();
    }
    for (size_t p = 0; p < depth; p++) {
        __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + LANE);
        UNROLL for (size_t i = 0; i < count; i++)
        {
            __m256 x = _mm256_broadcast_ss(a + i);
            left[i] = _mm256_fmadd_ps(x, b0, left[i]);
            right[i] = _mm256_fmadd_ps(x, b1, right[i]);
        }
        a += ROWS;
        b += COLUMNS;
    }
    UNROLL for (size_t i = 0; i < count; i++)
    {
        _mm256_storeu_ps(c + i * c_row_stride, left[i]);
        _mm256_storeu_ps(c + i * c_row_stride + LANE, right[i]);
    }
}

#define CASE(count)                                                                                \
    case count:                                                                                    \
        tile(count, depth, panel_a, panel_b, c, c_row_stride, accumulate);                         \
        break

static void multiply(size_t count, size_t depth, const float *panel_a, const float *panel_b,
                     float *c, size_t c_row_stride, bool accumulate)
{
    switch (count) {
        CASE(1);
        CASE(2);
        CASE(3);
        CASE(4);
        CASE(5);
        CASE(6);
    default:
        ASSERT(count <= ROWS);
    }
}

const struct gemm_tile gemm_avx2 = {
    .rows = ROWS,
    .columns = COLUMNS,
    .k_block = 256,
    .n_block = 512,
    .pack_a = pack_a,
    .pack_b = pack_b,
    .multiply = multiply,
};
#endif
