/* known_answer.c - a small fixed workload over every kernel, so that machines can compare
 * themselves.
 *
 * Sizes are odd on purpose: edge tiles, partial lanes and more than one block of k take part.
 */
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/attention.h"
#include "worker/engine/kernel/columns.h"
#include "worker/engine/kernel/cross_entropy.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/kernel/lanes.h"
#include "worker/engine/kernel/lanes_f64.h"
#include "worker/engine/kernel/rope.h"

enum { T = 19, C = 75, V = 37, K_LONG = 700, SPAN = T * C, LARGEST = 5 * K_LONG };
_Static_assert(LARGEST >= V * C && LARGEST >= SPAN, "every buffer holds every operand");

/* A matrix of any element type: whole blocks of each. */
enum { LINES = 12, LINE = 2 * DTYPE_BLOCK_ELEMENTS_MAX, LINE_PAIRS = 6 };

struct work {
    struct kernel *kernel; /* borrowed */
    uint8_t *out;          /* borrowed */
    size_t used;
    float *host;    /* owned */
    uint16_t *half; /* owned: (V, C), finite read as f16 and as bf16 */
    uint8_t *lines; /* owned: (LINES, LINE), finite read as any type */
    /* owned, of the device, LARGEST each */
    float *x, *y, *z, *dx, *weight, *inv_rms, *long_a, *long_b;
};

static void keep_bits(struct work *w, uint64_t bits, size_t bytes)
{
    ASSERT(w->used + bytes <= KERNEL_KNOWN_ANSWER_BYTES);
    for (size_t byte = 0; byte < bytes; byte++)
        w->out[w->used++] = (uint8_t)(bits >> (8 * byte));
}

static void keep_host(struct work *w, size_t count, const float *values)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        keep_bits(w, bits, sizeof(bits));
    }
}

static void keep_wide(struct work *w, size_t count, const double *values)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        keep_bits(w, bits, sizeof(bits));
    }
}

static void keep(struct work *w, size_t count, const float *device)
{
    ASSERT(count <= LARGEST);
    kernel_read(w->kernel, count, device, w->host);
    keep_host(w, count, w->host);
}

/* Ordinary values with a few subnormals. */
static void draw(struct work *w, uint64_t module, size_t count, float *device)
{
    ASSERT(count <= LARGEST);
    uint64_t key = random_key(1, RANDOM_TEST, module, 0, 0);
    for (size_t i = 0; i < count; i++) {
        float scale = random_u32(key ^ 1, i) % 31 == 0 ? 1e-40f : 1.0f;
        w->host[i] = random_normal_f32(key, i) * scale;
    }
    kernel_write(w->kernel, count, w->host, device);
}

/* y = x (T, C) · weight (V, C)^T in each element type; dx += y^T x; one product across blocks of k.
 */
static void products(struct work *w)
{
    struct kernel_gemm forward = {.m = T, .n = V, .k = C, .a = w->x, .a_row_stride = C};
    forward.a_col_stride = forward.b_row_stride = 1;
    forward.b_col_stride = C;
    forward.c = w->y;
    forward.c_row_stride = V;
    static const enum dtype plain[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        forward.b_dtype = plain[i];
        forward.b = forward.b_dtype == DTYPE_F32 ? (const void *)w->weight : w->half;
        kernel_gemm(w->kernel, &forward);
        keep(w, T * V, w->y);
    }
    struct kernel_gemm back = {
        .m = V, .n = C, .k = T, .a = w->y, .a_row_stride = 1, .a_col_stride = V};
    back.b = w->x;
    back.b_row_stride = back.c_row_stride = C;
    back.b_col_stride = 1;
    back.c = w->dx;
    back.accumulate = true;
    kernel_gemm(w->kernel, &back);
    keep(w, SPAN, w->dx);
    struct kernel_gemm deep = {.m = 3, .n = 5, .k = K_LONG, .a = w->long_a, .a_row_stride = K_LONG};
    deep.a_col_stride = deep.b_row_stride = 1;
    deep.b = w->long_b;
    deep.b_col_stride = K_LONG;
    deep.c = w->y;
    deep.c_row_stride = 5;
    kernel_gemm(w->kernel, &deep);
    keep(w, 15, w->y);
}

/* A line of each element type as it is; x (5, LINE) · lines^T and z (1, LINES) · lines, whose lines
 * lie as in a file with pairs side by side. */
