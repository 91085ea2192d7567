/* state.c - the tables behind state.h. */
#include "common/message/state.h"

#include <stddef.h>

#include "common/base/check.h"

#define STATE_WORD(name, word, terminal) word,
static const char *const job_words[] = {JOB_STATE_ROWS(STATE_WORD)};
static const char *const stage_words[] = {STAGE_STATE_ROWS(STATE_WORD)};
static const char *const worker_words[] = {WORKER_STATE_ROWS(STATE_WORD)};

#define STATE_TERMINAL(name, word, terminal) terminal,
static const bool job_terminal[] = {JOB_STATE_ROWS(STATE_TERMINAL)};

#define KIND_WORD(name, word, shape, results, reuse, text) word,
static const char *const kind_words[] = {STAGE_KIND_ROWS(KIND_WORD)};

#define KIND_SHAPE(name, word, shape, results, reuse, text) STAGE_SHAPE_##shape,
static const enum stage_shape kind_shapes[] = {STAGE_KIND_ROWS(KIND_SHAPE)};

#define KIND_RESULTS(name, word, shape, results, reuse, text) results,
static const bool kind_results[] = {STAGE_KIND_ROWS(KIND_RESULTS)};

#define KIND_REUSE(name, word, shape, results, reuse, text) reuse,
static const bool kind_reuse[] = {STAGE_KIND_ROWS(KIND_REUSE)};

#define REASON_WORD(name, word, text) word,
static const char *const reason_words[] = {REASON_ROWS(REASON_WORD)};

struct transition {
    enum job_state from;
    enum job_state to;
};

#define JOB_TRANSITION(from, to) {JOB_##from, JOB_##to},
static const struct transition job_transitions[] = {JOB_TRANSITION_ROWS(JOB_TRANSITION)};

static const char *word_at(const char *const *words, size_t count, unsigned index)
{
    return index < count ? words[index] : "?";
}

const char *state_job_word(enum job_state state)
{
    return word_at(job_words, COUNT_OF(job_words), (unsigned)state);
}

const char *state_stage_word(enum stage_state state)
{
    return word_at(stage_words, COUNT_OF(stage_words), (unsigned)state);
}

const char *state_worker_word(enum worker_state state)
{
    return word_at(worker_words, COUNT_OF(worker_words), (unsigned)state);
}

const char *state_kind_word(enum stage_kind kind)
{
    return word_at(kind_words, COUNT_OF(kind_words), (unsigned)kind);
}

const char *state_reason_word(enum reason reason)
{
    return word_at(reason_words, COUNT_OF(reason_words), (unsigned)reason);
}

bool state_job_is_terminal(enum job_state state)
{
    ASSERT((unsigned)state < JOB_STATE_COUNT);
    return job_terminal[state];
}

enum stage_shape state_kind_shape(enum stage_kind kind)
{
    ASSERT((unsigned)kind < STAGE_KIND_COUNT);
    return kind_shapes[kind];
}

bool state_kind_gives_results(enum stage_kind kind)
{
    ASSERT((unsigned)kind < STAGE_KIND_COUNT);
    return kind_results[kind];
}

bool state_kind_is_reusable(enum stage_kind kind)
{
    ASSERT((unsigned)kind < STAGE_KIND_COUNT);
    return kind_reuse[kind];
}

bool state_job_allows(enum job_state from, enum job_state to)
{
    for (size_t i = 0; i < COUNT_OF(job_transitions); i++) {
        if (job_transitions[i].from == from && job_transitions[i].to == to)
            return true;
    }
    return false;
}
