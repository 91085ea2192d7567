/* task_report.h - what a quantized model cost: its tensors by their error, and both models on test
 * text, as quantization.json and as a card. Internal to task.
 *
 * Nothing in either varies between runs of the same job.
 */
#ifndef WORKER_TASK_TASK_REPORT_H
#define WORKER_TASK_TASK_REPORT_H

#include "common/digest/digest.h"
#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"
#include "common/mem/bytes.h"
#include "common/recipe/recipe.h"
#include "worker/engine/compare/scores.h"
#include "worker/task/task_run.h"

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

/* What merging an adapter into its base came to. */
struct task_report_merge {
    const struct recipe *recipe;
    bool is_measured;           /* there were held-out rows: what follows is set */
    struct scores scores;       /* sizes, rules and number of rows; no rows */
    struct compare_sums merged; /* base: with its adapter, as trained; result: the merged files */
    bool has_full;              /* merged into the dequantized base, and there is another: */
    struct compare_sums full;   /* result: the base with all its bits, with the adapter */
};

/* Folds the scores in the inputs prefix/0, prefix/1, ...; *found: there are some. The rows of
 * *scores are gone. Errors of scores_fold; ERR_DATA: nothing was scored. */
MUST_CHECK enum err task_report_fold(struct task_run *run, const char *prefix, bool *found,
                                     struct scores *scores, struct compare_sums *sums,
                                     struct err_text *et);

/* Members of an object: by which rules text became rows; a summed loss with its perplexity. */
void task_report_put_rules(struct json_write *w, const struct perplexity *rules);
void task_report_put_losses(struct json_write *w, const char *key, const struct perplexity *rules,
                            double loss_sum, uint64_t positions);

/* Reads what was measured of a merge and hands in merge.json; with `card`, README.md too. */
MUST_CHECK enum err task_report_merge(struct task_run *run, bool card, struct err_text *et);

/* Appends the file. ERR_NOT_FINITE, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err task_report_print_json(const struct task_report *report, struct bytes *out);
MUST_CHECK enum err task_report_print_card(const struct task_report *report, struct bytes *out);

#endif
