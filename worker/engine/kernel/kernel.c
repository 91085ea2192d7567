/* kernel.c - the cpu backend: chooses the tables of an instruction set and splits rows over the
 * pool.
 *
 * The row kernels of plain sums and lookups stand here, those of the transformer's shapes in
 * kernel_rows.c.
 */
#include "worker/engine/kernel/kernel.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/fold.h"
#include "common/numeric/optimizer.h"
#include "worker/engine/kernel/gemm.h"
#include "worker/engine/kernel/gemm_blas.h"
#include "worker/engine/kernel/kernel_call.h"
#include "worker/engine/kernel/lanes_f64.h"
#include "worker/engine/kernel/pool.h"
#include "worker/engine/quant/blocks.h"

struct kernel {
    enum kernel_profile profile;
    const struct isa *isa;
    struct pool *pool;        /* owned */
    struct gemm_space *space; /* owned */
    float *blas_buffer;       /* owned; profile blas only */
};

static bool has_portable(void)
{
    return true;
}

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
#endif

static const struct isa {
    enum kernel_isa isa;
    const char *name_f32, *name_blas;
    bool (*supported)(void);
    const struct gemm_tile *tile;
    const struct rows *rows;
    const struct lanes_f64 *lanes_f64;
} isas[] = {
/* best first */
#if defined(__x86_64__)
    {KERNEL_ISA_AVX512, "f32/1 avx512", "blas avx512", has_avx512, &gemm_avx512, &rows_avx512,
     &lanes_f64_avx512},
    {KERNEL_ISA_AVX2, "f32/1 avx2", "blas avx2", has_avx2, &gemm_avx2, &rows_avx2, &lanes_f64_avx2},
#endif
    {KERNEL_ISA_PORTABLE, "f32/1 portable", "blas portable", has_portable, &gemm_portable,
     &rows_portable, &lanes_f64_portable},
};

static const struct isa *find_isa(enum kernel_isa wanted)
{
    for (size_t i = 0; i < COUNT_OF(isas); i++)
        if ((wanted == KERNEL_ISA_BEST || wanted == isas[i].isa) && isas[i].supported())
            return &isas[i];
    return NULL;
}

enum err kernel_create(enum kernel_profile profile, enum kernel_isa wanted, unsigned threads,
                       struct kernel **out)
{
    const struct isa *isa = find_isa(wanted);
    if (isa == NULL)
        return ERR_UNSUPPORTED;
    if (threads == 0 || threads > KERNEL_THREADS_MAX)
        return ERR_LIMIT;
    struct kernel *kernel = mem_alloc(1, sizeof(*kernel));
    if (kernel == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = ERR_OK;
    *kernel = (struct kernel){.profile = profile, .isa = isa};
    TRY_OUT(pool_create(threads, &kernel->pool));
    TRY_OUT(gemm_space_create(isa->tile, isa->rows, threads, &kernel->space));
    if (profile == KERNEL_PROFILE_BLAS) {
        kernel->blas_buffer = mem_alloc(GEMM_BLAS_FLOATS, sizeof(float));
        if (kernel->blas_buffer == NULL)
            TRY_OUT(ERR_OUT_OF_MEMORY);
        gemm_blas_set_threads(threads);
    }
    *out = kernel;
    kernel = NULL;
out:
    kernel_destroy(&kernel);
    return err;
}

void kernel_destroy(struct kernel **kernel)
{
    struct kernel *k = *kernel;
    if (k == NULL)
        return;
    pool_destroy(&k->pool);
    gemm_space_destroy(&k->space);
    mem_free(k->blas_buffer);
    mem_free(k);
    *kernel = NULL;
}

const char *kernel_name(const struct kernel *kernel)
{
    return kernel->profile == KERNEL_PROFILE_F32 ? kernel->isa->name_f32 : kernel->isa->name_blas;
}

unsigned kernel_threads(const struct kernel *kernel)
{
    return pool_threads(kernel->pool);
}

const struct lanes *kernel_lanes(const struct kernel *kernel)
{
    return &kernel->isa->rows->lanes;
}

const struct lanes_f64 *kernel_lanes_f64(const struct kernel *kernel)
{
    return kernel->isa->lanes_f64;
}

void kernel_parallel(struct kernel *kernel, size_t count, kernel_task_f task, void *context)
{
    pool_run(kernel->pool, count, task, context);
}

float *kernel_alloc(struct kernel *kernel, size_t count)
{
    (void)kernel;
    return mem_alloc_aligned(count, sizeof(float));
}

void kernel_free(struct kernel *kernel, float *device)
{
    (void)kernel;
    mem_free(device);
}

void kernel_zero(struct kernel *kernel, size_t count, float *device)
{
    (void)kernel;
    memset(device, 0, count * sizeof(float));
}

void kernel_copy(struct kernel *kernel, size_t count, const float *from, float *to)
{
    (void)kernel;
    if (count > 0)
        memcpy(to, from, count * sizeof(float));
}

void kernel_write(struct kernel *kernel, size_t count, const float *host, float *device)
{
    kernel_copy(kernel, count, host, device);
}

void kernel_read(struct kernel *kernel, size_t count, const float *device, float *host)
{
    kernel_copy(kernel, count, device, host);
}

void kernel_gemm(struct kernel *kernel, const struct kernel_gemm *gemm)
{
    if (kernel->profile == KERNEL_PROFILE_BLAS)
        gemm_blas_run(kernel->isa->rows, kernel->blas_buffer, gemm);
    else
        gemm_run(kernel->pool, kernel->space, gemm);
}

void kernel_gemm_on(struct kernel *kernel, unsigned thread, const struct kernel_gemm *gemm)
{
    gemm_run_on(kernel->space, thread, gemm);
}

/* ---- splitting ---- */

static void part_task(void *context, size_t index, unsigned thread)
{
    const struct kernel_call *call = context;
    (void)thread;
    call->part(call, index * call->grain, MIN((index + 1) * call->grain, call->count));
}

void kernel_call_split(struct kernel *kernel, size_t count, size_t size, struct kernel_call *call,
                       kernel_call_part_f part)
{
    call->rows = kernel->isa->rows;
    call->count = count;
    call->part = part;
    if (call->grain == 0)
        call->grain = MAX(KERNEL_GRAIN / MAX(size, 1u), 1u);
    pool_run(kernel->pool, (count + call->grain - 1) / call->grain, part_task, call);
}

/* ---- rows ---- */

static void add_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->lanes.add(end - begin, c->a + begin, c->y + begin);
}

