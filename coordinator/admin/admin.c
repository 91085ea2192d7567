/* admin.c - see admin.h. */
#include "coordinator/admin/admin.h"

#include <string.h>

#include "common/base/check.h"
#include "coordinator/sched/sched_history.h"

/* Rows of one reply: what leaves room for the head of a frame. */
enum { REPLY_BYTES_MAX = LIMIT_FRAME_BYTES - (64 << 10), ROW_BYTES = 160 };

enum err admin_find(const struct sched *sched, struct text prefix, size_t *index,
                    struct err_text *et)
{
    enum err err = sched_job_find(sched, prefix, index);
    if (err == ERR_NOT_FOUND)
        return error_set(et, err, "no job is named %.*s; `qctl jobs` lists them",
                         TEXT_ARGS(prefix));
    if (err == ERR_AMBIGUOUS)
        return error_set(et, err, "%.*s names more than one job; give more of the id",
                         TEXT_ARGS(prefix));
    return err;
}

static size_t job_row_bytes(const struct job_row *row)
{
    size_t size = ROW_BYTES + row->name.size + row->owner.size + row->stage.size + row->detail.size;
    for (uint32_t i = 0; i < row->variants_count; i++)
        size += ROW_BYTES + row->variants[i].name.size + row->variants[i].stage.size +
                row->variants[i].detail.size;
    return size;
}

enum err admin_jobs(const struct sched *sched, const struct msg_jobs_get *request,
                    struct arena *arena, struct msg_jobs *reply, struct err_text *et)
{
    size_t first = 0;
    size_t end = sched_job_count(sched);
    if (request->prefix.size > 0) {
        TRY(admin_find(sched, request->prefix, &first, et));
        end = first + 1;
    }
    size_t capacity = MIN(end - first, (size_t)LIMIT_LIST_ROWS);
    if (request->limit > 0)
        capacity = MIN(capacity, (size_t)request->limit);
    struct job_row *rows = arena_alloc(arena, capacity, sizeof *rows);
    if (rows == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "out of memory");
    uint32_t count = 0;
    size_t size = 0;
    for (size_t i = end; i > first && count < capacity; i--) {
        sched_job_row(sched, i - 1, &rows[count]);
        if (request->active_only && state_job_is_terminal((enum job_state)rows[count].state))
            continue;
        size += job_row_bytes(&rows[count]);
        if (size > REPLY_BYTES_MAX)
            break;
        count++;
    }
    *reply = (struct msg_jobs){.ticket = request->ticket, .jobs = rows, .jobs_count = count};
    return ERR_OK;
}

/* Log points after the first `after`, at most as many as a reply takes. */
static enum err copy_points(const struct sched *sched, size_t index,
                            const struct msg_job_get *request, struct arena *arena,
                            struct msg_job *reply)
{
    uint32_t variant = request->variant == 0 ? SCHED_ALL : request->variant - 1;
    uint64_t total, after = request->points_after;
    (void)sched_job_points(sched, index, variant, after, NULL, 0, &total);
    size_t wanted = (size_t)MIN(total - MIN(after, total), (uint64_t)LIMIT_METRIC_POINTS);
    reply->points = arena_alloc(arena, wanted, sizeof *reply->points);
    if (reply->points == NULL)
        return ERR_OUT_OF_MEMORY;
    reply->points_count = (uint32_t)sched_job_points(sched, index, variant, after, reply->points,
                                                     wanted, &reply->point_count);
    return ERR_OK;
}

static enum err copy_refs(const struct artifact_ref *refs, uint32_t count, struct arena *arena,
                          struct artifact_ref **out)
{
    *out = arena_alloc(arena, count, sizeof **out);
    if (*out == NULL)
        return ERR_OUT_OF_MEMORY;
    if (count > 0)
        memcpy(*out, refs, count * sizeof *refs);
    return ERR_OK;
}

static enum err copy_facts(const struct sched *sched, size_t index, struct arena *arena,
                           struct msg_job *reply)
{
    const struct fact *facts = sched_job_facts(sched, index, &reply->facts_count);
    reply->facts = arena_alloc(arena, reply->facts_count, sizeof *reply->facts);
    if (reply->facts == NULL)
        return ERR_OUT_OF_MEMORY;
    if (reply->facts_count > 0)
        memcpy(reply->facts, facts, reply->facts_count * sizeof *facts);
    return ERR_OK;
}

