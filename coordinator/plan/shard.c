/* shard.c - line-oriented files are cut at fixed offsets; who reads a shard looks for line ends. */
#include "coordinator/plan/shard.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"

/* recipe, model files and all samples are inputs of one pack task. */
enum { SHARDS_MAX = LIMIT_INPUTS - 256 };

static bool is_in(const struct artifact_ref *input, const char *folder)
{
    size_t size = strlen(folder);
    return input->name.size > size && memcmp(input->name.data, folder, size) == 0;
}

static bool is_data(const struct artifact_ref *input)
{
    return is_in(input, "data/") || is_in(input, "test/") || is_in(input, "calib/");
}

static bool is_whole(const struct artifact_ref *input, bool streams)
{
    return memcmp(input->name.data + input->name.size - 5, ".json", 5) == 0 ||
           is_in(input, "calib/") || (streams && is_in(input, "test/"));
}

static uint64_t shard_count(const struct artifact_ref *input, bool streams)
{
    return is_whole(input, streams) ? 1 : (input->size_bytes + SHARD_BYTES - 1) / SHARD_BYTES;
}

enum err shard_inputs(const struct artifact_ref *inputs, uint32_t count, bool streams,
                      struct arena *arena, struct stage_plan *prepare, struct err_text *et)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_data(&inputs[i]))
            continue;
        if (inputs[i].size_bytes == 0)
            return error_set(et, ERR_DATA, "%.*s is empty", TEXT_ARGS(inputs[i].name));
        total += shard_count(&inputs[i], streams);
        if (total > SHARDS_MAX)
            return error_set(et, ERR_LIMIT,
                             "the data has more than %d shards of %d MiB; take less of it",
                             SHARDS_MAX, SHARD_BYTES >> 20);
    }
    if (total == 0)
        return error_set(et, ERR_DATA, "the job came without a dataset file");
    struct task_plan *tasks = arena_alloc(arena, total, sizeof *tasks);
    if (tasks == NULL)
        return ERR_OUT_OF_MEMORY;
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t shards = is_data(&inputs[i]) ? shard_count(&inputs[i], streams) : 0;
        for (uint64_t shard = 0; shard < shards; shard++) {
            bool is_last = shard + 1 == shards;
            tasks[next++] = (struct task_plan){
                .input = i,
                .first = shard * SHARD_BYTES,
                .end = is_last ? inputs[i].size_bytes : (shard + 1) * SHARD_BYTES,
            };
        }
    }
    prepare->tasks = tasks;
    prepare->tasks_count = prepare->task_count = next;
    return ERR_OK;
}
