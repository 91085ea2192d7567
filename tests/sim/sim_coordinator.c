/* sim_coordinator.c - the loop's part: events to sched, records to the store, then sends and works;
 * with a crash possible before the step, before the commit, after it, and between two sends. */
#include <stdio.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/message/message_copy.h"
#include "common/message/state.h"
#include "common/recipe/recipe.h"
#include "coordinator/plan/plan.h"
#include "coordinator/sched/sched_history.h"
#include "coordinator/store/record_codec.h"
#include "coordinator/store/store_mem.h"
#include "sim.h"
#include "sim_provider.h"

enum { WORK_MS_MAX = 60, RESTART_MS_MAX = 20000, REPLAY_CHECK_STEPS = 64 };

struct replay {
    struct sched *s;
    struct arena arena;
};

static enum err replay_record(void *context, uint64_t seq, const struct store_record *stored)
{
    struct replay *replay = context;
    struct sched_record record = {.number = stored->number, .unix_ms = stored->unix_ms};
    (void)seq;
    arena_reset(&replay->arena);
    TRY(record_codec_read(stored->number, stored->payload, &replay->arena, &record.record));
    return sched_replay(replay->s, &record);
}

struct sched *sim_coordinator_replayed(struct sim *sim)
{
    struct replay replay;
    struct err_text et = {.text = ""};
    ASSERT(sched_create(sim->c.incarnation, &replay.s) == ERR_OK);
    arena_init(&replay.arena, (size_t)1 << 30);
    enum err err = store_read(sim->c.store, 0, replay_record, &replay, &et);
    if (err != ERR_OK)
        sim_fail(sim, "replay: %s %s", error_name(err), et.text);
    arena_fini(&replay.arena);
    return replay.s;
}

/* False when the commit failed and the process has to stop. */
static bool commit(struct sim *sim, const struct sched_record *records, size_t count)
{
    struct err_text et = {.text = ""};
    struct bytes payload;
    arena_reset(&sim->scratch);
    struct store_record *rows = arena_alloc(&sim->scratch, count, sizeof *rows);
    ASSERT(rows != NULL);
    bytes_init(&payload, 1 << 24);
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        bytes_clear(&payload);
        err = record_codec_write(records[i].number, &records[i].record, &payload);
        uint8_t *copy = arena_alloc(&sim->scratch, payload.size, 1);
        ASSERT(copy != NULL);
        memcpy(copy, payload.data, payload.size);
        rows[i] =
            (struct store_record){records[i].number, records[i].unix_ms, {copy, payload.size}};
    }
    bytes_fini(&payload);
    if (err == ERR_OK)
        err = store_append(sim->c.store, rows, count, &et);
    if (err != ERR_OK)
        sim_fail(sim, "commit: %s %s", error_name(err), et.text);
    sim->statistics.records += count;
    return err == ERR_OK;
}

void sim_coordinator_crash(struct sim *sim)
{
    struct sim_coordinator *c = &sim->c;
    sim->statistics.coordinator_crashes++;
    sched_destroy(&c->s);
    c->epoch++;
    c->stage_count = 0;
    sim_schedule(sim, SIM_COORDINATOR_START, 100 + sim_random_below(&sim->random, RESTART_MS_MAX));
}

void sim_coordinator_start(struct sim *sim)
{
    struct sim_coordinator *c = &sim->c;
    if (c->store == NULL)
        ASSERT(store_mem_create(&c->store) == ERR_OK);
    struct sched_record started = {.number = REC_COORDINATOR_STARTED};
    started.record.coordinator_started.incarnation = ++c->incarnation;
    if (!commit(sim, &started, 1))
        return;
    c->is_disk_low = false;
    c->s = sim_coordinator_replayed(sim);
    for (uint32_t i = 0; i < sim->job_count; i++) {
        char hex[17];
        size_t index;
        snprintf(hex, sizeof hex, "%016llx", (unsigned long long)sim->jobs[i].id);
        if (sim->jobs[i].is_acknowledged && sched_job_find(c->s, text_of(hex), &index) != ERR_OK)
            sim_fail(sim, "job %s was acknowledged and is lost", hex);
    }
    sim_coordinator_event(sim, (struct sched_event){.kind = SCHED_STARTED});
    if (sim->provider != NULL)
        sim_provider_coordinator(sim, c->incarnation > 1);
}

