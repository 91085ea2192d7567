/* cmd_submit.c - `qctl submit`: a recipe to a coordinator; with --dry-run what it would be. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/command/cmd.h"
#include "cli/command/follow.h"
#include "cli/command/submission.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/message/state.h"
#include "common/transport/transport.h"

enum { SUBMIT_WAIT_MS = 600000, POLL_MS = 500 };

/* Every value with where it comes from; the files are looked for too. */
static enum err dry_run(struct invocation *invocation, const struct submission *submission)
{
    struct bytes text;
    char size[HUMAN_BYTES];
    bytes_init(&text, 4 << 20);
    recipe_write_origins(&submission->recipe, &text);
    enum err err = bytes_status(&text);
    if (err == ERR_OK)
        (void)fprintf(invocation->out, "%.*s", (int)text.size, (const char *)text.data);
    for (uint32_t i = 0; err == ERR_OK && i < submission->ref_count; i++) {
        const struct artifact_ref *ref = &submission->refs[i];
        (void)fprintf(invocation->messages, "%-32.*s %6s  %.*s\n", TEXT_ARGS(ref->name),
                      human_size(ref->size_bytes, size), TEXT_ARGS(ref->path));
    }
    bytes_fini(&text);
    return err;
}

/* What the stages need; and who has it, when a coordinator can be asked. */
static enum err print_memory(struct invocation *invocation, struct submission *submission,
                             struct err_text *et)
{
    char size[HUMAN_BYTES];
    struct client *client = NULL;
    struct client_config config;
    TRY(command_coordinator(invocation, &submission->arena, &config, et));
    if (config.coordinator != NULL) {
        TRY(command_connect(invocation, &client, et));
        enum err err =
            stage_memory_check(&submission->memory, &submission->recipe, client,
                               invocation->messages, invocation->messages, &submission->arena, et);
        client_close(&client);
        if (err != ERR_UNREACHABLE)
            return err;
    }
    for (uint32_t i = 0; i < submission->memory.count; i++) {
        const struct stage_memory *row = &submission->memory.rows[i];
        (void)fprintf(invocation->messages, "%-12s %6s of a worker's memory\n",
                      state_kind_word((enum stage_kind)row->kind),
                      human_size(row->memory_bytes, size));
    }
    return ERR_OK;
}

static enum err print_job(struct invocation *invocation, uint64_t job)
{
    if (!invocation->json) {
        (void)fprintf(invocation->out, "%016" PRIx64 "\n", job);
        return ERR_OK;
    }
    char id[17];
    (void)snprintf(id, sizeof id, "%016" PRIx64, job);
    struct json_write w;
    json_write_init(&w, JSON_WRITE_LINE, 4096);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "job", text_of(id));
    json_write_object_end(&w);
    return command_print_json(invocation, &w);
}

static enum err wait_for(struct invocation *invocation, struct client *client, uint64_t job,
                         struct err_text *et)
{
    struct follow follow;
    follow_init(&follow, client, job, invocation);
    follow_block_signals();
    enum err err = ERR_OK;
    while (err == ERR_OK && !follow_is_done(&follow)) {
        err = follow_step(&follow, et);
        uint32_t rest_ms = err == ERR_OK ? POLL_MS : 0;
        int number = follow_is_done(&follow) ? 0 : follow_pause(rest_ms);
        if (number != 0) {
            progress_say(&follow.progress, "detached; the job goes on");
            invocation->exit_code = FOLLOW_SIGNAL_BASE + number;
            follow_fini(&follow);
            return ERR_OK;
        }
    }
    progress_end(&follow.progress);
    if (err == ERR_OK)
        err = follow_result(&follow, et);
    follow_fini(&follow);
    return err;
}

static enum err send(struct invocation *invocation, struct submission *submission,
                     struct err_text *et)
{
    struct client *client = NULL;
    uint64_t request, job = 0;
    transport_random(&request, sizeof request);
    TRY(command_connect(invocation, &client, et));
    client_set_wait(client, SUBMIT_WAIT_MS);
    enum err err = ERR_OK;
    if (!command_flag(invocation, "anyway"))
        TRY_OUT(stage_memory_check(&submission->memory, &submission->recipe, client, NULL,
                                   invocation->messages, &submission->arena, et));
    TRY_OUT(submission_send(submission, client, request, &job, et));
    TRY_OUT(print_job(invocation, job));
    if (command_flag(invocation, "wait"))
        err = wait_for(invocation, client, job, et);
out:
    client_close(&client);
    return err;
}

enum err cmd_submit(struct invocation *invocation, struct err_text *et)
{
    struct submission submission;
    TRY(submission_init(&submission, invocation, et));
    bool is_dry = command_flag(invocation, "dry-run");
    enum err err = is_dry ? dry_run(invocation, &submission) : send(invocation, &submission, et);
    if (err == ERR_OK && is_dry)
        err = print_memory(invocation, &submission, et);
    submission_fini(&submission);
    return err;
}
