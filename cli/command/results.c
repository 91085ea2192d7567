/* results.c - outputs of a job to a folder. */
#include "cli/command/results.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/trainer_log.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/arena.h"
#include "common/mem/mem.h"
#include "common/message/message_copy.h"
#include "common/recipe/recipe_variant.h"

enum { ARENA_BYTES_MAX = 64 << 20, LOG_BYTES_MAX = 256 << 20 };

/* Every request borrows the reply before it, so the list is copied first. */
static enum err list_outputs(struct client *client, const char *job, struct arena *arena,
                             struct msg_job *out, struct err_text *et)
{
    struct msg_job_get get = {.prefix = text_of(job), .points_after = UINT64_MAX};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    return message_copy(&message_type_msg_job, &reply->job, arena, out);
}

/* The folder of an output below `folder`, which is made, and its file. A name that leaves the
 * folder is refused. */
static enum err path_of(const char *folder, struct text output, struct arena *arena,
                        const char **path, struct err_text *et)
{
    for (struct text rest = output;;) {
        const char *slash = rest.size > 0 ? memchr(rest.data, '/', rest.size) : NULL;
        struct text part = {rest.data, slash != NULL ? (size_t)(slash - rest.data) : rest.size};
        if (!folder_name_is_plain(part))
            return error_set(et, ERR_PROTOCOL, "the coordinator names an output \"%.*s\"",
                             TEXT_ARGS(output));
        const char *name = arena_copy_text(arena, part);
        folder = name != NULL ? folder_join(arena, folder, name) : NULL;
        if (folder == NULL)
            return ERR_OUT_OF_MEMORY;
        if (slash == NULL)
            break;
        TRY(folder_create(folder, et));
        rest = (struct text){slash + 1, rest.size - part.size - 1};
    }
    *path = folder;
    return ERR_OK;
}

static enum err fetch(struct client *client, const struct artifact_ref *ref, const char *folder,
                      struct arena *arena, struct err_text *et)
{
    const char *path = NULL;
    TRY(path_of(folder, ref->name, arena, &path, et));
    struct file_writer writer = {.fd = -1};
    TRY(file_writer_open(&writer, path, et));
    enum err err = client_download(client, ref->digest, file_sink_writer, &writer, et);
    if (err != ERR_OK) {
        file_writer_abandon(&writer);
        return error_prefix(et, err, "%s", path);
    }
    return file_writer_commit(&writer, et);
}

/* A result that the coordinator lost can be made again. */
static enum err fetch_or_advise(struct client *client, const struct job_row *row,
                                const struct artifact_ref *ref, const char *folder,
                                struct arena *arena, struct err_text *et)
{
    enum err err = fetch(client, ref, folder, arena, et);
    if (err != ERR_DIGEST && err != ERR_NOT_FOUND)
        return err;
    struct err_text cause = *et;
    return error_set(et, ERR_DIGEST,
                     "%s; the coordinator's copy is damaged or gone: `qctl retry %016" PRIx64
                     "` makes it again, to the same bytes",
                     cause.text, row->job);
}

enum err results_pull(struct client *client, const char *job, const char *folder, uint32_t *count,
                      uint64_t *size_bytes, struct err_text *et)
{
    struct arena arena;
    struct msg_job *reply = NULL;
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    reply = arena_alloc(&arena, 1, sizeof *reply);
    TRY_OUT(reply != NULL ? ERR_OK : ERR_OUT_OF_MEMORY);
    TRY_OUT(list_outputs(client, job, &arena, reply, et));
    if (reply->outputs_count == 0) {
        err =
            error_set(et, ERR_STATE, "job %.*s has no outputs; its state is %s",
                      TEXT_ARGS(reply->row.name), state_job_word((enum job_state)reply->row.state));
        goto out;
    }
    TRY_OUT(folder_create(folder, et));
    *size_bytes = 0;
    for (uint32_t i = 0; i < reply->outputs_count; i++) {
        TRY_OUT(fetch_or_advise(client, &reply->row, &reply->outputs[i], folder, &arena, et));
        *size_bytes += reply->outputs[i].size_bytes;
    }
    *count = reply->outputs_count;
out:
    arena_fini(&arena);
    return err;
}

