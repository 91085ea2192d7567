/* test_sched_lease.c - who gets work, who loses it, and whose result counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "world.h"

/* A job whose only ready stage has `shards` tasks; init is kept out of the way. */
static void submit_shards(struct world *w, uint64_t request, uint32_t shards)
{
    world_submit(w, request, world_recipe(w, "evaluate: only\nval_set_size: 3\n"), shards, false);
}

static uint32_t acknowledged_with(const struct world *w)
{
    const struct sched_send *send = world_sent(w, MSG_RESULT_ACK, 0);
    assert_non_null(send);
    return send->message.result_ack.error;
}

static void test_lease__tasks_are_granted_in_order_and_prefetched(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 6);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    /* Each has one, and a second while more wait than there are workers. */
    assert_int_equal(w->grant_count, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(w->grants[i].grant.index, i);
    struct world_grant first = world_next_grant(w);
    world_answer(w, first.peer, &first.grant);
    assert_int_equal(w->grant_count, 3); /* two wait, two workers: nobody queues */
}

static void test_lease__priority_goes_before_submission(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    submit_shards(w, 2, 1);
    w->priority = 5;
    submit_shards(w, 3, 1);
    static const size_t expected[] = {2, 0, 1};
    for (uint64_t i = 0; i < 3; i++) {
        world_hello(w, i + 1, "a", "f32/1");
        assert_int_equal(w->grants[i].grant.job, sched_job_submitted(w->s, expected[i])->job);
    }
}

static void test_lease__late_result_after_expiry_is_ignored(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant late = world_next_grant(w);
    world_accept(w, 1, late.grant.fence);
    world_tick(w, LIMIT_WORKER_LOST_MS);
    world_hello(w, 2, "b", "f32/1");
    struct world_grant again = world_next_grant(w);
    assert_int_equal(again.grant.index, late.grant.index);
    assert_true(again.grant.fence > late.grant.fence);
    world_answer(w, late.peer, &late.grant);
    assert_int_equal(acknowledged_with(w), ERR_FENCED);
    assert_int_equal(w->tasks_counted, 0);
    world_answer(w, again.peer, &again.grant);
    assert_int_equal(acknowledged_with(w), ERR_OK);
    assert_int_equal(w->tasks_counted, 1);
}

static void test_lease__repeated_result_counts_once(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 2);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant grant = world_next_grant(w);
    world_answer(w, grant.peer, &grant.grant);
    world_answer(w, grant.peer, &grant.grant);
    assert_int_equal(acknowledged_with(w), ERR_FENCED);
    assert_int_equal(w->tasks_counted, 1);
}

static void test_lease__heartbeats_keep_it_alive(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant grant = world_next_grant(w);
    world_accept(w, 1, grant.grant.fence);
    for (int i = 0; i < 100; i++) {
        w->now_ms += 1000;
        world_beat(w, 1, &grant.grant.fence, 1);
        assert_int_equal(world_sent(w, MSG_HEARTBEAT_ACK, 0)->message.heartbeat_ack.stale_count, 0);
    }
    world_answer(w, grant.peer, &grant.grant);
    assert_int_equal(acknowledged_with(w), ERR_OK);
}

static void test_lease__grant_that_never_arrived_is_given_again(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant lost = world_next_grant(w);
    for (int i = 0; i < 31; i++) {
        w->now_ms += 1000;
        world_beat(w, 1, NULL, 0);
    }
    struct world_grant again = world_next_grant(w);
    assert_true(again.grant.fence > lost.grant.fence);
    assert_int_equal(again.grant.index, 0);
}

static void test_lease__a_hello_without_it_gives_it_up_at_once(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant first = world_next_grant(w);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant again = world_next_grant(w);
    assert_true(again.grant.fence > first.grant.fence);
}

static void test_lease__unknown_fences_are_called_stale(void **state)
{
    struct world *w = *state;
    uint64_t fence = 77;
    world_hello(w, 1, "a", "f32/1");
    world_beat(w, 1, &fence, 1);
    const struct msg_heartbeat_ack *ack =
        &world_sent(w, MSG_HEARTBEAT_ACK, 0)->message.heartbeat_ack;
    assert_int_equal(ack->stale_count, 1);
    assert_int_equal(ack->stale[0].fence, 77);
}