enum err admin_job(const struct sched *sched, const struct msg_job_get *request, struct instant now,
                   struct arena *arena, struct msg_job *reply, struct err_text *et)
{
    size_t index;
    TRY(admin_find(sched, request->prefix, &index, et));
    *reply = (struct msg_job){.ticket = request->ticket};
    sched_job_row(sched, index, &reply->row);
    reply->stages = arena_alloc(arena, LIMIT_JOB_STAGES, sizeof *reply->stages);
    if (reply->stages == NULL)
        return ERR_OUT_OF_MEMORY;
    reply->stages_count =
        (uint32_t)sched_job_stages(sched, index, now, reply->stages, LIMIT_JOB_STAGES);
    const struct rec_job_submitted *submitted = sched_job_submitted(sched, index);
    TRY(copy_refs(submitted->inputs, submitted->inputs_count, arena, &reply->inputs));
    reply->inputs_count = submitted->inputs_count;
    reply->recipe = submitted->recipe;
    reply->answer = sched_history_answer(sched, index);
    reply->start = submitted->start.digest;
    const struct artifact_ref *outputs = sched_job_outputs(sched, index, &reply->outputs_count);
    TRY(copy_refs(outputs, reply->outputs_count, arena, &reply->outputs));
    TRY(copy_facts(sched, index, arena, reply));
    return copy_points(sched, index, request, arena, reply);
}

enum err admin_workers(const struct sched *sched, const struct msg_workers_get *request,
                       struct instant now, struct arena *arena, struct msg_workers *reply)
{
    struct worker_row *rows = arena_alloc(arena, LIMIT_WORKERS, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    size_t count = sched_worker_rows(sched, now, rows, LIMIT_WORKERS);
    *reply = (struct msg_workers){
        .ticket = request->ticket, .workers = rows, .workers_count = (uint32_t)count};
    return ERR_OK;
}

static bool digest_has_prefix(struct digest digest, struct text prefix)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(digest, hex);
    return prefix.size < sizeof hex && memcmp(hex, prefix.data, prefix.size) == 0;
}

/* Checkpoints of all jobs whose digest has the prefix; `rows` has room for LIMIT_LIST_ROWS. */
static uint32_t find_checkpoints(const struct sched *sched, struct text prefix,
                                 struct checkpoint_row *rows)
{
    uint32_t found = 0;
    for (size_t i = sched_job_count(sched); i > 0; i--) {
        size_t count;
        const struct checkpoint_row *all = sched_job_checkpoints(sched, i - 1, &count);
        for (size_t j = count; j > 0 && found < LIMIT_LIST_ROWS; j--)
            if (digest_has_prefix(all[j - 1].digest, prefix))
                rows[found++] = all[j - 1];
    }
    return found;
}

enum err admin_checkpoints(const struct sched *sched, const struct msg_checkpoints_get *request,
                           struct arena *arena, struct msg_checkpoints *reply, struct err_text *et)
{
    struct checkpoint_row *rows = arena_alloc(arena, LIMIT_LIST_ROWS, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    uint32_t found = 0;
    size_t index;
    enum err err = admin_find(sched, request->prefix, &index, et);
    if (err == ERR_OK) {
        size_t count;
        const struct checkpoint_row *all = sched_job_checkpoints(sched, index, &count);
        for (size_t j = count; j > 0 && found < LIMIT_LIST_ROWS; j--)
            rows[found++] = all[j - 1];
    } else if (err == ERR_NOT_FOUND && request->prefix.size >= 4) {
        found = find_checkpoints(sched, request->prefix, rows);
        err = found > 0 ? ERR_OK
                        : error_set(et, err,
                                    "no job or checkpoint is named %.*s; `qctl jobs` and "
                                    "`qctl ckpt log JOB` list them",
                                    TEXT_ARGS(request->prefix));
    }
    *reply = (struct msg_checkpoints){
        .ticket = request->ticket, .checkpoints = rows, .checkpoints_count = found};
    return err;
}

enum err admin_artifacts(const struct sched *sched, const struct msg_artifacts_get *request,
                         struct arena *arena, struct msg_artifacts *reply, struct err_text *et)
{
    struct artifact_row *rows = arena_alloc(arena, LIMIT_LIST_ROWS, sizeof *rows);
    size_t index, size = 0;
    uint32_t count = 0;
    if (rows == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "out of memory");
    TRY(admin_find(sched, request->prefix, &index, et));
    *reply = (struct msg_artifacts){.ticket = request->ticket,
                                    .job = sched_job_submitted(sched, index)->job,
                                    .artifacts = rows};
    size_t found = sched_job_artifacts(sched, index, request->name, request->after, rows,
                                       LIMIT_LIST_ROWS, &reply->total);
    while (count < found) {
        size += ROW_BYTES + rows[count].ref.name.size + rows[count].ref.path.size;
        if (size > REPLY_BYTES_MAX)
            break;
        count++;
    }
    reply->artifacts_count = count;
    return ERR_OK;
}
