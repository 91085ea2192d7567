/* gemm_avx512.c - a tile of 14 rows by 32 columns: 28 chains in zmm registers, two of B, and A as
 * the broadcast operand of the fused multiply-add (SIMD body). */
#if defined(__x86_64__)
#include <immintrin.h>

#include "common/base/check.h"
#include "worker/engine/kernel/gemm.h"

enum { ROWS = 14, COLUMNS = 32, LANE = 16 };

#define INLINE static inline __attribute__((always_inline))

/* out[i] = column i of the 16 x 16 block whose rows are in[]. */
INLINE void transpose(__m512 in[LANE])
{
    __m512 t[LANE], u[LANE];
    for (int i = 0; i < LANE; i += 2) {
        t[i] = _mm512_unpacklo_ps(in[i], in[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(in[i], in[i + 1]);
    }
    for (int i = 0; i < LANE; i += 4) {
        u[i] = _mm512_castpd_ps(
            _mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
        u[i + 1] = _mm512_castpd_ps(
            _mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
        u[i + 2] = _mm512_castpd_ps(
            _mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
        u[i + 3] = _mm512_castpd_ps(
            _mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(u[i], u[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(u[i], u[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        in[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        in[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        in[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        in[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* Packs `count` <= 16 vectors that lie `stride` apart and are contiguous along depth: blocks of
 * 16 x 16 are transposed, element (v, p) to panel[p * step + v], lanes of `keep` written. */
INLINE void pack_transposed(const float *from, size_t stride, size_t count, size_t depth,
                            __mmask16 keep, size_t step, float *panel)
{
    for (size_t p = 0; p < depth; p += LANE) {
        size_t width = MIN((size_t)LANE, depth - p);
        __mmask16 mask = (__mmask16)((1u << width) - 1);
        __m512 block[LANE];
        for (size_t v = 0; v < LANE; v++)
            block[v] = v < count ? _mm512_maskz_loadu_ps(mask, from + v * stride + p)
                                 : _mm512_setzero_ps();
        transpose(block);
        if (width == LANE)
            for (size_t i = 0; i < LANE; i++)
                _mm512_mask_storeu_ps(panel + (p + i) * step, keep, block[i]);
        else
            for (size_t i = 0; i < width; i++)
                _mm512_mask_storeu_ps(panel + (p + i) * step, keep, block[i]);
    }
}

static void pack_a(const float *a, size_t row_stride, size_t column_stride, size_t count,
                   size_t depth, float *panel)
{
    const __mmask16 keep = (1u << ROWS) - 1;
    if (column_stride == 1) {
        pack_transposed(a, row_stride, count, depth, keep, ROWS, panel);
        return;
    }
    __mmask16 mask = (__mmask16)((1u << count) - 1);
    if (row_stride == 1) {
        for (size_t p = 0; p < depth; p++)
            _mm512_mask_storeu_ps(panel + p * ROWS, keep,
                                  _mm512_maskz_loadu_ps(mask, a + p * column_stride));
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
        pack_transposed(b, column_stride, low, depth, 0xffff, COLUMNS, panel);
        pack_transposed(b + upper, column_stride, high, depth, 0xffff, COLUMNS, panel + LANE);
        return;
    }
    if (column_stride != 1) {
        for (size_t p = 0; p < depth; p++)
            for (size_t j = 0; j < COLUMNS; j++)
                panel[p * COLUMNS + j] = j < count ? b[p * row_stride + j * column_stride] : 0.0f;
        return;
    }
    __mmask16 mask_low = (__mmask16)((1u << low) - 1), mask_high = (__mmask16)((1u << high) - 1);
    for (size_t p = 0; p < depth; p++) {
        const float *row = b + p * row_stride;
        _mm512_storeu_ps(panel + p * COLUMNS, _mm512_maskz_loadu_ps(mask_low, row));
        _mm512_storeu_ps(panel + p * COLUMNS + LANE, _mm512_maskz_loadu_ps(mask_high, row + LANE));
    }
}

#define UNROLL _Pragma("GCC unroll 16")

/* `count` is a constant at each call, so the chains live in registers. */
INLINE void tile(const size_t count, size_t depth, const float *a, const float *b, float *c,
                 size_t c_row_stride, bool accumulate)
{
    __m512 left[ROWS], right[ROWS];
    UNROLL for (size_t i = 0; i < count; i++)
    {
        left[i] = accumulate ? _mm512_loadu_ps(c + i * c_row_stride) : _mm512_setzero_ps();
        right[i] = accumulate ? _mm512_loadu_ps(c + i * c_row_stride + LANE) : _mm512_setzero_ps();
    }
    for (size_t p = 0; p < depth; p++) {
        __m512 b0 = _mm512_load_ps(b), b1 = _mm512_load_ps(b + LANE);
        _mm_prefetch((const char *)(b + 16 * COLUMNS), _MM_HINT_T0);
        _mm_prefetch((const char *)(b + 16 * COLUMNS + LANE), _MM_HINT_T0);
        UNROLL for (size_t i = 0; i < count; i++)
        {
            __m512 x = _mm512_set1_ps(a[i]);
            left[i] = _mm512_fmadd_ps(x, b0, left[i]);
            right[i] = _mm512_fmadd_ps(x, b1, right[i]);
        }
        a += ROWS;
        b += COLUMNS;
    }
    UNROLL for (size_t i = 0; i < count; i++)
    {
        _mm512_storeu_ps(c + i * c_row_stride, left[i]);
        _mm512_storeu_ps(c + i * c_row_stride + LANE, right[i]);
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
        CASE(7);
        CASE(8);
        CASE(9);
        CASE(10);
        CASE(11);
        CASE(12);
        CASE(13);
        CASE(14);
    default:
        ASSERT(count <= ROWS);
    }
}

const struct gemm_tile gemm_avx512 = {
    .rows = ROWS,
    .columns = COLUMNS,
    .k_block = 384,
    .n_block = 384,
    .pack_a = pack_a,
    .pack_b = pack_b,
    .multiply = multiply,
};
#endif