static void test_lease__stranger_is_asked_to_say_hello(void **state)
{
    struct world *w = *state;
    world_beat(w, 5, NULL, 0);
    assert_int_equal(world_sent(w, MSG_WELCOME, 0)->message.welcome.error, ERR_NOT_FOUND);
}

static void test_lease__a_name_that_cannot_be_shown_is_not_let_in(void **state)
{
    struct world *w = *state;
    static const char *const names[] = {"", "a\xFF", "a\nb", "\x1B[2J"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        world_hello(w, 1, names[i], "f32/1");
        assert_int_equal(world_sent(w, MSG_WELCOME, 0)->message.welcome.error, ERR_PROTOCOL);
    }
    world_hello(w, 1, "n\xC3\xB6rd", "f32/1");
    assert_int_equal(world_sent(w, MSG_WELCOME, 0)->message.welcome.error, ERR_OK);
}

static void test_lease__restarted_worker_of_one_name_frees_the_old_one_soon(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant first = world_next_grant(w);
    world_accept(w, 1, first.grant.fence);
    world_hello(w, 2, "a", "f32/1"); /* killed and started again */
    assert_int_equal(w->grant_count, 0);
    world_tick(w, 2 * LIMIT_HEARTBEAT_MS);
    assert_int_equal(w->grant_count, 1);
    assert_int_equal(w->grants[0].peer.v, 2);
}

static void test_lease__leaving_worker_hands_back_its_tasks(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    struct world_grant first = world_next_grant(w);
    struct msg_leave leave = {.reason = TEXT("done")};
    world_step(w, (struct sched_event){.kind = SCHED_LEAVE, .peer = first.peer, .leave = &leave});
    assert_int_equal(w->grant_count, 1);
    assert_true(w->grants[0].peer.v != first.peer.v);
}

static void test_lease__draining_worker_gets_nothing_more(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    struct msg_worker_drain drain = {.ticket = 3, .name = TEXT("a"), .reason = TEXT("upgrade")};
    world_step(w, (struct sched_event){.kind = SCHED_DRAIN, .peer = {900}, .drain = &drain});
    assert_non_null(world_sent(w, MSG_DRAIN, 0));
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_OK);
    submit_shards(w, 1, 1);
    assert_int_equal(w->grant_count, 0);
    world_beat(w, 1, NULL, 0); /* the word was lost on the way */
    assert_true(text_is(world_sent(w, MSG_DRAIN, 0)->message.drain.reason, "upgrade"));
    const struct msg_heartbeat heard = {.draining = true};
    world_step(w, (struct sched_event){.kind = SCHED_HEARTBEAT, .peer = {1}, .heartbeat = &heard});
    assert_null(world_sent(w, MSG_DRAIN, 0));
    world_step(w, (struct sched_event){.kind = SCHED_DRAIN,
                                       .peer = {900},
                                       .drain = &(struct msg_worker_drain){.name = TEXT("zz")}});
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_NOT_FOUND);
}

static void test_lease__low_disk_stops_granting_and_says_so(void **state)
{
    struct world *w = *state;
    world_step(w, (struct sched_event){.kind = SCHED_DISK, .disk_low = true});
    world_hello(w, 1, "a", "f32/1");
    submit_shards(w, 1, 1);
    assert_int_equal(w->grant_count, 0);
    assert_true(text_is(world_detail(w, 0), "the disk is nearly full"));
    world_step(w, (struct sched_event){.kind = SCHED_DISK, .disk_low = false});
    assert_int_equal(w->grant_count, 1);
}

/* Until the first worker is given something again. */
static void wait_out_rest(struct world *w)
{
    for (unsigned beat = 0; beat < 40 && w->grant_count == 0; beat++) {
        w->now_ms += 1000;
        world_beat(w, 1, NULL, 0);
    }
}

static void test_lease__transient_failure_rests_the_worker_and_tries_again(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    for (unsigned i = 1; i < LIMIT_TASK_ATTEMPTS; i++) {
        struct world_grant grant = world_next_grant(w);
        world_fail(w, 1, grant.grant.fence, ERR_IO);
        assert_int_equal(acknowledged_with(w), ERR_OK);
        assert_int_equal(w->grant_count, 0); /* it rests */
        wait_out_rest(w);
    }
    struct world_grant grant = world_next_grant(w);
    world_fail(w, 1, grant.grant.fence, ERR_IO);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    assert_true(text_is(world_detail(w, 0), "prepare 0 on a: it broke"));
    world_restart(w);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    world_hello(w, 1, "a", "f32/1");
    world_control(w, "last", JOB_ACTION_RETRY);
    world_run(w);
}

