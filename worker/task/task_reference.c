/* task_reference.c - what the model says of a range of pairs before training: what their rewards
 * are measured from.
 *
 * The adapter is off; where training goes on from one, it is as it starts. Of n tasks over R pairs,
 * those of training and behind them those held out, task i has the pairs [R i / n, R (i + 1) / n).
 */
#include "common/base/check.h"
#include "common/formats/dataset/rows.h"
#include "common/mem/mem.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_pairs.h"
#include "worker/task/task_range.h"
#include "worker/task/task_session.h"

enum { ROWS_A_STEP = 16 };

struct reference {
    struct task_run *run;
    struct task_session *session;
    uint64_t first, count;             /* pairs of the task */
    uint64_t train_rows;               /* pairs before those held out */
    double (*log_p)[PREFERENCE_SIDES]; /* owned: (count) */
};

/* Pairs [first, end) of the rows that are open, the first of which is pair `offset` of the job. */
static enum err run_rows(struct reference *r, uint64_t offset, uint64_t first, uint64_t end,
                         struct err_text *et)
{
    struct task_session *session = r->session;
    const float *values = session->layout != NULL ? session->values : NULL;
    struct train_row rows[ROWS_A_STEP];
    for (uint64_t at = first; at < end;) {
        uint64_t count = MIN(end - at, (uint64_t)ROWS_A_STEP);
        for (uint64_t i = 0; i < count; i++) {
            rows[i] = task_session_row(session, at + i - offset, at + i);
            r->run->result->tokens += rows[i].token_count;
        }
        TRY(task_run_progress(r->run, at - r->first, r->count));
        TRY(train_log_probabilities(session->train, values, rows, (size_t)count,
                                    r->log_p + (at - r->first), et));
        at += count;
    }
    return ERR_OK;
}

static enum err open_rows(struct reference *r, const char *name, uint64_t *count,
                          struct err_text *et)
{
    *count = 0;
    if (task_run_input(r->run, name) == NULL)
        return ERR_OK;
    TRY(task_session_rows(r->run, r->session, name, et));
    *count = r->session->rows.row_count;
    return ERR_OK;
}

/* The range of this task, told by how many rows there are. */
static enum err find_range(struct reference *r, struct err_text *et)
{
    const struct task_spec *spec = r->run->spec;
    uint64_t test_rows;
    TRY(open_rows(r, "test_rows", &test_rows, et));
    TRY(open_rows(r, "rows", &r->train_rows, et));
    uint64_t total = r->train_rows + test_rows;
    if (spec->first >= spec->total || spec->total > total || total > UINT32_MAX)
        return error_set(et, ERR_PROTOCOL, "task %llu of %llu over %llu pairs",
                         (unsigned long long)spec->first, (unsigned long long)spec->total,
                         (unsigned long long)total);
    r->first = task_range_first(total, spec->first, spec->total);
    r->count = task_range_first(total, spec->first + 1, spec->total) - r->first;
    r->log_p = mem_alloc((size_t)r->count, sizeof *r->log_p);
    return r->log_p != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static enum err compute(struct reference *r, struct err_text *et)
{
    uint64_t end = r->first + r->count, test_rows;
    TRY(run_rows(r, 0, r->first, MIN(end, r->train_rows), et));
    if (end > r->train_rows) {
        TRY(open_rows(r, "test_rows", &test_rows, et));
        TRY(run_rows(r, r->train_rows, MAX(r->first, r->train_rows), end, et));
    }
    r->run->result->peak_bytes = task_session_peak_bytes(r->session);
    return task_run_progress(r->run, r->count, r->count);
}

static enum err hand_in(const struct reference *r, struct err_text *et)
{
    struct bytes blob;
    bytes_init(&blob, SIZE_MAX);
    enum err err = task_pairs_write((const double(*)[PREFERENCE_SIDES])r->log_p, r->count, &blob);
    if (err == ERR_OK)
        err = task_run_output(r->run, "reference", bytes_span(&blob), false, et);
    bytes_fini(&blob);
    return err;
}

enum err task_kind_reference(struct task_run *run, struct err_text *et)
{
    struct reference r = {.run = run};
    bool goes_on = task_run_input(run, "weights") != NULL;
    enum err err;
    TRY(task_session_open(run, goes_on, &r.session, et));
    if (goes_on) {
        TRY(task_session_load(run, r.session, et));
        TRY(task_session_quantize(r.session, 0, et));
    }
    TRY_OUT(find_range(&r, et));
    TRY_OUT(compute(&r, et));
    err = hand_in(&r, et);
out:
    mem_free(r.log_p);
    return err;
}
