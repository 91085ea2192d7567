/* test_agent.c - the worker's half of the protocol as stories: what it is told, what it does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/mem/mem.h"
#include "worker/agent/agent.h"

/* An agent with a clock of its own and the effects of its last step. */
struct story {
    struct agent *agent;
    struct instant now;
    struct agent_effects fx;
};

static void step(struct story *s, struct agent_event event)
{
    event.now = s->now;
    assert_int_equal(agent_step(s->agent, &event, &s->fx), ERR_OK);
}

static void hear(struct story *s, uint32_t number, union message_any message)
{
    step(s, (struct agent_event){.kind = AGENT_MESSAGE,
                                 .message = {.number = number, .message = &message}});
}

static void wait_ms(struct story *s, uint64_t ms)
{
    s->now.ns += ms * NS_PER_MS;
    step(s, (struct agent_event){.kind = AGENT_TICK});
}

static void welcome(struct story *s)
{
    hear(s, MSG_WELCOME,
         (union message_any){.welcome = {.protocol = MESSAGE_PROTOCOL,
                                         .incarnation = 1,
                                         .heartbeat_ms = 1000,
                                         .bulk_endpoint = TEXT("ipc:///b")}});
}

static void grant(struct story *s, uint64_t fence)
{
    hear(s, MSG_LEASE_GRANT,
         (union message_any){.lease_grant = {.fence = fence, .job = 9, .ttl_ms = 30000}});
}

static void finish(struct story *s, uint64_t fence, enum err error)
{
    const struct task_result result = {.loss_sum = 2.5};
    step(s, (struct agent_event){.kind = AGENT_FINISHED,
                                 .finished = {.fence = fence,
                                              .error = error,
                                              .detail = TEXT("why"),
                                              .result = error == ERR_OK ? &result : NULL}});
}

static void acknowledge(struct story *s, uint64_t fence)
{
    hear(s, MSG_RESULT_ACK, (union message_any){.result_ack = {.fence = fence}});
}

static void call_stale(struct story *s, uint64_t fence)
{
    struct fence_ref ref = {fence};
    hear(s, MSG_HEARTBEAT_ACK,
         (union message_any){.heartbeat_ack = {.stale = &ref, .stale_count = 1}});
}

/* The n-th send of this number in the last step, NULL when there is none. */
static const union message_any *sent(const struct story *s, uint32_t number, size_t n)
{
    for (size_t i = 0; i < s->fx.send_count; i++)
        if (s->fx.sends[i].number == number && n-- == 0)
            return &s->fx.sends[i].message;
    return NULL;
}

static const struct agent_command *told(const struct story *s, enum agent_command_kind kind)
{
    for (size_t i = 0; i < s->fx.command_count; i++)
        if (s->fx.commands[i].kind == kind)
            return &s->fx.commands[i];
    return NULL;
}

static struct story begin(void)
{
    const struct agent_config config = {.name = TEXT("w1"),
                                        .session = 77,
                                        .threads = 2,
                                        .isa = TEXT("avx2"),
                                        .profiles = TEXT("f32/1"),
                                        .orphan = {60 * NS_PER_S}};
    struct story s = {.now = {1000 * NS_PER_S}};
    assert_int_equal(agent_create(&config, &s.agent), ERR_OK);
    step(&s, (struct agent_event){.kind = AGENT_STARTED});
    return s;
}

static struct story joined(void)
{
    struct story s = begin();
    welcome(&s);
    return s;
}

static void end(struct story *s)
{
    agent_destroy(&s->agent);
    assert_null(s->agent);
}

static void test_agent__says_hello_then_beats(void **state)
{
    (void)state;
    struct story s = begin();
    const union message_any *hello = sent(&s, MSG_HELLO, 0);
    assert_non_null(hello);
    assert_true(text_is(hello->hello.name, "w1"));
    assert_int_equal(hello->hello.session, 77);
    assert_int_equal(hello->hello.leases_count, 0);
    welcome(&s);
    assert_int_equal(sent(&s, MSG_HEARTBEAT, 0)->heartbeat.seq, 1);
    assert_true(s.fx.wake_at.ns == s.now.ns + NS_PER_S);
    wait_ms(&s, 1000);
    assert_int_equal(sent(&s, MSG_HEARTBEAT, 0)->heartbeat.seq, 2);
    end(&s);
}

