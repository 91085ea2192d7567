/* data_set.c - recipe entries to dataset options; all rows read once. */
#include "cli/command/data_set.h"

#include <inttypes.h>

#include "common/formats/source/source.h"
#include "common/formats/tokenizer/chat_template.h"

enum err data_set_options(const struct recipe *recipe, const struct recipe_dataset *row,
                          struct arena *arena, const char **path, struct dataset_options *out,
                          struct err_text *et)
{
    const char *found = recipe_path(recipe, row->path, arena);
    if (found == NULL)
        return ERR_OUT_OF_MEMORY;
    struct dataset_options options = {
        .file_name = found,
        .format = row->ds_type == RECIPE_DATASET_FORMAT_TEXT ? DATASET_FORMAT_TEXT
                                                             : DATASET_FORMAT_DETECT,
        .field = row->field,
        .field_messages = row->field_messages,
        .chat_template = row->chat_template != NULL ? row->chat_template : recipe->chat_template,
        .sequence_len = (uint32_t)recipe->sequence_len,
        .train_on_inputs = recipe->train_on_inputs,
    };
    if (row->type != RECIPE_DATASET_TYPE_AUTO)
        TRY(dataset_type_parse(text_of(recipe_dataset_type_word(row->type)), &options.type, et));
    else if (recipe->rl == RECIPE_RL_DPO)
        options.type = DATASET_TYPE_PREFERENCE;
    *path = found;
    *out = options;
    return ERR_OK;
}

/* The model's own template, or the one that the recipe names, as a worker will look for it. */
static enum err check_template(const struct recipe *recipe, const struct dataset_options *options,
                               struct arena *arena, struct err_text *et)
{
    const struct chat_template *found = NULL;
    struct tokenizer *tokenizer = NULL;
    const char *folder = recipe_path(recipe, recipe->base_model, arena);
    if (folder == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(tokenizer_open(folder, &tokenizer, et));
    enum err err = chat_template_resolve(tokenizer, options->chat_template, &found, et);
    tokenizer_close(&tokenizer);
    if (err == ERR_OK)
        return ERR_OK;
    return error_prefix(et, err == ERR_NOT_FOUND ? ERR_RECIPE : err, "%s: chat_template",
                        recipe->file_name);
}

/* Reads the rows and tells their type; *uses_template: they are rendered by a chat template. */
static enum err check_file(const char *path, const struct dataset_options *options,
                           enum dataset_type *type, bool *uses_template, struct err_text *et)
{
    struct source source;
    struct dataset_report report;
    TRY(source_open(&source, path, et));
    source_will_stream(&source);
    enum err err = dataset_check(source.bytes, options, NULL, &report, et);
    source_close(&source);
    TRY(err);
    *type = report.type;
    *uses_template = report.uses_template;
    if (report.bad_rows == 0)
        return ERR_OK;
    const char *first = report.problems[0].text; /* with file and line */
    if (report.bad_rows == 1)
        return error_set(et, ERR_DATA, "%s", first);
    return error_set(et, ERR_DATA, "%s; %" PRIu64 " more bad rows (qctl data check lists them)",
                     first, report.bad_rows - 1);
}

static enum err check_list(const struct recipe *recipe, const struct recipe_dataset *rows,
                           size_t count, struct arena *arena, struct err_text *et)
{
    for (size_t i = 0; i < count; i++) {
        const char *path = NULL;
        bool uses_template = false;
        enum dataset_type type = DATASET_TYPE_DETECT;
        struct dataset_options options;
        TRY(data_set_options(recipe, &rows[i], arena, &path, &options, et));
        TRY(check_file(path, &options, &type, &uses_template, et));
        if (options.type == DATASET_TYPE_DETECT && type == DATASET_TYPE_PREFERENCE)
            return error_set(et, ERR_RECIPE,
                             "%s: datasets: %s has pairs of answers (type: preference), which need "
                             "rl: dpo; add that or give another type",
                             recipe->file_name, path);
        if (uses_template)
            TRY(check_template(recipe, &options, arena, et));
    }
    return ERR_OK;
}

enum err data_set_check(const struct recipe *recipe, struct arena *arena, struct err_text *et)
{
    TRY(check_list(recipe, recipe->datasets, recipe->datasets_count, arena, et));
    return check_list(recipe, recipe->test_datasets, recipe->test_datasets_count, arena, et);
}
