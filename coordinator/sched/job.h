/* job.h - a job, its stages, its runs of rounds: what records say about them.
 *
 * Owns: the durable part of the scheduler. Every job_apply_* function changes it as one record
 * says and is used for new decisions and for replay alike. Refuses to know: workers, the network.
 */
#ifndef COORDINATOR_SCHED_JOB_H
#define COORDINATOR_SCHED_JOB_H

#include "common/ds/heap.h"
#include "common/ds/list.h"
#include "common/ds/map.h"
#include "common/mem/arena.h"
#include "common/message/stage_set.h"
#include "coordinator/plan/plan.h"
#include "coordinator/sched/curve.h"
#include "coordinator/sched/roster.h"
#include "coordinator/sched/sched.h"
#include "coordinator/sched/tasks.h"

enum run_phase {
    RUN_CLOSED,  /* no state is open at the coordinator */
    RUN_OPENING, /* work OPEN is out */
    RUN_READY,   /* between two of the others */
    RUN_ROUND,   /* ranges are granted and collected */
    RUN_FOLDING, /* work FOLD is out */
    RUN_SAVING   /* work CHECKPOINT is out */
};

enum { RUN_FAULT_BYTES = 320 };

/* The live side of a ROUNDS stage; lost with the process, found again from the last checkpoint. */
struct run {
    struct plan_rounds plan;
    enum run_phase phase;
    bool is_opened;      /* CLOSE is owed */
    bool evaluates;      /* the round at hand has no gradient */
    uint64_t step;       /* optimizer steps done */
    uint64_t saved_step; /* of the last checkpoint */
    uint64_t eval_step;  /* of the last evaluation; UINT64_MAX before the first */
    uint64_t rows;       /* of the round at hand */
    uint64_t range_rows; /* of its ranges, the last may be shorter */
    uint64_t rounds;     /* begun since the process started: tells stale attempts apart */
    uint64_t train_rows, test_rows;
    uint64_t tokens;     /* processed so far */
    uint64_t step_bytes; /* most memory that a worker took for a step */
    uint64_t high_steps; /* in a row up to now, whose loss was too high (watchdog.h) */
    double loss, eval_loss;
    double grad_norm;        /* of the last step, before clipping */
    double loss_sum, weight; /* of the last evaluation */
    struct preference_sums preference;
    struct artifact_ref weights;
    char weights_path[LIMIT_PATH_BYTES];
    char fault[RUN_FAULT_BYTES]; /* of the last work that failed, in words */
    struct curve curve;          /* owned; see job_curve */
    struct arena results;        /* of the round at hand */
};

struct reuse_task;

struct stage {
    const struct stage_plan *plan;
    struct job *job;
    uint32_t index;
    struct stage_set needs; /* what it needs, and what those need */
    enum stage_state state;
    struct tasks tasks; /* ROUNDS: ranges of the round at hand; none until told of them (told.h) */
    struct run *run;    /* owned; ROUNDS only */
    const struct task_result *result; /* ROUNDS: of the whole stage, NULL until done */
    struct artifact_ref log;          /* EXPORT: digest zero until the work LOG is done */
    struct reuse_task *reuse;         /* owned; of each task, NULL until learned (reuse.h) */
    struct digest key;                /* of all their content keys, zero before */
    bool is_remade;                   /* a result of it was lost */
    bool work_is_out;
    bool is_disputed;       /* two results of the round at hand differ */
    bool is_suspect;        /* inputs of a task, or the job's results, are read again */
    bool is_fatal;          /* if nothing is wrong with them, the job fails as the task did */
    uint32_t suspect;       /* the task */
    enum err suspect_error; /* how it failed, and in words, in the job's arena */
    struct text suspect_detail;
    enum err failure; /* it cannot go on: it is given up, or about to be (advance_give_up) */
    struct text failure_detail; /* in the job's arena */
    bool close_is_owed;         /* the job stopped while a work was out */
    uint8_t work_faults;        /* failed works in a row */
    enum err work_error;        /* of the last one */
    struct instant retry_at;    /* after a failed work */
    /* Wall clock, for people, 0 before. Of what began in an earlier process, what records tell:
     * when all that it needs was done; of a training, its first log point. */
    uint64_t started_unix_ms, ended_unix_ms;
};

/* A name that a checkpoint was given. */
struct job_tag {
    uint32_t stage;
    struct digest digest;
    size_t size;
    char name[LIMIT_NAME_BYTES]; /* not terminated */
};

static inline struct text job_tag_name(const struct job_tag *tag)
{
    return (struct text){tag->name, tag->size};
}

