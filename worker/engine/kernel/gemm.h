/* gemm.h - the matrix product of profile f32/1 over packed panels and a register tile.
 *
 *   A (m, k) -> panels of `rows` rows,    element (i, p) at panel[p * rows + i]
 *   B (k, n) -> panels of `columns` cols, element (p, j) at panel[p * columns + j], decoded to f32
 *
 * A tile keeps rows x columns chains in registers and walks k; between blocks of k the chains rest
 * in C. Transpositions end at packing, and a B that is not f32 is decoded strip by strip (at most
 * 32 KiB) on its way there: the tile knows f32 panels only. Edges are padded with +0 in the panels
 * and cut at C.
 */
#ifndef WORKER_ENGINE_KERNEL_GEMM_H
#define WORKER_ENGINE_KERNEL_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/kernel/pool.h"
#include "worker/engine/kernel/rows_table.h"

enum { GEMM_ROWS_MAX = 16, GEMM_COLUMNS_MAX = 32 };

/* What an instruction set offers. */
struct gemm_tile {
    size_t rows, columns; /* of the register tile */
    size_t k_block;       /* depth of a packed block of B */
    size_t n_block;       /* columns of a packed block of B: k_block * n_block fit in L2 */
    /* Packs `count` <= rows rows of A from `a`, `depth` deep. */
    void (*pack_a)(const float *a, size_t row_stride, size_t column_stride, size_t count,
                   size_t depth, float *panel);
    /* Packs `count` <= columns columns of B from `b`, `depth` deep. */
    void (*pack_b)(const float *b, size_t row_stride, size_t column_stride, size_t count,
                   size_t depth, float *panel);
    /* C (count, columns) = [C +] panel_a · panel_b. */
    void (*multiply)(size_t count, size_t depth, const float *panel_a, const float *panel_b,
                     float *c, size_t c_row_stride, bool accumulate);
};

extern const struct gemm_tile gemm_portable;
#if defined(__x86_64__)
extern const struct gemm_tile gemm_avx2;
extern const struct gemm_tile gemm_avx512;
#endif

/* Buffers for packed panels: one for A shared by the threads, one for B and a strip a thread. */
struct gemm_space;

/* `rows` decodes B. ERR_OUT_OF_MEMORY. Pages are touched only as far as products need them. */
MUST_CHECK enum err gemm_space_create(const struct gemm_tile *tile, const struct rows *rows,
                                      unsigned threads, struct gemm_space **out);
void gemm_space_destroy(struct gemm_space **space);

/* Computes `gemm` with all threads of `pool`. */
void gemm_run(struct pool *pool, struct gemm_space *space, const struct kernel_gemm *gemm);

/* The same bits on the calling thread, with the buffers of `thread`. */
void gemm_run_on(struct gemm_space *space, unsigned thread, const struct kernel_gemm *gemm);

#endif
