/* bench_gemm.c - f32/1 products against OpenBLAS on the same threads, for the shapes of a TinyLlama
 * layer.
 *
 * usage: bench_gemm [threads [repeats [portable|avx2|avx512]]]
 *
 * Both run in turns within one process, so that a busy machine slows both; a line shows the medians
 * of the repeats and the median of the paired ratios. OpenBLAS always gets f32. The columns after
 * it read B in another type and show the median of their ratios to ours in f32.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"

enum { REPEATS_MAX = 101 };

static const enum dtype others[] = {DTYPE_BF16, DTYPE_F16,  DTYPE_Q8_0,
                                    DTYPE_Q4_0, DTYPE_Q4_K, DTYPE_Q6_K};

struct shape {
    const char *name;
    size_t m, n, k;
    bool turn_b; /* B is a weight (n, k), as in the forward pass; else (k, n), as backward */
};

static const struct shape shapes[] = {
    {"q, o      forward", 512, 2048, 2048, true},
    {"k, v      forward", 512, 256, 2048, true},
    {"gate, up  forward", 512, 5632, 2048, true},
    {"down      forward", 512, 2048, 5632, true},
    {"q, o      backward", 512, 2048, 2048, false},
    {"k, v      backward", 512, 2048, 256, false},
    {"gate, up  backward", 512, 2048, 5632, false},
    {"down      backward", 512, 5632, 2048, false},
    {"head      forward", 512, 32000, 2048, true},
    {"one token", 1, 5632, 2048, true},
    {"lora down", 512, 8, 2048, true},
    {"lora up", 512, 2048, 8, true},
    {"lora dA", 8, 2048, 512, false},
    {"small  forward", 512, 128, 128, true},
    {"small  backward", 512, 384, 128, false},
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), ascending);
    return values[count / 2];
}

struct operands {
    float *a, *c, *b_f32;
    uint8_t *b_other;
};

static bool operands_init(struct operands *o, const struct shape *s)
{
    o->a = mem_alloc_aligned(s->m * s->k, sizeof(float));
    o->c = mem_alloc_aligned(s->m * s->n, sizeof(float));
    o->b_f32 = mem_alloc_aligned(s->n * s->k, sizeof(float));
    o->b_other = mem_alloc_aligned(s->n * s->k, sizeof(uint16_t)); /* enough for every type */
    if (o->a == NULL || o->c == NULL || o->b_f32 == NULL || o->b_other == NULL)
        return false;
    for (size_t i = 0; i < s->m * s->k; i++)
        o->a[i] = random_uniform_f32(1, i) - 0.5f;
    for (size_t i = 0; i < s->n * s->k; i++) {
        /* Ordinary numbers in f16, bf16 and f32, finite scales of blocks. */
        uint16_t half = (uint16_t)(0x3c00 + (i * 2654435761u >> 22) % 0x200);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(o->b_other + 2 * i, &half, sizeof(half));
        memcpy(&o->b_f32[i], &bits, sizeof(bits));
    }
    return true;
}

static void operands_fini(struct operands *o)
{
    mem_free(o->a);
    mem_free(o->c);
    mem_free(o->b_f32);
    mem_free(o->b_other);
}

/* GFLOP/s of one product. */
static double measure(struct kernel *kernel, const struct shape *s, const struct operands *o,
                      enum dtype dtype)
{
    struct kernel_gemm gemm = {.m = s->m,
                               .n = s->n,
                               .k = s->k,
                               .a = o->a,
                               .a_row_stride = s->k,
                               .a_col_stride = 1,
                               .b = dtype == DTYPE_F32 ? (const void *)o->b_f32 : o->b_other,
                               .b_dtype = dtype,
                               .b_row_stride = s->turn_b ? 1 : s->n,
                               .b_col_stride = s->turn_b ? s->k : 1,
                               .c = o->c,
                               .c_row_stride = s->n};
    double flops = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    size_t times = (size_t)(2e8 / flops) + 1;
    double start = now_s();
    for (size_t i = 0; i < times; i++)
        kernel_gemm(kernel, &gemm);
    return flops * (double)times / (now_s() - start) * 1e-9;
}

/* Whether B's contiguous lines are whole blocks. */
static bool fits(const struct shape *s, enum dtype dtype)
{
    return (s->turn_b ? s->k : s->n) % dtype_block_elements(dtype) == 0;
}

static void bench_shape(struct kernel *ours, struct kernel *blas, const struct shape *s,
                        size_t repeats)
{
    struct operands o = {0};
    if (!operands_init(&o, s)) {
        printf("%-20s out of memory\n", s->name);
        operands_fini(&o);
        return;
    }
    double rate[2][REPEATS_MAX], ratio[1 + COUNT_OF(others)][REPEATS_MAX];
    measure(ours, s, &o, DTYPE_F32); /* touches the pages */
    measure(blas, s, &o, DTYPE_F32);
    for (size_t i = 0; i < repeats; i++) {
        rate[0][i] = measure(ours, s, &o, DTYPE_F32);
        rate[1][i] = measure(blas, s, &o, DTYPE_F32);
        ratio[0][i] = rate[0][i] / rate[1][i];
        for (size_t t = 0; t < COUNT_OF(others); t++)
            ratio[1 + t][i] = fits(s, others[t]) ? measure(ours, s, &o, others[t]) / rate[0][i] : 0;
    }
    printf("%-20s %5zu %6zu %5zu   %7.1f %9.1f %6.2f  ", s->name, s->m, s->n, s->k,
           median(rate[0], repeats), median(rate[1], repeats), median(ratio[0], repeats));
    for (size_t t = 0; t < COUNT_OF(others); t++) {
        if (fits(s, others[t]))
            printf(" %6.2f", median(ratio[1 + t], repeats));
        else
            printf(" %6s", "-");
    }
    printf("\n");
    fflush(stdout);
    operands_fini(&o);
}

static enum kernel_isa isa_of(const char *name)
{
    return strcmp(name, "portable") == 0 ? KERNEL_ISA_PORTABLE
           : strcmp(name, "avx2") == 0   ? KERNEL_ISA_AVX2
           : strcmp(name, "avx512") == 0 ? KERNEL_ISA_AVX512
                                         : KERNEL_ISA_BEST;
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
    size_t repeats = argc > 2 ? strtoul(argv[2], NULL, 10) : 5;
    enum kernel_isa isa = isa_of(argc > 3 ? argv[3] : "best");
    struct kernel *ours = NULL, *blas = NULL;
    if (repeats < 1 || repeats > REPEATS_MAX ||
        kernel_create(KERNEL_PROFILE_F32, isa, threads, &ours) != ERR_OK ||
        kernel_create(KERNEL_PROFILE_BLAS, KERNEL_ISA_BEST, threads, &blas) != ERR_OK) {
        kernel_destroy(&ours);
        fprintf(stderr, "usage: bench_gemm [threads 1..%d [repeats 1..%d [instruction set]]]\n",
                KERNEL_THREADS_MAX, REPEATS_MAX);
        return 2;
    }
    printf("%s, %u threads, median of %zu, GFLOP/s\n", kernel_name(ours), threads, repeats);
    printf("%-20s %5s %6s %5s   %7s %9s %6s  ", "shape", "m", "n", "k", "ours", "OpenBLAS",
           "ratio");
    for (size_t t = 0; t < COUNT_OF(others); t++)
        printf(" %6s", dtype_name(others[t]));
    printf("\n");
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        bench_shape(ours, blas, &shapes[i], repeats);
    kernel_destroy(&ours);
    kernel_destroy(&blas);
    return 0;
}
