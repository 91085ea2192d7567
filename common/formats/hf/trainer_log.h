/* trainer_log.h - the history of a training run in the files that plot scripts read.
 *
 *   trainer_state.json   Hugging Face's Trainer: global_step, epoch, log_history[]; deterministic
 *   trainer_log.jsonl    LLaMA-Factory: a line a point, with timings; not an artifact
 *
 * Refuses to know: clocks. Timings are given, and only the second file has any.
 */
#ifndef COMMON_FORMATS_HF_TRAINER_LOG_H
#define COMMON_FORMATS_HF_TRAINER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/mem/bytes.h"

/* What was logged after a step: a training point, or (is_eval) an evaluation of held-out data. */
struct trainer_log_point {
    uint64_t step; /* 1 is the first; 0: before training */
    double epoch;  /* passes over the training data so far */
    bool is_eval;
    double loss;          /* training loss of the step's batch, or eval_loss */
    double grad_norm;     /* training: before clipping */
    double learning_rate; /* training */
    uint64_t pairs;       /* of answers (rl: dpo), 0: the loss is over tokens */
    double reward_chosen, reward_rejected, accuracy; /* means over the pairs */
    uint64_t tokens; /* supervised tokens seen so far, or of the evaluation */
    /* For trainer_log.jsonl alone. */
    uint64_t elapsed_ms;
    uint64_t remaining_ms;
    double tokens_per_second; /* 0: not measured */
    uint64_t memory_bytes;    /* resident; 0: not measured */
};

struct trainer_log {
    const struct trainer_log_point *points; /* borrowed; in the order of the run */
    size_t count;
    uint64_t steps_done;
    uint64_t steps_total;
    double epochs_total;
    uint32_t batch_size; /* rows a step, all workers together */
    uint64_t logging_steps;
    uint64_t eval_steps; /* 0: none */
    uint64_t save_steps; /* 0: none */
};

/* Appends trainer_state.json. ERR_NOT_FINITE when a number is not, ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err trainer_log_print_state(const struct trainer_log *log, struct bytes *out);

/* Appends the line of one point, line feed included; errors as above. */
MUST_CHECK enum err trainer_log_print_line(const struct trainer_log *log,
                                           const struct trainer_log_point *point,
                                           struct bytes *out);

/* Appends trainer_log.jsonl: the lines of all points. */
MUST_CHECK enum err trainer_log_print_lines(const struct trainer_log *log, struct bytes *out);

#endif
