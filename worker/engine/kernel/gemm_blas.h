/* gemm_blas.h - the matrix product of profile blas: OpenBLAS over panels decoded to f32. */
#ifndef WORKER_ENGINE_KERNEL_GEMM_BLAS_H
#define WORKER_ENGINE_KERNEL_GEMM_BLAS_H

#include "worker/engine/kernel/kernel.h"
#include "worker/engine/kernel/pool.h"
#include "worker/engine/kernel/rows_table.h"

enum { GEMM_BLAS_FLOATS = 4 << 20 }; /* the decoded block: 16 MiB */

/* The library and the processor it takes this one for, for people: "OpenBLAS 0.3.21 ... Zen". */
void gemm_blas_text(char *out, size_t size);

/* Threads of the library in this process from now on; OpenBLAS knows one number for all callers. */
void gemm_blas_set_threads(unsigned threads);

/* Computes `gemm`; `buffer` holds GEMM_BLAS_FLOATS. Rounding is the library's. */
void gemm_blas_run(const struct rows *rows, float *buffer, const struct kernel_gemm *gemm);

#endif