static void test_agent__a_grant_is_accepted_run_reported_and_forgotten(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    assert_int_equal(sent(&s, MSG_LEASE_ACCEPT, 0)->lease_accept.fence, 5);
    assert_int_equal(told(&s, AGENT_START)->fence, 5);
    assert_true(text_is(told(&s, AGENT_START)->bulk_endpoint, "ipc:///b"));
    step(&s, (struct agent_event){.kind = AGENT_PROGRESS,
                                  .progress = {.fence = 5, .done = 3, .total = 8}});
    wait_ms(&s, 1000);
    const struct msg_heartbeat *beat = &sent(&s, MSG_HEARTBEAT, 0)->heartbeat;
    assert_int_equal(beat->leases_count, 1);
    assert_int_equal(beat->leases[0].done, 3);
    finish(&s, 5, ERR_OK);
    assert_true(sent(&s, MSG_LEASE_RESULT, 0)->lease_result.result.loss_sum == 2.5);
    acknowledge(&s, 5);
    struct lease_status rows[4];
    assert_int_equal(agent_leases(s.agent, rows, 4), 0);
    end(&s);
}

static void test_agent__a_failure_is_reported_with_its_words(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    finish(&s, 5, ERR_NOT_FINITE);
    const struct msg_lease_result *result = &sent(&s, MSG_LEASE_RESULT, 0)->lease_result;
    assert_int_equal(result->error, ERR_NOT_FINITE);
    assert_true(text_is(result->detail, "why"));
    assert_int_equal(result->result.outputs_count, 0);
    end(&s);
}

static void test_agent__a_second_grant_waits_for_the_first(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    grant(&s, 6);
    assert_non_null(sent(&s, MSG_LEASE_ACCEPT, 0));
    assert_null(told(&s, AGENT_START));
    finish(&s, 5, ERR_OK);
    assert_int_equal(told(&s, AGENT_START)->fence, 6);
    end(&s);
}

static void test_agent__a_doubled_grant_is_answered_but_run_once(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    grant(&s, 5);
    assert_non_null(sent(&s, MSG_LEASE_ACCEPT, 0));
    assert_null(told(&s, AGENT_START));
    finish(&s, 5, ERR_OK);
    grant(&s, 5);
    assert_null(told(&s, AGENT_START));
    assert_int_equal(sent(&s, MSG_LEASE_RESULT, 0)->lease_result.fence, 5);
    end(&s);
}

static void test_agent__a_result_is_repeated_until_it_is_acknowledged(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    finish(&s, 5, ERR_OK);
    unsigned repeats = 0;
    for (int i = 0; i < 12; i++) {
        hear(&s, MSG_HEARTBEAT_ACK, (union message_any){.heartbeat_ack = {.seq = 1}});
        wait_ms(&s, 1000);
        repeats += sent(&s, MSG_LEASE_RESULT, 0) != NULL;
    }
    assert_in_range(repeats, 3, 6);
    acknowledge(&s, 5);
    hear(&s, MSG_HEARTBEAT_ACK, (union message_any){.heartbeat_ack = {.seq = 1}});
    wait_ms(&s, 4000);
    assert_null(sent(&s, MSG_LEASE_RESULT, 0));
    end(&s);
}

static void test_agent__silence_brings_a_fresh_connection_and_what_it_holds(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    finish(&s, 5, ERR_OK);
    grant(&s, 6);
    wait_ms(&s, LIMIT_WORKER_QUIET_MS);
    assert_non_null(told(&s, AGENT_RECONNECT));
    const struct msg_hello *hello = &sent(&s, MSG_HELLO, 0)->hello;
    assert_int_equal(hello->leases_count, 2);
    assert_true(hello->leases[0].finished);
    assert_false(hello->leases[1].finished);
    grant(&s, 7); /* of the old session */
    assert_null(sent(&s, MSG_LEASE_ACCEPT, 0));
    welcome(&s);
    assert_int_equal(sent(&s, MSG_LEASE_RESULT, 0)->lease_result.fence, 5);
    end(&s);
}

static void test_agent__a_coordinator_that_forgot_us_hears_hello_again(void **state)
{
    (void)state;
    struct story s = joined();
    hear(&s, MSG_WELCOME, (union message_any){.welcome = {.error = ERR_NOT_FOUND}});
    assert_non_null(sent(&s, MSG_HELLO, 0));
    assert_null(told(&s, AGENT_RECONNECT));
    assert_null(told(&s, AGENT_EXIT));
    /* It was told about each message that crossed the restart; one hello answers them all. */
    hear(&s, MSG_WELCOME, (union message_any){.welcome = {.error = ERR_NOT_FOUND}});
    assert_null(sent(&s, MSG_HELLO, 0));
    assert_null(told(&s, AGENT_EXIT));
    welcome(&s);
    assert_non_null(sent(&s, MSG_HEARTBEAT, 0));
    end(&s);
}

