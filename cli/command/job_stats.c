/* job_stats.c - three requests and the artifacts behind them. */
#include "cli/command/job_stats.h"

#include <inttypes.h>

#include "cli/command/job_artifacts.h"
#include "common/base/check.h"
#include "common/message/message_copy.h"
#include "common/message/state.h"
#include "common/recipe/recipe_quantize.h"

enum { ARENA_BYTES_MAX = 256 << 20 };

static enum err read_job(struct job_stats *s, struct client *client, const char *prefix,
                         struct err_text *et)
{
    struct msg_job_get get = {.prefix = text_of(prefix), .points_after = UINT64_MAX};
    const union message_any *reply = NULL;
    struct msg_job *job = arena_alloc(&s->arena, 1, sizeof *job);
    bool quantizes = false;
    if (job == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    TRY(message_copy(&message_type_msg_job, &reply->job, &s->arena, job));
    s->job = job->row.job;
    s->name = job->row.name;
    s->is_done = state_job_is_terminal((enum job_state)job->row.state);
    for (uint32_t i = 0; i < job->stages_count; i++) {
        const struct stage_row *row = &job->stages[i];
        quantizes = quantizes || row->kind == STAGE_KIND_QUANTIZE || row->kind == STAGE_KIND_REPLAY;
        if (row->kind == STAGE_KIND_CALIBRATE)
            s->key = row->key;
        if (row->kind == STAGE_KIND_REDUCE)
            s->will_measure = row->state != STAGE_DONE;
    }
    if (!quantizes)
        return error_set(et, ERR_STATE, "job %.*s does not quantize: it has no statistics",
                         TEXT_ARGS(s->name));
    return recipe_parse((struct span){job->recipe.data, job->recipe.size}, &s->recipe, et);
}

/* Statistics of the reduce task: shards go by the same name, their stage comes before. */
static enum err read_statistics(struct job_stats *s, struct client *client, const char *id,
                                struct err_text *et)
{
    struct job_artifacts list;
    struct bytes content;
    if (s->will_measure)
        return ERR_OK;
    TRY(job_artifacts_list(client, id, "statistics", &s->arena, &list, et));
    if (list.count == 0)
        return ERR_OK;
    bytes_init(&content, SIZE_MAX);
    enum err err = job_artifacts_fetch(client, &list, list.count - 1, &content, et);
    if (err == ERR_OK)
        err = statistics_parse(bytes_span(&content), "statistics", &s->statistics, et);
    bytes_fini(&content);
    return err;
}

static enum err read_figures(struct job_stats *s, struct client *client, const char *id,
                             struct err_text *et)
{
    struct job_artifacts list;
    struct bytes content;
    enum err err = ERR_OK;
    TRY(job_artifacts_list(client, id, "figures", &s->arena, &list, et));
    bytes_init(&content, SIZE_MAX);
    for (size_t i = 0; i < list.count && err == ERR_OK; i++) {
        err = job_artifacts_fetch(client, &list, i, &content, et);
        if (err == ERR_OK)
            err = figures_add(&s->figures, bytes_span(&content), "figures", et);
    }
    bytes_fini(&content);
    return err;
}

enum err job_stats_open(struct invocation *invocation, const char *prefix, struct job_stats *out,
                        struct err_text *et)
{
    struct client *client = NULL;
    char id[17];
    enum err err;
    TRY(command_connect(invocation, &client, et));
    *out = (struct job_stats){0};
    arena_init(&out->arena, ARENA_BYTES_MAX);
    figures_init(&out->figures);
    TRY_OUT(read_job(out, client, prefix, et));
    (void)snprintf(id, sizeof id, "%016" PRIx64, out->job);
    TRY_OUT(read_statistics(out, client, id, et));
    err = read_figures(out, client, id, et);
out:
    client_close(&client);
    if (err != ERR_OK)
        job_stats_close(out);
    return err;
}

void job_stats_close(struct job_stats *stats)
{
    recipe_fini(&stats->recipe);
    statistics_destroy(&stats->statistics);
    figures_fini(&stats->figures);
    arena_fini(&stats->arena);
    *stats = (struct job_stats){0};
}
