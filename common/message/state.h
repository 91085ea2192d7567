/* state.h - states, transitions, kinds and reasons of state.def, kind.def and reason.def as enums
 * with names. */
#ifndef COMMON_MESSAGE_STATE_H
#define COMMON_MESSAGE_STATE_H

#include <stdbool.h>

#include "schemas/kind.def"
#include "schemas/reason.def"
#include "schemas/state.def"

#define STATE_ENUM_JOB(name, word, terminal) JOB_##name,
enum job_state { JOB_STATE_ROWS(STATE_ENUM_JOB) JOB_STATE_COUNT };
#undef STATE_ENUM_JOB

#define STATE_ENUM_STAGE(name, word, terminal) STAGE_##name,
enum stage_state { STAGE_STATE_ROWS(STATE_ENUM_STAGE) STAGE_STATE_COUNT };
#undef STATE_ENUM_STAGE

#define STATE_ENUM_TASK(name, word, terminal) TASK_##name,
enum task_state { TASK_STATE_ROWS(STATE_ENUM_TASK) TASK_STATE_COUNT };
#undef STATE_ENUM_TASK

#define STATE_ENUM_WORKER(name, word, terminal) WORKER_##name,
enum worker_state { WORKER_STATE_ROWS(STATE_ENUM_WORKER) WORKER_STATE_COUNT };
#undef STATE_ENUM_WORKER

enum stage_shape { STAGE_SHAPE_ARRAY, STAGE_SHAPE_ROUNDS, STAGE_SHAPE_WAVES };

#define STATE_ENUM_KIND(name, word, shape, results, reuse, text) STAGE_KIND_##name,
enum stage_kind { STAGE_KIND_ROWS(STATE_ENUM_KIND) STAGE_KIND_COUNT };
#undef STATE_ENUM_KIND

#define STATE_ENUM_REASON(name, word, text) REASON_##name,
enum reason { REASON_ROWS(STATE_ENUM_REASON) REASON_COUNT };
#undef STATE_ENUM_REASON

enum peer_role { PEER_WORKER, PEER_CLIENT };

enum job_action {
    JOB_ACTION_CANCEL,
    JOB_ACTION_PAUSE,
    JOB_ACTION_RESUME,
    JOB_ACTION_RETRY,
    JOB_ACTION_FORGET
};

enum checkpoint_action {
    CHECKPOINT_FORGET,
    CHECKPOINT_TAG,
    CHECKPOINT_UNTAG,
    CHECKPOINT_RESTORE,
    CHECKPOINT_PRUNE
};

/* The word shown to people ("run", "ok", "FAIL"); "?" outside the enum. Static strings. */
const char *state_job_word(enum job_state state);
const char *state_stage_word(enum stage_state state);
const char *state_worker_word(enum worker_state state);
const char *state_kind_word(enum stage_kind kind);
const char *state_reason_word(enum reason reason);

bool state_job_is_terminal(enum job_state state);
enum stage_shape state_kind_shape(enum stage_kind kind);
bool state_kind_gives_results(enum stage_kind kind);
bool state_kind_is_reusable(enum stage_kind kind);

/* Whether state.def has the row (from, to). */
bool state_job_allows(enum job_state from, enum job_state to);

#endif