static struct sim_stage *stage_of(struct sim *sim, const struct sched_work *work)
{
    struct sim_coordinator *c = &sim->c;
    for (size_t i = 0; i < c->stage_count; i++) {
        if (c->stages[i].job == work->job && c->stages[i].stage == work->stage)
            return &c->stages[i];
    }
    ASSERT(c->stage_count < SIM_STAGES_MAX);
    struct sim_stage *stage = &c->stages[c->stage_count++];
    *stage = (struct sim_stage){.job = work->job, .stage = work->stage};
    return stage;
}

static void copy_work(const struct sched_work *from, struct sim_event *event)
{
    arena_init(&event->arena, (size_t)1 << 28);
    event->work = arena_alloc(&event->arena, 1, sizeof *event->work);
    struct sched_part *parts =
        arena_alloc(&event->arena, from->part_count, sizeof(struct sched_part));
    struct log_point *points =
        arena_alloc(&event->arena, from->point_count, sizeof(struct log_point));
    ASSERT(event->work != NULL && parts != NULL && points != NULL);
    if (from->part_count > 0)
        memcpy(parts, from->parts, from->part_count * sizeof *parts);
    struct artifact_ref *refs =
        arena_alloc(&event->arena, from->ref_count, sizeof(struct artifact_ref));
    ASSERT(refs != NULL);
    for (uint32_t i = 0; i < from->ref_count; i++) {
        refs[i] = from->refs[i]; /* names are not looked at */
        refs[i].name = refs[i].path = (struct text){0};
    }
    if (from->point_count > 0)
        memcpy(points, from->points, from->point_count * sizeof *points);
    *event->work = *from;
    event->work->parts = parts;
    event->work->points = points;
    event->work->refs = refs;
}

static void start_work(struct sim *sim, const struct sched_work *work)
{
    if (work->kind == SCHED_WORK_PRUNE) {
        sim_engine_prune(sim);
        return;
    }
    struct sim_stage *stage = stage_of(sim, work);
    if (stage->work_is_out)
        sim_fail(sim, "two works of stage %u at once", work->stage);
    if (work->kind == SCHED_WORK_CLOSE) {
        if (!stage->is_open)
            sim_fail(sim, "stage %u is closed and was not open", work->stage);
        stage->is_open = false;
        return;
    }
    if (work->kind == SCHED_WORK_OPEN && stage->is_open)
        sim_fail(sim, "stage %u is opened twice", work->stage);
    if (work->kind == SCHED_WORK_OPEN)
        stage->is_open = true; /* CLOSE is owed from here on, also when it fails */
    stage->work_is_out = true;
    struct sim_event *event =
        sim_schedule(sim, SIM_WORK_DONE, sim_random_below(&sim->random, WORK_MS_MAX));
    event->epoch = sim->c.epoch;
    copy_work(work, event);
}

void sim_coordinator_work_done(struct sim *sim, const struct sched_work *work)
{
    static const enum sched_event_kind kinds[] = {[SCHED_WORK_OPEN] = SCHED_OPENED,
                                                  [SCHED_WORK_FOLD] = SCHED_FOLDED,
                                                  [SCHED_WORK_CHECKPOINT] = SCHED_CHECKPOINTED,
                                                  [SCHED_WORK_LOG] = SCHED_LOGGED,
                                                  [SCHED_WORK_VERIFY] = SCHED_VERIFIED};
    struct sim_stage *stage = stage_of(sim, work);
    struct sched_event event = {.kind = kinds[work->kind]};
    event.done =
        (struct sched_work_done){.job = work->job, .stage = work->stage, .step = work->step};
    stage->work_is_out = false;
    if (sim_chance(sim, sim->scenario->work_fault))
        event.done.error = ERR_IO;
    else
        event.done.error = sim_engine_work(sim, work, stage, &event.done);
    if (event.done.error == ERR_STATE)
        sim_fail(sim, "work %d of stage %u does not fit the state", (int)work->kind, work->stage);
    sim->statistics.folds += work->kind == SCHED_WORK_FOLD;
    sim_coordinator_event(sim, event);
}