/* Of a worker or of the coordinator: what it holds up goes on when there is room. */
static void test_lease__a_full_disk_is_waited_for_and_told_once(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    size_t told = 0;
    for (unsigned i = 0; i < 3 * LIMIT_TASK_ATTEMPTS; i++) {
        struct world_grant grant = world_next_grant(w);
        world_fail(w, 1, grant.grant.fence, ERR_DISK_FULL);
        assert_int_equal(w->grant_count, 0); /* it rests */
        wait_out_rest(w);
    }
    for (size_t i = 0; i < w->record_count; i++)
        told += w->records[i].number == REC_TASK_FAILED;
    assert_int_equal(told, 1);
    world_restart(w);
    world_hello(w, 1, "a", "f32/1");
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_lease__a_full_worker_leaves_the_task_to_another(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant grant = world_next_grant(w);
    world_hello(w, 2, "b", "f32/1");
    world_fail(w, 1, grant.grant.fence, ERR_DISK_FULL);
    assert_int_equal(w->grant_count, 1);
    assert_int_equal(w->grants[0].peer.v, 2);
    struct worker_row rows[2];
    assert_int_equal(sched_worker_rows(w->s, (struct instant){w->now_ms * NS_PER_MS}, rows, 2), 2);
    assert_true(text_is(rows[0].detail, "rests after a fault: the disk is full"));
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

static void test_lease__a_job_on_a_full_disk_lets_others_pass(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    submit_shards(w, 2, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant grant = world_next_grant(w);
    uint64_t first = grant.grant.job;
    world_fail(w, 1, grant.grant.fence, ERR_DISK_FULL);
    for (unsigned i = 0; i < 3; i++) {
        wait_out_rest(w);
        grant = world_next_grant(w);
        assert_int_not_equal(grant.grant.job, first);
        world_fail(w, 1, grant.grant.fence, ERR_IO);
    }
    for (unsigned beat = 0; beat < 40; beat++) { /* there is room again */
        w->now_ms += 1000;
        world_beat(w, 1, NULL, 0);
        world_run(w);
    }
    assert_int_equal(world_state(w, 0), JOB_DONE);
    assert_int_equal(world_state(w, 1), JOB_DONE);
}

static void test_lease__permanent_failure_fails_the_job_at_once(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 3);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    struct world_grant grant = world_next_grant(w);
    world_fail(w, grant.peer.v, grant.grant.fence, ERR_DATA);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    assert_non_null(world_sent(w, MSG_LEASE_CANCEL, 0)); /* the other attempts end */
    struct job_row row;
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.error, ERR_DATA);
}

static void test_lease__refusal_is_nobodys_fault(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    struct world_grant grant = world_next_grant(w);
    world_fail(w, grant.peer.v, grant.grant.fence, ERR_BUSY);
    assert_int_equal(w->fx.record_count, 0);
    assert_int_equal(w->grant_count, 1);
    assert_true(w->grants[0].peer.v != grant.peer.v);
}

static void test_lease__many_lost_workers_blame_the_task(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    for (uint64_t i = 1; i <= LIMIT_TASK_LOSSES; i++) {
        assert_int_equal(world_state(w, 0), i == 1 ? JOB_WAITING : JOB_RUNNING);
        world_hello(w, i, "a", "f32/1");
        struct world_grant grant = world_next_grant(w);
        world_accept(w, i, grant.grant.fence);
        world_tick(w, LIMIT_WORKER_LOST_MS);
    }
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    struct job_row row;
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.error, ERR_LOST);
}

static enum worker_state state_of_worker(struct world *w, size_t index)
{
    struct worker_row rows[4];
    assert_true(sched_worker_rows(w->s, (struct instant){0}, rows, 4) > index);
    return (enum worker_state)rows[index].state;
}

/* Worker 1 has the lease, worker 2 nothing to do. */
static struct world_grant lease_of_two(struct world *w)
{
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant grant = world_next_grant(w);
    world_accept(w, 1, grant.grant.fence);
    world_hello(w, 2, "b", "f32/1");
    return grant;
}

static void gone(struct world *w, uint64_t peer)
{
    world_step(w, (struct sched_event){.kind = SCHED_GONE, .peer = {peer}});
}

static void crashed(struct world *w, uint64_t worker)
{
    world_step(w, (struct sched_event){.kind = SCHED_CRASHED, .worker = worker});
}