static void test_agent__a_stale_attempt_is_stopped_and_its_outcome_ignored(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    grant(&s, 6);
    call_stale(&s, 5);
    assert_int_equal(told(&s, AGENT_STOP)->fence, 5);
    assert_null(told(&s, AGENT_START)); /* the thread is still busy with the stopped one */
    call_stale(&s, 5);
    assert_null(told(&s, AGENT_STOP));
    finish(&s, 5, ERR_CANCELLED);
    assert_null(sent(&s, MSG_LEASE_RESULT, 0));
    assert_int_equal(told(&s, AGENT_START)->fence, 6);
    end(&s);
}

static void test_agent__a_waiting_attempt_that_is_cancelled_never_starts(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    grant(&s, 6);
    hear(&s, MSG_LEASE_CANCEL, (union message_any){.lease_cancel = {.fence = 6}});
    assert_null(told(&s, AGENT_STOP));
    finish(&s, 5, ERR_OK);
    assert_null(told(&s, AGENT_START));
    end(&s);
}

static void test_agent__drains_by_finishing_and_reporting_then_leaves(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    grant(&s, 6);
    step(&s, (struct agent_event){.kind = AGENT_TERMINATE});
    const struct msg_heartbeat *beat = &sent(&s, MSG_HEARTBEAT, 0)->heartbeat;
    assert_true(beat->draining);
    assert_int_equal(beat->leases_count, 1); /* what has not begun is let go */
    grant(&s, 7);
    assert_null(sent(&s, MSG_LEASE_ACCEPT, 0));
    finish(&s, 5, ERR_OK);
    assert_null(told(&s, AGENT_EXIT)); /* not before the result is safe */
    acknowledge(&s, 5);
    assert_non_null(sent(&s, MSG_LEAVE, 0));
    assert_int_equal(told(&s, AGENT_EXIT)->error, ERR_OK);
    wait_ms(&s, 10000);
    assert_int_equal(s.fx.send_count + s.fx.command_count, 0);
    end(&s);
}

static void test_agent__leaves_with_the_words_it_was_drained_with(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    hear(&s, MSG_DRAIN, (union message_any){.drain = {.reason = TEXT("the target is lower")}});
    finish(&s, 5, ERR_OK);
    acknowledge(&s, 5);
    assert_true(text_is(sent(&s, MSG_LEAVE, 0)->leave.reason, "the target is lower"));
    end(&s);
}

static void test_agent__draining_with_a_result_that_nobody_takes_ends_as_an_orphan(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    hear(&s, MSG_DRAIN, (union message_any){.drain = {.reason = TEXT("")}});
    finish(&s, 5, ERR_OK);
    bool has_left = false;
    for (uint64_t i = 0; i < 59 && !has_left; i++) { /* the coordinator is gone from here on */
        wait_ms(&s, 1000);
        has_left = told(&s, AGENT_EXIT) != NULL;
    }
    assert_false(has_left);
    wait_ms(&s, 2000);
    assert_int_equal(told(&s, AGENT_EXIT)->error, ERR_UNREACHABLE);
    end(&s);
}

static void test_agent__a_second_termination_leaves_at_once(void **state)
{
    (void)state;
    struct story s = joined();
    grant(&s, 5);
    step(&s, (struct agent_event){.kind = AGENT_TERMINATE});
    step(&s, (struct agent_event){.kind = AGENT_TERMINATE});
    assert_non_null(sent(&s, MSG_LEAVE, 0));
    assert_non_null(told(&s, AGENT_EXIT));
    end(&s);
}

/* The coordinator may have read the hello by now, and would wait for the worker's heartbeats. */
static void test_agent__leaves_with_a_word_also_before_it_is_welcome(void **state)
{
    (void)state;
    struct story s = begin();
    step(&s, (struct agent_event){.kind = AGENT_TERMINATE});
    assert_non_null(sent(&s, MSG_LEAVE, 0));
    assert_int_equal(told(&s, AGENT_EXIT)->error, ERR_OK);
    end(&s);
    s = begin();
    hear(&s, MSG_RETIRE, (union message_any){.retire = {.reason = TEXT("the run is over")}});
    assert_true(text_is(sent(&s, MSG_LEAVE, 0)->leave.reason, "the run is over"));
    end(&s);
}

