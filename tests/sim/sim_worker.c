/* sim_worker.c - a worker process: the agent, one attempt at a time, and sudden ends. */
#include <stdio.h>

#include "common/base/check.h"
#include "sim.h"
#include "sim_provider.h"

enum { TASK_MS_MAX = 300, SLOW_FACTOR = 50, RESTART_MS_MAX = 8000 };

static void connect_anew(struct sim *sim, struct sim_worker *worker)
{
    if (worker->peer != 0 && sim_random_below(&sim->random, 2) == 0)
        sim_schedule(sim, SIM_GONE, sim_random_below(&sim->random, 2000))->peer = worker->peer;
    worker->peer = ++sim->last_peer;
    worker->last_up_ns = worker->last_down_ns = 0;
}

void sim_worker_start(struct sim *sim, struct sim_worker *worker)
{
    char name[32];
    snprintf(name, sizeof name, "worker-%u", worker->index);
    struct agent_config config = {.name = text_of(name),
                                  .session = sim_random_next(&sim->random),
                                  .threads = 1,
                                  .memory_bytes = 1 << 30,
                                  .isa = TEXT("portable"),
                                  .profiles = TEXT("f32/1,blas"),
                                  .versions = TEXT("sim")};
    if (sim->provider != NULL)
        sim_provider_configure(sim, worker->index, &config);
    connect_anew(sim, worker);
    worker->epoch++;
    worker->computing = 0;
    ASSERT(agent_create(&config, &worker->agent) == ERR_OK);
    sim_worker_event(sim, worker, (struct agent_event){.kind = AGENT_STARTED});
}

static void stop_process(struct sim *sim, struct sim_worker *worker, bool has_failed)
{
    agent_destroy(&worker->agent);
    worker->epoch++;
    worker->computing = 0;
    if (sim->provider != NULL) {
        sim_provider_ended(sim, worker->index, has_failed);
        return;
    }
    struct sim_event *start =
        sim_schedule(sim, SIM_WORKER_START, 50 + sim_random_below(&sim->random, RESTART_MS_MAX));
    start->worker = worker->index;
    start->epoch = worker->epoch;
}

void sim_worker_crash(struct sim *sim, struct sim_worker *worker)
{
    sim->statistics.worker_crashes++;
    stop_process(sim, worker, true);
}

static void compute(struct sim *sim, struct sim_worker *worker, const struct agent_command *command)
{
    uint64_t ms = 1 + sim_random_below(&sim->random, TASK_MS_MAX);
    if (sim_chance(sim, sim->scenario->slow))
        ms *= SLOW_FACTOR;
    if (worker->computing != 0)
        sim_fail(sim, "worker %u computes two attempts", worker->index);
    worker->computing = command->fence;
    worker->spec = command->spec;
    struct sim_event *event = sim_schedule(sim, SIM_COMPUTED, ms);
    event->worker = worker->index;
    event->epoch = worker->epoch;
    event->fence = command->fence;
}

static void obey(struct sim *sim, struct sim_worker *worker, const struct agent_command *command,
                 bool *ends)
{
    switch (command->kind) {
    case AGENT_START:
        compute(sim, worker, command);
        break;
    case AGENT_STOP: {
        struct sim_event *event =
            sim_schedule(sim, SIM_COMPUTED, sim_random_below(&sim->random, 20));
        event->worker = worker->index;
        event->epoch = worker->epoch;
        event->fence = command->fence;
        break;
    }
    case AGENT_RECONNECT:
        sim->statistics.reconnects++;
        connect_anew(sim, worker);
        break;
    case AGENT_EXIT:
        if (command->error != ERR_OK)
            sim_fail(sim, "worker %u gives up: %.*s", worker->index, TEXT_ARGS(command->detail));
        *ends = true;
        break;
    }
}

void sim_worker_event(struct sim *sim, struct sim_worker *worker, struct agent_event event)
{
    if (worker->agent == NULL)
        return;
    struct agent_effects effects;
    event.now.ns = sim->now_ns;
    ASSERT(agent_step(worker->agent, &event, &effects) == ERR_OK);
    uint64_t wake_ns = effects.wake_at.ns;
    bool ends = false;
    /* A fresh connection comes before what is said on it. */
    for (size_t i = 0; i < effects.command_count; i++)
        obey(sim, worker, &effects.commands[i], &ends);
    for (size_t i = 0; i < effects.send_count; i++)
        sim_send_up(sim, worker->index, effects.sends[i].number, &effects.sends[i].message);
    if (ends) {
        stop_process(sim, worker, false);
        return;
    }
    worker->timer_epoch++;
    if (wake_ns != UINT64_MAX) {
        struct sim_event *timer = sim_schedule_at(sim, SIM_WORKER_TIMER, wake_ns);
        timer->worker = worker->index;
        timer->epoch = worker->timer_epoch;
    }
}

void sim_worker_computed(struct sim *sim, struct sim_worker *worker, uint64_t fence)
{
    if (worker->computing != fence)
        return; /* a stopped attempt that ended already */
    struct task_result result;
    struct agent_event event = {.kind = AGENT_FINISHED};
    event.finished.fence = fence;
    arena_reset(&sim->scratch);
    worker->computing = 0;
    if (sim_chance(sim, sim->scenario->task_fault)) {
        event.finished.error = ERR_IO;
        event.finished.detail = TEXT("a fault of the simulation");
    } else if (sim_engine_compute(sim, worker->spec, &sim->scratch, &result)) {
        event.finished.result = &result;
    } else {
        event.finished.error = ERR_NOT_FOUND;
        event.finished.detail = TEXT("an input cannot be read");
    }
    sim_worker_event(sim, worker, event);
}
