/* sim.h - a fleet in one process: the real scheduler, planner, agents, codec and record log, under
 * a virtual clock and a network, machines and disks that fail on purpose.
 *
 * Everything that happens follows from (scenario, seed). A run is checked against runs of each of
 * its jobs alone, with one worker and no faults: the bytes of every job's results must be equal.
 *
 *   sim_world        the queue of what will happen, the network, the run itself
 *   sim_coordinator  sched behind a store: commit, then send; works; crashes at any point
 *   sim_worker       an agent and a fake engine; crashes, restarts, new connections
 *   sim_job          recipes and inputs of a run
 *   sim_engine       gradients, folds, steps as pure functions of row, step and weights
 *   sim_check        what must hold after every step and at the end
 *   sim_scenario     the rows of faults
 *   sim_provider     an engine that lends machines, and the real scale beside the coordinator
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ds/heap.h"
#include "common/ds/list.h"
#include "common/ds/map.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "coordinator/sched/sched.h"
#include "coordinator/store/store.h"
#include "sim_scenario.h"
#include "worker/agent/agent.h"

/* Of jobs whose last variant the watchdog stops. */
enum { SIM_WATCHED_SEED = 12 };
enum { SIM_WIDTH = 3, SIM_JOBS_MAX = 8, SIM_STAGES_MAX = 128, SIM_SIGNATURE_BYTES = 1 << 16 };
enum { SIM_INPUTS_MAX = 5, SIM_OUTPUTS_MAX = 5, SIM_ALL_JOBS = SIM_JOBS_MAX };

struct sim;
struct sim_provider;

struct sim_random {
    uint64_t state;
};
uint64_t sim_random_next(struct sim_random *random);
/* In [0, bound); bound > 0. */
uint64_t sim_random_below(struct sim_random *random, uint64_t bound);

enum sim_event_kind {
    SIM_TO_COORDINATOR, /* a frame arrives */
    SIM_TO_WORKER,
    SIM_TO_CLIENT,
    SIM_GONE, /* the coordinator notices that a connection ended */
    SIM_COORDINATOR_TIMER,
    SIM_COORDINATOR_START,
    SIM_WORK_DONE,
    SIM_WORKER_TIMER,
    SIM_WORKER_START,
    SIM_COMPUTED,
    SIM_CLIENT_TIMER,
    SIM_PROVIDER_TIMER
};

struct sim_event {
    struct heap_node node;
    enum sim_event_kind kind;
    uint32_t worker;
    uint64_t peer;  /* frames: the connection they ride on */
    uint64_t epoch; /* of who set it: stale when that one has died since */
    uint64_t fence; /* COMPUTED */
    uint8_t *frame; /* owned */
    size_t size_bytes;
    struct sched_work *work; /* owned, with its arena */
    struct arena arena;
};

struct sim_artifact { /* a vector and a step */
    struct map_node by_digest;
    struct digest digest;
    float vector[SIM_WIDTH];
    uint64_t step;
    bool is_durable;
};

struct sim_stage {
    uint64_t job;
    uint32_t stage;
    bool is_open, work_is_out;
    float vector[SIM_WIDTH];
    uint64_t step;
};

struct sim_coordinator {
    struct sched *s;
    struct store *store; /* survives crashes */
    uint32_t incarnation;
    uint64_t epoch, timer_epoch;
    uint64_t highest_fence;
    struct sim_stage stages[SIM_STAGES_MAX];
    size_t stage_count;
    bool is_disk_low;
};

struct sim_worker {
    struct agent *agent;
    uint32_t index;
    uint64_t epoch, timer_epoch;
    uint64_t peer;
    uint64_t cut_until_ms;
    uint64_t frozen_until_ns;          /* what happens to it meanwhile, happens then */
    uint64_t last_up_ns, last_down_ns; /* connections keep order unless the scenario reorders */
    uint64_t computing;                /* fence, 0 when idle */
    const struct task_spec *spec;
    bool is_computing_slowly;
};

struct sim_job {
    uint64_t request;
    uint64_t submit_ns; /* not before */
    uint64_t id;        /* once acknowledged */
    struct span recipe;
    struct digest recipe_digest;
    uint32_t observes;
    struct artifact_ref inputs[SIM_INPUTS_MAX];
    uint32_t input_count;
    uint32_t waves[3];             /* shards, groups and periods, once told */
    bool replays, is_acknowledged; /* layers are quantized in waves */
};

