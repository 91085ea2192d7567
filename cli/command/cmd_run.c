/* cmd_run.c - `qctl run`: a fleet on this machine for one job, from recipe to results, with nothing
 * left running. */
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client/client.h"
#include "cli/client/exchange.h"
#include "cli/command/cmd.h"
#include "cli/command/command.h"
#include "cli/command/follow.h"
#include "cli/command/held_out.h"
#include "cli/command/local_fleet.h"
#include "cli/command/quality.h"
#include "cli/command/results.h"
#include "cli/command/rewards.h"
#include "cli/command/submission.h"
#include "cli/command/variants.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/view/json_view.h"

enum {
    POLL_MS = 300,
    HELLO_WAIT_MS = 1000,
    START_MS_MAX = 30000,
    REQUEST_WAIT_MS = 4000,
    SUBMIT_WAIT_MS = 600000, /* the coordinator hashes every input before it answers */
    GRACE_MS = 10000,
    RESTARTS_DEFAULT = 8,
    RESTARTS_KEEP_GOING = 100000,
    LINE_BYTES_MAX = 4096,
};

struct run {
    struct invocation *invocation;
    struct submission submission;
    struct local_fleet *fleet;
    struct client *client;
    struct follow follow;
    uint64_t job;
};

static enum err read_options(const struct invocation *invocation, const struct recipe *recipe,
                             struct local_fleet_options *out, struct err_text *et)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = recipe->resources.workers > 0 ? recipe->resources.workers : 1;
    TRY(command_u64(invocation, "workers", 1, LOCAL_FLEET_WORKERS_MAX, &workers, et));
    if (workers > LOCAL_FLEET_WORKERS_MAX)
        return error_set(et, ERR_LIMIT, "expected at most %d workers", LOCAL_FLEET_WORKERS_MAX);
    uint64_t threads = recipe->resources.threads;
    if (threads == 0)
        threads = MAX((uint64_t)MAX(cores, 1) / workers, (uint64_t)1);
    TRY(command_u64(invocation, "threads", 1, 4096, &threads, et));
    uint64_t restarts =
        command_flag(invocation, "keep-going") ? RESTARTS_KEEP_GOING : RESTARTS_DEFAULT;
    *out = (struct local_fleet_options){
        .data = command_text(invocation, "data"),
        .temporary = invocation->environment->temporary,
        .isa = command_text(invocation, "isa"),
        .workers = (size_t)workers,
        .threads = threads,
        .memory_bytes = recipe->resources.memory,
        .restarts_max = (unsigned)restarts,
        .keep = command_flag(invocation, "keep"),
    };
    return ERR_OK;
}

/* Whether the job makes files; one that only evaluates does not. */
static bool makes_files(const struct recipe *recipe)
{
    return recipe_trains(recipe) || recipe_quantizes(recipe);
}

