/* spec.c - the table of spec.h in code. */
#include "coordinator/sched/spec.h"

#include <stdio.h>

#include "common/base/check.h"
#include "schemas/state_file.def"

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

/* Counts while there is no room yet. */
static void add(struct inputs *inputs, const struct artifact_ref *ref, struct text name)
{
    if (inputs->items != NULL) {
        inputs->items[inputs->count] = *ref;
        inputs->items[inputs->count].name = name;
    }
    inputs->count++;
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

static void add_output(struct inputs *inputs, const struct stage *stage, enum stage_kind kind,
                       const char *name)
{
    const struct artifact_ref *output = job_output(job_stage_of(stage, kind), 0, name);
    if (output != NULL)
        add(inputs, output, text_of(name));
}

/* prefix + name, in `arena`; nothing while counting. */
static enum err print_name(const struct inputs *inputs, struct arena *arena, const char *prefix,
                           struct text name, struct text *out)
{
    if (inputs->items == NULL)
        return ERR_OK;
    char *text = arena_print(arena, "%s%.*s", prefix, TEXT_ARGS(name));
    *out = text_of(text != NULL ? text : "");
    return text != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

/* The output under `prefix` and its number: "tensors/12"; nothing for NULL. */
static enum err add_numbered(struct inputs *inputs, const struct artifact_ref *output,
                             const char *prefix, uint32_t *place, struct arena *arena)
{
    char number[32];
    struct text text = {0};
    if (output == NULL)
        return ERR_OK;
    (void)snprintf(number, sizeof number, "/%u", (*place)++);
    TRY(print_name(inputs, arena, prefix, text_of(number), &text));
    add(inputs, output, text);
    return ERR_OK;
}

/* The output `name` of every task of that kind that has one, numbered under it. */
static enum err add_outputs(struct inputs *inputs, const struct stage *stage, enum stage_kind kind,
                            const char *name, struct arena *arena)
{
    const struct stage *from = job_stage_of(stage, kind);
    uint32_t place = 0;
    for (uint32_t i = 0; from != NULL && i < from->tasks.count; i++)
        TRY(add_numbered(inputs, job_output(from, i, name), name, &place, arena));
    return ERR_OK;
}

/* Every file that the one task of that kind made, under `prefix`. */
static enum err add_files(struct inputs *inputs, const struct stage *stage, enum stage_kind kind,
                          const char *prefix, struct arena *arena)
{
    const struct stage *from = job_stage_of(stage, kind);
    const struct task_result *result =
        from != NULL && from->tasks.count > 0 ? from->tasks.items[0].result : NULL;
    for (uint32_t i = 0; result != NULL && i < result->outputs_count; i++) {
        struct text text = {0};
        TRY(print_name(inputs, arena, prefix, result->outputs[i].name, &text));
        add(inputs, &result->outputs[i], text);
    }
    return ERR_OK;
}

/* What is quantized: the job's base model, or what its training made of it. */
static enum err add_quantized_model(struct inputs *inputs, const struct stage *stage,
                                    struct arena *arena)
{
    if (job_stage_of(stage, STAGE_KIND_MERGE) != NULL)
        return add_files(inputs, stage, STAGE_KIND_MERGE, "model/", arena);
    if (job_stage_of(stage, STAGE_KIND_EXPORT) != NULL)
        return add_files(inputs, stage, STAGE_KIND_EXPORT, "model/", arena);
    add_folder(inputs, stage->job, "model/", true);
    return ERR_OK;
}

/* The samples of every shard whose input lies in `folder`, numbered anew under `name`. */
static enum err add_samples(struct inputs *inputs, const struct stage *stage, const char *folder,
                            const char *prefix, struct arena *arena)
{
    const struct job *job = stage->job;
    const struct stage *prepare = job_stage_of(stage, STAGE_KIND_PREPARE);
    unsigned place = 0;
    for (uint32_t i = 0; prepare != NULL && i < prepare->plan->tasks_count; i++) {
        const struct task_plan *task = &prepare->plan->tasks[i];
        if (!starts_with(job->submitted.inputs[task->input].name, folder))
            continue;
        const struct artifact_ref *samples = job_output(prepare, i, "samples");
        char number[32];
        struct text text = {0};
        (void)snprintf(number, sizeof number, "%u", place++);
        TRY(print_name(inputs, arena, prefix, text_of(number), &text));
        if (samples != NULL)
            add(inputs, samples, text);
    }
    return ERR_OK;
}

struct artifact_ref spec_state(const struct stage *stage, const struct checkpoint_row **checkpoint)
{
    struct artifact_ref state = {.name = TEXT("state")};
    const struct stage *train =
        stage->plan->kind == STAGE_KIND_TRAIN ? stage : job_stage_of(stage, STAGE_KIND_TRAIN);
    const struct checkpoint_row *last = train == NULL ? NULL : job_checkpoint(stage->job, train);
    if (checkpoint != NULL)
        *checkpoint = last;
    if (last != NULL) {
        state.digest = last->digest;
        state.size_bytes = last->size_bytes;
        return state;
    }
    const struct artifact_ref *first = job_output(job_stage_of(stage, STAGE_KIND_INIT), 0, "state");
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

/* ---- the table of spec.h ---- */

enum source {
    SOURCE_DATA,      /* the shard of data that the task works on */
    SOURCE_CONFIG,    /* the model's files but its weights */
    SOURCE_MODEL,     /* all of them */
    SOURCE_QUANTIZED, /* of the model that is quantized */
    SOURCE_FOLDER,    /* inputs of the job under `name` */
    SOURCE_SAMPLES,   /* of the shards of inputs under `name` */
    SOURCE_OUTPUT,    /* the output `name` of the one task of `from` */
    SOURCE_OUTPUTS,   /* the output `name` of every task of `from` */
    SOURCE_FILES,     /* all that the one task of `from` made, under `name` */
    SOURCE_STATE,     /* the trained state and the log */
    SOURCE_TRAINED,   /* the trained state alone, as `name` */
    SOURCE_START,     /* the first state, where training goes on from an adapter */
    SOURCE_ANCHOR,    /* the first state of an adapter that has one */
    SOURCE_WAVES,     /* what the tasks of earlier waves made for this one */
};

static const struct spec_row {
    enum stage_kind kind;
    enum source source;
    enum stage_kind from;
    const char *name;
    const char *prefix; /* SAMPLES: what they are numbered under */
} spec_rows[] = {
    {STAGE_KIND_PREPARE, SOURCE_DATA, 0, NULL, NULL},
    {STAGE_KIND_PREPARE, SOURCE_CONFIG, 0, NULL, NULL},
    {STAGE_KIND_PACK, SOURCE_SAMPLES, 0, "data/", "samples/train/"},
    {STAGE_KIND_PACK, SOURCE_SAMPLES, 0, "test/", "samples/test/"},
    {STAGE_KIND_PACK, SOURCE_SAMPLES, 0, "calib/", "samples/calib/"},
    {STAGE_KIND_PACK, SOURCE_CONFIG, 0, NULL, NULL},
    {STAGE_KIND_INIT, SOURCE_MODEL, 0, NULL, NULL},
    {STAGE_KIND_INIT, SOURCE_FOLDER, 0, "adapter/", NULL},
    {STAGE_KIND_EXPORT, SOURCE_MODEL, 0, NULL, NULL},
    {STAGE_KIND_EXPORT, SOURCE_STATE, 0, NULL, NULL},
    {STAGE_KIND_EXPORT, SOURCE_ANCHOR, 0, NULL, NULL},
    {STAGE_KIND_CALIBRATE, SOURCE_QUANTIZED, 0, NULL, NULL},
    {STAGE_KIND_CALIBRATE, SOURCE_OUTPUT, STAGE_KIND_PACK, "calib_rows", NULL},
    {STAGE_KIND_REDUCE, SOURCE_QUANTIZED, 0, NULL, NULL},
    {STAGE_KIND_REDUCE, SOURCE_OUTPUTS, STAGE_KIND_CALIBRATE, "statistics", NULL},
    {STAGE_KIND_SENSITIVITY, SOURCE_QUANTIZED, 0, NULL, NULL},
    {STAGE_KIND_SENSITIVITY, SOURCE_OUTPUT, STAGE_KIND_PACK, "calib_rows", NULL},
    {STAGE_KIND_SENSITIVITY, SOURCE_OUTPUT, STAGE_KIND_REDUCE, "imatrix", NULL},
    {STAGE_KIND_CHOOSE, SOURCE_QUANTIZED, 0, NULL, NULL},
    {STAGE_KIND_CHOOSE, SOURCE_FOLDER, 0, "imatrix/", NULL},
    {STAGE_KIND_CHOOSE, SOURCE_OUTPUT, STAGE_KIND_PACK, "calib_rows", NULL},
    {STAGE_KIND_CHOOSE, SOURCE_OUTPUT, STAGE_KIND_REDUCE, "statistics", NULL},
    {STAGE_KIND_CHOOSE, SOURCE_OUTPUT, STAGE_KIND_REDUCE, "imatrix", NULL},
    {STAGE_KIND_CHOOSE, SOURCE_OUTPUTS, STAGE_KIND_SENSITIVITY, "sensitivity", NULL},
    {STAGE_KIND_QUANTIZE, SOURCE_QUANTIZED, 0, NULL, NULL},
    {STAGE_KIND_QUANTIZE, SOURCE_FOLDER, 0, "imatrix/", NULL},
    {STAGE_KIND_QUANTIZE, SOURCE_OUTPUT, STAGE_KIND_REDUCE, "statistics", NULL},
    {STAGE_KIND_QUANTIZE, SOURCE_OUTPUT, STAGE_KIND_REDUCE, "imatrix", NULL},
    {STAGE_KIND_QUANTIZE, SOURCE_OUTPUT, STAGE_KIND_CHOOSE, "choices", NULL},
    {STAGE_KIND_ASSEMBLE, SOURCE_QUANTIZED, 0, NULL, NULL},
    {STAGE_KIND_ASSEMBLE, SOURCE_FOLDER, 0, "imatrix/", NULL},
    {STAGE_KIND_ASSEMBLE, SOURCE_OUTPUT, STAGE_KIND_REDUCE, "imatrix", NULL},
    {STAGE_KIND_ASSEMBLE, SOURCE_OUTPUT, STAGE_KIND_CHOOSE, "choices", NULL},
    {STAGE_KIND_ASSEMBLE, SOURCE_OUTPUTS, STAGE_KIND_QUANTIZE, "tensors", NULL},
    {STAGE_KIND_ASSEMBLE, SOURCE_OUTPUTS, STAGE_KIND_REPLAY, "tensors", NULL},
    {STAGE_KIND_VERIFY, SOURCE_CONFIG, 0, NULL, NULL},
    {STAGE_KIND_VERIFY, SOURCE_FILES, STAGE_KIND_ASSEMBLE, "result/", NULL},
    {STAGE_KIND_VERIFY, SOURCE_OUTPUTS, STAGE_KIND_QUANTIZE, "figures", NULL},
    {STAGE_KIND_VERIFY, SOURCE_OUTPUTS, STAGE_KIND_REPLAY, "figures", NULL},
    {STAGE_KIND_COMPARE, SOURCE_QUANTIZED, 0, NULL, NULL},
    {STAGE_KIND_COMPARE, SOURCE_FILES, STAGE_KIND_ASSEMBLE, "result/", NULL},
    {STAGE_KIND_COMPARE, SOURCE_OUTPUT, STAGE_KIND_PACK, "test_rows", NULL},
    {STAGE_KIND_REPORT, SOURCE_OUTPUT, STAGE_KIND_CHOOSE, "choices", NULL},
    {STAGE_KIND_REPORT, SOURCE_OUTPUT, STAGE_KIND_CHOOSE, "target", NULL},
    {STAGE_KIND_REPORT, SOURCE_OUTPUTS, STAGE_KIND_QUANTIZE, "figures", NULL},
    {STAGE_KIND_REPORT, SOURCE_OUTPUTS, STAGE_KIND_REPLAY, "figures", NULL},
    {STAGE_KIND_REPORT, SOURCE_OUTPUTS, STAGE_KIND_COMPARE, "scores", NULL},
    {STAGE_KIND_REPORT, SOURCE_CONFIG, 0, NULL, NULL},
    {STAGE_KIND_REPLAY, SOURCE_QUANTIZED, 0, NULL, NULL},
    {STAGE_KIND_REPLAY, SOURCE_OUTPUT, STAGE_KIND_PACK, "calib_rows", NULL},
    {STAGE_KIND_REPLAY, SOURCE_OUTPUT, STAGE_KIND_CHOOSE, "choices", NULL},
    {STAGE_KIND_REPLAY, SOURCE_WAVES, 0, NULL, NULL},
    {STAGE_KIND_MERGE, SOURCE_MODEL, 0, NULL, NULL},
    {STAGE_KIND_MERGE, SOURCE_TRAINED, 0, "state", NULL},
    {STAGE_KIND_MERGE, SOURCE_ANCHOR, 0, NULL, NULL},
    {STAGE_KIND_MEASURE, SOURCE_MODEL, 0, NULL, NULL},
    {STAGE_KIND_MEASURE, SOURCE_TRAINED, 0, "weights", NULL},
    {STAGE_KIND_MEASURE, SOURCE_ANCHOR, 0, NULL, NULL},
    {STAGE_KIND_MEASURE, SOURCE_FILES, STAGE_KIND_MERGE, "result/", NULL},
    {STAGE_KIND_MEASURE, SOURCE_OUTPUT, STAGE_KIND_PACK, "test_rows", NULL},
    {STAGE_KIND_REPORT, SOURCE_OUTPUTS, STAGE_KIND_MEASURE, "losses", NULL},
    {STAGE_KIND_REPORT, SOURCE_OUTPUTS, STAGE_KIND_MEASURE, "losses_full", NULL},
    {STAGE_KIND_REFERENCE, SOURCE_MODEL, 0, NULL, NULL},
    {STAGE_KIND_REFERENCE, SOURCE_OUTPUT, STAGE_KIND_PACK, "rows", NULL},
    {STAGE_KIND_REFERENCE, SOURCE_OUTPUT, STAGE_KIND_PACK, "test_rows", NULL},
    {STAGE_KIND_REFERENCE, SOURCE_START, 0, NULL, NULL},
};

/* What a task must hand in, NULL: nothing that is always there. */
static const char *const spec_outputs[STAGE_KIND_COUNT] = {
    [STAGE_KIND_PREPARE] = "samples",     [STAGE_KIND_INIT] = "state",
    [STAGE_KIND_TRAIN] = "gradient",      [STAGE_KIND_CALIBRATE] = "statistics",
    [STAGE_KIND_REDUCE] = "statistics",   [STAGE_KIND_SENSITIVITY] = "sensitivity",
    [STAGE_KIND_CHOOSE] = "choices",      [STAGE_KIND_QUANTIZE] = "tensors",
    [STAGE_KIND_COMPARE] = "scores",      [STAGE_KIND_REPORT] = "README.md",
    [STAGE_KIND_MERGE] = "config.json",   [STAGE_KIND_MEASURE] = "losses",
    [STAGE_KIND_REFERENCE] = "reference",
};

static void add_state(struct inputs *inputs, const struct stage *stage)
{
    struct artifact_ref state = spec_state(stage, NULL);
    if (!digest_is_zero(state.digest))
        add(inputs, &state, TEXT("state"));
    add(inputs, &stage->log, TEXT("log"));
}

/* A stage that needs the first state waits for it: plan says where training goes on. */
static void add_start(struct inputs *inputs, const struct stage *stage)
{
    const struct artifact_ref *state = job_output(job_stage_of(stage, STAGE_KIND_INIT), 0, "state");
    if (state != NULL)
        add(inputs, state, TEXT("weights"));
}

/* Init made it, or that of the job whose checkpoint this one started from. */
static void add_anchor(struct inputs *inputs, const struct stage *stage)
{
    const struct rec_job_submitted *submitted = &stage->job->submitted;
    add_output(inputs, stage, STAGE_KIND_INIT, "anchor");
    for (uint32_t i = 0; i < submitted->inputs_count; i++) {
        if (text_is(submitted->inputs[i].name, STATE_FILE_START_ANCHOR))
            add(inputs, &submitted->inputs[i], TEXT("anchor"));
    }
}

/* Period l of a replay: a shard goes on from where it was at l - 1, on what the groups of l - 1
 * made of their layer; a group has the Gram matrices of its site from all shards of l. */
static enum err add_waves(const struct stage *stage, uint32_t index, struct arena *arena,
                          struct inputs *inputs)
{
    const struct wave_layout *waves = &stage->tasks.waves;
    struct wave_place place = wave_place(waves, index);
    uint32_t number = 0;
    char name[32];
    if (place.is_group) {
        (void)snprintf(name, sizeof name, "gram.%u", place.index);
        for (uint32_t i = 0; i < waves->shards; i++) {
            struct wave_place shard = {place.period, false, i};
            TRY(add_numbered(inputs, job_output(stage, wave_task(waves, shard), name), "gram",
                             &number, arena));
        }
        return ERR_OK;
    }
    if (place.period == 0)
        return ERR_OK;
    struct wave_place before = {place.period - 1, false, place.index};
    const struct artifact_ref *hidden = job_output(stage, wave_task(waves, before), "hidden");
    if (hidden != NULL)
        add(inputs, hidden, TEXT("hidden"));
    for (uint32_t i = 0; i < waves->groups; i++) {
        struct wave_place group = {place.period - 1, true, i};
        TRY(add_numbered(inputs, job_output(stage, wave_task(waves, group), "tensors"), "tensors",
                         &number, arena));
    }
    return ERR_OK;
}

static enum err add_row(const struct stage *stage, const struct spec_row *row, uint32_t index,
                        struct arena *arena, struct inputs *inputs)
{
    const struct job *job = stage->job;
    struct artifact_ref state;
    switch (row->source) {
    case SOURCE_DATA:
        if (index < stage->plan->tasks_count) {
            uint32_t place = stage->plan->tasks[index].input;
            add(inputs, &job->submitted.inputs[place], job->submitted.inputs[place].name);
        }
        return ERR_OK;
    case SOURCE_CONFIG:
        add_folder(inputs, job, "model/", false);
        return ERR_OK;
    case SOURCE_MODEL:
        add_folder(inputs, job, "model/", true);
        return ERR_OK;
    case SOURCE_QUANTIZED:
        return add_quantized_model(inputs, stage, arena);
    case SOURCE_FOLDER:
        add_folder(inputs, job, row->name, true);
        return ERR_OK;
    case SOURCE_SAMPLES:
        return add_samples(inputs, stage, row->name, row->prefix, arena);
    case SOURCE_OUTPUT:
        add_output(inputs, stage, row->from, row->name);
        return ERR_OK;
    case SOURCE_OUTPUTS:
        return add_outputs(inputs, stage, row->from, row->name, arena);
    case SOURCE_FILES:
        return add_files(inputs, stage, row->from, row->name, arena);
    case SOURCE_STATE:
        add_state(inputs, stage);
        return ERR_OK;
    case SOURCE_TRAINED:
        state = spec_state(stage, NULL);
        if (!digest_is_zero(state.digest))
            add(inputs, &state, text_of(row->name));
        return ERR_OK;
    case SOURCE_START:
        add_start(inputs, stage);
        return ERR_OK;
    case SOURCE_ANCHOR:
        add_anchor(inputs, stage);
        return ERR_OK;
    case SOURCE_WAVES:
        return add_waves(stage, index, arena, inputs);
    }
    return ERR_INTERNAL;
}

static enum err add_inputs(const struct stage *stage, uint32_t index, struct arena *arena,
                           struct inputs *inputs)
{
    const struct job *job = stage->job;
    add(inputs, &job->recipe, TEXT("recipe"));
    for (size_t i = 0; stage->run == NULL && i < COUNT_OF(spec_rows); i++) {
        if (spec_rows[i].kind == stage->plan->kind)
            TRY(add_row(stage, &spec_rows[i], index, arena, inputs));
    }
    if (stage->run == NULL)
        return ERR_OK;
    add_folder(inputs, job, "model/", true);
    add_output(inputs, stage, STAGE_KIND_PACK, stage->run->evaluates ? "test_rows" : "rows");
    add_weights(inputs, stage);
    add_anchor(inputs, stage);
    return add_outputs(inputs, stage, STAGE_KIND_REFERENCE, "reference", arena);
}

/* A group quantizes one part of the result, as a task of the stage quantize does. */
static void set_wave(const struct stage *stage, uint32_t index, struct task_spec *out)
{
    const struct wave_layout *waves = &stage->tasks.waves;
    struct wave_place place = wave_place(waves, index);
    out->round = place.period;
    out->first = place.index;
    out->total = waves->shards;
    if (place.is_group) {
        out->kind = STAGE_KIND_QUANTIZE;
        out->first += (uint64_t)place.period * waves->groups;
        out->total = (uint64_t)waves->periods * waves->groups;
    }
    out->end = out->first + 1;
}

static void set_place(const struct stage *stage, uint32_t index, struct task_spec *out)
{
    if (stage->run != NULL) {
        out->kind = stage->run->evaluates ? STAGE_KIND_EVALUATE : STAGE_KIND_TRAIN;
        set_range(stage, index, out);
    } else if (index < stage->plan->tasks_count) {
        out->first = stage->plan->tasks[index].first;
        out->end = stage->plan->tasks[index].end;
        out->total = stage->tasks.count;
    } else if (stage->tasks.waves.periods > 0) {
        set_wave(stage, index, out);
    } else {
        out->first = index;
        out->end = (uint64_t)index + 1;
        out->total = stage->tasks.count;
    }
}

enum err spec_build(const struct stage *stage, uint32_t index, struct arena *arena,
                    struct task_spec *out)
{
    const struct job *job = stage->job;
    struct inputs inputs = {NULL, 0};
    *out = (struct task_spec){
        .kind = stage->plan->kind,
        .profile = text_of(job->settings.profile),
        .seed = job->settings.seeds[stage->plan->variant],
        .variant = stage->plan->variant,
    };
    set_place(stage, index, out);
    TRY(add_inputs(stage, index, arena, &inputs));
    inputs.items = arena_alloc(arena, inputs.count, sizeof *inputs.items);
    if (inputs.items == NULL)
        return ERR_OUT_OF_MEMORY;
    inputs.count = 0;
    TRY(add_inputs(stage, index, arena, &inputs));
    out->inputs = inputs.items;
    out->inputs_count = inputs.count;
    return ERR_OK;
}

const char *spec_output(enum stage_kind kind)
{
    return spec_outputs[kind];
}
