/* admin_explain.c - the reply to a request for reasons. */
#include "common/base/check.h"
#include "coordinator/admin/admin.h"

/* Of one reply: rows are short, texts of tables. */
enum { EXPLAIN_BYTES_MAX = LIMIT_FRAME_BYTES - (64 << 10), EXPLAIN_ROW_BYTES = 64 };

static bool has_stage(const struct rec_job_submitted *job, struct text name)
{
    for (uint32_t i = 0; i < job->stages_count; i++) {
        if (text_equal(job->stages[i].name, name))
            return true;
    }
    return false;
}

static bool is_over(const struct sched *sched, size_t index)
{
    struct job_row row;
    sched_job_row(sched, index, &row);
    return state_job_is_terminal((enum job_state)row.state);
}

/* As many rows as fit a frame. */
static uint32_t cut(const struct explain_row *rows, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += EXPLAIN_ROW_BYTES + rows[i].name.size + rows[i].stage.size + rows[i].detail.size +
                rows[i].advice.size;
        if (size > EXPLAIN_BYTES_MAX)
            return (uint32_t)i;
    }
    return (uint32_t)count;
}

enum err admin_explain(const struct sched *sched, const struct msg_explain_get *request,
                       const struct sched_explain_view *view, struct arena *arena,
                       struct msg_explain *reply, struct err_text *et)
{
    size_t first = 0, end = sched_job_count(sched), count = 0;
    if (request->prefix.size > 0) {
        TRY(admin_find(sched, request->prefix, &first, et));
        end = first + 1;
        if (request->stage.size > 0 &&
            !has_stage(sched_job_submitted(sched, first), request->stage))
            return error_set(et, ERR_NOT_FOUND, "%.*s has no stage %.*s; `qctl graph` lists them",
                             TEXT_ARGS(request->prefix), TEXT_ARGS(request->stage));
    }
    struct explain_row *rows = arena_alloc(arena, LIMIT_LIST_ROWS, sizeof *rows);
    if (rows == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "out of memory");
    for (size_t i = first; i < end; i++) {
        if (request->prefix.size == 0 && is_over(sched, i))
            continue;
        count +=
            sched_explain(sched, i, request->stage, view, rows + count, LIMIT_LIST_ROWS - count);
    }
    *reply = (struct msg_explain){
        .ticket = request->ticket, .rows = rows, .rows_count = cut(rows, count)};
    return ERR_OK;
}