void sim_coordinator_event(struct sim *sim, struct sched_event event)
{
    struct sim_coordinator *c = &sim->c;
    struct sched_effects effects;
    uint32_t crash = sim->scenario->crash_coordinator;
    if (c->s == NULL)
        return;
    if (sim_chance(sim, crash / 4)) {
        sim_coordinator_crash(sim);
        return;
    }
    event.now.ns = sim->now_ns;
    event.unix_ms = 1700000000000u + sim->now_ns / NS_PER_MS;
    ASSERT(sched_step(c->s, &event, &effects) == ERR_OK);
    sim->statistics.steps++;
    if (sim_chance(sim, crash / 4)) {
        sim_coordinator_crash(sim);
        return;
    }
    if (!commit(sim, effects.records, effects.record_count))
        return;
    sim_check_records(sim, effects.records, effects.record_count);
    sim_check_sends(sim, &effects);
    if (sim->statistics.steps % REPLAY_CHECK_STEPS == 0)
        sim_check_replay(sim);
    for (size_t i = 0; i < effects.send_count; i++) {
        if (sim_chance(sim, crash / 4)) {
            sim_coordinator_crash(sim);
            return;
        }
        sim_send_down(sim, effects.sends[i].peer.v, effects.sends[i].number,
                      &effects.sends[i].message);
    }
    for (size_t i = 0; i < effects.work_count; i++)
        start_work(sim, &effects.works[i]);
    c->timer_epoch++;
    if (effects.wake_at.ns == UINT64_MAX)
        return;
    if (effects.wake_at.ns <= sim->now_ns)
        sim_fail(sim, "the scheduler wants to be woken in the past");
    sim_schedule_at(sim, SIM_COORDINATOR_TIMER, effects.wake_at.ns)->epoch = c->timer_epoch;
}

static void submit(struct sim *sim, uint64_t peer, const struct msg_submit *message)
{
    struct err_text et = {.text = ""};
    struct rec_job_submitted record = {.job = message->request * 0x9e3779b97f4a7c15u,
                                       .request = message->request,
                                       .name = message->name,
                                       .owner = TEXT("sim"),
                                       .role = TEXT("submit"),
                                       .priority = (int64_t)(message->request % 3),
                                       .recipe = message->recipe,
                                       .inputs = message->inputs,
                                       .inputs_count = message->inputs_count};
    struct arena arena;
    arena_init(&arena, 1 << 24);
    enum err err = plan_stages(message->recipe, message->inputs, message->inputs_count, &arena,
                               &record.stages, &record.stages_count, &et);
    if (err != ERR_OK)
        sim_fail(sim, "plan: %s", et.text);
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = {peer}};
    event.submit.ticket = message->ticket;
    event.submit.record = &record;
    sim_coordinator_event(sim, event);
    arena_fini(&arena);
}

void sim_coordinator_message(struct sim *sim, uint64_t peer, uint32_t number,
                             const union message_any *message)
{
    struct sched_event event = {.peer = {peer}};
    struct sched_history_request history = {&message->checkpoint_control, 0};
    switch (number) {
    case MSG_HELLO:
        event.kind = SCHED_HELLO;
        event.hello = &message->hello;
        break;
    case MSG_HEARTBEAT:
        event.kind = SCHED_HEARTBEAT;
        event.heartbeat = &message->heartbeat;
        break;
    case MSG_LEASE_ACCEPT:
        event.kind = SCHED_ACCEPT;
        event.accept = &message->lease_accept;
        break;
    case MSG_LEASE_RESULT:
        event.kind = SCHED_RESULT;
        event.result = &message->lease_result;
        break;
    case MSG_LEAVE:
        event.kind = SCHED_LEAVE;
        event.leave = &message->leave;
        break;
    case MSG_SUBMIT:
        submit(sim, peer, &message->submit);
        return;
    case MSG_JOB_CONTROL:
        event.kind = SCHED_CONTROL;
        event.control = &message->job_control;
        break;
    case MSG_CHECKPOINT_CONTROL:
        if (message->checkpoint_control.action == CHECKPOINT_PRUNE) {
            if (sim->c.s != NULL)
                sim_engine_prune(sim);
            return;
        }
        event.kind = SCHED_HISTORY;
        event.history = &history;
        break;
    default:
        sim_fail(sim, "message %u is not for a coordinator", number);
        return;
    }
    sim_coordinator_event(sim, event);
}