static void types(struct work *w)
{
    struct kernel_gemm forward = {.m = 5, .n = LINES, .k = LINE, .a = w->x, .a_row_stride = LINE};
    struct kernel_gemm back = {.m = 1, .n = LINE, .k = LINES, .a = w->z, .a_row_stride = LINES};
    forward.a_col_stride = back.a_col_stride = 1;
    forward.b_row_stride = back.b_col_stride = 1;
    forward.b_col_stride = back.b_row_stride = LINE;
    forward.b_pairs = back.b_pairs = LINE_PAIRS;
    forward.b = back.b = w->lines;
    forward.c = back.c = w->y;
    forward.c_row_stride = LINES;
    back.c_row_stride = LINE;
    for (unsigned i = 0; i < DTYPE_COUNT; i++) {
        forward.b_dtype = back.b_dtype = (enum dtype)i;
        kernel_decode(w->kernel, LINE, (enum dtype)i, w->lines, w->y);
        keep(w, LINE, w->y);
        kernel_gemm(w->kernel, &forward);
        keep(w, 5 * LINES, w->y);
        kernel_gemm(w->kernel, &back);
        keep(w, LINE, w->y);
    }
}

static void rows(struct work *w)
{
    struct kernel *k = w->kernel;
    uint64_t places[T];
    for (uint64_t t = 0; t < T; t++)
        places[t] = t << 32 | (t * 7);
    kernel_rms_norm(k, T, C, 1e-5f, 0, w->x, w->weight, w->y, w->inv_rms);
    keep(w, SPAN, w->y);
    keep(w, T, w->inv_rms);
    kernel_zero(k, SPAN, w->dx);
    kernel_rms_norm_backward(k, T, C, 0, w->x, w->weight, w->inv_rms, w->z, w->y, false, w->dx);
    keep(w, SPAN, w->y);
    keep(w, C, w->dx);
    kernel_gated(k, KERNEL_ACT_SILU, SPAN, w->x, w->z, w->y);
    keep(w, SPAN, w->y);
    kernel_gated_backward(k, KERNEL_ACT_SILU, SPAN, w->x, w->z, w->y, w->dx, w->y);
    keep(w, SPAN, w->dx);
    const struct kernel_dropout dropout = {.key = 42, .p = 0.1f, .places = places};
    kernel_dropout(k, T, C, &dropout, w->x, false, w->y);
    kernel_add(k, SPAN, w->z, w->y);
    kernel_add_scaled(k, SPAN, 0.3f, w->x, w->y);
    kernel_scale(k, SPAN, 1.7f, w->y);
    keep(w, SPAN, w->y);
    kernel_exp(k, SPAN, w->x, w->y);
    keep(w, SPAN, w->y);
}

static void families(struct work *w)
{
    static const enum kernel_act acts[] = {KERNEL_ACT_SILU, KERNEL_ACT_GELU_TANH,
                                           KERNEL_ACT_GELU_ERF, KERNEL_ACT_RELU_SQUARED,
                                           KERNEL_ACT_RELU};
    struct kernel *k = w->kernel;
    float *stats = w->inv_rms, *sums = w->long_a;
    kernel_zero(k, 2 * C, sums);
    kernel_layer_norm(k, T, C, 1e-5f, w->x, w->weight, w->z, w->y, stats);
    keep(w, SPAN, w->y);
    keep(w, 2 * T, stats);
    kernel_layer_norm_backward(k, T, C, w->x, w->weight, stats, w->z, w->y, false, sums, sums + C);
    keep(w, SPAN, w->y);
    keep(w, 2 * C, sums);
    kernel_rms_norm(k, T, C, 1e-5f, 1, w->x, w->weight, w->y, stats);
    keep(w, SPAN, w->y);
    for (size_t i = 0; i < COUNT_OF(acts); i++) {
        kernel_activate(k, acts[i], SPAN, w->x, w->y);
        keep(w, SPAN, w->y);
        kernel_activate_backward(k, acts[i], SPAN, w->x, w->z, w->y);
        keep(w, SPAN, w->y);
    }
    kernel_soft_cap(k, SPAN, 0.9f, w->x, w->y);
    keep(w, SPAN, w->y);
    kernel_soft_cap_backward(k, SPAN, 0.9f, w->y, w->z, w->y);
    kernel_add_bias(k, T, C, w->weight, w->y);
    keep(w, SPAN, w->y);
    kernel_round_int8(k, T, C, w->x, w->y);
    keep(w, SPAN, w->y);
    kernel_round_grid8(k, T, C, 0, w->x, w->y);
    keep(w, SPAN, w->y);
}

