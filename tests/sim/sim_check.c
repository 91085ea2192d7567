/* sim_check.c - what must hold, whatever failed. */
#include <stdio.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "sim.h"

enum { POINTS_MAX = 4096 };

/* A task_done record that counts. */
struct counted {
    struct map_node node;
    struct list_node of_run; /* in sim.counted_list */
    uint64_t job;
    uint32_t stage;
    bool is_rounds;
    struct digest outputs[SIM_OUTPUTS_MAX];
};

static uint64_t key_of(uint64_t job, uint32_t stage, uint32_t index)
{
    return job ^ ((uint64_t)stage << 32 | index) * 0x9e3779b97f4a7c15u;
}

/* What is taken over counts for the job that it is from. */
static void check_reused(struct sim *sim, const struct rec_task_done *done)
{
    unsigned long long from = 0;
    bool is_there = false;
    if (sscanf(done->worker.data, "job %llx", &from) != 1 || from == done->job)
        sim_fail(sim, "a result is from %.*s", TEXT_ARGS(done->worker));
    for (struct list_node *n = list_first(&sim->counted_list); n != NULL;
         n = list_next(&sim->counted_list, n)) {
        const struct counted *counted = CONTAINER_OF(n, struct counted, of_run);
        is_there |= counted->job == from &&
                    digest_equal(counted->outputs[0], done->result.outputs[0].digest);
    }
    if (!is_there)
        sim_fail(sim, "job %016llx takes over what job %016llx has not",
                 (unsigned long long)done->job, from);
    sim->statistics.reused++;
}

static struct sim_job *job_of(struct sim *sim, uint64_t id)
{
    for (uint32_t i = 0; i < sim->job_count; i++) {
        if (sim->jobs[i].request * 0x9e3779b97f4a7c15u == id)
            return &sim->jobs[i];
    }
    return NULL;
}

static void keep_waves(struct sim *sim, const struct rec_task_done *done)
{
    static const char *const names[] = {"replay_shards", "replay_groups", "replay_periods"};
    struct sim_job *job = job_of(sim, done->job);
    for (uint32_t i = 0; i < done->result.facts_count; i++) {
        for (size_t k = 0; k < COUNT_OF(names); k++) {
            if (text_is(done->result.facts[i].name, names[k]))
                job->waves[k] = (uint32_t)done->result.facts[i].value;
        }
    }
}

static void check_task_done(struct sim *sim, const struct rec_task_done *done)
{
    uint64_t key = key_of(done->job, done->stage, done->index);
    keep_waves(sim, done);
    if (done->fence == 0 && done->worker.size > 0)
        check_reused(sim, done);
    if (map_find(&sim->counted, key) != NULL)
        sim_fail(sim, "task %u of stage %u of job %016llx is counted twice", done->index,
                 done->stage, (unsigned long long)done->job);
    struct counted *counted = arena_alloc(&sim->arena, 1, sizeof *counted);
    ASSERT(counted != NULL && map_reserve(&sim->counted, sim->counted.count + 1) == ERR_OK);
    counted->job = done->job;
    counted->stage = done->stage;
    counted->is_rounds = done->worker.size == 0;
    ASSERT(done->result.outputs_count <= SIM_OUTPUTS_MAX);
    for (uint32_t i = 0; i < done->result.outputs_count; i++)
        counted->outputs[i] = done->result.outputs[i].digest;
    map_add(&sim->counted, &counted->node, key);
    list_node_init(&counted->of_run);
    list_append(&sim->counted_list, &counted->of_run);
    sim->statistics.tasks++;
}

/* What becomes undone may be done once more. */
static void uncount(struct sim *sim, const struct rec_artifact_lost *record)
{
    struct list_node *next;
    for (struct list_node *n = list_first(&sim->counted_list); n != NULL; n = next) {
        struct counted *counted = CONTAINER_OF(n, struct counted, of_run);
        bool is_undone = counted->is_rounds;
        next = list_next(&sim->counted_list, n);
        for (uint32_t i = 0; i < record->lost_count; i++) {
            for (size_t k = 0; k < SIM_OUTPUTS_MAX; k++)
                is_undone |= digest_equal(counted->outputs[k], record->lost[i].digest);
        }
        if (counted->job != record->job || !is_undone)
            continue;
        map_remove(&sim->counted, &counted->node);
        list_remove(n);
    }
}

