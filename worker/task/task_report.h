/* task_report.h - what a quantized model cost: its tensors by their error, and both models on test
 * text, as quantization.json and as a card. Internal to task.
 *
 * Nothing in either varies between runs of the same job.
 */
#ifndef WORKER_TASK_TASK_REPORT_H
#define WORKER_TASK_TASK_REPORT_H

#include "common/digest/digest.h"
#include "common/formats/json/json_read.h"
#include "common/mem/bytes.h"
#include "common/recipe/recipe.h"
#include "worker/engine/compare/scores.h"

/* One tensor's figures, as its quantize task gave them. */
struct task_report_tensor {
    struct text name, format; /* borrowed from the document */
    uint64_t rows, columns, size_bytes;
    double error;              /* relative: sum (w - w')^2 / sum w^2 */
    struct json_value figures; /* all of them */
};

/* What a target came to, of the table that the choice was made from. */
struct task_report_target {
    double target_bpw, target_kl; /* of the recipe; 0: the other is the target */
    double bits_per_weight;       /* of all weights of the file */
    double predicted_kl;          /* the sum over the tensors, each alone */
    uint64_t size_bytes;          /* of all tensors of the file */
    uint64_t tokens;              /* that were looked at */
};

struct task_report {
    const struct recipe *recipe;
    struct text form, scheme; /* of the choices */
    struct digest choices_digest;
    const struct task_report_tensor *tensors; /* the largest error first, then by name */
    size_t tensor_count;
    uint64_t weight_count, size_bytes;       /* of these tensors */
    const struct task_report_target *target; /* NULL: there was none */
    bool is_compared;                        /* there was test text: what follows is set */
    struct scores scores;                    /* sizes, rules and number of rows; no rows */
    struct compare_sums sums;                /* positions > 0 */
};

/* Appends the file. ERR_NOT_FINITE, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err task_report_print_json(const struct task_report *report, struct bytes *out);
MUST_CHECK enum err task_report_print_card(const struct task_report *report, struct bytes *out);

#endif