static void test_lease__of_a_worker_that_crashed_goes_to_another_at_once(void **state)
{
    struct world *w = *state;
    struct world_grant first = lease_of_two(w);
    crashed(w, 1);
    assert_int_equal(w->grant_count, 0);
    assert_int_equal(world_sent(w, MSG_HEARTBEAT_ACK, 0)->peer.v, 1); /* does it reach anybody? */
    gone(w, 1);
    struct world_grant again = world_next_grant(w);
    assert_int_equal(again.peer.v, 2);
    assert_int_equal(again.grant.index, first.grant.index);
    assert_int_equal(state_of_worker(w, 0), WORKER_LOST);
    assert_int_equal(state_of_worker(w, 1), WORKER_READY);
}

/* Its connection was seen to end before its process was. */
static void test_lease__of_a_worker_that_was_gone_goes_to_another_when_it_crashed(void **state)
{
    struct world *w = *state;
    (void)lease_of_two(w);
    gone(w, 1);
    assert_int_equal(w->grant_count, 0);
    crashed(w, 1);
    assert_int_equal(world_next_grant(w).peer.v, 2);
    assert_int_equal(state_of_worker(w, 0), WORKER_LOST);
}

static void test_lease__the_last_words_of_a_dead_worker_count(void **state)
{
    struct world *w = *state;
    struct world_grant grant = lease_of_two(w);
    crashed(w, 1);
    world_answer(w, grant.peer, &grant.grant);
    for (size_t i = 0; i < w->grant_count; i++)
        assert_int_equal(w->grants[i].peer.v, 2); /* what follows is not for the dead */
    world_step(w, (struct sched_event){.kind = SCHED_LEAVE,
                                       .peer = {1},
                                       .leave = &(struct msg_leave){.reason = TEXT("bye")}});
    gone(w, 1);
    assert_int_equal(state_of_worker(w, 0), WORKER_LEFT);
}

static void test_lease__of_a_dead_worker_whose_connection_stays_is_waited_for_a_moment(void **state)
{
    struct world *w = *state;
    struct world_grant grant = lease_of_two(w);
    crashed(w, 1);
    world_tick(w, 600);
    assert_int_equal(world_next_grant(w).peer.v, 2);
    assert_int_equal(state_of_worker(w, 0), WORKER_LOST);
    world_beat(w, 1, &grant.grant.fence, 1); /* another process ended */
    assert_int_equal(state_of_worker(w, 0), WORKER_READY);
}

/* Heartbeats wait to be read in a coordinator that was stopped for a minute. */
static void test_lease__a_coordinator_that_stood_still_counts_nobody_as_silent(void **state)
{
    struct world *w = *state;
    (void)lease_of_two(w);
    w->now_ms += 60000;
    world_step(w, (struct sched_event){.kind = SCHED_TICK, .pause = {60000 * NS_PER_MS}});
    assert_int_equal(w->grant_count, 0);
    assert_int_equal(state_of_worker(w, 0), WORKER_READY);
    world_tick(w, LIMIT_WORKER_LOST_MS + 1); /* now it is their silence */
    assert_int_equal(state_of_worker(w, 0), WORKER_LOST);
    assert_int_equal(state_of_worker(w, 1), WORKER_LOST);
}

static void test_lease__many_crashes_blame_the_task(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    for (uint64_t i = 1; i <= LIMIT_TASK_LOSSES; i++) {
        assert_int_equal(world_state(w, 0), i == 1 ? JOB_WAITING : JOB_RUNNING);
        world_hello(w, i, "a", "f32/1");
        struct world_grant grant = world_next_grant(w);
        world_accept(w, i, grant.grant.fence);
        crashed(w, i);
        gone(w, i);
    }
    assert_int_equal(world_state(w, 0), JOB_FAILED);
}

static void test_lease__other_known_answer_is_refused_with_a_reason(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    w->known_answer = 9;
    world_hello(w, 2, "b", "f32/1,blas");
    submit_shards(w, 1, 4);
    for (size_t i = 0; i < w->grant_count; i++)
        assert_int_equal(w->grants[i].peer.v, 1);
    struct worker_row rows[4];
    assert_int_equal(sched_worker_rows(w->s, (struct instant){0}, rows, 4), 2);
    assert_true(
        text_is(rows[1].detail,
                "refused for f32/1: its known answer differs from that of the fleet or its jobs"));
}

