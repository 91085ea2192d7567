/* cmd_ckpt_fork.c - `qctl ckpt fork`: a new job that goes on from a checkpoint, with some keys of
 * the recipe changed. Its files are those that the first job was frozen with. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command/checkpoint_find.h"
#include "cli/command/cmd.h"
#include "cli/command/fork_keys.h"
#include "cli/command/job_artifacts.h"
#include "common/base/check.h"
#include "common/message/message_copy.h"
#include "common/message/state.h"
#include "common/recipe/recipe.h"
#include "common/recipe/recipe_variant.h"
#include "common/transport/transport.h"
#include "schemas/state_file.def"

enum { ARENA_BYTES_MAX = 256 << 20, SETS_MAX = 64, SUBMIT_WAIT_MS = 600000, JOB_BYTES = 17 };

/* What is forked, and what comes of it. */
struct fork {
    struct invocation *invocation;
    struct arena arena; /* owned */
    struct checkpoint_row row;
    struct msg_job job;         /* in the arena */
    struct bytes before, after; /* owned: canonical recipes */
    bool seed_makes_base;
    struct err_text *et;
};

static uint32_t variant_of(const struct fork *f)
{
    return f->row.stage < f->job.stages_count ? f->job.stages[f->row.stage].variant : 0;
}

static enum err ask_job(struct fork *f, struct client *client)
{
    char id[JOB_BYTES];
    const union message_any *reply = NULL;
    (void)snprintf(id, sizeof id, "%016" PRIx64, f->row.job);
    struct msg_job_get get = {.prefix = text_of(id), .points_after = UINT64_MAX};
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply,
                       f->et));
    return message_copy(&message_type_msg_job, &reply->job, &f->arena, &f->job);
}

/* The recipe of the one training that the checkpoint is of, then with the keys that are set. */
static enum err write_recipes(struct fork *f)
{
    const char *sets[SETS_MAX];
    const struct recipe_options options = {
        .file_name = "fork",
        .sets = sets,
        .set_count = command_texts(f->invocation, "set", sets, SETS_MAX),
    };
    struct recipe recipe;
    struct span text = {f->job.recipe.data, f->job.recipe.size};
    TRY(recipe_variant_parse(text, variant_of(f), &recipe, f->et));
    recipe_write(&recipe, &f->before);
    recipe_fini(&recipe);
    TRY(bytes_status(&f->before));
    TRY(recipe_read(bytes_span(&f->before), &options, &recipe, f->et));
    recipe_write(&recipe, &f->after);
    bool trains = recipe_trains(&recipe);
    f->seed_makes_base = recipe.random_init && recipe.adapter != RECIPE_ADAPTER_NONE;
    recipe_fini(&recipe);
    TRY(bytes_status(&f->after));
    return trains
               ? ERR_OK
               : error_set(f->et, ERR_RECIPE, "a fork goes on training, and this recipe has none");
}

static enum err look_at_key(void *context, struct text key)
{
    struct fork *f = context;
    char name[CHECKPOINT_FIND_BYTES];
    FILE *out = f->invocation->messages;
    enum fork_keys_class class = fork_keys_class(key);
    if (text_is(key, "seed") && f->seed_makes_base)
        class = FORK_KEYS_REFUSED;
    switch (class) {
    case FORK_KEYS_FREE:
        return ERR_OK;
    case FORK_KEYS_DATA:
        (void)fprintf(out,
                      "%.*s: from step %" PRIu64
                      " on rows come in another order than the checkpoint saw\n",
                      TEXT_ARGS(key), f->row.step);
        return ERR_OK;
    case FORK_KEYS_REFUSED:
        break;
    }
    return error_set(f->et, ERR_RECIPE,
                     "%.*s cannot change in a fork of %s: what the checkpoint holds would not fit "
                     "it; submit a recipe of its own",
                     TEXT_ARGS(key), checkpoint_find_name(f->row.digest, name));
}

