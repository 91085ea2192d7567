/* submission.c - recipe file to job id. */
#include "cli/command/submission.h"

#include <stdio.h>
#include <string.h>

#include "cli/client/freeze.h"
#include "cli/command/base_model.h"
#include "cli/command/data_set.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/formats/source/file.h"
#include "common/formats/source/source.h"

enum { ARENA_BYTES_MAX = 64 << 20, SETS_MAX = 64, ROUNDS_MAX = 3 };

static void print_notices(const struct recipe *recipe, const struct invocation *invocation)
{
    const struct style *style = &invocation->message_style;
    for (size_t i = 0; i < recipe->notice_count; i++)
        (void)fprintf(invocation->messages, "%s%s: %s%s\n", style_on(style, STYLE_DIM),
                      recipe->file_name, recipe->notices[i], style_off(style, STYLE_DIM));
}

/* "examples/tiny.yml" names the job tiny. */
static const char *name_of(struct submission *submission)
{
    if (submission->recipe.name != NULL)
        return submission->recipe.name;
    const char *path = submission->recipe.file_name;
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t size = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    return arena_copy_text(&submission->arena, (struct text){base, size});
}

enum err submission_read(struct submission *submission, struct invocation *invocation,
                         struct err_text *et)
{
    const char *path = invocation->arguments[0];
    const char *sets[SETS_MAX];
    struct bytes text;
    *submission = (struct submission){0};
    arena_init(&submission->arena, ARENA_BYTES_MAX);
    bytes_init(&submission->text, LIMIT_RECIPE_BYTES);
    bytes_init(&text, LIMIT_RECIPE_BYTES + 1);
    const struct recipe_options options = {
        .file_name = path,
        .sets = sets,
        .set_count = command_texts(invocation, "set", sets, SETS_MAX),
    };
    enum err err;
    TRY_OUT(file_read(path, LIMIT_RECIPE_BYTES, &text, et));
    TRY_OUT(recipe_read(bytes_span(&text), &options, &submission->recipe, et));
    print_notices(&submission->recipe, invocation);
    recipe_write(&submission->recipe, &submission->text);
    TRY_OUT(bytes_status(&submission->text));
    submission->name = name_of(submission);
    err = submission->name != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
out:
    bytes_fini(&text);
    if (err != ERR_OK)
        submission_fini(submission);
    return err;
}

enum err submission_init(struct submission *submission, struct invocation *invocation,
                         struct err_text *et)
{
    TRY(submission_read(submission, invocation, et));
    enum err err = freeze_inputs(&submission->recipe, &submission->arena, &submission->refs,
                                 &submission->ref_count, et);
    if (err == ERR_OK)
        err = base_model_check(&submission->recipe, &submission->arena, et);
    if (err == ERR_OK)
        err = stage_memory_plan(&submission->recipe, &submission->arena, &submission->memory, et);
    if (err == ERR_OK)
        err = data_set_check(&submission->recipe, &submission->arena, et);
    if (err != ERR_OK) {
        submission_fini(submission);
        return err;
    }
    submission->request =
        freeze_request(bytes_span(&submission->text), submission->refs, submission->ref_count);
    return ERR_OK;
}

void submission_fini(struct submission *submission)
{
    recipe_fini(&submission->recipe);
    arena_fini(&submission->arena);
    bytes_fini(&submission->text);
}

static enum err upload(const struct submission *submission, struct client *client,
                       const struct artifact_ref *missing, struct err_text *et)
{
    for (uint32_t i = 0; i < submission->ref_count; i++) {
        const struct artifact_ref *ref = &submission->refs[i];
        if (!digest_equal(ref->digest, missing->digest))
            continue;
        struct source source;
        TRY(source_open(&source, ref->path.data, et));
        enum err err = client_upload(client, ref->digest, source.bytes, et);
        source_close(&source);
        return err;
    }
    return error_set(et, ERR_PROTOCOL, "the coordinator asks for a file this job does not have");
}

enum err submission_send(const struct submission *submission, struct client *client,
                         uint64_t request, uint64_t *job, struct err_text *et)
{
    struct stage_memory_plan memory = submission->memory;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        struct msg_submit submit = {
            .request = request,
            .name = text_of(submission->name),
            .recipe = bytes_span(&submission->text),
            .inputs = submission->refs,
            .inputs_count = submission->ref_count,
            .memory = memory.rows,
            .memory_count = memory.count,
        };
        const union message_any *reply = NULL;
        TRY(client_request(client, &message_type_msg_submit, &submit, &message_type_msg_submitted,
                           &reply, et));
        if (reply->submitted.job != 0) {
            *job = reply->submitted.job;
            return ERR_OK;
        }
        /* Uploads use another socket, so the list stays as it is. */
        for (uint32_t i = 0; i < reply->submitted.missing_count; i++)
            TRY(upload(submission, client, &reply->submitted.missing[i], et));
    }
    return error_set(et, ERR_NOT_FOUND, "the coordinator still misses files after they were sent");
}
