/* task_prepare.c - one shard of one file: text to samples; or a whole file to a stream of ids. */
#include "common/base/check.h"
#include "common/formats/dataset/dataset_prepare.h"
#include "common/formats/dataset/dataset_stream.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_run.h"
#include "worker/task/task_settings.h"

static const struct artifact_ref *find_file(const struct task_run *run)
{
    static const char *const folders[] = {"data/", "test/", "calib/"};
    const struct artifact_ref *file = NULL;
    for (size_t i = 0; i < COUNT_OF(folders) && file == NULL; i++)
        file = task_run_input_under(run, folders[i]);
    return file;
}

static enum err tokenize(struct task_run *run, struct span file, const char *name,
                         struct bytes *samples, struct dataset_counts *counts, struct err_text *et)
{
    const struct task_spec *spec = run->spec;
    const struct tokenizer *tokenizer;
    struct dataset_options options;
    enum perplexity_protocol protocol = task_settings_protocol(&run->recipe, name);
    bool in_file = spec->first <= spec->end && spec->end <= file.size;
    bool is_whole = spec->first == 0 && spec->end == file.size;
    if (!in_file || (protocol != PERPLEXITY_ROWS && !is_whole))
        return error_set(et, ERR_PROTOCOL, "%s: bytes %llu to %llu of a file of %zu", name,
                         (unsigned long long)spec->first, (unsigned long long)spec->end, file.size);
    TRY(task_settings_dataset(&run->recipe, name, &options, et));
    TRY(task_model_tokenizer(run, &tokenizer, et));
    TRY(dataset_detect(file, &options, et));
    if (protocol != PERPLEXITY_ROWS)
        return dataset_stream_prepare(file, &options, protocol, tokenizer, samples, counts, et);
    return dataset_prepare_shard(file, spec->first, spec->end, &options, tokenizer, samples, counts,
                                 et);
}

static enum err prepare(struct task_run *run, struct span file, const char *name,
                        struct bytes *samples, struct err_text *et)
{
    struct dataset_counts counts = {0};
    TRY(tokenize(run, file, name, samples, &counts, et));
    TRY(task_run_output(run, "samples", bytes_span(samples), false, et));
    TRY(task_run_fact(run, "samples", counts.samples));
    TRY(task_run_fact(run, "tokens", counts.tokens));
    TRY(task_run_fact(run, "truncated", counts.truncated_rows));
    TRY(task_run_fact(run, "left_out", counts.empty_rows));
    run->result->tokens = counts.tokens;
    return ERR_OK;
}

enum err task_kind_prepare(struct task_run *run, struct err_text *et)
{
    const struct artifact_ref *input = find_file(run);
    if (input == NULL)
        return error_set(et, ERR_NOT_FOUND, "the task was given no file of a data set");
    const char *name = arena_copy_text(run->arena, input->name);
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    const struct cache_item *file = NULL;
    TRY(cache_open(run->env->options.cache, input, &file, et));
    struct bytes samples;
    bytes_init(&samples, SIZE_MAX);
    enum err err = prepare(run, file->bytes, name, &samples, et);
    bytes_fini(&samples);
    cache_release(run->env->options.cache, &file);
    return err;
}