/* Where results go is looked at before hours are spent on them. */
static enum err check_output(struct run *run, struct err_text *et)
{
    const struct recipe *recipe = &run->submission.recipe;
    char output[PATH_MAX], model[PATH_MAX];
    if (recipe->output_dir == NULL || !makes_files(recipe))
        return ERR_OK;
    const char *folder = recipe_path(recipe, recipe->output_dir, &run->submission.arena);
    const char *base = recipe_path(recipe, recipe->base_model, &run->submission.arena);
    if (folder == NULL || base == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = folder_check_writable(folder, et);
    if (err != ERR_OK)
        return error_prefix(et, err, "%s: output_dir", recipe->file_name);
    if (realpath(folder, output) != NULL && realpath(base, model) != NULL &&
        strcmp(output, model) == 0)
        return error_set(et, ERR_RECIPE,
                         "%s: output_dir: expected another folder than base_model's, whose files "
                         "would be overwritten",
                         recipe->file_name);
    return ERR_OK;
}

static enum err check_fleet(struct run *run, struct err_text *et)
{
    struct err_text said;
    TRY(local_fleet_check(run->fleet, exchange_now_ms(), &said, et));
    if (said.text[0] != '\0')
        progress_say(&run->follow.progress, said.text);
    return ERR_OK;
}

/* A signal ends the run; the exit code says which. */
static enum err check_signal(struct run *run, int number, struct err_text *et)
{
    if (number == 0)
        return ERR_OK;
    run->invocation->exit_code = FOLLOW_SIGNAL_BASE + number;
    const char *data = run->fleet->options.data;
    if (data == NULL)
        return error_set(et, ERR_CANCELLED, "interrupted; nothing is kept without --data");
    return error_set(et, ERR_CANCELLED, "interrupted; the same command goes on from %s", data);
}

static enum err connect(struct run *run, struct err_text *et)
{
    const char *user = run->invocation->environment->user;
    const struct client_options options = {
        .endpoint = run->fleet->control,
        .user = user != NULL ? user : "local",
        .wait_ms = HELLO_WAIT_MS,
    };
    uint64_t deadline_ms = exchange_now_ms() + START_MS_MAX;
    for (;;) {
        enum err err = client_open(&options, &run->client, et);
        if (err != ERR_UNREACHABLE || exchange_now_ms() > deadline_ms)
            return err;
        TRY(check_fleet(run, et));
        TRY(check_signal(run, follow_pause(1), et));
    }
}

static enum err submit(struct run *run, struct err_text *et)
{
    client_set_wait(run->client, SUBMIT_WAIT_MS);
    TRY(submission_send(&run->submission, run->client, run->submission.request, &run->job, et));
    client_set_wait(run->client, REQUEST_WAIT_MS);
    run->follow.client = run->client;
    (void)snprintf(run->follow.id, sizeof run->follow.id, "%016" PRIx64, run->job);
    return ERR_OK;
}

/* A job of an earlier run in the same data folder goes on from where it stopped. */
static enum err revive(struct run *run, struct err_text *et)
{
    TRY(follow_step(&run->follow, et));
    enum job_state state = run->follow.state;
    if (state != JOB_FAILED && state != JOB_CANCELLED && state != JOB_PAUSED)
        return ERR_OK;
    struct msg_job_control control = {
        .prefix = text_of(run->follow.id),
        .action = state == JOB_PAUSED ? JOB_ACTION_RESUME : JOB_ACTION_RETRY,
        .reason = TEXT("run again"),
    };
    const union message_any *reply = NULL;
    TRY(client_request(run->client, &message_type_msg_job_control, &control,
                       &message_type_msg_status, &reply, et));
    return follow_step(&run->follow, et);
}

/* Until the job ends. A coordinator that is just starting again is waited for. */
static enum err follow(struct run *run, struct err_text *et)
{
    uint64_t heard_ms = exchange_now_ms();
    while (!follow_is_done(&run->follow)) {
        TRY(check_signal(run, follow_pause(POLL_MS), et));
        TRY(check_fleet(run, et));
        enum err err = follow_step(&run->follow, et);
        if (err == ERR_OK)
            heard_ms = exchange_now_ms();
        else if (err != ERR_UNREACHABLE || exchange_now_ms() - heard_ms > START_MS_MAX)
            return err;
    }
    return ERR_OK;
}

static enum err write_results(struct run *run, struct err_text *et)
{
    const struct recipe *recipe = &run->submission.recipe;
    const struct invocation *invocation = run->invocation;
    struct results_part part = {.job = run->follow.id};
    char size[HUMAN_BYTES], time[HUMAN_BYTES];
    if (!makes_files(recipe))
        return ERR_OK;
    if (recipe->output_dir == NULL) {
        (void)fprintf(invocation->messages, "%s: without output_dir nothing is written\n",
                      run->follow.name);
        return ERR_OK;
    }
    const char *folder = recipe_path(recipe, recipe->output_dir, &run->submission.arena);
    if (folder == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(results_pull(run->client, &part, folder, et));
    TRY(results_write_log(&run->follow, recipe, folder, et));
    double seconds = (double)(run->follow.ended_unix_ms -
                              MIN(run->follow.ended_unix_ms, run->follow.created_unix_ms)) /
                     1000;
    (void)fprintf(invocation->messages, "%s: %u files, %s, in %s after %s\n", run->follow.name,
                  part.count, human_size(part.size_bytes, size), folder,
                  human_duration(seconds, time));
    return ERR_OK;
}

static enum err ask_job(struct run *run, const struct msg_job **out, struct err_text *et)
{
    struct msg_job_get get = {.prefix = text_of(run->follow.id)};
    const union message_any *reply = NULL;
    TRY(client_request(run->client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply,
                       et));
    *out = &reply->job;
    return ERR_OK;
}

static enum err print_perplexity(struct run *run, struct err_text *et)
{
    const struct msg_job *job;
    struct bytes line;
    TRY(ask_job(run, &job, et));
    bytes_init(&line, LINE_BYTES_MAX);
    enum err err = held_out_print(job, &line);
    if (err == ERR_OK && line.size > 0)
        (void)fprintf(run->invocation->out, "%.*s\n", (int)line.size, (const char *)line.data);
    bytes_fini(&line);
    return err;
}

/* What merging and quantizing cost, as the result's own files have it. */
static enum err print_quality(struct run *run, struct err_text *et)
{
    const struct recipe *recipe = &run->submission.recipe;
    struct arena *arena = &run->submission.arena;
    struct bytes lines;
    if (!(recipe_quantizes(recipe) || recipe_merges(recipe)) || recipe->output_dir == NULL)
        return ERR_OK;
    const char *folder = recipe_path(recipe, recipe->output_dir, arena);
    const char *cost = folder != NULL ? folder_join(arena, folder, "quantization.json") : NULL;
    const char *merge = folder != NULL ? folder_join(arena, folder, "merge.json") : NULL;
    if (cost == NULL || merge == NULL)
        return ERR_OUT_OF_MEMORY;
    bytes_init(&lines, LINE_BYTES_MAX);
    enum err err = recipe_merges(recipe) ? quality_print_merge(merge, &lines, et) : ERR_OK;
    if (err == ERR_OK && recipe_quantizes(recipe))
        err = quality_print(cost, &lines, et);
    if (err == ERR_OK)
        (void)fprintf(run->invocation->out, "%.*s", (int)lines.size, (const char *)lines.data);
    bytes_fini(&lines);
    return err;
}

static void print_rewards(const struct run *run, bool is_eval)
{
    char text[REWARDS_BYTES];
    const struct log_point *point =
        rewards_last(run->follow.points, run->follow.point_count, is_eval);
    if (point != NULL)
        (void)fprintf(run->invocation->out, "%s_rewards %s\n", is_eval ? "eval" : "train",
                      rewards_print(point, text));
}

/* The last losses, as a table would show them, or the whole job as JSON. */
static enum err print_summary(struct run *run, struct err_text *et)
{
    struct invocation *invocation = run->invocation;
    if (invocation->json) {
        const struct msg_job *job;
        TRY(ask_job(run, &job, et));
        struct json_write w;
        json_write_init(&w, JSON_WRITE_LINE, (size_t)1 << 28);
        json_view_object(&w, NULL, &message_type_msg_job, job);
        return command_print_json(invocation, &w);
    }
    if (run->follow.variant_count > 0) {
        const struct msg_job *job;
        TRY(ask_job(run, &job, et));
        return variants_print(invocation, &job->row);
    }
    const struct log_point *train = NULL, *eval = NULL;
    for (size_t i = 0; i < run->follow.point_count; i++) {
        const struct log_point *point = &run->follow.points[i];
        train = point->is_eval ? train : point;
        eval = point->is_eval ? point : eval;
    }
    if (train != NULL)
        (void)fprintf(invocation->out, "train_loss %.4f after step %" PRIu64 "\n", train->loss,
                      train->step);
    if (run->follow.step_bytes > 0) {
        char size[HUMAN_BYTES];
        (void)fprintf(invocation->out, "a step took %s of memory beside the base\n",
                      human_size(run->follow.step_bytes, size));
    }
    print_rewards(run, false);
    if (eval == NULL)
        return print_quality(run, et);
    (void)fprintf(invocation->out, "eval_loss %.6f after step %" PRIu64 "\n", eval->loss,
                  eval->step);
    print_rewards(run, true);
    TRY(print_perplexity(run, et));
    return print_quality(run, et);
}

/* Asks everybody to leave; what does not is ended by local_fleet_close. */
static void stop(struct run *run)
{
    if (run->client != NULL) {
        struct msg_stop request = {.reason = TEXT("the run is over")};
        const union message_any *reply = NULL;
        client_set_wait(run->client, HELLO_WAIT_MS);
        (void)!client_request(run->client, &message_type_msg_stop, &request,
                              &message_type_msg_status, &reply, NULL);
    }
    client_close(&run->client);
    progress_end(&run->follow.progress);
    local_fleet_close(run->fleet, GRACE_MS);
    if (run->fleet->options.keep && run->fleet->options.data == NULL)
        (void)fprintf(run->invocation->messages,
                      "kept: %s; the same command with --data %s goes on there\n", run->fleet->data,
                      run->fleet->data);
}

static enum err run_job(struct run *run, struct err_text *et)
{
    TRY(connect(run, et));
    TRY(submit(run, et));
    TRY(revive(run, et));
    TRY(follow(run, et));
    progress_end(&run->follow.progress);
    TRY(follow_result(&run->follow, et));
    enum err err = write_results(run, et);
    run->fleet->options.keep |= err != ERR_OK; /* what was computed is not thrown away */
    TRY(err);
    return print_summary(run, et);
}

enum err cmd_run(struct invocation *invocation, struct err_text *et)
{
    struct run run = {.invocation = invocation};
    struct local_fleet_options options;
    TRY(submission_init(&run.submission, invocation, et));
    run.submission.memory.count = 0; /* all workers are here and alike: no larger one can come */
    run.fleet = arena_alloc(&run.submission.arena, 1, sizeof *run.fleet);
    follow_init(&run.follow, NULL, 0, invocation);
    follow_block_signals();
    follow_ignore_pipe(); /* who reads the progress may leave; the job goes on */
    enum err err;
    TRY_OUT(run.fleet != NULL ? ERR_OK : ERR_OUT_OF_MEMORY);
    TRY_OUT(read_options(invocation, &run.submission.recipe, &options, et));
    TRY_OUT(check_output(&run, et));
    TRY_OUT(local_fleet_open(run.fleet, &options, et));
    err = run_job(&run, et);
    stop(&run);
out:
    follow_fini(&run.follow);
    submission_fini(&run.submission);
    return err;
}