/* What init of the checkpoint's training made beside the state, where it did. */
static enum err find_anchor(struct fork *f, struct client *client, struct artifact_ref *out)
{
    char id[JOB_BYTES];
    struct job_artifacts made;
    (void)snprintf(id, sizeof id, "%016" PRIx64, f->row.job);
    TRY(job_artifacts_list(client, id, "anchor", &f->arena, &made, f->et));
    *out = (struct artifact_ref){0};
    for (size_t i = 0; i < made.count; i++) {
        uint32_t stage = made.rows[i].stage;
        if (stage < f->job.stages_count && f->job.stages[stage].kind == STAGE_KIND_INIT &&
            f->job.stages[stage].variant == variant_of(f))
            *out = made.rows[i].ref;
    }
    out->name = TEXT(STATE_FILE_START_ANCHOR);
    return ERR_OK;
}

/* The inputs of the first job, and the checkpoint in place of what that one started from. */
static enum err list_inputs(struct fork *f, struct client *client, struct msg_submit *submit)
{
    struct artifact_ref anchor;
    struct artifact_ref *refs =
        arena_alloc(&f->arena, (size_t)f->job.inputs_count + 2, sizeof *refs);
    if (refs == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(find_anchor(f, client, &anchor));
    for (uint32_t i = 0; i < f->job.inputs_count; i++) {
        if (!text_is(f->job.inputs[i].name, STATE_FILE_START))
            refs[submit->inputs_count++] = f->job.inputs[i];
    }
    if (!digest_is_zero(anchor.digest))
        refs[submit->inputs_count++] = anchor;
    refs[submit->inputs_count++] = (struct artifact_ref){
        .name = TEXT(STATE_FILE_START), .digest = f->row.digest, .size_bytes = f->row.size_bytes};
    submit->inputs = refs;
    return ERR_OK;
}

static enum err print_job(struct invocation *invocation, uint64_t job)
{
    char id[JOB_BYTES];
    (void)snprintf(id, sizeof id, "%016" PRIx64, job);
    if (!invocation->json) {
        (void)fprintf(invocation->out, "%s\n", id);
        return ERR_OK;
    }
    struct json_write w;
    json_write_init(&w, JSON_WRITE_LINE, 4096);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "job", text_of(id));
    json_write_object_end(&w);
    return command_print_json(invocation, &w);
}

static enum err send(struct fork *f, struct client *client)
{
    const char *name = command_text(f->invocation, "name");
    struct msg_submit submit = {.recipe = bytes_span(&f->after), .start = f->row.digest};
    const union message_any *reply = NULL;
    transport_random(&submit.request, sizeof submit.request);
    if (name == NULL)
        name = arena_print(&f->arena, "%.*s-fork", (int)MIN(f->job.row.name.size, (size_t)240),
                           f->job.row.name.data);
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    submit.name = text_of(name);
    TRY(list_inputs(f, client, &submit));
    client_set_wait(client, SUBMIT_WAIT_MS);
    TRY(client_request(client, &message_type_msg_submit, &submit, &message_type_msg_submitted,
                       &reply, f->et));
    if (reply->submitted.job == 0) {
        const struct artifact_ref *missing = reply->submitted.missing;
        return error_set(f->et, ERR_NOT_FOUND,
                         "%.*s is not at the coordinator any more, and %.*s is not what it was; "
                         "put it back, or submit a recipe of its own",
                         TEXT_ARGS(missing[0].name), TEXT_ARGS(missing[0].path));
    }
    return print_job(f->invocation, reply->submitted.job);
}

enum err cmd_ckpt_fork(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct fork f = {.invocation = invocation, .et = et};
    arena_init(&f.arena, ARENA_BYTES_MAX);
    bytes_init(&f.before, LIMIT_RECIPE_BYTES);
    bytes_init(&f.after, LIMIT_RECIPE_BYTES);
    enum err err;
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(checkpoint_find_one(client, invocation->arguments[0], &f.arena, &f.row, et));
    TRY_OUT(ask_job(&f, client));
    TRY_OUT(write_recipes(&f));
    TRY_OUT(fork_keys_compare(bytes_span(&f.before), bytes_span(&f.after), look_at_key, &f));
    if (command_flag(invocation, "dry-run"))
        (void)fprintf(invocation->out, "%.*s", (int)f.after.size, (const char *)f.after.data);
    else
        err = send(&f, client);
out:
    client_close(&client);
    arena_fini(&f.arena);
    bytes_fini(&f.before);
    bytes_fini(&f.after);
    return err;
}
