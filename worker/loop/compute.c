/* compute.c - a thread, a lock, one task at a time. */
#include "worker/loop/compute.h"

#include <stdatomic.h>
#include <string.h>
#include <uv.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/mem/mem.h"
#include "common/numeric/float_rules.h"

enum { RESULT_BYTES = 64 << 20 };

enum phase { PHASE_IDLE, PHASE_GIVEN, PHASE_RUNNING, PHASE_ENDED };

struct compute {
    struct compute_options options;
    uv_thread_t thread;
    uv_mutex_t lock; /* everything below but the arena, which is the thread's until ENDED */
    uv_cond_t wake;
    enum phase phase;
    bool quit;
    bool is_new; /* there is something to take */
    atomic_bool stop;
    const struct task_spec *spec;
    char bulk_endpoint[LIMIT_PATH_BYTES];
    size_t bulk_endpoint_size;
    struct compute_report report;
    struct err_text detail;
    struct arena arena;
};

static bool on_progress(void *context, uint64_t done, uint64_t total)
{
    struct compute *compute = context;
    uv_mutex_lock(&compute->lock);
    compute->report.done = done;
    compute->report.total = total;
    compute->is_new = true;
    uv_mutex_unlock(&compute->lock);
    compute->options.notify(compute->options.context);
    return !atomic_load(&compute->stop);
}

static enum err execute(struct compute *compute, struct task_result *result)
{
    const struct task_call call = {
        .spec = compute->spec, .progress = on_progress, .context = compute};
    TRY(cache_aim(compute->options.cache,
                  (struct text){compute->bulk_endpoint, compute->bulk_endpoint_size}));
    return task_execute(compute->options.env, &call, &compute->arena, result, &compute->detail);
}

static void run_task(struct compute *compute)
{
    struct task_result result = {.outputs = NULL};
    arena_reset(&compute->arena);
    compute->detail.text[0] = '\0';
    uint64_t begin_ns = uv_hrtime();
    enum err err = execute(compute, &result);
    result.seconds = (double)(uv_hrtime() - begin_ns) / 1e9;
    if (err != ERR_OK && compute->detail.text[0] == '\0')
        err = error_set(&compute->detail, err, "%s", error_text(err));
    uv_mutex_lock(&compute->lock);
    compute->report.finished = true;
    compute->report.error = err;
    compute->report.detail = text_of(err != ERR_OK ? compute->detail.text : "");
    compute->report.result = result;
    compute->phase = PHASE_ENDED;
    compute->is_new = true;
    uv_mutex_unlock(&compute->lock);
    compute->options.notify(compute->options.context);
}

static void run_thread(void *context)
{
    struct compute *compute = context;
    float_rules_set();
    for (;;) {
        uv_mutex_lock(&compute->lock);
        while (compute->phase != PHASE_GIVEN && !compute->quit)
            uv_cond_wait(&compute->wake, &compute->lock);
        bool quit = compute->quit;
        if (!quit)
            compute->phase = PHASE_RUNNING;
        uv_mutex_unlock(&compute->lock);
        if (quit)
            return;
        run_task(compute);
    }
}

enum err compute_create(const struct compute_options *options, struct compute **out)
{
    struct compute *compute = mem_alloc(1, sizeof *compute);
    if (compute == NULL)
        return ERR_OUT_OF_MEMORY;
    compute->options = *options;
    atomic_init(&compute->stop, false);
    arena_init(&compute->arena, RESULT_BYTES);
    if (uv_mutex_init(&compute->lock) != 0)
        goto no_lock;
    if (uv_cond_init(&compute->wake) != 0)
        goto no_wake;
    if (uv_thread_create(&compute->thread, run_thread, compute) != 0)
        goto no_thread;
    *out = compute;
    return ERR_OK;
no_thread:
    uv_cond_destroy(&compute->wake);
no_wake:
    uv_mutex_destroy(&compute->lock);
no_lock:
    mem_free(compute);
    return ERR_OUT_OF_MEMORY;
}

void compute_destroy(struct compute **compute)
{
    struct compute *c = *compute;
    if (c == NULL)
        return;
    atomic_store(&c->stop, true);
    cache_cancel(c->options.cache);
    uv_mutex_lock(&c->lock);
    c->quit = true;
    uv_cond_signal(&c->wake);
    uv_mutex_unlock(&c->lock);
    uv_thread_join(&c->thread);
    uv_cond_destroy(&c->wake);
    uv_mutex_destroy(&c->lock);
    arena_fini(&c->arena);
    mem_free(c);
    *compute = NULL;
}

void compute_start(struct compute *compute, uint64_t fence, const struct task_spec *spec,
                   struct text bulk_endpoint)
{
    uv_mutex_lock(&compute->lock);
    ASSERT(compute->phase == PHASE_IDLE);
    ASSERT(bulk_endpoint.size <= sizeof compute->bulk_endpoint);
    if (bulk_endpoint.size > 0)
        memcpy(compute->bulk_endpoint, bulk_endpoint.data, bulk_endpoint.size);
    compute->bulk_endpoint_size = bulk_endpoint.size;
    compute->spec = spec;
    compute->report = (struct compute_report){.fence = fence};
    compute->is_new = false;
    compute->phase = PHASE_GIVEN;
    atomic_store(&compute->stop, false);
    cache_resume(compute->options.cache);
    uv_cond_signal(&compute->wake);
    uv_mutex_unlock(&compute->lock);
}

void compute_stop(struct compute *compute, uint64_t fence)
{
    uv_mutex_lock(&compute->lock);
    bool runs = compute->phase == PHASE_GIVEN || compute->phase == PHASE_RUNNING;
    if (runs && compute->report.fence == fence) {
        atomic_store(&compute->stop, true);
        cache_cancel(compute->options.cache);
    }
    uv_mutex_unlock(&compute->lock);
}

bool compute_take(struct compute *compute, struct compute_report *out)
{
    uv_mutex_lock(&compute->lock);
    bool is_new = compute->is_new;
    if (is_new)
        *out = compute->report;
    compute->is_new = false;
    if (is_new && compute->phase == PHASE_ENDED)
        compute->phase = PHASE_IDLE;
    uv_mutex_unlock(&compute->lock);
    return is_new;
}
