/* results.c - outputs of a job to a folder. */
#include "cli/command/results.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command/run_log.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/arena.h"
#include "common/message/message_copy.h"
#include "common/recipe/recipe_variant.h"

enum { ARENA_BYTES_MAX = 64 << 20, LOG_BYTES_MAX = 256 << 20, JSON_BYTES_MAX = 1 << 16 };

/* Every request borrows the reply before it, so the list is copied first. */
enum err results_list(struct client *client, const char *job, struct arena *arena,
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

/* To where `writer` gathers it: complete, without its name. */
static enum err fetch(struct client *client, const struct artifact_ref *ref, const char *path,
                      struct file_writer *writer, struct err_text *et)
{
    TRY(file_writer_open(writer, path, et));
    enum err err = client_download(client, ref->digest, file_sink_writer, writer, et);
    if (err != ERR_OK)
        return error_prefix(et, err, "%s", path);
    return file_writer_settle(writer, et);
}

/* A result that the coordinator lost can be made again. */
static enum err fetch_or_advise(struct client *client, const struct job_row *row,
                                const struct artifact_ref *ref, const char *path,
                                struct file_writer *writer, struct err_text *et)
{
    enum err err = fetch(client, ref, path, writer, et);
    if (err != ERR_DIGEST && err != ERR_NOT_FOUND)
        return err;
    struct err_text cause = *et;
    return error_set(et, ERR_DIGEST,
                     "%s; the coordinator's copy is damaged or gone: `qctl retry %016" PRIx64
                     "` makes it again, to the same bytes",
                     cause.text, row->job);
}

bool results_take(struct artifact_ref *ref, struct text under)
{
    if (under.size == 0)
        return true;
    if (ref->name.size <= under.size + 1 || ref->name.data[under.size] != '/' ||
        memcmp(ref->name.data, under.data, under.size) != 0)
        return false;
    ref->name = (struct text){ref->name.data + under.size + 1, ref->name.size - under.size - 1};
    return true;
}

/* Files of a pull. They get their names together, when all of them are here: a folder never holds
 * some of one job's and some of another's, unless it is killed between two names. */
struct gathering {
    const char *folder;
    const char **paths;
    struct file_writer *writers; /* a row each */
    uint32_t count;
    bool made_folder;
};

static enum err begin_gathering(struct gathering *g, const char *folder, uint32_t capacity,
                                struct arena *arena)
{
    *g = (struct gathering){.folder = folder, .made_folder = !folder_exists(folder)};
    g->paths = arena_alloc(arena, MAX(capacity, 1u), sizeof *g->paths);
    g->writers = arena_alloc(arena, MAX(capacity, 1u), sizeof *g->writers);
    return g->paths != NULL && g->writers != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

/* What has no name yet, and folders that nothing is in. */
static void take_back(struct gathering *g, struct arena *arena)
{
    for (uint32_t i = g->count; i-- > 0;) {
        file_writer_abandon(&g->writers[i]);
        char *path = g->made_folder ? arena_copy_text(arena, text_of(g->paths[i])) : NULL;
        char *slash = path != NULL ? strrchr(path, '/') : NULL;
        for (; slash != NULL && slash > path + strlen(g->folder); slash = strrchr(path, '/')) {
            *slash = '\0';
            (void)rmdir(path);
        }
    }
    if (g->made_folder)
        (void)rmdir(g->folder);
}

static enum err gather(struct client *client, const struct msg_job *job, struct results_part *part,
                       struct gathering *g, struct arena *arena, struct err_text *et)
{
    for (uint32_t i = 0; i < job->outputs_count; i++) {
        struct artifact_ref ref = job->outputs[i];
        const char *path = NULL;
        if (!results_take(&ref, part->under))
            continue;
        if (g->count == 0)
            TRY(folder_create(g->folder, et));
        TRY(path_of(g->folder, ref.name, arena, &path, et));
        g->writers[g->count] = (struct file_writer){.fd = -1};
        g->paths[g->count++] = path;
        TRY(fetch_or_advise(client, &job->row, &ref, path, &g->writers[g->count - 1], et));
        part->count++;
        part->size_bytes += ref.size_bytes;
    }
    if (part->count == 0)
        return error_set(et, ERR_STATE, "job %.*s has no outputs%s%.*s; its state is %s",
                         TEXT_ARGS(job->row.name), part->under.size > 0 ? " of " : "",
                         TEXT_ARGS(part->under), state_job_word((enum job_state)job->row.state));
    return ERR_OK;
}

static enum err pull_listed(struct client *client, const struct msg_job *job,
                            struct results_part *part, const char *folder, struct arena *arena,
                            struct err_text *et)
{
    struct gathering g;
    TRY(begin_gathering(&g, folder, job->outputs_count, arena));
    enum err err = gather(client, job, part, &g, arena, et);
    for (uint32_t i = 0; i < g.count && err == ERR_OK; i++)
        err = file_writer_commit(&g.writers[i], et);
    if (err != ERR_OK)
        take_back(&g, arena);
    return err;
}

enum err results_pull(struct client *client, struct results_part *part, const char *folder,
                      struct err_text *et)
{
    struct arena arena;
    part->count = 0;
    part->size_bytes = 0;
    arena_init(&arena, ARENA_BYTES_MAX);
    struct msg_job *job = arena_alloc(&arena, 1, sizeof *job);
    enum err err =
        job != NULL ? results_list(client, part->job, &arena, job, et) : ERR_OUT_OF_MEMORY;
    if (err == ERR_OK)
        err = pull_listed(client, job, part, folder, &arena, et);
    arena_fini(&arena);
    return err;
}

enum err results_print(struct invocation *invocation, const struct results_part *part,
                       const char *folder, const char *also)
{
    struct json_write w;
    char size[HUMAN_BYTES];
    (void)fprintf(invocation->messages, "%u files, %s, in %s%s\n", part->count,
                  human_size(part->size_bytes, size), folder, also);
    if (!invocation->json)
        return ERR_OK;
    json_write_init(&w, JSON_WRITE_LINE, JSON_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "folder", text_of(folder));
    json_write_u64(&w, "files", part->count);
    json_write_u64(&w, "size_bytes", part->size_bytes);
    json_write_object_end(&w);
    return command_print_json(invocation, &w);
}

static enum err write_log(const struct follow *follow, uint32_t variant, const char *folder,
                          struct err_text *et)
{
    struct run_log log;
    struct bytes text;
    char path[LIMIT_PATH_BYTES];
    bytes_init(&text, LOG_BYTES_MAX);
    enum err err = run_log_init(follow, variant, &log);
    TRY_OUT(err);
    TRY_OUT(run_log_lines(&log, 0, &text));
    (void)snprintf(path, sizeof path, "%s/trainer_log.jsonl", folder);
    if (log.count > 0)
        err = file_write_atomic(path, bytes_span(&text), et);
out:
    run_log_fini(&log);
    bytes_fini(&text);
    return err;
}

static enum err write_events(const struct follow *follow, uint32_t variant, const char *folder,
                             struct err_text *et)
{
    char path[LIMIT_PATH_BYTES];
    struct run_log_file file;
    (void)snprintf(path, sizeof path, "%s/runs", folder);
    TRY(run_log_file_open(path, follow, variant, &file, et));
    run_log_file_close(&file);
    return ERR_OK;
}

enum err results_write_log(const struct follow *follow, const struct recipe *recipe,
                           const char *folder, struct err_text *et)
{
    char path[LIMIT_PATH_BYTES], name[RECIPE_VARIANT_NAME_BYTES];
    uint32_t count = recipe_variant_count(recipe);
    for (uint32_t v = 0; v < count; v++) {
        (void)snprintf(path, sizeof path, "%s%s%s", folder, count > 1 ? "/" : "",
                       recipe_variant_name(recipe, v, name));
        if (count > 1) /* one that was given up has its log alone */
            TRY(folder_create(path, et));
        TRY(write_log(follow, v, path, et));
        if (recipe->use_tensorboard && follow->point_count > 0)
            TRY(write_events(follow, v, folder, et));
    }
    return ERR_OK;
}
