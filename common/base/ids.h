/* ids.h - identities and units as one-field structs, so that none passes for another. */
#ifndef COMMON_BASE_IDS_H
#define COMMON_BASE_IDS_H

#include <stdint.h>

struct job_id {
    uint64_t v;
};
struct worker_id {
    uint64_t v;
};

/* A task: the index within a stage of a job. */
struct task_id {
    uint64_t job;
    uint32_t stage;
    uint32_t index;
};

/* The number of one attempt: incarnation of the coordinator in the upper 32 bits, a counter in the
 * lower. It only grows and none is given twice, also across restarts. */
struct fence {
    uint64_t v;
};

/* Monotonic nanoseconds since an arbitrary origin; never wall-clock time. */
struct instant {
    uint64_t ns;
};
struct duration {
    uint64_t ns;
};

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

static inline struct instant instant_after(struct instant t, struct duration d)
{
    uint64_t ns;
    if (__builtin_add_overflow(t.ns, d.ns, &ns))
        ns = UINT64_MAX;
    return (struct instant){ns};
}

static inline struct duration duration_ms(uint64_t ms)
{
    return (struct duration){ms * NS_PER_MS};
}

#endif
