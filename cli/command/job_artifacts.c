/* job_artifacts.c - pages of a listing, and one artifact in memory. */
#include "cli/command/job_artifacts.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/message/message_copy.h"

/* One page onto the end of the list; each reply is borrowed until the next request. */
static enum err add_page(const struct msg_artifacts *page, struct arena *arena,
                         struct job_artifacts *out)
{
    struct msg_artifacts copy;
    TRY(message_copy(&message_type_msg_artifacts, page, arena, &copy));
    struct artifact_row *rows = arena_alloc(arena, out->count + copy.artifacts_count, sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    if (out->count > 0)
        memcpy(rows, out->rows, out->count * sizeof *rows);
    if (copy.artifacts_count > 0)
        memcpy(rows + out->count, copy.artifacts, copy.artifacts_count * sizeof *rows);
    out->rows = rows;
    out->count += copy.artifacts_count;
    out->job = copy.job;
    return ERR_OK;
}

enum err job_artifacts_list(struct client *client, const char *prefix, const char *name,
                            struct arena *arena, struct job_artifacts *out, struct err_text *et)
{
    uint64_t total = 0;
    *out = (struct job_artifacts){0};
    do {
        struct msg_artifacts_get get = {
            .prefix = text_of(prefix), .name = text_of(name), .after = out->count};
        const union message_any *reply = NULL;
        TRY(client_request(client, &message_type_msg_artifacts_get, &get,
                           &message_type_msg_artifacts, &reply, et));
        if (reply->artifacts.artifacts_count == 0 && reply->artifacts.total > out->count)
            return error_set(et, ERR_PROTOCOL, "the list of artifacts ends too early");
        total = reply->artifacts.total;
        TRY(add_page(&reply->artifacts, arena, out));
    } while (out->count < total);
    return ERR_OK;
}

enum err job_artifacts_fetch(struct client *client, const struct job_artifacts *list, size_t index,
                             struct bytes *out, struct err_text *et)
{
    const struct artifact_ref *ref = &list->rows[index].ref;
    bytes_clear(out);
    enum err err = client_download(client, ref->digest, file_sink_bytes, out, et);
    if (err == ERR_OK)
        err = bytes_status(out);
    if (err != ERR_DIGEST && err != ERR_NOT_FOUND)
        return err;
    struct err_text cause = *et;
    return error_set(et, err,
                     "%.*s: %s; the coordinator's copy is damaged or gone: `qctl retry %016" PRIx64
                     "` makes it again",
                     TEXT_ARGS(ref->name), cause.text, list->job);
}
