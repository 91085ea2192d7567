/* cmd_export.c - `qctl export`: the result of a job as a folder that a hub takes as it is. */
#include <stdio.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/command/export_folder.h"
#include "cli/command/publishing.h"
#include "cli/command/results.h"
#include "common/base/check.h"
#include "common/formats/source/folder.h"

enum { EXPORT_WAIT_MS = 60000, ARENA_BYTES_MAX = 64 << 20 };

/* Which variant is meant, by its name; one has to be, where there are several. */
static enum err choose_variant(const struct invocation *invocation, const struct msg_job *job,
                               uint32_t *out, struct err_text *et)
{
    const char *asked = command_text(invocation, "variant");
    const struct job_row *row = &job->row;
    *out = 0;
    if (row->variants_count == 0 && asked == NULL)
        return ERR_OK;
    if (row->variants_count == 0)
        return error_set(et, ERR_USAGE, "job %.*s has no variants", TEXT_ARGS(row->name));
    for (uint32_t v = 0; asked != NULL && v < row->variants_count; v++)
        if (text_is(row->variants[v].name, asked)) {
            *out = v;
            return ERR_OK;
        }
    const struct variant_row *first = &row->variants[0];
    for (uint32_t v = 0; v < row->variants_count; v++)
        first = row->variants[v].is_best ? &row->variants[v] : first;
    return error_set(et, ERR_USAGE, "job %.*s has %u variants%s%s: say which with --variant %.*s",
                     TEXT_ARGS(row->name), row->variants_count,
                     asked != NULL ? ", none called " : "", asked != NULL ? asked : "",
                     TEXT_ARGS(first->name));
}

static enum err publish(struct invocation *invocation, struct client *client, struct arena *arena,
                        struct err_text *et)
{
    struct results_part part = {.job = invocation->arguments[0]};
    struct msg_job *job = arena_alloc(arena, 1, sizeof *job);
    struct publishing publishing = {.job = job, .folder = invocation->arguments[1]};
    TRY(job != NULL ? ERR_OK : ERR_OUT_OF_MEMORY);
    TRY(results_list(client, part.job, arena, job, et));
    TRY(choose_variant(invocation, job, &publishing.variant, et));
    if (job->row.variants_count > 0)
        part.under = job->row.variants[publishing.variant].name;
    TRY(export_folder_check(job, part.under, publishing.folder, et));
    bool makes_folder = !folder_exists(publishing.folder);
    TRY(results_pull(client, &part, publishing.folder, et));
    publishing.words = (struct publishing_words){
        .name = command_text(invocation, "name"),
        .base_model = command_text(invocation, "base-model"),
        .license = command_text(invocation, "license"),
    };
    enum err err = publishing_write(&publishing, invocation->messages, et);
    if (err != ERR_OK && makes_folder)
        export_folder_take_back(job, part.under, publishing.folder);
    TRY(err);
    return results_print(invocation, &part, publishing.folder, ", with README.md and recipe.yml");
}

enum err cmd_export(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct arena arena;
    TRY(command_connect(invocation, &client, et));
    client_set_wait(client, EXPORT_WAIT_MS);
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err = publish(invocation, client, &arena, et);
    arena_fini(&arena);
    client_close(&client);
    return err;
}