static void test_agent__retires_when_told_and_exits_when_refused(void **state)
{
    (void)state;
    struct story s = joined();
    hear(&s, MSG_RETIRE, (union message_any){.retire = {.reason = TEXT("done")}});
    assert_int_equal(told(&s, AGENT_EXIT)->error, ERR_OK);
    end(&s);
    s = begin();
    hear(&s, MSG_WELCOME,
         (union message_any){.welcome = {.error = ERR_PROFILE, .detail = TEXT("other bits")}});
    assert_int_equal(told(&s, AGENT_EXIT)->error, ERR_PROFILE);
    assert_true(text_is(told(&s, AGENT_EXIT)->detail, "other bits"));
    end(&s);
}

static void test_agent__an_orphan_exits(void **state)
{
    (void)state;
    struct story s = joined();
    for (int i = 0; i < 11; i++) {
        wait_ms(&s, 5000);
        assert_null(told(&s, AGENT_EXIT));
        assert_non_null(told(&s, AGENT_RECONNECT));
    }
    wait_ms(&s, 5000);
    assert_int_equal(told(&s, AGENT_EXIT)->error, ERR_UNREACHABLE);
    end(&s);
}

/* A worker of an allocation that ends after ten minutes. */
static struct story short_lived(uint64_t session)
{
    const struct agent_config config = {.name = TEXT("w1"),
                                        .session = session,
                                        .provider = TEXT("cluster"),
                                        .allocation = TEXT("4711"),
                                        .lifetime = {600 * NS_PER_S}};
    struct story s = {.now = {1000 * NS_PER_S}};
    assert_int_equal(agent_create(&config, &s.agent), ERR_OK);
    step(&s, (struct agent_event){.kind = AGENT_STARTED});
    return s;
}

/* Seconds from its start to the heartbeat that says it drains. */
static uint64_t drains_after_s(uint64_t session)
{
    struct story s = short_lived(session);
    welcome(&s);
    uint64_t second = 0;
    for (; second < 600; second++) {
        const union message_any *beat = sent(&s, MSG_HEARTBEAT, 0);
        if (beat != NULL && beat->heartbeat.draining)
            break;
        hear(&s, MSG_HEARTBEAT_ACK, (union message_any){.heartbeat_ack = {.seq = 0}});
        wait_ms(&s, 1000);
    }
    end(&s);
    return second;
}

/* Stopped and continued: the coordinator may be there all the while. */
static void test_agent__who_stood_still_is_no_orphan_yet(void **state)
{
    (void)state;
    struct story s = joined();
    s.now.ns += 600 * NS_PER_S;
    step(&s, (struct agent_event){.kind = AGENT_TICK, .pause = {599 * NS_PER_S}});
    assert_null(told(&s, AGENT_EXIT));
    assert_non_null(sent(&s, MSG_HELLO, 0));
    for (int i = 0; i < 59 && told(&s, AGENT_EXIT) == NULL; i++)
        wait_ms(&s, 1000);
    assert_int_equal(told(&s, AGENT_EXIT)->error, ERR_UNREACHABLE);
    end(&s);
}

static void test_agent__tells_its_place_and_its_end(void **state)
{
    (void)state;
    struct story s = short_lived(1);
    const struct msg_hello *hello = &sent(&s, MSG_HELLO, 0)->hello;
    assert_true(text_is(hello->provider, "cluster"));
    assert_true(text_is(hello->allocation, "4711"));
    assert_int_equal(hello->ends_in_s, 600);
    s.now.ns += 100 * NS_PER_S;
    hear(&s, MSG_WELCOME, (union message_any){.welcome = {.error = ERR_OK}});
    hear(&s, MSG_WELCOME, (union message_any){.welcome = {.error = ERR_NOT_FOUND}});
    assert_int_equal(sent(&s, MSG_HELLO, 0)->hello.ends_in_s, 500);
    end(&s);
}

static void test_agent__drains_before_its_end_and_not_all_together(void **state)
{
    (void)state;
    uint64_t first = drains_after_s(UINT64_MAX), last = drains_after_s(0);
    assert_int_equal(last, 550);      /* a twelfth before the end */
    assert_in_range(first, 510, 511); /* a fifteenth before that */
    assert_in_range(drains_after_s(UINT64_MAX / 2), 529, 531);
}

