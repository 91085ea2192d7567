/* test_sched_memory.c - every allocation of every step of a job's life fails once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/mem/mem.h"
#include "coordinator/sched/sched_history.h"
#include "world.h"

static void write_state(const struct world *w, struct bytes *out)
{
    bytes_clear(out);
    sched_write_durable(w->s, out);
    bytes_append(out, "", 1);
}

/* The life of jobs with two workers. The step whose turn it is meets a heap that fails from its
 * n-th allocation on. A step that fails must leave everything as it was, and succeed when it is
 * taken again; one that succeeds may put decisions off, but not lose them. */
struct sweep {
    struct world *w;
    size_t step, failing_step, fail_after;
    bool failed, was_reached;
    struct bytes before, after;
};

static void take(struct sweep *sweep, struct sched_event event)
{
    struct world *w = sweep->w;
    if (sweep->step++ != sweep->failing_step) {
        world_step(w, event);
        return;
    }
    event.now.ns = w->now_ms * NS_PER_MS;
    write_state(w, &sweep->before);
    struct sched_effects effects;
    (void)mem_fault_after(sweep->fail_after);
    enum err err = sched_step(w->s, &event, &effects);
    sweep->was_reached = mem_fault_after(0) >= sweep->fail_after;
    if (err != ERR_OK) {
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
        write_state(w, &sweep->after);
        assert_string_equal((const char *)sweep->before.data, (const char *)sweep->after.data);
        assert_int_equal(effects.record_count + effects.send_count + effects.work_count, 0);
        world_step(w, event);
        sweep->failed = true;
        return;
    }
    world_keep(w, &effects);
}

static void hello(struct sweep *sweep, uint64_t peer, const char *name)
{
    struct msg_hello message = {.protocol = MESSAGE_PROTOCOL,
                                .name = text_of(name),
                                .session = peer,
                                .profiles = TEXT("f32/1,blas")};
    take(sweep, (struct sched_event){.kind = SCHED_HELLO, .peer = {peer}, .hello = &message});
}

static void submit(struct sweep *sweep, const struct rec_job_submitted *record)
{
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = {900}};
    event.submit.record = record;
    take(sweep, event);
}

static void answer_all(struct sweep *sweep)
{
    struct world *w = sweep->w;
    while (w->grant_count + w->work_count > 0) {
        if (w->work_count > 0) {
            struct sched_work work = world_next_work(w);
            if (work.kind != SCHED_WORK_CLOSE && work.kind != SCHED_WORK_PRUNE)
                take(sweep, world_outcome(w, &work));
        } else {
            struct world_grant grant = world_next_grant(w);
            struct msg_lease_result result = world_result(w, &grant.grant, 0);
            take(sweep,
                 (struct sched_event){.kind = SCHED_RESULT, .peer = grant.peer, .result = &result});
        }
    }
}

/* Until the newest of `count` jobs is done. */
static void run(struct sweep *sweep, size_t count)
{
    struct world *w = sweep->w;
    for (int i = 0;
         i < 200 && (sched_job_count(w->s) < count || world_state(w, count - 1) != JOB_DONE); i++) {
        w->now_ms += 100;
        answer_all(sweep);
        struct msg_heartbeat beat = {.seq = 1};
        for (uint64_t peer = 1; peer <= 2; peer++)
            take(sweep,
                 (struct sched_event){.kind = SCHED_HEARTBEAT, .peer = {peer}, .heartbeat = &beat});
    }
    if (world_state(w, count - 1) != JOB_DONE)
        print_message("step %zu, allocation %zu: %.*s\n", sweep->failing_step, sweep->fail_after,
                      TEXT_ARGS(world_detail(w, count - 1)));
    assert_int_equal(world_state(w, count - 1), JOB_DONE);
}

static void change_history(struct sweep *sweep, enum checkpoint_action action, size_t place,
                           struct retention rules)
{
    size_t count;
    const struct checkpoint_row *rows = sched_job_checkpoints(sweep->w->s, 0, &count);
    struct msg_checkpoint_control control = {
        .prefix = TEXT("last"), .action = (uint32_t)action, .rules = rules, .tag = TEXT("good")};
    if (rules.keep_last == 0)
        control.digest = rows[place].digest;
    struct sched_history_request request = {&control, 0};
    struct sched_event event = {.kind = SCHED_HISTORY, .peer = {900}};
    event.history = &request;
    take(sweep, event);
}