struct job {
    struct rec_job_submitted submitted; /* in arena */
    struct arena arena;                 /* owned: everything durable */
    struct map_node by_id, by_request;
    struct heap_node by_rank;  /* in pool->jobs */
    struct heap_node by_retry; /* in sched.retries */
    struct list_node dirty;    /* in sched.dirty */
    struct list leases;        /* live, of_job */
    struct pool *pool;
    struct roster_answer answer; /* in pool->answers while the job is not over */
    size_t seq;                  /* order of submission */
    struct plan_settings settings;
    struct artifact_ref recipe;
    enum job_state state;
    enum err doom; /* it fails for this reason as soon as the record fits; not durable */
    enum err error;
    char detail[512];
    uint64_t started_unix_ms, ended_unix_ms;
    struct instant progressed; /* last result, round, checkpoint or change of state; live time */
    struct stage *stages;      /* in arena; stages_count as submitted */
    struct stage_set done;
    struct stage_set failed;            /* given up; the job goes on without them */
    struct stage_set ready;             /* they have tasks to grant */
    struct checkpoint_row *checkpoints; /* owned; of all stages, each stage's by step */
    size_t checkpoint_count, checkpoint_capacity;
    struct job_tag *tags; /* owned */
    size_t tag_count, tag_capacity;
    struct arena tag_texts;  /* owned: those of the rows */
    struct text loss_detail; /* the last time something was made again, in words; in arena */
    uint32_t losses;         /* since the last fresh start */
};

/* ERR_DATA with text: a graph that does not hold together, or a recipe that plan refuses. */
MUST_CHECK enum err job_apply_submitted(struct sched *s, const struct rec_job_submitted *record,
                                        struct err_text *et);
/* ERR_STATE: contradicts what is known. */
MUST_CHECK enum err job_apply_task_done(struct sched *s, const struct rec_task_done *record,
                                        uint64_t unix_ms);
MUST_CHECK enum err job_apply_task_failed(struct sched *s, const struct rec_task_failed *record);
MUST_CHECK enum err job_apply_checkpoint(struct sched *s, const struct rec_checkpoint *record);
MUST_CHECK enum err job_apply_forgotten(struct sched *s, const struct rec_job_forgotten *record);
MUST_CHECK enum err job_apply_answer(struct sched *s, const struct rec_answer_frozen *record);
MUST_CHECK enum err job_apply_branch_failed(struct sched *s,
                                            const struct rec_branch_failed *record);
MUST_CHECK enum err job_apply_state(struct sched *s, const struct rec_job_state *record);

void job_destroy(struct job *job);

/* It is over and nothing of it is out any more. */
bool job_may_be_forgotten(const struct job *job);

/* NULL when there is none. */
struct job *job_of_id(const struct sched *s, uint64_t id);
struct job *job_of_request(const struct sched *s, uint64_t request);

/* WAITING or RUNNING, and not about to fail. */
bool job_is_active(const struct job *job);

/* Workers of its pool give the answer that it was begun with, if it was. */
bool job_is_answered(const struct job *job);

/* After a change of its state: whether its answer binds the pool. */
void job_hold_answer(struct job *job);

/* The stage of that kind which this one needs, also through others: the nearest. NULL: none. So the
 * graph says which of several trainings is whose. */
const struct stage *job_stage_of(const struct stage *stage, enum stage_kind kind);

/* The first stage of that kind which needs this one, also through others. NULL: none. */
const struct stage *job_follower(const struct stage *stage, enum stage_kind kind);

/* Whether all that it needs, also through others, is done. */
bool job_may_begin(const struct stage *stage);

/* The stage and those that need it, also through others. */
struct stage_set job_branch(const struct stage *stage);

/* The first stage of that kind in the job. NULL: none. */
const struct stage *job_first_of(const struct job *job, enum stage_kind kind);

/* Where the log points of a ROUNDS stage are, and of what follows one: with the training that it is
 * or needs, else with itself; NULL where there are no rounds. */
struct curve *job_curve(const struct stage *stage);

/* An output of a task that is done, NULL when there is none. */
const struct artifact_ref *job_output(const struct stage *stage, uint32_t index, const char *name);
/* Value of a fact of the stage's only task, 0 when it has none. */
uint64_t job_fact(const struct stage *stage, const char *name);

/* Appends the files that a done stage gives to the output folder at refs[*count], or only counts
 * them when `refs` is NULL. False when the stage gives none. */
bool job_results(const struct stage *stage, struct artifact_ref *refs, uint32_t *count);

/* What the stage goes on from: its newest checkpoint that is not undone, else the one of another
 * job that a training started from, or NULL. */
const struct checkpoint_row *job_checkpoint(const struct job *job, const struct stage *stage);

/* The means of the sums, where the loss is over pairs. */
void job_set_preference(struct log_point *point, const struct preference_sums *sums);

#endif