void kernel_add(struct kernel *kernel, size_t count, const float *x, float *y)
{
    struct kernel_call call = {.a = x, .y = y};
    kernel_call_split(kernel, count, 1, &call, add_part);
}

static void add_scaled_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->lanes.add_scaled(end - begin, c->scalar, c->a + begin, c->y + begin);
}

void kernel_add_scaled(struct kernel *kernel, size_t count, float scale, const float *x, float *y)
{
    struct kernel_call call = {.a = x, .y = y, .scalar = scale};
    kernel_call_split(kernel, count, 1, &call, add_scaled_part);
}

static void scale_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->lanes.scale(end - begin, c->scalar, c->y + begin);
}

void kernel_scale(struct kernel *kernel, size_t count, float scale, float *y)
{
    struct kernel_call call = {.y = y, .scalar = scale};
    kernel_call_split(kernel, count, 1, &call, scale_part);
}

static void add_wide_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->add_wide(end - begin, c->a + begin, c->sums + begin);
}

void kernel_add_wide(struct kernel *kernel, size_t count, const float *x, double *sums)
{
    struct kernel_call call = {.a = x, .sums = sums};
    kernel_call_split(kernel, count, 1, &call, add_wide_part);
}

static void gather_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = begin; t < end; t++)
        c->rows->decode(c->C, c->dtype,
                        (const char *)c->table + dtype_span_bytes(c->dtype, c->ids[t] * c->C),
                        c->y + t * c->C);
}

void kernel_gather(struct kernel *kernel, size_t T, size_t C, const uint32_t *ids,
                   const void *table, enum dtype dtype, float *y)
{
    struct kernel_call call = {.C = C, .ids = ids, .table = table, .dtype = dtype, .y = y};
    kernel_call_split(kernel, T, C, &call, gather_part);
}

/* Items are columns, so that each element's chain stays with one thread. */
static void scatter_add_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t t = 0; t < c->T; t++)
        c->rows->lanes.add(end - begin, c->a + t * c->C + begin, c->y + c->ids[t] * c->C + begin);
}

void kernel_scatter_add(struct kernel *kernel, size_t T, size_t C, const uint32_t *ids,
                        const float *dy, float *dtable)
{
    struct kernel_call call = {.T = T, .C = C, .ids = ids, .a = dy, .y = dtable};
    call.grain = MAX((KERNEL_GRAIN / MAX(T, 1u) + 15) / 16 * 16, 64u);
    kernel_call_split(kernel, C, T, &call, scatter_add_part);
}

static void dropout_part(const struct kernel_call *c, size_t begin, size_t end)
{
    uint32_t threshold = (uint32_t)((double)c->dropout->p * 0x1p32);
    for (size_t t = begin; t < end; t++)
        c->rows->dropout(c->C, c->dropout->key, c->dropout->places[t], threshold, c->scalar,
                         c->a + t * c->C, c->accumulate, c->y + t * c->C);
}

void kernel_dropout(struct kernel *kernel, size_t T, size_t C, const struct kernel_dropout *dropout,
                    const float *x, bool accumulate, float *y)
{
    ASSERT(dropout->p >= 0.0f && dropout->p < 1.0f);
    struct kernel_call call = {
        .C = C, .dropout = dropout, .a = x, .accumulate = accumulate, .y = y};
    call.scalar = 1.0f / (1.0f - dropout->p);
    kernel_call_split(kernel, T, C, &call, dropout_part);
}

