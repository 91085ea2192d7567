/* task_train.c - the gradient of a range of rows of a round, folded along the fixed tree.
 *
 * Row i of round r stands at position r * total + i of the endless sequence of epochs.
 */
#include "common/mem/mem.h"
#include "common/numeric/fold.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"
#include "worker/task/task_session.h"
#include "worker/task/task_sums.h"

enum { ROWS_BYTES = 1 << 30 };

struct leaves {
    struct task_run *run;
    struct fold *fold;
    uint64_t first; /* row of the round at index 0 */
    uint64_t count;
    bool prefers; /* rows are pairs */
};

static enum err take_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    struct leaves *leaves = context;
    struct fold_node node = {leaves->first + row, leaves->first + row + 1};
    double sums[FOLD_SUMS];
    task_sums_leaf(result, leaves->prefers, sums);
    TRY(fold_push(leaves->fold, node, gradient, sums));
    return task_run_progress(leaves->run, row + 1, leaves->count);
}

static enum err list_rows(struct task_run *run, const struct task_session *session,
                          struct arena *arena, struct train_row **out)
{
    const struct task_spec *spec = run->spec;
    uint64_t count = spec->end - spec->first;
    struct train_row *rows = arena_alloc(arena, (size_t)count, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t place = spec->first + i;
        uint64_t position = spec->round * spec->total + place;
        uint64_t index = rows_order(spec->seed, session->rows.row_count, position);
        rows[i] = task_session_pair(session, index, place);
        run->result->tokens += rows[i].token_count;
    }
    *out = rows;
    return ERR_OK;
}

static enum err compute(struct task_run *run, struct task_session *session, struct fold *fold,
                        struct arena *arena, struct err_text *et)
{
    const struct task_spec *spec = run->spec;
    size_t count = (size_t)(spec->end - spec->first);
    struct train_row *rows = NULL;
    struct leaves leaves = {run, fold, spec->first, count, session->prefers};
    TRY(list_rows(run, session, arena, &rows));
    struct train_result *results = arena_alloc(arena, count, sizeof *results);
    if (results == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(task_run_progress(run, 0, count));
    TRY(train_rows(session->train, session->values, spec->seed, spec->round, rows, count, results,
                   take_leaf, &leaves, et));
    const struct fold_entry *sum = fold_at(fold, 0);
    task_sums_report(sum->sums, run->result);
    run->result->peak_bytes = task_session_peak_bytes(session);
    return task_run_output(
        run, "gradient",
        (struct span){(const uint8_t *)sum->vector, fold->width * sizeof *sum->vector}, true, et);
}

static enum err check_range(const struct task_run *run, const struct rows *rows,
                            struct err_text *et)
{
    const struct task_spec *spec = run->spec;
    if (spec->end > spec->total ||
        !fold_is_node(spec->total, (struct fold_node){spec->first, spec->end}))
        return error_set(et, ERR_PROTOCOL,
                         "rows %llu to %llu of %llu are no subtree of the round's fold",
                         (unsigned long long)spec->first, (unsigned long long)spec->end,
                         (unsigned long long)spec->total);
    if (rows->row_count == 0)
        return error_set(et, ERR_DATA, "there are no rows to train on");
    return ERR_OK;
}

enum err task_kind_train(struct task_run *run, struct err_text *et)
{
    struct task_session *session;
    TRY(task_session_open(run, true, &session, et));
    TRY(task_session_load(run, session, et));
    TRY(task_session_quantize(session, run->spec->round, et));
    TRY(task_session_rows(run, session, "rows", et));
    TRY(task_session_pairs(run, session, "rows", et));
    TRY(check_range(run, &session->rows, et));
    struct arena arena;
    struct fold fold;
    arena_init(&arena, ROWS_BYTES);
    fold_init(&fold, run->spec->total, train_layout_count(session->layout));
    enum err err = compute(run, session, &fold, &arena, et);
    fold_fini(&fold);
    arena_fini(&arena);
    return err;
}
