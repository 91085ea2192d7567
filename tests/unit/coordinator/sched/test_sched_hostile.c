/* test_sched_hostile.c - workers that say anything at any time: the scheduler neither breaks an
 * invariant nor forgets what it put on record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/mem/mem.h"
#include "tests/lib/random_message.h"
#include "world.h"

enum { EVENTS = 20000, PEERS = 6, SUBMIT_EVERY = 200, CHECK_EVERY = 400 };

struct hostile {
    struct world *w;
    uint64_t state;
    struct arena arena; /* of the event at hand */
};

static uint64_t below(struct hostile *h, uint64_t bound)
{
    h->state = h->state * 6364136223846793005u + 1442695040888963407u;
    return (h->state >> 33) % bound;
}

static void fill(struct hostile *h, const struct message_type *type, void *value)
{
    random_message(type, below(h, UINT32_MAX), &h->arena, value);
}

/* Mostly a fence that was given once. */
static uint64_t some_fence(struct hostile *h)
{
    const struct world *w = h->w;
    if (w->grant_count == 0 || below(h, 8) == 0)
        return below(h, UINT32_MAX);
    return w->grants[below(h, w->grant_count)].grant.fence;
}

static struct sched_event say_hello(struct hostile *h, struct peer_id peer)
{
    struct msg_hello *hello = arena_alloc(&h->arena, 1, sizeof *hello);
    fill(h, &message_type_msg_hello, hello);
    if (below(h, 20) != 0) {
        hello->protocol = MESSAGE_PROTOCOL;
        hello->session = below(h, 2) == 0 ? below(h, 1u << 30) : below(h, 60);
        hello->name = text_of(arena_print(&h->arena, "w%u", (unsigned)below(h, 4000)));
        hello->profiles = below(h, 3) == 0 ? TEXT(",f32/1,,f32/1,x,y,z") : TEXT("f32/1,blas");
        hello->known_answer = (struct digest){{0}};
        hello->known_answer.v[0] = below(h, 200) == 0;
        hello->versions = TEXT("");
    }
    return (struct sched_event){.kind = SCHED_HELLO, .peer = peer, .hello = hello};
}

static struct sched_event beat(struct hostile *h, struct peer_id peer)
{
    struct msg_heartbeat *beat = arena_alloc(&h->arena, 1, sizeof *beat);
    fill(h, &message_type_msg_heartbeat, beat);
    beat->draining = below(h, 300) == 0;
    for (uint32_t i = 0; i < beat->leases_count; i++)
        beat->leases[i].fence = some_fence(h);
    return (struct sched_event){.kind = SCHED_HEARTBEAT, .peer = peer, .heartbeat = beat};
}

/* A right result, a wrong one, a failure or anything, of some attempt, of whoever says it. */
static struct sched_event answer(struct hostile *h, struct peer_id peer)
{
    struct world *w = h->w;
    struct msg_lease_result *result = arena_alloc(&h->arena, 1, sizeof *result);
    fill(h, &message_type_msg_lease_result, result);
    result->error = below(h, 3) == 0 ? result->error : 0;
    if (w->grant_count > 0 && below(h, 60) != 0) {
        const struct world_grant *grant = &w->grants[below(h, w->grant_count)];
        *result = world_result(w, &grant->grant, below(h, 100) == 0);
        result->error = below(h, 60) == 0 ? (uint32_t)below(h, ERR_COUNT + 2) : 0;
        result->detail = TEXT("so it goes");
        if (below(h, 4) != 0)
            peer = grant->peer;
    }
    return (struct sched_event){.kind = SCHED_RESULT, .peer = peer, .result = result};
}

static struct sched_event meddle(struct hostile *h, struct peer_id peer)
{
    static const char *const prefixes[] = {"last", "tiny", "0", "zz"};
    struct msg_job_control *control = arena_alloc(&h->arena, 1, sizeof *control);
    fill(h, &message_type_msg_job_control, control);
    control->prefix = text_of(prefixes[below(h, 4)]);
    control->action = below(h, 3) == 0   ? (uint32_t)below(h, 5)
                      : below(h, 2) == 0 ? (uint32_t)JOB_ACTION_RETRY
                                         : (uint32_t)JOB_ACTION_RESUME;
    return (struct sched_event){.kind = SCHED_CONTROL, .peer = peer, .control = control};
}

static struct sched_event finish_work(struct hostile *h)
{
    struct world *w = h->w;
    struct sched_work work = world_next_work(w);
    struct sched_event event = world_outcome(w, &work);
    if (below(h, 60) == 0)
        event.done.error = (enum err)(1 + below(h, ERR_COUNT - 1));
    if (work.kind == SCHED_WORK_CLOSE)
        event.kind = SCHED_TICK;
    return event;
}