struct sim {
    const struct sim_scenario *scenario;
    uint64_t seed;
    struct sim_random random;
    uint64_t now_ns;
    struct heap queue;
    uint64_t event_count;
    struct sim_coordinator c;
    struct sim_provider *provider; /* owned; NULL: workers are there and start again */
    struct sim_worker *workers;    /* owned */
    uint32_t worker_count;
    uint64_t last_peer;
    struct sim_job jobs[SIM_JOBS_MAX];
    uint32_t job_count;
    struct map artifacts;
    struct map counted; /* task_done records committed */
    struct list counted_list;
    struct map damaged; /* artifacts that cannot be read until they are made again */
    struct arena arena; /* lives as long as the run */
    struct arena scratch;
    struct sim_statistics statistics;
    char failure[512]; /* the first broken rule, empty while all holds */
    bool is_verbose;
};

/* Runs the scenario to its end; false with sim->failure when a rule broke. `job` SIM_ALL_JOBS: as
 * the scenario says; otherwise that job alone, by one worker and without faults. */
bool sim_run(struct sim *sim, const struct sim_scenario *scenario, uint64_t seed, uint32_t job);
void sim_fini(struct sim *sim);

/* What the jobs came to: checkpoints, losses, outputs. Equal runs have equal text. */
void sim_signature(const struct sim *sim, char *out, size_t size);

/* Keeps the first failure. */
void sim_fail(struct sim *sim, const char *format, ...) PRINTF(2, 3);

/* Whether a fault of this chance happens now; never after the healing. */
bool sim_chance(struct sim *sim, uint32_t parts);
bool sim_is_healed(const struct sim *sim);

/* A new event; the caller fills in the rest. */
struct sim_event *sim_schedule(struct sim *sim, enum sim_event_kind kind, uint64_t after_ms);
struct sim_event *sim_schedule_at(struct sim *sim, enum sim_event_kind kind, uint64_t at_ns);

/* Over a connection of a worker, with all that can happen to it. */
void sim_send_up(struct sim *sim, uint32_t worker, uint32_t number, const void *message);
void sim_send_down(struct sim *sim, uint64_t peer, uint32_t number, const void *message);

/* The client's connection. */
enum { SIM_CLIENT_PEER = 1 };
void sim_client_send(struct sim *sim, uint32_t number, const void *message);
void sim_client_timer(struct sim *sim);
void sim_client_message(struct sim *sim, uint32_t number, const union message_any *message);

/* sim_job: all from one random source. */
void sim_job_make(struct sim *sim, struct sim_random *random, uint32_t index);
const struct sim_job *sim_job_of_recipe(const struct sim *sim, struct digest recipe);

/* sim_coordinator */
void sim_coordinator_start(struct sim *sim);
void sim_coordinator_event(struct sim *sim, struct sched_event event);
void sim_coordinator_message(struct sim *sim, uint64_t peer, uint32_t number,
                             const union message_any *message);
void sim_coordinator_work_done(struct sim *sim, const struct sched_work *work);
void sim_coordinator_crash(struct sim *sim);
struct sched *sim_coordinator_replayed(struct sim *sim);

/* sim_worker */
void sim_worker_start(struct sim *sim, struct sim_worker *worker);
void sim_worker_event(struct sim *sim, struct sim_worker *worker, struct agent_event event);
void sim_worker_crash(struct sim *sim, struct sim_worker *worker);
void sim_worker_computed(struct sim *sim, struct sim_worker *worker, uint64_t fence);

/* sim_engine: the artifact of this content, kept in the run's store. */
struct digest sim_engine_keep(struct sim *sim, const float vector[SIM_WIDTH], uint64_t step,
                              bool is_durable);
struct sim_artifact *sim_engine_find(const struct sim *sim, struct digest digest);
/* Damages an artifact that some job made, or all that were let go of; made again, it is mended. */
void sim_engine_damage(struct sim *sim);
void sim_engine_prune(struct sim *sim);
bool sim_engine_is_damaged(const struct sim *sim, struct digest digest);
void sim_engine_mend(struct sim *sim, struct digest digest);

/* The result of a task, in `arena`. False: an input cannot be read. */
bool sim_engine_compute(struct sim *sim, const struct task_spec *spec, struct arena *arena,
                        struct task_result *out);
/* A work of the coordinator. */
enum err sim_engine_work(struct sim *sim, const struct sched_work *work, struct sim_stage *stage,
                         struct sched_work_done *done);

/* sim_check */
void sim_check_records(struct sim *sim, const struct sched_record *records, size_t count);
void sim_check_sends(struct sim *sim, const struct sched_effects *effects);
void sim_check_replay(struct sim *sim);
void sim_check_end(struct sim *sim);
bool sim_check_all_done(struct sim *sim);

#endif