static void test_lease__a_job_goes_on_only_with_the_answer_it_was_begun_with(void **state)
{
    struct world *w = *state;
    world_hello(w, 1, "a", "f32/1");
    submit_shards(w, 1, 4);
    struct world_grant grant = world_next_grant(w);
    assert_int_equal(w->records[1].number, REC_ANSWER_FROZEN);
    world_answer(w, grant.peer, &grant.grant);
    world_restart(w);
    w->known_answer = 9;
    world_hello(w, 2, "b", "f32/1");
    assert_int_equal(w->grant_count, 0);
    assert_true(text_is(world_detail(w, 0),
                        "waits for workers with the known answer that it was begun with"));
    w->known_answer = 0;
    world_hello(w, 3, "c", "f32/1");
    assert_int_equal(w->grants[0].peer.v, 3);
    world_run(w);
    assert_int_equal(world_state(w, 0), JOB_DONE);
}

/* Task 0 hangs on worker 1, is doubled on worker 2, whose result counts. Returns the slow one. */
static struct world_grant overtake(struct world *w)
{
    submit_shards(w, 1, 3);
    world_hello(w, 1, "a", "f32/1");
    world_hello(w, 2, "b", "f32/1");
    world_hello(w, 3, "c", "f32/1");
    struct world_grant slow = world_next_grant(w);
    uint64_t fence = slow.grant.fence;
    world_accept(w, 1, fence);
    for (int i = 0; i < 2; i++) {
        struct world_grant grant = world_next_grant(w);
        w->now_ms += 10;
        world_answer(w, grant.peer, &grant.grant);
    }
    assert_int_equal(w->grant_count, 0);
    for (int i = 0; i < 3; i++) {
        w->now_ms += 1000;
        world_beat(w, 1, &fence, 1);
        world_beat(w, 2, NULL, 0);
        world_beat(w, 3, NULL, 0);
    }
    struct world_grant second = world_next_grant(w);
    assert_int_equal(second.grant.index, slow.grant.index);
    assert_true(second.peer.v != slow.peer.v);
    world_answer(w, second.peer, &second.grant);
    assert_int_equal(acknowledged_with(w), ERR_OK);
    assert_int_equal(world_sent(w, MSG_LEASE_CANCEL, 0)->message.lease_cancel.fence, fence);
    return slow;
}

static void test_lease__slow_attempt_is_doubled_and_the_first_result_counts(void **state)
{
    struct world *w = *state;
    struct world_grant slow = overtake(w);
    size_t counted = w->tasks_counted;
    size_t records = w->record_count;
    world_answer(w, slow.peer, &slow.grant);
    assert_int_equal(acknowledged_with(w), ERR_FENCED);
    assert_int_equal(w->tasks_counted, counted);
    assert_int_equal(w->record_count, records); /* equal: nothing to say */
}

/* The third worker is busy with the pack; when it is free, the trial goes before all else. */
static struct world_grant trial_grant(struct world *w)
{
    struct world_grant pack = world_next_grant(w);
    world_answer(w, pack.peer, &pack.grant);
    for (size_t i = 0; i < w->grant_count; i++) {
        if (w->grants[i].grant.stage == 0)
            return w->grants[i];
    }
    fail_msg("no worker was asked to decide");
    return (struct world_grant){0};
}

static void test_lease__third_worker_decides_who_is_quarantined(void **state)
{
    struct world *w = *state;
    struct world_grant slow = overtake(w);
    world_answer_wrongly(w, slow.peer, &slow.grant);
    const struct sched_record *record = &w->fx.records[0];
    assert_int_equal(record->number, REC_WORKER_QUARANTINED);
    assert_int_equal(record->record.worker_quarantined.worker.size, 0);
    struct world_grant third = trial_grant(w);
    assert_true(third.peer.v != slow.peer.v);
    world_answer(w, third.peer, &third.grant);
    record = &w->fx.records[0];
    assert_int_equal(record->number, REC_WORKER_QUARANTINED);
    assert_true(text_is(record->record.worker_quarantined.worker, "a"));
    struct worker_row rows[4];
    sched_worker_rows(w->s, (struct instant){0}, rows, 4);
    assert_true(
        text_is(rows[0].detail, "quarantined: its result differed from that of two others"));
    assert_int_equal(world_state(w, 0), JOB_RUNNING);
    world_restart(w); /* the name stays out */
    world_hello(w, 11, "a", "f32/1");
    assert_int_equal(w->grant_count, 0);
}

