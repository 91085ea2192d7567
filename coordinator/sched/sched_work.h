/* sched_work.h - what the scheduler has the loop do on its threads, and what comes of it. */
#ifndef COORDINATOR_SCHED_SCHED_WORK_H
#define COORDINATOR_SCHED_SCHED_WORK_H

#include "common/message/message.h"

/* An artifact that is not here any more, or not what its name says. */
struct sched_loss {
    struct digest digest;
    struct text why; /* "the file on disk is damaged" */
};

/* The outcome of a work, reported by the loop. `error` 0 means success. */
struct sched_work_done {
    uint64_t job;
    uint32_t stage;
    uint64_t step; /* steps done: OPEN, FOLD, CHECKPOINT */
    enum err error;
    struct text detail;
    struct artifact_ref weights;       /* OPEN, training FOLD: what workers compute with next */
    struct artifact_ref log;           /* LOG: the log artifact */
    double loss_sum, weight;           /* FOLD: of the whole round */
    struct preference_sums preference; /* likewise */
    double grad_norm, learning_rate;   /* training FOLD */
    struct checkpoint_row checkpoint;  /* CHECKPOINT: digest, ledger, size; the rest is sched's */
    const struct sched_loss *lost;     /* VERIFY: what of `refs` cannot be had */
    uint32_t lost_count;
    uint32_t restored_count; /* VERIFY: what was not at hand and is again */
};

/* A range of rows of a finished round. */
struct sched_part {
    uint64_t first, end;
    struct text worker;
    struct digest gradient; /* zero for an evaluation */
    double loss_sum, weight;
    struct preference_sums preference;
};

enum sched_work_kind {
    SCHED_WORK_OPEN,       /* load the state (init or checkpoint), publish its weights */
    SCHED_WORK_FOLD,       /* fold the parts; for training: clip, step, publish the new weights */
    SCHED_WORK_CHECKPOINT, /* write state and ledger durably */
    SCHED_WORK_LOG,        /* write the log points of the run as an artifact */
    SCHED_WORK_VERIFY,     /* read artifacts again; what is damaged must count as absent after it */
    SCHED_WORK_PRUNE,      /* remove what sched_history_orphans names and no record reaches */
    SCHED_WORK_CLOSE       /* forget the state: the stage ended or the job stopped */
};

/* Space on disk that a training is about to take. Zero: it has what it takes. */
struct sched_room {
    uint64_t count, size_bytes; /* so many checkpoints more than there are, of that size each */
    uint64_t others_bytes;      /* and what trainings that are open already still take */
};

struct sched_work {
    enum sched_work_kind kind;
    uint64_t job;
    uint32_t stage;
    uint32_t variant;          /* OPEN, FOLD, CHECKPOINT: of the recipe */
    uint64_t step;             /* steps done before this work */
    bool evaluates;            /* FOLD: sums only, no gradient, no optimizer step */
    uint64_t round_rows;       /* FOLD: leaves of the tree */
    uint64_t step_count;       /* OPEN: steps of the whole run, for the schedule */
    struct artifact_ref state; /* OPEN: the init task's state, or the checkpoint to resume from */
    struct sched_room room;    /* OPEN: ERR_DISK_FULL where there is not so much */
    struct span recipe;        /* OPEN, VERIFY: canonical recipe */
    const struct sched_part *parts; /* FOLD: in row order, covering [0, round_rows) */
    uint32_t part_count;
    bool keeps_parts; /* FOLD: another stage may rest on the same gradients; they are not dropped */
    const struct log_point *points; /* LOG */
    uint32_t point_count;
    const struct artifact_ref *refs; /* VERIFY */
    uint32_t ref_count;
};

#endif
