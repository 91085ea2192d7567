/* bench_sched.c - tasks a second through sched_step: nothing is computed, sent or stored.
 *
 *   bench_sched [workers]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/recipe/recipe.h"
#include "coordinator/sched/sched.h"

enum { WORKERS_DEFAULT = 1000, QUEUE = 1 << 15 };

struct given {
    struct peer_id peer;
    uint64_t fence;
};

struct bench {
    struct sched *s;
    struct sched_effects fx;
    uint64_t now_ns;
    struct bytes recipe;
    struct given queue[QUEUE];
    size_t head, count;
    uint64_t requests;
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void step(struct bench *b, struct sched_event event)
{
    event.now.ns = b->now_ns += 1000;
    ASSERT(sched_step(b->s, &event, &b->fx) == ERR_OK);
    for (size_t i = 0; i < b->fx.send_count; i++) {
        const struct sched_send *send = &b->fx.sends[i];
        if (send->number != MSG_LEASE_GRANT)
            continue;
        ASSERT(b->count < QUEUE);
        b->queue[(b->head + b->count++) % QUEUE] =
            (struct given){send->peer, send->message.lease_grant.fence};
    }
}

static void hello(struct bench *b, uint64_t peer)
{
    struct msg_hello message = {.protocol = MESSAGE_PROTOCOL,
                                .name = TEXT("worker"),
                                .session = peer,
                                .profiles = TEXT("f32/1,blas")};
    char name[32];
    snprintf(name, sizeof name, "worker-%llu", (unsigned long long)peer);
    message.name = text_of(name);
    step(b, (struct sched_event){.kind = SCHED_HELLO, .peer = {peer}, .hello = &message});
}

static void submit(struct bench *b, uint32_t tasks)
{
    struct stage_plan stage = {
        .kind = STAGE_KIND_PREPARE, .name = TEXT("prepare"), .task_count = tasks};
    struct rec_job_submitted record = {.job = ++b->requests,
                                       .request = b->requests,
                                       .name = TEXT("bench"),
                                       .recipe = bytes_span(&b->recipe),
                                       .stages = &stage,
                                       .stages_count = 1};
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = {UINT64_MAX}};
    event.submit.record = &record;
    step(b, event);
}

/* Answers every grant until none is left. */
static uint64_t drain(struct bench *b)
{
    struct artifact_ref output = {.name = TEXT("samples"), .size_bytes = 1};
    uint64_t answered = 0;
    while (b->count > 0) {
        struct given given = b->queue[b->head];
        b->head = (b->head + 1) % QUEUE;
        b->count--;
        struct msg_lease_result result = {.fence = given.fence};
        result.result.outputs = &output;
        result.result.outputs_count = 1;
        step(b, (struct sched_event){.kind = SCHED_RESULT, .peer = given.peer, .result = &result});
        answered++;
    }
    return answered;
}

static void report(const char *what, uint64_t count, double begin)
{
    double took = seconds() - begin;
    printf("%-44s %9llu in %6.3f s  %9.0f /s\n", what, (unsigned long long)count, took,
           (double)count / took);
}

static void heartbeats(struct bench *b, uint64_t workers)
{
    struct msg_heartbeat beat = {.seq = 1};
    double begin = seconds();
    for (uint64_t i = 0; i < 100; i++) {
        for (uint64_t peer = 1; peer <= workers; peer++)
            step(b,
                 (struct sched_event){.kind = SCHED_HEARTBEAT, .peer = {peer}, .heartbeat = &beat});
    }
    report("heartbeats", 100 * workers, begin);
}

static void write_recipe(struct bytes *out)
{
    const char *text = "base_model: m\nevaluate: only\nval_set_size: 1\ndatasets:\n  - path: d\n";
    struct recipe recipe;
    struct err_text et;
    struct recipe_options options = {0};
    ASSERT(recipe_read(span_of_text(text_of(text)), &options, &recipe, &et) == ERR_OK);
    bytes_init(out, LIMIT_RECIPE_BYTES);
    recipe_write(&recipe, out);
    recipe_fini(&recipe);
}

int main(int argc, char **argv)
{
    uint64_t workers = argc > 1 ? strtoull(argv[1], NULL, 10) : WORKERS_DEFAULT;
    struct bench *b = mem_alloc(1, sizeof *b);
    ASSERT(b != NULL && sched_create(1, &b->s) == ERR_OK);
    write_recipe(&b->recipe);
    double begin = seconds();
    for (uint64_t i = 1; i <= workers; i++)
        hello(b, i);
    report("hellos", workers, begin);
    heartbeats(b, workers);
    submit(b, 200000);
    begin = seconds();
    report("tasks of one array", drain(b), begin);
    begin = seconds();
    for (int i = 0; i < 10000; i++)
        submit(b, 10);
    report("submissions", 10000, begin);
    begin = seconds();
    report("tasks of ten thousand jobs", drain(b), begin);
    bytes_fini(&b->recipe);
    sched_destroy(&b->s);
    mem_free(b);
    return 0;
}
