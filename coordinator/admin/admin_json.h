/* admin_json.h - what the page asks for: a path and its arguments to JSON, the same that qctl
 * prints with `-o json`.
 *
 *   jobs                   as `qctl jobs`: newest first; `limit`
 *   jobs/JOB               as `qctl show JOB`: with the points after the first `after`; `variant`
 *   jobs/JOB/checkpoints   as `qctl ckpt log JOB`
 *   workers                as `qctl workers`
 *
 * What the loop adds: `providers`, jobs/JOB/events, jobs/JOB/explain.
 *
 * JOB is an id, a prefix of one, a name or `last`. Refuses to know: HTTP, who asks, the store.
 */
#ifndef COORDINATOR_ADMIN_ADMIN_JSON_H
#define COORDINATOR_ADMIN_ADMIN_JSON_H

#include "coordinator/admin/admin.h"

struct admin_json_request {
    struct text path;
    uint64_t after; /* log points */
    uint32_t variant;
    uint32_t limit;
};

/* Appends the JSON to `out`. ERR_NOT_FOUND, ERR_AMBIGUOUS with text; ERR_LIMIT,
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err admin_json(const struct sched *sched, const struct admin_json_request *request,
                               struct instant now, struct arena *arena, struct bytes *out,
                               struct err_text *et);

/* Whether `path` is jobs/JOB/`part`; *job is then what names the job. */
bool admin_json_is_part(struct text path, const char *part, struct text *job);

/* Appends one structure, or a list of them. ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err admin_json_object(const struct message_type *type, const void *value,
                                      struct bytes *out);
MUST_CHECK enum err admin_json_list(const struct message_type *type, const void *rows, size_t count,
                                    struct bytes *out);

#endif
