/* task_measure.c - what merging changed, on a range of held-out rows: their loss under the base
 * with its adapter, as training had it, and under the merged files; where the base was quantized as
 * it was opened, also under the other base with the same adapter.
 *
 * Losses go into scores (worker/engine/compare/scores.h), whose divergences stay 0: none is taken.
 */
#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/task/task_compare.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_session.h"
#include "worker/task/task_settings.h"

enum { ROWS_A_STEP = 16, SIDES_MAX = 3 };

struct measurement {
    struct task_run *run;
    struct task_session *session;
    struct scores scores;         /* range, sizes and rules */
    struct train_result *trained; /* owned: (scores.count) of the base with its adapter */
    struct train_result *found;   /* owned: (scores.count) of what is held against it */
    struct compare_sums *sums;    /* owned: (scores.count) */
    uint64_t done, total;         /* rows, of all sides */
};

static enum err evaluate(struct measurement *m, struct train *train, const float *values,
                         struct train_result *results, struct err_text *et)
{
    struct train_row rows[ROWS_A_STEP];
    for (uint64_t at = 0; at < m->scores.count; at += ROWS_A_STEP) {
        size_t count = (size_t)MIN(m->scores.count - at, (uint64_t)ROWS_A_STEP);
        TRY(task_run_progress(m->run, m->done + at, m->total));
        for (size_t i = 0; i < count; i++) {
            uint64_t row = m->scores.first + at + i;
            rows[i] = task_session_row(m->session, row, row);
            m->run->result->tokens += rows[i].token_count;
        }
        TRY(train_evaluate(train, values, rows, count, results + at, et));
    }
    m->done += m->scores.count;
    m->run->result->peak_bytes = MAX(m->run->result->peak_bytes, train_peak_bytes(train));
    return ERR_OK;
}

/* The same rows under another model, with the adapter or without. */
static enum err evaluate_other(struct measurement *m, const struct model *model,
                               const struct train_layout *layout, struct err_text *et)
{
    struct train *train = NULL;
    struct task_run *run = m->run;
    struct train_options options = task_settings_rows(&run->recipe, NULL, m->session->rows_at_once);
    TRY(train_create(model, m->session->kernel, layout, &options, &train));
    train_anchor(train, m->session->anchor);
    enum err err = evaluate(m, train, layout != NULL ? m->session->values : NULL, m->found, et);
    train_destroy(&train);
    return err;
}

static enum err hand_in(struct measurement *m, const char *name, struct err_text *et)
{
    for (uint64_t i = 0; i < m->scores.count; i++)
        m->sums[i] = (struct compare_sums){.positions = (uint64_t)m->trained[i].weight,
                                           .base_loss = m->trained[i].loss_sum,
                                           .result_loss = m->found[i].loss_sum};
    return task_compare_hand_in(m->run, name, &m->scores, m->sums, et);
}

static enum err prepare(struct measurement *m, struct err_text *et)
{
    TRY(task_session_open(m->run, true, &m->session, et));
    TRY(task_session_load(m->run, m->session, et));
    TRY(task_session_rows(m->run, m->session, "test_rows", et));
    TRY(task_compare_range(m->run, &m->session->rows, m->session->rows_item->bytes, &m->scores,
                           et));
    m->trained = mem_alloc(m->scores.count, sizeof *m->trained);
    m->found = mem_alloc(m->scores.count, sizeof *m->found);
    m->sums = mem_alloc(m->scores.count, sizeof *m->sums);
    return m->trained != NULL && m->found != NULL && m->sums != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

/* Into the dequantized base was merged: the base with all its bits is the other choice. */
static enum err measure_full(struct measurement *m, struct err_text *et)
{
    const struct model *full;
    TRY(task_model_open_stored(m->run, &full, et));
    TRY(evaluate_other(m, full, m->session->layout, et));
    return hand_in(m, "losses_full", et);
}

static enum err measure(struct measurement *m, struct err_text *et)
{
    const struct recipe *recipe = &m->run->recipe;
    const struct model *merged;
    bool has_full =
        recipe->merge == RECIPE_MERGE_DEQUANTIZED && (recipe->load_in_4bit || recipe->load_in_8bit);
    TRY(prepare(m, et));
    m->total = m->scores.count * (has_full ? SIDES_MAX : SIDES_MAX - 1);
    TRY(evaluate(m, m->session->train, m->session->values, m->trained, et));
    TRY(task_model_open_result(m->run, &merged, et));
    TRY(evaluate_other(m, merged, NULL, et));
    TRY(hand_in(m, "losses", et));
    if (has_full)
        TRY(measure_full(m, et));
    return task_run_progress(m->run, m->total, m->total);
}

enum err task_kind_measure(struct task_run *run, struct err_text *et)
{
    struct measurement m = {.run = run};
    enum err err = measure(&m, et);
    mem_free(m.trained);
    mem_free(m.found);
    mem_free(m.sums);
    return err;
}
