/* cmd_ckpt_keep.c - `qctl ckpt forget`, `prune`, `tag` and `restore`: which checkpoints stay, under
 * which names, and from which one a job goes on. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command/checkpoint_find.h"
#include "cli/command/cmd.h"
#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/message/message_copy.h"
#include "common/message/state.h"
#include "common/recipe/recipe_value.h"
#include "common/view/json_view.h"

enum { ARENA_BYTES_MAX = 64 << 20, PRUNE_WAIT_MS = 600000, JOB_BYTES = 17 };

#define KEEP_MAX UINT64_C(1000000000000)

static enum err ask(struct client *client, struct msg_checkpoint_control *control,
                    struct arena *arena, struct msg_checkpoint_controlled *out, struct err_text *et)
{
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_checkpoint_control, control,
                       &message_type_msg_checkpoint_controlled, &reply, et));
    return message_copy(&message_type_msg_checkpoint_controlled, &reply->checkpoint_controlled,
                        arena, out);
}

static struct text reason_of(const struct invocation *invocation)
{
    const char *reason = command_text(invocation, "reason");
    return text_of(reason != NULL ? reason : "");
}

static const char *job_id(uint64_t job, char out[JOB_BYTES])
{
    (void)snprintf(out, JOB_BYTES, "%016" PRIx64, job);
    return out;
}

static enum err read_rules(const struct invocation *invocation, struct retention *rules,
                           struct err_text *et)
{
    const char *within = command_text(invocation, "keep-within");
    const char *tag = command_text(invocation, "keep-tag");
    TRY(command_u64(invocation, "keep-last", 1, KEEP_MAX, &rules->keep_last, et));
    TRY(command_u64(invocation, "keep-best", 1, KEEP_MAX, &rules->keep_best, et));
    TRY(command_u64(invocation, "keep-every", 1, KEEP_MAX, &rules->keep_every, et));
    if (within != NULL && (!recipe_value_duration(text_of(within), &rules->keep_within_ms) ||
                           rules->keep_within_ms == 0))
        return error_set(et, ERR_USAGE,
                         "--keep-within: expected a time such as 36h or 2d, found %s", within);
    rules->keep_first = command_flag(invocation, "keep-first");
    rules->keep_tag = text_of(tag != NULL ? tag : "");
    return ERR_OK;
}

static enum err print_verdicts(struct invocation *invocation,
                               const struct msg_checkpoint_controlled *reply)
{
    static const struct table_column columns[] = {
        {"ID", TABLE_LEFT},    {"STEP", TABLE_RIGHT},  {"EVAL_LOSS", TABLE_RIGHT},
        {"SIZE", TABLE_RIGHT}, {"ACTION", TABLE_LEFT}, {"REASON", TABLE_LEFT},
    };
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < reply->verdicts_count; i++) {
        const struct checkpoint_verdict *verdict = &reply->verdicts[i];
        char text[HUMAN_BYTES], name[CHECKPOINT_FIND_BYTES];
        table_row(&table);
        table_cell(&table, 0, STYLE_BOLD, "%s", checkpoint_find_name(verdict->row.digest, name));
        table_cell(&table, 1, STYLE_PLAIN, "%" PRIu64, verdict->row.step);
        table_cell(&table, 2, STYLE_PLAIN, "%s", human_number(verdict->row.eval_loss, text));
        table_cell(&table, 3, STYLE_PLAIN, "%s", human_size(verdict->row.size_bytes, text));
        table_cell(&table, 4, verdict->forgotten ? STYLE_BAD : STYLE_GOOD, "%s",
                   verdict->forgotten ? "forget" : "keep");
        table_cell(&table, 5, STYLE_DIM, "%.*s", TEXT_ARGS(verdict->why));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

static enum err print_json(struct invocation *invocation,
                           const struct msg_checkpoint_controlled *reply)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, (size_t)1 << 26);
    json_view_object(&w, NULL, &message_type_msg_checkpoint_controlled, reply);
    return command_print_json(invocation, &w);
}

static enum err prune(struct client *client, bool is_dry, struct arena *arena,
                      struct msg_checkpoint_controlled *out, struct err_text *et)
{
    struct msg_checkpoint_control control = {.action = CHECKPOINT_PRUNE, .dry_run = is_dry};
    client_set_wait(client, PRUNE_WAIT_MS);
    return ask(client, &control, arena, out, et);
}

static void say_forgotten(const struct invocation *invocation,
                          const struct msg_checkpoint_controlled *reply, bool is_dry, bool prunes)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < reply->verdicts_count; i++)
        count += reply->verdicts[i].forgotten;
    (void)fprintf(invocation->messages, "%u %s forgotten; ", count, is_dry ? "would be" : "are");
    if (is_dry)
        (void)fprintf(invocation->messages, "pruning would free %" PRIu64 " bytes\n", reply->bytes);
    else if (prunes)
        (void)fprintf(invocation->messages, "%" PRIu64 " files pruned, %" PRIu64 " bytes freed\n",
                      reply->files, reply->bytes);
    else
        (void)fprintf(invocation->messages,
                      "`qctl ckpt prune` frees %" PRIu64 " bytes now, the next day's collection "
                      "else\n",
                      reply->bytes);
}

/* A job by rules, or one checkpoint. */
static enum err fill_forget(struct client *client, const struct invocation *invocation,
                            struct arena *arena, struct msg_checkpoint_control *control,
                            char job[JOB_BYTES], struct err_text *et)
{
    struct checkpoint_row row;
    const char *name = invocation->arguments[0];
    TRY(read_rules(invocation, &control->rules, et));
    const struct retention *r = &control->rules;
    bool has_rule = r->keep_last > 0 || r->keep_best > 0 || r->keep_every > 0 ||
                    r->keep_within_ms > 0 || r->keep_first || r->keep_tag.size > 0;
    control->prefix = text_of(name);
    if (has_rule)
        return ERR_OK;
    TRY(checkpoint_find_one(client, name, arena, &row, et));
    if (strchr(name, '@') == NULL && !checkpoint_find_is_id(&row, name))
        return error_set(et, ERR_USAGE,
                         "%s is a job: say which checkpoints stay (--keep-last 3), or name one",
                         name);
    control->digest = row.digest;
    control->prefix = text_of(job_id(row.job, job));
    return ERR_OK;
}

