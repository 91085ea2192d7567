/* kernel.h - what the engine may ask of a device: memory, copies and kernels as rows of one table.
 *
 * Outside kernels the engine never touches a tensor's data. A backend (`cpu` with its
 * instruction-set rows; later `cuda`) fills the table; a GPU worker is a second table and not a
 * second engine.
 *
 * Profile f32/1 (ARCHITECTURE.md, "numerics contract"): every output element of a matrix product is
 * one chain of fused multiply-adds over k, ascending, starting from +0 or from the loaded C
 * element; sums over rows use 16 fixed lanes and a fixed tree; threads split independent outputs
 * and never a sum. All rows of the cpu backend therefore agree in every bit (a NaN agrees in being
 * one; its payload is not part of the contract).
 *
 * Dimension letters: T tokens, C width, H heads, G kv heads, D head width, V vocabulary, F MLP
 * width, R LoRA rank. Matrices are row-major; strides count elements. Pointers to f32 need no
 * alignment. Calls on one kernel come from one thread at a time; two kernels share nothing.
 */
#ifndef WORKER_ENGINE_KERNEL_KERNEL_H
#define WORKER_ENGINE_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/tensor/dtype.h"

enum kernel_profile { KERNEL_PROFILE_F32, KERNEL_PROFILE_BLAS };
enum kernel_isa { KERNEL_ISA_BEST, KERNEL_ISA_PORTABLE, KERNEL_ISA_AVX2, KERNEL_ISA_AVX512 };

enum { KERNEL_THREADS_MAX = 256 };

/* Where b_pairs = D keeps line `line`; the line itself with D = 0. */
static inline size_t kernel_pair_line(size_t D, size_t line)
{
    if (D == 0)
        return line;
    size_t head = line / D * D, within = line % D;
    return head + within % (D / 2) * 2 + within / (D / 2);
}

/* A product C (m, n) = [C +] A (m, k) · B (k, n). A and C are f32, B is read through the tile
 * decoder of its type and is never expanded as a whole. Any operand may be transposed through its
 * strides: element (i, p) of A is a[i * a_row_stride + p * a_col_stride]. For types other than f32,
 * b is one contiguous matrix whose unit stride is b_row_stride or b_col_stride; along that axis its
 * size and the other stride are whole blocks. With k = 0, C becomes +0, or stays as it is when
 * accumulating. C overlaps neither operand.
 * Llama's GGUF files hold the rows of q and k with the two that rotate together side by side: with
 * b_pairs = D, line h D/2 + i of each D lines (h < 2) is read where line 2 i + h would lie, so that
 * the product sees, and its chains follow, the order of everyone else. Not with two strides. */
struct kernel_gemm {
    size_t m, n, k;
    const float *a;
    size_t a_row_stride, a_col_stride;
    const void *b;
    enum dtype b_dtype;
    size_t b_row_stride, b_col_stride;
    size_t b_pairs; /* 0, or D: how B's lines across its unit stride lie, below */
    float *c;
    size_t c_row_stride;
    bool accumulate; /* start each chain from C instead of +0 */
};

struct kernel;    /* a backend with its profile, its rows and its thread pool */
struct lanes;     /* serial functions over short spans, for code inside kernel_parallel: lanes.h */
struct lanes_f64; /* the same of doubles: lanes_f64.h */

/* A cpu backend with `threads` threads in all (1..KERNEL_THREADS_MAX), the caller's included.
 * ERR_UNSUPPORTED: this processor lacks `isa`. ERR_LIMIT: thread count. ERR_OUT_OF_MEMORY, also
 * when a thread cannot be started. */
MUST_CHECK enum err kernel_create(enum kernel_profile profile, enum kernel_isa isa,
                                  unsigned threads, struct kernel **out);
void kernel_destroy(struct kernel **kernel);

/* "f32/1 avx512", "blas avx2", ... Static string. */
const char *kernel_name(const struct kernel *kernel);
unsigned kernel_threads(const struct kernel *kernel);

/* The serial functions of this backend's instruction set. Borrowed: static. */
const struct lanes *kernel_lanes(const struct kernel *kernel);
const struct lanes_f64 *kernel_lanes_f64(const struct kernel *kernel);

/* Runs task(context, index, thread) for every index below `count`, split over the pool; `thread` is
 * below kernel_threads() and no two tasks run with the same one at once (for scratch memory).
 * Returns when all are done. Tasks must not depend on each other or on who runs them; inside a task
 * only kernel_gemm_on, kernel_lanes and plain memory are allowed. */
typedef void (*kernel_task_f)(void *context, size_t index, unsigned thread);
void kernel_parallel(struct kernel *kernel, size_t count, kernel_task_f task, void *context);

/* ---- memory of the device ---- */

