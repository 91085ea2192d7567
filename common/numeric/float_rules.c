/* float_rules.c - see float_rules.h. */
#include "common/numeric/float_rules.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

void float_rules_set(void)
{
#if defined(__x86_64__)
    _mm_setcsr(0x1f80); /* all exceptions masked, nearest-even, no flush, denormals are numbers */
#else
    (void)fesetenv(FE_DFL_ENV);
#endif
}

struct float_rules float_rules_enter(void)
{
    struct float_rules before;
#if defined(__x86_64__)
    before.control = _mm_getcsr();
#else
    (void)fegetenv(&before.environment);
#endif
    float_rules_set();
    return before;
}

void float_rules_leave(struct float_rules before)
{
#if defined(__x86_64__)
    _mm_setcsr(before.control);
#else
    (void)fesetenv(&before.environment);
#endif
}
