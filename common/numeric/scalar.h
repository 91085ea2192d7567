/* scalar.h - transcendental functions in plain arithmetic: the same bits on every machine.
 *
 * Only +, -, *, /, sqrt, fma and exact bit operations are used, each correctly rounded by IEEE 754,
 * so a result depends on the argument alone and not on a C library or instruction set. The
 * mathematics is argument reduction and Taylor series whose coefficients are rational numbers;
 * nothing is fitted.
 *
 * Measured against 64-bit-mantissa long double (tests/numeric/scalar): all f64 functions stay
 * within 1 ulp, erf within 2; f32 functions within 0.51 ulp, exp and erf within 1, tanh within 3.
 * NaN in gives NaN out; poles and overflow give infinities as IEEE 754 recommends.
 */
#ifndef COMMON_NUMERIC_SCALAR_H
#define COMMON_NUMERIC_SCALAR_H

double scalar_exp(double x);
double scalar_expm1(double x);
double scalar_log(double x);
double scalar_log1p(double x);
/* |x| up to 2^30; beyond, NaN: no caller has such angles, and a silent loss of digits is worse. */
double scalar_sin(double x);
double scalar_cos(double x);
double scalar_tanh(double x);
double scalar_erf(double x);
/* x > 0, or x = 0 with y > 0, or integral y; else NaN. */
double scalar_pow(double x, double y);

/* The f64 functions rounded once more, except exp, tanh and erf, which the vector kernels share. */
float scalar_exp_f32(float x);
float scalar_log_f32(float x);
float scalar_log1p_f32(float x);
float scalar_sin_f32(float x);
float scalar_cos_f32(float x);
float scalar_tanh_f32(float x);
float scalar_erf_f32(float x);
float scalar_pow_f32(float x, float y);

#endif