static void exp_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->exp(end - begin, c->a + begin, c->y + begin);
}

void kernel_exp(struct kernel *kernel, size_t count, const float *x, float *y)
{
    struct kernel_call call = {.a = x, .y = y};
    kernel_call_split(kernel, count, 1, &call, exp_part);
}

_Static_assert(KERNEL_GRAIN % DTYPE_BLOCK_ELEMENTS_MAX == 0, "a part of a span is whole blocks");

static void decode_part(const struct kernel_call *c, size_t begin, size_t end)
{
    c->rows->decode(end - begin, c->dtype,
                    (const char *)c->table + dtype_span_bytes(c->dtype, begin), c->y + begin);
}

void kernel_decode(struct kernel *kernel, size_t count, enum dtype dtype, const void *from,
                   float *y)
{
    struct kernel_call call = {.table = from, .dtype = dtype, .y = y};
    kernel_call_split(kernel, count, 1, &call, decode_part);
}

/* Rows in blocks, a part of them a task. */
enum { ENCODE_GRAIN = 1 << 14 };

struct encode_call {
    const struct block_table *blocks;
    enum dtype dtype;
    size_t T, C, part;
    const float *x, *importance;
    uint8_t *to;
};

static void encode_task(void *context, size_t index, unsigned thread)
{
    const struct encode_call *c = context;
    size_t begin = index * c->part, count = MIN(c->part, c->T - begin);
    uint8_t *to = c->to + begin * dtype_span_bytes(c->dtype, c->C);
    (void)thread;
    if (c->dtype == DTYPE_F32)
        memcpy(to, c->x + begin * c->C, count * c->C * sizeof(float));
    else
        c->blocks->encode[c->dtype](count, c->C, c->x + begin * c->C, c->importance, to);
}

void kernel_encode(struct kernel *kernel, enum dtype dtype, size_t T, size_t C, const float *x,
                   const float *importance, void *to)
{
    ASSERT(C > 0 && C % dtype_block_elements(dtype) == 0);
    struct encode_call call = {.blocks = kernel->isa->rows->blocks,
                               .dtype = dtype,
                               .T = T,
                               .C = C,
                               .part = MAX(ENCODE_GRAIN / C, (size_t)1),
                               .x = x,
                               .importance = importance,
                               .to = to};
    pool_run(kernel->pool, (T + call.part - 1) / call.part, encode_task, &call);
}

/* ---- reductions ---- */

enum {
    CHUNKS = 256
}; /* chunks summed at once: a power of two, so that groups are nodes of the tree */

static void squares_part(const struct kernel_call *c, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i += OPTIMIZER_CHUNK)
        c->sums[i / OPTIMIZER_CHUNK] =
            optimizer_chunk_squares(MIN(OPTIMIZER_CHUNK, end - i), c->a + i);
}

double kernel_sum_squares(struct kernel *kernel, size_t count, const float *x)
{
    double sums[CHUNKS];
    struct fold_sum fold;
    fold_sum_init(&fold);
    for (size_t begin = 0; begin < count; begin += (size_t)CHUNKS * OPTIMIZER_CHUNK) {
        size_t span = MIN((size_t)CHUNKS * OPTIMIZER_CHUNK, count - begin);
        struct kernel_call call = {.a = x + begin, .sums = sums, .grain = 2 * OPTIMIZER_CHUNK};
        kernel_call_split(kernel, span, 1, &call, squares_part);
        for (size_t i = 0; i * OPTIMIZER_CHUNK < span; i++)
            fold_sum_push(&fold, sums[i]);
    }
    return fold_sum_finish(&fold);
}

static void finite_part(const struct kernel_call *c, size_t begin, size_t end)
{
    size_t *place = &c->places[begin / c->grain];
    *place = end;
    for (size_t i = begin; i < end; i++) {
        uint32_t bits;
        memcpy(&bits, c->a + i, sizeof(bits));
        if ((bits & 0x7f800000u) == 0x7f800000u) {
            *place = i;
            return;
        }
    }
}

size_t kernel_first_not_finite(struct kernel *kernel, size_t count, const float *x)
{
    size_t places[CHUNKS];
    for (size_t begin = 0; begin < count; begin += (size_t)CHUNKS * KERNEL_GRAIN) {
        size_t span = MIN((size_t)CHUNKS * KERNEL_GRAIN, count - begin);
        struct kernel_call call = {.a = x + begin, .places = places, .grain = KERNEL_GRAIN};
        kernel_call_split(kernel, span, 1, &call, finite_part);
        for (size_t i = 0; i * KERNEL_GRAIN < span; i++)
            if (places[i] < MIN((i + 1) * KERNEL_GRAIN, span))
                return begin + places[i];
    }
    return count;
}
