/* gemm_blas.c - the one door to OpenBLAS. Blocks of B that are not plain f32 matrices are decoded
 * to a buffer, at most GEMM_BLAS_FLOATS at once, and multiplied block by block along k and n. */
#include "worker/engine/kernel/gemm_blas.h"

#include <cblas.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

void gemm_blas_text(char *out, size_t size)
{
    const char *config = openblas_get_config();
    const char *core = openblas_get_corename();
    int library = (int)strcspn(config, " ");
    if (config[library] == ' ')
        library += 1 + (int)strcspn(config + library + 1, " ");
    (void)snprintf(out, size, "%.*s, kernels %s", library, config, core);
}

void gemm_blas_set_threads(unsigned threads)
{
    openblas_set_num_threads((int)threads);
}

static bool is_plain(size_t row_stride, size_t column_stride)
{
    return row_stride == 1 || column_stride == 1;
}

static void multiply(const struct kernel_gemm *g, size_t n, size_t k, const float *a,
                     const float *b, size_t b_row_stride, size_t b_col_stride, float *c,
                     bool accumulate)
{
    bool turn_a = g->a_col_stride != 1, turn_b = b_col_stride != 1;
    size_t lead_a = MAX(turn_a ? g->a_col_stride : g->a_row_stride, turn_a ? g->m : k);
    size_t lead_b = MAX(turn_b ? b_col_stride : b_row_stride, turn_b ? k : n);
    cblas_sgemm(CblasRowMajor, turn_a ? CblasTrans : CblasNoTrans,
                turn_b ? CblasTrans : CblasNoTrans, (int)g->m, (int)n, (int)k, 1.0f, a, (int)lead_a,
                b, (int)lead_b, accumulate ? 1.0f : 0.0f, c, (int)g->c_row_stride);
}

/* Decodes B[k0.., n0..] (k, n) to `buffer`, contiguous along the axis on which B is. */
static void decode_block(const struct rows *rows, const struct kernel_gemm *g, size_t k0, size_t k,
                         size_t n0, size_t n, float *buffer)
{
    bool along_n = g->b_col_stride == 1;
    size_t lines = along_n ? k : n, width = along_n ? n : k;
    size_t stride = along_n ? g->b_row_stride : g->b_col_stride;
    size_t first = along_n ? n0 : k0, line = along_n ? k0 : n0;
    if (is_plain(g->b_row_stride, g->b_col_stride)) {
        for (size_t i = 0; i < lines; i++) {
            size_t at = first + kernel_pair_line(g->b_pairs, line + i) * stride;
            rows->decode(width, g->b_dtype, (const char *)g->b + dtype_span_bytes(g->b_dtype, at),
                         buffer + i * width);
        }
        return;
    }
    for (size_t j = 0; j < n; j++) /* f32 with two strides: copied along k */
        for (size_t p = 0; p < k; p++)
            buffer[j * k + p] =
                ((const float *)g->b)[(k0 + p) * g->b_row_stride + (n0 + j) * g->b_col_stride];
}

void gemm_blas_run(const struct rows *rows, float *buffer, const struct kernel_gemm *g)
{
    ASSERT(is_plain(g->a_row_stride, g->a_col_stride));
    if (g->m == 0 || g->n == 0)
        return;
    if (g->k == 0) {
        for (size_t i = 0; i < g->m && !g->accumulate; i++)
            memset(g->c + i * g->c_row_stride, 0, g->n * sizeof(float));
        return;
    }
    if (g->b_dtype == DTYPE_F32 && g->b_pairs == 0 && is_plain(g->b_row_stride, g->b_col_stride)) {
        multiply(g, g->n, g->k, g->a, g->b, g->b_row_stride, g->b_col_stride, g->c, g->accumulate);
        return;
    }
    size_t k_block = MIN(g->k, 4096u);
    size_t n_block =
        GEMM_BLAS_FLOATS / k_block / DTYPE_BLOCK_ELEMENTS_MAX * DTYPE_BLOCK_ELEMENTS_MAX;
    n_block = MIN(g->n, n_block);
    bool along_n = g->b_col_stride == 1;
    for (size_t n0 = 0; n0 < g->n; n0 += n_block)
        for (size_t k0 = 0; k0 < g->k; k0 += k_block) {
            size_t n = MIN(n_block, g->n - n0), k = MIN(k_block, g->k - k0);
            decode_block(rows, g, k0, k, n0, n, buffer);
            multiply(g, n, k, g->a + k0 * g->a_col_stride, buffer, along_n ? n : 1, along_n ? 1 : k,
                     g->c + n0, g->accumulate || k0 > 0);
        }
}
