/* admin_json.c - see admin_json.h. */
#include "coordinator/admin/admin_json.h"

#include <string.h>

#include "common/base/check.h"
#include "common/view/json_view.h"

enum { JSON_BYTES_MAX = 32 << 20 };

enum err admin_json_list(const struct message_type *type, const void *rows, size_t count,
                         struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_COMPACT, JSON_BYTES_MAX);
    json_view_list(&w, NULL, type, rows, count);
    return json_write_close(&w, out);
}

enum err admin_json_object(const struct message_type *type, const void *value, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_COMPACT, JSON_BYTES_MAX);
    json_view_object(&w, NULL, type, value);
    return json_write_close(&w, out);
}

static enum err write_jobs(const struct sched *sched, const struct admin_json_request *request,
                           struct arena *arena, struct bytes *out, struct err_text *et)
{
    struct msg_jobs_get get = {.limit = request->limit};
    struct msg_jobs reply;
    TRY(admin_jobs(sched, &get, arena, &reply, et));
    return admin_json_list(&message_type_job_row, reply.jobs, reply.jobs_count, out);
}

static enum err write_job(const struct sched *sched, const struct admin_json_request *request,
                          struct text prefix, struct instant now, struct arena *arena,
                          struct bytes *out, struct err_text *et)
{
    struct msg_job_get get = {
        .prefix = prefix, .points_after = request->after, .variant = request->variant};
    struct msg_job reply;
    TRY(admin_job(sched, &get, now, arena, &reply, et));
    return admin_json_object(&message_type_msg_job, &reply, out);
}

static enum err write_checkpoints(const struct sched *sched, struct text prefix,
                                  struct arena *arena, struct bytes *out, struct err_text *et)
{
    struct msg_checkpoints_get get = {.prefix = prefix};
    struct msg_checkpoints reply;
    TRY(admin_checkpoints(sched, &get, arena, &reply, et));
    return admin_json_list(&message_type_checkpoint_row, reply.checkpoints, reply.checkpoints_count,
                           out);
}

static enum err write_workers(const struct sched *sched, struct instant now, struct arena *arena,
                              struct bytes *out)
{
    struct msg_workers_get get = {0};
    struct msg_workers reply;
    TRY(admin_workers(sched, &get, now, arena, &reply));
    return admin_json_list(&message_type_worker_row, reply.workers, reply.workers_count, out);
}

static bool take_prefix(struct text *path, const char *prefix)
{
    size_t size = strlen(prefix);
    if (path->size < size || memcmp(path->data, prefix, size) != 0)
        return false;
    *path = (struct text){path->data + size, path->size - size};
    return true;
}

bool admin_json_is_part(struct text path, const char *part, struct text *job)
{
    size_t size = strlen(part);
    if (!take_prefix(&path, "jobs/") || path.size < size + 2 ||
        path.data[path.size - size - 1] != '/' ||
        memcmp(path.data + path.size - size, part, size) != 0)
        return false;
    *job = (struct text){path.data, MIN(path.size - size - 1, (size_t)LIMIT_NAME_BYTES)};
    return true;
}

enum err admin_json(const struct sched *sched, const struct admin_json_request *request,
                    struct instant now, struct arena *arena, struct bytes *out, struct err_text *et)
{
    struct text path = request->path, job;
    if (text_is(path, "jobs"))
        return write_jobs(sched, request, arena, out, et);
    if (text_is(path, "workers"))
        return write_workers(sched, now, arena, out);
    if (admin_json_is_part(path, "checkpoints", &job))
        return write_checkpoints(sched, job, arena, out, et);
    if (take_prefix(&path, "jobs/") && path.size > 0 && path.size <= LIMIT_NAME_BYTES)
        return write_job(sched, request, path, now, arena, out, et);
    return error_set(et, ERR_NOT_FOUND, "there is no %.*s here", TEXT_ARGS(request->path));
}
