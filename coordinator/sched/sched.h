/* sched.h - the core: who works on what, decided one event at a time.
 *
 * Owns: jobs, stages, tasks, leases and fences, rounds, retries, priorities, workers as it heard of
 * them. Refuses to know: sockets, the store, the clock, threads, files, randomness.
 *
 * The contract of sched_step
 *  1. One event in; `event->now` is the only clock it ever sees.
 *  2. Same state and same event give the same effects, byte for byte.
 *  3. `effects->records` are committed before any of `effects->sends` leaves or any of
 *     `effects->works` starts. If the commit fails, the process stops and replays.
 *  4. A record is a decision. sched_replay applies records with the functions that sched_step uses,
 *     so a replayed scheduler knows all jobs, stages, done tasks and checkpoints of the one that
 *     died. Leases, workers and rounds in flight are not records: tasks are granted again, rounds
 *     start again from the last checkpoint, and both give the same bits.
 *  5. Late, doubled and fenced results are answered and else ignored: a task's result counts once.
 *  6. Effects live in memory of the scheduler until the next step.
 *     The loop adds what only it knows: bulk_endpoint of a WELCOME, paths of durable artifacts.
 *  7. A stage has at most one work out. Every work is answered by exactly one outcome, also
 *     when the job was cancelled meanwhile; CLOSE, which never overtakes one, and PRUNE by none.
 *
 * A ROUNDS stage is a loop of its own: open the state (work OPEN), then for every round grant
 * ranges of rows, collect their results, fold them (work FOLD), and after every save_steps rounds
 * and the last one make a checkpoint (work CHECKPOINT), whose record is what survives. Evaluations
 * between rounds are rounds without a gradient. An EVALUATE stage opens the state of the training
 * before it; where there is none (the base model alone) it has no OPEN and no weights, only a FOLD.
 *
 * A WAVES stage opens one wave of tasks after the other (wave.h, tasks.h). How many tasks a stage
 * has may be told by an earlier one (told.h). When a stage of a reusable kind starts, what another
 * kept job made of equal content is taken over (reuse.h).
 *
 * A failed work is tried again after a rest: a CHECKPOINT as it is, for a failed one leaves the
 * open state as it was; any other by CLOSE and OPEN from the last checkpoint. A full disk is waited
 * for; permanent errors fail the job with `detail`.
 *
 * What a job made and is found damaged or missing is made again, to the same bits (remake.h).
 */
#ifndef COORDINATOR_SCHED_SCHED_H
#define COORDINATOR_SCHED_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/ids.h"
#include "common/mem/bytes.h"
#include "common/message/message.h"
#include "common/message/state.h"
#include "coordinator/sched/sched_work.h"

struct sched;

/* A connection, named by the loop; never reused while the process lives. */
struct peer_id {
    uint64_t v;
};

enum sched_event_kind {
    SCHED_STARTED,   /* once, after replay */
    SCHED_HELLO,     /* a worker's msg_hello, also a repeated one after a reconnect */
    SCHED_GONE,      /* the peer's connection ended */
    SCHED_CRASHED,   /* the process of `worker` is known to be dead */
    SCHED_HEARTBEAT, /* worker messages */
    SCHED_ACCEPT,
    SCHED_RESULT,
    SCHED_LEAVE,
    SCHED_UNSENT,  /* a grant was too large to be sent: `fence` */
    SCHED_SUBMIT,  /* a job as planned, its record complete */
    SCHED_CONTROL, /* cancel, pause, resume, retry */
    SCHED_DRAIN,   /* of a worker or all */
    SCHED_HISTORY, /* of checkpoints: forget, tag, restore */
    SCHED_SCALE,   /* a new target of a provider, checked by scale */
    SCHED_LET_GO,  /* drain one worker; no client asked */
    SCHED_OPENED,  /* work outcomes */
    SCHED_FOLDED,
    SCHED_CHECKPOINTED,
    SCHED_LOGGED,
    SCHED_VERIFIED,
    SCHED_DISK, /* free space fell under, or rose over, the floor */
    SCHED_TICK  /* wake_at came */
};

