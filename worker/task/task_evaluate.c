/* task_evaluate.c - the loss of a range of held-out rows, in their order, folded along the tree. */
#include "common/base/check.h"
#include "common/numeric/fold.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"
#include "worker/task/task_session.h"
#include "worker/task/task_sums.h"

enum { ROWS_A_STEP = 64 };

/* Some rows at a time, so that progress is seen and a stop is soon obeyed. */
static enum err evaluate_some(struct task_run *run, struct task_session *session, uint64_t first,
                              size_t count, struct fold *fold, struct err_text *et)
{
    struct train_row rows[ROWS_A_STEP];
    struct train_result results[ROWS_A_STEP];
    for (size_t i = 0; i < count; i++) {
        rows[i] = task_session_pair(session, first + i, first + i);
        run->result->tokens += rows[i].token_count;
    }
    const float *values = session->layout != NULL ? session->values : NULL;
    TRY(train_evaluate(session->train, values, rows, count, results, et));
    for (size_t i = 0; i < count; i++) {
        struct fold_node node = {first + i, first + i + 1};
        double sums[FOLD_SUMS];
        task_sums_leaf(&results[i], session->prefers, sums);
        TRY(fold_push(fold, node, NULL, sums));
    }
    return ERR_OK;
}

static enum err evaluate(struct task_run *run, struct task_session *session, struct fold *fold,
                         struct err_text *et)
{
    const struct task_spec *spec = run->spec;
    uint64_t total = spec->end - spec->first;
    for (uint64_t at = spec->first; at < spec->end; at += ROWS_A_STEP) {
        TRY(task_run_progress(run, at - spec->first, total));
        TRY(evaluate_some(run, session, at, (size_t)MIN(spec->end - at, (uint64_t)ROWS_A_STEP),
                          fold, et));
    }
    const struct fold_entry *sum = fold_at(fold, 0);
    task_sums_report(sum->sums, run->result);
    run->result->peak_bytes = task_session_peak_bytes(session);
    return task_run_progress(run, total, total);
}

enum err task_kind_evaluate(struct task_run *run, struct err_text *et)
{
    const struct task_spec *spec = run->spec;
    struct task_session *session;
    bool trains = task_run_input(run, "weights") != NULL; /* without: the untouched model */
    TRY(task_session_open(run, trains, &session, et));
    if (trains) {
        TRY(task_session_load(run, session, et));
        TRY(task_session_quantize(session, FAKE_QUANT_FINAL, et));
    }
    TRY(task_session_rows(run, session, "test_rows", et));
    TRY(task_session_pairs(run, session, "test_rows", et));
    if (spec->total != session->rows.row_count || spec->end > spec->total ||
        !fold_is_node(spec->total, (struct fold_node){spec->first, spec->end}))
        return error_set(
            et, ERR_PROTOCOL, "rows %llu to %llu of %llu are no subtree of the %llu held-out rows",
            (unsigned long long)spec->first, (unsigned long long)spec->end,
            (unsigned long long)spec->total, (unsigned long long)session->rows.row_count);
    struct fold fold;
    fold_init(&fold, spec->total, 0);
    enum err err = evaluate(run, session, &fold, et);
    fold_fini(&fold);
    return err;
}