/* Rotations there and, of others, back; a block of columns moved and one added. */
static void columns(struct work *w)
{
    enum { HEADS = 6, D = 12, PAIRS = 4, STEP = 7, POSITIONS = STEP * T, WIDE = 60, PART = 31 };
    static const double frequency[PAIRS] = {1, 0.3, 0.05, 0.002};
    struct kernel *k = w->kernel;
    uint32_t positions[T];
    for (uint32_t t = 0; t < T; t++)
        positions[t] = t * STEP;
    rope_table(POSITIONS, PAIRS, frequency, 1.1, w->host);
    kernel_write(k, POSITIONS * PAIRS * 2, w->host, w->long_a);
    kernel_copy(k, SPAN, w->x, w->y);
    rope_apply(k, T, HEADS, D, 2 * PAIRS, positions, w->long_a, false, w->y);
    keep(w, T * HEADS * D, w->y);
    kernel_copy(k, SPAN, w->z, w->y);
    rope_apply(k, T, HEADS, D, 2 * PAIRS, positions, w->long_a, true, w->y);
    keep(w, T * HEADS * D, w->y);
    kernel_copy_columns(k, T, PART, w->x + 3, C, w->y + 2, WIDE);
    kernel_add_columns(k, T, PART, w->z + 5, C, w->y + WIDE - PART, WIDE);
    keep(w, T * WIDE, w->y);
}

/* Columns with a factor each, over rows that lie apart; their products; some that are looked up,
 * one of them twice. */
static void scaled_columns(struct work *w)
{
    enum { PART = 61, WIDE = 66, R = 5 };
    struct kernel *k = w->kernel;
    uint32_t ids[T];
    for (uint32_t t = 0; t < T; t++)
        ids[t] = t * 11 % (T - 1);
    kernel_zero(k, T * WIDE, w->y);
    columns_scale(k, T, PART, w->weight, w->x + 3, C, false, w->y + 2, WIDE);
    columns_scale(k, T, PART, w->weight + 7, w->z, C, true, w->y + 2, WIDE);
    keep(w, T * WIDE, w->y);
    kernel_copy(k, PART, w->z, w->y);
    columns_add_products(k, T, PART, w->x + 3, C, w->z + 5, C, w->weight, w->y);
    keep(w, PART, w->y);
    columns_gather(k, T, R, V, ids, w->x, w->y);
    keep(w, T * R, w->y);
    kernel_copy(k, R * V, w->z, w->y);
    columns_scatter_add(k, T, R, V, ids, w->x, w->y);
    keep(w, R * V, w->y);
}

/* Losses of predictions, and their gradients, weighed. */
static void losses(struct work *w)
{
    uint32_t labels[T];
    float weights[T];
    double losses[T];
    for (uint32_t t = 0; t < T; t++) {
        labels[t] = t * 7 % C;
        weights[t] = t % 2 == 0 ? 0.07f : -0.3f;
    }
    kernel_read(w->kernel, SPAN, w->x, w->host);
    cross_entropy(w->kernel, T, C, w->host, labels, losses, true);
    cross_entropy_weigh(w->kernel, T, C, weights, w->host);
    keep_wide(w, T, losses);
    keep_host(w, SPAN, w->host);
}

/* Two heads over one key head in two segments, with a window and a soft cap. */
static void attends(struct work *w)
{
    enum { D = 12, H = 2, SHORT = 4 };
    static const struct attention_segment segments[] = {{0, 0, SHORT, 0},
                                                        {SHORT, SHORT, T - SHORT, 0}};
    const struct attention attention = {.heads = H,
                                        .kv_heads = 1,
                                        .head_width = D,
                                        .window = 9,
                                        .scale = 0.3f,
                                        .soft_cap = 1.3f,
                                        .segments = segments,
                                        .segment_count = COUNT_OF(segments),
                                        .q = w->x,
                                        .k = w->z,
                                        .v = w->weight};
    float *out = w->y, *stats = w->inv_rms, *delta = w->inv_rms + 2 * T * H;
    float *dq = w->dx, *dk = w->long_a, *dv = w->long_b;
    attention_forward(w->kernel, &attention, out, stats);
    attention_backward(w->kernel, &attention, out, stats, w->x + SPAN / 2, delta, dq, dk, dv);
    keep(w, T * H * D, out);
    keep(w, T * H * D, dq);
    keep(w, T * D, dk);
    keep(w, T * D, dv);
}

static void lookups(struct work *w)
{
    uint32_t ids[T];
    for (uint32_t t = 0; t < T; t++)
        ids[t] = t * 11 % V;
    kernel_gather(w->kernel, T, C, ids, w->half, DTYPE_F16, w->y);
    keep(w, SPAN, w->y);
    kernel_zero(w->kernel, LARGEST, w->long_b);
    kernel_scatter_add(w->kernel, T, C, ids, w->x, w->long_b);
    keep(w, SPAN, w->long_b);
}