struct sched_event {
    enum sched_event_kind kind;
    struct instant now;
    struct duration pause; /* before it the process stood still so long: nobody could be heard */
    uint64_t unix_ms;      /* for people; no decision depends on it */
    struct peer_id peer;
    union {
        const struct msg_hello *hello;
        const struct msg_heartbeat *heartbeat;
        const struct msg_lease_accept *accept;
        const struct msg_lease_result *result;
        const struct msg_leave *leave;
        uint64_t fence;
        uint64_t worker; /* struct worker.id */
        struct {
            uint64_t ticket;
            const struct rec_job_submitted *record;
        } submit;
        const struct msg_job_control *control;
        const struct msg_worker_drain *drain;
        struct {
            uint64_t ticket;
            const struct rec_scale_target *record;
        } scale;
        struct {
            uint64_t worker;
            struct text reason;
        } let_go;
        const struct sched_history_request *history; /* sched_history.h */
        struct sched_work_done done;
        bool disk_low;
    };
};

struct sched_send {
    struct peer_id peer;
    uint32_t number; /* enum message_number */
    union message_any message;
};

struct sched_record {
    uint32_t number; /* enum record_number */
    uint64_t unix_ms;
    union message_record record;
};

struct sched_effects {
    const struct sched_record *records;
    size_t record_count;
    const struct sched_send *sends;
    size_t send_count;
    const struct sched_work *works;
    size_t work_count;
    struct instant wake_at; /* replaces any earlier one */
};

/* `incarnation`: from the coordinator_started record just made; upper half of every fence. */
MUST_CHECK enum err sched_create(uint32_t incarnation, struct sched **out);
void sched_destroy(struct sched **s);

/* Applies one durable record, oldest first, before the first event. ERR_STORE when it contradicts
 * the ones before. `record` is copied. */
MUST_CHECK enum err sched_replay(struct sched *s, const struct sched_record *record);

/* ERR_OUT_OF_MEMORY leaves the scheduler as it was; anything else about the event is answered
 * through effects and is not an error here. */
MUST_CHECK enum err sched_step(struct sched *s, const struct sched_event *event,
                               struct sched_effects *effects);

/* Views for admin/, borrowed until the next step. Rows are filled for `now`. */
size_t sched_job_count(const struct sched *s);
/* By submission, 0 is the oldest. */
void sched_job_row(const struct sched *s, size_t index, struct job_row *row);
/* Index of the one job that `prefix` names (hex id prefix, name of the newest so named, `last`).
 * ERR_NOT_FOUND, ERR_AMBIGUOUS. */
MUST_CHECK enum err sched_job_find(const struct sched *s, struct text prefix, size_t *index);
const struct rec_job_submitted *sched_job_submitted(const struct sched *s, size_t index);
size_t sched_job_stages(const struct sched *s, size_t index, struct instant now,
                        struct stage_row *rows, size_t capacity);
/* Log points of a variant, or with SCHED_ALL of all, one after the other: those after the first
 * `after`, at most `capacity`. *total: without `after`. */
enum { SCHED_ALL = UINT32_MAX };
size_t sched_job_points(const struct sched *s, size_t index, uint32_t variant, uint64_t after,
                        struct log_point *points, size_t capacity, uint64_t *total);
const struct checkpoint_row *sched_job_checkpoints(const struct sched *s, size_t index,
                                                   size_t *count);
/* Files of the output folder: what the done stages made whose kind gives results (kind.def), by
 * stage, of one name the last, each variant's in a folder of its name; empty before the first, or
 * when memory for the list is out. At most LIMIT_INPUTS. */
const struct artifact_ref *sched_job_outputs(const struct sched *s, size_t index, uint32_t *count);

/* What done tasks of the job made, by stage and task, without the results of rounds: those named
 * `name` (empty: all) after the first `after`, at most `capacity`. *total: without `after`. */
size_t sched_job_artifacts(const struct sched *s, size_t index, struct text name, uint64_t after,
                           struct artifact_row *rows, size_t capacity, uint64_t *total);

/* What the pack task counted; empty before it is done. Borrowed from the job. */
const struct fact *sched_job_facts(const struct sched *s, size_t index, uint32_t *count);
size_t sched_worker_rows(const struct sched *s, struct instant now, struct worker_row *rows,
                         size_t capacity);
/* Digests that records of unfinished and kept jobs reach: the roots of garbage collection. */
void sched_each_root(const struct sched *s, void (*visit)(void *context, struct digest digest),
                     void *context);

/* Appends what the records alone determine, one line a fact: equal for a scheduler and for the one
 * that replays its records. For the simulator and tests. */
void sched_write_durable(const struct sched *s, struct bytes *out);

#endif