/* Training goes on from an earlier checkpoint: it and what rests on it is done once more. */
static void uncount_from(struct sim *sim, const struct rec_job_restored *record)
{
    struct list_node *next;
    for (struct list_node *n = list_first(&sim->counted_list); n != NULL; n = next) {
        struct counted *counted = CONTAINER_OF(n, struct counted, of_run);
        next = list_next(&sim->counted_list, n);
        if (counted->job != record->job || counted->stage < record->stage)
            continue;
        map_remove(&sim->counted, &counted->node);
        list_remove(n);
    }
    sim->statistics.restored++;
}

void sim_check_records(struct sim *sim, const struct sched_record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const union message_record *record = &records[i].record;
        if (records[i].number == REC_TASK_DONE)
            check_task_done(sim, &record->task_done);
        if (records[i].number == REC_ARTIFACT_LOST)
            uncount(sim, &record->artifact_lost);
        if (records[i].number == REC_JOB_RESTORED)
            uncount_from(sim, &record->job_restored);
        if (records[i].number == REC_CHECKPOINTS_FORGOTTEN)
            sim->statistics.forgotten += record->checkpoints_forgotten.forgotten_count;
        sim->statistics.tagged += records[i].number == REC_CHECKPOINT_TAGGED;
        if (records[i].number == REC_CHECKPOINT) {
            const struct sim_artifact *state = sim_engine_find(sim, record->checkpoint.row.digest);
            if (state == NULL || !state->is_durable || state->step != record->checkpoint.row.step)
                sim_fail(sim, "a checkpoint is on record before its state is durable");
        }
        sim->statistics.given_up += records[i].number == REC_BRANCH_FAILED;
        if (records[i].number == REC_WORKER_QUARANTINED)
            sim_fail(sim, "two equal workers are said to differ");
        if (records[i].number == REC_JOB_STATE && record->job_state.state == JOB_FAILED &&
            sim->scenario->control == 0)
            sim_fail(sim, "a job failed: %.*s", TEXT_ARGS(record->job_state.detail));
    }
}

/* Everything before its wave is done when a task is granted. */
static void check_wave(struct sim *sim, const struct msg_lease_grant *grant)
{
    const struct sim_job *job = job_of(sim, grant->job);
    uint32_t first = 0; /* of the wave */
    uint32_t wave = 0;
    for (uint32_t next; (next = first + job->waves[wave % 2]) <= grant->index; wave++)
        first = next;
    for (uint32_t i = 0; i < first; i++) {
        if (map_find(&sim->counted, key_of(grant->job, grant->stage, i)) == NULL)
            sim_fail(sim, "task %u of wave %u is granted before task %u is done", grant->index,
                     wave, i);
    }
    bool is_group = wave % 2 == 1;
    uint64_t skipped = is_group ? (uint64_t)(wave / 2) * job->waves[1] : 0;
    uint64_t total = is_group ? (uint64_t)job->waves[2] * job->waves[1] : job->waves[0];
    if (grant->spec.round != wave / 2 || grant->spec.first != skipped + grant->index - first ||
        (grant->spec.kind == STAGE_KIND_QUANTIZE) != is_group || grant->spec.total != total ||
        wave >= 2 * job->waves[2])
        sim_fail(sim, "task %u of wave %u is told another place", grant->index, wave);
    sim->statistics.waves++;
}

void sim_check_sends(struct sim *sim, const struct sched_effects *effects)
{
    for (size_t i = 0; i < effects->send_count; i++) {
        if (effects->sends[i].number != MSG_LEASE_GRANT)
            continue;
        const struct msg_lease_grant *grant = &effects->sends[i].message.lease_grant;
        if (grant->fence <= sim->c.highest_fence)
            sim_fail(sim, "fence %llx does not grow", (unsigned long long)grant->fence);
        sim->c.highest_fence = grant->fence;
        const struct sim_job *job = job_of(sim, grant->job);
        if (grant->spec.kind == STAGE_KIND_REPLAY ||
            (grant->spec.kind == STAGE_KIND_QUANTIZE && job->replays))
            check_wave(sim, grant);
    }
}

void sim_check_replay(struct sim *sim)
{
    struct bytes live;
    struct bytes replayed;
    struct sched *other = sim_coordinator_replayed(sim);
    bytes_init(&live, 1 << 28);
    bytes_init(&replayed, 1 << 28);
    sched_write_durable(sim->c.s, &live);
    sched_write_durable(other, &replayed);
    if (!span_equal(bytes_span(&live), bytes_span(&replayed)))
        sim_fail(sim, "replay differs from live state:\n%.*s\n--- replayed\n%.*s", (int)live.size,
                 (const char *)live.data, (int)replayed.size, (const char *)replayed.data);
    bytes_fini(&live);
    bytes_fini(&replayed);
    sched_destroy(&other);
}