/* `count` zeroed floats aligned to 64 bytes, NULL when out of memory. Release with kernel_free. */
float *kernel_alloc(struct kernel *kernel, size_t count);
void kernel_free(struct kernel *kernel, float *device);
void kernel_zero(struct kernel *kernel, size_t count, float *device);
/* device <- device, device <- host, host <- device; none may overlap. */
void kernel_copy(struct kernel *kernel, size_t count, const float *from, float *to);
void kernel_write(struct kernel *kernel, size_t count, const float *host, float *device);
void kernel_read(struct kernel *kernel, size_t count, const float *device, float *host);

/* ---- products ---- */

void kernel_gemm(struct kernel *kernel, const struct kernel_gemm *gemm);

/* The same bits as kernel_gemm in profile f32/1, computed by the calling thread alone: for small
 * products inside a kernel_parallel task, `thread` as given to the task. Always by the rules of
 * f32/1. */
void kernel_gemm_on(struct kernel *kernel, unsigned thread, const struct kernel_gemm *gemm);

/* ---- rows; x, y, dx, dy are (T, C) unless said otherwise ---- */

/* y = x / rms(x) * (offset + weight), rms over C with `eps` inside the root (Zhang & Sennrich 2019,
 * eq. 4). weight: (C); offset: 0, or 1 where a family stores gains minus one. inv_rms: (T) receives
 * 1/rms for the backward pass. y may be x. A norm of each head is one of T * H rows of D. */
void kernel_rms_norm(struct kernel *kernel, size_t T, size_t C, float eps, float offset,
                     const float *x, const float *weight, float *y, float *inv_rms);

/* dx = or += (`accumulate`) the gradient of kernel_rms_norm. dweight: (C) or NULL; each element
 * continues its chain over t ascending, so a caller who wants sums of one row passes a zeroed
 * vector and that row's tokens. dx may be dy when not accumulating. */
void kernel_rms_norm_backward(struct kernel *kernel, size_t T, size_t C, float offset,
                              const float *x, const float *weight, const float *inv_rms,
                              const float *dy, float *dx, bool accumulate, float *dweight);

/* y = (x - mean) * r * weight + bias with r = 1 / sqrt(variance + eps), both over C (Ba et al.
 * 2016). weight: (C); bias: (C) or NULL. stats: (T, 2) receives mean and r for the backward pass. y
 * may be x. */
void kernel_layer_norm(struct kernel *kernel, size_t T, size_t C, float eps, const float *x,
                       const float *weight, const float *bias, float *y, float *stats);

/* Gradients of kernel_layer_norm, with the rules of kernel_rms_norm_backward; dweight and dbias:
 * (C), each may be NULL. */
void kernel_layer_norm_backward(struct kernel *kernel, size_t T, size_t C, const float *x,
                                const float *weight, const float *stats, const float *dy, float *dx,
                                bool accumulate, float *dweight, float *dbias);

/* SiLU: x * sigmoid(x). GELU (Hendrycks & Gimpel 2016): x * (1 + erf(x / sqrt 2)) / 2, or its tanh
 * form x * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. ReLU, whose slope at 0 is 0, and its
 * square (So et al. 2021). */
enum kernel_act {
    KERNEL_ACT_SILU,
    KERNEL_ACT_GELU_TANH,
    KERNEL_ACT_GELU_ERF,
    KERNEL_ACT_RELU_SQUARED,
    KERNEL_ACT_RELU,
};

/* y = act(gate) * up (gated units, Shazeer 2020), element by element. y may be gate or up. */
void kernel_gated(struct kernel *kernel, enum kernel_act act, size_t count, const float *gate,
                  const float *up, float *y);

/* Gradients of kernel_gated. dgate may be gate, dup may be up, either may be dy. */
void kernel_gated_backward(struct kernel *kernel, enum kernel_act act, size_t count,
                           const float *gate, const float *up, const float *dy, float *dgate,
                           float *dup);

/* y = act(x) and, with the gradient dy of y, dx = dy * act'(x). y may be x; dx may be x or dy. */
void kernel_activate(struct kernel *kernel, enum kernel_act act, size_t count, const float *x,
                     float *y);
void kernel_activate_backward(struct kernel *kernel, enum kernel_act act, size_t count,
                              const float *x, const float *dy, float *dx);

/* y (T, N) += bias (N) in every row, and its gradient: dbias (N) continues a chain of additions
 * over the rows of dy (T, N), t ascending. */
void kernel_add_bias(struct kernel *kernel, size_t T, size_t N, const float *bias, float *y);
void kernel_bias_gradient(struct kernel *kernel, size_t T, size_t N, const float *dy, float *dbias);

/* sums (f64) += x, element by element. */
void kernel_add_wide(struct kernel *kernel, size_t count, const float *x, double *sums);