/* Names, the way back and forward again, what is forgotten by rules and by the recipe's limit. */
static void history(struct sweep *sweep)
{
    struct world *w = sweep->w;
    struct rec_job_submitted record;
    hello(sweep, 1, "a");
    world_job(w, 1,
              world_recipe(w, "micro_batch_size: 4\nmax_steps: 4\nsave_steps: 1\n"
                              "save_total_limit: 3\n"),
              1, true, &record);
    submit(sweep, &record);
    run(sweep, 1);
    change_history(sweep, CHECKPOINT_TAG, 0, (struct retention){0});
    change_history(sweep, CHECKPOINT_RESTORE, 0, (struct retention){0});
    change_history(sweep, CHECKPOINT_RESTORE, 1, (struct retention){0});
    change_history(sweep, CHECKPOINT_FORGET, 0, (struct retention){.keep_last = 1});
    run(sweep, 1);
    change_history(sweep, CHECKPOINT_UNTAG, 0, (struct retention){0});
    size_t count;
    (void)sched_job_checkpoints(w->s, 0, &count);
    assert_true(count >= 2 && count <= 4);
}

static void train(struct sweep *sweep)
{
    struct world *w = sweep->w;
    struct rec_job_submitted record;
    hello(sweep, 1, "a");
    hello(sweep, 2, "b");
    world_job(w, 1,
              world_recipe(w, "micro_batch_size: 4\nmax_steps: 2\nsave_steps: 1\neval_steps: 1\n"),
              2, true, &record);
    submit(sweep, &record);
    run(sweep, 1);
}

/* Counts that are told, waves, results that are taken over, a job that goes. */
static void quantize(struct sweep *sweep)
{
    static const char *const keys[] = {"scheme: Q4_K_M", "scheme: Q4_K_M",
                                       "scheme: W4A16, method: gptq"};
    struct world *w = sweep->w;
    struct rec_job_submitted record;
    hello(sweep, 1, "a");
    hello(sweep, 2, "b");
    for (size_t i = 0; i < 3; i++) {
        world_quantize_job(w, i + 1, keys[i], &record);
        submit(sweep, &record);
        run(sweep, i + 1);
    }
    struct stage_row rows[3];
    (void)sched_job_stages(w->s, 1, (struct instant){0}, rows, 3);
    assert_int_equal(rows[2].reused, 3);
    take(sweep, (struct sched_event){.kind = SCHED_STARTED}); /* the index is there already */
    struct msg_job_control forget = {.prefix = TEXT("last"), .action = JOB_ACTION_FORGET};
    take(sweep, (struct sched_event){.kind = SCHED_CONTROL, .peer = {900}, .control = &forget});
    assert_int_equal(sched_job_count(w->s), 2);
}

static void sweep_all(void (*live)(struct sweep *sweep))
{
    struct sweep sweep = {.w = mem_alloc(1, sizeof *sweep.w)};
    assert_non_null(sweep.w);
    bytes_init(&sweep.before, 1 << 20);
    bytes_init(&sweep.after, 1 << 20);
    size_t failures = 0;
    size_t cases = 0;
    bool more_steps = true;
    for (sweep.failing_step = 0; more_steps; sweep.failing_step++) {
        sweep.was_reached = true;
        for (sweep.fail_after = 1; sweep.was_reached; sweep.fail_after++) {
            world_init(sweep.w);
            sweep.step = 0;
            sweep.failed = false;
            sweep.was_reached = false;
            live(&sweep);
            failures += sweep.failed;
            cases++;
            more_steps = sweep.step > sweep.failing_step;
            world_fini(sweep.w);
        }
    }
    print_message("%zu cases, %zu steps failed and were taken again\n", cases, failures);
    assert_true(failures > 20);
    bytes_fini(&sweep.before);
    bytes_fini(&sweep.after);
    mem_free(sweep.w);
}

static void test_memory__a_step_of_training_without_memory_changes_nothing_or_puts_off(void **state)
{
    (void)state;
    sweep_all(train);
}

static void
test_memory__a_step_of_quantizing_without_memory_changes_nothing_or_puts_off(void **state)
{
    (void)state;
    sweep_all(quantize);
}

static void test_memory__a_step_of_history_without_memory_changes_nothing_or_puts_off(void **state)
{
    (void)state;
    sweep_all(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_memory__a_step_of_training_without_memory_changes_nothing_or_puts_off),
        cmocka_unit_test(
            test_memory__a_step_of_quantizing_without_memory_changes_nothing_or_puts_off),
        cmocka_unit_test(test_memory__a_step_of_history_without_memory_changes_nothing_or_puts_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