bool sim_check_all_done(struct sim *sim)
{
    uint32_t done = 0;
    for (size_t i = 0; sim->c.s != NULL && i < sched_job_count(sim->c.s); i++) {
        struct job_row row;
        sched_job_row(sim->c.s, i, &row);
        const struct sim_job *job = job_of(sim, row.job);
        done += row.state == JOB_DONE && job != NULL && job->is_acknowledged;
    }
    return done == sim->job_count;
}

void sim_check_end(struct sim *sim)
{
    struct worker_row *rows = mem_alloc(LIMIT_WORKERS, sizeof *rows);
    ASSERT(rows != NULL);
    size_t count = sched_worker_rows(sim->c.s, (struct instant){sim->now_ns}, rows, LIMIT_WORKERS);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].task.size > 0)
            sim_fail(sim, "worker %.*s still holds a lease: %.*s", TEXT_ARGS(rows[i].name),
                     TEXT_ARGS(rows[i].task));
    }
    mem_free(rows);
    sim_check_replay(sim);
}

/* All checkpoints; where some are forgotten, the last of each training. */
static bool is_signed(const struct sim *sim, const struct checkpoint_row *rows, size_t count,
                      size_t place)
{
    for (size_t i = place + 1; sim->scenario->history > 0 && i < count; i++) {
        if (rows[i].stage == rows[place].stage)
            return false;
    }
    return true;
}

static size_t sign_job(const struct sim *sim, size_t index, char *out, size_t size)
{
    size_t used = 0;
    size_t count;
    uint32_t output_count;
    char hex[DIGEST_HEX_BYTES];
    const struct checkpoint_row *rows = sched_job_checkpoints(sim->c.s, index, &count);
    for (size_t i = 0; i < count * LIMIT_JOB_STAGES && used < size; i++) {
        const struct checkpoint_row *row =
            &rows[i % count]; /* stages may take turns as they like */
        if (row->stage != i / count || !is_signed(sim, rows, count, i % count))
            continue;
        digest_hex(row->digest, hex);
        used +=
            (size_t)snprintf(out + used, size - used, "checkpoint %u %llu %.16s %llu\n", row->stage,
                             (unsigned long long)row->step, hex, (unsigned long long)row->tokens);
    }
    struct log_point *points = mem_alloc(POINTS_MAX, sizeof *points);
    ASSERT(points != NULL);
    uint64_t total;
    count = sched_job_points(sim->c.s, index, SCHED_ALL, 0, points, POINTS_MAX, &total);
    struct job_row row;
    sched_job_row(sim->c.s, index, &row);
    for (size_t i = 0; i < count && used < size; i++) {
        uint32_t variant = points[i].variant; /* one that was given up may lack its last points */
        if (variant < row.variants_count && row.variants[variant].state == STAGE_FAILED)
            continue;
        used += (size_t)snprintf(out + used, size - used, "point %u %llu %d %a %a %llu\n",
                                 points[i].variant, (unsigned long long)points[i].step,
                                 points[i].is_eval, points[i].loss, points[i].epoch,
                                 (unsigned long long)points[i].tokens);
    }
    mem_free(points);
    for (uint32_t v = 0; v < row.variants_count && used < size; v++) {
        if (row.variants[v].state == STAGE_FAILED)
            used += (size_t)snprintf(out + used, size - used, "given up %u\n", v);
    }
    const struct artifact_ref *outputs = sched_job_outputs(sim->c.s, index, &output_count);
    for (uint32_t i = 0; i < output_count && used < size; i++) {
        digest_hex(outputs[i].digest, hex);
        used += (size_t)snprintf(out + used, size - used, "output %.*s %.16s\n",
                                 TEXT_ARGS(outputs[i].name), hex);
    }
    return used < size ? used : size - 1;
}

void sim_signature(const struct sim *sim, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t j = 0; j < sim->job_count; j++) {
        for (size_t i = 0; i < sched_job_count(sim->c.s); i++) {
            if (sched_job_submitted(sim->c.s, i)->request != sim->jobs[j].request)
                continue;
            used += (size_t)snprintf(out + used, size - used, "job %llu\n",
                                     (unsigned long long)sim->jobs[j].request % 16);
            used += sign_job(sim, i, out + used, size - used);
        }
    }
}