static void sums(struct work *w)
{
    const struct lanes *lanes = kernel_lanes(w->kernel);
    float few[6];
    double squares = kernel_sum_squares(w->kernel, SPAN, w->x);
    kernel_read(w->kernel, SPAN, w->x, w->host);
    few[0] = (float)squares;
    few[1] = lanes->max(SPAN, w->host);
    few[2] = lanes->sum(SPAN, w->host);
    few[3] = lanes->dot(SPAN - 1, w->host, w->host + 1);
    few[4] = lanes->exp_sum(SPAN, w->host, few[1], w->host);
    few[5] = w->host[SPAN / 2];
    keep_host(w, COUNT_OF(few), few);
}

/* Statistics of columns, continued from the first to the second matrix. */
static void statistics(struct work *w)
{
    double squares[C] = {0}, sizes[C] = {0}, wide[C] = {0};
    kernel_copy(w->kernel, 2 * C, w->x, w->dx);
    for (int i = 0; i < 2; i++) {
        const float *x = i == 0 ? w->x : w->z;
        columns_add_squares(w->kernel, T, C, x, squares);
        columns_add_sizes(w->kernel, T, C, x, sizes);
        columns_widen_range(w->kernel, T, C, x, w->dx, w->dx + C);
        kernel_add_wide(w->kernel, C, x, wide);
    }
    keep_wide(w, C, squares);
    keep_wide(w, C, sizes);
    keep_wide(w, C, wide);
    keep(w, 2 * C, w->dx);
}

/* A product of doubles with tiles, rows and columns left over at its edges. */
static void doubles(struct work *w)
{
    enum { M = 13, N = 39, K = 17 };
    double a[K * M], b[K * N], c[M * N];
    kernel_read(w->kernel, SPAN, w->x, w->host);
    for (size_t i = 0; i < COUNT_OF(c); i++) {
        a[i % COUNT_OF(a)] = (double)w->host[i] / 3;
        b[i] = (double)w->host[SPAN / 3 + i] / 7;
        c[i] = (double)w->host[SPAN / 2 + i] / 9;
    }
    for (size_t i = COUNT_OF(c); i < COUNT_OF(b); i++)
        b[i] = (double)w->host[i] / 11;
    kernel_lanes_f64(w->kernel)->subtract(&(struct lanes_f64_product){
        .m = M, .n = N, .k = K, .a = a, .a_row = M, .b = b, .b_row = N, .c = c, .c_row = N});
    keep_wide(w, COUNT_OF(c), c);
}

static void work_fini(struct work *w)
{
    float *device[] = {w->x, w->y, w->z, w->dx, w->weight, w->inv_rms, w->long_a, w->long_b};
    for (size_t i = 0; i < COUNT_OF(device); i++)
        kernel_free(w->kernel, device[i]);
    mem_free(w->host);
    mem_free(w->half);
    mem_free(w->lines);
}

static enum err work_init(struct work *w)
{
    float **device[] = {&w->x,      &w->y,       &w->z,      &w->dx,
                        &w->weight, &w->inv_rms, &w->long_a, &w->long_b};
    w->host = mem_alloc(LARGEST, sizeof(float));
    w->half = mem_alloc(LARGEST, sizeof(uint16_t));
    w->lines = mem_alloc(LINES * LINE, sizeof(float));
    if (w->host == NULL || w->half == NULL || w->lines == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < COUNT_OF(device); i++) {
        *device[i] = kernel_alloc(w->kernel, LARGEST);
        if (*device[i] == NULL)
            return ERR_OUT_OF_MEMORY;
        draw(w, i, LARGEST, *device[i]);
    }
    for (uint32_t i = 0; i < V * C; i++) /* exponents that are ordinary in both types */
        w->half[i] = (uint16_t)(0x2000 + (i * 40503u & 0x9fff));
    for (size_t i = 0; i < LINES * LINE * sizeof(float); i++) /* exponents below that of 2 */
        w->lines[i] = (uint8_t)(random_u32(DTYPE_COUNT, i) & 0xbf);
    return ERR_OK;
}

enum err kernel_known_answer(struct kernel *kernel, uint8_t out[KERNEL_KNOWN_ANSWER_BYTES])
{
    struct work w = {.kernel = kernel, .out = out};
    enum err err = work_init(&w);
    if (err == ERR_OK) {
        memset(out, 0, KERNEL_KNOWN_ANSWER_BYTES);
        products(&w);
        types(&w);
        rows(&w);
        families(&w);
        columns(&w);
        scaled_columns(&w);
        losses(&w);
        attends(&w);
        lookups(&w);
        sums(&w);
        statistics(&w);
        doubles(&w);
    }
    work_fini(&w);
    return err;
}