static void test_agent__leaves_with_a_word_when_its_end_is_there(void **state)
{
    (void)state;
    struct story s = short_lived(0);
    welcome(&s);
    grant(&s, 5);
    s.now.ns += 560 * NS_PER_S;
    step(&s, (struct agent_event){.kind = AGENT_TICK});
    assert_true(sent(&s, MSG_HEARTBEAT, 0)->heartbeat.draining);
    assert_null(told(&s, AGENT_EXIT)); /* it finishes what runs */
    assert_true(s.fx.wake_at.ns <= (1000 + 598) * NS_PER_S);
    welcome(&s); /* it was silent for long */
    s.now.ns = (1000 + 598) * NS_PER_S;
    step(&s, (struct agent_event){.kind = AGENT_TICK});
    assert_true(text_is(sent(&s, MSG_LEAVE, 0)->leave.reason, "its time limit came"));
    assert_int_equal(told(&s, AGENT_EXIT)->error, ERR_OK);
    end(&s);
}

static void test_agent__holds_no_more_leases_than_the_limit(void **state)
{
    (void)state;
    struct story s = joined();
    for (uint64_t fence = 1; fence <= LIMIT_WORKER_LEASES; fence++) {
        grant(&s, fence);
        assert_non_null(sent(&s, MSG_LEASE_ACCEPT, 0));
    }
    grant(&s, 100);
    assert_null(sent(&s, MSG_LEASE_ACCEPT, 0));
    end(&s);
}

/* With the n-th allocation failing, a step either works or leaves the agent as it was. */
static void test_agent__no_memory_changes_nothing(void **state)
{
    (void)state;
    for (size_t n = 1; n < 12; n++) {
        struct story s = joined();
        struct artifact_ref inputs[2] = {{.name = TEXT("rows")}, {.name = TEXT("weights")}};
        const union message_any message = {
            .lease_grant = {.fence = 5, .spec = {.inputs = inputs, .inputs_count = 2}}};
        const struct agent_event event = {
            .kind = AGENT_MESSAGE,
            .now = s.now,
            .message = {.number = MSG_LEASE_GRANT, .message = &message}};
        (void)mem_fault_after(n);
        enum err err = agent_step(s.agent, &event, &s.fx);
        (void)mem_fault_after(0);
        struct lease_status rows[4];
        assert_int_equal(agent_leases(s.agent, rows, 4), err == ERR_OK ? 1 : 0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        assert_int_equal(agent_step(s.agent, &event, &s.fx), ERR_OK);
        assert_int_equal(agent_leases(s.agent, rows, 4), 1);
        end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agent__says_hello_then_beats),
        cmocka_unit_test(test_agent__a_grant_is_accepted_run_reported_and_forgotten),
        cmocka_unit_test(test_agent__a_failure_is_reported_with_its_words),
        cmocka_unit_test(test_agent__a_second_grant_waits_for_the_first),
        cmocka_unit_test(test_agent__a_doubled_grant_is_answered_but_run_once),
        cmocka_unit_test(test_agent__a_result_is_repeated_until_it_is_acknowledged),
        cmocka_unit_test(test_agent__silence_brings_a_fresh_connection_and_what_it_holds),
        cmocka_unit_test(test_agent__a_coordinator_that_forgot_us_hears_hello_again),
        cmocka_unit_test(test_agent__a_stale_attempt_is_stopped_and_its_outcome_ignored),
        cmocka_unit_test(test_agent__a_waiting_attempt_that_is_cancelled_never_starts),
        cmocka_unit_test(test_agent__drains_by_finishing_and_reporting_then_leaves),
        cmocka_unit_test(test_agent__leaves_with_the_words_it_was_drained_with),
        cmocka_unit_test(test_agent__draining_with_a_result_that_nobody_takes_ends_as_an_orphan),
        cmocka_unit_test(test_agent__a_second_termination_leaves_at_once),
        cmocka_unit_test(test_agent__leaves_with_a_word_also_before_it_is_welcome),
        cmocka_unit_test(test_agent__retires_when_told_and_exits_when_refused),
        cmocka_unit_test(test_agent__an_orphan_exits),
        cmocka_unit_test(test_agent__who_stood_still_is_no_orphan_yet),
        cmocka_unit_test(test_agent__holds_no_more_leases_than_the_limit),
        cmocka_unit_test(test_agent__no_memory_changes_nothing),
        cmocka_unit_test(test_agent__tells_its_place_and_its_end),
        cmocka_unit_test(test_agent__drains_before_its_end_and_not_all_together),
        cmocka_unit_test(test_agent__leaves_with_a_word_when_its_end_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
