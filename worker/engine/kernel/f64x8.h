/* f64x8.h - eight f64 lanes beside f32x16.h: for sums that are wider than what they add (SIMD).
 *
 * Included by kernel bodies only.
 */
#ifndef WORKER_ENGINE_KERNEL_F64X8_H
#define WORKER_ENGINE_KERNEL_F64X8_H

#include "worker/engine/kernel/f32x16.h"

typedef double f64x8 __attribute__((vector_size(64)));
typedef uint64_t u64x8 __attribute__((vector_size(64)));

enum { WIDE_LANES = 8 };

F32X16_INLINE f64x8 f64x8_load(const double *from)
{
    f64x8 v;
    memcpy(&v, from, sizeof(v));
    return v;
}

F32X16_INLINE void f64x8_store(double *to, f64x8 v)
{
    memcpy(to, &v, sizeof(v));
}

/* Eight f32 elements as f64. */
F32X16_INLINE f64x8 f64x8_widen(const float *from)
{
#if defined(__AVX512F__)
    return (f64x8)_mm512_cvtps_pd(_mm256_loadu_ps(from));
#elif defined(__AVX2__)
    union {
        f64x8 whole;
        __m256d half[2];
    } v;
    v.half[0] = _mm256_cvtps_pd(_mm_loadu_ps(from));
    v.half[1] = _mm256_cvtps_pd(_mm_loadu_ps(from + 4));
    return v.whole;
#else
    return (f64x8){from[0], from[1], from[2], from[3], from[4], from[5], from[6], from[7]};
#endif
}

F32X16_INLINE f64x8 f64x8_size(f64x8 v)
{
    const uint64_t m = 0x7fffffffffffffffu;
    return (f64x8)((u64x8)v & (u64x8){m, m, m, m, m, m, m, m});
}

#endif
