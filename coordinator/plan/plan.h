/* plan.h - from a resolved recipe and its frozen inputs to a graph of stages. Pure.
 *
 * Refuses to know: workers, time, files. The number of shards follows from the sizes of the inputs,
 * never from the fleet.
 *
 *   prepare (one task a shard) ─▶ pack ─▶ train ─▶ evaluate ─▶ export
 *                                 init ─▶ ┘
 *
 *   pack, or export of full training ─▶ calibrate ─▶ reduce ─▶ sensitivity ─▶ choose ─▶ quantize
 *            ─▶ assemble ─▶ verify ─▶ report
 *                      └─▶ compare ─▶ ┘
 *
 * Methods that go layer by layer have replay in place of calibrate, reduce and quantize.
 * A recipe with lists has init to export once for each variant, behind the same prepare, and behind
 * one pack for each seed where the seed decides what is in a row.
 * Which of them exist follows from the keys present: without training there is no init and no
 * train; without held-out data no evaluate and no compare; without a method that measures no
 * calibrate and no reduce; without a target no sensitivity.
 */
#ifndef COORDINATOR_PLAN_PLAN_H
#define COORDINATOR_PLAN_PLAN_H

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/message/message.h"

/* Stages of the job whose canonical recipe is `recipe`. Roles of inputs are the first component of
 * their name: model/..., data/<n>/..., test/<n>/..., adapter/.... Everything returned lives in
 * `arena`. ERR_RECIPE, ERR_DATA with text: an input the recipe needs is missing or has no bytes. */
MUST_CHECK enum err plan_stages(struct span recipe, const struct artifact_ref *inputs,
                                uint32_t input_count, struct arena *arena,
                                struct stage_plan **stages, uint32_t *stage_count,
                                struct err_text *et);

/* What every task of the job computes under. */
struct plan_settings {
    uint64_t seeds[LIMIT_VARIANTS]; /* of each variant */
    uint32_t variant_count;         /* at least 1 */
    uint64_t round_rows;            /* of one optimizer step */
    char profile[32];               /* "f32/1" */
};
MUST_CHECK enum err plan_settings(struct span recipe, struct plan_settings *out,
                                  struct err_text *et);

/* What the scheduler needs to drive the rounds of a job, once its rows are counted. */
struct plan_rounds {
    uint64_t round_rows;       /* micro_batch_size x gradient_accumulation_steps */
    uint64_t step_count;       /* optimizer steps of the whole run */
    uint64_t eval_steps;       /* evaluate held-out rows after so many steps, 0 never */
    bool eval_on_start;        /* also before the first step */
    uint64_t save_steps;       /* checkpoint after so many steps; the last step always is one */
    uint64_t logging_steps;    /* keep a log point after so many steps */
    double loss_max;           /* a step's loss above this is too high; 0: none is */
    uint64_t loss_patience;    /* as many such steps in a row end the training */
    uint64_t save_total_limit; /* newest checkpoints that are kept, 0: all */
};

/* `train_rows`: rows that pack counted. ERR_DATA with text when there is nothing to train on. */
MUST_CHECK enum err plan_rounds(struct span recipe, uint64_t train_rows, struct plan_rounds *out,
                                struct err_text *et);

/* Rows a range of a round may hold when `slots` workers wait: a power of two, so that every range
 * is a subtree of the fold. Only speed depends on it, never a bit. */
uint64_t plan_range_rows(uint64_t round_rows, uint64_t slots);

#endif
