/* provider_slurm.c - small jobs through sbatch, each with its time limit.
 *
 * The script comes on sbatch's standard input, so that nothing has to lie on a shared disk. It
 * takes the seconds that its prologue needed off the worker's time. The worker finds number and end
 * of its job in the environment where Slurm tells them.
 */
#include <inttypes.h>

#include "coordinator/provider/provider_kind.h"

enum {
    ASK_MS = 20000,
    START_MS = 60000,
    SCRIPT_BYTES_MAX = 1 << 16,
    MIB = 1 << 20,
    MS_PER_S = 1000
};

static const char *job_name(const struct provider_request *request)
{
    return arena_print(request->arena, "qfleet-%s-%s", request->config->name, request->site->fleet);
}

static enum err make_script(const struct provider_request *request, struct text *out)
{
    const struct provider_config *c = request->config;
    struct provider_commands none = {0};
    struct provider_request inner = *request;
    inner.out = &none;
    struct provider_command *worker = provider_kind_command(&inner, 0);
    if (worker == NULL)
        return ERR_OUT_OF_MEMORY;
    if (c->workers_per_allocation > 1)
        provider_kind_add(worker, "srun");
    provider_kind_add_worker(request, worker, NULL);
    TRY(provider_kind_finish(worker));
    struct bytes script;
    bytes_init(&script, SCRIPT_BYTES_MAX);
    bytes_append_text(&script, TEXT("#!/bin/sh\nbegun=$(date +%s)\n"));
    if (c->prologue != NULL)
        bytes_print(&script, "%s\n", c->prologue);
    bytes_append_text(&script, TEXT("exec"));
    for (size_t i = 0; i < worker->argc; i++) {
        bytes_append(&script, " ", 1);
        provider_kind_quote(&script, worker->argv[i]);
    }
    bytes_print(&script, " --time-limit $((%" PRIu64 " - $(date +%%s) + begun))\n",
                c->time_limit / MS_PER_S);
    const char *text = provider_kind_text(request->arena, &script);
    if (text == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = text_of(text);
    return ERR_OK;
}

static void add_resources(const struct provider_request *request, struct provider_command *command)
{
    const struct provider_config *c = request->config;
    struct arena *arena = request->arena;
    uint64_t workers = c->workers_per_allocation > 1 ? c->workers_per_allocation : 1;
    uint64_t limit_s = c->time_limit / MS_PER_S;
    provider_kind_add(command, arena_print(arena, "--ntasks=%" PRIu64, workers));
    if (c->threads > 0)
        provider_kind_add(command, arena_print(arena, "--cpus-per-task=%" PRIu64, c->threads));
    if (c->memory > 0) /* per node: all of a job's workers may be on one */
        provider_kind_add(command, arena_print(arena, "--mem=%" PRIu64 "M",
                                               (c->memory + MIB - 1) / MIB * workers));
    provider_kind_add(
        command, arena_print(arena, "--time=%" PRIu64 ":%02" PRIu64, limit_s / 60, limit_s % 60));
    if (c->partition != NULL)
        provider_kind_add(command, arena_print(arena, "--partition=%s", c->partition));
    provider_kind_add(command,
                      arena_print(arena, "--output=%s", c->log != NULL ? c->log : "/dev/null"));
}

static enum err start(const struct provider_request *request)
{
    const struct provider_config *c = request->config;
    struct text script;
    TRY(make_script(request, &script));
    for (uint32_t i = 0; i < request->start->count; i++) {
        struct provider_command *command = provider_kind_command(request, START_MS);
        if (command == NULL)
            return ERR_OUT_OF_MEMORY;
        provider_kind_add(command, "sbatch");
        add_resources(request, command);
        for (size_t k = 0; k < c->arguments_count; k++)
            provider_kind_add(command, c->arguments[k]);
        provider_kind_add(command, "--parsable");
        provider_kind_add(command, arena_print(request->arena, "--job-name=%s", job_name(request)));
        TRY(provider_kind_finish(command));
        command->input = script;
    }
    return ERR_OK;
}

/* Ended jobs are listed for some minutes too: how they ended is what the decision wants to know. */
static enum err status(const struct provider_request *request)
{
    struct provider_command *command = provider_kind_command(request, ASK_MS);
    if (command == NULL)
        return ERR_OUT_OF_MEMORY;
    provider_kind_add(command, "squeue");
    provider_kind_add(command, "--noheader");
    provider_kind_add(command, "--array");
    provider_kind_add(command, "--states=all");
    provider_kind_add(command, arena_print(request->arena, "--name=%s", job_name(request)));
    provider_kind_add(command, "--format=%i|%T|%r");
    return provider_kind_finish(command);
}

/* Only what still waits: a job that got its machine meanwhile is drained, not killed. */
static enum err cancel(const struct provider_request *request)
{
    struct provider_command *command = NULL;
    for (size_t i = 0; i < request->ids_count; i++) {
        if (i % PROVIDER_KIND_IDS == 0) {
            command = provider_kind_command(request, ASK_MS);
            if (command == NULL)
                return ERR_OUT_OF_MEMORY;
            provider_kind_add(command, "scancel");
            provider_kind_add(command, "--state=PENDING");
        }
        provider_kind_add(command, request->ids[i]);
        TRY(provider_kind_finish(command));
    }
    return ERR_OK;
}

/* "123" or "123;cluster". */
static bool start_line(struct text line, struct provider_allocation *allocation)
{
    struct text fields[2];
    (void)provider_kind_split(line, ';', fields, 2);
    for (size_t i = 0; i < fields[0].size; i++)
        if (fields[0].data[i] < '0' || fields[0].data[i] > '9')
            return false;
    return provider_kind_say(allocation, fields[0], PROVIDER_WAITING, TEXT(""));
}

/* A state of a Slurm that is newer than this table: "POWER_UP_NODE". */
static bool is_state(struct text word)
{
    for (size_t i = 0; i < word.size; i++)
        if (word.data[i] != '_' && (word.data[i] < 'A' || word.data[i] > 'Z'))
            return false;
    return word.size > 0;
}

/* "123|PENDING|Resources". Jobs that wait say why; the others say how they are. One in a state that
 * is not known is there, at least. */
static bool status_line(struct text line, struct provider_allocation *allocation)
{
    static const struct {
        const char *word;
        enum provider_allocation_state state;
    } states[] = {
        {"PENDING", PROVIDER_WAITING},      {"CONFIGURING", PROVIDER_WAITING},
        {"REQUEUED", PROVIDER_WAITING},     {"REQUEUE_HOLD", PROVIDER_WAITING},
        {"SPECIAL_EXIT", PROVIDER_WAITING}, {"RUNNING", PROVIDER_RUNNING},
        {"SUSPENDED", PROVIDER_RUNNING},    {"STOPPED", PROVIDER_RUNNING},
        {"RESIZING", PROVIDER_RUNNING},     {"SIGNALING", PROVIDER_LEAVING},
        {"STAGE_OUT", PROVIDER_LEAVING},    {"COMPLETING", PROVIDER_LEAVING},
        {"COMPLETED", PROVIDER_ENDED},      {"CANCELLED", PROVIDER_ENDED},
        {"TIMEOUT", PROVIDER_ENDED},        {"PREEMPTED", PROVIDER_ENDED},
        {"REVOKED", PROVIDER_ENDED},        {"DEADLINE", PROVIDER_ENDED},
        {"FAILED", PROVIDER_FAILED},        {"NODE_FAIL", PROVIDER_FAILED},
        {"BOOT_FAIL", PROVIDER_FAILED},     {"OUT_OF_MEMORY", PROVIDER_FAILED},
    };
    struct text fields[3];
    if (provider_kind_split(line, '|', fields, 3) != 3)
        return false;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        if (!text_is(fields[1], states[i].word))
            continue;
        bool has_reason = states[i].state == PROVIDER_WAITING && !text_is(fields[2], "None");
        return provider_kind_say(allocation, fields[0], states[i].state,
                                 has_reason ? fields[2] : fields[1]);
    }
    return is_state(fields[1]) &&
           provider_kind_say(allocation, fields[0], PROVIDER_WAITING, fields[1]);
}

static size_t read_start(struct text output, provider_seen_f seen, void *context)
{
    return provider_kind_each(output, start_line, seen, context);
}

static size_t read_status(struct text output, provider_seen_f seen, void *context)
{
    return provider_kind_each(output, status_line, seen, context);
}

const struct provider_kind_row provider_kind_slurm = {
    .start = start,
    .status = status,
    .cancel = cancel,
    .read_start = read_start,
    .read_status = read_status,
};