static struct sched_event next_event(struct hostile *h)
{
    struct peer_id peer = {1 + below(h, PEERS)};
    uint64_t choice = below(h, 100);
    if (h->w->work_count > 0 && choice < 30)
        return finish_work(h);
    if (choice < 45)
        return answer(h, peer);
    if (choice < 55)
        return say_hello(h, peer);
    if (choice < 80)
        return beat(h, peer);
    if (choice < 85) {
        struct msg_lease_accept *accept = arena_alloc(&h->arena, 1, sizeof *accept);
        accept->fence = some_fence(h);
        return (struct sched_event){.kind = SCHED_ACCEPT, .peer = peer, .accept = accept};
    }
    if (choice < 87) {
        struct msg_leave *leave = arena_alloc(&h->arena, 1, sizeof *leave);
        return (struct sched_event){.kind = SCHED_LEAVE, .peer = peer, .leave = leave};
    }
    if (choice < 89) {
        static const enum sched_event_kind ends[] = {SCHED_GONE, SCHED_CRASHED, SCHED_TICK,
                                                     SCHED_TICK};
        return (struct sched_event){.kind = ends[below(h, 4)], .peer = peer, .worker = peer.v};
    }
    if (choice < 92)
        return meddle(h, peer);
    if (choice < 94)
        return (struct sched_event){.kind = SCHED_DISK, .disk_low = below(h, 20) == 0};
    return (struct sched_event){.kind = SCHED_TICK};
}

static void check_replay(struct world *w)
{
    struct sched *other;
    struct bytes live;
    struct bytes replayed;
    bytes_init(&live, 1 << 26);
    bytes_init(&replayed, 1 << 26);
    assert_int_equal(sched_create(9, &other), ERR_OK);
    for (size_t i = 0; i < w->record_count; i++)
        assert_int_equal(sched_replay(other, &w->records[i]), ERR_OK);
    sched_write_durable(w->s, &live);
    sched_write_durable(other, &replayed);
    assert_true(span_equal(bytes_span(&live), bytes_span(&replayed)));
    bytes_fini(&live);
    bytes_fini(&replayed);
    sched_destroy(&other);
}

/* Grants that were answered or forgotten need no place in the queue. */
static void forget_old_grants(struct world *w)
{
    while (w->grant_count > 60)
        (void)world_next_grant(w);
}

static void look_at_everything(struct world *w)
{
    static struct worker_row workers[LIMIT_WORKERS];
    struct stage_row stages[LIMIT_JOB_STAGES];
    struct instant now = {w->now_ms * NS_PER_MS};
    (void)sched_worker_rows(w->s, now, workers, LIMIT_WORKERS);
    for (size_t i = 0; i < sched_job_count(w->s); i++) {
        struct job_row row;
        sched_job_row(w->s, i, &row);
        (void)sched_job_stages(w->s, i, now, stages, LIMIT_JOB_STAGES);
    }
}

static void submit(struct world *w, uint64_t request)
{
    const char *lines = request % 3 == 0 ? "evaluate: only\nval_set_size: 3\n"
                                         : "micro_batch_size: 8\nmax_steps: 9\n"
                                           "eval_steps: 2\nsave_steps: 2\n";
    w->priority = (int64_t)(request % 5);
    if (request / SUBMIT_EVERY % 2 == 1) {
        static const char *const keys[] = {"scheme: Q4_K_M", "scheme: W4A16, method: gptq"};
        world_quantize(w, request, keys[request / SUBMIT_EVERY % 4 == 3]);
        return;
    }
    world_submit(w, request, world_recipe(w, lines), (uint32_t)(request % 7 + 1), false);
}

static void test_hostile__nothing_a_worker_says_breaks_the_scheduler(void **state)
{
    (void)state;
    struct hostile h = {.w = mem_alloc(1, sizeof *h.w)};
    struct world *w = h.w;
    assert_non_null(w);
    for (uint64_t seed = 1; seed <= 6; seed++) {
        world_init(w);
        h.state = seed;
        for (int i = 0; i < EVENTS; i++) {
            if (i % SUBMIT_EVERY == 0)
                submit(w, (uint64_t)i + 1);
            arena_init(&h.arena, 64 << 20);
            w->now_ms += below(&h, 10) == 0 ? below(&h, 4000) : below(&h, 50);
            world_step(w, next_event(&h));
            arena_fini(&h.arena);
            forget_old_grants(w);
            if (i % CHECK_EVERY == 0) {
                check_replay(w);
                look_at_everything(w);
            }
        }
        print_message("seed %d: %zu records, %zu tasks counted, %zu folds\n", (int)seed,
                      w->record_count, (size_t)w->tasks_counted, (size_t)w->folds);
        assert_true(w->tasks_counted > 5);
        world_fini(w);
    }
    mem_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile__nothing_a_worker_says_breaks_the_scheduler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