enum err cmd_ckpt_forget(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct msg_checkpoint_control control = {.action = CHECKPOINT_FORGET};
    struct msg_checkpoint_controlled reply, pruned;
    struct arena arena;
    char job[JOB_BYTES];
    bool prunes = command_flag(invocation, "prune");
    arena_init(&arena, ARENA_BYTES_MAX);
    control.dry_run = command_flag(invocation, "dry-run");
    control.reason = reason_of(invocation);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(fill_forget(client, invocation, &arena, &control, job, et));
    TRY_OUT(ask(client, &control, &arena, &reply, et));
    if (prunes && !control.dry_run) {
        TRY_OUT(prune(client, false, &arena, &pruned, et));
        reply.files = pruned.files;
        reply.bytes = pruned.bytes;
    }
    TRY_OUT(invocation->json ? print_json(invocation, &reply) : print_verdicts(invocation, &reply));
    if (!invocation->json)
        say_forgotten(invocation, &reply, control.dry_run, prunes);
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}

enum err cmd_ckpt_prune(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct msg_checkpoint_controlled reply;
    struct arena arena;
    bool is_dry = command_flag(invocation, "dry-run");
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(prune(client, is_dry, &arena, &reply, et));
    if (invocation->json)
        err = print_json(invocation, &reply);
    else
        (void)fprintf(invocation->out, "%" PRIu64 " files, %" PRIu64 " bytes %s\n", reply.files,
                      reply.bytes, is_dry ? "would be freed" : "freed");
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}

enum err cmd_ckpt_tag(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    bool removes = command_flag(invocation, "delete");
    struct msg_checkpoint_control control = {.action = removes ? CHECKPOINT_UNTAG : CHECKPOINT_TAG,
                                             .tag = text_of(invocation->arguments[1])};
    struct msg_checkpoint_controlled reply;
    struct checkpoint_row row;
    struct arena arena;
    char job[JOB_BYTES], name[CHECKPOINT_FIND_BYTES];
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(checkpoint_find_one(client, invocation->arguments[0], &arena, &row, et));
    control.prefix = text_of(job_id(row.job, job));
    control.digest = row.digest;
    TRY_OUT(ask(client, &control, &arena, &reply, et));
    (void)fprintf(invocation->messages, "%s (step %" PRIu64 "): %s %s\n",
                  checkpoint_find_name(row.digest, name), row.step, removes ? "no more" : "now",
                  invocation->arguments[1]);
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}

/* A word of the job alone (`best`, a tag, a step) stands for JOB@word. What is of another job is
 * found by its id or with that job's name, so that the refusal can say whose it is. */
static enum err find_in_job(struct client *client, const char *job, const char *name,
                            struct arena *arena, struct checkpoint_row *out, struct err_text *et)
{
    struct err_text ignored = {""};
    const char *full = arena_print(arena, "%s@%s", job, name);
    if (full == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = checkpoint_find_one(client, full, arena, out, et);
    if (err != ERR_NOT_FOUND)
        return err;
    bool is_found = checkpoint_find_one(client, name, arena, out, &ignored) == ERR_OK;
    return is_found && (strchr(name, '@') != NULL || checkpoint_find_is_id(out, name)) ? ERR_OK
                                                                                       : err;
}

enum err cmd_ckpt_restore(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct msg_checkpoint_control control = {.action = CHECKPOINT_RESTORE,
                                             .prefix = text_of(invocation->arguments[0]),
                                             .reason = reason_of(invocation)};
    struct msg_checkpoint_controlled reply;
    struct checkpoint_row row;
    struct arena arena;
    char name[CHECKPOINT_FIND_BYTES];
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(
        find_in_job(client, invocation->arguments[0], invocation->arguments[1], &arena, &row, et));
    control.digest = row.digest;
    TRY_OUT(ask(client, &control, &arena, &reply, et));
    (void)fprintf(invocation->messages, "%s: goes on from %s, step %" PRIu64 "\n",
                  invocation->arguments[0], checkpoint_find_name(row.digest, name), row.step);
out:
    client_close(&client);
    arena_fini(&arena);
    return err;
}