/* Points with their timings; time left is guessed from the pace so far. */
static void fill_points(const struct follow *follow, uint64_t steps_total,
                        struct trainer_log_point *out)
{
    uint64_t start = follow->point_count > 0 ? follow->points[0].unix_ms : 0;
    if (follow->started_unix_ms != 0 && follow->started_unix_ms < start)
        start = follow->started_unix_ms;
    const struct log_point *before = NULL;
    for (size_t i = 0; i < follow->point_count; i++) {
        const struct log_point *point = &follow->points[i];
        uint64_t elapsed_ms = point->unix_ms - MIN(point->unix_ms, start);
        out[i] = (struct trainer_log_point){
            .step = point->step,
            .epoch = point->epoch,
            .is_eval = point->is_eval,
            .loss = point->loss,
            .grad_norm = point->grad_norm,
            .learning_rate = point->learning_rate,
            .pairs = point->pairs,
            .reward_chosen = point->reward_chosen,
            .reward_rejected = point->reward_rejected,
            .accuracy = point->accuracy,
            .tokens = point->tokens,
            .elapsed_ms = elapsed_ms,
        };
        if (point->step > 0 && steps_total > point->step)
            out[i].remaining_ms = elapsed_ms * (steps_total - point->step) / point->step;
        if (point->is_eval)
            continue;
        if (before != NULL && point->unix_ms > before->unix_ms && point->tokens > before->tokens)
            out[i].tokens_per_second = (double)(point->tokens - before->tokens) * 1000 /
                                       (double)(point->unix_ms - before->unix_ms);
        before = point;
    }
}

static enum err write_log(const struct follow *follow, const struct recipe *recipe,
                          const char *folder, struct err_text *et)
{
    uint64_t steps = 0;
    for (size_t i = 0; i < follow->point_count; i++)
        steps = MAX(steps, follow->points[i].step);
    if (follow->point_count == 0)
        return ERR_OK;
    struct bytes text;
    char path[LIMIT_PATH_BYTES];
    bytes_init(&text, LOG_BYTES_MAX);
    enum err err;
    struct trainer_log_point *points = mem_alloc(follow->point_count, sizeof *points);
    TRY_OUT(points != NULL ? ERR_OK : ERR_OUT_OF_MEMORY);
    fill_points(follow, steps, points);
    const struct trainer_log log = {
        .points = points,
        .count = follow->point_count,
        .steps_done = steps,
        .steps_total = steps,
        .epochs_total = recipe->num_epochs,
        .batch_size = (uint32_t)recipe_round_rows(recipe),
        .logging_steps = recipe->logging_steps,
        .eval_steps = recipe->eval_steps,
        .save_steps = recipe->save_steps,
    };
    TRY_OUT(trainer_log_print_lines(&log, &text));
    (void)snprintf(path, sizeof path, "%s/trainer_log.jsonl", folder);
    TRY_OUT(file_write_atomic(path, bytes_span(&text), et));
out:
    mem_free(points);
    bytes_fini(&text);
    return err;
}

/* The points of one variant, to the folder of its name. */
static enum err write_variant_log(const struct follow *follow, uint32_t variant,
                                  const struct recipe *recipe, const char *folder,
                                  struct err_text *et)
{
    char path[LIMIT_PATH_BYTES], name[RECIPE_VARIANT_NAME_BYTES];
    struct follow alone = *follow;
    alone.point_count = 0;
    alone.points = mem_alloc(follow->point_count, sizeof *alone.points);
    if (alone.points == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < follow->point_count; i++) {
        if (follow->points[i].variant == variant)
            alone.points[alone.point_count++] = follow->points[i];
    }
    (void)snprintf(path, sizeof path, "%s/%s", folder, recipe_variant_name(recipe, variant, name));
    enum err err = folder_create(path, et); /* one that was given up has its log alone */
    if (err == ERR_OK)
        err = write_log(&alone, recipe, path, et);
    mem_free(alone.points);
    return err;
}

enum err results_write_log(const struct follow *follow, const struct recipe *recipe,
                           const char *folder, struct err_text *et)
{
    uint32_t count = recipe_variant_count(recipe);
    if (count == 1)
        return write_log(follow, recipe, folder, et);
    for (uint32_t v = 0; v < count; v++)
        TRY(write_variant_log(follow, v, recipe, folder, et));
    return ERR_OK;
}