static void test_lease__wrong_result_that_counts_fails_the_job(void **state)
{
    struct world *w = *state;
    struct world_grant slow = overtake(w);
    world_answer_wrongly(w, slow.peer, &slow.grant);
    struct world_grant third = trial_grant(w);
    world_answer_wrongly(w, third.peer, &third.grant);
    assert_int_equal(world_state(w, 0), JOB_FAILED);
    struct job_row row;
    sched_job_row(w->s, 0, &row);
    assert_int_equal(row.error, ERR_PROFILE);
    world_control(w, "last", JOB_ACTION_RETRY);
    assert_int_equal(world_sent(w, MSG_STATUS, 0)->message.status.error, ERR_STATE);
}

static void test_lease__result_without_its_output_is_a_fault(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant grant = world_next_grant(w);
    struct msg_lease_result empty = {.fence = grant.grant.fence};
    world_step(w, (struct sched_event){.kind = SCHED_RESULT, .peer = {1}, .result = &empty});
    assert_int_equal(w->tasks_counted, 0);
    assert_int_equal(w->fx.records[0].number, REC_TASK_FAILED);
}

static void test_lease__result_that_would_not_last_is_a_fault(void **state)
{
    struct world *w = *state;
    submit_shards(w, 1, 1);
    world_hello(w, 1, "a", "f32/1");
    struct world_grant grant = world_next_grant(w);
    struct msg_lease_result result = world_result(w, &grant.grant, 0);
    result.result.outputs[0].ephemeral = true;
    world_step(w, (struct sched_event){.kind = SCHED_RESULT, .peer = {1}, .result = &result});
    assert_int_equal(w->tasks_counted, 0);
    assert_int_equal(w->fx.records[0].number, REC_TASK_FAILED);
}

#define LEASE_TEST(name)                                                                           \
    cmocka_unit_test_setup_teardown(test_lease__##name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEASE_TEST(tasks_are_granted_in_order_and_prefetched),
        LEASE_TEST(priority_goes_before_submission),
        LEASE_TEST(a_name_that_cannot_be_shown_is_not_let_in),
        LEASE_TEST(late_result_after_expiry_is_ignored),
        LEASE_TEST(repeated_result_counts_once),
        LEASE_TEST(heartbeats_keep_it_alive),
        LEASE_TEST(grant_that_never_arrived_is_given_again),
        LEASE_TEST(a_hello_without_it_gives_it_up_at_once),
        LEASE_TEST(unknown_fences_are_called_stale),
        LEASE_TEST(stranger_is_asked_to_say_hello),
        LEASE_TEST(restarted_worker_of_one_name_frees_the_old_one_soon),
        LEASE_TEST(leaving_worker_hands_back_its_tasks),
        LEASE_TEST(draining_worker_gets_nothing_more),
        LEASE_TEST(low_disk_stops_granting_and_says_so),
        LEASE_TEST(transient_failure_rests_the_worker_and_tries_again),
        LEASE_TEST(a_full_disk_is_waited_for_and_told_once),
        LEASE_TEST(a_full_worker_leaves_the_task_to_another),
        LEASE_TEST(a_job_on_a_full_disk_lets_others_pass),
        LEASE_TEST(permanent_failure_fails_the_job_at_once),
        LEASE_TEST(refusal_is_nobodys_fault),
        LEASE_TEST(many_lost_workers_blame_the_task),
        LEASE_TEST(of_a_worker_that_crashed_goes_to_another_at_once),
        LEASE_TEST(of_a_worker_that_was_gone_goes_to_another_when_it_crashed),
        LEASE_TEST(the_last_words_of_a_dead_worker_count),
        LEASE_TEST(of_a_dead_worker_whose_connection_stays_is_waited_for_a_moment),
        LEASE_TEST(a_coordinator_that_stood_still_counts_nobody_as_silent),
        LEASE_TEST(many_crashes_blame_the_task),
        LEASE_TEST(other_known_answer_is_refused_with_a_reason),
        LEASE_TEST(a_job_goes_on_only_with_the_answer_it_was_begun_with),
        LEASE_TEST(slow_attempt_is_doubled_and_the_first_result_counts),
        LEASE_TEST(third_worker_decides_who_is_quarantined),
        LEASE_TEST(wrong_result_that_counts_fails_the_job),
        LEASE_TEST(result_without_its_output_is_a_fault),
        LEASE_TEST(result_that_would_not_last_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