/* Moves a block of columns between matrices of different widths, or adds it: row t of `to` = or +=
 * row t of `from`, `width` elements each, rows `from_stride` and `to_stride` apart. No overlap. */
void kernel_copy_columns(struct kernel *kernel, size_t T, size_t width, const float *from,
                         size_t from_stride, float *to, size_t to_stride);
void kernel_add_columns(struct kernel *kernel, size_t T, size_t width, const float *from,
                        size_t from_stride, float *to, size_t to_stride);

/* y = cap * tanh(x / cap), cap > 0; from that y the gradient dx = dy * (1 - (y / cap)^2). y may be
 * x; dx may be y or dy. */
void kernel_soft_cap(struct kernel *kernel, size_t count, float cap, const float *x, float *y);
void kernel_soft_cap_backward(struct kernel *kernel, size_t count, float cap, const float *y,
                              const float *dy, float *dx);

/* What a row x is after eight bits a token (BitNet b1.58, Ma et al. 2024): with s = 127 / max(|x|,
 * 1e-5) over C, y = clamp(round(x * s), -128, 127) / s, halves to even. Its gradient is taken to be
 * dy (straight through). y may be x. */
void kernel_round_int8(struct kernel *kernel, size_t T, size_t C, const float *x, float *y);

/* What a row x is after eight bits by compressed-tensors' rule for inputs: y = clamp(round(x / s),
 * -128, 127) * s, halves to even, with s = `scale`, or for scale 0 the row's own: max(|x|) / 127.5
 * over C, 2^-23 for a row of nothing. Straight through as kernel_round_int8. y may be x. */
void kernel_round_grid8(struct kernel *kernel, size_t T, size_t C, float scale, const float *x,
                        float *y);

/* y += x;  y = fma(scale, x, y);  y *= scale */
void kernel_add(struct kernel *kernel, size_t count, const float *x, float *y);
void kernel_add_scaled(struct kernel *kernel, size_t count, float scale, const float *x, float *y);
void kernel_scale(struct kernel *kernel, size_t count, float scale, float *y);

/* y[t] = row ids[t] of table (V, C), decoded. C is whole blocks, every id is below V: the caller
 * has checked. */
void kernel_gather(struct kernel *kernel, size_t T, size_t C, const uint32_t *ids,
                   const void *table, enum dtype dtype, float *y);

/* Row ids[t] of dtable (V, C) += dy[t], tokens in ascending order. */
void kernel_scatter_add(struct kernel *kernel, size_t T, size_t C, const uint32_t *ids,
                        const float *dy, float *dtable);

/* Which elements a dropout keeps depends on the key and on the token's place, never on the batch:
 * element (t, c) is dropped when random_dropout(key, places[t], c) < p * 2^32
 * (common/numeric/random.h); the others are scaled by 1 / (1 - p). 0 <= p < 1. */
struct kernel_dropout {
    uint64_t key;           /* of seed, purpose, module, layer, round: random_key() */
    float p;                /* probability of dropping */
    const uint64_t *places; /* (T): row index << 32 | position in the row */
};

/* y = or += (`accumulate`) dropout(x). It is its own backward pass (x := dy). y may be x. */
void kernel_dropout(struct kernel *kernel, size_t T, size_t C, const struct kernel_dropout *dropout,
                    const float *x, bool accumulate, float *y);

/* y = exp(x), element by element, the bits of scalar_exp_f32. y may be x. */
void kernel_exp(struct kernel *kernel, size_t count, const float *x, float *y);

/* y = the exact f32 value of each element of `from`; `count` is whole blocks. */
void kernel_decode(struct kernel *kernel, size_t count, enum dtype dtype, const void *from,
                   float *y);

/* Encodes x (T, C), C in whole blocks, as quant/blocks.h says (block_encode_f): the bytes depend on
 * neither threads nor instruction set. importance: (C) or NULL. */
void kernel_encode(struct kernel *kernel, enum dtype dtype, size_t T, size_t C, const float *x,
                   const float *importance, void *to);

/* Sum of x * x in f64, in the fixed tree of optimizer_sum_squares. */
double kernel_sum_squares(struct kernel *kernel, size_t count, const float *x);

/* Index of the first element that is infinite or NaN; `count` when all are finite. */
size_t kernel_first_not_finite(struct kernel *kernel, size_t count, const float *x);

/* ---- known answers ---- */

enum { KERNEL_KNOWN_ANSWER_BYTES = 384 * 1024 };

/* Runs a fixed small workload over all kernels of the profile and writes their results
 * (little-endian f32 and f64) to `out`. The same bytes everywhere for f32/1; whoever reports them
 * hashes them. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err kernel_known_answer(struct kernel *kernel,
                                        uint8_t out[KERNEL_KNOWN_ANSWER_BYTES]);

#endif
