/* sim_client.c - one patient user: submits until acknowledged, meddles, and mends after it. */
#include <stdio.h>

#include "common/base/check.h"
#include "sim.h"

enum { CLIENT_TICK_MS = 1000 };

static void submit(struct sim *sim, struct sim_job *job)
{
    struct msg_submit submit = {.ticket = job->request,
                                .request = job->request,
                                .name = TEXT("job"),
                                .recipe = job->recipe,
                                .inputs = job->inputs,
                                .inputs_count = job->input_count};
    sim_client_send(sim, MSG_SUBMIT, &submit);
}

static void control(struct sim *sim, const struct sim_job *job, enum job_action action)
{
    char hex[17];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)job->id);
    struct msg_job_control message = {.ticket = 1,
                                      .prefix = text_of(hex),
                                      .action = (uint32_t)action,
                                      .reason = TEXT("the simulation wants it")};
    sim_client_send(sim, MSG_JOB_CONTROL, &message);
}

/* Something is done to one of the checkpoints of a job, or to all by a rule. */
static void meddle(struct sim *sim, const struct sim_job *job)
{
    static const enum checkpoint_action actions[] = {CHECKPOINT_FORGET,  CHECKPOINT_FORGET,
                                                     CHECKPOINT_TAG,     CHECKPOINT_UNTAG,
                                                     CHECKPOINT_RESTORE, CHECKPOINT_PRUNE};
    char hex[17];
    size_t index, count;
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)job->id);
    if (sim->c.s == NULL || sched_job_find(sim->c.s, text_of(hex), &index) != ERR_OK)
        return;
    const struct checkpoint_row *rows = sched_job_checkpoints(sim->c.s, index, &count);
    if (count == 0)
        return;
    uint64_t place = sim_random_below(&sim->random, count);
    struct msg_checkpoint_control message = {
        .ticket = 1,
        .prefix = text_of(hex),
        .action = (uint32_t)actions[sim_random_below(&sim->random, COUNT_OF(actions))],
        .digest = rows[place].digest,
        .tag = sim_random_below(&sim->random, 2) == 0 ? TEXT("good") : TEXT("kept")};
    if (message.action == CHECKPOINT_FORGET && sim_random_below(&sim->random, 2) == 0) {
        message.digest = (struct digest){{0}};
        message.rules.keep_last = 1 + sim_random_below(&sim->random, 3);
        message.rules.keep_every = sim_random_below(&sim->random, 4);
    }
    sim_client_send(sim, MSG_CHECKPOINT_CONTROL, &message);
}

/* Puts back to work what was stopped. */
static void mend(struct sim *sim, const struct sim_job *job)
{
    struct job_row row = {0};
    for (size_t i = 0; sim->c.s != NULL && i < sched_job_count(sim->c.s); i++) {
        sched_job_row(sim->c.s, i, &row);
        if (row.job != job->id)
            continue;
        if (row.state == JOB_PAUSED)
            control(sim, job, JOB_ACTION_RESUME);
        if (row.state == JOB_FAILED || row.state == JOB_CANCELLED)
            control(sim, job, JOB_ACTION_RETRY);
    }
}

void sim_client_timer(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->job_count; i++) {
        struct sim_job *job = &sim->jobs[i];
        if (job->submit_ns > sim->now_ns)
            continue;
        if (!job->is_acknowledged)
            submit(sim, job);
        else if (sim->scenario->control > 0 && sim_is_healed(sim))
            mend(sim, job);
        else if (sim_chance(sim, sim->scenario->control))
            control(sim, job, (enum job_action)sim_random_below(&sim->random, 4));
        if (job->is_acknowledged && sim_chance(sim, sim->scenario->history))
            meddle(sim, job);
    }
    if (sim->c.s != NULL && sim_chance(sim, sim->scenario->damage))
        sim_engine_damage(sim);
    if (sim->c.s != NULL && (sim->c.is_disk_low || sim_chance(sim, sim->scenario->disk))) {
        bool is_low = !sim->c.is_disk_low || sim_random_below(&sim->random, 3) != 0;
        struct sched_event event = {.kind = SCHED_DISK};
        event.disk_low = sim->c.is_disk_low = is_low && !sim_is_healed(sim);
        sim_coordinator_event(sim, event);
    }
    sim_schedule(sim, SIM_CLIENT_TIMER, CLIENT_TICK_MS);
}

void sim_client_message(struct sim *sim, uint32_t number, const union message_any *message)
{
    if (number == MSG_STATUS || number == MSG_CHECKPOINT_CONTROLLED)
        return;
    if (number != MSG_SUBMITTED) {
        sim_fail(sim, "message %u is not for a client", number);
        return;
    }
    for (uint32_t i = 0; i < sim->job_count; i++) {
        struct sim_job *job = &sim->jobs[i];
        if (job->request != message->submitted.ticket)
            continue;
        if (job->is_acknowledged && job->id != message->submitted.job)
            sim_fail(sim, "one request became two jobs");
        job->id = message->submitted.job;
        job->is_acknowledged = true;
    }
}
