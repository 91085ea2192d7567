/* world.h - a scheduler with the clock, the loop and the workers played by the test.
 *
 * The test says one event at a time and looks at the effects; world_run answers grants and works
 * by itself until nothing is left to do. Every step is kept as the store would keep it, so
 * world_restart can replay.
 */
#ifndef TESTS_UNIT_COORDINATOR_SCHED_WORLD_H
#define TESTS_UNIT_COORDINATOR_SCHED_WORLD_H

#include "common/mem/arena.h"
#include "coordinator/sched/sched.h"

enum { WORLD_QUEUE = 4096, WORLD_DAMAGED = 8 };

/* Facts that results tell of later stages, WORLD_SILENT: not at all. */
#define WORLD_SILENT UINT64_MAX
enum world_fact {
    WORLD_CALIBRATE_TASKS,
    WORLD_COMPARE_TASKS,
    WORLD_QUANTIZE_TASKS,
    WORLD_REPLAY_SHARDS,
    WORLD_REPLAY_GROUPS,
    WORLD_REPLAY_PERIODS,
    WORLD_FACTS
};

struct world_grant {
    struct peer_id peer;
    struct msg_lease_grant grant; /* spec in world.arena */
};

struct world {
    struct sched *s;
    struct sched_effects fx;
    uint64_t now_ms;
    uint32_t incarnation;
    uint64_t known_answer; /* of the next hello */
    int64_t priority;      /* of the next job */
    uint64_t model;        /* of the next quantize job */
    uint64_t told[WORLD_FACTS];
    struct arena arena; /* everything that has to outlive a step */
    struct sched_record *records;
    size_t record_count;
    struct world_grant grants[WORLD_QUEUE]; /* not yet answered */
    size_t grant_count;
    struct sched_work works[WORLD_QUEUE];
    size_t work_count;
    uint64_t opens, folds, evaluations, checkpoints, logs, closes, verifies, prunes;
    struct digest damaged[WORLD_DAMAGED]; /* artifacts that cannot be read; made again, they can */
    size_t damaged_count;
    uint64_t tasks_counted; /* task_done records */
};

void world_init(struct world *w);
void world_fini(struct world *w);

/* A world as the state of a cmocka test. */
int world_setup(void **state);
int world_teardown(void **state);
struct world *world_of(void **state);

/* The scheduler is gone with all that was not a record; a new one replays. */
void world_restart(struct world *w);

/* One event at world.now_ms; keeps records, collects grants and works, checks the commit rules. */
enum err world_try(struct world *w, struct sched_event event);
void world_step(struct world *w, struct sched_event event);
void world_tick(struct world *w, uint64_t after_ms);

void world_hello(struct world *w, uint64_t peer, const char *name, const char *profiles);
void world_beat(struct world *w, uint64_t peer, const uint64_t *fences, uint32_t count);
void world_accept(struct world *w, uint64_t peer, uint64_t fence);
void world_fail(struct world *w, uint64_t peer, uint64_t fence, enum err error);
void world_control(struct world *w, const char *prefix, enum job_action action);
void world_history(struct world *w, const struct msg_checkpoint_control *control);

/* Canonical text of these lines put after a sound base. */
struct span world_recipe(struct world *w, const char *lines);

/* Submits a job of that recipe with a model, one data file of `shards` shards and, when held_out,
 * a test file. */
void world_submit(struct world *w, uint64_t request, struct span recipe, uint32_t shards,
                  bool held_out);

/* Submits a job that quantizes `model` as `keys` say ("scheme: Q4_K_M"), with calibration data and
 * test data of one shard each: prepare, pack, calibrate (3 tasks), reduce, choose, quantize (4),
 * assemble, verify, compare (2), report. Methods that go layer by layer have no calibrate and
 * reduce, and `replay` (2 periods of 2 shards and 3 groups) for quantize. */
void world_quantize(struct world *w, uint64_t request, const char *keys);
void world_quantize_job(struct world *w, uint64_t request, const char *keys,
                        struct rec_job_submitted *record);

/* The parts of the above, for who takes the steps alone: the record of a submission, the result of
 * a grant, the outcome of a work, and what a step that was taken left behind. */
void world_job(struct world *w, uint64_t request, struct span recipe, uint32_t shards,
               bool held_out, struct rec_job_submitted *record);
struct msg_lease_result world_result(struct world *w, const struct msg_lease_grant *grant,
                                     uint64_t salt);
struct sched_event world_outcome(struct world *w, const struct sched_work *work);
void world_keep(struct world *w, const struct sched_effects *effects);

/* Sends the result of a grant: the same bytes whoever computes it. */
void world_answer(struct world *w, struct peer_id peer, const struct msg_lease_grant *grant);
/* As above with another first output. */
void world_answer_wrongly(struct world *w, struct peer_id peer,
                          const struct msg_lease_grant *grant);
/* Does a work and reports it. */
void world_work(struct world *w, const struct sched_work *work);

/* From now on attempts and works that read it fail, until it is made again. */
void world_damage(struct world *w, struct digest digest);

/* Takes the oldest grant or work from the queue. */
struct world_grant world_next_grant(struct world *w);
struct sched_work world_next_work(struct world *w);

/* Does the oldest work, or answers the oldest grant; false when nothing is queued. */
bool world_advance(struct world *w);

/* Answers everything until nothing is queued. */
void world_run(struct world *w);

/* The n-th message of that number in the effects of the last step, or NULL. */
const struct sched_send *world_sent(const struct world *w, uint32_t number, size_t n);

enum job_state world_state(const struct world *w, size_t job);

/* The log points of the first job, of all its variants, and how many there are. */
enum { WORLD_POINTS = 256 };
size_t world_points(const struct world *w, struct log_point out[WORLD_POINTS]);
struct text world_detail(const struct world *w, size_t job);

#endif
