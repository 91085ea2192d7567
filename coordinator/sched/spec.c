/* spec.c - the table of spec.h in code. */
#include "coordinator/sched/spec.h"

#include "common/base/check.h"

struct inputs {
    struct artifact_ref *items;
    uint32_t count;
};

static bool starts_with(struct text text, const char *prefix)
{
    size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static bool ends_with(struct text text, const char *suffix)
{
    size_t size = strlen(suffix);
    return text.size >= size && memcmp(text.data + text.size - size, suffix, size) == 0;
}

static bool is_weights(struct text name)
{
    return ends_with(name, ".safetensors") || ends_with(name, ".bin");
}

static void add(struct inputs *inputs, const struct artifact_ref *ref, struct text name)
{
    struct artifact_ref *input = &inputs->items[inputs->count++];
    *input = *ref;
    input->name = name;
}

static void add_folder(struct inputs *inputs, const struct job *job, const char *folder,
                       bool with_weights)
{
    for (uint32_t i = 0; i < job->submitted.inputs_count; i++) {
        const struct artifact_ref *input = &job->submitted.inputs[i];
        if (starts_with(input->name, folder) && (with_weights || !is_weights(input->name)))
            add(inputs, input, input->name);
    }
}

static void add_output(struct inputs *inputs, const struct job *job, enum stage_kind kind,
                       const char *name)
{
    const struct artifact_ref *output = job_output(job_stage_of(job, kind), 0, name);
    if (output != NULL)
        add(inputs, output, text_of(name));
}

/* The samples of every shard whose input lies in `folder`, numbered anew under `name`. */
static enum err add_samples(struct inputs *inputs, const struct job *job, const char *folder,
                            const char *prefix, struct arena *arena)
{
    const struct stage *prepare = job_stage_of(job, STAGE_KIND_PREPARE);
    unsigned place = 0;
    for (uint32_t i = 0; prepare != NULL && i < prepare->plan->tasks_count; i++) {
        const struct task_plan *task = &prepare->plan->tasks[i];
        if (!starts_with(job->submitted.inputs[task->input].name, folder))
            continue;
        const struct artifact_ref *samples = job_output(prepare, i, "samples");
        char *name = arena_print(arena, "%s%u", prefix, place++);
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        if (samples != NULL)
            add(inputs, samples, text_of(name));
    }
    return ERR_OK;
}

struct artifact_ref spec_state(const struct job *job)
{
    struct artifact_ref state = {.name = TEXT("state")};
    if (job->checkpoint_count > 0) {
        const struct checkpoint_row *last = &job->checkpoints[job->checkpoint_count - 1];
        state.digest = last->digest;
        state.size_bytes = last->size_bytes;
        return state;
    }
    const struct artifact_ref *first = job_output(job_stage_of(job, STAGE_KIND_INIT), 0, "state");
    if (first != NULL)
        state = *first;
    return state;
}

static void add_weights(struct inputs *inputs, const struct stage *stage)
{
    if (!digest_is_zero(stage->run->weights.digest))
        add(inputs, &stage->run->weights, TEXT("weights"));
}

static void set_range(const struct stage *stage, uint32_t index, struct task_spec *out)
{
    const struct run *run = stage->run;
    out->round = run->step;
    out->total = run->rows;
    out->first = index * run->range_rows;
    out->end = MIN(out->first + run->range_rows, run->rows);
}

static enum err build_array(const struct stage *stage, uint32_t index, struct arena *arena,
                            struct inputs *inputs, struct task_spec *out)
{
    const struct job *job = stage->job;
    out->total = stage->tasks.count;
    if (stage->plan->kind == STAGE_KIND_PREPARE) {
        if (index < stage->plan->tasks_count) {
            const struct task_plan *task = &stage->plan->tasks[index];
            const struct artifact_ref *data = &job->submitted.inputs[task->input];
            out->first = task->first;
            out->end = task->end;
            add(inputs, data, data->name);
        }
        add_folder(inputs, job, "model/", false);
    } else if (stage->plan->kind == STAGE_KIND_PACK) {
        TRY(add_samples(inputs, job, "data/", "samples/train/", arena));
        TRY(add_samples(inputs, job, "test/", "samples/test/", arena));
    } else {
        add_folder(inputs, job, "model/", true);
        if (stage->plan->kind == STAGE_KIND_INIT)
            add_folder(inputs, job, "adapter/", true);
    }
    if (stage->plan->kind == STAGE_KIND_EXPORT) {
        struct artifact_ref state = spec_state(job);
        if (!digest_is_zero(state.digest))
            add(inputs, &state, TEXT("state"));
        add(inputs, &stage->log, TEXT("log"));
    }
    return ERR_OK;
}

enum err spec_build(const struct stage *stage, uint32_t index, struct arena *arena,
                    struct task_spec *out)
{
    const struct job *job = stage->job;
    const struct stage *prepare = job_stage_of(job, STAGE_KIND_PREPARE);
    size_t most = (size_t)job->submitted.inputs_count + 4;
    if (stage->plan->kind == STAGE_KIND_PACK && prepare != NULL)
        most += prepare->plan->tasks_count;
    struct inputs inputs = {arena_alloc(arena, most, sizeof *inputs.items), 0};
    if (inputs.items == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct task_spec){
        .kind = stage->plan->kind,
        .profile = text_of(job->settings.profile),
        .seed = job->settings.seed,
    };
    add(&inputs, &job->recipe, TEXT("recipe"));
    if (stage->run == NULL) {
        TRY(build_array(stage, index, arena, &inputs, out));
    } else {
        bool is_eval = stage->run->evaluates;
        out->kind = is_eval ? STAGE_KIND_EVALUATE : STAGE_KIND_TRAIN;
        set_range(stage, index, out);
        add_folder(&inputs, job, "model/", true);
        add_output(&inputs, job, STAGE_KIND_PACK, is_eval ? "test_rows" : "rows");
        add_weights(&inputs, stage);
    }
    out->inputs = inputs.items;
    out->inputs_count = inputs.count;
    return ERR_OK;
}

const char *spec_output(enum stage_kind kind)
{
    switch (kind) {
    case STAGE_KIND_PREPARE:
        return "samples";
    case STAGE_KIND_INIT:
        return "state";
    case STAGE_KIND_TRAIN:
        return "gradient";
    case STAGE_KIND_PACK: /* rows, test_rows or both */
    case STAGE_KIND_EVALUATE:
    case STAGE_KIND_EXPORT:
    case STAGE_KIND_CALIBRATE:
    case STAGE_KIND_REDUCE:
    case STAGE_KIND_SENSITIVITY:
    case STAGE_KIND_CHOOSE:
    case STAGE_KIND_QUANTIZE:
    case STAGE_KIND_ASSEMBLE:
    case STAGE_KIND_VERIFY:
    case STAGE_KIND_COMPARE:
    case STAGE_KIND_REPORT:
    case STAGE_KIND_REPLAY:
    case STAGE_KIND_COUNT:
        return NULL;
    }
    return NULL;
}
