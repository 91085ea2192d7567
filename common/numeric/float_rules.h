/* float_rules.h - how this thread rounds. Every thread that computes bytes of the contract says so
 * itself: a library that was loaded with other rules, or the thread that started this one, has no
 * say.
 */
#ifndef COMMON_NUMERIC_FLOAT_RULES_H
#define COMMON_NUMERIC_FLOAT_RULES_H

#include <fenv.h>

/* The rules that held before. */
struct float_rules {
#if defined(__x86_64__)
    unsigned control; /* MXCSR: fegetenv would also save the x87 unit, which nothing here uses */
#else
    fenv_t environment;
#endif
};

/* On the calling thread: rounding to nearest-even, denormals kept, no traps. */
void float_rules_set(void);

/* The same for a while. */
struct float_rules float_rules_enter(void);
void float_rules_leave(struct float_rules before);

#endif
