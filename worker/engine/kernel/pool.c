/* pool.c - a call is open while it has items; threads join and leave it through one word.
 *
 *   state = generation << 17 | open << 16 | active
 *
 * Invariants
 *  1. A thread joins (active + 1) only while the call is open, by compare-and-swap on the whole
 * word.
 *  2. task, context and count change only while the call is closed and active is 0.
 *  3. pool_run closes the call after the last item was taken and returns once active is 0.
 */
#include "worker/engine/kernel/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/float_rules.h"

#if defined(__x86_64__)
#include <xmmintrin.h> /* _mm_pause */
#endif

enum { SPINS_BEFORE_SLEEP = 1000, SPINS_BEFORE_YIELD = 200 };

/* Tasks keep tiles on the stack, attention 400 KiB of them: whatever the system's default is. */
enum { STACK_BYTES = 2 * 1024 * 1024 };

#define STATE_OPEN       ((uint64_t)1 << 16)
#define STATE_ACTIVE     (STATE_OPEN - 1)
#define STATE_GENERATION ((uint64_t)1 << 17)

struct pool_thread {
    struct pool *pool; /* borrowed: the owner */
    pthread_t thread;
    unsigned index;
};

struct pool {
    unsigned threads;
    pool_task_f task;
    void *context;
    size_t count;
    _Alignas(64) _Atomic uint64_t state;
    _Alignas(64) _Atomic size_t next;
    _Alignas(64) _Atomic unsigned sleepers;
    _Atomic bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned started;
    struct pool_thread *members; /* owned: threads - 1 */
};

static void relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#endif
}

static bool is_news(uint64_t state, uint64_t seen)
{
    return (state & STATE_OPEN) != 0 && state / STATE_GENERATION != seen;
}

/* Waits for an open call other than `seen`; returns the state, or 0 to stop. */
static uint64_t wait_for_call(struct pool *pool, uint64_t seen)
{
    for (unsigned spin = 0; spin < SPINS_BEFORE_SLEEP; spin++) {
        uint64_t state = atomic_load(&pool->state);
        if (is_news(state, seen))
            return state;
        if (atomic_load(&pool->stop))
            return 0;
        relax();
    }
    uint64_t state = 0;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1u);
    while (!atomic_load(&pool->stop)) {
        state = atomic_load(&pool->state);
        if (is_news(state, seen))
            break;
        state = 0;
        pthread_cond_wait(&pool->wake, &pool->lock);
    }
    atomic_fetch_sub(&pool->sleepers, 1u);
    pthread_mutex_unlock(&pool->lock);
    return state;
}

static void take_items(struct pool *pool, unsigned thread)
{
    for (;;) {
        size_t index = atomic_fetch_add(&pool->next, 1u);
        if (index >= pool->count)
            return;
        pool->task(pool->context, index, thread);
    }
}

static void *thread_main(void *argument)
{
    struct pool_thread *self = argument;
    struct pool *pool = self->pool;
    float_rules_set();
    uint64_t seen = 0;
    for (;;) {
        uint64_t state = wait_for_call(pool, seen);
        if (state == 0)
            return NULL;
        if (!atomic_compare_exchange_strong(&pool->state, &state, state + 1))
            continue;
        seen = state / STATE_GENERATION;
        take_items(pool, self->index);
        atomic_fetch_sub(&pool->state, 1u);
    }
}

static enum err start_thread(struct pool_thread *member)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return ERR_OUT_OF_MEMORY;
    bool started = pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
                   pthread_create(&member->thread, &attributes, thread_main, member) == 0;
    pthread_attr_destroy(&attributes);
    return started ? ERR_OK : ERR_OUT_OF_MEMORY;
}

enum err pool_create(unsigned threads, struct pool **out)
{
    ASSERT(threads > 0 && threads < STATE_ACTIVE);
    struct pool *pool = mem_alloc_aligned(1, sizeof(*pool));
    if (pool == NULL)
        return ERR_OUT_OF_MEMORY;
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->members = mem_alloc(threads, sizeof(pool->members[0]));
    enum err err = pool->members == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    for (unsigned i = 1; i < threads && err == ERR_OK; i++) {
        struct pool_thread *member = &pool->members[i - 1];
        *member = (struct pool_thread){.pool = pool, .index = i};
        err = start_thread(member);
        if (err == ERR_OK)
            pool->started++;
    }
    if (err != ERR_OK)
        pool_destroy(&pool);
    *out = pool;
    return err;
}

void pool_destroy(struct pool **pool)
{
    struct pool *p = *pool;
    if (p == NULL)
        return;
    atomic_store(&p->stop, true);
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->started; i++)
        pthread_join(p->members[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->members);
    mem_free(p);
    *pool = NULL;
}

unsigned pool_threads(const struct pool *pool)
{
    return pool->threads;
}

static void run_alone(size_t count, pool_task_f task, void *context)
{
    for (size_t i = 0; i < count; i++)
        task(context, i, 0);
}

static void run_together(struct pool *pool, size_t count, pool_task_f task, void *context)
{
    uint64_t before = atomic_load(&pool->state);
    ASSERT((before & (STATE_OPEN | STATE_ACTIVE)) == 0);
    pool->task = task;
    pool->context = context;
    pool->count = count;
    atomic_store(&pool->next, 0u);
    atomic_store(&pool->state, (before + STATE_GENERATION) | STATE_OPEN);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    take_items(pool, 0);
    atomic_fetch_and(&pool->state, ~STATE_OPEN);
    for (unsigned spin = 0; (atomic_load(&pool->state) & STATE_ACTIVE) != 0; spin++) {
        if (spin < SPINS_BEFORE_YIELD)
            relax();
        else
            sched_yield();
    }
}

void pool_run(struct pool *pool, size_t count, pool_task_f task, void *context)
{
    struct float_rules before = float_rules_enter();
    if (pool->threads == 1 || count <= 1)
        run_alone(count, task, context);
    else
        run_together(pool, count, task, context);
    float_rules_leave(before);
}
